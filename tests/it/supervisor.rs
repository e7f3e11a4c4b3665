//! The protocol between a service manager and the gateway: systemd's notifications and socket activation.

use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use tests::gateway::binary;
use tests::process::{Successor, successor};
use tests::{Client, NameServer, Origin, PATIENCE, Process, Setup, eventually};

const ASK: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { socket, folder }
    }

    fn path(&self) -> String {
        self.folder.path().join("notify").display().to_string()
    }

    /// The next message that is no pulse.
    #[track_caller]
    fn hears(&self) -> Vec<String> {
        loop {
            let lines = self.hears_anything();
            if lines != ["WATCHDOG=1"] {
                return lines;
            }
        }
    }

    #[track_caller]
    fn hears_anything(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let n = self.socket.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..n]).lines().map(str::to_owned).collect()
    }
}

#[test]
fn a_service_manager_hears_of_every_turn() {
    let (manager, v1) = (Manager::new(), Origin::named("v1"));
    let mut gateway = Setup::new(&v1).environment("NOTIFY_SOCKET", &manager.path()).start();
    assert_eq!(manager.hears(), ["READY=1", "STATUS=serving"]);
    gateway.signal("HUP");
    let reloading = manager.hears();
    assert_eq!(reloading[0], "RELOADING=1");
    let at = reloading[1].strip_prefix("MONOTONIC_USEC=").and_then(|at| at.parse::<u64>().ok());
    assert!(at.is_some_and(|at| at > 0), "{reloading:?}");
    assert_eq!(manager.hears(), ["READY=1", "STATUS=serving"]);
    gateway.signal("TERM");
    assert_eq!(manager.hears()[0], "STOPPING=1");
    assert_eq!(gateway.wait_exit().code(), Some(0));
}

#[test]
fn a_service_manager_is_told_who_follows() {
    let (manager, v1) = (Manager::new(), Origin::named("v1"));
    let mut gateway = Setup::new(&v1).environment("NOTIFY_SOCKET", &manager.path()).start();
    assert_eq!(manager.hears()[0], "READY=1");
    gateway.signal("USR2");
    // The new process reports readiness; then the old one, to which a service manager listens, tells the new one's id.
    let mut said = [manager.hears(), manager.hears()];
    said.sort();
    assert_eq!(said[1], ["READY=1", "STATUS=serving"]);
    let process = said[0][0].strip_prefix("MAINPID=").expect("the new process");
    assert_ne!(process, gateway.pid().to_string());
    assert_eq!(gateway.wait_exit().code(), Some(0));
    let ended = Command::new("kill").args(["-TERM", process]).status().expect("kill");
    assert!(ended.success(), "it lives");
    assert_eq!(manager.hears()[0], "STOPPING=1", "and speaks for itself");
}

#[test]
fn a_watchdog_hears_while_the_workers_turn_and_not_when_one_is_stuck() {
    let (manager, v1) = (Manager::new(), Origin::named("v1"));
    let gateway = Setup::new(&v1)
        .environment("NOTIFY_SOCKET", &manager.path())
        .environment("WATCHDOG_USEC", "200000")
        .start();
    for _ in 0..5 {
        while manager.hears_anything() != ["WATCHDOG=1"] {}
    }
    // Stopped as a whole it says nothing either.
    gateway.signal("STOP");
    manager.socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let mut message = [0; 4096];
    while manager.socket.recv(&mut message).is_ok() {}
    gateway.signal("CONT");
    manager.socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert_eq!(manager.hears_anything(), ["WATCHDOG=1"]);
}

#[test]
fn names_that_nobody_answers_for_keep_nobody_else_waiting() {
    let (manager, v1, names) = (Manager::new(), Origin::named("v1"), NameServer::start());
    let (dns, at) = names.environment();
    let setup = Setup::new(&v1)
        .environment("NOTIFY_SOCKET", &manager.path())
        .environment("WATCHDOG_USEC", "400000")
        .environment(&dns, &at);
    let mut gateway = setup.start();
    assert_eq!(manager.hears(), ["READY=1", "STATUS=serving"]);
    let held = |name: &str| {
        names.hold(name);
        setup.clone().with(&format!("[upstream.slow]\nendpoints = [\"{name}:1\"]")).toml()
    };
    gateway.write(&held("one.test"));
    gateway.signal("HUP");
    assert_eq!(manager.hears()[0], "RELOADING=1");
    eventually("the name is looked up", || names.holds() > 0);
    (0..5).for_each(|_| assert_eq!(manager.hears_anything(), ["WATCHDOG=1"]));
    // A reload that is asked for meanwhile has its turn afterwards.
    gateway.signal("HUP");
    assert_eq!(gateway.admin("GET", "/readyz", "").status, 200);
    names.say("one.test", &[[127, 0, 0, 1].into()]);
    assert_eq!(manager.hears(), ["READY=1", "STATUS=serving"]);
    assert_eq!(manager.hears()[0], "RELOADING=1");
    assert_eq!(manager.hears(), ["READY=1", "STATUS=serving"]);
    // Nor does the end wait.
    let next = held("two.test");
    std::thread::scope(|scope| {
        let put = scope.spawn(|| gateway.admin("PUT", "/config", &next).status);
        eventually("the name is looked up", || names.holds() > 0);
        gateway.signal("TERM");
        assert_eq!(manager.hears()[0], "STOPPING=1");
        assert_eq!(put.join().expect("an answer"), 503);
    });
    assert_eq!(gateway.wait_exit().code(), Some(0));
}

/// Opens a socket as a service manager does and becomes the gateway.
const ACTIVATE: &str = "
import os, socket, sys
opened = [socket.create_server((host, 0)) for host in ('127.0.0.1', '127.0.0.1')]
addresses = ['%s:%d' % s.getsockname() for s in opened]
# Moved out of the way first: the numbers below may be theirs.
high = [os.dup2(s.fileno(), 100 + n) for n, s in enumerate(opened)]
for n, fd in enumerate(high):
    os.dup2(fd, 3 + n, inheritable=True)
text = open(sys.argv[2]).read()
for name, address in zip(('LISTENER', 'ADMIN'), addresses):
    text = text.replace(name, address)
open(sys.argv[2], 'w').write(text)
os.environ.update(LISTEN_FDS='2', LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES='a:b')
os.execv(sys.argv[1], [sys.argv[1], '--config', sys.argv[2]])
";

#[test]
fn sockets_that_a_service_manager_opened_are_taken_by_their_addresses() {
    let v1 = Origin::named("v1");
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("gateway.toml");
    let toml = Setup::new(&v1).workers(2).toml();
    let toml = toml.replacen("127.0.0.1:0", "LISTENER", 1).replacen("127.0.0.1:0", "ADMIN", 1);
    std::fs::write(&file, toml).expect("the configuration is written");
    let mut python = Command::new("python3");
    let mut process = Process::spawn(python.args(["-c", ACTIVATE]).arg(binary()).arg(&file));
    let address: SocketAddr = process.lines("listening on ", 1)[0].parse().expect("an address");
    let admin: SocketAddr = process.lines("admin on ", 1)[0].parse().expect("an address");
    let written = std::fs::read_to_string(&file).expect("the configuration");
    assert!(written.contains(&address.to_string()) && written.contains(&admin.to_string()));
    for _ in 0..20 {
        assert_eq!(Client::connect(address).ask(ASK).text(), "v1");
    }
    assert_eq!(Client::connect(admin).ask("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
}

/// A service manager: opens a socket and keeps it, and starts the gateway whenever it is told to by SIGUSR1.
const LENDING: &str = "
import os, signal, socket, subprocess, sys
lent = socket.create_server(('127.0.0.1', 0))
text = open(sys.argv[2]).read().replace('LISTENER', '%s:%d' % lent.getsockname())
open(sys.argv[2], 'w').write(text)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
def lend():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    os.dup2(lent.fileno(), 100)
    os.dup2(100, 3, inheritable=True)
    os.closerange(4, 200)
become = 'LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" --config \"$1\"'
while True:
    gateway = subprocess.Popen(['sh', '-c', become] + sys.argv[1:], close_fds=False, preexec_fn=lend)
    print('started', gateway.pid, flush=True)
    signal.sigwait([signal.SIGUSR1])
";

#[test]
fn a_socket_that_a_service_manager_lends_outlives_the_processes_it_is_lent_to() {
    let v1 = Origin::named("v1");
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("gateway.toml");
    let toml = Setup::new(&v1).workers(2).toml().replacen("127.0.0.1:0", "LISTENER", 1);
    std::fs::write(&file, toml).expect("the configuration is written");
    let mut python = Command::new("python3");
    let mut manager = Process::spawn(python.args(["-c", LENDING]).arg(binary()).arg(&file));
    let start_another = |manager: &Process| {
        let told =
            Command::new("kill").args(["-USR1", &manager.child.id().to_string()]).status().expect("kill");
        assert!(told.success());
    };
    let first = Successor { id: manager.lines("started ", 1).remove(0) };
    let address: SocketAddr = manager.lines("listening on ", 1)[0].parse().expect("an address");
    assert_eq!(Client::connect(address).ask(ASK).text(), "v1");
    first.signal("TERM");
    eventually("it drains and ends", || first.is_gone());
    // No process serves, and a client waits for the next one.
    let mut early = Client::connect(address);
    early.send(ASK);
    start_another(&manager);
    assert_eq!(early.response().text(), "v1");
    let second = Successor { id: manager.lines("started ", 2).remove(1) };
    manager.lines("listening on ", 2);
    // The mark stays with the socket when it goes from one gateway to another.
    second.signal("USR2");
    let third = successor(|| manager.stderr(), 0);
    eventually("the second has drained", || second.is_gone());
    third.signal("TERM");
    eventually("the third has drained", || third.is_gone());
    let mut early = Client::connect(address);
    early.send(ASK);
    start_another(&manager);
    assert_eq!(early.response().text(), "v1");
    let _fourth = Successor { id: manager.lines("started ", 3).remove(2) };
}
