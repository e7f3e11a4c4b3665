//! How far a request has got on its way to the primary, as the two directions of one exchange tell each other.

use std::cell::Cell;
use std::rc::Rc;

use crate::context::Context;
use crate::message::client::Requester;
use crate::observe::pairing::Pairing;
use crate::time::Millis;

/// The state that the two directions of one exchange share.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The whole request has been written to the primary.
    pub(super) complete: Cell<bool>,
    /// When the last of it was given to the kernel, in the worker's microseconds; 0 until it was taken. Not when we heard
    /// that it was: the primary may be at work by then.
    forwarded_us: Cell<u64>,
    /// When it was taken, in the worker's milliseconds.
    pub(super) forwarded_ms: Cell<u64>,
    /// The primary's answer is waited for, and due this long after the request was forwarded.
    pub(super) answer_within: Cell<Option<Millis>>,
    /// Since when no more goes to the primary, in the worker's milliseconds.
    over_ms: Cell<Option<u64>>,
    /// The wait is for the client's content, and not for the primary to take it.
    pub(super) waits_for_client: Cell<bool>,
    /// Bytes of content not read yet, where the client declared them.
    pub(super) rest: Cell<Option<u64>>,
    /// The answer has begun, and both may go on for as long as they last.
    pub(super) converses: Cell<bool>,
    /// Pieces of content that the client has sent.
    pub(super) pieces: Cell<u64>,
    /// The answer is over: the rest of the upload has until then.
    pub(super) end_by_ms: Cell<Option<u64>>,
}

impl Progress {
    /// The whole request has been written to the primary; the last write of it began at `written_us`.
    pub(super) fn completed(&self, cx: &Context, written_us: u64, pairing: Option<&Rc<Pairing>>) {
        self.complete.set(true);
        self.forwarded_us.set(written_us);
        self.forwarded_ms.set(cx.now_ms());
        if let Some(pairing) = pairing {
            pairing.forwarded(written_us);
            pairing.note(|record| record.forwarded_us = Some(written_us.saturating_sub(record.started_us)));
        }
    }

    /// No more goes to the primary: from now on its answer is due, unless it has begun.
    pub(super) fn over(&self, cx: &Context, to: &Requester<'_>) {
        self.over_ms.set(Some(cx.now_ms()));
        if let Some(within) = self.answer_within.get() {
            to.limit_pending_response(within);
        }
    }

    /// Since when the primary's answer is due, if it is.
    pub(super) fn due_since_ms(&self) -> Option<u64> {
        if self.complete.get() { Some(self.forwarded_ms.get()) } else { self.over_ms.get() }
    }

    /// Microseconds since then; 0 before it.
    pub(super) fn since_forwarded(&self, cx: &Context) -> u64 {
        match self.forwarded_us.get() {
            0 => 0,
            at => cx.now_us().saturating_sub(at),
        }
    }
}
