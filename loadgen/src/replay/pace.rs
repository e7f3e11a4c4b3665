//! When recorded requests are due: at their own distances, so many times faster or slower, or at a flat rate. Pure.

use std::str::FromStr;

use crate::units;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Their distances, divided by this.
    Recorded(f64),
    /// So many a second, in their order.
    Flat(f64),
}

impl FromStr for Pace {
    type Err = String;

    /// `1x`, `2x`, `0.5x`, or a rate such as `500` or `20k`.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some(factor) = text.strip_suffix('x') else {
            return units::rate(text)
                .map(Self::Flat)
                .map_err(|why| format!("{why}; a pace is a factor such as 2x, or a rate such as 500"));
        };
        match factor.parse::<f64>() {
            Ok(factor) if factor > 0.0 && factor.is_finite() => Ok(Self::Recorded(factor)),
            Ok(_) | Err(_) => Err(format!("`{text}`: a factor is a number above zero, such as 2x or 0.5x")),
        }
    }
}

impl Pace {
    /// When the request number `index`, recorded so long after the first, is due.
    pub fn due_ns(self, index: usize, after_ns: u64) -> u64 {
        match self {
            Self::Recorded(factor) => (after_ns as f64 / factor) as u64,
            Self::Flat(per_s) => (index as f64 / per_s * 1e9) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_a_factor_or_a_rate() {
        assert_eq!("2x".parse(), Ok(Pace::Recorded(2.0)));
        assert_eq!("0.5x".parse(), Ok(Pace::Recorded(0.5)));
        assert_eq!("20k".parse(), Ok(Pace::Flat(20_000.0)));
        for bad in ["0x", "-1x", "x", "infx", "NaNx", "0", "fast"] {
            assert!(bad.parse::<Pace>().is_err(), "{bad}");
        }
    }

    #[test]
    fn requests_are_due_by_their_distances_or_evenly() {
        assert_eq!(Pace::Recorded(2.0).due_ns(5, 1_000), 500);
        assert_eq!(Pace::Recorded(0.5).due_ns(5, 1_000), 2_000);
        assert_eq!(Pace::Flat(1_000.0).due_ns(5, 77), 5_000_000);
    }
}
