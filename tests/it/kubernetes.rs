//! In a cluster: the gateway serves by the objects of the API server, follows changes within moments, and outlives the server.

use std::time::Duration;

use serde_json::{Value, json};
use tests::certificates::Authority;
use tests::cluster::PATIENCE;
use tests::{ClusterStage, Gateway, Mode, Origin, Setup, eventually_within};

/// The article's manifests, in its order: two Deployments of which the first has the Service, the VirtualService, the rule.
const ARTICLE: [&str; 4] = [
    include_str!("../../config/examples/istio/httpbin-v1.yaml"),
    include_str!("../../config/examples/istio/httpbin-v2.yaml"),
    include_str!("../../config/examples/istio/virtualservice.yaml"),
    include_str!("../../config/examples/istio/destinationrule.yaml"),
];

fn virtual_service(name: &str, namespace: &str, spec: Value) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec})
}

/// A VirtualService of one host, for a Service of this name.
fn plain(name: &str) -> Value {
    virtual_service(
        name,
        "default",
        json!({"hosts": [name], "http": [{"route": [{"destination": {"host": name}}]}]}),
    )
}

/// A Service whose Pods are of this app, and one Pod.
fn running(cluster: &ClusterStage, name: &str, origin: &Origin) {
    cluster.service("default", name, json!({"app": name}));
    cluster.pod("default", &format!("{name}-1"), json!({"app": name}), origin.address);
}

#[test]
fn the_articles_manifests_in_any_order_answer_from_v1_and_copy_to_v2() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
        let cluster = ClusterStage::new();
        let gateway = cluster.start(&["--mesh"]);
        for at in order {
            cluster.api.apply(ARTICLE[at]);
        }
        cluster.run("httpbin-v1", &v1);
        cluster.run("httpbin-v2", &v2);
        gateway.says(&gateway.address.to_string(), "/status/200", "200 v1");
        let sent = |origin: &Origin| origin.requests().iter().any(|one| one.target == "/status/200");
        eventually_within(PATIENCE, "v2 has a copy", || sent(&v2));
        assert!(sent(&v1) && v2.requests().iter().all(|one| one.field("x-umbra-mirror").is_some()));
        assert!(v1.requests().iter().all(|one| one.field("x-umbra-mirror").is_none()));
    }
}

#[test]
fn endpoints_that_change_move_traffic_and_rebuild_no_route() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let cluster = ClusterStage::new();
    running(&cluster, "shop", &old);
    cluster.api.put(plain("shop"));
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/", "200 old");
    let reloads = || gateway.metrics().sum("umbra_reloads_total", &["result=\"applied\""]);
    let before = reloads();
    let ready = |ready: bool| json!({"ready": ready, "serving": ready, "terminating": !ready});
    cluster.pod("default", "shop-2", json!({"app": "shop"}), new.address);
    cluster.slice("default", "shop", "shop-1", old.address, ready(false));
    gateway.says("shop", "/", "200 new");
    // No endpoint is left: 503, until there is one again.
    cluster.slice("default", "shop", "shop-2", new.address, ready(false));
    gateway.says("shop", "/", "503");
    // An endpoint that terminates and still serves is better than none.
    let ending = json!({"ready": false, "serving": true, "terminating": true});
    cluster.slice("default", "shop", "shop-1", old.address, ending);
    gateway.says("shop", "/", "200 old");
    cluster.slice("default", "shop", "shop-2", new.address, ready(true));
    gateway.says("shop", "/", "200 new");
    assert_eq!(reloads(), before, "endpoints are no configuration");
}

#[test]
fn a_pod_that_is_labelled_anew_moves_to_the_other_subset() {
    let (one, other) = (Origin::named("one"), Origin::named("other"));
    let cluster = ClusterStage::new();
    cluster.service("default", "shop", json!({"app": "shop"}));
    let labels = |version: &str| json!({"app": "shop", "version": version});
    cluster.pod("default", "a", labels("v1"), one.address);
    cluster.pod("default", "b", labels("v2"), other.address);
    cluster.api.put(json!({"apiVersion": "networking.istio.io/v1beta1", "kind": "DestinationRule", "metadata": {"name": "shop"},
        "spec": {"host": "shop", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]}}));
    cluster.api.put(virtual_service(
        "shop",
        "default",
        json!({"hosts": ["shop"], "http": [{"route": [{"destination": {"host": "shop", "subset": "v1"}}]}]}),
    ));
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/", "200 one");
    cluster.pod("default", "a", labels("v2"), one.address);
    gateway.says("shop", "/", "503");
    cluster.pod("default", "b", labels("v1"), other.address);
    gateway.says("shop", "/", "200 other");
    // Pods are watched by their metadata alone, and only where a subset asks.
    let pods = cluster.api.requests().into_iter().filter(|line| line.contains("/pods"));
    assert!(
        pods.clone().count() > 0 && pods.into_iter().all(|line| line.contains("/namespaces/default/pods"))
    );
}

#[test]
fn one_teams_mistake_stops_nobody_else_and_is_said() {
    let (ours, theirs) = (Origin::named("ours"), Origin::named("theirs"));
    let cluster = ClusterStage::new();
    running(&cluster, "v1", &ours);
    running(&cluster, "v2", &theirs);
    cluster.api.put(plain("v1"));
    cluster.api.put(plain("v2"));
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("v2", "/", "200 theirs");
    gateway.says("v1", "/", "200 ours");
    // A slip of the pen: the last good version serves on.
    cluster.api.put(virtual_service("v2", "default", json!({"hosts": ["v2"], "htttp": []})));
    gateway.logs("VirtualService default/v2: rejected: ");
    gateway.logs("did you mean \"http\"?; its last accepted version serves on");
    assert_eq!(gateway.said("v2", "/"), "200 theirs");
    let state =
        |state: &str| gateway.metrics().sum("umbra_kubernetes_objects", &["kind=\"VirtualService\"", state]);
    assert_eq!((state("state=\"accepted\""), state("state=\"rejected\"")), (1, 1));
    // Other objects go on changing.
    let to_v2 = json!({"hosts": ["v1"], "http": [{"route": [{"destination": {"host": "v2"}}]}]});
    cluster.api.put(virtual_service("v1", "default", to_v2));
    gateway.says("v1", "/", "200 theirs");
    // Mended, and gone.
    cluster.api.put(virtual_service(
        "v2",
        "default",
        json!({"hosts": ["v2"], "http": [{"route": [{"destination": {"host": "v1"}}]}]}),
    ));
    gateway.says("v2", "/", "200 ours");
    cluster.api.delete("VirtualService", "default", "v2");
    gateway.says("v2", "/", "404");
    assert_eq!(gateway.said("v1", "/"), "200 theirs");
}

#[test]
fn what_changes_in_the_cluster_is_told_as_changed_by_it() {
    let v1 = Origin::named("v1");
    let cluster = ClusterStage::new();
    running(&cluster, "shop", &v1);
    let gateway = cluster.start(&["--mesh"]);
    cluster.api.put(plain("shop"));
    gateway.says("shop", "/", "200 v1");
    gateway.logs(" by kubernetes: ");
    let changes = || -> Vec<Value> {
        let told = gateway.ask_admin("GET", "/changes").text();
        let told: Value = serde_json::from_str(&told).expect("JSON");
        told["changes"].as_array().expect("a list").clone()
    };
    let told = changes();
    assert!(told.iter().all(|change| change["by"] == json!({"kind": "kubernetes"})), "{told:?}");
    let what = json!(told).to_string();
    assert!(what.contains("shop.default.svc.cluster.local"), "where it goes is named: {what}");
    let made = || gateway.metrics().sum("umbra_changes_total", &["by=\"kubernetes\"", "result=\"applied\""]);
    assert!(made() > 0);
    // A request for another read is answered, though nothing has changed.
    assert_eq!(gateway.ask_admin("POST", "/reload").status, 200);
    let last = changes().pop().expect("a change");
    assert_eq!((&last["by"]["kind"], &last["what"]), (&json!("api"), &json!([])), "{last}");
    assert_eq!(gateway.said("shop", "/"), "200 v1");
}

#[test]
fn what_is_for_the_mesh_is_not_published_unless_asked_for() {
    let v1 = Origin::named("v1");
    let cluster = ClusterStage::new();
    running(&cluster, "shop", &v1);
    cluster.api.put(plain("shop"));
    let mut public = plain("shop");
    public["metadata"]["name"] = "public".into();
    public["spec"]["hosts"] = json!(["shop.test"]);
    public["spec"]["gateways"] = json!(["edge/gw"]);
    cluster.api.put(public);
    cluster.api.put(json!({"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "gw", "namespace": "edge"},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*.test"]}]}}));
    let gateway = cluster.start(&["--istio-selector", "istio=ingressgateway"]);
    gateway.says("shop.test", "/", "200 v1");
    assert_eq!(gateway.said("shop", "/"), "404");
    let other = cluster.start(&["--istio-selector", "istio=other"]);
    assert_eq!(other.said("shop.test", "/"), "404");
}

#[test]
fn without_its_api_server_nothing_changes_and_afterwards_nothing_is_missed() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let cluster = ClusterStage::new();
    running(&cluster, "shop", &old);
    cluster.api.put(plain("shop"));
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/", "200 old");
    for (trouble, path) in [(Mode::Down, "/down"), (Mode::Hangs, "/hangs")] {
        cluster.api.wait_for_watches(19);
        cluster.api.set_mode(trouble);
        for _ in 0..20 {
            assert_eq!(gateway.said("shop", "/"), "200 old", "{trouble:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(gateway.is_ready());
        // A change in the meantime is seen when the server is back.
        let rewrite = json!({"hosts": ["shop"], "http": [
            {"match": [{"uri": {"prefix": path}}], "directResponse": {"status": 418}}, {"route": [{"destination": {"host": "shop"}}]},
        ]});
        cluster.api.put(virtual_service("shop", "default", rewrite));
        cluster.api.set_mode(Mode::Up);
        gateway.says("shop", path, "418");
        assert_eq!(gateway.said("shop", "/"), "200 old");
    }
    // A history that was forgotten: listed anew.
    cluster.api.wait_for_watches(19);
    cluster.api.forget();
    cluster.pod("default", "shop-1", json!({"app": "shop"}), new.address);
    gateway.says("shop", "/", "200 new");
    // As no API server should say it, and some do; and as one says it that has enough.
    let errors = |code: &str| {
        let labels = ["kind=\"EndpointSlice\"", code];
        gateway.metrics().sum("umbra_kubernetes_watch_errors_total", &labels)
    };
    for status in [410, 429, 500, 403] {
        cluster.api.order("GET", "/endpointslices?watch=true", status, 1);
        cluster.api.forget();
        let code = format!("code=\"{status}\"");
        if status != 410 {
            eventually_within(PATIENCE, &code, || errors(&code) > 0);
        }
        for (origin, wanted) in [(&old, "200 old"), (&new, "200 new")] {
            cluster.pod("default", "shop-1", json!({"app": "shop"}), origin.address);
            gateway.says("shop", "/", wanted);
        }
    }
}

#[test]
fn without_any_custom_kind_it_waits_and_finds_them_when_they_come() {
    let v1 = Origin::named("v1");
    let cluster = ClusterStage::new();
    cluster.api.uninstall("networking.istio.io");
    cluster.api.uninstall("gateway.networking.k8s.io");
    running(&cluster, "shop", &v1);
    let gateway = cluster.start(&["--mesh"]);
    assert!(gateway.is_ready());
    assert_eq!(gateway.said("shop", "/"), "404");
    cluster.api.install("networking.istio.io");
    cluster.api.put(plain("shop"));
    gateway.says("shop", "/", "200 v1");
}

#[test]
fn it_is_not_ready_before_the_cluster_was_read_and_never_ends_for_it() {
    let v1 = Origin::named("v1");
    let cluster = ClusterStage::new();
    running(&cluster, "shop", &v1);
    cluster.api.put(plain("shop"));
    cluster.api.set_mode(Mode::Down);
    let gateway = cluster.start(&["--mesh"]);
    assert!(!gateway.is_ready());
    cluster.api.set_mode(Mode::Up);
    gateway.says("shop", "/", "200 v1");
    eventually_within(PATIENCE, "it is ready", || gateway.is_ready());
}

#[test]
fn only_the_namespaces_that_are_named_are_read() {
    let v1 = Origin::named("v1");
    let cluster = ClusterStage::new();
    for namespace in ["one", "two"] {
        cluster.service(namespace, "shop", json!({"app": "shop"}));
        cluster.pod(namespace, "shop-1", json!({"app": "shop"}), v1.address);
        let host = format!("{namespace}.test");
        let spec = json!({"hosts": [host], "http": [{"route": [{"destination": {"host": "shop"}}]}]});
        cluster.api.put(virtual_service("shop", namespace, spec));
    }
    let gateway = cluster.start(&["--mesh", "--namespace", "one"]);
    gateway.says("one.test", "/", "200 v1");
    assert_eq!(gateway.said("two.test", "/"), "404");
    let elsewhere = |line: &String| line.contains("/namespaces/two") || line.contains("v1/virtualservices");
    assert!(!cluster.api.requests().iter().any(elsewhere), "{:?}", cluster.api.requests());
}

/// A GatewayClass that is ours, its Gateway, and an HTTPRoute that copies to a Service of another namespace.
fn mirrored_elsewhere(cluster: &ClusterStage) {
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "umbra", "namespace": ""},
        "spec": {"controllerName": "umbra.dev/gateway-controller"}}));
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "gw"},
        "spec": {"gatewayClassName": "umbra", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}}));
    let mirror = json!({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "canary", "namespace": "lab", "port": 80}}});
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "shop"},
        "spec": {"parentRefs": [{"name": "gw"}], "rules": [{"filters": [mirror], "backendRefs": [{"name": "shop", "port": 80}]}]}}));
}

#[test]
fn an_http_route_copies_what_its_request_mirror_names_while_a_grant_allows_it() {
    let (primary, canary) = (Origin::named("primary"), Origin::named("canary"));
    let cluster = ClusterStage::new();
    running(&cluster, "shop", &primary);
    cluster.service("lab", "canary", json!({"app": "canary"}));
    cluster.pod("lab", "canary-1", json!({"app": "canary"}), canary.address);
    mirrored_elsewhere(&cluster);
    let gateway = cluster.start(&[]);
    gateway.says("shop.test", "/before", "200 primary");
    // A grant of the namespace that owns the Service, and nothing else, lets copies go there.
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant", "metadata": {"name": "copies", "namespace": "lab"},
        "spec": {"from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "default"}], "to": [{"group": "", "kind": "Service"}]}}));
    eventually_within(PATIENCE, "copies are sent", || {
        assert_eq!(gateway.said("shop.test", "/granted"), "200 primary");
        canary.count() > 0
    });
    assert!(canary.requests().iter().all(|one| one.target == "/granted"));
    cluster.api.delete("ReferenceGrant", "lab", "copies");
    let copied = || gateway.metrics().sum("umbra_mirror_eligible_total", &[]);
    eventually_within(PATIENCE, "copies have ended", || {
        let before = copied();
        assert_eq!(gateway.said("shop.test", "/revoked"), "200 primary");
        copied() <= before
    });
}

#[test]
fn a_mirror_without_an_address_costs_its_copies_alone() {
    let primary = Origin::named("primary");
    let cluster = ClusterStage::new();
    running(&cluster, "v1", &primary);
    cluster.service("default", "v2", json!({"app": "v2"}));
    let spec = json!({"hosts": ["shop"], "http": [{"route": [{"destination": {"host": "v1"}}], "mirror": {"host": "v2"}}]});
    cluster.api.put(virtual_service("shop", "default", spec));
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/", "200 primary");
    let unreachable = || gateway.metrics().sum("umbra_mirror_dropped_total", &["reason=\"unreachable\""]);
    eventually_within(PATIENCE, "its copies are dropped", || {
        assert_eq!(gateway.said("shop", "/"), "200 primary");
        unreachable() > 0
    });
    // The canary comes: copies reach it, and nothing was rebuilt for that.
    let canary = Origin::named("canary");
    cluster.pod("default", "v2-1", json!({"app": "v2"}), canary.address);
    eventually_within(PATIENCE, "copies are sent", || {
        assert_eq!(gateway.said("shop", "/"), "200 primary");
        canary.count() > 0
    });
    assert_eq!(gateway.metrics().sum("umbra_reloads_total", &["result=\"applied\""]), 0);
}

#[test]
fn an_api_server_is_spoken_to_over_tls_with_the_token_and_the_authority_of_the_kubeconfig() {
    let v1 = Origin::named("v1");
    let cluster = ClusterStage::new();
    running(&cluster, "shop", &v1);
    cluster.api.put(plain("shop"));
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let own = authority.issue("api", &["127.0.0.1"]).toml();
    let plain = Setup::to(&[cluster.api.address()]).toml();
    let tls = format!("bind = \"127.0.0.1:0\"\ntls = {{ certificates = [{own}] }}\n[admin]");
    let front = Gateway::start(&plain.replacen("bind = \"127.0.0.1:0\"\n[admin]", &tls, 1), &[]);
    cluster.api.found_at(&format!("https://{}", front.address), Some(&authority.ca), Some("let-me-in"));
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/", "200 v1");
    assert!(cluster.api.fields("authorization").iter().all(|field| field == "Bearer let-me-in"));
    // A certificate of another authority is not believed.
    let stranger = Authority::new(folder.path(), "stranger");
    cluster.api.found_at(&format!("https://{}", front.address), Some(&stranger.ca), Some("let-me-in"));
    let other = cluster.start(&["--mesh"]);
    other.logs("services of the cluster cannot be followed: ");
    assert!(!other.is_ready());
}

#[test]
fn without_any_gateway_and_any_address_to_listen_on_it_waits_for_one() {
    let v1 = Origin::named("v1");
    let cluster = ClusterStage::new();
    running(&cluster, "shop", &v1);
    let gateway = cluster.start_at(&[], &["--mesh"]);
    assert!(gateway.is_ready());
}
