//! Metrics of durations and sizes of exchanges and copies, and of the pairs of their ends.
//!
//! Buckets are fixed, a factor of two or two and a half apart. A bound lies within one slot of the distribution it is read
//! from, so that a count may be off by the values within one percent of the bound; sums and counts are exact.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{MutexGuard, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::ledger::OneMirror;
use super::{Families, Shards};
use crate::metrics::{Histogram, Label, MirrorEnd, PrimaryEnd, RouteCounters};

/// Upper bounds in microseconds.
const TIMES_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// Upper bounds in bytes.
const SIZES: [u64; 9] = [0, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 16 << 20];

/// Routes with distributions of their own, and mirrors of routes. Cardinality is bounded by this, the buckets, and the primaries
/// that a route has.
const SHOWN_MAX: usize = 200;

/// The routes and mirrors whose distributions are exposed: the first that were seen to have any. A series once exposed goes on
/// for as long as its route or mirror exists: a gap would break the rates that scrapers compute.
#[derive(Debug)]
pub(super) struct Chosen<K>(BTreeSet<K>);

// Derived, it would want a default of the key.
impl<K: Ord> Default for Chosen<K> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<K: Ord + Clone> Chosen<K> {
    /// Goes on with those of `all` that were told before, and those of the others that have something to tell while there is
    /// room.
    fn choose(&mut self, all: &[(K, bool)]) -> BTreeSet<K> {
        let there: BTreeSet<&K> = all.iter().map(|(key, _)| key).collect();
        self.0.retain(|key| there.contains(key));
        for (key, _) in all.iter().filter(|(_, has_any)| *has_any) {
            if self.0.len() < SHOWN_MAX {
                self.0.insert(key.clone());
            }
        }
        self.0.clone()
    }
}

/// Routes by name, and mirrors by route and name.
#[derive(Debug, Default)]
pub(super) struct ChosenSeries {
    routes: Chosen<String>,
    mirrors: Chosen<[String; 2]>,
}

/// Sum, count and buckets of several workers' distributions.
struct Shown {
    sum: f64,
    count: u64,
    buckets: Vec<(f64, u64)>,
}

/// `per_unit`: how many recorded are one shown.
fn shown<'a>(of: impl Iterator<Item = &'a Histogram>, bounds: &[u64], per_unit: f64) -> Shown {
    let mut buckets: Vec<(f64, u64)> = bounds.iter().map(|bound| (*bound as f64 / per_unit, 0)).collect();
    buckets.push((f64::INFINITY, 0));
    let (mut sum, mut count) = (0, 0);
    for histogram in of {
        sum += histogram.sum();
        for (value, n) in histogram.counts() {
            let at = bounds.partition_point(|bound| *bound < value);
            if let Some((_, bucket)) = buckets.get_mut(at) {
                *bucket += n;
            }
            count += n;
        }
    }
    Shown { sum: sum as f64 / per_unit, count, buckets }
}

/// Microseconds of a second.
const US: f64 = 1e6;

impl Shards<'_> {
    fn chosen(&self) -> MutexGuard<'_, ChosenSeries> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Index and counters of each route that has distributions of its own.
    fn seen_routes(&self) -> Vec<(usize, &str, Vec<&RouteCounters>)> {
        let all = self.routes();
        let has_any = |of: &[&RouteCounters]| of.iter().any(|route| route.duration.sum() > 0);
        let asked: Vec<_> = all.iter().map(|(name, of)| ((*name).to_owned(), has_any(of))).collect();
        let chosen = self.chosen().routes.choose(&asked);
        let all = all.into_iter().enumerate().filter(|(_, (name, _))| chosen.contains(*name));
        all.map(|(index, (name, of))| (index, name, of)).collect()
    }

    pub(super) fn times(&self, out: &mut Families<'_>) -> fmt::Result {
        let routes = self.seen_routes();
        let route = |read: fn(&RouteCounters) -> &Histogram, bounds: &'static [u64], per_unit: f64| {
            let row = move |(_, name, of): &(usize, &str, Vec<&RouteCounters>)| {
                ([("route", (*name).to_owned())], shown(of.iter().map(|of| read(of)), bounds, per_unit))
            };
            routes.iter().map(row).collect::<Vec<_>>()
        };
        out.histograms(
            "umbra_request_duration",
            "From a request's head to the last byte of its answer written, of exchanges answered whole",
            Unit::Seconds,
            route(|of| &of.duration, &TIMES_US, US),
        )?;
        out.histograms(
            "umbra_request_size",
            "Content of requests, of the same exchanges",
            Unit::Bytes,
            route(|of| &of.request_bytes, &SIZES, 1.0),
        )?;
        out.histograms(
            "umbra_response_size",
            "Content of answers, of the same exchanges",
            Unit::Bytes,
            route(|of| &of.response_bytes, &SIZES, 1.0),
        )?;
        self.primaries(out, &routes.iter().map(|(index, ..)| *index).collect::<Vec<_>>())?;
        self.mirror_times(out)
    }

    fn primaries(&self, out: &mut Families<'_>, routes: &[usize]) -> fmt::Result {
        let config = &self.snapshot.config;
        let mut rows = Vec::new();
        for index in routes {
            let Some(route) = config.routes.get(*index) else { continue };
            for (at, primary) in route.primaries().iter().enumerate() {
                let name = primary.upstream.and_then(|id| config.upstreams.get(id)).map(|u| u.name.clone());
                let of = self
                    .snapshot
                    .counters
                    .iter()
                    .filter_map(|c| Some(&c.primaries.get(*index)?.get(at)?.latency));
                let labels = [("route", route.name.clone()), ("upstream", name.unwrap_or_default())];
                rows.push((labels, shown(of, &TIMES_US, US)));
            }
        }
        out.histograms(
            "umbra_primary_latency",
            "From a request forwarded to the last byte of its answer read, of answers read whole",
            Unit::Seconds,
            rows,
        )
    }

    fn mirror_times(&self, out: &mut Families<'_>) -> fmt::Result {
        let mirrors = self.mirrors();
        let key = |m: &OneMirror<'_>| [m.route, m.mirror].map(str::to_owned);
        let has_any = |m: &OneMirror<'_>| m.counters.iter().any(|c| c.sent.get() > 0);
        let asked: Vec<_> = mirrors.iter().map(|m| (key(m), has_any(m))).collect();
        let chosen = self.chosen().mirrors.choose(&asked);
        let seen: Vec<&OneMirror<'_>> = mirrors.iter().filter(|m| chosen.contains(&key(m))).collect();
        let rows = |read: fn(&crate::metrics::MirrorCounters) -> &Histogram| {
            let row = move |m: &&OneMirror<'_>| {
                let labels = m.labels().map(|(key, value)| (key, value.to_owned()));
                (labels, shown(m.counters.iter().map(|c| read(c)), &TIMES_US, US))
            };
            seen.iter().map(row).collect::<Vec<_>>()
        };
        out.histograms(
            "umbra_mirror_latency",
            "From a copy sent to the last byte of its answer read, of copies answered whole",
            Unit::Seconds,
            rows(|c| &c.latency),
        )?;
        out.histograms(
            "umbra_mirror_lag",
            "From a request forwarded to its copy sent",
            Unit::Seconds,
            rows(|c| &c.lag),
        )?;
        out.histograms(
            "umbra_mirror_slower",
            "How much longer the mirror took than the primary, for the same request",
            Unit::Seconds,
            rows(|c| &c.pairs.slower),
        )?;
        out.histograms(
            "umbra_mirror_faster",
            "How much less the mirror took than the primary, for the same request",
            Unit::Seconds,
            rows(|c| &c.pairs.faster),
        )?;
        let mut pairs = std::collections::BTreeMap::new();
        for m in &seen {
            for (primary, mirror, n) in m.counters.iter().flat_map(|c| c.pairs.matrix.seen()) {
                let key = (m.route, m.mirror, primary_text(primary), mirror_text(mirror));
                *pairs.entry(key).or_insert(0) += n;
            }
        }
        out.counters(
            "umbra_pairs",
            "Copies that were sent, by how the primary's answer to the same request ended and how the mirror's did",
            pairs.into_iter().map(|((route, mirror, primary, other), n)| {
                let labels = [
                    ("route", route.to_owned()),
                    ("mirror", mirror.to_owned()),
                    ("primary_end", primary),
                    ("mirror_end", other),
                ];
                (labels, n)
            }),
        )
    }
}

/// A code, `other_5xx`, `other`, `none` where there was no whole answer, or `abandoned` where the client did not wait for it.
pub(in crate::admin) fn primary_text(end: PrimaryEnd) -> String {
    match end {
        PrimaryEnd::Code(code) => code.text().into_owned(),
        PrimaryEnd::None => "none".to_owned(),
        PrimaryEnd::Abandoned => "abandoned".to_owned(),
    }
}

/// A code, `other_5xx`, `other`, or why there was no whole answer.
pub(in crate::admin) fn mirror_text(end: MirrorEnd) -> String {
    match end {
        MirrorEnd::Code(code) => code.text().into_owned(),
        MirrorEnd::Failed(why) => why.text().to_owned(),
    }
}

impl Families<'_> {
    fn histograms<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Unit,
        rows: impl IntoIterator<Item = (L, Shown)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, Some(&unit), MetricType::Histogram)?;
        for (labels, Shown { sum, count, buckets }) in rows {
            let mut one = family.encode_family(&labels)?;
            one.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_stays_told_while_it_is_there() {
        let mut chosen = Chosen::default();
        let late: Vec<(usize, bool)> = (0..SHOWN_MAX + 9).map(|at| (at, at > 5)).collect();
        let told = chosen.choose(&late);
        assert_eq!((told.len(), told.first()), (SHOWN_MAX, Some(&6)));
        // Earlier ones get their first request: those that are shown stay.
        let all: Vec<(usize, bool)> = late.iter().map(|(at, _)| (*at, true)).collect();
        assert_eq!(chosen.choose(&all), told);
        // One goes, with a change of the configuration: there is room for another.
        let fewer: Vec<(usize, bool)> = all.into_iter().filter(|(at, _)| *at != 7).collect();
        let after = chosen.choose(&fewer);
        assert_eq!((after.len(), after.first(), after.contains(&7)), (SHOWN_MAX, Some(&0), false));
    }

    #[test]
    fn every_value_is_in_the_bucket_of_the_first_bound_that_is_not_below_it() {
        let of = Histogram::default();
        [0, 1, 100, 101, 9_999_999, 20_000_000].into_iter().for_each(|us| of.record(us));
        let Shown { sum, count, buckets } = shown([&of].into_iter(), &TIMES_US, US);
        assert_eq!((count, (sum * 1e6).round() as u64), (6, 30_000_201));
        let counts: Vec<u64> = buckets.iter().map(|(_, n)| *n).collect();
        let mut expect = vec![0; TIMES_US.len() + 1];
        (expect[0], expect[1], expect[15], expect[16]) = (3, 1, 1, 1);
        assert_eq!(counts, expect);
        assert_eq!(buckets[16].0, f64::INFINITY);
    }
}
