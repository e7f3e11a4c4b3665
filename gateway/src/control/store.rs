//! The configuration in force with its counters: written by the room that changes it, read by the pages.
//!
//! Only the control plane uses it: its lock never holds a worker up.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use config::{Config, Shown, Upstream};

use super::changes::Changes;
use super::epoch::Epochs;
use super::trouble::Trouble;
use crate::address::Address;
use crate::compare::Findings;
use crate::metrics::{
    CaptureCounters, CheckCounters, ClusterCounters, Counters, KeeperCounters, NameCounters, ObserverCounters,
};
use crate::tls::Calling;
use crate::tls::load::{Expiry, Tls};

/// Where the snapshot in force lies, and the text it came from.
#[derive(Debug)]
pub struct ConfigStore {
    snapshot: Mutex<Snapshot>,
    written: Mutex<Written>,
    /// Findings of comparisons, under any configuration.
    pub findings: Arc<Findings>,
    /// Answers of the admin listener that were cut for want of room.
    pub answers_cut: Arc<AtomicU64>,
    /// A name of this process that no other has.
    pub boot: String,
    /// Counters of the keeper of evidence.
    pub kept: Arc<KeeperCounters>,
    /// Since when each mirror's evidence counts.
    pub epochs: Epochs,
    /// Versions of upstreams, as a cluster tells.
    versions: Mutex<HashMap<String, String>>,
    /// The log of changes.
    pub changes: Changes,
    /// Troubles, as of the last look.
    troubles: Mutex<Vec<Trouble>>,
    listening: Mutex<Vec<SocketAddr>>,
    /// Counters of each capture, by its name.
    captures: Mutex<Vec<(String, Arc<CaptureCounters>)>>,
}

/// The last configuration that came whole, and the single changes since.
#[derive(Debug)]
struct Written {
    config: Arc<Config>,
    shown: Shown,
    /// Each change → its new value, the last one alone.
    patches: BTreeMap<String, String>,
}

/// A configuration, and every worker's counters in its shape.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub config: Arc<Config>,
    /// By worker.
    pub counters: Vec<Arc<Counters>>,
    /// The control plane's own: of health checks, by upstream.
    pub checks: Vec<Arc<CheckCounters>>,
    pub names: Arc<NameCounters>,
    /// Of a cluster that is followed; all zero without one.
    pub cluster: Arc<ClusterCounters>,
    /// Of the thread that reads the workers' records.
    pub observer: Arc<ObserverCounters>,
    /// Until when the certificates in use are good.
    pub certificates: Arc<[Expiry]>,
    /// How upstreams are called over TLS, by upstream.
    pub callings: Arc<[Option<Arc<Calling>>]>,
    /// Where upstreams are now, by upstream.
    pub addresses: Arc<Vec<Vec<Address>>>,
    /// Changes made since the start.
    pub applied: u64,
    /// Changes asked for that were not made.
    pub refused: u64,
}

impl Snapshot {
    /// That of another configuration, whose counters go on from these. It takes time in proportion to the configuration, and
    /// changes nothing.
    #[must_use]
    pub fn after(&self, config: Arc<Config>) -> Self {
        let after = |counters: &Arc<Counters>| Arc::new(Counters::after(&config, &self.config, counters));
        let counters = self.counters.iter().map(after).collect();
        let known: HashMap<&str, usize> =
            self.config.upstreams.iter().enumerate().map(|(at, u)| (u.name.as_str(), at)).collect();
        let check = |upstream: &Upstream| {
            let at = known.get(upstream.name.as_str());
            at.and_then(|at| self.checks.get(*at)).cloned().unwrap_or_default()
        };
        let checks = config.upstreams.iter().map(check).collect();
        Self { config, counters, checks, ..self.clone() }
    }
}

impl ConfigStore {
    pub fn new(config: &Arc<Config>) -> Arc<Self> {
        Self::counting(config, &Arc::default())
    }

    /// The same, with a cluster's counters.
    pub fn counting(config: &Arc<Config>, cluster: &Arc<ClusterCounters>) -> Arc<Self> {
        let counters = (0..config.workers.count).map(|_| Arc::new(Counters::new(config))).collect();
        let checks = config.upstreams.iter().map(|_| Arc::default()).collect();
        let names = Arc::default();
        let written =
            Written { config: Arc::clone(config), shown: Shown::default(), patches: BTreeMap::new() };
        let (config, observer) = (Arc::clone(config), Arc::default());
        let snapshot = Snapshot {
            config,
            counters,
            checks,
            names,
            cluster: Arc::clone(cluster),
            observer,
            certificates: [].into(),
            callings: [].into(),
            addresses: Arc::default(),
            applied: 0,
            refused: 0,
        };
        Arc::new(Self {
            snapshot: Mutex::new(snapshot),
            written: Mutex::new(written),
            findings: Arc::default(),
            answers_cut: Arc::default(),
            boot: boot(),
            kept: Arc::default(),
            epochs: Epochs::default(),
            versions: Mutex::default(),
            changes: Changes::default(),
            troubles: Mutex::default(),
            listening: Mutex::default(),
            captures: Mutex::default(),
        })
    }

    /// Records the TLS in force: the expiry of its certificates, and how upstreams are called.
    pub fn certify(&self, tls: &Tls) {
        let mut snapshot = lock(&self.snapshot);
        snapshot.certificates = Arc::clone(&tls.expiries);
        snapshot.callings = Arc::clone(tls.upstreams());
    }

    /// Upstreams of the configuration in force are there now.
    pub fn locate(&self, addresses: &Arc<Vec<Vec<Address>>>) {
        lock(&self.snapshot).addresses = Arc::clone(addresses);
    }

    /// The snapshot in force.
    pub fn open(&self) -> Snapshot {
        lock(&self.snapshot).clone()
    }

    /// Puts another configuration in force: a snapshot that was [`Snapshot::after`] the one before. Returns it as it is in
    /// force.
    pub fn turn(&self, next: Snapshot) -> Snapshot {
        let mut snapshot = lock(&self.snapshot);
        let (applied, refused) = (snapshot.applied + 1, snapshot.refused);
        *snapshot = Snapshot { applied, refused, ..next };
        snapshot.clone()
    }

    /// Records the counters of the captures in force.
    pub fn capture(&self, captures: Vec<(String, Arc<CaptureCounters>)>) {
        *lock(&self.captures) = captures;
    }

    pub fn captures(&self) -> Vec<(String, Arc<CaptureCounters>)> {
        lock(&self.captures).clone()
    }

    pub fn refuse(&self) {
        lock(&self.snapshot).refused += 1;
    }

    /// Notes the text of the whole configuration in force; `read` is the configuration before shares that were set were kept in
    /// it.
    pub fn write(&self, shown: Shown, read: Option<Arc<Config>>) {
        let config = read.unwrap_or_else(|| self.open().config);
        *lock(&self.written) = Written { config, shown, patches: BTreeMap::new() };
    }

    /// The last configuration that came whole: a restart or a reload would bring it back.
    pub fn whole(&self) -> Arc<Config> {
        Arc::clone(&lock(&self.written).config)
    }

    /// Sets the version of an upstream, by its name in the configuration: any word that changes with the build. The room that
    /// follows a cluster calls this once every endpoint has the version, and not before: an update under way is two versions.
    pub fn is_of_version(&self, upstream: &str, version: &str) {
        let mut versions = lock(&self.versions);
        versions.insert(upstream.to_owned(), version.to_owned());
        let upstreams = &lock(&self.snapshot).config.upstreams;
        // Forget versions of upstreams that went, once they are many.
        if versions.len() > 2 * upstreams.len() + VERSIONS_KEPT {
            versions.retain(|name, _| upstreams.iter().any(|of| of.name == *name));
        }
    }

    /// The version of an upstream, as a cluster or the configuration says.
    pub fn version(&self, upstream: &Upstream) -> Option<String> {
        let told = lock(&self.versions).get(&upstream.name).cloned();
        let by_its_pods = || self.open().cluster.version(upstream.destination.as_ref()?);
        told.or_else(by_its_pods).or_else(|| upstream.version.clone())
    }

    /// Troubles of now, the worst first, and then those that are over.
    pub fn troubles(&self) -> Vec<Trouble> {
        lock(&self.troubles).clone()
    }

    /// Where clients are listened for.
    pub fn listening(&self) -> Vec<SocketAddr> {
        lock(&self.listening).clone()
    }

    pub fn listen(&self, addresses: Vec<SocketAddr>) {
        *lock(&self.listening) = addresses;
    }

    pub fn see(&self, troubles: Vec<Trouble>) {
        *lock(&self.troubles) = troubles;
    }

    /// Notes a single change since.
    pub fn patch(&self, what: String, to: String) {
        lock(&self.written).patches.insert(what, to);
    }

    /// The configuration in force as TOML, as far as `choose` shows it; changes since it was read are comments before it.
    pub fn written(&self, choose: fn(&Shown) -> &str) -> String {
        let written = lock(&self.written);
        let patches: String =
            written.patches.iter().map(|(what, to)| format!("# since: {what} = {to}\n")).collect();
        format!("{patches}{}", choose(&written.shown))
    }
}

/// Versions kept of upstreams that are not in the configuration, or not yet.
const VERSIONS_KEPT: usize = 256;

/// From the moment and the process's number: and a key that the system drew: two gateways that agree in all are none that anybody sets beside one another.
fn boot() -> String {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{at:x}-{:x}-{:x}", std::process::id(), RandomState::new().build_hasher().finish())
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
