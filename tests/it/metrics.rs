//! `/metrics` as Prometheus reads it: its own checker, and the server itself.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tests::load::ask_all;
use tests::{Gateway, Origin, Process, Setup, eventually_within};

/// A gateway that has counted something of everything.
fn counted() -> (Gateway, [Origin; 2]) {
    let origins = [Origin::named("v1"), Origin::named("v2")];
    let gateway = Setup::new(&origins[0]).mirror("v2", origins[1].address, "compare = {}").start();
    ask_all(&gateway, 0..50);
    let _settled = gateway.settled("v2");
    (gateway, origins)
}

/// Where Debian's package `prometheus` has its programs.
#[track_caller]
fn tool(name: &str) -> Command {
    let found = Command::new(name).arg("--version").output().is_ok();
    assert!(found, "{name} is not installed: apt-get install prometheus");
    Command::new(name)
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    let (gateway, _origins) = counted();
    let text = gateway.admin_with("GET", "/metrics", "Accept: text/plain\r\n", "").text();
    assert!(text.contains("umbra_mirror_latency_seconds_bucket"), "{text}");
    let mut checker = tool("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    checker.stdin.take().expect("its input").write_all(text.as_bytes()).expect("it reads");
    let output = checker.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn a_real_prometheus_scrapes_every_family() {
    let (gateway, _origins) = counted();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("prometheus.yml");
    let config = format!(
        "global:\n  scrape_interval: 1s\nscrape_configs:\n- job_name: umbra\n  static_configs:\n  - targets: ['{}']\n",
        gateway.admin
    );
    fs::write(&file, config).expect("it is written");
    // Prometheus cannot take port 0; no other test has a port on this address.
    let free = std::net::TcpListener::bind("127.0.9.1:0").expect("bind").local_addr().expect("address");
    let mut server = tool("prometheus");
    server
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address={free}"));
    let _server = Process::spawn(&mut server);
    let ask = |query: &str| -> Option<Value> {
        let url = format!("http://{free}/api/v1/query?query={query}");
        let output =
            Command::new("curl").args(["-s", "--noproxy", "*", "--max-time", "5", &url]).output().ok()?;
        serde_json::from_slice(&output.stdout).ok()
    };
    let value = |query: &str| {
        let told = ask(query)?;
        told["data"]["result"][0]["value"][1].as_str()?.parse::<f64>().ok()
    };
    // The first time is seconds after its start.
    let patience = Duration::from_secs(60);
    eventually_within(patience, "it has scraped", || value("umbra_mirror_sent_total") == Some(50.0));
    assert_eq!(value("up"), Some(1.0));
    assert_eq!(value("umbra_mirror_latency_seconds_count"), Some(50.0));
    assert_eq!(value("umbra_pairs_total"), Some(50.0));
    let p50 = value("histogram_quantile(0.5,umbra_primary_latency_seconds_bucket)");
    assert!(p50.is_some_and(|seconds| seconds > 0.0 && seconds < 1.0), "{p50:?}");
}
