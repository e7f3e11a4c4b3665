//! Istio: every field, one row each; then the traps.

use std::time::Duration;

use super::*;
use crate::{
    Balance, Condition, HostMatch, MirrorHost, PathMatch, PathRewrite, Pattern, RequestKey, RetryOn, Subject,
    Test,
};

const ARTICLE: [&str; 2] = [
    include_str!("../../../examples/istio/virtualservice.yaml"),
    include_str!("../../../examples/istio/destinationrule.yaml"),
];
const BOTH: [&str; 2] = ["httpbin/v1=127.0.0.1:8001", "httpbin/v2=127.0.0.1:8002"];

/// A VirtualService for `httpbin` with this `http` list, and its DestinationRule; `more` goes to the rule's policy.
fn service(http: &str, policy: &str) -> String {
    let indented = |text: &str, by: usize| -> String {
        text.lines().map(|line| format!("{}{line}\n", " ".repeat(by))).collect()
    };
    let policy =
        if policy.is_empty() { String::new() } else { format!("  trafficPolicy:\n{}", indented(policy, 4)) };
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: httpbin\nspec:\n  hosts: [httpbin]\n  \
         http:\n{}---\napiVersion: networking.istio.io/v1beta1\nkind: DestinationRule\nmetadata:\n  name: httpbin\nspec:\n  \
         host: httpbin\n{policy}  subsets:\n  - name: v1\n    labels: {{version: v1}}\n  - name: v2\n    labels: {{version: v2}}\n",
        indented(http, 2)
    )
}

const TO_V1: &str = "  route:\n  - destination: {host: httpbin, subset: v1}\n";

/// The one route of a service whose `http` has one entry made of `keys` and a destination.
#[track_caller]
fn route(keys: &str) -> crate::Route {
    let lines: String = keys.lines().map(|line| format!("  {line}\n")).collect();
    let http = format!("-{}{TO_V1}", &lines[1..]);
    let mut checked = accepted(&service(&http, ""), &BOTH);
    checked.config.routes.remove(0)
}

fn condition(subject: Subject, test: Test, not: bool) -> Condition {
    Condition { subject, test, not }
}

fn header(name: &str) -> Subject {
    Subject::Header(name.into())
}

#[test]
fn the_articles_manifests_run_as_they_are() {
    let text = ARTICLE.join("---\n");
    let Checked { config, warnings: said, .. } = accepted(&text, &BOTH);
    assert_eq!(
        config.upstreams.iter().map(|u| u.name.as_str()).collect::<Vec<_>>(),
        ["httpbin/v1", "httpbin/v2"]
    );
    assert_eq!(config.upstreams[1].endpoints[0].to_string(), "127.0.0.1:8002");
    let route = &config.routes[0];
    assert_eq!(forward(&config, 0).primaries[0].upstream, Some(0));
    assert_eq!(route.mirrors.len(), 1);
    assert_eq!((route.mirrors[0].percent, &route.mirrors[0].host), (Percent::ALL, &MirrorHost::Keep));
    assert_eq!(route.mirrors[0].name, "httpbin/v2");
    // Its curl names an address, not the service.
    assert!(route.matches[0].hosts.contains(&HostMatch::Address));
    assert!(route.matches[0].hosts.contains(&HostMatch::Exact("httpbin.default.svc.cluster.local".into())));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].message.contains("IP address or localhost"));
    // The rest of the article's files is skipped by name.
    let rest = [
        include_str!("../../../examples/istio/httpbin-v1.yaml"),
        include_str!("../../../examples/istio/httpbin-v2.yaml"),
    ];
    let whole = accepted(&[text.as_str(), rest[0], rest[1]].join("---\n"), &BOTH);
    assert_eq!(whole.config, config);
    assert!(warnings(&whole).contains("Deployment/httpbin-v1: is skipped"), "{:?}", whole.warnings);
}

#[test]
fn every_condition_of_a_match_has_its_meaning() {
    let exact = |text: &str| Test::Exact(text.into());
    let rows: Vec<(&str, PathMatch, Vec<Condition>)> = vec![
        ("uri: {exact: /a}", PathMatch::Exact("/a".into()), vec![]),
        ("uri: {prefix: /a}", PathMatch::Prefix("/a".into()), vec![]),
        ("uri: {regex: '/a.*'}", PathMatch::Regex(Pattern::whole("/a.*").unwrap()), vec![]),
        (
            "authority: {exact: 'a:81'}",
            PathMatch::default(),
            vec![condition(Subject::Authority, exact("a:81"), false)],
        ),
        (
            "scheme: {exact: http}",
            PathMatch::default(),
            vec![condition(Subject::Scheme, exact("http"), false)],
        ),
        (
            "method: {regex: 'GET|PUT'}",
            PathMatch::default(),
            vec![condition(Subject::Method, Test::Regex(Pattern::whole("GET|PUT").unwrap()), false)],
        ),
        (
            "headers: {X-A: {exact: b}}",
            PathMatch::default(),
            vec![condition(header("x-a"), exact("b"), false)],
        ),
        ("headers: {x-a: {}}", PathMatch::default(), vec![condition(header("x-a"), Test::Present, false)]),
        (
            "headers: {x-a: {regex: '*'}}",
            PathMatch::default(),
            vec![condition(header("x-a"), Test::Present, false)],
        ),
        (
            "headers: {x-a: {prefix: b}}",
            PathMatch::default(),
            vec![condition(header("x-a"), Test::Prefix("b".into()), false)],
        ),
        (
            "without_headers: {x-a: {}}",
            PathMatch::default(),
            vec![condition(header("x-a"), Test::Present, true)],
        ),
        (
            "withoutHeaders: {x-a: {exact: b}}",
            PathMatch::default(),
            vec![condition(header("x-a"), exact("b"), true)],
        ),
        (
            "queryParams: {v: {exact: ''}}",
            PathMatch::default(),
            vec![condition(Subject::Query("v".into()), exact(""), false)],
        ),
        (
            "query_params: {v: {}}",
            PathMatch::default(),
            vec![condition(Subject::Query("v".into()), Test::Present, false)],
        ),
    ];
    for (yaml, path, when) in rows {
        let route = route(&format!("match:\n- {yaml}"));
        assert_eq!((&route.matches[0].path, &route.matches[0].when), (&path, &when), "{yaml}");
    }
    let several =
        route("match:\n- uri: {exact: /A}\n  ignoreUriCase: true\n  port: 81\n- method: {exact: PUT}");
    assert!(several.matches[0].ignore_case);
    assert_eq!(
        (several.matches[0].port, several.matches[1].methods.as_slice()),
        (Some(81), &["PUT".to_owned()][..])
    );
    assert!(several.matches.iter().all(|m| m.hosts.len() == 5), "each of them asks for the service's host");
}

#[test]
fn a_route_does_what_each_of_its_fields_says() {
    let edits = route(
        "headers:\n  request: {set: {X-A: b}, add: {x-c: d}, remove: [X-E]}\n  response: {remove: [server]}",
    );
    assert_eq!(edits.request_headers.set, [("x-a".to_owned(), "b".to_owned())]);
    assert_eq!(edits.request_headers.add, [("x-c".to_owned(), "d".to_owned())]);
    assert_eq!(edits.request_headers.remove, ["x-e"]);
    assert_eq!(edits.response_headers.remove, ["server"]);

    let of = |route: crate::Route| match route.action {
        Action::Forward(forward) => forward,
        other => panic!("{other:?}"),
    };
    let authority = of(route("headers: {request: {set: {':authority': b.example}}}"));
    assert_eq!(authority.rewrite.host.as_deref(), Some("b.example"));
    let added = of(route("headers: {request: {add: {Host: b.example}, remove: [host]}}"));
    assert_eq!(added.rewrite.host.as_deref(), Some("b.example"));
    let both = "headers: {request: {set: {host: b.example}}}\nrewrite: {authority: c.example}";
    assert_eq!(of(route(both)).rewrite.host.as_deref(), Some("c.example"));
    let rewrite = of(route("match:\n- uri: {prefix: /a/}\nrewrite: {uri: /, authority: b.example}")).rewrite;
    assert_eq!(rewrite.path, Some(PathRewrite::Matched("/".into())));
    assert_eq!(rewrite.host.as_deref(), Some("b.example"));
    let regex = of(route("rewrite: {uriRegexRewrite: {match: '^/a/(.*)', rewrite: '/\\1'}}")).rewrite.path;
    assert_eq!(
        regex,
        Some(PathRewrite::Regex { pattern: Pattern::anywhere("^/a/(.*)").unwrap(), with: r"/\1".into() })
    );
    assert_eq!(of(route("timeout: 1.5s")).timeout, Some(Duration::from_millis(1_500)));
    assert_eq!(of(route("timeout: 0s")).timeout, None);

    let silent = of(route("name: x")).retries;
    let always = [RetryOn::ConnectFailure, RetryOn::Unavailable, RetryOn::Cancelled];
    assert_eq!((silent.attempts, silent.on.as_slice()), (2, &always[..]));
    assert_eq!(of(route("retries: {attempts: 0}")).retries.attempts, 0);
    // Not given is 0 in its protocol, and 0 switches them off.
    assert_eq!(of(route("retries: {retryOn: 5xx}")).retries.attempts, 0);
    let calls = of(route("retries: {attempts: 2, retryOn: 'cancelled,deadline-exceeded,internal,resource-exhausted,unavailable'}")).retries;
    assert_eq!((calls.attempts, calls.on.as_slice()), (2, &RetryOn::ALL[5..]));
    assert_eq!(of(route("retries: {attempts: 1, retryOn: ''}")).retries.on, always);
    assert_eq!(of(route("retries: {attempts: 1, perTryTimeout: 0s}")).retries.per_try_timeout, None);
    let told = of(route("retries: {attempts: 3, perTryTimeout: 2s, backoff: 50ms, retryOn: '5xx,reset,retriable-4xx,503,gateway-error'}")).retries;
    assert_eq!(told.on, [RetryOn::ServerError, RetryOn::Reset, RetryOn::Conflict, RetryOn::GatewayError]);
    assert_eq!((told.attempts, told.statuses.as_slice()), (3, &[503][..]));
    assert_eq!(
        (told.per_try_timeout, told.backoff),
        (Some(Duration::from_secs(2)), Duration::from_millis(50))
    );

    let fault = route(
        "fault:\n  delay: {fixedDelay: 5s, percentage: {value: 0.1}}\n  abort: {httpStatus: 503, percent: 7}",
    )
    .fault;
    assert_eq!(fault.delay.map(|d| (d.time, d.percent)), Some((Duration::from_secs(5), percent(0.1))));
    assert_eq!(fault.abort.map(|a| (a.status, a.percent)), Some((503, percent(7.0))));
    assert_eq!(route("name: canary").name, "httpbin/canary");
}

#[test]
fn weights_redirects_and_direct_responses_are_taken() {
    let http = "- route:\n  - destination: {host: httpbin, subset: v1}\n    weight: 75\n  - destination: {host: httpbin, subset: v2}\n    \
                weight: 25\n    headers: {response: {set: {x-version: '2'}}}\n";
    let config = accepted(&service(http, ""), &BOTH).config;
    let primaries = &forward(&config, 0).primaries;
    assert_eq!(primaries.iter().map(|p| p.weight).collect::<Vec<_>>(), [75, 25]);
    assert_eq!(primaries[1].response_headers.set, [("x-version".to_owned(), "2".to_owned())]);

    let http = "- match:\n  - uri: {prefix: /old}\n  redirect: {uri: /new, authority: b.example, redirectCode: 308}\n\
                - match:\n  - uri: {prefix: /gone}\n  directResponse: {status: 410, body: {string: gone}}\n\
                - redirect: {scheme: https}\n";
    let config = accepted(&service(http, ""), &[]).config;
    match [&config.routes[0].action, &config.routes[1].action, &config.routes[2].action] {
        [Action::Redirect(first), Action::Reply(reply), Action::Redirect(last)] => {
            assert_eq!((first.status, first.host.as_deref()), (308, Some("b.example")));
            assert_eq!(first.path, Some(PathRewrite::Whole("/new".into())));
            assert_eq!((reply.status, reply.body.as_str()), (410, "gone"));
            assert_eq!((last.status, last.scheme.as_deref(), last.port), (301, Some("https"), None));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_mirrors_share_is_what_istio_makes_of_it() {
    let rows: [(&str, Option<f64>); 10] = [
        ("", Some(100.0)),
        ("mirrorPercentage: {value: 0}", Some(0.0)),
        ("mirrorPercentage: {}", Some(0.0)),
        ("mirror_percentage: {value: 100.0}", Some(100.0)),
        ("mirrorPercentage: {value: 12.5}", Some(12.5)),
        // The grain is 0.0001 %, and finer digits are cut off.
        ("mirrorPercentage: {value: 0.00019}", Some(0.0001)),
        ("mirror_percent: 50", Some(50.0)),
        ("mirrorPercentage: {value: 10}\nmirror_percent: 50", Some(10.0)),
        ("mirrorPercentage: {value: 100.5}", None),
        ("mirrorPercentage: {value: -1}", None),
    ];
    for (yaml, expect) in rows {
        let lines: String = yaml.lines().map(|line| format!("  {line}\n")).collect();
        let text = service(&format!("-{}{lines}  mirror: {{host: httpbin, subset: v2}}\n", &TO_V1[1..]), "");
        match expect {
            Some(expect) => {
                let config = accepted(&text, &BOTH).config;
                assert_eq!(config.routes[0].mirrors[0].percent, percent(expect), "{yaml}");
            }
            None => assert!(refused(&text, &BOTH).contains("out of range: must be from 0 to 100"), "{yaml}"),
        }
    }
    let many = "  mirrors:\n  - destination: {host: httpbin, subset: v2}\n    percentage: {value: 5}\n  - destination: {host: httpbin, subset: v2}\n    \
                authority: v3.example\n    headers: {request: {remove: [authorization]}}\n";
    let config = accepted(&service(&format!("-{}{many}", &TO_V1[1..]), ""), &BOTH).config;
    let mirrors = &config.routes[0].mirrors;
    assert_eq!((mirrors[0].percent, mirrors[1].percent), (percent(5.0), Percent::ALL));
    assert_eq!(mirrors[1].host, MirrorHost::Literal("v3.example".into()));
    assert_eq!(mirrors[1].headers.remove, ["authorization"]);
    assert_ne!(mirrors[0].name, mirrors[1].name);
    let both = service(&format!("-{}  mirror: {{host: httpbin, subset: v2}}\n{many}", &TO_V1[1..]), "");
    assert!(refused(&both, &BOTH).contains("mirror and mirrors cannot be given together"));
}

#[test]
fn a_destination_rules_policy_becomes_the_upstreams() {
    let policy = "connectionPool:\n  tcp: {maxConnections: 10, connectTimeout: 250ms}\n  http: {http1MaxPendingRequests: 5, \
                  http2MaxRequests: 7, maxRequestsPerConnection: 3, idleTimeout: 30s}\n\
                  outlierDetection: {consecutive5xxErrors: 4, interval: 5s, baseEjectionTime: 1m, maxEjectionPercent: 50}\n\
                  loadBalancer: {simple: LEAST_REQUEST}\n";
    let http = format!("-{}  mirror: {{host: httpbin, subset: v2}}\n", &TO_V1[1..]);
    let config = accepted(&service(&http, policy), &BOTH).config;
    let v1 = &config.upstreams[0];
    assert_eq!((v1.connections_max, v1.pending_max, v1.requests_per_connection_max), (7, 5, 3));
    assert_eq!((v1.connect_timeout, v1.idle_timeout), (Duration::from_millis(250), Duration::from_secs(30)));
    let ejection = v1.ejection.as_ref().unwrap();
    assert_eq!((ejection.consecutive_5xx, ejection.interval), (4, Duration::from_secs(5)));
    assert_eq!((ejection.time, ejection.share_max), (Duration::from_secs(60), percent(50.0)));
    assert_eq!(v1.balance, Balance::LeastInFlight);
    // For a mirror the same pool bounds its ring and its connections.
    assert_eq!((config.lanes[0].ring_entries_max, config.lanes[0].connections_max), (5, 7));
    let rows = [
        ("loadBalancer: {consistentHash: {httpHeaderName: X-User}}", RequestKey::Header("x-user".into())),
        (
            "loadBalancer: {consistentHash: {httpCookie: {name: sid, ttl: 0s}}}",
            RequestKey::Cookie("sid".into()),
        ),
        ("loadBalancer: {consistentHash: {httpQueryParameterName: u}}", RequestKey::Query("u".into())),
        ("loadBalancer: {consistentHash: {useSourceIp: true}}", RequestKey::Address),
    ];
    for (policy, key) in rows {
        let config = accepted(&service(&http, policy), &BOTH).config;
        assert_eq!(
            (config.upstreams[0].balance, config.upstreams[0].hash_by.clone()),
            (Balance::Hash, Some(key)),
            "{policy}"
        );
    }
    let own = service(&http, "connectionPool: {tcp: {maxConnections: 10}}").replace(
        "  - name: v1\n",
        "  - name: v1\n    trafficPolicy: {connectionPool: {tcp: {maxConnections: 2}}}\n",
    );
    let config = accepted(&own, &BOTH).config;
    assert_eq!((config.upstreams[0].connections_max, config.upstreams[1].connections_max), (2, 10));
    // A subset's group stands in place of the whole of its host's, and 0 is no limit.
    let groups = service(
        &http,
        "connectionPool: {tcp: {maxConnections: 10, idleTimeout: 9s}, http: {http1MaxPendingRequests: 3}}\noutlierDetection: {}",
    )
    .replace(
        "  - name: v1\n",
        "  - name: v1\n    trafficPolicy: {connectionPool: {tcp: {maxConnections: 0}, http: {maxRequestsPerConnection: 4}}}\n",
    );
    let config = accepted(&groups, &BOTH).config;
    let [v1, v2] = [&config.upstreams[0], &config.upstreams[1]];
    assert_eq!(
        (v1.connections_max, v1.pending_max, v1.requests_per_connection_max),
        (usize::MAX, usize::MAX, 4)
    );
    assert_eq!((v2.connections_max, v2.pending_max), (10, 3));
    assert_eq!(v2.idle_timeout, Duration::from_secs(9));
    assert!(v1.ejection.is_some(), "a group that the subset has not stays");
    let ports = service(
        &http.replace("subset: v1", "subset: v1, port: {number: 81}"),
        "connectionPool: {tcp: {maxConnections: 10}}\noutlierDetection: {}\nportLevelSettings: [{port: {number: 81}, loadBalancer: {simple: RANDOM}}]",
    );
    let config = accepted(&ports, &BOTH).config;
    let v1 = &config.upstreams[0];
    assert_eq!((v1.name.as_str(), v1.balance), ("httpbin/v1:81", Balance::Random));
    assert!(v1.connections_max == usize::MAX && v1.ejection.is_none(), "a port's policy inherits nothing");
    for (policy, told) in [
        ("tls: {mode: ISTIO_MUTUAL}", "a mesh's certificates are its own"),
        (
            "tls: {mode: MUTUAL, privateKey: us.key}",
            "clientCertificate: is missing: mode MUTUAL shows a certificate",
        ),
        (
            "tls: {mode: SIMPLE, clientCertificate: us.pem}",
            "clientCertificate: is only used with mode MUTUAL",
        ),
        ("tls: {mode: SIMPLE, subjectAltNames: ['spiffe://']}", "is no URI"),
        ("tls: {mode: SIMPLE, credentialName: us}", "write --secret us=CA"),
        ("tls: {mode: MUTUAL, credentialName: us}", "write --secret us=CERT,KEY"),
        ("loadBalancer: {simple: PASSTHROUGH}", "must be ROUND_ROBIN, LEAST_REQUEST or RANDOM"),
        ("tunnel: {protocol: CONNECT}", "is not supported"),
    ] {
        assert!(refused(&service(&http, policy), &BOTH).contains(told), "{policy}");
    }
}

#[test]
fn tls_with_a_service_is_what_its_rule_its_subset_and_its_port_say_of_it() {
    let http = format!("-{}", &TO_V1[1..]);
    let of = |policy: &str| {
        let checked = accepted(&service(&http, policy), &BOTH);
        let told = warnings(&checked);
        (checked.config.upstreams[0].tls.clone(), told)
    };
    let name = |name: &str| Some(crate::Host::Name(name.to_owned()));
    let simple = crate::UpstreamTls {
        trust: crate::Trust::System,
        server_name: name("httpbin.default.svc.cluster.local"),
        names: Vec::new(),
        crls: Vec::new(),
        identity: None,
        min_version: crate::TlsVersion::Tls12,
    };
    assert_eq!(of("tls: {mode: DISABLE}").0, None);
    assert_eq!(of("tls: {sni: a.b}").0, None, "without a mode there is none");
    assert_eq!(of("tls: {mode: SIMPLE}").0, Some(simple.clone()));
    let given = "tls: {mode: MUTUAL, caCertificates: ca.pem, clientCertificate: us.pem, privateKey: us.key, sni: v1.internal, subjectAltNames: [V1.internal]}";
    let [cert, key] = ["us.pem", "us.key"].map(|file| crate::Pem::File(file.into()));
    let identity = crate::Certificate { cert, key, ocsp: None, names: Vec::new() };
    let mutual = crate::UpstreamTls {
        trust: crate::Trust::Ca(crate::Pem::File("ca.pem".into())),
        server_name: name("v1.internal"),
        identity: Some(identity),
        ..simple.clone()
    };
    assert_eq!(of(given).0, Some(mutual));
    let host = |name: &str| crate::PeerName::Host(crate::Host::Name(name.to_owned()));
    for (names, sni, all) in [
        ("sni: a.b, subjectAltNames: [c.d]", "a.b", vec![host("c.d")]),
        (
            "subjectAltNames: [c.d, 'spiffe://a/b']",
            "c.d",
            vec![host("c.d"), crate::PeerName::Uri("spiffe://a/b".to_owned())],
        ),
    ] {
        let wanted = crate::UpstreamTls { server_name: name(sni), names: all, ..simple.clone() };
        assert_eq!(of(&format!("tls: {{mode: SIMPLE, {names}}}")).0, Some(wanted));
    }
    let (tls, told) = of("tls: {mode: SIMPLE, insecureSkipVerify: true, caCertificates: ca.pem}");
    assert_eq!(tls, Some(crate::UpstreamTls { trust: crate::Trust::Anything, ..simple }));
    assert!(told.contains("accepts any certificate"), "{told}");
    let port = "tls: {mode: SIMPLE}\nportLevelSettings: [{port: {number: 81}, tls: {mode: DISABLE}}]";
    assert!(of(port).0.is_some());
    let to_port = http.replace("subset: v1", "subset: v1, port: {number: 81}");
    assert_eq!(accepted(&service(&to_port, port), &BOTH).config.upstreams[0].tls, None);
}

#[test]
fn addresses_come_from_a_service_entry_by_labels_and_ports() {
    let entry = "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: httpbin}\nspec:\n  hosts: \
                 [httpbin.default.svc.cluster.local]\n  resolution: STATIC\n  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]\n  \
                 endpoints:\n  - {address: 10.0.0.1, labels: {version: v1}}\n  - {address: 10.0.0.2, labels: {version: v2}, ports: {http: 9090}}\n  \
                 - {address: '::1', labels: {version: v1}}\n";
    let http = format!("-{}  mirror: {{host: httpbin, subset: v2}}\n", &TO_V1[1..]);
    let config = accepted(&format!("{}{entry}", service(&http, "")), &[]).config;
    let addresses =
        |id: usize| config.upstreams[id].endpoints.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(addresses(0), ["10.0.0.1:8080", "[::1]:8080"]);
    assert_eq!(addresses(1), ["10.0.0.2:9090"]);
    let external = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\nspec:\n  hosts: [api.example.com]\n  \
                    resolution: DNS\n  ports: [{number: 80, name: http, protocol: HTTP}]\n---\n\
                    apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec:\n  hosts: [a.example]\n  \
                    http: [{route: [{destination: {host: api.example.com}}]}]\n";
    let config = accepted(external, &[]).config;
    assert_eq!(config.upstreams[0].endpoints[0].to_string(), "api.example.com:80");
}

#[test]
fn a_host_belongs_to_the_most_specific_service_and_to_no_other() {
    let one = |name: &str, hosts: &str, http: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec:\n  hosts: {hosts}\n  http: {http}\n---\n"
        )
    };
    let reply = |status: u16, prefix: &str| {
        format!("[{{match: [{{uri: {{prefix: {prefix}}}}}], directResponse: {{status: {status}}}}}]")
    };
    let text = [
        one("all", "['*']", "[{directResponse: {status: 200}}]"),
        one("wild", "['*.example.com', b.other]", &reply(201, "/w")),
        one("exact", "[a.example.com]", &reply(202, "/e")),
    ]
    .concat();
    let config = accepted(&text, &[]).config;
    let shown: Vec<String> = config.routes.iter().map(|r| format!("{} {}", r.name, r.matches[0])).collect();
    assert_eq!(
        shown,
        [
            "exact/http[0] a.example.com/e*",
            "exact/otherwise a.example.com/*",
            // Two hosts of one VirtualService, with no other's host between them, are served alike.
            "wild/http[0] for b.other b.other|*.example.com/w*",
            "wild/otherwise for b.other b.other|*.example.com/*",
            "all/http[0] /*",
        ]
    );
}

#[test]
fn what_would_change_routing_and_cannot_be_had_is_refused_by_name() {
    let rows = [
        ("delegate: {name: x}", "spec.http[0].route: route and delegate cannot be given together"),
        ("corsPolicy: {allowOrigins: [{}]}", "spec.http[0].corsPolicy.allowOrigins[0]: says neither"),
        ("matches: []", "spec.http[0].matches: unknown key; did you mean \"match\"?"),
        ("match:\n- sourceLabels: {app: x}", "selects clients of a mesh, and nothing else"),
        ("match:\n- uri: {regex: '('}", "is not a regular expression"),
        (
            "fault: {abort: {grpcStatus: UNAVAILABLE}}",
            "spec.http[0].fault.abort.grpcStatus: is not supported",
        ),
        ("timeout: soon", "must be a duration such as \"5s\""),
        ("headers: {request: {set: {content-length: '3'}}}", "cannot be changed"),
    ];
    for (yaml, told) in rows {
        let lines: String = yaml.lines().map(|line| format!("  {line}\n")).collect();
        let said = refused(&service(&format!("-{}{TO_V1}", &lines[1..]), ""), &BOTH);
        assert!(said.contains(told), "{yaml}\n{said}");
        assert!(said.contains("m.yaml:") && said.contains("VirtualService/httpbin spec"), "{said}");
    }
    let tls = service(&format!("-{}", &TO_V1[1..]), "").replacen("  http:", "  tls: []\n  http:", 1);
    assert!(refused(&tls, &BOTH).contains("VirtualService/httpbin spec.tls: is not supported"));
    let missing = service("- route:\n  - destination: {host: httpbin, subset: v3}\n", "");
    assert!(refused(&missing, &BOTH).contains("has no subset \"v3\" (it has v1, v2)"));
    let nowhere = service(&format!("-{}", &TO_V1[1..]), "");
    assert!(
        refused(&nowhere, &[])
            .contains("no address is known for httpbin/v1: write --endpoint httpbin/v1=ADDRESS:PORT")
    );
    let old = nowhere.replace("networking.istio.io/v1\n", "networking.istio.io/v1alpha2\n");
    assert!(refused(&old, &BOTH).contains("must be v1, v1beta1 or v1alpha3"));
}

#[test]
fn what_has_no_effect_here_is_said_and_passed_over() {
    let rows = [
        (
            "match:\n- uri: {prefix: /}\n  gateways: [mesh]",
            "gateways: is ignored: it selects clients of a mesh",
        ),
        ("match:\n- headers: {uri: {exact: /}, x: {}}", "has a key of its own"),
        (
            "retries: {attempts: 1, retryOn: 'http3-post-connect-failure,5xx'}",
            "nothing like it is retried here",
        ),
    ];
    for (yaml, told) in rows {
        let lines: String = yaml.lines().map(|line| format!("  {line}\n")).collect();
        let checked = accepted(&service(&format!("-{}{TO_V1}", &lines[1..]), ""), &BOTH);
        assert!(warnings(&checked).contains(told), "{yaml}\n{:?}", checked.warnings);
    }
    let unused = accepted(&service(&format!("-{}", &TO_V1[1..]), ""), &BOTH);
    assert!(warnings(&unused).contains("--endpoint: no destination of the manifests asks for this endpoint"));
}
