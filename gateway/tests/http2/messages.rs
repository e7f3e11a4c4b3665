//! Requests of HTTP/2 clients and their treatment: each one that passes is read by HTTP/1.1's own parser as one message. Every
//! row of the table of downgrades is a row here.

use gateway::http1::framing::Framing;
use gateway::http1::head::{HeadLimits, with_request};
use gateway::http2::fields::{Content, say_chunked};
use gateway::http2::guard::Limits;
use gateway::http2::session::{Close, Event, Why};

use crate::wire::*;

const PROTOCOL: u32 = 1;
const H1: HeadLimits = HeadLimits { line_bytes_max: 8192, fields_max: 100 };

/// The result that the client sees.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// RST_STREAM PROTOCOL_ERROR, and no exchange.
    Reset,
    /// An answer of this status, and no forwarding.
    Status(u16),
    /// The inner head.
    Passed(String),
}

#[track_caller]
fn check(fields: &[(&str, &str)], expect: Seen) {
    let mut peer = Peer::client();
    peer.send(&headers(1, END, fields));
    let ends = peer.ends();
    let seen = match peer.event() {
        Event::Malformed { stream: 1, .. } => {
            assert_eq!(ends.resets, [(1, PROTOCOL)], "{fields:?}");
            Seen::Reset
        }
        Event::Refused { stream: 1, fault, .. } => Seen::Status(fault.status),
        Event::Head { stream: 1, head, end: true } => {
            let mut lines = head.lines.clone();
            let parsed = with_request(&mut lines, H1, |head| head.framing);
            assert_eq!(
                parsed,
                Ok(Framing::None),
                "HTTP/1.1 reads {:?}",
                String::from_utf8_lossy(&head.lines)
            );
            Seen::Passed(String::from_utf8(head.lines).unwrap())
        }
        other => panic!("{fields:?}: {other:?}"),
    };
    assert_eq!(seen, expect, "{fields:?}");
    assert!(ends.goaway.is_none(), "{fields:?}");
}

fn passed(text: &str) -> Seen {
    Seen::Passed(text.to_owned())
}

fn replaced<'a>(name: &str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    GET.iter().map(|(n, v)| if *n == name { (*n, value) } else { (*n, *v) }).collect()
}

#[test]
fn a_request_becomes_the_head_that_http1_would_have_brought() {
    check(&GET, passed("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    check(
        &with(&POST, &[("x-b", "1"), ("x-b", "2"), ("x-empty", ""), ("content-length", "0")]),
        passed("POST /p HTTP/1.1\r\nhost: a\r\nx-b: 1\r\nx-b: 2\r\nx-empty: \r\ncontent-length: 0\r\n\r\n"),
    );
    // Pseudo-headers in any order; OPTIONS of the server itself.
    let options =
        [(":authority", "a:81"), (":path", "*"), (":scheme", "http"), (":method", "OPTIONS"), ("x", "y")];
    check(&options, passed("OPTIONS * HTTP/1.1\r\nhost: a:81\r\nx: y\r\n\r\n"));
}

#[test]
fn pseudo_headers_are_there_once_each_first_and_not_empty() {
    for missing in [":method", ":scheme", ":path"] {
        let rest: Vec<_> = GET.into_iter().filter(|(name, _)| *name != missing).collect();
        check(&rest, Seen::Reset);
    }
    for (name, value) in GET {
        check(&with(&GET, &[(name, value)]), Seen::Reset);
        check(&replaced(name, ""), Seen::Reset);
    }
    check(&with(&GET, &[(":status", "200")]), Seen::Reset);
    check(&with(&GET, &[(":protocol", "websocket")]), Seen::Reset);
    check(&with(&GET, &[(":", "x")]), Seen::Reset);
    check(&with(&[("x", "y")], &GET), Seen::Reset);
    check(&[GET[0], GET[1], ("x", "y"), GET[2], GET[3]], Seen::Reset);
}

#[test]
fn no_byte_of_a_pseudo_header_breaks_a_line() {
    for byte in ["\r", "\n", "\0", " ", "\t", "\u{1}", "\u{1f}", "\u{7f}", "\r\nx: y"] {
        for name in [":method", ":scheme", ":path", ":authority"] {
            for value in [format!("/a{byte}b"), format!("{byte}/"), format!("/{byte}")] {
                check(&replaced(name, &value), Seen::Reset);
            }
        }
    }
    for method in ["G(T", "GET/", "G\u{e4}T", "\""] {
        check(&replaced(":method", method), Seen::Reset);
    }
}

#[test]
fn paths_and_authorities_are_what_http1_takes() {
    for path in ["x", "http://b/", "//", "*", "/#f", "/\u{e4}", "?q"] {
        let expect =
            if path == "//" { passed("GET // HTTP/1.1\r\nhost: a\r\n\r\n") } else { Seen::Status(400) };
        check(&replaced(":path", path), expect);
    }
    for authority in ["u@a", "u:p@a", "a/b", "a\\b", "a:99999", "a:", "a:8x", "[::1", ":80", "a,b", "\u{e4}"]
    {
        let expect =
            if authority == "a:" { passed("GET / HTTP/1.1\r\nhost: a:\r\n\r\n") } else { Seen::Status(400) };
        check(&replaced(":authority", authority), expect);
    }
    check(&replaced(":authority", "[::1]:80"), passed("GET / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n"));
}

#[test]
fn there_is_one_host() {
    let nobody: Vec<_> = GET.into_iter().filter(|(name, _)| *name != ":authority").collect();
    check(&nobody, Seen::Status(400));
    check(&with(&nobody, &[("host", "b")]), passed("GET / HTTP/1.1\r\nhost: b\r\n\r\n"));
    check(&with(&nobody, &[("host", "")]), Seen::Status(400));
    check(&with(&nobody, &[("host", "b"), ("host", "b")]), Seen::Status(400));
    check(
        &with(&GET, &[("x", "y"), ("host", "a"), ("z", "w")]),
        passed("GET / HTTP/1.1\r\nhost: a\r\nx: y\r\nz: w\r\n\r\n"),
    );
    check(&with(&GET, &[("host", "a:80")]), passed("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    check(&with(&GET, &[("host", "a:81")]), Seen::Status(400));
    check(&with(&GET, &[("host", "A")]), passed("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    check(&with(&GET, &[("host", "A:80")]), passed("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    check(&with(&GET, &[("host", "b")]), Seen::Status(400));
    check(&with(&GET, &[("host", "")]), Seen::Status(400));
    check(&with(&GET, &[("host", "a"), ("host", "a")]), Seen::Status(400));
}

#[test]
fn the_scheme_is_the_connections_and_connect_is_refused() {
    check(&replaced(":scheme", "https"), Seen::Status(400));
    check(&replaced(":scheme", "HTTP"), passed("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    check(&[(":method", "CONNECT"), (":authority", "a:443")], Seen::Status(405));
    check(&[(":method", "CONNECT")], Seen::Reset);
    check(&replaced(":method", "CONNECT"), Seen::Reset);
    check(&with(&replaced(":method", "CONNECT"), &[(":protocol", "websocket")]), Seen::Reset);
}

#[test]
fn names_and_values_are_clean() {
    for name in ["X-A", "", "a b", "a:b", "x\u{1}", "\u{e4}", "x\ty", "a(b", "x\r\n", "x\0", "x\u{7f}"] {
        check(&with(&GET, &[(name, "1")]), Seen::Reset);
    }
    for value in ["a\rb", "a\nb", "a\r\nx: y", "\0", " a", "a ", "\ta", "a\t", " ", "a\u{1}", "a\u{7f}"] {
        check(&with(&GET, &[("x", value)]), Seen::Reset);
    }
    check(
        &with(&GET, &[("x", "a \t\u{e4}b")]),
        passed("GET / HTTP/1.1\r\nhost: a\r\nx: a \t\u{e4}b\r\n\r\n"),
    );
}

#[test]
fn what_speaks_of_a_connection_is_malformed_and_te_takes_trailers_only() {
    for (name, value) in [
        ("connection", "close"),
        ("connection", "te"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABk"),
        ("te", "gzip"),
        ("te", "trailers, deflate"),
        ("te", ""),
    ] {
        check(&with(&GET, &[(name, value)]), Seen::Reset);
    }
    let mut peer = Peer::client();
    peer.send(&headers(1, END, &with(&GET, &[("te", "trailers")])));
    let Event::Head { head, .. } = peer.event() else { panic!() };
    assert!(head.takes_trailers);
}

#[test]
fn a_length_is_one_number() {
    for lengths in [&["5", "5"][..], &["5, 5"], &["+5"], &[""], &["0x5"], &["18446744073709551616"], &["5"]] {
        // The last is good, but the stream has ended.
        let fields: Vec<_> = lengths.iter().map(|length| ("content-length", *length)).collect();
        check(&with(&POST, &fields), Seen::Reset);
    }
}

/// Sends the frames, and checks the end of stream 1: its content, or the code of its reset.
#[track_caller]
fn upload(fields: &[(&str, &str)], frames: &[(u8, &[u8])], expect: Result<(&[u8], Content), u32>) {
    let mut peer = Peer::client();
    peer.send(&headers(1, 0, fields));
    let Event::Head { head, end: false, .. } = peer.event() else { panic!("no head") };
    for (flags, content) in frames {
        peer.send(&frame(DATA, *flags, 1, content));
    }
    let ends = peer.ends();
    match expect {
        Ok((content, known)) => {
            assert_eq!(peer.content.remove(&1).unwrap_or_default(), content);
            assert_eq!(head.content, known);
            assert!(matches!(peer.events.last(), Some(Event::Data { end: true, .. })), "{:?}", peer.events);
            assert!(ends.resets.is_empty());
        }
        Err(code) => {
            assert_eq!(ends.resets, [(1, code)]);
            let Some(Event::Reset { stream: 1, why: Why::Malformed(_) }) = peer.events.last() else {
                panic!()
            };
        }
    }
}

#[test]
fn content_is_as_long_as_declared_or_the_stream_is_reset_as_soon_as_that_is_known() {
    let of = |length| with(&POST, &[("content-length", length)]);
    upload(&of("5"), &[(0, b"he"), (END, b"llo")], Ok((b"hello", Content::Length(5))));
    upload(&of("5"), &[(END, b"hell")], Err(PROTOCOL));
    upload(&of("5"), &[(0, b"hello!")], Err(PROTOCOL));
    upload(&of("5"), &[(0, b"hello"), (0, b"!")], Err(PROTOCOL));
    upload(&of("0"), &[(END, b"")], Ok((b"", Content::Length(0))));
    upload(&of("0"), &[(0, b"x")], Err(PROTOCOL));
    upload(&POST, &[(0, b"he"), (0, b""), (END, b"llo")], Ok((b"hello", Content::UntilEnd)));
    upload(&GET, &[(END, b"")], Ok((b"", Content::UntilEnd)));
    // Padding is no content: one byte of length, two of it.
    upload(&of("3"), &[(END | 8, b"\x02abc\0\0")], Ok((b"abc", Content::Length(3))));
    upload(&POST, &[(END | 8, b"\x02\0\0")], Ok((b"", Content::UntilEnd)));
}

#[test]
fn a_head_whose_content_came_is_chunked_for_http1() {
    let mut peer = Peer::client();
    peer.send(&headers(1, 0, &POST));
    let Event::Head { mut head, .. } = peer.event() else { panic!() };
    say_chunked(&mut head.lines);
    assert_eq!(with_request(&mut head.lines, H1, |head| head.framing), Ok(Framing::Chunked));
    // Whether content is promised is known by the length alone.
    let mut peer = Peer::client();
    peer.send(&headers(1, 0, &with(&POST, &[("content-length", "5"), ("expect", "100-continue")])));
    let Event::Head { mut head, .. } = peer.event() else { panic!() };
    let parsed = with_request(&mut head.lines, H1, |head| (head.framing, head.expects_continue));
    assert_eq!(parsed, Ok((Framing::Length(5), true)));
}

#[test]
fn crumbs_are_one_cookie_and_nothing_else_is_joined() {
    check(
        &with(
            &GET,
            &[
                ("cookie", "a=b"),
                ("x", "1"),
                ("cookie", "c=d"),
                ("x", "2"),
                ("cookie", ""),
                ("cookie", "e=f"),
            ],
        ),
        passed("GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\nx: 2\r\ncookie: a=b; c=d; e=f\r\n\r\n"),
    );
    let crumbs = vec![("cookie", "a"); 100];
    check(&with(&GET, &crumbs), Seen::Status(431));
}

#[test]
fn trailers_keep_what_may_stand_in_them() {
    let mut peer = Peer::client();
    peer.send(&headers(1, 0, &POST)).send(&frame(DATA, 0, 1, b"x"));
    let trailers = [
        ("grpc-status", "0"),
        ("content-length", "9"),
        ("host", "b"),
        ("authorization", "x"),
        ("transfer-encoding", "chunked"),
        ("http2-settings", "x"),
        ("x-sum", "1"),
    ];
    peer.send(&headers(1, END, &trailers));
    let expect = Event::Trailers { stream: 1, lines: b"grpc-status: 0\r\nx-sum: 1\r\n".to_vec(), dropped: 5 };
    assert_eq!(peer.events.last(), Some(&expect));
    assert_eq!(peer.ends(), Ends::default());
    for bad in [(":path", "/"), ("X", "y"), ("x", "a\r\nb: c")] {
        let mut peer = Peer::client();
        peer.send(&headers(1, 0, &POST)).send(&headers(1, END, &[bad]));
        assert_eq!(peer.ends().resets, [(1, PROTOCOL)], "{bad:?}");
        assert!(matches!(peer.events.last(), Some(Event::Reset { stream: 1, why: Why::Malformed(_) })));
    }
    // Trailers end their stream, and they do not come before the promised content.
    let mut peer = Peer::client();
    peer.send(&headers(1, 0, &POST)).send(&headers(1, 0, &[("x", "y")]));
    assert_eq!(peer.ends().resets, [(1, PROTOCOL)]);
    let mut peer = Peer::client();
    peer.send(&headers(1, 0, &with(&POST, &[("content-length", "2")]))).send(&headers(1, END, &[("x", "y")]));
    assert_eq!(peer.ends().resets, [(1, PROTOCOL)]);
}

#[test]
fn a_block_that_does_not_decode_ends_the_connection() {
    for bad in [
        &[0x80][..],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        &[0xbe],
        &[0x00, 0x05, b'a'],
        &[0x00, 0x81, 0x00, 0x00],
        &[0x3f, 0xff, 0xff, 0x7f],
        &[0x82, 0x20],
    ] {
        let mut peer = Peer::client();
        peer.send(&headers(1, 0, &POST)).send(&frame(HEADERS, WHOLE | END, 3, bad));
        assert_eq!(peer.ends().code(), Some(9), "{bad:x?}");
        assert!(matches!(peer.events.last(), Some(Event::Closed(Close::Fault { .. }))));
    }
}

#[test]
fn a_head_beyond_its_limit_is_answered_and_the_table_lives_on() {
    let limits = Limits { head_bytes_max: 1024, ..Limits::default() };
    let mut peer = Peer::client_with(limits);
    // The big one adds an entry behind its limit: 0x40 is a literal that is indexed.
    let mut big = block(&with(&GET, &[("x", &"y".repeat(1500))]));
    big.extend(b"\x40\x04late\x05entry");
    peer.send(&frame(HEADERS, WHOLE | END, 1, &big));
    let Event::Refused { stream: 1, fault, .. } = peer.event() else { panic!() };
    assert_eq!(fault.status, 431);
    let mut next = block(&GET);
    next.push(0x80 | 62);
    peer.send(&frame(HEADERS, WHOLE | END, 3, &next));
    let Event::Head { head, .. } = peer.event() else { panic!() };
    assert!(head.lines.ends_with(b"late: entry\r\n\r\n"));
    assert_eq!(peer.ends(), Ends::default());
}

#[test]
fn other_protocols_are_told_apart_at_once() {
    for hello in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\nXX"] {
        let mut peer = Peer::silent(gateway::http2::session::Role::Server, Limits::default());
        peer.said();
        peer.send(hello);
        assert_eq!(peer.ends().code(), Some(PROTOCOL), "{hello:?}");
        assert!(peer.session.is_closed());
    }
}
