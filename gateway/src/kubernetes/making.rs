//! Makes a configuration of the known objects of a cluster: ahead, beside all else, and waiting for the Pods that it asks for.
//! A reload of the source then finds it ready.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use config::check::{Checked, Problem};
use config::{Config, Destination};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::heard::namespaces_with_labels;
use super::kinds::Kind;
use super::translation::{self, Given, Made};
use super::{Cluster, State};

/// Changes of routes rest so long before they are translated, and wait for each other at most so long.
const QUIET: Duration = Duration::from_millis(50);
const UNQUIET_MAX: Duration = Duration::from_secs(1);

/// A configuration waits so long for Pods and ConfigMaps that are watched for its sake; then it is served without them.
const WANTED_MAX: Duration = Duration::from_secs(10);

/// After so long another try: of a configuration that was refused, or of a port that another process listened at.
const AGAIN: Duration = Duration::from_secs(30);

/// The inputs of a configuration: the same key makes the same configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    version: u64,
    /// Of objects that are refused the last good one counts.
    taken: u64,
    /// Name and text.
    settings: Option<(String, String)>,
    listening: Vec<SocketAddr>,
}

/// Settings that were refused, and of which nothing is otherwise since.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    Unread(Vec<Problem>),
    Refused { version: u64, settings: Option<(String, String)> },
}

/// A configuration that was made.
#[derive(Debug)]
pub(super) struct Ready {
    key: Key,
    made: Made,
    unavailable: BTreeSet<u64>,
    was_read: bool,
}

/// The outcome of making a configuration ahead.
pub(super) enum Ahead {
    /// A configuration is ready, or its problems are new.
    News,
    /// The problems are the same as before.
    Known,
}

impl Cluster {
    /// The configuration that the cluster describes now.
    ///
    /// # Errors
    /// The problems of the settings. A problem of an object is told of that object alone.
    pub(crate) fn read(&self) -> Result<Checked, Vec<Problem>> {
        self.settle();
        let key = self.key()?;
        let ready = self.lock().ready.take().filter(|ready| ready.key == key);
        let Ready { key: _, made, unavailable, was_read } = ready.unwrap_or_else(|| self.make(key, &[]));
        let Made { checked, outcomes, good, destinations, ports: _, maps: _ } = made;
        let mut state = self.lock();
        state.taken += 1;
        state.next = destinations;
        state.mirrored = checked.as_ref().map(|checked| mirrored(&checked.config)).unwrap_or_default();
        state.good = good;
        state.unavailable = unavailable;
        self.0.was_read.store(was_read, Relaxed);
        state.report.tell(&outcomes, &self.0.counters);
        state.made = Arc::new(outcomes);
        self.publish(&state);
        self.0.news.wanted.notify_one();
        checked
    }

    /// The configuration as TOML that needs no cluster: with the addresses that its Services have at this moment.
    ///
    /// # Errors
    /// As [`Cluster::read`].
    pub(crate) fn converted(&self) -> Result<Checked, Vec<Problem>> {
        let Checked { config, .. } = self.read()?;
        let directory = self.0.directory.borrow().clone();
        let endpoint = |destination: &Destination| {
            let Destination { service, subset, port, labels: _ } = destination;
            let addresses = directory.get(destination).filter(|all| !all.is_empty())?;
            let addresses = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let subset = subset.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            Some(format!("{service}{subset}{port}={addresses}"))
        };
        let destinations = config.upstreams.iter().filter_map(|one| one.destination.as_ref());
        let endpoints: Vec<String> = destinations.filter_map(endpoint).collect();
        let Ready { made, .. } = self.make(self.key()?, &endpoints);
        made.checked
    }

    fn key(&self) -> Result<Key, Vec<Problem>> {
        let settings = self.0.options.settings.as_ref().map(|path| settings(path)).transpose()?;
        let state = self.lock();
        Ok(Key { version: state.version, taken: state.taken, settings, listening: state.listening.clone() })
    }

    /// Takes time.
    fn make(&self, key: Key, endpoints: &[String]) -> Ready {
        let options = &self.0.options;
        let settings = key.settings.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
        let home = self.lock().home.clone();
        let plaintext = options.plaintext;
        let given = Given { settings, listen: &options.listen, plaintext, home: &home, endpoints };
        let (store, good, was_read) = {
            let state = self.lock();
            (state.store.routing(), state.good.clone(), state.is_read(self))
        };
        let mut unavailable = BTreeSet::new();
        let mut made = translation::make(&store, &options.rules, &unavailable, &good, given);
        if options.listen.is_empty() {
            unavailable = unlistenable(&made, &key.listening);
            if !unavailable.is_empty() {
                made = translation::make(&store, &options.rules, &unavailable, &good, given);
            }
        }
        Ready { key, made, unavailable, was_read }
    }

    /// Notes which configuration is in force; the control loop has no time for it.
    pub(super) async fn note(self) {
        loop {
            self.0.news.applied.notified().await;
            self.settle();
        }
    }

    fn settle(&self) {
        let mut state = self.lock();
        let applied = self.0.applied.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(listening) = applied else { return };
        state.is_owed = false;
        state.in_force = state.next.clone();
        state.served = Arc::clone(&state.made);
        state.listening = listening;
        drop(state);
        self.0.news.wanted.notify_one();
        self.0.news.status.notify_one();
        self.0.news.events.notify_one();
        self.0.news.services.notify_one();
    }

    /// Says that routes may have changed, when they have rested and a configuration was made of them.
    pub(super) async fn coalesce(&self, told: mpsc::Sender<()>) {
        loop {
            let changed = tokio::time::timeout(AGAIN, self.0.news.routing.notified()).await;
            if !self.owes(changed.is_ok()) {
                continue;
            }
            let since = Instant::now();
            while since.elapsed() < UNQUIET_MAX
                && tokio::time::timeout(QUIET, self.0.news.routing.notified()).await.is_ok()
            {}
            match self.prepare().await {
                // A message that waits to be received says as much as two.
                Ahead::News => drop(told.try_send(())),
                Ahead::Known => {}
            }
        }
    }

    /// Whether a configuration is to be made of the known objects; notes that it is owed.
    fn owes(&self, has_changed: bool) -> bool {
        let mut state = self.lock();
        let again = state.is_owed || !state.unavailable.is_empty();
        let owes = (has_changed || again) && state.is_read(self);
        state.is_owed |= owes;
        owes
    }

    /// Makes a configuration, and waits until the Pods and ConfigMaps are known that it asks for: not twice for the same, and
    /// no other change waits for them.
    pub(super) async fn prepare(&self) -> Ahead {
        let deadline = Instant::now() + WANTED_MAX;
        loop {
            let this = self.clone();
            if let Ok(Ahead::Known) = tokio::task::spawn_blocking(move || this.foresee()).await {
                return Ahead::Known;
            }
            loop {
                if self.lock().lacks().is_empty() {
                    return Ahead::News;
                }
                tokio::select! {
                    () = self.0.news.known.notified() => {}
                    () = self.0.news.routing.notified() => {
                        tokio::time::sleep(QUIET).await;
                        break;
                    }
                    () = tokio::time::sleep_until(deadline) => {
                        let mut state = self.lock();
                        let lacks = state.lacks();
                        let (what, seconds) = (said(&lacks), WANTED_MAX.as_secs());
                        tracing::warn!("not known after {seconds} s, and done without: {what}");
                        state.unheard.extend(lacks);
                    }
                }
            }
        }
    }

    pub(super) fn foresee(&self) -> Ahead {
        self.settle();
        let key = match self.key() {
            Ok(key) => key,
            Err(problems) => return self.lock().goes_wrong(Wrong::Unread(problems)),
        };
        let as_before = Wrong::Refused { version: key.version, settings: key.settings.clone() };
        if self.lock().wrong.as_ref() == Some(&as_before) {
            return Ahead::Known;
        }
        let ready = self.make(key, &[]);
        let secrets = self.secrets_wanted();
        let mut state = self.lock();
        state.wrong = ready.made.checked.is_err().then_some(as_before);
        let pods = namespaces_with_labels(ready.made.destinations.iter()).into_iter();
        let maps = ready.made.maps.iter().map(|(namespace, name)| format!("{namespace}/{name}"));
        state.wanted = pods
            .map(|namespace| (Kind::Pod, namespace))
            .chain(maps.map(|of| (Kind::ConfigMap, of)))
            .chain(secrets)
            .collect();
        state.ready = Some(ready);
        drop(state);
        self.0.news.wanted.notify_one();
        Ahead::News
    }
}

impl State {
    fn goes_wrong(&mut self, wrong: Wrong) -> Ahead {
        let is_known = self.wrong.as_ref() == Some(&wrong);
        self.wrong = Some(wrong);
        if is_known { Ahead::Known } else { Ahead::News }
    }

    /// Scopes that are wanted and were neither read nor given up.
    fn lacks(&self) -> BTreeSet<(Kind, String)> {
        let known = |id: &&(Kind, String)| {
            self.unheard.contains(*id) || self.read.contains(&(id.0, Some(id.1.clone())))
        };
        self.wanted.iter().filter(|id| !known(id)).cloned().collect()
    }
}

/// Namespaces of the mirrors, and of the upstreams whose requests are copied.
fn mirrored(config: &Config) -> BTreeSet<String> {
    let lanes = config.lanes.iter().map(|lane| lane.upstream);
    let routes = config.routes.iter().filter(|route| !route.mirrors.is_empty());
    let all: BTreeSet<usize> = lanes.chain(routes.flat_map(config::Route::upstreams)).collect();
    let destinations = all.into_iter().filter_map(|id| config.upstreams.get(id)?.destination.as_ref());
    destinations.filter_map(|destination| Some(destination.in_cluster()?.1.to_owned())).collect()
}

fn said(scopes: &BTreeSet<(Kind, String)>) -> String {
    let one = |(kind, scope): &(Kind, String)| format!("{} of {scope}", kind.facts().plural);
    scopes.iter().map(one).collect::<Vec<_>>().join(", ")
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

/// Gateways' ports at which this process may not listen now.
fn unlistenable(made: &Made, listening: &[SocketAddr]) -> BTreeSet<u64> {
    let wanted = made.checked.as_ref().map(|checked| checked.config.listeners.as_slice()).unwrap_or_default();
    let taken = |listener: &&config::Listener| {
        !listening.contains(&listener.bind) && !crate::os::may_listen(listener.bind)
    };
    let ports = wanted.iter().filter(taken).map(|listener| u64::from(listener.bind.port()));
    ports.filter(|port| made.ports.contains(port)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kubernetes::{Options, Rules};

    #[test]
    fn settings_that_stay_wrong_are_news_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("settings.toml");
        let rules =
            Rules { class: None, controller: "c".to_owned(), labels: Vec::new(), mesh: true, fronts: None };
        let listen = vec!["127.0.0.1:0".to_owned()];
        let settings = Some(path.clone());
        let cluster = Cluster::new(Options {
            namespaces: Vec::new(),
            rules,
            listen,
            settings,
            publish: None,
            plaintext: config::manifest::Plaintext::default(),
        });
        let is_news = || [0; 3].map(|_| matches!(cluster.foresee(), Ahead::News));
        assert_eq!(is_news(), [true, false, false], "they are not there");
        for text in ["[admin", "[workers]\ncuont = 1\n"] {
            std::fs::write(&path, text).expect("settings");
            assert_eq!(is_news(), [true, false, false], "{text}");
            assert!(cluster.read().is_err());
            assert_eq!(is_news(), [false; 3], "who reads the source hears it as well");
        }
        // Another object may be the one that the settings wait for.
        cluster.changed(Kind::HttpRoute, None, json!({"metadata": {"name": "a"}, "spec": {}}), false);
        assert_eq!(is_news(), [true, false, false]);
        std::fs::write(&path, "[workers]\ncount = 1\n").expect("settings");
        assert_eq!(is_news(), [true; 3]);
        assert!(cluster.read().is_ok());
    }
}
