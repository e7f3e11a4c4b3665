//! Another configuration while serving: checked whole, then handed to every worker; or refused whole, and the old one
//! serves on.
//!
//! The room knows the steps and their order. A worker decides what it keeps from one configuration to the next.

use std::future::{self, Future};
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use config::Config;
use tokio::sync::{mpsc, oneshot};

use super::files::{Also, Served};
use super::listeners::Listeners;
use super::prepare::{Job, Preparer, Ready, Written};
use super::threads::Channel;
use super::{Source, resolve};
use crate::capture::Captures;
use crate::compare::Schemas;
use crate::control::budget::{self, Descriptors};
use crate::control::{Applied, By, Change, Changes, ConfigStore, Difference, Made, Refused, Snapshot};
use crate::discovery::{Discovery, Found, Located};
use crate::generation::WorkerConfig;
use crate::logging::Sparing;
use crate::prepared::Prepared;
use crate::tls::Tls;
use crate::visible::visible;
use crate::worker::{Command, Update};

/// A worker that has not taken a configuration after this long is stuck, which its watchdog tells.
const APPLIED_MAX: Duration = Duration::from_secs(5);

/// A change under way, of which there is one at a time. Its slow steps are waited for here, beside all other work of the
/// control plane.
pub(super) struct Underway {
    step: Step,
    asker: Option<oneshot::Sender<Result<Applied, Refused>>>,
    by: By,
    is_whole: bool,
    reads_source: bool,
    /// Differences that it makes, and the number of further ones.
    differences: (Vec<Difference>, usize),
}

enum Step {
    /// The configuration is read and checked, on a thread of its own.
    Preparing(Pin<Box<dyn Future<Output = Result<Ready, Refused>>>>),
    /// The names of its upstreams are looked up.
    Looking(Pin<Box<dyn Future<Output = Result<Next, Refused>>>>),
    /// The workers take it.
    Applying(Pin<Box<dyn Future<Output = Applied>>>),
}

/// How far a change has come.
pub(super) enum Stepped {
    Prepared(Result<Ready, Refused>),
    Looked(Result<Next, Refused>),
    Applied(Applied),
}

impl Underway {
    pub(super) fn is_applying(&self) -> bool {
        match self.step {
            Step::Preparing(_) | Step::Looking(_) => false,
            Step::Applying(_) => true,
        }
    }

    /// Waits for the end of the step that `this` is in; for ever, where there is none. May be dropped and called again.
    pub(super) async fn step(this: &mut Option<Self>) -> Stepped {
        match this.as_mut().map(|underway| &mut underway.step) {
            None => future::pending().await,
            Some(Step::Preparing(ready)) => Stepped::Prepared(ready.await),
            Some(Step::Looking(next)) => Stepped::Looked(next.await),
            Some(Step::Applying(applied)) => Stepped::Applied(applied.await),
        }
    }

    /// The files are read again, and no asker waits for an answer.
    pub(super) fn is_reload(&self) -> bool {
        self.asker.is_none()
    }

    /// Whether the change reads the source again, whoever asked for it.
    pub(super) fn reads_source(&self) -> bool {
        self.reads_source
    }

    /// Answers the asker, which may be gone; the change is made all the same. Made or refused, it is noted. Changes of a
    /// cluster go into the log as far as there is room for them.
    pub(super) fn tell(
        self,
        mut result: Result<Applied, Refused>,
        changes: &Changes,
        of_cluster: &mut Sparing,
    ) {
        let refused = result.as_ref().err().map(why);
        if self.by == By::Kubernetes && refused.as_ref().is_some_and(|why| changes.was_refused(why)) {
            // A cluster is tried again by itself: the same faults were told already.
            return tracing::debug!("configuration unchanged, as before");
        }
        let is_same = matches!(result, Err(Refused::Same));
        let said =
            if self.by == By::Kubernetes && !is_same { of_cluster.may_say(Instant::now()) } else { Ok(0) };
        match said {
            Ok(0) => {}
            Ok(n) => tracing::info!(
                "{n} changes of the cluster are not in the log: it has {CLUSTER_CHANGES_LOGGED_MAX} a minute"
            ),
            Err(n) => tracing::debug!("a change of the cluster, {n} that the log leaves out"),
        }
        if said.is_ok() {
            log(&result);
        }
        if let (Err(Refused::Same), None) = (&result, &self.asker) {
            // Without a change there is nothing to log or to answer.
            return changes.confirm(SystemTime::now());
        }
        let (differences, more) = if refused.is_none() { self.differences } else { Default::default() };
        let (at, by, is_reload) = (SystemTime::now(), self.by, self.is_whole);
        let made = Made { number: 0, at, by, is_reload, differences, more, refused };
        let text = audit(&made);
        let number = changes.note(made);
        if said.is_ok() {
            tracing::info!("change {number} {text}");
        }
        if let Ok(applied) = &mut result {
            applied.number = number;
        }
        if let Some(asker) = self.asker {
            let _ = asker.send(result);
        }
    }
}

/// Makes changes.
pub(super) struct Reloader {
    pub(super) source: Source,
    pub(super) served: Served,
    pub(super) store: Arc<ConfigStore>,
    pub(super) preparer: Preparer,
    /// The configuration as the workers have it, by worker.
    pub(super) prepared: Vec<Arc<Prepared>>,
    pub(super) discovery: Discovery,
    /// The addresses that the workers know.
    pub(super) located: Located,
    pub(super) listeners: Listeners,
    pub(super) captures: Captures,
    /// TLS in force: the `tls` keys, loaded.
    pub(super) tls: Arc<Tls>,
    /// The descriptors in force.
    pub(super) schemas: Arc<Schemas>,
    /// Descriptors that this process may have.
    pub(super) descriptor_limit: u64,
    /// Changes of a cluster in the log.
    pub(super) of_cluster: Sparing,
    /// Configurations that were in force, until no exchange has them any more.
    pub(super) retired: Vec<(Arc<Config>, Vec<Arc<Prepared>>)>,
}

impl Reloader {
    /// Begins to make a change.
    pub(super) fn begin(
        &mut self,
        change: Change,
        by: By,
        asker: Option<oneshot::Sender<Result<Applied, Refused>>>,
    ) -> Underway {
        let is_whole = matches!(change, Change::Source | Change::Text(_));
        let reads_source = matches!(change, Change::Source);
        let job = Job {
            change,
            skips_same: by == By::Kubernetes,
            source: self.source.clone(),
            served: self.served.clone(),
            snapshot: self.store.open(),
            // A reload that is asked for takes the source as it is; with a cluster's changes, shares set since go on.
            read: (by == By::Kubernetes).then(|| self.store.whole()),
            prepared: self.prepared.clone(),
            tls: Arc::clone(&self.tls),
            schemas: Arc::clone(&self.schemas),
        };
        Underway {
            step: Step::Preparing(Box::pin(self.preparer.begin(job))),
            asker,
            by,
            is_whole,
            reads_source,
            differences: Default::default(),
        }
    }

    /// Goes on with a change that is sound: looks up the names that are new.
    pub(super) fn look_up(&self, ready: Ready, underway: &mut Underway) {
        let found = self.discovery.find(&ready.snapshot.config);
        let lenient = matches!(self.source, Source::Cluster(_));
        underway.step = Step::Looking(Box::pin(async move {
            let found = found.await;
            let mut ready = ready;
            let told = resolve::judge(&ready.snapshot.config, &found, &ready.text, lenient);
            ready.warnings.extend(told.map_err(Refused::Wrong)?);
            Ok(Next { ready, found })
        }));
    }

    /// Puts a change into force, and goes on in `underway` until every worker has it.
    pub(super) fn apply<'w>(
        &mut self,
        next: Next,
        listeners: Listeners,
        underway: &mut Underway,
        workers: impl Iterator<Item = &'w Channel>,
    ) {
        let Next { ready, found } = next;
        let Ready {
            snapshot,
            read,
            kept,
            prepared,
            tls,
            schemas,
            written,
            warnings,
            started,
            also,
            differences,
            text: _,
        } = ready;
        underway.differences = differences;
        also.into_iter().for_each(Also::keep);
        let before = self.store.open().config;
        let snapshot = self.store.turn(snapshot);
        match written {
            Written::Whole(shown) => {
                self.store.write(shown, read);
                kept.into_iter().for_each(|(what, to)| self.store.patch(what, to));
            }
            Written::Part(what, to) => self.store.patch(what, to),
        }
        self.retired.push((before, std::mem::replace(&mut self.prepared, prepared)));
        self.located = self.discovery.settle(&snapshot.config, found, &snapshot.checks, tls.upstreams());
        self.store.locate(&self.located.addresses);
        let (came, went) = self.listeners.changes(&listeners);
        came.iter().for_each(|address| tracing::info!("listening on {address}"));
        went.iter().for_each(|address| tracing::info!("no longer listening on {address}: draining"));
        self.listeners = listeners;
        self.store.listen(self.listeners.addresses());
        (self.tls, self.schemas) = (tls, schemas);
        self.captures.turn(&snapshot.config);
        self.store.capture(self.captures.counters());
        let mut heard = self.hand_out(&snapshot, workers);
        let all = snapshot.counters.len();
        underway.step = Step::Applying(Box::pin(async move {
            let deadline = tokio::time::Instant::now() + APPLIED_MAX;
            let mut taken = Vec::new();
            while let Ok(Some(worker)) = tokio::time::timeout_at(deadline, heard.recv()).await {
                taken.push(worker);
            }
            let late: Vec<usize> = (0..all).filter(|id| !taken.contains(id)).collect();
            if !late.is_empty() {
                let seconds = APPLIED_MAX.as_secs();
                tracing::warn!("workers {late:?} have not taken the configuration after {seconds} s");
            }
            Applied { number: 0, workers: taken.len(), took: started.elapsed(), warnings }
        }));
    }

    /// Frees configurations that are not used any more: here, because a worker that frees ten thousand routes answers no
    /// request meanwhile.
    pub(super) fn bury(&mut self) {
        self.retired.retain(|(config, prepared)| {
            Arc::strong_count(config) > 1 || prepared.iter().any(|of| Arc::strong_count(of) > 1)
        });
    }

    /// Waits until an upstream has other addresses.
    pub(super) async fn moved(&mut self) {
        self.discovery.changed().await;
    }

    /// Tells the workers where the upstreams are now.
    pub(super) fn relocate<'w>(&mut self, workers: impl Iterator<Item = &'w Channel>) {
        let snapshot = self.store.open();
        let located = self.discovery.locate(&snapshot.config, &snapshot.checks, self.tls.upstreams());
        if located.addresses == self.located.addresses && located.hosts == self.located.hosts {
            return;
        }
        self.located = located;
        self.store.locate(&self.located.addresses);
        // No asker waits for this.
        drop(self.hand_out(&snapshot, workers));
    }

    /// Hands the configuration in force to every worker; each reports when it serves by it.
    fn hand_out<'w>(
        &self,
        snapshot: &Snapshot,
        workers: impl Iterator<Item = &'w Channel>,
    ) -> mpsc::Receiver<usize> {
        let (told, heard) = mpsc::channel(snapshot.counters.len().max(1));
        let brings_services = self.source.brings_services();
        let descriptors = Descriptors::of(&snapshot.config, &self.located.addresses, brings_services);
        let clients_max = budget::clients_max(&snapshot.config, &descriptors, self.descriptor_limit);
        let count = snapshot.counters.len();
        let of_workers = snapshot.counters.iter().zip(&self.prepared).enumerate();
        for (worker, (id, (counters, prepared))) in workers.zip(of_workers) {
            worker.updates.leave(Update {
                worker_config: WorkerConfig {
                    config: Arc::clone(&snapshot.config),
                    located: self.located.clone(),
                    counters: Arc::clone(counters),
                    clients_max,
                    prepared: Arc::clone(prepared),
                    callings: Arc::clone(self.tls.upstreams()),
                    captures: Arc::clone(self.captures.sinks()),
                    listeners: self.listeners.of_worker_secured(id, count, &snapshot.config, &self.tls),
                },
                applied: told.clone(),
            });
            // A byte into an all but empty socket buffer: it never waits. It fails only where the worker is gone, which its
            // last message tells.
            let _ = (&worker.control).write_all(&[Command::Reload as u8]);
        }
        heard
    }
}

/// A configuration that may be applied.
pub(super) struct Next {
    pub(super) ready: Ready,
    found: Found,
}

/// Logs the result of a change. The log does not wait for its reader: an unread standard error must not hold up the control
/// loop.
fn log(result: &Result<Applied, Refused>) {
    match result {
        Ok(Applied { number: _, workers, took, warnings }) => {
            warnings.iter().for_each(|warning| tracing::warn!("warning: {warning}"));
            tracing::info!("configuration applied on {workers} workers in {} ms", took.as_millis());
        }
        Err(Refused::Same) => tracing::debug!("configuration unchanged: nothing in it differs"),
        Err(Refused::Busy(why)) => tracing::error!("configuration unchanged: {why}"),
        Err(Refused::Unknown(what)) => tracing::error!("configuration unchanged: {what}"),
        Err(Refused::Wrong(problems)) => {
            problems.iter().for_each(|problem| tracing::error!("configuration unchanged: {problem}"));
        }
    }
}

/// Changes of a cluster that are told in the log each minute; all are counted, and the last ones remembered.
pub(super) const CLUSTER_CHANGES_LOGGED_MAX: u32 = 60;

/// Differences that a line of the log names.
const DIFFERENCES_LOGGED: usize = 8;

/// A change and its author, as a line.
fn audit(made: &Made) -> String {
    let by = visible(&made.by.to_string()).into_owned();
    if let Some(why) = &made.refused {
        return format!("by {by} refused: {}", visible(why));
    }
    let mut parts: Vec<String> = made
        .differences
        .iter()
        .take(DIFFERENCES_LOGGED)
        .map(|of| visible(&of.to_string()).into_owned())
        .collect();
    let more = made.more + made.differences.len().saturating_sub(DIFFERENCES_LOGGED);
    if more > 0 {
        parts.push(format!("and {more} more"));
    }
    if parts.is_empty() {
        parts.push("nothing is otherwise than before".to_owned());
    }
    format!("by {by}: {}", parts.join("; "))
}

/// The first thing that is wrong, and how much more is.
fn why(refused: &Refused) -> String {
    match refused {
        Refused::Same => "nothing in it differs from what is in force".to_owned(),
        Refused::Busy(why) => (*why).to_owned(),
        Refused::Unknown(what) => what.clone(),
        Refused::Wrong(problems) => {
            let first = problems.first().map(ToString::to_string).unwrap_or_default();
            match problems.len().saturating_sub(1) {
                0 => first,
                more => format!("{first} (and {more} more)"),
            }
        }
    }
}
