//! How many exchanges of one worker an upstream takes at once: who comes later waits its turn, in the order of coming,
//! and beyond a bound is turned away at once.
//!
//! Knows no endpoint and no connection.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::io;

/// The bounds, and who is in and who waits.
#[derive(Debug)]
pub struct Gate {
    places_max: usize,
    waiting_max: usize,
    taken: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
}

#[derive(Debug, Default)]
struct Waiter {
    /// A place was handed over.
    called: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// One exchange's place; dropping it calls the next in line.
#[derive(Debug)]
pub struct Place(Option<Rc<Gate>>);

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// As many wait as may.
    Full,
    /// Nobody left in time.
    Timeout,
}

impl Gate {
    pub fn new(places_max: usize, waiting_max: usize) -> Rc<Self> {
        Rc::new(Self { places_max, waiting_max, taken: Cell::new(0), waiting: RefCell::default() })
    }

    pub fn has_bounds(&self, places_max: usize, waiting_max: usize) -> bool {
        (self.places_max, self.waiting_max) == (places_max, waiting_max)
    }

    /// A place, after waiting for at most `patience` if need be.
    pub async fn enter(self: &Rc<Self>, patience: Duration) -> Result<Place, Refused> {
        if self.places_max == usize::MAX {
            return Ok(Place(None));
        }
        if self.taken.get() < self.places_max {
            self.taken.set(self.taken.get() + 1);
            return Ok(Place(Some(Rc::clone(self))));
        }
        if self.waiting.borrow().len() >= self.waiting_max {
            return Err(Refused::Full);
        }
        let turn = Turn { gate: self, waiter: Rc::default() };
        self.waiting.borrow_mut().push_back(Rc::clone(&turn.waiter));
        // Boxed: nearly no exchange waits, and every one would carry it.
        Box::pin(turn.come(patience)).await
    }

    /// The one who leaves hands its place to the first in line.
    fn leave(&self) {
        while let Some(next) = self.waiting.borrow_mut().pop_front() {
            // A waiter that only the line still knows has given up.
            if Rc::strong_count(&next) > 1 {
                next.called.set(true);
                if let Some(waker) = next.waker.take() {
                    waker.wake();
                }
                return;
            }
        }
        self.taken.set(self.taken.get() - 1);
    }
}

/// Somebody in line. Dropped with a place handed over but not taken, it hands it on.
struct Turn<'g> {
    gate: &'g Rc<Gate>,
    waiter: Rc<Waiter>,
}

impl Turn<'_> {
    async fn come(self, patience: Duration) -> Result<Place, Refused> {
        let ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let mut late = pin!(io::sleep_ms(ms));
        poll_fn(|cx| {
            if self.waiter.called.take() {
                return Poll::Ready(Ok(Place(Some(Rc::clone(self.gate)))));
            }
            *self.waiter.waker.borrow_mut() = Some(cx.waker().clone());
            late.as_mut().poll(cx).map(|()| Err(Refused::Timeout))
        })
        .await
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let own = |other: &Rc<Waiter>| Rc::ptr_eq(other, &self.waiter);
        self.gate.waiting.borrow_mut().retain(|other| !own(other));
        if self.waiter.called.get() {
            self.gate.leave();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(gate) = self.0.take() {
            gate.leave();
        }
    }
}
