//! The account of every copy: a ticket that can only end in one counted outcome.
//!
//! A ticket moves pending → waiting → in flight, each step counted when it happens; settling consumes it. A ticket that is lost
//! on the way (a panic, the end of the worker) settles itself when dropped, so the ledger balances whatever happens.

use std::sync::Arc;

use crate::grpc::Status;
use crate::metrics::{Class, DropReason, FailReason, LeftOut, MirrorCounters, SkipReason};
use crate::observe::keep::Kept;
use crate::observe::pairing::{Half, Joined};
use crate::observe::record::CopyEnd;

/// A copy of a request for one mirror.
#[derive(Debug)]
pub struct Ticket {
    counters: Arc<MirrorCounters>,
    stage: Stage,
    /// Its place beside the primary's exchange; apart from tests, every copy that is taken has one.
    joined: Option<Joined>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Pending,
    Waiting,
    InFlight,
    Settled,
}

impl Ticket {
    /// Opens the account of an eligible request.
    pub fn open(counters: &Arc<MirrorCounters>) -> Self {
        counters.eligible.inc();
        counters.pending.add(1);
        Self { counters: Arc::clone(counters), stage: Stage::Pending, joined: None }
    }

    /// Its outcome is told there too.
    pub fn join(&mut self, joined: Joined) {
        self.joined = Some(joined);
    }

    pub fn joined(&mut self) -> Option<&mut Joined> {
        self.joined.as_mut()
    }

    pub fn sampled_out(mut self) {
        self.leave();
        self.counters.sampled_out.inc();
        self.tell(CopyEnd::SampledOut);
    }

    pub fn skip(mut self, why: SkipReason) {
        self.leave();
        self.counters.skipped.inc(why);
        self.tell(CopyEnd::Skipped(why));
    }

    pub fn drop(mut self, why: DropReason) {
        self.leave();
        self.counters.dropped.inc(why);
        self.tell(CopyEnd::Dropped(why));
    }

    /// The copy is complete and goes into the ring.
    pub fn wait(&mut self) {
        debug_assert_eq!(self.stage, Stage::Pending, "only a pending copy can be queued");
        self.leave();
        self.counters.waiting.add(1);
        self.stage = Stage::Waiting;
    }

    /// Keeps these parts of the request for its record: the copy is about to be sent.
    pub fn keep<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]> + Clone) {
        if let Some(joined) = &mut self.joined {
            joined.keep(parts);
        }
    }

    /// Its first byte is about to be written.
    pub fn send(&mut self, now_us: u64) {
        debug_assert_eq!(self.stage, Stage::Waiting, "only a waiting copy can be sent");
        self.leave();
        self.counters.sent.inc();
        if let Some(joined) = &mut self.joined {
            self.counters.lag.record(joined.sent(now_us));
        }
        self.counters.in_flight.add(1);
        self.stage = Stage::InFlight;
    }

    /// Its mirror has less time to respond than the primary had: `left_ms`.
    pub fn has_less_time(&mut self, left_ms: u64) {
        if let Some(joined) = &mut self.joined {
            joined.left_ms = Some(left_ms);
        }
    }

    /// Notes that the copy ended without a response, so long after it was written.
    pub fn took(&mut self, us: u64) {
        if let Some(joined) = &mut self.joined {
            joined.took_us = us;
        }
    }

    /// Its end is no evidence.
    pub fn leave_out(&mut self, why: LeftOut) {
        if let Some(joined) = &mut self.joined {
            joined.left_out = Some(why);
        }
    }

    /// The account of the copy's mirror.
    pub fn account(&self) -> &Arc<MirrorCounters> {
        &self.counters
    }

    /// How much of its answer is to be kept; 0 for none.
    pub fn keeps_bytes(&self) -> usize {
        self.joined.as_ref().map_or(0, |joined| joined.keeps_bytes)
    }

    /// The mirror's answer is complete, so long after the copy was written.
    pub fn complete(mut self, half: Half, kept: Option<Kept>) {
        let Half { status, grpc, latency_us, .. } = half;
        self.leave();
        self.counters.latency.record(latency_us);
        // A call is of the class of its gRPC status, though its HTTP status is 200.
        self.counters.completed.inc(match grpc.map_or(status, Status::as_http) {
            ..200 => Class::C1,
            200..300 => Class::C2,
            300..400 => Class::C3,
            400..500 => Class::C4,
            500.. => Class::C5,
        });
        if let Some(joined) = self.joined.take() {
            joined.over(&self.counters, CopyEnd::Completed(status), half, kept);
        }
    }

    pub fn fail(mut self, why: FailReason) {
        self.leave();
        self.counters.failed.inc(why);
        self.tell(CopyEnd::Failed(why));
    }

    fn tell(&mut self, end: CopyEnd) {
        if let Some(joined) = self.joined.take() {
            joined.over(&self.counters, end, Half::default(), None);
        }
    }

    fn leave(&mut self) {
        match std::mem::replace(&mut self.stage, Stage::Settled) {
            Stage::Pending => self.counters.pending.add(-1),
            Stage::Waiting => self.counters.waiting.add(-1),
            Stage::InFlight => self.counters.in_flight.add(-1),
            Stage::Settled => {}
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let stage = self.stage;
        self.leave();
        match stage {
            Stage::Pending => {
                self.counters.skipped.inc(SkipReason::Aborted);
                self.tell(CopyEnd::Skipped(SkipReason::Aborted));
            }
            Stage::Waiting => {
                self.counters.dropped.inc(DropReason::Drain);
                self.tell(CopyEnd::Dropped(DropReason::Drain));
            }
            Stage::InFlight => {
                self.counters.failed.inc(FailReason::Drain);
                self.tell(CopyEnd::Failed(FailReason::Drain));
            }
            Stage::Settled => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::observe::pairing::Pairing;
    use crate::observe::{disclosure, tap};

    fn joined(pairing: &Rc<Pairing>) -> Joined {
        Joined {
            pairing: Rc::clone(pairing),
            mirror: 3,
            number: 0,
            span: [0; 8],
            is_paired: true,
            keeps_bytes: 77,
            lag_us: 0,
            request: None,
            left_ms: None,
            took_us: 0,
            left_out: None,
        }
    }

    fn balances(c: &MirrorCounters) -> bool {
        let at_rest = c.sampled_out.get() + c.skipped.sum() + c.dropped.sum() + c.sent.get();
        let under_way = c.pending.get() + c.waiting.get();
        c.eligible.get() == at_rest + under_way as u64
            && c.sent.get() == c.completed.sum() + c.failed.sum() + c.in_flight.get() as u64
    }

    #[test]
    fn the_ledger_balances_after_every_step_and_every_way_out() {
        let counters = Arc::new(MirrorCounters::default());
        let step = |ticket: Ticket, ways: usize| {
            assert!(balances(&counters));
            drop(ticket);
            assert!(balances(&counters), "way {ways}");
        };
        let open = || Ticket::open(&counters);
        let waiting = || {
            let mut t = open();
            t.wait();
            t
        };
        let sent = || {
            let mut t = waiting();
            t.send(0);
            t
        };
        step(open(), 0);
        step(waiting(), 1);
        step(sent(), 2);
        open().sampled_out();
        open().skip(SkipReason::Loop);
        open().drop(DropReason::BodyTooLarge);
        waiting().drop(DropReason::Oldest);
        sent().complete(Half { status: 204, latency_us: 7, ..Half::default() }, None);
        sent().fail(FailReason::Timeout);
        assert!(balances(&counters));
        assert_eq!(counters.eligible.get(), 9);
        assert_eq!(counters.sent.get(), 3);
        assert_eq!((counters.pending.get(), counters.waiting.get(), counters.in_flight.get()), (0, 0, 0));
        assert_eq!(counters.latency.sum(), 7);
        assert_eq!(counters.failed.get(FailReason::Drain), 1);
        assert_eq!(counters.skipped.get(SkipReason::Aborted), 1);
        assert_eq!(counters.dropped.get(DropReason::Drain), 1);
    }

    #[test]
    fn a_ticket_knows_its_pair_and_tells_it_how_long_the_copy_waited() {
        let counters = Arc::new(MirrorCounters::default());
        let mut ticket = Ticket::open(&counters);
        assert!(ticket.joined().is_none() && Arc::ptr_eq(ticket.account(), &counters));
        assert_eq!(ticket.keeps_bytes(), 0);
        let pairing = Rc::new(Pairing::default());
        pairing.forwarded(1_000);
        ticket.join(joined(&pairing));
        assert_eq!(ticket.joined().map(|joined| joined.mirror), Some(3));
        assert_eq!(ticket.keeps_bytes(), 77);
        ticket.wait();
        ticket.send(1_250);
        assert_eq!((counters.lag.count(), counters.lag.sum()), (1, 250));
        ticket.fail(FailReason::Reset);
        // A pair is counted when both of its sides are over.
        assert_eq!(counters.pairs.matrix.seen().count(), 0);
        drop(pairing);
        assert_eq!(counters.pairs.matrix.seen().map(|(_, _, n)| n).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_copy_whose_response_is_compared_is_kept_as_it_is_sent() {
        let (tap, _spout) = tap::tap(&Arc::default());
        tap.budget.set_max(1 << 20);
        let pairing = Rc::new(Pairing::recorded(disclosure::tests::record(""), &Rc::new(tap)));
        let mut ticket = Ticket::open(&Arc::default());
        ticket.join(joined(&pairing));
        ticket.keep([b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".as_slice()].into_iter());
        assert!(ticket.joined().is_some_and(|joined| joined.request.is_some()));
    }

    #[test]
    fn a_pair_is_told_of_its_copys_time_and_why_its_end_is_no_evidence() {
        let mut ticket = Ticket::open(&Arc::default());
        ticket.join(joined(&Rc::default()));
        ticket.has_less_time(20);
        ticket.took(3_000);
        ticket.leave_out(LeftOut::EndUnread);
        let told = ticket.joined().map(|joined| (joined.left_ms, joined.took_us, joined.left_out));
        assert_eq!(told, Some((Some(20), 3_000, Some(LeftOut::EndUnread))));
    }

    #[test]
    fn a_response_is_counted_in_its_class() {
        let counters = Arc::new(MirrorCounters::default());
        for status in [199, 200, 299, 300, 399, 400, 499, 500, 999] {
            let mut ticket = Ticket::open(&counters);
            ticket.wait();
            ticket.send(0);
            ticket.complete(Half { status, ..Half::default() }, None);
        }
        let classes = [Class::C1, Class::C2, Class::C3, Class::C4, Class::C5];
        assert_eq!(classes.map(|class| counters.completed.get(class)), [1, 2, 2, 2, 2]);
    }
}
