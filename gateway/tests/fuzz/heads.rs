//! Heads: a head that the gateway takes is passed on so that every strict reader reads it the same way.

use gateway::http1::framing::Framing;
use gateway::http1::head::{HeadLimits, with_request, with_response};
use gateway::http1::render::{self, Forwarding, Persistence, ResponseFraming};
use gateway::http1::scan::{HeadScanner, Scan};

use crate::dice::{Dice, run};
use crate::strict::{self, Delimited};

pub(crate) const REQUESTS: [&[u8]; 16] = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a/b?c=d&e HTTP/1.1\r\nHost: a.example:8080\r\nAccept: */*\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n",
    b"PUT /p HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    b"GET http://b:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n",
    b"HEAD /h HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close, x-a\r\nX-A: 1\r\nTE: trailers\r\n\r\n",
    b"DELETE /d HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    b"M-SEARCH /o HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\nCookie: c=d\r\nAuthorization: Basic eA==\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Request-Id: i\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Umbra-Mirror: v2\r\nVia: 1.1 x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\nX: \xe9\t\r\n\r\n",
];

pub(crate) const RESPONSES: [&[u8]; 9] = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nDate: now\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    b"HTTP/1.1 500 \r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nKeep-Alive: timeout=5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
];

const SCRAPS: [&[u8]; 38] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"/",
    b"//",
    b"?",
    b"#",
    b"@",
    b"\xff",
    b"\x7f",
    b"%00",
    b"Host: b\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 5\r\n",
    b"content-length: +5\r\n",
    b"Content-Length: 18446744073709551616\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"transfer-encoding : chunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Connection: content-length, host\r\n",
    b"Connection: keep-alive\r\n",
    b" folded\r\n",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"HTTP/1.9",
    b"http://u@h/",
    b"CONNECT ",
    b"X-Umbra-Mirror: v9\r\n",
    b"Trailer: Content-Length\r\n",
    b"Expect: 100-continue\r\n",
];

const LIMITS: HeadLimits = HeadLimits { line_bytes_max: 8192, fields_max: 100 };

/// Of a head that went through us: it has some fields more.
const LIMITS_BEHIND_US: HeadLimits = HeadLimits { line_bytes_max: 8192, fields_max: 120 };

/// Fields that a connection keeps to itself (RFC 9110 §7.6.1).
const OF_A_CONNECTION: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "te", "upgrade", "proxy-authorization"];

#[test]
fn a_heads_end_is_found_at_the_same_place_however_it_arrives() {
    run(end_of_head);
}

pub(crate) fn end_of_head(dice: &mut Dice) {
    let text = dice.text(&REQUESTS, &SCRAPS);
    let whole = HeadScanner::default().scan(&text);
    let (mut scanner, mut arrived, mut found) = (HeadScanner::default(), Vec::new(), Scan::Partial);
    for piece in dice.pieces(&text) {
        arrived.extend_from_slice(piece);
        found = scanner.scan(&arrived);
        if found != Scan::Partial {
            break;
        }
    }
    assert_eq!(found, whole, "{:?}", String::from_utf8_lossy(&text));
    if let Scan::Complete(len) = whole {
        let head = &text[..len];
        assert!(head.ends_with(b"\r\n\r\n"));
        let lone = (0..len).any(|at| head[at] == b'\n' && (at == 0 || head[at - 1] != b'\r'));
        assert!(!lone, "a bare LF was taken: {:?}", String::from_utf8_lossy(head));
    }
}

/// The gateway's forwarding of a request head: its wire to the primary, and the facts that it read.
fn forwarded(head: &[u8], limits: HeadLimits, trust: bool) -> Option<(Vec<u8>, Facts)> {
    let add = Forwarding {
        keeps_id: true,
        traced: None,
        client: b"192.0.2.1",
        proto: b"http",
        client_cert: None,
        request_id: b"0123456789abcdef",
        trust,
        via: Some("1.1"),
        is_copy: false,
        host_if_none: b"v1.internal",
    };
    let told = with_request(&mut head.to_vec(), limits, |head| {
        let mut out = Vec::new();
        let at = render::request(&mut out, head, &add);
        assert_eq!(&out[at.host_line.clone()][..6], b"Host: ");
        assert!(at.host_line.start <= at.host.start && at.host.end + 2 == at.host_line.end);
        assert_eq!(at.common_end, out.len());
        render::end_request(&mut out, head.framing, false, head.expects_continue);
        let host = out[at.host].to_vec();
        let facts = Facts {
            method: head.method_token.to_vec(),
            target: head.target.to_vec(),
            host,
            framing: head.framing,
        };
        (out, facts)
    });
    told.ok()
}

#[derive(Debug, PartialEq, Eq)]
struct Facts {
    method: Vec<u8>,
    target: Vec<u8>,
    host: Vec<u8>,
    framing: Framing,
}

#[test]
fn a_request_that_is_taken_is_passed_on_so_that_nobody_can_read_it_otherwise() {
    run(request);
}

pub(crate) fn request(dice: &mut Dice) {
    let text = dice.text(&REQUESTS, &SCRAPS);
    let Scan::Complete(len) = HeadScanner::default().scan(&text) else { return };
    let Some((wire, facts)) = forwarded(&text[..len], LIMITS, dice.one_in(2)) else { return };
    let shown =
        || format!("{:?}\n became\n{:?}", String::from_utf8_lossy(&text), String::from_utf8_lossy(&wire));
    let head = strict::head(&wire).unwrap_or_else(|why| panic!("{why}: {}", shown()));

    let words: Vec<&[u8]> = head.start.split(|b| *b == b' ').collect();
    let [method, target, version] = words.as_slice() else {
        panic!("a request line of {} words: {}", words.len(), shown())
    };
    assert_eq!((*version, *method), (b"HTTP/1.1".as_slice(), facts.method.as_slice()), "{}", shown());
    assert!(target.starts_with(b"/") || *target == b"*", "{}", shown());
    assert_eq!(head.values("host"), [facts.host.as_slice()], "{}", shown());
    let expect = match facts.framing {
        Framing::None => Delimited::Nothing,
        Framing::Length(n) => Delimited::Length(n),
        Framing::Chunked => Delimited::Chunked,
        Framing::UntilClose => panic!("a request until close: {}", shown()),
    };
    assert_eq!(strict::delimited(&head), Ok(expect), "{}", shown());
    for name in OF_A_CONNECTION {
        assert!(head.values(name).is_empty(), "{name} was passed on: {}", shown());
    }
    assert_eq!(head.values("x-forwarded-for").len(), 1, "{}", shown());

    if head.values("max-forwards") == [b"0"] {
        // The next to read it answers by itself.
        return;
    }
    // Our own head reads as the same request, and rendering it again changes nothing that matters.
    let (_, again) = forwarded(&wire, LIMITS_BEHIND_US, true)
        .unwrap_or_else(|| panic!("our own head is refused: {}", shown()));
    assert_eq!(
        (again.method, again.host, again.framing),
        (facts.method, facts.host, facts.framing),
        "{}",
        shown()
    );
}

#[test]
fn an_answer_that_is_taken_is_passed_on_so_that_nobody_can_read_it_otherwise() {
    run(answer);
}

pub(crate) fn answer(dice: &mut Dice) {
    let text = dice.text(&RESPONSES, &SCRAPS);
    let Scan::Complete(len) = HeadScanner::default().scan(&text) else { return };
    let to_head = dice.one_in(4);
    let rendered = with_response(&text[..len], 100, to_head, |head| {
        let mut out = Vec::new();
        if head.status < 200 {
            render::interim(&mut out, head);
            return (out, head.status, None);
        }
        let framing = match head.framing {
            Framing::None => ResponseFraming::None(head.length),
            Framing::Length(n) => ResponseFraming::Length(n),
            Framing::Chunked | Framing::UntilClose => ResponseFraming::Chunked,
        };
        render::response(&mut out, head, framing, Persistence::Close, b"today");
        (out, head.status, Some(framing))
    });
    let Ok((wire, status, framing)) = rendered else { return };
    let shown =
        || format!("{:?}\n became\n{:?}", String::from_utf8_lossy(&text), String::from_utf8_lossy(&wire));
    let head = strict::head(&wire).unwrap_or_else(|why| panic!("{why}: {}", shown()));
    assert!(head.start.starts_with(format!("HTTP/1.1 {status} ").as_bytes()), "{}", shown());
    let delimited = strict::delimited(&head).unwrap_or_else(|why| panic!("{why}: {}", shown()));
    match framing {
        Some(ResponseFraming::Length(n)) => assert_eq!(delimited, Delimited::Length(n), "{}", shown()),
        Some(ResponseFraming::Chunked) => assert_eq!(delimited, Delimited::Chunked, "{}", shown()),
        Some(ResponseFraming::None(_)) => assert_ne!(delimited, Delimited::Chunked, "{}", shown()),
        Some(ResponseFraming::UntilClose) | None => {
            assert_eq!(delimited, Delimited::Nothing, "{}", shown());
        }
    }
    if framing.is_some() {
        assert_eq!(head.values("connection"), [b"close".as_slice()], "{}", shown());
        assert!(!head.values("date").is_empty(), "{}", shown());
    } else {
        assert!(head.values("connection").is_empty(), "{}", shown());
    }
    assert!(head.values("keep-alive").is_empty(), "{}", shown());
}
