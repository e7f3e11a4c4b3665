//! HTTP/1.1 as bytes: heads, framing, chunked bodies. Pure: knows no socket, no clock, no load.

pub mod body;
pub mod chunked;
pub mod head;

/// How the end of a body is known (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// Why bytes are not the message they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Not a head at all.
    Head,
    /// More header fields or bytes than are accepted.
    HeadTooLarge,
    /// Both Content-Length and Transfer-Encoding, lengths that differ or are no numbers, unknown codings.
    Framing,
    /// A chunk that breaks its own grammar.
    Chunk,
}

impl Bad {
    pub fn label(self) -> &'static str {
        match self {
            Self::Head => "bad_head",
            Self::HeadTooLarge => "head_too_large",
            Self::Framing => "bad_framing",
            Self::Chunk => "bad_chunk",
        }
    }
}

/// Heads above this are refused.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Header fields above this are refused.
pub const HEAD_FIELDS_MAX: usize = 100;
