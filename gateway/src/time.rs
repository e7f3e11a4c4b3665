//! Lengths of time as a worker's coarse clock counts them. Pure.

use std::time::Duration;

/// A length of time in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// No deadline.
    pub const FOREVER: Self = Self(u64::MAX);

    /// So long, but not beyond `end_ms` of the worker's clock; `u64::MAX` is no end.
    pub fn until(self, end_ms: u64, now_ms: u64) -> Self {
        if end_ms == u64::MAX { self } else { Self(self.0.min(end_ms.saturating_sub(now_ms))) }
    }
}

impl From<Duration> for Millis {
    fn from(d: Duration) -> Self {
        Self(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }
}
