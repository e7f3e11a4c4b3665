//! A worker's knowledge of a mirror endpoint: whether it can be reached, and how many copies one write to it may carry. Pure:
//! events come in, with the worker's coarse time.

use std::cell::Cell;

use crate::address::Address;
use crate::limits::{HANG_UPS_MAX, MIRROR_BACKOFF_MS_MAX, PIPELINE_PENALTY_MS, TICK_MS};
use crate::tls::Callee;

/// The state of one mirror endpoint.
#[derive(Debug)]
pub struct Endpoint {
    pub address: Address,
    /// `None` is called in plaintext.
    pub callee: Option<Callee>,
    /// Connections in a row that ended without an answer although copies were there for them.
    hang_ups: Cell<u32>,
    /// Connects refused in a row.
    refusals: Cell<u32>,
    /// Connections open to it.
    live: Cell<usize>,
    retry_at_ms: Cell<u64>,
    /// The endpoint has answered and kept its connection: pipelining may be tried.
    keeps_alive: Cell<bool>,
    penalty_until_ms: Cell<u64>,
    /// The time that one more copy adds to a batch, in microseconds: at first a lone response's whole time, then the
    /// time between responses that were pipelined.
    service_time_us: Cell<u64>,
    /// Whether `service_time_us` was seen between pipelined answers.
    gap_measured: Cell<bool>,
    /// Lone responses since then: an old measurement is taken again.
    solo_responses: Cell<u32>,
    /// A batch is at most twice as long as the last that was answered in step.
    batch_limit: Cell<usize>,
    /// The mirror is not there any more.
    is_gone: Cell<bool>,
}

/// Head-of-line time we accept on one connection: the mirror answers a batch within it.
const BATCH_SERVICE_US_MAX: u64 = 10_000;

/// A lone answer that takes longer is never followed by a second copy on its connection, not even to learn how much of
/// the time is the mirror's and how much our own worker's turn.
const LONE_ANSWER_US_MAX: u64 = 100_000;

/// After so many lone answers a second copy measures the added time again.
const LEARN_EVERY: u32 = 64;

impl Endpoint {
    pub fn new((address, callee): (Address, Option<Callee>)) -> Self {
        Self {
            address,
            callee,
            hang_ups: Cell::new(0),
            refusals: Cell::new(0),
            live: Cell::new(0),
            retry_at_ms: Cell::new(0),
            keeps_alive: Cell::new(false),
            penalty_until_ms: Cell::new(0),
            service_time_us: Cell::new(0),
            gap_measured: Cell::new(false),
            solo_responses: Cell::new(0),
            batch_limit: Cell::new(1),
            is_gone: Cell::new(false),
        }
    }

    /// Whether the endpoint has a connection, may be tried now, or has not refused twice in a row.
    pub fn is_reachable(&self, now_ms: u64) -> bool {
        self.live.get() > 0 || self.refusals.get() < 2 || self.may_connect(now_ms)
    }

    /// Its pause after refusals is over, if it has one.
    pub fn may_connect(&self, now_ms: u64) -> bool {
        self.retry_at_ms.get() <= now_ms
    }

    /// The mirror is not there any more.
    pub fn leave(&self) {
        self.is_gone.set(true);
    }

    /// Whether its connections are to end.
    pub fn is_gone(&self) -> bool {
        self.is_gone.get()
    }

    pub fn is_refusing(&self) -> bool {
        self.refusals.get() > 0
    }

    /// A connect failed: the next one waits, twice as long each time.
    pub fn refused(&self, now_ms: u64) {
        let refusals = self.refusals.get().saturating_add(1);
        self.refusals.set(refusals);
        let pause = (TICK_MS << refusals.min(16)).min(MIRROR_BACKOFF_MS_MAX);
        self.retry_at_ms.set(now_ms + pause);
    }

    pub fn connected(&self) {
        self.live.set(self.live.get() + 1);
        if self.hang_ups.get() < HANG_UPS_MAX {
            self.refusals.set(0);
            self.retry_at_ms.set(0);
        }
    }

    /// Notes that the endpoint closed a connection, on which it got a copy or let none begin, without a response. A server that
    /// restarts, or dislikes a request, does so now and then. An endpoint that always does so is called as seldom as one that
    /// refuses, or each copy would cost a connection.
    pub fn hung_up(&self, now_ms: u64) {
        let hang_ups = self.hang_ups.get().saturating_add(1);
        self.hang_ups.set(hang_ups);
        if hang_ups >= HANG_UPS_MAX {
            self.refused(now_ms);
        }
    }

    /// Notes an answer: earlier failures are forgotten.
    pub fn answers(&self) {
        self.hang_ups.set(0);
        self.refusals.set(0);
        self.retry_at_ms.set(0);
    }

    pub fn closed(&self) {
        debug_assert!(self.live.get() > 0, "only a connection that was made can close");
        self.live.set(self.live.get().saturating_sub(1));
    }

    /// Notes that the endpoint answered a batch of `copies` (≥ 1) in step and kept the connection: all of it in `total_us`,
    /// from the first answer to the last in `spread_us`.
    pub fn answered(&self, copies: usize, total_us: u64, spread_us: u64) {
        self.keeps_alive.set(true);
        let grown = self.batch_limit.get();
        self.batch_limit.set(if copies >= grown { copies * 2 } else { (grown / 2).max(copies * 2) });
        if copies > 1 {
            self.solo_responses.set(0);
            let mut each = spread_us / (copies as u64 - 1);
            if total_us > LONE_ANSWER_US_MAX {
                // A server may work through them one by one and flush their answers together.
                each = each.max(total_us / copies as u64);
            }
            let before = self.service_time_us.get();
            // Slower is believed at once, faster bit by bit.
            let slower = !self.gap_measured.replace(true) || each >= before;
            self.service_time_us.set(if slower { each } else { (before * 3 + each) / 4 });
            return;
        }
        self.solo_responses.set(self.solo_responses.get() + 1);
        let changed = total_us > LONE_ANSWER_US_MAX || total_us < self.service_time_us.get() / 2;
        if !self.gap_measured.get() || changed || self.solo_responses.get() >= LEARN_EVERY {
            // Learn anew.
            self.solo_responses.set(0);
            self.gap_measured.set(false);
            self.service_time_us.set(total_us);
        }
    }

    /// Notes that the connection closed, broke, timed out or got out of step while copies were pipelined: one copy at a time
    /// for a while, and then from the beginning.
    pub fn misbehaved(&self, now_ms: u64) {
        self.penalty_until_ms.set(now_ms + PIPELINE_PENALTY_MS);
        self.gap_measured.set(false);
        self.batch_limit.set(1);
    }

    /// How many copies one write may carry. Pipelining saves a fast mirror's connection and our system calls; a slow
    /// one would only queue them behind each other, so a batch is never longer than 10 ms of its answers.
    pub fn depth(&self, pipeline_max: usize, now_ms: u64) -> usize {
        if !self.keeps_alive.get() || self.penalty_until_ms.get() > now_ms {
            return 1;
        }
        let each = self.service_time_us.get();
        let by_time = usize::try_from(BATCH_SERVICE_US_MAX / each.max(1)).unwrap_or(usize::MAX);
        // A lone response's time may have been our own turn: a second copy tells.
        let may_learn = !self.gap_measured.get() && each <= LONE_ANSWER_US_MAX;
        by_time.max(if may_learn { 2 } else { 1 }).min(self.batch_limit.get()).min(pipeline_max.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_grow_only_for_an_endpoint_that_is_proven_fast_and_in_step() {
        let endpoint = Endpoint::new(("127.0.0.1:1".parse().unwrap(), None));
        assert_eq!(endpoint.depth(32, 0), 1);
        // Twice as many each time.
        for depth in [2, 4, 8, 16, 32, 32] {
            let before = endpoint.depth(32, 0);
            endpoint.answered(before, 50 * before as u64, 50 * (before as u64 - 1));
            assert_eq!(endpoint.depth(32, 0), depth);
        }
        endpoint.answered(32, 64_000, 62_000);
        assert_eq!(endpoint.depth(32, 0), 5);
        endpoint.answered(5, 90_000, 0);
        assert_eq!(endpoint.depth(32, 0), 6, "90 ms may be our own turn");
        endpoint.answered(6, 600_000, 0);
        assert_eq!(endpoint.depth(32, 0), 1, "600 ms are not, although the answers came together");
        (1..LEARN_EVERY).for_each(|_| endpoint.answered(1, 60_000, 0));
        assert_eq!(endpoint.depth(32, 0), 1, "nothing new");
        endpoint.answered(1, 60_000, 0);
        assert_eq!(endpoint.depth(32, 0), 2, "but it is asked again");
        endpoint.answered(2, 60_200, 200);
        assert_eq!(endpoint.depth(32, 0), 4);
        endpoint.answered(4, 60_200, 600);
        endpoint.answered(1, 1_000_000, 0);
        assert_eq!(endpoint.depth(32, 0), 1, "much slower: not even one more");
        endpoint.answered(1, 100, 0);
        assert_eq!(endpoint.depth(1, 0), 1);
        endpoint.misbehaved(5);
        assert_eq!(endpoint.depth(32, 5), 1);
        assert_eq!(endpoint.depth(32, 5 + PIPELINE_PENALTY_MS), 1);
        endpoint.answered(1, 100, 0);
        assert_eq!(endpoint.depth(32, 5 + PIPELINE_PENALTY_MS), 2);
    }
}
