//! Which endpoint of an upstream takes the next exchange. Pure: sees loads, returns an index.

use config::Balance;

/// What the choice is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    pub in_flight: usize,
    /// Refused a connection a moment ago: chosen only where nothing else is left.
    pub failed: bool,
    /// Already tried for this exchange: never chosen.
    pub tried: bool,
}

/// Chooses among `endpoints` starting at `turn`, which the caller advances by one for each call.
pub fn pick(balance: Balance, turn: usize, endpoints: usize, load: impl Fn(usize) -> Load) -> Option<usize> {
    let in_turn =
        (0..endpoints).map(|i| (turn + i) % endpoints).map(|i| (i, load(i))).filter(|(_, l)| !l.tried);
    let best = match balance {
        Balance::RoundRobin | Balance::Random | Balance::Hash => in_turn.min_by_key(|(_, l)| l.failed),
        Balance::LeastInFlight => in_turn.min_by_key(|(_, l)| (l.failed, l.in_flight)),
    };
    best.map(|(i, _)| i)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Load = Load { in_flight: 0, failed: false, tried: false };

    #[test]
    fn round_robin_takes_turns_and_puts_failed_ones_last() {
        let picks = |failed: usize| -> Vec<_> {
            (0..4)
                .map(|turn| pick(Balance::RoundRobin, turn, 3, |i| Load { failed: i == failed, ..IDLE }))
                .map(Option::unwrap)
                .collect()
        };
        assert_eq!(picks(9), [0, 1, 2, 0]);
        assert_eq!(picks(1), [0, 2, 2, 0]);
    }

    #[test]
    fn least_in_flight_takes_the_least_loaded_and_turns_among_equals() {
        let load = |i: usize| Load { in_flight: [2, 1, 1][i], ..IDLE };
        assert_eq!(pick(Balance::LeastInFlight, 0, 3, load), Some(1));
        assert_eq!(pick(Balance::LeastInFlight, 2, 3, load), Some(2));
    }

    #[test]
    fn an_endpoint_is_tried_once_and_a_failed_one_rather_than_none() {
        assert_eq!(
            pick(Balance::RoundRobin, 0, 2, |i| Load { tried: i == 0, failed: true, ..IDLE }),
            Some(1)
        );
        assert_eq!(pick(Balance::RoundRobin, 0, 2, |_| Load { tried: true, ..IDLE }), None);
        assert_eq!(pick(Balance::RoundRobin, 0, 0, |_| IDLE), None);
    }
}
