//! The control loop: the main thread's work once the workers serve. It waits for signals, changes, watchdogs, deaths and the
//! successor; then it drains.
//!
//! The loop itself does not block: slow work is waited for beside all else, on a thread or a task of its own.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use config::check::Problem;
use tokio::sync::{mpsc, watch};

use super::Ending;
use super::admin_listener::AdminListener;
use super::handover::{Program, Successor};
use super::keeper::Keeper;
use super::listeners::Listeners;
use super::notify::Notify;
use super::reload::{Next, Reloader, Stepped, Underway};
use super::signals::{SignalCommand, Signals};
use super::threads::{Ended, Worker};
use super::tls_watch::TlsWatch;
use crate::control::{Ask, By, Change, Health, Phase, Refused, Watchdog};
use crate::kubernetes::Cluster;
use crate::metrics::{self, MirrorCounters, Shard};
use crate::observe::observer::Observer;
use crate::worker::Command;

/// Time on top of `timeouts.drain` until a worker that has not returned counts as dead.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// Period of the look at every worker's tick counter.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// The main thread once the workers serve.
pub(super) struct ControlPlane<'a> {
    pub(super) reloader: Reloader,
    /// Says that the source has changed, where it is watched.
    pub(super) watch: Changed,
    pub(super) admin: AdminListener,
    pub(super) workers: Vec<Worker>,
    pub(super) shards: &'a [Arc<Shard>],
    pub(super) observer: &'a Observer,
    pub(super) keeper: &'a Keeper,
    pub(super) ended: mpsc::Receiver<Ended>,
    /// Changes that the admin listener was asked for.
    pub(super) asked: mpsc::Receiver<Ask>,
    pub(super) health: watch::Sender<Health>,
    pub(super) notify: Notify,
    pub(super) program: Program,
    /// The successor that was started and does not serve yet.
    pub(super) successor: Option<Successor>,
    /// The change that is being made.
    pub(super) underway: Option<Underway>,
    /// The files are to be read again after it.
    pub(super) is_stale: Option<By>,
    /// A successor is to be started after it.
    pub(super) hands_over: bool,
}

/// Signs that the source has changed.
pub(super) struct Changed {
    pub(super) files: Option<mpsc::Receiver<()>>,
    pub(super) cluster: Option<mpsc::Receiver<()>>,
}

/// How the watch over a serving gateway ends.
enum Watched {
    /// The gateway was asked to stop.
    Stop,
    /// Another process serves now.
    HandedOver,
    /// A thread ended that should not.
    Broken,
}

/// Changes that may wait their turn; more are refused.
pub(super) const ASKS_MAX: usize = 16;

impl ControlPlane<'_> {
    /// Serves until there is a reason to end, and ends. Tells whether another process serves now.
    pub(super) async fn run(mut self, mut signals: Signals) -> (Ending, bool) {
        self.is_ready();
        self.notify.ready("serving");
        match self.watch(&mut signals).await {
            Watched::Broken => (Ending::Broken, false),
            Watched::Stop => {
                self.notify.stopping();
                (self.drain(&mut signals, Command::Drain).await, false)
            }
            Watched::HandedOver => {
                // The process that serves answers from now on.
                self.admin.close();
                (self.drain(&mut signals, Command::HandOver).await, true)
            }
        }
    }

    /// Reports readiness, unless a cluster is still to be read.
    fn is_ready(&self) {
        if self.reloader.source.cluster().is_none_or(Cluster::is_synced) {
            self.health.send_modify(|h| h.phase = Phase::Ready);
        }
    }

    /// Tells the cluster that its last state is in force.
    fn followed(&self) {
        if let Some(cluster) = self.reloader.source.cluster() {
            cluster.applied(&self.reloader.store.open().config);
            self.is_ready();
        }
    }

    /// Until there is a reason to end.
    async fn watch(&mut self, signals: &mut Signals) -> Watched {
        let mut pulse = tokio::time::interval(self.notify.pulse().unwrap_or(Duration::MAX));
        let mut watchdog = Watchdog::new(self.workers.len());
        let mut tls_watch = TlsWatch::default();
        let mut every = tokio::time::interval(WATCH_EVERY);
        // After the process was stopped for a while, one look is enough.
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                asked = signals.next() => match asked {
                    SignalCommand::Stop(signal) => {
                        // A successor that serves already goes on; one that does not would find no sockets any more.
                        if let Some(successor) = self.successor.take_if(Successor::has_said) {
                            return self.is_followed_by(&successor);
                        }
                        self.successor = None;
                        tracing::info!("{signal}: draining; a second signal ends at once");
                        return Watched::Stop;
                    }
                    SignalCommand::HandOver => self.start_successor(),
                    SignalCommand::Reload => self.reload(By::Signal("SIGHUP")),
                    SignalCommand::Reopen => self.observer.reopen(),
                },
                // A configuration that is on its way to the workers arrives first.
                () = self.reloader.moved(), if !self.underway.as_ref().is_some_and(Underway::is_applying) => {
                    self.reloader.relocate(self.workers.iter().map(|w| &w.channel));
                }
                Some(ask) = self.asked.recv(), if self.underway.is_none() => {
                    self.underway = Some(self.reloader.begin(ask.change, ask.by, Some(ask.answer)));
                }
                stepped = Underway::step(&mut self.underway) => self.go_on(stepped),
                Some(ended) = self.ended.recv() => {
                    log_death(ended);
                    return Watched::Broken;
                }
                result = serves(&mut self.successor) => {
                    let Some(successor) = self.successor.take() else { continue };
                    match result {
                        Ok(()) => return self.is_followed_by(&successor),
                        Err(why) => tracing::error!("the successor does not serve, so this process goes on: {why}"),
                    }
                }
                _ = pulse.tick() => {
                    if self.health.borrow().stuck.is_empty() {
                        self.notify.is_well();
                    }
                }
                () = told(&mut self.watch.files) => self.reload(By::File(self.reloader.source.files())),
                () = told(&mut self.watch.cluster) => self.reload(By::Kubernetes),
                _ = every.tick() => {
                    let stuck = watchdog.look(self.shards.iter().map(|s| s.ticks.get()));
                    self.health.send_if_modified(|h| note_stuck(h, stuck));
                    self.reloader.bury();
                    let (of, now) = (self.reloader.store.open(), SystemTime::now());
                    let mut said = tls_watch.look(&of.certificates, self.shards, now);
                    said.extend(tls_watch.look_up(&of.config, &of.counters, now));
                    said.iter().for_each(|what| tracing::warn!("{what}"));
                }
            }
        }
    }

    fn is_followed_by(&self, successor: &Successor) -> Watched {
        let id = successor.id();
        tracing::info!("process {id} serves now; draining");
        self.keeper.leave();
        self.notify.followed_by(id);
        Watched::HandedOver
    }

    fn start_successor(&mut self) {
        if self.successor.is_some() {
            return tracing::warn!("SIGUSR2 ignored: a successor is starting already");
        }
        // Sockets that a change opens or closes meanwhile would be other ones than those handed over.
        self.hands_over = self.underway.is_some();
        if self.hands_over {
            return tracing::info!("SIGUSR2: a successor is started when the change under way has ended");
        }
        if std::process::id() == 1 {
            // A container ends with its first process, and all others with it.
            return tracing::error!(
                "SIGUSR2 ignored: this is its container's first process, which ends with it"
            );
        }
        self.keeper.save();
        match Successor::start(&self.program, &self.reloader.listeners) {
            Ok(successor) => {
                tracing::info!("SIGUSR2: process {} is to take over", successor.id());
                self.successor = Some(successor);
            }
            Err(why) => tracing::error!("SIGUSR2: no successor, so this process goes on: {why}"),
        }
    }

    /// Reads the files again, after the change that is being made if there is one.
    fn reload(&mut self, by: By) {
        if self.underway.is_some() {
            self.is_stale = Some(by);
            return;
        }
        self.notify.reloading();
        self.underway = Some(self.reloader.begin(Change::Source, by, None));
    }

    /// A change has come a step further.
    fn go_on(&mut self, stepped: Stepped) {
        let Some(mut underway) = self.underway.take() else { return };
        let result = match stepped {
            Stepped::Prepared(Ok(ready)) => {
                self.reloader.look_up(ready, &mut underway);
                self.underway = Some(underway);
                return;
            }
            Stepped::Looked(Ok(next)) => match self.bind(next) {
                Ok((next, listeners)) => {
                    let workers = self.workers.iter().map(|w| &w.channel);
                    self.reloader.apply(next, listeners, &mut underway, workers);
                    self.underway = Some(underway);
                    return;
                }
                Err(problems) => {
                    self.reloader.store.refuse();
                    Err(Refused::Wrong(problems))
                }
            },
            Stepped::Prepared(Err(Refused::Same)) => {
                self.followed();
                Err(Refused::Same)
            }
            Stepped::Prepared(Err(refused)) | Stepped::Looked(Err(refused)) => {
                self.reloader.store.refuse();
                Err(refused)
            }
            Stepped::Applied(applied) => {
                let Reloader { store, tls, schemas, .. } = &self.reloader;
                self.observer.turn(&store.open().config, tls.collector(), schemas);
                if underway.reads_source() {
                    self.followed();
                }
                Ok(applied)
            }
        };
        if underway.is_reload() {
            self.notify.ready("serving");
        }
        underway.tell(result, &self.reloader.store.changes, &mut self.reloader.of_cluster);
        if let Some(by) = self.is_stale.take() {
            self.reload(by);
        } else if self.hands_over {
            self.start_successor();
        }
    }

    /// Opens the listeners of the next configuration, and serves admin there. With an error nothing has changed.
    fn bind(&mut self, next: Next) -> Result<(Next, Listeners), Vec<Problem>> {
        let config = &next.ready.snapshot.config;
        let listeners = self.reloader.listeners.next(config, &next.ready.text)?;
        self.admin.follow(&config.admin, listeners.admin(), next.ready.tls.admin())?;
        Ok((next, listeners))
    }

    /// Tells every worker. One byte into an empty socket buffer: it never waits. It fails only where the worker is gone,
    /// which its last words tell.
    pub(super) fn tell(&self, command: Command) {
        for worker in &self.workers {
            let _ = (&worker.channel.control).write_all(&[command as u8]);
        }
    }

    async fn drain(&mut self, signals: &mut Signals, command: Command) -> Ending {
        // Dropped, so that its asker hears that nothing comes of the change.
        self.underway = None;
        self.health.send_modify(|h| h.phase = Phase::Draining);
        self.tell(command);
        // Sockets that a successor does not have are closed: a client that comes now is refused rather than left to wait.
        self.reloader.listeners = Listeners::default();
        let deadline = tokio::time::sleep(self.reloader.store.open().config.timeouts.drain + DRAIN_GRACE);
        tokio::pin!(deadline);
        let mut ending = Ending::Drained;
        let mut open: Vec<usize> = self.workers.iter().map(|w| w.id).collect();
        while !open.is_empty() {
            tokio::select! {
                signal = signals.stop(|| self.observer.reopen()) => {
                    tracing::warn!("{signal} while draining: ending at once");
                    return Ending::Hurried;
                }
                () = &mut deadline => {
                    tracing::error!("workers {open:?} did not return in time");
                    return Ending::Broken;
                }
                Some(ended) = self.ended.recv() => match ended {
                    Ended::Worker { id, panicked } => {
                        open.retain(|other| *other != id);
                        if panicked {
                            log_death(ended);
                            ending = Ending::Broken;
                        }
                    }
                    // The mirrors' last copies fail then, and are counted; nothing else depends on it.
                    Ended::Samples => log_death(ended),
                }
            }
        }
        let cut: i64 = self.shards.iter().map(|shard| shard.exchanges_active.get()).sum();
        if cut > 0 {
            tracing::warn!("{cut} exchanges cut: the drain time ended before they did");
        }
        let given_up = self.copies_given_up();
        if given_up > 0 {
            tracing::warn!("{given_up} copies given up: the drain time ended before their mirrors took them");
        }
        tracing::info!("drained");
        if let Some(cluster) = self.reloader.source.cluster() {
            cluster.end().await;
        }
        ending
    }

    /// Copies that waited or were under way when the drain ended.
    fn copies_given_up(&self) -> u64 {
        let page = self.reloader.store.open();
        let mirrors = page.counters.iter().flat_map(|c| &c.mirrors).flatten();
        let of = |m: &Arc<MirrorCounters>| {
            // Copies that the shippers of a worker still hold when it gives up are held to the end of the process.
            let held = m.pending.get() + m.waiting.get() + m.in_flight.get();
            let told = m.dropped.get(metrics::DropReason::Drain) + m.failed.get(metrics::FailReason::Drain);
            told + u64::try_from(held).unwrap_or(0)
        };
        mirrors.map(of).sum()
    }
}

/// Waits until the files have changed; for ever, where they are not watched.
async fn told(watch: &mut Option<mpsc::Receiver<()>>) {
    let told = match watch {
        Some(watch) => watch.recv().await,
        None => None,
    };
    // A thread that has ended says nothing any more.
    if told.is_none() {
        std::future::pending().await
    }
}

/// Whether the successor serves; for ever undecided where there is none.
async fn serves(successor: &mut Option<Successor>) -> Result<(), String> {
    match successor {
        Some(successor) => successor.serves().await,
        None => std::future::pending().await,
    }
}

fn log_death(ended: Ended) {
    match ended {
        Ended::Worker { id, panicked: true } => {
            tracing::error!("worker {id} panicked; only a new process helps")
        }
        Ended::Worker { id, panicked: false } => {
            tracing::error!("worker {id} returned without being asked to")
        }
        Ended::Samples => tracing::error!("the sample services ended"),
    }
}

fn note_stuck(health: &mut Health, stuck: Vec<usize>) -> bool {
    if health.stuck == stuck {
        return false;
    }
    if stuck.is_empty() {
        tracing::info!("every worker turns again");
    } else {
        tracing::error!("workers {stuck:?} have stopped turning");
    }
    health.stuck = stuck;
    true
}
