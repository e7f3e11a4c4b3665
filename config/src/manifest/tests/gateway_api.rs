//! The Gateway API: every field, one row each; then the traps.

use std::time::Duration;

use super::*;
use crate::{HostMatch, PathMatch, PathRewrite, RetryOn, Subject, Test};

const TO: [&str; 3] = ["v1=127.0.0.1:8001", "v2=127.0.0.1:8002", "v3=127.0.0.1:8003"];

/// An HTTPRoute with these rules, written in YAML's flow style or indented by two.
fn http_route(name: &str, hostnames: &str, rules: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\nspec:\n  parentRefs: [{{name: g}}]\n  \
         hostnames: {hostnames}\n  rules: {rules}\n---\n"
    )
}

const BACKEND: &str = "backendRefs: [{name: v1, port: 80}]";

#[track_caller]
fn rule(keys: &str) -> crate::Route {
    let mut config = accepted(&http_route("r", "[]", &format!("[{{{keys}, {BACKEND}}}]")), &TO).config;
    config.routes.remove(0)
}

fn of(route: crate::Route) -> crate::Forward {
    match route.action {
        Action::Forward(forward) => forward,
        other => panic!("{other:?}"),
    }
}

#[test]
fn matches_and_filters_mean_what_the_specification_says() {
    let rows = [
        ("matches: [{path: {type: Exact, value: /a}}]", PathMatch::Exact("/a".into())),
        ("matches: [{path: {type: PathPrefix, value: /a/}}]", PathMatch::Elements("/a".into())),
        ("matches: [{path: {value: /a}}]", PathMatch::Elements("/a".into())),
        ("matches: [{method: GET}]", PathMatch::Elements(String::new())),
        (
            "matches: [{path: {type: RegularExpression, value: '/a|/b'}}]",
            PathMatch::Regex(crate::Pattern::whole("/a|/b").unwrap()),
        ),
    ];
    for (yaml, path) in rows {
        assert_eq!(rule(yaml).matches[0].path, path, "{yaml}");
    }
    let when = rule(
        "matches: [{headers: [{name: X-A, value: b}, {name: x-a, value: c}], queryParams: [{name: q, type: RegularExpression, value: 'x+'}]}]",
    );
    assert_eq!(when.matches[0].when.len(), 2, "of several with one name the first counts");
    assert_eq!(when.matches[0].when[0].subject, Subject::Header("x-a".into()));
    assert_eq!(when.matches[0].when[1].test, Test::Regex(crate::Pattern::whole("x+").unwrap()));

    let edits = rule(
        "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: b}], add: [{name: x-c, value: d}], remove: [x-e]}}, \
         {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [server]}}]",
    );
    assert_eq!(edits.request_headers.set, [("x-a".to_owned(), "b".to_owned())]);
    assert_eq!(
        (edits.request_headers.remove, edits.response_headers.remove),
        (vec!["x-e".into()], vec!["server".into()])
    );
    let rewrite = of(rule(
        "filters: [{type: URLRewrite, urlRewrite: {hostname: b.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}}]",
    ))
    .rewrite;
    assert_eq!(
        (rewrite.host.as_deref(), rewrite.path),
        (Some("b.example"), Some(PathRewrite::Matched("/x".into())))
    );
    let full = of(rule(
        "filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /x}}}]",
    ));
    assert_eq!(full.rewrite.path, Some(PathRewrite::Whole("/x".into())));
    let timeouts = of(rule("timeouts: {request: 1m30s, backendRequest: 100ms}"));
    assert_eq!(timeouts.timeout, Some(Duration::from_secs(90)));
    assert_eq!(timeouts.retries.per_try_timeout, Some(Duration::from_millis(100)));
    assert_eq!(of(rule("timeouts: {request: 0s}")).timeout, None);
    let retry = of(rule("retry: {codes: [500, 503], attempts: 4, backoff: 20ms}")).retries;
    assert_eq!(
        (retry.attempts, retry.statuses, retry.backoff),
        (4, vec![500, 503], Duration::from_millis(20))
    );
    assert!(retry.on.contains(&RetryOn::ConnectFailure));
    let text = http_route(
        "r",
        "[]",
        "[{filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}]}]",
    );
    match &accepted(&text, &[]).config.routes[0].action {
        Action::Redirect(redirect) => {
            assert_eq!((redirect.status, redirect.scheme.as_deref()), (301, Some("https")))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_mirrors_share_is_a_percent_or_a_fraction_and_not_both() {
    let mirror = |keys: &str| {
        http_route(
            "r",
            "[]",
            &format!(
                "[{{filters: [{{type: RequestMirror, requestMirror: {{backendRef: {{name: v2, port: 80}}{keys}}}}}], {BACKEND}}}]"
            ),
        )
    };
    let rows: [(&str, Option<f64>); 9] = [
        ("", Some(100.0)),
        (", percent: 0", Some(0.0)),
        (", percent: 100", Some(100.0)),
        (", percent: 20", Some(20.0)),
        (", fraction: {numerator: 25, denominator: 50}", Some(50.0)),
        (", fraction: {numerator: 35}", Some(35.0)),
        (", fraction: {numerator: 1, denominator: 3}", Some(33.3333)),
        (", percent: 101", None),
        (", fraction: {numerator: 3, denominator: 2}", None),
    ];
    for (keys, expect) in rows {
        match expect {
            Some(expect) => {
                assert_eq!(
                    accepted(&mirror(keys), &TO).config.routes[0].mirrors[0].percent,
                    percent(expect),
                    "{keys}"
                );
            }
            None => assert!(!refused(&mirror(keys), &TO).is_empty(), "{keys}"),
        }
    }
    assert!(
        refused(&mirror(", percent: 1, fraction: {numerator: 1}"), &TO).contains("cannot be given together")
    );
    // A mirror that cannot be had is left out; the route serves.
    let checked = accepted(&mirror("").replace("name: v2", "name: v9"), &TO);
    assert!(checked.config.routes[0].mirrors.is_empty());
    assert!(warnings(&checked).contains("names the service v9.default.svc.cluster.local: it is left out"));
}

#[test]
fn several_mirrors_and_mirrors_of_one_backend() {
    let text = http_route(
        "r",
        "[]",
        "[{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 80}}}, {type: RequestMirror, requestMirror: \
         {backendRef: {name: v3, port: 80}}}, {type: RequestMirror, requestMirror: {backendRef: {name: v3, port: 80}}}], backendRefs: [{name: v1, port: 80, weight: 3}, {name: v2, port: 80, \
         filters: [{type: RequestMirror, requestMirror: {backendRef: {name: v3, port: 80}, percent: 7}}]}]}]",
    );
    let config = accepted(&text, &TO).config;
    let mirrors: Vec<_> =
        config.routes[0].mirrors.iter().map(|m| (m.name.as_str(), m.only_primary)).collect();
    assert_eq!(mirrors, [("v2", None), ("v3", None), ("v3:2", None), ("v3:3", Some(1))]);
    assert_eq!(forward(&config, 0).primaries.iter().map(|p| p.weight).collect::<Vec<_>>(), [3, 1]);
}

#[test]
fn the_most_specific_match_comes_first_wherever_it_is_written() {
    let one = |yaml: &str| format!("{{matches: [{yaml}], {BACKEND}}}");
    let rules = [
        "{}",
        "{path: {value: /a}}",
        "{path: {value: /a/b}}",
        "{path: {type: Exact, value: /a}}",
        "{path: {value: /a}, method: GET}",
        "{path: {value: /a}, headers: [{name: x, value: y}]}",
        "{path: {value: /a}, headers: [{name: x, value: y}, {name: z, value: y}]}",
        "{path: {value: /a}, queryParams: [{name: x, value: y}]}",
    ];
    let rules = format!("[{}]", rules.map(one).join(", "));
    let order = |text: &str| -> Vec<String> {
        accepted(text, &TO).config.routes.iter().map(|route| route.name.clone()).collect()
    };
    assert_eq!(
        order(&http_route("r", "[]", &rules)),
        [
            "r/rules[3]",
            "r/rules[2]",
            "r/rules[4]",
            "r/rules[6]",
            "r/rules[5]",
            "r/rules[7]",
            "r/rules[1]",
            "r/rules[0]"
        ]
    );
    let everything = format!("[{{{BACKEND}}}]");
    let hosts = [
        http_route("all", "[]", &everything),
        http_route("wild", "['*.example.com']", &everything),
        http_route("narrow", "['*.a.example.com']", &everything),
        http_route("exact", "[b.example.com]", &everything),
    ];
    assert_eq!(
        order(&hosts.concat()),
        ["exact/rules[0]", "narrow/rules[0]", "wild/rules[0]", "all/rules[0]"]
    );
    let config = accepted(&hosts.concat(), &TO).config;
    assert_eq!(config.routes[1].matches[0].hosts, [HostMatch::Suffix(".a.example.com".into())]);
    // Older first, then by name.
    let dated = |name: &str, date: &str| {
        http_route(name, "[]", &everything)
            .replace(&format!("{{name: {name}}}"), &format!("{{name: {name}, creationTimestamp: '{date}'}}"))
    };
    let text = [
        dated("b", "2025-01-01T00:00:00Z"),
        dated("c", "2024-01-01T00:00:00Z"),
        dated("a", "2025-01-01T00:00:00Z"),
    ];
    assert_eq!(order(&text.concat()), ["c/rules[0]", "a/rules[0]", "b/rules[0]"]);
}

#[test]
fn a_backend_that_cannot_be_had_answers_500_for_its_share() {
    let text = http_route("r", "[]", "[{backendRefs: [{name: v1, port: 80}, {name: v9, port: 80}]}]");
    let checked = accepted(&text, &TO);
    assert_eq!(forward(&checked.config, 0).primaries[1].upstream, None);
    assert!(warnings(&checked).contains("its share is answered 500"));
    // Mirrors of that backend do not copy the other backends' requests either.
    let own = text.replace(
        "{name: v9, port: 80}",
        "{name: v9, port: 80, filters: [{type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 80}}}]}",
    );
    assert!(accepted(&own, &TO).config.routes[0].mirrors.is_empty());
    let none = accepted(&http_route("r", "[]", "[{matches: [{path: {value: /x}}]}]"), &[]);
    assert!(matches!(&none.config.routes[0].action, Action::Reply(reply) if reply.status == 500));
}

#[test]
fn unknown_filters_and_what_is_not_offered_are_refused_by_name() {
    let rows = [
        ("filters: [{type: CORS}]", "filters[0].cors: is missing"),
        ("filters: [{type: CORS, cors: {allowOrigins: ['https://']}}]", "is no origin"),
        ("filters: [{type: Magic}]", "\"Magic\" is not offered"),
        ("filters: [{type: RequestMirror}]", "requestMirror: is missing"),
        (
            "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {}}, {type: RequestHeaderModifier, requestHeaderModifier: {}}]",
            "filters[1].type: stands here a second time",
        ),
        (
            "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {}, urlRewrite: {}}]",
            "urlRewrite: belongs to a filter of type \"URLRewrite\"",
        ),
        (
            "filters: [{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {hostname: a}}]",
            "urlRewrite: cannot stand beside a redirect",
        ),
        ("matches: [{headers: [{name: a}]}]", "headers[0].value: is missing"),
        ("matches: [{path: {type: Glob, value: /}}]", "must be Exact, PathPrefix or RegularExpression"),
        ("timeouts: {request: forever}", "must be a duration"),
        ("sessionPersistence: {}", "sessionPersistence: is not supported"),
    ];
    for (yaml, told) in rows {
        let said = refused(&http_route("r", "[]", &format!("[{{{yaml}, {BACKEND}}}]")), &TO);
        assert!(said.contains(told) && said.contains("HTTPRoute/r spec.rules[0]"), "{yaml}\n{said}");
    }
    let tcp = http_route("r", "[]", &format!("[{{{BACKEND}}}]")).replace("kind: HTTPRoute", "kind: TCPRoute");
    assert!(refused(&tcp, &TO).contains("TCPRoute/r: is not offered"));
}

#[test]
fn a_gateway_says_where_to_listen_unless_the_command_line_does() {
    let gateway = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec:\n  gatewayClassName: x\n  \
                   listeners: [{name: http, protocol: HTTP, port: 8088, allowedRoutes: {namespaces: {from: Same}}}]\n---\n";
    let text = format!("{gateway}{}", http_route("r", "[]", &format!("[{{{BACKEND}}}]")));
    let config = accepted(&text, &TO).config;
    assert_eq!(config.listeners[0].bind.to_string(), "0.0.0.0:8088");
    let https = text.replace("protocol: HTTP,", "protocol: HTTPS,");
    assert!(refused(&https, &TO).contains("listeners[0].tls: is missing: HTTPS needs certificateRefs"));
    let tls = text.replace("protocol: HTTP,", "protocol: TLS,");
    assert!(refused(&tls, &TO).contains("\"TLS\" is not offered"));
}

#[test]
fn a_route_is_served_under_the_hosts_that_its_listeners_let_in() {
    let gateway = |listeners: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: g}}\nspec: {{gatewayClassName: x, listeners: [{listeners}]}}\n---\n"
        )
    };
    let two = "{name: a, protocol: HTTP, port: 8088, hostname: '*.a.example'}, {name: b, protocol: HTTP, port: 8088, hostname: b.example}";
    let every =
        "{name: a, protocol: HTTP, port: 8088}, {name: b, protocol: HTTP, port: 8088, hostname: b.example}";
    let rows = [
        (two, "[]", "g", vec!["b.example/*", "*.a.example/*"]),
        (two, "[x.a.example, y.example, a.example]", "g", vec!["x.a.example/*"]),
        (two, "['*.example']", "g", vec!["b.example/*", "*.a.example/*"]),
        (two, "['*.x.a.example']", "g", vec!["*.x.a.example/*"]),
        (two, "[]", "g, sectionName: b", vec!["b.example/*"]),
        (every, "[]", "g", vec!["b.example/*", "/*"]),
        (every, "[y.example]", "g", vec!["y.example/*"]),
        // A Gateway that is not here says nothing.
        (two, "[y.example]", "other", vec!["y.example/*"]),
    ];
    let everything = format!("[{{{BACKEND}}}]");
    for (listeners, hostnames, parent, expect) in rows {
        let route =
            http_route("r", hostnames, &everything).replace("{name: g}", &format!("{{name: {parent}}}"));
        let config = accepted(&format!("{}{route}", gateway(listeners)), &TO).config;
        let shown: Vec<String> = config.routes.iter().map(|route| route.matches[0].to_string()).collect();
        assert_eq!(shown, expect, "{listeners} {hostnames} {parent}");
        assert_eq!(config.listeners.len(), 1, "two listeners of one port are one");
    }
    let other = http_route("s", "[b.example]", &everything);
    let left_out = format!("{}{}{other}", gateway(two), http_route("r", "[y.example]", &everything));
    let checked = accepted(&left_out, &TO);
    assert_eq!(checked.config.routes.len(), 1);
    assert!(warnings(&checked).contains("HTTPRoute/r spec.hostnames: is skipped: no listener"));
    let ports = two.replacen("8088", "8089", 1);
    let one = http_route("r", "[]", &everything).replace("{name: g}", "{name: g, sectionName: b}");
    let checked = accepted(&format!("{}{one}", gateway(&ports)), &TO);
    assert_eq!(checked.config.routes[0].matches[0].port, Some(8088));
}

#[test]
fn a_request_is_for_the_most_specific_listener_of_its_port_alone() {
    // As the conformance suite has it: listeners of one port, each wider than the next, and a route of each.
    let hosts = ["", "'*.example.com'", "'*.foo.example.com'", "abc.foo.example.com"];
    let names = ["every", "example", "foo", "abc"];
    let listener = |(name, host): (&&str, &&str)| {
        let host = if host.is_empty() { String::new() } else { format!(", hostname: {host}") };
        format!("{{name: {name}, protocol: HTTP, port: 8088{host}}}")
    };
    let listeners: Vec<String> = names.iter().zip(&hosts).map(listener).collect();
    let gateway = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: g}}\nspec: {{gatewayClassName: x, listeners: [{}]}}\n---\n",
        listeners.join(", ")
    );
    let with = |hostnames: [&str; 4], path: bool| {
        let route = |(name, hostnames): (&&str, &str)| {
            let matches =
                if path { format!("matches: [{{path: {{value: /{name}}}}}], ") } else { String::new() };
            http_route(name, hostnames, &format!("[{{{matches}{BACKEND}}}]"))
                .replace("{name: g}", &format!("{{name: g, sectionName: {name}}}"))
        };
        let routes: String = names.iter().zip(hostnames).map(route).collect();
        let checked = accepted(&format!("{gateway}{routes}"), &TO);
        assert!(!warnings(&checked).contains("never reached"), "{}", warnings(&checked));
        let shown = |route: &crate::Route| {
            let is_ours = matches!(&route.action, Action::Reply(reply) if reply.status == 404);
            format!("{}{}", if is_ours { "404 " } else { "" }, route.matches[0])
        };
        checked.config.routes.iter().map(shown).collect::<Vec<_>>()
    };
    let isolated = [
        "abc.foo.example.com/abc/*",
        "404 abc.foo.example.com/*",
        "*.foo.example.com/foo/*",
        "404 *.foo.example.com/*",
        "*.example.com/example/*",
        "404 *.example.com/*",
    ];
    let all = with(["[]"; 4], true);
    assert_eq!(all[..6], isolated);
    assert_eq!(all[6..], ["/every/*"]);
    let every = "[bar.com, '*.example.com', '*.foo.example.com', abc.foo.example.com]";
    let all = with([every; 4], true);
    assert_eq!(
        all,
        [
            "abc.foo.example.com/abc/*",
            "404 abc.foo.example.com/*",
            "bar.com/every/*",
            "*.foo.example.com/foo/*",
            "404 *.foo.example.com/*",
            "*.example.com/example/*"
        ]
    );
    // Where each takes all that comes nothing is left to be kept from others.
    assert_eq!(
        with(["[]"; 4], false),
        ["abc.foo.example.com/*", "*.foo.example.com/*", "*.example.com/*", "/*"]
    );
}

#[test]
fn where_a_listener_narrows_two_hosts_to_one_the_narrower_route_comes_first() {
    let gateway = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: {gatewayClassName: x, listeners: \
                   [{name: l, protocol: HTTP, port: 8088, hostname: abc.example.com}]}\n---\n";
    let everything = format!("[{{{BACKEND}}}]");
    let dated = |name: &str, host: &str, year: u16| {
        http_route(name, host, &everything).replace(
            &format!("{{name: {name}}}"),
            &format!("{{name: {name}, creationTimestamp: '{year}-01-01T00:00:00Z'}}"),
        )
    };
    let text = [
        dated("wide", "['*.com']", 2024),
        dated("narrow", "['*.example.com']", 2025),
        dated("own", "[abc.example.com]", 2026),
    ];
    let config = accepted(&format!("{gateway}{}", text.concat()), &TO).config;
    let names: Vec<&str> = config.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["own/rules[0]", "narrow/rules[0]", "wide/rules[0]"]);
}

#[test]
fn more_retries_than_are_made_are_said_to_be_fewer() {
    let text = http_route("r", "[]", &format!("[{{retry: {{attempts: 100}}, {BACKEND}}}]"));
    let checked = accepted(&text, &TO);
    assert_eq!(forward(&checked.config, 0).retries.attempts, 10);
    assert!(
        warnings(&checked).contains("retry.attempts: is more than is tried: 10 times"),
        "{}",
        warnings(&checked)
    );
}
