//! Places of the admin listener's connections. When all are taken, a new connection closes the oldest one of the address that has
//! the most.
//!
//! Slow heads, content that never ends and answers that are not read can hold places, but not keep other clients out. This file
//! knows addresses and times, and nothing of requests.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Every connection may keep its place for so long, however many want one: answers take milliseconds, and clients that come at
/// once are served in turn rather than turned away.
const PLACE_MIN: Duration = Duration::from_millis(250);

/// Open connections, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<Place>);

#[derive(Debug)]
struct Place {
    of: IpAddr,
    since: Instant,
    task: AbortHandle,
}

impl Places {
    pub(super) fn take(&mut self, of: IpAddr, task: AbortHandle) {
        self.0.retain(|place| !place.task.is_finished());
        self.0.push(Place { of, since: Instant::now(), task });
    }

    /// Closes the oldest connection of the address that has the most, once its time is over. Among equals the oldest goes.
    pub(super) async fn free_one(&mut self) {
        self.0.retain(|place| !place.task.is_finished());
        let mut held: HashMap<IpAddr, usize> = HashMap::new();
        self.0.iter().for_each(|place| *held.entry(place.of).or_default() += 1);
        let most = held.values().max();
        let Some(at) = self.0.iter().position(|place| held.get(&place.of) == most) else { return };
        if let Some(place) = self.0.get(at) {
            tokio::time::sleep_until(place.since + PLACE_MIN).await;
            tracing::debug!("admin: a connection of {} is closed for a newcomer", place.of);
            place.task.abort();
        }
        self.0.remove(at);
    }
}
