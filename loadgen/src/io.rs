//! Every call to monoio that the rooms need, behind a few functions. Knows nothing of HTTP or of load.
//!
//! monoio 0.2.4 is worked around here: reads go into owned, fully initialised memory whose fill is counted by us;
//! a dropped read ends its connection; accepts are ended by `shutdown`, never dropped; a panic of one task stays in
//! that task; waits shorter than its 1 ms ticks go through one timer descriptor per thread.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use monoio::buf::IoBufMut;
use monoio::io::{AsyncReadRent, AsyncWriteRent, Splitable};
use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

use crate::os;

const RING_ENTRIES: u32 = 2048;
const COMPLETION_ENTRIES: u32 = 16384;

/// Runs `main` to its end on this thread, on the best driver the kernel allows. The runtime is then forgotten, not
/// dropped: tearing a ring down with reads in flight would let the kernel write into freed memory.
pub fn run<F, Fut>(main: F) -> io::Result<Fut::Output>
where
    F: FnOnce() -> Fut,
    Fut: Future,
{
    macro_rules! enter {
        ($runtime:expr) => {{
            let mut runtime = $runtime;
            let output = runtime.block_on(async move { main().await });
            std::mem::forget(runtime);
            return Ok(output);
        }};
    }
    // Empty where the kernel, a container or MONOIO_FORCE_LEGACY_DRIVER forbids io_uring.
    let ladder: &[Flags] = match monoio::utils::detect_uring() {
        true => &[Flags::Deferred, Flags::Cooperative, Flags::Plain],
        false => &[],
    };
    for flags in ladder {
        let builder = RuntimeBuilder::<IoUringDriver>::new().with_entries(RING_ENTRIES);
        if let Ok(runtime) = builder.uring_builder(flags.builder()).enable_timer().build() {
            enter!(runtime);
        }
    }
    enter!(RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?)
}

#[derive(Clone, Copy)]
enum Flags {
    Deferred,
    Cooperative,
    Plain,
}

impl Flags {
    fn builder(self) -> io_uring::Builder {
        let mut builder = io_uring::IoUring::builder();
        builder.setup_cqsize(COMPLETION_ENTRIES);
        match self {
            Self::Deferred => {
                builder.setup_single_issuer().setup_coop_taskrun().setup_defer_taskrun().setup_submit_all();
            }
            Self::Cooperative => {
                builder.setup_coop_taskrun();
            }
            Self::Plain => {}
        }
        builder
    }
}

/// Starts a task whose panic ends only itself.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    monoio::spawn(Guarded { task: Box::pin(task) });
}

struct Guarded<F> {
    task: Pin<Box<F>>,
}

impl<F: Future<Output = ()>> Future for Guarded<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let task = self.task.as_mut();
        std::panic::catch_unwind(AssertUnwindSafe(|| task.poll(context))).unwrap_or(Poll::Ready(()))
    }
}

/// A coarse wait: 1 ms ticks, up to 2 ms late.
pub async fn sleep(duration: Duration) {
    monoio::time::sleep(duration).await;
}

/// The result, or `TimedOut`; the action is then dropped, and its connection with it.
pub async fn within<T>(limit: Duration, action: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    monoio::time::timeout(limit, action).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A TCP stream, with the operations that the rooms need.
pub struct Stream {
    inner: TcpStream,
}

impl Stream {
    /// Connects; gives up after `limit`. The half-made connection is then closed, so dropping the attempt is safe.
    pub async fn connect(addr: SocketAddr, limit: Duration) -> io::Result<Self> {
        let inner = within(limit, TcpStream::connect_addr(addr)).await?;
        let _ = inner.set_nodelay(true);
        Ok(Self { inner })
    }

    pub fn fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }

    /// Reads more bytes behind those already in `buffer`; 0 is the end of the stream. The buffer must have room.
    pub async fn fill(&mut self, buffer: &mut Buffer) -> io::Result<usize> {
        self.fill_at_most(buffer, usize::MAX).await
    }

    /// As `fill`, with a limit.
    pub async fn fill_at_most(&mut self, buffer: &mut Buffer, bytes_max: usize) -> io::Result<usize> {
        fill(&mut self.inner, buffer, bytes_max).await
    }

    /// Writes all of it.
    pub async fn write_all(&mut self, bytes: Bytes) -> io::Result<()> {
        write_all(&mut self.inner, bytes).await
    }
}

impl Stream {
    /// Splits for one task that always reads and others that now and then write. The writer's end sends FIN.
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        let (read, write) = self.inner.into_split();
        (ReadHalf { inner: read }, WriteHalf { inner: write })
    }
}

pub struct ReadHalf {
    inner: monoio::net::tcp::TcpOwnedReadHalf,
}

impl ReadHalf {
    /// As `Stream::fill`.
    pub async fn fill(&mut self, buffer: &mut Buffer) -> io::Result<usize> {
        fill(&mut self.inner, buffer, usize::MAX).await
    }

    pub async fn fill_at_most(&mut self, buffer: &mut Buffer, bytes_max: usize) -> io::Result<usize> {
        fill(&mut self.inner, buffer, bytes_max).await
    }
}

pub struct WriteHalf {
    inner: monoio::net::tcp::TcpOwnedWriteHalf,
}

impl WriteHalf {
    pub async fn write_all(&mut self, bytes: Bytes) -> io::Result<()> {
        write_all(&mut self.inner, bytes).await
    }
}

/// Reads up to `bytes_max` behind the bytes in `buffer`.
async fn fill(from: &mut impl AsyncReadRent, buffer: &mut Buffer, bytes_max: usize) -> io::Result<usize> {
    buffer.make_room();
    let (storage, end) = (std::mem::take(&mut buffer.storage), buffer.end);
    let limit = storage.len().min(end.saturating_add(bytes_max));
    debug_assert!(end < limit, "a read without room looks like the end of the stream");
    let (result, slice) = from.read(storage.slice_mut(end..limit)).await;
    buffer.storage = slice.into_inner();
    let count = result?;
    buffer.end += count;
    Ok(count)
}

async fn write_all(to: &mut impl AsyncWriteRent, mut bytes: Bytes) -> io::Result<()> {
    while !bytes.is_empty() {
        let (result, back) = to.write(bytes).await;
        bytes = back;
        match result? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => {
                let _ = bytes.split_to(count.min(bytes.len()));
            }
        }
    }
    Ok(())
}

/// Read memory of one connection: `storage[start..end]` was read and not yet used.
pub struct Buffer {
    storage: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub fn new(capacity: usize) -> Self {
        Self { storage: vec![0; capacity].into_boxed_slice(), start: 0, end: 0 }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.storage[self.start..self.end]
    }

    pub fn len(&self) -> usize {
        self.end - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub fn capacity(&self) -> usize {
        self.storage.len()
    }

    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Gives the memory a new size, keeping the bytes; never less than they need.
    pub fn resize(&mut self, capacity: usize) {
        if capacity != self.storage.len() && capacity >= self.len() {
            let mut storage = vec![0; capacity].into_boxed_slice();
            storage[..self.len()].copy_from_slice(self.bytes());
            (self.start, self.end) = (0, self.len());
            self.storage = storage;
        }
    }

    /// True if nothing more can be read until some bytes are consumed or the buffer grows.
    pub fn is_full(&self) -> bool {
        self.len() == self.storage.len()
    }

    /// Appends the bytes that `read` puts into the free room, at most so many.
    pub fn fill_with(
        &mut self,
        bytes_max: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.make_room();
        let limit = self.storage.len().min(self.end.saturating_add(bytes_max));
        let count = read(&mut self.storage[self.end..limit])?;
        self.end += count;
        Ok(count)
    }

    fn make_room(&mut self) {
        if self.start > 0 {
            self.storage.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.len());
        }
    }
}

/// Accepts until the listener is shut down (then `None`). Never dropped in flight: 0.2.4 would leak the socket.
pub struct Listener {
    inner: TcpListener,
}

impl Listener {
    pub fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        if monoio::utils::is_legacy() {
            listener.set_nonblocking(true)?;
        }
        Ok(Self { inner: TcpListener::from_std(listener)? })
    }

    pub fn fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }

    pub async fn accept(&self, closing: &Cell<bool>) -> Option<Stream> {
        loop {
            match self.inner.accept().await {
                Ok(_) if closing.get() => return None,
                Ok((inner, _)) => {
                    let _ = inner.set_nodelay(true);
                    return Some(Stream { inner });
                }
                Err(_) if closing.get() => return None,
                // Out of descriptors, or a connection that died in the queue: both pass.
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
        }
    }
}

/// Waits until another thread writes to the other end of `bell`, then empties it. False: the other end is gone.
pub async fn rung(bell: &mut monoio::net::UnixStream) -> bool {
    let (result, _) = bell.read(vec![0u8; 64]).await;
    matches!(result, Ok(count) if count > 0)
}

pub fn bell(stream: std::os::unix::net::UnixStream) -> io::Result<monoio::net::UnixStream> {
    if monoio::utils::is_legacy() {
        stream.set_nonblocking(true)?;
    }
    monoio::net::UnixStream::from_std(stream)
}

/// Tasks of one thread that wait for the same event.
#[derive(Default)]
pub struct Notify {
    waiting: RefCell<Vec<Waker>>,
    generation: Cell<u64>,
}

impl Notify {
    pub fn notify_all(&self) {
        self.generation.set(self.generation.get() + 1);
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Completes at the next `notify_all`.
    pub async fn notified(&self) {
        let seen = self.generation.get();
        std::future::poll_fn(|context| {
            if self.generation.get() != seen {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Waits with nanosecond deadlines, all of one thread's through one timer descriptor. Clones are the same clock.
#[derive(Clone)]
pub struct Alarm {
    inner: Rc<AlarmInner>,
}

struct AlarmInner {
    timer: RawFd,
    armed: Cell<Option<Instant>>,
    due: RefCell<BinaryHeap<Reverse<(Instant, usize)>>>,
    waiting: RefCell<slab::Slab<Waiting>>,
}

enum Waiting {
    Asleep(Waker),
    Due,
    /// The sleeper was dropped; its heap entry still refers to the slot.
    Gone,
}

impl Alarm {
    /// Call inside a runtime; starts the task that listens to the timer.
    pub fn start() -> io::Result<Self> {
        let timer = os::Timer::new()?;
        let inner = Rc::new(AlarmInner {
            timer: timer.as_raw_fd(),
            armed: Cell::new(None),
            due: RefCell::default(),
            waiting: RefCell::default(),
        });
        let stream = TcpStream::from_std(os::disguise(timer.into_fd()))?;
        let alarm = Self { inner };
        let listening = alarm.clone();
        monoio::spawn(async move {
            // Ends only with the thread: an error here means the ring itself is gone.
            while stream.readable(false).await.is_ok() {
                // Otherwise `readable` would return at once for ever.
                os::Timer::clear(listening.inner.timer);
                listening.inner.armed.set(None);
                listening.ring();
            }
        });
        Ok(alarm)
    }

    fn ring(&self) {
        let now = Instant::now();
        let mut due = self.inner.due.borrow_mut();
        let mut waiting = self.inner.waiting.borrow_mut();
        while let Some(&Reverse((deadline, key))) = due.peek() {
            if deadline > now {
                break;
            }
            due.pop();
            match std::mem::replace(&mut waiting[key], Waiting::Due) {
                Waiting::Asleep(waker) => waker.wake(),
                Waiting::Gone => {
                    waiting.remove(key);
                }
                Waiting::Due => {}
            }
        }
        if let Some(&Reverse((deadline, _))) = due.peek() {
            self.arm(deadline, now);
        }
    }

    fn arm(&self, deadline: Instant, now: Instant) {
        if self.inner.armed.get().is_none_or(|armed| deadline < armed) {
            self.inner.armed.set(Some(deadline));
            os::Timer::set(self.inner.timer, deadline.saturating_duration_since(now));
        }
    }

    pub async fn sleep_until(&self, deadline: Instant) {
        Sleep { alarm: self.inner.clone(), owner: self.clone(), deadline, key: None }.await;
    }

    pub async fn sleep(&self, duration: Duration) {
        if !duration.is_zero() {
            self.sleep_until(Instant::now() + duration).await;
        }
    }
}

struct Sleep {
    alarm: Rc<AlarmInner>,
    owner: Alarm,
    deadline: Instant,
    key: Option<usize>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(key) = self.key else {
            let now = Instant::now();
            if self.deadline <= now {
                return Poll::Ready(());
            }
            let key = self.alarm.waiting.borrow_mut().insert(Waiting::Asleep(context.waker().clone()));
            self.alarm.due.borrow_mut().push(Reverse((self.deadline, key)));
            self.owner.arm(self.deadline, now);
            self.key = Some(key);
            return Poll::Pending;
        };
        let mut waiting = self.alarm.waiting.borrow_mut();
        if matches!(waiting[key], Waiting::Due) {
            waiting.remove(key);
            drop(waiting);
            self.key = None;
            // Ready for good: a second poll finds the deadline behind it.
            return Poll::Ready(());
        }
        waiting[key] = Waiting::Asleep(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let mut waiting = self.alarm.waiting.borrow_mut();
            if matches!(waiting[key], Waiting::Due) {
                waiting.remove(key);
            } else {
                waiting[key] = Waiting::Gone;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarm_rings_in_order_and_within_a_millisecond_of_its_deadline() {
        let late = run(|| async {
            let Ok(alarm) = Alarm::start() else { return Duration::MAX };
            let mut least = Duration::MAX;
            // Other work on the machine can only delay it: one undisturbed try is the proof.
            for _ in 0..20 {
                let order = Rc::new(RefCell::new(Vec::new()));
                let start = Instant::now();
                for (name, micros) in [(3, 900), (1, 300), (2, 600)] {
                    let (alarm, order) = (alarm.clone(), order.clone());
                    spawn(async move {
                        alarm.sleep_until(start + Duration::from_micros(micros)).await;
                        order.borrow_mut().push(name);
                    });
                }
                alarm.sleep_until(start + Duration::from_millis(5)).await;
                let late = start.elapsed() - Duration::from_millis(5);
                if *order.borrow() == [1, 2, 3] {
                    least = least.min(late);
                }
            }
            least
        });
        assert!(late.is_ok_and(|late| late < Duration::from_millis(50)));
    }

    #[test]
    fn a_panicking_task_leaves_the_others_alone() {
        let done = run(|| async {
            spawn(async { panic!("expected by the test") });
            sleep(Duration::from_millis(2)).await;
            true
        });
        assert!(matches!(done, Ok(true)));
    }

    #[test]
    fn buffer_keeps_unread_bytes_when_it_grows() {
        let mut buffer = Buffer::new(4);
        buffer.storage.copy_from_slice(b"abcd");
        buffer.end = 4;
        buffer.consume(1);
        buffer.resize(8);
        assert_eq!(buffer.bytes(), b"bcd");
        buffer.consume(3);
        assert!(buffer.is_empty() && !buffer.is_full());
    }
}
