//! Upstreams in their role as primaries: which endpoint serves an exchange, on a kept connection or a new one.
//!
//! A connection is handed out only if its peer is still there and has said nothing since it was put back; it is put back
//! only by an exchange that proved its message ended at the last byte read (invariant 8). Most recently used first.

mod group;
mod grow;
mod shared;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use config::{Balance, Ejection, Host, UpstreamId, UpstreamProtocol};

use super::channels::{Channels, Extent};
use super::eject::{Record, Report};
use super::failed::Failed;
use super::gate::{Gate, Permit};
use super::health::{Health, HealthBoard};
use crate::address::Address;
use crate::buffer::Buffers;
use crate::error::Failure;
use crate::http2::guard;
use crate::io::{self, NotCalled, Sweeper};
use crate::limits::WATCH_MS;
use crate::message::client::{Line, Rest};
use crate::metrics::UpstreamCounters;
use crate::time::Millis;
use crate::tls::client::{Callee, Caller, Calling};
use crate::tls::fault::Fault;
pub use grow::Growing;

/// Endpoints tried for one exchange before it is given up.
const CONNECT_ATTEMPTS_MAX: usize = 3;

/// Endpoints and upstreams whose kept connections are looked at in one turn.
const REAPED: usize = 256;

/// All upstreams of one worker in their role as primaries.
#[derive(Debug)]
pub struct Upstreams(Vec<Rc<Group>>);

/// An upstream.
#[derive(Debug)]
struct Group {
    endpoints: Vec<Rc<Endpoint>>,
    /// By endpoint: the hash that keys are set against.
    places: Vec<u64>,
    /// By endpoint; empty without checks.
    health: Vec<Arc<Health>>,
    balance: Balance,
    turn: Cell<u64>,
    ejection: Option<Ejection>,
    /// When to look which endpoints may come back.
    look_at_ms: Cell<u64>,
    gate: Rc<Gate>,
    extent: Rc<Extent>,
    /// Of `extent`, from when it comes into force.
    generation: Cell<u64>,
    /// The count of `extent` when the gate was last told.
    measured: Cell<Option<u64>>,
    protocol: UpstreamProtocol,
    connections_max: usize,
    pending_max: usize,
    /// Of an HTTP/2 connection.
    session: guard::Limits,
    connect_timeout: Duration,
    /// `None` is called in plaintext.
    caller: Option<Rc<Caller>>,
    idle_max: usize,
    idle_ms: Millis,
    requests_per_connection_max: u64,
    counters: Arc<UpstreamCounters>,
    sweeper: Rc<Sweeper>,
}

/// An address of an upstream; generations that both have it, and call it alike, share it.
#[derive(Debug)]
struct Endpoint {
    address: Address,
    callee: Option<Callee>,
    /// On HTTP/2.
    channels: Channels,
    idle: RefCell<Vec<Idle>>,
    in_flight: Cell<usize>,
    failed: Failed,
    record: Record,
    counters: Arc<UpstreamCounters>,
}

#[derive(Debug)]
struct Idle {
    line: Line,
    since_ms: u64,
    /// Not used before.
    from_ms: u64,
    /// Exchanges it has carried.
    served: u64,
}

/// Where upstreams are, and how they are called: by `UpstreamId`.
#[derive(Debug, Clone, Copy)]
pub struct Whereabouts<'a> {
    pub addresses: &'a [Vec<Address>],
    /// How each address was written.
    pub hosts: &'a [Vec<Host>],
    pub health: &'a HealthBoard,
    pub callings: &'a [Option<Arc<Calling>>],
}

impl Upstreams {
    pub fn counters(&self, upstream: UpstreamId) -> &UpstreamCounters {
        &self.0[upstream].counters
    }

    /// Begins an exchange's search for connections to `upstream`. `key`: hash of the balance's key, where the request has it.
    pub fn search(self: &Rc<Self>, upstream: UpstreamId, key: Option<u64>, buffers: &Rc<Buffers>) -> Search {
        let (all, group) = (Rc::clone(self), Rc::clone(&self.0[upstream]));
        Search { all, group, buffers: Rc::clone(buffers), key, last: None, avoid: Vec::new() }
    }

    /// Closes every kept connection; whether there was one.
    fn forget_idle(&self) -> bool {
        let mut closed = 0;
        for group in &self.0 {
            let idle: Vec<Idle> = group.endpoints.iter().flat_map(|endpoint| endpoint.idle.take()).collect();
            group.counters.idle.add(-(idle.len() as i64));
            closed += idle.len();
            closed += group.endpoints.iter().map(|endpoint| endpoint.channels.end_all_idle()).sum::<usize>();
        }
        closed > 0
    }

    /// No exchange has a permit, or a connection for itself where they may be shared.
    #[cfg(test)]
    pub fn are_at_rest(&self) -> bool {
        self.0.iter().all(|group| group.gate.is_free() && group.extent.plain.get() == 0)
    }

    /// Closes kept connections that are too old or whose peer has ended or broken its silence; lets endpoints come back
    /// whose ejection is over. In turns.
    pub async fn reap(&self) {
        let mut endpoints = 0;
        for group in &self.0 {
            group.reap();
            group.look();
            group.measure();
            endpoints += group.endpoints.len() + 1;
            if endpoints >= REAPED {
                endpoints = 0;
                io::turn().await;
            }
        }
    }
}

/// An exchange's search for connections, through all its tries.
#[derive(Debug)]
pub struct Search {
    all: Rc<Upstreams>,
    group: Rc<Group>,
    buffers: Rc<Buffers>,
    key: Option<u64>,
    /// The endpoint that the last report was about.
    last: Option<usize>,
    /// Endpoints that earlier reports were about: another try goes elsewhere, if there is somewhere.
    avoid: Vec<usize>,
}

impl Search {
    /// A connection to an endpoint: a kept one unless `fresh`, else a new one. Endpoints that refuse are passed over, up
    /// to three; the last one's failure is returned. Where all connections are in use it waits its turn, for as long as a
    /// connect may take. Nothing is waited for beyond `deadline_ms` of the worker's clock.
    pub async fn checkout(&mut self, fresh: bool, deadline_ms: u64) -> Result<Lease, Failure> {
        // Not earlier, so that nothing is allocated for an exchange that is content with its first try.
        self.avoid.extend(self.last.take());
        let group = &self.group;
        if group.protocol != UpstreamProtocol::Http1 {
            // Boxed because HTTP/1.1's exchanges must not carry its size.
            return Box::pin(self.checkout_shared(fresh, deadline_ms)).await;
        }
        let permit = match group.gate.take() {
            Some(permit) => permit,
            // Boxed because it is rare: every client connection's task would carry its size.
            None => Box::pin(group.wait(group.patience(deadline_ms))).await?,
        };
        let mut tried = [usize::MAX; CONNECT_ATTEMPTS_MAX];
        let mut failure = Failure::Connect;
        let mut may_make_room = true;
        for attempt in 0..CONNECT_ATTEMPTS_MAX {
            let Some(index) = group.pick(self.key, &tried, &self.avoid) else { break };
            tried[attempt] = index;
            let slot = Slot::new(group, index);
            let endpoint = slot.endpoint();
            group.counters.attempts.inc();
            if !fresh && let Some(idle) = group.take_idle(endpoint) {
                group.counters.reuses.inc();
                let served = idle.served + 1;
                return Ok(Lease { line: idle.line, reused: true, served, slot, permit: Some(permit) });
            }
            let within = group.patience(deadline_ms);
            if within.is_zero() {
                return Err(Failure::ConnectTimeout);
            }
            if let Some(fault) = endpoint.failed.is_in_vain(group.sweeper.now_ms()) {
                failure = Failure::Tls(fault);
                group.counters.failures.inc(failure.on_primary());
                group.saw(index, Report::Failed);
                continue;
            }
            group.counters.connects.inc();
            // Boxed because it is rare and large, as above.
            let connect = Line::connect(endpoint.address, endpoint.callee.as_ref(), within, &group.sweeper);
            match Box::pin(connect).await {
                Ok((line, facts)) => {
                    endpoint.failed.is_over();
                    facts.iter().for_each(|facts| group.counters.tls.done.inc(facts.kind()));
                    return Ok(Lease { line, reused: false, served: 1, slot, permit: Some(permit) });
                }
                Err(why) => {
                    let is_late = why.is_late();
                    failure = failure_of(&why);
                    group.counters.failures.inc(failure.on_primary());
                    why.tls().iter().for_each(|fault| group.counters.tls.failures.inc(*fault));
                    if let NotCalled::Wire(error) = &why
                        && is_ours(error)
                    {
                        // Descriptors that lie idle are better used, whichever endpoint they lead to.
                        let wants_descriptor =
                            matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
                        if wants_descriptor && std::mem::take(&mut may_make_room) && self.all.forget_idle() {
                            io::turn().await;
                            tried[attempt] = usize::MAX;
                        }
                        continue;
                    }
                    // A connect that this exchange had no time left for speaks against no endpoint.
                    if !is_late || within == group.connect_timeout {
                        endpoint.failed.begins(why.tls(), group.sweeper.now_ms());
                        group.saw(index, Report::Failed);
                    }
                }
            }
        }
        Err(failure)
    }

    /// The endpoint behind `lease` refused the handshake after it seemed to be done: the next would end alike.
    pub fn refused(&self, lease: &Lease, fault: Fault) {
        lease.slot.endpoint().failed.begins(Some(fault), self.group.sweeper.now_ms());
    }

    /// Takes the exchange's report on the endpoint behind `lease`.
    pub fn report(&mut self, lease: &Lease, seen: Report) {
        self.last = Some(lease.slot.index());
        self.group.saw(lease.slot.index(), seen);
    }
}

/// A connection in use by one exchange. Dropping it closes it; [`Lease::put_back`] keeps it.
#[derive(Debug)]
pub struct Lease {
    pub line: Line,
    /// The connection has carried an exchange before and rested, so its peer may be closing it just now.
    pub reused: bool,
    /// Exchanges it has carried with this one.
    served: u64,
    slot: Slot,
    permit: Option<Permit>,
}

impl Lease {
    /// The endpoint it is to.
    pub fn address(&self) -> Address {
        self.slot.endpoint().address
    }

    /// Turns the lease into a tunnel's, which counts apart; on a connection that others use too it keeps its place.
    pub fn without_permit(self) -> Self {
        let Self { line, reused, served, slot, permit } = self;
        line.clear_deadlines();
        let permit = permit.filter(|_| line.is_shared());
        Self { line, reused, served, slot, permit }
    }

    /// Keeps the connection for the next exchange, unless it has carried enough of them. One that is shared is kept anyhow.
    pub fn put_back(self, rest: Rest) {
        let Self { line, served, slot, .. } = self;
        if line.is_shared() {
            // First, so that the permit is handed on to an exchange that finds a place.
            return drop(line);
        }
        let group = &slot.group;
        let mut idle = slot.endpoint().idle.borrow_mut();
        if served < group.requests_per_connection_max && idle.len() < group.idle_max {
            // A deadline may have been armed for a read that was not pending any more.
            line.clear_deadlines();
            let since_ms = group.sweeper.now_ms();
            let from_ms = match rest {
                Rest::Over => since_ms,
                Rest::Watched => since_ms + WATCH_MS,
            };
            idle.push(Idle { line, since_ms, from_ms, served });
            group.counters.idle.add(1);
        }
    }
}

/// Counts one exchange in flight on an endpoint.
#[derive(Debug)]
struct Slot {
    group: Rc<Group>,
    index: u32,
    /// The lease has a connection of the upstream for itself, where it might be shared.
    has_plain: Cell<bool>,
}

impl Slot {
    fn new(group: &Rc<Group>, index: usize) -> Self {
        // invariant: an upstream has fewer endpoints than that.
        let index = u32::try_from(index).expect("four thousand millions");
        let slot = Self { group: Rc::clone(group), index, has_plain: Cell::new(false) };
        let in_flight = &slot.endpoint().in_flight;
        in_flight.set(in_flight.get() + 1);
        slot
    }

    fn endpoint(&self) -> &Endpoint {
        &self.group.endpoints[self.index()]
    }

    fn index(&self) -> usize {
        self.index as usize
    }

    /// Whether it has a connection for itself from now on.
    fn has_plain(&self, does: bool) {
        let plain = &self.group.extent.plain;
        match (self.has_plain.replace(does), does) {
            (false, true) => plain.set(plain.get() + 1),
            (true, false) => plain.set(plain.get().saturating_sub(1)),
            (true, true) | (false, false) => {}
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.has_plain(false);
        let in_flight = &self.endpoint().in_flight;
        in_flight.set(in_flight.get() - 1);
        // A connection that drains has a place less.
        self.group.measure();
    }
}

fn failure_of(why: &NotCalled) -> Failure {
    match why {
        _ if why.is_late() => Failure::ConnectTimeout,
        NotCalled::Wire(_) => Failure::Connect,
        NotCalled::Tls(fault) => Failure::Tls(*fault),
    }
}

/// A shortage of this process or machine says nothing of an endpoint.
fn is_ours(error: &std::io::Error) -> bool {
    let exhausted =
        [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EADDRNOTAVAIL, libc::EAGAIN];
    error.raw_os_error().is_some_and(|code| exhausted.contains(&code))
}

impl Endpoint {
    fn new(
        address: Address,
        callee: Option<Callee>,
        protocol: UpstreamProtocol,
        (extent, counters): (&Rc<Extent>, &Arc<UpstreamCounters>),
    ) -> Self {
        Self {
            address,
            callee,
            channels: Channels::new(protocol, extent),
            idle: RefCell::default(),
            in_flight: Cell::new(0),
            failed: Failed::default(),
            record: Record::default(),
            counters: Arc::clone(counters),
        }
    }
}

impl Drop for Endpoint {
    /// With the last configuration that named it go its kept connections.
    fn drop(&mut self) {
        self.counters.idle.add(-(self.idle.get_mut().len() as i64));
        self.counters.ejected.add(-i64::from(self.record.is_ejected()));
    }
}
