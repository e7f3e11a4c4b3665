//! Whether a mirror is ready to take the primary's place: promote, hold or reject, each rule with its figure, how sure that
//! is, and its evidence. Pure: evidence and a policy in, a verdict out.
//!
//! A rule *fails* where the figure is beyond its threshold even at the kind end of its interval. It *holds* where it is
//! beyond, but chance could have done it, or where too little was seen: to begin with nobody is rejected, as a service that
//! starts may be slow and fail. Intervals are wide enough for all rules of all routes together (Bonferroni): a hundred
//! routes must not reject by chance what one would not. It *passes* where so much was seen that a share of twice its
//! threshold would hardly have stayed hidden.

mod evidence;
mod statistics;

use config::{Contents, Percent, Policy};
use serde::Serialize;

use crate::metrics::Slots;
pub use evidence::{Compared, Difference, Evidence, Seen};
use evidence::{is_only_mirrors, is_only_primarys, is_other_status};
use statistics::{Chance, Estimate, beyond, excess, paired_excess, quantile, ratio, share, times};

/// Routes that carry less of a mirror's copies, all of them together, cannot hold its verdict up, only reject it.
const MINOR_ROUTES_SHARE: f64 = 0.05;

/// A field that v1 itself does not keep may differ more often by this share of its noise: less cannot be told from chance.
const NOISE_SLACK: f64 = 0.2;

/// A share of which nothing was seen in `n` requests is below `3 / n`, to 95 percent.
const NONE_IN: f64 = 3.0;

/// What passes is below so many times its threshold, to 99 percent each time somebody asks. With 95, and a controller that
/// asks sixty times, three times the threshold passed in 17 of 200 runs (`tests`).
const SLIPS: f64 = 2.0;
const PASS_ALPHA: f64 = 0.01;

/// Times without which nobody knows a 99th percentile: ten lie beyond it.
const P99_SAMPLES: u64 = 1_000;

/// Copies that find no connection come in heaps, each from one cause: below this share it may have been one restart.
const OUTAGE: f64 = 0.05;

/// No threshold asks for more requests than this one: 30,000.
const LEAST_THRESHOLD: f64 = 0.000_1;

/// Times that one hiccup of the machine lengthens together, and that tell no more than one. Where one in 500 requests meets a
/// stall that up to eight share, equal services were rejected by their p99 in 10 of 400 runs with each time counted by itself,
/// and in none like this (`tests`).
const TIMES_TOGETHER: f64 = 4.0;

/// Lines of evidence of one ruling.
const EVIDENCE_MAX: usize = 10;

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
    /// As many as the policy asks for, and as the threshold needs.
    pub enough: bool,
    pub result: Outcome,
    /// In words, where figures alone do not tell.
    pub why: Option<String>,
    /// What shows it: fields with an example and request ids, cells of the matrix, times.
    pub evidence: Vec<String>,
    /// Worse beyond doubt, and seen too seldom to reject.
    #[serde(skip)]
    is_suspect: bool,
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
    // What can reject: reach, errors, statuses and two quantiles on each route; each field that differs, and any.
    let rulings: usize = evidence.iter().map(|e| 5 + e.differences.len() + 1).sum();
    let alpha = 1.0 - f64::from(policy.confidence.per_million) / 1e6;
    let court = Court { policy, chance: Chance::of(alpha / rulings.max(1) as f64) };
    let mut names: Vec<&str> = evidence.iter().map(|e| e.mirror.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let of = |name: &&str| evidence.iter().copied().filter(|e| e.mirror == **name).collect::<Vec<_>>();
    let mirrors: Vec<MirrorVerdict> = names.iter().map(|name| court.mirror(name, of(name))).collect();
    let verdict = mirrors.iter().map(|mirror| mirror.verdict).max().unwrap_or(Decision::Hold);
    Verdict { verdict, mirrors }
}

struct Court<'a> {
    policy: &'a Policy,
    chance: Chance,
}

/// What a rule weighs.
struct Weighed {
    rule: &'static str,
    unit: &'static str,
    estimate: Option<Estimate>,
    threshold: f64,
    /// What it may come to, as sure as it takes to pass; where that matters.
    ceiling: Option<f64>,
    samples: u64,
    /// Of so many the figure is a share, where those are others.
    counted: Option<u64>,
    /// Samples without which it cannot pass.
    needed: u64,
    shown: Vec<String>,
}

fn of_percent(percent: Percent) -> f64 {
    f64::from(percent.per_million) / 1e6
}

impl Court<'_> {
    fn mirror(&self, name: &str, mut evidence: Vec<&Evidence>) -> MirrorVerdict {
        let all: u64 = evidence.iter().map(|e| e.seen.wanted()).sum();
        let mut decision = if all == 0 { Decision::Hold } else { Decision::Promote };
        let mut rules = Vec::new();
        // From the least: what a route may be passed over for, all smaller ones have used up before it.
        evidence.sort_by_key(|e| e.seen.wanted());
        let mut passed_over = 0;
        for route in evidence {
            passed_over += route.seen.wanted();
            let is_minor = passed_over as f64 <= MINOR_ROUTES_SHARE * all as f64;
            for ruling in self.route(route).into_iter().filter(|ruling| self.counts(ruling)) {
                decision = decision.max(match ruling.result {
                    Outcome::Fail => Decision::Reject,
                    Outcome::Hold if !is_minor || ruling.is_suspect => Decision::Hold,
                    Outcome::Hold | Outcome::Pass => Decision::Promote,
                });
                rules.push(ruling);
            }
        }
        rules.reverse();
        rules.sort_by_key(|ruling| ruling.result.rank());
        MirrorVerdict { mirror: name.to_owned(), verdict: decision, rules }
    }

    fn route(&self, evidence: &Evidence) -> Vec<Ruling> {
        let p50 = ("p50_ratio", 0.5, self.policy.p50_ratio_max);
        let p99 = ("p99_ratio", 0.99, self.policy.p99_ratio_max);
        // Last comes first.
        let mut rulings = vec![self.losses(evidence)];
        rulings.extend([p99, p50].map(|of| self.times(evidence, of)));
        rulings.push(self.reach(evidence));
        rulings.push(self.errors(evidence));
        if !self.ignores("status") {
            rulings.push(self.statuses(evidence));
        }
        match &evidence.seen.compared {
            Some(compared) => {
                rulings.push(self.contents(evidence, compared));
                rulings.push(self.mismatches(evidence, compared));
            }
            None if self.policy.contents == Contents::Required => rulings.push(self.unlooked(evidence)),
            None => {}
        }
        rulings
    }

    /// How sure a judgement of this evidence has to be.
    fn chance(&self, evidence: &Evidence) -> Chance {
        self.chance.of_groups(evidence.copies.max(1).into())
    }

    /// The same to pass.
    fn pass_chance(evidence: &Evidence) -> Chance {
        Chance::of(PASS_ALPHA).of_groups(evidence.copies.max(1).into())
    }

    fn samples_min(&self, evidence: &Evidence) -> u64 {
        self.policy.samples_min.saturating_mul(evidence.copies.max(1).into())
    }

    /// As many samples as the policy asks for, and as would show a share of `threshold`.
    fn needed(&self, evidence: &Evidence, threshold: f64) -> u64 {
        let showing = (NONE_IN / threshold.max(LEAST_THRESHOLD)).round() * f64::from(evidence.copies.max(1));
        // At most 3e4 times 1e2.
        self.samples_min(evidence).max(showing as u64)
    }

    fn counts(&self, ruling: &Ruling) -> bool {
        !self.policy.ignore_rules.iter().any(|ignored| ignored == ruling.rule)
    }

    fn ignores(&self, field: &str) -> bool {
        self.policy.ignore_fields.iter().any(|ignored| ignored == field)
    }

    fn ruling(&self, evidence: &Evidence, weighed: Weighed) -> Ruling {
        let Weighed { rule, unit, estimate, threshold, ceiling, samples, counted, needed, shown } = weighed;
        let counted = counted.unwrap_or(samples);
        let enough = samples >= needed;
        let least = self.samples_min(evidence);
        let is_worse = estimate.is_some_and(|of| of.figure > threshold && of.low > threshold);
        let is_suspect = is_worse && counted < least;
        let slipping = ceiling.filter(|ceiling| *ceiling > SLIPS * threshold.max(LEAST_THRESHOLD));
        let (result, why) = match estimate {
            Some(_) if is_suspect => {
                (Outcome::Hold, Some(format!("so far, of {counted} samples: to reject takes {least}")))
            }
            Some(_) if is_worse => (Outcome::Fail, None),
            Some(estimate) if estimate.figure > threshold => {
                (Outcome::Hold, Some("beyond the threshold, but chance may have done it".to_owned()))
            }
            Some(_) if !enough => {
                (Outcome::Hold, Some(format!("{samples} samples of the {needed} that it takes")))
            }
            Some(_) => match slipping {
                Some(ceiling) => {
                    let most = ceiling * 100.0;
                    (Outcome::Hold, Some(format!("it may yet be {most:.3} %: so far chance hides as much")))
                }
                None => (Outcome::Pass, None),
            },
            None => (Outcome::Hold, Some(format!("{samples} samples of the {needed} that it takes"))),
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
            why,
            evidence: if result == Outcome::Pass { Vec::new() } else { some(shown) },
            is_suspect,
        }
    }

    /// Copies that a mirror takes no connection for. What it takes and does not answer is an error.
    fn reach(&self, evidence: &Evidence) -> Ruling {
        let Seen { sent, unreachable, .. } = &evidence.seen;
        let samples = sent + unreachable;
        let threshold = of_percent(self.policy.errors_max);
        let estimate = (samples > 0).then(|| share(*unreachable, samples, self.chance(evidence)));
        let mut ruling = self.ruling(
            evidence,
            Weighed {
                rule: "unreachable",
                unit: "share",
                estimate,
                threshold,
                ceiling: None,
                samples,
                counted: None,
                needed: self.needed(evidence, threshold),
                shown: vec![format!("{unreachable} of {samples} copies found no connection")],
            },
        );
        if ruling.result == Outcome::Fail && estimate.is_some_and(|of| of.low <= OUTAGE) {
            ruling.hold("it may have been one restart: they come together".to_owned());
        }
        ruling
    }

    /// What both answered with another code, neither of them an error.
    fn statuses(&self, evidence: &Evidence) -> Ruling {
        let n = evidence.seen.pairs();
        let noise = evidence.baseline.as_ref().map(|b| (b.cells(is_other_status), b.pairs()));
        let threshold = of_percent(self.policy.mismatch_max);
        let of = Mismatch::of(
            (evidence.seen.cells(is_other_status), n),
            noise,
            (threshold, self.samples_min(evidence)),
            (self.chance(evidence), Self::pass_chance(evidence)),
        );
        self.mismatch(
            evidence,
            (n > 0).then_some(of),
            Weighed {
                rule: "status_mismatch",
                unit: "share",
                estimate: None,
                threshold,
                ceiling: None,
                samples: n,
                counted: None,
                needed: self.needed(evidence, threshold),
                shown: evidence.seen.shown(is_other_status),
            },
        )
    }

    /// Each field that differs, and whether answers differ at all: those that differ each in a place of its own are no
    /// less wrong.
    fn mismatches(&self, evidence: &Evidence, compared: &Compared) -> Ruling {
        let threshold = of_percent(self.policy.mismatch_max);
        let asked = (threshold, self.samples_min(evidence));
        let chances = (self.chance(evidence), Self::pass_chance(evidence));
        let baseline = evidence.baseline.as_ref().map(|baseline| baseline.compared.as_ref());
        let (left_out, judged): (Vec<_>, Vec<_>) =
            evidence.differences.iter().partition(|of| self.ignores(&of.field));
        let mut all = Vec::new();
        for of in &judged {
            let noise = baseline.map(|_| (of.baseline_count, of.baseline_compared));
            all.push((Mismatch::of((of.count, of.compared), noise, asked, chances), of.shown()));
        }
        if compared.answers > 0 {
            let all_of = |differing: u64, noise: Option<u64>| {
                let answers = |of: Option<&Compared>| of.map_or(0, |of| of.answers);
                let noise = baseline
                    .map(|of| (noise.unwrap_or_else(|| of.map_or(0, |of| of.differing)), answers(of)));
                let mismatch = Mismatch::of((differing, compared.answers), noise, asked, chances);
                (mismatch, format!("anything at all: {differing} of {}", compared.answers))
            };
            let any = if left_out.is_empty() {
                all_of(compared.differing, None)
            } else {
                // How many differ where it counts is known within bounds: each that differs is counted by a field.
                let sum = |of: &[&Difference]| of.iter().map(|of| of.count).sum::<u64>();
                let most_frequent = judged.iter().map(|of| of.count).max().unwrap_or_default();
                let least = compared.differing.saturating_sub(sum(&left_out)).max(most_frequent);
                let most = compared.differing.min(sum(&judged)).max(least);
                let least_noise = judged.iter().map(|of| of.baseline_count).max().unwrap_or_default();
                let (kind, mut unkind) = (all_of(least, None), all_of(most, Some(least_noise)));
                if kind.0.result() == Outcome::Fail {
                    kind
                } else {
                    if unkind.0.result() == Outcome::Fail {
                        let why = "how many differ in more than what the policy ignores is not known";
                        unkind.0.unsure = Some(why.to_owned());
                    }
                    unkind
                }
            };
            all.push(any);
        }
        all.sort_by(|(a, _), (b, _)| {
            a.result().rank().cmp(&b.result().rank()).then(b.beyond().total_cmp(&a.beyond()))
        });
        let shown = all.iter().filter(|(mismatch, _)| mismatch.beyond() > 0.0);
        let shown = shown.map(|(_, text)| text.clone()).collect();
        let first = all.into_iter().next().map(|(mismatch, _)| mismatch);
        self.mismatch(
            evidence,
            first,
            Weighed {
                rule: "mismatch_above_noise",
                unit: "share",
                estimate: None,
                threshold,
                ceiling: None,
                samples: compared.contents + compared.left_out,
                counted: None,
                needed: self.needed(evidence, threshold),
                shown,
            },
        )
    }

    /// A ruling on a mismatch, which noise that nobody knows keeps from failing.
    fn mismatch(&self, evidence: &Evidence, of: Option<Mismatch>, weighed: Weighed) -> Ruling {
        let Some(Mismatch { estimate, allowed, ceiling, counted, unsure }) = of else {
            return self.ruling(evidence, weighed);
        };
        let weighed = Weighed {
            estimate: Some(estimate),
            threshold: allowed,
            ceiling: Some(ceiling),
            counted: Some(counted),
            ..weighed
        };
        let mut ruling = self.ruling(evidence, weighed);
        if let Some(why) = unsure.filter(|_| ruling.result == Outcome::Fail || ruling.is_suspect) {
            ruling.hold(why);
        }
        ruling
    }

    /// Nobody looks at the contents of a mirror without `compare`.
    fn unlooked(&self, evidence: &Evidence) -> Ruling {
        let n = evidence.seen.pairs();
        let mut ruling = self.ruling(
            evidence,
            Weighed {
                rule: "contents_not_compared",
                unit: "share",
                estimate: (n > 0).then(|| share(n, n, self.chance(evidence))),
                threshold: of_percent(self.policy.lost_max),
                ceiling: None,
                samples: n,
                counted: None,
                needed: self.samples_min(evidence),
                shown: Vec::new(),
            },
        );
        ruling.hold(format!(
            "contents are not compared: write `compare = {{}}` beside `upstream` of mirror {:?} on this route, or \
             `contents = \"optional\"` in the policy",
            evidence.mirror
        ));
        ruling
    }

    /// Of answers that were not seen whole nobody knows whether they are the same.
    fn contents(&self, evidence: &Evidence, compared: &Compared) -> Ruling {
        let samples = compared.answers + compared.no_room;
        let unseen = samples.saturating_sub(compared.contents + compared.left_out);
        let unseen = (unseen + compared.partly).min(samples);
        let mut reasons = compared.reasons.clone();
        reasons.retain(|(_, n)| *n > 0);
        let shown = reasons.iter().map(|(why, n)| format!("{why}: {n}")).collect();
        let mut ruling = self.ruling(
            evidence,
            Weighed {
                rule: "contents_not_compared",
                unit: "share",
                estimate: (samples > 0).then(|| share(unseen, samples, self.chance(evidence))),
                threshold: of_percent(self.policy.lost_max),
                ceiling: None,
                samples,
                counted: None,
                needed: self.samples_min(evidence),
                shown,
            },
        );
        if ruling.result == Outcome::Fail || ruling.is_suspect {
            ruling.hold("whether they are the same is not known".to_owned());
        }
        ruling
    }

    fn errors(&self, evidence: &Evidence) -> Ruling {
        let chance = self.chance(evidence);
        let of = |seen: &Seen, chance| {
            let (mirror, primary) = (seen.cells(is_only_mirrors), seen.cells(is_only_primarys));
            paired_excess(mirror, primary, seen.pairs(), chance)
        };
        let n = evidence.seen.pairs();
        let baseline = evidence.baseline.as_ref().filter(|b| b.pairs() >= self.samples_min(evidence));
        let with = |chance| {
            let of = |seen| of(seen, chance);
            let seen = of(&evidence.seen);
            baseline.map_or(seen, |baseline| beyond(seen, of(baseline)))
        };
        let threshold = of_percent(self.policy.errors_max);
        let noise = baseline.map_or(0.0, |baseline| of(baseline, chance).figure);
        let weighed = Weighed {
            rule: "error_rate_difference",
            unit: "share",
            estimate: (n > 0).then(|| with(chance)),
            threshold: threshold.max(NOISE_SLACK * noise),
            ceiling: (n > 0).then(|| with(Self::pass_chance(evidence)).high),
            samples: n,
            counted: None,
            needed: self.needed(evidence, threshold),
            shown: evidence.seen.shown(is_only_mirrors),
        };
        let mut ruling = self.ruling(evidence, weighed);
        ruling.unless_chosen(evidence, baseline.is_some());
        ruling
    }

    fn times(&self, evidence: &Evidence, (rule, at, threshold): (&'static str, f64, f64)) -> Ruling {
        let Seen { primary_times, mirror_times, .. } = &evidence.seen;
        let samples = primary_times.count().min(mirror_times.count());
        // Few times are long, and those come together; what most take is seen by each.
        let (together, least) = if at > 0.5 { (TIMES_TOGETHER, P99_SAMPLES) } else { (1.0, 0) };
        let least = least * u64::from(evidence.copies.max(1));
        let chance = self.chance(evidence).of_groups(together);
        let of = |times: &Slots| quantile(times, at, chance);
        let (primary, mirror) = (of(primary_times), of(mirror_times));
        // A copy may take longer for what it is: then v1's own does so too.
        let enough = self.samples_min(evidence).max(least);
        let again = evidence.baseline.as_ref().filter(|b| b.mirror_times.count() >= enough);
        let again = again.map(|b| ratio(of(&b.mirror_times), of(&b.primary_times)).at_least(1.0));
        let wanted = again.map_or(primary, |factor| times(primary, factor));
        let all = ratio(mirror, wanted);
        let slack_us = self.policy.slack.as_secs_f64() * 1e6;
        // Within the slack a time is as good, however many times as long.
        let is_as_good = mirror.figure - wanted.figure <= slack_us;
        let is_surely_longer = mirror.low - wanted.high > slack_us;
        let judged = Estimate {
            figure: if is_as_good { all.figure.min(threshold) } else { all.figure },
            low: if is_surely_longer { all.low } else { all.low.min(threshold) },
            high: all.high,
        };
        let ms = |us: f64| format!("{:.3} ms", us / 1e3);
        let mut shown = format!("v1 {}, v2 {}", ms(primary.figure), ms(mirror.figure));
        if let Some(factor) = again {
            shown.push_str(&format!(", v1 once more × {:.3} of v1", factor.figure));
        }
        let weighed = Weighed {
            rule,
            unit: "ratio",
            estimate: (samples > 0).then_some(judged),
            threshold,
            ceiling: None,
            samples,
            counted: None,
            needed: enough,
            shown: vec![shown],
        };
        let mut ruling = self.ruling(evidence, weighed);
        if samples > 0 {
            ruling.figure = Some(all.figure);
            ruling.interval = Some([all.low, all.high]);
        }
        if ruling.result == Outcome::Pass && all.figure > threshold {
            ruling.why = Some(format!("longer by no more than the slack of {:?}", self.policy.slack));
        }
        ruling.unless_chosen(evidence, again.is_some());
        if ruling.result == Outcome::Fail && again.is_none() && evidence.baseline.is_some() {
            ruling.hold("the baseline has too few times to tell what being a copy takes".to_owned());
        }
        if ruling.result == Outcome::Hold && !ruling.enough && evidence.seen.pairs() >= ruling.samples * 2 {
            let why = "only times that are the services' own count: of copies that are sent alone, which \
                       pipeline_max = 1 makes all, and of answers that waited for no client";
            ruling.why = Some(ruling.why.map_or_else(|| why.to_owned(), |more| format!("{more}; {why}")));
        }
        ruling
    }

    /// What was dropped here cannot speak against the mirror; but then too little is known.
    fn losses(&self, evidence: &Evidence) -> Ruling {
        let lost = evidence.seen.lost;
        let wanted = evidence.seen.wanted();
        let mut ruling = self.ruling(
            evidence,
            Weighed {
                rule: "copies_lost",
                unit: "share",
                estimate: (wanted > 0).then(|| share(lost, wanted, self.chance(evidence))),
                threshold: of_percent(self.policy.lost_max),
                ceiling: None,
                samples: wanted,
                counted: None,
                needed: self.samples_min(evidence),
                shown: vec![format!("{lost} of {wanted} copies were dropped")],
            },
        );
        if ruling.result == Outcome::Fail || ruling.is_suspect {
            ruling.hold("what became of them on v2 is not known".to_owned());
        }
        ruling
    }
}

/// As many as anybody reads.
fn some(mut shown: Vec<String>) -> Vec<String> {
    let more = shown.len().saturating_sub(EVIDENCE_MAX);
    if more > 0 {
        shown.truncate(EVIDENCE_MAX);
        shown.push(format!("and {more} more"));
    }
    shown
}

/// How often something differs beyond its noise, and how often it may.
struct Mismatch {
    estimate: Estimate,
    allowed: f64,
    /// What it may come to, as sure as it takes to pass.
    ceiling: f64,
    /// Of so many.
    counted: u64,
    /// Why it cannot speak against a mirror.
    unsure: Option<String>,
}

impl Mismatch {
    /// `noise`: how often it is so of the baseline, where there is one; as long as that has seen less than `least` nobody
    /// knows, and nothing is taken for noise. `chances`: to reject, and to pass.
    fn of(
        counted: (u64, u64),
        noise: Option<(u64, u64)>,
        (threshold, least): (f64, u64),
        chances: (Chance, Chance),
    ) -> Self {
        let known = noise.filter(|(_, n)| *n >= least).unwrap_or_default();
        let allowed = threshold.max(NOISE_SLACK * known.0 as f64 / known.1.max(1) as f64);
        let unsure = noise.filter(|(_, n)| *n < least).map(|(_, n)| {
            format!("the baseline has {n} such answers, too few to tell what v1 does to itself")
        });
        let estimate = excess(counted, known, chances.0);
        let ceiling = excess(counted, known, chances.1).high;
        Self { estimate, allowed, ceiling, counted: counted.1, unsure }
    }

    fn beyond(&self) -> f64 {
        self.estimate.figure - self.allowed
    }

    fn result(&self) -> Outcome {
        match () {
            () if self.beyond() <= 0.0 && self.ceiling <= SLIPS * self.allowed.max(LEAST_THRESHOLD) => {
                Outcome::Pass
            }
            () if self.estimate.low > self.allowed && self.unsure.is_none() => Outcome::Fail,
            () => Outcome::Hold,
        }
    }
}

impl Outcome {
    /// The worst first.
    fn rank(self) -> u8 {
        match self {
            Self::Fail => 0,
            Self::Hold => 1,
            Self::Pass => 2,
        }
    }
}

impl Ruling {
    fn hold(&mut self, why: String) {
        self.result = Outcome::Hold;
        self.why = Some(why);
        self.is_suspect = false;
    }

    /// Where requests were copied because of v1's answer, chance alone makes v2's differ: v1's own failures, or quick
    /// answers, are not among them. A baseline that is chosen alike tells how much.
    fn unless_chosen(&mut self, evidence: &Evidence, has_baseline: bool) {
        let is_unfair = evidence.are_chosen_by_answer && !has_baseline || !evidence.is_baseline_chosen_alike;
        if is_unfair && self.result != Outcome::Hold {
            let why =
                "copies are chosen by v1's answer: it takes a baseline that is too, and has seen enough";
            self.hold(why.to_owned());
        }
    }
}

#[cfg(test)]
mod tests;
