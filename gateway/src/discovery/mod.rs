//! The addresses of upstreams: names are resolved, and again as their answers expire; the health of endpoints is checked.
//!
//! The room belongs to the control plane. Its results are handed to the workers as a value; only the marks on the health board
//! change under their eyes. It knows no worker and no connection of theirs.

mod checks;
mod names;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use config::Destination;
use config::{Config, Endpoint, Host, Upstream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::address::Address;
use crate::metrics::{CheckCounters, NameCounters};
use crate::tls::Calling;
use crate::upstream::health::HealthBoard;
pub use checks::CHECKS_MAX;
use checks::Checks;
pub use names::LOOKUPS_MAX;

/// All names of a configuration are found in this time or have no address, however many there are: a person waits for it, or a
/// service manager whose patience has an end.
const FIND_MAX: Duration = Duration::from_secs(20);

/// Addresses of each upstream, by `UpstreamId`.
pub type Addresses = Arc<Vec<Vec<Address>>>;

/// Everything a worker needs to know of where upstreams are.
#[derive(Debug, Clone, Default)]
pub struct Located {
    pub addresses: Addresses,
    /// As `addresses`: how each was written.
    pub hosts: Arc<Vec<Vec<Host>>>,
    /// As `addresses`; an upstream without health checks has none.
    pub health: Arc<HealthBoard>,
}

/// The addresses of a cluster's destinations, as last known. A destination that is not in it has none.
pub type Directory = HashMap<Destination, Vec<Address>>;

/// The last answer to a name, or why there is none.
type Answer = Result<Vec<IpAddr>, String>;

/// The last answers to all names that are followed.
type Answers = HashMap<String, Answer>;

/// Follows the names and checks the endpoints of one configuration at a time.
#[derive(Debug)]
pub struct Discovery {
    known: Arc<watch::Sender<Answers>>,
    changes: watch::Receiver<Answers>,
    /// Addresses from a cluster, where there is one.
    directory: Option<watch::Receiver<Arc<Directory>>>,
    followers: HashMap<String, Task>,
    checks: Checks,
    /// Turns of lookups at once.
    turns: Arc<Semaphore>,
    counters: Arc<NameCounters>,
}

/// Addresses found for a configuration that may yet be refused.
#[derive(Debug)]
pub struct Found {
    answers: Answers,
    /// Names that are not followed yet, and when to ask again.
    new: HashMap<String, names::Pace>,
}

/// An endpoint whose name has no address.
#[derive(Debug, PartialEq, Eq)]
pub struct Unresolved<'a> {
    pub upstream: &'a Upstream,
    pub index: usize,
    pub endpoint: &'a Endpoint,
    pub why: &'a str,
    /// Only copies go there: the gateway can serve without.
    pub is_mirror: bool,
}

impl Discovery {
    pub fn new(counters: &Arc<NameCounters>) -> Self {
        let (known, changes) = watch::channel(Answers::new());
        Self {
            known: Arc::new(known),
            changes,
            directory: None,
            followers: HashMap::new(),
            checks: Checks::default(),
            turns: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            counters: Arc::clone(counters),
        }
    }

    /// The same, with the destinations that a cluster tells of.
    #[must_use]
    pub fn beside(self, directory: Option<watch::Receiver<Arc<Directory>>>) -> Self {
        Self { directory, ..self }
    }

    /// Looks up the names of `config` that are not followed yet. Changes nothing, and begins at once; dropping the future stops
    /// the lookups.
    pub fn find(&self, config: &Config) -> impl Future<Output = Found> + Send + use<> {
        let mut lookups = JoinSet::new();
        let mut found = Found { answers: Answers::new(), new: HashMap::new() };
        let mut asked = Vec::new();
        for name in names_of(config) {
            if let Some(answer) = self.changes.borrow().get(name) {
                found.answers.insert(name.to_owned(), answer.clone());
                continue;
            }
            asked.push(name.to_owned());
            let (name, turns, counters) =
                (name.to_owned(), Arc::clone(&self.turns), Arc::clone(&self.counters));
            lookups.spawn(async move {
                let mut pace = names::Pace::default();
                let (answer, _trouble) = names::ask(&name, &[], &turns, &counters, &mut pace).await;
                (name, answer, pace)
            });
        }
        async move {
            let deadline = tokio::time::Instant::now() + FIND_MAX;
            while let Ok(Some(looked_up)) = tokio::time::timeout_at(deadline, lookups.join_next()).await {
                // A lookup that panics is one that was not made: its name has no answer.
                let Ok((name, answer, pace)) = looked_up else { continue };
                found.answers.insert(name.clone(), answer);
                found.new.insert(name, pace);
            }
            for name in asked {
                let none = || Err(format!("no answer within {} s", FIND_MAX.as_secs()));
                found.answers.entry(name).or_insert_with(none);
            }
            found
        }
    }

    /// Follows the names of `config`, found before, and checks its endpoints; lets go of all others. `counters` and
    /// `callings` by upstream.
    pub fn settle(
        &mut self,
        config: &Config,
        found: Found,
        counters: &[Arc<CheckCounters>],
        callings: &[Option<Arc<Calling>>],
    ) -> Located {
        let Found { answers, mut new } = found;
        let names: HashSet<&str> = names_of(config).collect();
        self.followers.retain(|name, _| names.contains(name.as_str()));
        self.known.send_modify(|known| {
            known.retain(|name, _| names.contains(name.as_str()));
            for (name, answer) in answers {
                // A name that is followed may have moved since it was found.
                known.entry(name).or_insert(answer);
            }
        });
        for name in names {
            if !self.followers.contains_key(name) {
                let known = Arc::clone(&self.known);
                let (turns, counters) = (Arc::clone(&self.turns), Arc::clone(&self.counters));
                let pace = new.remove(name).unwrap_or_default();
                let follower = names::follow(name.to_owned(), pace, known, turns, counters);
                self.followers.insert(name.to_owned(), Task::spawn(follower));
            }
        }
        self.locate(config, counters, callings)
    }

    /// Where the upstreams of `config`, settled before, are now.
    pub fn locate(
        &mut self,
        config: &Config,
        counters: &[Arc<CheckCounters>],
        callings: &[Option<Arc<Calling>>],
    ) -> Located {
        let sites = sites(config, &self.changes.borrow_and_update());
        let mut addresses: Vec<Vec<Address>> =
            sites.iter().map(|sites| sites.iter().map(|site| site.address).collect()).collect();
        let hosts = sites.iter().map(|sites| sites.iter().map(|site| site.endpoint.host.clone()).collect());
        let mut hosts: Vec<Vec<Host>> = hosts.collect();
        let directory = self.directory.as_mut().map(|directory| Arc::clone(&directory.borrow_and_update()));
        for (at, upstream) in config.upstreams.iter().enumerate() {
            let Some((destination, directory)) = upstream.destination.as_ref().zip(directory.as_ref()) else {
                continue;
            };
            let told = directory.get(destination).map(Vec::as_slice).unwrap_or_default();
            if let (Some(addresses), Some(hosts)) = (addresses.get_mut(at), hosts.get_mut(at)) {
                addresses.extend(told);
                // A Pod's certificate, where it has one, has its Service's name; without TLS no name is needed.
                if callings.get(at).is_some_and(Option::is_some) {
                    hosts.resize(addresses.len(), Host::Name(destination.service.clone()));
                }
            }
        }
        let health = self.checks.watch(config, &sites, counters, callings);
        Located { addresses: Arc::new(addresses), hosts: Arc::new(hosts), health: Arc::new(health) }
    }

    /// Waits until a name or a destination has other addresses.
    pub async fn changed(&mut self) {
        // An error would mean that there is no sender, and we hold one.
        let named = self.changes.changed();
        let Some(directory) = &mut self.directory else {
            let _ = named.await;
            return;
        };
        tokio::select! {
            _ = named => {}
            // A cluster that is no longer followed has no changes.
            Ok(()) = directory.changed() => {}
            else => std::future::pending().await,
        }
    }
}

impl Found {
    /// Every endpoint that has no address.
    pub fn unresolved<'a>(&'a self, config: &'a Config) -> Vec<Unresolved<'a>> {
        let mut unresolved = Vec::new();
        let mirrors: HashSet<usize> = config.lanes.iter().map(|lane| lane.upstream).collect();
        let primaries: HashSet<usize> = config.routes.iter().flat_map(config::Route::upstreams).collect();
        for (id, upstream) in config.upstreams.iter().enumerate() {
            let is_mirror = mirrors.contains(&id) && !primaries.contains(&id);
            for (index, endpoint) in upstream.endpoints.iter().enumerate() {
                let why = match &endpoint.host {
                    Host::Address(_) => continue,
                    Host::Unix(path) if Address::unix(path).is_some() => continue,
                    Host::Unix(_) => "too many sockets have been named since the start",
                    Host::Name(name) => match self.answers.get(name) {
                        Some(Ok(_)) => continue,
                        Some(Err(why)) => why.as_str(),
                        None => "it was not looked up",
                    },
                };
                unresolved.push(Unresolved { upstream, index, endpoint, why, is_mirror });
            }
        }
        unresolved
    }
}

/// An address, and the endpoint that it is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Site<'a> {
    address: Address,
    endpoint: &'a Endpoint,
}

fn names_of(config: &Config) -> impl Iterator<Item = &str> {
    let endpoints = config.upstreams.iter().flat_map(|upstream| &upstream.endpoints);
    let names: HashSet<&str> = endpoints
        .filter_map(|endpoint| match &endpoint.host {
            Host::Address(_) | Host::Unix(_) => None,
            Host::Name(name) => Some(name.as_str()),
        })
        .collect();
    names.into_iter()
}

/// By upstream, in the order of its endpoints.
fn sites<'a>(config: &'a Config, answers: &Answers) -> Vec<Vec<Site<'a>>> {
    let of = |upstream: &'a Upstream| {
        let mut sites: Vec<Site<'a>> = Vec::new();
        let mut seen = HashSet::new();
        for endpoint in &upstream.endpoints {
            let (addresses, socket) = match &endpoint.host {
                Host::Address(address) => (std::slice::from_ref(address), None),
                Host::Name(name) => match answers.get(name) {
                    Some(Ok(addresses)) => (addresses.as_slice(), None),
                    Some(Err(_)) | None => continue,
                },
                Host::Unix(path) => (&[][..], Address::unix(path)),
            };
            let addresses = addresses.iter().map(|ip| Address::from((*ip, endpoint.port))).chain(socket);
            // Two names of one machine, or a name listed once per protocol, must not weigh double.
            sites.extend(addresses.filter(|a| seen.insert(*a)).map(|address| Site { address, endpoint }));
        }
        sites
    };
    config.upstreams.iter().map(of).collect()
}

/// A task that ends when it is dropped.
#[derive(Debug)]
struct Task(AbortHandle);

impl Task {
    fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future).abort_handle())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// `time` and up to a tenth more, so that tasks that began together do not stay together.
fn jittered(time: Duration) -> Duration {
    // A fresh state is a fresh random number.
    let millionths = RandomState::new().hash_one(0) % 100_000;
    time + time.mul_f64(millionths as f64 / 1_000_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(v1: &str, v2: &str) -> Config {
        let text = format!(
            "[upstream.v1]\nendpoints = {v1}\n[upstream.v2]\nendpoints = {v2}\n\
             [[route]]\nprimary = \"v1\"\nmirrors = [{{ upstream = \"v2\" }}]\n"
        );
        config::parse("test", &text).expect("the test's own text is sound").config
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn addresses(sites: &[Vec<Site<'_>>]) -> Vec<Vec<String>> {
        sites.iter().map(|sites| sites.iter().map(|s| s.address.to_string()).collect()).collect()
    }

    #[test]
    fn all_addresses_of_all_endpoints_are_used_in_order_and_once() {
        let config =
            config(r#"["b.test:80", "10.0.0.9:80", "a.test:80", "a.test:81"]"#, r#"["gone.test:1"]"#);
        let answers = Answers::from([
            ("b.test".to_owned(), Ok(ips(&["10.0.0.1", "::1"]))),
            ("a.test".to_owned(), Ok(ips(&["10.0.0.1", "10.0.0.2"]))),
            ("gone.test".to_owned(), Err("no such name".to_owned())),
        ]);
        let sites = sites(&config, &answers);
        let v1 = ["10.0.0.1:80", "[::1]:80", "10.0.0.9:80", "10.0.0.2:80", "10.0.0.1:81", "10.0.0.2:81"];
        assert_eq!(addresses(&sites), [v1.to_vec(), vec![]]);
        assert_eq!(sites[0][3].endpoint, &config.upstreams[0].endpoints[2]);
    }

    #[test]
    fn a_mirror_without_address_is_told_from_a_primary() {
        let config = config(r#"["no.test:80", "yes.test:80"]"#, r#"["gone.test:1", "forgotten.test:2"]"#);
        let answers = Answers::from([
            ("no.test".to_owned(), Err("no such name".to_owned())),
            ("yes.test".to_owned(), Ok(ips(&["10.0.0.1"]))),
            ("gone.test".to_owned(), Err("no answer".to_owned())),
        ]);
        let found = Found { answers, new: HashMap::new() };
        let told: Vec<_> = found
            .unresolved(&config)
            .iter()
            .map(|u| format!("{} {} {} {} {}", u.upstream.name, u.index, u.endpoint, u.why, u.is_mirror))
            .collect();
        assert_eq!(
            told,
            [
                "v1 0 no.test:80 no such name false",
                "v2 0 gone.test:1 no answer true",
                "v2 1 forgotten.test:2 it was not looked up true",
            ]
        );
    }

    #[tokio::test]
    async fn addresses_need_no_resolver_and_names_of_this_machine_resolve() {
        let named = config(r#"["127.0.0.1:9001"]"#, r#"["localhost:9002"]"#);
        let mut discovery = Discovery::new(&Arc::default());
        let found = discovery.find(&named).await;
        assert_eq!(found.unresolved(&named), []);
        let located = discovery.settle(&named, found, &[], &[]);
        assert_eq!(located.addresses[0], ["127.0.0.1:9001".parse().unwrap()]);
        let v2 = &located.addresses[1];
        assert!(
            !v2.is_empty()
                && v2.iter().filter_map(|a| a.ip()).all(|a| a.ip().is_loopback() && a.port() == 9002),
            "{v2:?}"
        );
        assert_eq!(discovery.followers.len(), 1);
        let none = config(r#"["127.0.0.1:1"]"#, r#"["127.0.0.1:2"]"#);
        let found = discovery.find(&none).await;
        discovery.settle(&none, found, &[], &[]);
        assert!(discovery.followers.is_empty() && discovery.changes.borrow().is_empty());
    }

    #[test]
    fn jitter_only_adds_and_at_most_a_tenth() {
        let second = Duration::from_secs(1);
        let all: HashSet<Duration> = (0..100).map(|_| jittered(second)).collect();
        assert!(all.len() > 50 && all.iter().all(|t| (second..second * 11 / 10).contains(t)), "{all:?}");
    }
}
