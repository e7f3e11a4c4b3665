//! The figures of `peers` and `growth` as they were taken, round by round. Neither measures nor judges.

use crate::ledger::Ledger;
use crate::load::Seen;
use crate::scenario::Setup;
use crate::variant::Variant;

/// A variant at one point of the axis, with its measurements, round by round.
pub(super) struct Case {
    pub variant: Variant,
    /// Its place on the axis; empty without one.
    pub place: String,
    pub setup: Setup,
    pub samples: Vec<Sample>,
    /// Ours and mirroring only: all rounds together.
    pub ledger: Option<Ledger>,
}

impl Case {
    pub(super) fn new(variant: Variant, place: &str, setup: &Setup) -> Self {
        let ledger = (variant.is_ours() && variant.mirrors()).then(Ledger::default);
        Self { variant, place: place.to_string(), setup: setup.clone(), samples: Vec::new(), ledger }
    }

    pub(super) fn label(&self) -> String {
        format!("{} {}", self.variant.name(), self.place).trim_end().to_string()
    }
}

/// A round of one case. A figure that could not be taken is not a number.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub user_us: f64,
    pub sys_us: f64,
    pub seen: Seen,
    pub resident: u64,
    /// By the origins' own counts, which know nothing of our ledger and hold for every program.
    pub arrived: Arrived,
    /// Ours and mirroring only.
    pub ledger: Option<Ledger>,
}

/// Requests that reached the primary, and those that reached all mirrors together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrived {
    pub primary: u64,
    pub mirrors: u64,
}

impl Sample {
    pub(super) fn cpu_us(&self) -> f64 {
        self.user_us + self.sys_us
    }

    pub(super) fn missing() -> Self {
        let seen =
            Seen { seconds: f64::NAN, p50: f64::NAN, p99: f64::NAN, p99_9: f64::NAN, ..Seen::default() };
        let arrived = Arrived::default();
        Self { user_us: f64::NAN, sys_us: f64::NAN, seen, resident: 0, arrived, ledger: None }
    }
}
