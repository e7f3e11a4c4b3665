//! The verdict of each mirror by the default policy, as it was reached a moment ago: for a scrape, which does not wait for one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::response::IntoResponse;

use super::live::pause_after;
use super::state::AdminState;
use super::verdict::decisions;
use crate::verdict::Decision;

/// From one judgement to the next, where one takes no time to speak of.
const JUDGE_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Standing(Mutex<Vec<(String, Decision)>>);

impl Standing {
    /// Judges for the rest of the process's life, in turn with all requests for a verdict.
    pub(super) async fn watch(self: Arc<Self>, state: Arc<AdminState>) {
        loop {
            let began = Instant::now();
            let (standing, of) = (Arc::clone(&self), Arc::clone(&state));
            let judge = move || {
                let decided = decisions(&of);
                *standing.0.lock().unwrap_or_else(PoisonError::into_inner) = decided;
                ().into_response()
            };
            // Where too many wait already, the last verdict stands.
            if let Ok(place) = state.judging.place() {
                let _ = state.judging.run(place, judge).await;
            }
            tokio::time::sleep(pause_after(JUDGE_EVERY, began.elapsed())).await;
        }
    }

    /// By mirror.
    pub(super) fn decisions(&self) -> Vec<(String, Decision)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
