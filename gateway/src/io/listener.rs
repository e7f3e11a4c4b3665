//! Where connections and commands come in: a listening socket, and the control plane's bytes.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

use monoio::io::AsyncReadRent;
use monoio::net::{TcpListener, TcpStream};

use super::tcp::shutdown;
use crate::limits::{ACCEPTS_PER_TURN, LISTEN_QUEUE_MAX};

/// The process that goes on listening at a socket when this one ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// No other owner: the socket was opened for this process, or by the one it followed.
    Us,
    /// A service manager, which lends it to one process after another.
    ServiceManager,
}

/// A listening socket, which another process may share.
///
/// The listener waits for readiness and then takes without waiting. An accept left with the kernel would be cheaper by a system
/// call, but one that is given up has been woken for a connection that no other process is then woken for; and monoio 0.2.4
/// leaks the socket of one that is dropped.
pub struct Listener {
    /// Shared with the control plane, which keeps it for a successor.
    listener: Arc<std::net::TcpListener>,
    /// The same socket, to wait by.
    waiter: TcpListener,
    /// The port it listens on.
    pub port: u16,
    owner: Owner,
    left: Cell<bool>,
    /// The listener is to end, and so many connections of its queue may be taken before.
    ending: Cell<Option<u32>>,
    /// Connections taken since it last waited.
    taken: Cell<u32>,
    /// The task that waits.
    waiting: RefCell<Option<Waker>>,
}

impl Listener {
    /// Takes over a bound, listening socket.
    pub fn new(listener: Arc<std::net::TcpListener>, owner: Owner) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let waiter = TcpListener::from_std(listener.try_clone()?)?;
        Ok(Self {
            listener,
            waiter,
            port,
            owner,
            left: Cell::new(false),
            ending: Cell::new(None),
            taken: Cell::new(0),
            waiting: RefCell::default(),
        })
    }

    /// The next connection; an error once it was left or has ended.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            if self.left.get() {
                return Err(io::Error::from_raw_os_error(libc::ECANCELED));
            }
            if self.taken.get() >= ACCEPTS_PER_TURN {
                self.taken.set(0);
                super::turn().await;
                continue;
            }
            match (self.take(), self.ending.get()) {
                (Ok(_) | Err(_), Some(0)) | (Err(_), Some(_)) => self.shut(),
                (Err(error), None) if error.kind() == io::ErrorKind::WouldBlock => self.readable().await?,
                (taken, ending) => {
                    self.ending.set(ending.map(|left| left - 1));
                    self.taken.set(self.taken.get() + 1);
                    return taken;
                }
            }
        }
    }

    /// A connection that waits.
    fn take(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.listener.accept()?;
        // The epoll driver needs it; io_uring would answer EAGAIN instead of waiting, so it must not have it there.
        if monoio::utils::is_legacy() {
            stream.set_nonblocking(true)?;
        }
        Ok((TcpStream::from_std(stream)?, peer))
    }

    /// Until there may be a connection, or until it is left.
    async fn readable(&self) -> io::Result<()> {
        // Dropping this wait loses nothing: it holds no buffer, and takes nothing.
        let mut ready = pin!(self.waiter.readable(false));
        std::future::poll_fn(|cx| {
            if self.left.get() || self.ending.get().is_some() {
                return Poll::Ready(Ok(()));
            }
            self.taken.set(0);
            self.waiting.replace(Some(cx.waker().clone()));
            ready.as_mut().poll(cx)
        })
        .await
    }

    /// Accepts no more, and leaves the socket and the connections that the kernel has queued there to another process that has
    /// it.
    pub fn leave(&self) {
        self.left.set(true);
        self.wake();
    }

    /// Ends the listener for every process. Connections that the kernel has established already are accepted first, as many a
    /// turn as ever, for their clients must not see a reset; then accept fails. A socket that a service manager lent is only
    /// left: a shutdown would reach its own descriptor, and the connections in its queue are the next process's.
    pub fn end(&self) {
        match self.owner {
            Owner::Us => {
                self.ending.set(Some(LISTEN_QUEUE_MAX));
                self.wake();
            }
            Owner::ServiceManager => self.leave(),
        }
    }

    /// No client can connect any more, and the next accept fails.
    fn shut(&self) {
        shutdown(self.listener.as_raw_fd(), std::net::Shutdown::Both);
        self.left.set(true);
    }

    fn wake(&self) {
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }
}

/// Bytes from the control plane: one command each.
pub struct Control(monoio::net::UnixStream);

impl Control {
    pub fn new(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(monoio::utils::is_legacy())?;
        Ok(Self(monoio::net::UnixStream::from_std(stream)?))
    }

    /// The next command; `None` when the control plane is gone.
    pub async fn next(&mut self) -> Option<u8> {
        let (result, byte) = self.0.read(vec![0u8; 1]).await;
        matches!(result, Ok(1)).then(|| byte.first().copied()).flatten()
    }
}
