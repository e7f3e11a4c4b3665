//! The command line's options for a cluster, and the verbs that read one without serving.

use std::io::{self, Write};
use std::path::PathBuf;

use config::check::{Checked, Problem};
use config::manifest::Plaintext;

use super::summary;
use crate::kubernetes::{Cluster, Fronts, Options, Rules};
use crate::logging::complain;

/// The controller name by which GatewayClasses name us, unless an option gives another.
const CONTROLLER: &str = "umbra.dev/gateway-controller";

#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Arguments {
    /// Serve what a Kubernetes API server says: by KUBECONFIG or ~/.kube/config, or as a Pod by its service account
    #[arg(long)]
    pub(super) kubernetes: bool,

    /// Namespace to read with --kubernetes; may be repeated; all where none is named
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Vec<String>,

    /// The only GatewayClass whose Gateways are served with --kubernetes
    #[arg(long, value_name = "NAME")]
    class: Option<String>,

    /// The controllerName of the GatewayClasses that are ours, umbra.dev/gateway-controller unless it is said; each release needs
    /// its own
    #[arg(long, value_name = "NAME")]
    controller_name: Option<String>,

    /// A label of our own Pods, by which Istio's Gateways select us with --kubernetes; may be repeated
    #[arg(long, value_name = "LABEL=VALUE", value_parser = label)]
    istio_selector: Vec<(String, String)>,

    /// Serve with --kubernetes also what is for clients inside the mesh: VirtualServices without a gateway, and routes of
    /// Services. It publishes them at every listener
    #[arg(long)]
    mesh: bool,

    /// The Service before the gateway, whose address is told as the Gateways' with --kubernetes
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = service)]
    publish_service: Option<(String, String)>,

    /// Make a Service for each Gateway with --kubernetes, in our own namespace, that selects Pods with this label of ours; may be
    /// repeated. Then Gateways may have the same port, and --listen and --publish-service have no part
    #[arg(long, value_name = "LABEL=VALUE", value_parser = label)]
    gateway_services: Vec<(String, String)>,

    /// The type of these Services: LoadBalancer unless it is said, NodePort or ClusterIP
    #[arg(long, value_name = "TYPE", value_parser = ["LoadBalancer", "NodePort", "ClusterIP"], requires = "gateway_services")]
    gateway_service_type: Option<String>,

    /// Ports of ours that those of the Gateways become, 20000-20999 unless it is said
    #[arg(long, value_name = "FIRST-LAST", value_parser = ports, requires = "gateway_services")]
    gateway_ports: Option<(u16, u16)>,
}

/// Ports that Gateways' become, unless said otherwise.
const GATEWAY_PORTS: (u16, u16) = (20_000, 20_999);

fn ports(text: &str) -> Result<(u16, u16), String> {
    let parts =
        text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    let (first, last): (u16, u16) = parts.ok_or_else(|| "write FIRST-LAST, as in 20000-20999".to_owned())?;
    if first == 0 || first > last {
        Err("its first port is 1 at least, and its last no smaller".to_owned())
    } else {
        Ok((first, last))
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = parts.ok_or_else(|| "write LABEL=VALUE, as in istio=ingressgateway".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}

fn service(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('/').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
    let (namespace, name) =
        parts.ok_or_else(|| "write NAMESPACE/NAME, as in umbra-system/umbra".to_owned())?;
    Ok((namespace.to_owned(), name.to_owned()))
}

impl Arguments {
    /// These words beside those of a verb.
    pub(super) fn and(&mut self, other: Self) {
        let Self {
            kubernetes,
            namespace,
            class,
            controller_name,
            istio_selector,
            mesh,
            publish_service,
            gateway_services,
            gateway_service_type,
            gateway_ports,
        } = other;
        self.kubernetes |= kubernetes;
        self.namespace.extend(namespace);
        self.class = class.or_else(|| self.class.take());
        self.controller_name = controller_name.or_else(|| self.controller_name.take());
        self.istio_selector.extend(istio_selector);
        self.mesh |= mesh;
        self.publish_service = publish_service.or_else(|| self.publish_service.take());
        self.gateway_services.extend(gateway_services);
        self.gateway_service_type = gateway_service_type.or_else(|| self.gateway_service_type.take());
        self.gateway_ports = gateway_ports.or_else(|| self.gateway_ports.take());
    }

    /// The first of these options that was given, for the message that refuses it.
    pub(super) fn first(&self) -> Option<&'static str> {
        let words = [
            (self.kubernetes, "--kubernetes"),
            (!self.namespace.is_empty(), "--namespace"),
            (self.class.is_some(), "--class"),
            (self.controller_name.is_some(), "--controller-name"),
            (!self.istio_selector.is_empty(), "--istio-selector"),
            (self.mesh, "--mesh"),
            (self.publish_service.is_some(), "--publish-service"),
            (!self.gateway_services.is_empty(), "--gateway-services"),
        ];
        words.into_iter().find(|(is_said, _)| *is_said).map(|(_, word)| word)
    }

    /// Why `--gateway-services` contradicts another option that says where Gateways' ports are, if it does.
    pub(super) fn contradicts(&self, listens: bool) -> Option<String> {
        let other = match (listens, self.publish_service.is_some()) {
            (true, _) => "--listen",
            (false, true) => "--publish-service",
            (false, false) => return None,
        };
        let is_said = !self.gateway_services.is_empty();
        is_said.then(|| {
            format!("{other} has no part in --gateway-services: the Services say where Gateways listen")
        })
    }

    pub(super) fn cluster(
        self,
        listen: Vec<String>,
        settings: Option<PathBuf>,
        plaintext: Plaintext,
    ) -> Cluster {
        let Self {
            kubernetes: _,
            namespace,
            class,
            controller_name,
            istio_selector,
            mesh,
            publish_service,
            gateway_services,
            gateway_service_type,
            gateway_ports,
        } = self;
        let controller = controller_name.unwrap_or_else(|| CONTROLLER.to_owned());
        let fronts = (!gateway_services.is_empty()).then(|| Fronts {
            selector: gateway_services,
            kind: gateway_service_type.unwrap_or_else(|| "LoadBalancer".to_owned()),
            ports: gateway_ports.unwrap_or(GATEWAY_PORTS),
        });
        let rules = Rules { class, controller, labels: istio_selector, mesh, fronts };
        Cluster::new(Options {
            namespaces: namespace,
            rules,
            listen,
            settings,
            publish: publish_service,
            plaintext,
        })
    }
}

/// Reads a cluster once.
pub(super) fn read(cluster: &Cluster) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(cluster.read_once())
}

/// The configuration that it comes to, as TOML.
pub(super) fn convert(cluster: &Cluster) -> Result<(String, Vec<Problem>), Vec<Problem>> {
    read(cluster).map_err(|message| vec![Problem { message, ..Problem::default() }])?;
    let Checked { written, warnings, .. } = cluster.converted()?;
    complain(cluster.told().0);
    Ok((written.whole, warnings))
}

/// Prints the problems of each object of ours; 1 where any object is rejected.
pub(super) fn check(cluster: &Cluster) -> i32 {
    if let Err(why) = read(cluster) {
        complain([why]);
        return 1;
    }
    match cluster.read() {
        Ok(Checked { config, warnings, .. }) => {
            let (told, rejected) = cluster.told();
            complain(warnings.iter().map(|w| format!("warning: {w}")).chain(told));
            let ok = if rejected == 0 { "ok".to_owned() } else { format!("{rejected} objects rejected") };
            let _ = writeln!(io::stdout(), "{}: {ok}: {}", cluster.name(), summary(&config));
            i32::from(rejected > 0)
        }
        Err(problems) => {
            complain(&problems);
            1
        }
    }
}
