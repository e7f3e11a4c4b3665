//! What the Gateway API's own conformance suite looks at, and what its specification says of objects that are partly wrong.

use serde_json::{Value, json};
use tests::cluster::{PATIENCE, Replica};
use tests::{ClusterStage, Origin, eventually_within};

const OURS: &str = "umbra.dev/gateway-controller";

/// A Gateway of ours with these listeners, and Services `one` and `two`.
fn stage(listeners: Value, one: &Origin, two: &Origin) -> ClusterStage {
    let cluster = ClusterStage::new();
    cluster.definitions("v1.6.1");
    for (name, origin) in [("one", one), ("two", two)] {
        cluster.service("default", name, json!({"app": name}));
        cluster.pod("default", &format!("{name}-1"), json!({"app": name}), origin.address);
    }
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
        "metadata": {"name": "umbra", "namespace": ""}, "spec": {"controllerName": OURS}}));
    gateway(&cluster, json!({"gatewayClassName": "umbra", "listeners": listeners}));
    cluster
}

fn gateway(cluster: &ClusterStage, spec: Value) {
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "gw"}, "spec": spec}));
}

fn http(name: &str, hostname: Option<&str>) -> Value {
    let mut listener = json!({"name": name, "port": 80, "protocol": "HTTP"});
    if let Some(hostname) = hostname {
        listener["hostname"] = hostname.into();
    }
    listener
}

fn route(cluster: &ClusterStage, name: &str, parent: Value, rules: Value) {
    let spec = json!({"parentRefs": [parent], "rules": rules});
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name}, "spec": spec}));
}

/// A rule that takes what is below a path to a Service.
fn rule(path: &str, to: &str) -> Value {
    json!({"matches": [{"path": {"type": "PathPrefix", "value": path}}], "backendRefs": [{"name": to, "port": 80}]})
}

/// Conditions as `Accepted=True/Accepted@1`.
fn conditions(of: &Value) -> Vec<String> {
    let text = |one: &Value| {
        let of = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
        format!("{}={}/{}@{}", of("type"), of("status"), of("reason"), one["observedGeneration"])
    };
    of["conditions"].as_array().into_iter().flatten().map(text).collect()
}

fn status(cluster: &ClusterStage, kind: &str, namespace: &str, name: &str) -> Value {
    cluster.api.get(kind, namespace, name).expect("it is there")["status"].clone()
}

#[track_caller]
fn says(wanted: &[&str], gateway: &Replica, said: impl Fn() -> Vec<String>) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while said() != wanted {
        let late = std::time::Instant::now() > deadline;
        assert!(!late, "{wanted:?}, not {:?}:\n{}", said(), gateway.process.stderr());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_gateway_class_says_which_version_is_installed_and_what_is_offered_of_it() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let cluster = stage(json!([http("http", None)]), &one, &two);
    route(&cluster, "r", json!({"name": "gw"}), json!([rule("/", "one")]));
    let gateway = cluster.start(&[]);
    gateway.says("a.test", "/", "200 one");
    let class = || status(&cluster, "GatewayClass", "", "umbra");
    let (yes, no) =
        ("SupportedVersion=True/SupportedVersion@1", "SupportedVersion=False/UnsupportedVersion@1");
    let told =
        |supported: &str| says(&["Accepted=True/Accepted@1", supported], &gateway, || conditions(&class()));
    told(yes);
    let features = class()["supportedFeatures"].as_array().cloned().unwrap_or_default();
    let names: Vec<&str> = features.iter().filter_map(|one| one["name"].as_str()).collect();
    assert!(names.windows(2).all(|two| two[0] < two[1]), "{names:?}");
    for name in ["Gateway", "HTTPRoute", "HTTPRouteRequestMirror", "ReferenceGrant"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    // The field of retries is not in the standard channel, and it stands for one address here.
    assert!(!names.contains(&"HTTPRouteRetry") && !names.contains(&"GatewayPort8080"), "{names:?}");
    // As the suite has it: without the annotation, with one of nowhere, and as it was.
    for version in [None, Some("v0.0.0"), Some("v1.99.0")] {
        cluster.definition("gatewayclasses", version);
        told(no);
        cluster.definition("gatewayclasses", Some("v1.6.1"));
        told(yes);
    }
    // One of several that is another is told by its name, and all is served as far as it is understood.
    cluster.definition("httproutes", Some("v2.0.0"));
    told(no);
    let message = class()["conditions"][1]["message"].as_str().unwrap_or_default().to_owned();
    assert!(
        message.contains("httproutes.gateway.networking.k8s.io is of v2.0.0") && message.contains("v1.6"),
        "{message}"
    );
    route(&cluster, "r", json!({"name": "gw"}), json!([rule("/", "two")]));
    gateway.says("a.test", "/", "200 two");
}

#[test]
fn a_rule_that_cannot_be_served_is_dropped_and_its_neighbours_serve() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let cluster = stage(json!([http("http", None)]), &one, &two);
    // Whatever is not another's.
    route(&cluster, "rest", json!({"name": "gw"}), json!([rule("/", "two")]));
    let mut odd = rule("/odd", "one");
    odd["filters"] =
        json!([{"type": "ExtensionRef", "extensionRef": {"group": "x.dev", "kind": "Magic", "name": "m"}}]);
    let mut broken = rule("/broken", "one");
    broken["matches"][0]["path"] = json!({"type": "RegularExpression", "value": "/broken("});
    route(&cluster, "r", json!({"name": "gw"}), json!([odd, rule("/good", "one"), broken]));
    let gateway = cluster.start(&[]);
    gateway.says("a.test", "/good", "200 one");
    // What it would have matched is nobody else's; what nobody knows it to match goes where it would without it.
    assert_eq!(gateway.said("a.test", "/odd/x"), "500");
    assert_eq!(gateway.said("a.test", "/broken("), "200 two");
    let parent = || status(&cluster, "HTTPRoute", "default", "r")["parents"][0].clone();
    let served = ["Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs"];
    let of = |generation: u64, all: &[&str]| -> Vec<String> {
        all.iter().map(|one| format!("{one}@{generation}")).collect()
    };
    let told = |wanted: Vec<String>| {
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        says(&wanted, &gateway, || conditions(&parent()));
    };
    told(of(1, &[served[0], served[1], "PartiallyInvalid=True/UnsupportedValue"]));
    let message = parent()["conditions"][2]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.starts_with("Dropped Rule 0, its requests are answered with an error: "), "{message}");
    assert!(message.contains("; Dropped Rule 2, it matches nothing: "), "{message}");
    gateway.logs("HTTPRoute default/r: Dropped Rule 0");
    eventually_within(PATIENCE, "it is an Event", || {
        cluster.api.events("r").iter().any(|said| said.starts_with("Warning Rejected: Dropped Rule 0"))
    });
    let state = |state: &str| {
        gateway
            .metrics()
            .sum("umbra_kubernetes_objects", &["kind=\"HTTPRoute\"", &format!("state=\"{state}\"")])
    };
    assert_eq!((state("accepted"), state("partial"), state("rejected")), (1, 1, 0));
    eventually_within(PATIENCE, "both routes are attached", || {
        status(&cluster, "Gateway", "default", "gw")["listeners"][0]["attachedRoutes"] == 2
    });
    // Mended: nothing is left of it in the status either.
    route(&cluster, "r", json!({"name": "gw"}), json!([rule("/odd", "one"), rule("/good", "one")]));
    gateway.says("a.test", "/odd/x", "200 one");
    told(of(2, &served));
    // At fault as a whole it is refused, and its last version serves on; of one that never was accepted what is known is answered.
    route(&cluster, "r", json!({"name": "gw"}), json!([odd]));
    told(of(3, &["Accepted=False/UnsupportedValue", served[1]]));
    assert_eq!(gateway.said("a.test", "/odd/x"), "200 one");
    cluster.api.delete("HTTPRoute", "default", "r");
    gateway.says("a.test", "/odd/x", "200 two");
    route(&cluster, "r", json!({"name": "gw"}), json!([odd]));
    gateway.says("a.test", "/odd/x", "500");
    assert_eq!(gateway.said("a.test", "/other"), "200 two");
    told(of(1, &["Accepted=False/UnsupportedValue", served[1]]));
}

#[test]
fn a_gateway_with_parameters_that_are_not_known_is_told_so_and_serves_nothing() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let cluster = stage(json!([http("http", None)]), &one, &two);
    route(&cluster, "r", json!({"name": "gw"}), json!([rule("/", "one")]));
    let process = cluster.start(&[]);
    process.says("a.test", "/", "200 one");
    let said = || conditions(&status(&cluster, "Gateway", "default", "gw"));
    says(&["Accepted=True/Accepted@1", "Programmed=True/Programmed@1"], &process, said);
    let parameters = json!({"parametersRef": {"group": "x.dev", "kind": "Nothing", "name": "n"}});
    gateway(
        &cluster,
        json!({"gatewayClassName": "umbra", "listeners": [http("http", None)], "infrastructure": parameters}),
    );
    says(&["Accepted=False/InvalidParameters@2", "Programmed=False/Invalid@2"], &process, said);
    process.says("a.test", "/", "404");
    gateway(&cluster, json!({"gatewayClassName": "umbra", "listeners": [http("http", None)]}));
    process.says("a.test", "/", "200 one");
}

#[test]
fn a_request_is_for_the_routes_of_the_most_specific_listener_and_no_others() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let listeners = json!([
        http("every", None),
        http("wild", Some("*.example.com")),
        http("exact", Some("abc.example.com"))
    ]);
    let cluster = stage(listeners, &one, &two);
    for name in ["every", "wild", "exact"] {
        let to = if name == "every" { "one" } else { "two" };
        route(
            &cluster,
            name,
            json!({"name": "gw", "sectionName": name}),
            json!([rule(&format!("/{name}"), to)]),
        );
    }
    let gateway = cluster.start(&[]);
    gateway.says("bar.com", "/every", "200 one");
    let rows = [
        ("bar.com", ["200 one", "404", "404"]),
        ("bar.example.com", ["404", "200 two", "404"]),
        ("abc.example.com", ["404", "404", "200 two"]),
    ];
    for (host, wanted) in rows {
        let said = ["/every", "/wild", "/exact"].map(|path| gateway.said(host, path));
        assert_eq!(said, wanted, "{host}");
    }
    for name in ["every", "wild", "exact"] {
        eventually_within(PATIENCE, "each is accepted", || {
            let all = conditions(&status(&cluster, "HTTPRoute", "default", name)["parents"][0]);
            all.first().is_some_and(|first| first == "Accepted=True/Accepted@1")
        });
    }
}
