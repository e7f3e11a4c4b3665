//! How a mirror differs from itself: its figures before a remembered moment, beside those since. A leak, a cache that fills, or
//! a pool that runs dry shows here though v1 is no better. Drift is told and decides nothing: the other rules compare the
//! mirror with v1. Pure.

use config::Policy;
use serde::Serialize;

use super::evidence::{Evidence, Seen, Window, is_mirrors_error, is_primarys_error};
use super::sequential::{Chance, Ranks, more_often, quantile, ratio, share_figure, times_as_large};
use super::threshold::of_percent;
use crate::metrics::Slots;

/// Failures and slow requests come in bursts: so many tell no more than one.
const TOGETHER: f64 = 4.0;

/// Pairs without which neither side of a moment tells anything.
const PAIRS_MIN: u64 = 300;

/// The quantiles that are tested; each of them, and the errors, has this part of the chance.
const QUANTILES: [(&str, f64); 2] = [("p50", 0.5), ("p99", 0.99)];
const PART: f64 = 1.0 / 3.0;

/// A change in a mirror's own figures since a moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drift {
    pub route: String,
    /// `errors`, a share of its responses; `p50` or `p99`, microseconds.
    pub what: &'static str,
    /// As RFC 3339 has it, give or take so many seconds.
    pub since: String,
    pub within: f64,
    /// The mirror's figures, and v1's.
    pub before: f64,
    pub after: f64,
    pub primary_before: f64,
    pub primary_after: f64,
    /// How likely as much would ever show of a mirror that stays as it is.
    pub chance: f64,
}

/// The surest moment of each figure. `chance`: how often any may show by chance.
pub(super) fn drift(policy: &Policy, chance: Chance, of: &Evidence) -> Vec<Drift> {
    let mut found: Vec<Drift> = Vec::new();
    let windows: Vec<Halves<'_>> = of.windows.iter().filter_map(|window| Halves::of(of, window)).collect();
    for halves in &windows {
        let n = f64::from(halves.window.number.max(1));
        let chance = chance.part(PART / (n * (n + 1.0))).of_groups(TOGETHER);
        for drift in halves.errors(policy, chance).into_iter().chain(halves.times(policy, chance)) {
            match found.iter_mut().find(|known| known.what == drift.what) {
                Some(known) if drift.chance < known.chance => *known = drift,
                Some(_) => {}
                None => found.push(drift),
            }
        }
    }
    found
}

/// The figures before a moment, and since.
struct Halves<'a> {
    route: &'a str,
    window: &'a Window,
    before: [(u64, u64); 2],
    after: [(u64, u64); 2],
    /// v1's and the mirror's.
    times_before: [Slots; 2],
    times_after: [&'a Slots; 2],
}

impl<'a> Halves<'a> {
    fn of(of: &'a Evidence, window: &'a Window) -> Option<Self> {
        let since = &window.evidence.seen;
        let errors = |seen: &Seen| {
            [is_primarys_error, is_mirrors_error].map(|is_like| (seen.cells(is_like), seen.pairs()))
        };
        let (all, after) = (errors(&of.seen), errors(since));
        let mut before = all;
        for ((k, n), (late, of)) in before.iter_mut().zip(after) {
            (*k, *n) = (k.saturating_sub(late), n.saturating_sub(of));
        }
        if before[0].1.min(after[0].1) < PAIRS_MIN {
            return None;
        }
        Some(Self {
            route: &of.route,
            window,
            before,
            after,
            times_before: [
                of.seen.primary_times.since(&since.primary_times),
                of.seen.mirror_times.since(&since.mirror_times),
            ],
            times_after: [&since.primary_times, &since.mirror_times],
        })
    }

    fn drift(&self, what: &'static str, primary: [f64; 2], mirror: [f64; 2], chance: f64) -> Drift {
        Drift {
            route: self.route.to_owned(),
            what,
            since: self.window.since.clone(),
            within: self.window.within,
            before: mirror[0],
            after: mirror[1],
            primary_before: primary[0],
            primary_after: primary[1],
            chance,
        }
    }

    /// Where the mirror fails more, and by more than v1 does.
    fn errors(&self, policy: &Policy, chance: Chance) -> Option<Drift> {
        let [primary, mirror] = [0, 1].map(|side| {
            let share = |of: &[(u64, u64); 2]| share_figure(of[side].0, of[side].1);
            [share(&self.before), share(&self.after)]
        });
        let more = |of: [f64; 2]| of[1] - of[0];
        let strength = more_often(self.after[1], self.before[1], 1.0);
        let is_so = more(mirror) - more(primary).max(0.0) > of_percent(policy.errors_max);
        (is_so && chance.is_met(strength))
            .then(|| self.drift("errors", primary, mirror, chance.unlikely(strength)))
    }

    /// Where the mirror is slower, and by a larger factor than v1 is.
    fn times(&self, policy: &Policy, chance: Chance) -> Vec<Drift> {
        let [ours, theirs] =
            [0, 1].map(|side| [Ranks::of(&self.times_before[side]), Ranks::of(self.times_after[side])]);
        if theirs.iter().any(|of| of.count() < PAIRS_MIN) {
            return Vec::new();
        }
        let slack_us = policy.slack.as_secs_f64() * 1e6;
        let one = |(what, at): &(&'static str, f64)| {
            let figures = |of: &[Ranks<'_>; 2]| of.each_ref().map(|half| half.quantile(*at));
            let (primary, mirror) = (figures(&ours), figures(&theirs));
            let most = if *at < 0.9 { policy.p50_ratio_max } else { policy.p99_ratio_max };
            let own = times_as_large(mirror[1], mirror[0]);
            let beside = times_as_large(primary[1], primary[0]).max(1.0);
            if own <= most * beside || mirror[1] - mirror[0] <= slack_us {
                return None;
            }
            let half = chance.part(0.5);
            let [before, after] = theirs.each_ref().map(|times| quantile(times, *at, half));
            (ratio(after, before).low > beside).then(|| self.drift(what, primary, mirror, chance.alpha()))
        };
        QUANTILES.iter().filter_map(one).collect()
    }
}
