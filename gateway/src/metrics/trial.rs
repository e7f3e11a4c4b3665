//! The clients' responses where chance had their request copied, and where chance left it out: the two arms of the trial that
//! every share below 100 % is. The arms differ by the copying alone, so that a difference between them is its effect on
//! clients.

use super::{Counter, Histogram};

/// Whether a request was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arm {
    /// The request was drawn, whatever the end of its copy.
    Copied,
    Spared,
}

/// The responses that clients of one arm got.
#[derive(Debug, Default)]
pub struct Got {
    pub requests: Counter,
    /// 4xx: a copy that overtakes its own request may have taken the thing that both ask for.
    pub refused: Counter,
    /// 5xx.
    pub failed: Counter,
    /// Microseconds, of answers written whole.
    pub duration: Histogram,
}

/// A route's counters while its first mirror that draws by chance keeps its share.
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
