//! The rules on copies whose outcome is not known: lost copies, pairs that are evidence of neither side or may be of two
//! requests, contents that were not compared. These rules hold; losses may also speak against a mirror, beside a baseline that
//! lost nothing.

use super::rules::{LOSSES, NO_CEILING, OUTAGE, Rules, Weighed, ends};
use super::sequential::{more_often, share, share_beyond, share_figure};
use super::threshold::of_percent;
use super::{Compared, Evidence, Outcome, Ruling, Seen};

/// A ring that is full drops many in one go: so many tell no more than one. And a baseline's may be a few times as seldom by
/// itself, for it answers others' requests too.
const HEAP: f64 = 16.0;
const TIMES_AS_MANY: f64 = 2.0;

/// So many pairs that may be of two requests are too few to matter.
const SUSPECT_SHARE_MAX: f64 = 0.0002;

impl Rules<'_> {
    /// Pairs that may be of two requests speak neither for the mirror nor against it.
    pub(super) fn unless_out_of_step(evidence: &Evidence, rulings: &mut [Ruling]) {
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

    /// Copies that the gateway dropped do not speak against the mirror, but then too little is known. Where copies to the
    /// baseline by the same settings are dropped far more seldom, copies wait for the mirror: it answers too slowly, or not at
    /// all.
    pub(super) fn losses(&self, evidence: &Evidence) -> Ruling {
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
            let refuted = chance.refuted(&strengths);
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

    /// Pairs where a copy's end is evidence of neither side are missing from all other rules: with many of them, v2's behaviour
    /// is not known. `None`: there are none.
    pub(super) fn left_out(&self, evidence: &Evidence) -> Option<Ruling> {
        let Seen { less_time, end_unread, .. } = evidence.seen;
        let left_out = less_time.saturating_add(end_unread);
        if left_out == 0 {
            return None;
        }
        let samples = evidence.seen.pairs().saturating_add(left_out);
        let reasons = [
            (
                less_time,
                "their time was up, which waiting had lowered",
                "raise connections_max or lower percent",
            ),
            (end_unread, "they were not read to their end", "raise response_bytes_max"),
        ];
        let told = || reasons.iter().filter(|(n, _, _)| *n > 0);
        let shown = || told().map(|(n, why, _)| format!("{n} of {samples} pairs: {why}")).collect();
        let mut ruling = self.unknown(evidence, "pairs_left_out", (left_out, samples), &shown);
        if ruling.result == Outcome::Fail || ruling.is_suspect {
            let advice: Vec<&str> = told().map(|(_, _, advice)| *advice).collect();
            ruling.hold(format!(
                "what these calls came to on {} is not known: {} of its mirror, then gateway verdict --begin",
                evidence.mirror,
                advice.join(", and ")
            ));
        }
        Some(ruling)
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
        // This share does not reject, so the chance is that of passing.
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
                refuted: chance.refuted(&[share_beyond(count, samples, threshold)]),
                ceiling: NO_CEILING,
                samples,
                counted: None,
                needed: self.samples_min(evidence),
                least: self.samples_min(evidence),
                shown,
            },
        )
    }

    /// The contents of a mirror without `compare` are looked at by nothing.
    pub(super) fn unlooked(&self, evidence: &Evidence) -> Ruling {
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
    pub(super) fn contents(&self, evidence: &Evidence, compared: &Compared) -> Ruling {
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
}
