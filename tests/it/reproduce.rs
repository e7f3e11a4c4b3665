//! A difference can be made to happen again: its sample has the request, without its secrets, as a command and to be asked once more.

use std::process::Command;

use serde_json::{Value, json};
use tests::certificates::Authority;
use tests::cluster::PATIENCE;
use tests::origin::write;
use tests::{
    ClusterStage, Front, Gateway, H2Origin, Origin, Response, Rules, Setup, eventually, eventually_within,
};

use crate::http2_upstream::speaking;

/// Answers with a plan, as JSON.
fn service(plan: &'static str) -> Origin {
    Origin::new(move |_, stream| {
        let json = format!("{{\"plan\":\"{plan}\"}}");
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ";
        write(stream, format!("{head}{}\r\n\r\n{json}", json.len()))
    })
}

const KEYS: &str =
    "compare = {}, redact = { headers = [\"authorization\"], cookies = [\"sid\"], query = [\"token\"] }";

/// The group where plans differ, with its samples, once there is one.
fn group(gateway: &Gateway) -> Value {
    group_of(|method, target, body| gateway.admin(method, target, body))
}

/// The same, of any admin listener.
fn group_of(admin: impl Fn(&str, &str, &str) -> Response) -> Value {
    let told =
        |target: &str| -> Value { serde_json::from_str(&admin("GET", target, "").text()).expect("JSON") };
    let id = || {
        let all = told("/diffs");
        let groups = all["groups"].as_array().expect("a list").clone();
        groups
            .iter()
            .find(|of| of["field"] == "$.plan")
            .map(|of| of["id"].as_str().expect("an id").to_owned())
    };
    eventually("the difference is found", || id().is_some());
    told(&format!("/diffs/{}", id().expect("found")))
}

#[test]
fn a_difference_is_asked_for_again_without_its_secrets_and_nobody_copies_that() {
    let (v1, v2) = (service("pro"), service("free"));
    let gateway = Setup::new(&v1).mirror("v2", v2.address, KEYS).start();
    let request = "GET /users/7?token=SECRET1&page=2 HTTP/1.1\r\nHost: shop.example\r\nAuthorization: SECRET2\r\n\
                   Cookie: sid=SECRET3\r\nX-Tenant: it's \"a\" $(b)\r\nAccept: application/json\r\n\r\n";
    assert_eq!(gateway.client().ask(request).status, 200);
    let group = group(&gateway);
    assert!(!group.to_string().contains("SECRET"), "{group}");
    let sample = &group["samples"][0]["request"];
    assert_eq!(sample["is_safe"], true);
    assert_eq!(sample["left_out"], json!(["authorization", "cookie", "parameter token"]));

    // The command does as it says: it asks that service, by the client's own name for it.
    for (key, service, plan) in [("curl_primary", &v1, "pro"), ("curl_mirror", &v2, "free")] {
        let command = sample[key].as_str().expect("a command");
        let output = Command::new("sh").args(["-c", &format!("{command} -s")]).output().expect("a shell");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(plan), "{command}\n{said}{}", String::from_utf8_lossy(&output.stderr));
        let asked = service.requests();
        let last = asked.last().expect("a request");
        assert_eq!((last.target.as_str(), last.field("host")), ("/users/7?page=2", Some("shop.example")));
        assert_eq!(last.field("x-tenant"), Some("it's \"a\" $(b)"));
        assert_eq!((last.field("authorization"), last.field("x-umbra-mirror")), (None, None));
    }

    let before = (v1.count(), v2.count());
    let id = group["id"].as_str().expect("an id");
    let answer = gateway.admin("POST", &format!("/diffs/{id}/again"), "{}");
    let told: Value = serde_json::from_str(&answer.text()).expect("JSON");
    assert_eq!((&told["primary"]["status"], &told["mirror"]["status"]), (&json!(200), &json!(200)), "{told}");
    let difference =
        json!({ "field": "$.plan", "kind": "changed", "primary": "\"pro\"", "mirror": "\"free\"" });
    assert_eq!(told["differences"], json!([difference]), "{told}");
    assert_eq!((v1.count(), v2.count()), (before.0 + 1, before.1 + 1), "each was asked once");
    for service in [&v1, &v2] {
        let asked = service.requests();
        let last = asked.last().expect("a request");
        assert_eq!((last.target.as_str(), last.field("host")), ("/users/7?page=2", Some("shop.example")));
        assert_eq!(last.field("x-umbra-mirror"), Some("again"), "it says that it is no client's");
    }
    let metrics = gateway.settled("v2");
    assert_eq!(metrics.sum("umbra_mirror_eligible_total", &["mirror=\"v2\""]), 1, "no copy was made of it");
}

#[test]
fn what_may_change_something_is_a_command_and_never_asked_again() {
    let (v1, v2) = (service("pro"), service("free"));
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "compare = {}").start();
    let request = "POST /orders HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"note\":\"it's\"}";
    assert_eq!(gateway.client().ask(request).status, 200);
    let group = group(&gateway);
    let sample = &group["samples"][0]["request"];
    let command = sample["curl_mirror"].as_str().expect("a command");
    assert!(
        command.contains("-X 'POST'") && command.contains(r#"--data-raw '{"note":"it'\''s"}'"#),
        "{command}"
    );
    assert_eq!(sample["is_safe"], false);
    let before = (v1.count(), v2.count());
    let again = |body: &str| {
        let id = group["id"].as_str().expect("an id");
        gateway.admin("POST", &format!("/diffs/{id}/again"), body).status
    };
    assert_eq!(again("{}"), 409);
    assert_eq!(again("{\"request_id\":\"no such\"}"), 404);
    assert_eq!(again("{\"other\":1}"), 422);
    assert_eq!((v1.count(), v2.count()), before);
    let foreign = gateway.admin_with("POST", "/diffs/1/again", "Origin: http://evil.example\r\n", "{}");
    assert_eq!(foreign.status, 403, "a page of somebody else's asks nobody");
}

#[test]
fn who_speaks_http2_alone_is_asked_again_in_it_with_and_without_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let pair = authority.issue("v1", &["v1.internal"]);
    let (v1, v2) = (H2Origin::new(100), service("free"));
    let alpn = Rules { alpn: &["h2", "http/1.1"], ..Rules::default() };
    let front = Front::new(&pair, v1.address, alpn);
    let tls = format!("tls = {{ ca = {:?}, server_name = \"v1.internal\" }}", authority.ca);
    for (address, keys, scheme, flag) in [
        (v1.address, "protocol = \"h2\"".to_owned(), "http", Some("--http2-prior-knowledge")),
        (front.address, format!("protocol = \"h2\"\n{tls}"), "https", None),
        (front.address, format!("protocol = \"alpn\"\n{tls}"), "https", None),
    ] {
        let setup = Setup::to(&[address]).mirror("v2", v2.address, "compare = {}");
        let gateway = Gateway::start(&speaking(&setup, &keys), &[]);
        let request = "GET /users/7?page=2 HTTP/1.1\r\nHost: shop.example\r\nX-Tenant: a\r\n\r\n";
        assert_eq!(gateway.client().ask(request).status, 200);
        let told =
            || -> Value { serde_json::from_str(&gateway.admin("GET", "/diffs", "").text()).expect("JSON") };
        let first = || told()["groups"][0]["id"].as_str().map(str::to_owned);
        eventually("a difference is found", || first().is_some());
        let id = first().expect("found");
        let answer = gateway.admin("POST", &format!("/diffs/{id}/again"), "{}");
        let told: Value = serde_json::from_str(&answer.text()).expect("JSON");
        assert_eq!(
            (&told["primary"]["status"], &told["mirror"]["status"]),
            (&json!(200), &json!(200)),
            "{told}"
        );
        assert!(told["differences"].as_array().is_some_and(|all| !all.is_empty()), "{told}");
        let taken = v1.taken();
        let last = taken.last().expect("a request");
        assert_eq!(last.uri, format!("{scheme}://shop.example/users/7?page=2"));
        assert_eq!((last.field("x-umbra-mirror"), last.field("x-tenant")), (Some("again"), Some("a")));
        // The command for a shell speaks it too.
        let shown: Value =
            serde_json::from_str(&gateway.admin("GET", &format!("/diffs/{id}"), "").text()).expect("JSON");
        let command = shown["samples"][0]["request"]["curl_primary"].as_str().expect("a command");
        assert!(flag.is_none_or(|flag| command.contains(flag)), "{command}");
        if scheme == "http" {
            let before = v1.begun();
            let output = Command::new("sh").args(["-c", &format!("{command} -s")]).output().expect("a shell");
            assert!(
                String::from_utf8_lossy(&output.stdout).contains("x-origin: h2"),
                "{command}\n{output:?}"
            );
            assert_eq!(v1.begun(), before + 1);
        }
    }
}

#[test]
fn endpoints_that_a_cluster_has_are_asked_again_where_they_are_now() {
    let (v1, v2) = (service("pro"), service("free"));
    let cluster = ClusterStage::new();
    for (name, origin) in [("v1", &v1), ("v2", &v2)] {
        cluster.service("default", name, json!({"app": name}));
        cluster.pod("default", &format!("{name}-1"), json!({"app": name}), origin.address);
    }
    cluster.api.put(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mirrors"},
        "data": {"policy.toml": "[every]\ncompare = {}\n"}}));
    cluster.api.put(json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "shop", "annotations": {"umbra.dev/mirror-policy": "mirrors"}},
        "spec": {"hosts": ["shop"], "http": [{"route": [{"destination": {"host": "v1"}}], "mirror": {"host": "v2"}}]}}));
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/users/7", "200 {\"plan\":\"pro\"}");
    // Before the ConfigMap is read nothing is copied.
    eventually_within(PATIENCE, "they differ", || {
        let answered = gateway.said("shop", "/users/7");
        answered.starts_with("200") && gateway.admin("GET", "/diffs", "").text().contains("$.plan")
    });
    let group = group_of(|method, target, body| gateway.admin(method, target, body));
    let request = &group["samples"][0]["request"];
    let command = request["curl_mirror"].as_str().expect("a command");
    assert!(command.contains(&format!("--connect-to '::{}'", v2.address)), "{command}");
    let id = group["id"].as_str().expect("an id").to_owned();
    let again = || -> Value {
        let answer = gateway.admin("POST", &format!("/diffs/{id}/again"), "{}");
        serde_json::from_str(&answer.text()).expect("JSON")
    };
    let told = again();
    assert_eq!((&told["primary"]["status"], &told["mirror"]["status"]), (&json!(200), &json!(200)), "{told}");
    assert_eq!(told["differences"][0]["field"], "$.plan", "{told}");
    // Another Pod is there in its place, and answers as v1 does.
    let other = service("pro");
    cluster.slice("default", "v2", "v2-1", other.address, json!({"ready": true}));
    eventually_within(PATIENCE, "the other one is asked", || again()["differences"] == json!([]));
    assert!(other.reaches(1));
    // Without a Pod the answer says so.
    cluster.api.delete("EndpointSlice", "default", "v2-v2-1");
    let why = || again()["mirror"]["error"].as_str().unwrap_or_default().to_owned();
    eventually_within(PATIENCE, "nobody is there", || why() == "it has no endpoint");
}
