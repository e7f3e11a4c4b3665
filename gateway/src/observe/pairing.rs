//! An exchange and its copies, joined: the one that ends last completes their record. Pure.
//!
//! The exchange holds the pairing and so does every copy's ticket, whatever the end of the copy; with the last of them it is
//! dropped, and that is the one moment at which a record leaves. Times are the worker's microseconds.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::keep::{self, Held, Kept};
use super::record::{CopyEnd, CopyLeg, PrimaryLeg, Record, Request};
use super::tap::{Sealed, Tap};
use crate::grpc::Status;
use crate::metrics::{Code, FailReason, LeftOut, MirrorCounters, MirrorEnd, PrimaryEnd, times_as_long};

/// The outcome of an exchange and its copies so far.
#[derive(Debug, Default)]
pub struct Pairing {
    /// How the primary's part ended, once it did.
    primary: Cell<Option<PrimaryHalf>>,
    /// Copies that ended before it; the first apart from the rest, because most requests have one.
    early: RefCell<Option<Early>>,
    more: RefCell<Vec<Early>>,
    forwarded_us: Cell<u64>,
    /// Some copy's answer is to be compared; so many bytes of the primary's are to be kept.
    keeps_bytes: Cell<usize>,
    /// Where a record is made.
    detail: Option<Box<RefCell<Detail>>>,
}

type Early = (Arc<MirrorCounters>, MirrorHalf);

/// A whole answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Half {
    pub status: u16,
    /// Of a call.
    pub grpc: Option<Status>,
    pub latency_us: u64,
    pub bytes: u64,
    /// The time is its own request's alone: no other was waited for meanwhile.
    pub is_sure: bool,
}

/// How an exchange with the primary ended.
#[derive(Debug, Clone, Copy)]
pub enum PrimaryHalf {
    Answered(Half),
    /// No whole response came.
    Failed,
    /// No comparison waits for its response.
    Abandoned,
}

/// How a copy that was sent ended.
#[derive(Debug, Clone, Copy)]
enum MirrorHalf {
    Answered(Half),
    Failed(MirrorEnd),
}

#[derive(Debug)]
struct Detail {
    sealed: Sealed,
    tap: Rc<Tap>,
}

impl Pairing {
    /// A pairing that becomes a record.
    pub fn recorded(record: Record, tap: &Rc<Tap>) -> Self {
        let sealed = Sealed { record, held: Vec::new(), said: None };
        let detail = Detail { sealed, tap: Rc::clone(tap) };
        let mut pairing = Self::default();
        pairing.detail = Some(Box::new(RefCell::new(detail)));
        pairing
    }

    /// Whether it becomes a record.
    pub fn is_recorded(&self) -> bool {
        self.detail.is_some()
    }

    /// Changes the record, where there is one.
    pub fn note(&self, change: impl FnOnce(&mut Record)) {
        if let Some(detail) = &self.detail {
            change(&mut detail.borrow_mut().sealed.record);
        }
    }

    /// The whole request has been written to the primary.
    pub fn forwarded(&self, now_us: u64) {
        self.forwarded_us.set(now_us);
    }

    /// An answer to one of its copies is to be compared.
    pub fn keep(&self, bytes: usize) {
        self.keeps_bytes.set(self.keeps_bytes.get().max(bytes));
    }

    /// How much of the primary's answer is to be kept; 0 for none.
    pub fn keeps_bytes(&self) -> usize {
        if self.is_recorded() { self.keeps_bytes.get() } else { 0 }
    }

    /// The exchange with the primary is over.
    pub fn primary_over(&self, half: PrimaryHalf, leg: impl FnOnce() -> PrimaryLeg, kept: Option<Kept>) {
        self.primary.set(Some(half));
        self.settle(half);
        if let Some(detail) = &self.detail {
            let Sealed { record, held, said: _ } = &mut detail.borrow_mut().sealed;
            let mut leg = leg();
            if let Some((answer, room)) = kept {
                leg.answer = Some(answer);
                held.push(room);
            }
            record.primary = Some(leg);
        }
    }

    /// A copy that was sent is over.
    fn mirror_over(&self, counters: &Arc<MirrorCounters>, half: MirrorHalf) {
        if let Some(primary) = self.primary.get() {
            return count(counters, primary, half);
        }
        let early = (Arc::clone(counters), half);
        match &mut *self.early.borrow_mut() {
            empty @ None => *empty = Some(early),
            Some(_) => self.more.borrow_mut().push(early),
        }
    }

    /// Counts the copies that waited for the primary's end.
    fn settle(&self, primary: PrimaryHalf) {
        let Some((counters, mirror)) = self.early.take() else { return };
        count(&counters, primary, mirror);
        for (counters, mirror) in self.more.take() {
            count(&counters, primary, mirror);
        }
    }
}

impl Drop for Pairing {
    fn drop(&mut self) {
        self.settle(PrimaryHalf::Abandoned);
        if let Some(detail) = self.detail.take() {
            let Detail { sealed, tap } = detail.into_inner();
            tap.push(Box::new(sealed));
        }
    }
}

fn count(counters: &MirrorCounters, primary: PrimaryHalf, mirror: MirrorHalf) {
    let pairs = &counters.pairs;
    let row = match primary {
        PrimaryHalf::Answered(half) => PrimaryEnd::Code(Code::of_answer(half.status, half.grpc)),
        PrimaryHalf::Failed => PrimaryEnd::None,
        PrimaryHalf::Abandoned => PrimaryEnd::Abandoned,
    };
    let mirror = match mirror {
        MirrorHalf::Failed(end) => return pairs.matrix.inc(row, end),
        MirrorHalf::Answered(half) => half,
    };
    pairs.matrix.inc(row, MirrorEnd::Code(Code::of_answer(mirror.status, mirror.grpc)));
    let PrimaryHalf::Answered(primary) = primary else { return };
    pairs.primary.record(primary.latency_us);
    if primary.is_sure && mirror.is_sure {
        pairs.sure_primary.record(primary.latency_us);
        pairs.sure_mirror.record(mirror.latency_us);
        pairs.ratios.record(times_as_long(mirror.latency_us, primary.latency_us));
        pairs.tails.count(primary.latency_us, mirror.latency_us);
    }
    match mirror.latency_us.checked_sub(primary.latency_us) {
        Some(slower) => pairs.slower.record(slower),
        None => pairs.faster.record(primary.latency_us - mirror.latency_us),
    }
    pairs.primary_bytes.record(primary.bytes);
    pairs.mirror_bytes.record(mirror.bytes);
}

/// A copy's place in its pairing.
#[derive(Debug)]
pub struct Joined {
    pub pairing: Rc<Pairing>,
    /// Index among the route's mirrors.
    pub mirror: usize,
    /// 0, and on where the mirror amplifies.
    pub number: u32,
    /// Named to the mirror as its parent; zero where none was drawn.
    pub span: [u8; 8],
    /// Its answer is set beside the primary's.
    pub is_paired: bool,
    /// How much of its answer is to be kept; 0 for none.
    pub keeps_bytes: usize,
    /// From the request forwarded to the copy sent; 0 until then.
    pub lag_us: u64,
    /// The copy itself, where its answer is to be compared.
    pub request: Option<(Request, Held)>,
    /// Time that a call has, where waiting has lowered it.
    pub left_ms: Option<u64>,
    /// From its last byte to its end, where it ended without a response.
    pub took_us: u64,
    /// Why its end is no evidence.
    pub left_out: Option<LeftOut>,
}

impl Joined {
    /// Why this end is no evidence; `None` where it is. The mirror's clock may be a millisecond ahead.
    fn exclusion(&self, end: CopyEnd, half: Half) -> Option<LeftOut> {
        let took_us = match end {
            CopyEnd::Completed(_) if half.grpc == Some(Status::DEADLINE_EXCEEDED) => Some(half.latency_us),
            // Some servers reset a call whose time is up.
            CopyEnd::Failed(FailReason::Reset) => Some(self.took_us),
            CopyEnd::Completed(_) | CopyEnd::Failed(_) => None,
            CopyEnd::SampledOut | CopyEnd::Skipped(_) | CopyEnd::Dropped(_) => None,
        };
        let is_up = |left_ms: u64| took_us.is_some_and(|took_us| took_us / 1000 + 1 >= left_ms);
        let of_time = self.left_ms.filter(|left_ms| is_up(*left_ms)).map(|_| LeftOut::LessTime);
        self.left_out.or(of_time)
    }

    /// The copy is being sent; returns how long after the request was forwarded.
    pub fn sent(&mut self, now_us: u64) -> u64 {
        self.lag_us = now_us.saturating_sub(self.pairing.forwarded_us.get());
        self.lag_us
    }

    /// The copy is about to be sent, in these parts: kept where its answer is to be compared.
    pub fn keep<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]> + Clone) {
        if self.keeps_bytes == 0 {
            return;
        }
        if let Some(detail) = &self.pairing.detail {
            self.request = keep::request(&detail.borrow().tap.budget, parts);
        }
    }

    /// The copy is over. `half`: its whole answer, where it is completed.
    pub fn over(self, counters: &Arc<MirrorCounters>, end: CopyEnd, half: Half, kept: Option<Kept>) {
        let mirror = match end {
            CopyEnd::SampledOut | CopyEnd::Skipped(_) | CopyEnd::Dropped(_) => None,
            CopyEnd::Failed(why) => Some(MirrorHalf::Failed(MirrorEnd::Failed(why))),
            CopyEnd::Completed(_) => Some(MirrorHalf::Answered(half)),
        };
        let exclusion = self.exclusion(end, half);
        match (mirror.filter(|_| self.is_paired), exclusion) {
            (Some(_), Some(why)) => counters.left_out.inc(why),
            (Some(mirror), None) => self.pairing.mirror_over(counters, mirror),
            (None, Some(_) | None) => {}
        }
        let Some(detail) = &self.pairing.detail else { return };
        let Self { mirror, number, span, lag_us, keeps_bytes, request, .. } = self;
        let (answer, room) = kept.unzip();
        // Without two responses it is not made again.
        let (request, of_request) = request.filter(|_| answer.is_some()).unzip();
        let Half { latency_us, bytes: response_bytes, .. } = half;
        // The response of a call that ran out of time is no version's answer.
        let compares = keeps_bytes > 0 && exclusion != Some(LeftOut::LessTime);
        let leg = CopyLeg {
            mirror,
            number,
            span,
            end,
            lag_us,
            latency_us,
            response_bytes,
            compares,
            answer,
            request,
        };
        let Sealed { record, held, said: _ } = &mut detail.borrow_mut().sealed;
        record.copies.push(leg);
        held.extend(room);
        held.extend(of_request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::SkipReason;

    fn joined(pairing: &Rc<Pairing>) -> Joined {
        let pairing = Rc::clone(pairing);
        Joined {
            pairing,
            mirror: 0,
            number: 0,
            span: [0; 8],
            is_paired: true,
            keeps_bytes: 0,
            lag_us: 0,
            request: None,
            left_ms: None,
            took_us: 0,
            left_out: None,
        }
    }

    fn leg() -> PrimaryLeg {
        unreachable!("nobody wants a record")
    }

    #[test]
    fn a_pair_is_counted_once_whichever_side_ends_first() {
        let counters = Arc::new(MirrorCounters::default());
        let half = |status, latency_us, bytes| Half {
            status,
            grpc: None,
            latency_us,
            bytes,
            is_sure: latency_us >= 50,
        };
        let primary = PrimaryHalf::Answered(half(200, 50, 7));
        for mirror_first in [true, false] {
            let pairing = Rc::new(Pairing::default());
            let copies = [joined(&pairing), joined(&pairing), joined(&pairing), joined(&pairing)];
            if !mirror_first {
                pairing.primary_over(primary, leg, None);
            }
            let [answered, quick, failed, skipped] = copies;
            answered.over(&counters, CopyEnd::Completed(500), half(500, 80, 9), None);
            quick.over(&counters, CopyEnd::Completed(200), half(200, 20, 7), None);
            failed.over(&counters, CopyEnd::Failed(FailReason::Timeout), Half::default(), None);
            skipped.over(&counters, CopyEnd::Skipped(SkipReason::Loop), Half::default(), None);
            if mirror_first {
                assert_eq!(counters.pairs.matrix.seen().count(), 0);
                pairing.primary_over(primary, leg, None);
            }
        }
        let seen: Vec<_> = counters.pairs.matrix.seen().collect();
        let row = PrimaryEnd::Code(Code::of(200));
        let expect = [
            MirrorEnd::Code(Code::of(200)),
            MirrorEnd::Code(Code::of(500)),
            MirrorEnd::Failed(FailReason::Timeout),
        ];
        assert_eq!(seen, expect.map(|mirror| (row, mirror, 2)));
        let pairs = &counters.pairs;
        assert_eq!((pairs.primary.count(), pairs.primary.sum()), (4, 200));
        assert_eq!((pairs.slower.sum(), pairs.faster.sum()), (60, 60));
        let sure = [&pairs.sure_primary, &pairs.sure_mirror].map(|of| (of.count(), of.sum()));
        assert_eq!(sure, [(2, 100), (2, 160)], "both sides of the same pairs");
        assert_eq!(pairs.ratios.count(), 2, "of which each is a ratio too");
        assert_eq!((pairs.primary_bytes.sum(), pairs.mirror_bytes.sum()), (28, 32));
    }

    #[test]
    fn what_a_copy_with_less_time_or_an_unread_end_came_to_is_evidence_of_neither_side() {
        let exceeded = |grpc: u8, latency_us| Half {
            status: 200,
            grpc: Some(Status::of(grpc)),
            latency_us,
            ..Half::default()
        };
        let (whole, reset) = (CopyEnd::Completed(200), CopyEnd::Failed(FailReason::Reset));
        let (less, unread) = (Some(LeftOut::LessTime), Some(LeftOut::EndUnread));
        // Time that was left, time that it took, how it ended.
        let rows = [
            (Some(100), whole, exceeded(4, 99_000), 0, less),
            (Some(100), whole, exceeded(4, 98_000), 0, None),
            (Some(100), whole, exceeded(13, 200_000), 0, None),
            (None, whole, exceeded(4, 200_000), 0, None),
            (Some(100), reset, Half::default(), 100_000, less),
            (Some(100), reset, Half::default(), 9_000, None),
            (Some(100), CopyEnd::Failed(FailReason::Timeout), Half::default(), 0, None),
        ];
        for (left_ms, end, half, took_us, why) in rows {
            let counters = Arc::new(MirrorCounters::default());
            let pairing = Rc::new(Pairing::default());
            let copy = Joined { left_ms, took_us, ..joined(&pairing) };
            let cut = Joined { left_out: unread, ..joined(&pairing) };
            pairing.primary_over(PrimaryHalf::Answered(exceeded(0, 1)), leg, None);
            copy.over(&counters, end, half, None);
            let seen = counters.pairs.matrix.seen().count();
            let counted = counters.left_out.get(LeftOut::LessTime);
            assert_eq!((seen, counted), if why == less { (0, 1) } else { (1, 0) }, "{left_ms:?} {end:?}");
            cut.over(&counters, whole, Half { grpc: None, ..half }, None);
            assert_eq!(counters.pairs.matrix.seen().count(), seen);
            assert_eq!(counters.left_out.get(LeftOut::EndUnread), 1);
        }
    }

    #[test]
    fn times_that_are_not_either_sides_own_are_left_out_and_so_is_what_is_no_pair() {
        let counters = Arc::new(MirrorCounters::default());
        let half = |is_sure| Half { status: 200, grpc: None, latency_us: 9, bytes: 1, is_sure };
        for (primary_sure, is_paired) in [(false, true), (true, false)] {
            let pairing = Rc::new(Pairing::default());
            let copies = [CopyEnd::Completed(200), CopyEnd::Failed(FailReason::Reset)];
            let copies = copies.map(|end| (Joined { is_paired, ..joined(&pairing) }, end));
            pairing.primary_over(PrimaryHalf::Answered(half(primary_sure)), leg, None);
            copies.into_iter().for_each(|(copy, end)| copy.over(&counters, end, half(true), None));
        }
        let pairs = &counters.pairs;
        let seen: u64 = pairs.matrix.seen().map(|(_, _, n)| n).sum();
        assert_eq!((seen, pairs.primary.count(), pairs.sure_primary.count()), (2, 1, 0));
    }

    #[test]
    fn a_primary_that_failed_is_told_from_a_client_that_went_away() {
        let counters = Arc::new(MirrorCounters::default());
        for primary in [PrimaryHalf::Failed, PrimaryHalf::Abandoned] {
            let pairing = Rc::new(Pairing::default());
            let early = joined(&pairing);
            let late = joined(&pairing);
            early.over(&counters, CopyEnd::Failed(FailReason::Reset), Half::default(), None);
            pairing.primary_over(primary, leg, None);
            late.over(&counters, CopyEnd::Failed(FailReason::Reset), Half::default(), None);
        }
        let seen: Vec<_> = counters.pairs.matrix.seen().collect();
        let reset = MirrorEnd::Failed(FailReason::Reset);
        assert_eq!(seen, [(PrimaryEnd::None, reset, 2), (PrimaryEnd::Abandoned, reset, 2)]);
    }

    #[test]
    fn a_copy_whose_exchange_came_to_nothing_speaks_against_nobody() {
        let counters = Arc::new(MirrorCounters::default());
        let pairing = Rc::new(Pairing::default());
        let late = joined(&pairing);
        joined(&pairing).over(
            &counters,
            CopyEnd::Completed(204),
            Half { status: 204, ..Half::default() },
            None,
        );
        drop(pairing);
        late.over(&counters, CopyEnd::Failed(FailReason::Reset), Half::default(), None);
        let seen: Vec<_> = counters.pairs.matrix.seen().collect();
        let nobody = PrimaryEnd::Abandoned;
        assert_eq!(
            seen,
            [(nobody, MirrorEnd::Code(Code::of(204)), 1), (nobody, MirrorEnd::Failed(FailReason::Reset), 1)]
        );
        assert_eq!(counters.pairs.primary.count(), 0);
    }
}
