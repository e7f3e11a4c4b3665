//! Bring your manifest: Istio's and the Gateway API's routes, run as they are against live origins.
//!
//! The cases are rebuilt from the descriptions of the Gateway API's mirroring conformance tests and of Istio's mirroring
//! integration test; ours look at the wires rather than at logs.

use std::path::Path;
use std::process::Command;

use tests::load::becomes;
use tests::process::Process;
use tests::{Client, Gateway, Metrics, Origin};

/// A gateway started on manifests.
struct Running {
    client: Client,
    admin: std::net::SocketAddr,
    process: Process,
    _directory: tempfile::TempDir,
}

fn start(manifests: &[&str], endpoints: &[(&str, &Origin)]) -> Running {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(tests::gateway::binary());
    for (n, text) in manifests.iter().enumerate() {
        let path = directory.path().join(format!("{n}.yaml"));
        std::fs::write(&path, text).expect("the manifest is written");
        command.arg("--manifest").arg(path);
    }
    for (name, origin) in endpoints {
        command.arg("--endpoint").arg(format!("{name}={}", origin.address));
    }
    let settings = directory.path().join("settings.toml");
    std::fs::write(&settings, "[admin]\nbind = \"127.0.0.1:0\"\n").expect("the settings are written");
    let mut process = Process::spawn(command.args(["--listen", "127.0.0.1:0", "--config"]).arg(settings));
    let address = process.lines("listening on ", 1).remove(0).parse().expect("an address");
    let admin = process.lines("admin on ", 1).remove(0).parse().expect("an address");
    Running { client: Client::connect(address), admin, process, _directory: directory }
}

impl Running {
    fn get(&mut self, host: &str, target: &str) -> (u16, String) {
        let answer = self.client.ask(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        (answer.status, answer.text())
    }
}

fn example(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples").join(path);
    std::fs::read_to_string(root).expect("an example")
}

fn http_route(rules: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: request-mirror}}\nspec:\n  \
         parentRefs: [{{name: same-namespace}}]\n  rules:\n{rules}"
    )
}

const BACKEND: &str = "    backendRefs: [{name: v1, port: 8080}]\n";

fn mirror(name: &str, share: &str) -> String {
    format!(
        "    - {{type: RequestMirror, requestMirror: {{backendRef: {{name: {name}, port: 8080}}{share}}}}}\n"
    )
}

#[test]
fn the_articles_manifests_mirror_as_the_article_says() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let manifests = [example("istio/virtualservice.yaml"), example("istio/destinationrule.yaml")];
    let manifests: Vec<&str> = manifests.iter().map(String::as_str).collect();
    let mut gateway = start(&manifests, &[("httpbin/v1", &v1), ("httpbin/v2", &v2)]);
    // Its curl names the address; a client inside the mesh names the service.
    for (n, host) in ["127.0.0.1:8080", "httpbin", "httpbin.default.svc.cluster.local:80"].iter().enumerate()
    {
        assert_eq!(gateway.get(host, "/status/200"), (200, "v1".into()), "{host}");
        let copied = v2.wait_for(n + 1).swap_remove(n);
        assert_eq!((copied.target.as_str(), copied.field("host")), ("/status/200", Some(*host)));
        assert_eq!(copied.field("x-umbra-mirror"), Some("httpbin/v2"));
    }
    assert_eq!(gateway.get("elsewhere.example", "/status/200").0, 404);
    assert_eq!((v1.count(), v2.count()), (3, 3));
    let told = || gateway.process.stderr().contains("requests that name an IP address or localhost");
    tests::eventually("what is assumed is told", told);
}

#[test]
fn conformance_one_mirror_and_header_modification() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let modify = "    - type: RequestHeaderModifier\n      requestHeaderModifier:\n        set: [{name: X-Header-Set, value: set-overwrites-values}]\n        \
                  add: [{name: X-Header-Add, value: header-val-1}]\n        remove: [X-Header-Remove]\n";
    let rules = format!(
        "  - matches: [{{path: {{type: PathPrefix, value: /mirror}}}}]\n    filters:\n{}{BACKEND}  \
         - matches: [{{path: {{type: PathPrefix, value: /mirror-and-modify-headers}}}}]\n    filters:\n{modify}{}{BACKEND}",
        mirror("v2", ""),
        mirror("v2", "")
    );
    let mut gateway = start(&[&http_route(&rules)], &[("v1", &v1), ("v2", &v2)]);
    assert_eq!(gateway.get("a", "/mirror?id=1").1, "v1");
    assert_eq!(v2.wait_for(1)[0].target, "/mirror?id=1");
    let lines =
        "X-Header-Remove: remove-val\r\nX-Header-Add-Append: append-val-1\r\nX-Header-Set: set-val\r\n";
    gateway.client.ask(format!("GET /mirror-and-modify-headers HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
    for request in [v1.wait_for(2).swap_remove(1), v2.wait_for(2).swap_remove(1)] {
        assert_eq!(request.field("x-header-add"), Some("header-val-1"));
        assert_eq!(request.values("x-header-set"), ["set-overwrites-values"]);
        assert_eq!(request.field("x-header-add-append"), Some("append-val-1"));
        assert_eq!(request.field("x-header-remove"), None);
    }
}

#[test]
fn conformance_several_mirrors() {
    let [v1, v2, v3] = ["v1", "v2", "v3"].map(Origin::named);
    let rules = format!(
        "  - matches: [{{path: {{type: PathPrefix, value: /multi-mirror}}}}]\n    filters:\n{}{}{BACKEND}",
        mirror("v2", ""),
        mirror("v3", "")
    );
    let mut gateway = start(&[&http_route(&rules)], &[("v1", &v1), ("v2", &v2), ("v3", &v3)]);
    assert_eq!(gateway.get("a", "/multi-mirror").1, "v1");
    assert_eq!(v2.wait_for(1)[0].target, "/multi-mirror");
    assert_eq!(v3.wait_for(1)[0].target, "/multi-mirror");
}

#[test]
fn conformance_shares_of_five_hundred_requests() {
    for (share, p) in [
        (", percent: 20", 0.2),
        (", fraction: {numerator: 25, denominator: 50}", 0.5),
        (", percent: 35", 0.35),
        (", percent: 0", 0.0),
        (", percent: 100", 1.0),
        ("", 1.0),
    ] {
        let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
        let rules = format!("  - filters:\n{}{BACKEND}", mirror("v2", share));
        let mut gateway = start(&[&http_route(&rules)], &[("v1", &v1), ("v2", &v2)]);
        // Up to five attempts, as conformance has them: three sigma fail once in 370.
        let mut band = (0, 0.0, 0.0);
        let passes = (0..5).any(|_| {
            let before = Metrics::settled(gateway.admin, "v2").mirror("v2", "sent_total");
            (0..500).for_each(|_| assert_eq!(gateway.get("a", "/").0, 200));
            let sent = Metrics::settled(gateway.admin, "v2").mirror("v2", "sent_total") - before;
            let (wanted, slack) = (500.0 * p, 3.0 * f64::sqrt(500.0 * p * (1.0 - p)));
            band = (sent, wanted, slack);
            (sent as f64 - wanted).abs() <= slack
        });
        assert!(passes, "{share}: {band:?}");
    }
}

#[test]
fn istios_integration_case_none_a_tenth_half_all_and_silence() {
    for (percentage, p, slack) in [
        ("    mirrorPercentage: {value: 0.0}\n", 0.0, 0.0),
        ("    mirrorPercentage: {value: 10.0}\n", 0.1, 0.0),
        ("    mirrorPercentage: {value: 50.0}\n", 0.5, 0.0),
        ("    mirrorPercentage: {value: 100.0}\n", 1.0, 0.0),
        ("", 1.0, 0.0),
    ] {
        let (a, b) = (Origin::named("a"), Origin::named("b"));
        let service = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: mirror}}\nspec:\n  hosts: [b.example.com]\n  \
             http:\n  - route: [{{destination: {{host: a}}}}]\n    mirror: {{host: b}}\n{percentage}"
        );
        let mut gateway = start(&[&service], &[("a", &a), ("b", &b)]);
        (0..1_000).for_each(|_| assert_eq!(gateway.get("b.example.com", "/").1, "a"));
        let sent = Metrics::settled(gateway.admin, "b").mirror("b", "sent_total") as f64;
        // The shares 0 and 1 are exact; between them five sigma, of a thousand rather than its hundred calls.
        let slack = slack + 5.0 * f64::sqrt(1_000.0 * p * (1.0 - p));
        assert!((sent - 1_000.0 * p).abs() <= slack, "{percentage}: {sent}");
        assert_eq!(b.count() as f64, sent);
    }
}

#[test]
fn what_a_manifest_converts_to_serves_alike() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("r.yaml");
    std::fs::write(&path, example("gateway-api/httproute.yaml")).expect("the manifest is written");
    let output = Command::new(tests::gateway::binary())
        .args(["convert", "--listen", "127.0.0.1:0", "--manifest"])
        .arg(&path)
        .args(["--endpoint", &format!("v1={}", v1.address), "--endpoint", &format!("v2={}", v2.address)])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let toml =
        String::from_utf8(output.stdout).expect("it is text").replace("percent = 10.0", "percent = 100");
    let gateway = Gateway::start(&format!("{toml}\n[admin]\nbind = \"127.0.0.1:0\"\n"), &[]);
    assert_eq!(gateway.client().ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "v1");
    becomes(&gateway, "v2", &[("eligible", 1), ("sent", 1), ("completed 2xx", 1)]);
}

#[test]
fn explain_tells_the_route_the_reasons_and_the_wires() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("r.yaml");
    let text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: shop}\nspec:\n  hosts: [shop.example]\n  http:\n  \
                - match: [{uri: {prefix: /api/}, headers: {x-beta: {exact: 'yes'}}}]\n    rewrite: {uri: /, authority: inner.example}\n    \
                headers: {request: {set: {x-env: beta}}}\n    route: [{destination: {host: a}}]\n    mirrors: [{destination: {host: b}, percentage: {value: 12.5}}]\n  \
                - route: [{destination: {host: a}}]\n";
    std::fs::write(&path, text).expect("the manifest is written");
    let explain = |args: &[&str]| {
        let output = Command::new(tests::gateway::binary())
            .args(["explain", "--endpoint", "a=127.0.0.1:1", "--endpoint", "b=127.0.0.1:2", "--manifest"])
            .arg(&path)
            .args(args)
            .output()
            .expect("it runs");
        (output.status.code(), String::from_utf8(output.stdout).expect("it is text"))
    };
    let (code, told) = explain(&["GET", "http://shop.example/api/x?q=1", "-H", "X-Beta: yes"]);
    assert_eq!(code, Some(0), "{told}");
    for part in [
        "→ shop/http[0]",
        "primary a (100.00 %) at 127.0.0.1:1",
        "| GET /x?q=1 HTTP/1.1",
        "| Host: inner.example",
        "| x-env: beta",
        "mirror b: 12.5 %",
        "| X-Umbra-Mirror: b",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    let (_, told) = explain(&["http://shop.example/api/x"]);
    assert!(
        told.contains("✗ shop/http[0]")
            && told.contains("header x-beta is not there")
            && told.contains("→ shop/http[1]"),
        "{told}"
    );
    let (code, told) = explain(&["http://other.example/"]);
    assert!(code == Some(1) && told.contains("no route matches: 404"), "{told}");
}

#[test]
fn the_dot_of_the_root_and_a_part_of_a_label_lead_to_the_same_route() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let route = |name: &str, host: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec:\n  \
             hosts: ['{host}']\n  http: [{{route: [{{destination: {{host: {name}}}}}]}}]\n"
        )
    };
    let (one, other) = (route("a", "a.default.svc.cluster.local."), route("b", "*-v2.example.com"));
    let mut gateway = start(&[&one, &other], &[("a", &a), ("b", &b)]);
    for host in ["a", "a.", "A.default.svc.cluster.local.", "a.default.svc.cluster.local.:80"] {
        assert_eq!(gateway.get(host, "/"), (200, "a".into()), "{host}");
    }
    for host in ["x-v2.example.com", "x-v2.example.com.", "X-V2.Example.com:80"] {
        assert_eq!(gateway.get(host, "/"), (200, "b".into()), "{host}");
    }
    for host in ["a..", "-v2.example.com", "x.example.com", "xv2.example.com."] {
        assert_eq!(gateway.get(host, "/").0, 404, "{host}");
    }
}

#[test]
fn routes_for_services_take_the_requests_of_their_own_and_other_namespaces_need_a_grant() {
    let (a, b, far) = (Origin::named("a"), Origin::named("b"), Origin::named("far"));
    let route = |name: &str, backend: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\nspec:\n  \
             parentRefs: [{{group: '', kind: Service, name: {name}, port: 80}}]\n  rules:\n  - backendRefs: [{backend}]\n"
        )
    };
    let one = route("a", "{name: a-v1, port: 80}");
    let two = route("b", "{name: b-v1, port: 80}");
    let three = route("c", "{name: far, namespace: other, port: 80}");
    let endpoints = [("a-v1", &a), ("b-v1", &b), ("far.other", &far)];
    let mut gateway = start(&[&one, &two, &three], &endpoints);
    for (host, answer) in
        [("a", "a"), ("b", "b"), ("b.default.svc:80", "b"), ("a.default.svc.cluster.local.", "a")]
    {
        assert_eq!(gateway.get(host, "/"), (200, answer.into()), "{host}");
    }
    assert_eq!(gateway.get("c", "/").0, 500);
    assert_eq!(gateway.get("elsewhere", "/").0, 404);
    assert_eq!(far.count(), 0);
    let grant = "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: other}\nspec:\n  \
                 from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]\n  to: [{group: '', kind: Service}]\n";
    let mut gateway = start(&[&one, &two, &three, grant], &endpoints);
    assert_eq!(gateway.get("c", "/"), (200, "far".into()));
}

#[test]
fn a_manifest_may_take_out_via_which_changes_what_some_servers_answer() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: s}\nspec:\n  hosts: [s]\n  http:\n  \
                - route: [{destination: {host: v1}}]\n    mirror: {host: v2}\n    headers: {request: {remove: [Via]}}\n";
    let mut gateway = start(&[text], &[("v1", &v1), ("v2", &v2)]);
    assert_eq!(gateway.get("s", "/"), (200, "v1".into()));
    assert_eq!(v1.wait_for(1)[0].field("via"), None);
    assert_eq!(v2.wait_for(1)[0].field("via"), None);
}

#[test]
fn whatever_the_gateway_adds_to_a_request_can_be_taken_out_for_everybody_or_for_one() {
    let names = ["via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"];
    let removed = "remove: [VIA, X-Forwarded-For, x-forwarded-proto, X-Forwarded-Host, X-Request-ID]";
    let istio = |route: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: s}}\nspec:\n  hosts: [s]\n  http: [{{{route}}}]\n"
        )
    };
    let filter = format!("filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{{removed}}}}}]");
    let api = |of_rule: &str, of_backend: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: s}}\nspec:\n  rules:\n  - filters:\n{}{of_rule}    \
             backendRefs: [{{name: v1, port: 80{of_backend}}}]\n",
            mirror("v2", "")
        )
    };
    let of_rule = format!("    - {{type: RequestHeaderModifier, requestHeaderModifier: {{{removed}}}}}\n");
    // Whether v1 and its copy have them.
    let rows = [
        (
            istio(&format!(
                "route: [{{destination: {{host: v1}}}}], mirror: {{host: v2}}, headers: {{request: {{{removed}}}}}"
            )),
            false,
            false,
        ),
        (
            istio(&format!(
                "route: [{{destination: {{host: v1}}, headers: {{request: {{{removed}}}}}}}], mirror: {{host: v2}}"
            )),
            false,
            false,
        ),
        (
            istio(&format!(
                "route: [{{destination: {{host: v1}}}}], mirrors: [{{destination: {{host: v2}}, headers: {{request: {{{removed}}}}}}}]"
            )),
            true,
            false,
        ),
        (api(&of_rule, ""), false, false),
        (api("", &format!(", {filter}")), false, false),
        (api("", ""), true, true),
    ];
    for (text, of_v1, of_v2) in rows {
        let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
        let mut gateway = start(&[&text], &[("v1", &v1), ("v2", &v2)]);
        assert_eq!(gateway.get("s", "/"), (200, "v1".into()));
        for (origin, has) in [(&v1, of_v1), (&v2, of_v2)] {
            let asked = origin.wait_for(1).swap_remove(0);
            for name in names {
                assert_eq!(asked.field(name).is_some(), has, "{name}\n{text}");
            }
        }
    }
}

#[test]
fn istios_operators_stand_for_what_the_client_sent() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: s}\nspec:\n  hosts: [s]\n  http:\n  \
                - route: [{destination: {host: v1}}]\n    mirror: {host: v2}\n    headers: {request: {set: {x-ip: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%', \
                p: '100%%', x-host: '<%REQ(:authority)%>', x-none: '%REQ(x-absent)%'}}}\n";
    let mut gateway = start(&[text], &[("v1", &v1), ("v2", &v2)]);
    let answer = gateway.client.ask("GET /a HTTP/1.1\r\nHost: s\r\nX-None: theirs\r\n\r\n");
    assert_eq!((answer.status, answer.text().as_str()), (200, "v1"));
    for origin in [&v1, &v2] {
        let asked = origin.wait_for(1).swap_remove(0);
        assert_eq!(asked.field("x-ip"), Some("127.0.0.1"));
        assert_eq!(asked.field("p"), Some("100%"));
        assert_eq!(asked.field("x-host"), Some("<s>"));
        assert_eq!(asked.field("x-none"), None);
    }
}
