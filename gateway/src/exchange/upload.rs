//! The half of an exchange that streams a request's content to the primary while the response may already come.

use std::cell::RefCell;
use std::rc::Rc;

use config::Config;

use super::pace::Pace;
use super::progress::Progress;
use super::relay::{RelayFailed, Relayed, Terms, relay};
use super::{Outcome, Request, SLOW_CONTENT, TOO_LARGE, refused};
use crate::buffer;
use crate::context::Context;
use crate::http1::head::Fault;
use crate::limits::LINGER_MS;
use crate::message::client::{Requester, Response};
use crate::message::server::{self, ContentFailed, Message};
use crate::metrics::SkipReason;
use crate::mirror::tee::Tee;
use crate::observe::pairing::Pairing;
use crate::task::{Until, until};
use crate::time::Millis;

/// Streams the rest of the request while the answer may already come.
pub(super) async fn duplex(
    cx: &Rc<Context>,
    client: &mut Message<'_>,
    (to, from): (&mut Requester<'_>, &mut Response<'_>),
    request: &mut Request,
    terms: &Terms<'_>,
) -> Result<(Result<Relayed, RelayFailed>, Progress), Outcome> {
    let facts = request.facts;
    let Message { content, responder } = client;
    let progress = Progress::default();
    progress.rest.set(content.bytes_expected());
    let Request { generation, tee, content_left, pairing, .. } = request;
    let (config, tee) = (&*generation.config, &*tee);
    let upload = Upload {
        config,
        content,
        left: content_left,
        tee,
        pairing: pairing.get(),
        is_unqueued: terms.is_unqueued,
    };
    let forwarding = forward(cx, upload, to, &progress);
    let relaying = async {
        let relayed = relay(cx, responder, from, terms, &progress, tee).await;
        if !progress.complete.get() {
            // Both ends get so long for the rest: the client to send it, the primary, whose connection serves nothing
            // else after this, to take it.
            let end = cx.now_ms() + LINGER_MS;
            progress.end_by_ms.set(Some(end));
            from.give_up_at(end);
            responder.limit_pending_content(Millis(LINGER_MS));
        }
        relayed
    };
    let ended = until(
        forwarding,
        relaying,
        |forwarded| matches!(forwarded, Err(ForwardFailed::Client(_))),
        // An early response: the rest of the upload is usually on its way, and then no connection need be closed.
        |relayed| matches!(relayed, Ok(answer) if answer.keeps_client && answer.rest.is_some()),
    )
    .await;
    match ended {
        Until::Decided(relayed, _) => {
            if !progress.complete.get() {
                tee.borrow_mut().skip(SkipReason::Aborted);
            }
            Ok((relayed, progress))
        }
        Until::Stopped(Err(ForwardFailed::Client(Some(fault)))) if !client.responder.has_begun() => {
            tee.borrow_mut().skip(SkipReason::Aborted);
            Err(refused(&facts, fault, false))
        }
        Until::Stopped(_) => {
            tee.borrow_mut().skip(SkipReason::Aborted);
            Err(Outcome::Broken)
        }
    }
}

/// Why a request could not be forwarded to its end.
enum ForwardFailed {
    /// The client went away, or its content was refused with this fault.
    Client(Option<Fault>),
    /// The primary takes no more; it may have answered already, so its answer is still worth reading.
    Primary,
}

/// A request's content while it streams.
struct Upload<'a, 'w> {
    config: &'a Config,
    content: &'a mut server::Content<'w>,
    /// Bytes that the limit still allows.
    left: &'a mut u64,
    tee: &'a RefCell<Tee>,
    pairing: Option<&'a Rc<Pairing>>,
    /// See [`Terms::is_unqueued`].
    is_unqueued: bool,
}

/// Streams the request's content from the client to the primary, block by block, each block copied to the tee.
async fn forward(
    cx: &Rc<Context>,
    upload: Upload<'_, '_>,
    to: &mut Requester<'_>,
    progress: &Progress,
) -> Result<(), ForwardFailed> {
    let Upload { config, content, left, tee, pairing, is_unqueued } = upload;
    let timeouts = &config.timeouts;
    let write_within = Millis::from(timeouts.write);
    let mut blocks = cx.buffers.blocks(is_unqueued && content.fills_blocks());
    let mut block = blocks.next(None);
    let mut pace = Pace::new(timeouts.request_body.into(), config.limits.request_bytes_per_second_min);
    // Content that may still come behind a response that is over.
    let mut rest_left = config.limits.drain_bytes_max;
    let mut written_us = cx.now_us();
    while !content.is_done() {
        let within = match progress.end_by_ms.get() {
            Some(end) if rest_left > 0 && cx.now_ms() < end => Millis(end - cx.now_ms()),
            Some(_) => return Err(ForwardFailed::Client(None)),
            // A client that listens is not slow; a silence of both is the response's matter.
            None if progress.converses.get() => Millis::FOREVER,
            None => pace.patience(timeouts.request_body.into()),
        };
        let asked_ms = cx.now_ms();
        progress.waits_for_client.set(true);
        let (result, filled) = content.piece(block, within).await;
        progress.waits_for_client.set(false);
        block = filled;
        let piece = match result {
            Ok(piece) => piece,
            // The response began while it was waited for.
            Err(ContentFailed::Slow) if progress.converses.get() && progress.end_by_ms.get().is_none() => {
                continue;
            }
            Err(failed) => return Err(ForwardFailed::Client(fault_of(failed))),
        };
        progress.pieces.set(progress.pieces.get() + 1);
        if !progress.converses.get() {
            pace.took(cx.now_ms() - asked_ms, piece.wire_bytes);
        }
        if progress.end_by_ms.get().is_some() {
            rest_left = rest_left.saturating_sub(piece.wire_bytes as u64);
        }
        progress.rest.set(content.bytes_expected());
        let found = piece.content;
        *left = left.checked_sub(found.len() as u64).ok_or(ForwardFailed::Client(Some(TOO_LARGE)))?;
        let end = content.is_done().then(|| content.trailers());
        let framed = to.frame(&mut block, found.clone(), end);
        let is_copied = tee.borrow().is_active();
        written_us = cx.now_us();
        let (sent, back) = if is_copied && buffer::fill_well(found.len(), &block) {
            let pinned = block.capacity();
            let shared = cx.buffers.share(block);
            tee.borrow_mut().share(&shared.slice(found), pinned);
            (to.write(shared, framed, write_within).await.0, None)
        } else {
            if is_copied {
                tee.borrow_mut().copy(&block[found]);
                blocks.copied(&block);
            }
            let (sent, back) = to.write(block, framed, write_within).await;
            (sent, Some(back))
        };
        // Chunked content may end anywhere, and bytes behind its end are the client's next requests.
        blocks.came(piece.wire_bytes, content.bytes_expected().unwrap_or(0));
        block = blocks.next(back);
        if sent.is_err() {
            progress.over(cx, to);
            return Err(ForwardFailed::Primary);
        }
    }
    cx.buffers.give(block);
    progress.completed(cx, written_us, pairing);
    tee.borrow_mut().complete(content.trailers(), cx.now_ms());
    progress.over(cx, to);
    Ok(())
}

/// The refusal for a client whose content does not come as it should; none where it is gone.
fn fault_of(failed: ContentFailed) -> Option<Fault> {
    match failed {
        ContentFailed::Gone => None,
        ContentFailed::Slow => Some(SLOW_CONTENT),
        ContentFailed::Malformed => Some(Fault::bad("malformed chunked content")),
    }
}
