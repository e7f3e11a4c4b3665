//! The pace at which a lane's shippers read their mirror's answers, and call it: so much in a millisecond, so that no stretch
//! of the worker's time is theirs alone. Pure: the worker's microseconds come in.
//!
//! The lane's budget bounds the cost of its mirror as a whole. The budget's clock moves by ticks, and the bytes of a tick would
//! be read in one go: for some milliseconds the worker would do little else, and clients that came then would wait.

use std::cell::Cell;

use crate::limits::{ANSWER_BYTES_PER_MS, PACE_DEBT_MS_MAX};

/// A lane's pacer on one worker.
#[derive(Debug, Default)]
pub struct Pacer {
    /// The time at which the bytes that were read are paid for.
    paid_us: Cell<u64>,
}

impl Pacer {
    /// Counts the bytes read of a long response, or a cost that equals them; says when that is paid for, and the shipper that
    /// read may go on. They come back one after the other.
    pub fn spend(&self, bytes: u64, now_us: u64) -> u64 {
        let cost_us = bytes.saturating_mul(1000) / ANSWER_BYTES_PER_MS;
        let paid_us = self.paid_us.get().max(now_us).saturating_add(cost_us);
        // A larger debt is forgiven: no shipper waits for ever because others read much.
        self.paid_us.set(paid_us.min(now_us.saturating_add(PACE_DEBT_MS_MAX * 1000)));
        self.paid_us.get()
    }

    /// More is read than there is time for.
    pub fn is_behind(&self, now_us: u64) -> bool {
        self.paid_us.get().saturating_sub(now_us) >= 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_is_read_in_a_millisecond_whoever_reads_it() {
        let pacer = Pacer::default();
        let quarter = ANSWER_BYTES_PER_MS / 4;
        let paid: Vec<u64> = (0..5).map(|_| pacer.spend(quarter, 5_000)).collect();
        assert_eq!(paid, [5_250, 5_500, 5_750, 6_000, 6_250], "one after the other");
        assert!(pacer.is_behind(5_250) && !pacer.is_behind(5_251));
        assert_eq!(pacer.spend(quarter, 100_000), 100_250, "what was not used is not saved");
        let most = 100_000 + PACE_DEBT_MS_MAX * 1000;
        assert_eq!(
            [pacer.spend(u64::MAX, 100_000), pacer.spend(quarter, 100_000)],
            [most; 2],
            "a debt has an end"
        );
    }
}
