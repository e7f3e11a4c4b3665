//! Lowers a mirror's share by itself while the mirror fails or slows, its ring fills or the worker is late; raises it again
//! when all is well. Pure: the worker's tick asks once a second and hands in the counters.
//!
//! A share falls by half and rises by a tenth of the configured one: back within ten seconds, and never faster than a mirror
//! that has just recovered can show that it did. Each worker governs by its own counters. A new configuration goes on from the
//! one before it: another percent is lowered by as much as the last one was.

use std::cell::Cell;
use std::time::Duration;

use config::Percent;

use crate::limits::GOVERNOR_RING_PERCENT;
use crate::metrics::{Class, DropReason, Label, LowerReason, MirrorCounters};

/// A mirror's governor on one worker.
#[derive(Debug)]
pub struct Governor {
    settings: config::Governor,
    configured: Percent,
    effective: Cell<Percent>,
    /// `None` before the first look: counters may go on from an earlier configuration.
    last: Cell<Option<Tally>>,
}

/// The counts at the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    /// Copies whose fate is known.
    settled: u64,
    failed: u64,
    /// Copies answered, and the time of their answers together.
    answered: u64,
    answer_us: u64,
    busy_ticks: u64,
}

/// The counts of the last second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    pub settled: u64,
    /// Failed, answered 5xx, or given up because the mirror cannot be reached.
    pub failed: u64,
    pub answer_mean: Option<Duration>,
    /// How full the ring is, by entries or bytes.
    pub ring_percent: u64,
    pub worker_busy: bool,
}

impl Governor {
    pub fn new(settings: &config::Governor, configured: Percent) -> Self {
        Self {
            settings: settings.clone(),
            configured,
            effective: Cell::new(configured),
            last: Cell::default(),
        }
    }

    /// A governor with other settings that goes on from here: its share is lowered as far as this one's is.
    #[must_use]
    pub fn go_on(&self, settings: &config::Governor, configured: Percent) -> Self {
        let [now, of] = [self.effective.get(), self.configured].map(|share| u64::from(share.per_million));
        let scaled = match (u64::from(configured.per_million) * now).checked_div(of) {
            // At most `configured`, as `now` is at most `of`; and never nothing, of which nothing could rise.
            Some(share) => u32::try_from(share).unwrap_or(u32::MAX).max(1).min(configured.per_million),
            None => configured.per_million,
        };
        Self {
            settings: settings.clone(),
            configured,
            effective: Cell::new(Percent { per_million: scaled }),
            last: Cell::new(self.last.get()),
        }
    }

    /// Whether it governs by these.
    pub fn is_of(&self, settings: &config::Governor, configured: Percent) -> bool {
        self.settings == *settings && self.configured == configured
    }

    /// The share that holds now.
    pub fn effective(&self) -> Percent {
        self.effective.get()
    }

    /// Decides the share for the next second, and counts it if it fell. `busy_ticks` counts the worker's late ticks.
    pub fn look(&self, counters: &MirrorCounters, ring_percent: u64, busy_ticks: u64) {
        let unreachable = counters.dropped.get(DropReason::Unreachable);
        let answered = Class::ALL.iter().map(|class| counters.completed.get(*class)).sum::<u64>();
        let failed = counters.failed.sum() + unreachable;
        let now = Tally {
            settled: answered + failed,
            failed: failed + counters.completed.get(Class::C5),
            answered,
            answer_us: counters.latency.sum(),
            busy_ticks,
        };
        let Some(last) = self.last.replace(Some(now)) else { return };
        let since = |read: fn(&Tally) -> u64| read(&now).saturating_sub(read(&last));
        let answer_us = since(|t| t.answer_us);
        let look = Look {
            settled: since(|t| t.settled),
            failed: since(|t| t.failed),
            answer_mean: answer_us.checked_div(since(|t| t.answered)).map(Duration::from_micros),
            ring_percent,
            worker_busy: since(|t| t.busy_ticks) > 0,
        };
        let (share, lowered) = decide(&self.settings, self.configured, self.effective.get(), &look);
        self.effective.set(share);
        counters.share.set(share.per_million.into());
        counters.governed.set(share.per_million.into());
        if let Some(why) = lowered {
            counters.lowered.inc(why);
        }
    }
}

/// The share that follows `effective`, and why it is lower, if it is. A share that stands at its least is not counted again.
fn decide(
    settings: &config::Governor,
    configured: Percent,
    effective: Percent,
    look: &Look,
) -> (Percent, Option<LowerReason>) {
    let part = |of: Percent, part: u64| {
        // At most `of` where `part` is at most a million, so the cast loses nothing.
        (u64::from(of.per_million) * part / u64::from(Percent::ALL.per_million)) as u32
    };
    let Some(why) = trouble(settings, look) else {
        let raised = effective.per_million.saturating_add(part(configured, 100_000).max(1));
        return (Percent { per_million: raised.min(configured.per_million) }, None);
    };
    let least = part(configured, settings.least.per_million.into()).max(1).min(configured.per_million);
    let share = Percent { per_million: (effective.per_million / 2).max(least) };
    (share, (share.per_million < effective.per_million).then_some(why))
}

/// The reason to lower the share: the worker's own trouble first, for it is the primary's too.
fn trouble(settings: &config::Governor, look: &Look) -> Option<LowerReason> {
    let failures_max = u128::from(settings.failures_max.per_million);
    let failed = u128::from(look.failed) * u128::from(Percent::ALL.per_million);
    if look.worker_busy {
        Some(LowerReason::WorkerBusy)
    } else if look.ring_percent > GOVERNOR_RING_PERCENT {
        Some(LowerReason::Ring)
    } else if failed > u128::from(look.settled) * failures_max {
        Some(LowerReason::Failures)
    } else if settings.slower_than.is_some_and(|max| look.answer_mean.is_some_and(|mean| mean > max)) {
        Some(LowerReason::Slow)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURED: Percent = Percent { per_million: 500_000 };
    const WELL: Look =
        Look { settled: 100, failed: 0, answer_mean: None, ring_percent: 0, worker_busy: false };

    fn settings() -> config::Governor {
        config::Governor {
            failures_max: Percent { per_million: 100_000 },
            slower_than: Some(Duration::from_millis(50)),
            least: Percent { per_million: 10_000 },
        }
    }

    #[test]
    fn a_share_falls_for_each_kind_of_trouble_and_for_none_that_is_not_there() {
        let mean = |ms| Some(Duration::from_millis(ms));
        let rows = [
            (WELL, None),
            (Look { failed: 10, ..WELL }, None),
            (Look { failed: 11, ..WELL }, Some(LowerReason::Failures)),
            (Look { settled: 0, ..WELL }, None),
            (Look { answer_mean: mean(50), ..WELL }, None),
            (Look { answer_mean: mean(51), ..WELL }, Some(LowerReason::Slow)),
            (Look { ring_percent: GOVERNOR_RING_PERCENT, ..WELL }, None),
            (Look { ring_percent: GOVERNOR_RING_PERCENT + 1, ..WELL }, Some(LowerReason::Ring)),
            (Look { worker_busy: true, failed: 100, ..WELL }, Some(LowerReason::WorkerBusy)),
        ];
        for (look, why) in rows {
            let (share, lowered) = decide(&settings(), CONFIGURED, CONFIGURED, &look);
            let expect = if why.is_some() { 250_000 } else { 500_000 };
            assert_eq!((share.per_million, lowered), (expect, why), "{look:?}");
        }
        let patient = config::Governor { slower_than: None, ..settings() };
        let slow = Look { answer_mean: mean(60_000), ..WELL };
        assert_eq!(decide(&patient, CONFIGURED, CONFIGURED, &slow).1, None);
    }

    #[test]
    fn it_falls_by_halves_to_its_least_and_rises_by_tenths_to_what_is_configured() {
        let mut share = CONFIGURED;
        let mut step = |look: &Look| {
            let (next, why) = decide(&settings(), CONFIGURED, share, look);
            share = next;
            (share.per_million, why.is_some())
        };
        let bad = Look { failed: 100, ..WELL };
        let falling: Vec<_> = (0..8).map(|_| step(&bad)).collect();
        let expect = [250_000, 125_000, 62_500, 31_250, 15_625, 7_812, 5_000, 5_000];
        let expect: Vec<_> =
            expect.into_iter().zip([true, true, true, true, true, true, true, false]).collect();
        assert_eq!(falling, expect);
        let rising: Vec<_> = (0..11).map(|_| step(&WELL).0).collect();
        assert_eq!((rising[0], rising[1], rising[8]), (55_000, 105_000, 455_000));
        assert_eq!((rising[9], rising[10]), (500_000, 500_000));
    }

    #[test]
    fn even_the_smallest_share_neither_vanishes_nor_sticks() {
        let one = Percent { per_million: 1 };
        let bad = Look { failed: 100, ..WELL };
        assert_eq!(decide(&settings(), one, one, &bad), (one, None));
        let three = Percent { per_million: 3 };
        assert_eq!(decide(&settings(), three, one, &WELL).0.per_million, 2);
        let none = Percent::NONE;
        assert_eq!(decide(&settings(), none, none, &bad), (none, None));
        assert_eq!(decide(&settings(), none, none, &WELL), (none, None));
    }

    #[test]
    fn another_percent_is_lowered_by_as_much_as_the_last_one_was() {
        let rows =
            [(500_000, 125_000, 100_000, 25_000), (500_000, 1, 100_000, 1), (0, 0, 9, 9), (9, 9, 0, 0)];
        for (configured, effective, next, expect) in rows {
            let [configured, effective, next] =
                [configured, effective, next].map(|per_million| Percent { per_million });
            let governor = Governor::new(&settings(), configured);
            governor.effective.set(effective);
            assert_eq!(governor.go_on(&settings(), next).effective().per_million, expect, "{configured:?}");
        }
    }

    #[test]
    fn it_governs_by_these_settings_and_this_share_and_no_other() {
        let governor = Governor::new(&settings(), CONFIGURED);
        let others = config::Governor { slower_than: None, ..settings() };
        assert!(governor.is_of(&settings(), CONFIGURED));
        assert!(!governor.is_of(&others, CONFIGURED) && !governor.is_of(&settings(), Percent::ALL));
        assert!(!governor.is_of(&others, Percent::ALL));
    }

    #[test]
    fn copies_that_were_not_answered_are_a_part_of_all() {
        let counters = MirrorCounters::default();
        let governor = Governor::new(&settings(), CONFIGURED);
        governor.look(&counters, 0, 0);
        (0..90).for_each(|_| counters.completed.inc(Class::C2));
        (0..10).for_each(|_| counters.dropped.inc(DropReason::Unreachable));
        governor.look(&counters, 0, 0);
        assert_eq!(governor.effective(), CONFIGURED, "ten of a hundred are as many as may be");
    }

    #[test]
    fn it_looks_at_the_last_second_alone() {
        let counters = MirrorCounters::default();
        let governor = Governor::new(&settings(), CONFIGURED);
        (0..5).for_each(|_| counters.completed.inc(Class::C5));
        governor.look(&counters, 0, 0);
        assert_eq!(governor.effective(), CONFIGURED, "what was before it is not its own");
        (0..5).for_each(|_| counters.completed.inc(Class::C5));
        governor.look(&counters, 0, 0);
        assert_eq!((governor.effective().per_million, counters.share.get()), (250_000, 250_000));
        assert_eq!(counters.lowered.get(LowerReason::Failures), 1);
        (0..5).for_each(|_| counters.completed.inc(Class::C2));
        (0..5).for_each(|_| counters.latency.record(49_000));
        governor.look(&counters, 0, 0);
        assert_eq!(governor.effective().per_million, 300_000);
        counters.dropped.inc(DropReason::Unreachable);
        governor.look(&counters, 0, 0);
        governor.look(&counters, 0, 1);
        assert_eq!(governor.effective().per_million, 75_000);
        governor.look(&counters, 0, 1);
        assert_eq!(governor.effective().per_million, 125_000);
        assert_eq!(
            (counters.lowered.get(LowerReason::Failures), counters.lowered.get(LowerReason::WorkerBusy)),
            (2, 1)
        );
    }
}
