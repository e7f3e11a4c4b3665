//! The decision to copy: one draw for each request, compared with each mirror's share.
//!
//! One draw serves all mirrors of a request, so a smaller share is always a subset of a larger one (as in Envoy).

use std::cell::Cell;

use config::Percent;

use crate::mix::mix;
use crate::random::Random;

/// The draw of a request: uniform in 0..1_000_000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw(u32);

impl Draw {
    pub fn of(random: &Random) -> Self {
        // The upper half of a 32 × 20 bit product: no division, and a bias below 1e-9.
        Self((((random.next() >> 32) * 1_000_000) >> 32) as u32)
    }

    /// The draw of a key, by its hash: the same wherever and whenever that key is seen.
    ///
    /// The hash is mixed once more, because it also chooses endpoints: the sessions that are copied must not
    /// be those of one endpoint.
    pub fn of_key(hash: u64) -> Self {
        Self((((mix(hash) >> 32) * 1_000_000) >> 32) as u32)
    }

    /// Whether a mirror with this share gets the copy. 0 is never, 100 % is always.
    pub fn takes(self, share: Percent) -> bool {
        self.takes_copy(share, 0)
    }

    /// Whether a mirror with this share gets the copy with this number, counted from 0: a share of 250 % always gets the
    /// first two and half of the third ones.
    pub fn takes_copy(self, share: Percent, number: u32) -> bool {
        self.0 < share.per_million.saturating_sub(number.saturating_mul(Percent::ALL.per_million))
    }
}

/// A route's draws on one worker, stratified: of each ten in a row one falls into each tenth, and of each hundred one into each
/// hundredth, in an order that is drawn anew. So 20 % of a route's requests are two of ten, not two of ten on average, and no
/// rhythm of requests meets one of ours.
///
/// Pure but for its own state: how many draws there were, from a number of its own on; 0 before the first.
#[derive(Debug, Default)]
pub struct Strata(Cell<u64>);

impl Strata {
    pub fn draw(&self, random: &Random) -> Draw {
        let at = match self.0.get() {
            // A hundred begins with it.
            0 => (random.next() >> 8) * 100,
            at => at,
        };
        self.0.set(at + 1);
        let tenth = turned(at / 10, at);
        let hundredth = turned(mix(at / 100).wrapping_add(tenth), at / 10);
        let rest = ((random.next() >> 32) * 10_000) >> 32;
        Draw((tenth * 100_000 + hundredth * 10_000 + rest) as u32)
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
            let draws: Vec<u32> = (0..1000).map(|_| strata.draw(&random).0).collect();
            for (count, width) in [(10, 100_000), (100, 10_000)] {
                for draws in draws.chunks(count) {
                    let mut strata: Vec<u32> = draws.iter().map(|draw| draw / width).collect();
                    strata.sort_unstable();
                    assert!(strata.iter().copied().eq(0..count as u32), "{draws:?}");
                }
            }
        }
    }

    #[test]
    fn the_order_of_ten_draws_is_drawn_itself() {
        let (random, strata) = (Random::new(1), Strata::default());
        let orders = (0..2_000).map(|_| [(); 10].map(|()| strata.draw(&random).0 / 100_000));
        // Four factors, and ten digits to begin with.
        assert_eq!(orders.collect::<std::collections::BTreeSet<_>>().len(), 40);
    }

    #[test]
    fn a_share_of_less_than_a_hundredth_is_met_by_chance() {
        let (random, strata) = (Random::new(3), Strata::default());
        let draws: Vec<Draw> = (0..1_000_000).map(|_| strata.draw(&random)).collect();
        for per_million in [100, 3_000, 9_990, 12_345] {
            let taken = draws.iter().filter(|draw| draw.takes(Percent { per_million })).count() as f64;
            let (n, p) = (draws.len() as f64, f64::from(per_million) / 1e6);
            assert!((taken - n * p).abs() <= 3.0 * (n * p * (1.0 - p)).sqrt(), "{per_million}: {taken}");
        }
    }

    #[test]
    fn no_rhythm_of_requests_meets_one_of_the_draws() {
        // Of requests of which each tenth, or each third, is of one kind, the kind has its share of copies.
        for (every, share) in [(10, 100_000_u32), (10, 10_000), (3, 300_000), (2, 200_000), (100, 10_000)] {
            let (random, strata) = (Random::new(11), Strata::default());
            let n = 2_000_000;
            let takes = |at: usize| {
                (at.is_multiple_of(every), strata.draw(&random).takes(Percent { per_million: share }))
            };
            let kind: Vec<bool> =
                (0..n).map(takes).filter(|(is_kind, _)| *is_kind).map(|(_, takes)| takes).collect();
            let (of, p) = (kind.len() as f64, f64::from(share) / 1e6);
            let taken = kind.iter().filter(|takes| **takes).count() as f64;
            let sigma = (of * p * (1.0 - p)).sqrt();
            assert!((taken - of * p).abs() <= 4.0 * sigma, "each {every}th at {share}: {taken} of {of}");
        }
    }

    #[test]
    fn draws_of_two_routes_have_nothing_to_do_with_each_other() {
        let (random, one, other) = (Random::new(5), Strata::default(), Strata::default());
        let share = Percent { per_million: 500_000 };
        let both = (0..100_000).filter(|_| one.draw(&random).takes(share) & other.draw(&random).takes(share));
        let both = both.count();
        assert!((24_000..26_000).contains(&both), "{both}");
    }

    fn taken(per_million: u32, of: u32) -> u32 {
        let random = Random::new(7);
        (0..of).map(|_| u32::from(Draw::of(&random).takes(Percent { per_million }))).sum()
    }

    #[test]
    fn none_is_none_and_all_is_all() {
        assert_eq!(taken(0, 1_000_000), 0);
        assert_eq!(taken(1_000_000, 1_000_000), 1_000_000);
    }

    #[test]
    fn a_share_is_met_to_one_in_a_million() {
        for (draw, per_million, number, takes) in [
            (0, 0, 0, false),
            (0, 1, 0, true),
            (1, 1, 0, false),
            (999_998, 999_999, 0, true),
            (999_999, 999_999, 0, false),
            (999_999, 1_000_000, 0, true),
            (0, 1_000_000, 1, false),
            (0, 1_000_001, 1, true),
            (1, 1_000_001, 1, false),
        ] {
            let taken = Draw(draw).takes_copy(Percent { per_million }, number);
            assert_eq!(taken, takes, "copy {number} of {per_million} per million for draw {draw}");
        }
    }

    #[test]
    fn a_share_is_met_within_three_sigma() {
        for share in [100_u32, 10_000, 100_000, 500_000, 999_000] {
            let (n, p) = (1_000_000.0, f64::from(share) / 1e6);
            let sigma = (n * p * (1.0 - p)).sqrt();
            let got = f64::from(taken(share, 1_000_000));
            assert!((got - n * p).abs() <= 3.0 * sigma, "{share} per million: {got} of a million");
        }
    }

    #[test]
    fn the_smaller_share_is_a_subset_of_the_larger() {
        let random = Random::new(3);
        for _ in 0..100_000 {
            let draw = Draw::of(&random);
            assert!(
                !draw.takes(Percent { per_million: 1_000 }) || draw.takes(Percent { per_million: 50_000 })
            );
        }
    }

    #[test]
    fn a_share_above_all_takes_whole_copies_and_a_part_of_the_last() {
        let random = Random::new(5);
        let share = Percent { per_million: 2_250_000 };
        let mut taken = [0_u32; 4];
        for _ in 0..100_000 {
            let draw = Draw::of(&random);
            (0..4).filter(|n| draw.takes_copy(share, *n)).for_each(|n| taken[n as usize] += 1);
        }
        assert_eq!((taken[0], taken[1], taken[3]), (100_000, 100_000, 0));
        assert!((24_500..25_500).contains(&taken[2]), "{taken:?}");
    }

    #[test]
    fn a_key_draws_alike_forever_and_keys_draw_evenly() {
        // Fixed values: another mixing would move every session.
        assert_eq!(Draw::of_key(0), Draw(883_310));
        assert_eq!(Draw::of_key(u64::MAX), Draw(893_942));
        let share = Percent { per_million: 100_000 };
        // Even hashes that are all small draw evenly.
        let n = (0..100_000).filter(|hash| Draw::of_key(*hash).takes(share)).count();
        assert!((9_700..10_300).contains(&n), "{n}");
    }
}
