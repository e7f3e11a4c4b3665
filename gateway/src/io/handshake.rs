//! The handshake of a covered connection: which side speaks when, by when it has to be over, and whose turn a signature is.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::cover::Cover;
use super::{Idle, ReadHalf, Stream, Sweeper, turn};
use crate::address::Address;
use crate::limits::HANDSHAKE_READ_BYTES;
use crate::time::Millis;
use crate::tls::Callee;
use crate::tls::fault::Fault;
use crate::tls::session::{Facts, Session};

/// The kind of handshake; the first of these goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    Primary,
    Client,
    Mirror,
}

/// Lets one signature through at a time, and every other task on the worker between two of them: a request waits for one at
/// most, however many handshakes arrive at once.
#[derive(Debug, Default)]
pub(super) struct Turnstile {
    is_taken: Cell<bool>,
    next: Cell<u64>,
    waiting: RefCell<BTreeMap<(Turn, u64), Option<Waker>>>,
}

/// A handshake that was let through; the next one is when this is dropped.
#[derive(Debug)]
struct Permit(Rc<Turnstile>);

/// A place among the handshakes that wait. Dropped before its turn, it lets the next one go.
struct Waiting<'t> {
    turnstile: &'t Turnstile,
    key: (Turn, u64),
}

impl Turnstile {
    async fn take(self: &Rc<Self>, whose: Turn) -> Permit {
        let key = (whose, self.next.replace(self.next.get() + 1));
        self.waiting.borrow_mut().insert(key, None);
        let waiting = Waiting { turnstile: self, key };
        poll_fn(|cx| {
            let mut all = self.waiting.borrow_mut();
            let is_first = all.first_key_value().is_some_and(|(first, _)| *first == key);
            if is_first && !self.is_taken.get() {
                self.is_taken.set(true);
                return Poll::Ready(());
            }
            all.insert(key, Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        drop(waiting);
        Permit(Rc::clone(self))
    }

    fn wake_first(&self) {
        let mut all = self.waiting.borrow_mut();
        let waker = all.first_entry().and_then(|mut first| first.get_mut().take());
        drop(all);
        if let Some(waker) = waker
            && !self.is_taken.get()
        {
            waker.wake();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.turnstile.waiting.borrow_mut().remove(&self.key);
        if !self.turnstile.is_taken.get() {
            self.turnstile.wake_first();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.is_taken.set(false);
        self.0.wake_first();
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub enum NotCalled {
    Wire(io::Error),
    /// There was one, and no TLS on it.
    Tls(Fault),
}

impl NotCalled {
    /// The fault that a handshake failed by.
    pub fn tls(&self) -> Option<Fault> {
        match self {
            Self::Wire(_) => None,
            Self::Tls(fault) => Some(*fault),
        }
    }

    /// Whether it took too long.
    pub fn is_late(&self) -> bool {
        match self {
            Self::Wire(error) => error.kind() == io::ErrorKind::TimedOut,
            Self::Tls(fault) => *fault == Fault::Timeout,
        }
    }
}

impl Stream {
    /// Connects to `address` and, where it is to be called over TLS, shakes hands: both within `within`. `Some` is how that
    /// came out.
    pub async fn call(
        address: Address,
        callee: Option<&Callee>,
        whose: Turn,
        within: Duration,
        sweeper: &Rc<Sweeper>,
    ) -> Result<(Self, Option<Facts>), NotCalled> {
        let started_us = sweeper.now_us();
        let mut stream = Self::connect(address, within, sweeper).await.map_err(NotCalled::Wire)?;
        let Some(callee) = callee else { return Ok((stream, None)) };
        // A hello has a key of its own, which costs as much as half a signature.
        let permit = sweeper.turnstile.take(whose).await;
        let session = callee.session();
        turn().await;
        drop(permit);
        let gone = Duration::from_micros(sweeper.now_us().saturating_sub(started_us));
        let left = within.checked_sub(gone).filter(|left| !left.is_zero());
        let covered = match (session, left) {
            (Ok(session), Some(left)) => stream.cover(session, whose, left.into()).await,
            (Ok(_), None) => Err(Fault::Timeout),
            (Err(fault), _) => Err(fault),
        };
        covered.map(|facts| (stream, Some(facts))).map_err(NotCalled::Tls)
    }

    /// Covers the connection: all that is read and written from now on is plaintext here and ciphertext on the wire. After
    /// a fault the connection is of no use.
    pub async fn cover(&mut self, mut session: Session, whose: Turn, within: Millis) -> Result<Facts, Fault> {
        let shaken = self.shake(&mut session, whose, within).await;
        self.clear_deadlines();
        if let Err(fault) = shaken {
            let mut out = Vec::new();
            session.send(&mut out);
            self.r.0.wire.write_now(&out);
            return Err(fault);
        }
        let facts = session.facts();
        // invariant: a connection is covered once, when it is new.
        let covered = self.r.0.cover.set(Box::new(Cover::new(session)));
        debug_assert!(covered.is_ok(), "a cover over a cover");
        Ok(facts)
    }

    async fn shake(&mut self, session: &mut Session, whose: Turn, within: Millis) -> Result<(), Fault> {
        let sweeper = Rc::clone(&self.r.0.sweeper);
        let end_ms = sweeper.now_ms().saturating_add(within.0);
        let mut buf = Vec::new();
        let mut out = Vec::new();
        loop {
            // A 1.3 session's last words go with the first data: one write less, and neither side waits for them.
            if session.is_handshaking() || !session.facts().is_tls13 {
                session.send(&mut out);
            }
            if !out.is_empty() {
                let left = Millis(end_ms.saturating_sub(sweeper.now_ms()));
                let (sent, back) = self.w.write_all_by(out, left, end_ms).await;
                sent.map_err(|failed| fault(&failed.error))?;
                out = back;
                out.clear();
            }
            if !session.is_handshaking() {
                return Ok(());
            }
            let left = Millis(end_ms.saturating_sub(sweeper.now_ms()));
            let (read, back) = if session.waits_for_first() {
                // A client that says nothing is idle: a drain does not wait for it.
                let (read, back) = self.r.read_idle(buf, HANDSHAKE_READ_BYTES, left, Millis::FOREVER).await;
                let read = read.map(|read| match read {
                    Idle::Read(n) => n,
                    Idle::Parked => 0,
                });
                (read, back)
            } else {
                self.r.read(buf, HANDSHAKE_READ_BYTES, left).await
            };
            buf = back;
            match read {
                Ok(0) => return Err(Fault::Closed),
                Ok(_) => {}
                Err(error) => return Err(fault(&error)),
            }
            if session.is_next_dear() {
                let permit = sweeper.turnstile.take(whose).await;
                // No operation was pending meanwhile that a deadline could have ended: no signature for a client that is given
                // up.
                if sweeper.now_ms() > end_ms || self.r.0.deadlines.is_expired() {
                    return Err(Fault::Timeout);
                }
                let pushed = session.push(&buf);
                turn().await;
                drop(permit);
                pushed?;
            } else {
                session.push(&buf)?;
            }
            buf.clear();
        }
    }
}

/// The facts of a connection by its cover; of one without, none.
impl Stream {
    /// The certificate that the peer has shown, in DER, where the connection is covered and it has.
    pub fn peer_certificate(&self) -> Option<Vec<u8>> {
        self.r.0.cover.get()?.peer_certificate()
    }

    /// The name that the client asked for.
    pub fn server_name(&self) -> Option<String> {
        self.r.0.cover.get()?.server_name()
    }

    /// The fault by which the peer has broken the connection's cover.
    pub fn broken(&self) -> Option<Fault> {
        self.r.0.cover.get()?.broken()
    }

    /// See [`ReadHalf::overhead`].
    pub fn overhead(&self) -> u64 {
        self.r.overhead()
    }
}

impl ReadHalf {
    /// Bytes that came around content, and not as content.
    pub fn overhead(&self) -> u64 {
        self.0.cover.get().map_or(0, |cover| cover.overhead())
    }
}

fn fault(error: &io::Error) -> Fault {
    if error.kind() == io::ErrorKind::TimedOut { Fault::Timeout } else { Fault::Closed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Context;

    #[test]
    fn one_goes_at_a_time_and_primaries_before_clients_before_mirrors() {
        let turnstile = Rc::<Turnstile>::default();
        let mut cx = Context::from_waker(Waker::noop());
        let first = match std::pin::pin!(turnstile.take(Turn::Mirror)).poll(&mut cx) {
            Poll::Ready(permit) => permit,
            Poll::Pending => panic!("nobody was before it"),
        };
        let mut waiting: Vec<_> = [Turn::Mirror, Turn::Client, Turn::Primary]
            .map(|whose| (whose, Box::pin(turnstile.take(whose))))
            .into();
        for (_, one) in &mut waiting {
            assert!(one.as_mut().poll(&mut cx).is_pending());
        }
        drop(first);
        let mut order = Vec::new();
        while !waiting.is_empty() {
            let mut let_through = None;
            for (index, (_, one)) in waiting.iter_mut().enumerate() {
                if let Poll::Ready(permit) = one.as_mut().poll(&mut cx) {
                    assert!(let_through.is_none(), "two at once");
                    let_through = Some((index, permit));
                }
            }
            let (index, permit) = let_through.expect("one goes");
            order.push(waiting.remove(index).0);
            drop(permit);
        }
        assert_eq!(order, [Turn::Primary, Turn::Client, Turn::Mirror]);
    }

    #[test]
    fn one_that_gives_up_leaves_no_gap() {
        let turnstile = Rc::<Turnstile>::default();
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = Box::pin(turnstile.take(Turn::Client));
        let Poll::Ready(permit) = first.as_mut().poll(&mut cx) else { panic!("free") };
        let mut second = Box::pin(turnstile.take(Turn::Client));
        let mut third = Box::pin(turnstile.take(Turn::Client));
        assert!(second.as_mut().poll(&mut cx).is_pending() && third.as_mut().poll(&mut cx).is_pending());
        drop(permit);
        drop(second);
        assert!(third.as_mut().poll(&mut cx).is_ready());
        assert_eq!(turnstile.waiting.borrow().len(), 0);
    }
}
