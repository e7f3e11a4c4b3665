//! Responses, both ways: from a server of ours to an HTTP/2 client, and from an HTTP/2 server to a client of ours.

use bytes::Bytes;
use gateway::http1::head::with_response;
use gateway::http2::fields::outbound::{Inexpressible, Manner};
use gateway::http2::fields::{NeverIndexed, Scheme};
use gateway::http2::frame::Code;
use gateway::http2::session::{Event, Unopened, Unsent, What, Why};

use crate::wire::*;

/// The fields that the client gets for an HTTP/1.1 head.
fn said(lines: &str) -> Vec<(String, String)> {
    let mut peer = Peer::client();
    peer.send(&headers(1, END, &GET));
    peer.answer(1, lines, true);
    let frames = peer.said();
    assert_eq!((frames.len(), frames[0].kind, frames[0].flags), (1, HEADERS, END | WHOLE));
    peer.decoded(&frames[0])
}

fn fields(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn an_answer_of_http1_loses_what_is_its_connections_and_its_capitals() {
    assert_eq!(
        said(
            "HTTP/1.1 200 Fine\r\nDate: now\r\nConnection: keep-alive, X-Gone\r\nX-Gone: 1\r\nKeep-Alive: 5\r\n\
             Transfer-Encoding: chunked\r\nUpgrade: h2c\r\nProxy-Connection: close\r\nX-Kept:  a \r\nSet-Cookie: a=b\r\n\
             Set-Cookie: c=d\r\nHTTP2-Settings: x\r\nContent-Length: 0\r\nX-A-Name-That-Is-Longer-Than-Any-That-Is-Known: 1\r\n\r\n"
        ),
        fields(&[
            (":status", "200"),
            ("date", "now"),
            ("x-kept", "a"),
            ("set-cookie", "a=b"),
            ("set-cookie", "c=d"),
            ("content-length", "0"),
            ("x-a-name-that-is-longer-than-any-that-is-known", "1"),
        ])
    );
    for status in [100u16, 103, 204, 206, 301, 304, 400, 404, 418, 500, 599] {
        let mut peer = Peer::client();
        peer.send(&headers(1, END, &GET));
        peer.answer(1, &format!("HTTP/1.1 {status} x\r\n\r\n"), true);
        let frame = peer.said().remove(0);
        assert_eq!(frame.flags & END, u8::from(status >= 200));
        assert_eq!(peer.decoded(&frame), fields(&[(":status", &status.to_string())]));
    }
}

#[test]
fn a_switch_of_protocols_cannot_be_said() {
    let mut peer = Peer::client();
    peer.send(&headers(1, END, &GET));
    let never_indexed = &NeverIndexed::default();
    let what = What::Head { lines: b"HTTP/1.1 101 Switching\r\n\r\n", never_indexed, end: true };
    let refused = peer.session.queue(1, what, 0);
    assert_eq!(refused, Err(Unsent::Inexpressible(Inexpressible::Switching)));
    // Nothing was sent: the caller answers 502.
    peer.answer(1, "HTTP/1.1 502 x\r\n\r\n", true);
    assert_eq!(peer.said().len(), 1);
}

#[test]
fn secrets_are_never_indexed_and_so_is_what_came_so() {
    let mut peer = Peer::client();
    let mut request = block(&GET);
    request.extend(b"\x10\x05x-pin\x041234");
    peer.send(&frame(HEADERS, WHOLE | END, 1, &request));
    let Event::Head { head, .. } = peer.event() else { panic!() };
    assert!(head.never_indexed.contains(b"x-pin") && !head.never_indexed.contains(b"x-pi"));

    let mut server = Peer::server();
    let manner = Manner {
        scheme: Scheme::Http,
        takes_trailers: true,
        protocol: None,
        never_indexed: &head.never_indexed,
    };
    let lines = "GET / HTTP/1.1\r\nHost: a\r\nX-Pin: 1\r\nAuthorization: 2\r\nCookie: 3\r\nX: 4\r\nTE: gzip, trailers\r\n\r\n";
    server.session.open(lines.as_bytes(), &manner, true, 0).unwrap();
    let block = server.said().remove(0).payload;
    let expect = [
        &b"\x82\x86\x84\x01\x01a"[..],
        b"\x10\x05x-pin\x011",
        b"\x1f\x08\x012",
        b"\x1f\x11\x013",
        b"\x00\x01x\x014",
        b"\x00\x02te\x08trailers",
    ];
    assert_eq!(block, expect.concat());
}

#[test]
fn a_request_of_ours_says_what_its_head_says() {
    let mut server = Peer::server();
    let lines = "PUT /x?y HTTP/1.1\r\nHost: a:81\r\nX-B: 1\r\nVia: 1.1 umbra\r\nConnection: close\r\nContent-Length: 2\r\nTE: gzip\r\n\r\n";
    let id = server.ask(lines, false);
    let frame = server.said().remove(0);
    assert_eq!((id, frame.stream, frame.flags), (1, 1, WHOLE));
    let expect = [
        (":method", "PUT"),
        (":scheme", "http"),
        (":path", "/x?y"),
        (":authority", "a:81"),
        ("x-b", "1"),
        ("via", "1.1 umbra"),
        ("content-length", "2"),
    ];
    assert_eq!(server.decoded(&frame), fields(&expect));
    assert_eq!(server.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true), 3);
}

/// A response as a client of ours takes it: its inner head, or nothing but a reset.
#[track_caller]
fn taken(method: &str, fields: &[(&str, &str)], flags: u8) -> Option<String> {
    let mut server = Peer::server();
    server.ask(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"), true);
    server.said();
    server.send(&headers(1, flags, fields));
    match server.event() {
        Event::Head { head, .. } => {
            let parsed = with_response(&head.lines, 100, method == "HEAD", |parsed| parsed.status);
            assert_eq!(parsed, Ok(head.status));
            Some(String::from_utf8(head.lines).unwrap())
        }
        Event::Reset { stream: 1, why: Why::Malformed(_) } => {
            assert_eq!(server.ends().resets, [(1, 1)]);
            None
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_of_an_http2_server_is_held_to_the_same_rules() {
    let of = |more: &[(&str, &str)]| taken("GET", &[&[(":status", "200")][..], more].concat(), 0);
    assert_eq!(
        of(&[("x", "y"), ("alt-svc", "h3=\":443\""), ("cookie", "a"), ("cookie", "b"), ("set-cookie", "c")]),
        Some("HTTP/1.1 200 \r\nx: y\r\ncookie: a\r\ncookie: b\r\nset-cookie: c\r\n\r\n".into())
    );
    for bad in [
        ("X", "y"),
        ("x", " y"),
        ("x", "a\r\nb: c"),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("te", "trailers"),
        (":status", "200"),
        (":path", "/"),
        ("content-length", "x"),
    ] {
        assert_eq!(of(&[bad]), None, "{bad:?}");
    }
    for status in ["", "20", "2000", "abc", "099", "600", "101", " 200", "+20"] {
        assert_eq!(taken("GET", &[(":status", status)], END), None, "{status:?}");
    }
    assert_eq!(taken("GET", &[("x", "y")], END), None);
    assert_eq!(taken("GET", &[(":status", "100")], END), None);
    assert_eq!(taken("GET", &[(":status", "200"), ("content-length", "5")], END), None);
    for (method, status) in [("HEAD", "200"), ("GET", "304"), ("GET", "204")] {
        assert!(taken(method, &[(":status", status), ("content-length", "5")], END).is_some());
    }
}

#[test]
fn content_of_answers_is_held_to_its_length() {
    let check = |method: &str, status: &str, length: Option<&str>, content: &[u8], expect: bool| {
        let mut server = Peer::server();
        server.ask(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"), true);
        let mut fields = vec![(":status", status)];
        fields.extend(length.map(|length| ("content-length", length)));
        server.send(&headers(1, 0, &fields)).send(&frame(DATA, END, 1, content));
        let ended = matches!(server.events.last(), Some(Event::Data { end: true, .. }));
        assert_eq!(
            (ended, server.ends().resets.is_empty()),
            (expect, expect),
            "{method} {status} {length:?}"
        );
    };
    check("GET", "200", Some("5"), b"hello", true);
    check("GET", "200", Some("5"), b"hell", false);
    check("GET", "200", Some("5"), b"hello!", false);
    check("GET", "200", None, b"hello", true);
    check("HEAD", "200", Some("5"), b"", true);
    check("HEAD", "200", Some("5"), b"hello", false);
    check("GET", "304", Some("5"), b"", true);
    check("GET", "204", None, b"x", false);
}

#[test]
fn interim_answers_come_before_the_final_one_and_are_few() {
    let mut server = Peer::server();
    server.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true);
    server.send(&headers(1, 0, &[(":status", "103"), ("link", "</a>")]));
    server.send(&headers(1, 0, &[(":status", "200")])).send(&headers(1, END, &[("grpc-status", "0")]));
    let [Event::Head { head: first, .. }, Event::Head { head: last, .. }, Event::Trailers { lines, .. }] =
        server.events.as_slice()
    else {
        panic!("{:?}", server.events)
    };
    assert!(first.is_interim() && !last.is_interim());
    assert_eq!(lines, b"grpc-status: 0\r\n");
    let id = server.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true);
    server.said();
    for _ in 0..17 {
        server.send(&headers(id, 0, &[(":status", "103")]));
    }
    assert_eq!(server.ends().resets, [(id, 11)]);
}

#[test]
fn trailers_go_behind_the_content() {
    let mut peer = Peer::client();
    peer.send(&headers(1, END, &GET));
    peer.answer(1, "HTTP/1.1 200 x\r\n\r\n", false);
    peer.session.queue(1, What::Content(Bytes::from_static(b"hello")), 0).unwrap();
    peer.session.queue(1, What::Trailers(b"Grpc-Status: 0\r\nX: y\r\n"), 0).unwrap();
    assert_eq!(peer.session.queue(1, What::Copied(b"x"), 0), Err(Unsent::Gone));
    let frames = peer.said();
    let kinds: Vec<_> = frames.iter().map(|frame| (frame.kind, frame.flags)).collect();
    assert_eq!(kinds, [(HEADERS, WHOLE), (DATA, 0), (HEADERS, WHOLE | END)]);
    assert_eq!(peer.decoded(&frames[2]), fields(&[("grpc-status", "0"), ("x", "y")]));
}

#[test]
fn an_answer_before_the_end_of_the_upload_stands_and_the_rest_is_not_wanted() {
    let mut peer = Peer::client();
    peer.send(&headers(1, 0, &POST)).send(&frame(DATA, 0, 1, b"x"));
    peer.answer(1, "HTTP/1.1 413 x\r\n\r\n", false);
    peer.session.queue(1, What::Copied(b"no"), 0).unwrap();
    peer.session.queue(1, What::End, 0).unwrap();
    peer.session.release(1);
    let kinds: Vec<_> = peer.said().iter().map(|frame| (frame.kind, frame.payload.clone())).collect();
    assert_eq!(kinds.len(), 3);
    assert_eq!(kinds[1], (DATA, b"no".to_vec()));
    assert_eq!(kinds[2], (RST_STREAM, vec![0, 0, 0, 0]));
    // Frames on their way are ignored, and their window comes back.
    peer.events.clear();
    peer.send(&frame(DATA, 0, 1, &[0; 1000])).send(&headers(1, END, &[("x", "y")]));
    assert!(peer.events.is_empty() && peer.ends() == Ends::default());
    // The other way round: the answer stands although the rest of the request is not wanted.
    let mut server = Peer::server();
    server.ask("POST / HTTP/1.1\r\nHost: a\r\n\r\n", false);
    server.send(&headers(1, END, &[(":status", "403")])).send(&frame(RST_STREAM, 0, 1, &[0; 4]));
    let [Event::Head { end: true, .. }, Event::Reset { why: Why::Peer(Code::NoError), .. }] =
        server.events.as_slice()
    else {
        panic!("{:?}", server.events)
    };
}

#[test]
fn an_exchange_that_ends_early_is_cut_where_it_stands() {
    let mut peer = Peer::client();
    peer.send(&headers(1, END, &GET));
    peer.answer(1, "HTTP/1.1 200 x\r\n\r\n", false);
    peer.session.release(1);
    assert_eq!(peer.ends().resets, [(1, 2)]);
    let mut server = Peer::server();
    server.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true);
    server.session.release(1);
    assert_eq!(server.ends().resets, [(1, 8)]);
    assert_eq!((server.session.streams(), peer.session.streams()), (0, 0));
}

#[test]
fn what_a_server_did_not_look_at_may_be_asked_again() {
    let mut server = Peer::server();
    for _ in 0..3 {
        server.ask("POST / HTTP/1.1\r\nHost: a\r\n\r\n", true);
    }
    server.send(&frame(RST_STREAM, 0, 1, &7u32.to_be_bytes()));
    assert_eq!(server.event(), Event::Reset { stream: 1, why: Why::Peer(Code::RefusedStream) });
    server.send(&frame(GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]));
    let expect = [Event::Reset { stream: 5, why: Why::Unprocessed }, Event::StreamsChanged];
    assert_eq!(server.events, expect);
    let manner = Manner {
        scheme: Scheme::Http,
        takes_trailers: false,
        protocol: None,
        never_indexed: &NeverIndexed::default(),
    };
    let again = server.session.open(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &manner, true, 0);
    assert_eq!(again, Err(Unopened::Draining));
    // The one that was looked at goes on to its end, and with it the connection.
    server.events.clear();
    server.send(&headers(3, END, &[(":status", "200")]));
    [1, 3, 5].into_iter().for_each(|id| server.session.release(id));
    server.collect();
    assert!(
        matches!(server.events.as_slice(), [Event::Head { stream: 3, .. }, Event::Closed(_)]),
        "{:?}",
        server.events
    );
}

#[test]
fn no_more_streams_are_opened_than_the_server_takes() {
    let mut server = Peer::server();
    server.send(&frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 2]));
    assert_eq!(server.event(), Event::StreamsChanged);
    assert_eq!(server.session.streams_free(), 2);
    server.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true);
    server.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true);
    let manner = Manner {
        scheme: Scheme::Http,
        takes_trailers: false,
        protocol: None,
        never_indexed: &NeverIndexed::default(),
    };
    let third = server.session.open(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &manner, true, 0);
    assert_eq!(third, Err(Unopened::Full));
    server.send(&headers(1, END, &[(":status", "200")]));
    server.session.release(1);
    assert_eq!(server.session.streams_free(), 1);
}

const ASKED: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn what_crosses_our_resets_ends_no_connection_and_what_was_not_allowed_does() {
    let mut server = Peer::server();
    let sibling = server.ask(ASKED, true);
    for _ in 0..50 {
        let left = server.ask(ASKED, true);
        server.said();
        server.session.release(left);
        assert_eq!(server.ends().resets, [(left, 8)]);
        server.send(&headers(left, 0, &[(":status", "200")]));
        server.send_times(2000, &frame(DATA, 0, left, b"a small message"));
        server.send(&headers(left, END, &[("grpc-status", "0")]));
        server.said();
    }
    assert_eq!(server.ends().goaway, None);
    server.events.clear();
    server.send(&headers(sibling, END, &[(":status", "200")]));
    assert!(matches!(server.event(), Event::Head { stream: 1, .. }));
    // A window holds 65,536 bytes, and none were given back.
    let mut server = Peer::server();
    let left = server.ask(ASKED, true);
    server.session.release(left);
    server.send_times(1_000, &frame(DATA, 0, left, &[0; 1000]));
    assert_eq!(server.ends().goaway, None, "its frames are few");
    server.send_times(20_000, &frame(DATA, 0, left, b"x"));
    assert_eq!(server.ends().code(), Some(11));
}

#[test]
fn what_comes_of_a_stream_that_was_given_up_long_ago_is_ignored() {
    let mut server = Peer::server();
    for n in 0..600 {
        let id = server.ask(ASKED, true);
        assert_eq!(id, 2 * n + 1);
        server.session.release(id);
        server.said();
    }
    server.send(&headers(1, 0, &[(":status", "200")]));
    server.send(&frame(DATA, END, 1, b"late"));
    assert_eq!((server.ends(), server.events.len()), (Ends::default(), 0));
    let id = server.ask(ASKED, true);
    server.send(&headers(id, END, &[(":status", "200")]));
    assert!(matches!(server.event(), Event::Head { stream, .. } if stream == id));
}
