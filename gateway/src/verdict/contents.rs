//! The rule on contents: each place where answers differ, and whether they differ at all.

use super::mismatch::{Descending, Mismatch, MismatchTest, Shown};
use super::rules::{ANY, EVIDENCE_MAX, FIELDS, Rules, Weighed};
use super::threshold::of_percent;
use super::{Compared, Difference, Evidence, Lone, Outcome, Ruling};
use crate::metrics::total;

/// Why a value that looks as if drawn anew each time cannot speak against a mirror.
const VOLATILE: &str = "some values are drawn anew each time, it seems: ignore them (the evidence has the line to write), or \
                        give the route a baseline, a mirror with `role = \"baseline\"` that leads to v1";

/// The same of requests that do not go to the baseline.
const VOLATILE_UNASKED: &str = "some values of requests that the baseline does not get are drawn anew each time, it seems: ignore them \
                                (the evidence has the line to write)";

/// The first fields that differ share their part about evenly; the sum over all that may ever come is one.
fn field_part(rank: u64) -> f64 {
    let k = rank as f64 + 8.0;
    8.0 / (k * (k + 1.0))
}

impl Rules<'_> {
    /// Each field that differs, and whether answers differ at all: those that differ each in a place of its own are no
    /// less wrong. Requests that the baseline is not asked are judged by themselves, as without one.
    pub(super) fn mismatches(&self, evidence: &Evidence, compared: &Compared) -> Ruling {
        let (threshold, least) = (of_percent(self.policy.mismatch_max), self.samples_min(evidence));
        let noise = evidence.baseline.as_ref().map(|again| match &again.compared {
            Some(of) => (of.differing, of.answers),
            None => (0, 0),
        });
        let is_parted = noise.is_some() && compared.unasked.pairs > 0;
        let half = if is_parted { 0.5 } else { 1.0 };
        let pass = Self::pass_chance(evidence);
        let asked =
            |part: f64| MismatchTest { threshold, least, reject: self.part(evidence, half * part), pass };
        let ignores = |of: &Difference| self.ignores(&of.field);
        let all = &evidence.differences;
        let one = Stretch {
            has_baseline: noise.is_some(),
            answers: compared.answers.saturating_sub(if is_parted { compared.unasked.pairs } else { 0 }),
            differing: compared.differing.saturating_sub(if is_parted {
                compared.unasked.differing
            } else {
                0
            }),
            noise,
            volatile: VOLATILE,
            of: if is_parted { asked_of } else { all_of },
        };
        let mut judged = one.judge(all, &ignores, &asked);
        if is_parted {
            let unasked = Stretch {
                has_baseline: false,
                // A share of all, so that a rare write weighs no more than another rare request.
                answers: compared.answers,
                differing: compared.unasked.differing,
                noise: None,
                volatile: VOLATILE_UNASKED,
                of: unasked_of,
            };
            judged.extend(unasked.judge(all, &ignores, &asked));
        }
        judged.sort_by_cached_key(|(of, _)| (of.result().rank(), Descending(of.beyond())));
        let told = || {
            let beyond = judged.iter().filter(|(mismatch, _)| mismatch.beyond() > 0.0);
            let mut told: Vec<String> = beyond.clone().take(EVIDENCE_MAX).map(|(_, of)| of.text()).collect();
            told.resize_with(beyond.count(), String::new);
            told
        };
        let samples = compared.contents.saturating_add(compared.left_out);
        let needed = self.needed(evidence, threshold);
        let first = judged.first().map(|(mismatch, _)| mismatch);
        self.mismatch(evidence, "mismatch_above_noise", first, (samples, needed, least), &told)
    }

    /// A ruling on a mismatch, which noise that is not known keeps from failing.
    pub(super) fn mismatch(
        &self,
        evidence: &Evidence,
        rule: &'static str,
        of: Option<&Mismatch>,
        (samples, needed, least): (u64, u64, u64),
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
            least,
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
}

/// Answers that are judged together: all of them, or those to requests that the baseline is asked, or not.
struct Stretch {
    has_baseline: bool,
    answers: u64,
    /// Of those, where anything differs.
    differing: u64,
    /// How often the baseline differs in anything, of how many.
    noise: Option<(u64, u64)>,
    /// The reason why a difference that looks drawn anew each time does not reject.
    volatile: &'static str,
    of: fn(&Difference) -> Share,
}

/// How often a place differs among some answers.
struct Share {
    count: u64,
    compared: u64,
    /// Of those compared, until it was found.
    first: u64,
    is_volatile: bool,
}

fn all_of(of: &Difference) -> Share {
    let Difference { count, compared, first, is_volatile, .. } = *of;
    Share { count, compared, first, is_volatile }
}

fn unasked_of(of: &Difference) -> Share {
    let Lone { count, is_volatile, .. } = of.unasked;
    Share { count, compared: of.compared, first: of.first, is_volatile }
}

fn asked_of(of: &Difference) -> Share {
    let count = of.count.saturating_sub(of.unasked.count);
    let compared = of.compared.saturating_sub(of.unasked.compared);
    Share {
        count,
        compared,
        first: of.first.min(compared.saturating_sub(count)),
        is_volatile: of.is_volatile,
    }
}

impl Stretch {
    fn judge<'d>(
        &self,
        all: &'d [Difference],
        ignores: &dyn Fn(&Difference) -> bool,
        asked: &dyn Fn(f64) -> MismatchTest,
    ) -> Vec<(Mismatch, Shown<'d>)> {
        // Without a baseline nothing tells noise from a fault but its look.
        let is_volatile = |of: &Difference| !self.has_baseline && (self.of)(of).is_volatile;
        let (left_out, judged): (Vec<_>, Vec<_>) = all.iter().partition(|of| ignores(of) || is_volatile(of));
        let mut found = Vec::new();
        for of in judged.iter().copied() {
            let asked = asked(FIELDS * field_part(of.rank));
            found.push((self.difference(of, asked), Shown::Judged(of)));
        }
        for of in left_out.iter().copied().filter(|of| !ignores(of)) {
            let mut mismatch = self.difference(of, asked(FIELDS * field_part(of.rank)));
            // Without names, for it is told to strangers too.
            mismatch.unsure = Some(self.volatile.to_owned());
            found.push((mismatch, Shown::Volatile(of)));
        }
        if self.answers > 0 {
            found.push(self.any(&left_out, &judged, asked(ANY)));
        }
        found
    }

    /// The test of one place where answers differ, by the answers since it was found.
    fn difference(&self, of: &Difference, asked: MismatchTest) -> Mismatch {
        if self.has_baseline && of.beside > 0 {
            return Mismatch::beside(of, asked);
        }
        let noise = self.has_baseline.then_some((of.baseline_count, of.baseline_compared));
        let Share { count, compared, first, .. } = (self.of)(of);
        let since = (count.saturating_sub(u64::from(first > 0)), compared.saturating_sub(first));
        let mut mismatch = Mismatch::apart(since, noise, asked);
        mismatch.counted = compared;
        mismatch
    }

    /// Whether answers differ at all.
    fn any<'d>(
        &self,
        left_out: &[&Difference],
        judged: &[&Difference],
        asked: MismatchTest,
    ) -> (Mismatch, Shown<'d>) {
        let all_of = |differing: u64, noise: Option<(u64, u64)>| {
            (Mismatch::apart((differing, self.answers), noise, asked), Shown::Any(differing, self.answers))
        };
        if left_out.is_empty() {
            return all_of(self.differing, self.noise);
        }
        // How many differ where it counts is known within bounds: each that differs is counted by a field.
        let count = |of: &&Difference| (self.of)(of).count;
        let sum = |of: &[&Difference]| total(of.iter().map(count));
        let most_frequent = judged.iter().map(count).max().unwrap_or_default();
        let least = self.differing.saturating_sub(sum(left_out)).max(most_frequent);
        let most = self.differing.min(sum(judged)).max(least);
        let least_noise = judged.iter().map(|of| of.baseline_count).max().unwrap_or_default();
        let kind = all_of(least, self.noise);
        if kind.0.result() == Outcome::Fail {
            return kind;
        }
        let mut unkind = all_of(most, self.noise.map(|(_, answers)| (least_noise, answers)));
        if unkind.0.result() == Outcome::Fail {
            let why = "how many differ in more than what the policy ignores is not known";
            unkind.0.unsure = Some(why.to_owned());
        }
        unkind
    }
}
