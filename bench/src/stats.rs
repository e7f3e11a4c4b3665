//! Median, lowest and highest of a few rounds. Pure.

/// Of the rounds that have a figure; there may be none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Self { median, min, max })
    }

    /// Of the ratios round by round: both sides of a ratio saw the same minute of the machine.
    pub fn of_ratios(of: &[f64], to: &[f64]) -> Option<Self> {
        Self::of(of.iter().zip(to).map(|(a, b)| a / b))
    }

    /// `median (min–max)` with so many decimals; of one round the figure alone.
    pub fn show(&self, decimals: usize) -> String {
        if self.min == self.max {
            return format!("{:.decimals$}", self.median);
        }
        format!("{:.*} ({:.*}–{:.*})", decimals, self.median, decimals, self.min, decimals, self.max)
    }
}

/// The lower of the two, round by round: "the better of nginx and HAProxy".
pub fn lower(series: &[Vec<f64>]) -> Vec<f64> {
    let rounds = series.iter().map(Vec::len).min().unwrap_or(0);
    (0..rounds).map(|round| series.iter().map(|s| s[round]).fold(f64::NAN, f64::min)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_few_rounds() {
        assert_eq!(Spread::of([3.0, 1.0, f64::NAN, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([f64::NAN]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let spread = Spread::of_ratios(&[1.0, 4.0, 9.0], &[1.0, 2.0, 3.0]);
        assert_eq!(spread, Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(lower(&[vec![1.0, 5.0], vec![2.0, 3.0]]), [1.0, 3.0]);
    }
}
