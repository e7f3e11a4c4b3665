//! What is in force, as JSON, and the desk where changes are asked for. It passes them on and tells what became of them;
//! whether a change is sound is not its judgement.
//!
//! Changes are guarded: by a token where there is one, and without one only from this machine, by a client that named it
//! by its address, so that no page in a browser can reach in under a name of its own (DNS rebinding). Where only this machine
//! is expected, such a page is told nothing either.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use config::check::Problem;
use config::{Action, Config, Mirror};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::asked::{Given, Path, Query, Text, refusal};
use super::book::Book;
use crate::server::reload::{Applied, Ask, Change, Refused};

/// What the desk works with.
#[derive(Debug)]
pub struct Desk {
    pub book: Arc<Book>,
    pub asks: mpsc::Sender<Ask>,
    pub guard: Guard,
}

/// Who may change anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// Whoever bears the token.
    Token(String),
    /// Whoever is on this machine and is not a page of somebody else's.
    Local,
    /// Nobody: strangers reach the listener, and there is no token.
    Closed,
}

impl Guard {
    pub fn of(admin: &config::Admin, address: SocketAddr) -> Self {
        match &admin.token {
            Some(token) => Self::Token(token.clone()),
            None if address.ip().is_loopback() => Self::Local,
            None => Self::Closed,
        }
    }

    /// Whether a request may be told anything. On this machine alone and without a token, nobody but this machine asks: under
    /// another name than its own it is a page in a browser that asks, whose name was turned to this address (DNS rebinding).
    fn answers(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Local => is_local(text(headers, HOST)),
            // Strangers are expected, by whatever name: Prometheus scrapes a service, a controller asks another one.
            Self::Token(_) | Self::Closed => true,
        }
    }

    /// Why a request may not change anything.
    fn refuses(&self, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
        match self {
            Self::Token(token) => {
                let given = text(headers, AUTHORIZATION).strip_prefix("Bearer ");
                let right = given.is_some_and(|given| same(given.trim().as_bytes(), token.as_bytes()));
                (!right).then_some((StatusCode::UNAUTHORIZED, "give the token: Authorization: Bearer …"))
            }
            Self::Local => {
                let host = text(headers, HOST);
                let origin = headers.get(ORIGIN).map(|_| text(headers, ORIGIN));
                let own = origin.is_none_or(|origin| origin.strip_prefix("http://") == Some(host));
                let named = is_local(host) && own;
                let why = "changes are taken from this machine only, addressed as localhost or by IP address";
                (!named).then_some((StatusCode::FORBIDDEN, why))
            }
            Self::Closed => Some((
                StatusCode::FORBIDDEN,
                "strangers reach this listener: set admin.token to allow changes",
            )),
        }
    }
}

/// Empty where there is none.
fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Pages that say nothing but "alive" and "ready", to probes that ask by whatever name they know.
const FOR_PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Lets through what [`Guard::answers`].
pub(super) async fn answered(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    // A policy changes nothing, but no page of somebody else's is to keep the gateway busy with one.
    if guard == Guard::Local
        && !request.method().is_safe()
        && let Some((status, why)) = guard.refuses(request.headers())
    {
        return refusal(status, why);
    }
    if guard.answers(request.headers()) || FOR_PROBES.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let why = "this listener is for its own machine, addressed as localhost or by IP address: set admin.token to \
               reach it by another name";
    refusal(StatusCode::FORBIDDEN, why)
}

/// Whoever may change things; anybody else is refused before what they send is read.
pub(super) struct Permitted;

impl FromRequestParts<Arc<Desk>> for Permitted {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Response> {
        desk.refuses(&parts.headers).map_or(Ok(Self), Err)
    }
}

/// Takes as long whatever the first difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let inner = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || inner.parse::<IpAddr>().is_ok()
}

/// `GET /routes`
pub(super) async fn routes(State(desk): State<Arc<Desk>>) -> Json<Value> {
    let config = desk.book.open().config;
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
pub(super) async fn mirrors(State(desk): State<Arc<Desk>>) -> Json<Value> {
    let config = desk.book.open().config;
    let whole = desk.book.whole();
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
pub(super) async fn config(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    let text = match desk.refuses(&headers) {
        None => desk.book.written(|shown| &shown.whole),
        Some(_) => desk.book.written(|shown| &shown.masked),
    };
    ([(CONTENT_TYPE, "application/toml")], text).into_response()
}

/// `PUT /config`: a whole configuration, as TOML.
pub(super) async fn put_config(State(desk): State<Arc<Desk>>, _: Permitted, Text(text): Text) -> Response {
    desk.ask(Change::Text(text)).await
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
    State(desk): State<Arc<Desk>>,
    _: Permitted,
    Path(mirror): Path<String>,
    Query(OnRoute { route }): Query<OnRoute>,
    Given(Percent { percent }): Given<Percent>,
) -> Response {
    desk.ask(Change::Percent { mirror, route, percent }).await
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
    State(desk): State<Arc<Desk>>,
    _: Permitted,
    Path(route): Path<String>,
    Given(Weights { weights }): Given<Weights>,
) -> Response {
    desk.ask(Change::Weights {
        route,
        weights: weights.into_iter().map(|(name, Weight(weight))| (name, weight)).collect(),
    })
    .await
}

/// One problem, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Told<'a> {
    file: &'a str,
    line: Option<usize>,
    key: Option<&'a str>,
    message: &'a str,
}

fn told(problems: &[Problem]) -> Vec<Told<'_>> {
    fn one(p: &Problem) -> Told<'_> {
        let Problem { file, line, key, message, resource: _ } = p;
        Told { file, line: *line, key: key.as_deref(), message }
    }
    problems.iter().map(one).collect()
}

/// The answer to a text in which these are wrong.
pub(super) fn wrong(problems: &[Problem]) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "problems": told(problems) }))).into_response()
}

impl Desk {
    /// What to answer whoever may neither change anything nor see what clients said.
    pub(super) fn refuses(&self, headers: &HeaderMap) -> Option<Response> {
        let (status, why) = self.guard.refuses(headers)?;
        Some(refusal(status, why))
    }

    async fn ask(&self, change: Change) -> Response {
        let (answer, answered) = oneshot::channel();
        let gone = || refusal(StatusCode::SERVICE_UNAVAILABLE, "the gateway is ending");
        if self.asks.send(Ask { change, answer }).await.is_err() {
            return gone();
        }
        match answered.await {
            Ok(Ok(Applied { workers, took, warnings })) => {
                let took = took.as_secs_f64() * 1e3;
                let body = json!({ "workers": workers, "took_ms": took, "warnings": told(&warnings) });
                Json(body).into_response()
            }
            Ok(Err(Refused::Unknown(what))) => refusal(StatusCode::NOT_FOUND, what),
            Ok(Err(Refused::Wrong(problems))) => wrong(&problems),
            Err(_) => gone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listener_that_expects_strangers_answers_to_any_name() {
        let names = ["127.0.0.1:9901", "localhost", "[::1]:9901", "evil.example", "umbra.gateway:9901", ""];
        let rows = [
            (Guard::Local, [true, true, true, false, false, false]),
            (Guard::Closed, [true; 6]),
            (Guard::Token("secret".into()), [true; 6]),
        ];
        for (guard, answers) in rows {
            for (name, answers) in names.iter().zip(answers) {
                let headers = HeaderMap::from_iter([(HOST, name.parse().unwrap())]);
                assert_eq!(guard.answers(&headers), answers, "{guard:?} {name}");
            }
        }
    }

    #[test]
    fn changes_are_taken_from_who_may_make_them() {
        let token = Guard::Token("secret".into());
        type Row<'a> = (&'a Guard, &'a [(&'a str, &'a str)], bool);
        let rows: [Row<'_>; 12] = [
            (&Guard::Local, &[("host", "127.0.0.1:9901")], true),
            (&Guard::Local, &[("host", "[::1]:9901")], true),
            (&Guard::Local, &[("host", "localhost:9901")], true),
            (&Guard::Local, &[("host", "evil.example:9901")], false),
            (&Guard::Local, &[], false),
            (&Guard::Local, &[("host", "localhost:1"), ("origin", "http://localhost:1")], true),
            (&Guard::Local, &[("host", "localhost:1"), ("origin", "http://evil.example")], false),
            (&Guard::Closed, &[("host", "127.0.0.1:9901")], false),
            (&token, &[("host", "evil.example"), ("authorization", "Bearer secret")], true),
            (&token, &[("host", "127.0.0.1"), ("authorization", "Bearer secre")], false),
            (&token, &[("host", "127.0.0.1"), ("authorization", "Basic secret")], false),
            (&token, &[("host", "127.0.0.1")], false),
        ];
        for (guard, fields, may) in rows {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.insert(
                    HeaderName::from_static(match *name {
                        "host" => "host",
                        "origin" => "origin",
                        _ => "authorization",
                    }),
                    value.parse().unwrap(),
                );
            }
            assert_eq!(guard.refuses(&headers).is_none(), may, "{guard:?} {fields:?}");
        }
    }
}
