//! Connections with deadlines, behind a handful of functions that every room reads and writes with.
//!
//! Nothing here is ever cancelled on a connection that lives on (`sweeper` says why). Every call of monoio stands in this
//! room: `wire` carries the bytes, `tcp` is its one arm, `simulated` the arm of tests in a world without a kernel.
//!
//! Knows sockets and coarse time; knows nothing of HTTP. Buffers are owned through each await and always given back.

/// In a test that runs in a simulated world, returns that world's result instead.
macro_rules! in_world {
    ($world:ident => $said:expr) => {
        #[cfg(test)]
        if let Some($world) = $crate::io::simulated::world() {
            return $said;
        }
    };
}
use in_world;

mod sweeper;
mod wire;
mod tcp;
mod cover;
mod handshake;
mod idle;
mod lingering;
mod gather;
mod listener;
mod turn;
#[cfg(test)]
pub(crate) mod simulated;

use std::cell::{Cell, OnceCell};
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

pub use monoio::buf::IoBuf;
use monoio::net::TcpStream;

use crate::address::Address;
use crate::limits::{SEALED_BYTES_MAX, TICK_MS};
use crate::time::Millis;
use cover::Cover;
pub use gather::Gather;
use handshake::Turnstile;
pub use handshake::{NotCalled, Turn};
pub use idle::Idle;
pub use listener::{Control, Listener, Owner};
pub use sweeper::Sweeper;
use sweeper::{Deadlines, NEVER};
pub use tcp::initialized;
pub use turn::turn;
use wire::Wire;

/// A connection as shared by its two halves and the sweeper.
struct Socket {
    wire: Wire,
    /// TLS, from the end of its handshake on; without it plaintext is on the wire.
    cover: OnceCell<Box<Cover>>,
    deadlines: Deadlines,
    slot: Cell<usize>,
    sweeper: Rc<Sweeper>,
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").field("slot", &self.slot.get()).finish_non_exhaustive()
    }
}

impl Socket {
    /// An operation's result, where a passed deadline may have ended it.
    fn outcome<T: Ended>(&self, result: io::Result<T>) -> io::Result<T> {
        match result {
            Ok(end) if end.is_end() && self.deadlines.is_expired() => Err(io::ErrorKind::TimedOut.into()),
            Err(_) if self.deadlines.is_expired() => Err(io::ErrorKind::TimedOut.into()),
            other => other,
        }
    }

    fn begin_read(&self, within: Millis) {
        self.deadlines.begin_read(self.sweeper.deadline(within));
    }

    fn begin_write(&self, within: Millis) {
        self.deadlines.begin_write(self.sweeper.deadline(within));
    }
}

/// An operation's result when its way has ended.
trait Ended {
    fn is_end(&self) -> bool;
}

impl Ended for usize {
    fn is_end(&self) -> bool {
        *self == 0
    }
}

impl Ended for Option<usize> {
    fn is_end(&self) -> bool {
        *self == Some(0)
    }
}

impl Ended for bool {
    fn is_end(&self) -> bool {
        false
    }
}

impl Ended for () {
    fn is_end(&self) -> bool {
        true
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(cover) = self.cover.get() {
            cover.say_end(&self.wire);
        }
        self.sweeper.remove(self.slot.get());
    }
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
        Self::over(Wire::Tcp(tcp::Tcp::new(stream)), sweeper)
    }

    #[cfg(test)]
    pub(crate) fn simulated(end: simulated::End, sweeper: &Rc<Sweeper>) -> Self {
        Self::over(Wire::Simulated(simulated::Arm(end)), sweeper)
    }

    fn over(wire: Wire, sweeper: &Rc<Sweeper>) -> Self {
        let socket = Rc::new(Socket {
            wire,
            cover: OnceCell::new(),
            deadlines: Deadlines::new(),
            slot: Cell::new(usize::MAX),
            sweeper: Rc::clone(sweeper),
        });
        socket.slot.set(sweeper.add(&socket));
        Self { r: ReadHalf(Rc::clone(&socket)), w: WriteHalf(socket) }
    }

    /// Joins the sockets that drain together as this group; 0 is none.
    pub fn join_group(&self, group: u32) {
        self.r.0.deadlines.group.set(group);
    }

    /// Connects within `within`; TCP_NODELAY is set.
    pub async fn connect(address: Address, within: Duration, sweeper: &Rc<Sweeper>) -> io::Result<Self> {
        // Dropping a pending connect drops its socket with it, so this cancellation loses nothing.
        let wire = self::within(within, Wire::connect(address)).await.ok_or(io::ErrorKind::TimedOut)??;
        Ok(Self::over(wire, sweeper))
    }

    /// Whether an idle connection can carry a request: still open, and the peer has said nothing since. One
    /// non-blocking system call.
    pub fn is_quiet(&self) -> bool {
        let socket = &self.r.0;
        socket.cover.get().map_or_else(|| socket.wire.is_silent(), |cover| cover.is_silent(&socket.wire))
    }

    /// Forgets all deadlines: nothing is under way.
    pub fn clear_deadlines(&self) {
        self.r.0.deadlines.clear();
    }

    /// Ends all operations under way at `at_ms` of the worker's clock, whatever progress there is until then.
    pub fn give_up_at(&self, at_ms: u64) {
        self.r.give_up_at(at_ms);
    }

    /// Bounds the peer's bytes that the kernel keeps for us, about.
    pub fn limit_unread(&self, bytes: usize) {
        self.r.0.wire.limit_unread(bytes);
    }

    /// Lets a peer that waits for our acknowledgement before it says more say it.
    pub fn acknowledge(&self) {
        self.r.0.wire.acknowledge();
    }

    /// Makes the close of this connection a reset, so that the peer cannot take a cut message for a complete one.
    pub fn reset_on_close(&self) {
        self.w.reset_on_close(true);
    }
}

impl ReadHalf {
    /// Without TLS.
    pub fn is_plaintext(&self) -> bool {
        self.0.cover.get().is_none()
    }

    /// See [`Stream::give_up_at`].
    pub fn give_up_at(&self, at_ms: u64) {
        self.0.deadlines.end_all_at(at_ms.saturating_add(TICK_MS));
    }

    /// Appends at most `room` (≥ 1) bytes to `buf`, which is given that much room first. `Ok(0)` is the peer's end; a
    /// passed deadline is `TimedOut`, after which only writing works.
    pub async fn read(&mut self, buf: Vec<u8>, room: usize, within: Millis) -> (io::Result<usize>, Vec<u8>) {
        let socket = &self.0;
        socket.begin_read(within);
        let (result, buf) = match socket.cover.get() {
            None => socket.wire.read(buf, room).await,
            Some(cover) => cover.read(&socket.wire, buf, room).await,
        };
        socket.deadlines.end_read();
        (socket.outcome(result), buf)
    }

    /// Like `read`, of bytes that are thrown away: their cover is not opened, and need not be whole.
    pub async fn discard(
        &mut self,
        buf: Vec<u8>,
        room: usize,
        within: Millis,
    ) -> (io::Result<usize>, Vec<u8>) {
        let socket = &self.0;
        socket.begin_read(within);
        let (result, buf) = socket.wire.read(buf, room).await;
        socket.deadlines.end_read();
        (socket.outcome(result), buf)
    }

    /// Whether something can be read within `ms`. Consumes nothing, so giving up loses nothing.
    pub async fn is_readable_within(&self, ms: u64) -> bool {
        let (socket, ms) = (&self.0, Duration::from_millis(ms));
        match socket.cover.get() {
            None => within(ms, socket.wire.readable()).await.is_some(),
            Some(cover) => within(ms, cover.speaks(&socket.wire)).await.is_some(),
        }
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
        if let Some(cover) = socket.cover.get() {
            return self.write_covered(cover, buf, (at, to), within).await;
        }
        socket.begin_write(within);
        let (result, buf) = socket.wire.write(buf, at, to).await;
        socket.deadlines.end_write();
        let result = match socket.outcome(result) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            result => result,
        };
        (result, buf)
    }

    async fn write_covered<B: IoBuf>(
        &self,
        cover: &Cover,
        mut buf: B,
        (at, to): (usize, usize),
        within: Millis,
    ) -> (io::Result<usize>, B) {
        let socket = &self.0;
        loop {
            socket.begin_write(within);
            let (result, back) = cover.write(&socket.wire, buf, at, to).await;
            socket.deadlines.end_write();
            buf = back;
            match socket.outcome(result) {
                // Less than a byte's worth: it moves, so it has its time again.
                Ok(None) => {}
                Ok(Some(0)) => return (Err(io::ErrorKind::WriteZero.into()), buf),
                Ok(Some(n)) => return (Ok(n), buf),
                Err(error) => return (Err(error), buf),
            }
        }
    }

    /// Writes all of a sealed [`Gather`]; gives it back, and when the last part began (the worker's microseconds) where
    /// it went in several.
    pub async fn write_gather(
        &mut self,
        mut gather: Gather,
        within: Millis,
    ) -> (Result<Option<u64>, WriteFailed>, Gather) {
        if gather.pieces.is_empty() && self.0.cover.get().is_none() {
            // A single part: a plain send is cheaper than a vectored write.
            let (result, own) = self.write_all(std::mem::take(&mut gather.own), within).await;
            gather.own = own;
            return (result.map(|()| None), gather);
        }
        let socket = &self.0;
        if let Some(cover) = socket.cover.get() {
            return (self.write_gather_covered(cover, &gather, within).await, gather);
        }
        let mut any_sent = false;
        let mut last_us = None;
        while !gather.is_written() {
            if any_sent {
                last_us = Some(socket.sweeper.now_us());
            }
            socket.begin_write(within);
            let (result, back) = socket.wire.write_gathered(gather).await;
            socket.deadlines.end_write();
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

    async fn write_gather_covered(
        &self,
        cover: &Cover,
        gather: &Gather,
        within: Millis,
    ) -> Result<Option<u64>, WriteFailed> {
        let socket = &self.0;
        if gather.is_empty() {
            return Ok(None);
        }
        let (mut sealed, mut any_sent, mut last_us) = (0, false, None);
        while sealed < gather.len() {
            if sealed > 0 {
                // Sealing is work, and a wire that takes it all would never give another task a turn.
                turn().await;
            }
            let some = cover.seal_gather(gather, sealed, SEALED_BYTES_MAX);
            sealed += some.map_err(|error| WriteFailed { any_sent, error })?;
            let mut is_pushed = false;
            while !is_pushed {
                if any_sent {
                    last_us = Some(socket.sweeper.now_us());
                }
                socket.begin_write(within);
                let result = cover.push(&socket.wire).await;
                socket.deadlines.end_write();
                is_pushed = socket.outcome(result).map_err(|error| WriteFailed { any_sent, error })?;
                any_sent = true;
            }
        }
        Ok(last_us)
    }

    /// No more will be written; the peer reads to the end and then sees it. TLS says so in a record of its own (RFC 8446
    /// §6.1), which waits for room `within` as any other write does: without it a whole response looks cut.
    pub async fn finish(&mut self, within: Millis) {
        let socket = &self.0;
        if let Some(cover) = socket.cover.get()
            && cover.seal_end()
        {
            loop {
                socket.begin_write(within);
                let result = cover.push(&socket.wire).await;
                socket.deadlines.end_write();
                if !matches!(result, Ok(false)) {
                    break;
                }
            }
        }
        socket.wire.shut(Shutdown::Write);
    }

    /// Whether the close of this connection is a reset, whenever and however it comes.
    pub fn reset_on_close(&self, does: bool) {
        if let Some(cover) = self.0.cover.get() {
            cover.reset_on_close(does);
        }
        self.0.wire.reset_on_close(does);
    }

    /// Bounds the read that is pending on the other half, from now; one that ends sooner stays as it is. Without one it
    /// does nothing: a deadline left behind would end a later read, or a connection on which nothing is read.
    pub fn limit_pending_read(&self, within: Millis) {
        let socket = &self.0;
        if socket.deadlines.is_reading() {
            socket.deadlines.shorten_read(socket.sweeper.deadline(within));
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

/// The output of `future`, if it ends within `time`. Else it is dropped: not for reads and writes of connections.
pub async fn within<F: Future>(time: Duration, future: F) -> Option<F::Output> {
    in_world!(world => {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        simulated::within(&world, us, future).await
    });
    monoio::time::timeout(time, future).await.ok()
}

/// Sleeps at least `ms`; the runtime's ticks are 1 ms.
pub async fn sleep_ms(ms: u64) {
    in_world!(world => world.sleep_us(ms * 1000).await);
    monoio::time::sleep(Duration::from_millis(ms)).await;
}

/// Runs a task beside this one, on the same worker.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    in_world!(world => world.spawn(task));
    monoio::spawn(task);
}

#[cfg(test)]
mod tests;
