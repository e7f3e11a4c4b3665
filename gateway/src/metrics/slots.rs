//! Counts of a distribution by value, sparse: the form in which a [`Histogram`] is kept, added up and taken away. Pure.

use hdrhistogram::Histogram as Merged;
use serde::{Deserialize, Serialize};

use super::Histogram;
use super::histogram::{SLOTS, SLOTS_MAX, VALUE_MAX, merged, place, value_of};

/// (the least value of a slot, how many), from small to large; none is zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>")]
pub struct Slots(Vec<(u64, u64)>);

/// Counts as another process wrote them: sorted and summed, whatever their order.
impl From<Vec<(u64, u64)>> for Slots {
    fn from(counts: Vec<(u64, u64)>) -> Self {
        Self::sum(counts.into_iter().filter(|(_, n)| *n > 0))
    }
}

/// Counts together. Another gateway's may be as large as a number can be.
pub fn total(all: impl IntoIterator<Item = u64>) -> u64 {
    all.into_iter().fold(0, u64::saturating_add)
}

/// Two counts by level, the least first: see [`super::Tails`]. Missing levels count as zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TailCounts(Vec<(u64, u64)>);

impl FromIterator<(u64, u64)> for TailCounts {
    fn from_iter<T: IntoIterator<Item = (u64, u64)>>(all: T) -> Self {
        Self(all.into_iter().collect())
    }
}

impl TailCounts {
    pub fn at(&self, level: usize) -> (u64, u64) {
        self.0.get(level).copied().unwrap_or_default()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn with(&self, other: &Self, of: fn(u64, u64) -> u64) -> Self {
        let levels = 0..self.len().max(other.len());
        let both = levels.map(|level| (self.at(level), other.at(level)));
        both.map(|(one, other)| (of(one.0, other.0), of(one.1, other.1))).collect()
    }

    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    /// The counts since an earlier look.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        self.with(before, u64::saturating_sub)
    }
}

impl Slots {
    /// No distribution has more.
    pub const LEN_MAX: usize = SLOTS_MAX;

    /// Of several workers together.
    pub fn of<'a>(all: impl IntoIterator<Item = &'a Histogram>) -> Self {
        Self::sum(all.into_iter().flat_map(Histogram::counts))
    }

    /// Several together: each count goes to its place, for a thousand of them are too many to sort.
    pub fn together<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut counts = vec![0_u64; SLOTS_MAX];
        // Another gateway's counts may have any values.
        let mut elsewhere = Vec::new();
        for (value, n) in all.into_iter().flat_map(|slots| slots.0.iter().copied()) {
            let (octave, slot) = place(value.min(VALUE_MAX));
            match counts.get_mut(octave * SLOTS + slot).filter(|_| value_of(octave, slot) == value) {
                Some(sum) => *sum = sum.saturating_add(n),
                None => elsewhere.push((value, n)),
            }
        }
        let held = (0..).zip(counts).filter(|(_, n)| *n > 0);
        let all = held.map(|(at, n)| (value_of(at / SLOTS, at % SLOTS), n));
        if elsewhere.is_empty() { Self(all.collect()) } else { Self::sum(all.chain(elsewhere)) }
    }

    fn sum(counts: impl Iterator<Item = (u64, u64)>) -> Self {
        let mut slots: Vec<(u64, u64)> = counts.collect();
        slots.sort_unstable_by_key(|(value, _)| *value);
        slots.dedup_by(|(value, n), (kept, sum)| {
            let same = value == kept;
            if same {
                *sum = sum.saturating_add(*n);
            }
            same
        });
        Self(slots)
    }

    /// The counts since `before`, which is an earlier look at the same distribution.
    pub fn since(&self, before: &Self) -> Self {
        let mut earlier = before.0.iter().copied().peekable();
        let rest = |(value, n): &(u64, u64)| {
            while earlier.next_if(|(other, _)| other < value).is_some() {}
            let then = earlier.next_if(|(other, _)| other == value).map_or(0, |(_, then)| then);
            let new = n.saturating_sub(then);
            (new > 0).then_some((*value, new))
        };
        Self(self.0.iter().filter_map(rest).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Slots held, 16 bytes each.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        total(self.0.iter().map(|(_, n)| *n))
    }

    /// The value of this rank, counted from 1, as its slot has it; 0 where there is none.
    pub fn at(&self, rank: f64) -> u64 {
        let mut passed = 0_u64;
        let reaches = |(value, n): &(u64, u64)| {
            passed = passed.saturating_add(*n);
            (passed as f64 >= rank).then_some(*value)
        };
        let found = self.0.iter().find_map(reaches);
        found.or_else(|| self.0.last().map(|(value, _)| *value)).unwrap_or_default()
    }

    /// The least value of the slot at this place among those that are held; 0 where there is none.
    pub fn value(&self, at: usize) -> u64 {
        self.0.get(at).map_or(0, |(value, _)| *value)
    }

    /// How many slots come before the first whose least value is like that; larger values are like that too.
    pub fn position(&self, is_like: impl Fn(u64) -> bool) -> usize {
        self.0.partition_point(|(value, _)| !is_like(*value))
    }

    /// (the least value of a slot, how many), from small to large.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// As the crate has it, to ask for quantiles.
    pub fn merged(&self) -> Merged<u64> {
        let mut all = merged();
        self.iter().for_each(|(value, n)| all.saturating_record_n(value, n));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[u64]) -> Histogram {
        let histogram = Histogram::default();
        values.iter().for_each(|value| histogram.record(*value));
        histogram
    }

    #[test]
    fn what_is_added_up_can_be_taken_away_again() {
        let (one, other) = (of(&[1, 1, 7, 5000]), of(&[1, 90, 5000]));
        let (first, all) = (Slots::of([&one]), Slots::of([&one, &other]));
        let second = Slots::of([&other]);
        assert_eq!(all.since(&first), second);
        assert_eq!(all.since(&second), first);
        assert_eq!(Slots::together([&first, &second]), all);
        // Another gateway may have values that no slot here has.
        let foreign: Slots = vec![(5001, 2), (4992, 1), (u64::MAX, u64::MAX)].into();
        let with = Slots::together([&first, &foreign, &second, &foreign]);
        assert_eq!(with, Slots::sum(all.iter().chain(foreign.iter()).chain(foreign.iter())));
        assert!(all.since(&all).is_empty());
        assert_eq!(all.since(&Slots::default()), all);
        assert_eq!(all.count(), 7);
        assert_eq!([0.0, 1.0, 3.0, 3.1, 5.0, 99.0].map(|rank| all.at(rank)), [1, 1, 1, 7, 90, 4992]);
        assert_eq!(Slots::default().at(1.0), 0);
        let mut both = merged();
        one.add_to(&mut both);
        other.add_to(&mut both);
        assert_eq!(all.merged(), both);
    }
}
