//! One request's stream as its task sees it: content that came and is not taken yet, whether more comes, and the task to wake.
//! Pure.

use std::cell::{Cell, RefCell};
use std::task::{Context as Task, Waker};

use super::wait;
use crate::buffer::Buffers;
use crate::http1::body::{self, HEADROOM};

/// No deadline.
pub(super) const NEVER: u64 = u64::MAX;

/// Content that the reader of a connection leaves for a stream's task. The stream's window bounds it.
pub struct Stream {
    pub(super) id: u32,
    /// Content that came, behind the room of a block; without content it is empty.
    inbox: RefCell<Vec<u8>>,
    has_ended: Cell<bool>,
    trailers: RefCell<Vec<u8>>,
    /// Nothing more comes: the client gave it up, or was made to.
    is_gone: Cell<bool>,
    /// That was before it had the whole response.
    is_left: Cell<bool>,
    /// By when content has to come, and room, in the worker's milliseconds.
    pub(super) content_by_ms: Cell<u64>,
    pub(super) room_by_ms: Cell<u64>,
    waker: Cell<Option<Waker>>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Stream {
    pub(super) fn new(id: u32, has_ended: bool) -> Self {
        Self {
            id,
            inbox: RefCell::default(),
            has_ended: Cell::new(has_ended),
            trailers: RefCell::default(),
            is_gone: Cell::new(false),
            is_left: Cell::new(false),
            content_by_ms: Cell::new(NEVER),
            room_by_ms: Cell::new(NEVER),
            waker: Cell::default(),
        }
    }

    /// Nothing of the request is still to come.
    pub fn has_ended(&self) -> bool {
        self.has_ended.get()
    }

    pub fn is_gone(&self) -> bool {
        self.is_gone.get()
    }

    pub(super) fn is_left(&self) -> bool {
        self.is_left.get()
    }

    /// Bytes of content that wait to be taken.
    pub fn waiting_bytes(&self) -> usize {
        self.inbox.borrow().len().saturating_sub(HEADROOM)
    }

    pub fn has_trailers(&self) -> bool {
        !self.trailers.borrow().is_empty()
    }

    pub(super) fn came(&self, content: &[u8], end: bool, buffers: &Buffers) {
        let mut inbox = self.inbox.borrow_mut();
        if !content.is_empty() {
            if inbox.capacity() == 0 {
                *inbox = buffers.with_room(HEADROOM + content.len());
            }
            if inbox.is_empty() {
                body::make_room(&mut inbox);
            }
            inbox.extend_from_slice(content);
        }
        if end {
            self.has_ended.set(true);
        }
        self.wake();
    }

    pub(super) fn ended(&self, trailers: Vec<u8>) {
        self.trailers.replace(trailers);
        self.has_ended.set(true);
        self.wake();
    }

    /// Shows the content that waits; then it is taken. Returns its length.
    pub(super) fn show(&self, see: impl FnOnce(&[u8])) -> usize {
        let mut inbox = self.inbox.borrow_mut();
        let content = inbox.get(HEADROOM..).unwrap_or_default();
        let length = content.len();
        if length > 0 {
            see(content);
        }
        inbox.clear();
        length
    }

    /// Changes the content that waits, in its block, for an empty block. Returns its length.
    pub(super) fn swap(&self, block: &mut Vec<u8>) -> usize {
        let mut inbox = self.inbox.borrow_mut();
        if inbox.is_empty() {
            body::make_room(block);
            return 0;
        }
        std::mem::swap(block, &mut inbox);
        inbox.clear();
        block.len() - HEADROOM
    }

    pub(super) fn take_trailers(&self) -> Vec<u8> {
        self.trailers.take()
    }

    /// Nothing more comes, and unless it `is_answered` there is no client any more to answer.
    pub(super) fn go(&self, is_answered: bool) {
        self.is_gone.set(true);
        self.is_left.set(!is_answered);
        self.wake();
    }

    pub(super) fn wake(&self) {
        self.waker.take().into_iter().for_each(Waker::wake);
    }

    pub(super) fn wait(&self, task: &Task<'_>) {
        wait(&self.waker, task);
    }

    /// Wakes a task that has waited too long, which looks by itself.
    pub(super) fn tick(&self, now_ms: u64) {
        if self.content_by_ms.get() <= now_ms || self.room_by_ms.get() <= now_ms {
            self.wake();
        }
    }

    pub(super) fn give_back(&self, buffers: &Buffers) {
        buffers.give(self.inbox.take());
    }
}
