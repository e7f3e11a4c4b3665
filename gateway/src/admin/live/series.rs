//! The samples kept, and how they are told: by column, from the oldest to the newest.
//!
//! The series knows neither counters nor clocks.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::look::{CLASSES, Ledger, Ring, Sample, Times};
use crate::metrics::{Class, Label};

/// Name of the last class: codes that are in none.
const OTHER: &str = "other";

/// The kept samples. Each has a number, which a client names to get the later ones.
#[derive(Debug)]
pub(super) struct Series {
    samples: VecDeque<Sample>,
    samples_max: usize,
    /// Of the newest; the first is 1.
    seq: u64,
}

impl Series {
    pub(super) fn new(samples_max: usize) -> Self {
        Self { samples: VecDeque::with_capacity(samples_max), samples_max, seq: 0 }
    }

    pub(super) fn push(&mut self, sample: Sample) {
        if self.samples.len() >= self.samples_max {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        self.seq += 1;
    }

    /// All that are kept, the oldest first.
    pub(super) fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter()
    }

    /// The samples after number `after`; all that are kept where that number is none of ours, as after a restart.
    pub(super) fn after(&self, after: u64) -> Value {
        let kept = self.samples.len();
        let new = self.seq.checked_sub(after).and_then(|n| usize::try_from(n).ok()).unwrap_or(kept).min(kept);
        let samples: Vec<&Sample> = self.samples.iter().skip(kept - new).collect();
        json!({
            "seq": self.seq,
            "at": column(&samples, |s| seconds(s.at)),
            "seconds": column(&samples, |s| seconds(s.length)),
            "requests": requests(&samples),
            "aborted": column(&samples, |s| json!(s.aborted)),
            "rejected": column(&samples, |s| json!(s.rejected)),
            "connections": column(&samples, |s| json!(s.connections)),
            "primary": times(&samples, |s| Some(&s.primary)),
            "mirrors": mirrors(&samples),
            "rings": rings(&samples),
            "workers": workers(&samples),
        })
    }
}

fn column(samples: &[&Sample], read: impl Fn(&Sample) -> Value) -> Value {
    samples.iter().map(|sample| read(sample)).collect()
}

/// Seconds to a tenth of a millisecond, or to the microsecond below one second: as exact as is known, and short to send.
fn seconds(duration: Duration) -> Value {
    let micros =
        if duration.as_secs() == 0 { duration.as_micros() } else { duration.as_micros() / 100 * 100 };
    json!(micros as f64 / 1e6)
}

fn requests(samples: &[&Sample]) -> Value {
    let names = Class::ALL.iter().map(|class| class.text()).chain([OTHER]);
    let columns = names.enumerate().take(CLASSES).map(|(at, name)| {
        let read = |s: &Sample| json!(s.requests.get(at));
        (name.to_owned(), column(samples, read))
    });
    Value::Object(columns.collect())
}

/// Times are null in seconds without an answer.
fn times(samples: &[&Sample], of: impl Fn(&Sample) -> Option<&Times>) -> Value {
    let told = |read: fn(&Times) -> u64| {
        column(samples, |s| match of(s) {
            Some(times) if times.count > 0 => seconds(Duration::from_micros(read(times))),
            Some(_) | None => Value::Null,
        })
    };
    json!({
        "count": column(samples, |s| json!(of(s).map_or(0, |times| times.count))),
        "p50_seconds": told(|t| t.p50),
        "p90_seconds": told(|t| t.p90),
        "p99_seconds": told(|t| t.p99),
        "max_seconds": told(|t| t.max),
    })
}

/// The names in force at any of the samples, the newest's first.
fn names<'a>(samples: &[&'a Sample], of: impl Fn(&'a Sample) -> Vec<&'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for sample in samples.iter().rev() {
        for name in of(sample) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

fn mirrors(samples: &[&Sample]) -> Value {
    fn find<'a>(sample: &'a Sample, name: &str) -> Option<&'a (String, Times, Ledger)> {
        sample.mirrors.iter().find(|mirror| mirror.0 == name)
    }
    type Read = fn(&Ledger) -> Value;
    let ledger: [(&str, Read); 10] = [
        ("eligible", |l| json!(l.eligible)),
        ("sampled_out", |l| json!(l.sampled_out)),
        ("skipped", |l| json!(l.skipped)),
        ("dropped", |l| json!(l.dropped)),
        ("sent", |l| json!(l.sent)),
        ("completed", |l| json!(l.completed)),
        ("failed", |l| json!(l.failed)),
        ("pending", |l| json!(l.pending)),
        ("waiting", |l| json!(l.waiting)),
        ("in_flight", |l| json!(l.in_flight)),
    ];
    let names = names(samples, |s| s.mirrors.iter().map(|mirror| mirror.0.as_str()).collect());
    let told = names.into_iter().map(|name| {
        let columns = ledger.iter().map(|(key, read)| {
            let cell = |s: &Sample| find(s, name).map_or(Value::Null, |(_, _, ledger)| read(ledger));
            ((*key).to_owned(), column(samples, cell))
        });
        let ledger: Map<String, Value> = columns.collect();
        let times = times(samples, |s| find(s, name).map(|(_, times, _)| times));
        json!({ "name": name, "latency": times, "ledger": ledger })
    });
    told.collect()
}

fn rings(samples: &[&Sample]) -> Value {
    fn find<'a>(sample: &'a Sample, name: &str) -> Option<&'a Ring> {
        sample.rings.iter().find(|ring| ring.name == name)
    }
    let names = names(samples, |s| s.rings.iter().map(|ring| ring.name.as_str()).collect());
    let told = names.into_iter().map(|name| {
        let newest = samples.iter().rev().find_map(|s| find(s, name));
        let level = |read: fn(&Ring) -> i64| column(samples, |s| json!(find(s, name).map(read)));
        json!({
            "name": name,
            "entries": level(|ring| ring.entries),
            "entries_max": newest.map(|ring| ring.entries_max),
            "bytes": level(|ring| ring.bytes),
            "bytes_max": newest.map(|ring| ring.bytes_max),
            "connections": level(|ring| ring.connections),
        })
    });
    told.collect()
}

fn workers(samples: &[&Sample]) -> Value {
    let count = samples.iter().map(|s| s.cpu.len()).max().unwrap_or(0);
    let permille = |share: &f64| (share * 1e3).round() / 1e3;
    let told = (0..count)
        .map(|id| json!({ "worker": id, "cpu": column(samples, |s| json!(s.cpu.get(id).map(permille))) }));
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(n: u64, mirrors: &[&str]) -> Sample {
        let one =
            |name: &&str| ((*name).to_owned(), Times::default(), Ledger { sent: n, ..Ledger::default() });
        Sample { aborted: n, mirrors: mirrors.iter().map(one).collect(), ..Sample::default() }
    }

    fn series(samples: impl IntoIterator<Item = Sample>) -> Series {
        let mut series = Series::new(3);
        samples.into_iter().for_each(|sample| series.push(sample));
        series
    }

    #[test]
    fn a_client_gets_what_is_new_to_it_and_no_more_than_is_kept() {
        let series = series((1..=5).map(|n| sample(n, &[])));
        let rows: [(u64, Value); 5] = [
            (0, json!([3, 4, 5])),
            (3, json!([4, 5])),
            (5, json!([])),
            (2, json!([3, 4, 5])),
            // Of another process: everything is new.
            (99, json!([3, 4, 5])),
        ];
        for (after, aborted) in rows {
            let answer = series.after(after);
            assert_eq!((&answer["aborted"], &answer["seq"]), (&aborted, &json!(5)), "after {after}");
        }
    }

    #[test]
    fn every_column_is_as_long_as_the_samples_although_mirrors_come_and_go() {
        let answer = series([sample(1, &["old"]), sample(2, &["old", "v2"]), sample(3, &["v2"])]).after(0);
        let told: Vec<(&Value, &Value)> = answer["mirrors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|mirror| (&mirror["name"], &mirror["ledger"]["sent"]))
            .collect();
        assert_eq!(told, [(&json!("v2"), &json!([null, 2, 3])), (&json!("old"), &json!([1, 2, null]))]);
        assert_eq!(answer["primary"]["p99_seconds"], json!([null, null, null]), "no answer has no time");
        assert_eq!(answer["primary"]["count"], json!([0, 0, 0]));
    }
}
