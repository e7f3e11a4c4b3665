//! How far counts can be trusted that are looked at as often as one likes: tests and intervals that hold at every look at once.
//! Pure functions of counts.
//!
//! All of it is one bet, by Waudby-Smith and Ramdas (*Estimating means of bounded random variables by betting*, 2021). Each
//! observation is a step of +1, 0 or -1. Against the claim that the mean of the steps is at most `m`, a gambler stakes a
//! fraction of the fortune on each next step, at odds that are fair or worse under the claim. The fortune then is a
//! supermartingale, and the chance that it *ever* exceeds `1 / alpha` is at most `alpha` (Ville 1939). Fixed stakes make the
//! fortune a function of how many steps of each kind there were, whatever their order; several stakes are mixed. The claims that
//! the fortune does not refute are a confidence sequence.

mod quick;
mod stakes;

use stakes::{Purpose, STAKES, Stakes};

use crate::metrics::{Slots, total};

/// An end is known to this part of how far it is from the figure, and so far below any threshold.
const WITHIN: f64 = 5e-4;
const WITHIN_MIN: f64 = 1e-7;
const WITHIN_MAX: f64 = 1e-5;

/// A term that is e^20 times less than the largest does not show in a sum.
const NEGLIGIBLE: f64 = -20.0;

/// How often a test may err, over all looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chance {
    /// The natural logarithm of the fortune that refutes.
    needed: f64,
    /// So many observations share their fate, and tell no more than one: the root of a product of so many fortunes is a
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

    /// The same where so many (≥ 1) observations share their fate.
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

    /// How unlikely it is that an equal mirror ever shows as much, where all of these strengths refute.
    pub(super) fn refuted(self, strengths: &[f64]) -> Option<f64> {
        let least = strengths.iter().copied().fold(f64::INFINITY, f64::min);
        self.is_met(least).then(|| self.unlikely(least))
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
    fn fortune(&self, m: f64, purpose: Purpose) -> f64 {
        match Bets::against(m, self, purpose) {
            Some(bets) => bets.fortune(self),
            None if self.plus > 0.0 => f64::INFINITY,
            None => 0.0,
        }
    }

    /// The fortune where only a positive excess over `m` matters: a mean that is no larger than `m` wins nothing, for the
    /// logarithm is concave.
    fn beyond(&self, m: f64, purpose: Purpose) -> f64 {
        let is_less = self.plus - self.minus <= m * (self.plus + self.minus + self.zero);
        if is_less { 0.0 } else { self.fortune(m, purpose) }
    }

    /// The largest mean that is refuted as too small.
    fn low(&self, chance: Chance, purpose: Purpose) -> f64 {
        let figure = self.figure();
        let needed = chance.total();
        if self.plus == 0.0 && self.least == 0.0 {
            return 0.0;
        }
        // About where a normal distribution has it, with the cost of the mixture.
        let n = (self.plus + self.minus + self.zero).max(1.0);
        let variance = ((self.plus + self.minus) / n - figure * figure).max(0.0);
        let needs = needed + MIXED;
        let away = (2.0 * needs * variance / n).sqrt() + needs / n;
        let of = Edge {
            inside: self.least,
            outside: figure,
            guess: self.guess(figure, needs, figure - away).unwrap_or(figure - away),
            within: (away * WITHIN).clamp(WITHIN_MIN, WITHIN_MAX),
            beside: 0.5,
            snap: |at| at,
        };
        of.find(needed, |m| self.fortune(m, purpose))
    }
}

impl Steps {
    /// About where an end of a share is: where the best stake alone would win as much.
    fn guess(&self, figure: f64, needs: f64, about: f64) -> Option<f64> {
        let Self { plus, zero, least, .. } = *self;
        let n = plus + zero;
        if least < 0.0 || zero <= 0.0 {
            return (least == 0.0).then(|| (-needs / n).exp());
        }
        // By Newton's steps in the logarithm of the odds.
        let most = plus * figure.ln() + zero * (1.0 - figure).ln() - needs;
        let mut m = about.max(figure * (-needs / plus).exp() * 0.5);
        for _ in 0..GUESSES {
            let beyond = most - plus * m.ln() - zero * (1.0 - m).ln();
            let slope = plus - n * m;
            let odds = m / (1.0 - m) * (beyond / slope).exp();
            m = (odds / (1.0 + odds)).min(figure);
        }
        Some(m)
    }
}

/// Steps to a guess: each is a tenth of a look at a fortune.
const GUESSES: usize = 4;

/// About how much the logarithm of a mixture's fortune falls short of its best stake's.
const MIXED: f64 = 2.5;

/// The search for the point where a fortune that falls from `inside` to `outside` crosses the needed one.
struct Edge {
    inside: f64,
    outside: f64,
    guess: f64,
    /// So near each other the two ends are one, and so much of that from an end is worth a look.
    within: f64,
    beside: f64,
    snap: fn(f64) -> f64,
}

impl Edge {
    /// The last place inside: by false position, the end that stays being weighed less (the Illinois method).
    fn find(self, needed: f64, fortune: impl Fn(f64) -> f64) -> f64 {
        let Self { mut inside, mut outside, guess, within, beside, snap } = self;
        // The evidence against a claim grows with the square of its distance: its root is about straight. At the figure itself
        // nothing is won.
        let root = |fortune: f64| (fortune + MIXED).max(0.0).sqrt();
        let wanted = root(needed);
        let (mut more, mut less) = (f64::INFINITY, wanted);
        let (mut next, mut was_inside) = (guess, None);
        while (inside - outside).abs() > within {
            let (low, high) = (inside.min(outside), inside.max(outside));
            let next_to = if next.is_finite() { next } else { f64::midpoint(low, high) };
            let at = snap(next_to.clamp(low + beside * within, high - beside * within));
            let found = fortune(at);
            let beyond = root(found) - wanted;
            let is_inside = found >= needed;
            let is_same_end = was_inside == Some(is_inside);
            was_inside = Some(is_inside);
            if is_inside {
                (inside, more) = (at, beyond);
                less *= if is_same_end { 0.5 } else { 1.0 };
            } else {
                if more.is_infinite() {
                    // Not far enough: as far again.
                    next = at + (at - outside);
                }
                (outside, less) = (at, -beyond);
                more *= if is_same_end { 0.5 } else { 1.0 };
            }
            if more.is_finite() {
                next = outside + (inside - outside) * less / (less + more);
            } else if is_inside {
                next = f64::midpoint(inside, outside);
            }
        }
        inside
    }
}

/// The bets against one claim: by kind of step, the logarithm of the factor by which the fortune on each stake changes.
struct Bets {
    plus: [f64; STAKES],
    minus: [f64; STAKES],
    zero: [f64; STAKES],
    parts: &'static [f64; STAKES],
}

impl Bets {
    /// Against "the mean is at most `m`", where steps are of the kinds that these are of; `None` where such a mean leaves nothing
    /// to bet on.
    fn against(m: f64, kinds: &Steps, purpose: Purpose) -> Option<Self> {
        let least = kinds.least;
        let span = m - least;
        if span <= 0.0 {
            return None;
        }
        let stakes = Stakes::to(purpose);
        let is_share = matches!(purpose, Purpose::Pass);
        let mut per_step = [0.0; STAKES];
        for (one, by) in per_step.iter_mut().zip(&stakes.by) {
            *one = if is_share { *by } else { stake(*by, m, least) } / span;
        }
        let of = |step: f64, n: f64| {
            let mut factors = [0.0; STAKES];
            if n > 0.0 {
                for (factor, per_step) in factors.iter_mut().zip(&per_step) {
                    *factor = 1.0 + per_step * (step - m);
                }
                factors = quick::ln(&factors);
            }
            factors
        };
        Some(Self {
            plus: of(1.0, kinds.plus),
            minus: of(-1.0, kinds.minus),
            zero: of(0.0, kinds.zero),
            parts: &stakes.parts,
        })
    }

    fn fortune(&self, steps: &Steps) -> f64 {
        // A kind of step that did not happen has no part in the product: its count is zero, and no factor is infinite.
        let Steps { plus, minus, zero, .. } = *steps;
        let mut all = *self.parts;
        let factors = self.plus.iter().zip(&self.minus).zip(&self.zero);
        for (fortune, ((by_plus, by_minus), by_zero)) in all.iter_mut().zip(factors) {
            *fortune += plus * by_plus + minus * by_minus + zero * by_zero;
        }
        let most = all.iter().fold(f64::NEG_INFINITY, |most, one| if *one > most { *one } else { most });
        for one in &mut all {
            *one -= most;
        }
        most + quick::sum_of_exp(&all, NEGLIGIBLE).ln()
    }
}

/// The stake that wins most where the odds are so many times those that are claimed: of a share its own, of a net those of the
/// coin that says which of two it was.
fn stake(times: f64, m: f64, least: f64) -> f64 {
    match (times.is_finite(), least < 0.0) {
        (false, _) => 1.0,
        (true, true) => (times - 1.0) / (times + 1.0),
        (true, false) => m * (times - 1.0) / (1.0 - m + m * times),
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
    let high = 1.0 - rest(count, n).low(chance, Purpose::Pass);
    Estimate { figure: steps.figure(), low: steps.low(chance, Purpose::Reject), high }
}

fn rest(count: u64, n: u64) -> Steps {
    shares(n - count.min(n), n)
}

/// How much more often only the one of a pair fails than only the other, of `n` pairs.
pub(super) fn net(only_one: u64, only_other: u64, n: u64, chance: Chance) -> Estimate {
    let steps = nets(only_one, only_other, n.max(1));
    let high = -nets(only_other, only_one, n.max(1)).low(chance, Purpose::Pass);
    Estimate { figure: steps.figure(), low: steps.low(chance, Purpose::Reject), high }
}

/// The figures alone.
pub(super) fn share_figure(count: u64, n: u64) -> f64 {
    shares(count, n.max(1)).figure()
}

pub(super) fn net_figure(only_one: u64, only_other: u64, n: u64) -> f64 {
    nets(only_one, only_other, n.max(1)).figure()
}

/// Whether a share is surely at most `most`.
pub(super) fn share_is_within(count: u64, n: u64, most: f64, chance: Chance) -> bool {
    most >= 1.0 || chance.is_met(rest(count, n.max(1)).beyond(1.0 - most, Purpose::Pass))
}

/// Whether only the one of a pair surely fails more often than only the other by a share of at most `most`.
pub(super) fn net_is_within(only_one: u64, only_other: u64, n: u64, most: f64, chance: Chance) -> bool {
    most >= 1.0 || chance.is_met(nets(only_other, only_one, n.max(1)).beyond(-most, Purpose::Pass))
}

/// How much speaks against "a share of at most `most`": the natural logarithm of a fortune, for [`Chance::is_met`].
pub(super) fn share_beyond(count: u64, n: u64, most: f64) -> f64 {
    shares(count, n).beyond(most, Purpose::Reject)
}

/// The same against "at most half".
pub(super) fn half_beyond(count: u64, n: u64) -> f64 {
    shares(count, n).beyond(0.5, Purpose::RejectHalf)
}

/// The same against "only the one of a pair fails more often than only the other by a share of at most `most`".
pub(super) fn net_beyond(only_one: u64, only_other: u64, n: u64, most: f64) -> f64 {
    nets(only_one, only_other, n.max(only_one.saturating_add(only_other))).beyond(most, Purpose::Reject)
}

/// The same against "one thing happens, in `n` chances, at most `factor` times as often as another does in `m`": each that
/// happens is a throw of a coin that says which.
pub(super) fn more_often((count, n): (u64, u64), (other, m): (u64, u64), factor: f64) -> f64 {
    let weight = factor * n as f64;
    // Below a half, two that happen to one request would win more than is fair.
    let odds = (weight / (weight + m as f64).max(1.0)).clamp(0.5, 1.0);
    shares(count, count.saturating_add(other)).beyond(odds, Purpose::Reject)
}

/// A quantile, by the ranks between which it lies (Howard and Ramdas, *Sequential estimation of quantiles*, 2021). Too few
/// values leave an end open: all of them may lie below it (then the interval ends at infinity) or above it (then at 0).
pub(super) fn quantile(of: &Ranks<'_>, quantile: f64, chance: Chance) -> Estimate {
    Between::of(quantile, of.count(), chance).estimate(of)
}

/// The ranks between which a quantile of `n` values lies, whatever their distribution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Between {
    quantile: f64,
    n: u64,
    chance: Chance,
    /// So many above, and below.
    above: Option<u64>,
    below: Option<u64>,
}

impl Between {
    pub(super) fn of(quantile: f64, n: u64, chance: Chance) -> Self {
        let above = least_beyond(1.0 - quantile, n, chance);
        Self { quantile, n, chance, above, below: least_beyond(quantile, n, chance) }
    }

    /// The quantile of these, of which there may be as many or others.
    pub(super) fn estimate(&self, of: &Ranks<'_>) -> Estimate {
        if of.count() != self.n {
            return Self::of(self.quantile, of.count(), self.chance).estimate(of);
        }
        Estimate {
            figure: of.quantile(self.quantile),
            low: self.above.map_or(0.0, |above| of.at((self.n - above).max(1))),
            high: self.below.map_or(f64::INFINITY, |below| of.at(below)),
        }
    }
}

/// So many of `n` beyond a value are more than the share that may lie beyond a quantile.
fn least_beyond(beyond: f64, n: u64, chance: Chance) -> Option<u64> {
    let kinds = Steps { plus: 1.0, minus: 0.0, zero: 1.0, least: 0.0 };
    let bets = Bets::against(beyond, &kinds, Purpose::Reject)?;
    let needed = chance.total();
    let fortune = |k: f64| bets.fortune(&Steps { plus: k, minus: 0.0, zero: n as f64 - k, least: 0.0 });
    let all = n as f64;
    if fortune(all) < needed {
        return None;
    }
    let few = (beyond * all).floor();
    let guess = few + (2.0 * needed * all * beyond * (1.0 - beyond)).sqrt() + needed;
    let of = Edge { inside: all, outside: few, guess, within: 1.0, beside: 1.0, snap: f64::round };
    // At most n.
    Some(of.find(needed, fortune) as u64)
}

/// Values by their ranks, of a distribution that is asked more than once.
pub(super) struct Ranks<'a> {
    slots: &'a Slots,
    /// How many lie in each slot and those before it.
    until: Vec<u64>,
}

impl<'a> Ranks<'a> {
    pub(super) fn of(slots: &'a Slots) -> Self {
        let mut sum = 0_u64;
        let until = slots.iter().map(|(_, n)| {
            sum = sum.saturating_add(n);
            sum
        });
        Self { until: until.collect(), slots }
    }

    pub(super) fn count(&self) -> u64 {
        self.until.last().copied().unwrap_or_default()
    }

    fn at(&self, rank: u64) -> f64 {
        self.at_slot(self.until.partition_point(|until| *until < rank))
    }

    /// As its slot has it, and not between two values.
    pub(super) fn quantile(&self, quantile: f64) -> f64 {
        let rank = self.count() as f64 * quantile;
        self.at_slot(self.until.partition_point(|until| (*until as f64) < rank))
    }

    fn at_slot(&self, slot: usize) -> f64 {
        self.slots.value(slot.min(self.until.len().saturating_sub(1))) as f64
    }

    /// How many values are longer.
    pub(super) fn beyond(&self, value: f64) -> u64 {
        let within = self.slots.position(|least| least as f64 > value);
        self.count() - within.checked_sub(1).and_then(|at| self.until.get(at)).copied().unwrap_or_default()
    }
}

/// How many times as large one value is as another.
pub(super) fn times_as_large(one: f64, other: f64) -> f64 {
    one.max(1.0) / other.max(1.0)
}

/// Between which it lies, where each value lies somewhere.
pub(super) fn ratio(one: Estimate, other: Estimate) -> Estimate {
    let of = times_as_large;
    Estimate {
        figure: of(one.figure, other.figure),
        low: if other.high.is_finite() { of(one.low, other.high) } else { 0.0 },
        high: if other.low > 0.0 { of(one.high, other.low) } else { f64::INFINITY },
    }
}

/// The design effect: the variance of counts in stretches of time, divided by the variance of independent observations. About
/// so many observations share a fate. `stretches`: (of so many, so many). `None` where there are too few to tell.
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
