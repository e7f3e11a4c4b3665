//! The admin listener behaves as its description says: schemathesis reads the description and sends requests, valid and
//! invalid.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tests::{Origin, Setup, python};

const REQUIREMENTS: [&str; 1] = ["schemathesis==4.32.5"];

const TOKEN: &str = "nobody-guesses-this";

#[test]
fn every_page_answers_as_described_whatever_it_is_asked() {
    let venv = python::environment("schemathesis", &REQUIREMENTS);
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let setup = Setup::new(&v1).mirror("v2", v2.address, "compare = {}");
    let guarded = setup.toml().replace("[admin]\n", &format!("[admin]\ntoken = \"{TOKEN}\"\n"));
    let gateway = tests::Gateway::start(&guarded, &[]);
    let mut client = gateway.client();
    for _ in 0..5 {
        assert_eq!(client.ask(b"GET /users/7 HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    }
    let _all_ended = gateway.settled("v2");

    let folder = tempfile::tempdir().expect("a temporary directory");
    let support = Path::new(env!("CARGO_MANIFEST_DIR")).join("support");
    let output = Command::new(venv.join("bin/schemathesis"))
        .arg("--config-file")
        .arg(support.join("schemathesis.toml"))
        .args(["run", &format!("http://{}/openapi.json", gateway.admin)])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .env("SCHEMATHESIS_HOOKS", support.join("schemathesis_hooks.py"))
        .current_dir(folder.path())
        .output()
        .expect("schemathesis runs");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(gateway.admin("GET", "/healthz", "").status, 200, "it still turns");
}

#[test]
fn what_cannot_be_asked_is_refused_with_its_reason_as_json() {
    let gateway = Setup::new(&Origin::named("v1")).start();
    let rows = [
        ("GET", "/nowhere", "", 404, "no such page"),
        ("POST", "/metrics", "", 405, "does not take that method"),
        ("GET", "/live?before=1", "", 400, "before"),
        ("GET", "/diffs/x", "", 404, "no group x"),
        ("GET", "/dashboard/%FF", "", 400, "UTF-8"),
        ("PATCH", "/mirrors/v2", "{", 400, "JSON"),
        ("PATCH", "/mirrors/v2", "{}", 422, "percent"),
        ("PATCH", "/routes/all", "{\"weights\": {\"primary\": 0.5}}", 422, "0.5 is not a whole number"),
        ("GET", "/verdict?mirror=v9", "", 404, "v9"),
        ("POST", "/verdict/gate?passes=maybe", "", 400, "maybe"),
    ];
    for (method, target, body, status, why) in rows {
        let answer = gateway.admin(method, target, body);
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.text());
        assert_eq!(answer.field("content-type"), Some("application/json"), "{method} {target}");
        let told: Value = serde_json::from_str(&answer.text()).expect("JSON");
        assert!(told["error"].as_str().is_some_and(|error| error.contains(why)), "{method} {target}: {told}");
    }
}
