//! A client's side of a message on HTTP/1.1: chunks and lengths, persistence, interim responses.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use config::Upgrade;

use crate::buffer::{self, Buffers};
use crate::http1::body::{self, Incoming, Outgoing};
use crate::http1::edit::Edits;
use crate::http1::framing::Framing;
use crate::http1::head::ResponseHead;
use crate::http1::render::{self, Opening, Persistence, ResponseFraming};
use crate::io::{ReadHalf, Stream, WriteHalf};
use crate::limits::BLOCK_BYTES;
use crate::message::conversation::{ContentFailed, Gone, Piece, Within};
use crate::message::edited;
use crate::message::{Declared, Framed};
use crate::time::Millis;

/// The facts of the request whose head fills the front of a connection's inbox.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub head_bytes: usize,
    pub declared: Declared,
    /// HTTP/1.`minor`.
    pub minor: u8,
    /// The connection may carry another request after this one.
    pub may_keep: bool,
    /// Its listener has gone, perhaps meanwhile: then it may not.
    pub is_draining: &'a Cell<bool>,
}

/// The parts of a worker that a responder uses.
#[derive(Clone, Copy)]
pub struct Worker<'a> {
    pub buffers: &'a Buffers,
    /// The Date of responses that have none.
    pub date: &'a RefCell<String>,
    /// No connection carries another request.
    pub draining: &'a Cell<bool>,
}

/// The two ends of a request whose head stands at the front of `inbox`, which was read from `stream`.
pub(in crate::message) fn ends<'a>(
    worker: Worker<'a>,
    stream: &'a mut Stream,
    inbox: &'a mut Vec<u8>,
    facts: Facts<'a>,
) -> (Content<'a>, Responder<'a>) {
    let Facts { head_bytes, declared, minor, may_keep, is_draining } = facts;
    let Stream { r, w } = stream;
    let content = Content { r, inbox, head_bytes, incoming: Incoming::new(declared.0) };
    let responder = Responder {
        worker,
        w,
        minor,
        may_keep,
        is_draining,
        out: Vec::new(),
        outgoing: Outgoing::Plain,
        has_head: false,
        has_begun: false,
        has_proceeded: false,
        keeps: false,
        ends_at_close: false,
    };
    (content, responder)
}

pub struct Content<'a> {
    r: &'a mut ReadHalf,
    inbox: &'a mut Vec<u8>,
    /// Bytes at the front of the inbox that are the head's.
    head_bytes: usize,
    incoming: Incoming,
}

impl<'a> Content<'a> {
    /// Where the client's bytes come from, and those that have come.
    pub(super) fn into_parts(self) -> (&'a mut ReadHalf, &'a mut Vec<u8>) {
        (self.r, self.inbox)
    }
}

impl Content<'_> {
    pub fn is_done(&self) -> bool {
        self.incoming.is_done()
    }

    pub fn bytes_expected(&self) -> Option<u64> {
        self.incoming.bytes_expected()
    }

    pub fn trailers(&self) -> &[u8] {
        self.incoming.trailers()
    }

    pub fn arrived(
        &mut self,
        declared: Declared,
        out: &mut Vec<u8>,
        see: impl FnMut(&[u8]),
    ) -> Result<(), ContentFailed> {
        let behind = self.inbox.get(self.head_bytes..).unwrap_or_default();
        let used = body::copy(behind, &mut self.incoming, declared.outgoing(), out, see)
            .map_err(|_| ContentFailed::Malformed)?;
        let end = std::mem::take(&mut self.head_bytes) + used;
        if end >= self.inbox.len() {
            self.inbox.clear();
        } else {
            self.inbox.drain(..end);
        }
        Ok(())
    }

    pub fn is_plaintext(&self) -> bool {
        self.r.is_plaintext()
    }

    pub async fn piece(
        &mut self,
        mut block: Vec<u8>,
        within: Millis,
    ) -> (Result<Piece, ContentFailed>, Vec<u8>) {
        body::make_room(&mut block);
        // Bytes behind the content are the client's next requests.
        let expected = self.incoming.bytes_expected().and_then(|bytes| usize::try_from(bytes).ok());
        let room = buffer::room_bytes(&block).min(expected.unwrap_or(0).max(BLOCK_BYTES));
        let (result, mut block) = self.r.read(block, room, within).await;
        let wire_bytes = match result {
            Ok(0) => return (Err(ContentFailed::Gone), block),
            Ok(n) => n,
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                return (Err(ContentFailed::Slow), block);
            }
            Err(_) => return (Err(ContentFailed::Gone), block),
        };
        match body::decode(&mut block, &mut self.incoming, self.inbox) {
            Ok(content) => (Ok(Piece { content, wire_bytes }), block),
            Err(_) => (Err(ContentFailed::Malformed), block),
        }
    }
}

pub struct Responder<'a> {
    worker: Worker<'a>,
    w: &'a mut WriteHalf,
    minor: u8,
    may_keep: bool,
    is_draining: &'a Cell<bool>,
    /// Rendered and not sent.
    out: Vec<u8>,
    outgoing: Outgoing,
    /// The final head was rendered.
    has_head: bool,
    has_begun: bool,
    has_proceeded: bool,
    keeps: bool,
    /// Only the connection's end tells this client where the response ends.
    ends_at_close: bool,
}

impl<'a> Responder<'a> {
    pub(super) fn into_parts(self) -> (&'a mut WriteHalf, &'a Buffers) {
        (self.w, self.worker.buffers)
    }
}

impl Responder<'_> {
    pub async fn proceed(&mut self, within: Within) -> Result<(), Gone> {
        self.has_proceeded = true;
        let said = b"HTTP/1.1 100 Continue\r\n\r\n".as_slice();
        // Nothing of ours may come in between, though it is given up in the middle.
        self.has_begun = true;
        let (sent, _) = self.w.write_all_by(said, within.each, within.end_ms).await;
        self.has_begun = sent.is_err();
        sent.map_err(|_| Gone)
    }

    pub fn has_proceeded(&self) -> bool {
        self.has_proceeded
    }

    pub fn interim(&mut self, head: &ResponseHead<'_, '_>) {
        // RFC 9110 §15.2: an HTTP/1.0 client gets no interim response; one it already had from us is not repeated.
        if self.minor > 0 && !(head.status == 100 && self.has_proceeded) {
            self.need_out();
            render::interim(&mut self.out, head);
        }
    }

    pub fn begin(&mut self, head: &ResponseHead<'_, '_>, may_go_on: bool, edits: Edits<'_>) {
        let (outgoing, framing) = match head.framing {
            Framing::None => (Outgoing::Plain, ResponseFraming::None(head.length)),
            Framing::Length(n) => (Outgoing::Plain, ResponseFraming::Length(n)),
            Framing::Chunked | Framing::UntilClose if self.minor == 0 => {
                (Outgoing::Plain, ResponseFraming::UntilClose)
            }
            Framing::Chunked | Framing::UntilClose => (Outgoing::Chunked, ResponseFraming::Chunked),
        };
        self.outgoing = outgoing;
        self.ends_at_close = framing == ResponseFraming::UntilClose;
        let drains = self.worker.draining.get() || self.is_draining.get();
        self.keeps = self.may_keep && may_go_on && !self.ends_at_close && !drains;
        let persistence = match (self.keeps, self.minor) {
            (false, _) => Persistence::Close,
            (true, 0) => Persistence::KeepSaid,
            (true, _) => Persistence::Keep,
        };
        self.need_out();
        render::response(&mut self.out, head, framing, persistence, self.worker.date.borrow().as_bytes());
        edited(&mut self.out, self.worker.buffers, edits);
        self.has_head = true;
    }

    pub fn switch(&mut self, head: &ResponseHead<'_, '_>, protocol: Upgrade, edits: Edits<'_>) {
        (self.outgoing, self.ends_at_close, self.keeps) = (Outgoing::Plain, false, false);
        self.need_out();
        render::switching(&mut self.out, head, Opening::Http1(protocol));
        edited(&mut self.out, self.worker.buffers, edits);
        self.has_head = true;
    }

    pub fn push(&mut self, content: &[u8]) {
        body::push(&mut self.out, self.outgoing, content);
    }

    pub fn push_end(&mut self, trailers: &[u8]) {
        body::push_end(&mut self.out, self.outgoing, trailers);
    }

    pub async fn flush(&mut self, within: Within) -> Result<(), Gone> {
        if self.out.is_empty() {
            return Ok(());
        }
        // Nothing of ours may come in between.
        self.has_begun = true;
        if self.ends_at_close {
            // Until its end is known, whatever ends it (a drain, a panic) must not look like the end.
            self.w.reset_on_close(true);
        }
        let out = std::mem::take(&mut self.out);
        let (sent, mut out) = self.w.write_all_by(out, within.each, within.end_ms).await;
        out.clear();
        if self.has_head {
            self.worker.buffers.give(out);
        } else {
            // An interim response is whole: a refusal may follow it (RFC 9110 §15.2).
            self.has_begun = sent.is_err();
            self.out = out;
        }
        sent.map_err(|_| Gone)
    }

    pub fn frame(&self, block: &mut Vec<u8>, content: Range<usize>, end: Option<&[u8]>) -> Framed {
        frame(block, content, self.outgoing, end)
    }

    pub async fn write_some(
        &mut self,
        block: Vec<u8>,
        framed: &mut Framed,
        within: Millis,
    ) -> (Result<usize, Gone>, Vec<u8>) {
        let (sent, block) = self.w.write_some(block, framed.from, framed.to, within).await;
        let sent = sent.map_err(|_| Gone);
        framed.from += sent.unwrap_or(0);
        (sent, block)
    }

    pub fn complete(&mut self) {
        if self.ends_at_close {
            self.w.reset_on_close(false);
        }
    }

    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    pub fn keeps(&self) -> bool {
        self.keeps
    }

    pub fn limit_pending_content(&self, within: Millis) {
        self.w.limit_pending_read(within);
    }

    fn need_out(&mut self) {
        if self.out.capacity() == 0 {
            self.out = self.worker.buffers.medium();
        }
    }
}

/// Puts HTTP/1.1's framing around a piece.
pub(super) fn frame(
    block: &mut Vec<u8>,
    content: Range<usize>,
    outgoing: Outgoing,
    end: Option<&[u8]>,
) -> Framed {
    let from = body::encode(block, content, outgoing, end);
    Framed { from, to: block.len(), is_end: end.is_some() }
}
