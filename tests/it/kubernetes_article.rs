//! The article, where it plays: the chart and its four manifests are applied by kubectl, curl asks, and both versions' logs have
//! the request.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tests::cluster::{PATIENCE, Replica};
use tests::gateway::binary;
use tests::helm::{kubectl, template, told};
use tests::httpbin::Httpbin;
use tests::{ApiServer, ClusterStage, eventually_within};

const MANIFESTS: [&str; 4] =
    ["httpbin-v1.yaml", "httpbin-v2.yaml", "virtualservice.yaml", "destinationrule.yaml"];

/// `kubectl apply -f FILE`.
#[track_caller]
fn apply(api: &ApiServer, file: &Path, more: &[&str]) -> String {
    let words = ["apply", "--validate=false", "--filename"];
    let output = kubectl(&api.kubeconfig()).args(words).arg(file).args(more).output().expect("kubectl runs");
    told(output).unwrap_or_else(|why| panic!("{}: {why}", file.display()))
}

fn install(api: &ApiServer, values: &[&str], more: &[&str]) -> String {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("umbra.yaml");
    let text = template(values).unwrap_or_else(|why| panic!("{why}"));
    std::fs::write(&file, text).expect("the manifests");
    apply(api, &file, more)
}

/// The status that curl prints.
fn curl(gateway: &Replica, path: &str) -> String {
    let url = format!("http://{}{path}", gateway.address);
    let output = Command::new("curl").args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &url]).output();
    String::from_utf8_lossy(&output.expect("curl").stdout).into_owned()
}

#[test]
fn the_chart_and_the_articles_manifests_in_any_order_and_both_logs_have_the_request() {
    let (v1, v2) = (Httpbin::start(&[]), Httpbin::start(&[]));
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/istio");
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let cluster = ClusterStage::new();
        install(&cluster.api, &["--skip-tests", "--set=istio.mesh=true,istio.crds=true"], &[]);
        let gateway = cluster.start_deployed("umbra-system", "umbra");
        for at in order {
            let said = apply(&cluster.api, &examples.join(MANIFESTS[at]), &["--namespace=default"]);
            assert!(said.contains(" created"), "{said}");
        }
        cluster.run_at("httpbin-v1", v1.address);
        cluster.run_at("httpbin-v2", v2.address);
        let words = format!("{order:?}").replace([' ', '[', ']'], "");
        // Pods come one after the other, and copies for one that is not there yet are dropped.
        let early = format!("/status/200?early={words}");
        eventually_within(PATIENCE, "the client is answered and v2 is there", || {
            curl(&gateway, &early) == "200" && !v2.logged(&early).is_empty()
        });
        let path = format!("/status/200?order={words}");
        assert_eq!(curl(&gateway, &path), "200");
        for (version, pod) in [("v1", &v1), ("v2", &v2)] {
            eventually_within(PATIENCE, version, || !pod.logged(&path).is_empty());
            assert_eq!(pod.logged(&path).len(), 1, "{version}");
        }
        // `kubectl exec … -- umbra verdict`: a few requests prove nothing.
        let admin = format!("--admin={}", gateway.admin);
        let verdict = Command::new(binary()).args(["verdict", &admin]).output().expect("the gateway runs");
        let said = String::from_utf8_lossy(&verdict.stdout).into_owned();
        assert_eq!(verdict.status.code(), Some(3), "{said}");
        assert!(said.contains("hold"), "{said}");
    }
}

#[test]
fn a_server_side_dry_run_of_the_whole_chart_is_taken_and_leaves_nothing() {
    let api = ApiServer::new();
    let all = [
        "--set=istio.crds=true,gatewayClass.create=true,autoscaling.enabled=true,networkPolicy.enabled=true",
        "--set=seccomp.install.enabled=true,monitoring.serviceMonitor.enabled=true",
        "--set=monitoring.prometheusRule.enabled=true,monitoring.dashboard.enabled=true",
    ];
    let said = install(&api, &all, &["--dry-run=server"]);
    let taken = said.lines().filter(|line| line.ends_with("created (server dry run)")).count();
    let text = template(&all).expect("it is rendered");
    let rendered: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
    assert_eq!(taken, rendered.iter().filter(|one| !one.is_null()).count(), "{said}");
    assert!(taken > 20 && api.all("Deployment").is_empty() && api.all("ClusterRole").is_empty());
}
