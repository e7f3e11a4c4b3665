//! The failure and its side, and the one place that turns it into a status and a label.

use std::io;

use crate::http1::head::Fault;
use crate::metrics::{FailReason, RejectReason, UpstreamFailure};
use crate::tls;

/// How an upstream failed us, primary or mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection: refused, unreachable, out of descriptors.
    Connect,
    ConnectTimeout,
    /// No TLS with it: its certificate is not believed, or ours is not.
    Tls(tls::fault::Fault),
    /// The upstream's own bound on exchanges is reached.
    Overflow,
    /// The time allowed passed without an answer.
    Timeout,
    /// The connection broke.
    Reset,
    /// The peer reset the request's stream, and not for want of a look at it: its connection goes on.
    StreamReset,
    /// The peer ended the connection before its message was complete.
    Closed,
    /// The peer said that it did not look at the request: sent again, it is not sent twice.
    Refused,
    /// The answer was not HTTP we accept.
    Protocol(&'static str),
}

impl Failure {
    /// A failed read or write on an established connection.
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => match tls::fault::Fault::within(error) {
                Some(fault) if fault.comes_late() => Self::Tls(fault),
                Some(_) | None => Self::Reset,
            },
            io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::WriteZero => Self::Closed,
            _ => Self::Reset,
        }
    }

    /// The fault that a handshake failed by.
    pub fn tls(self) -> Option<tls::fault::Fault> {
        match self {
            Self::Tls(fault) => Some(fault),
            Self::Connect
            | Self::ConnectTimeout
            | Self::Overflow
            | Self::Timeout
            | Self::Reset
            | Self::StreamReset
            | Self::Closed
            | Self::Refused
            | Self::Protocol(_) => None,
        }
    }

    /// The gateway's response when the primary failed.
    pub fn fault(self) -> Fault {
        match self {
            Self::Connect => Fault::new(503, RejectReason::PrimaryConnect, "primary unavailable"),
            Self::ConnectTimeout => {
                Fault::new(504, RejectReason::PrimaryConnectTimeout, "primary did not accept in time")
            }
            Self::Tls(_) => Fault::new(503, RejectReason::PrimaryTls, "primary unavailable"),
            Self::Overflow => {
                Fault::new(503, RejectReason::PrimaryOverflow, "primary has as much to do as it may have")
            }
            Self::Timeout => Fault::new(504, RejectReason::PrimaryTimeout, "primary did not answer in time"),
            Self::Reset | Self::StreamReset | Self::Closed => {
                Fault::new(502, RejectReason::PrimaryClosed, "primary closed without an answer")
            }
            Self::Refused => Fault::new(503, RejectReason::PrimaryClosed, "primary did not take the request"),
            Self::Protocol(detail) => Fault::new(502, RejectReason::PrimaryProtocol, detail),
        }
    }

    /// The label of a failed attempt on a primary.
    pub fn on_primary(self) -> UpstreamFailure {
        match self {
            Self::Connect => UpstreamFailure::Connect,
            Self::ConnectTimeout => UpstreamFailure::ConnectTimeout,
            Self::Tls(_) => UpstreamFailure::Tls,
            Self::Overflow => UpstreamFailure::Overflow,
            Self::Timeout => UpstreamFailure::Timeout,
            Self::Reset | Self::StreamReset => UpstreamFailure::Reset,
            Self::Closed => UpstreamFailure::Closed,
            Self::Refused => UpstreamFailure::Refused,
            Self::Protocol(_) => UpstreamFailure::Protocol,
        }
    }

    /// The label of a failed copy, of which at least a byte was sent: a connection existed.
    pub fn on_mirror(self) -> FailReason {
        match self {
            Self::Timeout | Self::ConnectTimeout => FailReason::Timeout,
            Self::Reset | Self::StreamReset | Self::Connect | Self::Tls(_) | Self::Overflow => {
                FailReason::Reset
            }
            Self::Closed | Self::Refused => FailReason::Closed,
            Self::Protocol(_) => FailReason::Protocol,
        }
    }
}
