//! Ships on one HTTP/2 connection: copies go as they come, each on a stream of its own, and answers come in any order.
//!
//! One task reads, writes, ships and looks at the clock; at most one write and one read are ever under way, and the frames of
//! several copies are one write. Decisions are `super::super::streams`'.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use super::Shipper;
use crate::error::Failure;
use crate::grpc;
use crate::http2::fields::Scheme;
use crate::io::{self, Idle, ReadHalf, Stream, WriteHalf, turn};
use crate::limits::{
    ANSWER_OVERHEAD_TIMES, BATCH_BYTES_MAX, BLOCK_BYTES, LINGER_MS, PARK_MS, RESPONSE_BUFFER_BYTES, TICK_MS,
};
use crate::metrics::FailReason;
use crate::mirror::copy::RequestCopy;
use crate::mirror::endpoint::Endpoint;
use crate::mirror::lane::{Lane, Reserved};
use crate::mirror::response::Cost;
use crate::mirror::streams::{Appetite, End, Streams, Terms, Unsent};
use crate::observe::pairing::Half;
use crate::time::Millis;

/// A connection on which nothing was said in HTTP/2 yet.
pub(super) struct Connected {
    pub(super) stream: Stream,
    pub(super) endpoint: Rc<Endpoint>,
    /// By when the mirror has to introduce itself, in the worker's milliseconds.
    pub(super) by_ms: u64,
    /// The endpoint refused last; no other shipper tries meanwhile.
    pub(super) probes: bool,
}

/// A connection, with the state of shipping on it.
struct Line<'a> {
    shipper: &'a Shipper,
    endpoint: Rc<Endpoint>,
    streams: RefCell<Streams>,
    /// Copies that the mirror did not look at.
    again: RefCell<&'a mut VecDeque<RequestCopy>>,
    /// By when it has to be of use.
    by_ms: Cell<u64>,
    probes: Cell<bool>,
    was_open: Cell<bool>,
    /// The connection had no copy under way at times.
    was_idle: Cell<bool>,
    has_answered: Cell<bool>,
    /// Bytes that came around content, and not as content.
    overhead: RefCell<Cost>,
    /// Reading and writing have been given up.
    is_cut: Cell<bool>,
    is_written: Cell<bool>,
    /// The writer took all output: there may be room again.
    took: Cell<bool>,
}

impl Shipper {
    /// Ships on `connected` until it ends; says whether it ever spoke HTTP/2. Copies that the mirror did not look at are left in
    /// `again`.
    pub(super) async fn run_http2(&self, connected: Connected, again: &mut VecDeque<RequestCopy>) -> bool {
        let Connected { mut stream, endpoint, by_ms, probes } = connected;
        let terms = Terms {
            timeout_ms: Millis::from(self.settings.timeout).0,
            response_bytes_max: self.settings.response_bytes_max,
            budget: Arc::clone(&self.budget),
        };
        let scheme = if endpoint.callee.is_some() { Scheme::Https } else { Scheme::Http };
        let streams = Streams::new(scheme, self.lane.session.get(), terms, self.sweeper.now_ms());
        let line = Line {
            shipper: self,
            endpoint,
            streams: RefCell::new(streams),
            again: RefCell::new(again),
            by_ms: Cell::new(by_ms),
            probes: Cell::new(probes),
            was_open: Cell::default(),
            was_idle: Cell::default(),
            has_answered: Cell::default(),
            overhead: RefCell::default(),
            is_cut: Cell::default(),
            is_written: Cell::default(),
            took: Cell::default(),
        };
        line.carry(&mut stream).await;
        line.end(&stream)
    }
}

impl Line<'_> {
    /// Runs until both directions have ended. All of it is one task: the effects of one part are seen by those behind it in the
    /// same turn.
    async fn carry(&self, stream: &mut Stream) {
        let Stream { r, w } = stream;
        let (reading, writing) = (self.read(r), self.write(w));
        let (mut reading, mut writing) = (pin!(reading), pin!(writing));
        let (mut ticking, mut shipping) = (pin!(self.tick()), pin!(self.ship()));
        let (mut is_read, mut is_written, mut is_shipped) = (false, false, false);
        poll_fn(|task| {
            is_read = is_read || reading.as_mut().poll(task).is_ready();
            // The tick never ends by itself.
            let _ = ticking.as_mut().poll(task);
            loop {
                is_shipped = is_shipped || shipping.as_mut().poll(task).is_ready();
                is_written = is_written || writing.as_mut().poll(task).is_ready();
                if !self.took.take() {
                    break;
                }
            }
            if !(is_read && is_written) {
                return Poll::Pending;
            }
            // A copy that is worked on is put back first: it stands nowhere else.
            is_shipped = is_shipped || shipping.as_mut().poll(task).is_ready();
            if is_shipped { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn end(&self, stream: &Stream) -> bool {
        self.cut(FailReason::Closed);
        let (lane, now_ms) = (self.lane(), self.now_ms());
        if self.probes.take() {
            lane.probing.set(false);
        }
        if let Some(fault) = stream.broken() {
            // The endpoint is called again later: an endpoint that breaks TLS makes handshakes cost something.
            lane.counters.tls.failures.inc(fault);
            self.endpoint.refused(now_ms);
        }
        let was_open = self.was_open.get();
        if was_open {
            let streams = self.streams.borrow();
            let (copies, answers) = streams.counts();
            // The connection was made because copies waited: if none could begin on it, it did no more for them.
            let had_copies = copies > 0 || !self.was_idle.get();
            if had_copies && answers == 0 && !streams.is_doubted() {
                self.endpoint.hung_up(now_ms);
            }
            self.endpoint.closed();
            lane.counters.connections.add(-1);
        } else {
            lane.counters.connect_failures.inc();
            self.endpoint.refused(now_ms);
        }
        lane.flush_if_unreachable(now_ms);
        was_open
    }

    fn lane(&self) -> &Rc<Lane> {
        &self.shipper.lane
    }

    fn now_ms(&self) -> u64 {
        self.shipper.sweeper.now_ms()
    }

    fn now(&self) -> (u64, u64) {
        (self.now_ms(), self.shipper.sweeper.now_us())
    }

    fn rests(&self) -> bool {
        self.lane().rests(self.now_ms())
    }

    fn appetite(&self) -> Appetite {
        match (self.rests(), self.shipper.is_pressed()) {
            (true, _) => Appetite::None,
            (false, true) => Appetite::Enough,
            (false, false) => Appetite::All,
        }
    }

    /// Whether bytes that come are still looked at.
    fn listens(&self) -> bool {
        !self.is_cut.get() && !self.streams.borrow().is_closed()
    }

    /// Gives up reading and writing.
    fn cut(&self, why: FailReason) {
        self.is_cut.set(true);
        self.streams.borrow_mut().cut(why);
        self.settle();
    }

    // === Copies ===

    /// Begins copies until the connection takes no more, or none will come.
    async fn ship(&self) {
        let (lane, number) = (self.lane(), self.shipper.number);
        let is_known =
            |streams: &Streams| streams.is_open() || streams.over().is_some() || streams.is_closed();
        poll_fn(|_| self.is(is_known)).await;
        loop {
            lane.awake();
            let is_idle = self.again.borrow().is_empty() && lane.is_empty();
            if self.is_left() || (is_idle && lane.is_last_call()) {
                break;
            }
            if !self.may_begin() {
                if !lane.is_empty() && !self.rests() {
                    // Another connection may have room.
                    lane.wake_one();
                }
                poll_fn(|_| self.is(|_| self.is_left() || self.may_begin())).await;
            } else if is_idle {
                self.was_idle.set(true);
                let mut sleep = pin!(lane.sleep(number, true));
                let until = |task: &mut std::task::Context<'_>| {
                    if self.is_left() { Poll::Ready(()) } else { sleep.as_mut().poll(task) }
                };
                poll_fn(until).await;
                lane.rise(number);
            } else {
                self.batch().await;
            }
        }
        self.streams.borrow_mut().drain(self.now_ms());
        self.settle();
        if !lane.is_empty() {
            lane.wake_one();
        }
    }

    fn is(&self, so: impl FnOnce(&Streams) -> bool) -> Poll<()> {
        if so(&self.streams.borrow()) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// No copy is begun on it any more.
    fn is_left(&self) -> bool {
        self.endpoint.is_gone() || !self.streams.borrow().takes_copies()
    }

    fn may_begin(&self) -> bool {
        let streams = self.streams.borrow();
        streams.has_room() && !streams.is_backed_up() && !self.rests()
    }

    /// Begins waiting copies, a bounded part of them.
    async fn batch(&self) {
        let (lane, shipper) = (self.lane(), self.shipper);
        let (mut begun, mut bytes) = (0_u64, 0);
        let (mut work, mut now) = (super::work::Work::default(), self.now());
        let fits = |bytes: usize, copy: &RequestCopy| bytes == 0 || bytes + copy.len() <= BATCH_BYTES_MAX;
        while self.may_begin() {
            let again = self.again.borrow_mut().pop_front_if(|front| fits(bytes, front));
            let is_new = again.is_none();
            let taken = match again {
                Some(copy) => {
                    let mut reserved = Reserved::new(lane);
                    // The copy was let in once: where there is no room for it now, it goes all the same.
                    let _ = reserved.grow(copy.len());
                    Some((copy, reserved))
                }
                None if !self.again.borrow().is_empty() => None,
                None => lane.take_reserved_if(|copy| fits(bytes, copy)),
            };
            let Some((mut copy, reserved)) = taken else { break };
            if is_new && shipper.wants_work(&copy) {
                // Boxed because it is large and rare.
                let Some(ready) = Box::pin(shipper.work(copy, &mut work)).await else { continue };
                (copy, now) = (ready, self.now());
            }
            if is_new {
                copy.keep();
                copy.ticket.send(now.1);
                let lag_us = copy.ticket.joined().map_or(0, |joined| joined.lag_us);
                if let Some(left_ms) = grpc::wait(&mut copy.head, lag_us / 1000) {
                    copy.ticket.has_less_time(left_ms);
                }
            }
            copy.tries += 1;
            bytes += copy.len();
            let sent = self.streams.borrow_mut().send(copy, reserved, now);
            match sent {
                None => begun += 1,
                Some((mut copy, Unsent::NoRoom)) => {
                    copy.tries -= 1;
                    self.again.borrow_mut().push_front(copy);
                    break;
                }
                Some((copy, Unsent::Inexpressible)) => copy.ticket.fail(FailReason::Protocol),
            }
        }
        if begun > 1 {
            lane.counters.batches.inc();
        }
        if bytes >= BATCH_BYTES_MAX / 2 {
            turn().await;
        }
    }

    /// Settles the copies that have ended.
    fn settle(&self) {
        let (lane, shipper) = (self.lane(), self.shipper);
        let mut streams = self.streams.borrow_mut();
        let spent = streams.take_spent();
        streams.cuts.drain(..).for_each(|why| lane.counters.cut.inc(why));
        let mut ends = std::mem::take(&mut streams.ends);
        let (_, answers) = streams.counts();
        if streams.is_open() && !self.was_open.replace(true) {
            self.endpoint.connected();
            lane.counters.connections.add(1);
            if self.probes.take() {
                lane.probing.set(false);
            }
        }
        drop(streams);
        shipper.spend(spent);
        if answers > 0 && !self.has_answered.replace(true) {
            self.endpoint.answers();
        }
        for end in ends.drain(..) {
            match end {
                End::Answered { answered, latency_us } => {
                    let (status, bytes) = (answered.status, answered.bytes);
                    // Each has a stream of its own, and waits for no other.
                    let (grpc, is_sure) = (answered.grpc, !answered.is_cut);
                    let half = Half { status, grpc, latency_us, bytes, is_sure };
                    answered.copy.ticket.complete(half, answered.kept);
                    shipper.buffers.give(answered.copy.head);
                }
                End::Failed(copy, why) => {
                    copy.ticket.fail(why);
                    shipper.buffers.give(copy.head);
                }
                End::Unprocessed(copy) => {
                    lane.counters.resent.inc();
                    self.again.borrow_mut().push_back(copy);
                }
            }
        }
        // Kept for its memory.
        self.streams.borrow_mut().ends = ends;
    }

    // === The wire ===

    /// Looks at the clock as often as the worker does.
    async fn tick(&self) {
        loop {
            io::sleep_ms(TICK_MS).await;
            let now_ms = self.now_ms();
            if self.streams.borrow().is_of_use() {
                let within = Millis::from(self.shipper.settings.connect_timeout);
                self.by_ms.set(now_ms.saturating_add(within.0));
            } else if now_ms >= self.by_ms.get() && self.listens() {
                self.cut(FailReason::Timeout);
            }
            if self.listens() {
                self.streams.borrow_mut().tick(self.now(), self.appetite());
                self.settle();
            }
        }
    }

    async fn read(&self, r: &mut ReadHalf) {
        let buffers = &self.shipper.buffers;
        while self.listens() {
            let (read, block) =
                r.read_or_park(buffers.medium(), RESPONSE_BUFFER_BYTES, Millis(PARK_MS)).await;
            match read {
                Ok(Idle::Read(0)) => self.cut(FailReason::Closed),
                Ok(Idle::Read(n)) => {
                    self.lane().counters.answer_bytes.add(n as u64);
                    self.came_with(r.overhead());
                    if n == RESPONSE_BUFFER_BYTES {
                        self.shipper.read_much(n);
                    }
                    self.streams.borrow_mut().feed(&block, self.now(), self.appetite());
                    self.settle();
                    let over = self.streams.borrow().over();
                    if let Some(why) = over.filter(|_| self.listens()) {
                        self.cut(why);
                    }
                }
                Ok(Idle::Parked) => self.streams.borrow_mut().rest(),
                Err(ref error) => self.cut(Failure::of(error).on_mirror()),
            }
            buffers.give(block);
            // Content that the mirror sends meanwhile waits with its windows.
            self.shipper.make_way().await;
            if matches!(read, Ok(Idle::Parked))
                && self.listens()
                && let Err(error) = r.readable().await
            {
                self.cut(Failure::of(&error).on_mirror());
            }
        }
        if self.is_cut.get() {
            return;
        }
        let block = r.linger(buffers.small(), self.now_ms(), &self.is_written).await;
        buffers.give(block);
    }

    /// `overhead`: of the whole connection.
    fn came_with(&self, overhead: u64) {
        if overhead > 0 {
            let mut cost = self.overhead.borrow_mut();
            cost.become_at_least(overhead.saturating_mul(ANSWER_OVERHEAD_TIMES));
            self.shipper.spend(cost.spent());
        }
    }

    /// Writes all output, as one write each time, until no more comes.
    async fn write(&self, w: &mut WriteHalf) {
        let within = Millis::from(self.shipper.settings.timeout);
        let mut spare = Vec::new();
        while let Some(out) = self.output(std::mem::take(&mut spare)).await {
            let (sent, mut out) = w.write_all(out, within).await;
            if let Err(failed) = sent {
                self.cut(Failure::of(&failed.error).on_mirror());
                break;
            }
            out.clear();
            if out.capacity() <= BLOCK_BYTES {
                spare = out;
            }
        }
        if !self.is_cut.get() {
            w.finish(within).await;
        }
        self.is_written.set(true);
        // A pending read is not waited for much longer.
        w.limit_pending_read(Millis(if self.is_cut.get() { 0 } else { LINGER_MS }));
    }

    /// The next bytes to the mirror; `None` when there will be none any more. `spare` is empty.
    async fn output(&self, spare: Vec<u8>) -> Option<Vec<u8>> {
        let mut spare = Some(spare);
        poll_fn(|_| {
            let mut streams = self.streams.borrow_mut();
            if self.is_cut.get() {
                return Poll::Ready(None);
            }
            if streams.has_output() {
                self.took.set(true);
                let sweeper = &self.shipper.sweeper;
                let spare = spare.take().unwrap_or_default();
                return Poll::Ready(Some(streams.take(spare, sweeper.now_ms(), || sweeper.now_us())));
            }
            if streams.is_closed() { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }
}
