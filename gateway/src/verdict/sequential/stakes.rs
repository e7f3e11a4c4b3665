//! The stakes on each step of a sequence, by the purpose of the bet.

use std::sync::LazyLock;

/// The purpose of a bet: the fortune is put on those stakes that win most where it matters.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// That something is rare enough. The whole stake refutes by an event that never happened: a quarter is on it.
    Pass,
    /// That something is too frequent, most of all where it is so by twice to ten times.
    Reject,
    /// That something is more than half, most of all where it is 55 to 70 %: the share of pairs in which a mirror is slower
    /// whose median is a tenth to a half too long.
    RejectHalf,
}

/// Stakes of each purpose.
pub(super) const STAKES: usize = 14;

/// As a share of the largest possible one, and the part of the fortune that is put on each.
pub(super) const PASSING: [(f64, f64); STAKES] = [
    (1.0, 0.25),
    (0.95, OTHERS),
    (0.7, OTHERS),
    (0.4, OTHERS),
    (0.2, OTHERS),
    (0.1, OTHERS),
    (0.05, OTHERS),
    (0.025, OTHERS),
    (0.012, OTHERS),
    (0.006, OTHERS),
    (0.003, OTHERS),
    (0.001_5, OTHERS),
    (0.000_7, OTHERS),
    (0.000_3, OTHERS),
];
const OTHERS: f64 = 0.75 / 13.0;

/// How many times the odds that are claimed the odds may be in truth, and the part of the fortune that is put on the stake which
/// then wins most.
pub(super) const REJECTING: [(f64, f64); STAKES] = [
    (1.007, 0.005),
    (1.015, 0.008),
    (1.03, 0.012),
    (1.06, 0.02),
    (1.12, 0.03),
    (1.25, 0.055),
    (1.5, 0.11),
    (2.0, 0.16),
    (3.0, 0.18),
    (5.0, 0.16),
    (9.0, 0.12),
    (20.0, 0.07),
    (60.0, 0.05),
    (f64::INFINITY, 0.02),
];

/// The same where they are known to be even.
pub(super) const REJECTING_HALF: [(f64, f64); STAKES] = [
    (1.015, 0.003),
    (1.03, 0.007),
    (1.06, 0.01),
    (1.12, 0.02),
    (1.25, 0.09),
    (1.4, 0.22),
    (1.6, 0.25),
    (1.9, 0.16),
    (2.5, 0.1),
    (4.0, 0.06),
    (9.0, 0.03),
    (20.0, 0.02),
    (60.0, 0.02),
    (f64::INFINITY, 0.01),
];

/// Stakes of one purpose, and natural logarithms of the parts.
pub(super) struct Stakes {
    /// Shares of the largest, or how many times the odds.
    pub(super) by: [f64; STAKES],
    pub(super) parts: [f64; STAKES],
}

impl Stakes {
    pub(super) fn to(purpose: Purpose) -> &'static Self {
        match purpose {
            Purpose::Pass => &TO_PASS,
            Purpose::Reject => &TO_REJECT,
            Purpose::RejectHalf => &TO_REJECT_HALF,
        }
    }

    fn of(stakes: [(f64, f64); STAKES]) -> Self {
        Self { by: stakes.map(|(by, _)| by), parts: stakes.map(|(_, part)| part.ln()) }
    }
}

static TO_PASS: LazyLock<Stakes> = LazyLock::new(|| Stakes::of(PASSING));
static TO_REJECT: LazyLock<Stakes> = LazyLock::new(|| Stakes::of(REJECTING));
static TO_REJECT_HALF: LazyLock<Stakes> = LazyLock::new(|| Stakes::of(REJECTING_HALF));
