//! Rollout controllers and the verdict: the settings that `docs/src/rollouts.md` tells an operator to write are read from there
//! and used as Argo Rollouts and Flagger use them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tests::{Gateway, Origin, Setup};

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/rollouts.md");
    fs::read_to_string(path).expect("the document")
}

/// The YAML that has `needle` in it.
fn yaml(needle: &str) -> String {
    let document = document();
    let blocks = document.split("```yaml\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0));
    let mut found = blocks.filter(|block| block.contains(needle)).map(str::to_owned);
    found.next().unwrap_or_else(|| panic!("no example has {needle:?}"))
}

/// Each value of `key`, in the order of the text: the rest of its line without quotes, or the block that follows `|`.
fn values(yaml: &str, key: &str) -> Vec<String> {
    let lines: Vec<&str> = yaml.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut found = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let text = line.trim_start().trim_start_matches("- ");
        let Some(value) = text.strip_prefix(key).and_then(|rest| rest.strip_prefix(": ")) else { continue };
        found.push(match value {
            "|" => {
                let block = lines.iter().skip(n + 1).take_while(|inner| indent(inner) > indent(line));
                block.map(|inner| format!("{}\n", inner.trim())).collect()
            }
            _ => value.trim_matches('"').to_owned(),
        });
    }
    found
}

fn value(yaml: &str, key: &str) -> String {
    let all = values(yaml, key);
    assert_eq!(all.len(), 1, "{key}: {all:?}");
    all[0].clone()
}

/// The path of a URL of the document.
fn target(url: &str) -> String {
    let target =
        url.strip_prefix("http://umbra.gateway:9901").expect("the admin listener's name in the document");
    target.replace("{{ args.mirror }}", "v2")
}

/// A gateway whose mirror answers with this code, and that was asked `n` times.
fn asked(code: &'static str, n: usize) -> (Gateway, Origin, Origin) {
    let answer = format!("HTTP/1.1 {code} x\r\nContent-Length: 2\r\n\r\nok");
    let v1 = Origin::fixed("HTTP/1.1 200 x\r\nContent-Length: 2\r\n\r\nok", tests::After::Keep);
    let v2 = Origin::fixed(answer, tests::After::Keep);
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "").start();
    let mut client = gateway.client();
    for _ in 0..n {
        assert_eq!(client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    }
    let _all_ended = gateway.settled("v2");
    (gateway, v1, v2)
}

/// The condition `result == 'word'` that holds, as Argo Rollouts evaluates them.
fn phase(yaml: &str, result: &str) -> &'static str {
    let holds = |key: &str| {
        let condition = value(yaml, key);
        let word = condition.strip_prefix("result == '").and_then(|rest| rest.strip_suffix('\''));
        word.expect("a comparison with a word") == result
    };
    match (holds("successCondition"), holds("failureCondition")) {
        (true, false) => "Successful",
        (false, true) => "Failed",
        (false, false) => "Inconclusive",
        (true, true) => panic!("both hold for {result}"),
    }
}

#[test]
fn argos_web_metric_reads_the_verdict_as_the_document_says() {
    let template = yaml("kind: AnalysisTemplate");
    let (url, path, body) = (value(&template, "url"), value(&template, "jsonPath"), value(&template, "body"));
    assert_eq!(value(&template, "method"), "POST", "a body is sent");
    let key = path.strip_prefix("{$.").and_then(|rest| rest.strip_suffix('}')).expect("one key");
    for (code, n, wanted) in [("200", 3, "Inconclusive"), ("500", 1000, "Failed")] {
        let (gateway, _v1, _v2) = asked(code, n);
        let answer = gateway.admin("POST", &target(&url), &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let told: Value = serde_json::from_str(&answer.text()).expect("JSON");
        let result = told[key].as_str().expect("a word");
        assert_eq!(phase(&template, result), wanted, "{told:#}");
    }
    // The gateway's own tests show when it promotes; here only Argo's reading of the word matters.
    assert_eq!(phase(&template, "promote"), "Successful");
}

#[test]
fn flaggers_webhooks_are_answered_as_the_document_says() {
    let canary = yaml("kind: Canary");
    let hooks: Vec<(String, (String, String))> = values(&canary, "type")
        .into_iter()
        .zip(values(&canary, "url").into_iter().zip(values(&canary, "policy")))
        .collect();
    assert_eq!(hooks.len(), 3, "{hooks:?}");
    // (code of v2, requests) → status by the webhook's type.
    let rows = [
        ("200", 3, [("rollout", 200), ("confirm-promotion", 409), ("rollback", 409)]),
        ("500", 1000, [("rollout", 409), ("confirm-promotion", 409), ("rollback", 200)]),
    ];
    for (code, n, wanted) in rows {
        let (gateway, _v1, _v2) = asked(code, n);
        for (kind, status) in wanted {
            let (_, (url, policy)) =
                hooks.iter().find(|(other, _)| other == kind).expect("a webhook of that type");
            let payload = json!({
                "name": "app",
                "namespace": "test",
                "phase": "Progressing",
                "metadata": { "policy": policy },
            });
            let answer = gateway.admin("POST", &target(url), &payload.to_string());
            assert_eq!(answer.status, status, "{kind} of {code}: {}", answer.text());
        }
    }
}

#[test]
fn flaggers_metric_asks_for_series_that_are_there() {
    let template = yaml("kind: MetricTemplate");
    let (gateway, _v1, _v2) = asked("500", 3);
    let metrics = gateway.admin("GET", "/metrics", "").text();
    let names: Vec<&str> = template
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("umbra_"))
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    for name in names {
        assert!(
            metrics
                .lines()
                .any(|line| line.starts_with(&format!("{name}{{")) && line.contains("mirror=\"v2\"")),
            "{name}"
        );
    }
    assert!(metrics.contains("class=\"5xx\""));
}
