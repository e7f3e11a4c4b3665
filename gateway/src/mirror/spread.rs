//! Spreads a mirror's copies over its routes, so that a rare route has as many as a busy one as far as it has requests. Pure: the
//! worker's tick asks once a second and hands in what is to be seen.
//!
//! Together the routes copy what their percent of all their requests comes to. Each worker spreads by what it sees itself.

use std::cell::Cell;
use std::rc::Rc;

use config::Percent;

use crate::metrics::MirrorCounters;

/// How much of what is known of a route's rate is that of the last second.
const NEWEST: f64 = 0.2;

/// One mirror of one route on one worker.
#[derive(Debug)]
pub struct Spread {
    share: Cell<Percent>,
    /// Eligible requests in a second, as far as that is known.
    rate: Cell<f64>,
    /// How many there were at the last look; `None` before the first, for counters may go on from an earlier configuration.
    seen: Cell<Option<u64>>,
}

impl Spread {
    pub fn new(share: Percent) -> Self {
        Self { share: Cell::new(share), rate: Cell::new(0.0), seen: Cell::new(None) }
    }

    /// As it begins, or with another configuration: the share that holds until the next look.
    pub fn begin(&self, share: Percent) {
        self.share.set(share);
    }

    /// The share that holds now.
    pub fn share(&self) -> Percent {
        self.share.get()
    }

    fn look(&self, counters: &MirrorCounters) {
        let eligible = counters.eligible.get();
        let Some(seen) = self.seen.replace(Some(eligible)) else { return };
        let new = eligible.saturating_sub(seen) as f64;
        // What comes more often than it did is believed at once: its copies are to be no more than their part.
        self.rate.set(new.max(self.rate.get() + NEWEST * (new - self.rate.get())));
    }
}

/// Spreads the copies of one mirror over its routes, each with the share that holds without that. To be called once a second.
pub fn spread(routes: &[(&Rc<Spread>, Percent, &MirrorCounters)]) {
    routes.iter().for_each(|(of, _, counters)| of.look(counters));
    let asked: Vec<(f64, Percent)> =
        routes.iter().map(|(of, percent, _)| (of.rate.get(), *percent)).collect();
    for ((of, _, counters), share) in routes.iter().zip(shares(&asked)) {
        of.share.set(share);
        counters.share.set(share.per_million.into());
    }
}

/// The share of each of these routes, by their rates and by how much of them may be copied: together as much as all of that.
fn shares(routes: &[(f64, Percent)]) -> Vec<Percent> {
    let part = |percent: &Percent| f64::from(percent.per_million) / f64::from(Percent::ALL.per_million);
    let mut left: f64 = routes.iter().map(|(rate, percent)| rate * part(percent)).sum();
    let wants = |(rate, percent): &&(f64, Percent)| *rate > 0.0 && percent.per_million > 0;
    let mut rates: Vec<f64> = routes.iter().filter(wants).map(|(rate, _)| *rate).collect();
    rates.sort_by(f64::total_cmp);
    // The rarest have all they want as long as that is no more than their part of what is left.
    let mut level = f64::INFINITY;
    let mut others = rates.len() as f64;
    for rate in rates {
        if rate > left / others {
            level = left / others;
            break;
        }
        left -= rate;
        others -= 1.0;
    }
    let share = |route: &(f64, Percent)| {
        let (rate, percent) = *route;
        if !wants(&route) {
            // Of a route without requests it is not known how many will come.
            return percent;
        }
        let share = (level / rate).min(1.0) * f64::from(Percent::ALL.per_million);
        // At most a million; and never nothing, as little as it may be.
        Percent { per_million: (share as u32).max(1) }
    };
    routes.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(of: f64) -> Percent {
        Percent { per_million: (of * 10_000.0) as u32 }
    }

    #[test]
    fn rare_routes_come_first_and_all_together_copy_no_more_than_their_percent() {
        // Rates, percent → shares.
        let rows: [(&[f64], f64, &[f64]); 7] = [
            (&[100.0], 10.0, &[10.0]),
            (&[100.0, 100.0], 10.0, &[10.0, 10.0]),
            (&[990.0, 10.0], 10.0, &[9.0909, 100.0]),
            (&[900.0, 90.0, 10.0], 10.0, &[5.0, 50.0, 100.0]),
            (&[100.0, 0.0], 10.0, &[10.0, 10.0]),
            (&[0.0, 0.0], 10.0, &[10.0, 10.0]),
            (&[5.0, 500.0], 100.0, &[100.0, 100.0]),
        ];
        for (rates, of, expect) in rows {
            let asked: Vec<_> = rates.iter().map(|rate| (*rate, percent(of))).collect();
            let shares = shares(&asked);
            let copied: f64 =
                shares.iter().zip(rates).map(|(share, rate)| rate * f64::from(share.per_million) / 1e6).sum();
            let budget = rates.iter().sum::<f64>() * of / 100.0;
            assert!(copied <= budget + 1e-6 && copied >= budget - 0.01, "{rates:?}: {copied} of {budget}");
            for (share, expect) in shares.iter().zip(expect) {
                let off = (f64::from(share.per_million) / 1e4 - expect).abs();
                assert!(off < 0.001, "{rates:?}: {shares:?}");
            }
        }
    }

    #[test]
    fn a_share_that_a_governor_lowered_is_spread_as_it_is_and_none_is_none() {
        let asked = [(90.0, percent(5.0)), (10.0, percent(5.0)), (40.0, Percent::NONE)];
        let shares: Vec<u32> = shares(&asked).iter().map(|share| share.per_million).collect();
        // Five copies over three routes, of which one wants none.
        assert_eq!(shares[2], 0);
        assert!(shares[1] > shares[0] && shares[0] > 0, "{shares:?}");
    }

    #[test]
    fn another_configurations_share_holds_until_the_next_look() {
        let of = Spread::new(percent(10.0));
        of.begin(percent(20.0));
        assert_eq!(of.share(), percent(20.0));
    }

    #[test]
    fn what_comes_more_often_is_believed_at_once_and_what_comes_more_seldom_by_and_by() {
        let counters = [MirrorCounters::default(), MirrorCounters::default()];
        let of = [percent(10.0); 2].map(|percent| Rc::new(Spread::new(percent)));
        counters.iter().for_each(|counters| counters.eligible.add(7));
        let second = |new: [u64; 2]| {
            counters.iter().zip(new).for_each(|(counters, n)| counters.eligible.add(n));
            spread(&[0, 1].map(|at: usize| (&of[at], percent(10.0), &counters[at])));
            [0, 1].map(|at: usize| of[at].share().per_million / 10_000)
        };
        assert_eq!(second([0, 0]), [10, 10], "what was before the first look is not its own");
        assert_eq!(second([990, 10]), [9, 100]);
        assert_eq!(second([990, 990]), [10, 10]);
        let later: Vec<u32> = (0..40).map(|_| second([990, 10])[1]).collect();
        assert!(later[0] < 20 && later[39] == 100 && later.is_sorted(), "{later:?}");
        assert_eq!(counters[1].share.get(), 1_000_000);
    }
}
