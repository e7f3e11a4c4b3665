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
    let begun = std::time::Instant::now();
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
    assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
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
