//! Kept connections: reused only when proven clean, retried only when nothing can happen twice. Rows K of the matrix.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use tests::{
    After, Client, Conn, Gate, Origin, Request, Response, Setup, Stage, eventually, origin, pattern, show,
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
}

fn with_content(method: &str, target: &str, content: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{content}", content.len())
}

fn targets(requests: &[Request]) -> Vec<&str> {
    requests.iter().map(|r| r.target.as_str()).collect()
}

#[test]
fn a_clean_connection_is_used_again() {
    let stage = Stage::plain();
    let mut client = stage.client();
    for n in 0..50 {
        assert_eq!(client.ask(get(&format!("/{n}"))).status, 200);
    }
    assert_eq!(stage.client().ask(get("/other-client")).status, 200);
    assert_eq!(stage.primary.connections(), 1, "{}", stage.wires());
    let metrics = stage.settled();
    assert_eq!(metrics.sum("umbra_upstream_reuses_total", &["upstream=\"primary\""]), 50);
    // The client may have its answer a moment before the connection is back in its pool.
    let idle = || stage.gateway.metrics().sum("umbra_upstream_idle_connections", &["upstream=\"primary\""]);
    eventually("the connection is kept", || idle() == 1);
}

/// K1: a request that the gateway answers itself leaves no content behind that could become a request.
#[test]
fn content_of_a_locally_answered_request_never_becomes_a_request() {
    let primary = Origin::named("v1");
    let routes = "[[route]]\nname = \"away\"\npath = \"/away\"\nprimary = \"away\"\n";
    let upstream = format!("[upstream.away]\nendpoints = [\"{}\"]\n", Origin::refusing());
    let gateway = Setup::new(&primary)
        .with(&upstream)
        .with(routes)
        .with("[limits]\nrequest_body_bytes_max = \"2MiB\"\ndrain_bytes_max = \"64KiB\"")
        .start();
    let mut hidden = get("/hidden").repeat(400);
    hidden.push_str(&"x".repeat((1 << 20) - hidden.len()));
    let small = get("/hidden");
    for (target, method, content, status) in [
        ("/away", "POST", hidden.as_str(), [502, 503]),
        ("/away", "POST", &small, [502, 503]),
        ("/away", "GET", &small, [502, 503]),
        ("/", "TRACE", &small, [405, 405]),
        ("/large", "POST", &hidden.repeat(3), [413, 413]),
    ] {
        let mut client = gateway.client();
        let request = with_content(method, target, content) + &get("/next");
        // A thread of its own: the gateway may answer and stop reading long before all of it is written.
        let mut writer = client.stream.try_clone().expect("a second handle");
        let writing = thread::spawn(move || {
            let _ = std::io::Write::write_all(&mut writer, request.as_bytes());
        });
        let answer = client.response();
        assert!(status.contains(&answer.status), "{method} {target}: {answer:?}");
        if answer.field("connection") == Some("close") {
            assert!(client.is_closed(), "{method} {target}: {}", show(&client.inbox));
        } else {
            let next = client.response();
            assert_eq!((next.status, next.text().as_str()), (200, "v1"), "{method} {target}");
        }
        drop(client);
        writing.join().expect("writer");
    }
    assert_eq!(gateway.client().ask(get("/last")).status, 200);
    let seen = primary.requests();
    assert!(
        !targets(&seen).contains(&"/hidden") && targets(&seen).contains(&"/last"),
        "{:?}",
        targets(&seen)
    );
}

/// K1: no route.
#[test]
fn a_request_without_route_is_404_and_the_next_is_served() {
    let primary = Origin::named("v1");
    let file = Setup::new(&primary).toml().replace("path_prefix = \"/\"", "path_prefix = \"/only\"");
    let gateway = tests::Gateway::start(&file, &[]);
    let mut client = gateway.client();
    let answer = client.ask(get("/elsewhere"));
    assert_eq!(answer.status, 404);
    assert_eq!(answer.field("connection"), None, "nothing speaks against keeping it");
    assert_eq!(client.ask(get("/only")).status, 200);
    assert_eq!(primary.count(), 1);
    assert_eq!(gateway.metrics().sum("umbra_rejected_total", &["reason=\"no_route\""]), 1);
}

/// K2: a connection that the primary closed while it was idle costs no client anything.
#[test]
fn a_connection_closed_while_idle_is_not_used_again() {
    for method in ["GET", "POST"] {
        let (closed, closes) = mpsc::channel();
        let primary = Origin::scripted(move |conn: &mut Conn| {
            if conn.request().is_some() && conn.write(OK) {
                let _ = conn.stream.shutdown(std::net::Shutdown::Both);
                let _ = closed.send(());
            }
        });
        let stage = Stage::of(primary, Origin::named("v2"), "", |setup| setup);
        let mut client = stage.client();
        for n in 0..20 {
            assert_eq!(client.ask(with_content(method, &format!("/{n}"), "x")).status, 200, "{method} {n}");
            closes.recv_timeout(tests::PATIENCE).expect("the primary closes");
            let served = stage.primary.connections();
            assert_eq!(served, n + 1, "a closed connection was used: {}", stage.wires());
        }
        stage.settled();
        let unique: HashSet<_> = stage.primary.requests().iter().map(|r| r.target.clone()).collect();
        assert_eq!((unique.len(), stage.primary.count(), stage.mirror.count()), (20, 20, 20));
    }
}

/// A primary whose connections each answer one request, then take another and end without an answer.
fn dies_on_its_second_request(after: After) -> Origin {
    Origin::scripted(move |conn: &mut Conn| {
        if conn.request().is_some() && conn.write(OK) && conn.request().is_some() && after == After::Reset {
            conn.reset();
        }
    })
}

/// K2, K5: the primary took the request on a kept connection and hung up: an idempotent request is sent once more.
#[test]
fn a_kept_connection_that_dies_is_retried_only_where_nothing_can_happen_twice() {
    for after in [After::Close, After::Reset] {
        let large = "x".repeat(300_000);
        for (method, content, status, seen) in [
            ("GET", "", 200, 2),
            ("HEAD", "", 200, 2),
            ("PUT", "small", 200, 2),
            ("DELETE", "", 200, 2),
            ("POST", "", 502, 1),
            ("POST", "small", 502, 1),
            ("PATCH", "small", 502, 1),
            ("QUERY", "", 502, 1),
            // Its content is gone: it was streamed.
            ("PUT", large.as_str(), 502, 1),
        ] {
            let what = format!("{method} of {} bytes, {after:?}", content.len());
            let stage = Stage::of(dies_on_its_second_request(after), Origin::named("v2"), "", |setup| setup);
            let mut client = stage.client();
            assert_eq!(client.ask(get("/first")).status, 200);
            eventually("the connection is kept", || {
                stage.gateway.metrics().sum("umbra_upstream_idle_connections", &[]) == 1
            });
            client.send(with_content(method, "/second", content));
            let answer: Response =
                if method == "HEAD" { client.response_to_head() } else { client.response() };
            assert_eq!(answer.status, status, "{what}");
            let times = stage.primary.requests().iter().filter(|r| r.target == "/second").count();
            assert_eq!(times, seen, "{what}: the primary saw it {times} times");
            let metrics = stage.settled();
            assert_eq!(metrics.sum("umbra_upstream_retries_total", &[]), seen as i64 - 1, "{what}");
            // Retried or not, its copy is one: the primary had the whole request.
            stage.mirror.wait_for(2);
            let copies = stage.mirror.requests();
            let copies: HashSet<_> = targets(&copies).into_iter().collect();
            assert_eq!((copies.len(), stage.mirror.count()), (2, 2), "{what}: {}", stage.wires());
        }
    }
}

/// Only a kept connection is a reason to try again: a new one that dies has seen the request.
#[test]
fn a_new_connection_that_dies_is_not_retried() {
    let primary = Origin::scripted(|conn| {
        conn.request();
    });
    let stage = Stage::of(primary, Origin::named("v2"), "", |setup| setup);
    assert_eq!(stage.client().ask(get("/once")).status, 502);
    assert_eq!(stage.settled().sum("umbra_upstream_retries_total", &[]), 0);
    assert_eq!(stage.primary.count(), 1);
}

/// K3: the primary closes just as the next request comes, many times over.
#[test]
fn a_race_between_close_and_request_costs_no_get_and_doubles_no_post() {
    const ROUNDS: usize = 1000;
    for method in ["GET", "POST"] {
        let primary = Origin::fixed(OK, After::Close);
        let gateway = Setup::new(&primary).start();
        let mut client = gateway.client();
        let mut refused = 0;
        for n in 0..ROUNDS {
            match client.ask(with_content(method, &format!("/{n}"), "x")).status {
                200 => {}
                502 if method == "POST" => refused += 1,
                other => panic!("{method} {n} is answered {other}"),
            }
        }
        let seen = primary.requests();
        let mut times = vec![0; ROUNDS];
        for request in &seen {
            times[request.target[1..].parse::<usize>().expect("a number")] += 1;
        }
        if method == "POST" {
            assert!(times.iter().all(|n| *n <= 1), "a POST arrived twice: {times:?}");
            assert!(seen.len() + refused >= ROUNDS, "{} seen, {refused} refused", seen.len());
        } else {
            assert!(times.iter().all(|n| *n >= 1), "answered without the primary: {times:?}");
        }
    }
}

/// K4: unasked bytes of a primary are part of no answer.
#[test]
fn a_connection_that_spoke_while_idle_is_not_used_again() {
    for unasked in
        ["HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled", "HTTP/1.1 408 Timeout\r\n\r\n", "x"]
    {
        let (speak, spoken) = (Gate::closed(), Gate::closed());
        let primary = Origin::scripted({
            let (speak, spoken) = (speak.clone(), spoken.clone());
            move |conn: &mut Conn| {
                while conn.request().is_some() && conn.write(OK) {
                    if conn.number == 0 {
                        speak.pass();
                        conn.write(unasked);
                        spoken.open();
                    }
                }
            }
        });
        let gateway = Setup::new(&primary).start();
        let mut client = gateway.client();
        assert_eq!(client.ask(get("/first")).text(), "ok");
        speak.open();
        spoken.pass();
        for n in 0..5 {
            assert_eq!(client.ask(get(&format!("/{n}"))).text(), "ok", "after {unasked:?}");
        }
        assert_eq!(primary.connections(), 2, "{:?}", primary.wires());
    }
}

/// U8 and S2, where the content comes when the answer is long relayed: its connection rests for a moment.
#[test]
fn content_that_an_answer_must_not_have_reaches_no_client_however_late() {
    let smuggled = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";
    let primary = Origin::new(move |request, stream| {
        let status = match request.target.as_str() {
            "/204" => "204 No Content",
            "/304" => "304 Not Modified",
            "/head" | "/clean" => "200 OK",
            own => {
                return origin::write(
                    stream,
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{own}", own.len()),
                );
            }
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", smuggled.len());
        if origin::write(stream, head) != After::Keep || request.target == "/clean" {
            return After::Keep;
        }
        // The fault itself: later than the next request can come.
        thread::sleep(Duration::from_millis(30));
        origin::write(stream, smuggled)
    });
    let gateway = Setup::new(&primary).start();
    let mut client = gateway.client();
    for round in 0..5 {
        for (method, target, status) in [("HEAD", "/head", 200), ("GET", "/204", 204), ("GET", "/304", 304)] {
            client.send(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!(client.try_response(true).expect("an answer").status, status);
            for n in 0..5 {
                let own = format!("/own/{round}/{n}");
                let answer = client.ask(get(&own));
                assert_eq!((answer.status, answer.text()), (200, own), "behind {method} {target}");
            }
        }
    }
    // A request that has no other connection.
    let gateway = Setup::new(&primary).start();
    let mut client = gateway.client();
    eventually("a connection that stayed silent is used again", || {
        let before = primary.connections();
        client.send("HEAD /clean HTTP/1.1\r\nHost: a\r\n\r\n");
        client.try_response(true).is_ok_and(|answer| answer.status == 200) && primary.connections() == before
    });
}

/// K6: whichever clients hang up, none gets another's answer.
#[test]
fn answers_never_reach_another_client() {
    let primary = Origin::new(|request: &Request, stream| {
        let own = format!("{}:{}", request.target, "y".repeat(request.target.len() * 100));
        origin::write(stream, format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{own}", own.len()))
    });
    let stage = Stage::of(primary, Origin::named("v2"), "", |setup| setup.workers(2));
    let address = stage.gateway.address;
    let wrong = Arc::new(Mutex::new(Vec::new()));
    let answered = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..4)
        .map(|who| {
            let (wrong, answered) = (Arc::clone(&wrong), Arc::clone(&answered));
            thread::spawn(move || {
                for round in 0..150 {
                    let mut client = Client::connect(address);
                    for n in 0..4 {
                        let target = format!("/{who}/{round}/{n}");
                        client.send(get(&target));
                        // A client in three leaves before its answer, with or without a reset.
                        match (round + n + who) % 3 {
                            0 if round % 2 == 0 => {
                                client.reset();
                                break;
                            }
                            0 => break,
                            _ => {}
                        }
                        match client.try_response(false) {
                            Ok(answer) if answer.text().starts_with(&format!("{target}:")) => {
                                answered.fetch_add(1, Ordering::SeqCst);
                            }
                            other => wrong.lock().expect("wrong").push(format!("{target} got {other:?}")),
                        }
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("client");
    }
    let wrong = wrong.lock().expect("wrong");
    assert!(wrong.is_empty(), "{} wrong: {}", wrong.len(), wrong[0]);
    assert!(answered.load(Ordering::SeqCst) > 400);
    stage.settled();
    assert!(stage.primary.invalid().is_empty(), "{:?}", stage.primary.invalid());
}

/// K6: the answer of a client that left is not waiting for the next one.
#[test]
fn an_answer_whose_client_left_is_thrown_away() {
    let gate = Gate::closed();
    let primary = Origin::new({
        let gate = gate.clone();
        move |request: &Request, stream| {
            if request.target == "/slow" {
                gate.pass();
            }
            let own = &request.target;
            origin::write(stream, format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{own}", own.len()))
        }
    });
    let gateway = Setup::new(&primary).start();
    let mut leaver = gateway.client();
    leaver.send(get("/slow"));
    primary.wait_for(1);
    leaver.reset();
    let mut client = gateway.client();
    assert_eq!(client.ask(get("/other")).text(), "/other");
    gate.open();
    for n in 0..20 {
        let target = format!("/{n}");
        assert_eq!(client.ask(get(&target)).text(), target);
    }
}

/// K7: bounds on how long and how often a connection is used.
#[test]
fn kept_connections_end_at_their_bounds() {
    let primary = Origin::named("v1");
    let gateway = Setup::new(&primary)
        .with("[limits]\nrequests_per_connection_max = 3\n[timeouts]\nupstream_idle = \"300ms\"\nclient_idle = \"1s\"")
        .start();
    let mut client = gateway.client();
    for _ in 0..2 {
        assert_eq!(client.ask(get("/")).field("connection"), None);
    }
    let last = client.ask(get("/"));
    assert_eq!((last.status, last.field("connection")), (200, Some("close")), "the third is the last");
    assert!(client.is_closed());
    eventually("the idle connection to the primary is closed", || {
        gateway.metrics().sum("umbra_upstream_idle_connections", &[]) == 0
    });
    let mut idle = gateway.client();
    assert_eq!(idle.ask(get("/")).status, 200);
    assert!(idle.is_closed(), "an idle client connection is closed without a word");
    let mut silent = gateway.client();
    assert!(silent.is_closed(), "so is one that never said anything");
}

#[test]
fn no_idle_connection_is_kept_where_none_may_be() {
    let primary = Origin::named("v1");
    let gateway = Setup::new(&primary).with("[limits]\nupstream_idle_max = 0").start();
    let mut client = gateway.client();
    for _ in 0..5 {
        assert_eq!(client.ask(get("/")).status, 200);
    }
    assert_eq!(primary.connections(), 5);
}

/// Endpoints share the work, each over connections of its own.
#[test]
fn endpoints_take_turns() {
    let endpoints = [Origin::named("a"), Origin::named("b"), Origin::named("c")];
    let addresses: Vec<_> = endpoints.iter().map(|o| o.address).collect();
    let gateway = Setup::to(&addresses).start();
    let mut client = gateway.client();
    for _ in 0..30 {
        assert_eq!(client.ask(get("/")).status, 200);
    }
    assert_eq!(endpoints.each_ref().map(Origin::count), [10, 10, 10]);
    assert_eq!(endpoints.each_ref().map(Origin::connections), [1, 1, 1]);
}

/// The endpoint with fewer exchanges open is chosen: one that hangs gets no more than its share of hanging.
#[test]
fn the_least_busy_endpoint_is_preferred_where_asked_for() {
    let (hangs, answers) = (
        Origin::scripted(|conn| {
            conn.request();
            conn.read_to_end();
        }),
        Origin::named("b"),
    );
    let file = Setup::to(&[hangs.address, answers.address]).toml();
    let file = file.replace("[upstream.primary]\n", "[upstream.primary]\nbalance = \"least_in_flight\"\n");
    let gateway = tests::Gateway::start(&file, &[]);
    let (done, finished) = mpsc::channel();
    let address = gateway.address;
    // The first that reaches the endpoint that hangs stays there.
    let mut stuck = Vec::new();
    while hangs.count() == 0 {
        let mut client = Client::connect(address);
        client.send(get("/"));
        client.hears_within(Duration::from_millis(200));
        stuck.push(client);
        assert!(stuck.len() < 4, "both endpoints should have had a turn");
    }
    thread::spawn(move || {
        let mut client = Client::connect(address);
        for _ in 0..20 {
            client.ask(get("/"));
        }
        let _ = done.send(());
    });
    finished.recv_timeout(tests::PATIENCE).expect("all twenty are answered while the other endpoint hangs");
    assert_eq!(hangs.count(), 1);
}

/// A large answer that its client does not read holds back the primary, not the memory of the gateway.
#[test]
fn an_answer_is_read_no_faster_than_its_client_reads() {
    let written = Arc::new(AtomicUsize::new(0));
    let content = Arc::new(pattern(1 << 20));
    let primary = Origin::scripted({
        let written = Arc::clone(&written);
        move |conn| {
            if conn.request().is_some() {
                conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 64 << 20));
                for _ in 0..64 {
                    if !conn.write(content.as_slice()) {
                        return;
                    }
                    written.fetch_add(1 << 20, Ordering::SeqCst);
                }
            }
        }
    });
    let gateway = Setup::new(&primary).start();
    let before = gateway.rss_bytes();
    let mut client = gateway.client();
    client.send(get("/"));
    eventually("the answer begins", || written.load(Ordering::SeqCst) > 0);
    // The count stops once every buffer on the way is full: twice the same, a while apart.
    let mut last = 0;
    eventually("the primary is held back", || {
        thread::sleep(Duration::from_millis(200));
        let now = written.load(Ordering::SeqCst);
        std::mem::replace(&mut last, now) == now
    });
    assert!(last < 48 << 20, "{last} bytes went on although nobody reads");
    let grown = gateway.rss_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes of memory for one client that does not read");
    let answer = client.response();
    assert_eq!(answer.body.len(), 64 << 20);
}
