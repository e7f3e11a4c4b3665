//! TLS with upstreams, seen from outside: origins behind a front that shakes hands as the test says.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tests::certificates::{Authority, Pair};
use tests::message::post;
use tests::{After, Front, Gateway, Origin, Rules, Setup, eventually};

/// A folder with an authority and a certificate for `v1.internal`.
struct Stage {
    folder: tempfile::TempDir,
    authority: Authority,
    v1: Pair,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new(folder.path(), "ca");
        let v1 = authority.issue("v1", &["v1.internal"]);
        Self { folder, authority, v1 }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `tls` of an upstream that is believed by its CA and its name.
    fn keys(&self, more: &str) -> String {
        format!("ca = {:?}, server_name = \"v1.internal\"{more}", self.authority.ca)
    }
}

/// Of a mirror, for the same reason.
const PATIENT: &str = "connect_timeout = \"30s\", timeout = \"30s\"";

/// The file of `setup` in which these upstreams are called over TLS.
fn secured(setup: &Setup, upstreams: &[(&str, &str)]) -> String {
    let mut text = setup.toml();
    for (name, keys) in upstreams {
        let table = format!("[upstream.{name}]\n");
        assert!(text.contains(&table), "{name}");
        // On a busy machine a handshake takes its time, and no test is about that.
        text = text.replacen(&table, &format!("{table}connect_timeout = \"30s\"\ntls = {{ {keys} }}\n"), 1);
    }
    text
}

fn by(gateway: &Gateway, what: &str, labels: [(&str, &str); 2]) -> i64 {
    let labels = labels.map(|(key, value)| format!("{key}=\"{value}\""));
    gateway.metrics().sum(what, &[&labels[0], &labels[1]])
}

/// Completed handshakes with the primary.
fn handshakes(gateway: &Gateway, kind: &str) -> i64 {
    by(gateway, "umbra_upstream_tls_handshakes_total", [("upstream", "primary"), ("kind", kind)])
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n")
}

#[test]
fn requests_and_copies_go_over_tls_and_nothing_of_them_is_plain_on_a_wire() {
    let stage = Stage::new();
    let origins = ["v1", "v2", "again"].map(Origin::named);
    let fronts = origins.each_ref().map(|origin| Front::new(&stage.v1, origin.address, Rules::default()));
    let [primary, v2, again] = &fronts;
    let setup = Setup::to(&[primary.address]).mirror("v2", v2.address, PATIENT).mirror(
        "again",
        again.address,
        &format!("role = \"baseline\", {PATIENT}"),
    );
    let keys = stage.keys("");
    let gateway =
        Gateway::start(&secured(&setup, &[("primary", &keys), ("v2", &keys), ("again", &keys)]), &[]);
    let secret = "the-secret-that-nobody-else-may-read";
    for _ in 0..3 {
        let mut client = gateway.client();
        assert_eq!(client.ask(post(&format!("Authorization: {secret}\r\n"), secret)).status, 200);
    }
    gateway.settled("v2");
    gateway.settled("again");
    for (origin, front) in origins.iter().zip(&fronts) {
        origin.wait_for(3);
        assert!(origin.saw(secret) || origin.address == origins[1].address, "it came");
        assert!(!front.saw(secret) && !front.saw("shop.example"));
        let shaken = front.shaken();
        assert!(!shaken.is_empty());
        for one in shaken {
            assert_eq!(
                (one.name.as_deref(), one.protocol.as_deref()),
                (Some("v1.internal"), Some("http/1.1"))
            );
        }
    }
    let of_mirrors = gateway.metrics().sum("umbra_mirror_tls_handshakes_total", &[]);
    assert!(handshakes(&gateway, "full") == 1 && of_mirrors >= 2);
}

#[test]
fn an_upstream_that_is_not_who_it_should_be_gets_nothing_and_is_told_by_its_reason() {
    let stage = Stage::new();
    let v1 = Origin::named("v1");
    let other = stage.authority.issue("other", &["other.internal"]);
    let stranger = Authority::new(stage.path(), "stranger").issue("stranger", &["v1.internal"]);
    let key = rcgen::KeyPair::generate().expect("a key");
    let past = |params: &mut rcgen::CertificateParams| params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let expired = stage.authority.issue_with("expired", &["v1.internal"], &key, 3, past);
    let front = |pair: &Pair, rules: Rules<'_>| Front::new(pair, v1.address, rules);
    let old = Rules { is_old: true, ..Rules::default() };
    let plain = Origin::scripted(|conn| {
        conn.read();
        tests::origin::write(&mut conn.stream, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    });
    let rows = [
        (front(&other, Rules::default()), "wrong_name", "server_name"),
        (front(&stranger, Rules::default()), "unknown_ca", "give its CA as ca"),
        (front(&expired, Rules::default()), "expired", "has expired"),
        (front(&stage.v1, old), "no_common_protocol", "see min_version"),
    ];
    let rows = rows.iter().map(|(front, why, said)| (front.address, *why, *said));
    for (address, why, hint) in rows.chain([(plain.address, "not_tls", "does not speak TLS")]) {
        let keys = stage.keys(", min_version = \"1.3\"");
        // As the primary.
        let gateway = Gateway::start(&secured(&Setup::to(&[address]), &[("primary", &keys)]), &[]);
        let refused = gateway.client().ask(post("", "content"));
        assert_eq!(refused.status, 503, "{why}");
        let failed =
            by(&gateway, "umbra_upstream_failures_total", [("upstream", "primary"), ("reason", "tls")]);
        let named = [("upstream", "primary"), ("reason", why)];
        let counted = by(&gateway, "umbra_upstream_tls_handshake_failures_total", named);
        // An endpoint that is not believed is not called for each try.
        assert!(failed >= counted && counted > 0, "{why}: {failed} {counted}");
        assert_eq!(gateway.metrics().sum("umbra_rejected_total", &["reason=\"primary_tls\""]), 1);
        let line = format!("upstream primary: no TLS with it ({why})");
        eventually(&line, || gateway.stderr().contains(&line) && gateway.stderr().contains(hint));
        // As a mirror.
        let setup = Setup::new(&v1).mirror("v2", address, PATIENT);
        let gateway = Gateway::start(&secured(&setup, &[("v2", &keys)]), &[]);
        assert_eq!(gateway.client().ask(get("/")).status, 200);
        let named = [("mirror", "v2"), ("reason", why)];
        eventually(why, || by(&gateway, "umbra_mirror_tls_handshake_failures_total", named) > 0);
        gateway.settled("v2");
        assert!(gateway.metrics().sum("umbra_mirror_connect_failures_total", &["mirror=\"v2\""]) > 0);
    }
    assert_eq!(plain.count(), 0);
    assert_eq!(v1.count(), 5, "each asked as the primary, and none as a mirror");
}

#[test]
fn content_of_any_size_passes_both_ways() {
    let stage = Stage::new();
    let v1 = Origin::new(|request, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
        tests::origin::write(stream, [head.as_bytes(), &request.body].concat())
    });
    let v2 = Origin::named("v2");
    for is_old in [false, true] {
        let rules = Rules { is_old, ..Rules::default() };
        let primary = Front::new(&stage.v1, v1.address, rules);
        let mirror = Front::new(&stage.v1, v2.address, rules);
        let setup = Setup::to(&[primary.address]).mirror("v2", mirror.address, PATIENT);
        let keys = stage.keys("");
        let gateway = Gateway::start(&secured(&setup, &[("primary", &keys), ("v2", &keys)]), &[]);
        let mut client = gateway.client();
        let before = v2.count();
        for (n, bytes) in [0, 1, 16_384, 64 * 1024, 1024 * 1024].into_iter().enumerate() {
            let content = tests::load::pattern(n, bytes);
            let answer = client.ask(tests::load::post("/upload", &content));
            assert!(answer.status == 200 && answer.body == content, "{bytes} bytes back");
            let sent = &v2.wait_for(before + n + 1)[before + n];
            assert!(sent.body == content, "{bytes} bytes copied");
        }
        assert_eq!(primary.accepted(), 1, "one connection carries them all");
        gateway.settled("v2");
    }
}

#[test]
fn a_kept_connection_is_used_again_and_the_next_one_resumes() {
    let stage = Stage::new();
    // Every fourth answer ends its connection.
    let v1 = Origin::scripted(|conn| {
        for n in 0..4 {
            let Some(_) = conn.request() else { return };
            let close = if n == 3 { "Connection: close\r\n" } else { "" };
            tests::origin::write(
                &mut conn.stream,
                format!("HTTP/1.1 200 OK\r\n{close}Content-Length: 0\r\n\r\n"),
            );
        }
    });
    for is_old in [false, true] {
        let front = Front::new(&stage.v1, v1.address, Rules { is_old, ..Rules::default() });
        let setup = Setup::to(&[front.address]);
        let gateway = Gateway::start(&secured(&setup, &[("primary", &stage.keys(""))]), &[]);
        let mut client = gateway.client();
        for _ in 0..12 {
            assert_eq!(client.ask(get("/")).status, 200);
        }
        // Tickets that came behind the handshake are no response: three connections for twelve requests.
        let resumed: Vec<bool> = front.shaken().iter().map(|one| one.is_resumed).collect();
        assert_eq!(resumed, [false, true, true]);
        assert_eq!([handshakes(&gateway, "full"), handshakes(&gateway, "resumed")], [1, 2]);
    }
}

#[test]
fn an_upstream_that_asks_for_a_certificate_is_shown_ours() {
    let stage = Stage::new();
    let clients = Authority::new(stage.path(), "clients");
    let us = clients.issue("us", &["umbra.internal"]);
    let stranger = Authority::new(stage.path(), "strangers").issue("stranger", &["umbra.internal"]);
    let v1 = Origin::named("v1");
    for is_old in [false, true] {
        let rules = Rules { clients: Some(&clients), is_old, ..Rules::default() };
        let front = Front::new(&stage.v1, v1.address, rules);
        let own = |pair: &Pair| stage.keys(&format!(", cert = {:?}, key = {:?}", pair.cert, pair.key));
        let setup = Setup::to(&[front.address]).mirror("v2", front.address, PATIENT);
        let keys = own(&us);
        let gateway = Gateway::start(&secured(&setup, &[("primary", &keys), ("v2", &keys)]), &[]);
        assert_eq!(gateway.client().ask(get("/")).status, 200);
        gateway.settled("v2");
        assert!(front.shaken().iter().all(|one| one.has_client_certificate));
        for (keys, why) in [(stage.keys(""), "no_certificate"), (own(&stranger), "distrusted")] {
            let gateway = Gateway::start(&secured(&Setup::to(&[front.address]), &[("primary", &keys)]), &[]);
            // In TLS 1.3 it is refused when the request is under way already, and a reset may be faster than the alert.
            let named = [("upstream", "primary"), ("reason", why)];
            eventually(why, || {
                assert_ne!(gateway.client().ask(get("/")).status, 200);
                by(&gateway, "umbra_upstream_tls_handshake_failures_total", named) > 0
            });
            let line = format!("upstream primary: no TLS with it ({why})");
            eventually(&line, || gateway.stderr().contains(&line));
        }
    }
}

#[test]
fn a_response_that_ends_with_its_connection_is_whole_only_behind_close_notify() {
    let stage = Stage::new();
    let v1 = Origin::fixed("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it", After::Close);
    for cuts in [false, true] {
        let front = Front::new(&stage.v1, v1.address, Rules { cuts, ..Rules::default() });
        let setup = Setup::to(&[front.address]).mirror("v2", front.address, PATIENT);
        let keys = stage.keys("");
        let gateway = Gateway::start(&secured(&setup, &[("primary", &keys), ("v2", &keys)]), &[]);
        let mut client = gateway.client();
        let answer = client.send(get("/")).try_response(false);
        let metrics = gateway.settled("v2");
        let closed =
            by(&gateway, "umbra_upstream_failures_total", [("upstream", "primary"), ("reason", "closed")]);
        if cuts {
            assert!(answer.is_err() && closed == 1, "{answer:?}");
            assert_eq!(metrics.mirror_by("v2", "failed_total", "reason", "closed"), 1);
        } else {
            assert_eq!(answer.expect("a whole answer").text(), "all of it");
            assert_eq!(metrics.mirror_by("v2", "completed_total", "class", "2xx"), 1);
        }
    }
}

#[test]
fn a_mirror_that_stalls_in_its_handshake_hurts_no_client() {
    let stage = Stage::new();
    let v1 = Origin::named("v1");
    let primary = Front::new(&stage.v1, v1.address, Rules::default());
    let stalled = Front::new(&stage.v1, v1.address, Rules { stalls: true, ..Rules::default() });
    let setup = Setup::to(&[primary.address]).mirror("v2", stalled.address, "connect_timeout = \"300ms\"");
    let keys = stage.keys("");
    let gateway = Gateway::start(&secured(&setup, &[("primary", &keys), ("v2", &keys)]), &[]);
    eventually("handshakes that nobody answers run out of their time", || {
        // Each on a connection of its own: our handshakes with the primary pass those with the mirror.
        assert_eq!(gateway.client().ask(get("/")).status, 200);
        by(&gateway, "umbra_mirror_tls_handshake_failures_total", [("mirror", "v2"), ("reason", "timeout")])
            > 1
    });
    gateway.settled("v2");
    assert_eq!(gateway.metrics().sum("umbra_upstream_failures_total", &[]), 0);
}

/// So many times the worker has said that it serves by another configuration.
fn is_applied(gateway: &Gateway, times: usize) -> bool {
    gateway.stderr().matches("configuration applied on 1 workers").count() == times
}

/// Stops the clients when it is dropped.
struct Stops<'s>(&'s AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Replaces this file by the concatenation of others, as tools that renew certificates do.
fn concatenate(file: &Path, of: &[&Path]) {
    let all: Vec<String> = of.iter().map(|file| std::fs::read_to_string(file).expect("a file")).collect();
    std::fs::write(file.with_extension("next"), all.concat()).expect("it is written");
    std::fs::rename(file.with_extension("next"), file).expect("it takes the old one's place");
}

#[test]
fn authorities_and_certificates_change_under_load_and_no_client_notices() {
    let stage = Stage::new();
    let v1 = Origin::named("v1");
    let clients = Authority::new(stage.path(), "clients");
    let us = clients.issue("us", &["umbra.internal"]);
    let rules = Rules { clients: Some(&clients), ..Rules::default() };
    let front = Front::new(&stage.v1, v1.address, rules);
    let trusted = stage.path().join("trusted.pem");
    concatenate(&trusted, &[&stage.authority.ca]);
    let keys =
        format!("ca = {trusted:?}, server_name = \"v1.internal\", cert = {:?}, key = {:?}", us.cert, us.key);
    let setup = Setup::to(&[front.address]).mirror("v2", front.address, PATIENT);
    let gateway = Gateway::start(&secured(&setup, &[("primary", &keys), ("v2", &keys)]), &[]);
    let (stop, asked) = (AtomicBool::new(false), [AtomicUsize::new(0), AtomicUsize::new(0)]);
    std::thread::scope(|scope| {
        // Also where the test fails: the clients would go on for ever.
        let _stops = Stops(&stop);
        for asked in &asked {
            let (gateway, stop) = (&gateway, &stop);
            scope.spawn(move || {
                let mut client = gateway.client();
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(client.ask(get("/")).status, 200);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Earlier exchanges are over.
        let go_on = || {
            let before = asked.each_ref().map(|asked| asked.load(Ordering::Relaxed));
            let more = |n: usize| asked[n].load(Ordering::Relaxed) > before[n] + 1;
            eventually("every client is answered again", || more(0) && more(1));
        };
        let mut before = stage.authority.ca.clone();
        for round in 0..4 {
            // Both authorities are believed while the server goes from one to the other.
            let next = Authority::new(stage.path(), &format!("ca{round}"));
            concatenate(&trusted, &[&before, &next.ca]);
            clients.issue("us", &["umbra.internal"]);
            gateway.signal("HUP");
            eventually("it is applied", || is_applied(&gateway, 2 * round + 1));
            go_on();
            front.change(&next.issue("next", &["v1.internal"]), rules);
            let full = handshakes(&gateway, "full");
            concatenate(&trusted, &[&next.ca]);
            gateway.signal("HUP");
            eventually("it is applied", || is_applied(&gateway, 2 * round + 2));
            // A connection made under the old rules carries no request any more, and its session is not resumed.
            eventually("hands are shaken anew", || handshakes(&gateway, "full") > full);
            before = next.ca;
        }
        std::fs::write(&trusted, "nothing").expect("it is written");
        gateway.signal("HUP");
        let refused = format!("upstream.primary.tls.ca: {} holds no certificate in PEM", trusted.display());
        eventually(&refused, || gateway.stderr().contains(&refused));
        assert!(is_applied(&gateway, 8), "it changes nothing");
        go_on();
    });
    let metrics = gateway.settled("v2");
    assert_eq!(
        metrics.sum("umbra_upstream_failures_total", &[]),
        metrics.sum("umbra_upstream_failures_total", &["reason=\"stale\""])
    );
}

#[test]
fn one_reload_turns_plaintext_into_tls_and_no_kept_connection_outlives_it() {
    let stage = Stage::new();
    let v1 = Origin::named("v1");
    let front = Front::new(&stage.v1, v1.address, Rules::default());
    let plain = Setup::to(&[v1.address]);
    let gateway = Gateway::start(&plain.toml(), &[]);
    let mut client = gateway.client();
    assert_eq!(client.ask(get("/")).status, 200);
    gateway.write(&secured(&Setup::to(&[front.address]), &[("primary", &stage.keys(""))]));
    gateway.signal("HUP");
    eventually("it is applied", || is_applied(&gateway, 1));
    assert_eq!(client.ask(get("/")).status, 200);
    assert_eq!(front.shaken().len(), 1);
    // The same address under other rules: the kept connection is not used.
    let stranger = Authority::new(stage.path(), "stranger");
    let keys = format!("ca = {:?}, server_name = \"v1.internal\"", stranger.ca);
    gateway.write(&secured(&Setup::to(&[front.address]), &[("primary", &keys)]));
    gateway.signal("HUP");
    eventually("it is applied", || is_applied(&gateway, 2));
    assert_eq!(client.ask(get("/")).status, 503);
    // And nor is it where TLS was taken away.
    gateway.write(&Setup::to(&[front.address]).toml());
    gateway.signal("HUP");
    eventually("it is applied", || is_applied(&gateway, 3));
    assert_ne!(client.ask(get("/plain")).status, 200);
    assert_eq!(v1.count(), 2);
}

#[test]
fn endpoints_are_believed_by_their_own_names_and_by_whom_the_system_trusts() {
    let stage = Stage::new();
    let v1 = Origin::named("v1");
    let both = stage.authority.issue("both", &["127.0.0.1", "localhost"]);
    let front = Front::new(&both, v1.address, Rules::default());
    let empty = tempfile::tempdir().expect("a folder");
    let trusts = |file: &Path| {
        let folder = empty.path().display().to_string();
        [("SSL_CERT_FILE".to_owned(), file.display().to_string()), ("SSL_CERT_DIR".to_owned(), folder)]
    };
    let system = trusts(&stage.authority.ca);
    let text = secured(&Setup::to(&[front.address]), &[("primary", "")]);
    let gateway = Gateway::start(&text, &system);
    assert_eq!(gateway.client().ask(get("/")).status, 200);
    let named = text.replace(&front.address.to_string(), &format!("localhost:{}", front.address.port()));
    let gateway = Gateway::start(&named, &system);
    assert_eq!(gateway.client().ask(get("/")).status, 200);
    let names: Vec<_> = front.shaken().into_iter().map(|one| one.name).collect();
    assert_eq!(names, [None, Some("localhost".to_owned())], "an address is no SNI");
    let nobody = trusts(&stage.v1.key);
    let output = Gateway::ends(
        Command::new(tests::gateway::binary()).arg("check").arg("--config").arg(gateway.file()).envs(nobody),
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("upstream.primary.tls: the system has no roots of trust"),
        "{said}"
    );
}

#[test]
fn who_believes_anybody_is_warned_of_it_at_every_start_and_reload() {
    let stage = Stage::new();
    let v1 = Origin::named("v1");
    let stranger = Authority::new(stage.path(), "stranger").issue("stranger", &["elsewhere"]);
    let front = Front::new(&stranger, v1.address, Rules::default());
    let text = secured(&Setup::to(&[front.address]), &[("primary", "danger_accept_any_certificate = true")]);
    let gateway = Gateway::start(&text, &[]);
    assert_eq!(gateway.client().ask(get("/")).status, 200);
    let warned = |times| {
        gateway.stderr().matches("tls.danger_accept_any_certificate: accepts any certificate").count()
            == times
    };
    eventually("it is warned of", || warned(1));
    gateway.signal("HUP");
    eventually("and again", || warned(2));
    assert!(gateway.stdout().contains("TLS, ANY certificate"));
}

#[test]
fn what_is_wrong_with_a_key_or_its_file_is_said_with_both() {
    let stage = Stage::new();
    let other = stage.authority.issue("other", &["other.example"]);
    let (ca, v1) = (&stage.authority.ca, &stage.v1);
    let missing = stage.path().join("missing.pem");
    let rows = [
        (format!("ca = {missing:?}"), format!("tls.ca: {} cannot be read", missing.display())),
        (format!("ca = {:?}", v1.key), format!("tls.ca: {} holds no certificate in PEM", v1.key.display())),
        (format!("ca = {ca:?}, cert = {:?}", v1.cert), "tls.key: is missing; write key".to_owned()),
        (format!("ca = {ca:?}, key = {:?}", v1.key), "tls.cert: is missing; write cert".to_owned()),
        (
            format!("ca = {ca:?}, cert = {:?}, key = {:?}", v1.cert, other.key),
            format!("tls.key: {} is not the key of the certificate in", other.key.display()),
        ),
        (format!("ca = {ca:?}, server_name = \"a b\""), "tls.server_name: \"a b\" has ' '".to_owned()),
        (format!("ca = {ca:?}, server_name = \"-a.b\""), "tls.server_name: -a.b is no name".to_owned()),
        (format!("ca = {ca:?}, danger_accept_any_certificate = true"), "contradicts ca".to_owned()),
        ("danger_accept_any_certificates = true".to_owned(), "danger_accept_any_certificate".to_owned()),
    ];
    for (keys, wanted) in rows {
        let text = secured(&Setup::to(&[Origin::refusing()]), &[("primary", &keys)]);
        for output in [Gateway::check(&text), Gateway::refused(&text)] {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && said.contains(&wanted), "{wanted}\n{said}");
            assert!(said.contains("upstream.primary.tls"), "{said}");
        }
    }
}

#[test]
fn health_checks_ask_over_tls_and_believe_as_requests_do() {
    let stage = Stage::new();
    let v1 = Origin::named("v1");
    let stranger = Authority::new(stage.path(), "stranger").issue("stranger", &["v1.internal"]);
    let good = Front::new(&stage.v1, v1.address, Rules::default());
    let bad = Front::new(&stranger, v1.address, Rules::default());
    let health = "health = { path = \"/healthz\", interval = \"5s\", timeout = \"5s\", unhealthy_after = 1 }";
    let table = "[upstream.primary]\n";
    let text = secured(&Setup::to(&[good.address, bad.address]), &[("primary", &stage.keys(""))]);
    let gateway = Gateway::start(&text.replacen(table, &format!("{table}{health}\n"), 1), &[]);
    let told = format!("primary: {} is unhealthy: no TLS: its certificate's issuer is unknown", bad.address);
    eventually(&told, || gateway.stderr().contains(&told));
    eventually("the other one answers", || v1.requests().iter().any(|request| request.target == "/healthz"));
    for _ in 0..4 {
        assert_eq!(gateway.client().ask(get("/")).status, 200);
    }
    assert_eq!(gateway.metrics().sum("umbra_upstream_failures_total", &["reason=\"tls\""]), 0);
}

#[test]
fn a_request_is_explained_with_how_its_upstream_is_called() {
    let stage = Stage::new();
    let us = stage.authority.issue("us", &["umbra.internal"]);
    let setup = Setup::to(&["127.0.0.1:9001".parse().expect("an address")]).mirror(
        "v2",
        "127.0.0.1:9002".parse().expect("an address"),
        "",
    );
    let own = stage.keys(&format!(", cert = {:?}, key = {:?}", us.cert, us.key));
    let text = secured(&setup, &[("primary", &own), ("v2", "danger_accept_any_certificate = true")]);
    let file = stage.path().join("gateway.toml");
    std::fs::write(&file, text).expect("it is written");
    let output = Gateway::ends(
        Command::new(tests::gateway::binary())
            .args(["explain", "--config"])
            .arg(&file)
            .arg("http://shop.example/"),
    );
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in [
        "over TLS 1.2 or newer: SNI v1.internal, ALPN http/1.1; checked: its certificate by ",
        "ca.pem, for v1.internal; shown: ",
        "us.pem if asked",
        "no SNI, ALPN http/1.1; checked: NOTHING: any certificate is accepted; shown: no certificate of ours",
    ] {
        assert!(said.contains(part), "{part}\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn an_endpoint_without_a_good_certificate_is_passed_over_and_ejected() {
    let stage = Stage::new();
    let v1 = Origin::named("v1");
    let other = stage.authority.issue("other", &["other.internal"]);
    let good = Front::new(&stage.v1, v1.address, Rules::default());
    let bad = Front::new(&other, v1.address, Rules::default());
    let table = "[upstream.primary]\n";
    let text = secured(&Setup::to(&[good.address, bad.address]), &[("primary", &stage.keys(""))]);
    let rules =
        "ejection = { consecutive_gateway_errors = 1, percent_max = 50 }\nrequests_per_connection_max = 1\n";
    let gateway = Gateway::start(&text.replacen(table, &format!("{table}{rules}"), 1), &[]);
    for _ in 0..8 {
        assert_eq!(gateway.client().ask(get("/")).status, 200);
    }
    assert_eq!(gateway.metrics().sum("umbra_upstream_ejections_total", &["upstream=\"primary\""]), 1);
    assert_eq!(v1.count(), 8);
}

#[test]
fn a_response_before_the_upload_has_ended_passes_with_close_notify_behind_it() {
    let stage = Stage::new();
    let v1 = Origin::scripted(|conn| {
        if conn.head().is_some() {
            let early =
                "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 6\r\n\r\nenough";
            tests::origin::write(&mut conn.stream, early);
            tests::load::close_kindly(&mut conn.stream);
        }
    });
    let front = Front::new(&stage.v1, v1.address, Rules::default());
    let setup = Setup::to(&[front.address]);
    let gateway = Gateway::start(&secured(&setup, &[("primary", &stage.keys(""))]), &[]);
    let mut client = gateway.client();
    client.send("POST /upload HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 2000000\r\n\r\n");
    client.send(vec![b'x'; 200_000]);
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (413, "enough"));
}

#[test]
fn a_mirror_that_floods_with_tickets_is_called_seldom_and_hurts_no_client() {
    let stage = Stage::new();
    let v1 = Origin::named("v1");
    let flooding = Front::new(&stage.v1, v1.address, Rules { tickets: 3000, ..Rules::default() });
    let setup = Setup::new(&v1).mirror("v2", flooding.address, PATIENT);
    let gateway = Gateway::start(&secured(&setup, &[("v2", &stage.keys(""))]), &[]);
    let mut client = gateway.client();
    let mut asked = 0;
    let noise = [("mirror", "v2"), ("reason", "noise")];
    eventually("it is found out", || {
        assert_eq!(client.ask(get("/")).status, 200);
        asked += 1;
        by(&gateway, "umbra_mirror_tls_handshake_failures_total", noise) > 1
    });
    for _ in 0..500 {
        assert_eq!(client.ask(get("/")).status, 200);
    }
    gateway.settled("v2");
    let called = flooding.accepted();
    assert!(called < 250, "called {called} times for {} requests", asked + 500);
    let line = "mirror v2: no TLS with it (noise)";
    eventually(line, || gateway.stderr().contains(line));
}

#[test]
fn a_mirror_that_closes_after_each_answer_is_called_as_often_as_handshakes_may_cost() {
    let stage = Stage::new();
    let v1 = Origin::named("v1");
    let v2 = Origin::new(|_, stream| {
        tests::origin::write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        After::Close
    });
    let closing = Front::new(&stage.v1, v2.address, Rules::default());
    let setup = Setup::new(&v1).mirror("v2", closing.address, &format!("ring_entries_max = 64, {PATIENT}"));
    let gateway = Gateway::start(&secured(&setup, &[("v2", &stage.keys(""))]), &[]);
    let begun = Instant::now();
    let mut client = gateway.client();
    while begun.elapsed() < Duration::from_secs(5) {
        assert_eq!(client.ask(get("/")).status, 200);
    }
    let called = gateway.metrics().sum("umbra_mirror_connects_total", &["mirror=\"v2\""]);
    // A second's worth may come at once, and a few were called when the last was counted.
    let most = 128.0 * (begun.elapsed().as_secs_f64() + 1.0) + 16.0;
    assert!(called > 0 && (called as f64) < most, "called {called} times, at most {most}");
    gateway.settled("v2").ledger("v2").expect("the ledger balances");
}

#[test]
fn a_large_copy_is_sealed_as_its_mirror_takes_it() {
    let stage = Stage::new();
    let (v1, v2) = (Origin::named("v1"), Origin::never_reading());
    let front = Front::new(&stage.v1, v2.address, Rules::default());
    let large = format!("body_bytes_max = \"32MiB\", ring_bytes_max = \"64MiB\", {PATIENT}");
    let setup = Setup::new(&v1).mirror("v2", front.address, &large);
    let gateway = Gateway::start(&secured(&setup, &[("v2", &stage.keys(""))]), &[]);
    let mut client = gateway.client();
    assert_eq!(client.ask(get("/")).status, 200);
    let before = gateway.rss_bytes();
    let content = tests::load::pattern(1, 24 << 20);
    assert_eq!(client.ask(tests::load::post("/upload", &content)).status, 200);
    eventually("it is on its way", || front.saw_bytes() > 100_000);
    // The pieces that are sealed at all are sealed before the next request is answered.
    assert_eq!(client.ask(get("/")).status, 200);
    let grown = gateway.rss_bytes().saturating_sub(before);
    assert!(grown < 60 << 20, "{} MiB for a copy of 24 MiB", grown >> 20);
}

#[test]
fn an_endpoint_that_is_not_believed_is_not_called_for_each_request_and_soon_when_it_is() {
    let stage = Stage::new();
    let v1 = Origin::named("v1");
    let other = stage.authority.issue("other", &["other.internal"]);
    for protocol in ["http1", "alpn"] {
        let front = Front::new(&other, v1.address, Rules::default());
        let table = "[upstream.primary]\n";
        let text = secured(&Setup::to(&[front.address]), &[("primary", &stage.keys(""))]);
        let text = text.replacen(table, &format!("{table}protocol = \"{protocol}\"\n"), 1);
        let gateway = Gateway::start(&text, &[]);
        let since = Instant::now();
        let mut client = gateway.client();
        for _ in 0..100 {
            assert_eq!(client.ask(get("/")).status, 503);
        }
        // Once in a second of the worker's clock, which moves by ticks.
        let most = 2 + since.elapsed().as_millis() as u64 / 800;
        assert!(front.accepted() <= most, "called {} times, {most} at most", front.accepted());
        let refused = gateway.metrics().sum("umbra_rejected_total", &["reason=\"primary_tls\""]);
        assert_eq!(refused, 100, "told by the same reason");
        front.change(&stage.v1, Rules::default());
        eventually("it is believed", || client.ask(get("/")).status == 200);
    }
}
