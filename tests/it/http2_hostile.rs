//! HTTP/2 clients that break rules, or cost more than they ask for, over a socket: the frames that each gets, and the requests
//! that primary and mirror get.

use std::time::Duration;

use tests::http2::{
    CONTINUATION, DATA, END, HEADERS, PING, PRIORITY, RST_STREAM, Raw, SETTINGS, WHOLE, WINDOW_UPDATE, block,
    frame, headers, request,
};
use tests::{Gateway, Origin, Setup, eventually};

const PROTOCOL: u32 = 1;
const FLOW: u32 = 3;
const CLOSED: u32 = 5;
const SIZE: u32 = 6;
const COMPRESSION: u32 = 9;
const CALM: u32 = 11;

fn start(setup: &Setup) -> Gateway {
    let own = "[[listener]]\nbind = \"127.0.0.1:0\"\n";
    Gateway::start(&setup.toml().replacen(own, &format!("{own}protocols = [\"h2\"]\n"), 1), &[])
}

fn goaways(gateway: &Gateway, reason: &str) -> i64 {
    gateway.metrics().sum("umbra_http2_goaways_total", &[&format!("reason=\"{reason}\"")])
}

fn id(n: usize) -> u32 {
    2 * n as u32 + 1
}

fn get(n: u32) -> Vec<u8> {
    headers(n, END, &request("GET", "/", &[]))
}

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Gets {
    /// RST_STREAM with this code, and nothing else.
    Reset(u32),
    Status(&'static str),
}

type Row = (&'static str, Vec<u8>, Gets);

fn asked(name: &'static str, fields: &[(&str, &str)], gets: Gets) -> Row {
    (name, headers(1, END, fields), gets)
}

fn rows() -> Vec<Row> {
    use Gets::{Reset, Status};
    let with = |more: &[(&'static str, &'static str)]| request("GET", "/", more);
    let without = |name: &str| {
        request("GET", "/", &[]).into_iter().filter(|(known, _)| *known != name).collect::<Vec<_>>()
    };
    let upload = |fields: &[(&'static str, &'static str)], data: &[&[u8]]| {
        let mut bytes = headers(1, 0, &request("POST", "/", fields));
        for (n, piece) in data.iter().enumerate() {
            bytes.extend(frame(DATA, if n + 1 == data.len() { END } else { 0 }, 1, piece));
        }
        bytes
    };
    vec![
        asked("no method", &without(":method"), Reset(PROTOCOL)),
        asked("no scheme", &without(":scheme"), Reset(PROTOCOL)),
        asked("no path", &without(":path"), Reset(PROTOCOL)),
        asked("no authority and no host", &without(":authority"), Status("400")),
        asked("a path that is empty", &with(&[(":path", "")]), Reset(PROTOCOL)),
        asked("a path without a slash", &with(&[(":path", "x")]), Status("400")),
        asked("an asterisk that is no OPTIONS", &with(&[(":path", "*")]), Status("400")),
        asked("a path with a blank", &with(&[(":path", "/a b")]), Reset(PROTOCOL)),
        asked("a path that breaks a line", &with(&[(":path", "/a\r\nx: y")]), Reset(PROTOCOL)),
        asked("a fragment", &with(&[(":path", "/a#b")]), Status("400")),
        asked("a method that is no token", &with(&[(":method", "G(T")]), Reset(PROTOCOL)),
        asked("another scheme", &with(&[(":scheme", "https")]), Status("400")),
        asked("userinfo", &with(&[(":authority", "u@a")]), Status("400")),
        asked("another host", &with(&[("host", "b")]), Status("400")),
        asked("two hosts", &with(&[("host", "a"), ("host", "a")]), Status("400")),
        asked(
            "an unknown pseudo-header",
            &[request("GET", "/", &[]), vec![(":x", "y")]].concat(),
            Reset(PROTOCOL),
        ),
        asked(
            "a pseudo-header twice",
            &[request("GET", "/", &[]), vec![(":path", "/")]].concat(),
            Reset(PROTOCOL),
        ),
        asked(
            "a pseudo-header behind a field",
            &[vec![("x", "y")], request("GET", "/", &[])].concat(),
            Reset(PROTOCOL),
        ),
        asked("a name in upper case", &with(&[("X-A", "b")]), Reset(PROTOCOL)),
        asked("a name with a blank", &with(&[("x a", "b")]), Reset(PROTOCOL)),
        asked("a name with a colon", &with(&[("x:a", "b")]), Reset(PROTOCOL)),
        asked("a value that breaks a line", &with(&[("x", "a\r\nb: c")]), Reset(PROTOCOL)),
        asked("a value with NUL", &with(&[("x", "a\0b")]), Reset(PROTOCOL)),
        asked("a value with a blank at its edge", &with(&[("x", " a")]), Reset(PROTOCOL)),
        asked("connection", &with(&[("connection", "x-a")]), Reset(PROTOCOL)),
        asked("keep-alive", &with(&[("keep-alive", "5")]), Reset(PROTOCOL)),
        asked("transfer-encoding", &with(&[("transfer-encoding", "chunked")]), Reset(PROTOCOL)),
        asked("upgrade", &with(&[("upgrade", "h2c")]), Reset(PROTOCOL)),
        asked("te: gzip", &with(&[("te", "gzip")]), Reset(PROTOCOL)),
        asked("a length without content", &with(&[("content-length", "3")]), Reset(PROTOCOL)),
        asked("a length that is none", &with(&[("content-length", "+0")]), Reset(PROTOCOL)),
        asked("two lengths", &with(&[("content-length", "0"), ("content-length", "0")]), Reset(PROTOCOL)),
        asked("CONNECT", &[(":method", "CONNECT"), (":authority", "a:80")], Status("405")),
        asked(
            "extended CONNECT, which was not announced",
            &[request("CONNECT", "/", &[]), vec![(":protocol", "websocket")]].concat(),
            Reset(PROTOCOL),
        ),
        asked("a trace", &with(&[(":method", "TRACE")]), Status("405")),
        (
            "a head that is too large",
            {
                let block = block(&with(&[("x", &*"y".repeat(20_000).leak())]));
                let (first, second) = block.split_at(16_000);
                [frame(HEADERS, END, 1, first), frame(CONTINUATION, WHOLE, 1, second)].concat()
            },
            Status("431"),
        ),
        ("more content than declared", upload(&[("content-length", "3")], &[b"abcd"]), Reset(PROTOCOL)),
        ("less content than declared", upload(&[("content-length", "3")], &[b"ab"]), Reset(PROTOCOL)),
        (
            "pseudo-headers in trailers",
            [headers(1, 0, &request("POST", "/", &[])), headers(1, END, &[(":path", "/")])].concat(),
            Reset(PROTOCOL),
        ),
        (
            "HEADERS behind the end",
            [
                headers(1, 0, &request("POST", "/", &[])),
                frame(DATA, END, 1, b"x"),
                headers(1, END, &[("x", "y")]),
            ]
            .concat(),
            Reset(CLOSED),
        ),
        (
            "a window that grows by nothing",
            [headers(1, 0, &request("POST", "/", &[])), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat(),
            Reset(PROTOCOL),
        ),
        (
            "a stream's window beyond the greatest",
            [
                headers(1, 0, &request("POST", "/", &[])),
                frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]),
            ]
            .concat(),
            Reset(FLOW),
        ),
    ]
}

#[test]
fn a_malformed_request_costs_its_stream_and_nobody_else_sees_anything() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let gateway = start(&Setup::new(&v1).mirror("v2", v2.address, ""));
    let mut served = 0;
    for (name, bytes, gets) in rows() {
        let mut raw = Raw::connect(gateway.address);
        raw.send(&bytes);
        let heard = raw.response(1);
        match gets {
            // The primary may have answered before the fault came.
            Gets::Reset(code) => assert_eq!(heard.reset, Some(code), "{name}: {heard:?}"),
            Gets::Status(status) => assert_eq!((heard.status(), heard.has_ended), (status, true), "{name}"),
        }
        assert_eq!(raw.send(&get(3)).response(3).body, b"v1", "{name}: the connection goes on");
        served += 1;
    }
    for origin in [&v1, &v2] {
        let requests = origin.wait_for(served);
        assert!(requests.iter().all(|request| request.method == "GET"), "{requests:?}");
        assert_eq!((requests.len(), origin.invalid()), (served, Vec::new()));
    }
    gateway.settled("v2");
    let rejected = |why: &str| gateway.metrics().sum("umbra_rejected_total", &[&format!("reason=\"{why}\"")]);
    assert!(rejected("malformed") > 15 && rejected("bad_request") > 5);
}

/// Frames that end the whole connection: the bytes, the code of its GOAWAY, the reason it is counted under.
fn ends() -> Vec<(&'static str, Vec<u8>, u32, &'static str)> {
    let bare = |kind, stream, payload: &[u8]| frame(kind, 0, stream, payload);
    vec![
        ("DATA on an idle stream", bare(DATA, 1, b"x"), PROTOCOL, "protocol_error"),
        ("DATA of the connection", bare(DATA, 0, b"x"), PROTOCOL, "protocol_error"),
        ("RST_STREAM on an idle stream", bare(RST_STREAM, 1, &[0; 4]), PROTOCOL, "protocol_error"),
        ("HEADERS on an even stream", headers(2, END, &request("GET", "/", &[])), PROTOCOL, "protocol_error"),
        ("a lower stream", [get(5), get(3)].concat(), PROTOCOL, "protocol_error"),
        ("a push", bare(5, 1, &[0; 4]), PROTOCOL, "protocol_error"),
        ("CONTINUATION of nothing", bare(CONTINUATION, 1, b""), PROTOCOL, "protocol_error"),
        (
            "a frame inside a block",
            [bare(HEADERS, 1, b"\x82"), bare(PING, 0, &[0; 8])].concat(),
            PROTOCOL,
            "protocol_error",
        ),
        (
            "a window beyond the greatest",
            bare(WINDOW_UPDATE, 0, &[0x7f, 0xff, 0xff, 0xff]),
            FLOW,
            "flow_control_error",
        ),
        (
            "a window by SETTINGS",
            bare(SETTINGS, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
            FLOW,
            "flow_control_error",
        ),
        ("a PING of seven bytes", bare(PING, 0, &[0; 7]), SIZE, "frame_size_error"),
        ("SETTINGS of five bytes", bare(SETTINGS, 0, &[0; 5]), SIZE, "frame_size_error"),
        ("a frame that is too large", bare(DATA, 1, &[0; 16_385]), SIZE, "frame_size_error"),
        (
            "a block that cannot be read",
            frame(HEADERS, WHOLE | END, 1, &[0xff; 20]),
            COMPRESSION,
            "compression_error",
        ),
        ("a reference to nothing", frame(HEADERS, WHOLE | END, 1, &[0xbf]), COMPRESSION, "compression_error"),
    ]
}

#[test]
fn a_broken_connection_is_ended_by_goaway_with_its_code_and_counted() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let gateway = start(&Setup::new(&v1).mirror("v2", v2.address, ""));
    let mut counted = std::collections::BTreeMap::new();
    for (name, bytes, code, reason) in ends() {
        let mut raw = Raw::connect(gateway.address);
        let ended = raw.send(&bytes).end();
        assert_eq!(ended.map(|(code, _)| code), Some(code), "{name}");
        *counted.entry(reason).or_insert(0) += 1;
        let times = counted[reason];
        eventually(&format!("{name} is counted as {reason}"), || goaways(&gateway, reason) == times);
    }
    // The wrong preface, and none.
    let mut raw = Raw::silent(gateway.address);
    assert_eq!(raw.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").end().map(|(code, _)| code), Some(PROTOCOL));
    let mut raw = Raw::silent(gateway.address);
    let hello = [tests::http2::PREFACE, &get(1)].concat();
    assert_eq!(raw.send(&hello).end().map(|(code, _)| code), Some(PROTOCOL), "SETTINGS come first");
    gateway.settled("v2");
    let mut fine = Raw::connect(gateway.address);
    assert_eq!(fine.send(&get(1)).response(1).body, b"v1");
}

/// Sends `bytes` of each round until the gateway has had enough.
#[track_caller]
fn flood(gateway: &Gateway, reason: &str, rounds: usize, mut bytes: impl FnMut(usize) -> Vec<u8>) {
    let mut raw = Raw::connect(gateway.address);
    raw.is_kind = false;
    for n in 0..rounds {
        raw.send(&bytes(n));
        if raw.is_ended {
            break;
        }
    }
    // A reset may have overtaken it, where much was on its way.
    if let Some((code, why)) = raw.end() {
        assert_eq!((code, why.as_str()), (CALM, reason));
    }
    eventually(&format!("{reason} is counted"), || goaways(gateway, reason) == 1);
}

#[test]
fn every_flood_ends_in_goaway_with_its_reason_and_the_others_are_served() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let more = "[timeouts]\nrequest_head = \"500ms\"";
    let gateway = start(&Setup::new(&v1).mirror("v2", v2.address, "ring_entries_max = 64").with(more));
    let mut other = Raw::connect(gateway.address);
    let mut next = (1..).step_by(2);
    let mut is_served = |what: &str| {
        let n = next.next().expect("a stream");
        assert_eq!(other.send(&get(n)).response(n).body, b"v1", "{what}");
    };
    flood(&gateway, "resets", 1000, |n| {
        [get(id(n)), frame(RST_STREAM, 0, id(n), &8u32.to_be_bytes())].concat()
    });
    is_served("resets");
    flood(&gateway, "settings", 100, |_| frame(SETTINGS, 0, 0, b""));
    is_served("settings");
    flood(&gateway, "continuations", 100, |n| match n {
        0 => frame(HEADERS, END, 1, b"\x82"),
        _ => frame(CONTINUATION, 0, 1, b""),
    });
    is_served("continuations");
    flood(&gateway, "block_bytes", 8, |n| {
        frame(if n == 0 { HEADERS } else { CONTINUATION }, 0, 1, &[0; 16_000])
    });
    is_served("block_bytes");
    flood(&gateway, "fields", 1, |_| {
        // An entry of 4,000 bytes, and then a byte for each time it is meant.
        let mut bomb = block(&request("GET", "/", &[]));
        bomb.extend(b"\x40\x01x\x7f\xa1\x1e");
        bomb.extend([b'y'; 4000]);
        bomb.extend([0x80 | 62; 12_000]);
        frame(HEADERS, WHOLE | END, 1, &bomb)
    });
    is_served("fields");
    flood(&gateway, "idle_frames", 100, |n| {
        let open = if n == 0 { headers(1, 0, &request("POST", "/", &[])) } else { Vec::new() };
        [open, frame(DATA, 0, 1, b"").repeat(1000)].concat()
    });
    is_served("empty DATA");
    let mut raw = Raw::connect(gateway.address);
    raw.send(&frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]).repeat(6000));
    assert_eq!(raw.end().map(|(code, _)| code), Some(CALM), "PRIORITY");
    let mut raw = Raw::connect(gateway.address);
    raw.send(&frame(99, 0, 0, &[0; 1000]).repeat(100));
    assert_eq!(raw.end().map(|(code, _)| code), Some(CALM), "unknown frames");
    // PINGs whose answers are not read: as many as come in one go.
    let mut raw = Raw::connect(gateway.address);
    raw.send(&frame(PING, 0, 0, &[0; 8]).repeat(1000));
    assert_eq!(raw.end().map(|(code, _)| code), Some(CALM), "PING");
    eventually("it is counted", || goaways(&gateway, "answers_unsent") == 1);
    // Silence behind the preface, and a head that drips.
    let mut raw = Raw::silent(gateway.address);
    raw.is_kind = false;
    assert_eq!(raw.send(tests::http2::PREFACE).end().map(|(code, _)| code), Some(CALM), "silence");
    let mut raw = Raw::connect(gateway.address);
    raw.is_kind = false;
    assert_eq!(raw.send(&frame(HEADERS, END, 1, b"\x82")).end().map(|(code, _)| code), Some(CALM));
    eventually("both are counted", || goaways(&gateway, "slow") == 2);
    is_served("all of it");
    let metrics = gateway.settled("v2");
    metrics.ledger("v2").expect("the ledger balances");
}

#[test]
fn a_client_that_cancels_one_in_five_and_one_of_many_small_messages_are_honest() {
    let v1 = Origin::named("v1");
    let gateway = start(&Setup::new(&v1));
    let mut raw = Raw::connect(gateway.address);
    for n in 0..600 {
        raw.send(&get(id(n)));
        if n % 5 == 4 {
            raw.send(&frame(RST_STREAM, 0, id(n), &8u32.to_be_bytes()));
        } else {
            assert_eq!(raw.response(id(n)).body, b"v1", "{n}");
        }
    }
    // Ten thousand messages of five bytes.
    let last = id(600);
    raw.send(&headers(last, 0, &request("POST", "/", &[])));
    for _ in 0..100 {
        raw.send(&frame(DATA, 0, last, b"small").repeat(100));
    }
    assert_eq!(raw.send(&frame(DATA, END, last, b"")).response(last).body, b"v1");
    let requests = v1.requests();
    let post = requests.iter().find(|request| request.method == "POST").expect("the messages");
    assert_eq!(post.body, b"small".repeat(10_000));
    assert!(raw.goaways.is_empty());
}

#[test]
fn a_peer_that_is_silent_with_a_request_under_way_is_asked_and_then_given_up() {
    let v1 = Origin::scripted(|conn| {
        conn.head();
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
        conn.read_to_end();
    });
    let gateway = start(&Setup::new(&v1).with("[http2]\nping_after = \"300ms\"\nping_timeout = \"300ms\""));
    let mut kind = Raw::connect(gateway.address);
    kind.send(&get(1));
    let mut pings = 0;
    while pings < 3 {
        let frame = kind.frame().expect("it goes on");
        pings += usize::from(frame.kind == PING && frame.flags == 0);
    }
    let mut dead = Raw::connect(gateway.address);
    dead.is_kind = false;
    dead.send(&get(1));
    assert_eq!(dead.end().map(|(code, why)| (code, why.is_empty())), Some((0, false)));
    eventually("it is counted", || goaways(&gateway, "lifeless") > 0);
}

#[test]
fn cookies_are_one_field_where_they_leave_http2_and_claims_of_strangers_go() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let setup = Setup::new(&v1)
        .mirror("v2", v2.address, "redact = { cookies = [\"sid\"], headers = [\"authorization\"] }")
        .with("[headers]\nforwarded = \"replace\"");
    let gateway = start(&setup);
    let mut raw = Raw::connect(gateway.address);
    let more = [
        ("cookie", "a=b"),
        ("x", "y"),
        ("cookie", "sid=secret"),
        ("authorization", "Bearer secret"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-umbra-mirror", "v2"),
        ("te", "trailers"),
    ];
    assert_eq!(raw.send(&headers(1, END, &request("GET", "/", &more))).response(1).status(), "200");
    let sent = &v1.wait_for(1)[0];
    assert_eq!(sent.values("cookie"), ["a=b; sid=secret"]);
    assert_eq!(sent.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!((sent.field("te"), sent.field("x-umbra-mirror")), (None, None));
    let copy = &v2.wait_for(1)[0];
    assert!(!v2.saw("secret"), "{copy:?}");
    assert_eq!(copy.field("x-umbra-mirror"), Some("v2"));
}

#[test]
fn a_stalled_connection_holds_no_worker() {
    // Connections that never read, each with responses of a megabyte under way.
    let v1 = Origin::new(|request, stream| {
        let length = if request.target == "/large" { 1 << 20 } else { 2 };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        tests::origin::write(stream, [head.as_bytes(), &vec![b'x'; length]].concat())
    });
    let gateway = start(&Setup::new(&v1).with("[timeouts]\nwrite = \"1s\""));
    let held: Vec<Raw> = (0..10)
        .map(|_| {
            let mut raw = Raw::connect(gateway.address);
            raw.is_kind = false;
            let wide = [
                frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]),
                frame(WINDOW_UPDATE, 0, 0, &0x7000_0000u32.to_be_bytes()),
            ];
            raw.send(&wide.concat());
            for n in 0..10 {
                raw.send(&headers(id(n), END, &request("GET", "/large", &[])));
            }
            raw
        })
        .collect();
    let mut other = Raw::connect(gateway.address);
    for n in 0..50 {
        assert_eq!(other.send(&get(id(n))).response(id(n)).body, b"xx");
    }
    assert!(gateway.rss_bytes() < 400 << 20, "{} bytes", gateway.rss_bytes());
    tests::eventually_within(Duration::from_secs(30), "all of them are given up", || {
        gateway.metrics().sum("umbra_connections_active", &[]) == 1
    });
    drop(held);
}

#[test]
fn a_client_that_asks_and_does_not_read_is_not_read_either_and_nothing_is_lost() {
    // Heads without content, which no window bounds.
    let head = format!("HTTP/1.1 204 No Content\r\nX: {}\r\n\r\n", "y".repeat(7_000));
    let v1 = Origin::new(move |_, stream| tests::origin::write(stream, &head));
    // On a slow machine with much under way, nothing is refused either.
    let gateway = start(&Setup::new(&v1).with("[timeouts]\nwrite = \"300s\"\n[http2]\nstreams_max = 5000"));
    let mut raw = Raw::connect(gateway.address);
    let streams = || gateway.metrics().sum("umbra_http2_streams_total", &[]) as usize;
    let mut asked = 0;
    let is_taken_in = |asked: usize| {
        let begun = std::time::Instant::now();
        while streams() < asked && begun.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(5));
        }
        streams() == asked
    };
    while is_taken_in(asked) {
        assert!(asked < 5_000, "{} kB were answered that nobody reads", asked * 7);
        let more: Vec<u8> = (asked..asked + 50).flat_map(|n| get(id(n))).collect();
        raw.send(&more);
        asked += 50;
    }
    // The client does not answer PINGs either, and is not given up. As it reads on, all its answers come.
    for n in 0..asked {
        let heard = raw.response(id(n));
        assert_eq!((heard.status(), heard.field("x").len()), ("204", 7_000), "{n} of {asked}");
    }
    assert_eq!((streams(), raw.goaways.is_empty()), (asked, true));
}

#[test]
fn a_stream_that_takes_its_response_in_drips_is_given_up_and_its_connection_goes_on() {
    let v1 = Origin::new(|_, stream| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n".as_slice();
        tests::origin::write(stream, [head, &[b'x'; 60_000]].concat())
    });
    let own = "[timeouts]\nwrite = \"2s\"\n[limits]\nresponse_bytes_per_second_min = 1000";
    let gateway = start(&Setup::new(&v1).with(own));
    let mut raw = Raw::connect(gateway.address);
    raw.is_kind = false;
    raw.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).send(&get(1));
    // The next byte is asked for as soon as one has come: it is never silent.
    let begun = std::time::Instant::now();
    let is_over = |raw: &Raw| raw.streams.get(&1).is_some_and(|heard| heard.is_over());
    while !is_over(&raw) {
        assert!(begun.elapsed() < Duration::from_secs(60), "it may drip for ever");
        std::thread::sleep(Duration::from_millis(100));
        let had = raw.streams.get(&1).map_or(0, |heard| heard.body.len());
        raw.send(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]));
        raw.until(|raw| is_over(raw) || raw.streams.get(&1).is_some_and(|heard| heard.body.len() > had));
        assert!(!raw.is_ended);
    }
    assert_eq!(raw.streams[&1].reset, Some(8), "CANCEL");
    raw.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])).send(&get(3));
    assert_eq!(raw.response(3).body.len(), 60_000);
    let stalled = || gateway.metrics().sum("umbra_http2_streams_reset_total", &["by=\"stalled\""]);
    eventually("it is counted", || stalled() == 1);
}

#[test]
fn a_client_that_sends_no_more_gets_its_response_however_long_that_takes() {
    let v1 = Origin::new(|_, stream| {
        std::thread::sleep(Duration::from_secs(2));
        tests::origin::write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nv1")
    });
    let gateway = start(&Setup::new(&v1).with("[http2]\nping_after = \"300ms\"\nping_timeout = \"300ms\""));
    let mut raw = Raw::connect(gateway.address);
    raw.is_kind = false;
    raw.send(&get(1)).finish();
    assert_eq!(raw.response(1).body, b"v1");
    assert_eq!(goaways(&gateway, "lifeless"), 0);
}

#[test]
fn what_an_operator_says_of_http2_holds() {
    let v1 = Origin::named("v1");
    let keys = "[http2]\nresets_max = 2\nstream_bytes_max = \"2KiB\"\nblock_frames_max = 1\nsettings_max = 1\n\
                answers_unsent_max = 1\nidle_bytes_max = \"2KiB\"\nidle_bytes_per_second = 0";
    let gateway = start(&Setup::new(&v1).with(keys));
    flood(&gateway, "resets", 3, |n| [get(id(n)), frame(RST_STREAM, 0, id(n), &8u32.to_be_bytes())].concat());
    flood(&gateway, "continuations", 1, |_| {
        let block = block(&request("GET", "/", &[]));
        let (first, second) = block.split_at(5);
        [frame(HEADERS, END, 1, first), frame(CONTINUATION, WHOLE, 1, second)].concat()
    });
    // The first came with the preface.
    flood(&gateway, "settings", 1, |_| frame(SETTINGS, 0, 0, b""));
    flood(&gateway, "idle_frames", 1, |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]).repeat(200));
    let mut raw = Raw::connect(gateway.address);
    raw.send(&headers(1, 0, &request("POST", "/", &[])));
    raw.send(&frame(DATA, 0, 1, b"x").repeat(100));
    assert_eq!(raw.response(1).reset, Some(CALM), "a hundred frames of a byte cost 33 each");
    raw.send(&headers(3, 0, &request("POST", "/", &[])));
    assert_eq!(raw.send(&frame(DATA, END, 3, &[b'x'; 1_900])).response(3).body, b"v1");
}
