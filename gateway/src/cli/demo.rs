//! `gateway demo`: where it listens.

use std::net::{Ipv4Addr, SocketAddr};

use crate::server::Source;

/// Free ones, so that a demo disturbs nothing that runs.
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Demo {
    /// Address of the gateway; without it a free port on this machine
    #[arg(long, value_name = "ADDRESS", default_value_t = ANY_PORT, hide_default_value = true)]
    listen: SocketAddr,

    /// Address of its admin listener, where the dashboard is; without it a free port on this machine
    #[arg(long, value_name = "ADDRESS", default_value_t = ANY_PORT, hide_default_value = true)]
    admin: SocketAddr,
}

impl Demo {
    pub(super) fn source(&self) -> Source {
        Source::Demo { listen: self.listen, admin: self.admin }
    }
}
