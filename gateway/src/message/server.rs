//! A request as its client's wire brings it, and what the client is told.
//!
//! Two parts that are used at the same time: [`Content`], the bytes that the client still sends, and [`Responder`], its response.

use std::ops::Range;
use std::rc::Rc;
use std::task::{Context as Task, Poll};

use config::Upgrade;

pub use super::conversation::{ContentFailed, Gone, Piece, Within};
#[cfg(test)]
use super::memory;
use super::{Declared, Framed, http1, http2, tunnel};
use crate::http1::edit::Edits;
use crate::http1::head::ResponseHead;
use crate::io::Stream;
use crate::time::Millis;

/// One request whose head is read, on its client's wire.
pub struct Message<'a> {
    pub content: Content<'a>,
    pub responder: Responder<'a>,
}

/// The content of a request, as it comes.
pub enum Content<'a> {
    Http1(http1::server::Content<'a>),
    Http2(http2::server::Content<'a>),
    #[cfg(test)]
    Memory(&'a mut memory::Content),
}

/// The way of a response to a client.
pub enum Responder<'a> {
    Http1(http1::server::Responder<'a>),
    Http2(http2::server::Responder<'a>),
    #[cfg(test)]
    Memory(&'a mut memory::Responder),
}

/// A client that may leave in the middle, where its wire tells.
#[derive(Debug)]
pub enum Leaving {
    Unseen,
    Http2(http2::server::Leaving),
}

impl Leaving {
    /// Ready when it has left.
    pub fn poll(&self, task: &Task<'_>) -> Poll<()> {
        match self {
            Self::Unseen => Poll::Pending,
            Self::Http2(leaving) => leaving.poll(task),
        }
    }
}

impl<'a> Message<'a> {
    /// The message of a request whose head stands at the front of `inbox`, which was read from `stream`.
    pub fn http1(
        worker: http1::Worker<'a>,
        stream: &'a mut Stream,
        inbox: &'a mut Vec<u8>,
        facts: http1::Facts<'a>,
    ) -> Self {
        let (content, responder) = http1::server::ends(worker, stream, inbox, facts);
        Self { content: Content::Http1(content), responder: Responder::Http1(responder) }
    }

    /// The message of a request on `stream`, whose head declares its content so; of one that asks for a tunnel (`is_tunnel`),
    /// what follows is no content.
    pub fn http2(
        worker: http2::Worker<'a>,
        connection: &'a http2::Connection,
        stream: &'a Rc<http2::Stream>,
        declared: Declared,
        is_tunnel: bool,
    ) -> Self {
        let (content, responder) = http2::server::ends(worker, connection, stream, declared, is_tunnel);
        Self { content: Content::Http2(content), responder: Responder::Http2(responder) }
    }

    /// Both ends of the tunnel that the response has opened: from the client, with the bytes that came behind its head, and
    /// to it.
    pub fn tunnel(self) -> Option<(tunnel::Source<'a>, tunnel::Sink<'a>)> {
        match (self.content, self.responder) {
            (Content::Http1(content), Responder::Http1(responder)) => {
                let (source, sink) = http1::tunnel::of_client(content, responder);
                Some((tunnel::Source::Http1(source), tunnel::Sink::Http1(sink)))
            }
            (Content::Http2(_), Responder::Http2(responder)) => {
                let (source, sink) = http2::tunnel::of_client(responder);
                Some((tunnel::Source::Http2Client(source), tunnel::Sink::Http2Client(sink)))
            }
            // Both are of one wire, and what is made of values ends with its last one.
            (Content::Http1(_) | Content::Http2(_), _) => None,
            #[cfg(test)]
            (Content::Memory(_), _) => None,
        }
    }
}

impl Content<'_> {
    /// Whether it may go on beside its response for as long as both last.
    pub fn is_duplex(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// Whether a read may fill a large block. TLS opens a bounded part at a time. Streams of HTTP/2 share a connection.
    pub fn fills_blocks(&self) -> bool {
        matches!(self, Self::Http1(arm) if arm.is_plaintext())
    }

    /// All of it was read.
    pub fn is_done(&self) -> bool {
        on!(self, arm => arm.is_done())
    }

    /// Bytes still to come, where that is known.
    pub fn bytes_expected(&self) -> Option<u64> {
        on!(self, arm => arm.bytes_expected())
    }

    /// Permitted trailer lines, each with its CRLF; empty until all of it was read.
    pub fn trailers(&self) -> &[u8] {
        on!(self, arm => arm.trailers())
    }

    /// Appends what came with the head to `out`, which holds the head for the primary: in the inner form, so that a small
    /// request is one write. Each piece is told to `see`.
    pub fn arrived(
        &mut self,
        declared: Declared,
        out: &mut Vec<u8>,
        see: impl FnMut(&[u8]),
    ) -> Result<(), ContentFailed> {
        on!(self, arm => arm.arrived(declared, out, see))
    }

    /// Reads the next piece into `block`, which is given back.
    pub async fn piece(&mut self, block: Vec<u8>, within: Millis) -> (Result<Piece, ContentFailed>, Vec<u8>) {
        on!(self, arm => arm.piece(block, within).await)
    }
}

impl Responder<'_> {
    /// Lets a client that waits send its content (RFC 9110 §10.1.1).
    pub async fn proceed(&mut self, within: Within) -> Result<(), Gone> {
        on!(self, arm => arm.proceed(within).await)
    }

    /// Whether [`Responder::proceed`] was called.
    pub fn has_proceeded(&self) -> bool {
        on!(self, arm => arm.has_proceeded())
    }

    /// Renders an interim response, if this client may see it.
    pub fn interim(&mut self, head: &ResponseHead<'_, '_>) {
        on!(self, arm => arm.interim(head));
    }

    /// Renders the final head with `edits` done to it. `may_go_on`: nothing on this exchange's side keeps the connection from
    /// carrying another request.
    pub fn begin(&mut self, head: &ResponseHead<'_, '_>, may_go_on: bool, edits: Edits<'_>) {
        on!(self, arm => arm.begin(head, may_go_on, edits));
    }

    /// Renders the head that opens a tunnel with `edits` done to it. Bytes pushed behind it are the tunnel's.
    pub fn switch(&mut self, head: &ResponseHead<'_, '_>, protocol: Upgrade, edits: Edits<'_>) {
        on!(self, arm => arm.switch(head, protocol, edits));
    }

    /// Appends content that came with the head to what was rendered.
    pub fn push(&mut self, content: &[u8]) {
        on!(self, arm => arm.push(content));
    }

    /// Appends the end of the message to what was rendered.
    pub fn push_end(&mut self, trailers: &[u8]) {
        on!(self, arm => arm.push_end(trailers));
    }

    /// Sends what was rendered, in one write.
    pub async fn flush(&mut self, within: Within) -> Result<(), Gone> {
        on!(self, arm => arm.flush(within).await)
    }

    /// Puts this wire's framing around a piece in its block, and the message's end behind it where `end` has trailers.
    pub fn frame(&self, block: &mut Vec<u8>, content: Range<usize>, end: Option<&[u8]>) -> Framed {
        on!(self, arm => arm.frame(block, content, end))
    }

    /// Sends as much of `framed` as the client takes at once, and moves its front; says how many bytes.
    pub async fn write_some(
        &mut self,
        block: Vec<u8>,
        framed: &mut Framed,
        within: Millis,
    ) -> (Result<usize, Gone>, Vec<u8>) {
        on!(self, arm => arm.write_some(block, framed, within).await)
    }

    /// The whole response was sent.
    pub fn complete(&mut self) {
        on!(self, arm => arm.complete());
    }

    /// The client was sent a part of a response of which the rest is owed: it can be told nothing else.
    pub fn has_begun(&self) -> bool {
        on!(self, arm => arm.has_begun())
    }

    /// Whether the connection may carry another request behind the response that was begun.
    pub fn keeps(&self) -> bool {
        on!(self, arm => arm.keeps())
    }

    /// Whether the client leaves, to be asked beside the exchange.
    pub fn leaving(&self) -> Leaving {
        match self {
            // Seen where it is read from or written to.
            Self::Http1(_) => Leaving::Unseen,
            Self::Http2(responder) => Leaving::Http2(responder.leaving()),
            #[cfg(test)]
            Self::Memory(_) => Leaving::Unseen,
        }
    }

    /// Bounds a pending wait for the client's content, from now.
    pub fn limit_pending_content(&self, within: Millis) {
        on!(self, arm => arm.limit_pending_content(within));
    }
}
