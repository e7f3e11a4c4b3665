//! An HTTP/2 request from its head to the end of its stream: the task that runs its exchange and notes its outcome.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use super::Peer;
use super::watch::{Reply, Watch};
use crate::context::Context;
use crate::exchange::{self, Outcome, Refusal, Said};
use crate::grpc;
use crate::http1::head::Fault;
use crate::http1::render::Persistence;
use crate::http1::reply::{self, Manner};
use crate::http2::fields::{Content, Head, say_chunked, say_key};
use crate::io;
use crate::limits::FRAMING_MS;
use crate::message::http2::{Begun, Connection, Stream, Worker, own_response};
use crate::message::server::Message;
use crate::metrics::RejectReason;
use crate::observe::pairing::Pairing;
use crate::task;
use crate::websocket;

/// RFC 6585 §4.
const ADDRESS_STREAMS: Fault =
    Fault::new(429, RejectReason::AddressStreams, "too many requests at once from this address");

/// A request on its way through.
struct Serving {
    cx: Rc<Context>,
    connection: Rc<Connection>,
    peer: Rc<Peer>,
    stream: Rc<Stream>,
    /// The request is a gRPC call: the gateway's own answers are in gRPC's terms.
    is_call: Cell<bool>,
}

/// The beginning of a stream's task.
enum Asked {
    Request(Head),
    /// The request is answered without an exchange. The lines of its head, as far as they were read.
    Refused(Fault, Vec<u8>),
}

/// Starts the task of a request that has begun.
pub(super) fn begin(cx: &Rc<Context>, connection: &Rc<Connection>, peer: &Rc<Peer>, begun: Begun) {
    let (stream, asked) = match begun {
        Begun::Request { stream, head } => (stream, Asked::Request(head)),
        Begun::Refused { stream, fault, lines } => (stream, Asked::Refused(fault, lines)),
        Begun::Malformed => return cx.shard.rejected.inc(RejectReason::Malformed),
    };
    let (cx, connection, peer) = (Rc::clone(cx), Rc::clone(connection), Rc::clone(peer));
    let serving = Serving { cx, connection, peer, stream, is_call: Cell::new(false) };
    io::spawn(async move {
        // A panic ends this stream and nothing else.
        if task::caught(pin!(serving.run(asked))).await.is_err() {
            serving.cx.shard.exchange_panics.inc();
        }
        serving.connection.release(&serving.stream);
    });
}

impl Serving {
    async fn run(&self, asked: Asked) {
        let watch = Watch::begin(&self.cx);
        let max = self.cx.generation().config.http2.streams_per_address_max;
        let underway = self.peer.place.begin_stream(max);
        match (asked, underway) {
            (Asked::Request(head), Some(_underway)) => self.exchange(watch, head).await,
            (Asked::Request(head), None) => self.refuse(watch, ADDRESS_STREAMS, head.lines).await,
            (Asked::Refused(fault, lines), _) => self.refuse(watch, fault, lines).await,
        }
    }

    /// Answers a request that no exchange takes, of which these lines of its head are known.
    async fn refuse(&self, watch: Watch, fault: Fault, lines: Vec<u8>) {
        self.is_call.set(grpc::is_call(&lines));
        let refusal = Refusal { to_head: lines.starts_with(b"HEAD "), ..Refusal::hang_up(fault) };
        let pairing = exchange::unread(&self.cx, &self.peer.caller(true), &lines);
        self.connection.recycle(lines);
        self.turn_down(watch, &refusal, pairing).await;
    }

    async fn exchange(&self, mut watch: Watch, head: Head) {
        let Self { cx, connection, peer, stream, .. } = self;
        self.is_call.set(grpc::is_call(&head.lines));
        let mut lines = self.framed(head).await;
        let caller = peer.caller(true);
        let prepared = exchange::prepare(cx, &caller, &mut lines, stream.waiting_bytes());
        connection.recycle(lines);
        let mut request = match prepared {
            Ok(request) => request,
            Err((refusal, pairing)) => return self.turn_down(watch, &refusal, pairing).await,
        };
        let worker = Worker { buffers: &cx.buffers, date: &cx.date };
        let mut message =
            Message::http2(worker, connection, stream, request.declared, request.asks_for_tunnel());
        if let Err((refusal, pairing)) = exchange::take_arrived(&mut request, &mut message.content) {
            drop(request);
            return self.turn_down(watch, &refusal, pairing).await;
        }
        watch.pairing = request.pairing.get().filter(|pairing| pairing.is_recorded()).cloned();
        let outcome = exchange::run(cx, &mut message, &mut request).await;
        let counters = &request.generation.counters.routes[request.route];
        match outcome {
            // The request counts among those under way until its client took the answer, or queued answers would have no bound.
            Outcome::Answered { status, .. } if connection.is_answered(stream).await => {
                let duration_us = watch.answered(cx, status, request.bytes(), request.response_bytes);
                request.answered(status, duration_us);
            }
            Outcome::Switched(tunnel) => {
                counters.requests.inc(101);
                drop(request);
                let passed = Box::pin(tunnel.run(cx, message)).await;
                watch.tunnelled(cx, passed);
                connection.is_answered(stream).await;
            }
            Outcome::Refused(refusal) => {
                request.refused(refusal.status());
                let bytes = request.bytes();
                drop(request);
                let said = self.say(&refusal).await;
                watch.refused(cx, refusal.status(), refusal.reject(), bytes, said);
            }
            Outcome::Answered { .. } | Outcome::Broken => {
                counters.aborted.inc();
                watch.broken(cx, request.bytes(), request.response_bytes);
            }
        }
    }

    /// The head, with the framing that its content has on HTTP/1.1. Whether there is any is known by its first byte, or by its
    /// end; both are waited for a little where there is usually none.
    async fn framed(&self, head: Head) -> Vec<u8> {
        let Head { mut lines, content, is_tunnel, .. } = head;
        if is_tunnel {
            say_key(&mut lines, &websocket::key(&self.cx.random));
        }
        if content != Content::UntilEnd {
            return lines;
        }
        let stream = &self.stream;
        if !has_content_usually(&lines) {
            let known = self.connection.is_known_by_content(stream);
            io::within(Duration::from_millis(FRAMING_MS), known).await;
        }
        if !stream.has_ended() || stream.waiting_bytes() > 0 || stream.has_trailers() {
            say_chunked(&mut lines);
        }
        lines
    }

    /// Answers a request that no route's counters know.
    async fn turn_down(&self, mut watch: Watch, refusal: &Refusal, pairing: Option<Rc<Pairing>>) {
        let cx = &self.cx;
        cx.shard.unrouted.inc(refusal.status());
        watch.pairing = pairing;
        let said = self.say(refusal).await;
        watch.refused(cx, refusal.status(), refusal.reject(), 0, said);
    }

    async fn say(&self, refusal: &Refusal) -> Reply {
        let cx = &self.cx;
        let mut out = cx.buffers.small();
        let date = cx.date.borrow().clone();
        let how = Manner { to_head: refusal.to_head, persistence: Persistence::Keep, date: date.as_bytes() };
        match &refusal.said {
            Said::Fault(Fault { status, reject, detail }) => {
                cx.shard.rejected.inc(*reject);
                if self.is_call.get() {
                    // A call that no upstream can take is UNAVAILABLE (Gateway API, of GRPCRoute).
                    let status = if *reject == RejectReason::NoUpstream { 503 } else { *status };
                    reply::call(&mut out, status, detail, &how);
                } else {
                    reply::fault(&mut out, *status, detail, &how);
                }
            }
            Said::Given(answer) if self.is_call.get() && answer.status >= 400 => {
                reply::call(&mut out, answer.status, "", &how);
            }
            Said::Given(answer) => reply::given(&mut out, answer, &how),
        }
        let head_bytes = memchr::memmem::find(&out, b"\r\n\r\n").map_or(out.len(), |at| at + 4);
        let bytes = (out.len() - head_bytes) as u64;
        let sent = own_response(&self.connection, &self.stream, &out);
        cx.buffers.give(out);
        let is_sent = sent.is_ok() && self.connection.is_answered(&self.stream).await;
        Reply { is_kept: is_sent, is_sent, bytes }
    }
}

/// Whether content is to be expected of a request that did not end with its head: by its method, or by its fields.
fn has_content_usually(lines: &[u8]) -> bool {
    let has_seldom = [b"GET ".as_slice(), b"HEAD ", b"DELETE ", b"OPTIONS ", b"TRACE "];
    let is_seldom = has_seldom.iter().any(|method| lines.starts_with(method));
    let says = |line: &[u8]| {
        let declares = [b"content-type:".as_slice(), b"expect:"];
        declares
            .iter()
            .any(|name| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))
    };
    !is_seldom || lines.split(|byte| *byte == b'\n').any(says)
}

#[cfg(test)]
mod tests {
    use super::has_content_usually;

    #[test]
    fn content_is_waited_for_only_where_there_is_usually_none() {
        for (method, fields, has) in [
            ("GET", "", false),
            ("HEAD", "accept: a\r\n", false),
            ("DELETE", "", false),
            ("GET", "content-type: a/b\r\n", true),
            ("DELETE", "content-type: a/b\r\n", true),
            ("GET", "expect: 100-continue\r\n", true),
            ("POST", "", true),
            ("QUERY", "", true),
            ("PROPFIND", "", true),
            ("GETS", "", true),
        ] {
            let lines = format!("{method} / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
            assert_eq!(has_content_usually(lines.as_bytes()), has, "{method} {fields}");
        }
    }
}
