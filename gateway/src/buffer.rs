//! A worker's free buffers, by size, so that the path of a request allocates nothing once it is warm.
//!
//! A buffer is a `Vec<u8>` that is taken empty and given back; one that is lost on the way (a dropped operation) is only
//! a missed reuse.

use std::cell::RefCell;

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
    small: RefCell<Vec<Vec<u8>>>,
    medium: RefCell<Vec<Vec<u8>>>,
    blocks: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    /// Room for a head and small content: [`HEAD_BUFFER_BYTES`].
    pub fn small(&self) -> Vec<u8> {
        take(&self.small, HEAD_BUFFER_BYTES)
    }

    /// Room for a response's first piece: [`RESPONSE_BUFFER_BYTES`].
    pub fn medium(&self) -> Vec<u8> {
        take(&self.medium, RESPONSE_BUFFER_BYTES)
    }

    /// Room for streaming content: [`BLOCK_BYTES`] and the framing around it.
    pub fn block(&self) -> Vec<u8> {
        take(&self.blocks, BLOCK_CAPACITY)
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
    pub fn give(&self, mut buffer: Vec<u8>) {
        let list = match buffer.capacity() {
            0..HEAD_BUFFER_BYTES => return,
            HEAD_BUFFER_BYTES..RESPONSE_BUFFER_BYTES => &self.small,
            RESPONSE_BUFFER_BYTES..BLOCK_CAPACITY => &self.medium,
            BLOCK_CAPACITY..BLOCK_CAPACITY_MAX => &self.blocks,
            _ => return,
        };
        let mut list = list.borrow_mut();
        if list.len() < FREE_BUFFERS_MAX {
            buffer.clear();
            list.push(buffer);
        }
    }
}

fn take(list: &RefCell<Vec<Vec<u8>>>, capacity: usize) -> Vec<u8> {
    list.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(capacity))
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
        assert_eq!(buffers.small.borrow().len(), FREE_BUFFERS_MAX);
    }
}
