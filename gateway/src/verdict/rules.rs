//! The rules on one route, and on all routes together: errors, statuses, fields and reach. What times come to is
//! [`super::times`]'s, where contents differ [`super::contents`]'s, and what is not known of copies [`super::unknown`]'s.

use config::{Contents, Policy};

use super::evidence::{is_only_mirrors, is_only_primarys, is_other_status};
use super::mismatch::{Mismatch, MismatchTest};
use super::sequential::{
    Chance, Estimate, more_often, net, net_beyond, net_figure, net_is_within, share, share_beyond,
    share_figure,
};
use super::threshold::{LEAST_THRESHOLD, NOISE_SLACK, SLIPS, of_percent};
use super::{Evidence, Outcome, Ruling, Seen};

/// A share of which nothing was seen in `n` requests is below `3 / n`, to 95 percent.
const NONE_IN: f64 = 3.0;

const PASS_ALPHA: f64 = 0.01;

/// Requests without which nothing is rejected for its errors or statuses, where the policy asks for more.
const REJECT_MIN: u64 = 30;

/// Copies that find no connection come in heaps, each from one cause: below this share it may have been one restart.
pub(super) const OUTAGE: f64 = 0.05;

/// Why a baseline that gets other requests decides nothing.
const ASKED_OTHERWISE: &str = "v1 once more gets other requests than the mirror, and by these alone it would be otherwise: give the \
                               requests that both get a route of their own";

/// Lines of evidence of one ruling.
pub(super) const EVIDENCE_MAX: usize = 10;

/// How much of a chance to reject for nothing each rule has that is asked of a route and of all routes. The sum is one.
pub(super) struct Parts {
    errors: f64,
    statuses: f64,
    p50: f64,
    p99: f64,
    /// Of all others, which are asked of a route alone.
    others: f64,
}

const OF_A_ROUTE: Parts = Parts {
    errors: 0.25,
    statuses: 0.125,
    p50: 0.062_5,
    p99: 0.062_5,
    others: REACH + LOSSES + ANY + FIELDS,
};
const REACH: f64 = 0.062_5;
pub(super) const LOSSES: f64 = 0.062_5;
pub(super) const ANY: f64 = 0.125;
pub(super) const FIELDS: f64 = 0.25;

/// A service that is wrong everywhere fails or is slow; contents are wrong on a route.
const EVERYWHERE: Parts = Parts { errors: 0.5, statuses: 0.125, p50: 0.25, p99: 0.125, others: 0.0 };

const _: () = assert!(OF_A_ROUTE.sum() == 1.0 && EVERYWHERE.sum() == 1.0);

impl Parts {
    const fn sum(&self) -> f64 {
        self.errors + self.statuses + self.p50 + self.p99 + self.others
    }
}

pub(super) struct Rules<'a> {
    pub(super) policy: &'a Policy,
    /// How often any rule may reject for nothing.
    pub(super) chance: Chance,
    /// Rulings that do not fail are passed over: what takes long to know of them is left out.
    pub(super) is_of_failures: bool,
    /// As if there were no baseline.
    pub(super) is_without_baseline: bool,
}

/// The figures that a rule weighs. Those that take long to compute are asked for only where they matter.
pub(super) struct Weighed<'a> {
    pub(super) rule: &'static str,
    pub(super) unit: &'static str,
    pub(super) figure: Option<f64>,
    /// Where the figure lies.
    pub(super) interval: &'a dyn Fn() -> [f64; 2],
    pub(super) threshold: f64,
    /// How likely an equal mirror would ever show as much, where it is beyond its threshold and refuted that it is within.
    pub(super) refuted: Option<f64>,
    /// The figure's upper bound, as sure as it takes to pass, where that is more than this.
    pub(super) ceiling: &'a dyn Fn(f64) -> Option<f64>,
    pub(super) samples: u64,
    /// Of so many the figure is a share, where those are others.
    pub(super) counted: Option<u64>,
    /// Samples without which it cannot pass.
    pub(super) needed: u64,
    /// Samples without which it cannot fail.
    pub(super) least: u64,
    pub(super) shown: &'a dyn Fn() -> Vec<String>,
}

/// The ceiling of a figure that passes wherever it is within its threshold.
pub(super) const NO_CEILING: &dyn Fn(f64) -> Option<f64> = &|_| None;

pub(super) fn ends(Estimate { low, high, .. }: Estimate) -> [f64; 2] {
    [low, high]
}

impl<'a> Rules<'a> {
    pub(super) fn of(policy: &'a Policy, chance: Chance) -> Self {
        Self { policy, chance, is_of_failures: false, is_without_baseline: false }
    }

    /// Everything on one route; last comes first.
    pub(super) fn route(&self, evidence: &Evidence) -> Vec<Ruling> {
        let mut rulings = vec![self.losses(evidence)];
        rulings.extend(self.left_out(evidence));
        rulings.push(self.reach(evidence));
        rulings.extend(self.counted(evidence, &OF_A_ROUTE));
        match &evidence.seen.compared {
            Some(compared) => {
                rulings.push(self.contents(evidence, compared));
                rulings.push(self.mismatches(evidence, compared));
            }
            None if self.policy.contents == Contents::Required => rulings.push(self.unlooked(evidence)),
            None => {}
        }
        Self::unless_out_of_step(evidence, &mut rulings);
        rulings
    }

    /// The rules over a stretch of time, by counters alone.
    pub(super) fn lately(&self, evidence: &Evidence) -> Vec<Ruling> {
        let mut rulings = vec![self.reach(evidence)];
        rulings.extend(self.everything_counted(evidence, &OF_A_ROUTE));
        rulings
    }

    /// The rules over all routes together, which find sooner than each route what is wrong with all.
    pub(super) fn everywhere(&self, evidence: &Evidence) -> Vec<Ruling> {
        self.everything_counted(evidence, &EVERYWHERE)
    }

    fn everything_counted(&self, evidence: &Evidence, parts: &Parts) -> Vec<Ruling> {
        let mut rulings = self.counted(evidence, parts);
        Self::unless_out_of_step(evidence, &mut rulings);
        rulings
    }

    /// The rules whose figures are counted of all requests alike. Where a baseline gets other requests than the mirror does, its
    /// answers are no more than a hint: a ruling that would be another without the baseline is held.
    fn counted(&self, evidence: &Evidence, parts: &Parts) -> Vec<Ruling> {
        let mut rulings = self.both_times(evidence, [parts.p50, parts.p99]);
        rulings.push(self.errors(evidence, parts.errors));
        if !self.ignores("status") {
            rulings.push(self.statuses(evidence, parts.statuses));
        }
        if evidence.baseline.is_some() && !evidence.is_baseline_asked_alike && !self.is_without_baseline {
            let without = Self { is_without_baseline: true, ..*self }.counted(evidence, parts);
            for (ruling, other) in rulings.iter_mut().zip(without) {
                if ruling.result != Outcome::Hold && ruling.result != other.result {
                    ruling.hold(ASKED_OTHERWISE.to_owned());
                }
            }
        }
        rulings
    }

    /// The answers of v1 once more.
    pub(super) fn baseline<'e>(&self, evidence: &'e Evidence) -> Option<&'e Seen> {
        evidence.baseline.as_ref().filter(|_| !self.is_without_baseline)
    }

    /// How sure a judgement of this evidence by a rule of this part has to be.
    pub(super) fn part(&self, evidence: &Evidence, part: f64) -> Chance {
        self.chance.part(part).of_groups(evidence.copies.max(1).into())
    }

    /// The same to pass.
    pub(super) fn pass_chance(evidence: &Evidence) -> Chance {
        Chance::of(PASS_ALPHA).of_groups(evidence.copies.max(1).into())
    }

    pub(super) fn samples_min(&self, evidence: &Evidence) -> u64 {
        self.policy.samples_min.saturating_mul(evidence.copies.max(1).into())
    }

    /// Samples before which no count rejects: the test itself needs none, but the first answers of a service that starts, or of one
    /// connection, fail together.
    pub(super) fn reject_min(&self, evidence: &Evidence) -> u64 {
        self.policy.samples_min.min(REJECT_MIN).saturating_mul(evidence.copies.max(1).into())
    }

    /// As many samples as the policy asks for, and as would show a share of `threshold`.
    pub(super) fn needed(&self, evidence: &Evidence, threshold: f64) -> u64 {
        let showing = (NONE_IN / threshold.max(LEAST_THRESHOLD)).round() * f64::from(evidence.copies.max(1));
        // At most 3e4 times 1e2.
        self.samples_min(evidence).max(showing as u64)
    }

    pub(super) fn ignores(&self, field: &str) -> bool {
        self.policy.ignore_fields.iter().any(|ignored| ignored == field)
    }

    pub(super) fn ruling(&self, evidence: &Evidence, weighed: Weighed<'_>) -> Ruling {
        let Weighed { rule, unit, figure, threshold, refuted, samples, counted, needed, least, .. } = weighed;
        let counted = counted.unwrap_or(samples);
        let enough = samples >= needed;
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
                refuted: chance.refuted(&[share_beyond(*unreachable, samples, threshold.max(OUTAGE))]),
                ceiling: NO_CEILING,
                samples,
                counted: None,
                needed: self.needed(evidence, threshold),
                // They come in heaps.
                least: self.samples_min(evidence),
                shown: &|| vec![format!("{unreachable} of {samples} copies found no connection")],
            },
        );
        if ruling.result == Outcome::Hold && *unreachable > 0 && ruling.enough {
            ruling.hold("it may have been one restart: they come together".to_owned());
        }
        ruling
    }

    /// How often both answered with different codes, neither of them an error.
    fn statuses(&self, evidence: &Evidence, part: f64) -> Ruling {
        let n = evidence.seen.pairs();
        let threshold = of_percent(self.policy.mismatch_max);
        let asked = MismatchTest {
            threshold,
            least: self.samples_min(evidence),
            reject: self.part(evidence, part),
            pass: Self::pass_chance(evidence),
        };
        let noise = self.baseline(evidence).map(|b| (b.cells(is_other_status), b.pairs()));
        let of = Mismatch::apart((evidence.seen.cells(is_other_status), n), noise, asked);
        let needed = self.needed(evidence, threshold);
        let shown = || evidence.seen.shown(is_other_status);
        // v1's own noise has to be known first.
        let least = if noise.is_some() { self.samples_min(evidence) } else { self.reject_min(evidence) };
        self.mismatch(evidence, "status_mismatch", (n > 0).then_some(&of), (n, needed, least), &shown)
    }

    fn errors(&self, evidence: &Evidence, part: f64) -> Ruling {
        let chance = self.part(evidence, part);
        let counts = |seen: &Seen| (seen.cells(is_only_mirrors), seen.cells(is_only_primarys), seen.pairs());
        let (only_mirror, only_primary, n) = counts(&evidence.seen);
        // Where v2 itself has seen little, a baseline that has too is what there is: the coin below is fair of however few.
        let least = self.samples_min(evidence);
        let baseline = self.baseline(evidence).filter(|b| b.pairs() >= least || n < least);
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
            chance.refuted(&strengths)
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
            least: self.reject_min(evidence),
            shown: &|| evidence.seen.shown(is_only_mirrors),
        };
        let mut ruling = self.ruling(evidence, weighed);
        ruling.unless_chosen(evidence, baseline.is_some());
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
