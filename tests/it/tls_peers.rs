//! The checks of an upstream's certificate beside its CA and one name: revocation, and other names; and how often an endpoint
//! is called with which no handshake can succeed.

use std::path::Path;

use tests::certificates::{Authority, Pair};
use tests::{Front, Gateway, Origin, Rules, Setup, eventually};

/// A gateway whose primary is called over TLS with these keys.
fn gateway(front: &Front, keys: &str) -> Gateway {
    let text = Setup::to(&[front.address]).toml();
    let table = "[upstream.primary]\n";
    let with = format!("{table}connect_timeout = \"30s\"\ntls = {{ {keys} }}\n");
    Gateway::start(&text.replacen(table, &with, 1), &[])
}

fn status(gateway: &Gateway) -> u16 {
    gateway.client().ask("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").status
}

fn failures(gateway: &Gateway, reason: &str) -> i64 {
    let label = format!("reason=\"{reason}\"");
    gateway.metrics().sum("umbra_upstream_tls_handshake_failures_total", &[&label])
}

fn issued(authority: &Authority, file: &str, serial: u64, names: &[&str]) -> Pair {
    authority.issue_with(file, names, &rcgen::KeyPair::generate().expect("a key"), serial, |params| {
        params
            .subject_alt_names
            .push(rcgen::SanType::URI("spiffe://a/ns/shop/sa/v1".try_into().expect("a URI")));
    })
}

fn keys(ca: &Path, more: &str) -> String {
    format!("ca = {ca:?}, server_name = \"v1.internal\"{more}")
}

#[test]
fn a_certificate_that_was_revoked_is_not_believed_and_others_of_its_issuer_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let crls = format!(", crls = [{:?}]", authority.revoke(&[7]));
    let v1 = Origin::named("v1");
    let (good, bad) =
        (issued(&authority, "good", 8, &["v1.internal"]), issued(&authority, "bad", 7, &["v1.internal"]));
    let of = |pair: &Pair, more: &str| {
        let front = Front::new(pair, v1.address, Rules::default());
        let gateway = gateway(&front, &keys(&authority.ca, more));
        (status(&gateway), failures(&gateway, "bad_certificate"))
    };
    assert_eq!(of(&good, &crls), (200, 0));
    assert_eq!(of(&bad, ""), (200, 0), "nobody asks");
    assert_eq!(of(&bad, &crls), (503, 1));
}

#[test]
fn one_of_several_names_is_wanted_and_the_one_that_is_asked_for_is_not_enough() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let v1 = Origin::named("v1");
    let pair = issued(&authority, "v1", 1, &["v1.internal"]);
    let stranger = Authority::new(folder.path(), "stranger");
    let foreign = issued(&stranger, "foreign", 1, &["v1.internal"]);
    for (names, wanted) in [
        (r#"["v1.internal"]"#, 200),
        (r#"["x.internal", "spiffe://a/ns/shop/sa/v1"]"#, 200),
        (r#"["x.internal"]"#, 503),
        (r#"["spiffe://a/ns/shop/sa/v2"]"#, 503),
    ] {
        let more = format!(", names = {names}");
        let front = Front::new(&pair, v1.address, Rules::default());
        assert_eq!(status(&gateway(&front, &keys(&authority.ca, &more))), wanted, "{names}");
        // A certificate of another issuer is not believed, whatever its names.
        let front = Front::new(&foreign, v1.address, Rules::default());
        assert_eq!(status(&gateway(&front, &keys(&authority.ca, &more))), 503, "{names}");
    }
}

#[test]
fn with_whom_no_handshake_can_succeed_is_called_once_in_a_while_and_soon_when_one_can() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let v1 = Origin::named("v1");
    let pair = issued(&authority, "v1", 1, &["v1.internal"]);
    // The endpoint speaks 1.2 and we do not; or it wants a certificate and we have none, which 1.3 tells late.
    let old = Rules { is_old: true, ..Rules::default() };
    let strict = Rules { clients: Some(&authority), ..Rules::default() };
    for (rules, more, reason) in
        [(old, ", min_version = \"1.3\"", "no_common_protocol"), (strict, "", "no_certificate")]
    {
        let front = Front::new(&pair, v1.address, rules);
        let gateway = gateway(&front, &keys(&authority.ca, more));
        let began = std::time::Instant::now();
        let asked = 50;
        for _ in 0..asked {
            assert_eq!(status(&gateway), 503, "{reason}");
        }
        // Once a second and once at the start; once more where a look was under way.
        let most = began.elapsed().as_secs() + 3;
        assert!(front.accepted() <= most && most < asked, "{reason}: {} of {asked}", front.accepted());
        assert!(failures(&gateway, reason) > 0, "{reason}");
        front.change(&pair, Rules::default());
        eventually("it is called again", || status(&gateway) == 200);
    }
}
