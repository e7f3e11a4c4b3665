//! How values are distributed: counts in HdrHistogram's layout, written by one worker while others read.
//!
//! The layout is that of [`hdrhistogram::Histogram`] with two significant digits, so that reading copies counts slot for slot
//! and loses nothing. The histogram knows neither units nor names: these are the recorder's.

use std::sync::OnceLock;

use hdrhistogram::Histogram as Merged;

use super::Counter;

/// Larger values count as this one: 12 days in microseconds, a tebibyte in bytes.
pub const VALUE_MAX: u64 = (1 << 40) - 1;

/// Significant decimal digits: a value is known to one percent.
pub const DIGITS: u8 = 2;

/// Slots of one octave: values that differ by less than a factor of two.
pub(super) const SLOTS: usize = 128;

/// `log2` of the values that have a slot each, 0 to 255.
const EXACT_BITS: u32 = 8;

/// Two of exact values, and one for each further bit of [`VALUE_MAX`].
const OCTAVES: usize = 34;

/// Slots that any distribution has.
pub(super) const SLOTS_MAX: usize = OCTAVES * SLOTS;

type Octave = [Counter; SLOTS];

/// A distribution. One writer; any number of readers. Memory comes with the values: nothing before the first, then 1 KiB
/// for each octave that occurs, at most 35 KiB.
#[derive(Debug, Default)]
pub struct Histogram {
    octaves: OnceLock<Box<[OnceLock<Box<Octave>>; OCTAVES]>>,
    sum: Counter,
}

/// Octave and slot of a value.
pub(super) fn place(value: u64) -> (usize, usize) {
    let bits = (u64::BITS - value.leading_zeros()).max(EXACT_BITS);
    let shift = bits - EXACT_BITS;
    // At most 255.
    let scaled = (value >> shift) as usize;
    (shift as usize + scaled / SLOTS, scaled % SLOTS)
}

/// The least value of a slot.
pub(super) fn value_of(octave: usize, slot: usize) -> u64 {
    match octave.checked_sub(1) {
        None => slot as u64,
        Some(shift) => ((SLOTS + slot) as u64) << shift,
    }
}

impl Histogram {
    #[inline]
    pub fn record(&self, value: u64) {
        let value = value.min(VALUE_MAX);
        let (octave, slot) = place(value);
        let octaves = self.octaves.get_or_init(|| Box::new(std::array::from_fn(|_| OnceLock::new())));
        if let Some(octave) = octaves.get(octave) {
            let octave = octave.get_or_init(|| Box::new(std::array::from_fn(|_| Counter::default())));
            octave[slot].inc();
        }
        self.sum.add(value);
    }

    /// Where the counts are that were made when they were needed.
    #[cfg(test)]
    pub(crate) fn places(&self) -> Vec<std::ops::Range<usize>> {
        let Some(octaves) = self.octaves.get() else { return Vec::new() };
        let held = octaves.iter().filter_map(OnceLock::get).map(|octave| super::place_of(&**octave));
        held.chain([super::place_of(&**octaves)]).collect()
    }

    /// The sum of all values: exact, unlike the counts.
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }

    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.counts().map(|(_, n)| n).sum()
    }

    /// (the least value of a slot, how many) of each slot that has any, from small to large.
    pub fn counts(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let octaves = self.octaves.get().into_iter().flat_map(|octaves| octaves.iter().enumerate());
        let slots = octaves.filter_map(|(at, octave)| Some((at, octave.get()?)));
        let all = slots.flat_map(|(at, octave)| {
            octave.iter().enumerate().map(move |(slot, n)| (value_of(at, slot), n.get()))
        });
        all.filter(|(_, n)| *n > 0)
    }

    /// Adds the recorded values to `all`, which [`merged`] made.
    pub fn add_to(&self, all: &mut Merged<u64>) {
        for (value, n) in self.counts() {
            all.saturating_record_n(value, n);
        }
    }
}

/// An empty distribution for [`Histogram::add_to`].
pub fn merged() -> Merged<u64> {
    // invariant: bounds that the crate takes; a test makes one.
    #[allow(clippy::expect_used)]
    Merged::new_with_bounds(1, VALUE_MAX, DIGITS).expect("constant bounds")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(histogram: &Histogram) -> Merged<u64> {
        let mut all = merged();
        histogram.add_to(&mut all);
        all
    }

    #[test]
    fn every_value_lands_where_the_crate_has_it() {
        let mut values: Vec<u64> = (0..2_000).collect();
        values.extend((0..40).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1, 3 << bit >> 1]));
        values.push(VALUE_MAX);
        for value in values.into_iter().filter(|v| *v <= VALUE_MAX) {
            let (ours, mut theirs) = (Histogram::default(), merged());
            ours.record(value);
            theirs.record(value).unwrap();
            assert_eq!(read(&ours), theirs, "{value}");
            let (least, n) = ours.counts().next().unwrap();
            assert_eq!((least, n, ours.count()), (theirs.lowest_equivalent(value), 1, 1), "{value}");
        }
    }

    #[test]
    fn values_beyond_the_largest_count_as_it_and_nothing_is_held_before_the_first() {
        let histogram = Histogram::default();
        assert_eq!((histogram.count(), histogram.sum(), size_of::<Histogram>()), (0, 0, 24));
        histogram.record(u64::MAX);
        histogram.record(7);
        assert_eq!((histogram.count(), histogram.sum()), (2, VALUE_MAX + 7));
        assert_eq!(read(&histogram).max(), VALUE_MAX);
    }
}
