//! Epochs: the time since when evidence counts. An epoch is one version of v1 against one of v2. It begins anew when no
//! endpoint is left that it began with, on either side; when another version is reported; when other rules compare; or at an
//! operator's word.
//!
//! Counters only grow, for they are metrics: an epoch remembers their values at its beginning, and at some moments since, so
//! that a mirror that was well for an hour is judged by its last minute too. It reads no clock: the moment is handed in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::clients::Clients;
use crate::metrics::{Slots, TailCounts, total};
use crate::portable::unix_micros;

/// From one moment that is remembered to the next.
const MARK_EVERY: Duration = Duration::from_secs(20);

/// Moments remembered of an epoch: the last minutes, and older ones the rarer the older they are. A snapshot takes about 4 KiB
/// where times are spread, so a thousand routes take 40 MiB.
pub(super) const MARKS_MAX: usize = 10;

/// The counts of one mirror on one route up to a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    #[serde(with = "cells")]
    pub matrix: BTreeMap<(String, String), u64>,
    pub primary_times: Slots,
    pub mirror_times: Slots,
    /// Of the same pairs, how many times as long the mirror took.
    #[serde(default)]
    pub ratios: Slots,
    /// Clusters of the same pairs in which one side alone was long.
    #[serde(default)]
    pub tails: TailCounts,
    pub sent: u64,
    pub unreachable: u64,
    pub lost: u64,
    pub suspect: u64,
    /// Pairs that are evidence of neither side, by the reason.
    #[serde(default)]
    pub less_time: u64,
    #[serde(default)]
    pub end_unread: u64,
}

impl Counts {
    /// The counts since an earlier moment.
    pub fn since(&self, before: &Self) -> Self {
        let cell = |(at, n): (&(String, String), &u64)| {
            let new = n.saturating_sub(before.matrix.get(at).copied().unwrap_or_default());
            (new > 0).then(|| (at.clone(), new))
        };
        Self {
            matrix: self.matrix.iter().filter_map(cell).collect(),
            primary_times: self.primary_times.since(&before.primary_times),
            mirror_times: self.mirror_times.since(&before.mirror_times),
            ratios: self.ratios.since(&before.ratios),
            tails: self.tails.since(&before.tails),
            sent: self.sent.saturating_sub(before.sent),
            unreachable: self.unreachable.saturating_sub(before.unreachable),
            lost: self.lost.saturating_sub(before.lost),
            suspect: self.suspect.saturating_sub(before.suspect),
            less_time: self.less_time.saturating_sub(before.less_time),
            end_unread: self.end_unread.saturating_sub(before.end_unread),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut matrix = self.matrix.clone();
        for (cell, n) in &other.matrix {
            let sum = matrix.entry(cell.clone()).or_default();
            *sum = sum.saturating_add(*n);
        }
        Self {
            matrix,
            primary_times: Slots::together([&self.primary_times, &other.primary_times]),
            mirror_times: Slots::together([&self.mirror_times, &other.mirror_times]),
            ratios: Slots::together([&self.ratios, &other.ratios]),
            tails: self.tails.plus(&other.tails),
            sent: self.sent.saturating_add(other.sent),
            unreachable: self.unreachable.saturating_add(other.unreachable),
            lost: self.lost.saturating_add(other.lost),
            suspect: self.suspect.saturating_add(other.suspect),
            less_time: self.less_time.saturating_add(other.less_time),
            end_unread: self.end_unread.saturating_add(other.end_unread),
        }
    }

    /// Requests that both sides have ended.
    pub fn pairs(&self) -> u64 {
        total(self.matrix.values().copied())
    }

    /// Pairs that are evidence of neither side.
    pub fn left_out(&self) -> u64 {
        self.less_time.saturating_add(self.end_unread)
    }
}

/// The matrix as a list of cells.
mod cells {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    type Matrix = BTreeMap<(String, String), u64>;

    pub(super) fn serialize<S: Serializer>(matrix: &Matrix, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(matrix.iter().map(|((primary, mirror), n)| (primary, mirror, n)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Matrix, D::Error> {
        let all: Vec<(String, String, u64)> = Vec::deserialize(from)?;
        Ok(all.into_iter().map(|(primary, mirror, n)| ((primary, mirror), n)).collect())
    }
}

/// A mirror on a route as it stands when it is looked at.
pub struct Looked<'a> {
    pub route: &'a str,
    pub mirror: &'a str,
    /// Of the primaries, and of the mirror.
    pub endpoints: [BTreeSet<String>; 2],
    /// The same, where it is known.
    pub versions: [Option<String>; 2],
    /// A hash of the question that the mirror answers there: other rules find other differences.
    pub question: String,
    /// Millionths of its requests that are drawn, where chance alone leaves the others out.
    pub share: Option<u32>,
    /// Costs a look at its counters on every worker.
    pub counts: Box<dyn Fn() -> Counts + 'a>,
    /// The same for the clients' figures.
    pub clients: Box<dyn Fn() -> Option<Clients> + 'a>,
}

impl fmt::Debug for Looked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Looked")
            .field("route", &self.route)
            .field("mirror", &self.mirror)
            .finish_non_exhaustive()
    }
}

/// A moment in an epoch, with the epoch's counts until then.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mark {
    #[serde(with = "unix_micros")]
    pub at: SystemTime,
    /// The how manieth of its epoch.
    pub number: u32,
    #[serde(with = "shared")]
    pub counted: Arc<Counts>,
}

/// A snapshot that others may hold too.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Counts;

    pub(super) fn serialize<S: Serializer>(counts: &Arc<Counts>, to: S) -> Result<S::Ok, S::Error> {
        (**counts).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Counts>, D::Error> {
        Counts::deserialize(from).map(Arc::new)
    }
}

/// Why an epoch began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The gateway, or the mirror in its configuration, is new.
    Start,
    /// No endpoint was left.
    Endpoints,
    /// Another version was reported.
    Version,
    /// Other rules compare.
    Rules,
    /// An operator asked for it.
    Asked,
}

impl Cause {
    /// The cause in words, behind "since 12:04, ".
    pub fn text(self) -> &'static str {
        match self {
            Self::Start => "when it was first copied to",
            Self::Endpoints => "when its endpoints, or v1's, were replaced",
            Self::Version => "when its version, or v1's, changed",
            Self::Rules => "when the rules that compare changed",
            Self::Asked => "when somebody said so",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Epoch {
    #[serde(with = "unix_micros")]
    pub began: SystemTime,
    pub because: Cause,
    /// The counts of this process when the epoch began.
    #[serde(skip)]
    pub base: Arc<Counts>,
    /// The counts of the epoch from before this process began.
    #[serde(skip)]
    carried: Arc<Counts>,
    /// The share of its trial, and the same two counts of the clients' figures in it.
    #[serde(default)]
    share: Option<u32>,
    #[serde(skip)]
    clients_base: Option<Arc<Clients>>,
    #[serde(skip)]
    clients_carried: Option<Arc<Clients>>,
    /// Moments of the epoch, each with its counts by then.
    #[serde(default)]
    pub marks: Vec<Mark>,
    number: u32,
    /// Of the primaries and of the mirror, when it began.
    pub endpoints: [BTreeSet<String>; 2],
    pub versions: [Option<String>; 2],
    pub question: String,
}

/// Of each mirror on each route, by their names.
#[derive(Debug, Default)]
pub struct Epochs(Mutex<HashMap<(String, String), Epoch>>);

impl Epochs {
    /// To be called from time to time: remembers moments, and begins epochs anew whose endpoints were replaced. Returns the
    /// routes and mirrors that begin anew.
    pub fn look(&self, all: &[Looked<'_>], now: SystemTime) -> Vec<(String, String)> {
        let mut epochs = self.lock();
        let mut begun = Vec::new();
        for pairing in all {
            let key = (pairing.route.to_owned(), pairing.mirror.to_owned());
            let Some(epoch) = epochs.get_mut(&key) else {
                // Counts from before the first look are of this epoch: it began with the process.
                epochs.insert(key, Epoch::begin(pairing, now, Cause::Start));
                continue;
            };
            if let Some(cause) = epoch.is_over(pairing) {
                *epoch = Epoch::begin(pairing, now, cause);
                begun.push(key);
                continue;
            }
            epoch.learn(pairing);
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
            epochs.insert(key.clone(), Epoch::begin(pairing, now, Cause::Asked));
            key
        };
        chosen.map(one).collect()
    }

    /// Goes on with an epoch that began before this process, and with its counts.
    pub fn restore(
        &self,
        route: &str,
        mirror: &str,
        epoch: Epoch,
        (counted, clients): (Counts, Option<Clients>),
    ) {
        let epoch = Epoch {
            carried: Arc::new(counted),
            base: Arc::default(),
            clients_carried: clients.map(Arc::new),
            clients_base: None,
            ..epoch
        };
        self.lock().insert((route.to_owned(), mirror.to_owned()), epoch);
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

    /// The counts of the epoch, where those of this process are `now`.
    pub fn counted(&self, now: &Counts) -> Counts {
        self.carried.plus(&now.since(&self.base))
    }

    /// Responses to clients since the epoch began, where the counts of this process are `now`.
    pub fn clients(&self, now: &Clients) -> Clients {
        let new = self.clients_base.as_ref().map_or_else(|| now.clone(), |base| now.since(base));
        self.clients_carried.as_ref().map_or_else(|| new.clone(), |carried| new.plus(carried))
    }

    fn begin(of: &Looked<'_>, now: SystemTime, because: Cause) -> Self {
        let is_new = because == Cause::Start;
        Self {
            began: now,
            because,
            base: if is_new { Arc::default() } else { Arc::new((of.counts)()) },
            carried: Arc::default(),
            share: of.share,
            clients_base: if is_new { None } else { (of.clients)().map(Arc::new) },
            clients_carried: None,
            marks: Vec::new(),
            number: 0,
            endpoints: of.endpoints.clone(),
            versions: of.versions.clone(),
            question: of.question.clone(),
        }
    }

    /// Why it has ended, if it has.
    fn is_over(&self, of: &Looked<'_>) -> Option<Cause> {
        let is_replaced = |(then, now): (&BTreeSet<String>, &BTreeSet<String>)| {
            !then.is_empty() && !now.is_empty() && then.is_disjoint(now)
        };
        let is_other = |(then, now): (&Option<String>, &Option<String>)| {
            then.as_ref().zip(now.as_ref()).is_some_and(|(then, now)| then != now)
        };
        if self.versions.iter().zip(&of.versions).any(is_other) {
            return Some(Cause::Version);
        }
        if self.endpoints.iter().zip(&of.endpoints).any(is_replaced) {
            return Some(Cause::Endpoints);
        }
        (self.question != of.question).then_some(Cause::Rules)
    }

    /// Notes the first endpoints and versions, where none were known at the beginning.
    fn learn(&mut self, of: &Looked<'_>) {
        for (then, now) in self.endpoints.iter_mut().zip(&of.endpoints) {
            if then.is_empty() {
                then.clone_from(now);
            }
        }
        for (then, now) in self.versions.iter_mut().zip(&of.versions) {
            if then.is_none() {
                then.clone_from(now);
            }
        }
        if self.share != of.share {
            // Another trial, whose counters begin anew.
            (self.share, self.clients_base, self.clients_carried) = (of.share, None, None);
        }
    }

    fn mark(&mut self, pairing: &Looked<'_>, now: SystemTime) {
        let last = self.marks.last().map_or(self.began, |mark| mark.at);
        if now.duration_since(last).is_ok_and(|since| since < MARK_EVERY) {
            return;
        }
        // As large as it may be in a file that is read.
        self.number = self.number.saturating_add(1);
        let mut counted = Arc::new(self.counted(&(pairing.counts)()));
        // A moment without new counts takes no room.
        if let Some(last) = self.marks.last()
            && last.counted.pairs() == counted.pairs()
            && last.counted.unreachable == counted.unreachable
            && last.counted.left_out() == counted.left_out()
        {
            counted = Arc::clone(&last.counted);
        }
        self.marks.push(Mark { at: now, number: self.number, counted });
        if self.marks.len() > MARKS_MAX {
            // Of two neighbours whose ages are most alike the later tells least; the oldest and the last two stay.
            let ages: Vec<f64> = self
                .marks
                .iter()
                .map(|mark| f64::from(self.number.saturating_sub(mark.number)) + 1.0)
                .collect();
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
