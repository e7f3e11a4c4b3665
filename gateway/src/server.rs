//! The process: load, resolve, bind, start the workers, say so, wait for signals, drain, and say how it ended.
//!
//! It knows threads, sockets to listen on and signals. It does not know HTTP, what a worker does with its connections,
//! or how to end the process: `main` does that with the ending returned here.

mod bind;
mod handover;
mod inherit;
mod notify;
pub(crate) mod privileges;
mod signals;
pub mod reload;
mod files;
mod source;
pub(crate) mod budget;
mod resolve;

use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use config::check::{self, Checked, Problem};
use config::{Config, Shown};
use core_affinity::CoreId;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::admin::{self, Book, Health, Phase, Watchdog};
use crate::banner;
use crate::cli;
use crate::discovery::{Discovery, Located};
use crate::generation::Blueprint;
use crate::io::Owner;
use crate::memory;
use crate::metrics::{self, MirrorCounters, Shard};
use crate::mirror::proof::Proof;
use crate::observe::observer::{Observer, Readers};
use crate::observe::tap::{self, Tap};
use crate::os;
use crate::sample::{self, Samples};
use crate::worker::{self, Command, Ready, Setup};
use budget::{Descriptors, Memory};
use files::Watch;
use handover::{Program, Successor};
use inherit::{Inherited, Use};
use notify::Notify;
use privileges::Privileges;
use reload::{Ask, Change, Channel, Reloader, Stepped, Underway};
use signals::{Asked, Requests, Signals};
pub use source::Source;
use source::broken;

/// A worker that has not said that it serves after this long never will.
const READY_MAX: Duration = Duration::from_secs(30);

/// What a worker gets on top of `timeouts.drain` to return before it counts as dead.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// Period of the look at every worker's tick counter.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// How a gateway that served came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Asked once; every worker returned, or there were none yet.
    Drained,
    /// Asked a second time while it drained.
    Hurried,
    /// A worker, or the sample services, died or hung. Its listener may still take connections that nobody will ever
    /// answer (a dead runtime keeps its sockets), so only a new process helps.
    Broken,
}

/// Serves until told to stop; with `watched`, by what its files say whenever they change. An error is why nothing was
/// served. `privileges` is what [`privileges::give_up`] left, for the banner.
pub(crate) fn serve(
    source: &Source,
    watched: bool,
    privileges: Option<Privileges>,
) -> Result<Ending, Vec<Problem>> {
    let started = SystemTime::now();
    // First of all: until then a descriptor that is not ours yet could be taken for one that is.
    let mut inherited = Inherited::find().map_err(broken)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| broken(format!("cannot start the control plane's runtime: {e}")))?;
    let deaf = |e: io::Error| broken(format!("cannot listen for signals: {e}"));
    let requests = runtime.block_on(async { Requests::new() }).map_err(deaf)?;
    let program = Program::own();
    memory::without_huge_pages();
    let (told, ended) = mpsc::channel(ENDED_MAX);
    let (config, written, samples) = load(source, &told)?;
    // Only now: until here the kernel ends the process, also one that waits for its standard input. From here on all that
    // takes time looks at them, for a container's first process has no other end.
    let mut signals = runtime.block_on(async { Signals::new(requests) }).map_err(deaf)?;
    let book = Book::new(&config);
    book.write(written);
    let located = runtime.block_on(unless_stopped(&mut signals, locate(&book, source)))?;
    let Some((discovery, located)) = located else { return Ok(Ending::Drained) };
    let descriptor_limit = os::raise_descriptor_limit()
        .map_err(|e| broken(format!("cannot read the limit of open descriptors: {e}")))?;
    let mut bound = bind::bind(&config, source, &mut inherited)?;
    cli::complain(inherited.left().iter().map(|address| {
        format!("warning: a socket that listens on {address} was given to this process, and no listener has that address")
    }));
    bound.kept.extend(inherited.leave());
    let cores = cores(&config);

    let shards: Vec<Arc<Shard>> = (0..config.workers.count).map(|_| Arc::default()).collect();
    let (health, health_seen) = watch::channel(Health::default());
    let (asks, asked) = mpsc::channel(ASKS_MAX);
    let scrape = admin::Exposition::new(Arc::clone(&book), shards.clone(), started);
    let live = admin::Live::new(Arc::clone(&book), shards.clone(), started);
    let histograms = admin::Histograms::new(Arc::clone(&book));

    let descriptors = Descriptors::of(&config, &located.addresses, samples.is_some());
    let clients_max = budget::clients_max(&config, &descriptors, descriptor_limit);
    let threads =
        Threads { clients_max, book: &book, located: &located, shards: &shards, cores: &cores, told: &told };
    let (taps, spouts): (Vec<_>, Vec<_>) = shards.iter().map(tap::tap).unzip();
    let observer =
        Observer::start(&config, spouts, Readers::new(&config, &book.open().observer, &book.findings))
            .map_err(|e| broken(format!("cannot start the observer: {e}")))?;
    let (workers, mut said) = threads.start(bound.listeners_by_worker, taps)?;
    let ready = await_ready(&mut said, workers.len(), READY_MAX);
    let Some(drivers) = runtime.block_on(unless_stopped(&mut signals, ready))? else {
        return Ok(Ending::Drained);
    };

    let facts = banner::Facts {
        version: env!("CARGO_PKG_VERSION"),
        source: &source.name(),
        embedded: samples.is_some(),
        config: &config,
        addresses: &located.addresses,
        listeners: &bound.listener_addresses,
        admin: bound.admin.as_ref().map(|(address, _)| *address),
        drivers: &drivers,
        cores: &cores,
        descriptors,
        clients_max,
        descriptor_limit,
        memory: Memory::of(&config),
        memory_limit: config::memory_available().into_iter().chain(os::memory_bytes()).min(),
        privileges,
    };
    let announcement = announcement(&facts);
    let reloader =
        Reloader { source: source.clone(), book: Arc::clone(&book), discovery, located, descriptor_limit };
    let watch = watched.then(|| Watch::new(source));
    let plane = ControlPlane {
        reloader,
        watch,
        workers,
        shards: &shards,
        observer: &observer,
        ended,
        asked,
        health,
        notify: Notify::from_environment(),
        program,
        sockets: bound.kept,
        successor: None,
        underway: None,
        is_stale: false,
    };
    let ending = runtime.block_on(async {
        let mut admin = None;
        if let Some((address, listener)) = bound.admin {
            let listener = tokio::net::TcpListener::from_std(listener)
                .map_err(|e| broken(format!("cannot serve admin on {address}: {e}")))?;
            let desk = admin::Desk {
                book: Arc::clone(&book),
                asks,
                guard: admin::Guard::of(&config.admin, address),
            };
            tokio::spawn(Arc::clone(&live).watch());
            tokio::spawn(Arc::clone(&histograms).watch());
            let router = admin::router(scrape, health_seen, live, histograms, desk);
            admin = Some(tokio::spawn(admin::serve(listener, router)));
        }
        plane.tell(Command::Begin);
        say(&announcement);
        if let Some(predecessor) = inherited.predecessor {
            handover::tell(predecessor);
        }
        Ok(plane.run(signals, admin).await)
    });
    observer.join();
    ending
}

/// Does what belongs to the start, unless somebody ends it meanwhile.
async fn unless_stopped<T>(
    signals: &mut Signals,
    start: impl Future<Output = Result<T, Vec<Problem>>>,
) -> Result<Option<T>, Vec<Problem>> {
    tokio::select! {
        signal = signals.stop_only() => {
            tracing::info!("{signal} before it served: ending");
            Ok(None)
        }
        done = start => done.map(Some),
    }
}

/// Where the upstreams are, and who follows them. The checks begin with the runtime's next turn.
async fn locate(book: &Book, source: &Source) -> Result<(Discovery, Located), Vec<Problem>> {
    let page = book.open();
    let mut discovery = Discovery::new(&page.names);
    let found = discovery.find(&page.config).await;
    let warnings = resolve::judge(&page.config, &found, source)?;
    cli::complain(warnings.iter().map(|w| format!("warning: {w}")));
    let located = discovery.settle(&page.config, found, &page.checks);
    Ok((discovery, located))
}

/// Banner and readiness lines. A closed standard output is no reason not to serve.
fn say(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

fn announcement(facts: &banner::Facts<'_>) -> String {
    let mut text = banner::render(facts);
    for address in facts.listeners {
        text.push_str(&format!("listening on {address}\n"));
    }
    if let Some(address) = facts.admin {
        text.push_str(&format!("admin on {address}\n"));
    }
    text
}

/// The configuration, how it would be written, and the sample services if it is the embedded one.
fn load(
    source: &Source,
    told: &mpsc::Sender<Ended>,
) -> Result<(Arc<Config>, Shown, Option<Samples>), Vec<Problem>> {
    match source {
        Source::Embedded => {
            let told = told.clone();
            let gone = move || {
                let _ = told.try_send(Ended::Samples);
            };
            let samples =
                sample::start(gone).map_err(|e| broken(format!("cannot start the sample services: {e}")))?;
            let text = check::embedded_text(samples.v1, samples.v2);
            let written = Shown { masked: text.clone(), whole: text };
            Ok((Arc::new(check::embedded_default(samples.v1, samples.v2)), written, Some(samples)))
        }
        Source::File(_) | Source::Manifests(_) => {
            let Checked { config, written, warnings } = source.read()?;
            cli::complain(warnings.iter().map(|w| format!("warning: {w}")));
            Ok((Arc::new(config), written, None))
        }
    }
}

/// The core of each worker. Workers beyond the cores this process may use are left to the scheduler: two on one core
/// would be worse off pinned.
fn cores(config: &Config) -> Vec<Option<CoreId>> {
    let allowed =
        if config.workers.pin { core_affinity::get_core_ids().unwrap_or_default() } else { Vec::new() };
    (0..config.workers.count).map(|id| allowed.get(id).copied()).collect()
}

/// Said once by each thread that should have gone on, as its last words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Worker { id: usize, panicked: bool },
    Samples,
}

/// More threads than anyone starts; a thread's last words never wait for room.
const ENDED_MAX: usize = 4096;

/// What the control plane keeps of a worker.
struct Worker {
    id: usize,
    channel: Channel,
}

/// What it takes to start the workers.
struct Threads<'a> {
    /// Client connections of one worker at once.
    clients_max: usize,
    book: &'a Book,
    located: &'a Located,
    shards: &'a [Arc<Shard>],
    cores: &'a [Option<CoreId>],
    told: &'a mpsc::Sender<Ended>,
}

impl Threads<'_> {
    /// Starts every worker: (workers, where each says whether it serves).
    fn start(
        &self,
        listeners: Vec<Vec<(TcpListener, Owner)>>,
        taps: Vec<Tap>,
    ) -> Result<(Vec<Worker>, mpsc::Receiver<Ready>), Vec<Problem>> {
        // Each says at most that it serves and that it ended.
        let (ready, said) = mpsc::channel(2 * listeners.len().max(1));
        let proof = Proof::of_process().map_err(broken)?;
        let page = self.book.open();
        let mut workers = Vec::with_capacity(listeners.len());
        for (id, (listeners, tap)) in listeners.into_iter().zip(taps).enumerate() {
            let cannot = |e: io::Error| broken(format!("cannot start worker {id}: {e}"));
            let (ours, theirs) = UnixStream::pair().map_err(cannot)?;
            let updates = Arc::default();
            let setup = Setup {
                id,
                core: self.cores.get(id).copied().flatten(),
                blueprint: Blueprint {
                    config: Arc::clone(&page.config),
                    located: self.located.clone(),
                    counters: page.counters.get(id).cloned().unwrap_or_default(),
                    clients_max: self.clients_max,
                },
                updates: Arc::clone(&updates),
                listeners,
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
        // The worker catches what an exchange throws; what arrives here broke the worker itself.
        let panicked = panic::catch_unwind(AssertUnwindSafe(|| worker::run(setup))).is_err();
        // Heard only by a control plane that still waits for this worker to serve.
        let _ = ready.try_send(Ready { worker: id, driver: Err("ended before it served".to_owned()) });
        let _ = told.try_send(Ended::Worker { id, panicked });
    };
    // The handle is dropped: a thread's last words say all that a join would, and a join cannot be hurried.
    os::without_signals(|| thread::Builder::new().name(format!("umbra-{id}")).spawn(body)).map(drop)
}

/// One driver text for each of `count` workers, or why one does not serve.
async fn await_ready(
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

/// The main thread once the workers serve.
struct ControlPlane<'a> {
    reloader: Reloader,
    /// The files, where somebody is to look at them.
    watch: Option<Watch>,
    workers: Vec<Worker>,
    shards: &'a [Arc<Shard>],
    observer: &'a Observer,
    ended: mpsc::Receiver<Ended>,
    /// Changes that the admin listener was asked for.
    asked: mpsc::Receiver<Ask>,
    health: watch::Sender<Health>,
    notify: Notify,
    program: Program,
    /// Every listening socket, for whoever comes after.
    sockets: Vec<(Use, TcpListener)>,
    /// It was started and does not serve yet.
    successor: Option<Successor>,
    /// The change that is being made.
    underway: Option<Underway>,
    /// The files are to be read again after it.
    is_stale: bool,
}

/// How the watch over a serving gateway ends.
enum Watched {
    /// It was asked to stop.
    Stop,
    /// Another process serves now.
    HandedOver,
    /// A thread ended that should not.
    Broken,
}

/// Changes that may wait their turn; whoever asks for more waits to ask.
const ASKS_MAX: usize = 16;

impl ControlPlane<'_> {
    async fn run(mut self, mut signals: Signals, admin: Option<JoinHandle<()>>) -> Ending {
        self.health.send_modify(|h| h.phase = Phase::Ready);
        self.notify.ready("serving");
        match self.watch(&mut signals).await {
            Watched::Broken => Ending::Broken,
            Watched::Stop => {
                self.notify.stopping();
                self.drain(&mut signals, Command::Drain).await
            }
            Watched::HandedOver => {
                // Who asks is to be answered by the process that serves.
                if let Some(admin) = admin {
                    admin.abort();
                }
                self.drain(&mut signals, Command::HandOver).await
            }
        }
    }

    /// Until there is a reason to end.
    async fn watch(&mut self, signals: &mut Signals) -> Watched {
        let mut pulse = tokio::time::interval(self.notify.pulse().unwrap_or(Duration::MAX));
        let mut watchdog = Watchdog::new(self.workers.len());
        let mut every = tokio::time::interval(WATCH_EVERY);
        // After the process was stopped for a while, one look is enough.
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                asked = signals.next() => match asked {
                    Asked::Stop(signal) => {
                        // One that serves already goes on; one that does not would find no sockets any more.
                        if let Some(successor) = self.successor.take_if(Successor::has_said) {
                            return self.is_followed_by(&successor);
                        }
                        self.successor = None;
                        tracing::info!("{signal}: draining; a second signal ends at once");
                        return Watched::Stop;
                    }
                    Asked::HandOver => self.start_successor(),
                    Asked::Reload => self.reload(),
                    Asked::Reopen => self.observer.reopen(),
                },
                // A configuration that is on its way to the workers arrives first.
                () = self.reloader.moved(), if !self.underway.as_ref().is_some_and(Underway::is_applying) => {
                    self.reloader.relocate(self.workers.iter().map(|w| &w.channel));
                }
                Some(ask) = self.asked.recv(), if self.underway.is_none() => {
                    self.underway = Some(self.reloader.begin(ask.change, Some(ask.answer)));
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
                _ = every.tick() => {
                    let stuck = watchdog.look(self.shards.iter().map(|s| s.ticks.get()));
                    self.health.send_if_modified(|h| note_stuck(h, stuck));
                    if self.watch.as_mut().is_some_and(Watch::has_changed) {
                        self.reload();
                    }
                }
            }
        }
    }

    fn is_followed_by(&self, successor: &Successor) -> Watched {
        let id = successor.id();
        tracing::info!("process {id} serves now; draining");
        self.notify.followed_by(id);
        Watched::HandedOver
    }

    fn start_successor(&mut self) {
        if self.successor.is_some() {
            return tracing::warn!("SIGUSR2 ignored: a successor is starting already");
        }
        if std::process::id() == 1 {
            // A container, or what else it is first in, ends with its first process and takes all others along.
            return tracing::error!(
                "SIGUSR2 ignored: this is its container's first process, which ends with it"
            );
        }
        match Successor::start(&self.program, &self.sockets) {
            Ok(successor) => {
                tracing::info!("SIGUSR2: process {} is to take over", successor.id());
                self.successor = Some(successor);
            }
            Err(why) => tracing::error!("SIGUSR2: no successor, so this process goes on: {why}"),
        }
    }

    /// Reads the files again, after the change that is being made if there is one.
    fn reload(&mut self) {
        self.is_stale = self.underway.is_some();
        if !self.is_stale {
            self.notify.reloading();
            self.underway = Some(self.reloader.begin(Change::Source, None));
        }
    }

    /// A change has come a step further.
    fn go_on(&mut self, stepped: Stepped) {
        let Some(mut underway) = self.underway.take() else { return };
        let result = match stepped {
            Stepped::Looked(Ok(next)) => {
                self.reloader.apply(next, &mut underway, self.workers.iter().map(|w| &w.channel));
                self.underway = Some(underway);
                return;
            }
            Stepped::Looked(Err(refused)) => {
                self.reloader.book.refuse();
                Err(refused)
            }
            Stepped::Applied(applied) => {
                self.observer.turn(&self.reloader.book.open().config);
                Ok(applied)
            }
        };
        if underway.is_reload() {
            self.notify.ready("serving");
        }
        underway.tell(result);
        if self.is_stale {
            self.reload();
        }
    }

    /// Tells every worker. One byte into an empty socket buffer: it never waits. It fails only where the worker is gone,
    /// which its last words tell.
    fn tell(&self, command: Command) {
        for worker in &self.workers {
            let _ = (&worker.channel.control).write_all(&[command as u8]);
        }
    }

    async fn drain(&mut self, signals: &mut Signals, command: Command) -> Ending {
        // Who waits for a change hears that nothing comes of it.
        self.underway = None;
        self.health.send_modify(|h| h.phase = Phase::Draining);
        self.tell(command);
        // Those that a successor has not, nobody takes from any more: who comes now is refused rather than left to wait.
        self.sockets.clear();
        let deadline = tokio::time::sleep(self.reloader.book.open().config.timeouts.drain + DRAIN_GRACE);
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
        ending
    }

    /// Copies that waited or were under way when the drain ended.
    fn copies_given_up(&self) -> u64 {
        let page = self.reloader.book.open();
        let mirrors = page.counters.iter().flat_map(|c| &c.mirrors).flatten();
        let of = |m: &Arc<MirrorCounters>| {
            // A worker that gives up leaves what its shippers hold to the end of the process.
            let held = m.pending.get() + m.waiting.get() + m.in_flight.get();
            let told = m.dropped.get(metrics::Drop::Drain) + m.failed.get(metrics::Fail::Drain);
            told + u64::try_from(held).unwrap_or(0)
        };
        mirrors.map(of).sum()
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
