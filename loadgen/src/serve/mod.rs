//! `loadgen serve`: origins and mirrors in one process, healthy or broken on demand. Knows nothing of load.

pub mod answer;
pub mod behavior;
pub mod connection;
pub mod over;
pub mod control;
pub mod fault;
pub mod handshake;
mod echo;
pub mod http2;
pub mod incoming;
pub mod local;
pub mod port;
pub mod supervisor;
pub mod wire;
pub mod worker;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

pub use over::hex;
pub use supervisor::{PortSpec, Supervisor};

use crate::{tls, units};
use fault::Fault;
use port::Plan;

/// `5s v2 blackhole`: at that time after the start, that port gets that fault.
#[derive(Clone, Debug, PartialEq)]
pub struct TimedFault {
    pub at: Duration,
    pub port: String,
    pub fault: Fault,
}

impl std::str::FromStr for TimedFault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let (Some(at), Some(port), Some(fault), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(format!("`{text}`: TIME PORT FAULT, such as `5s v2 blackhole`"));
        };
        Ok(Self { at: units::duration(at)?, port: port.to_string(), fault: fault.parse()? })
    }
}

pub struct Options {
    pub ports: Vec<PortSpec>,
    pub control: SocketAddr,
    pub threads: usize,
    pub timeline: Vec<TimedFault>,
    pub tls: tls::server::Settings,
}

/// Starts everything and returns the control address and the supervisor; the threads serve until the process ends.
pub fn start(options: &Options) -> anyhow::Result<(SocketAddr, Arc<Supervisor>)> {
    for (index, spec) in options.ports.iter().enumerate() {
        anyhow::ensure!(
            spec.name != "control" && options.ports[..index].iter().all(|before| before.name != spec.name),
            "two ports are named `{}`",
            spec.name
        );
    }
    crate::os::raise_open_files();
    let supervisor = Supervisor::start(&options.ports, options.threads, &options.tls)?;
    for event in &options.timeline {
        anyhow::ensure!(supervisor.find(&event.port).is_some(), "no port `{}` for the timeline", event.port);
    }
    let control = control::start(options.control, supervisor.clone())?;
    Ok((control, supervisor))
}

/// Serves until the process is killed. One JSON line per port on standard output, the control address last.
pub fn run(mut options: Options) -> anyhow::Result<()> {
    let (control, supervisor) = start(&options)?;
    let mut out = std::io::stdout().lock();
    for owned in &supervisor.ports {
        writeln!(out, "{}", json!({"name": owned.port.name, "addr": owned.port.addr.to_string()}))?;
    }
    writeln!(out, "{}", json!({"name": "control", "addr": control.to_string()}))?;
    out.flush()?;
    let start = Instant::now();
    options.timeline.sort_by_key(|event| event.at);
    for event in options.timeline {
        std::thread::sleep(event.at.saturating_sub(start.elapsed()));
        if let Some(index) = supervisor.find(&event.port) {
            let plan = supervisor.ports[index].port.plan();
            supervisor.apply(index, Plan { fault: event.fault, ..(*plan).clone() })?;
            eprintln!("{:.3}s {} {}", start.elapsed().as_secs_f64(), event.port, event.fault);
        }
    }
    loop {
        std::thread::park();
    }
}
