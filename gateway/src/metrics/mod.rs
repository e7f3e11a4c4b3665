//! Counters of one worker: written by that worker alone with relaxed stores, read by the control plane at any time.
//!
//! This room knows names and numbers; it knows no socket, no clock and no exposition format. A `Counter` has exactly one
//! writer, so an increment is a plain load and store: no lock prefix and no cache line shared between workers.

mod histogram;
mod codes;
mod observer;
mod pairs;
mod slots;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use config::Config;

pub use codes::{Code, Codes};
pub use histogram::{DIGITS, Histogram, VALUE_MAX, merged};
pub use observer::ObserverCounters;
pub use pairs::{Matrix, MirrorEnd, Pairs, PrimaryEnd};
pub use slots::Slots;

/// A number that only grows. One writer; any number of readers.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A level that rises and falls. One writer; any number of readers.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    #[inline]
    pub fn add(&self, n: i64) {
        self.0.store(self.0.load(Relaxed) + n, Relaxed);
    }

    #[inline]
    pub fn set(&self, n: i64) {
        self.0.store(n, Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// A closed set of label values, so that a family of counters is an array and its cardinality a constant.
pub trait Label: Copy + 'static {
    const ALL: &'static [Self];
    fn index(self) -> usize;
    fn text(self) -> &'static str;
}

macro_rules! labels {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }
        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];
            fn index(self) -> usize { self as usize }
            fn text(self) -> &'static str { match self { $(Self::$variant => $text),+ } }
        }
    };
}

labels! {
    /// Why an eligible request was not copied although it was drawn.
    Skip {
        /// The request already carries the mirror mark: it is itself a copy.
        Loop = "loop",
        /// The client or its upload went away before the request was complete.
        Aborted = "aborted",
        /// The primary never got the request.
        PrimaryUnavailable = "primary_unavailable",
        /// The primary's answer is not like the mirror wants it.
        Answer = "answer",
    }
}

labels! {
    /// Why a copy was given up before any byte of it was sent.
    Drop {
        BodyTooLarge = "body_too_large",
        RingEntries = "ring_entries",
        RingBytes = "ring_bytes",
        /// Pushed out by a newer copy under `drop = "oldest"`.
        Oldest = "oldest",
        /// Every endpoint of the mirror is in connect back-off.
        Unreachable = "unreachable",
        /// The worker is late on its own loop: mirror work is given up first.
        WorkerBusy = "worker_busy",
        /// More than `rate_max`.
        Rate = "rate",
        /// It waited longer than `ttl`.
        Stale = "stale",
        /// Its content could not be searched for secrets.
        Redaction = "redaction",
        /// Three quarters of `limits.exchanges_max` are under way: mirror work is given up first.
        Exchanges = "exchanges",
        Drain = "drain",
    }
}

labels! {
    /// Why a governor lowered its mirror's share.
    Lower {
        Failures = "failures",
        /// The mirror's answers take too long.
        Slow = "slow",
        /// The ring is nearly full.
        Ring = "ring",
        WorkerBusy = "worker_busy",
    }
}

labels! {
    /// How a sent copy ended without a complete answer.
    Fail {
        Timeout = "timeout",
        Reset = "reset",
        /// The mirror closed the connection before answering.
        Closed = "closed",
        /// The answer was not HTTP/1.1 we accept.
        Protocol = "protocol",
        Drain = "drain",
    }
}

labels! {
    /// Status class of a mirror's complete answer.
    Class { C1 = "1xx", C2 = "2xx", C3 = "3xx", C4 = "4xx", C5 = "5xx" }
}

labels! {
    /// Why the gateway answered by itself or hung up.
    Reject {
        BadRequest = "bad_request",
        UriTooLong = "uri_too_long",
        HeadTooLarge = "head_too_large",
        BodyTooLarge = "body_too_large",
        Version = "version",
        Connect = "connect_method",
        Upgrade = "upgrade",
        Trace = "trace",
        MaxForwards = "max_forwards",
        Expectation = "expectation",
        NoRoute = "no_route",
        /// The route's primary is a service that nobody knows.
        NoUpstream = "no_upstream",
        HeadTimeout = "head_timeout",
        BodyTimeout = "body_timeout",
        PrimaryConnect = "primary_connect",
        PrimaryConnectTimeout = "primary_connect_timeout",
        PrimaryTimeout = "primary_timeout",
        PrimaryProtocol = "primary_protocol",
        PrimaryClosed = "primary_closed",
        /// The upstream's own bound on exchanges is reached.
        PrimaryOverflow = "primary_overflow",
        /// More requests at once than `limits.exchanges_max`.
        Exchanges = "exchanges",
        /// More requests a second than `limits.requests_per_second_max`.
        RequestRate = "request_rate",
        /// The same, of one address.
        AddressRate = "address_rate",
    }
}

labels! {
    /// Whose connections were too many.
    Shed {
        /// All clients'.
        All = "all",
        /// Those of one address.
        Address = "address",
    }
}

labels! {
    /// How an attempt on a primary endpoint failed.
    UpstreamFailure {
        Connect = "connect",
        ConnectTimeout = "connect_timeout",
        /// A pooled connection turned out closed; the request was tried again where that cannot repeat anything.
        Stale = "stale",
        Reset = "reset",
        Closed = "closed",
        Protocol = "protocol",
        Timeout = "timeout",
        /// No connection was tried: the upstream's own bound is reached.
        Overflow = "overflow",
    }
}

/// One counter for each value of a label.
#[derive(Debug)]
pub struct Family<L: Label> {
    counters: Box<[Counter]>,
    label: std::marker::PhantomData<L>,
}

impl<L: Label> Default for Family<L> {
    fn default() -> Self {
        Self {
            counters: L::ALL.iter().map(|_| Counter::default()).collect(),
            label: std::marker::PhantomData,
        }
    }
}

impl<L: Label> Family<L> {
    #[inline]
    pub fn inc(&self, label: L) {
        if let Some(counter) = self.counters.get(label.index()) {
            counter.inc();
        }
    }

    pub fn get(&self, label: L) -> u64 {
        self.counters.get(label.index()).map_or(0, Counter::get)
    }

    pub fn sum(&self) -> u64 {
        self.counters.iter().map(Counter::get).sum()
    }

    /// Of some labels, each read once: a sum less one of its addends may be less than nothing while they grow.
    pub fn sum_where(&self, counts: impl Fn(L) -> bool) -> u64 {
        L::ALL.iter().filter(|label| counts(**label)).map(|label| self.get(*label)).sum()
    }
}

/// What one route counts.
#[derive(Debug, Default)]
pub struct RouteCounters {
    pub requests: Codes,
    /// Exchanges whose client got no complete answer (either side went away in the middle).
    pub aborted: Counter,
    /// Microseconds from the head complete to the last byte of the answer written, of exchanges answered whole.
    pub duration: Histogram,
    /// Bytes of requests' content, of the same exchanges.
    pub request_bytes: Histogram,
    /// Bytes of answers' content, of the same exchanges.
    pub response_bytes: Histogram,
}

/// What one primary of one route counts.
#[derive(Debug, Default)]
pub struct PrimaryCounters {
    /// Microseconds from the request forwarded to the last byte of the answer read, of answers read whole.
    pub latency: Histogram,
}

/// The ledger of one mirror on one route. At every instant between two steps of its worker
/// `eligible = sampled_out + skipped + dropped + sent + pending + waiting` and
/// `sent = completed + failed + in_flight`.
#[derive(Debug, Default)]
pub struct MirrorCounters {
    pub eligible: Counter,
    pub sampled_out: Counter,
    pub skipped: Family<Skip>,
    pub dropped: Family<Drop>,
    pub sent: Counter,
    pub completed: Family<Class>,
    pub failed: Family<Fail>,
    /// Copies whose request is still under way.
    pub pending: Gauge,
    /// Copies in the ring.
    pub waiting: Gauge,
    /// Copies sent whose answer is not complete.
    pub in_flight: Gauge,
    /// Microseconds from the write of each completed copy to the end of its answer. Copies written together share the
    /// time between their answers evenly.
    pub latency: Histogram,
    /// Microseconds from the request complete to the copy written, of copies sent.
    pub lag: Histogram,
    pub pairs: Pairs,
    /// Share that holds now, in millionths of the requests; lower than `percent` where a governor lowered it.
    pub share: Gauge,
    pub lowered: Family<Lower>,
}

/// What one lane (a ring and its shippers) counts.
#[derive(Debug, Default)]
pub struct LaneCounters {
    pub ring_entries: Gauge,
    pub ring_bytes: Gauge,
    pub connections: Gauge,
    pub connects: Counter,
    pub connect_failures: Counter,
    /// Writes that carried more than one copy.
    pub batches: Counter,
    /// Answers longer than `response_bytes_max` or than the lane may read: counted as completed, their connection closed
    /// instead of read on.
    pub answers_cut: Counter,
    /// Bytes of answers read and discarded.
    pub answer_bytes: Counter,
    /// Copies written a second time because the mirror announced that it would not look at them.
    pub resent: Counter,
}

/// What one upstream counts in its role as a primary.
#[derive(Debug, Default)]
pub struct UpstreamCounters {
    pub attempts: Counter,
    pub connects: Counter,
    pub reuses: Counter,
    pub retries: Counter,
    pub failures: Family<UpstreamFailure>,
    /// Exchanges turned away because as many were under way, and as many waited, as may.
    pub overflows: Counter,
    pub idle: Gauge,
    /// Exchanges that wait for a connection to become free.
    pub pending: Gauge,
    pub ejections: Counter,
    /// Endpoints that are ejected now.
    pub ejected: Gauge,
    /// Attempts on an endpoint that is ejected or unhealthy: no other was left.
    pub last_resorts: Counter,
}

/// What looking up names counts. Written by the control plane.
#[derive(Debug, Default)]
pub struct NameCounters {
    pub answered: Counter,
    /// Lookups without an answer: the last one's addresses stay.
    pub failed: Counter,
}

/// What the health checks of one upstream count. Written by the control plane.
#[derive(Debug, Default)]
pub struct CheckCounters {
    pub passed: Counter,
    pub failed: Counter,
    /// Endpoints that are unhealthy now.
    pub unhealthy: Gauge,
}

/// Everything one worker counts. Created by the control plane from a configuration, then written by the worker only.
#[derive(Debug, Default)]
pub struct Shard {
    pub connections_accepted: Counter,
    /// Closed at accept.
    pub connections_shed: Family<Shed>,
    pub connections_active: Gauge,
    /// Requests under way.
    pub exchanges_active: Gauge,
    pub accept_errors: Counter,
    pub exchange_panics: Counter,
    /// Records of exchanges handed to whoever logs, traces or compares.
    pub records: Counter,
    /// Records that found no room on their way there.
    pub records_lost: Counter,
    pub rejected: Family<Reject>,
    /// Answers the gateway gave before a route was known, by code.
    pub unrouted: Codes,
    /// Ticks of the worker's own clock: a stuck worker stops counting.
    pub ticks: Counter,
    /// Ticks that came late while the worker used its core.
    pub busy_ticks: Counter,
    /// Thread CPU time in microseconds.
    pub cpu_us: Gauge,
}

/// What one worker counts of the things that one configuration names, index for index.
#[derive(Debug, Default)]
pub struct Counters {
    pub routes: Box<[Arc<RouteCounters>]>,
    /// By route, in the order of its primaries; none where it does not forward.
    pub primaries: Box<[Box<[Arc<PrimaryCounters>]>]>,
    /// By route, in the order of its mirrors.
    pub mirrors: Box<[Box<[Arc<MirrorCounters>]>]>,
    pub lanes: Box<[Arc<LaneCounters>]>,
    pub upstreams: Box<[Arc<UpstreamCounters>]>,
}

impl Counters {
    /// Zeroed counters in the shape of `config`.
    pub fn new(config: &Config) -> Self {
        Self::after(config, &Config { routes: Vec::new(), ..config.clone() }, &Self::default())
    }

    /// Counters in the shape of `config` that go on from those of the configuration `before`: a route, a mirror, an
    /// upstream goes on counting as long as it bears its name, a lane as long as it is the same.
    pub fn after(config: &Config, before: &Config, counters: &Self) -> Self {
        use std::collections::HashMap;
        let known: HashMap<&str, usize> =
            before.routes.iter().enumerate().map(|(i, route)| (route.name.as_str(), i)).collect();
        let route = |r: &config::Route| {
            known.get(r.name.as_str()).and_then(|i| counters.routes.get(*i)).cloned().unwrap_or_default()
        };
        let mirrors = |r: &config::Route| {
            let old = known.get(r.name.as_str()).copied();
            let of = |m: &config::Mirror| {
                let old = old?;
                let at = before.routes.get(old)?.mirrors.iter().position(|other| other.name == m.name)?;
                counters.mirrors.get(old)?.get(at).cloned()
            };
            r.mirrors.iter().map(|m| of(m).unwrap_or_default()).collect()
        };
        let primaries = |r: &config::Route| {
            let name = |c: &Config, p: &config::Primary| Some(c.upstreams.get(p.upstream?)?.name.clone());
            let old = known.get(r.name.as_str()).copied();
            let of = |p: &config::Primary| {
                let at = before.routes.get(old?)?.primaries();
                let at = at.iter().position(|other| name(before, other) == name(config, p))?;
                counters.primaries.get(old?)?.get(at).cloned()
            };
            r.primaries().iter().map(|p| of(p).unwrap_or_default()).collect()
        };
        let upstreams: HashMap<&str, usize> =
            before.upstreams.iter().enumerate().map(|(i, upstream)| (upstream.name.as_str(), i)).collect();
        let mut lanes: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, lane) in before.lanes.iter().enumerate() {
            if let Some(upstream) = before.upstreams.get(lane.upstream) {
                lanes.entry(upstream.name.as_str()).or_default().push(at);
            }
        }
        let lane = |l: &config::Lane| {
            let upstream = |c: &Config, l: &config::Lane| c.upstreams.get(l.upstream).cloned();
            let same = |other: &config::Lane| {
                config::Lane { upstream: l.upstream, ..other.clone() } == *l
                    && upstream(before, other) == upstream(config, l)
            };
            // Looked for among those to the same upstream: all with all would be the square of a large configuration.
            let name = config.upstreams.get(l.upstream).map(|upstream| upstream.name.as_str());
            let to_it = name.and_then(|name| lanes.get(name)).map(Vec::as_slice).unwrap_or_default();
            let at = to_it.iter().find(|at| before.lanes.get(**at).is_some_and(same));
            at.and_then(|at| counters.lanes.get(*at)).cloned().unwrap_or_default()
        };
        let upstream = |u: &config::Upstream| {
            upstreams
                .get(u.name.as_str())
                .and_then(|at| counters.upstreams.get(*at))
                .cloned()
                .unwrap_or_default()
        };
        Self {
            routes: config.routes.iter().map(route).collect(),
            primaries: config.routes.iter().map(primaries).collect(),
            mirrors: config.routes.iter().map(mirrors).collect(),
            lanes: config.lanes.iter().map(lane).collect(),
            upstreams: config.upstreams.iter().map(upstream).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_value_has_the_index_of_its_position() {
        fn check<L: Label + PartialEq + std::fmt::Debug>() {
            for (i, l) in L::ALL.iter().enumerate() {
                assert_eq!(l.index(), i, "{}", l.text());
            }
        }
        check::<Skip>();
        check::<Drop>();
        check::<Lower>();
        check::<Fail>();
        check::<Class>();
        check::<Reject>();
        check::<UpstreamFailure>();
    }
}
