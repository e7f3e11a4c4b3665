//! Messages between `exchange` and the wires: a client's request and the response to it ([`server`]), an upstream's request and
//! its response ([`client`]). Closed enums with one arm for each wire: another wire is one more arm in each, and `exchange`
//! does not change.
//!
//! The inner form of a message's beginning, whatever wire it came from or goes to, is the rendered HTTP/1.1 head: route,
//! edits, copies and comparison read nothing else. Content passes as blocks of bytes with free room in front and behind, so
//! that a wire can put its framing around a piece without moving it.

/// The same operation of whichever wire a client, or an upstream, is on.
macro_rules! on {
    ($message:expr, $arm:ident => $operation:expr) => {
        match $message {
            Self::Http1($arm) => $operation,
            Self::Http2($arm) => $operation,
            #[cfg(test)]
            Self::Memory($arm) => $operation,
        }
    };
}

pub mod server;
pub mod client;
pub mod conversation;
pub mod tunnel;
pub mod http1;
pub mod http2;
#[cfg(test)]
pub(crate) mod memory;

use crate::buffer::Buffers;
use crate::http1::body::Outgoing;
use crate::http1::edit::{self, Edits};
use crate::http1::framing::Framing;
use crate::http1::head::RequestHead;

/// The content that a request's head declares.
#[derive(Debug, Clone, Copy)]
pub struct Declared(Framing);

impl Declared {
    pub fn of(head: &RequestHead<'_, '_>) -> Self {
        Self(head.framing)
    }

    /// No content follows.
    pub fn is_nothing(self) -> bool {
        self.0 == Framing::None
    }

    /// Bytes of content, where the head says how many.
    pub fn length(self) -> Option<u64> {
        match self.0 {
            Framing::None => Some(0),
            Framing::Length(n) => Some(n),
            Framing::Chunked | Framing::UntilClose => None,
        }
    }

    /// How HTTP/1.1 delimits it where it goes on.
    fn outgoing(self) -> Outgoing {
        if self.0 == Framing::Chunked { Outgoing::Chunked } else { Outgoing::Plain }
    }
}

/// The bytes of a block that go on the wire for one piece of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framed {
    pub from: usize,
    pub to: usize,
    /// Nothing of the message follows it.
    pub is_end: bool,
}

/// Makes `edits` to a rendered head of a response.
fn edited(head: &mut Vec<u8>, buffers: &Buffers, edits: Edits<'_>) {
    if edits.iter().any(Option::is_some) {
        let rendered = std::mem::replace(head, buffers.medium());
        edit::response(head, &rendered, edits);
        buffers.give(rendered);
    }
}
