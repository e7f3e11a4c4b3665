//! The policy of `gateway verdict`: the figures by which a mirror is judged. Faults are reported with their line.

use std::time::Duration;

use crate::file;
use crate::problem::{Report, any_of};
use crate::reader::{At, Key, List, Named};
use crate::syntax;
use crate::tables::tables;
use crate::{Percent, Problem};

/// The rules that a mirror is judged by, as a verdict names them.
pub const RULES: [&str; 9] = [
    "unreachable",
    "error_rate_difference",
    "status_mismatch",
    "mismatch_above_noise",
    "contents_not_compared",
    "pairs_left_out",
    "p50_ratio",
    "p99_ratio",
    "copies_lost",
];

/// Whether a mirror without comparison of contents can be promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// No: the verdict is hold until each mirror compares.
    Required,
    Optional,
}

impl Contents {
    /// The word a policy uses for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
        }
    }
}

/// When a mirror is ready to take the primary's place. Shares are of requests that both answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Requests that a route's judgement needs, both answers counted as one.
    pub samples_min: u64,
    /// Confidence of all judgements together that a mirror which is called worse is worse.
    pub confidence: Percent,
    pub contents: Contents,
    /// Of answers that differ in one field, beyond the primary's differences from itself.
    pub mismatch_max: Percent,
    /// Of requests that only the mirror fails (5xx or no answer), less those that only the primary fails.
    pub errors_max: Percent,
    /// The mirror's median time, divided by the primary's.
    pub p50_ratio_max: f64,
    pub p99_ratio_max: f64,
    /// A time that is longer by no more than this is as good.
    pub slack: Duration,
    /// Of copies that were to be sent and were dropped: then too little is known.
    pub lost_max: Percent,
    /// Routes that do not count.
    pub ignore_routes: Vec<String>,
    /// Fields of differences that do not count, as `GET /diffs` names them.
    pub ignore_fields: Vec<String>,
    /// The rules, of [`RULES`], that do not count.
    pub ignore_rules: Vec<String>,
    /// Routes that hold a verdict up however few of the requests are theirs.
    pub critical: Vec<String>,
    /// Routes with thresholds of their own, and all that holds there.
    pub routes: Vec<(String, Self)>,
}

impl Default for Policy {
    fn default() -> Self {
        let per_million = |per_million| Percent { per_million };
        Self {
            samples_min: 300,
            confidence: per_million(950_000),
            contents: Contents::Required,
            mismatch_max: per_million(1_000),
            errors_max: per_million(1_000),
            p50_ratio_max: 1.2,
            p99_ratio_max: 1.5,
            slack: Duration::from_millis(1),
            lost_max: per_million(10_000),
            ignore_routes: Vec::new(),
            ignore_fields: Vec::new(),
            ignore_rules: Vec::new(),
            critical: Vec::new(),
            routes: Vec::new(),
        }
    }
}

tables! {
    /// A whole policy.
    pub(crate) struct Written {
        samples_min: u64,
        confidence: f64,
        contents: String,
        mismatch_percent_max: f64,
        error_percent_max: f64,
        p50_ratio_max: f64,
        p99_ratio_max: f64,
        slack: Duration,
        lost_percent_max: f64,
        ignore_routes: List<String>,
        ignore_fields: List<String>,
        ignore_rules: List<String>,
        critical: List<String>,
        route: Named<OfRoute>,
    }

    /// The bounds of one route, instead of those for all.
    pub(crate) struct OfRoute {
        samples_min: u64,
        mismatch_percent_max: f64,
        error_percent_max: f64,
        p50_ratio_max: f64,
        p99_ratio_max: f64,
        slack: Duration,
        lost_percent_max: f64,
    }
}

/// The keys that the whole policy and a route have both.
struct Thresholds<'a> {
    samples_min: &'a Key<u64>,
    mismatch: &'a Key<f64>,
    errors: &'a Key<f64>,
    p50: &'a Key<f64>,
    p99: &'a Key<f64>,
    slack: &'a Key<Duration>,
    lost: &'a Key<f64>,
}

fn percent(report: &mut Report, key: &Key<f64>, default: Percent, least: u32) -> Percent {
    let Some(given) = key.given() else { return default };
    let percent = Percent::from_percent(given.value).filter(|percent| percent.per_million >= least);
    percent.unwrap_or_else(|| {
        let least = f64::from(least) / 10_000.0;
        let message = format!("{} is out of range: must be a number from {least} to 100", given.value);
        report.error(&given.at, message);
        default
    })
}

fn ratio(report: &mut Report, key: &Key<f64>, default: f64) -> f64 {
    let Some(given) = key.given() else { return default };
    if !(given.value.is_finite() && given.value > 0.0) {
        let message = format!("{} is out of range: must be a number above 0", given.value);
        report.error(&given.at, message);
    }
    given.value
}

impl Policy {
    /// Reads a policy; problems name it `source_name`. A key that is left out has its default.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of its lines.
    pub fn parse(source_name: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let mut report = Report::new(source_name, text);
        let written = file::read_table::<Written>(text, &mut report).unwrap_or_default();
        let policy = Self::of(&written, &mut report);
        report.finish().map(|_no_warnings| policy)
    }

    fn of(written: &Written, report: &mut Report) -> Self {
        let default = Self::default();
        let confidence = percent(report, &written.confidence, default.confidence, 500_000);
        let keys = Thresholds {
            samples_min: &written.samples_min,
            mismatch: &written.mismatch_percent_max,
            errors: &written.error_percent_max,
            p50: &written.p50_ratio_max,
            p99: &written.p99_ratio_max,
            slack: &written.slack,
            lost: &written.lost_percent_max,
        };
        let whole = default.with(&keys, report);
        let contents = written.contents.given().and_then(|given| match given.value.as_str() {
            "required" => Some(Contents::Required),
            "optional" => Some(Contents::Optional),
            other => {
                let words = any_of([Contents::Required, Contents::Optional].map(Contents::as_str));
                report.error(&given.at, format!("{other:?} is not known; must be {words}"));
                None
            }
        });
        let mut each = |key: &Key<List<String>>, syntax: fn(&str) -> Result<String, String>| {
            let list = key.given().map(|list| list.value.as_slice()).unwrap_or_default();
            let one = |text: &At<String>| match syntax(&text.value) {
                Ok(text) => Some(text),
                Err(message) => {
                    report.error(&text.at, message);
                    None
                }
            };
            list.iter().filter_map(Key::given).filter_map(one).collect()
        };
        let ignore_routes = each(&written.ignore_routes, syntax::nonempty);
        let ignore_fields = each(&written.ignore_fields, syntax::nonempty);
        let ignore_rules = each(&written.ignore_rules, rule);
        let critical = each(&written.critical, syntax::nonempty);
        let mut policy = Self {
            confidence,
            contents: contents.unwrap_or(whole.contents),
            ignore_routes,
            ignore_fields,
            ignore_rules,
            critical,
            ..whole
        };
        let routes = written.route.given().map(|table| table.value.as_slice()).unwrap_or_default();
        let of_route = |(name, table): &(At<String>, Key<OfRoute>)| {
            let table = &table.given()?.value;
            let keys = Thresholds {
                samples_min: &table.samples_min,
                mismatch: &table.mismatch_percent_max,
                errors: &table.error_percent_max,
                p50: &table.p50_ratio_max,
                p99: &table.p99_ratio_max,
                slack: &table.slack,
                lost: &table.lost_percent_max,
            };
            Some((name.value.clone(), policy.with(&keys, report)))
        };
        let routes = routes.iter().filter_map(of_route).collect();
        policy.routes = routes;
        policy
    }

    /// The same with the thresholds that are given.
    fn with(&self, keys: &Thresholds<'_>, report: &mut Report) -> Self {
        let samples_min = keys.samples_min.given().map_or(self.samples_min, |given| {
            if given.value == 0 {
                report.error(&given.at, "0 is out of range: nothing can be said of no requests");
            }
            given.value
        });
        Self {
            samples_min,
            mismatch_max: percent(report, keys.mismatch, self.mismatch_max, 0),
            errors_max: percent(report, keys.errors, self.errors_max, 0),
            p50_ratio_max: ratio(report, keys.p50, self.p50_ratio_max),
            p99_ratio_max: ratio(report, keys.p99, self.p99_ratio_max),
            slack: keys.slack.given().map_or(self.slack, |given| given.value),
            lost_max: percent(report, keys.lost, self.lost_max, 0),
            ..self.clone()
        }
    }

    /// The policy of this route.
    pub fn of_route(&self, route: &str) -> &Self {
        self.routes.iter().find(|(name, _)| name == route).map_or(self, |(_, policy)| policy)
    }

    pub fn is_critical(&self, route: &str) -> bool {
        self.critical.iter().any(|name| name == route)
    }
}

fn rule(text: &str) -> Result<String, String> {
    if RULES.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is not known; must be {}", any_of(RULES)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_said_is_the_default_and_the_documented_file_says_the_same() {
        assert_eq!(Policy::parse("policy", ""), Ok(Policy::default()));
        let documented = include_str!("../verdict.toml");
        assert_eq!(Policy::parse("verdict.toml", documented), Ok(Policy::default()));
    }

    #[test]
    fn a_route_has_what_it_says_and_else_what_all_have() {
        let text = "p99_ratio_max = 2\ncritical = [\"pay\"]\n[route.pay]\nerror_percent_max = 0.01\nsamples_min = 50\n";
        let policy = Policy::parse("policy", text).unwrap();
        let pay = policy.of_route("pay");
        assert_eq!((pay.errors_max.per_million, pay.samples_min, pay.p99_ratio_max), (100, 50, 2.0));
        assert_eq!(policy.of_route("shop"), &policy);
        assert!(policy.is_critical("pay") && !policy.is_critical("shop"));
        let problems =
            Policy::parse("policy", "[route.a]\np50_ratio_max = 0\ncontents = \"optional\"\n").unwrap_err();
        let told: Vec<_> = problems.iter().map(|p| (p.line, p.key.clone().unwrap_or_default())).collect();
        let keys = [(2, "route.a.p50_ratio_max"), (3, "route.a.contents")];
        assert_eq!(told, keys.map(|(line, key)| (Some(line), key.to_owned())));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let text = "confidence = 20\nsamples_min = 0\nerror_percent_max = -1\np99_ratio_max = 0\nslack = \"x\"\nmore = 1\nignore_routes = [\"\"]\nignore_rules = [\"p99\"]\ncontents = \"maybe\"\n";
        let problems = Policy::parse("policy", text).unwrap_err();
        let told: Vec<_> = problems.iter().map(|p| (p.line, p.key.clone().unwrap_or_default())).collect();
        let keys = [
            (1, "confidence"),
            (2, "samples_min"),
            (3, "error_percent_max"),
            (4, "p99_ratio_max"),
            (5, "slack"),
            (6, "more"),
            (7, "ignore_routes[0]"),
            (8, "ignore_rules[0]"),
            (9, "contents"),
        ];
        assert_eq!(told, keys.map(|(line, key)| (Some(line), key.to_owned())));
    }
}
