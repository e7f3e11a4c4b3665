//! Primaries that speak HTTP/2 badly, or end in the middle: frames by hand.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tests::http2::{
    CONTINUATION, DATA, END, GOAWAY, HEADERS, PING, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, ask, block,
    connect, frame, headers, run,
};
use tests::{Gateway, H2Origin, Origin, Setup, eventually, pattern};

use crate::http2_upstream::{comes, failed, get, post, speaking, start, upstream};

pub(crate) const REFUSED_STREAM: u32 = 7;

/// Frames of a server.
type Frames = fn() -> Vec<u8>;

/// A server whose connections, counted from 0, run the test's script.
pub(crate) fn server(
    script: impl Fn(usize, TcpStream) + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("an address");
    let count = Arc::<AtomicUsize>::default();
    let (script, theirs) = (Arc::new(script), Arc::clone(&count));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let n = theirs.fetch_add(1, Ordering::SeqCst);
            let script = Arc::clone(&script);
            std::thread::spawn(move || script(n, stream));
        }
    });
    (address, count)
}

pub(crate) fn ok(raw: &mut Raw, stream: u32, body: &str) {
    raw.send(&headers(stream, 0, &[(":status", "200")]));
    raw.send(&frame(DATA, END, stream, body.as_bytes()));
}

pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub(crate) fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

/// Until the gateway has ended the connection.
pub(crate) fn drained(raw: &mut Raw) {
    raw.until(|raw| raw.is_ended);
}

#[test]
fn what_was_refused_is_sent_once_more_whatever_its_method_and_no_more_than_once() {
    let (address, _) = server(|_, tcp| {
        let mut raw = Raw::serve(tcp, &[]);
        for n in 0.. {
            let stream = 2 * n + 1;
            let asked = raw.asked(stream);
            if raw.is_ended {
                return;
            }
            let path = asked.trailers.iter().find(|(name, _)| name == ":path").map(|(_, path)| path.as_str());
            match path {
                Some("/once") if n > 0 => ok(&mut raw, stream, "served"),
                _ => {
                    raw.send(&reset(stream, REFUSED_STREAM));
                }
            }
        }
    });
    let v2 = Origin::named("v2");
    let gateway = start(&Setup::to(&[address]).mirror("v2", v2.address, ""));
    let answer = gateway.client().ask(post("/once", "content"));
    assert_eq!((answer.status, answer.text()), (200, "served".to_owned()));
    assert_eq!((failed(&gateway, "refused"), upstream(&gateway, "retries_total")), (1, 1));
    let answer = gateway.client().ask(get("/always"));
    assert_eq!(answer.status, 503);
    assert_eq!((failed(&gateway, "refused"), upstream(&gateway, "retries_total")), (3, 2));
    let metrics = gateway.settled("v2");
    assert_eq!(
        v2.requests().iter().filter(|copy| copy.body == b"content").count(),
        1,
        "one copy of both tries"
    );
    assert_eq!(metrics.mirror("v2", "dropped_total"), 0);
}

#[test]
fn a_goaway_lets_what_it_took_end_and_sends_the_rest_elsewhere() {
    let (address, connections) = server(|n, tcp| {
        let mut raw = Raw::serve(tcp, &[]);
        if n > 0 {
            for n in 0.. {
                raw.asked(2 * n + 1);
                if raw.is_ended {
                    return;
                }
                ok(&mut raw, 2 * n + 1, "the second");
            }
        }
        raw.asked(1);
        raw.asked(3);
        raw.send(&goaway(1, 0));
        // The GOAWAY comes before the answer, and the answer stands.
        ok(&mut raw, 1, "the first");
        drained(&mut raw);
    });
    let gateway = start(&Setup::to(&[address]));
    let (one, other) = run(async {
        let client = connect(gateway.address).await;
        let ask = |path: &'static str| {
            let client = client.clone();
            // Whole with its head: it can be sent again.
            tokio::spawn(async move { ask(&client, "POST", path, b"").await })
        };
        let (one, other) = (ask("/1"), ask("/2"));
        (one.await.expect("no panic").expect("an answer"), other.await.expect("no panic").expect("an answer"))
    });
    let mut bodies = [one.body, other.body];
    bodies.sort();
    assert_eq!(bodies, [b"the first".to_vec(), b"the second".to_vec()]);
    assert_eq!((connections.load(Ordering::SeqCst), failed(&gateway, "refused")), (2, 1));
}

#[test]
fn a_server_that_dies_without_an_answer_is_asked_again_only_where_that_repeats_nothing() {
    let (address, connections) = server(|n, tcp| {
        let mut raw = Raw::serve(tcp, &[]);
        if n % 2 == 0 {
            raw.asked(1);
            ok(&mut raw, 1, "first");
            raw.asked(3);
            return; // It closes with a request taken.
        }
        raw.asked(1);
        ok(&mut raw, 1, "again");
        raw.asked(3);
    });
    let gateway = start(&Setup::to(&[address]));
    assert_eq!(gateway.client().ask(get("/1")).text(), "first");
    assert_eq!(gateway.client().ask(get("/2")).text(), "again", "a GET on a kept connection");
    assert_eq!(connections.load(Ordering::SeqCst), 2);
    assert_eq!(failed(&gateway, "stale"), 1);
    // The second connection dies too, and a POST is not repeated.
    assert_eq!(gateway.client().ask(post("/", "once")).status, 502);
    assert_eq!(failed(&gateway, "closed") + failed(&gateway, "reset"), 1);
}

#[test]
fn a_response_that_breaks_off_is_cut_for_the_client_and_never_complete() {
    let (address, _) = server(|n, tcp| {
        let mut raw = Raw::serve(tcp, &[]);
        raw.asked(1);
        raw.send(&headers(1, 0, &[(":status", "200")]));
        raw.send(&frame(DATA, 0, 1, b"the beginning"));
        match n {
            0 => {
                raw.send(&reset(1, 2));
            }
            1 => return,
            _ => {
                raw.send(&headers(1, END, &[("x-trailer", "1"), (":status", "200")]));
            }
        }
        drained(&mut raw);
    });
    let gateway = start(&Setup::to(&[address]));
    for n in 0..3 {
        let mut client = gateway.client();
        client.send(get("/"));
        let cut = client.try_response(false);
        assert!(cut.is_err(), "{n}: {cut:?}");
    }
    let v1 = H2Origin::new(10);
    let gateway = start(&Setup::to(&[v1.address]));
    run(async {
        let client = connect(gateway.address).await;
        let cut = tokio::spawn(async move { ask(&client, "GET", "/cut", b"").await });
        comes("it began", || v1.begun() == 1).await;
        v1.release();
        assert!(cut.await.expect("no panic").is_err_and(|error| error.is_reset()));
    });
}

#[test]
fn what_breaks_the_protocol_is_502_and_the_next_request_is_served_on_another_connection() {
    let bad: &[Frames] = &[
        || frame(DATA, END, 1, b"no head"),
        || headers(1, END, &[("x", "no status")]),
        || headers(1, END, &[(":status", "200"), ("Upper", "case")]),
        || headers(1, END, &[(":status", "200"), ("connection", "close")]),
        || headers(1, END, &[(":status", "101")]),
        || headers(1, END, &[(":status", "200"), ("content-length", "5")]),
        || headers(1, END, &[(":status", "200"), ("x", "a\r\nb: c")]),
        || headers(2, END, &[(":status", "200")]),
        || frame(HEADERS, 5, 1, &[0x80]),
        || frame(5, 4, 1, &[0, 0, 0, 2]),
        || frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]),
        || frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()),
        || frame(CONTINUATION, 4, 1, b""),
        || vec![0xff; 64],
        || {
            let long = "x".repeat(70_000);
            let fields = block(&[(":status", "200"), ("x", &long)]);
            let parts: Vec<_> = fields.chunks(16_000).collect();
            let frames = parts.iter().enumerate().map(|(n, part)| match n {
                0 => frame(HEADERS, END, 1, part),
                n => frame(CONTINUATION, if n + 1 == parts.len() { 4 } else { 0 }, 1, part),
            });
            frames.collect::<Vec<_>>().concat()
        },
    ];
    for (row, bad) in bad.iter().enumerate() {
        let bad = *bad;
        let (address, _) = server(move |n, tcp| {
            let mut raw = Raw::serve(tcp, &[]);
            if n == 0 {
                raw.asked(1);
                raw.send(&bad());
                raw.until(|raw| raw.is_ended || raw.streams.contains_key(&3));
                ok(&mut raw, 3, "served");
            } else {
                raw.asked(1);
                ok(&mut raw, 1, "served");
            }
            drained(&mut raw);
        });
        let gateway = start(&Setup::to(&[address]));
        let answer = gateway.client().ask(post("/", "content"));
        assert_eq!(answer.status, 502, "row {row}");
        assert_eq!(failed(&gateway, "protocol"), 1, "row {row}");
        assert_eq!(gateway.client().ask(get("/")).text(), "served", "row {row}");
    }
}

#[test]
fn one_that_speaks_http1_is_told_apart_before_it_is_asked_anything() {
    let v1 = Origin::named("v1");
    let gateway = start(&Setup::to(&[v1.address]));
    assert_eq!(gateway.client().ask(post("/", "content")).status, 502);
    assert!(failed(&gateway, "protocol") + failed(&gateway, "closed") + failed(&gateway, "reset") > 0);
    assert_eq!(v1.requests().iter().filter(|request| request.method == "POST").count(), 0);
}

#[test]
fn one_that_says_nothing_is_given_up_after_the_connect_timeout() {
    let (address, _) = server(|_, tcp| {
        let mut raw = Raw::serve(tcp, &[]);
        drained(&mut raw);
    });
    let silent = TcpListener::bind("127.0.0.1:0").expect("bind");
    let more = "protocol = \"h2\"\nconnect_timeout = \"300ms\"";
    let setup = Setup::to(&[silent.local_addr().expect("an address")]);
    let gateway = Gateway::start(&speaking(&setup, more), &[]);
    assert_eq!(gateway.client().ask(get("/")).status, 504);
    assert!(failed(&gateway, "connect_timeout") > 0);
    // The same of a response.
    let setup = Setup::to(&[address]).with("[timeouts]\nresponse_head = \"300ms\"");
    let gateway = start(&setup);
    assert_eq!(gateway.client().ask(get("/")).status, 504);
    assert_eq!(failed(&gateway, "timeout"), 1);
}

#[test]
fn one_that_takes_no_streams_is_not_called_again_and_again() {
    let (address, connections) = server(|_, tcp| {
        // MAX_CONCURRENT_STREAMS
        let mut raw = Raw::serve(tcp, &[(3, 0)]);
        drained(&mut raw);
    });
    let gateway = start(&Setup::to(&[address]));
    for _ in 0..10 {
        assert_eq!(gateway.client().ask(post("/", "content")).status, 503);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    assert_eq!(failed(&gateway, "overflow"), 10);
}

#[test]
fn a_zero_window_makes_the_client_wait_and_is_given_up_after_the_write_timeout() {
    let (address, _) = server(|_, tcp| {
        // INITIAL_WINDOW_SIZE
        let mut raw = Raw::serve(tcp, &[(4, 0)]);
        raw.is_kind = true;
        drained(&mut raw);
    });
    let v2 = Origin::named("v2");
    let setup = Setup::to(&[address]).mirror("v2", v2.address, "").with("[timeouts]\nwrite = \"500ms\"");
    let gateway = start(&setup);
    let content = pattern(300_000);
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", content.len());
    let mut client = gateway.client();
    client.send([head.as_bytes(), &content].concat());
    assert_eq!(client.response().status, 504);
    eventually("it is counted", || failed(&gateway, "timeout") == 1);
    gateway.settled("v2");
}

#[test]
fn floods_by_the_server_end_its_connection_and_cost_no_memory() {
    let floods: &[(&str, Frames)] = &[
        ("settings", || frame(SETTINGS, 0, 0, &[]).repeat(200)),
        ("ping", || frame(PING, 0, 0, &[0; 8]).repeat(2000)),
        ("priority", || frame(2, 0, 1, &[0, 0, 0, 3, 1]).repeat(20_000)),
        ("empty data", || {
            [headers(1, 0, &[(":status", "200")]), frame(DATA, 0, 1, b"").repeat(20_000)].concat()
        }),
        ("interims", || headers(1, 0, &[(":status", "103")]).repeat(20_000)),
        ("continuations", || {
            [frame(HEADERS, 0, 1, b""), frame(CONTINUATION, 0, 1, b"").repeat(20_000)].concat()
        }),
        ("window updates", || frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()).repeat(20_000)),
    ];
    for (name, flood) in floods {
        let flood = *flood;
        let (address, _) = server(move |n, tcp| {
            let mut raw = Raw::serve(tcp, &[]);
            raw.asked(1);
            if n == 0 {
                raw.send(&flood());
            } else {
                ok(&mut raw, 1, "served");
            }
            drained(&mut raw);
        });
        let gateway = start(&Setup::to(&[address]).with("[timeouts]\nresponse_head = \"2s\""));
        let before = gateway.rss_bytes();
        let mut client = gateway.client();
        client.send(post("/", "content"));
        if let Ok(answer) = client.try_response(false) {
            assert!([502, 504].contains(&answer.status), "{name}: {}", answer.status);
        }
        eventually(name, || gateway.client().ask(get("/")).text() == "served");
        let grown = gateway.rss_bytes().saturating_sub(before);
        assert!(grown < 16 << 20, "{name}: {grown}");
    }
}

#[test]
fn a_silent_connection_with_a_request_under_way_is_asked_whether_it_lives() {
    let (address, connections) = server(|n, tcp| {
        let mut raw = Raw::serve(tcp, &[]);
        if n > 0 {
            raw.asked(1);
            ok(&mut raw, 1, "served");
        } else {
            raw.is_kind = false;
        }
        drained(&mut raw);
    });
    let more = "[http2]\nping_after = \"200ms\"\nping_timeout = \"200ms\"";
    let gateway = start(&Setup::to(&[address]).with(more));
    assert_eq!(gateway.client().ask(post("/", "content")).status, 502);
    assert_eq!(failed(&gateway, "closed"), 1);
    assert_eq!(gateway.client().ask(get("/")).text(), "served");
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[test]
fn one_that_fails_is_ejected_and_its_sibling_serves() {
    let (address, _) = server(|_, tcp| {
        let mut raw = Raw::serve(tcp, &[]);
        for n in 0.. {
            raw.asked(2 * n + 1);
            if raw.is_ended {
                return;
            }
            raw.send(&headers(2 * n + 1, END, &[(":status", "500")]));
        }
    });
    let good = H2Origin::new(10);
    let keys = "protocol = \"h2\"\nejection = { consecutive_5xx = 2, time = \"60s\", percent_max = 50 }";
    let gateway = Gateway::start(&speaking(&Setup::to(&[address, good.address]), keys), &[]);
    let mut bad = 0;
    for _ in 0..20 {
        bad += usize::from(gateway.client().ask(post("/", "content")).status == 500);
    }
    assert_eq!(bad, 2);
    assert_eq!(upstream(&gateway, "ejections_total"), 1);
}
