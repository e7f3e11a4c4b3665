//! The half of an exchange that brings the primary's response to the client.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use config::Config;

use super::Facts;
use super::pace::Pace;
use super::progress::Progress;
use super::seen::Seen;
use crate::context::Context;
use crate::error::Failure;
use crate::grpc::{Status, StatusReader};
use crate::http1::edit::Edits;
use crate::http1::head::ResponseHead;
use crate::http1::offer::Offer;
use crate::http1::response::Fault;
use crate::limits::CONTINUE_MS;
use crate::message::client::{Found, Response, Rest};
use crate::message::server::{Gone, Responder, Within};
use crate::mirror::tee::Tee;
use crate::plan::Forward;
use crate::time::Millis;

/// Under which terms an answer is relayed.
pub(super) struct Terms<'a> {
    pub(super) config: &'a Config,
    pub(super) facts: Facts,
    /// When the whole exchange has to be over.
    pub(super) deadline_ms: u64,
    /// For this try's answer to begin.
    pub(super) try_timeout: Option<Millis>,
    /// Request and response may both go on for as long as they last: neither is late while the other has its turn.
    pub(super) is_duplex: bool,
    /// Both sides speak HTTP/1.1: no queue towards either holds a block.
    pub(super) is_unqueued: bool,
    /// Answers of some statuses are not wanted while the request can be sent again.
    pub(super) retry: Option<&'a Forward>,
    /// The tunnel that the request asks for, where it does: 101 agrees to that one and to no other.
    pub(super) offer: Option<Offer>,
    /// Its client takes any success for one.
    pub(super) is_connect: bool,
    /// Changes to the answer's fields, one after the other.
    pub(super) edits: Edits<'a>,
    /// The observer of the response on its way.
    pub(super) seen: &'a Seen,
}

impl Terms<'_> {
    /// The time within which the client must take a part of the response.
    fn of_client(&self) -> Within {
        Within { each: self.config.timeouts.write.into(), end_ms: self.deadline_ms }
    }

    /// `within`, but not beyond the exchange's deadline.
    fn bound(&self, within: Millis, now_ms: u64) -> Millis {
        within.until(self.deadline_ms, now_ms)
    }

    /// The exchange's deadline has passed, however readily both sides still read and write.
    fn is_late(&self, now_ms: u64) -> bool {
        now_ms >= self.deadline_ms
    }
}

/// An answer relayed to its end.
pub(super) struct Relayed {
    pub(super) status: u16,
    /// A call's own status.
    pub(super) grpc: Option<Status>,
    /// Whether the primary's line may serve another exchange, as far as the response goes.
    pub(super) rest: Option<Rest>,
    /// The client's connection may carry another request.
    pub(super) keeps_client: bool,
    /// The head opened a tunnel: all bytes behind it are the tunnel's.
    pub(super) is_tunnel: bool,
}

/// Why an answer could not be relayed to its end.
pub(super) enum RelayFailed {
    /// Not one byte of an answer came.
    NoAnswer(Failure),
    /// An answer came that cannot be passed on; the client has seen none of it.
    BadAnswer(Failure),
    /// The primary answered with this success, where a tunnel was asked for; the client has seen none of it.
    NoTunnel(u16),
    /// The answer's status, or that of a call, asks for another try; the client has seen none of it.
    Unwanted(u16, Option<Status>),
    /// The answer broke after the client had its head.
    Cut(Failure),
    /// The exchange's deadline passed after the client had its head: the fault may be either side's.
    Late,
    ClientGone,
}

impl From<Gone> for RelayFailed {
    fn from(Gone: Gone) -> Self {
        Self::ClientGone
    }
}

impl From<Fault> for RelayFailed {
    fn from(fault: Fault) -> Self {
        Self::BadAnswer(Failure::Protocol(fault.detail()))
    }
}

/// The consequences of a final head.
enum Looked {
    /// Its status, or that of a call, asks for another try.
    Unwanted(u16, Option<Status>),
    /// A success that opens no tunnel, where the client would believe in one.
    Deceptive(u16),
    /// The head was rendered for the client.
    Begun { status: u16, took_us: u64 },
}

/// Reads the primary's answer and writes it to the client: interim answers as they come, then the head with the content
/// that arrived with it in one write, then the rest block by block.
pub(super) async fn relay(
    cx: &Rc<Context>,
    to: &mut Responder<'_>,
    from: &mut Response<'_>,
    terms: &Terms<'_>,
    progress: &Progress,
    tee: &RefCell<Tee>,
) -> Result<Relayed, RelayFailed> {
    let answer_within =
        terms.try_timeout.map_or(u64::MAX, |t| t.0).min(Millis::from(terms.config.timeouts.response_head).0);
    if terms.facts.expects_continue && !progress.complete.get() {
        let patience = terms.bound(Millis(CONTINUE_MS), cx.now_ms());
        let is_silent = !from.is_ready_within(patience.0).await;
        let has_time = patience == Millis(CONTINUE_MS);
        // The primary keeps silent and the client waits: its content may come (RFC 9110 §10.1.1).
        if is_silent && has_time && !progress.complete.get() {
            to.proceed(terms.of_client()).await?;
        }
    }
    progress.answer_within.set(Some(Millis(answer_within)));
    let is_http2 = from.is_duplex();
    let (status, took_us) = loop {
        let found = from.head(|head, raw| {
            // A 101 is a final head only where it agrees to the client's offer.
            if let Some(offer) = terms.offer.filter(|_| head.status == 101) {
                to.switch(head, offer.protocol, terms.edits);
                let took_us = progress.since_forwarded(cx);
                terms.seen.head(cx, (head.status, raw), took_us, StatusReader::NotGrpc);
                return Some(Looked::Begun { status: head.status, took_us });
            }
            if terms.is_connect && (200..300).contains(&head.status) {
                return Some(Looked::Deceptive(head.status));
            }
            if head.status < 200 {
                to.interim(head);
                return None;
            }
            let call = StatusReader::begin(head.status, head.content_type(), raw, is_http2);
            if terms.retry.is_some_and(|forward| forward.retries_answer(head.status, &call)) {
                return Some(Looked::Unwanted(head.status, call.end()));
            }
            // The bytes behind the request were not read: they may be a tunnel's or another request's.
            let is_read = terms.offer.is_none();
            let may_go_on = is_read && may_go_on(terms, head, to.has_proceeded(), progress);
            to.begin(head, may_go_on, terms.edits);
            let took_us = progress.since_forwarded(cx);
            terms.seen.head(cx, (head.status, raw), took_us, call);
            Some(Looked::Begun { status: head.status, took_us })
        })?;
        match found {
            Found::Final(Some(Looked::Begun { status, took_us })) => break (status, took_us),
            Found::Final(Some(Looked::Unwanted(status, grpc))) => {
                return Err(RelayFailed::Unwanted(status, grpc));
            }
            Found::Final(Some(Looked::Deceptive(status))) => return Err(RelayFailed::NoTunnel(status)),
            Found::Interim(_) | Found::Final(None) => to.flush(terms.of_client()).await?,
            Found::More => {
                // While the upload runs, the primary may take its time: its answer is due after the request's last byte,
                // and then all of its head, however it drips.
                let now = cx.now_ms();
                let within = progress.due_since_ms().map_or(Millis::FOREVER, |since_ms| {
                    Millis(answer_within).until(since_ms.saturating_add(answer_within), now)
                });
                from.more(terms.bound(within, now)).await.map_err(|failure| {
                    if from.has_begun() {
                        RelayFailed::BadAnswer(failure)
                    } else {
                        RelayFailed::NoAnswer(failure)
                    }
                })?;
            }
        }
    };

    // Content that arrived with the head goes out with it; a malformed beginning is refused before the client sees any of it.
    from.arrived(|piece| {
        terms.seen.content(piece);
        to.push(piece);
    })?;
    let is_tunnel = status == 101;
    if !is_tunnel && from.is_done() {
        terms.seen.trailers(from.trailers());
        to.push_end(from.trailers());
    }
    progress.answer_within.set(None);
    progress.converses.set(terms.is_duplex);
    let asked_us = if from.is_done() { 0 } else { cx.now_us() };
    let sent = to.flush(terms.of_client()).await;
    tee.borrow_mut().answered(status, Duration::from_micros(took_us), cx.now_ms());
    sent?;

    if is_tunnel {
        return Ok(Relayed { status, grpc: None, rest: None, keeps_client: false, is_tunnel });
    }
    if !from.is_done() {
        terms.seen.wrote(cx.now_us() - asked_us);
        Box::pin(relay_content(cx, to, from, terms, progress)).await?;
    }
    to.complete();
    let grpc = terms.seen.grpc();
    Ok(Relayed { status, grpc, rest: from.rest(), keeps_client: to.keeps(), is_tunnel })
}

/// Whether the client's connection may go on behind an answer that comes now. While the upload still runs: if its rest
/// will be taken in.
fn may_go_on(
    terms: &Terms<'_>,
    head: &ResponseHead<'_, '_>,
    has_proceeded: bool,
    progress: &Progress,
) -> bool {
    if progress.complete.get() {
        return true;
    }
    // A client whose leave to continue never came may send its content or may not: the bytes do not tell which.
    let waits = terms.facts.expects_continue && !has_proceeded;
    let drain_max = terms.config.limits.drain_bytes_max;
    !waits && head.keeps() && drain_max > 0 && progress.rest.get().is_none_or(|n| n <= drain_max)
}

/// Streams the rest of an answer's content.
async fn relay_content(
    cx: &Rc<Context>,
    to: &mut Responder<'_>,
    from: &mut Response<'_>,
    terms: &Terms<'_>,
    progress: &Progress,
) -> Result<(), RelayFailed> {
    let timeouts = &terms.config.timeouts;
    let mut pace = Pace::new(timeouts.write.into(), terms.config.limits.response_bytes_per_second_min);
    let mut blocks = cx.buffers.blocks(terms.is_unqueued && from.fills_blocks());
    let mut block = blocks.next(None);
    while !from.is_done() {
        if terms.is_late(cx.now_ms()) {
            return Err(RelayFailed::Late);
        }
        let within = terms.bound(timeouts.response_body.into(), cx.now_ms());
        let pieces = progress.pieces.get();
        let (result, filled) = from.piece(block, within).await;
        block = filled;
        let content = match result {
            Ok(content) => content,
            Err(failure @ (Failure::Closed | Failure::Protocol(_))) => return Err(RelayFailed::Cut(failure)),
            Err(_) if terms.is_late(cx.now_ms()) => return Err(RelayFailed::Late),
            // The client has said something meanwhile: it is its turn, and the primary listens.
            Err(Failure::Timeout) if terms.is_duplex && progress.pieces.get() != pieces => continue,
            Err(failure) => return Err(RelayFailed::Cut(failure)),
        };
        terms.seen.content(block.get(content.clone()).unwrap_or_default());
        let end = if from.is_done() {
            terms.seen.latency_us.set(progress.since_forwarded(cx));
            terms.seen.trailers(from.trailers());
            Some(from.trailers())
        } else {
            None
        };
        let content_bytes = content.len();
        let mut framed = to.frame(&mut block, content, end);
        let asked_us = cx.now_us();
        // Each part anew: a client that takes little at a time is no less slow.
        while framed.from < framed.to {
            let asked_ms = cx.now_ms();
            let patience = terms.bound(pace.patience(timeouts.write.into()), asked_ms);
            let (sent, back) = to.write_some(block, &mut framed, patience).await;
            block = back;
            pace.took(cx.now_ms() - asked_ms, sent?);
        }
        if !from.is_done() {
            terms.seen.wrote(cx.now_us() - asked_us);
            blocks.came(content_bytes, u64::MAX);
            block = blocks.next(Some(block));
        }
    }
    cx.buffers.give(block);
    Ok(())
}
