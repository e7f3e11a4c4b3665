//! Load from `loadgen run`: in an open loop requests leave when they are due, whatever the answers do; in a closed one it
//! stands in for wrk where that lacks the protocol. Reads its report only.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::load::{Request, Seen};
use crate::process::run_to_end;
use crate::wires::Wires;

const EXTRA: Duration = Duration::from_secs(60);
/// Its exit code when it was itself the limit; its report is there all the same.
const SATURATED: i32 = 4;

pub struct OpenLoop<'a> {
    pub loadgen: &'a Path,
    pub wires: Wires,
    pub rate: u64,
    pub connections: usize,
    pub core: Option<usize>,
}

/// As many requests as so many connections, or their streams, can carry.
pub struct ClosedLoop<'a> {
    pub loadgen: &'a Path,
    pub wires: Wires,
    pub connections: usize,
    pub core: Option<usize>,
}

/// Whether the load generator has an open loop at all.
pub fn is_offered(loadgen: &Path) -> bool {
    let help = Command::new(loadgen).args(["run", "--help"]).output();
    help.is_ok_and(|o| o.status.success() && String::from_utf8_lossy(&o.stdout).contains("--rate"))
}

impl OpenLoop<'_> {
    /// Latencies of the clients, from the moments their requests were due, and whether the generator kept its schedule.
    pub fn run(
        &self,
        addr: SocketAddr,
        request: &Request,
        time: Duration,
        dir: &Path,
    ) -> Result<(Seen, bool)> {
        let mut command = pinned(self.loadgen, self.core);
        command.arg("run").arg(format!("{}://{addr}{}", self.wires.scheme(), request.path));
        command.args(["--rate", &self.rate.to_string()]).args(self.wires.arguments());
        finish(command, self.connections, &self.wires, request, time, dir)
    }
}

impl ClosedLoop<'_> {
    pub fn run(&self, addr: SocketAddr, request: &Request, time: Duration, dir: &Path) -> Result<Seen> {
        let mut command = pinned(self.loadgen, self.core);
        command.arg("run").arg(format!("{}://{addr}{}", self.wires.scheme(), request.path));
        command.arg("--closed").args(self.wires.arguments());
        finish(command, self.connections, &self.wires, request, time, dir).map(|(seen, _)| seen)
    }
}

fn pinned(loadgen: &Path, core: Option<usize>) -> Command {
    let Some(core) = core else { return Command::new(loadgen) };
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(loadgen);
    command
}

/// Adds the options of both loops, runs the command and reads its report.
fn finish(
    mut command: Command,
    connections: usize,
    wires: &Wires,
    request: &Request,
    time: Duration,
    dir: &Path,
) -> Result<(Seen, bool)> {
    let report = dir.join("loadgen.json");
    let _ = fs::remove_file(&report);
    command
        .args(["--quiet", "--threads", "1", "--connections", &connections.to_string()])
        .args(["--duration", &format!("{}ms", time.as_millis()), "--timeout", "5s", "--drain", "1s"])
        .arg("--json")
        .arg(&report);
    if !wires.websocket {
        command.args(["--method", &request.method]);
    }
    if request.body_bytes > 0 {
        command.args(["--body-size", &request.body_bytes.to_string()]);
    }
    if !request.keep_alive {
        command.arg("--no-keepalive");
    }
    let output = run_to_end("loadgen", command, dir, time + EXTRA)?;
    let said = || String::from_utf8_lossy(&output.stderr).trim().to_string();
    let text = fs::read_to_string(&report).with_context(|| format!("loadgen left no report: {}", said()))?;
    // A target that answers nothing makes the generator fail; that is an answer here.
    if !matches!(output.status.code(), Some(0 | 1 | SATURATED)) {
        bail!("loadgen failed ({}): {}", output.status, said());
    }
    parse(&text)
}

fn parse(text: &str) -> Result<(Seen, bool)> {
    let document: Value = serde_json::from_str(text).context("loadgen's report is no JSON")?;
    let number = |path: &str| {
        document
            .pointer(path)
            .and_then(Value::as_f64)
            .with_context(|| format!("loadgen's report has no {path}"))
    };
    let verdict = document.get("verdict").and_then(Value::as_str).unwrap_or("");
    let seen = Seen {
        requests: number("/requests/ok")? as u64,
        seconds: number("/measured_s")?,
        p50: number("/response_us/p50")?,
        p99: number("/response_us/p99")?,
        p99_9: number("/response_us/p99_9")?,
        errors: number("/requests/errors")? as u64,
    };
    Ok((seen, verdict.eq_ignore_ascii_case("valid")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_read_by_its_names() {
        let text = r#"{"verdict": "VALID", "measured_s": 2.0, "requests": {"ok": 10, "errors": 1},
            "response_us": {"p50": 1.0, "p99": 2.0, "p99_9": 3.0}}"#;
        let (seen, valid) = parse(text).expect("it reads");
        assert!(valid);
        assert_eq!((seen.rate(), seen.p99_9, seen.errors), (5.0, 3.0, 1));
        let error = parse("{}").expect_err("nothing in it");
        assert!(error.to_string().contains("/requests/ok"), "{error}");
    }
}
