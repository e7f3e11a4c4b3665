//! `GET /histograms`: distributions of times since the start and of the last minutes, as JSON or for HdrHistogram's tools.

mod series;
mod text;
mod windows;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::Query;
use super::live::pause_after;
use super::outcomes::summary;
use crate::control::ConfigStore;
use crate::metrics::Slots;
use series::{Key, Name, Wanted};
use windows::{LENGTH, Windows};

/// The interval where none is asked for.
const INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chosen {
    route: Option<String>,
    mirror: Option<String>,
    name: Option<Name>,
    format: Option<Format>,
    /// How long the interval is to be; as much as is kept where that is less.
    seconds: Option<u32>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Json,
    Hgrm,
    Hlog,
}

/// Looked at by a task of its own, read by the page.
#[derive(Debug)]
pub(super) struct Histograms {
    store: Arc<ConfigStore>,
    /// Taken by the control plane's one thread alone: it never blocks.
    windows: Mutex<Windows>,
}

impl Histograms {
    pub(super) fn new(store: Arc<ConfigStore>) -> Arc<Self> {
        Arc::new(Self { store, windows: Mutex::default() })
    }

    /// Looks for the rest of the process's life.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            let began = Instant::now();
            self.look(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
            tokio::time::sleep(pause_after(LENGTH, began.elapsed())).await;
        }
    }

    fn look(&self, now: Duration) {
        let all = series::all(&self.store.open(), &Wanted::default());
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).look(now, all);
    }
}

/// `GET /histograms?route=NAME&mirror=NAME&name=NAME&seconds=N&format=json|hgrm|hlog`
pub(super) async fn histograms(
    State(histograms): State<Arc<Histograms>>,
    Query(Chosen { route, mirror, name, format, seconds }): Query<Chosen>,
) -> Response {
    let wanted = Wanted { route, mirror, name };
    let length = seconds.map(|seconds| Duration::from_secs(seconds.into()));
    let all = series::all(&histograms.store.open(), &wanted);
    let windows = histograms.windows.lock().unwrap_or_else(PoisonError::into_inner);
    match format.unwrap_or(Format::Json) {
        Format::Json => json(&all, &windows, length.unwrap_or(INTERVAL)),
        Format::Hgrm => {
            let one = |(key, slots): &(Key, Slots)| match length {
                None => text::percentiles(key, &slots.merged()),
                Some(length) => text::percentiles(key, &within(&windows, length, key).merged()),
            };
            plain(all.iter().map(one).collect())
        }
        Format::Hlog => {
            let windows = windows.newest(length.unwrap_or(Duration::MAX));
            plain(text::log(windows, |key| all.iter().any(|(other, _)| other == key)))
        }
    }
}

fn plain(text: String) -> Response {
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// A distribution over the newest windows.
fn within(windows: &Windows, length: Duration, key: &Key) -> Slots {
    let of = windows.newest(length).flat_map(|window| &window.series);
    Slots::together(of.filter(|(other, _)| other == key).map(|(_, slots)| slots))
}

fn json(all: &[(Key, Slots)], windows: &Windows, length: Duration) -> Response {
    let from = windows.newest(length).next().map(|window| window.from);
    let interval = from.zip(windows.until()).map(|(from, until)| {
        json!({ "from": from.as_secs_f64(), "seconds": until.saturating_sub(from).as_secs_f64() })
    });
    let times = |slots: &Slots| summary(&slots.merged(), "seconds", 1e-6);
    let one = |(key, slots): &(Key, Slots)| -> Value {
        json!({
            "name": key.name.text(),
            "route": key.route,
            "upstream": key.upstream,
            "mirror": key.mirror,
            "since_start": times(slots),
            "interval": times(&within(windows, length, key)),
        })
    };
    let told: Vec<Value> = all.iter().map(one).collect();
    Json(json!({ "interval": interval, "histograms": told })).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::budget::tests::config;

    async fn ask(of: &Arc<Histograms>, chosen: Chosen) -> String {
        let answer = histograms(State(Arc::clone(of)), Query(chosen)).await;
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn all_since_the_start_stands_beside_what_came_in_the_interval() {
        let store = ConfigStore::new(&Arc::new(config()));
        let of = Histograms::new(Arc::clone(&store));
        let counters = store.open().counters;
        counters[0].mirrors[0][0].latency.record(1_000);
        counters[0].routes[0].duration.record(500);
        let json = async |chosen| serde_json::from_str::<Value>(&ask(&of, chosen).await).unwrap();
        let before = json(Chosen::default()).await;
        assert_eq!(before["interval"], Value::Null);
        assert_eq!(before["histograms"][0]["interval"]["count"], 0);
        of.look(Duration::from_secs(100));
        counters[1].mirrors[0][0].latency.record(3_000);
        of.look(Duration::from_secs(110));
        let told = json(Chosen::default()).await;
        assert_eq!(told["interval"], json!({ "from": 100.0, "seconds": 10.0 }));
        let counts = |of: &Value, key: &str| (of["name"].clone(), of[key]["count"].clone());
        let all = told["histograms"].as_array().unwrap();
        let since: Vec<_> = all.iter().map(|of| counts(of, "since_start")).collect();
        let interval: Vec<_> = all.iter().map(|of| counts(of, "interval")).collect();
        assert_eq!(since, [(json!("route"), json!(1)), (json!("mirror"), json!(2))]);
        assert_eq!(interval, [(json!("route"), json!(0)), (json!("mirror"), json!(1))]);
        let hgrm = |seconds| Chosen {
            name: Some(Name::Mirror),
            format: Some(Format::Hgrm),
            seconds,
            ..Chosen::default()
        };
        assert!(ask(&of, hgrm(None)).await.ends_with("Total count    =            2]\n"));
        assert!(ask(&of, hgrm(Some(10))).await.ends_with("Total count    =            1]\n"));
        let log = ask(&of, Chosen { format: Some(Format::Hlog), ..Chosen::default() }).await;
        assert_eq!(log.matches("Tag=").count(), 1, "{log}");
    }
}
