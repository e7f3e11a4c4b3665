//! Extractors of the admin listener's requests: query, path, content. One that cannot be read is answered like every other
//! refusal, with the reason as JSON.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection, StringRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::error::Elapsed;

/// From the head of a request to the end of its content, of which there are two megabytes at most.
const CONTENT_MAX: Duration = Duration::from_secs(10);

/// A refusal with its reason.
pub(super) fn refusal(status: StatusCode, why: impl Into<String>) -> Response {
    (status, Json(json!({ "error": why.into() }))).into_response()
}

/// The query, where every parameter is known.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

/// The part of the path that a route leaves open.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

/// Content that is JSON.
#[derive(Debug)]
pub(super) struct Given<T>(pub(super) T);

/// Content that is text.
#[derive(Debug)]
pub(super) struct Text(pub(super) String);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let read = axum::extract::Query::from_request_parts(parts, state).await;
        read.map(|axum::extract::Query(of)| Self(of))
            .map_err(|e: QueryRejection| refusal(e.status(), e.body_text()))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let read = axum::extract::Path::from_request_parts(parts, state).await;
        read.map(|axum::extract::Path(of)| Self(of))
            .map_err(|e: PathRejection| refusal(e.status(), e.body_text()))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Given<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let read = in_time(Json::from_request(request, state)).await?;
        read.map(|Json(of)| Self(of)).map_err(|e: JsonRejection| refusal(e.status(), e.body_text()))
    }
}

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let read = in_time(String::from_request(request, state)).await?;
        read.map(Self).map_err(|e: StringRejection| refusal(e.status(), e.body_text()))
    }
}

/// Reads content within [`CONTENT_MAX`]; content that never ends is refused.
async fn in_time<T>(reading: impl Future<Output = T>) -> Result<T, Response> {
    let late = |_: Elapsed| refusal(StatusCode::REQUEST_TIMEOUT, "the content did not end in ten seconds");
    tokio::time::timeout(CONTENT_MAX, reading).await.map_err(late)
}

/// There is nothing of this name.
pub(super) async fn unknown() -> Response {
    refusal(StatusCode::NOT_FOUND, "there is no such page; / lists them")
}

/// The page exists, but does not take the method; the Allow of the answer lists those it takes.
pub(super) async fn unfit() -> Response {
    refusal(StatusCode::METHOD_NOT_ALLOWED, "this page does not take that method")
}
