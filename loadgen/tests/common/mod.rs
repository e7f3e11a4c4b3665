//! Helpers of all outside tests: a server that dies with its test, runs of the program, conditions with a deadline.
#![allow(dead_code, unreachable_pub)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use loadgen::client;
use loadgen::run::request::Url;
use loadgen::serve::port::{Arrival, Totals};

pub const BIN: &str = env!("CARGO_BIN_EXE_loadgen");

/// A `loadgen serve` process with its addresses.
pub struct Server {
    child: Child,
    addrs: Vec<(String, String)>,
}

impl Server {
    pub fn start(ports: &[&str]) -> Self {
        Self::start_with(ports, &["--threads", "1"])
    }

    pub fn start_with(ports: &[&str], more: &[&str]) -> Self {
        let mut command = Command::new(BIN);
        command.arg("serve").args(more).stdout(Stdio::piped());
        for port in ports {
            command.args(["--port", port]);
        }
        let mut child = command.spawn().expect("serve starts");
        let out = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut addrs = Vec::new();
        for line in out.lines() {
            let line: serde_json::Value = serde_json::from_str(&line.expect("a line")).expect("a JSON line");
            let text = |key: &str| line[key].as_str().expect("a text").to_string();
            addrs.push((text("name"), text("addr")));
            if text("name") == "control" {
                break;
            }
        }
        Self { child, addrs }
    }

    pub fn addr(&self, name: &str) -> &str {
        &self.addrs.iter().find(|(known, _)| known == name).expect("a known port").1
    }

    pub fn url(&self, name: &str, target: &str) -> String {
        format!("http://{}{target}", self.addr(name))
    }

    /// As `url`, over TLS.
    pub fn https(&self, name: &str, target: &str) -> String {
        format!("https://{}{target}", self.addr(name))
    }

    pub fn control(&self, name: &str) -> String {
        format!("http://{}/ports/{name}", self.addr("control"))
    }

    pub fn set_fault(&self, name: &str, fault: &str) {
        client::set_fault(&url(&self.control(name)), fault).expect("the fault is switched");
    }

    pub fn set_behavior(&self, name: &str, behavior: &str) {
        let at = client::below(&url(&self.control(name)), "/behavior");
        client::errand("PUT", &at, behavior).expect("the behaviour is switched");
    }

    pub fn counters(&self, name: &str) -> Totals {
        let at = client::below(&url(&self.control(name)), "/counters");
        serde_json::from_str(&client::errand("GET", &at, "").expect("counters")).expect("counters are JSON")
    }

    pub fn log(&self, name: &str) -> Vec<Arrival> {
        let at = client::below(&url(&self.control(name)), "/log");
        serde_json::from_str(&client::errand("GET", &at, "").expect("a log")).expect("the log is JSON")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn url(text: &str) -> Url {
    text.parse().expect("a URL")
}

pub fn loadgen(args: &[&str]) -> Output {
    Command::new(BIN).args(args).output().expect("loadgen runs")
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A run with `--json`, on one thread, tolerant of a busy machine; returns its exit code and its document.
pub fn run_json(args: &[&str]) -> (i32, serde_json::Value) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("a path");
    let lag: &[&str] = if args.contains(&"--max-lag") { &[] } else { &["--max-lag", "1s"] };
    let output = loadgen(&[&["run", "-q", "--threads", "1", "--json", path], lag, args].concat());
    let json = std::fs::read_to_string(path).expect("the JSON was written");
    let document = serde_json::from_str(&json).unwrap_or_else(|_| panic!("no document: {}", text(&output)));
    (code(&output), document)
}

pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within 20 s");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// A number of a document by its path, such as `response_us.p99`.
pub fn number(document: &serde_json::Value, path: &str) -> f64 {
    let found = path.split('.').fold(document, |value, key| &value[key]);
    found.as_f64().unwrap_or_else(|| panic!("{path} is {found}"))
}
