//! Metrics of lanes: rings, and the connections of shippers. Lanes of one mirror are one series.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::registry::Unit;

use super::{Families, Shards, level, total};
use crate::metrics::{CutReason, Label, LaneCounters};

impl Shards<'_> {
    pub(super) fn lanes(&self, out: &mut Families<'_>) -> fmt::Result {
        let lanes = self.lanes_by_name();
        let mut gauge = |name, help, unit: Option<Unit>, read: fn(&LaneCounters) -> i64| {
            out.gauges(
                name,
                help,
                unit,
                lanes.iter().map(|(name, of)| ([("mirror", *name)], level(of, read))),
            )
        };
        gauge("umbra_mirror_ring_entries", "Copies in the rings", None, |l| l.ring_entries.get())?;
        gauge("umbra_mirror_ring", "Bytes the rings hold", Some(Unit::Bytes), |l| l.ring_bytes.get())?;
        gauge("umbra_mirror_connections", "Open connections to the mirror", None, |l| l.connections.get())?;
        let mut counter = |name, help, read: fn(&LaneCounters) -> u64| {
            out.counters(name, help, lanes.iter().map(|(name, of)| ([("mirror", *name)], total(of, read))))
        };
        counter("umbra_mirror_connects", "Connections made to the mirror", |l| l.connects.get())?;
        counter("umbra_mirror_connect_failures", "Connections to the mirror that failed", |l| {
            l.connect_failures.get()
        })?;
        counter("umbra_mirror_batches", "Writes that carried more than one copy", |l| l.batches.get())?;
        counter("umbra_mirror_resent", "Copies written again after the mirror announced its close", |l| {
            l.resent.get()
        })?;
        counter("umbra_mirror_out_of_step", "Connections with more responses than copies; closed", |l| {
            l.out_of_step.get()
        })?;
        let cut = lanes.iter().flat_map(|(name, of)| {
            CutReason::ALL
                .iter()
                .map(move |why| ([("mirror", *name), ("reason", why.text())], total(of, |l| l.cut.get(*why))))
        });
        out.counters("umbra_mirror_responses_cut", "Too long to be read on; their status counts", cut)?;
        out.counters_in(
            "umbra_mirror_response",
            "Bytes of answers, read and discarded",
            Some(Unit::Bytes),
            lanes.iter().map(|(name, of)| ([("mirror", *name)], total(of, |l| l.answer_bytes.get()))),
        )
    }

    /// Lanes of one name (mirrors of one upstream with different transport settings) are shown as one.
    fn lanes_by_name(&self) -> BTreeMap<&str, Vec<&LaneCounters>> {
        let mut lanes: BTreeMap<&str, Vec<&LaneCounters>> = BTreeMap::new();
        for (id, lane) in self.snapshot.config.lanes.iter().enumerate() {
            let of = self.snapshot.counters.iter().filter_map(|c| c.lanes.get(id)).map(AsRef::as_ref);
            lanes.entry(&lane.name).or_default().extend(of);
        }
        lanes
    }
}
