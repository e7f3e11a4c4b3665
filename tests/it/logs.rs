//! Access log, traces and the gateway's own log: each exchange is told once, with the ends of its copies, and telling costs the
//! client nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use serde_json::Value;
use tests::load::{self, Gate, OK, hammer};
use tests::origin::{After, write};
use tests::{Gateway, Metrics, Origin, Setup, eventually};

/// The lines that are complete, as objects.
fn lines(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let complete = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    complete.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

#[track_caller]
pub(crate) fn wait_for_lines(log: &Path, count: usize) -> Vec<Value> {
    let mut all = Vec::new();
    eventually(&format!("{count} lines"), || {
        all = lines(log);
        all.len() >= count
    });
    assert_eq!(all.len(), count, "{all:#?}");
    all
}

pub(crate) fn logging_to(setup: &Setup, log: &Path, keys: &str) -> Setup {
    setup.clone().with(&format!("[access_log]\nto = {:?}\n{keys}", log.display().to_string()))
}

/// A request whose target and id bear its number.
fn numbered(id: usize) -> Vec<u8> {
    format!("GET /{id}?token=SECRET HTTP/1.1\r\nHost: a\r\nX-Request-Id: r-{id}\r\n\r\n").into_bytes()
}

// === Access log ===

#[test]
fn every_exchange_is_told_once_with_what_became_of_every_copy() {
    const CLIENTS: usize = 8;
    const EACH: usize = 50;
    let v1 = Origin::fixed(OK, After::Keep);
    let sound = Origin::fixed(OK, After::Keep);
    // Of its answers every third is an error, every third is none, and every third is fine.
    let count = AtomicUsize::new(0);
    let faulty = Origin::new(move |_, stream| match count.fetch_add(1, SeqCst) % 3 {
        0 => write(stream, "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"),
        1 => After::Reset,
        _ => write(stream, OK),
    });
    let (_bound, away) = load::bound_and_refusing();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let log = folder.path().join("access.log");
    let setup = Setup::new(&v1)
        .mirror("sound", sound.address, "redact = { query = [\"token\"] }")
        .mirror("faulty", faulty.address, "pipeline_max = 1")
        .mirror("away", away, "")
        .mirror("half", sound.address, "percent = 50")
        .workers(2);
    let gateway = logging_to(&setup, &log, "").start();
    hammer(gateway.address, CLIENTS, EACH, numbered, |_, answer| assert_eq!(answer.status, 200));
    // A request that the gateway answers itself is told too.
    assert_eq!(gateway.client().ask("GET / HTTP/1.1\r\n\r\n").status, 400);

    let told = wait_for_lines(&log, CLIENTS * EACH + 1);
    let (routed, refused): (Vec<&Value>, Vec<&Value>) = told.iter().partition(|line| line["status"] == 200);
    assert_eq!(refused.len(), 1);
    assert_eq!((&refused[0]["status"], &refused[0]["reject"]), (&400.into(), &"bad_request".into()));
    let mut ids: Vec<&str> = routed.iter().map(|line| line["request_id"].as_str().expect("an id")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), CLIENTS * EACH, "each is told once");
    let mut outcomes: BTreeMap<(String, String), i64> = BTreeMap::new();
    for line in &routed {
        let id = line["request_id"].as_str().expect("an id");
        assert_eq!(line["path"].as_str(), Some(&*format!("/{}", &id[2..])));
        assert_eq!(line["query"], "token=%5Bredacted%5D");
        assert_eq!(line["primary"]["upstream"], "primary");
        assert_eq!(line["copies"].as_array().map(Vec::len), Some(4), "{line:#}");
        for copy in line["copies"].as_array().expect("copies") {
            let text = |key: &str| copy[key].as_str().expect("a text").to_owned();
            *outcomes.entry((text("mirror"), text("outcome"))).or_default() += 1;
        }
    }
    for mirror in ["sound", "faulty", "away", "half"] {
        let metrics = gateway.settled(mirror);
        for outcome in ["completed", "failed", "dropped", "skipped", "sampled_out"] {
            let told = outcomes.get(&(mirror.into(), outcome.into())).copied().unwrap_or(0);
            assert_eq!(told, metrics.mirror(mirror, &format!("{outcome}_total")), "{mirror} {outcome}");
        }
    }
    assert!(outcomes.contains_key(&("faulty".into(), "failed".into())), "{outcomes:?}");
    assert!(outcomes.contains_key(&("away".into(), "dropped".into())), "{outcomes:?}");
    assert!(!fs::read_to_string(&log).expect("the log").contains("SECRET"));
}

#[test]
fn a_log_that_nobody_reads_costs_no_client_anything_and_is_counted() {
    const REQUESTS: usize = 2000;
    let v1 = Origin::fixed(OK, After::Keep);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    // Open, so that the gateway may open it too, and never read.
    let reader =
        fs::OpenOptions::new().read(true).custom_flags(NONBLOCK).open(&pipe).expect("the pipe's other end");
    let mut gateway = logging_to(&Setup::new(&v1), &pipe, "").start();
    let long = "x".repeat(6000);
    let ask = |id| format!("GET /{id}/{long} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
    let slowest = hammer(gateway.address, 4, REQUESTS / 4, ask, |_, answer| assert_eq!(answer.status, 200));
    assert!(slowest < Duration::from_secs(2), "an answer took {slowest:?}");
    let lost = |metrics: &Metrics| metrics.sum("umbra_access_log_lines_total", &["result=\"lost\""]);
    eventually("what finds no room is counted", || lost(&gateway.metrics()) > 0);
    let taken = |metrics: &Metrics| metrics.sum("umbra_records_total", &[]);
    eventually("every record is counted", || taken(&gateway.metrics()) == REQUESTS as i64);
    // Nor does it keep the process from ending.
    gateway.signal("TERM");
    assert_eq!(gateway.wait_exit().code(), Some(0), "{}", gateway.stderr());
    drop(reader);
}

/// O_NONBLOCK of Linux: opening a pipe to read does not wait for its writer.
const NONBLOCK: i32 = 0o4000;

#[test]
fn after_sigusr1_lines_go_into_a_new_file_and_none_is_lost() {
    let v1 = Origin::fixed(OK, After::Keep);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (log, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let gateway = logging_to(&Setup::new(&v1), &log, "").start();
    let mut client = gateway.client();
    client.ask(numbered(1));
    wait_for_lines(&log, 1);
    fs::rename(&log, &moved).expect("moved away");
    gateway.signal("USR1");
    eventually("a new file", || log.exists());
    client.ask(numbered(2));
    assert_eq!(wait_for_lines(&log, 1)[0]["request_id"], "r-2");
    assert_eq!(wait_for_lines(&moved, 1)[0]["request_id"], "r-1");
}

#[test]
fn a_log_that_is_switched_on_or_off_by_a_reload_begins_and_ends() {
    let v1 = Origin::fixed(OK, After::Keep);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let log = folder.path().join("access.log");
    let setup = Setup::new(&v1);
    let gateway = setup.start();
    let applied = |n: usize| {
        gateway.signal("HUP");
        // The counter turns before the workers do.
        let count = || gateway.stderr().matches("configuration applied").count();
        eventually("the configuration is in force", || count() == n);
    };
    gateway.client().ask(numbered(1));
    gateway.write(&logging_to(&setup, &log, "only = { statuses = [\"404\", \"2xx\"] }").toml());
    applied(1);
    gateway.client().ask(numbered(2));
    assert_eq!(wait_for_lines(&log, 1)[0]["request_id"], "r-2");
    gateway.write(&setup.toml());
    applied(2);
    gateway.client().ask(numbered(3));
    assert_eq!(lines(&log).len(), 1);
}

#[test]
fn what_still_waits_is_written_before_the_process_ends() {
    let v1 = Origin::fixed(OK, After::Keep);
    // Its answers are awaited by the copies, and so by the lines.
    let gate = Gate::closed();
    let held = std::sync::Arc::clone(&gate);
    let v2 = Origin::new(move |_, stream| {
        held.wait();
        write(stream, OK)
    });
    let folder = tempfile::tempdir().expect("a temporary directory");
    let log = folder.path().join("access.log");
    let setup = Setup::new(&v1).mirror("v2", v2.address, "");
    let mut gateway = logging_to(&setup, &log, "").start();
    hammer(gateway.address, 1, 3, numbered, |_, answer| assert_eq!(answer.status, 200));
    v2.wait_for(1);
    gateway.signal("TERM");
    gate.open();
    assert_eq!(gateway.wait_exit().code(), Some(0), "{}", gateway.stderr());
    assert_eq!(lines(&log).len(), 3);
}

// === Traces ===

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn traced(gateway: &Gateway, sampled: bool) {
    let flags = if sampled { "01" } else { "00" };
    let answer = gateway.client().ask(format!(
        "GET /t HTTP/1.1\r\nHost: a\r\nTraceparent: 00-{TRACE}-{PARENT}-{flags}\r\nTracestate: a=b\r\n\r\n"
    ));
    assert_eq!(answer.status, 200);
}

/// The spans that a collector got, by name.
fn spans(collector: &Origin) -> BTreeMap<String, Value> {
    let bodies = collector.requests().into_iter().map(|post| {
        assert_eq!((post.method.as_str(), post.target.as_str()), ("POST", "/v1/traces"));
        assert_eq!(post.field("content-type"), Some("application/json"));
        serde_json::from_slice::<Value>(&post.body).expect("JSON")
    });
    let mut all = BTreeMap::new();
    for body in bodies {
        for span in body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().expect("spans") {
            all.insert(span["name"].as_str().expect("a name").to_owned(), span.clone());
        }
    }
    all
}

#[test]
fn a_trace_goes_through_to_every_wire_and_its_spans_to_the_collector() {
    let (v1, v2) = (Origin::fixed(OK, After::Keep), Origin::fixed(OK, After::Keep));
    let collector = Origin::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", After::Keep);
    let tracing = format!("[tracing]\nto = \"http://{}\"\npercent = 0", collector.address);
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "").with(&tracing).start();
    traced(&gateway, true);
    let on_wire = |origin: &Origin| {
        let request = origin.wait_for(1).swap_remove(0);
        assert_eq!(request.values("tracestate"), ["a=b"]);
        let [value] = request.values("traceparent")[..] else { panic!("one traceparent: {request:?}") };
        let parts: Vec<String> = value.split('-').map(str::to_owned).collect();
        assert_eq!((parts[0].as_str(), parts[1].as_str(), parts[3].as_str()), ("00", TRACE, "01"));
        parts[2].clone()
    };
    let (to_v1, to_v2) = (on_wire(&v1), on_wire(&v2));
    eventually("three spans", || spans(&collector).len() == 3);
    let all = spans(&collector);
    let id = |name: &str, key: &str| all[name][key].as_str().expect("an id").to_owned();
    assert_eq!((id("GET all", "traceId"), id("GET all", "parentSpanId")), (TRACE.into(), PARENT.into()));
    assert_eq!((id("GET primary", "spanId"), id("GET v2", "spanId")), (to_v1.clone(), to_v2.clone()));
    for name in ["GET primary", "GET v2"] {
        assert_eq!(id(name, "parentSpanId"), id("GET all", "spanId"), "{name}");
    }
    assert!(to_v1 != to_v2 && to_v1 != PARENT && to_v2 != PARENT);
    // A trace that the client does not sample is passed on, without spans.
    traced(&gateway, false);
    let second = v1.wait_for(2).swap_remove(1);
    assert!(second.field("traceparent").is_some_and(|value| value.ends_with("-00")));
    eventually("what was sent is counted", || {
        gateway.metrics().sum("umbra_spans_total", &["result=\"exported\""]) == 3
    });
    assert_eq!(gateway.metrics().sum("umbra_records_total", &["result=\"taken\""]), 1);
}

#[test]
fn a_copys_span_never_begins_before_the_primarys() {
    let (v1, v2) = (Origin::fixed(OK, After::Keep), Origin::fixed(OK, After::Keep));
    let collector = Origin::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", After::Keep);
    let tracing = format!("[tracing]\nto = \"http://{}\"\npercent = 100", collector.address);
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "").with(&tracing).start();
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345");
    // The upload takes its time: that is no lag of the copy's. Its first part is on its way to the primary.
    eventually("the beginning is at v1", || v1.carried_with("12345").is_some());
    assert_eq!(client.ask("67890").status, 200);
    eventually("three spans", || spans(&collector).len() == 3);
    let all = spans(&collector);
    let starts = |name: &str| {
        all[name]["startTimeUnixNano"].as_str().and_then(|ns| ns.parse::<u64>().ok()).expect("an instant")
    };
    let (own, primary, copy) = (starts("POST all"), starts("POST primary"), starts("POST v2"));
    assert!(own <= primary && primary <= copy, "{own} {primary} {copy}");
}

#[test]
fn without_a_part_in_traces_a_clients_trace_passes_as_any_other_field() {
    let v1 = Origin::fixed(OK, After::Keep);
    let gateway = Setup::new(&v1).start();
    traced(&gateway, true);
    let request = v1.wait_for(1).swap_remove(0);
    assert_eq!(request.values("traceparent"), [format!("00-{TRACE}-{PARENT}-01")]);
    assert_eq!(request.values("tracestate"), ["a=b"]);
}

#[test]
fn a_collector_that_never_answers_costs_no_client_anything_and_is_counted() {
    let v1 = Origin::fixed(OK, After::Keep);
    let silent = Origin::never_reading();
    let tracing = format!(
        "[tracing]\nto = \"http://{}\"\npercent = 100\nspans_max = 100\ntimeout = \"200ms\"",
        silent.address
    );
    let mut gateway = Setup::new(&v1).with(&tracing).start();
    let slowest = hammer(gateway.address, 4, 100, numbered, |_, answer| assert_eq!(answer.status, 200));
    assert!(slowest < Duration::from_secs(2), "an answer took {slowest:?}");
    let count = |what: &str| gateway.metrics().sum("umbra_spans_total", &[&format!("result=\"{what}\"")]);
    eventually("what finds no room is counted", || count("lost") > 0);
    eventually("a failed post is counted", || gateway.metrics().sum("umbra_span_errors_total", &[]) > 0);
    gateway.signal("TERM");
    assert_eq!(gateway.wait_exit().code(), Some(0), "{}", gateway.stderr());
}

// === The gateway's own log ===

#[test]
fn every_line_of_the_gateways_log_is_an_object_where_that_is_asked_for() {
    let v1 = Origin::fixed(OK, After::Keep);
    let mut gateway = Setup::new(&v1).environment("UMBRA_LOG_FORMAT", "json").start();
    gateway.signal("TERM");
    gateway.wait_exit();
    eventually("the last word", || gateway.stderr().contains("drained"));
    for line in gateway.stderr().lines() {
        let said: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(
            said["level"] == "INFO" && said["message"].is_string() && said["timestamp"].is_string(),
            "{line}"
        );
    }
}
