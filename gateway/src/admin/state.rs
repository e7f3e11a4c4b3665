//! What the pages share that may be asked for a change: the configuration in force, the way to the control loop, and who may
//! ask.

use std::sync::Arc;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use config::check::Problem;
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::asked::refusal;
use super::guard::Guard;
use crate::control::{Applied, Ask, Change, ConfigStore, Refused};

/// What pages are given that ask for changes.
#[derive(Debug)]
pub(super) struct AdminState {
    pub(super) store: Arc<ConfigStore>,
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) guard: Guard,
}

/// Whoever may change things; anybody else is refused before what they send is read.
pub(super) struct Permitted;

impl FromRequestParts<Arc<AdminState>> for Permitted {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<AdminState>) -> Result<Self, Response> {
        state.refuses(&parts.headers).map_or(Ok(Self), Err)
    }
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

impl AdminState {
    /// What to answer whoever may neither change anything nor see what clients said.
    pub(super) fn refuses(&self, headers: &HeaderMap) -> Option<Response> {
        let (status, why) = self.guard.refuses(headers)?;
        Some(refusal(status, why))
    }

    pub(super) async fn ask(&self, change: Change) -> Response {
        let (answer, answered) = oneshot::channel();
        let gone = || refusal(StatusCode::SERVICE_UNAVAILABLE, "the gateway is ending");
        match self.asks.try_send(Ask { change, answer }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return refusal(StatusCode::SERVICE_UNAVAILABLE, "too many changes wait already; try again");
            }
            Err(TrySendError::Closed(_)) => return gone(),
        }
        match answered.await {
            Ok(Ok(Applied { workers, took, warnings })) => {
                let took = took.as_secs_f64() * 1e3;
                let body = json!({ "workers": workers, "took_ms": took, "warnings": told(&warnings) });
                Json(body).into_response()
            }
            Ok(Err(Refused::Unknown(what))) => refusal(StatusCode::NOT_FOUND, what),
            Ok(Err(Refused::Wrong(problems))) => wrong(&problems),
            Ok(Err(Refused::Busy(why))) => refusal(StatusCode::SERVICE_UNAVAILABLE, why),
            Err(_) => gone(),
        }
    }
}
