//! TLS as metrics: handshakes with clients and upstreams, and until when certificates are good.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use super::{Families, Shards, level, total};
use crate::metrics::{Handshake, HandshakeCounters, Label};
use crate::tls::fault::Fault;

/// A row of handshakes: the name of the upstream, and its counters.
type Called<'a> = (&'a str, Vec<&'a HandshakeCounters>);

impl Shards<'_> {
    /// Handshakes with upstreams that have `tls`, as primaries and as mirrors.
    fn tls_calls(&self, out: &mut Families<'_>) -> fmt::Result {
        let config = &self.snapshot.config;
        let is_secured = |id: usize| config.upstreams.get(id).is_some_and(|upstream| upstream.tls.is_some());
        let counters = || self.snapshot.counters.iter();
        let upstreams = config.upstreams.iter().enumerate().filter(|(id, _)| is_secured(*id));
        let upstreams = upstreams.map(|(id, upstream)| {
            let of = counters().filter_map(|c| c.upstreams.get(id)).map(|of| &of.tls);
            (upstream.name.as_str(), of.collect())
        });
        let upstreams: Vec<Called<'_>> = upstreams.collect();
        let mut lanes: BTreeMap<&str, Vec<&HandshakeCounters>> = BTreeMap::new();
        for (id, lane) in config.lanes.iter().enumerate().filter(|(_, lane)| is_secured(lane.upstream)) {
            let of = counters().filter_map(|c| c.lanes.get(id)).map(|of| &of.tls);
            lanes.entry(&lane.name).or_default().extend(of);
        }
        let lanes: Vec<Called<'_>> = lanes.into_iter().collect();
        called(
            out,
            (
                "umbra_upstream_tls_handshakes",
                "TLS handshakes with this primary that were completed: full, or resumed by a ticket",
            ),
            (
                "umbra_upstream_tls_handshake_failures",
                "TLS handshakes with this primary that came to nothing, by reason",
            ),
            ("upstream", &upstreams),
        )?;
        called(
            out,
            (
                "umbra_mirror_tls_handshakes",
                "TLS handshakes with the mirror that were completed: full, or resumed by a ticket",
            ),
            (
                "umbra_mirror_tls_handshake_failures",
                "TLS handshakes with the mirror that came to nothing, by reason",
            ),
            ("mirror", &lanes),
        )
    }

    pub(super) fn tls(&self, out: &mut Families<'_>) -> fmt::Result {
        out.counters(
            "umbra_tls_handshakes",
            "TLS handshakes of clients that were completed: full, or resumed by a ticket",
            Handshake::ALL.iter().map(|l| ([("kind", l.text())], self.total(|s| s.tls.handshakes.get(*l)))),
        )?;
        out.counters(
            "umbra_tls_handshake_failures",
            "TLS handshakes of clients that came to nothing, by reason",
            Fault::ALL
                .iter()
                .filter(|l| **l != Fault::WrongName)
                .map(|l| ([("reason", l.text())], self.total(|s| s.tls.failures.get(*l)))),
        )?;
        let pending = level(self.shards, |s| s.tls.pending.get());
        out.gauge("umbra_tls_handshakes_pending", "TLS handshakes of clients under way", None, pending)?;
        let now = SystemTime::now();
        let left = self
            .snapshot
            .certificates
            .iter()
            .map(|one| ([("name", one.name.as_str())], one.seconds_left(now)));
        out.gauges(
            "umbra_tls_certificate_expires_seconds",
            "Time until a certificate in use expires, by its file; less than nothing where it has",
            None,
            left,
        )?;
        self.tls_calls(out)
    }
}

/// Bounds that clients alone run into.
fn is_of_calls(fault: &Fault) -> bool {
    !matches!(fault, Fault::Pending | Fault::Rate)
}

fn called(
    out: &mut Families<'_>,
    (done, done_help): (&str, &str),
    (failed, failed_help): (&str, &str),
    (key, rows): (&'static str, &[Called<'_>]),
) -> fmt::Result {
    out.counters(
        done,
        done_help,
        rows.iter().flat_map(|(name, of)| {
            let kinds = Handshake::ALL.iter();
            kinds.map(move |l| ([(key, *name), ("kind", l.text())], total(of, |c| c.done.get(*l))))
        }),
    )?;
    out.counters(
        failed,
        failed_help,
        rows.iter().flat_map(|(name, of)| {
            let reasons = Fault::ALL.iter().filter(|l| is_of_calls(l));
            reasons.map(move |l| ([(key, *name), ("reason", l.text())], total(of, |c| c.failures.get(*l))))
        }),
    )
}
