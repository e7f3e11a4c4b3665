//! A mirror's ring on one worker, and the state that its two sides share: the sleeping shippers, the waiting copies, whether
//! the mirror can be reached. Offering a copy never waits and never fails the exchange that offers.
//!
//! The lane knows no socket and no runtime; time is the worker's coarse milliseconds, handed in.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use config::{Config, DropPolicy, Host, UpstreamProtocol};

use super::copy::RequestCopy;
use super::endpoint::Endpoint;
use super::pacer::Pacer;
use super::ring::{Full, Ring};
use crate::address::Address;
use crate::http1::response::HeadLimits;
use crate::http2::guard;
use crate::limits::{ANSWER_BYTES_PER_SECOND, EXPIRED_PER_PUSH, MIRROR_IDLE_MS};
use crate::message::http2;
use crate::metrics::{DropReason, LaneCounters};
use crate::rate::Bucket;
use crate::tls::client::{Callee, Caller, Calling, callees};

/// Ring, shippers' sleepers and endpoints of one mirror on one worker.
#[derive(Debug)]
pub struct Lane {
    ring: RefCell<Ring<RequestCopy>>,
    policy: DropPolicy,
    /// A copy that can become stale has been offered.
    has_ttl: Cell<bool>,
    /// Shippers without work, the last to fall asleep last.
    sleepers: RefCell<Vec<Sleeper>>,
    /// By shipper: woken, and not yet awake.
    woken: RefCell<Vec<bool>>,
    /// A shipper has been woken for the copies now in the ring.
    waking: Cell<bool>,
    /// A connect to an endpoint that last refused is under way; one at a time is enough to learn.
    pub probing: Cell<bool>,
    endpoints: RefCell<Vec<Rc<Endpoint>>>,
    /// The protocol that they are spoken to in.
    protocol: Cell<UpstreamProtocol>,
    /// `None` calls them in plaintext.
    caller: RefCell<Option<Rc<Caller>>>,
    turn: Cell<usize>,
    /// Shippers that have not ended.
    shippers: Cell<usize>,
    /// The worker's last generation that has it, from 1; 0 before the first.
    generation: Cell<u64>,
    /// No more copies come: a shipper that finds none waiting ends.
    last_call: Cell<bool>,
    /// Its copies are written to files: nothing has to be reached.
    captures: bool,
    /// No shipper takes from it any more.
    closed: Cell<bool>,
    /// The limits of a response's head by the configuration in force.
    pub response_heads: Cell<HeadLimits>,
    /// The limits of an HTTP/2 connection by it.
    pub session: Cell<guard::Limits>,
    /// Bytes that may be read of long responses: short ones are not counted.
    answers: Bucket,
    /// The pace at which they are read.
    pub pacer: Pacer,
    pub counters: Arc<LaneCounters>,
}

/// Where a lane's mirror is, and how it is called.
#[derive(Debug, Clone, Copy)]
pub struct Whereabouts<'a> {
    pub addresses: &'a [Address],
    /// How each address was written.
    pub hosts: &'a [Host],
    pub calling: Option<&'a Arc<Calling>>,
    pub protocol: UpstreamProtocol,
}

/// A sleeping shipper.
#[derive(Debug)]
struct Sleeper {
    shipper: usize,
    /// The shipper can send at once; one that cannot is woken only where no such sleeps.
    has_connection: bool,
    waker: Waker,
}

impl Lane {
    pub fn new(lane: &config::Lane, at: Whereabouts<'_>, counters: &Arc<LaneCounters>) -> Self {
        let caller = Caller::after(None, at.calling, at.protocol);
        let endpoints = callees(caller.as_ref(), at.addresses, at.hosts);
        Self {
            ring: RefCell::new(Ring::new(lane.ring_entries_max, lane.ring_bytes_max)),
            policy: lane.drop,
            has_ttl: Cell::new(false),
            sleepers: RefCell::default(),
            woken: RefCell::new(vec![false; lane.connections_max]),
            waking: Cell::new(false),
            probing: Cell::new(false),
            endpoints: RefCell::new(endpoints.map(|at| Rc::new(Endpoint::new(at))).collect()),
            protocol: Cell::new(at.protocol),
            caller: RefCell::new(caller),
            turn: Cell::new(0),
            shippers: Cell::new(0),
            generation: Cell::new(0),
            last_call: Cell::new(false),
            captures: lane.capture.is_some(),
            closed: Cell::new(false),
            response_heads: Cell::default(),
            session: Cell::default(),
            answers: Bucket::new(ANSWER_BYTES_PER_SECOND, 1),
            pacer: Pacer::default(),
            counters: Arc::clone(counters),
        }
    }

    /// Takes over the limits of responses and connections in the configuration in force.
    pub fn follow(&self, config: &Config, settings: &config::Lane) {
        self.response_heads.set((&config.limits).into());
        if let Some(upstream) = config.upstreams.get(settings.upstream) {
            let limits = http2::limits_to(config, upstream);
            let streams_max = settings.pipeline_max;
            self.session.set(guard::Limits { streams_max, idle_ms_max: MIRROR_IDLE_MS, ..limits });
        }
    }

    /// Counts `bytes` of long answers against the budget of reading them.
    pub fn spend(&self, bytes: u64, now_ms: u64) {
        if bytes > 0 {
            self.answers.spend(bytes, now_ms);
        }
    }

    /// More has been read of long answers than may be: they are cut, and no copy goes out, until that is made up for.
    pub fn rests(&self, now_ms: u64) -> bool {
        self.answers.is_overspent(now_ms)
    }

    /// Whether a copy is worth taking at all right now, known before anything is copied.
    pub fn would_drop(&self, now_ms: u64) -> Option<DropReason> {
        if !self.is_reachable(now_ms) {
            return Some(DropReason::Unreachable);
        }
        self.expire(now_ms);
        match (self.policy, self.ring.borrow().room_for(0)) {
            (DropPolicy::Newest, Err(Full::Entries)) => Some(DropReason::RingEntries),
            (DropPolicy::Newest, Err(Full::Bytes) | Ok(())) | (DropPolicy::Oldest, _) => None,
        }
    }

    /// Queues a copy that keeps `bytes` alive, or gives up one by the lane's policy; calls a shipper.
    pub fn offer(&self, mut copy: RequestCopy, bytes: usize, now_ms: u64) {
        if self.closed.get() {
            return copy.ticket.drop(DropReason::Drain);
        }
        if !self.is_reachable(now_ms) {
            return copy.ticket.drop(DropReason::Unreachable);
        }
        copy.ticket.wait();
        if copy.stale_ms < u64::MAX {
            self.has_ttl.set(true);
        }
        self.expire(now_ms);
        let mut ring = self.ring.borrow_mut();
        let pushed = match self.policy {
            DropPolicy::Newest => ring.push(copy, bytes),
            DropPolicy::Oldest => ring.push_evicting(copy, bytes, |old| old.ticket.drop(DropReason::Oldest)),
        };
        self.show(&ring);
        drop(ring);
        match pushed {
            Ok(()) => self.wake_one(),
            Err((copy, Full::Entries)) => copy.ticket.drop(DropReason::RingEntries),
            Err((copy, Full::Bytes)) => copy.ticket.drop(DropReason::RingBytes),
        }
    }

    /// Sets `bytes` aside for a copy being taken, by the lane's policy; `false` where the ring's budget is spent.
    pub fn reserve(&self, bytes: usize) -> bool {
        let mut ring = self.ring.borrow_mut();
        let reserved = match self.policy {
            DropPolicy::Newest => ring.reserve(bytes),
            DropPolicy::Oldest => ring.reserve_evicting(bytes, |old| old.ticket.drop(DropReason::Oldest)),
        };
        self.show(&ring);
        reserved.is_ok()
    }

    pub fn release(&self, bytes: usize) {
        self.ring.borrow_mut().release(bytes);
    }

    pub fn is_empty(&self) -> bool {
        self.ring.borrow().is_empty()
    }

    /// Takes the oldest copy if `fits` says so.
    pub fn take_if(&self, fits: impl FnOnce(&RequestCopy) -> bool) -> Option<RequestCopy> {
        let mut ring = self.ring.borrow_mut();
        if !fits(ring.peek()?) {
            return None;
        }
        let copy = ring.pop().map(|(copy, _)| copy);
        self.show(&ring);
        copy
    }

    /// Takes the oldest copy, and says how many bytes it keeps alive.
    pub fn take_weighed(&self) -> Option<(RequestCopy, usize)> {
        let mut ring = self.ring.borrow_mut();
        let taken = ring.pop();
        self.show(&ring);
        taken
    }

    /// As [`Self::take_if`], of one that is under way beside others: its bytes go on counting against the ring.
    pub fn take_reserved_if(
        self: &Rc<Self>,
        fits: impl FnOnce(&RequestCopy) -> bool,
    ) -> Option<(RequestCopy, Reserved)> {
        let mut ring = self.ring.borrow_mut();
        if !fits(ring.peek()?) {
            return None;
        }
        let (copy, bytes) = ring.pop()?;
        let reserved = ring.reserve(bytes);
        debug_assert!(reserved.is_ok(), "as much was just given back");
        self.show(&ring);
        let bytes = reserved.map_or(0, |()| bytes);
        Some((copy, Reserved { lane: Rc::clone(self), bytes }))
    }

    /// Gives up copies that have waited too long at the ring's front, a bounded number: a ring that no shipper takes from must
    /// not stay full of copies that will never be sent.
    fn expire(&self, now_ms: u64) {
        if !self.has_ttl.get() {
            return;
        }
        for _ in 0..EXPIRED_PER_PUSH {
            match self.take_if(|copy| copy.stale_ms <= now_ms) {
                Some(copy) => copy.ticket.drop(DropReason::Stale),
                None => return,
            }
        }
    }

    /// How full the ring is, by entries or bytes.
    pub fn ring_percent(&self) -> u64 {
        self.ring.borrow().percent()
    }

    /// Gives up everything that waits; returns how many.
    pub fn flush(&self, why: DropReason) -> usize {
        let mut given_up = 0;
        while let Some(copy) = self.take_if(|_| true) {
            copy.ticket.drop(why);
            given_up += 1;
        }
        given_up
    }

    fn show(&self, ring: &Ring<RequestCopy>) {
        self.counters.ring_entries.set(ring.len() as i64);
        self.counters.ring_bytes.set(ring.bytes() as i64);
    }

    // === Sleeping and waking ===

    /// Wakes one sleeping shipper unless one is already on its way.
    pub fn wake_one(&self) {
        if self.waking.get() {
            return;
        }
        let mut sleepers = self.sleepers.borrow_mut();
        let Some(last) = sleepers.len().checked_sub(1) else { return };
        let best = sleepers.iter().rposition(|sleeper| sleeper.has_connection).unwrap_or(last);
        let sleeper = sleepers.remove(best);
        self.waking.set(true);
        self.woken.borrow_mut()[sleeper.shipper] = true;
        sleeper.waker.wake();
    }

    /// Wakes every sleeping shipper: a reap or a drain.
    pub fn wake_all(&self) {
        for sleeper in self.sleepers.take() {
            self.woken.borrow_mut()[sleeper.shipper] = true;
            sleeper.waker.wake();
        }
    }

    /// Sleeps until woken.
    pub async fn sleep(&self, shipper: usize, has_connection: bool) {
        poll_fn(|cx| {
            if std::mem::take(&mut self.woken.borrow_mut()[shipper]) {
                return Poll::Ready(());
            }
            let mut sleepers = self.sleepers.borrow_mut();
            match sleepers.iter_mut().find(|sleeper| sleeper.shipper == shipper) {
                Some(sleeper) => sleeper.waker.clone_from(cx.waker()),
                None => sleepers.push(Sleeper { shipper, has_connection, waker: cx.waker().clone() }),
            }
            Poll::Pending
        })
        .await;
    }

    /// A shipper got up by itself. If it was woken meanwhile, that was for nothing: the next copy wakes another.
    pub fn rise(&self, shipper: usize) {
        self.sleepers.borrow_mut().retain(|sleeper| sleeper.shipper != shipper);
        if std::mem::take(&mut self.woken.borrow_mut()[shipper]) {
            self.awake();
        }
    }

    /// A shipper serves the lane from now on.
    pub fn begin_shipper(&self) {
        self.shippers.set(self.shippers.get() + 1);
    }

    /// A shipper has ended.
    pub fn end_shipper(&self) {
        debug_assert!(self.shippers.get() > 0, "only a shipper that began can end");
        self.shippers.set(self.shippers.get().saturating_sub(1));
    }

    /// Shippers that serve it.
    pub fn shippers(&self) -> usize {
        self.shippers.get()
    }

    /// Notes that a worker's `generation`th generation has it; whether an earlier one had it too.
    pub fn goes_on_in(&self, generation: u64) -> bool {
        self.generation.replace(generation) > 0
    }

    /// The last generation that has it.
    pub fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Whether a shipper is left that has to be told that the end is near.
    pub fn has_shippers(&self) -> bool {
        self.shippers.get() > 0
    }

    /// Tells the shippers that no more copies come: they send the waiting ones, and end.
    pub fn call_last(&self) {
        self.last_call.set(true);
        self.wake_all();
    }

    pub fn is_last_call(&self) -> bool {
        self.last_call.get()
    }

    /// Gives up the waiting copies and all that may still come; returns how many waited.
    pub fn close(&self) -> usize {
        self.closed.set(true);
        self.call_last();
        self.flush(DropReason::Drain)
    }

    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// A shipper is awake and looks at the ring: the next copy may wake another.
    pub fn awake(&self) {
        self.waking.set(false);
    }

    // === Endpoints ===

    /// Reachable: at least one endpoint has a connection, may be tried now, or has not refused twice in a row.
    pub(super) fn is_reachable(&self, now_ms: u64) -> bool {
        self.captures || self.endpoints.borrow().iter().any(|endpoint| endpoint.is_reachable(now_ms))
    }

    /// The mirror is there from now on; whether it was elsewhere. The state of endpoints that stay, and are called as before,
    /// is kept; connections to others end with the batch they carry.
    pub fn relocate(&self, at: Whereabouts<'_>) -> bool {
        let caller = Caller::after(self.caller.borrow().as_ref(), at.calling, at.protocol);
        let is_plain = caller.is_none() && self.caller.borrow().is_none();
        let speaks_the_same = self.protocol.replace(at.protocol) == at.protocol;
        if speaks_the_same && is_plain && self.endpoints.borrow().iter().map(|e| &e.address).eq(at.addresses)
        {
            return false;
        }
        let mut endpoints = self.endpoints.borrow_mut();
        let before: HashMap<Address, &Rc<Endpoint>> = endpoints.iter().map(|e| (e.address, e)).collect();
        let known = |(address, callee): (Address, Option<Callee>)| {
            let is_it = |of: &&&Rc<Endpoint>| speaks_the_same && of.callee == callee;
            let same = before.get(&address).filter(is_it);
            same.map_or_else(|| Rc::new(Endpoint::new((address, callee))), |same| Rc::clone(same))
        };
        let next: Vec<_> = callees(caller.as_ref(), at.addresses, at.hosts).map(known).collect();
        let stay: HashSet<*const Endpoint> = next.iter().map(Rc::as_ptr).collect();
        let gone = endpoints.iter().filter(|old| !stay.contains(&Rc::as_ptr(old)));
        gone.for_each(|endpoint| endpoint.leave());
        *endpoints = next;
        self.caller.replace(caller);
        true
    }

    /// The protocol that its mirror is spoken to in.
    pub fn protocol(&self) -> UpstreamProtocol {
        self.protocol.get()
    }

    /// The next endpoint in turn that may be connected to now.
    pub fn pick(&self, now_ms: u64) -> Option<Rc<Endpoint>> {
        let endpoints = self.endpoints.borrow();
        let n = endpoints.len();
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let mut in_turn = (0..n).filter_map(|i| endpoints.get(turn.wrapping_add(i) % n));
        in_turn.find(|endpoint| endpoint.may_connect(now_ms)).cloned()
    }

    /// After a refusal: if no endpoint is left, everything that waits is given up.
    pub fn flush_if_unreachable(&self, now_ms: u64) {
        if !self.is_reachable(now_ms) {
            self.flush(DropReason::Unreachable);
        }
    }
}

/// Bytes set aside in a ring's budget: of content being held for a copy that is not in its ring, or that is under way.
#[derive(Debug)]
pub struct Reserved {
    lane: Rc<Lane>,
    bytes: usize,
}

impl Reserved {
    /// A reservation of no bytes yet.
    pub fn new(lane: &Rc<Lane>) -> Self {
        Self { lane: Rc::clone(lane), bytes: 0 }
    }

    pub fn lane(&self) -> &Rc<Lane> {
        &self.lane
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the ring's budget had so much more.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let reserved = self.lane.reserve(bytes);
        if reserved {
            self.bytes += bytes;
        }
        reserved
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.lane.release(self.bytes);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::ledger::Ticket;
    use super::*;
    use crate::limits::{HANG_UPS_MAX, MIRROR_BACKOFF_MS_MAX};
    use crate::metrics::MirrorCounters;

    /// Room for eight copies and a mebibyte.
    pub(in crate::mirror) fn lane() -> Lane {
        lane_of(8, 1 << 20, DropPolicy::Newest)
    }

    fn lane_of(entries: usize, bytes: usize, drop: DropPolicy) -> Lane {
        let lane = config::Lane {
            name: "v2".into(),
            upstream: 0,
            capture: None,
            ring_entries_max: entries,
            ring_bytes_max: bytes,
            drop,
            connect_timeout: std::time::Duration::from_secs(1),
            timeout: std::time::Duration::from_secs(1),
            connections_max: 2,
            pipeline_max: 32,
            response_bytes_max: 1,
        };
        Lane::new(&lane, at(&["127.0.0.1:1".parse().unwrap()]), &Arc::default())
    }

    fn at(addresses: &[Address]) -> Whereabouts<'_> {
        Whereabouts { addresses, hosts: &[], calling: None, protocol: UpstreamProtocol::Http1 }
    }

    fn copy(counters: &Arc<MirrorCounters>, stale_ms: u64) -> RequestCopy {
        let ticket = Ticket::open(counters);
        let (head, pieces) = (Vec::new(), Vec::new());
        RequestCopy { head, pieces, to_head: false, stale_ms, tries: 0, unsearched: None, ticket }
    }

    fn offer(lane: &Lane, counters: &Arc<MirrorCounters>, bytes: usize) {
        lane.offer(copy(counters, u64::MAX), bytes, 0);
    }

    #[test]
    fn a_full_lane_drops_by_its_policy_and_counts_why() {
        let counters = Arc::new(MirrorCounters::default());
        let newest = lane_of(2, 100, DropPolicy::Newest);
        [60, 60, 10, 10].into_iter().for_each(|bytes| offer(&newest, &counters, bytes));
        assert_eq!(counters.dropped.get(DropReason::RingBytes), 1);
        assert_eq!(counters.dropped.get(DropReason::RingEntries), 1);
        assert_eq!(newest.would_drop(0), Some(DropReason::RingEntries));
        let oldest = lane_of(2, 100, DropPolicy::Oldest);
        [60, 60, 10, 10, 101].into_iter().for_each(|bytes| offer(&oldest, &counters, bytes));
        assert_eq!(counters.dropped.get(DropReason::Oldest), 2);
        assert_eq!(counters.dropped.get(DropReason::RingBytes), 2);
        assert_eq!(newest.counters.ring_bytes.get(), 70);
        assert_eq!(newest.flush(DropReason::Drain) + oldest.flush(DropReason::Drain), 4);
        assert_eq!(counters.waiting.get(), 0);
    }

    #[test]
    fn a_full_ring_that_nobody_takes_from_makes_room_of_what_became_stale() {
        let counters = Arc::new(MirrorCounters::default());
        let lane = lane_of(4, 100, DropPolicy::Newest);
        (0..4).for_each(|_| lane.offer(copy(&counters, 1000), 1, 0));
        assert_eq!(lane.would_drop(999), Some(DropReason::RingEntries));
        assert_eq!(lane.would_drop(1000), None);
        assert_eq!(counters.dropped.get(DropReason::Stale), EXPIRED_PER_PUSH as u64);
        lane.offer(copy(&counters, 2000), 1, 1000);
        assert_eq!(counters.dropped.get(DropReason::Stale), 2 * EXPIRED_PER_PUSH as u64);
        assert_eq!((counters.waiting.get(), lane.ring_percent()), (1, 25));
    }

    #[test]
    fn an_endpoint_that_refuses_twice_makes_the_lane_unreachable_until_its_pause_is_over() {
        let counters = Arc::new(MirrorCounters::default());
        let lane = lane_of(8, 100, DropPolicy::Newest);
        let endpoint = lane.pick(0).unwrap();
        endpoint.refused(0);
        assert_eq!(lane.would_drop(0), None);
        assert!(lane.pick(0).is_none());
        endpoint.refused(0);
        assert_eq!(lane.would_drop(0), Some(DropReason::Unreachable));
        offer(&lane, &counters, 1);
        assert_eq!(counters.dropped.get(DropReason::Unreachable), 1);
        assert_eq!(lane.would_drop(MIRROR_BACKOFF_MS_MAX), None);
        endpoint.connected();
        assert!(Rc::ptr_eq(&lane.pick(0).unwrap(), &endpoint));
        // A mirror that takes one connection and refuses more is reachable by the one.
        (0..3).for_each(|_| endpoint.refused(0));
        assert_eq!(lane.would_drop(0), None);
        endpoint.closed();
        assert_eq!(lane.would_drop(0), Some(DropReason::Unreachable));
    }

    #[test]
    fn an_endpoint_that_does_nothing_but_hang_up_is_called_seldom_until_it_answers() {
        let lane = lane_of(8, 100, DropPolicy::Newest);
        let endpoint = lane.pick(0).unwrap();
        let calls = || {
            endpoint.connected();
            endpoint.closed();
            endpoint.hung_up(0);
            lane.pick(0).is_some()
        };
        assert_eq!((0..2 * HANG_UPS_MAX).take_while(|_| calls()).count(), HANG_UPS_MAX as usize - 1);
        assert!(lane.pick(MIRROR_BACKOFF_MS_MAX).is_some() && !calls(), "once it may be tried again");
        endpoint.answers();
        assert!(lane.pick(0).is_some());
    }

    #[test]
    fn a_lane_that_moves_keeps_what_waits_and_what_it_knows_of_addresses_that_stay() {
        let counters = Arc::new(MirrorCounters::default());
        let lane = lane_of(8, 100, DropPolicy::Newest);
        offer(&lane, &counters, 1);
        let [first, second] = ["127.0.0.1:1", "127.0.0.1:2"].map(|a| a.parse().unwrap());
        let old = lane.pick(0).unwrap();
        old.refused(0);
        lane.relocate(at(&[first, second]));
        assert!((0..4).all(|_| lane.pick(0).unwrap().address == second), "the first still has its pause");
        lane.relocate(at(&[second]));
        assert!(old.is_gone() && !lane.pick(0).unwrap().is_gone());
        assert!(!lane.is_empty());
        lane.relocate(at(&[]));
        assert!(lane.pick(0).is_none());
        assert_eq!(lane.would_drop(0), Some(DropReason::Unreachable));
    }
}
