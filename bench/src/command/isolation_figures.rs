//! The figures of `isolation` as they were taken. Neither measures nor judges.

use crate::faults::State;
use crate::ledger::Ledger;
use crate::load::Seen;
use crate::procfs::{Memory, Scheduled};
use crate::variant::Variant;

/// All rounds of one program.
pub(super) struct Program {
    pub variant: Variant,
    pub rows: Vec<Row>,
    /// With mirroring off, in the order they were taken.
    pub off: Vec<Measured>,
}

/// All rounds of one program with the mirror in one state.
pub(super) struct Row {
    pub state: State,
    pub pairs: Vec<Pair>,
}

/// Neighbours in time.
#[derive(Clone)]
pub(super) struct Pair {
    pub off: Measured,
    pub on: Measured,
}

#[derive(Clone)]
pub(super) struct Measured {
    pub seen: Seen,
    pub memory: Memory,
    /// The gateway's threads, while it was measured.
    pub scheduled: Scheduled,
    /// False if the load generator says that it was itself the limit.
    pub is_valid: bool,
    pub ledger: Option<Ledger>,
}
