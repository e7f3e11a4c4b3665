//! The kinds of objects that are read of a cluster, and where an API server has them. Pure.

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    VirtualService,
    DestinationRule,
    ServiceEntry,
    IstioGateway,
    GatewayClass,
    ApiGateway,
    HttpRoute,
    GrpcRoute,
    ReferenceGrant,
    BackendTlsPolicy,
    Service,
    EndpointSlice,
    Namespace,
    Pod,
    Secret,
    ConfigMap,
    CustomResourceDefinition,
}

/// The kind's API group, versions and names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Empty for the core group.
    pub(crate) group: &'static str,
    /// The newest first; the first that is served is read.
    pub(crate) versions: &'static [&'static str],
    pub(crate) name: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) namespaced: bool,
    /// Without it nothing can be served; others are done without while they may not be read.
    pub(crate) needed: bool,
    /// Seconds that a watch lasts before it is begun again. A connection that has died without a word is noticed after these.
    pub(crate) watch_seconds: u64,
}

const ISTIO: &str = "networking.istio.io";
const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// Definitions of the Gateway API's kinds that are read here: their annotations say which version of it is installed. Each is watched
/// by its name.
pub(crate) const DEFINITIONS: [&str; 6] = [
    "gatewayclasses.gateway.networking.k8s.io",
    "gateways.gateway.networking.k8s.io",
    "httproutes.gateway.networking.k8s.io",
    "grpcroutes.gateway.networking.k8s.io",
    "referencegrants.gateway.networking.k8s.io",
    "backendtlspolicies.gateway.networking.k8s.io",
];

impl Kind {
    /// Kinds that are watched from the start.
    pub(crate) const WATCHED: [Self; 14] = [
        Self::VirtualService,
        Self::DestinationRule,
        Self::ServiceEntry,
        Self::IstioGateway,
        Self::GatewayClass,
        Self::ApiGateway,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::ReferenceGrant,
        Self::BackendTlsPolicy,
        Self::Service,
        Self::EndpointSlice,
        Self::Namespace,
        Self::CustomResourceDefinition,
    ];

    pub(crate) fn facts(self) -> Facts {
        let of = |group, versions, name, plural| Facts {
            group,
            versions,
            name,
            plural,
            namespaced: true,
            needed: false,
            watch_seconds: 290,
        };
        let istio = |name, plural| of(ISTIO, &["v1", "v1beta1", "v1alpha3"], name, plural);
        let core = |name, plural| of("", &["v1"], name, plural);
        match self {
            Self::VirtualService => istio("VirtualService", "virtualservices"),
            Self::DestinationRule => istio("DestinationRule", "destinationrules"),
            Self::ServiceEntry => istio("ServiceEntry", "serviceentries"),
            Self::IstioGateway => istio("Gateway", "gateways"),
            Self::GatewayClass => Facts {
                namespaced: false,
                ..of(GATEWAY_API, &["v1", "v1beta1"], "GatewayClass", "gatewayclasses")
            },
            Self::ApiGateway => of(GATEWAY_API, &["v1", "v1beta1"], "Gateway", "gateways"),
            Self::HttpRoute => of(GATEWAY_API, &["v1", "v1beta1"], "HTTPRoute", "httproutes"),
            Self::GrpcRoute => of(GATEWAY_API, &["v1"], "GRPCRoute", "grpcroutes"),
            Self::ReferenceGrant => of(GATEWAY_API, &["v1", "v1beta1"], "ReferenceGrant", "referencegrants"),
            Self::BackendTlsPolicy => {
                of(GATEWAY_API, &["v1", "v1alpha3"], "BackendTLSPolicy", "backendtlspolicies")
            }
            Self::Service => Facts { needed: true, ..core("Service", "services") },
            Self::EndpointSlice => Facts {
                needed: true,
                watch_seconds: 60,
                ..of("discovery.k8s.io", &["v1"], "EndpointSlice", "endpointslices")
            },
            Self::Namespace => Facts { namespaced: false, ..core("Namespace", "namespaces") },
            Self::Pod => Facts { watch_seconds: 60, ..core("Pod", "pods") },
            Self::Secret => core("Secret", "secrets"),
            Self::ConfigMap => core("ConfigMap", "configmaps"),
            Self::CustomResourceDefinition => {
                let (name, plural) = ("CustomResourceDefinition", "customresourcedefinitions");
                Facts { namespaced: false, ..of("apiextensions.k8s.io", &["v1"], name, plural) }
            }
        }
    }

    /// As metrics and the log name it: Istio's Gateway is another than the Gateway API's.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::IstioGateway => "Gateway.networking.istio.io",
            _other => self.facts().name,
        }
    }

    /// Only its metadata is read.
    pub(crate) const fn metadata_only(self) -> bool {
        matches!(self, Self::Pod | Self::Namespace | Self::CustomResourceDefinition)
    }

    /// The path of all objects of this kind, or of those in a namespace; `NAMESPACE/NAME` is one of them, asked for as a list, and
    /// `/NAME` one that is in none.
    pub(crate) fn path(self, version: &str, namespace: Option<&str>) -> String {
        let Facts { group, plural, namespaced, .. } = self.facts();
        let root =
            if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        if let Some((namespace, name)) = namespace.and_then(|scope| scope.split_once('/')) {
            if !namespaced {
                return format!("{root}/{plural}?fieldSelector=metadata.name%3D{name}");
            }
            return format!("{root}/namespaces/{namespace}/{plural}?fieldSelector=metadata.name%3D{name}");
        }
        match namespace {
            Some(namespace) if namespaced => format!("{root}/namespaces/{namespace}/{plural}"),
            Some(_) | None => format!("{root}/{plural}"),
        }
    }

    /// The `apiVersion` of objects of this kind.
    pub(crate) fn api_version(self, version: &str) -> String {
        let group = self.facts().group;
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_where_an_api_server_has_it() {
        assert_eq!(Kind::Service.path("v1", None), "/api/v1/services");
        assert_eq!(Kind::Pod.path("v1", Some("shop")), "/api/v1/namespaces/shop/pods");
        assert_eq!(
            Kind::VirtualService.path("v1beta1", Some("shop")),
            "/apis/networking.istio.io/v1beta1/namespaces/shop/virtualservices"
        );
        let secret = Kind::Secret.path("v1", Some("shop/tls"));
        assert_eq!(secret, "/api/v1/namespaces/shop/secrets?fieldSelector=metadata.name%3Dtls");
        let map = Kind::ConfigMap.path("v1", Some("shop/policy"));
        assert_eq!(map, "/api/v1/namespaces/shop/configmaps?fieldSelector=metadata.name%3Dpolicy");
        let definition = Kind::CustomResourceDefinition.path("v1", Some("/a.example"));
        let wanted =
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?fieldSelector=metadata.name%3Da.example";
        assert_eq!(definition, wanted);
        // A GatewayClass is in no namespace.
        let classes = Kind::GatewayClass.path("v1", Some("shop"));
        assert_eq!(classes, "/apis/gateway.networking.k8s.io/v1/gatewayclasses");
    }
}
