//! Outlier detection: an endpoint that keeps failing exchanges gets none for a while. Pure; time is handed in.
//!
//! Each worker judges by the exchanges it sees itself. Where an ejected endpoint's exchanges go is the balance's
//! business.

use std::cell::Cell;
use std::time::Duration;

use config::Ejection;

use crate::limits::EJECTION_MAX;

/// An exchange's observation of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// The endpoint responded with this status.
    Status(u16),
    /// No answer, or none that we accept: refused, reset, late, malformed.
    Failed,
}

/// A worker's memory of an endpoint.
#[derive(Debug, Default)]
pub struct Record {
    in_a_row_5xx: Cell<u32>,
    in_a_row_gateway_errors: Cell<u32>,
    /// How often it was ejected, less once for each look at which it was not.
    ejections: Cell<u32>,
    back_at_ms: Cell<Option<u64>>,
}

impl Record {
    pub fn is_ejected(&self) -> bool {
        self.back_at_ms.get().is_some()
    }

    /// Counts a report; whether that is too much. Reports on an ejected endpoint are not counted.
    pub fn note(&self, rules: &Ejection, seen: Report) -> bool {
        if self.is_ejected() {
            return false;
        }
        let (is_5xx, is_gateway_error) = match seen {
            Report::Status(status) => (status >= 500, matches!(status, 502..=504)),
            Report::Failed => (true, true),
        };
        let too_many = |count: &Cell<u32>, again: bool, max: u32| {
            count.set(if again { count.get().saturating_add(1) } else { 0 });
            max > 0 && count.get() >= max
        };
        // Both count, whatever the result of the first.
        let too_many_5xx = too_many(&self.in_a_row_5xx, is_5xx, rules.consecutive_5xx);
        let too_many_gateway_errors =
            too_many(&self.in_a_row_gateway_errors, is_gateway_error, rules.consecutive_gateway_errors);
        too_many_5xx || too_many_gateway_errors
    }

    /// Out, for longer each time.
    pub fn eject(&self, rules: &Ejection, now_ms: u64) {
        let ejections = self.ejections.get().saturating_add(1);
        self.ejections.set(ejections);
        let time = rules.time.saturating_mul(ejections).min(rules.time.max(EJECTION_MAX));
        self.back_at_ms.set(Some(now_ms.saturating_add(millis(time))));
    }

    /// The look every `interval`: says whether its time is over, and it is back.
    pub fn look(&self, now_ms: u64) -> bool {
        match self.back_at_ms.get() {
            Some(at) if at <= now_ms => self.come_back(),
            Some(_) => false,
            None => {
                self.ejections.set(self.ejections.get().saturating_sub(1));
                false
            }
        }
    }

    /// Back with a clean record; says whether it was out.
    pub fn come_back(&self) -> bool {
        self.in_a_row_5xx.set(0);
        self.in_a_row_gateway_errors.set(0);
        self.back_at_ms.take().is_some()
    }
}

/// Whether one more of `endpoints` may be ejected beside the `ejected`. One always may.
pub fn may_eject(rules: &Ejection, ejected: usize, endpoints: usize) -> bool {
    let share = u128::from(rules.share_max.per_million);
    ejected == 0 || (ejected as u128 + 1) * 1_000_000 <= endpoints as u128 * share
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use config::Percent;

    use super::*;

    fn rules(consecutive_5xx: u32, consecutive_gateway_errors: u32) -> Ejection {
        Ejection {
            consecutive_5xx,
            consecutive_gateway_errors,
            interval: Duration::from_secs(10),
            time: Duration::from_secs(30),
            share_max: Percent { per_million: 100_000 },
        }
    }

    /// The report, counted from 1, that is too much.
    fn too_much_at(rules: &Ejection, seen: &[Report]) -> Option<usize> {
        let record = Record::default();
        seen.iter().position(|s| record.note(rules, *s)).map(|at| at + 1)
    }

    #[test]
    fn failures_in_a_row_are_too_much_and_one_success_begins_anew() {
        use Report::{Failed, Status};
        let rows: [(&Ejection, &[Report], Option<usize>); 8] = [
            (&rules(3, 0), &[Status(500), Status(503), Failed], Some(3)),
            (&rules(3, 0), &[Status(500), Failed, Status(200), Failed, Failed], None),
            (&rules(3, 0), &[Status(500), Failed, Status(499), Failed, Failed, Failed], Some(6)),
            (&rules(0, 2), &[Status(500), Status(500), Status(500)], None),
            (&rules(0, 2), &[Status(502), Status(500), Status(503), Status(504)], Some(4)),
            (&rules(0, 2), &[Failed, Failed], Some(2)),
            (&rules(3, 2), &[Status(500), Status(502), Status(505)], Some(3)),
            (&rules(0, 0), &[Failed; 100], None),
        ];
        for (rules, seen, expected) in rows {
            assert_eq!(too_much_at(rules, seen), expected, "{seen:?}");
        }
    }

    #[test]
    fn each_ejection_is_longer_and_good_conduct_shortens_the_next() {
        let (rules, record) = (rules(1, 0), Record::default());
        let mut now = 0;
        let mut out_for = || {
            record.eject(&rules, now);
            let from = now;
            while !record.look(now) {
                assert!(record.is_ejected() && now - from < 100_000, "it comes back");
                now += 1_000;
            }
            assert!(!record.is_ejected());
            now - from
        };
        assert_eq!([out_for(), out_for(), out_for()], [30_000, 60_000, 90_000]);
        assert!((0..2).all(|_| !record.look(0)));
        record.eject(&rules, 0);
        assert!(!record.look(59_999) && record.look(60_000), "third time less two looks in good conduct");
        for _ in 0..50 {
            record.eject(&rules, 0);
            record.come_back();
        }
        record.eject(&rules, 0);
        assert!(record.look(millis(EJECTION_MAX)), "never longer than that");
    }

    #[test]
    fn whoever_comes_back_has_a_clean_record() {
        let (rules, record) = (rules(3, 0), Record::default());
        assert!(!record.note(&rules, Report::Failed) && !record.note(&rules, Report::Failed));
        assert!(record.note(&rules, Report::Failed));
        record.eject(&rules, 0);
        assert!(!record.note(&rules, Report::Failed), "while it is out nothing counts");
        assert!(record.come_back() && !record.come_back());
        assert!(!record.note(&rules, Report::Failed) && !record.note(&rules, Report::Failed));
    }

    #[test]
    fn no_more_than_the_share_may_be_out_but_always_one() {
        let rules = rules(5, 0);
        for (ejected, endpoints, expected) in
            [(0, 1, true), (0, 2, true), (1, 2, false), (1, 19, false), (1, 20, true), (2, 20, false)]
        {
            assert_eq!(may_eject(&rules, ejected, endpoints), expected, "{ejected} of {endpoints}");
        }
        let all = Ejection { share_max: Percent::ALL, ..rules };
        assert!(may_eject(&all, 1, 2) && !may_eject(&all, 2, 2));
    }
}
