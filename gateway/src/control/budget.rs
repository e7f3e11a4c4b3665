//! The cost of a configuration at its worst: descriptors and memory, as sums whose addends have names.
//!
//! Pure arithmetic over the configuration; it does not know the machine's resources.

use std::collections::HashSet;

use config::{Config, UpstreamProtocol};

use crate::address::Address;
use crate::compare::ALL_SAMPLES_BYTES_MAX;
use crate::discovery;
use crate::http2;
use crate::limits;
use crate::observe::tap::RECORDS_BYTES_MAX;

/// Standard streams, the log, the signal pipe and the runtime of the control plane, files opened for a moment.
const PROCESS_DESCRIPTORS: u64 = 32;

/// Of the control plane: health checks under way, and lookups with a socket per protocol.
const DISCOVERY_DESCRIPTORS: u64 = discovery::CHECKS_MAX as u64 + 2 * discovery::LOOKUPS_MAX as u64;

/// The driver, the control socket, and descriptors that the standard library may open.
const WORKER_DESCRIPTORS: u64 = 8;

/// Open descriptors, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// Client connections.
    pub(crate) clients: u64,
    /// Connections to primaries that serve an exchange; never more than there may be clients.
    pub(crate) primaries: u64,
    /// Connections to primaries kept for reuse.
    pub(crate) idle: u64,
    pub(crate) mirrors: u64,
    /// The other ends of the last three, where the sample services run in this process.
    pub(crate) samples: u64,
    /// Listeners, drivers, the admin listener and its connections, discovery, the process itself.
    pub(crate) fixed: u64,
}

impl Descriptors {
    /// `addresses` by upstream: an idle pool is kept for each resolved address.
    pub(crate) fn of(config: &Config, addresses: &[Vec<Address>], embedded: bool) -> Self {
        let workers = count(config.workers.count);
        let clients = workers.saturating_mul(count(config.limits.connections_max));
        let primaries: HashSet<usize> = config.routes.iter().flat_map(config::Route::upstreams).collect();
        let idle_addresses: u64 = (0..config.upstreams.len())
            .filter(|id| primaries.contains(id))
            .map(|id| addresses.get(id).map_or(0, |a| count(a.len())))
            .sum();
        let admin = if config.admin.bind.is_some() { 2 + count(limits::ADMIN_CONNECTIONS_MAX) } else { 0 };
        let idle =
            workers.saturating_mul(idle_addresses).saturating_mul(count(config.limits.upstream_idle_max));
        let mirrors = workers.saturating_mul(sum(config.lanes.iter().map(|l| count(l.connections_max))));
        Self {
            clients,
            primaries: clients,
            idle,
            mirrors,
            samples: if embedded { sum([clients, idle, mirrors]) } else { 0 },
            // A worker has each listening socket twice, and a third is kept for a successor.
            fixed: workers * (3 * count(config.listeners.len()) + WORKER_DESCRIPTORS)
                + admin
                + DISCOVERY_DESCRIPTORS
                + PROCESS_DESCRIPTORS,
        }
    }

    /// Client connections for which there are descriptors, with as many to primaries, once mirrors have theirs; `None`
    /// where there are enough. Idle connections are not counted: they are closed where descriptors run out.
    pub(crate) fn clients_affordable(&self, limit: u64) -> Option<u64> {
        let is_embedded = self.samples > 0;
        let each = if is_embedded { 4 } else { 2 };
        let taken = sum([self.fixed, self.mirrors, if is_embedded { self.mirrors } else { 0 }]);
        let affordable = limit.saturating_sub(taken) / each;
        (affordable < self.clients).then_some(affordable)
    }

    pub(crate) fn total(&self) -> u64 {
        sum([self.clients, self.primaries, self.idle, self.mirrors, self.samples, self.fixed])
    }
}

/// Client connections that one worker may have at once: those of the configuration, or as many as there are descriptors
/// for. A mirror must not take the primary's.
pub(crate) fn clients_max(config: &Config, descriptors: &Descriptors, limit: u64) -> usize {
    let affordable =
        descriptors.clients_affordable(limit).map(|all| all / count(config.workers.count).max(1));
    let affordable = affordable.map_or(usize::MAX, |each| usize::try_from(each).unwrap_or(usize::MAX).max(1));
    config.limits.connections_max.min(affordable)
}

/// Bytes held for peers, at most. The program itself and the kernel's socket buffers come on top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Copies that wait in rings.
    pub(crate) rings: u64,
    /// Heads and the piece of content under way in each direction, of as many exchanges as there may be at once.
    pub(crate) exchanges: u64,
    /// The piece under way in each direction of as many tunnels as there may be beside them.
    pub(crate) tunnels: u64,
    /// Bytes that wait on HTTP/2 connections: content not taken yet, responses queued, and a write under way.
    pub(crate) sessions: u64,
    /// TLS sessions of open connections, on either side.
    pub(crate) covers: u64,
    /// Copies on their way to a mirror, if every connection to one carries the largest batch at once.
    pub(crate) batches: u64,
    /// Buffers kept for reuse.
    pub(crate) spare: u64,
    /// Records of exchanges on their way, spans that wait, responses and samples that are compared.
    pub(crate) told: u64,
    /// Answers of the admin listener that wait for their readers.
    pub(crate) admin: u64,
    /// Objects of a cluster that is followed.
    pub(crate) cluster: u64,
    /// The history of the last day.
    pub(crate) history: u64,
}

impl Memory {
    pub(crate) fn of(config: &Config) -> Self {
        let workers = count(config.workers.count);
        let exchanges = workers.saturating_mul(count(config.limits.exchanges_max));
        let exchange = count(config.limits.request_head_bytes_max)
            + count(config.limits.response_head_bytes_max)
            + 2 * count(limits::BLOCK_BYTES);
        // In use, and as many kept for reuse.
        let large = workers * count(limits::LARGE_BLOCKS_MAX) * count(limits::LARGE_BLOCK_BYTES);
        // A batch is bounded, but one copy alone may be larger.
        let batches = config.lanes.iter().enumerate().map(|(lane, settings)| {
            let mirrors = config.routes.iter().flat_map(|r| &r.mirrors).filter(|m| m.lane == lane);
            // A copy that is searched is there twice, a form three times, and joins a batch at its final length.
            let copy = |m: &config::Mirror| {
                let times = match (m.redact.json.is_empty(), m.redact.query.is_empty()) {
                    (true, true) => return count(m.body_bytes_max),
                    (false, _) => 2,
                    (true, false) => 3,
                };
                sum([count(m.body_bytes_max).saturating_mul(times), count(limits::BATCH_BYTES_MAX)])
            };
            let copy = mirrors.map(copy).max().unwrap_or(0);
            count(settings.connections_max).saturating_mul(copy.max(count(limits::BATCH_BYTES_MAX)))
        });
        Self {
            rings: workers.saturating_mul(sum(config.lanes.iter().map(|l| count(l.ring_bytes_max)))),
            exchanges: sum([exchanges.saturating_mul(exchange), large]),
            tunnels: Self::tunnels(config, exchanges).saturating_mul(2 * count(limits::BLOCK_BYTES)),
            sessions: Self::sessions(config, exchanges.saturating_add(Self::tunnels(config, exchanges))),
            covers: Self::covers(config),
            batches: workers.saturating_mul(sum(batches)),
            spare: workers * count(limits::FREE_BUFFERS_MAX) * count(limits::BLOCK_BYTES) + large,
            told: Self::told(config),
            admin: if config.admin.bind.is_some() { count(limits::ADMIN_ANSWERS_BYTES_MAX) } else { 0 },
            cluster: 0,
            history: if config.admin.bind.is_some() { Self::history(config) } else { 0 },
        }
    }

    /// The same, with so many bytes of a cluster's objects.
    pub(crate) fn beside(self, cluster: u64) -> Self {
        Self { cluster, ..self }
    }

    /// A ring is told by its lane's name, which mirrors have too.
    fn history(config: &Config) -> u64 {
        let parts = |n: usize| count(n.min(limits::HISTORY_PARTS_MAX));
        let mirrors: HashSet<&str> = config
            .routes
            .iter()
            .flat_map(|route| &route.mirrors)
            .map(|mirror| mirror.name.as_str())
            .collect();
        let names = mirrors.iter().copied().chain(config.lanes.iter().map(|lane| lane.name.as_str()));
        let longest = count(names.map(str::len).max().unwrap_or(0));
        let part = count(limits::HISTORY_PART_BYTES).saturating_add(longest);
        let parts = parts(mirrors.len()).saturating_add(parts(config.lanes.len()));
        let step = count(limits::HISTORY_STEP_BYTES).saturating_add(parts.saturating_mul(part));
        let steps = sum(limits::HISTORY_STEPS.iter().map(|(_, samples_max)| count(*samples_max)));
        let routes = config.routes.iter().take(limits::HISTORY_ROUTES_MAX);
        // Three counts of four bytes in each step, in a ring that may be twice as large, and the memory around it.
        let route = 3 * 4 * 2 * count(limits::HISTORY_TREND_STEPS) + 128;
        let trends = sum(routes.map(|of| route + count(of.name.len())));
        let lengths = count(limits::HISTORY_STEPS.len());
        sum([steps.saturating_mul(step), trends.saturating_mul(lengths)])
    }

    /// As many as there may be beside `exchanges`: on HTTP/1.1 a connection has one or the other.
    fn tunnels(config: &Config, exchanges: u64) -> u64 {
        let workers = count(config.workers.count);
        let most =
            if config.has_tunnels() { workers.saturating_mul(count(config.limits.tunnels_max)) } else { 0 };
        let connections = workers.saturating_mul(count(config.limits.connections_max));
        if config.takes_http2() { most } else { most.min(connections.saturating_sub(exchanges)) }
    }

    /// Of clients and of primaries: an exchange may have a stream on either side. `exchanges`: with tunnels.
    fn sessions(config: &Config, exchanges: u64) -> u64 {
        let primaries: HashSet<usize> = config.routes.iter().flat_map(config::Route::upstreams).collect();
        let shared = primaries.iter().filter_map(|id| config.upstreams.get(*id));
        let shared: Vec<_> = shared.filter(|upstream| upstream.protocol != UpstreamProtocol::Http1).collect();
        let http2 = &config.http2;
        // A block more than may be queued is taken.
        let stream = sum([
            u64::from(http2.stream_window_bytes),
            count(http2.queued_bytes_max),
            count(limits::BLOCK_BYTES),
        ]);
        let connection = sum([count(http2::session::OUT_BYTES_MAX), count(limits::BLOCK_BYTES)]);
        let workers = count(config.workers.count);
        let held = |connections: u64| {
            sum([exchanges.saturating_mul(stream), connections.saturating_mul(connection)])
        };
        let clients = workers.saturating_mul(count(config.limits.connections_max));
        // A connection without a request holds nothing.
        let called = sum(shared.iter().map(|upstream| count(upstream.connections_max)));
        let called = workers.saturating_mul(called).min(exchanges);
        sum([
            if config.takes_http2() { held(clients) } else { 0 },
            if shared.is_empty() { 0 } else { held(called) },
        ])
    }

    /// TLS of the connections that may be open at worst; of an endpoint's name, one address is counted.
    fn covers(config: &Config) -> u64 {
        let is_covered = |id: usize| config.upstreams.get(id).is_some_and(|upstream| upstream.tls.is_some());
        let clients = count(config.limits.connections_max);
        let is_listened = config.listeners.iter().any(|listener| listener.tls.is_some());
        let primaries: HashSet<usize> = config.routes.iter().flat_map(config::Route::upstreams).collect();
        let primaries = || primaries.iter().copied().filter(|id| is_covered(*id));
        let endpoints =
            sum(primaries().map(|id| config.upstreams.get(id).map_or(0, |u| count(u.endpoints.len()))));
        let lanes = config.lanes.iter().filter(|lane| is_covered(lane.upstream));
        let carrying: u64 = sum(lanes.map(|lane| count(lane.connections_max)));
        let each_worker = sum([
            if is_listened { clients } else { 0 },
            if primaries().next().is_some() { clients } else { 0 },
            endpoints.saturating_mul(count(config.limits.upstream_idle_max)),
            carrying,
        ]);
        // Sealed, in rustls' hands and in ours.
        let sealed = carrying.saturating_mul(2 * count(limits::SEALED_BYTES_MAX));
        let each_worker = each_worker.saturating_mul(limits::TLS_SESSION_BYTES).saturating_add(sealed);
        count(config.workers.count).saturating_mul(each_worker)
    }

    fn told(config: &Config) -> u64 {
        let exported = config.tracing.as_ref().filter(|tracing| tracing.collector.is_some());
        let mut mirrors = config.routes.iter().flat_map(|route| &route.mirrors);
        let compares = mirrors.any(|mirror| mirror.compare.is_some());
        let records = count(config.workers.count).saturating_mul(count(RECORDS_BYTES_MAX));
        let wants_records = compares || exported.is_some() || config.access_log.is_some();
        sum([
            if wants_records { records } else { 0 },
            exported.map_or(0, |tracing| count(tracing.spans_bytes_max)),
            count(limits::RECENT_LOG_BYTES_MAX),
            config.access_log.as_ref().map_or(0, |_| count(limits::RECENT_ACCESS_BYTES_MAX)),
            if compares { count(limits::KEPT_ANSWERS_BYTES_MAX) + count(ALL_SAMPLES_BYTES_MAX) } else { 0 },
        ])
    }

    pub(crate) fn total(&self) -> u64 {
        let held = [self.rings, self.exchanges, self.tunnels, self.sessions, self.covers, self.batches];
        sum(held.into_iter().chain([self.spare, self.told, self.admin, self.history, self.cluster]))
    }
}

/// No bound of an operator may make the sum wrap.
fn sum(addends: impl IntoIterator<Item = u64>) -> u64 {
    addends.into_iter().fold(0, u64::saturating_add)
}

/// A `usize` is never wider than 64 bits here; the saturation only spares a cast.
fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two workers, one listener, v1 mirrored to v2 in round numbers; for the tests of every room of the control plane.
    pub(crate) fn config() -> Config {
        let text = r#"
            [workers]
            count = 2

            [limits]
            connections_max = 100
            response_head_bytes_max = "32KiB"
            requests_per_connection_max = 1000
            upstream_idle_max = 10
            drain_bytes_max = "64KiB"

            [timeouts]
            client_idle = "60s"
            connect = "1s"
            response_head = "15s"
            response_body = "30s"
            upstream_idle = "4s"

            [upstream.v1]
            endpoints = ["127.0.0.1:9001"]
            [upstream.v2]
            endpoints = ["127.0.0.1:9002"]

            [[route]]
            name = "default"
            primary = "v1"
            mirrors = [{ upstream = "v2", pipeline_max = 16 }]
        "#;
        config::parse("test", text).expect("the test's own text is sound").config
    }

    fn addresses(v1: u16) -> Vec<Vec<Address>> {
        let at = |port| Address::from(([127, 0, 0, 1], port));
        vec![(0..v1).map(|n| at(9001 + n)).collect(), vec![at(9101), at(9102), at(9103)]]
    }

    #[test]
    fn descriptors_are_the_sum_of_named_addends() {
        let of = Descriptors::of(&config(), &addresses(2), false);
        // Idle connections are kept for the two addresses of the primary, not for the mirror's three.
        let fixed = 2 * (3 + 8) + 2 + u64::try_from(limits::ADMIN_CONNECTIONS_MAX).unwrap() + 128 + 32;
        assert_eq!(
            of,
            Descriptors { clients: 200, primaries: 200, idle: 2 * 2 * 10, mirrors: 16, samples: 0, fixed }
        );
        assert_eq!(of.total(), 456 + fixed);
    }

    #[test]
    fn clients_get_no_more_descriptors_than_leave_their_primaries_and_the_mirrors_some() {
        let of = Descriptors::of(&config(), &addresses(2), false);
        assert_eq!(of.clients_affordable(of.total()), None);
        assert_eq!(of.clients_affordable(of.fixed + 16 + 400), None, "idle ones are no reason");
        assert_eq!(of.clients_affordable(of.fixed + 16 + 100), Some(50));
        assert_eq!(of.clients_affordable(0), Some(0));
    }

    #[test]
    fn sample_services_in_the_process_hold_the_other_ends() {
        let of = Descriptors::of(&config(), &addresses(1), true);
        assert_eq!(of.samples, of.primaries + of.idle + of.mirrors);
    }

    fn without_admin() -> Config {
        let mut without = config();
        without.admin.bind = None;
        without
    }

    #[test]
    fn no_admin_listener_costs_no_descriptors() {
        let (with, without) = (
            Descriptors::of(&config(), &addresses(1), false),
            Descriptors::of(&without_admin(), &addresses(1), false),
        );
        assert_eq!(with.fixed - without.fixed, 2 + u64::try_from(limits::ADMIN_CONNECTIONS_MAX).unwrap());
    }

    #[test]
    fn memory_is_the_sum_of_named_addends() {
        let of = Memory::of(&config());
        assert_eq!(of.rings, 2 * (32 << 20));
        assert_eq!(of.exchanges, (200 * (16 + 32 + 2 * 64) + 2 * 64 * 256) * 1024);
        assert_eq!(of.batches, (2 * 8) << 20);
        let mut searching = config();
        searching.routes[0].mirrors[0].redact.json = vec!["/a".into()];
        assert_eq!(Memory::of(&searching).batches, 2 * 8 * ((2 << 20) + 256 * 1024));
        assert_eq!(of.spare, 2 * (256 * 64 + 64 * 256) * 1024);
        assert_eq!((of.tunnels, of.sessions, of.covers, of.admin), (0, 0, 0, 64 << 20));
        // The last lines of the log.
        assert_eq!(of.told, 1 << 20);
        let mut tunnelling = config();
        let config::Action::Forward(forward) = &mut tunnelling.routes[0].action else {
            panic!("it forwards")
        };
        forward.upgrades = vec![config::Upgrade::WebSocket];
        assert_eq!(Memory::of(&tunnelling).tunnels, 0, "a connection has an exchange or a tunnel");
        tunnelling.limits.exchanges_max = 30;
        assert_eq!(Memory::of(&tunnelling).tunnels, 2 * 70 * (2 * 64 * 1024));
        let text = "[workers]\ncount = 2\n[limits]\nconnections_max = 100\nupstream_idle_max = 10\n\
                    [upstream.v1]\nendpoints = [\"a:1\", \"b:1\"]\ntls = {}\n[[route]]\nprimary = \"v1\"\n\
                    mirrors = [{ upstream = \"v1\", connections_max = 8 }]\n";
        let covered = config::parse("test", text).expect("the test's own text is sound").config;
        assert_eq!(Memory::of(&covered).covers, 2 * ((100 + 2 * 10 + 8) * 8192 + 8 * (512 << 10)));
        let mut multiplexed = config();
        multiplexed.listeners[0].protocols.http2 = true;
        let kib = |n: u64| n << 10;
        assert_eq!(Memory::of(&multiplexed).sessions, 200 * (kib(3 * 64) + kib(256 + 64)));
        // Primaries hold as much: of so many connections at most as there are exchanges.
        multiplexed.upstreams[0].protocol = UpstreamProtocol::Http2;
        assert_eq!(Memory::of(&multiplexed).sessions, 2 * 200 * (kib(3 * 64) + kib(256 + 64)));
        multiplexed.upstreams[0].connections_max = 3;
        multiplexed.listeners[0].protocols.http2 = false;
        assert_eq!(Memory::of(&multiplexed).sessions, 200 * kib(3 * 64) + 6 * kib(256 + 64));
        assert_eq!(
            of.total(),
            of.rings + of.exchanges + of.batches + of.spare + of.told + of.admin + of.history
        );
        assert_eq!(Memory::of(&without_admin()).history, 0);
        assert!((1 << 20..4 << 20).contains(&of.history), "{}", of.history);
        let mut wide = config();
        wide.routes = vec![wide.routes[0].clone(); 100_000];
        assert!(
            Memory::of(&wide).history < 16 << 20,
            "whatever the configuration: {}",
            Memory::of(&wide).history
        );
        let text = "[workers]\ncount = 2\n[upstream.v1]\nendpoints = [\"a:1\"]\n[tracing]\nto = \"http://a\"\n\
                    [[route]]\nprimary = \"v1\"\nmirrors = [{ upstream = \"v1\", compare = {} }]\n";
        let telling = config::parse("test", text).expect("the test's own text is sound").config;
        assert_eq!(Memory::of(&telling).told, (2 * 8 + 16 + 64 + 32 + 1) << 20);
    }

    #[test]
    fn absurd_limits_saturate_instead_of_wrapping() {
        let mut config = config();
        config.limits.connections_max = usize::MAX / 4;
        config.limits.exchanges_max = usize::MAX / 4;
        config.workers.count = 64;
        assert_eq!(Memory::of(&config).total(), u64::MAX);
        assert_eq!(Descriptors::of(&config, &addresses(1), true).total(), u64::MAX);
    }
}
