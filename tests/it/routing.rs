//! Matches and actions of routes, on the wire.

use std::time::{Duration, Instant};

use tests::origin::{After, write};
use tests::{Gateway, Origin, Response, Setup, eventually};

/// A gateway whose routes are `routes`, before the upstreams a, b and m.
fn gateway(routes: &str, origins: [&Origin; 3]) -> Gateway {
    let names = ["a", "b", "m"].iter().zip(origins);
    let upstreams: String = names
        .map(|(name, origin)| format!("[upstream.{name}]\nendpoints = [\"{}\"]\n", origin.address))
        .collect();
    let start =
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n[workers]\ncount = 1\n";
    Gateway::start(&format!("{start}{upstreams}{routes}"), &[])
}

fn origins() -> [Origin; 3] {
    ["a", "b", "m"].map(Origin::named)
}

fn ask(gateway: &Gateway, method: &str, target: &str, lines: &str) -> Response {
    gateway.client().ask(format!("{method} {target} HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n"))
}

#[test]
fn a_condition_on_host_reads_the_authority_that_is_sent() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let toml = Setup::new(&v1)
        .mirror("v2", v2.address, "only = { when = [{ header = \"host\", exact = \"shown\" }] }")
        .toml();
    let closed = "[[route]]\nwhen = [{ header = \"host\", exact = \"internal\" }]\nreply = { status = 403 }\n[[route]]\n";
    let gateway = Gateway::start(&toml.replacen("[[route]]\n", closed, 1), &[]);
    let ask = |target: &str, host: &str| {
        gateway.client().ask(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).status
    };
    assert_eq!(ask("/", "internal"), 403);
    assert_eq!(ask("http://internal/", "other"), 403, "the field beside an absolute target says nothing");
    assert_eq!(ask("http://other/", "internal"), 200);
    assert_eq!(ask("http://shown/", "other"), 200);
    v2.wait_for(1);
    let sent: Vec<_> = v1.requests().iter().map(|request| request.field("host").map(str::to_owned)).collect();
    assert_eq!(sent, [Some("other".to_owned()), Some("shown".to_owned())]);
    gateway.settled("v2");
    assert_eq!(v2.count(), 1, "what is mirrored is chosen by what is sent");
}

#[test]
fn a_request_goes_where_the_first_match_says() {
    let [a, b, m] = origins();
    let gateway = gateway(
        r#"
        [[route]]
        matches = [
            { path_elements = "/app", when = [{ header = "x-beta", exact = "yes" }] },
            { path_regex = "/v[0-9]+/.*", methods = ["PUT"] },
            { when = [{ query = "beta" }, { header = "cookie", regex = ".*user=ada.*" }] },
        ]
        primary = "b"
        [[route]]
        hosts = ["a.example", "[address]"]
        path_prefix = "/APP"
        ignore_case = true
        primary = "a"
        [[route]]
        path = "/closed"
        reply = { status = 403, body = "no entry\n" }
        "#,
        [&a, &b, &m],
    );
    for (method, target, lines, expect) in [
        ("GET", "/app", "", "a"),
        ("GET", "/application", "X-Beta: yes\r\n", "a"),
        ("GET", "/app/x", "X-Beta: yes\r\n", "b"),
        ("GET", "/app/x", "X-Beta: no\r\n", "a"),
        ("PUT", "/v12/x", "Content-Length: 0\r\n", "b"),
        ("GET", "/elsewhere?beta=1", "Cookie: a=b; user=ada\r\n", "b"),
        ("GET", "/closed", "", "no entry\n"),
    ] {
        assert_eq!(ask(&gateway, method, target, lines).text(), expect, "{method} {target} {lines}");
    }
    assert_eq!(ask(&gateway, "GET", "/v12/x", "").status, 404);
    let by_address = gateway.client().ask(format!("GET /app HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address));
    assert_eq!(by_address.text(), "a");
    assert!(m.requests().is_empty());
}

#[test]
fn path_host_and_headers_change_for_the_primary_and_its_copies_alike() {
    let [a, b, m] = origins();
    let gateway = gateway(
        r#"
        [[route]]
        path_prefix = "/api/"
        primary = "a"
        rewrite = { path_prefix = "/", host = "inner.example" }
        request_headers = { remove = ["x-secret"], set = { x-env = "test" }, add = { x-env = "more" } }
        response_headers = { remove = ["server"], set = { x-by = "umbra" } }
        mirrors = [{ upstream = "m" }]
        [[route]]
        path_regex = "/users/[0-9]+"
        rewrite = { path_regex = "^/users/([0-9]+)$", path_with = "/u?" }
        primary = "b"
        "#
        .replace("/u?", r"/u/\\1")
        .as_str(),
        [&a, &b, &m],
    );
    let answer = ask(&gateway, "GET", "/api/x?q=/api/", "X-Secret: s\r\nX-Env: live\r\n");
    assert_eq!((answer.text().as_str(), answer.field("x-by")), ("a", Some("umbra")));
    let (sent, copied) = (a.wait_for(1).swap_remove(0), m.wait_for(1).swap_remove(0));
    for request in [&sent, &copied] {
        assert_eq!(request.target, "/x?q=/api/");
        assert_eq!(request.values("host"), ["inner.example"]);
        assert_eq!(request.values("x-env"), ["test", "more"]);
        assert_eq!(request.field("x-secret"), None);
        assert_eq!(request.values("x-forwarded-host"), ["a.example"]);
    }
    ask(&gateway, "GET", "/users/42", "");
    assert_eq!(b.wait_for(1)[0].target, "/u/42");
}

#[test]
fn redirects_replies_and_faults_are_the_gateways_own_and_nothing_is_copied() {
    let [a, b, m] = origins();
    let gateway = gateway(
        r#"
        [[route]]
        path_elements = "/old"
        redirect = { status = 308, path_prefix = "/new" }
        [[route]]
        path = "/empty"
        reply = { status = 204 }
        response_headers = { set = { x-by = "umbra" } }
        [[route]]
        path = "/abort"
        fault = { abort = 418 }
        primary = "a"
        mirrors = [{ upstream = "m" }]
        [[route]]
        path = "/late"
        fault = { delay = "300ms" }
        primary = "b"
        mirrors = [{ upstream = "m" }]
        "#,
        [&a, &b, &m],
    );
    let mut client = gateway.client();
    let moved = client.ask("GET /old/x?q=1 HTTP/1.1\r\nHost: a.example:81\r\n\r\n");
    assert_eq!((moved.status, moved.field("location")), (308, Some("http://a.example:81/new/x?q=1")));
    let with_content = client.ask("POST /old HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!((with_content.status, with_content.field("location")), (308, Some("http://a/new")));
    let empty = client.ask("GET /empty HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        (empty.status, empty.field("x-by"), empty.field("content-length")),
        (204, Some("umbra"), None)
    );
    assert_eq!(client.ask("GET /abort HTTP/1.1\r\nHost: a\r\n\r\n").status, 418);
    let started = Instant::now();
    assert_eq!(client.ask("GET /late HTTP/1.1\r\nHost: a\r\n\r\n").text(), "b");
    assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
    m.wait_for(1);
    assert_eq!((a.count(), b.count(), m.count()), (0, 1, 1));
    let counted = |code: &str| gateway.metrics().sum("umbra_requests_total", &[&format!("code=\"{code}\"")]);
    eventually("they are counted", || (counted("308"), counted("418")) == (2, 1));
}

#[test]
fn a_try_that_fails_is_made_again_as_the_route_says_and_copied_once() {
    let answers = |statuses: &'static [u16]| {
        let turn = std::sync::atomic::AtomicUsize::new(0);
        Origin::new(move |_, stream| {
            let n = turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            match statuses[n.min(statuses.len() - 1)] {
                0 => After::Reset,
                status => write(stream, format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")),
            }
        })
    };
    let (a, b, m) = (answers(&[503, 0, 502, 200]), answers(&[500]), Origin::named("m"));
    let gateway = gateway(
        r#"
        [[route]]
        path = "/gateway-errors"
        primary = "a"
        retries = { attempts = 3, on = ["gateway_error", "reset"], backoff = "1ms" }
        mirrors = [{ upstream = "m" }]
        [[route]]
        path = "/five-hundred"
        primary = "b"
        retries = { attempts = 2, on = ["5xx"], backoff = "1ms" }
        [[route]]
        path = "/never"
        primary = "b"
        "#,
        [&a, &b, &m],
    );
    let post = |path: &str| {
        gateway.client().ask(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")).status
    };
    assert_eq!(post("/gateway-errors"), 200);
    let tries = a.wait_for(4);
    assert!(tries.iter().all(|request| request.body == b"hi"), "{tries:?}");
    assert_eq!((a.count(), m.wait_for(1).len()), (4, 1));
    assert_eq!(post("/five-hundred"), 500, "the last try's answer is the client's");
    assert_eq!(b.count(), 3);
    assert_eq!(post("/never"), 500);
    assert_eq!(b.count(), 4);
    let retries = || gateway.metrics().sum("umbra_upstream_retries_total", &[]);
    eventually("five retries are counted", || retries() == 5);
    assert_eq!(m.count(), 1, "a request is copied once, however often it is tried");
    gateway.settled("m");
    let outcomes = gateway.admin("GET", "/outcomes", "").text();
    let outcomes: serde_json::Value = serde_json::from_str(&outcomes).expect("JSON");
    let pair = &outcomes["outcomes"][0]["matrix"];
    assert_eq!(
        pair,
        &serde_json::json!([{ "primary": "503", "mirror": "200", "count": 1 }]),
        "by the first try"
    );
}

#[test]
fn a_route_has_its_own_patience() {
    let gate = tests::load::Gate::closed();
    let held = gate.clone();
    let slow = Origin::new(move |_, stream| {
        held.wait();
        write(stream, tests::load::OK)
    });
    let half = Origin::scripted(|conn| {
        conn.request();
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        conn.hang()
    });
    let m = Origin::named("m");
    let gateway = gateway(
        "[[route]]\npath = \"/whole\"\ntimeout = \"300ms\"\nprimary = \"a\"\n\
         [[route]]\npath = \"/try\"\nprimary = \"a\"\nretries = { attempts = 1, per_try_timeout = \"200ms\", backoff = \"1ms\" }\n\
         [[route]]\npath = \"/half\"\ntimeout = \"2s\"\nprimary = \"b\"\n",
        [&slow, &half, &m],
    );
    let started = Instant::now();
    assert_eq!(ask(&gateway, "GET", "/whole", "").status, 504);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(ask(&gateway, "GET", "/try", "").status, 504);
    assert_eq!(slow.wait_for(3).len(), 3, "the try was made again");
    let mut client = gateway.client();
    client.send("GET /half HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.try_response(false).is_err(), "an answer cut short never looks whole");
    gate.open();
}

#[test]
fn a_primary_that_nobody_knows_takes_its_share_and_answers_500() {
    let [a, b, m] = origins();
    let gateway = gateway(
        r#"
        [[route]]
        primaries = [{ upstream = "a", weight = 1 }, { upstream = "!", weight = 1 }]
        "#,
        [&a, &b, &m],
    );
    let mut client = gateway.client();
    let mut seen = [0; 2];
    for _ in 0..200 {
        let status = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status;
        seen[usize::from(status == 500)] += 1;
        assert!(matches!(status, 200 | 500), "{status}");
    }
    assert!(seen.iter().all(|n| (50..150).contains(n)), "{seen:?}");
    assert_eq!(a.count(), seen[0]);
}

#[test]
fn shares_of_primaries_hold_over_many_requests() {
    let [a, b, m] = origins();
    let gateway = gateway(
        "[[route]]\nprimaries = [{ upstream = \"a\", weight = 80 }, { upstream = \"b\", weight = 20, \
         response_headers = { set = { x-version = \"2\" } } }]\n",
        [&a, &b, &m],
    );
    let mut client = gateway.client();
    for _ in 0..1_000 {
        let answer = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(answer.field("x-version"), (answer.text() == "b").then_some("2"));
    }
    // 200 ± 5 sigma.
    assert!((137..264).contains(&b.count()), "{}", b.count());
    assert_eq!(a.count() + b.count(), 1_000);
}

#[test]
fn what_a_mirrors_own_version_answered_is_not_set_beside_its_copy() {
    let [a, b, m] = origins();
    // Clients are sent to b already, by weight; copies of their requests go to b too, and to a once more.
    let gateway = gateway(
        r#"
        [[route]]
        name = "all"
        primaries = [{ upstream = "a", weight = 1 }, { upstream = "b", weight = 1 }]
        mirrors = [{ upstream = "b", compare = {} }, { upstream = "m", role = "baseline" }]
        "#,
        [&a, &b, &m],
    );
    let mut client = gateway.client();
    let by_a = (0..100).filter(|id| client.ask(tests::load::get(*id)).text() == "a").count() as u64;
    assert!((20..80).contains(&by_a), "{by_a}");
    gateway.settled("b");
    gateway.settled("m");
    let told = |page: &str| -> serde_json::Value {
        serde_json::from_str(&gateway.admin("GET", page, "").text()).expect("JSON")
    };
    for mirror in ["b", "m"] {
        eventually("all are paired", || {
            let outcomes = told(&format!("/outcomes?mirror={mirror}"));
            let pairs = outcomes["outcomes"][0]["pairs"].as_u64();
            assert!(pairs.is_none_or(|pairs| pairs <= by_a), "{outcomes:#}");
            pairs == Some(by_a)
        });
    }
    eventually("all are compared", || {
        let tallies = told("/diffs")["compared"].as_array().cloned().unwrap_or_default();
        let compared: Vec<_> = tallies.iter().map(|tally| tally["compared"].as_u64()).collect();
        compared == [Some(by_a), Some(by_a)]
    });
}

#[test]
fn a_primary_that_is_its_own_mirror_is_set_beside_itself() {
    let [a, b, m] = origins();
    let gateway = gateway(
        "[[route]]\nprimary = \"a\"\nmirrors = [{ upstream = \"a\", name = \"v2\" }]\n",
        [&a, &b, &m],
    );
    assert_eq!(gateway.client().ask(tests::load::get(0)).text(), "a");
    gateway.settled("v2");
    eventually("the pair is counted", || {
        gateway.admin("GET", "/outcomes", "").text().contains("\"pairs\":1")
    });
}
