//! A cluster as metrics: the outcomes of its objects, and the state of their watches.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use super::{Families, Shards};

impl Shards<'_> {
    pub(super) fn cluster(&self, out: &mut Families<'_>) -> fmt::Result {
        let of = &self.snapshot.cluster;
        let by_kind = of.by_kind();
        out.gauges(
            "umbra_kubernetes_objects",
            "Objects of a cluster by kind and state: accepted, partial (some rules dropped), rejected (an earlier version of it may serve on), skipped",
            None,
            by_kind
                .objects
                .iter()
                .map(|((kind, state), n)| ([("kind", *kind), ("state", *state)], i64::try_from(*n).unwrap_or(i64::MAX))),
        )?;
        out.counters(
            "umbra_kubernetes_watch_errors",
            "Lists and watches that failed, by kind and status code; no code where there was no answer",
            by_kind.errors.iter().map(|((kind, code), n)| ([("kind", *kind), ("code", code.as_str())], *n)),
        )?;
        let kept = |at: usize| {
            let of = move |(kind, all): (&&'static str, &[u64; 3])| {
                (
                    [("kind", *kind)],
                    i64::try_from(all.get(at).copied().unwrap_or_default()).unwrap_or(i64::MAX),
                )
            };
            by_kind.kept.iter().map(of)
        };
        out.gauges(
            "umbra_kubernetes_kept_objects",
            "Objects of a cluster that are kept, by kind",
            None,
            kept(0),
        )?;
        out.gauges("umbra_kubernetes_kept_bytes", "About how much memory they take", None, kept(1))?;
        out.gauges(
            "umbra_kubernetes_surplus_objects",
            "Objects, or versions of objects, that were not taken since the kind was listed: there was no room for them",
            None,
            kept(2),
        )?;
        out.gauges(
            "umbra_kubernetes_watch_age_seconds",
            "Time since anything was heard of a kind; it grows without an API server, whose last word stays in force",
            None,
            by_kind.heard.iter().map(|(kind, at)| ([("kind", *kind)], at.elapsed().as_secs_f64())),
        )?;
        out.gauge(
            "umbra_kubernetes_synced",
            "1 once the cluster was read and what it says is in force",
            None,
            i64::from(of.synced.load(Relaxed)),
        )?;
        out.gauge(
            "umbra_kubernetes_leader",
            "1 where this process holds the Lease and writes status",
            None,
            i64::from(of.leads.load(Relaxed)),
        )?;
        out.counters(
            "umbra_kubernetes_status_writes",
            "Writes of status, by result; after a conflict the object is looked at again",
            [("written", &of.written), ("conflict", &of.conflicts), ("failed", &of.unwritten)]
                .map(|(result, n)| ([("result", result)], n.load(Relaxed))),
        )
    }
}
