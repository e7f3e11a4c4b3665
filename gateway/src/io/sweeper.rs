//! The worker's coarse clock, and the deadlines of its sockets: one sweep per tick looks at all of them.
//!
//! monoio 0.2.4 loses data when a pending read is dropped, so no operation is cancelled on a connection that lives on: a
//! deadline that passes shuts the socket down, and the pending operation completes by itself. No timer is armed per operation.
//! The sweeper knows when a socket is late, and not what it is made of.

use std::cell::{Cell, RefCell};
use std::net::Shutdown;
use std::rc::{Rc, Weak};

use slab::Slab;

use super::{Socket, Turnstile};
use crate::limits::TICK_MS;
use crate::os;
use crate::time::Millis;

pub(super) const NEVER: u64 = u64::MAX;

/// The state that all sockets of a worker have in common: its coarse clock, the table of their deadlines, the turn of their
/// signatures.
#[derive(Debug)]
pub struct Sweeper {
    started_us: u64,
    now_ms: Cell<u64>,
    sockets: RefCell<Slab<Weak<Socket>>>,
    /// Through which the signatures of all its sockets go one at a time.
    pub(super) turnstile: Rc<Turnstile>,
}

impl Sweeper {
    pub fn new() -> Rc<Self> {
        Self::started_at(os::monotonic_us())
    }

    /// That of a simulated world, whose clock begins at zero.
    #[cfg(test)]
    pub(crate) fn simulated() -> Rc<Self> {
        Self::started_at(0)
    }

    fn started_at(started_us: u64) -> Rc<Self> {
        Rc::new(Self {
            started_us,
            now_ms: Cell::new(0),
            sockets: RefCell::new(Slab::new()),
            turnstile: Rc::default(),
        })
    }

    /// Milliseconds since the worker started, at most one tick old.
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// Microseconds since the worker started, now.
    pub fn now_us(&self) -> u64 {
        super::in_world!(world => world.now_us());
        os::monotonic_us().saturating_sub(self.started_us)
    }

    /// A number that differs between workers and starts; in a simulated world it is its seed's.
    pub fn anywhere(&self, salt: usize) -> u64 {
        use std::hash::{BuildHasher, RandomState};
        super::in_world!(world => world.below(usize::MAX) as u64);
        RandomState::new().hash_one((self.started_us, salt))
    }

    /// Open sockets of the worker.
    pub fn open(&self) -> usize {
        self.sockets.borrow().len()
    }

    /// Makes a tick: reads the clock, parks idle reads whose time has come, and shuts down every socket whose deadline has
    /// passed.
    pub fn sweep(&self) {
        let now = self.now_us() / 1000;
        self.now_ms.set(now);
        for (_, socket) in &*self.sockets.borrow() {
            let Some(socket) = socket.upgrade() else { continue };
            if socket.deadlines.takes_park(now) {
                socket.wire.park();
            }
            if let Some(how) = socket.deadlines.expire(now) {
                socket.wire.shut(how);
            }
        }
    }

    /// Draining: sockets that wait for a next request get at most `within` more; all of them, or those of a group.
    pub fn shorten_idle(&self, within: Millis, group: Option<u32>) {
        let deadline = self.deadline(within);
        for (_, socket) in &*self.sockets.borrow() {
            let Some(socket) = socket.upgrade() else { continue };
            let deadlines = &socket.deadlines;
            if deadlines.idle.get() && group.is_none_or(|group| deadlines.group.get() == group) {
                deadlines.shorten_read(deadline);
            }
        }
    }

    /// Ends all operations of a group's sockets, with the next tick.
    pub fn end_group(&self, group: u32) {
        for (_, socket) in &*self.sockets.borrow() {
            let Some(socket) = socket.upgrade() else { continue };
            if socket.deadlines.group.get() == group {
                socket.deadlines.end_all_at(0);
            }
        }
    }

    /// The deadline `within` from now, one tick late rather than early because `now_ms` may be a tick old.
    pub(super) fn deadline(&self, within: Millis) -> u64 {
        if within == Millis::FOREVER { NEVER } else { self.now_ms.get().saturating_add(within.0 + TICK_MS) }
    }

    pub(super) fn add(&self, socket: &Rc<Socket>) -> usize {
        self.sockets.borrow_mut().insert(Rc::downgrade(socket))
    }

    pub(super) fn remove(&self, slot: usize) {
        self.sockets.borrow_mut().try_remove(slot);
    }
}

/// By when the operations of one socket have to be over, in the worker's milliseconds.
#[derive(Debug)]
pub(super) struct Deadlines {
    read: Cell<u64>,
    write: Cell<u64>,
    /// Ends all pending operations, whatever progress there was.
    end: Cell<u64>,
    /// When an idle read gives its buffer back.
    park: Cell<u64>,
    /// A read is pending.
    reading: Cell<bool>,
    /// The pending read waits for a request that may never come; a drain may end it early.
    idle: Cell<bool>,
    expired: Cell<bool>,
    /// Of sockets that drain together; 0 is none.
    pub(super) group: Cell<u32>,
}

impl Deadlines {
    pub(super) fn new() -> Self {
        Self {
            read: Cell::new(NEVER),
            write: Cell::new(NEVER),
            end: Cell::new(NEVER),
            park: Cell::new(NEVER),
            reading: Cell::new(false),
            idle: Cell::new(false),
            expired: Cell::new(false),
            group: Cell::new(0),
        }
    }

    pub(super) fn begin_read(&self, deadline: u64) {
        self.reading.set(true);
        self.read.set(deadline);
    }

    pub(super) fn end_read(&self) {
        self.reading.set(false);
        self.read.set(NEVER);
    }

    /// A read begins that waits for a next request, and gives its buffer back at `park`.
    pub(super) fn begin_idle(&self, deadline: u64, park: u64) {
        self.idle.set(true);
        self.park.set(park);
        self.begin_read(deadline);
    }

    /// A read begins that gives its buffer back at `park`, and has no other deadline.
    pub(super) fn begin_parkable(&self, park: u64) {
        self.park.set(park);
        self.begin_read(NEVER);
    }

    pub(super) fn end_idle(&self) {
        self.park.set(NEVER);
        self.end_read();
        self.idle.set(false);
    }

    pub(super) fn begin_write(&self, deadline: u64) {
        self.write.set(deadline);
    }

    pub(super) fn end_write(&self) {
        self.write.set(NEVER);
    }

    pub(super) fn end_all_at(&self, deadline: u64) {
        self.end.set(deadline);
    }

    pub(super) fn clear(&self) {
        self.read.set(NEVER);
        self.write.set(NEVER);
        self.end.set(NEVER);
    }

    pub(super) fn is_reading(&self) -> bool {
        self.reading.get()
    }

    pub(super) fn shorten_read(&self, deadline: u64) {
        self.read.set(self.read.get().min(deadline));
    }

    pub(super) fn is_expired(&self) -> bool {
        self.expired.get()
    }

    /// Whether an idle read is to give its buffer back now; once.
    fn takes_park(&self, now: u64) -> bool {
        let is_due = self.park.get() <= now;
        if is_due {
            self.park.set(NEVER);
        }
        is_due
    }

    /// The ways that have to be shut because their time is over; once.
    fn expire(&self, now: u64) -> Option<Shutdown> {
        let how = if self.write.get() <= now || self.end.get() <= now {
            self.clear();
            Shutdown::Both
        } else if self.read.get() <= now {
            self.read.set(NEVER);
            Shutdown::Read
        } else {
            return None;
        };
        self.expired.set(true);
        Some(how)
    }
}
