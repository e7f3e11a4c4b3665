//! The workers' threads: started one by one, heard when they serve and when they end.
//!
//! The use of a core is `worker`'s; `control_loop` decides whether the process goes on without a worker.

use std::io;
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use config::Config;
use config::check::Problem;
use core_affinity::CoreId;
use tokio::sync::mpsc;

use super::listeners::Listeners;
use super::source::broken;
use crate::capture::Captures;
use crate::control::ConfigStore;
use crate::discovery::Located;
use crate::generation::WorkerConfig;
use crate::metrics::Shard;
use crate::mirror::proof::Proof;
use crate::observe::tap::Tap;
use crate::os;
use crate::prepared::Prepared;
use crate::tls::Tls;
use crate::worker::{self, Ready, Setup, Updates};

/// A worker that has not said that it serves after this long never will.
pub(super) const READY_MAX: Duration = Duration::from_secs(30);

/// Said once by each thread that should have gone on, as its last words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Worker { id: usize, panicked: bool },
    Samples,
}

/// More threads than anyone starts; a thread's last words never wait for room.
pub(super) const ENDED_MAX: usize = 4096;

/// The control plane's side of a worker.
pub(super) struct Worker {
    pub(super) id: usize,
    pub(super) channel: Channel,
}

/// A worker, as far as a change concerns it.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) control: UnixStream,
    pub(super) updates: Arc<Updates>,
}

/// Everything that workers start with.
pub(super) struct Threads<'a> {
    /// Client connections of one worker at once.
    pub(super) clients_max: usize,
    pub(super) store: &'a ConfigStore,
    pub(super) located: &'a Located,
    pub(super) prepared: &'a [Arc<Prepared>],
    /// TLS of the listeners.
    pub(super) tls: &'a Tls,
    pub(super) listeners: &'a Listeners,
    pub(super) captures: &'a Captures,
    pub(super) shards: &'a [Arc<Shard>],
    pub(super) cores: &'a [Option<CoreId>],
    pub(super) told: &'a mpsc::Sender<Ended>,
}

impl Threads<'_> {
    /// Starts every worker: (workers, where each says whether it serves).
    pub(super) fn start(&self, taps: Vec<Tap>) -> Result<(Vec<Worker>, mpsc::Receiver<Ready>), Vec<Problem>> {
        // Each says at most that it serves and that it ended.
        let count = taps.len();
        let (ready, said) = mpsc::channel(2 * count.max(1));
        let proof = Proof::of_process().map_err(broken)?;
        let snapshot = self.store.open();
        let mut workers = Vec::with_capacity(count);
        for (id, (tap, prepared)) in taps.into_iter().zip(self.prepared).enumerate() {
            let cannot = |e: io::Error| broken(format!("cannot start worker {id}: {e}"));
            let (ours, theirs) = UnixStream::pair().map_err(cannot)?;
            let updates = Arc::default();
            let setup = Setup {
                id,
                core: self.cores.get(id).copied().flatten(),
                worker_config: WorkerConfig {
                    config: Arc::clone(&snapshot.config),
                    located: self.located.clone(),
                    counters: snapshot.counters.get(id).cloned().unwrap_or_default(),
                    clients_max: self.clients_max,
                    prepared: Arc::clone(prepared),
                    callings: Arc::clone(self.tls.upstreams()),
                    captures: Arc::clone(self.captures.sinks()),
                    listeners: self.listeners.of_worker_secured(id, count, &snapshot.config, self.tls),
                },
                updates: Arc::clone(&updates),
                control: theirs,
                shard: self.shards.get(id).cloned().unwrap_or_default(),
                tap,
                proof,
                ready: ready.clone(),
            };
            spawn(setup, self.told.clone()).map_err(cannot)?;
            workers.push(Worker { id, channel: Channel { control: ours, updates } });
        }
        Ok((workers, said))
    }
}

fn spawn(setup: Setup, told: mpsc::Sender<Ended>) -> io::Result<()> {
    let id = setup.id;
    let ready = setup.ready.clone();
    let body = move || {
        // The worker catches panics of exchanges; a panic here broke the worker itself.
        let panicked = panic::catch_unwind(AssertUnwindSafe(|| worker::run(setup))).is_err();
        // Heard only by a control plane that still waits for this worker to serve.
        let _ = ready.try_send(Ready { worker: id, driver: Err("ended before it served".to_owned()) });
        let _ = told.try_send(Ended::Worker { id, panicked });
    };
    // The handle is dropped: a thread's last words say all that a join would, and a join cannot be hurried.
    os::without_signals(|| thread::Builder::new().name(format!("umbra-{id}")).spawn(body)).map(drop)
}

/// The driver text of each of `count` workers, or why one does not serve.
pub(super) async fn await_ready(
    said: &mut mpsc::Receiver<Ready>,
    count: usize,
    patience: Duration,
) -> Result<Vec<String>, Vec<Problem>> {
    let deadline = tokio::time::Instant::now() + patience;
    let mut drivers: Vec<Option<String>> = vec![None; count];
    while drivers.iter().any(Option::is_none) {
        match tokio::time::timeout_at(deadline, said.recv()).await {
            Ok(Some(Ready { worker, driver: Ok(driver) })) => {
                if let Some(slot) = drivers.get_mut(worker) {
                    *slot = Some(driver);
                }
            }
            Ok(Some(Ready { worker, driver: Err(why) })) => {
                return Err(broken(format!("worker {worker}: {why}")));
            }
            Err(_) | Ok(None) => {
                let late: Vec<String> = (0..)
                    .zip(&drivers)
                    .filter(|(_, d)| d.is_none())
                    .map(|(id, _): (usize, _)| id.to_string())
                    .collect();
                let seconds = patience.as_secs();
                let message = format!("not serving after {seconds} s: worker {}", late.join(", "));
                return Err(broken(message));
            }
        }
    }
    Ok(drivers.into_iter().flatten().collect())
}

/// The core of each worker. Workers beyond the cores this process may use are left to the scheduler: two on one core
/// would be worse off pinned.
pub(super) fn cores(config: &Config) -> Vec<Option<CoreId>> {
    let allowed =
        if config.workers.pin { core_affinity::get_core_ids().unwrap_or_default() } else { Vec::new() };
    (0..config.workers.count).map(|id| allowed.get(id).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_workers_must_say_that_they_serve() {
        let (ready, mut said) = mpsc::channel(4);
        for worker in [1, 0] {
            ready.try_send(Ready { worker, driver: Ok(format!("driver {worker}")) }).unwrap();
        }
        assert_eq!(await_ready(&mut said, 2, Duration::ZERO).await.unwrap(), ["driver 0", "driver 1"]);
    }

    #[tokio::test]
    async fn one_worker_that_cannot_serve_stops_the_start() {
        let (ready, mut said) = mpsc::channel(4);
        ready.try_send(Ready { worker: 0, driver: Ok("io_uring".into()) }).unwrap();
        ready.try_send(Ready { worker: 1, driver: Err("no memory for the ring".into()) }).unwrap();
        let refused = await_ready(&mut said, 2, Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(refused[0].to_string(), "worker 1: no memory for the ring");
    }

    #[tokio::test]
    async fn a_worker_that_says_nothing_is_named() {
        let (ready, mut said) = mpsc::channel(4);
        ready.try_send(Ready { worker: 0, driver: Ok("io_uring".into()) }).unwrap();
        let refused = await_ready(&mut said, 2, Duration::ZERO).await.unwrap_err();
        assert_eq!(refused[0].to_string(), "not serving after 0 s: worker 1");
    }
}
