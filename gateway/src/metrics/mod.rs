//! Counters of one worker: written by that worker alone with relaxed stores, read by the control plane at any time.
//!
//! This room knows names and numbers; it knows no socket, no clock and no exposition format. A `Counter` has exactly one
//! writer, so an increment is a plain load and store: no lock prefix and no cache line shared between workers. The control plane
//! makes the counters of all workers one after the other, so each thing that is made by itself begins at a pair of lines, which
//! processors fetch together, and ends with one (`worker::lines`).

mod cluster;
mod counter;
mod labels;
mod histogram;
mod codes;
mod capture;
mod observer;
mod pairs;
mod slots;
mod tails;
mod trial;

use std::sync::Arc;

use config::Config;

pub use capture::CaptureCounters;
pub use cluster::ClusterCounters;
pub use codes::{Code, Codes};
pub use counter::{Counter, Family, Gauge};
pub use histogram::{DIGITS, Histogram, VALUE_MAX, merged};
pub use labels::{
    Class, CutReason, DropReason, FailReason, Goaway, Handshake, Label, LeftOut, LowerReason, RejectReason,
    Shed, SkipReason, StreamReset, TlsFault, TunnelEnd, TunnelWay, UpstreamFailure,
};
pub use observer::{KeeperCounters, ObserverCounters};
pub use pairs::{CELLS_MAX, Matrix, MirrorEnd, Pairs, PrimaryEnd, RATIO_SLACK_US, ratio_step, times_as_long};
pub use slots::{Slots, TailCounts, total};
pub use tails::{Clusters, LEAST_TAIL_US, TAIL_LEVELS, TAIL_TIMES, Tails};
pub use trial::{Arm, Got, Trial};

/// The counters of one route.
#[derive(Debug, Default)]
#[repr(align(128))]
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

/// The counters of one primary of one route.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct PrimaryCounters {
    /// Microseconds from the request forwarded to the last byte of the answer read, of answers read whole.
    pub latency: Histogram,
}

/// The ledger of one mirror on one route. At every instant between two steps of its worker
/// `eligible = sampled_out + skipped + dropped + sent + pending + waiting` and
/// `sent = completed + failed + in_flight`.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct MirrorCounters {
    pub eligible: Counter,
    pub sampled_out: Counter,
    pub skipped: Family<SkipReason>,
    pub dropped: Family<DropReason>,
    pub sent: Counter,
    pub completed: Family<Class>,
    pub failed: Family<FailReason>,
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
    /// Responses that may stand beside another request: their connection fell out of step since it was last known to be in it.
    pub suspect: Counter,
    /// Pairs that are not counted among `pairs`.
    pub left_out: Family<LeftOut>,
    /// Share that holds now, in millionths of the requests; lower than `percent` where a governor lowered it.
    pub share: Gauge,
    /// The share that a governor leaves, once it looked.
    pub governed: Gauge,
    pub lowered: Family<LowerReason>,
}

/// The counters of one lane (a ring and its shippers).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct LaneCounters {
    pub ring_entries: Gauge,
    pub ring_bytes: Gauge,
    pub connections: Gauge,
    pub connects: Counter,
    pub connect_failures: Counter,
    /// Writes that carried more than one copy.
    pub batches: Counter,
    /// Answers longer than `response_bytes_max` or than there is time to read: counted as completed, their connection closed or
    /// their stream reset instead of read on.
    pub cut: Family<CutReason>,
    /// Bytes of answers read and discarded.
    pub answer_bytes: Counter,
    /// Connections on which more responses came than copies were written.
    pub out_of_step: Counter,
    /// Copies written a second time because the mirror announced that it would not look at them.
    pub resent: Counter,
    /// With its endpoints.
    pub tls: HandshakeCounters,
}

/// The counters of one upstream in its role as a primary.
#[derive(Debug, Default)]
#[repr(align(128))]
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
    /// With its endpoints.
    pub tls: HandshakeCounters,
}

/// The counters of looking up names. Written by the control plane.
#[derive(Debug, Default)]
pub struct NameCounters {
    pub answered: Counter,
    /// Lookups without an answer: the last one's addresses stay.
    pub failed: Counter,
}

/// The counters of one upstream's health checks. Written by the control plane.
#[derive(Debug, Default)]
pub struct CheckCounters {
    pub passed: Counter,
    pub failed: Counter,
    /// Endpoints that are unhealthy now.
    pub unhealthy: Gauge,
}

/// TLS handshakes that we began.
#[derive(Debug, Default)]
pub struct HandshakeCounters {
    pub done: Family<Handshake>,
    pub failures: Family<TlsFault>,
}

/// TLS with clients.
#[derive(Debug, Default)]
pub struct TlsCounters {
    pub handshakes: Family<Handshake>,
    /// Handshakes that came to nothing, those that were not begun among them.
    pub failures: Family<TlsFault>,
    /// Under way.
    pub pending: Gauge,
}

/// HTTP/2 with clients.
#[derive(Debug, Default)]
pub struct Http2Counters {
    pub connections: Counter,
    /// Streams that a task held: requests.
    pub streams: Counter,
    /// Streams beyond `http2.streams_max`.
    pub refused: Counter,
    pub resets: Family<StreamReset>,
    /// Connections whose end was said by GOAWAY.
    pub goaways: Family<Goaway>,
}

/// Tunnels.
#[derive(Debug, Default)]
pub struct TunnelCounters {
    pub opened: Counter,
    pub ended: Family<TunnelEnd>,
    /// Open now.
    pub active: Gauge,
    /// Bytes that were passed on.
    pub bytes: Family<TunnelWay>,
    /// Requests that offered an upgrade that was passed over: they were served as any other.
    pub passed_over: Counter,
}

/// Everything one worker counts. Created by the control plane from a configuration, then written by the worker only.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Shard {
    pub connections_accepted: Counter,
    /// Closed at accept.
    pub connections_shed: Family<Shed>,
    pub connections_active: Gauge,
    /// Requests under way.
    pub exchanges_active: Gauge,
    pub tls: TlsCounters,
    pub http2: Http2Counters,
    pub tunnels: TunnelCounters,
    pub accept_errors: Counter,
    pub exchange_panics: Counter,
    /// Records of exchanges handed to the access log, spans and comparison.
    pub records: Counter,
    /// Records that found no room on their way there.
    pub records_lost: Counter,
    pub rejected: Family<RejectReason>,
    /// Answers the gateway gave before a route was known, by code.
    pub unrouted: Codes,
    /// Ticks of the worker's own clock: a stuck worker stops counting.
    pub ticks: Counter,
    /// Ticks that came late while the worker used its core.
    pub busy_ticks: Counter,
    /// Thread CPU time in microseconds.
    pub cpu_us: Gauge,
}

/// A worker's counters for one configuration, index for index.
#[derive(Debug, Default)]
pub struct Counters {
    pub routes: Box<[Arc<RouteCounters>]>,
    /// By route, in the order of its primaries; none where it does not forward.
    pub primaries: Box<[Box<[Arc<PrimaryCounters>]>]>,
    /// By route, in the order of its mirrors.
    pub mirrors: Box<[Box<[Arc<MirrorCounters>]>]>,
    /// By route: see [`Config::trial`].
    pub trials: Box<[Arc<Trial>]>,
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
        // A mirror's clusters end where they did, on whichever of its routes.
        let mut clusters: HashMap<String, Arc<Clusters>> = HashMap::new();
        for (route, counters) in before.routes.iter().zip(&counters.mirrors) {
            let named = route.mirrors.iter().zip(counters);
            clusters.extend(
                named.map(|(of, counters)| (of.name.clone(), Arc::clone(&counters.pairs.tails.clusters))),
            );
        }
        let mut fresh = |m: &config::Mirror| {
            let clusters = clusters.entry(m.name.clone()).or_default();
            let pairs = Pairs { tails: Tails::of(clusters), ..Pairs::default() };
            Arc::new(MirrorCounters { pairs, ..MirrorCounters::default() })
        };
        let mut mirrors = |r: &config::Route| {
            let old = known.get(r.name.as_str()).copied();
            let of = |m: &config::Mirror| {
                let old = old?;
                let at = before.routes.get(old)?.mirrors.iter().position(|other| other.name == m.name)?;
                counters.mirrors.get(old)?.get(at).cloned()
            };
            r.mirrors.iter().map(|m| of(m).unwrap_or_else(|| fresh(m))).collect()
        };
        // Another share is another trial, with another coin.
        let share = |c: &Config, r: &config::Route| {
            let mirror = r.mirrors.get(c.trial(r)?)?;
            Some((mirror.name.clone(), mirror.percent))
        };
        let trial = |r: &config::Route| {
            let old = *known.get(r.name.as_str())?;
            let is_same = share(before, before.routes.get(old)?) == share(config, r);
            counters.trials.get(old).filter(|_| is_same).cloned()
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
            lanes.entry(lane.name.as_str()).or_default().push(at);
        }
        let lane = |l: &config::Lane| {
            let upstream = |c: &Config, l: &config::Lane| c.upstreams.get(l.upstream).cloned();
            let same = |other: &config::Lane| {
                config::Lane { upstream: l.upstream, ..other.clone() } == *l
                    && upstream(before, other) == upstream(config, l)
            };
            // Looked for among those of the same name: all with all would be the square of a large configuration.
            let to_it = lanes.get(l.name.as_str()).map(Vec::as_slice).unwrap_or_default();
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
            mirrors: config.routes.iter().map(&mut mirrors).collect(),
            trials: config.routes.iter().map(|r| trial(r).unwrap_or_default()).collect(),
            lanes: config.lanes.iter().map(lane).collect(),
            upstreams: config.upstreams.iter().map(upstream).collect(),
        }
    }
}

/// The bytes of a value.
#[cfg(test)]
pub(crate) fn place_of<T: ?Sized>(value: &T) -> std::ops::Range<usize> {
    let start = std::ptr::from_ref(value).addr();
    start..start + size_of_val(value)
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
        check::<SkipReason>();
        check::<DropReason>();
        check::<LowerReason>();
        check::<FailReason>();
        check::<Class>();
        check::<RejectReason>();
        check::<UpstreamFailure>();
        check::<Goaway>();
        check::<StreamReset>();
        check::<TunnelEnd>();
        check::<TunnelWay>();
    }
}
