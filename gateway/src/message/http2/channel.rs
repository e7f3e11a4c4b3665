//! One connection to an upstream on which many exchanges go at once: their shared state, and how each of them hears what
//! became of its own. Decisions are `crate::http2`'s; bytes go through `called`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::stream::{NEVER, Stream};
use super::tally::{Part, Tally};
use super::wait;
use crate::buffer::Buffers;
use crate::error::Failure;
use crate::http2::fields::outbound::Manner;
use crate::http2::fields::{Head, NeverIndexed, Scheme};
use crate::http2::frame::Code;
use crate::http2::guard::Limits;
use crate::http2::session::{Close, Event, Role, Session, Unopened, Unsent, What, Why};
use crate::io::{self, NotCalled, Sweeper};
use crate::tls::session::Facts;

/// Places on a connection whose peer has not said how many it takes.
const PLACES_AT_FIRST: usize = 100;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It is made, or the peer has not introduced itself.
    Calling,
    Open,
    Over,
}

/// The outcome of a call.
#[derive(Debug)]
pub enum Called {
    Open,
    /// The peer chose HTTP/1.1.
    Plain(io::Stream),
    /// The peer chose HTTP/1.1, and another exchange has the connection.
    PlainForAnother,
    /// `Some` is told to one of the exchanges that waited.
    Failed(Failure, Option<NotCalled>),
}

/// One connection to an upstream.
pub struct Channel {
    pub(super) session: RefCell<Session>,
    phase: Cell<Phase>,
    limits: Limits,
    /// Exchanges that have a place, whether their stream is open yet or not.
    places: Cell<usize>,
    /// Exchanges that had one.
    served: Cell<u64>,
    /// It was idle, and no response has begun since.
    has_rested: Cell<bool>,
    /// No more of them.
    retires: Cell<bool>,
    /// Those that have a stream, by its id, which only grows.
    asked: RefCell<Vec<Rc<Asked>>>,
    /// Why it is over.
    failure: Cell<Failure>,
    plain: Cell<Option<io::Stream>>,
    not_called: Cell<Option<NotCalled>>,
    facts: Cell<Option<Facts>>,
    is_plain: Cell<bool>,
    callers: RefCell<Vec<Waker>>,
    writer: Cell<Option<Waker>>,
    /// Nothing more is read or written.
    is_cut: Cell<bool>,
    /// Its part of all connections to its upstream.
    pub(super) part: Part,
    pub(super) buffers: Rc<Buffers>,
    pub(super) sweeper: Rc<Sweeper>,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel")
            .field("phase", &self.phase)
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

/// One request under way, as both its directions see it.
pub(super) struct Asked {
    /// 0 until it is open.
    pub(super) id: Cell<u32>,
    /// Content that came and is not taken, and the deadline for more.
    pub(super) stream: Stream,
    /// Heads that came and were not looked at; the session bounds how many may.
    pub(super) heads: RefCell<VecDeque<Head>>,
    /// A head came.
    pub(super) has_begun: Cell<bool>,
    /// Why nothing more comes.
    pub(super) failure: Cell<Option<Failure>>,
    /// The upstream had said all, and then that it wants no more: NO_ERROR, RFC 9113 §8.1.
    pub(super) is_unwanted: Cell<bool>,
    /// The response is waited for.
    pub(super) is_awaited: Cell<bool>,
    /// When both directions are given up, in the worker's milliseconds.
    pub(super) end_ms: Cell<u64>,
}

impl Asked {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            id: Cell::new(0),
            stream: Stream::new(0, false),
            heads: RefCell::default(),
            has_begun: Cell::new(false),
            failure: Cell::new(None),
            is_unwanted: Cell::new(false),
            is_awaited: Cell::new(false),
            end_ms: Cell::new(NEVER),
        })
    }

    /// Nothing more comes, and nothing more goes.
    fn fail(&self, failure: Failure) {
        self.failure.set(self.failure.get().or(Some(failure)));
        self.stream.go(false);
    }

    fn tick(&self, now_ms: u64) {
        self.stream.tick(now_ms);
        if self.end_ms.get() <= now_ms {
            self.stream.wake();
        }
    }
}

impl Channel {
    pub(super) fn new(
        scheme: Scheme,
        limits: Limits,
        tally: &Rc<Tally>,
        buffers: &Rc<Buffers>,
        sweeper: &Rc<Sweeper>,
    ) -> Rc<Self> {
        Rc::new(Self {
            session: Session::new(Role::Client, scheme, limits, sweeper.now_ms()).into(),
            phase: Cell::new(Phase::Calling),
            limits,
            places: Cell::new(0),
            served: Cell::new(0),
            has_rested: Cell::new(false),
            retires: Cell::new(false),
            asked: RefCell::default(),
            failure: Cell::new(Failure::Closed),
            plain: Cell::default(),
            not_called: Cell::default(),
            facts: Cell::default(),
            is_plain: Cell::new(false),
            callers: RefCell::default(),
            writer: Cell::default(),
            is_cut: Cell::new(false),
            part: Part::of(tally),
            buffers: Rc::clone(buffers),
            sweeper: Rc::clone(sweeper),
        })
    }

    /// Exchanges that may be on it at once; those that are, where it takes no more.
    pub fn capacity(&self) -> usize {
        match self.phase.get() {
            Phase::Calling => self.limits.streams_max.min(PLACES_AT_FIRST),
            Phase::Open if self.takes_more() => self.session.borrow().streams_allowed(),
            Phase::Open => self.places.get(),
            Phase::Over => 0,
        }
    }

    /// Whether it takes another exchange, now or when one has ended.
    pub fn takes_more(&self) -> bool {
        let takes = match self.phase.get() {
            Phase::Calling => true,
            Phase::Open => !self.is_cut.get() && self.session.borrow().takes_streams(),
            Phase::Over => false,
        };
        takes && !self.retires.get()
    }

    pub fn has_room(&self) -> bool {
        self.takes_more() && self.places.get() < self.capacity()
    }

    /// More have a place on it than its peer takes.
    pub fn is_overfull(&self) -> bool {
        self.places.get() > self.capacity()
    }

    pub fn is_idle(&self) -> bool {
        self.phase.get() == Phase::Open && self.places.get() == 0
    }

    /// Its peer may be ending it just now, for want of anything to do: no exchange was on it, and it has answered none since.
    pub fn may_be_stale(&self) -> bool {
        self.has_rested.get()
    }

    pub fn is_over(&self) -> bool {
        self.phase.get() == Phase::Over
    }

    /// How its handshake came out, once.
    pub fn take_facts(&self) -> Option<Facts> {
        self.facts.take()
    }

    /// No more exchanges: it ends with those that are on it.
    pub fn retire(&self) {
        self.retires.set(true);
        self.has_changed();
        self.end_if_left();
    }

    fn end_if_left(&self) {
        if self.retires.get() && self.places.get() == 0 {
            if self.phase.get() == Phase::Calling {
                return self.cut(Failure::Closed);
            }
            self.session.borrow_mut().drain(self.now_ms());
            self.settle();
        }
    }

    /// One exchange more has a place; returns how many had one before it.
    pub(super) fn enter(&self) -> u64 {
        self.places.set(self.places.get() + 1);
        self.say_standing();
        let served = self.served.get();
        self.served.set(served + 1);
        if served + 1 >= self.limits.streams_total_max {
            self.retires.set(true);
            self.has_changed();
        }
        served
    }

    pub(super) fn leave(&self) {
        self.places.set(self.places.get().saturating_sub(1));
        self.has_rested.set(self.has_rested.get() || self.places.get() == 0);
        // A connection that no exchange takes is closed.
        self.plain.set(self.plain.take().filter(|_| self.places.get() > 0));
        self.say_standing();
        if !self.takes_more() {
            self.has_changed();
        }
        self.end_if_left();
    }

    /// Until the call has come to something.
    pub async fn called(&self) -> Called {
        poll_fn(|task| {
            if self.phase.get() == Phase::Calling {
                let mut callers = self.callers.borrow_mut();
                if !callers.iter().any(|known| known.will_wake(task.waker())) {
                    callers.push(task.waker().clone());
                }
                return Poll::Pending;
            }
            Poll::Ready(match (self.phase.get(), self.is_plain.get()) {
                (Phase::Open, _) => Called::Open,
                (_, true) => self.plain.take().map_or(Called::PlainForAnother, Called::Plain),
                (_, false) => Called::Failed(self.failure.get(), self.not_called.take()),
            })
        })
        .await
    }

    fn has_become(&self, phase: Phase) {
        self.phase.set(phase);
        self.has_changed();
        self.callers.take().into_iter().for_each(Waker::wake);
    }

    pub(super) fn is_calling(&self) -> bool {
        self.phase.get() == Phase::Calling
    }

    pub(super) fn shook(&self, facts: Option<Facts>) {
        self.facts.set(facts);
    }

    pub(super) fn is_not_called(&self, why: NotCalled) {
        self.failure.set(match &why {
            _ if why.is_late() => Failure::ConnectTimeout,
            NotCalled::Wire(_) => Failure::Connect,
            NotCalled::Tls(fault) => Failure::Tls(*fault),
        });
        self.not_called.set(Some(why));
        self.has_become(Phase::Over);
    }

    pub(super) fn is_http1(&self, stream: io::Stream) {
        self.plain.set(Some(stream).filter(|_| self.places.get() > 0));
        self.is_plain.set(true);
        self.has_become(Phase::Over);
    }

    /// Takes bytes that came, all of them.
    pub(super) fn feed(&self, bytes: &[u8]) {
        self.session.borrow_mut().feed(bytes, self.now_ms());
        self.deliver(bytes);
    }

    /// Nothing more is read or written: every exchange with a stream is told why.
    pub(super) fn cut(&self, failure: Failure) {
        self.is_cut.set(true);
        self.end(failure);
    }

    fn end(&self, failure: Failure) {
        if self.phase.get() != Phase::Over {
            self.failure.set(failure);
            self.has_become(Phase::Over);
            self.asked.borrow().iter().for_each(|asked| asked.fail(failure));
        }
        self.wake_writer();
    }

    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.get()
    }

    /// Whether bytes that come are still looked at.
    pub(super) fn listens(&self) -> bool {
        !self.is_cut.get() && !self.session.borrow().is_closed()
    }

    pub(super) fn rest(&self) {
        let mut session = self.session.borrow_mut();
        if session.streams() == 0 {
            session.trim();
        }
    }

    /// The next bytes to the upstream; `None` when there will be none any more. `spare` is empty.
    pub(super) async fn output(&self, spare: Vec<u8>) -> Option<Vec<u8>> {
        let mut spare = Some(spare);
        let out = poll_fn(|task| {
            let mut session = self.session.borrow_mut();
            if self.is_cut.get() {
                return Poll::Ready(None);
            }
            if session.has_output() {
                return Poll::Ready(Some(session.take(spare.take().unwrap_or_default(), self.now_ms())));
            }
            if session.is_closed() {
                return Poll::Ready(None);
            }
            wait(&self.writer, task);
            Poll::Pending
        })
        .await;
        self.settle();
        out
    }

    /// Sends a request's head; with a `protocol` as an extended CONNECT for it.
    pub(super) fn open(
        &self,
        asked: &Rc<Asked>,
        lines: &[u8],
        protocol: Option<&'static str>,
        end: bool,
    ) -> Result<(), Failure> {
        if self.phase.get() == Phase::Over {
            return Err(self.failure.get());
        }
        let never_indexed = &NeverIndexed::default();
        let mut session = self.session.borrow_mut();
        // Trailers are read on every response, and passed on where the client can have them.
        let manner =
            Manner { scheme: session.scheme(), takes_trailers: protocol.is_none(), protocol, never_indexed };
        let id = session.open(lines, &manner, end, self.now_ms()).map_err(|why| match why {
            Unopened::Full | Unopened::Draining => Failure::Refused,
            Unopened::Inexpressible(_) => Failure::Protocol("the request cannot be said in HTTP/2"),
        })?;
        drop(session);
        asked.id.set(id);
        self.asked.borrow_mut().push(Rc::clone(asked));
        Ok(())
    }

    pub(super) fn queue(&self, asked: &Asked, what: What<'_>) -> Result<(), Unsent> {
        self.session.borrow_mut().queue(asked.id.get(), what, self.now_ms())
    }

    /// The exchange of a stream has ended, however.
    pub(super) fn release(&self, asked: &Asked) {
        if asked.id.get() == 0 {
            return;
        }
        self.session.borrow_mut().release(asked.id.get());
        asked.stream.give_back(&self.buffers);
        self.asked.borrow_mut().retain(|held| held.id != asked.id);
        self.settle();
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.sweeper.now_ms()
    }

    pub(super) fn tick(&self) {
        let now_ms = self.now_ms();
        self.session.borrow_mut().tick(now_ms);
        self.settle();
        self.asked.borrow().iter().for_each(|asked| asked.tick(now_ms));
    }

    /// Tells every stream its news, where no bytes came.
    pub(super) fn settle(&self) {
        self.deliver(b"");
    }

    fn deliver(&self, fed: &[u8]) {
        loop {
            let event = self.session.borrow_mut().next_event();
            let Some(event) = event else { break };
            match event {
                Event::Head { stream, head, end } => self.with(stream, |asked| {
                    self.has_rested.set(false);
                    asked.has_begun.set(true);
                    asked.heads.borrow_mut().push_back(head);
                    if end {
                        asked.stream.ended(Vec::new());
                    }
                    asked.stream.wake();
                }),
                Event::Data { stream, at, len, end } => {
                    let content = fed.get(at..at + len).unwrap_or_default();
                    self.with(stream, |asked| asked.stream.came(content, end, &self.buffers));
                }
                Event::Trailers { stream, lines, .. } => {
                    self.with(stream, |asked| asked.stream.ended(lines));
                }
                Event::Reset { stream, why } => self.with(stream, |asked| {
                    asked.is_unwanted.set(asked.stream.has_ended() && why == Why::Peer(Code::NoError));
                    asked.fail(failure_of(why, asked.has_begun.get()));
                }),
                Event::Room { stream } | Event::Flushed { stream } => {
                    self.with(stream, |asked| asked.stream.wake());
                }
                Event::StreamsChanged => {
                    self.has_changed();
                    if self.phase.get() == Phase::Calling {
                        self.has_become(Phase::Open);
                    }
                }
                // Of the other role.
                Event::Refused { .. } | Event::Malformed { .. } => {}
                Event::Closed(close) => self.end(match close {
                    Close::Done | Close::Lifeless => Failure::Closed,
                    Close::Fault { .. } if self.is_calling() => {
                        Failure::Protocol("the upstream does not speak HTTP/2")
                    }
                    Close::Fault { why, .. } => Failure::Protocol(why),
                    Close::Flood(_) => Failure::Protocol("the upstream flooded its connection"),
                }),
            }
        }
        if self.session.borrow().has_output() {
            self.wake_writer();
        }
    }

    fn with(&self, id: u32, act: impl FnOnce(&Asked)) {
        let asked = self.asked.borrow();
        if let Ok(at) = asked.binary_search_by_key(&id, |asked| asked.id.get())
            && let Some(asked) = asked.get(at)
        {
            act(asked);
        }
    }

    fn wake_writer(&self) {
        self.writer.take().into_iter().for_each(Waker::wake);
    }
}

fn failure_of(why: Why, has_begun: bool) -> Failure {
    match why {
        Why::Unprocessed => Failure::Refused,
        Why::Peer(Code::RefusedStream) if !has_begun => Failure::Refused,
        Why::Peer(_) => Failure::StreamReset,
        Why::Malformed(why) => Failure::Protocol(why),
        Why::Stalled => Failure::Timeout,
    }
}
