//! The lanes that have shippers: those of the generation in force, and those that it no longer has, until their copies are
//! shipped.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use crate::context::Context;
use crate::generation::Generation;
use crate::io;
use crate::metrics::DropReason;
use crate::mirror::feed;
use crate::mirror::lane::Lane;
use crate::mirror::shipper::Shipper;
use crate::time::Millis;

/// Lanes that are compared or looked at in one turn.
const LOOKED_AT: usize = 1024;
/// Shippers that are started or woken in one turn: each is a task, which runs before the kernel is asked again.
const SHIPPERS: usize = 64;

#[derive(Default)]
pub(super) struct Lanes {
    /// Generations that there have been.
    generations: Cell<u64>,
    leaving: RefCell<Vec<Leaving>>,
    /// Generations that are not in force any more, while an exchange still has them: it may yet offer copies, and to lanes
    /// that several generations shared. By their number, the oldest first.
    earlier: RefCell<Vec<(u64, Weak<Generation>)>>,
}

/// Lanes of an earlier generation that the next one does not have.
struct Leaving {
    lanes: Vec<Rc<Lane>>,
    /// The last generation that had them.
    last: u64,
    give_up_at_ms: u64,
}

impl Lanes {
    /// Starts the lanes that are new in the generation in force, and lets go of those that `before` alone had. In turns: a lane
    /// whose shippers are not started yet keeps its copies.
    pub(super) async fn follow(&self, cx: &Rc<Context>, before: Option<Rc<Generation>>) {
        let generation = cx.generation();
        let last = self.generations.get();
        self.generations.set(last + 1);
        let mut shippers = 0;
        for (at, (lane, settings)) in generation.lanes.iter().zip(&generation.config.lanes).enumerate() {
            if !lane.goes_on_in(last + 1) {
                start(cx, lane, settings);
                shippers += settings.connections_max;
            }
            if shippers >= SHIPPERS || (at + 1).is_multiple_of(LOOKED_AT) {
                shippers = 0;
                io::turn().await;
            }
        }
        let Some(before) = before else { return };
        let mut lanes = Vec::new();
        for (at, lane) in before.lanes.iter().enumerate() {
            if lane.generation() == last {
                lanes.push(Rc::clone(lane));
            }
            if (at + 1).is_multiple_of(LOOKED_AT) {
                io::turn().await;
            }
        }
        if !lanes.is_empty() {
            let give_up_at_ms = cx.now_ms() + Millis::from(generation.config.timeouts.drain).0;
            self.leaving.borrow_mut().push(Leaving { lanes, last, give_up_at_ms });
        }
        self.earlier.borrow_mut().push((last, Rc::downgrade(&before)));
    }

    /// Ends lanes whose last copy has come, or whose time is over. They are called again and again until their last
    /// shipper has ended: one that still connected when the others were called would sleep for ever.
    pub(super) async fn let_go(&self, now_ms: u64) {
        self.earlier.borrow_mut().retain(|(_, generation)| generation.strong_count() > 0);
        let oldest = self.earlier.borrow().first().map(|(number, _)| *number);
        let mut ending = Vec::new();
        self.leaving.borrow_mut().retain(|them| {
            let is_late = now_ms >= them.give_up_at_ms;
            if is_late || oldest.is_none_or(|oldest| oldest > them.last) {
                ending.extend(them.lanes.iter().map(|lane| (Rc::clone(lane), is_late)));
            }
            them.lanes.iter().any(|lane| lane.has_shippers())
        });
        let end = |(lane, is_late): &(Rc<Lane>, bool)| match is_late {
            true => drop(lane.close()),
            false => lane.call_last(),
        };
        in_turns(&ending, |(lane, _)| lane.shippers(), end).await;
    }

    pub(super) fn has_shippers(&self, generation: &Generation) -> bool {
        let leaving = self.leaving.borrow();
        let mut leaving = leaving.iter().flat_map(|them| &them.lanes);
        generation.lanes.iter().any(|lane| lane.has_shippers()) || leaving.any(|lane| lane.has_shippers())
    }

    /// Wakes a shipper of each lane in which copies wait.
    pub(super) async fn call(&self, generation: &Generation) {
        let wake = |lane: &Rc<Lane>| {
            if !lane.is_empty() {
                lane.wake_one();
            }
        };
        self.each(generation, |lane| usize::from(!lane.is_empty()), wake).await;
    }

    /// Wakes all shippers.
    pub(super) async fn call_all(&self, generation: &Generation) {
        self.each(generation, |lane| lane.shippers(), |lane| lane.wake_all()).await;
    }

    /// Tells every lane that no more copies come.
    pub(super) async fn call_last(&self, generation: &Generation) {
        self.each(generation, |lane| lane.shippers(), |lane| lane.call_last()).await;
    }

    async fn each(&self, generation: &Generation, wakes: fn(&Rc<Lane>) -> usize, act: impl Fn(&Rc<Lane>)) {
        in_turns(&generation.lanes, wakes, &act).await;
        let leaving: Vec<Rc<Lane>> =
            self.leaving.borrow().iter().flat_map(|them| &them.lanes).map(Rc::clone).collect();
        in_turns(&leaving, wakes, &act).await;
    }

    /// Gives up everything that waits. The worker ends: nothing else has a turn any more.
    pub(super) fn flush(&self, generation: &Generation) {
        let leaving = self.leaving.borrow();
        for lane in generation.lanes.iter().chain(leaving.iter().flat_map(|them| &them.lanes)) {
            lane.flush(DropReason::Drain);
        }
    }
}

/// Acts on each, and lets others go first where the shippers that it `wakes` or the lanes come to a turn's work.
async fn in_turns<T>(all: &[T], wakes: impl Fn(&T) -> usize, act: impl Fn(&T)) {
    let mut shippers = 0;
    for (at, one) in all.iter().enumerate() {
        shippers += wakes(one);
        act(one);
        if shippers >= SHIPPERS || (at + 1).is_multiple_of(LOOKED_AT) {
            shippers = 0;
            io::turn().await;
        }
    }
}

fn start(cx: &Rc<Context>, lane: &Rc<Lane>, settings: &config::Lane) {
    for number in 0..settings.connections_max {
        let shipper = Shipper {
            lane: Rc::clone(lane),
            settings: settings.clone(),
            buffers: Rc::clone(&cx.buffers),
            sweeper: Rc::clone(&cx.sweeper),
            budget: Arc::clone(&cx.tap.budget),
            paid_us: Cell::default(),
            number,
        };
        let lane = Rc::clone(lane);
        lane.begin_shipper();
        let sink = settings.capture.and_then(|id| cx.generation().captures.get(id).cloned());
        if settings.capture.is_some() {
            // Without a sink the way ends nowhere, and is closed from the start.
            let feed = sink.map_or_else(|| feed::feed().0, |sink| sink.connect());
            io::spawn(async move {
                shipper.run_capture(feed).await;
                lane.end_shipper();
            });
            continue;
        }
        io::spawn(async move {
            shipper.run().await;
            lane.end_shipper();
        });
    }
}
