//! Addresses to listen on, and endpoints.

use super::*;

#[test]
fn addresses_to_listen_on_are_checked() {
    let binds = ["localhost:8080", ":8080", "127.0.0.1", "127.0.0.1:65536", "[::1]", "::1:80", "off", ""];
    for bind in binds {
        let message = format!("{bind:?} is not an IP address and port");
        check(&starting(&format!("[[listener]]\nbind = {bind:?}")), &[(2, "listener[0].bind", &message)]);
        if bind != "off" {
            check(
                &starting(&format!("[admin]\nbind = {bind:?}")),
                &[(2, "admin.bind", "or \"off\" for none")],
            );
        }
    }
    let rows: &[(&str, &[Said<'_>])] = &[
        ("listener = []", &[(1, "listener", "leave the key out to listen on 127.0.0.1:8080")]),
        (
            "[[listener]]\nbind = \"1.1.1.1:1\"\n[[listener]]\nbind = \"1.1.1.1:1\"",
            &[(4, "listener[1].bind", "another listener")],
        ),
        ("[[listener]]\nbind = \"1.1.1.1:1\"\n[[listener]]\nbind = \"1.1.1.1:2\"", &[]),
        ("[[listener]]\nbind = \"1.1.1.1:0\"\n[[listener]]\nbind = \"1.1.1.1:0\"", &[]),
        (
            "[admin]\nbind = \"127.0.0.1:8080\"",
            &[(2, "admin.bind", "127.0.0.1:8080 is already taken by a listener")],
        ),
        (
            "[[listener]]\nbind = \"0.0.0.0:80\"\n[admin]\nbind = \"127.0.0.1:80\"",
            &[(4, "admin.bind", "already taken")],
        ),
        ("[[listener]]\nbind = \"0.0.0.0:80\"\n[admin]\nbind = \"[::1]:80\"", &[]),
        ("[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"", &[]),
        ("[admin]\nbind = \"off\"", &[]),
    ];
    for (head, said) in rows {
        check(&starting(head), said);
    }
    assert_eq!(
        accepted(&starting("admin.bind = \"off\"")).config.admin,
        Admin { bind: None, token: None, tls: None, history: None }
    );
}

#[test]
fn endpoints_are_an_address_or_a_name_with_a_port() {
    let address = |text: &str| Host::Address(text.parse().unwrap());
    let name = |text: &str| Host::Name(text.into());
    let good = [
        ("10.0.0.1:80", address("10.0.0.1"), 80),
        ("[::1]:65535", address("::1"), 65_535),
        ("[2001:DB8::1]:1", address("2001:db8::1"), 1),
        ("localhost:9001", name("localhost"), 9001),
        ("V1.Default.svc.cluster.local:80", name("v1.default.svc.cluster.local"), 80),
        ("v1.default.svc.:80", name("v1.default.svc."), 80),
        ("my_service-2:80", name("my_service-2"), 80),
        ("1a:80", name("1a"), 80),
        ("unix:/run/app.sock", Host::Unix("/run/app.sock".into()), 0),
        ("unix:///run/App:1.sock", Host::Unix("/run/App:1.sock".into()), 0),
    ];
    for (text, host, port) in good {
        let config = accepted(&starting("").replace("10.0.0.1:80", text)).config;
        assert_eq!(config.upstreams[0].endpoints, [Endpoint { host, port }], "{text}");
    }
    let bad = [
        ("10.0.0.1", "has no port"),
        ("localhost", "has no port"),
        ("localhost:", "has no port from 1 to 65535"),
        ("localhost:http", "has no port from 1 to 65535"),
        ("localhost:65536", "has no port from 1 to 65535"),
        ("localhost:+80", "has no port from 1 to 65535"),
        ("localhost:0", "has port 0"),
        ("10.0.0.1:0", "has port 0"),
        (":80", "has no host"),
        ("", "has no port"),
        ("http://v1:80", "has a scheme"),
        ("v1/x:80", "has '/', which no host name has"),
        ("v 1:80", "has ' ', which no host name has"),
        ("user@v1:80", "has '@', which no host name has"),
        ("bücher.example:80", "write the ASCII form"),
        ("::1:80", "IPv6 address without brackets"),
        ("[::1]", "is not an IPv6 address and port"),
        ("[10.0.0.1]:80", "is not an IPv6 address and port"),
        ("[fe80::1%eth0]:80", "is not an IPv6 address and port"),
        ("10.0.0.256:80", "ends like an IPv4 address but is none"),
        ("10.0.0:80", "ends like an IPv4 address but is none"),
        ("v1..example:80", "has an empty label"),
        (".v1:80", "has an empty label"),
        ("unix:", "is not the whole path of a socket"),
        ("unix:app.sock", "is not the whole path of a socket"),
        ("unix:/run/", "is not the whole path of a socket"),
        ("unix:@app", "is not the whole path of a socket"),
    ];
    for (text, message) in bad {
        let file = starting("").replace("10.0.0.1:80", text);
        check(&file, &[(3, "upstream.v1.endpoints[0]", message)]);
    }
    let path = format!("unix:/{}", "a".repeat(107));
    check(
        &starting("").replace("10.0.0.1:80", &path),
        &[(3, "upstream.v1.endpoints[0]", "107 bytes at most")],
    );
    let long = format!("{}:80", "a".repeat(64));
    check(&starting("").replace("10.0.0.1:80", &long), &[(3, "upstream.v1.endpoints[0]", "longer than")]);
}
