//! Further members of the kinds in `kinds`, as other clients, other authors and other tools write them.

use super::kinds::{gateway, hosts, http_route, virtual_service};
use super::*;
use crate::{ServedName, UpstreamProtocol};

const REPLY: &str = "http: [{directResponse: {status: 200}}]";

fn to(host: &str) -> String {
    virtual_service("v", &format!("{{hosts: [h], http: [{{route: [{{destination: {{host: {host}}}}}]}}]}}"))
}

fn service(name: &str, ports: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{ports: [{ports}]}}}}\n---\n"
    )
}

fn entry(host: &str, rest: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: e}}, spec: {{hosts: [{host}], resolution: STATIC, \
         endpoints: [{{address: 127.0.0.1}}], ports: [{{number: 80, name: p{rest}}}]}}}}\n---\n"
    )
}

fn grant(from: &str, to: &str) -> String {
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1beta1, kind: ReferenceGrant, metadata: {{name: g, namespace: other}}, spec: {{\
         from: [{{group: gateway.networking.k8s.io, kind: {from}, namespace: default}}], to: [{{group: '', kind: {to}}}]}}}}\n---\n"
    )
}

/// A directory with these files and a sound VirtualService.
fn beside(files: &[(&str, &str)]) -> Result<Checked, Vec<Problem>> {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let good = virtual_service("v", &format!("{{hosts: [h], {REPLY}}}"));
    std::fs::write(directory.path().join("v.yaml"), good).unwrap();
    load(&Manifests { paths: vec![directory.path().to_owned()], ..Manifests::default() })
}

#[test]
fn a_host_is_the_same_in_whatever_place_it_stands_with_its_dot_and_its_capitals() {
    // A destination, and whom an entry and a rule are for.
    for written in ["api.example.com", "API.Example.Com", "api.example.com."] {
        let rule = format!(
            "{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: d}}, spec: {{host: {written}, \
             trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: 7}}}}}}}}}}\n---\n"
        );
        let config = accepted(&[to("API.example.com."), entry(written, ""), rule].concat(), &[]).config;
        assert_eq!(config.upstreams[0].endpoints[0].to_string(), "127.0.0.1:80", "{written}");
        assert_eq!(config.upstreams[0].connections_max, 7, "{written}");
    }
    // A listener's hostname, and that of a route.
    let listener = "{name: l, port: 80, protocol: HTTP, hostname: Shop.Example., allowedRoutes: {namespaces: {from: All}}}";
    for written in ["shop.example", "SHOP.example.", "'*.example.'"] {
        let route = http_route(
            "r",
            "default",
            &format!(
                "{{hostnames: [{written}], parentRefs: [{{name: gw, namespace: infra}}], rules: [{{}}]}}"
            ),
        );
        let config =
            accepted(&[gateway(&format!("{{listeners: [{listener}]}}")), route].concat(), &[]).config;
        assert_eq!(hosts(&config, 0), ["shop.example"], "{written}");
    }
}

#[test]
fn a_part_of_a_label_may_be_wild_wherever_istio_has_hosts() {
    // Of a rule.
    let rule = "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: d}, spec: {host: '*-v2.example.com', \
                trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}}";
    let config =
        accepted(&[&to("a-v2.example.com"), rule].concat(), &["a-v2.example.com=127.0.0.1:1"]).config;
    assert_eq!(config.upstreams[0].connections_max, 7);
    // Of a server: whom its certificate is for, and whose requests go to HTTPS.
    let server = |rest: &str| {
        format!(
            "{{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {{name: g}}, spec: {{servers: [{{{rest}, hosts: ['*-v2.Example.com', a.example.]}}]}}}}\n---\n{}",
            virtual_service("v", &format!("{{hosts: ['*'], gateways: [g], {REPLY}}}"))
        )
    };
    let tls = "port: {number: 443, name: https, protocol: HTTPS}, tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}";
    let config = accepted(&server(tls), &[]).config;
    let names = &config.listeners[0].tls.as_ref().unwrap().certificates[0].names;
    assert_eq!(
        names.as_slice(),
        [ServedName::Suffix("-v2.example.com".into()), ServedName::Exact("a.example".into())]
    );
    let redirect = "port: {number: 80, name: http, protocol: HTTP}, tls: {httpsRedirect: true}";
    let config = accepted(&server(redirect), &[]).config;
    assert_eq!(hosts(&config, 0), ["*-v2.example.com", "a.example"]);
    for bad in
        ["'a*-v2.example.com'", "'*-*.example.com'", "'*-v2.*'", "'**-v2.example.com'", "'*_v2.example.com'"]
    {
        let said = refused(&virtual_service("v", &format!("{{hosts: [{bad}], {REPLY}}}")), &[]);
        assert!(said.contains("spec.hosts[0]"), "{bad}: {said}");
    }
}

#[test]
fn a_parent_is_meant_with_its_group_its_section_and_its_port() {
    let endpoints = ["a-v1=127.0.0.1:1", "b-v1=127.0.0.1:2"];
    let route = |name: &str, parent: &str| {
        http_route(
            name,
            "default",
            &format!("{{parentRefs: [{parent}], rules: [{{backendRefs: [{{name: {name}-v1, port: 80}}]}}]}}"),
        )
    };
    let b = route("b", "{kind: Service, name: b}");
    let ports = service("s", "{name: http, port: 80}, {name: admin, port: 9000}");
    let served = |parent: &str, more: &str| {
        let checked = accepted(&[&route("a", parent), &b, &ports, more].concat(), &endpoints);
        let is_served = checked.config.routes.iter().any(|route| route.name.starts_with("a/"));
        assert!(is_served != warnings(&checked).contains("HTTPRoute/a "), "{parent}: {}", warnings(&checked));
        is_served
    };
    let listeners =
        "{listeners: [{name: l, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]}";
    let rows = [
        ("{kind: Service, group: example.com, name: s}", false),
        ("{kind: Service, group: gateway.networking.k8s.io, name: s}", false),
        ("{group: example.com, name: gw, namespace: infra}", false),
        ("{group: example.com, kind: Gateway, name: gw, namespace: infra}", false),
        ("{group: '', name: gw, namespace: infra}", false),
        ("{group: gateway.networking.k8s.io, kind: Gateway, name: gw, namespace: infra}", true),
        ("{name: gw, namespace: infra, sectionName: l, port: 80}", true),
        ("{name: gw, namespace: infra, sectionName: other}", false),
        ("{name: gw, namespace: infra, port: 81}", false),
        ("{name: gw, namespace: infra, sectionName: l, port: 81}", false),
        // Of a Service there is no port of that name, or it has another number.
        ("{kind: Service, name: s, sectionName: metrics}", false),
        ("{kind: Service, name: unknown, sectionName: http}", false),
        ("{kind: Service, name: s, sectionName: admin, port: 80}", false),
    ];
    for (parent, is_served) in rows {
        assert_eq!(served(parent, &gateway(listeners)), is_served, "{parent}");
    }
    // Two ports of one service by their names.
    let both = [
        route("a", "{kind: Service, name: s, sectionName: http}"),
        route("b", "{kind: Service, name: s, sectionName: admin, port: 9000}"),
        ports.clone(),
    ];
    let config = accepted(&both.concat(), &endpoints).config;
    assert_eq!([0, 1].map(|n| config.routes[n].matches[0].port), [Some(80), Some(9000)]);
}

#[test]
fn a_policy_for_a_port_is_for_that_port_or_said_to_be_for_none() {
    let route = |port: &str| {
        virtual_service(
            "v",
            &format!("{{hosts: [h], http: [{{route: [{{destination: {{host: s{port}}}}}]}}]}}"),
        )
    };
    let policy = |section: &str| {
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: BackendTLSPolicy, metadata: {{name: p}}, spec: {{targetRefs: \
             [{{group: '', kind: Service, name: s, sectionName: {section}}}], validation: {{wellKnownCACertificates: System, hostname: a.b}}}}}}\n---\n"
        )
    };
    let endpoints = ["s=127.0.0.1:1"];
    let ports = service("s", "{name: https, port: 443}, {name: http, port: 80}");
    for (section, port, secured) in [("https", 443, true), ("https", 80, false), ("http", 80, true)] {
        let to = route(&format!(", port: {{number: {port}}}"));
        let config = accepted(&[to, policy(section), ports.clone()].concat(), &endpoints).config;
        assert_eq!(config.upstreams[0].tls.is_some(), secured, "{section} {port}");
    }
    for (section, ports) in [("https", ""), ("metrics", ports.as_str())] {
        for port in ["", ", port: {number: 443}"] {
            let said = refused(&[&route(port), &policy(section), ports].concat(), &endpoints);
            assert!(
                said.contains(&format!("sectionName: no port {section:?} of Service s is known")),
                "{said}"
            );
        }
    }
}

#[test]
fn every_reference_into_another_namespace_needs_its_own_grant() {
    let endpoints = ["s.other=127.0.0.1:1", "own=127.0.0.1:2"];
    // A GRPCRoute's backend, and a mirror of one backend.
    let calls =
        http_route("r", "default", "{rules: [{backendRefs: [{name: s, namespace: other, port: 80}]}]}")
            .replace("kind: HTTPRoute", "kind: GRPCRoute");
    for (from, permitted) in [("GRPCRoute", true), ("HTTPRoute", false)] {
        let config = accepted(&[calls.clone(), grant(from, "Service")].concat(), &endpoints).config;
        assert_eq!(config.routes[0].primaries()[0].upstream.is_some(), permitted, "{from}");
    }
    let mirrored = http_route(
        "r",
        "default",
        "{rules: [{backendRefs: [{name: own, port: 80, filters: [{type: RequestMirror, requestMirror: {backendRef: {name: s, namespace: other, port: 80}}}]}]}]}",
    );
    for (grant, mirrors) in [(String::new(), 0), (grant("HTTPRoute", "Service"), 1)] {
        let config = accepted(&[mirrored.clone(), grant].concat(), &endpoints).config;
        assert_eq!((config.routes[0].mirrors.len(), config.routes[0].primaries().len()), (mirrors, 1));
    }
    // No grant makes a Service of another kind.
    let strange = http_route(
        "r",
        "default",
        "{rules: [{backendRefs: [{group: example.com, kind: Bucket, name: s, namespace: other, port: 80}, {name: own, port: 80}]}]}",
    );
    let checked = accepted(&[strange, grant("HTTPRoute", "Bucket")].concat(), &endpoints);
    assert_eq!(checked.config.routes[0].primaries()[0].upstream, None);
    assert!(warnings(&checked).contains("is no Service"), "{}", warnings(&checked));
}

#[test]
fn operators_are_read_wherever_istio_has_values_of_fields() {
    let endpoints = ["s=127.0.0.1:1", "m=127.0.0.1:2"];
    let text = |inner: &str| virtual_service("v", &format!("{{hosts: [h], http: [{{{inner}}}]}}"));
    // Of one destination, and added beside the fields that are there.
    let config = accepted(
        &text("route: [{destination: {host: s}, headers: {request: {add: {x-p: '%PROTOCOL%'}}, response: {set: {x-q: '5%%'}}}}]"),
        &endpoints,
    )
    .config;
    let primary = &config.routes[0].primaries()[0];
    assert_eq!(primary.request_headers.add_format.len(), 1);
    assert_eq!(primary.response_headers.set, [("x-q".to_owned(), "5%".to_owned())]);
    for (inner, told) in [
        (
            "route: [{destination: {host: s}}], mirrors: [{destination: {host: m}, headers: {request: {set: {x: '%PROTOCOL%'}}}}]",
            "offered for requests to a primary only",
        ),
        (
            "route: [{destination: {host: s}}], headers: {response: {add: {x: '%REQ(x)%'}}}",
            "offered for requests to a primary only",
        ),
        (
            "route: [{destination: {host: s}}], headers: {request: {set: {Host: '%REQ(x)%'}}}",
            "without operators",
        ),
        (
            "route: [{destination: {host: s}}], headers: {request: {set: {x: '%START_TIME(%s)%'}}}",
            "not offered",
        ),
        ("route: [{destination: {host: s}, headers: {request: {set: {x: '%REQ(x)%%'}}}}]", "without its end"),
        ("redirect: {uri: /x}, headers: {response: {set: {x: '%'}}}", "without its end"),
        ("route: [{destination: {host: s}}], headers: {request: {set: {x: '%protocol%'}}}", "not offered"),
    ] {
        let said = refused(&text(inner), &endpoints);
        assert!(said.contains(told), "{inner}\n{said}");
    }
    // A redirect's and a direct answer's texts are no such language.
    let config =
        accepted(&text("directResponse: {status: 200, body: {string: '100% %PROTOCOL%'}}"), &[]).config;
    assert!(matches!(&config.routes[0].action, Action::Reply(reply) if reply.body == "100% %PROTOCOL%"));
}

#[test]
fn a_port_that_carries_no_tcp_is_no_port_to_ask_and_hides_none_that_is() {
    let endpoints = ["s=127.0.0.1:1"];
    for transport in ["UDP", "SCTP", "udp"] {
        for more in ["", ", appProtocol: http", ", name: http-x"] {
            let one = service("s", &format!("{{port: 80, protocol: {transport}{more}}}"));
            let said = refused(&[to("s"), one].concat(), &endpoints);
            assert!(said.contains("Service/s spec.ports[0].protocol: "), "{transport}{more}: {said}");
        }
    }
    // HTTP/3 beside the port of the same number that speaks TCP.
    let protocol = |ports: &str| {
        let route = virtual_service(
            "v",
            "{hosts: [h], http: [{route: [{destination: {host: s, port: {number: 443}}}]}]}",
        );
        let config = accepted(&[route, service("s", ports)].concat(), &endpoints).config;
        (config.upstreams[0].protocol, config.upstreams[0].tls.is_some())
    };
    let udp = "{port: 443, protocol: UDP, name: http3}";
    for (tcp, spoken, secured) in [
        ("{port: 443, protocol: TCP, name: https}", UpstreamProtocol::Http1, true),
        ("{port: 443, name: x, appProtocol: kubernetes.io/h2c}", UpstreamProtocol::Http2, false),
        ("{port: 443, name: GRPC-x}", UpstreamProtocol::Http2, false),
    ] {
        for ports in [format!("{tcp}, {udp}"), format!("{udp}, {tcp}")] {
            assert_eq!(protocol(&ports), (spoken, secured), "{ports}");
        }
    }
    // Nor does a port of another number, where none is named.
    let two =
        service("s", "{port: 80, appProtocol: kubernetes.io/h2c}, {port: 53, protocol: UDP, name: dns}");
    let config = accepted(&[to("s"), two].concat(), &endpoints).config;
    assert_eq!(config.upstreams[0].protocol, UpstreamProtocol::Http2);
    // A word is the same in any case, and one of somebody else's is none.
    for (word, spoken) in
        [("HTTP", true), ("Kubernetes.io/H2C", true), ("kubernetes.io/h3", false), ("", false)]
    {
        let text = [to("s"), service("s", &format!("{{port: 80, appProtocol: '{word}'}}"))].concat();
        assert_eq!(load_text(&text, &endpoints).is_ok(), spoken, "{word}");
    }
}

#[test]
fn what_nobody_refers_to_or_reads_stops_no_directory() {
    let crd = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: virtualservices.networking.istio.io}\n\
               spec: {group: networking.istio.io, names: {kind: VirtualService}, versions: [{schema: &s {x: *s}}]}\n";
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: batch/v1\n  kind: CronJob\n  metadata: {generateName: c-}\n- {a: b}\n";
    let files = [
        ("crd.yaml", crd),
        ("list.yaml", list),
        ("comments.yaml", "# nothing\n---\n# but words\n"),
        ("empty.yaml", ""),
        ("helm.yaml", "{{- if .Values.on }}\nkind: {{ .Values.kind }}\n{{- end }}\n"),
        (
            "argo.yaml",
            "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: a}\nspec: {source: !x {}}\n",
        ),
        // Encrypted where it lies, and referred to by nobody.
        (
            "sops.yaml",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {tls.key: 'ENC[AES256_GCM,data:x]'}\nsops: {version: 3}\n",
        ),
        (
            "generated.yaml",
            "apiVersion: v1\nkind: Secret\nmetadata: {generateName: s-}\nstringData: {a: b}\n",
        ),
        ("map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: m-}\ndata: {a: b}\n"),
        // Its labels are written once, and its ports are all that is read of it.
        (
            "service.yaml",
            "apiVersion: v1\nkind: Service\nmetadata: {name: s, labels: &l {app: s}}\nspec: {selector: *l, ports: [{port: 80}]}\n",
        ),
    ];
    for (name, text) in files {
        let checked = beside(&[(name, text)]).unwrap_or_else(|problems| panic!("{name}: {problems:#?}"));
        assert_eq!(checked.config.routes.len(), 1, "{name}");
    }
    let all = beside(&files).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let said = warnings(&all);
    for name in ["crd.yaml", "list.yaml", "helm.yaml", "argo.yaml", "sops.yaml", "generated.yaml", "map.yaml"]
    {
        assert!(said.lines().any(|line| line.contains(name)), "{name}\n{said}");
    }
    // The parts that are read must be sound.
    let used = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {x: &p [{port: 80}], ports: *p}\n";
    let problems = beside(&[("service.yaml", used)]).unwrap_err();
    assert!(problems[0].to_string().contains("Service/s spec.ports: is an alias"), "{problems:?}");
}

#[test]
fn what_vanishes_where_nothing_is_forwarded_is_said_of_calls_and_of_shares_too() {
    let endpoints = ["s=127.0.0.1:1"];
    let mirror = "{type: RequestMirror, requestMirror: {backendRef: {name: s, port: 80}}}";
    let edit = "{type: RequestHeaderModifier, requestHeaderModifier: {remove: [a]}}";
    for backends in ["", ", backendRefs: [{name: s, port: 80, weight: 0}]"] {
        let text =
            http_route("r", "default", &format!("{{rules: [{{filters: [{mirror}, {edit}]{backends}}}]}}"))
                .replace("kind: HTTPRoute", "kind: GRPCRoute");
        let said = warnings(&accepted(&text, &endpoints));
        for told in ["requestMirror: is ignored", "requestHeaderModifier: is ignored"] {
            assert!(said.contains(told), "{backends}: {said}");
        }
    }
    let text = http_route(
        "r",
        "default",
        &format!(
            "{{rules: [{{backendRefs: [{{name: s, port: 80}}, {{name: s, port: 80, filters: [{{type: RequestRedirect, requestRedirect: {{hostname: x}}}}, {mirror}, {edit}]}}]}}]}}"
        ),
    );
    let said = warnings(&accepted(&text, &endpoints));
    assert_eq!(said.matches("is ignored: this share is redirected").count(), 2, "{said}");
    // Retries that are switched off say which keys they leave out.
    let off = "{hosts: [h], http: [{route: [{destination: {host: s}}], retries: {attempts: 0, perTryTimeout: 2s, retryOn: 5xx}}]}";
    let said = warnings(&accepted(&virtual_service("v", off), &endpoints));
    for told in ["retries.perTryTimeout: is ignored", "retries.retryOn: is ignored"] {
        assert!(said.contains(told), "{said}");
    }
}

#[test]
fn what_says_half_of_a_change_or_two_at_once_is_refused() {
    let endpoints = ["s=127.0.0.1:1"];
    let filter = |filter: &str| {
        http_route(
            "r",
            "default",
            &format!("{{rules: [{{filters: [{filter}], backendRefs: [{{name: s, port: 80}}]}}]}}"),
        )
    };
    let edit =
        |edit: &str| filter(&format!("{{type: RequestHeaderModifier, requestHeaderModifier: {{{edit}}}}}"));
    let path = |path: &str| filter(&format!("{{type: URLRewrite, urlRewrite: {{path: {{{path}}}}}}}"));
    let cors = |origin: &str| {
        virtual_service(
            "v",
            &format!(
                "{{hosts: [h], http: [{{route: [{{destination: {{host: s}}}}], corsPolicy: {{allowOrigins: [{{{origin}}}]}}}}]}}"
            ),
        )
    };
    let balancer = |balancer: &str| {
        format!(
            "{}{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: d}}, spec: {{host: s, trafficPolicy: \
             {{loadBalancer: {{{balancer}}}}}}}}}\n",
            to("s")
        )
    };
    let rows = [
        (edit("set: [{name: x}]"), "set[0].value: is missing"),
        (edit("add: [{value: x}]"), "add[0].name: is missing"),
        (path("type: ReplaceFullPath"), "path.replaceFullPath: is missing"),
        (
            path("type: ReplaceFullPath, replacePrefixMatch: /x"),
            "path.replacePrefixMatch: belongs to another type",
        ),
        (path("type: ReplacePrefixMatch, replaceFullPath: /x"), "path.replacePrefixMatch: is missing"),
        (path("replaceFullPath: /x"), "path.type: is missing"),
        (cors("exact: 'https://a', regex: '.*'"), "allowOrigins[0].regex: stands beside another test"),
        (balancer("simple: RANDOM, consistentHash: {useSourceIp: true}"), "useSourceIp: stands beside"),
        (
            balancer("consistentHash: {httpHeaderName: a, httpCookie: {name: b, ttl: 0s}}"),
            "httpCookie: stands beside",
        ),
        (balancer("consistentHash: {}"), "says not by what"),
    ];
    for (text, told) in rows {
        let said = refused(&text, &endpoints);
        assert!(said.contains(told), "{told}\n{said}");
    }
    // An empty value says something, and so does a key that is off.
    let config = accepted(&edit("set: [{name: x, value: ''}]"), &endpoints).config;
    assert_eq!(config.routes[0].request_headers.set, [("x".to_owned(), String::new())]);
    let config = accepted(&path("type: ReplacePrefixMatch, replacePrefixMatch: ''"), &endpoints).config;
    assert!(forward(&config, 0).rewrite.path.is_some());
    let _sound = accepted(&balancer("consistentHash: {httpHeaderName: a, useSourceIp: false}"), &endpoints);
}

#[test]
fn a_text_that_is_broken_is_told_with_what_follows_from_it() {
    for broken in ["a: [\n", "- a\nb: c\n", "a: b: c\n", "\"a\n"] {
        let said = refused(broken, &[]);
        assert!(said.contains("not YAML"), "{broken}: {said}");
        assert!(said.contains("the manifests have no route"), "{broken}: {said}");
    }
    // Another text beside it has one.
    let said = refused(&[&virtual_service("v", &format!("{{hosts: [h], {REPLY}}}")), "a: [\n"].concat(), &[]);
    assert!(said.contains("not YAML"), "{said}");
}

#[test]
fn versions_that_no_api_has_are_refused_of_every_kind() {
    let rows = [
        ("networking.istio.io", "v2", "DestinationRule"),
        ("networking.istio.io", "v1beta2", "ServiceEntry"),
        ("gateway.networking.k8s.io", "v9", "Gateway"),
        ("gateway.networking.k8s.io", "v1alpha9", "ReferenceGrant"),
        ("gateway.networking.k8s.io", "v1beta1", "BackendTLSPolicy"),
        ("gateway.networking.k8s.io", "", "GRPCRoute"),
    ];
    for (group, version, kind) in rows {
        let said = refused(
            &format!("apiVersion: {group}/{version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {{}}\n"),
            &[],
        );
        assert!(said.contains(&format!("apiVersion {version:?} is not known")), "{kind}: {said}");
    }
}

#[test]
fn the_port_of_a_redirect_is_the_requests_where_its_scheme_stays() {
    let text =
        |keys: &str| virtual_service("v", &format!("{{hosts: [h], http: [{{redirect: {{{keys}}}}}]}}"));
    for (keys, is_said) in [
        ("uri: /x, derivePort: FROM_REQUEST_PORT", true),
        ("scheme: https, derivePort: FROM_REQUEST_PORT", true),
        ("scheme: https, derivePort: FROM_PROTOCOL_DEFAULT", false),
        ("scheme: https", false),
    ] {
        let checked = accepted(&text(keys), &[]);
        assert_eq!(warnings(&checked).contains("derivePort: is ignored"), is_said, "{keys}");
        let Action::Redirect(redirect) = &checked.config.routes[0].action else { panic!("{keys}") };
        assert_eq!(redirect.port, None, "{keys}");
    }
    assert!(refused(&text("uri: /x, derivePort: FROM_NOWHERE"), &[]).contains("is not known"));
}

#[test]
fn listeners_for_other_pods_are_said_to_be_here_too() {
    let gateway = |name: &str, selector: &str| {
        format!(
            "{{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {{name: {name}}}, spec: {{{selector}servers: [{{port: {{number: 80, \
             name: http, protocol: HTTP}}, hosts: ['*']}}]}}}}\n---\n"
        )
    };
    let route = virtual_service("v", &format!("{{hosts: ['*'], gateways: [a, b], {REPLY}}}"));
    let warnings = |one: &str, other: &str| {
        let checked = accepted(&[gateway("a", one), gateway("b", other), route.clone()].concat(), &[]);
        let said = checked.warnings.iter().map(ToString::to_string);
        said.filter(|said| said.contains("for other pods")).collect::<Vec<_>>()
    };
    let (inward, outward) = ("selector: {istio: ingressgateway}, ", "selector: {istio: egressgateway}, ");
    assert_eq!(warnings(inward, inward), [] as [String; 0]);
    assert_eq!(warnings(inward, ""), [] as [String; 0]);
    let said = warnings(inward, outward);
    assert!(said.len() == 1 && said[0].contains("spec.selector"), "{said:?}");
}
