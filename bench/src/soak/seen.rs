//! The clients' observations, counted for each wire. Judges nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::wire::Wire;

/// Kept of what must not happen.
const DETAILS_MAX: usize = 20;

/// Requests by how they ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Answered with exactly what was sent.
    pub whole: u64,
    /// Left by the client.
    pub left: u64,
    /// Answered with another's bytes, or nobody's.
    pub wrong: u64,
    /// None of these, by status or by what happened.
    pub errors: BTreeMap<String, u64>,
}

impl Count {
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    pub fn add(&mut self, other: &Self) {
        self.whole += other.whole;
        self.left += other.left;
        self.wrong += other.wrong;
        for (what, count) in &other.errors {
            *self.errors.entry(what.clone()).or_default() += count;
        }
    }

    pub fn since(&self, before: &Self) -> Self {
        let mut errors = self.errors.clone();
        for (what, count) in &before.errors {
            errors.entry(what.clone()).and_modify(|now| *now -= count);
        }
        errors.retain(|_, count| *count > 0);
        Self {
            whole: self.whole - before.whole,
            left: self.left - before.left,
            wrong: self.wrong - before.wrong,
            errors,
        }
    }
}

/// The counts of each wire.
#[derive(Clone, Debug, Default)]
pub struct Counts(BTreeMap<Wire, Count>);

impl Counts {
    pub fn of(&self, wire: Wire) -> Count {
        self.0.get(&wire).cloned().unwrap_or_default()
    }

    pub fn all(&self) -> Count {
        let mut all = Count::default();
        self.0.values().for_each(|count| all.add(count));
        all
    }

    pub fn add(&mut self, other: &Self) {
        for (wire, count) in &other.0 {
            self.0.entry(*wire).or_default().add(count);
        }
    }

    pub fn since(&self, before: &Self) -> Self {
        Self(self.0.iter().map(|(wire, count)| (*wire, count.since(&before.of(*wire)))).collect())
    }
}

/// Observations so far.
#[derive(Default)]
pub struct Seen {
    state: Mutex<State>,
    /// No error has an excuse now.
    is_strict: AtomicBool,
}

#[derive(Default)]
struct State {
    counts: Counts,
    wrong: Vec<String>,
    suspects: Vec<String>,
}

impl Seen {
    pub fn counts(&self) -> Counts {
        self.state().counts.clone()
    }

    /// The first responses to another client's request, or to no request.
    pub fn wrong(&self) -> Vec<String> {
        self.state().wrong.clone()
    }

    /// The first errors that had no excuse.
    pub fn suspects(&self) -> Vec<String> {
        self.state().suspects.clone()
    }

    /// Whether errors are written down one by one from now on.
    pub fn set_strict(&self, is_strict: bool) {
        self.is_strict.store(is_strict, Relaxed);
    }

    pub(super) fn whole(&self, wire: Wire) {
        self.state().counts.0.entry(wire).or_default().whole += 1;
    }

    pub(super) fn left(&self, wire: Wire) {
        self.state().counts.0.entry(wire).or_default().left += 1;
    }

    pub(super) fn is_wrong(&self, wire: Wire, what: String) {
        let mut state = self.state();
        state.counts.0.entry(wire).or_default().wrong += 1;
        keep(&mut state.wrong, || format!("{}: {what}", wire.name()));
    }

    /// `which`: the request, to be written down where it had to be answered.
    pub(super) fn failed(&self, wire: Wire, what: String, which: String) {
        let mut state = self.state();
        if self.is_strict.load(Relaxed) {
            keep(&mut state.suspects, || format!("{}: {what}: {which}", wire.name()));
        }
        *state.counts.0.entry(wire).or_default().errors.entry(what).or_default() += 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first ones are said at once, too: a soak is long.
fn keep(details: &mut Vec<String>, what: impl Fn() -> String) {
    if details.len() < DETAILS_MAX {
        let what = what();
        eprintln!("  ! {what}");
        details.push(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_told_by_wire_and_taken_between_two_looks() {
        let seen = Seen::default();
        seen.failed(Wire::Http1, "cut".into(), String::new());
        let before = seen.counts();
        seen.set_strict(true);
        seen.whole(Wire::Http1);
        seen.failed(Wire::Http2, "502".into(), "which".into());
        seen.failed(Wire::Http1, "502".into(), "another".into());
        let since = seen.counts().since(&before);
        assert_eq!((since.of(Wire::Http1).whole, since.of(Wire::Http1).failed()), (1, 1));
        assert_eq!(since.all().errors, BTreeMap::from([("502".to_string(), 2)]));
        assert_eq!(seen.suspects(), ["h2: 502: which", "http1: 502: another"]);
    }
}
