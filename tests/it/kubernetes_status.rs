//! The status of the Gateway API's objects: written once, of the configuration in force, beside the entries of others.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::{Value, json};
use tests::cluster::{PATIENCE, Replica};
use tests::{ClusterStage, Origin, eventually_within};

const OURS: &str = "umbra.dev/gateway-controller";

fn route(spec: Value) -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "shop"}, "spec": spec})
}

fn to_shop(path: &str, parents: Value) -> Value {
    let matches = json!([{"path": {"type": "PathPrefix", "value": path}}]);
    route(
        json!({"parentRefs": parents, "rules": [{"matches": matches, "backendRefs": [{"name": "shop", "port": 80}]}]}),
    )
}

/// A Gateway of ours and a foreign one, and a Service.
fn cluster(origin: &Origin) -> ClusterStage {
    let cluster = ClusterStage::new();
    cluster.definitions("v1.6.1");
    cluster.service("default", "shop", json!({"app": "shop"}));
    cluster.pod("default", "shop-1", json!({"app": "shop"}), origin.address);
    for (class, controller, gateway) in [("umbra", OURS, "gw"), ("other", "other.dev/controller", "theirs")] {
        cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
            "metadata": {"name": class, "namespace": ""}, "spec": {"controllerName": controller}}));
        cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": gateway},
            "spec": {"gatewayClassName": class, "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}}));
    }
    cluster
}

fn status(cluster: &ClusterStage, kind: &str, namespace: &str, name: &str) -> Value {
    cluster.api.get(kind, namespace, name).expect("it is there")["status"].clone()
}

/// The conditions of ours of the route, each as `Accepted=True/Accepted@1`.
fn said(cluster: &ClusterStage) -> Vec<String> {
    let status = status(cluster, "HTTPRoute", "default", "shop");
    let parents = status["parents"].as_array().cloned().unwrap_or_default();
    let ours = parents.into_iter().filter(|parent| parent["controllerName"] == OURS);
    ours.flat_map(|parent| conditions(&parent)).collect()
}

fn conditions(of: &Value) -> Vec<String> {
    let text = |one: &Value| {
        let of = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
        format!("{}={}/{}@{}", of("type"), of("status"), of("reason"), one["observedGeneration"])
    };
    of["conditions"].as_array().into_iter().flatten().map(text).collect()
}

#[track_caller]
fn says(cluster: &ClusterStage, gateway: &Replica, wanted: &[&str]) {
    let what = format!("{wanted:?} is said");
    let deadline = std::time::Instant::now() + PATIENCE;
    while said(cluster) != wanted {
        assert!(
            std::time::Instant::now() < deadline,
            "{what}, not {:?}:\n{}",
            said(cluster),
            gateway.process.stderr()
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn each_object_is_told_once_what_is_served_of_it_and_the_words_of_others_stay() {
    let shop = Origin::named("shop");
    let cluster = cluster(&shop);
    let both = json!([{"name": "gw"}, {"name": "theirs"}]);
    cluster.api.put(to_shop("/", both.clone()));
    let theirs = json!({"parentRef": {"name": "theirs"}, "controllerName": "other.dev/controller", "conditions": [
        {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "as they say", "observedGeneration": 1,
         "lastTransitionTime": "2020-01-01T00:00:00Z"}]});
    cluster.api.set_status("HTTPRoute", "default", "shop", json!({"parents": [theirs]}));
    let gateway = cluster.start(&[]);
    says(&cluster, &gateway, &["Accepted=True/Accepted@1", "ResolvedRefs=True/ResolvedRefs@1"]);
    eventually_within(PATIENCE, "the Gateway is told", || {
        conditions(&status(&cluster, "Gateway", "default", "gw"))
            == ["Accepted=True/Accepted@1", "Programmed=True/Programmed@1"]
    });
    let of_gateway = status(&cluster, "Gateway", "default", "gw");
    assert_eq!(of_gateway["listeners"][0]["attachedRoutes"], 1);
    assert_eq!(conditions(&of_gateway["listeners"][0]).len(), 4, "{of_gateway}");
    let class = status(&cluster, "GatewayClass", "", "umbra");
    assert_eq!(conditions(&class), ["Accepted=True/Accepted@1", "SupportedVersion=True/SupportedVersion@1"]);
    // Endpoints that come and go, a foreign object, a history that is forgotten: no writes. A conflict: written all the same.
    let writes = || cluster.api.written("/status").iter().filter(|one| one.status == 200).count();
    let before = writes();
    cluster.pod("default", "shop-2", json!({"app": "shop"}), shop.address);
    cluster.api.forget();
    cluster.api.order("PATCH", "/httproutes/", 409, 1);
    cluster.api.put(to_shop("/next", both));
    says(&cluster, &gateway, &["Accepted=True/Accepted@2", "ResolvedRefs=True/ResolvedRefs@2"]);
    assert_eq!(writes(), before + 1, "{:?}", cluster.api.written("/status"));
    // A missing Service is reported, and the route stays accepted.
    cluster.api.delete("Service", "default", "shop");
    says(&cluster, &gateway, &["Accepted=True/Accepted@2", "ResolvedRefs=False/BackendNotFound@2"]);
    // A parent that is ours no more takes our entry along, and no other's.
    cluster.api.put(to_shop("/next", json!([{"name": "theirs"}])));
    says(&cluster, &gateway, &[]);
    assert_eq!(status(&cluster, "HTTPRoute", "default", "shop"), json!({"parents": [theirs]}));
    for (kind, namespace, name) in [("GatewayClass", "", "other"), ("Gateway", "default", "theirs")] {
        assert_eq!(status(&cluster, kind, namespace, name), Value::Null, "{kind} {name} is not ours");
    }
}

#[test]
fn of_two_replicas_one_writes_and_the_other_follows_when_it_dies() {
    let shop = Origin::named("shop");
    let cluster = cluster(&shop);
    cluster.api.put(to_shop("/", json!([{"name": "gw"}])));
    let mut replicas = vec![cluster.start(&[]), cluster.start(&[])];
    let leads = |replica: &Replica| replica.metrics().sum("umbra_kubernetes_leader", &[]);
    let leaders = |all: &[Replica]| all.iter().map(leads).sum::<i64>();
    eventually_within(PATIENCE, "one of them leads", || leaders(&replicas) == 1);
    says(&cluster, &replicas[0], &["Accepted=True/Accepted@1", "ResolvedRefs=True/ResolvedRefs@1"]);
    let first = usize::from(leads(&replicas[0]) == 0);
    drop(replicas.remove(first));
    cluster.api.put(to_shop("/two", json!([{"name": "gw"}])));
    says(&cluster, &replicas[0], &["Accepted=True/Accepted@2", "ResolvedRefs=True/ResolvedRefs@2"]);
    assert_eq!(leaders(&replicas), 1);
}

#[test]
fn two_releases_in_one_cluster_write_each_its_own_words_and_do_not_fight() {
    const THEIRS: &str = "other.dev/controller";
    let shop = Origin::named("shop");
    let cluster = cluster(&shop);
    let both = json!([{"name": "gw"}, {"name": "theirs"}]);
    cluster.api.put(to_shop("/", both.clone()));
    let releases = [OURS, THEIRS].map(|name| cluster.start(&["--controller-name", name]));
    let of = |controller: &str| {
        let status = status(&cluster, "HTTPRoute", "default", "shop");
        let parents = status["parents"].as_array().cloned().unwrap_or_default();
        let own = parents.into_iter().filter(|parent| parent["controllerName"] == controller);
        own.map(|parent| (parent["parentRef"]["name"].clone(), conditions(&parent))).collect::<Vec<_>>()
    };
    let told = |generation: u64| {
        let all = vec![
            format!("Accepted=True/Accepted@{generation}"),
            format!("ResolvedRefs=True/ResolvedRefs@{generation}"),
        ];
        for (controller, gateway) in [(OURS, "gw"), (THEIRS, "theirs")] {
            eventually_within(PATIENCE, &format!("{controller} says what it serves"), || {
                of(controller) == [(json!(gateway), all.clone())]
            });
            eventually_within(PATIENCE, &format!("{gateway} is told"), || {
                conditions(&status(&cluster, "Gateway", "default", gateway)).len() == 2
            });
        }
    };
    told(1);
    let writes =
        || cluster.api.written("/httproutes/shop/status").iter().filter(|one| one.status == 200).count();
    let before = writes();
    cluster.api.put(to_shop("/next", both));
    told(2);
    assert_eq!(
        writes(),
        before + 2,
        "each says it once: {:?}",
        cluster.api.written("/httproutes/shop/status")
    );
    // Each has a Lease of its own, and both serve the route.
    assert_eq!(cluster.api.all("Lease").len(), 2);
    for release in &releases {
        release.says("shop.test", "/next", "200 shop");
        assert_eq!(release.metrics().sum("umbra_kubernetes_leader", &[]), 1);
    }
}

/// `VERB GROUP/RESOURCE` of everything that the manifest of rights allows.
fn rights() -> BTreeSet<String> {
    let text = include_str!("../../config/kubernetes/rbac.yaml");
    let all: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    let mut allowed = BTreeSet::new();
    for rule in all.iter().flat_map(|one| one["rules"].as_array().into_iter().flatten()) {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    allowed.insert(format!("{verb} {group}/{resource}"));
                }
            }
        }
    }
    allowed
}

/// A request as the rights name it.
fn right(line: &str) -> String {
    let (method, target) = line.split_once(' ').expect("a request line");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, rest) = if parts[0] == "api" { ("", &parts[2..]) } else { (parts[1], &parts[3..]) };
    let rest = if rest[0] == "namespaces" && rest.len() > 2 { &rest[2..] } else { rest };
    let verb = match method {
        "GET" if query.contains("watch=true") => "watch",
        "GET" if rest.len() == 1 => "list",
        "GET" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        other => other,
    };
    let resource = if rest.len() == 3 { format!("{}/{}", rest[0], rest[2]) } else { rest[0].to_owned() };
    format!("{verb} {group}/{resource}")
}

#[test]
fn what_is_asked_of_the_api_server_is_what_the_manifest_of_rights_allows() {
    let shop = Origin::named("shop");
    let cluster = cluster(&shop);
    let mut route = to_shop("/", json!([{"name": "gw"}]));
    route["metadata"]["annotations"] = json!({"umbra.dev/mirror-policy": "policy"});
    route["spec"]["hostnames"] = json!(["shop.test"]);
    cluster.api.put(route);
    // A subset asks for the labels of Pods.
    cluster.api.put(json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "shop"},
        "spec": {"host": "shop", "subsets": [{"name": "v1", "labels": {"app": "shop"}}]}}));
    cluster.api.put(json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "shop"},
        "spec": {"hosts": ["shop"], "http": [{"route": [{"destination": {"host": "shop", "subset": "v1"}}]}]}}));
    // And a listener for a certificate.
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "secured"},
        "spec": {"gatewayClassName": "umbra", "listeners": [{"name": "https", "port": 443, "protocol": "HTTPS",
            "tls": {"certificateRefs": [{"name": "shop"}]}}]}}));
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GRPCRoute", "metadata": {"name": "calls"},
        "spec": {"parentRefs": [{"name": "gw"}], "hostnames": ["calls.test"], "rules": [{"backendRefs": [{"name": "calls", "port": 80}]}]}}));
    // And a Service with a BackendTLSPolicy.
    cluster.service("default", "calls", json!({"app": "calls"}));
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy", "metadata": {"name": "calls"},
        "spec": {"targetRefs": [{"group": "", "kind": "Service", "name": "calls"}],
            "validation": {"hostname": "calls.test", "wellKnownCACertificates": "System"}}}));
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/", "200 shop");
    let allowed = rights();
    let asked = || cluster.api.requests().iter().map(|line| right(line)).collect::<BTreeSet<_>>();
    eventually_within(PATIENCE, "everything is asked for", || asked().len() >= allowed.len());
    assert_eq!(asked(), allowed);
}

#[test]
fn listeners_of_gateways_come_and_go_and_one_whose_port_is_taken_costs_itself_alone() {
    let shop = Origin::named("shop");
    let cluster = cluster(&shop);
    cluster.api.put(to_shop("/", json!([{"name": "gw"}])));
    let free = || TcpListener::bind("0.0.0.0:0").expect("a port");
    let (first, taken) = (free(), free());
    let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
    let (own, other) = (port(&first), port(&taken));
    let gateway_at = |ports: &[u16]| {
        let listeners: Vec<Value> = ports
            .iter()
            .map(|port| json!({"name": format!("p{port}"), "port": port, "protocol": "HTTP"}))
            .collect();
        cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "gw"},
            "spec": {"gatewayClassName": "umbra", "listeners": listeners}}));
    };
    drop(first);
    gateway_at(&[own]);
    let mut gateway = cluster.start_at(&[], &[]);
    gateway.address = ([127, 0, 0, 1], own).into();
    gateway.listens();
    gateway.says("shop.test", "/", "200 shop");
    // A port that another has.
    gateway_at(&[own, other]);
    let listener = |at: usize| conditions(&status(&cluster, "Gateway", "default", "gw")["listeners"][at]);
    eventually_within(PATIENCE, "it is said that the port is taken", || {
        listener(1).first().is_some_and(|one| one == "Accepted=False/PortUnavailable@3")
    });
    assert_eq!(listener(0)[0], "Accepted=True/Accepted@3");
    assert_eq!(gateway.said("shop.test", "/"), "200 shop");
    // The port is free later, and taken without a change of any object.
    drop(taken);
    let also = SocketAddr::from(([127, 0, 0, 1], other));
    eventually_within(PATIENCE, "it listens there too", || TcpStream::connect(also).is_ok());
    eventually_within(PATIENCE, "it is said", || listener(1)[0] == "Accepted=True/Accepted@3");
    // A listener that goes, goes alone.
    gateway_at(&[other]);
    eventually_within(PATIENCE, "nobody listens there", || TcpStream::connect(gateway.address).is_err());
    gateway.address = also;
    gateway.says("shop.test", "/", "200 shop");
}
