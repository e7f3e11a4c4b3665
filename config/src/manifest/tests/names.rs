//! Names and their owners: services of several namespaces, hosts of several resources, routes named alike.

use super::*;
use crate::HostMatch;

fn service(name: &str, namespace: &str, hosts: &str, http: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  \
         hosts: {hosts}\n  http: {http}\n---\n"
    )
}

fn rule(host: &str, rest: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d}}\nspec:\n  host: {host}\n  {rest}\n---\n"
    )
}

fn to(host: &str) -> String {
    format!("[{{route: [{{destination: {{host: {host}}}}}]}}]")
}

fn reply(prefix: &str, status: u16) -> String {
    format!("[{{match: [{{uri: {{prefix: {prefix}}}}}], directResponse: {{status: {status}}}}}]")
}

/// Each upstream with its addresses.
fn upstreams(config: &Config) -> Vec<String> {
    let one = |upstream: &crate::Upstream| {
        let endpoints: Vec<String> = upstream.endpoints.iter().map(ToString::to_string).collect();
        format!("{} {}", upstream.name, endpoints.join(","))
    };
    config.upstreams.iter().map(one).collect()
}

fn shown(config: &Config) -> Vec<String> {
    config.routes.iter().map(|route| format!("{} {}", route.name, route.matches[0])).collect()
}

#[test]
fn services_of_one_name_in_two_namespaces_are_two() {
    let text =
        [service("a", "a", "[a.example]", &to("httpbin")), service("b", "b", "[b.example]", &to("httpbin"))]
            .concat();
    let config = accepted(&text, &["httpbin.a=127.0.0.1:1", "httpbin.b.svc=127.0.0.1:2"]).config;
    assert_eq!(upstreams(&config), ["httpbin.a 127.0.0.1:1", "httpbin.b 127.0.0.1:2"]);
    assert_eq!(forward(&config, 0).primaries[0].upstream, Some(0));
    assert_eq!(forward(&config, 1).primaries[0].upstream, Some(1));
    let said = refused(&text, &["httpbin=127.0.0.1:1"]);
    assert!(
        said.contains("--endpoint: httpbin is the name of httpbin.a and of httpbin.b: write which"),
        "{said}"
    );
    assert!(refused(&text, &[]).contains("write --endpoint httpbin.b=ADDRESS:PORT"));
}

#[test]
fn every_spelling_of_a_service_is_the_same_service() {
    for host in ["x", "x.shop", "x.shop.svc", "x.shop.svc.cluster.local", "X.Shop"] {
        for other in ["x", "x.shop", "x.shop.svc", "x.shop.svc.cluster.local"] {
            let http = format!("[{{route: [{{destination: {{host: {host}, subset: v1}}}}]}}]");
            let rule =
                rule(other, "subsets: [{name: v1}]").replace("{name: d}", "{name: d, namespace: shop}");
            let text = [service("v", "shop", "[a.example]", &http), rule].concat();
            let config = accepted(&text, &[&format!("{other}/v1=127.0.0.1:1")]).config;
            assert_eq!(upstreams(&config), ["x/v1 127.0.0.1:1"], "{host} {other}");
        }
    }
    // A name of two labels is a service only where its second is a namespace.
    let config = accepted(&service("v", "shop", "[a.example]", &to("x.com")), &["x.com=127.0.0.1:1"]).config;
    assert_eq!(upstreams(&config), ["x.com 127.0.0.1:1"]);
}

#[test]
fn a_services_host_is_asked_for_by_any_of_its_names() {
    let names = ["x", "x.shop", "x.shop.svc", "x.shop.svc.cluster.local"];
    for host in names {
        let text = [
            service("v", "shop", &format!("[{host}]"), "[{directResponse: {status: 200}}]"),
            service("w", "shop", "[w.example]", "[{directResponse: {status: 200}}]"),
        ];
        let config = accepted(&text.concat(), &[]).config;
        let route = config.routes.iter().find(|route| route.name.starts_with("v/")).unwrap();
        let hosts = names.map(|name| HostMatch::Exact(name.into()));
        assert_eq!(route.matches[0].hosts, hosts, "{host}");
    }
    let two = [
        service("v", "a", "[x]", "[{directResponse: {status: 200}}]"),
        service("v", "b", "[x]", "[{directResponse: {status: 201}}]"),
    ];
    let checked = accepted(&two.concat(), &[]);
    assert_eq!(checked.config.routes[1].matches[0].hosts[0], HostMatch::Exact("x.b".into()));
    assert!(warnings(&checked).contains("\"x\" alone is a service of another namespace: this one is x.b"));
}

#[test]
fn a_host_of_two_virtual_services_has_the_routes_of_both() {
    let text = [
        service(
            "first",
            "a",
            "[a.example]",
            "[{match: [{uri: {prefix: /a}}], directResponse: {status: 200}}, {directResponse: {status: 201}}]",
        ),
        service("second", "a", "[b.example, a.example]", &reply("/b", 202)),
        service("all", "a", "['*']", "[{directResponse: {status: 203}}]"),
    ];
    let checked = accepted(&text.concat(), &[]);
    // A route that takes everything comes after the others, whichever VirtualService has it.
    assert_eq!(
        shown(&checked.config),
        [
            "first/http[0] a.example/a*",
            "second/http[0] for a.example a.example/b*",
            "first/http[1] a.example/*",
            "second/http[0] for b.example b.example/b*",
            "second/otherwise for b.example b.example/*",
            "all/http[0] /*",
        ]
    );
    assert!(warnings(&checked).contains("is a host of first too, whose routes are looked at first"));
}

#[test]
fn a_virtual_host_ends_in_404_only_where_something_would_take_over() {
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec: {rules: [{backendRefs: [{name: x, port: 80}]}]}\n";
    let rows = [
        // No other resource takes a.example.
        (reply("/a", 200), service("w", "a", "[b.example]", &reply("/b", 201)), false),
        // The last of its routes takes all of it.
        (reply("/", 200), service("w", "a", "['*']", &reply("/b", 201)), false),
        (reply("/a", 200), service("w", "a", "['*.example']", &reply("/b", 201)), true),
        (reply("/a", 200), route.to_owned(), true),
    ];
    for (http, other, ends) in rows {
        let text = [service("v", "a", "[a.example]", &http), other].concat();
        let checked = accepted(&text, &["x=127.0.0.1:1"]);
        let ended = shown(&checked.config).contains(&"v/otherwise a.example/*".to_owned());
        assert_eq!(ended, ends, "{text}");
        assert!(!warnings(&checked).contains("never reached"), "{:?}", checked.warnings);
    }
}

#[test]
fn routes_named_alike_are_told_apart() {
    let http = "[{name: n, match: [{uri: {prefix: /x}}], directResponse: {status: 200}}, {name: n, directResponse: {status: 201}}]";
    let text = [
        service("v", "a", "[a.example]", http),
        service("v", "b", "[b.example]", "[{directResponse: {status: 200}}]"),
    ];
    let names: Vec<String> =
        accepted(&text.concat(), &[]).config.routes.into_iter().map(|route| route.name).collect();
    assert_eq!(names, ["v.a/n", "v.a/n:2", "v.b/http[0]"]);
}

#[test]
fn what_is_wrong_for_several_hosts_is_said_once() {
    let text = [
        service(
            "v",
            "a",
            "[a.example, '*.b.example', c.b.example]",
            "[{retries: {retryRemoteLocalities: true}, timeout: soon, directResponse: {status: 200}}]",
        ),
        service("w", "a", "[xx.example]", "[{directResponse: {status: 200}}]"),
    ];
    assert_eq!(refused(&text.concat(), &[]).matches("must be a duration").count(), 1);
    let text = text.concat().replace("timeout: soon, ", "");
    assert_eq!(warnings(&accepted(&text, &[])).matches("retryRemoteLocalities").count(), 1);
}

#[test]
fn endpoints_that_say_more_come_first_and_equal_ones_together() {
    let one = |endpoints: &[&str]| {
        let http = "[{route: [{destination: {host: x, port: {number: 80}}}]}]";
        upstreams(&accepted(&service("v", "a", "[a.example]", http), endpoints).config)
    };
    assert_eq!(
        one(&["x=127.0.0.1:1", "x=127.0.0.1:2,127.0.0.1:3"]),
        ["x 127.0.0.1:1,127.0.0.1:2,127.0.0.1:3"]
    );
    assert_eq!(one(&["x=127.0.0.1:1", "x:80=127.0.0.1:2"]), ["x:80 127.0.0.1:2"]);
    assert_eq!(one(&["x=127.0.0.1:1", "x.a=127.0.0.1:2"]), ["x 127.0.0.1:2"]);
    assert_eq!(one(&["x:81=127.0.0.1:1", "x=127.0.0.1:2"]), ["x:80 127.0.0.1:2"]);
}

#[test]
fn a_rule_for_a_wildcard_holds_where_none_is_closer() {
    let wild = rule("'*.local'", "trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}");
    let closer =
        rule("'*.a.svc.cluster.local'", "trafficPolicy: {connectionPool: {tcp: {maxConnections: 8}}}");
    let own = rule("x.a.svc.cluster.local", "trafficPolicy: {connectionPool: {tcp: {maxConnections: 9}}}");
    let text = service("v", "a", "[a.example]", &to("x"));
    for (rules, most) in [(vec![&wild], 7), (vec![&wild, &closer], 8), (vec![&own, &closer, &wild], 9)] {
        let rules: String = rules.into_iter().cloned().collect();
        let config = accepted(&format!("{text}{rules}"), &["x=127.0.0.1:1"]).config;
        assert_eq!(config.upstreams[0].connections_max, most);
    }
}

#[test]
fn a_port_that_nobody_has_is_named() {
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\nspec: {hosts: [api.example.com], \
                 resolution: DNS, ports: [{number: 80, name: http}]}\n";
    let http = "[{route: [{destination: {host: api.example.com, port: {number: 8080}}}]}]";
    let text = [service("v", "a", "[a.example]", http), entry.to_owned()].concat();
    let said = refused(&text, &[]);
    assert!(said.contains("the ServiceEntry of api.example.com has no port 8080 (it has 80)"), "{said}");
    let text = service("v", "a", "[a.example]", "[{match: [{port: 80}], directResponse: {status: 200}}]");
    assert!(warnings(&accepted(&text, &[])).contains("nothing listens on port 80, so nothing matches"));
}
