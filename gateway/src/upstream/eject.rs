//! Who keeps failing gets nothing for a while: one endpoint's record on one worker. Pure; time is handed in.

use config::Ejection;

/// How an exchange with an endpoint ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    Status(u16),
    /// It gave no answer.
    Failed,
}

/// One endpoint's record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Record {
    /// Answers of 5xx, and none at all, in a row.
    errors: u32,
    /// Answers of 502, 503 and 504, and none at all, in a row.
    gateway_errors: u32,
    /// How often it was ejected lately.
    times: u32,
    ejected_until_ms: Option<u64>,
}

/// Longer than this nobody is ejected at once, however often it failed (Envoy's `max_ejection_time`).
const EJECTED_MS_MAX: u64 = 300_000;

impl Record {
    pub fn is_ejected(&self) -> bool {
        self.ejected_until_ms.is_some()
    }

    /// Notes an end; says whether the endpoint has earned its ejection.
    pub fn note(&mut self, rules: &Ejection, report: Report) -> bool {
        let (error, gateway_error) = match report {
            Report::Status(status) => (status >= 500, matches!(status, 502..=504)),
            Report::Failed => (true, true),
        };
        self.errors = if error { self.errors.saturating_add(1) } else { 0 };
        self.gateway_errors = if gateway_error { self.gateway_errors.saturating_add(1) } else { 0 };
        let reached = |limit: u32, count: u32| limit > 0 && count >= limit;
        !self.is_ejected()
            && (reached(rules.consecutive_5xx, self.errors)
                || reached(rules.consecutive_gateway_errors, self.gateway_errors))
    }

    /// Ejects it: each time longer.
    pub fn eject(&mut self, rules: &Ejection, now_ms: u64) {
        self.times = self.times.saturating_add(1);
        let once = u64::try_from(rules.time.as_millis()).unwrap_or(u64::MAX);
        let ms = once.saturating_mul(u64::from(self.times)).min(EJECTED_MS_MAX.max(once));
        (self.errors, self.gateway_errors) = (0, 0);
        self.ejected_until_ms = Some(now_ms.saturating_add(ms));
    }

    /// One look at who may come back. A look that finds it in place forgives one ejection.
    pub fn look(&mut self, now_ms: u64) {
        match self.ejected_until_ms {
            Some(until) if until <= now_ms => self.ejected_until_ms = None,
            Some(_) => {}
            None => self.times = self.times.saturating_sub(1),
        }
    }
}

/// Whether one more of `endpoints` may be ejected where `ejected` are.
pub fn may_eject(rules: &Ejection, endpoints: usize, ejected: usize) -> bool {
    let most = endpoints as u64 * u64::from(rules.share_max.per_million) / 1_000_000;
    (ejected as u64) < most.max(1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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

    #[test]
    fn errors_in_a_row_count_and_a_success_forgets_them() {
        let (mut record, rules) = (Record::default(), rules(3, 0));
        let told: Vec<bool> = [500, 503, 200, 500, 501, 502]
            .into_iter()
            .map(|status| record.note(&rules, Report::Status(status)))
            .collect();
        assert_eq!(told, [false, false, false, false, false, true]);
        let mut gateway = Record::default();
        let rules = self::rules(0, 2);
        assert!(!gateway.note(&rules, Report::Status(500)) && !gateway.note(&rules, Report::Status(500)));
        assert!(!gateway.note(&rules, Report::Failed) && gateway.note(&rules, Report::Status(504)));
    }

    #[test]
    fn each_ejection_is_longer_and_time_in_place_is_forgiven() {
        let (mut record, rules) = (Record::default(), rules(1, 0));
        let mut now = 0;
        let mut back = |record: &mut Record, ms: u64| {
            record.eject(&rules, now);
            record.look(now + ms - 1);
            assert!(record.is_ejected(), "{ms}");
            now += ms;
            record.look(now);
            assert!(!record.is_ejected(), "{ms}");
        };
        back(&mut record, 30_000);
        back(&mut record, 60_000);
        back(&mut record, 90_000);
        (0..3).for_each(|_| record.look(u64::MAX));
        back(&mut record, 30_000);
        (0..20).for_each(|_| record.eject(&rules, 0));
        record.look(EJECTED_MS_MAX);
        assert!(!record.is_ejected(), "nobody is ejected for longer");
    }

    #[test]
    fn a_share_of_the_endpoints_may_be_ejected_and_always_one() {
        let rules = rules(1, 0);
        assert!(may_eject(&rules, 1, 0) && !may_eject(&rules, 1, 1));
        assert!(may_eject(&rules, 20, 1) && !may_eject(&rules, 20, 2));
    }
}
