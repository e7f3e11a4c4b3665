//! TLS of Gateways becomes TLS of listeners, or is refused by name.

use super::*;
use crate::manifest::{Applied, State, translate};
use crate::{ClientAuth, ServedName, TlsVersion};

const ROUTE: &str = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec: {hosts: ['*'], \
                     gateways: [g], http: [{route: [{destination: {host: s}}]}]}\n";

fn gateway(tls: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: g}}\nspec:\n  servers: [{{port: {{number: 8443, \
         name: x, protocol: HTTPS}}, hosts: [a/shop.example, '*.b.example'], tls: {{{tls}}}}}]\n{ROUTE}"
    )
}

fn of(text: &str, change: impl FnOnce(&mut Manifests)) -> Result<Checked, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.yaml");
    std::fs::write(&path, text).unwrap();
    let mut manifests = Manifests {
        paths: vec![path],
        endpoints: vec!["s=127.0.0.1:1".to_owned()],
        secrets: vec!["shop=shop.pem,shop.key,ca.pem".to_owned()],
        ..Manifests::default()
    };
    change(&mut manifests);
    load(&manifests).map_err(|problems| problems.iter().map(|p| format!("{p}\n")).collect())
}

#[test]
fn a_server_of_istio_is_a_listener_with_its_certificate_for_its_hosts() {
    let text = gateway("mode: MUTUAL, credentialName: shop, minProtocolVersion: TLSV1_3");
    let config = of(&text, |_| {}).unwrap().config;
    let tls = config.listeners[0].tls.as_ref().unwrap();
    assert_eq!(tls.min_version, TlsVersion::Tls13);
    assert!(matches!(&tls.client_auth, ClientAuth::Required(ca) if ca.ca.name() == "ca.pem"));
    let names = [ServedName::Exact("shop.example".to_owned()), ServedName::Suffix(".b.example".to_owned())];
    assert_eq!(tls.certificates[0].names, names);
    assert_eq!(tls.certificates[0].key.name(), "shop.key");
    assert!(!tls.strict_sni_host, "a server of Istio's takes what its routes take");
}

#[test]
fn the_name_of_a_listener_of_the_gateway_api_is_held_against_what_is_asked_on_its_connections() {
    let listener = |name: &str, hostname: &str| {
        format!(
            "{{name: {name}, port: 8443, protocol: HTTPS{hostname}, tls: {{certificateRefs: [{{name: shop}}]}}}}"
        )
    };
    let text = format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{name: g}}, spec: {{gatewayClassName: x, listeners: [{}, {}]}}}}\n---\n\
         {{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r}}, spec: {{parentRefs: [{{name: g}}], rules: [{{backendRefs: [{{name: s, port: 80}}]}}]}}}}\n",
        listener("every", ""),
        listener("one", ", hostname: one.example")
    );
    let checked = of(&text, |_| {}).unwrap();
    let tls = checked.config.listeners[0].tls.as_ref().unwrap();
    let names: Vec<_> = tls.certificates.iter().map(|one| one.names.as_slice()).collect();
    assert_eq!(names, [[ServedName::Any].as_slice(), &[ServedName::Exact("one.example".to_owned())]]);
    assert!(tls.strict_sni_host);
    // The TOML that it converts to says so too.
    assert!(checked.written.whole.contains("strict_sni_host = true"), "{}", checked.written.whole);
}

#[test]
fn clients_of_a_gateway_of_the_gateway_api_show_certificates_where_their_port_wants_them() {
    let text = |frontend: &str| {
        let listener = |name: &str, port: u16| {
            format!(
                "{{name: {name}, port: {port}, protocol: HTTPS, tls: {{certificateRefs: [{{name: shop}}]}}}}"
            )
        };
        let listeners = [listener("one", 8443), listener("two", 9443)].join(", ");
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{name: g}}, spec: {{gatewayClassName: x, \
             listeners: [{listeners}], tls: {{frontend: {{{frontend}}}}}}}}}\n---\n\
             {{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r}}, spec: {{parentRefs: [{{name: g}}], \
             rules: [{{backendRefs: [{{name: s, port: 80}}]}}]}}}}\n---\n\
             {{apiVersion: v1, kind: ConfigMap, metadata: {{name: ca}}, data: {{ca.crt: CERT}}}}\n---\n\
             {{apiVersion: v1, kind: ConfigMap, metadata: {{name: more}}, data: {{ca.crt: MORE}}}}\n"
        )
    };
    let validation = |more: &str| {
        format!("validation: {{caCertificateRefs: [{{group: '', kind: ConfigMap, name: ca}}]{more}}}")
    };
    // The authority at each port; empty where no certificate is required.
    let asked = |frontend: &str| {
        of(&text(frontend), |_| {}).map(|checked| {
            let ca = |listener: &crate::Listener| match &listener.tls.as_ref().unwrap().client_auth {
                ClientAuth::Required(ca) => match &ca.ca {
                    crate::Pem::Given(material) => String::from_utf8(material.bytes.clone()).unwrap(),
                    crate::Pem::File(file) => file.display().to_string(),
                },
                ClientAuth::Off => String::new(),
                ClientAuth::Optional(_) => "optional".to_owned(),
            };
            checked.config.listeners.iter().map(ca).collect::<Vec<_>>()
        })
    };
    let all = format!("default: {{{}}}", validation(""));
    assert_eq!(asked(&all).unwrap(), ["CERT", "CERT"]);
    let both = "validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}, {group: '', kind: ConfigMap, name: more}]}";
    let own = format!("default: {{}}, perPort: [{{port: 9443, tls: {{{both}}}}}]");
    assert_eq!(asked(&own).unwrap(), ["", "CERT\nMORE"]);
    let none =
        format!("{all}, perPort: [{{port: 8443, tls: {{{}}}}}]", validation(", mode: AllowInsecureFallback"));
    assert_eq!(asked(&none).unwrap(), ["", "CERT"]);
    for (frontend, told) in [
        (
            format!("default: {{{}}}", validation(", mode: Maybe")),
            "must be AllowValidOnly or AllowInsecureFallback",
        ),
        (
            "default: {validation: {caCertificateRefs: []}}".to_owned(),
            "says not who issues the clients' certificates",
        ),
        (
            all.replace("name: ca", "name: gone"),
            "no ConfigMap default/gone with ca.crt is known: write --secret gone=CA",
        ),
        (all.replace("ConfigMap", "Service"), "\"Service\" holds no certificates here"),
        (
            all.replace("name: ca", "name: ca, namespace: other"),
            "no ReferenceGrant of namespace other lets Gateways of default",
        ),
    ] {
        let said = asked(&frontend).unwrap_err();
        assert!(said.contains(told), "{frontend}\n{said}");
    }
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    for (tls, told) in [
        (
            "mode: SIMPLE, credentialName: other",
            "no Secret default/other is known: write --secret other=CERT,KEY",
        ),
        ("mode: PASSTHROUGH", "PASSTHROUGH is not offered"),
        ("mode: ISTIO_MUTUAL", "--plaintext-listeners"),
        ("mode: SIMPLE", "says not by which certificate"),
        ("mode: SIMPLE, serverCertificate: a.pem", "needs its other half"),
        (
            "mode: MUTUAL, serverCertificate: a.pem, privateKey: a.key",
            "says not who issues the clients' certificates",
        ),
        ("mode: SIMPLE, credentialName: shop, maxProtocolVersion: TLSV1_2", "TLS 1.3 is always spoken"),
        ("mode: MUTUAL, credentialName: shop, subjectAltNames: [a]", "subjectAltNames: is not supported"),
    ] {
        let said = of(&gateway(tls), |_| {}).unwrap_err();
        assert!(said.contains(told), "{tls}\n{said}");
    }
    for (secret, told) in
        [("shop", "is not a secret"), ("=a,b", "is not a secret"), ("a=b,c,d,e", "is not a secret")]
    {
        let said = of(&gateway("mode: SIMPLE, credentialName: shop"), |m| m.secrets.push(secret.to_owned()));
        assert!(said.unwrap_err().contains(told));
    }
    let said =
        of(&gateway("mode: SIMPLE, credentialName: shop"), |m| m.listen = vec!["127.0.0.1:1=x".to_owned()]);
    assert!(said.unwrap_err().contains("\"x\" is no port"));
    let said =
        of(&gateway("mode: SIMPLE, credentialName: shop"), |m| m.listen = vec!["127.0.0.1:1=80".to_owned()]);
    assert!(said.unwrap_err().contains("no Gateway that is served has a listener of port 80"));
}

#[test]
fn a_secret_of_the_manifests_is_used_and_no_one_is_shown_it() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: shop}\ndata: {tls.crt: Q0VSVA==, tls.key: S0VZLUJZVEVT}\n---\n";
    let text = format!("{secret}{}", gateway("mode: SIMPLE, credentialName: shop"));
    let checked = of(&text, |m| m.secrets.clear()).unwrap();
    let certificate = &checked.config.listeners[0].tls.as_ref().unwrap().certificates[0];
    let crate::Pem::Given(key) = &certificate.key else { panic!("{certificate:?}") };
    assert_eq!(key.bytes, b"KEY-BYTES");
    for shown in [format!("{checked:?}"), checked.written.whole.clone()] {
        assert!(shown.contains("secret:default/shop/tls.key"), "{shown}");
        assert!(!shown.contains("KEY-BYTES") && !shown.contains("S0VZLUJZVEVT"), "{shown}");
    }
    let bad = text.replace("S0VZLUJZVEVT", "-S0VZLUJZVEVT");
    let said = of(&bad, |m| m.secrets.clear()).unwrap_err();
    assert!(said.contains("Secret/shop data.tls.key: is not base64") && !said.contains("S0VZ"), "{said}");
}

#[test]
fn a_policy_of_the_gateway_api_says_how_a_service_is_called() {
    let route = "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r}, spec: {rules: [{backendRefs: [{name: s, port: 443}]}]}}\n---\n\
                 {apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{name: https, port: 443}, {name: http, port: 80}]}}\n---\n";
    let policy = |target: &str, validation: &str| {
        format!(
            "{route}{{apiVersion: gateway.networking.k8s.io/v1, kind: BackendTLSPolicy, metadata: {{name: p}}, spec: {{targetRefs: [{{group: '', kind: Service, name: s{target}}}], \
             validation: {{{validation}}}}}}}\n---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: ca}}, data: {{ca.crt: CERT}}}}\n"
        )
    };
    let tls = |target: &str, validation: &str| {
        of(&policy(target, validation), |m| m.secrets.clear())
            .map(|checked| checked.config.upstreams[0].tls.clone())
    };
    let ca = "caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}], hostname: v1.internal";
    let given = tls("", ca).unwrap().unwrap();
    assert!(
        matches!(&given.trust, crate::Trust::Ca(crate::Pem::Given(ca)) if ca.bytes == b"CERT"),
        "{given:?}"
    );
    assert_eq!(given.server_name, Some(crate::Host::Name("v1.internal".to_owned())));
    let names = "wellKnownCACertificates: System, hostname: v1.internal, subjectAltNames: [{type: URI, uri: 'spiffe://a/b'}, {type: Hostname, hostname: x.y}]";
    let given = tls(", sectionName: https", names).unwrap().unwrap();
    assert_eq!((given.trust, given.names.len()), (crate::Trust::System, 2));
    assert_eq!(tls(", sectionName: http", ca).unwrap(), None, "another port's");
    for (validation, told) in [
        ("hostname: a", "says not whom to believe"),
        ("wellKnownCACertificates: System", "hostname: is missing"),
        ("caCertificateRefs: [{kind: ConfigMap, name: other}], hostname: a", "write --secret other=CA"),
        ("caCertificateRefs: [{kind: Bundle, name: ca}], hostname: a", "must be ConfigMap or Secret"),
    ] {
        let said = tls("", validation).unwrap_err();
        assert!(said.contains(told) && said.contains("BackendTLSPolicy/p spec.validation"), "{said}");
    }
}

#[test]
fn several_authorities_of_a_policy_are_believed_together() {
    let text = "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r}, spec: {rules: [{backendRefs: [{name: s, port: 443}]}]}}\n---\n\
                {apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 443}]}}\n---\n\
                {apiVersion: gateway.networking.k8s.io/v1, kind: BackendTLSPolicy, metadata: {name: p}, spec: {targetRefs: [{kind: Service, name: s}], \
                validation: {hostname: v1.internal, caCertificateRefs: [{kind: ConfigMap, name: a}, {kind: Secret, name: b}, {kind: ConfigMap, name: a}]}}}\n---\n\
                {apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {ca.crt: A}}\n---\n\
                {apiVersion: v1, kind: Secret, metadata: {name: b}, stringData: {ca.crt: B}}\n";
    let believed = |tls: Option<&crate::UpstreamTls>| match tls.map(|tls| &tls.trust) {
        Some(crate::Trust::Ca(crate::Pem::Given(ca))) => String::from_utf8(ca.bytes.clone()).unwrap(),
        other => format!("{other:?}"),
    };
    let of_files = of(text, |m| m.secrets.clear()).unwrap().config;
    assert_eq!(believed(of_files.upstreams[0].tls.as_ref()), "A\nB");
    // A file stands for one of them: its content is not known here.
    let said = of(text, |m| m.secrets = vec!["b=/b.pem".to_owned()]).unwrap_err();
    assert!(said.contains("several files are not read together"), "{said}");
    let (gone, none) =
        (text.replace("metadata: {name: b}", "metadata: {name: c}"), text.replace("ca.crt: ", "other: "));
    let said = of(&gone, |m| m.secrets.clear()).unwrap_err();
    assert!(said.contains("no Secret default/b with ca.crt is known"), "{said}");
    // One by one, a missing authority costs the others nothing, while there is one.
    let translated = |text: &str| {
        let documents: Vec<Document> = yaml::documents(text).unwrap().into_iter().map(Document).collect();
        translate(&Applied { documents: &documents, ..Applied::default() })
    };
    let all = translated(&gone);
    let policy = &all.outcomes[2];
    assert!(matches!(policy.state, State::Accepted), "{policy:?}");
    assert!(
        policy.warnings[0].to_string().contains("caCertificateRefs[1]: no Secret default/b"),
        "{policy:?}"
    );
    assert_eq!(believed(all.checked.unwrap().config.upstreams[0].tls.as_ref()), "A");
    let all = translated(&none);
    assert!(
        matches!(&all.outcomes[2].state, State::Rejected(problems) if problems.len() == 3),
        "{:?}",
        all.outcomes
    );
}

#[test]
fn an_address_to_listen_on_stands_for_whatever_servers_a_gateway_has() {
    let servers = |servers: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: g}}\nspec: {{servers: [{servers}]}}\n{ROUTE}"
        )
    };
    let http = "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*'], tls: {httpsRedirect: true}}";
    let https = |rest: &str| {
        format!("{{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: ['*'], tls: {{{rest}}}}}")
    };
    let (known, unknown) =
        (https("mode: SIMPLE, credentialName: shop"), https("mode: SIMPLE, credentialName: no"));
    let passed = https("mode: PASSTHROUGH");
    // Servers, whether TLS is spoken there, routes, and warnings.
    let rows = [
        (http.to_owned(), false, 1, "httpsRedirect: is not done"),
        (known.clone(), true, 1, ""),
        (unknown.clone(), false, 1, "TLS is not spoken at --listen 127.0.0.1:8080"),
        (passed, false, 1, "TLS is not spoken at --listen 127.0.0.1:8080"),
        (format!("{http}, {known}"), false, 1, "TLS is not spoken at --listen 127.0.0.1:8080"),
        (format!("{http}, {unknown}"), false, 1, "httpsRedirect: is not done"),
    ];
    for (text, secured, routes, told) in rows {
        let all = servers(&text);
        let checked = of(&all, |m| m.listen = vec!["127.0.0.1:8080".to_owned()]).unwrap();
        assert_eq!(checked.config.listeners.len(), 1, "{text}");
        assert_eq!(checked.config.listeners[0].tls.is_some(), secured, "{text}");
        assert_eq!(checked.config.routes.len(), routes, "{text}");
        assert!(warnings(&checked).contains(told), "{text}\n{}", warnings(&checked));
        // Nor is anything wrong where settings say where to listen.
        let folder = tempfile::tempdir().unwrap();
        let settings = folder.path().join("settings.toml");
        std::fs::write(&settings, "[[listener]]\nbind = \"127.0.0.1:8081\"\n").unwrap();
        let checked = of(&all, |m| m.settings = Some(settings)).unwrap();
        assert_eq!(checked.config.listeners[0].bind.to_string(), "127.0.0.1:8081", "{text}");
    }
    // Address by address each port has its own, and whom it sends to HTTPS.
    let listen = ["127.0.0.1:8080=80", "127.0.0.1:8443=443"].map(str::to_owned);
    let checked = of(&servers(&format!("{http}, {known}")), |m| m.listen = listen.to_vec()).unwrap();
    let secured: Vec<bool> = checked.config.listeners.iter().map(|one| one.tls.is_some()).collect();
    assert_eq!((secured, checked.config.routes.len()), (vec![false, true], 2));
    // Clients are never let in without the certificate that they were to show.
    let mutual = format!("{http}, {}", https("mode: MUTUAL, credentialName: shop"));
    let said = of(&servers(&mutual), |m| m.listen = vec!["127.0.0.1:8080".to_owned()]).unwrap_err();
    assert!(said.contains("clients show certificates at port 443"), "{said}");
}

#[test]
fn a_mesh_around_the_gateway_speaks_all_tls_with_destinations_where_that_is_said() {
    let route = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: v}, spec: {hosts: [h], http: [{\
                 route: [{destination: {host: s, subset: a, port: {number: 443}}}], mirror: {host: s, port: {number: 443}}}]}}\n---\n";
    let rule = |policy: &str, of_subset: &str| {
        format!(
            "{route}{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: d}}, spec: {{host: s, trafficPolicy: \
             {{{policy}}}, subsets: [{{name: a, trafficPolicy: {{{of_subset}}}}}]}}}}\n---\n"
        )
    };
    let mesh = "tls: {mode: ISTIO_MUTUAL}";
    let port = format!("portLevelSettings: [{{port: {{number: 443}}, {mesh}}}]");
    let files = "tls: {mode: MUTUAL, clientCertificate: us.pem, privateKey: us.key}";
    let policy = "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{name: x, port: 443}]}}\n---\n\
                  {apiVersion: gateway.networking.k8s.io/v1, kind: BackendTLSPolicy, metadata: {name: p}, spec: {targetRefs: \
                  [{group: '', kind: Service, name: s}], validation: {wellKnownCACertificates: System, hostname: a.b}}}\n";
    let https = "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 443, appProtocol: https}]}}\n";
    // Whether a certificate of the mesh would be needed.
    let rows = [
        (rule(mesh, ""), true),
        (rule("", mesh), true),
        (rule(&port, ""), true),
        (rule("", &port), true),
        (rule(files, ""), false),
        (format!("{}{policy}", rule("", "")), false),
        (format!("{}{https}", rule("", "")), false),
    ];
    for (text, needs_mesh) in rows {
        let endpoints = || vec!["s=127.0.0.1:1".to_owned(), "s/a=127.0.0.1:2".to_owned()];
        let alone = of(&text, |m| m.endpoints = endpoints());
        match alone {
            Ok(checked) => assert!(!needs_mesh && checked.config.upstreams[0].tls.is_some(), "{text}"),
            Err(said) => assert!(needs_mesh && said.contains("--plaintext-upstreams"), "{text}\n{said}"),
        }
        let inside = of(&text, |m| {
            m.endpoints = endpoints();
            m.plaintext.upstreams = true;
        });
        let config = inside.unwrap().config;
        assert!(config.upstreams.iter().all(|one| one.tls.is_none()), "{text}");
    }
}
