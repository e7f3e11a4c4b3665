//! The half of an exchange that brings the primary's answer to the client.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use config::{Config, HeaderEdits};

use super::Facts;
use super::pace::Pace;
use super::seen::Seen;
use super::upload::Upload;
use crate::context::Context;
use crate::downstream::Entrance;
use crate::error::Failure;
use crate::http1::body::{self, HEADROOM, Incoming, Outgoing};
use crate::http1::edit;
use crate::http1::framing::Framing;
use crate::http1::head::{ResponseHead, with_response};
use crate::http1::render::{self, Persistence, ResponseFraming};
use crate::http1::scan::{HeadScanner, Scan};
use crate::io::{Millis, ReadHalf, WriteHalf};
use crate::limits::{BLOCK_BYTES, CONTINUE_MS, INTERIM_RESPONSES_MAX, RESPONSE_BUFFER_BYTES};
use crate::mirror::tee::Tee;
use crate::plan::Forward;

/// Under which terms an answer is relayed.
pub(super) struct Terms<'a> {
    pub(super) config: &'a Config,
    pub(super) facts: Facts,
    /// The client's connection may carry another request.
    pub(super) may_keep: bool,
    /// What the client came in by, which may close meanwhile.
    pub(super) entrance: &'a Entrance,
    /// When the whole exchange has to be over.
    pub(super) deadline_ms: u64,
    /// For this try's answer to begin.
    pub(super) try_timeout: Option<Millis>,
    /// Answers of some statuses are not wanted while the request can be sent again.
    pub(super) retry: Option<&'a Forward>,
    /// Changes to the answer's fields, one after the other.
    pub(super) edits: [Option<&'a HeaderEdits>; 2],
    /// What is seen of the answer on the way.
    pub(super) seen: &'a Seen,
}

impl Terms<'_> {
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
    /// The primary's connection ended its message exactly at the last byte read, and may serve another request.
    pub(super) reusable: bool,
    /// It declared content that it must not have: that may come yet.
    pub(super) withheld: bool,
    /// The primary still reads.
    pub(super) upstream_keeps: bool,
    pub(super) keep_client: bool,
}

/// Why an answer could not be relayed to its end.
pub(super) enum RelayFailed {
    /// Not one byte of an answer came.
    NoAnswer(Failure),
    /// An answer came that cannot be passed on; the client has seen none of it.
    BadAnswer(Failure),
    /// The answer's status asks for another try; the client has seen none of it.
    Unwanted(u16),
    /// It broke after the client had its head.
    Cut(Failure),
    /// The exchange's deadline passed after the client had its head: nobody can say whose fault that is.
    Late,
    ClientGone,
}

/// What the final head of an answer decided.
struct Final {
    status: u16,
    incoming: Incoming,
    outgoing: Outgoing,
    upstream_keeps: bool,
    withheld: bool,
    keep_client: bool,
    close_delimited: bool,
}

enum Parsed {
    Interim,
    Unwanted(u16),
    Final(Final),
}

/// Reads the primary's answer and writes it to the client: interim answers as they come, then the head with the content
/// that arrived with it in one write, then the rest block by block.
pub(super) async fn relay(
    cx: &Rc<Context>,
    to: &mut WriteHalf,
    from: &mut ReadHalf,
    terms: &Terms<'_>,
    upload: &Upload,
    tee: &RefCell<Tee>,
) -> Result<Relayed, RelayFailed> {
    let timeouts = &terms.config.timeouts;
    let facts = &terms.facts;
    let answer_within =
        terms.try_timeout.map_or(u64::MAX, |t| t.0).min(Millis::from(timeouts.response_head).0);
    let mut continued = false;
    if facts.expects_continue && !upload.complete.get() {
        let patience = terms.bound(Millis(CONTINUE_MS), cx.now_ms());
        let is_silent = !from.is_readable_within(patience.0).await;
        let has_time = patience == Millis(CONTINUE_MS);
        // The primary keeps silent and the client waits: its content may come (RFC 9110 §10.1.1).
        if is_silent && has_time && !upload.complete.get() {
            continued = true;
            let said = b"HTTP/1.1 100 Continue\r\n\r\n".as_slice();
            let (sent, _) = to.write_all_by(said, timeouts.write.into(), terms.deadline_ms).await;
            sent.map_err(|_| RelayFailed::ClientGone)?;
        }
    }

    let mut buf = cx.buffers.medium();
    let mut out = cx.buffers.medium();
    let mut scanner = HeadScanner::default();
    let mut interims = 0;
    upload.answer_within.set(Some(Millis(answer_within)));
    let took_us;
    let bad = |detail| RelayFailed::BadAnswer(Failure::Protocol(detail));
    let mut answer = loop {
        match scanner.scan(&buf) {
            Scan::BareLf => return Err(bad("primary sent a bare LF")),
            Scan::Partial if buf.len() > terms.config.limits.response_head_bytes_max => {
                return Err(bad("primary's response head is too large"));
            }
            Scan::Partial => {
                // While the upload runs, the primary may take its time: its answer is due after the request's last byte,
                // and then all of its head, however it drips.
                let now = cx.now_ms();
                let within = if upload.complete.get() {
                    Millis(answer_within).until(upload.forwarded_ms.get().saturating_add(answer_within), now)
                } else {
                    Millis::FOREVER
                };
                let (result, filled) = from.read(buf, RESPONSE_BUFFER_BYTES, terms.bound(within, now)).await;
                buf = filled;
                let failure = match result {
                    Ok(0) => Failure::Closed,
                    Ok(_) => continue,
                    Err(error) => Failure::of(&error),
                };
                let nothing_came = buf.is_empty() && interims == 0;
                return Err(if nothing_came {
                    RelayFailed::NoAnswer(failure)
                } else {
                    RelayFailed::BadAnswer(failure)
                });
            }
            Scan::Complete(len) => {
                let fields_max = terms.config.limits.fields_max;
                let parsed = with_response(&buf[..len], fields_max, facts.to_head, |head| {
                    if terms.retry.is_some_and(|forward| forward.retries_status(head.status)) {
                        return Ok(Parsed::Unwanted(head.status));
                    }
                    let drains = cx.draining.get() || terms.entrance.is_draining.get();
                    let may_keep = terms.may_keep && !drains && may_go_on(terms, head, continued, upload);
                    respond(cx, head, terms, may_keep, continued, &mut out)
                });
                match parsed.and_then(|p| p).map_err(bad)? {
                    Parsed::Final(answer) => {
                        took_us = upload.since_forwarded(cx);
                        terms.seen.head(cx, answer.status, &buf[..len], took_us);
                        buf.drain(..len);
                        break answer;
                    }
                    Parsed::Unwanted(status) => return Err(RelayFailed::Unwanted(status)),
                    Parsed::Interim => {
                        buf.drain(..len);
                        interims += 1;
                        if interims > INTERIM_RESPONSES_MAX {
                            return Err(bad("primary sent too many interim responses"));
                        }
                        if !out.is_empty() {
                            // Nothing of ours may come in between.
                            upload.answering.set(true);
                            let (sent, back) =
                                to.write_all_by(out, timeouts.write.into(), terms.deadline_ms).await;
                            out = back;
                            out.clear();
                            sent.map_err(|_| RelayFailed::ClientGone)?;
                            // It is whole: a refusal may follow it (RFC 9110 §15.2).
                            upload.answering.set(false);
                        }
                    }
                }
            }
        }
    };

    // What arrived with the head goes out with it; a malformed beginning is refused before the client sees any of it.
    let used =
        body::copy(&buf, &mut answer.incoming, answer.outgoing, &mut out, |piece| terms.seen.content(piece))
            .map_err(|_| bad("primary sent malformed chunks"))?;
    let mut excess = used < buf.len();
    cx.buffers.give(buf);
    upload.answering.set(true);
    upload.answer_within.set(None);
    upload.close_delimited.set(answer.close_delimited);
    if answer.close_delimited {
        // Until its end is known, whatever ends it (a drain, a panic) must not look like the end.
        to.reset_on_close(true);
    }
    let asked_us = if answer.incoming.is_done() { 0 } else { cx.now_us() };
    let (sent, out) = to.write_all_by(out, timeouts.write.into(), terms.deadline_ms).await;
    cx.buffers.give(out);
    tee.borrow_mut().answered(answer.status, Duration::from_micros(took_us), cx.now_ms());
    sent.map_err(|_| RelayFailed::ClientGone)?;

    if !answer.incoming.is_done() {
        terms.seen.wrote(cx.now_us() - asked_us);
        excess |= Box::pin(relay_content(cx, to, from, terms, upload, &mut answer)).await?;
    }
    if answer.close_delimited {
        to.reset_on_close(false);
    }
    Ok(Relayed {
        status: answer.status,
        // An answer that was over before the request was: what the primary makes of the rest is unknown, so its
        // connection serves nobody else (RFC 9112 §9.3; an early answer is how requests are smuggled).
        reusable: answer.upstream_keeps && !excess && upload.complete.get(),
        withheld: answer.withheld,
        upstream_keeps: answer.upstream_keeps && !excess,
        keep_client: answer.keep_client,
    })
}

/// Whether the client's connection may go on behind an answer that comes now. While the upload still runs: if its rest
/// will be taken in.
fn may_go_on(terms: &Terms<'_>, head: &ResponseHead<'_, '_>, continued: bool, upload: &Upload) -> bool {
    if upload.complete.get() {
        return true;
    }
    // A client whose leave to continue never came may send its content or may not: nobody could tell.
    let waits = terms.facts.expects_continue && !continued;
    let primary_reads = head.keep_alive && head.framing != Framing::UntilClose;
    let drain_max = terms.config.limits.drain_bytes_max;
    !waits && primary_reads && drain_max > 0 && upload.rest.get().is_none_or(|n| n <= drain_max)
}

/// Decides what one head of an answer means and renders it for the client.
fn respond(
    cx: &Context,
    head: &ResponseHead<'_, '_>,
    terms: &Terms<'_>,
    may_keep: bool,
    continued: bool,
    out: &mut Vec<u8>,
) -> Result<Parsed, &'static str> {
    let facts = &terms.facts;
    if head.status == 101 {
        return Err("primary switched protocols unasked");
    }
    if head.status < 200 {
        // RFC 9110 §15.2: an HTTP/1.0 client gets no interim answer; one it already had from us is not repeated.
        if facts.minor > 0 && !(head.status == 100 && continued) {
            render::interim(out, head);
        }
        return Ok(Parsed::Interim);
    }
    let (outgoing, framing) = match head.framing {
        Framing::None => (Outgoing::Plain, ResponseFraming::None(head.length)),
        Framing::Length(n) => (Outgoing::Plain, ResponseFraming::Length(n)),
        Framing::Chunked | Framing::UntilClose if facts.minor == 0 => {
            (Outgoing::Plain, ResponseFraming::UntilClose)
        }
        Framing::Chunked | Framing::UntilClose => (Outgoing::Chunked, ResponseFraming::Chunked),
    };
    let close_delimited = framing == ResponseFraming::UntilClose;
    let keep_client = may_keep && !close_delimited;
    let persistence = match (keep_client, facts.minor) {
        (false, _) => Persistence::Close,
        (true, 0) => Persistence::KeepSaid,
        (true, _) => Persistence::Keep,
    };
    render::response(out, head, framing, persistence, cx.date.borrow().as_bytes());
    if terms.edits.iter().any(Option::is_some) {
        let rendered = std::mem::replace(out, cx.buffers.medium());
        edit::response(out, &rendered, terms.edits);
        cx.buffers.give(rendered);
    }
    Ok(Parsed::Final(Final {
        status: head.status,
        incoming: Incoming::new(head.framing),
        outgoing,
        upstream_keeps: head.keep_alive && head.framing != Framing::UntilClose,
        withheld: head.withholds,
        keep_client,
        close_delimited,
    }))
}

/// Streams the rest of an answer's content; says whether bytes came behind its end.
async fn relay_content(
    cx: &Rc<Context>,
    to: &mut WriteHalf,
    from: &mut ReadHalf,
    terms: &Terms<'_>,
    upload: &Upload,
    answer: &mut Final,
) -> Result<bool, RelayFailed> {
    let timeouts = &terms.config.timeouts;
    let mut pace = Pace::new(timeouts.write.into(), terms.config.limits.response_bytes_per_second_min);
    let mut block = cx.buffers.block();
    let mut excess = Vec::new();
    while !answer.incoming.is_done() {
        if terms.is_late(cx.now_ms()) {
            return Err(RelayFailed::Late);
        }
        block.clear();
        block.resize(HEADROOM, 0);
        let (result, filled) =
            from.read(block, BLOCK_BYTES, terms.bound(timeouts.response_body.into(), cx.now_ms())).await;
        block = filled;
        let write_from = match result {
            Ok(0) if answer.incoming.ends_at_close() => {
                block.clear();
                body::end_at_close(&mut answer.incoming, answer.outgoing, &mut block);
                0
            }
            Ok(0) => return Err(RelayFailed::Cut(Failure::Closed)),
            Ok(_) => {
                let placed = body::transform(&mut block, &mut answer.incoming, answer.outgoing, &mut excess)
                    .map_err(|_| RelayFailed::Cut(Failure::Protocol("malformed chunk")))?;
                terms.seen.content(&block[placed.content_from..placed.content_to]);
                placed.write_from
            }
            Err(_) if terms.is_late(cx.now_ms()) => return Err(RelayFailed::Late),
            Err(error) => return Err(RelayFailed::Cut(Failure::of(&error))),
        };
        if answer.incoming.is_done() {
            terms.seen.latency_us.set(upload.since_forwarded(cx));
        }
        let end = block.len();
        let (mut at, asked_us) = (write_from, cx.now_us());
        // Each part anew: whoever takes little at a time is no less slow.
        while at < end {
            let asked_ms = cx.now_ms();
            let patience = terms.bound(pace.patience(timeouts.write.into()), asked_ms);
            let (sent, back) = to.write_some(block, at, end, patience).await;
            block = back;
            let n = sent.map_err(|_| RelayFailed::ClientGone)?;
            pace.took(cx.now_ms() - asked_ms, n);
            at += n;
        }
        if !answer.incoming.is_done() {
            terms.seen.wrote(cx.now_us() - asked_us);
        }
    }
    cx.buffers.give(block);
    Ok(!excess.is_empty())
}
