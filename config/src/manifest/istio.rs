//! Istio's networking resources as written: their fields and types. The modules beside this one give them meaning.
//!
//! Every field that concerns HTTP/1.1 is here. An unknown field is an error: the effect of leaving it out would not be known.

use super::fields::{Ignored, Refused, Remark, Span};
use crate::reader::{List, Named};
use crate::tables::tables;

tables! {
    /// `spec` of a VirtualService.
    pub(crate) struct VirtualService {
        hosts: List<String>,
        gateways: List<String>,
        http: List<HttpRoute>,
        tls: Refused,
        tcp: Refused,
        export_to: Ignored,
    }

    /// An entry of `http`.
    pub(crate) struct HttpRoute {
        name: String,
        r#match: List<HttpMatch>,
        route: List<HttpDestination>,
        redirect: HttpRedirect,
        direct_response: DirectResponse,
        delegate: Delegate,
        rewrite: HttpRewrite,
        timeout: Span,
        retries: HttpRetry,
        fault: HttpFault,
        mirror: Destination,
        mirrors: List<HttpMirror>,
        mirror_percent: u64,
        mirror_percentage: Percentage,
        cors_policy: CorsPolicy,
        headers: Headers,
    }

    /// The VirtualService whose routes stand for a root's.
    pub(crate) struct Delegate {
        name: String,
        namespace: String,
    }

    /// An entry of `match`.
    pub(crate) struct HttpMatch {
        name: Remark,
        uri: StringMatch,
        scheme: StringMatch,
        method: StringMatch,
        authority: StringMatch,
        headers: Named<StringMatch>,
        without_headers: Named<StringMatch>,
        query_params: Named<StringMatch>,
        ignore_uri_case: bool,
        port: u64,
        source_labels: Named<String>,
        source_namespace: String,
        gateways: List<String>,
        stat_prefix: Remark,
    }

    /// At most one of these; none is presence.
    pub(crate) struct StringMatch {
        exact: String,
        prefix: String,
        regex: String,
    }

    pub(crate) struct Destination {
        host: String,
        subset: String,
        port: Port,
    }

    pub(crate) struct Port {
        number: u64,
    }

    /// An entry of `route`.
    pub(crate) struct HttpDestination {
        destination: Destination,
        weight: u64,
        headers: Headers,
    }

    /// An entry of `mirrors`. `authority` and `headers` are proposed in istio/api#3705 and taken here.
    pub(crate) struct HttpMirror {
        destination: Destination,
        percentage: Percentage,
        authority: String,
        headers: Headers,
    }

    pub(crate) struct Percentage {
        value: f64,
    }

    pub(crate) struct Headers {
        request: HeaderOperations,
        response: HeaderOperations,
    }

    pub(crate) struct HeaderOperations {
        set: Named<String>,
        add: Named<String>,
        remove: List<String>,
    }

    pub(crate) struct CorsPolicy {
        /// The older spelling.
        allow_origin: List<String>,
        allow_origins: List<StringMatch>,
        allow_methods: List<String>,
        allow_headers: List<String>,
        expose_headers: List<String>,
        max_age: Span,
        allow_credentials: bool,
        unmatched_preflights: String,
    }

    pub(crate) struct HttpRewrite {
        uri: String,
        authority: String,
        uri_regex_rewrite: RegexRewrite,
    }

    pub(crate) struct RegexRewrite {
        r#match: String,
        rewrite: String,
    }

    pub(crate) struct HttpRedirect {
        uri: String,
        /// In place of the prefix that was matched.
        prefix_rewrite: String,
        authority: String,
        scheme: String,
        port: u64,
        derive_port: String,
        redirect_code: u64,
    }

    pub(crate) struct DirectResponse {
        status: u64,
        body: Body,
    }

    pub(crate) struct Body {
        string: String,
        bytes: Refused,
    }

    pub(crate) struct HttpRetry {
        attempts: u64,
        per_try_timeout: Span,
        retry_on: String,
        backoff: Span,
        retry_remote_localities: Ignored,
        retry_ignore_previous_hosts: Ignored,
    }

    pub(crate) struct HttpFault {
        delay: Delay,
        abort: Abort,
    }

    pub(crate) struct Delay {
        fixed_delay: Span,
        percentage: Percentage,
        percent: u64,
        exponential_delay: Refused,
    }

    pub(crate) struct Abort {
        http_status: u64,
        percentage: Percentage,
        percent: u64,
        grpc_status: Refused,
        http2_error: Refused,
    }

    /// `spec` of a DestinationRule.
    pub(crate) struct DestinationRule {
        host: String,
        subsets: List<Subset>,
        traffic_policy: TrafficPolicy,
        export_to: Ignored,
        workload_selector: Refused,
    }

    pub(crate) struct Subset {
        name: String,
        labels: Named<String>,
        traffic_policy: TrafficPolicy,
    }

    pub(crate) struct TrafficPolicy {
        connection_pool: ConnectionPool,
        outlier_detection: OutlierDetection,
        load_balancer: LoadBalancer,
        tls: Tls,
        port_level_settings: List<PortPolicy>,
        retry_budget: Ignored,
        tunnel: Refused,
        proxy_protocol: Refused,
    }

    /// Stands in place of a whole policy for one port.
    pub(crate) struct PortPolicy {
        port: Port,
        connection_pool: ConnectionPool,
        outlier_detection: OutlierDetection,
        load_balancer: LoadBalancer,
        tls: Tls,
    }

    pub(crate) struct ConnectionPool {
        tcp: TcpPool,
        http: HttpPool,
    }

    pub(crate) struct TcpPool {
        max_connections: u64,
        connect_timeout: Span,
        /// Where `http` has none.
        idle_timeout: Span,
        max_connection_duration: Ignored,
        tcp_keepalive: Ignored,
    }

    pub(crate) struct HttpPool {
        http1_max_pending_requests: u64,
        http2_max_requests: u64,
        max_requests_per_connection: u64,
        max_retries: Ignored,
        idle_timeout: Span,
        h2_upgrade_policy: String,
        use_client_protocol: bool,
        max_concurrent_streams: Ignored,
        http2_keep_alive: Ignored,
    }

    pub(crate) struct OutlierDetection {
        consecutive_5xx_errors: u64,
        consecutive_gateway_errors: u64,
        consecutive_errors: u64,
        interval: Span,
        base_ejection_time: Span,
        max_ejection_percent: u64,
        min_health_percent: Ignored,
        split_external_local_origin_errors: Ignored,
        consecutive_local_origin_failures: Ignored,
        outlier_detection_http_error_codes: Ignored,
    }

    pub(crate) struct LoadBalancer {
        simple: String,
        consistent_hash: ConsistentHash,
        backend_utilization: Ignored,
        locality_lb_setting: Ignored,
        zone_aware_lb_setting: Ignored,
        warmup: Ignored,
        warmup_duration_secs: Ignored,
    }

    pub(crate) struct ConsistentHash {
        http_header_name: String,
        http_cookie: HttpCookie,
        use_source_ip: bool,
        http_query_parameter_name: String,
        ring_hash: Remark,
        maglev: Remark,
        minimum_ring_size: Remark,
    }

    pub(crate) struct HttpCookie {
        name: String,
        path: Ignored,
        ttl: Ignored,
        attributes: Ignored,
    }

    pub(crate) struct Tls {
        mode: String,
        /// Files of PEM, as the next two.
        client_certificate: String,
        private_key: String,
        ca_certificates: String,
        credential_name: String,
        subject_alt_names: List<String>,
        sni: String,
        insecure_skip_verify: bool,
        ca_crl: String,
    }

    /// `spec` of a ServiceEntry.
    pub(crate) struct ServiceEntry {
        hosts: List<String>,
        addresses: Ignored,
        ports: List<ServicePort>,
        location: Remark,
        resolution: String,
        endpoints: List<WorkloadEntry>,
        workload_selector: Refused,
        export_to: Ignored,
        subject_alt_names: Ignored,
    }

    /// An entry of `ports` of a ServiceEntry or a Service.
    pub(crate) struct ServicePort {
        number: u64,
        name: String,
        protocol: String,
        target_port: u64,
    }

    /// An entry of `endpoints` of a ServiceEntry.
    pub(crate) struct WorkloadEntry {
        address: String,
        ports: Named<u64>,
        labels: Named<String>,
        network: Ignored,
        locality: Ignored,
        weight: Ignored,
        service_account: Ignored,
    }

    /// `spec` of Istio's own Gateway.
    pub(crate) struct Gateway {
        /// Labels of the pods that have its listeners.
        selector: Named<String>,
        servers: List<Server>,
    }

    pub(crate) struct Server {
        port: ServicePort,
        hosts: List<String>,
        name: Remark,
        bind: String,
        default_endpoint: Refused,
        tls: ServerTls,
    }

    /// `tls` of a server.
    pub(crate) struct ServerTls {
        https_redirect: bool,
        mode: String,
        /// Files of PEM, as the next two.
        server_certificate: String,
        private_key: String,
        ca_certificates: String,
        ca_crl: String,
        credential_name: String,
        credential_names: List<String>,
        ca_cert_credential_name: String,
        insecure_skip_verify: bool,
        tls_certificates: List<TlsCertificate>,
        subject_alt_names: Refused,
        verify_certificate_spki: Refused,
        verify_certificate_hash: Refused,
        min_protocol_version: String,
        max_protocol_version: String,
        cipher_suites: Ignored,
    }

    /// An entry of `tlsCertificates`.
    pub(crate) struct TlsCertificate {
        server_certificate: String,
        private_key: String,
        ca_certificates: Refused,
    }
}
