//! Kinds of documents, told before anything in them is read: those that say where requests go, and those that cannot matter.

use crate::node::{Node, Value};
use crate::problem::ResourceId;

const ISTIO: &str = "networking.istio.io";
const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// A Kubernetes document, from YAML or from an API server's JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Document(pub(super) Node);

impl From<&serde_json::Value> for Document {
    fn from(value: &serde_json::Value) -> Self {
        Self(crate::node::of_json(value))
    }
}

/// Kinds that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    VirtualService,
    DestinationRule,
    ServiceEntry,
    IstioGateway,
    HttpRoute,
    GrpcRoute,
    ApiGateway,
    ReferenceGrant,
    BackendTlsPolicy,
    Service,
    Secret,
    ConfigMap,
    Namespace,
}

/// Why a document is not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// The document cannot say where requests go; why.
    Skipped(String),
    /// The document may say where requests go, and to leave it out would change that; why.
    Refused(String),
}

/// Kinds that say nothing about where requests go, and are met beside those that do.
const INDIFFERENT: [&str; 10] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "DaemonSet",
    "Deployment",
    "GatewayClass",
    "HorizontalPodAutoscaler",
    "Pod",
    "ReplicaSet",
    "ServiceAccount",
    "StatefulSet",
];

/// Kinds of the Gateway API that say where requests go and are not offered.
const NOT_OFFERED: [&str; 3] = ["TLSRoute", "TCPRoute", "UDPRoute"];

/// The kind that `document` is read as. A search of a directory also meets files that are no manifests.
pub(super) fn kind(document: &Node, searched: bool) -> Result<Kind, Unread> {
    let (api, kind) = (document.text("apiVersion"), document.text("kind"));
    let (Some(api), Some(kind)) = (api, kind) else {
        let ours = api.is_some_and(|api| matches!(split(api).0, ISTIO | GATEWAY_API));
        let ours = ours
            || kind.is_some_and(|kind| known(ISTIO, kind).or_else(|| known(GATEWAY_API, kind)).is_some());
        let manifest_like = document.get("metadata").is_some() && document.get("spec").is_some();
        return Err(if searched && !ours && !manifest_like {
            Unread::Skipped("it is no manifest, as it has no apiVersion and kind".to_owned())
        } else {
            Unread::Refused("is no manifest: apiVersion and kind are missing".to_owned())
        });
    };
    let (group, version) = split(api);
    let Some(known) = known(group, kind) else {
        return Err(match group {
            GATEWAY_API if NOT_OFFERED.contains(&kind) => Unread::Refused(
                "is not offered, and leaving it out would change what becomes of requests".to_owned(),
            ),
            _ if INDIFFERENT.contains(&kind) => {
                Unread::Skipped("it does not say where requests go".to_owned())
            }
            _ => Unread::Skipped(format!("{api} {kind} is not known here")),
        });
    };
    let versions = match group {
        ISTIO => ["v1", "v1beta1", "v1alpha3"],
        GATEWAY_API if kind == "BackendTLSPolicy" => ["v1", "v1alpha3", "v1alpha2"],
        GATEWAY_API => ["v1", "v1beta1", "v1alpha2"],
        _core => return Ok(known),
    };
    if !versions.contains(&version) {
        let [first, second, last] = versions;
        return Err(Unread::Refused(format!(
            "apiVersion {version:?} is not known; must be {first}, {second} or {last}"
        )));
    }
    Ok(known)
}

/// Whether a value that cannot be read stands where a document of this kind is read. Of objects of the core a part is.
pub(super) fn is_read(kind: Kind, path: &str) -> bool {
    let parts: &[&str] = match kind {
        Kind::Service => &["spec.ports"],
        Kind::Secret => &["data", "stringData"],
        Kind::ConfigMap => &["data"],
        Kind::Namespace => &["metadata.labels"],
        Kind::VirtualService
        | Kind::DestinationRule
        | Kind::ServiceEntry
        | Kind::IstioGateway
        | Kind::HttpRoute
        | Kind::GrpcRoute
        | Kind::ApiGateway
        | Kind::ReferenceGrant
        | Kind::BackendTlsPolicy => return true,
    };
    let meet = |part: &&str| part.starts_with(path) || path.starts_with(*part);
    parts.iter().chain(&["metadata.name", "metadata.namespace"]).any(meet)
}

/// Whether objects of a kind matter only to who refers to them by name.
pub(super) const fn is_referred_to(kind: Kind) -> bool {
    matches!(kind, Kind::Service | Kind::Secret | Kind::ConfigMap)
}

fn split(api: &str) -> (&str, &str) {
    api.split_once('/').unwrap_or(("", api))
}

fn known(group: &str, kind: &str) -> Option<Kind> {
    Some(match (group, kind) {
        (ISTIO, "VirtualService") => Kind::VirtualService,
        (ISTIO, "DestinationRule") => Kind::DestinationRule,
        (ISTIO, "ServiceEntry") => Kind::ServiceEntry,
        (ISTIO, "Gateway") => Kind::IstioGateway,
        (GATEWAY_API, "HTTPRoute") => Kind::HttpRoute,
        (GATEWAY_API, "GRPCRoute") => Kind::GrpcRoute,
        (GATEWAY_API, "Gateway") => Kind::ApiGateway,
        (GATEWAY_API, "ReferenceGrant") => Kind::ReferenceGrant,
        (GATEWAY_API, "BackendTLSPolicy") => Kind::BackendTlsPolicy,
        ("", "Service") => Kind::Service,
        ("", "Secret") => Kind::Secret,
        ("", "ConfigMap") => Kind::ConfigMap,
        ("", "Namespace") => Kind::Namespace,
        (_, _) => return None,
    })
}

/// Whether a text that cannot be read as YAML might hold a document that matters: none does without its group's name.
pub(super) fn may_matter(text: &[u8]) -> bool {
    [ISTIO, GATEWAY_API].iter().any(|group| memmem(text, group.as_bytes()))
}

fn memmem(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

/// Identity of a document, as far as it says.
pub(super) fn identity(document: &Node) -> ResourceId {
    let metadata = document.get("metadata");
    let text = |name: &str| metadata.and_then(|metadata| metadata.text(name)).unwrap_or_default();
    let kind = document.text("kind").unwrap_or_default();
    let namespace = match (text("namespace"), kind) {
        ("", "Namespace") => "",
        ("", _) => "default",
        (namespace, _) => namespace,
    };
    let generation = match metadata.and_then(|metadata| metadata.get("generation")).map(|node| &node.value) {
        Some(Value::Integer(digits, 10)) => digits.parse().ok(),
        Some(_) | None => None,
    };
    ResourceId {
        group: split(document.text("apiVersion").unwrap_or_default()).0.to_owned(),
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: text("name").to_owned(),
        generation,
    }
}

/// Each manifest that `document` holds: `kubectl get -o yaml` writes a list of them.
pub(super) fn manifests(document: &Node) -> Vec<&Node> {
    let is_list = document.text("kind").is_some_and(|kind| kind.ends_with("List"));
    match document.get("items") {
        Some(items) if is_list => items.items().iter().flat_map(manifests).collect(),
        Some(_) | None => vec![document],
    }
}
