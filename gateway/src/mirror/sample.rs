//! The decision to copy: one draw for each request, compared with each mirror's share.
//!
//! One draw serves all mirrors of a request, so a smaller share is always a subset of a larger one (as in Envoy).

use config::Percent;

use crate::mix::mix;
use crate::random::Random;
use crate::strata::Strata;

/// The draw of a request: uniform in 0..1_000_000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw(u32);

impl Draw {
    pub fn of(random: &Random) -> Self {
        // The upper half of a 32 × 20 bit product: no division, and a bias below 1e-9.
        Self((((random.next() >> 32) * 1_000_000) >> 32) as u32)
    }

    /// The next of a route's draws on one worker, which are stratified.
    pub fn next(strata: &Strata, random: &Random) -> Self {
        Self(strata.below(1_000_000, random) as u32)
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

#[cfg(test)]
mod tests {
    use super::*;

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
