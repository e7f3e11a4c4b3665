//! Windows: how much may be sent, how much may come (RFC 9113 §5.2, §6.9). In i64, because a SETTINGS may make a window negative and
//! two increments may pass 2³¹-1.

/// The largest window (RFC 9113 §6.9.1).
pub const WINDOW_MAX: i64 = 0x7fff_ffff;

/// Every window's size until a peer says otherwise (RFC 9113 §6.9.2).
pub const WINDOW_DEFAULT: i64 = 65_535;

/// FLOW_CONTROL_ERROR: of the stream or of the connection, whose window it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

/// The bytes that a peer lets us send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendWindow(i64);

impl SendWindow {
    pub fn new(size: i64) -> Self {
        Self(size)
    }

    /// Bytes that may go now.
    #[inline]
    pub fn room(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// The part of a shared window that one stream may take, which has `unread` bytes of it already: none holds more than it
    /// leaves to the others. So half of a window stays free of one whose bytes are not read, a quarter of two, and so on (dynamic
    /// thresholds, Choudhury and Hahne 1998). Not less than half, as many peers give nothing back before half is read.
    #[inline]
    pub fn share(self, unread: usize) -> usize {
        self.room().saturating_sub(unread).div_ceil(2)
    }

    pub fn spend(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.room(), "more was sent than the peer allowed");
        self.0 -= bytes as i64;
    }

    /// WINDOW_UPDATE.
    pub fn grow(&mut self, bytes: u32) -> Result<(), Overflow> {
        self.shift(i64::from(bytes))
    }

    /// A changed SETTINGS_INITIAL_WINDOW_SIZE moves every stream's window, perhaps below zero (RFC 9113 §6.9.2).
    pub fn shift(&mut self, by: i64) -> Result<(), Overflow> {
        let moved = self.0 + by;
        if moved > WINDOW_MAX {
            return Err(Overflow);
        }
        self.0 = moved;
        Ok(())
    }
}

/// The bytes that we let a peer send. Taken bytes are given back in increments of half the window, so that a byte costs no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiveWindow {
    size: i64,
    left: i64,
    /// Taken, not given back.
    owed: i64,
}

impl ReceiveWindow {
    pub fn new(size: i64) -> Self {
        Self { size: size.min(WINDOW_MAX), left: size.min(WINDOW_MAX), owed: 0 }
    }

    /// Bytes that may come now.
    pub fn left(&self) -> i64 {
        self.left
    }

    /// A frame came.
    pub fn receive(&mut self, bytes: u32) -> Result<(), Overflow> {
        let left = self.left - i64::from(bytes);
        if left < 0 {
            return Err(Overflow);
        }
        self.left = left;
        Ok(())
    }

    /// Bytes that came were taken by their reader. Returns the increment to tell the peer, where one is due.
    pub fn taken(&mut self, bytes: usize) -> Option<u32> {
        let held = self.size - self.left - self.owed;
        debug_assert!(bytes as i64 <= held, "more was taken than came");
        self.owed += (bytes as i64).min(held);
        if self.owed == 0 || self.owed < self.size / 2 {
            return None;
        }
        self.left += self.owed;
        u32::try_from(std::mem::take(&mut self.owed)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_may_fall_below_zero_but_never_pass_its_greatest() {
        let mut window = SendWindow::new(100);
        window.spend(60);
        assert_eq!(window.shift(-100), Ok(()));
        assert_eq!(window.room(), 0);
        assert_eq!(window.grow(61), Ok(()));
        assert_eq!(window.room(), 1);
        assert_eq!(window.grow(0x7fff_fffe), Ok(()));
        assert_eq!(window.grow(1), Err(Overflow));
        assert_eq!(window.room(), 0x7fff_ffff);
    }

    #[test]
    fn nobody_who_shares_a_window_takes_more_of_it_than_is_left_for_others() {
        let mut window = SendWindow::new(WINDOW_DEFAULT);
        let mut takes = |unread: usize| {
            let share = window.share(unread);
            window.spend(share);
            share
        };
        assert_eq!((takes(0), takes(32_768)), (32_768, 0), "half of it, rounded up");
        assert_eq!((takes(0), takes(16_384)), (16_384, 0));
        assert_eq!((takes(0), takes(8_192)), (8_192, 0));
        let mut last = SendWindow::new(1);
        assert_eq!(last.share(0), 1, "who has nothing is never kept waiting by what there is");
        last.spend(1);
        assert_eq!(last.share(0), 0);
    }

    #[test]
    fn what_is_taken_comes_back_by_halves_and_what_is_not_does_not() {
        let mut window = ReceiveWindow::new(100);
        assert_eq!(window.receive(100), Ok(()));
        assert_eq!(window.receive(1), Err(Overflow));
        assert_eq!(window.taken(49), None);
        assert_eq!(window.taken(1), Some(50));
        assert_eq!(window.receive(50), Ok(()));
        assert_eq!(window.receive(1), Err(Overflow));
        assert_eq!(window.taken(100), Some(100));
        assert_eq!(window.receive(100), Ok(()));
    }
}
