//! By route, how much clients asked, how much of it failed, and how many copies were lost: few steps, for lines as small as a
//! word.
//!
//! The trends know no clock but the moments that they are given, and tell no more routes apart than are worth a line each.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::control::Snapshot;
use crate::limits::{HISTORY_ROUTES_MAX, HISTORY_TREND_STEPS};

/// Requests; of those, 5xx and answers cut short; copies dropped or failed, of all mirrors.
const COLUMNS: [&str; 3] = ["requests", "errors", "lost"];

/// The counts of one step, by column.
type Point = [u32; COLUMNS.len()];

/// The counts since the start, by column.
type Counted = [u64; COLUMNS.len()];

/// The trend of a route.
#[derive(Debug, Default)]
struct Trend {
    counted: Counted,
    /// The newest last; as many as its route has been there, at most [`HISTORY_TREND_STEPS`].
    points: VecDeque<Point>,
}

#[derive(Debug)]
pub(super) struct Trends {
    step: Duration,
    /// When the newest step ended; `None` before the first look.
    last: Option<Instant>,
    /// How long each step was: where a look takes long, they come more rarely.
    lengths: VecDeque<Duration>,
    routes: HashMap<String, Trend>,
}

impl Trends {
    /// Trends over the last `reach_seconds`.
    pub(super) fn new(reach_seconds: u64) -> Self {
        let step = Duration::from_secs(reach_seconds) / HISTORY_TREND_STEPS as u32;
        Self { step, last: None, lengths: VecDeque::new(), routes: HashMap::new() }
    }

    /// Ends a step where it is over.
    pub(super) fn look(&mut self, snapshot: &Snapshot, now: Instant) {
        let is_first = self.last.is_none();
        if self.last.is_some_and(|last| now.duration_since(last) + super::EARLY < self.step) {
            return;
        }
        if let Some(last) = self.last.replace(now) {
            if self.lengths.len() >= HISTORY_TREND_STEPS {
                self.lengths.pop_front();
            }
            self.lengths.push_back(now.duration_since(last));
        }
        let routes: Vec<&str> =
            snapshot.config.routes.iter().take(HISTORY_ROUTES_MAX).map(|route| route.name.as_str()).collect();
        let names: HashSet<&str> = routes.iter().copied().collect();
        self.routes.retain(|known, _| names.contains(known.as_str()));
        for (index, route) in routes.into_iter().enumerate() {
            let counted = counted(snapshot, index);
            match self.routes.get_mut(route) {
                Some(trend) => trend.push(counted),
                // Counts from before the first look are of no step; those of a new route are of its first step.
                None if is_first => {
                    self.routes.insert(route.to_owned(), Trend { counted, points: VecDeque::new() });
                }
                None => self.routes.entry(route.to_owned()).or_default().push(counted),
            }
        }
    }

    /// Routes that counted nothing are left out, and of the others columns that are all zero.
    pub(super) fn json(&self) -> Value {
        let counts = |trend: &Trend, at: usize| trend.points.iter().any(|point| point.get(at) > Some(&0));
        let one = |(name, trend): (&String, &Trend)| {
            let columns = COLUMNS.iter().enumerate().filter(|(at, _)| counts(trend, *at)).map(|(at, key)| {
                let column: Vec<Option<&u32>> = trend.points.iter().map(|point| point.get(at)).collect();
                ((*key).to_owned(), json!(column))
            });
            let mut told: Map<String, Value> = columns.collect();
            if !told.is_empty() {
                told.insert("route".to_owned(), json!(name));
            }
            told
        };
        let routes: Vec<_> = self.routes.iter().map(one).filter(|told| !told.is_empty()).collect();
        let seconds: Vec<f64> = self.lengths.iter().map(Duration::as_secs_f64).collect();
        json!({
            "step_seconds": self.step.as_secs(),
            "steps_max": HISTORY_TREND_STEPS,
            "seconds": seconds,
            "routes": routes,
        })
    }
}

impl Trend {
    fn push(&mut self, counted: Counted) {
        if self.points.len() >= HISTORY_TREND_STEPS {
            self.points.pop_front();
        }
        // Less than before is another's count: its configuration is new.
        let came = |at: usize| counted[at].saturating_sub(self.counted[at]);
        self.points.push_back(std::array::from_fn(|at| u32::try_from(came(at)).unwrap_or(u32::MAX)));
        self.counted = counted;
    }
}

/// The counts of all workers on a route since the start.
fn counted(snapshot: &Snapshot, index: usize) -> Counted {
    let (mut requests, mut errors, mut lost) = (0, 0, 0);
    for counters in &snapshot.counters {
        let Some(route) = counters.routes.get(index) else { continue };
        errors += route.aborted.get();
        for (code, n) in route.requests.seen() {
            requests += n;
            errors += if code.class() == Some(5) { n } else { 0 };
        }
        for mirror in counters.mirrors.get(index).into_iter().flatten() {
            lost += mirror.dropped.sum() + mirror.failed.sum();
        }
    }
    [requests, errors, lost]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::control::ConfigStore;
    use crate::control::budget::tests::config;

    const STEP: Duration = Duration::from_secs(5);

    #[test]
    fn a_step_holds_what_came_in_it_and_old_ones_go() {
        let store = ConfigStore::new(&Arc::new(config()));
        let (mut trends, began) = (Trends::new(300), Instant::now());
        let snapshot = store.open();
        let (route, mirror) = (&snapshot.counters[0].routes[0], &snapshot.counters[1].mirrors[0][0]);
        route.requests.inc(200);
        trends.look(&snapshot, began);
        assert_eq!(trends.json()["routes"], json!([]), "what came before is of no step");
        route.requests.inc(200);
        trends.look(&snapshot, began + STEP / 2);
        route.requests.inc(503);
        route.aborted.inc();
        mirror.dropped.inc(crate::metrics::DropReason::Stale);
        trends.look(&snapshot, began + STEP);
        let told = trends.json();
        let expect = json!({ "route": "default", "requests": [2], "errors": [2], "lost": [1] });
        assert_eq!((&told["step_seconds"], &told["routes"][0]), (&json!(5), &expect));
        assert_eq!(told["seconds"], json!([5.0]));
        for step in 2..=HISTORY_TREND_STEPS as u32 {
            trends.look(&snapshot, began + step * STEP);
        }
        assert_eq!(
            trends.json()["routes"][0]["requests"].as_array().map(Vec::len),
            Some(HISTORY_TREND_STEPS)
        );
        trends.look(&snapshot, began + (HISTORY_TREND_STEPS as u32 + 1) * STEP);
        assert_eq!(trends.json()["routes"], json!([]));
    }

    #[test]
    fn a_route_that_is_gone_is_forgotten_and_one_that_comes_counts_from_then_on() {
        let store = ConfigStore::new(&Arc::new(config()));
        let (mut trends, began) = (Trends::new(300), Instant::now());
        trends.look(&store.open(), began);
        let mut other = config();
        other.routes[0].name = "other".to_owned();
        store.turn(store.open().after(Arc::new(other)));
        store.open().counters[0].routes[0].requests.inc(200);
        trends.look(&store.open(), began + STEP);
        assert_eq!(trends.json()["routes"], json!([{ "route": "other", "requests": [1] }]));
        assert_eq!(trends.routes.len(), 1);
    }
}
