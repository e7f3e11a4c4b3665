//! Rollout controllers in a cluster: each step as they write it, and the traffic and copies that arrive.

use serde_json::{Value, json};
use tests::cluster::{PATIENCE, Replica};
use tests::{ClusterStage, Origin, eventually_within};

/// Requests of one look: enough that a share of a fifth is told from a half.
const LOOK: usize = 200;

/// The requests that arrive of some: at the stable version, at the canary, and as copies at the canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Arrived {
    stable: usize,
    canary: usize,
    copies: usize,
}

/// A stable version and a canary behind a gateway that follows the cluster.
struct Rollout {
    cluster: ClusterStage,
    stable: Origin,
    canary: Origin,
    gateway: Replica,
}

impl Rollout {
    fn new(prepare: impl FnOnce(&ClusterStage, &Origin, &Origin), arguments: &[&str]) -> Self {
        let (stable, canary) = (Origin::named("stable"), Origin::named("canary"));
        let cluster = ClusterStage::new();
        prepare(&cluster, &stable, &canary);
        let gateway = cluster.start(arguments);
        Self { cluster, stable, canary, gateway }
    }

    fn arrived(&self) -> Arrived {
        let copied = |origin: &Origin| {
            let all = origin.requests();
            let copies = all.iter().filter(|one| one.field("x-umbra-mirror").is_some()).count();
            (all.len() - copies, copies)
        };
        let ((stable, stray), (canary, copies)) = (copied(&self.stable), copied(&self.canary));
        assert_eq!(stray, 0, "the stable version gets no copy");
        Arrived { stable, canary, copies }
    }

    /// Sends so many requests on one connection, each of which is answered, and returns the arrivals once their copies have
    /// ended.
    fn look(&self, path: &str, count: usize) -> Arrived {
        let before = self.arrived();
        let mut client = tests::Client::connect(self.gateway.address);
        for _ in 0..count {
            assert_eq!(client.ask(format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n")).status, 200);
        }
        eventually_within(PATIENCE, "the copies have ended", || {
            let metrics = self.gateway.metrics();
            let level = |what: &str| metrics.sum(&format!("umbra_mirror_{what}"), &[]);
            level("pending") + level("waiting") + level("in_flight") == 0
        });
        let now = self.arrived();
        Arrived {
            stable: now.stable - before.stable,
            canary: now.canary - before.canary,
            copies: now.copies - before.copies,
        }
    }

    /// Waits until a step is served, then looks whether the shares (in percent) of canary and of copies are those.
    #[track_caller]
    fn serves(&self, step: &str, path: &str, canary: usize, copies: usize) {
        let of = |percent: usize| LOOK * percent / 100;
        // Draws are even: of 200 in a row no share is met worse. Nothing is drawn where there is none.
        let near = |got: usize, percent: usize| {
            got.abs_diff(of(percent)) <= if matches!(percent, 0 | 100) { 0 } else { 10 }
        };
        let mut last = self.look(path, LOOK);
        eventually_within(PATIENCE, step, || {
            let is_so = near(last.canary, canary) && near(last.copies, copies);
            assert_eq!(last.stable + last.canary, LOOK, "{step}: each request is answered by one of them");
            if !is_so {
                last = self.look(path, LOOK);
            }
            is_so
        });
        // Not by chance, and not on the way to something else.
        let again = self.look(path, LOOK);
        assert!(near(again.canary, canary) && near(again.copies, copies), "{step}: {again:?}");
    }

    /// Reads an object, changes it and writes it whole, as controllers do.
    #[track_caller]
    fn update(&self, kind: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.cluster.api.get(kind, "default", name).expect("the object");
        change(&mut object);
        self.cluster.api.put(object);
    }
}

/// As Argo Rollouts has them in its form with subsets: one Service, two subsets told apart by the hash of their Pods.
fn subsets(cluster: &ClusterStage, stable: &Origin, canary: &Origin) {
    let labels = |hash: &str| json!({"app": "shop", "rollouts-pod-template-hash": hash});
    cluster.service("default", "shop", json!({"app": "shop"}));
    cluster.pod("default", "stable-1", labels("aaa"), stable.address);
    cluster.pod("default", "canary-1", labels("bbb"), canary.address);
    let subset = |name: &str, hash: &str| json!({"name": name, "labels": {"app": "shop", "rollouts-pod-template-hash": hash}});
    cluster.api.put(json!({"apiVersion": "networking.istio.io/v1alpha3", "kind": "DestinationRule", "metadata": {"name": "shop"},
        "spec": {"host": "shop", "subsets": [subset("stable", "aaa"), subset("canary", "bbb")]}}));
    let to = |subset: &str, weight: u64| json!({"destination": {"host": "shop", "subset": subset}, "weight": weight});
    cluster.api.put(json!({"apiVersion": "networking.istio.io/v1alpha3", "kind": "VirtualService", "metadata": {"name": "shop"},
        "spec": {"hosts": ["shop"], "http": [{"name": "primary", "route": [to("stable", 100), to("canary", 0)]}]}}));
}

/// The route named so, among those of a VirtualService.
fn named<'v>(service: &'v mut Value, name: &str) -> &'v mut Value {
    let all = service["spec"]["http"].as_array_mut().expect("routes");
    all.iter_mut().find(|route| route["name"] == name).expect("the route")
}

#[test]
fn argos_steps_on_a_virtual_service_move_traffic_and_copies() {
    let rollout = Rollout::new(subsets, &["--mesh"]);
    rollout.gateway.says("shop", "/", "200 stable");
    rollout.serves("before any step", "/", 0, 0);
    // setMirrorRoute: a route of its own before the others, with the weights of the one it stands for.
    rollout.update("VirtualService", "shop", |service| {
        let weights = named(service, "primary")["route"].clone();
        let mirror = json!({"name": "mirror", "match": [{"method": {"exact": "GET"}, "uri": {"prefix": "/"}}], "route": weights,
            "mirror": {"host": "shop", "subset": "canary"}, "mirrorPercentage": {"value": 35.0}});
        service["spec"]["http"].as_array_mut().expect("routes").insert(0, mirror);
    });
    rollout.serves("setMirrorRoute 35", "/", 0, 35);
    rollout.update("VirtualService", "shop", |service| {
        named(service, "mirror")["mirrorPercentage"]["value"] = json!(100.0);
    });
    rollout.serves("setMirrorRoute 100", "/", 0, 100);
    // setHeaderRoute: another route of its own, that sends some to the canary.
    rollout.update("VirtualService", "shop", |service| {
        let header = json!({"name": "header", "match": [{"headers": {"x-canary": {"exact": "yes"}}}],
            "route": [{"destination": {"host": "shop", "subset": "canary"}, "weight": 100}]});
        service["spec"]["http"].as_array_mut().expect("routes").insert(0, header);
    });
    let canary = "GET / HTTP/1.1\r\nHost: shop\r\nX-Canary: yes\r\n\r\n";
    eventually_within(PATIENCE, "who asks for the canary gets it", || {
        tests::Client::connect(rollout.gateway.address).ask(canary).text() == "canary"
    });
    // setMirrorRoute and setHeaderRoute without a match: both are gone.
    rollout.update("VirtualService", "shop", |service| {
        service["spec"]["http"].as_array_mut().expect("routes").retain(|route| route["name"] == "primary");
    });
    rollout.serves("no managed route", "/", 0, 0);
    for weight in [20, 50, 100] {
        rollout.update("VirtualService", "shop", |service| {
            let route = named(service, "primary");
            route["route"][0]["weight"] = (100 - weight).into();
            route["route"][1]["weight"] = weight.into();
        });
        rollout.serves(&format!("setWeight {weight}"), "/", weight, 0);
    }
    // Promoted: the former canary is stable, by the labels of the subset and by the weights.
    rollout.update("DestinationRule", "shop", |rule| {
        rule["spec"]["subsets"][0]["labels"]["rollouts-pod-template-hash"] = "bbb".into();
    });
    rollout.update("VirtualService", "shop", |service| {
        let route = named(service, "primary");
        (route["route"][0]["weight"], route["route"][1]["weight"]) = (100.into(), 0.into());
    });
    rollout.serves("promoted", "/", 100, 0);
    let status = |state: &str| {
        rollout.gateway.metrics().sum("umbra_kubernetes_objects", &["kind=\"VirtualService\"", state])
    };
    assert_eq!((status("state=\"accepted\""), status("state=\"rejected\"")), (1, 0));
}

/// A class, a Gateway and two Services, each with its Pod.
fn services(cluster: &ClusterStage, stable: &Origin, canary: &Origin, names: [&str; 2]) {
    for (name, origin) in names.into_iter().zip([stable, canary]) {
        cluster.service("default", name, json!({"app": name}));
        cluster.pod("default", &format!("{name}-1"), json!({"app": name}), origin.address);
    }
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "umbra"},
        "spec": {"controllerName": "umbra.dev/gateway-controller"}}));
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "gw"},
        "spec": {"gatewayClassName": "umbra", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}}));
}

fn backend(name: &str, weight: u64) -> Value {
    json!({"group": "", "kind": "Service", "name": name, "port": 80, "weight": weight})
}

/// An HTTPRoute with one rule, for everything.
fn route(backends: [Value; 2]) -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "shop"},
        "spec": {"parentRefs": [{"name": "gw"}], "hostnames": ["shop"],
            "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": backends}]}})
}

/// Our own entry is in the status, both conditions hold of the newest generation, and the spec is as it was written.
#[track_caller]
fn is_told_as_served(rollout: &Rollout) {
    eventually_within(PATIENCE, "the status follows", || {
        let route = rollout.cluster.api.get("HTTPRoute", "default", "shop").expect("the route");
        let conditions = route["status"]["parents"][0]["conditions"].as_array().cloned().unwrap_or_default();
        let holds = |one: &Value| {
            one["status"] == "True" && one["observedGeneration"] == route["metadata"]["generation"]
        };
        conditions.len() == 2 && conditions.iter().all(holds)
    });
}

#[test]
fn argos_plugins_steps_on_an_http_route_move_traffic_and_copies() {
    let rollout = Rollout::new(
        |cluster, stable, canary| {
            services(cluster, stable, canary, ["v1", "v2"]);
            cluster.api.put(route([backend("v1", 100), backend("v2", 0)]));
        },
        &[],
    );
    rollout.gateway.says("shop", "/", "200 stable");
    rollout.serves("before any step", "/", 0, 0);
    // setWeight writes a label beside the weights.
    for weight in [20, 50] {
        rollout.update("HTTPRoute", "shop", |route| {
            route["metadata"]["labels"] = json!({"rollouts.argoproj.io/gatewayapi-canary": "in-progress"});
            route["spec"]["rules"][0]["backendRefs"] =
                json!([backend("v1", 100 - weight), backend("v2", weight)]);
        });
        rollout.serves(&format!("setWeight {weight}"), "/", usize::try_from(weight).expect("a percent"), 0);
    }
    // setHeaderRoute: a rule behind the others, more exact than they are.
    rollout.update("HTTPRoute", "shop", |route| {
        let rule = json!({"matches": [{"path": {"type": "PathPrefix", "value": "/"}, "headers": [{"type": "Exact", "name": "x-canary", "value": "yes"}]}],
            "filters": [], "backendRefs": [{"group": "", "kind": "Service", "name": "v2", "port": 80}]});
        route["spec"]["rules"].as_array_mut().expect("rules").push(rule);
    });
    let asks = "GET / HTTP/1.1\r\nHost: shop\r\nX-Canary: yes\r\n\r\n";
    eventually_within(PATIENCE, "who asks for the canary gets it", || {
        (0..8).all(|_| tests::Client::connect(rollout.gateway.address).ask(asks).text() == "canary")
    });
    // setMirrorRoute as a filter of the weighted rule, with a share and then without.
    let mirror = |percent: Option<u64>| {
        let mut to = json!({"backendRef": {"group": "", "kind": "Service", "name": "v2", "port": 80}});
        if let Some(percent) = percent {
            to["percent"] = percent.into();
        }
        json!([{"type": "RequestMirror", "requestMirror": to}])
    };
    for (percent, wanted) in [(Some(35), 35), (None, 100)] {
        rollout.update("HTTPRoute", "shop", |route| {
            route["spec"]["rules"].as_array_mut().expect("rules").truncate(1);
            let rule = &mut route["spec"]["rules"][0];
            rule["backendRefs"] = json!([backend("v1", 100), backend("v2", 0)]);
            rule["filters"] = mirror(percent);
        });
        rollout.serves(&format!("setMirrorRoute as a filter, {percent:?}"), "/", 0, wanted);
    }
    // And as a rule of its own, which has a name and goes to the stable version alone.
    rollout.update("HTTPRoute", "shop", |route| {
        route["spec"]["rules"][0]["filters"] = json!([]);
        let rule = json!({"name": "mirror-rule", "matches": [{"path": {"type": "PathPrefix", "value": "/api"}, "method": "GET"}],
            "filters": mirror(Some(35)), "backendRefs": [{"group": "", "kind": "Service", "name": "v1", "port": 80}]});
        route["spec"]["rules"].as_array_mut().expect("rules").push(rule);
    });
    rollout.serves("setMirrorRoute as a rule, 35", "/api/x", 0, 35);
    rollout.serves("beside that rule", "/", 0, 0);
    rollout.update("HTTPRoute", "shop", |route| {
        route["metadata"]["labels"] = json!({});
        route["spec"]["rules"].as_array_mut().expect("rules").truncate(1);
        route["spec"]["rules"][0]["backendRefs"] = json!([backend("v1", 0), backend("v2", 100)]);
    });
    rollout.serves("promoted", "/api/x", 100, 0);
    is_told_as_served(&rollout);
}

#[test]
fn flaggers_steps_on_an_http_route_move_traffic_and_copies() {
    let names = ["shop-primary", "shop-canary"];
    let rollout = Rollout::new(
        |cluster, stable, canary| {
            services(cluster, stable, canary, names);
            for (name, origin) in names.into_iter().zip([stable, canary]) {
                let ready = json!({"ready": true, "serving": true, "terminating": false});
                cluster.slice("default", name, &format!("{name}-1"), origin.address, ready);
            }
            cluster.api.put(route([backend(names[0], 100), backend(names[1], 0)]));
        },
        &[],
    );
    rollout.gateway.says("shop", "/", "200 stable");
    // Each of its steps is a whole spec, by an update that names the version it read.
    let set = |weight: u64, mirrored: bool| {
        rollout.update("HTTPRoute", "shop", |object| {
            let mut next = route([backend(names[0], 100 - weight), backend(names[1], weight)]);
            if mirrored {
                next["spec"]["rules"][0]["filters"] = json!([{"type": "RequestMirror",
                    "requestMirror": {"backendRef": {"group": "", "kind": "Service", "name": names[1], "port": 80}}}]);
            }
            object["spec"] = next["spec"].clone();
        });
    };
    rollout.serves("initialised", "/", 0, 0);
    set(0, true);
    rollout.serves("mirrored", "/", 0, 100);
    is_told_as_served(&rollout);
    // The next iteration of an analysis writes the same again, which is no change.
    let generation = || {
        rollout.cluster.api.get("HTTPRoute", "default", "shop").expect("the route")["metadata"]["generation"]
            .clone()
    };
    let before = generation();
    set(0, true);
    assert_eq!(generation(), before);
    // Blue/green is promoted: the mirror goes, and all traffic with it; then it comes back to the new primary.
    set(100, false);
    rollout.serves("promoting", "/", 100, 0);
    set(0, false);
    rollout.serves("finalised", "/", 0, 0);
    // A canary instead, and its rollback.
    set(30, false);
    rollout.serves("canary weight 30", "/", 30, 0);
    set(0, false);
    rollout.serves("rolled back", "/", 0, 0);
    is_told_as_served(&rollout);
}

#[test]
fn a_controllers_update_never_meets_a_version_that_only_a_status_made() {
    // Flagger reads, changes and writes with the version that it read: each write of ours between these two fails its step.
    let names = ["v1", "v2"];
    let rollout = Rollout::new(
        |cluster, stable, canary| {
            services(cluster, stable, canary, names);
            cluster.api.put(route([backend("v1", 100), backend("v2", 0)]));
        },
        &[],
    );
    rollout.gateway.says("shop", "/", "200 stable");
    is_told_as_served(&rollout);
    let version = || {
        rollout.cluster.api.get("HTTPRoute", "default", "shop").expect("the route")["metadata"]["resourceVersion"].clone()
    };
    let written = || rollout.cluster.api.written("/httproutes/shop/status").len();
    let (before, count) = (version(), written());
    // Traffic, endpoints that move and routes of others are no news of this one.
    rollout.cluster.pod("default", "v2-2", json!({"app": "v2"}), rollout.canary.address);
    rollout.cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "other"},
        "spec": {"parentRefs": [{"name": "gw"}], "hostnames": ["other"], "rules": [{"backendRefs": [backend("v2", 1)]}]}}));
    rollout.gateway.says("other", "/", "200 canary");
    eventually_within(PATIENCE, "the other one's status is written", || {
        !rollout.cluster.api.written("/httproutes/other/status").is_empty()
    });
    assert_eq!((version(), written()), (before, count));
}
