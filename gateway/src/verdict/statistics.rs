//! How far counts can be trusted: intervals around shares, differences and quantiles. Pure.
//!
//! A [`Chance`] is how often an interval may miss on one side, and what that is in standard deviations.

use crate::metrics::Slots;

/// A one-sided chance of error, and how many standard deviations an interval then reaches to either side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chance {
    alpha: f64,
    z: f64,
    /// So many of what is counted share their fate, and tell no more than one.
    together: f64,
}

impl Chance {
    /// `alpha` from 0 to 0.5.
    pub(super) fn of(alpha: f64) -> Self {
        Self { alpha, z: z_of(alpha), together: 1.0 }
    }

    /// The same where so many (≥ 1) of what is counted share their fate.
    pub(super) fn of_groups(self, together: f64) -> Self {
        Self { z: self.z * together.sqrt(), together: self.together * together, ..self }
    }

    #[cfg(test)]
    fn by(z: f64) -> Self {
        Self { alpha: 0.025, z, together: 1.0 }
    }
}

/// A figure and where it lies with the chosen confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Estimate {
    pub(super) figure: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Estimate {
    /// No end of it, nor the figure, below this.
    pub(super) fn at_least(self, least: f64) -> Self {
        let Self { figure, low, high } = self;
        Self { figure: figure.max(least), low: low.max(least), high: high.max(least) }
    }
}

/// The standard deviations beyond which a normal deviate lies with the chance `alpha` (0 to 0.5).
///
/// By Abramowitz and Stegun 26.2.23: off by less than 4.5e-4, far below what matters here.
fn z_of(alpha: f64) -> f64 {
    let t = (-2.0 * alpha.clamp(1e-12, 0.5).ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    t - above / below
}

/// A share of `n` (≥ 1), by Chernoff's bound (Hoeffding 1963, theorem 1): the shares that would come to this with more than
/// the chance. It misses no more often than that however few were counted; intervals from a normal deviate do.
pub(super) fn share(count: u64, n: u64, Chance { alpha, together, .. }: Chance) -> Estimate {
    let n = n.max(1) as f64;
    let figure = (count as f64 / n).min(1.0);
    let within = -alpha.ln() * together / n;
    Estimate { figure, low: end(figure, 0.0, within), high: end(figure, 1.0, within) }
}

/// Where, from `figure` towards `last`, the relative entropy passes `within`.
fn end(figure: f64, last: f64, within: f64) -> f64 {
    let (mut inside, mut outside) = (figure, last);
    if entropy(figure, last) <= within {
        return last;
    }
    for _ in 0..HALVINGS {
        let middle = (inside + outside) / 2.0;
        if entropy(figure, middle) <= within { inside = middle } else { outside = middle }
    }
    outside
}

/// Until an end is known to 1e-9, far below any threshold.
const HALVINGS: u32 = 30;

/// Of a share observed from the one supposed, in nats.
fn entropy(seen: f64, supposed: f64) -> f64 {
    let term = |a: f64, b: f64| match (a, b) {
        (a, _) if a <= 0.0 => 0.0,
        (_, b) if b <= 0.0 => f64::INFINITY,
        (a, b) => a * (a / b).ln(),
    };
    term(seen, supposed) + term(1.0 - seen, 1.0 - supposed)
}

/// How much larger one share is than an independent other one, by Newcombe's hybrid of two intervals (1998, method 10).
pub(super) fn excess((count, n): (u64, u64), (other, m): (u64, u64), chance: Chance) -> Estimate {
    if m == 0 {
        return share(count, n, chance);
    }
    let (p, q) = (share(count, n, chance), share(other, m, chance));
    let figure = p.figure - q.figure;
    let reach = |a: f64, b: f64| (a * a + b * b).sqrt();
    Estimate {
        figure,
        low: figure - reach(p.figure - p.low, q.high - q.figure),
        high: figure + reach(p.high - p.figure, q.figure - q.low),
    }
}

/// How much more often only the one of a pair fails than only the other, of `n` pairs: Bonett and Price's adjusted
/// interval for paired shares (2012).
pub(super) fn paired_excess(only_one: u64, only_other: u64, n: u64, Chance { z, .. }: Chance) -> Estimate {
    let (a, b, n) = (only_one as f64, only_other as f64, n.max(1) as f64);
    let (p, q) = ((a + 1.0) / (n + 2.0), (b + 1.0) / (n + 2.0));
    let reach = z * ((p + q - (p - q).powi(2)) / (n + 2.0)).sqrt();
    Estimate { figure: (a - b) / n, low: p - q - reach, high: p - q + reach }
}

/// An estimate beyond what another is above nothing; as if independent of it (Zou and Donner 2008, as Newcombe's).
pub(super) fn beyond(one: Estimate, noise: Estimate) -> Estimate {
    if noise.figure <= 0.0 {
        return one;
    }
    let figure = one.figure - noise.figure;
    let reach = |a: f64, b: f64| (a * a + b * b).sqrt();
    Estimate {
        figure,
        low: figure - reach(one.figure - one.low, noise.high - noise.figure),
        high: figure + reach(one.high - one.figure, noise.figure - noise.low),
    }
}

/// A quantile, by the ranks between which it lies. Too few values leave an end open: all of them may lie below it (then
/// the interval ends at infinity) or above it (then at 0).
pub(super) fn quantile(of: &Slots, quantile: f64, Chance { alpha, z, together }: Chance) -> Estimate {
    let n = of.count() as f64;
    let (middle, reach) = (n * quantile, z * (n * quantile * (1.0 - quantile)).sqrt());
    let at = |rank: f64| of.at(rank) as f64;
    let may_all_be_below = quantile.powf(n / together) > alpha;
    let may_all_be_above = (1.0 - quantile).powf(n / together) > alpha;
    Estimate {
        figure: at(middle),
        low: if may_all_be_above { 0.0 } else { at(middle - reach) },
        high: if may_all_be_below { f64::INFINITY } else { at((middle + reach).min(n)) },
    }
}

/// A value so many times as large, both estimated apart from each other.
pub(super) fn times(one: Estimate, factor: Estimate) -> Estimate {
    let (low, high) = reaches(one, factor);
    let figure = one.figure.max(1.0) * factor.figure;
    Estimate { figure, low: figure / low, high: figure * high }
}

/// How many times as large one value is as another, both estimated apart from each other.
pub(super) fn ratio(one: Estimate, other: Estimate) -> Estimate {
    let turned = |value: f64| 1.0 / value.max(1.0);
    let inverse = Estimate {
        figure: turned(other.figure),
        low: turned(other.high),
        high: if other.low > 0.0 { turned(other.low) } else { f64::INFINITY },
    };
    let (low, high) = reaches(one, inverse);
    let figure = one.figure.max(1.0) * inverse.figure;
    Estimate { figure, low: figure / low, high: figure * high }
}

/// By what factors a product reaches below and above itself: as [`beyond`], of logarithms. An end that is open stays open.
fn reaches(one: Estimate, other: Estimate) -> (f64, f64) {
    let both = |a: f64, b: f64| (a.ln().powi(2) + b.ln().powi(2)).sqrt().exp();
    let (down, up) = (|of: Estimate| of.figure / of.low, |of: Estimate| of.high / of.figure);
    let one = Estimate { figure: one.figure.max(1.0), ..one };
    (both(down(one), down(other)), both(up(one), up(other)))
}

#[cfg(test)]
mod tests {
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
    fn intervals_are_those_of_the_tables() {
        near(z_of(0.025), 1.96, 0.001);
        near(z_of(0.001), 3.09, 0.001);
        let none = paired_excess(0, 0, 1000, Chance::by(1.96));
        assert!(none.figure == 0.0 && none.low < 0.0 && none.high > 0.0 && none.high < 0.003);
    }

    /// How likely so many (`k`) or more of `n` are where each is with the chance `p`.
    fn tail(k: u64, n: u64, p: f64) -> f64 {
        let (mut term, mut sum) = ((1.0 - p).powi(n as i32), 0.0);
        for i in 0..=n {
            sum += if i >= k { term } else { 0.0 };
            term *= (n - i) as f64 / (i + 1) as f64 * p / (1.0 - p);
        }
        sum
    }

    #[test]
    fn a_share_lies_outside_its_interval_no_more_often_than_is_said_however_few_were_counted() {
        for alpha in [0.05, 0.008, 0.000_2] {
            for (k, n) in [(1, 1), (1, 8), (1, 130), (3, 5), (2, 430), (5, 300), (40, 500)] {
                let Estimate { low, high, .. } = share(k, n, Chance::of(alpha));
                let above = tail(k, n, low);
                let below = if k == n { 0.0 } else { 1.0 - tail(k + 1, n, high) };
                assert!(above <= alpha && below <= alpha, "{k} of {n}: {above} {below}, not {alpha}");
                // Nor is it wider than it must be by much.
                assert!(tail(k, n, low * 4.0) > alpha, "{k} of {n}");
            }
        }
        near(share(0, 3000, Chance::of(0.05)).high, 0.001, 0.000_01);
        near(share(3000, 3000, Chance::of(0.05)).low, 0.999, 0.000_01);
    }

    #[test]
    fn a_quantile_lies_between_its_ranks() {
        let of = values(1..=1000);
        let median = quantile(&of, 0.5, Chance::by(1.96));
        near(median.figure, 500.0, 4.0);
        near(median.low, 469.0, 4.0);
        near(median.high, 531.0, 4.0);
        let p99 = quantile(&of, 0.99, Chance::by(1.96));
        assert!(p99.low < 990.0 && p99.high > 990.0 && p99.high <= 1000.0);
    }

    #[test]
    fn a_quantile_of_few_values_may_lie_beyond_them_all() {
        let of = values(1..=3);
        let chance = Chance::of(0.01);
        let (p50, p99) = (quantile(&of, 0.5, chance), quantile(&of, 0.99, chance));
        assert!(p50.low == 0.0 && p50.high.is_infinite(), "{p50:?}");
        assert!(p99.low > 0.0 && p99.high.is_infinite(), "{p99:?}");
        assert_eq!(ratio(p99, p99).low, 0.0);
    }

    #[test]
    fn what_comes_in_groups_tells_as_much_as_one_of_each() {
        let chance = Chance::by(1.96);
        let (many, few) = (share(400, 4000, chance.of_groups(4.0)), share(100, 1000, chance));
        near(many.low, few.low, 0.0005);
        near(many.high, few.high, 0.0005);
        let of = values(1..=400);
        assert!(quantile(&of, 0.99, chance).high.is_finite());
        assert!(
            quantile(&of, 0.99, chance.of_groups(4.0)).high.is_infinite(),
            "a hundred tell no percentile"
        );
    }
}
