//! Kept connections to primaries, one pool per worker and endpoint, most recently used first.
//!
//! A connection is handed out only if its peer is still there and has said nothing since it was put back; it is put back
//! only by an exchange that proved its message ended at the last byte read (invariant 8).

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use config::{Balance, Config, Ejection, UpstreamId};

use super::balance::{self, Choice, Load};
use super::eject::{self, Record, Report};
use super::gate::{Gate, Place, Refused};
use super::health::HealthBoard;
use crate::error::Failure;
use crate::io::{Millis, Stream, Sweeper};
use crate::limits::ENDPOINT_FAILED_MS;
use crate::metrics::UpstreamCounters;
use crate::random::Random;

/// Endpoints tried for one exchange before it is given up.
const CONNECT_ATTEMPTS_MAX: usize = 3;

/// All upstreams of one worker in their role as primaries.
#[derive(Debug)]
pub struct Upstreams {
    groups: Vec<Group>,
    sweeper: Rc<Sweeper>,
    idle_max: usize,
    random: Random,
}

#[derive(Debug)]
struct Group {
    endpoints: Vec<Rc<Endpoint>>,
    /// Hashes of the endpoints' names.
    names: Vec<u64>,
    balance: Balance,
    turn: Cell<usize>,
    gate: Rc<Gate>,
    ejection: Option<Ejection>,
    looked_ms: Cell<u64>,
    connect_timeout: Duration,
    idle_ms: Millis,
    /// Exchanges on one connection.
    uses_max: u64,
    counters: Arc<UpstreamCounters>,
}

#[derive(Debug)]
struct Endpoint {
    address: SocketAddr,
    idle: RefCell<Vec<Idle>>,
    in_flight: Cell<usize>,
    failed_until_ms: Cell<u64>,
    record: Cell<Record>,
    /// What the control plane found when it last asked; `None` where it does not ask.
    healthy: Option<Arc<AtomicBool>>,
    counters: Arc<UpstreamCounters>,
}

impl Drop for Endpoint {
    /// With the last configuration that named it go its kept connections.
    fn drop(&mut self) {
        self.counters.idle.add(-(self.idle.get_mut().len() as i64));
    }
}

#[derive(Debug)]
struct Idle {
    stream: Stream,
    since_ms: u64,
    /// Exchanges it has carried.
    uses: u64,
}

/// A connection in use by one exchange. Dropping it closes it; [`Lease::put_back`] keeps it.
#[derive(Debug)]
pub struct Lease {
    stream: Option<Stream>,
    /// It has carried an exchange before, so its peer may be closing it just now.
    pub reused: bool,
    uses: u64,
    slot: Slot,
    _place: Place,
}

/// Counts one exchange in flight on an endpoint.
#[derive(Debug)]
struct Slot {
    pool: Rc<Upstreams>,
    group: usize,
    endpoint: usize,
}

impl Slot {
    fn endpoint(&self) -> &Endpoint {
        &self.pool.groups[self.group].endpoints[self.endpoint]
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let in_flight = &self.endpoint().in_flight;
        in_flight.set(in_flight.get() - 1);
    }
}

impl Lease {
    pub fn stream(&mut self) -> Option<&mut Stream> {
        self.stream.as_mut()
    }

    /// Keeps the connection for the next exchange.
    pub fn put_back(mut self) {
        let Some(stream) = self.stream.take() else { return };
        // One may have been armed for a read that was not pending any more.
        stream.clear_deadlines();
        let pool = &self.slot.pool;
        let group = &pool.groups[self.slot.group];
        let mut idle = self.slot.endpoint().idle.borrow_mut();
        if idle.len() < pool.idle_max && self.uses < group.uses_max {
            idle.push(Idle { stream, since_ms: pool.sweeper.now_ms(), uses: self.uses });
            group.counters.idle.add(1);
        }
    }

    /// How the exchange with this endpoint ended, for the endpoint's record.
    #[inline]
    pub fn report(&self, report: Report) {
        let group = &self.slot.pool.groups[self.slot.group];
        if let Some(rules) = &group.ejection {
            group.note(rules, self.slot.endpoint(), report, self.slot.pool.sweeper.now_ms());
        }
    }
}

impl Upstreams {
    /// Endpoints that `before` has too keep their connections.
    pub fn new(
        config: &Config,
        addresses: &[Vec<SocketAddr>],
        counters: &[Arc<UpstreamCounters>],
        health: &HealthBoard,
        sweeper: &Rc<Sweeper>,
        before: Option<&Self>,
    ) -> Rc<Self> {
        let groups = config.upstreams.iter().zip(addresses).zip(counters);
        // The same counters are the same upstream.
        let old = |counters: &Arc<UpstreamCounters>| {
            before.and_then(|b| b.groups.iter().find(|g| Arc::ptr_eq(&g.counters, counters)))
        };
        let endpoint =
            |upstream: &config::Upstream, address: SocketAddr, counters: &Arc<UpstreamCounters>| {
                let healthy = health.of(&upstream.name, address);
                let known = old(counters).and_then(|group| {
                    let same =
                        |e: &&Rc<Endpoint>| e.address == address && e.healthy.is_some() == healthy.is_some();
                    group.endpoints.iter().find(same)
                });
                known.map_or_else(|| Rc::new(Endpoint::new(address, healthy, counters)), Rc::clone)
            };
        let gate = |upstream: &config::Upstream, counters: &Arc<UpstreamCounters>| {
            let (places, waiting) = (upstream.connections_max, upstream.pending_max);
            let known =
                old(counters).map(|group| &group.gate).filter(|gate| gate.has_bounds(places, waiting));
            known.map_or_else(|| Gate::new(places, waiting), Rc::clone)
        };
        Rc::new(Self {
            groups: groups
                .map(|((upstream, addresses), counters)| Group {
                    endpoints: addresses.iter().map(|a| endpoint(upstream, *a, counters)).collect(),
                    names: addresses.iter().map(|a| balance::name_hash(&a.to_string())).collect(),
                    balance: upstream.balance,
                    turn: Cell::new(0),
                    gate: gate(upstream, counters),
                    ejection: upstream.ejection.clone(),
                    looked_ms: Cell::new(sweeper.now_ms()),
                    connect_timeout: upstream.connect_timeout,
                    idle_ms: upstream.idle_timeout.into(),
                    uses_max: upstream.requests_per_connection_max,
                    counters: Arc::clone(counters),
                })
                .collect(),
            sweeper: Rc::clone(sweeper),
            idle_max: config.limits.upstream_idle_max,
            random: Random::new(balance::name_hash(&format!("{:?}", std::thread::current().id()))),
        })
    }

    pub fn counters(&self, upstream: UpstreamId) -> &UpstreamCounters {
        &self.groups[upstream].counters
    }

    /// A connection to an endpoint of `upstream`: a kept one unless `fresh`, else a new one. `key` is what the request has
    /// of that which the upstream hashes. Endpoints that refuse are passed over, up to three; the last one's failure is
    /// returned.
    pub async fn checkout(
        self: &Rc<Self>,
        upstream: UpstreamId,
        fresh: bool,
        key: Option<u64>,
    ) -> Result<Lease, Failure> {
        let group = &self.groups[upstream];
        let place = group.gate.enter(group.connect_timeout).await.map_err(|refused| {
            group.counters.overflows.inc();
            match refused {
                Refused::Full => Failure::Overflow,
                Refused::Timeout => Failure::ConnectTimeout,
            }
        })?;
        let mut tried = [usize::MAX; CONNECT_ATTEMPTS_MAX];
        let mut last = Failure::Connect;
        for attempt in 0..CONNECT_ATTEMPTS_MAX {
            let Some(index) = self.pick(group, &tried, key) else { break };
            tried[attempt] = index;
            let endpoint = &group.endpoints[index];
            group.counters.attempts.inc();
            endpoint.in_flight.set(endpoint.in_flight.get() + 1);
            let slot = Slot { pool: Rc::clone(self), group: upstream, endpoint: index };
            if !fresh && let Some(Idle { stream, uses, .. }) = self.take_idle(group, endpoint) {
                group.counters.reuses.inc();
                return Ok(Lease { stream: Some(stream), reused: true, uses: uses + 1, slot, _place: place });
            }
            group.counters.connects.inc();
            // Boxed because it is rare and large: every client connection's task would carry its size.
            match Box::pin(Stream::connect(endpoint.address, group.connect_timeout, &self.sweeper)).await {
                Ok(stream) => {
                    endpoint.failed_until_ms.set(0);
                    return Ok(Lease { stream: Some(stream), reused: false, uses: 1, slot, _place: place });
                }
                Err(error) => {
                    last = match error.kind() {
                        std::io::ErrorKind::TimedOut => Failure::ConnectTimeout,
                        _ => Failure::Connect,
                    };
                    endpoint.failed_until_ms.set(self.sweeper.now_ms() + ENDPOINT_FAILED_MS);
                    group.counters.failures.inc(last.on_primary());
                    if let Some(rules) = &group.ejection {
                        group.note(rules, endpoint, Report::Failed, self.sweeper.now_ms());
                    }
                }
            }
        }
        Err(last)
    }

    fn pick(&self, group: &Group, tried: &[usize], key: Option<u64>) -> Option<usize> {
        if group.endpoints.len() == 1 {
            return (tried[0] != 0).then_some(0);
        }
        let now = self.sweeper.now_ms();
        let turn = group.turn.get();
        group.turn.set(turn.wrapping_add(1));
        let choice = Choice { turn, random: self.random.next(), key };
        balance::pick(group.balance, choice, &group.names, |i| Load {
            in_flight: group.endpoints[i].in_flight.get(),
            failed: group.endpoints[i].is_failed(now),
            tried: tried.contains(&i),
        })
    }

    fn take_idle(&self, group: &Group, endpoint: &Endpoint) -> Option<Idle> {
        loop {
            let idle = endpoint.idle.borrow_mut().pop()?;
            group.counters.idle.add(-1);
            let age_ms = self.sweeper.now_ms().saturating_sub(idle.since_ms);
            if age_ms <= group.idle_ms.0 && idle.stream.is_quiet() {
                return Some(idle);
            }
        }
    }

    /// Closes kept connections that are too old or whose peer has ended or broken its silence, and lets ejected
    /// endpoints come back.
    pub fn reap(&self) {
        let now = self.sweeper.now_ms();
        for group in &self.groups {
            group.look(now);
            for endpoint in &group.endpoints {
                let mut idle = endpoint.idle.borrow_mut();
                let before = idle.len();
                idle.retain(|i| now.saturating_sub(i.since_ms) <= group.idle_ms.0 && i.stream.is_quiet());
                group.counters.idle.add(idle.len() as i64 - before as i64);
            }
        }
    }
}

impl Group {
    /// Notes how an exchange ended, and ejects the endpoint if it has earned it.
    fn note(&self, rules: &Ejection, endpoint: &Endpoint, report: Report, now_ms: u64) {
        let mut record = endpoint.record.get();
        if record.note(rules, report) && eject::may_eject(rules, self.endpoints.len(), self.ejected()) {
            record.eject(rules, now_ms);
            self.counters.ejections.inc();
            self.counters.ejected.add(1);
        }
        endpoint.record.set(record);
    }

    fn ejected(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.record.get().is_ejected()).count()
    }

    /// Once in an interval, who has served its time comes back.
    fn look(&self, now_ms: u64) {
        let Some(rules) = &self.ejection else { return };
        if now_ms.saturating_sub(self.looked_ms.get()) < Millis::from(rules.interval).0 {
            return;
        }
        self.looked_ms.set(now_ms);
        for endpoint in &self.endpoints {
            let mut record = endpoint.record.get();
            record.look(now_ms);
            endpoint.record.set(record);
        }
        self.counters.ejected.set(self.ejected() as i64);
    }
}

impl Endpoint {
    /// Chosen only where nobody better is left.
    fn is_failed(&self, now_ms: u64) -> bool {
        self.failed_until_ms.get() > now_ms
            || self.record.get().is_ejected()
            || self.healthy.as_ref().is_some_and(|healthy| !healthy.load(Relaxed))
    }

    fn new(address: SocketAddr, healthy: Option<Arc<AtomicBool>>, counters: &Arc<UpstreamCounters>) -> Self {
        Self {
            address,
            idle: RefCell::default(),
            in_flight: Cell::new(0),
            failed_until_ms: Cell::new(0),
            record: Cell::default(),
            healthy,
            counters: Arc::clone(counters),
        }
    }
}
