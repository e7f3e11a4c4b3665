//! Whether mirroring itself changes the responses of v1 to clients: requests that were copied, beside those that chance left
//! out. Pure.
//!
//! Each request is drawn by itself, with a known share. Where copying changes nothing, whether a failed or slow request had
//! been drawn is a toss of a coin with the odds of that share, however such requests came in bursts: so nothing has to be known
//! of v1, and every look is as good.

use serde::Serialize;

use super::said::changed;
use super::sequential::{Chance, Ranks, share_beyond, share_figure};
use crate::metrics::Slots;

/// Times of which it is asked how many are longer, in microseconds: from 1 ms on each twice the one before.
const LEVELS: u32 = 13;
const LEAST_LEVEL_US: f64 = 1_000.0;

/// How much of the chance each question has: failures, refusals, times.
const PARTS: [f64; 3] = [0.35, 0.35, 0.3];

/// The clients' figures on one route, by arm.
#[derive(Debug, Default)]
pub struct Trial {
    pub route: String,
    pub mirror: String,
    /// Of its requests those that are drawn.
    pub share: f64,
    pub copied: Got,
    pub spared: Got,
}

/// The clients' figures of one arm.
#[derive(Debug, Default)]
pub struct Got {
    pub requests: u64,
    /// 4xx.
    pub refused: u64,
    /// 5xx.
    pub failed: u64,
    /// Microseconds.
    pub times: Slots,
}

/// The findings on one route.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mirroring {
    pub route: String,
    pub copied: Arm,
    pub uncopied: Arm,
    /// Effects beyond chance; the surest first.
    pub effects: Vec<Effect>,
    /// The first of them as a person would say it.
    pub said: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Arm {
    pub requests: u64,
    pub status_4xx: u64,
    pub status_5xx: u64,
    pub p50_seconds: Option<f64>,
    pub p99_seconds: Option<f64>,
}

/// An outcome that copied requests have more often than others, or less.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Effect {
    /// `5xx`, `4xx`, or `slow`.
    pub what: &'static str,
    /// Where it is slow: longer than so many seconds.
    pub longer_than: Option<f64>,
    /// Shares of the requests of either arm.
    pub copied: f64,
    pub uncopied: f64,
    /// How likely as much would ever show where copying changes nothing.
    pub chance: f64,
}

/// The findings of each trial. The chance that any shows an effect where there is none, at any look, is `alpha`.
pub fn mirroring(trials: &[Trial], alpha: f64) -> Vec<(String, Mirroring)> {
    let chance = Chance::of(alpha).part(1.0 / trials.len().max(1) as f64);
    trials.iter().map(|trial| (trial.mirror.clone(), trial.told(chance))).collect()
}

impl Trial {
    fn told(&self, chance: Chance) -> Mirroring {
        let (copied, spared) = (Ranks::of(&self.copied.times), Ranks::of(&self.spared.times));
        let [failed, refused, slow] = PARTS.map(|part| chance.part(part));
        let of = |what, chance, counts| self.effect(what, None, chance, counts);
        let slower = |level: u32| {
            let us = LEAST_LEVEL_US * f64::from(1_u32 << level);
            let counts = (copied.beyond(us), spared.beyond(us));
            self.effect("slow", Some(us / 1e6), slow.part(1.0 / f64::from(LEVELS)), counts)
        };
        let surest = (0..LEVELS).filter_map(slower).reduce(|a, b| if b.chance < a.chance { b } else { a });
        let mut effects: Vec<Effect> = [
            of("5xx", failed, (self.copied.failed, self.spared.failed)),
            of("4xx", refused, (self.copied.refused, self.spared.refused)),
            surest,
        ]
        .into_iter()
        .flatten()
        .collect();
        effects.sort_by(|a, b| a.chance.total_cmp(&b.chance));
        let arm = |got: &Got, times: &Ranks<'_>| {
            let at = |quantile: f64| (times.count() > 0).then(|| times.quantile(quantile) / 1e6);
            Arm {
                requests: got.requests,
                status_4xx: got.refused,
                status_5xx: got.failed,
                p50_seconds: at(0.5),
                p99_seconds: at(0.99),
            }
        };
        let mut told = Mirroring {
            route: self.route.clone(),
            copied: arm(&self.copied, &copied),
            uncopied: arm(&self.spared, &spared),
            effects,
            said: None,
        };
        told.said = changed(&self.mirror, &told);
        told
    }

    /// `(copied, spared)`: of either arm those of which it is so.
    fn effect(
        &self,
        what: &'static str,
        longer_than: Option<f64>,
        chance: Chance,
        (copied, spared): (u64, u64),
    ) -> Option<Effect> {
        // Either may be the more.
        let chance = chance.part(0.5);
        let both = copied.saturating_add(spared);
        let more = share_beyond(copied, both, self.share);
        let strength = more.max(share_beyond(spared, both, 1.0 - self.share));
        chance.is_met(strength).then(|| Effect {
            what,
            longer_than,
            copied: share_figure(copied, self.copied.requests),
            uncopied: share_figure(spared, self.spared.requests),
            chance: chance.unlikely(strength),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Histogram;

    struct Service {
        failed: [f64; 2],
        refused: [f64; 2],
        slower_us: [u64; 2],
    }

    /// A trial that draws one request in ten, looked at ten times.
    fn shown(rng: &mut fastrand::Rng, of: &Service) -> Vec<&'static str> {
        let (mut arms, times) =
            ([Got::default(), Got::default()], [Histogram::default(), Histogram::default()]);
        let mut stall = 0;
        for _ in 0..10 {
            for _ in 0..1_500 {
                let arm = usize::from(rng.f64() >= 0.1);
                // v1 fails and stalls in bursts of its own.
                if rng.f64() < 0.002 {
                    stall = rng.u32(1..=40);
                }
                stall = stall.saturating_sub(1);
                let got = &mut arms[arm];
                got.requests += 1;
                got.failed += u64::from(rng.f64() < of.failed[arm] || stall > 20);
                got.refused += u64::from(rng.f64() < of.refused[arm]);
                let time = 3_000.0 * (1.0 - (1.0 - rng.f64()).ln()) + f64::from(stall) * 1_000.0;
                times[arm].record(time as u64 + of.slower_us[arm]);
            }
            let [mut copied, mut spared] = std::mem::take(&mut arms);
            (copied.times, spared.times) = (Slots::of([&times[0]]), Slots::of([&times[1]]));
            let trial = Trial { route: "shop".into(), mirror: "v2".into(), share: 0.1, copied, spared };
            let (_, told) = mirroring(std::slice::from_ref(&trial), 0.05).remove(0);
            if !told.effects.is_empty() {
                return told.effects.iter().map(|effect| effect.what).collect();
            }
            arms = [trial.copied, trial.spared];
        }
        Vec::new()
    }

    #[test]
    fn copying_that_changes_nothing_shows_nothing_whatever_v1_does_by_itself() {
        let mut rng = fastrand::Rng::with_seed(29);
        let nothing = Service { failed: [0.01; 2], refused: [0.05; 2], slower_us: [0; 2] };
        let shown = (0..100).filter(|_| !shown(&mut rng, &nothing).is_empty()).count();
        assert!(shown <= 5, "{shown} of 100");
    }

    #[test]
    fn clients_who_get_404_or_503_or_wait_for_being_copied_are_seen() {
        let mut rng = fastrand::Rng::with_seed(31);
        let none = || Service { failed: [0.01; 2], refused: [0.05; 2], slower_us: [0; 2] };
        let rows = [
            ("5xx", Service { failed: [0.08, 0.01], ..none() }),
            ("4xx", Service { refused: [0.2, 0.05], ..none() }),
            ("slow", Service { slower_us: [2_000, 0], ..none() }),
            ("slow", Service { slower_us: [0, 2_000], ..none() }),
        ];
        for (what, of) in rows {
            assert!(shown(&mut rng, &of).contains(&what), "{what}");
        }
    }
}
