//! TLS beside the path of requests, seen from outside: the admin listener, asked by curl and by the gateway's own commands, and
//! the collector of spans.

use std::path::Path;
use std::process::{Command, Output};

use tests::certificates::{Authority, Pair};
use tests::{Front, Gateway, Origin, Rules, Setup, eventually};

/// The file of `setup` whose admin listener has these keys as `tls`.
fn secured(setup: &Setup, tls: &str) -> String {
    let own = "[admin]\n";
    setup.toml().replacen(own, &format!("{own}tls = {{ {tls} }}\n"), 1)
}

/// Status that curl gets of `path`, and the content.
fn curl(gateway: &Gateway, ca: &Path, path: &str, more: &[&str]) -> (String, String) {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "20", "-w", "\n%{http_code}", "--cacert"]).arg(ca).args(more);
    let Output { stdout, .. } =
        command.arg(format!("https://{}{path}", gateway.admin)).output().expect("curl");
    let text = String::from_utf8_lossy(&stdout).into_owned();
    let (content, code) = text.rsplit_once('\n').unwrap_or(("", &text));
    (code.to_owned(), content.to_owned())
}

/// `gateway histogram` asked of this gateway, with these arguments.
fn asked(gateway: &Gateway, arguments: &[&str], environment: &[(&str, &Path)]) -> (bool, String) {
    let mut command = Command::new(tests::gateway::binary());
    command.args(["histogram", "--admin", &format!("https://{}", gateway.admin)]).args(arguments);
    let output = Gateway::ends(command.envs(environment.iter().copied()));
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of a test is text")
}

fn pair(pair: &Pair) -> [&str; 2] {
    [text(&pair.cert), text(&pair.key)]
}

#[test]
fn metrics_are_scraped_and_commands_ask_over_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let own = authority.issue("admin", &["127.0.0.1"]);
    let v1 = Origin::named("v1");
    let tls = format!("certificates = [{}]", own.toml());
    let gateway = Gateway::start(&secured(&Setup::new(&v1).mirror("v2", v1.address, ""), &tls), &[]);
    assert_eq!(gateway.client().ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    let (status, content) = curl(&gateway, &authority.ca, "/metrics", &[]);
    assert!(status == "200" && content.contains("umbra_requests_total"), "{status} {content}");
    assert!(
        content
            .contains(&format!("umbra_tls_certificate_expires_seconds{{name=\"{}\"}}", own.cert.display()))
    );
    // A page of the listener's own, such as the dashboard, may change the same as over plaintext.
    let origin = format!("Origin: https://{}", gateway.admin);
    let patch = ["-X", "PUT", "-H", &origin, "--data-binary", "nothing"];
    assert_eq!(curl(&gateway, &authority.ca, "/config", &patch).0, "422");
    let stranger = ["-X", "PUT", "-H", "Origin: https://elsewhere.example", "--data-binary", "nothing"];
    assert_eq!(curl(&gateway, &authority.ca, "/config", &stranger).0, "403");
    // Plaintext is no way in.
    let url = format!("http://{}/", gateway.admin);
    let plain = Command::new("curl").args(["-sS", "--max-time", "20"]).arg(url).output().expect("curl");
    assert!(!plain.status.success() && plain.stdout.is_empty());
    let ca = text(&authority.ca);
    let (served, said) = asked(&gateway, &["--admin-ca", ca], &[]);
    assert!(served, "{said}");
    assert!(asked(&gateway, &[], &[("UMBRA_ADMIN_CA", &authority.ca)]).0);
    let other = Authority::new(folder.path(), "other");
    let (served, said) = asked(&gateway, &["--admin-ca", text(&other.ca)], &[]);
    assert!(!served && said.contains("https://"), "{said}");
    let (served, said) = asked(&gateway, &["--admin-ca", text(&own.key)], &[]);
    assert!(!served && said.contains("--admin-ca: ") && said.contains("holds no certificate"), "{said}");
}

#[test]
fn a_certificate_that_issued_itself_as_an_authority_is_believed_by_whoever_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let make = |name: &str, alt: &str| {
        let mut params = rcgen::CertificateParams::new([alt.to_owned()]).expect("a name");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let pair = Pair {
            cert: folder.path().join(format!("{name}.pem")),
            key: folder.path().join(format!("{name}.key")),
        };
        std::fs::write(&pair.cert, params.self_signed(&key).expect("a certificate").pem()).expect("written");
        std::fs::write(&pair.key, key.serialize_pem()).expect("written");
        pair
    };
    let v1 = Origin::named("v1");
    let setup = Setup::new(&v1).mirror("v2", v1.address, "");
    let own = make("own", "127.0.0.1");
    let gateway = Gateway::start(&secured(&setup, &format!("certificates = [{}]", own.toml())), &[]);
    let (served, said) = asked(&gateway, &["--admin-ca", text(&own.cert)], &[]);
    assert!(served, "{said}");
    // Another certificate that looks like it.
    assert!(!asked(&gateway, &["--admin-ca", text(&make("twin", "127.0.0.1").cert)], &[]).0);
    // The same one, of a host with another name.
    let other = make("other", "elsewhere.example");
    let gateway = Gateway::start(&secured(&setup, &format!("certificates = [{}]", other.toml())), &[]);
    let (served, said) = asked(&gateway, &["--admin-ca", text(&other.cert)], &[]);
    assert!(!served && said.contains("https://"), "{said}");
}

#[test]
fn who_may_look_is_decided_by_certificates_where_they_are_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let own = authority.issue("admin", &["127.0.0.1"]);
    let operators = Authority::new(folder.path(), "operators");
    let ada = operators.issue("ada", &["ada.example"]);
    let eve = Authority::new(folder.path(), "strangers").issue("eve", &["ada.example"]);
    let v1 = Origin::named("v1");
    let tls = format!(
        "certificates = [{}], client_auth = \"required\", client_ca = {:?}",
        own.toml(),
        operators.ca
    );
    let gateway = Gateway::start(&secured(&Setup::new(&v1).mirror("v2", v1.address, ""), &tls), &[]);
    let shown = |whose: &Pair| {
        let [cert, key] = pair(whose);
        curl(&gateway, &authority.ca, "/metrics", &["--cert", cert, "--key", key]).0
    };
    assert_eq!([shown(&ada), shown(&eve)], ["200", "000"]);
    assert_eq!(curl(&gateway, &authority.ca, "/metrics", &[]).0, "000");
    let (ca, [cert, key]) = (text(&authority.ca), pair(&ada));
    let (served, said) = asked(&gateway, &["--admin-ca", ca, "--admin-cert", cert, "--admin-key", key], &[]);
    assert!(served, "{said}");
    assert!(!asked(&gateway, &["--admin-ca", ca], &[]).0);
}

#[test]
fn its_certificate_changes_while_it_serves_and_a_bad_one_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (Authority::new(folder.path(), "first"), Authority::new(folder.path(), "second"));
    let own = first.issue("admin", &["127.0.0.1"]);
    let v1 = Origin::named("v1");
    let tls = format!("certificates = [{}]", own.toml());
    let gateway = Gateway::start(&secured(&Setup::new(&v1).mirror("v2", v1.address, ""), &tls), &[]);
    let ready = |of: &Authority| curl(&gateway, &of.ca, "/readyz", &[]).0;
    assert_eq!([ready(&first), ready(&second)], ["200", "000"]);
    second.issue("admin", &["127.0.0.1"]);
    gateway.signal("HUP");
    eventually("it is applied", || gateway.stderr().contains("configuration applied"));
    assert_eq!([ready(&first), ready(&second)], ["000", "200"]);
    std::fs::write(&own.key, "nothing").expect("it is written");
    gateway.signal("HUP");
    let refused = format!("admin.tls.certificates[0].key: {} holds no private key", own.key.display());
    eventually(&refused, || gateway.stderr().contains(&refused));
    assert_eq!(ready(&second), "200");
}

#[test]
fn spans_are_posted_over_tls_to_a_collector_that_is_believed_and_to_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let own = authority.issue("collector", &["127.0.0.1"]);
    let (v1, collector) = (Origin::named("v1"), Origin::named("{}"));
    let front = Front::new(&own, collector.address, Rules::default());
    let stranger = Authority::new(folder.path(), "stranger");
    let tracing =
        |ca: &Path| format!("[tracing]\nto = \"https://{}\"\nca = {ca:?}\npercent = 100\n", front.address);
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let gateway = Setup::new(&v1).with(&tracing(&stranger.ca)).start();
    assert_eq!(gateway.client().ask(get).status, 200);
    eventually("it is not believed", || gateway.stderr().contains("does not take them: "));
    assert_eq!(collector.count(), 0);
    gateway.write(&Setup::new(&v1).with(&tracing(&authority.ca)).toml());
    gateway.signal("HUP");
    eventually("it is applied", || gateway.stderr().contains("configuration applied"));
    eventually("its spans come", || {
        assert_eq!(gateway.client().ask(get).status, 200);
        collector.requests().iter().any(|post| post.method == "POST" && post.target == "/v1/traces")
    });
    assert!(!front.saw("resourceSpans"));
}
