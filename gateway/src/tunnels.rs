//! The tunnels of one worker: how many there may be, which are open, and the ends of one from outside: silence on it, or the way
//! out. Pure but for its own state; `exchange::tunnel` passes the bytes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as Task, Poll, Waker};

use slab::Slab;

use crate::http1::head::Fault;
use crate::metrics::{RejectReason, Shard, TunnelEnd, TunnelWay};
use crate::time::Millis;

/// See the room's own words above.
#[derive(Debug)]
pub struct Tunnels {
    shard: Arc<Shard>,
    /// Open ones, and those whose handshake goes on.
    taken: Cell<usize>,
    open: RefCell<Slab<Rc<Life>>>,
}

/// A permit for a tunnel; free again when dropped.
#[derive(Debug)]
pub struct Permit(Rc<Tunnels>);

/// An open tunnel. However it ends, it is counted when dropped.
#[derive(Debug)]
pub struct Open {
    permit: Permit,
    key: usize,
    life: Rc<Life>,
    /// How it ended; where that was not told, its client was given up with its connection.
    end: Cell<TunnelEnd>,
    up: Cell<u64>,
    down: Cell<u64>,
}

/// A tunnel as it can be seen from outside.
struct Life {
    /// Of connections that drain together.
    group: u32,
    idle: Millis,
    /// When something last moved, in the worker's milliseconds.
    moved_ms: Cell<u64>,
    /// Set once the tunnel is told to end.
    told: Cell<Option<TunnelEnd>>,
    waker: Cell<Option<Waker>>,
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Life").field("group", &self.group).finish_non_exhaustive()
    }
}

const TUNNELS: Fault = Fault::new(503, RejectReason::Tunnels, "too many tunnels at once");

impl Tunnels {
    pub fn new(shard: &Arc<Shard>) -> Rc<Self> {
        Rc::new(Self { shard: Arc::clone(shard), taken: Cell::default(), open: RefCell::default() })
    }

    /// A place for one more, where fewer than `max` are taken.
    pub fn take(self: &Rc<Self>, max: usize) -> Result<Permit, Fault> {
        if self.taken.get() >= max {
            return Err(TUNNELS);
        }
        self.taken.set(self.taken.get() + 1);
        Ok(Permit(Rc::clone(self)))
    }

    /// Places that are taken.
    pub fn taken(&self) -> usize {
        self.taken.get()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }

    /// Ends those on which nothing has moved for too long; to be called with each tick of the worker.
    pub fn tick(&self, now_ms: u64) {
        self.end(TunnelEnd::Idle, |life| now_ms.saturating_sub(life.moved_ms.get()) >= life.idle.0);
    }

    /// Their time to end by themselves is over: that of all, or of a group's.
    pub fn drain(&self, group: Option<u32>) {
        self.end(TunnelEnd::Drain, |life| group.is_none_or(|group| life.group == group));
    }

    fn end(&self, why: TunnelEnd, which: impl Fn(&Life) -> bool) {
        // No woken task runs before this has returned.
        for (_, life) in &*self.open.borrow() {
            if life.told.get().is_none() && which(life) {
                life.told.set(Some(why));
                life.waker.take().into_iter().for_each(Waker::wake);
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        debug_assert!(self.0.taken.get() > 0, "only a place that was taken is given back");
        self.0.taken.set(self.0.taken.get().saturating_sub(1));
    }
}

impl Permit {
    /// The tunnel is open; `down` bytes of it went to the client with the head.
    pub fn open(self, group: u32, idle: Millis, down: u64, now_ms: u64) -> Open {
        let all = &self.0;
        let life = Rc::new(Life {
            group,
            idle,
            moved_ms: Cell::new(now_ms),
            told: Cell::default(),
            waker: Cell::default(),
        });
        let key = all.open.borrow_mut().insert(Rc::clone(&life));
        all.shard.tunnels.opened.inc();
        all.shard.tunnels.active.add(1);
        all.shard.tunnels.bytes.add(TunnelWay::Down, down);
        let end = Cell::new(TunnelEnd::Client);
        Open { permit: self, key, life, end, up: Cell::new(0), down: Cell::new(down) }
    }
}

impl Open {
    /// Something came, or went: so many bytes were passed on.
    pub fn moved(&self, way: TunnelWay, bytes: usize, now_ms: u64) {
        let bytes = bytes as u64;
        let all = match way {
            TunnelWay::Up => &self.up,
            TunnelWay::Down => &self.down,
        };
        all.set(all.get() + bytes);
        self.permit.0.shard.tunnels.bytes.add(way, bytes);
        self.life.moved_ms.set(now_ms);
    }

    /// Bytes that went to the primary.
    pub fn up(&self) -> u64 {
        self.up.get()
    }

    /// Bytes that went to the client.
    pub fn down(&self) -> u64 {
        self.down.get()
    }

    /// Ready when it is told to end, and why.
    pub fn told(&self, task: &Task<'_>) -> Poll<TunnelEnd> {
        if let Some(why) = self.life.told.get() {
            return Poll::Ready(why);
        }
        let known = self.life.waker.take().filter(|known| known.will_wake(task.waker()));
        self.life.waker.set(known.or_else(|| Some(task.waker().clone())));
        Poll::Pending
    }

    /// Notes the end of the tunnel.
    pub fn ended(&self, how: TunnelEnd) {
        self.end.set(how);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let all = &self.permit.0;
        all.open.borrow_mut().try_remove(self.key);
        all.shard.tunnels.active.add(-1);
        all.shard.tunnels.ended.inc(self.end.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(open: &Open) -> Option<TunnelEnd> {
        match open.told(&Task::from_waker(Waker::noop())) {
            Poll::Ready(why) => Some(why),
            Poll::Pending => None,
        }
    }

    #[test]
    fn so_many_may_be_and_a_handshake_that_comes_to_nothing_gives_its_place_back() {
        let tunnels = Tunnels::new(&Arc::default());
        let (one, other) = (tunnels.take(2).unwrap(), tunnels.take(2).unwrap());
        assert_eq!(tunnels.take(2).unwrap_err().status, 503);
        drop(one);
        let open = other.open(0, Millis(10), 0, 0);
        assert_eq!(tunnels.taken(), 1);
        drop(open);
        assert_eq!((tunnels.taken(), tunnels.is_empty()), (0, true));
    }

    #[test]
    fn silence_ends_one_and_a_listeners_end_those_that_came_in_by_it() {
        let shard = Arc::default();
        let tunnels = Tunnels::new(&shard);
        let open = |group| tunnels.take(9).unwrap().open(group, Millis(100), 7, 0);
        let (silent, busy, other) = (open(1), open(1), open(2));
        busy.moved(TunnelWay::Up, 5, 50);
        other.moved(TunnelWay::Down, 0, 99);
        tunnels.tick(99);
        assert_eq!([&silent, &busy, &other].map(told), [None; 3]);
        tunnels.tick(100);
        assert_eq!([&silent, &busy, &other].map(told), [Some(TunnelEnd::Idle), None, None]);
        tunnels.drain(Some(1));
        let drained = Some(TunnelEnd::Drain);
        assert_eq!([&silent, &busy, &other].map(told), [Some(TunnelEnd::Idle), drained, None]);
        tunnels.drain(None);
        assert_eq!(told(&other), drained);
        assert_eq!((busy.up(), busy.down()), (5, 7));
        other.ended(TunnelEnd::Closed);
        let counters = &shard.tunnels;
        assert_eq!((counters.active.get(), counters.opened.get(), counters.ended.sum()), (3, 3, 0));
        drop((silent, busy, other));
        assert_eq!((counters.active.get(), counters.ended.get(TunnelEnd::Closed)), (0, 1));
        assert_eq!((counters.bytes.get(TunnelWay::Up), counters.bytes.get(TunnelWay::Down)), (5, 21));
    }
}
