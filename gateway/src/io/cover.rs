//! TLS over a wire: the operations of a covered connection, in the same shape as the wire's own.
//!
//! Ciphertext is read into the caller's buffer and opened in place, so that a connection that waits holds no buffer of its
//! own. Written bytes are sealed into one buffer and go out in as few sends as the wire takes them in. Reading never waits
//! for a write: behind the handshake a session has nothing to say that cannot go with the next data.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};

use monoio::buf::IoBuf;

use super::Gather;
use super::tcp::initialized;
use super::wire::Wire;
use crate::limits::{BLOCK_BYTES, QUIET_READS_MAX};
use crate::tls::fault::Fault;
use crate::tls::session::Session;

/// The cover of one connection.
pub(super) struct Cover {
    session: RefCell<Session>,
    /// Ciphertext on its way out, and how much of it is written.
    out: RefCell<Vec<u8>>,
    sent: Cell<usize>,
    /// Bytes of plaintext that stand sealed in `out` and were not yet reported as written: the caller hands them in again.
    sealed: Cell<usize>,
    /// A write is pending, so that nothing else may be said.
    writing: Cell<bool>,
    /// The connection is to end by a reset: no close_notify may call it complete.
    resets: Cell<bool>,
}

impl Cover {
    pub(super) fn new(session: Session) -> Self {
        Self {
            session: RefCell::new(session),
            out: RefCell::default(),
            sent: Cell::new(0),
            sealed: Cell::new(0),
            writing: Cell::new(false),
            resets: Cell::new(false),
        }
    }

    /// As [`Wire::read`].
    pub(super) async fn read(
        &self,
        wire: &Wire,
        mut buf: Vec<u8>,
        room: usize,
    ) -> (io::Result<usize>, Vec<u8>) {
        loop {
            if let Some(result) = self.waiting(wire, &mut buf, room) {
                return (result, buf);
            }
            let from = buf.len();
            let (result, back) = wire.read(buf, room).await;
            buf = back;
            if let Some(result) = self.came(wire, result, &mut buf, from) {
                return (result, buf);
            }
        }
    }

    /// As [`Wire::read_until_parked`].
    pub(super) async fn read_until_parked(
        &self,
        wire: &Wire,
        mut buf: Vec<u8>,
        room: usize,
    ) -> (io::Result<Option<usize>>, Vec<u8>) {
        loop {
            if let Some(result) = self.waiting(wire, &mut buf, room) {
                return (result.map(Some), buf);
            }
            let from = buf.len();
            let (result, back) = wire.read_until_parked(buf, room).await;
            buf = back;
            let result = match result {
                Ok(None) => {
                    self.out.borrow_mut().shrink_to_fit();
                    return (Ok(None), buf);
                }
                Ok(Some(n)) => Ok(n),
                Err(error) => Err(error),
            };
            if let Some(result) = self.came(wire, result, &mut buf, from) {
                return (result.map(Some), buf);
            }
        }
    }

    /// As [`Wire::readable`]; true also of bytes that came and were not taken.
    pub(super) async fn readable(&self, wire: &Wire) -> io::Result<()> {
        if self.session.borrow_mut().is_quiet() { wire.readable().await } else { Ok(()) }
    }

    /// Until there is something of the peer's message, or its end. Dropping it loses nothing.
    pub(super) async fn speaks(&self, wire: &Wire) -> io::Result<()> {
        while self.is_silent(wire) {
            wire.readable().await?;
        }
        Ok(())
    }

    /// As [`Wire::is_silent`]: tickets and KeyUpdates say nothing, and are taken in.
    pub(super) fn is_silent(&self, wire: &Wire) -> bool {
        let mut session = self.session.borrow_mut();
        let mut block = Vec::new();
        for _ in 0..QUIET_READS_MAX {
            if !session.is_quiet() {
                return false;
            }
            match wire.read_now(&mut block) {
                Ok(0) => {
                    session.cut();
                    return false;
                }
                Ok(_) => {
                    if session.push(&block).is_err() {
                        return false;
                    }
                    block.clear();
                }
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        // A peer that says so much and means nothing is not one to wait for.
        false
    }

    /// Writes as much of `buf[at..to]` as is taken at once: `Ok(None)` where that is less than one byte of it, and
    /// `Ok(Some(0))` where the wire takes nothing. The count is in proportion to the bytes that the wire took, and has the last
    /// byte only with the last of its record, so that the pace of a peer can be measured by it.
    pub(super) async fn write<B: IoBuf>(
        &self,
        wire: &Wire,
        buf: B,
        at: usize,
        to: usize,
    ) -> (io::Result<Option<usize>>, B) {
        if self.sealed.get() == 0 {
            let piece = initialized(&buf).get(at..to).unwrap_or_default();
            let piece = piece.get(..BLOCK_BYTES).unwrap_or(piece);
            if let Err(error) = self.seal(&[IoSlice::new(piece)]) {
                return (Err(error), buf);
            }
            self.sealed.set(piece.len());
        }
        let before = self.unsent();
        let result = self.send_some(wire).await;
        let sealed = self.sealed.get();
        let result = result.map(|sent| {
            let done = match self.unsent() {
                0 => sealed,
                _ if sent == 0 => return Some(0),
                // In u128: a product of two sizes.
                _ => ((sealed as u128 * sent as u128 / before as u128) as usize).min(sealed - 1),
            };
            self.sealed.set(sealed - done);
            (done > 0).then_some(done)
        });
        (result, buf)
    }

    /// Seals `most` bytes of a `Gather` behind the first `from`: one send, where the wire takes it. Returns how many those were.
    pub(super) fn seal_gather(&self, gather: &Gather, from: usize, most: usize) -> io::Result<usize> {
        self.seal(&gather.slices(from, most))?;
        Ok(most.min(gather.len() - from))
    }

    /// Sends some of the sealed bytes: whether that was the last of them. `WriteZero` where the wire takes nothing.
    pub(super) async fn push(&self, wire: &Wire) -> io::Result<bool> {
        match self.send_some(wire).await? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            _ => Ok(self.unsent() == 0),
        }
    }

    /// Says that nothing follows, if it can be said at once: a peer that reads nothing hears nothing.
    pub(super) fn say_end(&self, wire: &Wire) {
        if self.resets.get() || self.writing.get() || self.unsent() > 0 {
            return;
        }
        let mut out = Vec::new();
        self.session.borrow_mut().close(&mut out);
        wire.write_now(&out);
    }

    /// Seals that nothing follows: whether there is something to be pushed for it.
    pub(super) fn seal_end(&self) -> bool {
        if self.resets.get() || self.writing.get() || self.unsent() > 0 {
            return false;
        }
        self.session.borrow_mut().close(&mut self.out.borrow_mut());
        self.unsent() > 0
    }

    pub(super) fn broken(&self) -> Option<Fault> {
        self.session.borrow().broken()
    }

    pub(super) fn overhead(&self) -> u64 {
        self.session.borrow().overhead()
    }

    pub(super) fn peer_certificate(&self) -> Option<Vec<u8>> {
        Some(self.session.borrow().peer_certificate()?.to_vec())
    }

    pub(super) fn server_name(&self) -> Option<String> {
        Some(self.session.borrow().name()?.to_owned())
    }

    pub(super) fn reset_on_close(&self, does: bool) {
        self.resets.set(does);
    }

    fn seal(&self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        self.session.borrow_mut().seal(pieces, &mut self.out.borrow_mut())?;
        Ok(())
    }

    fn unsent(&self) -> usize {
        self.out.borrow().len() - self.sent.get()
    }

    async fn send_some(&self, wire: &Wire) -> io::Result<usize> {
        let (out, from) = (self.out.take(), self.sent.get());
        let to = out.len();
        self.writing.set(true);
        let (result, mut out) = wire.write(out, from, to).await;
        self.writing.set(false);
        let sent = *result.as_ref().unwrap_or(&0);
        if from + sent == to {
            out.clear();
            // A burst's buffer is not kept: most connections never see another. Shrinking it would copy the sent bytes once
            // more.
            if out.capacity() > BLOCK_BYTES / 4 {
                out = Vec::new();
            }
            self.sent.set(0);
        } else {
            self.sent.set(from + sent);
        }
        self.out.replace(out);
        result
    }

    /// The result that needs no look at the wire.
    fn waiting(&self, wire: &Wire, buf: &mut Vec<u8>, room: usize) -> Option<io::Result<usize>> {
        let mut session = self.session.borrow_mut();
        match session.take(buf, room) {
            Ok(0) if session.is_ended() => Some(Ok(0)),
            // RFC 9112 §9.8: a message that lasts until the end is not complete.
            Ok(0) if session.is_cut() => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(0) => None,
            Ok(n) => Some(Ok(n)),
            Err(fault) => {
                drop(session);
                self.complain(wire);
                Some(Err(fault.into()))
            }
        }
    }

    /// Opens bytes that came from the wire; the caller's result, if there is one.
    fn came(
        &self,
        wire: &Wire,
        result: io::Result<usize>,
        buf: &mut Vec<u8>,
        from: usize,
    ) -> Option<io::Result<usize>> {
        match result {
            Ok(0) => {
                self.session.borrow_mut().cut();
                self.waiting(wire, buf, 1)
            }
            Ok(_) => {
                let opened = self.session.borrow_mut().open(buf, from);
                match opened {
                    // Bytes before the fault are the caller's; the next read finds it again.
                    _ if buf.len() > from => Some(Ok(buf.len() - from)),
                    Ok(()) => None,
                    Err(fault) => {
                        self.complain(wire);
                        Some(Err(fault.into()))
                    }
                }
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// Sends the alert that says why, if it can be sent at once.
    fn complain(&self, wire: &Wire) {
        if self.writing.get() || self.unsent() > 0 {
            return;
        }
        let mut out = Vec::new();
        self.session.borrow_mut().send(&mut out);
        wire.write_now(&out);
    }
}
