//! One thread's load: fires what is due, hands it to a free connection, takes back what came of it. All of it is
//! plain functions that any task may call; it waits for nothing.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::Options;
use super::outcome::Outcome;
use super::recorder::{Record, Sample};
use super::request::Mix;
use super::schedule::{Due, Schedule};
use crate::io::WriteHalf;
use crate::os;

/// Due requests that wait for a connection, per thread; above it they are given up as `unsent` at once.
const PENDING_ENTRIES_MAX: usize = 4_000_000;

pub struct Engine {
    pub options: Arc<Options>,
    pub mix: Arc<Mix>,
    pub start: Instant,
    /// `None` in a closed loop.
    schedule: Option<Schedule>,
    next: Option<Ready>,
    pick: Pick,
    random: fastrand::Rng,
    targets: Vec<Target>,
    slots: Vec<Slot>,
    pub record: Record,
    pub in_flight: usize,
    /// The clock runs: before it, connections are only made.
    running: bool,
    /// Nothing more is sent; connections end.
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
struct Target {
    /// Places with a connection, longest unused first: all connections carry their part, also of a low rate.
    idle: VecDeque<usize>,
    /// Places without one.
    cold: VecDeque<usize>,
    pending: VecDeque<Ready>,
}

/// Which list a place waits in. An entry that says otherwise is stale: the connection died while it was idle.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parked {
    No,
    Idle,
    Cold,
}

/// One connection's place, connected or not.
struct Slot {
    target: usize,
    parked: Parked,
    fd: Option<RawFd>,
    writer: Option<WriteHalf>,
    current: Option<Current>,
    waker: Option<Waker>,
    number: u64,
}

#[derive(Clone, Copy)]
pub struct Current {
    pub intended_ns: u64,
    pub started_ns: u64,
    pub template: u32,
    pub timed_out: bool,
}

/// Rest to write after a send that did not take all.
pub struct Rest {
    pub writer: WriteHalf,
    pub bytes: bytes::Bytes,
    pub number: u64,
}

/// Chooses templates by weight, over all targets or within one.
struct Pick {
    all: Table,
    by_target: Vec<Table>,
}

#[derive(Default)]
struct Table {
    templates: Vec<u32>,
    /// Running sums of the weights.
    sums: Vec<f64>,
}

impl Table {
    fn push(&mut self, template: u32, weight: f64) {
        self.templates.push(template);
        self.sums.push(self.sums.last().unwrap_or(&0.0) + weight);
    }

    fn draw(&self, random: &mut fastrand::Rng) -> u32 {
        if self.templates.len() == 1 {
            return self.templates[0];
        }
        let at = random.f64() * self.sums.last().unwrap_or(&0.0);
        let index = self.sums.partition_point(|sum| *sum <= at).min(self.templates.len().saturating_sub(1));
        self.templates.get(index).copied().unwrap_or(0)
    }
}

impl Pick {
    fn new(mix: &Mix) -> Self {
        let mut pick = Self { all: Table::default(), by_target: Vec::new() };
        pick.by_target.resize_with(mix.targets.len(), Table::default);
        for (index, template) in mix.templates.iter().enumerate() {
            pick.all.push(index as u32, template.weight);
            pick.by_target[template.target].push(index as u32, template.weight);
        }
        pick
    }
}

impl Engine {
    pub fn new(
        options: Arc<Options>,
        mix: Arc<Mix>,
        schedule: Option<Schedule>,
        slots: usize,
        seed: u64,
        closed_left: u64,
    ) -> Self {
        let targets = mix.targets.len();
        let slot = |index: usize| Slot {
            target: index % targets,
            parked: Parked::No,
            fd: None,
            writer: None,
            current: None,
            waker: None,
            number: 0,
        };
        let mut engine = Self {
            pick: Pick::new(&mix),
            start: Instant::now(),
            schedule,
            next: None,
            random: fastrand::Rng::with_seed(seed),
            targets: Vec::new(),
            slots: (0..slots).map(slot).collect(),
            record: Record::default(),
            in_flight: 0,
            running: false,
            stopping: false,
            closed_left,
            warming: slots,
            live_tasks: 0,
            options,
            mix,
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

    pub fn slot_addr(&self, index: usize) -> std::net::SocketAddr {
        self.mix.targets[self.slots[index].target]
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
                self.note(ready.at_ns, now_ns, now_ns, Outcome::Unsent, 0);
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
        if slot.fd.is_some() {
            rests.extend(self.write(index).map(|rest| (index, rest)));
        } else if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
    }

    /// Writes the current request of a connected slot, as far as it goes without waiting.
    fn write(&mut self, index: usize) -> Option<Rest> {
        let slot = &mut self.slots[index];
        let (Some(fd), Some(current)) = (slot.fd, slot.current) else { return None };
        let bytes = &self.mix.templates[current.template as usize].bytes;
        let sent = match os::send_now(fd, bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                // The reader is told the end of the connection and names the reason.
                os::shutdown(fd);
                return None;
            }
        };
        self.record.bytes_out += sent as u64;
        if sent == bytes.len() {
            return None;
        }
        let rest = bytes.slice(sent..);
        slot.writer.take().map(|writer| Rest { writer, bytes: rest, number: slot.number })
    }

    /// A rest was written; the writer comes back if the connection is still the same.
    pub fn written(&mut self, index: usize, number: u64, bytes: u64, writer: WriteHalf) {
        self.record.bytes_out += bytes;
        let slot = &mut self.slots[index];
        if slot.fd.is_some() && slot.number == number {
            slot.writer = Some(writer);
        }
    }

    /// The slot has a connection now; sends the request it was made for, or waits for one.
    pub fn attach(&mut self, index: usize, fd: RawFd, writer: WriteHalf, rests: &mut Vec<(usize, Rest)>) {
        let slot = &mut self.slots[index];
        (slot.fd, slot.writer) = (Some(fd), Some(writer));
        if slot.current.is_some() {
            rests.extend(self.write(index).map(|rest| (index, rest)));
        } else {
            self.free(index, rests);
        }
    }

    /// The connection ended. A request that was on it ends with `outcome`.
    pub fn detach(&mut self, index: usize, outcome: Outcome, rests: &mut Vec<(usize, Rest)>) {
        let slot = &mut self.slots[index];
        if let (Some(fd), None) = (slot.fd, &slot.writer) {
            // A task is still writing on it; without this it would go on to a connection without a reader.
            os::shutdown(fd);
        }
        (slot.fd, slot.writer) = (None, None);
        if slot.current.is_some() {
            self.finish(index, outcome, 0);
        }
        self.free(index, rests);
    }

    pub fn current(&self, index: usize) -> Option<Current> {
        self.slots[index].current
    }

    /// True while a part of the request still waits to be written.
    pub fn is_writing(&self, index: usize) -> bool {
        self.slots[index].fd.is_some() && self.slots[index].writer.is_none()
    }

    /// The request on this slot came to its end.
    pub fn finish(&mut self, index: usize, outcome: Outcome, status: u16) {
        let now_ns = self.now_ns();
        if let Some(current) = self.slots[index].current.take() {
            self.in_flight -= 1;
            let outcome = if current.timed_out { Outcome::Timeout } else { outcome };
            self.note(current.intended_ns, current.started_ns, now_ns, outcome, status);
        }
    }

    fn note(&mut self, intended_ns: u64, started_ns: u64, ended_ns: u64, outcome: Outcome, status: u16) {
        let window_ns = self.options.warm_up_ns()..self.options.duration_ns();
        self.record.answers += u64::from(status != 0 && window_ns.contains(&ended_ns));
        if intended_ns < window_ns.start {
            self.record.warm_up += 1;
        } else {
            self.record.add(Sample { intended_ns, started_ns, ended_ns, outcome, status });
        }
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
        } else if slot.fd.is_some() {
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
        for slot in &mut self.slots {
            if let (Some(current), Some(fd)) = (&mut slot.current, slot.fd)
                && now_ns.saturating_sub(current.started_ns) >= limit_ns
                && !current.timed_out
            {
                current.timed_out = true;
                os::shutdown(fd);
            }
        }
    }

    /// Gives up what is left: waiting requests are `unsent`, running ones `unfinished`. Connections end.
    pub fn stop(&mut self) {
        self.stopping = true;
        let now_ns = self.now_ns();
        // Moments that passed since the last dispatch count as due.
        while let Some(ready) = self.next.filter(|ready| ready.at_ns <= now_ns) {
            self.record.due += u64::from(ready.at_ns >= self.options.warm_up_ns());
            self.note(ready.at_ns, now_ns, now_ns, Outcome::Unsent, 0);
            self.draw();
        }
        for target in 0..self.targets.len() {
            for ready in std::mem::take(&mut self.targets[target].pending) {
                self.note(ready.at_ns, now_ns, now_ns, Outcome::Unsent, 0);
            }
        }
        for index in 0..self.slots.len() {
            self.finish(index, Outcome::Unfinished, 0);
            let slot = &mut self.slots[index];
            if let Some(fd) = slot.fd {
                os::shutdown(fd);
            }
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }
    }

    /// For a task without a connection: `Some(true)` it has a request, `Some(false)` it is over, `None` wait.
    pub fn wanted(&mut self, index: usize, waker: &Waker) -> Option<bool> {
        if self.stopping {
            return Some(false);
        }
        let slot = &mut self.slots[index];
        if slot.current.is_some() {
            return Some(true);
        }
        slot.waker = Some(waker.clone());
        None
    }
}
