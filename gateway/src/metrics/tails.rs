//! Pairs with one time beyond a level and the other below it: a pair that is long on both sides speaks against neither. One
//! hiccup lengthens many in a row, so a cluster of exceedances counts once (runs declustering of extremal statistics).

use std::sync::Arc;

use super::{Counter, Gauge};

/// Times of which it is asked how many are longer: from 1 ms on each twice the one before. The mirror's are to be twice as long as
/// that: by less it is no tail, but slower as a whole.
pub const TAIL_LEVELS: usize = 13;
pub const LEAST_TAIL_US: u64 = 1_000;
pub const TAIL_TIMES: u64 = 2;

/// The run length: with fewer pairs below the level between them, two exceedances are of one cluster.
const RUN_LENGTH: i64 = 4;

/// Where clusters of exceedances of one mirror on one worker ended, over all of its routes: a hiccup is theirs together.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Clusters {
    pairs: Gauge,
    /// By level, the number of the last pair that was beyond it on one side alone; 0 is none.
    last: [Gauge; TAIL_LEVELS],
}

/// Clusters of exceedances in which one side alone was beyond each level.
#[derive(Debug, Default)]
pub struct Tails {
    pub clusters: Arc<Clusters>,
    pub only_mirror: [Counter; TAIL_LEVELS],
    pub only_primary: [Counter; TAIL_LEVELS],
}

impl Tails {
    pub fn of(clusters: &Arc<Clusters>) -> Self {
        Self { clusters: Arc::clone(clusters), ..Self::default() }
    }

    /// Counts a pair.
    pub fn count(&self, primary_us: u64, mirror_us: u64) {
        self.clusters.pairs.add(1);
        let number = self.clusters.pairs.get();
        let (ours, theirs) = (levels(primary_us), levels(mirror_us / TAIL_TIMES));
        let side = if theirs > ours { &self.only_mirror } else { &self.only_primary };
        let beyond = ours.min(theirs)..ours.max(theirs);
        for (counter, last) in side.iter().zip(&self.clusters.last).take(beyond.end).skip(beyond.start) {
            let is_new = last.get() == 0 || number - last.get() > RUN_LENGTH;
            last.set(number);
            if is_new {
                counter.inc();
            }
        }
    }
}

/// How many levels a time is beyond.
fn levels(us: u64) -> usize {
    let whole = us.saturating_sub(1) / LEAST_TAIL_US;
    // At most 64.
    ((u64::BITS - whole.leading_zeros()) as usize).min(TAIL_LEVELS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_beyond_the_levels_that_are_shorter() {
        let rows =
            [(0, 0), (1_000, 0), (1_001, 1), (2_000, 1), (2_001, 2), (64_001, 7), (u64::MAX, TAIL_LEVELS)];
        for (us, expect) in rows {
            assert_eq!(levels(us), expect, "{us}");
        }
    }

    #[test]
    fn what_one_hiccup_lengthens_is_one_cluster_and_what_is_long_on_both_sides_is_none() {
        let clusters = Arc::default();
        let [one, other] = [Tails::of(&clusters), Tails::of(&clusters)];
        let quiet = |of: &Tails| (0..9).for_each(|_| of.count(900, 900));
        let counts = |of: &Tails| (of.only_mirror[6].get(), of.only_primary[6].get());
        quiet(&one);
        // 64 ms, and twice as long.
        one.count(900, 150_000);
        one.count(900, 900);
        one.count(900, 150_000);
        // The same hiccup on another route.
        other.count(900, 150_000);
        assert_eq!((counts(&one), counts(&other)), ((1, 0), (0, 0)));
        quiet(&other);
        other.count(900, 150_000);
        quiet(&one);
        one.count(150_000, 150_000);
        one.count(70_000, 900);
        assert_eq!((counts(&one), counts(&other)), ((1, 1), (1, 0)));
        assert_eq!(one.only_mirror[12].get(), 0);
    }
}
