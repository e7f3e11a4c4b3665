//! Everything about a request that can be decided at once: parsed, routed, rendered for the primary, its copies begun. One
//! synchronous step; nothing in here waits.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::SystemTime;

use super::seen::{recorded, unread};
use super::tunnel::Asked;
use super::{Facts, NO_UPSTREAM, Refusal, Request, Said, TOO_LARGE};
use crate::admission::Place;
use crate::asked::{RequestView, Scheme, Version};
use crate::context::Context;
use crate::generation::Generation;
use crate::grpc;
use crate::http1::edit;
use crate::http1::head::{Fault, HeadLimits, Method, RequestHead, with_request};
use crate::http1::hop_by_hop::Kind;
use crate::http1::offer::Offer;
use crate::http1::render::{self, Forwarding};
use crate::message::Declared;
use crate::message::server::{Content, ContentFailed};
use crate::metrics::{RejectReason, SkipReason};
use crate::mirror::sample::Draw;
use crate::mirror::source::Source;
use crate::mirror::tee::Tee;
use crate::observe::pairing::Pairing;
use crate::observe::{disclosure, trace};
use crate::plan::Fate;
use crate::route::Found;
use crate::time::Millis;
use crate::tls::Secured;
use crate::websocket;

/// The client a request comes from.
pub struct Caller<'a> {
    pub address: &'a [u8],
    pub address_port: u16,
    /// Of the listener.
    pub port: u16,
    /// See [`crate::generation::ListenerSockets::id`].
    pub listener: u32,
    pub scheme: Scheme,
    /// The request came on HTTP/2, and its head is rendered in the inner form.
    pub is_http2: bool,
    pub place: &'a Place,
    /// The facts of its TLS handshake; `None` on plaintext.
    pub secured: Option<&'a Secured>,
}

impl Caller<'_> {
    /// The version that is spoken, where the inner form says HTTP/1.`minor`.
    pub(super) fn version(&self, minor: u8) -> Version {
        if self.is_http2 { Version::Http2 } else { Version::http1(minor) }
    }
}

/// RFC 9110 §15.5.20: another connection may be the right one.
const MISDIRECTED: Fault =
    Fault::new(421, RejectReason::Misdirected, "this connection's certificate is for other hosts");

/// The gateway's own response instead, and the record of it.
pub(super) type Refused = (Refusal, Option<Rc<Pairing>>);

/// Parses, routes and renders the request whose whole head is `head`, in the inner form; `bytes_behind` of possible content
/// have come with it.
///
/// The error is the answer to give instead.
pub fn prepare(
    cx: &Context,
    from: &Caller<'_>,
    head: &mut [u8],
    bytes_behind: usize,
) -> Result<Request, Refused> {
    let generation = cx.generation();
    let limits = &generation.config.limits;
    let head_limits =
        HeadLimits { line_bytes_max: limits.request_line_bytes_max, fields_max: limits.fields_max };
    let mut pairing = OnceCell::new();
    with_request(head, head_limits, |head| route(cx, &generation, head, from, bytes_behind, &mut pairing))
        .unwrap_or_else(|fault| {
            if let Some(unread) = unread(cx, from, head) {
                pairing = unread.into();
            }
            Err(Refusal::hang_up(fault))
        })
        .map_err(|mut refusal| {
            // RFC 9110 §9.3.2: no content, whatever the fault is.
            refusal.to_head |= head.starts_with(b"HEAD ");
            (refusal, pairing.take())
        })
}

/// Takes the content that came with the head: behind the head for the primary, and into the copies.
///
/// The error is the answer to give instead; the connection must not be used after it.
pub fn take_arrived(request: &mut Request, content: &mut Content<'_>) -> Result<(), Refused> {
    let (tee, mut content_bytes) = (request.tee.get_mut(), 0);
    let taken = content.arrived(request.declared, &mut request.head, |piece| {
        content_bytes += piece.len() as u64;
        tee.copy(piece);
    });
    let fault = match (taken, request.content_left.checked_sub(content_bytes)) {
        (Ok(()), Some(left)) => {
            request.content_left = left;
            return Ok(());
        }
        (Ok(()), None) => TOO_LARGE,
        (Err(ContentFailed::Malformed | ContentFailed::Gone | ContentFailed::Slow), _) => MALFORMED,
    };
    let refusal = Refusal { to_head: request.facts.to_head, ..Refusal::hang_up(fault) };
    Err((refusal, request.pairing.take()))
}

fn route(
    cx: &Context,
    generation: &Rc<Generation>,
    head: &RequestHead<'_, '_>,
    from: &Caller<'_>,
    bytes_behind: usize,
    pairing: &mut OnceCell<Rc<Pairing>>,
) -> Result<Request, Refusal> {
    #[cfg(debug_assertions)]
    if cx.panic_on_request && head.path() == b"/__panic" {
        // invariant: no release has this; a debug build has it where the test's environment variable asks for it.
        panic!("asked to by the test");
    }
    let declared = Declared::of(head);
    let facts = Facts {
        minor: head.minor,
        to_head: head.method == Method::Head,
        is_idempotent: head.method.is_idempotent(),
        expects_continue: head.expects_continue,
        keep_alive: head.keep_alive,
    };
    let refuse = |fault| {
        let keep = head.keep_alive && declared.is_nothing();
        Refusal { said: Said::Fault(fault), to_head: facts.to_head, keep, minor: head.minor }
    };
    let asked = RequestView {
        method: head.method_token,
        scheme: from.scheme,
        authority: head.host,
        path: head.path(),
        query: head.query(),
        port: from.port,
        address: from.address,
        address_port: from.address_port,
        version: from.version(head.minor),
        certificate: from.secured.map_or(&[], |secured| &secured.names),
        fields: head,
    };
    let found = generation.router.find(&asked);
    let request_id = cx.request_id();
    let wants = generation.wants(&cx.random, &asked, found.as_ref().map(|found| found.route));
    if wants.a_record() {
        *pairing = recorded(cx, generation, &asked, asked.version, &request_id, &wants).into();
    }
    // A tunnel has a connection to a primary too.
    let clients_max = generation.clients_max.saturating_sub(cx.tunnels.taken());
    let admitted =
        cx.admission.take(&generation.config, clients_max, from.place, cx.now_ms()).map_err(refuse)?;
    if let Some(secured) = from.secured
        && !head.host.is_empty()
        && !secured.listening.covers(head.host, secured.server_name)
    {
        return Err(refuse(MISDIRECTED));
    }
    let Some(Found { route, matched }) = found else {
        return Err(refuse(Fault::new(404, RejectReason::NoRoute, "no route matches")));
    };
    if let (Some(n), Some(max)) = (declared.length(), generation.config.limits.request_body_bytes_max)
        && n > max
    {
        return Err(refuse(TOO_LARGE));
    }
    let plan = &generation.plans[route];
    let decision = plan.decide(&asked, matched, &generation.draws[route].primary, &cx.random);
    let content_max = generation.config.limits.request_body_bytes_max.unwrap_or(u64::MAX);
    pairing.get().inspect(|pairing| pairing.note(|record| record.route = Some(route)));
    let (primary, answer) = match decision.fate {
        Fate::Forward(primary) => (primary, None),
        Fate::Answer(answer) => (0, Some(answer)),
    };
    let mut request = Request {
        generation: Rc::clone(generation),
        route,
        delay: decision.delay,
        answer,
        cors: decision.cors,
        primary,
        key: None,
        within: None,
        head: Vec::new(),
        declared,
        tee: Default::default(),
        arm: None,
        tunnel: None,
        pairing: OnceCell::new(),
        content_max,
        content_left: content_max,
        response_bytes: 0,
        facts,
        _admitted: admitted,
    };
    if let Some(answer) = &request.answer {
        if from.is_http2 && head.offers_upgrade && (200..300).contains(&answer.status) {
            return Err(refuse(NO_TUNNEL));
        }
        request.pairing = std::mem::take(pairing);
        return Ok(request);
    }
    let Some(upstream) = plan.forward().and_then(|f| f.upstream(primary)) else {
        return Err(refuse(NO_UPSTREAM));
    };
    let upstream = &generation.config.upstreams[upstream];
    if upstream.protocol != config::UpstreamProtocol::Http1 {
        request.within = allowed(&asked);
    }
    if head.offers_upgrade {
        // The bytes behind such a head may be no request.
        let asked = tunnel(cx, generation, head, from, route);
        request.tunnel = asked.map_err(|fault| Refusal { keep: false, ..refuse(fault) })?;
    }
    request.key = upstream.hash_by.as_ref().and_then(|key| asked.hash(key));
    let trusts = generation.config.forwarded == config::Forwarded::Append;
    let proves = || head.fields().any(|f| f.kind == Kind::MirrorProof && cx.proof.is(f.value));
    // The mark, which any client can write, is believed of trusted clients; of strangers only the proof, which they cannot.
    let is_copy = (head.is_marked && trusts) || (head.has_proof && proves());
    let add = Forwarding {
        client: from.address,
        proto: from.scheme.name().as_bytes(),
        client_cert: from.secured.map(|secured| secured.certificate.as_str()),
        request_id: &request_id,
        keeps_id: generation.config.request_id == config::Claim::Keep,
        traced: wants.trace.as_ref().map(trace::keeps_state),
        via: (generation.config.via == config::Via::Append).then_some(asked.version.number()),
        trust: trusts,
        is_copy,
        host_if_none: upstream.service().as_bytes(),
    };
    let mut out =
        cx.buffers.with_room(generation.config.limits.request_line_bytes_max.min(1024) + bytes_behind);
    let mut at = render::request(&mut out, head, &add);
    let started = || disclosure::rfc3339(SystemTime::now());
    let changes = plan.request_edit(primary, &asked, matched, &started);
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
        is_copy,
        proof: Some(&cx.proof),
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
        let draw = Draw::next(&generation.draws[route].copies, &cx.random);
        let policies = &generation.policies[route];
        let tee = Tee::begin(policies, draw, &source, &cx.buffers);
        request.tee = tee.into();
        request.arm = policies.iter().find(|policy| policy.is_trial).and_then(|of| of.arm(draw, &source));
        if request.tunnel.is_some() {
            request.tee.get_mut().skip(SkipReason::Upgrade);
        }
    }
    if let Some(trace) = &wants.trace {
        render::traceparent(&mut out, &trace::traceparent(trace, &trace.primary_span));
    }
    if let Some(asked) = &request.tunnel {
        render::upgrade(&mut out, asked.offer.protocol);
    }
    render::end_request(&mut out, head.framing, expects_content, facts.expects_continue);
    request.head = out;
    request.pairing = std::mem::take(pairing);
    Ok(request)
}

/// The tunnel that a request's upgrade asks for, where its route takes that. Else the offer is passed over (RFC 9110 §7.8),
/// but for HTTP/2's CONNECT, which is nothing without it.
fn tunnel(
    cx: &Context,
    generation: &Generation,
    head: &RequestHead<'_, '_>,
    from: &Caller<'_>,
    route: usize,
) -> Result<Option<Box<Asked>>, Fault> {
    let taken = generation.config.routes.get(route).map(|route| route.upgrades()).unwrap_or_default();
    let Some(handshake) = head.handshake.filter(|asked| taken.contains(&asked.protocol)) else {
        if from.is_http2 && head.handshake.is_none() {
            return Err(Fault::bad("malformed WebSocket handshake"));
        }
        if from.is_http2 {
            return Err(NO_TUNNEL);
        }
        cx.shard.tunnels.passed_over.inc();
        return Ok(None);
    };
    let permit = cx.tunnels.take(generation.config.limits.tunnels_max)?;
    let accept = websocket::accept(&handshake.key);
    let offer = Offer { protocol: handshake.protocol, accept, is_ours: from.is_http2 };
    Ok(Some(Box::new(Asked { offer, permit, group: from.listener, is_connect: from.is_http2 })))
}

/// To an extended CONNECT, whose client takes any success for a tunnel.
const NO_TUNNEL: Fault = Fault::new(501, RejectReason::Upgrade, "no tunnel is offered here");

/// `grpc-timeout`, of a call: of no other request does the client set the time.
fn allowed(asked: &RequestView<'_>) -> Option<Millis> {
    let is_call = || asked.header("content-type").is_some_and(|value| grpc::is_grpc(&value));
    if asked.version != Version::Http2 || !is_call() {
        return None;
    }
    asked.header("grpc-timeout").and_then(|value| grpc::timeout_ms(&value)).map(Millis)
}

const MALFORMED: Fault = Fault::bad("malformed chunked content");

/// The bytes that edits usually add to a head, at most.
const EDIT_ROOM_BYTES: usize = 1024;
