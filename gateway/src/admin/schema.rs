//! `GET /schema`: which fields the answers of v1 and of a mirror have, of which types, how often null and how often left out.
//!
//! Names of fields are of clients' answers: guarded like their samples.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::accounts::whole_book;
use super::asked::{Query, refusal};
use super::fleet::{self, Scope};
use super::heard::Answered;
use super::state::{AdminState, Permitted};
use crate::compare::Inferred;
use crate::verdict::Fleet;

/// The wanted schemas, and whose evidence they are of.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SchemaQuery {
    route: Option<String>,
    mirror: Option<String>,
    scope: Option<Scope>,
}

/// `GET /schema?route=NAME&mirror=NAME&scope=fleet|own`
pub(super) async fn schema(
    State(state): State<Arc<AdminState>>,
    _: Permitted,
    Query(SchemaQuery { route, mirror, scope }): Query<SchemaQuery>,
) -> Response {
    let place = match state.judging.place() {
        Ok(place) => place,
        Err((status, why)) => return refusal(status, why),
    };
    let answered = fleet::asked(&state, scope).await;
    let judging = state.judging.clone();
    let tell = move || {
        let fits = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
        let (mut all, fleet) = match answered {
            Some(answered) => of_fleet(&state, &answered),
            None => (state.store.findings.schemas(), None),
        };
        all.retain(|of| fits(&route, &of.route) && fits(&mirror, &of.mirror));
        Json(json!({ "schemas": all, "fleet": fleet })).into_response()
    };
    judging.run(place, tell).await
}

/// Schemas of the content that any gateway of the fleet saw.
fn of_fleet(state: &AdminState, answered: &Answered) -> (Vec<Inferred>, Option<Fleet>) {
    let mut own = whole_book(&state.store);
    // Other gateways may have seen content that this one has not.
    own.accounts.iter_mut().for_each(|of| _ = of.schema.get_or_insert_default());
    let (accounts, fleet) = answered.merged(&own);
    let known = accounts.iter().filter_map(|of| Some((of, of.schema.as_ref().filter(|of| !of.is_empty())?)));
    let mut all: Vec<Inferred> = known.map(|(of, schema)| schema.told(&of.route, &of.mirror)).collect();
    all.sort_by(|a, b| (&a.route, &a.mirror).cmp(&(&b.route, &b.mirror)));
    (all, Some(fleet))
}
