//! The last minutes, second by second: how much was asked, how fast either side answered, what became of the copies.
//!
//! Once a second it looks at the counters and keeps what came since the look before, for a while. It judges nothing and
//! draws nothing; that is the page's part. Looking is kept cheap by its own pauses, whatever the size of the configuration.

mod look;
mod series;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::Query;
use super::epoch;
use crate::control::ConfigStore;
use crate::metrics::Shard;
use look::Look;
use series::Series;

/// From one look to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// Looks kept: five minutes of seconds.
const SAMPLES_MAX: usize = 300;

/// After a look that took long comes a pause this many times as long: looking costs at most a hundredth of a core. A
/// configuration of ten thousand routes is looked at more rarely instead.
const COST_PARTS: u32 = 100;

/// Sampled by a task of its own, read by the pages.
#[derive(Debug)]
pub(super) struct Live {
    store: Arc<ConfigStore>,
    shards: Vec<Arc<Shard>>,
    started: SystemTime,
    /// Only the control plane's one thread takes it, so nobody waits.
    series: Mutex<Series>,
}

impl Live {
    /// `shards`: one for each worker, by its number. Nothing is sampled before [`Live::watch`] runs.
    pub(super) fn new(store: Arc<ConfigStore>, shards: Vec<Arc<Shard>>, started: SystemTime) -> Arc<Self> {
        Arc::new(Self { store, shards, started, series: Mutex::new(Series::new(SAMPLES_MAX)) })
    }

    /// Looks for the rest of the process's life.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut last = (self.look(), Instant::now());
        let mut pause = INTERVAL;
        loop {
            tokio::time::sleep(pause).await;
            let began = Instant::now();
            self.sample(&mut last, began);
            epoch::look(&self.store);
            pause = pause_after(INTERVAL, began.elapsed());
        }
    }

    /// Keeps what came since the `last` look, and makes this one the last.
    fn sample(&self, last: &mut (Look, Instant), now: Instant) {
        let look = self.look();
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let sample = look.since(&last.0, now.duration_since(last.1), since_epoch);
        self.series.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
        *last = (look, now);
    }

    fn look(&self) -> Look {
        Look::at(&self.store.open(), &self.shards)
    }
}

/// So long that looking each `interval` stays within its part of the time.
pub(super) fn pause_after(interval: Duration, took: Duration) -> Duration {
    interval.saturating_sub(took).max(took.saturating_mul(COST_PARTS))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct After {
    /// The last sample that the client has.
    after: Option<u64>,
}

/// `GET /live?after=SEQ`: what was sampled since, by column.
pub(super) async fn live(State(live): State<Arc<Live>>, Query(After { after }): Query<After>) -> Json<Value> {
    let started = live.started.duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
    let columns = live.series.lock().unwrap_or_else(PoisonError::into_inner).after(after.unwrap_or(0));
    let mut answer = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started": started,
        "samples_max": SAMPLES_MAX,
    });
    if let (Some(answer), Value::Object(columns)) = (answer.as_object_mut(), columns) {
        answer.extend(columns);
    }
    Json(answer)
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
            let Json(answer) = super::live(State(Arc::clone(&live)), Query(After { after })).await;
            (answer["seq"].clone(), answer["requests"]["2xx"].clone(), answer["requests"]["4xx"].clone())
        };
        store.open().counters[0].routes[0].requests.inc(200);
        let began = Instant::now();
        let mut last = (live.look(), began);
        assert_eq!(ask(None).await, (json!(0), json!([]), json!([])), "before the first second is over");
        store.open().counters[1].routes[0].requests.inc(404);
        live.sample(&mut last, began + INTERVAL);
        assert_eq!(ask(None).await, (json!(1), json!([0]), json!([1])));
        assert_eq!(ask(Some(1)).await, (json!(1), json!([]), json!([])));
        live.sample(&mut last, began + 2 * INTERVAL);
        assert_eq!(ask(Some(1)).await, (json!(2), json!([0]), json!([0])));
    }
}
