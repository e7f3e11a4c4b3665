//! The ways a port can be broken, as a closed list with one spelling each. Breaks nothing itself.

use std::fmt;
use std::time::Duration;

use crate::tls::server::Shown;
use crate::units;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The process is dead: the listener is closed, live connections are reset.
    Refuse,
    /// The host is gone: new SYNs are dropped (backlog full), live connections hear nothing more.
    Blackhole,
    /// The kernel completes the handshake; the connection is never accepted.
    NeverAccept,
    /// Accepted, never read from.
    AcceptNeverRead,
    /// Requests are read, never answered.
    NeverAnswer,
    /// Requests are read; their answers wait until the fault ends.
    Hold,
    /// Bytes per second, per connection.
    SlowRead(u64),
    SlowWrite(u64),
    /// Reset as soon as accepted.
    ResetOnAccept,
    /// Reset after this many bytes of the answer.
    ResetAt(u64),
    /// FIN after this many bytes of the answer.
    CloseAt(u64),
    /// Bytes that are not HTTP instead of an answer.
    Garbage,
    /// So many bytes behind the answer that belong to nothing.
    ExtraBytes(u64),
    /// The answer, twice.
    Duplicate,
    BadFraming(BadFraming),
    /// A header field of this many bytes.
    OversizeHead(u64),
    EndlessChunked,
    EndlessInterim,
    /// The answer, then FIN; the connection stays open for reading.
    HalfClose,
    /// Refuse and none in turn, each this long.
    Flap(Duration),
    /// Every answer this much later than the behaviour says.
    AnswerAfter(Duration),
    /// FIN after this many bytes of the answer, under TLS without close_notify.
    TruncateAt(u64),
    /// TLS: a certificate that clients should not believe.
    BadCertificate(Shown),
    /// TLS: only this many bytes of the handshake are sent; then silence.
    HandshakeStall(u64),
    /// TLS: plaintext in the place of the handshake.
    HandshakeGarbage,
    /// HTTP/2: GOAWAY after this many bytes of an answer's content, and the end of the connection.
    GoAwayAt(u64),
    /// HTTP/2: content of requests may never be sent.
    ZeroWindow,
    /// HTTP/2: the answer ends without its trailers; gRPC without a status.
    NoTrailers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFraming {
    LengthAndChunked,
    LengthNoNumber,
    LengthsDiffer,
    ChunkSize,
    /// Content-Length says more than is sent, the connection stays open.
    LengthTooLong,
}

impl BadFraming {
    const ALL: [(&str, Self); 5] = [
        ("cl_te", Self::LengthAndChunked),
        ("bad_cl", Self::LengthNoNumber),
        ("two_cl", Self::LengthsDiffer),
        ("bad_chunk", Self::ChunkSize),
        ("long_cl", Self::LengthTooLong),
    ];
}

impl Fault {
    /// True if the fault lives in the listener, so that applying it means opening or closing sockets.
    pub fn closes_listener(self) -> bool {
        matches!(self, Self::Refuse | Self::Blackhole | Self::NeverAccept)
    }

    /// True if connections must not be read from while it lasts.
    pub fn forbids_reading(self) -> bool {
        matches!(self, Self::AcceptNeverRead | Self::Blackhole)
    }
}

impl std::str::FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let bytes_or = |default: u64| if value.is_empty() { Ok(default) } else { units::size(value) };
        let bytes = || units::size(value).map_err(|e| format!("{name}: {e}"));
        let per_second = || bytes().map(|n| n.max(1));
        let duration = || units::duration(value).map_err(|e| format!("{name}: {e}"));
        Ok(match name {
            "none" => Self::None,
            "refuse" => Self::Refuse,
            "blackhole" => Self::Blackhole,
            "never_accept" => Self::NeverAccept,
            "accept_never_read" => Self::AcceptNeverRead,
            "never_answer" => Self::NeverAnswer,
            "hold" => Self::Hold,
            "slow_read" => Self::SlowRead(per_second()?),
            "slow_write" => Self::SlowWrite(per_second()?),
            "reset_on_accept" => Self::ResetOnAccept,
            "reset_at" => Self::ResetAt(bytes()?),
            "close_at" => Self::CloseAt(bytes()?),
            "garbage" => Self::Garbage,
            "extra_bytes" => Self::ExtraBytes(bytes_or(16)?),
            "duplicate" => Self::Duplicate,
            "bad_framing" => Self::BadFraming(
                BadFraming::ALL
                    .into_iter()
                    .find(|(known, _)| *known == value || (value.is_empty() && *known == "cl_te"))
                    .ok_or_else(|| {
                        format!("bad_framing={value}: cl_te, bad_cl, two_cl, bad_chunk or long_cl")
                    })?
                    .1,
            ),
            "oversize_head" => Self::OversizeHead(bytes_or(1 << 20)?.min(64 << 20)),
            "endless_chunked" => Self::EndlessChunked,
            "endless_interim" => Self::EndlessInterim,
            "half_close" => Self::HalfClose,
            "flap" => Self::Flap(duration()?.max(Duration::from_millis(1))),
            "answer_after" => Self::AnswerAfter(duration()?),
            "truncate_at" => Self::TruncateAt(bytes()?),
            "bad_certificate" => Self::BadCertificate(
                BAD_CERTIFICATES
                    .into_iter()
                    .find(|(known, _)| *known == value || (value.is_empty() && *known == "untrusted"))
                    .ok_or_else(|| format!("bad_certificate={value}: untrusted, expired or name"))?
                    .1,
            ),
            "handshake_stall" => Self::HandshakeStall(bytes_or(0)?),
            "handshake_garbage" => Self::HandshakeGarbage,
            "goaway_at" => Self::GoAwayAt(bytes()?),
            "zero_window" => Self::ZeroWindow,
            "no_trailers" => Self::NoTrailers,
            _ => return Err(format!("unknown fault `{text}`; known: {NAMES}")),
        })
    }
}

pub const NAMES: &str = "none refuse blackhole never_accept accept_never_read never_answer hold slow_read=B/s \
    slow_write=B/s reset_on_accept reset_at=BYTES close_at=BYTES garbage extra_bytes=N duplicate \
    bad_framing=cl_te|bad_cl|two_cl|bad_chunk|long_cl oversize_head=BYTES endless_chunked endless_interim \
    half_close flap=DURATION answer_after=DURATION truncate_at=BYTES bad_certificate=untrusted|expired|name \
    handshake_stall=BYTES handshake_garbage goaway_at=BYTES zero_window no_trailers";

const BAD_CERTIFICATES: [(&str, Shown); 3] =
    [("untrusted", Shown::Untrusted), ("expired", Shown::Expired), ("name", Shown::Name)];

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(out, "none"),
            Self::Refuse => write!(out, "refuse"),
            Self::Blackhole => write!(out, "blackhole"),
            Self::NeverAccept => write!(out, "never_accept"),
            Self::AcceptNeverRead => write!(out, "accept_never_read"),
            Self::NeverAnswer => write!(out, "never_answer"),
            Self::Hold => write!(out, "hold"),
            Self::SlowRead(rate) => write!(out, "slow_read={rate}"),
            Self::SlowWrite(rate) => write!(out, "slow_write={rate}"),
            Self::ResetOnAccept => write!(out, "reset_on_accept"),
            Self::ResetAt(at) => write!(out, "reset_at={at}"),
            Self::CloseAt(at) => write!(out, "close_at={at}"),
            Self::Garbage => write!(out, "garbage"),
            Self::ExtraBytes(count) => write!(out, "extra_bytes={count}"),
            Self::Duplicate => write!(out, "duplicate"),
            Self::BadFraming(kind) => {
                let name =
                    BadFraming::ALL.iter().find(|(_, known)| known == kind).map_or("", |(name, _)| name);
                write!(out, "bad_framing={name}")
            }
            Self::OversizeHead(bytes) => write!(out, "oversize_head={bytes}"),
            Self::EndlessChunked => write!(out, "endless_chunked"),
            Self::EndlessInterim => write!(out, "endless_interim"),
            Self::HalfClose => write!(out, "half_close"),
            Self::Flap(every) => write!(out, "flap={}ms", every.as_millis()),
            Self::AnswerAfter(delay) => write!(out, "answer_after={}us", delay.as_micros()),
            Self::TruncateAt(at) => write!(out, "truncate_at={at}"),
            Self::BadCertificate(shown) => {
                let name = BAD_CERTIFICATES.iter().find(|(_, known)| known == shown).map_or("", |(n, _)| n);
                write!(out, "bad_certificate={name}")
            }
            Self::HandshakeStall(bytes) => write!(out, "handshake_stall={bytes}"),
            Self::HandshakeGarbage => write!(out, "handshake_garbage"),
            Self::GoAwayAt(at) => write!(out, "goaway_at={at}"),
            Self::ZeroWindow => write!(out, "zero_window"),
            Self::NoTrailers => write!(out, "no_trailers"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_reads_back_as_it_is_written() {
        for name in NAMES.split_whitespace() {
            let (name, example) = name.split_once('=').unwrap_or((name, ""));
            let values: Vec<&str> = match example {
                "" => vec![""],
                "DURATION" => vec!["3s"],
                list if list.contains('|') => list.split('|').collect(),
                _ => vec!["100"],
            };
            for value in values {
                let text = if value.is_empty() { name.to_string() } else { format!("{name}={value}") };
                let fault: Result<Fault, _> = text.parse();
                let again = fault.clone().and_then(|f| f.to_string().parse());
                assert!(fault.is_ok(), "{text}: {fault:?}");
                assert_eq!(fault, again);
            }
        }
        assert!("explode".parse::<Fault>().is_err());
        assert!("reset_at".parse::<Fault>().is_err());
    }
}
