//! The access log, tracing and the identifiers of exchanges, as meant. Plain data.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::percent::Percent;
use crate::tls::Trust;
use crate::upstream::Endpoint;

/// Treatment of an identifier that a client brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Passed on. For clients that we trust.
    Keep,
    /// Replaced by one of ours. For a gateway that strangers reach.
    Replace,
}

impl Claim {
    pub const ALL: [Self; 2] = [Self::Keep, Self::Replace];

    /// The word a file uses for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Replace => "replace",
        }
    }
}

/// The access log: one line for each exchange that is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    pub to: LogTarget,
    pub format: LogFormat,
    /// Share of the exchanges that are looked at, drawn as each begins.
    pub percent: Percent,
    /// Of those, only exchanges like this.
    pub only: Option<Notable>,
    /// Names of query parameters whose values are left out, beside those that any mirror of the route redacts. They are
    /// compared without regard to ASCII case.
    pub redact: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    Stdout,
    /// Appended to.
    File(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// An object on each line.
    Json,
    /// Apache's "combined".
    Combined,
}

impl LogFormat {
    pub const ALL: [Self; 2] = [Self::Json, Self::Combined];

    /// The word a file uses for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Combined => "combined",
        }
    }
}

/// Exchanges worth a line: one thing that holds is enough.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notable {
    /// The client got one of these.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// From the request's head to the last byte of the answer.
    pub slower_than: Option<Duration>,
    /// A mirror answered with another status than the primary.
    pub mismatched: bool,
}

/// The part that the gateway takes in traces (W3C Trace Context).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracing {
    /// Share of the traces that begin here and are sampled.
    pub percent: Percent,
    /// Whether a client's trace goes on here, and with it its sampling.
    pub parent: Claim,
    /// The receiver of the spans of sampled traces; `None` only passes the trace on.
    pub collector: Option<Collector>,
    pub service_name: String,
    /// Spans that may wait for the collector; more are dropped.
    pub spans_max: usize,
    /// Bytes of them, as they are posted.
    pub spans_bytes_max: usize,
    /// For the collector to take one batch.
    pub timeout: Duration,
}

/// Where spans are posted, by OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    pub endpoint: Endpoint,
    pub path: String,
    /// The authority that its certificate must come from; `None` sends spans in plaintext.
    pub tls: Option<Trust>,
}

impl Collector {
    /// As an operator would write it.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{}", self.endpoint, self.path)
    }
}
