//! Changes of a cluster go into the store, and wake the tasks that they are about: routes, endpoints, status.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::Destination;
use serde_json::Value;

use super::api::Trouble;
use super::kinds::Kind;
use super::store::{Changes, KIND_BYTES_MAX, Kept, OBJECTS_MAX};
use super::{Cluster, State, join};

/// Changes of endpoints wait for each other so long.
const QUIET: Duration = Duration::from_millis(50);

impl Cluster {
    /// All objects of a kind were listed.
    pub(super) fn listed(&self, kind: Kind, scope: Option<&str>, items: Vec<Value>) {
        let mut state = self.lock();
        let changes = state.store.replace(kind, scope, items);
        let is_new = state.read.insert((kind, scope.map(str::to_owned)));
        state.listed.insert(kind);
        self.heard(kind);
        self.count(&mut state, kind);
        self.tell(&mut state, changes, is_new);
    }

    /// A kind is not served, or may not be read: it is done without.
    pub(super) fn missing(&self, kind: Kind, scope: Option<&str>) {
        let mut state = self.lock();
        let is_new = state.read.insert((kind, scope.map(str::to_owned)));
        self.tell(&mut state, Changes::default(), is_new);
    }

    pub(super) fn changed(&self, kind: Kind, scope: Option<&str>, item: Value, is_gone: bool) {
        let mut state = self.lock();
        let store = &mut state.store;
        let changes = if is_gone { store.remove(kind, &item) } else { store.set(kind, scope, item) };
        self.heard(kind);
        self.count(&mut state, kind);
        self.tell(&mut state, changes, false);
    }

    /// Counts the kept objects of a kind, and warns where there is no room for more.
    fn count(&self, state: &mut State, kind: Kind) {
        let Kept { objects, bytes, surplus } = state.store.kept(kind);
        self.0.counters.by_kind().kept.insert(kind.text(), [objects as u64, bytes as u64, surplus]);
        if surplus > 0 && state.report.may_complain(kind, ("", "surplus"), None) {
            tracing::warn!(
                "{surplus} {} of the cluster are not taken: of a kind there is room for {OBJECTS_MAX} objects and {} MiB; what is known \
                 of others is served, and all are listed anew every {} s",
                kind.facts().plural,
                KIND_BYTES_MAX >> 20,
                kind.facts().watch_seconds
            );
        }
    }

    /// Objects of this kind were not taken for want of room.
    pub(super) fn is_full(&self, kind: Kind) -> bool {
        self.lock().store.kept(kind).surplus > 0
    }

    fn tell(&self, state: &mut State, changes: Changes, is_new: bool) {
        let news = &self.0.news;
        if changes.routing || is_new && state.is_read(self) {
            state.version += 1;
            news.routing.notify_one();
            news.services.notify_one();
        }
        if changes.endpoints {
            news.endpoints.notify_one();
        }
        if changes.status {
            news.status.notify_one();
        }
        if is_new {
            news.known.notify_one();
        }
    }

    /// Drops the objects of a scope that is no longer watched.
    pub(super) fn forget(&self, kind: Kind, scope: &str) {
        let mut state = self.lock();
        state.store.forget(kind, scope);
        self.count(&mut state, kind);
        state.read.remove(&(kind, Some(scope.to_owned())));
        state.unheard.remove(&(kind, scope.to_owned()));
    }

    pub(super) fn has(&self, kind: Kind, scope: Option<&str>) -> bool {
        self.lock().store.has(kind, scope)
    }

    pub(super) fn heard(&self, kind: Kind) {
        self.0.counters.by_kind().heard.insert(kind.text(), Instant::now());
    }

    /// A list or a watch has failed.
    pub(super) fn failed(&self, kind: Kind, scope: Option<&str>, trouble: &Trouble) {
        let code = trouble.code().map(|code| code.to_string()).unwrap_or_default();
        *self.0.counters.by_kind().errors.entry((kind.text(), code)).or_default() += 1;
        let mut state = self.lock();
        // Objects without a namespace share one warning, whatever their name.
        let scope = scope.filter(|scope| !scope.starts_with('/')).unwrap_or_default();
        if state.report.may_complain(kind, (scope, ""), trouble.code()) {
            tracing::warn!(
                "{} of the cluster cannot be followed: {trouble}; what is known of them stays",
                kind.facts().plural
            );
        }
    }

    /// Scopes that are to be watched, beside those that are from the start.
    pub(super) fn scopes_wanted(&self) -> BTreeSet<(Kind, String)> {
        let state = self.lock();
        let namespaces = namespaces_with_labels(state.in_force.iter().chain(&state.next));
        let pods = namespaces.iter().chain(&state.mirrored).map(|namespace| (Kind::Pod, namespace.clone()));
        pods.chain(state.wanted.iter().cloned()).collect()
    }

    /// Follows endpoints: each change within moments, and many at once together.
    pub(super) async fn relocate(self) {
        loop {
            self.0.news.endpoints.notified().await;
            self.publish(&self.lock());
            tokio::time::sleep(QUIET).await;
        }
    }

    /// Looks anew where the destinations are.
    pub(super) fn publish(&self, state: &State) {
        let all: BTreeSet<&Destination> = state.in_force.iter().chain(&state.next).collect();
        let (directory, versions) = join::directory(&state.store, all.into_iter());
        self.0.counters.are_of(versions, |known| directory.contains_key(known));
        self.0.directory.send_if_modified(|known| {
            let differs = **known != directory;
            if differs {
                *known = Arc::new(directory);
            }
            differs
        });
    }
}

impl State {
    /// Everything but Pods was read, or is known to be absent.
    pub(super) fn is_read(&self, cluster: &Cluster) -> bool {
        cluster.watches(&self.home).iter().all(|watched| self.read.contains(watched))
    }
}

pub(super) fn namespaces_with_labels<'d>(all: impl Iterator<Item = &'d Destination>) -> BTreeSet<String> {
    let labelled = all.filter(|destination| !destination.labels.is_empty());
    labelled.filter_map(|destination| Some(destination.in_cluster()?.1.to_owned())).collect()
}
