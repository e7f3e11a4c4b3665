//! `GET /logs`: the last lines of both logs. The lines tell of clients, as samples of `/diffs` do: clients that may not change
//! anything here may not read them from elsewhere.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::Level;

use super::asked::{Query, refusal};
use super::state::{AdminState, Permitted};
use crate::recent::{self, Line, Page, Source, Wanted};

/// Lines of one answer, unless it is asked for fewer.
const LINES_MAX: usize = 1000;

/// The wanted lines.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chosen {
    source: Option<String>,
    level: Option<String>,
    route: Option<String>,
    after: Option<u64>,
    lines: Option<usize>,
}

/// `GET /logs?source=gateway|access&level=warn&route=NAME&after=NUMBER&lines=COUNT`
pub(super) async fn logs(
    State(state): State<Arc<AdminState>>,
    _: Permitted,
    Query(chosen): Query<Chosen>,
) -> Response {
    let Chosen { source, level, route, after, lines } = chosen;
    let (source, level) = match (source.as_deref().map(source_of), level.as_deref().map(level_of)) {
        (Some(Err(why)), _) | (_, Some(Err(why))) => return refusal(StatusCode::BAD_REQUEST, why),
        (source, level) => (source.and_then(Result::ok), level.and_then(Result::ok)),
    };
    let wanted = Wanted { source, level, route };
    let Page { lines, next, is_complete } =
        recent::recent().tell(&wanted, after, lines.unwrap_or(LINES_MAX).min(LINES_MAX));
    let is_accessed = state.store.open().config.access_log.is_some();
    let lines: Vec<Value> = lines.iter().map(line).collect();
    Json(json!({ "next": next, "complete": is_complete, "access_log": is_accessed, "lines": lines }))
        .into_response()
}

fn line(line: &Line) -> Value {
    let Line { number, source, level: _, route: _, text } = line;
    let told: Value = serde_json::from_str(text).unwrap_or_default();
    json!({ "number": number, "source": source.as_str(), "line": told })
}

fn source_of(word: &str) -> Result<Source, String> {
    let known = Source::ALL.into_iter().find(|source| source.as_str() == word);
    known.ok_or_else(|| format!("{word:?} is no log; there are gateway and access"))
}

fn level_of(word: &str) -> Result<Level, String> {
    let known = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    let found = known.into_iter().find(|(name, _)| *name == word).map(|(_, level)| level);
    found.ok_or_else(|| format!("{word:?} is no level; must be error, warn, info, debug or trace"))
}
