//! `gateway demo`: the product's purpose shows within a breath of its start.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::gateway::binary;
use tests::{Client, Process, eventually_within};

use crate::verbs::run;

/// Whether v2 fails this rule on a route.
fn fails(verdict: &Value, route: &str, rule: &str) -> bool {
    let all = verdict["mirrors"].as_array().into_iter().flatten();
    let mut rules = all.flat_map(|mirror| mirror["rules"].as_array().into_iter().flatten());
    rules.any(|of| of["result"] == "fail" && of["route"] == route && of["rule"] == rule)
}

#[test]
fn a_demo_shows_its_seeded_faults_and_nothing_else_and_ends_at_a_word() {
    let mut demo = Process::spawn(Command::new(binary()).arg("demo"));
    let gateway = demo.lines("listening on ", 1).remove(0);
    let admin = demo.lines("admin on ", 1).remove(0);
    assert_eq!(demo.lines("  dashboard    ", 1), [format!("http://{admin}/")]);
    assert_eq!(demo.lines("  verdict      ", 1), [format!("gateway verdict --admin {admin}")]);
    let mut last = String::new();
    eventually_within(Duration::from_secs(90), "v2 is rejected for both of its faults", || {
        let (told, complaint, code) = run(&["verdict", "--json", "--admin", &admin]);
        let verdict: Value = serde_json::from_str(&told).unwrap_or_default();
        last = format!("{told}{complaint}");
        code == 1 && fails(&verdict, "cart", "mismatch_above_noise") && fails(&verdict, "cart", "p50_ratio")
    });
    let verdict: Value = serde_json::from_str(&last).expect("JSON");
    let (differences, ..) = run(&["diffs", "--admin", &admin]);
    assert!(differences.contains("total_cents"), "{differences}");
    let (screen, ..) = run(&["status", "--admin", &admin]);
    assert!(screen.contains("reject"), "{screen}");
    let page = |at: &str, path: &str| {
        let mut client = Client::connect(at.parse().expect("an address"));
        client.ask(format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nAccept: text/html\r\n\r\n"))
    };
    assert_eq!(page(&gateway, "/cart/5").status, 200);
    assert!(page(&admin, "/").text().to_lowercase().contains("<!doctype html"));
    for route in ["products", "search"] {
        let rules = verdict.to_string();
        assert!(!fails(&verdict, route, "mismatch_above_noise"), "{route}: {rules}");
    }
    let id = demo.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
    assert_eq!(demo.wait_exit().code(), Some(0), "{}", demo.stderr());
}
