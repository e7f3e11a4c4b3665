//! The ends of a tunnel on HTTP/1.1 wires: the connection itself, behind the heads that opened it.

use super::server::{Content, Responder};
use crate::buffer::Buffers;
use crate::io::{Idle, ReadHalf, Stream, WriteHalf};
use crate::limits::{BLOCK_BYTES, PARK_MS, RESPONSE_BUFFER_BYTES};
use crate::message::conversation::{Broken, Chunk};
use crate::time::Millis;

pub struct Source<'a> {
    r: &'a mut ReadHalf,
    buffers: &'a Buffers,
    /// Came before the tunnel was one.
    first: Vec<u8>,
    /// Bytes that the next read may bring.
    room: usize,
}

pub struct Sink<'a> {
    w: &'a mut WriteHalf,
    buffers: &'a Buffers,
}

pub(in crate::message) fn of_upstream<'a>(
    stream: &'a mut Stream,
    buffers: &'a Buffers,
) -> (Source<'a>, Sink<'a>) {
    let Stream { r, w } = stream;
    ends(r, w, buffers, Vec::new())
}

pub(in crate::message) fn of_client<'a>(
    content: Content<'a>,
    responder: Responder<'a>,
) -> (Source<'a>, Sink<'a>) {
    let (r, inbox) = content.into_parts();
    let (w, buffers) = responder.into_parts();
    ends(r, w, buffers, std::mem::take(inbox))
}

fn ends<'a>(
    r: &'a mut ReadHalf,
    w: &'a mut WriteHalf,
    buffers: &'a Buffers,
    first: Vec<u8>,
) -> (Source<'a>, Sink<'a>) {
    (Source { r, buffers, first, room: RESPONSE_BUFFER_BYTES }, Sink { w, buffers })
}

impl Source<'_> {
    pub async fn next(&mut self) -> Result<Option<Chunk>, Broken> {
        let first = std::mem::take(&mut self.first);
        if !first.is_empty() {
            return Ok(Some(Chunk { block: first, from: 0 }));
        }
        self.buffers.give(first);
        loop {
            let is_large = self.room > RESPONSE_BUFFER_BYTES;
            let block = if is_large { self.buffers.block() } else { self.buffers.medium() };
            let (read, block) = self.r.read_or_park(block, self.room, Millis(PARK_MS)).await;
            if let Ok(Idle::Read(n @ 1..)) = read {
                // An end that fills a small one has more to say.
                self.room = if n == self.room { BLOCK_BYTES } else { RESPONSE_BUFFER_BYTES };
                return Ok(Some(Chunk { block, from: 0 }));
            }
            self.buffers.give(block);
            match read {
                Ok(Idle::Read(_)) => return Ok(None),
                Ok(Idle::Parked) => self.r.readable().await.map_err(|_| Broken)?,
                Err(_) => return Err(Broken),
            }
            self.room = RESPONSE_BUFFER_BYTES;
        }
    }
}

impl Sink<'_> {
    pub async fn write(&mut self, chunk: Chunk) -> Result<(), Broken> {
        let Chunk { block, from } = chunk;
        let to = block.len();
        let (sent, block) = self.w.write_range(block, from, to, Millis::FOREVER).await;
        self.buffers.give(block);
        sent.map_err(|_| Broken)
    }

    pub async fn finish(&mut self, within: Millis) -> Result<(), Broken> {
        self.w.finish(within).await;
        Ok(())
    }

    /// Nothing to do: a close says by itself that no more comes.
    pub fn leave(&self) {}

    pub fn cut(&self) {
        self.w.reset_on_close(true);
    }
}
