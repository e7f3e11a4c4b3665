//! A cluster as the source of what is served: its objects are read from an API server and followed, and become a configuration;
//! its endpoints are where upstreams are.
//!
//! The room belongs to the control plane. `kinds`, `store`, `select`, `translation`, `join` and `status` decide and touch
//! nothing; around them are the watches and the writers. Without an API server nothing changes: the last known objects stay in
//! force.

mod kinds;
mod keep;
mod store;
mod objects;
mod ours;
mod fronts;
mod select;
mod policies;
mod authorities;
mod grants;
mod clients;
mod translation;
mod join;
mod secrets;
mod report;
mod status;
mod api;
mod follow;
mod heard;
mod making;
mod write;
mod services;
mod lease;
mod events;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use config::manifest::Plaintext;
use config::{Config, Destination};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::discovery::Directory;
use crate::metrics::ClusterCounters;
use crate::os;
use api::Api;
pub use fronts::Fronts;
use kinds::Kind;
use making::{Ready, Wrong};
use report::Report;
use store::Store;
use translation::{Good, Outcome};

/// Limit on the memory of the objects that are kept of a cluster.
pub(crate) const OBJECTS_BYTES_MAX: u64 = store::BYTES_MAX as u64;

/// The start waits at most so long for a complete read of the cluster; then the known objects are served, and the rest follows.
pub(crate) const FIRST_MAX: Duration = Duration::from_secs(10);

/// The operator's options for a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// All where none is named.
    pub namespaces: Vec<String>,
    pub rules: Rules,
    /// Addresses to listen on instead of the Gateways' ports.
    pub listen: Vec<String>,
    pub plaintext: Plaintext,
    /// Everything that is no route and no upstream.
    pub settings: Option<PathBuf>,
    /// Namespace and name of the Service before us, whose address is the Gateways'.
    pub publish: Option<(String, String)>,
}

/// Rules by which objects are ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The only GatewayClass; every one of our controller's where none is named.
    pub class: Option<String>,
    /// The controller name by which GatewayClasses name us.
    pub controller: String,
    /// Our own labels, for the selectors of Istio's Gateways.
    pub labels: Vec<(String, String)>,
    /// Routes for clients inside the mesh are served too.
    pub mesh: bool,
    /// Each Gateway has a Service of its own, where that is asked for.
    pub fronts: Option<Fronts>,
}

/// A cluster that is followed; clones are the same one.
#[derive(Debug, Clone)]
pub struct Cluster(Arc<Inner>);

impl PartialEq for Cluster {
    fn eq(&self, other: &Self) -> bool {
        self.0.options == other.0.options
    }
}

impl Eq for Cluster {}

#[derive(Debug)]
struct Inner {
    options: Options,
    /// A list may hold it for long: the control loop takes it never.
    state: Mutex<State>,
    /// Where the gateway listens by a configuration that is in force, until that is noted.
    applied: Mutex<Option<Vec<SocketAddr>>>,
    /// The next configuration was made of a cluster that was read.
    was_read: AtomicBool,
    directory: watch::Sender<Arc<Directory>>,
    news: News,
    counters: Arc<ClusterCounters>,
}

/// Wake-ups of the tasks, one for each subject.
#[derive(Debug, Default)]
struct News {
    routing: Notify,
    endpoints: Notify,
    /// Other Pods and ConfigMaps are asked for.
    wanted: Notify,
    /// Objects of another scope have been read.
    known: Notify,
    /// Another configuration is in force.
    applied: Notify,
    /// The configuration in force, or a status, has changed: a status may have to be written.
    status: Notify,
    /// The same of Gateways' Services.
    services: Notify,
    events: Notify,
    /// The process ends, and its last work is done.
    ending: Notify,
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    store: Store,
    /// How often the objects that routes are made of have changed.
    version: u64,
    /// Kinds and scopes that were read, or found to be absent, for the first time.
    read: BTreeSet<(Kind, Option<String>)>,
    /// Kinds of which a list was read whole.
    listed: BTreeSet<Kind>,
    /// Of the configuration in force, and of the one that may follow it.
    in_force: BTreeSet<Destination>,
    next: BTreeSet<Destination>,
    /// Scopes of Pods and ConfigMaps that a configuration which is being made asks for, and those that were waited for in vain.
    wanted: BTreeSet<(Kind, String)>,
    unheard: BTreeSet<(Kind, String)>,
    /// Namespaces whose Pods tell the version of a mirror or of a mirrored upstream.
    mirrored: BTreeSet<String>,
    /// A configuration that no reload has taken yet.
    ready: Option<Ready>,
    wrong: Option<Wrong>,
    /// Configurations that were taken.
    taken: u64,
    good: Good,
    /// Our own namespace, as far as it is known.
    home: String,
    /// The outcomes of all objects in the next configuration, and in the one in force.
    made: Arc<Vec<Outcome>>,
    served: Arc<Vec<Outcome>>,
    /// Ports that cannot be listened at.
    unavailable: BTreeSet<u64>,
    listening: Vec<SocketAddr>,
    report: Report,
    /// A change was told of, and no configuration with it is in force yet.
    is_owed: bool,
}

impl Cluster {
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Inner {
            options,
            state: Mutex::default(),
            applied: Mutex::default(),
            was_read: AtomicBool::new(false),
            directory: watch::Sender::new(Arc::default()),
            news: News::default(),
            counters: Arc::default(),
        }))
    }

    pub(crate) fn name(&self) -> String {
        match self.0.options.namespaces.as_slice() {
            [] => "Kubernetes".to_owned(),
            some => format!("Kubernetes ({})", some.join(", ")),
        }
    }

    pub(crate) fn counters(&self) -> &Arc<ClusterCounters> {
        &self.0.counters
    }

    pub(crate) fn plaintext(&self) -> Plaintext {
        self.0.options.plaintext
    }

    pub(crate) fn settings(&self) -> Option<&PathBuf> {
        self.0.options.settings.as_ref()
    }

    /// Where its destinations are.
    pub(crate) fn directory(&self) -> watch::Receiver<Arc<Directory>> {
        self.0.directory.subscribe()
    }

    /// Starts to follow the cluster, on a thread of its own, and waits until it was read, at most `first_max`. Each change of
    /// routes sends a message to `told`.
    ///
    /// # Errors
    /// No kubeconfig and no service account names an API server, or the thread cannot start.
    pub(crate) async fn begin(&self, told: mpsc::Sender<()>, first_max: Duration) -> Result<(), String> {
        let (begun, has_begun) = oneshot::channel();
        let this = self.clone();
        // A list of ten thousand objects takes its time, which the control loop has not.
        let body = move || {
            os::lower_priority();
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(this.follow(told, first_max, begun)),
                Err(error) => drop(begun.send(Err(error.to_string()))),
            }
        };
        let spawned = os::without_signals(|| thread::Builder::new().name("umbra-cluster".into()).spawn(body));
        spawned.map_err(|error| format!("cannot start a thread: {error}"))?;
        has_begun.await.map_err(|_| "its thread has ended".to_owned())?
    }

    async fn follow(
        self,
        told: mpsc::Sender<()>,
        first_max: Duration,
        begun: oneshot::Sender<Result<(), String>>,
    ) {
        let api = match Api::infer().await {
            Ok(api) => api,
            Err(why) => return drop(begun.send(Err(why))),
        };
        self.lock().home = api.namespace().to_owned();
        for (kind, scope) in self.watches(api.namespace()) {
            tokio::spawn(follow::follow(api.clone(), self.clone(), kind, scope));
        }
        tokio::spawn(follow::wanted(api.clone(), self.clone()));
        tokio::spawn(self.clone().relocate());
        tokio::spawn(self.clone().note());
        let whole = async {
            while !self.lock().is_read(&self) {
                // Noted even where it is said before it is waited for.
                self.0.news.routing.notified().await;
            }
            // The wanted Pods are known by the configuration that wants them.
            self.prepare().await;
        };
        if tokio::time::timeout(first_max, whole).await.is_err() {
            tracing::warn!(
                "the cluster is not read after {} s: what is known of it is served",
                first_max.as_secs()
            );
        }
        tokio::spawn(lease::hold(api.clone(), self.clone()));
        tokio::spawn(events::write(api.clone(), self.clone()));
        tokio::spawn(services::write(api.clone(), self.clone()));
        tokio::spawn(write::write(api, self.clone()));
        let _ = begun.send(Ok(()));
        self.coalesce(told).await;
    }

    /// Reads the cluster once.
    ///
    /// # Errors
    /// The kind of object that could not be read, and why.
    pub(crate) async fn read_once(&self) -> Result<(), String> {
        let api = Api::infer().await?;
        self.lock().home = api.namespace().to_owned();
        for (kind, scope) in self.watches(api.namespace()) {
            follow::list_once(&api, self, kind, scope.as_deref()).await?;
        }
        self.foresee();
        for (kind, scope) in self.scopes_wanted() {
            // A scope that may not be read is told of where it is named; Pods only tell the members of subsets, which few
            // configurations have.
            if follow::list_once(&api, self, kind, Some(&scope)).await.is_err() {
                self.missing(kind, Some(&scope));
            }
        }
        Ok(())
    }

    /// The messages about objects, and how many objects are rejected, in whole or in part.
    pub(crate) fn told(&self) -> (Vec<String>, usize) {
        use config::manifest::State;
        let state = self.lock();
        let is_rejected = |one: &&Outcome| matches!(one.state, State::Rejected(_) | State::Partial(_));
        let rejected = state.made.iter().filter(is_rejected);
        (report::all(&state.made), rejected.count())
    }

    /// Each kind and where it is watched. Services of Gateways are in our own namespace.
    fn watches(&self, home: &str) -> Vec<(Kind, Option<String>)> {
        let namespaces = &self.0.options.namespaces;
        let has_fronts = self.0.options.rules.fronts.is_some();
        let scopes = |kind: Kind| -> Vec<Option<String>> {
            if kind == Kind::CustomResourceDefinition {
                return kinds::DEFINITIONS.iter().map(|name| Some(format!("/{name}"))).collect();
            }
            if namespaces.is_empty() || !kind.facts().namespaced {
                return vec![None];
            }
            let is_more = kind == Kind::Service && has_fronts && !namespaces.iter().any(|one| one == home);
            let more = is_more.then(|| home.to_owned());
            namespaces.iter().cloned().chain(more).map(Some).collect()
        };
        Kind::WATCHED
            .into_iter()
            .flat_map(|kind| scopes(kind).into_iter().map(move |scope| (kind, scope)))
            .collect()
    }

    /// Notes that the configuration that was read last is in force.
    pub(crate) fn applied(&self, config: &Config) {
        let listening = config.listeners.iter().map(|listener| listener.bind).collect();
        *self.0.applied.lock().unwrap_or_else(PoisonError::into_inner) = Some(listening);
        if self.0.was_read.load(Relaxed) {
            self.0.counters.synced.store(true, Relaxed);
        }
        self.0.news.applied.notify_one();
    }

    /// Whether all of it was read once, and is in force.
    pub(crate) fn is_synced(&self) -> bool {
        self.0.counters.synced.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
