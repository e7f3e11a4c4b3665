//! The way of a record out of its worker: a bounded ring to one other thread. Pushing never waits and wakes no thread; a record
//! that finds it full is lost, and counted.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rtrb::{Consumer, Producer, RingBuffer};

use super::keep::{Budget, Held};
use super::record::Record;
use crate::metrics::Shard;

/// Records that wait for the other thread, of one worker.
const RECORDS_MAX: usize = 4096;

/// Bytes of clients' texts in records, of one worker: heads may be long.
pub const RECORDS_BYTES_MAX: usize = 8 << 20;

/// A record, and the room that its answers take until it is dropped.
#[derive(Debug)]
pub struct Sealed {
    pub record: Record,
    pub(super) held: Vec<Held>,
    /// Bytes of its client's texts, while it waits.
    pub(super) said: Option<Weighed>,
}

/// Bytes of all records of one worker that wait; on lines of their own, for those of all workers are made together.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Waiting(AtomicUsize);

/// Bytes in the ring, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Weighed {
    bytes: usize,
    all: Arc<Waiting>,
}

impl Weighed {
    fn take(bytes: usize, all: &Arc<Waiting>) -> Option<Self> {
        let before = all.0.fetch_add(bytes, Relaxed);
        let weighed = Self { bytes, all: Arc::clone(all) };
        (before + bytes <= RECORDS_BYTES_MAX).then_some(weighed)
    }
}

impl Drop for Weighed {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Relaxed);
    }
}

/// The worker's end.
#[derive(Debug)]
pub struct Tap {
    records: RefCell<Producer<Box<Sealed>>>,
    shard: Arc<Shard>,
    /// Bytes of clients' texts in records that wait.
    said: Arc<Waiting>,
    /// The budget of the answers that its exchanges keep.
    pub budget: Arc<Budget>,
}

/// The reader's end.
#[derive(Debug)]
pub struct Spout {
    records: Consumer<Box<Sealed>>,
    pub budget: Arc<Budget>,
}

/// Both ends for the worker that counts in `shard`.
pub fn tap(shard: &Arc<Shard>) -> (Tap, Spout) {
    let (producer, consumer) = RingBuffer::new(RECORDS_MAX);
    let budget = Arc::<Budget>::default();
    let tap = Tap {
        records: RefCell::new(producer),
        shard: Arc::clone(shard),
        said: Arc::default(),
        budget: Arc::clone(&budget),
    };
    (tap, Spout { records: consumer, budget })
}

impl Tap {
    pub(super) fn push(&self, mut sealed: Box<Sealed>) {
        sealed.said = Weighed::take(sealed.record.said.bytes() + sealed.record.method.len(), &self.said);
        if sealed.said.is_none() {
            return self.shard.records_lost.inc();
        }
        match self.records.borrow_mut().push(sealed) {
            Ok(()) => self.shard.records.inc(),
            Err(_) => self.shard.records_lost.inc(),
        }
    }
}

#[cfg(test)]
impl Tap {
    /// The bytes that pushing writes to, but for records themselves, which are made where they are pushed.
    pub(crate) fn places(&self) -> Vec<std::ops::Range<usize>> {
        use crate::metrics::place_of;
        let mut records = self.records.borrow_mut();
        let mut all = vec![place_of(&*self.said), place_of(&*self.budget), place_of(records.buffer())];
        let mut slots = records.write_chunk_uninit(RECORDS_MAX).expect("it is empty");
        let (first, second) = slots.as_mut_slices();
        all.extend([place_of(first), place_of(second)]);
        all
    }
}

impl Spout {
    /// The oldest record that waits.
    pub fn pop(&mut self) -> Option<Box<Sealed>> {
        self.records.pop().ok()
    }
}
