//! The figures of `soak` as they were taken. Neither measures nor judges.

use crate::ledger::Ledger;
use crate::soak::trouble::Class;

/// One look at the gateway.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub seconds: f64,
    /// Of `Soak::classes`; none: warming up, or at rest.
    pub class: Option<usize>,
    pub private_bytes: u64,
    pub descriptors: u64,
    pub whole: u64,
    pub errors: u64,
}

/// At rest: a while after the last client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    pub private_bytes: u64,
    pub descriptors: u64,
}

/// Results of one class.
pub(super) struct Outcome {
    pub class: Class,
    pub faults: u64,
    pub whole: u64,
    pub left: u64,
    /// Requests not answered whole while only the mirror was in trouble.
    pub mirror_errors: u64,
    /// And with the primary in trouble, by what happened.
    pub errors: Vec<(String, u64)>,
    /// After both had come back.
    pub errors_after: u64,
    pub rest: Rest,
}

/// The account of one mirror over everything, and what the mirror itself counted.
pub(super) struct Account {
    pub mirror: &'static str,
    pub ledger: Ledger,
    pub resent: u64,
    /// Requests that the mirror read whole.
    pub arrived: u64,
}

pub(super) struct Soak {
    pub base: Rest,
    pub outcomes: Vec<Outcome>,
    pub samples: Vec<Sample>,
    pub accounts: Vec<Account>,
    pub wrong: Vec<String>,
    pub panics: u64,
    pub whole: u64,
    pub reloads: u64,
}
