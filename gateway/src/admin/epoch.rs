//! Since when evidence counts. An epoch is one version of v1 against one of v2: it begins anew when none of the endpoints is
//! left that it began with, on either side, or when somebody says so.
//!
//! Counters only grow, for they are metrics: an epoch remembers what they were when it began, and at some moments since, so that a
//! mirror that was well for an hour is judged by its last minute too. Pure but for the lock and the clock it is told.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use config::{Config, Mirror, Route};

use super::book::Book;
use super::outcomes::{Chosen, Pairing, pairings};
use crate::metrics::{Drop as Dropped, Histogram, MirrorCounters, Slots};

/// From one moment that is remembered to the next.
const MARK_EVERY: Duration = Duration::from_secs(60);

/// Moments remembered of an epoch: the last minutes, and older ones the rarer the older they are. A snapshot takes about 4 KiB
/// where times are spread, so a thousand routes take 32 MiB.
const MARKS_MAX: usize = 8;

/// Looks at all that is in force; to be called about once a second.
pub(super) fn look(book: &Book) {
    let page = book.open();
    let all = pairings(&page, &Chosen::default());
    for (route, mirror) in book.epochs.look(&page.config, &all, SystemTime::now()) {
        book.findings.begin(&route, &mirror);
    }
}

/// What was counted of one mirror on one route until some moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    pub(super) matrix: BTreeMap<(String, String), u64>,
    pub(super) primary_times: Slots,
    pub(super) mirror_times: Slots,
    pub(super) sent: u64,
    pub(super) unreachable: u64,
    pub(super) lost: u64,
}

impl Snapshot {
    pub(super) fn of(pairing: &Pairing<'_>) -> Self {
        let times = |read: fn(&MirrorCounters) -> &Histogram| pairing.slots(read);
        Self {
            matrix: pairing.matrix(),
            primary_times: times(|c| &c.pairs.sure_primary),
            mirror_times: times(|c| &c.pairs.sure_mirror),
            sent: pairing.sum(|c| c.sent.get()),
            unreachable: pairing.sum(|c| c.dropped.get(Dropped::Unreachable)),
            // A copy that a full rate gave up was not wanted after all.
            lost: pairing
                .sum(|c| c.dropped.sum_where(|why| !matches!(why, Dropped::Rate | Dropped::Unreachable))),
        }
    }

    /// What came since an earlier one.
    pub(super) fn since(&self, before: &Self) -> Self {
        let cell = |(at, n): (&(String, String), &u64)| {
            let new = n.saturating_sub(before.matrix.get(at).copied().unwrap_or_default());
            (new > 0).then(|| (at.clone(), new))
        };
        Self {
            matrix: self.matrix.iter().filter_map(cell).collect(),
            primary_times: self.primary_times.since(&before.primary_times),
            mirror_times: self.mirror_times.since(&before.mirror_times),
            sent: self.sent.saturating_sub(before.sent),
            unreachable: self.unreachable.saturating_sub(before.unreachable),
            lost: self.lost.saturating_sub(before.lost),
        }
    }

    fn pairs(&self) -> u64 {
        self.matrix.values().sum()
    }
}

/// A moment in an epoch, and what had been counted by then.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) at: SystemTime,
    /// The how manieth of its epoch.
    pub(super) number: u32,
    pub(super) counted: Arc<Snapshot>,
}

#[derive(Debug, Clone)]
pub(super) struct Epoch {
    pub(super) began: SystemTime,
    pub(super) base: Arc<Snapshot>,
    pub(super) marks: Vec<Mark>,
    number: u32,
    /// Of the primaries and of the mirror, when it began.
    endpoints: [BTreeSet<String>; 2],
}

/// Of each mirror on each route, by their names.
#[derive(Debug, Default)]
pub struct Epochs(Mutex<HashMap<(String, String), Epoch>>);

impl Epochs {
    /// To be called from time to time: remembers moments, and begins anew what has other endpoints. Returns the routes and mirrors
    /// that begin anew.
    pub(super) fn look(
        &self,
        config: &Config,
        all: &[Pairing<'_>],
        now: SystemTime,
    ) -> Vec<(String, String)> {
        let mut epochs = self.lock();
        let routes: HashMap<&str, &Route> = config.routes.iter().map(|of| (of.name.as_str(), of)).collect();
        let mut begun = Vec::new();
        for pairing in all {
            let Some(route) = routes.get(pairing.route) else { continue };
            let endpoints = endpoints(config, route, pairing.mirror);
            let key = (pairing.route.to_owned(), pairing.mirror.name.clone());
            let Some(epoch) = epochs.get_mut(&key) else {
                // What was counted before the first look is of this epoch: the process began with it.
                let epoch = Epoch { endpoints, ..Epoch::begin(now, Snapshot::default()) };
                epochs.insert(key, epoch);
                continue;
            };
            let is_replaced = |(then, now): (&BTreeSet<String>, &BTreeSet<String>)| {
                !then.is_empty() && !now.is_empty() && then.is_disjoint(now)
            };
            if epoch.endpoints.iter().zip(&endpoints).any(is_replaced) {
                *epoch = Epoch { endpoints, ..Epoch::begin(now, Snapshot::of(pairing)) };
                begun.push(key);
                continue;
            }
            // Where there was none, as before a name is known, the first are what it begins with.
            for (then, now) in epoch.endpoints.iter_mut().zip(endpoints) {
                if then.is_empty() {
                    *then = now;
                }
            }
            epoch.mark(pairing, now);
        }
        let known: BTreeSet<(&str, &str)> =
            all.iter().map(|of| (of.route, of.mirror.name.as_str())).collect();
        epochs.retain(|(route, mirror), _| known.contains(&(route.as_str(), mirror.as_str())));
        begun
    }

    /// Evidence on this mirror, or on all, begins anew now. Returns those it does of.
    pub(super) fn begin(
        &self,
        all: &[Pairing<'_>],
        mirror: Option<&str>,
        now: SystemTime,
    ) -> Vec<(String, String)> {
        let mut epochs = self.lock();
        let chosen = all.iter().filter(|of| mirror.is_none_or(|name| name == of.mirror.name));
        let one = |pairing: &Pairing<'_>| {
            let key = (pairing.route.to_owned(), pairing.mirror.name.clone());
            let endpoints = epochs.get(&key).map(|epoch| epoch.endpoints.clone()).unwrap_or_default();
            epochs.insert(key.clone(), Epoch { endpoints, ..Epoch::begin(now, Snapshot::of(pairing)) });
            key
        };
        chosen.map(one).collect()
    }

    /// That of a mirror on a route, as it stands.
    pub(super) fn of(&self, route: &str, mirror: &str) -> Option<Epoch> {
        self.lock().get(&(route.to_owned(), mirror.to_owned())).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Epoch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Epoch {
    fn begin(now: SystemTime, base: Snapshot) -> Self {
        Self { began: now, base: Arc::new(base), marks: Vec::new(), number: 0, endpoints: Default::default() }
    }

    fn mark(&mut self, pairing: &Pairing<'_>, now: SystemTime) {
        let last = self.marks.last().map_or(self.began, |mark| mark.at);
        if now.duration_since(last).is_ok_and(|since| since < MARK_EVERY) {
            return;
        }
        self.number += 1;
        let mut counted = Arc::new(Snapshot::of(pairing));
        // Nothing new takes no room.
        if let Some(last) = self.marks.last()
            && last.counted.pairs() == counted.pairs()
            && last.counted.unreachable == counted.unreachable
        {
            counted = Arc::clone(&last.counted);
        }
        self.marks.push(Mark { at: now, number: self.number, counted });
        if self.marks.len() > MARKS_MAX {
            // Of two neighbours whose ages are most alike the later tells least; the oldest and the last two stay.
            let ages: Vec<f64> =
                self.marks.iter().map(|mark| f64::from(self.number - mark.number + 1)).collect();
            let pairs = ages.windows(2).enumerate().take(ages.len().saturating_sub(3));
            let ratio = |pair: &[f64]| pair.iter().copied().reduce(|older, later| older / later);
            let alike =
                pairs.min_by(|(_, a), (_, b)| ratio(a).unwrap_or(1.0).total_cmp(&ratio(b).unwrap_or(1.0)));
            if let Some((at, _)) = alike {
                self.marks.remove(at + 1);
            }
        }
    }
}

/// Of the primaries, and of the mirror.
fn endpoints(config: &Config, route: &Route, mirror: &Mirror) -> [BTreeSet<String>; 2] {
    let of = |id: config::UpstreamId| {
        let upstream = config.upstreams.get(id);
        upstream.into_iter().flat_map(|of| of.endpoints.iter().map(ToString::to_string))
    };
    let primaries = route.primaries().iter().filter_map(|primary| primary.upstream).flat_map(of).collect();
    let lane = config.lanes.get(mirror.lane);
    [primaries, lane.into_iter().flat_map(|lane| of(lane.upstream)).collect()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Code, MirrorEnd, PrimaryEnd};

    fn config(v2: &str) -> Arc<Config> {
        let text = format!(
            "[upstream.v1]\nendpoints = [\"10.0.0.1:1\"]\n[upstream.v2]\nendpoints = [{v2}]\n\
             [[route]]\nname = \"r\"\nprimary = \"v1\"\nmirrors = [{{ upstream = \"v2\" }}]\n"
        );
        Arc::new(config::parse("test", &text).unwrap().config)
    }

    #[test]
    fn an_epoch_begins_anew_when_none_of_its_endpoints_is_left_or_when_somebody_says_so() {
        let book = Book::new(&config("\"10.0.0.2:1\", \"10.0.0.3:1\""));
        let epochs = Epochs::default();
        let mut now = SystemTime::UNIX_EPOCH;
        let mut look = |book: &Book| {
            now += Duration::from_secs(60);
            let page = book.open();
            let all = pairings(&page, &Chosen::default());
            (epochs.look(&page.config, &all, now).len(), epochs.of("r", "v2").unwrap())
        };
        let ok = (PrimaryEnd::Code(Code::of(200)), MirrorEnd::Code(Code::of(200)));
        let count = |n: usize| {
            let page = book.open();
            (0..n).for_each(|_| page.counters[0].mirrors[0][0].pairs.matrix.inc(ok.0, ok.1));
        };
        count(5);
        assert_eq!(look(&book).1.base.pairs(), 0, "what came before the first look is of it");
        // One of two is replaced, then the other: a rolling update ends with the last.
        book.turn(config("\"10.0.0.2:1\", \"10.0.0.4:1\""));
        let (begun, epoch) = look(&book);
        assert_eq!((begun, epoch.marks.len()), (0, 1));
        count(7);
        book.turn(config("\"10.0.0.4:1\", \"10.0.0.5:1\""));
        let (begun, epoch) = look(&book);
        assert_eq!((begun, epoch.base.pairs(), epoch.marks.len()), (1, 12, 0));
        // The moments that are remembered lie the closer the later they are.
        for _ in 0..200 {
            look(&book);
        }
        let (_, epoch) = look(&book);
        let ages: Vec<u32> = epoch.marks.iter().map(|mark| epoch.number - mark.number).collect();
        assert!(ages.len() == MARKS_MAX && ages.ends_with(&[1, 0]) && ages[0] > 50, "{ages:?}");
        count(3);
        let page = book.open();
        let all = pairings(&page, &Chosen::default());
        assert_eq!(epochs.begin(&all, Some("other"), now), []);
        assert_eq!(epochs.begin(&all, Some("v2"), now), [("r".to_owned(), "v2".to_owned())]);
        assert_eq!(epochs.of("r", "v2").unwrap().base.pairs(), 15);
    }
}
