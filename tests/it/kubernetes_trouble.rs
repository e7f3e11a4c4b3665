//! In a cluster that is large, slow or half broken: its trouble holds nothing else up, and hidden objects come to light.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::cluster::PATIENCE;
use tests::{ClusterStage, Origin, eventually_within};

fn virtual_service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name}, "spec": spec})
}

/// A Service with one Pod, and the VirtualService that sends its host there and copies it to `v2`.
fn mirrored(cluster: &ClusterStage, origin: &Origin) {
    cluster.service("default", "shop", json!({"app": "shop"}));
    cluster.service("default", "v2", json!({"app": "v2"}));
    cluster.pod("default", "shop-1", json!({"app": "shop"}), origin.address);
    let to_shop = json!([{"destination": {"host": "shop"}}]);
    let spec = json!({"hosts": ["shop"], "http": [{"route": to_shop, "mirror": {"host": "v2"}}]});
    cluster.api.put(virtual_service("shop", spec));
}

#[test]
fn a_list_of_much_holds_up_neither_a_probe_nor_an_operator() {
    let shop = Origin::named("shop");
    let cluster = ClusterStage::new();
    mirrored(&cluster, &shop);
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/", "200 shop");
    // Objects that take seconds to read where nothing is optimised.
    let filler: Vec<Value> = (0..8000).map(Value::from).collect();
    for n in 0..300 {
        let mut service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("large-{n}")},
            "spec": {"ports": [{"port": 80}], "selector": {"app": "none"}}});
        service["spec"]["filler"] = filler.clone().into();
        cluster.api.put_silently(service);
    }
    let lists = || cluster.api.requests().iter().filter(|line| line.contains("/services?limit")).count();
    let before = lists();
    cluster.api.forget();
    let (mut longest, begun) = (Duration::ZERO, Instant::now());
    let heard = || gateway.metrics().sum("umbra_kubernetes_watch_age_seconds", &["kind=\"Service\""]);
    let mut is_over = false;
    while !is_over && begun.elapsed() < PATIENCE {
        let asked = Instant::now();
        assert_eq!(gateway.ask_admin("GET", "/healthz").status, 200);
        longest = longest.max(asked.elapsed());
        is_over = lists() > before && cluster.api.watches_of("services") > 0 && heard() < 60;
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(is_over, "the list was never read");
    assert!(longest < Duration::from_millis(700), "a probe waited {longest:?}");
    assert_eq!(gateway.said("shop", "/"), "200 shop");
}

#[test]
fn a_watch_that_goes_on_failing_is_made_up_for_by_lists() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let cluster = ClusterStage::new();
    mirrored(&cluster, &old);
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/", "200 old");
    cluster.api.wait_for_watches(19);
    // A proxy before the API server that lets no watch through.
    cluster.api.order("GET", "/endpointslices?watch=true", 502, usize::MAX);
    cluster.api.forget();
    for (origin, wanted) in [(&new, "200 new"), (&old, "200 old")] {
        let errors = || {
            let labels = ["kind=\"EndpointSlice\"", "code=\"502\""];
            gateway.metrics().sum("umbra_kubernetes_watch_errors_total", &labels)
        };
        let before = errors();
        eventually_within(PATIENCE, "a watch fails", || errors() > before);
        cluster.pod("default", "shop-1", json!({"app": "shop"}), origin.address);
        gateway.says("shop", "/", wanted);
    }
}

#[test]
fn pods_that_are_not_known_yet_hold_up_no_other_change() {
    let shop = Origin::named("shop");
    let cluster = ClusterStage::new();
    mirrored(&cluster, &shop);
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/", "200 shop");
    cluster.api.order("GET", "/pods", 500, usize::MAX);
    cluster.api.put(json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "shop"},
        "spec": {"host": "shop", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]}}));
    let subset = json!([{"destination": {"host": "shop", "subset": "v1"}}]);
    cluster.api.put(virtual_service("labelled", json!({"hosts": ["labelled"], "http": [{"route": subset}]})));
    eventually_within(PATIENCE, "Pods are asked for", || {
        cluster.api.requests().iter().any(|line| line.contains("/pods"))
    });
    let asked = Instant::now();
    let body = r#"{"percent": 7}"#;
    assert_eq!(gateway.admin("PATCH", "/mirrors/v2", body).status, 200);
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(4), "a share was set after {took:?}");
    // The Pods never come: the configuration that asks for them is served without.
    gateway.says("labelled", "/", "503");
    assert_eq!(gateway.said("shop", "/"), "200 shop");
}

#[test]
fn a_kind_that_may_not_be_read_is_named_and_all_others_are_served() {
    let shop = Origin::named("shop");
    let cluster = ClusterStage::new();
    mirrored(&cluster, &shop);
    cluster.api.order("GET", "/serviceentries", 403, usize::MAX);
    cluster.api.order("GET", "/namespaces?", 403, usize::MAX);
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/", "200 shop");
    eventually_within(PATIENCE, "it is ready", || gateway.is_ready());
    gateway.logs("serviceentries of the cluster cannot be followed: answered 403: as ordered");
    gateway.logs("namespaces of the cluster cannot be followed: answered 403");
    let errors = |kind: &str| {
        gateway
            .metrics()
            .sum("umbra_kubernetes_watch_errors_total", &[&format!("kind=\"{kind}\""), "code=\"403\""])
    };
    eventually_within(PATIENCE, "it goes on trying", || {
        errors("ServiceEntry") > 2 && errors("Namespace") > 2
    });
    let told = gateway.process.stderr().matches("serviceentries of the cluster cannot be followed").count();
    assert!(told <= 3, "told {told} times, once a minute is enough");
    // Without Services nothing can be served: then it is not ready, and says why.
    let other = ClusterStage::new();
    mirrored(&other, &shop);
    other.api.order("GET", "/services?", 403, usize::MAX);
    let gateway = other.start(&["--mesh"]);
    gateway.logs("services of the cluster cannot be followed: answered 403");
    assert!(!gateway.is_ready());
}

#[test]
fn a_list_whose_next_page_has_expired_is_asked_for_at_once() {
    let shop = Origin::named("shop");
    let cluster = ClusterStage::new();
    mirrored(&cluster, &shop);
    for n in 0..500 {
        cluster.service("default", &format!("a-{n}"), json!({"app": "none"}));
    }
    // As an API server forgets a list's continue token, after minutes: every time.
    cluster.api.order("GET", "continue=", 410, usize::MAX);
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/", "200 shop");
    let whole = |line: &String| line.ends_with("/services");
    assert_eq!(cluster.api.requests().iter().filter(|line| whole(line)).count(), 1);
    let failed = gateway.metrics().sum("umbra_kubernetes_watch_errors_total", &["kind=\"Service\""]);
    assert_eq!(failed, 0, "it is no trouble");
}

#[test]
fn a_token_that_has_expired_is_read_anew() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "first").expect("a token");
    let cluster = ClusterStage::new();
    mirrored(&cluster, &old);
    cluster.api.found_with_token_in(&file);
    cluster.api.set_token("first");
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/", "200 old");
    // As a Pod's token changes under it.
    cluster.api.set_token("second");
    let refused = || {
        gateway
            .metrics()
            .sum("umbra_kubernetes_watch_errors_total", &["kind=\"EndpointSlice\"", "code=\"401\""])
    };
    eventually_within(PATIENCE, "the old one is refused", || refused() > 0);
    assert_eq!((gateway.said("shop", "/"), gateway.is_ready()), ("200 old".to_owned(), true));
    std::fs::write(&file, "second").expect("a token");
    cluster.pod("default", "shop-1", json!({"app": "shop"}), new.address);
    // The client looks at the file once a minute.
    eventually_within(3 * PATIENCE, "it is let in", || gateway.said("shop", "/") == "200 new");
}

/// 1,000 HTTPRoutes and 5,000 endpoints; prints the time of each step.
#[test]
#[ignore = "a measurement: cargo test -p tests --test it --release -- --ignored --nocapture a_large_cluster"]
fn a_large_cluster_is_followed() {
    const ROUTES: usize = 1000;
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let cluster = ClusterStage::new();
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "umbra", "namespace": ""},
        "spec": {"controllerName": "umbra.dev/gateway-controller"}}));
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "gw"},
        "spec": {"gatewayClassName": "umbra", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}}));
    let slice = |n: usize, first: &Origin| {
        let endpoint = |i: usize| {
            json!({"addresses": [format!("127.{}.{}.{i}", 1 + n / 250, 1 + n % 250)], "conditions": {"ready": i == 0},
                "targetRef": {"kind": "Pod", "name": format!("s{n}-{i}"), "namespace": "default"}})
        };
        let mut endpoints: Vec<Value> = (0..5).map(endpoint).collect();
        endpoints[0]["addresses"] = json!([first.address.ip().to_string()]);
        cluster.api.put(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("s{n}-x"), "namespace": "default", "labels": {"kubernetes.io/service-name": format!("s{n}")}},
            "addressType": "IPv4", "ports": [{"name": "", "port": first.address.port(), "protocol": "TCP"}], "endpoints": endpoints}));
    };
    for n in 0..ROUTES {
        cluster.service("default", &format!("s{n}"), json!({"app": n.to_string()}));
        slice(n, &old);
        cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": format!("r{n}")},
            "spec": {"parentRefs": [{"name": "gw"}], "hostnames": [format!("r{n}.test")],
                "rules": [{"backendRefs": [{"name": format!("s{n}"), "port": 80}]}]}}));
    }
    let begun = Instant::now();
    let gateway = cluster.start(&[]);
    eventually_within(PATIENCE, "it is ready", || gateway.is_ready());
    let synced = begun.elapsed();
    gateway.says("r999.test", "/", "200 old");
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", gateway.process.child.id())).expect("it runs");
    let resident = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default().to_owned();
    let mut moved: Vec<Duration> = Vec::new();
    for round in 0..50 {
        let begun = Instant::now();
        slice(round * 7, &new);
        while gateway.said(&format!("r{}.test", round * 7), "/") != "200 new" {
            assert!(begun.elapsed() < PATIENCE, "it never moves");
        }
        moved.push(begun.elapsed());
    }
    moved.sort();
    println!("synced after {synced:?}; {resident}; moved after p50 {:?}, worst {:?}", moved[25], moved[49]);
    assert!(moved[49] < Duration::from_secs(1), "{moved:?}");
}
