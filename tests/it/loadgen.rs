//! The load generator and the gateway as each other's peers, over TLS, HTTP/2 and gRPC: do their figures agree?

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use tests::certificates::Authority;
use tests::gateway::built;
use tests::h2_origin::H2Origin;
use tests::{Gateway, Process, Setup, eventually_within};

use crate::http2::{PLAIN, listening};
use crate::tunnels::taking;

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

/// The report of a run on one thread.
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
fn connections_of_http2_that_their_server_ends_are_made_again_at_a_low_rate_too() {
    const CONNECTIONS: i64 = 4;
    let (_origin, address) = origin("v1");
    let aged = Setup::to(&[address]).with("[limits]\nconnection_age_max = \"1s\"");
    let gateway = Gateway::start(&listening(&aged, PLAIN), &[]);
    let url = format!("http://{}/", gateway.address);
    // One of them could carry all of this.
    let load = ["-q", "--threads", "1", "-r", "40", "-d", "10m", "--max-lag", "10s", "--http2", "-c", "4"];
    let _load = Process::spawn(loadgen().arg("run").args(load).arg(&url));
    let of = |what: &str| gateway.metrics().sum(what, &[]);
    eventually_within(Duration::from_secs(60), "each of them has come to its age", || {
        of("umbra_http2_goaways_total") >= 2 * CONNECTIONS
    });
    eventually_within(Duration::from_secs(60), "as many are open as were asked for", || {
        of("umbra_connections_active") == CONNECTIONS
    });
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

fn tunnels(gateway: &Gateway) -> i64 {
    gateway.metrics().sum("umbra_tunnels_opened_total", &[])
}

#[test]
fn messages_on_websockets_come_back_on_both_wires_and_over_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let shop = authority.issue("shop", &["shop.example"]);
    let keys = format!("tls = {{ certificates = [{}] }}", shop.toml());
    let ca = authority.ca.display().to_string();
    let trusting = ["--cacert", &ca, "--sni", "shop.example", "-H", "Host: shop.example"];
    let (_origin, address) = origin("v1");
    let each = ["--websocket", "--body-size", "1024", "-c", "4", "-n", "400"];
    let plain = Gateway::start(&taking(&Setup::to(&[address]), PLAIN), &[]);
    let covered = Gateway::start(&taking(&Setup::to(&[address]), &keys), &[]);
    for http2 in [&[][..], &["--http2", "--streams", "5"]] {
        let direct = run(&format!("http://{address}/"), &[&each[..], http2].concat());
        assert_eq!(direct["requests"]["ok"], 400, "{}", direct["errors"]);
        let before = tunnels(&plain);
        let document = run(&format!("http://{}/", plain.address), &[&each[..], http2].concat());
        assert_eq!(document["requests"]["ok"], 400, "{}", document["errors"]);
        let many = if http2.is_empty() { 4 } else { 20 };
        assert_eq!(tunnels(&plain) - before, many, "each is opened once");
        let url = format!("https://{}/", covered.address);
        let document = run(&url, &[&each[..], &trusting, http2].concat());
        assert_eq!(document["requests"]["ok"], 400, "{}", document["errors"]);
    }
}

#[test]
fn a_websocket_that_is_refused_or_breaks_is_an_error_with_its_name() {
    let (_refusing, refusing) = origin("v1,status=403");
    let each = ["--websocket", "-c", "1", "-n", "3", "--connect-timeout", "5s"];
    let document = run(&format!("http://{refusing}/"), &each);
    assert_eq!(document["requests"]["ok"], 0);
    assert!(document["errors"]["status_4xx"]["count"].as_u64() >= Some(1), "{}", document["errors"]);
    let (_breaking, breaking) = origin("v1,fault=reset_at=100");
    let document = run(&format!("http://{breaking}/"), &each);
    let errors = &document["errors"];
    let broken =
        ["reset", "closed_early"].iter().filter_map(|name| errors[*name]["count"].as_u64()).sum::<u64>();
    assert!(broken >= 1, "{errors}");
    assert!(document["requests"]["ok"].as_u64() >= Some(1), "what came before is whole: {document}");
}

#[test]
fn a_call_is_made_of_a_descriptor_set_and_json() {
    // `message M { string name = 1; int32 n = 2; } service S { rpc One(M) returns (M); rpc Many(stream M) returns (M); }`
    let set = b"\n`\n\x07t.proto\x12\x01t\"\x1c\n\x01M\x12\x0c\n\x04name\x18\x01 \x01(\t\x12\t\n\x01n\x18\x02 \x01(\x052,\n\x01S\x12\x11\
                \n\x03One\x12\x04.t.M\x1a\x04.t.M\x12\x14\n\x04Many\x12\x04.t.M\x1a\x04.t.M(\x01b\x06proto3";
    let folder = tempfile::tempdir().expect("a folder");
    let descriptors = folder.path().join("api.binpb");
    std::fs::write(&descriptors, set).expect("it is written");
    let origin = H2Origin::new(10);
    let file = descriptors.display().to_string();
    let call = |method: &str, data: &[&str]| {
        let mut words =
            vec!["--http2", "-n", "1", "-c", "1", "--grpc-descriptors", &file, "--grpc-method", method];
        data.iter().for_each(|text| words.extend(["--grpc-data", text]));
        run(&format!("http://{}", origin.address), &words)
    };
    call("t.S/One", &[r#"{"name": "ada", "n": 7}"#]);
    call("t.S/Many", &[r#"{"n": 1}"#, r#"{"n": 2}"#]);
    let taken = origin.taken();
    let seen: Vec<_> = taken
        .iter()
        .map(|one| (one.uri.rsplit_once("/t.S/").map(|(_, name)| name), one.body.as_slice()))
        .collect();
    assert_eq!(seen[0], (Some("One"), &b"\0\0\0\0\x07\x0a\x03ada\x10\x07"[..]));
    assert_eq!(seen[1], (Some("Many"), &b"\0\0\0\0\x02\x10\x01\0\0\0\0\x02\x10\x02"[..]));
    assert!(taken.iter().all(|one| one.field("content-type") == Some("application/grpc")));
    let wrong = loadgen()
        .args(["run", "--closed", "http://127.0.0.1:1", "--http2", "--grpc-descriptors", &file])
        .args(["--grpc-method", "t.S/None"])
        .output()
        .expect("loadgen runs");
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(!wrong.status.success() && said.contains("t.S/One, t.S/Many"), "{said}");
}
