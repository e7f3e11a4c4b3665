//! Upstreams in their role as primaries: which endpoint serves an exchange, on a kept connection or a new one.
//!
//! A connection is handed out only if its peer is still there and has said nothing since it was put back; it is put back
//! only by an exchange that proved its message ended at the last byte read (invariant 8). Most recently used first.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use config::{Balance, Config, Ejection, Host, UpstreamId, UpstreamProtocol};

use super::balance::{self, By, Load, Standing};
use super::channels::Channels;
use super::eject::{self, Record, Report};
use super::gate::{Gate, Permit};
use super::health::{Health, HealthBoard};
use crate::buffer::Buffers;
use crate::error::Failure;
use crate::http2::guard;
use crate::io::{self, NotCalled, Sweeper};
use crate::limits::{ENDPOINT_FAILED_MS, WATCH_MS};
use crate::message::client::{Line, Rest};
use crate::message::http2::{self, Called, Place};
use crate::metrics::UpstreamCounters;
use crate::time::Millis;
use crate::tls::client::{Callee, Caller, Calling, callees};

/// Endpoints tried for one exchange before it is given up.
const CONNECT_ATTEMPTS_MAX: usize = 3;

/// All upstreams of one worker in their role as primaries.
#[derive(Debug)]
pub struct Upstreams(Vec<Rc<Group>>);

/// One upstream.
#[derive(Debug)]
struct Group {
    endpoints: Vec<Rc<Endpoint>>,
    /// By endpoint: what keys are hashed against.
    places: Vec<u64>,
    /// By endpoint; empty where nobody checks.
    health: Vec<Arc<Health>>,
    balance: Balance,
    turn: Cell<u64>,
    ejection: Option<Ejection>,
    /// When to look who may come back.
    look_at_ms: Cell<u64>,
    gate: Rc<Gate>,
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

/// One address of an upstream; generations that both have it, and call it alike, share it.
#[derive(Debug)]
struct Endpoint {
    address: SocketAddr,
    callee: Option<Callee>,
    /// On HTTP/2.
    channels: Channels,
    idle: RefCell<Vec<Idle>>,
    in_flight: Cell<usize>,
    failed_until_ms: Cell<u64>,
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
    pub addresses: &'a [Vec<SocketAddr>],
    /// How each address was written.
    pub hosts: &'a [Vec<Host>],
    pub health: &'a HealthBoard,
    pub callings: &'a [Option<Arc<Calling>>],
}

impl Upstreams {
    /// Endpoints that `before` has too keep their connections and their record, and permits that are taken stay taken.
    pub fn new(
        config: &Config,
        at: Whereabouts<'_>,
        counters: &[Arc<UpstreamCounters>],
        sweeper: &Rc<Sweeper>,
        before: Option<&Self>,
    ) -> Rc<Self> {
        let mut groups = Vec::with_capacity(config.upstreams.len());
        let upstreams = config.upstreams.iter().zip(at.addresses).zip(counters);
        for (id, ((upstream, addresses), counters)) in upstreams.enumerate() {
            // The same counters are the same upstream, most often in the same place.
            let is_it = |group: &&Rc<Group>| Arc::ptr_eq(&group.counters, counters);
            let old = before.and_then(|b| b.0.get(id).filter(is_it).or_else(|| b.0.iter().find(is_it)));
            let calling = at.callings.get(id).and_then(Option::as_ref);
            let before = old.and_then(|group| group.caller.as_ref());
            let caller = Caller::after(before, calling, upstream.protocol);
            let hosts = at.hosts.get(id).map(Vec::as_slice).unwrap_or_default();
            let endpoint = |(address, callee): (SocketAddr, Option<Callee>)| {
                let is_it = |e: &&Rc<Endpoint>| {
                    e.address == address && e.callee == callee && e.channels.is_for(upstream.protocol)
                };
                let known = old.and_then(|group| group.endpoints.iter().find(is_it));
                let new = || Rc::new(Endpoint::new(address, callee, upstream.protocol, counters));
                known.map_or_else(new, Rc::clone)
            };
            let (max, pending_max) = (upstream.connections_max, upstream.pending_max);
            let gate = old.map_or_else(|| Gate::new(max, pending_max, counters), |g| Rc::clone(&g.gate));
            gate.change(max, pending_max);
            groups.push(Rc::new(Group {
                endpoints: callees(caller.as_ref(), addresses, hosts).map(endpoint).collect(),
                places: addresses.iter().map(|address| balance::place(*address)).collect(),
                health: at.health.get(id).cloned().unwrap_or_default(),
                balance: upstream.balance,
                // Anywhere, or workers that start together would keep step with each other.
                turn: Cell::new(old.map_or_else(|| sweeper.anywhere(id), |g| g.turn.get())),
                ejection: upstream.ejection.clone(),
                look_at_ms: Cell::new(old.map_or(0, |g| g.look_at_ms.get())),
                gate,
                protocol: upstream.protocol,
                connections_max: max,
                pending_max,
                session: session_limits(config, upstream),
                connect_timeout: upstream.connect_timeout,
                caller,
                idle_max: config.limits.upstream_idle_max,
                idle_ms: upstream.idle_timeout.into(),
                requests_per_connection_max: upstream.requests_per_connection_max,
                counters: Arc::clone(counters),
                sweeper: Rc::clone(sweeper),
            }));
        }
        Rc::new(Self(groups))
    }

    pub fn counters(&self, upstream: UpstreamId) -> &UpstreamCounters {
        &self.0[upstream].counters
    }

    /// Where one exchange looks for its connections to `upstream`. `key`: hash of what the balance goes by, where the
    /// request has it.
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

    /// Closes kept connections that are too old or whose peer has ended or broken its silence; lets endpoints come back
    /// whose ejection is over.
    pub fn reap(&self) {
        for group in &self.0 {
            group.reap();
            group.look();
            group.measure();
        }
    }
}

/// One exchange's way to its connections, through all its tries.
#[derive(Debug)]
pub struct Search {
    all: Rc<Upstreams>,
    group: Rc<Group>,
    buffers: Rc<Buffers>,
    key: Option<u64>,
    /// Whom the last report was about.
    last: Option<usize>,
    /// Whom earlier reports were about: another try goes elsewhere, if there is somewhere.
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
                return Ok(Lease { line: idle.line, reused: true, served, slot, _permit: permit });
            }
            let within = group.patience(deadline_ms);
            if within.is_zero() {
                return Err(Failure::ConnectTimeout);
            }
            group.counters.connects.inc();
            // Boxed because it is rare and large, as above.
            let connect = Line::connect(endpoint.address, endpoint.callee.as_ref(), within, &group.sweeper);
            match Box::pin(connect).await {
                Ok((line, facts)) => {
                    endpoint.failed_until_ms.set(0);
                    facts.iter().for_each(|facts| group.counters.tls.done.inc(facts.kind()));
                    return Ok(Lease { line, reused: false, served: 1, slot, _permit: permit });
                }
                Err(why) => {
                    let is_late = why.is_late();
                    failure = failure_of(&why);
                    group.counters.failures.inc(failure.on_primary());
                    why.tls().iter().for_each(|fault| group.counters.tls.failures.inc(*fault));
                    if let NotCalled::Wire(error) = &why
                        && is_ours(error)
                    {
                        // Descriptors that lie idle are better used, whoever they lead to.
                        let wants_descriptor =
                            matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
                        if wants_descriptor && std::mem::take(&mut may_make_room) && self.all.forget_idle() {
                            io::turn().await;
                            tried[attempt] = usize::MAX;
                        }
                        continue;
                    }
                    // What this exchange had no time left for speaks against nobody.
                    if !is_late || within == group.connect_timeout {
                        endpoint.failed_until_ms.set(group.sweeper.now_ms() + ENDPOINT_FAILED_MS);
                        group.saw(index, Report::Failed);
                    }
                }
            }
        }
        Err(failure)
    }

    /// The same of an upstream that speaks HTTP/2, or may: a place on a connection that others use too.
    async fn checkout_shared(&self, fresh: bool, deadline_ms: u64) -> Result<Lease, Failure> {
        let group = &self.group;
        let end_ms = group.sweeper.now_ms().saturating_add(group.patience(deadline_ms).as_millis() as u64);
        let mut failure = Failure::Overflow;
        let mut may_make_room = true;
        // Who finds no place where there should be one waits again: what there is was less than its peers had let expect.
        for _ in 0..CONNECT_ATTEMPTS_MAX {
            group.measure();
            let permit = match group.gate.take() {
                Some(permit) => permit,
                None => group.wait(group.patience(end_ms)).await?,
            };
            let mut tried = [usize::MAX; CONNECT_ATTEMPTS_MAX];
            let mut attempt = 0;
            let mut is_full = false;
            while attempt < CONNECT_ATTEMPTS_MAX {
                let Some(index) = group.pick(self.key, &tried, &self.avoid) else { break };
                tried[attempt] = index;
                attempt += 1;
                let slot = Slot::new(group, index);
                group.counters.attempts.inc();
                match self.share(slot.endpoint(), fresh, deadline_ms).await {
                    Ok((line, reused, served)) => {
                        return Ok(Lease { line, reused, served, slot, _permit: permit });
                    }
                    Err(Missed::Full) => is_full = true,
                    Err(Missed::NoTime) => return Err(Failure::ConnectTimeout),
                    Err(Missed::Failed { why, is_told, wants_descriptor }) => {
                        failure = why;
                        if wants_descriptor && std::mem::take(&mut may_make_room) && self.all.forget_idle() {
                            io::turn().await;
                            attempt -= 1;
                            tried[attempt] = usize::MAX;
                        } else if is_told {
                            slot.endpoint().failed_until_ms.set(group.sweeper.now_ms() + ENDPOINT_FAILED_MS);
                            group.saw(index, Report::Failed);
                        }
                    }
                }
            }
            if !is_full {
                return Err(failure);
            }
            drop(permit);
            io::turn().await;
        }
        Err(group.overflow())
    }

    /// A line to this endpoint; whether it has carried an exchange before, and how many it has with this one.
    async fn share(
        &self,
        endpoint: &Endpoint,
        fresh: bool,
        deadline_ms: u64,
    ) -> Result<(Line, bool, u64), Missed> {
        let group = &self.group;
        let end_ms = group.sweeper.now_ms().saturating_add(Millis::from(group.connect_timeout).0);
        loop {
            let place = endpoint.channels.place();
            if place.is_none()
                && endpoint.channels.is_http1()
                && !fresh
                && let Some(idle) = group.take_idle(endpoint)
            {
                group.counters.reuses.inc();
                return Ok((idle.line, true, idle.served + 1));
            }
            let within = group.patience(deadline_ms);
            if within.is_zero() || group.sweeper.now_ms() > end_ms {
                return Err(Missed::NoTime);
            }
            let place = match place {
                Some(place) => place,
                None if !group.may_connect(endpoint) => return Err(Missed::Full),
                None => {
                    group.counters.connects.inc();
                    let to = http2::Callee {
                        address: endpoint.address,
                        tls: endpoint.callee.clone(),
                        may_choose: endpoint.channels.chooses(),
                    };
                    let channel = http2::call(to, within, group.session, &self.buffers, &group.sweeper);
                    let place = Place::on(&channel);
                    if !endpoint.channels.is_http1() {
                        endpoint.channels.add(&channel);
                    }
                    place
                }
            };
            let channel = Rc::clone(place.channel());
            let Some(called) = io::within(within, channel.called()).await else {
                let why = Failure::ConnectTimeout;
                group.counters.failures.inc(why.on_primary());
                let is_told = place.is_first() && within == group.connect_timeout;
                return Err(Missed::Failed { why, is_told, wants_descriptor: false });
            };
            channel.take_facts().iter().for_each(|facts| group.counters.tls.done.inc(facts.kind()));
            match called {
                // Its peer takes fewer than were let on it before it had said so.
                Called::Open if channel.is_overfull() => {}
                Called::Open => {
                    endpoint.channels.chose(true);
                    endpoint.channels.add(&channel);
                    endpoint.failed_until_ms.set(0);
                    let reused = !place.is_first();
                    if reused {
                        group.counters.reuses.inc();
                    }
                    return Ok((Line::Http2(place), reused, 1));
                }
                Called::Plain(stream) => {
                    endpoint.channels.chose(false);
                    endpoint.failed_until_ms.set(0);
                    return Ok((Line::Http1(stream), false, 1));
                }
                Called::PlainForAnother => {}
                Called::Failed(why, not_called) => {
                    group.counters.failures.inc(why.on_primary());
                    let mut wants_descriptor = false;
                    let mut is_ours_alone = false;
                    if let Some(why) = &not_called {
                        why.tls().iter().for_each(|fault| group.counters.tls.failures.inc(*fault));
                        if let NotCalled::Wire(error) = why {
                            is_ours_alone = is_ours(error);
                            wants_descriptor =
                                matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
                        }
                    }
                    let speaks = !(why == Failure::ConnectTimeout && within != group.connect_timeout);
                    let is_told = place.is_first() && !is_ours_alone && speaks;
                    return Err(Missed::Failed { why, is_told, wants_descriptor });
                }
            }
        }
    }

    /// What the exchange saw of the endpoint behind `lease`.
    pub fn report(&mut self, lease: &Lease, seen: Report) {
        self.last = Some(lease.slot.index);
        self.group.saw(lease.slot.index, seen);
    }
}

/// A connection in use by one exchange. Dropping it closes it; [`Lease::put_back`] keeps it.
#[derive(Debug)]
pub struct Lease {
    pub line: Line,
    /// It has carried an exchange before, so its peer may be closing it just now.
    pub reused: bool,
    /// Exchanges it has carried with this one.
    served: u64,
    slot: Slot,
    _permit: Permit,
}

impl Lease {
    /// Whom it is to.
    pub fn address(&self) -> SocketAddr {
        self.slot.endpoint().address
    }

    /// Keeps the connection for the next exchange, unless it has carried enough of them. One that is shared is kept anyhow.
    pub fn put_back(self, rest: Rest) {
        let Self { line, served, slot, .. } = self;
        if line.is_shared() {
            return;
        }
        let group = &slot.group;
        let mut idle = slot.endpoint().idle.borrow_mut();
        if served < group.requests_per_connection_max && idle.len() < group.idle_max {
            // One may have been armed for a read that was not pending any more.
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

/// Why an endpoint has no place for an exchange.
enum Missed {
    /// As many are on its connections as may be, and there may not be another one.
    Full,
    NoTime,
    /// The call came to nothing. `is_told`: it speaks against the endpoint, and nobody else says so.
    Failed {
        why: Failure,
        is_told: bool,
        wants_descriptor: bool,
    },
}

/// Counts one exchange in flight on an endpoint.
#[derive(Debug)]
struct Slot {
    group: Rc<Group>,
    index: usize,
}

impl Slot {
    fn new(group: &Rc<Group>, index: usize) -> Self {
        let slot = Self { group: Rc::clone(group), index };
        let in_flight = &slot.endpoint().in_flight;
        in_flight.set(in_flight.get() + 1);
        slot
    }

    fn endpoint(&self) -> &Endpoint {
        &self.group.endpoints[self.index]
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let in_flight = &self.endpoint().in_flight;
        in_flight.set(in_flight.get() - 1);
    }
}

/// What one HTTP/2 connection of an upstream may cost.
fn session_limits(config: &Config, upstream: &config::Upstream) -> guard::Limits {
    let (limits, timeouts, http2) = (&config.limits, &config.timeouts, &config.http2);
    let ms = |duration| Millis::from(duration).0;
    guard::Limits {
        streams_max: http2.streams_max,
        streams_total_max: upstream.requests_per_connection_max,
        head_bytes_max: limits.response_head_bytes_max,
        fields_max: limits.fields_max,
        // A response may be as long as it likes: its client takes it, or it waits.
        stream_bytes_max: u64::MAX,
        stream_window_bytes: http2.stream_window_bytes,
        queued_bytes_max: http2.queued_bytes_max,
        head_ms_max: ms(timeouts.response_head),
        write_ms_max: ms(timeouts.write),
        idle_ms_max: ms(upstream.idle_timeout),
        ping_after_ms: ms(http2.ping_after),
        ping_ms_max: ms(http2.ping_timeout),
        resets_max: http2.resets_max,
        answered_per_reset: http2.requests_per_reset,
        answers_unsent_max: http2.answers_unsent_max,
        settings_max: http2.settings_max,
        block_frames_max: http2.block_frames_max,
        idle_bytes_max: http2.idle_bytes_max,
        idle_bytes_per_second: http2.idle_bytes_per_second,
    }
}

fn failure_of(why: &NotCalled) -> Failure {
    match why {
        _ if why.is_late() => Failure::ConnectTimeout,
        NotCalled::Wire(_) => Failure::Connect,
        NotCalled::Tls(fault) => Failure::Tls(*fault),
    }
}

/// What this process or machine has run out of says nothing of an endpoint.
fn is_ours(error: &std::io::Error) -> bool {
    let exhausted =
        [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EADDRNOTAVAIL, libc::EAGAIN];
    error.raw_os_error().is_some_and(|code| exhausted.contains(&code))
}

impl Group {
    /// How long a connect may take, if all has to be over by `deadline_ms`.
    fn patience(&self, deadline_ms: u64) -> Duration {
        let whole = Millis::from(self.connect_timeout);
        let within = whole.until(deadline_ms, self.sweeper.now_ms());
        if within == whole { self.connect_timeout } else { Duration::from_millis(within.0) }
    }

    async fn wait(&self, within: Duration) -> Result<Permit, Failure> {
        let permit = match self.gate.queue() {
            Ok(wait) => io::within(within, wait).await,
            Err(super::gate::Full) => None,
        };
        permit.ok_or_else(|| self.overflow())
    }

    fn overflow(&self) -> Failure {
        self.counters.overflows.inc();
        self.counters.failures.inc(Failure::Overflow.on_primary());
        Failure::Overflow
    }

    /// Lets as many exchanges in as its connections have places, and those that there may still be.
    fn measure(&self) {
        if self.protocol == UpstreamProtocol::Http1 {
            return;
        }
        let extents = self.endpoints.iter().map(|endpoint| endpoint.channels.extent());
        let (open, places) =
            extents.fold((0, 0_usize), |(open, places), (o, p)| (open + o, places.saturating_add(p)));
        let more = self.connections_max.saturating_sub(open);
        // Connections of an endpoint that chose HTTP/1.1 have one place.
        let each = if self.endpoints.iter().any(|endpoint| endpoint.channels.is_http1()) {
            1
        } else {
            self.session.streams_max
        };
        self.gate.change(places.saturating_add(more.saturating_mul(each)), self.pending_max);
    }

    /// Whether there may be one connection more; one that nobody uses gives way.
    fn may_connect(&self, to: &Endpoint) -> bool {
        if to.channels.is_http1() {
            return true;
        }
        if to.channels.is_shut() {
            return false;
        }
        let open: usize = self.endpoints.iter().map(|endpoint| endpoint.channels.extent().0).sum();
        open < self.connections_max || self.endpoints.iter().any(|endpoint| endpoint.channels.end_idle())
    }

    fn pick(&self, key: Option<u64>, tried: &[usize], avoid: &[usize]) -> Option<usize> {
        let now = self.sweeper.now_ms();
        let turn = self.turn.get();
        let by = match (self.balance, key) {
            (Balance::RoundRobin, _) => By::Turn,
            (Balance::LeastInFlight, _) => By::LeastInFlight,
            (Balance::Random, _) | (Balance::Hash, None) => By::Random,
            (Balance::Hash, Some(key)) => By::Key(key, &self.places),
        };
        let index = balance::pick(by, turn, self.endpoints.len(), |index| Load {
            in_flight: self.endpoints[index].in_flight.get(),
            standing: self.standing(index, tried, avoid, now),
        })?;
        self.turn.set(match by {
            // From the one that was taken: whoever stands behind one that was passed over must not have its turns too.
            By::Turn => index as u64 + 1,
            By::LeastInFlight | By::Random | By::Key(..) => turn.wrapping_add(1),
        });
        if self.is_out(index) {
            self.counters.last_resorts.inc();
        }
        Some(index)
    }

    fn standing(&self, index: usize, tried: &[usize], avoid: &[usize], now_ms: u64) -> Standing {
        if tried.contains(&index) {
            Standing::Tried
        } else if self.is_out(index) {
            Standing::Out
        } else if self.endpoints[index].failed_until_ms.get() > now_ms {
            Standing::Failed
        } else if avoid.contains(&index) {
            Standing::Avoided
        } else {
            Standing::Ready
        }
    }

    fn is_out(&self, index: usize) -> bool {
        self.ejection.is_some() && self.endpoints[index].record.is_ejected()
            || self.health.get(index).is_some_and(|health| !health.is_healthy())
    }

    /// Notes what an exchange saw, and ejects the endpoint where that was too much.
    fn saw(&self, index: usize, seen: Report) {
        let Some(rules) = &self.ejection else { return };
        let record = &self.endpoints[index].record;
        if record.note(rules, seen) && eject::may_eject(rules, self.ejected(), self.endpoints.len()) {
            record.eject(rules, self.sweeper.now_ms());
            self.counters.ejections.inc();
            self.counters.ejected.add(1);
        }
    }

    fn ejected(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.record.is_ejected()).count()
    }

    /// Lets endpoints come back whose time is over; all of them where nobody is ejected any more.
    fn look(&self) {
        let now = self.sweeper.now_ms();
        let Some(rules) = &self.ejection else {
            if self.counters.ejected.get() > 0 {
                let back = self.endpoints.iter().filter(|endpoint| endpoint.record.come_back()).count();
                self.counters.ejected.add(-(back as i64));
            }
            return;
        };
        if self.look_at_ms.get() <= now {
            self.look_at_ms.set(now.saturating_add(Millis::from(rules.interval).0));
            let back = self.endpoints.iter().filter(|endpoint| endpoint.record.look(now)).count();
            self.counters.ejected.add(-(back as i64));
        }
    }

    fn take_idle(&self, endpoint: &Endpoint) -> Option<Idle> {
        loop {
            let now_ms = self.sweeper.now_ms();
            let mut all = endpoint.idle.borrow_mut();
            // The last one, hardly ever another.
            let at = all.iter().rposition(|idle| idle.from_ms <= now_ms)?;
            let idle = all.remove(at);
            drop(all);
            self.counters.idle.add(-1);
            if self.may_use(&idle) {
                return Some(idle);
            }
        }
    }

    fn reap(&self) {
        for endpoint in &self.endpoints {
            let mut idle = endpoint.idle.borrow_mut();
            let before = idle.len();
            idle.retain(|idle| self.may_use(idle));
            self.counters.idle.add(idle.len() as i64 - before as i64);
        }
    }

    /// Neither too old nor gone. The bound on exchanges may have been lowered since.
    fn may_use(&self, idle: &Idle) -> bool {
        self.sweeper.now_ms().saturating_sub(idle.since_ms) <= self.idle_ms.0
            && idle.served < self.requests_per_connection_max
            && idle.line.is_quiet()
    }
}

impl Endpoint {
    fn new(
        address: SocketAddr,
        callee: Option<Callee>,
        protocol: UpstreamProtocol,
        counters: &Arc<UpstreamCounters>,
    ) -> Self {
        Self {
            address,
            callee,
            channels: Channels::new(protocol),
            idle: RefCell::default(),
            in_flight: Cell::new(0),
            failed_until_ms: Cell::new(0),
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
