//! Places for exchanges on connections that many of them share: HTTP/2, or the protocol that an endpoint chooses in the
//! handshake.

use std::rc::Rc;

use config::UpstreamProtocol;

use super::{CONNECT_ATTEMPTS_MAX, Endpoint, Group, Lease, Search, Slot, is_ours};
use crate::error::Failure;
use crate::io::{self, NotCalled};
use crate::message::client::Line;
use crate::message::http2::{self, Called, Place};
use crate::time::Millis;
use crate::upstream::eject::Report;

/// Why an endpoint has no place for an exchange.
enum Missed {
    /// As many are on its connections as may be, and there may not be another one.
    Full,
    NoTime,
    /// The call came to nothing. `is_told`: it speaks against the endpoint, and no other exchange says so.
    Failed {
        why: Failure,
        is_told: bool,
        wants_descriptor: bool,
    },
}

impl Search {
    /// The same of an upstream that speaks HTTP/2, or may: a place on a connection that others use too.
    pub(super) async fn checkout_shared(&self, fresh: bool, deadline_ms: u64) -> Result<Lease, Failure> {
        let group = &self.group;
        let end_ms = group.sweeper.now_ms().saturating_add(group.patience(deadline_ms).as_millis() as u64);
        let mut failure = Failure::Overflow;
        let mut may_make_room = true;
        // An exchange that finds no place where there should be one waits again: the peers take fewer than they had let expect.
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
                match self.share(&slot, fresh, deadline_ms).await {
                    Ok((line, reused, served)) => {
                        return Ok(Lease { line, reused, served, slot, permit: Some(permit) });
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
                            slot.endpoint().failed.begins(why.tls(), group.sweeper.now_ms());
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

    /// A line to this endpoint; whether its peer may be closing it just now, and how many exchanges it has carried with this one.
    async fn share(&self, slot: &Slot, fresh: bool, deadline_ms: u64) -> Result<(Line, bool, u64), Missed> {
        let (group, endpoint) = (&self.group, slot.endpoint());
        let end_ms = group.sweeper.now_ms().saturating_add(Millis::from(group.connect_timeout).0);
        loop {
            let place = endpoint.channels.place();
            if place.is_none() && endpoint.channels.is_http1() {
                if !slot.has_plain.get() && !group.may_connect(endpoint) {
                    return Err(Missed::Full);
                }
                slot.has_plain(true);
                if !fresh && let Some(idle) = group.take_idle(endpoint) {
                    group.counters.reuses.inc();
                    return Ok((idle.line, true, idle.served + 1));
                }
            }
            let within = group.patience(deadline_ms);
            if within.is_zero() || group.sweeper.now_ms() > end_ms {
                return Err(Missed::NoTime);
            }
            let place = match place {
                Some(place) => place,
                None if !slot.has_plain.get() && !group.may_connect(endpoint) => {
                    endpoint.channels.any_place().ok_or(Missed::Full)?
                }
                None => {
                    if let Some(fault) = endpoint.failed.is_in_vain(group.sweeper.now_ms()) {
                        let why = Failure::Tls(fault);
                        group.counters.failures.inc(why.on_primary());
                        return Err(Missed::Failed { why, is_told: false, wants_descriptor: false });
                    }
                    group.counters.connects.inc();
                    let to = http2::Callee {
                        address: endpoint.address,
                        tls: endpoint.callee.clone(),
                        may_choose: endpoint.channels.chooses(),
                    };
                    let channel = http2::call(
                        to,
                        within,
                        group.session,
                        &group.extent.tally,
                        &self.buffers,
                        &group.sweeper,
                    );
                    let place = Place::on(&channel);
                    if !slot.has_plain.get() {
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
            if !matches!(called, Called::Failed(..)) {
                endpoint.failed.is_over();
            }
            match called {
                Called::Open => {
                    endpoint.channels.chose(true);
                    endpoint.channels.add(&channel);
                    slot.has_plain(false);
                    if channel.is_overfull() {
                        // Its peer takes fewer than were let on it before it had said so.
                        continue;
                    }
                    if !place.is_first() {
                        group.counters.reuses.inc();
                    }
                    return Ok((Line::Http2(place), channel.may_be_stale(), 1));
                }
                Called::Plain(stream) => {
                    slot.has_plain(true);
                    endpoint.channels.chose(false);
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
}

impl Group {
    /// Lets as many exchanges in as its connections have places, and those that there may still be.
    pub(super) fn measure(&self) {
        if self.protocol == UpstreamProtocol::Http1 || !self.extent.is_youngest(self.generation.get()) {
            return;
        }
        let extent = &self.extent;
        let changes = Some(extent.tally.changes());
        if self.measured.replace(changes) == changes {
            return;
        }
        let more = self.connections_max.saturating_sub(extent.tally.open());
        // Connections of an endpoint that chose HTTP/1.1 have one place.
        let each = if extent.has_http1() { 1 } else { self.session.streams_max };
        let places = extent.tally.places().saturating_add(more.saturating_mul(each));
        self.gate.change(places, self.pending_max);
    }

    /// Whether there may be one connection more; one that no exchange uses gives way.
    pub(super) fn may_connect(&self, to: &Endpoint) -> bool {
        if to.channels.is_shut() {
            return false;
        }
        self.extent.open() < self.connections_max
            || self.extent.tally.idle() > 0
                && self.endpoints.iter().any(|endpoint| endpoint.channels.end_idle())
    }
}
