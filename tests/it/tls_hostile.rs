//! A TLS client that breaks every rule it can, by tlslite-ng: malformed or unexpected messages end the connection, odd and
//! allowed ones are served, and none reaches a service.

use std::collections::BTreeMap;
use std::process::Command;

use tests::certificates::Authority;
use tests::{Gateway, Origin, Setup, eventually, python};

/// Bends sessions of its own; nothing else in Python lets one do so.
const TLSLITE: [&str; 1] = ["tlslite-ng==0.8.2"];

struct Case {
    case: String,
    kind: String,
    ended: String,
}

impl Case {
    fn of(line: &str) -> Self {
        let said: serde_json::Value = serde_json::from_str(line).expect("a case");
        let [case, kind, ended] =
            ["case", "kind", "ended"].map(|key| said[key].as_str().expect("a text").to_owned());
        Self { case, kind, ended }
    }

    /// The fault of its end, if any.
    fn complaint(&self) -> Option<String> {
        let is_ended = self.ended.starts_with("alert ") || self.ended.starts_with("closed");
        let is_well = match self.kind.as_str() {
            "served" => self.ended == "served",
            "refused" => is_ended,
            // Either, as long as it ends.
            "any" => is_ended || self.ended == "served",
            kind => panic!("no such kind: {kind}"),
        };
        (!is_well).then(|| format!("{}: {} ({})", self.case, self.ended, self.kind))
    }
}

#[test]
fn what_is_malformed_or_unexpected_ends_and_reaches_no_service() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let shop = authority.issue("shop", &["shop.example"]);
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let setup = Setup::new(&v1).mirror("v2", v2.address, "").with("[timeouts]\ntls_handshake = \"3s\"");
    let own = "[[listener]]\nbind = \"127.0.0.1:0\"\n";
    let listener = format!("{own}tls = {{ certificates = [{}] }}\n", shop.toml());
    let gateway = Gateway::start(&setup.toml().replacen(own, &listener, 1), &[]);
    let venv = python::environment("tlslite", &TLSLITE);
    let output = Command::new(venv.join("bin/python"))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/support/tls_hostile.py"))
        .args(["shop.example", &gateway.address.to_string()])
        .output()
        .expect("python");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let cases: Vec<Case> = String::from_utf8_lossy(&output.stdout).lines().map(Case::of).collect();
    assert!(cases.len() > 90, "{} cases", cases.len());
    let complaints: Vec<String> = cases.iter().filter_map(Case::complaint).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    let served = cases.iter().filter(|case| case.ended == "served").count();
    // The one whose record came twice was a whole request the first time, and may have been passed on.
    let of = |origin: &Origin| origin.requests().iter().filter(|seen| seen.target == "/hostile").count();
    assert_eq!(of(&v1), served, "{:?}", v1.wires());
    eventually("the copies came", || of(&v2) == served);
    let log = gateway.stderr();
    assert!(!log.contains("panicked"), "{log}");
    let failures = gateway.metrics().sum("umbra_tls_handshake_failures_total", &[]);
    assert!(failures > 40, "{failures}");
    let of: BTreeMap<&str, &str> = cases.iter().map(|c| (c.case.as_str(), c.ended.as_str())).collect();
    // RFC 8446 §5.2, §6.2: which rule was broken is said where the record layer says it.
    for (case, alert) in [
        ("1.3, a flipped bit of content", "alert 20"),
        ("1.3, change cipher spec within", "alert 10"),
        ("compression", "alert 47"),
        ("a draft's version", "alert 70"),
    ] {
        assert_eq!(of[case], alert, "{case}");
    }
}
