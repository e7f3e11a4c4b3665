//! What is compared of a JSON text, said in one way, so that items without order can be put in one. Pure.

use std::cmp::Ordering;

/// What is compared of a JSON text, to put items in an order that both sides share.
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
