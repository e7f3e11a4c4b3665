//! Clients whose every request carries content of its own, which its answer must be. Some go away in the middle. They know
//! nothing of what happens to the servers.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use loadgen::client::Client;
use loadgen::http1::chunked;

/// Longer than any patience of the gateway: a client that runs into it was forgotten.
const PATIENCE: Duration = Duration::from_secs(20);
/// One in so many requests is left by its client in the middle.
const LEAVES: u64 = 50;
/// Kept of what must not happen.
const WRONG_MAX: usize = 20;

/// The clients' observations so far.
#[derive(Default)]
pub struct Seen {
    /// Answered with exactly what was sent.
    pub whole: AtomicU64,
    /// Left by the client.
    pub left: AtomicU64,
    /// Neither: by status, or by what happened to the connection.
    others: Mutex<BTreeMap<String, u64>>,
    /// Responses to another client's request, or to no request.
    wrong: Mutex<Vec<String>>,
}

impl Seen {
    /// Requests that were not answered whole, by what happened.
    pub fn others(&self) -> BTreeMap<String, u64> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn errors(&self) -> u64 {
        self.others().values().sum()
    }

    pub fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn other(&self, what: String) {
        *self.others.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }

    fn is_wrong(&self, what: String) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() < WRONG_MAX {
            wrong.push(what);
        }
    }
}

pub struct Load {
    pub addr: SocketAddr,
    pub connections: usize,
    /// Requests per second at most, all clients together.
    pub rate: u64,
    pub seed: u64,
}

impl Load {
    /// Asks until `stop`.
    pub fn run(&self, seen: &Seen, stop: &AtomicBool) {
        let each = Duration::from_secs_f64(self.connections as f64 / self.rate as f64);
        std::thread::scope(|scope| {
            for nth in 0..self.connections {
                scope.spawn(move || self.client(nth, each, seen, stop));
            }
        });
    }

    fn client(&self, nth: usize, each: Duration, seen: &Seen, stop: &AtomicBool) {
        let mut random = fastrand::Rng::with_seed(self.seed ^ ((nth as u64 + 1) << 32));
        let mut client = Client::new(self.addr, PATIENCE);
        let mut due = Instant::now() + each.mul_f64(random.f64());
        for number in 0_u64.. {
            if stop.load(Relaxed) {
                return;
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            // A late client resumes its own pace, rather than sending all at once.
            due = due.max(Instant::now() - each) + each;
            let id = format!("{:x}.{nth}.{number};", self.seed);
            let (request, content) = request(&id, &mut random);
            if random.u64(..LEAVES) == 0 {
                leave(self.addr, &request, &mut random);
                seen.left.fetch_add(1, Relaxed);
                continue;
            }
            match client.exchange(&request, false) {
                Ok(reply) if reply.status == 200 && reply.body == content => {
                    seen.whole.fetch_add(1, Relaxed);
                }
                Ok(reply) if reply.status == 200 => seen.is_wrong(format!(
                    "{id} was answered with {} bytes instead of {}: {}",
                    reply.body.len(),
                    content.len(),
                    String::from_utf8_lossy(&reply.body[..reply.body.len().min(60)])
                )),
                Ok(reply) => seen.other(reply.status.to_string()),
                Err(error) => seen.other(kind(&error)),
            }
        }
    }
}

fn kind(error: &std::io::Error) -> String {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionReset | Kind::BrokenPipe => "reset".to_string(),
        Kind::UnexpectedEof => "cut".to_string(),
        Kind::WouldBlock | Kind::TimedOut => "forgotten".to_string(),
        kind => format!("{kind:?}"),
    }
}

/// A request of which every piece says whose it is: most are short, some fill several reads.
fn request(id: &str, random: &mut fastrand::Rng) -> (Vec<u8>, Vec<u8>) {
    let doublings = if random.u8(..16) == 0 { 5..18 } else { 5..12 };
    let length = 1_usize << random.u32(doublings);
    let length = id.len() + random.usize(..length);
    let mut content = id.repeat(length.div_ceil(id.len())).into_bytes();
    content.truncate(length);
    // Requests that may be tried again, and those that may not.
    let method = if random.bool() { "PUT" } else { "POST" };
    let mut bytes =
        format!("{method} /soak?{id} HTTP/1.1\r\nHost: soak\r\nX-Request-Id: {id}\r\n").into_bytes();
    if random.u8(..3) == 0 {
        bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        chunked::encode(&content, random.usize(1..=8192), &mut bytes);
    } else {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", content.len()).as_bytes());
        bytes.extend_from_slice(&content);
    }
    (bytes, content)
}

/// Sends some of it, or all, and goes away without waiting; with a reset where an answer was on its way already.
fn leave(addr: SocketAddr, request: &[u8], random: &mut fastrand::Rng) {
    let Ok(mut stream) = TcpStream::connect_timeout(&addr, PATIENCE) else { return };
    let some = if random.bool() { request.len() } else { random.usize(..request.len()) };
    let _ = stream.set_write_timeout(Some(PATIENCE)).and_then(|()| stream.write_all(&request[..some]));
    std::thread::sleep(Duration::from_millis(random.u64(..5)));
}
