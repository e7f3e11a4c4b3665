//! Starting, draining, ending; a panic costs one connection.

use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tests::origin::{Full, write};
use tests::process::Successor;
use tests::{After, Client, Gate, Gateway, NameServer, Origin, Process, Response, Setup, eventually};

const ASK: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A draining process closes a connection after half a second without a request; this long without one may be too long.
const IDLE: Duration = Duration::from_millis(400);

/// Answers at once, but of `/slow` only half until `gate` opens.
fn primary(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::new(move |request, stream| {
        if request.target == "/slow" {
            write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
            gate.pass();
            return write(stream, "half");
        }
        let length = request.body.len();
        write(
            stream,
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{length}", length.to_string().len()),
        )
    })
}

fn admin(gateway: &Gateway, path: &str) -> Response {
    let mut client = Client::connect(gateway.admin);
    client.ask(format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n"))
}

fn closes(answer: &Response) -> bool {
    answer.field("connection").is_some_and(|options| options.eq_ignore_ascii_case("close"))
}

#[track_caller]
fn refuses(address: SocketAddr) {
    eventually("new connections are refused", || {
        TcpStream::connect(address).is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
    });
}

/// A client in the middle of a download: the head and half of the content have arrived.
fn mid_download(gateway: &Gateway) -> Client {
    let mut client = gateway.client();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("half of the download", || {
        client.receive();
        client.inbox.ends_with(b"half")
    });
    client
}

#[test]
fn a_signal_while_idle_ends_with_0() {
    for signal in ["TERM", "INT"] {
        let origin = Origin::named("v1");
        let mut gateway = Setup::new(&origin).workers(2).start();
        gateway.signal(signal);
        assert_eq!(gateway.wait_exit().code(), Some(0), "SIG{signal}\n{}", gateway.stderr());
    }
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let origin = Origin::named("v1");
    let mut gateway = Setup::new(&origin).with("[timeouts]\ndrain = \"20s\"").start();
    let (mut used, mut unused) = (gateway.client(), gateway.client());
    assert_eq!(used.ask(ASK).status, 200);
    let began = Instant::now();
    gateway.signal("TERM");
    assert!(used.is_closed() && unused.is_closed());
    assert_eq!(gateway.wait_exit().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "it waited for the idle: {:?}", began.elapsed());
}

#[test]
fn a_drain_under_load_finishes_every_exchange_and_turns_nobody_away() {
    let gate = Gate::closed();
    let (v1, v2) = (primary(&gate), Origin::named("v2"));
    let mut gateway = Setup::new(&v1).workers(2).mirror("v2", v2.address, "").start();
    let mut download = mid_download(&gateway);
    let mut upload = gateway.client();
    upload.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst");
    eventually("the upload's first half arrives", || v1.wires().iter().any(|wire| wire.ends_with("first")));

    let began = Instant::now();
    let rounds: Vec<usize> = std::thread::scope(|scope| {
        let busy = Arc::new(Mutex::new(0));
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let (gateway, busy) = (&gateway, Arc::clone(&busy));
                scope.spawn(move || {
                    let mut client = gateway.client();
                    let mut asked = Instant::now();
                    for n in 1.. {
                        let since = asked.elapsed();
                        asked = Instant::now();
                        let answer = match client.send(ASK).try_response(false) {
                            // Where this thread had to wait, its connection was idle for too long; it was not served.
                            Err(_) if since > IDLE && client.is_closed() => return n - 1,
                            answer => answer.expect("an answer"),
                        };
                        assert_eq!(answer.status, 200);
                        *busy.lock().expect("busy") += usize::from(n == 20);
                        if closes(&answer) {
                            assert!(client.is_closed(), "said it would close");
                            return n;
                        }
                    }
                    unreachable!("the loop has no other end")
                })
            })
            .collect();
        eventually("every client is busy", || *busy.lock().expect("busy") == clients.len());
        gateway.signal("TERM");
        clients.into_iter().map(|client| client.join().expect("a client without error")).collect()
    });
    assert!(rounds.iter().all(|n| *n >= 20), "{rounds:?}");

    // While two exchanges are still open: alive, not ready, and closed to newcomers.
    assert!(!gateway.has_exited());
    let ready = admin(&gateway, "/readyz");
    assert_eq!((ready.status, ready.text().trim()), (503, "draining"));
    assert_eq!(admin(&gateway, "/healthz").status, 200);
    refuses(gateway.address);

    let answer = upload.send("other").response();
    assert_eq!((answer.status, answer.text().as_str(), closes(&answer)), (200, "10", true));
    assert!(upload.is_closed());
    gate.open();
    assert_eq!(download.response().text(), "halfhalf");
    assert!(download.is_closed());

    assert_eq!(gateway.wait_exit().code(), Some(0), "{}", gateway.stderr());
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "the drain time is 10 s, it took {:?}",
        began.elapsed()
    );
    let asked = rounds.iter().sum::<usize>() + 2;
    assert_eq!((v1.count(), v1.incomplete()), (asked, 0), "each request once, none cut short");
    assert_eq!((v2.count(), v2.incomplete()), (asked, 0), "each copy once, none cut short");
}

#[test]
fn copies_that_wait_are_shipped_before_the_end() {
    let gate = Gate::closed();
    let (v1, held) = (Origin::named("v1"), gate.clone());
    let v2 = Origin::new(move |_, stream| {
        held.pass();
        write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    });
    let one_by_one = "connections_max = 1, pipeline_max = 1";
    let mut gateway = Setup::new(&v1).mirror("v2", v2.address, one_by_one).start();
    let mut client = gateway.client();
    (0..20).for_each(|_| assert_eq!(client.ask(ASK).status, 200));
    v2.wait_for(1);
    assert_eq!(gateway.metrics().sum("umbra_mirror_waiting", &[]), 19);
    drop(client);
    gateway.signal("TERM");
    refuses(gateway.address);
    gate.open();
    assert_eq!(gateway.wait_exit().code(), Some(0), "{}", gateway.stderr());
    assert_eq!(v2.count(), 20);
}

#[test]
fn copies_that_cannot_be_shipped_in_time_are_given_up_and_said() {
    let v1 = Origin::named("v1");
    let v2 = Origin::fixed("", After::Hang);
    let mut gateway = Setup::new(&v1)
        .mirror("v2", v2.address, "connections_max = 1, pipeline_max = 1, timeout = \"60s\"")
        .with("[timeouts]\ndrain = \"1s\"")
        .start();
    let mut client = gateway.client();
    (0..20).for_each(|_| assert_eq!(client.ask(ASK).status, 200));
    v2.wait_for(1);
    drop(client);
    let began = Instant::now();
    gateway.signal("TERM");
    assert_eq!(gateway.wait_exit().code(), Some(0), "{}", gateway.stderr());
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1), "it gave up before the deadline: {took:?}");
    assert!(took < Duration::from_secs(5), "the deadline is 1 s, it took {took:?}");
    assert_eq!(v2.count(), 1);
    // The metrics page is gone with the process, so the last lines must tell: 19 waited, one was under way.
    let numbers = gateway.stderr();
    let told = |n: &str| numbers.split(|c: char| !c.is_ascii_digit()).any(|word| word == n);
    assert!(told("19") || told("20"), "abandoned copies are lost silently:\n{numbers}");
}

#[test]
fn a_mirror_that_was_taken_out_while_it_was_connected_to_does_not_hold_up_the_end() {
    let (v1, v2) = (Origin::named("v1"), Full::new());
    let setup = Setup::new(&v1).with("[timeouts]\ndrain = \"20s\"");
    let mut gateway = setup.clone().mirror("v2", v2.address, "connect_timeout = \"2s\"").start();
    let mut client = gateway.client();
    assert_eq!(client.ask(ASK).status, 200);
    // A shipper is called each tick, so that some still connect when the failure of others empties the ring.
    eventually("connects are under way", || gateway.metrics().sum("umbra_mirror_connects_total", &[]) >= 4);
    gateway.write(&setup.toml());
    gateway.signal("HUP");
    eventually("the mirror is taken out", || gateway.metrics().sum("umbra_reloads_total", &[]) == 1);
    drop(client);
    let began = Instant::now();
    gateway.signal("TERM");
    assert_eq!(gateway.wait_exit().code(), Some(0), "{}", gateway.stderr());
    assert!(began.elapsed() < Duration::from_secs(10), "nothing is left, and it took {:?}", began.elapsed());
}

#[test]
fn exchanges_that_do_not_end_are_given_up_at_the_deadline() {
    let origin = primary(&Gate::closed());
    let mut gateway = Setup::new(&origin).with("[timeouts]\ndrain = \"1s\"").start();
    let mut download = mid_download(&gateway);
    gateway.signal("TERM");
    assert_eq!(gateway.wait_exit().code(), Some(0), "{}", gateway.stderr());
    assert!(gateway.stderr().contains("1 exchanges cut"), "{}", gateway.stderr());
    assert_eq!(download.try_response(false), Err("closed before a complete response".into()));
}

#[test]
fn a_second_signal_ends_at_once_with_1() {
    for (first, second) in [("TERM", "TERM"), ("TERM", "INT"), ("INT", "TERM")] {
        let origin = primary(&Gate::closed());
        let mut gateway = Setup::new(&origin).start();
        let _open = mid_download(&gateway);
        gateway.signal(first);
        eventually("the drain has begun", || admin(&gateway, "/readyz").status == 503);
        let began = Instant::now();
        gateway.signal(second);
        assert_eq!(gateway.wait_exit().code(), Some(1), "{}", gateway.stderr());
        assert!(began.elapsed() < Duration::from_secs(3), "{:?} after the second signal", began.elapsed());
    }
}

#[test]
fn other_signals_do_not_end_it() {
    let origin = Origin::named("v1");
    let mut gateway = Setup::new(&origin).start();
    let mut client = gateway.client();
    for signal in ["HUP", "PIPE", "USR1"] {
        gateway.signal(signal);
        let answer = client.send(ASK).try_response(false);
        assert!(answer.is_ok_and(|answer| answer.text() == "v1"), "not answered after SIG{signal}");
        assert!(!gateway.has_exited(), "SIG{signal}");
    }
}

#[test]
fn nobody_listening_to_its_output_does_not_end_it() {
    let origin = Origin::named("v1");
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, Setup::new(&origin).toml()).expect("the configuration is written");
    let mut command = Command::new(tests::gateway::binary());
    command.arg("--config").arg(&file).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the gateway starts");
    let (mut stdout, mut said) = (child.stdout.take().expect("stdout is piped"), Vec::new());
    let address = loop {
        let mut byte = [0];
        stdout.read_exact(&mut byte).expect("the readiness lines come first");
        said.push(byte[0]);
        let text = String::from_utf8_lossy(&said);
        if let Some(line) = text.lines().find_map(|line| line.strip_prefix("listening on "))
            && text.ends_with('\n')
        {
            break line.parse::<SocketAddr>().expect("an address");
        }
    };
    drop((stdout, child.stderr.take()));
    let mut client = Client::connect(address);
    // Each hangup is a line of log for a pipe without a reader.
    for _ in 0..5 {
        let hangup = Command::new("kill").args(["-HUP", &child.id().to_string()]).status().expect("kill");
        assert!(hangup.success());
        assert_eq!(client.ask(ASK).text(), "v1");
    }
    let alive = child.try_wait().expect("wait").is_none();
    child.kill().and_then(|()| child.wait()).expect("the gateway can be killed");
    assert!(alive);
}

#[test]
fn an_unread_standard_error_holds_up_nobody() {
    let (v1, names) = (Origin::named("v1"), NameServer::start());
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("gateway.toml");
    let setup = Setup::new(&v1);
    std::fs::write(&file, setup.toml()).expect("the configuration is written");
    // Open, but never read.
    let (_unread, stderr) = std::io::pipe().expect("a pipe");
    let (dns, at) = names.environment();
    let mut child = Command::new(tests::gateway::binary())
        .arg("--config")
        .arg(&file)
        .env(dns, at)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .expect("the gateway starts");
    let mut lines = std::io::BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    let admin: SocketAddr = lines
        .find_map(|line| Some(line.ok()?.strip_prefix("admin on ")?.parse().expect("an address")))
        .expect("it serves");
    // Each mirror whose name does not resolve is a warning.
    let all: Vec<String> = (0..100).map(|n| format!("\"{}{n}.test:80\"", "long-".repeat(10))).collect();
    let mirrors = format!("[upstream.v2]\nendpoints = [{}]", all.join(","));
    let toml = setup.with(&mirrors).toml().replace("mirrors = []", "mirrors = [{ upstream = \"v2\" }]");
    let put = || {
        let length = toml.len();
        let head = format!("PUT /config HTTP/1.1\r\nHost: {admin}\r\nContent-Length: {length}\r\n\r\n");
        Client::connect(admin).ask(head + &toml).status
    };
    // More than a pipe holds, and each change is another configuration's.
    for _ in 0..10 {
        assert_eq!(put(), 200);
    }
    let told = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill");
    assert!(told.success());
    eventually("it ends", || child.try_wait().expect("wait").is_some());
    assert_eq!(child.wait().expect("it ended").code(), Some(0));
}

/// Runs the gateway as the first process of a container; returns the function that finds its id outside.
fn as_first(command: &Command) -> (Process, impl Fn() -> Option<Successor> + use<>) {
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--kill-child"]).arg(command.get_program()).args(command.get_args());
    unshare.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let process = Process::spawn(&mut unshare);
    let id = process.child.id();
    let find = move || {
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        Some(Successor { id: children.split_whitespace().next()?.to_owned() })
    };
    (process, find)
}

#[test]
fn a_containers_first_process_ends_when_it_is_told_to_and_never_has_a_successor() {
    let may =
        Command::new("unshare").args(["--pid", "--fork", "true"]).output().is_ok_and(|o| o.status.success());
    if !may {
        println!("skipped: this user cannot make a namespace of processes");
        return;
    }
    let (v1, names) = (Origin::named("v1"), NameServer::start());
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("gateway.toml");
    let slow = Setup::new(&v1).with("[upstream.slow]\nendpoints = [\"slow.test:1\"]").toml();
    std::fs::write(&file, slow).expect("the configuration is written");
    names.hold("slow.test");
    let (dns, at) = names.environment();
    let mut command = Command::new(tests::gateway::binary());
    command.arg("--config").arg(&file).env(dns, at);

    // The kernel itself would let no signal end it.
    let (mut process, find) = as_first(&command);
    eventually("it has come some way", || names.holds() > 0);
    let first = find().expect("it runs");
    first.signal("TERM");
    assert_eq!(process.wait_exit().code(), Some(0), "{}", process.stderr());

    names.say("slow.test", &[[127, 0, 0, 1].into()]);
    let (mut process, find) = as_first(&command);
    let address = process.lines("listening on ", 1)[0].parse().expect("an address");
    let first = find().expect("it runs");
    first.signal("USR2");
    eventually("it says why not", || process.stderr().contains("SIGUSR2 ignored"));
    assert_eq!(Client::connect(address).ask(ASK).text(), "v1");
}

#[test]
fn a_panic_ends_its_connection_and_nothing_else() {
    if !cfg!(debug_assertions) {
        println!("skipped: a release build has no way to be made to panic");
        return;
    }
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let setup = Setup::new(&v1).mirror("v2", v2.address, "").environment("UMBRA_TEST_PANIC", "1");
    let mut gateway = setup.start();
    let (mut other, mut struck) = (gateway.client(), gateway.client());
    assert_eq!((other.ask(ASK).status, struck.ask(ASK).status), (200, 200));
    struck.send("GET /__panic HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(struck.is_closed(), "closed, and nothing said");
    assert_eq!((other.ask(ASK).status, gateway.client().ask(ASK).status), (200, 200));
    let metrics = gateway.settled("v2");
    assert_eq!(metrics.sum("umbra_exchange_panics_total", &[]), 1);
    assert_eq!(metrics.sum("umbra_mirror_completed_total", &[]), 4);
    eventually("the places are given back", || gateway.metrics().sum("umbra_connections_active", &[]) == 1);
    eventually("the log says so", || gateway.stderr().contains("asked to by the test"));
    drop(other);
    gateway.signal("TERM");
    assert_eq!(gateway.wait_exit().code(), Some(0), "a drain does not wait for what panicked");
}

#[test]
fn without_the_tests_environment_the_panic_is_a_path_like_any_other() {
    let origin = Origin::named("v1");
    let gateway = Setup::new(&origin).start();
    assert_eq!(gateway.client().ask("GET /__panic HTTP/1.1\r\nHost: a\r\n\r\n").text(), "v1");
}

#[test]
fn a_started_gateway_is_healthy_and_ready() {
    let origin = Origin::named("v1");
    let gateway = Setup::new(&origin).workers(2).start();
    assert_eq!(admin(&gateway, "/healthz").text(), "ok\n");
    // The readiness line comes a moment before the page turns.
    eventually("ready", || admin(&gateway, "/readyz").status == 200);
}

#[test]
fn a_port_that_is_taken_is_an_error_that_names_address_and_key() {
    let origin = Origin::named("v1");
    let mut first = Setup::new(&origin).start();
    let toml = Setup::new(&origin).toml();
    for (key, taken) in [("listener[0].bind", first.address), ("admin.bind", first.admin)] {
        let table = if key.starts_with("admin") { "[admin]\nbind = " } else { "[[listener]]\nbind = " };
        let second = toml.replace(&format!("{table}\"127.0.0.1:0\""), &format!("{table}\"{taken}\""));
        let line = (1..).zip(second.lines()).find(|(_, l)| l.contains(&taken.to_string()));
        let line = line.expect("the address is in the file").0;
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut file = std::fs::File::create(folder.path().join("gateway.toml")).expect("a file");
        file.write_all(second.as_bytes()).expect("the configuration is written");
        let mut process = Process::gateway(&folder.path().join("gateway.toml"));
        assert_eq!(process.wait_exit().code(), Some(1), "{}", process.stderr());
        let expected = format!("gateway.toml:{line}: {key}: {taken} is already in use");
        assert!(process.stderr().contains(&expected), "{}", process.stderr());
        assert!(!process.stdout().contains("listening on"), "{}", process.stdout());
    }
    assert!(!first.has_exited());
    assert_eq!(first.client().ask(ASK).status, 200, "the first is not disturbed");
}
