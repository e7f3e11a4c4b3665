//! compare, find-max, scenario and verify from outside: are their judgements right?

mod common;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use common::{Server, code, loadgen, text};
use loadgen::client::Client;
use loadgen::http1::body::Body;
use loadgen::http1::head;

fn file() -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("a path").to_string();
    (file, path)
}

#[test]
fn compare_fails_on_a_regression_and_only_then() {
    let server = Server::start(&["fast,delay=2ms", "slow,delay=100ms"]);
    let ((_a, a), (_b, b)) = (file(), file());
    for (name, path) in [("fast", &a), ("slow", &b)] {
        let url = server.url(name, "/");
        let run = loadgen(&[
            "run",
            "-q",
            "-t",
            "1",
            "--max-lag",
            "1s",
            &url,
            "--rate",
            "200",
            "-d",
            "500ms",
            "--json",
            path,
        ]);
        assert_eq!(code(&run), 0, "{}", text(&run));
    }
    let compare =
        |first: &str, second: &str| code(&loadgen(&["compare", first, second, "--max-regress", "p50=20%"]));
    assert_eq!(compare(&a, &b), 3);
    assert_eq!(compare(&b, &a), 0);
    assert_eq!(compare(&a, &a), 0);
    let (_h, html) = file();
    assert_eq!(code(&loadgen(&["compare", &a, &b, "--html", &html])), 0);
    let page = std::fs::read_to_string(html).expect("a page");
    assert!(page.contains("const DATA = {") && !page.contains("src="), "one self-contained page");
}

#[test]
fn find_max_finds_the_capacity_that_little_s_law_gives() {
    // Four connections, each busy for 20 ms per request: 200 per second and no more.
    let server = Server::start(&["v,delay=20ms"]);
    let url = server.url("v", "/");
    let output = loadgen(&[
        "find-max",
        &url,
        "-c",
        "4",
        "-t",
        "1",
        "--slo",
        "p90<250ms",
        "--start",
        "50",
        "--step",
        "1s",
        "--warm-up",
        "100ms",
        "--precision",
        "30%",
        "--max-lag",
        "1s",
    ]);
    let out = text(&output);
    assert_eq!(code(&output), 0, "{out}");
    let verdict = out.lines().last().unwrap_or_default();
    let found: f64 = verdict
        .split_whitespace()
        .nth(1)
        .and_then(|w| w.strip_suffix("/s"))
        .and_then(|n| n.parse().ok())
        .unwrap_or(0.0);
    assert!((100.0..260.0).contains(&found), "{out}");
}

#[test]
fn a_scenario_switches_faults_and_judges_each_phase() {
    let server = Server::start(&["v"]);
    let (_s, path) = file();
    let scenario = r#"
        [target]
        timeout = "2s"
        threads = 1
        connections = 32
        max_lag = "1s"
        [[phase]]
        name = "calm"
        rate = "200"
        duration = "400ms"
        assert = ["errors<=0%"]
        [[phase]]
        name = "silent"
        rate = "100"
        duration = "300ms"
        assert = ["errors.timeout>50%", "p50>=1900ms"]
        [[phase]]
        name = "after"
        rate = "200"
        duration = "400ms"
        assert = ["errors<50%"]
        versus = "silent"
        max_regress = ["p90=0%"]
        [[fault]]
        phase = "silent"
        at = "0"
        port = "v"
        fault = "never_answer"
        [[fault]]
        phase = "after"
        at = "0"
        port = "v"
        fault = "none"
    "#;
    std::fs::write(&path, scenario).expect("written");
    let control = format!("http://{}", server.addr("control"));
    let (_h, html) = file();
    let args =
        ["scenario", &path, "-q", "--url", &server.url("v", "/"), "--control", &control, "--html", &html];
    let output = loadgen(&args);
    assert!([0, 4].contains(&code(&output)), "{}", text(&output));
    assert!(!text(&output).contains("FAILS"), "{}", text(&output));
    assert!(std::fs::read_to_string(&html).is_ok_and(|page| page.contains("\"silent\"")));

    std::fs::write(&path, scenario.replace("errors<=0%", "p50<1us")).expect("written");
    server.set_fault("v", "none");
    let output = loadgen(&args);
    assert!([3, 4].contains(&code(&output)) && text(&output).contains("FAILS"), "{}", text(&output));
}

#[test]
fn a_scenario_whose_fault_cannot_be_switched_fails() {
    let server = Server::start(&["v"]);
    let (_s, path) = file();
    let scenario = r#"
        [target]
        threads = 1
        max_lag = "1s"
        [[phase]]
        name = "calm"
        rate = "100"
        duration = "300ms"
        [[fault]]
        at = "100ms"
        port = "nobody"
        fault = "hold"
    "#;
    std::fs::write(&path, scenario).expect("written");
    let control = format!("http://{}", server.addr("control"));
    let output = loadgen(&["scenario", &path, "-q", "--url", &server.url("v", "/"), "--control", &control]);
    assert_eq!(code(&output), 1, "{}", text(&output));
    assert!(text(&output).contains("no port `nobody`"), "{}", text(&output));
}

/// The fake gateway's harm to a copy, by the number at the end of its id.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Harm {
    None,
    Drop,
    Duplicate,
    AlterBody,
    AlterHeader,
    AddHeader,
    AlterTarget,
    Truncate,
}

fn harm(number: u64, honest: bool) -> Harm {
    match number % 20 {
        _ if honest => Harm::None,
        3 => Harm::Drop,
        5 => Harm::Duplicate,
        7 => Harm::AlterBody,
        9 => Harm::AlterHeader,
        11 => Harm::AddHeader,
        13 => Harm::AlterTarget,
        15 => Harm::Truncate,
        _ => Harm::None,
    }
}

/// A mirroring gateway that serves one request per connection and spoils copies on purpose.
fn gateway(primary: SocketAddr, mirror: SocketAddr, honest: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let addr = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || handle(stream, primary, mirror, honest));
        }
    });
    addr
}

fn handle(mut client: TcpStream, primary: SocketAddr, mirror: SocketAddr, honest: bool) {
    let limit = Duration::from_secs(5);
    let (mut bytes, mut part) = (Vec::new(), [0u8; 65536]);
    let (mut to_primary, mut to_mirror) = (Client::new(primary, limit), Client::new(mirror, limit));
    loop {
        let parsed = head::request(&bytes).ok().flatten().and_then(|parsed| {
            let mut body = Body::new(parsed.framing);
            let used = body.feed(&bytes[parsed.head_len..], |_| ()).ok()?;
            body.is_done().then_some((parsed.head_len + used, parsed))
        });
        let Some((length, parsed)) = parsed else {
            match client.read(&mut part) {
                Ok(count) if count > 0 => bytes.extend_from_slice(&part[..count]),
                _ => return,
            }
            continue;
        };
        let request: Vec<u8> = bytes.drain(..length).collect();
        let Ok(reply) = to_primary.exchange(&request, false) else { return };
        let id = parsed
            .id
            .clone()
            .map(|id| String::from_utf8_lossy(&request[id]).into_owned())
            .unwrap_or_default();
        let number = id.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        copy(&request, parsed.head_len, harm(number, honest), &mut to_mirror, mirror);
        let answer = format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n\r\n", reply.status, reply.body.len());
        if client.write_all(&[answer.as_bytes(), &reply.body].concat()).is_err() {
            return;
        }
    }
}

fn copy(request: &[u8], head_len: usize, harm: Harm, mirror: &mut Client, addr: SocketAddr) {
    let replace = |from: &str, to: &str| {
        let text = String::from_utf8_lossy(&request[..head_len]).replacen(from, to, 1);
        [text.as_bytes(), &request[head_len..]].concat()
    };
    let spoiled = match harm {
        Harm::Drop => return,
        Harm::None | Harm::Duplicate => request.to_vec(),
        Harm::AlterBody => {
            let mut all = request.to_vec();
            let last = all.len() - 1;
            all[last] ^= 1;
            all
        }
        Harm::AlterHeader => replace("X-Proof-List: first", "X-Proof-List: other"),
        Harm::AddHeader => replace("X-Proof-List", "X-New: 1\r\nX-Proof-List"),
        Harm::AlterTarget => replace("?proof=", "?prove="),
        Harm::Truncate => {
            let mut stream = TcpStream::connect(addr).expect("the mirror listens");
            stream.write_all(&request[..request.len() - 1]).expect("most of the copy");
            return;
        }
    };
    let _ = mirror.exchange(&spoiled, false);
    if harm == Harm::Duplicate {
        let _ = mirror.exchange(&spoiled, false);
    }
}

fn verify(server: &Server, gateway: SocketAddr, more: &[&str]) -> (i32, serde_json::Value, String) {
    let (_f, path) = file();
    let (primary, mirror) = (server.control("v1"), server.control("v2"));
    let url = format!("http://{gateway}/");
    // All requests have a body of a known framing, so that every harm can be done to every request.
    let fixed = [
        "verify",
        &url,
        "--primary",
        &primary,
        "--mirror",
        &mirror,
        "-n",
        "400",
        "--bodiless-share",
        "0",
        "--chunked-share",
        "0",
        "--body",
        "1..4k",
        "--json",
        &path,
    ];
    let output = loadgen(&[&fixed[..], more].concat());
    let json = std::fs::read_to_string(&path).unwrap_or_default();
    let document = serde_json::from_str(&json).unwrap_or_else(|_| panic!("{}", text(&output)));
    (code(&output), document, text(&output))
}

fn sinks(server: &Server) -> (SocketAddr, SocketAddr) {
    let addr = |name: &str| server.addr(name).parse().expect("an address");
    (addr("v1"), addr("v2"))
}

#[test]
fn verify_catches_a_lossy_mirror_id_by_id() {
    let server = Server::start(&["v1", "v2"]);
    let (v1, v2) = sinks(&server);
    let (exit, document, out) = verify(&server, gateway(v1, v2, false), &[]);
    assert_eq!(exit, 3, "{out}");
    let account = |index: usize| document["sinks"][index]["account"].clone();
    assert_eq!(account(0)["exact"], 400, "the primary got everything: {out}");

    let mut expected: HashMap<&str, Vec<u64>> = HashMap::new();
    for number in 0..400 {
        let kind = match harm(number, false) {
            Harm::None => continue,
            Harm::Drop => "missing",
            Harm::Duplicate => "duplicated",
            Harm::AlterBody | Harm::AlterHeader | Harm::AddHeader | Harm::AlterTarget => "altered",
            Harm::Truncate => "truncated",
        };
        expected.entry(kind).or_default().push(number);
    }
    let mirror = account(1);
    for kind in ["missing", "duplicated", "altered", "truncated", "unknown"] {
        let ids = mirror[kind].as_array().expect("a list").iter();
        let mut got: Vec<u64> = ids
            .map(|f| {
                f["id"]
                    .as_str()
                    .and_then(|id| id.rsplit('-').next())
                    .and_then(|n| n.parse().ok())
                    .expect("an id")
            })
            .collect();
        got.sort_unstable();
        assert_eq!(got, expected.remove(kind).unwrap_or_default(), "{kind}\n{out}");
    }
    assert_eq!(mirror["exact"], 400 - 7 * 20, "{out}");
}

#[test]
fn verify_proves_an_honest_gateway_and_measures_the_lag() {
    let server = Server::start(&["v1", "v2"]);
    let (v1, v2) = sinks(&server);
    let (exit, document, out) = verify(&server, gateway(v1, v2, true), &[]);
    assert_eq!((exit, document["proved"].as_bool()), (0, Some(true)), "{out}");
    assert_eq!(document["lag"][0]["lag_us"]["count"], 400, "{out}");
    assert_eq!(document["sinks"][1]["account"]["exact"], 400);
}

/// An admin address whose counters are all zero at first, and `sent` from the second reading on.
fn admin(sent: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let addr = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for (reading, stream) in listener.incoming().flatten().enumerate() {
            let n = if reading == 0 { 0 } else { sent };
            let line = |name: &str| format!("umbra_mirror_{name}_total{{route=\"r\",mirror=\"v2\"}} {n}\n");
            let body = format!(
                "umbra_mirror_eligible_total{{mirror=\"other\"}} 0\n{}{}{}",
                line("eligible"),
                line("sent"),
                line("completed")
            );
            let mut stream = stream;
            let mut part = [0u8; 4096];
            let _ = stream.read(&mut part);
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    addr
}

#[test]
fn verify_believes_a_true_ledger_and_not_a_false_one() {
    let server = Server::start(&["v1", "v2"]);
    let (v1, v2) = sinks(&server);
    let gateway = gateway(v1, v2, true);
    let url = format!("http://{}", admin(400));
    let (exit, _, out) = verify(&server, gateway, &["--gateway-admin", &url]);
    assert_eq!(exit, 0, "{out}");
    let url = format!("http://{}", admin(399));
    let (exit, document, out) = verify(&server, gateway, &["--gateway-admin", &url]);
    assert_eq!(exit, 3, "{out}");
    assert!(document["disagreements"][0].as_str().is_some_and(|text| text.contains("400")), "{out}");
}
