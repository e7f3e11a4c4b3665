//! Which endpoint of an upstream takes the next exchange. Pure: sees loads, returns an index.

use config::Balance;
use xxhash_rust::xxh64::xxh64;

/// What the choice is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    pub in_flight: usize,
    /// Refused a connection a moment ago, ejected or unhealthy: chosen only where nothing else is left.
    pub failed: bool,
    /// Already tried for this exchange: never chosen.
    pub tried: bool,
}

/// What differs between two choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Advanced by one for each choice.
    pub turn: usize,
    /// Uniform over all numbers.
    pub random: u64,
    /// Of the request, where the upstream hashes and the request has what it hashes.
    pub key: Option<u64>,
}

/// Chooses among the endpoints whose names hash to `names` (see [`name_hash`]).
pub fn pick(balance: Balance, choice: Choice, names: &[u64], load: impl Fn(usize) -> Load) -> Option<usize> {
    let n = names.len();
    let from =
        |start: usize| (0..n).map(move |i| (start + i) % n).map(|i| (i, load(i))).filter(|(_, l)| !l.tried);
    // Somewhere, but not at whoever stands behind a failed one.
    let scattered = |i: usize, seed: u64| mix(seed ^ names.get(i).copied().unwrap_or_default());
    let best = match (balance, choice.key) {
        (Balance::RoundRobin, _) => from(choice.turn).min_by_key(|(_, l)| l.failed),
        (Balance::LeastInFlight, _) => from(choice.turn).min_by_key(|(_, l)| (l.failed, l.in_flight)),
        // Rendezvous hashing: each endpoint draws a lot for the key, the highest wins; when one goes, only its keys move.
        (Balance::Hash, Some(key)) => {
            from(0).min_by_key(|(i, l)| (l.failed, std::cmp::Reverse(scattered(*i, key))))
        }
        (Balance::Random, _) | (Balance::Hash, None) => {
            from(0).min_by_key(|(i, l)| (l.failed, scattered(*i, choice.random)))
        }
    };
    best.map(|(i, _)| i)
}

/// A hash of an endpoint's name that is the same on every worker, in every process and on every machine.
pub fn name_hash(name: &str) -> u64 {
    xxh64(name.as_bytes(), 0)
}

/// A bijection that leaves no trace of its input (splitmix64's finalizer).
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Load = Load { in_flight: 0, failed: false, tried: false };

    fn names(n: usize) -> Vec<u64> {
        (0..n).map(|i| name_hash(&format!("10.0.0.{i}:80"))).collect()
    }

    fn turn(turn: usize) -> Choice {
        Choice { turn, random: mix(turn as u64 + 1), key: None }
    }

    #[test]
    fn round_robin_takes_turns_and_puts_failed_ones_last() {
        let picks = |failed: usize| -> Vec<_> {
            (0..4)
                .map(|t| {
                    pick(Balance::RoundRobin, turn(t), &names(3), |i| Load { failed: i == failed, ..IDLE })
                })
                .map(Option::unwrap)
                .collect()
        };
        assert_eq!(picks(9), [0, 1, 2, 0]);
        assert_eq!(picks(1), [0, 2, 2, 0]);
    }

    #[test]
    fn least_in_flight_takes_the_least_loaded_and_turns_among_equals() {
        let load = |i: usize| Load { in_flight: [2, 1, 1][i], ..IDLE };
        assert_eq!(pick(Balance::LeastInFlight, turn(0), &names(3), load), Some(1));
        assert_eq!(pick(Balance::LeastInFlight, turn(2), &names(3), load), Some(2));
    }

    #[test]
    fn an_endpoint_is_tried_once_and_a_failed_one_rather_than_none() {
        for balance in Balance::ALL {
            let choice = Choice { key: Some(1), ..turn(0) };
            assert_eq!(
                pick(balance, choice, &names(2), |i| Load { tried: i == 0, failed: true, ..IDLE }),
                Some(1)
            );
            assert_eq!(pick(balance, choice, &names(2), |_| Load { tried: true, ..IDLE }), None);
            assert_eq!(pick(balance, choice, &[], |_| IDLE), None);
        }
    }

    #[test]
    fn random_gives_everybody_an_equal_share() {
        let mut taken = [0_u32; 4];
        for t in 0..40_000 {
            taken[pick(Balance::Random, turn(t), &names(4), |_| IDLE).unwrap()] += 1;
        }
        assert!(taken.iter().all(|n| (9_600..10_400).contains(n)), "{taken:?}");
    }

    #[test]
    fn a_key_keeps_its_endpoint_and_few_move_when_one_goes() {
        let choose = |names: &[u64], key: u64, failed: Option<usize>| {
            let choice = Choice { key: Some(mix(key)), ..turn(key as usize) };
            pick(Balance::Hash, choice, names, |i| Load { failed: Some(i) == failed, ..IDLE }).unwrap()
        };
        let (ten, mut taken, mut moved) = (names(10), [0_u32; 10], 0);
        for key in 0..10_000 {
            let before = choose(&ten, key, None);
            taken[before] += 1;
            let after = choose(&ten, key, Some(3));
            assert!(before == 3 || after == before, "only keys of the one that went move");
            moved += u32::from(before != after);
            // One more at the end takes some from everybody, and nobody else's move.
            let eleven = choose(&names(11), key, None);
            assert!(eleven == before || eleven == 10);
        }
        assert!(taken.iter().all(|n| (880..1_120).contains(n)), "{taken:?}");
        assert_eq!(moved, taken[3]);
    }
}
