//! Statuses of hand-made objects: reasons, generations, and entries of other controllers.

use super::*;

const OURS: &str = "umbra.dev/gateway-controller";

fn rules() -> Rules {
    Rules { class: None, controller: OURS.to_owned(), labels: Vec::new(), mesh: false, fronts: None }
}

fn put(store: &mut Store, kind: Kind, key: (&str, &str), generation: u64, spec: Value) {
    let facts = kind.facts();
    let (namespace, name) = key;
    store.set(
        kind, None,
        json!({"apiVersion": kind.api_version(facts.versions[0]), "kind": facts.name, "spec": spec,
            "metadata": {"name": name, "namespace": namespace, "generation": generation, "resourceVersion": "1"}}),
    );
}

/// A Gateway of ours with these listeners, and a Service `s` with port 80 in `n` and in `other`.
fn cluster(listeners: Value) -> Store {
    let mut store = Store::default();
    put(&mut store, Kind::GatewayClass, ("", "umbra"), 1, json!({"controllerName": OURS}));
    put(&mut store, Kind::GatewayClass, ("", "foreign"), 1, json!({"controllerName": "example.com/x"}));
    put(
        &mut store,
        Kind::ApiGateway,
        ("n", "gw"),
        4,
        json!({"gatewayClassName": "umbra", "listeners": listeners}),
    );
    put(
        &mut store,
        Kind::ApiGateway,
        ("n", "theirs"),
        1,
        json!({"gatewayClassName": "foreign", "listeners": []}),
    );
    for namespace in ["n", "other"] {
        put(&mut store, Kind::Service, (namespace, "s"), 0, json!({"ports": [{"port": 80}]}));
    }
    store
}

/// The outcomes of a store's objects, as if all of them were sound.
fn served(store: &Store) -> Vec<Outcome> {
    let kinds = [Kind::ApiGateway, Kind::HttpRoute, Kind::GrpcRoute];
    let all = kinds.iter().flat_map(|kind| store.all(*kind).map(move |(key, object)| (*kind, key, object)));
    all.map(|(kind, key, object)| Outcome {
        kind,
        key: key.clone(),
        uid: uid(object).to_owned(),
        generation: object.pointer("/metadata/generation").and_then(Value::as_u64),
        state: State::Accepted,
        warnings: Vec::new(),
        serves_earlier: false,
    })
    .collect()
}

fn said_of(store: &Store, served: &[Outcome], unavailable: &BTreeSet<u64>) -> Vec<Desired> {
    let rules = rules();
    desired(&View {
        store,
        rules: &rules,
        served,
        unavailable,
        plaintext: false,
        home: "",
        publish: None,
        own_ports: false,
    })
}

/// The reasons of one object's conditions, as `Accepted=True/Accepted`.
fn reasons(of: &Value) -> Vec<String> {
    let all = list(of, "conditions").iter();
    all.map(|one| format!("{}={}/{}", text(one, "type"), text(one, "status"), text(one, "reason"))).collect()
}

fn of(all: &[Desired], kind: Kind, name: &str) -> Value {
    let one = all.iter().find(|one| one.kind == kind && one.key.1 == name);
    one.map(|one| one.status.clone()).unwrap_or_default()
}

fn http(name: &str, port: u64) -> Value {
    json!({"name": name, "port": port, "protocol": "HTTP"})
}

#[test]
fn a_route_is_told_why_it_is_not_accepted_and_what_it_cannot_find() {
    let selector = json!({"from": "Selector", "selector": {"matchLabels": {"team": "a"}}});
    let listeners = json!([
        http("open", 80),
        {"name": "named", "port": 81, "protocol": "HTTP", "hostname": "*.a.test"},
        {"name": "all", "port": 82, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}},
        {"name": "some", "port": 83, "protocol": "HTTP", "allowedRoutes": {"namespaces": selector}},
        {"name": "kinds", "port": 84, "protocol": "HTTP", "allowedRoutes": {"kinds": [{"kind": "GRPCRoute"}]}},
    ]);
    let s = json!([{"backendRefs": [{"name": "s", "port": 80}]}]);
    let backend = |backend: Value| json!([{"backendRefs": [backend]}]);
    let mirror = |backend: Value| json!([{"filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": backend}}], "backendRefs": [{"name": "s", "port": 80}]}]);
    let ok = "ResolvedRefs=True/ResolvedRefs";
    // Namespace, parent, hostnames, rules; Accepted, ResolvedRefs.
    let rows = [
        ("n", json!({"name": "gw"}), json!([]), s.clone(), "Accepted=True/Accepted", ok),
        (
            "n",
            json!({"name": "gw", "sectionName": "none"}),
            json!([]),
            s.clone(),
            "Accepted=False/NoMatchingParent",
            ok,
        ),
        ("n", json!({"name": "gw", "port": 99}), json!([]), s.clone(), "Accepted=False/NoMatchingParent", ok),
        (
            "n",
            json!({"name": "gw", "sectionName": "named"}),
            json!(["b.test"]),
            s.clone(),
            "Accepted=False/NoMatchingListenerHostname",
            ok,
        ),
        (
            "n",
            json!({"name": "gw", "sectionName": "named"}),
            json!(["x.a.test"]),
            s.clone(),
            "Accepted=True/Accepted",
            ok,
        ),
        (
            "n",
            json!({"name": "gw", "sectionName": "named"}),
            json!(["*.test"]),
            s.clone(),
            "Accepted=True/Accepted",
            ok,
        ),
        (
            "n",
            json!({"name": "gw", "sectionName": "kinds"}),
            json!([]),
            s.clone(),
            "Accepted=False/NotAllowedByListeners",
            ok,
        ),
        (
            "other",
            json!({"name": "gw", "namespace": "n", "sectionName": "open"}),
            json!([]),
            s.clone(),
            "Accepted=False/NotAllowedByListeners",
            ok,
        ),
        (
            "other",
            json!({"name": "gw", "namespace": "n", "sectionName": "some"}),
            json!([]),
            s.clone(),
            "Accepted=False/NotAllowedByListeners",
            ok,
        ),
        ("other", json!({"name": "gw", "namespace": "n"}), json!([]), s, "Accepted=True/Accepted", ok),
        (
            "n",
            json!({"name": "gw"}),
            json!([]),
            backend(json!({"name": "gone", "port": 80})),
            "Accepted=True/Accepted",
            "ResolvedRefs=False/BackendNotFound",
        ),
        (
            "n",
            json!({"name": "gw"}),
            json!([]),
            backend(json!({"name": "s", "port": 81})),
            "Accepted=True/Accepted",
            "ResolvedRefs=False/BackendNotFound",
        ),
        (
            "n",
            json!({"name": "gw"}),
            json!([]),
            backend(json!({"name": "s", "port": 80, "kind": "Bucket"})),
            "Accepted=True/Accepted",
            "ResolvedRefs=False/InvalidKind",
        ),
        (
            "n",
            json!({"name": "gw"}),
            json!([]),
            mirror(json!({"name": "gone", "port": 80})),
            "Accepted=True/Accepted",
            "ResolvedRefs=False/BackendNotFound",
        ),
        (
            "n",
            json!({"name": "gw"}),
            json!([]),
            mirror(json!({"name": "s", "namespace": "other", "port": 80})),
            "Accepted=True/Accepted",
            "ResolvedRefs=False/RefNotPermitted",
        ),
    ];
    for (namespace, parent, hostnames, rules, accepted, resolved) in rows {
        let mut store = cluster(listeners.clone());
        let spec = json!({"parentRefs": [parent], "hostnames": hostnames, "rules": rules});
        put(&mut store, Kind::HttpRoute, (namespace, "r"), 7, spec.clone());
        let all = said_of(&store, &served(&store), &BTreeSet::new());
        let parents = of(&all, Kind::HttpRoute, "r")["parents"].clone();
        assert_eq!(reasons(&parents[0]), [accepted, resolved], "{spec}");
        assert_eq!(parents[0]["conditions"][0]["observedGeneration"], 7);
        assert_eq!(
            (&parents[0]["controllerName"], &parents[0]["parentRef"]),
            (&json!(OURS), &spec["parentRefs"][0])
        );
    }
    // With leave it is permitted, and a label lets a namespace in.
    let mut store = cluster(listeners);
    put(&mut store, Kind::Namespace, ("", "other"), 0, json!({}));
    store.set(Kind::Namespace, None, json!({"metadata": {"name": "other", "labels": {"team": "a"}}}));
    let grant = json!({"from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "other"}], "to": [{"group": "", "kind": "Service", "name": "s"}]});
    put(&mut store, Kind::ReferenceGrant, ("n", "g"), 1, grant);
    let spec = json!({"parentRefs": [{"name": "gw", "namespace": "n", "sectionName": "some"}], "rules": mirror(json!({"name": "s", "namespace": "n", "port": 80}))});
    put(&mut store, Kind::HttpRoute, ("other", "r"), 1, spec);
    let all = said_of(&store, &served(&store), &BTreeSet::new());
    let route = of(&all, Kind::HttpRoute, "r");
    assert_eq!(reasons(&route["parents"][0]), ["Accepted=True/Accepted", ok]);
    let gateway = of(&all, Kind::ApiGateway, "gw");
    let attached: Vec<u64> =
        list(&gateway, "listeners").iter().filter_map(|one| one["attachedRoutes"].as_u64()).collect();
    assert_eq!(attached, [0, 0, 0, 1, 0]);
}

#[test]
fn of_two_kinds_of_routes_that_want_a_host_of_one_listener_the_older_is_accepted() {
    let listeners = json!([http("a", 80), {"name": "grpc", "port": 81, "protocol": "HTTP",
        "allowedRoutes": {"kinds": [{"kind": "GRPCRoute"}]}}]);
    let rules = json!([{"backendRefs": [{"name": "s", "port": 80}]}]);
    let routed = |parent: Value, http: &str, grpc: &str| {
        let mut store = cluster(listeners.clone());
        for (kind, created, hosts) in
            [(Kind::HttpRoute, http, json!(["a.test"])), (Kind::GrpcRoute, grpc, json!(["*.test"]))]
        {
            let spec = json!({"parentRefs": [parent], "hostnames": hosts, "rules": rules});
            put(&mut store, kind, ("n", "r"), 1, spec);
            let mut object = store.get(kind, "n", "r").unwrap().as_ref().clone();
            object["metadata"]["creationTimestamp"] = created.into();
            store.set(kind, None, object);
        }
        let all = said_of(&store, &served(&store), &BTreeSet::new());
        let accepted =
            |kind: Kind| reasons(&of(&all, kind, "r")["parents"][0]).first().cloned().unwrap_or_default();
        let gateway = of(&all, Kind::ApiGateway, "gw");
        let counts: Vec<u64> =
            list(&gateway, "listeners").iter().filter_map(|one| one["attachedRoutes"].as_u64()).collect();
        (accepted(Kind::HttpRoute), accepted(Kind::GrpcRoute), counts)
    };
    let (yes, no) = ("Accepted=True/Accepted".to_owned(), "Accepted=False/HostnameConflict".to_owned());
    let first = json!({"name": "gw", "sectionName": "a"});
    assert_eq!(routed(first.clone(), "2026-01-01", "2026-01-02"), (yes.clone(), no.clone(), vec![1, 0]));
    assert_eq!(routed(first, "2026-01-02", "2026-01-01"), (no, yes.clone(), vec![1, 0]));
    // The other listener takes it all the same.
    assert_eq!(routed(json!({"name": "gw"}), "2026-01-01", "2026-01-02"), (yes.clone(), yes, vec![1, 1]));
    let store = cluster(listeners.clone());
    let all = said_of(&store, &served(&store), &BTreeSet::new());
    let kinds = |at: usize| {
        let all = of(&all, Kind::ApiGateway, "gw")["listeners"][at]["supportedKinds"].clone();
        all.as_array().unwrap().iter().map(|one| text(one, "kind").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (kinds(0), kinds(1)),
        (vec!["HTTPRoute".into(), "GRPCRoute".into()], vec!["GRPCRoute".to_owned()])
    );
}

#[test]
fn a_backend_that_cannot_be_spoken_to_is_told_as_such() {
    let port = |protocol: &str| json!({"port": 80, "appProtocol": protocol});
    let udp = json!({"port": 80, "protocol": "UDP"});
    let rows = [
        (json!([port("mysql")]), Kind::HttpRoute, "ResolvedRefs=False/UnsupportedProtocol"),
        (json!([port("kubernetes.io/ws")]), Kind::HttpRoute, "ResolvedRefs=True/ResolvedRefs"),
        (json!([port("kubernetes.io/ws")]), Kind::GrpcRoute, "ResolvedRefs=False/UnsupportedProtocol"),
        (json!([port("kubernetes.io/h2c")]), Kind::HttpRoute, "ResolvedRefs=True/ResolvedRefs"),
        (json!([port("kubernetes.io/h2c")]), Kind::GrpcRoute, "ResolvedRefs=True/ResolvedRefs"),
        (json!([port("HTTPS")]), Kind::HttpRoute, "ResolvedRefs=True/ResolvedRefs"),
        // Another transport, alone and beside one that is asked.
        (json!([udp]), Kind::HttpRoute, "ResolvedRefs=False/UnsupportedProtocol"),
        (
            json!([{"port": 80, "protocol": "SCTP", "appProtocol": "http"}]),
            Kind::GrpcRoute,
            "ResolvedRefs=False/UnsupportedProtocol",
        ),
        (json!([udp, port("http")]), Kind::HttpRoute, "ResolvedRefs=True/ResolvedRefs"),
        (json!([udp, port("mysql")]), Kind::HttpRoute, "ResolvedRefs=False/UnsupportedProtocol"),
    ];
    for (ports, kind, resolved) in rows {
        let mut store = cluster(json!([http("a", 80)]));
        put(&mut store, Kind::Service, ("n", "s"), 1, json!({"ports": ports}));
        let rules = json!([{"backendRefs": [{"name": "s", "port": 80}]}]);
        put(&mut store, kind, ("n", "r"), 1, json!({"parentRefs": [{"name": "gw"}], "rules": rules}));
        let all = said_of(&store, &served(&store), &BTreeSet::new());
        let said = reasons(&of(&all, kind, "r")["parents"][0]);
        assert_eq!(said, ["Accepted=True/Accepted", resolved], "{ports} {kind:?}");
    }
}

#[test]
fn a_gateway_says_which_of_its_listeners_serve() {
    let tls = json!({"name": "tls", "port": 443, "protocol": "HTTPS"});
    let good = [
        "Accepted=True/Accepted",
        "Programmed=True/Programmed",
        "ResolvedRefs=True/ResolvedRefs",
        "Conflicted=False/NoConflicts",
    ];
    let rows = [
        (json!([http("a", 80)]), ["Accepted=True/Accepted", "Programmed=True/Programmed"], good),
        (
            json!([http("a", 80), tls]),
            ["Accepted=True/ListenersNotValid", "Programmed=True/Programmed"],
            good,
        ),
        (
            json!([tls]),
            ["Accepted=True/ListenersNotValid", "Programmed=False/Invalid"],
            [good[0], "Programmed=False/Invalid", "ResolvedRefs=False/InvalidCertificateRef", good[3]],
        ),
        (
            json!([{"name": "a", "port": 80, "protocol": "TCP"}]),
            ["Accepted=False/ListenersNotValid", "Programmed=False/Invalid"],
            ["Accepted=False/UnsupportedProtocol", "Programmed=False/Invalid", good[2], good[3]],
        ),
        (
            json!([http("a", 80), {"name": "b", "port": 80, "protocol": "HTTPS", "hostname": "b.example"}]),
            ["Accepted=False/ListenersNotValid", "Programmed=False/Invalid"],
            [
                "Accepted=False/ProtocolConflict",
                "Programmed=False/Invalid",
                good[2],
                "Conflicted=True/ProtocolConflict",
            ],
        ),
        (
            json!([http("a", 99), http("b", 80)]),
            ["Accepted=True/ListenersNotValid", "Programmed=True/Programmed"],
            ["Accepted=False/PortUnavailable", "Programmed=False/Invalid", good[2], good[3]],
        ),
        (
            json!([http("a", 80), http("b", 80)]),
            ["Accepted=False/ListenersNotValid", "Programmed=False/Invalid"],
            [
                "Accepted=False/HostnameConflict",
                "Programmed=False/Invalid",
                good[2],
                "Conflicted=True/HostnameConflict",
            ],
        ),
    ];
    for (listeners, whole, first) in rows {
        let store = cluster(listeners.clone());
        let all = said_of(&store, &served(&store), &BTreeSet::from([99]));
        let status = of(&all, Kind::ApiGateway, "gw");
        assert_eq!(reasons(&status), whole, "{listeners}");
        assert_eq!(reasons(&status["listeners"][0]), first, "{listeners}");
        assert!(all.iter().all(|one| one.key.1 != "theirs" && one.key.1 != "foreign"), "{all:?}");
        let class = reasons(&of(&all, Kind::GatewayClass, "umbra"));
        assert_eq!(class, ["Accepted=True/Accepted", "SupportedVersion=False/UnsupportedVersion"]);
    }
}

#[test]
fn a_listener_whose_clients_certificates_cannot_be_checked_lets_nobody_in() {
    let https = |name: &str, port: u64| json!({"name": name, "port": port, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "c"}]}});
    let listeners = json!([https("asks", 443), https("own", 8443), http("http", 80)]);
    let of_map = |mode: &str| json!({"validation": {"mode": mode, "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}]}});
    let said = |frontend: Value| {
        let mut store = cluster(listeners.clone());
        store.set(Kind::Secret, None, json!({"metadata": {"name": "c", "namespace": "n"}}));
        let mut gateway = store.get(Kind::ApiGateway, "n", "gw").unwrap().as_ref().clone();
        gateway["spec"]["tls"] = json!({"frontend": frontend});
        store.set(Kind::ApiGateway, None, gateway);
        let status = of(&said_of(&store, &served(&store), &BTreeSet::new()), Kind::ApiGateway, "gw");
        let each = list(&status, "listeners").iter().map(|one| reasons(one).remove(0)).collect::<Vec<_>>();
        (reasons(&status), each, reasons(&status["listeners"][0]).remove(2))
    };
    let no = "Accepted=False/NoValidCACertificate";
    let (whole, each, resolved) =
        said(json!({"default": of_map("AllowValidOnly"), "perPort": [{"port": 8443, "tls": {}}]}));
    assert_eq!(whole[0], "Accepted=True/ListenersNotValid");
    // Its own certificates are no better here, and are told first.
    assert_eq!(
        (each, resolved.as_str()),
        (
            vec![no.to_owned(), "Accepted=True/Accepted".into(), "Accepted=True/Accepted".into()],
            "ResolvedRefs=False/InvalidCertificateRef"
        )
    );
    let (whole, each, _) =
        said(json!({"default": {}, "perPort": [{"port": 8443, "tls": of_map("AllowInsecureFallback")}]}));
    assert_eq!(whole[2], "InsecureFrontendValidationMode=True/ConfigurationChanged");
    assert_eq!(each[1], no);
}

#[test]
fn listeners_of_one_port_whose_names_overlap_are_told_so_while_they_do() {
    let https = |name: &str, port: u64, hostname: &str| {
        let mut one = json!({"name": name, "port": port, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "c"}]}});
        if !hostname.is_empty() {
            one["hostname"] = hostname.into();
        }
        one
    };
    let told = |listeners: Value| -> Vec<String> {
        let store = cluster(listeners);
        let status = of(&said_of(&store, &served(&store), &BTreeSet::new()), Kind::ApiGateway, "gw");
        let overlaps = |one: &&Value| {
            reasons(one).iter().any(|said| said == "OverlappingTLSConfig=True/OverlappingHostnames")
        };
        list(&status, "listeners").iter().filter(overlaps).map(|one| text(one, "name").to_owned()).collect()
    };
    // As the conformance suite has it.
    let some = json!([
        https("foo", 443, "foo.example.com"),
        https("bar", 443, "bar.bar.example.com"),
        https("wild", 443, "*.example.com"),
        https("none", 443, "example.com"),
        https("port", 9443, "foo.example.com"),
    ]);
    assert_eq!(told(some), ["foo", "bar", "wild"]);
    assert_eq!(told(json!([https("one", 443, "a.example"), https("every", 443, "")])), ["one", "every"]);
    assert_eq!(
        told(
            json!([http("one", 80), {"name": "a", "port": 80, "protocol": "HTTP", "hostname": "a.example"}])
        ),
        [""; 0]
    );
    // The condition goes when it holds no more; other controllers' conditions of a listener stay.
    let said = json!({"listeners": [{"name": "a", "conditions": [
        {"type": "OverlappingTLSConfig", "status": "True"}, {"type": "Theirs", "status": "True"}]}]});
    let wanted = json!({"addresses": [], "conditions": [], "listeners": [{"name": "a", "conditions": []}]});
    let merged = merged(Kind::ApiGateway, &json!({"status": said}), &wanted, OURS, "now").unwrap();
    assert_eq!(merged["listeners"][0]["conditions"], json!([{"type": "Theirs", "status": "True"}]));
}

#[test]
fn a_gateway_that_asks_for_an_address_of_a_strange_type_is_not_accepted() {
    let mut store = cluster(json!([http("a", 80)]));
    let spec = json!({"gatewayClassName": "umbra", "listeners": [http("a", 80)],
        "addresses": [{"type": "example.com/odd", "value": "x"}, {"value": "192.0.2.1"}]});
    put(&mut store, Kind::ApiGateway, ("n", "gw"), 5, spec);
    let status = of(&said_of(&store, &served(&store), &BTreeSet::new()), Kind::ApiGateway, "gw");
    assert_eq!(reasons(&status), ["Accepted=False/UnsupportedAddress", "Programmed=False/Invalid"]);
    assert_eq!(reasons(&status["listeners"][0])[1], "Programmed=False/Invalid");
}

#[test]
fn what_is_offered_is_claimed_only_where_it_can_be() {
    let store = cluster(json!([http("a", 80)]));
    let rules = rules();
    let served = served(&store);
    let publish = ("home".to_owned(), "front".to_owned());
    let claims = |plaintext: bool, publish: Option<&Key>| {
        let view = View {
            store: &store,
            rules: &rules,
            served: &served,
            unavailable: &BTreeSet::new(),
            plaintext,
            home: "home",
            publish,
            own_ports: false,
        };
        let class = of(&desired(&view), Kind::GatewayClass, "umbra");
        let has = |name: &str| list(&class, "supportedFeatures").iter().any(|one| text(one, "name") == name);
        [
            "GatewayStaticAddresses",
            "GatewayAddressEmpty",
            "GatewayHTTPSListenerDetectMisdirectedRequests",
            "GatewayFrontendClientCertificateValidation",
        ]
        .map(has)
    };
    assert_eq!(claims(false, None), [false, false, true, true]);
    assert_eq!(claims(true, Some(&publish)), [false, true, false, false]);
}

#[test]
fn what_is_refused_is_said_with_its_problems_and_only_of_the_generation_that_is_served() {
    let mut store = cluster(json!([http("a", 80)]));
    put(&mut store, Kind::HttpRoute, ("n", "r"), 2, json!({"parentRefs": [{"name": "gw"}], "rules": []}));
    let mut outcomes = served(&store);
    let problem = config::Problem { message: "nonsense".to_owned(), ..config::Problem::default() };
    outcomes.last_mut().unwrap().state = State::Rejected(vec![problem]);
    let all = said_of(&store, &outcomes, &BTreeSet::new());
    // A listener counts accepted routes alone.
    assert_eq!(of(&all, Kind::ApiGateway, "gw")["listeners"][0]["attachedRoutes"], 0);
    let route = of(&all, Kind::HttpRoute, "r");
    let accepted = &route["parents"][0]["conditions"][0];
    assert_eq!((text(accepted, "reason"), text(accepted, "message")), ("UnsupportedValue", "nonsense"));
    let of_another: [fn(&mut Outcome); 2] =
        [|one| one.generation = Some(1), |one| one.uid = "earlier".to_owned()];
    for change in of_another {
        let mut outcomes = served(&store);
        outcomes.iter_mut().for_each(change);
        let all = said_of(&store, &outcomes, &BTreeSet::new());
        assert!(all.iter().all(|one| one.kind == Kind::GatewayClass), "{all:?}");
    }
}

#[test]
fn no_more_is_said_than_an_api_server_takes() {
    let entry = |controller: &str, name: String| json!({"controllerName": controller, "parentRef": {"name": name}, "conditions": []});
    let theirs: Vec<Value> = (0..30).map(|n| entry("example.com/x", format!("t{n}"))).collect();
    let ours: Vec<Value> = (0..5).map(|n| entry(OURS, format!("o{n}"))).collect();
    let object = json!({"status": {"parents": theirs}});
    let said = merged(Kind::HttpRoute, &object, &json!({"parents": ours}), OURS, "now").unwrap();
    let all = list(&said, "parents");
    assert_eq!((&all[..30], all.len()), (theirs.as_slice(), 32));
    // The merged status, merged again, changes nothing.
    let object = json!({"status": said});
    assert_eq!(merged(Kind::HttpRoute, &object, &json!({"parents": ours}), OURS, "later"), None);
    let long = [("Accepted", false, "Invalid", "ö".repeat(100_000))];
    let said = conditions(&json!({}), &long);
    assert_eq!(text(&said[0], "message").chars().count(), MESSAGE_MAX);
}

#[test]
fn what_is_said_already_is_not_said_again_and_others_keep_their_words() {
    let theirs = json!({"controllerName": "example.com/x", "parentRef": {"name": "gw"}, "conditions": [{"type": "Accepted", "odd": [1]}]});
    let ours = |status: &str, since: &str| {
        let condition = json!({"type": "Accepted", "status": status, "reason": "r", "message": "", "observedGeneration": 1, "lastTransitionTime": since});
        json!({"controllerName": OURS, "parentRef": {"name": "gw"}, "conditions": [condition]})
    };
    let wanted = |status: &str| {
        let mut one = ours(status, "");
        one["conditions"][0].as_object_mut().unwrap().remove("lastTransitionTime");
        json!({"parents": [one]})
    };
    let merge = |status: Value, wanted: Value| {
        merged(Kind::HttpRoute, &json!({"status": status}), &wanted, OURS, "now")
    };
    assert_eq!(merge(json!({}), wanted("True")), Some(json!({"parents": [ours("True", "now")]})));
    assert_eq!(merge(json!({"parents": [theirs, ours("True", "then")]}), wanted("True")), None);
    assert_eq!(
        merge(json!({"parents": [theirs, ours("True", "then")]}), wanted("False")),
        Some(json!({"parents": [theirs, ours("False", "now")]}))
    );
    // Another generation is written; the transition time stays.
    let mut newer = wanted("True");
    newer["parents"][0]["conditions"][0]["observedGeneration"] = 2.into();
    let said = merge(json!({"parents": [ours("True", "then")]}), newer).unwrap();
    assert_eq!(said["parents"][0]["conditions"][0]["lastTransitionTime"], "then");
    // The entry of a parent that has gone goes; entries of other controllers stay.
    assert_eq!(
        merge(json!({"parents": [theirs, ours("True", "then")]}), json!({"parents": []})),
        Some(json!({"parents": [theirs]}))
    );
    // Conditions of types that are not ours stay.
    let class = json!({"conditions": [{"type": "Other", "status": "Unknown"}, {"type": "Accepted", "status": "Unknown", "lastTransitionTime": "then"}]});
    let features = json!([{"name": "Gateway"}]);
    let wanted =
        json!({"conditions": [{"type": "Accepted", "status": "True"}], "supportedFeatures": features});
    let said = merged(Kind::GatewayClass, &json!({"status": class}), &wanted, OURS, "now").unwrap();
    assert_eq!(
        said,
        json!({"conditions": [{"type": "Other", "status": "Unknown"}, {"type": "Accepted", "status": "True", "lastTransitionTime": "now"}],
            "supportedFeatures": features})
    );
}
