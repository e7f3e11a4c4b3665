//! A worker's free buffers, by size, so that the path of a request allocates nothing once it is warm.
//!
//! A buffer is a `Vec<u8>` that is taken empty and given back; one that is lost on the way (a dropped operation) is only
//! a missed reuse.

use std::cell::{Cell, RefCell};

use bytes::Bytes;

use crate::http1::body::HEADROOM;
use crate::limits::{BLOCK_BYTES, FREE_BUFFERS_MAX, HEAD_BUFFER_BYTES, RESPONSE_BUFFER_BYTES};

/// Room a block keeps behind its content for the end of a chunk and of the message.
const TAILROOM: usize = 64;
const BLOCK_CAPACITY: usize = HEADROOM + BLOCK_BYTES + TAILROOM;
/// A block that grew beyond this is not kept.
const BLOCK_CAPACITY_MAX: usize = 2 * BLOCK_CAPACITY + 1;

/// Free lists of one worker.
#[derive(Debug, Default)]
pub struct Buffers {
    small: FreeList,
    medium: FreeList,
}

thread_local! {
    /// Free blocks of this worker. Beside the others because a shared block comes back by itself, from wherever the last
    /// of its users let go of it.
    static BLOCKS: FreeList = FreeList::default();
}

/// A block under shared use; given back when the last user is done. Without this each upload that is mirrored would take
/// 64 KiB of cold memory.
struct Shared(Vec<u8>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Refused only while the thread ends.
        let _ = BLOCKS.try_with(|blocks| give_block(blocks, std::mem::take(&mut self.0)));
    }
}

fn give_block(blocks: &FreeList, block: Vec<u8>) {
    if (BLOCK_CAPACITY..BLOCK_CAPACITY_MAX).contains(&block.capacity()) {
        blocks.give(block);
    }
}

impl Buffers {
    /// Room for a head and small content: [`HEAD_BUFFER_BYTES`].
    pub fn small(&self) -> Vec<u8> {
        self.small.take(HEAD_BUFFER_BYTES)
    }

    /// Room for a response's first piece: [`RESPONSE_BUFFER_BYTES`].
    pub fn medium(&self) -> Vec<u8> {
        self.medium.take(RESPONSE_BUFFER_BYTES)
    }

    /// Room for streaming content: [`BLOCK_BYTES`] and the framing around it.
    pub fn block(&self) -> Vec<u8> {
        BLOCKS.with(|blocks| blocks.take(BLOCK_CAPACITY))
    }

    /// Makes a block readable from several places; it comes back by itself.
    pub fn share(&self, block: Vec<u8>) -> Bytes {
        Bytes::from_owner(Shared(block))
    }

    /// A buffer that holds `bytes` without growing.
    pub fn with_room(&self, bytes: usize) -> Vec<u8> {
        if bytes <= HEAD_BUFFER_BYTES {
            self.small()
        } else if bytes <= RESPONSE_BUFFER_BYTES {
            self.medium()
        } else {
            let mut block = self.block();
            block.reserve(bytes);
            block
        }
    }

    /// Takes a buffer back; one of odd size, or one too many, is freed.
    pub fn give(&self, buffer: Vec<u8>) {
        let list = match buffer.capacity() {
            0..HEAD_BUFFER_BYTES => return,
            HEAD_BUFFER_BYTES..RESPONSE_BUFFER_BYTES => &self.small,
            RESPONSE_BUFFER_BYTES..BLOCK_CAPACITY => &self.medium,
            _ => return BLOCKS.with(|blocks| give_block(blocks, buffer)),
        };
        list.give(buffer);
    }

    /// Frees half of the buffers that have lain unused since the last call; whether there were any.
    pub fn trim(&self) -> bool {
        [self.small.trim(), self.medium.trim(), BLOCKS.with(FreeList::trim)].contains(&true)
    }
}

#[derive(Debug, Default)]
struct FreeList {
    free: RefCell<Vec<Vec<u8>>>,
    /// The fewest there were since the last trim: so many were not needed.
    low: Cell<usize>,
}

impl FreeList {
    fn take(&self, capacity: usize) -> Vec<u8> {
        let mut free = self.free.borrow_mut();
        let buffer = free.pop();
        self.low.set(self.low.get().min(free.len()));
        buffer.unwrap_or_else(|| Vec::with_capacity(capacity))
    }

    fn give(&self, mut buffer: Vec<u8>) {
        let mut free = self.free.borrow_mut();
        if free.len() < FREE_BUFFERS_MAX {
            buffer.clear();
            free.push(buffer);
        }
    }

    fn trim(&self) -> bool {
        let mut free = self.free.borrow_mut();
        let unused = self.low.get().div_ceil(2);
        // The oldest: those at the end are warm.
        free.drain(..unused);
        self.low.set(free.len());
        unused > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_and_of_its_size() {
        let buffers = Buffers::default();
        for take in [Buffers::small, Buffers::medium, Buffers::block] {
            let mut buffer = take(&buffers);
            buffer.extend_from_slice(b"secret");
            let (at, capacity) = (buffer.as_ptr(), buffer.capacity());
            buffers.give(buffer);
            let again = take(&buffers);
            assert_eq!((again.as_ptr(), again.len(), again.capacity()), (at, 0, capacity));
        }
    }

    #[test]
    fn the_free_list_is_bounded() {
        let buffers = Buffers::default();
        for _ in 0..2 * FREE_BUFFERS_MAX {
            buffers.give(Vec::with_capacity(HEAD_BUFFER_BYTES));
        }
        assert_eq!(buffers.small.free.borrow().len(), FREE_BUFFERS_MAX);
    }

    #[test]
    fn what_lies_unused_is_freed_bit_by_bit_and_what_is_used_stays() {
        let buffers = Buffers::default();
        let held: Vec<_> = (0..8).map(|_| buffers.small()).collect();
        held.into_iter().for_each(|buffer| buffers.give(buffer));
        let free = || buffers.small.free.borrow().len();
        // All eight were in use since the last trim.
        assert!(!buffers.trim() && free() == 8);
        // Two at a time are in use, six lie.
        let two = [buffers.small(), buffers.small()];
        two.into_iter().for_each(|buffer| buffers.give(buffer));
        assert!(buffers.trim() && free() == 5);
        while buffers.trim() {}
        assert_eq!(free(), 0);
    }

    #[test]
    fn a_shared_block_comes_back_when_its_last_user_is_done() {
        let buffers = Buffers::default();
        let mut block = buffers.block();
        block.extend_from_slice(b"content");
        let at = block.as_ptr();
        let shared = buffers.share(block);
        let slice = shared.slice(3..);
        drop(shared);
        let other = buffers.block();
        assert_ne!(other.as_ptr(), at, "still in use");
        assert_eq!(&slice[..], b"tent");
        drop(slice);
        let again = buffers.block();
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
    }
}
