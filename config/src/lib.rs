//! Configuration as meant: plain immutable data that the workers share behind one `Arc`.
//!
//! Everything here is already checked and every default is already filled in, so no consumer asks "was it given?".
//! This room knows nothing of sockets, clocks or threads; it is the only one that knows how configuration is written.
//!
//! From text to meaning: `file` is the configuration as written (read with the span of every key, so that nothing
//! wrong goes unreported), [`check`] turns it into [`Config`] or into every [`Problem`] at once.

pub mod check;
pub mod manifest;
pub mod text;

mod percent;
mod matching;
mod edits;
mod cors;
mod route;
mod pattern;
mod destination;
mod host;
mod upstream;
mod http2;
mod compare;
mod verdict;
mod judging;
mod mirror;
mod capture;
mod observe;
mod tls;
mod machine;
mod file;
mod node;
mod yaml;
mod write;
mod values;
mod tables;
mod problem;
mod reader;
mod syntax;
mod formats;
mod units;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use capture::{Capture, Compression};
pub use check::{Checked, embedded_text, load, parse};
pub use compare::{Compare, Role};
pub use cors::{Cors, OriginMatch, Unmatched};
pub use destination::Destination;
pub use edits::{Format, FormatPart, HeaderEdits, Operator, PathRewrite, Rewrite};
pub use host::Host;
pub use http2::{Http2, Protocol, Protocols, UpstreamProtocol};
pub use judging::{EvidenceFile, Judging};
pub use machine::{cores_available, memory_available};
pub use matching::{Condition, HostMatch, Match, PathMatch, Subject, Test};
pub use mirror::{After, DropPolicy, Governor, Lane, Mirror, MirrorHost, Redact, ResponseCondition, Sample};
pub use observe::{AccessLog, Claim, Collector, LogFormat, LogTarget, Notable, Tracing};
pub use pattern::Pattern;
pub use percent::Percent;
pub use problem::{Problem, ResourceId};
pub use route::{
    Abort, Action, Delay, Fault, Forward, Primary, Redirect, Reply, Retries, RetryOn, Route, Upgrade,
};
pub use tls::{
    Certificate, ClientAuth, ClientCa, ListenerTls, Material, PeerName, Pem, ServedName, TlsVersion, Trust,
    UpstreamTls,
};
pub use upstream::{Balance, Ejection, Endpoint, HealthCheck, RequestKey, Upstream};
pub use verdict::{Contents, Policy, RULES};
pub use write::Shown;

/// Everything an operator decided, as meant. Indices (`UpstreamId`, `LaneId`) are valid by construction.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub listeners: Vec<Listener>,
    pub admin: Admin,
    pub workers: Workers,
    pub limits: Limits,
    pub http2: Http2,
    pub timeouts: Timeouts,
    pub forwarded: Forwarded,
    pub via: Via,
    /// Of a client's X-Request-Id.
    pub request_id: Claim,
    /// `None` where nothing is logged.
    pub access_log: Option<AccessLog>,
    /// `None` where traces are passed by: a client's `traceparent` goes on as any other field.
    pub tracing: Option<Tracing>,
    /// The file that keeps evidence, and the peers that have some.
    pub judging: Judging,
    pub upstreams: Vec<Upstream>,
    /// First match wins, in this order.
    pub routes: Vec<Route>,
    /// Lanes. Each has a ring and its shippers on every worker; mirrors of several routes share a lane when they name the same
    /// upstream with the same transport settings.
    pub lanes: Vec<Lane>,
    /// Folders that mirrors write to instead of asking an upstream.
    pub captures: Vec<Capture>,
}

impl Config {
    /// The most bytes of copies that may wait at once: every lane's ring on every worker.
    pub fn ring_bytes_total_max(&self) -> u64 {
        let each_worker =
            self.lanes.iter().map(|lane| lane.ring_bytes_max as u64).fold(0, u64::saturating_add);
        each_worker.saturating_mul(self.workers.count as u64)
    }

    /// Whether a mirror's copies are written to files, so that nothing answers them.
    pub fn is_captured(&self, mirror: &Mirror) -> bool {
        self.lanes.get(mirror.lane).is_some_and(|lane| lane.capture.is_some())
    }

    /// The mirror of a route whose share is a trial: the first that draws each request by itself and leaves some out by chance alone.
    /// The requests that it leaves out are a control group for the copied ones.
    pub fn trial(&self, route: &Route) -> Option<usize> {
        let draws = |of: &Mirror| (1..Percent::ALL.per_million).contains(&of.percent.per_million);
        // A share that is spread over routes changes by the second.
        let is_even = |of: &Mirror| of.sample_by.is_none() && of.sample == Sample::Even;
        let is_it = |of: &Mirror| draws(of) && is_even(of) && !self.is_captured(of);
        route.mirrors.iter().position(is_it)
    }

    /// Whether any client may speak HTTP/2, and so have several requests under way on one connection.
    pub fn takes_http2(&self) -> bool {
        self.listeners.iter().any(|listener| listener.protocols.http2)
    }

    /// Ports of listeners whose clients a route takes into a tunnel; `None` is any port.
    pub fn tunnel_ports(&self) -> BTreeSet<Option<u16>> {
        let routes = self.routes.iter().filter(|route| !route.upgrades().is_empty());
        routes.flat_map(|route| &route.matches).map(|matching| matching.port).collect()
    }

    /// Whether any route takes any client into a tunnel.
    pub fn has_tunnels(&self) -> bool {
        self.routes.iter().any(|route| !route.upgrades().is_empty())
    }
}

/// Index into [`Config::upstreams`].
pub type UpstreamId = usize;
/// Index into [`Config::lanes`].
pub type LaneId = usize;
/// Index into [`Config::captures`].
pub type CaptureId = usize;

/// The upstream of a lane whose copies are captured: none has this index.
pub const NO_UPSTREAM: UpstreamId = UpstreamId::MAX;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub bind: SocketAddr,
    /// Protocols of its clients.
    pub protocols: Protocols,
    /// `None` speaks plaintext.
    pub tls: Option<ListenerTls>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// `None` when the operator switched the admin listener off with `bind = "off"`.
    pub bind: Option<SocketAddr>,
    /// The bearer token of requests that change something; `None` allows changes on a loopback address alone.
    pub token: Option<String>,
    /// `None` speaks plaintext.
    pub tls: Option<ListenerTls>,
    /// The file that keeps the dashboard's data of the last day; `None` keeps it in memory alone.
    pub history: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workers {
    /// Number of worker threads; at least 1.
    pub count: usize,
    /// Pin each worker to one of the cores this process may use.
    pub pin: bool,
    pub driver: Driver,
    /// Submission queue entries asked of the kernel for each worker, a power of two from 64 to 32768; the start ladder
    /// may settle for fewer.
    pub uring_entries: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// io_uring where the kernel allows it, else epoll.
    Auto,
    /// io_uring or refuse to start.
    Uring,
    Epoll,
}

impl Driver {
    pub const ALL: [Self; 3] = [Self::Auto, Self::Uring, Self::Epoll];

    /// The word a file uses for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        }
    }
}

/// Bounds on the resources that peers may take. Bytes unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open client connections per worker; more are closed at accept and counted as shed.
    pub connections_max: usize,
    /// Request line plus fields of a request.
    pub request_head_bytes_max: usize,
    /// The request line alone; longer is 414. Never more than `request_head_bytes_max`.
    pub request_line_bytes_max: usize,
    /// Status line plus fields of a response.
    pub response_head_bytes_max: usize,
    /// Fields in one head, and in one trailer section.
    pub fields_max: usize,
    /// Content of one request; `None` is unlimited (content is streamed, never held), 0 refuses any.
    pub request_body_bytes_max: Option<u64>,
    /// Open client connections per worker from one IPv4 address or one IPv6 /64; more are closed at accept.
    pub connections_per_address_max: usize,
    /// Requests under way at once per worker; more are answered 503. Never more than `connections_max`: each needs a
    /// connection to a primary, and descriptors are reckoned by that.
    pub exchanges_max: usize,
    /// Tunnels open at once per worker, those whose handshake goes on among them; more are answered 503. Never more than
    /// `connections_max`, for the reason above.
    pub tunnels_max: usize,
    /// Requests a second over all workers, each of which has its part; more are answered 503. `None` is no bound.
    pub requests_per_second_max: Option<u32>,
    /// Requests a second per worker from one IPv4 address or one IPv6 /64; more are answered 429. `None` is no bound.
    pub requests_per_second_per_address_max: Option<u32>,
    /// Least pace at which a client sends content and takes its answer, averaged over the time it was waited for; 0 is
    /// any pace. The first wait of `timeouts.request_body` or `timeouts.write` is free.
    pub request_bytes_per_second_min: u64,
    pub response_bytes_per_second_min: u64,
    /// Requests served on one client connection before it is closed, on HTTP/2 by GOAWAY.
    pub requests_per_connection_max: u64,
    /// The age at which a client connection has served, its requests under way apart; each ends within the last tenth of it.
    /// `None` is no bound.
    pub connection_age_max: Option<Duration>,
    /// Idle connections kept per endpoint and worker, for primaries; 0 keeps none.
    pub upstream_idle_max: usize,
    /// Unread request content we drain to keep a connection after answering by ourselves; 0 closes at once.
    pub drain_bytes_max: u64,
    /// TLS handshakes under way at once per worker; more are closed at accept.
    pub tls_handshakes_pending_max: usize,
    /// TLS handshakes a second per worker from one IPv4 address or one IPv6 /64; more are closed at accept. `None` is no
    /// bound.
    pub tls_handshakes_per_second_per_address_max: Option<u32>,
}

/// Never zero, never more than 30 days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// From a request's head to the last byte of its answer, of routes without a timeout of their own (it stands
    /// in theirs then); `None` is no bound.
    pub request: Option<Duration>,
    /// A TLS handshake, all of it, with a client or a primary.
    pub tls_handshake: Duration,
    /// From the first byte of a request to the end of its head.
    pub request_head: Duration,
    /// Client connection with no request under way.
    pub client_idle: Duration,
    /// Longest wait for the next piece of a request's content.
    pub request_body: Duration,
    /// Longest wait until a peer takes more of the bytes that we write.
    pub write: Duration,
    /// TCP connect to a primary endpoint.
    pub connect: Duration,
    /// From the request's last byte forwarded to the first byte of the primary's answer.
    pub response_head: Duration,
    /// Longest wait for the next piece of a response's content.
    pub response_body: Duration,
    /// Idle connection to a primary kept for reuse.
    pub upstream_idle: Duration,
    /// A tunnel on which nothing moves, either way.
    pub tunnel_idle: Duration,
    /// From SIGTERM until open exchanges are given up.
    pub drain: Duration,
}

/// Treatment of a client's own X-Forwarded-For, -Proto and -Host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// Kept; the client's address is added to X-Forwarded-For. For a gateway behind a proxy that sets them.
    Append,
    /// Replaced by the facts of the client's connection. For a gateway that strangers reach.
    Replace,
}

impl Forwarded {
    pub const ALL: [Self; 2] = [Self::Append, Self::Replace];

    /// The word a file uses for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Replace => "replace",
        }
    }
}

/// Whether requests say that a gateway passed them on. Some servers answer differently then: nginx does not compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// As a proxy must (RFC 9110 §7.6.3).
    Append,
    /// We add nothing; a client's field goes on.
    Off,
}

impl Via {
    pub const ALL: [Self; 2] = [Self::Append, Self::Off];

    /// The word a file uses for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Off => "off",
        }
    }
}

#[cfg(test)]
mod tests;
