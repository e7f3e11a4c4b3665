//! `GET /diffs`: differences between mirrors' answers and the primary's, in groups; one group with its samples; all samples as
//! lines.
//!
//! Samples are requests and answers of real clients: clients that may not change anything here may not read them from
//! elsewhere.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use config::Role;
use serde::Deserialize;
use serde_json::{Value, json};

use super::again;
use super::asked::{Path, Query, refusal};
use super::outgoing::Lines;
use super::state::{AdminState, Permitted};
use crate::compare::{Group, Judged, Sample, Shown, Tally};
use crate::control::Snapshot;
use crate::observe::disclosure::rfc3339 as time;

/// Told in one answer, the most telling first.
const GROUPS_MAX: usize = 500;

/// The wanted groups, and their format.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chosen {
    route: Option<String>,
    mirror: Option<String>,
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Json,
    /// A sample a line.
    Jsonl,
}

impl Chosen {
    fn includes(&self, route: &str, mirror: &str) -> bool {
        let fits = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
        fits(&self.route, route) && fits(&self.mirror, mirror)
    }
}

fn role(role: Role) -> &'static str {
    role.as_str()
}

/// The comparison of a mirror on a route, in numbers.
pub(super) fn tally(tally: &Tally) -> Value {
    json!({
        "route": tally.route,
        "mirror": tally.mirror,
        "role": role(tally.role),
        "compared": tally.compared,
        "contents": tally.contents,
        "differing": tally.differing,
        "skipped": tally.skipped,
    })
}

/// A group, without its samples' contents.
pub(super) fn group(judged: &Judged) -> Value {
    let Judged { group, compared, baseline_count, baseline_compared, beside: _, is_noise } = judged;
    json!({
        "id": group.id.to_string(),
        "route": group.route,
        "mirror": group.mirror,
        "field": group.field,
        "kind": group.kind.text(),
        "count": group.count,
        "compared": compared,
        "baseline_count": baseline_count,
        "baseline_compared": baseline_compared,
        "is_noise": is_noise,
        "example": { "primary": group.example.0, "mirror": group.example.1 },
        "first_seen": time(group.first_seen),
        "last_seen": time(group.last_seen),
        "samples": group.samples.iter().map(|sample| &sample.request_id).collect::<Vec<_>>(),
    })
}

fn sample(snapshot: &Snapshot, sample: &Sample) -> Value {
    let shown = |shown: &Shown| {
        let fields: Vec<[&String; 2]> = shown.fields.iter().map(|(name, value)| [name, value]).collect();
        json!({ "status": shown.status, "fields": fields, "content": shown.content })
    };
    json!({
        "request_id": sample.request_id,
        "method": sample.method,
        "target": sample.target,
        "at": time(sample.at),
        "primary": shown(&sample.primary),
        "mirror": shown(&sample.mirror),
        "request": sample.again.as_ref().map(|kept| again::told(snapshot, kept)),
    })
}

/// `GET /diffs?route=NAME&mirror=NAME&format=json|jsonl`
pub(super) async fn diffs(
    State(state): State<Arc<AdminState>>,
    _: Permitted,
    Query(chosen): Query<Chosen>,
) -> Response {
    let findings = &state.store.findings;
    let mut groups = findings.groups();
    groups.retain(|of| chosen.includes(&of.group.route, &of.group.mirror));
    groups.truncate(GROUPS_MAX);
    match chosen.format.unwrap_or(Format::Json) {
        Format::Json => {
            let tallies = findings.tallies();
            let tallies = tallies.iter().filter(|of| chosen.includes(&of.route, &of.mirror)).map(tally);
            let groups: Vec<Value> = groups.iter().map(group).collect();
            Json(json!({ "compared": tallies.collect::<Vec<_>>(), "groups": groups })).into_response()
        }
        Format::Jsonl => {
            // All lines may be ten times as large as the kept samples: samples are shared by groups, and longer as JSON.
            let bytes = Group::bytes_of(groups.iter().map(|judged| &judged.group));
            let snapshot = Arc::new(state.store.open());
            let lines = groups.into_iter().flat_map(move |judged| {
                let snapshot = Arc::clone(&snapshot);
                let samples = judged.group.samples.clone();
                samples.into_iter().map(move |kept| {
                    let line = json!({ "group": group(&judged), "sample": sample(&snapshot, &kept) });
                    format!("{line}\n")
                })
            });
            let lines = Extension(Lines::new(bytes, lines));
            ([(CONTENT_TYPE, "application/jsonl")], lines, ()).into_response()
        }
    }
}

/// `GET /diffs/{id}`: one group and its samples.
pub(super) async fn diff(
    State(state): State<Arc<AdminState>>,
    _: Permitted,
    Path(id): Path<String>,
) -> Response {
    let found = id.parse().ok().and_then(|id| state.store.findings.group(id));
    let Some(judged) = found else {
        return refusal(StatusCode::NOT_FOUND, format!("no group {id}"));
    };
    let mut told = group(&judged);
    if let Some(told) = told.as_object_mut() {
        let snapshot = state.store.open();
        let samples = judged.group.samples.iter().map(|kept| sample(&snapshot, kept));
        told.insert("samples".to_owned(), samples.collect());
    }
    Json(told).into_response()
}

/// `DELETE /diffs`: forgets all findings.
pub(super) async fn forget(State(state): State<Arc<AdminState>>, _: Permitted) -> Response {
    state.store.findings.forget();
    StatusCode::NO_CONTENT.into_response()
}
