//! One request and its response: prepared, forwarded to the primary, relayed to the client, its copy taken on the way.
//!
//! Read this first. `prepare` decides everything that can be decided at once, without waiting; `run` does the waiting.
//! Nothing in here waits for a mirror: the tee's methods are plain functions that return nothing.

mod pace;
mod relay;
mod seen;
mod upload;

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use config::Config;

use crate::asked::Asked;
use crate::context::Context;
use crate::downstream::admission::Admitted;
use crate::downstream::connection::Next;
use crate::downstream::{Client, Place};
use crate::error::Failure;
use crate::generation::Generation;
use crate::http1::body::{self, Incoming, Outgoing};
use crate::http1::edit;
use crate::http1::framing::Framing;
use crate::http1::head::{Fault, HeadLimits, Method, RequestHead, with_request};
use crate::http1::render::{self, Forwarding};
use crate::io::{self, Millis};
use crate::metrics::{Reject, Skip, UpstreamFailure};
use crate::mirror::sample::Draw;
use crate::mirror::tee::{Source, Tee};
use crate::observe::pairing::Pairing;
use crate::observe::trace;
use crate::plan::{Answer, Fate, Forward};
use crate::route::Found;
use crate::upstream::eject::Report;
use crate::upstream::pool::Rest;
use relay::{RelayFailed, Terms, relay};
pub use seen::unread;
use seen::{Seen, Tally, recorded};
use upload::{Upload, duplex};

/// A request whose fate is decided.
pub struct Request {
    /// What it is served by, to its end.
    pub generation: Rc<Generation>,
    /// Index of its route.
    pub route: usize,
    /// Trouble made on purpose comes before everything else.
    delay: Option<Millis>,
    /// Where the route answers by itself.
    answer: Option<Box<Answer>>,
    /// Index of the primary among the route's, where it forwards.
    primary: usize,
    /// What the balance hashes, where it does.
    key: Option<u64>,
    /// Head for the primary and as much of the content as had arrived.
    head: Vec<u8>,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Shared by the two directions of the exchange, never across an await.
    tee: RefCell<Tee>,
    /// What joins it and its copies, where there is a copy or somebody wants a record.
    pub pairing: OnceCell<Rc<Pairing>>,
    /// Bytes of content the limit allows in all, and still.
    content_max: u64,
    content_left: u64,
    /// Bytes of content that came back.
    pub response_bytes: u64,
    facts: Facts,
    /// Its place among those under way.
    _admitted: Admitted,
}

impl Request {
    /// Bytes of its content read so far.
    pub fn bytes(&self) -> u64 {
        self.content_max - self.content_left
    }
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
    pub said: Said,
    pub to_head: bool,
    /// The connection may go on: the client asked for it and nothing of the request is unread.
    pub keep: bool,
    pub minor: u8,
}

/// What the gateway has to say.
#[derive(Debug)]
pub enum Said {
    Fault(Fault),
    /// The route's own words.
    Given(Box<Answer>),
}

impl Refusal {
    /// A refusal after which the connection cannot be used.
    pub fn hang_up(fault: Fault) -> Self {
        Self { said: Said::Fault(fault), to_head: false, keep: false, minor: 1 }
    }

    /// Why the gateway answers; `None` where the route's own words are the answer.
    pub fn reject(&self) -> Option<Reject> {
        match &self.said {
            Said::Fault(fault) => Some(fault.reject),
            Said::Given(_) => None,
        }
    }

    pub fn status(&self) -> u16 {
        match &self.said {
            Said::Fault(fault) => fault.status,
            Said::Given(answer) => answer.status,
        }
    }
}

/// Parses, routes and renders the request whose head fills the first `head_len` bytes of the client's inbox.
///
/// The error is what to answer instead, and what is to be told of that.
pub fn prepare(
    cx: &Context,
    client: &mut Client,
    head_len: usize,
) -> Result<Request, (Refusal, Option<Rc<Pairing>>)> {
    let generation = cx.generation();
    let limits = &generation.config.limits;
    let head_limits =
        HeadLimits { line_bytes_max: limits.request_line_bytes_max, fields_max: limits.fields_max };
    let Client { inbox, address, port, place, .. } = client;
    let (head_bytes, behind) = inbox.split_at_mut(head_len);
    let mut pairing = OnceCell::new();
    let routed = with_request(head_bytes, head_limits, |head| {
        let from = From { address: address.as_bytes(), port: *port, place };
        route(cx, &generation, head, &from, behind.len(), &mut pairing)
    })
    .unwrap_or_else(|fault| Err(Refusal::hang_up(fault)));
    let is_to_head = head_bytes.starts_with(b"HEAD ");
    let mut request = match routed {
        Ok(request) => request,
        Err(mut refusal) => {
            // RFC 9110 §9.3.2: no content, whatever is the matter.
            refusal.to_head |= is_to_head;
            // The connection may go on behind a head that was understood.
            client.consume(head_len);
            return Err((refusal, pairing.take()));
        }
    };

    let (tee, mut content_bytes) = (request.tee.get_mut(), 0);
    let copied = body::copy(behind, &mut request.incoming, request.outgoing, &mut request.head, |content| {
        content_bytes += content.len() as u64;
        tee.copy(content);
    });
    let hang_up = |fault, request: &mut Request| {
        let refusal = Refusal { to_head: is_to_head, ..Refusal::hang_up(fault) };
        (refusal, request.pairing.take())
    };
    let Ok(used) = copied else {
        return Err(hang_up(Fault::bad("malformed chunked content"), &mut request));
    };
    match request.content_left.checked_sub(content_bytes) {
        Some(left) => request.content_left = left,
        None => return Err(hang_up(TOO_LARGE, &mut request)),
    }
    client.consume(head_len + used);
    Ok(request)
}

/// Whom a request comes from.
struct From<'a> {
    address: &'a [u8],
    /// Of the listener.
    port: u16,
    place: &'a Place,
}

fn route(
    cx: &Context,
    generation: &Rc<Generation>,
    head: &RequestHead<'_, '_>,
    from: &From<'_>,
    bytes_behind: usize,
    pairing: &mut OnceCell<Rc<Pairing>>,
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
        Refusal { said: Said::Fault(fault), to_head: facts.to_head, keep, minor: head.minor }
    };
    let asked = Asked {
        method: head.method_token,
        authority: head.host,
        path: head.path(),
        query: head.query(),
        port: from.port,
        address: from.address,
        fields: head,
    };
    let found = generation.router.find(&asked);
    let request_id = cx.request_id();
    let wants = generation.wants(&cx.random, &asked, found.as_ref().map(|found| found.route));
    if wants.a_record() {
        *pairing = recorded(cx, generation, &asked, head.minor, &request_id, &wants).into();
    }
    let admitted = cx.admission.take(&generation.config, from.place, cx.now_ms()).map_err(refuse)?;
    let Some(Found { route, matched }) = found else {
        return Err(refuse(Fault::new(404, Reject::NoRoute, "no route matches")));
    };
    if let (Framing::Length(n), Some(max)) = (head.framing, generation.config.limits.request_body_bytes_max)
        && n > max
    {
        return Err(refuse(TOO_LARGE));
    }
    let plan = &generation.plans[route];
    let decision = plan.decide(&asked, matched, &cx.random);
    let outgoing = if head.framing == Framing::Chunked { Outgoing::Chunked } else { Outgoing::Plain };
    let content_max = generation.config.limits.request_body_bytes_max.unwrap_or(u64::MAX);
    pairing.get().inspect(|pairing| pairing.note(|record| record.route = Some(route)));
    let (primary, answer) = match decision.fate {
        Fate::Forward(primary) => (primary, None),
        Fate::Answer(answer) => (0, Some(Box::new(answer))),
    };
    let mut request = Request {
        generation: Rc::clone(generation),
        route,
        delay: decision.delay,
        answer,
        primary,
        key: None,
        head: Vec::new(),
        incoming: Incoming::new(head.framing),
        outgoing,
        tee: RefCell::default(),
        pairing: OnceCell::new(),
        content_max,
        content_left: content_max,
        response_bytes: 0,
        facts,
        _admitted: admitted,
    };
    if request.answer.is_some() {
        request.pairing = std::mem::take(pairing);
        return Ok(request);
    }
    let Some(upstream) = plan.forward().and_then(|f| f.upstream(primary)) else {
        return Err(refuse(NO_UPSTREAM));
    };
    let upstream = &generation.config.upstreams[upstream];
    request.key = upstream.hash_by.as_ref().and_then(|key| asked.hash(key));
    let add = Forwarding {
        client: from.address,
        proto: b"http",
        request_id: &request_id,
        keeps_id: generation.config.request_id == config::Claim::Keep,
        traced: wants.trace.as_ref().map(trace::keeps_state),
        trust: generation.config.forwarded == config::Forwarded::Append,
        host_if_none: upstream.service().as_bytes(),
    };
    let mut out =
        cx.buffers.with_room(generation.config.limits.request_line_bytes_max.min(1024) + bytes_behind);
    let mut at = render::request(&mut out, head, &add);
    let changes = plan.request_edit(primary, asked.path, matched);
    if !changes.is_empty() {
        let room = cx.buffers.with_room(out.len() + bytes_behind + EDIT_ROOM_BYTES);
        let rendered = std::mem::replace(&mut out, room);
        at = edit::request(&mut out, &rendered, &at, &changes);
        cx.buffers.give(rendered);
    }
    let expects_content = matches!(head.method, Method::Post | Method::Put) || head.method_token == b"PATCH";
    let source = Source {
        head: &out,
        at: &at,
        framing: head.framing,
        to_head: facts.to_head,
        expects_content,
        is_copy: head.is_copy,
        asked: &asked,
        matched,
        primary,
        pairing,
        random: &cx.random,
        compares: wants.compares,
        trace: wants.trace.as_ref(),
        overload: cx.overload(&generation.config),
        now_ms: cx.now_ms(),
    };
    if !generation.policies[route].is_empty() {
        let draw = Draw::of(&cx.random);
        let tee = Tee::begin(&generation.policies[route], draw, &source, &cx.buffers);
        request.tee = tee.into();
    }
    if let Some(trace) = &wants.trace {
        render::traceparent(&mut out, &trace::traceparent(trace, &trace.primary_span));
    }
    render::end_request(&mut out, head.framing, expects_content, facts.expects_continue);
    request.head = out;
    request.pairing = std::mem::take(pairing);
    Ok(request)
}

/// Forwards the request and relays the answer; or gives the answer that its route has for it.
pub async fn run(cx: &Rc<Context>, client: &mut Client, request: &mut Request) -> Outcome {
    if let Some(delay) = request.delay {
        io::sleep_ms(delay.0).await;
    }
    let facts = request.facts;
    if let Some(answer) = request.answer.take() {
        let keep = facts.keep_alive && request.incoming.is_done();
        let said = Said::Given(answer);
        return Outcome::Refused(Refusal { said, to_head: facts.to_head, keep, minor: facts.minor });
    }
    let mut tally = Tally::default();
    let outcome = forward(cx, client, request, &mut tally).await;
    request.response_bytes = tally.seen.bytes.get();
    if tally.is_whole {
        let counters = &request.generation.counters.primaries[request.route][request.primary];
        counters.latency.record(tally.seen.latency_us.get());
    }
    if let Some(pairing) = request.pairing.get() {
        tally.tell(pairing, request.primary);
    }
    outcome
}

/// Asks the primary, as often as its route allows, until there is an answer for the client.
async fn forward(cx: &Rc<Context>, client: &mut Client, request: &mut Request, tally: &mut Tally) -> Outcome {
    let (facts, primary) = (request.facts, request.primary);
    let generation = Rc::clone(&request.generation);
    let plan = &generation.plans[request.route];
    let Some((forward, upstream)) = plan.forward().and_then(|f| Some((f, f.upstream(primary)?))) else {
        return Outcome::Refused(Refusal::hang_up(NO_UPSTREAM));
    };
    let counters = generation.upstreams.counters(upstream);
    // All of it is in `head`: it can be sent again as it is.
    let is_whole = request.incoming.is_done();
    let mut tries = Tries::new(cx, forward);
    let mut may_retry = true;
    let mut fresh = false;
    let mut search = generation.upstreams.search(upstream, request.key);
    loop {
        let mut lease = match search.checkout(fresh, tries.deadline_ms).await {
            Ok(lease) => lease,
            Err(failure) => {
                // Whoever waited in vain for a connection would only wait again.
                if failure != Failure::Overflow && forward.retries_connect() && tries.again(cx, forward).await
                {
                    counters.retries.inc();
                    continue;
                }
                request.tee.get_mut().skip(Skip::PrimaryUnavailable);
                cx.buffers.give(std::mem::take(&mut request.head));
                return refused(&facts, failure.fault(), is_whole);
            }
        };
        // A kept connection may be closing just now. What it did not see, or may see twice, is sent once more on a new one.
        may_retry &= lease.reused;
        tally.attempts += 1;
        tally.endpoint = Some(lease.address());
        tally.seen = Seen::new(request.pairing.get().map_or(0, |pairing| pairing.keeps_bytes()));
        let Some(up) = lease.stream() else { continue };

        let write_ms = Millis::from(generation.config.timeouts.write).until(tries.deadline_ms, cx.now_ms());
        let written_us = cx.now_us();
        let (sent, head) = up.w.write_all(std::mem::take(&mut request.head), write_ms).await;
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
            search.report(&lease, Report::Failed);
            if forward.retries_reset() && tries.again(cx, forward).await {
                tally.retried(None);
                counters.retries.inc();
                continue;
            }
            request.tee.get_mut().skip(Skip::PrimaryUnavailable);
            cx.buffers.give(std::mem::take(&mut request.head));
            return refused(&facts, failure.fault(), is_whole);
        }

        let entrance = Rc::clone(&client.listener);
        let terms = Terms {
            entrance: &entrance,
            seen: &tally.seen,
            config: &generation.config,
            facts,
            may_keep: may_keep(cx, &generation.config, client, &facts),
            deadline_ms: tries.deadline_ms,
            try_timeout: forward.try_timeout,
            retry: (is_whole && tries.left > 0).then_some(forward),
            edits: plan.response_edits(primary),
        };
        let (relayed, upload) = if is_whole {
            let upload = Upload::default();
            upload.completed(cx, written_us, request.pairing.get());
            request.tee.get_mut().complete(request.incoming.trailers(), cx.now_ms());
            let relayed = relay(cx, &mut client.stream.w, &mut up.r, &terms, &upload, &request.tee).await;
            (relayed, upload)
        } else {
            // Boxed because it is large and rare: idle connections must not carry its size.
            match Box::pin(duplex(cx, client, up, request, &terms)).await {
                Ok(both) => both,
                Err(outcome) => {
                    tally.is_abandoned = true;
                    cx.buffers.give(std::mem::take(&mut request.head));
                    return outcome;
                }
            }
        };
        if let Err(RelayFailed::NoAnswer(Failure::Closed | Failure::Reset)) = &relayed
            && may_retry
            && is_whole
            && facts.is_idempotent
        {
            counters.failures.inc(UpstreamFailure::Stale);
            counters.retries.inc();
            (may_retry, fresh) = (false, true);
            continue;
        }
        match &relayed {
            Ok(answer) => search.report(&lease, Report::Status(answer.status)),
            Err(RelayFailed::Unwanted(status)) => search.report(&lease, Report::Status(*status)),
            Err(RelayFailed::ClientGone | RelayFailed::Late) => {}
            // A client that takes its time with its content leaves the primary none for an answer.
            Err(RelayFailed::NoAnswer(Failure::Timeout) | RelayFailed::BadAnswer(Failure::Timeout))
                if upload.waits_for_client.get() => {}
            Err(RelayFailed::NoAnswer(_) | RelayFailed::BadAnswer(_) | RelayFailed::Cut(_)) => {
                search.report(&lease, Report::Failed);
            }
        }
        match &relayed {
            Err(RelayFailed::NoAnswer(failure)) if is_whole && forward.retries_reset() => {
                let failure = *failure;
                if tries.again(cx, forward).await {
                    tally.retried(None);
                    counters.failures.inc(failure.on_primary());
                    counters.retries.inc();
                    continue;
                }
            }
            Err(RelayFailed::Unwanted(status)) => {
                let status = *status;
                // The terms offered no retry that is not there to be had, and a deadline ends the last try too.
                if tries.again(cx, forward).await {
                    tally.retried(Some(status));
                    counters.retries.inc();
                    continue;
                }
            }
            Ok(_) | Err(_) => {}
        }
        cx.buffers.give(std::mem::take(&mut request.head));
        let complete = upload.complete.get();
        return match relayed {
            Ok(answer) => {
                tally.is_whole = true;
                if answer.reusable {
                    lease.put_back(if answer.withheld { Rest::Watched } else { Rest::Over });
                }
                // It may have sent more, and closing upon that resets the connection, answer and all (RFC 9112 §9.6).
                let is_heard = || tally.seen.bytes.get() <= HEARD_BYTES && client.stream.is_quiet();
                let next = match (complete, answer.keep_client) {
                    (true, true) => Next::Request,
                    // The client said so too, and has sent nothing more.
                    (true, false) if !facts.keep_alive && is_heard() => Next::Close,
                    (true | false, _) => Next::Linger,
                };
                Outcome::Answered { status: answer.status, next }
            }
            Err(RelayFailed::NoAnswer(Failure::Timeout) | RelayFailed::BadAnswer(Failure::Timeout))
                if upload.waits_for_client.get() =>
            {
                request.tee.get_mut().skip(Skip::Aborted);
                refused(&facts, SLOW_CONTENT, false)
            }
            Err(RelayFailed::NoAnswer(failure) | RelayFailed::BadAnswer(failure)) => {
                request.tee.get_mut().skip(Skip::PrimaryUnavailable);
                counters.failures.inc(failure.on_primary());
                refused(&facts, failure.fault(), complete)
            }
            Err(RelayFailed::Unwanted(_)) => {
                request.tee.get_mut().skip(Skip::PrimaryUnavailable);
                refused(&facts, Failure::Timeout.fault(), complete)
            }
            Err(RelayFailed::Cut(failure)) => {
                counters.failures.inc(failure.on_primary());
                Outcome::Broken { reset: upload.close_delimited.get() }
            }
            Err(RelayFailed::ClientGone | RelayFailed::Late) => {
                tally.is_abandoned = true;
                Outcome::Broken { reset: upload.close_delimited.get() }
            }
        };
    }
}

/// What edits usually add to a head, at most.
const EDIT_ROOM_BYTES: usize = 1024;

/// An answer with as little content as this is in the socket's buffer whole when its last byte is written.
const HEARD_BYTES: u64 = 64 * 1024;

const SLOW_CONTENT: Fault = Fault::new(408, Reject::BodyTimeout, "request content came too slowly");

const NO_UPSTREAM: Fault = Fault::new(500, Reject::NoUpstream, "the route's primary is not known");

/// The retries that a route grants one exchange.
struct Tries {
    left: u32,
    made: u32,
    /// When the whole exchange has to be over.
    deadline_ms: u64,
}

impl Tries {
    fn new(cx: &Context, forward: &Forward) -> Self {
        let deadline_ms = forward.timeout.map_or(u64::MAX, |timeout| cx.now_ms().saturating_add(timeout.0));
        Self { left: forward.retries.attempts, made: 0, deadline_ms }
    }

    /// Takes one more try, if there is one and time for it, and waits its pause.
    async fn again(&mut self, cx: &Context, forward: &Forward) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.made += 1;
        let pause = forward.backoff(self.made, &cx.random);
        if cx.now_ms().saturating_add(pause.0) >= self.deadline_ms {
            return false;
        }
        io::sleep_ms(pause.0).await;
        true
    }
}

fn refused(facts: &Facts, fault: Fault, request_is_read: bool) -> Outcome {
    let keep = facts.keep_alive && request_is_read;
    Outcome::Refused(Refusal { said: Said::Fault(fault), to_head: facts.to_head, keep, minor: facts.minor })
}

/// Whether the client's connection may carry another request after this one.
fn may_keep(cx: &Context, config: &Config, client: &Client, facts: &Facts) -> bool {
    facts.keep_alive && !client.is_draining(cx) && client.served < config.limits.requests_per_connection_max
}
