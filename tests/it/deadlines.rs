//! Each side's time is its own: a deadline ends only the side that is late, and blames no side for another's slowness.

use std::time::{Duration, Instant};

use tests::origin::{Full, write};
use tests::{After, Client, Gate, Origin, PATIENCE, Setup, eventually};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HALF: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello";

/// Reads a whole request and never answers.
fn silent() -> Origin {
    Origin::scripted(|conn| {
        conn.request();
        conn.hang();
    })
}

#[test]
fn a_whole_requests_time_holds_behind_an_upload_too() {
    let v1 = silent();
    let gateway = Setup::new(&v1).with("[timeouts]\nrequest = \"3s\"\nresponse_head = \"20s\"").start();
    for pieces in [&[HALF, "world"] as &[&str], &[&format!("{HALF}world")]] {
        let mut client = gateway.client();
        for (n, piece) in pieces.iter().enumerate() {
            client.send(piece);
            if n + 1 < pieces.len() {
                eventually("the first piece arrives", || {
                    v1.wires().iter().any(|wire| wire.ends_with("hello"))
                });
            }
        }
        let asked = Instant::now();
        assert_eq!(client.response().status, 504);
        assert!(asked.elapsed() < Duration::from_secs(6), "took {:?}", asked.elapsed());
    }
}

#[test]
fn an_answer_that_has_begun_is_not_cut_by_the_end_of_the_upload() {
    let gate = Gate::closed();
    let held = gate.clone();
    let v1 = Origin::scripted(move |conn| {
        let Some(_) = conn.head() else { return };
        conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
        while !conn.inbox.ends_with(b"world") && conn.read() {}
        held.pass();
        conn.write("3\r\ntwo\r\n0\r\n\r\n");
        conn.hang();
    });
    // An answer's head is due in a tenth of a second; its pieces may take a minute.
    let gateway = Setup::new(&v1).with("[timeouts]\nresponse_head = \"100ms\"").start();
    let mut client = gateway.client();
    client.send(HALF);
    eventually("the answer begins", || {
        client.receive();
        client.inbox.ends_with(b"one\r\n")
    });
    client.send("world");
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_millis(800) {
        client.receive();
        assert!(!client.has_ended(), "cut: {}", tests::show(&client.inbox));
    }
    gate.open();
    assert_eq!(client.response().text(), "onetwo");
}

#[test]
fn a_client_that_takes_its_time_is_told_so_and_no_primary_is_blamed_for_it() {
    let (one, other) = (Origin::named("v1"), Origin::named("v1"));
    let eject = "ejection = { consecutive_5xx = 1, interval = \"10s\", time = \"30s\", percent_max = 100 }";
    let text = Setup::to(&[one.address, other.address])
        .with("[timeouts]\nrequest = \"2s\"")
        .toml()
        .replace("[timeouts]", &format!("{eject}\n[timeouts]"));
    let gateway = tests::Gateway::start(&text, &[]);
    let mut slow: Vec<Client> = (0..4).map(|_| gateway.client()).collect();
    slow.iter_mut().for_each(|client| {
        client.send(HALF);
    });
    let statuses: Vec<u16> = slow.iter_mut().map(|client| client.response().status).collect();
    assert_eq!(statuses, [408; 4]);
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("umbra_upstream_ejections_total", &[]), 0, "{}", metrics.text());
    assert_eq!(gateway.client().ask(GET).text(), "v1");
}

#[test]
fn a_whole_requests_time_holds_while_a_connection_is_made() {
    let gone: Vec<Full> = (0..3).map(|_| Full::new()).collect();
    let addresses: Vec<_> = gone.iter().map(|full| full.address).collect();
    let gateway = Setup::to(&addresses).with("[timeouts]\nrequest = \"500ms\"\nconnect = \"20s\"").start();
    let asked = Instant::now();
    assert_eq!(gateway.client().ask(GET).status, 504);
    assert!(asked.elapsed() < Duration::from_secs(5), "took {:?}", asked.elapsed());
}

#[test]
fn a_whole_requests_time_holds_for_a_client_that_reads_slowly_from_a_ready_primary() {
    let v1 = Origin::new(|_, stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 400000000\r\n\r\n";
        if write(stream, head) == After::Close {
            return After::Close;
        }
        let block = vec![b'x'; 1 << 20];
        (0..400).map(|_| write(stream, &block)).find(|after| *after == After::Close).unwrap_or(After::Close)
    });
    let gateway = Setup::new(&v1).with("[timeouts]\nrequest = \"1s\"").start();
    let mut client = gateway.client();
    client.send(GET);
    let aborted = || gateway.metrics().sum("umbra_exchanges_aborted_total", &[]);
    let asked = Instant::now();
    // A megabyte a tenth of a second: the primary is always ready, and so is the client, only not in time.
    while aborted() == 0 {
        assert!(asked.elapsed() < PATIENCE, "still running after {:?}", asked.elapsed());
        client.receive();
        client.inbox.clear();
    }
    assert!(asked.elapsed() < Duration::from_secs(5), "took {:?}", asked.elapsed());
}

#[test]
fn an_empty_line_is_no_request_and_keeps_no_connection_open() {
    let v1 = Origin::named("v1");
    let gateway = Setup::new(&v1).with("[timeouts]\nclient_idle = \"3s\"").start();
    let (began, mut client) = (Instant::now(), gateway.client());
    while !client.has_ended() {
        assert!(began.elapsed() < Duration::from_secs(8), "kept open by empty lines");
        client.send("\r\n");
        (0..8).for_each(|_| client.receive());
    }
    // An empty line before a request is passed over all the same, before each.
    let mut client = gateway.client();
    for _ in 0..3 {
        assert_eq!(client.ask(format!("\r\n{GET}")).text(), "v1");
    }
}

/// Answers 100 or 103 to a head, and then waits for content that does not come.
fn encouraging(interim: &'static str) -> Origin {
    Origin::scripted(move |conn| {
        if conn.head().is_some() {
            conn.write(interim);
            conn.hang();
        }
    })
}

#[test]
fn a_client_that_stops_behind_an_interim_answer_is_the_one_who_is_late() {
    for interim in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"] {
        let v1 = encouraging(interim);
        for timeouts in ["request_body = \"300ms\"", "request = \"500ms\""] {
            let ejecting = "[upstream.primary.ejection]\nconsecutive_gateway_errors = 1\ntime = \"1h\"\npercent_max = 100";
            let gateway = Setup::new(&v1).with(&format!("{ejecting}\n[timeouts]\n{timeouts}")).start();
            let mut client = gateway.client();
            client.send(HALF);
            eventually("the interim answer comes", || {
                client.receive();
                client.inbox.ends_with(b"\r\n\r\n")
            });
            assert_eq!(&client.inbox[..interim.len()], interim.as_bytes());
            client.inbox.clear();
            assert_eq!(client.response().status, 408, "{timeouts}");
            let metrics = gateway.metrics();
            assert_eq!(metrics.sum("umbra_upstream_ejections_total", &[]), 0, "{timeouts}");
            assert_eq!(metrics.sum("umbra_rejected_total", &["reason=\"body_timeout\""]), 1, "{timeouts}");
        }
    }
}

#[test]
fn nobody_waits_longer_than_the_request_may_take_to_be_told_to_continue() {
    let v1 = silent();
    let gateway = Setup::new(&v1).with("[timeouts]\nrequest = \"100ms\"").start();
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let answer = client.response();
    // A second is how long a silent primary is waited for otherwise, before the client is told to go on.
    assert!([408, 504].contains(&answer.status), "{}", answer.status);
    assert_eq!(answer.interims, [] as [u16; 0], "too late to begin");
}
