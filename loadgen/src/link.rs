//! A connection that may be covered by TLS: bytes leave by plain calls that never wait, from any caller; one owner reads. Knows
//! nothing of HTTP.
//!
//! Bytes that do not leave at once are queued here and written by a task of its own, so that records stay in their order.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::Waker;

use bytes::Bytes;
use rustls::{Connection, HandshakeKind};

use crate::io::{Buffer, ReadHalf, Stream, WriteHalf, spawn};
use crate::os;

/// Ciphertext read at once: a whole record with its header.
const INCOMING_BYTES: usize = 32 * 1024;
/// Queued bytes above this mean that the peer does not read: `is_full`.
const QUEUE_BYTES_MAX: usize = 256 * 1024;

/// The writing side, shared by all writers.
pub struct Link {
    fd: RawFd,
    session: RefCell<Option<Box<Connection>>>,
    queue: RefCell<Vec<u8>>,
    /// Given to the task that writes the bytes which did not leave at once.
    writer: RefCell<Option<WriteHalf>>,
    is_broken: Cell<bool>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    waiting: RefCell<Option<Waker>>,
}

/// A connection as its reader owns it.
pub struct Duplex {
    pub link: Rc<Link>,
    reader: ReadHalf,
    incoming: Buffer,
}

impl Duplex {
    /// `session`: None without TLS.
    pub fn new(stream: Stream, session: Option<Connection>) -> Self {
        let fd = stream.fd();
        let (reader, writer) = stream.split();
        let incoming = Buffer::new(if session.is_some() { INCOMING_BYTES } else { 0 });
        let session = session.map(|mut session| {
            // `is_full` bounds the bytes that wait.
            session.set_buffer_limit(None);
            Box::new(session)
        });
        let link = Rc::new(Link {
            fd,
            session: RefCell::new(session),
            queue: RefCell::default(),
            writer: RefCell::new(Some(writer)),
            is_broken: Cell::new(false),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            waiting: RefCell::default(),
        });
        Self { link, reader, incoming }
    }

    /// Shakes hands to the end. An alert that is due to the peer is sent before the error is told.
    pub async fn handshake(&mut self) -> io::Result<()> {
        loop {
            self.link.flush();
            if !self.link.is_handshaking() {
                return Ok(());
            }
            if self.incoming.is_empty() {
                self.read_records().await?;
            }
            if let Err(error) = self.link.open(&mut self.incoming) {
                self.link.flush();
                return Err(error);
            }
        }
    }

    /// Reads up to `bytes_max` more bytes of content behind those in `plain`; 0 is an orderly end. A stream that ends
    /// without close_notify is `UnexpectedEof`.
    pub async fn fill_at_most(&mut self, plain: &mut Buffer, bytes_max: usize) -> io::Result<usize> {
        if self.link.session.borrow().is_none() {
            let count = self.reader.fill_at_most(plain, bytes_max).await?;
            self.link.bytes_in.set(self.link.bytes_in.get() + count as u64);
            return Ok(count);
        }
        loop {
            match self.link.content(plain, bytes_max) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
            if self.incoming.is_empty() {
                self.read_records().await?;
            }
            let opened = self.link.open(&mut self.incoming);
            // Answers of the session itself: tickets asked for, keys updated, alerts.
            self.link.flush();
            opened?;
        }
    }

    async fn read_records(&mut self) -> io::Result<()> {
        let count = self.reader.fill(&mut self.incoming).await?;
        self.link.bytes_in.set(self.link.bytes_in.get() + count as u64);
        if count == 0 {
            self.link.end();
            if self.link.is_handshaking() {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

impl Link {
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    pub fn is_covered(&self) -> bool {
        self.session.borrow().is_some()
    }

    fn is_handshaking(&self) -> bool {
        self.session.borrow().as_ref().is_some_and(|session| session.is_handshaking())
    }

    /// How the session began; None without TLS.
    pub fn handshake_kind(&self) -> Option<HandshakeKind> {
        self.session.borrow().as_ref().and_then(|session| session.handshake_kind())
    }

    pub fn speaks_http2(&self) -> bool {
        self.session.borrow().as_ref().is_some_and(|session| session.alpn_protocol() == Some(b"h2"))
    }

    /// Bytes on the wire since this was last asked: in, out.
    pub fn take_bytes(&self) -> (u64, u64) {
        (self.bytes_in.take(), self.bytes_out.take())
    }

    /// Seals `bytes` behind the queued ones. `flush` lets them leave.
    pub fn push(&self, bytes: &[u8]) -> io::Result<()> {
        if self.is_broken.get() {
            return Err(ErrorKind::BrokenPipe.into());
        }
        match self.session.borrow_mut().as_mut() {
            Some(session) => session.writer().write_all(bytes)?,
            None => self.queue.borrow_mut().extend_from_slice(bytes),
        }
        Ok(())
    }

    /// Sends the bytes that can leave without waiting; a task sees to the rest.
    pub fn flush(self: &Rc<Self>) {
        let mut queue = self.queue.borrow_mut();
        if let Some(session) = self.session.borrow_mut().as_mut() {
            while session.wants_write() {
                // A Vec takes everything.
                if session.write_tls(&mut *queue).is_err() {
                    break;
                }
            }
        }
        if queue.is_empty() || self.writer.borrow().is_none() {
            return;
        }
        match os::send_now(self.fd, &queue) {
            Ok(count) => {
                self.bytes_out.set(self.bytes_out.get() + count as u64);
                queue.drain(..count);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => {
                queue.clear();
                return self.fail();
            }
        }
        if !queue.is_empty()
            && let Some(writer) = self.writer.borrow_mut().take()
        {
            spawn(drain(self.clone(), writer));
        }
    }

    /// `push` and `flush`.
    pub fn write(self: &Rc<Self>, bytes: &[u8]) -> io::Result<()> {
        self.push(bytes)?;
        self.flush();
        Ok(())
    }

    /// Some of it still waits to leave.
    pub fn is_writing(&self) -> bool {
        self.writer.borrow().is_none()
    }

    pub fn is_full(&self) -> bool {
        self.is_writing() && self.queue.borrow().len() > QUEUE_BYTES_MAX
    }

    pub fn is_broken(&self) -> bool {
        self.is_broken.get()
    }

    /// Woken when all that was queued has left, or can no more.
    pub fn wake_when_written(&self, waker: &Waker) {
        *self.waiting.borrow_mut() = Some(waker.clone());
    }

    /// Until everything has left.
    pub async fn written(&self) -> io::Result<()> {
        std::future::poll_fn(|context| {
            if self.is_broken() {
                return std::task::Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
            }
            if !self.is_writing() {
                return std::task::Poll::Ready(Ok(()));
            }
            self.wake_when_written(context.waker());
            std::task::Poll::Pending
        })
        .await
    }

    /// Ends our direction in order: close_notify under TLS.
    pub fn say_goodbye(self: &Rc<Self>) {
        if let Some(session) = self.session.borrow_mut().as_mut() {
            session.send_close_notify();
        }
        self.flush();
    }

    /// The reader is told the end of the connection and names the reason.
    fn fail(&self) {
        self.is_broken.set(true);
        os::shutdown(self.fd);
        if let Some(waiting) = self.waiting.borrow_mut().take() {
            waiting.wake();
        }
    }

    /// Takes records; one call may leave some for the next.
    fn open(&self, incoming: &mut Buffer) -> io::Result<()> {
        let mut session = self.session.borrow_mut();
        let Some(session) = session.as_mut() else { return Ok(()) };
        if !incoming.is_empty() {
            let used = session.read_tls(&mut incoming.bytes())?;
            incoming.consume(used);
        }
        match session.process_new_packets() {
            Ok(_) => Ok(()),
            Err(error) => Err(io::Error::new(ErrorKind::InvalidData, error)),
        }
    }

    /// The socket has ended.
    fn end(&self) {
        if let Some(session) = self.session.borrow_mut().as_mut() {
            // Reading from nothing is how the session is told.
            let _ = session.read_tls(&mut io::empty());
        }
    }

    /// Content that was opened. `WouldBlock`: none yet.
    fn content(&self, plain: &mut Buffer, bytes_max: usize) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        let Some(session) = session.as_mut() else { return Err(ErrorKind::WouldBlock.into()) };
        plain.fill_with(bytes_max, |room| session.reader().read(room))
    }
}

/// Writes until nothing is queued, then gives the writer back.
async fn drain(link: Rc<Link>, mut writer: WriteHalf) {
    loop {
        let bytes = std::mem::take(&mut *link.queue.borrow_mut());
        if bytes.is_empty() {
            *link.writer.borrow_mut() = Some(writer);
            break;
        }
        let count = bytes.len() as u64;
        if writer.write_all(Bytes::from(bytes)).await.is_err() {
            return link.fail();
        }
        link.bytes_out.set(link.bytes_out.get() + count);
    }
    if let Some(waiting) = link.waiting.borrow_mut().take() {
        waiting.wake();
    }
}
