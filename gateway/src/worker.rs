//! A worker: one core's runtime and everything it owns. The only file that knits rooms together.

mod heartbeat;
mod lanes;

use std::cell::{Cell, RefCell};
use std::os::unix::net::UnixStream;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::admission::{Admission, Places};
use crate::context::Context;
use crate::downstream::listeners::Listeners;
use crate::generation::{Building, Generation, WorkerConfig};
use crate::io::{self, Control, Listener, Sweeper};

use crate::limits::DRAIN_IDLE_MS;
use crate::metrics::Shard;
use crate::mirror::proof::Proof;
use crate::observe::tap::Tap;
use crate::random::Random;
use crate::runtime;
use crate::time::Millis;
use crate::tunnels::Tunnels;
use lanes::Lanes;

/// The control plane hands a worker this, once, before it starts.
pub struct Setup {
    pub id: usize,
    /// The core to pin to, if any.
    pub core: Option<core_affinity::CoreId>,
    pub worker_config: WorkerConfig,
    /// Where the next configuration is left.
    pub updates: Arc<Updates>,
    /// Commands, one byte each: see [`Command`].
    pub control: UnixStream,
    pub shard: Arc<Shard>,
    /// Where records of exchanges go.
    pub tap: Tap,
    /// The proof that copies of this process are known by.
    pub proof: Proof,
    /// Told once, when the worker serves or cannot. Never waits for room.
    pub ready: tokio::sync::mpsc::Sender<Ready>,
}

/// A worker's word when it has started.
#[derive(Debug)]
pub struct Ready {
    pub worker: usize,
    /// The driver and flags settled for, e.g. `io_uring, 1024 entries, single_issuer+defer_taskrun`, and why not better.
    pub driver: Result<String, String>,
}

/// The next configuration for one worker: left by the control plane, taken when the command comes.
#[derive(Debug, Default)]
pub struct Updates(Mutex<Option<Update>>);

/// The configuration that a worker is to serve by from now on.
#[derive(Debug)]
pub struct Update {
    pub worker_config: WorkerConfig,
    /// Told the worker's number when it does. Never waits for room.
    pub applied: tokio::sync::mpsc::Sender<usize>,
}

impl Updates {
    /// An update that was not taken yet is replaced: the newer one says all.
    pub fn leave(&self, update: Update) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(update);
    }

    fn take(&self) -> Option<Update> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Bytes on the control socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Command {
    /// Accept: every worker can.
    Begin = b'b',
    /// Stop accepting, finish open exchanges, ship the rings, then return; give up at the configured deadline.
    Drain = b'd',
    /// The same, but the listening sockets are another process's now: stop accepting and leave them open.
    HandOver = b'h',
    /// Serve by the configuration that was left in [`Updates`].
    Reload = b'r',
}

/// The body of a worker's thread: serves until it has drained. A panic that is not an exchange's own comes out of it;
/// the process must then end, because the kernel would go on queueing connections on this worker's sockets.
pub fn run(setup: Setup) {
    let Setup { id, core, worker_config, ready, .. } = &setup;
    if let Some(core) = core {
        // Without it the worker only moves between cores.
        core_affinity::set_for_current(*core);
    }
    let (id, ready) = (*id, ready.clone());
    match runtime::build(worker_config.config.workers.driver, worker_config.config.workers.uring_entries) {
        Ok((mut runtime, driver)) => {
            runtime.block_on(serve(setup, driver));
            // monoio cannot free pending operations: the runtime is left to the end of the process.
            std::mem::forget(runtime);
        }
        Err(why) => {
            let _ = ready.try_send(Ready { worker: id, driver: Err(why) });
        }
    }
}

async fn serve(setup: Setup, driver: String) {
    let Setup { id, worker_config, updates, control, shard, tap, ready, proof, .. } = setup;
    let sweeper = Sweeper::new();
    let (admission, tunnels) = (Admission::new(&shard), Tunnels::new(&shard));
    let cx = Rc::new(Context {
        generation: RefCell::new(Generation::new(&worker_config, &sweeper, None)),
        shard,
        tap: Rc::new(tap),
        buffers: Rc::default(),
        sweeper,
        sessions: Default::default(),
        places: Places::default(),
        admission,
        tunnels,
        random: Random::new(seed(id)),
        proof,
        draining: Rc::default(),
        busy: Cell::new(false),
        date: RefCell::new(date(SystemTime::now())),
        #[cfg(debug_assertions)]
        panic_on_request: std::env::var_os("UMBRA_TEST_PANIC").is_some(),
    });
    let lanes = Rc::new(Lanes::default());
    lanes.follow(&cx, None).await;
    let listeners = Rc::new(Listeners::default());
    heartbeat::begin(&cx, &lanes, &listeners);

    let started = listeners.follow(&cx, &worker_config.listeners).and_then(|()| Control::new(control));
    // Held no longer than by those that share it: a socket closes with the last of its holders.
    drop(worker_config);
    let mut control = match started {
        Ok(started) => started,
        Err(error) => {
            let _ = ready.try_send(Ready { worker: id, driver: Err(format!("cannot listen: {error}")) });
            return;
        }
    };
    let _ = ready.try_send(Ready { worker: id, driver: Ok(driver) });
    drop(ready);

    // Until told to drain; a control plane that is gone means the same.
    let mut are_handed_over = false;
    while let Some(command) = control.next().await {
        if command == Command::Begin as u8 {
            listeners.begin(&cx);
        }
        are_handed_over = command == Command::HandOver as u8;
        if command == Command::Drain as u8 || are_handed_over {
            break;
        }
        if command == Command::Reload as u8
            && let Some(update) = updates.take()
        {
            let before = cx.generation();
            let mut building = Building::new(&update.worker_config, &cx.sweeper, Some(&before));
            while building.go_on() {
                io::turn().await;
            }
            let next = building.finish();
            *cx.generation.borrow_mut() = next;
            lanes.follow(&cx, Some(before)).await;
            if let Err(error) = listeners.follow(&cx, &update.worker_config.listeners) {
                tracing::error!("worker {id} cannot take connections from a new listener: {error}");
            }
            // Heard only by a control plane that still waits.
            let _ = update.applied.try_send(id);
        }
    }
    cx.draining.set(true);
    // Closed as soon as its accept has seen it: where no other process has the socket, no client is to wait at it.
    let closing = listeners.end(&cx, are_handed_over);
    drain(&cx, &lanes, closing).await;
}

/// A seed that differs between workers and starts.
fn seed(worker: usize) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(worker)
}

/// Lets open exchanges end and the rings ship, and gives up at the deadline. Not before the listeners are closed: a socket that a
/// worker holds when it returns stays open until the process ends.
async fn drain(cx: &Rc<Context>, lanes: &Lanes, closing: Vec<Weak<Listener>>) {
    let patience_us = u64::try_from(cx.generation().config.timeouts.drain.as_micros()).unwrap_or(u64::MAX);
    let deadline_us = cx.now_us().saturating_add(patience_us);
    cx.sweeper.shorten_idle(Millis(DRAIN_IDLE_MS), None);
    cx.sessions.drain(None);
    let mut were_closed = closing.is_empty();
    while cx.now_us() < deadline_us {
        let are_closed = closing.iter().all(|listener| listener.strong_count() == 0);
        if are_closed && !std::mem::replace(&mut were_closed, are_closed) {
            // Connections that were accepted last are idle too.
            cx.sweeper.shorten_idle(Millis(DRAIN_IDLE_MS), None);
        }
        if are_closed && cx.shard.connections_active.get() == 0 {
            // Only now: an exchange that still runs may yet complete its copies.
            let generation = cx.generation();
            lanes.call_last(&generation).await;
            if !lanes.has_shippers(&generation) {
                break;
            }
        }
        io::sleep_ms(5).await;
    }
    // A tunnel that ends by itself may take for ever: now it is told, and has a moment to be counted and logged.
    cx.tunnels.drain(None);
    let last_us = cx.now_us().saturating_add(TUNNEL_END_US);
    while !cx.tunnels.is_empty() && cx.now_us() < last_us {
        io::sleep_ms(5).await;
    }
    lanes.flush(&cx.generation());
}

/// How long tunnels that are told to end may take for it, behind the drain's deadline.
const TUNNEL_END_US: u64 = 200_000;

/// The Date of answers (RFC 9110 §5.6.7). A clock before 1970 or beyond the year 9999 has none: it stands at 1970, rather than
/// that a worker ends over it.
fn date(now: SystemTime) -> String {
    const YEAR_10000: u64 = 253_402_300_800;
    let has_one = now.duration_since(UNIX_EPOCH).is_ok_and(|since| since.as_secs() < YEAR_10000);
    httpdate::fmt_http_date(if has_one { now } else { UNIX_EPOCH })
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod lines;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_beyond_what_a_date_can_say_ends_no_worker() {
        let after = |seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).expect("representable");
        assert_eq!(date(after(784_111_777)), "Sun, 06 Nov 1994 08:49:37 GMT");
        let first = "Thu, 01 Jan 1970 00:00:00 GMT";
        assert_eq!(date(after(253_402_300_800)), first);
        assert_eq!(date(UNIX_EPOCH - Duration::from_secs(1)), first);
        assert_eq!(date(after(253_402_300_799)), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
