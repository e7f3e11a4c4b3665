//! Tunnels as metrics: their number, the bytes through them, and their ends.

use std::fmt;

use super::{Families, Shards};
use crate::metrics::{Label, TunnelEnd, TunnelWay};

impl Shards<'_> {
    pub(super) fn tunnels(&self, out: &mut Families<'_>) -> fmt::Result {
        let active: i64 = self.shards.iter().map(|s| s.tunnels.active.get()).sum();
        out.gauge("umbra_tunnels_active", "Tunnels (WebSockets) open now", None, active)?;
        out.counter(
            "umbra_tunnels_opened",
            "Tunnels that were opened",
            self.total(|s| s.tunnels.opened.get()),
        )?;
        out.counters(
            "umbra_tunnels_ended",
            "Tunnels that ended, by how",
            TunnelEnd::ALL.iter().map(|l| ([("reason", l.text())], self.total(|s| s.tunnels.ended.get(*l)))),
        )?;
        out.counters(
            "umbra_tunnel_bytes",
            "Bytes passed on in tunnels, by direction",
            TunnelWay::ALL
                .iter()
                .map(|l| ([("direction", l.text())], self.total(|s| s.tunnels.bytes.get(*l)))),
        )?;
        out.counter(
            "umbra_upgrades_ignored",
            "Requests that offered an upgrade which their route does not take, and were served without it",
            self.total(|s| s.tunnels.passed_over.get()),
        )
    }
}
