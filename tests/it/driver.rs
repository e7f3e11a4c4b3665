//! The same promises on epoll, and the ladder down to it.

use std::io::Write as _;
use std::process::{Command, Output};

use tests::origin::write;
use tests::{After, Gate, Gateway, Origin, Process, Setup, eventually};

/// The banner's line on the workers.
fn workers(stdout: &str) -> String {
    let lines = stdout.lines().filter_map(|line| line.trim_start().strip_prefix("workers"));
    lines.map(str::trim).collect::<Vec<_>>().join("; ")
}

/// Answers 200 with the request's content, in the order it came.
fn echo() -> Origin {
    Origin::new(|request, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
        match write(stream, head) {
            After::Keep => write(stream, &request.body),
            gone => gone,
        }
    })
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 31 % 251) as u8).collect()
}

/// A promise, and a check of it on the driver named.
type Promise = (&'static str, fn(&str));

/// Every driver must keep these.
const CORE: &[Promise] = &[
    ("the client gets v1's answer and v2 the copy", article),
    ("chunks and trailers arrive at both", chunks_and_trailers),
    ("much content passes both ways unharmed", much_content),
    ("a connection serves request after request, and several at once in order", keep_alive_and_pipelining),
    ("a mirror that is broken is not felt and its ledger balances", mirror_faults),
    ("a drain finishes what is open", drain),
];

fn core(driver: &str) {
    for (promise, check) in CORE {
        // Shown where a check fails.
        println!("{driver}: {promise}");
        check(driver);
    }
}

#[test]
fn the_core_promises_hold_on_epoll() {
    core("epoll");
}

#[test]
fn the_core_promises_hold_on_io_uring() {
    if uring_is_to_be_had() {
        core("uring");
    }
}

/// Prints why if not.
fn uring_is_to_be_had() -> bool {
    let origin = Origin::named("v1");
    let said = workers(&Setup::new(&origin).driver("auto").start().stdout());
    if let Some((_, why)) = said.split_once("epoll (no io_uring: ") {
        // Where nothing may be skipped (`.ci/run`), a test that would pass emptily fails.
        assert!(std::env::var_os("UMBRA_TEST_REQUIRE_URING").is_none(), "there is no io_uring here: {why}");
        println!("skipped, there is no io_uring here: {why}");
        return false;
    }
    assert!(said.contains("io_uring"), "{said}");
    true
}

fn article(driver: &str) {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let gateway = Setup::new(&v1).driver(driver).mirror("v2", v2.address, "").start();
    let answer = gateway.client().ask("GET /status/200 HTTP/1.1\r\nHost: httpbin\r\n\r\n");
    assert_eq!((answer.status, answer.text().as_str()), (200, "v1"));
    assert_eq!(v1.wait_for(1)[0].target, v2.wait_for(1)[0].target);
    assert_eq!(gateway.settled("v2").sum("umbra_mirror_completed_total", &["class=\"2xx\""]), 1);
}

fn chunks_and_trailers(driver: &str) {
    let (v1, v2) = (echo(), Origin::named("v2"));
    let gateway = Setup::new(&v1).driver(driver).mirror("v2", v2.address, "").start();
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n5;q=1\r\nhello\r\n");
    eventually("the first chunk is forwarded", || v1.wires().iter().any(|wire| wire.contains("hello")));
    let answer = client.send("6\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n").response();
    assert_eq!(answer.text(), "hello world");
    for (name, request) in [("v1", &v1.wait_for(1)[0]), ("v2", &v2.wait_for(1)[0])] {
        assert_eq!((request.chunked, &request.body[..]), (true, &b"hello world"[..]), "{name}");
        let sums: Vec<_> = request.trailers.iter().filter(|(n, _)| n.eq_ignore_ascii_case("x-sum")).collect();
        assert_eq!(sums.len(), 1, "{name} got {:?}", request.trailers);
    }
    gateway.settled("v2");
}

fn much_content(driver: &str) {
    const LEN: usize = 5_000_001;
    let (v1, v2) = (echo(), Origin::named("v2"));
    let keys = "body_bytes_max = \"16MiB\"";
    let gateway = Setup::new(&v1).driver(driver).mirror("v2", v2.address, keys).start();
    let sent = content(LEN);
    let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {LEN}\r\n\r\n");
    let answer = gateway.client().ask([head.as_bytes(), &sent].concat());
    assert_eq!(answer.status, 200);
    assert!(answer.body == sent, "the client got {} other bytes", answer.body.len());
    assert!(v2.wait_for(1)[0].body == sent, "the copy differs");
    assert_eq!(gateway.settled("v2").sum("umbra_mirror_completed_total", &[]), 1);
}

fn keep_alive_and_pipelining(driver: &str) {
    let (v1, v2) = (echo(), Origin::named("v2"));
    let gateway = Setup::new(&v1).driver(driver).mirror("v2", v2.address, "").start();
    let mut client = gateway.client();
    let request = |n: usize| format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n{n:03}");
    for n in 0..50 {
        assert_eq!(client.ask(request(n)).text(), format!("{n:03}"));
    }
    client.send((50..100).map(request).collect::<String>());
    for n in 50..100 {
        assert_eq!(client.response().text(), format!("{n:03}"));
    }
    assert_eq!(v1.connections(), 1, "the primary's connection is kept too");
    let metrics = gateway.settled("v2");
    assert_eq!(metrics.sum("umbra_mirror_completed_total", &[]), 100);
    assert_eq!(metrics.sum("umbra_connections_accepted_total", &[]), 1, "{}", metrics.text());
}

fn mirror_faults(driver: &str) {
    let v1 = Origin::named("v1");
    let reset = Origin::fixed("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", After::Reset);
    let garbage = Origin::fixed("no HTTP at all\r\n\r\n", After::Close);
    let hanging = Origin::fixed("", After::Hang);
    let (deaf, sound) = (Origin::never_reading(), Origin::named("v2"));
    let short = "timeout = \"200ms\", connections_max = 2, pipeline_max = 4";
    let gateway = Setup::new(&v1)
        .driver(driver)
        .mirror("refusing", Origin::refusing(), short)
        .mirror("reset", reset.address, short)
        .mirror("garbage", garbage.address, short)
        .mirror("hanging", hanging.address, short)
        .mirror("deaf", deaf.address, short)
        .mirror("sound", sound.address, "")
        .start();
    let mut client = gateway.client();
    for _ in 0..20 {
        let answer = client.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!((answer.status, answer.text().as_str()), (200, "v1"));
    }
    for mirror in ["refusing", "reset", "garbage", "hanging", "deaf", "sound"] {
        let metrics = gateway.settled(mirror);
        let of = |what: &str| metrics.sum(what, &[&format!("mirror=\"{mirror}\"")]);
        assert_eq!(of("umbra_mirror_eligible_total"), 20, "{mirror}");
        let completed = if mirror == "sound" { 20 } else { 0 };
        assert_eq!(of("umbra_mirror_completed_total"), completed, "{mirror}\n{}", metrics.text());
    }
    assert_eq!(sound.count(), 20);
}

fn drain(driver: &str) {
    let gate = Gate::closed();
    let held = gate.clone();
    let v1 = Origin::new(move |_, stream| {
        held.pass();
        write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nv1")
    });
    let v2 = Origin::named("v2");
    let mut gateway = Setup::new(&v1).driver(driver).mirror("v2", v2.address, "").start();
    let (mut client, mut idle) = (gateway.client(), gateway.client());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    v1.wait_for(1);
    gateway.signal("TERM");
    assert!(idle.is_closed());
    gate.open();
    assert_eq!(client.response().text(), "v1");
    assert!(client.is_closed());
    assert_eq!(gateway.wait_exit().code(), Some(0), "{driver}\n{}", gateway.stderr());
    assert_eq!(v2.count(), 1);
}

#[test]
fn the_banner_names_the_driver() {
    let origin = Origin::named("v1");
    let epoll = Setup::new(&origin).driver("epoll").workers(2).start();
    let said = workers(&epoll.stdout());
    assert!(said.starts_with("2 × epoll;"), "{said}");
    if uring_is_to_be_had() {
        let uring = Setup::new(&origin).driver("uring").start();
        let said = workers(&uring.stdout());
        assert!(said.starts_with("1 × io_uring, 1024 entries, "), "{said}");
    }
}

/// A filter of system calls before the gateway: io_uring_setup (425 on every architecture) for more than so many entries
/// fails with this error; all else is allowed.
const FORBID: &str = r#"
import ctypes, os, struct, sys
errno, entries, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
code = lambda op, jt, jf, k: struct.pack("HBBI", op, jt, jf, k)
load, equal, above, answer = 0x20, 0x15, 0x25, 0x06
first_argument = 16 if sys.byteorder == "little" else 20
filter = b"".join([
    code(load, 0, 0, 0),
    code(equal, 0, 3, 425),
    code(load, 0, 0, first_argument),
    code(above, 0, 1, entries),
    code(answer, 0, 0, 0x00050000 | errno),
    code(answer, 0, 0, 0x7fff0000),
])
held = ctypes.create_string_buffer(filter)
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
no_new_privileges, seccomp, by_filter = 38, 22, 2
if libc.prctl(no_new_privileges, 1, 0, 0, 0) or libc.prctl(
    seccomp, by_filter, ctypes.byref(Program(6, ctypes.addressof(held))), 0, 0
):
    sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
os.execv(program[0], program)
"#;

const EPERM: i32 = 1;
const ENOMEM: i32 = 12;
const ENOSYS: i32 = 38;

/// The gateway where io_uring for more than `entries` fails with `errno`.
fn where_uring_fails(errno: i32, entries: u32, toml: &str, folder: &tempfile::TempDir) -> Process {
    let file = folder.path().join("gateway.toml");
    let mut written = std::fs::File::create(&file).expect("a file");
    written.write_all(toml.as_bytes()).expect("the configuration is written");
    let mut command = Command::new("python3");
    command.args(["-c", FORBID, &errno.to_string(), &entries.to_string()]);
    Process::spawn(command.arg(tests::gateway::binary()).arg("--config").arg(&file))
}

#[test]
fn where_io_uring_is_forbidden_auto_serves_on_epoll_and_says_why() {
    for (errno, why) in [
        (EPERM, "forbidden here (EPERM"),
        (ENOSYS, "this kernel has none"),
        (ENOMEM, "locked memory ran out (RLIMIT_MEMLOCK)"),
    ] {
        let origin = Origin::named("v1");
        let toml = Setup::new(&origin).driver("auto").workers(2).toml();
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut gateway = where_uring_fails(errno, 0, &toml, &folder);
        let address = gateway.lines("listening on ", 1)[0].parse().expect("an address");
        let said = workers(&gateway.stdout());
        assert!(said.starts_with(&format!("2 × epoll (no io_uring: {why}")), "{said}");
        let answer = tests::Client::connect(address).ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(answer.text(), "v1");
    }
}

#[test]
fn where_io_uring_is_forbidden_uring_refuses_to_start() {
    let origin = Origin::named("v1");
    let toml = Setup::new(&origin).driver("uring").toml();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut gateway = where_uring_fails(EPERM, 0, &toml, &folder);
    assert_eq!(gateway.wait_exit().code(), Some(1), "{}", gateway.stderr());
    let said = gateway.stderr();
    assert!(said.contains("io_uring was asked for and is not to be had: forbidden here (EPERM"), "{said}");
    assert!(!gateway.stdout().contains("listening on"), "{}", gateway.stdout());
}

#[test]
fn where_memory_for_the_queue_runs_out_a_smaller_one_is_taken_and_said() {
    if !uring_is_to_be_had() {
        return;
    }
    let origin = Origin::named("v1");
    let toml = Setup::new(&origin).driver("uring").toml();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut gateway = where_uring_fails(ENOMEM, 512, &toml, &folder);
    let address = gateway.lines("listening on ", 1)[0].parse().expect("an address");
    let said = workers(&gateway.stdout());
    assert!(said.starts_with("1 × io_uring, 512 entries, "), "{said}");
    assert!(said.contains("RLIMIT_MEMLOCK"), "{said}");
    let answer = tests::Client::connect(address).ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.text(), "v1");
}

#[test]
fn a_driver_that_does_not_exist_is_an_error_with_its_line() {
    let origin = Origin::named("v1");
    let output: Output = Gateway::check(&Setup::new(&origin).driver("kqueue").toml());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("gateway.toml:8: workers.driver: ") && said.contains("\"epoll\""), "{said}");
}
