//! The rules on one route, and on all routes together: errors, statuses, fields, reach, what was lost and what was not looked
//! at. What times come to is [`super::times`]'s.

use config::{Contents, Percent, Policy};

use super::evidence::{is_only_mirrors, is_only_primarys, is_other_status};
use super::sequential::{Chance, Estimate, more_often, net, net_beyond, share, share_beyond};
use super::{Compared, Difference, Evidence, Outcome, Ruling, Seen};
use crate::metrics::total;

/// A field that v1 itself does not keep may differ more often by this share of its noise: less is no reason.
pub(super) const NOISE_SLACK: f64 = 0.2;

/// A share of which nothing was seen in `n` requests is below `3 / n`, to 95 percent.
const NONE_IN: f64 = 3.0;

/// What passes is below so many times its threshold, to 99 percent over all looks.
const SLIPS: f64 = 2.0;
const PASS_ALPHA: f64 = 0.01;

/// Copies that find no connection come in heaps, each from one cause: below this share it may have been one restart.
const OUTAGE: f64 = 0.05;

/// No threshold asks for more requests than this one: 30,000.
const LEAST_THRESHOLD: f64 = 0.000_1;

/// Why a value that looks as if drawn anew each time cannot speak against a mirror.
const VOLATILE: &str = "some values are drawn anew each time, it seems: ignore them (the evidence has the line to write), or \
                        give the route a baseline, a mirror with `role = \"baseline\"` that leads to v1";

/// Lines of evidence of one ruling.
pub(super) const EVIDENCE_MAX: usize = 10;

/// How much of a route's chance to reject for nothing each rule has. The sum is one.
const ERRORS: f64 = 0.25;
const REACH: f64 = 0.125;
const STATUSES: f64 = 0.125;
const ANY: f64 = 0.125;
const FIELDS: f64 = 0.25;
/// Of each of two quantiles.
const TIMES: f64 = 0.062_5;
const _: () = assert!(ERRORS + REACH + STATUSES + ANY + FIELDS + 2.0 * TIMES == 1.0);

/// The first fields that differ share their part about evenly; the sum over all that may ever come is one.
fn field_part(rank: u64) -> f64 {
    let k = rank as f64 + 8.0;
    8.0 / (k * (k + 1.0))
}

pub(super) struct Rules<'a> {
    pub(super) policy: &'a Policy,
    /// How often any rule may reject for nothing.
    pub(super) chance: Chance,
}

/// What a rule weighs.
pub(super) struct Weighed {
    pub(super) rule: &'static str,
    pub(super) unit: &'static str,
    pub(super) estimate: Option<Estimate>,
    pub(super) threshold: f64,
    /// How likely an equal mirror would ever show as much, where it is refuted that it is within the threshold.
    pub(super) refuted: Option<f64>,
    /// What it may come to, as sure as it takes to pass; where that matters.
    pub(super) ceiling: Option<f64>,
    pub(super) samples: u64,
    /// Of so many the figure is a share, where those are others.
    pub(super) counted: Option<u64>,
    /// Samples without which it cannot pass.
    pub(super) needed: u64,
    pub(super) shown: Vec<String>,
}

pub(super) fn of_percent(percent: Percent) -> f64 {
    f64::from(percent.per_million) / 1e6
}

/// How unlikely it is, where all of these refute.
pub(super) fn refuted(chance: Chance, strengths: &[f64]) -> Option<f64> {
    let least = strengths.iter().copied().fold(f64::INFINITY, f64::min);
    chance.is_met(least).then(|| chance.unlikely(least))
}

/// Pairs that may be of two requests speak neither for the mirror nor against it.
fn unless_out_of_step(evidence: &Evidence, rulings: &mut [Ruling]) {
    let (suspect, pairs) = (evidence.seen.suspect, evidence.seen.pairs());
    if suspect as f64 <= SUSPECT_SHARE_MAX * pairs as f64 {
        return;
    }
    for ruling in
        rulings.iter_mut().filter(|ruling| ruling.rule != "unreachable" && ruling.rule != "copies_lost")
    {
        if ruling.result != Outcome::Hold {
            ruling.hold(format!(
                "a connection gave more responses than it got requests: {suspect} of {pairs} pairs may be of two \
                 requests; once that is mended, gateway verdict --begin"
            ));
        }
    }
}

/// So many pairs that may be of two requests are too few to matter.
const SUSPECT_SHARE_MAX: f64 = 0.0002;

impl Rules<'_> {
    /// Everything on one route; last comes first.
    pub(super) fn route(&self, evidence: &Evidence) -> Vec<Ruling> {
        let mut rulings = vec![self.losses(evidence)];
        rulings.extend(self.both_times(evidence, TIMES));
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
        unless_out_of_step(evidence, &mut rulings);
        rulings
    }

    /// What counters tell of a stretch of time.
    pub(super) fn lately(&self, evidence: &Evidence) -> Vec<Ruling> {
        let mut rulings = vec![self.reach(evidence)];
        rulings.extend(self.everywhere(evidence));
        rulings
    }

    /// What all routes together tell sooner than each.
    pub(super) fn everywhere(&self, evidence: &Evidence) -> Vec<Ruling> {
        let mut rulings = self.both_times(evidence, TIMES);
        rulings.push(self.errors(evidence));
        if !self.ignores("status") {
            rulings.push(self.statuses(evidence));
        }
        unless_out_of_step(evidence, &mut rulings);
        rulings
    }

    /// How sure a judgement of this evidence by a rule of this part has to be.
    pub(super) fn part(&self, evidence: &Evidence, part: f64) -> Chance {
        self.chance.part(part).of_groups(evidence.copies.max(1).into())
    }

    /// The same to pass.
    fn pass_chance(evidence: &Evidence) -> Chance {
        Chance::of(PASS_ALPHA).of_groups(evidence.copies.max(1).into())
    }

    pub(super) fn samples_min(&self, evidence: &Evidence) -> u64 {
        self.policy.samples_min.saturating_mul(evidence.copies.max(1).into())
    }

    /// As many samples as the policy asks for, and as would show a share of `threshold`.
    fn needed(&self, evidence: &Evidence, threshold: f64) -> u64 {
        let showing = (NONE_IN / threshold.max(LEAST_THRESHOLD)).round() * f64::from(evidence.copies.max(1));
        // At most 3e4 times 1e2.
        self.samples_min(evidence).max(showing as u64)
    }

    fn ignores(&self, field: &str) -> bool {
        self.policy.ignore_fields.iter().any(|ignored| ignored == field)
    }

    pub(super) fn ruling(&self, evidence: &Evidence, weighed: Weighed) -> Ruling {
        let Weighed { rule, unit, estimate, threshold, refuted, ceiling, samples, counted, needed, shown } =
            weighed;
        let counted = counted.unwrap_or(samples);
        let enough = samples >= needed;
        let least = self.samples_min(evidence);
        let is_worse = refuted.is_some() && estimate.is_some_and(|of| of.figure > threshold);
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
            chance: refuted.filter(|_| result == Outcome::Fail),
            interval: estimate.map(|estimate| [estimate.low, estimate.high]),
            since: None,
            within: None,
            samples,
            needed,
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
        let samples = sent.saturating_add(*unreachable);
        let threshold = of_percent(self.policy.errors_max);
        let chance = self.part(evidence, REACH);
        let mut ruling = self.ruling(
            evidence,
            Weighed {
                rule: "unreachable",
                unit: "share",
                estimate: (samples > 0).then(|| share(*unreachable, samples, chance)),
                threshold,
                refuted: refuted(chance, &[share_beyond(*unreachable, samples, threshold.max(OUTAGE))]),
                ceiling: None,
                samples,
                counted: None,
                needed: self.needed(evidence, threshold),
                shown: vec![format!("{unreachable} of {samples} copies found no connection")],
            },
        );
        if ruling.result == Outcome::Hold && *unreachable > 0 && ruling.enough {
            ruling.hold("it may have been one restart: they come together".to_owned());
        }
        ruling
    }

    /// What both answered with another code, neither of them an error.
    fn statuses(&self, evidence: &Evidence) -> Ruling {
        let n = evidence.seen.pairs();
        let threshold = of_percent(self.policy.mismatch_max);
        let asked = MismatchTest {
            threshold,
            least: self.samples_min(evidence),
            reject: self.part(evidence, STATUSES),
            pass: Self::pass_chance(evidence),
        };
        let noise = evidence.baseline.as_ref().map(|b| (b.cells(is_other_status), b.pairs()));
        let of = Mismatch::apart((evidence.seen.cells(is_other_status), n), noise, asked);
        self.mismatch(
            evidence,
            (n > 0).then_some(of),
            Weighed {
                rule: "status_mismatch",
                unit: "share",
                estimate: None,
                threshold,
                refuted: None,
                ceiling: None,
                samples: n,
                counted: None,
                needed: self.needed(evidence, threshold),
                shown: evidence.seen.shown(is_other_status),
            },
        )
    }

    /// One place where answers differ, by what came since it was found.
    fn difference(&self, of: &Difference, has_baseline: bool, asked: MismatchTest) -> Mismatch {
        if has_baseline && of.beside > 0 {
            return Mismatch::beside((of.only_mirror, of.only_baseline, of.beside), of, asked);
        }
        let noise = has_baseline.then_some((of.baseline_count, of.baseline_compared));
        let (count, n) =
            (of.count.saturating_sub(u64::from(of.first > 0)), of.compared.saturating_sub(of.first));
        let mut mismatch = Mismatch::apart((count, n), noise, asked);
        mismatch.counted = of.compared;
        mismatch
    }

    /// Each field that differs, and whether answers differ at all: those that differ each in a place of its own are no
    /// less wrong.
    fn mismatches(&self, evidence: &Evidence, compared: &Compared) -> Ruling {
        let threshold = of_percent(self.policy.mismatch_max);
        let (least, pass) = (self.samples_min(evidence), Self::pass_chance(evidence));
        let asked = |part: f64| MismatchTest { threshold, least, reject: self.part(evidence, part), pass };
        let baseline = evidence.baseline.as_ref().map(|baseline| baseline.compared.as_ref());
        // Without a baseline nothing tells noise from a fault but its look.
        let is_volatile = |of: &Difference| baseline.is_none() && of.is_volatile;
        let (left_out, judged): (Vec<_>, Vec<_>) =
            evidence.differences.iter().partition(|of| self.ignores(&of.field) || is_volatile(of));
        let mut all = Vec::new();
        for of in &judged {
            let asked = asked(FIELDS * field_part(of.rank));
            all.push((self.difference(of, baseline.is_some(), asked), of.shown()));
        }
        for of in left_out.iter().filter(|of| !self.ignores(&of.field)) {
            let mut mismatch = self.difference(of, false, asked(FIELDS * field_part(of.rank)));
            // Without names, for it is told to strangers too.
            mismatch.unsure = Some(VOLATILE.to_owned());
            all.push((mismatch, format!("{}; volatile: {}", of.shown(), of.ignoring())));
        }
        if compared.answers > 0 {
            let asked = asked(ANY);
            let all_of = |differing: u64, noise: Option<u64>| {
                let answers = |of: Option<&Compared>| of.map_or(0, |of| of.answers);
                let noise = baseline
                    .map(|of| (noise.unwrap_or_else(|| of.map_or(0, |of| of.differing)), answers(of)));
                let mismatch = Mismatch::apart((differing, compared.answers), noise, asked);
                (mismatch, format!("anything at all: {differing} of {}", compared.answers))
            };
            let any = if left_out.is_empty() {
                all_of(compared.differing, None)
            } else {
                // How many differ where it counts is known within bounds: each that differs is counted by a field.
                let sum = |of: &[&Difference]| total(of.iter().map(|of| of.count));
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
                refuted: None,
                ceiling: None,
                samples: compared.contents.saturating_add(compared.left_out),
                counted: None,
                needed: self.needed(evidence, threshold),
                shown,
            },
        )
    }

    /// A ruling on a mismatch, which noise that is not known keeps from failing.
    fn mismatch(&self, evidence: &Evidence, of: Option<Mismatch>, weighed: Weighed) -> Ruling {
        let Some(Mismatch { estimate, allowed, refuted, ceiling, counted, unsure }) = of else {
            return self.ruling(evidence, weighed);
        };
        let weighed = Weighed {
            estimate: Some(estimate),
            threshold: allowed,
            refuted,
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

    /// A ruling on a share that cannot speak against the mirror: beyond its threshold too little is known.
    fn unknown(&self, evidence: &Evidence, rule: &'static str, of: (u64, u64), shown: Vec<String>) -> Ruling {
        let (count, samples) = of;
        // Nothing is rejected by it, so the chance is that of passing.
        let chance = Self::pass_chance(evidence);
        let threshold = of_percent(self.policy.lost_max);
        self.ruling(
            evidence,
            Weighed {
                rule,
                unit: "share",
                estimate: (samples > 0).then(|| share(count, samples, chance)),
                threshold,
                refuted: refuted(chance, &[share_beyond(count, samples, threshold)]),
                ceiling: None,
                samples,
                counted: None,
                needed: self.samples_min(evidence),
                shown,
            },
        )
    }

    /// The contents of a mirror without `compare` are looked at by nothing.
    fn unlooked(&self, evidence: &Evidence) -> Ruling {
        let n = evidence.seen.pairs();
        let mut ruling = self.unknown(evidence, "contents_not_compared", (n, n), Vec::new());
        ruling.hold(format!(
            "contents are not compared: write `compare = {{}}` beside `upstream` of mirror {:?} on this route, or \
             `contents = \"optional\"` in the policy",
            evidence.mirror
        ));
        ruling
    }

    /// Of answers that were not seen whole it is not known whether they are the same.
    fn contents(&self, evidence: &Evidence, compared: &Compared) -> Ruling {
        let samples = compared.answers.saturating_add(compared.no_room);
        let unseen = samples.saturating_sub(compared.contents.saturating_add(compared.left_out));
        let unseen = unseen.saturating_add(compared.partly).min(samples);
        let mut reasons = compared.reasons.clone();
        reasons.retain(|(_, n)| *n > 0);
        let shown = reasons.iter().map(|(why, n)| format!("{why}: {n}")).collect();
        let mut ruling = self.unknown(evidence, "contents_not_compared", (unseen, samples), shown);
        if ruling.result == Outcome::Fail || ruling.is_suspect {
            ruling.hold("whether they are the same is not known".to_owned());
        }
        ruling
    }

    fn errors(&self, evidence: &Evidence) -> Ruling {
        let chance = self.part(evidence, ERRORS);
        let counts = |seen: &Seen| (seen.cells(is_only_mirrors), seen.cells(is_only_primarys), seen.pairs());
        let (only_mirror, only_primary, n) = counts(&evidence.seen);
        let baseline = evidence.baseline.as_ref().filter(|b| b.pairs() >= self.samples_min(evidence));
        let again = baseline.map(counts);
        let noise = |chance| again.map(|(mirror, primary, n)| net(mirror, primary, n, chance));
        let figure = noise(chance).map_or(0.0, |of| of.figure.max(0.0));
        let asked = of_percent(self.policy.errors_max);
        let threshold = asked.max(NOISE_SLACK * figure);
        let mut strengths = vec![net_beyond(only_mirror, only_primary, n, threshold)];
        // Worse than v1, and worse than what being a copy makes of v1.
        strengths
            .extend(again.map(|(mirror, _, m)| more_often((only_mirror, n), (mirror, m), 1.0 + NOISE_SLACK)));
        let with = |chance| {
            let Estimate { figure: of, low, high } = net(only_mirror, only_primary, n, chance);
            Estimate { figure: of - figure, low: low - figure, high: high - figure }
        };
        let pass = Self::pass_chance(evidence);
        let ceiling =
            net(only_mirror, only_primary, n, pass).high - noise(pass).map_or(0.0, |of| of.low.max(0.0));
        let weighed = Weighed {
            rule: "error_rate_difference",
            unit: "share",
            estimate: (n > 0).then(|| with(chance)),
            threshold,
            refuted: refuted(chance, &strengths),
            ceiling: (n > 0).then_some(ceiling),
            samples: n,
            counted: None,
            needed: self.needed(evidence, asked),
            shown: evidence.seen.shown(is_only_mirrors),
        };
        let mut ruling = self.ruling(evidence, weighed);
        ruling.unless_chosen(evidence, baseline.is_some());
        ruling
    }

    /// What was dropped here cannot speak against the mirror; but then too little is known.
    fn losses(&self, evidence: &Evidence) -> Ruling {
        let (lost, wanted) = (evidence.seen.lost, evidence.seen.wanted());
        let shown = vec![format!("{lost} of {wanted} copies were dropped")];
        let mut ruling = self.unknown(evidence, "copies_lost", (lost, wanted), shown);
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

/// By what a mismatch is judged.
#[derive(Clone, Copy)]
struct MismatchTest {
    threshold: f64,
    /// Answers of the baseline without which nothing is known for noise.
    least: u64,
    reject: Chance,
    pass: Chance,
}

/// How often something differs beyond its noise, and how often it may.
struct Mismatch {
    estimate: Estimate,
    allowed: f64,
    refuted: Option<f64>,
    /// What it may come to, as sure as it takes to pass.
    ceiling: f64,
    /// Of so many.
    counted: u64,
    /// Why it cannot speak against a mirror.
    unsure: Option<String>,
}

fn unsure(noise: Option<(u64, u64)>, least: u64) -> Option<String> {
    let (_, n) = noise.filter(|(_, n)| *n < least)?;
    Some(format!("the baseline has {n} such answers, too few to tell what v1 does to itself"))
}

impl Mismatch {
    /// Beside a baseline that answered other requests. `noise`: how often it is so of the baseline, where there is one.
    fn apart((count, n): (u64, u64), noise: Option<(u64, u64)>, asked: MismatchTest) -> Self {
        let MismatchTest { threshold, least, reject, pass } = asked;
        let known = noise.filter(|(_, n)| *n >= least).unwrap_or_default();
        let level = known.0 as f64 / known.1.max(1) as f64;
        let allowed = threshold.max(NOISE_SLACK * level);
        let mut strengths = vec![share_beyond(count, n, allowed)];
        if known.0 > 0 {
            strengths.push(more_often((count, n), known, 1.0 + NOISE_SLACK));
        }
        let Estimate { figure, low, high } = share(count, n, reject);
        let sure = if known.0 > 0 { share(known.0, known.1, pass).low } else { 0.0 };
        Self {
            estimate: Estimate { figure: figure - level, low: low - level, high: high - level },
            allowed,
            refuted: refuted(reject, &strengths),
            ceiling: share(count, n, pass).high - sure,
            counted: n,
            unsure: unsure(noise, least),
        }
    }

    /// Beside a baseline that answered the same requests: what differs of both cancels.
    fn beside(pairs: (u64, u64, u64), of: &Difference, asked: MismatchTest) -> Self {
        let MismatchTest { threshold, least, reject, pass } = asked;
        let (mirror, baseline, n) = pairs;
        let level = of.baseline_count as f64 / of.baseline_compared.max(1) as f64;
        let allowed = threshold.max(NOISE_SLACK * level);
        Self {
            estimate: net(mirror, baseline, n, reject),
            allowed,
            refuted: refuted(reject, &[net_beyond(mirror, baseline, n, allowed)]),
            ceiling: net(mirror, baseline, n, pass).high,
            counted: of.compared,
            unsure: unsure(Some((of.baseline_count, of.baseline_compared)), least),
        }
    }

    fn beyond(&self) -> f64 {
        self.estimate.figure - self.allowed
    }

    fn result(&self) -> Outcome {
        match () {
            () if self.beyond() <= 0.0 && self.ceiling <= SLIPS * self.allowed.max(LEAST_THRESHOLD) => {
                Outcome::Pass
            }
            () if self.beyond() > 0.0 && self.refuted.is_some() && self.unsure.is_none() => Outcome::Fail,
            () => Outcome::Hold,
        }
    }
}

impl Ruling {
    pub(super) fn hold(&mut self, why: String) {
        self.result = Outcome::Hold;
        self.why = Some(why);
        self.is_suspect = false;
        self.chance = None;
    }

    /// Where requests were copied because of v1's answer, chance alone makes v2's differ: v1's own failures, or quick
    /// answers, are not among them. A baseline that is chosen alike tells how much.
    pub(super) fn unless_chosen(&mut self, evidence: &Evidence, has_baseline: bool) {
        let is_unfair =
            evidence.are_chosen_by_response && !has_baseline || !evidence.is_baseline_chosen_alike;
        if is_unfair && self.result != Outcome::Hold {
            let why =
                "copies are chosen by v1's answer: it takes a baseline that is too, and has seen enough";
            self.hold(why.to_owned());
        }
    }
}
