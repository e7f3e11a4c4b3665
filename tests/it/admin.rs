//! The admin listener among strangers: the pages that each client may read, and the clients that can block it for others.

use serde_json::{Value, json};
use tests::{Client, Gateway, Origin, PATIENCE, Setup};

const TOKEN: &str = "nobody-guesses-this";

fn with_token(setup: &Setup) -> String {
    setup.toml().replace("[admin]\n", &format!("[admin]\ntoken = \"{TOKEN}\"\n"))
}

const PAGES: [&str; 14] = [
    "/",
    "/dashboard/app.js",
    "/metrics",
    "/config",
    "/routes",
    "/mirrors",
    "/live",
    "/live/distributions",
    "/histograms",
    "/outcomes",
    "/verdict",
    "/openapi.json",
    "/diffs",
    "/nowhere",
];

#[test]
fn a_page_in_a_browser_whose_name_was_turned_to_this_machine_is_told_nothing() {
    let gateway = Setup::new(&Origin::named("v1")).start();
    let port = gateway.admin.port();
    for page in PAGES {
        let answer = gateway.admin_with("GET", page, &format!("Host: evil.example:{port}\r\n"), "");
        assert_eq!(answer.status, 403, "{page}: {}", answer.text());
        assert!(answer.text().contains("addressed as localhost or by IP address"), "{}", answer.text());
        for own in [format!("localhost:{port}"), format!("[::1]:{port}"), "127.0.0.1".to_owned()] {
            let answer = gateway.admin_with("GET", page, &format!("Host: {own}\r\n"), "");
            assert_eq!(answer.status, if page == "/nowhere" { 404 } else { 200 }, "{page} of {own}");
        }
    }
    for probe in ["/healthz", "/readyz"] {
        assert_eq!(gateway.admin_with("GET", probe, "Host: pod.example\r\n", "").status, 200);
        let two = format!("Host: localhost:{port}\r\nHost: evil.example\r\n");
        assert_eq!(gateway.admin_with("GET", probe, &two, "").status, 400, "RFC 9112 §3.2");
    }
}

#[test]
fn a_policy_is_taken_from_no_strange_page_and_no_longer_than_one_is() {
    let gateway = Setup::new(&Origin::named("v1")).start();
    let post = |lines: &str, text: &str| gateway.admin_with("POST", "/verdict", lines, text);
    let strange = "Host: localhost\r\nOrigin: http://evil.example\r\n";
    for path in ["/verdict", "/verdict/gate"] {
        assert_eq!(gateway.admin_with("POST", path, strange, "").status, 403, "{path}");
        let long = gateway.admin_with("POST", path, "Host: localhost\r\n", &" ".repeat(70_000));
        assert_eq!(long.status, 413, "{path}");
    }
    assert_eq!(post("Host: localhost\r\n", "samples_min = 5").status, 200);
    // However much is wrong with it, as much is told as anybody reads.
    let wrong = post("Host: localhost\r\n", &format!("ignore_routes = [{}0]", "0,".repeat(30_000)));
    assert_eq!(wrong.status, 422);
    assert!(wrong.body.len() < 300_000, "{} bytes", wrong.body.len());
    assert!(wrong.text().contains("and 29001 more"), "{}", &wrong.text()[wrong.text().len() - 200..]);
}

#[test]
fn a_listener_that_expects_strangers_is_scraped_by_whatever_name() {
    let setup = Setup::new(&Origin::named("v1"));
    let everywhere = setup.toml().replace("[admin]\nbind = \"127.0.0.1:0\"", "[admin]\nbind = \"0.0.0.0:0\"");
    for toml in [with_token(&setup), everywhere] {
        let gateway = Gateway::start(&toml, &[]);
        let answer = gateway.admin_with("GET", "/metrics", "Host: umbra.gateway:9901\r\n", "");
        assert_eq!(answer.status, 200, "{toml}");
    }
}

#[test]
fn what_header_edits_set_is_shown_to_who_may_change_it_and_to_nobody_else() {
    let edits = |n: usize| {
        format!(
            "request_headers = {{ set = {{ x-{n} = \"S3CRET-{n}\" }}, add = {{ authorization = \"Bearer S3CRET-{n}\" }} }}"
        )
    };
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let setup = Setup::new(&v1).mirror("v2", v2.address, &edits(1));
    let primaries = format!("primaries = [{{ upstream = \"primary\", {} }}]\n{}\n", edits(2), edits(3));
    let toml = |text: String| text.replace("primary = \"primary\"\n", &primaries);
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let strangers = setup.toml().replace("[admin]\nbind = \"127.0.0.1:0\"", "[admin]\nbind = \"0.0.0.0:0\"");
    let rows = [
        (with_token(&setup), "", 0),
        (with_token(&setup), bearer.as_str(), 6),
        (strangers, "", 0),
        (setup.toml(), "", 6),
    ];
    for (text, lines, shown) in rows {
        let gateway = Gateway::start(&toml(text), &[]);
        let told = gateway.admin_with("GET", "/config", lines, "").text();
        assert_eq!(told.matches("S3CRET").count(), shown, "{lines:?}: {told}");
        assert_eq!(told.matches("[masked: ").count(), 6 - shown, "{lines:?}: {told}");
        if gateway.admin_with("GET", "/diffs", &bearer, "").status == 200 && shown == 0 {
            // A client that puts the shown text back would set every header to the mask.
            let answer = gateway.admin_with("PUT", "/config", &bearer, &told);
            assert_eq!(answer.status, 422, "{}", answer.text());
            assert!(answer.text().contains("is masked"), "{}", answer.text());
        }
    }
}

#[test]
fn content_that_never_ends_keeps_nobody_else_out() {
    let gateway = Setup::new(&Origin::named("v1")).start();
    let begun = "POST /verdict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n";
    let mut slow: Vec<Client> = Vec::new();
    for _ in 0..70 {
        let mut client = Client::connect(gateway.admin);
        client.send(begun);
        slow.push(client);
    }
    let asked = std::time::Instant::now();
    assert_eq!(gateway.admin("GET", "/healthz", "").status, 200);
    assert!(asked.elapsed() < std::time::Duration::from_secs(5), "{:?}", asked.elapsed());
    // The newest is still there, and is told that it took too long.
    let newest = slow.last_mut().expect("seventy");
    assert!(newest.hears_within(2 * PATIENCE));
    assert_eq!(newest.response().status, 408);
}

#[test]
fn who_may_not_change_anything_is_refused_before_their_content_is_read() {
    let gateway = Gateway::start(&with_token(&Setup::new(&Origin::named("v1"))), &[]);
    let mut stranger = Client::connect(gateway.admin);
    let asked = std::time::Instant::now();
    let answer = stranger.ask("PUT /config HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    assert_eq!(answer.status, 401);
    assert!(asked.elapsed() < std::time::Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[test]
fn a_share_that_was_patched_is_told_beside_the_one_that_is_configured() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let setup = Setup::new(&v1).mirror("again", v1.address, "role = \"baseline\"").mirror(
        "v2",
        v2.address,
        "percent = 5, compare = {}",
    );
    let gateway = setup.start();
    assert_eq!(gateway.admin("PATCH", "/mirrors/v2", r#"{"percent": 0}"#).status, 200);
    let told: Value = serde_json::from_str(&gateway.admin("GET", "/mirrors", "").text()).expect("JSON");
    let of = |at: usize| {
        ["name", "role", "percent", "configured_percent"].map(|key| told["mirrors"][at][key].clone())
    };
    assert_eq!(json!(of(0)), json!(["again", "baseline", 100.0, 100.0]));
    assert_eq!(json!(of(1)), json!(["v2", "candidate", 0.0, 5.0]));
}
