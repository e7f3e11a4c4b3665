//! `GET /outcomes`: for each mirror of each route, the ends and times of the primary's and the mirror's answers to the same
//! requests.
//!
//! Pure but for the handler: a snapshot of the store in, numbers out. It knows no content and judges nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use config::Mirror;
use hdrhistogram::Histogram as Merged;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::asked::Query;
use super::exposition::times::{mirror_text, primary_text};
use super::state::AdminState;
use crate::control::Snapshot;
use crate::metrics::{
    self, Class, Counter, DropReason, FailReason, Family, Histogram, Label, MirrorCounters, SkipReason,
    Slots, TAIL_LEVELS, TailCounts, Tails,
};

/// Told in one answer; of more, those with the most copies.
const OUTCOMES_MAX: usize = 500;

/// The quantiles that sum up a distribution, each with its name.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];

/// A mirror of a route, and its counters on every worker.
pub(super) struct Pairing<'a> {
    pub(super) route: &'a str,
    /// Where the route stands among the configuration's.
    pub(super) index: usize,
    pub(super) mirror: &'a Mirror,
    counters: Vec<&'a MirrorCounters>,
}

/// The wanted mirrors.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chosen {
    pub(super) route: Option<String>,
    pub(super) mirror: Option<String>,
}

/// All that are asked for, those with the most copies first.
pub(super) fn pairings<'a>(snapshot: &'a Snapshot, chosen: &Chosen) -> Vec<Pairing<'a>> {
    let mut all = Vec::new();
    for (index, route) in snapshot.config.routes.iter().enumerate() {
        if chosen.route.as_ref().is_some_and(|wanted| *wanted != route.name) {
            continue;
        }
        for (id, mirror) in route.mirrors.iter().enumerate() {
            if chosen.mirror.as_ref().is_some_and(|wanted| *wanted != mirror.name) {
                continue;
            }
            let of =
                snapshot.counters.iter().filter_map(|c| c.mirrors.get(index)?.get(id).map(AsRef::as_ref));
            all.push(Pairing { route: &route.name, index, mirror, counters: of.collect() });
        }
    }
    all.sort_by_key(|of| std::cmp::Reverse(of.sum(|c| c.eligible.get())));
    all
}

impl Pairing<'_> {
    pub(super) fn sum(&self, read: impl Fn(&MirrorCounters) -> u64) -> u64 {
        self.counters.iter().map(|c| read(c)).sum()
    }

    fn level(&self, read: impl Fn(&MirrorCounters) -> i64) -> i64 {
        self.counters.iter().map(|c| read(c)).sum()
    }

    /// A distribution of all workers together.
    pub(super) fn merged(&self, read: impl Fn(&MirrorCounters) -> &Histogram) -> Merged<u64> {
        let mut all = metrics::merged();
        self.counters.iter().for_each(|c| read(c).add_to(&mut all));
        all
    }

    /// The same, sparse.
    pub(super) fn slots(&self, read: impl Fn(&MirrorCounters) -> &Histogram) -> Slots {
        Slots::of(self.counters.iter().map(|c| read(c)))
    }

    /// By level, clusters in which the mirror alone was beyond it, and the primary alone.
    pub(super) fn tails(&self) -> TailCounts {
        let at = |level: usize| {
            let side = |read: fn(&Tails) -> &[Counter; TAIL_LEVELS]| {
                self.sum(|c| read(&c.pairs.tails).get(level).map_or(0, Counter::get))
            };
            (side(|of| &of.only_mirror), side(|of| &of.only_primary))
        };
        (0..TAIL_LEVELS).map(at).collect()
    }

    /// Each cell of the matrix that counted anything.
    pub(super) fn matrix(&self) -> BTreeMap<(String, String), u64> {
        let mut cells = BTreeMap::new();
        for (primary, mirror, n) in self.counters.iter().flat_map(|c| c.pairs.matrix.seen()) {
            *cells.entry((primary_text(primary), mirror_text(mirror))).or_default() += n;
        }
        cells
    }

    fn by_label<L: Label>(&self, read: impl Fn(&MirrorCounters) -> &Family<L>) -> Value {
        let one = |label: &L| (label.text().to_owned(), json!(self.sum(|c| read(c).get(*label))));
        Value::Object(L::ALL.iter().map(one).collect())
    }

    fn json(&self) -> Value {
        let matrix = self.matrix();
        let pairs: u64 = matrix.values().sum();
        let cell = |((primary, mirror), n): ((String, String), u64)| json!({ "primary": primary, "mirror": mirror, "count": n });
        let seconds = |read: fn(&MirrorCounters) -> &Histogram| summary(&self.merged(read), "seconds", 1e-6);
        let bytes = |read: fn(&MirrorCounters) -> &Histogram| summary(&self.merged(read), "bytes", 1.0);
        json!({
            "route": self.route,
            "mirror": self.mirror.name,
            "role": self.mirror.role.as_str(),
            "pairs": pairs,
            "matrix": matrix.into_iter().map(cell).collect::<Vec<_>>(),
            "latency": {
                "primary": seconds(|c| &c.pairs.primary),
                "mirror": seconds(|c| &c.latency),
                "slower": seconds(|c| &c.pairs.slower),
                "faster": seconds(|c| &c.pairs.faster),
            },
            "bytes": { "primary": bytes(|c| &c.pairs.primary_bytes), "mirror": bytes(|c| &c.pairs.mirror_bytes) },
            "lag": seconds(|c| &c.lag),
            "ledger": self.ledger(),
        })
    }

    fn ledger(&self) -> Value {
        json!({
            "eligible": self.sum(|c| c.eligible.get()),
            "sampled_out": self.sum(|c| c.sampled_out.get()),
            "skipped": self.by_label::<SkipReason>(|c| &c.skipped),
            "dropped": self.by_label::<DropReason>(|c| &c.dropped),
            "sent": self.sum(|c| c.sent.get()),
            "completed": self.by_label::<Class>(|c| &c.completed),
            "failed": self.by_label::<FailReason>(|c| &c.failed),
            "pending": self.level(|c| c.pending.get()),
            "waiting": self.level(|c| c.waiting.get()),
            "in_flight": self.level(|c| c.in_flight.get()),
        })
    }
}

/// A distribution summed up, in `unit`; null where nothing was recorded. `scale`: recorded units times this are `unit`s.
pub(super) fn summary(all: &Merged<u64>, unit: &str, scale: f64) -> Value {
    let known = |value: f64| if all.is_empty() { Value::Null } else { json!(value * scale) };
    let mut told = Map::new();
    told.insert("count".to_owned(), json!(all.len()));
    told.insert(format!("mean_{unit}"), known(all.mean()));
    for (name, quantile) in QUANTILES {
        told.insert(format!("{name}_{unit}"), known(all.value_at_quantile(quantile) as f64));
    }
    Value::Object(told)
}

/// `GET /outcomes?route=NAME&mirror=NAME`
pub(super) async fn outcomes(
    State(state): State<Arc<AdminState>>,
    Query(chosen): Query<Chosen>,
) -> Json<Value> {
    let snapshot = state.store.open();
    let all: Vec<Value> = pairings(&snapshot, &chosen).iter().take(OUTCOMES_MAX).map(Pairing::json).collect();
    Json(json!({ "outcomes": all }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::ConfigStore;
    use crate::control::budget::tests::config;
    use crate::metrics::{Code, MirrorEnd, PrimaryEnd};

    #[tokio::test]
    async fn workers_are_summed_and_what_nobody_counted_is_null() {
        let store = ConfigStore::new(&Arc::new(config()));
        let asks = tokio::sync::mpsc::channel(1).0;
        let state = Arc::new(AdminState::of(Arc::clone(&store), asks));
        let ask = async |mirror: Option<&str>| {
            let chosen = Chosen { route: None, mirror: mirror.map(str::to_owned) };
            let Json(told) = outcomes(State(Arc::clone(&state)), Query(chosen)).await;
            told["outcomes"].clone()
        };
        let before = ask(None).await;
        assert_eq!(before[0]["pairs"], 0);
        assert_eq!(before[0]["latency"]["mirror"]["p99_seconds"], Value::Null);
        for (worker, code) in [(0, 200), (1, 200), (1, 500)] {
            let snapshot = store.open();
            let counters = &snapshot.counters[worker].mirrors[0][0];
            counters.pairs.matrix.inc(PrimaryEnd::Code(Code::of(200)), MirrorEnd::Code(Code::of(code)));
            counters.latency.record(2_000);
            counters.eligible.inc();
        }
        let after = ask(None).await;
        assert_eq!((&after[0]["pairs"], &after[0]["ledger"]["eligible"]), (&json!(3), &json!(3)));
        let cells = json!([
            { "primary": "200", "mirror": "200", "count": 2 },
            { "primary": "200", "mirror": "500", "count": 1 },
        ]);
        assert_eq!(after[0]["matrix"], cells);
        let p99 = after[0]["latency"]["mirror"]["p99_seconds"].as_f64().unwrap();
        assert!((p99 - 0.002).abs() < 0.000_02, "{p99}");
        assert_eq!(ask(Some("nobody")).await, json!([]));
    }
}
