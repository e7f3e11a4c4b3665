//! A world without a kernel, for tests: connections in memory, a clock that jumps, tasks that run in an order drawn from a
//! seed. Every read and write is cut where the dice say, so that one seed is one interleaving, and comes back.
//!
//! The world has the same interface as the kernel: `io` calls it wherever a wire is a simulated one.

mod arm;

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

pub(crate) use arm::Arm;

use crate::address::Address;

thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// Something that goes on until it ends.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()>>>;

/// A simulated origin's conduct on a connection to it.
pub(crate) type Origin = Rc<dyn Fn(End) -> Task>;

/// Everything that happens in one seed.
pub(crate) struct World {
    now_us: Cell<u64>,
    dice: RefCell<fastrand::Rng>,
    tasks: RefCell<HashMap<usize, Task>>,
    next_task: Cell<usize>,
    ready: Arc<Mutex<Vec<usize>>>,
    timers: RefCell<BinaryHeap<Reverse<(u64, u64)>>>,
    sleepers: RefCell<HashMap<u64, Waker>>,
    next_timer: Cell<u64>,
    origins: RefCell<HashMap<SocketAddr, Origin>>,
    silent: RefCell<Vec<SocketAddr>>,
}

struct TaskWaker {
    task: usize,
    ready: Arc<Mutex<Vec<usize>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if !ready.contains(&self.task) {
            ready.push(self.task);
        }
    }
}

/// The world that this thread is in, if it is in one.
pub(crate) fn world() -> Option<Rc<World>> {
    WORLD.with_borrow(Clone::clone)
}

impl World {
    /// Runs `main`, and the tasks that it spawns, until `main` ends.
    pub(crate) fn run<F: Future<Output = ()> + 'static>(seed: u64, main: impl FnOnce(Rc<Self>) -> F) {
        let world = Rc::new(Self {
            now_us: Cell::new(1),
            dice: RefCell::new(fastrand::Rng::with_seed(seed)),
            tasks: RefCell::default(),
            next_task: Cell::new(0),
            ready: Arc::default(),
            timers: RefCell::default(),
            sleepers: RefCell::default(),
            next_timer: Cell::new(0),
            origins: RefCell::default(),
            silent: RefCell::default(),
        });
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                WORLD.set(None);
            }
        }
        WORLD.set(Some(Rc::clone(&world)));
        let _leave = Leave;
        let is_over = Rc::new(Cell::new(false));
        let over = Rc::clone(&is_over);
        let main = main(Rc::clone(&world));
        world.spawn(async move {
            main.await;
            over.set(true);
        });
        while !is_over.get() {
            world.turn();
        }
        // Tasks hold the world's ends, and dropping those may wake others: out of the table first.
        let tasks = world.tasks.take();
        drop(tasks);
    }

    /// Runs a task, drawn among those that can run; or, where none can, the clock's next event.
    fn turn(&self) {
        let task = {
            let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            if ready.is_empty() {
                None
            } else {
                let drawn = self.dice.borrow_mut().usize(..ready.len());
                Some(ready.swap_remove(drawn))
            }
        };
        let Some(task) = task else { return self.advance() };
        let Some(mut future) = self.tasks.borrow_mut().remove(&task) else { return };
        self.now_us.set(self.now_us.get() + self.dice.borrow_mut().u64(0..20));
        let waker = Waker::from(Arc::new(TaskWaker { task, ready: Arc::clone(&self.ready) }));
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.tasks.borrow_mut().insert(task, future);
        }
    }

    fn advance(&self) {
        let next = self.timers.borrow_mut().pop();
        let Some(Reverse((at, timer))) = next else {
            panic!("everybody waits for somebody: {} tasks", self.tasks.borrow().len());
        };
        self.now_us.set(self.now_us.get().max(at));
        if let Some(waker) = self.sleepers.borrow_mut().remove(&timer) {
            waker.wake();
        }
    }

    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let task = self.next_task.get();
        self.next_task.set(task + 1);
        self.tasks.borrow_mut().insert(task, Box::pin(future));
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    pub(crate) fn now_us(&self) -> u64 {
        self.now_us.get()
    }

    pub(crate) fn below(&self, bound: usize) -> usize {
        self.dice.borrow_mut().usize(..bound.max(1))
    }

    pub(crate) async fn sleep_us(&self, us: u64) {
        let (at, timer) = (self.now_us.get().saturating_add(us), self.next_timer.get());
        self.next_timer.set(timer + 1);
        self.timers.borrow_mut().push(Reverse((at, timer)));
        poll_fn(|cx| {
            if self.now_us.get() >= at {
                self.sleepers.borrow_mut().remove(&timer);
                return Poll::Ready(());
            }
            self.sleepers.borrow_mut().insert(timer, cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// A connection to `address` reaches `origin`.
    pub(crate) fn listen(&self, address: SocketAddr, origin: Origin) {
        self.origins.borrow_mut().insert(address, origin);
    }

    /// A connection to `address` hears nothing.
    pub(crate) fn ignore(&self, address: SocketAddr) {
        self.silent.borrow_mut().push(address);
    }

    /// A connection to `address`; refused where nothing listens, or where the dice say so.
    pub(crate) async fn connect(&self, address: Address) -> io::Result<End> {
        let address = address.ip().ok_or(io::ErrorKind::NotFound)?;
        self.sleep_us(self.below(2_000) as u64).await;
        if self.silent.borrow().contains(&address) {
            std::future::pending::<()>().await;
        }
        let origin = self.origins.borrow().get(&address).cloned();
        let Some(origin) = origin.filter(|_| self.below(50) > 0) else {
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let (ours, theirs) = pair();
        self.spawn(origin(theirs));
        Ok(ours)
    }
}

/// The output of `future`, if it ends within `us`.
pub(crate) async fn within<F: Future>(world: &World, us: u64, future: F) -> Option<F::Output> {
    let (mut future, mut late) = (std::pin::pin!(future), std::pin::pin!(world.sleep_us(us)));
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        late.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// A direction of a connection.
#[derive(Default)]
struct Way {
    bytes: VecDeque<u8>,
    /// The writer has ended it.
    is_ended: bool,
    /// The reader takes no more; a write is answered with a reset.
    is_deaf: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Bytes that a way holds at most.
const WAY_BYTES_MAX: usize = 100_000;

impl Way {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

#[derive(Default)]
struct Line {
    ways: [Way; 2],
    is_reset: bool,
}

/// An end of a connection in memory. Dropping it ends the connection as closing a socket does: with a reset where bytes are
/// unread, or where that was asked for.
pub(crate) struct End {
    line: Rc<RefCell<Line>>,
    /// Index of the way it writes to.
    side: usize,
    resets: Cell<bool>,
    /// A wait that is to end with nothing read.
    is_parked: Cell<bool>,
    /// Reading is over by our own will.
    is_shut: Cell<bool>,
}

/// Two ends of one connection.
pub(crate) fn pair() -> (End, End) {
    let line = Rc::new(RefCell::new(Line::default()));
    let end = |side| End {
        line: Rc::clone(&line),
        side,
        resets: Cell::new(false),
        is_parked: Cell::new(false),
        is_shut: Cell::new(false),
    };
    (end(0), end(1))
}

impl End {
    /// Appends some of the bytes that are there to `buf`, at most `room`; `Ok(0)` is the end.
    pub(crate) async fn read(&self, buf: &mut Vec<u8>, room: usize) -> io::Result<usize> {
        let world = world().ok_or(io::ErrorKind::NotConnected)?;
        let mut dawdles = world.below(4) == 0;
        poll_fn(|cx| {
            if std::mem::take(&mut dawdles) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.is_parked.take() {
                return Poll::Ready(Err(io::Error::from_raw_os_error(libc::ECANCELED)));
            }
            let mut line = self.line.borrow_mut();
            if line.is_reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let way = &mut line.ways[1 - self.side];
            if way.bytes.is_empty() {
                if way.is_ended || self.is_shut.get() {
                    return Poll::Ready(Ok(0));
                }
                way.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let most = way.bytes.len().min(room);
            let n = if world.below(3) == 0 { 1 + world.below(most) } else { most };
            buf.extend(way.bytes.drain(..n));
            way.wake();
            Poll::Ready(Ok(n))
        })
        .await
    }

    /// Waits until a read would find something.
    pub(crate) async fn readable(&self) {
        poll_fn(|cx| {
            let mut line = self.line.borrow_mut();
            let is_reset = line.is_reset;
            let way = &mut line.ways[1 - self.side];
            if is_reset || way.is_ended || self.is_shut.get() || !way.bytes.is_empty() {
                return Poll::Ready(());
            }
            way.reader = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Takes some of `bytes` (not none of them).
    pub(crate) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let world = world().ok_or(io::ErrorKind::NotConnected)?;
        let mut dawdles = world.below(4) == 0;
        poll_fn(|cx| {
            if std::mem::take(&mut dawdles) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut line = self.line.borrow_mut();
            if line.is_reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let way = &mut line.ways[self.side];
            if way.is_ended {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if way.is_deaf {
                // The first write is taken, as a kernel does; its answer is the reset.
                line.reset();
                return Poll::Ready(Ok(bytes.len()));
            }
            let room = WAY_BYTES_MAX.saturating_sub(way.bytes.len());
            if room == 0 {
                way.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let most = room.min(bytes.len());
            let n = if world.below(3) == 0 { 1 + world.below(most) } else { most };
            way.bytes.extend(&bytes[..n]);
            way.wake();
            Poll::Ready(Ok(n))
        })
        .await
    }

    /// Writes all of `bytes` so that the reader never sees them come in pieces, however much the line holds already.
    pub(crate) fn write_at_once(&self, bytes: &[u8]) {
        let mut line = self.line.borrow_mut();
        let is_open = !line.is_reset;
        let way = &mut line.ways[self.side];
        if is_open && !way.is_ended && !way.is_deaf {
            way.bytes.extend(bytes);
            way.wake();
        }
    }

    /// Writes all of `bytes`.
    pub(crate) async fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let n = self.write(rest).await?;
            rest = &rest[n..];
        }
        Ok(())
    }

    /// As shutdown(2) with `SHUT_WR`.
    pub(crate) fn finish(&self) {
        let mut line = self.line.borrow_mut();
        let way = &mut line.ways[self.side];
        way.is_ended = true;
        way.wake();
    }

    /// As shutdown(2) with `SHUT_RD`: a pending read ends, earlier bytes can still be read.
    pub(crate) fn shut(&self) {
        self.is_shut.set(true);
        self.line.borrow_mut().ways[1 - self.side].wake();
    }

    /// Ends both ways: by a reset where one is due.
    pub(crate) fn shut_both(&self) {
        if self.resets.get() {
            return self.line.borrow_mut().reset();
        }
        self.shut();
        self.finish();
    }

    /// Ends a pending read with nothing read.
    pub(crate) fn park(&self) {
        self.is_parked.set(true);
        self.line.borrow_mut().ways[1 - self.side].wake();
    }

    pub(crate) fn unpark(&self) {
        self.is_parked.set(false);
    }

    pub(crate) fn reset_on_close(&self) {
        self.set_reset_on_close(true);
    }

    pub(crate) fn set_reset_on_close(&self, does: bool) {
        self.resets.set(does);
    }

    /// Reads the bytes that are there, without waiting.
    pub(crate) fn read_now(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        let mut line = self.line.borrow_mut();
        if line.is_reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let way = &mut line.ways[1 - self.side];
        if way.bytes.is_empty() {
            let is_over = way.is_ended || self.is_shut.get();
            return if is_over { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let n = way.bytes.len();
        buf.extend(way.bytes.drain(..));
        way.wake();
        Ok(n)
    }

    /// Open, and nothing to be read.
    pub(crate) fn is_quiet(&self) -> bool {
        let line = self.line.borrow();
        let way = &line.ways[1 - self.side];
        !line.is_reset && !way.is_ended && way.bytes.is_empty()
    }
}

impl Line {
    fn reset(&mut self) {
        self.is_reset = true;
        for way in &mut self.ways {
            way.bytes.clear();
            way.wake();
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut line = self.line.borrow_mut();
        if self.resets.get() || !line.ways[1 - self.side].bytes.is_empty() {
            return line.reset();
        }
        line.ways[1 - self.side].is_deaf = true;
        line.ways[self.side].is_ended = true;
        line.ways.iter_mut().for_each(Way::wake);
    }
}
