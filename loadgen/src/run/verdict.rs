//! Was it the generator? Judges a finished run from its numbers, strictly. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use super::recorder::Record;
use crate::units;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    Valid,
    /// The generator was the limit.
    Saturated,
    /// The generator was not given the cores that it was ready to use: others took them.
    Busy,
}

impl Verdict {
    /// Its figures say something of the target.
    pub fn is_valid(self) -> bool {
        self == Self::Valid
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::Saturated => "SATURATED",
            Self::Busy => "BUSY",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub verdict: Verdict,
    /// Why it is not VALID.
    pub reasons: Vec<String>,
    /// A caveat for the reader of a valid run.
    pub notes: Vec<String>,
}

/// Less than this share of the schedule sent, and the rate was not the target's doing.
const SENT_SHARE_MIN: f64 = 0.99;
/// More requests than this that found no free connection, and the loop was not open.
const CAP_HIT_SHARE_MAX: f64 = 0.5;
/// A thread busier than this has no time left to be on time.
pub const CPU_SHARE_MAX: f64 = 0.95;
/// A thread that waited longer for a core was late by the machine's other load.
const WAITED_SHARE_MAX: f64 = 0.05;

pub struct Evidence<'a> {
    pub total: &'a Record,
    pub open: bool,
    pub cpu_share_max: f64,
    pub waited_share_max: f64,
    pub lag_max: Duration,
    /// For one request each at a time.
    pub places: usize,
    /// Of those, per connection.
    pub streams: usize,
}

pub fn judge(evidence: &Evidence<'_>) -> Judgement {
    let (total, mut reasons, mut notes) = (evidence.total, Vec::new(), Vec::new());
    let cpu = evidence.cpu_share_max;
    if evidence.open {
        let due = total.due.max(1) as f64;
        let sent = 1.0 - total.count_of(Outcome::Unsent) as f64 / due;
        if sent < SENT_SHARE_MIN {
            reasons.push(format!("only {:.1} % of the scheduled requests were sent", sent * 100.0));
        }
        let caps = total.cap_hits as f64 / due;
        let cap_text = format!(
            "{:.1} % of the requests found all {} {} in use and waited (the wait is in the response time)",
            caps * 100.0,
            evidence.places,
            if evidence.streams > 1 { "streams" } else { "connections" }
        );
        if caps > CAP_HIT_SHARE_MAX {
            reasons.push(cap_text);
        } else if total.cap_hits > 0 {
            notes.push(cap_text);
        }
        let lag_p99 = total.lag.value_at_quantile(0.99);
        let lag_text = format!(
            "the generator was late by {} at p99, {} at most",
            units::show_ns(lag_p99 as f64),
            units::show_ns(total.lag.max() as f64)
        );
        if u128::from(lag_p99) > evidence.lag_max.as_nanos() {
            reasons.push(lag_text);
        } else if lag_p99 > 1_000_000 {
            notes.push(lag_text);
        }
        if cpu > CPU_SHARE_MAX && lag_p99 > 1_000_000 {
            reasons.push(format!("a sending thread used {:.0} % of its core", cpu * 100.0));
        }
    } else {
        notes.push(
            "closed loop: each connection waits for its answer, so a slow target is asked less often; \
             response times hide that waiting"
                .to_string(),
        );
        if cpu > CPU_SHARE_MAX {
            reasons.push(format!("a sending thread used {:.0} % of its core", cpu * 100.0));
        }
    }
    if crate::os::is_debug_build() {
        notes.push("debug build: its processor figures say nothing".to_string());
    }
    let is_busy = evidence.waited_share_max > WAITED_SHARE_MAX;
    let verdict = match (reasons.is_empty(), is_busy) {
        (true, _) => Verdict::Valid,
        (false, false) => Verdict::Saturated,
        (false, true) => Verdict::Busy,
    };
    if verdict == Verdict::Busy {
        let share = evidence.waited_share_max * 100.0;
        let text = "this machine is busy: a sending thread was ready to send and had no core for";
        reasons.insert(0, format!("{text} {share:.0} % of the time"));
    }
    Judgement { verdict, reasons, notes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::outcome::End;
    use crate::run::recorder::Sample;

    fn record(sent: u64, unsent: u64, lag_ns: u64, cap_hits: u64) -> Record {
        let mut record = Record { due: sent + unsent, cap_hits, ..Default::default() };
        for n in 0..sent + unsent {
            let outcome = if n < sent { Outcome::Ok } else { Outcome::Unsent };
            record.add(Sample {
                intended_ns: 0,
                started_ns: 0,
                ended_ns: 1000,
                kind: None,
                end: End::new(outcome, 0),
            });
            record.lag.saturating_record(lag_ns);
        }
        record
    }

    fn judged(total: &Record, open: bool, cpu_share_max: f64, waited_share_max: f64) -> Judgement {
        let lag_max = Duration::from_millis(5);
        judge(&Evidence { total, open, cpu_share_max, waited_share_max, lag_max, places: 1, streams: 1 })
    }

    fn verdict(total: &Record, open: bool, cpu_share_max: f64) -> Verdict {
        judged(total, open, cpu_share_max, 0.01).verdict
    }

    #[test]
    fn who_was_not_given_a_core_says_so_and_is_not_called_saturated() {
        let late = judged(&record(1000, 0, 6_000_000, 0), true, 0.5, 0.3);
        assert_eq!(late.verdict, Verdict::Busy);
        assert!(late.reasons[0].contains("this machine is busy") && late.reasons[0].contains("30 %"));
        assert!(late.reasons[1].contains("was late by 6"), "{:?}", late.reasons);
        // The load had no effect.
        assert_eq!(judged(&record(1000, 0, 1000, 0), true, 0.5, 0.3).verdict, Verdict::Valid);
    }

    #[test]
    fn each_way_of_being_the_bottleneck_is_called_saturated() {
        assert_eq!(verdict(&record(1000, 0, 1000, 0), true, 0.5), Verdict::Valid);
        assert_eq!(verdict(&record(980, 20, 1000, 0), true, 0.5), Verdict::Saturated);
        assert_eq!(verdict(&record(1000, 0, 6_000_000, 0), true, 0.5), Verdict::Saturated);
        assert_eq!(verdict(&record(1000, 0, 2_000_000, 0), true, 0.5), Verdict::Valid);
        assert_eq!(verdict(&record(1000, 0, 2_000_000, 0), true, 0.99), Verdict::Saturated);
        assert_eq!(verdict(&record(1000, 0, 1000, 600), true, 0.5), Verdict::Saturated);
        assert_eq!(verdict(&record(1000, 0, 1000, 100), true, 0.5), Verdict::Valid);
        assert_eq!(verdict(&record(1000, 0, 0, 0), false, 0.5), Verdict::Valid);
        assert_eq!(verdict(&record(1000, 0, 0, 0), false, 0.99), Verdict::Saturated);
    }
}
