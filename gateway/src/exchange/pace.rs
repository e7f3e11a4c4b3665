//! The least pace of a client, so that dripping does not hold an exchange for ever. Pure: waits and bytes in, patience out.

use crate::time::Millis;

/// The time that a client was waited for in one direction of an exchange, and the bytes of that time. Time in which a primary
/// keeps us waiting is not the client's.
#[derive(Debug)]
pub(super) struct Pace {
    /// The wait that is free.
    free_ms: u64,
    /// Bytes that earn a second of waiting; 0 asks for none.
    bytes_per_second: u64,
    waited_ms: u64,
    bytes: u64,
}

impl Pace {
    pub(super) fn new(free: Millis, bytes_per_second: u64) -> Self {
        Self { free_ms: free.0, bytes_per_second, waited_ms: 0, bytes: 0 }
    }

    /// How long the next piece may be waited for: never longer than `within`.
    pub(super) fn patience(&self, within: Millis) -> Millis {
        if self.bytes_per_second == 0 {
            return within;
        }
        let earned_ms = self.bytes.saturating_mul(1000) / self.bytes_per_second;
        let left_ms = self.free_ms.saturating_add(earned_ms).saturating_sub(self.waited_ms);
        Millis(within.0.min(left_ms))
    }

    /// A piece took `waited_ms`.
    pub(super) fn took(&mut self, waited_ms: u64, bytes: usize) {
        self.waited_ms = self.waited_ms.saturating_add(waited_ms);
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dripping_uses_patience_up_and_bytes_earn_it_back() {
        let within = Millis(1000);
        let mut pace = Pace::new(within, 100);
        assert_eq!(pace.patience(within), Millis(1000));
        pace.took(900, 10);
        assert_eq!(pace.patience(within), Millis(200));
        pace.took(200, 1);
        assert_eq!(pace.patience(within), Millis(10));
        pace.took(0, 100_000);
        assert_eq!(pace.patience(within), Millis(1000), "one piece has its own timeout");
        pace.took(u64::MAX, 0);
        assert_eq!(pace.patience(within), Millis(0));
        let mut any = Pace::new(within, 0);
        any.took(u64::MAX, 1);
        assert_eq!(any.patience(within), within);
    }
}
