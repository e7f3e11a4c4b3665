//! What a mirror says otherwise than the primary: two answers to one request side by side (`differ`), read through
//! their content coding (`coding`), by rules (`rules`),
//! told apart from what the primary does to itself and kept in groups with a few samples (`findings`).
//!
//! It runs on the observer's thread. It knows no socket, no worker and no clock but the one it budgets its own time by.

mod rules;
mod coding;
mod differ;
mod findings;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use config::Config;

pub use differ::{Difference, Kind};
pub use findings::{Findings, Group, Judged, Sample, Shown, Tally};

use crate::observe::record::{CopyEnd, Record};
use findings::{Pair, Place};
use rules::Rules;

/// Share of one core that comparing may take.
const CPU_SHARE: f64 = 0.5;

/// Microseconds of comparing that may be saved up.
const SAVED_US_MAX: f64 = 1e6;

/// Compares what the records of one configuration bring.
#[derive(Debug)]
pub struct Comparator {
    /// By route and mirror, where one compares.
    rules: HashMap<(usize, usize), Rules>,
    findings: Arc<Findings>,
    budget: Budget,
}

/// Time that may be spent on comparing.
#[derive(Debug)]
struct Budget {
    left_us: f64,
    at: Instant,
}

impl Budget {
    fn is_spent(&mut self, now: Instant) -> bool {
        let earned = now.duration_since(self.at).as_secs_f64() * 1e6 * CPU_SHARE;
        self.left_us = (self.left_us + earned).min(SAVED_US_MAX);
        self.at = now;
        self.left_us <= 0.0
    }
}

impl Comparator {
    pub fn new(config: &Config, findings: &Arc<Findings>) -> Self {
        let budget = Budget { left_us: SAVED_US_MAX, at: Instant::now() };
        let mut comparator = Self { rules: HashMap::new(), findings: Arc::clone(findings), budget };
        comparator.turn(config);
        comparator
    }

    /// Another configuration is in force. What was found stays, under its names.
    pub fn turn(&mut self, config: &Config) {
        self.rules.clear();
        for (route, settings) in config.routes.iter().enumerate() {
            // A baseline without rules of its own is compared by the first candidate's: else it could not tell what of
            // that one's is noise.
            let first = settings.mirrors.iter().find_map(|mirror| mirror.compare.as_ref());
            for (mirror, of) in settings.mirrors.iter().enumerate() {
                let is_baseline = of.role == config::Role::Baseline;
                let compare = of.compare.as_ref().or_else(|| first.filter(|_| is_baseline));
                if let Some(compare) = compare {
                    self.rules.insert((route, mirror), Rules::new(compare, &of.redact));
                }
            }
        }
    }

    /// Compares each copy's answer in `record` with the primary's, where both are there.
    pub fn take(&mut self, record: &Record) {
        let Some((route, settings)) =
            record.route.and_then(|route| Some((route, record.config.routes.get(route)?)))
        else {
            return;
        };
        let primary = record.primary.as_ref().and_then(|leg| leg.answer.as_ref());
        for copy in &record.copies {
            let Some(rules) = self.rules.get(&(route, copy.mirror)) else { continue };
            let Some(mirror) = settings.mirrors.get(copy.mirror) else { continue };
            let place = Place { route: &settings.name, mirror: &mirror.name, role: mirror.role };
            match (primary, &copy.answer, copy.end) {
                (Some(primary), Some(answer), CopyEnd::Completed(_)) => {
                    let began = Instant::now();
                    if self.budget.is_spent(began) {
                        self.findings.skip(place, "busy");
                        continue;
                    }
                    let compared = differ::compare(rules, primary, answer);
                    self.findings.add(place, rules, &Pair { record, primary, mirror: answer }, compared);
                    self.budget.left_us -= began.elapsed().as_secs_f64() * 1e6;
                }
                // One of the two was to be kept and found no room.
                (Some(_), None, CopyEnd::Completed(_)) | (None, Some(_), _) => {
                    self.findings.skip(place, "one_answer_alone");
                }
                (None, None, _) | (Some(_), _, _) => {}
            }
        }
    }
}
