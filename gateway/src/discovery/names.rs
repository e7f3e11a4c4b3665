//! A name: resolved as the system would resolve it, and again whenever its answer has expired.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use tokio::sync::{Semaphore, watch};

use super::{Answer, Answers, jittered};
use crate::metrics::NameCounters;

/// Lookups at once; each has a socket or two.
pub const LOOKUPS_MAX: usize = 32;

/// Longest lookup, whatever resolv.conf says.
const LOOKUP_MAX: Duration = Duration::from_secs(10);

/// The lifetime of an answer, at least and at most, whatever its TTL says: names must not keep us busy, and a mistake in a zone
/// must not stay with us for days.
const GOOD_FOR_MIN: Duration = Duration::from_secs(1);
const GOOD_FOR_MAX: Duration = Duration::from_secs(300);

/// The hosts file has no TTL, but may be edited.
const HOSTS_GOOD_FOR: Duration = Duration::from_secs(10);

/// Longest pause between lookups that fail.
const FAILED_PAUSE_MAX: Duration = Duration::from_secs(30);

const NO_ADDRESS: &str = "the name has no address";

/// In debug builds, a name server of a test's own: `ip:port`.
const TEST_DNS: &str = "UMBRA_TEST_DNS";

/// When a name is asked next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    wait: Duration,
    /// Lookups in a row that failed.
    failed: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { wait: GOOD_FOR_MIN, failed: 0 }
    }
}

impl Pace {
    fn answered(&mut self, good_for: Duration) {
        *self = Self { wait: good_for.clamp(GOOD_FOR_MIN, GOOD_FOR_MAX), failed: 0 };
    }

    /// Twice as long each time.
    fn failed(&mut self) {
        let wait = GOOD_FOR_MIN.saturating_mul(1 << self.failed.min(16)).min(FAILED_PAUSE_MAX);
        *self = Self { wait, failed: self.failed.saturating_add(1) };
    }
}

/// Asks for `name` again and again and says in `known` when its addresses change. A lookup that fails changes nothing.
pub(super) async fn follow(
    name: String,
    mut pace: Pace,
    known: Arc<watch::Sender<Answers>>,
    turns: Arc<Semaphore>,
    counters: Arc<NameCounters>,
) {
    loop {
        tokio::time::sleep(jittered(pace.wait)).await;
        let had_failed = pace.failed > 0;
        let before = known.borrow().get(&name).and_then(|answer| answer.clone().ok()).unwrap_or_default();
        let (answer, trouble) = ask(&name, &before, &turns, &counters, &mut pace).await;
        match trouble {
            None if had_failed => tracing::info!("{name} resolves again"),
            Some(why) if !had_failed => tracing::warn!("cannot resolve {name}: {why}; its addresses stay"),
            None | Some(_) => {}
        }
        known.send_if_modified(|known| learn(known, &name, answer));
    }
}

/// Takes a later answer to `name`; says whether its addresses are others now.
fn learn(known: &mut Answers, name: &str, answer: Answer) -> bool {
    let Some(before) = known.get_mut(name) else { return false };
    match (&*before, &answer) {
        (Ok(old), Ok(new)) if old == new => false,
        (Ok(_) | Err(_), Ok(new)) => {
            tracing::info!("{name} is {new:?} now");
            *before = answer;
            true
        }
        // The last addresses stay; where there never were any, only the reason is newer.
        (Ok(_), Err(_)) => false,
        (Err(_), Err(_)) => {
            *before = answer;
            false
        }
    }
}

/// Makes a lookup, counted. Returns its answer and its fault, and sets the time of the next in `pace`. `before` is its last
/// answer.
pub(super) async fn ask(
    name: &str,
    before: &[IpAddr],
    turns: &Semaphore,
    counters: &NameCounters,
    pace: &mut Pace,
) -> (Answer, Option<String>) {
    // The semaphore is never closed.
    let _turn = turns.acquire().await;
    let result = tokio::time::timeout(LOOKUP_MAX, look_up(name, before)).await;
    let result = result.unwrap_or_else(|_| Err(format!("no answer within {} s", LOOKUP_MAX.as_secs())));
    let (answer, trouble) = match result {
        Ok(Looked { addresses, good_for, trouble: None }) => {
            counters.answered.inc();
            pace.answered(good_for);
            return (Ok(addresses), None);
        }
        Ok(Looked { addresses, trouble: Some(why), .. }) => (Ok(addresses), why),
        Err(why) => (Err(why.clone()), why),
    };
    counters.failed.inc();
    pace.failed();
    (answer, Some(trouble))
}

/// The result of a lookup.
struct Looked {
    /// All that this machine has a way to, in an order of their own.
    addresses: Vec<IpAddr>,
    good_for: Duration,
    /// Why those of one protocol are the ones from before.
    trouble: Option<String>,
}

async fn look_up(name: &str, before: &[IpAddr]) -> Result<Looked, String> {
    let (addresses, good_for, trouble) = match in_hosts(name) {
        Some(addresses) => (addresses, HOSTS_GOOD_FOR, None),
        None => {
            // Made for each lookup: its files are small and may have changed.
            let resolver = resolver()?;
            let found = resolver.lookup_ip(name).await.map_err(|e| match e {
                e if e.is_nx_domain() => "there is no such name".to_owned(),
                e if e.is_no_records_found() => NO_ADDRESS.to_owned(),
                e => e.to_string(),
            })?;
            let good_for = found.valid_until().saturating_duration_since(Instant::now());
            let (addresses, trouble) = completed(&resolver, &found, before).await;
            (addresses, good_for, trouble)
        }
    };
    let addresses = usable(addresses, has_way_to);
    if addresses.is_empty() {
        Err(NO_ADDRESS.to_owned())
    } else {
        Ok(Looked { addresses, good_for, trouble })
    }
}

/// An answer is made of two, one for each protocol, and the resolver is content with either. Where all addresses of one
/// protocol are gone, its half may have failed: it is asked for once more, by itself, and where that fails too its addresses
/// stay.
async fn completed(
    resolver: &TokioResolver,
    found: &LookupIp,
    before: &[IpAddr],
) -> (Vec<IpAddr>, Option<String>) {
    let mut addresses: Vec<IpAddr> = found.iter().collect();
    let mut trouble = None;
    for kind in [RecordType::A, RecordType::AAAA] {
        let is_of_it = |address: &IpAddr| address.is_ipv4() == (kind == RecordType::A);
        if addresses.iter().any(is_of_it) || !before.iter().any(is_of_it) {
            continue;
        }
        match resolver.lookup(found.query().name().clone(), kind).await {
            Ok(half) => addresses.extend(half.answers().iter().filter_map(|record| record.data.ip_addr())),
            Err(error) if error.is_nx_domain() || error.is_no_records_found() => {}
            Err(error) => {
                addresses.extend(before.iter().filter(|address| is_of_it(address)));
                trouble = Some(format!("{kind}: {error}"));
            }
        }
    }
    (addresses, trouble)
}

/// The addresses in the hosts file, if it knows the name: of both protocols, so that no server is asked for the other.
fn in_hosts(name: &str) -> Option<Vec<IpAddr>> {
    let (hosts, name) = (Hosts::from_system().ok()?, Name::from_str(name).ok()?);
    let found = [RecordType::A, RecordType::AAAA]
        .map(|kind| hosts.lookup_static_host(&Query::query(name.clone(), kind)));
    let records = found.iter().flatten().flat_map(|lookup| lookup.answers());
    let addresses: Vec<IpAddr> = records.filter_map(|record| record.data.ip_addr()).collect();
    (!addresses.is_empty()).then_some(addresses)
}

fn resolver() -> Result<TokioResolver, String> {
    let test_server = std::env::var(TEST_DNS).ok().filter(|_| cfg!(debug_assertions));
    let mut builder = match test_server.and_then(|at| at.parse::<SocketAddr>().ok()) {
        Some(at) => {
            let mut server = NameServerConfig::udp(at.ip());
            server.connections.iter_mut().for_each(|connection| connection.port = at.port());
            let config = ResolverConfig::from_name_servers(vec![server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
        None => TokioResolver::builder_tokio().map_err(|e| format!("/etc/resolv.conf: {e}"))?,
    };
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // We keep answers ourselves.
    options.cache_size = 0;
    builder.build().map_err(|e| e.to_string())
}

/// Sorted, because servers turn the order of their answers, which is no change. Addresses without a way to them are left
/// out (an IPv6 address on a machine without IPv6), unless there are no others.
fn usable(mut addresses: Vec<IpAddr>, has_way_to: impl Fn(&IpAddr) -> bool) -> Vec<IpAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.iter().any(&has_way_to) {
        addresses.retain(has_way_to);
    }
    addresses
}

/// Whether the kernel knows a way to `address`. Nothing is sent.
fn has_way_to(address: &IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((*address, 9))).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn answers_are_asked_again_by_their_ttl_within_bounds() {
        let mut pace = Pace::default();
        let secs = |pace: Pace| pace.wait.as_secs();
        for (ttl, wait) in [(0, 1), (1, 1), (30, 30), (300, 300), (86_400, 300)] {
            pace.answered(Duration::from_secs(ttl));
            assert_eq!(secs(pace), wait, "TTL {ttl}");
        }
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pace.failed();
            pauses.push(secs(pace));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        pace.answered(Duration::from_secs(5));
        assert_eq!((secs(pace), pace.failed), (5, 0));
    }

    #[test]
    fn another_order_is_no_change_and_addresses_without_a_way_are_left_out() {
        let v4_only = |address: &IpAddr| address.is_ipv4();
        assert_eq!(
            usable(ips(&["10.0.0.2", "::2", "10.0.0.1", "10.0.0.2"]), v4_only),
            ips(&["10.0.0.1", "10.0.0.2"])
        );
        assert_eq!(usable(ips(&["::2", "::1"]), v4_only), ips(&["::1", "::2"]), "better than none");
        assert!(has_way_to(&"127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_failed_lookup_keeps_the_last_addresses_and_a_new_answer_replaces_them() {
        let mut known = Answers::from([
            ("a.test".to_owned(), Ok(ips(&["10.0.0.1"]))),
            ("b.test".to_owned(), Err("never".to_owned())),
        ]);
        assert!(!learn(&mut known, "a.test", Ok(ips(&["10.0.0.1"]))));
        assert!(!learn(&mut known, "a.test", Err("gone".to_owned())));
        assert_eq!(known["a.test"], Ok(ips(&["10.0.0.1"])));
        assert!(learn(&mut known, "a.test", Ok(ips(&["10.0.0.2"]))));
        assert_eq!(known["a.test"], Ok(ips(&["10.0.0.2"])));
        assert!(!learn(&mut known, "b.test", Err("still".to_owned())));
        assert_eq!(known["b.test"], Err("still".to_owned()));
        assert!(learn(&mut known, "b.test", Ok(ips(&["10.0.0.3"]))));
        assert!(!learn(&mut known, "forgotten.test", Ok(ips(&["10.0.0.4"]))) && known.len() == 2);
    }
}
