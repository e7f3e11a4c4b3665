//! A wire that is none, for tests: messages made of values. It shows that a wire is an arm here and nothing in `exchange`.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Poll, Waker};

use config::Upgrade;

use super::conversation::{ContentFailed, Found, Gone, NotWritten, Piece, Rest, Terms, Within};
use super::{Declared, Framed};
use crate::address::Address;
use crate::error::Failure;
use crate::http1::body;
use crate::http1::edit::Edits;
use crate::http1::head::ResponseHead;
use crate::http1::response::{Fault, Reader, Step};
use crate::io::IoBuf;
use crate::time::Millis;

/// A request's content: pieces that are all there.
#[derive(Debug, Default)]
pub struct Content {
    pub pieces: VecDeque<Vec<u8>>,
    pub trailers: Vec<u8>,
}

impl Content {
    pub(super) fn is_done(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(super) fn bytes_expected(&self) -> Option<u64> {
        Some(self.pieces.iter().map(|piece| piece.len() as u64).sum())
    }

    pub(super) fn trailers(&self) -> &[u8] {
        if self.is_done() { &self.trailers } else { b"" }
    }

    pub(super) fn arrived(
        &mut self,
        _: Declared,
        _: &mut Vec<u8>,
        _: impl FnMut(&[u8]),
    ) -> Result<(), ContentFailed> {
        Ok(())
    }

    pub(super) async fn piece(
        &mut self,
        mut block: Vec<u8>,
        _: Millis,
    ) -> (Result<Piece, ContentFailed>, Vec<u8>) {
        let Some(piece) = self.pieces.pop_front() else { return (Err(ContentFailed::Gone), block) };
        body::make_room(&mut block);
        let from = block.len();
        block.extend_from_slice(&piece);
        (Ok(Piece { content: from..block.len(), wire_bytes: piece.len() }), block)
    }
}

/// The words that a client was told, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    Proceed,
    Interim(u16),
    Head(u16),
    Content(Vec<u8>),
    End(Vec<u8>),
    Complete,
}

#[derive(Debug, Default)]
pub struct Responder {
    pub sent: Vec<Sent>,
    keeps: bool,
}

impl Responder {
    pub(super) async fn proceed(&mut self, _: Within) -> Result<(), Gone> {
        self.sent.push(Sent::Proceed);
        Ok(())
    }

    pub(super) fn has_proceeded(&self) -> bool {
        self.sent.contains(&Sent::Proceed)
    }

    pub(super) fn interim(&mut self, head: &ResponseHead<'_, '_>) {
        self.sent.push(Sent::Interim(head.status));
    }

    pub(super) fn begin(&mut self, head: &ResponseHead<'_, '_>, may_go_on: bool, _: Edits<'_>) {
        self.keeps = may_go_on;
        self.sent.push(Sent::Head(head.status));
    }

    pub(super) fn switch(&mut self, head: &ResponseHead<'_, '_>, _: Upgrade, _: Edits<'_>) {
        self.sent.push(Sent::Head(head.status));
    }

    pub(super) fn push(&mut self, content: &[u8]) {
        self.sent.push(Sent::Content(content.to_vec()));
    }

    pub(super) fn push_end(&mut self, trailers: &[u8]) {
        self.sent.push(Sent::End(trailers.to_vec()));
    }

    pub(super) async fn flush(&mut self, _: Within) -> Result<(), Gone> {
        Ok(())
    }

    pub(super) fn frame(&self, block: &mut Vec<u8>, content: Range<usize>, end: Option<&[u8]>) -> Framed {
        frame(block, content, end)
    }

    pub(super) async fn write_some(
        &mut self,
        block: Vec<u8>,
        framed: &mut Framed,
        _: Millis,
    ) -> (Result<usize, Gone>, Vec<u8>) {
        self.sent.push(Sent::Content(block[framed.from..framed.to].to_vec()));
        if framed.is_end {
            self.sent.push(Sent::End(Vec::new()));
        }
        let n = framed.to - framed.from;
        framed.from = framed.to;
        (Ok(n), block)
    }

    pub(super) fn complete(&mut self) {
        self.sent.push(Sent::Complete);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.sent.iter().any(|sent| matches!(sent, Sent::Head(_)))
    }

    pub(super) fn keeps(&self) -> bool {
        self.keeps
    }

    pub(super) fn limit_pending_content(&self, _: Millis) {}
}

/// Values need no framing.
fn frame(_: &mut Vec<u8>, content: Range<usize>, end: Option<&[u8]>) -> Framed {
    Framed { from: content.start, to: content.end, is_end: end.is_some() }
}

/// A response: its heads in the inner form, its content in pieces.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) heads: &'static str,
    pub(crate) pieces: Vec<&'static str>,
}

/// The request that an upstream in memory was sent, and its response.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) answer: Answer,
    /// Each request in the inner form, as far as it came.
    pub(crate) requests: RefCell<Vec<Vec<u8>>>,
}

thread_local! {
    static UPSTREAMS: RefCell<HashMap<SocketAddr, Rc<Upstream>>> = RefCell::default();
}

impl Upstream {
    /// One that is reached at `address` on this thread.
    pub(crate) fn at(address: SocketAddr, answer: Answer) -> Rc<Self> {
        let upstream = Rc::new(Self { answer, requests: RefCell::default() });
        UPSTREAMS.with_borrow_mut(|all| all.insert(address, Rc::clone(&upstream)));
        upstream
    }
}

#[derive(Debug)]
pub struct Line(Rc<Upstream>);

impl Line {
    pub(super) fn to(address: Address) -> Option<Self> {
        let address = address.ip()?;
        UPSTREAMS.with_borrow(|all| all.get(&address).cloned()).map(Self)
    }

    pub(super) fn is_quiet(&self) -> bool {
        true
    }

    pub(super) fn clear_deadlines(&self) {}

    pub(super) fn converse(&mut self, terms: &Terms<'_>) -> (Requester, Response) {
        let exchange = Rc::new(Exchange { upstream: Rc::clone(&self.0), ..Exchange::default() });
        self.0.requests.borrow_mut().push(Vec::new());
        let response = Response {
            exchange: Rc::clone(&exchange),
            reader: Reader::new(terms.heads, terms.to_head),
            heads: Vec::new(),
            pieces: self.0.answer.pieces.iter().copied().collect(),
            has_head: false,
        };
        (Requester { exchange, declared: terms.declared }, response)
    }
}

impl Default for Upstream {
    fn default() -> Self {
        Self { answer: Answer { heads: "", pieces: Vec::new() }, requests: RefCell::default() }
    }
}

/// The state that the two directions of one exchange share.
#[derive(Debug, Default)]
struct Exchange {
    upstream: Rc<Upstream>,
    is_asked: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Exchange {
    fn take(&self, bytes: &[u8], is_end: bool) {
        if let Some(last) = self.upstream.requests.borrow_mut().last_mut() {
            last.extend_from_slice(bytes);
        }
        if is_end {
            self.is_asked.set(true);
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
    }
}

pub struct Requester {
    exchange: Rc<Exchange>,
    declared: Declared,
}

impl Requester {
    pub(super) async fn begin(&mut self, beginning: Vec<u8>, _: Millis) -> (Result<(), NotWritten>, Vec<u8>) {
        let head = memchr::memmem::find(&beginning, b"\r\n\r\n").map_or(0, |at| at + 4);
        let content = (beginning.len() - head) as u64;
        self.exchange.take(&beginning, self.declared.length() == Some(content));
        (Ok(()), beginning)
    }

    pub(super) fn frame(&self, block: &mut Vec<u8>, content: Range<usize>, end: Option<&[u8]>) -> Framed {
        frame(block, content, end)
    }

    pub(super) async fn write<B: IoBuf>(
        &mut self,
        block: B,
        framed: Framed,
        _: Millis,
    ) -> (Result<(), NotWritten>, B) {
        // SAFETY: the buffer has so many initialized bytes, and stands still while `block` is here.
        let bytes = unsafe { std::slice::from_raw_parts(block.read_ptr(), block.bytes_init()) };
        self.exchange.take(&bytes[framed.from..framed.to], framed.is_end);
        (Ok(()), block)
    }

    pub(super) fn limit_pending_response(&self, _: Millis) {}
}

pub struct Response {
    exchange: Rc<Exchange>,
    reader: Reader,
    heads: Vec<u8>,
    pieces: VecDeque<&'static str>,
    has_head: bool,
}

impl Response {
    pub(super) async fn is_ready_within(&self, _: u64) -> bool {
        self.exchange.is_asked.get()
    }

    pub(super) fn head<T>(
        &mut self,
        look: impl FnOnce(&ResponseHead<'_, '_>, &[u8]) -> T,
    ) -> Result<Found<T>, Fault> {
        let (used, found) = match self.reader.head(&self.heads, look)? {
            Step::More => return Ok(Found::More),
            Step::Interim { used, told } => (used, Found::Interim(told)),
            Step::Head { used, told, .. } => {
                self.has_head = true;
                (used, Found::Final(told))
            }
        };
        self.heads.drain(..used);
        Ok(found)
    }

    pub(super) async fn more(&mut self, _: Millis) -> Result<(), Failure> {
        poll_fn(|cx| {
            if self.exchange.is_asked.get() {
                return Poll::Ready(());
            }
            *self.exchange.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        self.heads.extend_from_slice(self.exchange.upstream.answer.heads.as_bytes());
        Ok(())
    }

    pub(super) fn has_begun(&self) -> bool {
        self.has_head
    }

    pub(super) fn arrived(&mut self, _: impl FnMut(&[u8])) -> Result<(), Fault> {
        Ok(())
    }

    pub(super) fn is_done(&self) -> bool {
        self.has_head && self.pieces.is_empty()
    }

    pub(super) fn trailers(&self) -> &[u8] {
        b""
    }

    pub(super) async fn piece(
        &mut self,
        mut block: Vec<u8>,
        _: Millis,
    ) -> (Result<Range<usize>, Failure>, Vec<u8>) {
        let Some(piece) = self.pieces.pop_front() else { return (Err(Failure::Closed), block) };
        body::make_room(&mut block);
        let from = block.len();
        block.extend_from_slice(piece.as_bytes());
        (Ok(from..block.len()), block)
    }

    pub(super) fn give_up_at(&self, _: u64) {}

    pub(super) fn rest(&self) -> Option<Rest> {
        Some(Rest::Over)
    }
}
