//! A cluster that is read once: the output of `check` and `explain` on it.

use std::process::{Command, Output};

use serde_json::{Value, json};
use tests::gateway::binary;
use tests::{ClusterStage, Mode, Origin};

fn virtual_service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name}, "spec": spec})
}

/// Exit code and all that is said.
fn run(cluster: &ClusterStage, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    command.args(arguments).args(["--kubernetes", "--mesh", "--listen", "127.0.0.1:8080"]);
    let Output { status, stdout, stderr } =
        command.env("KUBECONFIG", cluster.api.kubeconfig()).output().expect("the gateway runs");
    let said = [stdout, stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    (status.code(), said)
}

#[test]
fn a_cluster_is_checked_object_by_object_and_explained_by_request() {
    let cluster = ClusterStage::new();
    cluster.service("default", "shop", json!({"app": "shop"}));
    let good = json!({"hosts": ["shop"], "http": [{"route": [{"destination": {"host": "shop"}}]}]});
    cluster.api.put(virtual_service("shop", good));
    let (code, said) = run(&cluster, &["check"]);
    assert!(code == Some(0) && said.contains("Kubernetes: ok: "), "{said}");
    cluster.api.put(virtual_service("slip", json!({"hosts": ["slip"], "htttp": []})));
    let (code, said) = run(&cluster, &["check"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("VirtualService default/slip: rejected: ") && said.contains("1 objects rejected"));
    let (code, said) = run(&cluster, &["explain", "http://shop/cart"]);
    assert!(code == Some(0) && said.contains("shop/http[0]"), "{said}");
    cluster.api.set_mode(Mode::Down);
    let (code, said) = run(&cluster, &["check"]);
    assert!(code == Some(1) && said.contains("of the cluster cannot be read: "), "{said}");
}

#[test]
fn a_cluster_is_converted_to_toml_that_needs_none() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let cluster = ClusterStage::new();
    cluster.service("default", "shop", json!({"app": "shop"}));
    for (version, origin) in [("v1", &v1), ("v2", &v2)] {
        cluster.pod("default", version, json!({"app": "shop", "version": version}), origin.address);
    }
    let subset = |version: &str| json!({"name": version, "labels": {"version": version}});
    cluster.api.put(json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "shop"},
        "spec": {"host": "shop", "subsets": [subset("v1"), subset("v2")]}}));
    let to = |version: &str| json!({"host": "shop", "subset": version});
    cluster.api.put(virtual_service(
        "shop",
        json!({"hosts": ["shop"], "http": [{"route": [{"destination": to("v1")}], "mirror": to("v2")}]}),
    ));
    let (code, said) = run(&cluster, &["convert"]);
    assert_eq!(code, Some(0), "{said}");
    let at = |origin: &Origin| format!("\"{}\"", origin.address);
    assert!(said.contains(&at(&v1)) && said.contains(&at(&v2)) && said.contains("mirrors"), "{said}");
}
