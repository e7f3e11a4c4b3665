//! GRPCRoute: calls are taken, answered and copied in HTTP/2, from files and in a cluster.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};
use tests::cluster::PATIENCE;
use tests::h2_origin::H2Origin;
use tests::http2::{DATA, END, Heard, Raw, frame, headers, request};
use tests::{ClusterStage, Origin, Process, eventually_within};

/// Makes one call on a connection of its own.
fn call(address: SocketAddr, authority: &str, path: &str) -> Heard {
    let mut raw = Raw::connect(address);
    let fields = [(":authority", authority), ("content-type", "application/grpc"), ("te", "trailers")];
    raw.send(&headers(1, 0, &request("POST", path, &fields)));
    raw.send(&frame(DATA, END, 1, b"\0\0\0\0\x02hi"));
    raw.response(1)
}

/// The origin that answers a call, or the status that the gateway gives it.
fn said(heard: &Heard) -> String {
    match heard.field("grpc-status") {
        "" => format!("{} {}", heard.status(), heard.field("x-origin")),
        status => format!("grpc {status}"),
    }
}

#[track_caller]
fn says(address: SocketAddr, path: &str, wanted: &str) {
    eventually_within(PATIENCE, wanted, || said(&call(address, "calls.test", path)) == wanted);
}

fn copies(mirror: &H2Origin) -> Vec<String> {
    let of = |one: tests::h2_origin::Taken| {
        assert!(one.field("x-umbra-mirror").is_some() && one.body == b"\0\0\0\0\x02hi", "{one:?}");
        one.uri.rsplit_once(".Carts").map(|(_, path)| path.to_owned()).unwrap_or_default()
    };
    mirror.taken().into_iter().map(of).collect()
}

fn route(name: &str, kind: &str, created: &str, rules: Value) -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "metadata": {"name": name, "creationTimestamp": created},
        "spec": {"parentRefs": [{"name": "gw"}], "hostnames": ["calls.test"], "rules": rules}})
}

/// Calls of one service, with a mirror.
fn rules() -> Value {
    json!([{
        "matches": [{"method": {"service": "shop.Carts"}}],
        "filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "v2", "port": 80}}}],
        "backendRefs": [{"name": "v1", "port": 80}],
    }])
}

#[test]
fn a_grpc_route_of_a_file_takes_calls_and_copies_them_in_http2() {
    let (v1, v2) = (H2Origin::new(100), H2Origin::new(100));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (manifest, settings) = (directory.path().join("route.yaml"), directory.path().join("settings.toml"));
    std::fs::write(&manifest, route("calls", "GRPCRoute", "2026-01-01T00:00:00Z", rules()).to_string())
        .expect("the manifest");
    std::fs::write(&settings, "[admin]\nbind = \"127.0.0.1:0\"\n").expect("the settings");
    let mut command = Command::new(tests::gateway::binary());
    command.arg("--manifest").arg(manifest).arg("--config").arg(settings);
    command.args(["--listen", "127.0.0.1:0"]);
    command.arg("--endpoint").arg(format!("v1={}", v1.address));
    command.arg("--endpoint").arg(format!("v2={}", v2.address));
    let mut process = Process::spawn(&mut command);
    let address = process.lines("listening on ", 1).remove(0).parse().expect("an address");
    says(address, "/shop.Carts/Pay", "200 h2");
    eventually_within(PATIENCE, "it is copied", || copies(&v2) == ["/Pay"]);
    // Calls of another service match no route: UNIMPLEMENTED.
    assert_eq!(said(&call(address, "calls.test", "/shop.Stock/List")), "grpc 12");
    assert_eq!(v1.taken().len(), 1);
}

/// The conditions of the first parent of a route, each as `Accepted=True/Accepted`.
fn conditions(cluster: &ClusterStage, kind: &str, name: &str) -> Vec<String> {
    let object = cluster.api.get(kind, "default", name).expect("it is there");
    let all = object["status"]["parents"][0]["conditions"].as_array().cloned().unwrap_or_default();
    let text = |one: &Value, of: &str| one[of].as_str().unwrap_or_default().to_owned();
    let one = |one: &Value| format!("{}={}/{}", text(one, "type"), text(one, "status"), text(one, "reason"));
    all.iter().map(one).collect()
}

#[test]
fn a_grpc_route_of_a_cluster_is_served_told_and_stands_above_a_younger_http_route() {
    let (v1, v2, web) = (H2Origin::new(100), H2Origin::new(100), Origin::named("web"));
    let cluster = ClusterStage::new();
    for (name, address) in [("v1", v1.address), ("v2", v2.address), ("web", web.address)] {
        cluster.service("default", name, json!({"app": name}));
        cluster.pod("default", &format!("{name}-1"), json!({"app": name}), address);
    }
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
        "metadata": {"name": "umbra", "namespace": ""}, "spec": {"controllerName": "umbra.dev/gateway-controller"}}));
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "gw"},
        "spec": {"gatewayClassName": "umbra", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}}));
    // HTTPRoutes alone, for which clients need not speak HTTP/2.
    let web_rules = json!([{"backendRefs": [{"name": "web", "port": 80}]}]);
    let mut other = route("other", "HTTPRoute", "2026-01-01T00:00:00Z", web_rules.clone());
    other["spec"]["hostnames"] = json!(["other.test"]);
    cluster.api.put(other);
    let gateway = cluster.start(&[]);
    gateway.says("other.test", "/", "200 web");
    // The GRPCRoute comes while the gateway runs, and the same listener takes calls.
    cluster.api.put(route("calls", "GRPCRoute", "2026-01-02T00:00:00Z", rules()));
    let told = |kind: &str, name: &str, wanted: [&str; 2]| {
        let what = format!("{kind} {name}: {wanted:?}");
        eventually_within(PATIENCE, &what, || conditions(&cluster, kind, name) == wanted);
    };
    let (accepted, resolved) = ("Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs");
    told("GRPCRoute", "calls", [accepted, resolved]);
    says(gateway.address, "/shop.Carts/Pay", "200 h2");
    eventually_within(PATIENCE, "it is copied", || copies(&v2) == ["/Pay"]);
    assert_eq!(gateway.said("other.test", "/"), "200 web");
    let listener =
        || cluster.api.get("Gateway", "default", "gw").expect("it")["status"]["listeners"][0].clone();
    eventually_within(PATIENCE, "both are attached", || listener()["attachedRoutes"] == 2);
    let kinds: Vec<Value> = listener()["supportedKinds"].as_array().expect("a list").clone();
    assert_eq!(
        kinds.iter().map(|kind| kind["kind"].as_str().expect("a kind")).collect::<Vec<_>>(),
        ["HTTPRoute", "GRPCRoute"]
    );
    // Both kinds want the host: the younger is told so, and has none of its requests.
    cluster.api.put(route("late", "HTTPRoute", "2026-01-03T00:00:00Z", web_rules));
    told("HTTPRoute", "late", ["Accepted=False/HostnameConflict", resolved]);
    assert_eq!(gateway.said("calls.test", "/"), "404");
    says(gateway.address, "/shop.Carts/Pay", "200 h2");
    // With the older one gone it is its turn.
    cluster.api.delete("Service", "default", "v1");
    told("GRPCRoute", "calls", [accepted, "ResolvedRefs=False/BackendNotFound"]);
    says(gateway.address, "/shop.Carts/Pay", "grpc 14");
    cluster.api.delete("GRPCRoute", "default", "calls");
    told("HTTPRoute", "late", [accepted, resolved]);
    gateway.says("calls.test", "/", "200 web");
}
