//! How many of a worker's client connections each address holds, and how much it asks on them. Knows addresses; knows no socket.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

use crate::limits::ADDRESSES_MAX;
use crate::rate::Bucket;

/// The counts of each address. Bounded: an entry for each address that holds a connection, and for
/// [`ADDRESSES_MAX`] more that asked for something in the last moments.
#[derive(Debug, Clone, Default)]
pub struct Places(Rc<RefCell<HashMap<IpAddr, Holder>>>);

#[derive(Debug, Default)]
struct Holder {
    connections: usize,
    /// HTTP/2 requests under way.
    streams: usize,
    /// Where its requests are counted, and the rate they are counted by.
    requests: Option<(u32, Bucket)>,
    /// The same of its TLS handshakes.
    handshakes: Option<(u32, Bucket)>,
}

/// A connection's place, free again when dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    whose: IpAddr,
    /// The place counts among its address's connections.
    is_counted: bool,
}

/// A customer of an IPv6 network has a /64 at the least: its addresses are one holder's.
fn holder(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Places {
    /// A place for one more connection of `address`; `None` where it has `max` already. `usize::MAX` is no bound, and
    /// then nothing is counted.
    pub fn take(&self, address: IpAddr, max: usize) -> Option<Place> {
        let whose = holder(address);
        let is_counted = max != usize::MAX;
        if is_counted {
            let mut all = self.0.borrow_mut();
            let held = all.entry(whose).or_default();
            if held.connections >= max {
                return None;
            }
            held.connections += 1;
        }
        Some(Place { places: self.clone(), whose, is_counted })
    }

    /// Forgets addresses that hold nothing and have asked for nothing lately.
    pub fn reap(&self, now_ms: u64) {
        self.0.borrow_mut().retain(|_, held| held.is_held() || !held.is_forgettable(now_ms));
    }
}

impl Holder {
    fn is_held(&self) -> bool {
        self.connections > 0 || self.streams > 0
    }

    /// Whether forgetting it would change nothing.
    fn is_forgettable(&self, now_ms: u64) -> bool {
        let is_full = |bucket: &Option<(u32, Bucket)>| bucket.as_ref().is_none_or(|(_, b)| b.is_full(now_ms));
        is_full(&self.requests) && is_full(&self.handshakes)
    }
}

/// An HTTP/2 request of an address that is under way, until this is dropped.
#[derive(Debug)]
pub struct Underway(Option<(Places, IpAddr)>);

impl Drop for Underway {
    fn drop(&mut self) {
        let Some((places, whose)) = self.0.take() else { return };
        let mut all = places.0.borrow_mut();
        let Some(held) = all.get_mut(&whose) else { return };
        held.streams = held.streams.saturating_sub(1);
        if !held.is_held() && held.requests.is_none() && held.handshakes.is_none() {
            all.remove(&whose);
        }
    }
}

impl Place {
    /// Counts an HTTP/2 request more of its address; `None` where it has `max` already. `usize::MAX` is no bound, and then
    /// nothing is counted.
    pub fn begin_stream(&self, max: usize) -> Option<Underway> {
        if max == usize::MAX {
            return Some(Underway(None));
        }
        let mut all = self.places.0.borrow_mut();
        let held = all.entry(self.whose).or_default();
        if held.streams >= max {
            return None;
        }
        held.streams += 1;
        Some(Underway(Some((self.places.clone(), self.whose))))
    }

    /// Whether its address may ask for one thing more, where it may `per_second` times.
    pub fn may_ask(&self, per_second: u32, now_ms: u64) -> bool {
        self.may(per_second, now_ms, |held| &mut held.requests)
    }

    /// Whether its address may begin one more TLS handshake, where it may `per_second` times.
    pub fn may_shake(&self, per_second: u32, now_ms: u64) -> bool {
        self.may(per_second, now_ms, |held| &mut held.handshakes)
    }

    fn may(
        &self,
        per_second: u32,
        now_ms: u64,
        account: impl Fn(&mut Holder) -> &mut Option<(u32, Bucket)>,
    ) -> bool {
        let mut all = self.places.0.borrow_mut();
        if !all.contains_key(&self.whose) && all.len() >= ADDRESSES_MAX {
            // More strangers at once than we can tell apart: those that are known stay bounded.
            return true;
        }
        let account = account(all.entry(self.whose).or_default());
        match account {
            Some((rate, bucket)) if *rate == per_second => bucket.take(now_ms),
            _ => account.insert((per_second, Bucket::new(per_second, 1))).1.take(now_ms),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_counted {
            return;
        }
        let mut all = self.places.0.borrow_mut();
        let Some(held) = all.get_mut(&self.whose) else { return };
        held.connections = held.connections.saturating_sub(1);
        if !held.is_held() && held.requests.is_none() && held.handshakes.is_none() {
            all.remove(&self.whose);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_so_many_places_and_a_network_counts_as_one() {
        let places = Places::default();
        let held: Vec<Place> = ["10.0.0.1", "10.0.0.1", "2001:db8::1", "2001:db8::ffff", "2001:db8:0:1::1"]
            .into_iter()
            .map(|address| places.take(at(address), 2).unwrap())
            .collect();
        for full in ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8::2"] {
            assert!(places.take(at(full), 2).is_none(), "{full}");
        }
        assert!(places.take(at("10.0.0.2"), 2).is_some());
        assert!(places.take(at("10.0.0.1"), usize::MAX).is_some(), "no bound");
        drop(held);
        assert!(places.0.borrow().is_empty(), "{places:?}");
    }

    #[test]
    fn an_address_has_so_many_streams_whatever_connections_they_are_on() {
        let places = Places::default();
        let (one, other) = (places.take(at("10.0.0.1"), 9).unwrap(), places.take(at("10.0.0.1"), 9).unwrap());
        let mut held = vec![one.begin_stream(2).unwrap(), other.begin_stream(2).unwrap()];
        assert!(one.begin_stream(2).is_none());
        assert!(places.take(at("10.0.0.2"), 9).unwrap().begin_stream(2).is_some());
        held.pop();
        held.push(one.begin_stream(2).unwrap());
        drop((one, other));
        assert!(!places.0.borrow().is_empty(), "streams are counted still");
        drop(held);
        assert!(places.0.borrow().is_empty(), "{places:?}");
    }

    #[test]
    fn an_address_asks_so_often_whatever_connections_it_asks_on() {
        let places = Places::default();
        let asked = |address: &str, times: usize, now_ms: u64| {
            let of_one = || places.take(at(address), usize::MAX).unwrap().may_ask(100, now_ms);
            (0..times).filter(|_| of_one()).count()
        };
        // Two ticks' worth, once; closing and coming back brings nothing.
        assert_eq!(asked("10.0.0.1", 50, 0), 20);
        assert_eq!(asked("2001:db8::1", 50, 0) + asked("2001:db8::2", 50, 0), 20);
        assert_eq!(asked("10.0.0.2", 5, 0), 5);
        assert_eq!(asked("10.0.0.1", 50, 100), 10);
        places.reap(150);
        assert_eq!(asked("10.0.0.1", 50, 150), 5, "still known");
        places.reap(1_000);
        assert!(places.0.borrow().is_empty(), "{places:?}");
    }

    #[test]
    fn strangers_are_told_apart_up_to_a_bound() {
        let places = Places::default();
        let known = places.take(at("10.0.0.1"), 5).unwrap();
        for n in 0..2 * ADDRESSES_MAX as u32 {
            let stranger = IpAddr::from(std::net::Ipv4Addr::from_bits(n + (20 << 24)));
            assert!(places.take(stranger, usize::MAX).unwrap().may_ask(1, 0));
        }
        assert!(places.0.borrow().len() <= ADDRESSES_MAX);
        assert!(known.may_ask(1, 0) && !known.may_ask(1, 0), "who is known stays bounded");
    }
}
