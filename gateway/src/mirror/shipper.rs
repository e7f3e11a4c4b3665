//! Sends copies to a mirror and reads its answers only to discard them.
//!
//! A few shippers serve each lane, each on a connection of its own: one turn of one shipper is one bounded batch, so the
//! mirror work of a worker's turn is bounded by `connections_max` batches. Whatever the mirror does ends in a counted
//! outcome here and is felt nowhere else. Knows nothing of clients, routes or exchanges.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::copy::{RequestCopy, Searching};
use super::endpoint::Endpoint;
use super::lane::Lane;
use crate::buffer::Buffers;
use crate::error::Failure;
use crate::http1::response::{Message, Reader, Step};
use crate::io::{Gather, NotCalled, Stream, Sweeper, Turn, turn};
use crate::limits::{
    ANSWER_CUT_BYTES, ANSWER_PIECE_BYTES, ANSWER_SHORT_BYTES, BATCH_BYTES_MAX, LONE_EVERY, REDACT_TURN_BYTES,
    RESPONSE_BUFFER_BYTES,
};
use crate::metrics::{Drop as Dropped, Fail};
use crate::observe::keep::{Budget, Keeping, Kept, keep};
use crate::observe::pairing::Half;
use crate::time::Millis;

/// What a shipper works with.
pub struct Shipper {
    pub lane: Rc<Lane>,
    pub settings: config::Lane,
    pub buffers: Rc<Buffers>,
    pub sweeper: Rc<Sweeper>,
    /// Of answers that are kept to be compared.
    pub budget: Arc<Budget>,
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
}

/// Answers after which a connection that the mirror closes was well used: closing it is no sign against pipelining.
const WELL_USED_ANSWERS: u64 = 64;

/// Stale copies given up in one turn.
const STALE_PER_TURN: u32 = 64;

/// An idle mirror connection is closed after this long.
const IDLE_MS: u64 = 30_000;

impl Shipper {
    /// Ships until drained.
    pub async fn run(self) {
        let mut connection: Option<Connection> = None;
        // Copies a mirror announced it would not look at; they go first on the next connection.
        let mut again: VecDeque<RequestCopy> = VecDeque::new();
        // What a batch has written and not seen answered; empty between batches, kept for its memory.
        let mut flying: VecDeque<RequestCopy> = VecDeque::new();
        // What one read completed; kept for its memory too.
        let mut done = Vec::new();
        loop {
            self.lane.up();
            if again.is_empty() && self.lane.is_empty() {
                if self.lane.is_last_call() {
                    self.close(connection.take());
                    return;
                }
                let is_idle = |c: &Connection| self.sweeper.now_ms().saturating_sub(c.used_ms) > IDLE_MS;
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
                self.close(connection.take());
                connection = self.connect().await;
                if connection.is_none() {
                    // Given up with the rest if the mirror stays away or its lane is closed; called again with the next
                    // copy or tick.
                    if self.lane.is_closed() {
                        again.drain(..).for_each(|copy| copy.ticket.fail(Fail::Drain));
                    } else if !again.is_empty() && !self.lane.is_reachable(self.sweeper.now_ms()) {
                        again.drain(..).for_each(|copy| copy.ticket.fail(Fail::Closed));
                    }
                    self.lane.sleep(self.number, false).await;
                    continue;
                }
            }
            if let Some(mut used) = connection.take() {
                match self.batch(&mut used, &mut again, &mut flying, &mut done).await {
                    After::Keep => connection = Some(used),
                    After::Close => self.close(Some(used)),
                }
            }
        }
    }

    /// Connects to the next endpoint that may be tried; a refusal is remembered by the endpoint.
    async fn connect(&self) -> Option<Connection> {
        let lane = &self.lane;
        let endpoint = lane.pick(self.sweeper.now_ms())?;
        let probes = endpoint.is_refusing();
        if probes && lane.probing.replace(true) {
            return None;
        }
        lane.counters.connects.inc();
        let (callee, within) = (endpoint.callee.as_ref(), self.settings.connect_timeout);
        let called = Stream::call(endpoint.address, callee, Turn::Mirror, within, &self.sweeper);
        // Boxed because it is rare and large: every shipper's task would carry a handshake's size.
        let called = Box::pin(called).await;
        if probes {
            lane.probing.set(false);
        }
        match called {
            Ok((stream, facts)) => {
                facts.iter().for_each(|facts| lane.counters.tls.done.inc(facts.kind()));
                endpoint.connected();
                lane.counters.connections.add(1);
                Some(Connection { stream, endpoint, answers: 0, batches: 0, used_ms: self.sweeper.now_ms() })
            }
            Err(why) => {
                lane.counters.connect_failures.inc();
                if let NotCalled::Tls(fault) = why {
                    lane.counters.tls.failures.inc(fault);
                }
                endpoint.refused(self.sweeper.now_ms());
                lane.flush_if_unreachable(self.sweeper.now_ms());
                None
            }
        }
    }

    fn close(&self, connection: Option<Connection>) {
        if let Some(connection) = connection {
            connection.endpoint.closed();
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
        // It tells a copy's time, and nothing of what more would do.
        let is_measured = deepest > 1 && connection.batches.is_multiple_of(LONE_EVERY);
        let depth = if is_measured { 1 } else { deepest };
        let mut out = Gather::new(self.buffers.block());
        let (mut stale, mut sent_before, mut unsearched_bytes) = (0_u32, 0, 0);
        while flying.len() < depth
            && let Some((mut copy, is_new)) = self.next_copy(again, &out, flying.is_empty())
        {
            if is_new {
                if copy.stale_ms <= self.sweeper.now_ms() {
                    copy.ticket.drop(Dropped::Stale);
                    self.buffers.give(copy.head);
                    stale += 1;
                    if stale.is_multiple_of(STALE_PER_TURN) {
                        turn().await;
                    }
                    continue;
                }
                if copy.unsearched.is_some() {
                    unsearched_bytes += copy.pieces.iter().map(|piece| piece.len()).sum::<usize>();
                    if unsearched_bytes > REDACT_TURN_BYTES {
                        unsearched_bytes = 0;
                        turn().await;
                    }
                    // Boxed because it is large and rare.
                    let Some(searched) = Box::pin(self.search(copy)).await else { continue };
                    copy = searched;
                }
            } else {
                // These come first.
                sent_before += 1;
            }
            out.copy(&copy.head);
            copy.pieces.iter().for_each(|piece| out.share(piece.clone()));
            flying.push_back(copy);
        }
        if !self.lane.is_empty() {
            self.lane.call();
        }
        let copies = flying.len();
        if copies == 0 {
            self.buffers.give(out.into_own());
            return After::Keep;
        }
        if copies > 1 {
            self.lane.counters.batches.inc();
        }
        // Not before: what we did with the copies until now is no time of the mirror's.
        let started_us = self.sweeper.now_us();
        flying.iter_mut().skip(sent_before).for_each(|copy| copy.ticket.send(started_us));
        // One deadline for the whole batch, its writing included: progress does not extend it.
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
                let spread_us = now_us - pace.first_us.unwrap_or(now_us);
                if !is_measured {
                    endpoint.answered(copies, now_us - started_us, spread_us);
                }
                connection.used_ms = self.sweeper.now_ms();
                connection.stream.clear_deadlines();
                After::Keep
            }
            Ended::Announced => {
                // RFC 9112 §9.6: after it said close, a server does not process further requests of the connection, so
                // what was written behind is unseen and may be written once more elsewhere.
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
                if let Failure::Tls(fault) = failure {
                    self.lane.counters.tls.failures.inc(fault);
                }
                if connection.answers == 0 && failure != Failure::Timeout {
                    endpoint.hung_up(self.sweeper.now_ms());
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

    /// Takes the secrets out of a copy's content, a bounded part of it a turn: a long body must not hold up the worker.
    async fn search(&self, mut copy: RequestCopy) -> Option<RequestCopy> {
        let Some(unsearched) = copy.unsearched.take() else { return Some(copy) };
        let pieces = std::mem::take(&mut copy.pieces);
        let searched = async {
            let mut searching = Searching::begin(&unsearched, &copy.head, &pieces)?;
            while !searching.turn()? {
                turn().await;
            }
            searching.end(&mut copy.head)
        };
        match searched.await {
            Ok(content) => {
                copy.pieces.push(content);
                Some(copy)
            }
            Err(why) => {
                copy.ticket.drop(why);
                self.buffers.give(copy.head);
                None
            }
        }
    }

    async fn write(&self, stream: &mut Stream, mut out: Gather, pace: &mut Pace) -> Option<Ended> {
        out.seal();
        let (result, out) = stream.w.write_gather(out, Millis::FOREVER).await;
        self.buffers.give(out.into_own());
        match result {
            Ok(last_us) => {
                // As with the primary: what a large content takes on its way is no time of the service's.
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
        let mut answer = Answer::new(self.settings.response_bytes_max);
        let mut buf = self.buffers.medium();
        let ended = loop {
            let (result, filled) =
                connection.stream.r.read(buf, RESPONSE_BUFFER_BYTES, Millis::FOREVER).await;
            buf = filled;
            let closed = match result {
                Ok(n) => {
                    self.lane.counters.answer_bytes.add(n as u64);
                    n == 0
                }
                Err(error) => break Ended::Failed(Failure::of(&error)),
            };
            let now_us = self.sweeper.now_us();
            pace.first_us.get_or_insert(now_us);
            let ended = self.take_answers(flying, &mut answer, &mut buf, closed, done);
            if connection.answers == 0 && !done.is_empty() {
                connection.endpoint.answers();
            }
            connection.answers += done.len() as u64;
            self.settle(done, now_us, pace);
            match ended {
                Some(ended) => break ended,
                None if closed => break Ended::Failed(Failure::Closed),
                None => {}
            }
        };
        self.buffers.give(buf);
        ended
    }

    /// Moves every copy whose answer is complete in `buf` to `done`; says when the batch is over.
    fn take_answers(
        &self,
        flying: &mut VecDeque<RequestCopy>,
        answer: &mut Answer,
        buf: &mut Vec<u8>,
        closed: bool,
        done: &mut Vec<Answered>,
    ) -> Option<Ended> {
        let mut used = 0;
        let ended = loop {
            let Some(copy) = flying.front() else {
                let in_step = used == buf.len();
                break Some(if in_step {
                    Ended::InStep
                } else {
                    Ended::Failed(Failure::Protocol("excess bytes"))
                });
            };
            let progress = answer.advance(&buf[used..], copy, self, closed);
            let (spent, now_ms) = (answer.spent(), self.sweeper.now_ms());
            self.lane.spend(spent, now_ms);
            match progress {
                Ok(Progress::More { used: n }) => {
                    used += n;
                    let is_cut = spent > 0 && self.lane.rests(now_ms);
                    break is_cut.then(|| self.cut(flying, answer, done));
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
                Ok(Progress::TooLong) => break Some(self.cut(flying, answer, done)),
                Err(failure) => break Some(Ended::Failed(failure)),
            }
        };
        buf.drain(..used);
        ended
    }

    /// An answer is too long to be read on: what matters of it is known, and its connection is given up.
    fn cut(
        &self,
        flying: &mut VecDeque<RequestCopy>,
        answer: &mut Answer,
        done: &mut Vec<Answered>,
    ) -> Ended {
        let Some(status) = answer.message.as_ref().map(|message| message.status) else {
            return Ended::Failed(Failure::Closed);
        };
        self.lane.counters.answers_cut.inc();
        self.lane.spend(ANSWER_CUT_BYTES, self.sweeper.now_ms());
        if let Some(keeping) = &mut answer.keeping {
            keeping.cut();
        }
        if let Some(copy) = flying.pop_front() {
            done.push(Answered { is_cut: true, ..answer.end(copy, status) });
        }
        if flying.is_empty() { Ended::Announced } else { Ended::Failed(Failure::Closed) }
    }

    /// Settles what one read completed. Answers that came together share the time since those before them evenly: how
    /// long each was in the making cannot be seen from here.
    fn settle(&self, done: &mut Vec<Answered>, now_us: u64, pace: &mut Pace) {
        let Some(latency_us) = (now_us - pace.last_us).checked_div(done.len() as u64) else { return };
        pace.last_us = now_us;
        for Answered { copy, status, bytes, is_cut, kept } in done.drain(..) {
            let is_sure = pace.is_lone && !is_cut;
            copy.ticket.complete(Half { status, latency_us, bytes, is_sure }, kept);
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
    /// It carries one copy, whose time is nobody else's: behind another, an answer may be ready long before it comes, or
    /// wait for its turn.
    is_lone: bool,
}

/// A copy and what matters of its answer.
struct Answered {
    copy: RequestCopy,
    status: u16,
    bytes: u64,
    /// It was not read to its end.
    is_cut: bool,
    kept: Option<Kept>,
}

enum After {
    Keep,
    Close,
}

/// How a batch ended.
enum Ended {
    /// Every copy answered, nothing left over, the connection kept.
    InStep,
    /// The mirror said that it closes after an answer; what is still in flight was not looked at.
    Announced,
    Failed(Failure),
}

/// One answer being read.
struct Answer {
    /// Of its heads, once the first byte was looked at.
    reader: Option<Reader>,
    /// What follows its final head, once that came.
    message: Option<Message>,
    /// Of content as it came, chunk sizes and extensions included.
    bytes: u64,
    /// What reading it costs, in bytes: heads, interim ones too, and each piece as so many more.
    cost: u64,
    /// How much of that was told.
    told: u64,
    content_bytes: u64,
    bytes_max: u64,
    /// Where it is to be compared.
    keeping: Option<Box<Keeping>>,
}

enum Progress {
    More { used: usize },
    Complete { used: usize, status: u16, keep_alive: bool },
    TooLong,
}

impl Answer {
    fn new(bytes_max: u64) -> Self {
        Self {
            reader: None,
            message: None,
            bytes: 0,
            cost: 0,
            told: 0,
            content_bytes: 0,
            bytes_max,
            keeping: None,
        }
    }

    /// What matters of it, now that it is over; the next one is read from here on.
    fn end(&mut self, copy: RequestCopy, status: u16) -> Answered {
        let kept = self.keeping.take().map(|keeping| keeping.end());
        let bytes = self.content_bytes;
        (self.reader, self.message) = (None, None);
        (self.bytes, self.content_bytes) = (0, 0);
        (self.cost, self.told) = (0, 0);
        Answered { copy, status, bytes, is_cut: false, kept }
    }

    fn advance(
        &mut self,
        input: &[u8],
        copy: &RequestCopy,
        shipper: &Shipper,
        closed: bool,
    ) -> Result<Progress, Failure> {
        let mut used = 0;
        while self.message.is_none() {
            let new_reader = || Reader::new(shipper.lane.response_heads.get(), copy.to_head);
            let reader = self.reader.get_or_insert_with(new_reader);
            let step =
                reader.head(&input[used..], |_, _| ()).map_err(|fault| Failure::Protocol(fault.detail()))?;
            let (len, message) = match step {
                Step::More => return Ok(Progress::More { used }),
                Step::Interim { used: len, .. } => (len, None),
                Step::Head { used: len, message, .. } => (len, Some(message)),
            };
            let raw = &input[used..used + len];
            used += len;
            self.cost = self.cost.saturating_add(len as u64);
            if let (Some(message), bytes_max @ 1..) = (&message, copy.ticket.keeps_bytes()) {
                self.keeping = Keeping::begin(&shipper.budget, message.status, raw, bytes_max);
            }
            self.message = message;
        }
        let Some(message) = &mut self.message else { return Ok(Progress::More { used }) };
        let (keeping, content_bytes, mut pieces) = (&mut self.keeping, &mut self.content_bytes, 0_u64);
        let taken = message.read(&input[used..], |content| {
            pieces += 1;
            *content_bytes = content_bytes.saturating_add(content.len() as u64);
            keep(keeping, content);
        });
        let taken = taken.map_err(|fault| Failure::Protocol(fault.detail()))?;
        used += taken;
        self.bytes = self.bytes.saturating_add(taken as u64);
        self.cost = self.cost.saturating_add(taken as u64).saturating_add(pieces * ANSWER_PIECE_BYTES);
        if message.is_over(closed) {
            Ok(Progress::Complete { used, status: message.status, keep_alive: message.keeps })
        } else if self.bytes >= self.bytes_max {
            Ok(Progress::TooLong)
        } else {
            Ok(Progress::More { used })
        }
    }

    /// What reading it has cost since the last time this was asked; nothing while that is little. All of it counts once
    /// it is more.
    fn spent(&mut self) -> u64 {
        if self.cost <= ANSWER_SHORT_BYTES {
            return 0;
        }
        self.cost - std::mem::replace(&mut self.told, self.cost)
    }
}
