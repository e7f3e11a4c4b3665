//! Writes statuses: by the Lease's holder alone, of the configuration in force, and only where one changes.
//!
//! Others write these objects too. Each write names the resource version that it was made of; on a conflict it is made again of
//! the next version. Writes are limited in rate, and one object is written at most once a second, whoever else writes it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::Cluster;
use super::api::{Api, Trouble};
use super::kinds::Kind;
use super::lease;
use super::status::{self, Desired, View};
use super::store::Key;
use crate::visible::visible;

/// Between two writes.
const WRITE_EVERY: Duration = Duration::from_millis(100);

/// Between two writes of one object.
const SAME_EVERY: Duration = Duration::from_secs(1);

/// A status that the API server refuses for its content is offered again after so long.
const REFUSED_AGAIN: Duration = Duration::from_secs(30);

/// An API server that says how long to wait is heard, up to this long.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// A write that is to be made.
struct Due {
    kind: Kind,
    key: Key,
    path: String,
    patch: Value,
}

/// Writes for the rest of the process's life.
pub(super) async fn write(api: Api, cluster: Cluster) {
    // Objects that are not to be written before then.
    let mut rest: BTreeMap<(Kind, Key), Instant> = BTreeMap::new();
    let mut again = false;
    loop {
        let told = cluster.0.news.status.notified();
        if again {
            let _ = tokio::time::timeout(SAME_EVERY, told).await;
        } else {
            told.await;
        }
        again = false;
        let leads = || cluster.0.counters.leads.load(Relaxed);
        if !leads() || !cluster.is_synced() {
            continue;
        }
        let this = cluster.clone();
        let Ok(due) = tokio::task::spawn_blocking(move || this.due()).await else { continue };
        rest.retain(|_, until| *until > Instant::now());
        for Due { kind, key, path, patch } in due {
            let id = (kind, key);
            if !leads() {
                break;
            }
            if rest.contains_key(&id) {
                again = true;
                continue;
            }
            rest.insert(id.clone(), Instant::now() + SAME_EVERY);
            let counters = cluster.counters();
            match api.merge(&path, &patch).await {
                Ok(object) => {
                    counters.written.fetch_add(1, Relaxed);
                    cluster.written(kind, object);
                }
                Err(trouble) if trouble.code() == Some(409) => {
                    counters.conflicts.fetch_add(1, Relaxed);
                    again = true;
                }
                // The object was deleted meanwhile.
                Err(trouble) if trouble.code() == Some(404) => {}
                Err(trouble) => {
                    counters.unwritten.fetch_add(1, Relaxed);
                    again = true;
                    cluster.unwritten(kind, &id.1, &trouble);
                    if matches!(trouble.code(), Some(400 | 413 | 422)) {
                        rest.insert(id, Instant::now() + REFUSED_AGAIN);
                    }
                    if let Trouble::Status { retry_after: Some(after), .. } = trouble {
                        tokio::time::sleep(after.min(PAUSE_MAX)).await;
                    }
                }
            }
            tokio::time::sleep(WRITE_EVERY).await;
        }
    }
}

impl Cluster {
    /// Everything that is not said as it is.
    fn due(&self) -> Vec<Due> {
        let options = &self.0.options;
        let (store, served, unavailable, home) = {
            let state = self.lock();
            (state.store.routing(), state.served.clone(), state.unavailable.clone(), state.home.clone())
        };
        let view = View {
            store: &store,
            rules: &options.rules,
            served: &served,
            unavailable: &unavailable,
            plaintext: options.plaintext.listeners,
            home: &home,
            publish: options.publish.as_ref(),
            own_ports: options.listen.is_empty(),
        };
        let now = lease::seconds(SystemTime::now());
        let due = |Desired { kind, key, status }: Desired| {
            let object = store.get(kind, &key.0, &key.1)?;
            let status = status::merged(kind, object, &status, &options.rules.controller, &now)?;
            let version = object.pointer("/metadata/resourceVersion")?.clone();
            let (_, served) = object.get("apiVersion")?.as_str()?.rsplit_once('/')?;
            let namespace = Some(key.0.as_str()).filter(|namespace| !namespace.is_empty());
            let path = format!("{}/{}/status", kind.path(served, namespace), key.1);
            Some(Due {
                kind,
                key,
                path,
                patch: json!({"metadata": {"resourceVersion": version}, "status": status}),
            })
        };
        status::desired(&view).into_iter().filter_map(due).collect()
    }

    /// Takes the object of a write's answer, before a watch tells it.
    fn written(&self, kind: Kind, object: Value) {
        let mut state = self.lock();
        // Unless another writer changed the `spec` meanwhile: a watch tells that, and routes follow from it.
        let same_spec =
            super::store::key(&object).and_then(|key| state.store.get(kind, &key.0, &key.1)).is_some_and(
                |known| known.pointer("/metadata/generation") == object.pointer("/metadata/generation"),
            );
        if same_spec {
            state.store.set(kind, None, object);
        }
    }

    fn unwritten(&self, kind: Kind, key: &Key, trouble: &Trouble) {
        // Trouble that is not the object's fault is reported once for its kind.
        let (namespace, name) = match trouble.code() {
            None | Some(401 | 403 | 429 | 500..) => ("", ""),
            Some(_) => (key.0.as_str(), key.1.as_str()),
        };
        if self.lock().report.may_complain(kind, (namespace, name), trouble.code()) {
            tracing::warn!(
                "the status of {} {}/{} cannot be written: {trouble}",
                kind.text(),
                visible(&key.0),
                visible(&key.1)
            );
        }
    }

    /// The process ends: another may write at once.
    pub(crate) async fn end(&self) {
        self.0.news.ending.notify_one();
        let _ = tokio::time::timeout(Duration::from_secs(2), self.0.news.ended.notified()).await;
    }
}
