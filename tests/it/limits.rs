//! Every bound: reached, answered, counted.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use tests::load::{Gate, Peer, account, chunked, pattern};
use tests::origin::{After, write};
use tests::{Client, Gateway, Origin, PATIENCE, Setup, eventually, show};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\n";

/// Streams of a hundred megabytes are made of this, over and over; its length divides no power of two.
const ROLL: usize = 1_000_003;
const STREAMED: usize = 120 << 20;

/// A time counts from the tick before it began: by so much it may seem short.
const TICK_MS: u128 = 100;

#[track_caller]
fn rejected(gateway: &Gateway, reason: &str) -> i64 {
    gateway.metrics().sum("umbra_rejected_total", &[&format!("reason=\"{reason}\"")])
}

// === Slow clients ===

#[test]
fn a_head_that_drips_in_is_answered_408_at_its_deadline() {
    let v1 = Origin::named("v1");
    let gateway = Setup::new(&v1).with("[timeouts]\nrequest_head = \"500ms\"").start();
    let mut slow: Vec<Client> = (0..20).map(|_| gateway.client()).collect();
    let started = Instant::now();
    let mut dripped = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
    dripped.extend_from_slice(&[b'x'; 10_000]);
    // Every byte would refresh a deadline that counted from the last one. The others are served meanwhile.
    for byte in dripped.chunks(1) {
        slow.iter_mut().for_each(|client| {
            client.send(byte);
        });
        let asked = Instant::now();
        assert_eq!(gateway.client().ask(GET).text(), "v1");
        assert!(asked.elapsed() < Duration::from_secs(5), "a normal client waited {:?}", asked.elapsed());
        if slow[0].hears_within(Duration::from_millis(20)) {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "dripping goes on for ever");
    }
    let took = started.elapsed();
    assert!((500 - TICK_MS..3000).contains(&took.as_millis()), "the answer came after {took:?}");
    for client in &mut slow {
        let answer = client.response();
        assert_eq!((answer.status, answer.field("connection")), (408, Some("close")));
        assert!(client.is_closed());
    }
    assert_eq!(rejected(&gateway, "head_timeout"), 20);
}

#[test]
fn a_connection_without_a_request_is_closed_without_a_word() {
    let v1 = Origin::named("v1");
    let gateway = Setup::new(&v1).with("[timeouts]\nclient_idle = \"300ms\"").start();
    let (mut silent, mut served) = (gateway.client(), gateway.client());
    assert_eq!(served.ask(GET).text(), "v1");
    for client in [&mut silent, &mut served] {
        let started = Instant::now();
        assert!(client.is_closed(), "{}", show(&client.inbox));
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    }
    eventually("both are gone", || gateway.metrics().sum("umbra_connections_active", &[]) == 0);
}

#[test]
fn a_connection_that_asks_now_and_then_is_kept() {
    let v1 = Origin::named("v1");
    let gateway = Setup::new(&v1).with("[timeouts]\nclient_idle = \"4s\"").start();
    let mut client = gateway.client();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(6) {
        assert_eq!(client.ask(GET).text(), "v1", "after {:?}", started.elapsed());
        // This client's own slowness: below the limit, longer than the gateway keeps a buffer.
        assert!(!client.hears_within(Duration::from_millis(700)));
    }
}

#[test]
fn content_that_stops_coming_is_answered_408_and_not_copied() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let gateway =
        Setup::new(&v1).mirror("v2", v2.address, "").with("[timeouts]\nrequest_body = \"400ms\"").start();
    let halves = ["Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"];
    for half in halves {
        let mut client = gateway.client();
        let started = Instant::now();
        let answer = client.ask(format!("{POST}{half}"));
        assert_eq!((answer.status, answer.field("connection")), (408, Some("close")), "{half}");
        assert!((400 - TICK_MS..3000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
        assert!(client.is_closed());
    }
    assert_eq!(rejected(&gateway, "body_timeout"), 2);
    eventually("the primary's connections end inside the request", || v1.incomplete() == 2);
    gateway.settled("v2");
    assert_eq!((v1.count(), v2.connections()), (0, 0));
}

#[test]
fn content_that_drips_in_time_is_passed_on_whole() {
    let v1 = Origin::named("v1");
    let gateway = Setup::new(&v1)
        .with("[timeouts]\nrequest_body = \"2s\"\n[limits]\nrequest_bytes_per_second_min = 1")
        .start();
    let mut client = gateway.client();
    client.send(format!("{POST}Content-Length: 15\r\n\r\n"));
    for byte in b"fifteen bytes.." {
        // This client's own slowness: three seconds in all, each piece well within its two.
        assert!(!client.hears_within(Duration::from_millis(200)), "{}", show(&client.inbox));
        client.send([*byte]);
    }
    assert_eq!(client.response().text(), "v1");
    assert_eq!(v1.wait_for(1)[0].body, b"fifteen bytes..");
}

#[test]
fn content_that_drips_for_ever_is_answered_408_although_each_piece_is_in_time() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let gateway = Setup::new(&v1)
        .mirror("v2", v2.address, "")
        .with("[timeouts]\nrequest_body = \"1s\"\n[limits]\nrequest_bytes_per_second_min = 100")
        .start();
    let mut client = gateway.client();
    client.send(format!("{POST}Content-Length: 10000\r\n\r\n"));
    let started = Instant::now();
    // Ten bytes a second, a tenth of the required rate.
    while !client.hears_within(Duration::from_millis(100)) {
        assert!(started.elapsed() < PATIENCE, "dripping goes on for ever");
        client.send(b"x");
    }
    let took = started.elapsed();
    let answer = client.response();
    assert_eq!((answer.status, answer.field("connection")), (408, Some("close")));
    assert!((1000 - TICK_MS..4000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(rejected(&gateway, "body_timeout"), 1);
    eventually("the primary's connection ends inside the request", || v1.incomplete() == 1);
    gateway.settled("v2");
    assert_eq!((v1.count(), v2.connections()), (0, 0));
}

#[test]
fn a_primary_that_takes_content_slowly_is_not_held_against_the_client() {
    // The primary reads nothing for longer than the client's own limit, while the client has sent all that fits.
    let gate = Gate::closed();
    let held = Arc::clone(&gate);
    let v1 = Origin::scripted(move |conn| {
        held.wait_at_most(Duration::from_secs(3));
        if conn.request().is_some_and(|request| request.body.len() == 8 << 20) {
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nv1");
        }
    });
    let gateway = Setup::new(&v1)
        .with("[timeouts]\nrequest_body = \"1500ms\"\n[limits]\nrequest_bytes_per_second_min = 1_000_000_000")
        .start();
    let mut client = gateway.client();
    let sent =
        [format!("{POST}Content-Length: {}\r\n\r\n", 8 << 20).into_bytes(), pattern(0, 8 << 20)].concat();
    assert_eq!(client.ask(sent).text(), "v1");
}

#[test]
fn a_whole_request_has_its_own_time_whatever_drips() {
    let v1 = Origin::new(|_, stream| {
        write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        // A byte now and then: each read is in time.
        while write(stream, "x") == After::Keep {
            Gate::closed().wait_at_most(Duration::from_millis(50));
        }
        After::Close
    });
    let gateway = Setup::new(&v1).with("[timeouts]\nrequest = \"700ms\"").start();
    let (mut client, started) = (gateway.client(), Instant::now());
    let answer = client.send(GET).try_response(false);
    let took = started.elapsed();
    assert_eq!(answer.map(|answer| answer.status), Err("closed before a complete response".into()));
    assert!((700 - TICK_MS..3000).contains(&took.as_millis()), "{took:?}");
}

// === Sizes ===

#[test]
fn heads_up_to_their_limits_are_served_and_beyond_are_answered_414_and_431() {
    let v1 = Origin::named("v1");
    let limits =
        "[limits]\nrequest_line_bytes_max = \"2KiB\"\nrequest_head_bytes_max = \"4KiB\"\nfields_max = 10";
    let gateway = Setup::new(&v1).with(limits).start();
    let line = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(len - 14));
    let field = |len: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(len - 32));
    let fields = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(n - 1));
    assert_eq!((line(2048).find('\r'), field(4096).len()), (Some(2048), 4096));
    let cases = [
        (200, line(2048)),
        (414, line(2049)),
        (414, line(100_000)),
        (200, field(4096)),
        (431, field(4097)),
        (431, field(100_000)),
        (200, fields(10)),
        (431, fields(11)),
        (431, fields(500)),
    ];
    for (status, head) in &cases {
        let mut client = gateway.client();
        assert_eq!(
            client.ask(head).status,
            *status,
            "{} bytes: {}",
            head.len(),
            show(&head.as_bytes()[..60])
        );
        assert!(*status == 200 || client.is_closed());
    }
    assert_eq!((rejected(&gateway, "uri_too_long"), rejected(&gateway, "head_too_large")), (2, 4));
    assert_eq!(v1.count(), 3);
}

#[test]
fn a_head_that_never_ends_is_answered_431_before_it_is_all_sent() {
    let v1 = Origin::named("v1");
    let gateway = Setup::new(&v1).start();
    let before = gateway.rss_bytes();
    let mut client = gateway.client();
    client.send(GET.trim_end_matches("\r\n").to_owned() + "\r\nX: ");
    while !client.hears_within(Duration::ZERO) && client.stream.write_all(&[b'x'; 64 * 1024]).is_ok() {
        assert!(gateway.rss_bytes() < before + (16 << 20), "the head is being kept");
    }
    assert_eq!(client.response().status, 431);
}

#[test]
fn declared_content_over_its_limit_is_answered_413_before_the_primary_hears_of_it() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let limits = "[limits]\nrequest_body_bytes_max = \"10KiB\"";
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "").with(limits).start();
    let content = pattern(0, 10 * 1024);
    let most = [format!("{POST}Content-Length: 10240\r\n\r\n").as_bytes(), &content].concat();
    assert_eq!(gateway.client().ask(&most).text(), "v1");
    for declared in ["10241", "99999999999", "9223372036854775807"] {
        let mut client = gateway.client();
        let answer = client.ask(format!("{POST}Content-Length: {declared}\r\n\r\n"));
        assert_eq!(answer.status, 413, "{declared}");
        assert!(client.is_closed());
    }
    assert_eq!(rejected(&gateway, "body_too_large"), 3);
    assert!(v1.count() == 1 && v1.requests()[0].body == content, "{:?}", v1.wires());
    v2.wait_for(1);
    gateway.settled("v2");
    assert_eq!((v1.connections(), v2.count()), (1, 1));
}

/// Sends 10 KiB, which are allowed, and then `len` bytes, which are not, in chunks behind their head: in segments of
/// `segment` bytes, or in the head's own segment.
fn crosses(len: usize, segment: Option<usize>) {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let limits = "[limits]\nrequest_body_bytes_max = \"10KiB\"\nupstream_idle_max = 0";
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "").with(limits).start();
    let send = |content: &[u8]| {
        let head = format!("{POST}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
        let parts = chunked(&content.chunks(1_000).collect::<Vec<_>>(), "");
        let mut client = gateway.client();
        match segment {
            None => {
                client.send([head, parts].concat());
            }
            Some(segment) => {
                let before = v1.connections();
                client.send(head);
                // A head goes to the primary as soon as it is complete; no connection is kept here.
                eventually("the primary sees the head", || {
                    v1.wires().get(before).is_some_and(|w| !w.is_empty())
                });
                parts.chunks(segment).for_each(|part| {
                    client.send(part);
                });
            }
        }
        (client.response(), client)
    };
    assert_eq!(send(&pattern(0, 10_240)).0.text(), "v1", "as much as is allowed");
    let (answer, mut client) = send(&pattern(0, len));
    assert_eq!(answer.status, 413, "{len} bytes in {segment:?}");
    assert!(client.is_closed());
    assert_eq!(rejected(&gateway, "body_too_large"), 1);
    v2.wait_for(1);
    gateway.settled("v2");
    assert_eq!((v1.count(), v2.count(), v2.incomplete()), (1, 1, 0), "{len} bytes in {segment:?}");
}

#[test]
fn chunked_content_that_crosses_its_limit_is_cut_off_and_completes_nowhere() {
    for (len, segment) in
        [(10_241, Some(999)), (10_241, Some(20_000)), (300_000, Some(64_000)), (300_000, None)]
    {
        crosses(len, segment);
    }
}

#[test]
fn chunked_content_that_crosses_its_limit_in_the_segment_of_its_head_is_refused() {
    crosses(10_241, None);
}

#[test]
fn the_answer_to_a_refused_upload_can_be_read_although_the_client_goes_on_sending() {
    let v1 = Origin::named("v1");
    let gateway = Setup::new(&v1).with("[limits]\nrequest_body_bytes_max = \"1KiB\"").start();
    for len in [2_000, 60_000, 200_000] {
        for round in 0..10 {
            let mut client = gateway.client();
            client.send(format!("{POST}Content-Length: {len}\r\n\r\n"));
            // All of it is sent before anything is read: a reset would take the answer away.
            client.send(pattern(0, len));
            let answer =
                client.try_response(false).unwrap_or_else(|why| panic!("{len}, round {round}: {why}"));
            assert_eq!(answer.status, 413);
            assert!(client.is_closed());
        }
    }
}

// === Numbers of things ===

/// Asks on a new connection; `None` where it is reset instead of served, even before it is seen to be open.
fn answered(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(GET.as_bytes()).ok()?;
    Some(read_head(&mut stream)).filter(|head| !head.is_empty())
}

#[test]
fn connections_beyond_their_limit_are_closed_and_counted_and_places_come_back() {
    let v1 = Origin::named("v1");
    let gateway = Setup::new(&v1).with("[limits]\nconnections_max = 4").start();
    let mut inside: Vec<Client> = (0..4).map(|_| gateway.client()).collect();
    inside.iter_mut().for_each(|client| assert_eq!(client.ask(GET).text(), "v1"));
    for n in 1..=3 {
        assert_eq!(answered(gateway.address), None);
        assert_eq!(gateway.metrics().sum("umbra_connections_shed_total", &[]), n);
    }
    inside.iter_mut().for_each(|client| assert_eq!(client.ask(GET).text(), "v1"));
    drop(inside.pop());
    let started = Instant::now();
    eventually("the place is free again", || answered(gateway.address).is_some());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    inside.iter_mut().for_each(|client| assert_eq!(client.ask(GET).text(), "v1"));
}

#[test]
fn one_address_has_its_own_share_of_the_connections() {
    let v1 = Origin::named("v1");
    let gateway = Setup::new(&v1).with("[limits]\nconnections_per_address_max = 2").start();
    let from = |address: &str| {
        let mut client = Client::connect_from(address, gateway.address);
        client.send(GET).try_response(false).ok().map(|_| client)
    };
    let mut greedy: Vec<Client> = (0..2).map(|_| from("127.0.0.2").expect("a place")).collect();
    assert!(from("127.0.0.2").is_none(), "a third");
    let other = from("127.0.0.3");
    assert!(other.is_some(), "another address is served");
    let of = |reason: &str| {
        gateway.metrics().sum("umbra_connections_shed_total", &[&format!("reason=\"{reason}\"")])
    };
    assert_eq!((of("address"), of("all")), (1, 0));
    drop(greedy.pop());
    eventually("the place is free again", || from("127.0.0.2").is_some());
}

#[test]
fn a_connection_ends_with_the_last_request_it_may_carry() {
    let v1 = Origin::named("v1");
    let gateway = Setup::new(&v1).with("[limits]\nrequests_per_connection_max = 3").start();
    let mut client = gateway.client();
    client.send(GET.repeat(5));
    let answers: Vec<_> = (0..3).map(|_| client.response()).collect();
    let said: Vec<_> = answers.iter().map(|a| (a.status, a.field("connection"))).collect();
    assert_eq!(said, [(200, None), (200, None), (200, Some("close"))]);
    assert!(client.is_closed(), "{}", show(&client.inbox));
    assert_eq!(v1.count(), 3);
}

#[test]
fn an_old_connection_ends_with_its_next_response_and_a_young_one_goes_on() {
    let v1 = Origin::named("v1");
    let aged = |age: &str| Setup::new(&v1).with(&format!("[limits]\nconnection_age_max = \"{age}\""));
    let gateway = aged("1h").start();
    let mut client = gateway.client();
    let said = |client: &mut Client| {
        let answer = client.ask(GET);
        assert_eq!(answer.status, 200);
        answer.field("connection").map(str::to_owned)
    };
    assert_eq!((said(&mut client), said(&mut client)), (None, None));
    gateway.write(&aged("1ms").toml());
    gateway.signal("HUP");
    eventually("it is old", || said(&mut client).as_deref() == Some("close"));
    assert!(client.is_closed(), "{}", show(&client.inbox));
}

#[test]
fn what_is_refused_counts_among_the_requests_a_connection_may_carry() {
    let v1 = Origin::named("v1");
    let one = Setup::new(&v1).with("[limits]\nrequests_per_connection_max = 3").toml();
    let gateway = Gateway::start(&one.replace("path_prefix = \"/\"", "path_prefix = \"/known\""), &[]);
    let mut client = gateway.client();
    client.send(GET.repeat(5));
    let answers: Vec<_> = (0..3).map(|_| client.response()).collect();
    let said: Vec<_> = answers.iter().map(|a| (a.status, a.field("connection"))).collect();
    assert_eq!(said, [(404, None), (404, None), (404, Some("close"))]);
    assert!(client.is_closed(), "{}", show(&client.inbox));
}

#[test]
fn a_mirror_takes_no_descriptor_that_a_client_or_its_primary_needs() {
    let v1 = Origin::named("v1");
    let v2 = Origin::scripted(|conn| conn.hang());
    let directory = tempfile::tempdir().expect("a folder");
    let file = directory.path().join("gateway.toml");
    let text = Setup::new(&v1).mirror("v2", v2.address, "connections_max = 100").toml();
    std::fs::write(&file, text).expect("a file");
    let mut command = Command::new("prlimit");
    // The process's own, the mirror's hundred, and room for some clients and as many connections to v1.
    command.arg("--nofile=400:400").arg(tests::gateway::binary()).arg("--config").arg(&file);
    let mut process = tests::Process::spawn(&mut command);
    let addresses = process.lines("listening on ", 1);
    let address: SocketAddr = addresses[0].parse().expect("an address");
    assert!(process.stdout().contains("WARNING: enough for "), "{}", process.stdout());
    // A client that is turned away may be told while it still connects.
    let mut clients: Vec<Option<TcpStream>> = (0..100).map(|_| TcpStream::connect(address).ok()).collect();
    for client in clients.iter_mut().flatten() {
        let _ = client.write_all(GET.as_bytes());
    }
    let heard: Vec<String> = clients.iter_mut().flatten().map(read_head).collect();
    // A client that is let in is served, and none gets a 503.
    let served = heard.iter().filter(|head| head.starts_with("HTTP/1.1 200")).count();
    assert!((10..100).contains(&served), "{heard:?}");
    assert!(heard.iter().all(|head| head.is_empty() || head.starts_with("HTTP/1.1 200")), "{heard:?}");
}

#[test]
fn running_out_of_descriptors_neither_spins_nor_lasts() {
    let v1 = Origin::named("v1");
    let gateway = Setup::new(&v1).start();
    let mut first = gateway.client();
    assert_eq!(first.ask(GET).text(), "v1");
    let usual = gateway.descriptors_max();
    gateway.allow_descriptors(gateway.descriptors() + 8);
    let cpu = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).expect("stat");
        let times = stat.rsplit(')').next().expect("times").split_whitespace().skip(11).take(2);
        times.map(|t| t.parse::<u64>().expect("ticks")).sum::<u64>()
    };
    let waiting: Vec<Client> = (0..40).map(|_| gateway.client()).collect();
    let (from, used) = (Instant::now(), cpu());
    // A kept connection is served meanwhile, on the primary's kept connection.
    while from.elapsed() < Duration::from_millis(1500) {
        assert_eq!(first.ask(GET).text(), "v1");
        assert!(!first.hears_within(Duration::from_millis(50)));
    }
    let share = (cpu() - used) as f64 * 10.0 / from.elapsed().as_millis() as f64;
    assert!(share < 0.4, "{:.0} % of a core while out of descriptors", share * 100.0);
    drop(waiting);
    gateway.allow_descriptors(usual);
    let started = Instant::now();
    assert_eq!(gateway.client().ask(GET).text(), "v1");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(gateway.metrics().sum("umbra_accept_errors_total", &[]) > 0, "{}", gateway.metrics().text());
}

#[test]
fn idle_connections_cost_little() {
    let v1 = Origin::named("v1");
    let gateway = Setup::new(&v1).start();
    let mut clients: Vec<Client> = (0..300).map(|_| gateway.client()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.ask(GET).text(), "v1"));
    let before = gateway.rss_bytes();
    let more: Vec<Client> = (0..300).map(|_| gateway.client()).collect();
    eventually("all are accepted", || gateway.metrics().sum("umbra_connections_active", &[]) == 600);
    let each = gateway.rss_bytes().saturating_sub(before) / more.len() as u64;
    assert!(each < 16 * 1024, "{each} bytes for each idle connection");
}

// === Streams ===

/// Reads `len` bytes and compares them with the roll from its start.
fn read_roll(stream: &mut TcpStream, len: usize, roll: &[u8]) -> Result<(), String> {
    let (mut at, mut block) = (0, vec![0; 256 * 1024]);
    stream.set_read_timeout(Some(PATIENCE)).map_err(|e| e.to_string())?;
    while at < len {
        let most = block.len().min(len - at).min(roll.len() - at % roll.len());
        let n = stream.read(&mut block[..most]).map_err(|e| format!("at {at}: {e}"))?;
        if n == 0 || block[..n] != roll[at % roll.len()..][..n] {
            return Err(format!("at {at}: {n} bytes that are not the {len} sent"));
        }
        at += n;
    }
    Ok(())
}

fn write_roll(stream: &mut TcpStream, len: usize, roll: &[u8]) -> std::io::Result<()> {
    let mut at = 0;
    while at < len {
        let most = (len - at).min(roll.len() - at % roll.len());
        stream.write_all(&roll[at % roll.len()..][..most])?;
        at += most;
    }
    Ok(())
}

/// Reads up to the end of a head and returns it.
fn read_head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    let _ = stream.set_read_timeout(Some(PATIENCE));
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// The highest resident memory while `work` runs, above that before.
fn growth_during(gateway: &Gateway, work: impl FnOnce() + Send) -> u64 {
    let before = gateway.rss_bytes();
    let mut peak = before;
    std::thread::scope(|scope| {
        let working = scope.spawn(work);
        while !working.is_finished() {
            peak = peak.max(gateway.rss_bytes());
            std::thread::sleep(Duration::from_millis(5));
        }
        working.join().expect("the stream is right");
    });
    peak - before
}

#[test]
fn a_hundred_megabytes_stream_up_and_down_exactly_and_in_little_memory() {
    let roll = Arc::new(pattern(11, ROLL));
    let of_v1 = Arc::clone(&roll);
    let v1 = Peer::new(move |mut stream| {
        while read_head(&mut stream).starts_with("POST") {
            let said = read_roll(&mut stream, STREAMED, &of_v1).map_or_else(|why| why, |()| "exact".into());
            let head = format!("HTTP/1.1 200 OK\r\nX-Upload: {said}\r\nContent-Length: {STREAMED}\r\n\r\n");
            write(&mut stream, head);
            let _ = write_roll(&mut stream, STREAMED, &of_v1);
        }
    });
    let v2 = Origin::named("v2");
    let gateway = Setup::to(&[v1.address]).mirror("v2", v2.address, "").start();
    let grown = growth_during(&gateway, || {
        let mut client = gateway.client();
        client.send(format!("{POST}Content-Length: {STREAMED}\r\n\r\n"));
        write_roll(&mut client.stream, STREAMED, &roll).expect("the upload is taken");
        let head = read_head(&mut client.stream);
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("X-Upload: exact\r\n"), "{head}");
        read_roll(&mut client.stream, STREAMED, &roll).expect("the download is exact");
    });
    assert!(grown < 12 << 20, "{} MiB more", grown >> 20);
    gateway.settled("v2");
    assert_eq!(
        account(&gateway.metrics(), "v2"),
        [("dropped body_too_large".into(), 1), ("eligible".into(), 1)]
    );
    assert_eq!(v2.connections(), 0);
}

/// A v1 whose answer is `STREAMED` bytes, and how many of them it could write.
fn pouring() -> (Origin, Arc<AtomicUsize>, Arc<Gate>) {
    let (poured, gave_up) = (Arc::new(AtomicUsize::new(0)), Gate::closed());
    let (count, done) = (Arc::clone(&poured), Arc::clone(&gave_up));
    let v1 = Origin::new(move |_, stream| {
        write(stream, format!("HTTP/1.1 200 OK\r\nContent-Length: {STREAMED}\r\n\r\n"));
        let block = [b'x'; 64 * 1024];
        while write(stream, block) == After::Keep && count.fetch_add(block.len(), SeqCst) < STREAMED {}
        done.open();
        After::Close
    });
    (v1, poured, gave_up)
}

#[test]
fn a_client_that_does_not_read_its_answer_is_given_up_in_time_and_in_little_memory() {
    let (v1, poured, gave_up) = pouring();
    let gateway = Setup::new(&v1).with("[timeouts]\nwrite = \"500ms\"").start();
    let mut lazy = gateway.client();
    let grown = growth_during(&gateway, || {
        lazy.send(GET);
        assert!(
            gave_up.wait_at_most(PATIENCE),
            "the primary's connection is kept for a client that reads nothing"
        );
    });
    assert!(grown < 12 << 20, "{} MiB more", grown >> 20);
    assert!(poured.load(SeqCst) < STREAMED, "all was taken from the primary");
    assert_eq!(lazy.try_response(false), Err("closed before a complete response".into()));
    eventually("the exchange is counted as aborted", || {
        gateway.metrics().sum("umbra_exchanges_aborted_total", &[]) == 1
    });
}

#[test]
fn a_client_that_takes_its_answer_in_drips_is_given_up() {
    let (v1, poured, gave_up) = pouring();
    let gateway = Setup::new(&v1)
        .with("[timeouts]\nwrite = \"1s\"\n[limits]\nresponse_bytes_per_second_min = 100_000_000")
        .start();
    let mut slow = gateway.client();
    slow.send(GET);
    // Half a megabyte at a time, ten times a second: far below the required rate, and never silent for a second.
    let started = Instant::now();
    let mut some = vec![0; 512 << 10];
    while !gave_up.wait_at_most(Duration::from_millis(100)) {
        assert!(started.elapsed() < PATIENCE, "it may drip for ever");
        let _ = slow.stream.read(&mut some);
    }
    assert!(poured.load(SeqCst) < STREAMED, "all was taken from the primary");
    eventually("the exchange is counted as aborted", || {
        gateway.metrics().sum("umbra_exchanges_aborted_total", &[]) == 1
    });
}

#[test]
fn a_client_that_goes_away_frees_the_primary_at_once() {
    let (v1, _poured, gave_up) = pouring();
    let gateway = Setup::new(&v1).start();
    let mut client = gateway.client();
    client.send(GET);
    assert!(client.hears_within(PATIENCE));
    drop(client);
    assert!(gave_up.wait_at_most(PATIENCE), "the primary's connection is kept for a client that is gone");
    eventually("nothing is open", || gateway.metrics().sum("umbra_connections_active", &[]) == 0);
    assert_eq!(gateway.metrics().sum("umbra_exchanges_aborted_total", &[]), 1);
}

#[test]
fn a_primary_that_takes_no_content_gets_no_more_of_it_and_the_client_an_answer() {
    let v1 = Origin::never_reading();
    let timeouts = "[timeouts]\nwrite = \"500ms\"\nresponse_head = \"500ms\"";
    let gateway = Setup::new(&v1).with(timeouts).start();
    let address: SocketAddr = gateway.address;
    let grown = growth_during(&gateway, || {
        let mut client = Client::connect(address);
        let started = Instant::now();
        client.send(format!("{POST}Content-Length: {STREAMED}\r\n\r\n"));
        // The client goes on writing while it listens: however slowly the gateway reads, more is on the way than fits.
        let mut writer = client.stream.try_clone().expect("a second handle");
        let writing = std::thread::spawn(move || {
            let _ = writer.write_all(&vec![b'x'; 32 << 20]);
        });
        assert_eq!(client.response().status, 504);
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        let _ = client.stream.shutdown(Shutdown::Both);
        writing.join().expect("the writer ends");
    });
    assert!(grown < 12 << 20, "{} MiB more", grown >> 20);
}
