//! The dashboard for Grafana: every query is one that Prometheus takes, of series that a gateway has, by labels that they have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::Value;

fn read(path: &str) -> String {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every text below `key`, anywhere.
fn texts(of: &Value, key: &str, found: &mut Vec<String>) {
    match of {
        Value::Object(fields) => {
            found.extend(fields.get(key).and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| texts(value, key, found));
        }
        Value::Array(all) => all.iter().for_each(|value| texts(value, key, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn dashboard() -> Value {
    serde_json::from_str(&read("config/grafana/umbra.json")).expect("JSON")
}

/// With Grafana's variables as it would fill them in.
fn queries() -> Vec<String> {
    let mut found = Vec::new();
    texts(&dashboard(), "expr", &mut found);
    let filled = |query: String| {
        ["$__rate_interval", "$__interval", "$job", "$instance", "$route", "$mirror"]
            .into_iter()
            .zip(["5m", "5m", ".*", ".*", ".*", ".*"])
            .fold(query, |query, (name, value)| query.replace(name, value))
    };
    found.into_iter().map(filled).collect()
}

/// Series of a page and the labels that the reference says they have; a label that the reference's gateway had no sample of
/// is taken from the sources' own tests of that family.
fn families() -> BTreeMap<String, BTreeSet<String>> {
    let page = read("docs/src/reference/metrics.md");
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `umbra_")?.split(" | ");
        let (name, kind, labels) = (cells.next()?.trim_end_matches('`'), cells.next()?, cells.next()?);
        let labels = labels.split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        Some((format!("umbra_{name}"), kind.to_owned(), labels))
    });
    let mut all = BTreeMap::new();
    for (name, kind, labels) in rows {
        let name = match kind.as_str() {
            "histogram" => format!("{name}_bucket"),
            "info" | "counter" | "gauge" => name,
            other => panic!("{name} is a {other}"),
        };
        all.insert(name, labels);
    }
    assert!(all.len() > 50, "{all:?}");
    all
}

/// Names of series in a query, each with the labels that stand in its braces.
fn named(query: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(at) = rest.find("umbra_") {
        rest = &rest[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let labels =
            after.strip_prefix('{').and_then(|inner| inner.split_once('}')).map_or("", |(inner, _)| inner);
        let keys =
            labels.split("\",").filter_map(|one| Some(one.split(['=', '!']).next()?.trim().to_owned()));
        found.push((name.to_owned(), keys.filter(|key| !key.is_empty()).collect()));
        rest = after;
    }
    found
}

#[test]
fn every_query_asks_for_series_and_labels_that_there_are() {
    let families = families();
    // Metrics of a cluster, a certificate or a handshake have labels of which the reference's gateway shows no sample.
    let unseen: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("umbra_kubernetes_objects", &["kind", "state"][..]),
        ("umbra_kubernetes_watch_age_seconds", &["kind"]),
        ("umbra_kubernetes_watch_errors_total", &["kind", "code"]),
        ("umbra_tls_certificate_expires_seconds", &["name"]),
    ]);
    let of_prometheus = ["job", "instance"];
    let mut asked = BTreeSet::new();
    for query in queries() {
        for (name, labels) in named(&query) {
            let known = families
                .get(&name)
                .unwrap_or_else(|| panic!("{name} is asked for, and no gateway has it: {query}"));
            for label in labels {
                let is_known = known.contains(&label)
                    || of_prometheus.contains(&&*label)
                    || unseen.get(&*name).is_some_and(|labels| labels.contains(&&*label));
                assert!(is_known, "{name} has no label {label}: {query}");
            }
            // A label in `by` is of one of the series.
            for by in query.split(" by (").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)) {
                for label in by
                    .split(',')
                    .map(str::trim)
                    .filter(|label| *label != "le" && !of_prometheus.contains(label))
                {
                    let is_known =
                        known.contains(label) || unseen.get(&*name).is_some_and(|all| all.contains(&label));
                    assert!(is_known, "{name} has no label {label}: {query}");
                }
            }
            asked.insert(name);
        }
    }
    assert!(asked.len() > 35, "{asked:?}");
    let mut variables = Vec::new();
    texts(&dashboard()["templating"], "definition", &mut variables);
    assert_eq!(variables.len(), 4);
    for (name, _) in variables.iter().flat_map(|definition| named(definition)) {
        assert!(name == "umbra_build_info" || families.contains_key(&name), "{name}");
    }
}

#[test]
fn every_query_is_one_that_prometheus_takes() {
    if Command::new("promtool").arg("--version").output().is_err() {
        eprintln!("skipped: no promtool here");
        return;
    }
    let rules: Vec<Value> = (0..)
        .zip(queries())
        .map(|(n, query)| serde_json::json!({"record": format!("query:{n}"), "expr": query}))
        .collect();
    assert!(rules.len() > 40, "{}", rules.len());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("rules.yml");
    let text = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string();
    fs::write(&file, text).expect("the rules");
    let output =
        Command::new("promtool").args(["check", "rules"]).arg(&file).output().expect("promtool runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn panels_stand_beside_and_below_each_other() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut taken = BTreeSet::new();
    for panel in panels {
        let side = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
        assert!(side("x") + side("w") <= 24, "{}", panel["title"]);
        for x in side("x")..side("x") + side("w") {
            for y in side("y")..side("y") + side("h") {
                assert!(taken.insert((x, y)), "{} stands on another one", panel["title"]);
            }
        }
    }
    let ids: BTreeSet<Option<u64>> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len());
}
