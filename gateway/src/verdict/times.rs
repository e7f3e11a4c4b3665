//! The rules on times: the median, and what lies beyond it. Both sides' times are of the same requests, and what is slow on
//! both sides speaks against neither.

use super::evidence::Evidence;
use super::rules::{NO_CEILING, Rules, Weighed};
use super::sequential::{
    Between, Chance, Estimate, Ranks, half_beyond, more_often, net_beyond, ratio, times_as_large,
};
use super::{Outcome, Ruling, Seen};
use crate::metrics::{LEAST_TAIL_US, RATIO_SLACK_US, TAIL_LEVELS, TAIL_TIMES, ratio_step, total};

/// Times without which a 99th percentile is not known: ten lie beyond it.
const P99_SAMPLES: u64 = 1_000;

/// Times that one hiccup of the machine lengthens together, and that tell no more than one, until it is known how many do: of
/// a median, and of the longest.
const TOGETHER: [f64; 2] = [2.0, 4.0];

/// The part of a median's chance that its pairs have: they find a longer median sooner than the intervals of the two medians.
const OF_PAIRS: f64 = 0.75;

/// The part of a 99th percentile's chance that its tails have.
const OF_TAILS: f64 = 0.5;

/// The part of the tails' chance that clusters of exceedances have, which find times far out sooner; counts of times find the
/// others.
const OF_CLUSTERS: f64 = 0.75;

/// Workers that one hiccup is counted by, at most.
const WORKERS_TOGETHER_MAX: u32 = 4;

struct Rule {
    name: &'static str,
    quantile: f64,
    most: f64,
    together: f64,
    /// How much of a chance to reject for nothing it has.
    part: f64,
    is_tail: bool,
}

/// Both sides' times of one route, and v1's own once more.
struct Times<'a> {
    primary: Ranks<'a>,
    mirror: Ranks<'a>,
    again: Option<Ranks<'a>>,
}

fn level_us(level: usize) -> f64 {
    LEAST_TAIL_US as f64 * (1_u64 << level) as f64
}

impl Rules<'_> {
    pub(super) fn both_times(&self, evidence: &Evidence, [p50, p99]: [f64; 2]) -> Vec<Ruling> {
        let together = |at: usize| evidence.bursts.get(at).copied().flatten();
        let [few, many] = TOGETHER;
        let median = Rule {
            name: "p50_ratio",
            quantile: 0.5,
            most: self.policy.p50_ratio_max,
            together: together(0).unwrap_or(few).max(1.0),
            part: p50,
            is_tail: false,
        };
        let tail = Rule {
            name: "p99_ratio",
            quantile: 0.99,
            most: self.policy.p99_ratio_max,
            together: together(1).unwrap_or(many).max(1.0),
            part: p99,
            is_tail: true,
        };
        let Seen { primary_times, mirror_times, .. } = &evidence.seen;
        let again = self.baseline(evidence).map(|of| Ranks::of(&of.mirror_times));
        let of = Times { primary: Ranks::of(primary_times), mirror: Ranks::of(mirror_times), again };
        [tail, median].iter().map(|rule| self.times(evidence, &of, rule)).collect()
    }

    fn times(&self, evidence: &Evidence, of: &Times<'_>, rule: &Rule) -> Ruling {
        let Times { primary, mirror, .. } = of;
        let samples = primary.count().min(mirror.count());
        let least = if rule.is_tail { P99_SAMPLES } else { 0 } * u64::from(evidence.copies.max(1));
        let single = self.part(evidence, rule.part);
        let chance = single.of_groups(rule.together);
        // A copy may take longer for what it is: then v1's own does so too.
        let enough = self.samples_min(evidence).max(least);
        let again = of.again.as_ref().filter(|again| again.count() >= enough);
        let figure = |of: &Ranks<'_>| of.quantile(rule.quantile);
        let wanted = again.map_or(0.0, figure).max(figure(primary));
        let all = times_as_large(figure(mirror), wanted);
        // Within the slack a time is as good, however many times as long.
        let is_as_good = figure(mirror) - wanted <= self.slack_us();
        let judged = if is_as_good { all.min(rule.most) } else { all };
        // Each of the two quantiles may be missed; tails or pairs have the rest of the chance.
        let further = if rule.is_tail { OF_TAILS } else { OF_PAIRS };
        let half = chance.part((1.0 - further) / 2.0);
        let bounds = || {
            let between = Between::of(rule.quantile, mirror.count(), half);
            let of = |times: &Ranks<'_>| between.estimate(times);
            let (primary, mirror) = (of(primary), of(mirror));
            let wanted = match again.map(of) {
                Some(again) if again.figure > primary.figure => again,
                Some(again) => Estimate { high: primary.high.max(again.high), ..primary },
                None => primary,
            };
            (mirror, wanted)
        };
        let is_refuted = || {
            let (mirror, wanted) = bounds();
            let is_surely_longer =
                ratio(mirror, wanted).low > rule.most && mirror.low - wanted.high > self.slack_us();
            let further = if rule.is_tail {
                let each = chance.part(OF_TAILS / TAIL_LEVELS as f64);
                let apart = self.tails(of, again, rule, each.part(1.0 - OF_CLUSTERS));
                let single = single.part(OF_TAILS / TAIL_LEVELS as f64).part(OF_CLUSTERS);
                apart
                    .into_iter()
                    .chain(self.tails_in_pairs(evidence, rule, again.is_some(), single))
                    .reduce(f64::min)
            } else {
                self.in_pairs(evidence, rule, again.is_some(), chance.part(OF_PAIRS))
            };
            match further {
                // The quantiles are known to lie apart, and no more.
                None if is_surely_longer => Some(chance.alpha()),
                further => further,
            }
        };
        let ms = |us: f64| format!("{:.3} ms", us / 1e3);
        let shown = || {
            let mut shown = format!("v1 {}, v2 {}", ms(figure(primary)), ms(figure(mirror)));
            if let Some(again) = again.map(figure) {
                shown.push_str(&format!(", v1 once more {}", ms(again)));
            }
            vec![shown]
        };
        let interval = || {
            let (mirror, wanted) = bounds();
            let Estimate { low, high, .. } = ratio(mirror, wanted);
            [low, high]
        };
        let weighed = Weighed {
            rule: rule.name,
            unit: "ratio",
            figure: (samples > 0).then_some(judged),
            interval: &interval,
            threshold: rule.most,
            refuted: if judged > rule.most { is_refuted() } else { None },
            ceiling: NO_CEILING,
            samples,
            counted: None,
            needed: enough,
            // One hiccup at the start is all that was seen.
            least: self.samples_min(evidence),
            shown: &shown,
        };
        let mut ruling = self.ruling(evidence, weighed);
        if samples > 0 {
            ruling.figure = Some(all);
        }
        if ruling.result == Outcome::Pass && all > rule.most {
            ruling.why = Some(format!("longer by no more than the slack of {:?}", self.policy.slack));
        }
        ruling.unless_chosen(evidence, again.is_some());
        if ruling.result == Outcome::Fail && again.is_none() && self.baseline(evidence).is_some() {
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
    fn tails(&self, of: &Times<'_>, again: Option<&Ranks<'_>>, rule: &Rule, chance: Chance) -> Option<f64> {
        let n = of.mirror.count();
        let at = |level: usize| {
            let us = level_us(level);
            let count = of.mirror.beyond(us * rule.most + self.slack_us());
            if count == 0 {
                return None;
            }
            let mut strengths = vec![net_beyond(count, of.primary.beyond(us), n, 0.0)];
            strengths
                .extend(again.map(|again| more_often((count, n), (again.beyond(us), again.count()), 1.0)));
            chance.refuted(&strengths)
        };
        (0..TAIL_LEVELS).filter_map(at).reduce(f64::min)
    }

    /// The same of pairs: of the requests that are long on one side alone, whether that is v2's more often, clusters counting once. Sides
    /// that are alike are beyond first as often the one as the other, whatever either does by itself.
    fn tails_in_pairs(
        &self,
        evidence: &Evidence,
        rule: &Rule,
        has_again: bool,
        chance: Chance,
    ) -> Option<f64> {
        let chance = chance.of_groups(f64::from(evidence.workers.clamp(1, WORKERS_TOGETHER_MAX)));
        let again = self.baseline(evidence).filter(|_| has_again);
        let n = evidence.seen.primary_times.count();
        let at = |level: usize| {
            let us = level_us(level);
            // A time that v2 may take is not beyond.
            if us * rule.most + self.slack_us() > us * TAIL_TIMES as f64 {
                return None;
            }
            let (mirror, primary) = evidence.seen.tails.at(level);
            let mut strengths = vec![net_beyond(mirror, primary, n, 0.0)];
            strengths.extend(again.map(|again| {
                more_often((mirror, n), (again.tails.at(level).0, again.primary_times.count()), 1.0)
            }));
            (mirror > 0).then(|| chance.refuted(&strengths)).flatten()
        };
        (0..TAIL_LEVELS).filter_map(at).reduce(f64::min)
    }

    /// Whether v2 takes more than so many times as long as v1 for more than half of the requests: each pair is a throw of a coin. And
    /// for more than it is so of v1 once more.
    fn in_pairs(&self, evidence: &Evidence, rule: &Rule, has_again: bool, chance: Chance) -> Option<f64> {
        // A time that is longer by less than the slack is as good; pairs tell how many times as long it is, not by how much.
        let step = ratio_step(rule.most).filter(|_| self.slack_us() <= RATIO_SLACK_US as f64)?;
        let longer = |seen: &Seen| {
            let longer = total(seen.ratios.iter().filter(|(at, _)| *at >= step).map(|(_, n)| n));
            (longer, seen.ratios.count())
        };
        let of = longer(&evidence.seen);
        let mut strengths = vec![half_beyond(of.0, of.1)];
        let again = self.baseline(evidence).filter(|_| has_again).map(longer);
        strengths.extend(again.map(|again| more_often(of, again, 1.0)));
        chance.refuted(&strengths)
    }

    fn slack_us(&self) -> f64 {
        self.policy.slack.as_secs_f64() * 1e6
    }
}
