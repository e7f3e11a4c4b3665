//! Numbers with one writer and any number of readers: counters, levels, and a counter for each value of a label.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use super::Label;

/// A number that only grows. One writer; any number of readers.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A level that rises and falls. One writer; any number of readers.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    #[inline]
    pub fn add(&self, n: i64) {
        self.0.store(self.0.load(Relaxed) + n, Relaxed);
    }

    #[inline]
    pub fn set(&self, n: i64) {
        self.0.store(n, Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// A counter for each value of a label. The counters lie in the family itself, so that its owner decides whose cache lines they
/// are on.
#[derive(Debug)]
pub struct Family<L: Label>(L::Counters);

impl<L: Label> Default for Family<L> {
    fn default() -> Self {
        Self(L::zeroes())
    }
}

impl<L: Label> Family<L> {
    fn counter(&self, label: L) -> Option<&Counter> {
        self.0.as_ref().get(label.index())
    }

    #[inline]
    pub fn inc(&self, label: L) {
        if let Some(counter) = self.counter(label) {
            counter.inc();
        }
    }

    #[inline]
    pub fn add(&self, label: L, n: u64) {
        if let Some(counter) = self.counter(label) {
            counter.add(n);
        }
    }

    pub fn get(&self, label: L) -> u64 {
        self.counter(label).map_or(0, Counter::get)
    }

    pub fn sum(&self) -> u64 {
        self.0.as_ref().iter().map(Counter::get).sum()
    }

    /// Of some labels, each read once: a sum less one of its addends may be less than nothing while they grow.
    pub fn sum_where(&self, counts: impl Fn(L) -> bool) -> u64 {
        L::ALL.iter().filter(|label| counts(**label)).map(|label| self.get(*label)).sum()
    }
}
