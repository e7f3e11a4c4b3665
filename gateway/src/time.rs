//! Lengths of time as a worker's coarse clock counts them. Pure.

use std::time::Duration;

/// A length of time in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// No deadline.
    pub const FOREVER: Self = Self(u64::MAX);

    /// So long, but not beyond `end_ms` of the worker's clock; `u64::MAX` is no end.
    pub fn until(self, end_ms: u64, now_ms: u64) -> Self {
        if end_ms == u64::MAX { self } else { Self(self.0.min(end_ms.saturating_sub(now_ms))) }
    }
}

/// Since when there is a connection, and how early in the last tenth of its greatest age it ends: those that came together
/// do not leave together.
#[derive(Debug, Clone, Copy)]
pub struct Age(u64);

impl Age {
    /// From `now_ms` on. `chance` is a random number.
    pub fn begin(now_ms: u64, chance: u64) -> Self {
        // In one word: idle connections hold it too.
        Self((now_ms << 8) | (chance & 0xff))
    }

    /// Whether it has ended, where `max` is the greatest that any may have.
    pub fn is_over(self, max: Option<Duration>, now_ms: u64) -> bool {
        let Some(max) = max else { return false };
        let (since_ms, chance, max_ms) = (self.0 >> 8, self.0 & 0xff, Millis::from(max).0);
        let early_ms = (u128::from(max_ms) * u128::from(chance) / 2560) as u64;
        now_ms.saturating_sub(since_ms) >= max_ms - early_ms
    }
}

impl From<Duration> for Millis {
    fn from(d: Duration) -> Self {
        Self(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_ends_in_the_last_tenth_of_its_age_and_without_a_bound_never() {
        let max = Some(Duration::from_millis(1_000));
        let ends = |chance| (0..).find(|ms| Age::begin(70_000, chance).is_over(max, 70_000 + ms));
        assert_eq!([0, 128, 255].map(ends), [Some(1_000), Some(950), Some(901)]);
        assert_eq!(ends(u64::MAX), Some(901));
        assert!(!Age::begin(0, 255).is_over(None, u64::MAX));
        let longest = Some(Duration::MAX);
        assert!(
            !Age::begin(0, 0).is_over(longest, u64::MAX - 1) && Age::begin(0, 0).is_over(longest, u64::MAX)
        );
    }
}
