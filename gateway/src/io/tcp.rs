//! A wire that is a TCP connection of the kernel's, or one to a Unix domain socket: every call of monoio's `TcpStream`, and its workarounds.

use std::cell::{Cell, UnsafeCell};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent, CancelableAsyncReadRent, Canceller};
use monoio::net::{TcpStream, UnixStream};

use super::{Gather, turn};
use crate::limits::BLOCK_BYTES;

/// Blocks' worth of operations one socket may complete at once before others get a turn (epoll only).
const EAGER_MAX: usize = 16;

pub(super) struct Tcp {
    stream: UnsafeCell<TcpStream>,
    fd: RawFd,
    /// Ends an idle read without losing anything.
    parker: Cell<Option<Canceller>>,
    /// Operations that completed at once, one after the other, a long one counted by its blocks (epoll only).
    eager: Cell<usize>,
    is_epoll: bool,
    /// The connection ends by a reset, whichever way it ends.
    resets: Cell<bool>,
}

impl Tcp {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            fd: stream.as_raw_fd(),
            stream: UnsafeCell::new(stream),
            parker: Cell::new(None),
            eager: Cell::new(0),
            is_epoll: monoio::utils::is_legacy(),
            resets: Cell::new(false),
        }
    }

    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_addr(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::new(stream))
    }

    /// Connects to a Unix socket: every later operation is the same, whatever the family.
    pub(super) async fn connect_unix(path: &str) -> io::Result<Self> {
        let stream = UnixStream::connect(path).await?;
        // SAFETY: the descriptor is an open stream socket, given up by its only owner.
        let stream = unsafe { std::net::TcpStream::from_raw_fd(stream.into_raw_fd()) };
        TcpStream::from_std(stream).map(Self::new)
    }

    pub(super) async fn read(&self, mut buf: Vec<u8>, room: usize) -> (io::Result<usize>, Vec<u8>) {
        // Never more than asked for, however large the buffer is: the room behind it may be wanted for framing.
        buf.reserve(room);
        let (from, to) = (buf.len(), buf.len() + room);
        let (result, slice) = self.fair(room, self.stream().read(buf.slice_mut(from..to))).await;
        (result, slice.into_inner())
    }

    pub(super) async fn read_cancelable(
        &self,
        mut buf: Vec<u8>,
        room: usize,
    ) -> (io::Result<usize>, Vec<u8>) {
        buf.reserve(room);
        let (from, to) = (buf.len(), buf.len() + room);
        let parker = self.parker.take().unwrap_or_default();
        let handle = parker.handle();
        self.parker.set(Some(parker));
        let (result, slice) =
            self.fair(room, self.stream().cancelable_read(buf.slice_mut(from..to), handle)).await;
        (result, slice.into_inner())
    }

    pub(super) fn park(&self) {
        if let Some(parker) = self.parker.take() {
            parker.cancel();
        }
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        // Not relaxed: on epoll that would believe a readiness that an earlier read has used up.
        self.stream().readable(false).await
    }

    pub(super) async fn write<B: IoBuf>(&self, buf: B, at: usize, to: usize) -> (io::Result<usize>, B) {
        let (result, slice) = self.fair(to - at, self.stream().write(buf.slice(at..to))).await;
        (result, slice.into_inner())
    }

    pub(super) async fn write_gathered(&self, gather: Gather) -> (io::Result<usize>, Gather) {
        self.fair(BLOCK_BYTES, self.stream().writev(gather)).await
    }

    /// A non-blocking system call.
    pub(super) fn is_silent(&self) -> bool {
        let mut byte = 0u8;
        // SAFETY: the buffer is one valid byte and outlives the call.
        let n =
            unsafe { libc::recv(self.fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT) };
        n < 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
    }

    pub(super) fn read_now(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        let mut block = [0u8; 4096];
        // SAFETY: the buffer is that many valid bytes and outlives the call.
        let n = unsafe { libc::recv(self.fd, block.as_mut_ptr().cast(), block.len(), libc::MSG_DONTWAIT) };
        let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
        buf.extend_from_slice(block.get(..n).unwrap_or_default());
        Ok(n)
    }

    pub(super) fn write_now(&self, bytes: &[u8]) {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the buffer is that many valid bytes and outlives the call.
        unsafe { libc::send(self.fd, bytes.as_ptr().cast(), bytes.len(), flags) };
    }

    /// A shutdown of both ways would send FIN, which is an end like any other: where a reset is due, it is sent at once.
    pub(super) fn shut(&self, how: Shutdown) {
        match how {
            Shutdown::Both if self.resets.get() => reset(self.fd),
            how => shutdown(self.fd, how),
        }
    }

    pub(super) fn reset_on_close(&self, does: bool) {
        self.resets.set(does);
        let linger = libc::linger { l_onoff: does.into(), l_linger: 0 };
        set_option(self.fd, (libc::SOL_SOCKET, libc::SO_LINGER), &linger);
    }

    /// The kernel doubles the value, for its overhead.
    pub(super) fn limit_unread(&self, bytes: usize) {
        let half = libc::c_int::try_from(bytes / 2).unwrap_or(libc::c_int::MAX);
        set_option(self.fd, (libc::SOL_SOCKET, libc::SO_RCVBUF), &half);
    }

    /// Sends the acknowledgement that the kernel holds back: a peer may wait for it before it sends more (Nagle).
    pub(super) fn acknowledge(&self) {
        let on: libc::c_int = 1;
        set_option(self.fd, (libc::IPPROTO_TCP, libc::TCP_QUICKACK), &on);
    }

    /// Runs an operation on so many bytes, and lets others have a turn now and then. On epoll an operation on a fast stream completes at
    /// once, again and again, so that one bulk transfer would keep the worker to itself; io_uring completes none at once.
    async fn fair<F: Future>(&self, bytes: usize, operation: F) -> F::Output {
        if !self.is_epoll {
            return operation.await;
        }
        let mut operation = std::pin::pin!(operation);
        let mut polls = 0_u32;
        let output = std::future::poll_fn(|cx| {
            polls += 1;
            operation.as_mut().poll(cx)
        })
        .await;
        self.eager.set(if polls == 1 { self.eager.get() + bytes.div_ceil(BLOCK_BYTES) } else { 0 });
        if self.eager.get() >= EAGER_MAX {
            self.eager.set(0);
            turn().await;
        }
        output
    }

    #[allow(clippy::mut_from_ref)]
    fn stream(&self) -> &mut TcpStream {
        // SAFETY: a worker is one thread, and monoio's methods take `&mut self` only to name the descriptor: they copy
        // its handle into the operation before they return their future, so no two live borrows ever touch the same
        // state. monoio relies on the same for its own owned halves (`unsafe impl Split for TcpStream`).
        unsafe { &mut *self.stream.get() }
    }
}

/// The bytes of a buffer that hold something.
pub fn initialized<B: IoBuf>(buf: &B) -> &[u8] {
    // SAFETY: `IoBuf` says that so many bytes from there on are initialized and stand still while the buffer is borrowed.
    unsafe { std::slice::from_raw_parts(buf.read_ptr(), buf.bytes_init()) }
}

/// setsockopt(2). Its result is not asked: an option that is not set, as one of TCP on a socket of this machine, changes no byte.
fn set_option<T>(fd: RawFd, (level, name): (libc::c_int, libc::c_int), value: &T) {
    let size = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value is a valid `T` of the size given and outlives the call; `name` is an option whose value is a `T`.
    unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), size) };
}

/// Resets a connection whose descriptor stays open: connect(2) to no address (`AF_UNSPEC`) dissolves the association. An
/// operation that is pending on it completes with an error.
fn reset(fd: RawFd) {
    // SAFETY: all-zero is a valid `sockaddr`, and its family is AF_UNSPEC.
    let nowhere: libc::sockaddr = unsafe { std::mem::zeroed() };
    // SAFETY: the address is a valid `sockaddr` of the size given and outlives the call; see `shutdown` on the descriptor.
    unsafe { libc::connect(fd, &raw const nowhere, size_of::<libc::sockaddr>() as libc::socklen_t) };
}

/// shutdown(2).
pub(super) fn shutdown(fd: RawFd, how: Shutdown) {
    let how = match how {
        Shutdown::Read => libc::SHUT_RD,
        Shutdown::Write => libc::SHUT_WR,
        Shutdown::Both => libc::SHUT_RDWR,
    };
    // SAFETY: shutdown(2) takes no pointers; a stale descriptor cannot reach here because sockets leave the sweeper's
    // table before their descriptor is closed.
    unsafe { libc::shutdown(fd, how) };
}
