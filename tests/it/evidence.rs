//! The evidence of a verdict outlives the process that counted it: a restart, a crash, a successor. And it begins anew where it
//! must.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tests::origin::write;
use tests::process::successor;
use tests::{Gateway, Origin, Setup, eventually};

/// Answers with a plan, as JSON.
fn service(plan: &'static str) -> Origin {
    Origin::new(move |_, stream| {
        let json = format!("{{\"plan\":\"{plan}\"}}");
        let length = json.len();
        write(
            stream,
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{json}"
            ),
        )
    })
}

fn setup(v1: &Origin, v2: &Origin, file: &Path) -> Setup {
    Setup::new(v1)
        .mirror("v2", v2.address, "compare = {}")
        .with(&format!("[verdict]\nevidence = {:?}", file.display().to_string()))
}

/// Asks so often, and waits until all of it is compared: `all` by then.
fn ask(gateway: &Gateway, times: usize, all: u64) {
    let mut client = gateway.client();
    for _ in 0..times {
        assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    }
    let _all_ended = gateway.settled("v2");
    eventually("every pair is compared", || compared(gateway) == all);
}

fn compared(gateway: &Gateway) -> u64 {
    let told: Value = serde_json::from_str(&gateway.admin("GET", "/diffs", "").text()).expect("JSON");
    told["compared"].as_array().expect("a list").iter().filter_map(|of| of["contents"].as_u64()).sum()
}

fn verdict(gateway: &Gateway) -> Value {
    let told: Value = serde_json::from_str(&gateway.admin("GET", "/verdict", "").text()).expect("JSON");
    told["mirrors"][0].clone()
}

/// Waits until the present evidence is in the file.
fn kept(gateway: &Gateway, file: &Path, pairs: u64) {
    let needle = format!("[\"200\",\"200\",{pairs}]");
    eventually("it is kept", || fs::read_to_string(file).is_ok_and(|text| text.contains(&needle)));
    eventually("it is counted", || {
        gateway.metrics().sum("umbra_evidence_saves_total", &["result=\"written\""]) >= 1
    });
}

#[test]
fn evidence_outlives_a_restart_and_a_crash() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("evidence");
    let (v1, v2) = (service("pro"), service("free"));
    let mut gateway = setup(&v1, &v2, &file).start();
    ask(&gateway, 40, 40);
    let before = verdict(&gateway);
    assert_eq!(before["pairs"], 40);
    gateway.signal("TERM");
    assert_eq!(gateway.wait_exit().code(), Some(0), "{}", gateway.stderr());
    assert!(file.exists(), "it is written once more at the end");

    let mut gateway = setup(&v1, &v2, &file).start();
    eventually("it is said", || gateway.stderr().contains("evidence goes on from"));
    let after = verdict(&gateway);
    assert_eq!((&after["pairs"], &after["since"]), (&before["pairs"], &before["since"]));
    ask(&gateway, 10, 50);
    assert_eq!(verdict(&gateway)["pairs"], 50);
    let group = gateway.admin("GET", "/diffs", "").text();
    assert!(group.contains("\"count\":50") && group.contains("$.plan"), "{group}");
    kept(&gateway, &file, 50);
    gateway.signal("KILL");
    gateway.wait_exit();

    let gateway = setup(&v1, &v2, &file).start();
    let after = verdict(&gateway);
    assert_eq!((&after["pairs"], &after["since"]), (&50.into(), &before["since"]));
    let rules = after["rules"].as_array().expect("rules").iter();
    let shown: String = rules.map(|rule| rule["evidence"].to_string()).collect();
    assert!(shown.contains("$.plan changed"), "what differed is still shown: {shown}");
}

#[test]
fn a_file_that_is_torn_is_said_and_put_aside_and_evidence_begins_anew() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("evidence");
    let (v1, v2) = (service("pro"), service("pro"));
    let mut gateway = setup(&v1, &v2, &file).start();
    ask(&gateway, 20, 20);
    gateway.signal("TERM");
    gateway.wait_exit();
    let whole = fs::read(&file).expect("it is there");
    fs::write(&file, &whole[..whole.len() - 9]).expect("it is written");
    let gateway = setup(&v1, &v2, &file).start();
    eventually("it is said", || {
        let said = gateway.stderr();
        said.contains("evidence begins anew") && said.contains("it is torn")
    });
    assert!(folder.path().join("evidence.unreadable").exists());
    assert_eq!(verdict(&gateway)["pairs"], 0);
    ask(&gateway, 5, 5);
    kept(&gateway, &file, 5);
}

#[test]
fn a_successor_goes_on_with_what_its_predecessor_knew() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("evidence");
    let (v1, v2) = (service("pro"), service("pro"));
    let mut gateway = setup(&v1, &v2, &file).start();
    ask(&gateway, 30, 30);
    let before = verdict(&gateway);
    kept(&gateway, &file, 30);
    gateway.signal("USR2");
    let next = successor(|| gateway.stderr(), 0);
    assert_eq!(gateway.wait_exit().code(), Some(0), "{}", gateway.stderr());
    let after = verdict(&gateway);
    assert_eq!((&after["pairs"], &after["since"]), (&before["pairs"], &before["since"]));
    ask(&gateway, 10, 40);
    assert_eq!(verdict(&gateway)["pairs"], 40);
    next.signal("TERM");
    eventually("it drains and ends", || next.is_gone());
    assert!(fs::read_to_string(&file).expect("it is there").contains("[\"200\",\"200\",40]"));
}

#[test]
fn other_rules_that_compare_begin_evidence_anew_and_a_share_does_not() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("evidence");
    let (v1, v2) = (service("pro"), service("free"));
    let with = |keys: &str| Setup::new(&v1).mirror("v2", v2.address, keys).toml();
    let gateway = setup(&v1, &v2, &file).start();
    ask(&gateway, 20, 20);
    gateway.write(&with("percent = 50, compare = {}"));
    assert_eq!(gateway.admin("POST", "/reload", "").status, 200);
    assert_eq!(verdict(&gateway)["pairs"], 20);
    gateway.write(&with("compare = { ignore_json = [\"/plan\"] }"));
    assert_eq!(gateway.admin("POST", "/reload", "").status, 200);
    eventually("it begins anew", || verdict(&gateway)["pairs"] == 0);
    assert_eq!(compared(&gateway), 0);
    ask(&gateway, 20, 20);
    assert_eq!(verdict(&gateway)["pairs"], 20);
    assert!(!gateway.admin("GET", "/diffs", "").text().contains("$.plan"));
}

/// Says its version in a field, which may become another one while it runs.
fn versioned(version: &Arc<Mutex<&'static str>>) -> Origin {
    let version = Arc::clone(version);
    Origin::new(move |_, stream| {
        let version = *version.lock().expect("nobody panics with it");
        write(stream, format!("HTTP/1.1 200 OK\r\nX-App-Version: {version}\r\nContent-Length: 2\r\n\r\nok"))
    })
}

#[test]
fn another_version_that_responses_tell_of_begins_evidence_anew() {
    let [one, other] = ["1.0", "2.0-rc1"].map(|version| Arc::new(Mutex::new(version)));
    let (v1, v2) = (versioned(&one), versioned(&other));
    let gateway =
        Setup::new(&v1).mirror("v2", v2.address, "compare = { version_header = \"X-App-Version\" }").start();
    ask(&gateway, 30, 30);
    eventually("both versions are known", || {
        verdict(&gateway)["versions"] == serde_json::json!(["1.0", "2.0-rc1"])
    });
    assert_eq!(verdict(&gateway)["pairs"], 30);
    *other.lock().expect("nobody panics with it") = "2.0-rc2";
    let mut client = gateway.client();
    eventually("evidence begins anew", || {
        for _ in 0..10 {
            assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
        }
        verdict(&gateway)["versions"] == serde_json::json!(["1.0", "2.0-rc2"])
    });
    let told = verdict(&gateway);
    assert_eq!(told["because"], "when its version, or v1's, changed", "{told:#}");
    let said = told["said"].to_string();
    assert!(said.contains("evidence began anew at "), "{said}");
    assert!(!gateway.admin("GET", "/diffs", "").text().contains("x-app-version"), "it is no difference");
}

#[test]
fn another_version_in_the_configuration_begins_evidence_anew_and_the_same_does_not() {
    let (v1, v2) = (service("pro"), service("pro"));
    let with = |version: &str| {
        let toml = Setup::new(&v1).mirror("v2", v2.address, "compare = {}").toml();
        toml.replace("[upstream.v2]\n", &format!("[upstream.v2]\nversion = {version:?}\n"))
    };
    let gateway = Gateway::start(&with("1"), &[]);
    ask(&gateway, 20, 20);
    gateway.write(&format!("{}\n# the same\n", with("1")));
    assert_eq!(gateway.admin("POST", "/reload", "").status, 200);
    assert_eq!(verdict(&gateway)["pairs"], 20);
    gateway.write(&with("2"));
    assert_eq!(gateway.admin("POST", "/reload", "").status, 200);
    eventually("it begins anew", || verdict(&gateway)["pairs"] == 0);
    assert_eq!(verdict(&gateway)["versions"], serde_json::json!([null, "2"]));
}

/// The clients' figures of either arm, and fields of both sides, by name.
fn told(gateway: &Gateway) -> (Value, Vec<(String, u64, u64)>) {
    let schema: Value = serde_json::from_str(&gateway.admin("GET", "/schema", "").text()).expect("JSON");
    let fields = schema["schemas"][0]["fields"].as_array().cloned().unwrap_or_default();
    let present = |of: &Value, side: &str| of[side]["present"].as_u64().unwrap_or_default();
    let one = |of: &Value| {
        (of["field"].as_str().unwrap_or_default().to_owned(), present(of, "primary"), present(of, "mirror"))
    };
    (verdict(gateway)["mirroring"][0].clone(), fields.iter().map(one).collect())
}

fn requests(mirroring: &Value) -> (u64, u64) {
    let of = |arm: &str| mirroring[arm]["requests"].as_u64().unwrap_or_default();
    (of("copied"), of("uncopied"))
}

#[test]
fn the_control_group_and_the_schema_outlive_a_restart_a_crash_and_a_successor() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("evidence");
    let (v1, v2) = (service("pro"), service("free"));
    let half = Setup::new(&v1)
        .mirror("v2", v2.address, "percent = 50, compare = {}")
        .with(&format!("[verdict]\nevidence = {:?}", file.display().to_string()));
    let ask = |gateway: &Gateway, all: u64| {
        let mut client = gateway.client();
        for _ in 0..60 {
            assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
        }
        let _all_ended = gateway.settled("v2");
        eventually("all are counted", || {
            let (mirroring, fields) = told(gateway);
            let (copied, uncopied) = requests(&mirroring);
            let seen = fields.iter().find(|of| of.0 == "$.plan").map_or((0, 0), |of| (of.1, of.2));
            copied + uncopied == all && compared(gateway) == copied && seen.0 > 0 && seen.0 == seen.1
        });
        told(gateway)
    };
    let mut gateway = half.start();
    let before = ask(&gateway, 60);
    let (copied, uncopied) = requests(&before.0);
    assert!(copied > 5 && uncopied > 5, "{before:?}");
    gateway.signal("TERM");
    gateway.wait_exit();

    let mut gateway = half.start();
    assert_eq!(told(&gateway), before, "a restart");
    let more = ask(&gateway, 120);
    assert!(requests(&more.0).0 > copied && requests(&more.0).1 > uncopied);
    let kept = || fs::read_to_string(&file).unwrap_or_default();
    let needle = format!("\"copied\":{{\"requests\":{},", requests(&more.0).0);
    eventually("it is kept", || kept().contains(&needle));
    gateway.signal("KILL");
    gateway.wait_exit();

    let mut gateway = half.start();
    assert_eq!(told(&gateway), more, "a crash");
    gateway.signal("USR2");
    let next = successor(|| gateway.stderr(), 0);
    assert_eq!(gateway.wait_exit().code(), Some(0), "{}", gateway.stderr());
    assert_eq!(told(&gateway), more, "a successor");
    assert_eq!(gateway.admin("POST", "/verdict/begin", "").status, 200);
    let (mirroring, fields) = told(&gateway);
    assert_eq!((requests(&mirroring), fields.len()), ((0, 0), 0), "evidence began anew");
    next.signal("TERM");
    eventually("it drains and ends", || next.is_gone());
}
