//! So much a second on one worker: a bucket of tokens, for requests taken, copies sent and bytes of answers read. Pure.

use std::cell::Cell;

use crate::limits::TICK_MS;

/// A worker's part of a rate. Credit is counted in whole units, so that nothing is lost to rounding: each millisecond
/// brings `per_second` units, and a token costs 1000 for each worker.
#[derive(Debug)]
pub struct Bucket {
    per_second: i64,
    cost: i64,
    credit_max: i64,
    /// Below zero where more was spent than was there.
    credit: Cell<i64>,
    seen_ms: Cell<u64>,
}

impl Bucket {
    /// `per_second` tokens over all `workers`. The bucket holds one at least, and as many as two ticks bring: the time handed
    /// in moves by ticks.
    pub fn new(per_second: u32, workers: usize) -> Self {
        let per_second = i64::from(per_second);
        let cost = i64::try_from(workers.max(1)).unwrap_or(i64::MAX).saturating_mul(1000);
        let credit_max = cost.max(per_second.saturating_mul(2 * TICK_MS as i64));
        Self { per_second, cost, credit_max, credit: Cell::new(credit_max), seen_ms: Cell::new(0) }
    }

    /// Whether it is a bucket of this rate.
    pub fn is_of(&self, per_second: u32, workers: usize) -> bool {
        let other = Self::new(per_second, workers);
        (self.per_second, self.cost) == (other.per_second, other.cost)
    }

    /// Takes one token, if it is there.
    pub fn take(&self, now_ms: u64) -> bool {
        let credit = self.refilled(now_ms);
        let is_there = credit >= self.cost;
        if is_there {
            self.credit.set(credit - self.cost);
        }
        is_there
    }

    /// Spends so many tokens, be they there or not.
    pub fn spend(&self, tokens: u64, now_ms: u64) {
        let cost = i64::try_from(tokens).unwrap_or(i64::MAX).saturating_mul(self.cost);
        self.credit.set(self.refilled(now_ms).saturating_sub(cost));
    }

    /// More was spent than there was, and it is not made up for yet.
    pub fn is_overspent(&self, now_ms: u64) -> bool {
        self.refilled(now_ms) < 0
    }

    /// All of it is there: it is as if it had never been used.
    pub fn is_full(&self, now_ms: u64) -> bool {
        self.refilled(now_ms) == self.credit_max
    }

    fn refilled(&self, now_ms: u64) -> i64 {
        let passed = now_ms.saturating_sub(self.seen_ms.replace(now_ms));
        let more = i64::try_from(passed).unwrap_or(i64::MAX).saturating_mul(self.per_second);
        let credit = self.credit.get().saturating_add(more).min(self.credit_max);
        self.credit.set(credit);
        credit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Copies taken in ten seconds of ticks at which `asked` are asked for.
    fn taken(bucket: &Bucket, asked: usize) -> usize {
        let ticks = (0..100).map(|tick| tick * TICK_MS);
        ticks.map(|now| (0..asked).filter(|_| bucket.take(now)).count()).sum()
    }

    #[test]
    fn a_worker_takes_its_part_of_the_rate_and_what_the_bucket_holds_once() {
        // 500 a second for each of two workers; two ticks' worth of 100 more at the start.
        assert_eq!(taken(&Bucket::new(1000, 2), 1000), 100 + 99 * 50);
        // Slower than a tick: a third of a copy a second.
        assert_eq!(taken(&Bucket::new(1, 3), 5), 1 + 3);
        // Asked for less than its part, it gives everything.
        assert_eq!(taken(&Bucket::new(1000, 2), 10), 1000);
    }

    #[test]
    fn silence_saves_nothing_beyond_the_bucket() {
        let bucket = Bucket::new(100, 1);
        assert_eq!((0..100).filter(|_| bucket.take(0)).count(), 20);
        assert_eq!((0..100).filter(|_| bucket.take(3_600_000)).count(), 20);
    }

    #[test]
    fn what_was_spent_beyond_it_is_made_up_for_in_time() {
        let bucket = Bucket::new(1000, 1);
        bucket.spend(200, 0);
        assert!(!bucket.is_overspent(0) && !bucket.take(0));
        bucket.spend(300, 0);
        assert!(bucket.is_overspent(0) && bucket.is_overspent(299));
        assert!(!bucket.is_overspent(300) && !bucket.take(300) && bucket.take(301));
        bucket.spend(u64::MAX, 400);
        assert!(bucket.is_overspent(1_000_000));
    }
}
