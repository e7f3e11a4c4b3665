//! The findings: differences in groups, each with its count, an example and a few whole samples; and which of them the primary
//! shows against itself.
//!
//! Written by the observer's thread, read by the admin pages; the lock is neither's long wait. Bounded: so many groups, so many
//! samples of each, so many bytes of all.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use config::Role;

use super::differ::{Compared, Kind};
use super::group::{Alone, Group, Judged, SAMPLES_MAX, Tally};
use super::noise::Noise;
use super::pair::Pair;
use super::rules::Rules;
use super::sample::Sample;
use super::schema::{CountedSchema, Inferred, Schemas, Shape};
use super::versions::{Both, Versions};

/// Groups of one mirror on one route: clients may choose the names in its answers, and must not take the places of others. When
/// full, the rarest group gives its place to the next difference (space-saving: Metwally, Agrawal, El Abbadi, *Efficient
/// Computation of Frequent and Top-k Elements in Data Streams*, 2005), which may have been seen as often before as the evicted
/// group. So every frequent difference has a place, and the count that may be hidden is bounded.
pub(crate) const GROUPS_OF_ONE_MAX: usize = 200;

/// Of a mirror's groups on a route one in so many gives its place at once: to look for the rarest takes a look at each.
const EVICTED_SHARE: usize = 10;

/// Groups of all mirrors together. A group takes 3 KiB at most, its fields' names and examples being bounded.
const GROUPS_MAX: usize = 2000;

/// Bytes of all samples together.
pub(crate) const ALL_SAMPLES_BYTES_MAX: usize = 32 << 20;

/// How sure it has to be that a difference is more frequent than the primary's own: one in a hundred, one-sided.
const Z_MIN: f64 = 2.33;

/// Everything that was found since the start, or since it was last forgotten.
#[derive(Debug, Default)]
pub struct Findings {
    state: Mutex<State>,
    versions: Versions,
}

#[derive(Debug, Default)]
struct State {
    /// By route and mirror.
    tallies: BTreeMap<(String, String), Tally>,
    groups: HashMap<Key, Group>,
    next_id: u64,
    sample_bytes: usize,
    schemas: Schemas,
    /// Route, candidate and baseline, where this is none of that one's.
    strangers: HashSet<[String; 3]>,
}

type Key = (String, String, String, Kind);

/// A mirror on a route, by name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) route: &'a str,
    pub(super) mirror: &'a str,
    pub(super) role: Role,
}

impl Findings {
    /// Notes the versions that both sides report of themselves.
    pub(super) fn hear(&self, place: Place<'_>, rules: &Rules, pair: &Pair<'_>) {
        self.versions.hear((place.route, place.mirror), rules, pair.primary, pair.mirror);
    }

    /// The versions that both sides last reported of themselves.
    pub fn versions(&self, route: &str, mirror: &str) -> Both {
        self.versions.of(route, mirror)
    }

    /// A pair that was not compared.
    pub(super) fn skip(&self, place: Place<'_>, why: &'static str) {
        let mut state = self.lock();
        *state.tally(place).skipped.entry(why.into()).or_default() += 1;
    }

    /// Adds a comparison. `noise`: the comparison of its baselines for the same request.
    pub(super) fn add(
        &self,
        place: Place<'_>,
        rules: &Rules,
        pair: &Pair<'_>,
        compared: Compared,
        noise: &Noise<'_>,
    ) {
        let mut state = self.lock();
        let tally = state.tally(place);
        tally.compared += 1;
        tally.differing += u64::from(!compared.differences.is_empty());
        match compared.content_skipped {
            None => tally.contents += 1,
            Some(why) => *tally.skipped.entry(why.into()).or_default() += 1,
        }
        if compared.is_cut {
            *tally.skipped.entry(super::TOO_MANY.into()).or_default() += 1;
        }
        let again = noise.seen();
        let both_contents = again.is_some_and(|of| of.has_contents) && compared.content_skipped.is_none();
        if noise.is_unasked() {
            tally.unasked.pairs += 1;
            tally.unasked.contents += u64::from(compared.content_skipped.is_none());
            tally.unasked.differing += u64::from(!compared.differences.is_empty());
        }
        if let Some(again) = again {
            let (here, there) = (!compared.differences.is_empty(), !again.places.is_empty());
            tally.beside.pairs += 1;
            tally.beside.contents += u64::from(both_contents);
            tally.beside.only_mirror += u64::from(here && !there);
            tally.beside.only_baseline += u64::from(there && !here);
        }
        let mut sample = None;
        let mut counted: HashSet<(String, Kind)> = HashSet::new();
        for difference in compared.differences {
            let at = (difference.field, difference.kind);
            if !counted.insert(at.clone()) {
                continue;
            }
            let (field, kind) = at;
            let key = (place.route.to_owned(), place.mirror.to_owned(), field, kind);
            if !state.groups.contains_key(&key) && !state.make_room(place, &key, pair.record.started) {
                continue;
            }
            let has_room = state.sample_bytes < ALL_SAMPLES_BYTES_MAX;
            let Some(group) = state.groups.get_mut(&key) else { continue };
            group.count += 1;
            if again.is_some_and(|of| is_counted(kind, both_contents) && !of.places.contains(&(key.2, kind)))
            {
                group.only_mirror += 1;
            }
            if noise.is_unasked() {
                group.alone.add(difference.alike);
            }
            group.last_seen = pair.record.started;
            if let Some((primary, mirror)) = difference.alike {
                group.alike += 1;
                group.turns.0 += u64::from(group.last.0 != primary);
                group.turns.1 += u64::from(group.last.1 != mirror);
                group.last = (primary, mirror);
            }
            group.example = (difference.primary, difference.mirror);
            let is_kept = || group.samples.iter().any(|kept| kept.is_of(pair.record));
            if has_room && group.samples.len() < SAMPLES_MAX && !is_kept() {
                // All groups of a pair share it.
                let sample = sample.get_or_insert_with(|| Arc::new(Sample::of(rules, pair)));
                group.samples.push(Arc::clone(sample));
            }
        }
        // A sample whose groups were all evicted again is dropped.
        let kept = sample.filter(|sample| Arc::strong_count(sample) > 1);
        state.sample_bytes += kept.map_or(0, |sample| sample.bytes());
        let Some(again) = again else { return };
        for (field, kind) in again.places.iter().filter(|at| !counted.contains(at)) {
            let key = (place.route.to_owned(), place.mirror.to_owned(), field.clone(), *kind);
            if is_counted(*kind, both_contents)
                && let Some(group) = state.groups.get_mut(&key)
            {
                group.only_baseline += 1;
            }
        }
    }

    /// Whether the shape of the next pair is to be added.
    pub(super) fn wants_schema(&self, place: Place<'_>) -> bool {
        self.lock().schemas.wants(place.route, place.mirror)
    }

    /// Fields of both answers.
    pub(super) fn add_schema(&self, place: Place<'_>, shapes: [Shape; 2]) {
        self.lock().schemas.add(place.route, place.mirror, shapes);
    }

    /// The schemas that were inferred from both sides' answers, of each mirror on each route.
    pub fn schemas(&self) -> Vec<Inferred> {
        self.lock().schemas.told()
    }

    /// The same as it is counted, by route and mirror.
    pub fn counted_schemas(&self) -> HashMap<(String, String), CountedSchema> {
        self.lock().schemas.counted()
    }

    /// Goes on from a schema that was counted before this process began.
    pub fn restore_schema(&self, route: &str, mirror: &str, schema: CountedSchema) {
        self.lock().schemas.restore(route, mirror, schema);
    }

    /// Sets which baselines are not the baselines of which candidates, by route.
    pub(super) fn know(&self, strangers: HashSet<[String; 3]>) {
        self.lock().strangers = strangers;
    }

    /// Forgets all findings but those of known routes and mirrors: a name that comes back begins anew.
    pub(super) fn keep_only(&self, is_known: impl Fn(&str, &str) -> bool) {
        self.versions.keep_only(&is_known);
        self.retain(is_known);
    }

    fn retain(&self, is_known: impl Fn(&str, &str) -> bool) {
        let mut state = self.lock();
        state.tallies.retain(|(route, mirror), _| is_known(route, mirror));
        state.groups.retain(|(route, mirror, _, _), _| is_known(route, mirror));
        state.schemas.retain(&is_known);
        state.count_samples();
    }

    /// Evidence on this mirror on this route begins anew.
    pub fn begin(&self, route: &str, mirror: &str) {
        self.retain(|of_route, of_mirror| of_route != route || of_mirror != mirror);
    }

    /// Goes on from findings of a mirror on a route that were made before this process began, as far as there are places.
    pub fn restore(&self, tally: Tally, groups: Vec<Group>) {
        let mut state = self.lock();
        let mut tally = Tally { groups: 0, ..tally.carried() };
        for mut group in groups.into_iter().map(Group::carried) {
            if tally.groups >= GROUPS_OF_ONE_MAX || state.groups.len() >= GROUPS_MAX {
                tally.hidden = tally.hidden.max(group.count);
                continue;
            }
            group.id = state.next_id;
            state.next_id += 1;
            let key = (tally.route.clone(), tally.mirror.clone(), group.field.clone(), group.kind);
            tally.groups += usize::from(state.groups.insert(key, group).is_none());
        }
        state.tallies.insert((tally.route.clone(), tally.mirror.clone()), tally);
    }

    /// The tally of each mirror on each route.
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

    /// The group with this number.
    pub fn group(&self, id: u64) -> Option<Judged> {
        let state = self.lock();
        state.groups.values().find(|group| group.id == id).map(|group| state.judge(group))
    }

    /// Forgets everything.
    pub fn forget(&self) {
        let mut state = self.lock();
        let strangers = std::mem::take(&mut state.strangers);
        *state = State { next_id: state.next_id, strangers, ..State::default() };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// An empty group for `key`, in the place of a rare one where all are taken; `false` where there is none.
    fn make_room(&mut self, place: Place<'_>, key: &Key, now: SystemTime) -> bool {
        if !self.evict(place) {
            self.tally(place).hidden += 1;
            return false;
        }
        let tally = self.tally(place);
        let missed = tally.hidden;
        let rank = tally.found;
        tally.found += 1;
        let began = (tally.of(key.3), tally.beside_of(key.3));
        let group = Group {
            id: self.next_id,
            route: key.0.clone(),
            mirror: key.1.clone(),
            field: key.2.clone(),
            kind: key.3,
            count: 0,
            missed,
            alike: 0,
            turns: (0, 0),
            last: (0, 0),
            rank,
            began,
            only_mirror: 0,
            only_baseline: 0,
            alone: Alone::default(),
            first_seen: now,
            last_seen: now,
            example: (None, None),
            samples: Vec::new(),
            elsewhere: Vec::new(),
        };
        self.next_id += 1;
        self.groups.insert(key.clone(), group);
        self.tally(place).groups += 1;
        true
    }

    /// Makes a free place for a mirror on a route; `false` where it gets none. A mirror that has as many as one may have loses
    /// its own rarest groups. Where all places are taken, the mirror with the most groups loses its rarest: few places are not
    /// lost to many.
    fn evict(&mut self, place: Place<'_>) -> bool {
        let taken = self.tally(place).groups;
        if taken < GROUPS_OF_ONE_MAX && self.groups.len() < GROUPS_MAX {
            return true;
        }
        let own = (place.route.to_owned(), place.mirror.to_owned());
        let most = self.tallies.iter().max_by_key(|(_, tally)| tally.groups);
        let (loser, has) = match most.map(|(key, most)| (key.clone(), most.groups)) {
            Some((_, most)) if taken >= most.min(GROUPS_OF_ONE_MAX) => (own, taken),
            // Not the only one that it has.
            Some((key, most)) if most > 1 => (key, most),
            Some(_) | None => return false,
        };
        let of_loser = self.groups.iter().filter(|(key, _)| key.0 == loser.0 && key.1 == loser.1);
        let mut all: Vec<_> =
            of_loser.map(|(key, group)| (group.count + group.missed, group.last_seen, key.clone())).collect();
        // Among equals those not seen for longest.
        all.sort_unstable_by_key(|(count, at, _)| (*count, *at));
        all.truncate((has / EVICTED_SHARE).max(1));
        for (count, _, key) in &all {
            self.groups.remove(key);
            if let Some(tally) = self.tallies.get_mut(&loser) {
                tally.hidden = tally.hidden.max(*count);
                tally.groups = tally.groups.saturating_sub(1);
            }
        }
        self.count_samples();
        !all.is_empty()
    }

    fn count_samples(&mut self) {
        let mut kept: HashMap<*const Sample, usize> = HashMap::new();
        for sample in self.groups.values().flat_map(|group| &group.samples) {
            kept.entry(Arc::as_ptr(sample)).or_insert_with(|| sample.bytes());
        }
        self.sample_bytes = kept.values().sum();
    }

    fn judge(&self, group: &Group) -> Judged {
        let of = |mirror: &str| self.tallies.get(&(group.route.clone(), mirror.to_owned()));
        let compared = of(&group.mirror).map_or(0, |tally| tally.of(group.kind));
        let is_baseline = of(&group.mirror).is_some_and(|tally| tally.role == Role::Baseline);
        let (mut baseline_count, mut baseline_compared) = (0, 0);
        let of_route = self.tallies.range((group.route.clone(), String::new())..).map(|(_, tally)| tally);
        let of_route = of_route.take_while(|tally| tally.route == group.route);
        let is_its = |tally: &&Tally| {
            let names = [group.route.clone(), group.mirror.clone(), tally.mirror.clone()];
            tally.role == Role::Baseline && (self.strangers.is_empty() || !self.strangers.contains(&names))
        };
        for tally in of_route.filter(is_its) {
            let key = (group.route.clone(), tally.mirror.clone(), group.field.clone(), group.kind);
            // Where its table was full, as often as it may have been.
            baseline_count += self.groups.get(&key).map_or(tally.hidden, |group| group.count + group.missed);
            baseline_compared += tally.of(group.kind);
        }
        let is_noise = is_baseline || is_noise((group.count, compared), (baseline_count, baseline_compared));
        let beside = of(&group.mirror).map_or(0, |tally| tally.beside_of(group.kind));
        Judged { group: group.clone(), compared, baseline_count, baseline_compared, beside, is_noise }
    }
}

/// Whether a difference of this kind could have been seen on both sides.
fn is_counted(kind: Kind, both_contents: bool) -> bool {
    both_contents || !kind.is_of_contents()
}

/// Whether `count` of `compared` does not significantly exceed the baseline's share.
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

#[cfg(test)]
mod tests {
    use super::super::tests::{answer, config, record};
    use super::super::{Comparator, Kind};
    use super::*;
    use crate::compare::{Budgets, Schemas};
    use crate::observe::record::Answer;

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

    /// An object of these members.
    fn object(members: impl Iterator<Item = String>) -> Answer {
        answer(&format!("{{{}}}", members.collect::<Vec<_>>().join(",")))
    }

    #[test]
    fn names_that_are_data_share_a_group_that_counts_pairs() {
        let findings = Arc::new(Findings::default());
        let config = config(&["one", "other"], "compare = {}");
        let mut comparator = Comparator::new(&config, &Schemas::new(), &findings, Budgets::UNLIMITED);
        let many = |n: usize| object((0..3).map(|k| format!("\"u{n}-{k}\":1")));
        for n in 0..300 {
            comparator.take(&record(&config, 0, &n.to_string(), answer("{}"), many(n)));
        }
        comparator.take(&record(&config, 1, "x", answer("1"), answer("2")));
        let groups = findings.groups();
        let of = |route: &str| groups.iter().filter(|of| of.group.route == route).collect::<Vec<_>>();
        assert_eq!(of("other").len(), 1);
        let folded = of("one").into_iter().find(|of| of.group.field == "$.u*-*").unwrap();
        assert!(folded.group.count > 290 && folded.group.count <= 300, "{folded:?}");
        let ids: Vec<&String> = folded.group.samples.iter().map(|sample| &sample.request_id).collect();
        assert!(ids.len() == SAMPLES_MAX && ids.windows(2).all(|two| two[0] != two[1]), "{ids:?}");
        let tally = &findings.tallies()[0];
        assert_eq!((tally.compared, tally.contents, tally.differing, tally.hidden), (300, 300, 300, 0));
        let distinct: HashSet<_> = groups.iter().flat_map(|of| &of.group.samples).map(Arc::as_ptr).collect();
        assert!(distinct.len() < groups.len(), "groups of a pair share its sample");
    }

    #[test]
    fn what_is_frequent_finds_a_place_among_names_that_have_no_mask_and_what_may_be_hidden_is_counted() {
        let findings = Arc::new(Findings::default());
        let config = config(&["one"], "compare = {}");
        let mut comparator = Comparator::new(&config, &Schemas::new(), &findings, Budgets::UNLIMITED);
        let letters = |n: usize| n.to_string().bytes().map(|b| char::from(b + 49)).collect::<String>();
        for n in 0..700 {
            let names =
                |side: usize| (0..5).map(move |k| format!("\"{}\":1", letters(n * 100 + side * 10 + k)));
            let total = (n < 300).then(|| "\"zz_total\":1".to_owned());
            let (ours, theirs) = (names(1).chain(["\"zz_total\":1".to_owned()]), names(2).chain(total));
            comparator.take(&record(&config, 0, &n.to_string(), object(ours), object(theirs)));
        }
        let groups = findings.groups();
        assert!(groups.len() <= GROUPS_OF_ONE_MAX);
        let lost = groups.iter().find(|of| of.group.field == "$.zz_total").unwrap();
        let tally = findings.tallies().remove(0);
        assert!(lost.group.count + 300 >= tally.compared && lost.group.missed > 0, "{lost:?}");
        assert!(tally.hidden >= lost.group.missed && tally.hidden < 700 / 10, "{tally:?}");
    }

    #[test]
    fn who_has_few_groups_keeps_them_when_all_places_are_taken() {
        let mut state = State::default();
        let now = SystemTime::UNIX_EPOCH;
        let mut find = |route: &str, fields: std::ops::Range<usize>, count: u64| {
            let place = Place { route, mirror: "v2", role: Role::Candidate };
            for n in fields {
                let key = (route.to_owned(), "v2".to_owned(), format!("$.{n}"), Kind::Changed);
                if !state.make_room(place, &key, now) {
                    continue;
                }
                state.groups.get_mut(&key).unwrap().count = count;
            }
            let of = |route: &str| state.groups.keys().filter(|key| key.0 == route).count();
            let counted: usize = state.tallies.values().map(|tally| tally.groups).sum();
            assert_eq!(counted, state.groups.len(), "what is counted is what there is");
            assert!(counted <= GROUPS_MAX);
            (of("few"), of(route), state.tallies[&("few".to_owned(), "v2".to_owned())].hidden)
        };
        assert_eq!(find("few", 0..3, 1), (3, 3, 0));
        for n in 0..GROUPS_MAX / GROUPS_OF_ONE_MAX {
            find(&format!("wide{n}"), 0..GROUPS_OF_ONE_MAX, 100);
        }
        // Its own groups are the rarest of all: the mirror with the most groups makes room, for it and for others.
        assert_eq!(find("few", 3..4, 1), (4, 4, 0));
        assert_eq!(find("late", 0..50, 1), (4, 50, 0));
        assert_eq!(find("wide0", 300..900, 1).0, 4, "nor does one that always finds new names take them");
        // Each mirror has one group: there is no more to give.
        let mut state = State::default();
        for n in 0..=GROUPS_MAX {
            let route = format!("r{n}");
            let place = Place { route: &route, mirror: "v2", role: Role::Candidate };
            let key = (route.clone(), "v2".to_owned(), "etag".to_owned(), Kind::Header);
            assert_eq!(state.make_room(place, &key, now), n < GROUPS_MAX);
        }
        assert_eq!(state.tallies.values().map(|tally| tally.hidden).sum::<u64>(), 1, "and that is counted");
    }

    #[test]
    fn noise_takes_no_room_from_what_the_mirror_alone_does_and_a_pair_that_was_cut_is_counted() {
        let findings = Arc::new(Findings::default());
        let config = config(&["a"], "compare = {}");
        let mut comparator = Comparator::new(&config, &Schemas::new(), &findings, Budgets::UNLIMITED);
        let word = |n: usize| ["alpha", "beta", "gamma", "delta"][n % 4];
        let name = |k: usize| format!("{}_{}", word(k), "x".repeat(k));
        for n in 0..100 {
            let values = |side: usize| (0..80).map(move |k| format!("\"{}\":\"{n}-{side}\"", name(k)));
            let total = ["\"zz_total\":1".to_owned()];
            let ours = object(values(0).chain(total.clone()));
            let mut pair = record(&config, 0, &n.to_string(), ours, object(values(1)));
            let again = record(&config, 0, "", answer("1"), object(values(2).chain(total))).copies.remove(0);
            pair.copies.push(crate::observe::record::CopyLeg { mirror: 1, ..again });
            comparator.take(&pair);
        }
        let lost = findings.groups().into_iter().find(|of| of.group.field == "$.zz_total").unwrap();
        assert!(!lost.is_noise && lost.group.count >= 99, "{lost:?}");
        assert!(lost.group.only_mirror >= 99 && lost.beside == 100, "{lost:?}");
        let tallies = findings.tallies();
        let cut: Vec<_> =
            tallies.iter().map(|of| (of.role, of.skipped.get("too_many_differences"))).collect();
        assert!(cut.iter().all(|(role, n)| *role == Role::Baseline || n.is_none_or(|n| *n <= 2)), "{cut:?}");
        // Without one nothing is known for noise.
        let mut alone =
            record(&config, 0, "x", object((0..80).map(|k| format!("\"n{k}x{k}\":1"))), answer("{}"));
        alone.copies[0].mirror = 0;
        let fresh = Arc::new(Findings::default());
        Comparator::new(&config, &Schemas::new(), &fresh, Budgets::UNLIMITED).take(&alone);
        assert_eq!(
            fresh.tallies().remove(0).skipped.get("too_many_differences"),
            None,
            "80 names are one mask"
        );
    }

    #[test]
    fn what_another_process_counted_is_counted_on_however_large_it_is() {
        let findings = Arc::new(Findings::default());
        let config = config(&["a"], "compare = {}");
        let most = u64::MAX;
        for (mirror, role) in [("v2", Role::Candidate), ("again", Role::Baseline)] {
            let beside =
                super::super::Beside { pairs: most, contents: most, only_mirror: most, only_baseline: most };
            let group = Group {
                missed: most,
                alike: most,
                turns: (most, most),
                began: (most, most),
                only_mirror: most,
                only_baseline: most,
                alone: Alone { count: most, alike: most, turns: (most, most), last: (0, 0) },
                ..Group::found("a", mirror, "$", most, most)
            };
            let tally = Tally {
                route: "a".to_owned(),
                mirror: mirror.to_owned(),
                role,
                compared: most,
                contents: most,
                differing: most,
                skipped: [("busy".into(), most)].into(),
                hidden: most,
                beside,
                unasked: super::super::group::Unasked { pairs: most, contents: most, differing: most },
                groups: 0,
                found: most,
            };
            findings.restore(tally, vec![group]);
        }
        let mut comparator = Comparator::new(&config, &Schemas::new(), &findings, Budgets::UNLIMITED);
        comparator.take(&record(&config, 0, "1", answer("{\"n\":1}"), answer("{\"n\":2,\"m\":3}")));
        let all = findings.groups();
        assert!(all.iter().any(|of| of.group.field == "$.n") && all.iter().any(|of| of.group.field == "$"));
        assert!(findings.tallies().iter().all(|of| of.compared > 1 << 55));
    }

    #[test]
    fn what_is_gone_is_forgotten_and_a_name_that_comes_back_begins_anew() {
        let findings = Arc::new(Findings::default());
        let config = config(&["a", "b"], "compare = {}");
        let mut comparator = Comparator::new(&config, &Schemas::new(), &findings, Budgets::UNLIMITED);
        comparator.take(&record(&config, 0, "1", answer("1"), answer("2")));
        comparator.take(&record(&config, 1, "2", answer("1"), answer("2")));
        let fewer = super::super::tests::config(&["b"], "compare = {}");
        comparator.turn(&fewer, &Schemas::new());
        assert_eq!(findings.groups().iter().map(|of| of.group.route.clone()).collect::<Vec<_>>(), ["b"]);
        let bytes = findings.lock().sample_bytes;
        assert!(bytes > 0 && bytes == findings.groups()[0].group.samples[0].bytes());
        let groups = findings.groups();
        let twice = [&groups[0].group, &groups[0].group]
            .map(|group| Group { samples: group.samples.clone(), ..group.clone() });
        let (one, both) = (Group::bytes_of(twice[..1].iter()), Group::bytes_of(twice.iter()));
        assert_eq!(both, 2 * one - bytes, "a sample of two groups is weighed once");
        // A record of the configuration before, which comes late.
        comparator.take(&record(&config, 0, "3", answer("1"), answer("2")));
        comparator.take(&record(&config, 1, "4", answer("1"), answer("2")));
        let counts: Vec<u64> = findings.tallies().iter().map(|tally| tally.compared).collect();
        assert_eq!(counts, [2], "by name, not by place");
        comparator.turn(&config, &Schemas::new());
        assert_eq!(findings.tallies().len(), 1);
    }

    #[test]
    fn a_field_of_contents_is_judged_by_the_contents_that_were_compared() {
        let findings = Arc::new(Findings::default());
        let config = config(&["a"], "compare = {}");
        let mut comparator = Comparator::new(&config, &Schemas::new(), &findings, Budgets::UNLIMITED);
        let cut = || Answer { is_cut: true, ..answer("1") };
        comparator.take(&record(&config, 0, "1", answer("1"), answer("2")));
        comparator.take(&record(&config, 0, "2", cut(), cut()));
        let tally = findings.tallies().remove(0);
        assert_eq!((tally.compared, tally.contents, tally.skipped.get("too_long")), (2, 1, Some(&1)));
        let judged = findings.groups().remove(0);
        assert_eq!((judged.group.kind, judged.group.count, judged.compared), (Kind::Changed, 1, 1));
    }
}
