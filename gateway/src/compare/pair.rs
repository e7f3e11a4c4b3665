//! The compared pair: two responses to one request, before anything is left out of them.

use crate::observe::record::{Answer, CopyLeg, Record};

/// Two answers and the request that they are to.
pub(super) struct Pair<'a> {
    pub(super) record: &'a Record,
    pub(super) copy: &'a CopyLeg,
    pub(super) primary: &'a Answer,
    pub(super) mirror: &'a Answer,
}
