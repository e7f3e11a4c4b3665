//! Names of endpoints to addresses, for as long as their answers say: on the control plane, never on a worker.
//!
//! A name that cannot be looked up keeps its last answer. It knows resolvers and nothing of how addresses are used.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::check::Problem;
use config::{Config, Endpoint, Host};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::task::JoinSet;

use super::{Source, endpoint_text};

/// A shorter time to live would have us ask all the time; a longer one would have us miss a move.
const TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);

/// After a lookup that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Where nobody tells how long an answer holds.
const TTL_UNTOLD: Duration = Duration::from_secs(30);

/// The whole of one lookup.
const LOOKUP_MAX: Duration = Duration::from_secs(5);

/// What is known of the names of a configuration.
#[derive(Debug, Default)]
pub(super) struct Names {
    resolver: Option<Arc<TokioResolver>>,
    known: HashMap<String, Known>,
}

#[derive(Debug, Clone)]
struct Known {
    addresses: Vec<IpAddr>,
    until: Instant,
    /// Its last lookup failed, which has been said.
    failing: bool,
}

/// Answers of one round.
pub(super) type Answers = Vec<(String, Result<(Vec<IpAddr>, Duration), String>)>;

impl Names {
    /// With the system's name servers; without any, the system's own resolver is asked.
    pub(super) fn new() -> Self {
        let builder = match test_server() {
            Some(config) => Some(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())),
            None => TokioResolver::builder_tokio().ok(),
        };
        let resolver = builder.and_then(|mut builder| {
            let options = builder.options_mut();
            options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            // What holds how long is kept here.
            options.cache_size = 0;
            options.timeout = LOOKUP_MAX / 2;
            options.attempts = 2;
            builder.build().ok()
        });
        Self { resolver: resolver.map(Arc::new), known: HashMap::new() }
    }

    /// Every address of every endpoint, by upstream. A primary's name that does not resolve is an error, all of them at
    /// once; a mirror's leaves its upstream empty, and is asked again.
    pub(super) async fn resolve(
        &mut self,
        config: &Config,
        source: &Source,
    ) -> Result<Vec<Vec<SocketAddr>>, Vec<Problem>> {
        let names: HashSet<String> = names(config).map(str::to_owned).collect();
        self.known.retain(|name, _| names.contains(name));
        let unknown = names.into_iter().filter(|name| !self.known.contains_key(name)).collect();
        let answers = look_up(self.resolver.clone(), unknown).await;
        let failed: HashMap<&str, &str> = answers
            .iter()
            .filter_map(|(name, answer)| Some((name.as_str(), answer.as_ref().err()?.as_str())))
            .collect();
        let mut refused = Vec::new();
        for (id, upstream) in config.upstreams.iter().enumerate() {
            let is_primary = config.routes.iter().any(|route| route.upstreams().any(|of| of == id));
            for (index, endpoint) in upstream.endpoints.iter().enumerate() {
                let Host::Name(name) = &endpoint.host else { continue };
                let Some(why) = failed.get(name.as_str()) else { continue };
                let text = endpoint_text(endpoint);
                if is_primary {
                    let key = format!("upstream.{}.endpoints[{index}]", upstream.name);
                    refused.push(source.problem(key, &text, format!("cannot resolve {text}: {why}")));
                } else {
                    tracing::warn!(
                        "{}: cannot resolve {text}: {why}; its copies are dropped until it does",
                        upstream.name
                    );
                }
            }
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        self.hear(answers);
        Ok(self.addresses(config))
    }

    /// When the next name has to be looked up.
    pub(super) fn due(&self) -> Option<Instant> {
        self.known.values().map(|known| known.until).min()
    }

    /// Looks up, elsewhere, every name whose answer holds no longer.
    pub(super) fn look_up_due(&self) -> impl Future<Output = Answers> + Send + 'static {
        let now = Instant::now();
        let due =
            self.known.iter().filter(|(_, known)| known.until <= now).map(|(name, _)| name.clone()).collect();
        look_up(self.resolver.clone(), due)
    }

    /// Takes the answers of a round in.
    pub(super) fn hear(&mut self, answers: Answers) {
        let now = Instant::now();
        for (name, answer) in answers {
            match answer {
                Ok((addresses, ttl)) => {
                    if self.known.get(&name).is_some_and(|known| known.failing) {
                        tracing::info!("{name} resolves again");
                    }
                    let until = now + ttl.clamp(*TTL.start(), *TTL.end());
                    self.known.insert(name, Known { addresses, until, failing: false });
                }
                Err(why) => {
                    let known = self.known.entry(name.clone()).or_insert_with(|| Known {
                        addresses: Vec::new(),
                        until: now,
                        failing: true,
                    });
                    if !std::mem::replace(&mut known.failing, true) {
                        tracing::warn!("cannot resolve {name}: {why}; its last addresses stay in use");
                    }
                    known.until = now + AGAIN_AFTER;
                }
            }
        }
    }

    /// The addresses of every upstream by what is known.
    pub(super) fn addresses(&self, config: &Config) -> Vec<Vec<SocketAddr>> {
        let of = |endpoint: &Endpoint| -> Vec<SocketAddr> {
            match &endpoint.host {
                Host::Address(ip) => vec![SocketAddr::new(*ip, endpoint.port)],
                Host::Name(name) => {
                    let known =
                        self.known.get(name).map(|known| known.addresses.as_slice()).unwrap_or_default();
                    known.iter().map(|ip| SocketAddr::new(*ip, endpoint.port)).collect()
                }
            }
        };
        let upstream = |upstream: &config::Upstream| {
            let mut addresses: Vec<SocketAddr> = Vec::new();
            // Two names of one machine, or a name listed once per protocol, must not weigh double.
            for address in upstream.endpoints.iter().flat_map(of) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            addresses
        };
        config.upstreams.iter().map(upstream).collect()
    }
}

fn names(config: &Config) -> impl Iterator<Item = &str> {
    config.upstreams.iter().flat_map(|upstream| &upstream.endpoints).filter_map(|endpoint| {
        match &endpoint.host {
            Host::Name(name) => Some(name.as_str()),
            Host::Address(_) => None,
        }
    })
}

/// All names at once.
async fn look_up(resolver: Option<Arc<TokioResolver>>, names: Vec<String>) -> Answers {
    let mut under_way = JoinSet::new();
    for name in names {
        let resolver = resolver.clone();
        under_way.spawn(async move {
            let answer = tokio::time::timeout(LOOKUP_MAX, one(resolver.as_deref(), &name)).await;
            let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            (name, answer)
        });
    }
    under_way.join_all().await
}

async fn one(resolver: Option<&TokioResolver>, name: &str) -> Result<(Vec<IpAddr>, Duration), String> {
    let found = match resolver {
        Some(resolver) => {
            let answer = resolver.lookup_ip(name).await.map_err(|error| error.to_string())?;
            (answer.iter().collect(), answer.valid_until().saturating_duration_since(Instant::now()))
        }
        None => {
            let name = name.to_owned();
            let asked = tokio::task::spawn_blocking(move || {
                (name.as_str(), 0).to_socket_addrs().map(Iterator::collect)
            });
            let found: Vec<SocketAddr> =
                asked.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            (found.into_iter().map(|address| address.ip()).collect::<Vec<_>>(), TTL_UNTOLD)
        }
    };
    if found.0.is_empty() { Err("the name has no address".to_owned()) } else { Ok(found) }
}

/// A name server of a test's own, in debug builds alone.
fn test_server() -> Option<ResolverConfig> {
    if !cfg!(debug_assertions) {
        return None;
    }
    let address: SocketAddr = std::env::var("UMBRA_TEST_DNS").ok()?.parse().ok()?;
    let mut server = NameServerConfig::udp(address.ip());
    server.connections.iter_mut().for_each(|connection| connection.port = address.port());
    Some(ResolverConfig::from_parts(None, Vec::new(), vec![server]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::budget::tests::config;

    fn endpoint(host: &str, port: u16) -> Endpoint {
        let host = host.parse().map_or_else(|_| Host::Name(host.to_owned()), Host::Address);
        Endpoint { host, port }
    }

    #[tokio::test]
    async fn addresses_need_no_resolver_and_names_give_all_of_theirs_once() {
        let mut config = config();
        config.upstreams[0].endpoints =
            vec![endpoint("::1", 80), endpoint("localhost", 9001), endpoint("localhost", 9001)];
        let mut names = Names::new();
        let found = names.resolve(&config, &Source::Embedded).await.unwrap();
        assert_eq!(found[0][0], "[::1]:80".parse().unwrap());
        assert!(found[0][1..].iter().all(|a| a.ip().is_loopback() && a.port() == 9001), "{found:?}");
        assert!((2..=3).contains(&found[0].len()), "{found:?}");
        assert!(names.due().is_some());
    }

    #[tokio::test]
    async fn every_primarys_name_that_does_not_resolve_is_reported_with_its_key() {
        let mut config = config();
        config.upstreams[0].endpoints = vec![endpoint("nowhere.invalid", 1), endpoint("also.invalid", 2)];
        config.upstreams[1].endpoints = vec![endpoint("mirror.invalid", 1)];
        let refused = Names::new().resolve(&config, &Source::Embedded).await.unwrap_err();
        let text: Vec<String> = refused.iter().map(ToString::to_string).collect();
        assert_eq!(text.len(), 2, "{text:?}");
        assert!(
            text[1]
                .starts_with("embedded default: upstream.v1.endpoints[1]: cannot resolve also.invalid:2: "),
            "{text:?}"
        );
    }

    #[test]
    fn a_failed_lookup_keeps_the_last_answer() {
        let mut config = config();
        config.upstreams[0].endpoints = vec![endpoint("v1.example", 80)];
        let mut names = Names::default();
        let ip: IpAddr = "10.0.0.1".parse().unwrap();
        names.hear(vec![("v1.example".into(), Ok((vec![ip], Duration::ZERO)))]);
        let due = names.due().unwrap();
        assert!(due > Instant::now(), "a time to live of nothing is a second");
        names.hear(vec![("v1.example".into(), Err("refused".into()))]);
        assert_eq!(names.addresses(&config)[0], ["10.0.0.1:80".parse().unwrap()]);
        assert!(names.due().unwrap() > due);
    }
}
