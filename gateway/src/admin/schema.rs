//! `GET /schema`: which fields the answers of v1 and of a mirror have, of which types, how often null and how often left out.
//!
//! Names of fields are of clients' answers: guarded like their samples.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::asked::Query;
use super::outcomes::Chosen;
use super::state::{AdminState, Permitted};

/// `GET /schema?route=NAME&mirror=NAME`
pub(super) async fn schema(
    State(state): State<Arc<AdminState>>,
    _: Permitted,
    Query(Chosen { route, mirror }): Query<Chosen>,
) -> Response {
    let fits = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
    let mut all = state.store.findings.schemas();
    all.retain(|of| fits(&route, &of.route) && fits(&mirror, &of.mirror));
    Json(json!({ "schemas": all })).into_response()
}
