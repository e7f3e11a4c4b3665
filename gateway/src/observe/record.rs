//! The outcome of one exchange and its copies, as it leaves the worker: plain data, complete, once.
//!
//! Its readers (access log, spans, comparison) live on another thread. It knows no socket, no clock and no format.

use std::sync::Arc;
use std::time::SystemTime;

use config::{Action, Config, Mirror, Route, Upstream};

use super::disclosure::said::Said;
use crate::address::Address;
use crate::asked::{Scheme, Version};
use crate::metrics::{DropReason, FailReason, Label, RejectReason, SkipReason};

/// An exchange, and each of its copies. Made when the last of them is over.
#[derive(Debug)]
pub struct Record {
    /// The configuration that the indices below are of, by its worker's own handle: a count that all workers wrote to would be a
    /// line that all of them wait for.
    pub config: Arc<Arc<Config>>,
    /// Index of its route; `None` where none was known.
    pub route: Option<usize>,
    /// When its head was complete.
    pub started: SystemTime,
    /// The same by the worker's clock, in its microseconds.
    pub started_us: u64,
    /// From then to the whole request written to the primary, in microseconds; of more than one attempt the last. `None` where
    /// it never was.
    pub forwarded_us: Option<u64>,
    /// The request's own words; only `told` reads them, and says which may be told.
    pub said: Said,
    pub trace: Trace,
    /// The exchange was drawn for the access log.
    pub is_logged: bool,
    pub method: Box<str>,
    pub scheme: Scheme,
    pub version: Version,
    /// The status that the client got; `None` where it got none.
    pub status: Option<u16>,
    /// Why the gateway answered by itself, where it did.
    pub reject: Option<RejectReason>,
    /// The client got no whole answer.
    pub is_aborted: bool,
    /// Bytes of the request's content.
    pub request_bytes: u64,
    /// Bytes of the answer's content that the client got.
    pub response_bytes: u64,
    /// From the head complete to the last byte of the answer written, in microseconds.
    pub duration_us: u64,
    /// `None` where the gateway answered by itself without asking a primary.
    pub primary: Option<PrimaryLeg>,
    /// Every copy of it that had an account: also those not taken, dropped or failed.
    pub copies: Vec<CopyLeg>,
}

impl Record {
    /// The route it took.
    pub fn route(&self) -> Option<&Route> {
        self.config.routes.get(self.route?)
    }

    /// The upstream that was asked.
    pub fn upstream(&self, leg: &PrimaryLeg) -> Option<&Upstream> {
        match &self.route()?.action {
            Action::Forward(forward) => {
                self.config.upstreams.get(forward.primaries.get(leg.primary)?.upstream?)
            }
            Action::Redirect(_) | Action::Reply(_) => None,
        }
    }

    /// The mirror that a copy was for.
    pub fn mirror(&self, leg: &CopyLeg) -> Option<&Mirror> {
        self.route()?.mirrors.get(leg.mirror)
    }
}

/// The identifiers of W3C Trace Context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trace {
    pub trace_id: [u8; 16],
    /// The client's span; `None` where the trace begins here.
    pub parent: Option<[u8; 8]>,
    /// The gateway's own span: parent of the primary's and of each copy's.
    pub span: [u8; 8],
    /// Named to the primary as its parent.
    pub primary_span: [u8; 8],
    pub is_sampled: bool,
}

/// The exchange with the primary.
#[derive(Debug)]
pub struct PrimaryLeg {
    /// Index among the route's primaries.
    pub primary: usize,
    /// The last one that was asked.
    pub endpoint: Option<Address>,
    /// The first attempt and each retry.
    pub attempts: u32,
    /// Of its answer, were it whole or not.
    pub status: Option<u16>,
    /// Its answer was read to the end.
    pub is_whole: bool,
    /// The route granted it another try; copies are paired with the first.
    pub is_retried: bool,
    /// From the request forwarded to the last byte of the answer read, in microseconds.
    pub latency_us: u64,
    /// Bytes of its answer's content.
    pub response_bytes: u64,
    /// The answer itself, where a comparison wants it.
    pub answer: Option<Answer>,
}

/// A copy.
#[derive(Debug)]
pub struct CopyLeg {
    /// Index among the route's mirrors.
    pub mirror: usize,
    /// 0, and on where the mirror amplifies.
    pub number: u32,
    /// Named to the mirror as its parent; zero where none was drawn.
    pub span: [u8; 8],
    pub end: CopyEnd,
    /// From the whole request forwarded to the copy's first byte sent, in microseconds; 0 where it was not sent.
    pub lag_us: u64,
    /// From the copy sent to the last byte of its answer read, in microseconds; 0 where it was not answered.
    pub latency_us: u64,
    /// Bytes of its answer's content.
    pub response_bytes: u64,
    /// The copy was drawn to be compared.
    pub compares: bool,
    /// The answer itself, where a comparison wants it and it found room.
    pub answer: Option<Answer>,
    /// The copy itself, as it was sent, where its answer is to be compared and it found room.
    pub request: Option<Request>,
}

/// A request, kept so that a person can make it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Request line and field lines as sent, each with its CRLF.
    pub head: Box<[u8]>,
    /// As it was framed.
    pub content: Box<[u8]>,
    /// The content was longer than may be kept: `content` is its beginning.
    pub is_cut: bool,
}

/// How a copy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyEnd {
    SampledOut,
    Skipped(SkipReason),
    Dropped(DropReason),
    Completed(u16),
    Failed(FailReason),
}

impl CopyEnd {
    /// The counter of the ledger that it was counted in.
    pub fn outcome(self) -> &'static str {
        match self {
            Self::SampledOut => "sampled_out",
            Self::Skipped(_) => "skipped",
            Self::Dropped(_) => "dropped",
            Self::Completed(_) => "completed",
            Self::Failed(_) => "failed",
        }
    }

    /// The label that tells why.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::SampledOut | Self::Completed(_) => None,
            Self::Skipped(why) => Some(why.text()),
            Self::Dropped(why) => Some(why.text()),
            Self::Failed(why) => Some(why.text()),
        }
    }

    /// Of its whole answer.
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Completed(status) => Some(status),
            Self::SampledOut | Self::Skipped(_) | Self::Dropped(_) | Self::Failed(_) => None,
        }
    }

    /// A byte of it was sent.
    pub fn was_sent(self) -> bool {
        match self {
            Self::Completed(_) | Self::Failed(_) => true,
            Self::SampledOut | Self::Skipped(_) | Self::Dropped(_) => false,
        }
    }
}

/// An answer, kept to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Its field lines as received, each with its CRLF; without status line and without the empty line.
    pub fields: Box<[u8]>,
    /// Its content without transfer coding; content codings are left as they are.
    pub content: Box<[u8]>,
    /// The content was longer than may be kept: `content` is its beginning.
    pub is_cut: bool,
    /// Lines of trailers as received, each with its CRLF.
    pub trailers: Box<[u8]>,
}
