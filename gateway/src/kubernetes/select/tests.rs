//! Objects that are ours are told from objects of others.

use super::*;

fn rules(mesh: bool) -> Rules {
    Rules {
        class: None,
        controller: "umbra.dev/gateway-controller".to_owned(),
        labels: vec![("istio".to_owned(), "ingressgateway".to_owned())],
        mesh,
        fronts: None,
    }
}

fn object(kind: Kind, namespace: &str, name: &str, spec: Value) -> Value {
    let facts = kind.facts();
    json!({"apiVersion": kind.api_version(facts.versions[0]), "kind": facts.name,
        "metadata": {"namespace": namespace, "name": name, "resourceVersion": "7"}, "spec": spec})
}

fn store(objects: &[(Kind, &str, &str, Value)]) -> Store {
    let mut store = Store::default();
    for (kind, namespace, name, spec) in objects {
        store.set(*kind, None, object(*kind, namespace, name, spec.clone()));
    }
    store
}

fn edge(hosts: Value) -> (Kind, &'static str, &'static str, Value) {
    let server = json!({"port": {"number": 80, "protocol": "HTTP", "name": "http"}, "hosts": hosts});
    (Kind::IstioGateway, "edge", "gw", json!({"selector": {"istio": "ingressgateway"}, "servers": [server]}))
}

/// The served part of the only VirtualService.
fn served(objects: &[(Kind, &str, &str, Value)], mesh: bool) -> Option<Value> {
    let all = chosen(&store(objects), &rules(mesh), &Refused::default());
    all.into_iter().find(|one| one.kind == Kind::VirtualService).map(|one| one.document["spec"].clone())
}

#[test]
fn a_virtual_service_is_served_where_it_says_and_the_mesh_only_when_asked_for() {
    // gateways; the hosts that are served at the edge, and with the mesh.
    let rows: [(Value, Option<&str>, Option<&str>); 6] = [
        (json!(null), None, Some("a.test")),
        (json!(["mesh"]), None, Some("a.test")),
        (json!(["edge/gw"]), Some("a.test"), Some("a.test")),
        (json!(["gw"]), None, None),
        (json!(["edge/other"]), None, None),
        (json!(["mesh", "edge/gw"]), Some("a.test"), Some("a.test")),
    ];
    for (gateways, at_edge, with_mesh) in rows {
        let mut spec = json!({"hosts": ["a.test"], "http": [{"route": []}]});
        if !gateways.is_null() {
            spec["gateways"] = gateways.clone();
        }
        let objects = [edge(json!(["*"])), (Kind::VirtualService, "shop", "vs", spec)];
        for (mesh, wanted) in [(false, at_edge), (true, with_mesh)] {
            let hosts = served(&objects, mesh).map(|spec| spec["hosts"][0].clone());
            assert_eq!(hosts.as_ref().and_then(Value::as_str), wanted, "{gateways} mesh {mesh}");
        }
    }
}

#[test]
fn a_gateway_that_selects_other_pods_is_not_ours() {
    let (kind, namespace, name, mut spec) = edge(json!(["*"]));
    spec["selector"]["istio"] = json!("egressgateway");
    let vs = json!({"hosts": ["a.test"], "gateways": ["edge/gw"], "http": []});
    let all = chosen(
        &store(&[(kind, namespace, name, spec), (Kind::VirtualService, "shop", "vs", vs)]),
        &rules(true),
        &Refused::default(),
    );
    assert_eq!(all, []);
}

#[test]
fn hosts_are_those_that_the_gateway_lets_in() {
    let rows: [(Value, Value, Option<Value>); 13] = [
        (json!(["a.test"]), json!(["*.test"]), Some(json!(["a.test"]))),
        (json!(["a.test"]), json!(["b.test"]), None),
        (json!(["*"]), json!(["b.test", "c.test"]), Some(json!(["b.test", "c.test"]))),
        (json!(["a.test", "x.y"]), json!(["shop/a.test"]), Some(json!(["a.test"]))),
        (json!(["a.test"]), json!(["./a.test"]), None),
        (json!(["*.a.test"]), json!(["*.test"]), Some(json!(["*.a.test"]))),
        // Spellings of one host.
        (json!(["a.test."]), json!(["a.test"]), Some(json!(["a.test"]))),
        (json!(["a.test"]), json!(["shop/A.Test."]), Some(json!(["a.test"]))),
        (json!(["a.test."]), json!(["*.Test."]), Some(json!(["a.test"]))),
        (json!(["a.test.", "A.test"]), json!(["*"]), Some(json!(["a.test"]))),
        (json!(["a.test.."]), json!(["a.test"]), None),
        // A part of a label.
        (json!(["*.test"]), json!(["*-v2.test"]), Some(json!(["*-v2.test"]))),
        (json!(["a-v2.test"]), json!(["*-v2.test"]), Some(json!(["a-v2.test"]))),
    ];
    for (hosts, let_in, wanted) in rows {
        let vs = json!({"hosts": hosts, "gateways": ["edge/gw"], "http": []});
        let objects = [edge(let_in.clone()), (Kind::VirtualService, "shop", "vs", vs)];
        assert_eq!(served(&objects, false).map(|spec| spec["hosts"].clone()), wanted, "{hosts} {let_in}");
    }
}

#[test]
fn routes_for_clients_inside_the_mesh_are_not_published_at_the_edge() {
    let inner = json!({"match": [{"gateways": ["mesh"], "uri": {"prefix": "/admin"}}], "route": [1]});
    let both = json!({"match": [{"gateways": ["edge/gw", "mesh"], "uri": {"prefix": "/"}}], "route": [2]});
    let all = json!({"match": [{"gateways": ["edge/gw"]}], "route": [3]});
    let vs = json!({"hosts": ["a.test"], "gateways": ["edge/gw", "mesh"], "http": [inner, both, all]});
    let objects = [edge(json!(["*"])), (Kind::VirtualService, "shop", "vs", vs)];
    let spec = served(&objects, false).unwrap();
    assert_eq!(
        spec["http"],
        json!([{"match": [{"uri": {"prefix": "/"}}], "route": [2]}, {"match": [], "route": [3]}])
    );
    assert_eq!(served(&objects, true).unwrap()["http"].as_array().unwrap().len(), 3);
}

#[test]
fn routes_are_attached_to_gateways_of_our_class_alone() {
    let class = |controller: &str| json!({"controllerName": controller});
    let gateway = |class: &str| {
        let listeners = json!([{"name": "a", "port": 80, "protocol": "HTTP"}, {"name": "b", "port": 443, "protocol": "HTTPS"},
            {"name": "c", "port": 81, "protocol": "HTTP"}, {"name": "d", "port": 81, "protocol": "HTTP"}]);
        json!({"gatewayClassName": class, "listeners": listeners})
    };
    let parents =
        json!([{"name": "ours"}, {"name": "theirs"}, {"kind": "Service", "group": "", "name": "s"}]);
    let objects = [
        (Kind::GatewayClass, "", "umbra", class("umbra.dev/gateway-controller")),
        (Kind::GatewayClass, "", "other", class("example.com/other")),
        (Kind::ApiGateway, "n", "ours", gateway("umbra")),
        (Kind::ApiGateway, "n", "theirs", gateway("other")),
        (Kind::HttpRoute, "n", "r", json!({"parentRefs": parents})),
        (Kind::HttpRoute, "n", "foreign", json!({"parentRefs": [{"name": "theirs"}]})),
    ];
    let all = chosen(&store(&objects), &rules(false), &Refused::default());
    let named: Vec<&str> = all.iter().map(|one| one.key.1.as_str()).collect();
    assert_eq!(named, ["ours", "r"]);
    assert_eq!(all[0].document["spec"]["listeners"].as_array().unwrap().len(), 1, "the sound one");
    assert_eq!(all[1].document["spec"]["parentRefs"], json!([{"name": "ours"}]));
    assert!(all[0].document["metadata"].get("resourceVersion").is_none());
    let mesh = chosen(&store(&objects), &rules(true), &Refused::default());
    assert_eq!(mesh[1].document["spec"]["parentRefs"].as_array().unwrap().len(), 2);
}
