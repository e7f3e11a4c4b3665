//! Many clients at once, content that can be checked without being kept, raw peers, and a ledger to compare with.

use std::collections::HashSet;
use std::io::Read as _;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::origin::After;
use crate::{Client, Gateway, Metrics, PATIENCE, Request, Response};

/// Holds scripted peers back until the test opens it, or for as long as they would be slow by themselves.
#[derive(Default)]
pub struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub fn closed() -> Arc<Self> {
        Arc::default()
    }

    pub fn open(&self) {
        *self.open.lock().expect("gate") = true;
        self.opened.notify_all();
    }

    pub fn wait(&self) {
        self.wait_at_most(Duration::MAX);
    }

    /// Waits for the gate, or a peer's own slowness; says whether the gate is open.
    pub fn wait_at_most(&self, slowness: Duration) -> bool {
        let open = self.open.lock().expect("gate");
        *self.opened.wait_timeout_while(open, slowness, |open| !*open).expect("gate").0
    }
}

/// `clients` keep-alive connections at once, each asking `each` times in turn and checking every answer; returns how long
/// the slowest answer took.
pub fn hammer(
    address: SocketAddr,
    clients: usize,
    each: usize,
    ask: impl Fn(usize) -> Vec<u8> + Sync,
    check: impl Fn(usize, &Response) + Sync,
) -> Duration {
    let (ask, check) = (&ask, &check);
    let one = move |number: usize| {
        let mut client = Client::connect(address);
        let mut slowest = Duration::ZERO;
        for id in number * each..(number + 1) * each {
            let started = Instant::now();
            let answer = client.ask(ask(id));
            slowest = slowest.max(started.elapsed());
            check(id, &answer);
        }
        slowest
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..clients).map(|number| scope.spawn(move || one(number))).collect();
        running.into_iter().map(|r| r.join().expect("a client's check failed")).max().unwrap_or_default()
    })
}

/// A whole answer.
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

pub fn get(id: usize) -> Vec<u8> {
    format!("GET /r?id={id} HTTP/1.1\r\nHost: a\r\n\r\n").into()
}

pub fn post(target: &str, content: &[u8]) -> Vec<u8> {
    let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", content.len());
    [head.as_bytes(), content].concat()
}

/// The `id` of each request's target, in the order they were seen.
pub fn ids(requests: &[Request]) -> Vec<usize> {
    requests.iter().filter_map(|r| r.target.split_once("id=")?.1.parse().ok()).collect()
}

/// Asks for each in turn on one connection; all must be 200.
#[track_caller]
pub fn ask_all(gateway: &Gateway, ids: std::ops::Range<usize>) {
    let mut client = gateway.client();
    for id in ids {
        assert_eq!(client.ask(get(id)).status, 200, "request {id}");
    }
}

/// Each of `0..of` is there exactly once.
#[track_caller]
pub fn assert_each_once(seen: &[usize], of: usize) {
    let set: HashSet<_> = seen.iter().copied().collect();
    let missing: Vec<_> = (0..of).filter(|id| !set.contains(id)).take(20).collect();
    assert!(missing.is_empty(), "{} of {of} seen; missing are {missing:?} …", set.len());
    assert_eq!(seen.len(), of, "some were seen twice");
}

/// `len` bytes that stand at `offset` of an endless content without a short period.
pub fn pattern(offset: usize, len: usize) -> Vec<u8> {
    (offset..offset + len).map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

/// `parts` in one chunk each, ended by these trailer lines.
pub fn chunked(parts: &[&[u8]], trailers: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        out.extend_from_slice(format!("{:X};ext=\"1\"\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    out
}

/// The ledger of `mirror`, without zeros and sorted: `("dropped ring_bytes", 3)`.
pub fn account(metrics: &Metrics, mirror: &str) -> Vec<(String, i64)> {
    const LEDGER: [&str; 10] = [
        "eligible",
        "sampled_out",
        "skipped",
        "dropped",
        "sent",
        "completed",
        "failed",
        "pending",
        "waiting",
        "in_flight",
    ];
    let of_mirror = format!("mirror=\"{mirror}\"");
    let mut account = Vec::new();
    for line in metrics.text().lines().filter(|line| line.contains(&of_mirror)) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let Some((name, labels)) = series.split_once('{') else { continue };
        let name = name.trim_start_matches("umbra_mirror_").trim_end_matches("_total");
        let value = value.parse::<f64>().expect("a number") as i64;
        if value != 0 && LEDGER.contains(&name) {
            let why = ["reason=\"", "class=\""].iter().find_map(|key| labels.split(key).nth(1));
            let why = why.and_then(|rest| rest.split('"').next()).map(|why| format!(" {why}"));
            account.push((format!("{name}{}", why.unwrap_or_default()), value));
        }
    }
    account.sort();
    account
}

/// Waits until the ledger of `mirror` says exactly this and nothing else; the order does not matter.
#[track_caller]
pub fn becomes(gateway: &Gateway, mirror: &str, promised: &[(&str, i64)]) -> Metrics {
    let mut promised: Vec<(String, i64)> = promised.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect();
    promised.retain(|(_, n)| *n != 0);
    promised.sort();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metrics = gateway.metrics();
        let found = account(&metrics, mirror);
        if found == promised {
            return metrics;
        }
        if Instant::now() > deadline {
            assert_eq!(found, promised, "the ledger of {mirror} (left) is not as promised (right)");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A peer that handles its connections byte by byte; stops accepting when dropped.
pub struct Peer {
    pub address: SocketAddr,
    stopped: Arc<Mutex<bool>>,
}

impl Peer {
    pub fn new(handler: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("bind"), handler)
    }

    pub fn on(listener: TcpListener, handler: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().expect("address");
        let stopped = Arc::<Mutex<bool>>::default();
        let (is_stopped, handler) = (Arc::clone(&stopped), Arc::new(handler));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if *is_stopped.lock().expect("stopped") {
                    return;
                }
                let handler = Arc::clone(&handler);
                std::thread::spawn(move || handler(stream));
            }
        });
        Self { address, stopped }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        *self.stopped.lock().expect("stopped") = true;
        let _ = TcpStream::connect(self.address);
    }
}

/// A bound socket that refuses connections until `listen` is called on it; its port stays ours meanwhile.
pub fn bound_and_refusing() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
    let address = socket.local_addr().expect("address").as_socket().expect("an IP address");
    (socket, address)
}

/// Ends our side and waits for the peer's end, so that no unread byte turns the close into a reset.
pub fn close_kindly(stream: &mut TcpStream) -> After {
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut rest = [0; 16 * 1024];
    while let Ok(1..) = stream.read(&mut rest) {}
    After::Close
}
