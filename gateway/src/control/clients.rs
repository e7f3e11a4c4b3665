//! Responses to clients of a route whose requests chance had copied to a mirror, and to those whose requests it left out: counts
//! that are kept, and added up where the share of copied requests is the same. `verdict` judges them. Pure.

use serde::{Deserialize, Serialize};

use crate::metrics::Slots;

/// The two arms of one trial.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clients {
    /// Millionths of the requests that are drawn, each by itself.
    pub share: u32,
    pub copied: Got,
    pub spared: Got,
}

/// Responses to the clients of one arm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Got {
    pub requests: u64,
    /// 4xx.
    pub refused: u64,
    /// 5xx.
    pub failed: u64,
    /// Microseconds.
    pub times: Slots,
}

impl Clients {
    /// Clients' figures without a request yet.
    pub fn none(share: u32) -> Self {
        Self { share, ..Self::default() }
    }

    /// Both together; of another share the first alone, for its coin is another.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        if self.share != other.share {
            return self.clone();
        }
        Self {
            share: self.share,
            copied: self.copied.plus(&other.copied),
            spared: self.spared.plus(&other.spared),
        }
    }

    /// The counts since an earlier look at the same counters; all of them where that was another trial.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        if self.share != before.share {
            return self.clone();
        }
        Self {
            share: self.share,
            copied: self.copied.since(&before.copied),
            spared: self.spared.since(&before.spared),
        }
    }
}

impl Got {
    fn plus(&self, other: &Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            refused: self.refused.saturating_add(other.refused),
            failed: self.failed.saturating_add(other.failed),
            times: Slots::together([&self.times, &other.times]),
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(before.requests),
            refused: self.refused.saturating_sub(before.refused),
            failed: self.failed.saturating_sub(before.failed),
            times: self.times.since(&before.times),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn got(n: u64) -> Got {
        let times: Slots = vec![(1_000, n), (2_000, n)].into();
        Got { requests: 2 * n, refused: n, failed: n / 2, times }
    }

    #[test]
    fn trials_of_one_share_are_added_up_and_taken_away_and_those_of_another_are_not() {
        let of = |share, n| Clients { share, copied: got(n), spared: got(9 * n) };
        assert_eq!(of(10, 3).plus(&of(10, 4)), of(10, 7));
        assert_eq!(of(10, 7).since(&of(10, 3)), of(10, 4));
        assert_eq!(of(10, 3).plus(&of(20, 4)), of(10, 3));
        assert_eq!(of(10, 7).since(&of(20, 3)), of(10, 7), "its counters begin anew with a share");
        let most =
            Clients { share: 10, copied: Got { requests: u64::MAX, ..got(u64::MAX / 4) }, ..of(10, 1) };
        assert_eq!(most.plus(&most).copied.requests, u64::MAX);
    }
}
