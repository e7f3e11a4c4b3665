//! HTTP/2 as meant: the protocols of a listener, and the bounds on the cost of one client connection. Plain data.

use std::time::Duration;

/// An entry of `protocols` of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http2,
    Http1,
}

impl Protocol {
    pub const ALL: [Self; 2] = [Self::Http2, Self::Http1];

    /// The word a file uses for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http2 => "h2",
            Self::Http1 => "http1",
        }
    }
}

/// `protocol` of an upstream, as a primary and as a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamProtocol {
    Http1,
    /// In plaintext with prior knowledge.
    Http2,
    /// Whichever of both it chooses in the handshake, HTTP/2 if it can.
    Alpn,
}

impl UpstreamProtocol {
    pub const ALL: [Self; 3] = [Self::Http1, Self::Http2, Self::Alpn];

    /// The word a file uses for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "h2",
            Self::Alpn => "alpn",
        }
    }
}

/// Protocols of a listener: one at least. Over TLS the client chooses by ALPN, in plaintext by the first bytes it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocols {
    pub http2: bool,
    pub http1: bool,
}

impl Protocols {
    pub const BOTH: Self = Self { http2: true, http1: true };
    pub const HTTP1: Self = Self { http2: false, http1: true };
}

impl Default for Protocols {
    /// The protocols of a listener without TLS.
    fn default() -> Self {
        Self::HTTP1
    }
}

/// Limits of one HTTP/2 connection of a client. A limit that no honest client reaches ends the connection with GOAWAY when it is
/// reached, and is counted by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http2 {
    /// Requests under way on one connection; more are refused, and may be sent again.
    pub streams_max: usize,
    /// Requests under way per worker from one IPv4 address or one IPv6 /64, over all its HTTP/2 connections; more are
    /// answered 429.
    pub streams_per_address_max: usize,
    /// Content that one stream may send before its primary takes it.
    pub stream_window_bytes: u32,
    /// Content of one stream, with 32 bytes for each frame of it; `None` is unlimited.
    pub stream_bytes_max: Option<u64>,
    /// A response's content queued on one stream, beyond which no more is read from its primary.
    pub queued_bytes_max: usize,
    /// Frames in which one head, or one trailer section, may come.
    pub block_frames_max: u32,
    /// Requests that a client may cancel, or have reset, beyond those that its answered requests pay for.
    pub resets_max: u32,
    /// Requests answered for each further reset.
    pub requests_per_reset: u32,
    /// SETTINGS in ten seconds.
    pub settings_max: u32,
    /// Answers to PING and SETTINGS that wait until the client reads.
    pub answers_unsent_max: u32,
    /// Bytes of frames that ask for nothing: at once, and again each second.
    pub idle_bytes_max: u64,
    pub idle_bytes_per_second: u64,
    /// Silence with requests under way, after which a PING asks whether the client is there.
    pub ping_after: Duration,
    /// Until that PING is answered.
    pub ping_timeout: Duration,
}
