//! A cluster for tests: an API server, endpoints that are origins of this process, and gateways that follow it.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::gateway::binary;
use crate::{ApiServer, Client, Metrics, Origin, Process, Response, eventually_within};

/// Work of a cluster may take long on a busy machine: pauses between tries are part of it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An API server, and the parts of a cluster that make Pods and slices.
#[derive(Default)]
pub struct ClusterStage {
    pub api: ApiServer,
}

/// A gateway that follows the cluster.
pub struct Replica {
    pub process: Process,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    _directory: tempfile::TempDir,
}

impl ClusterStage {
    pub fn new() -> Self {
        Self::default()
    }

    /// A Service of one port, 80.
    pub fn service(&self, namespace: &str, name: &str, selector: Value) {
        self.api.put(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
            "spec": {"ports": [{"port": 80, "targetPort": 80}], "selector": selector},
        }));
    }

    /// The definition of a kind of the Gateway API, of this version.
    pub fn definition(&self, plural: &str, version: Option<&str>) {
        let mut metadata = json!({"name": format!("{plural}.gateway.networking.k8s.io"), "namespace": "",
            "annotations": {"gateway.networking.k8s.io/channel": "standard"}});
        if let Some(version) = version {
            metadata["annotations"]["gateway.networking.k8s.io/bundle-version"] = version.into();
        }
        self.api.put(json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": metadata, "spec": {"group": "gateway.networking.k8s.io"}}));
    }

    /// The definitions of all kinds that are read.
    pub fn definitions(&self, version: &str) {
        let all = [
            "gatewayclasses",
            "gateways",
            "httproutes",
            "grpcroutes",
            "referencegrants",
            "backendtlspolicies",
        ];
        all.iter().for_each(|plural| self.definition(plural, Some(version)));
    }

    /// A Pod, and for each Service that selects it a slice in which it is ready. All Pods of this machine have its address,
    /// and each has a port of its own.
    pub fn pod(&self, namespace: &str, name: &str, labels: Value, at: SocketAddr) {
        self.api.put(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {}, "status": {"podIP": at.ip().to_string()},
        }));
        for known in self.api.all("Service") {
            let service = known["metadata"]["name"].as_str().expect("a name");
            if known["metadata"]["namespace"] != namespace || known["spec"]["selector"].is_null() {
                continue;
            }
            let selector = known["spec"]["selector"].as_object().expect("a selector");
            if selector.iter().all(|(name, value)| labels.get(name) == Some(value)) {
                self.slice(
                    namespace,
                    service,
                    name,
                    at,
                    json!({"ready": true, "serving": true, "terminating": false}),
                );
            }
        }
    }

    /// The slice of a Pod for a Service.
    pub fn slice(&self, namespace: &str, service: &str, pod: &str, at: SocketAddr, conditions: Value) {
        let uid = self.api.get("Pod", namespace, pod).map(|pod| pod["metadata"]["uid"].clone());
        self.api.put(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("{service}-{pod}"), "namespace": namespace, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "ports": [{"name": "", "port": at.port(), "protocol": "TCP"}],
            "endpoints": [{"addresses": [at.ip().to_string()], "conditions": conditions,
                "targetRef": {"kind": "Pod", "name": pod, "namespace": namespace, "uid": uid}}],
        }));
    }

    /// The Pod of a Deployment, which runs at this origin.
    pub fn run(&self, deployment: &str, origin: &Origin) {
        self.run_at(deployment, origin.address);
    }

    /// The same, at this address.
    pub fn run_at(&self, deployment: &str, address: SocketAddr) {
        let known = self.api.get("Deployment", "default", deployment).expect("the Deployment");
        let labels = known["spec"]["template"]["metadata"]["labels"].clone();
        self.pod("default", &format!("{deployment}-1"), labels, address);
    }

    /// A gateway as this Deployment has it run, with its arguments and its settings; but all Pods of this machine have its
    /// addresses, so its own ports are free ones.
    #[track_caller]
    pub fn start_deployed(&self, namespace: &str, name: &str) -> Replica {
        let known = self.api.get("Deployment", namespace, name).expect("the Deployment");
        let pod = &known["spec"]["template"]["spec"];
        let settings = pod["volumes"][0]["configMap"]["name"].as_str().expect("its settings");
        let settings = self.api.get("ConfigMap", namespace, settings).expect("the ConfigMap");
        let text = settings["data"]["settings.toml"].as_str().expect("a text");
        let text = text
            .replace("0.0.0.0:9901", "127.0.0.1:0")
            .replace("[workers]\n", "[workers]\ncount = 1\npin = false\n");
        let arguments: Vec<&str> = pod["containers"][0]["args"]
            .as_array()
            .expect("arguments")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let ours = |one: &&&str| {
            !["--kubernetes", "--config=", "--listen="].iter().any(|start| one.starts_with(start))
        };
        let kept: Vec<&str> = arguments.iter().filter(ours).copied().collect();
        assert_eq!(kept.len() + 3, arguments.len(), "{arguments:?}");
        self.spawn(&text, &["127.0.0.1:0"], &kept)
    }

    /// A gateway that follows the cluster and listens at a port of its own.
    #[track_caller]
    pub fn start(&self, arguments: &[&str]) -> Replica {
        self.start_at(&["127.0.0.1:0"], arguments)
    }

    /// A replica that listens at these addresses; where there are none, at its Gateways' ports.
    #[track_caller]
    pub fn start_at(&self, listen: &[&str], arguments: &[&str]) -> Replica {
        let driver = std::env::var("UMBRA_TEST_DRIVER").unwrap_or_else(|_| "auto".into());
        let text = format!(
            "[admin]\nbind = \"127.0.0.1:0\"\n[workers]\ncount = 1\npin = false\ndriver = \"{driver}\"\n"
        );
        self.spawn(&text, listen, arguments)
    }

    #[track_caller]
    fn spawn(&self, text: &str, listen: &[&str], arguments: &[&str]) -> Replica {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let settings = directory.path().join("settings.toml");
        std::fs::write(&settings, text).expect("the settings are written");
        let mut command = Command::new(binary());
        command.args(["--kubernetes", "--config"]).arg(&settings).args(arguments);
        command.args(listen.iter().flat_map(|address| ["--listen", address]));
        let mut process = Process::spawn(command.env("KUBECONFIG", self.api.kubeconfig()));
        eventually_within(PATIENCE, "the gateway serves", || process.stdout().contains("admin on "));
        let listening = process.lines("listening on ", listen.len());
        let address = listening
            .first()
            .map_or_else(|| ([127, 0, 0, 1], 0).into(), |text| text.parse().expect("an address"));
        let admin = process.lines("admin on ", 1)[0].parse().expect("an address");
        Replica { process, address, admin, _directory: directory }
    }
}

impl Replica {
    /// A request for this host.
    pub fn ask(&self, host: &str, path: &str) -> Response {
        Client::connect(self.address)
            .ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    }

    /// Status and content, as `200 v1`.
    pub fn said(&self, host: &str, path: &str) -> String {
        let answer = self.ask(host, path);
        format!("{} {}", answer.status, if answer.status == 200 { answer.text() } else { String::new() })
            .trim()
            .to_owned()
    }

    /// Waits until requests are answered so.
    #[track_caller]
    pub fn says(&self, host: &str, path: &str, wanted: &str) {
        let mut said = String::new();
        let deadline = std::time::Instant::now() + PATIENCE;
        while said != wanted {
            assert!(
                std::time::Instant::now() < deadline,
                "{host}{path} is answered {said:?}, not {wanted:?}:\n{}",
                self.process.stderr()
            );
            said = self.said(host, path);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until it listens at its address.
    #[track_caller]
    pub fn listens(&self) {
        eventually_within(PATIENCE, "it listens", || std::net::TcpStream::connect(self.address).is_ok());
    }

    pub fn metrics(&self) -> Metrics {
        Metrics::read(self.admin)
    }

    /// Waits until the log has this.
    #[track_caller]
    pub fn logs(&self, what: &str) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !self.process.stderr().contains(what) {
            assert!(
                std::time::Instant::now() < deadline,
                "it never says {what:?}:\n{}",
                self.process.stderr()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn is_ready(&self) -> bool {
        self.ask_admin("GET", "/readyz").status == 200
    }

    /// A request with a body to its admin listener.
    pub fn admin(&self, method: &str, path: &str, body: &str) -> Response {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.admin);
        let head = format!("{head}Content-Type: application/json\r\n");
        Client::connect(self.admin).ask(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()))
    }

    /// A request to its admin listener.
    pub fn ask_admin(&self, method: &str, path: &str) -> Response {
        let end = "Content-Length: 0\r\nConnection: close\r\n\r\n";
        Client::connect(self.admin).ask(format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{end}", self.admin))
    }
}
