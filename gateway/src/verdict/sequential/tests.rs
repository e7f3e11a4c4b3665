//! Intervals that hold at every look, on simulated counts and beside tables of other programs.

use super::stakes::{PASSING, REJECTING, REJECTING_HALF};
use super::*;

#[track_caller]
fn near(a: f64, b: f64, by: f64) {
    assert!((a - b).abs() <= by, "{a} is not {b}");
}

/// Known to one percent, as they are counted.
fn values(all: impl Iterator<Item = u64>) -> Slots {
    let of = crate::metrics::Histogram::default();
    all.for_each(|value| of.record(value));
    Slots::of([&of])
}

#[test]
fn the_parts_of_the_fortune_are_one() {
    for bets in [PASSING, REJECTING, REJECTING_HALF] {
        near(bets.iter().map(|(_, part)| part).sum(), 1.0, 1e-9);
    }
}

fn both<T: Copy, const N: usize>(rows: [T; N]) -> impl Iterator<Item = (T, Purpose)> {
    let all = [Purpose::Pass, Purpose::Reject, Purpose::RejectHalf];
    rows.into_iter().flat_map(move |row| all.map(|purpose| (row, purpose)))
}

#[test]
fn a_fair_bet_wins_nothing_on_average() {
    // Over all outcomes of 12 steps whose mean is the claimed one: exactly one, and less where it is smaller.
    let choose = |n: u32, k: u32| (0..k).fold(1.0, |c, i| c * f64::from(n - i) / f64::from(i + 1));
    for ((p, m), purpose) in both([(0.3, 0.3), (0.01, 0.01), (0.2, 0.3), (0.5, 0.5)]) {
        let of =
            |k: u32| shares(k.into(), 12).fortune(m, purpose).exp() * choose(12, k) * f64::powi(p, k as i32);
        let mean: f64 = (0..=12).map(|k| of(k) * f64::powi(1.0 - p, 12 - k as i32)).sum();
        assert!(mean <= 1.0 + 1e-9 && (p < m || mean > 1.0 - 1e-9), "{p} {m}: {mean}");
    }
    for ((p, q, m), purpose) in both([(0.1, 0.1, 0.0), (0.2, 0.05, 0.15), (0.1, 0.2, 0.0)]) {
        let mut mean = 0.0;
        for a in 0..=8_u32 {
            for b in 0..=8 - a {
                let ways = choose(8, a) * choose(8 - a, b);
                let chance = f64::powi(p, a as i32)
                    * f64::powi(q, b as i32)
                    * f64::powi(1.0 - p - q, 8 - (a + b) as i32);
                mean += ways * chance * nets(a.into(), b.into(), 8).fortune(m, purpose).exp();
            }
        }
        assert!(mean <= 1.0 + 1e-9, "{p} {q}: {mean}");
    }
}

/// An end of the interval by bisection, which computes the fortune again and again.
fn halved(steps: &Steps, chance: Chance, purpose: Purpose) -> f64 {
    let (mut refuted, mut open) = (steps.least, steps.figure());
    for _ in 0..40 {
        let middle = f64::midpoint(refuted, open);
        if steps.fortune(middle, purpose) >= chance.total() { refuted = middle } else { open = middle }
    }
    refuted
}

#[test]
fn the_quick_way_to_an_end_finds_what_halving_finds() {
    let mut rng = fastrand::Rng::with_seed(23);
    for _ in 0..2_000 {
        let n = 1 + (1e6_f64.powf(rng.f64())) as u64;
        let plus = (n as f64 * rng.f64().powi(6)) as u64;
        let minus = ((n - plus) as f64 * rng.f64().powi(8)) as u64;
        let chance = Chance::of(10_f64.powf(-1.0 - 8.0 * rng.f64())).of_groups(1.0 + 4.0 * rng.f64());
        for (steps, purpose) in both([shares(plus, n), nets(plus, minus, n), nets(minus, plus, n)]) {
            if steps.plus == 0.0 && steps.least == 0.0 {
                continue;
            }
            near(steps.low(chance, purpose), halved(&steps, chance, purpose), 2e-5);
        }
        // Whether it is within a limit is known without the end.
        let limit = (plus + minus) as f64 / n as f64 * 2.0 * rng.f64();
        let (of, both) = (share(plus, n, chance), net(plus, minus, n, chance));
        if (of.high - limit).abs() > 2e-5 {
            assert_eq!(share_is_within(plus, n, limit, chance), of.high <= limit, "{plus} of {n}: {limit}");
        }
        if (both.high - limit).abs() > 2e-5 {
            assert_eq!(
                net_is_within(plus, minus, n, limit, chance),
                both.high <= limit,
                "{plus} {minus} {n}: {limit}"
            );
        }
        for beyond in [0.01, 0.5, 0.99] {
            let is_more = |k: u64| shares(k, n).fortune(beyond, Purpose::Reject) >= chance.total();
            let least = least_beyond(beyond, n, chance);
            let found = least.filter(|k| *k > 0).map(|k| (is_more(k), is_more(k - 1)));
            assert_eq!(found, is_more(n).then_some((true, false)), "{beyond} of {n}: {least:?}");
        }
    }
}

#[test]
fn a_share_is_missed_at_any_look_no_more_often_than_is_said() {
    let mut rng = fastrand::Rng::with_seed(11);
    for p in [0.001, 0.02, 0.5] {
        let mut missed = 0;
        for _ in 0..200 {
            let mut k = 0;
            let misses = (1..=40_u64).any(|look| {
                k += (0..50).filter(|_| rng.f64() < p).count() as u64;
                let of = share(k, look * 50, Chance::of(0.05));
                of.low > p || of.high < p
            });
            missed += u32::from(misses);
        }
        assert!(missed <= 2 * 10, "{p}: {missed} of 200, each end with 5 %");
    }
}

#[test]
fn nothing_seen_bounds_a_share_and_an_open_end_stays_open() {
    near(share(0, 3000, Chance::of(0.01)).high, 0.001_95, 0.000_05);
    near(net(0, 0, 3000, Chance::of(0.01)).high, 0.001_95, 0.000_05);
    let none = share(0, 3000, Chance::of(0.01));
    assert_eq!((none.figure, none.low), (0.0, 0.0));
    let of = values(1..=3);
    let p99 = quantile(&Ranks::of(&of), 0.99, Chance::of(0.01));
    assert!(p99.high.is_infinite(), "{p99:?}");
    assert_eq!(ratio(p99, p99).low, 0.0);
    let of = values(1..=1000);
    let median = quantile(&Ranks::of(&of), 0.5, Chance::of(0.05));
    assert!(median.low > 400.0 && median.low < 490.0, "{median:?}");
    assert!(median.high < 600.0 && median.high > 510.0, "{median:?}");
}

#[test]
fn what_comes_in_groups_tells_as_much_as_one_of_each() {
    let chance = Chance::of(0.01);
    let (many, few) = (share(400, 4000, chance.of_groups(4.0)), share(100, 1000, chance));
    near(many.low, few.low, 0.005);
    let mut rng = fastrand::Rng::with_seed(2);
    let mut stretches = |together: u64| -> Vec<(u64, u64)> {
        let mut one = || (1000, (0..1000 / together).filter(|_| rng.f64() < 0.02).count() as u64 * together);
        (0..200).map(|_| one()).collect()
    };
    near(design_effect(&stretches(1)).unwrap(), 1.0, 0.4);
    near(design_effect(&stretches(8)).unwrap(), 8.0, 2.5);
    assert_eq!(design_effect(&[(10, 1)]), None);
}

#[test]
fn a_coin_that_says_which_of_two_it_was_is_fair_where_both_are_as_frequent() {
    let is_more = |one, other| Chance::of(0.01).is_met(more_often(one, other, 1.2));
    assert!(is_more((20, 1000), (0, 1000)));
    assert!(!is_more((20, 1000), (15, 1000)));
    assert!(!is_more((20, 1000), (0, 10)), "ten tell nothing of twenty in a thousand");
    assert!(!is_more((4000, 4000), (4000, 4000)));
}

#[test]
#[ignore = "prints rows for bench/confseq_check.py, which sets them beside another program's"]
fn intervals_as_rows() {
    for n in [300_u64, 1_000, 3_000] {
        for share_of in [0.0, 0.002, 0.01, 0.05, 0.3, 0.5] {
            let (k, alpha) = ((share_of * n as f64) as u64, 0.01);
            let of = share(k, n, Chance::of(alpha));
            println!("row {k} {n} {alpha} {} {}", of.low, of.high);
        }
    }
}
