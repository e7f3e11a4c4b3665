//! Every fault of `loadgen serve`, proven with bytes on a plain socket.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{Server, wait_until};

const SOON: Duration = Duration::from_secs(5);
/// Long enough to tell silence from a busy machine's delay.
const SILENCE: Duration = Duration::from_millis(300);

fn connect(server: &Server, name: &str) -> std::io::Result<TcpStream> {
    let addr = server.addr(name).parse().expect("an address");
    let stream = TcpStream::connect_timeout(&addr, SILENCE)?;
    stream.set_read_timeout(Some(SOON))?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream) {
    stream.write_all(b"GET /?size=1000 HTTP/1.1\r\nHost: x\r\n\r\n").expect("the request is written");
}

/// Connects, asks and reads until `enough` bytes, the end, an error or silence.
fn answer(server: &Server, name: &str, enough: usize, patience: Duration) -> (Vec<u8>, Option<ErrorKind>) {
    answer_until(server, name, |got| got.len() >= enough, patience)
}

fn answer_until(
    server: &Server,
    name: &str,
    is_enough: impl Fn(&[u8]) -> bool,
    patience: Duration,
) -> (Vec<u8>, Option<ErrorKind>) {
    let mut stream = connect(server, name).expect("a connection");
    stream.set_read_timeout(Some(patience)).expect("a timeout");
    ask(&mut stream);
    let (mut got, mut part) = (Vec::new(), [0u8; 65536]);
    while !is_enough(&got) {
        match stream.read(&mut part) {
            Ok(0) => return (got, None),
            Ok(count) => got.extend_from_slice(&part[..count]),
            Err(error) => return (got, Some(error.kind())),
        }
    }
    (got, None)
}

fn is_healthy(server: &Server, name: &str) -> bool {
    let (got, _) = answer(server, name, 1050, SOON);
    got.starts_with(b"HTTP/1.1 200 OK\r\n") && got.len() > 1000
}

#[test]
fn refuse_closes_the_listener_and_resets_live_connections() {
    let server = Server::start(&["v"]);
    let mut live = connect(&server, "v").expect("a connection");
    wait_until("the connection is accepted", || server.counters("v").connections == 1);
    server.set_fault("v", "refuse");
    let refused = connect(&server, "v").map_err(|e| e.kind());
    assert!(matches!(refused, Err(ErrorKind::ConnectionRefused)), "{refused:?}");
    assert_eq!(live.read(&mut [0; 10]).map_err(|e| e.kind()), Err(ErrorKind::ConnectionReset));
    server.set_fault("v", "none");
    assert!(is_healthy(&server, "v"));
}

#[test]
fn blackhole_drops_every_syn_and_freezes_live_connections() {
    let server = Server::start(&["v"]);
    let mut live = connect(&server, "v").expect("a connection");
    wait_until("the connection is accepted", || server.counters("v").connections == 1);
    server.set_fault("v", "blackhole");
    for _ in 0..3 {
        assert_eq!(connect(&server, "v").map_err(|e| e.kind()).err(), Some(ErrorKind::TimedOut));
    }
    live.set_read_timeout(Some(SILENCE)).expect("a timeout");
    ask(&mut live);
    assert_eq!(live.read(&mut [0; 10]).map_err(|e| e.kind()), Err(ErrorKind::WouldBlock));
    server.set_fault("v", "none");
    assert!(is_healthy(&server, "v"));
    live.set_read_timeout(Some(SOON)).expect("a timeout");
    assert!(live.read(&mut [0; 10]).is_ok_and(|count| count > 0), "the frozen connection thaws");
}

#[test]
fn never_accept_shakes_hands_and_no_more() {
    let server = Server::start(&["v,fault=never_accept"]);
    let (got, error) = answer(&server, "v", 1, SILENCE);
    assert_eq!((got.len(), error), (0, Some(ErrorKind::WouldBlock)));
    assert_eq!(server.counters("v").connections, 0);
}

#[test]
fn accept_never_read_fills_the_senders_buffers() {
    let server = Server::start(&["v,fault=accept_never_read"]);
    let mut stream = connect(&server, "v").expect("a connection");
    wait_until("the connection is accepted", || server.counters("v").connections == 1);
    stream.set_write_timeout(Some(SILENCE)).expect("a timeout");
    stream.write_all(b"POST / HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n").expect("a head");
    let chunk = vec![0u8; 1 << 20];
    let stuck = (0..64).find_map(|_| stream.write_all(&chunk).err());
    assert_eq!(stuck.map(|e| e.kind()), Some(ErrorKind::WouldBlock));
    assert_eq!(server.counters("v").bytes_in, 0);
}

#[test]
fn never_answer_reads_all_and_hold_answers_when_it_ends() {
    let server = Server::start(&["never,fault=never_answer", "hold,fault=hold"]);
    let (got, error) = answer(&server, "never", 1, SILENCE);
    assert_eq!((got.len(), error), (0, Some(ErrorKind::WouldBlock)));
    wait_until("the request is read", || server.counters("never").requests == 1);

    let mut held = connect(&server, "hold").expect("a connection");
    ask(&mut held);
    wait_until("the request is read", || server.counters("hold").requests == 1);
    assert_eq!(server.counters("hold").bytes_out, 0);
    server.set_fault("hold", "none");
    assert!(held.read(&mut [0; 100]).is_ok_and(|count| count > 0));
}

#[test]
fn slow_write_and_slow_read_keep_their_pace() {
    let server = Server::start(&["w,fault=slow_write=2000", "r,fault=slow_read=200"]);
    let begin = Instant::now();
    let (got, _) = answer(&server, "w", 1060, SOON);
    // The last step's pause need not be waited for.
    assert!(got.len() >= 1000 && begin.elapsed() >= Duration::from_millis(400), "{:?}", begin.elapsed());
    let begin = Instant::now();
    let (got, _) = answer(&server, "r", 1, SOON);
    assert!(!got.is_empty() && begin.elapsed() >= Duration::from_millis(120), "{:?}", begin.elapsed());
}

#[test]
fn resets_and_closes_happen_at_their_byte() {
    let server = Server::start(&["r,fault=reset_at=100", "c,fault=close_at=100", "a,fault=reset_on_accept"]);
    let (got, error) = answer(&server, "r", 2000, SOON);
    assert_eq!((got.len(), error), (100, Some(ErrorKind::ConnectionReset)));
    let (got, error) = answer(&server, "c", 2000, SOON);
    assert_eq!((got.len(), error), (100, None));
    // The reset may even overtake the return of connect.
    let read = connect(&server, "a").and_then(|mut stream| stream.read(&mut [0; 10]));
    assert_eq!(read.map_err(|e| e.kind()), Err(ErrorKind::ConnectionReset));
}

#[test]
fn garbage_extra_bytes_and_duplicates_are_what_they_say() {
    let server = Server::start(&["g,fault=garbage", "x,fault=extra_bytes=10", "d,fault=duplicate", "ok"]);
    let length = answer(&server, "ok", 1000, SOON).0.len();
    let (got, error) = answer(&server, "g", 5000, SOON);
    assert!(error.is_none() && got.len() == 256 && got.iter().all(|b| *b >= 128));
    let (got, _) = answer(&server, "x", length + 10, SOON);
    assert!(got.len() == length + 10 && got.ends_with(b"XXXXXXXXXX"));
    let (got, _) = answer(&server, "d", 2 * length, SOON);
    assert_eq!(got.windows(8).filter(|w| w == b"HTTP/1.1").count(), 2);
}

#[test]
fn bad_framings_are_each_bad_in_their_own_way() {
    let server = Server::start(&["v"]);
    for (kind, sign) in [
        ("cl_te", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        ("bad_cl", "Content-Length: five\r\n"),
        ("two_cl", "Content-Length: 5\r\nContent-Length: 6\r\n"),
        ("bad_chunk", "\r\n\r\nzz\r\n"),
        ("long_cl", "Content-Length: 1000\r\n\r\nhello"),
    ] {
        server.set_fault("v", &format!("bad_framing={kind}"));
        let has_sign = |got: &[u8]| String::from_utf8_lossy(got).contains(sign);
        let (got, _) = answer_until(&server, "v", has_sign, SOON);
        assert!(has_sign(&got), "{kind}: {}", String::from_utf8_lossy(&got));
    }
}

#[test]
fn heads_and_bodies_can_be_oversized_and_endless() {
    let server =
        Server::start(&["h,fault=oversize_head=300k", "c,fault=endless_chunked", "i,fault=endless_interim"]);
    let (got, _) = answer(&server, "h", 300_000, SOON);
    assert!(got.len() >= 300_000 && !got.windows(4).take(300_000).any(|w| w == b"\r\n\r\n"));
    let (got, _) = answer(&server, "c", 20_000_000, SOON);
    assert!(got.len() >= 20_000_000);
    let (got, _) = answer(&server, "i", 2_000_000, SOON);
    assert!(got.len() >= 2_000_000 && got.starts_with(b"HTTP/1.1 103"));
}

#[test]
fn half_close_ends_one_direction_only() {
    let server = Server::start(&["v,fault=half_close"]);
    let mut stream = connect(&server, "v").expect("a connection");
    ask(&mut stream);
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("the end of the stream");
    assert!(got.starts_with(b"HTTP/1.1 200"));
    let before = server.counters("v").bytes_in;
    stream.write_all(b"still read").expect("the other direction works");
    wait_until("the bytes are read", || server.counters("v").bytes_in == before + 10);
}

#[test]
fn flapping_refuses_and_recovers_in_turn() {
    let server = Server::start(&["v,fault=flap=100ms"]);
    for _ in 0..2 {
        wait_until("it refuses", || connect(&server, "v").is_err());
        wait_until("it recovers", || connect(&server, "v").is_ok());
    }
    server.set_fault("v", "none");
    assert!(is_healthy(&server, "v"));
}

#[test]
fn every_fault_that_can_be_asked_for_is_proven() {
    let here = concat!(include_str!("faults.rs"), include_str!("tls.rs"), include_str!("http2.rs"));
    let is_used = |name: &str| ["=", "\""].iter().any(|before| here.contains(&format!("{before}{name}")));
    for word in loadgen::serve::fault::NAMES.split_whitespace() {
        let (name, values) = word.split_once('=').unwrap_or((word, ""));
        assert!(is_used(name), "{name}");
        values
            .split('|')
            .filter(|_| values.contains('|'))
            .for_each(|value| assert!(is_used(value), "{value}"));
    }
}

#[test]
fn the_timeline_switches_a_fault_and_ends_it() {
    let timeline = ["--threads", "2", "--at", "500ms v refuse", "--at", "3s v none"];
    let server = Server::start_with(&["v"], &timeline);
    // Each thread has a listener, and one may refuse a moment before the other.
    wait_until("it refuses", || (0..8).all(|_| connect(&server, "v").is_err()));
    wait_until("it recovers", || connect(&server, "v").is_ok());
    assert!(is_healthy(&server, "v"));
}

#[test]
fn a_delay_per_request_in_flight_grows_with_them_on_all_threads_together() {
    // Four requests at once on two threads: the last to begin waits for four, wherever the others are.
    let server = Server::start_with(&["v,delay=per_in_flight:250ms"], &["--threads", "2"]);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(|| assert!(is_healthy(&server, "v")))));
    });
    assert!(begin.elapsed() >= Duration::from_millis(990), "{:?}", begin.elapsed());
}

#[test]
fn answer_after_is_late_by_that_much() {
    let server = Server::start(&["v,fault=answer_after=200ms"]);
    let begin = Instant::now();
    assert!(is_healthy(&server, "v"));
    assert!(begin.elapsed() >= Duration::from_millis(200));
}

#[test]
fn a_request_cut_off_in_its_body_is_counted_and_logged_as_incomplete() {
    let server = Server::start(&["v"]);
    let mut stream = connect(&server, "v").expect("a connection");
    stream
        .write_all(b"POST / HTTP/1.1\r\nx-loadgen-id: cut-1\r\nContent-Length: 10\r\n\r\nabc")
        .expect("bytes");
    drop(stream);
    wait_until("the loss is counted", || server.counters("v").requests_incomplete == 1);
    let log = server.log("v");
    assert!(matches!(&log[..], [a] if !a.complete && a.body_bytes == 3 && a.id == "cut-1"), "{log:?}");
}

#[test]
fn healthy_behaviours_answer_as_configured() {
    let server = Server::start(&["v,interim=2", "e,early", "once,requests_per_connection_max=1"]);
    let (got, _) = answer(&server, "v", 1100, SOON);
    assert_eq!(String::from_utf8_lossy(&got).matches("HTTP/1.1 103").count(), 2);

    let mut early = connect(&server, "e").expect("a connection");
    early.write_all(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n").expect("a head");
    assert!(early.read(&mut [0; 100]).is_ok_and(|count| count > 0), "the answer comes before the body");

    let (got, error) = answer(&server, "once", 5000, SOON);
    assert!(error.is_none() && String::from_utf8_lossy(&got).contains("Connection: close"));
}
