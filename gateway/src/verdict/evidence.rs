//! What a verdict rests on. Pure: it is counted elsewhere, and judged elsewhere.

use std::collections::BTreeMap;

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
    /// How many times share a fate, as estimated of the median and of the 99th percentile: see `sequential::design_effect`.
    pub bursts: [Option<f64>; 2],
    /// What was counted since some moments.
    pub windows: Vec<Window>,
}

/// What was counted since a moment.
#[derive(Debug)]
pub struct Window {
    /// As RFC 3339 has it.
    pub since: String,
    /// The how manieth moment it is that was remembered.
    pub number: u32,
    pub evidence: Evidence,
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
    /// It has the look of what is drawn anew each time, on both sides.
    pub is_volatile: bool,
    /// How many other differences were found before it, and how many had been compared when it was: it is judged by what came
    /// since, so that a place is not judged by what it was chosen for.
    pub rank: u64,
    pub first: u64,
    /// Since then, requests that the baseline answered too; of those, where this alone differs, and where the baseline
    /// alone does.
    pub beside: u64,
    pub only_mirror: u64,
    pub only_baseline: u64,
    pub example: (Option<String>, Option<String>),
    /// Ids of requests that are kept.
    pub samples: Vec<String>,
}

/// Routes whose baseline saw so many times as many of their requests, or as few, are as if it saw all.
const ALIKE: [f64; 2] = [0.8, 1.25];

impl Evidence {
    /// All routes of a mirror as one: what is compared is compared for the same requests on both sides, so that which route
    /// has how many cannot matter. A baseline counts where it saw as much of each route.
    pub(super) fn together(all: &[&Self]) -> Option<Self> {
        let is_fair = |of: &&&Self| !of.are_chosen_by_answer && of.is_baseline_chosen_alike;
        let pairs = |all: &[&Self]| all.iter().map(|of| of.seen.pairs()).sum::<u64>();
        let is_alike = |of: &&&Self| {
            let again = of.baseline.as_ref().map_or(0, Seen::pairs) as f64 / of.seen.pairs().max(1) as f64;
            (ALIKE[0]..=ALIKE[1]).contains(&again)
        };
        let with: Vec<&Self> = all.iter().filter(is_fair).filter(is_alike).copied().collect();
        let without: Vec<&Self> =
            all.iter().filter(is_fair).filter(|of| of.baseline.is_none()).copied().collect();
        let (of, has_baseline) =
            if pairs(&with) >= pairs(&without) { (with, true) } else { (without, false) };
        let first = of.first()?;
        let worst = |at: usize| of.iter().filter_map(|of| of.bursts.get(at).copied()?).reduce(f64::max);
        (of.len() > 1).then(|| Self {
            route: EVERYWHERE.to_owned(),
            mirror: first.mirror.clone(),
            copies: of.iter().map(|of| of.copies).max().unwrap_or(1),
            are_chosen_by_answer: false,
            is_baseline_chosen_alike: true,
            seen: Seen::together(of.iter().map(|of| &of.seen)),
            baseline: has_baseline.then(|| Seen::together(of.iter().filter_map(|of| of.baseline.as_ref()))),
            differences: Vec::new(),
            bursts: [worst(0), worst(1)],
            windows: Vec::new(),
        })
    }
}

/// What all routes together are called.
pub(super) const EVERYWHERE: &str = "(all routes)";

impl Seen {
    /// Without what was set side by side.
    fn together<'a>(all: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let mut matrix: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for (primary, mirror, n) in all.clone().flat_map(|seen| &seen.matrix) {
            *matrix.entry((primary, mirror)).or_default() += n;
        }
        let cell = |((primary, mirror), n): ((&str, &str), u64)| (primary.to_owned(), mirror.to_owned(), n);
        Self {
            matrix: matrix.into_iter().map(cell).collect(),
            primary_times: Slots::together(all.clone().map(|seen| &seen.primary_times)),
            mirror_times: Slots::together(all.clone().map(|seen| &seen.mirror_times)),
            sent: all.clone().map(|seen| seen.sent).sum(),
            unreachable: all.clone().map(|seen| seen.unreachable).sum(),
            lost: all.map(|seen| seen.lost).sum(),
            compared: None,
        }
    }

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
    /// What to write so that it is not compared.
    pub(super) fn ignoring(&self) -> String {
        let quoted = |text: &str| format!("{text:?}");
        match (self.field.strip_prefix('$'), self.kind) {
            (Some(path), _) => {
                let pointer = path.replace("[*]", ".*").replace('.', "/");
                format!("compare = {{ ignore_json = [{}] }}", quoted(&pointer))
            }
            (None, "header") => format!("compare = {{ ignore_headers = [{}] }}", quoted(&self.field)),
            (None, _) => "compare = { ignore_text = [\"a pattern of it\"] }".to_owned(),
        }
    }

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
