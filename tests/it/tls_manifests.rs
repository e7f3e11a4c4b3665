//! TLS as manifests say it: Gateways that end it, destinations that are called over it, and flags where others do either.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use tests::certificates::{Authority, Pair};
use tests::httpbin::Httpbin;
use tests::process::Process;
use tests::tls_front::{Front, Rules};
use tests::{Client, Origin, eventually};

/// A folder with an authority and the files of a test.
struct Stage {
    folder: tempfile::TempDir,
    authority: Authority,
}

/// A gateway on manifests.
struct Running {
    process: Process,
    addresses: Vec<SocketAddr>,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new(folder.path(), "ca");
        Self { folder, authority }
    }

    fn pair(&self, name: &str) -> Pair {
        self.authority.issue(name, &[name])
    }

    fn command(&self, manifests: &[&str], arguments: &[&str]) -> Command {
        let mut command = Command::new(tests::gateway::binary());
        for (n, text) in manifests.iter().enumerate() {
            let path = self.folder.path().join(format!("{n}.yaml"));
            std::fs::write(&path, text).expect("the manifest is written");
            command.arg("--manifest").arg(path);
        }
        command.args(arguments);
        command
    }

    fn start(&self, manifests: &[&str], arguments: &[&str]) -> Running {
        let settings = self.folder.path().join("settings.toml");
        std::fs::write(&settings, "[admin]\nbind = \"127.0.0.1:0\"\n[workers]\ncount = 1\n")
            .expect("settings");
        let mut command = self.command(manifests, arguments);
        let mut process = Process::spawn(command.arg("--config").arg(settings));
        let count = arguments.iter().filter(|word| **word == "--listen").count();
        process.lines("admin on ", 1);
        let lines = process.lines("listening on ", count);
        let addresses = lines.iter().map(|line| line.parse().expect("an address")).collect();
        Running { process, addresses }
    }

    /// The problems of these manifests.
    fn refused(&self, manifests: &[&str], arguments: &[&str]) -> String {
        let mut command = self.command(manifests, &["check"]);
        let output = command.args(arguments).output().expect("the gateway");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Status and content that curl gets, or why it gets none.
    fn curl(&self, at: SocketAddr, host: &str, more: &[&str]) -> String {
        let port = at.port();
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "20", "-w", " %{http_code}", "--cacert"]).arg(&self.authority.ca);
        command.arg("--resolve").arg(format!("{host}:{port}:{}", at.ip())).args(more);
        let output = command.arg(format!("https://{host}:{port}/")).output().expect("curl");
        let Output { stdout, stderr, status } = output;
        let text = if status.success() { stdout } else { stderr };
        String::from_utf8_lossy(&text).trim().to_owned()
    }
}

/// As `--secret` has it.
fn secret(name: &str, pair: &Pair, ca: Option<&Path>) -> String {
    let ca = ca.map(|ca| format!(",{}", ca.display())).unwrap_or_default();
    format!("{name}={},{}{ca}", pair.cert.display(), pair.key.display())
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file")
}

/// A Secret as a document, its texts as they are.
fn secret_document(name: &str, namespace: &str, pair: &Pair) -> String {
    let indented = |path: &Path| read(path).lines().map(|line| format!("    {line}\n")).collect::<String>();
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\ntype: kubernetes.io/tls\nstringData:\n  \
         tls.crt: |\n{}  tls.key: |\n{}",
        indented(&pair.cert),
        indented(&pair.key)
    )
}

/// The Gateway API's, with these listeners, and a route of everything to v1.
fn gateway(listeners: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: gw}}\nspec:\n  gatewayClassName: umbra\n  \
         listeners:\n{listeners}---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: shop}}\nspec:\n  \
         parentRefs: [{{name: gw}}]\n  rules: [{{backendRefs: [{{name: v1, port: 80}}]}}]\n"
    )
}

fn https(name: &str, hostname: &str, secrets: &str) -> String {
    format!(
        "  - {{name: {name}, port: 443, protocol: HTTPS{hostname}, tls: {{mode: Terminate, certificateRefs: [{secrets}]}}}}\n"
    )
}

/// Istio's, with these servers, and a VirtualService for every host to v1.
fn istio(servers: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: gw}}\nspec:\n  selector: {{istio: ingressgateway}}\n  \
         servers:\n{servers}---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: shop}}\nspec:\n  \
         hosts: [\"*\"]\n  gateways: [gw]\n  http: [{{route: [{{destination: {{host: v1}}}}]}}]\n"
    )
}

fn endpoint(origin: &Origin) -> String {
    format!("v1={}", origin.address)
}

const LISTEN: [&str; 2] = ["--listen", "127.0.0.1:0=443"];

#[test]
fn listeners_of_the_gateway_api_end_tls_each_with_the_certificate_of_its_hostname() {
    let stage = Stage::new();
    let v1 = Origin::named("v1");
    let listeners = [
        https("a", ", hostname: a.example", "{name: a}"),
        https("wild", ", hostname: \"*.wild.example\"", "{name: wild}"),
        // Its certificate has another name than it is for.
        https("c", ", hostname: c.example", "{name: other}"),
    ]
    .concat();
    let wild = stage.authority.issue("wild", &["*.wild.example"]);
    let given = [
        secret("a", &stage.pair("a.example"), None),
        secret("default/wild", &wild, None),
        secret("other", &stage.pair("other.example"), None),
    ];
    let endpoint = endpoint(&v1);
    let mut arguments = LISTEN.to_vec();
    arguments.extend(["--endpoint", &endpoint]);
    arguments.extend(given.iter().flat_map(|text| ["--secret", text]));
    let running = stage.start(&[&gateway(&listeners)], &arguments);
    let at = running.addresses[0];
    assert_eq!(stage.curl(at, "a.example", &[]), "v1 200");
    assert_eq!(stage.curl(at, "x.wild.example", &[]), "v1 200");
    let said = stage.curl(at, "c.example", &[]);
    assert!(said.contains("subject name") || said.contains("no alternative certificate"), "{said}");
    assert_eq!(stage.curl(at, "c.example", &["-k"]), "v1 200");
    // A host that no listener is for is misdirected here, though the routes would take it.
    assert_eq!(stage.curl(at, "a.example", &["-H", "Host: elsewhere.example", "-o", "/dev/null"]), "421");
    assert_eq!(v1.wait_for(1)[0].field("x-forwarded-proto"), Some("https"));
}

#[test]
fn a_listener_without_a_hostname_takes_every_host_and_chooses_among_its_certificates() {
    let stage = Stage::new();
    let v1 = Origin::named("v1");
    let listeners = https("all", "", "{name: a}, {name: b, namespace: other}");
    let documents = [
        gateway(&listeners),
        secret_document("a", "default", &stage.pair("a.example")),
        secret_document("b", "other", &stage.pair("b.example")),
    ];
    let endpoint = endpoint(&v1);
    let arguments = [&LISTEN[..], &["--endpoint", &endpoint]].concat();
    let manifests: Vec<&str> = documents.iter().map(String::as_str).collect();
    let said = stage.refused(&manifests, &arguments);
    assert!(
        said.contains("no ReferenceGrant of namespace other lets Gateways of default refer to Secret b"),
        "{said}"
    );
    let grant = "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: other}\nspec:\n  \
                 from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: default}]\n  to: [{group: \"\", kind: Secret}]\n";
    let manifests = [manifests.as_slice(), &[grant]].concat();
    let running = stage.start(&manifests, &arguments);
    let at = running.addresses[0];
    for host in ["a.example", "b.example"] {
        assert_eq!(stage.curl(at, host, &[]), "v1 200");
    }
    assert_eq!(stage.curl(at, "b.example", &["-H", "Host: elsewhere.example"]), "v1 200");
    let (told, log) = (running.process.stdout(), running.process.stderr());
    assert!(!told.contains("PRIVATE KEY") && !log.contains("PRIVATE KEY"));
}

#[test]
fn servers_of_istio_end_tls_ask_for_certificates_and_send_plaintext_to_https() {
    let stage = Stage::new();
    let v1 = Origin::named("v1");
    let (shop, client) = (stage.pair("shop.example"), stage.pair("client.example"));
    let endpoint = endpoint(&v1);
    let (cert, key) = (client.cert.display().to_string(), client.key.display().to_string());
    let shown = ["--cert", &cert, "--key", &key];
    for (mode, without, version) in
        [("SIMPLE", true, "TLSV1_2"), ("OPTIONAL_MUTUAL", true, "TLSV1_2"), ("MUTUAL", false, "TLSV1_3")]
    {
        let servers = format!(
            "  - {{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [\"*\"], tls: {{httpsRedirect: true}}}}\n  \
             - {{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: [default/shop.example], \
             tls: {{mode: {mode}, credentialName: shop, minProtocolVersion: {version}}}}}\n"
        );
        let secret = secret("shop", &shop, Some(&stage.authority.ca));
        let plain = std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
        let http = format!("{plain}=80");
        let arguments =
            [&["--listen", &http][..], &LISTEN, &["--endpoint", &endpoint, "--secret", &secret]].concat();
        let running = stage.start(&[&istio(&servers)], &arguments);
        let at = running.addresses[1];
        assert_eq!(stage.curl(at, "shop.example", &[]) == "v1 200", without, "{mode}");
        assert_eq!(stage.curl(at, "shop.example", &shown), "v1 200", "{mode}");
        let old = stage.curl(at, "shop.example", &[&shown[..], &["--tls-max", "1.2"]].concat());
        assert_eq!(old == "v1 200", version == "TLSV1_2", "{old}");
        let sent = Client::connect(plain).ask("GET /a?b HTTP/1.1\r\nHost: shop.example\r\n\r\n");
        assert_eq!((sent.status, sent.field("location")), (301, Some("https://shop.example/a?b")));
    }
    let servers = format!(
        "  - {{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: [\"*\"], tls: {{mode: SIMPLE, serverCertificate: {:?}, privateKey: {:?}}}}}\n",
        shop.cert, shop.key
    );
    let running = stage.start(&[&istio(&servers)], &[&LISTEN[..], &["--endpoint", &endpoint]].concat());
    assert_eq!(stage.curl(running.addresses[0], "shop.example", &[]), "v1 200");
}

#[test]
fn where_tls_ends_before_the_gateway_a_flag_says_so_and_the_banner_repeats_it() {
    let stage = Stage::new();
    let v1 = Origin::named("v1");
    let endpoint = endpoint(&v1);
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: v1}\nspec: {host: v1, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}\n";
    let gateways = [
        gateway(&https("all", "", "{name: nowhere}")),
        istio(
            "  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [\"*\"], tls: {mode: ISTIO_MUTUAL}}\n",
        ),
    ];
    for gateway in &gateways {
        let arguments = ["--endpoint", endpoint.as_str()];
        let said = stage.refused(&[gateway, rule], &arguments);
        assert!(said.contains("--plaintext-listeners"), "{said}");
        let plaintext = [&arguments[..], &["--listen", "127.0.0.1:0=443", "--plaintext-listeners"]].concat();
        if gateway.contains("VirtualService") {
            let said = stage.refused(&[gateway, rule], &plaintext);
            assert!(said.contains("--plaintext-upstreams"), "{said}");
        }
        let all = [&plaintext[..], &["--plaintext-upstreams"]].concat();
        let running = stage.start(&[gateway, rule], &all);
        let answer = Client::connect(running.addresses[0]).ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((answer.status, answer.text()), (200, "v1".to_owned()));
        let told = running.process.stdout();
        assert!(told.contains("--plaintext-listeners") && told.contains("--plaintext-upstreams"), "{told}");
    }
}

#[test]
fn an_address_to_listen_on_stands_for_a_gateway_of_tls_with_or_without_its_certificate() {
    let stage = Stage::new();
    let v1 = Origin::named("v1");
    let endpoint = endpoint(&v1);
    let arguments = ["--listen", "127.0.0.1:0", "--endpoint", &endpoint];
    let manifest = gateway(&https("all", "", "{name: shop}"));
    let running = stage.start(&[&manifest], &arguments);
    let answer = Client::connect(running.addresses[0]).ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.status, 200);
    eventually("it is said", || {
        running.process.stderr().contains("TLS is not spoken at --listen 127.0.0.1:0")
    });
    let secret = secret("shop", &stage.pair("shop.example"), None);
    let running = stage.start(&[&manifest], &[&arguments[..], &["--secret", &secret]].concat());
    assert_eq!(stage.curl(running.addresses[0], "shop.example", &[]), "v1 200");
}

#[test]
fn destinations_are_called_over_tls_as_their_rules_and_entries_say() {
    let stage = Stage::new();
    let v1 = Origin::named("v1");
    let (server, us) = (stage.pair("v1.internal"), stage.pair("us.example"));
    let front =
        Front::new(&server, v1.address, Rules { clients: Some(&stage.authority), ..Rules::default() });
    let route = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: shop}\nspec:\n  hosts: [\"*\"]\n  \
                 http: [{route: [{destination: {host: v1.internal, port: {number: 8443}}}]}]\n";
    let entry = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: v1}}\nspec:\n  hosts: [v1.internal]\n  \
         ports: [{{number: 8443, name: https, protocol: HTTPS}}]\n  resolution: STATIC\n  \
         endpoints: [{{address: 127.0.0.1, ports: {{https: {}}}}}]\n",
        front.address.port()
    );
    let rule = |tls: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: v1}}\nspec:\n  host: v1.internal\n  \
             trafficPolicy: {{portLevelSettings: [{{port: {{number: 8443}}, tls: {{{tls}}}}}]}}\n"
        )
    };
    let secret = secret("us", &us, Some(&stage.authority.ca));
    let ask = |tls: Option<&str>| {
        let rule = tls.map(&rule).unwrap_or_default();
        let manifests = [route, &entry, &rule];
        let manifests = if tls.is_none() { &manifests[..2] } else { &manifests[..] };
        let running = stage.start(manifests, &["--listen", "127.0.0.1:0", "--secret", &secret]);
        let answer = Client::connect(running.addresses[0]).ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        (answer.status, running.process.stderr())
    };
    let mutual = |more: &str| ask(Some(&format!("mode: MUTUAL, credentialName: us{more}")));
    assert_eq!(mutual("").0, 200);
    assert!(front.shaken().iter().all(|shaken| shaken.name.as_deref() == Some("v1.internal")));
    assert_eq!(mutual(", sni: other.internal").0, 503, "its certificate has another name");
    assert_eq!(mutual(", sni: other.internal, subjectAltNames: [x.internal, v1.internal]").0, 200);
    assert_eq!(mutual(", subjectAltNames: ['spiffe://a/ns/b/sa/c']").0, 503);
    // Without a rule it is called over TLS, and verified by the system's roots alone.
    let (status, log) = ask(None);
    assert_eq!(status, 503, "{log}");
    assert_ne!(ask(Some("mode: SIMPLE, credentialName: us")).0, 200, "it wants a certificate");
}

/// The article's manifest, with these lines where it has others.
fn articles(name: &str, from: &str, to: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/istio").join(name);
    let text = read(&path);
    assert!(text.contains(from), "{name}: {text}");
    text.replacen(from, to, 1)
}

#[test]
fn the_articles_httpbins_stand_behind_tls_and_a_gateway_that_ends_it() {
    let stage = Stage::new();
    let (v1, v2) = (Httpbin::start(&[]), Httpbin::start(&[]));
    let (inside, outside) = (stage.pair("httpbin.internal"), stage.pair("httpbin"));
    let fronts = [&v1, &v2].map(|pod| Front::new(&inside, pod.address, Rules::default()));
    let hosts = "  hosts:\n    - httpbin\n";
    let service = articles("virtualservice.yaml", hosts, &format!("{hosts}  gateways: [gw]\n"));
    let tls = format!(
        "tls: {{mode: SIMPLE, sni: httpbin.internal, caCertificates: {:?}}}",
        stage.authority.ca.display().to_string()
    );
    let host = "  host: httpbin\n";
    let rule = articles("destinationrule.yaml", host, &format!("{host}  trafficPolicy: {{{tls}}}\n"));
    let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n  servers:\n  \
                   - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [httpbin], tls: {mode: SIMPLE, credentialName: own}}\n";
    let endpoints = ["v1", "v2"].map(|subset| {
        let front = &fronts[usize::from(subset == "v2")];
        format!("httpbin/{subset}={}", front.address)
    });
    let secret = secret("own", &outside, None);
    let [of_v1, of_v2] = &endpoints;
    let given = ["--endpoint", of_v1, "--endpoint", of_v2, "--secret", &secret];
    let running = stage.start(&[&service, &rule, gateway], &[&LISTEN[..], &given].concat());
    let at = running.addresses[0];
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20", "-d", "hush=hush", "--cacert"])
        .arg(&stage.authority.ca)
        .arg("--resolve")
        .arg(format!("httpbin:{}:{}", at.port(), at.ip()))
        .arg(format!("https://httpbin:{}/post", at.port()))
        .output()
        .expect("curl");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("\"hush\": \"hush\""), "{said}{:?}", output);
    for (name, pod) in [("v1", &v1), ("v2", &v2)] {
        eventually(&format!("{name} logs the request"), || pod.logged("POST /post").len() == 1);
    }
    for front in &fronts {
        assert!(front.shaken().iter().all(|shaken| shaken.name.as_deref() == Some("httpbin.internal")));
        assert!(!front.saw("hush=hush"), "nothing of it is plain on a wire");
    }
}
