//! Draws that are even over a few requests too, not only on average: stratified. Pure but for their own state.

use std::cell::Cell;

use crate::mix::mix;
use crate::random::Random;

/// A worker's draws for the requests of one route.
#[derive(Debug, Default)]
pub struct Strata {
    /// The number of draws so far, counted from a number that is drawn itself; 0 before the first.
    drawn: Cell<u64>,
}

impl Strata {
    /// Uniform in `0..bound`, with a bias below one in 2^32; 0 for a bound of 0.
    ///
    /// Of each ten in a row one falls into each tenth, and of each hundred one into each hundredth, in an order that is drawn anew.
    /// So 20 % of a route's requests are two of each ten, counted from its first, not two on average, and no rhythm of requests meets one
    /// of ours.
    pub fn below(&self, bound: u64, random: &Random) -> u64 {
        let at = match self.drawn.get() {
            // A hundred begins with it.
            0 => (random.next() >> 8) * 100,
            at => at,
        };
        self.drawn.set(at + 1);
        let tenth = turned(at / 10, at);
        let hundredth = turned(mix(at / 100).wrapping_add(tenth), at / 10);
        let rest = (u128::from(random.next() >> 32) * u128::from(bound)) >> 32;
        ((u128::from(tenth * 10 + hundredth) * u128::from(bound) + rest) / 100) as u64
    }
}

/// The digit at a place among all ten, in an order that `key` draws; the last digit of `place` counts.
fn turned(key: u64, place: u64) -> u64 {
    let drawn = mix(key);
    // Of every factor that has none in common with ten, and from any digit on.
    let factor = [1, 3, 7, 9][(drawn & 3) as usize];
    let first = ((drawn >> 32) * 10) >> 32;
    (factor * (place % 10) + first) % 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_ten_draws_one_is_in_each_tenth_and_of_a_hundred_one_in_each_hundredth() {
        for seed in 0..100 {
            let (random, strata) = (Random::new(seed), Strata::default());
            let draws: Vec<u64> = (0..1000).map(|_| strata.below(1_000_000, &random)).collect();
            for (count, width) in [(10, 100_000), (100, 10_000)] {
                for draws in draws.chunks(count) {
                    let mut strata: Vec<u64> = draws.iter().map(|draw| draw / width).collect();
                    strata.sort_unstable();
                    assert!(strata.iter().copied().eq(0..count as u64), "{draws:?}");
                }
            }
        }
    }

    #[test]
    fn of_two_hundred_draws_in_a_row_wherever_they_begin_no_share_from_0_on_is_missed_by_more_than_ten() {
        for seed in 0..100 {
            let (random, strata) = (Random::new(seed), Strata::default());
            let draws: Vec<u64> = (0..1_000).map(|_| strata.below(100, &random)).collect();
            for (draws, percent) in draws.windows(200).zip((0..=100).cycle()) {
                let taken = draws.iter().filter(|draw| **draw < percent).count() as u64;
                assert!(taken.abs_diff(percent * 2) <= 10, "{percent} %: {taken}");
            }
        }
    }

    #[test]
    fn the_order_of_ten_draws_is_drawn_itself() {
        let (random, strata) = (Random::new(1), Strata::default());
        let orders = (0..2_000).map(|_| [(); 10].map(|()| strata.below(10, &random)));
        // Four factors, and ten digits to begin with.
        assert_eq!(orders.collect::<std::collections::BTreeSet<_>>().len(), 40);
    }

    #[test]
    fn a_share_of_less_than_a_hundredth_is_met_by_chance() {
        let (random, strata) = (Random::new(3), Strata::default());
        let draws: Vec<u64> = (0..1_000_000).map(|_| strata.below(1_000_000, &random)).collect();
        for per_million in [100, 3_000, 9_990, 12_345] {
            let taken = draws.iter().filter(|draw| **draw < per_million).count() as f64;
            let (n, p) = (draws.len() as f64, per_million as f64 / 1e6);
            assert!((taken - n * p).abs() <= 3.0 * (n * p * (1.0 - p)).sqrt(), "{per_million}: {taken}");
        }
    }

    #[test]
    fn no_rhythm_of_requests_meets_one_of_the_draws() {
        // Of requests of which each tenth, or each third, is of one kind, the kind has its share of copies.
        for (every, share) in [(10, 100_000), (10, 10_000), (3, 300_000), (2, 200_000), (100, 10_000)] {
            let (random, strata) = (Random::new(11), Strata::default());
            let n = 2_000_000;
            let takes = |at: usize| (at.is_multiple_of(every), strata.below(1_000_000, &random) < share);
            let kind: Vec<bool> =
                (0..n).map(takes).filter(|(is_kind, _)| *is_kind).map(|(_, takes)| takes).collect();
            let (of, p) = (kind.len() as f64, share as f64 / 1e6);
            let taken = kind.iter().filter(|takes| **takes).count() as f64;
            let sigma = (of * p * (1.0 - p)).sqrt();
            assert!((taken - of * p).abs() <= 4.0 * sigma, "each {every}th at {share}: {taken} of {of}");
        }
    }

    #[test]
    fn draws_of_two_routes_have_nothing_to_do_with_each_other() {
        let (random, one, other) = (Random::new(5), Strata::default(), Strata::default());
        let both = (0..100_000).filter(|_| one.below(2, &random) + other.below(2, &random) == 0).count();
        assert!((24_000..26_000).contains(&both), "{both}");
    }

    #[test]
    fn every_number_below_a_bound_is_drawn_and_none_beyond_it() {
        for bound in [1, 2, 3, 7, 300] {
            let (random, strata) = (Random::new(bound), Strata::default());
            let drawn = (0..100_000).map(|_| strata.below(bound, &random));
            let mut counts = vec![0_u32; bound as usize];
            drawn.for_each(|at| counts[at as usize] += 1);
            let mean = 100_000.0 / bound as f64;
            let is_even = |count: &u32| (f64::from(*count) - mean).abs() <= 5.0 * mean.sqrt();
            assert!(counts.iter().all(is_even), "{bound}: {counts:?}");
        }
        let random = Random::new(1);
        assert_eq!(Strata::default().below(0, &random), 0);
        let strata = Strata::default();
        let large = (0..1_000).map(|_| strata.below(u64::MAX, &random));
        assert_eq!(large.filter(|drawn| *drawn > u64::MAX / 2).count(), 500);
    }
}
