//! TLS as metrics: handshakes with clients, and until when certificates are good.

use std::fmt;
use std::time::SystemTime;

use super::{Families, Shards, level};
use crate::metrics::{Handshake, Label};
use crate::tls::fault::Fault;

impl Shards<'_> {
    pub(super) fn tls(&self, out: &mut Families<'_>) -> fmt::Result {
        out.counters(
            "umbra_tls_handshakes",
            "TLS handshakes of clients that were completed: full, or resumed by a ticket",
            Handshake::ALL.iter().map(|l| ([("kind", l.text())], self.total(|s| s.tls.handshakes.get(*l)))),
        )?;
        out.counters(
            "umbra_tls_handshake_failures",
            "TLS handshakes of clients that came to nothing, by reason",
            Fault::ALL.iter().map(|l| ([("reason", l.text())], self.total(|s| s.tls.failures.get(*l)))),
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
        )
    }
}
