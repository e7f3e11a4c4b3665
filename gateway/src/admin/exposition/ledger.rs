//! The ledger of each mirror on each route, and the share of requests that a mirror really gets.

use std::fmt;

use prometheus_client::registry::Unit;

use super::families::Families;
use super::{Shards, level, seconds, total};
use crate::metrics::{
    Class, DropReason, FailReason, Label, LeftOut, LowerReason, MirrorCounters, SkipReason,
};

impl Shards<'_> {
    /// The counters of the ledger. Each appears even at zero, so that a check of the balance never misses an addend.
    pub(super) fn ledger(&self, out: &mut Families<'_>) -> fmt::Result {
        let mirrors = self.mirrors();
        let mut plain = |name, help, read: fn(&MirrorCounters) -> u64| {
            out.counters(name, help, mirrors.iter().map(|m| (m.labels(), total(&m.counters, read))))
        };
        plain("umbra_mirror_eligible", "Copies that requests meant for this mirror could have", |m| {
            m.eligible.get()
        })?;
        plain("umbra_mirror_sampled_out", "Eligible copies not drawn by percent", |m| m.sampled_out.get())?;
        plain("umbra_mirror_sent", "Copies of which a byte was sent", |m| m.sent.get())?;
        out.counters(
            "umbra_mirror_skipped",
            "Eligible copies drawn but not taken, by reason",
            by_label(&mirrors, "reason", |m, why: SkipReason| m.skipped.get(why)),
        )?;
        out.counters(
            "umbra_mirror_dropped",
            "Copies given up before they were sent, by reason",
            by_label(&mirrors, "reason", |m, why: DropReason| m.dropped.get(why)),
        )?;
        out.counters(
            "umbra_mirror_completed",
            "Copies answered completely, by class of status",
            by_label(&mirrors, "class", |m, class: Class| m.completed.get(class)),
        )?;
        out.counters(
            "umbra_mirror_failed",
            "Copies sent but not answered completely, by reason",
            by_label(&mirrors, "reason", |m, why: FailReason| m.failed.get(why)),
        )?;
        let mut level = |name, help, read: fn(&MirrorCounters) -> i64| {
            out.gauges(name, help, None, mirrors.iter().map(|m| (m.labels(), level(&m.counters, read))))
        };
        level("umbra_mirror_pending", "Copies whose request is still under way", |m| m.pending.get())?;
        level("umbra_mirror_waiting", "Copies waiting in a ring", |m| m.waiting.get())?;
        level("umbra_mirror_in_flight", "Copies sent whose answer is not complete", |m| m.in_flight.get())?;
        self.shares(out, &mirrors)
    }

    /// Effective shares and their reasons, pairs that are no evidence, and the time of responses.
    fn shares(&self, out: &mut Families<'_>, mirrors: &[OneMirror<'_>]) -> fmt::Result {
        let mean = |m: &OneMirror<'_>| {
            let millionths = level(&m.counters, |m| m.share.get()) as f64;
            millionths / 10_000.0 / m.counters.len().max(1) as f64
        };
        out.gauges(
            "umbra_mirror_effective_percent",
            "Share of requests copied now; below percent where a governor lowered it, another where copies are spread; mean of the workers",
            None,
            mirrors.iter().map(|m| (m.labels(), mean(m))),
        )?;
        out.counters(
            "umbra_mirror_lowered",
            "Times that a governor lowered the share on a worker, by reason",
            by_label(mirrors, "reason", |m, why: LowerReason| m.lowered.get(why)),
        )?;
        out.counters(
            "umbra_mirror_suspect_pairs",
            "Responses that may stand beside another request, for their connection fell out of step",
            mirrors.iter().map(|m| (m.labels(), total(&m.counters, |m| m.suspect.get()))),
        )?;
        out.counters(
            "umbra_mirror_pairs_left_out",
            "Copies whose end is no evidence of either side, by reason",
            by_label(mirrors, "reason", |m, why: LeftOut| m.left_out.get(why)),
        )?;
        out.counters_in(
            "umbra_mirror_response",
            "Time from the write of completed copies to the end of their answers, together",
            Some(Unit::Seconds),
            mirrors.iter().map(|m| {
                let us = total(&m.counters, |m| m.latency.sum());
                (m.labels(), seconds(i64::try_from(us).unwrap_or(i64::MAX)))
            }),
        )
    }

    pub(super) fn mirrors(&self) -> Vec<OneMirror<'_>> {
        let mut mirrors = Vec::new();
        for (index, route) in self.snapshot.config.routes.iter().enumerate() {
            for (id, mirror) in route.mirrors.iter().enumerate() {
                let all = self.snapshot.counters.iter();
                let of = all.filter_map(|c| c.mirrors.get(index)?.get(id).map(AsRef::as_ref));
                let counters = of.collect();
                mirrors.push(OneMirror { route: &route.name, mirror: &mirror.name, counters });
            }
        }
        mirrors
    }
}

/// A mirror on a route: its counters on every worker.
pub(super) struct OneMirror<'a> {
    pub(super) route: &'a str,
    pub(super) mirror: &'a str,
    pub(super) counters: Vec<&'a MirrorCounters>,
}

impl<'a> OneMirror<'a> {
    pub(super) fn labels(&self) -> [(&'static str, &'a str); 2] {
        [("route", self.route), ("mirror", self.mirror)]
    }
}

pub(super) fn by_label<'a, L: Label>(
    mirrors: &'a [OneMirror<'a>],
    key: &'static str,
    read: fn(&MirrorCounters, L) -> u64,
) -> impl Iterator<Item = ([(&'static str, &'a str); 3], u64)> {
    mirrors.iter().flat_map(move |m| {
        L::ALL.iter().map(move |label| {
            let labels = [("route", m.route), ("mirror", m.mirror), (key, label.text())];
            (labels, total(&m.counters, |c| read(c, *label)))
        })
    })
}
