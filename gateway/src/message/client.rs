//! A request on its way to an upstream, and the upstream's response.
//!
//! The pool keeps a [`Line`] for each place on a connection. For one exchange it becomes a [`Requester`], which is told the
//! request, and a [`Response`], which is read at the same time.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

pub use super::conversation::{Found, NotWritten, Rest, Terms};
#[cfg(test)]
use super::memory;
use super::{Framed, http1, http2, tunnel};
use crate::address::Address;
use crate::buffer::Buffers;
use crate::error::Failure;
use crate::http1::head::ResponseHead;
use crate::http1::response::Fault;
use crate::io::{IoBuf, NotCalled, Stream, Sweeper, Turn};
use crate::time::Millis;
use crate::tls::Callee;
use crate::tls::session::Facts;

/// One place on a connection to an upstream's endpoint.
#[derive(Debug)]
pub enum Line {
    Http1(Stream),
    Http2(http2::Place),
    #[cfg(test)]
    Memory(memory::Line),
}

/// The way of a request to an upstream.
pub enum Requester<'a> {
    Http1(http1::client::Requester<'a>),
    Http2(http2::client::Requester<'a>),
    #[cfg(test)]
    Memory(memory::Requester),
}

/// The way of a response from an upstream.
pub enum Response<'a> {
    Http1(http1::client::Response<'a>),
    Http2(http2::client::Response<'a>),
    #[cfg(test)]
    Memory(memory::Response),
}

impl Line {
    /// Connects to a primary on HTTP/1.1 within `within`, over TLS where it is a `callee`; `Some` is how its handshake came out.
    pub async fn connect(
        address: Address,
        callee: Option<&Callee>,
        within: Duration,
        sweeper: &Rc<Sweeper>,
    ) -> Result<(Self, Option<Facts>), NotCalled> {
        #[cfg(test)]
        if let Some(line) = memory::Line::to(address) {
            return Ok((Self::Memory(line), None));
        }
        let called = Stream::call(address, callee, Turn::Primary, within, sweeper).await;
        called.map(|(stream, facts)| (Self::Http1(stream), facts))
    }

    /// Whether it can carry a request: still open, and the upstream has said nothing since. Does not wait.
    pub fn is_quiet(&self) -> bool {
        on!(self, line => line.is_quiet())
    }

    /// It is a place on a connection that others have places on.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// Whether it can carry a tunnel.
    pub fn takes_tunnels(&self) -> bool {
        match self {
            Self::Http1(_) => true,
            Self::Http2(place) => place.takes_tunnels(),
            #[cfg(test)]
            Self::Memory(_) => false,
        }
    }

    /// Both ends of a tunnel, once the upstream's response has opened it: from the upstream and to it.
    pub fn tunnel<'a>(&'a mut self, buffers: &'a Buffers) -> Option<(tunnel::Source<'a>, tunnel::Sink<'a>)> {
        match self {
            Self::Http1(stream) => {
                let (source, sink) = http1::tunnel::of_upstream(stream, buffers);
                Some((tunnel::Source::Http1(source), tunnel::Sink::Http1(sink)))
            }
            Self::Http2(place) => {
                let (source, sink) = place.tunnel(buffers);
                Some((tunnel::Source::Http2Upstream(source), tunnel::Sink::Http2Upstream(sink)))
            }
            #[cfg(test)]
            Self::Memory(_) => None,
        }
    }

    /// Forgets all deadlines: nothing is under way.
    pub fn clear_deadlines(&self) {
        on!(self, line => line.clear_deadlines());
    }

    /// Its two directions, for one exchange.
    pub fn converse<'a>(&'a mut self, terms: &Terms<'a>) -> (Requester<'a>, Response<'a>) {
        match self {
            Self::Http1(stream) => {
                let (requester, response) = http1::client::converse(stream, terms);
                (Requester::Http1(requester), Response::Http1(response))
            }
            Self::Http2(place) => {
                let (requester, response) = place.converse(terms);
                (Requester::Http2(requester), Response::Http2(response))
            }
            #[cfg(test)]
            Self::Memory(line) => {
                let (requester, response) = line.converse(terms);
                (Requester::Memory(requester), Response::Memory(response))
            }
        }
    }
}

impl Requester<'_> {
    /// Sends the beginning of a request: its head and what of its content came with it, in the inner form. Gives it back.
    pub async fn begin(&mut self, beginning: Vec<u8>, within: Millis) -> (Result<(), NotWritten>, Vec<u8>) {
        on!(self, arm => arm.begin(beginning, within).await)
    }

    /// Puts this wire's framing around a piece in its block, and the message's end behind it where `end` has trailers.
    pub fn frame(&self, block: &mut Vec<u8>, content: Range<usize>, end: Option<&[u8]>) -> Framed {
        on!(self, arm => arm.frame(block, content, end))
    }

    /// Sends all of `framed`; gives the block back.
    pub async fn write<B: IoBuf>(
        &mut self,
        block: B,
        framed: Framed,
        within: Millis,
    ) -> (Result<(), NotWritten>, B) {
        on!(self, arm => arm.write(block, framed, within).await)
    }

    /// Bounds a pending wait for the response, from now.
    pub fn limit_pending_response(&self, within: Millis) {
        on!(self, arm => arm.limit_pending_response(within));
    }
}

impl Response<'_> {
    /// Whether something of it can be read within `ms`; consumes nothing.
    pub async fn is_ready_within(&self, ms: u64) -> bool {
        on!(self, arm => arm.is_ready_within(ms).await)
    }

    /// Looks for the next head in what was read; `look` is shown it and its bytes.
    pub fn head<T>(
        &mut self,
        look: impl FnOnce(&ResponseHead<'_, '_>, &[u8]) -> T,
    ) -> Result<Found<T>, Fault> {
        on!(self, arm => arm.head(look))
    }

    /// Reads more.
    pub async fn more(&mut self, within: Millis) -> Result<(), Failure> {
        on!(self, arm => arm.more(within).await)
    }

    /// At least a byte of it came.
    pub fn has_begun(&self) -> bool {
        on!(self, arm => arm.has_begun())
    }

    /// Tells `see` the content that came with the final head, piece by piece.
    pub fn arrived(&mut self, see: impl FnMut(&[u8])) -> Result<(), Fault> {
        on!(self, arm => arm.arrived(see))
    }

    /// All of it was read.
    pub fn is_done(&self) -> bool {
        on!(self, arm => arm.is_done())
    }

    /// Permitted trailer lines, each with its CRLF; empty until all of it was read.
    pub fn trailers(&self) -> &[u8] {
        on!(self, arm => arm.trailers())
    }

    /// Reads the next piece into `block`, which is given back; says where its content stands.
    pub async fn piece(
        &mut self,
        block: Vec<u8>,
        within: Millis,
    ) -> (Result<Range<usize>, Failure>, Vec<u8>) {
        on!(self, arm => arm.piece(block, within).await)
    }

    /// Whether a read may fill a large block. TLS opens a bounded part at a time. Streams of HTTP/2 share a connection.
    pub fn fills_blocks(&self) -> bool {
        matches!(self, Self::Http1(arm) if arm.is_plaintext())
    }

    /// Whether a response that has begun may go on beside its request for as long as both last, and a wait that was in vain
    /// may be taken up again.
    pub fn is_duplex(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// Ends whatever is under way at `at_ms` of the worker's clock.
    pub fn give_up_at(&self, at_ms: u64) {
        on!(self, arm => arm.give_up_at(at_ms));
    }

    /// Whether the line may serve another exchange behind this response, and after what; `None` where it may not: the
    /// upstream ends it, or bytes came that belong to no message.
    pub fn rest(&self) -> Option<Rest> {
        on!(self, arm => arm.rest())
    }
}
