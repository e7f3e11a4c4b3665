//! What an attacker tried and what must come of it, where no other promise's file has it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tests::http2::{DATA, END, HEADERS, Raw, frame, headers, request};
use tests::load::{Gate, Peer, becomes};
use tests::{Gateway, Origin, Setup, eventually};

use crate::http2::{PLAIN, listening};

const CALL: (&str, &str) = ("content-type", "application/grpc");

fn pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo runs");
    assert!(made.success());
}

#[test]
fn a_file_of_tls_that_never_begins_or_never_ends_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let fifo = folder.path().join("fifo");
    pipe(&fifo);
    for odd in [fifo.as_path(), Path::new("/dev/zero")] {
        let listener = format!(
            "[[listener]]\nbind = \"127.0.0.1:0\"\ntls = {{ certificates = [{{ cert = {odd:?}, key = {odd:?} }}] }}\n"
        );
        let upstream = format!("[upstream.other]\nendpoints = [\"127.0.0.1:1\"]\ntls = {{ ca = {odd:?} }}\n");
        let setup = Setup::to(&[Origin::refusing()]);
        for more in [listener, upstream] {
            let output = Gateway::check(&setup.clone().with(&more).toml());
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && said.contains("not a regular file"), "{odd:?} {said}");
        }
    }
}

#[test]
fn a_history_that_is_no_file_stops_neither_the_dashboard_nor_the_end() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let fifo = folder.path().join("history");
    pipe(&fifo);
    let v1 = Origin::named("v1");
    let text = Setup::new(&v1).toml().replacen("[admin]\n", &format!("[admin]\nhistory = {fifo:?}\n"), 1);
    let mut gateway = Gateway::start(&text, &[]);
    eventually("the dashboard's seconds go on", || {
        let told: Value = serde_json::from_str(&gateway.admin("GET", "/live", "").text()).expect("JSON");
        told["seq"].as_u64() > Some(0)
    });
    assert!(gateway.stderr().contains("not a regular file"), "{}", gateway.stderr());
    gateway.signal("TERM");
    assert!(gateway.wait_exit().success());
}

/// Serves calls in order: what `answer` sends to one of a stream with this path and time.
fn server(
    settings: &'static [(u16, u32)],
    answer: impl Fn(&mut Raw, u32, &str, &str) + Send + Sync + 'static,
) -> Peer {
    Peer::new(move |tcp| {
        if !tcp.peek(&mut [0]).is_ok_and(|n| n > 0) {
            return;
        }
        let mut raw = Raw::serve(tcp, settings);
        while let Some(heard) = raw.frame() {
            if heard.flags & END == 0 || ![HEADERS, DATA].contains(&heard.kind) {
                continue;
            }
            let asked = raw.streams.get(&heard.stream).cloned().unwrap_or_default();
            let field = |name: &str| {
                asked.trailers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
            };
            answer(&mut raw, heard.stream, field(":path"), field("grpc-timeout"));
        }
    })
}

fn ends(raw: &mut Raw, stream: u32, content: &[u8], status: &str) {
    raw.send(&headers(stream, 0, &[(":status", "200"), CALL]));
    raw.send(&frame(DATA, 0, stream, content));
    raw.send(&headers(stream, END, &[("grpc-status", status)]));
}

fn sound() -> Peer {
    server(&[], |raw, stream, _, _| ends(raw, stream, b"\0\0\0\0\x02\x08\x01", "0"))
}

fn start(v1: SocketAddr, v2: SocketAddr, keys: &str) -> Gateway {
    let mut text = listening(&Setup::to(&[v1]).mirror("v2", v2, keys), PLAIN);
    for name in ["primary", "v2"] {
        let table = format!("[upstream.{name}]\n");
        text = text.replacen(&table, &format!("{table}protocol = \"h2\"\n"), 1);
    }
    Gateway::start(&text, &[])
}

fn call(raw: &mut Raw, n: u32, more: &[(&str, &str)]) {
    let stream = 2 * n + 1;
    let fields = [&[CALL, ("te", "trailers")], more].concat();
    raw.send(&headers(stream, 0, &request("POST", "/shop.Carts/Find", &fields)));
    raw.send(&frame(DATA, END, stream, b"\0\0\0\0\x02\x08\x01"));
    let heard = raw.response(stream);
    let ended = heard.trailers.iter().find(|(name, _)| name == "grpc-status");
    assert_eq!(ended.map(|(_, status)| status.as_str()), Some("0"), "{heard:?}");
}

fn left_out(gateway: &Gateway, reason: &str) -> i64 {
    gateway.metrics().sum("umbra_mirror_pairs_left_out_total", &[&format!("reason=\"{reason}\"")])
}

#[test]
fn a_copy_that_was_left_less_time_than_its_original_speaks_against_no_version() {
    let (gate, told) = (Gate::closed(), Arc::new(AtomicU64::new(0)));
    let (held, heard) = (Arc::clone(&gate), Arc::clone(&told));
    // One call at a time. The second waits for the first, and then has what is left of its time, which this server takes.
    let v2 = server(&[(3, 1)], move |raw, stream, _, timeout| {
        if timeout.is_empty() {
            held.wait();
            return ends(raw, stream, b"\0\0\0\0\x02\x08\x01", "0");
        }
        let ms = timeout.strip_suffix('m').and_then(|digits| digits.parse().ok()).unwrap_or_default();
        heard.store(ms, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(ms));
        raw.send(&headers(stream, END, &[(":status", "200"), CALL, ("grpc-status", "4")]));
    });
    let v1 = sound();
    let gateway = start(v1.address, v2.address, "connections_max = 1, ttl = \"1h\", compare = {}");
    let mut raw = Raw::connect(gateway.address);
    call(&mut raw, 0, &[]);
    eventually("the first copy is under way", || gateway.metrics().sum("umbra_mirror_in_flight", &[]) == 1);
    call(&mut raw, 1, &[("grpc-timeout", "1S")]);
    eventually("the second copy waits", || gateway.metrics().sum("umbra_mirror_waiting", &[]) == 1);
    gate.open();
    becomes(&gateway, "v2", &[("eligible", 2), ("sent", 2), ("completed 2xx", 1), ("completed 5xx", 1)]);
    assert!((1..1000).contains(&told.load(Ordering::SeqCst)), "{told:?}");
    assert_eq!(left_out(&gateway, "less_time"), 1, "{}", gateway.metrics().text());
    let outcomes = gateway.admin("GET", "/outcomes", "").text();
    assert!(outcomes.contains("\"200\"") && !outcomes.contains("deadline"), "{outcomes}");
    let diffs = gateway.admin("GET", "/diffs", "").text();
    assert!(!diffs.contains("DEADLINE"), "{diffs}");
}

/// What it comes to where few pairs are enough, and what is said.
fn verdict(gateway: &Gateway) -> (String, String) {
    let policy = "samples_min = 5\nerror_percent_max = 50\nmismatch_percent_max = 50\ncontents = \"optional\"\n\
                  ignore_rules = [\"p50_ratio\", \"p99_ratio\"]\n";
    let text = gateway.admin("POST", "/verdict", policy).text();
    let told: Value = serde_json::from_str(&text).expect("JSON");
    (told["verdict"].as_str().unwrap_or(&text).to_owned(), told["mirrors"][0]["said"].to_string())
}

#[test]
fn a_mirror_of_whose_calls_many_ended_unread_is_held_and_it_is_said_what_to_do() {
    const EACH: u32 = 24;
    let v2 = server(&[], |raw, stream, _, _| {
        // Of the later ones the end stands behind more than is read of a response.
        let content: &[u8] = if stream < 2 * EACH { b"\0\0\0\0\x02\x08\x01" } else { &[0; 2048] };
        ends(raw, stream, content, "0");
    });
    let v1 = sound();
    let gateway = start(v1.address, v2.address, "connections_max = 1, response_bytes_max = \"1KiB\"");
    let mut raw = Raw::connect(gateway.address);
    (0..EACH).for_each(|n| call(&mut raw, n, &[]));
    eventually("all were answered alike", || verdict(&gateway).0 == "promote");
    (EACH..2 * EACH).for_each(|n| call(&mut raw, n, &[]));
    eventually("none of these is a pair", || left_out(&gateway, "end_unread") == i64::from(EACH));
    let (decision, said) = verdict(&gateway);
    assert_eq!(decision, "hold", "{said}");
    assert!(
        said.contains("held by pairs_left_out on") && said.contains("raise response_bytes_max"),
        "{said}"
    );
    let evidence = gateway.admin("GET", "/evidence", "").text();
    assert!(evidence.contains(&format!("\"end_unread\":{EACH}")), "{evidence}");
    assert_eq!(gateway.admin("POST", "/verdict/begin", "").status, 200);
    let (_, said) = verdict(&gateway);
    assert!(!said.contains("pairs_left_out"), "{said}");
}

#[test]
fn a_call_whose_end_was_not_read_is_no_success() {
    // The end stands behind more than is read of a response.
    let v2 = server(&[], |raw, stream, _, _| ends(raw, stream, &[0; 8192], "13"));
    let v1 = sound();
    let gateway = start(v1.address, v2.address, "response_bytes_max = \"1KiB\"");
    let mut raw = Raw::connect(gateway.address);
    call(&mut raw, 0, &[]);
    becomes(&gateway, "v2", &[("eligible", 1), ("sent", 1), ("completed 2xx", 1)]);
    assert_eq!(left_out(&gateway, "end_unread"), 1, "{}", gateway.metrics().text());
    let pairs = gateway.metrics().sum("umbra_pairs_total", &[]);
    assert_eq!(pairs, 0, "{}", gateway.metrics().text());
}
