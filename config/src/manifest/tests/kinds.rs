//! Reports of users of such gateways, by kinds: not the example alone, but its neighbours too.

use super::*;
use crate::HostMatch;

pub(super) fn virtual_service(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: {name}}}, spec: {spec}}}\n---\n"
    )
}

pub(super) fn http_route(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: {name}, namespace: {namespace}}}, spec: {spec}}}\n---\n"
    )
}

pub(super) fn gateway(spec: &str) -> String {
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{name: gw, namespace: infra}}, spec: {spec}}}\n---\n"
    )
}

pub(super) fn hosts(config: &Config, route: usize) -> Vec<String> {
    config.routes[route].matches[0].hosts.iter().map(ToString::to_string).collect()
}

const REPLY: &str = "http: [{directResponse: {status: 200}}]";

#[test]
fn the_dot_of_the_root_names_the_same_host() {
    let rows = [
        ("shop.example.", "shop.example"),
        ("'*.example.com.'", "*.example.com"),
        ("'*-v2.example.com.'", "*-v2.example.com"),
        ("Shop.Example.", "shop.example"),
        ("localhost.", "localhost"),
    ];
    for (written, meant) in rows {
        let other = virtual_service("other", &format!("{{hosts: [o.example], {REPLY}}}"));
        let text =
            [virtual_service("v", &format!("{{hosts: [{written}], {REPLY}}}")), other.clone()].concat();
        let config = accepted(&text, &[]).config;
        assert!((0..2).any(|route| hosts(&config, route).contains(&meant.to_owned())), "{written}");
    }
    // The name of a service, as a host and as a destination.
    let route = "http: [{route: [{destination: {host: shop.default.svc.cluster.local., subset: v1}}]}]";
    let rule = "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: d}, spec: {host: shop.default.svc., subsets: [{name: v1}]}}";
    let text = [
        virtual_service("v", &format!("{{hosts: [shop.default.svc.cluster.local.], {route}}}")),
        rule.to_owned(),
    ];
    let config = accepted(&text.concat(), &["shop./v1=127.0.0.1:1"]).config;
    assert_eq!(hosts(&config, 0)[..2], ["shop", "shop.default"]);
    assert_eq!(config.upstreams[0].name, "shop/v1");
    // Written twice it is once.
    let twice = virtual_service("v", &format!("{{hosts: [a.example, a.example.], {REPLY}}}"));
    assert_eq!(hosts(&accepted(&twice, &[]).config, 0), ["a.example"]);
    let route = http_route("r", "default", "{hostnames: [a.example.], rules: [{}]}");
    assert_eq!(hosts(&accepted(&route, &[]).config, 0), ["a.example"]);
    for none in ["'.'", "a.example..", "'*..'"] {
        let _said = refused(&virtual_service("v", &format!("{{hosts: [{none}], {REPLY}}}")), &[]);
    }
    let toml = "[[route]]\nhost = \"A.example.\"\nreply = { status = 200 }\n";
    assert_eq!(
        crate::parse("t", toml).unwrap().config.routes[0].matches[0].hosts,
        [HostMatch::Exact("a.example".into())]
    );
}

#[test]
fn a_part_of_a_label_may_be_wild_at_its_left() {
    let text = virtual_service("v", &format!("{{hosts: ['*-foo.example.com'], {REPLY}}}"));
    let config = accepted(&text, &[]).config;
    assert_eq!(config.routes[0].matches[0].hosts, [HostMatch::Suffix("-foo.example.com".into())]);
    // The more specific first.
    let both = [
        virtual_service("wide", &format!("{{hosts: ['*.example.com'], {REPLY}}}")),
        virtual_service("narrow", &format!("{{hosts: ['*-foo.example.com'], {REPLY}}}")),
    ];
    assert_eq!(accepted(&both.concat(), &[]).config.routes[0].name, "narrow/http[0]");
    for bad in ["'*foo.example.com'", "'a-*.example.com'", "'*-'", "'*-foo.*.com'", "'*-foo..com'"] {
        let said = refused(&virtual_service("v", &format!("{{hosts: [{bad}], {REPLY}}}")), &[]);
        assert!(said.contains("spec.hosts[0]"), "{bad}: {said}");
    }
    // The Gateway API has no such host.
    assert!(
        refused(&http_route("r", "default", "{hostnames: ['*-a.example.com'], rules: [{}]}"), &[])
            .contains("part of a label")
    );
}

#[test]
fn a_route_for_a_service_takes_its_requests_only() {
    let route = |name: &str, parent: &str| {
        http_route(
            name,
            "default",
            &format!("{{parentRefs: [{parent}], rules: [{{backendRefs: [{{name: {name}-v1, port: 80}}]}}]}}"),
        )
    };
    let endpoints = ["a-v1=127.0.0.1:1", "b-v1=127.0.0.1:2"];
    let two =
        [route("a", "{kind: Service, name: a}"), route("b", "{group: '', kind: Service, name: b}")].concat();
    let checked = accepted(&two, &endpoints);
    assert_eq!(hosts(&checked.config, 0), ["a", "a.default", "a.default.svc", "a.default.svc.cluster.local"]);
    assert_eq!(hosts(&checked.config, 1), ["b", "b.default", "b.default.svc", "b.default.svc.cluster.local"]);
    // Alone it takes requests by address, as a VirtualService does.
    let alone = accepted(&route("a", "{group: core, kind: Service, name: a, port: 8080}"), &endpoints);
    assert!(hosts(&alone.config, 0).contains(&"[address]".to_owned()));
    assert!(
        warnings(&alone).contains("port: is ignored: no route is for another port"),
        "{}",
        warnings(&alone)
    );
    // Two ports of one service are told apart.
    let ports =
        [route("a", "{kind: Service, name: s, port: 80}"), route("b", "{kind: Service, name: s, port: 81}")];
    let checked = accepted(&ports.concat(), &endpoints);
    assert_eq!([0, 1].map(|route| checked.config.routes[route].matches[0].port), [Some(80), Some(81)]);
    // A parent that nothing is known of is not served, and reported.
    for parent in [
        "{kind: Service, name: a, namespace: elsewhere}",
        "{group: networking.istio.io, kind: ServiceEntry, name: a}",
        "{kind: Mesh, name: a}",
    ] {
        let text = [route("a", parent), route("b", "{kind: Service, name: b}")].concat();
        let checked = accepted(&text, &endpoints);
        assert_eq!(checked.config.routes.len(), 1, "{parent}");
        assert!(
            warnings(&checked).contains("HTTPRoute/a spec.hostnames: is skipped"),
            "{}",
            warnings(&checked)
        );
    }
    // Its hostnames do not count.
    let named = route("a", "{kind: Service, name: a}").replace("rules:", "hostnames: [x.example], rules:");
    let checked = accepted(&[named, route("b", "{kind: Service, name: b}")].concat(), &endpoints);
    assert!(!hosts(&checked.config, 0).contains(&"x.example".to_owned()));
    assert!(warnings(&checked).contains("hostnames: is ignored"), "{}", warnings(&checked));
}

#[test]
fn a_route_for_some_listeners_is_served_on_their_ports() {
    let all = "allowedRoutes: {namespaces: {from: All}}";
    let listeners = format!(
        "{{listeners: [{{name: a, port: 8081, protocol: HTTP, {all}}}, {{name: b, port: 8082, protocol: HTTP, {all}}}]}}"
    );
    let route = |parent: &str| {
        http_route(
            "r",
            "default",
            &format!("{{parentRefs: [{{name: gw, namespace: infra{parent}}}], rules: [{{}}]}}"),
        )
    };
    let ports = |text: &str| -> Vec<Option<u16>> {
        accepted(text, &[]).config.routes.iter().map(|route| route.matches[0].port).collect()
    };
    assert_eq!(ports(&[gateway(&listeners), route("")].concat()), [None]);
    assert_eq!(ports(&[gateway(&listeners), route(", sectionName: b")].concat()), [Some(8082)]);
    assert_eq!(ports(&[gateway(&listeners), route(", port: 8081")].concat()), [Some(8081)]);
}

#[test]
fn namespaces_are_crossed_with_permission_only() {
    let route = http_route(
        "r",
        "default",
        "{rules: [{backendRefs: [{name: s, namespace: other, port: 80}, {name: own, port: 80}], filters: [\
         {type: RequestMirror, requestMirror: {backendRef: {name: s, namespace: other, port: 80}}}]}]}",
    );
    let grant = |version: &str, namespace: &str, from: &str, to: &str| {
        format!(
            "{{apiVersion: gateway.networking.k8s.io/{version}, kind: ReferenceGrant, metadata: {{name: g, namespace: {namespace}}}, \
             spec: {{from: [{{group: gateway.networking.k8s.io, {from}}}], to: [{{group: '', {to}}}]}}}}\n---\n"
        )
    };
    let (from, to) = ("kind: HTTPRoute, namespace: default", "kind: Service");
    let rows = [
        (String::new(), false),
        (grant("v1beta1", "other", from, to), true),
        (grant("v1", "other", from, "kind: Service, name: s"), true),
        (grant("v1beta1", "other", from, "kind: Service, name: t"), false),
        (grant("v1beta1", "other", from, "kind: Secret"), false),
        (grant("v1beta1", "other", "kind: HTTPRoute, namespace: third", to), false),
        (grant("v1beta1", "other", "kind: GRPCRoute, namespace: default", to), false),
        // The grant is in the namespace of the referring object, not of the referred one.
        (grant("v1beta1", "default", from, to), false),
    ];
    for (grant, permitted) in rows {
        let checked =
            accepted(&[route.clone(), grant.clone()].concat(), &["s.other=127.0.0.1:1", "own=127.0.0.1:2"]);
        let primaries = checked.config.routes[0].primaries();
        assert_eq!(primaries[0].upstream.is_some(), permitted, "{grant}");
        assert!(primaries[1].upstream.is_some());
        assert_eq!(checked.config.routes[0].mirrors.len(), usize::from(permitted), "{grant}");
        assert_eq!(
            warnings(&checked).contains("no ReferenceGrant in namespace other"),
            !permitted,
            "{grant}"
        );
    }
}

#[test]
fn a_listener_says_whose_routes_it_takes() {
    let namespaces =
        "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: a, env: prod}}}\n---\n";
    let rows = [
        ("", false),
        ("allowedRoutes: {namespaces: {from: Same}}", false),
        ("allowedRoutes: {namespaces: {from: All}}", true),
        ("allowedRoutes: {namespaces: {from: All}, kinds: [{kind: GRPCRoute}]}", false),
        ("allowedRoutes: {namespaces: {from: All}, kinds: [{kind: HTTPRoute}]}", true),
        ("allowedRoutes: {namespaces: {from: All}, kinds: [{group: example.com, kind: HTTPRoute}]}", false),
        (
            "allowedRoutes: {namespaces: {from: All}, kinds: [{group: gateway.networking.k8s.io, kind: HTTPRoute}]}",
            true,
        ),
        ("allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: a}}}}", true),
        ("allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: b}}}}", false),
        (
            "allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {kubernetes.io/metadata.name: shop}}}}",
            true,
        ),
        (
            "allowedRoutes: {namespaces: {from: Selector, selector: {matchExpressions: [{key: env, operator: In, values: [test, prod]}]}}}",
            true,
        ),
        (
            "allowedRoutes: {namespaces: {from: Selector, selector: {matchExpressions: [{key: env, operator: NotIn, values: [prod]}]}}}",
            false,
        ),
        (
            "allowedRoutes: {namespaces: {from: Selector, selector: {matchExpressions: [{key: env, operator: DoesNotExist}]}}}",
            false,
        ),
    ];
    for (allowed, taken) in rows {
        let gateway = gateway(&format!("{{listeners: [{{name: l, port: 80, protocol: HTTP, {allowed}}}]}}"));
        let parents = "{parentRefs: [{name: gw, namespace: infra}], rules: [{}]}";
        let other = virtual_service("other", &format!("{{hosts: [o.example], {REPLY}}}"));
        let text = [gateway, http_route("r", "shop", parents), other, namespaces.to_owned()].concat();
        let checked = accepted(&text, &[]);
        let served = checked.config.routes.iter().any(|route| route.name.starts_with("r/"));
        assert_eq!(served, taken, "{allowed}\n{}", warnings(&checked));
        assert_eq!(warnings(&checked).contains("(allowedRoutes)"), !taken, "{allowed}");
    }
}

#[test]
fn values_of_istios_headers_are_a_language() {
    let text = |value: &str| {
        let set = format!("{{headers: {{request: {{set: {{x-p: {value:?}}}}}}}");
        virtual_service(
            "v",
            &format!("{{hosts: [h], http: [{set}, route: [{{destination: {{host: s}}}}]}}]}}"),
        )
    };
    for (written, meant) in [("100%%", "100%"), ("%%%%", "%%"), ("plain", "plain"), ("a %%b%% c", "a %b% c")]
    {
        let config = accepted(&text(written), &["s=127.0.0.1:1"]).config;
        assert_eq!(config.routes[0].request_headers.set, [("x-p".to_owned(), meant.to_owned())], "{written}");
    }
    // Where a request has a say the value is put together for each.
    let config =
        accepted(&text("%DOWNSTREAM_REMOTE_ADDRESS% and %REQ(x-user?:authority)%"), &["s=127.0.0.1:1"])
            .config;
    let [(name, format)] = config.routes[0].request_headers.set_format.as_slice() else { panic!() };
    assert_eq!((name.as_str(), format.parts.len()), ("x-p", 3));
    let answer = text("%PROTOCOL%").replace("request:", "response:");
    let said = refused(&answer, &["s=127.0.0.1:1"]);
    assert!(
        said.contains("headers.response.set.x-p: has an operator, which is offered for requests"),
        "{said}"
    );
    for operator in ["%NONSENSE%", "%REQ(x", "50% off", "%%%", "%"] {
        let said = refused(&text(operator), &["s=127.0.0.1:1"]);
        assert!(
            said.contains("m.yaml:1: VirtualService/v spec.http[0].headers.request.set.x-p: "),
            "{operator}: {said}"
        );
        assert!(said.contains("write %% for a percent sign"), "{operator}: {said}");
    }
    // The Gateway API's values are literal.
    let filter =
        "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-p, value: '100%% %A%'}]}}";
    let route = http_route(
        "r",
        "default",
        &format!("{{rules: [{{filters: [{filter}], backendRefs: [{{name: s, port: 80}}]}}]}}"),
    );
    let config = accepted(&route, &["s=127.0.0.1:1"]).config;
    assert_eq!(config.routes[0].request_headers.set[0].1, "100%% %A%");
}

#[test]
fn a_protocol_that_is_not_spoken_is_an_error_where_it_is_written() {
    let to = |host: &str| {
        virtual_service(
            "v",
            &format!("{{hosts: [h], http: [{{route: [{{destination: {{host: {host}}}}}]}}]}}"),
        )
    };
    let entry = |port: &str| {
        format!(
            "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: e}}, spec: {{hosts: [e.example], \
             resolution: STATIC, endpoints: [{{address: 127.0.0.1}}], ports: [{{number: 80, {port}}}]}}}}\n"
        )
    };
    let service = |port: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: s}}, spec: {{ports: [{{port: 80, {port}}}], selector: {{app: s}}}}}}\n"
        )
    };
    for word in ["TCP", "Foo", "MONGO", "HTTP_PROXY"] {
        let said = refused(&[to("e.example"), entry(&format!("name: p, protocol: {word}"))].concat(), &[]);
        assert!(said.contains("m.yaml:3: ServiceEntry/e spec.ports[0].protocol: "), "{said}");
        assert!(said.contains(&format!("{word:?}")), "{said}");
    }
    for word in ["tcp", "redis", "example.com/own"] {
        let said = refused(&[to("s"), service(&format!("appProtocol: {word}"))].concat(), &["s=127.0.0.1:1"]);
        assert!(said.contains("m.yaml:3: Service/s spec.ports[0].appProtocol: "), "{said}");
    }
    for name in ["tcp", "tcp-x", "mysql-api"] {
        let said = refused(&[to("s"), service(&format!("name: {name}"))].concat(), &["s=127.0.0.1:1"]);
        assert!(said.contains("m.yaml:3: Service/s spec.ports[0].name: "), "{said}");
        // The Gateway API reads no protocol from names.
        let route = http_route("r", "default", "{rules: [{backendRefs: [{name: s, port: 80}]}]}");
        let _served = accepted(&[route, service(&format!("name: {name}"))].concat(), &["s=127.0.0.1:1"]);
    }
    for port in
        ["name: http-api", "name: web", "protocol: TCP", "name: grpc, appProtocol: http", "name: httpsx"]
    {
        let _served = accepted(&[to("s"), service(port)].concat(), &["s=127.0.0.1:1"]);
    }
    let _served = accepted(&[to("e.example"), entry("name: p, protocol: HTTP")].concat(), &[]);
    // HTTP/2 is spoken, in plaintext unless a policy says otherwise; WebSocket is HTTP/1.1.
    let protocol = |text: &[String], endpoints: &[&str]| {
        let config = accepted(&text.concat(), endpoints).config;
        (config.upstreams[0].protocol, config.upstreams[0].tls.is_some())
    };
    let (h1, h2) = (crate::UpstreamProtocol::Http1, crate::UpstreamProtocol::Http2);
    for word in ["GRPC", "HTTP2", "grpc-web"] {
        let entry = entry(&format!("name: p, protocol: {word}"));
        assert_eq!(protocol(&[to("e.example"), entry], &[]), (h2, false), "{word}");
    }
    for (port, spoken, secured) in [
        ("appProtocol: kubernetes.io/h2c", h2, false),
        ("appProtocol: grpc", h2, false),
        ("appProtocol: http2", h2, false),
        ("name: grpc", h2, false),
        ("name: grpc-web-x", h2, false),
        ("name: http2-api", h2, false),
        ("name: GRPC-Api", h2, false),
        ("name: grpcs", h1, false),
        ("appProtocol: kubernetes.io/ws", h1, false),
        ("appProtocol: kubernetes.io/wss", h1, true),
        ("name: grpc, appProtocol: http", h1, false),
    ] {
        assert_eq!(protocol(&[to("s"), service(port)], &["s=127.0.0.1:1"]), (spoken, secured), "{port}");
    }
    // Ports that are spoken to otherwise are told apart, though their addresses are the same.
    let both = service("name: http}, {port: 81, name: grpc-api");
    let route = |port: u64| {
        virtual_service(
            "v",
            &format!(
                "{{hosts: [h{port}], http: [{{route: [{{destination: {{host: s, port: {{number: {port}}}}}}}]}}]}}"
            ),
        )
    };
    let config = accepted(&[route(80), route(81), both].concat(), &["s=127.0.0.1:1"]).config;
    assert_eq!(config.upstreams.iter().map(|one| one.protocol).collect::<Vec<_>>(), [h1, h2]);
    // A policy upgrades a port without a protocol, and no other.
    for (policy, spoken) in [("UPGRADE", h2), ("DO_NOT_UPGRADE", h1), ("DEFAULT", h1)] {
        let rule = format!(
            "{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: s}}, spec: {{host: s, trafficPolicy: \
             {{connectionPool: {{http: {{h2UpgradePolicy: {policy}, useClientProtocol: true}}}}}}}}}}\n"
        );
        let all = [to("s"), service("name: http"), "---\n".to_owned(), rule].concat();
        let checked = accepted(&all, &["s=127.0.0.1:1"]);
        assert_eq!(checked.config.upstreams[0].protocol, spoken, "{policy}");
        assert!(
            warnings(&checked).contains("useClientProtocol: is ignored: HTTP/"),
            "{}",
            warnings(&checked)
        );
        let unknown = refused(&all.replace(policy, "PERHAPS"), &["s=127.0.0.1:1"]);
        assert!(unknown.contains("must be DEFAULT, DO_NOT_UPGRADE or UPGRADE"), "{unknown}");
    }
    // HTTPS is called over TLS.
    for text in [
        [to("e.example"), entry("name: p, protocol: HTTPS")],
        [to("e.example"), entry("name: p, protocol: TLS")],
        [to("s"), service("appProtocol: https")],
        [to("s"), service("name: https-api")],
    ] {
        let endpoints: &[&str] = if text[1].contains("kind: Service,") { &["s=127.0.0.1:1"] } else { &[] };
        let config = accepted(&text.concat(), endpoints).config;
        assert!(config.upstreams[0].tls.is_some(), "{text:?}");
    }
    // A service that is not asked may speak any protocol, and so may another port.
    let _served = accepted(&[to("t"), service("appProtocol: redis")].concat(), &["t=127.0.0.1:1"]);
    let two = service("appProtocol: redis}, {port: 81, name: http");
    let route = http_route("r", "default", "{rules: [{backendRefs: [{name: s, port: 81}]}]}");
    let _served = accepted(&[route, two].concat(), &["s=127.0.0.1:1"]);
}

#[test]
fn a_directory_may_hold_what_cannot_matter() {
    let directory = tempfile::tempdir().unwrap();
    let files = [
        ("kustomization.yaml", "resources: [a.yaml]\n"),
        ("Chart.yaml", "apiVersion: v2\nname: c\nversion: 0.1.0\n"),
        ("values.yaml", "replicas: 1\nimage: {tag: x}\n"),
        ("list.yaml", "- a\n- b\n"),
        ("job.yaml", "apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: j-}\nspec: {}\n"),
        ("compose.yml", "x: &x {a: 1}\nservices: {a: {<<: *x}, b: !reset null}\n? [odd]\n: key\n"),
        ("twice.yaml", "a: 1\na: 2\n"),
        ("template.yaml", "a: {{ .Values.x }}\n  - b: [\n"),
        ("package.json", "{\"name\": \"x\"}\n"),
        ("envoyfilter.yaml", "apiVersion: networking.istio.io/v2\nkind: EnvoyFilter\nmetadata: {name: e}\n"),
    ];
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    std::fs::write(directory.path().join("latin.yaml"), b"name: caf\xe9\n").unwrap();
    let good = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec: {hosts: [h], http: [{directResponse: {status: 200}}]}\n";
    std::fs::write(directory.path().join("v.yaml"), good).unwrap();
    let manifests = Manifests { paths: vec![directory.path().to_owned()], ..Manifests::default() };
    let checked = load(&manifests).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(checked.config.routes.len(), 1);
    let said = warnings(&checked);
    for (name, _) in files {
        assert!(
            said.lines().any(|line| line.contains(name) && line.contains("is skipped: ")),
            "{name}\n{said}"
        );
    }
    assert!(said.contains("latin.yaml: is skipped: it is not UTF-8"), "{said}");
    // A document that may matter is refused as ever: ours misspelt, ours with an alias, ours cut in half.
    let rows = [
        (
            "apiVersion: networking.istio.io/v1\nkid: VirtualService\nmetadata: {name: v}\n",
            "apiVersion and kind are missing",
        ),
        ("kind: HTTPRoute\nmetadata: {name: v}\n", "apiVersion and kind are missing"),
        (
            "apiversion: x\nKind: VirtualService\nmetadata: {name: v}\nspec: {}\n",
            "apiVersion and kind are missing",
        ),
        (
            "apiVersion: networking.istio.io/v9\nkind: VirtualService\nmetadata: {name: v}\nspec: {}\n",
            "\"v9\" is not known",
        ),
        (
            "apiVersion: gateway.networking.k8s.io/v9\nkind: HTTPRoute\nmetadata: {name: v}\nspec: {}\n",
            "\"v9\" is not known",
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: &x v}\nspec: {hosts: *x}\n",
            "spec.hosts: is an alias",
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec: {hosts: [\n",
            "not YAML",
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {generateName: v}\nspec: {}\n",
            "metadata.name is missing",
        ),
    ];
    for (text, told) in rows {
        std::fs::write(directory.path().join("x.yaml"), text).unwrap();
        let problems = load(&manifests).unwrap_err();
        assert!(problems.iter().any(|p| p.to_string().contains(told)), "{told}\n{problems:#?}");
    }
}

#[test]
fn what_vanishes_beside_a_redirect_is_refused_or_said() {
    let endpoints = ["s=127.0.0.1:1"];
    let text = |fields: &str| virtual_service("v", &format!("{{hosts: [h], http: [{{{fields}}}]}}"));
    let route = "route: [{destination: {host: s}}]";
    let answers = ["redirect: {uri: /x}", "directResponse: {status: 200}"];
    for answer in answers {
        for (name, field) in [("route", route), ("rewrite", "rewrite: {uri: /y}")] {
            let said = refused(&text(&format!("{answer}, {field}")), &endpoints);
            assert!(said.contains(&format!("spec.http[0].{name}: {name} and ")), "{answer} {field}: {said}");
        }
        let ignored = [
            "mirror: {host: s}",
            "mirrors: [{destination: {host: s}}]",
            "mirrorPercentage: {value: 5}",
            "timeout: 5s",
            "retries: {attempts: 2}",
            "headers: {request: {set: {a: b}}}",
        ];
        for field in ignored {
            let checked = accepted(&text(&format!("{answer}, {field}")), &[]);
            assert!(
                warnings(&checked).contains("is ignored: nothing is forwarded"),
                "{answer} {field}: {}",
                warnings(&checked)
            );
        }
    }
    assert!(
        refused(&text("redirect: {uri: /x}, directResponse: {status: 200}"), &[])
            .contains("cannot be given together")
    );
    // A share of a mirror that is not there.
    for field in [
        "mirrorPercentage: {value: 5}",
        "mirrorPercent: 5",
        "mirrors: [{destination: {host: s}}], mirrorPercent: 5",
    ] {
        let checked = accepted(&text(&format!("{route}, {field}")), &endpoints);
        assert!(warnings(&checked).contains("is the share of mirror, which is not given"), "{field}");
    }
    // An HTTPRoute's rule.
    let rule = |filter: &str, rest: &str| {
        http_route(
            "r",
            "default",
            &format!(
                "{{rules: [{{filters: [{{type: RequestRedirect, requestRedirect: {{hostname: x}}}}{filter}]{rest}}}]}}"
            ),
        )
    };
    let rows = [
        (
            ", {type: RequestMirror, requestMirror: {backendRef: {name: s, port: 80}}}",
            "",
            "requestMirror: is ignored",
        ),
        (
            ", {type: RequestHeaderModifier, requestHeaderModifier: {remove: [a]}}",
            "",
            "requestHeaderModifier: is ignored",
        ),
        ("", ", timeouts: {request: 5s}", "timeouts: is ignored"),
        ("", ", retry: {attempts: 2}", "retry: is ignored"),
        ("", ", backendRefs: [{name: s, port: 80}]", "backendRefs: is ignored"),
    ];
    for (filter, rest, told) in rows {
        let checked = accepted(&rule(filter, rest), &endpoints);
        assert!(warnings(&checked).contains(told), "{told}: {}", warnings(&checked));
    }
    // A mirror on a rule without a backend to forward to.
    for backends in ["", ", backendRefs: [{name: s, port: 80, weight: 0}]"] {
        let text = http_route(
            "r",
            "default",
            &format!(
                "{{rules: [{{filters: [{{type: RequestMirror, requestMirror: {{backendRef: {{name: s, port: 80}}}}}}]{backends}, timeouts: {{request: 5s}}}}]}}"
            ),
        );
        let said = warnings(&accepted(&text, &endpoints));
        assert!(
            said.contains("requestMirror: is ignored") && said.contains("timeouts: is ignored"),
            "{said}"
        );
    }
}

#[test]
fn fields_that_the_api_has_are_never_unknown() {
    let rule = |policy: &str| {
        let service = virtual_service("v", "{hosts: [h], http: [{route: [{destination: {host: s}}]}]}");
        format!(
            "{service}{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: d}}, spec: {{host: s, trafficPolicy: {{{policy}}}}}}}"
        )
    };
    let ignored = [
        "retryBudget: {percent: 20}",
        "connectionPool: {http: {http2KeepAlive: {interval: 5s}}}",
        "connectionPool: {http: {maxConcurrentStreams: 5}}",
        "loadBalancer: {zoneAwareLbSetting: {enabled: true}}",
        "loadBalancer: {backendUtilization: {}}",
        "loadBalancer: {warmup: {duration: 5s}}",
        "outlierDetection: {outlierDetectionHttpErrorCodes: [429]}",
    ];
    for policy in ignored {
        let checked = accepted(&rule(policy), &["s=127.0.0.1:1"]);
        assert!(
            warnings(&checked).contains("is ignored: it has no effect here"),
            "{policy}: {}",
            warnings(&checked)
        );
    }
    // Of a server's TLS.
    let server = |key: &str| {
        format!(
            "{{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {{name: g}}, spec: {{servers: [{{port: {{number: 443, name: https, protocol: HTTPS}}, \
             hosts: ['*'], tls: {{mode: MUTUAL, serverCertificate: /c, privateKey: /k, {key}}}}}]}}}}\n---\n{}",
            virtual_service("v", &format!("{{hosts: [h], gateways: [g], {REPLY}}}"))
        )
    };
    let said = refused(&server("caCertCredentialName: ca"), &[]);
    assert!(said.contains("caCertCredentialName: no ca.crt of a Secret default/ca is known"), "{said}");
    let said = refused(&server("caCertificates: /ca, insecureSkipVerify: true"), &[]);
    assert!(said.contains("insecureSkipVerify: is not offered"), "{said}");
    // This one has its effect.
    let text = "{hosts: [h], http: [{match: [{uri: {prefix: /a}}], redirect: {prefixRewrite: /b}}]}";
    let config = accepted(&virtual_service("v", text), &[]).config;
    let Action::Redirect(redirect) = &config.routes[0].action else { panic!() };
    assert_eq!(redirect.path, Some(crate::PathRewrite::Matched("/b".into())));
    let text = "{hosts: [h], http: [{redirect: {prefixRewrite: /b, uri: /c}}]}";
    assert!(refused(&virtual_service("v", text), &[]).contains("can be replaced, not both"));
}

#[test]
fn delegates_stand_in_the_place_of_their_roots_routes() {
    let root = |matches: &str, rest: &str| {
        virtual_service(
            "root",
            &format!(
                "{{hosts: [h], http: [{{name: r, match: [{matches}], delegate: {{name: child, namespace: team}}{rest}}}, {{route: [{{destination: {{host: last}}}}]}}]}}"
            ),
        )
    };
    let child = |http: &str| {
        virtual_service("child", &format!("{{http: [{http}]}}"))
            .replace("{name: child}", "{name: child, namespace: team}")
    };
    let endpoints = ["last=127.0.0.1:1", "s.team=127.0.0.1:2", "m=127.0.0.1:3"];
    let to_s = "route: [{destination: {host: s}}]";
    // The root's match, the delegate's, and both together.
    let rows = [
        ("{uri: {prefix: /a}}", "", "/a*"),
        ("{uri: {prefix: /a}}", "match: [{uri: {prefix: /a/b}}], ", "/a/b*"),
        ("{uri: {prefix: /a}}", "match: [{uri: {exact: /a/b}}], ", "/a/b"),
        ("{uri: {prefix: /a}}", "match: [{headers: {x: {exact: '1'}}}], ", "/a* if header x = \"1\""),
        ("{headers: {x: {exact: '1'}}}", "match: [{uri: {prefix: /b}}], ", "/b* if header x = \"1\""),
        ("{method: {exact: GET}, uri: {prefix: /}}", "match: [{uri: {prefix: /b}}], ", "/b*"),
    ];
    for (matches, own, both) in rows {
        let checked = accepted(&[root(matches, ""), child(&format!("{{{own}{to_s}}}"))].concat(), &endpoints);
        let config = &checked.config;
        assert_eq!(config.routes.len(), 2, "{matches} {own}");
        assert!(config.routes[0].matches[0].to_string().ends_with(both), "{}", config.routes[0].matches[0]);
        let methods: &[&str] = if matches.contains("GET") { &["GET"] } else { &[] };
        assert_eq!(config.routes[0].matches[0].methods, methods);
        // Its services are those of its own namespace.
        let upstream = config.routes[0].primaries()[0].upstream.unwrap();
        assert_eq!(config.upstreams[upstream].endpoints[0].to_string(), "127.0.0.1:2");
    }
    // A match outside of the root's is left out, and reported.
    for own in ["{uri: {prefix: /b}}", "{uri: {regex: '/a.*'}}", "{method: {exact: PUT}, uri: {prefix: /a}}"]
    {
        let matches = "{uri: {prefix: /a}, method: {exact: GET}}";
        let text = [root(matches, ""), child(&format!("{{match: [{own}], {to_s}}}"))].concat();
        let checked = accepted(&text, &endpoints);
        assert_eq!(checked.config.routes.len(), 1, "{own}");
        assert!(warnings(&checked).contains("is left out: no match"), "{}", warnings(&checked));
    }
    // The root's own fields are for those of its delegate's routes that have none.
    let text = [
        root("{uri: {prefix: /a}}", ", timeout: 5s, mirror: {host: m}"),
        child(&format!("{{{to_s}}}, {{{to_s}, timeout: 1s}}")),
    ];
    let config = accepted(&text.concat(), &endpoints).config;
    assert_eq!([0, 1].map(|n| forward(&config, n).timeout.unwrap().as_secs()), [5, 1]);
    assert_eq!(config.routes[0].mirrors[0].name, "m");
    // Combinations that cannot be meant.
    let rows = [
        (
            root("{uri: {prefix: /a}}", &format!(", {to_s}")),
            child(&format!("{{{to_s}}}")),
            "route and delegate cannot be given together",
        ),
        (
            root("{uri: {prefix: /a}}", ", redirect: {uri: /x}"),
            child(&format!("{{{to_s}}}")),
            "redirect and delegate cannot be given together",
        ),
        (root("{uri: {prefix: /a}}", ""), child("{delegate: {name: other}}"), "cannot delegate itself"),
        (
            root("{uri: {prefix: /a}}", ""),
            String::new(),
            "no VirtualService team/child without hosts is known; give it with --manifest",
        ),
        (child(&format!("{{{to_s}}}")), String::new(), "spec.hosts: is missing"),
    ];
    for (one, other, told) in rows {
        let said = refused(&[one, other].concat(), &endpoints);
        assert!(said.contains(told), "{told}: {said}");
    }
}
