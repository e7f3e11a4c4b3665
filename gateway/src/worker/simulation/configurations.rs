//! The configurations of plays.

/// Configurations that plays begin with, and change to in the middle. Small bounds and short times, so that a play reaches
/// them.
pub(super) const CONFIGURATIONS: [&str; 6] = [PLAIN, MOVED, COVERED, SHARED, CHOSEN, POLICIES];

/// Bounds of a request, of `[limits]`.
macro_rules! heads {
    () => {
        r#"
    request_head_bytes_max = "4KiB"
    request_line_bytes_max = "1KiB"
    request_body_bytes_max = "60KiB"
"#
    };
}

/// Short enough for a play to reach the end of each.
macro_rules! times {
    () => {
        r#"
    [timeouts]
    request_head = "500ms"
    request_body = "500ms"
    client_idle = "2s"
    response_head = "1s"
    response_body = "1s"
    write = "1s"
    connect = "500ms"
    drain = "200ms"
"#
    };
}

/// Of a mirror: bounds that a play reaches.
macro_rules! mirror {
    () => {
        r#"
    connections_max = 2
    ring_entries_max = 4
    ring_bytes_max = "64KiB"
    body_bytes_max = "40KiB"
    response_bytes_max = "32KiB"
"#
    };
}

const PLAIN: &str = concat!(
    r#"
    [limits]
    connections_max = 6
"#,
    heads!(),
    r#"    upstream_idle_max = 3
    [http2]
    streams_max = 4
    streams_per_address_max = 5
    ping_after = "300ms"
    ping_timeout = "300ms"
"#,
    times!(),
    r#"    [upstream.v1]
    endpoints = ["127.0.0.1:1", "127.0.0.1:11"]
    [upstream.v2]
    endpoints = ["127.0.0.1:2"]
    [[route]]
    name = "all"
    path_prefix = "/"
    primary = "v1"
    retries = { attempts = 1, on = ["connect_failure", "reset"] }
    [[route.mirrors]]
    upstream = "v2"
    percent = 150
    timeout = "1s"
"#,
    mirror!()
);

/// One primary fewer, another ring, a mirror that does not answer connects.
const MOVED: &str = r#"
    [limits]
    connections_max = 6
    request_head_bytes_max = "4KiB"
    request_line_bytes_max = "1KiB"
    upstream_idle_max = 0
    requests_per_connection_max = 2
    connection_age_max = "700ms"
    [timeouts]
    request_head = "500ms"
    client_idle = "1s"
    response_head = "1s"
    response_body = "1s"
    write = "1s"
    connect = "300ms"
    drain = "200ms"
    [upstream.v1]
    endpoints = ["127.0.0.1:11", "127.0.0.1:99"]
    balance = "random"
    [upstream.v2]
    endpoints = ["127.0.0.1:2", "127.0.0.1:98"]
    [[route]]
    name = "all"
    path_prefix = "/s"
    primary = "v1"
    mirrors = [{ upstream = "v2", percent = 50, timeout = "500ms", connect_timeout = "100ms", ring_entries_max = 2 }]
"#;

/// The same addresses, called over TLS.
const COVERED: &str = concat!(
    r#"
    [limits]
    connections_max = 6
"#,
    heads!(),
    r#"    upstream_idle_max = 3
"#,
    times!(),
    r#"    [upstream.v1]
    endpoints = ["127.0.0.1:1", "127.0.0.1:11", "127.0.0.1:99"]
    tls = { server_name = "v1.internal" }
    [upstream.v2]
    endpoints = ["127.0.0.1:2"]
    tls = { server_name = "v1.internal" }
    [[route]]
    name = "all"
    path_prefix = "/"
    primary = "v1"
    retries = { attempts = 1, on = ["connect_failure", "reset"] }
    [[route.mirrors]]
    upstream = "v2"
    percent = 150
    timeout = "1s"
    connect_timeout = "300ms"
"#,
    mirror!()
);

/// The same primaries, spoken to in HTTP/2.
const SHARED: &str = concat!(
    r#"
    [limits]
    connections_max = 12
"#,
    heads!(),
    r#"    [http2]
    streams_max = 4
    ping_after = "300ms"
    ping_timeout = "300ms"
    queued_bytes_max = "16KiB"
"#,
    times!(),
    r#"    [upstream.v1]
    endpoints = ["127.0.0.1:1", "127.0.0.1:11"]
    protocol = "h2"
    connections_max = 2
    pending_max = 4
    idle_timeout = "1s"
    requests_per_connection_max = 9
    [upstream.v2]
    endpoints = ["127.0.0.1:2"]
    [[route]]
    name = "all"
    path_prefix = "/"
    primary = "v1"
    retries = { attempts = 1, on = ["connect_failure", "reset"] }
    [[route.mirrors]]
    upstream = "v2"
    percent = 100
    timeout = "1s"
"#,
    mirror!()
);

/// Over TLS, where each connection negotiates its protocol.
const CHOSEN: &str = concat!(
    r#"
    [limits]
    connections_max = 12
"#,
    heads!(),
    r#"    upstream_idle_max = 3
"#,
    times!(),
    r#"    [upstream.v1]
    endpoints = ["127.0.0.1:1", "127.0.0.1:11", "127.0.0.1:99"]
    protocol = "alpn"
    tls = { server_name = "v1.internal" }
    connections_max = 3
    idle_timeout = "2s"
    [upstream.v2]
    endpoints = ["127.0.0.1:2"]
    protocol = "alpn"
    tls = { server_name = "v1.internal" }
    [[route]]
    name = "all"
    path_prefix = "/"
    primary = "v1"
    [[route.mirrors]]
    upstream = "v2"
    percent = 150
    timeout = "1s"
    connect_timeout = "300ms"
"#,
    mirror!()
);

/// Everything that a mirror, a route and an upstream may be asked for.
pub(super) const POLICIES: &str = r#"
    [limits]
    connections_max = 12
    connections_per_address_max = 4
    exchanges_max = 3
    requests_per_second_max = 25
    requests_per_second_per_address_max = 20
    request_head_bytes_max = "4KiB"
    request_line_bytes_max = "1KiB"
    request_body_bytes_max = "60KiB"
    [timeouts]
    request = "2s"
    request_head = "500ms"
    request_body = "500ms"
    client_idle = "1s"
    response_head = "1s"
    write = "1s"
    connect = "300ms"
    drain = "200ms"
    [workers]
    count = 1
    [tracing]
    to = "nowhere"
    percent = 50
    [upstream.v1]
    endpoints = ["127.0.0.1:1", "127.0.0.1:11"]
    balance = "least_in_flight"
    connections_max = 1
    pending_max = 1
    ejection = { consecutive_5xx = 2, interval = "500ms", time = "500ms", percent_max = 100 }
    [upstream.v2]
    endpoints = ["127.0.0.1:2"]
    [upstream.v3]
    endpoints = ["127.0.0.1:3"]
    [[route]]
    name = "all"
    path_prefix = "/s"
    primary = "v1"
    retries = { attempts = 2, on = ["connect_failure", "reset", "5xx"], per_try_timeout = "400ms" }
    fault = { delay = "50ms", delay_percent = 10, abort = 503, abort_percent = 5 }
    [[route.mirrors]]
    upstream = "v2"
    percent = 250
    sample_by = "header:x-id"
    response = { statuses = ["2xx"] }
    ttl = "150ms"
    drop = "oldest"
    ring_entries_max = 2
    ring_bytes_max = "64KiB"
    body_bytes_max = "40KiB"
    timeout = "1s"
    connections_max = 1
    redact = { json = ["/secret"], headers = ["x-secret"] }
    governor = { failures_max = 10, slower_than = "200ms", least = 1 }
    compare = {}
    [[route.mirrors]]
    upstream = "v3"
    rate_max = 3
    timeout = "300ms"
    connections_max = 2
    role = "baseline"
    compare = {}
"#;

/// A secret that a mirror with redaction must never see.
pub(super) const SECRET: &str = "hidden-from-v2";
