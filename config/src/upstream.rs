//! Upstreams as meant: addresses, and how exchanges are spread over them. Plain data.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::Percent;
use crate::destination::Destination;
use crate::host::Host;
use crate::http2::UpstreamProtocol;
use crate::tls::UpstreamTls;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    pub name: String,
    /// May be empty where a manifest's service has none: every exchange is then answered 503.
    pub endpoints: Vec<Endpoint>,
    /// Its identity in a cluster, which tells its addresses while it is served; `None` where `endpoints` are all there is.
    pub destination: Option<Destination>,
    pub balance: Balance,
    /// The key that [`Balance::Hash`] hashes; `Some` exactly there.
    pub hash_by: Option<RequestKey>,
    /// TCP connect to an endpoint.
    pub connect_timeout: Duration,
    /// An idle connection kept for reuse.
    pub idle_timeout: Duration,
    /// Exchanges on an endpoint's connection before it is closed.
    pub requests_per_connection_max: u64,
    /// Connections in use per worker; on HTTP/1.1 that is also exchanges in flight per worker.
    pub connections_max: usize,
    /// Exchanges that may wait for a place on one of those connections per worker; more are answered 503.
    pub pending_max: usize,
    pub ejection: Option<Ejection>,
    pub health: Option<HealthCheck>,
    /// `None` is called in plaintext.
    pub tls: Option<UpstreamTls>,
    /// [`UpstreamProtocol::Alpn`] only with `tls`.
    pub protocol: UpstreamProtocol,
    /// The version that runs there, where it is given: another one begins the evidence of verdicts anew.
    pub version: Option<String>,
}

impl Upstream {
    /// Its name without a manifest's subset and port, as a Host may have it.
    pub fn service(&self) -> &str {
        self.name.split(['/', ':']).next().unwrap_or(&self.name)
    }
}

/// A `host:port` as written, or `unix:/path` (port 0); the control plane resolves names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub host: Host,
    pub port: u16,
}

impl Endpoint {
    /// As a Host may name it.
    pub fn authority(&self) -> String {
        match &self.host {
            Host::Address(_) | Host::Name(_) => self.to_string(),
            // A path is no Host.
            Host::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// As `host:port`, an IPv6 address in brackets.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(address) => SocketAddr::new(*address, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    RoundRobin,
    /// The endpoint with the fewest exchanges in flight on this worker.
    LeastInFlight,
    Random,
    /// By a key of the request: the same key goes to the same endpoint on every worker, and few keys move when endpoints
    /// come or go.
    Hash,
}

impl Balance {
    pub const ALL: [Self; 4] = [Self::RoundRobin, Self::LeastInFlight, Self::Random, Self::Hash];

    /// The word a file uses for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastInFlight => "least_in_flight",
            Self::Random => "random",
            Self::Hash => "hash",
        }
    }
}

/// A part of a request that many requests share: a user, a session, a trace. Written `header:x-user`, `cookie:sid`,
/// `query:user`, `address`, `traceparent`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RequestKey {
    /// Lower case.
    Header(String),
    Cookie(String),
    Query(String),
    /// The client's address without its port.
    Address,
    /// The trace id of a W3C `traceparent`.
    Traceparent,
}

impl fmt::Display for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Address => f.write_str("address"),
            Self::Traceparent => f.write_str("traceparent"),
        }
    }
}

/// An endpoint that keeps failing gets no requests for a while. Each worker judges by its own requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ejection {
    /// Answers of 5xx, and failures to answer, in a row; 0 does not count them.
    pub consecutive_5xx: u32,
    /// Answers of 502, 503 and 504, and failures to answer, in a row; 0 does not count them.
    pub consecutive_gateway_errors: u32,
    /// Between two looks for endpoints that may come back.
    pub interval: Duration,
    /// Multiplied by how often the endpoint has been ejected.
    pub time: Duration,
    /// Of the endpoints, at most so many are ejected at once, and always at least one may be.
    pub share_max: Percent,
}

/// `GET path` from the control plane; an endpoint that fails gets exchanges only where none is healthy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    pub path: String,
    /// Host of the check; `None` is the endpoint as written.
    pub host: Option<String>,
    pub interval: Duration,
    pub timeout: Duration,
    /// Answers of 2xx or 3xx in a row that make it healthy.
    pub healthy_after: u32,
    /// Anything else, as often in a row, makes it unhealthy.
    pub unhealthy_after: u32,
}
