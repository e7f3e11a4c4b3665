//! How a request ended: a closed list. Measures nothing.

use std::io::ErrorKind;

use crate::http1::Bad;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Outcome {
    Ok,
    Status4xx,
    Status5xx,
    /// The status is not the expected one.
    Unexpected,
    Refused,
    /// The connection could not be made for another reason.
    Connect,
    Timeout,
    Reset,
    /// The connection ended before the answer began.
    ClosedEarly,
    /// The connection ended inside the answer.
    Truncated,
    BadHead,
    BadFraming,
    BadChunk,
    HeadTooLarge,
    /// More bytes than the answer owns: the next answer would be wrong.
    ExtraBytes,
    /// TLS could not be agreed on.
    Handshake,
    /// RST_STREAM in the place of an answer, or within it.
    StreamReset,
    /// GOAWAY, or a connection that took no more streams.
    GoAway,
    /// HTTP/2 that is none.
    BadHttp2,
    /// gRPC ended with another status than OK.
    GrpcStatus,
    /// gRPC ended without a status, or within a message.
    GrpcIncomplete,
    /// The echo on a WebSocket is another message than the one sent.
    BadEcho,
    /// Scheduled, but no connection became free before the end.
    Unsent,
    /// Still running when the run was ended.
    Unfinished,
}

/// All that is known of a request's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub outcome: Outcome,
    /// 0 if no answer came.
    pub status: u16,
    /// `grpc-status`, where there was one.
    pub grpc: Option<u16>,
}

impl End {
    pub fn new(outcome: Outcome, status: u16) -> Self {
        Self { outcome, status, grpc: None }
    }
}

impl Outcome {
    pub const ALL: [Self; 24] = [
        Self::Ok,
        Self::Status4xx,
        Self::Status5xx,
        Self::Unexpected,
        Self::Refused,
        Self::Connect,
        Self::Timeout,
        Self::Reset,
        Self::ClosedEarly,
        Self::Truncated,
        Self::BadHead,
        Self::BadFraming,
        Self::BadChunk,
        Self::HeadTooLarge,
        Self::ExtraBytes,
        Self::Handshake,
        Self::StreamReset,
        Self::GoAway,
        Self::BadHttp2,
        Self::GrpcStatus,
        Self::GrpcIncomplete,
        Self::BadEcho,
        Self::Unsent,
        Self::Unfinished,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Status4xx => "status_4xx",
            Self::Status5xx => "status_5xx",
            Self::Unexpected => "unexpected_status",
            Self::Refused => "refused",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::ClosedEarly => "closed_early",
            Self::Truncated => "truncated",
            Self::BadHead => "bad_head",
            Self::BadFraming => "bad_framing",
            Self::BadChunk => "bad_chunk",
            Self::HeadTooLarge => "head_too_large",
            Self::ExtraBytes => "extra_bytes",
            Self::Handshake => "handshake",
            Self::StreamReset => "stream_reset",
            Self::GoAway => "goaway",
            Self::BadHttp2 => "bad_http2",
            Self::GrpcStatus => "grpc_status",
            Self::GrpcIncomplete => "grpc_incomplete",
            Self::BadEcho => "bad_echo",
            Self::Unsent => "unsent",
            Self::Unfinished => "unfinished",
        }
    }

    pub fn of_status(status: u16, expected: Option<u16>) -> Self {
        match (expected, status) {
            (Some(expected), _) if expected == status => Self::Ok,
            (Some(_), _) => Self::Unexpected,
            (None, 500..) => Self::Status5xx,
            (None, 400..) => Self::Status4xx,
            (None, _) => Self::Ok,
        }
    }

    pub fn of_bad(bad: Bad) -> Self {
        match bad {
            Bad::Head => Self::BadHead,
            Bad::HeadTooLarge => Self::HeadTooLarge,
            Bad::Framing => Self::BadFraming,
            Bad::Chunk => Self::BadChunk,
        }
    }

    pub fn of_http2(error: &h2::Error) -> Self {
        match error.get_io().map(std::io::Error::kind) {
            Some(ErrorKind::ConnectionReset) => Self::Reset,
            // The crate's word for FIN, too.
            Some(_) => Self::ClosedEarly,
            None if error.is_go_away() && error.is_remote() => Self::GoAway,
            None if error.is_reset() && error.is_remote() => Self::StreamReset,
            None => Self::BadHttp2,
        }
    }

    pub fn of_connect_error(error: &std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::TimedOut => Self::Timeout,
            // An error of rustls: about the peer, its certificate, or its alert on ours.
            ErrorKind::InvalidData => Self::Handshake,
            _ => Self::Connect,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_stands_at_its_own_index_with_its_own_label() {
        let mut labels = std::collections::HashSet::new();
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
            assert!(labels.insert(outcome.label()));
        }
    }
}
