//! How far counts can be trusted that are looked at as often as one likes: tests and intervals that hold at every look at once.
//! Pure functions of counts.
//!
//! All of it is one bet, by Waudby-Smith and Ramdas (*Estimating means of bounded random variables by betting*, 2021). Each
//! observation is a step of +1, 0 or -1. Against the claim that the mean of the steps is at most `m`, a gambler stakes a
//! fraction of the fortune on each next step, at odds that are fair or worse under the claim. The fortune then is a
//! supermartingale, and the chance that it *ever* exceeds `1 / alpha` is at most `alpha` (Ville 1939). Fixed stakes make the
//! fortune a function of how many steps of each kind there were, whatever their order; several stakes are mixed. The claims that
//! the fortune does not refute are a confidence sequence.

use crate::metrics::{Slots, total};

/// Stakes, as a share of the largest possible one, and the natural logarithm of the fortune's part that is put on each. The
/// whole stake is what refutes by what was never seen: a quarter is on it.
const BETS: [(f64, f64); 14] = [
    (1.0, LN_QUARTER),
    (0.95, LN_OTHERS),
    (0.7, LN_OTHERS),
    (0.4, LN_OTHERS),
    (0.2, LN_OTHERS),
    (0.1, LN_OTHERS),
    (0.05, LN_OTHERS),
    (0.025, LN_OTHERS),
    (0.012, LN_OTHERS),
    (0.006, LN_OTHERS),
    (0.003, LN_OTHERS),
    (0.001_5, LN_OTHERS),
    (0.000_7, LN_OTHERS),
    (0.000_3, LN_OTHERS),
];
const LN_QUARTER: f64 = -1.386_294_361_119_890_6;
/// 3/4 in 13 parts.
const LN_OTHERS: f64 = -2.852_631_429_913_318;

/// Until an end is known to a millionth, far below any threshold.
const HALVINGS: u32 = 20;

/// How often a test may err, over all looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chance {
    /// The natural logarithm of the fortune that refutes.
    needed: f64,
    /// So many of what is counted share their fate, and tell no more than one: the root of a product of so many fortunes is a
    /// fortune, whatever they share.
    together: f64,
}

impl Chance {
    pub(super) fn of(alpha: f64) -> Self {
        Self { needed: -alpha.clamp(1e-300, 1.0).ln(), together: 1.0 }
    }

    /// A part of it, for one of several tests.
    pub(super) fn part(self, share: f64) -> Self {
        Self { needed: self.needed - share.clamp(1e-300, 1.0).ln(), ..self }
    }

    /// The same where so many (≥ 1) of what is counted share their fate.
    pub(super) fn of_groups(self, together: f64) -> Self {
        Self { together: self.together * together.max(1.0), ..self }
    }

    fn total(self) -> f64 {
        self.needed * self.together
    }

    /// How often the test may err.
    pub(super) fn alpha(self) -> f64 {
        (-self.needed).exp()
    }

    /// Whether so much speaks against a claim that it is refuted.
    pub(super) fn is_met(self, strength: f64) -> bool {
        strength >= self.total()
    }

    /// How likely so much would ever speak against a claim that holds.
    pub(super) fn unlikely(self, strength: f64) -> f64 {
        (-strength / self.together).exp().min(1.0)
    }
}

/// A figure and where it lies with the chosen confidence, at every look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Estimate {
    pub(super) figure: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Steps of each kind.
#[derive(Debug, Clone, Copy)]
struct Steps {
    plus: f64,
    minus: f64,
    zero: f64,
    /// No step is below this: -1, or 0 where none is.
    least: f64,
}

impl Steps {
    fn figure(&self) -> f64 {
        (self.plus - self.minus) / (self.plus + self.minus + self.zero).max(1.0)
    }

    /// The natural logarithm of the fortune of betting against "the mean is at most `m`".
    fn fortune(&self, m: f64) -> f64 {
        let span = m - self.least;
        if span <= 0.0 {
            return if self.plus > 0.0 { f64::INFINITY } else { 0.0 };
        }
        // What did not happen has no part in the product, not even where its factor is zero.
        let power = |n: f64, factor: f64| if n > 0.0 { n * factor.max(0.0).ln() } else { 0.0 };
        let mut most = f64::NEG_INFINITY;
        let mut all = [f64::NEG_INFINITY; BETS.len()];
        for ((stake, part), fortune) in BETS.iter().zip(&mut all) {
            let stake = stake / span;
            *fortune = part
                + power(self.plus, 1.0 + stake * (1.0 - m))
                + power(self.minus, 1.0 - stake * (1.0 + m))
                + power(self.zero, 1.0 - stake * m);
            most = most.max(*fortune);
        }
        if most == f64::NEG_INFINITY {
            return most;
        }
        most + all.iter().map(|one| (one - most).exp()).sum::<f64>().ln()
    }

    /// The largest mean that is refuted as too small.
    fn low(&self, chance: Chance) -> f64 {
        let figure = self.figure();
        let needed = chance.total();
        if self.plus == 0.0 && self.least == 0.0 {
            return 0.0;
        }
        let (mut refuted, mut open) = (self.least, figure);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(refuted, open);
            if self.fortune(middle) >= needed { refuted = middle } else { open = middle }
        }
        refuted
    }
}

fn shares(count: u64, n: u64) -> Steps {
    let plus = count.min(n) as f64;
    Steps { plus, minus: 0.0, zero: n as f64 - plus, least: 0.0 }
}

fn nets(plus: u64, minus: u64, n: u64) -> Steps {
    let (plus, minus) = (plus as f64, minus as f64);
    Steps { plus, minus, zero: (n as f64 - plus - minus).max(0.0), least: -1.0 }
}

/// A share of `n`.
pub(super) fn share(count: u64, n: u64, chance: Chance) -> Estimate {
    let n = n.max(1);
    let steps = shares(count, n);
    let high = 1.0 - shares(n - count.min(n), n).low(chance);
    Estimate { figure: steps.figure(), low: steps.low(chance), high }
}

/// How much more often only the one of a pair fails than only the other, of `n` pairs.
pub(super) fn net(only_one: u64, only_other: u64, n: u64, chance: Chance) -> Estimate {
    let steps = nets(only_one, only_other, n.max(1));
    let high = -nets(only_other, only_one, n.max(1)).low(chance);
    Estimate { figure: steps.figure(), low: steps.low(chance), high }
}

/// How much speaks against "a share of at most `most`": the natural logarithm of a fortune, for [`Chance::is_met`].
pub(super) fn share_beyond(count: u64, n: u64, most: f64) -> f64 {
    shares(count, n).fortune(most)
}

/// The same against "only the one of a pair fails more often than only the other by a share of at most `most`".
pub(super) fn net_beyond(only_one: u64, only_other: u64, n: u64, most: f64) -> f64 {
    nets(only_one, only_other, n.max(only_one.saturating_add(only_other))).fortune(most)
}

/// The same against "one thing happens, in `n` chances, at most `factor` times as often as another does in `m`": each that
/// happens is a throw of a coin that says which.
pub(super) fn more_often((count, n): (u64, u64), (other, m): (u64, u64), factor: f64) -> f64 {
    let weight = factor * n as f64;
    // Below a half, two that happen to one request would win more than is fair.
    let odds = (weight / (weight + m as f64).max(1.0)).clamp(0.5, 1.0);
    shares(count, count.saturating_add(other)).fortune(odds)
}

/// A quantile, by the ranks between which it lies (Howard and Ramdas, *Sequential estimation of quantiles*, 2021). Too few
/// values leave an end open: all of them may lie below it (then the interval ends at infinity) or above it (then at 0).
pub(super) fn quantile(of: &Slots, quantile: f64, chance: Chance) -> Estimate {
    let n = of.count();
    let at = |rank: u64| of.at(rank as f64) as f64;
    // So many beyond a value are more than the share that may lie beyond the quantile.
    let least = |beyond: f64| {
        let is_more = |k: &u64| shares(*k, n).fortune(beyond) >= chance.total();
        let (mut few, mut enough) = ((beyond * n as f64) as u64, n);
        if !is_more(&enough) {
            return None;
        }
        while enough - few > 1 {
            let middle = u64::midpoint(few, enough);
            if is_more(&middle) { enough = middle } else { few = middle }
        }
        Some(enough)
    };
    Estimate {
        figure: of.at(n as f64 * quantile) as f64,
        low: least(1.0 - quantile).map_or(0.0, |above| at((n - above).max(1))),
        high: least(quantile).map_or(f64::INFINITY, at),
    }
}

/// How many times as large one value is as another.
pub(super) fn ratio(one: Estimate, other: Estimate) -> Estimate {
    let least = |value: f64| value.max(1.0);
    Estimate {
        figure: least(one.figure) / least(other.figure),
        low: if other.high.is_finite() { least(one.low) / least(other.high) } else { 0.0 },
        high: if other.low > 0.0 { least(one.high) / least(other.low) } else { f64::INFINITY },
    }
}

/// How many of what is counted share a fate: the variance of counts in stretches of time, divided by what it would be if each were
/// by itself (the design effect). `stretches`: (of so many, so many). `None` where too few tell.
pub fn design_effect(stretches: &[(u64, u64)]) -> Option<f64> {
    let (n, k) = stretches.iter().fold((0, 0), |(n, k), (of, count)| (total([n, *of]), total([k, *count])));
    if stretches.len() < STRETCHES_MIN || k < STRETCHES_MIN as u64 || k >= n {
        return None;
    }
    let p = k as f64 / n as f64;
    let one = |(of, count): &(u64, u64)| {
        let of = *of as f64;
        (of > 0.0).then(|| (*count as f64 - of * p).powi(2) / (of * p * (1.0 - p)))
    };
    let all: Vec<f64> = stretches.iter().filter_map(one).collect();
    Some(all.iter().sum::<f64>() / (all.len().max(2) - 1) as f64)
}

/// Stretches without which nothing is known of bursts.
const STRETCHES_MIN: usize = 8;

#[cfg(test)]
mod tests;
