//! The rules on times: the median, and what lies beyond it. Both sides' times are of the same requests, and what is slow on
//! both sides speaks against neither.

use super::evidence::Evidence;
use super::rules::{Rules, Weighed, refuted};
use super::sequential::{Chance, Estimate, more_often, net_beyond, quantile, ratio};
use super::{Outcome, Ruling, Seen};
use crate::metrics::{Slots, total};

/// Times without which a 99th percentile is not known: ten lie beyond it.
const P99_SAMPLES: u64 = 1_000;

/// Times that one hiccup of the machine lengthens together, and that tell no more than one, until it is known how many do: of
/// a median, and of the longest.
const TOGETHER: [f64; 2] = [2.0, 4.0];

/// Times of which it is asked how many are longer, in microseconds: from 1 ms on each twice the one before.
const LEVELS: u32 = 13;
const LEAST_LEVEL_US: f64 = 1_000.0;

struct Rule {
    name: &'static str,
    quantile: f64,
    most: f64,
    together: f64,
    is_tail: bool,
}

impl Rules<'_> {
    pub(super) fn both_times(&self, evidence: &Evidence, part: f64) -> Vec<Ruling> {
        let together = |at: usize| evidence.bursts.get(at).copied().flatten();
        let [few, many] = TOGETHER;
        let p50 = Rule {
            name: "p50_ratio",
            quantile: 0.5,
            most: self.policy.p50_ratio_max,
            together: together(0).unwrap_or(few).max(1.0),
            is_tail: false,
        };
        let p99 = Rule {
            name: "p99_ratio",
            quantile: 0.99,
            most: self.policy.p99_ratio_max,
            together: together(1).unwrap_or(many).max(1.0),
            is_tail: true,
        };
        [p99, p50].iter().map(|rule| self.times(evidence, rule, part)).collect()
    }

    fn times(&self, evidence: &Evidence, rule: &Rule, part: f64) -> Ruling {
        let Seen { primary_times, mirror_times, .. } = &evidence.seen;
        let samples = primary_times.count().min(mirror_times.count());
        let least = if rule.is_tail { P99_SAMPLES } else { 0 } * u64::from(evidence.copies.max(1));
        let chance = self.part(evidence, part).of_groups(rule.together);
        // Each of two quantiles may be missed; where tails are looked at as well, each of these has half.
        let half = chance.part(if rule.is_tail { 0.25 } else { 0.5 });
        let of = |times: &Slots| quantile(times, rule.quantile, half);
        let (primary, mirror) = (of(primary_times), of(mirror_times));
        // A copy may take longer for what it is: then v1's own does so too.
        let enough = self.samples_min(evidence).max(least);
        let again = evidence.baseline.as_ref().map(|b| &b.mirror_times).filter(|b| b.count() >= enough);
        let wanted = match again.map(of) {
            Some(again) if again.figure > primary.figure => again,
            Some(again) => Estimate { high: primary.high.max(again.high), ..primary },
            None => primary,
        };
        let all = ratio(mirror, wanted);
        let slack_us = self.policy.slack.as_secs_f64() * 1e6;
        // Within the slack a time is as good, however many times as long.
        let is_as_good = mirror.figure - wanted.figure <= slack_us;
        let is_surely_longer = all.low > rule.most && mirror.low - wanted.high > slack_us;
        let tails = rule.is_tail.then(|| chance.part(0.5 / f64::from(LEVELS)));
        let refuted = match tails.and_then(|chance| self.tails(evidence, again, rule, chance)) {
            // The quantiles are known to lie apart, and no more.
            None if is_surely_longer => Some(chance.alpha()),
            tails => tails,
        };
        let judged =
            Estimate { figure: if is_as_good { all.figure.min(rule.most) } else { all.figure }, ..all };
        let ms = |us: f64| format!("{:.3} ms", us / 1e3);
        let mut shown = format!("v1 {}, v2 {}", ms(primary.figure), ms(mirror.figure));
        if let Some(again) = again.map(of) {
            shown.push_str(&format!(", v1 once more {}", ms(again.figure)));
        }
        let weighed = Weighed {
            rule: rule.name,
            unit: "ratio",
            estimate: (samples > 0).then_some(judged),
            threshold: rule.most,
            refuted,
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
        if ruling.result == Outcome::Pass && all.figure > rule.most {
            ruling.why = Some(format!("longer by no more than the slack of {:?}", self.policy.slack));
        }
        ruling.unless_chosen(evidence, again.is_some());
        if ruling.result == Outcome::Fail && again.is_none() && evidence.baseline.is_some() {
            ruling.hold("the baseline has too few times to tell what being a copy takes".to_owned());
        }
        if ruling.result == Outcome::Hold
            && !ruling.enough
            && evidence.seen.pairs() >= ruling.samples.saturating_mul(2)
        {
            let why = "only times that are the services' own count: of copies that are sent alone, which \
                       pipeline_max = 1 makes all, and of answers that waited for no client";
            ruling.why = Some(ruling.why.map_or_else(|| why.to_owned(), |more| format!("{more}; {why}")));
        }
        ruling
    }

    /// Whether more of v2's times than of v1's are beyond some level, v2's being allowed so many times as long: the order of
    /// the two distributions is refuted (Lindon, Sanden, Shirikian 2022). Each request is a pair; how often both are beyond is
    /// not known, and none is the case that speaks least against v2.
    fn tails(&self, evidence: &Evidence, again: Option<&Slots>, rule: &Rule, chance: Chance) -> Option<f64> {
        let Seen { primary_times, mirror_times, .. } = &evidence.seen;
        let n = mirror_times.count();
        let slack_us = self.policy.slack.as_secs_f64() * 1e6;
        let at = |level: u32| {
            let us = LEAST_LEVEL_US * f64::from(1_u32 << level);
            let count = beyond(mirror_times, us * rule.most + slack_us);
            if count == 0 {
                return None;
            }
            let mut strengths = vec![net_beyond(count, beyond(primary_times, us), n, 0.0)];
            strengths
                .extend(again.map(|again| more_often((count, n), (beyond(again, us), again.count()), 1.0)));
            refuted(chance, &strengths)
        };
        (0..LEVELS).filter_map(at).reduce(f64::min)
    }
}

/// How many times are longer.
fn beyond(times: &Slots, us: f64) -> u64 {
    total(times.iter().filter(|(value, _)| *value as f64 > us).map(|(_, n)| n))
}
