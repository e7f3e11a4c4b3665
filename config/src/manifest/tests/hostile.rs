//! Texts that are no manifests, or mean harm.

use super::*;

#[test]
fn what_is_no_manifest_is_named_with_its_file_and_line() {
    let rows = [
        ("a: 1\n", "m.yaml:1: is no manifest: apiVersion and kind are missing"),
        ("apiVersion: v1\nkind: Service\n", "m.yaml:1: Service: metadata.name is missing"),
        (
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: &x x}\nspec: {hosts: *x}\n",
            "m.yaml:4: VirtualService/x spec.hosts: is an alias",
        ),
        ("a: [\n", "not YAML"),
        (
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\n",
            "spec: is missing",
        ),
        ("", "the manifests have no route"),
        (
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: x}\nspec: {}\n",
            "no route of the manifests has a rule",
        ),
        (
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: x}\nspec: {}\nrules: []\n",
            "m.yaml:5: HTTPRoute/x rules: is not known here",
        ),
    ];
    for (text, told) in rows {
        let said = refused(text, &[]);
        assert!(said.contains(told), "{text:?}\n{said}");
    }
}

#[test]
fn what_kubernetes_writes_is_read() {
    let spec = "spec: {hosts: [a.example], http: [{directResponse: {status: 200}}]}";
    let item = format!(
        "- apiVersion: networking.istio.io/v1\n  kind: VirtualService\n  metadata: {{name: a}}\n  {spec}\n"
    );
    let rows = [
        format!("apiVersion: v1\nkind: List\nitems:\n{item}"),
        format!("apiVersion: networking.istio.io/v1\nkind: VirtualServiceList\nitems:\n{item}"),
        "{\n\t\"apiVersion\": \"networking.istio.io/v1\",\n\t\"kind\": \"VirtualService\",\n\t\"metadata\": {\"name\": \"a\"},\n\t\
         \"spec\": {\"hosts\": [\"a.example\"], \"http\": [{\"directResponse\": {\"status\": 200}}]}\n}\n"
            .to_owned(),
        format!("\u{feff}apiVersion: networking.istio.io/v1\r\nkind: VirtualService\r\nmetadata: {{name: a}}\r\n{spec}\r\n"),
        format!("%YAML 1.1\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a}}\n{spec}\n...\n"),
    ];
    for text in rows {
        assert_eq!(accepted(&text, &[]).config.routes.len(), 1, "{text}");
    }
}

#[test]
fn a_text_of_many_keys_or_services_takes_a_moment() {
    let keys: String = (0..100_000).map(|n| format!("k{n}: 1\n")).collect();
    let begun = seconds_on_a_core();
    assert!(refused(&keys, &[]).contains("is no manifest"));
    let one = |n: usize| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: s{n}}}\n\
             spec: {{hosts: [h{n}.example], http: [{{route: [{{destination: {{host: s{n}}}}}]}}]}}\n---\n"
        )
    };
    let services: String = (0..3_000).map(one).collect();
    let endpoints: Vec<String> = (0..3_000).map(|n| format!("s{n}=127.0.0.1:{}", n + 1)).collect();
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    assert_eq!(accepted(&services, &endpoints).config.routes.len(), 3_000);
    // Each looked at once is a second; each beside each other would be minutes.
    let took = seconds_on_a_core() - begun;
    assert!(took < 30.0, "{took} s");
}

/// The time that this thread has run, whatever runs beside it.
fn seconds_on_a_core() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

#[test]
fn no_change_of_one_character_makes_the_reader_panic() {
    let text = concat!(
        include_str!("../../../examples/istio/virtualservice.yaml"),
        "---\n",
        include_str!("../../../examples/istio/destinationrule.yaml"),
        "---\n",
        include_str!("../../../examples/gateway-api/httproute.yaml"),
    );
    let mut state = 7_u32;
    for _ in 0..300 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let at = (state >> 8) as usize % text.len();
        let with = [b' ', b'-', b':', b'{', b'0', b'\n', b'"', b'*'][(state >> 4) as usize % 8];
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = with;
        let changed = String::from_utf8(bytes).unwrap();
        let _either = load_text(
            &changed,
            &["httpbin/v1=127.0.0.1:1", "httpbin/v2=127.0.0.1:2", "v1=127.0.0.1:3", "v2=127.0.0.1:4"],
        );
    }
}

#[test]
fn endpoints_that_make_no_sense_are_named() {
    for text in ["httpbin", "=127.0.0.1:1", "httpbin/=127.0.0.1:1", "httpbin:http=127.0.0.1:1", "httpbin="] {
        let said = refused(include_str!("../../../examples/istio/virtualservice.yaml"), &[text]);
        assert!(said.contains(&format!("--endpoint: {text:?} is not an endpoint")), "{said}");
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let nowhere = Manifests { paths: vec!["/nowhere/m.yaml".into()], ..Manifests::default() };
    let said = load(&nowhere).unwrap_err();
    assert!(said[0].to_string().starts_with("/nowhere/m.yaml: cannot be read"), "{said:?}");
    let directory = tempfile::tempdir().unwrap();
    let empty = Manifests { paths: vec![directory.path().to_owned()], ..Manifests::default() };
    assert!(load(&empty).unwrap_err()[0].message.contains("has no *.yaml"));
}

#[test]
fn a_directory_is_read_in_the_order_of_its_names_and_settings_come_from_toml() {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("b.yaml", include_str!("../../../examples/istio/destinationrule.yaml")),
        ("a.yml", include_str!("../../../examples/istio/virtualservice.yaml")),
        ("notes.txt", "not a manifest"),
    ] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let settings = directory.path().join("settings.toml");
    std::fs::write(&settings, "[timeouts]\ndrain = \"3s\"\n").unwrap();
    let manifests = Manifests {
        paths: vec![directory.path().to_owned()],
        endpoints: vec!["httpbin/v1=127.0.0.1:1".into(), "httpbin.default/v2=127.0.0.1:2".into()],
        listen: vec!["127.0.0.1:8085".into()],
        settings: Some(settings.clone()),
        ..Manifests::default()
    };
    let config = load(&manifests).unwrap().config;
    assert_eq!(config.timeouts.drain, std::time::Duration::from_secs(3));
    assert_eq!(config.listeners[0].bind.to_string(), "127.0.0.1:8085");
    std::fs::write(&settings, "[[route]]\nprimary = \"x\"\n").unwrap();
    let said = load(&manifests).unwrap_err();
    assert!(said.iter().any(|p| p.message.contains("come from the manifests here")), "{said:?}");
}

/// Objects of two authors: those of the one are changed, those of the other are not.
const OF_A_TENANT: &str = r#"[
    {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "e", "namespace": "n"},
     "spec": {"hosts": ["e.example"], "resolution": "STATIC", "location": "MESH_EXTERNAL",
              "endpoints": [{"address": "10.0.0.1", "ports": {"https": 8443}, "labels": {"v": "1"}}],
              "ports": [{"number": 443, "name": "https", "protocol": "HTTPS", "targetPort": 8443}]}},
    {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "d", "namespace": "n"},
     "spec": {"host": "e.example", "subsets": [{"name": "s", "labels": {"v": "1"}}],
              "trafficPolicy": {"tls": {"mode": "SIMPLE", "sni": "x.example", "subjectAltNames": ["y.example"]},
                                "connectionPool": {"tcp": {"maxConnections": 10, "connectTimeout": "1s"}},
                                "outlierDetection": {"consecutive5xxErrors": 5, "interval": "1s"}}}},
    {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "v", "namespace": "n"},
     "spec": {"hosts": ["v.example"],
              "http": [{"name": "h", "match": [{"uri": {"regex": "/a+"}, "headers": {"x-a": {"exact": "b"}}, "method": {"exact": "GET"}}],
                        "route": [{"destination": {"host": "e.example", "subset": "s", "port": {"number": 443}}, "weight": 1}],
                        "mirrors": [{"destination": {"host": "e.example"}, "percentage": {"value": 10}}],
                        "timeout": "1s", "retries": {"attempts": 2, "perTryTimeout": "1s", "retryOn": "5xx"},
                        "headers": {"request": {"set": {"x-b": "c"}, "remove": ["x-d"]}},
                        "rewrite": {"authority": "w.example", "uri": "/w"},
                        "fault": {"abort": {"httpStatus": 503, "percentage": {"value": 1}}},
                        "corsPolicy": {"allowOrigins": [{"regex": "https://.*"}], "allowMethods": ["GET"], "maxAge": "1s"}}]}},
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "n"},
     "spec": {"ports": [{"name": "http", "port": 80, "appProtocol": "http"}]}},
    {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy", "metadata": {"name": "b", "namespace": "n"},
     "spec": {"targetRefs": [{"group": "", "kind": "Service", "name": "s"}],
              "validation": {"hostname": "s.example", "wellKnownCACertificates": "System",
                             "subjectAltNames": [{"type": "URI", "uri": "spiffe://a/b"}]}}},
    {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r", "namespace": "n"},
     "spec": {"parentRefs": [{"kind": "Service", "group": "", "name": "s", "port": 80}], "hostnames": ["r.example"],
              "rules": [{"name": "u", "matches": [{"path": {"type": "PathPrefix", "value": "/p"}, "method": "GET",
                                                   "headers": [{"name": "x-a", "type": "RegularExpression", "value": "b+"}]}],
                         "filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "s", "port": 80}, "percent": 10}},
                                     {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "x-c", "value": "d"}]}}],
                         "backendRefs": [{"name": "s", "port": 80, "weight": 1}],
                         "timeouts": {"request": "1s"}, "retry": {"codes": [503], "attempts": 1}}]}},
    {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GRPCRoute", "metadata": {"name": "c", "namespace": "n"},
     "spec": {"parentRefs": [{"kind": "Service", "group": "", "name": "s"}], "hostnames": ["c.example"],
              "rules": [{"matches": [{"method": {"service": "a.B", "method": "C"}}], "backendRefs": [{"name": "s", "port": 80}]}]}}
]"#;

const OF_ANOTHER: &str = r#"{"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "good", "namespace": "m"},
    "spec": {"hosts": ["good.example"], "http": [{"directResponse": {"status": 200}}]}}"#;

/// Every place in these where a value stands that has no parts.
fn places(value: &serde_json::Value, at: String, all: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                places(value, format!("{at}/{name}"), all);
            }
        }
        serde_json::Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                places(item, format!("{at}/{n}"), all);
            }
        }
        _leaf => all.push(at),
    }
}

#[test]
fn no_value_that_one_author_writes_refuses_what_another_wrote() {
    use crate::manifest::{Applied, Document, translate};
    use serde_json::{Value, json};

    let tenant: Value = serde_json::from_str(OF_A_TENANT).unwrap();
    let other: Value = serde_json::from_str(OF_ANOTHER).unwrap();
    let odd = [
        json!(""),
        json!("a b"),
        json!("-"),
        json!("a..b"),
        json!("a-.b"),
        json!("svc.123"),
        json!("*"),
        json!("../x"),
        json!("unix:/run/x"),
        json!("\u{1b}[2J"),
        json!("("),
        json!("%NO%"),
        json!("x".repeat(300)),
        json!(0),
        json!(-1),
        json!(18_446_744_073_709_551_615_u64),
        json!(null),
        json!([]),
        json!({}),
    ];
    let mut all = Vec::new();
    places(&tenant, String::new(), &mut all);
    all.retain(|at| !at.ends_with("/apiVersion") && !at.ends_with("/kind") && !at.contains("/metadata/"));
    let served = |tenant: &Value| {
        let objects = tenant.as_array().unwrap().iter().chain([&other]);
        let documents: Vec<Document> = objects.map(Document::from).collect();
        translate(&Applied { documents: &documents, ..Applied::default() })
    };
    assert!(served(&tenant).outcomes.iter().all(|of| matches!(of.state, State::Accepted)));
    for at in &all {
        for value in &odd {
            let mut changed = tenant.clone();
            *changed.pointer_mut(at).unwrap() = value.clone();
            let all = served(&changed);
            let checked = all.checked.as_ref().unwrap_or_else(|why| panic!("{at} {value}: {why:?}"));
            let is_there = checked.config.routes.iter().any(|route| route.name.starts_with("good/"));
            assert!(is_there, "{at} {value}");
        }
    }
}
