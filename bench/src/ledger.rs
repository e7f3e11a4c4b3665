//! Outcomes of the copies, from our gateway's own `/metrics`: so that a cheap figure bought with drops is seen.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Result;

use crate::http;

/// Copies, over all mirrors; the difference of two readings is that of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    pub eligible: u64,
    pub sampled_out: u64,
    /// Drawn but not to be copied: most often a client that went away before its request was complete.
    pub skipped: BTreeMap<String, u64>,
    pub sent: u64,
    pub completed: u64,
    pub failed: u64,
    pub dropped: BTreeMap<String, u64>,
    /// Under way, waiting or still being received: a level, not a count.
    pub unfinished: u64,
}

impl Ledger {
    pub fn read(admin: SocketAddr) -> Result<Self> {
        Ok(Self::parse(&http::get(admin, "/metrics")?))
    }

    /// The ledger of one mirror, from a reading of `/metrics`.
    pub fn of_mirror(metrics: &str, mirror: &str) -> Self {
        let label = format!("mirror=\"{mirror}\"");
        let of_it: Vec<&str> = metrics.lines().filter(|line| line.contains(&label)).collect();
        Self::parse(&of_it.join("\n"))
    }

    fn parse(text: &str) -> Self {
        let mut ledger = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Some(count) = value.parse::<f64>().ok().map(|v| v.max(0.0) as u64) else { continue };
            match series.split('{').next().unwrap_or("") {
                "umbra_mirror_eligible_total" => ledger.eligible += count,
                "umbra_mirror_sampled_out_total" => ledger.sampled_out += count,
                "umbra_mirror_skipped_total" if count > 0 => {
                    *ledger.skipped.entry(reason(series)).or_default() += count;
                }
                "umbra_mirror_sent_total" => ledger.sent += count,
                "umbra_mirror_completed_total" => ledger.completed += count,
                "umbra_mirror_failed_total" => ledger.failed += count,
                "umbra_mirror_dropped_total" if count > 0 => {
                    *ledger.dropped.entry(reason(series)).or_default() += count;
                }
                "umbra_mirror_pending" | "umbra_mirror_waiting" | "umbra_mirror_in_flight" => {
                    ledger.unfinished += count;
                }
                _ => {}
            }
        }
        ledger
    }

    pub fn since(&self, before: &Self) -> Self {
        Self {
            eligible: self.eligible.saturating_sub(before.eligible),
            sampled_out: self.sampled_out.saturating_sub(before.sampled_out),
            skipped: less(&self.skipped, &before.skipped),
            sent: self.sent.saturating_sub(before.sent),
            completed: self.completed.saturating_sub(before.completed),
            failed: self.failed.saturating_sub(before.failed),
            dropped: less(&self.dropped, &before.dropped),
            unfinished: self.unfinished,
        }
    }

    /// Copies given up or failed.
    pub fn lost(&self) -> u64 {
        self.dropped_total() + self.failed
    }

    /// Requests whose copy was drawn and got no answer, whatever the reason.
    pub fn missing(&self) -> u64 {
        (self.eligible - self.sampled_out.min(self.eligible)).saturating_sub(self.completed)
    }

    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }

    pub fn add(&mut self, other: &Self) {
        self.eligible += other.eligible;
        self.sampled_out += other.sampled_out;
        self.sent += other.sent;
        self.completed += other.completed;
        self.failed += other.failed;
        self.unfinished = other.unfinished;
        for (sum, more) in [(&mut self.dropped, &other.dropped), (&mut self.skipped, &other.skipped)] {
            for (why, count) in more {
                *sum.entry(why.clone()).or_default() += count;
            }
        }
    }

    /// Addends that are zero and say nothing by it are left out.
    pub fn show(&self) -> String {
        let mut parts = vec![format!("eligible {}", self.eligible)];
        if self.sampled_out > 0 {
            parts.push(format!("sampled out {}", self.sampled_out));
        }
        if !self.skipped.is_empty() {
            parts.push(format!("skipped {}", by_reason(&self.skipped)));
        }
        parts.push(format!("dropped {}", by_reason(&self.dropped)));
        parts.push(format!("sent {}", self.sent));
        parts.push(format!("completed {}", self.completed));
        parts.push(format!("failed {}", self.failed));
        if self.unfinished > 0 {
            parts.push(format!("unfinished {}", self.unfinished));
        }
        parts.join(", ")
    }
}

fn by_reason(counts: &BTreeMap<String, u64>) -> String {
    let reasons: Vec<String> = counts.iter().map(|(why, count)| format!("{why} {count}")).collect();
    match counts.values().sum::<u64>() {
        0 => "0".to_string(),
        sum => format!("{sum} ({})", reasons.join(", ")),
    }
}

fn less(after: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let since = |(why, count): (&String, &u64)| {
        (why.clone(), count.saturating_sub(before.get(why).copied().unwrap_or(0)))
    };
    after.iter().map(since).filter(|(_, count)| *count > 0).collect()
}

fn reason(series: &str) -> String {
    let value = series.split("reason=\"").nth(1).and_then(|rest| rest.split('"').next());
    value.unwrap_or("unknown").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed_over_mirrors_and_taken_between_two_readings() {
        let before = Ledger::parse("umbra_mirror_sent_total{mirror=\"a\"} 5\n");
        let after = Ledger::parse(
            "# TYPE umbra_mirror_sent counter\n\
             umbra_mirror_sent_total{route=\"r\",mirror=\"a\"} 10\n\
             umbra_mirror_sent_total{route=\"r\",mirror=\"b\"} 7\n\
             umbra_mirror_eligible_total{route=\"r\",mirror=\"a\"} 100\n\
             umbra_mirror_dropped_total{route=\"r\",mirror=\"a\",reason=\"ring_bytes\"} 3\n\
             umbra_mirror_skipped_total{route=\"r\",mirror=\"a\",reason=\"aborted\"} 4\n\
             umbra_mirror_completed_total{route=\"r\",mirror=\"a\",class=\"2xx\"} 10\n\
             umbra_mirror_in_flight{route=\"r\",mirror=\"a\"} 2\n",
        );
        let run = after.since(&before);
        assert_eq!((run.sent, run.lost(), run.missing(), run.unfinished), (12, 3, 90, 2));
        assert_eq!(
            run.show(),
            "eligible 100, skipped 4 (aborted 4), dropped 3 (ring_bytes 3), sent 12, completed 10, failed 0, unfinished 2"
        );
    }
}
