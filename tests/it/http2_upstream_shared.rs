//! A connection to an HTTP/2 primary is shared by clients: the effects of one client on the others, and the number of
//! connections.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use tests::certificates::Authority;
use tests::http2::{
    DATA, END, HEADERS, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, ask, connect, frame, headers, request, run,
};
use tests::load::becomes;
use tests::origin::write;
use tests::{Front, Gateway, Origin, Rules, Setup, eventually};

use crate::http2_upstream::{comes, failed, get, post, speaking, start, upstream};
use crate::http2_upstream_hostile::{REFUSED_STREAM, drained, goaway, ok, reset, server};

/// Until a client of the gateway has given its request up.
fn left(raw: &mut Raw, stream: u32) {
    raw.asked(stream);
    raw.until(|raw| raw.streams.get(&stream).is_some_and(|heard| heard.reset.is_some()));
}

#[test]
fn clients_that_leave_beside_small_frames_end_no_connection_that_others_share() {
    const LEAVING: usize = 20;
    let begun = Arc::<AtomicUsize>::default();
    let theirs = Arc::clone(&begun);
    let (address, connections) = server(move |_, tcp| {
        let mut raw = Raw::serve(tcp, &[]);
        for n in 0..=LEAVING as u32 {
            raw.asked(2 * n + 1);
            theirs.fetch_add(1, Ordering::SeqCst);
            if n > 0 {
                left(&mut raw, 2 * n + 1);
                // The answer was on its way when the client left.
                let messages = frame(DATA, 0, 2 * n + 1, b"a small message").repeat(1000);
                raw.send(&[headers(2 * n + 1, 0, &[(":status", "200")]), messages].concat());
            }
        }
        ok(&mut raw, 1, "served");
        drained(&mut raw);
    });
    let gateway = start(&Setup::to(&[address]));
    run(async {
        let client = connect(gateway.address).await;
        let ask = |path: &'static str| {
            let client = client.clone();
            tokio::spawn(async move { ask(&client, "GET", path, b"").await })
        };
        let staying = ask("/staying");
        comes("it is asked", || begun.load(Ordering::SeqCst) == 1).await;
        for n in 0..LEAVING {
            let leaving = ask("/leaving");
            comes("it is asked", || begun.load(Ordering::SeqCst) == n + 2).await;
            leaving.abort();
        }
        let answer = staying.await.expect("no panic").expect("an answer");
        assert_eq!((answer.status, answer.body.as_slice()), (200, b"served".as_slice()));
    });
    assert_eq!((connections.load(Ordering::SeqCst), failed(&gateway, "protocol")), (1, 0));
}

#[test]
fn a_server_that_tunes_its_windows_step_by_step_keeps_its_connection() {
    let (address, connections) = server(|_, tcp| {
        let mut raw = Raw::serve(tcp, &[]);
        for n in 0..40 {
            raw.asked(2 * n + 1);
            if raw.is_ended {
                return;
            }
            // INITIAL_WINDOW_SIZE
            let window = [&[0, 4][..], &(65_535 + n).to_be_bytes()].concat();
            raw.send(&frame(SETTINGS, 0, 0, &window));
            ok(&mut raw, 2 * n + 1, "served");
        }
        drained(&mut raw);
    });
    let gateway = start(&Setup::to(&[address]));
    let mut client = gateway.client();
    for n in 0..40 {
        assert_eq!(client.ask(post("/", "content")).text(), "served", "{n}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[test]
fn a_stream_that_its_server_reset_was_looked_at_and_is_not_asked_again() {
    let (address, connections) = server(|_, tcp| {
        let mut raw = Raw::serve(tcp, &[]);
        raw.asked(1);
        ok(&mut raw, 1, "first");
        raw.asked(3);
        // INTERNAL_ERROR
        raw.send(&reset(3, 2));
        raw.until(|raw| raw.is_ended || raw.streams.contains_key(&5));
        ok(&mut raw, 5, "the next");
        drained(&mut raw);
    });
    let gateway = start(&Setup::to(&[address]));
    let mut client = gateway.client();
    assert_eq!(client.ask(get("/1")).text(), "first");
    assert_eq!(client.ask(get("/2")).status, 502);
    assert_eq!((failed(&gateway, "reset"), failed(&gateway, "stale")), (1, 0));
    assert_eq!(client.ask(get("/3")).text(), "the next");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[test]
fn who_was_on_a_new_connection_that_broke_is_not_told_that_it_had_gone_stale() {
    let (address, connections) = server(|_, tcp| {
        let mut raw = Raw::serve(tcp, &[]);
        raw.asked(1);
        raw.asked(3);
    });
    let gateway = start(&Setup::to(&[address]));
    run(async {
        let client = connect(gateway.address).await;
        let asked = [(); 2].map(|()| {
            let client = client.clone();
            tokio::spawn(async move { ask(&client, "GET", "/", b"").await.map(|answer| answer.status) })
        });
        for one in asked {
            assert_eq!(one.await.expect("no panic").expect("an answer"), 502);
        }
    });
    assert_eq!((connections.load(Ordering::SeqCst), failed(&gateway, "stale")), (1, 0));
}

#[test]
fn a_connection_that_drains_is_one_of_those_that_there_may_be() {
    let (begun, end) = (Arc::<AtomicUsize>::default(), Arc::new(Barrier::new(2)));
    let (theirs, of_server) = (Arc::clone(&begun), Arc::clone(&end));
    let (address, connections) = server(move |n, tcp| {
        let mut raw = Raw::serve(tcp, &[]);
        raw.asked(1);
        if n == 0 {
            raw.send(&goaway(1, 0));
            theirs.fetch_add(1, Ordering::SeqCst);
            of_server.wait();
        }
        ok(&mut raw, 1, if n == 0 { "the first" } else { "the second" });
        drained(&mut raw);
    });
    let keys = "protocol = \"h2\"\nconnections_max = 1\nconnect_timeout = \"30s\"";
    let gateway = Gateway::start(&speaking(&Setup::to(&[address]), keys), &[]);
    let asks = |path: &'static str| {
        let mut client = gateway.client();
        std::thread::spawn(move || client.ask(get(path)).text())
    };
    let first = asks("/1");
    eventually("it is asked", || begun.load(Ordering::SeqCst) == 1);
    let second = asks("/2");
    eventually("the second waits", || upstream(&gateway, "pending") == 1);
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    end.wait();
    assert_eq!(first.join().expect("no panic"), "the first");
    assert_eq!(second.join().expect("no panic"), "the second");
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[test]
fn a_first_burst_passes_no_bound_whatever_its_upstream_turns_out_to_speak() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let pair = authority.issue("v1", &["v1.internal"]);
    let end = Arc::new((std::sync::Mutex::new(false), std::sync::Condvar::new()));
    let theirs = Arc::clone(&end);
    let v1 = Origin::new(move |_, stream| {
        let (is_over, bell) = &*theirs;
        drop(bell.wait_while(is_over.lock().expect("no panic"), |over| !*over).expect("no panic"));
        write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nv1")
    });
    let front = Front::new(&pair, v1.address, Rules::default());
    let keys = format!(
        "protocol = \"alpn\"\nconnections_max = 2\nconnect_timeout = \"30s\"\n\
         tls = {{ ca = {:?}, server_name = \"v1.internal\" }}",
        authority.ca
    );
    let gateway = Gateway::start(&speaking(&Setup::to(&[front.address]), &keys), &[]);
    run(async {
        let client = connect(gateway.address).await;
        let asked: Vec<_> = (0..10)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { ask(&client, "GET", "/", b"").await.map(|answer| answer.status) })
            })
            .collect();
        comes("who finds no place waits", || upstream(&gateway, "pending") == 8).await;
        assert_eq!(front.accepted(), 2);
        *end.0.lock().expect("no panic") = true;
        end.1.notify_all();
        for one in asked {
            assert_eq!(one.await.expect("no panic").expect("an answer"), 200);
        }
    });
    assert_eq!(failed(&gateway, "overflow"), 0);
}

#[test]
fn what_a_server_does_not_read_of_one_upload_keeps_no_other_waiting() {
    let (address, connections) = server(|number, tcp| {
        let mut raw = Raw::serve(tcp, &[]);
        if number > 0 {
            for n in 0.. {
                raw.asked(2 * n + 1);
                if raw.is_ended {
                    return;
                }
                ok(&mut raw, 2 * n + 1, "another");
            }
        }
        // The server never gives anything of the connection's window back.
        raw.is_kind = false;
        for n in 1.. {
            raw.asked(2 * n + 1);
            if raw.is_ended {
                return;
            }
            ok(&mut raw, 2 * n + 1, "the first");
        }
    });
    let gateway = start(&Setup::to(&[address]));
    let mut stuck = gateway.client();
    stuck.send(post("/stuck", &"x".repeat(200_000)));
    eventually("it is asked", || connections.load(Ordering::SeqCst) == 1);
    let mut client = gateway.client();
    eventually("the others are on another connection", || client.ask(get("/")).text() == "another");
    assert_eq!(client.ask(post("/", "content")).text(), "another");
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

/// A server's connection that reads everything but content of /stuck, and gives window back (`gives`) at once or never. Window
/// of /stuck it gives back once that is given up.
fn reads_all_but_stuck(raw: &mut Raw, gives: bool) {
    raw.is_kind = false;
    let mut held = 0;
    while let Some(heard) = raw.frame() {
        let of = raw.streams.get(&heard.stream).cloned().unwrap_or_default();
        let is_stuck = of.trailers.iter().any(|(name, value)| name == ":path" && value == "/stuck");
        let given = match heard.kind {
            DATA if is_stuck => {
                held += heard.payload.len() as u32;
                continue;
            }
            DATA if gives => heard.payload.len() as u32,
            RST_STREAM if is_stuck => std::mem::take(&mut held),
            _ => 0,
        };
        if given > 0 {
            raw.send(&frame(WINDOW_UPDATE, 0, 0, &given.to_be_bytes()));
            if !of.has_ended && !is_stuck {
                raw.send(&frame(WINDOW_UPDATE, 0, heard.stream, &given.to_be_bytes()));
            }
        }
        if of.has_ended && !is_stuck && [HEADERS, DATA].contains(&heard.kind) {
            ok(raw, heard.stream, "served");
        }
    }
}

#[test]
fn uploads_that_are_not_read_stop_no_other_though_there_may_be_no_connection_more() {
    for (connections_max, stuck) in [(1, 1), (2, 4)] {
        let (address, connections) = server(|_, tcp| reads_all_but_stuck(&mut Raw::serve(tcp, &[]), true));
        let keys = format!("protocol = \"h2\"\nconnections_max = {connections_max}");
        let gateway = Gateway::start(&speaking(&Setup::to(&[address]), &keys), &[]);
        let uploads: Vec<_> = (0..stuck)
            .map(|_| {
                let mut client = gateway.client();
                client.send(post("/stuck", &"x".repeat(200_000)));
                client
            })
            .collect();
        eventually("all of them are under way", || {
            gateway.metrics().sum("umbra_exchanges_active", &[]) == stuck
        });
        let mut client = gateway.client();
        for n in 0..10 {
            assert_eq!(client.ask(get("/")).text(), "served", "{n} beside {stuck}");
            // More than is left of a window, in pieces that are given back.
            assert_eq!(client.ask(post("/", &"y".repeat(100_000))).text(), "served", "{n} beside {stuck}");
        }
        assert!(connections.load(Ordering::SeqCst) <= connections_max);
        drop(uploads);
    }
}

#[test]
fn an_upload_that_others_wait_for_is_given_up_long_before_its_write_is_late() {
    let (address, _) = server(|_, tcp| reads_all_but_stuck(&mut Raw::serve(tcp, &[]), false));
    let keys = "protocol = \"h2\"\nconnections_max = 1";
    let gateway = Gateway::start(&speaking(&Setup::to(&[address]), keys), &[]);
    let stuck: Vec<_> = (0..16)
        .map(|_| {
            let mut client = gateway.client();
            client.send(post("/stuck", &"x".repeat(200_000)));
            client
        })
        .collect();
    eventually("all of them are under way", || gateway.metrics().sum("umbra_exchanges_active", &[]) == 16);
    // Together they hold next to all there is, and no write is late for 30 s.
    let mut client = gateway.client();
    assert_eq!(client.ask(post("/", &"y".repeat(2000))).text(), "served");
    let late = failed(&gateway, "timeout");
    assert!((1..16).contains(&late), "{late} of 16");
    drop(stuck);
}

#[test]
fn a_request_of_no_bytes_whose_end_comes_later_is_whole() {
    let (address, _) = server(|_, tcp| {
        let mut raw = Raw::serve(tcp, &[]);
        raw.asked(1);
        ok(&mut raw, 1, "served");
        drained(&mut raw);
    });
    let v2 = Origin::new(|_, stream| write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    let gateway = start(&Setup::to(&[address]).mirror("v2", v2.address, ""));
    let mut raw = Raw::connect(gateway.address);
    raw.send(&headers(1, 0, &request("POST", "/", &[("content-length", "0")])));
    let heard = raw.send(&frame(DATA, END, 1, b"")).response(1);
    assert_eq!((heard.status(), heard.body.as_slice()), ("200", b"served".as_slice()));
    // An answer that is not known to be whole is not copied.
    becomes(&gateway, "v2", &[("eligible", 1), ("sent", 1), ("completed 2xx", 1)]);
}

#[test]
fn a_server_that_refuses_everything_is_a_primary_in_trouble() {
    let (address, _) = server(|_, tcp| {
        let mut raw = Raw::serve(tcp, &[]);
        for n in 0.. {
            raw.asked(2 * n + 1);
            if raw.is_ended {
                return;
            }
            raw.send(&frame(RST_STREAM, 0, 2 * n + 1, &REFUSED_STREAM.to_be_bytes()));
        }
    });
    let gateway = start(&Setup::to(&[address]));
    let mut client = gateway.client();
    eventually("it is said", || {
        for _ in 0..10 {
            assert_eq!(client.ask(post("/", "content")).status, 503);
        }
        let log = gateway.stderr();
        log.lines()
            .any(|line| line.contains("WARN") && line.contains("is unavailable") && line.contains("refused "))
    });
}
