//! A mirror that can be broken while it is used: `loadgen serve`, and the states the isolation table has a row for.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::http;
use crate::netns::Namespace;
use crate::origin::served_port;
use crate::os;
use crate::process::Process;

/// A row of the isolation table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub name: &'static str,
    /// As `loadgen serve` spells it.
    fault: &'static str,
    behavior: &'static str,
}

const fn broken(name: &'static str, fault: &'static str) -> State {
    State { name, fault, behavior: HEALTHY }
}

/// A small answer without delay.
const HEALTHY: &str = "size=64,framing=length";

pub const STATES: [State; 12] = [
    broken("healthy", "none"),
    broken("refuse", "refuse"),
    broken("blackhole", "blackhole"),
    broken("accept_never_read", "accept_never_read"),
    broken("never_answer", "never_answer"),
    // Behind the status line, before the head's end.
    broken("reset_mid_answer", "reset_at=40"),
    broken("answer_after_1s", "answer_after=1s"),
    State { name: "answer_100mb", fault: "none", behavior: "size=100M,framing=length" },
    broken("garbage", "garbage"),
    broken("endless_chunked", "endless_chunked"),
    broken("slow_bytes", "slow_write=100"),
    broken("flapping", "flap=500ms"),
];

pub fn choose(names: &[String]) -> Result<Vec<State>> {
    if let Some(unknown) = names.iter().find(|n| STATES.iter().all(|s| s.name != **n)) {
        let known: Vec<&str> = STATES.iter().map(|s| s.name).collect();
        bail!("no fault `{unknown}`; there are {}", known.join(", "));
    }
    Ok(STATES.into_iter().filter(|s| names.is_empty() || names.iter().any(|n| n == s.name)).collect())
}

pub struct Mirror {
    pub addr: SocketAddr,
    control: SocketAddr,
    _process: Process,
    _namespace: Option<Namespace>,
}

impl Mirror {
    /// The process stands for another machine: its CPU must not be taken from the gateway under measurement, so
    /// it runs only where a core is idle.
    pub fn start(loadgen: &Path, dir: &Path, namespace: Option<Namespace>) -> Result<Self> {
        let mut command = match &namespace {
            Some(namespace) => namespace.command(loadgen),
            None => Command::new(loadgen),
        };
        let address = namespace.as_ref().map_or(Ipv4Addr::LOCALHOST, |namespace| namespace.address);
        os::run_when_idle(&mut command);
        command.args(["serve", "--threads", "1", "--port", &format!("v2={address}:0,{HEALTHY}")]);
        command.args(["--control", &format!("{address}:0")]);
        let mut process = Process::start("loadgen-serve", command, dir, true)?;
        let addr = process.wait_line(|line| served_port(line, "v2"))?;
        let control = process.wait_line(|line| served_port(line, "control"))?;
        Ok(Self { addr, control, _process: process, _namespace: namespace })
    }

    pub fn set(&self, state: State) -> Result<()> {
        let what = || format!("the mirror could not be made {}", state.name);
        http::put(self.control, "/ports/v2/behavior", state.behavior).with_context(what)?;
        http::put(self.control, "/ports/v2/fault", state.fault).with_context(what)?;
        Ok(())
    }

    pub fn heal(&self) -> Result<()> {
        self.set(STATES[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_choose_rows() {
        assert_eq!(choose(&[]).expect("all").len(), STATES.len());
        assert_eq!(choose(&["flapping".into()]).expect("one")[0].fault, "flap=500ms");
        assert!(choose(&["boom".into()]).is_err());
        assert_eq!(STATES[0].name, "healthy");
    }
}
