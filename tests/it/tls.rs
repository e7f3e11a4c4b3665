//! TLS with clients, seen from outside: curl, openssl and Python as peers.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output};

use tests::certificates::{Authority, Pair};
use tests::{After, Client, Gateway, Origin, Setup, eventually};

/// A folder with an authority, and a listener's certificate for `shop.example`.
struct Stage {
    folder: tempfile::TempDir,
    authority: Authority,
    shop: Pair,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new(folder.path(), "ca");
        let shop = authority.issue("shop", &["shop.example"]);
        Self { folder, authority, shop }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The output of `tls.py`.
    #[track_caller]
    fn python(&self, mode: &str, version: &str, rest: &[&str]) -> serde_json::Value {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/support/tls.py");
        let mut command = Command::new("python3");
        command.arg(script).arg(mode).arg(&self.authority.ca).args(["shop.example", version]).args(rest);
        let Output { stdout, stderr, .. } = command.output().expect("python3");
        serde_json::from_slice(&stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&stderr)))
    }

    /// Status and content that curl gets.
    fn curl(&self, at: SocketAddr, host: &str, more: &[&str]) -> (String, String) {
        let port = at.port();
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "20", "-w", "\n%{http_code}", "--cacert"]).arg(&self.authority.ca);
        command.arg("--resolve").arg(format!("{host}:{port}:{}", at.ip())).args(more);
        let Output { stdout, stderr, status } =
            command.arg(format!("https://{host}:{port}/anything")).output().expect("curl");
        let text = String::from_utf8_lossy(&stdout).into_owned();
        let (content, code) = text.rsplit_once('\n').unwrap_or(("", &text));
        if !status.success() {
            return (String::from_utf8_lossy(&stderr).into_owned(), code.to_owned());
        }
        (content.to_owned(), code.to_owned())
    }
}

/// The file of `setup` with these listeners instead of its own, each given by the text behind `bind`.
fn with_listeners(setup: &Setup, listeners: &[String]) -> String {
    let own = "[[listener]]\nbind = \"127.0.0.1:0\"\n";
    let text = setup.toml();
    assert!(text.contains(own));
    let tables: Vec<String> = listeners.iter().map(|keys| format!("{own}{keys}\n")).collect();
    text.replacen(own, &tables.concat(), 1)
}

fn tls(certificates: &[&Pair], more: &str) -> String {
    let all: Vec<String> = certificates.iter().map(|pair| pair.toml()).collect();
    format!("tls = {{ certificates = [{}]{more} }}", all.join(", "))
}

fn addresses(gateway: &Gateway) -> Vec<SocketAddr> {
    let stdout = gateway.stdout();
    stdout.lines().filter_map(|line| line.strip_prefix("listening on ")?.parse().ok()).collect()
}

fn failures(gateway: &Gateway, reason: &str) -> i64 {
    gateway.metrics().sum("umbra_tls_handshake_failures_total", &[&format!("reason=\"{reason}\"")])
}

fn handshakes(gateway: &Gateway, kind: &str) -> i64 {
    gateway.metrics().sum("umbra_tls_handshakes_total", &[&format!("kind=\"{kind}\"")])
}

#[test]
fn a_client_is_answered_over_tls_and_primary_and_mirror_hear_of_it() {
    let stage = Stage::new();
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let setup = Setup::new(&v1).mirror("v2", v2.address, "");
    let gateway = Gateway::start(&with_listeners(&setup, &[tls(&[&stage.shop], "")]), &[]);
    for (n, version) in [(1, "--tlsv1.3"), (2, "--tls-max=1.2")] {
        let version: Vec<&str> = version.split('=').collect();
        let (said, status) = stage.curl(gateway.address, "shop.example", &version);
        assert_eq!(status, "200", "{said}");
        let sent = &v1.wait_for(n)[n - 1];
        assert_eq!(sent.field("x-forwarded-proto"), Some("https"));
        assert_eq!(v2.wait_for(n)[n - 1].field("x-forwarded-proto"), Some("https"));
    }
    gateway.settled("v2");
    assert_eq!(handshakes(&gateway, "full"), 2);
}

#[test]
fn routes_and_mirrors_may_ask_for_the_name_in_the_clients_certificate() {
    let stage = Stage::new();
    let (v1, staff, v2) = (Origin::named("v1"), Origin::named("staff"), Origin::named("v2"));
    let listener =
        tls(&[&stage.shop], &format!(", client_auth = \"optional\", client_ca = {:?}", stage.authority.ca));
    let only = "only = { when = [{ of = \"certificate\", exact = \"ada.staff.example\" }] }";
    let setup = Setup::new(&v1).mirror("v2", v2.address, only);
    let route = format!(
        "[upstream.staff]\nendpoints = [\"{}\"]\n[[route]]\nname = \"staff\"\nprimary = \"staff\"\n\
         when = [{{ of = \"certificate\", regex = '[a-z]+\\.staff\\.example' }}]\n",
        staff.address
    );
    // The first that holds is taken, so it stands before the others.
    let text = with_listeners(&setup, &[listener]);
    let (before, rest) = text.split_once("[[route]]").expect("a route");
    let gateway = Gateway::start(&format!("{before}{route}[[route]]{rest}"), &[]);
    let shown = |names: &[&str]| {
        let pair = stage.authority.issue("client", names);
        let (cert, key) = (pair.cert.display().to_string(), pair.key.display().to_string());
        // A certificate that a client claims in a field does not count.
        let claim = "X-Forwarded-Client-Cert: DNS=ada.staff.example";
        stage.curl(gateway.address, "shop.example", &["--cert", &cert, "--key", &key, "-H", claim]).0
    };
    assert_eq!(stage.curl(gateway.address, "shop.example", &[]).0, "v1");
    assert_eq!(shown(&["guest.example", "spiffe://x.staff.example"]), "v1");
    assert_eq!(shown(&["bob", "bob.staff.example"]), "staff");
    assert_eq!(shown(&["other.example", "ada.staff.example"]), "staff");
    assert_eq!(v2.count(), 0, "its condition is asked where its route is");
}

#[test]
fn content_of_any_size_passes_both_ways_wherever_records_are_cut() {
    let stage = Stage::new();
    let v1 = Origin::new(|request, stream| {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
        tests::origin::write(stream, [answer.as_bytes(), &request.body].concat())
    });
    let gateway = Gateway::start(&with_listeners(&Setup::new(&v1), &[tls(&[&stage.shop], "")]), &[]);
    for bytes in [0, 1, 16_384, 100_000, 3_000_000] {
        let (given, got) = (stage.path().join("given"), stage.path().join("got"));
        std::fs::write(&given, tests::pattern(bytes)).expect("it is written");
        let data = format!("@{}", given.display());
        let file = got.display().to_string();
        let (said, status) =
            stage.curl(gateway.address, "shop.example", &["--data-binary", &data, "-o", &file]);
        assert_eq!(status, "200", "{said}");
        assert!(std::fs::read(&got).expect("an answer") == tests::pattern(bytes), "{bytes} bytes");
    }
    for version in ["1.2", "1.3"] {
        let address = gateway.address.to_string();
        assert_eq!(stage.python("pieces", version, &[&address, "7"])["status"], 200);
        assert_eq!(stage.python("half-close", version, &[&address])["status"], 200);
        // Longer than a parked connection keeps its buffers.
        let told = stage.python("parked", version, &[&address, "0.5"]);
        assert_eq!((&told["first"], &told["second"]), (&200.into(), &200.into()));
    }
}

#[test]
fn an_upload_that_is_cut_is_no_request_and_no_copy() {
    let stage = Stage::new();
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let setup = Setup::new(&v1).mirror("v2", v2.address, "");
    let gateway = Gateway::start(&with_listeners(&setup, &[tls(&[&stage.shop], "")]), &[]);
    let address = gateway.address.to_string();
    let told = stage.python("cut", "1.3", &[&address, "400"]);
    assert_ne!(told["status"], 200);
    eventually("it is skipped", || {
        gateway.metrics().mirror_by("v2", "skipped_total", "reason", "aborted") == 1
    });
    assert_eq!(v2.count(), 0);
}

#[test]
fn the_name_a_client_asks_for_chooses_the_certificate_and_others_are_misdirected() {
    let stage = Stage::new();
    let wild = stage.authority.issue("wild", &["*.wild.example"]);
    let exact = stage.authority.issue("exact", &["a.wild.example"]);
    let v1 = Origin::named("v1");
    let gateway =
        Gateway::start(&with_listeners(&Setup::new(&v1), &[tls(&[&stage.shop, &wild, &exact], "")]), &[]);
    let shown = |name: &str| {
        let connect = format!("127.0.0.1:{}", gateway.address.port());
        let name = if name.is_empty() { vec!["-noservername"] } else { vec!["-servername", name] };
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &connect])
            .args(name)
            .stdin(std::process::Stdio::null())
            .output()
            .expect("openssl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let subject = text.lines().find(|line| line.starts_with("subject=")).unwrap_or_default();
        subject.rsplit("CN = ").next().unwrap_or_default().to_owned()
    };
    for (asked, given) in [
        ("shop.example", "shop.example"),
        ("b.wild.example", "*.wild.example"),
        ("a.wild.example", "a.wild.example"),
        ("A.Wild.Example", "a.wild.example"),
        ("c.b.wild.example", "shop.example"),
        ("other.example", "shop.example"),
        ("", "shop.example"),
    ] {
        assert_eq!(shown(asked), given, "asked for {asked:?}");
    }
    let status = |host: &str, more: &[&str]| stage.curl(gateway.address, host, more).1;
    assert_eq!(status("b.wild.example", &[]), "200");
    assert_eq!(status("shop.example", &["-H", "Host: other.example"]), "421");
    assert_eq!(status("shop.example", &["-H", "Host: b.wild.example:443"]), "200");
    assert_eq!(gateway.metrics().sum("umbra_rejected_total", &["reason=\"misdirected\""]), 1);
}

#[test]
fn where_names_are_strict_a_host_is_one_of_the_certificate_that_the_handshake_chose() {
    let stage = Stage::new();
    let wild = stage.authority.issue("wild", &["*.wild.example", "more.example"]);
    let v1 = Origin::named("v1");
    let listeners = [tls(&[&stage.shop, &wild], ", strict_sni_host = true")];
    let gateway = Gateway::start(&with_listeners(&Setup::new(&v1), &listeners), &[]);
    let status = |name: &str, host: &str| {
        let host = format!("Host: {host}");
        stage.curl(gateway.address, name, &["-k", "-H", &host]).1
    };
    let rows = [
        ("shop.example", "shop.example", "200"),
        ("shop.example", "SHOP.example:443", "200"),
        ("shop.example", "a.wild.example", "421"),
        // Names of one certificate are together.
        ("a.wild.example", "more.example", "200"),
        ("a.wild.example", "b.wild.example", "200"),
        ("a.wild.example", "shop.example", "421"),
        // A name without a certificate is for no host.
        ("other.example", "shop.example", "421"),
        ("shop.example", "other.example", "421"),
    ];
    for (name, host, wanted) in rows {
        assert_eq!(status(name, host), wanted, "{name} asked for {host}");
    }
    // A client that calls an address asks for no name in its handshake, and may ask for each host.
    for host in ["shop.example", "a.wild.example"] {
        let at = format!("https://{}/", gateway.address);
        let host = format!("Host: {host}");
        let arguments =
            ["-sSk", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}", "-H", &host, &at];
        let output = Command::new("curl").args(arguments).output().expect("curl");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "200", "{host}");
    }
}

#[test]
fn a_client_shows_a_certificate_where_it_must_and_the_primary_is_told_which() {
    let stage = Stage::new();
    let clients = Authority::new(stage.path(), "clients");
    let strangers = Authority::new(stage.path(), "strangers");
    let ada = clients.issue("ada", &["ada.example"]);
    let bob =
        clients.issue_with("bob", &["bob.example"], &rcgen::KeyPair::generate().expect("a key"), 7, |_| {});
    let eve = strangers.issue("eve", &["ada.example"]);
    let crl = clients.revoke(&[7]);
    let auth =
        |how: &str| format!(", client_auth = {how:?}, client_ca = {:?}, client_crls = [{crl:?}]", clients.ca);
    let v1 = Origin::named("v1");
    let listeners = [tls(&[&stage.shop], &auth("required")), tls(&[&stage.shop], &auth("optional"))];
    let gateway = Gateway::start(&with_listeners(&Setup::new(&v1), &listeners), &[]);
    let [required, optional] = addresses(&gateway)[..] else { panic!("two listeners") };
    let ask = |at: SocketAddr, whose: Option<&Pair>| {
        let files = whose.map(|pair| [pair.cert.display().to_string(), pair.key.display().to_string()]);
        let mut more = vec!["-H", "X-Forwarded-Client-Cert: Hash=00;Subject=\"CN=root\""];
        if let Some([cert, key]) = &files {
            more.extend(["--cert", cert, "--key", key]);
        }
        stage.curl(at, "shop.example", &more).1
    };
    assert_eq!(ask(required, Some(&ada)), "200");
    let sent = v1.wait_for(1).pop().expect("a request");
    let told = sent.field("x-forwarded-client-cert").expect("it is told");
    assert!(
        told.starts_with("Hash=") && told.contains("CN=ada.example") && told.ends_with(";DNS=ada.example"),
        "{told}"
    );
    assert!(!told.contains("CN=root"));
    assert_eq!(ask(required, None), "000");
    assert_eq!(ask(required, Some(&eve)), "000");
    assert_eq!(ask(required, Some(&bob)), "000");
    eventually("each for its own reason", || {
        ["no_certificate", "unknown_ca", "bad_certificate"].map(|why| failures(&gateway, why)) == [1; 3]
    });
    assert_eq!(ask(optional, None), "200");
    let sent = v1.wait_for(2).pop().expect("a request");
    assert_eq!(sent.field("x-forwarded-client-cert"), None, "what it claims is not passed on");
    assert_eq!(ask(optional, Some(&eve)), "000");
    assert_eq!(ask(optional, Some(&ada)), "200");
}

/// The rows of tickets: a ticket opens nothing but the listener that gave it, and nothing where clients are authenticated.
#[test]
fn tickets_never_cross_policies() {
    let stage = Stage::new();
    let clients = Authority::new(stage.path(), "clients");
    let others = Authority::new(stage.path(), "others");
    let ada = clients.issue("ada", &["ada.example"]);
    let again = stage.authority.issue("again", &["shop.example"]);
    let auth = |how: &str, by: &Authority| format!(", client_auth = {how:?}, client_ca = {:?}", by.ca);
    let v1 = Origin::named("v1");
    let listeners = [
        tls(&[&stage.shop], ""),
        tls(&[&stage.shop], ""),
        tls(&[&again], ""),
        tls(&[&stage.shop], &auth("required", &clients)),
        tls(&[&stage.shop], &auth("optional", &clients)),
        tls(&[&stage.shop], &auth("required", &others)),
    ];
    let gateway = Gateway::start(&with_listeners(&Setup::new(&v1).workers(2), &listeners), &[]);
    let at: Vec<String> = addresses(&gateway).iter().map(ToString::to_string).collect();
    let [plain, twin, other_key, required, optional, other_ca] = &at[..] else { panic!("six listeners") };
    let pair = [ada.cert.display().to_string(), ada.key.display().to_string()];
    let pair = [pair[0].as_str(), pair[1].as_str()];
    for version in ["1.2", "1.3"] {
        let from_to = |from: &str, to: &str, shows: &[&str]| {
            stage.python("resume", version, &[&[from, to], shows].concat())
        };
        let told = from_to(plain, plain, &[]);
        assert_eq!((&told["second"], &told["reused"]), (&200.into(), &true.into()), "on any worker: {told}");
        for to in [twin, other_key, optional] {
            let told = from_to(plain, to, &[]);
            assert_eq!((&told["second"], &told["reused"]), (&200.into(), &false.into()), "{version} {told}");
        }
        for to in [required, other_ca] {
            let told = from_to(plain, to, &[]);
            assert!(
                told["second"] != 200 && told["reused"] != true,
                "no certificate was shown: {version} {told}"
            );
        }
        for (from, to, is_served) in
            [(required, required, true), (optional, required, true), (required, other_ca, false)]
        {
            let told = from_to(from, to, &pair);
            assert_eq!(
                (&told["first"], &told["has_ticket"]),
                (&200.into(), &false.into()),
                "{version} {told}"
            );
            assert_eq!(told["second"] == 200, is_served, "{version} {told}");
            assert_ne!(told["reused"], true, "{version} {told}");
        }
    }
}

#[test]
fn what_is_not_tls_and_what_is_tls_at_the_wrong_door_are_named() {
    let stage = Stage::new();
    let v1 = Origin::named("v1");
    let listeners = [tls(&[&stage.shop], ""), String::new()];
    let gateway = Gateway::start(&with_listeners(&Setup::new(&v1), &listeners), &[]);
    let [secure, plain] = addresses(&gateway)[..] else { panic!("two listeners") };
    let mut client = Client::connect(secure);
    client.send("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    client.receive();
    eventually("it is counted", || failures(&gateway, "not_tls") == 1);
    assert_eq!(stage.curl(plain, "shop.example", &[]).1, "000");
    let wrong_door = || gateway.metrics().sum("umbra_rejected_total", &["reason=\"tls_on_plaintext\""]);
    eventually("it is counted", || wrong_door() == 1);
    assert_eq!(stage.curl(secure, "shop.example", &["--http1.1"]).1, "200");
    assert_eq!(v1.count(), 1);
}

#[test]
fn handshakes_are_bounded_in_number_time_and_rate() {
    let stage = Stage::new();
    let v1 = Origin::named("v1");
    let setup = |limits: &str| with_listeners(&Setup::new(&v1).with(limits), &[tls(&[&stage.shop], "")]);
    let gateway = Gateway::start(
        &setup("[limits]\ntls_handshakes_pending_max = 2\n[timeouts]\ntls_handshake = \"30s\""),
        &[],
    );
    let pending = || gateway.metrics().sum("umbra_tls_handshakes_pending", &[]);
    let silent: Vec<Client> = (0..2).map(|_| Client::connect(gateway.address)).collect();
    eventually("both wait", || pending() == 2);
    // On a busy machine it is turned away before it knows that it is connected.
    let third = TcpStream::connect(gateway.address).and_then(|mut third| {
        third.set_read_timeout(Some(std::time::Duration::from_secs(30)))?;
        third.read(&mut [0; 16])
    });
    assert!(third.map_or_else(|why| why.kind() == std::io::ErrorKind::ConnectionReset, |n| n == 0));
    assert_eq!(failures(&gateway, "pending"), 1);
    drop(silent);
    eventually("their places are free", || pending() == 0);
    assert_eq!(stage.curl(gateway.address, "shop.example", &[]).1, "200");
    assert_eq!(failures(&gateway, "closed"), 2);

    let gateway = Gateway::start(&setup("[timeouts]\ntls_handshake = \"200ms\""), &[]);
    let mut dripping = TcpStream::connect(gateway.address).expect("it accepts");
    // A record's beginning, and then a byte now and then: the whole has one deadline.
    let mut sent = dripping.write_all(&[22, 3, 1, 1, 0]).is_ok();
    while sent {
        std::thread::sleep(std::time::Duration::from_millis(20));
        sent = dripping.write_all(&[1]).is_ok() && failures(&gateway, "timeout") == 0;
    }
    let _end = dripping.read(&mut [0; 16]);
    eventually("it is counted", || failures(&gateway, "timeout") == 1);

    let rate = "[limits]\ntls_handshakes_per_second_per_address_max = 1";
    let gateway = Gateway::start(&setup(rate), &[]);
    assert_eq!(stage.curl(gateway.address, "shop.example", &[]).1, "200");
    // Some are reset before connect(2) has returned.
    let crowd: Vec<_> = (0..50).map(|_| TcpStream::connect(gateway.address)).collect();
    eventually("most of them are turned away", || failures(&gateway, "rate") > 0);
    drop(crowd);
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_with_key_and_file() {
    let stage = Stage::new();
    let other = stage.authority.issue("other", &["other.example"]);
    let v1 = Origin::named("v1");
    let text = |cert: &Path, key: &Path, more: &str| {
        let keys = format!("tls = {{ certificates = [{{ cert = {cert:?}, key = {key:?} }}]{more} }}");
        with_listeners(&Setup::new(&v1), &[keys])
    };
    let missing = stage.path().join("missing.pem");
    let shop = &stage.shop;
    for (text, wanted) in [
        (
            text(&shop.cert, &other.key, ""),
            "certificates[0].key: ".to_owned()
                + &format!(
                    "{} is not the key of the certificate in {}",
                    other.key.display(),
                    shop.cert.display()
                ),
        ),
        (
            text(&missing, &shop.key, ""),
            format!("certificates[0].cert: {} cannot be read", missing.display()),
        ),
        (text(&shop.key, &shop.key, ""), "holds no certificate in PEM".to_owned()),
        (text(&shop.cert, &shop.cert, ""), "holds no private key in PEM".to_owned()),
        (text(&shop.cert, &shop.key, ", client_auth = \"required\""), "client_ca: is missing".to_owned()),
        (text(&shop.cert, &shop.key, ", client_ca = \"a\""), "client_ca: has no effect without".to_owned()),
        (
            text(&shop.cert, &shop.key, &format!(", client_auth = \"required\", client_ca = {:?}", shop.key)),
            "client_ca: ".to_owned(),
        ),
    ] {
        for output in [Gateway::check(&text), Gateway::refused(&text)] {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && said.contains(&wanted), "{wanted}\n{said}");
            assert!(said.contains("gateway.toml:3: listener[0].tls."), "{said}");
        }
    }
    let expired = stage.authority.issue_with(
        "expired",
        &["shop.example"],
        &rcgen::KeyPair::generate().expect("a key"),
        3,
        |params| params.not_after = rcgen::date_time_ymd(2021, 1, 1),
    );
    let output = Gateway::check(&text(&expired.cert, &expired.key, ""));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("has expired"), "served, and said: {said}");
}

/// So many times all of these workers have said that they serve by another configuration.
fn is_applied(gateway: &Gateway, workers: usize, times: usize) -> bool {
    gateway.stderr().matches(&format!("configuration applied on {workers} workers")).count() == times
}

#[test]
fn certificates_change_while_serving_and_no_client_notices() {
    let stage = Stage::new();
    let v1 = Origin::named("v1");
    let gateway =
        Gateway::start(&with_listeners(&Setup::new(&v1).workers(2), &[tls(&[&stage.shop], "")]), &[]);
    let served = || {
        let connect = gateway.address.to_string();
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &connect, "-servername", "shop.example"])
            .stdin(std::process::Stdio::null())
            .output()
            .expect("openssl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let from = text.find("-----BEGIN CERTIFICATE-----").expect("a certificate");
        let end = "-----END CERTIFICATE-----";
        text[from..=from + text[from..].find(end).expect("its end") + end.len()].trim().to_owned()
    };
    let (stop, address) = (std::sync::atomic::AtomicBool::new(false), gateway.address.to_string());
    let asked = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut asked = 0;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        let (said, status) = stage.curl(gateway.address, "shop.example", &[]);
                        assert_eq!(status, "200", "{said}");
                        asked += 1;
                    }
                    asked
                })
            })
            .collect();
        let kept = scope.spawn(|| stage.python("parked", "1.3", &[&address, "2"]));
        for n in 1..=20 {
            let next = stage.authority.issue("shop", &["shop.example"]);
            gateway.signal("HUP");
            eventually("every worker has it", || is_applied(&gateway, 2, n));
            assert_eq!(served(), std::fs::read_to_string(&next.cert).expect("it is there").trim());
        }
        // A bad pair changes nothing.
        let other = stage.authority.issue("other", &["other.example"]);
        let before = served();
        std::fs::copy(&other.key, &stage.shop.key).expect("it is copied");
        gateway.signal("HUP");
        eventually("it is refused", || gateway.stderr().contains("configuration unchanged"));
        assert_eq!(served(), before);
        assert!(gateway.stderr().contains("is not the key of the certificate"));
        let told = kept.join().expect("python");
        assert_eq!((&told["first"], &told["second"]), (&200.into(), &200.into()), "its connection goes on");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("a client was hurt")).sum::<usize>()
    });
    assert!(asked > 0);
    let name = format!("name=\"{}\"", stage.shop.cert.display());
    assert!(gateway.metrics().sum("umbra_tls_certificate_expires_seconds", &[&name]) > 0);
}

#[test]
fn what_was_an_open_door_is_none_when_clients_must_show_certificates() {
    let stage = Stage::new();
    let clients = Authority::new(stage.path(), "clients");
    let v1 = Origin::named("v1");
    let open = with_listeners(&Setup::new(&v1), &[tls(&[&stage.shop], "")]);
    let auth = format!(", client_auth = \"required\", client_ca = {:?}", clients.ca);
    let closed = with_listeners(&Setup::new(&v1), &[tls(&[&stage.shop], &auth)]);
    let gateway = Gateway::start(&open, &[]);
    assert_eq!(stage.curl(gateway.address, "shop.example", &[]).1, "200");
    gateway.write(&closed);
    gateway.signal("HUP");
    eventually("the worker has it", || is_applied(&gateway, 1, 1));
    assert_eq!(stage.curl(gateway.address, "shop.example", &[]).1, "000");
    eventually("it is counted", || failures(&gateway, "no_certificate") == 1);
    gateway.write(&open);
    gateway.signal("HUP");
    eventually("the worker has it", || is_applied(&gateway, 1, 2));
    let address = gateway.address.to_string();
    assert_eq!(stage.python("resume", "1.3", &[&address, &address])["reused"], true);
}

#[test]
fn a_client_that_pads_its_records_is_served_as_any_other() {
    use std::io::{BufRead as _, BufReader};
    let stage = Stage::new();
    let v1 = Origin::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", After::Keep);
    let gateway = Gateway::start(&with_listeners(&Setup::new(&v1), &[tls(&[&stage.shop], "")]), &[]);
    let mut client = Command::new("openssl")
        .args(["s_client", "-connect", &gateway.address.to_string(), "-servername", "shop.example"])
        .args(["-quiet", "-tls1_3", "-record_padding", "16384"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("openssl");
    let mut asks = client.stdin.take().expect("its input");
    let mut answers = BufReader::new(client.stdout.take().expect("its output"));
    for n in 0..50 {
        let asked = asks.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n");
        asked.unwrap_or_else(|e| panic!("request {n}: {e}"));
        let mut line = String::new();
        answers.read_line(&mut line).expect("a line");
        assert_eq!(line, "HTTP/1.1 200 OK\r\n", "request {n}");
        while line != "\r\n" {
            line.clear();
            assert!(answers.read_line(&mut line).expect("a line") > 0, "request {n}");
        }
        let mut content = [0; 2];
        answers.read_exact(&mut content).expect("content");
        assert_eq!(&content, b"ok");
    }
    drop(asks);
    drop(client.kill());
    drop(client.wait());
}
