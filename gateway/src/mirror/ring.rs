//! The bounded queue of copies: so many entries, so many bytes, and a named policy for a copy that does not fit.
//!
//! Pure: no waker, no clock, no counter. Pushing is O(1) except under `Oldest`, where it is O(evicted); a copy that is given up
//! is handed back to the caller, never lost here.

use std::collections::VecDeque;

/// Why an item did not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    Entries,
    Bytes,
}

/// A queue bounded by entries and by the bytes its items keep alive, those of items still being made included.
#[derive(Debug)]
pub struct Ring<T> {
    queue: VecDeque<(T, usize)>,
    bytes: usize,
    /// Kept alive by items that are not complete and so not queued yet.
    reserved: usize,
    entries_max: usize,
    bytes_max: usize,
}

impl<T> Ring<T> {
    pub fn new(entries_max: usize, bytes_max: usize) -> Self {
        Self { queue: VecDeque::new(), bytes: 0, reserved: 0, entries_max, bytes_max }
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How full it is, by entries or bytes, whichever is fuller; copies that are being made count.
    pub fn percent(&self) -> u64 {
        let percent = |n: usize, max: usize| (n as u64).saturating_mul(100) / (max.max(1) as u64);
        percent(self.queue.len(), self.entries_max).max(percent(self.bytes + self.reserved, self.bytes_max))
    }

    /// Whether an item of `bytes` would fit now.
    pub fn room_for(&self, bytes: usize) -> Result<(), Full> {
        if self.queue.len() >= self.entries_max {
            Err(Full::Entries)
        } else if bytes > self.bytes_max.saturating_sub(self.bytes + self.reserved) {
            Err(Full::Bytes)
        } else {
            Ok(())
        }
    }

    /// Adds an item that keeps `bytes` alive, or hands it back.
    pub fn push(&mut self, item: T, bytes: usize) -> Result<(), (T, Full)> {
        if let Err(full) = self.room_for(bytes) {
            return Err((item, full));
        }
        self.bytes += bytes;
        self.queue.push_back((item, bytes));
        Ok(())
    }

    /// Adds an item, giving up the oldest ones to `evicted` until it fits. Handed back only if it could never fit.
    pub fn push_evicting(
        &mut self,
        item: T,
        bytes: usize,
        mut evicted: impl FnMut(T),
    ) -> Result<(), (T, Full)> {
        if bytes > self.bytes_max.saturating_sub(self.reserved) {
            return Err((item, Full::Bytes));
        }
        while self.room_for(bytes).is_err() {
            match self.pop() {
                Some((oldest, _)) => evicted(oldest),
                None => break,
            }
        }
        self.push(item, bytes)
    }

    /// Sets `bytes` aside for an item being made; they count like queued ones until released.
    pub fn reserve(&mut self, bytes: usize) -> Result<(), Full> {
        if bytes > self.bytes_max.saturating_sub(self.bytes + self.reserved) {
            return Err(Full::Bytes);
        }
        self.reserved += bytes;
        Ok(())
    }

    /// Like `reserve`, giving up the oldest items to `evicted` until there is room.
    pub fn reserve_evicting(&mut self, bytes: usize, mut evicted: impl FnMut(T)) -> Result<(), Full> {
        if bytes > self.bytes_max.saturating_sub(self.reserved) {
            return Err(Full::Bytes);
        }
        while bytes > self.bytes_max - self.bytes - self.reserved {
            match self.pop() {
                Some((oldest, _)) => evicted(oldest),
                None => break,
            }
        }
        self.reserve(bytes)
    }

    /// Gives a reservation back.
    pub fn release(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.reserved, "only what was reserved can be released");
        self.reserved = self.reserved.saturating_sub(bytes);
    }

    /// Takes the oldest item, with the bytes that it kept alive.
    pub fn pop(&mut self) -> Option<(T, usize)> {
        let (item, bytes) = self.queue.pop_front()?;
        self.bytes -= bytes;
        Some((item, bytes))
    }

    /// The oldest item.
    pub fn peek(&self) -> Option<&T> {
        self.queue.front().map(|(item, _)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_hands_back_what_does_not_fit_and_says_which_bound() {
        let mut ring = Ring::new(2, 10);
        assert_eq!(ring.push("a", 4), Ok(()));
        assert_eq!(ring.push("b", 7), Err(("b", Full::Bytes)));
        assert_eq!(ring.push("c", 6), Ok(()));
        assert_eq!(ring.push("d", 0), Err(("d", Full::Entries)));
        assert_eq!((ring.len(), ring.bytes(), ring.percent()), (2, 10, 100));
        assert_eq!(ring.pop(), Some(("a", 4)));
        assert_eq!(ring.push("e", 4), Ok(()));
        assert_eq!((ring.pop(), ring.pop(), ring.pop()), (Some(("c", 6)), Some(("e", 4)), None));
        assert_eq!(ring.bytes(), 0);
    }

    #[test]
    fn what_is_being_made_counts_like_what_waits() {
        let mut ring = Ring::new(8, 10);
        assert_eq!(ring.push("a", 4), Ok(()));
        assert_eq!(ring.reserve(7), Err(Full::Bytes));
        assert_eq!(ring.reserve(5), Ok(()));
        assert_eq!(ring.percent(), 90);
        assert_eq!(ring.push("b", 2), Err(("b", Full::Bytes)));
        ring.release(5);
        assert_eq!(ring.push("b", 2), Ok(()));
        let mut gone = Vec::new();
        assert_eq!(ring.reserve_evicting(7, |old| gone.push(old)), Ok(()));
        assert_eq!(gone, ["a"]);
        assert_eq!(ring.reserve_evicting(4, |_| panic!("eviction cannot make room")), Err(Full::Bytes));
        assert_eq!((ring.len(), ring.bytes()), (1, 2));
    }

    #[test]
    fn oldest_gives_up_from_the_front_until_the_new_one_fits() {
        let mut ring = Ring::new(3, 10);
        for item in ["a", "b", "c"] {
            ring.push(item, 3).unwrap();
        }
        let mut gone = Vec::new();
        ring.push_evicting("d", 6, |old| gone.push(old)).unwrap();
        assert_eq!(gone, ["a", "b"]);
        assert_eq!((ring.len(), ring.bytes()), (2, 9));
        assert_eq!(
            ring.push_evicting("e", 11, |_| panic!("nothing may go for what never fits")),
            Err(("e", Full::Bytes))
        );
    }

    #[test]
    fn what_fits_exactly_fits_and_nothing_goes_for_it_that_need_not() {
        let none = |gone: &str| panic!("{gone} was given up");
        let mut ring = Ring::new(8, 10);
        assert!(ring.is_empty() && ring.peek().is_none());
        assert_eq!(ring.push_evicting("whole", 10, none), Ok(()));
        assert!(!ring.is_empty());
        assert_eq!(ring.peek(), Some(&"whole"));
        let mut gone = Vec::new();
        assert_eq!(ring.reserve_evicting(10, |old| gone.push(old)), Ok(()));
        assert_eq!((gone, ring.len(), ring.percent()), (vec!["whole"], 0, 100));
        ring.release(10);
        assert_eq!(ring.push("a", 4), Ok(()));
        assert_eq!(ring.reserve_evicting(6, none), Ok(()));
        assert_eq!(ring.peek(), Some(&"a"));
    }

    #[test]
    fn what_is_set_aside_adds_up() {
        let mut ring = Ring::new(8, 10);
        assert_eq!((ring.push("a", 4), ring.reserve(4)), (Ok(()), Ok(())));
        assert_eq!(ring.reserve(3), Err(Full::Bytes));
        assert_eq!(ring.reserve(2), Ok(()));
        ring.release(4);
        assert_eq!(ring.push("b", 2), Ok(()));
        // Six bytes wait and two are set aside: two are free, and four more with the oldest gone.
        let mut gone = Vec::new();
        assert_eq!(ring.reserve_evicting(4, |old| gone.push(old)), Ok(()));
        assert_eq!((gone, ring.bytes()), (vec!["a"], 2));
    }
}
