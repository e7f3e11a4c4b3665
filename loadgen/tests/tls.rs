//! `loadgen` over TLS from outside: are handshakes counted by their kind, and is a bad origin told from a good one?

mod common;

use common::{Server, number, run_json};
use serde_json::Value;

/// An origin whose certificates are in a directory.
struct Origin {
    server: Server,
    dir: tempfile::TempDir,
}

impl Origin {
    fn start(ports: &[&str]) -> Self {
        Self::start_with(ports, &[])
    }

    fn start_with(ports: &[&str], more: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().to_str().expect("a path");
        let all = [&["--threads", "1", "--tls-dir", path], more].concat();
        Self { server: Server::start_with(ports, &all), dir }
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// A run that trusts the origin's authority.
    fn run(&self, port: &str, more: &[&str]) -> Value {
        let (url, ca) = (self.server.https(port, "/"), self.file("ca.pem"));
        run_json(&[&[url.as_str(), "--cacert", &ca, "--closed"], more].concat()).1
    }
}

/// How requests ended that did not end well.
fn failed_as(document: &Value) -> Vec<&str> {
    let errors = document["errors"].as_object().expect("errors");
    errors.keys().map(String::as_str).collect()
}

#[test]
fn full_and_resumed_handshakes_are_counted_and_timed_apart() {
    let origin = Origin::start(&["v,tls"]);
    let each = ["-c", "4", "-n", "40", "--no-keepalive"];
    let document = origin.run("v", &each);
    assert_eq!(number(&document, "requests.ok"), 40.0, "{}", document["errors"]);
    let (full, resumed) = (number(&document, "handshakes.full"), number(&document, "handshakes.resumed"));
    assert_eq!(full + resumed, number(&document, "requests.connects"));
    assert!((1.0..=4.0).contains(&full), "only the first have no ticket: {full}");
    assert_eq!(number(&document, "handshakes.resumed_us.count"), resumed);
    assert!(number(&document, "handshakes.full_us.p50") > 0.0);

    let document = origin.run("v", &[&each[..], &["--no-resumption"]].concat());
    assert_eq!(number(&document, "handshakes.full"), 40.0);
    assert_eq!(number(&document, "handshakes.resumed"), 0.0);
    assert_eq!(origin.server.counters("v").handshakes, 80);
}

#[test]
fn kept_connections_shake_hands_once() {
    let origin = Origin::start(&["v,tls"]);
    let document = origin.run("v", &["-c", "3", "-n", "60"]);
    assert_eq!(number(&document, "requests.ok"), 60.0);
    assert_eq!(origin.server.counters("v").handshakes, 3);
}

#[test]
fn nobody_is_believed_whose_certificate_is_bad_unless_asked_to() {
    let origin = Origin::start(&["v,tls"]);
    for fault in ["untrusted", "expired", "name"] {
        origin.server.set_fault("v", &format!("bad_certificate={fault}"));
        let document = origin.run("v", &["-c", "1", "-n", "2"]);
        assert_eq!(failed_as(&document), ["handshake"], "{fault}");
        assert!(number(&document, "handshakes.failed") >= 2.0);
        let url = origin.server.https("v", "/");
        let (code, document) = run_json(&[&url, "--insecure", "--closed", "-c", "1", "-n", "2"]);
        assert_eq!((code, number(&document, "requests.ok")), (0, 2.0), "{fault}");
    }
    origin.server.set_fault("v", "none");
    let document = origin.run("v", &["-c", "1", "-n", "2", "--sni", "localhost"]);
    assert_eq!(number(&document, "requests.ok"), 2.0, "another of its names");
    let document = origin.run("v", &["-c", "1", "-n", "2", "--sni", "a.test"]);
    assert_eq!(failed_as(&document), ["handshake"], "no name of its");
}

#[test]
fn a_client_certificate_opens_what_is_closed_without() {
    let made = Origin::start(&["unused,tls"]);
    let ca = made.file("ca.pem");
    let (cert, key) = (made.file("server.pem"), made.file("server.key"));
    let given = ["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &ca, "--threads", "1"];
    let server = Server::start_with(&["v,tls"], &given);
    let url = server.https("v", "/");
    for version in ["1.2", "1.3"] {
        let common =
            [url.as_str(), "--closed", "-c", "1", "-n", "2", "--cacert", &ca, "--tls-version", version];
        let (_, document) = run_json(&common);
        assert_eq!(failed_as(&document), ["handshake"], "TLS {version}");
        let (cert, key) = (made.file("client.pem"), made.file("client.key"));
        let (code, document) = run_json(&[&common[..], &["--cert", &cert, "--key", &key]].concat());
        assert_eq!((code, number(&document, "requests.ok")), (0, 2.0), "{}", document["errors"]);
    }
}

#[test]
fn a_handshake_that_stalls_is_a_timeout_and_one_that_is_none_a_failed_handshake() {
    let origin = Origin::start(&["v,tls"]);
    for fault in ["handshake_stall", "handshake_stall=100"] {
        origin.server.set_fault("v", fault);
        let document = origin.run("v", &["-c", "1", "-n", "1", "--timeout", "300ms"]);
        assert_eq!(failed_as(&document), ["timeout"], "{fault}");
    }
    origin.server.set_fault("v", "handshake_garbage");
    let document = origin.run("v", &["-c", "1", "-n", "1"]);
    assert_eq!(failed_as(&document), ["handshake"]);
}

#[test]
fn an_end_without_close_notify_is_a_truncation_and_with_it_an_end() {
    let origin = Origin::start(&["v,tls,size=1000,framing=close"]);
    origin.server.set_fault("v", "truncate_at=500");
    let document = origin.run("v", &["-c", "1", "-n", "2"]);
    assert_eq!(failed_as(&document), ["truncated"]);
    origin.server.set_fault("v", "close_at=500");
    let document = origin.run("v", &["-c", "1", "-n", "2"]);
    assert_eq!(number(&document, "requests.ok"), 2.0, "{}", document["errors"]);
}

#[test]
fn large_bodies_pass_whole_both_ways() {
    let origin = Origin::start(&["v,tls,size=3M"]);
    let more = ["-c", "2", "-n", "6", "--body-size", "2M", "-H", "x-loadgen-id: large"];
    for version in ["1.2", "1.3"] {
        let document = origin.run("v", &[&more[..], &["--tls-version", version]].concat());
        assert_eq!(number(&document, "requests.ok"), 6.0, "{}", document["errors"]);
        assert!(number(&document, "bytes_in") > 18e6 && number(&document, "bytes_out") > 12e6);
    }
    let log = origin.server.log("v");
    assert_eq!(log.len(), 12);
    assert!(log.iter().all(|arrival| arrival.complete && arrival.body_bytes == 2 << 20));
    let hashes: std::collections::HashSet<&str> = log.iter().map(|a| a.body_sha256.as_str()).collect();
    assert_eq!(hashes.len(), 1, "every copy is the same");
}

#[test]
fn ciphers_and_key_exchanges_can_be_narrowed() {
    let origin = Origin::start_with(
        &["v,tls"],
        &["--tls-cipher", "TLS_AES_128_GCM_SHA256", "--tls-key-exchange", "x25519"],
    );
    let ok = ["-c", "1", "-n", "1", "--tls-cipher", "TLS_AES_128_GCM_SHA256", "--tls-key-exchange", "x25519"];
    assert_eq!(number(&origin.run("v", &ok), "requests.ok"), 1.0);
    let no = ["-c", "1", "-n", "1", "--tls-cipher", "TLS_AES_256_GCM_SHA384"];
    assert_eq!(failed_as(&origin.run("v", &no)), ["handshake"], "nothing in common");
}
