//! The figures of `soak` as they were taken. Neither measures nor judges.

use crate::ledger::Ledger;
use crate::soak::seen::Counts;
use crate::soak::trouble::Class;
use crate::soak::wire::Wire;

/// One look at the gateway.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub seconds: f64,
    /// Of `Soak::classes`; none: warming up, or at rest.
    pub class: Option<usize>,
    pub private_bytes: u64,
    pub descriptors: u64,
    /// Since the start.
    pub counts: Counts,
}

/// At rest: a while after the last client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    pub private_bytes: u64,
    pub descriptors: u64,
}

/// The clients' side of a class, or of all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub all: Counts,
    /// While only the mirrors were in trouble.
    pub mirror: Counts,
    /// After everybody had come back.
    pub after: Counts,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.all.add(&other.all);
        self.mirror.add(&other.mirror);
        self.after.add(&other.after);
    }
}

/// Results of one class.
pub(super) struct Outcome {
    pub class: Class,
    pub faults: u64,
    pub tally: Tally,
    pub rest: Rest,
}

/// The account of one mirror over everything, and what the mirror itself counted.
pub(super) struct Account {
    pub mirror: String,
    /// A mirror that never broke.
    pub is_healthy: bool,
    pub ledger: Ledger,
    pub resent: u64,
    /// Requests that the mirror read whole.
    pub arrived: u64,
}

pub(super) struct Soak {
    pub wires: Vec<Wire>,
    pub base: Rest,
    pub outcomes: Vec<Outcome>,
    pub samples: Vec<Sample>,
    pub accounts: Vec<Account>,
    pub counts: Counts,
    /// The first of each kind.
    pub wrong: Vec<String>,
    pub suspects: Vec<String>,
    pub panics: u64,
    pub reloads: u64,
}
