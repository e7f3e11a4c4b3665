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

#[test]
fn of_several_authorities_one_that_is_missing_is_told_and_of_several_policies_the_oldest_counts() {
    let origin = Origin::named("v1");
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let pair = authority.issue("v1", &["v1.internal"]);
    let front = Front::new(&pair, origin.address, Rules::default());
    let cluster = ClusterStage::new();
    cluster.service("default", "v1", json!({"app": "v1"}));
    cluster.pod("default", "v1-1", json!({"app": "v1"}), front.address);
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
        "metadata": {"name": "umbra", "namespace": ""}, "spec": {"controllerName": OURS}}));
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "gw"},
        "spec": {"gatewayClassName": "umbra", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}}));
    cluster.api.put(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "shop"},
        "spec": {"parentRefs": [{"name": "gw"}], "rules": [{"backendRefs": [{"name": "v1", "port": 80}]}]}}));
    let ca = std::fs::read_to_string(&authority.ca).expect("the authority");
    let map = |name: &str, text: &str| {
        cluster.api.put(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"ca.crt": text}}));
    };
    map("ca", &ca);
    let refs = |names: &[&str], more: Value| {
        let refs: Vec<Value> =
            names.iter().map(|name| json!({"group": "", "kind": "ConfigMap", "name": name})).collect();
        let mut policy = policy("v1", "v1", "");
        policy["spec"]["validation"]["caCertificateRefs"] = refs.into();
        for (name, value) in more.as_object().into_iter().flatten() {
            policy["spec"]["validation"][name] = value.clone();
        }
        policy
    };
    cluster.api.put(refs(&["gone", "ca", "also-gone"], json!({})));
    let gateway = cluster.start(&[]);
    gateway.says("a.test", "/", "200 v1");
    says(&cluster, "v1", &["Accepted=True/Accepted", "ResolvedRefs=False/InvalidCACertificateRef"]);
    let told = cluster.api.get("BackendTLSPolicy", "default", "v1").expect("it")["status"].to_string();
    assert!(
        told.contains("default/gone is not there") && told.contains("default/also-gone is not there"),
        "{told}"
    );
    // Two that are good, of which one is that of another.
    let other = Authority::new(folder.path(), "other");
    map("gone", &std::fs::read_to_string(&other.ca).expect("the other"));
    map("also-gone", &ca);
    let good = ["Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs"];
    says(&cluster, "v1", &good);
    assert_eq!(gateway.said("a.test", "/"), "200 v1");
    // 502 for the first, 503 while the endpoint rests.
    let fails = || {
        eventually_within(PATIENCE, "no request reaches it", || {
            gateway.said("a.test", "/").starts_with("50")
        });
    };
    // Names that the certificate must have in place of the one that is asked for.
    let named = |name: &str| {
        let names = json!({"subjectAltNames": [{"type": "URI", "uri": "spiffe://a/b"}, {"type": "Hostname", "hostname": name}]});
        cluster.api.put(refs(&["ca"], names));
    };
    named("other.internal");
    fails();
    says(&cluster, "v1", &good);
    named("v1.internal");
    gateway.says("a.test", "/", "200 v1");
    // The system's authorities do not know this one; a word that is not known is refused.
    let system = |word: &str| {
        let mut policy = refs(&[], json!({"wellKnownCACertificates": word}));
        policy["spec"]["validation"].as_object_mut().expect("a table").remove("caCertificateRefs");
        cluster.api.put(policy);
    };
    system("System");
    fails();
    says(&cluster, "v1", &good);
    system("example.com/ours");
    says(&cluster, "v1", &["Accepted=False/Invalid", "ResolvedRefs=True/ResolvedRefs"]);
    cluster.api.put(refs(&["ca"], json!({})));
    gateway.says("a.test", "/", "200 v1");
    // A younger one for the same is told so until it is the only one.
    cluster.api.put(policy("younger", "v1", "gone"));
    says(&cluster, "younger", &["Accepted=False/Conflicted", "ResolvedRefs=True/ResolvedRefs"]);
    assert_eq!(gateway.said("a.test", "/"), "200 v1");
    cluster.api.delete("BackendTLSPolicy", "default", "v1");
    says(&cluster, "younger", &good);
    fails();
}
