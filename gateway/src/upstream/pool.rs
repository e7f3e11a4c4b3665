//! Kept connections to primaries, one pool per worker and endpoint, most recently used first.
//!
//! A connection is handed out only if its peer is still there and has said nothing since it was put back; it is put back
//! only by an exchange that proved its message ended at the last byte read (invariant 8).

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use config::{Balance, Config, UpstreamId};

use super::balance::{self, Load};
use crate::error::Failure;
use crate::io::{Millis, Stream, Sweeper};
use crate::limits::ENDPOINT_FAILED_MS;
use crate::metrics::UpstreamCounters;

/// Endpoints tried for one exchange before it is given up.
const CONNECT_ATTEMPTS_MAX: usize = 3;

/// All upstreams of one worker in their role as primaries.
#[derive(Debug)]
pub struct Upstreams {
    groups: Vec<Group>,
    sweeper: Rc<Sweeper>,
    connect_timeout: Duration,
    idle_max: usize,
    idle_ms: Millis,
}

#[derive(Debug)]
struct Group {
    endpoints: Vec<Rc<Endpoint>>,
    balance: Balance,
    turn: Cell<usize>,
    counters: Arc<UpstreamCounters>,
}

#[derive(Debug)]
struct Endpoint {
    address: SocketAddr,
    idle: RefCell<Vec<Idle>>,
    in_flight: Cell<usize>,
    failed_until_ms: Cell<u64>,
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
}

/// A connection in use by one exchange. Dropping it closes it; [`Lease::put_back`] keeps it.
#[derive(Debug)]
pub struct Lease {
    stream: Option<Stream>,
    /// It has carried an exchange before, so its peer may be closing it just now.
    pub reused: bool,
    slot: Slot,
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
        let mut idle = self.slot.endpoint().idle.borrow_mut();
        if idle.len() < pool.idle_max {
            idle.push(Idle { stream, since_ms: pool.sweeper.now_ms() });
            pool.groups[self.slot.group].counters.idle.add(1);
        }
    }
}

impl Upstreams {
    /// Endpoints that `before` has too keep their connections.
    pub fn new(
        config: &Config,
        addresses: &[Vec<SocketAddr>],
        counters: &[Arc<UpstreamCounters>],
        sweeper: &Rc<Sweeper>,
        before: Option<&Self>,
    ) -> Rc<Self> {
        let groups = config.upstreams.iter().zip(addresses).zip(counters);
        let endpoint = |address: SocketAddr, counters: &Arc<UpstreamCounters>| {
            // The same counters are the same upstream.
            let old = before.and_then(|b| b.groups.iter().find(|g| Arc::ptr_eq(&g.counters, counters)));
            let known = old.and_then(|group| group.endpoints.iter().find(|e| e.address == address));
            known.map_or_else(|| Rc::new(Endpoint::new(address, counters)), Rc::clone)
        };
        Rc::new(Self {
            groups: groups
                .map(|((upstream, addresses), counters)| Group {
                    endpoints: addresses.iter().map(|a| endpoint(*a, counters)).collect(),
                    balance: upstream.balance,
                    turn: Cell::new(0),
                    counters: Arc::clone(counters),
                })
                .collect(),
            sweeper: Rc::clone(sweeper),
            connect_timeout: config.timeouts.connect,
            idle_max: config.limits.upstream_idle_max,
            idle_ms: config.timeouts.upstream_idle.into(),
        })
    }

    pub fn counters(&self, upstream: UpstreamId) -> &UpstreamCounters {
        &self.groups[upstream].counters
    }

    /// A connection to an endpoint of `upstream`: a kept one unless `fresh`, else a new one. Endpoints that refuse are
    /// passed over, up to three; the last one's failure is returned.
    pub async fn checkout(self: &Rc<Self>, upstream: UpstreamId, fresh: bool) -> Result<Lease, Failure> {
        let group = &self.groups[upstream];
        let mut tried = [usize::MAX; CONNECT_ATTEMPTS_MAX];
        let mut last = Failure::Connect;
        for attempt in 0..CONNECT_ATTEMPTS_MAX {
            let Some(index) = self.pick(group, &tried) else { break };
            tried[attempt] = index;
            let endpoint = &group.endpoints[index];
            group.counters.attempts.inc();
            endpoint.in_flight.set(endpoint.in_flight.get() + 1);
            let slot = Slot { pool: Rc::clone(self), group: upstream, endpoint: index };
            if !fresh && let Some(stream) = self.take_idle(group, endpoint) {
                group.counters.reuses.inc();
                return Ok(Lease { stream: Some(stream), reused: true, slot });
            }
            group.counters.connects.inc();
            // Boxed because it is rare and large: every client connection's task would carry its size.
            match Box::pin(Stream::connect(endpoint.address, self.connect_timeout, &self.sweeper)).await {
                Ok(stream) => {
                    endpoint.failed_until_ms.set(0);
                    return Ok(Lease { stream: Some(stream), reused: false, slot });
                }
                Err(error) => {
                    last = match error.kind() {
                        std::io::ErrorKind::TimedOut => Failure::ConnectTimeout,
                        _ => Failure::Connect,
                    };
                    endpoint.failed_until_ms.set(self.sweeper.now_ms() + ENDPOINT_FAILED_MS);
                    group.counters.failures.inc(last.on_primary());
                }
            }
        }
        Err(last)
    }

    fn pick(&self, group: &Group, tried: &[usize]) -> Option<usize> {
        if group.endpoints.len() == 1 {
            return (tried[0] != 0).then_some(0);
        }
        let now = self.sweeper.now_ms();
        let turn = group.turn.get();
        group.turn.set(turn.wrapping_add(1));
        balance::pick(group.balance, turn, group.endpoints.len(), |i| Load {
            in_flight: group.endpoints[i].in_flight.get(),
            failed: group.endpoints[i].failed_until_ms.get() > now,
            tried: tried.contains(&i),
        })
    }

    fn take_idle(&self, group: &Group, endpoint: &Endpoint) -> Option<Stream> {
        loop {
            let idle = endpoint.idle.borrow_mut().pop()?;
            group.counters.idle.add(-1);
            if self.sweeper.now_ms().saturating_sub(idle.since_ms) <= self.idle_ms.0 && idle.stream.is_quiet()
            {
                return Some(idle.stream);
            }
        }
    }

    /// Closes kept connections that are too old or whose peer has ended or broken its silence.
    pub fn reap(&self) {
        let now = self.sweeper.now_ms();
        for group in &self.groups {
            for endpoint in &group.endpoints {
                let mut idle = endpoint.idle.borrow_mut();
                let before = idle.len();
                idle.retain(|i| now.saturating_sub(i.since_ms) <= self.idle_ms.0 && i.stream.is_quiet());
                group.counters.idle.add(idle.len() as i64 - before as i64);
            }
        }
    }
}

impl Endpoint {
    fn new(address: SocketAddr, counters: &Arc<UpstreamCounters>) -> Self {
        Self {
            address,
            idle: RefCell::default(),
            in_flight: Cell::new(0),
            failed_until_ms: Cell::new(0),
            counters: Arc::clone(counters),
        }
    }
}
