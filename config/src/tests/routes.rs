//! Problems and warnings of routes and their mirrors.

use super::*;

#[test]
fn hosts_of_routes_are_lower_case_names_without_port() {
    let exact = |text: &str| HostMatch::Exact(text.into());
    let good = [
        ("example.com", exact("example.com")),
        ("EXAMPLE.Com", exact("example.com")),
        ("127.0.0.1", exact("127.0.0.1")),
        ("[::1]", exact("[::1]")),
        ("[0:0:0::0:1]", exact("[::1]")),
        ("[2001:DB8::0001]", exact("[2001:db8::1]")),
        ("127.0.0.1.", exact("127.0.0.1")),
        ("XN--BCHER-kva.example.", exact("xn--bcher-kva.example")),
        ("*-V2.Example.com.", HostMatch::Suffix("-v2.example.com".into())),
        ("*.Example.com", HostMatch::Suffix(".example.com".into())),
        ("*.com", HostMatch::Suffix(".com".into())),
    ];
    for (text, host) in good {
        let config = accepted(&routing(&format!("host = {text:?}"))).config;
        assert_eq!(config.routes[0].matches[0].hosts, [host], "{text}");
    }
    let bad = [
        ("example.com:8080", "has a port, which a route does not look at; write \"example.com\""),
        ("[::1]:80", "has a port, which a route does not look at; write \"[::1]\""),
        ("*", "leave the key out to match every host"),
        ("*.", "has no host"),
        ("*.*.com", "has '*', which no host name has"),
        ("a.*.com", "only the leftmost label"),
        ("a*.com", "only the leftmost label"),
        ("*example.com", "only the leftmost label"),
        ("", "has no host"),
        ("example.com..", "has an empty label"),
        ("exa mple.com", "has ' '"),
        ("http://example.com", "has ':'"),
        ("::1", "has ':'"),
        ("bücher.example", "xn--"),
        ("[fe80::1%25eth0]", "has '['"),
        ("example.com:080", "write \"example.com\""),
        ("*-", "only the leftmost label"),
    ];
    for (text, message) in bad {
        check(&routing(&format!("host = {text:?}")), &[(5, "route[0].host", message)]);
    }
}

#[test]
fn paths_methods_and_names_of_routes_are_checked() {
    let rows: &[(&str, &[Said<'_>])] = &[
        ("path = \"/a/b%20c\"", &[]),
        ("path_prefix = \"/\"", &[]),
        ("path = \"\"", &[(5, "route[0].path", "does not start with \"/\"")]),
        ("path_prefix = \"api\"", &[(5, "route[0].path_prefix", "\"api\" does not start with \"/\"")]),
        ("path = \"/a?b\"", &[(5, "route[0].path", "has '?', which ends a path")]),
        ("path = \"/a#b\"", &[(5, "route[0].path", "has '#', which ends a path")]),
        ("path = \"/a b\"", &[(5, "route[0].path", "percent-encode it")]),
        ("path = \"/é\"", &[(5, "route[0].path", "percent-encode it")]),
        ("path_prefix = \"/a\"\npath = \"/b\"", &[(5, "route[0].path_prefix", "not both; path is \"/b\"")]),
        ("methods = []", &[(5, "route[0].methods", "leave the key out to match every method")]),
        ("methods = [\"GET\", \"PURGE\", \"M-SEARCH\"]", &[]),
        (
            "methods = [\"GET\",\n\"A B\",\n\"\"]",
            &[
                (6, "route[0].methods[1]", "\"A B\" is not a method"),
                (7, "route[0].methods[2]", "\"\" is not a method"),
            ],
        ),
        ("name = \"\"", &[(5, "route[0].name", "cannot be a name")]),
        ("name = \"a\\\"b\"", &[(5, "route[0].name", "cannot be a name")]),
        ("name = \"shop/api\"", &[]),
        (
            "name = \"a\"\n[[route]]\nname = \"a\"\nprimary = \"v1\"",
            &[(7, "route[1].name", "\"a\" is already the name of route[0]")],
        ),
        (
            "name = \"route-2\"\n[[route]]\nprimary = \"v1\"",
            &[(6, "route[1].name", "\"route-2\" is already the name of route[0]")],
        ),
    ];
    for (tail, said) in rows {
        check(&routing(tail), said);
    }
}

#[test]
fn mirrors_of_a_route_have_names_of_their_own() {
    let at = |index| format!("route[0].mirrors[{index}].name");
    let rows: &[(&str, &[Said<'_>])] = &[
        (
            "mirrors = [{ upstream = \"v2\" },\n{ upstream = \"v2\" }]",
            &[(6, &at(1), "already the name of another mirror")],
        ),
        (
            "mirrors = [{ upstream = \"v2\", name = \"a\" },\n{ upstream = \"v2\", name = \"a\" }]",
            &[(6, &at(1), "\"a\" is already")],
        ),
        ("mirrors = [{ upstream = \"v2\", name = \"a b\" }]", &[(5, &at(0), "\"a b\" cannot be a name")]),
        ("mirrors = [{ upstream = \"v2\", name = \"\" }]", &[(5, &at(0), "cannot be a name")]),
        ("mirrors = [{ upstream = \"v2\", name = \"a\\r\\nX: y\" }]", &[(5, &at(0), "cannot be a name")]),
        ("mirrors = [{ upstream = \"v2\", name = \"é\" }]", &[(5, &at(0), "cannot be a name")]),
    ];
    for (tail, said) in rows {
        check(&routing(tail), said);
    }
}

#[test]
fn the_host_of_copies_is_kept_shadowed_or_a_value_that_host_may_have() {
    let literal = |text: &str| MirrorHost::Literal(text.into());
    let good = [
        ("keep", MirrorHost::Keep),
        ("shadow", MirrorHost::Shadow),
        ("v2.example.com", literal("v2.example.com")),
        ("v2.example.com:8080", literal("v2.example.com:8080")),
        ("V2.example.com.", literal("V2.example.com.")),
        ("10.0.0.2", literal("10.0.0.2")),
        ("[::1]", literal("[::1]")),
        ("[::1]:80", literal("[::1]:80")),
    ];
    for (text, host) in good {
        assert_eq!(accepted(&mirroring(&format!("host = {text:?}"))).config.routes[0].mirrors[0].host, host);
    }
    let bad = [
        ("", "has no host"),
        (":80", "has no host"),
        ("a b", "has ' '"),
        ("a\\tb", "has '\\t'"),
        ("a\\r\\nX: y", "after its colon"),
        ("a/b", "has '/'"),
        ("u@b", "has '@'"),
        ("a:b", "after its colon"),
        ("a:", "after its colon"),
        ("a:99999", "after its colon"),
        ("http://a", "after its colon"),
        ("é", "xn--"),
        ("Keep", "neither"),
        ("SHADOW", "neither"),
    ];
    for (text, message) in bad {
        check(&mirroring(&format!("host = \"{text}\"")), &[(7, "route[0].mirrors[0].host", message)]);
    }
}
