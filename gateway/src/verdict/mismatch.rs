//! How often two sides differ beyond what v1 differs from itself. Pure.

use std::cmp::Ordering;

use super::sequential::{
    Chance, Estimate, more_often, net, net_beyond, net_figure, net_is_within, share, share_beyond,
    share_figure, share_is_within,
};
use super::threshold::{LEAST_THRESHOLD, NOISE_SLACK, SLIPS};
use super::{Difference, Outcome};

/// The terms by which a mismatch is judged.
#[derive(Clone, Copy)]
pub(super) struct MismatchTest {
    pub(super) threshold: f64,
    /// Answers of the baseline without which nothing is known for noise.
    pub(super) least: u64,
    pub(super) reject: Chance,
    pub(super) pass: Chance,
}

/// How often something differs beyond its noise, and how often it may.
pub(super) struct Mismatch {
    of: Counted,
    asked: MismatchTest,
    pub(super) figure: f64,
    pub(super) allowed: f64,
    pub(super) refuted: Option<f64>,
    /// Answers that were compared.
    pub(super) counted: u64,
    /// Why it cannot speak against a mirror.
    pub(super) unsure: Option<String>,
}

/// The counts behind a figure.
enum Counted {
    /// Differing and compared answers, and the same of a baseline that answered other requests.
    Apart { of: (u64, u64), noise: (u64, u64) },
    /// Of `n` requests that both answered: how often the mirror alone differs, and how often the baseline alone.
    Beside { mirror: u64, baseline: u64, n: u64 },
}

fn unsure(noise: Option<(u64, u64)>, least: u64) -> Option<String> {
    let (_, n) = noise.filter(|(_, n)| *n < least)?;
    Some(format!("the baseline has {n} such answers, too few to tell what v1 does to itself"))
}

impl Mismatch {
    /// Beside a baseline that answered other requests. `noise`: how often it is so of the baseline, where there is one.
    pub(super) fn apart((count, n): (u64, u64), noise: Option<(u64, u64)>, asked: MismatchTest) -> Self {
        let known = noise.filter(|(_, n)| *n >= asked.least).unwrap_or_default();
        let level = share_figure(known.0, known.1);
        let allowed = asked.threshold.max(NOISE_SLACK * level);
        let figure = share_figure(count, n) - level;
        let is_refuted = || {
            let mut strengths = vec![share_beyond(count, n, allowed)];
            if known.0 > 0 {
                strengths.push(more_often((count, n), known, 1.0 + NOISE_SLACK));
            }
            asked.reject.refuted(&strengths)
        };
        Self {
            of: Counted::Apart { of: (count, n), noise: known },
            asked,
            figure,
            allowed,
            refuted: if figure > allowed { is_refuted() } else { None },
            counted: n,
            unsure: unsure(noise, asked.least),
        }
    }

    /// Beside a baseline that answered the same requests: what differs of both cancels.
    pub(super) fn beside(of: &Difference, asked: MismatchTest) -> Self {
        let (mirror, baseline, n) = (of.only_mirror, of.only_baseline, of.beside);
        let level = share_figure(of.baseline_count, of.baseline_compared);
        let allowed = asked.threshold.max(NOISE_SLACK * level);
        let figure = net_figure(mirror, baseline, n);
        let is_refuted = || asked.reject.refuted(&[net_beyond(mirror, baseline, n, allowed)]);
        Self {
            of: Counted::Beside { mirror, baseline, n },
            asked,
            figure,
            allowed,
            refuted: if figure > allowed { is_refuted() } else { None },
            counted: of.compared,
            unsure: unsure(Some((of.baseline_count, of.baseline_compared)), asked.least),
        }
    }

    pub(super) fn beyond(&self) -> f64 {
        self.figure - self.allowed
    }

    /// Where the figure lies.
    pub(super) fn interval(&self) -> [f64; 2] {
        let (Estimate { low, high, .. }, level) = match self.of {
            Counted::Apart { of: (count, n), noise } => {
                (share(count, n, self.asked.reject), share_figure(noise.0, noise.1))
            }
            Counted::Beside { mirror, baseline, n } => (net(mirror, baseline, n, self.asked.reject), 0.0),
        };
        [low - level, high - level]
    }

    /// The figure's upper bound, as sure as it takes to pass, where that is more than `most`.
    pub(super) fn ceiling(&self, most: f64) -> Option<f64> {
        let pass = self.asked.pass;
        let ceiling = match self.of {
            Counted::Apart { of: (count, n), .. } if share_is_within(count, n, most, pass) => return None,
            Counted::Apart { of: (count, n), noise } => {
                let sure = if noise.0 > 0 { share(noise.0, noise.1, pass).low } else { 0.0 };
                share(count, n, pass).high - sure
            }
            Counted::Beside { mirror, baseline, n } if net_is_within(mirror, baseline, n, most, pass) => {
                return None;
            }
            Counted::Beside { mirror, baseline, n } => net(mirror, baseline, n, pass).high,
        };
        (ceiling > most).then_some(ceiling)
    }

    pub(super) fn result(&self) -> Outcome {
        match () {
            () if self.beyond() > 0.0 && self.refuted.is_some() && self.unsure.is_none() => Outcome::Fail,
            () if self.beyond() <= 0.0
                && self.ceiling(SLIPS * self.allowed.max(LEAST_THRESHOLD)).is_none() =>
            {
                Outcome::Pass
            }
            () => Outcome::Hold,
        }
    }
}

/// The subject of a mismatch, to be put in words.
pub(super) enum Shown<'a> {
    Judged(&'a Difference),
    Volatile(&'a Difference),
    Any(u64, u64),
}

impl Shown<'_> {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Judged(of) => of.shown(),
            Self::Volatile(of) => format!("{}; volatile: {}", of.shown(), of.ignoring()),
            Self::Any(differing, answers) => format!("anything at all: {differing} of {answers}"),
        }
    }
}

/// The largest first.
#[derive(PartialEq)]
pub(super) struct Descending(pub(super) f64);

impl Eq for Descending {}

impl PartialOrd for Descending {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Descending {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.total_cmp(&self.0)
    }
}
