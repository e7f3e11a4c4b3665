//! The way of captured copies out of a worker: a lock-free ring that the capture's writer polls. A worker looks for room before
//! it gives a copy away. A copy without room waits in its lane's ring and is dropped there, by the lane's policy and under its
//! reasons.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use rtrb::{Consumer, Producer, RingBuffer};

use crate::limits::{CAPTURED_BYTES_MAX, CAPTURED_MAX};

/// A copy as a worker hands it to the writer.
#[derive(Debug)]
pub struct Captured {
    /// When its request was forwarded, in microseconds since the Unix epoch.
    pub at_us: u64,
    /// As on a mirror's wire: head, and content where it is small.
    pub head: Vec<u8>,
    pub pieces: Vec<Bytes>,
    /// Bytes that it keeps alive.
    pub bytes: usize,
}

/// The worker's end.
#[derive(Debug)]
pub struct Feed {
    captured: Producer<Captured>,
    /// Bytes that all waiting copies keep alive.
    bytes: Arc<AtomicUsize>,
}

/// The writer's end.
#[derive(Debug)]
pub struct Fed {
    captured: Consumer<Captured>,
    bytes: Arc<AtomicUsize>,
}

/// Both ends of one lane's way.
pub fn feed() -> (Feed, Fed) {
    let (producer, consumer) = RingBuffer::new(CAPTURED_MAX);
    let bytes = Arc::<AtomicUsize>::default();
    (Feed { captured: producer, bytes: Arc::clone(&bytes) }, Fed { captured: consumer, bytes })
}

impl Feed {
    /// Whether one more copy may go: one of any size where nothing waits.
    pub fn has_room(&self) -> bool {
        !self.captured.is_full() && self.bytes.load(Relaxed) < CAPTURED_BYTES_MAX
    }

    /// The writer is gone.
    pub fn is_closed(&self) -> bool {
        self.captured.is_abandoned()
    }

    /// Hands a copy over, or back.
    pub fn push(&mut self, captured: Captured) -> Result<(), Captured> {
        let bytes = captured.bytes;
        self.bytes.fetch_add(bytes, Relaxed);
        self.captured.push(captured).map_err(|rtrb::PushError::Full(captured)| {
            self.bytes.fetch_sub(bytes, Relaxed);
            captured
        })
    }
}

impl Fed {
    /// The oldest copy that waits.
    pub fn pop(&mut self) -> Option<Captured> {
        let captured = self.captured.pop().ok()?;
        self.bytes.fetch_sub(captured.bytes, Relaxed);
        Some(captured)
    }

    /// The worker's end is gone, and nothing waits.
    pub fn is_over(&self) -> bool {
        self.captured.is_abandoned() && self.captured.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(bytes: usize) -> Captured {
        Captured { at_us: 1, head: Vec::new(), pieces: Vec::new(), bytes }
    }

    #[test]
    fn a_feed_is_full_by_copies_and_by_bytes_and_takes_one_of_any_size() {
        let (mut feed, mut fed) = feed();
        assert!(feed.has_room());
        feed.push(captured(10 * CAPTURED_BYTES_MAX)).expect("there is room");
        assert!(!feed.has_room());
        assert_eq!(fed.pop().map(|c| c.bytes), Some(10 * CAPTURED_BYTES_MAX));
        for _ in 0..CAPTURED_MAX {
            assert!(feed.has_room());
            feed.push(captured(0)).expect("there is room");
        }
        assert!(!feed.has_room());
        assert_eq!(feed.push(captured(7)).map_err(|back| back.bytes), Err(7));
        while fed.pop().is_some() {}
        assert!(feed.has_room() && !fed.is_over() && !feed.is_closed());
        drop(feed);
        assert!(fed.is_over());
    }
}
