//! Pages of the configuration in force, as JSON or as TOML, and pages that take changes. The pages pass a change on and answer
//! with its result; the control loop judges whether it is sound.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use config::{Action, Config, Mirror};
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::{Given, Path, Query, Text};
use super::state::{AdminState, Permitted};
use crate::control::{By, Change, ConfigStore, Difference, Made};
use crate::observe::disclosure::rfc3339;

/// `GET /routes`
pub(super) async fn routes(State(state): State<Arc<AdminState>>) -> Json<Value> {
    Json(json!({ "routes": routes_like(&state.store, |_| true) }))
}

/// The routes whose names are wanted, as they are in force.
fn routes_like(store: &ConfigStore, is_wanted: impl Fn(&str) -> bool) -> Vec<Value> {
    let config = store.open().config;
    let route = |route: &config::Route| {
        let matches: Vec<String> = route.matches.iter().map(ToString::to_string).collect();
        let (action, detail) = match &route.action {
            Action::Forward(forward) => {
                let primary = |p: &config::Primary| {
                    let name = p.upstream.and_then(|id| config.upstreams.get(id)).map(|u| u.name.as_str());
                    json!({ "upstream": name, "weight": p.weight })
                };
                ("primaries", json!(forward.primaries.iter().map(primary).collect::<Vec<_>>()))
            }
            Action::Redirect(redirect) => ("redirect", json!({ "status": redirect.status })),
            Action::Reply(reply) => ("reply", json!({ "status": reply.status })),
        };
        let mirrors: Vec<&str> = route.mirrors.iter().map(|mirror| mirror.name.as_str()).collect();
        json!({ "name": route.name, "matches": matches, action: detail, "mirrors": mirrors })
    };
    config.routes.iter().filter(|of| is_wanted(&of.name)).map(route).collect()
}

/// `GET /mirrors`
pub(super) async fn mirrors(State(state): State<Arc<AdminState>>) -> Json<Value> {
    Json(json!({ "mirrors": mirrors_like(&state.store, |_, _| true) }))
}

/// The mirrors that are wanted by their names and those of their routes, as they are in force.
fn mirrors_like(store: &ConfigStore, is_wanted: impl Fn(&str, &str) -> bool) -> Vec<Value> {
    let (config, whole) = (store.open().config, store.whole());
    let percent = |mirror: &Mirror| f64::from(mirror.percent.per_million) / 10_000.0;
    let mut mirrors = Vec::new();
    for route in &config.routes {
        let written = whole.routes.iter().find(|written| written.name == route.name);
        for mirror in route.mirrors.iter().filter(|mirror| is_wanted(&mirror.name, &route.name)) {
            let written = written.and_then(|route| route.mirrors.iter().find(|m| m.name == mirror.name));
            mirrors.push(json!({
                "name": mirror.name,
                "route": route.name,
                "upstream": upstream_of(&config, mirror.lane),
                "role": mirror.role.as_str(),
                "percent": percent(mirror),
                "configured_percent": percent(written.unwrap_or(mirror)),
            }));
        }
    }
    mirrors
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct After {
    /// The last change that the client knows.
    after: Option<u64>,
}

/// `GET /changes?after=NUMBER`: past changes with old and new values and authors, the oldest first.
pub(super) async fn changes(
    State(state): State<Arc<AdminState>>,
    Query(After { after }): Query<After>,
) -> Json<Value> {
    let (made, count) = state.store.changes.after(after.unwrap_or(0));
    Json(json!({ "count": count, "changes": made.iter().map(change).collect::<Vec<_>>() }))
}

/// A change as JSON. Texts are escaped, so that clients can print them within a line.
pub(super) fn change(made: &Made) -> Value {
    let by = match &made.by {
        By::Api { address, has_token } => {
            json!({ "kind": made.by.kind(), "address": address.map(|address| address.to_string()), "token": has_token })
        }
        By::Signal(name) => json!({ "kind": made.by.kind(), "signal": name }),
        By::File(name) => json!({ "kind": made.by.kind(), "file": name }),
        By::Kubernetes => json!({ "kind": made.by.kind() }),
    };
    let what = |of: &Difference| json!({ "key": of.key, "from": given(&of.from), "to": given(&of.to) });
    json!({
        "number": made.number,
        "at": rfc3339(made.at),
        "by": by,
        "what": made.differences.iter().map(what).collect::<Vec<_>>(),
        "more": made.more,
        "refused": made.refused,
    })
}

fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn upstream_of(config: &Config, lane: config::LaneId) -> Option<&str> {
    let upstream = config.lanes.get(lane)?.upstream;
    Some(config.upstreams.get(upstream)?.name.as_str())
}

/// `GET /config`: the configuration in force, as TOML; whole for clients that may change it.
pub(super) async fn config(State(state): State<Arc<AdminState>>, headers: HeaderMap) -> Response {
    let text = match state.refuses(&headers) {
        None => state.store.written(|shown| &shown.whole),
        Some(_) => state.store.written(|shown| &shown.masked),
    };
    ([(CONTENT_TYPE, "application/toml")], text).into_response()
}

/// `PUT /config`: a whole configuration, as TOML.
pub(super) async fn put_config(
    State(state): State<Arc<AdminState>>,
    Permitted(by): Permitted,
    Text(text): Text,
) -> Response {
    state.ask(Change::Text(text), by, |_| Value::Null).await
}

/// `POST /reload`: reads the source of the configuration again.
pub(super) async fn reload(State(state): State<Arc<AdminState>>, Permitted(by): Permitted) -> Response {
    state.ask(Change::Source, by, |_| Value::Null).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Percent {
    percent: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OnRoute {
    route: Option<String>,
}

/// `PATCH /mirrors/{name}?route=NAME`: `{"percent": 5}`.
pub(super) async fn patch_mirror(
    State(state): State<Arc<AdminState>>,
    Permitted(by): Permitted,
    Path(mirror): Path<String>,
    Query(OnRoute { route }): Query<OnRoute>,
    Given(Percent { percent }): Given<Percent>,
) -> Response {
    let (name, on) = (mirror.clone(), route.clone());
    let now = move |store: &ConfigStore| json!({ "mirrors": mirrors_like(store, |mirror, route| mirror == name && on.as_deref().is_none_or(|on| on == route)) });
    state.ask(Change::Percent { mirror, route, percent }, by, now).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Weights {
    weights: BTreeMap<String, Weight>,
}

/// JSON has one kind of number: 90.0 is as whole as 90.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "f64")]
struct Weight(u32);

impl TryFrom<f64> for Weight {
    type Error = String;

    fn try_from(number: f64) -> Result<Self, String> {
        let is_whole = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
        if !is_whole {
            return Err(format!("{number} is not a whole number from 0 to {}", u32::MAX));
        }
        // Within the range, so the cast neither wraps nor saturates.
        Ok(Self(number as u32))
    }
}

/// `PATCH /routes/{name}`: `{"weights": {"v1": 90, "v2": 10}}`.
pub(super) async fn patch_route(
    State(state): State<Arc<AdminState>>,
    Permitted(by): Permitted,
    Path(route): Path<String>,
    Given(Weights { weights }): Given<Weights>,
) -> Response {
    let name = route.clone();
    let now = move |store: &ConfigStore| json!({ "routes": routes_like(store, |route| route == name) });
    let weights = weights.into_iter().map(|(name, Weight(weight))| (name, weight)).collect();
    state.ask(Change::Weights { route, weights }, by, now).await
}
