//! Findings in the form in which they are kept and handed on: how much was compared, and groups of differences, each with its
//! count, an example and a few whole samples. Plain data; `findings` keeps it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use config::Role;
use serde::{Deserialize, Serialize};

use super::differ::Kind;
use super::sample::Sample;
use crate::portable::{role_word, unix_micros};

/// Share of pairs in which a value that is drawn anew each time differs: two counters meet, two clocks are read in one tick.
const VOLATILE_SHARE: f64 = 0.9;

/// A count from another process counts for no more, so that later additions do not overflow.
const COUNT_MAX: u64 = u64::MAX >> 8;

fn capped<const N: usize>(counts: [&mut u64; N]) {
    for count in counts {
        *count = COUNT_MAX.min(*count);
    }
}

/// Whole samples kept of each group.
pub(crate) const SAMPLES_MAX: usize = 5;

/// The counts of comparing one mirror on one route.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tally {
    pub route: String,
    pub mirror: String,
    #[serde(with = "role_word")]
    pub role: Role,
    /// Pairs of answers set side by side.
    pub compared: u64,
    /// Of those, where the contents were too.
    pub contents: u64,
    /// Of those compared, where anything differed.
    pub differing: u64,
    /// Pairs not compared, or not their contents, by reason.
    pub skipped: BTreeMap<Cow<'static, str>, u64>,
    /// Pairs that may have differed in a place that has no group (any longer), of any one place.
    pub hidden: u64,
    /// Pairs of which the route's baseline was compared for the same request.
    pub beside: Beside,
    /// Pairs of requests that do not go to its baselines.
    #[serde(default)]
    pub unasked: Unasked,
    /// Groups told apart, and ever begun.
    #[serde(skip)]
    pub groups: usize,
    pub found: u64,
}

/// Counts of requests of which a mirror's answer and a baseline's were both compared with the primary's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    pub pairs: u64,
    /// Of those, where the contents of both were compared.
    pub contents: u64,
    /// The mirror's differs anywhere, and the baseline's nowhere.
    pub only_mirror: u64,
    pub only_baseline: u64,
}

/// Requests that the route's baselines are not asked, where it has any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unasked {
    pub pairs: u64,
    /// Of those, where the contents were compared, and where anything differed.
    pub contents: u64,
    pub differing: u64,
}

impl Tally {
    /// As this process may count on.
    #[must_use]
    pub(super) fn carried(mut self) -> Self {
        let Self { compared, contents, differing, skipped, hidden, beside, unasked, found, .. } = &mut self;
        let Beside { pairs, contents: of_both, only_mirror, only_baseline } = beside;
        capped([compared, contents, differing, hidden, found, pairs, of_both, only_mirror, only_baseline]);
        capped([&mut unasked.pairs, &mut unasked.contents, &mut unasked.differing]);
        skipped.values_mut().for_each(|count| capped([count]));
        self
    }

    /// Pairs of which a difference of this kind could have been seen.
    pub fn of(&self, kind: Kind) -> u64 {
        if kind.is_of_contents() { self.contents } else { self.compared }
    }

    /// The same of those that the baseline answered too.
    pub fn beside_of(&self, kind: Kind) -> u64 {
        if kind.is_of_contents() { self.beside.contents } else { self.beside.pairs }
    }

    /// The same of those that it was not asked.
    pub fn unasked_of(&self, kind: Kind) -> u64 {
        if kind.is_of_contents() { self.unasked.contents } else { self.unasked.pairs }
    }
}

/// Differences of one kind in one place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Group {
    pub id: u64,
    pub route: String,
    pub mirror: String,
    pub field: String,
    pub kind: Kind,
    pub count: u64,
    /// How many more there may have been before it had a place.
    pub missed: u64,
    /// How often both values had one shape; and of those, how often either side's was another than the time before.
    pub alike: u64,
    pub turns: (u64, u64),
    pub last: (u64, u64),
    /// How many groups its mirror had on its route before.
    pub rank: u64,
    /// When it was found: pairs compared until then where it differs, and those beside a baseline.
    pub began: (u64, u64),
    /// Of requests that the baseline answered too, from the one on that it was found by: it differs here, and the baseline does
    /// not; and the other way round.
    pub only_mirror: u64,
    pub only_baseline: u64,
    /// Of requests that the baselines are not asked.
    #[serde(default)]
    pub alone: Alone,
    #[serde(with = "unix_micros")]
    pub first_seen: SystemTime,
    #[serde(with = "unix_micros")]
    pub last_seen: SystemTime,
    /// The latest, of either side.
    pub example: (Option<String>, Option<String>),
    #[serde(skip)]
    pub samples: Vec<Arc<Sample>>,
    /// Ids of requests whose samples another process has, or had.
    #[serde(default)]
    pub elsewhere: Vec<String>,
}

/// How often a difference shows where no baseline can tell whether it is noise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alone {
    pub count: u64,
    /// As of a group.
    pub alike: u64,
    pub turns: (u64, u64),
    pub last: (u64, u64),
}

impl Alone {
    pub(super) fn add(&mut self, shapes: Option<(u64, u64)>) {
        self.count += 1;
        if let Some((primary, mirror)) = shapes {
            self.alike += 1;
            self.turns.0 += u64::from(self.last.0 != primary);
            self.turns.1 += u64::from(self.last.1 != mirror);
            self.last = (primary, mirror);
        }
    }

    /// As [`Group::is_volatile`].
    pub fn is_volatile(&self, compared: u64) -> bool {
        looks_drawn(compared, self.count, self.alike, self.turns)
    }
}

/// Whether of so many pairs nearly all differ, nearly all of these in one shape, and either side's value is nearly always another.
fn looks_drawn(compared: u64, count: u64, alike: u64, turns: (u64, u64)) -> bool {
    let nearly = |n: u64, all: u64| n as f64 >= VOLATILE_SHARE * all as f64;
    nearly(count, compared) && [alike, turns.0, turns.1].into_iter().all(|n| nearly(n, count))
}

#[cfg(test)]
impl Group {
    /// For tests: one that was found by the first response, as the `rank`th of its mirror.
    pub(crate) fn found(route: &str, mirror: &str, field: &str, count: u64, rank: u64) -> Self {
        Self {
            id: 0,
            route: route.to_owned(),
            mirror: mirror.to_owned(),
            field: field.to_owned(),
            kind: Kind::Changed,
            count,
            missed: 0,
            alike: 0,
            turns: (0, 0),
            last: (0, 0),
            rank,
            began: (1, 0),
            only_mirror: 0,
            only_baseline: 0,
            alone: Alone::default(),
            first_seen: SystemTime::UNIX_EPOCH,
            last_seen: SystemTime::UNIX_EPOCH,
            example: (None, None),
            samples: Vec::new(),
            elsewhere: Vec::new(),
        }
    }
}

impl Group {
    /// As this process may count on.
    #[must_use]
    pub(super) fn carried(mut self) -> Self {
        let Self { count, missed, alike, turns, rank, began, only_mirror, only_baseline, alone, .. } =
            &mut self;
        capped([count, missed, alike, &mut turns.0, &mut turns.1, rank, &mut began.0, &mut began.1]);
        capped([only_mirror, only_baseline, &mut alone.count, &mut alone.alike]);
        capped([&mut alone.turns.0, &mut alone.turns.1]);
        self
    }

    /// Ids of requests that show it: first those of which a sample is kept here.
    pub fn request_ids(&self) -> Vec<String> {
        let here = self.samples.iter().map(|sample| &sample.request_id);
        here.chain(&self.elsewhere).take(SAMPLES_MAX).cloned().collect()
    }

    /// As another process gets it: samples stay here, and the ids of their requests go.
    #[must_use]
    pub fn without_samples(mut self) -> Self {
        self.elsewhere = self.request_ids();
        self.samples = Vec::new();
        self
    }

    /// Bytes that groups take in memory: a sample that several of them share is counted once.
    pub fn bytes_of<'a>(groups: impl Iterator<Item = &'a Self>) -> usize {
        let mut shared = HashSet::new();
        let text = |of: &Option<String>| of.as_ref().map_or(0, String::len);
        let bytes = |group: &'a Self| {
            let own = group.route.len() + group.mirror.len() + group.field.len() + size_of::<Self>();
            let samples = group.samples.iter().filter(|sample| shared.insert(Arc::as_ptr(sample)));
            let samples: usize = samples.map(|sample| sample.bytes()).sum();
            own + text(&group.example.0) + text(&group.example.1) + samples
        };
        groups.map(bytes).sum()
    }

    /// Whether it differs in nearly all of `compared` pairs, each time with the same shape on both sides, and the values of
    /// either side are nearly always new: an id, a time, a token, a counter. A difference in some pairs alone is none of these.
    pub fn is_volatile(&self, compared: u64) -> bool {
        looks_drawn(compared, self.count, self.alike, self.turns)
    }
}

/// A group beside the findings of the route's baselines in the same place.
#[derive(Debug, Clone)]
pub struct Judged {
    pub group: Group,
    /// Pairs of its mirror and route that were compared where it differs.
    pub compared: u64,
    pub baseline_count: u64,
    pub baseline_compared: u64,
    /// Requests that both this mirror and a baseline answered, and were compared where it differs.
    pub beside: u64,
    /// The primary differs from itself there about as often.
    pub is_noise: bool,
}
