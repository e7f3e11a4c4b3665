//! `GET /status`: the process, its health, and the open troubles, each in a sentence with its beginning and its count.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::changes::change;
use super::state::AdminState;
use crate::control::{Snapshot, Trouble};
use crate::observe::disclosure::rfc3339;

/// `GET /status`
pub(super) async fn status(State(state): State<Arc<AdminState>>) -> Json<Value> {
    let health = state.health.borrow().clone();
    let snapshot = state.store.open();
    let (changes, count) = state.store.changes.after(0);
    let uptime = SystemTime::now().duration_since(state.started).unwrap_or_default();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started": rfc3339(state.started),
        "uptime_seconds": uptime.as_secs_f64(),
        "phase": health.phase.text(),
        "workers": snapshot.config.workers.count,
        "workers_stuck": health.stuck,
        "listeners": state.store.listening().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "configuration": {
            "applied": snapshot.applied,
            "refused": snapshot.refused,
            "changes": count,
            "last_change": changes.last().map(change),
        },
        "routes": routes(&snapshot),
        "troubles": state.store.troubles().iter().map(trouble).collect::<Vec<_>>(),
    }))
}

/// Since the start, or since the route came.
fn routes(snapshot: &Snapshot) -> Vec<Value> {
    let one = |(index, route): (usize, &config::Route)| {
        let workers = snapshot.counters.iter().filter_map(|counters| counters.routes.get(index));
        let mut requests: BTreeMap<String, u64> = BTreeMap::new();
        let mut aborted = 0;
        for counters in workers {
            aborted += counters.aborted.get();
            for (code, n) in counters.requests.seen() {
                let class = code.class().map_or_else(|| "other".to_owned(), |class| format!("{class}xx"));
                *requests.entry(class).or_default() += n;
            }
        }
        json!({ "name": route.name, "requests": requests, "aborted": aborted })
    };
    snapshot.config.routes.iter().enumerate().map(one).collect()
}

fn trouble(of: &Trouble) -> Value {
    let at = |since: Duration| rfc3339(UNIX_EPOCH + since);
    let losses: BTreeMap<&str, u64> = of.losses.iter().copied().collect();
    json!({
        "kind": of.kind.text(),
        "subject": of.subject,
        "since": at(of.since),
        "until": of.until.map(at),
        "losses": losses,
        "text": of.text,
    })
}
