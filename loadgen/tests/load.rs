//! `loadgen run` from outside: do its figures agree with the server's?

mod common;

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use common::{BIN, Server, code, loadgen, number, run_json, text, wait_until};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

#[test]
fn percentiles_show_a_known_fixed_delay() {
    let server = Server::start(&["v,delay=200ms"]);
    let (code, document) = run_json(&[&server.url("v", "/"), "--rate", "100", "-d", "1500ms"]);
    assert_eq!(code, 0);
    assert_eq!(number(&document, "requests.total"), 150.0);
    for percentile in ["min", "p50", "p90"] {
        let us = number(&document, &format!("response_us.{percentile}"));
        assert!((199_900.0..400_000.0).contains(&us), "{percentile}: {us}");
    }
}

#[test]
fn a_closed_loop_starts_its_clock_before_its_first_request() {
    let server = Server::start(&["v,delay=20ms"]);
    let (_, document) = run_json(&[&server.url("v", "/"), "--closed", "-c", "4", "-d", "300ms"]);
    assert!(number(&document, "response_us.min") >= 19_900.0, "{}", document["response_us"]);
}

#[test]
fn the_rate_counts_only_answers_within_the_measured_time() {
    // One connection, 20 ms per request: 50 per second, however many are asked for and answered later.
    let server = Server::start(&["v,delay=20ms"]);
    let url = server.url("v", "/");
    for mode in [["--rate", "200"], ["--rate", "150:250"]] {
        let args = [&[url.as_str(), "-c", "1", "-d", "500ms"], &mode[..]].concat();
        let (_, document) = run_json(&args);
        assert_eq!(number(&document, "requests.ok"), 100.0);
        let rate = number(&document, "achieved_rate");
        assert!((10.0..=50.0).contains(&rate), "{rate}");
    }
}

#[test]
fn lateness_that_was_asked_for_is_no_saturation_and_stays_in_the_response_time() {
    let server = Server::start(&["v"]);
    // A tenth of a second of it is taken, which without the slack would be twice as much as may be.
    let slack = ["--rate", "100", "-d", "4s", "--pace-slack", "1500ms", "--max-lag", "50ms"];
    let (code, document) = run_json(&[&[server.url("v", "/").as_str()], &slack[..]].concat());
    assert_eq!(code, 0, "{}", document["reasons"]);
    assert!(number(&document, "response_us.p90") > 60_000.0, "{}", document["response_us"]);
    assert!(number(&document, "service_us.p50") < 60_000.0, "{}", document["service_us"]);
}

#[test]
fn connections_that_die_while_idle_lose_no_request() {
    let server = Server::start(&["v"]);
    let url = server.url("v", "/");
    let document = std::thread::scope(|scope| {
        let load = scope.spawn(|| run_json(&[&url, "--rate", "250", "-d", "6s", "-c", "4"]).1);
        for turn in 1..=5 {
            wait_until("the run is under way", || server.counters("v").requests > turn * 150);
            server.set_fault("v", "refuse");
            server.set_fault("v", "none");
            wait_until("they are made again", || server.counters("v").requests > turn * 150 + 50);
            // All connections are wanted at once: each may be given to one request only.
            server.set_fault("v", "hold");
            wait_until("all are in use", || {
                let now = server.counters("v");
                now.requests - now.answers >= now.connections_open.max(1)
            });
            server.set_fault("v", "none");
        }
        load.join().expect("the run ends")
    });
    assert!(number(&document, "requests.connects") > 4.0, "connections died");
    assert_eq!(number(&document, "requests.due"), 1500.0);
    assert_eq!(number(&document, "requests.total"), 1500.0);
    assert!(document["errors"].get("unfinished").is_none(), "{}", document["errors"]);
    assert!(number(&document, "wall_s") < 12.0, "nothing is waited for that will not come");
}

#[test]
fn a_rate_that_few_connections_could_carry_is_carried_by_all() {
    let server = Server::start(&["v"]);
    let args =
        [&server.url("v", "/"), "--rate", "100", "-d", "400ms", "-c", "10", "-H", "x-loadgen-id: spread"];
    assert_eq!(number(&run_json(&args).1, "requests.ok"), 40.0);
    let mut per_connection = std::collections::HashMap::new();
    for arrival in server.log("v") {
        *per_connection.entry(arrival.connection).or_insert(0) += 1;
    }
    assert_eq!(per_connection.len(), 10, "{per_connection:?}");
}

/// Runs with the given mode while the server freezes for one second in the middle.
fn run_with_freeze(mode: &[&str]) -> serde_json::Value {
    let server = Server::start(&["v"]);
    let url = server.url("v", "/");
    std::thread::scope(|scope| {
        let load = scope.spawn(|| run_json(&[&[&url, "-d", "3s", "-c", "16"], mode].concat()).1);
        wait_until("the run is under way", || server.counters("v").requests > 500);
        server.set_fault("v", "hold");
        std::thread::sleep(Duration::from_secs(1));
        server.set_fault("v", "none");
        load.join().expect("the run ends")
    })
}

#[test]
fn an_open_loop_shows_a_freeze_of_one_second_in_its_percentiles() {
    let document = run_with_freeze(&["--rate", "1k"]);
    assert_eq!(number(&document, "requests.total"), 3000.0);
    // A third of the requests fell due in the freeze and waited up to a second, evenly spread.
    assert!(number(&document, "response_us.max") > 950_000.0, "{}", document["response_us"]);
    assert!(number(&document, "response_us.p99") > 850_000.0, "{}", document["response_us"]);
    assert!(number(&document, "response_us.p75") > 100_000.0, "{}", document["response_us"]);
    // The connections were all in use: the wait is on this side, and it is shown as that.
    assert!(number(&document, "dispatch_us.p90") > 300_000.0, "{}", document["dispatch_us"]);
}

#[test]
fn a_closed_loop_hides_the_same_freeze_and_says_that_it_does() {
    let document = run_with_freeze(&["--closed"]);
    assert!(number(&document, "response_us.p99") < 500_000.0, "{}", document["response_us"]);
    assert!(number(&document, "response_us.max") > 950_000.0);
    assert!(document["notes"][0].as_str().is_some_and(|note| note.contains("closed loop")));
}

/// How far the arrivals are from an even 2000 per second: the middle distance from the moment, the middle gap.
fn pacing_ns() -> (u64, u64) {
    let server = Server::start(&["v"]);
    let (_, document) =
        run_json(&[&server.url("v", "/"), "--rate", "2k", "-d", "500ms", "-H", "x-loadgen-id: pace"]);
    let mut at: Vec<u64> = server.log("v").iter().map(|arrival| arrival.received_unix_ns).collect();
    at.sort_unstable();
    assert_eq!((at.len(), number(&document, "requests.total")), (1000, 1000.0));
    let mut offsets: Vec<i64> =
        at.iter().enumerate().map(|(n, at)| *at as i64 - n as i64 * 500_000).collect();
    offsets.sort_unstable();
    let middle = offsets[500];
    let mut distances: Vec<u64> = offsets.iter().map(|offset| offset.abs_diff(middle)).collect();
    distances.sort_unstable();
    let mut gaps: Vec<u64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    (distances[500], gaps[500])
}

#[test]
fn requests_arrive_at_the_server_as_the_schedule_says() {
    // Other work on the machine can only disturb the pacing: one undisturbed try within a minute is the proof. Sent once per
    // millisecond, two at a time, half of the gaps would be near zero.
    let (mut tries, began) = (Vec::new(), Instant::now());
    loop {
        let (distance, gap) = pacing_ns();
        if distance < 200_000 && (400_000..600_000).contains(&gap) {
            return;
        }
        tries.push((distance, gap));
        let is_over = began.elapsed() > Duration::from_secs(60);
        assert!(!is_over, "middle distance and middle gap in ns: {tries:?}");
    }
}

#[test]
fn every_way_of_failing_has_its_class_and_stays_in_the_figures() {
    let server = Server::start(&["v"]);
    let url = server.url("v", "/?size=1000");
    for (fault, class) in [
        ("refuse", "refused"),
        ("never_answer", "timeout"),
        ("blackhole", "timeout"),
        ("reset_at=100", "reset"),
        ("close_at=100", "truncated"),
        ("close_at=0", "closed_early"),
        ("garbage", "bad_head"),
        ("extra_bytes=5", "extra_bytes"),
        ("bad_framing=cl_te", "bad_framing"),
        ("bad_framing=bad_chunk", "bad_chunk"),
        ("oversize_head=200k", "head_too_large"),
        ("endless_chunked", "timeout"),
    ] {
        server.set_fault("v", fault);
        let timeout = if class == "timeout" { "300ms" } else { "5s" };
        let args = [&url, "--rate", "100", "-d", "200ms", "-c", "20", "--timeout", timeout, "--drain", "10s"];
        let (_, document) = run_json(&args);
        let of_class = document["errors"][class]["count"].as_u64().unwrap_or(0);
        // A switch of the fault may still close a connection that was made before it.
        assert!(of_class >= 15, "{fault}: {class}: {}", document["errors"]);
        assert_eq!(number(&document, "response_us.count"), 20.0, "{fault}");
        if class == "timeout" {
            assert!(number(&document, "response_us.p50") >= 290_000.0, "{fault}: timeouts stay in the tail");
        }
    }
    server.set_fault("v", "none");
    server.set_behavior("v", "status=503");
    let (code, document) = run_json(&[&url, "--rate", "100", "-d", "200ms"]);
    assert_eq!((code, number(&document, "errors.status_5xx.count")), (0, 20.0));
}

#[test]
fn all_framings_methods_and_bodies_are_understood() {
    let server = Server::start(&["v"]);
    for (target, args) in [
        ("/?framing=chunked&size=100000", vec![]),
        ("/?framing=close&size=1000", vec![]),
        ("/?size=1000000", vec![]),
        ("/?status=204", vec![]),
        ("/?status=304", vec![]),
        ("/?interim=3", vec![]),
        ("/", vec!["-X", "HEAD"]),
        ("/?echo=1", vec!["--body-size", "100k"]),
        ("/?echo=1", vec!["--body-size", "100k", "--chunked"]),
        ("/", vec!["--body-size", "4M"]),
        ("/", vec!["--no-keepalive"]),
    ] {
        let url = server.url("v", target);
        let (code, document) =
            run_json(&[&[url.as_str(), "--rate", "200", "-d", "200ms"], &args[..]].concat());
        assert_eq!(
            (code, number(&document, "requests.ok")),
            (0, 40.0),
            "{target} {args:?} {}",
            document["errors"]
        );
    }
}

#[test]
fn weighted_files_and_replayed_logs_send_what_they_say() {
    let server = Server::start(&["v"]);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("a path");
    let line = |weight: u32, target: &str| format!("{weight} {}\n", server.url("v", target));
    std::fs::write(path, line(9, "/often") + &line(1, "/seldom")).expect("written");
    let id = ["-H", "x-loadgen-id: mix"];
    let (code, _) = run_json(&[&["--urls", path, "--rate", "1k", "-d", "500ms"], &id[..]].concat());
    assert_eq!(code, 0);
    let often = server.log("v").iter().filter(|a| a.target == "/often").count();
    assert!((410..490).contains(&often), "{often} of 500");

    let log = "{\"ts\":10.0,\"method\":\"GET\",\"target\":\"/a\"}\n{\"ts\":30.0,\"method\":\"POST\",\"target\":\"/b\"}\n";
    std::fs::write(path, log).expect("written");
    let id = ["-H", "x-loadgen-id: replay", "--replay", path, "--pace", "10x"];
    let (code, document) = run_json(&[&[server.url("v", "/").as_str()], &id[..]].concat());
    assert_eq!((code, number(&document, "requests.total")), (0, 2.0));
    let replayed: Vec<_> = server.log("v").into_iter().filter(|a| a.id == "replay").collect();
    let what: Vec<_> = replayed.iter().map(|a| (a.method.as_str(), a.target.as_str())).collect();
    assert_eq!(what, [("GET", "/a"), ("POST", "/b")]);
    let apart_ms = (replayed[1].received_unix_ns - replayed[0].received_unix_ns) / 1_000_000;
    assert!((1_500..4_000).contains(&apart_ms), "20 s at tenfold speed are 2 s, not {apart_ms} ms");
}

#[test]
fn the_interval_log_holds_the_whole_run() {
    let server = Server::start(&["v,delay=exp:2ms"]);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("a path");
    let args = [&server.url("v", "/"), "--rate", "500", "-d", "1s", "--interval", "250ms", "--hlog", path];
    let (_, document) = run_json(&args);
    let decode = |text: &str| -> Histogram<u64> {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
        Deserializer::new().deserialize(&mut &bytes[..]).expect("a histogram")
    };
    let log = std::fs::read(path).expect("the log");
    let mut sum: Option<Histogram<u64>> = None;
    let mut count = 0;
    for entry in IntervalLogIterator::new(&log) {
        if let Ok(LogEntry::Interval(interval)) = entry
            && interval.tag().is_some_and(|tag| tag.as_str() == "response")
        {
            let times = decode(interval.encoded_histogram());
            count += 1;
            match &mut sum {
                Some(sum) => sum.add(times).expect("equal bounds"),
                None => sum = Some(times),
            }
        }
    }
    let whole = decode(document["histograms"]["response_ns"].as_str().expect("a histogram"));
    assert!(count >= 3, "{count} intervals");
    assert!(sum == Some(whole));
}

#[test]
fn exit_codes_tell_how_it_ended() {
    let server = Server::start(&["v,delay=50ms", "gone,fault=refuse", "more,fault=extra_bytes=9"]);
    let (up, gone, more) = (server.url("v", "/"), server.url("gone", "/"), server.url("more", "/"));
    let check = |args: &[&str], expected: i32| {
        let output = loadgen(&[&["run", "-q", "-t", "1", "--max-lag", "1s"], args].concat());
        assert_eq!(code(&output), expected, "{args:?}\n{}", text(&output));
    };
    let short = ["--rate", "100", "-d", "200ms"];
    check(&[&[up.as_str(), "--assert", "p50<1s", "--assert", "errors<=0%"], &short[..]].concat(), 0);
    check(&[&[gone.as_str()], &short[..]].concat(), 1);
    check(&[&[more.as_str()], &short[..]].concat(), 1);
    check(&[&up, "--rate", "fast"], 2);
    check(&[&up], 2);
    check(&[&up, "--rate", "1", "--assert", "p98<1ms"], 2);
    check(&[&[up.as_str(), "--assert", "p50<1ms"], &short[..]].concat(), 3);
    check(&[&up, "--rate", "1k", "-d", "300ms", "-c", "1", "--drain", "100ms"], 4);
}

#[test]
fn an_interrupt_gives_a_partial_report() {
    let server = Server::start(&["v"]);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("a path");
    let mut child = Command::new(BIN)
        .args(["run", "-q", &server.url("v", "/"), "--rate", "500", "-d", "60s", "--json", path])
        .args(["--assert", "p50<1ns"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a run");
    wait_until("the run is under way", || server.counters("v").requests > 200);
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(killed.success());
    let mut out = String::new();
    child.stdout.take().expect("stdout").read_to_string(&mut out).expect("a report");
    assert_eq!(child.wait().expect("an end").code(), Some(130));
    assert!(out.contains("PARTIAL") && !out.contains("FAILS"), "{out}");
    let document: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("JSON")).expect("a document");
    assert!(document["partial"] == true && number(&document, "requests.total") > 150.0);
}

#[test]
fn a_thousand_connections_are_kept_at_once() {
    let server = Server::start(&["v"]);
    let (code, document) = run_json(&[&server.url("v", "/"), "--rate", "1k", "-d", "500ms", "-c", "1000"]);
    assert_eq!((code, number(&document, "requests.ok")), (0, 500.0), "{}", document["errors"]);
    assert_eq!(server.counters("v").connections, 1000);
}

#[test]
fn figures_are_told_by_url_and_variables_make_different_requests_of_one() {
    let server = Server::start(&["v,delay=1ms"]);
    let (a, b) = (server.url("v", "/users/{{id=1..40}}?again={{id}}"), server.url("v", "/?status=500"));
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(
        file.path(),
        format!("3 {a} body={{\"id\": {{{{id}}}}, \"who\": \"{{{{ada|bob}}}}\"}}\n{b}\n"),
    )
    .expect("it is written");
    let path = file.path().to_str().expect("a path");
    let id = ["-H", "x-loadgen-id: {{n}}", "--variants", "60", "--urls", path];
    let (_, document) = run_json(&[&id[..], &["--rate", "400", "-d", "500ms"]].concat());
    let told = document["by_url"].as_array().expect("a list");
    let of = |n: usize, key: &str| told[n][key].clone();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!([of(0, "request"), of(1, "request")], [format!("POST {a}"), format!("GET {b}")]);
    let counts = [0, 1].map(|n| told[n]["response_us"]["count"].as_f64().expect("a count"));
    assert_eq!(counts[0] + counts[1], number(&document, "requests.total"));
    assert!(counts[0] > counts[1] && counts[1] > 0.0, "{counts:?}");
    assert_eq!((of(0, "errors").as_u64(), of(1, "errors").as_f64()), (Some(0), Some(counts[1])));
    let log = server.log("v");
    let targets: std::collections::BTreeSet<&str> =
        log.iter().map(|seen| seen.target.as_str()).filter(|target| target.starts_with("/users/")).collect();
    assert!(targets.len() > 5, "{targets:?}");
    for target in targets {
        let (path, query) = target.split_once("?again=").expect("a query");
        assert_eq!(path.strip_prefix("/users/"), Some(query));
    }
}

#[test]
fn where_all_connections_are_in_use_more_are_made_up_to_a_bound() {
    let server = Server::start(&["v,delay=200ms"]);
    let url = server.url("v", "/");
    for wire in [&[][..], &["--http2"]] {
        let run = |max: &[&str]| {
            let args = [&[url.as_str(), "--rate", "100", "-d", "1s", "-c", "2"], wire, max].concat();
            run_json(&args).1
        };
        let bounded = run(&[]);
        assert!(number(&bounded, "requests.cap_hits") > 0.0, "two connections carry ten a second");
        // Twenty are under way at once.
        let free = run(&["--connections-max", "200"]);
        assert_eq!(number(&free, "requests.cap_hits"), 0.0, "{wire:?} {}", free["requests"]);
        assert_eq!(number(&free, "requests.errors"), 0.0, "{wire:?} {}", free["errors"]);
        let made = number(&free, "requests.connects");
        assert!((20.0..=200.0).contains(&made), "{wire:?} {made}");
    }
}
