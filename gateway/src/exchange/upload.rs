//! The half of an exchange that streams a request's content to the primary while the answer may already come.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use config::Config;

use super::pace::Pace;
use super::relay::{RelayFailed, Relayed, Terms, relay};
use super::{Outcome, Request, SLOW_CONTENT, TOO_LARGE, refused};
use crate::context::Context;
use crate::downstream::Client;
use crate::http1::body::{self, HEADROOM, Incoming, Outgoing};
use crate::http1::head::Fault;
use crate::io::{ReadHalf, Stream, WriteHalf};
use crate::limits::{BLOCK_BYTES, LINGER_MS};
use crate::metrics::Skip;
use crate::mirror::tee::Tee;
use crate::observe::pairing::Pairing;
use crate::task::{Until, until};
use crate::time::Millis;

/// What the two directions of one exchange tell each other.
#[derive(Debug, Default)]
pub(super) struct Upload {
    /// The whole request has been written to the primary.
    pub(super) complete: Cell<bool>,
    /// When the last of it was given to the kernel, in the worker's microseconds; 0 until it was taken. Not when we heard
    /// that it was: the primary may be at work by then.
    forwarded_us: Cell<u64>,
    /// When it was taken, in the worker's milliseconds.
    pub(super) forwarded_ms: Cell<u64>,
    /// The primary's answer is waited for, and due this long after the request was forwarded.
    pub(super) answer_within: Cell<Option<Millis>>,
    /// What is waited for is the client's content, and not that the primary takes it.
    pub(super) waits_for_client: Cell<bool>,
    /// The client has been sent the first byte of an answer.
    pub(super) answering: Cell<bool>,
    /// Bytes of content not read yet, where the client declared them.
    pub(super) rest: Cell<Option<u64>>,
    /// The answer is over: the rest of the upload has until then.
    pub(super) end_by_ms: Cell<Option<u64>>,
    /// That answer ends with its connection: a plain close would make a cut look like the end.
    pub(super) close_delimited: Cell<bool>,
}

impl Upload {
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

    /// No more comes from the client: from now on the primary's answer is due, unless it has begun.
    fn over(&self, to: &WriteHalf) {
        if let Some(within) = self.answer_within.get() {
            to.limit_pending_read(within);
        }
    }

    /// Microseconds since then; 0 before it.
    pub(super) fn since_forwarded(&self, cx: &Context) -> u64 {
        match self.forwarded_us.get() {
            0 => 0,
            at => cx.now_us().saturating_sub(at),
        }
    }
}

/// Streams the rest of the request while the answer may already come.
pub(super) async fn duplex(
    cx: &Rc<Context>,
    client: &mut Client,
    up: &mut Stream,
    request: &mut Request,
    terms: &Terms<'_>,
) -> Result<(Result<Relayed, RelayFailed>, Upload), Outcome> {
    let facts = request.facts;
    let Client { stream, inbox, .. } = client;
    let upload = Upload::default();
    upload.rest.set(request.incoming.bytes_expected());
    let Request { generation, incoming, outgoing, tee, content_left, pairing, .. } = request;
    let (config, tee) = (&*generation.config, &*tee);
    let pairing = pairing.get();
    let content = Content { config, incoming, outgoing: *outgoing, left: content_left, tee, pairing };
    let forwarding = forward(cx, &mut stream.r, inbox, &mut up.w, content, &upload);
    let relaying = async {
        let relayed = relay(cx, &mut stream.w, &mut up.r, terms, &upload, tee).await;
        if !upload.complete.get() {
            // Both ends get so long for the rest: the client to send it, the primary, whose connection serves nobody
            // else after this, to take it.
            let end = cx.now_ms() + LINGER_MS;
            upload.end_by_ms.set(Some(end));
            up.r.give_up_at(end);
            stream.w.limit_pending_read(Millis(LINGER_MS));
        }
        relayed
    };
    let ended = until(
        forwarding,
        relaying,
        |forwarded| matches!(forwarded, Err(ForwardFailed::Client(_))),
        // An early answer: the rest of the upload is usually on its way, and then nobody's connection need be closed.
        |relayed| matches!(relayed, Ok(answer) if answer.keep_client && answer.upstream_keeps),
    )
    .await;
    match ended {
        Until::Decided(relayed, _) => {
            if !upload.complete.get() {
                tee.borrow_mut().skip(Skip::Aborted);
            }
            Ok((relayed, upload))
        }
        Until::Stopped(Err(ForwardFailed::Client(Some(fault)))) if !upload.answering.get() => {
            tee.borrow_mut().skip(Skip::Aborted);
            Err(refused(&facts, fault, false))
        }
        Until::Stopped(_) => {
            tee.borrow_mut().skip(Skip::Aborted);
            Err(Outcome::Broken { reset: upload.close_delimited.get() })
        }
    }
}

/// Why a request could not be forwarded to its end.
enum ForwardFailed {
    /// The client went away, or what it sent was refused with this fault.
    Client(Option<Fault>),
    /// The primary takes no more; it may have answered already, so its answer is still worth reading.
    Primary,
}

/// A request's content while it streams.
struct Content<'a> {
    config: &'a Config,
    incoming: &'a mut Incoming,
    outgoing: Outgoing,
    /// Bytes that the limit still allows.
    left: &'a mut u64,
    tee: &'a RefCell<Tee>,
    pairing: Option<&'a Rc<Pairing>>,
}

/// Streams the request's content from the client to the primary, block by block, each block copied to the tee.
async fn forward(
    cx: &Rc<Context>,
    from: &mut ReadHalf,
    inbox: &mut Vec<u8>,
    to: &mut WriteHalf,
    content: Content<'_>,
    upload: &Upload,
) -> Result<(), ForwardFailed> {
    let Content { config, incoming, outgoing, left: content_left, tee, pairing } = content;
    let timeouts = &config.timeouts;
    let mut block = cx.buffers.block();
    let mut pace = Pace::new(timeouts.request_body.into(), config.limits.request_bytes_per_second_min);
    // What may still come behind an answer that is over.
    let mut rest_left = config.limits.drain_bytes_max;
    let mut written_us = cx.now_us();
    while !incoming.is_done() {
        let within = match upload.end_by_ms.get() {
            Some(end) if rest_left > 0 && cx.now_ms() < end => Millis(end - cx.now_ms()),
            Some(_) => return Err(ForwardFailed::Client(None)),
            None => pace.patience(timeouts.request_body.into()),
        };
        block.clear();
        block.resize(HEADROOM, 0);
        let asked_ms = cx.now_ms();
        upload.waits_for_client.set(true);
        let (result, filled) = from.read(block, BLOCK_BYTES, within).await;
        upload.waits_for_client.set(false);
        block = filled;
        pace.took(cx.now_ms() - asked_ms, result.as_ref().map_or(0, |n| *n));
        match result {
            Ok(0) => return Err(ForwardFailed::Client(None)),
            Ok(n) if upload.end_by_ms.get().is_some() => rest_left = rest_left.saturating_sub(n as u64),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                return Err(ForwardFailed::Client(Some(SLOW_CONTENT)));
            }
            Err(_) => return Err(ForwardFailed::Client(None)),
        }
        let placed = body::transform(&mut block, incoming, outgoing, inbox)
            .map_err(|_| ForwardFailed::Client(Some(Fault::bad("malformed chunked content"))))?;
        upload.rest.set(incoming.bytes_expected());
        let content = placed.content_from..placed.content_to;
        *content_left =
            content_left.checked_sub(content.len() as u64).ok_or(ForwardFailed::Client(Some(TOO_LARGE)))?;
        let end = block.len();
        let is_copied = tee.borrow().is_active();
        written_us = cx.now_us();
        let sent = if is_copied && content.len() >= crate::limits::SHARE_MIN_BYTES {
            let pinned = block.capacity();
            let shared = cx.buffers.share(block);
            tee.borrow_mut().share(&shared.slice(content), pinned);
            block = cx.buffers.block();
            to.write_range(shared, placed.write_from, end, timeouts.write.into()).await.0
        } else {
            if is_copied {
                tee.borrow_mut().copy(&block[content]);
            }
            let (sent, back) = to.write_range(block, placed.write_from, end, timeouts.write.into()).await;
            block = back;
            sent
        };
        if sent.is_err() {
            upload.over(to);
            return Err(ForwardFailed::Primary);
        }
    }
    cx.buffers.give(block);
    upload.completed(cx, written_us, pairing);
    tee.borrow_mut().complete(incoming.trailers(), cx.now_ms());
    upload.over(to);
    Ok(())
}
