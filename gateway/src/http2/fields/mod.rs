//! Converts fields of a block to the inner form of a message and back. The inner form is a rendered HTTP/1.1 head, whole, its
//! empty line included: `http1::head` parses it, and all rooms behind edit, copy, compare and redact it.
//!
//! Refuses rather than repairs, as HTTP/1.1 does here. A head that passes is read by `http1::head` as one message and no other;
//! how its content ends is told beside the head ([`Content`]), because a stream's end is no field.

pub mod inbound;
pub mod outbound;

use crate::http1::head::Fault;

/// The scheme of the connection (RFC 9113 §8.3.1). A request that says otherwise is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn text(self) -> &'static [u8] {
        match self {
            Self::Http => b"http",
            Self::Https => b"https",
        }
    }

    /// The port that an authority need not name.
    fn port(self) -> &'static [u8] {
        match self {
            Self::Http => b":80",
            Self::Https => b":443",
        }
    }
}

/// The facts of a message's content that its head tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The stream ended with the head.
    None,
    /// Content-Length, which the session holds the stream to.
    Length(u64),
    /// All content until the stream ends, perhaps none. On an HTTP/1.1 wire it is chunked from its first byte
    /// ([`say_chunked`]), and no content at all if the stream ends before one.
    UntilEnd,
}

/// A head in its inner form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The rendered HTTP/1.1 head.
    pub lines: Vec<u8>,
    /// Of a response; 0 of a request.
    pub status: u16,
    pub content: Content,
    /// Content-Length as declared, also where there is no content (HEAD, 304).
    pub length: Option<u64>,
    /// The client takes trailers (`te: trailers`), as gRPC's do; say so on the wire to the upstream.
    pub takes_trailers: bool,
    /// The request is an extended CONNECT, and the bytes behind it are no content.
    pub is_tunnel: bool,
    pub never_indexed: NeverIndexed,
}

impl Head {
    /// A response before the final one.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status)
    }
}

/// Names of fields that came never-indexed and must go on so (RFC 7541 §6.2.3), beside those that always do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NeverIndexed(Vec<u8>);

impl NeverIndexed {
    fn add(&mut self, name: &[u8]) {
        self.0.extend_from_slice(name);
        self.0.push(b'\n');
    }

    pub fn contains(&self, name: &[u8]) -> bool {
        !self.0.is_empty()
            && self.0.split(|byte| *byte == b'\n').any(|known| known == name && !known.is_empty())
    }
}

/// Why a block of good fields is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// The stream is reset with PROTOCOL_ERROR (RFC 9113 §8.1.1).
    Malformed(&'static str),
    /// The request can be answered.
    Refused(Fault),
}

/// Ends the head of an extended CONNECT with the key that HTTP/1.1 has in its handshake.
pub fn say_key(lines: &mut Vec<u8>, key: &[u8]) {
    debug_assert!(lines.ends_with(b"\r\n\r\n"), "a whole head");
    lines.truncate(lines.len().saturating_sub(2));
    lines.extend_from_slice(b"sec-websocket-key: ");
    lines.extend_from_slice(key);
    lines.extend_from_slice(b"\r\n\r\n");
}

/// The response's head to an extended CONNECT, as HTTP/1.1 opens the same tunnel.
pub fn say_switching(lines: &[u8], protocol: &str, accept: &[u8]) -> Vec<u8> {
    let fields = memchr::memmem::find(lines, b"\r\n").and_then(|at| lines.get(at + 2..)).unwrap_or_default();
    let mut said = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ".to_vec();
    said.extend_from_slice(protocol.as_bytes());
    said.extend_from_slice(b"\r\nsec-websocket-accept: ");
    said.extend_from_slice(accept);
    said.extend_from_slice(b"\r\n");
    said.extend_from_slice(fields);
    said
}

/// Ends a head of [`Content::UntilEnd`] with chunked framing, once content has come.
pub fn say_chunked(lines: &mut Vec<u8>) {
    debug_assert!(lines.ends_with(b"\r\n\r\n"), "a whole head");
    lines.truncate(lines.len().saturating_sub(2));
    lines.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
}
