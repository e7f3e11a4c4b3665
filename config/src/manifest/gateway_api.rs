//! The Gateway API's resources as written: their fields and types. The modules beside this one give them meaning.

use super::fields::{Ignored, Refused, Remark, Span};
use crate::reader::{List, Named};
use crate::tables::tables;

tables! {
    /// `spec` of an HTTPRoute.
    pub(crate) struct HttpRoute {
        parent_refs: List<ParentRef>,
        use_default_gateways: Remark,
        hostnames: List<String>,
        rules: List<Rule>,
    }

    /// Where it is attached.
    pub(crate) struct ParentRef {
        group: String,
        kind: String,
        namespace: String,
        name: String,
        section_name: String,
        port: u64,
    }

    pub(crate) struct Rule {
        name: String,
        matches: List<RouteMatch>,
        filters: List<Filter>,
        backend_refs: List<BackendRef>,
        timeouts: Timeouts,
        retry: Retry,
        session_persistence: Refused,
    }

    pub(crate) struct RouteMatch {
        path: PathMatch,
        headers: List<ValueMatch>,
        query_params: List<ValueMatch>,
        method: String,
    }

    pub(crate) struct PathMatch {
        r#type: String,
        value: String,
    }

    /// An entry of `headers` or `queryParams`.
    pub(crate) struct ValueMatch {
        r#type: String,
        name: String,
        value: String,
    }

    pub(crate) struct Filter {
        r#type: String,
        request_header_modifier: HeaderModifier,
        response_header_modifier: HeaderModifier,
        request_mirror: RequestMirror,
        request_redirect: RequestRedirect,
        url_rewrite: UrlRewrite,
        cors: Cors,
        external_auth: Refused,
        extension_ref: Refused,
    }

    pub(crate) struct Cors {
        allow_origins: List<String>,
        allow_credentials: bool,
        allow_methods: List<String>,
        allow_headers: List<String>,
        expose_headers: List<String>,
        /// Seconds.
        max_age: u64,
    }

    pub(crate) struct HeaderModifier {
        set: List<HeaderValue>,
        add: List<HeaderValue>,
        remove: List<String>,
    }

    pub(crate) struct HeaderValue {
        name: String,
        value: String,
    }

    pub(crate) struct RequestMirror {
        backend_ref: BackendRef,
        percent: u64,
        fraction: Fraction,
    }

    pub(crate) struct Fraction {
        numerator: u64,
        denominator: u64,
    }

    pub(crate) struct RequestRedirect {
        scheme: String,
        hostname: String,
        path: PathModifier,
        port: u64,
        status_code: u64,
    }

    pub(crate) struct UrlRewrite {
        hostname: String,
        path: PathModifier,
    }

    pub(crate) struct PathModifier {
        r#type: String,
        replace_full_path: String,
        replace_prefix_match: String,
    }

    pub(crate) struct BackendRef {
        group: String,
        kind: String,
        name: String,
        namespace: String,
        port: u64,
        weight: u64,
        filters: List<Filter>,
    }

    pub(crate) struct Timeouts {
        request: Span,
        backend_request: Span,
    }

    pub(crate) struct Retry {
        codes: List<u64>,
        attempts: u64,
        backoff: Span,
    }

    /// `spec` of a GRPCRoute.
    pub(crate) struct GrpcRoute {
        parent_refs: List<ParentRef>,
        use_default_gateways: Remark,
        hostnames: List<String>,
        rules: List<GrpcRule>,
    }

    pub(crate) struct GrpcRule {
        name: String,
        matches: List<GrpcMatch>,
        filters: List<Filter>,
        backend_refs: List<BackendRef>,
        session_persistence: Refused,
    }

    pub(crate) struct GrpcMatch {
        method: GrpcMethod,
        headers: List<ValueMatch>,
    }

    pub(crate) struct GrpcMethod {
        r#type: String,
        service: String,
        method: String,
    }

    /// `spec` of a Gateway.
    pub(crate) struct Gateway {
        gateway_class_name: Remark,
        listeners: List<Listener>,
        addresses: Ignored,
        infrastructure: Ignored,
        allowed_listeners: Ignored,
        backend_tls: Refused,
        tls: GatewayTls,
        default_scope: Remark,
    }

    /// `tls` of a Gateway.
    pub(crate) struct GatewayTls {
        frontend: Frontend,
        backend: Refused,
    }

    /// The validation of clients' certificates, for each port.
    pub(crate) struct Frontend {
        default: ClientTls,
        per_port: List<PortTls>,
    }

    pub(crate) struct PortTls {
        port: u64,
        tls: ClientTls,
    }

    pub(crate) struct ClientTls {
        validation: ClientValidation,
    }

    pub(crate) struct ClientValidation {
        ca_certificate_refs: List<SecretRef>,
        /// `AllowValidOnly` or `AllowInsecureFallback`.
        mode: String,
    }

    pub(crate) struct Listener {
        name: String,
        hostname: String,
        port: u64,
        protocol: String,
        tls: ListenerTls,
        allowed_routes: AllowedRoutes,
    }

    /// `tls` of a listener.
    pub(crate) struct ListenerTls {
        mode: String,
        certificate_refs: List<SecretRef>,
        frontend_validation: Refused,
        options: Ignored,
    }

    /// A Secret, or a ConfigMap.
    pub(crate) struct SecretRef {
        group: String,
        kind: String,
        namespace: String,
        name: String,
    }

    /// Routes that may attach to a listener.
    pub(crate) struct AllowedRoutes {
        namespaces: RouteNamespaces,
        kinds: List<RouteKind>,
    }

    pub(crate) struct RouteNamespaces {
        /// `All`, `Same` or `Selector`.
        from: String,
        selector: LabelSelector,
    }

    pub(crate) struct RouteKind {
        group: String,
        kind: String,
    }

    pub(crate) struct LabelSelector {
        match_labels: Named<String>,
        match_expressions: List<LabelExpression>,
    }

    pub(crate) struct LabelExpression {
        key: String,
        operator: String,
        values: List<String>,
    }

    /// `spec` of a BackendTLSPolicy.
    pub(crate) struct BackendTlsPolicy {
        target_refs: List<PolicyTarget>,
        validation: Validation,
        options: Ignored,
    }

    pub(crate) struct PolicyTarget {
        group: String,
        kind: String,
        name: String,
        section_name: String,
    }

    pub(crate) struct Validation {
        ca_certificate_refs: List<SecretRef>,
        well_known_c_a_certificates: String,
        hostname: String,
        subject_alt_names: List<SubjectAltName>,
    }

    pub(crate) struct SubjectAltName {
        r#type: String,
        hostname: String,
        uri: String,
    }

    /// `spec` of a ReferenceGrant.
    pub(crate) struct ReferenceGrant {
        from: List<GrantFrom>,
        to: List<GrantTo>,
    }

    pub(crate) struct GrantFrom {
        group: String,
        kind: String,
        namespace: String,
    }

    pub(crate) struct GrantTo {
        group: String,
        kind: String,
        name: String,
    }
}
