//! The evidence that a verdict rests on. Pure: it is counted elsewhere, and judged elsewhere.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::grpc::Status;
use crate::metrics::{Slots, TailCounts, total};

/// The evidence on one mirror on one route.
#[derive(Debug)]
pub struct Evidence {
    pub route: String,
    pub mirror: String,
    /// Copies that one request may have: they are not independent of each other.
    pub copies: u32,
    /// Requests were copied because of how the primary answered them.
    pub are_chosen_by_response: bool,
    /// So were the baseline's, or neither; true where there is none.
    pub is_baseline_chosen_alike: bool,
    /// The baseline gets the same kinds of requests as the mirror, whatever their shares; true where there is none.
    pub is_baseline_asked_alike: bool,
    /// Copies to the baseline wait, travel and are given up by the same settings: its losses are the gateway's own.
    pub is_baseline_sent_alike: bool,
    pub seen: Seen,
    /// The same of the primary once more, where the route has a baseline.
    pub baseline: Option<Seen>,
    pub differences: Vec<Difference>,
    /// Workers of all gateways. Each of them counts a hiccup that delays several requests once for itself.
    pub workers: u32,
    /// How many times share a fate, as estimated of the median and of the 99th percentile: see `sequential::design_effect`.
    pub bursts: [Option<f64>; 2],
    /// The evidence since each remembered moment.
    pub windows: Vec<Window>,
}

/// The evidence since a remembered moment.
#[derive(Debug)]
pub struct Window {
    /// As RFC 3339 has it.
    pub since: String,
    /// Seconds to the moments that are remembered before and after it: a change is dated no better.
    pub within: f64,
    /// The how manieth moment it is that was remembered.
    pub number: u32,
    pub evidence: Evidence,
}

/// The counts of a mirror on a route.
#[derive(Debug, Default)]
pub struct Seen {
    /// Requests of which both sides have ended: primary's and mirror's end, as `GET /outcomes` names them, and how many.
    pub matrix: Vec<(String, String, u64)>,
    /// Microseconds of either side, of the same requests: those whose times are known for their own.
    pub primary_times: Slots,
    pub mirror_times: Slots,
    /// Of the same pairs, in steps, how many times as long the mirror took.
    pub ratios: Slots,
    /// Of the same pairs, by level, clusters in which the mirror alone was beyond it, and the primary alone.
    pub tails: TailCounts,
    pub sent: u64,
    /// Copies that were not sent because the mirror took no connection.
    pub unreachable: u64,
    /// Copies that were not sent for reasons of the gateway's own.
    pub lost: u64,
    /// Responses that may stand beside another request than their own.
    pub suspect: u64,
    /// Pairs that are not counted, for they are evidence of neither side: of calls whose time was up, which waiting had lowered, and of
    /// calls that were not read to their end.
    pub less_time: u64,
    pub end_unread: u64,
    /// Where answers are set side by side.
    pub compared: Option<Compared>,
}

/// How many answers were set side by side.
#[derive(Debug, Default)]
pub struct Compared {
    pub answers: u64,
    /// Of those, where the contents were too.
    pub contents: u64,
    /// Of those, where no rule asked for contents of their type.
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
    /// Requests that the baseline is not asked.
    pub unasked: Unasked,
    /// Why contents were not compared, and how often.
    pub reasons: Vec<(String, u64)>,
}

/// How many answers to such requests were set side by side, and how many of these differ in anything.
#[derive(Debug, Default, Clone, Copy)]
pub struct Unasked {
    pub pairs: u64,
    pub differing: u64,
}

/// A place where answers differ.
#[derive(Debug, Clone)]
pub struct Difference {
    pub field: String,
    pub kind: &'static str,
    pub count: u64,
    pub compared: u64,
    pub baseline_count: u64,
    pub baseline_compared: u64,
    /// On both sides the values look drawn anew each time.
    pub is_volatile: bool,
    /// How many differences were found before this one, and how many answers had been compared by then. The difference is
    /// judged by the answers since, so that the answers by which it was chosen do not count.
    pub rank: u64,
    pub first: u64,
    /// Since then, requests that the baseline answered too; of those, where this alone differs, and where the baseline
    /// alone does.
    pub beside: u64,
    pub only_mirror: u64,
    pub only_baseline: u64,
    /// Of requests that the baseline is not asked.
    pub unasked: Lone,
    pub example: (Option<String>, Option<String>),
    /// Ids of requests that are kept.
    pub samples: Vec<String>,
}

/// How often a place differs where no baseline was asked; as of a [`Difference`].
#[derive(Debug, Default, Clone, Copy)]
pub struct Lone {
    pub count: u64,
    pub compared: u64,
    pub is_volatile: bool,
}

/// Routes whose baseline saw so many times as many of their requests, or as few, are as if it saw as much of all.
const ALIKE: [f64; 2] = [0.8, 1.25];

impl Evidence {
    /// All routes of a mirror as one. Both sides of each pair answer the same request, so that the mix of routes cannot matter.
    /// A baseline counts where it saw the same share of each route.
    pub(super) fn together(all: &[&Self]) -> Option<Self> {
        let is_fair = |of: &&&Self| {
            !of.are_chosen_by_response && of.is_baseline_chosen_alike && of.is_baseline_asked_alike
        };
        let pairs = |all: &[&Self]| total(all.iter().map(|of| of.seen.pairs()));
        let again = |of: &Self| Some(of.baseline.as_ref()?.pairs() as f64 / of.seen.pairs().max(1) as f64);
        // A baseline may have a share of its own, as long as it is that of each route: measured by the largest.
        let largest =
            all.iter().filter(is_fair).filter(|of| of.baseline.is_some()).max_by_key(|of| of.seen.pairs());
        let share = largest.and_then(|of| again(of)).filter(|share| *share > 0.0);
        let is_alike = |of: &&&Self| {
            let times = again(of).zip(share).map(|(own, share)| own / share);
            times.is_some_and(|times| (ALIKE[0]..=ALIKE[1]).contains(&times))
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
            are_chosen_by_response: false,
            is_baseline_chosen_alike: true,
            is_baseline_asked_alike: true,
            is_baseline_sent_alike: false,
            seen: Seen::together(of.iter().map(|of| &of.seen)),
            baseline: has_baseline.then(|| Seen::together(of.iter().filter_map(|of| of.baseline.as_ref()))),
            differences: Vec::new(),
            workers: of.iter().map(|of| of.workers).max().unwrap_or(1),
            bursts: [worst(0), worst(1)],
            windows: Vec::new(),
        })
    }
}

/// The name of all routes together.
pub(super) const EVERYWHERE: &str = "(all routes)";

impl Seen {
    /// The sums of all, without the comparison of answers.
    pub(super) fn together<'a>(all: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let mut matrix: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for (primary, mirror, n) in all.clone().flat_map(|seen| &seen.matrix) {
            let sum = matrix.entry((primary, mirror)).or_default();
            *sum = sum.saturating_add(*n);
        }
        let cell = |((primary, mirror), n): ((&str, &str), u64)| (primary.to_owned(), mirror.to_owned(), n);
        Self {
            matrix: matrix.into_iter().map(cell).collect(),
            primary_times: Slots::together(all.clone().map(|seen| &seen.primary_times)),
            mirror_times: Slots::together(all.clone().map(|seen| &seen.mirror_times)),
            ratios: Slots::together(all.clone().map(|seen| &seen.ratios)),
            tails: all.clone().fold(TailCounts::default(), |sum, seen| sum.plus(&seen.tails)),
            sent: total(all.clone().map(|seen| seen.sent)),
            unreachable: total(all.clone().map(|seen| seen.unreachable)),
            lost: total(all.clone().map(|seen| seen.lost)),
            suspect: total(all.clone().map(|seen| seen.suspect)),
            less_time: total(all.clone().map(|seen| seen.less_time)),
            end_unread: total(all.map(|seen| seen.end_unread)),
            compared: None,
        }
    }

    /// Copies that were to be sent.
    pub(super) fn wanted(&self) -> u64 {
        total([self.sent, self.unreachable, self.lost])
    }

    /// Pairs whose ends are the services' own: where the client went away, or the gateway gave up, they tell nothing.
    fn judged(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        let all = self.matrix.iter().map(|(primary, mirror, n)| (primary.as_str(), mirror.as_str(), *n));
        all.filter(|(primary, mirror, _)| *primary != "abandoned" && *mirror != "drain")
    }

    pub(super) fn pairs(&self) -> u64 {
        total(self.judged().map(|(_, _, n)| n))
    }

    /// Pairs like this.
    pub(super) fn cells(&self, is_like: fn(&str, &str) -> bool) -> u64 {
        total(self.judged().filter(|(primary, mirror, _)| is_like(primary, mirror)).map(|(_, _, n)| n))
    }

    pub(super) fn shown(&self, is_like: fn(&str, &str) -> bool) -> Vec<String> {
        let mut all: Vec<_> = self.judged().filter(|(primary, mirror, _)| is_like(primary, mirror)).collect();
        all.sort_by_key(|(_, _, n)| std::cmp::Reverse(*n));
        all.iter().map(|(primary, mirror, n)| format!("v1 {primary}, v2 {mirror}: {n} times")).collect()
    }
}

impl Difference {
    /// The line of configuration that leaves this place out of the comparison.
    pub(super) fn ignoring(&self) -> String {
        let place = self.place();
        match (place.strip_prefix('$'), self.kind) {
            (Some(path), _) => match pointer(path) {
                Some(pointer) => format!("compare = {{ ignore_json = [{}] }}", quoted(&pointer)),
                None => "compare = { ignore_json = [\"a pointer to it\"] }".to_owned(),
            },
            (None, kind) if kind == "header" || place.starts_with("grpc-") => {
                format!("compare = {{ ignore_headers = [{}] }}", quoted(&field_name(place)))
            }
            (None, _) => "compare = { ignore_text = [\"a pattern of it\"] }".to_owned(),
        }
    }

    /// The field without the method of a call that stands before it.
    fn place(&self) -> &str {
        match self.field.split_once(' ') {
            Some((method, place))
                if !method.starts_with('$')
                    && method.contains('/')
                    && (place.starts_with('$') || place.starts_with("grpc-")) =>
            {
                place
            }
            Some(_) | None => &self.field,
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

/// As TOML has it: JSON's strings, but for one sign that JSON does not escape.
fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

/// The JSON pointer (RFC 6901) for a path behind its `$`, `.users.u*["a b"][*]`; `None` where the path was cut. An element is
/// matched whole or by `*`: an element that is told in part, being folded, long or secret, becomes `*`.
fn pointer(path: &str) -> Option<String> {
    let (mut rest, mut pointer) = (path, String::new());
    while !rest.is_empty() {
        let (element, behind) = if let Some(behind) = rest.strip_prefix("[*]") {
            ("*".to_owned(), behind)
        } else if let Some(name) = rest.strip_prefix('.') {
            let (name, behind) = name.split_at(name.find(['.', '[']).unwrap_or(name.len()));
            // A name with this sign is quoted: here it is where the whole path ends.
            (Some(name).filter(|name| !name.contains(CUT))?.to_owned(), behind)
        } else {
            let quoted = rest.strip_prefix('[')?;
            let mut names = serde_json::Deserializer::from_str(quoted).into_iter::<String>();
            let name = names.next()?.ok()?;
            (name, quoted.get(names.byte_offset()..)?.strip_prefix(']')?)
        };
        let is_in_part = element.contains(['*', CUT]) || element.contains("redacted");
        pointer.push('/');
        pointer.push_str(&if is_in_part {
            "*".to_owned()
        } else {
            element.replace('~', "~0").replace('/', "~1")
        });
        rest = behind;
    }
    Some(pointer)
}

/// The sign in place of the part that is left out of a long name.
const CUT: char = '…';

/// A field's name as the configuration takes it: in lower case, and cut with `*` before the first character that no token has
/// (RFC 9110 §5.6.2).
fn field_name(field: &str) -> String {
    let is_of_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    match field.find(|c: char| !is_of_token(c)) {
        Some(end) => format!("{}*", field.get(..end).unwrap_or_default().to_ascii_lowercase()),
        None => field.to_ascii_lowercase(),
    }
}

/// A server's error, or no answer at all.
fn is_error(end: &str) -> bool {
    match end.parse::<u16>() {
        Ok(status) => status >= 500,
        // A call's outcome, why there was none, or `other_5xx`.
        Err(_) => Status::named(end).map_or(end != "other", Status::is_error),
    }
}

pub(super) fn is_mirrors_error(_primary: &str, mirror: &str) -> bool {
    is_error(mirror)
}

pub(super) fn is_primarys_error(primary: &str, _mirror: &str) -> bool {
    is_error(primary)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_is_advised_is_one_that_the_configuration_takes_and_that_works() {
        let rows = [
            ("$", "changed", r#"ignore_json = [""]"#),
            ("$.user.plan", "changed", r#"ignore_json = ["/user/plan"]"#),
            ("$.items[*].id", "changed", r#"ignore_json = ["/items/*/id"]"#),
            ("$.users.u*.seen", "changed", r#"ignore_json = ["/users/*/seen"]"#),
            (r#"$.hosts["*.*"].seen"#, "missing", r#"ignore_json = ["/hosts/*/seen"]"#),
            (r#"$["a.b"]["c/d"]["e~f"]"#, "changed", r#"ignore_json = ["/a.b/c~1d/e~0f"]"#),
            (r#"$["a\"]b\\"].c"#, "changed", r#"ignore_json = ["/a\"]b\\/c"]"#),
            ("$[\"\\u0007\u{7f}\"]", "changed", r#"ignore_json = ["/\u0007\u007F"]"#),
            (r#"$["x…0123456789abcdef"].c"#, "changed", r#"ignore_json = ["/*/c"]"#),
            (r#"$["/y?token=%5Bredacted%5D"]"#, "added", r#"ignore_json = ["/*"]"#),
            ("etag", "header", r#"ignore_headers = ["etag"]"#),
            ("set-cookie.JSESSIONID.path", "header", r#"ignore_headers = ["set-cookie.jsessionid.path"]"#),
            ("set-cookie.a[0]", "header", r#"ignore_headers = ["set-cookie.a*"]"#),
            ("shop.Carts/Find $.items[*].price", "changed", r#"ignore_json = ["/items/*/price"]"#),
            ("shop.Carts/Find $.3.1", "missing", r#"ignore_json = ["/3/1"]"#),
            ("shop.Carts/Find $", "length", r#"ignore_json = [""]"#),
            ("shop.Carts/Pay grpc-message", "header", r#"ignore_headers = ["grpc-message"]"#),
            ("shop.Carts/Pay grpc-status", "status", r#"ignore_headers = ["grpc-status"]"#),
            (r#"$["a/b $"]"#, "changed", r#"ignore_json = ["/a~1b $"]"#),
        ];
        for (field, kind, expect) in rows {
            let line = difference(field, kind).ignoring();
            assert_eq!(line, format!("compare = {{ {expect} }}"), "{field}");
            let toml = format!(
                "[upstream.v1]\nendpoints = [\"a:1\"]\n[upstream.v2]\nendpoints = [\"a:2\"]\n[[route]]\nname = \"a\"\n\
                 primary = \"v1\"\nmirrors = [{{ upstream = \"v2\", {line} }}]\n"
            );
            let problems = config::parse("test", &toml).err();
            assert!(problems.is_none(), "{line}: {problems:?}");
        }
        // Where a path was cut, the rest is not known.
        for cut in ["$.a.b…0123456789abcdef", r#"$.a["b…0123456789abcdef"#] {
            assert!(difference(cut, "changed").ignoring().contains("a pointer to it"), "{cut}");
        }
    }

    fn difference(field: &str, kind: &'static str) -> Difference {
        Difference {
            field: field.to_owned(),
            kind,
            count: 1,
            compared: 1,
            baseline_count: 0,
            baseline_compared: 0,
            is_volatile: true,
            rank: 0,
            first: 0,
            beside: 0,
            only_mirror: 0,
            only_baseline: 0,
            unasked: Lone::default(),
            example: (None, None),
            samples: Vec::new(),
        }
    }
}
