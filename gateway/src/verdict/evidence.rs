//! What a verdict rests on. Pure: it is counted elsewhere, and judged elsewhere.

use crate::metrics::Slots;

/// What was seen of one mirror on one route.
#[derive(Debug)]
pub struct Evidence {
    pub route: String,
    pub mirror: String,
    /// Copies that one request may have: they are not independent of each other.
    pub copies: u32,
    /// Requests were copied because of how the primary answered them.
    pub are_chosen_by_answer: bool,
    /// So were the baseline's, or neither; true where there is none.
    pub is_baseline_chosen_alike: bool,
    pub seen: Seen,
    /// The same of the primary once more, where the route has a baseline.
    pub baseline: Option<Seen>,
    pub differences: Vec<Difference>,
}

/// What a mirror on a route came to.
#[derive(Debug, Default)]
pub struct Seen {
    /// Requests of which both sides have ended: primary's and mirror's end, as `GET /outcomes` names them, and how many.
    pub matrix: Vec<(String, String, u64)>,
    /// Microseconds of either side, of the same requests: those whose times are known for their own.
    pub primary_times: Slots,
    pub mirror_times: Slots,
    pub sent: u64,
    /// Copies that were not sent because the mirror took no connection.
    pub unreachable: u64,
    /// Copies that were not sent for reasons of the gateway's own.
    pub lost: u64,
    /// Where answers are set side by side.
    pub compared: Option<Compared>,
}

/// How many answers were set side by side.
#[derive(Debug, Default)]
pub struct Compared {
    pub answers: u64,
    /// Of those, where the contents were too.
    pub contents: u64,
    /// Of those, where nobody asked for contents of their type.
    pub left_out: u64,
    /// Of the answers, where anything differs.
    pub differing: u64,
    /// Pairs of which an answer found no room.
    pub no_room: u64,
    /// Of the answers, those that were looked at in part: they differ in more places than are told, or in one that has no
    /// place among those kept apart.
    pub partly: u64,
    /// The latter alone.
    pub hidden: u64,
    /// Requests that the baseline answered too; of those, where this alone differs, and where the baseline alone does.
    pub beside: (u64, u64, u64),
    /// Why contents were not compared, and how often.
    pub reasons: Vec<(String, u64)>,
}

/// One place where answers differ.
#[derive(Debug, Clone)]
pub struct Difference {
    pub field: String,
    pub kind: &'static str,
    pub count: u64,
    pub compared: u64,
    pub baseline_count: u64,
    pub baseline_compared: u64,
    /// Requests that the baseline answered too; of those, where this alone differs, and where the baseline alone does.
    pub beside: u64,
    pub only_mirror: u64,
    pub only_baseline: u64,
    pub example: (Option<String>, Option<String>),
    /// Ids of requests that are kept.
    pub samples: Vec<String>,
}

impl Seen {
    /// Copies that were to be sent.
    pub(super) fn wanted(&self) -> u64 {
        self.sent + self.unreachable + self.lost
    }

    /// Pairs whose ends are the services' own: where the client went away, or the gateway gave up, they tell nothing.
    fn judged(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        let all = self.matrix.iter().map(|(primary, mirror, n)| (primary.as_str(), mirror.as_str(), *n));
        all.filter(|(primary, mirror, _)| *primary != "abandoned" && *mirror != "drain")
    }

    pub(super) fn pairs(&self) -> u64 {
        self.judged().map(|(_, _, n)| n).sum()
    }

    /// Pairs like this.
    pub(super) fn cells(&self, is_like: fn(&str, &str) -> bool) -> u64 {
        self.judged().filter(|(primary, mirror, _)| is_like(primary, mirror)).map(|(_, _, n)| n).sum()
    }

    pub(super) fn shown(&self, is_like: fn(&str, &str) -> bool) -> Vec<String> {
        let mut all: Vec<_> = self.judged().filter(|(primary, mirror, _)| is_like(primary, mirror)).collect();
        all.sort_by_key(|(_, _, n)| std::cmp::Reverse(*n));
        all.iter().map(|(primary, mirror, n)| format!("v1 {primary}, v2 {mirror}: {n} times")).collect()
    }
}

impl Difference {
    pub(super) fn shown(&self) -> String {
        let side = |of: &Option<String>| of.clone().unwrap_or_else(|| "absent".to_owned());
        let Self { field, kind, count, compared, example: (primary, mirror), samples, .. } = self;
        let ids = if samples.is_empty() { String::new() } else { format!(" ({})", samples.join(", ")) };
        let kind = if kind == field { String::new() } else { format!(" {kind}") };
        format!("{field}{kind}: {} → {}, {count} of {compared}{ids}", side(primary), side(mirror))
    }
}

/// A server's error, or no answer at all.
fn is_error(end: &str) -> bool {
    match end.parse::<u16>() {
        Ok(status) => status >= 500,
        // Why there was none, or `other_5xx`.
        Err(_) => end != "other",
    }
}

pub(super) fn is_only_mirrors(primary: &str, mirror: &str) -> bool {
    !is_error(primary) && is_error(mirror)
}

pub(super) fn is_only_primarys(primary: &str, mirror: &str) -> bool {
    is_error(primary) && !is_error(mirror)
}

pub(super) fn is_other_status(primary: &str, mirror: &str) -> bool {
    primary != mirror && !is_error(primary) && !is_error(mirror)
}
