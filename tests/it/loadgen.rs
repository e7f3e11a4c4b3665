//! The load generator and the gateway as each other's peers, over TLS, HTTP/2 and gRPC: do their figures agree?

use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use tests::certificates::Authority;
use tests::gateway::built;
use tests::{Gateway, Process, Setup};

use crate::http2::{PLAIN, listening};

fn loadgen() -> Command {
    static BINARY: OnceLock<std::path::PathBuf> = OnceLock::new();
    Command::new(BINARY.get_or_init(|| built("loadgen")))
}

/// An origin that dies with its test, and its address.
fn origin(port: &str) -> (Process, std::net::SocketAddr) {
    let mut process = Process::spawn(loadgen().args(["serve", "--threads", "1", "--port", port]));
    let lines = process.lines("{", 2);
    let first: Value = serde_json::from_str(&format!("{{{}", lines[0])).expect("JSON");
    let address = first["addr"].as_str().expect("its address").parse().expect("an address");
    (process, address)
}

/// What a run on one thread says.
fn run(url: &str, more: &[&str]) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("run.json");
    let mut command = loadgen();
    command.args(["run", "-q", "--threads", "1", "--max-lag", "10s", "--timeout", "60s", "--closed", url]);
    let output = command.args(more).arg("--json").arg(&file).output().expect("loadgen runs");
    let text = std::fs::read_to_string(&file);
    let text = text.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    serde_json::from_str(&text).expect("JSON")
}

/// The gateway's primary speaks HTTP/2.
fn to_http2(text: &str) -> String {
    let table = "[upstream.primary]\n";
    assert!(text.contains(table));
    text.replacen(table, &format!("{table}protocol = \"h2\"\n"), 1)
}

#[test]
fn handshakes_that_the_load_generator_made_are_those_that_the_gateway_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let shop = authority.issue("shop", &["shop.example"]);
    let (_origin, address) = origin("v1");
    let keys = format!("tls = {{ certificates = [{}] }}", shop.toml());
    let gateway = Gateway::start(&listening(&Setup::to(&[address]), &keys), &[]);
    let url = format!("https://{}/", gateway.address);
    let ca = authority.ca.display().to_string();
    let trusting = ["--cacert", &ca, "--sni", "shop.example", "-H", "Host: shop.example"];
    let counted =
        |kind: &str| gateway.metrics().sum("umbra_tls_handshakes_total", &[&format!("kind=\"{kind}\"")]);

    let each = ["-c", "2", "-n", "20", "--no-keepalive"];
    let document = run(&url, &[&trusting[..], &each].concat());
    assert_eq!(document["requests"]["ok"], 20, "{}", document["errors"]);
    let (full, resumed) =
        (document["handshakes"]["full"].as_i64(), document["handshakes"]["resumed"].as_i64());
    assert!(resumed >= Some(17), "all but the first come with a ticket: {resumed:?}");
    assert_eq!((full, resumed), (Some(counted("full")), Some(counted("resumed"))));

    let document = run(&url, &[&trusting[..], &each, &["--no-resumption"]].concat());
    assert_eq!(
        (&document["handshakes"]["full"], &document["handshakes"]["resumed"]),
        (&20.into(), &0.into())
    );

    let document =
        run(&url, &[&trusting[..], &["-c", "2", "-n", "40", "--http2", "--streams", "8"]].concat());
    assert_eq!((&document["requests"]["ok"], &document["requests"]["connects"]), (&40.into(), &2.into()));
}

#[test]
fn grpc_statuses_reach_the_load_generator_as_its_origin_gave_them() {
    let (_origin, address) = origin("v1,size=20,grpc_status=0:3+13:1");
    let gateway = Gateway::start(&to_http2(&listening(&Setup::to(&[address]), PLAIN)), &[]);
    let url = format!("http://{}/shop.Cart/Add", gateway.address);
    let grpc = ["--http2", "--grpc", "--streams", "8", "-c", "2", "-n", "200", "--body-hex", "0a03616263"];
    let document = run(&url, &grpc);
    let of = |status: &str| document["grpc_statuses"][status].as_u64().unwrap_or(0);
    assert_eq!(of("0") + of("13"), 200, "{}", document["errors"]);
    assert!(of("13") > 10 && document["requests"]["ok"] == of("0"), "{}", document["grpc_statuses"]);
    assert_eq!(document["messages_in"], 200);
}

#[test]
fn a_stream_of_ten_thousand_messages_passes_whole() {
    let (_origin, address) = origin("v1,echo");
    let gateway = Gateway::start(&to_http2(&listening(&Setup::to(&[address]), PLAIN)), &[]);
    let url = format!("http://{}/shop.Cart/Watch", gateway.address);
    let grpc = ["--http2", "--grpc", "-c", "1", "-n", "1", "--body-size", "16", "--messages", "10000"];
    let document = run(&url, &grpc);
    assert_eq!(document["messages_in"], 10_000, "{}", document["errors"]);
}
