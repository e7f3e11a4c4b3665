//! State shared by the pages that ask for changes: the configuration in force, the way to the control loop, the guard.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use config::check::Problem;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::asked::refusal;
use super::guard::Guard;
use super::heard::Heard;
use crate::control::{Applied, Ask, By, Change, ConfigStore, Health, Refused};

/// The state of pages that ask for changes or judge.
#[derive(Debug)]
pub(super) struct AdminState {
    pub(super) store: Arc<ConfigStore>,
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) guard: Guard,
    pub(super) judging: Judging,
    pub(super) health: watch::Receiver<Health>,
    pub(super) started: SystemTime,
    /// Places for requests to both sides again.
    pub(super) again: Arc<Semaphore>,
}

/// The verdict that is judged, and those that may wait for it; more are refused.
const JUDGED_MAX: usize = 1 + 8;

/// Verdicts are judged one at a time, on a thread beside the control loop's: with thousands of routes one takes long, and
/// anybody may ask.
#[derive(Debug, Clone)]
pub(super) struct Judging {
    /// Of all that wait, and the one that is judged.
    places: Arc<Semaphore>,
    turn: Arc<Semaphore>,
    pub(super) heard: Heard,
}

/// The place of a client that waits for a verdict.
#[derive(Debug)]
pub(super) struct Place(OwnedSemaphorePermit);

impl Default for Judging {
    fn default() -> Self {
        let [places, turn] = [JUDGED_MAX, 1].map(|most| Arc::new(Semaphore::new(most)));
        Self { places, turn, heard: Heard::default() }
    }
}

impl Judging {
    /// To be taken before anything is done for a verdict; the error is the answer where none is left.
    pub(super) fn place(&self) -> Result<Place, (StatusCode, &'static str)> {
        let place = Arc::clone(&self.places).try_acquire_owned().map(Place);
        place.map_err(|_| (StatusCode::SERVICE_UNAVAILABLE, "too many verdicts wait already; try again"))
    }

    /// The answer of `judge`, which runs when its turn has come.
    pub(super) async fn run(
        &self,
        place: Place,
        judge: impl FnOnce() -> Response + Send + 'static,
    ) -> Response {
        let Place(place) = place;
        // Neither is ever closed.
        let turn = Arc::clone(&self.turn).acquire_owned().await.ok();
        let judged = tokio::task::spawn_blocking(move || {
            // Held by the thread, not by the request, whose client may be gone.
            let _held = (place, turn);
            judge()
        });
        let lost = |_| refusal(StatusCode::INTERNAL_SERVER_ERROR, "no verdict could be reached: see the log");
        judged.await.unwrap_or_else(lost)
    }
}

/// A client that may change things and see clients' data, with its name for the log of changes. Another client is refused
/// before its content is read.
pub(super) struct Permitted(pub(super) By);

/// The client of an admin connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

impl FromRequestParts<Arc<AdminState>> for Permitted {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<AdminState>) -> Result<Self, Response> {
        let address = parts.extensions.get::<Peer>().map(|Peer(address)| *address);
        let by = By::Api { address, has_token: matches!(state.guard, Guard::Token(_)) };
        state.refuses(&parts.headers).map_or(Ok(Self(by)), Err)
    }
}

/// A problem, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct ProblemView<'a> {
    file: &'a str,
    line: Option<usize>,
    key: Option<&'a str>,
    message: &'a str,
}

fn views(problems: &[Problem]) -> Vec<ProblemView<'_>> {
    fn one(p: &Problem) -> ProblemView<'_> {
        let Problem { file, line, key, message, resource: _ } = p;
        ProblemView { file, line: *line, key: key.as_deref(), message }
    }
    problems.iter().map(one).collect()
}

/// The answer to a text in which these are wrong.
pub(super) fn wrong(problems: &[Problem]) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "problems": views(problems) }))).into_response()
}

impl AdminState {
    /// The answer to a client that may neither change anything nor see the words of other clients; `None` for one that may.
    pub(super) fn refuses(&self, headers: &HeaderMap) -> Option<Response> {
        let (status, why) = self.guard.refuses(headers)?;
        Some(refusal(status, why))
    }

    /// Asks for a change. The answer comes once every worker has it, with the part of the store that `now` shows.
    pub(super) async fn ask(
        &self,
        change: Change,
        by: By,
        now: impl FnOnce(&ConfigStore) -> Value,
    ) -> Response {
        let (answer, answered) = oneshot::channel();
        let gone = || refusal(StatusCode::SERVICE_UNAVAILABLE, "the gateway is ending");
        match self.asks.try_send(Ask { change, by, answer }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return refusal(StatusCode::SERVICE_UNAVAILABLE, "too many changes wait already; try again");
            }
            Err(TrySendError::Closed(_)) => return gone(),
        }
        match answered.await {
            Ok(Ok(Applied { number, workers, took, warnings })) => {
                let took = took.as_secs_f64() * 1e3;
                let mut body = json!({
                    "workers": workers,
                    "took_ms": took,
                    "warnings": views(&warnings),
                    "change": number,
                });
                if let (Some(body), Value::Object(now)) = (body.as_object_mut(), now(&self.store)) {
                    body.extend(now);
                }
                Json(body).into_response()
            }
            Ok(Err(Refused::Unknown(what))) => refusal(StatusCode::NOT_FOUND, what),
            Ok(Err(Refused::Same)) => StatusCode::NO_CONTENT.into_response(),
            Ok(Err(Refused::Wrong(problems))) => wrong(&problems),
            Ok(Err(Refused::Busy(why))) => refusal(StatusCode::SERVICE_UNAVAILABLE, why),
            Err(_) => gone(),
        }
    }
}

#[cfg(test)]
impl AdminState {
    /// For tests: of a process that has just started.
    pub(super) fn of(store: Arc<ConfigStore>, asks: mpsc::Sender<Ask>) -> Self {
        let health = watch::channel(Health::default()).1;
        let (guard, judging) = (Guard::Local, Judging::default());
        let again = Arc::new(Semaphore::new(1));
        Self { store, asks, guard, judging, health, started: SystemTime::now(), again }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::sync::mpsc;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn a_verdict_that_takes_long_holds_up_nothing_but_the_next_and_only_so_many_wait() {
        let (judging, (go, held)) = (Judging::default(), mpsc::channel::<()>());
        let ok = || StatusCode::OK.into_response();
        let place = || judging.place().unwrap();
        let mut long = pin!(judging.run(place(), move || {
            let _ = held.recv();
            ok()
        }));
        let mut waiting: Vec<_> = (1..JUDGED_MAX).map(|_| Box::pin(judging.run(place(), ok))).collect();
        // This thread goes on, though nothing was judged yet.
        poll_fn(|context| {
            assert!(long.as_mut().poll(context).is_pending());
            waiting.iter_mut().for_each(|one| assert!(one.as_mut().poll(context).is_pending()));
            Poll::Ready(())
        })
        .await;
        assert_eq!(judging.place().unwrap_err().0, StatusCode::SERVICE_UNAVAILABLE);
        // A client that goes leaves its place to another.
        waiting.pop();
        go.send(()).unwrap();
        assert_eq!(long.await.status(), StatusCode::OK);
        for one in waiting {
            assert_eq!(one.await.status(), StatusCode::OK);
        }
        assert_eq!(judging.run(place(), ok).await.status(), StatusCode::OK);
    }
}
