//! Whether one more request is taken now: how many a second, of all clients and of one address, and how many at once.
//!
//! Knows limits and counts; knows neither heads nor sockets. It is asked once per request, before anything is done for it.

mod places;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use config::Config;

use crate::http1::head::Fault;
use crate::metrics::{DropReason, Gauge, RejectReason, Shard};
use crate::rate::Bucket;
pub use places::{Place, Places, Underway};

/// A worker's requests under way, and those of the last moments.
#[derive(Debug)]
pub struct Admission {
    shard: std::sync::Arc<Shard>,
    /// Where the requests of all clients are counted, and the rate they are counted by.
    all: RefCell<Option<(u32, Bucket)>>,
    open: Cell<usize>,
}

/// A request that was taken; over when dropped.
#[derive(Debug)]
pub struct Admitted(Rc<Admission>);

const ADDRESS_RATE: Fault = Fault::new(429, RejectReason::AddressRate, "too many requests from this address");
const REQUEST_RATE: Fault = Fault::new(503, RejectReason::RequestRate, "too many requests");
const EXCHANGES: Fault = Fault::new(503, RejectReason::Exchanges, "too many requests at once");

impl Admission {
    pub fn new(shard: &std::sync::Arc<Shard>) -> Rc<Self> {
        let shard = std::sync::Arc::clone(shard);
        Rc::new(Self { shard, all: RefCell::default(), open: Cell::new(0) })
    }

    /// Takes a request that came from `place`, or says why not; there are descriptors for `clients_max`. One address's excess is not counted against all.
    pub fn take(
        self: &Rc<Self>,
        config: &Config,
        clients_max: usize,
        place: &Place,
        now_ms: u64,
    ) -> Result<Admitted, Fault> {
        let limits = &config.limits;
        // Descriptors for connections to primaries are as many as for clients.
        if self.open.get() >= limits.exchanges_max.min(clients_max) {
            return Err(EXCHANGES);
        }
        if let Some(max) = limits.requests_per_second_per_address_max
            && !place.may_ask(max, now_ms)
        {
            return Err(ADDRESS_RATE);
        }
        if let Some(max) = limits.requests_per_second_max
            && !self.may_ask(max, config.workers.count, now_ms)
        {
            return Err(REQUEST_RATE);
        }
        self.count(1);
        Ok(Admitted(Rc::clone(self)))
    }

    /// Why no copies are taken, where so many requests are under way that there is soon no room for more: mirror work is
    /// given up first.
    pub fn overload(&self, config: &Config) -> Option<DropReason> {
        let max = config.limits.exchanges_max;
        // As many as connections is no bound of its own where each has one at a time: then they cannot be too many.
        let is_bounded = max < config.limits.connections_max || config.takes_http2();
        (is_bounded && self.open.get().saturating_mul(4) > max.saturating_mul(3))
            .then_some(DropReason::Exchanges)
    }

    fn may_ask(&self, per_second: u32, workers: usize, now_ms: u64) -> bool {
        let mut all = self.all.borrow_mut();
        match &*all {
            Some((rate, bucket)) if *rate == per_second => bucket.take(now_ms),
            _ => all.insert((per_second, Bucket::new(per_second, workers))).1.take(now_ms),
        }
    }

    fn count(&self, more: isize) {
        self.open.set(self.open.get().saturating_add_signed(more));
        let gauge: &Gauge = &self.shard.exchanges_active;
        gauge.set(i64::try_from(self.open.get()).unwrap_or(i64::MAX));
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.count(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(limits: &str) -> Config {
        let text = format!(
            "{limits}\n[workers]\ncount = 2\n[[listener]]\nbind = \"127.0.0.1:0\"\n[upstream.v1]\n\
             endpoints = [\"127.0.0.1:1\"]\n[[route]]\npath_prefix = \"/\"\nprimary = \"v1\""
        );
        config::parse("test", &text).expect("the test's own text is sound").config
    }

    #[test]
    fn so_many_are_under_way_at_once_and_copies_are_given_up_before() {
        let (admission, place) =
            (Admission::new(&Default::default()), Places::default().take([10, 0, 0, 1].into(), 9).unwrap());
        let config = config("[limits]\nexchanges_max = 4");
        let take = || admission.take(&config, 9, &place, 0);
        let mut taken: Vec<Admitted> = (0..3).map(|_| take().unwrap()).collect();
        assert_eq!(admission.overload(&config), None);
        taken.push(take().unwrap());
        assert_eq!(admission.overload(&config), Some(DropReason::Exchanges));
        assert_eq!(take().unwrap_err().reject, RejectReason::Exchanges);
        taken.pop();
        taken.push(take().unwrap());
        drop(taken);
        assert_eq!((admission.open.get(), admission.shard.exchanges_active.get()), (0, 0));
    }

    #[test]
    fn so_many_come_in_a_second_and_one_addresss_excess_is_its_own() {
        let (admission, places) = (Admission::new(&Default::default()), Places::default());
        let config =
            config("[limits]\nrequests_per_second_max = 400\nrequests_per_second_per_address_max = 100");
        let (one, other) =
            (places.take([10, 0, 0, 1].into(), 9).unwrap(), places.take([10, 0, 0, 2].into(), 9).unwrap());
        let taken = |place: &Place, times: usize| {
            let mut said =
                (0..times).map(|_| admission.take(&config, usize::MAX, place, 0).map_err(|f| f.status));
            let taken = said.by_ref().take_while(Result::is_ok).count();
            (taken, said.next().map(Result::unwrap_err))
        };
        // A worker's part of two ticks of 400 a second is 40; of one address's 100, which each worker allows, 20.
        assert_eq!(taken(&one, 500), (20, Some(429)));
        assert_eq!(taken(&other, 500), (20, Some(429)));
        let third = places.take([10, 0, 0, 3].into(), 9).unwrap();
        assert_eq!(taken(&third, 5), (0, Some(503)));
    }
}
