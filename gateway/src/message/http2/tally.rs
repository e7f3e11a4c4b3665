//! The sums over all connections to one upstream: each tells its state when that changes, so that no caller has to ask them all.

use std::cell::Cell;
use std::rc::Rc;

/// Connections that exchanges share, to all endpoints of one upstream.
#[derive(Debug, Default)]
pub struct Tally {
    changes: Cell<u64>,
    open: Cell<usize>,
    places: Cell<usize>,
    idle: Cell<usize>,
}

impl Tally {
    /// Counts what changes how many exchanges there may be at once.
    pub fn changes(&self) -> u64 {
        self.changes.get()
    }

    pub fn has_changed(&self) {
        self.changes.set(self.changes.get().wrapping_add(1));
    }

    /// Connections that are not over. One that drains is a connection until its last exchange ends.
    pub fn open(&self) -> usize {
        self.open.get()
    }

    /// Exchanges that may be on all of them at once.
    pub fn places(&self) -> usize {
        self.places.get()
    }

    /// Connections that no exchange uses, and that take one.
    pub fn idle(&self) -> usize {
        self.idle.get()
    }
}

/// One connection's state.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Standing {
    pub(super) is_open: bool,
    pub(super) places: usize,
    pub(super) is_idle: bool,
}

/// One connection's part of the tally. It has none before it is counted, nor once it is dropped.
#[derive(Debug)]
pub(super) struct Part {
    tally: Rc<Tally>,
    said: Cell<Standing>,
    counts: Cell<bool>,
}

impl Part {
    pub(super) fn of(tally: &Rc<Tally>) -> Self {
        Self { tally: Rc::clone(tally), said: Cell::default(), counts: Cell::new(false) }
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// From now on.
    pub(super) fn counts(&self) {
        self.counts.set(true);
    }

    pub(super) fn say(&self, now: Standing) {
        if !self.counts.get() {
            return;
        }
        let before = self.said.replace(now);
        let change = |of: &Cell<usize>, before: usize, now: usize| {
            debug_assert!(of.get() >= before, "what was said is in the sum");
            of.set(of.get().saturating_sub(before).saturating_add(now));
        };
        change(&self.tally.open, before.is_open.into(), now.is_open.into());
        change(&self.tally.places, before.places, now.places);
        change(&self.tally.idle, before.is_idle.into(), now.is_idle.into());
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.say(Standing::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_counts_from_when_it_is_counted_until_it_is_gone() {
        let tally = Rc::<Tally>::default();
        let sums = || (tally.open(), tally.places(), tally.idle());
        let (one, other) = (Part::of(&tally), Part::of(&tally));
        one.say(Standing { is_open: true, places: 100, is_idle: true });
        assert_eq!(sums(), (0, 0, 0), "nobody counts it yet");
        one.counts();
        other.counts();
        one.say(Standing { is_open: true, places: 100, is_idle: true });
        other.say(Standing { is_open: true, places: 7, is_idle: false });
        assert_eq!(sums(), (2, 107, 1));
        one.say(Standing { is_open: true, places: 3, is_idle: false });
        assert_eq!(sums(), (2, 10, 0));
        drop(other);
        assert_eq!(sums(), (1, 3, 0));
        one.say(Standing::default());
        drop(one);
        assert_eq!(sums(), (0, 0, 0));
    }
}
