//! In a cluster that many share: an object of one author stops no other's, and uses no file or socket of the gateway's machine.

use serde_json::{Value, json};
use tests::{ClusterStage, Origin};

fn virtual_service(name: &str, to: &str) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name},
        "spec": {"hosts": [name], "http": [{"route": [{"destination": {"host": to}}]}]}})
}

fn destination_rule(name: &str, tls: &Value) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": name},
        "spec": {"host": name, "trafficPolicy": {"tls": tls}}})
}

fn serve(cluster: &ClusterStage, name: &str, origin: &Origin) {
    cluster.service("default", name, json!({"app": name}));
    cluster.pod("default", &format!("{name}-1"), json!({"app": name}), origin.address);
    cluster.api.put(virtual_service(name, name));
}

#[test]
fn tls_that_one_tenant_cannot_have_stops_no_other_and_nothing_goes_there_in_plaintext() {
    let (shop, shut) = (Origin::named("shop"), Origin::named("shut"));
    let cluster = ClusterStage::new();
    serve(&cluster, "shop", &shop);
    // No certificate has such a name, which is seen only where TLS is made; and the files are the machine's.
    let wrong = [
        ("name", json!({"mode": "SIMPLE", "sni": "a-.b", "insecureSkipVerify": true})),
        ("file", json!({"mode": "SIMPLE", "caCertificates": "/nowhere/ca.pem"})),
        (
            "pair",
            json!({"mode": "MUTUAL", "clientCertificate": "/nowhere/tls.crt", "privateKey": "/nowhere/tls.key"}),
        ),
    ];
    for (name, tls) in &wrong {
        serve(&cluster, name, &shut);
        cluster.api.put(destination_rule(name, tls));
    }
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/", "200 shop");
    for (name, _) in &wrong {
        let status = gateway.ask(name, "/").status;
        // Refused where it cannot be verified, or given up where v1 does not answer the hello.
        assert!(matches!(status, 500..=504), "{name} {status}");
    }
    serve(&cluster, "more", &shop);
    gateway.says("more", "/", "200 shop");
    assert!(shut.requests().is_empty());
    cluster.api.delete("DestinationRule", "default", "name");
    gateway.says("name", "/", "200 shut");
}

#[test]
fn descriptors_that_are_not_there_stop_no_change_and_the_mirror_is_compared_without() {
    let (shop, v2) = (Origin::named("shop"), Origin::named("v2"));
    let cluster = ClusterStage::new();
    serve(&cluster, "v2", &v2);
    cluster.service("default", "shop", json!({"app": "shop"}));
    cluster.pod("default", "shop-1", json!({"app": "shop"}), shop.address);
    cluster.api.put(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "policy"},
        "data": {"policy.toml": "[every]\ncompare = { descriptors = \"/nowhere/api.binpb\" }\n"}}));
    cluster.api.put(json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "shop", "annotations": {"umbra.dev/mirror-policy": "policy"}},
        "spec": {"hosts": ["shop"], "http": [{"route": [{"destination": {"host": "shop"}}], "mirror": {"host": "v2"}}]}}));
    let gateway = cluster.start(&["--mesh"]);
    gateway.says("shop", "/", "200 shop");
    tests::eventually("the answers are compared", || {
        gateway.said("shop", "/");
        let told: Value = serde_json::from_str(&gateway.admin("GET", "/diffs", "").text()).expect("JSON");
        told["compared"].as_array().is_some_and(|all| all.iter().any(|of| of["compared"].as_u64() > Some(0)))
    });
    serve(&cluster, "more", &shop);
    gateway.says("more", "/", "200 shop");
}
