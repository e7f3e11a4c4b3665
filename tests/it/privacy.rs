//! What secrets may go where: to the primary and back to the client, and nowhere else. Every outlet there is, is searched.

use std::fs;
use std::process::Command;

use tests::gateway::binary;
use tests::{Gateway, Origin, Setup, eventually};

/// Each stands in one place that `redact` names.
const SECRETS: [&str; 6] =
    ["S3CRET-header", "S3CRET-cookie", "S3CRET-query", "S3CRET-json", "S3CRET-set", "S3CRET-answer"];
const TOKEN: &str = "T0KEN-of-the-admin";

const REDACT: &str = "percent = 100, compare = {}, redact = { headers = [\"authorization\", \"x-answer\"], \
                      cookies = [\"sid\"], query = [\"token\"], json = [\"/card\"] }";

fn answer(version: &str) -> String {
    let json = format!(r#"{{"version":"{version}","card":"S3CRET-json-{version}"}}"#);
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nSet-Cookie: sid=S3CRET-set-{version}; Path=/\r\n\
         X-Answer: S3CRET-answer-{version}\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    )
}

fn asked() -> String {
    let json = r#"{"user":"ada","card":"S3CRET-json"}"#;
    format!(
        "POST /pay?token=S3CRET-query&a=1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer S3CRET-header\r\n\
         Cookie: sid=S3CRET-cookie; theme=dark\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    )
}

/// Everything that can be asked of the admin listener, and what the command line makes of it.
fn told(gateway: &Gateway) -> Vec<(String, String)> {
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let pages = [
        "/",
        "/live",
        "/metrics",
        "/config",
        "/outcomes",
        "/histograms",
        "/diffs",
        "/diffs?format=jsonl",
        "/diffs/1",
        "/diffs/2",
        "/diffs/3",
        "/verdict",
        "/healthz",
        "/readyz",
        "/mirrors",
        "/routes",
        "/nothing",
    ];
    let mut all: Vec<(String, String)> = pages
        .iter()
        .map(|page| ((*page).to_owned(), gateway.admin_with("GET", page, &bearer, "").text()))
        .collect();
    let admin = format!("http://{}", gateway.admin);
    for verb in ["diffs", "histogram", "verdict"] {
        let output = Command::new(binary()).args([verb, "--admin", &admin]).output().expect("the program");
        all.push((
            verb.to_owned(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        ));
    }
    all
}

#[test]
fn a_secret_goes_to_the_primary_and_its_client_and_nowhere_else() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (v1, v2) =
        (Origin::fixed(answer("v1"), tests::After::Keep), Origin::fixed(answer("v2"), tests::After::Keep));
    let collector = Origin::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", tests::After::Keep);
    for format in ["json", "combined"] {
        let log = folder.path().join(format);
        let toml = format!(
            "[access_log]\nto = {:?}\nformat = {format:?}\n[tracing]\nto = \"http://{}\"\npercent = 100\n",
            log.display().to_string(),
            collector.address
        );
        let toml = Setup::new(&v1).mirror("v2", v2.address, REDACT).with(&toml).toml();
        let toml = toml.replacen("[admin]\n", &format!("[admin]\ntoken = {TOKEN:?}\n"), 1);
        let gateway = Gateway::start(&toml, &[("UMBRA_LOG".to_owned(), "trace".to_owned())]);
        let before = (v2.count(), collector.count());
        for _ in 0..5 {
            let answer = gateway.client().ask(asked());
            assert!(answer.text().contains("S3CRET-json-v1"), "the client gets what v1 said");
            assert!(answer.field("set-cookie").is_some_and(|value| value.contains("S3CRET-set-v1")));
        }
        // Bad requests are told about too, and so is a configuration that is refused.
        for bad in [
            "GET /x?token=S3CRET-query HTTP/1.1\r\nHost: a\r\nAuthorization : S3CRET-header\r\n\r\n",
            "GET /x?token=S3CRET-query HTTP/1.1\r\nHost : a\r\nCookie: sid=S3CRET-cookie\r\n\r\n",
        ] {
            assert_eq!(gateway.client().ask(bad).status, 400);
        }
        v2.wait_for(before.0 + 5);
        gateway.settled("v2");
        let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
        assert_eq!(gateway.admin("GET", "/diffs", "").status, 401, "samples are for who may change things");
        eventually("differences are found", || {
            gateway.admin_with("GET", "/diffs", &bearer, "").text().contains("version")
        });
        eventually("spans are told", || collector.count() > before.1);
        eventually("the log is written", || {
            fs::read_to_string(&log).is_ok_and(|text| text.lines().count() >= 5)
        });
        let mut outlets = told(&gateway);
        assert!(
            outlets.iter().any(|(page, text)| page.starts_with("/diffs/") && text.contains("[redacted]")),
            "{outlets:?}"
        );
        outlets.push(("standard error".into(), gateway.stderr()));
        outlets.push(("the banner".into(), gateway.stdout()));
        outlets.push((format!("the access log, {format}"), fs::read_to_string(&log).expect("the log")));
        for (to, origin) in [("v2's wire", &v2), ("the collector's wire", &collector)] {
            outlets.push((to.to_owned(), origin.wires().concat()));
        }
        for (outlet, text) in &outlets {
            for secret in SECRETS.iter().chain(&[TOKEN]) {
                let at = text.find(secret);
                let around = at.map(|at| &text[at.saturating_sub(200)..(at + 60).min(text.len())]);
                assert!(around.is_none(), "{outlet} tells {secret}: {around:?}");
            }
        }
    }
    assert!(SECRETS[..4].iter().all(|secret| v1.saw(secret)), "the primary gets everything");
}
