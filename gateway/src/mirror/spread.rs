//! Spreads a mirror's copies over its routes, so that a rare route has as many as a busy one as far as it has requests. Pure: the
//! worker's heartbeat looks at each route once a second and hands in what is to be seen.
//!
//! Together the routes copy what their percent of all their requests comes to. Each worker spreads by what it sees itself. No
//! look at one route walks over the others: rates are noted in buckets, and the level is found from these.

use std::cell::Cell;

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

    /// Takes in how many requests there were since the last look, and notes their rate among those of the mirror's other routes.
    /// To be called once a second; `allowed` is the share that holds without spreading.
    pub fn look(&self, rates: &mut Rates, allowed: Percent, counters: &MirrorCounters) {
        let eligible = counters.eligible.get();
        if let Some(seen) = self.seen.replace(Some(eligible)) {
            let new = eligible.saturating_sub(seen) as f64;
            // A higher rate is believed at once: the route's copies are to be no more than their part.
            self.rate.set(new.max(self.rate.get() + NEWEST * (new - self.rate.get())));
        }
        rates.note(self.rate.get(), allowed);
    }

    /// Takes the share that `level`, of all the mirror's routes, leaves this one.
    pub fn follow(&self, level: f64, allowed: Percent, counters: &MirrorCounters) {
        let share = share(level, self.rate.get(), allowed);
        self.share.set(share);
        counters.share.set(share.per_million.into());
    }
}

/// Rates of a mirror's routes that have copies, of which no more is kept than finding a level takes.
#[derive(Debug, Default)]
pub struct Rates {
    /// Copies that all of them may have.
    allowed: f64,
    /// By [`bucket`]; empty before the first.
    buckets: Vec<Bucket>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    routes: u32,
    /// Their requests.
    sum: f64,
}

/// Buckets of one octave.
const PER_OCTAVE: u64 = 8;
/// The first bucket begins with the octave of this rate, and has all lower ones too; the last has all above.
const LEAST: f64 = 0.015_625;
const OCTAVES: u64 = 30;

/// The bucket of a rate: its exponent and the first bits of its fraction.
fn bucket(rate: f64) -> usize {
    let place = |of: f64| of.to_bits() >> (52 - PER_OCTAVE.trailing_zeros());
    // Below 240, so that the cast loses nothing.
    place(rate).saturating_sub(place(LEAST)).min(OCTAVES * PER_OCTAVE - 1) as usize
}

fn part(percent: Percent) -> f64 {
    f64::from(percent.per_million) / f64::from(Percent::ALL.per_million)
}

impl Rates {
    fn note(&mut self, rate: f64, allowed: Percent) {
        if rate <= 0.0 || allowed.per_million == 0 {
            return;
        }
        if self.buckets.is_empty() {
            self.buckets = vec![Bucket::default(); (OCTAVES * PER_OCTAVE) as usize];
        }
        self.allowed += rate * part(allowed);
        let to = &mut self.buckets[bucket(rate)];
        to.routes += 1;
        to.sum += rate;
    }

    /// Copies a second that no route has more of: then all have no more than all may have, or hardly fewer.
    pub fn level(&self) -> f64 {
        let mut left = self.allowed;
        let mut others: u32 = self.buckets.iter().map(|bucket| bucket.routes).sum();
        let all: f64 = self.buckets.iter().map(|bucket| bucket.sum).sum();
        // Each may have all, but for what is rounded.
        if all <= left * (1.0 + 1e-9) {
            return f64::INFINITY;
        }
        // The rarest have all they want as long as that is no more than their part of what is left; those of a bucket do where
        // their mean does, for the level rises with them: one that is above it has no more than the level.
        for bucket in &self.buckets {
            if bucket.sum * f64::from(others) > left * f64::from(bucket.routes) {
                break;
            }
            left -= bucket.sum;
            others -= bucket.routes;
        }
        if others == 0 { f64::INFINITY } else { left / f64::from(others) }
    }
}

/// The share of a route. Of one without requests it is not known how many will come.
fn share(level: f64, rate: f64, allowed: Percent) -> Percent {
    if rate <= 0.0 || allowed.per_million == 0 {
        return allowed;
    }
    let share = (level / rate).min(1.0) * f64::from(Percent::ALL.per_million);
    // At most a million; and never nothing, as little as it may be.
    Percent { per_million: (share as u32).max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(of: f64) -> Percent {
        Percent { per_million: (of * 10_000.0) as u32 }
    }

    /// The shares of routes by their rates and by what each may have.
    fn shares(routes: &[(f64, Percent)]) -> Vec<Percent> {
        let mut rates = Rates::default();
        routes.iter().for_each(|(rate, allowed)| rates.note(*rate, *allowed));
        routes.iter().map(|(rate, allowed)| share(rates.level(), *rate, *allowed)).collect()
    }

    #[test]
    fn rare_routes_come_first_and_all_together_copy_no_more_than_their_percent() {
        // Rates, percent → shares.
        let rows: [(&[f64], f64, &[f64]); 8] = [
            (&[100.0], 10.0, &[10.0]),
            (&[100.0, 100.0], 10.0, &[10.0, 10.0]),
            (&[990.0, 10.0], 10.0, &[9.0909, 100.0]),
            (&[900.0, 90.0, 10.0], 10.0, &[5.0, 50.0, 100.0]),
            (&[100.0, 0.0], 10.0, &[10.0, 10.0]),
            (&[0.0, 0.0], 10.0, &[10.0, 10.0]),
            (&[5.0, 500.0], 100.0, &[100.0, 100.0]),
            // Lower and higher than any bucket begins.
            (&[0.001, 1e8], 1.0, &[100.0, 1.0]),
        ];
        for (rates, of, expect) in rows {
            let asked: Vec<_> = rates.iter().map(|rate| (*rate, percent(of))).collect();
            let shares = shares(&asked);
            let copied: f64 =
                shares.iter().zip(rates).map(|(share, rate)| rate * f64::from(share.per_million) / 1e6).sum();
            let budget = rates.iter().sum::<f64>() * of / 100.0;
            let rounded = rates.iter().sum::<f64>() / 1e6;
            assert!(
                copied <= budget + 1e-6 && copied >= budget - rounded - 0.01,
                "{rates:?}: {copied} of {budget}"
            );
            for (share, expect) in shares.iter().zip(expect) {
                let off = (f64::from(share.per_million) / 1e4 - expect).abs();
                assert!(off < 0.001, "{rates:?}: {shares:?}");
            }
        }
    }

    #[test]
    fn whatever_the_rates_they_copy_no_more_than_they_may_and_hardly_less() {
        let random = fastrand::Rng::with_seed(7);
        let mut random = random;
        for routes in 1..200 {
            let of = percent(random.f64() * 100.0);
            let asked: Vec<_> = (0..routes).map(|_| ((random.f64() * 12.0 - 2.0).exp(), of)).collect();
            let copied: f64 =
                shares(&asked).iter().zip(&asked).map(|(share, (rate, _))| rate * part(*share)).sum();
            let budget: f64 = asked.iter().map(|(rate, of)| rate * part(*of)).sum();
            let rounded: f64 = asked.iter().map(|(rate, _)| rate / 1e6).sum();
            assert!(copied <= budget + rounded, "{routes} routes: {copied} of {budget}");
            assert!(copied >= budget * 0.97 - rounded, "{routes} routes: {copied} of {budget}");
        }
    }

    #[test]
    fn whatever_the_rates_all_of_them_are_all() {
        let mut random = fastrand::Rng::with_seed(9);
        for routes in 1..200 {
            let asked: Vec<_> =
                (0..routes).map(|_| ((random.f64() * 12.0 - 2.0).exp(), Percent::ALL)).collect();
            assert!(shares(&asked).iter().all(|share| *share == Percent::ALL), "{asked:?}");
        }
    }

    #[test]
    fn rates_of_one_bucket_are_an_eighth_apart_at_most() {
        let (mut last, mut first) = (0, LEAST);
        let mut rate = LEAST;
        while rate < 1e7 {
            let at = bucket(rate);
            if at != last {
                assert_eq!(at, last + 1, "{rate}");
                (last, first) = (at, rate);
            }
            assert!(rate <= first * 1.125, "{rate} is in one bucket with {first}");
            rate *= 1.001;
        }
        assert_eq!([bucket(1e-300), bucket(1e300)], [0, (OCTAVES * PER_OCTAVE) as usize - 1]);
    }

    #[test]
    fn a_share_that_a_governor_lowered_is_spread_as_it_is_and_none_is_none() {
        let asked = [(90.0, percent(5.0)), (10.0, percent(5.0)), (40.0, Percent::NONE)];
        let shares: Vec<u32> = shares(&asked).iter().map(|share| share.per_million).collect();
        // Five copies over two routes: the third wants none, and has none to give.
        assert_eq!(shares, [27_777, 250_000, 0]);
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
        let of = [percent(10.0); 2].map(Spread::new);
        counters.iter().for_each(|counters| counters.eligible.add(7));
        let second = |new: [u64; 2]| {
            counters.iter().zip(new).for_each(|(counters, n)| counters.eligible.add(n));
            let mut rates = Rates::default();
            of.iter().zip(&counters).for_each(|(of, at)| of.look(&mut rates, percent(10.0), at));
            of.iter().zip(&counters).for_each(|(of, at)| of.follow(rates.level(), percent(10.0), at));
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
