//! Lingering close (RFC 9112 §9.6): the end of a connection that its peer may still write to.

use std::cell::Cell;

use super::ReadHalf;
use crate::limits::{BLOCK_BYTES, HEAD_BUFFER_BYTES, LINGER_MS};
use crate::time::Millis;

impl ReadHalf {
    /// Reads and forgets the peer's bytes while the last response is written: closing with unread bytes would reset the
    /// connection, and lose that response. Ends with the peer, in any case in time; `block` comes back.
    pub async fn linger(&mut self, mut block: Vec<u8>, now_ms: u64, is_written: &Cell<bool>) -> Vec<u8> {
        self.give_up_at(now_ms + LINGER_MS);
        let mut left = BLOCK_BYTES;
        while left > 0 || !is_written.get() {
            block.clear();
            let (read, back) = self.discard(block, HEAD_BUFFER_BYTES, Millis(LINGER_MS)).await;
            block = back;
            match read {
                Ok(n @ 1..) => left = left.saturating_sub(n),
                Ok(0) | Err(_) => break,
            }
        }
        block
    }
}
