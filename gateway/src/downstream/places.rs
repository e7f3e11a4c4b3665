//! Who holds how many of a worker's client connections. Knows addresses; knows no socket.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

/// Connections by address. It holds an entry for each address that holds a place, so it is bounded by the connections.
#[derive(Debug, Clone, Default)]
pub struct Places(Rc<RefCell<HashMap<IpAddr, usize>>>);

/// One connection's place, free again when dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    /// `None` where nobody counts.
    whose: Option<IpAddr>,
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
        let mut whose = None;
        if max != usize::MAX {
            let address = holder(address);
            let mut held = self.0.borrow_mut();
            let held = held.entry(address).or_default();
            if *held >= max {
                return None;
            }
            *held += 1;
            whose = Some(address);
        }
        Some(Place { places: self.clone(), whose })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.whose else { return };
        let mut held = self.places.0.borrow_mut();
        let left = held.get(&address).map_or(0, |held| held.saturating_sub(1));
        if left == 0 {
            held.remove(&address);
        } else {
            held.insert(address, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_places_and_a_network_counts_as_one() {
        let places = Places::default();
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
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
}
