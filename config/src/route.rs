//! Routes as meant: the action on a request. Plain data; the gateway gives it effect.

use std::time::Duration;

use crate::UpstreamId;
use crate::cors::Cors;
use crate::edits::{HeaderEdits, PathRewrite, Rewrite};
use crate::matching::Match;
use crate::mirror::Mirror;
use crate::percent::Percent;

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
    /// `None` leaves the answers to browsers' questions to the primaries.
    pub cors: Option<Cors>,
    pub action: Action,
    pub mirrors: Vec<Mirror>,
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
    /// Protocols that a client may change its connection, or its stream, into.
    pub upgrades: Vec<Upgrade>,
}

/// A protocol that bytes are passed on in, unread, once both ends have agreed upon it: a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    /// RFC 6455, by HTTP/1.1's Upgrade or by HTTP/2's extended CONNECT (RFC 8441).
    WebSocket,
}

impl Upgrade {
    pub const ALL: [Self; 1] = [Self::WebSocket];

    /// The word a file uses for it, and both wires.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
        }
    }
}

/// A share of a route's requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Primary {
    /// `None` where a manifest names a service that cannot be had: its share is answered 500 (Gateway API).
    pub upstream: Option<UpstreamId>,
    /// Its share is its weight of the sum of all; 0 gets nothing. A lone primary gets everything.
    pub weight: u32,
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
    /// In place of the route's own.
    pub rewrite: Rewrite,
    /// Its share is sent elsewhere; nothing of it is forwarded or copied.
    pub redirect: Option<Redirect>,
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
    /// A call that was answered at once with this status of gRPC's, as are those below.
    Cancelled,
    DeadlineExceeded,
    Internal,
    ResourceExhausted,
    Unavailable,
}

impl RetryOn {
    pub const ALL: [Self; 10] = [
        Self::ConnectFailure,
        Self::Reset,
        Self::GatewayError,
        Self::ServerError,
        Self::Conflict,
        Self::Cancelled,
        Self::DeadlineExceeded,
        Self::Internal,
        Self::ResourceExhausted,
        Self::Unavailable,
    ];

    /// The word a file uses for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectFailure => "connect_failure",
            Self::Reset => "reset",
            Self::GatewayError => "gateway_error",
            Self::ServerError => "5xx",
            Self::Conflict => "conflict",
            Self::Cancelled => "cancelled",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Internal => "internal",
            Self::ResourceExhausted => "resource_exhausted",
            Self::Unavailable => "unavailable",
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
    /// `None` keeps the listener's where the scheme stays, and leaves out a port that the scheme implies.
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
    /// The primaries that it forwards to; none where it answers by itself.
    pub fn primaries(&self) -> &[Primary] {
        match &self.action {
            Action::Forward(forward) => forward.primaries.as_slice(),
            Action::Redirect(_) | Action::Reply(_) => &[],
        }
    }

    /// Protocols that its clients may upgrade to.
    pub fn upgrades(&self) -> &[Upgrade] {
        match &self.action {
            Action::Forward(forward) => forward.upgrades.as_slice(),
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
