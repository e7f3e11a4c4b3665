//! HAProxy's configuration: a plain proxy, as it has no mirroring of its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{Gateway, Targets};
use crate::origin::free_addrs;
use crate::process::Process;
use crate::scenario::Setup;
use crate::tools::Tools;
use crate::variant::Program;

pub(super) fn start(setup: &Setup, targets: &Targets, tools: &Tools, dir: &Path) -> Result<Gateway> {
    ensure!(targets.mirrors.is_empty() && setup.routes == 1, "HAProxy is only a plain proxy here");
    let [addr] = free_addrs()?;
    let wires = &setup.wires;
    let bind = match (wires.is_tls(), wires.streams) {
        (true, _) => format!(" ssl crt {} alpn h2,http/1.1", dir.join("both.pem").display()),
        (false, Some(_)) => " proto h2".to_string(),
        (false, None) => String::new(),
    };
    let server = match (wires.tls_upstream, wires.http2_upstream) {
        (true, true) => " ssl verify none alpn h2",
        (true, false) => " ssl verify none",
        (false, true) => " proto h2",
        (false, false) => "",
    };
    let file = dir.join("haproxy.cfg");
    // By default HAProxy closes idle connections to servers when a quarter of its descriptors is in use, and would be measured
    // connecting for each request where a user had given it more descriptors.
    // HAProxy also counts on two descriptors for each connection and would not start where the hard limit is below that, though
    // resting connections need one. `descriptors` in `rounds` has checked that there are enough.
    let conf = format!(
        "global\n  nbthread {}\n  maxconn {}\n  no strict-limits\n  tune.pool-low-fd-ratio 100\n  \
         tune.pool-high-fd-ratio 100\n\
         defaults\n  mode http\n  timeout client 300s\n  timeout server 30s\n  timeout connect 5s\n  timeout tunnel 300s\n  http-reuse always\n\
         frontend f\n  bind {addr} backlog 4096{bind}\n  default_backend b\n\
         backend b\n  server v1 {}{server}\n",
        setup.workers,
        4000.max(setup.connections * wires.at_once() + 64),
        targets.primary
    );
    fs::write(&file, conf)?;
    let mut command = Command::new(tools.program(Program::Haproxy)?);
    command.arg("-db").arg("-f").arg(&file);
    let mut process = Process::start("haproxy", command, dir, false)?;
    process.wait_accepting(addr)?;
    Ok(Gateway { addr, others: Vec::new(), admin: None, process })
}
