//! Every monoio call the rooms need, behind a handful of functions, and the deadlines that end them.
//!
//! monoio 0.2.4 loses data when a pending read is dropped, so nothing here is ever cancelled on a connection that lives
//! on: a deadline that passes shuts the socket down and the pending operation completes by itself. One sweep per tick
//! looks at all sockets of the worker; no timer is armed per operation.
//!
//! Knows sockets and coarse time; knows nothing of HTTP. Buffers are owned through each await and always given back.

mod gather;
mod listener;
mod turn;
#[cfg(test)]
pub(crate) mod simulated;

use std::cell::{Cell, RefCell, UnsafeCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::{Rc, Weak};
use std::time::Duration;

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent, CancelableAsyncReadRent, Canceller};
use monoio::net::TcpStream;
use slab::Slab;

use crate::limits::TICK_MS;
use crate::os;
pub use gather::Gather;
pub use listener::{Control, Listener, Owner};
pub use turn::turn;

/// A length of time in whole milliseconds, as the sweeper counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// No deadline.
    pub const FOREVER: Self = Self(u64::MAX);

    /// So long, but not beyond `end_ms` of the worker's clock; `u64::MAX` is no end.
    pub fn until(self, end_ms: u64, now_ms: u64) -> Self {
        if end_ms == u64::MAX { self } else { Self(self.0.min(end_ms.saturating_sub(now_ms))) }
    }
}

impl From<Duration> for Millis {
    fn from(d: Duration) -> Self {
        Self(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }
}

const NEVER: u64 = u64::MAX;

/// Operations one socket may complete at once before others get a turn (epoll only).
const EAGER_MAX: u8 = 16;

/// The worker's coarse clock and the table of its sockets' deadlines.
#[derive(Debug)]
pub struct Sweeper {
    started_us: u64,
    now_ms: Cell<u64>,
    sockets: RefCell<Slab<Weak<Socket>>>,
    is_epoll: bool,
}

impl Sweeper {
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            started_us: os::monotonic_us(),
            now_ms: Cell::new(0),
            sockets: RefCell::new(Slab::new()),
            is_epoll: monoio::utils::is_legacy(),
        })
    }

    /// Milliseconds since the worker started, at most one tick old.
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// Microseconds since the worker started, now.
    pub fn now_us(&self) -> u64 {
        #[cfg(test)]
        if let Some(world) = simulated::world() {
            return world.now_us();
        }
        os::monotonic_us().saturating_sub(self.started_us)
    }

    /// A number that differs between workers and starts; in a simulated world it is its seed's.
    pub fn anywhere(&self, salt: usize) -> u64 {
        use std::hash::{BuildHasher, RandomState};
        #[cfg(test)]
        if let Some(world) = simulated::world() {
            return world.below(usize::MAX) as u64;
        }
        RandomState::new().hash_one((self.started_us, salt))
    }

    /// Open sockets of the worker.
    pub fn open(&self) -> usize {
        self.sockets.borrow().len()
    }

    /// That of a simulated world.
    #[cfg(test)]
    pub(crate) fn simulated() -> Rc<Self> {
        Rc::new(Self {
            started_us: 0,
            now_ms: Cell::new(0),
            sockets: RefCell::new(Slab::new()),
            is_epoll: false,
        })
    }

    /// One tick: reads the clock and shuts down every socket whose deadline has passed.
    pub fn sweep(&self) {
        let now = self.now_us() / 1000;
        self.now_ms.set(now);
        for (_, socket) in &*self.sockets.borrow() {
            let Some(socket) = socket.upgrade() else { continue };
            if socket.park_at.get() <= now {
                socket.park();
            }
            if socket.write_deadline.get() <= now || socket.final_deadline.get() <= now {
                socket.expire(libc::SHUT_RDWR);
            } else if socket.read_deadline.get() <= now {
                socket.expire(libc::SHUT_RD);
            }
        }
    }

    /// Draining: sockets that wait for a next request get at most `within` more; all of them, or those of a group.
    pub fn shorten_idle(&self, within: Millis, group: Option<u32>) {
        let deadline = self.deadline(within);
        for (_, socket) in &*self.sockets.borrow() {
            let Some(socket) = socket.upgrade() else { continue };
            if socket.idle.get() && group.is_none_or(|group| socket.group.get() == group) {
                socket.read_deadline.set(socket.read_deadline.get().min(deadline));
            }
        }
    }

    /// Ends whatever the sockets of a group are doing, with the next tick.
    pub fn end_group(&self, group: u32) {
        for (_, socket) in &*self.sockets.borrow() {
            let Some(socket) = socket.upgrade() else { continue };
            if socket.group.get() == group {
                socket.final_deadline.set(0);
            }
        }
    }

    /// The deadline `within` from now, one tick late rather than early because `now_ms` may be a tick old.
    fn deadline(&self, within: Millis) -> u64 {
        if within == Millis::FOREVER { NEVER } else { self.now_ms.get().saturating_add(within.0 + TICK_MS) }
    }
}

/// One TCP connection as shared by its two halves and the sweeper.
struct Socket {
    wire: Wire,
    read_deadline: Cell<u64>,
    write_deadline: Cell<u64>,
    /// A read is pending.
    reading: Cell<bool>,
    /// Ends whatever is pending, whatever progress there was.
    final_deadline: Cell<u64>,
    /// Operations that completed at once, one after the other (epoll only).
    eager: Cell<u8>,
    /// Waiting for a request that may never come; a drain may end it early.
    idle: Cell<bool>,
    /// When an idle read gives its buffer back, and what ends that read without losing anything.
    park_at: Cell<u64>,
    parker: Cell<Option<Canceller>>,
    expired: Cell<bool>,
    slot: Cell<usize>,
    /// Of sockets that drain together; 0 is none.
    group: Cell<u32>,
    sweeper: Rc<Sweeper>,
}

/// What carries a connection's bytes.
enum Wire {
    Tcp(UnsafeCell<TcpStream>, RawFd),
    #[cfg(test)]
    Simulated(simulated::End),
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").field("slot", &self.slot.get()).finish_non_exhaustive()
    }
}

impl Socket {
    fn expire(&self, how: libc::c_int) {
        self.expired.set(true);
        self.read_deadline.set(NEVER);
        if how == libc::SHUT_RDWR {
            self.clear_deadlines();
        }
        match &self.wire {
            Wire::Tcp(_, fd) => shutdown(*fd, how),
            #[cfg(test)]
            Wire::Simulated(end) => {
                end.shut();
                if how == libc::SHUT_RDWR {
                    end.finish();
                }
            }
        }
    }

    /// A read begins that must end within `within`.
    fn begin_read(&self, within: Millis) {
        self.reading.set(true);
        self.read_deadline.set(self.sweeper.deadline(within));
    }

    fn end_read(&self) {
        self.reading.set(false);
        self.read_deadline.set(NEVER);
    }

    fn clear_deadlines(&self) {
        self.read_deadline.set(NEVER);
        self.write_deadline.set(NEVER);
        self.final_deadline.set(NEVER);
    }

    /// Runs an operation and lets others have a turn now and then. On epoll an operation on a fast stream completes at
    /// once, again and again, so that one bulk transfer would keep the worker to itself; io_uring completes none at once.
    async fn fair<F: Future>(&self, operation: F) -> F::Output {
        if !self.sweeper.is_epoll {
            return operation.await;
        }
        let mut operation = std::pin::pin!(operation);
        let mut polls = 0_u32;
        let output = std::future::poll_fn(|cx| {
            polls += 1;
            operation.as_mut().poll(cx)
        })
        .await;
        self.eager.set(if polls == 1 { self.eager.get() + 1 } else { 0 });
        if self.eager.get() >= EAGER_MAX {
            self.eager.set(0);
            turn().await;
        }
        output
    }

    fn park(&self) {
        self.park_at.set(NEVER);
        #[cfg(test)]
        if let Some(end) = self.simulated() {
            return end.park();
        }
        if let Some(parker) = self.parker.take() {
            parker.cancel();
        }
    }

    fn outcome(&self, result: io::Result<usize>) -> io::Result<usize> {
        match result {
            Ok(0) | Err(_) if self.expired.get() => Err(io::ErrorKind::TimedOut.into()),
            other => other,
        }
    }

    #[cfg(test)]
    fn simulated(&self) -> Option<&simulated::End> {
        match &self.wire {
            Wire::Tcp(..) => None,
            Wire::Simulated(end) => Some(end),
        }
    }

    #[allow(clippy::mut_from_ref)]
    fn stream(&self) -> &mut TcpStream {
        let stream = match &self.wire {
            Wire::Tcp(stream, _) => stream,
            // invariant: whoever is simulated was asked before.
            #[cfg(test)]
            Wire::Simulated(_) => unreachable!("a simulated wire has no socket"),
        };
        // SAFETY: a worker is one thread, and monoio's methods take `&mut self` only to name the descriptor: they copy
        // its handle into the operation before they return their future, so no two live borrows ever touch the same
        // state. monoio relies on the same for its own owned halves (`unsafe impl Split for TcpStream`).
        unsafe { &mut *stream.get() }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.sweeper.sockets.borrow_mut().try_remove(self.slot.get());
    }
}

fn shutdown(fd: RawFd, how: libc::c_int) {
    // SAFETY: shutdown(2) takes no pointers; a stale descriptor cannot reach here because sockets leave the sweeper's
    // table before their descriptor is closed.
    unsafe { libc::shutdown(fd, how) };
}

/// A connection: two halves that can be used at the same time.
#[derive(Debug)]
pub struct Stream {
    pub r: ReadHalf,
    pub w: WriteHalf,
}

/// The half that reads.
#[derive(Debug)]
pub struct ReadHalf(Rc<Socket>);

/// The half that writes. Dropping it does not end the stream; dropping both halves closes the connection.
#[derive(Debug)]
pub struct WriteHalf(Rc<Socket>);

impl Stream {
    pub fn new(stream: TcpStream, sweeper: &Rc<Sweeper>) -> Self {
        let fd = stream.as_raw_fd();
        Self::over(Wire::Tcp(UnsafeCell::new(stream), fd), sweeper)
    }

    #[cfg(test)]
    pub(crate) fn simulated(end: simulated::End, sweeper: &Rc<Sweeper>) -> Self {
        Self::over(Wire::Simulated(end), sweeper)
    }

    fn over(wire: Wire, sweeper: &Rc<Sweeper>) -> Self {
        let socket = Rc::new(Socket {
            wire,
            read_deadline: Cell::new(NEVER),
            reading: Cell::new(false),
            write_deadline: Cell::new(NEVER),
            final_deadline: Cell::new(NEVER),
            eager: Cell::new(0),
            idle: Cell::new(false),
            park_at: Cell::new(NEVER),
            parker: Cell::new(None),
            expired: Cell::new(false),
            slot: Cell::new(usize::MAX),
            group: Cell::new(0),
            sweeper: Rc::clone(sweeper),
        });
        socket.slot.set(sweeper.sockets.borrow_mut().insert(Rc::downgrade(&socket)));
        Self { r: ReadHalf(Rc::clone(&socket)), w: WriteHalf(socket) }
    }

    /// It drains with the others of this group from now on.
    pub fn join_group(&self, group: u32) {
        self.r.0.group.set(group);
    }

    /// Connects within `within`; TCP_NODELAY is set.
    pub async fn connect(address: SocketAddr, within: Duration, sweeper: &Rc<Sweeper>) -> io::Result<Self> {
        #[cfg(test)]
        if let Some(world) = simulated::world() {
            let us = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
            let connected = simulated::within(&world, us, world.connect(address)).await;
            return Ok(Self::simulated(connected.ok_or(io::ErrorKind::TimedOut)??, sweeper));
        }
        // Dropping a pending connect drops its socket with it, so this cancellation loses nothing.
        let connected = self::within(within, TcpStream::connect_addr(address)).await;
        let stream = connected.ok_or(io::ErrorKind::TimedOut)??;
        stream.set_nodelay(true)?;
        Ok(Self::new(stream, sweeper))
    }

    /// Whether an idle connection can carry a request: still open, and the peer has said nothing since. One
    /// non-blocking system call.
    pub fn is_quiet(&self) -> bool {
        let fd = match &self.r.0.wire {
            Wire::Tcp(_, fd) => *fd,
            #[cfg(test)]
            Wire::Simulated(end) => return end.is_quiet(),
        };
        let mut byte = 0u8;
        // SAFETY: the buffer is one valid byte and outlives the call.
        let n = unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT) };
        n < 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
    }

    /// Forgets all deadlines: nothing is under way.
    pub fn clear_deadlines(&self) {
        self.r.0.clear_deadlines();
    }

    /// Ends whatever is under way at `at_ms` of the worker's clock, whatever progress there is until then.
    pub fn give_up_at(&self, at_ms: u64) {
        self.r.give_up_at(at_ms);
    }

    /// Makes the close of this connection a reset, so that the peer cannot take a cut message for a complete one.
    pub fn reset_on_close(&self) {
        self.w.reset_on_close(true);
    }
}

impl WriteHalf {
    /// Whether the close of this connection is a reset, whenever and however it comes.
    pub fn reset_on_close(&self, does: bool) {
        let fd = match &self.0.wire {
            Wire::Tcp(_, fd) => *fd,
            #[cfg(test)]
            Wire::Simulated(end) => return end.set_reset_on_close(does),
        };
        let linger = libc::linger { l_onoff: does.into(), l_linger: 0 };
        // SAFETY: the option's value is a valid `linger` of the size given.
        unsafe {
            libc::setsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size_of::<libc::linger>() as libc::socklen_t,
            )
        };
    }
}

/// How a wait for the next request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// So many bytes were appended; 0 is the peer's end.
    Read(usize),
    /// Nothing came for a while.
    Parked,
}

impl ReadHalf {
    /// See [`Stream::give_up_at`].
    pub fn give_up_at(&self, at_ms: u64) {
        self.0.final_deadline.set(at_ms.saturating_add(TICK_MS));
    }

    /// Appends at most `room` (≥ 1) bytes to `buf`, which is given that much room first. `Ok(0)` is the peer's end; a
    /// passed deadline is `TimedOut`, after which only writing works.
    pub async fn read(
        &mut self,
        mut buf: Vec<u8>,
        room: usize,
        within: Millis,
    ) -> (io::Result<usize>, Vec<u8>) {
        // Never more than asked for, however large the buffer is: what is behind it may be wanted for framing.
        buf.reserve(room);
        let (from, to) = (buf.len(), buf.len() + room);
        let socket = &self.0;
        socket.begin_read(within);
        #[cfg(test)]
        if let Some(end) = socket.simulated() {
            let result = end.read(&mut buf, room).await;
            socket.end_read();
            return (socket.outcome(result), buf);
        }
        let (result, slice) = socket.fair(socket.stream().read(buf.slice_mut(from..to))).await;
        socket.end_read();
        (socket.outcome(result), slice.into_inner())
    }

    /// Like `read`, for the wait between requests: a drain may end it early, and after `park` it ends by itself as
    /// [`Idle::Parked`] with nothing read, so that a connection that stays idle can give its buffer back.
    pub async fn read_idle(
        &mut self,
        mut buf: Vec<u8>,
        room: usize,
        within: Millis,
        park: Millis,
    ) -> (io::Result<Idle>, Vec<u8>) {
        buf.reserve(room);
        let (from, to) = (buf.len(), buf.len() + room);
        let socket = &self.0;
        socket.idle.set(true);
        socket.begin_read(within);
        socket.park_at.set(socket.sweeper.deadline(park));
        #[cfg(test)]
        if let Some(end) = socket.simulated() {
            end.unpark();
            let result = end.read(&mut buf, room).await;
            socket.park_at.set(NEVER);
            socket.end_read();
            socket.idle.set(false);
            let result = match result {
                Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => Ok(Idle::Parked),
                other => socket.outcome(other).map(Idle::Read),
            };
            return (result, buf);
        }
        let parker = socket.parker.take().unwrap_or_default();
        let handle = parker.handle();
        socket.parker.set(Some(parker));
        let (result, slice) =
            socket.fair(socket.stream().cancelable_read(buf.slice_mut(from..to), handle)).await;
        socket.park_at.set(NEVER);
        socket.end_read();
        socket.idle.set(false);
        let result = match result {
            Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => Ok(Idle::Parked),
            other => socket.outcome(other).map(Idle::Read),
        };
        (result, slice.into_inner())
    }

    /// Waits, holding no buffer, until a read would find something: bytes, the end, or a passed deadline.
    pub async fn readable_idle(&mut self, within: Millis) -> io::Result<()> {
        let socket = &self.0;
        socket.idle.set(true);
        socket.begin_read(within);
        #[cfg(test)]
        if let Some(end) = socket.simulated() {
            end.readable().await;
            socket.end_read();
            socket.idle.set(false);
            return if socket.expired.get() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) };
        }
        // Not relaxed: on epoll that would believe a readiness that an earlier read has used up.
        let result = socket.stream().readable(false).await;
        socket.end_read();
        socket.idle.set(false);
        if socket.expired.get() { Err(io::ErrorKind::TimedOut.into()) } else { result }
    }

    /// Whether something can be read within `ms`. Consumes nothing, so giving up loses nothing.
    pub async fn is_readable_within(&self, ms: u64) -> bool {
        #[cfg(test)]
        if let (Some(end), Some(world)) = (self.0.simulated(), simulated::world()) {
            return simulated::within(&world, ms * 1000, end.readable()).await.is_some();
        }
        monoio::time::timeout(Duration::from_millis(ms), self.0.stream().readable(false)).await.is_ok()
    }
}

impl WriteHalf {
    /// Writes all of `buf`; gives it back. An error after some bytes went out is told apart by [`WriteFailed`].
    pub async fn write_all<B: IoBuf>(&mut self, buf: B, within: Millis) -> (Result<(), WriteFailed>, B) {
        self.write_all_by(buf, within, NEVER).await
    }

    /// The same, and all of it before the worker's time is `end_ms`.
    pub async fn write_all_by<B: IoBuf>(
        &mut self,
        buf: B,
        within: Millis,
        end_ms: u64,
    ) -> (Result<(), WriteFailed>, B) {
        let end = buf.bytes_init();
        self.write_to(buf, 0, end, (within, end_ms)).await
    }

    /// Writes `buf[from..to]`; gives `buf` back.
    pub async fn write_range<B: IoBuf>(
        &mut self,
        buf: B,
        from: usize,
        to: usize,
        within: Millis,
    ) -> (Result<(), WriteFailed>, B) {
        self.write_to(buf, from, to, (within, NEVER)).await
    }

    async fn write_to<B: IoBuf>(
        &mut self,
        mut buf: B,
        from: usize,
        to: usize,
        (within, end_ms): (Millis, u64),
    ) -> (Result<(), WriteFailed>, B) {
        let mut at = from;
        while at < to {
            let within = within.until(end_ms, self.0.sweeper.now_ms());
            let (result, back) = self.write_some(buf, at, to, within).await;
            buf = back;
            match result {
                Ok(n) => at += n,
                Err(error) => return (Err(WriteFailed { any_sent: at > from, error }), buf),
            }
        }
        (Ok(()), buf)
    }

    /// Writes as much of `buf[at..to]` as the peer takes at once, a byte at least; gives `buf` back.
    pub async fn write_some<B: IoBuf>(
        &mut self,
        buf: B,
        at: usize,
        to: usize,
        within: Millis,
    ) -> (io::Result<usize>, B) {
        let socket = &self.0;
        socket.write_deadline.set(socket.sweeper.deadline(within));
        #[cfg(test)]
        if let Some(end) = socket.simulated() {
            // SAFETY: the buffer has so many initialized bytes, and stands still while `buf` is here.
            let bytes = unsafe { std::slice::from_raw_parts(buf.read_ptr(), buf.bytes_init()) };
            let result = end.write(&bytes[at..to]).await;
            socket.write_deadline.set(NEVER);
            return (socket.outcome(result), buf);
        }
        let (result, slice) = socket.fair(socket.stream().write(buf.slice(at..to))).await;
        socket.write_deadline.set(NEVER);
        let result = match socket.outcome(result) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            result => result,
        };
        (result, slice.into_inner())
    }

    /// Writes all of a sealed [`Gather`]; gives it back, and when the last part began (the worker's microseconds) where
    /// it went in several.
    pub async fn write_gather(
        &mut self,
        mut gather: Gather,
        within: Millis,
    ) -> (Result<Option<u64>, WriteFailed>, Gather) {
        if gather.pieces.is_empty() {
            // One part: a plain send is cheaper than a vectored write.
            let (result, own) = self.write_all(std::mem::take(&mut gather.own), within).await;
            gather.own = own;
            return (result.map(|()| None), gather);
        }
        let socket = &self.0;
        let mut any_sent = false;
        let mut last_us = None;
        while !gather.is_written() {
            if any_sent {
                last_us = Some(socket.sweeper.now_us());
            }
            socket.write_deadline.set(socket.sweeper.deadline(within));
            #[cfg(test)]
            if let Some(end) = socket.simulated() {
                let result = end.write(&gather.rest()).await;
                socket.write_deadline.set(NEVER);
                match socket.outcome(result) {
                    Ok(n) => {
                        any_sent = true;
                        gather.advance(n);
                    }
                    Err(error) => return (Err(WriteFailed { any_sent, error }), gather),
                }
                continue;
            }
            let (result, back) = socket.fair(socket.stream().writev(gather)).await;
            socket.write_deadline.set(NEVER);
            gather = back;
            match socket.outcome(result) {
                Ok(0) => {
                    return (Err(WriteFailed { any_sent, error: io::ErrorKind::WriteZero.into() }), gather);
                }
                Ok(n) => {
                    any_sent = true;
                    gather.advance(n);
                }
                Err(error) => return (Err(WriteFailed { any_sent, error }), gather),
            }
        }
        (Ok(last_us), gather)
    }

    /// No more will be written; the peer reads to the end and then sees it.
    pub fn finish(&self) {
        match &self.0.wire {
            Wire::Tcp(_, fd) => shutdown(*fd, libc::SHUT_WR),
            #[cfg(test)]
            Wire::Simulated(end) => end.finish(),
        }
    }

    /// Bounds the read that is pending on the other half, from now; one that ends sooner stays as it is. Without one it
    /// does nothing: a deadline left behind would end a later read, or a connection on which nobody reads.
    pub fn limit_pending_read(&self, within: Millis) {
        if self.0.reading.get() {
            let deadline = &self.0.read_deadline;
            deadline.set(deadline.get().min(self.0.sweeper.deadline(within)));
        }
    }
}

/// A write that did not complete.
#[derive(Debug)]
pub struct WriteFailed {
    /// Whether the kernel took any of it: if not, the peer cannot have seen it.
    pub any_sent: bool,
    pub error: io::Error,
}

/// What `future` comes to, if it does so within `time`. It is dropped then: not for reads and writes of connections.
pub async fn within<F: Future>(time: Duration, future: F) -> Option<F::Output> {
    #[cfg(test)]
    if let Some(world) = simulated::world() {
        return simulated::within(&world, u64::try_from(time.as_micros()).unwrap_or(u64::MAX), future).await;
    }
    monoio::time::timeout(time, future).await.ok()
}

/// Sleeps at least `ms`; the runtime's ticks are 1 ms.
pub async fn sleep_ms(ms: u64) {
    #[cfg(test)]
    if let Some(world) = simulated::world() {
        return world.sleep_us(ms * 1000).await;
    }
    monoio::time::sleep(Duration::from_millis(ms)).await;
}

/// Runs a task beside this one, on the same worker.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    #[cfg(test)]
    if let Some(world) = simulated::world() {
        return world.spawn(task);
    }
    monoio::spawn(task);
}

#[cfg(test)]
mod tests;
