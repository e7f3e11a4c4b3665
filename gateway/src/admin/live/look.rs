//! A look at all counters, and the difference between two looks.
//!
//! Pure: a snapshot of the store and the workers' shards in, numbers out. It knows no clock and keeps nothing.

use std::time::Duration;

use hdrhistogram::Histogram as Merged;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::control::Snapshot;
use crate::limits::HISTORY_PARTS_MAX;
use crate::metrics::{self, Class, Codes, Label, LaneCounters, MirrorCounters, Shard};

/// Mirrors told apart, by name; counts of further ones are in no column.
const MIRRORS_MAX: usize = HISTORY_PARTS_MAX;

/// Rings told apart, by name.
const RINGS_MAX: usize = HISTORY_PARTS_MAX;

/// Workers told apart.
const WORKERS_MAX: usize = 64;

/// Classes of answers, and all other codes.
pub(super) const CLASSES: usize = Class::ALL.len() + 1;

/// Where a distribution is told, from the fastest to the slowest.
pub(super) const QUANTILES: [f64; 13] =
    [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999, 1.0];

/// Bars for each doubling of a time: fine enough to see two peaks, few enough to draw.
const BARS_PER_OCTAVE: f64 = 4.0;

/// Everything counted since the start, as it stood at one look.
#[derive(Debug)]
pub(super) struct Look {
    requests: [u64; CLASSES],
    aborted: u64,
    rejected: u64,
    connections: i64,
    primary: Merged<u64>,
    mirrors: Vec<MirrorLook>,
    rings: Vec<Ring>,
    cpu_us: Vec<i64>,
}

/// A mirror, on all routes.
#[derive(Debug)]
struct MirrorLook {
    name: String,
    latency: Merged<u64>,
    ledger: Ledger,
}

/// A mirror's account: of a look since the start, of a sample since the look before. The last three are levels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ledger {
    pub(super) eligible: u64,
    pub(super) sampled_out: u64,
    pub(super) skipped: u64,
    pub(super) dropped: u64,
    pub(super) sent: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) pending: i64,
    pub(super) waiting: i64,
    pub(super) in_flight: i64,
}

/// The rings of one name on all workers, at one look.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ring {
    pub(super) name: String,
    pub(super) entries: i64,
    pub(super) entries_max: u64,
    pub(super) bytes: i64,
    pub(super) bytes_max: u64,
    pub(super) connections: i64,
}

/// The counts between two looks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sample {
    /// Since the Unix epoch, of the later look.
    pub(super) at: Duration,
    /// From the earlier look to the later.
    pub(super) length: Duration,
    pub(super) requests: [u64; CLASSES],
    pub(super) aborted: u64,
    pub(super) rejected: u64,
    pub(super) connections: i64,
    pub(super) primary: Times,
    pub(super) mirrors: Vec<(String, Times, Ledger)>,
    pub(super) rings: Vec<Ring>,
    /// Of one core, by worker.
    pub(super) cpu: Vec<f64>,
}

/// How long answers took, in microseconds; all zero where there was none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Times {
    pub(super) count: u64,
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    pub(super) max: u64,
}

impl Look {
    pub(super) fn at(snapshot: &Snapshot, shards: &[std::sync::Arc<Shard>]) -> Self {
        let mut look = Self {
            requests: [0; CLASSES],
            aborted: 0,
            rejected: shards.iter().map(|shard| shard.rejected.sum()).sum(),
            connections: shards.iter().map(|shard| shard.connections_active.get()).sum(),
            primary: metrics::merged(),
            mirrors: Vec::new(),
            rings: Vec::new(),
            cpu_us: shards.iter().take(WORKERS_MAX).map(|shard| shard.cpu_us.get()).collect(),
        };
        for shard in shards {
            add_codes(&mut look.requests, &shard.unrouted);
        }
        for counters in &snapshot.counters {
            for route in &counters.routes {
                add_codes(&mut look.requests, &route.requests);
                look.aborted = look.aborted.wrapping_add(route.aborted.get());
            }
            for primary in counters.primaries.iter().flatten() {
                primary.latency.add_to(&mut look.primary);
            }
        }
        for (name, mirror) in mirrors(snapshot, None) {
            if let Some(of) = look.mirror(name) {
                mirror.latency.add_to(&mut of.latency);
                of.ledger.add(mirror);
            }
        }
        for (id, lane) in snapshot.config.lanes.iter().enumerate() {
            for counters in snapshot.counters.iter().filter_map(|c| c.lanes.get(id)) {
                if let Some(ring) = look.ring(&lane.name) {
                    ring.add(lane, counters);
                }
            }
        }
        look
    }

    fn mirror(&mut self, name: &str) -> Option<&mut MirrorLook> {
        let new =
            || MirrorLook { name: name.to_owned(), latency: metrics::merged(), ledger: Ledger::default() };
        named(&mut self.mirrors, MIRRORS_MAX, |mirror| mirror.name == name, new)
    }

    fn ring(&mut self, name: &str) -> Option<&mut Ring> {
        let new = || Ring { name: name.to_owned(), ..Ring::default() };
        named(&mut self.rings, RINGS_MAX, |ring| ring.name == name, new)
    }

    /// The counts since the look `before`. Counters that a change of configuration took away count as nothing.
    pub(super) fn since(&self, before: &Self, length: Duration, at: Duration) -> Sample {
        let mirror = |now: &MirrorLook| {
            let then = before.mirrors.iter().find(|then| then.name == now.name);
            let ledger = then.map_or(now.ledger, |then| now.ledger.since(&then.ledger));
            (now.name.clone(), Times::between(then.map(|then| &then.latency), &now.latency), ledger)
        };
        let cpu = |(now, then): (&i64, &i64)| {
            let used = Duration::from_micros(u64::try_from(now - then).unwrap_or(0));
            if length.is_zero() { 0.0 } else { used.as_secs_f64() / length.as_secs_f64() }
        };
        Sample {
            at,
            length,
            requests: std::array::from_fn(|i| self.requests[i].saturating_sub(before.requests[i])),
            aborted: self.aborted.saturating_sub(before.aborted),
            rejected: self.rejected.saturating_sub(before.rejected),
            connections: self.connections,
            primary: Times::between(Some(&before.primary), &self.primary),
            mirrors: self.mirrors.iter().map(mirror).collect(),
            rings: self.rings.clone(),
            cpu: self.cpu_us.iter().zip(&before.cpu_us).map(cpu).collect(),
        }
    }
}

impl Ledger {
    fn add(&mut self, of: &MirrorCounters) {
        self.eligible = self.eligible.wrapping_add(of.eligible.get());
        self.sampled_out = self.sampled_out.wrapping_add(of.sampled_out.get());
        self.skipped = self.skipped.wrapping_add(of.skipped.sum());
        self.dropped = self.dropped.wrapping_add(of.dropped.sum());
        self.sent = self.sent.wrapping_add(of.sent.get());
        self.completed = self.completed.wrapping_add(of.completed.sum());
        self.failed = self.failed.wrapping_add(of.failed.sum());
        self.pending = self.pending.wrapping_add(of.pending.get());
        self.waiting = self.waiting.wrapping_add(of.waiting.get());
        self.in_flight = self.in_flight.wrapping_add(of.in_flight.get());
    }

    fn since(self, before: &Self) -> Self {
        Self {
            eligible: self.eligible.saturating_sub(before.eligible),
            sampled_out: self.sampled_out.saturating_sub(before.sampled_out),
            skipped: self.skipped.saturating_sub(before.skipped),
            dropped: self.dropped.saturating_sub(before.dropped),
            sent: self.sent.saturating_sub(before.sent),
            completed: self.completed.saturating_sub(before.completed),
            failed: self.failed.saturating_sub(before.failed),
            ..self
        }
    }
}

impl Ring {
    /// Adds one worker's.
    fn add(&mut self, lane: &config::Lane, counters: &LaneCounters) {
        self.entries = self.entries.wrapping_add(counters.ring_entries.get());
        self.entries_max = self.entries_max.saturating_add(lane.ring_entries_max as u64);
        self.bytes = self.bytes.wrapping_add(counters.ring_bytes.get());
        self.bytes_max = self.bytes_max.saturating_add(lane.ring_bytes_max as u64);
        self.connections = self.connections.wrapping_add(counters.connections.get());
    }
}

impl Times {
    /// The times that `now` has more than `then`.
    fn between(then: Option<&Merged<u64>>, now: &Merged<u64>) -> Self {
        let mut new = metrics::merged();
        for slot in now.iter_recorded() {
            let value = slot.value_iterated_to();
            let before = then.map_or(0, |then| then.count_at(value));
            let n = slot.count_at_value().saturating_sub(before);
            // Recording a value no times would still make it the largest.
            if n > 0 {
                new.saturating_record_n(value, n);
            }
        }
        if new.is_empty() {
            return Self::default();
        }
        let at = |quantile| new.value_at_quantile(quantile);
        Self { count: new.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), max: new.max() }
    }
}

fn add_codes(classes: &mut [u64; CLASSES], codes: &Codes) {
    for (code, n) in codes.seen() {
        // 200 is of the second class; no code at all is the last.
        let class = code.class().and_then(|class| usize::from(class).checked_sub(1));
        let class = class.filter(|class| *class < CLASSES).unwrap_or(CLASSES - 1);
        classes[class] = classes[class].wrapping_add(n);
    }
}

/// The one that is meant, made where it is new; `None` where as many are there as are told apart.
fn named<T>(
    all: &mut Vec<T>,
    max: usize,
    is_meant: impl Fn(&T) -> bool,
    new: impl Fn() -> T,
) -> Option<&mut T> {
    let at = all.iter().position(is_meant).unwrap_or(all.len());
    if at == all.len() && at < max {
        all.push(new());
    }
    all.get_mut(at)
}

/// Every mirror's counters on every worker, with its name.
fn mirrors<'a>(
    snapshot: &'a Snapshot,
    route: Option<&'a str>,
) -> impl Iterator<Item = (&'a str, &'a MirrorCounters)> {
    let routes = snapshot.config.routes.iter().enumerate();
    let meant = routes.filter(move |(_, of)| route.is_none_or(|name| of.name == name));
    meant.flat_map(move |(index, of)| {
        of.mirrors.iter().enumerate().flat_map(move |(id, mirror)| {
            let workers = snapshot.counters.iter().filter_map(move |c| c.mirrors.get(index)?.get(id));
            workers.map(move |counters| (mirror.name.as_str(), counters.as_ref()))
        })
    })
}

/// By mirror, both sides' times of one route or of all, since the start.
pub(super) fn distributions(snapshot: &Snapshot, route: Option<&str>) -> Vec<Value> {
    type Sides = (String, Merged<u64>, Merged<u64>);
    let mut all: Vec<Sides> = Vec::new();
    for (name, counters) in mirrors(snapshot, route) {
        let new = || (name.to_owned(), metrics::merged(), metrics::merged());
        if let Some((_, primary, mirror)) = named(&mut all, MIRRORS_MAX, |of| of.0 == name, new) {
            counters.pairs.primary.add_to(primary);
            counters.latency.add_to(mirror);
        }
    }
    let told = all.iter().map(|(name, primary, mirror)| {
        json!({ "name": name, "primary": distribution(primary), "mirror": distribution(mirror) })
    });
    told.collect()
}

/// `bars` are (from, to, how many), in seconds, without empty ones.
fn distribution(times: &Merged<u64>) -> Value {
    let mut bars: Vec<(i32, u64)> = Vec::new();
    for slot in times.iter_recorded() {
        let bar = ((slot.value_iterated_to().max(1) as f64).log2() * BARS_PER_OCTAVE).floor() as i32;
        match bars.last_mut() {
            Some((last, n)) if *last == bar => *n += slot.count_at_value(),
            Some(_) | None => bars.push((bar, slot.count_at_value())),
        }
    }
    let edge = |bar: i32| (f64::from(bar) / BARS_PER_OCTAVE).exp2() / 1e6;
    let bars: Vec<_> = bars.into_iter().map(|(bar, n)| (edge(bar), edge(bar + 1), n)).collect();
    let at = |quantile: &f64| Duration::from_micros(times.value_at_quantile(*quantile)).as_secs_f64();
    let quantiles: Vec<f64> = if times.is_empty() { Vec::new() } else { QUANTILES.iter().map(at).collect() };
    json!({ "count": times.len(), "quantiles_seconds": quantiles, "bars": bars })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::control::ConfigStore;
    use crate::control::budget::tests::config;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_sample_is_what_all_workers_counted_between_two_looks() {
        let store = ConfigStore::new(&Arc::new(config()));
        let shards = [Arc::<Shard>::default(), Arc::default()];
        let snapshot = store.open();
        let count = |n: u64, micros: u64| {
            for (counters, shard) in snapshot.counters.iter().zip(&shards) {
                for _ in 0..n {
                    counters.routes[0].requests.inc(200);
                    counters.routes[0].requests.inc(299);
                    counters.primaries[0][0].latency.record(micros);
                    counters.mirrors[0][0].latency.record(2 * micros);
                    counters.mirrors[0][0].sent.inc();
                }
                shard.unrouted.inc(404);
                shard.cpu_us.add(250_000);
                counters.lanes[0].ring_entries.set(7);
            }
        };
        count(5, 50_000);
        let before = Look::at(&store.open(), &shards);
        count(3, 1_000);
        let sample = Look::at(&store.open(), &shards).since(&before, SECOND, SECOND);
        assert_eq!(sample.requests, [0, 6, 0, 2, 0, 6]);
        assert_eq!((sample.primary.count, sample.primary.max / 100), (6, 10), "{:?}", sample.primary);
        let (name, times, ledger) = &sample.mirrors[0];
        assert_eq!((name.as_str(), times.count, times.p50 / 100, ledger.sent), ("v2", 6, 20, 6));
        assert_eq!(sample.cpu, [0.25, 0.25]);
        assert_eq!(sample.rings[0].entries, 14, "a level is what it is, not what came");
        assert_eq!(sample.rings[0].entries_max, 2 * snapshot.config.lanes[0].ring_entries_max as u64);
    }

    #[test]
    fn what_a_change_of_configuration_took_away_is_not_less_than_nothing() {
        let (store, shards) = (ConfigStore::new(&Arc::new(config())), []);
        store.open().counters[0].routes[0].requests.inc(200);
        store.open().counters[0].primaries[0][0].latency.record(10);
        let before = Look::at(&store.open(), &shards);
        store.turn(store.open().after(Arc::new(::config::Config { routes: Vec::new(), ..config() })));
        let sample = Look::at(&store.open(), &shards).since(&before, SECOND, SECOND);
        assert_eq!(
            sample,
            Sample { at: SECOND, length: SECOND, rings: sample.rings.clone(), ..Sample::default() }
        );
    }

    #[test]
    fn a_distribution_counts_each_answer_in_one_bar_around_its_time() {
        let store = ConfigStore::new(&Arc::new(config()));
        let snapshot = store.open();
        for micros in [0, 1, 900, 1_000, 1_000, 70_000] {
            snapshot.counters[1].mirrors[0][0].latency.record(micros);
        }
        let all = distributions(&snapshot, Some("default"));
        let mirror = &all[0]["mirror"];
        let bars: Vec<(f64, f64, u64)> = serde_json::from_value(mirror["bars"].clone()).unwrap();
        assert_eq!((mirror["count"].as_u64(), bars.iter().map(|bar| bar.2).sum::<u64>()), (Some(6), 6));
        assert!(bars.iter().any(|(from, to, n)| *from <= 0.001 && 0.001 < *to && *n >= 2), "{bars:?}");
        assert!(bars.is_sorted_by(|a, b| a.1 <= b.0), "{bars:?}");
        let quantiles = mirror["quantiles_seconds"].as_array().unwrap();
        assert_eq!(quantiles.len(), QUANTILES.len());
        assert_eq!(all[0]["primary"]["count"], 0);
        assert!(distributions(&snapshot, Some("elsewhere")).is_empty());
    }

    #[test]
    fn a_sample_takes_no_more_than_the_budget_has_for_it() {
        use crate::limits::{HISTORY_PART_BYTES, HISTORY_STEP_BYTES};
        assert!(size_of::<Sample>() + WORKERS_MAX * size_of::<f64>() <= HISTORY_STEP_BYTES);
        assert!(size_of::<(String, Times, Ledger)>() <= HISTORY_PART_BYTES);
        assert!(size_of::<Ring>() <= HISTORY_PART_BYTES);
    }
}
