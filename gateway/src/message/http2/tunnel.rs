//! The ends of a tunnel on HTTP/2 wires: one stream of a connection, under its windows, which are the tunnel's back-pressure.
//! Its siblings see nothing of it.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::channel::{Asked, Channel};
use super::server::Responder;
use super::{Connection, Stream};
use crate::buffer::Buffers;
use crate::http2::frame::Code;
use crate::http2::session::{Unsent, What};
use crate::limits::SHARE_MIN_BYTES;
use crate::message::conversation::{Broken, Chunk};
use crate::time::Millis;

/// A stream of a client's connection.
#[derive(Clone, Copy)]
struct OfClient<'a> {
    connection: &'a Connection,
    stream: &'a Rc<Stream>,
}

/// A stream of a connection to an upstream.
#[derive(Clone, Copy)]
struct OfUpstream<'a> {
    channel: &'a Channel,
    asked: &'a Rc<Asked>,
}

/// The connection beneath either end.
trait Carrier {
    fn stream(&self) -> &Stream;
    /// So much was taken: the peer may send as much again.
    fn taken(&self, bytes: usize);
    fn has_room(&self) -> bool;
    fn queue(&self, what: What<'_>) -> Result<(), Unsent>;
    /// Pace and length are asked of it again, or are not.
    fn be_tunnel(&self, is_tunnel: bool);
}

impl Carrier for OfClient<'_> {
    fn stream(&self) -> &Stream {
        self.stream
    }

    fn taken(&self, bytes: usize) {
        self.connection.session.borrow_mut().taken(self.stream.id, bytes);
        self.connection.settle();
    }

    fn has_room(&self) -> bool {
        self.connection.session.borrow_mut().has_room(self.stream.id)
    }

    fn queue(&self, what: What<'_>) -> Result<(), Unsent> {
        let queued = self.connection.queue(self.stream, what);
        self.connection.settle();
        queued
    }

    fn be_tunnel(&self, is_tunnel: bool) {
        let now_ms = self.connection.now_ms();
        self.connection.session.borrow_mut().be_tunnel(self.stream.id, is_tunnel, now_ms);
    }
}

impl Carrier for OfUpstream<'_> {
    fn stream(&self) -> &Stream {
        &self.asked.stream
    }

    fn taken(&self, bytes: usize) {
        self.channel.session.borrow_mut().taken(self.asked.id.get(), bytes);
        self.channel.settle();
    }

    fn has_room(&self) -> bool {
        self.channel.session.borrow_mut().has_room(self.asked.id.get())
    }

    fn queue(&self, what: What<'_>) -> Result<(), Unsent> {
        let queued = self.channel.queue(self.asked, what);
        self.channel.settle();
        queued
    }

    fn be_tunnel(&self, is_tunnel: bool) {
        let now_ms = self.channel.now_ms();
        self.channel.session.borrow_mut().be_tunnel(self.asked.id.get(), is_tunnel, now_ms);
    }
}

pub struct ClientSource<'a>(Source<OfClient<'a>>);
pub struct ClientSink<'a>(Sink<'a, OfClient<'a>>);
pub struct UpstreamSource<'a>(Source<OfUpstream<'a>>);
pub struct UpstreamSink<'a>(Sink<'a, OfUpstream<'a>>);

struct Source<L: Carrier>(L);

struct Sink<'a, L: Carrier> {
    carrier: L,
    buffers: &'a Buffers,
}

impl<L: Carrier> Drop for Sink<'_, L> {
    /// Bytes that are still queued go at the pace of any other response, or their peer is given up.
    fn drop(&mut self) {
        self.carrier.be_tunnel(false);
    }
}

pub(in crate::message) fn of_client<'a>(responder: Responder<'a>) -> (ClientSource<'a>, ClientSink<'a>) {
    let (connection, stream, buffers) = responder.into_parts();
    let carrier = OfClient { connection, stream };
    carrier.be_tunnel(true);
    (ClientSource(Source(carrier)), ClientSink(Sink { carrier, buffers }))
}

pub(super) fn of_upstream<'a>(
    channel: &'a Channel,
    asked: &'a Rc<Asked>,
    buffers: &'a Buffers,
) -> (UpstreamSource<'a>, UpstreamSink<'a>) {
    let carrier = OfUpstream { channel, asked };
    carrier.be_tunnel(true);
    (UpstreamSource(Source(carrier)), UpstreamSink(Sink { carrier, buffers }))
}

impl<L: Carrier> Source<L> {
    async fn next(&mut self) -> Result<Option<Chunk>, Broken> {
        let stream = self.0.stream();
        let comes = poll_fn(|task| {
            if stream.waiting_bytes() > 0 {
                return Poll::Ready(Ok(true));
            }
            if stream.has_ended() {
                return Poll::Ready(Ok(false));
            }
            if stream.is_gone() {
                return Poll::Ready(Err(Broken));
            }
            stream.wait(task);
            Poll::Pending
        });
        if !comes.await? {
            return Ok(None);
        }
        let mut block = Vec::new();
        let taken = stream.swap(&mut block);
        self.0.taken(taken);
        let from = block.len() - taken;
        Ok(Some(Chunk { block, from }))
    }
}

impl<L: Carrier> Sink<'_, L> {
    async fn write(&mut self, chunk: Chunk) -> Result<(), Broken> {
        let stream = self.carrier.stream();
        let room = poll_fn(|task| {
            if stream.is_gone() {
                return Poll::Ready(Err(Broken));
            }
            if self.carrier.has_room() {
                return Poll::Ready(Ok(()));
            }
            stream.wait(task);
            Poll::Pending
        });
        room.await?;
        let Chunk { block, from } = chunk;
        let (queued, block) = if block.len() - from >= SHARE_MIN_BYTES {
            let shared = self.buffers.share(block).slice(from..);
            (self.carrier.queue(What::Content(shared)), Vec::new())
        } else {
            let piece = block.get(from..).unwrap_or_default();
            (self.carrier.queue(What::Copied(piece)), block)
        };
        self.buffers.give(block);
        queued.map_err(|_| Broken)
    }

    fn finish(&self) -> Result<(), Broken> {
        self.carrier.queue(What::End).map_err(|_| Broken)
    }
}

impl ClientSource<'_> {
    pub async fn next(&mut self) -> Result<Option<Chunk>, Broken> {
        self.0.next().await
    }
}

impl UpstreamSource<'_> {
    pub async fn next(&mut self) -> Result<Option<Chunk>, Broken> {
        self.0.next().await
    }
}

impl ClientSink<'_> {
    pub async fn write(&mut self, chunk: Chunk) -> Result<(), Broken> {
        self.0.write(chunk).await
    }

    pub async fn finish(&mut self, _: Millis) -> Result<(), Broken> {
        self.0.finish()
    }

    /// A stream that ends before its time is reset by itself, as CONNECT_ERROR has it (RFC 9113 §8.5).
    pub fn cut(&self) {
        let _ = self.0.carrier.queue(What::Reset(Code::Connect));
    }

    pub fn leave(&self) {
        let _ = self.0.carrier.queue(What::Reset(Code::Cancel));
    }
}

impl UpstreamSink<'_> {
    pub async fn write(&mut self, chunk: Chunk) -> Result<(), Broken> {
        match self.0.write(chunk).await {
            Err(Broken) if self.0.carrier.asked.is_unwanted.get() => Ok(()),
            written => written,
        }
    }

    pub async fn finish(&mut self, _: Millis) -> Result<(), Broken> {
        match self.0.finish() {
            Err(Broken) if self.0.carrier.asked.is_unwanted.get() => Ok(()),
            finished => finished,
        }
    }

    pub fn cut(&self) {
        let _ = self.0.carrier.queue(What::Reset(Code::Cancel));
    }

    pub fn leave(&self) {
        self.cut();
    }
}
