//! A client's side of a message on HTTP/2: content under its window, a response under the client's.

use std::cell::RefCell;
use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context as Task, Poll};

use config::Upgrade;

use super::stream::NEVER;
use super::{Connection, Stream};
use crate::buffer::Buffers;
use crate::http1::body::{self, HEADROOM};
use crate::http1::edit::Edits;
use crate::http1::framing::Framing;
use crate::http1::head::ResponseHead;
use crate::http1::render::{self, Opening, Persistence, ResponseFraming};
use crate::http2::fields::NeverIndexed;
use crate::http2::frame::Code;
use crate::http2::session::{Unsent, What};
use crate::limits::{SHARE_MIN_BYTES, TICK_MS};
use crate::message::conversation::{ContentFailed, Gone, Piece, Within};
use crate::message::edited;
use crate::message::{Declared, Framed};
use crate::time::Millis;

/// The parts of a worker that a responder uses.
#[derive(Clone, Copy)]
pub struct Worker<'a> {
    pub buffers: &'a Buffers,
    /// The Date of responses that have none.
    pub date: &'a RefCell<String>,
}

/// The two ends of a request on `stream`, whose head declares its content so; of one that asks for a tunnel (`is_tunnel`), no
/// content follows.
pub(in crate::message) fn ends<'a>(
    worker: Worker<'a>,
    connection: &'a Connection,
    stream: &'a Rc<Stream>,
    declared: Declared,
    is_tunnel: bool,
) -> (Content<'a>, Responder<'a>) {
    let is_done = is_tunnel || stream.has_ended() && stream.waiting_bytes() == 0;
    let content = Content {
        connection,
        stream,
        left: declared.length(),
        is_done,
        trailers: if is_done && !is_tunnel { stream.take_trailers() } else { Vec::new() },
    };
    let responder = Responder {
        worker,
        connection,
        stream,
        head: Vec::new(),
        content: Vec::new(),
        end: RefCell::default(),
        has_begun: false,
        has_proceeded: false,
        keeps: false,
    };
    (content, responder)
}

pub struct Content<'a> {
    connection: &'a Connection,
    stream: &'a Stream,
    /// Bytes still to come, where they were declared.
    left: Option<u64>,
    is_done: bool,
    trailers: Vec<u8>,
}

impl Content<'_> {
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    pub fn bytes_expected(&self) -> Option<u64> {
        if self.is_done { Some(0) } else { self.left }
    }

    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    pub fn arrived(
        &mut self,
        declared: Declared,
        out: &mut Vec<u8>,
        mut see: impl FnMut(&[u8]),
    ) -> Result<(), ContentFailed> {
        if self.is_done {
            // Without content, but perhaps with the end of some.
            body::push_end(out, declared.outgoing(), &self.trailers);
            return Ok(());
        }
        let taken = self.stream.show(|content| {
            see(content);
            body::push(out, declared.outgoing(), content);
        });
        self.took(taken);
        if self.is_done {
            body::push_end(out, declared.outgoing(), &self.trailers);
        }
        Ok(())
    }

    pub async fn piece(
        &mut self,
        mut block: Vec<u8>,
        within: Millis,
    ) -> (Result<Piece, ContentFailed>, Vec<u8>) {
        let (connection, stream) = (self.connection, self.stream);
        stream.content_by_ms.set(deadline(connection, within));
        let came = poll_fn(|task| {
            if stream.is_gone() {
                return Poll::Ready(Err(ContentFailed::Gone));
            }
            if stream.waiting_bytes() > 0 || stream.has_ended() {
                return Poll::Ready(Ok(()));
            }
            if stream.content_by_ms.get() <= connection.now_ms() {
                return Poll::Ready(Err(ContentFailed::Slow));
            }
            stream.wait(task);
            Poll::Pending
        })
        .await;
        stream.content_by_ms.set(NEVER);
        if let Err(failed) = came {
            return (Err(failed), block);
        }
        let taken = stream.swap(&mut block);
        self.took(taken);
        (Ok(Piece { content: HEADROOM..HEADROOM + taken, wire_bytes: taken }), block)
    }

    /// So much was taken: the client may send as much again, as soon as it is asked for more.
    fn took(&mut self, bytes: usize) {
        self.left = self.left.map(|left| left.saturating_sub(bytes as u64));
        if bytes > 0 {
            self.connection.session.borrow_mut().taken(self.stream.id, bytes);
            self.connection.settle();
        }
        if self.stream.has_ended() {
            self.is_done = true;
            self.trailers = self.stream.take_trailers();
        }
    }
}

pub struct Responder<'a> {
    worker: Worker<'a>,
    connection: &'a Connection,
    stream: &'a Rc<Stream>,
    /// The final head, rendered and not sent, and the content that came with it.
    head: Vec<u8>,
    content: Vec<u8>,
    /// Trailers of a message whose end is known and not sent.
    end: RefCell<Option<Vec<u8>>>,
    has_begun: bool,
    has_proceeded: bool,
    keeps: bool,
}

impl<'a> Responder<'a> {
    pub(super) fn into_parts(self) -> (&'a Connection, &'a Rc<Stream>, &'a Buffers) {
        (self.connection, self.stream, self.worker.buffers)
    }
}

impl Responder<'_> {
    pub async fn proceed(&mut self, _: Within) -> Result<(), Gone> {
        self.has_proceeded = true;
        self.say_interim(b"HTTP/1.1 100 Continue\r\n\r\n");
        self.connection.settle();
        self.is_there()
    }

    pub fn has_proceeded(&self) -> bool {
        self.has_proceeded
    }

    pub fn interim(&mut self, head: &ResponseHead<'_, '_>) {
        // One it already had from us is not repeated.
        if head.status == 100 && self.has_proceeded {
            return;
        }
        let mut lines = self.worker.buffers.small();
        render::interim(&mut lines, head);
        self.say_interim(&lines);
        self.worker.buffers.give(lines);
    }

    pub fn begin(&mut self, head: &ResponseHead<'_, '_>, may_go_on: bool, edits: Edits<'_>) {
        let framing = match head.framing {
            Framing::None => ResponseFraming::None(head.length),
            Framing::Length(n) => ResponseFraming::Length(n),
            // The stream's end is the content's.
            Framing::Chunked | Framing::UntilClose => ResponseFraming::UntilClose,
        };
        self.keeps = may_go_on;
        self.head = self.worker.buffers.medium();
        let date = self.worker.date.borrow();
        render::response(&mut self.head, head, framing, Persistence::Keep, date.as_bytes());
        edited(&mut self.head, self.worker.buffers, edits);
    }

    pub fn switch(&mut self, head: &ResponseHead<'_, '_>, _: Upgrade, edits: Edits<'_>) {
        self.keeps = false;
        self.head = self.worker.buffers.medium();
        render::switching(&mut self.head, head, Opening::Http2);
        edited(&mut self.head, self.worker.buffers, edits);
    }

    pub fn push(&mut self, content: &[u8]) {
        self.content.extend_from_slice(content);
    }

    pub fn push_end(&mut self, trailers: &[u8]) {
        self.end.replace(Some(trailers.to_vec()));
    }

    pub async fn flush(&mut self, _: Within) -> Result<(), Gone> {
        if self.head.is_empty() {
            self.connection.settle();
            return self.is_there();
        }
        self.has_begun = true;
        let head = std::mem::take(&mut self.head);
        let content = std::mem::take(&mut self.content);
        let sent = self.send_head(&head, content);
        self.worker.buffers.give(head);
        self.connection.settle();
        sent.map_err(|_| Gone)
    }

    fn send_head(&self, head: &[u8], content: Vec<u8>) -> Result<(), Unsent> {
        let ends_with_head =
            content.is_empty() && self.end.borrow().as_ref().is_some_and(|trailers| trailers.is_empty());
        let never_indexed = &NeverIndexed::default();
        self.connection.queue(self.stream, What::Head { lines: head, never_indexed, end: ends_with_head })?;
        if ends_with_head {
            self.end.take();
            return Ok(());
        }
        self.connection.queue(self.stream, What::Content(content.into()))?;
        self.send_end()
    }

    /// Ends the message, if its end is known and not sent.
    fn send_end(&self) -> Result<(), Unsent> {
        match self.end.take() {
            None => Ok(()),
            Some(trailers) if trailers.is_empty() => self.connection.queue(self.stream, What::End),
            Some(trailers) => self.connection.queue(self.stream, What::Trailers(&trailers)),
        }
    }

    pub fn frame(&self, _: &mut Vec<u8>, content: Range<usize>, end: Option<&[u8]>) -> Framed {
        if let Some(trailers) = end {
            self.end.replace(Some(trailers.to_vec()));
        }
        Framed { from: content.start, to: content.end, is_end: end.is_some() }
    }

    pub async fn write_some(
        &mut self,
        block: Vec<u8>,
        framed: &mut Framed,
        within: Millis,
    ) -> (Result<usize, Gone>, Vec<u8>) {
        if self.has_room(within).await.is_err() {
            return (Err(Gone), block);
        }
        let (from, to) = (framed.from, framed.to);
        let (queued, block) = if to - from >= SHARE_MIN_BYTES {
            let shared = self.worker.buffers.share(block).slice(from..to);
            (self.connection.queue(self.stream, What::Content(shared)), self.worker.buffers.block())
        } else {
            let piece = block.get(from..to).unwrap_or_default();
            (self.connection.queue(self.stream, What::Copied(piece)), block)
        };
        framed.from = to;
        let queued = queued.and_then(|()| if framed.is_end { self.send_end() } else { Ok(()) });
        self.connection.settle();
        (queued.map(|()| to - from).map_err(|_| Gone), block)
    }

    /// Until the client took so much of what is queued that more may be. One that does not is given up.
    async fn has_room(&self, within: Millis) -> Result<(), Gone> {
        let (connection, stream) = (self.connection, &**self.stream);
        stream.room_by_ms.set(deadline(connection, within));
        let room = poll_fn(|task| {
            if stream.is_gone() {
                return Poll::Ready(Err(Gone));
            }
            if connection.session.borrow_mut().has_room(stream.id) {
                return Poll::Ready(Ok(()));
            }
            if stream.room_by_ms.get() <= connection.now_ms() {
                // It is told, and what is queued is let go.
                let _ = connection.queue(stream, What::Reset(Code::Cancel));
                return Poll::Ready(Err(Gone));
            }
            stream.wait(task);
            Poll::Pending
        })
        .await;
        stream.room_by_ms.set(NEVER);
        room
    }

    pub fn complete(&mut self) {
        // An end that came behind the last of the content.
        let _ = self.send_end();
        self.connection.settle();
    }

    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    pub fn keeps(&self) -> bool {
        self.keeps
    }

    pub fn limit_pending_content(&self, within: Millis) {
        let by = &self.stream.content_by_ms;
        if by.get() != NEVER {
            by.set(by.get().min(deadline(self.connection, within)));
        }
    }

    pub fn leaving(&self) -> Leaving {
        Leaving(Rc::clone(self.stream))
    }

    fn say_interim(&self, lines: &[u8]) {
        // A stream that is over hears nothing, and that shows where the response is sent.
        let never_indexed = &NeverIndexed::default();
        let _ = self.connection.queue(self.stream, What::Head { lines, never_indexed, end: false });
    }

    fn is_there(&self) -> Result<(), Gone> {
        if self.stream.is_gone() { Err(Gone) } else { Ok(()) }
    }
}

/// A client that may leave in the middle.
#[derive(Debug)]
pub struct Leaving(Rc<Stream>);

impl Leaving {
    /// Ready when it has.
    pub fn poll(&self, task: &Task<'_>) -> Poll<()> {
        if self.0.is_left() {
            return Poll::Ready(());
        }
        self.0.wait(task);
        Poll::Pending
    }
}

/// Answers with a whole response in the inner form, head and content.
pub fn own_response(connection: &Connection, stream: &Stream, response: &[u8]) -> Result<(), Gone> {
    let head_bytes = memchr::memmem::find(response, b"\r\n\r\n").map_or(response.len(), |at| at + 4);
    let (lines, content) = response.split_at(head_bytes);
    let never_indexed = &NeverIndexed::default();
    let head = What::Head { lines, never_indexed, end: content.is_empty() };
    let mut sent = connection.queue(stream, head);
    if !content.is_empty() {
        sent = sent.and_then(|()| connection.queue(stream, What::Copied(content)));
        sent = sent.and_then(|()| connection.queue(stream, What::End));
    }
    connection.settle();
    sent.map_err(|_| Gone)
}

impl Connection {
    /// Until all of a response was written, or will not be: whether it was.
    pub async fn is_answered(&self, stream: &Stream) -> bool {
        poll_fn(|task| {
            let mut session = self.session.borrow_mut();
            if session.has_ended(stream.id) {
                return Poll::Ready(true);
            }
            if stream.is_gone() || session.is_flushed(stream.id) {
                return Poll::Ready(false);
            }
            stream.wait(task);
            Poll::Pending
        })
        .await
    }

    /// Until the first byte of a request's content has come or its end. May be given up.
    pub async fn is_known_by_content(&self, stream: &Stream) {
        poll_fn(|task| {
            if stream.is_gone() || stream.has_ended() || stream.waiting_bytes() > 0 {
                return Poll::Ready(());
            }
            stream.wait(task);
            Poll::Pending
        })
        .await;
    }
}

/// One tick late rather than early, as those of sockets are.
fn deadline(connection: &Connection, within: Millis) -> u64 {
    if within == Millis::FOREVER {
        NEVER
    } else {
        connection.now_ms().saturating_add(within.0.saturating_add(TICK_MS))
    }
}
