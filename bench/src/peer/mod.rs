//! A gateway under measurement, ours or another's: started from a generated configuration, ready when it accepts. Each
//! program's spelling is in its own file; none knows the coming load.

mod ours;
mod nginx;
mod haproxy;
mod envoy;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};

use crate::process::Process;
use crate::procfs::{self, Memory, Scheduled};
use crate::scenario::Setup;
use crate::tools::Tools;
use crate::variant::{Program, Variant};
use crate::wires::make_keys;

pub struct Gateway {
    pub addr: SocketAddr,
    /// Of its further listeners, as its file names them; ours only.
    pub others: Vec<SocketAddr>,
    /// Ours only: where its ledger is.
    pub admin: Option<SocketAddr>,
    process: Process,
}

/// Addresses that a gateway forwards and copies to.
#[derive(Clone, Debug)]
pub struct Targets {
    pub primary: SocketAddr,
    pub mirrors: Vec<SocketAddr>,
}

impl Gateway {
    /// `name` must be unique in `dir`; it names the directory of this gateway's files.
    pub fn start(
        variant: Variant,
        setup: &Setup,
        targets: &Targets,
        tools: &Tools,
        dir: &Path,
        name: &str,
    ) -> Result<Self> {
        let dir = dir.join(name);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make a directory for {name}"))?;
        if setup.wires.is_tls() {
            make_keys(&dir)?;
        }
        let mut targets = targets.clone();
        targets.mirrors.truncate(if variant.mirrors() { setup.mirrors } else { 0 });
        let started = match variant.program() {
            Program::Ours => ours::start(setup, &targets, tools, &dir),
            Program::Nginx => nginx::start(setup, &targets, tools, &dir),
            Program::Haproxy => haproxy::start(setup, &targets, tools, &dir),
            Program::Envoy => envoy::start(setup, &targets, tools, &dir),
        };
        started.with_context(|| format!("{name} as {}", variant.name()))
    }

    /// Ours by a file of the caller's own.
    pub fn ours(file: &Path, tools: &Tools, dir: &Path) -> Result<Self> {
        ours::launch(file, tools, dir)
    }

    /// The root of its processes.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn memory(&self) -> Memory {
        procfs::memory(self.process.pid())
    }

    pub fn scheduled(&self) -> Scheduled {
        procfs::scheduled(self.process.pid())
    }

    pub fn check_alive(&mut self) -> Result<()> {
        self.process.check_alive()
    }
}

/// The path prefix of a route, by its number; the load asks for the last.
pub fn route_prefix(setup: &Setup, index: usize) -> String {
    if setup.routes == 1 { "/".to_string() } else { format!("/r/{index}/") }
}

/// The path that the load requests.
pub fn path(setup: &Setup) -> String {
    route_prefix(setup, setup.routes - 1)
}

/// Connections to an origin worth keeping: enough for every request at once.
fn pool(setup: &Setup) -> usize {
    (setup.busy * setup.wires.at_once()).max(256)
}
