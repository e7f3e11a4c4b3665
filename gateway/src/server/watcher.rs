//! The watcher: once a second it looks at the counters and the health of the process, logs changes, and leaves the open
//! troubles for the pages. It runs beside the control loop, and no worker knows of it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::tls_watch;
use crate::control::{Aside, ConfigStore, Desk, Health, Line, Look};
use crate::metrics::Shard;

/// From one look to the next.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// After a look that took long comes a pause this many times as long, so that a configuration of ten thousand routes costs no more
/// than a hundredth of a core.
const COST_PARTS: u32 = 100;

/// Looks for the rest of the process's life.
pub(super) async fn watch(store: Arc<ConfigStore>, shards: Vec<Arc<Shard>>, health: watch::Receiver<Health>) {
    let mut watcher = Watcher { store, shards, health, desk: Desk::default(), before: None };
    let mut pause = Duration::ZERO;
    loop {
        tokio::time::sleep(pause).await;
        // Elsewhere: the control loop has no time for the counters of ten thousand routes.
        let looked = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            watcher.look();
            (watcher, began.elapsed())
        });
        let Ok((back, took)) = looked.await else {
            return tracing::error!("what happens is not looked at any more: a look has panicked");
        };
        watcher = back;
        pause = LOOK_EVERY.saturating_sub(took).max(took.saturating_mul(COST_PARTS));
    }
}

struct Watcher {
    store: Arc<ConfigStore>,
    shards: Vec<Arc<Shard>>,
    health: watch::Receiver<Health>,
    desk: Desk,
    /// The look before.
    before: Option<Look>,
}

impl Watcher {
    fn look(&mut self) {
        let now = look(&self.store, &self.shards, &self.health);
        let Some(before) = self.before.take() else {
            self.before = Some(now);
            return;
        };
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for Line { is_over, text } in self.desk.take(&now.since(&before), at) {
            if is_over {
                tracing::info!("{text}");
            } else {
                tracing::warn!("{text}");
            }
        }
        self.store.see(self.desk.troubles());
        self.before = Some(now);
    }
}

fn look(store: &ConfigStore, shards: &[Arc<Shard>], health: &watch::Receiver<Health>) -> Look {
    let snapshot = store.open();
    let aside = Aside {
        stuck: health.borrow().stuck.clone(),
        certificates: tls_watch::ending(&snapshot.certificates, SystemTime::now()),
    };
    Look::at(&snapshot, shards, &aside)
}
