//! What the command line says of a cluster, and what is answered about one without serving.

use std::io::{self, Write};
use std::path::PathBuf;

use config::check::Checked;

use super::summary;
use crate::kubernetes::{Cluster, Options, Rules};
use crate::logging::complain;

/// What GatewayClasses name us by, unless said otherwise.
const CONTROLLER: &str = "umbra.dev/gateway-controller";

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Arguments {
    /// Serve what a Kubernetes API server says: by KUBECONFIG or ~/.kube/config, or as a Pod by its service account
    #[arg(long, global = true)]
    pub(super) kubernetes: bool,

    /// Namespace to read with --kubernetes; may be repeated; all where none is named
    #[arg(long, value_name = "NAMESPACE", global = true, requires = "kubernetes")]
    namespace: Vec<String>,

    /// The only GatewayClass whose Gateways are served with --kubernetes
    #[arg(long, value_name = "NAME", global = true, requires = "kubernetes")]
    class: Option<String>,

    /// The controllerName of the GatewayClasses that are ours; each release needs its own
    #[arg(long, value_name = "NAME", global = true, requires = "kubernetes", default_value = CONTROLLER)]
    controller_name: String,

    /// A label of our own Pods, by which Istio's Gateways select us with --kubernetes; may be repeated
    #[arg(long, value_name = "LABEL=VALUE", global = true, requires = "kubernetes", value_parser = label)]
    istio_selector: Vec<(String, String)>,

    /// Serve with --kubernetes also what is for clients inside the mesh: VirtualServices without a gateway, and routes of
    /// Services. It publishes them at every listener
    #[arg(long, global = true, requires = "kubernetes")]
    mesh: bool,

    /// The Service before the gateway, whose address is told as the Gateways' with --kubernetes
    #[arg(long, value_name = "NAMESPACE/NAME", global = true, requires = "kubernetes", value_parser = service)]
    publish_service: Option<(String, String)>,
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
    pub(super) fn cluster(self, listen: Vec<String>, settings: Option<PathBuf>) -> Cluster {
        let Self { kubernetes: _, namespace, class, controller_name, istio_selector, mesh, publish_service } =
            self;
        let rules = Rules { class, controller: controller_name, labels: istio_selector, mesh };
        Cluster::new(Options { namespaces: namespace, rules, listen, settings, publish: publish_service })
    }
}

/// Reads a cluster once.
pub(super) fn read(cluster: &Cluster) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(cluster.read_once())
}

/// Says of each object of ours what is wrong with it; 1 where anything is rejected.
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
