//! Since when evidence counts. An epoch is one version of v1 against one of v2: it begins anew when none of the endpoints is
//! left that it began with, on either side, or at an operator's word.
//!
//! Counters only grow, for they are metrics: an epoch remembers what they were when it began, and at some moments since, so that a
//! mirror that was well for an hour is judged by its last minute too. It reads no clock: the moment is handed in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::metrics::Slots;

/// From one moment that is remembered to the next.
const MARK_EVERY: Duration = Duration::from_secs(60);

/// Moments remembered of an epoch: the last minutes, and older ones the rarer the older they are. A snapshot takes about 4 KiB
/// where times are spread, so a thousand routes take 32 MiB.
const MARKS_MAX: usize = 8;

/// What was counted of one mirror on one route until some moment.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    pub matrix: BTreeMap<(String, String), u64>,
    pub primary_times: Slots,
    pub mirror_times: Slots,
    pub sent: u64,
    pub unreachable: u64,
    pub lost: u64,
    pub suspect: u64,
}

impl Counts {
    /// What came since an earlier one.
    pub fn since(&self, before: &Self) -> Self {
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
            suspect: self.suspect.saturating_sub(before.suspect),
        }
    }

    /// Requests that both sides have ended.
    pub fn pairs(&self) -> u64 {
        self.matrix.values().sum()
    }
}

/// A mirror on a route as it stands when it is looked at.
pub struct Looked<'a> {
    pub route: &'a str,
    pub mirror: &'a str,
    /// Of the primaries, and of the mirror.
    pub endpoints: [BTreeSet<String>; 2],
    /// Costs a look at its counters on every worker.
    pub counts: Box<dyn Fn() -> Counts + 'a>,
}

impl fmt::Debug for Looked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Looked")
            .field("route", &self.route)
            .field("mirror", &self.mirror)
            .finish_non_exhaustive()
    }
}

/// A moment in an epoch, and what had been counted by then.
#[derive(Debug, Clone)]
pub struct Mark {
    pub at: SystemTime,
    /// The how manieth of its epoch.
    pub number: u32,
    pub counted: Arc<Counts>,
}

#[derive(Debug, Clone)]
pub struct Epoch {
    pub began: SystemTime,
    pub base: Arc<Counts>,
    pub marks: Vec<Mark>,
    number: u32,
    /// Of the primaries and of the mirror, when it began.
    endpoints: [BTreeSet<String>; 2],
}

/// Of each mirror on each route, by their names.
#[derive(Debug, Default)]
pub struct Epochs(Mutex<HashMap<(String, String), Epoch>>);

impl Epochs {
    /// To be called from time to time: remembers moments, and begins anew what has other endpoints. Returns the routes and
    /// mirrors
    /// that begin anew.
    pub fn look(&self, all: &[Looked<'_>], now: SystemTime) -> Vec<(String, String)> {
        let mut epochs = self.lock();
        let mut begun = Vec::new();
        for pairing in all {
            let endpoints = pairing.endpoints.clone();
            let key = (pairing.route.to_owned(), pairing.mirror.to_owned());
            let Some(epoch) = epochs.get_mut(&key) else {
                // What was counted before the first look is of this epoch: the process began with it.
                let epoch = Epoch { endpoints, ..Epoch::begin(now, Counts::default()) };
                epochs.insert(key, epoch);
                continue;
            };
            let is_replaced = |(then, now): (&BTreeSet<String>, &BTreeSet<String>)| {
                !then.is_empty() && !now.is_empty() && then.is_disjoint(now)
            };
            if epoch.endpoints.iter().zip(&endpoints).any(is_replaced) {
                *epoch = Epoch { endpoints, ..Epoch::begin(now, (pairing.counts)()) };
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
        let known: BTreeSet<(&str, &str)> = all.iter().map(|of| (of.route, of.mirror)).collect();
        epochs.retain(|(route, mirror), _| known.contains(&(route.as_str(), mirror.as_str())));
        begun
    }

    /// Evidence on this mirror, or on all, begins anew now. Returns those it does of.
    pub fn begin(&self, all: &[Looked<'_>], mirror: Option<&str>, now: SystemTime) -> Vec<(String, String)> {
        let mut epochs = self.lock();
        let chosen = all.iter().filter(|of| mirror.is_none_or(|name| name == of.mirror));
        let one = |pairing: &Looked<'_>| {
            let key = (pairing.route.to_owned(), pairing.mirror.to_owned());
            let endpoints = epochs.get(&key).map(|epoch| epoch.endpoints.clone()).unwrap_or_default();
            epochs.insert(key.clone(), Epoch { endpoints, ..Epoch::begin(now, (pairing.counts)()) });
            key
        };
        chosen.map(one).collect()
    }

    /// That of a mirror on a route, as it stands.
    pub fn of(&self, route: &str, mirror: &str) -> Option<Epoch> {
        self.lock().get(&(route.to_owned(), mirror.to_owned())).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Epoch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Epoch {
    /// How many moments were remembered.
    pub fn number(&self) -> u32 {
        self.number
    }

    fn begin(now: SystemTime, base: Counts) -> Self {
        Self { began: now, base: Arc::new(base), marks: Vec::new(), number: 0, endpoints: Default::default() }
    }

    fn mark(&mut self, pairing: &Looked<'_>, now: SystemTime) {
        let last = self.marks.last().map_or(self.began, |mark| mark.at);
        if now.duration_since(last).is_ok_and(|since| since < MARK_EVERY) {
            return;
        }
        self.number += 1;
        let mut counted = Arc::new((pairing.counts)());
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
