//! What was found: differences in groups, each with how often, an example and a few whole samples; and what of it the
//! primary does to itself.
//!
//! Written by the observer's thread, read by the admin pages; the lock is neither's long wait. Bounded: so many groups,
//! so many samples of each, so many bytes of all.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use config::Role;

use super::coding::{Plain, plain};
use super::differ::{Compared, Kind};
use super::rules::Rules;
use crate::http1::edit::{field_name, lines};
use crate::observe::record::{Answer, Record};

/// Groups told apart; further differences are counted as one, by the name [`OTHER`].
const GROUPS_MAX: usize = 2000;

/// Field of the group of all differences beyond [`GROUPS_MAX`].
const OTHER: &str = "(others)";

/// Whole samples kept of each group.
const SAMPLES_MAX: usize = 5;

/// Bytes kept of one side's content in a sample.
const SAMPLE_BYTES_MAX: usize = 16 * 1024;

/// Bytes of all samples together.
const ALL_SAMPLES_BYTES_MAX: usize = 32 << 20;

/// How sure it has to be that a difference is more frequent than the primary's own: one in a hundred, one-sided.
const Z_MIN: f64 = 2.33;

/// Everything that was found since the start, or since it was last forgotten.
#[derive(Debug, Default)]
pub struct Findings(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    tallies: BTreeMap<(String, String), Tally>,
    groups: HashMap<Key, Group>,
    next_id: u64,
    sample_bytes: usize,
}

type Key = (String, String, String, Kind);

/// Which mirror on which route, by name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) route: &'a str,
    pub(super) mirror: &'a str,
    pub(super) role: Role,
}

/// Two answers and the request that they are to.
pub(super) struct Pair<'a> {
    pub(super) record: &'a Record,
    pub(super) primary: &'a Answer,
    pub(super) mirror: &'a Answer,
}

/// What comparing one mirror on one route came to.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub route: String,
    pub mirror: String,
    pub role: Role,
    /// Pairs of answers set side by side.
    pub compared: u64,
    /// Of those, where anything differed.
    pub differing: u64,
    /// Pairs not compared, or not their contents, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
}

/// Differences of one kind in one place.
#[derive(Debug, Clone)]
pub struct Group {
    pub id: u64,
    pub route: String,
    pub mirror: String,
    pub field: String,
    pub kind: Kind,
    pub count: u64,
    pub first_seen: SystemTime,
    pub last_seen: SystemTime,
    /// The latest, of either side.
    pub example: (Option<String>, Option<String>),
    pub samples: Vec<Sample>,
}

/// A pair kept whole, without secrets.
#[derive(Debug, Clone)]
pub struct Sample {
    pub request_id: String,
    pub method: String,
    pub target: String,
    pub at: SystemTime,
    pub primary: Shown,
    pub mirror: Shown,
}

/// An answer as it may be shown.
#[derive(Debug, Clone)]
pub struct Shown {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub content: String,
}

/// A group beside what the route's baselines found in the same place.
#[derive(Debug, Clone)]
pub struct Judged {
    pub group: Group,
    /// Pairs of its mirror and route that were compared.
    pub compared: u64,
    pub baseline_count: u64,
    pub baseline_compared: u64,
    /// The primary differs from itself there about as often.
    pub is_noise: bool,
}

impl Findings {
    /// A pair that was not compared.
    pub(super) fn skip(&self, place: Place<'_>, why: &'static str) {
        let mut state = self.lock();
        *state.tally(place).skipped.entry(why).or_default() += 1;
    }

    pub(super) fn add(&self, place: Place<'_>, rules: &Rules, pair: &Pair<'_>, compared: Compared) {
        let mut state = self.lock();
        let tally = state.tally(place);
        tally.compared += 1;
        tally.differing += u64::from(!compared.differences.is_empty());
        if let Some(why) = compared.content_skipped {
            *tally.skipped.entry(why).or_default() += 1;
        }
        let mut sample = None;
        for difference in compared.differences {
            let key = (place.route.to_owned(), place.mirror.to_owned(), difference.field, difference.kind);
            let (key, is_new) = state.known(key);
            let now = pair.record.started;
            let next_id = state.next_id;
            let has_room = state.sample_bytes < ALL_SAMPLES_BYTES_MAX;
            let group = state.groups.entry(key.clone()).or_insert_with(|| Group {
                id: next_id,
                route: key.0,
                mirror: key.1,
                field: key.2,
                kind: key.3,
                count: 0,
                first_seen: now,
                last_seen: now,
                example: (None, None),
                samples: Vec::new(),
            });
            group.count += 1;
            group.last_seen = now;
            group.example = (difference.primary, difference.mirror);
            let mut bytes = 0;
            if has_room && group.samples.len() < SAMPLES_MAX {
                let sample = sample.get_or_insert_with(|| Sample::of(rules, pair)).clone();
                bytes = sample.bytes();
                group.samples.push(sample);
            }
            state.sample_bytes += bytes;
            state.next_id += u64::from(is_new);
        }
    }

    /// What each mirror on each route came to.
    pub fn tallies(&self) -> Vec<Tally> {
        self.lock().tallies.values().cloned().collect()
    }

    /// Every group, the most frequent above noise first.
    pub fn groups(&self) -> Vec<Judged> {
        let state = self.lock();
        let mut all: Vec<Judged> = state.groups.values().map(|group| state.judge(group)).collect();
        all.sort_by(|a, b| {
            (a.is_noise, std::cmp::Reverse(a.group.count), a.group.id).cmp(&(
                b.is_noise,
                std::cmp::Reverse(b.group.count),
                b.group.id,
            ))
        });
        all
    }

    /// One group by its number.
    pub fn group(&self, id: u64) -> Option<Judged> {
        let state = self.lock();
        state.groups.values().find(|group| group.id == id).map(|group| state.judge(group))
    }

    /// Forgets everything.
    pub fn forget(&self) {
        let mut state = self.lock();
        *state = State { next_id: state.next_id, ..State::default() };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tally(&mut self, place: Place<'_>) -> &mut Tally {
        let key = (place.route.to_owned(), place.mirror.to_owned());
        let (route, mirror) = key.clone();
        let tally = self.tallies.entry(key).or_insert_with(|| Tally { route, mirror, ..Tally::default() });
        tally.role = place.role;
        tally
    }

    /// `key`, or that of all others where there are enough; and whether it is new.
    fn known(&self, key: Key) -> (Key, bool) {
        if self.groups.contains_key(&key) {
            return (key, false);
        }
        if self.groups.len() < GROUPS_MAX {
            return (key, true);
        }
        let other = (key.0, key.1, OTHER.to_owned(), Kind::Changed);
        let is_new = !self.groups.contains_key(&other);
        (other, is_new)
    }

    fn judge(&self, group: &Group) -> Judged {
        let of = |mirror: &str| self.tallies.get(&(group.route.clone(), mirror.to_owned()));
        let compared = of(&group.mirror).map_or(0, |tally| tally.compared);
        let is_baseline = of(&group.mirror).is_some_and(|tally| tally.role == Role::Baseline);
        let (mut baseline_count, mut baseline_compared) = (0, 0);
        let baselines = self.tallies.values().filter(|t| t.route == group.route && t.role == Role::Baseline);
        for tally in baselines {
            let key = (group.route.clone(), tally.mirror.clone(), group.field.clone(), group.kind);
            baseline_count += self.groups.get(&key).map_or(0, |group| group.count);
            baseline_compared += tally.compared;
        }
        let is_noise = is_baseline || is_noise((group.count, compared), (baseline_count, baseline_compared));
        Judged { group: group.clone(), compared, baseline_count, baseline_compared, is_noise }
    }
}

/// Whether `count` of `compared` is no more than what the baseline shows, as far as so many tell.
fn is_noise((count, compared): (u64, u64), (baseline_count, baseline_compared): (u64, u64)) -> bool {
    if baseline_count == 0 || compared == 0 || baseline_compared == 0 {
        return false;
    }
    let (n, m) = (compared as f64, baseline_compared as f64);
    let (p, q) = (count as f64 / n, baseline_count as f64 / m);
    let pooled = (count + baseline_count) as f64 / (n + m);
    let deviation = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
    p <= q || deviation == 0.0 || (p - q) / deviation < Z_MIN
}

impl Sample {
    fn of(rules: &Rules, pair: &Pair<'_>) -> Self {
        let shown = |answer: &Answer| {
            let fields = rules.shown_fields(&answer.fields);
            let field = |line: &[u8]| {
                let name = field_name(line);
                let value = line.get(name.len() + 1..).unwrap_or_default().trim_ascii();
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                (text(name), text(value))
            };
            let fields = lines(&fields).map(field).collect();
            let content = match plain(answer, SAMPLE_BYTES_MAX) {
                Some(Plain { content, is_cut }) => rules.shown_content(&content, is_cut),
                None => format!("({} bytes in a coding that is not read here)", answer.content.len()),
            };
            Shown { status: answer.status, fields, content }
        };
        Self {
            request_id: pair.record.request_id.to_string(),
            method: pair.record.method.to_string(),
            target: rules.shown_target(&pair.record.target),
            at: pair.record.started,
            primary: shown(pair.primary),
            mirror: shown(pair.mirror),
        }
    }

    fn bytes(&self) -> usize {
        let of = |shown: &Shown| {
            shown.content.len() + shown.fields.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>()
        };
        self.request_id.len() + self.target.len() + of(&self.primary) + of(&self.mirror)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_primary_does_to_itself_is_noise_and_what_is_more_frequent_is_not() {
        // (candidate, baseline) → noise
        let rows = [
            ((100, 100), (0, 0), false),
            ((100, 100), (0, 100), false),
            ((100, 100), (100, 100), true),
            ((99, 100), (100, 100), true),
            ((12, 100), (10, 100), true),
            ((60, 100), (10, 100), false),
            ((1000, 1000), (990, 1000), false),
            ((3, 1000), (1, 1000), true),
        ];
        for (candidate, baseline, expect) in rows {
            assert_eq!(is_noise(candidate, baseline), expect, "{candidate:?} {baseline:?}");
        }
    }
}
