//! The question that all this is for: is v2 ready? Two real services, and a third that is v1 once more.

use std::fs;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use serde_json::Value;
use tests::httpbin::{Httpbin, THREADS};
use tests::origin::write;
use tests::{Client, Gateway, Origin, Setup, eventually, gateway};

/// A route for each thing that may go wrong, and how often it is asked: two errors in a hundred take the most to be sure of.
const PATHS: [(&str, &str, usize); 4] = [
    ("fields", "/json", 400),
    ("slow", "/html", 400),
    ("errors", "/anything", 1000),
    ("noise", "/uuid", 400),
];

/// Three processes on a small machine may take their time.
const PATIENT: &str = "p50_ratio_max = 3\nignore_rules = [\"p99_ratio\"]\nslack = \"20ms\"\n";

const ONE_PERCENT: &str = "mismatch_percent_max = 1\nerror_percent_max = 1\n";

/// Copies are sent alone, so that of 400 requests each has a time of its own.
fn configuration(v1: &Httpbin, v2: &Httpbin, again: &Httpbin) -> String {
    let mut toml = format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n[workers]\ncount = 1\n\
         [upstream.v1]\nendpoints = [\"{}\"]\n[upstream.v2]\nendpoints = [\"{}\"]\n[upstream.again]\nendpoints = [\"{}\"]\n",
        v1.address, v2.address, again.address
    );
    for (name, path, _) in PATHS {
        toml.push_str(&format!(
            "[[route]]\nname = \"{name}\"\npath_prefix = \"{path}\"\nprimary = \"v1\"\nmirrors = [\n\
             {{ upstream = \"v2\", timeout = \"20s\", pipeline_max = 1, compare = {{}} }},\n\
             {{ upstream = \"again\", timeout = \"20s\", pipeline_max = 1, role = \"baseline\", compare = {{}} }},\n]\n"
        ));
    }
    toml
}

/// Asks each path as often as it is to be, on a few connections.
fn ask(gateway: &Gateway) {
    std::thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || {
                let mut client: Client = gateway.client();
                for n in (part..1000).step_by(4) {
                    for (_, path, _) in PATHS.iter().filter(|(_, _, times)| n < *times) {
                        let answer =
                            client.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-N: {n}\r\n\r\n"));
                        assert_eq!(answer.status, 200);
                    }
                }
            });
        }
    });
    for mirror in ["v2", "again"] {
        let _all_ended = gateway.settled(mirror);
    }
    eventually("every pair is compared", || {
        let told = gateway.admin("GET", "/diffs", "").text();
        let told: Value = serde_json::from_str(&told).expect("JSON");
        let compared = told["compared"].as_array().expect("a list").iter();
        // The request that failed on v2 is compared too.
        compared.map(|of| of["compared"].as_u64().unwrap_or(0)).sum::<u64>()
            == 2 * PATHS.iter().map(|(_, _, times)| *times as u64).sum::<u64>()
    });
}

fn run(gateway: &Gateway, arguments: &[&str]) -> Output {
    let mut command = Command::new(gateway::binary());
    command.args(arguments).args(["--admin", &format!("http://{}", gateway.admin)]);
    command.output().expect("the command runs")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_version_that_went_wrong_in_three_ways_is_rejected_for_exactly_these() {
    let (v1, v2, again) = (Httpbin::start(THREADS), Httpbin::changed(THREADS), Httpbin::start(THREADS));
    let gateway = Gateway::start(&configuration(&v1, &v2, &again), &[]);
    let early = run(&gateway, &["verdict"]);
    assert_eq!(early.status.code(), Some(3), "nothing was seen yet: {}", text(&early));
    ask(&gateway);

    // Of the times of three processes on a small machine only v2's sleep is a reason, however long v1 takes beside them.
    let policy = tempfile::tempdir().expect("a temporary directory");
    let file = policy.path().join("policy.toml");
    let rules = PATIENT.replace("p50_ratio_max = 3", "p50_ratio_max = 1.5");
    fs::write(&file, rules).expect("it is written");
    let verdict = run(&gateway, &["verdict", "--json", "--policy", file.to_str().expect("UTF-8")]);
    assert_eq!(verdict.status.code(), Some(1), "{}", text(&verdict));
    let told: Value = serde_json::from_slice(&verdict.stdout).expect("JSON");
    let rules = told["mirrors"][0]["rules"].as_array().expect("rules").clone();
    let mut failed: Vec<String> = rules
        .iter()
        .filter(|rule| rule["result"] == "fail")
        .map(|rule| format!("{} {}", rule["route"].as_str().unwrap(), rule["rule"].as_str().unwrap()))
        .collect();
    failed.sort();
    assert_eq!(
        failed,
        [
            "errors error_rate_difference",
            "errors mismatch_above_noise",
            "fields mismatch_above_noise",
            "slow p50_ratio"
        ],
        "{told:#}"
    );
    let shown = told.to_string();
    for evidence in
        ["$.slideshow.author changed", "Someone Else", "$.slideshow.date missing", "v1 200, v2 500: 20 times"]
    {
        assert!(shown.contains(evidence), "{evidence}: {told:#}");
    }
    assert_eq!(told["mirrors"].as_array().map(Vec::len), Some(1), "v1 itself is not judged");

    let diffs = run(&gateway, &["diffs"]);
    let listed = text(&diffs);
    assert_eq!(diffs.status.code(), Some(1), "{listed}");
    assert!(
        listed.contains("fields changed $.slideshow.author: \"Yours Truly\" → \"Someone Else\""),
        "{listed}"
    );
    assert!(!listed.contains("$.uuid"), "a number drawn anew each time is v1's own noise: {listed}");
    assert!(text(&run(&gateway, &["diffs", "--noise"])).contains("$.uuid"));
    let line = listed.lines().find(|line| line.contains("slideshow.author")).expect("its line");
    let id = line.split_whitespace().next().expect("its number");
    let sample = text(&run(&gateway, &["diffs", id]));
    let sides = ["-     \"author\": \"Yours Truly\",", "+     \"author\": \"Someone Else\","];
    assert!(sides.iter().all(|side| sample.contains(side)), "{sample}");

    let histogram = text(&run(&gateway, &["histogram", "--route", "slow", "--mirror", "v2", "--ascii"]));
    assert!(histogram.contains("v2 on slow, 400 pairs"), "{histogram}");
    println!("{}\n{histogram}", text(&run(&gateway, &["verdict"])));
}

#[test]
fn a_version_that_is_the_same_is_promoted() {
    let (v1, v2, again) = (Httpbin::start(THREADS), Httpbin::start(THREADS), Httpbin::start(THREADS));
    let gateway = Gateway::start(&configuration(&v1, &v2, &again), &[]);
    ask(&gateway);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("policy.toml");
    // 400 requests show a share of 1 %, not of the tenth of it that is the default.
    fs::write(&file, format!("{PATIENT}{ONE_PERCENT}")).expect("it is written");
    let verdict = run(&gateway, &["verdict", "--policy", file.to_str().expect("UTF-8")]);
    assert_eq!(verdict.status.code(), Some(0), "{}", text(&verdict));
    println!("{}", text(&verdict));
    fs::write(&file, PATIENT).expect("it is written");
    let few = run(&gateway, &["verdict", "--policy", file.to_str().expect("UTF-8")]);
    assert_eq!(few.status.code(), Some(3), "{}", text(&few));
    assert!(text(&few).contains("samples of the 3000 that it takes"), "{}", text(&few));
    // A forgotten finding is not known.
    assert_eq!(gateway.admin("DELETE", "/diffs", "").status, 204);
    fs::write(&file, format!("{PATIENT}{ONE_PERCENT}")).expect("it is written");
    let forgotten = run(&gateway, &["verdict", "--policy", file.to_str().expect("UTF-8")]);
    assert_eq!(forgotten.status.code(), Some(3), "{}", text(&forgotten));
    assert_eq!(gateway.admin("POST", "/verdict", "confidence = 1000\n").status, 422);
}

/// The verdict by the policy in `policy`: the exit code and the text.
fn judged(gateway: &Gateway, policy: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("policy.toml");
    fs::write(&file, policy).expect("it is written");
    let verdict = run(gateway, &["verdict", "--all", "--policy", file.to_str().expect("UTF-8")]);
    (verdict.status.code(), text(&verdict))
}

/// Answers in JSON with a number that is another one each time.
fn noisy(from: usize) -> Origin {
    let n = AtomicUsize::new(from);
    Origin::new(move |_, stream| {
        let json =
            format!("{{\"plan\":\"pro\",\"at\":{}}}", n.fetch_add(1, Relaxed) * 7919 % 100_003 + 1_000_000);
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
            json.len()
        );
        write(stream, answer)
    })
}

#[test]
fn the_baseline_of_the_readme_takes_v1s_own_noise_out() {
    let (v1, v2, again) = (noisy(0), noisy(1000), noisy(2000));
    let gateway = Setup::new(&v1)
        .mirror("v2", v2.address, "compare = { ignore_headers = [\"etag\"] }")
        .mirror("v1-again", again.address, "role = \"baseline\"")
        .start();
    let mut client = gateway.client();
    for _ in 0..400 {
        assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    }
    let _all_ended = (gateway.settled("v2"), gateway.settled("v1-again"));
    eventually("every pair is compared", || {
        let told: Value = serde_json::from_str(&gateway.admin("GET", "/diffs", "").text()).expect("JSON");
        let of = told["compared"].as_array().expect("a list");
        of.len() == 2 && of.iter().all(|of| of["contents"] == 400 && of["differing"] == 400)
    });
    let (code, told) = judged(&gateway, &format!("{PATIENT}{ONE_PERCENT}"));
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn a_mirror_that_is_not_there_is_rejected_once_it_was_asked_enough() {
    let v1 = Origin::named("v1");
    let gateway = Setup::new(&v1).mirror("v2", Origin::refusing(), "").start();
    let mut client = gateway.client();
    for _ in 0..400 {
        assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    }
    let _all_ended = gateway.settled("v2");
    let (code, told) = judged(&gateway, "");
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("FAIL  unreachable on all: 100.000 %"), "{told}");
}

#[test]
fn a_slow_route_is_not_held_against_a_fast_one_of_the_same_mirror() {
    let slow = || {
        Origin::new(|request, stream| {
            if request.target == "/slow" {
                // The service's own time, which is judged.
                std::thread::park_timeout(Duration::from_millis(100));
            }
            write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        })
    };
    let (v1, v2) = (Origin::named("v1"), slow());
    let toml = Setup::new(&v1).mirror("v2", v2.address, "connections_max = 2").toml();
    let gateway = Gateway::start(&toml, &[]);
    std::thread::scope(|scope| {
        for part in 0..4 {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut client = gateway.client();
                for n in 0..500 {
                    let path = if part == 0 && n % 20 == 0 { "/slow" } else { "/fast" };
                    let answer = client.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
                    assert_eq!(answer.status, 200);
                }
            });
        }
    });
    let _all_ended = gateway.settled("v2");
    let (_, told) = judged(&gateway, "slack = \"20ms\"\n");
    assert!(!told.contains("FAIL  p"), "{told}");
}
