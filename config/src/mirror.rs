//! Mirrors and lanes as meant: the requests that are copied, the edits of a copy, and how copies travel. Plain data.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::edits::{HeaderEdits, PathRewrite};
use crate::matching::Match;
use crate::percent::Percent;
use crate::upstream::RequestKey;
use crate::{CaptureId, Compare, LaneId, Role, UpstreamId};

/// The policy of one mirror on one route.
#[derive(Debug, Clone, PartialEq)]
pub struct Mirror {
    /// The `mirror` label of metrics and the value of `X-Umbra-Mirror`; unique within its route.
    pub name: String,
    pub lane: LaneId,
    /// Above 100 amplifies: 250 is two copies of each request and a third of every second one.
    pub percent: Percent,
    /// Only requests like this; its `hosts`, `path` and `port` are those of the client's request.
    pub only: Option<Match>,
    /// Only requests that go to this one of the route's primaries, by index.
    pub only_primary: Option<usize>,
    /// Requests with the same key are copied all or none; `None` draws for each request.
    pub sample_by: Option<RequestKey>,
    /// How `percent` is spread over the routes.
    pub sample: Sample,
    /// Copies per second over all workers; more are dropped.
    pub rate_max: Option<u32>,
    /// A copy that has waited longer is dropped rather than sent late.
    pub ttl: Option<Duration>,
    /// When it may leave. A response condition makes it wait in any case.
    pub after: After,
    /// The copy waits for the primary's answer, and is sent only if that is like this.
    pub response: Option<ResponseCondition>,
    /// The field, in lower case, that tells servers by which key they know a copy of a write: the same for all copies of a request.
    pub idempotency_key: Option<String>,
    pub governor: Option<Governor>,
    /// A request whose content is longer is not copied (`dropped{reason="body_too_large"}`). Never more than the
    /// lane's `ring_bytes_max`.
    pub body_bytes_max: usize,
    pub host: MirrorHost,
    pub path: Option<PathRewrite>,
    /// On the copy only, after the route's own.
    pub headers: HeaderEdits,
    pub redact: Redact,
    pub role: Role,
    /// Of a baseline, the names of the candidates that it is one of; empty: of all of its route.
    pub baseline_for: Vec<String>,
    /// `None` where answers are only counted.
    pub compare: Option<Compare>,
}

impl Mirror {
    /// Whether it is v1 once more beside this candidate.
    pub fn is_baseline_of(&self, candidate: &Self) -> bool {
        self.role == Role::Baseline
            && candidate.role == Role::Candidate
            && (self.baseline_for.is_empty() || self.baseline_for.contains(&candidate.name))
    }

    /// Whether both mirrors have the same conditions on requests, whatever their shares.
    pub fn is_asked_like(&self, other: &Self) -> bool {
        self.only == other.only && self.only_primary == other.only_primary
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MirrorHost {
    /// The Host that the primary gets.
    Keep,
    /// `-shadow` appended to the host, before the port (Envoy's convention).
    Shadow,
    Literal(String),
}

/// Conditions on the primary's response. All that are given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResponseCondition {
    /// Any of these; empty is any status.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// From the request forwarded to the answer's head.
    pub slower_than: Option<Duration>,
}

/// Lowers a mirror's share by itself while the mirror fails or slows, its ring fills or the worker is late, and raises it
/// again when all is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Governor {
    /// Of the copies answered or failed in a second; a 5xx counts as failed.
    pub failures_max: Percent,
    /// Mean time of an answer; `None` does not look at it.
    pub slower_than: Option<Duration>,
    /// Never lowers to less than this part of `percent`.
    pub least: Percent,
}

/// The parts of a request that must not leave with a copy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Redact {
    /// Lower-case names; their values become `[redacted]`.
    pub headers: Vec<String>,
    pub cookies: Vec<String>,
    pub query: Vec<String>,
    /// JSON pointers (RFC 6901), `*` for every element or member. A body that cannot be searched is not sent
    /// (`dropped{reason="redaction"}`).
    pub json: Vec<String>,
}

impl Redact {
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.cookies.is_empty() && self.query.is_empty() && self.json.is_empty()
    }
}

/// How copies travel to one mirror upstream, or into one capture: one ring and a few connections per worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// The upstream's name, or the capture's. Lanes to one upstream with different settings bear the same name; the [`LaneId`] is unique.
    pub name: String,
    /// [`crate::NO_UPSTREAM`] where copies are captured.
    pub upstream: UpstreamId,
    /// Where they are.
    pub capture: Option<CaptureId>,
    pub ring_entries_max: usize,
    pub ring_bytes_max: usize,
    pub drop: DropPolicy,
    pub connect_timeout: Duration,
    /// From a copy's first byte sent to the end of its answer.
    pub timeout: Duration,
    /// Connections per worker.
    pub connections_max: usize,
    /// Copies written on one connection before their answers are read; 1 is one at a time.
    pub pipeline_max: usize,
    /// Bytes of one answer read before its connection is closed instead.
    pub response_bytes_max: u64,
}

/// How a mirror's share is spread over its routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// The same share of each.
    Even,
    /// As many copies of a rare route as of a busy one, as far as it has requests: together the same share of all.
    RareFirst,
}

impl Sample {
    pub const ALL: [Self; 2] = [Self::Even, Self::RareFirst];

    /// The word a file uses for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Even => "even",
            Self::RareFirst => "rare_first",
        }
    }
}

/// The event that a copy waits for before it may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The request is complete and on its way to the primary.
    Request,
    /// The primary has answered, so that no copy overtakes a write of the primary's own.
    Response,
}

impl After {
    pub const ALL: [Self; 2] = [Self::Request, Self::Response];

    /// The word a file uses for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

/// The copy that is given up when a ring is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropPolicy {
    /// The one that does not fit.
    Newest,
    /// The ones that wait longest, until the new one fits.
    Oldest,
}

impl DropPolicy {
    pub const ALL: [Self; 2] = [Self::Newest, Self::Oldest];

    /// The word a file uses for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
        }
    }
}
