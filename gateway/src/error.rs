//! What went wrong on which side, and the one place that turns it into a status and a label.

use std::io;

use crate::http1::head::Fault;
use crate::metrics::{FailReason, RejectReason, UpstreamFailure};

/// How an upstream failed us, primary or mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection: refused, unreachable, out of descriptors.
    Connect,
    ConnectTimeout,
    /// The upstream's own bound on exchanges is reached.
    Overflow,
    /// Nothing came within the time allowed.
    Timeout,
    /// The connection broke.
    Reset,
    /// The peer ended the connection before its message was complete.
    Closed,
    /// The answer was not HTTP we accept.
    Protocol(&'static str),
}

impl Failure {
    /// A failed read or write on an established connection.
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::WriteZero => Self::Closed,
            _ => Self::Reset,
        }
    }

    /// What the client is told when its primary failed.
    pub fn fault(self) -> Fault {
        match self {
            Self::Connect => Fault::new(503, RejectReason::PrimaryConnect, "primary unavailable"),
            Self::ConnectTimeout => {
                Fault::new(504, RejectReason::PrimaryConnectTimeout, "primary did not accept in time")
            }
            Self::Overflow => {
                Fault::new(503, RejectReason::PrimaryOverflow, "primary has as much to do as it may have")
            }
            Self::Timeout => Fault::new(504, RejectReason::PrimaryTimeout, "primary did not answer in time"),
            Self::Reset | Self::Closed => {
                Fault::new(502, RejectReason::PrimaryClosed, "primary closed without an answer")
            }
            Self::Protocol(detail) => Fault::new(502, RejectReason::PrimaryProtocol, detail),
        }
    }

    /// The label of a failed attempt on a primary.
    pub fn on_primary(self) -> UpstreamFailure {
        match self {
            Self::Connect => UpstreamFailure::Connect,
            Self::ConnectTimeout => UpstreamFailure::ConnectTimeout,
            Self::Overflow => UpstreamFailure::Overflow,
            Self::Timeout => UpstreamFailure::Timeout,
            Self::Reset => UpstreamFailure::Reset,
            Self::Closed => UpstreamFailure::Closed,
            Self::Protocol(_) => UpstreamFailure::Protocol,
        }
    }

    /// The label of a failed copy, of which at least a byte was sent: a connection existed.
    pub fn on_mirror(self) -> FailReason {
        match self {
            Self::Timeout | Self::ConnectTimeout => FailReason::Timeout,
            Self::Reset | Self::Connect | Self::Overflow => FailReason::Reset,
            Self::Closed => FailReason::Closed,
            Self::Protocol(_) => FailReason::Protocol,
        }
    }
}
