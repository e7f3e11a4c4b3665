//! Policies of mirrors in a ConfigMap, and Events on objects.

use serde_json::{Value, json};
use tests::cluster::{PATIENCE, Replica};
use tests::{ClusterStage, Origin, eventually_within};

const ANNOTATION: &str = "umbra.dev/mirror-policy";

fn virtual_service(spec: Value) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "shop"}, "spec": spec})
}

/// Two Services that run, and the VirtualService that copies from one to the other.
fn mirrored(cluster: &ClusterStage, v1: &Origin, v2: &Origin) -> Value {
    for (name, origin) in [("v1", v1), ("v2", v2)] {
        cluster.service("default", name, json!({"app": name}));
        cluster.pod("default", &format!("{name}-1"), json!({"app": name}), origin.address);
    }
    let to_v1 = json!([{"destination": {"host": "v1"}}]);
    virtual_service(json!({"hosts": ["shop"], "http": [{"route": to_v1, "mirror": {"host": "v2"}}]}))
}

fn policy(text: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mirrors"}, "data": {"policy.toml": text}})
}

/// Asks until v2 has a copy of this path; the request that it got.
fn copied(gateway: &Replica, v2: &Origin, path: &str, query: &str) -> tests::Request {
    eventually_within(PATIENCE, "a copy comes", || {
        gateway.said("shop", &format!("{path}{query}")).starts_with("200")
            && v2.requests().iter().any(|one| one.target.starts_with(path))
    });
    v2.requests().into_iter().find(|one| one.target.starts_with(path)).expect("a copy")
}

#[test]
fn a_config_map_says_what_leaves_with_copies_and_a_change_of_it_is_followed() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let cluster = ClusterStage::new();
    let mut route = mirrored(&cluster, &v1, &v2);
    route["metadata"]["annotations"] = json!({ANNOTATION: "mirrors"});
    cluster.api.put(policy("[every]\nredact = { query = [\"secret\"] }\n"));
    cluster.api.put(route);
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/", "200 v1");
    let copy = copied(&gateway, &v2, "/first", "?secret=1");
    assert!(!copy.target.contains("secret=1"), "{}", copy.target);
    cluster.api.put(policy("[mirror.v2]\nhost = \"shadow\"\n"));
    eventually_within(PATIENCE, "the other policy is in force", || {
        gateway.said("shop", "/second");
        v2.requests().iter().any(|one| one.field("host").is_some_and(|host| host.starts_with("shop-shadow")))
    });
    // The one that is named is read, and no other.
    let maps = cluster.api.requests().into_iter().filter(|line| line.contains("configmaps"));
    assert!(maps.clone().count() > 0);
    assert!(maps.into_iter().all(|line| line.contains("metadata.name%3Dmirrors")));
}

#[test]
fn a_policy_that_is_wrong_or_not_there_costs_copies_alone_and_is_said_with_its_key_and_line() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let cluster = ClusterStage::new();
    let mut route = mirrored(&cluster, &v1, &v2);
    route["metadata"]["annotations"] = json!({ANNOTATION: "mirrors/policy.toml"});
    cluster.api.put(route);
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/", "200 v1");
    gateway.logs("ConfigMap default/mirrors: it is not there, or may not be read");
    cluster.api.put(policy("[every]\ncompare = { percent = 5 }\nrate_max = -1\n"));
    gateway.logs("ConfigMap default/mirrors policy.toml:3: every.rate_max: ");
    assert_eq!((gateway.said("shop", "/"), v2.count()), ("200 v1".to_owned(), 0));
    cluster.api.put(policy("[every]\nredact = { headres = [\"a\"] }\n"));
    gateway.logs("did you mean \"headers\"?");
    assert_eq!((gateway.said("shop", "/"), v2.count()), ("200 v1".to_owned(), 0));
    eventually_within(PATIENCE, "it is an Event", || {
        cluster
            .api
            .events("shop")
            .iter()
            .any(|said| said.starts_with("Warning Ignored: ") && said.contains("policy.toml:2"))
    });
    cluster.api.put(policy("[every]\nrate_max = 1000\n"));
    copied(&gateway, &v2, "/mended", "");
}

#[test]
fn what_becomes_of_an_object_is_an_event_on_it_once_for_a_generation() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let cluster = ClusterStage::new();
    let route = mirrored(&cluster, &v1, &v2);
    cluster.api.put(route.clone());
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/", "200 v1");
    let said = |what: &str| cluster.api.events("shop").iter().filter(|one| one.contains(what)).count();
    eventually_within(PATIENCE, "it is applied", || said("Normal Applied: ") == 1);
    let event = cluster.api.written("/events").pop().expect("an Event").body;
    let about = &event["involvedObject"];
    let uid = &cluster.api.get("VirtualService", "default", "shop").expect("it is there")["metadata"]["uid"];
    assert_eq!((&about["kind"], &about["uid"]), (&json!("VirtualService"), uid));
    let mut wrong = route.clone();
    wrong["spec"] = json!({"hosts": ["shop"], "htttp": []});
    cluster.api.put(wrong);
    eventually_within(PATIENCE, "it is refused", || said("Warning Rejected: ") == 1);
    assert_eq!(said("did you mean \"http\"?; its last accepted version serves on"), 1);
    let anew = route.clone();
    cluster.api.put(route);
    eventually_within(PATIENCE, "it is applied again", || said("Normal Applied: ") == 2);
    // The Event on an object that is made anew is on this very object.
    cluster.api.delete("VirtualService", "default", "shop");
    cluster.api.put(anew);
    eventually_within(PATIENCE, "the new one is applied", || said("Normal Applied: ") == 3);
    // Another replica repeats no Event, and neither does this one.
    let written = cluster.api.written("/events").len();
    drop(gateway);
    let next = cluster.start(&["--mesh"]);
    eventually_within(PATIENCE, "the next one leads and says the same", || {
        next.metrics().sum("umbra_kubernetes_leader", &[]) == 1
            && cluster.api.written("/events").len() > written
    });
    assert_eq!((said("Normal Applied: "), said("Warning Rejected: ")), (3, 1));
}

#[test]
fn a_namespace_that_takes_no_events_costs_no_other_its_own() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let cluster = ClusterStage::new();
    let mut ending = mirrored(&cluster, &v1, &v2);
    ending["metadata"] = json!({"name": "ending", "namespace": "a-first"});
    // As one that is being deleted answers, for as long as something in it stays.
    cluster.api.order("POST", "/namespaces/a-first/events", 403, usize::MAX);
    cluster.api.put(ending);
    let mut other = mirrored(&cluster, &v1, &v2);
    other["spec"]["hosts"] = json!(["other"]);
    cluster.api.put(other);
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("other", "/", "200 v1");
    eventually_within(PATIENCE, "the other one is told", || {
        cluster.api.events("shop").iter().any(|one| one.starts_with("Normal Applied"))
    });
    gateway.logs("an Event of VirtualService a-first/ending cannot be written: answered 403");
}

#[test]
fn a_share_that_an_operator_has_set_goes_on_until_its_object_says_another() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let cluster = ClusterStage::new();
    let mut route = mirrored(&cluster, &v1, &v2);
    cluster.api.put(route.clone());
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/", "200 v1");
    assert_eq!(gateway.admin("PATCH", "/mirrors/v2", r#"{"percent": 7}"#).status, 200);
    let of = |what: &str| gateway.metrics().sum(what, &["mirror=\"v2\""]);
    let share = || (of("umbra_mirror_percent"), of("umbra_mirror_configured_percent"));
    assert_eq!(share(), (7, 100));
    // An object of another author.
    let mut other = route.clone();
    other["metadata"]["name"] = "other".into();
    other["spec"] = json!({"hosts": ["other"], "http": [{"directResponse": {"status": 418}}]});
    cluster.api.put(other);
    gateway.says("other", "/", "418");
    assert_eq!(share(), (7, 100));
    gateway.logs("was set to 7");
    route["spec"]["http"][0]["mirrorPercentage"] = json!({"value": 20});
    cluster.api.put(route);
    eventually_within(PATIENCE, "the object's own share", || share() == (20, 20));
}
