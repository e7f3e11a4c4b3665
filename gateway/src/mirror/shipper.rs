//! Sends copies to a mirror and reads its answers only to discard them.
//!
//! A few shippers serve each lane, each on a connection of its own: one turn of one shipper is one bounded batch, so the mirror
//! work of a worker's turn is bounded by `connections_max` batches. Every fault of the mirror ends in a counted outcome here
//! and is felt nowhere else. The room knows nothing of clients, routes or exchanges.

mod call;
mod capture;
mod http2;
mod pacing;
mod work;

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use call::Connected;

use super::alignment::Alignment;
use super::copy::RequestCopy;
use super::endpoint::Endpoint;
use super::lane::Lane;
use super::response::{Answered, Progress, Response};
use crate::buffer::Buffers;
use crate::error::Failure;
use crate::io::{Gather, Stream, Sweeper};
use crate::limits::{ANSWER_CUT_BYTES, BATCH_BYTES_MAX, LONE_EVERY, MIRROR_IDLE_MS, RESPONSE_BUFFER_BYTES};
use crate::metrics::{CutReason, FailReason};
use crate::observe::keep::Budget;
use crate::observe::pairing::Half;
use crate::time::Millis;

/// A sender of copies, on a connection of its own.
pub struct Shipper {
    pub lane: Rc<Lane>,
    pub settings: config::Lane,
    pub buffers: Rc<Buffers>,
    pub sweeper: Rc<Sweeper>,
    /// Of answers that are kept to be compared.
    pub budget: Arc<Budget>,
    /// Until when it leaves the worker to others before it reads or calls again.
    pub paid_us: Cell<u64>,
    /// Its number within the lane.
    pub number: usize,
}

/// A connection to a mirror endpoint.
struct Connection {
    stream: Stream,
    endpoint: Rc<Endpoint>,
    answers: u64,
    batches: u64,
    used_ms: u64,
    alignment: Alignment,
}

/// Answers after which a connection that the mirror closes was well used: closing it is no sign against pipelining.
const WELL_USED_ANSWERS: u64 = 64;

/// More came than was asked for.
const EXCESS: Failure = Failure::Protocol("excess bytes");

impl Shipper {
    /// Ships until drained.
    pub async fn run(self) {
        let mut connection: Option<Connection> = None;
        // Copies a mirror announced it would not look at; they go first on the next connection.
        let mut again: VecDeque<RequestCopy> = VecDeque::new();
        // Copies that a batch has written and not seen answered; empty between batches, kept for its memory.
        let mut flying: VecDeque<RequestCopy> = VecDeque::new();
        // Copies that one read completed; kept for its memory too.
        let mut done = Vec::new();
        loop {
            self.lane.awake();
            if again.is_empty() && self.lane.is_empty() {
                if self.lane.is_last_call() {
                    self.close(connection.take());
                    return;
                }
                let is_idle =
                    |c: &Connection| self.sweeper.now_ms().saturating_sub(c.used_ms) > MIRROR_IDLE_MS;
                if connection.as_ref().is_some_and(|c| is_idle(c) || c.endpoint.is_gone()) {
                    self.close(connection.take());
                }
                self.lane.sleep(self.number, connection.is_some()).await;
                continue;
            }
            if self.lane.rests(self.sweeper.now_ms()) {
                // The next tick calls again.
                self.lane.sleep(self.number, connection.is_some()).await;
                continue;
            }
            if connection.as_ref().is_none_or(|c| !c.stream.is_quiet() || c.endpoint.is_gone()) {
                if let Some(used) = &mut connection {
                    self.look_at_rest(used).await;
                }
                self.close(connection.take());
                connection = match self.connect().await {
                    Some(Connected::Http1(connection)) => Some(connection),
                    // Boxed because most shippers' tasks need not carry its size.
                    Some(Connected::Http2(connected)) => {
                        if Box::pin(self.run_http2(connected, &mut again)).await {
                            continue;
                        }
                        None
                    }
                    None => None,
                };
                if connection.is_none() {
                    // Given up with the rest if the mirror stays away or its lane is closed; called again with the next
                    // copy or tick.
                    if self.lane.is_closed() {
                        again.drain(..).for_each(|copy| copy.ticket.fail(FailReason::Drain));
                    } else if !again.is_empty() && !self.lane.is_reachable(self.sweeper.now_ms()) {
                        again.drain(..).for_each(|copy| copy.ticket.fail(FailReason::Closed));
                    }
                    self.lane.sleep(self.number, false).await;
                    continue;
                }
            }
            if let Some(mut used) = connection.take() {
                if used.alignment.wants_silence() && !self.is_silent(&mut used).await {
                    self.close(Some(used));
                    continue;
                }
                match self.batch(&mut used, &mut again, &mut flying, &mut done).await {
                    After::Keep => connection = Some(used),
                    After::Close => self.close(Some(used)),
                }
            }
        }
    }

    /// Waits until the connection has said nothing for as long as its responses take: whether it is in step.
    async fn is_silent(&self, connection: &mut Connection) -> bool {
        // A kernel may hold back the response to nothing until the one before is acknowledged: with the next copy, else.
        connection.stream.acknowledge();
        if connection.stream.r.is_readable_within(connection.alignment.silence_ms()).await {
            self.look_at_rest(connection).await;
            return false;
        }
        connection.alignment.is_known();
        true
    }

    /// Reads a connection that was to be silent: an end, or a response to nothing.
    async fn look_at_rest(&self, connection: &mut Connection) {
        if !connection.alignment.is_in_doubt() || connection.stream.is_quiet() {
            return;
        }
        let within = Millis(connection.alignment.silence_ms());
        let (result, buf) =
            connection.stream.r.read(self.buffers.medium(), RESPONSE_BUFFER_BYTES, within).await;
        self.buffers.give(buf);
        if matches!(result, Ok(1..)) {
            connection.alignment.is_lost();
            self.lane.counters.out_of_step.inc();
        }
    }

    fn close(&self, connection: Option<Connection>) {
        if let Some(connection) = connection {
            connection.endpoint.closed();
            if let Some(fault) = connection.stream.broken() {
                // The endpoint is called again later: an endpoint that breaks TLS makes handshakes cost something.
                self.lane.counters.tls.failures.inc(fault);
                connection.endpoint.refused(self.sweeper.now_ms());
            }
            self.lane.flush_if_unreachable(self.sweeper.now_ms());
            self.lane.counters.connections.add(-1);
        }
    }

    /// Writes one batch and reads its answers.
    async fn batch(
        &self,
        connection: &mut Connection,
        again: &mut VecDeque<RequestCopy>,
        flying: &mut VecDeque<RequestCopy>,
        done: &mut Vec<Answered>,
    ) -> After {
        let endpoint = Rc::clone(&connection.endpoint);
        let deepest = endpoint.depth(self.settings.pipeline_max, self.sweeper.now_ms());
        connection.batches += 1;
        // A lone copy shows a copy's own time, and nothing of the effect of more.
        let is_measured = deepest > 1 && connection.batches.is_multiple_of(LONE_EVERY);
        let depth = if is_measured { 1 } else { deepest };
        let mut out = Gather::new(self.buffers.block());
        let (mut sent_before, mut work) = (0, work::Work::default());
        while flying.len() < depth
            && let Some((mut copy, is_new)) = self.next_copy(again, &out, flying.is_empty())
        {
            if is_new {
                if self.wants_work(&copy) {
                    // Boxed because it is large and rare.
                    let Some(ready) = Box::pin(self.work(copy, &mut work)).await else { continue };
                    copy = ready;
                }
                copy.keep();
            } else {
                // These come first.
                sent_before += 1;
            }
            out.copy(&copy.head);
            copy.pieces.iter().for_each(|piece| out.share(piece.clone()));
            flying.push_back(copy);
        }
        if !self.lane.is_empty() {
            self.lane.wake_one();
        }
        let copies = flying.len();
        if copies == 0 {
            self.buffers.give(out.into_own());
            return After::Keep;
        }
        if copies > 1 {
            self.lane.counters.batches.inc();
        }
        // Not before: the preparation of the copies is no time of the mirror's.
        let started_us = self.sweeper.now_us();
        flying.iter_mut().skip(sent_before).for_each(|copy| copy.ticket.send(started_us));
        // A deadline for the whole batch, its writing included: progress does not extend it.
        connection
            .stream
            .give_up_at(self.sweeper.now_ms().saturating_add(Millis::from(self.settings.timeout).0));
        let mut pace = Pace { last_us: started_us, first_us: None, is_lone: copies == 1 };
        let mut ended = self.write(&mut connection.stream, out, &mut pace).await;
        if ended.is_none() {
            ended = Some(self.read_answers(connection, flying, done, &mut pace).await);
        }
        match ended.unwrap_or(Ended::InStep) {
            Ended::InStep => {
                let now_us = pace.last_us;
                let first_us = pace.first_us.unwrap_or(now_us);
                let spread_us = now_us - first_us;
                connection.alignment.batch(first_us.saturating_sub(started_us));
                if !is_measured {
                    endpoint.answered(copies, now_us - started_us, spread_us);
                }
                connection.used_ms = self.sweeper.now_ms();
                connection.stream.clear_deadlines();
                After::Keep
            }
            Ended::Announced => {
                // RFC 9112 §9.6: after its `close`, a server does not process further requests of the connection, so that the
                // copies behind were not seen and may be written once more elsewhere.
                if !flying.is_empty() {
                    if connection.answers < WELL_USED_ANSWERS {
                        endpoint.misbehaved(self.sweeper.now_ms());
                    }
                    self.lane.counters.resent.add(flying.len() as u64);
                    flying.drain(..).rev().for_each(|copy| again.push_front(copy));
                }
                After::Close
            }
            Ended::Failed(failure) => {
                if connection.answers == 0 && failure != Failure::Timeout {
                    endpoint.hung_up(self.sweeper.now_ms());
                }
                if failure == EXCESS {
                    connection.alignment.is_lost();
                    self.lane.counters.out_of_step.inc();
                }
                if copies > 1 || matches!(failure, Failure::Timeout) {
                    endpoint.misbehaved(self.sweeper.now_ms());
                }
                for copy in flying.drain(..) {
                    copy.ticket.fail(failure.on_mirror());
                    self.buffers.give(copy.head);
                }
                After::Close
            }
        }
    }

    /// The next copy that may join a batch whose bytes are `out`, and whether it is sent for the first time.
    fn next_copy(
        &self,
        again: &mut VecDeque<RequestCopy>,
        out: &Gather,
        is_first: bool,
    ) -> Option<(RequestCopy, bool)> {
        let fits = |copy: &RequestCopy| is_first || out.len() + copy.len() <= BATCH_BYTES_MAX;
        if let Some(front) = again.front() {
            return fits(front).then(|| again.pop_front()).flatten().map(|copy| (copy, false));
        }
        self.lane.take_if(fits).map(|copy| (copy, true))
    }

    async fn write(&self, stream: &mut Stream, mut out: Gather, pace: &mut Pace) -> Option<Ended> {
        out.seal();
        let (result, out) = stream.w.write_gather(out, Millis::FOREVER).await;
        self.buffers.give(out.into_own());
        match result {
            Ok(last_us) => {
                // As with the primary: the way of a large content is no time of the service's.
                pace.last_us = last_us.unwrap_or(pace.last_us);
                None
            }
            Err(failed) => Some(Ended::Failed(Failure::of(&failed.error))),
        }
    }

    /// Reads one answer for each copy in flight, in order.
    async fn read_answers(
        &self,
        connection: &mut Connection,
        flying: &mut VecDeque<RequestCopy>,
        done: &mut Vec<Answered>,
        pace: &mut Pace,
    ) -> Ended {
        let mut answer = Response::new(self.settings.response_bytes_max);
        let mut overhead = connection.stream.overhead();
        let mut buf = self.buffers.medium();
        let ended = loop {
            let (result, filled) =
                connection.stream.r.read(buf, RESPONSE_BUFFER_BYTES, Millis::FOREVER).await;
            buf = filled;
            let closed = match result {
                Ok(n) => {
                    self.lane.counters.answer_bytes.add(n as u64);
                    if n == RESPONSE_BUFFER_BYTES {
                        self.read_much(n);
                    }
                    n == 0
                }
                Err(error) => break Ended::Failed(Failure::of(&error)),
            };
            let now_us = self.sweeper.now_us();
            pace.first_us.get_or_insert(now_us);
            let before = std::mem::replace(&mut overhead, connection.stream.overhead());
            answer.came_with(overhead.saturating_sub(before));
            let ended = self.take_answers(flying, &mut answer, &mut buf, closed, done);
            if connection.answers == 0 && !done.is_empty() {
                connection.endpoint.answers();
            }
            connection.answers += done.len() as u64;
            self.settle(done, now_us, pace, &mut connection.alignment);
            match ended {
                Some(ended) => break ended,
                None if closed => break Ended::Failed(Failure::Closed),
                None => self.make_way().await,
            }
        };
        self.buffers.give(buf);
        ended
    }

    /// Moves every copy whose answer is complete in `buf` to `done`; says when the batch is over.
    fn take_answers(
        &self,
        flying: &mut VecDeque<RequestCopy>,
        answer: &mut Response,
        buf: &mut Vec<u8>,
        closed: bool,
        done: &mut Vec<Answered>,
    ) -> Option<Ended> {
        let mut used = 0;
        let ended = loop {
            let Some(copy) = flying.front() else {
                let in_step = used == buf.len();
                break Some(if in_step { Ended::InStep } else { Ended::Failed(EXCESS) });
            };
            let progress =
                answer.advance(&buf[used..], copy, (self.lane.response_heads.get(), &self.budget), closed);
            let spent = answer.spent();
            self.spend(spent);
            match progress {
                Ok(Progress::More { used: n }) => {
                    used += n;
                    let rests = || self.lane.rests(self.sweeper.now_ms());
                    let is_cut = spent > 0 && (rests() || answer.is_dear() && self.is_pressed());
                    break is_cut.then(|| self.cut(CutReason::Budget, flying, answer, done));
                }
                Ok(Progress::Complete { used: n, status, keep_alive }) => {
                    used += n;
                    if let Some(copy) = flying.pop_front() {
                        done.push(answer.end(copy, status));
                    }
                    if !keep_alive {
                        break Some(Ended::Announced);
                    }
                }
                Ok(Progress::TooLong) => {
                    break Some(self.cut(CutReason::TooLong, flying, answer, done));
                }
                Err(failure) => break Some(Ended::Failed(failure)),
            }
        };
        buf.drain(..used);
        ended
    }

    /// A response is too long to be read on: its facts are known, and its connection is given up.
    fn cut(
        &self,
        why: CutReason,
        flying: &mut VecDeque<RequestCopy>,
        answer: &mut Response,
        done: &mut Vec<Answered>,
    ) -> Ended {
        let Some(status) = answer.status() else {
            return Ended::Failed(Failure::Closed);
        };
        self.lane.counters.cut.inc(why);
        self.spend(ANSWER_CUT_BYTES);
        answer.cut();
        if let Some(copy) = flying.pop_front() {
            done.push(answer.end(copy, status));
        }
        if flying.is_empty() { Ended::Announced } else { Ended::Failed(Failure::Closed) }
    }

    /// Settles the answers that one read completed. Answers that came together share the time since those before them evenly:
    /// the time that each was in the making cannot be seen from here.
    fn settle(&self, done: &mut Vec<Answered>, now_us: u64, pace: &mut Pace, alignment: &mut Alignment) {
        let Some(latency_us) = (now_us - pace.last_us).checked_div(done.len() as u64) else { return };
        pace.last_us = now_us;
        for Answered { copy, status, grpc, bytes, is_cut, kept } in done.drain(..) {
            let is_sure = pace.is_lone && !is_cut;
            alignment.answered(copy.ticket.account());
            copy.ticket.complete(Half { status, grpc, latency_us, bytes, is_sure }, kept);
            self.buffers.give(copy.head);
        }
    }
}

/// How a batch's answers come, in the worker's microseconds.
struct Pace {
    /// The last answers were complete, or the batch began.
    last_us: u64,
    /// The first byte of the first answer came.
    first_us: Option<u64>,
    /// The batch is one copy, whose time is its own: behind another, a response may be ready long before it comes, or wait for
    /// its turn.
    is_lone: bool,
}

enum After {
    Keep,
    Close,
}

/// How a batch ended.
enum Ended {
    /// Every copy answered, nothing left over, the connection kept.
    InStep,
    /// The mirror said that it closes after a response; copies still in flight were not looked at.
    Announced,
    Failed(Failure),
}
