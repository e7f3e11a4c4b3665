//! How many exchanges an upstream may have at once on one worker, and which wait for a permit: first come, first served.
//!
//! Knows no clock and no socket. A wait that is given up, by its deadline or with its client, leaves nothing behind.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::metrics::UpstreamCounters;

/// Places, and the queue for them.
#[derive(Debug)]
pub struct Gate {
    max: Cell<usize>,
    pending_max: Cell<usize>,
    taken: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
    counters: Arc<UpstreamCounters>,
}

#[derive(Debug)]
struct Waiter {
    waker: RefCell<Waker>,
    /// A permit has been handed over: it counts as taken.
    has_permit: Cell<bool>,
}

/// An exchange's permit; dropping it hands it on.
#[derive(Debug)]
pub struct Permit(Rc<Gate>);

/// No permit, and no room to wait for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Gate {
    pub fn new(max: usize, pending_max: usize, counters: &Arc<UpstreamCounters>) -> Rc<Self> {
        Rc::new(Self {
            max: Cell::new(max),
            pending_max: Cell::new(pending_max),
            taken: Cell::new(0),
            waiting: RefCell::default(),
            counters: Arc::clone(counters),
        })
    }

    /// Other bounds from now on. An exchange that has a permit or waits is not turned away.
    pub fn change(&self, max: usize, pending_max: usize) {
        self.max.set(max);
        self.pending_max.set(pending_max);
        self.hand_on();
    }

    /// A permit, if there is one that no exchange waits for.
    pub fn take(self: &Rc<Self>) -> Option<Permit> {
        if self.taken.get() >= self.max.get() || !self.waiting.borrow().is_empty() {
            return None;
        }
        self.taken.set(self.taken.get() + 1);
        Some(Permit(Rc::clone(self)))
    }

    /// No permit is taken.
    #[cfg(test)]
    pub fn is_free(&self) -> bool {
        self.taken.get() == 0
    }

    /// Joins the queue, if it has room.
    pub fn queue(self: &Rc<Self>) -> Result<Wait, Full> {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= self.pending_max.get() {
            return Err(Full);
        }
        let waiter =
            Rc::new(Waiter { waker: RefCell::new(Waker::noop().clone()), has_permit: Cell::new(false) });
        waiting.push_back(Rc::clone(&waiter));
        self.show(&waiting);
        Ok(Wait { gate: Rc::clone(self), waiter })
    }

    /// Hands free permits to the exchanges that wait.
    fn hand_on(&self) {
        let mut waiting = self.waiting.borrow_mut();
        while self.taken.get() < self.max.get()
            && let Some(next) = waiting.pop_front()
        {
            self.taken.set(self.taken.get() + 1);
            next.has_permit.set(true);
            next.waker.borrow().wake_by_ref();
        }
        self.show(&waiting);
    }

    fn show(&self, waiting: &VecDeque<Rc<Waiter>>) {
        self.counters.pending.set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        debug_assert!(self.0.taken.get() > 0, "only a permit that was taken is given back");
        self.0.taken.set(self.0.taken.get().saturating_sub(1));
        if !self.0.waiting.borrow().is_empty() {
            self.0.hand_on();
        }
    }
}

/// A wait in the queue; dropping it leaves the queue, and hands on a permit that came meanwhile.
#[derive(Debug)]
pub struct Wait {
    gate: Rc<Gate>,
    waiter: Rc<Waiter>,
}

impl Future for Wait {
    type Output = Permit;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        if self.waiter.has_permit.take() {
            return Poll::Ready(Permit(Rc::clone(&self.gate)));
        }
        self.waiter.waker.borrow_mut().clone_from(cx.waker());
        Poll::Pending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if self.waiter.has_permit.take() {
            drop(Permit(Rc::clone(&self.gate)));
            return;
        }
        let mut waiting = self.gate.waiting.borrow_mut();
        waiting.retain(|other| !Rc::ptr_eq(other, &self.waiter));
        self.gate.show(&waiting);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn with_counters(max: usize, pending_max: usize) -> (Rc<Gate>, Arc<UpstreamCounters>) {
        let counters = Arc::default();
        (Gate::new(max, pending_max, &counters), counters)
    }

    fn poll(wait: &mut Wait, bell: &Arc<Bell>) -> Option<Permit> {
        match Pin::new(wait).poll(&mut Context::from_waker(&Arc::clone(bell).into())) {
            Poll::Ready(permit) => Some(permit),
            Poll::Pending => None,
        }
    }

    #[test]
    fn places_are_handed_on_in_the_order_of_the_queue_and_nobody_overtakes() {
        let (gate, counters) = with_counters(1, 2);
        let bell = Arc::<Bell>::default();
        let permit = gate.take().unwrap();
        assert!(gate.take().is_none());
        let (mut first, mut second) = (gate.queue().unwrap(), gate.queue().unwrap());
        assert_eq!(gate.queue().unwrap_err(), Full);
        assert_eq!(counters.pending.get(), 2);
        assert!(poll(&mut first, &bell).is_none() && poll(&mut second, &bell).is_none());
        drop(permit);
        assert_eq!(bell.0.load(Relaxed), 1, "one permit wakes one");
        assert!(gate.take().is_none(), "it is the first one's");
        assert!(poll(&mut second, &bell).is_none());
        let permit = poll(&mut first, &bell).unwrap();
        drop((first, permit));
        let permit = poll(&mut second, &bell).unwrap();
        assert_eq!((gate.taken.get(), counters.pending.get()), (1, 0));
        drop((second, permit));
        assert_eq!(gate.taken.get(), 0);
    }

    #[test]
    fn a_wait_that_is_given_up_leaves_no_place_behind() {
        let (gate, counters) = with_counters(1, 3);
        let bell = Arc::<Bell>::default();
        let permit = gate.take().unwrap();
        let (first, second) = (gate.queue().unwrap(), gate.queue().unwrap());
        let mut third = gate.queue().unwrap();
        assert!(poll(&mut third, &bell).is_none());
        drop(second);
        assert_eq!(counters.pending.get(), 2);
        drop(permit);
        // The permit is the first one's, which is given up before it looked.
        drop(first);
        assert_eq!(bell.0.load(Relaxed), 1);
        drop((poll(&mut third, &bell).unwrap(), third));
        assert_eq!((gate.taken.get(), counters.pending.get()), (0, 0));
        assert!(gate.take().is_some());
    }

    #[test]
    fn wider_bounds_let_those_in_who_wait_and_narrower_ones_turn_nobody_away() {
        let (gate, _) = with_counters(1, 9);
        let bell = Arc::<Bell>::default();
        let one = gate.take().unwrap();
        let mut waits: Vec<Wait> = (0..3).map(|_| gate.queue().unwrap()).collect();
        gate.change(3, 0);
        let permits: Vec<Permit> = waits.iter_mut().filter_map(|wait| poll(wait, &bell)).collect();
        assert_eq!(permits.len(), 2);
        gate.change(1, 0);
        drop(permits);
        assert!(poll(&mut waits[2], &bell).is_none(), "there is one permit and it is taken");
        drop(one);
        assert!(poll(&mut waits[2], &bell).is_some());
    }
}
