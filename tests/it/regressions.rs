//! Defects that were found once: each test failed before its fix.

use std::io::Read as _;
use std::time::{Duration, Instant};

use tests::origin::write;
use tests::{After, Origin, PATIENCE, Setup, eventually};

#[test]
fn a_refused_request_is_answered_once_and_the_next_one_served() {
    for driver in ["auto", "epoll"] {
        let v1 = Origin::named("v1");
        let toml =
            Setup::new(&v1).driver(driver).toml().replace("path_prefix = \"/\"", "path_prefix = \"/yes\"");
        let gateway = tests::Gateway::start(&toml, &[]);
        let mut client = gateway.client();
        client.send("GET /no HTTP/1.1\r\nHost: a\r\n\r\nGET /yes HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response().status, 404, "{driver}");
        assert_eq!(client.response().text(), "v1", "{driver}");
        assert!(!client.hears_within(Duration::from_millis(200)), "{driver}: a third answer");
        assert_eq!(gateway.metrics().sum("umbra_rejected_total", &["reason=\"no_route\""]), 1);
    }
}

#[test]
fn content_that_is_chunked_on_its_way_does_not_grow_the_buffers() {
    // Close-delimited from the primary, so that we make the chunks; the clients read slowly.
    let v1 = Origin::new(|_, stream| {
        write(stream, "HTTP/1.1 200 OK\r\n\r\n");
        let block = vec![b'x'; 1 << 20];
        while write(stream, &block) == After::Keep {}
        After::Close
    });
    let gateway = Setup::new(&v1).start();
    let before = gateway.rss_bytes();
    let mut clients: Vec<_> = (0..20).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    }
    // Each client takes a megabyte in small sips, so that the primary is always ahead.
    let mut sip = vec![0; 16 * 1024];
    for _ in 0..64 {
        for client in &mut clients {
            client.stream.read_exact(&mut sip).expect("the answer goes on");
        }
    }
    let grown = gateway.rss_bytes().saturating_sub(before);
    assert!(grown < 20 * 400 * 1024, "grew by {grown} bytes for 20 slow downloads");
}

#[test]
fn a_mirror_that_takes_one_connection_only_still_gets_what_it_can_answer() {
    // Takes one connection and closes its listener: all further connects are refused.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the first connection");
        drop(listener);
        let (mut seen, mut block) = (0, vec![0; 64 * 1024]);
        while let Ok(n @ 1..) = stream.read(&mut block) {
            let heads = block[..n].windows(4).filter(|w| w == b"\r\n\r\n").count();
            for _ in 0..heads {
                write(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
            seen += heads;
        }
        seen
    });
    let v1 = Origin::named("v1");
    let gateway = Setup::new(&v1).mirror("v2", address, "pipeline_max = 1").start();
    // A single copy, so that the one connection is all there ever is: none waits in the listener's queue to be reset.
    assert_eq!(gateway.client().ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    gateway.settled("v2");
    let mut clients: Vec<_> = (0..8).map(|_| gateway.client()).collect();
    for _ in 0..50 {
        clients.iter_mut().for_each(|c| {
            c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        });
        clients.iter_mut().for_each(|c| assert_eq!(c.response().status, 200));
    }
    let metrics = gateway.settled("v2");
    assert_eq!(
        metrics.sum("umbra_mirror_dropped_total", &["reason=\"unreachable\""]),
        0,
        "{}",
        metrics.text()
    );
    assert_eq!(metrics.sum("umbra_mirror_completed_total", &[]), 401);
    drop(gateway);
    assert_eq!(served.join().expect("mirror"), 401);
}

#[test]
fn a_copy_that_completes_after_sigterm_still_reaches_the_mirror() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let mut gateway = Setup::new(&v1).mirror("v2", v2.address, "").start();
    let mut client = gateway.client();
    client.send("POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel");
    eventually("the upload has begun", || gateway.metrics().sum("umbra_mirror_pending", &[]) == 1);
    gateway.signal("TERM");
    // Longer than a second: the workers' slow tick must pass while the upload still runs.
    std::thread::sleep(Duration::from_millis(2_300));
    assert_eq!(client.send("lo").response().status, 200);
    assert!(gateway.wait_exit().success());
    assert_eq!(v2.wait_for(1)[0].body, b"hello");
}

#[test]
fn an_answer_is_not_cut_by_a_close_that_the_client_did_not_ask_for() {
    let body = tests::pattern(2_000_000);
    let answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n".as_slice(), &body].concat();
    let v1 = Origin::fixed(answer, After::Keep);
    let gateway = Setup::new(&v1).with("[limits]\nrequests_per_connection_max = 1").start();
    let mut client = gateway.client();
    // The second request stays unread in the gateway's socket.
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    std::thread::sleep(Duration::from_millis(300));
    let got = client.response();
    assert_eq!(got.field("connection"), Some("close"));
    assert!(got.body == body);
}

#[test]
fn continue_is_sent_to_a_waiting_client_on_a_kept_connection_too() {
    for driver in ["auto", "epoll"] {
        let v1 = Origin::named("v1");
        let gateway = Setup::new(&v1).driver(driver).start();
        let mut client = gateway.client();
        for round in 0..2 {
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
            let asked = Instant::now();
            assert!(client.hears_within(PATIENCE), "{driver}, round {round}: no 100");
            assert!(asked.elapsed() < Duration::from_secs(4), "{driver}, round {round}");
            let answer = client.send("hello").response();
            assert_eq!(
                (answer.interims.as_slice(), answer.status),
                ([100].as_slice(), 200),
                "{driver} {round}"
            );
        }
    }
}

#[test]
fn a_stray_line_behind_a_last_request_does_not_destroy_its_answer() {
    const BYTES: usize = 3_000_000;
    let gate = tests::Gate::closed();
    let held = gate.clone();
    let v1 = Origin::new(move |_, stream| {
        held.pass();
        write(
            stream,
            [format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n").into_bytes(), vec![b'x'; BYTES]]
                .concat(),
        )
    });
    let gateway = Setup::new(&v1).start();
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
    v1.wait_for(1);
    // Some clients end content with a line that is none of it (RFC 9112 §2.2).
    client.send("\r\n");
    gate.open();
    assert_eq!(client.response().body.len(), BYTES);
    assert!(client.is_closed() && !client.was_reset());
}

#[test]
fn a_close_delimited_answer_that_a_drain_cuts_does_not_look_complete() {
    let v1 = Origin::scripted(|conn| {
        conn.request();
        conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
        conn.hang();
    });
    let mut gateway = Setup::new(&v1).with("[timeouts]\ndrain = \"300ms\"").start();
    let mut client = gateway.client();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    eventually("it begins", || {
        client.hears_within(Duration::from_millis(10));
        client.inbox.ends_with(b"one")
    });
    gateway.signal("TERM");
    gateway.wait_exit();
    eventually("it ends", || client.is_ended());
    assert!(client.was_reset(), "a plain end would say that the answer is complete");
}

#[test]
fn a_cut_close_delimited_answer_does_not_look_complete() {
    // The upload times out while the answer, delimited by its end for an HTTP/1.0 client, still runs.
    let v1 = Origin::scripted(|conn| {
        conn.head();
        conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        conn.hang()
    });
    let gateway = Setup::new(&v1).with("[timeouts]\nrequest_body = \"2s\"").start();
    let mut client = gateway.client();
    client.send("POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 50\r\n\r\nhalf");
    assert!(client.hears_within(PATIENCE));
    eventually("the connection ends", || {
        client.receive();
        client.is_ended()
    });
    assert!(client.was_reset(), "a plain end would say that the answer is complete");
}

#[test]
fn content_that_comes_with_the_head_counts_against_its_limit() {
    let v1 = Origin::named("v1");
    let gateway = Setup::new(&v1).with("[limits]\nrequest_body_bytes_max = 10").start();
    let request = [
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
        tests::chunked(&tests::pattern(2_000), 500),
    ]
    .concat();
    assert_eq!(gateway.client().ask(request).status, 413);
    assert_eq!(v1.count(), 0);
}

#[test]
fn a_connection_field_with_too_many_options_is_refused() {
    let v1 = Origin::named("v1");
    let gateway = Setup::new(&v1).start();
    let options = "q,".repeat(5_000);
    let answer = gateway.client().ask(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {options}\r\n\r\n"));
    assert_eq!(answer.status, 400);
}

#[test]
fn a_copys_timeout_bounds_its_writing_however_it_drips() {
    // The mirror reads a little now and then: each sip is progress, none of it extends the deadline.
    let v2 = Origin::scripted(|conn| {
        while conn.read() {
            std::thread::sleep(Duration::from_millis(150));
        }
    });
    let v1 = Origin::named("v1");
    let keys = "timeout = \"1s\", body_bytes_max = \"30MiB\", ring_bytes_max = \"64MiB\"";
    let gateway = Setup::new(&v1).mirror("v2", v2.address, keys).start();
    let body = vec![b'x'; 20 << 20];
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut client = gateway.client();
    assert_eq!(client.send(head).send(&body).response().status, 200);
    let sent = Instant::now();
    let metrics = gateway.settled("v2");
    assert!(sent.elapsed() < Duration::from_secs(4), "took {:?}", sent.elapsed());
    assert_eq!(metrics.sum("umbra_mirror_failed_total", &["reason=\"timeout\""]), 1, "{}", metrics.text());
}

#[test]
fn a_primarys_head_that_drips_is_given_up_in_time() {
    let v1 = Origin::scripted(|conn| {
        conn.head();
        for byte in "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".bytes() {
            if !conn.write([byte]) {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    let gateway = Setup::new(&v1).with("[timeouts]\nresponse_head = \"1s\"").start();
    let asked = Instant::now();
    assert_eq!(gateway.client().ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 504);
    assert!(asked.elapsed() < Duration::from_secs(3), "took {:?}", asked.elapsed());
}

#[test]
fn an_upload_leaves_no_deadline_behind_for_the_request_that_follows_it() {
    let v1 = Origin::scripted(|conn| {
        while let Some(head) = conn.head() {
            if head.starts_with("POST") {
                while conn.inbox.len() < 5 && conn.read() {}
                conn.inbox.drain(..5);
            } else {
                // Longer than a refused client is listened to.
                std::thread::sleep(Duration::from_millis(1_500));
            }
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let gateway = Setup::new(&v1).start();
    let mut client = gateway.client();
    client.send("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    eventually("the upload has begun", || v1.wires().iter().any(|wire| wire.contains("POST /up")));
    // The end of the content and the next request come together, so that nothing is left to be read from the client.
    client.send("helloGET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "ok");
    assert_eq!(client.response().text(), "ok");
    assert!(!client.hears_within(Duration::from_millis(200)), "the connection ended by itself");
    assert_eq!(client.ask("GET /again HTTP/1.1\r\nHost: a\r\n\r\n").text(), "ok");
}

#[test]
fn a_mirrors_connection_that_fell_out_of_step_finds_back_and_its_pairs_are_told() {
    const REQUESTS: usize = 400;
    // A request's own status can be told from its id, so that a response paired with another request shows.
    let status = |target: &str| {
        let id: usize = target.split_once("id=").and_then(|(_, id)| id.parse().ok()).expect("an id");
        ["200 OK", "404 Not Found"][id % 2]
    };
    let response = move |target: &str| format!("HTTP/1.1 {}\r\nContent-Length: 0\r\n\r\n", status(target));
    let v1 = Origin::new(move |request, stream| write(stream, response(&request.target)));
    let v2 = Origin::scripted(move |conn| {
        let mut answered = 0;
        while let Some(request) = conn.request() {
            // The time of an answer; a response too many comes later than its own, and sooner than the next.
            std::thread::sleep(Duration::from_millis(4));
            if !conn.write(response(&request.target)) {
                return;
            }
            answered += 1;
            if conn.number == 0 && answered == 20 {
                std::thread::sleep(Duration::from_millis(2));
                conn.write("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
            }
        }
    });
    let policy = "connections_max = 1, pipeline_max = 1, ring_entries_max = 1000, timeout = \"60s\"";
    let gateway = Setup::new(&v1).mirror("v2", v2.address, policy).start();
    let mut client = gateway.client();
    for id in 0..REQUESTS {
        client.ask(tests::load::get(id));
    }
    let told = |what: &str| gateway.metrics().mirror("v2", what);
    eventually("every copy was answered", || {
        told("completed_total") + told("failed_total") == REQUESTS as i64
    });
    gateway.metrics().ledger("v2").expect("the ledger balances");
    assert_eq!(told("out_of_step_total"), 1);
    assert!(v2.connections() >= 2, "another connection is in step");
    let beside = |primary: &str, mirror: &str| {
        let ends = [&*format!("primary_end=\"{primary}\""), &*format!("mirror_end=\"{mirror}\"")];
        gateway.metrics().sum("umbra_pairs_total", &ends)
    };
    let wrong = beside("200", "404") + beside("404", "200");
    let suspect = told("suspect_pairs_total");
    assert!(wrong <= suspect, "{wrong} responses beside another request, {suspect} said to be");
    assert!((1..=130).contains(&suspect), "{suspect}: it lasts no longer than until silence is asked for");
}
