//! What was found: differences in groups, each with how often, an example and a few whole samples; and what of it the
//! primary does to itself.
//!
//! Written by the observer's thread, read by the admin pages; the lock is neither's long wait. Bounded: so many groups,
//! so many samples of each, so many bytes of all.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use config::Role;

use super::coding::{End, plain};
use super::differ::{Compared, Kind};
use super::rules::Rules;
use crate::http1::edit::{field_name, lines};
use crate::observe::record::{Answer, Record};
use crate::observe::told::{Told, told};

/// Groups told apart of one mirror on one route: clients may choose the names in its answers, and must not take the place
/// of others'. Further differences are counted as one, by the name [`OTHER`].
const GROUPS_OF_ONE_MAX: usize = 200;

/// The same of all together. A group takes 3 KiB at most, its fields' names and examples being bounded.
const GROUPS_MAX: usize = 2000;

/// Field of the group of all differences beyond these.
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
    /// By route and mirror.
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
    /// Of those, where the contents were too.
    pub contents: u64,
    /// Of those compared, where anything differed.
    pub differing: u64,
    /// Pairs not compared, or not their contents, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Groups told apart.
    groups: usize,
}

impl Tally {
    /// Pairs of which a difference of this kind could have been seen.
    fn of(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Status | Kind::Header => self.compared,
            Kind::Changed | Kind::Missing | Kind::Added | Kind::Type | Kind::Length | Kind::Body => {
                self.contents
            }
        }
    }
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
    pub samples: Vec<Arc<Sample>>,
}

/// A pair kept whole, without secrets.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When the exchange began, by both clocks.
    exchange: (SystemTime, u64),
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
    /// Pairs of its mirror and route that were compared where it differs.
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
        match compared.content_skipped {
            None => tally.contents += 1,
            Some(why) => *tally.skipped.entry(why).or_default() += 1,
        }
        let mut sample = None;
        let mut counted: Vec<Key> = Vec::new();
        for difference in compared.differences {
            let key = (place.route.to_owned(), place.mirror.to_owned(), difference.field, difference.kind);
            let key = state.known(place, key);
            if counted.contains(&key) {
                // One pair is one, however many of its fields share a group.
                continue;
            }
            counted.push(key.clone());
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
            let is_new = group.count == 0;
            group.count += 1;
            group.last_seen = now;
            group.example = (difference.primary, difference.mirror);
            let is_kept = || group.samples.iter().any(|kept| kept.is_of(pair.record));
            if has_room && group.samples.len() < SAMPLES_MAX && !is_kept() {
                // All groups of a pair share it.
                let sample = sample.get_or_insert_with(|| Arc::new(Sample::of(rules, pair)));
                group.samples.push(Arc::clone(sample));
            }
            state.next_id += u64::from(is_new);
            state.tally(place).groups += usize::from(is_new);
        }
        state.sample_bytes += sample.map_or(0, |sample| sample.bytes());
    }

    /// Forgets all but what was found of these, by route and mirror: a name that comes back begins anew.
    pub(super) fn keep_only(&self, is_known: impl Fn(&str, &str) -> bool) {
        let mut state = self.lock();
        state.tallies.retain(|(route, mirror), _| is_known(route, mirror));
        state.groups.retain(|(route, mirror, _, _), _| is_known(route, mirror));
        let mut kept: HashMap<*const Sample, usize> = HashMap::new();
        for sample in state.groups.values().flat_map(|group| &group.samples) {
            kept.entry(Arc::as_ptr(sample)).or_insert_with(|| sample.bytes());
        }
        state.sample_bytes = kept.values().sum();
    }

    /// What each mirror on each route came to.
    pub fn tallies(&self) -> Vec<Tally> {
        self.lock().tallies.values().cloned().collect()
    }

    /// Every group, the most frequent above noise first. Samples are shared, not copied.
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

    /// `key`, or that of all others where there are enough.
    fn known(&self, place: Place<'_>, key: Key) -> Key {
        let tally = self.tallies.get(&(place.route.to_owned(), place.mirror.to_owned()));
        let own = tally.map_or(0, |tally| tally.groups);
        if self.groups.contains_key(&key) || (own < GROUPS_OF_ONE_MAX && self.groups.len() < GROUPS_MAX) {
            return key;
        }
        (key.0, key.1, OTHER.to_owned(), Kind::Changed)
    }

    fn judge(&self, group: &Group) -> Judged {
        let of = |mirror: &str| self.tallies.get(&(group.route.clone(), mirror.to_owned()));
        let compared = of(&group.mirror).map_or(0, |tally| tally.of(group.kind));
        let is_baseline = of(&group.mirror).is_some_and(|tally| tally.role == Role::Baseline);
        let (mut baseline_count, mut baseline_compared) = (0, 0);
        let of_route = self.tallies.range((group.route.clone(), String::new())..).map(|(_, tally)| tally);
        let of_route = of_route.take_while(|tally| tally.route == group.route);
        for tally in of_route.filter(|tally| tally.role == Role::Baseline) {
            let key = (group.route.clone(), tally.mirror.clone(), group.field.clone(), group.kind);
            baseline_count += self.groups.get(&key).map_or(0, |group| group.count);
            baseline_compared += tally.of(group.kind);
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
                Some(plain) => rules.shown_content(&plain.content, plain.end != End::Whole),
                None => format!("({} bytes in a coding that is not read here)", answer.content.len()),
            };
            Shown { status: answer.status, fields, content }
        };
        let Told { request_id, target, .. } = told(pair.record, rules.secrets.as_deref());
        Self {
            exchange: (pair.record.started, pair.record.started_us),
            request_id: request_id.into_owned(),
            method: pair.record.method.to_string(),
            target: target.into_owned(),
            at: pair.record.started,
            primary: shown(pair.primary),
            mirror: shown(pair.mirror),
        }
    }

    /// Whether it is of this exchange. Its request id may be nobody's to tell, and the same for all.
    fn is_of(&self, record: &Record) -> bool {
        self.exchange == (record.started, record.started_us)
    }

    fn bytes(&self) -> usize {
        let of = |shown: &Shown| {
            let fields = shown.fields.iter().map(|(n, v)| n.len() + v.len());
            shown.content.len() + fields.sum::<usize>() + size_of_val(shown.fields.as_slice())
        };
        let own = size_of::<Self>() + self.request_id.len() + self.method.len() + self.target.len();
        own + of(&self.primary) + of(&self.mirror)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answer, config, record};
    use super::super::{Comparator, Kind};
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

    #[test]
    fn names_that_clients_choose_share_a_group_that_counts_pairs() {
        let findings = Arc::new(Findings::default());
        let config = config(&["one", "other"], "compare = {}");
        let mut comparator = Comparator::new(&config, &findings);
        let many = |n: usize| {
            let members: Vec<String> = (0..3).map(|k| format!("\"u{n}-{k}\":1")).collect();
            answer(&format!("{{{}}}", members.join(",")))
        };
        for n in 0..300 {
            comparator.take(&record(&config, 0, &n.to_string(), answer("{}"), many(n)));
        }
        comparator.take(&record(&config, 1, "x", answer("1"), answer("2")));
        let groups = findings.groups();
        let of = |route: &str| groups.iter().filter(|of| of.group.route == route).collect::<Vec<_>>();
        assert_eq!(of("one").len(), GROUPS_OF_ONE_MAX + 1);
        assert_eq!(of("other").len(), 1, "another route has room");
        let others = of("one").into_iter().find(|of| of.group.field == OTHER).unwrap();
        assert!(others.group.count <= others.compared && others.compared == 300, "{others:?}");
        let ids: Vec<&String> = others.group.samples.iter().map(|sample| &sample.request_id).collect();
        assert!(ids.len() == SAMPLES_MAX && ids.windows(2).all(|two| two[0] != two[1]), "{ids:?}");
        let tally = &findings.tallies()[0];
        assert_eq!((tally.compared, tally.contents, tally.differing), (300, 300, 300));
        let distinct: std::collections::HashSet<_> =
            groups.iter().flat_map(|of| &of.group.samples).map(Arc::as_ptr).collect();
        assert!(distinct.len() < groups.len(), "groups of a pair share its sample");
    }

    #[test]
    fn what_is_gone_is_forgotten_and_a_name_that_comes_back_begins_anew() {
        let findings = Arc::new(Findings::default());
        let config = config(&["a", "b"], "compare = {}");
        let mut comparator = Comparator::new(&config, &findings);
        comparator.take(&record(&config, 0, "1", answer("1"), answer("2")));
        comparator.take(&record(&config, 1, "2", answer("1"), answer("2")));
        let fewer = super::super::tests::config(&["b"], "compare = {}");
        comparator.turn(&fewer);
        assert_eq!(findings.groups().iter().map(|of| of.group.route.clone()).collect::<Vec<_>>(), ["b"]);
        let bytes = findings.lock().sample_bytes;
        assert!(bytes > 0 && bytes == findings.groups()[0].group.samples[0].bytes());
        // A record of the configuration before, which comes late.
        comparator.take(&record(&config, 0, "3", answer("1"), answer("2")));
        comparator.take(&record(&config, 1, "4", answer("1"), answer("2")));
        let counts: Vec<u64> = findings.tallies().iter().map(|tally| tally.compared).collect();
        assert_eq!(counts, [2], "by name, not by place");
        comparator.turn(&config);
        assert_eq!(findings.tallies().len(), 1);
    }

    #[test]
    fn a_field_of_contents_is_judged_by_the_contents_that_were_compared() {
        let findings = Arc::new(Findings::default());
        let config = config(&["a"], "compare = {}");
        let mut comparator = Comparator::new(&config, &findings);
        let cut = || Answer { is_cut: true, ..answer("1") };
        comparator.take(&record(&config, 0, "1", answer("1"), answer("2")));
        comparator.take(&record(&config, 0, "2", cut(), cut()));
        let tally = findings.tallies().remove(0);
        assert_eq!((tally.compared, tally.contents, tally.skipped.get("too_long")), (2, 1, Some(&1)));
        let judged = findings.groups().remove(0);
        assert_eq!((judged.group.kind, judged.group.count, judged.compared), (Kind::Changed, 1, 1));
    }
}
