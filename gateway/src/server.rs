//! The process from its start to its readiness: load, resolve, bind, start the workers, report readiness. Then the control loop
//! takes over.
//!
//! The room knows threads, sockets to listen on and signals. It does not know HTTP, a worker's use of its connections, or how
//! to end the process: `main` does that with the ending returned here.

mod threads;
mod control_loop;
mod reload;
mod prepare;
mod patch;
mod drift;
mod differ;
mod source;
pub(crate) mod certificates;
mod descriptors;
mod files;
mod resolve;
mod listeners;
mod admin_listener;
mod tls_watch;
mod watcher;
mod handover;
mod keeper;
mod inherit;
mod notify;
mod signals;
pub(crate) mod privileges;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use config::check::{self, Checked, Problem};
use config::{Config, Shown};
use tokio::sync::{mpsc, watch};

use crate::admin::Admin;
use crate::banner;
use crate::capture::Captures;
use crate::control::budget::{self, Descriptors, Memory};
use crate::control::{ConfigStore, Health};
use crate::demo::{self, Demo};
use crate::discovery::{Discovery, Located};
use crate::kubernetes::{Cluster, FIRST_MAX, OBJECTS_BYTES_MAX};
use crate::logging::Sparing;
use crate::logging::complain;
use crate::memory;
use crate::metrics::Shard;
use crate::observe::observer::{Observer, Readers};
use crate::observe::tap;
use crate::os;
use crate::prepared::Prepared;
use crate::sample;
use crate::tls::Tls;
use crate::worker::Command;
use admin_listener::AdminListener;
use control_loop::{ASKS_MAX, Changed, ControlPlane};
use files::{Served, Watch};
use handover::Program;
use inherit::Inherited;
use keeper::Keeper;
use listeners::Listeners;
use notify::Notify;
use prepare::Preparer;
use privileges::Privileges;
use reload::Reloader;
use signals::{Requests, Signals};
pub use source::Source;
use source::{SourceText, broken};
use threads::{ENDED_MAX, Ended, READY_MAX, Threads, await_ready, cores};

/// How a gateway that served came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Asked once; every worker returned, or there were none yet.
    Drained,
    /// Asked a second time while it drained.
    Hurried,
    /// A worker, or the sample services, died or hung. Its listener may still take connections that are never answered (a dead
    /// runtime keeps its sockets), so only a new process helps.
    Broken,
}

/// Serves until told to stop; with `watched`, also by changed files. An error is why the gateway does not serve. `privileges`
/// is the result of [`privileges::give_up`], for the banner.
pub(crate) fn serve(
    source: &Source,
    watched: bool,
    privileges: Option<Privileges>,
) -> Result<Ending, Vec<Problem>> {
    let started = SystemTime::now();
    // First of all: until then a descriptor that is not ours yet could be taken for one that is.
    let (inherited, predecessor) = Inherited::find().map_err(broken)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("umbra-aside")
        .build()
        .map_err(|e| broken(format!("cannot start the control plane's runtime: {e}")))?;
    let deaf = |e: io::Error| broken(format!("cannot listen for signals: {e}"));
    let requests = runtime.block_on(async { Requests::new() }).map_err(deaf)?;
    let program = Program::own();
    memory::without_huge_pages();
    let (told, ended) = mpsc::channel(ENDED_MAX);
    let served = Served::default();
    let cluster = source.cluster();
    let followed =
        cluster.map(|cluster| runtime.block_on(follow(cluster, predecessor.is_some()))).transpose()?;
    let Loaded { config, written, text, demo } = load(source, &served, &told)?;
    // Only now: until here the kernel ends the process, also one that waits for its standard input. From here on all that
    // takes time looks at them, for a container's first process has no other end.
    let mut signals = runtime.block_on(async { Signals::new(requests) }).map_err(deaf)?;
    served.also(&certificates::files(&config)).keep();
    let (tls, mut odd) = certificates::load(&config, None, (&text, source))?;
    let (schemas, unread) = descriptors::load(&config, (&text, source))?;
    odd.extend(unread);
    complain(odd.iter().map(|w| format!("warning: {w}")));
    let store = match cluster {
        Some(cluster) => ConfigStore::counting(&config, cluster.counters()),
        None => ConfigStore::new(&config),
    };
    store.write(written, None);
    keeper::restore(&store);
    store.certify(&tls);
    let located = runtime.block_on(unless_stopped(&mut signals, locate(&store, &tls, &text, cluster)))?;
    let Some((discovery, located)) = located else { return Ok(Ending::Drained) };
    let descriptor_limit = os::raise_descriptor_limit()
        .map_err(|e| broken(format!("cannot read the limit of open descriptors: {e}")))?;
    let mut listeners = Listeners::inherited(inherited).next(&config, &text)?;
    complain(listeners.leave().iter().map(|address| {
        format!("warning: a socket that listens on {address} was given to this process, and no listener has that address")
    }));
    let cores = cores(&config);

    let shards: Vec<Arc<Shard>> = (0..config.workers.count).map(|_| Arc::default()).collect();
    let (health, health_seen) = watch::channel(Health::default());
    let (asks, asked) = mpsc::channel(ASKS_MAX);
    let seen = health_seen.clone();
    let admin = Arc::new(Admin::new(&store, &shards, started, health_seen, asks));

    let descriptors = Descriptors::of(&config, &located.addresses, source.brings_services());
    let clients_max = budget::clients_max(&config, &descriptors, descriptor_limit);
    let prepared: Vec<Arc<Prepared>> =
        (0..config.workers.count).map(|_| Arc::new(Prepared::new(&config))).collect();
    let mut captures = Captures::default();
    captures.turn(&config);
    store.capture(captures.counters());
    let threads = Threads {
        captures: &captures,
        prepared: &prepared,
        listeners: &listeners,
        tls: &tls,
        clients_max,
        store: &store,
        located: &located,
        shards: &shards,
        cores: &cores,
        told: &told,
    };
    let (taps, spouts): (Vec<_>, Vec<_>) = shards.iter().map(tap::tap).unzip();
    let observer = Observer::start(
        &config,
        spouts,
        Readers::new(&config, tls.collector(), &schemas, &store.open().observer, &store.findings),
    )
    .map_err(|e| broken(format!("cannot start the observer: {e}")))?;
    let (workers, mut said) = threads.start(taps)?;
    let ready = await_ready(&mut said, workers.len(), READY_MAX);
    let Some(drivers) = runtime.block_on(unless_stopped(&mut signals, ready))? else {
        return Ok(Ending::Drained);
    };

    let facts = banner::Facts {
        version: env!("CARGO_PKG_VERSION"),
        source: &source.name(),
        embedded: matches!(source, Source::Embedded),
        plaintext: source.plaintext(),
        config: &config,
        addresses: &located.addresses,
        listeners: &listeners.addresses(),
        admin: listeners.admin().map(|(address, _)| address),
        drivers: &drivers,
        cores: &cores,
        descriptors,
        clients_max,
        descriptor_limit,
        memory: Memory::of(&config).beside(cluster.map_or(0, |_| OBJECTS_BYTES_MAX)),
        memory_limit: config::memory_available().into_iter().chain(os::memory_bytes()).min(),
        privileges,
    };
    let mut announcement = announcement(&facts);
    let gateway = listeners.addresses().first().copied();
    store.listen(listeners.addresses());
    let cannot_watch = |e: io::Error| broken(format!("cannot watch the files: {e}"));
    let files = watched.then(|| Watch::new(source, &served).start()).transpose().map_err(cannot_watch)?;
    let watch = Changed { files, cluster: followed };
    if let Some(cluster) = cluster {
        cluster.applied(&config);
    }
    let reloader = Reloader {
        source: source.clone(),
        served,
        store: Arc::clone(&store),
        preparer: Preparer::default(),
        prepared,
        discovery,
        located,
        listeners,
        captures,
        tls,
        schemas,
        descriptor_limit,
        of_cluster: Sparing::new(reload::CLUSTER_CHANGES_LOGGED_MAX),
        retired: Vec::new(),
    };
    let keeper =
        Keeper::start(&store).map_err(|e| broken(format!("cannot start the keeper of evidence: {e}")))?;
    let mut plane = ControlPlane {
        keeper: &keeper,
        reloader,
        watch,
        admin: AdminListener::new(admin),
        workers,
        shards: &shards,
        observer: &observer,
        ended,
        asked,
        health,
        notify: Notify::from_environment(),
        program,
        successor: None,
        underway: None,
        is_stale: None,
        hands_over: false,
    };
    let (ending, is_followed) = match runtime.block_on(async {
        plane.admin.follow(&config.admin, plane.reloader.listeners.admin(), plane.reloader.tls.admin())?;
        plane.tell(Command::Begin);
        tokio::spawn(watcher::watch(Arc::clone(&store), shards.clone(), seen));
        if let (Some(demo), Some(gateway)) = (demo, gateway) {
            announcement
                .push_str(&demo.open(gateway, plane.reloader.listeners.admin().map(|(admin, _)| admin)));
        }
        say(&announcement);
        if let Some(predecessor) = predecessor {
            handover::tell(predecessor);
        }
        Ok(plane.run(signals).await)
    }) {
        Ok((ending, is_followed)) => (Ok(ending), is_followed),
        Err(problems) => (Err(problems), true),
    };
    observer.join();
    keeper.end(is_followed);
    // The system's look-up of a name may take any time: its answer is not needed any more.
    runtime.shutdown_background();
    ending
}

/// Begins to follow a cluster. A successor waits for all of it: until it serves, its predecessor does.
async fn follow(cluster: &Cluster, is_successor: bool) -> Result<mpsc::Receiver<()>, Vec<Problem>> {
    let (told, heard) = mpsc::channel(1);
    let first_max = if is_successor { Duration::MAX } else { FIRST_MAX };
    let nowhere = |why| broken(format!("no API server is known: {why}"));
    cluster.begin(told, first_max).await.map(|()| heard).map_err(nowhere)
}

/// Runs a part of the start, unless a signal ends it meanwhile.
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

/// Finds the addresses of the upstreams, and starts to follow them. The checks begin with the runtime's next turn.
async fn locate(
    store: &ConfigStore,
    tls: &Tls,
    text: &SourceText,
    cluster: Option<&Cluster>,
) -> Result<(Discovery, Located), Vec<Problem>> {
    let snapshot = store.open();
    let mut discovery = Discovery::new(&snapshot.names).beside(cluster.map(Cluster::directory));
    let found = discovery.find(&snapshot.config).await;
    let warnings = resolve::judge(&snapshot.config, &found, text, cluster.is_some())?;
    complain(warnings.iter().map(|w| format!("warning: {w}")));
    let located = discovery.settle(&snapshot.config, found, &snapshot.checks, tls.upstreams());
    store.locate(&located.addresses);
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

/// The configuration that the process starts with.
struct Loaded {
    config: Arc<Config>,
    /// How it would be written.
    written: Shown,
    /// Where problems that show later point.
    text: SourceText,
    demo: Option<Demo>,
}

/// The configuration, and the services that live in this process if it is for those.
fn load(source: &Source, served: &Served, told: &mpsc::Sender<Ended>) -> Result<Loaded, Vec<Problem>> {
    let gone = {
        let told = told.clone();
        move || {
            let _ = told.try_send(Ended::Samples);
        }
    };
    match source {
        Source::Embedded => {
            let samples =
                sample::start(gone).map_err(|e| broken(format!("cannot start the sample services: {e}")))?;
            let text = check::embedded_text(samples.v1, samples.v2);
            let Checked { config, .. } = check::parse(&source.name(), &text)?;
            let config = Arc::new(config);
            let written = Shown { masked: text.clone(), whole: text };
            let hint = "; with --config FILE the gateway listens elsewhere";
            let text = SourceText::named(&source.name()).hinting(hint);
            Ok(Loaded { config, written, text, demo: None })
        }
        Source::Demo { listen, admin } => {
            let demo = demo::start(gone).map_err(|e| broken(format!("cannot start the demo: {e}")))?;
            let written_out = demo.as_file(*listen, *admin);
            let Checked { config, written, .. } = check::parse(&source.name(), &written_out)?;
            let text = SourceText::new(&source.name(), written_out);
            Ok(Loaded { config: Arc::new(config), written, text, demo: Some(demo) })
        }
        Source::File(_) | Source::Line(_) | Source::Manifests(_) | Source::Cluster(_) => {
            let (Checked { config, written, warnings }, text) = source.read_served(served)?;
            complain(warnings.iter().map(|w| format!("warning: {w}")));
            Ok(Loaded { config: Arc::new(config), written, text, demo: None })
        }
    }
}
