//! The chart: its objects are valid to Kubernetes' own tools, configure the gateway correctly, and claim no more rights than
//! needed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tests::gateway::binary;
use tests::helm::{self, chart, complaints, find, helm, kubectl, rendered, template};
use tests::{ClusterStage, Origin, Setup};

/// Everything that is off by default.
const ALL: &[&str] = &[
    "--set=istio.crds=true,istio.mesh=true,istio.selector.istio=ingressgateway,gatewayClass.create=true",
    "--set=autoscaling.enabled=true,networkPolicy.enabled=true,seccomp.install.enabled=true,seccomp.type=Localhost",
    "--set=monitoring.serviceMonitor.enabled=true,monitoring.prometheusRule.enabled=true,monitoring.dashboard.enabled=true",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The gateway's container.
fn container(all: &[Value]) -> &Value {
    &find(all, "Deployment", "umbra")["spec"]["template"]["spec"]["containers"][0]
}

fn arguments(all: &[Value]) -> Vec<String> {
    let arguments = container(all)["args"].as_array().expect("arguments");
    arguments.iter().map(|one| one.as_str().expect("a text").to_owned()).collect()
}

/// The settings that the gateway reads.
fn settings(all: &[Value]) -> String {
    let is = |one: &&Value| one["metadata"]["name"] == "umbra-settings";
    let holder = all.iter().find(is).expect("the settings");
    let texts = [&holder["data"]["settings.toml"], &holder["stringData"]["settings.toml"]];
    texts.iter().find_map(|text| text.as_str()).expect("a text").to_owned()
}

#[test]
fn what_it_renders_is_valid_whatever_is_chosen() {
    let lint = helm().args(["lint", "--strict"]).arg(chart()).args(ALL).output().expect("helm runs");
    assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stdout));
    let secret =
        ["--set-string=admin.token=a-long-secret", "--set=watchNamespaces={shop,edge}", "--set=replicas=1"];
    for choice in [
        &[][..],
        ALL,
        &secret,
        &["--set=listenAtGatewayPorts=true,admin.address=::", "--set=image.digest="],
        SERVICES,
    ] {
        let text = template(choice).unwrap_or_else(|why| panic!("{choice:?}: {why}"));
        assert_eq!(complaints(&text), "", "{choice:?}");
    }
    // The judge is one.
    let wrong =
        template(&[]).expect("it is rendered").replace("terminationGracePeriodSeconds", "terminationGrace");
    assert!(complaints(&wrong).contains("terminationGrace"));
}

/// A Service for each Gateway.
const SERVICES: &[&str] = &["--set=gatewayServices.enabled=true,networkPolicy.enabled=true"];

#[test]
fn a_service_for_each_gateway_is_made_where_that_is_chosen_and_the_rights_for_it_are_given_there_alone() {
    let (whole, plain) = (rendered(SERVICES), rendered(&[]));
    let arguments = arguments(&whole);
    for wanted in [
        "--gateway-services=app.kubernetes.io/name=umbra",
        "--gateway-services=app.kubernetes.io/instance=umbra",
        "--gateway-service-type=LoadBalancer",
        "--gateway-ports=20000-20999",
    ] {
        assert!(arguments.iter().any(|one| one == wanted), "{wanted}: {arguments:?}");
    }
    assert!(!arguments.iter().any(|one| one.starts_with("--listen") || one.starts_with("--publish")));
    let role = find(&whole, "Role", "umbra-services");
    assert_eq!(role["rules"][0]["verbs"], serde_json::json!(["list", "watch", "create", "patch", "delete"]));
    let is_there = |all: &[Value], kind: &str, name: &str| {
        all.iter().any(|one| one["kind"] == kind && one["metadata"]["name"] == name)
    };
    assert!(!is_there(&plain, "Role", "umbra-services") && is_there(&plain, "Service", "umbra"));
    assert!(!is_there(&whole, "Service", "umbra") && is_there(&whole, "Service", "umbra-admin"));
    let policy = find(&whole, "NetworkPolicy", "umbra");
    assert_eq!(policy["spec"]["ingress"][0]["ports"][0]["endPort"], 20_999);
}

#[test]
fn a_value_that_is_unknown_or_wrong_is_named() {
    for (set, named) in [
        ("drain.delay=5", "delay"),
        ("drain.delaySeconds=soon", "/drain/delaySeconds"),
        ("seccomp.type=Unconfined", "/seccomp/type"),
        ("settings.route.name=all", "'route'"),
        ("admin.token=short", "/admin/token"),
        ("service.ports[0].port=80", "containerPort"),
        ("serviceAccount.create=false", "serviceAccount.name"),
    ] {
        let why = template(&["--set", set]).expect_err(set);
        assert!(why.contains(named), "{set}: {why}");
    }
}

#[test]
fn values_and_their_schema_know_the_same_keys() {
    let schema: Value =
        serde_json::from_str(&read("config/kubernetes/umbra/values.schema.json")).expect("JSON");
    let values: Value = serde_saphyr::from_str(&read("config/kubernetes/umbra/values.yaml")).expect("YAML");
    fn compare(at: &str, schema: &Value, values: &Value) {
        let (Some(known), Some(given)) = (schema["properties"].as_object(), values.as_object()) else {
            return;
        };
        assert_eq!(schema["additionalProperties"], false, "{at}: every object is closed");
        for (key, value) in given {
            compare(&format!("{at}.{key}"), &known[key], value);
        }
        let free = ["global", "settings", "resources"];
        for key in known.keys().filter(|key| !free.contains(&key.as_str()) && !at.ends_with(".settings")) {
            assert!(given.contains_key(key) || at.ends_with("resources"), "{at}.{key} has no default");
        }
    }
    compare("values", &schema, &values);
}

#[test]
fn the_rights_are_those_of_the_manifest_and_no_others() {
    let whole = rendered(&[]);
    let manifest: Vec<Value> =
        serde_saphyr::from_multiple(&read("config/kubernetes/rbac.yaml")).expect("YAML");
    let of_rights = |all: &[Value]| -> Vec<Value> {
        let mut found: Vec<Value> =
            all.iter().filter(|one| one["apiVersion"] == "rbac.authorization.k8s.io/v1").cloned().collect();
        for one in &mut found {
            one["metadata"].as_object_mut().expect("an object").remove("labels");
        }
        found.sort_by_key(Value::to_string);
        found
    };
    assert_eq!(of_rights(&whole), of_rights(&manifest));
    assert!(of_rights(&manifest).len() > 4);
    // Where namespaces are named, rights on objects in namespaces are granted in these alone.
    let narrow = rendered(&["--set=watchNamespaces={shop,edge}"]);
    let bound = |name: &str| -> Vec<&str> {
        let of = narrow.iter().filter(|one| one["roleRef"]["name"] == name);
        of.map(|one| one["metadata"]["namespace"].as_str().unwrap_or("everywhere")).collect()
    };
    assert_eq!((bound("umbra"), bound("umbra-cluster")), (vec!["shop", "edge"], vec!["everywhere"]));
    assert!(arguments(&narrow).contains(&"--namespace=edge".to_owned()));
    // Only the gateway has a token, and it has none that stays.
    let pod = &find(&whole, "Deployment", "umbra")["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(
        pod["volumes"][1]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"],
        3600
    );
}

#[test]
fn it_may_as_little_as_the_restricted_standard_lets_it_and_io_uring_is_a_choice() {
    for (choice, wanted) in [
        (&[][..], json!({"type": "RuntimeDefault"})),
        (ALL, json!({"type": "Localhost", "localhostProfile": "umbra.json"})),
    ] {
        let all = rendered(choice);
        let pod = &find(&all, "Deployment", "umbra")["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["seccompProfile"], wanted);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        let context = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
        let containers = [container(&all), &find(&all, "Pod", "umbra-test")["spec"]["containers"][0]];
        assert!(containers.iter().all(|one| one["securityContext"] == context));
    }
    let all = rendered(ALL);
    let profile: Value = serde_json::from_str(&read("gateway/deploy/seccomp.json")).expect("JSON");
    let placed = find(&all, "ConfigMap", "umbra-seccomp")["data"]["umbra.json"].as_str().expect("a text");
    assert_eq!(serde_json::from_str::<Value>(placed).expect("JSON"), profile);
    assert!(profile["syscalls"].to_string().contains("io_uring_enter"), "it allows what it is there for");
    assert!(settings(&rendered(&["--set=driver=epoll"])).contains("driver = \"epoll\""));
}

#[test]
fn the_end_of_a_pod_has_time_for_the_delay_and_the_drain() {
    for (delay, drain, spare) in [(5, 10, 5), (12, 45, 3), (0, 7, 1)] {
        let set = format!(
            "--set=drain.delaySeconds={delay},drain.timeoutSeconds={drain},drain.spareSeconds={spare}"
        );
        let all = rendered(&[&set]);
        let pod = &find(&all, "Deployment", "umbra")["spec"]["template"]["spec"];
        assert_eq!(pod["terminationGracePeriodSeconds"], delay + drain + spare);
        let slept = &container(&all)["lifecycle"]["preStop"]["sleep"]["seconds"];
        assert_eq!(*slept, if delay == 0 { Value::Null } else { delay.into() });
        assert!(settings(&all).contains(&format!("drain = \"{drain}s\"")), "{}", settings(&all));
    }
}

#[test]
fn its_settings_and_arguments_are_what_the_gateway_understands() {
    let values = json!({
        "settings": {
            "limits": {"connections_max": 16384, "request_head_bytes_max": "16KiB"},
            "access_log": {"to": "stdout", "percent": 12.5, "only": {"statuses": ["5xx"], "slower_than": "1s"}},
            "workers": {"count": 1, "pin": false},
            "admin": {"bind": "off"},
        },
        "admin": {"token": "quote\"and\\stay"},
    });
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("values.yaml");
    fs::write(&file, values.to_string()).expect("the values");
    let chosen = [ALL, &["--values", file.to_str().expect("UTF-8")]].concat();
    for choice in [&[][..], &chosen] {
        let all = rendered(choice);
        let text = settings(&all);
        assert!(
            text.contains("bind = \"0.0.0.0:9901\"") && !text.contains("off"),
            "probes have to reach it: {text}"
        );
        let settings = directory.path().join("settings.toml");
        fs::write(&settings, text).expect("the settings");
        let cluster = ClusterStage::new();
        let mut command = Command::new(binary());
        command.arg("check").env("KUBECONFIG", cluster.api.kubeconfig());
        // Options of serving alone are clap's to check: `check` has all the others.
        let ours = |one: &String| !one.starts_with("--log") && !one.starts_with("--config");
        let arguments: Vec<String> = arguments(&all).into_iter().filter(ours).collect();
        let output =
            command.args(&arguments).arg("--config").arg(&settings).output().expect("the gateway runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
}

#[test]
fn the_probes_ask_pages_that_answer_a_kubelet_and_the_helm_test_is_a_verb() {
    let all = rendered(&["--set=admin.token=a-long-secret"]);
    let v1 = Origin::named("v1");
    let gateway = Setup::new(&v1).start();
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = container(&all)[probe]["httpGet"]["path"].as_str().expect("a path");
        let asked = format!("GET {path} HTTP/1.1\r\nHost: 10.0.0.1\r\nConnection: close\r\n\r\n");
        assert_eq!(tests::Client::connect(gateway.admin).ask(asked).status, 200, "{probe}");
    }
    let test = &find(&all, "Pod", "umbra-test")["spec"]["containers"][0]["args"];
    let words: Vec<&str> = test.as_array().expect("arguments").iter().filter_map(Value::as_str).collect();
    assert_eq!(words[..2], ["health", "--admin"]);
    assert_eq!(words[2], "http://umbra-admin.umbra-system.svc:9901");
    let asks = |address: &str| {
        let output =
            Command::new(binary()).args(["health", "--admin", address]).output().expect("the gateway runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(asks(&gateway.admin.to_string()), (Some(0), "ready\n".to_owned()));
    assert_eq!(asks("127.0.0.1:1").0, Some(1));
}

#[test]
fn what_it_is_called_by_is_what_it_selects() {
    let all = rendered(ALL);
    let template = &find(&all, "Deployment", "umbra")["spec"]["template"];
    let labels = template["metadata"]["labels"].as_object().expect("labels");
    assert_eq!(labels["istio"], "ingressgateway", "Istio's Gateways select by it");
    let monitor = &find(&all, "ServiceMonitor", "umbra")["spec"];
    let fits = |selector: &Value, labels: &Value| {
        let selector = selector.as_object().expect("a selector");
        !selector.is_empty() && selector.iter().all(|(key, value)| labels[key] == *value)
    };
    let labels = &template["metadata"]["labels"];
    for selector in [
        &find(&all, "Service", "umbra")["spec"]["selector"],
        &find(&all, "Service", "umbra-admin")["spec"]["selector"],
        &find(&all, "PodDisruptionBudget", "umbra")["spec"]["selector"]["matchLabels"],
        &find(&all, "NetworkPolicy", "umbra")["spec"]["podSelector"]["matchLabels"],
        &template["spec"]["topologySpreadConstraints"][1]["labelSelector"]["matchLabels"],
    ] {
        assert!(fits(selector, labels), "{selector}");
    }
    let (admin, public) = (find(&all, "Service", "umbra-admin"), find(&all, "Service", "umbra"));
    assert!(fits(&monitor["selector"]["matchLabels"], &admin["metadata"]["labels"]));
    assert!(!fits(&monitor["selector"]["matchLabels"], &public["metadata"]["labels"]));
    assert_eq!(public["spec"]["ports"][0]["targetPort"], container(&all)["ports"][0]["name"]);
    assert!(arguments(&all).contains(&"--listen=:8080".to_owned()));
    assert!(arguments(&all).contains(&"--publish-service=umbra-system/umbra".to_owned()));
}

#[test]
fn rules_and_dashboard_are_those_of_the_repository() {
    let all = rendered(ALL);
    let rules: Value = serde_saphyr::from_str(&read("config/prometheus/umbra.rules.yml")).expect("YAML");
    assert_eq!(find(&all, "PrometheusRule", "umbra")["spec"], rules);
    let placed = find(&all, "ConfigMap", "umbra-dashboard")["data"]["umbra.json"].as_str().expect("a text");
    let dashboard: Value = serde_json::from_str(&read("config/grafana/umbra.json")).expect("JSON");
    assert_eq!(serde_json::from_str::<Value>(placed).expect("JSON"), dashboard);
}

/// Documents of a text, without Helm's own lines.
fn documents(text: &str) -> Vec<String> {
    let is_ours =
        |line: &&str| !["helm.sh/", "managed-by:", "# Source:"].iter().any(|word| line.contains(word));
    let all = text
        .split("---\n")
        .map(|one| one.lines().filter(is_ours).map(|line| format!("{line}\n")).collect::<String>());
    all.map(|one| format!("{}\n", one.trim_end())).filter(|one| one.len() > 1).collect()
}

#[test]
fn the_kustomize_base_is_what_the_chart_renders() {
    let text =
        template(&["--skip-tests", "--set=gatewayClass.create=true"]).unwrap_or_else(|why| panic!("{why}"));
    let (class, base): (Vec<String>, Vec<String>) =
        documents(&text).into_iter().partition(|one| one.contains("kind: GatewayClass\n"));
    let folder = "config/kubernetes/kustomize";
    for (file, all) in [("base/umbra.yaml", &base), ("gateway-api/gatewayclass.yaml", &class)] {
        let text = all.join("---\n");
        let path = root().join(folder).join(file);
        if std::env::var_os("UMBRA_RENDER").is_some_and(|how| how == "write") {
            fs::write(path, text).expect("it is written");
            continue;
        }
        let is = fs::read_to_string(path).unwrap_or_default();
        assert!(
            is == text,
            "{folder}/{file} is not what the chart renders; `cargo xtask render` writes it anew"
        );
    }
    assert!(class.len() == 1 && base.len() > 10, "{}", base.len());
    // Kustomize takes it, with the component beside it.
    let overlay = tempfile::tempdir_in(root().join("target")).expect("a temporary directory");
    let text = json!({"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": ["../../config/kubernetes/kustomize/base"], "components": ["../../config/kubernetes/kustomize/gateway-api"]});
    fs::write(overlay.path().join("kustomization.yaml"), text.to_string()).expect("the overlay");
    let output = kubectl(&overlay.path().join("config")).arg("kustomize").arg(overlay.path()).output();
    let built = helm::told(output.expect("kubectl runs")).unwrap_or_else(|why| panic!("{why}"));
    let names = |text: &str| -> BTreeSet<String> {
        let all: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
        all.iter().map(|one| format!("{} {}", one["kind"], one["metadata"]["name"])).collect()
    };
    let mut wanted = names(&[base, class].concat().join("---\n"));
    wanted.insert("\"Namespace\" \"umbra-system\"".to_owned());
    assert_eq!(names(&built), wanted);
}
