//! Closed-loop load from wrk: as many requests as so many connections can carry. Returns wrk's figures; judges nothing.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::process::run_to_end;
use crate::tools::Tools;

/// Beyond its duration, for connecting and summing up.
const EXTRA: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub body_bytes: usize,
    pub keep_alive: bool,
    pub path: String,
}

/// Observations of the clients. Times in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub struct Seen {
    pub requests: u64,
    pub seconds: f64,
    pub p50: f64,
    pub p99: f64,
    pub p99_9: f64,
    /// Failed connects, reads, writes, timeouts, and answers of 400 and above.
    pub errors: u64,
}

impl Seen {
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}

/// `core`: where wrk runs, so that it takes the same core from everyone it measures.
pub fn run(
    tools: &Tools,
    addr: SocketAddr,
    request: &Request,
    connections: usize,
    time: Duration,
    core: Option<usize>,
    dir: &Path,
) -> Result<Seen> {
    let script = dir.join("wrk.lua");
    fs::write(&script, lua(request))?;
    let wrk = tools.wrk()?;
    let mut command = match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string()]).arg(wrk);
            command
        }
        None => Command::new(wrk),
    };
    let seconds = time.as_secs().max(1);
    command
        .args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--timeout", "10s", "-s"])
        .arg(&script)
        .arg(format!("http://{addr}{}", request.path));
    let output = run_to_end("wrk", command, dir, time + EXTRA)?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    // Their kinds are shown in the terminal; the figures keep only their number.
    text.lines()
        .filter_map(|line| line.strip_prefix("errors "))
        .for_each(|kinds| eprintln!("  ! wrk: {kinds}"));
    parse(&text)
}

/// The summary as one line of JSON. The script runs before and after the load only, never per request.
fn lua(request: &Request) -> String {
    let close = if request.keep_alive { "" } else { "wrk.headers[\"Connection\"] = \"close\"\n" };
    let body = match request.body_bytes {
        0 => String::new(),
        bytes => format!("wrk.body = string.rep(\"x\", {bytes})\n"),
    };
    format!(
        "wrk.method = \"{}\"\n{body}{close}\
         done = function(s, latency, _)\n\
         local e = s.errors\n\
         io.write(string.format('\\nbench {{\"requests\":%d,\"seconds\":%.6f,\"p50\":%.1f,\"p99\":%.1f,\
         \"p99_9\":%.1f,\"errors\":%d}}\\n',\n\
         s.requests, s.duration / 1e6, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),\n\
         e.connect + e.read + e.write + e.status + e.timeout))\n\
         if e.connect + e.read + e.write + e.status + e.timeout > 0 then\n\
         io.write(string.format('errors connect %d, read %d, write %d, status %d, timeout %d\\n',\n\
         e.connect, e.read, e.write, e.status, e.timeout))\n\
         end\n\
         end\n",
        request.method
    )
}

fn parse(text: &str) -> Result<Seen> {
    let line = text.lines().find_map(|line| line.strip_prefix("bench "));
    let line = line.with_context(|| format!("wrk ended without its summary: {}", text.trim()))?;
    serde_json::from_str(line).with_context(|| format!("wrk's summary does not read: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_found_among_what_wrk_prints() {
        let text = "Running 1s test\n  3 requests in 1s\n\n\
            bench {\"requests\":3,\"seconds\":1.5,\"p50\":7.0,\"p99\":8.0,\"p99_9\":9.0,\"errors\":1}\n";
        let seen = parse(text).expect("it is there");
        assert_eq!((seen.requests, seen.errors, seen.rate()), (3, 1, 2.0));
        assert!(parse("Running 1s test").is_err());
    }
}
