//! A thread's load: fires due requests, hands each to a free connection, takes back its outcome. All of it is plain functions
//! that any task may call; it waits for nothing.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::Options;
use super::cover::Covers;
use super::outcome::{End, Outcome};
use super::pick::Pick;
use super::recorder::{Record, Sample};
use super::request::Mix;
use super::schedule::{Due, Schedule};
use super::slot::{Current, Parked, Rest, Slot, Way, ask};
use crate::io::WriteHalf;
use crate::os;

/// Due requests that wait for a connection, per thread; above it they are given up as `unsent` at once.
const PENDING_ENTRIES_MAX: usize = 4_000_000;

pub struct Engine {
    pub options: Arc<Options>,
    pub mix: Arc<Mix>,
    pub covers: Covers,
    pub start: Instant,
    /// `None` in a closed loop.
    schedule: Option<Schedule>,
    next: Option<Ready>,
    pick: Pick,
    random: fastrand::Rng,
    pub(super) targets: Vec<Target>,
    pub(super) slots: Vec<Slot>,
    /// Of the tasks that make connections, each for its slots: one, or as many as there are streams.
    pub(super) connectors: Vec<Option<Waker>>,
    /// Of those connections, in HTTP/2: the last one ended by GOAWAY.
    pub(super) went_away: Vec<bool>,
    /// How many there were of each.
    pub(super) made: Vec<u64>,
    pub record: Record,
    pub in_flight: usize,
    /// The clock runs: before it, connections are only made.
    running: bool,
    /// No more requests are sent; connections end.
    pub stopping: bool,
    closed_left: u64,
    pub warming: usize,
    pub live_tasks: usize,
}

/// A scheduled request whose kind is decided.
#[derive(Clone, Copy)]
struct Ready {
    at_ns: u64,
    template: u32,
}

#[derive(Default)]
pub(super) struct Target {
    /// Places with a connection, longest unused first: all connections carry their part, also of a low rate.
    idle: VecDeque<usize>,
    /// Places without one.
    cold: VecDeque<usize>,
    pending: VecDeque<Ready>,
}

impl Target {
    /// Takes these places out of both lists.
    pub(super) fn forget(&mut self, places: &Range<usize>) {
        self.idle.retain(|index| !places.contains(index));
        self.cold.retain(|index| !places.contains(index));
    }
}

impl Engine {
    pub fn new(
        options: Arc<Options>,
        mix: Arc<Mix>,
        schedule: Option<Schedule>,
        (connections, spare): (usize, usize),
        seed: u64,
        closed_left: u64,
        covers: Covers,
    ) -> Self {
        let (targets, streams, all) = (mix.targets.len(), options.streams(), connections + spare);
        let slot = |index: usize| Slot::new(index / streams % targets, index / streams);
        let mut engine = Self {
            pick: Pick::new(&mix),
            start: Instant::now(),
            schedule,
            next: None,
            random: fastrand::Rng::with_seed(seed),
            targets: Vec::new(),
            slots: (0..all * streams).map(slot).collect(),
            connectors: vec![None; all],
            went_away: vec![false; all],
            made: vec![0; all],
            record: Record::default(),
            in_flight: 0,
            running: false,
            stopping: false,
            closed_left,
            warming: connections,
            live_tasks: 0,
            options,
            mix,
            covers,
        };
        engine.targets.resize_with(targets, Target::default);
        engine
    }

    pub fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    pub fn is_closed(&self) -> bool {
        self.schedule.is_none()
    }

    /// The clock starts: draws the first request, or in a closed loop starts one on every place.
    pub fn begin(&mut self, start: Instant) -> Vec<(usize, Rest)> {
        self.start = start;
        self.running = true;
        self.draw();
        let mut rests = Vec::new();
        if self.is_closed() {
            for index in 0..self.slots.len() {
                self.start_closed(index, &mut rests);
            }
        }
        rests
    }

    fn draw(&mut self) {
        let due = self.schedule.as_mut().and_then(|schedule| schedule.next(&mut self.random));
        self.next = due.map(|Due { at_ns, template }| Ready {
            at_ns,
            template: template.unwrap_or_else(|| self.pick.all.draw(&mut self.random)),
        });
    }

    /// Fires everything that is due now; returns when the next one is.
    pub fn dispatch(&mut self, rests: &mut Vec<(usize, Rest)>) -> Option<u64> {
        loop {
            let ready = self.next?;
            if ready.at_ns > self.now_ns() || self.stopping {
                return Some(ready.at_ns);
            }
            self.draw();
            self.record.due += u64::from(ready.at_ns >= self.options.warm_up_ns());
            let target = self.mix.templates[ready.template as usize].target;
            if self.targets[target].pending.is_empty()
                && let Some(index) = self.unpark(target)
            {
                let now_ns = self.now_ns();
                self.record.lag.saturating_record(now_ns.saturating_sub(ready.at_ns));
                self.send(index, ready, now_ns, rests);
                continue;
            }
            self.record.cap_hits += 1;
            let pending = &mut self.targets[target].pending;
            if pending.len() < PENDING_ENTRIES_MAX {
                pending.push_back(ready);
            } else {
                let now_ns = self.now_ns();
                self.give_up_unsent(ready, now_ns);
            }
        }
    }

    /// A place that waits for a request, one with a connection if there is any.
    fn unpark(&mut self, target: usize) -> Option<usize> {
        let (target, slots) = (&mut self.targets[target], &self.slots);
        let next = |list: &mut VecDeque<usize>, parked: Parked| {
            std::iter::from_fn(|| list.pop_front()).find(|&index| slots[index].parked == parked)
        };
        next(&mut target.idle, Parked::Idle).or_else(|| next(&mut target.cold, Parked::Cold))
    }

    fn send(&mut self, index: usize, ready: Ready, now_ns: u64, rests: &mut Vec<(usize, Rest)>) {
        let slot = &mut self.slots[index];
        debug_assert!(slot.current.is_none(), "a place holds one request at a time");
        slot.parked = Parked::No;
        slot.number += 1;
        slot.current = Some(Current {
            intended_ns: ready.at_ns,
            started_ns: now_ns,
            template: ready.template,
            timed_out: false,
        });
        self.in_flight += 1;
        if slot.is_connected() {
            rests.extend(self.write(index).map(|rest| (index, rest)));
        } else if let Some(waker) = self.connectors[slot.group].take() {
            waker.wake();
        }
    }

    /// Writes the current request of a connected slot, as far as it goes without waiting.
    pub(super) fn write(&mut self, index: usize) -> Option<Rest> {
        let slot = &mut self.slots[index];
        let template = &self.mix.templates[slot.current?.template as usize];
        match &mut slot.way {
            Way::None => None,
            Way::Socket { fd, writer } => {
                let bytes = &template.bytes;
                let sent = match os::send_now(*fd, bytes) {
                    Ok(count) => count,
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
                    Err(_) => {
                        // The reader is told the end of the connection and names the reason.
                        os::shutdown(*fd);
                        return None;
                    }
                };
                self.record.bytes_out += sent as u64;
                if sent == bytes.len() {
                    return None;
                }
                let rest = bytes.slice(sent..);
                writer.take().map(|writer| Rest { writer, bytes: rest, number: slot.number })
            }
            Way::Covered(link) => {
                if link.write(&template.bytes).is_err() {
                    os::shutdown(link.fd());
                }
                None
            }
            Way::Tunnel { stream, .. } => {
                // A failure is its reader's to name. One message is under way at a time, so that no more waits for windows.
                let _ = stream.send_data(template.bytes.clone(), false);
                None
            }
            Way::Stream { sender, .. } => {
                slot.asked = Some(ask(sender, &template.message));
                slot.asked_on = self.made[slot.group];
                slot.wake();
                None
            }
        }
    }

    /// A rest was written; the writer comes back if the connection is still the same.
    pub fn written(&mut self, index: usize, number: u64, bytes: u64, back: WriteHalf) {
        self.record.bytes_out += bytes;
        let slot = &mut self.slots[index];
        if let Way::Socket { writer, .. } = &mut slot.way
            && slot.number == number
        {
            *writer = Some(back);
        }
    }

    pub fn current(&self, index: usize) -> Option<Current> {
        self.slots[index].current
    }

    /// True while a part of the request still waits to be written.
    pub fn is_writing(&self, index: usize) -> bool {
        match &self.slots[index].way {
            Way::None | Way::Stream { .. } | Way::Tunnel { .. } => false,
            Way::Socket { writer, .. } => writer.is_none(),
            Way::Covered(link) => link.is_writing(),
        }
    }

    /// The request on this slot came to its end.
    pub fn finish(&mut self, index: usize, end: End) {
        let now_ns = self.now_ns();
        let slot = &mut self.slots[index];
        if let Some(link) = slot.link() {
            let (bytes_in, bytes_out) = link.take_bytes();
            self.record.bytes_in += bytes_in;
            self.record.bytes_out += bytes_out;
        }
        if let Some(current) = slot.current.take() {
            self.in_flight -= 1;
            let outcome = if current.timed_out { Outcome::Timeout } else { end.outcome };
            self.note(current, now_ns, End { outcome, ..end });
        }
    }

    fn give_up_unsent(&mut self, ready: Ready, now_ns: u64) {
        let Ready { at_ns, template } = ready;
        let never = Current { intended_ns: at_ns, started_ns: now_ns, template, timed_out: false };
        self.note(never, now_ns, End::new(Outcome::Unsent, 0));
    }

    fn note(&mut self, of: Current, ended_ns: u64, end: End) {
        let Current { intended_ns, started_ns, template, .. } = of;
        let window_ns = self.options.warm_up_ns()..self.options.duration_ns();
        self.record.answers += u64::from(end.status != 0 && window_ns.contains(&ended_ns));
        if intended_ns < window_ns.start {
            self.record.warm_up += 1;
            return;
        }
        let kind = (self.mix.kinds.len() > 1).then(|| self.mix.templates[template as usize].kind);
        self.record.add(Sample { intended_ns, started_ns, ended_ns, kind, end });
    }

    /// The slot can take a request: the longest waiting one, or the next that falls due.
    pub fn free(&mut self, index: usize, rests: &mut Vec<(usize, Rest)>) {
        if self.stopping {
            return;
        }
        if self.is_closed() {
            if self.running {
                self.start_closed(index, rests);
            }
            return;
        }
        let slot = &mut self.slots[index];
        let target = &mut self.targets[slot.target];
        if let Some(ready) = target.pending.pop_front() {
            let now_ns = self.now_ns();
            self.send(index, ready, now_ns, rests);
        } else if slot.is_connected() {
            slot.parked = Parked::Idle;
            target.idle.push_back(index);
        } else {
            slot.parked = Parked::Cold;
            target.cold.push_back(index);
        }
        if self.running {
            // Every task that runs here fires the requests that are due; the pacer's timer is only for quiet moments.
            self.dispatch(rests);
        }
    }

    fn start_closed(&mut self, index: usize, rests: &mut Vec<(usize, Rest)>) {
        let now_ns = self.now_ns();
        if self.closed_left == 0
            || now_ns >= self.options.duration_ns()
            || self.slots[index].current.is_some()
        {
            return;
        }
        self.closed_left -= 1;
        self.record.due += u64::from(now_ns >= self.options.warm_up_ns());
        let template = self.pick.by_target[self.slots[index].target].draw(&mut self.random);
        self.send(index, Ready { at_ns: now_ns, template }, now_ns, rests);
    }

    /// True when nothing more will be sent.
    pub fn is_exhausted(&self) -> bool {
        if self.is_closed() {
            self.closed_left == 0 || self.now_ns() >= self.options.duration_ns()
        } else {
            self.next.is_none() && self.targets.iter().all(|target| target.pending.is_empty())
        }
    }

    /// True when everything that was scheduled has come to its end.
    pub fn is_done(&self) -> bool {
        self.is_exhausted() && self.in_flight == 0
    }

    /// Ends the connections whose request takes too long; their readers then record the timeout.
    pub fn sweep(&mut self) {
        let limit_ns = self.options.timeout.as_nanos() as u64;
        let now_ns = self.now_ns();
        let mut stuck = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let fd = slot.fd();
            let Some(current) = &mut slot.current else { continue };
            if current.timed_out || now_ns.saturating_sub(current.started_ns) < limit_ns {
                continue;
            }
            match (&slot.way, fd) {
                // Its siblings go on: the task that reads the answer resets the stream.
                (Way::Stream { .. } | Way::Tunnel { .. }, _) => {
                    current.timed_out = true;
                    slot.wake();
                }
                (Way::Socket { .. } | Way::Covered(_), Some(fd)) => {
                    current.timed_out = true;
                    os::shutdown(fd);
                }
                // Its connection takes no more streams and does not end either.
                (Way::None, _) if self.options.http2.is_some() && slot.asked.is_none() && !slot.is_asking => {
                    stuck.push(index)
                }
                (_, None) | (Way::None, _) => {}
            }
        }
        for index in stuck {
            self.finish(index, End::new(Outcome::Timeout, 0));
            // Streams leave no rest to write.
            self.free(index, &mut Vec::new());
        }
    }

    /// Gives up all remaining requests: waiting ones are `unsent`, running ones `unfinished`. Connections end.
    pub fn stop(&mut self) {
        self.stopping = true;
        let now_ns = self.now_ns();
        // Moments that passed since the last dispatch count as due.
        while let Some(ready) = self.next.filter(|ready| ready.at_ns <= now_ns) {
            self.record.due += u64::from(ready.at_ns >= self.options.warm_up_ns());
            self.give_up_unsent(ready, now_ns);
            self.draw();
        }
        for target in 0..self.targets.len() {
            for ready in std::mem::take(&mut self.targets[target].pending) {
                self.give_up_unsent(ready, now_ns);
            }
        }
        for index in 0..self.slots.len() {
            self.finish(index, End::new(Outcome::Unfinished, 0));
            let slot = &mut self.slots[index];
            if let Some(fd) = slot.fd() {
                os::shutdown(fd);
            }
            slot.wake();
        }
        self.connectors.iter_mut().filter_map(Option::take).for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_whose_connection_is_made_again_has_no_turn_but_the_new_one() {
        let mut target =
            Target { idle: [0, 1, 2, 0].into(), cold: [1, 0, 2].into(), pending: VecDeque::new() };
        target.forget(&(0..2));
        assert_eq!(
            (target.idle.make_contiguous(), target.cold.make_contiguous()),
            (&mut [2][..], &mut [2][..])
        );
    }
}
