//! TLS in a cluster: Gateways end it with certificates of Secrets, which are read by name, come and go and are renewed while it
//! serves; faults are reported, and keys are not.

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tests::certificates::{Authority, Pair};
use tests::cluster::{PATIENCE, Replica};
use tests::http2::{END, Raw, headers, request};
use tests::{ClusterStage, Origin, eventually_within};

/// A cluster with a Service, and an authority for its certificates.
struct Stage {
    cluster: ClusterStage,
    authority: Authority,
    folder: tempfile::TempDir,
}

impl Stage {
    fn new(origin: &Origin) -> Self {
        let cluster = ClusterStage::new();
        cluster.service("default", "shop", json!({"app": "shop"}));
        cluster.pod("default", "shop-1", json!({"app": "shop"}), origin.address);
        cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
            "metadata": {"name": "umbra", "namespace": ""}, "spec": {"controllerName": "umbra.dev/gateway-controller"}}));
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new(folder.path(), "ca");
        Self { cluster, authority, folder }
    }

    fn gateway(&self, listeners: Value) {
        self.gateway_with(listeners, &Value::Null);
    }

    /// The Gateway, with these settings for its clients.
    fn gateway_with(&self, listeners: Value, frontend: &Value) {
        let mut spec = json!({"gatewayClassName": "umbra", "listeners": listeners});
        if !frontend.is_null() {
            spec["tls"] = json!({"frontend": frontend});
        }
        self.cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "gw"},
            "spec": spec}));
    }

    /// A ConfigMap with an authority.
    fn authority_in(&self, name: &str, authority: &Authority) {
        let text = std::fs::read_to_string(&authority.ca).expect("the authority");
        self.cluster.api.put(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"ca.crt": text}}),
        );
    }

    fn route(&self) {
        self.cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "shop"},
            "spec": {"parentRefs": [{"name": "gw"}], "rules": [{"backendRefs": [{"name": "shop", "port": 80}]}]}}));
    }

    fn secret(&self, namespace: &str, name: &str, pair: &Pair) {
        let read = |path| STANDARD.encode(std::fs::read(path).expect("a file"));
        self.cluster.api.put(json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": name, "namespace": namespace},
            "data": {"tls.crt": read(&pair.cert), "tls.key": read(&pair.key)}}));
    }

    /// Status and content that curl gets, or why it gets none.
    fn curl(&self, at: SocketAddr, host: &str) -> String {
        self.curl_with(at, host, &[])
    }

    fn curl_with(&self, at: SocketAddr, host: &str, more: &[&str]) -> String {
        let port = at.port();
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "20", "-w", " %{http_code}", "--cacert"]).arg(&self.authority.ca);
        command.args(more);
        command.arg("--resolve").arg(format!("{host}:{port}:{}", at.ip()));
        let output = command.arg(format!("https://{host}:{port}/")).output().expect("curl");
        let Output { stdout, stderr, status } = output;
        String::from_utf8_lossy(if status.success() { &stdout } else { &stderr }).trim().to_owned()
    }

    #[track_caller]
    fn serves(&self, at: SocketAddr, host: &str) {
        eventually_within(PATIENCE, &format!("{host} is served"), || self.curl(at, host) == "shop 200");
    }

    /// The conditions of the listener with this index, as `ResolvedRefs=True/ResolvedRefs`.
    fn said(&self, index: usize) -> Vec<String> {
        let gateway = self.cluster.api.get("Gateway", "default", "gw").expect("the Gateway");
        let conditions = gateway["status"]["listeners"][index]["conditions"].as_array().cloned();
        let text = |one: Value| {
            let of = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
            format!("{}={}/{}", of("type"), of("status"), of("reason"))
        };
        conditions.unwrap_or_default().into_iter().map(text).collect()
    }

    #[track_caller]
    fn says(&self, index: usize, wanted: &[&str]) {
        let has = || wanted.iter().all(|one| self.said(index).iter().any(|said| said == one));
        eventually_within(PATIENCE, &format!("{wanted:?} is said"), has);
    }

    /// No output has a key in it.
    fn tells_no_key(&self, gateway: &Replica, pair: &Pair) {
        let key = std::fs::read_to_string(&pair.key).expect("a key");
        let line = key.lines().nth(1).expect("a line of it");
        let mut told = format!("{}{}", gateway.process.stdout(), gateway.process.stderr());
        for path in ["/config", "/changes", "/metrics", "/status"] {
            told.push_str(&gateway.ask_admin("GET", path).text());
        }
        let encoded = STANDARD.encode(&key);
        assert!(!told.contains(line) && !told.contains(&encoded[..40]) && !told.contains("PRIVATE KEY"));
        for kind in ["Gateway", "HTTPRoute"] {
            let object = self.cluster.api.get(kind, "default", if kind == "Gateway" { "gw" } else { "shop" });
            assert!(!object.expect("it is there").to_string().contains(line));
        }
    }
}

fn https(name: &str, port: u16, hostname: Option<&str>, secrets: Value) -> Value {
    let mut listener =
        json!({"name": name, "port": port, "protocol": "HTTPS", "tls": {"certificateRefs": secrets}});
    if let Some(hostname) = hostname {
        listener["hostname"] = hostname.into();
    }
    listener
}

/// A port that is free now.
fn free() -> u16 {
    TcpListener::bind("0.0.0.0:0").expect("a port").local_addr().expect("an address").port()
}

#[test]
fn a_listener_serves_when_its_secret_comes_and_a_bad_one_costs_no_other() {
    let shop = Origin::named("shop");
    let stage = Stage::new(&shop);
    let (pair, other) =
        (stage.authority.issue("a", &["a.example"]), stage.authority.issue("b", &["b.example"]));
    stage.route();
    stage.secret("default", "b", &other);
    // Never named by anybody, so never read.
    stage.secret("default", "private", &other);
    let (one, two) = (free(), free());
    stage.gateway(json!([
        https("a", one, Some("a.example"), json!([{"name": "a"}])),
        https("b", two, Some("b.example"), json!([{"name": "b"}])),
    ]));
    let gateway = stage.cluster.start_at(&[], &[]);
    let [at, beside] = [one, two].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    stage.serves(beside, "b.example");
    let refused =
        ["Accepted=True/Accepted", "ResolvedRefs=False/InvalidCertificateRef", "Programmed=False/Invalid"];
    stage.says(0, &refused);
    let served = ["Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs", "Programmed=True/Programmed"];
    stage.says(1, &served);
    stage.secret("default", "a", &pair);
    stage.serves(at, "a.example");
    stage.says(0, &served);
    // A key that is not its certificate's.
    stage.secret("default", "a", &Pair { cert: pair.cert.clone(), key: other.key.clone() });
    stage.says(0, &refused);
    assert_eq!(stage.curl(beside, "b.example"), "shop 200");
    stage.secret("default", "a", &pair);
    stage.serves(at, "a.example");
    stage.tells_no_key(&gateway, &pair);
    let requests = stage.cluster.api.requests();
    let secrets: Vec<&String> = requests.iter().filter(|line| line.contains("/secrets")).collect();
    let is_named = |line: &&&String| {
        line.contains("fieldSelector=metadata.name%3Da") || line.contains("fieldSelector=metadata.name%3Db")
    };
    assert_eq!(secrets.iter().filter(is_named).count(), secrets.len(), "{secrets:?}");
}

#[test]
fn a_certificate_is_renewed_while_it_serves_and_no_connection_is_lost() {
    let shop = Origin::named("shop");
    let stage = Stage::new(&shop);
    stage.route();
    let port = free();
    stage.secret("default", "a", &stage.authority.issue("a", &["a.example"]));
    stage.gateway(json!([https("a", port, None, json!([{"name": "a"}]))]));
    let gateway = stage.cluster.start_at(&[], &[]);
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    stage.serves(at, "a.example");
    // A connection asks all the while: it goes on with its own certificate.
    let script = "import http.client,ssl,sys,socket\n\
                  c=ssl.create_default_context(cafile=sys.argv[1])\n\
                  h=http.client.HTTPSConnection('a.example',int(sys.argv[2]),context=c)\n\
                  h.sock=c.wrap_socket(socket.create_connection(('127.0.0.1',int(sys.argv[2]))),server_hostname='a.example')\n\
                  for line in sys.stdin:\n h.request('GET','/'); r=h.getresponse(); r.read(); print(r.status,flush=True)\n";
    let mut python = Command::new("python3")
        .args(["-c", script])
        .arg(&stage.authority.ca)
        .arg(port.to_string())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3");
    let (mut asks, answers) = (python.stdin.take().expect("stdin"), python.stdout.take().expect("stdout"));
    let mut answers = std::io::BufRead::lines(std::io::BufReader::new(answers));
    let mut ask = || {
        std::io::Write::write_all(&mut asks, b"ask\n").expect("it asks");
        answers.next().expect("an answer").expect("a line")
    };
    assert_eq!(ask(), "200");
    let serial = || {
        let command = format!(
            "openssl s_client -connect {at} -servername a.example </dev/null 2>/dev/null | openssl x509 -noout -serial"
        );
        let output = Command::new("sh").args(["-c", &command]).output().expect("openssl");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let key = rcgen::KeyPair::generate().expect("a key");
    for n in 16..19_u64 {
        let pair = stage.authority.issue_with("a", &["a.example"], &key, n, |_| {});
        stage.secret("default", "a", &pair);
        eventually_within(PATIENCE, "new connections see the new one", || {
            assert_eq!(ask(), "200");
            assert_eq!(stage.curl(at, "a.example"), "shop 200");
            serial() == format!("serial={n:X}")
        });
    }
    drop(asks);
    assert!(python.wait().expect("it ends").success());
    let text = gateway.metrics().sum("umbra_tls_handshake_failures_total", &[]);
    assert_eq!(text, 0);
}

#[test]
fn a_secret_of_another_namespace_needs_a_grant_and_is_not_read_without() {
    let shop = Origin::named("shop");
    let stage = Stage::new(&shop);
    let pair = stage.authority.issue("a", &["a.example"]);
    stage.route();
    stage.secret("certificates", "a", &pair);
    let port = free();
    stage.gateway(json!([https("a", port, None, json!([{"name": "a", "namespace": "certificates"}]))]));
    let _gateway = stage.cluster.start_at(&[], &[]);
    stage.says(0, &["ResolvedRefs=False/RefNotPermitted", "Programmed=False/Invalid"]);
    assert!(!stage.cluster.api.requests().iter().any(|line| line.contains("/secrets")));
    let grant = |name: &str| {
        json!({"apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
            "metadata": {"name": "g", "namespace": "certificates"}, "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "default"}],
            "to": [{"group": "", "kind": "Secret", "name": name}]}})
    };
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    stage.cluster.api.put(grant("a"));
    stage.serves(at, "a.example");
    stage.says(0, &["ResolvedRefs=True/ResolvedRefs", "Programmed=True/Programmed"]);
    stage.cluster.api.put(grant("other"));
    stage.says(0, &["ResolvedRefs=False/RefNotPermitted"]);
    eventually_within(PATIENCE, "it is served no more", || !stage.curl(at, "a.example").contains("200"));
}

#[test]
fn clients_show_certificates_where_their_gateway_wants_them_and_come_in_nowhere_while_these_cannot_be_checked()
 {
    let shop = Origin::named("shop");
    let stage = Stage::new(&shop);
    stage.secret("default", "a", &stage.authority.issue("a", &["a.example"]));
    let [first, second] = ["first", "second"].map(|name| Authority::new(stage.folder.path(), name));
    let one = first.issue("one", &["client.example"]);
    let two = second.issue("two", &["client.example"]);
    stage.authority_in("second", &second);
    stage.route();
    let ports = [free(), free()];
    let listeners = || {
        let secrets = json!([{"name": "a"}]);
        json!([https("default", ports[0], None, secrets.clone()), https("own", ports[1], None, secrets)])
    };
    let validation = |name: &str, mode: &str| {
        let refs = json!([{"group": "", "kind": "ConfigMap", "name": name}]);
        json!({"validation": {"mode": mode, "caCertificateRefs": refs}})
    };
    let valid_only = "AllowValidOnly";
    let own = json!([{"port": ports[1], "tls": validation("second", valid_only)}]);
    let frontend = json!({"default": validation("first", valid_only), "perPort": own});
    stage.gateway_with(listeners(), &frontend);
    let _gateway = stage.cluster.start_at(&[], &[]);
    let at = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let said = |port: usize, pair: Option<&Pair>| {
        let files = pair.map(|pair| [pair.cert.display().to_string(), pair.key.display().to_string()]);
        let more: Vec<&str> = files.iter().flat_map(|[cert, key]| ["--cert", cert, "--key", key]).collect();
        stage.curl_with(at[port], "a.example", &more)
    };
    let comes_in = |port: usize, pair: Option<&Pair>| said(port, pair) == "shop 200";
    // Its own port is served; of the other one no authority is known.
    eventually_within(PATIENCE, "a client of its own port comes in", || comes_in(1, Some(&two)));
    stage.says(
        0,
        &[
            "Accepted=False/NoValidCACertificate",
            "ResolvedRefs=False/InvalidCACertificateRef",
            "Programmed=False/Invalid",
        ],
    );
    stage
        .says(1, &["Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs", "Programmed=True/Programmed"]);
    assert!(!comes_in(0, Some(&one)) && !comes_in(0, None));
    stage.authority_in("first", &first);
    eventually_within(PATIENCE, "a client of the default comes in", || comes_in(0, Some(&one)));
    stage.says(0, &["Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs"]);
    for (port, pair) in [(0, None), (1, None), (0, Some(&two)), (1, Some(&one))] {
        assert!(!comes_in(port, pair), "{port} {pair:?}");
    }
    // No certificate is required, and the Gateway's status says so.
    let frontend =
        json!({"default": validation("first", "AllowInsecureFallback"), "perPort": frontend["perPort"]});
    stage.gateway_with(listeners(), &frontend);
    eventually_within(PATIENCE, "whoever comes comes in", || {
        comes_in(0, None) && comes_in(0, Some(&one)) && comes_in(0, Some(&two))
    });
    assert!(!comes_in(1, None), "what its own port says stands above it");
    let insecure = || {
        let gateway = stage.cluster.api.get("Gateway", "default", "gw").expect("the Gateway");
        let all = gateway["status"]["conditions"].as_array().cloned().unwrap_or_default();
        all.iter().any(|one| {
            one["type"] == "InsecureFrontendValidationMode" && one["reason"] == "ConfigurationChanged"
        })
    };
    eventually_within(PATIENCE, "that is said", insecure);
    stage.gateway(listeners());
    eventually_within(PATIENCE, "and no more", || !insecure() && comes_in(1, None));
}

#[test]
fn gateways_of_istio_have_certificates_of_our_own_namespace_alone() {
    let shop = Origin::named("shop");
    let stage = Stage::new(&shop);
    let pair = stage.authority.issue("a", &["a.example"]);
    let port = free();
    stage.cluster.api.put(json!({"apiVersion": "networking.istio.io/v1", "kind": "Gateway",
        "metadata": {"name": "gw", "namespace": "team"}, "spec": {"selector": {"istio": "ingressgateway"}, "servers": [
            {"port": {"number": port, "name": "https", "protocol": "HTTPS"}, "hosts": ["*"],
             "tls": {"mode": "SIMPLE", "credentialName": "a"}}]}}));
    stage.cluster.api.put(json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "shop", "namespace": "default"}, "spec": {"hosts": ["a.example"], "gateways": ["team/gw"],
            "http": [{"route": [{"destination": {"host": "shop"}}]}]}}));
    // An author of one namespace cannot use the Secrets of another.
    stage.secret("team", "a", &pair);
    let _gateway = stage.cluster.start_at(&[], &["--istio-selector", "istio=ingressgateway"]);
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    assert!(!stage.curl(at, "a.example").contains("200"));
    stage.secret("umbra-system", "a", &pair);
    stage.serves(at, "a.example");
    let _kept = &stage.folder;
}

#[test]
fn a_request_for_a_name_of_another_listener_than_its_connections_is_misdirected() {
    let origins = ["v1", "v2", "v3", "v4"].map(Origin::named);
    let stage = Stage::new(&origins[0]);
    let hosts = ["example.org", "second-example.org", "*.wildcard.org", "unknown-example.org"];
    stage.secret("default", "all", &stage.authority.issue("all", &hosts));
    let port = free();
    let listener = |name: &str, hostname: Option<&str>| https(name, port, hostname, json!([{"name": "all"}]));
    stage.gateway(json!([
        listener("every", None),
        listener("second", Some("second-example.org")),
        listener("wild", Some("*.wildcard.org")),
        listener("fourth", Some("fourth-example.wildcard.org")),
    ]));
    let own =
        json!(["third-example.wildcard.org", "fifth-example.wildcard.org", "fourth-example.wildcard.org"]);
    let parts = [
        ("v1", "every", json!(["example.org"])),
        ("v2", "second", json!([])),
        ("v3", "wild", own.clone()),
        ("v4", "fourth", own),
    ];
    for ((name, section, hostnames), origin) in parts.iter().zip(&origins) {
        stage.cluster.service("default", name, json!({"app": name}));
        stage.cluster.pod("default", &format!("{name}-1"), json!({"app": name}), origin.address);
        stage.cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name},
            "spec": {"parentRefs": [{"name": "gw", "sectionName": section}], "hostnames": hostnames,
                "rules": [{"backendRefs": [{"name": name, "port": 80}]}]}}));
    }
    let _gateway = stage.cluster.start_at(&[], &[]);
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let said = |name: &str, host: &str| {
        let host = format!("Host: {host}");
        stage.curl_with(at, name, &["-H", &host])
    };
    let status = |name: &str, host: &str| said(name, host).rsplit(' ').next().unwrap_or_default().to_owned();
    for name in
        ["example.org", "second-example.org", "third-example.wildcard.org", "fourth-example.wildcard.org"]
    {
        eventually_within(PATIENCE, &format!("{name} is served"), || status(name, name) == "200");
    }
    // As the conformance suite has it: the name of the handshake, Host, and the outcome.
    let rows = [
        ("example.org", "example.org", "v1 200"),
        ("example.org", "second-example.org", "421"),
        ("example.org", "unknown-example.org", "404"),
        ("second-example.org", "second-example.org", "v2 200"),
        ("second-example.org", "example.org", "421"),
        ("second-example.org", "unknown-example.org", "421"),
        ("third-example.wildcard.org", "third-example.wildcard.org", "v3 200"),
        ("third-example.wildcard.org", "fifth-example.wildcard.org", "v3 200"),
        ("third-example.wildcard.org", "fourth-example.wildcard.org", "421"),
        ("third-example.wildcard.org", "second-example.org", "421"),
        ("third-example.wildcard.org", "unknown-example.org", "421"),
        ("fourth-example.wildcard.org", "fourth-example.wildcard.org", "v4 200"),
        ("fourth-example.wildcard.org", "fifth-example.wildcard.org", "421"),
        ("unknown-example.org", "example.org", "v1 200"),
        ("unknown-example.org", "unknown-example.org", "404"),
    ];
    for (name, host, wanted) in rows {
        if wanted.ends_with("200") {
            assert_eq!(said(name, host), wanted, "{name} asked for {host}");
        } else {
            assert_eq!(status(name, host), wanted, "{name} asked for {host}");
        }
    }
    // On one connection of HTTP/2, which browsers use for every name of its certificate, and which goes on.
    let mut raw = Raw::covered(at, &stage.authority.ca, "example.org", &["h2"]).expect("a handshake");
    let hosts = [("example.org", "200"), ("second-example.org", "421"), ("example.org", "200")];
    for ((host, wanted), stream) in hosts.into_iter().zip([1, 3, 5]) {
        let fields = [(":scheme", "https"), (":authority", host)];
        let heard = raw.send(&headers(stream, END, &request("GET", "/", &fields))).response(stream);
        assert_eq!(heard.status(), wanted, "{host}");
    }
    (0..4).for_each(|index| stage.says(index, &["OverlappingTLSConfig=True/OverlappingHostnames"]));
    // With one listener nothing overlaps, and its clients may ask for every name.
    stage.gateway(json!([listener("every", None)]));
    let alone = || {
        let said = stage.said(0);
        !said.is_empty() && !said.iter().any(|one| one.starts_with("OverlappingTLSConfig"))
    };
    eventually_within(PATIENCE, "nothing overlaps", alone);
    eventually_within(PATIENCE, "it is for every name", || {
        status("second-example.org", "example.org") == "200"
    });
}
