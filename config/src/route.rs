//! Routes as meant: what a request must be like, and what becomes of it. Plain data; the gateway gives it effect.

use std::fmt;
use std::time::Duration;

use crate::mirror::Mirror;
use crate::{Pattern, Percent, UpstreamId};

#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Unique; the `route` label of metrics.
    pub name: String,
    /// Any of them; never empty.
    pub matches: Vec<Match>,
    /// In front of everything else that the route does.
    pub fault: Fault,
    /// On the request that the primary gets, and on its copies.
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
    pub action: Action,
    pub mirrors: Vec<Mirror>,
}

/// All conditions must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Match {
    /// Any of them; empty matches every host.
    pub hosts: Vec<HostMatch>,
    pub path: PathMatch,
    /// `path` is compared without regard to ASCII case; never set with a pattern, which says so itself by `(?i)`.
    pub ignore_case: bool,
    /// Empty matches every method.
    pub methods: Vec<String>,
    /// Port of the listener the request came to.
    pub port: Option<u16>,
    pub when: Vec<Condition>,
}

/// What Host names, without its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostMatch {
    /// Lower case.
    Exact(String),
    /// `*.example.com` is kept as `.example.com`, in lower case.
    Suffix(String),
    /// An IP address, or `localhost`: the request was addressed to a machine rather than to a service. Written `[address]`.
    Address,
}

/// The path without its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    Exact(String),
    /// Plain string prefix: `/foo` matches `/foobar` (Istio).
    Prefix(String),
    /// Prefix by whole elements: `/foo` matches `/foo` and `/foo/bar`, not `/foobar` (Gateway API). Without a slash at its
    /// end, and empty for `/`.
    Elements(String),
    /// The whole path.
    Regex(Pattern),
}

impl Default for PathMatch {
    fn default() -> Self {
        Self::Prefix("/".to_owned())
    }
}

/// One property of a request, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub subject: Subject,
    pub test: Test,
    /// It must not be so. What is absent then counts as empty, except to [`Test::Present`].
    pub not: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Method,
    /// Host as sent, with its port.
    Authority,
    /// `http`.
    Scheme,
    /// A field, by its lower-case name; several lines are one value, joined by `,`.
    Header(String),
    /// The first value of a parameter of the query.
    Query(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    Present,
    Exact(String),
    Prefix(String),
    /// The whole value.
    Regex(Pattern),
}

/// Trouble made on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fault {
    pub delay: Option<Delay>,
    pub abort: Option<Abort>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delay {
    pub percent: Percent,
    pub time: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abort {
    pub percent: Percent,
    /// 200 to 599.
    pub status: u16,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Forward(Forward),
    Redirect(Redirect),
    Reply(Reply),
}

/// The client gets a primary's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// At least one.
    pub primaries: Vec<Primary>,
    pub rewrite: Rewrite,
    /// From the request's head to the answer's last byte, retries included; `None` leaves it to `timeouts`.
    pub timeout: Option<Duration>,
    pub retries: Retries,
}

/// One share of a route's requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Primary {
    /// `None` where a manifest names a service that cannot be had: its share is answered 500 (Gateway API).
    pub upstream: Option<UpstreamId>,
    /// Its share is its weight of the sum of all; 0 gets nothing. A lone primary gets everything.
    pub weight: u32,
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
}

/// In this order: removed, set, added. Names in lower case; none of a field that frames or ends a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderEdits {
    pub remove: Vec<String>,
    /// Replaces what is there.
    pub set: Vec<(String, String)>,
    /// One more line.
    pub add: Vec<(String, String)>,
}

impl HeaderEdits {
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewrite {
    pub path: Option<PathRewrite>,
    /// Value of Host.
    pub host: Option<String>,
}

/// The query stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRewrite {
    /// Stands for what the route's path matched: the prefix, or all of it. Behind [`PathMatch::Elements`] the slash
    /// between it and the rest is there exactly once.
    Matched(String),
    /// Stands for the whole path.
    Whole(String),
    /// Every match of the pattern in the path; `\1` is its first group.
    Regex { pattern: Pattern, with: String },
}

/// When a request may be sent again. Only one whose content we still hold is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries {
    /// Tries after the first; 0 is none.
    pub attempts: u32,
    pub on: Vec<RetryOn>,
    /// Statuses of a primary's answer, besides those that `on` means.
    pub statuses: Vec<u16>,
    /// From a try's first byte to its answer's head.
    pub per_try_timeout: Option<Duration>,
    /// Before the first retry, on average half of it; it doubles for each further one, up to ten times itself.
    pub backoff: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// No connection could be made.
    ConnectFailure,
    /// The connection broke, or the try took too long, before an answer came.
    Reset,
    /// 502, 503 and 504.
    GatewayError,
    /// Every 5xx, and all that `Reset` means.
    ServerError,
    /// 409.
    Conflict,
}

impl RetryOn {
    pub const ALL: [Self; 5] =
        [Self::ConnectFailure, Self::Reset, Self::GatewayError, Self::ServerError, Self::Conflict];

    /// The word a file uses for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectFailure => "connect_failure",
            Self::Reset => "reset",
            Self::GatewayError => "gateway_error",
            Self::ServerError => "5xx",
            Self::Conflict => "conflict",
        }
    }
}

/// The client is sent elsewhere; nothing is forwarded or copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// `None` keeps the request's.
    pub scheme: Option<String>,
    /// `None` keeps the request's, without its port.
    pub host: Option<String>,
    /// `None` keeps the listener's where the scheme stays, and leaves out what the scheme implies.
    pub port: Option<u16>,
    pub path: Option<PathRewrite>,
}

/// The gateway answers by itself; nothing is forwarded or copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub status: u16,
    pub body: String,
    pub content_type: String,
}

impl Route {
    /// What it forwards to; none where it answers by itself.
    pub fn primaries(&self) -> &[Primary] {
        match &self.action {
            Action::Forward(forward) => forward.primaries.as_slice(),
            Action::Redirect(_) | Action::Reply(_) => &[],
        }
    }

    /// The upstreams that may answer its requests, without repetition.
    pub fn upstreams(&self) -> impl Iterator<Item = UpstreamId> + '_ {
        let primaries = self.primaries();
        let ids = primaries.iter().enumerate().filter_map(|(i, p)| Some((i, p.upstream?)));
        ids.filter(|(i, id)| !primaries.iter().take(*i).any(|p| p.upstream == Some(*id))).map(|(_, id)| id)
    }
}

/// As people write it: `GET|HEAD *.example.com:8080/api/* if header x-user = "a"`.
impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.methods.is_empty() {
            write!(f, "{} ", self.methods.join("|"))?;
        }
        for (i, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}", if i > 0 { "|" } else { "" })?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        match &self.path {
            PathMatch::Exact(path) => f.write_str(path)?,
            PathMatch::Prefix(path) => write!(f, "{path}*")?,
            PathMatch::Elements(path) => write!(f, "{path}/*")?,
            PathMatch::Regex(pattern) => write!(f, "~{}", pattern.text)?,
        }
        if self.ignore_case {
            f.write_str(" in any case")?;
        }
        for (i, condition) in self.when.iter().enumerate() {
            write!(f, "{}{condition}", if i > 0 { " and " } else { " if " })?;
        }
        Ok(())
    }
}

/// As it is written: `a.example`, `*.example` or `[address]`.
impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Suffix(end) => write!(f, "*{end}"),
            Self::Address => f.write_str("[address]"),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.not {
            f.write_str("not ")?;
        }
        match &self.subject {
            Subject::Method => f.write_str("method")?,
            Subject::Authority => f.write_str("authority")?,
            Subject::Scheme => f.write_str("scheme")?,
            Subject::Header(name) => write!(f, "header {name}")?,
            Subject::Query(name) => write!(f, "query {name}")?,
        }
        match &self.test {
            Test::Present => f.write_str(" is there"),
            Test::Exact(text) => write!(f, " = {text:?}"),
            Test::Prefix(text) => write!(f, " = {text:?}…"),
            Test::Regex(pattern) => write!(f, " ~ {:?}", pattern.text),
        }
    }
}
