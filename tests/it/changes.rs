//! Every change of the configuration or of a share is told, in the log and by the admin listener: key, old and new value,
//! author.

use serde_json::Value;
use tests::{Gateway, Origin, Setup, eventually};

fn changes(gateway: &Gateway) -> Vec<Value> {
    let told = gateway.admin("GET", "/changes", "");
    assert_eq!(told.status, 200, "{}", told.text());
    let told: Value = serde_json::from_str(&told.text()).expect("JSON");
    told["changes"].as_array().expect("a list").clone()
}

/// `key: from → to` of each difference of a change.
fn what(change: &Value) -> Vec<String> {
    let one = |of: &Value| format!("{}: {} → {}", of["key"], of["from"], of["to"]).replace('"', "");
    change["what"].as_array().expect("a list").iter().map(one).collect()
}

#[track_caller]
fn audited(gateway: &Gateway, words: &str) {
    eventually(&format!("the log says {words:?}"), || {
        gateway.stderr().lines().any(|line| line.contains("INFO") && line.contains(words))
    });
}

#[test]
fn a_share_that_is_patched_is_told_with_both_values_and_whose_address_asked() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "percent = 40").start();
    assert!(changes(&gateway).is_empty());
    let answer = gateway.admin("PATCH", "/mirrors/v2", r#"{"percent": 2.5}"#);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let now: Value = serde_json::from_str(&answer.text()).expect("JSON");
    assert_eq!(now["change"], 1);
    let mirror = &now["mirrors"][0];
    assert_eq!((&mirror["route"], &mirror["percent"]), (&"all".into(), &2.5.into()), "{now}");
    assert_eq!(mirror["configured_percent"], 40.0, "{now}");
    let told = changes(&gateway);
    assert_eq!(what(&told[0]), ["route.all.mirrors.v2.percent: 40 → 2.5"]);
    assert_eq!((&told[0]["by"]["kind"], &told[0]["by"]["token"]), (&"api".into(), &false.into()));
    let address = told[0]["by"]["address"].as_str().expect("an address").to_owned();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    audited(&gateway, &format!("change 1 by {address}: route.all.mirrors.v2.percent: 40 → 2.5"));
    // A refused change is told too.
    assert_eq!(gateway.admin("PATCH", "/mirrors/v2", r#"{"percent": -1}"#).status, 422);
    let told = changes(&gateway);
    assert!(told[1]["refused"].as_str().is_some_and(|why| why.contains("-1 is out of range")), "{told:?}");
    audited(&gateway, "refused: ");
    let later: Value =
        serde_json::from_str(&gateway.admin("GET", "/changes?after=1", "").text()).expect("JSON");
    assert_eq!((later["changes"].as_array().map(Vec::len), &later["count"]), (Some(1), &2.into()));
}

#[test]
fn weights_that_are_patched_are_answered_and_told() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let shared = format!(
        "[upstream.v2]\nendpoints = [\"{}\"]\n[[route]]\nname = \"shared\"\npath_prefix = \"/s\"\n\
         primaries = [{{ upstream = \"primary\", weight = 9 }}, {{ upstream = \"v2\", weight = 1 }}]\n",
        v2.address
    );
    let gateway = Setup::new(&v1).with(&shared).start();
    let answer = gateway.admin("PATCH", "/routes/shared", r#"{"weights": {"primary": 5, "v2": 5}}"#);
    let now: Value = serde_json::from_str(&answer.text()).expect("JSON");
    assert_eq!(now["routes"][0]["primaries"][1]["weight"], 5, "{now}");
    assert_eq!(what(&changes(&gateway)[0]), ["route.shared.primaries: primary:9 v2:1 → primary:5 v2:5"]);
}

#[test]
fn a_reload_is_told_by_the_signal_a_put_by_the_token_and_no_secret_with_them() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let with_token = |toml: String| toml.replace("[admin]\n", "[admin]\ntoken = \"hush-hush\"\n");
    let setup = Setup::new(&v1).mirror("v2", v2.address, "percent = 40");
    let gateway = Gateway::start(&with_token(setup.toml()), &[]);
    let next = Setup::to(&[v2.address])
        .mirror("v2", v2.address, "percent = 50")
        .with("[limits]\nexchanges_max = 77");
    gateway.write(&with_token(next.toml()));
    gateway.signal("HUP");
    eventually("it is told", || !changes(&gateway).is_empty());
    let told = changes(&gateway);
    assert_eq!(
        what(&told[0]),
        [
            "limits: null → changed".to_owned(),
            format!("upstream.primary.endpoints: {} → {}", v1.address, v2.address),
            "route.all.mirrors.v2.percent: 40 → 50".to_owned(),
        ]
    );
    assert_eq!(told[0]["by"], serde_json::json!({ "kind": "signal", "signal": "SIGHUP" }));
    audited(&gateway, "change 1 by SIGHUP: limits: changed; upstream.primary.endpoints: ");
    let put = with_token(setup.toml()).replace("hush-hush", "another-secret");
    let answer = gateway.admin_with("PUT", "/config", "Authorization: Bearer hush-hush\r\n", &put);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = changes(&gateway);
    assert_eq!(told[1]["by"]["token"], true);
    assert!(what(&told[1]).contains(&"admin.token: null → changed".to_owned()), "{told:?}");
    let all = format!("{told:?}{}", gateway.stderr());
    assert!(!all.contains("hush") && !all.contains("another-secret"), "{all}");
}

#[test]
fn a_file_that_is_watched_is_named_as_who_changed_it() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, Setup::new(&v1).toml()).expect("the configuration is written");
    let mut command = std::process::Command::new(tests::gateway::binary());
    let mut gateway = tests::Process::spawn(command.args(["--watch", "--config"]).arg(&file));
    let admin = gateway.lines("admin on ", 1).remove(0);
    std::fs::write(&file, Setup::new(&v2).toml()).expect("another is written");
    eventually("it is told", || {
        gateway.stderr().contains(&format!("change 1 by {}, which changed: upstream.primary", file.display()))
    });
    let told = tests::Client::connect(admin.parse().expect("an address"))
        .ask(format!("GET /changes HTTP/1.1\r\nHost: {admin}\r\n\r\n"))
        .text();
    assert!(told.contains("\"kind\":\"file\""), "{told}");
}

#[test]
fn who_changes_much_fills_no_memory() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "").start();
    for n in 0..300 {
        let answer = gateway.admin("PATCH", "/mirrors/v2", &format!("{{\"percent\": {}}}", n % 100));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let told = changes(&gateway);
    assert_eq!((told.len(), &told[255]["number"]), (256, &300.into()));
}
