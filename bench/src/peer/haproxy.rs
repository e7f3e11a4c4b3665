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
    let file = dir.join("haproxy.cfg");
    let conf = format!(
        "global\n  nbthread {}\n  maxconn {}\n\
         defaults\n  mode http\n  timeout client 300s\n  timeout server 30s\n  timeout connect 5s\n  http-reuse always\n\
         frontend f\n  bind {addr} backlog 4096\n  default_backend b\n\
         backend b\n  server v1 {}\n",
        setup.workers,
        4000.max(setup.connections + 64),
        targets.primary
    );
    fs::write(&file, conf)?;
    let mut command = Command::new(tools.program(Program::Haproxy)?);
    command.arg("-db").arg("-f").arg(&file);
    let mut process = Process::start("haproxy", command, dir, false)?;
    process.wait_accepting(addr)?;
    Ok(Gateway { addr, admin: None, process })
}
