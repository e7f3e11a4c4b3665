//! Our gateway's configuration: defaults, but for the number of workers, which are not pinned as the peers' are not.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{Gateway, Targets, pool, route_prefix};
use crate::process::Process;
use crate::scenario::{Setup, Watched};
use crate::tools::Tools;

pub(super) fn start(setup: &Setup, targets: &Targets, tools: &Tools, dir: &Path) -> Result<Gateway> {
    let file = dir.join("gateway.toml");
    fs::write(&file, configuration(setup, targets, dir)?)?;
    launch(&file, tools, dir)
}

/// Our gateway by a file of any kind, on ports it chooses.
pub(super) fn launch(file: &Path, tools: &Tools, dir: &Path) -> Result<Gateway> {
    let mut command = Command::new(&tools.gateway);
    command.arg("--config").arg(file).args(["--log", "warn"]);
    let mut process = Process::start("gateway", command, dir, true)?;
    let addr = process.wait_line(listening)?;
    let mut others = Vec::new();
    let admin = loop {
        match process.wait_line(|line| Some((listening(line), admin(line))))? {
            (Some(other), _) => others.push(other),
            (None, Some(admin)) => break admin,
            (None, None) => {}
        }
    };
    process.wait_accepting(addr)?;
    Ok(Gateway { addr, others, admin: Some(admin), process })
}

fn listening(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("listening on ")?.parse().ok()
}

fn admin(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("admin on ")?.parse().ok()
}

fn configuration(setup: &Setup, targets: &Targets, dir: &Path) -> Result<String> {
    let wires = &setup.wires;
    let listener = match (wires.is_tls(), wires.streams) {
        (true, _) => format!(
            "tls = {{ certificates = [{{ cert = {:?}, key = {:?} }}] }}\n",
            dir.join("server.pem"),
            dir.join("server.key")
        ),
        (false, Some(_)) => "protocols = [\"h2\", \"http1\"]\n".to_string(),
        (false, None) => String::new(),
    };
    // The peers do not check certificates of origins by default.
    let tls = if wires.tls_upstream { "tls = { danger_accept_any_certificate = true }\n" } else { "" };
    let protocol = if wires.http2_upstream { "protocol = \"h2\"\n" } else { "" };
    let upstream = format!("{tls}{protocol}");
    let mut out = format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n{listener}[admin]\nbind = \"127.0.0.1:0\"\n\
         [workers]\ncount = {}\npin = false\n\
         [limits]\nconnections_max = {}\nupstream_idle_max = {}\n\
         [upstream.v1]\nendpoints = [\"{}\"]\n{upstream}",
        setup.workers,
        16384.max(setup.connections + 64),
        pool(setup),
        targets.primary,
    );
    let watched = |by| setup.watched.includes(by);
    if watched(Watched::Logged) {
        writeln!(out, "[access_log]\nto = {:?}", dir.join("access.log"))?;
    }
    if watched(Watched::Traced) {
        writeln!(out, "[tracing]\nto = \"nowhere\"\npercent = 100")?;
    }
    for (index, mirror) in targets.mirrors.iter().enumerate() {
        write!(out, "[upstream.v{}]\nendpoints = [\"{mirror}\"]\n{upstream}", index + 2)?;
    }
    for route in 0..setup.routes {
        let prefix = route_prefix(setup, route);
        writeln!(out, "[[route]]\nname = \"r{route}\"\npath_prefix = \"{prefix}\"\nprimary = \"v1\"")?;
        if wires.websocket {
            writeln!(out, "upgrade = [\"websocket\"]")?;
        }
        for index in 0..targets.mirrors.len() {
            writeln!(out, "[[route.mirrors]]\nupstream = \"v{}\"\npercent = {}", index + 2, setup.percent)?;
            if watched(Watched::Compared) {
                writeln!(out, "compare = {{}}")?;
            }
            if let Some(bytes) = &setup.ring_bytes_max {
                writeln!(out, "ring_bytes_max = \"{bytes}\"")?;
            }
        }
    }
    Ok(out)
}
