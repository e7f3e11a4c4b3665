//! An upstream's side of a message on HTTP/2: a request under the upstream's windows, a response under ours.

use std::cell::RefCell;
use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::task::Poll;

use super::channel::{Asked, Channel};
use super::stream::NEVER;
use super::tunnel::{self, UpstreamSink, UpstreamSource};
use crate::buffer::Buffers;
use crate::error::Failure;
use crate::http1::body::{HEADROOM, Incoming};
use crate::http1::head::{ResponseHead, with_response};
use crate::http1::offer::Offer;
use crate::http1::response::{Fault, HeadLimits};
use crate::http2::fields::{self, say_chunked};
use crate::http2::session::{Unsent, What};
use crate::io::{IoBuf, initialized};
use crate::limits::TICK_MS;
use crate::message::conversation::{Found, NotWritten, Rest, Terms};
use crate::message::{Declared, Framed};
use crate::time::Millis;

/// One exchange's place on a connection. Dropping it gives up what is under way.
pub struct Place {
    channel: Rc<Channel>,
    asked: Rc<Asked>,
    is_first: bool,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl Place {
    pub fn on(channel: &Rc<Channel>) -> Self {
        let is_first = channel.enter() == 0;
        Self { channel: Rc::clone(channel), asked: Asked::new(), is_first }
    }

    pub fn channel(&self) -> &Rc<Channel> {
        &self.channel
    }

    /// No exchange had a place on the connection before.
    pub fn is_first(&self) -> bool {
        self.is_first
    }

    /// It carries one exchange: nothing is kept of it, but the connection.
    pub fn is_quiet(&self) -> bool {
        false
    }

    pub fn clear_deadlines(&self) {}

    /// The peer takes extended CONNECT (RFC 8441).
    pub fn takes_tunnels(&self) -> bool {
        self.channel.session.borrow().takes_extended_connect()
    }

    pub(in crate::message) fn tunnel<'a>(
        &'a self,
        buffers: &'a Buffers,
    ) -> (UpstreamSource<'a>, UpstreamSink<'a>) {
        tunnel::of_upstream(&self.channel, &self.asked, buffers)
    }

    pub(in crate::message) fn converse<'a>(&'a mut self, terms: &Terms<'a>) -> (Requester<'a>, Response<'a>) {
        let (channel, asked) = (&*self.channel, &self.asked);
        let requester = Requester {
            has_ended: false,
            channel,
            asked,
            declared: terms.declared,
            offer: terms.offer,
            end: RefCell::default(),
        };
        let response = Response {
            channel,
            asked,
            heads: terms.heads,
            to_head: terms.to_head,
            offer: terms.offer,
            has_head: false,
            is_done: false,
            trailers: Vec::new(),
        };
        (requester, response)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.channel.release(&self.asked);
        self.channel.leave();
    }
}

pub struct Requester<'a> {
    channel: &'a Channel,
    asked: &'a Rc<Asked>,
    declared: Declared,
    offer: Option<Offer>,
    /// Trailers of a request whose end is known and not sent.
    end: RefCell<Option<Vec<u8>>>,
    /// The end went with the beginning: nothing follows it.
    has_ended: bool,
}

impl Requester<'_> {
    pub async fn begin(&mut self, beginning: Vec<u8>, _: Millis) -> (Result<(), NotWritten>, Vec<u8>) {
        let said = self.say(&beginning);
        (said.map(|has_ended| self.has_ended = has_ended), beginning)
    }

    /// The beginning is in the inner form: its content is framed as HTTP/1.1 would have it. Whether all of it is said.
    fn say(&self, beginning: &[u8]) -> Result<bool, NotWritten> {
        let unsaid = |failure| NotWritten { failure, any_sent: false };
        let head_bytes = memchr::memmem::find(beginning, b"\r\n\r\n").map_or(beginning.len(), |at| at + 4);
        let (lines, framed) = beginning.split_at(head_bytes);
        if let Some(offer) = self.offer {
            debug_assert!(framed.is_empty(), "a tunnel begins with the response");
            let protocol = Some(offer.protocol.as_str());
            self.channel.open(self.asked, lines, protocol, false).map_err(unsaid)?;
            self.channel.settle();
            return Ok(false);
        }
        let mut incoming = Incoming::new(self.declared.0);
        let mut content = Vec::new();
        let read = incoming.read(framed, |piece| content.extend_from_slice(piece));
        if read.is_err() {
            debug_assert!(false, "content that was framed here");
            return Err(unsaid(Failure::Protocol("the request cannot be said in HTTP/2")));
        }
        let end = incoming.is_done().then(|| incoming.trailers());
        let has_ended = end.is_some();
        let ends_with_head = content.is_empty() && end.is_some_and(<[u8]>::is_empty);
        self.channel.open(self.asked, lines, None, ends_with_head).map_err(unsaid)?;
        if !content.is_empty() {
            let _ = self.channel.queue(self.asked, What::Content(content.into()));
        }
        if let Some(trailers) = end.filter(|_| !ends_with_head) {
            let _ = self.send_end(trailers);
        }
        // Content that cannot go because the stream is over is told with the response.
        self.channel.settle();
        Ok(has_ended)
    }

    fn send_end(&self, trailers: &[u8]) -> Result<(), Unsent> {
        let end = if trailers.is_empty() { What::End } else { What::Trailers(trailers) };
        self.channel.queue(self.asked, end)
    }

    pub fn frame(&self, _: &mut Vec<u8>, content: Range<usize>, end: Option<&[u8]>) -> Framed {
        if let Some(trailers) = end {
            self.end.replace(Some(trailers.to_vec()));
        }
        Framed { from: content.start, to: content.end, is_end: end.is_some() }
    }

    pub async fn write<B: IoBuf>(
        &mut self,
        block: B,
        framed: Framed,
        within: Millis,
    ) -> (Result<(), NotWritten>, B) {
        if self.has_ended {
            debug_assert!(framed.from == framed.to, "content behind the end");
            return (Ok(()), block);
        }
        if let Err(failure) = self.has_room(within).await {
            return (Err(NotWritten { failure, any_sent: true }), block);
        }
        let piece = initialized(&block).get(framed.from..framed.to).unwrap_or_default();
        let queued =
            self.channel.queue(self.asked, What::Copied(piece)).and_then(|()| match self.end.take() {
                Some(trailers) => self.send_end(&trailers),
                None => Ok(()),
            });
        self.channel.settle();
        let failure = || self.asked.failure.get().unwrap_or(Failure::Reset);
        (queued.map_err(|_| NotWritten { failure: failure(), any_sent: true }), block)
    }

    /// Until the upstream took so much of what is queued that more may be.
    async fn has_room(&self, within: Millis) -> Result<(), Failure> {
        let (channel, asked) = (self.channel, &**self.asked);
        let stream = &asked.stream;
        stream.room_by_ms.set(by(channel, within));
        let room = poll_fn(|task| {
            if stream.is_gone() {
                return Poll::Ready(Err(asked.failure.get().unwrap_or(Failure::Closed)));
            }
            if channel.session.borrow_mut().has_room(asked.id.get()) {
                return Poll::Ready(Ok(()));
            }
            if stream.room_by_ms.get().min(asked.end_ms.get()) <= channel.now_ms() {
                return Poll::Ready(Err(Failure::Timeout));
            }
            stream.wait(task);
            Poll::Pending
        })
        .await;
        stream.room_by_ms.set(NEVER);
        room
    }

    pub fn limit_pending_response(&self, within: Millis) {
        if self.asked.is_awaited.get() {
            let content_by = &self.asked.stream.content_by_ms;
            content_by.set(content_by.get().min(by(self.channel, within)));
        }
    }
}

pub struct Response<'a> {
    channel: &'a Channel,
    asked: &'a Rc<Asked>,
    heads: HeadLimits,
    to_head: bool,
    offer: Option<Offer>,
    /// The final head was looked at.
    has_head: bool,
    is_done: bool,
    trailers: Vec<u8>,
}

impl Response<'_> {
    pub async fn is_ready_within(&self, ms: u64) -> bool {
        self.comes(Millis(ms), || !self.asked.heads.borrow().is_empty()).await != Err(Failure::Timeout)
    }

    pub fn head<T>(
        &mut self,
        look: impl FnOnce(&ResponseHead<'_, '_>, &[u8]) -> T,
    ) -> Result<Found<T>, Fault> {
        let Some(mut head) = self.asked.heads.borrow_mut().pop_front() else { return Ok(Found::More) };
        let is_interim = head.is_interim();
        if let Some(offer) = self.offer.filter(|_| (200..300).contains(&head.status)) {
            // The same in HTTP/1.1's words, as the inner form has it.
            head.lines = fields::say_switching(&head.lines, offer.protocol.as_str(), &offer.accept);
            head.status = 101;
        }
        let has_none = is_interim || self.to_head || head.status == 204 || head.status == 304;
        if !has_none && head.length.is_none() {
            say_chunked(&mut head.lines);
        }
        // One of them is ours.
        let fields_max = self.heads.fields_max + 1;
        let told = with_response(&head.lines, fields_max, self.to_head, |of| look(of, &head.lines));
        let told = told.map_err(Fault::Malformed)?;
        self.channel.session.borrow_mut().recycle(head.lines);
        if is_interim {
            return Ok(Found::Interim(told));
        }
        self.has_head = true;
        Ok(Found::Final(told))
    }

    pub async fn more(&mut self, within: Millis) -> Result<(), Failure> {
        self.comes(within, || !self.asked.heads.borrow().is_empty()).await
    }

    pub fn has_begun(&self) -> bool {
        self.asked.has_begun.get()
    }

    pub fn arrived(&mut self, see: impl FnMut(&[u8])) -> Result<(), Fault> {
        let taken = self.asked.stream.show(see);
        self.took(taken);
        Ok(())
    }

    pub fn is_done(&self) -> bool {
        self.is_done
    }

    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    pub async fn piece(
        &mut self,
        mut block: Vec<u8>,
        within: Millis,
    ) -> (Result<Range<usize>, Failure>, Vec<u8>) {
        let stream = &self.asked.stream;
        let came = self.comes(within, || stream.waiting_bytes() > 0 || stream.has_ended()).await;
        if let Err(failure) = came {
            return (Err(failure), block);
        }
        let taken = self.asked.stream.swap(&mut block);
        self.took(taken);
        (Ok(HEADROOM..HEADROOM + taken), block)
    }

    /// Waits until `has_come`; bytes that have come count, however the stream ended behind them.
    async fn comes(&self, within: Millis, has_come: impl Fn() -> bool) -> Result<(), Failure> {
        let (channel, asked) = (self.channel, &**self.asked);
        let stream = &asked.stream;
        stream.content_by_ms.set(by(channel, within));
        asked.is_awaited.set(true);
        let came = poll_fn(|task| {
            if has_come() {
                return Poll::Ready(Ok(()));
            }
            if stream.is_gone() {
                return Poll::Ready(Err(asked.failure.get().unwrap_or(Failure::Closed)));
            }
            if stream.content_by_ms.get().min(asked.end_ms.get()) <= channel.now_ms() {
                return Poll::Ready(Err(Failure::Timeout));
            }
            stream.wait(task);
            Poll::Pending
        })
        .await;
        asked.is_awaited.set(false);
        stream.content_by_ms.set(NEVER);
        came
    }

    /// So much was taken: the upstream may send as much again.
    fn took(&mut self, bytes: usize) {
        if bytes > 0 {
            self.channel.session.borrow_mut().taken(self.asked.id.get(), bytes);
            self.channel.settle();
        }
        if !self.is_done
            && self.has_head
            && self.asked.stream.has_ended()
            && self.asked.stream.waiting_bytes() == 0
        {
            self.is_done = true;
            self.trailers = self.asked.stream.take_trailers();
        }
    }

    pub fn give_up_at(&self, at_ms: u64) {
        self.asked.end_ms.set(at_ms);
    }

    /// The connection has other places, and this one ends with its exchange.
    pub fn rest(&self) -> Option<Rest> {
        (self.is_done && !self.asked.stream.is_gone()).then_some(Rest::Over)
    }
}

/// One tick late rather than early, as those of sockets are.
fn by(channel: &Channel, within: Millis) -> u64 {
    if within == Millis::FOREVER {
        NEVER
    } else {
        channel.now_ms().saturating_add(within.0.saturating_add(TICK_MS))
    }
}
