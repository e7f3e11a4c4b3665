//! The responses that clients got where chance had their request copied, and where chance left it out: the two arms of a trial
//! that every share below 100 % is. Whether copying itself changes what clients get is all that tells them apart.

use super::{Counter, Histogram};

/// Whether a request was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arm {
    /// It was drawn, whatever became of its copy.
    Copied,
    Spared,
}

/// The responses that clients of one arm got.
#[derive(Debug, Default)]
pub struct Got {
    pub requests: Counter,
    /// 4xx: a copy that overtakes its own request may have taken what it asks for.
    pub refused: Counter,
    /// 5xx.
    pub failed: Counter,
    /// Microseconds, of answers written whole.
    pub duration: Histogram,
}

/// One route's counters while the share of its first mirror that draws by chance is the same.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Trial {
    pub copied: Got,
    pub spared: Got,
}

impl Trial {
    /// `duration_us`: of an answer.
    pub fn count(&self, arm: Arm, status: u16, duration_us: Option<u64>) {
        let got = match arm {
            Arm::Copied => &self.copied,
            Arm::Spared => &self.spared,
        };
        got.requests.inc();
        match status {
            400..500 => got.refused.inc(),
            500.. => got.failed.inc(),
            0..400 => {}
        }
        if let Some(duration_us) = duration_us {
            got.duration.record(duration_us);
        }
    }
}
