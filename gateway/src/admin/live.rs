//! The last day: rate of requests, times of either side, fates of copies; the last five minutes second by second, older parts
//! in longer steps.
//!
//! Once a second the room looks at the counters and keeps the difference to the look before, for a while; and in each of its
//! steps, with the times of that step. Judging and drawing are the page's part. Looking is kept cheap by its own pauses,
//! whatever the size of the configuration.

mod kept;
mod look;
mod series;
mod trends;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::Query;
use super::epoch;
use crate::control::ConfigStore;
use crate::limits::{HISTORY_SAVE_SECONDS, HISTORY_STEPS};
use crate::metrics::Shard;
use look::Look;
use series::Series;
use trends::Trends;

/// From one look to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// From one time that the history is written to its file to the next.
const SAVE_EVERY: Duration = Duration::from_secs(HISTORY_SAVE_SECONDS);

/// A look comes late by so much at most and still ends a step: steps do not drift apart from looks.
const EARLY: Duration = Duration::from_millis(500);

/// After a look that took long comes a pause this many times as long: looking costs at most a hundredth of a core. A
/// configuration of ten thousand routes is looked at more rarely instead.
const COST_PARTS: u32 = 100;

/// Sampled by a task of its own, read by the pages.
#[derive(Debug)]
pub(super) struct Live {
    store: Arc<ConfigStore>,
    shards: Vec<Arc<Shard>>,
    started: SystemTime,
    /// Taken by the control plane's one thread alone: it never blocks.
    history: Mutex<[Steps; HISTORY_STEPS.len()]>,
}

/// The history in steps of one length.
#[derive(Debug)]
struct Steps {
    seconds: u64,
    series: Series,
    trends: Trends,
}

/// Where each series' newest sample ends.
type Last = [(Arc<Look>, Instant); HISTORY_STEPS.len()];

impl Live {
    /// `shards`: one for each worker, by its number. Nothing is sampled before [`Live::watch`] runs.
    pub(super) fn new(store: Arc<ConfigStore>, shards: Vec<Arc<Shard>>, started: SystemTime) -> Arc<Self> {
        let steps = HISTORY_STEPS.map(|(seconds, samples_max)| Steps {
            seconds,
            series: Series::new(samples_max),
            trends: Trends::new(seconds * samples_max as u64),
        });
        Arc::new(Self { store, shards, started, history: Mutex::new(steps) })
    }

    /// Looks for the rest of the process's life.
    pub(super) async fn watch(self: Arc<Self>) {
        self.restore().await;
        let mut last = self.begin(Instant::now());
        let (mut pause, mut saved, mut is_failing) = (INTERVAL, Instant::now(), false);
        loop {
            tokio::time::sleep(pause).await;
            let began = Instant::now();
            self.sample(&mut last, began);
            epoch::look(&self.store);
            if began.duration_since(saved) >= SAVE_EVERY {
                (saved, is_failing) = (began, self.save(is_failing).await);
            }
            pause = pause_after(INTERVAL, began.elapsed());
        }
    }

    /// Puts the history that an earlier process kept before this one's.
    async fn restore(&self) {
        let Some(path) = self.store.open().config.admin.history.clone() else { return };
        let shown = path.display().to_string();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let read = tokio::task::spawn_blocking(move || kept::read(&path)).await;
        match read.unwrap_or_else(|lost| Err(lost.to_string())) {
            Ok(kept) => {
                let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
                for steps in history.iter_mut() {
                    kept.of(steps.seconds, now).for_each(|sample| steps.series.push(sample));
                }
            }
            Err(why) => tracing::warn!("what the dashboard showed before is not known: {shown}: {why}"),
        }
    }

    /// Keeps it in the file that is configured; whether that failed, which is said once.
    async fn save(&self, is_failing: bool) -> bool {
        let Some(path) = self.store.open().config.admin.history.clone() else { return false };
        let text = {
            let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
            kept::text(history.iter().map(|steps| (steps.seconds, steps.series.samples())))
        };
        let shown = path.display().to_string();
        let written = tokio::task::spawn_blocking(move || kept::write(&path, &text)).await;
        let written = written.unwrap_or_else(|lost| Err(std::io::Error::other(lost)));
        match (&written, is_failing) {
            (Err(why), false) => tracing::error!("the dashboard's history is not kept: {shown}: {why}"),
            (Ok(()), true) => tracing::info!("the dashboard's history is kept again: {shown}"),
            (Err(_), true) | (Ok(()), false) => {}
        }
        written.is_err()
    }

    fn begin(&self, now: Instant) -> Last {
        let look = Arc::new(self.look());
        std::array::from_fn(|_| (Arc::clone(&look), now))
    }

    /// Keeps the difference to the `last` look, and makes this one the last; the same for each step that is over.
    fn sample(&self, last: &mut Last, now: Instant) {
        let look = Arc::new(self.look());
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let snapshot = self.store.open();
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        for (steps, last) in history.iter_mut().zip(last) {
            steps.trends.look(&snapshot, now);
            let length = now.duration_since(last.1);
            if length + EARLY >= Duration::from_secs(steps.seconds) {
                steps.series.push(look.since(&last.0, length, at));
                *last = (Arc::clone(&look), now);
            }
        }
    }

    fn look(&self) -> Look {
        Look::at(&self.store.open(), &self.shards)
    }
}

/// The steps that reach so far back, the shortest of them; the longest where none does.
fn reaching(seconds: Option<u64>) -> usize {
    let reach = |(step, samples_max): &(u64, usize)| *step * *samples_max as u64;
    let wanted = seconds.unwrap_or(0);
    HISTORY_STEPS.iter().position(|steps| reach(steps) >= wanted).unwrap_or(HISTORY_STEPS.len() - 1)
}

/// So long that looking each `interval` stays within its part of the time.
pub(super) fn pause_after(interval: Duration, took: Duration) -> Duration {
    interval.saturating_sub(took).max(took.saturating_mul(COST_PARTS))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct After {
    /// The last sample that the client has.
    after: Option<u64>,
    /// How far back it looks: five minutes where it does not say.
    seconds: Option<u64>,
}

/// `GET /live?after=SEQ&seconds=3600`: later samples, by column, in the shortest steps that reach so far back.
pub(super) async fn live(
    State(live): State<Arc<Live>>,
    Query(After { after, seconds }): Query<After>,
) -> Json<Value> {
    let started = live.started.duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
    let at = reaching(seconds);
    let columns = {
        let history = live.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.get(at).map(|steps| steps.series.after(after.unwrap_or(0)))
    };
    let (step, samples_max) = HISTORY_STEPS.get(at).copied().unwrap_or_default();
    let mut answer = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started": started,
        "step_seconds": step,
        "samples_max": samples_max,
    });
    if let (Some(answer), Some(Value::Object(columns))) = (answer.as_object_mut(), columns) {
        answer.extend(columns);
    }
    Json(answer)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reach {
    seconds: Option<u64>,
}

/// `GET /live/routes?seconds=300`: by route, the clients' requests, the failures and the lost copies, in sixty steps.
pub(super) async fn trends(
    State(live): State<Arc<Live>>,
    Query(Reach { seconds }): Query<Reach>,
) -> Json<Value> {
    let history = live.history.lock().unwrap_or_else(PoisonError::into_inner);
    Json(history.get(reaching(seconds)).map_or(Value::Null, |steps| steps.trends.json()))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OnRoute {
    route: Option<String>,
}

/// `GET /live/distributions?route=NAME`: how both sides' times are distributed since the start, of the requests that the
/// mirror answered too.
pub(super) async fn distributions(
    State(live): State<Arc<Live>>,
    Query(OnRoute { route }): Query<OnRoute>,
) -> Json<Value> {
    let all = look::distributions(&live.store.open(), route.as_deref());
    Json(json!({ "quantiles": look::QUANTILES, "distributions": all }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::budget::tests::config;

    #[test]
    fn looking_never_costs_more_than_its_part() {
        assert_eq!(pause_after(INTERVAL, Duration::ZERO), INTERVAL);
        assert_eq!(pause_after(INTERVAL, Duration::from_millis(1)), Duration::from_millis(999));
        assert_eq!(pause_after(INTERVAL, Duration::from_millis(50)), Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_second_is_told_by_what_came_in_it_and_only_once() {
        let config = Arc::new(config());
        let (store, shards) = (ConfigStore::new(&config), vec![Arc::<Shard>::default(), Arc::default()]);
        let live = Live::new(Arc::clone(&store), shards, SystemTime::now());
        let ask = async |after| {
            let asked = After { after, seconds: None };
            let Json(answer) = super::live(State(Arc::clone(&live)), Query(asked)).await;
            (answer["seq"].clone(), answer["requests"]["2xx"].clone(), answer["requests"]["4xx"].clone())
        };
        store.open().counters[0].routes[0].requests.inc(200);
        let began = Instant::now();
        let mut last = live.begin(began);
        assert_eq!(ask(None).await, (json!(0), json!([]), json!([])), "before the first second is over");
        store.open().counters[1].routes[0].requests.inc(404);
        live.sample(&mut last, began + INTERVAL);
        assert_eq!(ask(None).await, (json!(1), json!([0]), json!([1])));
        assert_eq!(ask(Some(1)).await, (json!(1), json!([]), json!([])));
        live.sample(&mut last, began + 2 * INTERVAL);
        assert_eq!(ask(Some(1)).await, (json!(2), json!([0]), json!([0])));
    }
    #[tokio::test]
    async fn what_is_older_is_kept_in_longer_steps_and_none_grows_beyond_its_bound() {
        let config = Arc::new(config());
        let store = ConfigStore::new(&config);
        let live = Live::new(Arc::clone(&store), vec![Arc::default()], SystemTime::now());
        let began = Instant::now();
        let mut last = live.begin(began);
        for second in 1..=700 {
            store.open().counters[0].routes[0].requests.inc(200);
            live.sample(&mut last, began + second * INTERVAL);
        }
        for (seconds, step, samples, each) in
            [(None, 1, 300, 1), (Some(300), 1, 300, 1), (Some(301), 10, 70, 10), (Some(86_400), 120, 5, 120)]
        {
            let Json(told) =
                super::live(State(Arc::clone(&live)), Query(After { after: None, seconds })).await;
            let ok: Vec<u64> = serde_json::from_value(told["requests"]["2xx"].clone()).unwrap();
            assert_eq!((told["step_seconds"].as_u64(), ok.len()), (Some(step), samples), "{seconds:?}");
            assert!(ok.iter().all(|n| *n == each), "{seconds:?}: {ok:?}");
        }
        assert_eq!(reaching(Some(u64::MAX)), HISTORY_STEPS.len() - 1);
    }

    #[tokio::test]
    async fn what_an_earlier_process_kept_goes_before_what_this_one_sees() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = config();
        kept.admin.history = Some(folder.path().join("history"));
        let kept = Arc::new(kept);
        let start = || {
            let store = ConfigStore::new(&kept);
            (Live::new(Arc::clone(&store), vec![Arc::default()], SystemTime::now()), store)
        };
        let told = async |live: &Arc<Live>| {
            let asked = After { after: None, seconds: Some(3_600) };
            let Json(told) = super::live(State(Arc::clone(live)), Query(asked)).await;
            told["requests"]["2xx"].clone()
        };
        let (live, store) = start();
        live.restore().await;
        let began = Instant::now();
        let mut last = live.begin(began);
        store.open().counters[0].routes[0].requests.inc(200);
        live.sample(&mut last, began + 10 * INTERVAL);
        assert!(!live.save(false).await, "it is written");
        let (live, store) = start();
        live.restore().await;
        let mut last = live.begin(began);
        store.open().counters[0].routes[0].requests.inc(200);
        store.open().counters[0].routes[0].requests.inc(200);
        live.sample(&mut last, began + 10 * INTERVAL);
        assert_eq!(told(&live).await, json!([1, 2]));
        // A file that holds no history costs the old history, and nothing else.
        std::fs::write(folder.path().join("history"), "{").unwrap();
        let (live, _store) = start();
        live.restore().await;
        assert_eq!(told(&live).await, json!([]));
    }
}
