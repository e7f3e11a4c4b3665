//! A port as all threads share it: its plan, its counters, its log of requests with an id. Opens no socket.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::behavior::Behavior;
use super::fault::Fault;
use crate::tls;

/// Logged requests kept per port; later ones are counted in `log_overflow`.
pub const LOG_ENTRIES_MAX: usize = 1_000_000;

#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub behavior: Behavior,
    pub fault: Fault,
}

pub struct Port {
    pub name: String,
    pub addr: SocketAddr,
    /// `None` is plaintext.
    pub tls: Option<tls::server::Port>,
    pub counters: Box<[Counters]>,
    plan: Mutex<Arc<Plan>>,
    log: Mutex<Vec<Arrival>>,
    clock: Clock,
}

/// A worker's numbers of one port. Written by that worker only.
#[derive(Default)]
#[repr(align(128))]
pub struct Counters {
    pub connections: AtomicU64,
    pub connections_open: AtomicU64,
    pub handshakes: AtomicU64,
    pub handshakes_failed: AtomicU64,
    pub requests: AtomicU64,
    pub requests_incomplete: AtomicU64,
    pub requests_bad: AtomicU64,
    pub answers: AtomicU64,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    pub log_overflow: AtomicU64,
    /// Requests being worked on now.
    pub in_flight: AtomicU64,
}

/// All workers' numbers of one port, as the control URL shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub connections: u64,
    pub connections_open: u64,
    /// TLS sessions that began, and those that did not come to that.
    #[serde(default)]
    pub handshakes: u64,
    #[serde(default)]
    pub handshakes_failed: u64,
    /// Received to the last byte of the body.
    pub requests: u64,
    pub requests_incomplete: u64,
    pub requests_bad: u64,
    pub answers: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub log_overflow: u64,
}

/// A request with an id, as it was received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    pub id: String,
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body_bytes: u64,
    /// Hexadecimal SHA-256 of the content without its framing.
    pub body_sha256: String,
    /// False if the connection ended before the body did.
    pub complete: bool,
    /// When its last byte came, in Unix time; all ports of one process use one clock that never steps.
    pub received_unix_ns: u64,
    /// The connection of the port that it came on.
    pub connection: u64,
}

/// Unix time that never steps back: read once, then carried on by the monotonic clock.
#[derive(Clone, Copy)]
pub struct Clock {
    start: Instant,
    start_unix_ns: u64,
}

impl Clock {
    pub fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), start_unix_ns: unix.as_nanos() as u64 }
    }

    pub fn now_unix_ns(&self) -> u64 {
        self.start_unix_ns + self.start.elapsed().as_nanos() as u64
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panicked holder cannot leave these half-written: they are replaced or pushed to in one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Port {
    pub fn new(
        name: String,
        addr: SocketAddr,
        tls: Option<tls::server::Port>,
        plan: Plan,
        workers: usize,
        clock: Clock,
    ) -> Self {
        Self {
            name,
            addr,
            tls,
            counters: (0..workers).map(|_| Counters::default()).collect(),
            plan: Mutex::new(Arc::new(plan)),
            log: Mutex::default(),
            clock,
        }
    }

    pub fn plan(&self) -> Arc<Plan> {
        lock(&self.plan).clone()
    }

    pub fn set_plan(&self, plan: Plan) {
        *lock(&self.plan) = Arc::new(plan);
    }

    pub fn now_unix_ns(&self) -> u64 {
        self.clock.now_unix_ns()
    }

    pub fn record(&self, worker: usize, arrival: Arrival) {
        let mut log = lock(&self.log);
        if log.len() < LOG_ENTRIES_MAX {
            log.push(arrival);
        } else {
            self.counters[worker].log_overflow.fetch_add(1, Relaxed);
        }
    }

    pub fn log_from(&self, from: usize) -> Vec<Arrival> {
        lock(&self.log).iter().skip(from).cloned().collect()
    }

    pub fn log_len(&self) -> usize {
        lock(&self.log).len()
    }

    pub fn clear_log(&self) {
        lock(&self.log).clear();
    }

    /// Requests that all workers together are working on now.
    pub fn in_flight(&self) -> u64 {
        self.counters.iter().map(|counters| counters.in_flight.load(Relaxed)).sum()
    }

    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for c in &self.counters {
            totals.connections += c.connections.load(Relaxed);
            totals.connections_open += c.connections_open.load(Relaxed);
            totals.handshakes += c.handshakes.load(Relaxed);
            totals.handshakes_failed += c.handshakes_failed.load(Relaxed);
            totals.requests += c.requests.load(Relaxed);
            totals.requests_incomplete += c.requests_incomplete.load(Relaxed);
            totals.requests_bad += c.requests_bad.load(Relaxed);
            totals.answers += c.answers.load(Relaxed);
            totals.bytes_in += c.bytes_in.load(Relaxed);
            totals.bytes_out += c.bytes_out.load(Relaxed);
            totals.log_overflow += c.log_overflow.load(Relaxed);
        }
        totals
    }
}

/// Adds to a counter that only this thread writes.
pub fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

/// Takes from a counter that only this thread writes.
pub fn unbump(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed).wrapping_sub(1), Relaxed);
}
