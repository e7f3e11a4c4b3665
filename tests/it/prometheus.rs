//! Metrics of a rollout in Prometheus, and the rules that are shipped for it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tests::certificates::Authority;
use tests::load::get;
use tests::origin::write;
use tests::{Client, Gateway, Origin, Process, Setup, eventually, eventually_within};

fn rules() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../config/prometheus"))
}

fn reads(gateway: &Gateway, name: &str, labels: &[&str]) -> i64 {
    gateway.metrics().sum(name, labels)
}

#[test]
fn shares_pairs_and_verdicts_are_told_as_they_are_in_force() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "percent = 100, compare = {}").start();
    let mut client = gateway.client();
    (0..400).for_each(|id| assert_eq!(client.ask(get(id)).status, 200));
    let of = ["route=\"all\"", "mirror=\"v2\""];
    eventually("every pair is compared, and each differs", || {
        reads(&gateway, "umbra_mirror_compared_total", &of) == 400
            && reads(&gateway, "umbra_mirror_differing_total", &of) == 400
    });
    let verdict =
        |word: &str| reads(&gateway, "umbra_verdict", &["mirror=\"v2\"", &format!("verdict=\"{word}\"")]);
    eventually("it is rejected", || verdict("reject") == 1);
    assert_eq!((verdict("hold"), verdict("promote")), (0, 0));
    assert_eq!(gateway.admin("PATCH", "/mirrors/v2", r#"{"percent": 25}"#).status, 200);
    assert_eq!(reads(&gateway, "umbra_mirror_percent", &of), 25);
    assert_eq!(reads(&gateway, "umbra_mirror_configured_percent", &of), 100);
}

#[test]
fn a_file_that_is_refused_shows_until_one_is_read_whatever_is_set_meanwhile() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let setup = Setup::new(&v1).mirror("v2", v2.address, "");
    let gateway = setup.start();
    let successful = || reads(&gateway, "umbra_config_last_reload_successful", &[]);
    let when = || reads(&gateway, "umbra_config_last_reload_success_timestamp_seconds", &[]);
    let changes = |by: &str, result: &str| {
        reads(&gateway, "umbra_changes_total", &[&format!("by=\"{by}\""), &format!("result=\"{result}\"")])
    };
    let started = when();
    assert!(started > 1_700_000_000 && successful() == 1, "{started}");
    gateway.write("nonsense");
    gateway.signal("HUP");
    eventually("it is refused", || successful() == 0);
    assert_eq!(gateway.admin("PATCH", "/mirrors/v2", r#"{"percent": 25}"#).status, 200);
    assert_eq!((successful(), when()), (0, started));
    assert_eq!((changes("signal", "refused"), changes("api", "applied")), (1, 1));
    gateway.write(&setup.toml());
    assert_eq!(gateway.admin("POST", "/reload", "").status, 200);
    assert_eq!((successful(), changes("api", "applied")), (1, 2));
    assert!(when() >= started);
}

#[test]
fn rules_and_alerts_do_what_their_tests_say() {
    if Command::new("promtool").arg("--version").output().is_err() {
        eprintln!("skipped: no promtool here");
        return;
    }
    for words in [["check", "rules", "umbra.rules.yml"], ["test", "rules", "umbra.test.yml"]] {
        let output =
            Command::new("promtool").args(words).current_dir(rules()).output().expect("promtool runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{words:?}: {}{}", text(&output.stdout), text(&output.stderr));
    }
}

#[test]
fn rules_name_metrics_that_there_are() {
    let v1 = Origin::new(|_, stream| write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    let gateway = Setup::new(&v1).start();
    let page = gateway.metrics();
    let there: BTreeSet<String> = page
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
        .collect();
    let text = std::fs::read_to_string(rules().join("umbra.rules.yml")).expect("the rules");
    let named: BTreeSet<&str> = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')
        .filter(|word| word.starts_with("umbra_"))
        .collect();
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        assert!(there.contains(name), "{name} is in the rules, and no gateway has it");
    }
}

#[test]
fn a_prometheus_scrapes_over_tls_and_evaluates_the_rules() {
    if Command::new("prometheus").arg("--version").output().is_err() {
        eprintln!("skipped: no prometheus here");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let own = authority.issue("admin", &["127.0.0.1"]);
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let text = Setup::new(&v1).mirror("v2", v2.address, "").toml();
    let table = "[admin]\n";
    let tls = format!("{table}tls = {{ certificates = [{}] }}\n", own.toml());
    let gateway = Gateway::start(&text.replacen(table, &tls, 1), &[]);
    let mut client = gateway.client();
    (0..20).for_each(|id| assert_eq!(client.ask(get(id)).status, 200));
    let file = folder.path().join("prometheus.yml");
    let rules = rules().canonicalize().expect("the rules").join("umbra.rules.yml");
    let text = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{rules:?}]\nscrape_configs:\n\
         - job_name: umbra\n  scheme: https\n  tls_config: {{ ca_file: {:?} }}\n  static_configs: [{{ targets: [\"{}\"] }}]\n",
        authority.ca, gateway.admin
    );
    std::fs::write(&file, text).expect("it is written");
    let mut command = Command::new("prometheus");
    command.arg("--config.file").arg(&file).arg("--storage.tsdb.path").arg(folder.path().join("data"));
    let prometheus = Process::spawn(command.args(["--web.listen-address", "127.0.0.1:0"]));
    let mut address = None;
    eventually("it listens", || {
        let log = prometheus.stderr();
        let mut told = log.lines().filter(|line| line.contains("Listening on"));
        address = told.find_map(|line| line.split("address=").nth(1)?.trim().parse().ok());
        address.is_some()
    });
    let address: std::net::SocketAddr = address.expect("it listens");
    let asks = |path: &str| -> Value {
        let mut client = Client::connect(address);
        let answer = client.ask(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"));
        serde_json::from_str(&answer.text()).unwrap_or_default()
    };
    let value = |query: &str| {
        let told = asks(&format!("/api/v1/query?query={query}"));
        told["data"]["result"][0]["value"][1].as_str().and_then(|text| text.parse::<f64>().ok())
    };
    // Two scrapes and the time between them.
    eventually_within(2 * tests::PATIENCE, "it is up, and its figures are the gateway's", || {
        value("up") == Some(1.0)
            && value("sum(umbra_requests_total)") == Some(20.0)
            && value("sum(umbra_mirror_completed_total)") == Some(20.0)
    });
    eventually_within(2 * tests::PATIENCE, "every rule is evaluated without a complaint", || {
        let told = asks("/api/v1/rules");
        let groups = told["data"]["groups"].as_array().cloned().unwrap_or_default();
        let rules: Vec<&Value> =
            groups.iter().filter_map(|group| group["rules"].as_array()).flatten().collect();
        assert!(rules.iter().all(|rule| rule["lastError"].as_str().is_none_or(str::is_empty)), "{told:#}");
        rules.len() > 10 && rules.iter().all(|rule| rule["health"] == "ok")
    });
}
