//! How many copies a second a mirror gets from one worker: a bucket of tokens. Pure.

use std::cell::Cell;

use crate::limits::TICK_MS;

/// A worker's part of a mirror's `rate_max`. Credit is counted in whole units, so that nothing is lost to rounding: each
/// millisecond brings `per_second` units, and a copy costs 1000 for each worker.
#[derive(Debug)]
pub struct Bucket {
    per_second: u64,
    cost: u64,
    credit_max: u64,
    credit: Cell<u64>,
    seen_ms: Cell<u64>,
}

impl Bucket {
    /// `per_second` copies over all `workers`. It holds one copy at least, and what two ticks bring: the time handed in
    /// moves by ticks.
    pub fn new(per_second: u32, workers: usize) -> Self {
        let per_second = u64::from(per_second);
        let cost = (workers.max(1) as u64).saturating_mul(1000);
        let credit_max = cost.max(per_second * 2 * TICK_MS);
        Self { per_second, cost, credit_max, credit: Cell::new(credit_max), seen_ms: Cell::new(0) }
    }

    /// Takes one copy's token, if there is one.
    pub fn take(&self, now_ms: u64) -> bool {
        let passed = now_ms.saturating_sub(self.seen_ms.replace(now_ms));
        let credit = self.credit.get().saturating_add(passed.saturating_mul(self.per_second));
        let credit = credit.min(self.credit_max);
        let left = credit.checked_sub(self.cost);
        self.credit.set(left.unwrap_or(credit));
        left.is_some()
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
}
