//! One core: a runtime and everything it owns. The only file that knits rooms together.

use std::cell::{Cell, RefCell};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Instant, SystemTime};

use config::Config;

use crate::buffer::Buffers;
use crate::context::Context;
use crate::downstream::listener;
use crate::io::{self, Control, Listener, Millis, Sweeper};
use crate::limits::{BUSY_LATE_MS, DRAIN_IDLE_MS, TICK_MS};
use crate::memory;
use crate::metrics::{self, RouteCounters, Shard};
use crate::mirror::lane::Lane;
use crate::mirror::policy::Policy;
use crate::mirror::sample::Random;
use crate::mirror::shipper::Shipper;
use crate::os;
use crate::plan::Plan;
use crate::route::Router;
use crate::runtime;
use crate::upstream::pool::Upstreams;

/// Ticks between two returns of free memory to the system.
const RELEASE_TICKS: u64 = 5;

/// Returns after buffers were last found unused: the allocator only marks what is free at first, and lets go of it when
/// it is asked again.
const RELEASES: u32 = 3;

/// What the control plane hands a worker, once, before it starts.
pub struct Setup {
    pub id: usize,
    /// The core to pin to, if any.
    pub core: Option<core_affinity::CoreId>,
    pub config: Arc<Config>,
    /// Resolved addresses of each upstream, by `UpstreamId`; never empty.
    pub addresses: Arc<Vec<Vec<SocketAddr>>>,
    /// This worker's own SO_REUSEPORT sockets, one for each configured listener, already bound and listening.
    pub listeners: Vec<TcpListener>,
    /// One byte per command: see [`Command`].
    pub control: UnixStream,
    pub shard: Arc<Shard>,
    /// Told once, when the worker serves or cannot.
    pub ready: Sender<Ready>,
}

/// What a worker says when it has started.
#[derive(Debug)]
pub struct Ready {
    pub worker: usize,
    /// The driver and flags settled for, e.g. `io_uring, 1024 entries, single_issuer+defer_taskrun`, and why not better.
    pub driver: Result<String, String>,
}

/// Bytes on the control socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Command {
    /// Stop accepting, finish what is open, ship the rings, then return; give up at the configured deadline.
    Drain = b'd',
}

/// The body of a worker's thread: serves until it has drained. A panic that is not an exchange's own comes out of it;
/// the process must then end, because the kernel would go on queueing connections on this worker's sockets.
pub fn run(setup: Setup) {
    let Setup { id, core, config, ready, .. } = &setup;
    if let Some(core) = core {
        // Without it the worker only moves between cores.
        core_affinity::set_for_current(*core);
    }
    let (id, ready) = (*id, ready.clone());
    match runtime::build(config.workers.driver, config.workers.uring_entries) {
        Ok((mut runtime, driver)) => {
            runtime.block_on(serve(setup, driver));
            // monoio cannot free pending operations: the runtime is left to the end of the process.
            std::mem::forget(runtime);
        }
        Err(why) => {
            let _ = ready.send(Ready { worker: id, driver: Err(why) });
        }
    }
}

async fn serve(setup: Setup, driver: String) {
    let Setup { id, config, addresses, listeners, control, shard, ready, .. } = setup;
    let sweeper = Sweeper::new();
    let buffers = Rc::new(Buffers::default());
    let draining = Rc::new(Cell::new(false));
    let last_call = Rc::new(Cell::new(false));
    let lanes: Vec<Rc<Lane>> = config
        .lanes
        .iter()
        .zip(&shard.lanes)
        .map(|(lane, counters)| Rc::new(Lane::new(lane, &addresses[lane.upstream], counters)))
        .collect();
    let cx = Rc::new(Context {
        router: Router::new(&config.routes),
        plans: config.routes.iter().map(Plan::new).collect(),
        policies: policies(&config, &shard, &lanes),
        upstreams: Upstreams::new(&config, &addresses, &shard, &sweeper),
        buffers: Rc::clone(&buffers),
        sweeper: Rc::clone(&sweeper),
        random: Random::new(seed(id)),
        draining: Rc::clone(&draining),
        busy: Cell::new(false),
        date: RefCell::new(httpdate::fmt_http_date(SystemTime::now())),
        panic_on_request: cfg!(debug_assertions) && std::env::var_os("UMBRA_TEST_PANIC").is_some(),
        config: Arc::clone(&config),
        shard: Arc::clone(&shard),
    });

    let shippers = Rc::new(Cell::new(0_usize));
    for (lane, settings) in lanes.iter().zip(&config.lanes) {
        for number in 0..settings.connections_max {
            let shipper = Shipper {
                lane: Rc::clone(lane),
                settings: settings.clone(),
                limits: config.limits.clone(),
                buffers: Rc::clone(&buffers),
                sweeper: Rc::clone(&sweeper),
                last_call: Rc::clone(&last_call),
                number,
            };
            let shippers = Rc::clone(&shippers);
            shippers.set(shippers.get() + 1);
            monoio::spawn(async move {
                shipper.run().await;
                shippers.set(shippers.get() - 1);
            });
        }
    }
    monoio::spawn(tick(Rc::clone(&cx), lanes.clone()));

    let started =
        listeners.into_iter().map(Listener::new).collect::<Result<Vec<_>, _>>().and_then(|listeners| {
            let control = Control::new(control)?;
            Ok((listeners.into_iter().map(Rc::new).collect::<Vec<_>>(), control))
        });
    let (listeners, mut control) = match started {
        Ok(started) => started,
        Err(error) => {
            let _ = ready.send(Ready { worker: id, driver: Err(format!("cannot listen: {error}")) });
            return;
        }
    };
    for listener in &listeners {
        monoio::spawn(listener::accept(Rc::clone(&cx), Rc::clone(listener)));
    }
    let _ = ready.send(Ready { worker: id, driver: Ok(driver) });
    drop(ready);

    // Until told to drain; a control plane that is gone means the same.
    while let Some(command) = control.next().await {
        if command == Command::Drain as u8 {
            break;
        }
    }
    drain(&cx, &listeners, &lanes, &shippers, &last_call).await;
}

fn policies(config: &Config, shard: &Shard, lanes: &[Rc<Lane>]) -> Vec<Vec<Policy>> {
    let of_route = |(route, counters): (&config::Route, &Arc<RouteCounters>)| {
        let with_counters = route.mirrors.iter().zip(&counters.mirrors);
        with_counters
            .map(|(mirror, counters)| {
                Policy::new(mirror, counters, &lanes[mirror.lane], config.workers.count)
            })
            .collect()
    };
    config.routes.iter().zip(&shard.routes).map(of_route).collect()
}

/// A seed that differs between workers and starts.
fn seed(worker: usize) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(worker)
}

/// The worker's heartbeat: coarse time, deadlines, the date, idle connections, and whether it is late on its own loop.
async fn tick(cx: Rc<Context>, lanes: Vec<Rc<Lane>>) {
    let mut last = (Instant::now(), os::thread_cpu_us());
    let mut ticks = 0_u64;
    let mut releases = 0;
    loop {
        io::sleep_ms(TICK_MS).await;
        cx.sweeper.sweep();
        cx.shard.ticks.inc();
        ticks += 1;

        let (now, cpu) = (Instant::now(), os::thread_cpu_us());
        let took_us = u64::try_from((now - last.0).as_micros()).unwrap_or(u64::MAX);
        // Late, and not because somebody else had the core: our own turns are too long.
        let late = took_us > (TICK_MS + BUSY_LATE_MS) * 1000;
        let ours = (cpu - last.1).saturating_mul(5) > took_us.saturating_mul(4);
        cx.busy.set(late && ours);
        if late && ours {
            cx.shard.busy_ticks.inc();
        }
        cx.shard.cpu_us.set(i64::try_from(cpu).unwrap_or(i64::MAX));
        last = (now, cpu);

        for lane in &lanes {
            if !lane.is_empty() {
                lane.call();
            }
        }
        if cx.buffers.trim() {
            releases = RELEASES;
        }
        if releases > 0 && ticks.is_multiple_of(RELEASE_TICKS) {
            memory::release();
            releases -= 1;
        }
        if ticks.is_multiple_of(1000 / TICK_MS) {
            *cx.date.borrow_mut() = httpdate::fmt_http_date(SystemTime::now());
            cx.upstreams.reap();
            cx.policies.iter().flatten().for_each(|policy| policy.govern(cx.shard.busy_ticks.get()));
            lanes.iter().for_each(|lane| lane.call_all());
        }
    }
}

/// Stops accepting, lets open exchanges end and the rings ship, and gives up at the deadline.
async fn drain(
    cx: &Rc<Context>,
    listeners: &[Rc<Listener>],
    lanes: &[Rc<Lane>],
    shippers: &Cell<usize>,
    last_call: &Cell<bool>,
) {
    let deadline = Instant::now() + cx.config.timeouts.drain;
    cx.draining.set(true);
    for listener in listeners {
        listener.shutdown(|stream, peer| listener::serve(cx, stream, peer, listener.port));
    }
    cx.sweeper.shorten_idle(Millis(DRAIN_IDLE_MS));
    while Instant::now() < deadline {
        if cx.shard.connections_active.get() == 0 {
            // Only now: an exchange that still runs may yet complete its copies.
            last_call.set(true);
            lanes.iter().for_each(|lane| lane.call_all());
            if shippers.get() == 0 {
                break;
            }
        }
        io::sleep_ms(5).await;
    }
    lanes.iter().for_each(|lane| {
        lane.flush(metrics::Drop::Drain);
    });
}
