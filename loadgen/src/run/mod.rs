//! `loadgen run`: the load itself. Starts threads, lines up their start, sums up their measurements. Prints nothing.

pub mod connection;
pub mod stream;
pub mod tunnel;
pub mod shared;
pub mod cover;
pub mod engine;
pub mod attach;
pub mod slot;
pub mod pick;
pub mod outcome;
pub mod recorder;
pub mod request;
pub mod variables;
pub mod written;
pub mod schedule;
pub mod thread;
pub mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{anyhow, ensure};
use serde::{Deserialize, Serialize};

use outcome::Outcome;
use recorder::{Record, Times};
use request::Mix;
use schedule::{Arrivals, RateSpec, Schedule};
use thread::{Event, Work};

use crate::tls;

/// Everything that decides a run, but the requests.
#[derive(Clone, Debug)]
pub struct Options {
    /// `None` is a closed loop.
    pub rate: Option<RateSpec>,
    pub arrivals: Arrivals,
    pub burst: u64,
    pub duration: Duration,
    pub warm_up: Duration,
    pub drain: Duration,
    pub connections: usize,
    /// Of an open loop: as many are made where all are in use. At least `connections`, which are made before the start.
    pub connections_max: usize,
    pub threads: usize,
    pub pin: bool,
    pub timeout: Duration,
    pub connect_timeout: Duration,
    pub keep_alive: bool,
    pub tls: tls::client::Settings,
    /// Streams at once on each connection; `None` is HTTP/1.1.
    pub http2: Option<usize>,
    pub grpc: bool,
    /// Each connection, or each stream, is a WebSocket, and each request a message that comes back.
    pub websocket: bool,
    pub expect_status: Option<u16>,
    pub interval: Duration,
    pub seed: u64,
    pub requests_max: u64,
    pub pace_slack: Duration,
    /// The verdict is SATURATED if the generator itself was later than this at its p99.
    pub lag_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rate: None,
            arrivals: Arrivals::Constant,
            burst: 1,
            duration: Duration::from_secs(10),
            warm_up: Duration::ZERO,
            drain: Duration::from_secs(10),
            connections: 64,
            connections_max: 0,
            threads: 1,
            pin: false,
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            keep_alive: true,
            tls: tls::client::Settings::default(),
            http2: None,
            grpc: false,
            websocket: false,
            expect_status: None,
            interval: Duration::from_secs(1),
            seed: 1,
            requests_max: u64::MAX,
            pace_slack: Duration::ZERO,
            lag_max: Duration::from_millis(5),
        }
    }
}

impl Options {
    pub fn warm_up_ns(&self) -> u64 {
        self.warm_up.as_nanos() as u64
    }

    /// Requests at once on a connection.
    pub fn streams(&self) -> usize {
        self.http2.unwrap_or(1).max(1)
    }

    /// Connections at most.
    pub fn connections_most(&self) -> usize {
        self.connections_max.max(self.connections)
    }

    pub fn duration_ns(&self) -> u64 {
        self.duration.as_nanos() as u64
    }
}

/// An interval in numbers, all threads together. Times are response times in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub start_s: f64,
    pub end_s: f64,
    pub due: u64,
    pub requests: u64,
    pub errors: u64,
    pub timeouts: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p99_9_us: f64,
    pub max_us: f64,
    pub service_p99_us: f64,
    pub dispatch_p99_us: f64,
    pub lag_max_us: f64,
    pub cap_hits: u64,
}

impl Row {
    fn new(start_ns: u64, end_ns: u64, record: &Record) -> Self {
        let at = |times: &Times, q: f64| times.value_at_quantile(q) as f64 / 1e3;
        Self {
            start_s: start_ns as f64 / 1e9,
            end_s: end_ns as f64 / 1e9,
            due: record.due,
            requests: record.count(),
            errors: record.errors(),
            timeouts: record.count_of(Outcome::Timeout),
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            mean_us: record.response.mean() / 1e3,
            p50_us: at(&record.response, 0.5),
            p90_us: at(&record.response, 0.9),
            p99_us: at(&record.response, 0.99),
            p99_9_us: at(&record.response, 0.999),
            max_us: record.response.max() as f64 / 1e3,
            service_p99_us: at(&record.service, 0.99),
            dispatch_p99_us: at(&record.dispatch, 0.99),
            lag_max_us: record.lag.max() as f64 / 1e3,
            cap_hits: record.cap_hits,
        }
    }

    pub fn seconds(&self) -> f64 {
        (self.end_s - self.start_s).max(1e-9)
    }
}

/// An observer of every interval as soon as it is complete.
pub trait Observer {
    /// The clock starts now.
    fn begin(&mut self, _started: SystemTime) {}
    fn interval(&mut self, _row: &Row, _record: &Record) {}
    fn end(&mut self) {}
}

/// No observer.
impl Observer for () {}

pub struct Result {
    pub total: Record,
    pub rows: Vec<Row>,
    pub started_unix_ms: u64,
    /// From the start to the last answer.
    pub wall: Duration,
    /// The part of it that was measured: without the warm-up and without draining.
    pub measured: Duration,
    /// Processor time of the sending threads.
    pub cpu: Duration,
    /// The busiest thread's share of its core.
    pub cpu_share_max: f64,
    /// The share of its time in which a thread was ready to run and had no core, of the one that had least.
    pub waited_share_max: f64,
    /// Interrupted before its end.
    pub partial: bool,
}

/// Intervals of several threads on their way to one.
struct Gathering {
    parts: BTreeMap<u64, (u64, u64, Record)>,
    /// The next interval each thread may still report.
    next_of: Vec<u64>,
}

impl Gathering {
    fn add(&mut self, thread: usize, interval: thread::Interval) {
        self.next_of[thread] = interval.index + 1;
        match self.parts.get_mut(&interval.index) {
            Some((start, end, record)) => {
                *start = (*start).min(interval.start_ns);
                *end = (*end).max(interval.end_ns);
                record.merge(&interval.record);
            }
            None => {
                self.parts.insert(interval.index, (interval.start_ns, interval.end_ns, interval.record));
            }
        }
    }

    fn complete(&mut self) -> Option<(u64, u64, Record)> {
        let index = *self.parts.keys().next()?;
        if self.next_of.iter().all(|next| *next > index) { self.parts.remove(&index) } else { None }
    }
}

/// Runs the load to its end, or until `interrupted`.
pub fn execute(
    options: &Options,
    mix: &Arc<Mix>,
    observer: &mut dyn Observer,
    interrupted: &Arc<AtomicBool>,
) -> anyhow::Result<Result> {
    ensure!(!mix.templates.is_empty(), "there is nothing to send");
    ensure!(options.warm_up < options.duration, "the warm-up is as long as the whole run");
    ensure!(
        options.keep_alive || options.http2.is_none(),
        "HTTP/2 keeps its connections: a connection per request is for HTTP/1.1"
    );
    ensure!(
        options.keep_alive || !options.websocket,
        "a WebSocket is kept: not with a connection per request"
    );
    // Each thread makes its own; a mistake in the settings is said once.
    cover::Covers::new(&options.tls, mix)?;
    let open_files = crate::os::raise_open_files();
    ensure!(
        (options.connections_most() as u64) + 64 < open_files,
        "{} connections need more open files than the {open_files} this process may have",
        options.connections_most()
    );
    let threads = options.threads.clamp(1, options.connections.max(1));
    let options = Arc::new(options.clone());
    let (events, inbox) = mpsc::channel();
    let mut starters = Vec::new();
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    for thread in 0..threads {
        let (go, wait) = mpsc::channel();
        starters.push(go);
        let share = |total: usize| total / threads + usize::from(thread < total % threads);
        let (n, of, limit) = (thread as u64, threads as u64, options.requests_max);
        let schedule = match (&mix.recorded, &options.rate) {
            (Some(recorded), _) => Some(Schedule::recorded(recorded.clone(), n, of, limit)),
            (None, Some(rate)) => {
                let profile = rate.profile(options.duration);
                Some(Schedule::new(profile, options.arrivals, options.burst, n, of, limit))
            }
            (None, None) => None,
        };
        let work = Work {
            thread,
            options: options.clone(),
            mix: mix.clone(),
            schedule,
            connections: share(options.connections.max(mix.targets.len() * threads)),
            spare: share(options.connections_most() - options.connections),
            closed_left: limit / of + u64::from(n < limit % of),
            core: cores.get(thread % cores.len().max(1)).copied().filter(|_| options.pin),
            interrupted: interrupted.clone(),
            go: wait,
            events: events.clone(),
        };
        std::thread::Builder::new().name(format!("load-{thread}")).spawn(move || thread::run(work))?;
    }
    drop(events);

    for _ in 0..threads {
        match inbox.recv() {
            Ok((_, Event::Warm)) => {}
            Ok((_, Event::Failed(error))) => return Err(anyhow!("a thread cannot run: {error}")),
            Ok(_) | Err(_) => return Err(anyhow!("a thread ended before the start")),
        }
    }
    let start = Instant::now() + Duration::from_millis(2);
    let started = SystemTime::now() + Duration::from_millis(2);
    for go in &starters {
        // A thread that is gone is noticed by its missing end.
        let _ = go.send(start);
    }
    observer.begin(started);

    let mut gathering = Gathering { parts: BTreeMap::new(), next_of: vec![0; threads] };
    let (mut total, mut rows) = (Record::default(), Vec::new());
    let (mut wall, mut cpu) = (Duration::ZERO, Duration::ZERO);
    let (mut cpu_share_max, mut waited_share_max) = (0f64, 0f64);
    for (thread, event) in &inbox {
        match event {
            Event::Interval(interval) => gathering.add(thread, *interval),
            Event::Done(done) => {
                gathering.next_of[thread] = u64::MAX;
                wall = wall.max(done.wall);
                cpu += done.cpu;
                let share = |of: Duration| of.as_secs_f64() / done.wall.as_secs_f64().max(1e-9);
                cpu_share_max = cpu_share_max.max(share(done.cpu));
                waited_share_max = waited_share_max.max(share(done.waited));
            }
            Event::Failed(error) => return Err(anyhow!("a thread failed: {error}")),
            Event::Warm => {}
        }
        while let Some((start_ns, end_ns, record)) = gathering.complete() {
            let row = Row::new(start_ns, end_ns, &record);
            observer.interval(&row, &record);
            total.merge(&record);
            rows.push(row);
        }
    }
    observer.end();
    ensure!(gathering.next_of.iter().all(|next| *next == u64::MAX), "a thread died in the middle of the run");
    Ok(Result {
        total,
        rows,
        started_unix_ms: started.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64,
        wall,
        measured: wall.min(options.duration).saturating_sub(options.warm_up),
        cpu,
        cpu_share_max,
        waited_share_max,
        partial: interrupted.load(std::sync::atomic::Ordering::Relaxed),
    })
}
