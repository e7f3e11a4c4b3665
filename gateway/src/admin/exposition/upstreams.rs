//! Metrics of upstreams: of the workers, which use them, and of the control plane, which discovers them.

use std::fmt;

use super::{Families, Shards, level, total};
use crate::metrics::{Label, UpstreamCounters, UpstreamFailure};

impl Shards<'_> {
    pub(super) fn upstreams(&self, out: &mut Families<'_>) -> fmt::Result {
        let upstreams = self.upstreams_by_name();
        let mut counter = |name, help, read: fn(&UpstreamCounters) -> u64| {
            out.counters(
                name,
                help,
                upstreams.iter().map(|(name, of)| ([("upstream", *name)], total(of, read))),
            )
        };
        counter("umbra_upstream_attempts", "Attempts to forward a request to this primary", |u| {
            u.attempts.get()
        })?;
        counter("umbra_upstream_connects", "Connections made to this primary", |u| u.connects.get())?;
        counter("umbra_upstream_reuses", "Attempts on a kept connection", |u| u.reuses.get())?;
        counter("umbra_upstream_retries", "Attempts made again, where nothing can happen twice", |u| {
            u.retries.get()
        })?;
        out.counters(
            "umbra_upstream_failures",
            "Attempts that failed, by reason",
            upstreams.iter().flat_map(|(name, of)| {
                UpstreamFailure::ALL.iter().map(move |why| {
                    ([("upstream", *name), ("reason", why.text())], total(of, |u| u.failures.get(*why)))
                })
            }),
        )?;
        out.gauges(
            "umbra_upstream_idle_connections",
            "Connections kept for reuse",
            None,
            upstreams.iter().map(|(name, of)| ([("upstream", *name)], level(of, |u| u.idle.get()))),
        )?;
        self.endpoints(out, &upstreams)
    }

    /// Exchanges that wait for an endpoint, and endpoints that are out.
    fn endpoints(&self, out: &mut Families<'_>, upstreams: &[(&str, Vec<&UpstreamCounters>)]) -> fmt::Result {
        let mut gauge = |name, help, read: fn(&UpstreamCounters) -> i64| {
            let rows = upstreams.iter().map(|(name, of)| ([("upstream", *name)], level(of, read)));
            out.gauges(name, help, None, rows)
        };
        gauge("umbra_upstream_pending", "Exchanges that wait for a connection to become free", |u| {
            u.pending.get()
        })?;
        gauge(
            "umbra_upstream_ejected",
            "Endpoints ejected now, each counted by every worker that did",
            |u| u.ejected.get(),
        )?;
        let mut counter = |name, help, read: fn(&UpstreamCounters) -> u64| {
            let rows = upstreams.iter().map(|(name, of)| ([("upstream", *name)], total(of, read)));
            out.counters(name, help, rows)
        };
        counter(
            "umbra_upstream_overflows",
            "Exchanges turned away because this upstream's own bound was reached",
            |u| u.overflows.get(),
        )?;
        counter("umbra_upstream_ejections", "Endpoints ejected because they kept failing", |u| {
            u.ejections.get()
        })?;
        counter(
            "umbra_upstream_last_resorts",
            "Attempts on an ejected or unhealthy endpoint because no other was left",
            |u| u.last_resorts.get(),
        )
    }

    /// The control plane's findings on upstreams.
    pub(super) fn discovery(&self, out: &mut Families<'_>) -> fmt::Result {
        let upstreams = || self.snapshot.config.upstreams.iter().zip(&self.snapshot.checks);
        out.gauges(
            "umbra_upstream_unhealthy",
            "Endpoints that fail their health checks now",
            None,
            upstreams().map(|(upstream, of)| ([("upstream", upstream.name.as_str())], of.unhealthy.get())),
        )?;
        out.counters(
            "umbra_upstream_health_checks",
            "Health checks of endpoints, by result",
            upstreams().flat_map(|(upstream, of)| {
                [("passed", of.passed.get()), ("failed", of.failed.get())]
                    .map(|(result, n)| ([("upstream", upstream.name.as_str()), ("result", result)], n))
            }),
        )?;
        let names = &self.snapshot.names;
        out.counters(
            "umbra_name_lookups",
            "Lookups of endpoints' names, by result; one that fails changes no address",
            [("answered", names.answered.get()), ("failed", names.failed.get())]
                .map(|(result, n)| ([("result", result)], n)),
        )
    }
}
