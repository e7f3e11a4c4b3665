//! A cluster as the source of what is served: its objects are read from an API server and followed, and become a configuration;
//! its endpoints are where upstreams are.
//!
//! It belongs to the control plane. `kinds`, `store`, `select`, `translation`, `join` and `status` decide and touch nothing; around
//! them stand the watches and what is written back. Without an API server nothing changes: what was heard last stays in force.

mod kinds;
mod store;
mod select;
mod translation;
mod join;
mod secrets;
mod report;
mod status;
mod api;
mod follow;
mod write;
mod lease;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use config::Config;
use config::Destination;
use config::check::{Checked, Problem};
use config::manifest::Plaintext;
use serde_json::Value;
use tokio::sync::{Notify, mpsc, watch};

use crate::discovery::Directory;
use crate::metrics::ClusterCounters;
use api::{Api, Trouble};
use kinds::Kind;
use report::Told;
use store::{Changes, Store};
use translation::{Given, Good, Made, Outcome};

/// Changes of routes rest so long before they are translated, and wait for each other at most so long.
const QUIET: Duration = Duration::from_millis(50);
const UNQUIET_MAX: Duration = Duration::from_secs(1);

/// At the start everything was read after so long, or what is there is served and the rest follows.
pub(crate) const FIRST_MAX: Duration = Duration::from_secs(10);

/// A configuration waits so long for Pods that are watched for its sake; then it is served, and they follow.
const PODS_MAX: Duration = Duration::from_secs(10);

/// What could not be taken is tried again after so long: a configuration that was refused, a port that another listens at.
const AGAIN: Duration = Duration::from_secs(30);

/// What an operator says of a cluster.
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

/// Which objects are ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The only GatewayClass; every one of our controller's where none is named.
    pub class: Option<String>,
    /// What GatewayClasses name us by.
    pub controller: String,
    /// Our own labels, for the selectors of Istio's Gateways.
    pub labels: Vec<(String, String)>,
    /// What is for clients inside the mesh is served too.
    pub mesh: bool,
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
    state: Mutex<State>,
    /// Pods of another namespace are known.
    pods_known: Condvar,
    directory: watch::Sender<Arc<Directory>>,
    routing: Notify,
    endpoints: Notify,
    /// Subsets with labels are asked for in other namespaces.
    wanted: Notify,
    /// Other Secrets are referred to.
    named: Notify,
    /// What is served, or a status, has changed: there may be something to write.
    status: Notify,
    /// The process ends, and what was to be done for that is done.
    ending: Notify,
    ended: Notify,
    counters: Arc<ClusterCounters>,
}

#[derive(Debug, Default)]
struct State {
    store: Store,
    /// Kinds and scopes that were read, or found to be absent, for the first time.
    read: BTreeSet<(Kind, Option<String>)>,
    /// Of the configuration in force, and of the one that may follow it.
    in_force: BTreeSet<Destination>,
    next: BTreeSet<Destination>,
    good: Good,
    /// Our own namespace, as far as it is known.
    home: String,
    /// What became of each object in the next configuration, and in the one in force.
    made: Vec<Outcome>,
    served: Arc<Vec<Outcome>>,
    /// Ports that cannot be listened at.
    unavailable: BTreeSet<u64>,
    listening: Vec<SocketAddr>,
    told: Told,
    /// The next configuration was made of a cluster that was read.
    was_read: bool,
    /// Nothing has become of what was told last.
    is_owed: bool,
    /// It is not followed.
    is_read_once: bool,
}

impl Cluster {
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Inner {
            options,
            state: Mutex::default(),
            pods_known: Condvar::new(),
            directory: watch::Sender::new(Arc::default()),
            routing: Notify::new(),
            endpoints: Notify::new(),
            wanted: Notify::new(),
            named: Notify::new(),
            status: Notify::new(),
            ending: Notify::new(),
            ended: Notify::new(),
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

    /// Begins to follow it, on the runtime that this is called on, and waits until it was read, at most so long. Says there that
    /// routes may have changed.
    ///
    /// # Errors
    /// Nobody says where the API server is.
    pub(crate) async fn begin(&self, told: mpsc::Sender<()>, first_max: Duration) -> Result<(), String> {
        let api = Api::infer().await?;
        self.lock().home = api.namespace().to_owned();
        tokio::spawn(secrets::follow_named(api.clone(), self.clone()));
        for (kind, scope) in self.watches() {
            tokio::spawn(follow::follow(api.clone(), self.clone(), kind, scope));
        }
        tokio::spawn(follow::pods(api.clone(), self.clone()));
        tokio::spawn(self.clone().relocate());
        let whole = async {
            while !self.lock().is_read(self) {
                // Noted even where it is said before it is waited for.
                self.0.routing.notified().await;
            }
            // Which Pods are wanted is known by what they are wanted for.
            let this = self.clone();
            let _ = tokio::task::spawn_blocking(move || this.read()).await;
        };
        if tokio::time::timeout(first_max, whole).await.is_err() {
            tracing::warn!(
                "the cluster is not read after {} s: what is known of it is served",
                first_max.as_secs()
            );
        }
        tokio::spawn(self.clone().coalesce(told));
        tokio::spawn(lease::hold(api.clone(), self.clone()));
        tokio::spawn(write::write(api, self.clone()));
        Ok(())
    }

    /// Reads it once.
    ///
    /// # Errors
    /// What it could not read, in words.
    pub(crate) async fn read_once(&self) -> Result<(), String> {
        let api = Api::infer().await?;
        for (kind, scope) in self.watches() {
            follow::list_once(&api, self, kind, scope.as_deref()).await?;
        }
        self.lock().home = api.namespace().to_owned();
        for key in self.secrets_wanted() {
            // One that may not be read is one that is not there, which is told of who refers to it.
            let _ = follow::list_once(&api, self, Kind::Secret, Some(&secrets::scope(&key))).await;
        }
        // Where Pods are is nobody's question then.
        self.lock().is_read_once = true;
        Ok(())
    }

    /// What there is to say of objects, and how many are rejected.
    pub(crate) fn told(&self) -> (Vec<String>, usize) {
        let state = self.lock();
        let rejected =
            state.made.iter().filter(|one| matches!(one.state, config::manifest::State::Rejected(_)));
        (report::all(&state.made), rejected.count())
    }

    /// Each kind and where it is watched.
    fn watches(&self) -> Vec<(Kind, Option<String>)> {
        let namespaces = &self.0.options.namespaces;
        let scopes = |kind: Kind| -> Vec<Option<String>> {
            if namespaces.is_empty() || !kind.facts().namespaced {
                vec![None]
            } else {
                namespaces.iter().cloned().map(Some).collect()
            }
        };
        Kind::WATCHED
            .into_iter()
            .flat_map(|kind| scopes(kind).into_iter().map(move |scope| (kind, scope)))
            .collect()
    }

    /// What it says now.
    ///
    /// # Errors
    /// What is wrong with the settings: what is wrong with an object is told of it alone.
    pub(crate) fn read(&self) -> Result<Checked, Vec<Problem>> {
        let options = &self.0.options;
        let settings = options.settings.as_ref().map(|path| settings(path)).transpose()?;
        let settings = settings.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
        self.await_secrets();
        let (home, store, good, listening, was_read) = {
            let state = self.lock();
            let (listening, was_read) = (state.listening.clone(), state.is_read(self));
            (state.home.clone(), state.store.routing(), state.good.clone(), listening, was_read)
        };
        let given = Given { settings, listen: &options.listen, plaintext: options.plaintext, home: &home };
        let mut unavailable = BTreeSet::new();
        let mut made = translation::make(&store, &options.rules, &unavailable, &good, given);
        if options.listen.is_empty() {
            unavailable = unlistenable(&made, &listening);
            if !unavailable.is_empty() {
                made = translation::make(&store, &options.rules, &unavailable, &good, given);
            }
        }
        let Made { checked, outcomes, good, destinations, ports: _ } = made;
        self.await_pods(&destinations);
        let mut state = self.lock();
        state.next = destinations;
        state.good = good;
        state.unavailable = unavailable;
        state.was_read = was_read;
        let State { told, .. } = &mut *state;
        told.tell(&outcomes, &self.0.counters);
        state.made = outcomes;
        self.publish(&state);
        checked
    }

    /// What was read last is in force.
    pub(crate) fn applied(&self, config: &Config) {
        let mut state = self.lock();
        state.is_owed = false;
        state.in_force = state.next.clone();
        state.served = Arc::new(state.made.clone());
        state.listening = config.listeners.iter().map(|listener| listener.bind).collect();
        if state.was_read {
            self.0.counters.synced.store(true, Relaxed);
        }
        drop(state);
        self.0.wanted.notify_one();
        self.0.status.notify_one();
    }

    /// Whether all of it was read once, and is in force.
    pub(crate) fn is_synced(&self) -> bool {
        self.0.counters.synced.load(Relaxed)
    }

    /// Waits until the Pods are known that subsets of these are told by.
    fn await_pods(&self, destinations: &BTreeSet<Destination>) {
        let mut state = self.lock();
        if state.is_read_once {
            return;
        }
        state.next.extend(destinations.iter().cloned());
        self.0.wanted.notify_one();
        let deadline = Instant::now() + PODS_MAX;
        loop {
            let known = |namespace: &String| state.read.contains(&(Kind::Pod, Some(namespace.clone())));
            if namespaces_with_labels(destinations.iter()).iter().all(known) {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return tracing::warn!("the Pods of subsets are not known after {} s", PODS_MAX.as_secs());
            }
            let woken = self.0.pods_known.wait_timeout(state, left);
            (state, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Namespaces whose Pods are to be watched.
    fn namespaces_of_pods(&self) -> BTreeSet<String> {
        let state = self.lock();
        namespaces_with_labels(state.in_force.iter().chain(&state.next))
    }

    /// Looks anew where the destinations are.
    fn publish(&self, state: &State) {
        let all: BTreeSet<&Destination> = state.in_force.iter().chain(&state.next).collect();
        let directory = join::directory(&state.store, all.into_iter());
        self.0.directory.send_if_modified(|known| {
            let differs = **known != directory;
            if differs {
                *known = Arc::new(directory);
            }
            differs
        });
    }

    /// All objects of a kind were listed.
    fn listed(&self, kind: Kind, scope: Option<&str>, items: Vec<Value>) {
        let mut state = self.lock();
        let changes = state.store.replace(kind, scope, items);
        let is_new = state.read.insert((kind, scope.map(str::to_owned)));
        self.heard(kind);
        self.tell(&state, changes, is_new);
    }

    /// A kind is not served, or may not be read: it is done without.
    fn missing(&self, kind: Kind, scope: Option<&str>) {
        let mut state = self.lock();
        let is_new = state.read.insert((kind, scope.map(str::to_owned)));
        self.tell(&state, Changes::default(), is_new);
    }

    fn changed(&self, kind: Kind, item: Value, is_gone: bool) {
        let mut state = self.lock();
        let changes = if is_gone { state.store.remove(kind, &item) } else { state.store.set(kind, item) };
        self.heard(kind);
        self.tell(&state, changes, false);
    }

    fn tell(&self, state: &State, changes: Changes, is_new: bool) {
        if changes.routing || is_new && state.is_read(self) {
            self.0.routing.notify_one();
        }
        if changes.endpoints {
            self.0.endpoints.notify_one();
        }
        if changes.status {
            self.0.status.notify_one();
        }
        if is_new {
            self.0.pods_known.notify_all();
        }
    }

    /// Pods of a namespace are not watched any more.
    fn forget_pods(&self, namespace: &str) {
        let mut state = self.lock();
        state.store.forget(Kind::Pod, namespace);
        state.read.remove(&(Kind::Pod, Some(namespace.to_owned())));
    }

    fn has(&self, kind: Kind, scope: Option<&str>) -> bool {
        self.lock().store.has(kind, scope)
    }

    fn heard(&self, kind: Kind) {
        self.0.counters.by_kind().heard.insert(kind.text(), Instant::now());
    }

    /// A list or a watch has failed.
    fn failed(&self, kind: Kind, trouble: &Trouble) {
        let code = trouble.code().map(|code| code.to_string()).unwrap_or_default();
        *self.0.counters.by_kind().errors.entry((kind.text(), code)).or_default() += 1;
        let mut state = self.lock();
        if state.told.may_complain(kind, &trouble.to_string()) {
            tracing::warn!(
                "{} of the cluster cannot be followed: {trouble}; what is known of them stays",
                kind.facts().plural
            );
        }
    }

    /// Says that routes may have changed, when they have rested.
    async fn coalesce(self, told: mpsc::Sender<()>) {
        loop {
            let changed = tokio::time::timeout(AGAIN, self.0.routing.notified()).await;
            if !self.owes(changed.is_ok()) {
                continue;
            }
            let since = Instant::now();
            while since.elapsed() < UNQUIET_MAX
                && tokio::time::timeout(QUIET, self.0.routing.notified()).await.is_ok()
            {}
            // One that waits to be heard says as much as two.
            let _ = told.try_send(());
        }
    }

    /// Whether something is to be made of what is known, and that it is.
    fn owes(&self, has_changed: bool) -> bool {
        let mut state = self.lock();
        let again = state.is_owed || !state.unavailable.is_empty();
        let owes = (has_changed || again) && state.is_read(self);
        state.is_owed |= owes;
        owes
    }

    /// Follows endpoints: each change within moments, and many at once together.
    async fn relocate(self) {
        loop {
            self.0.endpoints.notified().await;
            self.publish(&self.lock());
            tokio::time::sleep(QUIET).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Everything but Pods was read, or is known to be absent.
    fn is_read(&self, cluster: &Cluster) -> bool {
        cluster.watches().iter().all(|watched| self.read.contains(watched))
    }
}

fn namespaces_with_labels<'d>(all: impl Iterator<Item = &'d Destination>) -> BTreeSet<String> {
    let labelled = all.filter(|destination| !destination.labels.is_empty());
    labelled.filter_map(|destination| Some(destination.in_cluster()?.1.to_owned())).collect()
}

/// Name and text of the settings.
fn settings(path: &std::path::Path) -> Result<(String, String), Vec<Problem>> {
    let name = path.display().to_string();
    let read = config::text::read(path).map_err(|error| error.to_string());
    let text = read.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned()));
    let wrong = |why: String| {
        let message = format!("cannot be read: {why}");
        vec![Problem { file: name.clone(), message, ..Problem::default() }]
    };
    text.map_err(wrong).map(|text| (name.clone(), text))
}

/// Ports of Gateways at which this machine lets nobody listen now.
fn unlistenable(made: &Made, listening: &[SocketAddr]) -> BTreeSet<u64> {
    let wanted = made.checked.as_ref().map(|checked| checked.config.listeners.as_slice()).unwrap_or_default();
    let taken = |listener: &&config::Listener| {
        !listening.contains(&listener.bind) && !crate::os::may_listen(listener.bind)
    };
    let ports = wanted.iter().filter(taken).map(|listener| u64::from(listener.bind.port()));
    ports.filter(|port| made.ports.contains(port)).collect()
}
