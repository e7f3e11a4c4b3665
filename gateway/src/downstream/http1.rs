//! A client connection on which HTTP/1.1 is spoken: read a head, run its exchange, again until one side is done.
//!
//! Knows when a connection may be kept and how to say no; the request itself is `exchange`'s business.

use std::rc::Rc;

use config::Limits;

use super::Client;
use super::watch::{Reply, Watch};
use crate::context::Context;
use crate::exchange::{self, Outcome, Refusal, Said};
use crate::http1::head::{Fault, may_start_request};
use crate::http1::render::Persistence;
use crate::http1::reply::{self, Manner};
use crate::http1::scan::{HeadScanner, Scan};
use crate::io::Idle;
use crate::limits::{DRAIN_IDLE_MS, HEAD_BUFFER_BYTES, LINGER_MS, PARK_MS, REQUEST_READ_BYTES};
use crate::message::http1::{Facts, Worker};
use crate::message::server::Message;
use crate::metrics::RejectReason;
use crate::observe::pairing::Pairing;
use crate::time::Millis;

/// Serves the connection until it ends. While it is idle it costs a small task and no buffer.
///
/// Borrows the client: moved in, it would be held once more in every idle connection.
pub(super) async fn serve(cx: &Rc<Context>, client: &mut Client) {
    // Boxed for as long as requests come: the busy part is large, and most connections are idle most of the time.
    while Box::pin(serve_busy(cx, client)).await == Rest::Idle {
        let within = idle_within(cx, client);
        if client.stream.r.readable_idle(within).await.is_err() {
            return;
        }
    }
}

/// How much longer the next request is waited for. An empty line is none, so it does not begin the wait anew.
fn idle_within(cx: &Context, client: &mut Client) -> Millis {
    if client.is_draining(cx) {
        return Millis(DRAIN_IDLE_MS);
    }
    let (now, idle) = (cx.now_ms(), Millis::from(cx.generation().config.timeouts.client_idle));
    let end = *client.idle_until_ms.get_or_insert_with(|| now.saturating_add(idle.0));
    idle.until(end, now)
}

/// Why a connection's busy time ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// No request came for a while; the connection lives on.
    Idle,
    Ended,
}

/// Serves requests for as long as they keep coming.
async fn serve_busy(cx: &Rc<Context>, client: &mut Client) -> Rest {
    loop {
        let head_len = match read_head(cx, client).await {
            Ok(len) => len,
            Err(NoHead::Ended) => return Rest::Ended,
            Err(NoHead::Idle) => return Rest::Idle,
            Err(NoHead::Refused(fault)) => {
                cx.shard.unrouted.inc(fault.status);
                let mut watch = Watch::begin(cx);
                watch.pairing = exchange::unread(cx, &client.peer.caller(false), &client.inbox);
                let said = turn_away(cx, client, &Refusal::hang_up(fault)).await;
                watch.refused(cx, fault.status, Some(fault.reject), 0, said);
                return Rest::Ended;
            }
        };
        client.served += 1;
        (client.idle_until_ms, client.has_skipped_line) = (None, false);
        let mut watch = Watch::begin(cx);
        let prepared = {
            let Client { inbox, peer, .. } = client;
            let caller = peer.caller(false);
            let (head, behind) = inbox.split_at_mut(head_len);
            exchange::prepare(cx, &caller, head, behind.len())
        };
        let mut request = match prepared {
            Ok(request) => request,
            Err((refusal, pairing)) => {
                // The connection may go on behind a head that was understood.
                client.consume(head_len);
                match turn_down(cx, client, watch, &refusal, pairing).await {
                    true => continue,
                    false => return Rest::Ended,
                }
            }
        };
        let asks_for_tunnel = request.asks_for_tunnel();
        let facts = Facts {
            head_bytes: head_len,
            declared: request.declared,
            minor: request.facts.minor,
            may_keep: request.facts.keep_alive && !asks_for_tunnel && may_go_on(cx, client),
            is_draining: &client.listener.is_draining,
        };
        let worker = Worker { buffers: &cx.buffers, date: &cx.date, draining: &cx.draining };
        let mut message = Message::http1(worker, &mut client.stream, &mut client.inbox, facts);
        if let Err((refusal, pairing)) = exchange::take_arrived(&mut request, &mut message.content) {
            drop(request);
            turn_down(cx, client, watch, &refusal, pairing).await;
            return Rest::Ended;
        }
        watch.pairing = request.pairing.get().filter(|pairing| pairing.is_recorded()).cloned();
        let outcome = exchange::run(cx, &mut message, &mut request).await;
        let keeps = message.responder.keeps();
        let counters = &request.generation.counters.routes[request.route];
        match outcome {
            Outcome::Answered { status, is_forwarded } => {
                let duration_us = watch.answered(cx, status, request.bytes(), request.response_bytes);
                request.answered(status, duration_us);
                // The client may have sent more, and closing upon that resets the connection, response and all (RFC 9112 §9.6).
                let is_heard = || request.response_bytes <= HEARD_BYTES && client.stream.is_quiet();
                let next = match (is_forwarded, keeps) {
                    (true, true) => Next::Request,
                    // The client said so too, and has sent nothing more.
                    (true, false) if !request.facts.keep_alive && is_heard() => Next::Close,
                    (true | false, _) => Next::Linger,
                };
                drop(request);
                match next {
                    Next::Request => {}
                    Next::Close => return Rest::Ended,
                    Next::Linger => {
                        linger(cx, client).await;
                        return Rest::Ended;
                    }
                }
            }
            Outcome::Switched(tunnel) => {
                counters.requests.inc(101);
                // Its place among those under way is free, and its configuration may go.
                drop(request);
                let passed = Box::pin(tunnel.run(cx, message)).await;
                watch.tunnelled(cx, passed);
                return Rest::Ended;
            }
            Outcome::Refused(mut refusal) => {
                // The bytes behind the head of one that wanted a tunnel are no request.
                refusal.keep &= !asks_for_tunnel;
                request.refused(refusal.status());
                // Its place among those under way is free: its client may linger.
                let bytes = request.bytes();
                drop(request);
                let said = refuse(cx, client, &refusal).await;
                watch.refused(cx, refusal.status(), refusal.reject(), bytes, said);
                if !said.is_kept {
                    return Rest::Ended;
                }
            }
            Outcome::Broken => {
                counters.aborted.inc();
                watch.broken(cx, request.bytes(), request.response_bytes);
                return Rest::Ended;
            }
        }
    }
}

/// A response with as little content as this is in the socket's buffer whole when its last byte is written.
const HEARD_BYTES: u64 = 64 * 1024;

/// Whether the connection may carry another request after this one, as far as it knows itself.
fn may_go_on(cx: &Context, client: &Client) -> bool {
    let generation = cx.generation();
    let limits = &generation.config.limits;
    !client.is_draining(cx)
        && client.served < limits.requests_per_connection_max
        && !client.age.is_over(limits.connection_age_max, cx.now_ms())
}

/// Answers a request that no route's counters know; says whether the connection goes on.
async fn turn_down(
    cx: &Rc<Context>,
    client: &mut Client,
    mut watch: Watch,
    refusal: &Refusal,
    pairing: Option<Rc<Pairing>>,
) -> bool {
    cx.shard.unrouted.inc(refusal.status());
    watch.pairing = pairing;
    let said = refuse(cx, client, refusal).await;
    watch.refused(cx, refusal.status(), refusal.reject(), 0, said);
    said.is_kept
}

/// The connection's future after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Request,
    Close,
    /// The client may still be sending: read on a little so that it can read the answer.
    Linger,
}

enum NoHead {
    Ended,
    Idle,
    Refused(Fault),
}

/// Reads until the inbox starts with a complete head; returns its length.
async fn read_head(cx: &Rc<Context>, client: &mut Client) -> Result<usize, NoHead> {
    let generation = cx.generation();
    let config = &generation.config;
    let limits = &config.limits;
    let mut scanner = HeadScanner::default();
    let mut deadline_ms = None;
    loop {
        // RFC 9112 §2.2: one empty line before a request is passed over, as some clients send it after content.
        if !client.has_skipped_line && client.inbox.starts_with(b"\r\n") {
            client.consume(2);
            client.has_skipped_line = true;
        }
        let inbox = &client.inbox;
        let is_start_of_empty_line = !client.has_skipped_line && inbox.as_slice() == b"\r";
        if let Some(first) = inbox.first()
            && !is_start_of_empty_line
        {
            if !may_start_request(*first) || *first == b'\r' {
                // A handshake's record (RFC 8446 §5.1): worth a word of its own, for it is a configuration that is wrong.
                return Err(NoHead::Refused(if *first == 0x16 {
                    Fault::new(400, RejectReason::NotPlaintext, "TLS, and this listener has none")
                } else {
                    Fault::bad("not an HTTP request")
                }));
            }
            match scanner.scan(inbox) {
                Scan::Complete(len) if len <= limits.request_head_bytes_max => return Ok(len),
                Scan::BareLf => return Err(NoHead::Refused(Fault::bad("line ends with a bare LF"))),
                Scan::Complete(_) => return Err(NoHead::Refused(too_large(limits, inbox))),
                Scan::Partial if inbox.len() > limits.request_head_bytes_max => {
                    return Err(NoHead::Refused(too_large(limits, inbox)));
                }
                Scan::Partial => {}
            }
        }
        let inbox = std::mem::take(&mut client.inbox);
        let result = if inbox.is_empty() {
            let inbox = if inbox.capacity() == 0 { cx.buffers.medium() } else { inbox };
            let within = idle_within(cx, client);
            let (result, inbox) =
                client.stream.r.read_idle(inbox, REQUEST_READ_BYTES, within, Millis(PARK_MS)).await;
            match result {
                Ok(Idle::Parked) => {
                    cx.buffers.give(inbox);
                    return Err(NoHead::Idle);
                }
                Ok(Idle::Read(n)) => {
                    client.inbox = inbox;
                    Ok(n)
                }
                // No byte of a request came: there is no request to answer.
                Err(_) => return Err(NoHead::Ended),
            }
        } else {
            // The whole head has one deadline: bytes that drip in do not extend it.
            let now = cx.now_ms();
            let end = *deadline_ms.get_or_insert_with(|| now + Millis::from(config.timeouts.request_head).0);
            let (result, inbox) =
                client.stream.r.read(inbox, REQUEST_READ_BYTES, Millis(end.saturating_sub(now))).await;
            client.inbox = inbox;
            result
        };
        match result {
            Ok(0) => return Err(NoHead::Ended),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                return Err(NoHead::Refused(Fault::new(
                    408,
                    RejectReason::HeadTimeout,
                    "request head took too long",
                )));
            }
            Err(_) => return Err(NoHead::Ended),
        }
    }
}

/// The fault of the head limit that was exceeded.
fn too_large(limits: &Limits, inbox: &[u8]) -> Fault {
    if HeadScanner::first_line_len(inbox) > limits.request_line_bytes_max {
        Fault::new(414, RejectReason::UriTooLong, "request line too long")
    } else {
        Fault::new(431, RejectReason::HeadTooLarge, "request head too large")
    }
}

/// Answers a refusal, after which the connection goes on where it can.
async fn refuse(cx: &Rc<Context>, client: &mut Client, refusal: &Refusal) -> Reply {
    if !refusal.keep || !may_go_on(cx, client) {
        return turn_away(cx, client, refusal).await;
    }
    say(cx, client, refusal, if refusal.minor == 0 { Persistence::KeepSaid } else { Persistence::Keep }).await
}

/// Answers a refusal and ends the connection in a way that lets the client read the answer.
async fn turn_away(cx: &Rc<Context>, client: &mut Client, refusal: &Refusal) -> Reply {
    let reply = say(cx, client, refusal, Persistence::Close).await;
    if reply.is_sent {
        linger(cx, client).await;
    }
    Reply { is_kept: false, ..reply }
}

async fn say(cx: &Rc<Context>, client: &mut Client, refusal: &Refusal, persistence: Persistence) -> Reply {
    let write_ms = cx.generation().config.timeouts.write.into();
    let mut out = cx.buffers.small();
    let date = cx.date.borrow().clone();
    let how = Manner { to_head: refusal.to_head, persistence, date: date.as_bytes() };
    match &refusal.said {
        Said::Fault(Fault { status, reject, detail }) => {
            cx.shard.rejected.inc(*reject);
            reply::fault(&mut out, *status, detail, &how);
        }
        Said::Given(answer) => reply::given(&mut out, answer, &how),
    }
    let head_bytes = memchr::memmem::find(&out, b"\r\n\r\n").map_or(out.len(), |at| at + 4);
    let bytes = (out.len() - head_bytes) as u64;
    let (sent, out) = client.stream.w.write_all(out, write_ms).await;
    cx.buffers.give(out);
    Reply { is_kept: sent.is_ok(), is_sent: sent.is_ok(), bytes }
}

/// Ends our side and reads on for a moment: closing with unread bytes would reset the connection, and the reset could
/// overtake the answer.
async fn linger(cx: &Rc<Context>, client: &mut Client) {
    let (write_ms, mut left) = {
        let config = &cx.generation().config;
        (config.timeouts.write.into(), config.limits.drain_bytes_max)
    };
    client.stream.w.finish(write_ms).await;
    let end = cx.now_ms() + LINGER_MS;
    let mut inbox = std::mem::take(&mut client.inbox);
    if inbox.capacity() == 0 {
        inbox = cx.buffers.small();
    }
    while cx.now_ms() < end {
        inbox.clear();
        let left_ms = Millis(end.saturating_sub(cx.now_ms()));
        let (result, filled) = client.stream.r.discard(inbox, HEAD_BUFFER_BYTES, left_ms).await;
        inbox = filled;
        match result {
            Ok(n) if n > 0 && n as u64 <= left => left -= n as u64,
            Ok(_) | Err(_) => break,
        }
    }
    cx.buffers.give(inbox);
}
