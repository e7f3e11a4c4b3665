//! The rules on one route, and on all routes together: errors, statuses, fields, reach, what was lost and what was not looked
//! at. What times come to is [`super::times`]'s.

use config::{Contents, Percent, Policy};

use super::evidence::{is_only_mirrors, is_only_primarys, is_other_status};
use super::mismatch::{Descending, Mismatch, MismatchTest, Shown};
use super::sequential::{
    Chance, Estimate, more_often, net, net_beyond, net_figure, net_is_within, share, share_beyond,
    share_figure,
};
use super::{Compared, Difference, Evidence, Outcome, Ruling, Seen};
use crate::metrics::total;

/// A field that v1 itself does not keep may differ more often by this share of its noise: less is no reason.
pub(super) const NOISE_SLACK: f64 = 0.2;

/// A share of which nothing was seen in `n` requests is below `3 / n`, to 95 percent.
const NONE_IN: f64 = 3.0;

/// What passes is below so many times its threshold, to 99 percent over all looks.
pub(super) const SLIPS: f64 = 2.0;
const PASS_ALPHA: f64 = 0.01;

/// Copies that find no connection come in heaps, each from one cause: below this share it may have been one restart.
const OUTAGE: f64 = 0.05;

/// A ring that is full drops many in one go: so many tell no more than one. And a baseline's may be a few times as seldom by
/// itself, for it answers others' requests too.
const HEAP: f64 = 16.0;
const TIMES_AS_MANY: f64 = 2.0;

/// No threshold asks for more requests than this one: 30,000.
pub(super) const LEAST_THRESHOLD: f64 = 0.000_1;

/// Why a value that looks as if drawn anew each time cannot speak against a mirror.
const VOLATILE: &str = "some values are drawn anew each time, it seems: ignore them (the evidence has the line to write), or \
                        give the route a baseline, a mirror with `role = \"baseline\"` that leads to v1";

/// Lines of evidence of one ruling.
pub(super) const EVIDENCE_MAX: usize = 10;

/// How much of a chance to reject for nothing each rule has that is asked of a route and of all routes. The sum is one.
pub(super) struct Parts {
    errors: f64,
    statuses: f64,
    /// Of each of two quantiles.
    times: f64,
    /// Of all others, which are asked of a route alone.
    others: f64,
}

const OF_A_ROUTE: Parts =
    Parts { errors: 0.25, statuses: 0.125, times: 0.062_5, others: REACH + LOSSES + ANY + FIELDS };
const REACH: f64 = 0.062_5;
const LOSSES: f64 = 0.062_5;
const ANY: f64 = 0.125;
const FIELDS: f64 = 0.25;

/// What is wrong with a whole service fails or is slow; contents are wrong on a route.
const EVERYWHERE: Parts = Parts { errors: 0.5, statuses: 0.125, times: 0.187_5, others: 0.0 };

const _: () = assert!(OF_A_ROUTE.sum() == 1.0 && EVERYWHERE.sum() == 1.0);

impl Parts {
    const fn sum(&self) -> f64 {
        self.errors + self.statuses + 2.0 * self.times + self.others
    }
}

/// The first fields that differ share their part about evenly; the sum over all that may ever come is one.
fn field_part(rank: u64) -> f64 {
    let k = rank as f64 + 8.0;
    8.0 / (k * (k + 1.0))
}

pub(super) struct Rules<'a> {
    pub(super) policy: &'a Policy,
    /// How often any rule may reject for nothing.
    pub(super) chance: Chance,
    /// Rulings that do not fail are passed over: what takes long to know of them is left out.
    pub(super) is_of_failures: bool,
}

/// What a rule weighs. What takes long to know is asked for where it matters.
pub(super) struct Weighed<'a> {
    pub(super) rule: &'static str,
    pub(super) unit: &'static str,
    pub(super) figure: Option<f64>,
    /// Where the figure lies.
    pub(super) interval: &'a dyn Fn() -> [f64; 2],
    pub(super) threshold: f64,
    /// How likely an equal mirror would ever show as much, where it is beyond its threshold and refuted that it is within.
    pub(super) refuted: Option<f64>,
    /// What it may come to, as sure as it takes to pass, where that is more than this; where it matters.
    pub(super) ceiling: &'a dyn Fn(f64) -> Option<f64>,
    pub(super) samples: u64,
    /// Of so many the figure is a share, where those are others.
    pub(super) counted: Option<u64>,
    /// Samples without which it cannot pass.
    pub(super) needed: u64,
    pub(super) shown: &'a dyn Fn() -> Vec<String>,
}

/// Whatever is rare enough passes.
pub(super) const NO_CEILING: &dyn Fn(f64) -> Option<f64> = &|_| None;

pub(super) fn of_percent(percent: Percent) -> f64 {
    f64::from(percent.per_million) / 1e6
}

/// How unlikely it is, where all of these refute.
pub(super) fn refuted(chance: Chance, strengths: &[f64]) -> Option<f64> {
    let least = strengths.iter().copied().fold(f64::INFINITY, f64::min);
    chance.is_met(least).then(|| chance.unlikely(least))
}

fn ends(Estimate { low, high, .. }: Estimate) -> [f64; 2] {
    [low, high]
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

impl<'a> Rules<'a> {
    pub(super) fn of(policy: &'a Policy, chance: Chance) -> Self {
        Self { policy, chance, is_of_failures: false }
    }

    /// Everything on one route; last comes first.
    pub(super) fn route(&self, evidence: &Evidence) -> Vec<Ruling> {
        let mut rulings = vec![self.losses(evidence)];
        rulings.extend(self.both_times(evidence, OF_A_ROUTE.times));
        rulings.push(self.reach(evidence));
        rulings.push(self.errors(evidence, OF_A_ROUTE.errors));
        if !self.ignores("status") {
            rulings.push(self.statuses(evidence, OF_A_ROUTE.statuses));
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
        rulings.extend(self.counted(evidence, &OF_A_ROUTE));
        rulings
    }

    /// What all routes together tell sooner than each.
    pub(super) fn everywhere(&self, evidence: &Evidence) -> Vec<Ruling> {
        self.counted(evidence, &EVERYWHERE)
    }

    fn counted(&self, evidence: &Evidence, parts: &Parts) -> Vec<Ruling> {
        let mut rulings = self.both_times(evidence, parts.times);
        rulings.push(self.errors(evidence, parts.errors));
        if !self.ignores("status") {
            rulings.push(self.statuses(evidence, parts.statuses));
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

    pub(super) fn ruling(&self, evidence: &Evidence, weighed: Weighed<'_>) -> Ruling {
        let Weighed { rule, unit, figure, threshold, refuted, samples, counted, needed, .. } = weighed;
        let counted = counted.unwrap_or(samples);
        let enough = samples >= needed;
        let least = self.samples_min(evidence);
        let is_worse = refuted.is_some() && figure.is_some_and(|figure| figure > threshold);
        let is_suspect = is_worse && counted < least;
        let (result, why) = match figure {
            Some(_) if is_suspect => {
                (Outcome::Hold, Some(format!("so far, of {counted} samples: to reject takes {least}")))
            }
            Some(_) if is_worse => (Outcome::Fail, None),
            Some(figure) if figure > threshold => {
                (Outcome::Hold, Some("beyond the threshold, but chance may have done it".to_owned()))
            }
            Some(_) if enough => match (weighed.ceiling)(SLIPS * threshold.max(LEAST_THRESHOLD)) {
                Some(ceiling) => {
                    let most = ceiling * 100.0;
                    (Outcome::Hold, Some(format!("it may yet be {most:.3} %: so far chance hides as much")))
                }
                None => (Outcome::Pass, None),
            },
            Some(_) | None => {
                (Outcome::Hold, Some(format!("{samples} samples of the {needed} that it takes")))
            }
        };
        let is_told = !self.is_of_failures || result == Outcome::Fail;
        Ruling {
            rule,
            route: evidence.route.clone(),
            unit,
            figure,
            threshold,
            chance: refuted.filter(|_| result == Outcome::Fail),
            interval: figure.filter(|_| is_told).map(|_| (weighed.interval)()),
            since: None,
            within: None,
            samples,
            needed,
            enough,
            result,
            why,
            evidence: if result == Outcome::Pass || !is_told { Vec::new() } else { some((weighed.shown)()) },
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
                figure: (samples > 0).then(|| share_figure(*unreachable, samples)),
                interval: &|| ends(share(*unreachable, samples, chance)),
                threshold,
                refuted: refuted(chance, &[share_beyond(*unreachable, samples, threshold.max(OUTAGE))]),
                ceiling: NO_CEILING,
                samples,
                counted: None,
                needed: self.needed(evidence, threshold),
                shown: &|| vec![format!("{unreachable} of {samples} copies found no connection")],
            },
        );
        if ruling.result == Outcome::Hold && *unreachable > 0 && ruling.enough {
            ruling.hold("it may have been one restart: they come together".to_owned());
        }
        ruling
    }

    /// What both answered with another code, neither of them an error.
    fn statuses(&self, evidence: &Evidence, part: f64) -> Ruling {
        let n = evidence.seen.pairs();
        let threshold = of_percent(self.policy.mismatch_max);
        let asked = MismatchTest {
            threshold,
            least: self.samples_min(evidence),
            reject: self.part(evidence, part),
            pass: Self::pass_chance(evidence),
        };
        let noise = evidence.baseline.as_ref().map(|b| (b.cells(is_other_status), b.pairs()));
        let of = Mismatch::apart((evidence.seen.cells(is_other_status), n), noise, asked);
        let needed = self.needed(evidence, threshold);
        let shown = || evidence.seen.shown(is_other_status);
        self.mismatch(evidence, "status_mismatch", (n > 0).then_some(&of), (n, needed), &shown)
    }

    /// One place where answers differ, by what came since it was found.
    fn difference(of: &Difference, has_baseline: bool, asked: MismatchTest) -> Mismatch {
        if has_baseline && of.beside > 0 {
            return Mismatch::beside(of, asked);
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
            all.push((Self::difference(of, baseline.is_some(), asked), Shown::Judged(of)));
        }
        for of in left_out.iter().filter(|of| !self.ignores(&of.field)) {
            let mut mismatch = Self::difference(of, false, asked(FIELDS * field_part(of.rank)));
            // Without names, for it is told to strangers too.
            mismatch.unsure = Some(VOLATILE.to_owned());
            all.push((mismatch, Shown::Volatile(of)));
        }
        if compared.answers > 0 {
            let asked = asked(ANY);
            let all_of = |differing: u64, noise: Option<u64>| {
                let answers = |of: Option<&Compared>| of.map_or(0, |of| of.answers);
                let noise = baseline
                    .map(|of| (noise.unwrap_or_else(|| of.map_or(0, |of| of.differing)), answers(of)));
                let mismatch = Mismatch::apart((differing, compared.answers), noise, asked);
                (mismatch, Shown::Any(differing, compared.answers))
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
        all.sort_by_cached_key(|(of, _)| (of.result().rank(), Descending(of.beyond())));
        let told = || {
            let beyond = all.iter().filter(|(mismatch, _)| mismatch.beyond() > 0.0);
            let mut told: Vec<String> = beyond.clone().take(EVIDENCE_MAX).map(|(_, of)| of.text()).collect();
            told.resize_with(beyond.count(), String::new);
            told
        };
        let samples = compared.contents.saturating_add(compared.left_out);
        let needed = self.needed(evidence, threshold);
        let first = all.first().map(|(mismatch, _)| mismatch);
        self.mismatch(evidence, "mismatch_above_noise", first, (samples, needed), &told)
    }

    /// A ruling on a mismatch, which noise that is not known keeps from failing.
    fn mismatch(
        &self,
        evidence: &Evidence,
        rule: &'static str,
        of: Option<&Mismatch>,
        (samples, needed): (u64, u64),
        shown: &dyn Fn() -> Vec<String>,
    ) -> Ruling {
        let weighed = Weighed {
            rule,
            unit: "share",
            figure: of.map(|of| of.figure),
            interval: &|| of.map(Mismatch::interval).unwrap_or_default(),
            threshold: of.map_or_else(|| of_percent(self.policy.mismatch_max), |of| of.allowed),
            refuted: of.and_then(|of| of.refuted),
            ceiling: &|most| of.and_then(|of| of.ceiling(most)),
            samples,
            counted: of.map(|of| of.counted),
            needed,
            shown,
        };
        let mut ruling = self.ruling(evidence, weighed);
        if let Some(why) = of.and_then(|of| of.unsure.clone())
            && (ruling.result == Outcome::Fail || ruling.is_suspect)
        {
            ruling.hold(why);
        }
        ruling
    }

    /// A ruling on a share that cannot speak against the mirror: beyond its threshold too little is known.
    fn unknown(
        &self,
        evidence: &Evidence,
        rule: &'static str,
        of: (u64, u64),
        shown: &dyn Fn() -> Vec<String>,
    ) -> Ruling {
        let (count, samples) = of;
        // Nothing is rejected by it, so the chance is that of passing.
        let chance = Self::pass_chance(evidence);
        let threshold = of_percent(self.policy.lost_max);
        self.ruling(
            evidence,
            Weighed {
                rule,
                unit: "share",
                figure: (samples > 0).then(|| share_figure(count, samples)),
                interval: &|| ends(share(count, samples, chance)),
                threshold,
                refuted: refuted(chance, &[share_beyond(count, samples, threshold)]),
                ceiling: NO_CEILING,
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
        let mut ruling = self.unknown(evidence, "contents_not_compared", (n, n), &Vec::new);
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
        let shown = || {
            let reasons = compared.reasons.iter().filter(|(_, n)| *n > 0);
            reasons.map(|(why, n)| format!("{why}: {n}")).collect()
        };
        let mut ruling = self.unknown(evidence, "contents_not_compared", (unseen, samples), &shown);
        if ruling.result == Outcome::Fail || ruling.is_suspect {
            ruling.hold("whether they are the same is not known".to_owned());
        }
        ruling
    }

    fn errors(&self, evidence: &Evidence, part: f64) -> Ruling {
        let chance = self.part(evidence, part);
        let counts = |seen: &Seen| (seen.cells(is_only_mirrors), seen.cells(is_only_primarys), seen.pairs());
        let (only_mirror, only_primary, n) = counts(&evidence.seen);
        let baseline = evidence.baseline.as_ref().filter(|b| b.pairs() >= self.samples_min(evidence));
        let again = baseline.map(counts);
        let noise = again.map_or(0.0, |(mirror, primary, n)| net_figure(mirror, primary, n).max(0.0));
        let figure = net_figure(only_mirror, only_primary, n) - noise;
        let asked = of_percent(self.policy.errors_max);
        let threshold = asked.max(NOISE_SLACK * noise);
        let is_refuted = || {
            let mut strengths = vec![net_beyond(only_mirror, only_primary, n, threshold)];
            // Worse than v1, and worse than what being a copy makes of v1.
            strengths.extend(again.map(|(mirror, _, m)| {
                let of_noise = noise / net_figure(mirror, 0, m).max(noise).max(f64::MIN_POSITIVE);
                more_often((only_mirror, n), (mirror, m), 1.0 + NOISE_SLACK * of_noise)
            }));
            refuted(chance, &strengths)
        };
        let pass = Self::pass_chance(evidence);
        let ceiling = |most: f64| {
            if net_is_within(only_mirror, only_primary, n, most, pass) {
                return None;
            }
            let of_noise = |(mirror, primary, n)| net(mirror, primary, n, pass).low.max(0.0);
            let ceiling = net(only_mirror, only_primary, n, pass).high - again.map_or(0.0, of_noise);
            (ceiling > most).then_some(ceiling)
        };
        let weighed = Weighed {
            rule: "error_rate_difference",
            unit: "share",
            figure: (n > 0).then_some(figure),
            interval: &|| ends(net(only_mirror, only_primary, n, chance)).map(|end| end - noise),
            threshold,
            refuted: if figure > threshold { is_refuted() } else { None },
            ceiling: &ceiling,
            samples: n,
            counted: None,
            needed: self.needed(evidence, asked),
            shown: &|| evidence.seen.shown(is_only_mirrors),
        };
        let mut ruling = self.ruling(evidence, weighed);
        ruling.unless_chosen(evidence, baseline.is_some());
        ruling
    }

    /// What was dropped here cannot speak against the mirror, but then too little is known. Where copies to the baseline that are sent
    /// by the same settings are dropped far more seldom, the mirror is what they wait for: it answers too slowly, or not at all.
    fn losses(&self, evidence: &Evidence) -> Ruling {
        let (lost, wanted) = (evidence.seen.lost, evidence.seen.wanted());
        let again = evidence
            .baseline
            .as_ref()
            .filter(|of| evidence.is_baseline_sent_alike && of.wanted() >= self.samples_min(evidence));
        let again = again.map(|of| (of.lost, of.wanted()));
        let shown = || {
            let beside = again.map(|(lost, wanted)| format!(", of those to v1 once more {lost} of {wanted}"));
            vec![format!("{lost} of {wanted} copies were dropped{}", beside.unwrap_or_default())]
        };
        let mut ruling = self.unknown(evidence, "copies_lost", (lost, wanted), &shown);
        let is_its_own = again.is_some_and(|(less, of)| {
            let chance = self.part(evidence, LOSSES).of_groups(HEAP);
            let least = OUTAGE.max(of_percent(self.policy.lost_max));
            let strengths =
                [share_beyond(lost, wanted, least), more_often((lost, wanted), (less, of), TIMES_AS_MANY)];
            let refuted = refuted(chance, &strengths);
            ruling.chance = refuted;
            refuted.is_some()
        });
        if is_its_own && wanted >= self.samples_min(evidence) {
            (ruling.result, ruling.why, ruling.is_suspect) = (Outcome::Fail, None, false);
            return ruling;
        }
        ruling.chance = None;
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
