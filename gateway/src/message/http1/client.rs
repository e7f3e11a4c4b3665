//! An upstream's side of a message on HTTP/1.1: one connection carries one exchange at a time.

use std::ops::Range;

use super::server::frame;
use crate::buffer::{self, Buffers};
use crate::error::Failure;
use crate::http1::body::{self, Outgoing};
use crate::http1::head::ResponseHead;
use crate::http1::response::{Fault, Message, Reader, Step};
use crate::io::{IoBuf, ReadHalf, Stream, WriteFailed, WriteHalf};
use crate::limits::RESPONSE_BUFFER_BYTES;
use crate::message::Framed;
use crate::message::conversation::{Found, NotWritten, Rest, Terms};
use crate::time::Millis;

/// The two directions of a connection, for one exchange.
pub(in crate::message) fn converse<'a>(
    stream: &'a mut Stream,
    terms: &Terms<'a>,
) -> (Requester<'a>, Response<'a>) {
    let Stream { r, w } = stream;
    let response = Response {
        buffers: terms.buffers,
        r,
        buf: Vec::new(),
        reader: Reader::new(terms.heads, terms.to_head).to_offer(terms.offer),
        message: None,
        excess: Vec::new(),
    };
    (Requester { w, outgoing: terms.declared.outgoing() }, response)
}

pub struct Requester<'a> {
    w: &'a mut WriteHalf,
    outgoing: Outgoing,
}

impl Requester<'_> {
    pub async fn begin(&mut self, beginning: Vec<u8>, within: Millis) -> (Result<(), NotWritten>, Vec<u8>) {
        let (sent, beginning) = self.w.write_all(beginning, within).await;
        (sent.map_err(Into::into), beginning)
    }

    pub fn frame(&self, block: &mut Vec<u8>, content: Range<usize>, end: Option<&[u8]>) -> Framed {
        frame(block, content, self.outgoing, end)
    }

    pub async fn write<B: IoBuf>(
        &mut self,
        block: B,
        framed: Framed,
        within: Millis,
    ) -> (Result<(), NotWritten>, B) {
        let (sent, block) = self.w.write_range(block, framed.from, framed.to, within).await;
        (sent.map_err(Into::into), block)
    }

    pub fn limit_pending_response(&self, within: Millis) {
        self.w.limit_pending_read(within);
    }
}

impl From<WriteFailed> for NotWritten {
    fn from(failed: WriteFailed) -> Self {
        Self { failure: Failure::of(&failed.error), any_sent: failed.any_sent }
    }
}

pub struct Response<'a> {
    buffers: &'a Buffers,
    r: &'a mut ReadHalf,
    /// Read and not yet used, until the final head's content was taken.
    buf: Vec<u8>,
    reader: Reader,
    message: Option<Message>,
    /// Bytes behind the message's end.
    excess: Vec<u8>,
}

impl Response<'_> {
    pub async fn is_ready_within(&self, ms: u64) -> bool {
        self.r.is_readable_within(ms).await
    }

    pub fn head<T>(
        &mut self,
        look: impl FnOnce(&ResponseHead<'_, '_>, &[u8]) -> T,
    ) -> Result<Found<T>, Fault> {
        let buf = &self.buf;
        let (used, found) = match self.reader.head(buf, look)? {
            Step::More => return Ok(Found::More),
            Step::Interim { used, told } => (used, Found::Interim(told)),
            Step::Head { used, told, message } => {
                self.message = Some(message);
                (used, Found::Final(told))
            }
        };
        self.buf.drain(..used);
        Ok(found)
    }

    pub async fn more(&mut self, within: Millis) -> Result<(), Failure> {
        let mut buf = std::mem::take(&mut self.buf);
        if buf.capacity() == 0 {
            buf = self.buffers.medium();
        }
        let (result, buf) = self.r.read(buf, RESPONSE_BUFFER_BYTES, within).await;
        self.buf = buf;
        match result {
            Ok(0) => Err(Failure::Closed),
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::of(&error)),
        }
    }

    pub fn has_begun(&self) -> bool {
        !self.buf.is_empty() || self.reader.has_interims() || self.message.is_some()
    }

    pub fn arrived(&mut self, see: impl FnMut(&[u8])) -> Result<(), Fault> {
        let Some(message) = &mut self.message else { return Ok(()) };
        let used = message.read(&self.buf, see)?;
        self.excess.extend_from_slice(self.buf.get(used..).unwrap_or_default());
        self.buffers.give(std::mem::take(&mut self.buf));
        Ok(())
    }

    pub fn is_done(&self) -> bool {
        self.message.as_ref().is_some_and(|message| message.incoming.is_done())
    }

    pub fn trailers(&self) -> &[u8] {
        self.message.as_ref().map_or(b"", |message| message.incoming.trailers())
    }

    pub fn is_plaintext(&self) -> bool {
        self.r.is_plaintext()
    }

    pub async fn piece(
        &mut self,
        mut block: Vec<u8>,
        within: Millis,
    ) -> (Result<Range<usize>, Failure>, Vec<u8>) {
        body::make_room(&mut block);
        let room = buffer::room_bytes(&block);
        let (result, mut block) = self.r.read(block, room, within).await;
        let Some(message) = &mut self.message else { return (Err(Failure::Closed), block) };
        let content = match result {
            Ok(0) if message.incoming.ends_at_close() => {
                message.incoming.end();
                Ok(block.len()..block.len())
            }
            Ok(0) => Err(Failure::Closed),
            Ok(_) => body::decode(&mut block, &mut message.incoming, &mut self.excess)
                .map_err(|_| Failure::Protocol(Fault::BadChunk.detail())),
            Err(error) => Err(Failure::of(&error)),
        };
        (content, block)
    }

    pub fn give_up_at(&self, at_ms: u64) {
        self.r.give_up_at(at_ms);
    }

    pub fn rest(&self) -> Option<Rest> {
        let message = self.message.as_ref().filter(|message| message.keeps && self.excess.is_empty())?;
        Some(if message.withholds { Rest::Watched } else { Rest::Over })
    }
}
