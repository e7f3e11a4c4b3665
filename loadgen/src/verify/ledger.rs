//! Compares the gateway's own account of its copies, read from its metrics, with the received ones. Pure but for the reading.

use std::collections::BTreeMap;

use serde::Serialize;

use super::reconcile::Account;
use crate::client;
use crate::run::request::Url;

/// The numbers of the ledger, summed over routes, by mirror.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    pub eligible: i64,
    pub sampled_out: i64,
    pub skipped: i64,
    pub dropped: i64,
    pub sent: i64,
    pub completed: i64,
    pub failed: i64,
    /// Levels, not counters: copies that are not yet in any of the above.
    pub pending: i64,
    pub waiting: i64,
    pub in_flight: i64,
}

pub type Ledgers = BTreeMap<String, Ledger>;

impl Ledger {
    fn field(&mut self, name: &str) -> Option<&mut i64> {
        let name = name.strip_prefix("umbra_mirror_")?;
        Some(match name.strip_suffix("_total").unwrap_or(name) {
            "eligible" => &mut self.eligible,
            "sampled_out" => &mut self.sampled_out,
            "skipped" => &mut self.skipped,
            "dropped" => &mut self.dropped,
            "sent" => &mut self.sent,
            "completed" => &mut self.completed,
            "failed" => &mut self.failed,
            "pending" => &mut self.pending,
            "waiting" => &mut self.waiting,
            "in_flight" => &mut self.in_flight,
            _ => return None,
        })
    }

    /// Counters as they grew since `before`; levels as they are.
    fn since(self, before: Self) -> Self {
        Self {
            eligible: self.eligible - before.eligible,
            sampled_out: self.sampled_out - before.sampled_out,
            skipped: self.skipped - before.skipped,
            dropped: self.dropped - before.dropped,
            sent: self.sent - before.sent,
            completed: self.completed - before.completed,
            failed: self.failed - before.failed,
            ..self
        }
    }

    /// True when no copy is on its way.
    pub fn is_quiet(&self) -> bool {
        self.pending == 0 && self.waiting == 0 && self.in_flight == 0
    }
}

/// Reads Prometheus text: only the ledger's lines, whatever else is there.
pub fn parse(text: &str) -> Ledgers {
    let mut ledgers = Ledgers::new();
    for line in text.lines().filter(|line| line.starts_with("umbra_mirror_")) {
        let (series, value) = match line.split_once('}') {
            Some((series, value)) => (series, value),
            None => line.split_once(' ').unwrap_or((line, "")),
        };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let Some(value) = value.split_whitespace().next().and_then(|v| v.parse::<f64>().ok()) else {
            continue;
        };
        let mirror = label(labels, "mirror").unwrap_or_default();
        let ledger = ledgers.entry(mirror).or_default();
        if let Some(field) = ledger.field(name) {
            *field += value as i64;
        }
    }
    ledgers.retain(|_, ledger| *ledger != Ledger::default());
    ledgers
}

fn label(labels: &str, name: &str) -> Option<String> {
    let start = labels.match_indices(name).find(|(at, _)| {
        let before = labels[..*at].chars().next_back();
        matches!(before, None | Some(',' | ' ')) && labels[at + name.len()..].starts_with("=\"")
    })?;
    let value = &labels[start.0 + name.len() + 2..];
    value.split('"').next().map(str::to_string)
}

pub fn fetch(admin: &Url) -> anyhow::Result<Ledgers> {
    Ok(parse(&client::errand("GET", &client::below(admin, "/metrics"), "")?))
}

/// Growth between two readings.
pub fn growth(before: &Ledgers, after: &Ledgers) -> Ledgers {
    let grown = |(name, ledger): (&String, &Ledger)| {
        (name.clone(), ledger.since(before.get(name).copied().unwrap_or_default()))
    };
    after.iter().map(grown).collect()
}

/// Every way in which the ledger and the eyes disagree; nothing means that they agree copy by copy.
pub fn check(ledgers: &Ledgers, accounts: &[&Account]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut sum = Ledger::default();
    for (name, l) in ledgers {
        let accounted = l.sampled_out + l.skipped + l.dropped + l.sent + l.pending + l.waiting;
        if l.eligible != accounted {
            wrong.push(format!(
                "{name}: eligible {} is not sampled_out + skipped + dropped + sent = {accounted}",
                l.eligible
            ));
        }
        let ended = l.completed + l.failed + l.in_flight;
        if l.sent != ended {
            wrong.push(format!("{name}: sent {} is not completed + failed + in_flight = {ended}", l.sent));
        }
        sum.sent += l.sent;
        sum.completed += l.completed;
        sum.failed += l.failed;
        sum.in_flight += l.in_flight;
    }
    if ledgers.is_empty() {
        wrong.push("the gateway shows no umbra_mirror_* series".to_string());
    }
    let arrived: i64 = accounts.iter().map(|account| account.arrived as i64).sum();
    if arrived > sum.sent {
        wrong.push(format!(
            "the mirrors received {arrived} copies, the gateway counts only {} as sent",
            sum.sent
        ));
    }
    if arrived < sum.completed {
        wrong.push(format!(
            "the gateway counts {} copies as completed, the mirrors received {arrived}",
            sum.completed
        ));
    }
    if sum.failed == 0 && sum.in_flight == 0 && arrived != sum.sent {
        wrong.push(format!("nothing failed, yet {} copies were sent and {arrived} received", sum.sent));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# TYPE umbra_mirror_eligible counter
umbra_mirror_eligible_total{route=\"a\",mirror=\"v2\"} 60
umbra_mirror_eligible_total{route=\"b\",mirror=\"v2\"} 40
umbra_mirror_sampled_out_total{route=\"a\",mirror=\"v2\"} 10
umbra_mirror_dropped_total{route=\"a\",mirror=\"v2\",reason=\"full\"} 5
umbra_mirror_sent_total{route=\"a\",mirror=\"v2\"} 85
umbra_mirror_completed_total{route=\"a\",mirror=\"v2\",class=\"2xx\"} 80
umbra_mirror_failed_total{route=\"a\",mirror=\"v2\",reason=\"reset\"} 5
umbra_mirror_in_flight{route=\"a\",mirror=\"v2\"} 0
umbra_requests_total{route=\"a\",code=\"200\"} 100
";

    fn account(arrived: u64) -> Account {
        Account { arrived, ..Account::default() }
    }

    #[test]
    fn a_balanced_ledger_agrees_with_what_arrived_and_a_false_one_is_caught() {
        let ledgers = parse(TEXT);
        assert_eq!(ledgers.get("v2").map(|l| (l.eligible, l.sent, l.failed)), Some((100, 85, 5)));
        assert_eq!(check(&ledgers, &[&account(83)]), Vec::<String>::new());
        assert_eq!(check(&ledgers, &[&account(86)]).len(), 1);
        assert_eq!(check(&ledgers, &[&account(79)]).len(), 1);
        let unbalanced = parse(&TEXT.replace("reason=\"full\"} 5", "reason=\"full\"} 4"));
        assert_eq!(check(&unbalanced, &[&account(83)]).len(), 1);
        assert_eq!(check(&Ledgers::new(), &[]).len(), 1);
    }

    #[test]
    fn growth_subtracts_counters_and_keeps_levels() {
        let grown =
            growth(
                &parse(TEXT),
                &parse(&TEXT.replace(
                    "in_flight{route=\"a\",mirror=\"v2\"} 0",
                    "in_flight{route=\"a\",mirror=\"v2\"} 3",
                )),
            );
        assert_eq!(grown.get("v2").map(|l| (l.eligible, l.in_flight, l.is_quiet())), Some((0, 3, false)));
    }
}
