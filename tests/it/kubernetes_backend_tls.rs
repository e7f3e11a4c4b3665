//! BackendTLSPolicy in a cluster: backends and mirrors are called over TLS and believed by a ConfigMap, and never in plaintext
//! where a policy wants TLS and cannot be had.

use serde_json::{Value, json};
use tests::certificates::Authority;
use tests::cluster::PATIENCE;
use tests::{ClusterStage, Front, Origin, Rules, eventually_within};

const OURS: &str = "umbra.dev/gateway-controller";

/// The conditions that a policy has at each of its ancestors that are ours, as `Accepted=True/Accepted`.
fn said(cluster: &ClusterStage, name: &str) -> Vec<String> {
    let policy = cluster.api.get("BackendTLSPolicy", "default", name).expect("the policy");
    let entries = policy["status"]["ancestors"].as_array().cloned().unwrap_or_default();
    let text = |one: &Value, of: &str| one[of].as_str().unwrap_or_default().to_owned();
    let one = |one: &Value| format!("{}={}/{}", text(one, "type"), text(one, "status"), text(one, "reason"));
    let ours = entries.iter().filter(|entry| entry["controllerName"] == OURS);
    ours.flat_map(|entry| entry["conditions"].as_array().into_iter().flatten().map(one).collect::<Vec<_>>())
        .collect()
}

#[track_caller]
fn says(cluster: &ClusterStage, name: &str, wanted: &[&str]) {
    eventually_within(PATIENCE, &format!("{name}: {wanted:?}"), || said(cluster, name) == wanted);
}

fn policy(name: &str, service: &str, ca: &str) -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy", "metadata": {"name": name},
        "spec": {"targetRefs": [{"group": "", "kind": "Service", "name": service}],
            "validation": {"hostname": "v1.internal", "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": ca}]}}})
}

#[test]
fn a_backend_and_a_mirror_are_called_over_tls_by_a_policy_and_its_config_map() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let pair = authority.issue("v1", &["v1.internal"]);
    let fronts = [&v1, &v2].map(|origin| Front::new(&pair, origin.address, Rules::default()));
    let cluster = ClusterStage::new();
    for (name, front) in ["v1", "v2"].iter().zip(&fronts) {
        cluster.service("default", name, json!({"app": name}));
        cluster.pod("default", &format!("{name}-1"), json!({"app": name}), front.address);
    }
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
        "metadata": {"name": "umbra", "namespace": ""}, "spec": {"controllerName": OURS}}));
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "gw"},
        "spec": {"gatewayClassName": "umbra", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}}));
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "shop"},
        "spec": {"parentRefs": [{"name": "gw"}], "rules": [{
            "filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "v2", "port": 80}}}],
            "backendRefs": [{"name": "v1", "port": 80}]}]}}));
    // The policies are there before the authority is: nothing leaves in plaintext meanwhile.
    for service in ["v1", "v2"] {
        cluster.api.put(policy(service, service, "ca"));
    }
    let theirs =
        json!({"ancestorRef": {"name": "gw"}, "controllerName": "other.dev/controller", "conditions": []});
    cluster.api.set_status("BackendTLSPolicy", "default", "v1", json!({"ancestors": [theirs]}));
    let gateway = cluster.start(&[]);
    gateway.says("a.test", "/", "500");
    let bare = ["Accepted=False/NoValidCACertificate", "ResolvedRefs=False/InvalidCACertificateRef"];
    says(&cluster, "v1", &bare);
    let ca = std::fs::read_to_string(&authority.ca).expect("the authority");
    let map = |text: &str| {
        cluster.api.put(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": text}}));
    };
    map("no certificate");
    eventually_within(PATIENCE, "it is said what is wrong with it", || {
        let policy = cluster.api.get("BackendTLSPolicy", "default", "v1").expect("the policy");
        policy["status"].to_string().contains("ConfigMap default/ca: its ca.crt ")
    });
    assert_eq!(gateway.said("a.test", "/"), "500");
    map(&ca);
    gateway.says("a.test", "/", "200 v1");
    eventually_within(PATIENCE, "a copy comes", || v2.count() > 0);
    let good = ["Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs"];
    says(&cluster, "v1", &good);
    says(&cluster, "v2", &good);
    let status = cluster.api.get("BackendTLSPolicy", "default", "v1").expect("it")["status"].clone();
    assert_eq!(status["ancestors"][0], theirs, "the words of others stay");
    assert_eq!(status["ancestors"][1]["ancestorRef"]["name"], "gw");
    assert!(fronts.iter().all(|front| !front.shaken().is_empty() && !front.saw("GET /")));
    // A younger one for the same is told so, and changes nothing.
    cluster.api.put(policy("younger", "v1", "gone"));
    let refused = ["Accepted=False/Conflicted", "ResolvedRefs=False/InvalidCACertificateRef"];
    says(&cluster, "younger", &refused);
    // A route that leads there no more takes our words along.
    cluster.api.delete("HTTPRoute", "default", "shop");
    says(&cluster, "v2", &[]);
    eventually_within(PATIENCE, "others' words are left alone", || {
        cluster.api.get("BackendTLSPolicy", "default", "v1").expect("it")["status"]
            == json!({"ancestors": [theirs]})
    });
}
