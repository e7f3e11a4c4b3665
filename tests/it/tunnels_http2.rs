//! WebSockets by extended CONNECT (RFC 8441), on either side: a stream is the tunnel, and its siblings see nothing of it.

use std::io::Write as _;
use std::net::{Shutdown, SocketAddr, TcpListener};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tests::certificates::Authority;
use tests::http2::{DATA, END, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, frame, headers};
use tests::origin::write;
use tests::{Front, Gateway, Origin, PATIENCE, Rules, Setup, pattern};

use crate::http2::{PLAIN, listening};
use crate::tunnels::{ASKED, OPEN, accept, echo, ends, field, opened, take, taking};

/// The fields of an extended CONNECT.
fn connecting<'a>(path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let first = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", path)];
    let host = [(":authority", "a"), ("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat")];
    [first.as_slice(), &host, more].concat()
}

/// A client that has seen whether it may ask by extended CONNECT.
fn http2(gateway: &Gateway) -> (Raw, bool) {
    let mut raw = Raw::connect(gateway.address);
    loop {
        let frame = raw.frame().expect("SETTINGS");
        if frame.kind == SETTINGS && frame.flags & END == 0 {
            let offers = frame.payload.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]);
            return (raw, offers);
        }
    }
}

#[test]
fn an_http2_client_asks_by_extended_connect_and_its_stream_is_the_tunnel() {
    let (v1, v2) = (echo(), Origin::named("v2"));
    let setup = Setup::new(&v1).mirror("v2", v2.address, "");
    let gateway = Gateway::start(&taking(&setup, PLAIN), &[]);
    let (mut raw, offers) = http2(&gateway);
    assert!(offers, "SETTINGS_ENABLE_CONNECT_PROTOCOL");
    raw.send(&headers(1, 0, &connecting("/chat", &[("sec-websocket-key", "theirs"), ("cookie", "a=b")])));
    raw.send(&frame(DATA, 0, 1, b"early"));
    raw.until(|raw| raw.streams.get(&1).is_some_and(|heard| heard.body.len() >= 11));
    let heard = raw.streams[&1].clone();
    assert_eq!((heard.status(), heard.body.as_slice()), ("200", b"hello:early".as_slice()));
    assert_eq!((heard.field("sec-websocket-protocol"), heard.field("sec-websocket-accept")), ("chat", ""));
    assert_eq!((heard.field("upgrade"), heard.field("connection")), ("", ""));
    let content = pattern(60_000);
    for piece in content.chunks(10_000) {
        raw.send(&frame(DATA, 0, 1, piece));
    }
    raw.send(&frame(DATA, END, 1, b"end"));
    let heard = raw.response(1);
    assert!(heard.has_ended && heard.reset.is_none(), "{:?}", heard.reset);
    assert!(heard.body[11..] == [content.as_slice(), b"endbye"].concat());
    let wire = v1.wires().concat();
    assert!(wire.starts_with("GET /chat HTTP/1.1\r\n"), "{wire}");
    assert_eq!((field(&wire, "connection"), field(&wire, "upgrade")), (Some("Upgrade"), Some("websocket")));
    let key = field(&wire, "sec-websocket-key").expect("a key");
    assert_eq!((STANDARD.decode(key).map(|key| key.len()), key != "theirs"), (Ok(16), true));
    assert_eq!(field(&wire, "cookie"), Some("a=b"));
    ends(&gateway, "closed");
    let metrics = gateway.settled("v2");
    assert_eq!(metrics.mirror_by("v2", "skipped_total", "reason", "upgrade"), 1);
    assert_eq!(v2.connections(), 0);
}

#[test]
fn a_slow_reader_of_one_tunnel_stops_no_other_stream_of_its_connection() {
    // Sends more than any window, whether it is read or not.
    let v1 = Origin::scripted(|conn| {
        while let Some(head) = conn.head() {
            if !head.contains("Upgrade") {
                let _ = conn.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                continue;
            }
            let accept = accept(field(&head, "sec-websocket-key").unwrap_or_default());
            let _ = write!(conn.stream, "{OPEN}Sec-WebSocket-Accept: {accept}\r\n\r\n");
            let _ = conn.stream.write_all(&pattern(4 << 20));
            let _ = conn.stream.shutdown(Shutdown::Write);
            while conn.read() {}
            return;
        }
    });
    let gateway = Gateway::start(&taking(&Setup::new(&v1), PLAIN), &[]);
    let (mut raw, _) = http2(&gateway);
    // The connection's window is wide, each stream's is the initial one.
    raw.send(&frame(WINDOW_UPDATE, 0, 0, &(64_u32 << 20).to_be_bytes()));
    raw.is_kind = false;
    raw.send(&headers(1, 0, &connecting("/slow", &[])));
    raw.until(|raw| raw.streams.get(&1).is_some_and(|heard| heard.body.len() == 65_535));
    for stream in [3, 5, 7] {
        raw.send(&headers(stream, END, &tests::http2::request("GET", "/", &[])));
        assert_eq!(raw.response(stream).body, b"ok");
    }
    raw.send(&headers(9, 0, &connecting("/slow", &[])));
    raw.until(|raw| raw.streams.get(&9).is_some_and(|heard| heard.body.len() == 65_535));
    raw.is_kind = true;
    for stream in [9_u32, 1] {
        raw.send(&frame(WINDOW_UPDATE, 0, stream, &65_535_u32.to_be_bytes()));
        raw.until(|raw| raw.streams[&stream].has_ended || raw.streams[&stream].reset.is_some());
        assert!(raw.streams[&stream].body == pattern(4 << 20), "{}", raw.streams[&stream].body.len());
    }
}

#[test]
fn an_http2_client_believes_in_no_tunnel_that_is_none() {
    let v1 = Origin::new(|request, stream| match request.target.as_str() {
        "/403" => write(stream, "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"),
        "/forged" => write(stream, format!("{OPEN}Sec-WebSocket-Accept: {}\r\n\r\n", accept("another"))),
        _ => write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    });
    let other = "[[route]]\nname = \"other\"\npath_prefix = \"/other\"\nprimary=\"primary\"";
    let gateway = Gateway::start(&taking(&Setup::new(&v1).with(other), PLAIN), &[]);
    let (mut raw, offers) = http2(&gateway);
    assert!(offers);
    let cases = [
        ("/200", vec![], "502"),
        ("/forged", vec![], "502"),
        ("/403", vec![], "403"),
        ("/other", vec![], "501"),
        ("/version", vec![("sec-websocket-version", "13")], "400"),
    ];
    for (stream, (path, more, expect)) in (0..).zip(cases).map(|(n, case)| (1 + 2 * n, case)) {
        raw.send(&headers(stream, 0, &connecting(path, &more)));
        let heard = raw.response(stream);
        assert_eq!((heard.status(), heard.has_ended), (expect, true), "{path}: {heard:?}");
    }
    let protocol = [(":protocol", "connect-udp")];
    let mut fields = connecting("/", &[]);
    fields.retain(|(name, _)| *name != ":protocol");
    raw.send(&headers(21, 0, &[protocol.as_slice(), &fields].concat()));
    assert_eq!(raw.response(21).status(), "501");
    let tunnels = gateway.metrics().sum("umbra_tunnels_opened_total", &[]);
    assert_eq!(tunnels, 0);
    // Where no route takes any, it is not announced, and the field is none.
    let plain = Gateway::start(&listening(&Setup::new(&v1), PLAIN), &[]);
    let (mut raw, offers) = http2(&plain);
    assert!(!offers);
    raw.send(&headers(1, 0, &connecting("/", &[])));
    assert_eq!(raw.response(1).reset, Some(1));
}

#[test]
fn a_tunnel_that_was_not_to_be_had_is_no_fault_of_the_primary() {
    let v1 = Origin::new(|_, stream| write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    let text = taking(&Setup::new(&v1), PLAIN);
    let table = "[upstream.primary]\n";
    let rules = "ejection = { consecutive_5xx = 1, time = \"1h\", percent_max = 100 }";
    assert!(text.contains(table), "{text}");
    let gateway = Gateway::start(&text.replacen(table, &format!("{table}{rules}\n"), 1), &[]);
    let (mut raw, _) = http2(&gateway);
    for stream in [1, 3] {
        raw.send(&headers(stream, 0, &connecting("/", &[])));
        assert_eq!(raw.response(stream).status(), "502");
    }
    let metrics = gateway.metrics();
    for name in ["ejections", "failures"] {
        assert_eq!(metrics.sum(&format!("umbra_upstream_{name}_total"), &[]), 0, "{}", metrics.text());
    }
    assert_eq!(metrics.sum("umbra_rejected_total", &["reason=\"upgrade\""]), 2);
}

/// An upstream that speaks HTTP/2 and echoes its tunnels' bytes, once for each connection.
fn http2_echo(
    settings: &'static [(u16, u32)],
) -> (SocketAddr, std::sync::mpsc::Receiver<Vec<(String, String)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("an address");
    let (told, tells) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let told = told.clone();
            std::thread::spawn(move || {
                let mut raw = Raw::serve(stream, settings);
                let is_asked =
                    |raw: &Raw| raw.streams.get(&1).is_some_and(|heard| !heard.trailers.is_empty());
                raw.until(is_asked);
                let Some(asked) = raw.streams.get(&1) else { return };
                let _ = told.send(asked.trailers.clone());
                raw.send(&headers(1, 0, &[(":status", "200"), ("sec-websocket-protocol", "chat")]));
                raw.send(&frame(DATA, 0, 1, b"hello:"));
                let mut given = 0;
                loop {
                    let heard = raw.streams[&1].clone();
                    for piece in heard.body[given..].chunks(16_000) {
                        raw.send(&frame(DATA, 0, 1, piece));
                    }
                    given = heard.body.len();
                    if heard.is_over() {
                        break;
                    }
                    if raw.frame().is_none() {
                        return;
                    }
                }
                raw.send(&frame(DATA, END, 1, b"bye"));
                while raw.frame().is_some() {}
            });
        }
    });
    (address, tells)
}

#[test]
fn an_http2_upstream_is_asked_by_extended_connect_if_it_takes_that_whatever_the_client_speaks() {
    let (v1, asked) = http2_echo(&[(8, 1)]);
    let upstream = "[upstream.primary]\n";
    let speaking = |address| {
        let text = taking(&Setup::to(&[address]), PLAIN);
        Gateway::start(&text.replacen(upstream, &format!("{upstream}protocol = \"h2\"\n"), 1), &[])
    };
    let gateway = speaking(v1);
    let content = pattern(40_000);

    let mut client = gateway.client();
    client.send(format!("{ASKED}early"));
    let head = opened(&mut client);
    assert_eq!(field(&head, "sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!((field(&head, "upgrade"), field(&head, "connection")), (Some("websocket"), Some("Upgrade")));
    assert_eq!(field(&head, "sec-websocket-protocol"), Some("chat"));
    client.send(&content).finish();
    assert!(take(&mut client, 11 + content.len()) == [b"hello:early", content.as_slice()].concat());
    assert_eq!(take(&mut client, 3), b"bye");
    assert!(client.is_closed());

    let fields = asked.recv_timeout(PATIENCE).expect("it was asked");
    let of = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!(
        (of(":method"), of(":protocol"), of(":path")),
        (Some("CONNECT"), Some("websocket"), Some("/chat"))
    );
    assert_eq!((of(":scheme"), of(":authority")), (Some("http"), Some("a")));
    assert_eq!((of("sec-websocket-version"), of("sec-websocket-key")), (Some("13"), None));
    assert_eq!((of("upgrade"), of("connection"), of("te")), (None, None, None));
    ends(&gateway, "closed");

    let (v1, _asked) = http2_echo(&[(8, 1)]);
    let gateway = speaking(v1);
    let (mut raw, _) = http2(&gateway);
    raw.send(&headers(1, 0, &connecting("/chat", &[])));
    raw.send(&frame(DATA, 0, 1, b"early"));
    for piece in content.chunks(10_000) {
        raw.send(&frame(DATA, 0, 1, piece));
    }
    raw.send(&frame(DATA, END, 1, b""));
    let heard = raw.response(1);
    assert_eq!((heard.status(), heard.has_ended, heard.reset), ("200", true, None));
    assert!(heard.body == [b"hello:early", content.as_slice(), b"bye"].concat(), "{}", heard.body.len());
    ends(&gateway, "closed");

    let (v1, _asked) = http2_echo(&[]);
    let gateway = speaking(v1);
    let mut client = gateway.client();
    let answer = client.ask(ASKED);
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(answer.text().contains("takes no tunnels") && client.is_closed());
}

/// A server that opens a tunnel, hears `early`, and says `bye`, and that this is all; in the same write it says `and`.
fn server_that_ends(and: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut raw = Raw::serve(stream, &[(8, 1)]);
            raw.until(|raw| raw.streams.get(&1).is_some_and(|heard| !heard.trailers.is_empty()));
            raw.send(&headers(1, 0, &[(":status", "200"), ("sec-websocket-protocol", "chat")]));
            raw.until(|raw| raw.streams[&1].body == b"early");
            raw.send(&[frame(DATA, END, 1, b"bye"), and.clone()].concat());
            while raw.frame().is_some() {}
        }
    });
    address
}

#[test]
fn an_http2_upstream_that_has_said_all_and_wants_no_more_breaks_no_tunnel() {
    let reset = |code: u32| frame(RST_STREAM, 0, 1, &code.to_be_bytes());
    // NO_ERROR: the rest of the client's bytes is not wanted (RFC 9113 §8.1). Any other end of the stream, or of its connection, loses
    // them.
    for (and, ended) in [(reset(0), "closed"), (reset(8), "primary"), (frame(DATA, 0, 0, b"x"), "primary")] {
        let text = taking(&Setup::to(&[server_that_ends(and.clone())]), PLAIN);
        let upstream = "[upstream.primary]\n";
        let text = text.replacen(upstream, &format!("{upstream}protocol = \"h2\"\n"), 1);
        let gateway = Gateway::start(&text, &[]);
        let mut client = gateway.client();
        client.send(format!("{ASKED}early"));
        opened(&mut client);
        assert_eq!(take(&mut client, 3), b"bye", "{and:?}");
        client.send("late");
        assert!(client.is_closed(), "{and:?}");
        client.send("later").finish();
        ends(&gateway, ended);
    }
}

#[test]
fn an_http2_client_over_tls_has_its_tunnel_to_a_primary_over_tls() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let authority = Authority::new(folder.path(), "ca");
    let pair = authority.issue("shop", &["shop.example", "127.0.0.1"]);
    let v1 = echo();
    let front = Front::new(&pair, v1.address, Rules::default());
    let listener = format!("tls = {{ certificates = [{}] }}", pair.toml());
    let text = taking(&Setup::to(&[front.address]), &listener);
    let table = "[upstream.primary]\n";
    let text = text.replacen(table, &format!("{table}tls = {{ ca = {:?} }}\n", authority.ca), 1);
    let gateway = Gateway::start(&text, &[]);
    let mut raw = Raw::covered(gateway.address, &authority.ca, "shop.example", &["h2"]).expect("a handshake");
    let mut fields = connecting("/chat", &[]);
    fields.retain(|(name, _)| ![":scheme", ":authority"].contains(name));
    let fields =
        [&fields[..3], &[(":scheme", "https"), (":authority", "shop.example")], &fields[3..]].concat();
    raw.send(&headers(1, 0, &fields));
    raw.until(|raw| raw.streams.get(&1).is_some_and(|heard| heard.body.len() >= 6));
    let content = pattern(60_000);
    for piece in content.chunks(10_000) {
        raw.send(&frame(DATA, 0, 1, piece));
    }
    raw.until(|raw| raw.streams[&1].body.len() >= 6 + content.len());
    raw.send(&frame(DATA, END, 1, b""));
    let heard = raw.response(1);
    assert_eq!((heard.status(), heard.has_ended, heard.reset), ("200", true, None));
    // The server's bytes behind our end may be missing.
    let rest = heard.body.strip_prefix([b"hello:", content.as_slice()].concat().as_slice());
    assert!(rest.is_some_and(|rest| b"bye".starts_with(rest)), "{}", heard.body.len());
    ends(&gateway, "closed");
}
