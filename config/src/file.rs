//! Configuration as written: the tables and keys of the TOML form, and the types of their values. Deliberately does not
//! know defaults, bounds or how keys relate: `check` does.

use std::time::Duration;

use toml::de::DeTable;

use crate::problem::{Place, Report};
use crate::reader::{Key, List, Named, Read, Size, SizeOrUnlimited};
use crate::tables::{words, written_tables};
use crate::tls::{ClientAuthWord, TlsVersion};
use crate::{
    After, Balance, Claim, Compression, Driver, DropPolicy, Forwarded, LogFormat, Protocol, RetryOn, Role,
    Sample, Unmatched, Upgrade, UpstreamProtocol, Via, node,
};

words! {
    Driver, After, Balance, DropPolicy, Compression, Forwarded, Via, Claim, LogFormat, Protocol, UpstreamProtocol, RetryOn, Unmatched,
    Upgrade, Role, Sample, ClientAuthWord, TlsVersion
}

written_tables! {
    /// The whole file.
    pub(crate) struct File {
        listener: List<Listener>,
        admin: Admin,
        workers: Workers,
        limits: Limits,
        http2: Http2,
        timeouts: Timeouts,
        headers: Headers,
        access_log: AccessLog,
        tracing: Tracing,
        verdict: Judging,
        upstream: Named<Upstream>,
        capture: Named<Capture>,
        route: List<Route>,
    }

    /// `[[listener]]`
    pub(crate) struct Listener {
        /// IP address and port.
        bind: String,
        protocols: List<Protocol>,
        tls: ListenerTls,
    }

    /// `tls` of a listener; see [`crate::tls::ListenerTls`].
    pub(crate) struct ListenerTls {
        certificates: List<Certificate>,
        client_auth: ClientAuthWord,
        client_ca: String,
        client_crls: List<String>,
        min_version: TlsVersion,
        strict_sni_host: bool,
    }

    /// An entry of `certificates`.
    pub(crate) struct Certificate {
        cert: String,
        key: String,
        ocsp: String,
        /// Exact, with `*.` at the left, or `*`.
        names: List<String>,
    }

    /// `[admin]`
    pub(crate) struct Admin {
        /// IP address and port, or `off`.
        bind: String,
        token: String,
        /// As of a listener.
        tls: ListenerTls,
        /// A file, or `off`.
        history: String,
    }

    /// `[verdict]`
    pub(crate) struct Judging {
        evidence: String,
        peers: List<String>,
        peers_ca: String,
    }

    /// `[workers]`
    pub(crate) struct Workers {
        count: u64,
        pin: bool,
        driver: Driver,
        uring_entries: u64,
    }

    /// `[limits]`; see [`crate::Limits`].
    pub(crate) struct Limits {
        connections_max: u64,
        request_head_bytes_max: Size,
        request_line_bytes_max: Size,
        response_head_bytes_max: Size,
        fields_max: u64,
        request_body_bytes_max: SizeOrUnlimited,
        connections_per_address_max: u64,
        exchanges_max: u64,
        tunnels_max: u64,
        requests_per_second_max: u64,
        requests_per_second_per_address_max: u64,
        requests_per_connection_max: u64,
        connection_age_max: Duration,
        request_bytes_per_second_min: u64,
        response_bytes_per_second_min: u64,
        upstream_idle_max: u64,
        drain_bytes_max: Size,
        tls_handshakes_pending_max: u64,
        tls_handshakes_per_second_per_address_max: u64,
    }

    /// `[http2]`; see [`crate::Http2`].
    pub(crate) struct Http2 {
        streams_max: u64,
        streams_per_address_max: u64,
        stream_window_bytes: Size,
        stream_bytes_max: SizeOrUnlimited,
        queued_bytes_max: Size,
        block_frames_max: u64,
        resets_max: u64,
        requests_per_reset: u64,
        settings_max: u64,
        answers_unsent_max: u64,
        idle_bytes_max: Size,
        idle_bytes_per_second: Size,
        ping_after: Duration,
        ping_timeout: Duration,
    }

    /// `[timeouts]`; see [`crate::Timeouts`].
    pub(crate) struct Timeouts {
        request: Duration,
        tls_handshake: Duration,
        request_head: Duration,
        client_idle: Duration,
        request_body: Duration,
        write: Duration,
        connect: Duration,
        response_head: Duration,
        response_body: Duration,
        upstream_idle: Duration,
        tunnel_idle: Duration,
        drain: Duration,
    }

    /// `[headers]`
    pub(crate) struct Headers {
        forwarded: Forwarded,
        via: Via,
        request_id: Claim,
    }

    /// `[access_log]`
    pub(crate) struct AccessLog {
        /// `off`, `stdout`, or a path.
        to: String,
        format: LogFormat,
        percent: f64,
        only: Notable,
        redact: List<String>,
    }

    /// `only` of the access log; see [`crate::Notable`].
    pub(crate) struct Notable {
        /// `"503"`, `"500-504"` or `"5xx"`.
        statuses: List<String>,
        slower_than: Duration,
        mismatched: bool,
    }

    /// `[tracing]`; see [`crate::Tracing`].
    pub(crate) struct Tracing {
        /// `off`, `nowhere`, or a URL.
        to: String,
        ca: String,
        percent: f64,
        parent: Claim,
        service_name: String,
        spans_max: u64,
        spans_bytes_max: Size,
        timeout: Duration,
    }

    /// `[upstream.NAME]`
    pub(crate) struct Upstream {
        /// `ip:port`, `[v6]:port` or `name:port`.
        endpoints: List<String>,
        balance: Balance,
        /// `header:NAME`, `cookie:NAME`, `query:NAME`, `address` or `traceparent`.
        hash_by: String,
        connect_timeout: Duration,
        idle_timeout: Duration,
        requests_per_connection_max: u64,
        connections_max: u64,
        pending_max: u64,
        ejection: Ejection,
        health: HealthCheck,
        tls: UpstreamTls,
        protocol: UpstreamProtocol,
        version: String,
    }

    /// `tls` of an upstream; see [`crate::tls::UpstreamTls`].
    pub(crate) struct UpstreamTls {
        ca: String,
        crls: List<String>,
        server_name: String,
        /// Names, addresses or URIs.
        names: List<String>,
        cert: String,
        key: String,
        min_version: TlsVersion,
        danger_accept_any_certificate: bool,
    }

    /// `ejection` of an upstream; see [`crate::Ejection`].
    pub(crate) struct Ejection {
        consecutive_5xx: u64,
        consecutive_gateway_errors: u64,
        interval: Duration,
        time: Duration,
        percent_max: f64,
    }

    /// `health` of an upstream; see [`crate::HealthCheck`].
    pub(crate) struct HealthCheck {
        path: String,
        host: String,
        interval: Duration,
        timeout: Duration,
        healthy_after: u64,
        unhealthy_after: u64,
    }

    /// `[capture.NAME]`; see [`crate::Capture`].
    pub(crate) struct Capture {
        /// `off`, or a path.
        to: String,
        file_bytes_max: Size,
        bytes_max: Size,
        drop: DropPolicy,
        compression: Compression,
    }

    /// `[[route]]`. The keys of one [`Match`] may stand in the route itself.
    pub(crate) struct Route {
        name: String,
        /// Exact, or with `*.` at its left, or `[address]`.
        host: String,
        hosts: List<String>,
        path: String,
        path_prefix: String,
        path_elements: String,
        path_regex: String,
        ignore_case: bool,
        methods: List<String>,
        port: u64,
        when: List<Condition>,
        matches: List<Match>,
        fault: Fault,
        /// Name of an upstream.
        primary: String,
        primaries: List<Primary>,
        redirect: Redirect,
        reply: Reply,
        rewrite: Rewrite,
        timeout: Duration,
        retries: Retries,
        upgrade: List<Upgrade>,
        request_headers: HeaderEdits,
        response_headers: HeaderEdits,
        cors: Cors,
        mirrors: List<Mirror>,
    }

    /// An entry of `matches` of a route, or `only` of a mirror.
    pub(crate) struct Match {
        host: String,
        hosts: List<String>,
        path: String,
        path_prefix: String,
        path_elements: String,
        path_regex: String,
        ignore_case: bool,
        methods: List<String>,
        port: u64,
        when: List<Condition>,
    }

    /// An entry of `when`: one of `header`, `query` and `of`, and at most one of `present`, `exact`, `prefix` and `regex`.
    pub(crate) struct Condition {
        header: String,
        query: String,
        /// `method`, `authority`, `scheme` or `certificate`.
        of: String,
        present: bool,
        exact: String,
        prefix: String,
        regex: String,
        not: bool,
    }

    /// `fault` of a route.
    pub(crate) struct Fault {
        delay: Duration,
        /// 0 to 100, as all percents.
        delay_percent: f64,
        /// A status.
        abort: u64,
        abort_percent: f64,
    }

    /// An entry of `primaries` of a route.
    pub(crate) struct Primary {
        /// Name of an upstream; `!` for one that cannot be had.
        upstream: String,
        weight: u64,
        request_headers: HeaderEdits,
        response_headers: HeaderEdits,
        /// In place of the route's.
        rewrite: Rewrite,
        /// Instead of `upstream`.
        redirect: Redirect,
    }

    /// `cors` of a route; see [`crate::Cors`].
    pub(crate) struct Cors {
        /// `*`, an origin, or one with `*` at the left of its host.
        origins: List<String>,
        origin_prefixes: List<String>,
        origin_regexes: List<String>,
        methods: List<String>,
        headers: List<String>,
        expose: List<String>,
        max_age: Duration,
        credentials: bool,
        unmatched: Unmatched,
    }

    /// `redirect` of a route.
    pub(crate) struct Redirect {
        status: u64,
        scheme: String,
        host: String,
        port: u64,
        path: String,
        path_prefix: String,
    }

    /// `reply` of a route.
    pub(crate) struct Reply {
        status: u64,
        body: String,
        content_type: String,
    }

    /// `rewrite` of a route or a mirror.
    pub(crate) struct Rewrite {
        /// Not in a mirror, which has a `host` of its own.
        host: String,
        /// Instead of the whole path.
        path: String,
        /// Replaces the part that the route's path matched.
        path_prefix: String,
        /// Each match of this in the path is replaced by `path_with`.
        path_regex: String,
        path_with: String,
    }

    /// `retries` of a route.
    pub(crate) struct Retries {
        attempts: u64,
        on: List<RetryOn>,
        statuses: List<u64>,
        per_try_timeout: Duration,
        backoff: Duration,
    }

    /// `request_headers` and `response_headers` of a route, a primary or a mirror.
    pub(crate) struct HeaderEdits {
        remove: List<String>,
        set: Named<String>,
        add: Named<String>,
        /// With operators in the values, `%DOWNSTREAM_REMOTE_ADDRESS%`; of requests to a primary only.
        set_format: Named<String>,
        add_format: Named<String>,
    }

    /// An entry of `mirrors` of a route.
    pub(crate) struct Mirror {
        /// Name of an upstream.
        upstream: String,
        /// Name of a capture, instead of an upstream.
        capture: String,
        name: String,
        /// 0 to 10,000, with a grain of 0.0001: kept as a whole number of millionths, rounded to the nearest.
        percent: f64,
        only: Match,
        /// Name of the upstream of one of the route's primaries.
        only_primary: String,
        /// As `hash_by` of an upstream.
        sample_by: String,
        sample: Sample,
        rate_max: u64,
        ttl: Duration,
        after: After,
        response: ResponseCondition,
        /// Name of a field.
        idempotency_key: String,
        governor: Governor,
        ring_entries_max: u64,
        ring_bytes_max: Size,
        drop: DropPolicy,
        body_bytes_max: Size,
        connect_timeout: Duration,
        timeout: Duration,
        connections_max: u64,
        pipeline_max: u64,
        response_bytes_max: Size,
        /// `keep`, `shadow`, or a literal value of Host.
        host: String,
        rewrite: Rewrite,
        request_headers: HeaderEdits,
        redact: Redact,
        role: Role,
        /// Names of candidates of its route.
        baseline_for: List<String>,
        compare: Compare,
    }

    /// `compare` of a mirror.
    pub(crate) struct Compare {
        /// 0 to 100, as all percents.
        percent: f64,
        body_bytes_max: Size,
        content_types: List<String>,
        ignore_headers: List<String>,
        ignore_json: List<String>,
        /// Regular expressions.
        ignore_text: List<String>,
        unordered: List<String>,
        /// 0 to 1.
        tolerance: f64,
        /// A file written by `protoc --include_imports --descriptor_set_out`.
        descriptors: String,
        version_header: String,
    }

    /// `answer` of a mirror.
    pub(crate) struct ResponseCondition {
        /// `"503"`, `"500-504"` or `"5xx"`.
        statuses: List<String>,
        slower_than: Duration,
    }

    /// `governor` of a mirror.
    pub(crate) struct Governor {
        failures_max: f64,
        slower_than: Duration,
        least: f64,
    }

    /// `redact` of a mirror.
    pub(crate) struct Redact {
        headers: List<String>,
        cookies: List<String>,
        query: List<String>,
        /// JSON pointers.
        json: List<String>,
    }
}

impl Route {
    /// Upgrades of a manifest's route, which has no word for them: all that are known, as in Istio.
    pub(crate) fn any_upgrade(at: &Place) -> Key<List<Upgrade>> {
        Key::at(Upgrade::ALL.map(|word| Key::at(word, at)).into(), at)
    }
}

/// Reads a text as far as it can be read. Its faults, types and unknown keys included, go to `report`.
pub(crate) fn read(text: &str, report: &mut Report) -> Option<File> {
    read_table(text, report)
}

/// Reads a whole TOML text as one table.
pub(crate) fn read_table<T: Read>(text: &str, report: &mut Report) -> Option<T> {
    let (document, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        // The meaning of a broken text can only be guessed: its syntax errors are reported first and alone.
        let mut last_line = 0;
        for error in syntax {
            let line = error.span().map_or(0, |span| report.line(&span));
            // A slip often trips the parser several times in its line.
            if line == 0 || line != last_line {
                report.error(&report.place(String::new(), line), syntax_message(text, &error));
            }
            last_line = line;
        }
        return None;
    }
    let root = node::of_toml(document.get_ref(), &|span| report.line(span));
    T::read(&root, &Place::default(), report)
}

fn syntax_message(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().trim().replace('\n', " ");
    let excerpt = error.span().and_then(|span| text.get(span)).map(str::trim).unwrap_or_default();
    // A word in the place of a value may be a secret without its quotes.
    let is_name = message.starts_with("duplicate key") || !excerpt.contains(char::is_alphanumeric);
    let tellable = is_name && (1..=40).contains(&excerpt.len()) && !excerpt.contains(char::is_control);
    if tellable { format!("not TOML: {message} at `{excerpt}`") } else { format!("not TOML: {message}") }
}
