//! Hot restart: a new process takes the listening sockets over while clients go on asking.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use tests::origin::write;
use tests::process::{Successor, successor};
use tests::{Client, Gate, Gateway, NameServer, Origin, Setup, eventually};

/// Kept if the server keeps it.
const ASK: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const ASK_ONCE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// A draining process closes a connection after half a second without a request; this long without one may be too long.
const IDLE: Duration = Duration::from_millis(400);

/// The clients' experience while `work` was done: answers, and all errors.
fn under_load(gateway: &Gateway, work: impl FnOnce()) -> (usize, Vec<String>) {
    let (stop, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    // Whether the connection has come to its end; `since` is when it began or was last asked.
    let ask = |client: &mut Client, request: &str, since: &mut Instant| -> Result<bool, String> {
        let idle = since.elapsed();
        *since = Instant::now();
        let answer = match client.send(request).try_response(false) {
            // Where this thread had to wait, the connection was idle for too long for a process that drains.
            Err(_) if idle > IDLE && client.is_closed() => return Ok(true),
            answer => answer?,
        };
        if answer.status != 200 {
            return Err(format!("answered {}", answer.status));
        }
        answers.fetch_add(1, SeqCst);
        Ok(answer.field("connection").is_some_and(|option| option.eq_ignore_ascii_case("close")))
    };
    let once = || -> Result<(), String> {
        while !stop.load(SeqCst) {
            let mut began = Instant::now();
            ask(&mut gateway.client(), ASK_ONCE, &mut began)?;
        }
        Ok(())
    };
    let kept = || -> Result<(), String> {
        while !stop.load(SeqCst) {
            let mut since = Instant::now();
            let mut client = gateway.client();
            loop {
                if ask(&mut client, ASK, &mut since)? || stop.load(SeqCst) {
                    break;
                }
            }
        }
        Ok(())
    };
    let errors = std::thread::scope(|scope| {
        let running: Vec<_> = (0..3).flat_map(|_| [scope.spawn(once), scope.spawn(kept)]).collect();
        eventually("everybody is at work", || answers.load(SeqCst) > 200);
        work();
        let before = answers.load(SeqCst);
        eventually("the work goes on", || answers.load(SeqCst) > before + 200);
        stop.store(true, SeqCst);
        running.into_iter().filter_map(|client| client.join().expect("a client").err()).collect()
    });
    (answers.load(SeqCst), errors)
}

#[test]
fn new_processes_take_over_under_load_and_no_client_notices() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let mut gateway = Setup::new(&v1).workers(2).mirror("v2", v2.address, "").start();
    let mut last = None;
    let (answers, errors) = under_load(&gateway, || {
        gateway.signal("USR2");
        let second = successor(|| gateway.stderr(), 0);
        second.signal("USR2");
        last = Some(successor(|| gateway.stderr(), 1));
        eventually("the second has drained", || second.is_gone());
    });
    assert!(errors.is_empty(), "{errors:?}\n{}", gateway.stderr());
    assert_eq!(gateway.wait_exit().code(), Some(0), "{}", gateway.stderr());
    assert_eq!((v1.count(), v1.incomplete()), (answers, 0), "each request once, none cut short");
    eventually("each copy once", || v2.count() == answers);
    assert_eq!(v2.incomplete(), 0);
    // The last one is a gateway like any other.
    assert_eq!(gateway.client().ask(ASK_ONCE).text(), "v1");
    let last = last.expect("it took over");
    assert_eq!(gateway.admin("GET", "/readyz", "").status, 200);
    last.signal("TERM");
    eventually("it drains and ends", || last.is_gone());
}

#[test]
fn a_successor_serves_by_the_file_as_it_is_then_with_as_many_workers_as_it_says() {
    let v1 = Origin::named("v1");
    let setup = |workers| Setup::new(&v1).workers(workers);
    let gateway = setup(3).start();
    let listener = format!("bind = \"{}\"", gateway.address);
    // The port in the file is still 0: the sockets' owner is known by the written address.
    assert!(!setup(3).toml().contains(&listener));
    let mut before: Option<Successor> = None;
    for (n, workers) in [1, 4].into_iter().enumerate() {
        gateway.write(&setup(workers).toml());
        let (_, errors) = under_load(&gateway, || {
            match &before {
                None => gateway.signal("USR2"),
                Some(process) => process.signal("USR2"),
            }
            let follows = successor(|| gateway.stderr(), n);
            // Dropped, it would be killed while its clients' connections drain.
            if let Some(process) = before.replace(follows) {
                eventually("it has drained", || process.is_gone());
            }
        });
        assert!(errors.is_empty(), "{workers} workers: {errors:?}\n{}", gateway.stderr());
        let metrics = gateway.admin("GET", "/metrics", "").text();
        let told = metrics.lines().filter(|line| line.starts_with("umbra_worker_ticks_total{")).count();
        assert_eq!(told, workers);
    }
}

#[test]
fn a_listener_that_is_no_longer_in_the_file_is_closed_at_the_hand_over() {
    let gate = Gate::closed();
    let held = gate.clone();
    let v1 = Origin::new(move |request, stream| {
        if request.target == "/slow" {
            held.pass();
        }
        write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nv1")
    });
    let setup = Setup::new(&v1).workers(2);
    let gateway = setup.clone().with("[[listener]]\nbind = \"127.0.0.2:0\"").start();
    let listener = |host: &str| -> SocketAddr {
        let said = gateway.stdout();
        let mut addresses = said.lines().filter_map(|line| line.strip_prefix("listening on "));
        addresses.find(|address| address.starts_with(host)).expect("it listens").parse().expect("an address")
    };
    let [stays, removed] = ["127.0.0.1", "127.0.0.2"].map(listener);
    let mut slow = Client::connect(removed);
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    v1.wait_for(1);
    gateway.write(&setup.toml());
    gateway.signal("USR2");
    let _successor = successor(|| gateway.stderr(), 0);
    // While the old process still has an exchange to end.
    eventually("new connections are refused", || {
        TcpStream::connect(removed).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused)
    });
    assert_eq!(Client::connect(stays).ask(ASK_ONCE).text(), "v1");
    gate.open();
    assert_eq!(slow.response().text(), "v1");
}

/// The process that was started to take over, and does not yet.
fn starting(gateway: &Gateway) -> Successor {
    let find = || {
        let log = gateway.stderr();
        let line = log.lines().find(|line| line.ends_with(" is to take over"))?;
        Some(line.split("process ").nth(1)?.split(' ').next()?.to_owned())
    };
    eventually("a successor starts", || find().is_some());
    Successor { id: find().expect("found just now") }
}

/// A gateway whose successor waits for a name server.
fn with_a_slow_successor(v1: &Origin) -> (Gateway, Successor, NameServer) {
    let names = NameServer::start();
    let (dns, at) = names.environment();
    let setup = Setup::new(v1).environment(&dns, &at);
    let gateway = setup.start();
    names.hold("slow.test");
    gateway.write(&setup.with("[upstream.slow]\nendpoints = [\"slow.test:1\"]").toml());
    gateway.signal("USR2");
    let next = starting(&gateway);
    (gateway, next, names)
}

#[test]
fn a_successor_that_starts_lives_through_what_its_predecessor_could_be_asked_for() {
    let v1 = Origin::named("v1");
    let (gateway, next, names) = with_a_slow_successor(&v1);
    // In its first moment, and when it has come some way.
    let ask = || ["HUP", "USR1", "USR2"].iter().for_each(|signal| next.signal(signal));
    ask();
    eventually("it has come some way", || names.holds() > 0);
    ask();
    names.say("slow.test", &[[127, 0, 0, 1].into()]);
    let served = successor(|| gateway.stderr(), 0);
    assert_eq!(served.id, next.id);
    // The successor was asked to hand over, so it does: and starts one in turn.
    let last = successor(|| gateway.stderr(), 1);
    assert_eq!(Client::connect(gateway.address).ask(ASK_ONCE).text(), "v1");
    drop(last);
}

#[test]
fn a_successor_waits_for_the_change_that_is_under_way() {
    let v1 = Origin::named("v1");
    let names = NameServer::start();
    let (dns, at) = names.environment();
    let setup = Setup::new(&v1).environment(&dns, &at);
    let mut gateway = setup.start();
    names.hold("slow.test");
    gateway.write(&setup.with("[upstream.slow]\nendpoints = [\"slow.test:1\"]").toml());
    gateway.signal("HUP");
    eventually("it is looked up", || names.holds() > 0);
    gateway.signal("USR2");
    eventually("it is told", || gateway.stderr().contains("when the change under way has ended"));
    assert!(!gateway.stderr().contains("is to take over"), "{}", gateway.stderr());
    names.say("slow.test", &[[127, 0, 0, 1].into()]);
    let _successor = successor(|| gateway.stderr(), 0);
    let log = gateway.stderr();
    let at = |told: &str| log.find(told).expect(told);
    assert!(at("configuration applied") < at("is to take over"), "{log}");
    assert_eq!(gateway.wait_exit().code(), Some(0));
    assert_eq!(Client::connect(gateway.address).ask(ASK_ONCE).text(), "v1");
}

#[test]
fn who_is_told_to_stop_takes_a_successor_that_does_not_serve_along() {
    let v1 = Origin::named("v1");
    let (mut gateway, next, names) = with_a_slow_successor(&v1);
    eventually("it has come some way", || names.holds() > 0);
    gateway.signal("TERM");
    eventually("the successor ends", || next.is_gone());
    assert_eq!(gateway.wait_exit().code(), Some(0), "{}", gateway.stderr());
}

#[test]
fn a_successor_that_cannot_serve_changes_nothing() {
    let v1 = Origin::named("v1");
    let setup = Setup::new(&v1);
    let gateway = setup.start();
    gateway.write(&setup.toml().replace("endpoints", "endpoint"));
    let (_, errors) = under_load(&gateway, || {
        gateway.signal("USR2");
        eventually("it is said why", || {
            let log = gateway.stderr();
            log.contains("endpoint") && log.contains("the successor does not serve, so this process goes on")
        });
    });
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(gateway.admin("GET", "/readyz", "").status, 200);
    // No process or socket is left behind, and the next try succeeds.
    gateway.write(&setup.toml());
    gateway.signal("USR2");
    let _successor = successor(|| gateway.stderr(), 0);
    assert_eq!(gateway.client().ask(ASK_ONCE).text(), "v1");
}

#[test]
fn a_successor_holds_none_of_its_predecessors_connections() {
    let v1 = Origin::named("v1");
    let mut gateway = Setup::new(&v1).start();
    let mut idle: Vec<Client> = (0..20).map(|_| gateway.client()).collect();
    idle.iter_mut().for_each(|client| assert_eq!(client.ask(ASK).text(), "v1"));
    gateway.signal("USR2");
    let process = successor(|| gateway.stderr(), 0);
    // Their end comes from the one that accepted them, although the other lives on.
    idle.iter_mut().for_each(|client| assert!(client.is_closed()));
    assert_eq!(gateway.wait_exit().code(), Some(0));
    let sockets = std::fs::read_dir(format!("/proc/{}/fd", process.id))
        .expect("its descriptors")
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count();
    assert!(sockets < 20, "{sockets} sockets");
}
