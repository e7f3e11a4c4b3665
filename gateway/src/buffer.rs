//! A worker's free buffers, by size, so that the path of a request allocates nothing once it is warm.
//!
//! A buffer is a `Vec<u8>` that is taken empty and given back; one that is lost on the way (a dropped operation) is only
//! a missed reuse.

use std::cell::{Cell, RefCell};

use bytes::Bytes;

use crate::http1::body::HEADROOM;
use crate::limits::{
    BLOCK_BYTES, FREE_BUFFERS_MAX, HEAD_BUFFER_BYTES, LARGE_BLOCK_BYTES, LARGE_BLOCKS_MAX,
    RESPONSE_BUFFER_BYTES,
};

/// Room a block keeps behind its content for the end of a chunk and of the message.
const TAILROOM: usize = 64;
const BLOCK_CAPACITY: usize = HEADROOM + BLOCK_BYTES + TAILROOM;
/// A block that grew beyond this is not kept.
const BLOCK_CAPACITY_MAX: usize = 2 * BLOCK_CAPACITY + 1;
const LARGE_CAPACITY: usize = HEADROOM + LARGE_BLOCK_BYTES + TAILROOM;
const LARGE_CAPACITY_MAX: usize = LARGE_CAPACITY + BLOCK_BYTES;
/// A piece of this length filled its block, but for the framing of its chunks.
const FULL_BYTES: usize = BLOCK_BYTES - 1024;

/// Free lists of one worker.
#[derive(Debug, Default)]
pub struct Buffers {
    small: FreeList,
    medium: FreeList,
    /// Streams of content that have large blocks now.
    large_streams: Cell<usize>,
}

thread_local! {
    /// Free blocks of this worker. Beside the others because a shared block comes back by itself, from wherever the last
    /// of its users let go of it.
    static BLOCKS: FreeList = FreeList::default();
    static LARGE_BLOCKS: FreeList = FreeList::default();
}

/// Bytes of content that a read into `block` may bring.
pub fn room_bytes(block: &Vec<u8>) -> usize {
    if block.capacity() < LARGE_CAPACITY { BLOCK_BYTES } else { LARGE_BLOCK_BYTES }
}

/// Whether `bytes` of content may keep their block alive for as long as they are needed: else they are copied.
pub fn fill_well(bytes: usize, block: &Vec<u8>) -> bool {
    bytes >= room_bytes(block) / 2
}

/// The blocks of one stream of content: large ones for as long as a piece would fill a small one.
#[derive(Debug)]
pub struct Blocks<'a> {
    buffers: &'a Buffers,
    may_grow: bool,
    are_large: bool,
}

impl Blocks<'_> {
    /// A block for the next piece; the one before where it is of that size.
    pub fn next(&self, before: Option<Vec<u8>>) -> Vec<u8> {
        let is_large = |block: &Vec<u8>| room_bytes(block) == LARGE_BLOCK_BYTES;
        match before {
            Some(block) if is_large(&block) == self.are_large => return block,
            Some(block) => self.buffers.give(block),
            None => {}
        }
        if self.are_large {
            LARGE_BLOCKS.with(|blocks| blocks.take(LARGE_CAPACITY))
        } else {
            self.buffers.block()
        }
    }

    /// A piece of so many bytes came: the next block is a large one where that filled a small one, and the `rest` fills half of a
    /// large one.
    pub fn came(&mut self, bytes: usize, rest: u64) {
        let grows = self.may_grow && bytes >= FULL_BYTES && rest >= LARGE_BLOCK_BYTES as u64 / 2;
        let large_streams = &self.buffers.large_streams;
        if !grows {
            self.end_large();
        } else if !self.are_large && large_streams.get() < LARGE_BLOCKS_MAX {
            large_streams.set(large_streams.get() + 1);
            self.are_large = true;
        }
    }

    /// The content in `block` was copied for a mirror, because it fills too little of its block. If that is a large one, the stream is too
    /// slow for such: its next blocks are small, and shared.
    pub fn copied(&mut self, block: &Vec<u8>) {
        self.may_grow &= room_bytes(block) == BLOCK_BYTES;
    }

    fn end_large(&mut self) {
        if std::mem::take(&mut self.are_large) {
            let large_streams = &self.buffers.large_streams;
            large_streams.set(large_streams.get() - 1);
        }
    }
}

impl Drop for Blocks<'_> {
    fn drop(&mut self) {
        self.end_large();
    }
}

/// A block under shared use; given back when the last user is done. Without this each upload that is mirrored would take
/// cold memory.
struct Shared(Vec<u8>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        give_block(std::mem::take(&mut self.0));
    }
}

fn give_block(block: Vec<u8>) {
    let (list, count_max) = match block.capacity() {
        BLOCK_CAPACITY..BLOCK_CAPACITY_MAX => (&BLOCKS, FREE_BUFFERS_MAX),
        LARGE_CAPACITY..=LARGE_CAPACITY_MAX => (&LARGE_BLOCKS, LARGE_BLOCKS_MAX),
        _ => return,
    };
    // Refused only while the thread ends.
    let _ = list.try_with(|list| list.give(block, count_max));
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

    /// Blocks for a stream of content. Those of a stream that `may_grow` may be large.
    pub fn blocks(&self, may_grow: bool) -> Blocks<'_> {
        Blocks { buffers: self, may_grow, are_large: false }
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
            _ => return give_block(buffer),
        };
        list.give(buffer, FREE_BUFFERS_MAX);
    }

    /// Frees half of the buffers that have lain unused since the last call; whether there were any.
    pub fn trim(&self) -> bool {
        let blocks = [&BLOCKS, &LARGE_BLOCKS].map(|blocks| blocks.with(FreeList::trim));
        [self.small.trim(), self.medium.trim(), blocks.contains(&true)].contains(&true)
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

    fn give(&self, mut buffer: Vec<u8>, count_max: usize) {
        let mut free = self.free.borrow_mut();
        if free.len() < count_max {
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
    fn a_stream_that_fills_its_blocks_has_large_ones_for_as_long_as_it_does() {
        let buffers = Buffers::default();
        let room = |block: &Vec<u8>| room_bytes(block) / 1024;
        let half = LARGE_BLOCK_BYTES as u64 / 2;
        let mut blocks = buffers.blocks(true);
        let mut block = blocks.next(None);
        assert_eq!(room(&block), 64);
        // (A piece, the rest, room for the next one): 64 chunks of 1,000 bytes fill a block too.
        for (bytes, rest, expect) in [
            (FULL_BYTES - 1, u64::MAX, 64),
            (FULL_BYTES, half - 1, 64),
            (FULL_BYTES, half, 256),
            (LARGE_BLOCK_BYTES, half, 256),
            (FULL_BYTES, half, 256),
            (FULL_BYTES - 1, u64::MAX, 64),
            (BLOCK_BYTES, u64::MAX, 256),
            (LARGE_BLOCK_BYTES, half - 1, 64),
        ] {
            blocks.came(bytes, rest);
            block = blocks.next(Some(block));
            assert_eq!(room(&block), expect, "{bytes} {rest}");
        }
        assert_eq!(buffers.large_streams.get(), 0);
        blocks.copied(&block);
        blocks.came(BLOCK_BYTES, u64::MAX);
        block = blocks.next(Some(block));
        assert_eq!(room(&block), 256, "what was copied out of a small block says nothing");
        blocks.copied(&block);
        for _ in 0..2 {
            blocks.came(BLOCK_BYTES, u64::MAX);
            block = blocks.next(Some(block));
            assert_eq!((room(&block), buffers.large_streams.get()), (64, 0));
        }
        let mut queued = buffers.blocks(false);
        queued.came(BLOCK_BYTES, u64::MAX);
        assert_eq!(room(&queued.next(None)), 64);
    }

    #[test]
    fn so_many_streams_have_large_blocks_at_a_time_and_each_gives_its_place_back() {
        let buffers = Buffers::default();
        let mut streams: Vec<_> = (0..=LARGE_BLOCKS_MAX).map(|_| buffers.blocks(true)).collect();
        streams.iter_mut().for_each(|blocks| blocks.came(BLOCK_BYTES, u64::MAX));
        let is_large = |blocks: &Blocks<'_>| room_bytes(&blocks.next(None)) == LARGE_BLOCK_BYTES;
        assert!(streams.iter().take(LARGE_BLOCKS_MAX).all(is_large));
        let mut last = streams.pop().unwrap();
        assert!(!is_large(&last));
        drop(streams);
        last.came(BLOCK_BYTES, u64::MAX);
        assert!(is_large(&last));
        drop(last);
        assert_eq!(buffers.large_streams.get(), 0);
    }

    #[test]
    fn large_blocks_come_back_and_are_let_go_when_nobody_wants_them() {
        let buffers = Buffers::default();
        let mut blocks = buffers.blocks(true);
        blocks.came(BLOCK_BYTES, u64::MAX);
        let block = blocks.next(None);
        let at = block.as_ptr();
        drop(buffers.share(block));
        let again = blocks.next(None);
        assert_eq!(again.as_ptr(), at);
        buffers.give(again);
        let held: Vec<_> = (0..LARGE_BLOCKS_MAX + 8).map(|_| blocks.next(None)).collect();
        held.into_iter().for_each(|block| buffers.give(block));
        let free = || LARGE_BLOCKS.with(|blocks| blocks.free.borrow().len());
        assert_eq!(free(), LARGE_BLOCKS_MAX);
        // All were in use since the last trim.
        buffers.trim();
        while buffers.trim() {}
        assert_eq!(free(), 0);
    }

    #[test]
    fn content_that_fills_half_a_block_may_keep_it() {
        let buffers = Buffers::default();
        let small = buffers.block();
        assert!(fill_well(BLOCK_BYTES / 2, &small) && !fill_well(BLOCK_BYTES / 2 - 1, &small));
        let mut blocks = buffers.blocks(true);
        blocks.came(BLOCK_BYTES, u64::MAX);
        let large = blocks.next(None);
        assert!(fill_well(LARGE_BLOCK_BYTES / 2, &large) && !fill_well(LARGE_BLOCK_BYTES / 2 - 1, &large));
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
