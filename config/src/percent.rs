//! Shares, in whole millionths.

use std::fmt;

/// A share of requests with a grain of one in a million (0.0001 %), as in Istio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent {
    /// 0 is none, 1_000_000 is every request.
    pub per_million: u32,
}

impl Percent {
    pub const NONE: Self = Self { per_million: 0 };
    pub const ALL: Self = Self { per_million: 1_000_000 };

    /// Rounded to the nearest millionth; `None` for a number that is not from 0 to 100.
    pub fn from_percent(percent: f64) -> Option<Self> {
        Self::up_to(percent, 100.0)
    }

    /// As [`Percent::from_percent`], for shares that may amplify: up to 10,000 %, a hundred copies of each request.
    pub fn from_percent_amplified(percent: f64) -> Option<Self> {
        Self::up_to(percent, 10_000.0)
    }

    fn up_to(percent: f64, most: f64) -> Option<Self> {
        // Within the range, so the cast neither wraps nor saturates.
        (0.0..=most).contains(&percent).then(|| Self { per_million: (percent * 10_000.0).round() as u32 })
    }
}

/// As a number of percent with no more digits than it needs, without a sign.
impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.per_million) / 10_000.0)
    }
}
