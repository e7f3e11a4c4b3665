//! A thread of the load: its runtime, its connections, its pacer, its reports to the coordinator. Sums nothing up.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use super::Options;
use super::connection;
use super::cover::Covers;
use super::engine::Engine;
use super::recorder::Record;
use super::request::Mix;
use super::schedule::Schedule;
use super::shared::{Shared, spawn_rests, with_rests};
use super::stream;
use crate::io::{self, Alarm};
use crate::os;

/// Connections made at once before the clock starts: more would overrun a listener's backlog.
const WARM_AT_ONCE: usize = 128;
/// Looks at the clock at most and at least this often. Every turn of the ring arms the nearest timer, which costs more
/// the nearer it is: the tick is short only where something is about to be over.
const TICK_MAX: Duration = Duration::from_millis(50);
const TICK_MIN: Duration = Duration::from_millis(2);
/// How long connections get to notice that it is over.
const END_LIMIT: Duration = Duration::from_secs(2);

pub struct Work {
    pub thread: usize,
    pub options: Arc<Options>,
    pub mix: Arc<Mix>,
    pub schedule: Option<Schedule>,
    pub connections: usize,
    /// Further ones that are made when they are needed.
    pub spare: usize,
    pub closed_left: u64,
    pub core: Option<core_affinity::CoreId>,
    pub interrupted: Arc<AtomicBool>,
    pub go: Receiver<Instant>,
    /// With the number of this thread.
    pub events: Sender<(usize, Event)>,
}

/// Message of a thread to the coordinator.
pub enum Event {
    /// All connections were tried once.
    Warm,
    Interval(Box<Interval>),
    Done(Done),
    Failed(String),
}

pub struct Interval {
    pub index: u64,
    pub start_ns: u64,
    pub end_ns: u64,
    pub record: Record,
}

pub struct Done {
    pub cpu: Duration,
    /// Ready to run, and no core was free.
    pub waited: Duration,
    pub wall: Duration,
}

pub fn run(work: Work) {
    let (thread, events) = (work.thread, work.events.clone());
    if let Some(core) = work.core {
        core_affinity::set_for_current(core);
    }
    match io::run(|| load(work)) {
        Ok(Ok(done)) => {
            let _ = events.send((thread, Event::Done(done)));
        }
        Ok(Err(error)) | Err(error) => {
            let _ = events.send((thread, Event::Failed(error.to_string())));
        }
    }
}

async fn load(work: Work) -> std::io::Result<Done> {
    let alarm = Alarm::start()?;
    let seed = work.options.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(work.thread as u64);
    let warm = work.options.keep_alive;
    let (options, mix) = (work.options, work.mix);
    let covers = Covers::new(&options.tls, &mix).map_err(std::io::Error::other)?;
    let connections = (work.connections, work.spare);
    let engine = Engine::new(options, mix, work.schedule, connections, seed, work.closed_left, covers);
    let engine: Shared = Rc::new(RefCell::new(engine));
    connect_all(&engine, connections, warm).await;

    let _ = work.events.send((work.thread, Event::Warm));
    // Blocks the thread, not a task: nothing may happen before the common start.
    let Ok(start) = work.go.recv() else { return Err(std::io::Error::other("the coordinator is gone")) };
    std::thread::sleep(start.saturating_duration_since(Instant::now()));
    let (cpu_before, waited_before) = (os::cpu_time(), os::waited_time());
    let rests = engine.borrow_mut().begin(start);
    spawn_rests(&engine, rests);
    io::spawn(pace(engine.clone(), alarm));

    let (thread, events) = (work.thread, work.events);
    let report = |interval| {
        let _ = events.send((thread, Event::Interval(Box::new(interval))));
    };
    watch(&engine, &report, &work.interrupted).await;
    let done = Done {
        cpu: os::cpu_time().saturating_sub(cpu_before),
        waited: os::waited_time().saturating_sub(waited_before),
        wall: start.elapsed(),
    };

    let limit = Instant::now() + END_LIMIT;
    while engine.borrow().live_tasks > 0 && Instant::now() < limit {
        io::sleep(Duration::from_millis(1)).await;
    }
    Ok(done)
}

async fn connect_all(engine: &Shared, (connections, spare): (usize, usize), warm: bool) {
    let all = connections + spare;
    let slots = engine.borrow().slots_of(all).start;
    let has_requests = !engine.borrow().options.websocket;
    if has_requests && engine.borrow().options.http2.is_some() {
        engine.borrow_mut().live_tasks += slots;
        (0..slots).for_each(|index| io::spawn(stream::read_answers(engine.clone(), index)));
    }
    engine.borrow_mut().live_tasks += all;
    for group in 0..connections {
        io::spawn(connection::connect(engine.clone(), group, warm));
        if warm {
            // Connections before this one that are not yet made.
            while engine.borrow().warming + group + 1 >= connections + WARM_AT_ONCE {
                io::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    (connections..all).for_each(|group| io::spawn(connection::connect(engine.clone(), group, false)));
    if warm {
        while engine.borrow().warming > 0 {
            io::sleep(Duration::from_millis(1)).await;
        }
    }
    // Slots without a connection yet take requests too.
    let first = if warm { engine.borrow().slots_of(connections).start } else { 0 };
    with_rests(engine, |engine, rests| (first..slots).for_each(|index| engine.free(index, rests)));
}

/// Fires requests that are due while no other task runs.
async fn pace(engine: Shared, alarm: Alarm) {
    let (start, slack) = {
        let engine = engine.borrow();
        (engine.start, engine.options.pace_slack)
    };
    let mut lead = Lead::default();
    loop {
        if engine.borrow().stopping {
            return;
        }
        let Some(at_ns) = with_rests(&engine, |engine, rests| engine.dispatch(rests)) else {
            return;
        };
        let (due, now) = (start + Duration::from_nanos(at_ns), Instant::now());
        let early =
            if slack.is_zero() { lead.before(due.saturating_duration_since(now)) } else { Duration::ZERO };
        let wake = due + slack - early;
        // Looks up now and then even if nothing is due for long, to see the end.
        let latest = now + Duration::from_millis(100);
        alarm.sleep_until(wake.min(latest)).await;
        if wake <= latest && slack.is_zero() {
            lead.learn(wake.elapsed());
            while Instant::now() < due {
                std::hint::spin_loop();
            }
        }
    }
}

/// How much before a moment the pacer asks to be woken, since a sleeping thread is always woken late. Learned from the
/// lateness, and rather too little than too much: the excess is spun away.
#[derive(Default)]
struct Lead {
    ns: u64,
}

impl Lead {
    /// Spinning longer would keep the thread from reading answers.
    const NS_MAX: u64 = 50_000;

    fn learn(&mut self, late: Duration) {
        let late_ns = (late.as_nanos() as u64).min(Self::NS_MAX);
        if late_ns > self.ns {
            self.ns += (late_ns - self.ns) / 32;
        } else {
            self.ns -= (self.ns - late_ns) / 4;
        }
    }

    /// For a moment that far away; near ones leave time for everything else.
    fn before(&self, distance: Duration) -> Duration {
        Duration::from_nanos(self.ns).min(distance / 4)
    }
}

/// Looks after time: timeouts, intervals, the end. Returns when the run is over.
async fn watch(engine: &Shared, report: &dyn Fn(Interval), interrupted: &AtomicBool) {
    let (interval_ns, end_ns, drain_ns, tick) = {
        let options = &engine.borrow().options;
        let tick = (options.timeout / 20).clamp(TICK_MIN, TICK_MAX);
        (options.interval.as_nanos() as u64, options.duration_ns(), options.drain.as_nanos() as u64, tick)
    };
    let (mut index, mut since_ns) = (0u64, 0u64);
    loop {
        let now_ns = engine.borrow().now_ns();
        // The next event: the end of this interval or of the schedule. Behind the schedule, any moment may be the last.
        let next_ns = ((index + 1) * interval_ns).min(end_ns).saturating_sub(now_ns);
        let near = engine.borrow().is_exhausted() || next_ns == 0;
        let wait = if near { TICK_MIN } else { tick.min(Duration::from_nanos(next_ns)).max(TICK_MIN) };
        io::sleep(wait).await;
        let mut engine = engine.borrow_mut();
        engine.sweep();
        let now_ns = engine.now_ns();
        let over = engine.is_done() || now_ns > end_ns + drain_ns || interrupted.load(Relaxed);
        if over {
            engine.stop();
        }
        // A response after the last scheduled moment belongs to the last interval.
        if over || now_ns >= (index + 1) * interval_ns && now_ns < end_ns {
            let record = std::mem::take(&mut engine.record);
            report(Interval { index, start_ns: since_ns, end_ns: now_ns, record });
            since_ns = now_ns;
            index = (now_ns / interval_ns).max(index + 1);
        }
        if over {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lead_settles_on_the_early_side_of_how_late_the_wakes_are() {
        let (mut lead, mut random) = (Lead::default(), fastrand::Rng::with_seed(1));
        let far = Duration::from_secs(1);
        for _ in 0..5000 {
            // 20 to 40 µs late, and now and then by a whole time slice.
            let late_us = if random.u8(0..50) == 0 { 4000 } else { random.u64(20..40) };
            lead.learn(Duration::from_micros(late_us));
        }
        let settled = lead.before(far);
        assert!((18..30).contains(&settled.as_micros()), "{settled:?}");
        assert_eq!(lead.before(Duration::from_micros(40)), Duration::from_micros(10));
        (0..100).for_each(|_| lead.learn(Duration::ZERO));
        assert!(lead.before(far) < Duration::from_micros(1));
    }
}
