//! The gateway reports trouble: subject, time and count, once at the change and once when it is over.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use tests::load::get;
use tests::origin::write;
use tests::{After, Client, Gateway, Origin, Setup, eventually_within};

/// Longer than any look of the gateway's, on a machine that has more to do.
const LONG: Duration = Duration::from_secs(60);

/// A service that dies and comes back at its address.
struct Mortal {
    address: SocketAddr,
    name: &'static str,
    alive: Option<(Origin, Arc<AtomicBool>)>,
}

impl Mortal {
    fn born(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let mut mortal = Self { address: listener.local_addr().expect("address"), name, alive: None };
        mortal.lives_on(listener);
        mortal
    }

    fn lives_on(&mut self, listener: TcpListener) {
        let (name, lives) = (self.name, Arc::new(AtomicBool::new(true)));
        let of = Arc::clone(&lives);
        let origin = Origin::on(listener, move |_, stream| match of.load(SeqCst) {
            true => write(stream, format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{name}")),
            false => After::Reset,
        });
        self.alive = Some((origin, lives));
    }

    fn dies(&mut self) {
        let (origin, lives) = self.alive.take().expect("it lives");
        lives.store(false, SeqCst);
        drop(origin);
        eventually_within(LONG, "it refuses", || std::net::TcpStream::connect(self.address).is_err());
    }

    fn comes_back(&mut self) {
        let mut bound = None;
        eventually_within(LONG, "its address is free", || {
            bound = TcpListener::bind(self.address).ok();
            bound.is_some()
        });
        self.lives_on(bound.expect("bound"));
    }
}

/// Lines of the log with this level and these words.
fn lines(gateway: &Gateway, level: &str, words: &str) -> Vec<String> {
    let log = gateway.stderr();
    let said = log.lines().filter(|line| line.contains(level) && line.contains(words));
    said.map(str::to_owned).collect()
}

/// Asks again and again until `until`.
#[track_caller]
fn asks_until(gateway: &Gateway, what: &str, mut until: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    loop {
        let mut client = Client::connect(gateway.address);
        for id in 0..10 {
            client.ask(get(id));
        }
        if until() {
            return;
        }
        // The counters say why.
        let late = Instant::now() > deadline;
        assert!(!late, "never happened: {what}\n{}\n{}", gateway.stderr(), gateway.metrics().text());
    }
}

#[test]
fn a_mirror_that_dies_is_one_warning_and_its_return_one_line_however_long_it_was_away() {
    let (v1, mut v2) = (Origin::named("v1"), Mortal::born("v2"));
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "").workers(2).start();
    asks_until(&gateway, "copies arrive", || v2.alive.as_ref().is_some_and(|(v2, _)| v2.count() > 100));
    assert!(lines(&gateway, "WARN", "").is_empty(), "{}", gateway.stderr());
    v2.dies();
    asks_until(&gateway, "it is told", || !lines(&gateway, "WARN", "mirror v2").is_empty());
    let told = lines(&gateway, "WARN", "mirror v2").remove(0);
    for part in [&v2.address.to_string(), "clients are not affected", "since ", "unreachable"] {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
    let now = gateway.admin("GET", "/status", "").text();
    assert!(now.contains("\"kind\":\"mirror_unreachable\"") && now.contains("\"until\":null"), "{now}");
    v2.comes_back();
    asks_until(&gateway, "its return is told", || !lines(&gateway, "INFO", "mirror v2").is_empty());
    let told = lines(&gateway, "INFO", "mirror v2").remove(0);
    assert!(told.contains("gets its copies again after") && told.contains("unreachable"), "{told}");
    // The mirror flaps: nothing more is logged within the minute.
    v2.dies();
    let of = |kind: &str| {
        let now: serde_json::Value =
            serde_json::from_str(&gateway.admin("GET", "/status", "").text()).expect("JSON");
        now["troubles"].as_array().map_or(0, |all| all.iter().filter(|one| one["kind"] == kind).count())
    };
    asks_until(&gateway, "it is in trouble again", || of("mirror_unreachable") == 2);
    assert_eq!(lines(&gateway, "WARN", "mirror v2").len(), 1, "{}", gateway.stderr());
    assert_eq!(lines(&gateway, "INFO", "mirror v2").len(), 1, "{}", gateway.stderr());
}

#[test]
fn a_primary_that_dies_is_one_warning_and_its_return_one_line() {
    let (mut v1, v2) = (Mortal::born("v1"), Origin::named("v2"));
    let gateway = Setup::to(&[v1.address]).mirror("v2", v2.address, "").start();
    asks_until(&gateway, "requests arrive", || v1.alive.as_ref().is_some_and(|(v1, _)| v1.count() > 20));
    assert!(lines(&gateway, "WARN", "").is_empty(), "{}", gateway.stderr());
    v1.dies();
    asks_until(&gateway, "it is told", || !lines(&gateway, "WARN", "primary").is_empty());
    let told = lines(&gateway, "WARN", "primary").remove(0);
    for part in [&v1.address.to_string(), "unavailable, clients get 502, 503 or 504", "since ", "connect"] {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
    v1.comes_back();
    asks_until(&gateway, "its return is told", || !lines(&gateway, "INFO", "is available again").is_empty());
    assert_eq!(lines(&gateway, "WARN", "primary").len(), 1, "{}", gateway.stderr());
    assert!(lines(&gateway, "WARN", "mirror").is_empty(), "{}", gateway.stderr());
}

#[test]
fn an_endpoint_that_is_ejected_is_told_with_its_upstream_and_its_return_too() {
    let (good, sick) = (Origin::named("v1"), Arc::new(AtomicBool::new(true)));
    let is_sick = Arc::clone(&sick);
    let bad = Origin::new(move |_, stream| {
        let status = if is_sick.load(SeqCst) { "503 Sick" } else { "200 OK" };
        write(stream, format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"))
    });
    let upstream = format!(
        "[upstream.pool]\nendpoints = [\"{}\", \"{}\"]\n\
         ejection = {{ consecutive_5xx = 3, time = \"1s\", interval = \"200ms\", percent_max = 100 }}\n\
         [[route]]\nname = \"of-pool\"\npath_prefix = \"/\"\nmethods = [\"GET\"]\nprimary = \"pool\"\n",
        good.address, bad.address
    );
    let gateway = Setup::new(&good).with(&upstream).start();
    asks_until(&gateway, "it is told", || !lines(&gateway, "WARN", "primary pool").is_empty());
    let told = lines(&gateway, "WARN", "primary pool").remove(0);
    assert!(told.contains("1 of 2 endpoints ejected"), "{told}");
    sick.store(false, SeqCst);
    asks_until(&gateway, "its return is told", || !lines(&gateway, "INFO", "primary pool").is_empty());
}

#[test]
fn a_mirror_that_never_reads_fills_its_ring_which_is_told() {
    // For as long as v2 lives, it listens.
    let (v1, v2) = (Origin::named("v1"), Origin::never_reading());
    let setup = Setup::new(&v1).mirror("v2", v2.address, "ring_entries_max = 16");
    let gateway = setup.start();
    asks_until(&gateway, "it is told", || !lines(&gateway, "WARN", "ring is full").is_empty());
    let told = lines(&gateway, "WARN", "ring is full").remove(0);
    assert!(told.contains("mirror v2") && told.contains("ring_entries"), "{told}");
}

#[test]
fn a_share_that_its_governor_lowers_is_told_with_both_shares_and_the_reason() {
    let v1 = Origin::named("v1");
    let v2 = Origin::new(|_, stream| write(stream, "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"));
    let keys = "percent = 80, governor = { failures_max = 20, least = 40 }";
    let gateway = Setup::new(&v1).mirror("v2", v2.address, keys).start();
    asks_until(&gateway, "it is told", || !lines(&gateway, "WARN", "lowered by its governor").is_empty());
    let told = lines(&gateway, "WARN", "lowered by its governor").remove(0);
    for part in ["mirror v2 on route all gets ", " % instead of 80 %", " for failures", "since "] {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
    let now = gateway.admin("GET", "/status", "").text();
    assert!(now.contains("\"kind\":\"share_lowered\""), "{now}");
}

/// Answers every connection in plaintext; ends with the test's process.
fn plain() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
    });
    address
}

#[test]
fn a_primary_with_which_there_is_no_tls_is_told_as_unavailable() {
    let v1 = Origin::named("v1");
    let upstream = format!(
        "[upstream.secure]\nendpoints = [\"{}\"]\ntls = {{}}\n\
         [[route]]\nname = \"secure\"\npath_prefix = \"/\"\nmethods = [\"GET\"]\nprimary = \"secure\"\n",
        plain()
    );
    let gateway = Setup::new(&v1).with(&upstream).start();
    asks_until(&gateway, "it is told", || !lines(&gateway, "WARN", "primary secure").is_empty());
    let told = lines(&gateway, "WARN", "primary secure").remove(0);
    assert!(told.contains("is unavailable") && told.contains("(tls "), "{told}");
}
