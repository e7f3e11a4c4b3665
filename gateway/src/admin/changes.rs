//! What is in force, as JSON or as TOML, and the pages where changes are asked for. They pass a change on and tell what became
//! of it; whether it is sound is not their judgement.

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
use crate::control::Change;

/// `GET /routes`
pub(super) async fn routes(State(state): State<Arc<AdminState>>) -> Json<Value> {
    let config = state.store.open().config;
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
    Json(json!({ "routes": config.routes.iter().map(route).collect::<Vec<_>>() }))
}

/// `GET /mirrors`
pub(super) async fn mirrors(State(state): State<Arc<AdminState>>) -> Json<Value> {
    let config = state.store.open().config;
    let whole = state.store.whole();
    let percent = |mirror: &Mirror| f64::from(mirror.percent.per_million) / 10_000.0;
    let mut mirrors = Vec::new();
    for route in &config.routes {
        let written = whole.routes.iter().find(|written| written.name == route.name);
        for mirror in &route.mirrors {
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
    Json(json!({ "mirrors": mirrors }))
}

fn upstream_of(config: &Config, lane: config::LaneId) -> Option<&str> {
    let upstream = config.lanes.get(lane)?.upstream;
    Some(config.upstreams.get(upstream)?.name.as_str())
}

/// `GET /config`: the configuration in force, as TOML; whole for who may change it.
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
    _: Permitted,
    Text(text): Text,
) -> Response {
    state.ask(Change::Text(text)).await
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
    _: Permitted,
    Path(mirror): Path<String>,
    Query(OnRoute { route }): Query<OnRoute>,
    Given(Percent { percent }): Given<Percent>,
) -> Response {
    state.ask(Change::Percent { mirror, route, percent }).await
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
    _: Permitted,
    Path(route): Path<String>,
    Given(Weights { weights }): Given<Weights>,
) -> Response {
    state
        .ask(Change::Weights {
            route,
            weights: weights.into_iter().map(|(name, Weight(weight))| (name, weight)).collect(),
        })
        .await
}
