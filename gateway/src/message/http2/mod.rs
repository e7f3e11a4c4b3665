//! The arm of messages on HTTP/2 wires, and the shared state of one connection's streams. Decisions are `crate::http2`'s; bytes
//! go through the tasks that read and write the connection.
//!
//! A [`Connection`] is held by its reader, its writer and a task per stream. Each calls the session for a moment and never
//! across an await; what happens to a stream wakes the one task that waits for it.

pub(super) mod client;
pub(super) mod server;
mod called;
mod channel;
mod cost;
mod stream;
mod tally;
mod standing;
pub(super) mod tunnel;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;

use slab::Slab;

use crate::buffer::Buffers;
use crate::http1::head::Fault;
use crate::http2::fields::{Head, Scheme};
use crate::http2::frame::Code;
use crate::http2::guard::{Flood, Limits};
use crate::http2::session::{Close, Event, Role, Session, Unsent, What, Why};
use crate::io::Sweeper;
use crate::limits::BLOCK_BYTES;
use crate::metrics::{Goaway, Shard, StreamReset};
use crate::time::Age;
pub use called::{Callee, call};
pub use channel::{Called, Channel};
pub use client::Place;
pub use cost::{limits, limits_to};
pub use server::{Worker, own_response};
pub use stream::Stream;
pub use tally::Tally;

/// A request that begins.
pub enum Begun {
    Request {
        stream: Rc<Stream>,
        head: Head,
    },
    /// One that is answered with this fault. `lines`: its head, as far as it was read.
    Refused {
        stream: Rc<Stream>,
        fault: Fault,
        lines: Vec<u8>,
    },
    /// One whose stream was reset before a task held it.
    Malformed,
}

/// The parts of a worker that a connection uses.
#[derive(Clone)]
pub struct Around {
    pub buffers: Rc<Buffers>,
    pub sweeper: Rc<Sweeper>,
    pub shard: Arc<Shard>,
}

/// One client's connection.
pub struct Connection {
    session: RefCell<Session>,
    /// Those that a task holds, by their ids, which only grow.
    streams: RefCell<Vec<Rc<Stream>>>,
    around: Around,
    /// Of connections that drain together.
    group: u32,
    age: Age,
    streams_total_max: u64,
    writer: Cell<Option<Waker>>,
    /// Waits until the client has read some of what it is to be told.
    reader: Cell<Option<Waker>>,
    /// Waits until no task holds a stream.
    last: Cell<Option<Waker>>,
    /// It was told to drain.
    drains: Cell<bool>,
    /// It drains because it is old.
    is_old: Cell<bool>,
    /// The client sends nothing more.
    input_ended: Cell<bool>,
    /// It ended because the client broke or flooded it, or was not there.
    is_broken: Cell<bool>,
    /// Nothing more is read or written.
    is_cut: Cell<bool>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("group", &self.group).finish_non_exhaustive()
    }
}

impl Connection {
    pub fn new(scheme: Scheme, limits: Limits, group: u32, age: Age, around: Around) -> Rc<Self> {
        let streams_total_max = limits.streams_total_max;
        let session = Session::new(Role::Server, scheme, limits, around.sweeper.now_ms());
        around.shard.http2.connections.inc();
        Rc::new(Self {
            session: session.into(),
            streams: RefCell::default(),
            around,
            group,
            age,
            streams_total_max,
            writer: Cell::default(),
            reader: Cell::default(),
            last: Cell::default(),
            drains: Cell::default(),
            is_old: Cell::default(),
            input_ended: Cell::default(),
            is_broken: Cell::default(),
            is_cut: Cell::default(),
        })
    }

    /// Takes bytes that came, all of them, and tells `begin` of each request.
    pub fn feed(&self, bytes: &[u8], begin: impl FnMut(Begun)) {
        self.session.borrow_mut().feed(bytes, self.now_ms());
        self.deliver(bytes, begin);
    }

    /// Nothing came for a while: gives back what is only needed while bytes come.
    pub fn rest(&self) {
        let mut session = self.session.borrow_mut();
        if session.streams() == 0 {
            session.trim();
        }
    }

    /// No more requests: those that are under way go on, and the client is told.
    pub fn drain(&self) {
        if !self.drains.replace(true) {
            self.session.borrow_mut().drain(self.now_ms());
            self.settle();
        }
    }

    /// The client sends nothing more. Requests that are whole are still answered.
    pub fn end_input(&self) {
        self.input_ended.set(true);
        self.session.borrow_mut().end_input();
        self.leave(|stream| !stream.has_ended());
        self.drain();
        self.wake_writer();
    }

    /// Nothing more is read or written: every task with a stream is told that its client is gone.
    pub fn cut(&self) {
        self.is_cut.set(true);
        self.leave(|_| true);
        self.wake_both();
    }

    /// The client is gone from these streams.
    fn leave(&self, which: impl Fn(&Stream) -> bool) {
        let session = self.session.borrow();
        let streams = self.streams.borrow();
        streams.iter().filter(|s| which(s)).for_each(|s| s.go(session.has_ended(s.id)));
    }

    /// The session is over, by whichever end: bytes that still come are not looked at.
    pub fn is_closed(&self) -> bool {
        self.is_cut.get() || self.session.borrow().is_closed()
    }

    pub fn is_broken(&self) -> bool {
        self.is_broken.get()
    }

    pub fn is_cut(&self) -> bool {
        self.is_cut.get()
    }

    /// Until more of what the client sends should be read, or the connection is over: one that asks and does not read is not
    /// read either.
    pub async fn wants_bytes(&self) {
        poll_fn(|task| {
            if self.is_closed() || self.session.borrow().wants_bytes() {
                return Poll::Ready(());
            }
            wait(&self.reader, task);
            Poll::Pending
        })
        .await;
    }

    /// The next bytes to the client; `None` when there will be none any more. `spare` is empty.
    pub async fn output(&self, spare: Vec<u8>) -> Option<Vec<u8>> {
        let mut spare = Some(spare);
        let out = poll_fn(|task| {
            let now_ms = self.now_ms();
            let mut session = self.session.borrow_mut();
            if self.is_cut.get() {
                return Poll::Ready(None);
            }
            if session.has_output() {
                let out = session.take(spare.take().unwrap_or_default(), now_ms);
                self.reader.take().into_iter().for_each(Waker::wake);
                return Poll::Ready(Some(out));
            }
            if session.is_closed() || (self.input_ended.get() && session.streams() == 0) {
                return Poll::Ready(None);
            }
            wait(&self.writer, task);
            Poll::Pending
        })
        .await;
        // The output that was taken made room on streams that waited for it.
        self.settle();
        out
    }

    /// Until no task holds a stream.
    pub async fn is_left(&self) {
        poll_fn(|task| {
            if self.streams.borrow().is_empty() {
                return Poll::Ready(());
            }
            wait(&self.last, task);
            Poll::Pending
        })
        .await;
    }

    /// The exchange of a stream has ended, however.
    pub fn release(&self, stream: &Stream) {
        {
            let mut session = self.session.borrow_mut();
            if !session.is_closed() && !stream.is_gone() && !session.has_ended(stream.id) {
                self.around.shard.http2.resets.inc(StreamReset::Gateway);
            }
            session.release(stream.id);
        }
        stream.give_back(&self.around.buffers);
        self.streams.borrow_mut().retain(|held| held.id != stream.id);
        self.settle();
        if self.input_ended.get() {
            self.wake_writer();
        }
        if self.streams.borrow().is_empty() {
            self.last.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Gives back the buffer of a request's head.
    pub fn recycle(&self, head: Vec<u8>) {
        self.session.borrow_mut().recycle(head);
    }

    fn now_ms(&self) -> u64 {
        self.around.sweeper.now_ms()
    }

    /// Looks at the clock.
    fn tick(&self, age_max: Option<Duration>) {
        let now_ms = self.now_ms();
        if !self.drains.get() && self.age.is_over(age_max, now_ms) {
            self.is_old.set(true);
            self.drain();
        }
        self.session.borrow_mut().tick(now_ms);
        self.settle();
        self.streams.borrow().iter().for_each(|stream| stream.tick(now_ms));
    }

    fn queue(&self, stream: &Stream, what: What<'_>) -> Result<(), Unsent> {
        self.session.borrow_mut().queue(stream.id, what, self.now_ms())
    }

    /// Tells every stream its news, where no bytes came.
    fn settle(&self) {
        // Only bytes begin requests.
        self.deliver(b"", |_| {});
    }

    fn deliver(&self, fed: &[u8], mut begin: impl FnMut(Begun)) {
        loop {
            let event = self.session.borrow_mut().next_event();
            let Some(event) = event else { break };
            match event {
                Event::Head { stream, head, end } => {
                    begin(Begun::Request { stream: self.hold(stream, end), head });
                }
                Event::Refused { stream, fault, lines } => {
                    begin(Begun::Refused { stream: self.hold(stream, true), fault, lines });
                }
                Event::Malformed { .. } => {
                    self.around.shard.http2.resets.inc(StreamReset::Malformed);
                    begin(Begun::Malformed);
                }
                Event::Data { stream, at, len, end } => {
                    let content = fed.get(at..at + len).unwrap_or_default();
                    self.with(stream, |held| held.came(content, end, &self.around.buffers));
                }
                Event::Trailers { stream, lines, .. } => self.with(stream, |held| held.ended(lines)),
                Event::Reset { stream, why } => {
                    self.around.shard.http2.resets.inc(by(why));
                    let is_answered = self.session.borrow().has_ended(stream);
                    self.with(stream, |held| held.go(is_answered));
                }
                Event::Room { stream } | Event::Flushed { stream } => self.with(stream, Stream::wake),
                // Of the other role.
                Event::StreamsChanged => {}
                Event::Closed(close) => {
                    self.around.shard.http2.goaways.inc(self.reason(close));
                    self.is_broken.set(close != Close::Done);
                    self.leave(|_| true);
                    self.wake_both();
                }
            }
        }
        let mut session = self.session.borrow_mut();
        self.around.shard.http2.refused.add(session.take_refused());
        if session.has_output() {
            drop(session);
            self.wake_writer();
        }
    }

    fn hold(&self, id: u32, has_ended: bool) -> Rc<Stream> {
        self.around.shard.http2.streams.inc();
        let stream = Rc::new(Stream::new(id, has_ended));
        self.streams.borrow_mut().push(Rc::clone(&stream));
        stream
    }

    fn with(&self, id: u32, act: impl FnOnce(&Stream)) {
        let streams = self.streams.borrow();
        if let Ok(at) = streams.binary_search_by_key(&id, |stream| stream.id)
            && let Some(stream) = streams.get(at)
        {
            act(stream);
        }
    }

    fn wake_writer(&self) {
        self.writer.take().into_iter().for_each(Waker::wake);
    }

    fn wake_both(&self) {
        self.wake_writer();
        self.reader.take().into_iter().for_each(Waker::wake);
    }

    fn reason(&self, close: Close) -> Goaway {
        match close {
            Close::Done if self.is_old.get() => Goaway::Age,
            Close::Done if self.drains.get() => Goaway::Drain,
            Close::Done if self.session.borrow().streams_total() >= self.streams_total_max => {
                Goaway::Requests
            }
            Close::Done => Goaway::Idle,
            Close::Lifeless => Goaway::Lifeless,
            Close::Flood(flood) => match flood {
                Flood::Resets => Goaway::Resets,
                Flood::AnswersUnsent => Goaway::AnswersUnsent,
                Flood::Settings => Goaway::Settings,
                Flood::Continuations => Goaway::Continuations,
                Flood::BlockBytes => Goaway::BlockBytes,
                Flood::Fields => Goaway::Fields,
                Flood::IdleFrames => Goaway::IdleFrames,
                Flood::Slow => Goaway::Slow,
            },
            Close::Fault { code: Code::FlowControl, .. } => Goaway::FlowControl,
            Close::Fault { code: Code::FrameSize, .. } => Goaway::FrameSize,
            Close::Fault { code: Code::Compression, .. } => Goaway::Compression,
            Close::Fault { code: Code::StreamClosed, .. } => Goaway::StreamClosed,
            Close::Fault { .. } => Goaway::Protocol,
        }
    }
}

fn by(why: Why) -> StreamReset {
    match why {
        Why::Peer(_) | Why::Unprocessed => StreamReset::Client,
        Why::Malformed(_) => StreamReset::Malformed,
        Why::Stalled => StreamReset::Stalled,
    }
}

/// The HTTP/2 connections of one worker.
#[derive(Debug, Default)]
pub struct Sessions(RefCell<Slab<Weak<Connection>>>);

/// A connection that is among them until this is dropped.
#[derive(Debug)]
pub struct Listed<'s> {
    sessions: &'s Sessions,
    key: usize,
}

impl Sessions {
    pub fn add(&self, connection: &Rc<Connection>) -> Listed<'_> {
        Listed { sessions: self, key: self.0.borrow_mut().insert(Rc::downgrade(connection)) }
    }

    /// Keeps the limits that are durations; to be called with each tick of the worker. `age_max`: that of the configuration in
    /// force, for those that are open too.
    pub fn tick(&self, age_max: Option<Duration>) {
        self.each(|connection| connection.tick(age_max));
    }

    /// No more requests on them: on all, or on those of a group.
    pub fn drain(&self, group: Option<u32>) {
        self.each(|connection| {
            if group.is_none_or(|group| connection.group == group) {
                connection.drain();
            }
        });
    }

    fn each(&self, act: impl Fn(&Connection)) {
        // Nothing that is woken runs before this has returned.
        self.0.borrow().iter().filter_map(|(_, connection)| connection.upgrade()).for_each(|c| act(&c));
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.sessions.0.borrow_mut().try_remove(self.key);
    }
}

/// Whether a buffer of the writer's is worth keeping for the next write.
pub fn is_spare(buffer: &Vec<u8>) -> bool {
    buffer.capacity() <= BLOCK_BYTES
}

/// Registers the task that waits.
fn wait(waker: &Cell<Option<Waker>>, task: &Task<'_>) {
    let known = waker.take().filter(|known| known.will_wake(task.waker()));
    waker.set(known.or_else(|| Some(task.waker().clone())));
}
