//! One request and its response: prepared, forwarded to the primary, relayed to the client, its copy taken on the way.
//!
//! Read this first. `prepare` decides everything that can be decided at once, without waiting; `run` does the waiting.
//! Nothing in here waits for a mirror: the tee's methods are plain functions that return nothing.

use std::cell::Cell;
use std::rc::Rc;

use crate::asked::Asked;
use crate::context::Context;
use crate::downstream::Client;
use crate::downstream::connection::Next;
use crate::error::Failure;
use crate::http1::body::{self, HEADROOM, Incoming, Outgoing};
use crate::http1::framing::Framing;
use crate::http1::head::{Fault, HeadLimits, Method, RequestHead, ResponseHead, with_request, with_response};
use crate::http1::render::{self, Forwarding, Persistence, ResponseFraming};
use crate::http1::scan::{HeadScanner, Scan};
use crate::io::{Millis, ReadHalf, Stream, WriteHalf};
use crate::limits::{BLOCK_BYTES, CONTINUE_MS, INTERIM_RESPONSES_MAX, LINGER_MS, RESPONSE_BUFFER_BYTES};
use crate::metrics::{Reject, Skip, UpstreamFailure};
use crate::mirror::sample::Draw;
use crate::mirror::tee::{Source, Tee};
use crate::route::Found;
use crate::task::{Until, until};

/// A request ready to be forwarded.
pub struct Request {
    /// Index of its route.
    pub route: usize,
    /// Head for the primary and as much of the content as had arrived.
    head: Vec<u8>,
    incoming: Incoming,
    outgoing: Outgoing,
    tee: Tee,
    /// Bytes of content the limit still allows.
    content_left: u64,
    facts: Facts,
}

const TOO_LARGE: Fault = Fault::new(413, Reject::BodyTooLarge, "request content too large");

/// What has to be remembered of a request's head.
#[derive(Debug, Clone, Copy)]
struct Facts {
    minor: u8,
    to_head: bool,
    /// May be sent again if its connection broke.
    is_idempotent: bool,
    expects_continue: bool,
    /// The client wants the connection kept.
    keep_alive: bool,
}

/// How an exchange ended.
pub enum Outcome {
    /// The client got the primary's whole answer.
    Answered { status: u16, next: Next },
    /// The client got nothing yet; the gateway answers by itself.
    Refused(Refusal),
    /// The answer was cut. `reset` where a plain close would make the cut look like the end.
    Broken { reset: bool },
}

/// An answer of the gateway's own.
#[derive(Debug)]
pub struct Refusal {
    pub fault: Fault,
    pub to_head: bool,
    /// The connection may go on: the client asked for it and nothing of the request is unread.
    pub keep: bool,
    pub minor: u8,
}

impl Refusal {
    /// A refusal after which the connection cannot be used.
    pub fn hang_up(fault: Fault) -> Self {
        Self { fault, to_head: false, keep: false, minor: 1 }
    }
}

/// Parses, routes and renders the request whose head fills the first `head_len` bytes of the client's inbox.
pub fn prepare(cx: &Context, client: &mut Client, head_len: usize) -> Result<Request, Refusal> {
    let limits = &cx.config.limits;
    let head_limits =
        HeadLimits { line_bytes_max: limits.request_line_bytes_max, fields_max: limits.fields_max };
    let Client { inbox, address, port, .. } = client;
    let (head_bytes, behind) = inbox.split_at_mut(head_len);
    let routed = with_request(head_bytes, head_limits, |head| {
        route(cx, head, (address.as_bytes(), *port), behind.len())
    })
    .unwrap_or_else(|fault| Err(Refusal::hang_up(fault)));
    let mut request = match routed {
        Ok(request) => request,
        Err(refusal) => {
            // The connection may go on behind a head that was understood.
            client.consume(head_len);
            return Err(refusal);
        }
    };

    let (tee, mut content_bytes) = (&mut request.tee, 0);
    let copied = body::copy(behind, &mut request.incoming, request.outgoing, &mut request.head, |content| {
        content_bytes += content.len() as u64;
        tee.copy(content);
    });
    let used = copied.map_err(|_| Refusal::hang_up(Fault::bad("malformed chunked content")))?;
    request.content_left =
        request.content_left.checked_sub(content_bytes).ok_or_else(|| Refusal::hang_up(TOO_LARGE))?;
    client.consume(head_len + used);
    Ok(request)
}

fn route(
    cx: &Context,
    head: &RequestHead<'_, '_>,
    (client_address, port): (&[u8], u16),
    bytes_behind: usize,
) -> Result<Request, Refusal> {
    if cx.panic_on_request && head.path() == b"/__panic" {
        // invariant: only reachable in debug builds started with the test's environment variable.
        panic!("asked to by the test");
    }
    let facts = Facts {
        minor: head.minor,
        to_head: head.method == Method::Head,
        is_idempotent: head.method.is_idempotent(),
        expects_continue: head.expects_continue,
        keep_alive: head.keep_alive,
    };
    let refuse = |fault| {
        let keep = head.keep_alive && head.framing == Framing::None;
        Refusal { fault, to_head: facts.to_head, keep, minor: head.minor }
    };
    let asked = Asked {
        method: head.method_token,
        authority: head.host,
        path: head.path(),
        query: head.query(),
        port,
        address: client_address,
        fields: head,
    };
    let Some(Found { route, .. }) = cx.router.find(&asked) else {
        return Err(refuse(Fault::new(404, Reject::NoRoute, "no route matches")));
    };
    if let (Framing::Length(n), Some(max)) = (head.framing, cx.config.limits.request_body_bytes_max)
        && n > max
    {
        return Err(refuse(TOO_LARGE));
    }
    let primary = primary_of(&cx.config.routes[route]);
    let request_id = cx.request_id();
    let add = Forwarding {
        client: client_address,
        proto: b"http",
        request_id: &request_id,
        trust: cx.config.forwarded == config::Forwarded::Append,
        host_if_none: cx.config.upstreams[primary].name.as_bytes(),
    };
    let mut out = cx.buffers.with_room(cx.config.limits.request_line_bytes_max.min(1024) + bytes_behind);
    let at = render::request(&mut out, head, &add);
    let expects_content = matches!(head.method, Method::Post | Method::Put) || head.method_token == b"PATCH";
    let source = Source {
        head: &out,
        at: &at,
        framing: head.framing,
        to_head: facts.to_head,
        expects_content,
        is_copy: head.is_copy,
        worker_busy: cx.busy.get(),
        now_ms: cx.now_ms(),
    };
    let tee = match &cx.policies[route] {
        policies if policies.is_empty() => Tee::default(),
        policies => Tee::begin(policies, Draw::of(&cx.random), &source, &cx.buffers),
    };
    render::end_request(&mut out, head.framing, expects_content, facts.expects_continue);
    let outgoing = if head.framing == Framing::Chunked { Outgoing::Chunked } else { Outgoing::Plain };
    let content_left = cx.config.limits.request_body_bytes_max.unwrap_or(u64::MAX);
    Ok(Request {
        route,
        head: out,
        incoming: Incoming::new(head.framing),
        outgoing,
        tee,
        content_left,
        facts,
    })
}

/// Forwards the request and relays the answer.
pub async fn run(cx: &Rc<Context>, client: &mut Client, mut request: Request) -> Outcome {
    let upstream = primary_of(&cx.config.routes[request.route]);
    let counters = cx.upstreams.counters(upstream);
    let facts = request.facts;
    // All of it is in `head`: it can be sent again as it is.
    let is_whole = request.incoming.is_done();
    let mut may_retry = true;
    let mut fresh = false;
    loop {
        let mut lease = match cx.upstreams.checkout(upstream, fresh).await {
            Ok(lease) => lease,
            Err(failure) => {
                request.tee.skip(Skip::PrimaryUnavailable);
                cx.buffers.give(request.head);
                return refused(&facts, failure.fault(), is_whole);
            }
        };
        // A kept connection may be closing just now. What it did not see, or may see twice, is sent once more on a new one.
        may_retry &= lease.reused;
        let Some(up) = lease.stream() else { continue };

        let write_ms = cx.config.timeouts.write.into();
        let (sent, head) = up.w.write_all(request.head, write_ms).await;
        request.head = head;
        if let Err(failed) = sent {
            let failure = Failure::of(&failed.error);
            if may_retry && (facts.is_idempotent || !failed.any_sent) {
                counters.failures.inc(UpstreamFailure::Stale);
                counters.retries.inc();
                (may_retry, fresh) = (false, true);
                continue;
            }
            counters.failures.inc(failure.on_primary());
            request.tee.skip(Skip::PrimaryUnavailable);
            cx.buffers.give(request.head);
            return refused(&facts, failure.fault(), is_whole);
        }

        let (relayed, upload) = if is_whole {
            request.tee.complete(request.incoming.trailers(), cx.now_ms());
            let upload = Upload::default();
            upload.complete.set(true);
            let may_keep = may_keep(cx, client, &facts);
            let relayed = relay(cx, &mut client.stream.w, &mut up.r, &facts, may_keep, &upload).await;
            (relayed, upload)
        } else {
            // Boxed because it is large and rare: idle connections must not carry its size.
            match Box::pin(duplex(cx, client, up, &mut request)).await {
                Ok(both) => both,
                Err(outcome) => {
                    cx.buffers.give(request.head);
                    return outcome;
                }
            }
        };
        if let Err(RelayFailed::NoAnswer(Failure::Closed | Failure::Reset)) = relayed
            && may_retry
            && is_whole
            && facts.is_idempotent
        {
            counters.failures.inc(UpstreamFailure::Stale);
            counters.retries.inc();
            (may_retry, fresh) = (false, true);
            continue;
        }
        cx.buffers.give(request.head);
        let complete = upload.complete.get();
        return match relayed {
            Ok(answer) => {
                if answer.reusable {
                    lease.put_back();
                }
                let next = match (complete, answer.keep_client) {
                    (true, true) => Next::Request,
                    // The client said so too, and sends nothing more.
                    (true, false) if !facts.keep_alive => Next::Close,
                    // We decided: the client may have sent more already (RFC 9112 §9.6).
                    (true | false, _) => Next::Linger,
                };
                Outcome::Answered { status: answer.status, next }
            }
            Err(RelayFailed::NoAnswer(failure) | RelayFailed::BadAnswer(failure)) => {
                counters.failures.inc(failure.on_primary());
                refused(&facts, failure.fault(), complete)
            }
            Err(RelayFailed::Cut(failure)) => {
                counters.failures.inc(failure.on_primary());
                Outcome::Broken { reset: upload.close_delimited.get() }
            }
            Err(RelayFailed::ClientGone) => Outcome::Broken { reset: upload.close_delimited.get() },
        };
    }
}

fn primary_of(route: &config::Route) -> config::UpstreamId {
    route.upstreams().next().unwrap_or_default()
}

fn refused(facts: &Facts, fault: Fault, request_is_read: bool) -> Outcome {
    let keep = facts.keep_alive && request_is_read;
    Outcome::Refused(Refusal { fault, to_head: facts.to_head, keep, minor: facts.minor })
}

/// Whether the client's connection may carry another request after this one.
fn may_keep(cx: &Context, client: &Client, facts: &Facts) -> bool {
    facts.keep_alive && !cx.draining.get() && client.served < cx.config.limits.requests_per_connection_max
}

/// What the two directions of one exchange tell each other.
#[derive(Debug, Default)]
struct Upload {
    /// The whole request has been written to the primary.
    complete: Cell<bool>,
    /// The client has been sent the first byte of an answer.
    answering: Cell<bool>,
    /// Bytes of content not read yet, where the client declared them.
    rest: Cell<Option<u64>>,
    /// The answer is over: the rest of the upload has until then.
    end_by_ms: Cell<Option<u64>>,
    /// That answer ends with its connection: a plain close would make a cut look like the end.
    close_delimited: Cell<bool>,
}

/// Streams the rest of the request while the answer may already come.
async fn duplex(
    cx: &Rc<Context>,
    client: &mut Client,
    up: &mut Stream,
    request: &mut Request,
) -> Result<(Result<Relayed, RelayFailed>, Upload), Outcome> {
    let facts = request.facts;
    let may_keep = may_keep(cx, client, &facts);
    let Client { stream, inbox, .. } = client;
    let upload = Upload::default();
    upload.rest.set(request.incoming.bytes_expected());
    let forwarding = forward(cx, &mut stream.r, inbox, &mut up.w, request, &upload);
    let relaying = async {
        let relayed = relay(cx, &mut stream.w, &mut up.r, &facts, may_keep, &upload).await;
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
            request.tee.skip(Skip::Aborted);
            Ok((relayed, upload))
        }
        Until::Stopped(Err(ForwardFailed::Client(Some(fault)))) if !upload.answering.get() => {
            request.tee.skip(Skip::Aborted);
            Err(refused(&facts, fault, false))
        }
        Until::Stopped(_) => {
            request.tee.skip(Skip::Aborted);
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

/// Streams the request's content from the client to the primary, block by block, each block copied to the tee.
async fn forward(
    cx: &Rc<Context>,
    from: &mut ReadHalf,
    inbox: &mut Vec<u8>,
    to: &mut WriteHalf,
    request: &mut Request,
    upload: &Upload,
) -> Result<(), ForwardFailed> {
    let timeouts = &cx.config.timeouts;
    let Request { incoming, outgoing, tee, content_left, .. } = request;
    let mut block = cx.buffers.block();
    // What may still come behind an answer that is over.
    let mut rest_left = cx.config.limits.drain_bytes_max;
    while !incoming.is_done() {
        let within = match upload.end_by_ms.get() {
            Some(end) if rest_left > 0 && cx.now_ms() < end => Millis(end - cx.now_ms()),
            Some(_) => return Err(ForwardFailed::Client(None)),
            None => timeouts.request_body.into(),
        };
        block.clear();
        block.resize(HEADROOM, 0);
        let (result, filled) = from.read(block, BLOCK_BYTES, within).await;
        block = filled;
        match result {
            Ok(0) => return Err(ForwardFailed::Client(None)),
            Ok(n) if upload.end_by_ms.get().is_some() => rest_left = rest_left.saturating_sub(n as u64),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                return Err(ForwardFailed::Client(Some(Fault::new(
                    408,
                    Reject::BodyTimeout,
                    "request content took too long",
                ))));
            }
            Err(_) => return Err(ForwardFailed::Client(None)),
        }
        let placed = body::transform(&mut block, incoming, *outgoing, inbox)
            .map_err(|_| ForwardFailed::Client(Some(Fault::bad("malformed chunked content"))))?;
        upload.rest.set(incoming.bytes_expected());
        let content = placed.content_from..placed.content_to;
        *content_left =
            content_left.checked_sub(content.len() as u64).ok_or(ForwardFailed::Client(Some(TOO_LARGE)))?;
        let end = block.len();
        let sent = if tee.is_active() && content.len() >= crate::limits::SHARE_MIN_BYTES {
            let pinned = block.capacity();
            let shared = cx.buffers.share(block);
            tee.share(&shared.slice(content), pinned);
            block = cx.buffers.block();
            to.write_range(shared, placed.write_from, end, timeouts.write.into()).await.0
        } else {
            if tee.is_active() {
                tee.copy(&block[content]);
            }
            let (sent, back) = to.write_range(block, placed.write_from, end, timeouts.write.into()).await;
            block = back;
            sent
        };
        if sent.is_err() {
            to.limit_pending_read(timeouts.response_head.into());
            return Err(ForwardFailed::Primary);
        }
    }
    cx.buffers.give(block);
    upload.complete.set(true);
    tee.complete(incoming.trailers(), cx.now_ms());
    to.limit_pending_read(timeouts.response_head.into());
    Ok(())
}

/// An answer relayed to its end.
struct Relayed {
    status: u16,
    /// The primary's connection ended its message exactly at the last byte read, and may serve another request.
    reusable: bool,
    /// The primary still reads.
    upstream_keeps: bool,
    keep_client: bool,
}

/// Why an answer could not be relayed to its end.
enum RelayFailed {
    /// Not one byte of an answer came.
    NoAnswer(Failure),
    /// An answer came that cannot be passed on; the client has seen none of it.
    BadAnswer(Failure),
    /// It broke after the client had its head.
    Cut(Failure),
    ClientGone,
}

/// What the final head of an answer decided.
struct Final {
    status: u16,
    incoming: Incoming,
    outgoing: Outgoing,
    upstream_keeps: bool,
    keep_client: bool,
    close_delimited: bool,
}

enum Parsed {
    Interim,
    Final(Final),
}

/// Reads the primary's answer and writes it to the client: interim answers as they come, then the head with the content
/// that arrived with it in one write, then the rest block by block.
async fn relay(
    cx: &Rc<Context>,
    to: &mut WriteHalf,
    from: &mut ReadHalf,
    facts: &Facts,
    may_keep: bool,
    upload: &Upload,
) -> Result<Relayed, RelayFailed> {
    let timeouts = &cx.config.timeouts;
    let mut continued = false;
    if facts.expects_continue && !upload.complete.get() && !from.is_readable_within(CONTINUE_MS).await {
        // The primary keeps silent and the client waits: its content may come (RFC 9110 §10.1.1).
        continued = true;
        let (sent, _) =
            to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n".as_slice(), timeouts.write.into()).await;
        sent.map_err(|_| RelayFailed::ClientGone)?;
    }

    let mut buf = cx.buffers.medium();
    let mut out = cx.buffers.medium();
    let mut scanner = HeadScanner::default();
    let mut interims = 0;
    let mut due_ms = None;
    let bad = |detail| RelayFailed::BadAnswer(Failure::Protocol(detail));
    let mut answer = loop {
        match scanner.scan(&buf) {
            Scan::BareLf => return Err(bad("primary sent a bare LF")),
            Scan::Partial if buf.len() > cx.config.limits.response_head_bytes_max => {
                return Err(bad("primary's response head is too large"));
            }
            Scan::Partial => {
                // While the upload runs, the primary may take its time: its answer is due after the request's last byte,
                // and then all of its head, however it drips.
                let within = if upload.complete.get() {
                    let now = cx.now_ms();
                    let end = *due_ms.get_or_insert_with(|| now + Millis::from(timeouts.response_head).0);
                    Millis(end.saturating_sub(now))
                } else {
                    Millis::FOREVER
                };
                let (result, filled) = from.read(buf, RESPONSE_BUFFER_BYTES, within).await;
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
                let fields_max = cx.config.limits.fields_max;
                let parsed = with_response(&buf[..len], fields_max, facts.to_head, |head| {
                    let may_keep =
                        may_keep && !cx.draining.get() && may_go_on(cx, head, facts, continued, upload);
                    respond(cx, head, facts, may_keep, continued, &mut out)
                });
                match parsed.and_then(|p| p).map_err(bad)? {
                    Parsed::Final(answer) => {
                        buf.drain(..len);
                        break answer;
                    }
                    Parsed::Interim => {
                        buf.drain(..len);
                        interims += 1;
                        if interims > INTERIM_RESPONSES_MAX {
                            return Err(bad("primary sent too many interim responses"));
                        }
                        if !out.is_empty() {
                            let (sent, back) = to.write_all(out, timeouts.write.into()).await;
                            out = back;
                            out.clear();
                            sent.map_err(|_| RelayFailed::ClientGone)?;
                        }
                    }
                }
            }
        }
    };

    // What arrived with the head goes out with it; a malformed beginning is refused before the client sees any of it.
    let used = body::copy(&buf, &mut answer.incoming, answer.outgoing, &mut out, |_| {})
        .map_err(|_| bad("primary sent malformed chunks"))?;
    let mut excess = used < buf.len();
    cx.buffers.give(buf);
    upload.answering.set(true);
    upload.close_delimited.set(answer.close_delimited);
    let (sent, out) = to.write_all(out, timeouts.write.into()).await;
    cx.buffers.give(out);
    sent.map_err(|_| RelayFailed::ClientGone)?;

    if !answer.incoming.is_done() {
        excess |= Box::pin(relay_content(cx, to, from, &mut answer)).await?;
    }
    Ok(Relayed {
        status: answer.status,
        // An answer that was over before the request was: what the primary makes of the rest is unknown, so its
        // connection serves nobody else (RFC 9112 §9.3; an early answer is how requests are smuggled).
        reusable: answer.upstream_keeps && !excess && upload.complete.get(),
        upstream_keeps: answer.upstream_keeps && !excess,
        keep_client: answer.keep_client,
    })
}

/// Whether the client's connection may go on behind an answer that comes now. While the upload still runs: if its rest
/// will be taken in.
fn may_go_on(
    cx: &Context,
    head: &ResponseHead<'_, '_>,
    facts: &Facts,
    continued: bool,
    upload: &Upload,
) -> bool {
    if upload.complete.get() {
        return true;
    }
    // A client whose leave to continue never came may send its content or may not: nobody could tell.
    let waits = facts.expects_continue && !continued;
    let primary_reads = head.keep_alive && head.framing != Framing::UntilClose;
    let drain_max = cx.config.limits.drain_bytes_max;
    !waits && primary_reads && drain_max > 0 && upload.rest.get().is_none_or(|n| n <= drain_max)
}

/// Decides what one head of an answer means and renders it for the client.
fn respond(
    cx: &Context,
    head: &ResponseHead<'_, '_>,
    facts: &Facts,
    may_keep: bool,
    continued: bool,
    out: &mut Vec<u8>,
) -> Result<Parsed, &'static str> {
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
    Ok(Parsed::Final(Final {
        status: head.status,
        incoming: Incoming::new(head.framing),
        outgoing,
        upstream_keeps: head.keep_alive && head.framing != Framing::UntilClose,
        keep_client,
        close_delimited,
    }))
}

/// Streams the rest of an answer's content; says whether bytes came behind its end.
async fn relay_content(
    cx: &Rc<Context>,
    to: &mut WriteHalf,
    from: &mut ReadHalf,
    answer: &mut Final,
) -> Result<bool, RelayFailed> {
    let timeouts = &cx.config.timeouts;
    let mut block = cx.buffers.block();
    let mut excess = Vec::new();
    while !answer.incoming.is_done() {
        block.clear();
        block.resize(HEADROOM, 0);
        let (result, filled) = from.read(block, BLOCK_BYTES, timeouts.response_body.into()).await;
        block = filled;
        let write_from = match result {
            Ok(0) if answer.incoming.ends_at_close() => {
                block.clear();
                body::end_at_close(&mut answer.incoming, answer.outgoing, &mut block);
                0
            }
            Ok(0) => return Err(RelayFailed::Cut(Failure::Closed)),
            Ok(_) => {
                body::transform(&mut block, &mut answer.incoming, answer.outgoing, &mut excess)
                    .map_err(|_| RelayFailed::Cut(Failure::Protocol("malformed chunk")))?
                    .write_from
            }
            Err(error) => return Err(RelayFailed::Cut(Failure::of(&error))),
        };
        let end = block.len();
        let (sent, back) = to.write_range(block, write_from, end, timeouts.write.into()).await;
        block = back;
        sent.map_err(|_| RelayFailed::ClientGone)?;
    }
    cx.buffers.give(block);
    Ok(!excess.is_empty())
}
