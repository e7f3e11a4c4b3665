//! CORS, rewrites and redirects of one share, sockets of this machine.

use std::time::Duration;

use super::kinds::{http_route, virtual_service};
use super::*;
use crate::{OriginMatch, Unmatched};

#[test]
fn cors_is_what_istio_and_the_gateway_api_say_of_it() {
    let route = "route: [{destination: {host: s}}]";
    let policy = |keys: &str| {
        let text =
            virtual_service("v", &format!("{{hosts: [h], http: [{{{route}, corsPolicy: {{{keys}}}}}]}}"));
        accepted(&text, &["s=127.0.0.1:1"])
    };
    let cors = |checked: &Checked| checked.config.routes[0].cors.clone().expect("it is not passed over");
    let whole = policy(
        "allowOrigins: [{exact: 'https://a.example'}, {prefix: 'https://b.'}, {regex: 'https://c[0-9]+'}], allowMethods: [GET, PUT], \
         allowHeaders: [X-A], exposeHeaders: [x-id], maxAge: 24h, allowCredentials: true, unmatchedPreflights: IGNORE",
    );
    let told = cors(&whole);
    assert_eq!(told.origins[0], OriginMatch::Exact("https://a.example".into()));
    assert_eq!(told.origins[1], OriginMatch::Prefix("https://b.".into()));
    assert!(matches!(&told.origins[2], OriginMatch::Regex(pattern) if pattern.text == "https://c[0-9]+"));
    assert_eq!(
        (told.methods.join(" "), told.headers.join(" "), told.expose.join(" ")),
        ("GET PUT".into(), "X-A".into(), "x-id".into())
    );
    assert_eq!(
        (told.max_age, told.credentials, told.unmatched),
        (Some(Duration::from_secs(86_400)), true, Unmatched::Answer)
    );
    // The older spelling, and the newer above it.
    assert_eq!(cors(&policy("allowOrigin: ['*']")).origins, [OriginMatch::Any]);
    let both = policy("allowOrigin: ['*'], allowOrigins: [{exact: 'https://a.example'}]");
    assert_eq!(cors(&both).origins.len(), 1);
    assert!(warnings(&both).contains("allowOrigin: is ignored"), "{}", warnings(&both));
    assert_eq!(cors(&policy("allowOrigin: ['*']")).unmatched, Unmatched::Forward);
    let open = policy("allowOrigins: [{regex: '.*'}], allowCredentials: true");
    assert!(
        warnings(&open).contains("corsPolicy.allowOrigins[0]") && warnings(&open).contains("credentials")
    );
    // A policy of nothing allows nothing, which is said.
    assert!(warnings(&policy("")).contains("allows no origin"));
    for (keys, told) in [
        ("unmatchedPreflights: MAYBE", "must be FORWARD or IGNORE"),
        ("allowOrigins: [{regex: '('}]", "is not a regular expression"),
        ("allowMethods: ['a b']", "is not a method"),
    ] {
        let text =
            virtual_service("v", &format!("{{hosts: [h], http: [{{{route}, corsPolicy: {{{keys}}}}}]}}"));
        assert!(refused(&text, &["s=127.0.0.1:1"]).contains(told), "{keys}");
    }
    // An answer of our own is marked like any other.
    for answer in ["redirect: {uri: /x}", "directResponse: {status: 200}"] {
        let text = virtual_service(
            "v",
            &format!("{{hosts: [h], http: [{{{answer}, corsPolicy: {{allowOrigin: ['*']}}}}]}}"),
        );
        assert_eq!(cors(&accepted(&text, &[])).origins, [OriginMatch::Any]);
    }
    let filter = |rest: &str| {
        http_route(
            "r",
            "default",
            &format!(
                "{{rules: [{{filters: [{{type: CORS, cors: {rest}}}], backendRefs: [{{name: s, port: 80}}]}}]}}"
            ),
        )
    };
    let text = filter(
        "{allowOrigins: ['https://*.a.example', 'http://b.example:80'], allowMethods: ['*'], allowCredentials: true}",
    );
    let told = cors(&accepted(&text, &["s=127.0.0.1:1"]));
    assert!(matches!(&told.origins[0], OriginMatch::Regex(_)));
    assert_eq!(told.origins[1], OriginMatch::Exact("http://b.example".into()), "as browsers write it");
    assert_eq!((told.max_age, told.unmatched), (Some(Duration::from_secs(5)), Unmatched::Answer));
    // For every origin, and each is told its own.
    let every = cors(&accepted(&filter("{allowOrigins: ['*']}"), &["s=127.0.0.1:1"]));
    assert!(matches!(every.origins.as_slice(), [OriginMatch::Regex(pattern)] if pattern.text == ".*"));
    let backend = http_route(
        "r",
        "default",
        "{rules: [{backendRefs: [{name: s, port: 80, filters: [{type: CORS, cors: {allowOrigins: ['*']}}]}]}]}",
    );
    assert!(
        refused(&backend, &["s=127.0.0.1:1"]).contains("a preflight is answered before a backend is chosen")
    );
}

#[test]
fn a_backend_may_rewrite_and_redirect_its_own_share() {
    let rules = "{rules: [{filters: [{type: URLRewrite, urlRewrite: {hostname: all.example}}], backendRefs: [\
                 {name: s, port: 80, weight: 1, filters: [{type: URLRewrite, urlRewrite: {hostname: one.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /one}}}]}, \
                 {name: t, port: 80, weight: 2, filters: [{type: RequestRedirect, requestRedirect: {hostname: two.example, statusCode: 301}}, \
                 {type: RequestMirror, requestMirror: {backendRef: {name: s, port: 80}}}]}, {name: s, port: 80}]}]}";
    let checked = accepted(&http_route("r", "default", rules), &["s=127.0.0.1:1"]);
    let [one, two, three] = checked.config.routes[0].primaries() else { panic!() };
    assert_eq!(one.rewrite.host.as_deref(), Some("one.example"));
    assert_eq!(one.rewrite.path, Some(crate::PathRewrite::Matched("/one".into())));
    let redirect = two.redirect.as_ref().expect("its share is redirected");
    assert_eq!((redirect.status, redirect.host.as_deref()), (301, Some("two.example")));
    assert_eq!((three.rewrite.host.clone(), three.redirect.clone()), (None, None));
    assert_eq!(forward(&checked.config, 0).rewrite.host.as_deref(), Some("all.example"));
    // A service that gets no request need not be known.
    assert!(!warnings(&checked).contains("no --endpoint names"), "{}", warnings(&checked));
    assert!(warnings(&checked).contains("is ignored: this share is redirected"), "{}", warnings(&checked));
    let both = rules.replace(
        "hostname: two.example, statusCode: 301}}",
        "hostname: x}}, {type: URLRewrite, urlRewrite: {hostname: y}}",
    );
    assert!(
        refused(&http_route("r", "default", &both), &["s=127.0.0.1:1"])
            .contains("cannot stand beside a redirect")
    );
    // Istio: Host of one destination.
    let text = "{hosts: [h], http: [{route: [{destination: {host: s}, weight: 1, headers: {request: {set: {Host: one.example}}}}, {destination: {host: t}, weight: 1}]}]}";
    let config = accepted(&virtual_service("v", text), &["s=127.0.0.1:1", "t=127.0.0.1:2"]).config;
    assert_eq!(config.routes[0].primaries()[0].rewrite.host.as_deref(), Some("one.example"));
}

#[test]
fn sockets_of_this_machine_are_endpoints() {
    let to = |host: &str| {
        virtual_service(
            "v",
            &format!(
                "{{hosts: [h], http: [{{route: [{{destination: {{host: {host}}}}}], mirror: {{host: m}}}}]}}"
            ),
        )
    };
    let entry = |address: &str| {
        format!(
            "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: e}}, spec: {{hosts: [e.example], \
             resolution: STATIC, endpoints: [{{address: '{address}'}}], ports: [{{number: 80, name: http}}]}}}}\n"
        )
    };
    for written in ["unix:///run/app.sock", "unix:/run/app.sock"] {
        let config = accepted(&[to("e.example"), entry(written)].concat(), &["m=unix:/run/m.sock"]).config;
        let shown: Vec<String> =
            config.upstreams.iter().map(|upstream| upstream.endpoints[0].to_string()).collect();
        assert!(
            shown.contains(&"unix:/run/app.sock".to_owned())
                && shown.contains(&"unix:/run/m.sock".to_owned()),
            "{shown:?}"
        );
    }
    let said = refused(&[to("e.example"), entry("unix:app.sock")].concat(), &["m=127.0.0.1:1"]);
    assert!(said.contains("is not the whole path of a socket"), "{said}");
}
