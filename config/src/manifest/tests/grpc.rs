//! GRPCRoute: every field, one row each; then the holder of a host that both kinds of route want.

use super::*;
use crate::{PathMatch, Pattern, Subject, UpstreamProtocol};

const TO: [&str; 3] = ["v1=127.0.0.1:8001", "v2=127.0.0.1:8002", "v3=127.0.0.1:8003"];
const BACKEND: &str = "backendRefs: [{name: v1, port: 80}]";

fn grpc_route(name: &str, hostnames: &str, rules: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {{name: {name}}}\nspec:\n  parentRefs: [{{name: g}}]\n  \
         hostnames: {hostnames}\n  rules: {rules}\n---\n"
    )
}

fn http_route(name: &str, hostnames: &str, rules: &str) -> String {
    grpc_route(name, hostnames, rules).replace("kind: GRPCRoute", "kind: HTTPRoute")
}

fn whole(text: &str) -> PathMatch {
    PathMatch::Regex(Pattern::whole(text).unwrap())
}

#[test]
fn a_call_is_matched_by_its_service_and_method() {
    let rows = [
        ("matches: [{method: {service: a.B, method: C}}]", PathMatch::Exact("/a.B/C".into())),
        ("matches: [{method: {type: Exact, service: a.B, method: C}}]", PathMatch::Exact("/a.B/C".into())),
        ("matches: [{method: {service: a.B}}]", PathMatch::Elements("/a.B".into())),
        ("matches: [{method: {method: C}}]", whole("/[^/]+/C")),
        ("matches: [{method: {type: RegularExpression, service: 'a|b'}}]", whole("/(?:a|b)/[^/]+")),
        ("matches: [{method: {type: RegularExpression, method: 'Get.*'}}]", whole("/[^/]+/(?:Get.*)")),
        (
            "matches: [{method: {type: RegularExpression, service: a, method: 'b|c'}}]",
            whole("/(?:a)/(?:b|c)"),
        ),
        ("matches: [{headers: [{name: x, value: y}]}]", PathMatch::Elements(String::new())),
        ("matches: []", PathMatch::Elements(String::new())),
    ];
    for (yaml, path) in rows {
        let config = accepted(&grpc_route("r", "[]", &format!("[{{{yaml}, {BACKEND}}}]")), &TO).config;
        assert_eq!(config.routes[0].matches[0].path, path, "{yaml}");
        assert_eq!(config.upstreams[0].protocol, UpstreamProtocol::Http2, "a call is HTTP/2");
        assert!(config.listeners[0].protocols.http2 && config.listeners[0].protocols.http1);
    }
    // Alternatives are one part of a call, whole.
    let either = "matches: [{method: {type: RegularExpression, service: 'a|b', method: '(?i)c|d'}}]";
    let config = accepted(&grpc_route("r", "[]", &format!("[{{{either}, {BACKEND}}}]")), &TO).config;
    let PathMatch::Regex(pattern) = &config.routes[0].matches[0].path else { panic!("{config:?}") };
    let rows =
        [("/a/c", true), ("/b/D", true), ("/a", false), ("/d", false), ("/xa/c", false), ("/A/c", false)];
    for (path, holds) in rows {
        assert_eq!(pattern.regex().is_match(path.as_bytes()), holds, "{path}");
    }
    let config = accepted(
        &grpc_route(
            "r",
            "[]",
            "[{matches: [{headers: [{name: X-A, value: b}, {name: y, type: RegularExpression, value: c+}]}], filters: [\
             {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-B, value: c}]}}, \
             {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [server]}}, \
             {type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 80}, percent: 20}}, \
             {type: RequestMirror, requestMirror: {backendRef: {name: v3, port: 80}, fraction: {numerator: 1, denominator: 4}}}], \
             backendRefs: [{name: v1, port: 80, weight: 3}, {name: v2, port: 80}]}]",
        ),
        &TO,
    )
    .config;
    let route = &config.routes[0];
    assert_eq!(route.matches[0].when[0].subject, Subject::Header("x-a".into()));
    assert_eq!(route.request_headers.set, [("x-b".to_owned(), "c".to_owned())]);
    assert_eq!(route.response_headers.remove, ["server"]);
    assert_eq!(
        route.mirrors.iter().map(|one| one.percent).collect::<Vec<_>>(),
        [percent(20.0), percent(25.0)]
    );
    assert_eq!(route.primaries().iter().map(|one| one.weight).collect::<Vec<_>>(), [3, 1]);
    // Copies are calls too.
    assert!(config.upstreams.iter().all(|one| one.protocol == UpstreamProtocol::Http2));
}

#[test]
fn what_says_most_of_a_call_is_looked_at_first() {
    let one = |matches: &str| format!("{{name: \"{matches}\", matches: [{matches}], {BACKEND}}}");
    let order = [
        "{method: {service: longer.Service}}",
        "{method: {service: a.B, method: Call}}",
        "{method: {service: a.B, method: C}}",
        "{method: {service: a.B}, headers: [{name: x, value: y}]}",
        "{method: {service: a.B}}",
        "{method: {method: Call}}",
        "{headers: [{name: x, value: y}]}",
    ];
    let mut backwards: Vec<String> = order.iter().map(|matches| one(matches)).collect();
    backwards.reverse();
    let config = accepted(&grpc_route("r", "[]", &format!("[{}]", backwards.join(", "))), &TO).config;
    let names: Vec<&str> = config.routes.iter().map(|route| route.name.trim_start_matches("r/")).collect();
    assert_eq!(names, order);
}

#[test]
fn what_a_call_cannot_have_is_refused_where_it_stands() {
    let rows = [
        ("matches: [{method: {}}]", "matches[0].method: names neither a service nor a method"),
        ("matches: [{method: {service: a/b}}]", "method.service: \"a/b\" is no name of a service or method"),
        ("matches: [{method: {type: Glob, service: a}}]", "must be Exact or RegularExpression"),
        ("matches: [{method: {type: RegularExpression, service: '('}}]", "is not a regular expression"),
        // A pattern that closes the group around it would match calls of others.
        (
            "matches: [{method: {type: RegularExpression, service: 'a)|(?:b'}}]",
            "matches[0].method.service: \"a)|(?:b\" is not a regular expression",
        ),
        (
            "matches: [{method: {type: RegularExpression, service: a, method: 'b)|/(?:c/d'}}]",
            "matches[0].method.method: \"b)|/(?:c/d\" is not a regular expression",
        ),
        ("matches: [{method: {type: RegularExpression, method: 'b\\'}}]", "is not a regular expression"),
        ("matches: [{path: {value: /}}]", "matches[0].path: unknown key"),
        ("timeouts: {}", "timeouts: unknown key"),
        ("sessionPersistence: {}", "sessionPersistence: is not supported"),
        (
            "filters: [{type: URLRewrite, urlRewrite: {hostname: a}}]",
            "\"URLRewrite\" is not offered for a GRPCRoute",
        ),
        ("filters: [{type: RequestRedirect, requestRedirect: {}}]", "is not offered for a GRPCRoute"),
        ("filters: [{type: ExtensionRef, extensionRef: {}}]", "extensionRef: is not supported"),
    ];
    for (yaml, told) in rows {
        let said = refused(&grpc_route("r", "[]", &format!("[{{{yaml}, {BACKEND}}}]")), &TO);
        assert!(said.contains(told) && said.contains("GRPCRoute/r spec.rules[0]"), "{yaml}\n{said}");
    }
    // A port of WebSocket takes no calls.
    let service = "{apiVersion: v1, kind: Service, metadata: {name: v1}, spec: {ports: [{port: 80, appProtocol: kubernetes.io/ws}]}}\n---\n";
    let said = refused(&[&grpc_route("r", "[]", &format!("[{{{BACKEND}}}]")), service].concat(), &TO);
    assert!(
        said.contains("Service/v1 spec.ports[0].appProtocol: \"kubernetes.io/ws\" carries no gRPC calls"),
        "{said}"
    );
}

#[test]
fn calls_without_a_backend_are_answered_as_such_and_no_other_route_takes_them() {
    for rule in
        ["{}", "{backendRefs: [{name: gone, port: 80}]}", "{backendRefs: [{name: v1, port: 80, weight: 0}]}"]
    {
        let checked = accepted(&grpc_route("r", "[]", &format!("[{rule}]")), &TO[..1]);
        assert!(warnings(&checked).contains("answered UNAVAILABLE"), "{}", warnings(&checked));
        assert_eq!(checked.config.routes[0].primaries()[0].upstream, None, "{rule}");
    }
}

#[test]
fn a_service_that_both_kinds_ask_is_asked_by_each_in_its_own_protocol() {
    let rules = format!("[{{{BACKEND}}}]");
    let both = [http_route("h", "[h.test]", &rules), grpc_route("g", "[g.test]", &rules)].concat();
    let config = accepted(&both, &TO[..1]).config;
    let upstreams: Vec<_> = config.upstreams.iter().map(|one| (one.name.as_str(), one.protocol)).collect();
    assert_eq!(upstreams, [("v1", UpstreamProtocol::Http1), ("v1+h2", UpstreamProtocol::Http2)]);
    // A Service that declares HTTP/2 is called so by both.
    let service = "{apiVersion: v1, kind: Service, metadata: {name: v1}, spec: {ports: [{port: 80, appProtocol: kubernetes.io/h2c}]}}\n---\n";
    let config = accepted(&[both, service.to_owned()].concat(), &TO[..1]).config;
    assert_eq!(config.upstreams.len(), 1);
}

#[test]
fn of_two_kinds_that_want_a_host_of_one_listener_the_older_route_has_it() {
    let gateway = "{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: g}, spec: {gatewayClassName: x, \
                   listeners: [{name: a, port: 8081, protocol: HTTP}, {name: b, port: 8082, protocol: HTTP}]}}\n---\n";
    let rules = format!("[{{{BACKEND}}}]");
    let aged = |text: String, day: u32| {
        text.replace("metadata: {", &format!("metadata: {{creationTimestamp: '2026-01-0{day}T00:00:00Z', "))
    };
    // Hosts of the HTTPRoute and of the GRPCRoute, which is the younger one; whether it is served.
    let rows = [
        ("[a.test]", "[a.test]", false),
        ("[a.test]", "[b.test]", true),
        ("['*.test']", "[b.a.test]", false),
        ("[b.a.test]", "['*.test']", false),
        ("[]", "[b.test]", false),
        ("[a.test]", "[]", false),
        ("[a.test, b.test]", "[c.test, b.test]", false),
    ];
    for gateway in [gateway, ""] {
        for (of_http, of_grpc, served) in rows {
            for (http, grpc) in [(1, 2), (2, 1)] {
                let routes = [
                    aged(http_route("h", of_http, &rules), http),
                    aged(grpc_route("r", of_grpc, &rules), grpc),
                ];
                let checked = accepted(&[gateway, &routes.concat()].concat(), &TO);
                let younger = if grpc > http { "r/" } else { "h/" };
                let is_served = checked.config.routes.iter().any(|route| route.name.starts_with(younger));
                assert_eq!(is_served, served, "{of_http} {of_grpc}\n{}", warnings(&checked));
                assert_eq!(warnings(&checked).contains("which is older"), !served, "{}", warnings(&checked));
            }
        }
    }
    // Another listener does not conflict, and a route that is refused itself takes no host.
    let at = |text: String, section: &str| {
        text.replace("{name: g}", &format!("{{name: g, sectionName: {section}}}"))
    };
    let text = [
        gateway.to_owned(),
        at(http_route("h", "[a.test]", &rules), "a"),
        at(grpc_route("r", "[a.test]", &rules), "b"),
    ];
    let config = accepted(&text.concat(), &TO).config;
    let ports: Vec<_> = config.routes.iter().map(|route| route.matches[0].port).collect();
    assert_eq!(ports, [Some(8081), Some(8082)]);
}
