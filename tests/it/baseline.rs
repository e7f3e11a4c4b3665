//! A baseline that gets safe requests alone, and one that several mirrors share or do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use tests::origin::write;
use tests::{Gateway, Origin, Setup, eventually};

const REQUESTS: u64 = 60;

const POLICY: &str =
    "samples_min = 30\nmismatch_percent_max = 1\nignore_rules = [\"p50_ratio\", \"p99_ratio\"]\n";

/// Answers reads with one of two banners and writes with a new id, and either with a plan.
fn service(counter: &Arc<AtomicU64>, plan: &'static str) -> Origin {
    let counter = Arc::clone(counter);
    Origin::new(move |request, stream| {
        let n = counter.fetch_add(1, Ordering::SeqCst);
        let drawn = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63;
        let json = if request.method == "GET" {
            format!("{{\"banner\":\"{}\",\"plan\":\"pro\"}}", ["none", "a great deal"][drawn as usize])
        } else {
            format!("{{\"id\":\"{:016x}\",\"plan\":\"{plan}\"}}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        };
        let length = json.len();
        write(
            stream,
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{json}"
            ),
        )
    })
}

fn told(gateway: &Gateway, method: &str, target: &str, body: &str) -> Value {
    serde_json::from_str(&gateway.admin(method, target, body).text()).expect("JSON")
}

/// Pairs of this mirror that were compared.
fn compared(gateway: &Gateway, mirror: &str) -> u64 {
    let diffs = told(gateway, "GET", "/diffs", "");
    let all = diffs["compared"].as_array().expect("a list").iter();
    all.filter(|of| of["mirror"] == mirror).filter_map(|of| of["contents"].as_u64()).sum()
}

/// The rule on contents of this mirror.
fn contents(gateway: &Gateway, mirror: &str) -> Value {
    let verdict = told(gateway, "POST", &format!("/verdict?mirror={mirror}"), POLICY);
    let mut rules = verdict["mirrors"][0]["rules"].as_array().expect("a list").iter();
    rules.rfind(|rule| rule["rule"] == "mismatch_above_noise").expect("it is judged").clone()
}

fn ask(gateway: &Gateway, mirrors: &[(&str, u64)]) {
    let mut client = gateway.client();
    for n in 0..REQUESTS {
        client.ask(format!("GET /?n={n} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.ask(format!("POST /?n={n} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
    }
    for (mirror, n) in mirrors {
        eventually("all is compared", || compared(gateway, mirror) == *n);
    }
}

#[test]
fn a_baseline_of_reads_tells_their_noise_and_hides_nothing_that_writes_do() {
    let counter = Arc::default();
    for plan in ["pro", "free"] {
        let (v1, v2, again) = (service(&counter, "pro"), service(&counter, plan), service(&counter, "pro"));
        let gateway = Setup::new(&v1)
            .mirror("v2", v2.address, "compare = {}")
            .mirror("again", again.address, "role = \"baseline\", only = { methods = [\"GET\"] }")
            .start();
        ask(&gateway, &[("v2", 2 * REQUESTS), ("again", REQUESTS)]);
        assert!(again.wires().iter().all(|wire| !wire.contains("POST ")), "no write goes there");
        let rule = contents(&gateway, "v2");
        let shown = rule["evidence"].to_string();
        if plan == "pro" {
            assert_eq!(rule["result"], "hold", "{rule:#}");
            assert!(rule["why"].as_str().is_some_and(|why| why.contains("drawn anew each time")), "{rule:#}");
            assert!(shown.contains("$.id") && shown.contains("/id"), "{rule:#}");
        } else {
            assert_eq!(rule["result"], "fail", "{rule:#}");
            assert!(shown.contains("$.plan changed: \\\"pro\\\" → \\\"free\\\""), "{rule:#}");
        }
    }
}

#[test]
fn a_baseline_speaks_for_the_mirrors_that_it_names_and_for_no_other() {
    let counter = Arc::default();
    let service = |plan| service(&counter, plan);
    let (v1, v2, v3, again) = (service("pro"), service("pro"), service("pro"), service("pro"));
    let gateway = Setup::new(&v1)
        .mirror("v2", v2.address, "compare = {}")
        .mirror("v3", v3.address, "compare = {}")
        .mirror("again", again.address, "role = \"baseline\", baseline_for = [\"v2\"]")
        .start();
    let all = 2 * REQUESTS;
    ask(&gateway, &[("v2", all), ("v3", all), ("again", all)]);
    let [named, other] = ["v2", "v3"].map(|mirror| contents(&gateway, mirror));
    assert_ne!(named["result"], "fail", "{named:#}");
    assert_eq!(other["result"], "fail", "nothing tells that its banner is noise: {other:#}");
    assert!(other["evidence"].to_string().contains("$.banner"), "{other:#}");
    let diffs = told(&gateway, "GET", "/diffs", "");
    let groups = diffs["groups"].as_array().expect("a list").iter();
    let banner: Vec<_> = groups.filter(|of| of["field"] == "$.banner" && of["mirror"] == "v3").collect();
    assert_eq!(banner[0]["is_noise"], false, "{diffs:#}");
}
