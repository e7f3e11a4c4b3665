//! A worker's work by the clock, beside its exchanges.

use std::rc::Rc;
use std::time::SystemTime;

use super::lanes::Lanes;
use crate::context::Context;
use crate::downstream::listeners::Listeners;
use crate::io;
use crate::limits::{BUSY_LATE_MS, TICK_MS};
use crate::memory;
use crate::os;

/// Ticks between two returns of free memory to the system.
const RELEASE_TICKS: u64 = 5;

/// Returns after buffers were last found unused: the allocator only marks what is free at first, and lets go of it when
/// it is asked again.
const RELEASES: u32 = 3;

/// Ticks of a second.
const SECOND: u64 = 1000 / TICK_MS;

/// Begins what goes on until the worker ends.
pub(super) fn begin(cx: &Rc<Context>, lanes: &Rc<Lanes>, listeners: &Rc<Listeners>) {
    io::spawn(tick(Rc::clone(cx), Rc::clone(listeners)));
    io::spawn(upkeep(Rc::clone(cx), Rc::clone(lanes)));
}

/// Whether a tick that came after `took_us` says that the worker's own turns are too long: it is late, and the core was the
/// worker's (`cpu_us` of that time) rather than another thread's.
fn is_busy(took_us: u64, cpu_us: u64) -> bool {
    let is_late = took_us > (TICK_MS + BUSY_LATE_MS) * 1000;
    is_late && cpu_us.saturating_mul(5) > took_us.saturating_mul(4)
}

/// The worker's heartbeat: coarse time, deadlines, the date, and whether it is late on its own loop. Nothing here grows with the
/// configuration.
async fn tick(cx: Rc<Context>, listeners: Rc<Listeners>) {
    let mut last = (cx.now_us(), os::thread_cpu_us());
    let mut ticks = 0_u64;
    let mut releases = 0;
    loop {
        io::sleep_ms(TICK_MS).await;
        cx.sweeper.sweep();
        cx.sessions.tick(cx.generation().config.limits.connection_age_max);
        cx.tunnels.tick(cx.now_ms());
        cx.shard.ticks.inc();
        ticks += 1;

        let (now, cpu) = (cx.now_us(), os::thread_cpu_us());
        let busy = is_busy(now - last.0, cpu - last.1);
        cx.busy.set(busy);
        if busy {
            cx.shard.busy_ticks.inc();
        }
        cx.shard.cpu_us.set(i64::try_from(cpu).unwrap_or(i64::MAX));
        last = (now, cpu);

        listeners.tick(&cx);
        if cx.buffers.trim() {
            releases = RELEASES;
        }
        if releases > 0 && ticks.is_multiple_of(RELEASE_TICKS) {
            memory::release();
            releases -= 1;
        }
        if ticks.is_multiple_of(SECOND) {
            *cx.date.borrow_mut() = super::date(SystemTime::now());
            cx.places.reap(cx.now_ms());
        }
    }
}

/// The work that grows with the configuration, in turns: calls of shippers; and once a second idle connections, ejected endpoints,
/// governors and shares.
async fn upkeep(cx: Rc<Context>, lanes: Rc<Lanes>) {
    let mut ticks = 0_u64;
    loop {
        io::sleep_ms(TICK_MS).await;
        ticks += 1;
        let generation = cx.generation();
        lanes.let_go(cx.now_ms()).await;
        lanes.call(&generation).await;
        if ticks.is_multiple_of(SECOND) {
            generation.upstreams.reap().await;
            let is_in_force = || Rc::ptr_eq(&cx.generation(), &generation);
            generation.watched.look(&cx.shard.busy_ticks, is_in_force).await;
            lanes.call_all(&generation).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_tick_counts_only_where_the_core_was_the_workers_own() {
        for (took_ms, cpu_ms, expect) in [
            (100, 100, false),
            (150, 150, false),
            (151, 151, true),
            (1_000, 801, true),
            (1_000, 800, false),
            (1_000, 10, false),
        ] {
            assert_eq!(
                is_busy(took_ms * 1000, cpu_ms * 1000),
                expect,
                "{took_ms} ms, {cpu_ms} ms of them ours"
            );
        }
    }
}
