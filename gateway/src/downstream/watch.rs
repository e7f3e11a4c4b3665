//! How one exchange ended for its client, told to its record.

use std::rc::Rc;

use crate::context::Context;
use crate::exchange::Passed;
use crate::metrics::RejectReason;
use crate::observe::pairing::Pairing;

/// From a request's head to the end of its answer.
pub(super) struct Watch {
    started_us: u64,
    /// Where a record is made.
    pub(super) pairing: Option<Rc<Pairing>>,
}

/// The fate of a response of the gateway's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reply {
    /// The connection goes on.
    pub(super) is_kept: bool,
    pub(super) is_sent: bool,
    /// Of its content.
    pub(super) bytes: u64,
}

impl Watch {
    pub(super) fn begin(cx: &Context) -> Self {
        Self { started_us: cx.now_us(), pairing: None }
    }

    /// The client got the primary's whole answer; returns how long that took, in microseconds.
    pub(super) fn answered(self, cx: &Context, status: u16, request_bytes: u64, response_bytes: u64) -> u64 {
        let duration_us = cx.now_us().saturating_sub(self.started_us);
        if let Some(pairing) = &self.pairing {
            pairing.note(|record| {
                record.status = Some(status);
                (record.request_bytes, record.response_bytes) = (request_bytes, response_bytes);
                record.duration_us = duration_us;
            });
        }
        duration_us
    }

    /// The exchange became a tunnel, which is over.
    pub(super) fn tunnelled(self, cx: &Context, passed: Passed) {
        self.answered(cx, 101, passed.up, passed.down);
    }

    /// The gateway answered by itself.
    pub(super) fn refused(
        self,
        cx: &Context,
        status: u16,
        reject: Option<RejectReason>,
        request_bytes: u64,
        reply: Reply,
    ) {
        if let Some(pairing) = &self.pairing {
            pairing.note(|record| {
                record.status = reply.is_sent.then_some(status);
                (record.reject, record.is_aborted) = (reject, !reply.is_sent);
                (record.request_bytes, record.response_bytes) = (request_bytes, reply.bytes);
                record.duration_us = cx.now_us().saturating_sub(self.started_us);
            });
        }
    }

    /// The client got a part of an answer, or none.
    pub(super) fn broken(self, cx: &Context, request_bytes: u64, response_bytes: u64) {
        if let Some(pairing) = &self.pairing {
            pairing.note(|record| {
                record.is_aborted = true;
                (record.request_bytes, record.response_bytes) = (request_bytes, response_bytes);
                record.duration_us = cx.now_us().saturating_sub(self.started_us);
            });
        }
    }
}
