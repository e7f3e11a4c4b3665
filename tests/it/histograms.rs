//! Distributions of times: the gateway's are those of the load generator, in every format.

use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use tests::gateway::{binary, built};
use tests::{Gateway, Process, Setup};

const REQUESTS: u64 = 600;

/// The gateway knows a value to one percent, the load generator to a tenth of one.
const PRECISION: f64 = 0.011;

/// Time that a busy machine may put between the two clocks in the middle of a distribution.
const BETWEEN_CLOCKS_MS: f64 = 25.0;

fn loadgen() -> Command {
    static BINARY: OnceLock<std::path::PathBuf> = OnceLock::new();
    Command::new(BINARY.get_or_init(|| built("loadgen")))
}

/// Two versions that take their time: v1 100 to 300 ms, v2 twice as long.
fn versions() -> (Process, Vec<String>) {
    let mut serve = loadgen();
    serve.args(["serve", "--port", "v1,delay=uniform:100ms:300ms", "--port", "v2,delay=uniform:200ms:600ms"]);
    let mut process = Process::spawn(&mut serve);
    let ports = process.lines("{", 3);
    let address = |name: &str| {
        let all = ports.iter().map(|line| serde_json::from_str::<Value>(&format!("{{{line}")).expect("JSON"));
        let port = all.into_iter().find(|port| port["name"] == name).expect("the port");
        port["addr"].as_str().expect("its address").to_owned()
    };
    (process, vec![address("v1"), address("v2")])
}

fn told(gateway: &Gateway, query: &str) -> Value {
    let answer = gateway.admin("GET", &format!("/histograms?{query}"), "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_str(&answer.text()).expect("JSON")
}

fn ms(of: &Value, quantile: &str) -> f64 {
    of[format!("{quantile}_seconds")].as_f64().expect("a time") * 1e3
}

#[test]
fn the_gateways_distributions_are_those_that_the_client_and_v2_saw() {
    let (_versions, addresses) = versions();
    let address = |at: usize| addresses[at].parse().expect("an address");
    let v1 = [address(0)];
    let gateway = Setup::to(&v1).mirror("v2", address(1), "connections_max = 64").start();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("run.json");
    let run = loadgen()
        .args(["run", "-q", "--threads", "1", "--connections", "64", "--rate", "100", "--max-lag", "5s"])
        .args(["--requests", &REQUESTS.to_string(), "--duration", "30s", "--json"])
        .arg(&file)
        .arg(format!("http://{}/", gateway.address))
        .output()
        .expect("loadgen runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let _all_ended = gateway.settled("v2");

    let client: Value =
        serde_json::from_str(&std::fs::read_to_string(&file).expect("its report")).expect("JSON");
    let all = told(&gateway, "");
    let of = |name: &str| {
        let mut found = all["histograms"].as_array().expect("a list").iter().filter(|of| of["name"] == name);
        let of = found.next().unwrap_or_else(|| panic!("{name}: {all:#}"));
        assert_eq!(of["since_start"]["count"], REQUESTS, "{name}");
        of["since_start"].clone()
    };
    let (route, primary, paired, mirror) = (of("route"), of("primary"), of("paired"), of("mirror"));
    for quantile in ["p50", "p90", "p99"] {
        let seen = client["service_us"][quantile].as_f64().expect("a time") / 1e3;
        let (ours, inner) = (ms(&route, quantile), ms(&primary, quantile));
        // Each time lies within the other, request by request, so each quantile does; but the gateway may lose its core between
        // a response's last write and its look at the clock, as a few requests of a busy machine tell.
        let within = ours <= seen * (1.0 + PRECISION) + BETWEEN_CLOCKS_MS;
        assert!(within || quantile == "p99", "{quantile}: {ours} ms within {seen} ms");
        assert!(inner <= ours * (1.0 + PRECISION), "{quantile}: {inner} ms within {ours} ms");
        assert_eq!(ms(&paired, quantile), inner, "{quantile}: every request had its copy");
    }
    let (seen, ours) = (client["service_us"]["p50"].as_f64().expect("a time") / 1e3, ms(&primary, "p50"));
    assert!(ours >= seen * (1.0 - PRECISION) - BETWEEN_CLOCKS_MS, "{ours} ms of {seen} ms");
    assert!((1.0 - ours / 200.0).abs() < 0.25, "v1 takes 200 ms in the middle, not {ours} ms");
    let v2 = ms(&mirror, "p50");
    assert!((1.0 - v2 / 400.0).abs() < 0.25, "v2 takes 400 ms in the middle, not {v2} ms");

    // Ten seconds later the same stands in the interval, in the log, and in the terminal.
    let interval = |of: &Value| of["histograms"][0]["interval"]["count"].as_u64();
    tests::eventually_within(std::time::Duration::from_secs(30), "a window is over", || {
        interval(&told(&gateway, "name=mirror&seconds=300")) == Some(REQUESTS)
    });
    let log = gateway.admin("GET", "/histograms?format=hlog&name=mirror", "").text();
    assert!(log.lines().any(|line| line.starts_with("Tag=mirror/all_v2,")), "{log}");
    let shown = Command::new(binary())
        .args(["histogram", "--seconds", "300", "--admin", &format!("http://{}", gateway.admin)])
        .output()
        .expect("the command runs");
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success() && text.contains(&format!("v2 on all, {REQUESTS} pairs")), "{text}");
}
