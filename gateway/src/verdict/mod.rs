//! Whether a mirror is ready to take the primary's place: promote, hold or reject, each rule with its figure, how sure that
//! is, and its evidence. Pure: evidence and a policy in, a verdict out.
//!
//! A rule *fails* where the figure is beyond its threshold even at the kind end of its interval. It *holds* where it is
//! beyond, but chance could have done it, or where too little was seen. Intervals are wide enough for all rules of all
//! routes together (Bonferroni): a hundred routes must not reject by chance what one would not.

mod statistics;

use config::{Percent, Policy};
use hdrhistogram::Histogram;
use serde::Serialize;

use statistics::{Chance, Estimate, excess, paired_excess, quantile, ratio, share};

/// Routes that carry less of a mirror's requests cannot hold its verdict up, only reject it.
const MINOR_ROUTE_SHARE: f64 = 0.05;

/// A field that v1 itself does not keep may differ more often by this share of its noise: less cannot be told from chance.
const NOISE_SLACK: f64 = 0.2;

/// What was seen of one mirror on one route.
#[derive(Debug)]
pub struct Evidence {
    pub route: String,
    pub mirror: String,
    /// Requests of which both sides have ended: primary's and mirror's end, as `GET /outcomes` names them, and how many.
    pub matrix: Vec<(String, String, u64)>,
    /// Microseconds of either side, of requests that both answered.
    pub primary: Histogram<u64>,
    pub mirror_times: Histogram<u64>,
    /// Copies that were to be sent, and those of them that were dropped.
    pub wanted: u64,
    pub dropped: u64,
    pub differences: Vec<Difference>,
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
    pub example: (Option<String>, Option<String>),
    /// Ids of requests that are kept.
    pub samples: Vec<String>,
}

/// What becomes of a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    Promote,
    /// Too little is known.
    Hold,
    Reject,
}

impl Decision {
    pub const ALL: [Self; 3] = [Self::Promote, Self::Hold, Self::Reject];

    pub fn text(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Hold => "hold",
            Self::Reject => "reject",
        }
    }
}

/// What one rule came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Pass,
    Hold,
    Fail,
}

/// One rule on one route.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ruling {
    pub rule: &'static str,
    pub route: String,
    /// What the figure counts in: `share` or `ratio`.
    pub unit: &'static str,
    pub figure: Option<f64>,
    pub threshold: f64,
    /// Where the figure lies with the policy's confidence. An end that too few samples leave open is infinite (`null` in
    /// JSON).
    pub interval: Option<[f64; 2]>,
    /// What the figure was made of.
    pub samples: u64,
    /// As many as the policy asks for.
    pub enough: bool,
    pub result: Outcome,
    /// What shows it: fields with an example and request ids, cells of the matrix, times.
    pub evidence: Vec<String>,
}

/// All rules on one mirror.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MirrorVerdict {
    pub mirror: String,
    pub verdict: Decision,
    pub rules: Vec<Ruling>,
}

/// All mirrors.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    pub verdict: Decision,
    pub mirrors: Vec<MirrorVerdict>,
}

/// Judges by `policy`. Without evidence the verdict is hold.
pub fn judge(policy: &Policy, evidence: &[Evidence]) -> Verdict {
    let counts = |e: &&Evidence| !policy.ignore_routes.contains(&e.route);
    let evidence: Vec<&Evidence> = evidence.iter().filter(counts).collect();
    // Errors, two quantiles and losses on each route, and each field that differs.
    let rulings: usize = evidence.iter().map(|e| 4 + e.differences.len().max(1)).sum();
    let alpha = 1.0 - f64::from(policy.confidence.per_million) / 1e6;
    let court = Court { policy, chance: Chance::of(alpha / rulings.max(1) as f64) };
    let mut names: Vec<&str> = evidence.iter().map(|e| e.mirror.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let of = |name: &&str| evidence.iter().copied().filter(|e| e.mirror == **name).collect::<Vec<_>>();
    let mirrors: Vec<MirrorVerdict> = names.iter().map(|name| court.mirror(name, &of(name))).collect();
    let verdict = mirrors.iter().map(|mirror| mirror.verdict).max().unwrap_or(Decision::Hold);
    Verdict { verdict, mirrors }
}

struct Court<'a> {
    policy: &'a Policy,
    chance: Chance,
}

fn of_percent(percent: Percent) -> f64 {
    f64::from(percent.per_million) / 1e6
}

impl Court<'_> {
    fn mirror(&self, name: &str, evidence: &[&Evidence]) -> MirrorVerdict {
        let all: u64 = evidence.iter().map(|e| e.pairs()).sum();
        let mut decision = if all == 0 { Decision::Hold } else { Decision::Promote };
        let mut rules = Vec::new();
        for route in evidence {
            let is_minor = (route.pairs() as f64) < MINOR_ROUTE_SHARE * all as f64;
            for ruling in self.route(route) {
                decision = decision.max(match ruling.result {
                    Outcome::Fail => Decision::Reject,
                    Outcome::Hold if !is_minor => Decision::Hold,
                    Outcome::Hold | Outcome::Pass => Decision::Promote,
                });
                rules.push(ruling);
            }
        }
        let rank = |ruling: &Ruling| match ruling.result {
            Outcome::Fail => 0,
            Outcome::Hold => 1,
            Outcome::Pass => 2,
        };
        rules.sort_by_key(rank);
        MirrorVerdict { mirror: name.to_owned(), verdict: decision, rules }
    }

    fn route(&self, evidence: &Evidence) -> Vec<Ruling> {
        let p50 = ("p50_ratio", 0.5, self.policy.p50_ratio_max);
        let p99 = ("p99_ratio", 0.99, self.policy.p99_ratio_max);
        let mut rulings = vec![self.mismatches(evidence), self.errors(evidence)];
        rulings.extend([p50, p99].map(|of| self.times(evidence, of)));
        rulings.push(self.losses(evidence));
        rulings
    }

    fn ruling(
        &self,
        (rule, unit): (&'static str, &'static str),
        evidence: &Evidence,
        (threshold, samples): (f64, u64),
        estimate: Option<Estimate>,
        shown: Vec<String>,
    ) -> Ruling {
        let enough = samples >= self.policy.samples_min;
        let result = match estimate {
            Some(estimate) if estimate.figure > threshold && estimate.low > threshold => Outcome::Fail,
            Some(estimate) if enough && estimate.figure <= threshold => Outcome::Pass,
            Some(_) | None => Outcome::Hold,
        };
        Ruling {
            rule,
            route: evidence.route.clone(),
            unit,
            figure: estimate.map(|estimate| estimate.figure),
            threshold,
            interval: estimate.map(|estimate| [estimate.low, estimate.high]),
            samples,
            enough,
            result,
            evidence: if result == Outcome::Pass { Vec::new() } else { shown },
        }
    }

    /// The field that differs most, and every other that differs too often.
    fn mismatches(&self, evidence: &Evidence) -> Ruling {
        let name = ("mismatch_above_noise", "share");
        let threshold = of_percent(self.policy.mismatch_max);
        let ignored = |d: &&Difference| !self.policy.ignore_fields.contains(&d.field);
        let judged = |d| Mismatch::of(d, threshold, self.chance);
        let mut all: Vec<Mismatch<'_>> = evidence.differences.iter().filter(ignored).map(judged).collect();
        all.sort_by(|a, b| b.beyond().total_cmp(&a.beyond()));
        let compared = evidence.differences.iter().map(|d| d.compared).max();
        let Some(first) = all.first() else {
            // Answers that were compared and never differed, or that nobody compares: statuses are judged below.
            let samples = compared.unwrap_or_else(|| evidence.pairs());
            let none = share(0, samples, self.chance);
            return self.ruling(name, evidence, (threshold, samples), Some(none), Vec::new());
        };
        let telling = all.iter().filter(|mismatch| mismatch.beyond() > 0.0);
        let shown = telling.map(|mismatch| mismatch.of.shown()).collect();
        let of = (first.allowed, first.of.compared);
        self.ruling(name, evidence, of, Some(first.estimate), shown)
    }

    fn errors(&self, evidence: &Evidence) -> Ruling {
        let (mut only_mirror, mut only_primary, mut shown) = (0, 0, Vec::new());
        for (primary, mirror, n) in &evidence.matrix {
            match (is_error(primary), is_error(mirror)) {
                (false, true) => {
                    only_mirror += n;
                    shown.push(format!("v1 {primary}, v2 {mirror}: {n} times"));
                }
                (true, false) => only_primary += n,
                (true, true) | (false, false) => {}
            }
        }
        let n = evidence.pairs();
        let estimate = (n > 0).then(|| paired_excess(only_mirror, only_primary, n, self.chance));
        let threshold = of_percent(self.policy.errors_max);
        self.ruling(("error_rate_difference", "share"), evidence, (threshold, n), estimate, shown)
    }

    fn times(&self, evidence: &Evidence, (rule, at, threshold): (&'static str, f64, f64)) -> Ruling {
        let n = evidence.primary.len().min(evidence.mirror_times.len());
        let ours = |of: &Histogram<u64>| quantile(of, at, self.chance);
        let estimate = (n > 0).then(|| {
            let (primary, mirror) = (ours(&evidence.primary), ours(&evidence.mirror_times));
            (ratio(mirror, primary), primary, mirror)
        });
        let slack_us = self.policy.slack.as_secs_f64() * 1e6;
        let judged = estimate.map(|(times, primary, mirror)| {
            // Within the slack a time is as good, however many times as long.
            let is_as_good = mirror.figure - primary.figure <= slack_us;
            let is_surely_longer = mirror.low - primary.high > slack_us;
            let figure = if is_as_good { times.figure.min(threshold) } else { times.figure };
            let low = if is_surely_longer { times.low } else { times.low.min(threshold) };
            Estimate { figure, low, high: times.high }
        });
        let shown = estimate.map(|(_, primary, mirror)| {
            let ms = |us: f64| us / 1e3;
            format!("v1 {:.3} ms, v2 {:.3} ms", ms(primary.figure), ms(mirror.figure))
        });
        let mut ruling =
            self.ruling((rule, "ratio"), evidence, (threshold, n), judged, shown.into_iter().collect());
        ruling.figure = estimate.map(|(times, _, _)| times.figure);
        ruling.interval = estimate.map(|(times, _, _)| [times.low, times.high]);
        ruling
    }

    /// What was dropped cannot speak against the mirror; but then too little is known.
    fn losses(&self, evidence: &Evidence) -> Ruling {
        let Evidence { wanted, dropped, .. } = evidence;
        let threshold = of_percent(self.policy.lost_max);
        let estimate = (*wanted > 0).then(|| share(*dropped, *wanted, self.chance));
        let shown = vec![format!("{dropped} of {wanted} copies were dropped")];
        let mut ruling =
            self.ruling(("copies_lost", "share"), evidence, (threshold, *wanted), estimate, shown);
        if ruling.result == Outcome::Fail {
            ruling.result = Outcome::Hold;
        }
        ruling
    }
}

/// How often one field differs beyond its noise, and how often it may.
struct Mismatch<'a> {
    of: &'a Difference,
    estimate: Estimate,
    allowed: f64,
}

impl<'a> Mismatch<'a> {
    fn of(of: &'a Difference, threshold: f64, chance: Chance) -> Self {
        let noise = (of.baseline_count, of.baseline_compared);
        let estimate = excess((of.count, of.compared), noise, chance);
        let noise = noise.0 as f64 / noise.1.max(1) as f64;
        Self { of, estimate, allowed: threshold.max(NOISE_SLACK * noise) }
    }

    fn beyond(&self) -> f64 {
        self.estimate.figure - self.allowed
    }
}

impl Evidence {
    fn pairs(&self) -> u64 {
        self.matrix.iter().map(|(_, _, n)| n).sum()
    }
}

impl Difference {
    fn shown(&self) -> String {
        let side = |of: &Option<String>| of.clone().unwrap_or_else(|| "absent".to_owned());
        let Self { field, kind, count, compared, example: (primary, mirror), samples, .. } = self;
        let ids = if samples.is_empty() { String::new() } else { format!(" ({})", samples.join(", ")) };
        format!("{field} {kind}: {} → {}, {count} of {compared}{ids}", side(primary), side(mirror))
    }
}

/// A server's error, or no answer at all.
fn is_error(end: &str) -> bool {
    match end.parse::<u16>() {
        Ok(status) => status >= 500,
        Err(_) => end != "other",
    }
}

#[cfg(test)]
mod tests;
