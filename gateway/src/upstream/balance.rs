//! Chooses the endpoint of an upstream for the next exchange. Pure: takes the standings of endpoints, returns an index.

use std::net::{IpAddr, SocketAddr};

use xxhash_rust::xxh64::xxh64;

use crate::address::Address;
use crate::mix::mix;

/// Among so many endpoints the least loaded is looked for; of more, the less loaded of two drawn, which is nearly as
/// good and costs the same for a thousand (Mitzenmacher, "The power of two choices").
pub const EXACT_MAX: usize = 16;

/// How one choice is made.
#[derive(Debug, Clone, Copy)]
pub enum By<'a> {
    /// The next one in turn.
    Turn,
    /// The fewest exchanges in flight; among equals in turn.
    LeastInFlight,
    /// Each as likely as any other.
    Random,
    /// The hash of a key, and of each endpoint (see [`place`]): every worker and every replica that knows the same
    /// endpoints chooses alike, and an endpoint that comes or goes moves its own share of the keys and no other.
    ///
    /// Rendezvous hashing: the endpoint with the highest score for the key. A table like Maglev's would be quicker beyond some
    /// hundred endpoints, but has to be built anew on every worker for each change, and moves more keys.
    Key(u64, &'a [u64]),
}

/// How an endpoint stands with an exchange. The best that is there is chosen from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Ready,
    /// The endpoint has failed this exchange, which tries again.
    Avoided,
    /// Refused a connection a moment ago.
    Failed,
    /// Ejected or unhealthy: chosen only where nothing else is left.
    Out,
    /// Just tried in vain: never chosen.
    Tried,
}

/// The endpoints that the choice is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    pub in_flight: usize,
    pub standing: Standing,
}

/// Chooses among `endpoints`. `turn` is the start of a round and the seed of chance: the caller changes it for each call.
pub fn pick(by: By<'_>, turn: u64, endpoints: usize, load: impl Fn(usize) -> Load) -> Option<usize> {
    if endpoints == 0 {
        return None;
    }
    let ready = |i: &usize| load(*i).standing == Standing::Ready;
    // Nearly always one look is enough, or two.
    let quick = match by {
        By::Turn => Some(start(turn, endpoints)).filter(ready),
        By::LeastInFlight if endpoints > EXACT_MAX => {
            two(mix(turn), endpoints).into_iter().filter(ready).min_by_key(|i| load(*i).in_flight)
        }
        By::LeastInFlight => None,
        By::Random => Some(below(mix(turn), endpoints)).filter(ready),
        By::Key(key, places) => highest(key, places, 0..endpoints).filter(ready),
    };
    quick.or_else(|| thorough(by, turn, endpoints, load))
}

/// Looks at all endpoints and chooses among the best.
fn thorough(by: By<'_>, turn: u64, endpoints: usize, load: impl Fn(usize) -> Load) -> Option<usize> {
    let best = (0..endpoints).map(|i| load(i).standing).min().filter(|best| *best != Standing::Tried)?;
    let from = start(turn, endpoints);
    let mut among = (from..endpoints).chain(0..from).filter(|i| load(*i).standing == best);
    match by {
        By::Turn => among.next(),
        By::LeastInFlight => among.min_by_key(|i| load(*i).in_flight),
        By::Random => {
            let count = (0..endpoints).filter(|i| load(*i).standing == best).count();
            among.nth(below(mix(!turn), count))
        }
        By::Key(key, places) => highest(key, places, among),
    }
}

/// An endpoint's place in the eyes of [`By::Key`].
pub fn place(address: Address) -> u64 {
    let of_ip = |address: SocketAddr| {
        let port = u64::from(address.port());
        match address.ip() {
            IpAddr::V4(ip) => xxh64(&ip.octets(), port),
            IpAddr::V6(ip) => xxh64(&ip.octets(), port),
        }
    };
    match address {
        Address::Ip(address) => of_ip(address),
        Address::Unix(path) => xxh64(path.as_bytes(), 0),
    }
}

/// The one of `among` with the highest score for `key`. Scores are equal only where endpoints are.
fn highest(key: u64, places: &[u64], among: impl Iterator<Item = usize>) -> Option<usize> {
    among.max_by_key(|i| mix(key ^ places.get(*i).copied().unwrap_or_default()))
}

fn start(turn: u64, endpoints: usize) -> usize {
    // Below `endpoints`, so in usize.
    (turn % endpoints as u64) as usize
}

/// `draw` scaled to `0..bound`.
fn below(draw: u64, bound: usize) -> usize {
    ((u128::from(draw) * bound as u128) >> 64) as usize
}

/// Two different ones of `endpoints` (≥ 2), by one draw.
fn two(draw: u64, endpoints: usize) -> [usize; 2] {
    let first = below(draw << 32, endpoints);
    let second = below(draw & !0xffff_ffff, endpoints - 1);
    [first, if second >= first { second + 1 } else { second }]
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const READY: Load = Load { in_flight: 0, standing: Standing::Ready };

    fn ready(_: usize) -> Load {
        READY
    }

    /// Endpoint 1 stands like this, all others are ready.
    fn but_one(standing: Standing) -> impl Fn(usize) -> Load {
        move |i| if i == 1 { Load { standing, ..READY } } else { READY }
    }

    fn places(n: u16) -> Vec<u64> {
        (0..n).map(|n| place(([10, 0, (n >> 8) as u8, n as u8], 80_u16).into())).collect()
    }

    /// How often each of `n` was chosen in `of` picks.
    fn counts(by: By<'_>, n: usize, of: u64, load: impl Fn(usize) -> Load) -> Vec<u64> {
        let mut counts = vec![0; n];
        for turn in 0..of {
            counts[pick(by, turn, n, &load).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn turns_are_taken_and_who_is_not_ready_is_passed_over() {
        let picks = |load: &dyn Fn(usize) -> Load| -> Vec<_> {
            (0..4).map(|turn| pick(By::Turn, turn, 3, load).unwrap()).collect()
        };
        assert_eq!(picks(&ready), [0, 1, 2, 0]);
        for standing in [Standing::Avoided, Standing::Failed, Standing::Out, Standing::Tried] {
            assert_eq!(picks(&but_one(standing)), [0, 2, 2, 0]);
        }
    }

    #[test]
    fn the_least_loaded_is_found_and_equals_take_turns() {
        let load = |i: usize| Load { in_flight: [2, 1, 1][i], ..READY };
        assert_eq!(pick(By::LeastInFlight, 0, 3, load), Some(1));
        assert_eq!(pick(By::LeastInFlight, 2, 3, load), Some(2));
        let out = |i: usize| Load { in_flight: i, ..but_one(Standing::Out)(i) };
        assert_eq!(pick(By::LeastInFlight, 1, 3, out), Some(0));
    }

    #[test]
    fn of_many_the_less_loaded_of_two_is_taken_and_none_is_left_out() {
        const N: usize = 100;
        // Each pick stays in flight: two choices keep them level, where one choice would leave gaps of twenty.
        let loads: Vec<_> = (0..N).map(|_| std::cell::Cell::new(0)).collect();
        for turn in 0..100 * N as u64 {
            let load = |i: usize| Load { in_flight: loads[i].get(), ..READY };
            let chosen = pick(By::LeastInFlight, turn, N, load).unwrap();
            loads[chosen].set(loads[chosen].get() + 1);
        }
        let (least, most) = (loads.iter().min().unwrap().get(), loads.iter().max().unwrap().get());
        assert!(least >= 96 && most <= 104, "{least}..{most}");
        let all_but_one_are_out =
            |i: usize| Load { in_flight: i, standing: if i == 7 { Standing::Ready } else { Standing::Out } };
        assert!((0..50).all(|turn| pick(By::LeastInFlight, turn, N, all_but_one_are_out) == Some(7)));
    }

    #[test]
    fn of_few_all_are_looked_at_and_of_many_two() {
        let looked_at = |endpoints: usize| {
            let seen = std::cell::RefCell::new(std::collections::HashSet::new());
            let load = |i: usize| {
                seen.borrow_mut().insert(i);
                READY
            };
            assert!(pick(By::LeastInFlight, 5, endpoints, load).is_some());
            seen.into_inner().len()
        };
        assert_eq!([1, 2, EXACT_MAX, EXACT_MAX + 1, 1_000].map(looked_at), [1, 2, EXACT_MAX, 2, 2]);
    }

    #[test]
    fn two_draws_are_never_the_same_endpoint() {
        assert_eq!([two(0, 10), two(u64::MAX, 10)], [[0, 1], [9, 8]], "each half of a draw is one of them");
        for n in 2..20 {
            let drawn: std::collections::HashSet<[usize; 2]> =
                (0..20_000_u64).map(|draw| two(mix(draw), n)).collect();
            assert_eq!(drawn.len(), n * (n - 1), "every pair of {n} is drawn");
            assert!(drawn.iter().all(|[a, b]| a != b && *a < n && *b < n));
        }
    }

    #[test]
    fn chance_is_even_also_among_those_that_are_left() {
        let near = |n: u64, expected: u64| n.abs_diff(expected) < expected / 20;
        assert!(counts(By::Random, 10, 100_000, ready).iter().all(|n| near(*n, 10_000)));
        let three_out = |i: usize| if (2..5).contains(&i) { but_one(Standing::Out)(1) } else { READY };
        let counts = counts(By::Random, 10, 70_000, three_out);
        assert!(counts[2..5].iter().all(|n| *n == 0), "{counts:?}");
        assert!([&counts[..2], &counts[5..]].concat().iter().all(|n| near(*n, 10_000)), "{counts:?}");
    }

    #[test]
    fn a_key_stays_where_it_is_whatever_the_turn_and_the_order() {
        let places = places(20);
        let turned: Vec<u64> = places.iter().rev().copied().collect();
        for key in (0..1_000).map(mix).chain([0, u64::MAX]) {
            let chosen = pick(By::Key(key, &places), 0, 20, ready).unwrap();
            assert_eq!(pick(By::Key(key, &places), 99, 20, ready), Some(chosen));
            assert_eq!(pick(By::Key(key, &turned), 5, 20, ready), Some(19 - chosen));
        }
    }

    #[test]
    fn keys_are_spread_evenly_and_few_move_when_endpoints_come_and_go() {
        const KEYS: usize = 50_000;
        let (twenty, more) = (places(20), places(21));
        let of = |places: &[u64]| -> Vec<usize> {
            let n = places.len();
            (0..KEYS as u64).map(|k| pick(By::Key(mix(k), places), k, n, ready).unwrap()).collect()
        };
        let (before, after) = (of(&twenty), of(&more));
        let mut each: HashMap<usize, usize> = HashMap::new();
        before.iter().for_each(|i| *each.entry(*i).or_default() += 1);
        assert!(each.len() == 20 && each.values().all(|n| n.abs_diff(KEYS / 20) < KEYS / 200), "{each:?}");
        let moved: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
        assert!(moved.iter().all(|(_, to)| **to == 20), "keys move to the newcomer only");
        assert!(moved.len().abs_diff(KEYS / 21) < KEYS / 200, "{} moved", moved.len());
    }

    #[test]
    fn a_key_whose_endpoint_is_out_moves_alone_and_comes_back() {
        let places = places(3);
        let mut moved_to = [0; 3];
        for key in (0..3_000).map(mix) {
            let at = |load: &dyn Fn(usize) -> Load| pick(By::Key(key, &places), key, 3, load).unwrap();
            match (at(&ready), at(&but_one(Standing::Out))) {
                (1, to) => moved_to[to] += 1,
                (before, after) => assert_eq!(before, after),
            }
        }
        assert!(moved_to[1] == 0 && moved_to[0] > 300 && moved_to[2] > 300, "{moved_to:?}");
    }

    #[test]
    fn an_endpoint_hashes_alike_everywhere_and_forever() {
        assert_eq!(place("10.0.0.1:80".parse().unwrap()), xxh64(&[10, 0, 0, 1], 80));
        assert_ne!(place("10.0.0.1:80".parse().unwrap()), place("10.0.0.1:81".parse().unwrap()));
        assert_ne!(place("[::1]:80".parse().unwrap()), place("[::2]:80".parse().unwrap()));
    }

    #[test]
    fn worse_standings_are_chosen_rather_than_nobody_and_who_was_tried_never() {
        let all = |standing| move |_: usize| Load { standing, ..READY };
        let places = places(3);
        for by in [By::Turn, By::LeastInFlight, By::Random, By::Key(5, &places)] {
            for standing in [Standing::Avoided, Standing::Failed, Standing::Out] {
                assert!(pick(by, 4, 3, all(standing)).is_some(), "{by:?} {standing:?}");
                let rest_tried = |i: usize| if i == 1 { all(standing)(i) } else { all(Standing::Tried)(i) };
                assert_eq!(pick(by, 4, 3, rest_tried), Some(1), "{by:?} {standing:?}");
            }
            assert_eq!(pick(by, 4, 3, all(Standing::Tried)), None);
            assert_eq!(pick(by, 4, 0, all(Standing::Ready)), None);
        }
    }
}
