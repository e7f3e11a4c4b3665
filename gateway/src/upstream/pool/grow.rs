//! All upstreams of a configuration on one worker, built one after another in turns: those of which nothing is otherwise than
//! before are taken over as they are.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use config::{Config, Host, Upstream};

use super::{Endpoint, Group, Upstreams, Whereabouts};
use crate::address::Address;
use crate::io::Sweeper;
use crate::message::http2;
use crate::metrics::UpstreamCounters;
use crate::tls::client::{Callee, Caller, callees};
use crate::upstream::balance;
use crate::upstream::channels::Extent;
use crate::upstream::gate::Gate;
use crate::upstream::health::Health;

/// The cost of an upstream that is made anew, in those that are taken over; and each of its endpoints as much as one.
const MADE_ANEW: usize = 16;

/// Upstreams that are being built.
#[derive(Debug)]
pub struct Growing<'a> {
    config: &'a Config,
    at: Whereabouts<'a>,
    counters: &'a [Arc<UpstreamCounters>],
    sweeper: &'a Rc<Sweeper>,
    before: Option<Before<'a>>,
    groups: Vec<Rc<Group>>,
    /// The groups that were made anew.
    anew: Vec<Rc<Group>>,
}

/// The upstreams of the configuration before.
#[derive(Debug)]
struct Before<'a> {
    config: &'a Config,
    is_same: bool,
    /// The bounds that all upstreams share are the same.
    has_same_bounds: bool,
    upstreams: &'a Upstreams,
    /// Where each is, by its counters: as many as were looked at, where ids have shifted.
    known: HashMap<*const UpstreamCounters, usize>,
    noted: usize,
}

impl<'a> Growing<'a> {
    /// Endpoints that `before` has too keep their connections and their record, and permits that are taken stay taken.
    pub fn new(
        config: &'a Config,
        at: Whereabouts<'a>,
        counters: &'a [Arc<UpstreamCounters>],
        sweeper: &'a Rc<Sweeper>,
        before: Option<(&'a Config, &'a Upstreams)>,
    ) -> Self {
        let before = before.map(|(earlier, upstreams)| Before {
            config: earlier,
            is_same: std::ptr::eq(earlier, config),
            has_same_bounds: earlier.limits == config.limits
                && earlier.timeouts == config.timeouts
                && earlier.http2 == config.http2,
            upstreams,
            known: HashMap::new(),
            noted: 0,
        });
        let groups = Vec::with_capacity(config.upstreams.len());
        Self { config, at, counters, sweeper, before, groups, anew: Vec::new() }
    }

    /// Makes a step, and returns its cost; `None` where all is built.
    pub fn go_on(&mut self) -> Option<usize> {
        let id = self.groups.len();
        let (upstream, counters) = (self.config.upstreams.get(id)?, self.counters.get(id)?);
        let addresses = self.at.addresses.get(id)?;
        let old = match &mut self.before {
            None => None,
            // The same counters are the same upstream, most often in the same place.
            Some(before) => match before.at(id, counters) {
                Ok(old) => old,
                Err(Noted) => return Some(1),
            },
        };
        let hosts = self.at.hosts.get(id).map(Vec::as_slice).unwrap_or_default();
        let health = self.at.health.get(id).map(Vec::as_slice).unwrap_or_default();
        let calling = self.at.callings.get(id).and_then(Option::as_ref);
        let before = old.and_then(|(_, group)| group.caller.as_ref());
        let caller = Caller::after(before, calling, upstream.protocol);
        if let Some((old_id, old)) = old
            && self.before.as_ref().is_some_and(|before| before.is_alike(old_id, upstream))
            && is_where_it_was(old, caller.as_ref(), addresses, hosts, health)
        {
            self.groups.push(Rc::clone(old));
            return Some(1);
        }
        let old = old.map(|(_, group)| group);
        let extent = old.map(|group| Rc::clone(&group.extent)).unwrap_or_default();
        let endpoints = endpoints(old, caller.as_ref(), (addresses, hosts), upstream, (&extent, counters));
        let group = self.group(upstream, old, caller, (endpoints, extent), health, counters);
        self.anew.push(Rc::clone(&group));
        self.groups.push(group);
        Some(MADE_ANEW + addresses.len())
    }

    /// All that were built, in force from now on.
    pub fn finish(mut self) -> Rc<Upstreams> {
        while self.go_on().is_some() {}
        self.anew.iter().for_each(|group| group.begin());
        Rc::new(Upstreams(self.groups))
    }

    fn group(
        &self,
        upstream: &Upstream,
        old: Option<&Rc<Group>>,
        caller: Option<Rc<Caller>>,
        (endpoints, extent): (Vec<Rc<Endpoint>>, Rc<Extent>),
        health: &[Arc<Health>],
        counters: &Arc<UpstreamCounters>,
    ) -> Rc<Group> {
        let (config, sweeper) = (self.config, self.sweeper);
        let (max, pending_max) = (upstream.connections_max, upstream.pending_max);
        let gate = old.map_or_else(|| Gate::new(max, pending_max, counters), |g| Rc::clone(&g.gate));
        Rc::new(Group {
            places: endpoints.iter().map(|endpoint| balance::place(endpoint.address)).collect(),
            endpoints,
            health: health.to_vec(),
            balance: upstream.balance,
            // Anywhere, or workers that start together would keep step with each other.
            turn: Cell::new(old.map_or_else(|| sweeper.anywhere(self.groups.len()), |g| g.turn.get())),
            ejection: upstream.ejection.clone(),
            look_at_ms: Cell::new(old.map_or(0, |g| g.look_at_ms.get())),
            gate,
            generation: Cell::new(0),
            extent,
            measured: Cell::new(None),
            protocol: upstream.protocol,
            connections_max: max,
            pending_max,
            session: http2::limits_to(config, upstream),
            connect_timeout: upstream.connect_timeout,
            caller,
            idle_max: config.limits.upstream_idle_max,
            idle_ms: upstream.idle_timeout.into(),
            requests_per_connection_max: upstream.requests_per_connection_max,
            counters: Arc::clone(counters),
            sweeper: Rc::clone(sweeper),
        })
    }
}

/// Another group of the earlier pool was noted: the look-up is to be made again.
struct Noted;

impl<'a> Before<'a> {
    fn at(
        &mut self,
        id: usize,
        counters: &Arc<UpstreamCounters>,
    ) -> Result<Option<(usize, &'a Rc<Group>)>, Noted> {
        let groups = &self.upstreams.0;
        if let Some(group) = groups.get(id).filter(|group| Arc::ptr_eq(&group.counters, counters)) {
            return Ok(Some((id, group)));
        }
        if let Some(group) = groups.get(self.noted) {
            self.known.insert(Arc::as_ptr(&group.counters), self.noted);
            self.noted += 1;
            return Err(Noted);
        }
        let id = self.known.get(&Arc::as_ptr(counters)).copied();
        Ok(id.and_then(|id| Some((id, groups.get(id)?))))
    }

    fn is_alike(&self, id: usize, upstream: &Upstream) -> bool {
        self.is_same || self.has_same_bounds && self.config.upstreams.get(id) == Some(upstream)
    }
}

fn is_where_it_was(
    old: &Group,
    caller: Option<&Rc<Caller>>,
    addresses: &[Address],
    hosts: &[Host],
    health: &[Arc<Health>],
) -> bool {
    let is_called_alike = match (&old.caller, caller) {
        (None, None) => true,
        (Some(old), Some(new)) => Rc::ptr_eq(old, new),
        (Some(_), None) | (None, Some(_)) => false,
    };
    is_called_alike
        && old.health.len() == health.len()
        && old.health.iter().zip(health).all(|(old, new)| Arc::ptr_eq(old, new))
        && old.endpoints.len() == addresses.len()
        && callees(caller, addresses, hosts)
            .zip(&old.endpoints)
            .all(|((address, callee), old)| old.address == address && old.callee == callee)
}

/// Endpoints that were there before are taken over, wherever they stood.
fn endpoints(
    old: Option<&Rc<Group>>,
    caller: Option<&Rc<Caller>>,
    (addresses, hosts): (&[Address], &[Host]),
    upstream: &Upstream,
    whole: (&Rc<Extent>, &Arc<UpstreamCounters>),
) -> Vec<Rc<Endpoint>> {
    let before = old.map(|group| group.endpoints.as_slice()).unwrap_or_default();
    let known: HashMap<Address, &Rc<Endpoint>> = before.iter().map(|of| (of.address, of)).collect();
    let endpoint = |(address, callee): (Address, Option<Callee>)| {
        let is_it = |of: &&&Rc<Endpoint>| of.callee == callee && of.channels.is_for(upstream.protocol);
        match known.get(&address).filter(is_it) {
            Some(old) => Rc::clone(old),
            None => Rc::new(Endpoint::new(address, callee, upstream.protocol, whole)),
        }
    };
    callees(caller, addresses, hosts).map(endpoint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Counters;

    /// Upstreams of these numbers, each with as many addresses.
    fn config(numbers: std::ops::Range<usize>) -> Config {
        let upstreams =
            numbers.map(|n| format!("[upstream.u{n:05}]\nendpoints = [\"127.0.0.1:{}\"]\n", n + 1));
        let text = format!("{}[[route]]\nprimary = \"u00005\"\n", upstreams.collect::<String>());
        config::parse("test", &text).expect("the test's own text is sound").config
    }

    fn addresses(config: &Config, each: u16) -> Vec<Vec<Address>> {
        let of = |_: &Upstream| (1..=each).map(|port| ([127, 0, 0, 1], port).into()).collect();
        config.upstreams.iter().map(of).collect()
    }

    /// The pools that are built, and in how many steps.
    fn grown(
        config: &Config,
        addresses: &[Vec<Address>],
        counters: &Counters,
        before: Option<(&Config, &Upstreams)>,
    ) -> (Rc<Upstreams>, usize) {
        let at = Whereabouts { addresses, hosts: &[], health: &Vec::new(), callings: &[] };
        let sweeper = Sweeper::simulated();
        let mut growing = Growing::new(config, at, &counters.upstreams, &sweeper, before);
        let mut cost = 0;
        while let Some(one) = growing.go_on() {
            cost += one;
        }
        (growing.finish(), cost)
    }

    fn shared(first: &Upstreams, second: &Upstreams) -> usize {
        second.0.iter().filter(|new| first.0.iter().any(|old| Rc::ptr_eq(old, new))).count()
    }

    #[test]
    fn an_address_that_moves_builds_one_upstream_anew_and_takes_over_all_others() {
        let config = config(0..2000);
        let counters = Counters::new(&config);
        let mut at = addresses(&config, 3);
        let (first, _) = grown(&config, &at, &counters, None);
        at[7][1] = ([127, 0, 0, 9], 9_u16).into();
        let (second, cost) = grown(&config, &at, &counters, Some((&config, &first)));
        assert_eq!((shared(&first, &second), cost), (1999, 1999 + MADE_ANEW + 3));
        // Of the one its other endpoints stay too.
        let [old, new] = [&first, &second].map(|of| &of.0[7].endpoints);
        assert!(
            Rc::ptr_eq(&old[0], &new[0]) && !Rc::ptr_eq(&old[1], &new[1]) && Rc::ptr_eq(&old[2], &new[2])
        );
    }

    #[test]
    fn what_is_being_built_takes_nothing_from_what_is_in_force() {
        let text = "[upstream.v1]\nendpoints = [\"127.0.0.1:1\"]\nprotocol = \"h2\"\nconnections_max = 4\n\
                    [[route]]\nprimary = \"v1\"\n";
        let config = config::parse("test", text).expect("the test's own text is sound").config;
        let counters = Counters::new(&config);
        let (first, _) = grown(&config, &addresses(&config, 1), &counters, None);
        let old = &first.0[0];
        let places = || {
            old.measure();
            std::iter::from_fn(|| old.gate.take()).collect::<Vec<_>>().len()
        };
        let all = 4 * old.session.streams_max;
        assert_eq!(places(), all);
        let moved = addresses(&config, 2);
        let at = Whereabouts { addresses: &moved, hosts: &[], health: &Vec::new(), callings: &[] };
        let sweeper = Sweeper::simulated();
        let mut growing = Growing::new(&config, at, &counters.upstreams, &sweeper, Some((&config, &first)));
        while growing.go_on().is_some() {}
        assert!(places() == all && old.extent.is_youngest(old.generation.get()));
        let second = growing.finish();
        let new = &second.0[0];
        assert!(!old.extent.is_youngest(old.generation.get()));
        assert!(new.extent.is_youngest(new.generation.get()));
        assert_eq!(places(), all);
    }

    #[test]
    fn ids_that_shift_cost_a_look_at_each_and_build_nothing_anew() {
        let (before, next) = (config(1..2000), config(0..2000));
        let counters = Counters::new(&before);
        let (first, _) = grown(&before, &addresses(&before, 3), &counters, None);
        let later = Counters::after(&next, &before, &counters);
        let (second, cost) = grown(&next, &addresses(&next, 3), &later, Some((&before, &first)));
        assert_eq!((shared(&first, &second), cost), (1999, 1999 + 1999 + MADE_ANEW + 3));
    }

    #[test]
    fn endpoints_of_one_upstream_are_found_again_however_many_they_are() {
        let config = config(5..6);
        let counters = Counters::new(&config);
        let mut at = addresses(&config, 20_000);
        let (first, _) = grown(&config, &at, &counters, None);
        at[0].reverse();
        let (second, cost) = grown(&config, &at, &counters, Some((&config, &first)));
        assert_eq!(cost, MADE_ANEW + 20_000);
        let mirrored = first.0[0].endpoints.iter().rev().zip(&second.0[0].endpoints);
        assert!(mirrored.into_iter().all(|(old, new)| Rc::ptr_eq(old, new)));
    }
}
