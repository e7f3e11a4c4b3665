//! Copies over HTTP/2: the same as over HTTP/1.1, on streams that do not wait for each other; and faults of the mirror are not
//! felt by the client.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tests::certificates::Authority;
use tests::http2::{
    DATA, END, Frame, GOAWAY, HEADERS, PING, RST_STREAM, Raw, SETTINGS, ask, connect, frame, headers, run,
};
use tests::load::{Gate, OK, Peer, account, becomes, bound_and_refusing, chunked, hammer};
use tests::origin::After;
use tests::{Front, Gateway, H2Origin, Origin, Rules, Setup, eventually, pattern};

use crate::http2::{PLAIN, listening};
use crate::http2_upstream::{get, post};

const H2: &str = "protocol = \"h2\"";

/// The file of `setup`, whose mirror v2 is spoken to so.
fn mirroring(setup: &Setup, keys: &str) -> String {
    let table = "[upstream.v2]\n";
    let text = listening(setup, PLAIN);
    assert!(text.contains(table));
    text.replacen(table, &format!("{table}{keys}\n"), 1)
}

fn start(v2: SocketAddr, mirror_keys: &str, keys: &str) -> (Origin, Gateway) {
    let v1 = Origin::fixed(OK, After::Keep);
    let gateway = Gateway::start(&mirroring(&Setup::new(&v1).mirror("v2", v2, mirror_keys), keys), &[]);
    (v1, gateway)
}

/// A v2 that does `serve` with each connection once both have introduced themselves.
fn v2(settings: &'static [(u16, u32)], serve: impl Fn(Raw) + Send + Sync + 'static) -> Peer {
    Peer::new(move |tcp| {
        // A client that only looks whether the port is open sends nothing.
        if tcp.peek(&mut [0]).is_ok_and(|n| n > 0) {
            serve(Raw::serve(tcp, settings));
        }
    })
}

/// Tells `does` of each frame until the connection ends.
fn each(mut raw: Raw, mut does: impl FnMut(&mut Raw, &Frame)) {
    while let Some(frame) = raw.frame() {
        does(&mut raw, &frame);
    }
}

fn ok(raw: &mut Raw, stream: u32) {
    raw.send(&headers(stream, END, &[(":status", "200")]));
}

#[test]
fn a_copy_is_the_request_whatever_its_client_spoke() {
    let v2 = H2Origin::new(100);
    let (_v1, gateway) = start(v2.address, "connections_max = 1", H2);
    let mut client = gateway.client();
    assert_eq!(client.ask(post("/post", "content")).text(), "ok");
    assert_eq!(client.ask(get("/get?a=b")).text(), "ok");
    let head = "POST /chunked HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\nTrailer: x-end\r\n\r\n";
    let content = pattern(100_000);
    let chunks = chunked(&[&content[..3], &content[3..]], "x-end: 1\r\n");
    assert_eq!(client.ask([head.as_bytes(), &chunks].concat()).text(), "ok");
    run(async {
        let client = connect(gateway.address).await;
        let answer = ask(&client, "POST", "/h2", &pattern(200_000)).await.expect("an answer");
        assert_eq!(answer.status, 200);
    });
    let metrics = becomes(&gateway, "v2", &[("eligible", 4), ("sent", 4), ("completed 2xx", 4)]);
    assert_eq!(metrics.sum("umbra_mirror_connections", &[]), 1, "all on one connection");
    let taken = v2.taken();
    let of = |path: &str| taken.iter().find(|taken| taken.uri.contains(path)).expect("its copy").clone();
    let copy = of("/post");
    assert_eq!((copy.method.as_str(), copy.body.as_slice()), ("POST", b"content".as_slice()));
    assert_eq!((copy.field("x-mine"), copy.field("te")), (Some("1"), Some("trailers")));
    assert_eq!(copy.field("content-length"), Some("7"));
    assert!(
        copy.fields.contains_key("x-umbra-mirrored")
            || copy.fields.keys().any(|k| k.as_str().contains("umbra"))
    );
    assert!(
        !copy.fields.keys().any(|name| ["connection", "host", "transfer-encoding"].contains(&name.as_str()))
    );
    assert_eq!(of("/get").uri, "http://shop.example/get?a=b");
    let copy = of("/chunked");
    assert_eq!(copy.body, content);
    assert_eq!(copy.trailers.get("x-end").map(|value| value.as_bytes()), Some(b"1".as_slice()));
    assert_eq!(of("/h2").body, pattern(200_000));
}

#[test]
fn many_copies_share_a_connection_and_each_is_sent_exactly_once() {
    let v2 = H2Origin::new(100);
    let (_v1, gateway) = start(v2.address, "connections_max = 1", H2);
    hammer(gateway.address, 8, 100, tests::load::get, |_, answer| assert_eq!(answer.status, 200));
    let metrics = gateway.settled("v2");
    let (sent, dropped) = (metrics.mirror("v2", "sent_total"), metrics.mirror("v2", "dropped_total"));
    assert_eq!((sent + dropped, metrics.mirror("v2", "failed_total")), (800, 0));
    assert_eq!(metrics.mirror_by("v2", "completed_total", "class", "2xx"), sent);
    let mut ids: Vec<String> = v2.taken().into_iter().map(|taken| taken.uri).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len() as i64, v2.begun() as i64, v2.connections()), (sent, sent, 1));
}

#[test]
fn over_tls_the_handshake_agrees_on_what_a_mirror_is_spoken_to_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let pair = authority.issue("v2", &["v2.internal"]);
    let keys = |protocol: &str| {
        let ca = &authority.ca;
        format!("protocol = \"{protocol}\"\ntls = {{ ca = {ca:?}, server_name = \"v2.internal\" }}")
    };
    let (v2, old) = (H2Origin::new(100), Origin::named("old"));
    let both = Front::new(&pair, v2.address, Rules { alpn: &["h2", "http/1.1"], ..Rules::default() });
    let plain = Front::new(&pair, old.address, Rules::default());
    for protocol in ["h2", "alpn"] {
        let before = v2.begun();
        let (_v1, gateway) = start(both.address, "connections_max = 1", &keys(protocol));
        let mut client = gateway.client();
        (0..3).for_each(|n| assert_eq!(client.ask(post("/", &format!("content {n}"))).text(), "ok"));
        becomes(&gateway, "v2", &[("eligible", 3), ("sent", 3), ("completed 2xx", 3)]);
        assert_eq!(v2.begun() - before, 3);
        assert!(v2.taken().last().is_some_and(|taken| taken.uri.starts_with("https://")));
        let metrics = gateway.metrics();
        assert_eq!(metrics.sum("umbra_mirror_tls_handshakes_total", &[]), 1, "{protocol}");
    }
    // A mirror that speaks HTTP/1.1 alone is called so, if that was left to it, and refused if not.
    let (_v1, gateway) = start(plain.address, "", &keys("alpn"));
    assert_eq!(gateway.client().ask(post("/", "content")).text(), "ok");
    assert_eq!(old.wait_for(1)[0].body, b"content");
    becomes(&gateway, "v2", &[("eligible", 1), ("sent", 1), ("completed 2xx", 1)]);
    let (_v1, gateway) = start(plain.address, "", &keys("h2"));
    eventually("nothing is sent to it", || {
        assert_eq!(gateway.client().ask(get("/")).text(), "ok");
        let metrics = gateway.metrics();
        metrics.mirror_by("v2", "dropped_total", "reason", "unreachable") > 0
            && metrics.mirror("v2", "sent_total") == 0
    });
}

#[test]
fn a_copy_that_stalls_is_reset_when_its_time_is_over_and_those_beside_it_go_on() {
    let v2 = H2Origin::new(100);
    let (_v1, gateway) = start(v2.address, "connections_max = 1, timeout = \"1s\"", H2);
    let mut client = gateway.client();
    assert_eq!(client.ask(get("/held")).text(), "ok");
    eventually("it is under way", || v2.begun() == 1);
    eventually("it is given up, and others are answered meanwhile", || {
        assert_eq!(client.ask(get("/")).text(), "ok");
        std::thread::sleep(Duration::from_millis(5));
        v2.cancelled() == 1
    });
    let metrics = gateway.settled("v2");
    assert_eq!(metrics.mirror_by("v2", "failed_total", "reason", "timeout"), 1);
    assert_eq!(metrics.mirror("v2", "failed_total"), 1);
    assert!(metrics.mirror("v2", "completed_total") > 10);
    assert_eq!(v2.connections(), 1, "the connection went on");
}

#[test]
fn content_that_its_stream_takes_none_of_stops_no_copy_beside_it() {
    // No window for the first stream, for ever; for those behind it, all they want.
    let v2 = v2(&[(4, 0)], |raw| {
        each(raw, |raw, frame| {
            if frame.kind == HEADERS && frame.stream > 1 {
                let more = tests::http2::frame(
                    tests::http2::WINDOW_UPDATE,
                    0,
                    frame.stream,
                    &100_000_u32.to_be_bytes(),
                );
                raw.send(&more);
            }
            if frame.flags & END != 0 && [HEADERS, DATA].contains(&frame.kind) {
                ok(raw, frame.stream);
            }
        });
    });
    let (_v1, gateway) = start(v2.address, "connections_max = 1, timeout = \"5s\"", H2);
    let mut client = gateway.client();
    for n in 0..10 {
        assert_eq!(client.ask(post("/", &format!("{n}{}", "x".repeat(50_000)))).text(), "ok");
    }
    eventually("the nine do not wait for the one", || {
        let metrics = gateway.metrics();
        metrics.mirror("v2", "completed_total") == 9 && metrics.mirror("v2", "in_flight") == 1
    });
    becomes(&gateway, "v2", &[("eligible", 10), ("sent", 10), ("completed 2xx", 9), ("failed timeout", 1)]);
}

#[test]
fn content_that_is_not_read_and_holds_the_connections_window_stops_no_copy_beside_it() {
    // Window of the first stream never comes back; of later ones, all does.
    let v2 = v2(&[], |mut raw| {
        raw.is_kind = false;
        each(raw, |raw, frame| {
            if frame.kind == DATA && frame.stream > 1 {
                let more = (frame.payload.len() as u32).to_be_bytes();
                raw.send(&tests::http2::frame(tests::http2::WINDOW_UPDATE, 0, 0, &more));
                if frame.flags & END == 0 {
                    raw.send(&tests::http2::frame(tests::http2::WINDOW_UPDATE, 0, frame.stream, &more));
                }
            }
            if frame.flags & END != 0 && [HEADERS, DATA].contains(&frame.kind) {
                ok(raw, frame.stream);
            }
        });
    });
    let (_v1, gateway) = start(v2.address, "connections_max = 1, timeout = \"5s\"", H2);
    let mut client = gateway.client();
    for n in 0..10 {
        assert_eq!(client.ask(post("/", &format!("{n}{}", "x".repeat(100_000)))).text(), "ok");
    }
    eventually("the nine do not wait for the one", || {
        let metrics = gateway.metrics();
        metrics.mirror("v2", "completed_total") == 9 && metrics.mirror("v2", "in_flight") == 1
    });
    becomes(&gateway, "v2", &[("eligible", 10), ("sent", 10), ("completed 2xx", 9), ("failed timeout", 1)]);
}

#[test]
fn what_a_goaway_leaves_out_goes_once_more_elsewhere() {
    let connections = Arc::<AtomicUsize>::default();
    let seen = Arc::clone(&connections);
    let v2 = v2(&[], move |mut raw| {
        if seen.fetch_add(1, Ordering::SeqCst) > 0 {
            return each(raw, |raw, frame| {
                if frame.kind == HEADERS {
                    ok(raw, frame.stream);
                }
            });
        }
        // The first three come; the first is answered, and the others were not looked at.
        raw.asked(5);
        raw.send(&frame(GOAWAY, 0, 0, &[1_u32.to_be_bytes(), 0_u32.to_be_bytes()].concat()));
        ok(&mut raw, 1);
        raw.until(|raw| raw.is_ended);
    });
    let (_v1, gateway) = start(v2.address, "connections_max = 1", H2);
    let mut client = gateway.client();
    (0..3).for_each(|n| assert_eq!(client.ask(get(&format!("/{n}"))).text(), "ok"));
    let metrics = becomes(&gateway, "v2", &[("eligible", 3), ("sent", 3), ("completed 2xx", 3)]);
    assert_eq!(metrics.sum("umbra_mirror_resent_total", &[]), 2);
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[test]
fn a_mirror_that_takes_no_copy_is_not_asked_for_ever() {
    let asked = Arc::<AtomicUsize>::default();
    let seen = Arc::clone(&asked);
    let v2 = v2(&[], move |raw| {
        each(raw, |raw, heard| {
            if heard.kind == HEADERS {
                seen.fetch_add(1, Ordering::SeqCst);
                raw.send(&frame(RST_STREAM, 0, heard.stream, &7_u32.to_be_bytes()));
            }
        });
    });
    let (_v1, gateway) = start(v2.address, "", H2);
    assert_eq!(gateway.client().ask(get("/")).text(), "ok");
    becomes(&gateway, "v2", &[("eligible", 1), ("sent", 1), ("failed reset", 1)]);
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[test]
fn an_answer_is_read_only_so_far_and_its_neighbours_whole() {
    let v2 = H2Origin::new(100);
    let (_v1, gateway) = start(v2.address, "connections_max = 1, response_bytes_max = \"64KiB\"", H2);
    let mut client = gateway.client();
    assert_eq!(client.ask(get("/large/2000000")).text(), "ok");
    assert_eq!(client.ask(get("/large/60000")).text(), "ok");
    let metrics = becomes(&gateway, "v2", &[("eligible", 2), ("sent", 2), ("completed 2xx", 2)]);
    assert_eq!(metrics.sum("umbra_mirror_responses_cut_total", &[]), 1, "{}", metrics.text());
    assert!(metrics.sum("umbra_mirror_response_bytes_total", &[]) < 500_000);
    assert_eq!(v2.connections(), 1);
}

#[test]
fn what_a_mirror_speaks_changes_by_reload() {
    let (old, new) = (Origin::named("old"), H2Origin::new(100));
    let v1 = Origin::fixed(OK, After::Keep);
    let of = |v2, keys| mirroring(&Setup::new(&v1).mirror("v2", v2, ""), keys);
    let mut gateway = Gateway::start(&of(old.address, ""), &[]);
    assert_eq!(gateway.client().ask(post("/", "a")).text(), "ok");
    assert_eq!(old.wait_for(1)[0].body, b"a");
    gateway.write(&of(new.address, H2));
    gateway.signal("HUP");
    eventually("HTTP/2 is spoken", || {
        assert_eq!(gateway.client().ask(post("/", "b")).text(), "ok");
        new.begun() > 0
    });
    // An idle connection does not hold up the end.
    gateway.signal("TERM");
    assert!(gateway.wait_exit().success());
}

#[test]
fn explain_tells_what_each_wire_speaks_and_how_a_copy_begins_on_it() {
    let v1 = Origin::fixed(OK, After::Keep);
    let text = mirroring(&Setup::new(&v1).mirror("v2", v1.address, "host = \"v2.internal\""), H2);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("it is written");
    let mut explain = std::process::Command::new(tests::gateway::binary());
    let explain = explain.args(["explain", "--config"]).arg(file.path());
    let output = Gateway::ends(explain.args(["POST", "http://shop.example/a"]));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let pseudo = ":method POST, :scheme http, :path /a, :authority v2.internal";
    assert!(said.contains(pseudo) && said.contains("in HTTP/2, by prior knowledge"), "{said}");
    assert_eq!(said.matches(":authority").count(), 1, "v1 speaks HTTP/1.1: {said}");
}

// === Isolation ===

/// Longest answer while v2 is at its worst: see `isolation`.
const SOON: Duration = Duration::from_millis(2500);

const KEYS: &str = "connections_max = 2, ring_bytes_max = \"4MiB\", body_bytes_max = \"1MiB\", \
                    ring_entries_max = 128, connect_timeout = \"2s\", timeout = \"2s\"";

/// The promise: answers are right and soon, every copy is accounted for, descriptors come back.
#[track_caller]
fn assert_unfelt(name: &str, address: SocketAddr, gate: &Gate, keys: &str) -> Gateway {
    // One at a time: tests must not feel each other's load on the machine.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (v1, gateway) = start(address, KEYS, keys);
    let (descriptors, rss) = (gateway.descriptors(), gateway.rss_bytes());
    let slowest = hammer(gateway.address, 4, 150, tests::load::get, |_, answer| {
        assert_eq!((answer.status, answer.text()), (200, "ok".to_owned()));
    });
    assert!(slowest < SOON, "{name}: the slowest answer took {slowest:?}");
    let content = pattern(256 * 1024);
    let upload = |_| {
        let head = format!("POST /u HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", content.len());
        [head.as_bytes(), &content].concat()
    };
    let slowest = hammer(gateway.address, 4, 10, upload, |_, answer| assert_eq!(answer.status, 200));
    let ledger = account(&gateway.metrics(), "v2");
    assert!(slowest < SOON, "{name}: the slowest upload took {slowest:?}: {ledger:?}");
    let grown = gateway.rss_bytes().saturating_sub(rss);
    assert!(grown < 40 << 20, "{name}: {} MiB more", grown >> 20);
    gate.open();
    let metrics = gateway.settled("v2");
    assert_eq!(metrics.mirror("v2", "eligible_total"), 4 * 150 + 4 * 10, "{name}");
    assert_eq!(v1.count(), 4 * 150 + 4 * 10, "{name}: the primary got each request once");
    eventually(&format!("{name}: descriptors come back"), || {
        let metrics = gateway.metrics();
        let kept = metrics.sum("umbra_upstream_idle_connections", &[])
            + metrics.sum("umbra_mirror_connections", &[]);
        // And the pair by which a worker's tasks take turns, which is made when it is first needed.
        metrics.sum("umbra_connections_active", &[]) == 0
            && gateway.descriptors() <= descriptors + kept as usize + 2
    });
    gateway
}

/// How many copies ended like this.
fn counted(gateway: &Gateway, what: &str) -> i64 {
    let ledger = account(&gateway.metrics(), "v2");
    ledger.iter().filter(|(name, _)| name.starts_with(what)).map(|(_, n)| n).sum()
}

/// Sends `block` until the connection ends.
fn flood(mut raw: Raw, block: &[u8]) {
    while !raw.send(block).is_ended {}
}

#[test]
fn a_mirror_that_resets_every_stream_is_not_felt() {
    let v2 = v2(&[], |raw| {
        each(raw, |raw, heard| {
            if heard.kind == HEADERS {
                raw.send(&frame(RST_STREAM, 0, heard.stream, &2_u32.to_be_bytes()));
            }
        });
    });
    let gateway = assert_unfelt("resets", v2.address, &Gate::default(), H2);
    assert!(counted(&gateway, "failed reset") > 0 && counted(&gateway, "completed") == 0);
}

#[test]
fn a_mirror_that_leaves_in_the_middle_of_its_answers_is_not_felt() {
    let v2 = v2(&[], |raw| {
        let mut begun = 0;
        each(raw, |raw, heard| {
            if heard.kind == HEADERS {
                begun += 1;
                raw.send(&headers(heard.stream, 0, &[(":status", "200")]));
                raw.send(&frame(DATA, 0, heard.stream, b"half"));
            }
            // The connection ends with this frame, or with the bytes behind it.
            if begun == 3 {
                raw.send(&frame(GOAWAY, 0, 0, &[1_u32.to_be_bytes(), 2_u32.to_be_bytes()].concat()));
            }
        });
    });
    let gateway = assert_unfelt("goaway", v2.address, &Gate::default(), H2);
    assert!(counted(&gateway, "failed") > 0 && counted(&gateway, "completed") == 0);
}

#[test]
fn a_mirror_that_leaves_after_each_answer_is_not_felt() {
    // GOAWAY, many times over: behind an answer, or instead of one.
    for answers in [true, false] {
        let v2 = v2(&[], move |raw| {
            each(raw, |raw, heard| {
                if heard.kind == HEADERS {
                    let last = if answers { heard.stream } else { 0 };
                    let leave = frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat()).repeat(50);
                    let answer = headers(heard.stream, END, &[(":status", "200")]);
                    raw.send(&[if answers { answer } else { Vec::new() }, leave].concat());
                }
            });
        });
        let gateway = assert_unfelt("goaway after each answer", v2.address, &Gate::default(), H2);
        let completed = counted(&gateway, "completed");
        assert!(if answers { completed > 0 } else { completed == 0 }, "answers: {answers}: {completed}");
    }
}

#[test]
fn a_mirror_with_zero_windows_is_not_felt() {
    let v2 = v2(&[(4, 0)], |mut raw| {
        raw.is_kind = false;
        raw.until(|_| false);
    });
    let gateway = assert_unfelt("zero windows", v2.address, &Gate::default(), H2);
    assert!(counted(&gateway, "dropped ring") > 0 && counted(&gateway, "failed timeout") > 0);
}

#[test]
fn a_mirror_that_does_not_introduce_itself_gets_no_copy_and_is_not_felt() {
    let gate = Gate::closed();
    let until = Arc::clone(&gate);
    let v2 = Peer::new(move |_stream: TcpStream| until.wait());
    let gateway = assert_unfelt("no SETTINGS", v2.address, &gate, H2);
    assert_eq!(counted(&gateway, "sent"), 0);
}

/// MAX_CONCURRENT_STREAMS=0.
const NONE: &[(u16, u32)] = &[(3, 0)];

#[test]
fn a_mirror_that_lets_no_copy_begin_is_called_as_seldom_as_one_that_refuses() {
    for stays in [false, true] {
        let connections = Arc::<AtomicUsize>::default();
        let seen = Arc::clone(&connections);
        let v2 = v2(NONE, move |mut raw| {
            seen.fetch_add(1, Ordering::SeqCst);
            // Until the other side has read the frames, or for good.
            while raw.frame().is_some_and(|heard| stays || heard.kind != SETTINGS || heard.flags == 0) {}
        });
        let (_v1, gateway) = start(v2.address, "connections_max = 1, connect_timeout = \"100ms\"", H2);
        assert_eq!(gateway.client().ask(get("/")).text(), "ok");
        becomes(&gateway, "v2", &[("eligible", 1), ("dropped unreachable", 1)]);
        let made = connections.load(Ordering::SeqCst);
        assert!(made <= 8, "stays: {stays}: {made} connections for one copy");
    }
}

#[test]
fn a_mirror_that_lets_no_copy_begin_any_more_is_left() {
    let v2 = v2(&[], |raw| {
        each(raw, |raw, heard| {
            if heard.kind == HEADERS {
                raw.send(&frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 0]));
                ok(raw, heard.stream);
            }
        });
    });
    let (_v1, gateway) = start(v2.address, "connections_max = 1, connect_timeout = \"100ms\"", H2);
    let mut client = gateway.client();
    for n in 1..=3 {
        assert_eq!(client.ask(get("/")).text(), "ok");
        becomes(&gateway, "v2", &[("eligible", n), ("sent", n), ("completed 2xx", n)]);
    }
}

#[test]
fn a_mirror_that_floods_is_not_felt() {
    let pings = frame(PING, 0, 0, b"01234567").repeat(1000);
    let settings = frame(SETTINGS, 0, 0, b"").repeat(1000);
    for (name, block) in [("pings", pings), ("settings", settings)] {
        let v2 = v2(&[], move |raw| flood(raw, &block));
        let gateway = assert_unfelt(name, v2.address, &Gate::default(), H2);
        assert_eq!(counted(&gateway, "completed"), 0);
    }
}

#[test]
fn a_mirror_that_says_garbage_or_closes_is_not_felt() {
    let garbage = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".as_slice();
    let v2 = Peer::new(move |mut stream: TcpStream| {
        let _ = std::io::Write::write_all(&mut stream, garbage);
        tests::load::close_kindly(&mut stream);
    });
    let gateway = assert_unfelt("garbage", v2.address, &Gate::default(), H2);
    assert_eq!(counted(&gateway, "sent"), 0);
    let v2 = v2_that_closes();
    let gateway = assert_unfelt("closes", v2.address, &Gate::default(), H2);
    assert_eq!(counted(&gateway, "completed"), 0);
    let (_socket, address) = bound_and_refusing();
    let gateway = assert_unfelt("refuses", address, &Gate::default(), H2);
    assert_eq!(counted(&gateway, "dropped"), counted(&gateway, "eligible"));
}

/// With the first request.
fn v2_that_closes() -> Peer {
    v2(&[], |mut raw| {
        raw.until(|raw| !raw.streams.is_empty());
    })
}

#[test]
fn a_mirror_that_hangs_in_the_handshake_is_not_felt() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let pair = authority.issue("v2", &["v2.internal"]);
    let origin = H2Origin::new(100);
    let front = Front::new(&pair, origin.address, Rules { stalls: true, alpn: &["h2"], ..Rules::default() });
    let ca = &authority.ca;
    let keys = format!("{H2}\ntls = {{ ca = {ca:?}, server_name = \"v2.internal\" }}");
    let gateway = assert_unfelt("a stalled handshake", front.address, &Gate::default(), &keys);
    assert_eq!(counted(&gateway, "sent"), 0);
}

#[test]
fn a_mirror_that_answers_without_end_is_not_felt() {
    let v2 = v2(&[], |mut raw| {
        let content = vec![b'x'; 16 * 1024];
        let mut open: Vec<u32> = Vec::new();
        // As fast as the windows let it, and no faster: the gateway sets the windows.
        each_with_windows(&mut raw, |raw, begun, ended| {
            begun.iter().for_each(|stream| {
                raw.send(&headers(*stream, 0, &[(":status", "200")]));
            });
            open.extend(begun);
            open.retain(|stream| !ended.contains(stream));
            for stream in &open {
                raw.send(&frame(DATA, 0, *stream, &content));
            }
        });
    });
    let gateway = assert_unfelt("endless", v2.address, &Gate::default(), H2);
    assert!(counted(&gateway, "sent") > 0);
}

/// Says one piece on each open stream whenever something came.
fn each_with_windows(raw: &mut Raw, mut says: impl FnMut(&mut Raw, &[u32], &[u32])) {
    while let Some(heard) = raw.frame() {
        let (mut begun, mut ended) = (Vec::new(), Vec::new());
        match heard.kind {
            HEADERS => begun.push(heard.stream),
            RST_STREAM => ended.push(heard.stream),
            _ => {}
        }
        says(raw, &begun, &ended);
    }
}
