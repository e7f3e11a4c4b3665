//! The compared parts of a JSON text, in one form, so that items without order can be sorted. Pure.

use std::cmp::Ordering;

/// The compared parts of a JSON text, by which both sides sort their items.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) text: String,
    /// Numbers in their order, where they may differ a little.
    pub(super) numbers: Vec<f64>,
}

impl Said {
    pub(super) fn append(&mut self, other: Self) {
        self.text.push_str(&other.text);
        self.text.push(',');
        self.numbers.extend(other.numbers);
    }

    pub(super) fn order(&self, other: &Self) -> Ordering {
        let numbers = || {
            let mut pairs = self.numbers.iter().zip(&other.numbers);
            pairs.find_map(|(a, b)| Some(a.total_cmp(b)).filter(|order| order.is_ne()))
        };
        self.text.cmp(&other.text).then_with(|| numbers().unwrap_or(Ordering::Equal))
    }
}
