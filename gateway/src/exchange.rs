//! A request and its response: prepared, forwarded to the primary, relayed to the client, its copy taken on the way.
//!
//! Read this first. `prepare` makes every decision that can be made at once, without waiting; `run` does the waiting, as often
//! as the route allows (`attempts`). The exchange stands above messages: the wires of client and primary are theirs to handle.
//! Nothing in here waits for a mirror: the tee's methods are plain functions that return nothing.

mod prepare;
mod attempts;
mod judge;
mod relay;
mod tunnel;
mod upload;
mod progress;
mod pace;
mod seen;

use std::cell::{OnceCell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use config::HeaderEdits;

use crate::admission::Admitted;
use crate::context::Context;
use crate::generation::Generation;
use crate::http1::head::Fault;
use crate::io;
use crate::message::Declared;
use crate::message::server::Message;
use crate::metrics::{Arm, RejectReason, SkipReason};
use crate::mirror::tee::Tee;
use crate::observe::pairing::Pairing;
use crate::plan::Answer;
use crate::time::Millis;
pub use prepare::{Caller, prepare, take_arrived};
use seen::Tally;
pub use seen::unread;
pub use tunnel::{Passed, Tunnel};

/// A request whose fate is decided.
pub struct Request {
    /// The generation that serves it, to its end.
    pub generation: Rc<Generation>,
    /// Index of its route.
    pub route: usize,
    /// Trouble made on purpose comes before everything else.
    delay: Option<Millis>,
    /// Where the route answers by itself.
    answer: Option<Box<Answer>>,
    /// The fields that CORS adds to its response.
    cors: Option<Box<HeaderEdits>>,
    /// Index of the primary among the route's, where it forwards.
    primary: usize,
    /// The hash that the balance goes by, where it hashes.
    key: Option<u64>,
    /// The time that a gRPC call's caller allows it in all.
    within: Option<Millis>,
    /// Head for the primary and as much of the content as had arrived.
    head: Vec<u8>,
    /// The content that its own head declares.
    pub declared: Declared,
    /// Shared by the two directions of the exchange, never across an await.
    tee: RefCell<Tee>,
    /// Whether chance had it copied, where it is in a trial of that.
    arm: Option<Arm>,
    /// The tunnel that the request asks for, if any.
    tunnel: Option<Box<tunnel::Asked>>,
    /// Joins it and its copies, where it has a copy or a record is made of it.
    pub pairing: OnceCell<Rc<Pairing>>,
    /// Bytes of content the limit allows in all, and still.
    content_max: u64,
    content_left: u64,
    /// Bytes of content that came back.
    pub response_bytes: u64,
    pub facts: Facts,
    /// Its place among those under way.
    _admitted: Admitted,
}

impl Request {
    /// Bytes of its content read so far.
    pub fn bytes(&self) -> u64 {
        self.content_max - self.content_left
    }

    /// Counts that its client got the primary's whole response, after so long.
    pub fn answered(&self, status: u16, duration_us: u64) {
        let counters = &self.generation.counters.routes[self.route];
        counters.requests.inc(status);
        counters.duration.record(duration_us);
        counters.request_bytes.record(self.bytes());
        counters.response_bytes.record(self.response_bytes);
        self.tried(status, Some(duration_us));
    }

    /// Counts that the gateway answers it by itself.
    pub fn refused(&self, status: u16) {
        self.generation.counters.routes[self.route].requests.inc(status);
        self.tried(status, None);
    }

    fn tried(&self, status: u16, duration_us: Option<u64>) {
        if let Some(arm) = self.arm {
            self.generation.counters.trials[self.route].count(arm, status, duration_us);
        }
    }

    /// The bytes behind its head are no content but a tunnel's, if there is to be one.
    pub fn asks_for_tunnel(&self) -> bool {
        self.tunnel.is_some()
    }
}

const TOO_LARGE: Fault = Fault::new(413, RejectReason::BodyTooLarge, "request content too large");

/// The facts of a request's head that outlive it.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    pub minor: u8,
    pub to_head: bool,
    /// May be sent again if its connection broke.
    is_idempotent: bool,
    expects_continue: bool,
    /// The client wants the connection kept.
    pub keep_alive: bool,
}

/// How an exchange ended.
pub enum Outcome {
    /// The client got the primary's whole answer. `is_forwarded`: the primary got the whole request, too; otherwise a part of
    /// its content may still come.
    Answered { status: u16, is_forwarded: bool },
    /// The client and the primary have agreed upon a tunnel, whose beginning the client has.
    Switched(Box<Tunnel>),
    /// The client got nothing yet; the gateway answers by itself.
    Refused(Refusal),
    /// The client's part of it was cut; it can be told nothing else.
    Broken,
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

/// The gateway's own response.
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
    pub fn reject(&self) -> Option<RejectReason> {
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

/// Forwards the request and relays the answer; or gives the answer that its route has for it.
pub async fn run(cx: &Rc<Context>, client: &mut Message<'_>, request: &mut Request) -> Outcome {
    if let Some(delay) = request.delay {
        io::sleep_ms(delay.0).await;
    }
    let facts = request.facts;
    if let Some(answer) = request.answer.take() {
        let keep = facts.keep_alive && client.content.is_done();
        let said = Said::Given(answer);
        return Outcome::Refused(Refusal { said, to_head: facts.to_head, keep, minor: facts.minor });
    }
    let mut tally = Tally::default();
    let leaving = client.responder.leaving();
    let outcome = {
        let mut forwarding = pin!(attempts::forward(cx, client, request, &mut tally));
        poll_fn(|task| match leaving.poll(task) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => forwarding.as_mut().poll(task).map(Some),
        })
        .await
    };
    let outcome = outcome.unwrap_or_else(|| {
        // The primary's connection ends with the exchange under way on it.
        request.tee.get_mut().skip(SkipReason::Aborted);
        tally.is_abandoned = true;
        Outcome::Broken
    });
    request.response_bytes = tally.seen.bytes.get();
    let outcome = match (tally.switched.take(), request.tunnel.take()) {
        (Some(lease), Some(asked)) => {
            let config = &request.generation.config;
            Outcome::Switched(Box::new(Tunnel::new(cx, *asked, lease, config, request.response_bytes)))
        }
        (Some(_) | None, _) => outcome,
    };
    if tally.is_whole && !matches!(outcome, Outcome::Switched(_)) {
        let counters = &request.generation.counters.primaries[request.route][request.primary];
        counters.latency.record(tally.seen.latency_us.get());
    }
    if let Some(pairing) = request.pairing.get() {
        tally.tell(pairing, request.primary);
    }
    outcome
}

const NO_UPSTREAM: Fault = Fault::new(500, RejectReason::NoUpstream, "the route's primary is not known");

const SLOW_CONTENT: Fault = Fault::new(408, RejectReason::BodyTimeout, "request content came too slowly");

fn refused(facts: &Facts, fault: Fault, request_is_read: bool) -> Outcome {
    let keep = facts.keep_alive && request_is_read;
    Outcome::Refused(Refusal { said: Said::Fault(fault), to_head: facts.to_head, keep, minor: facts.minor })
}
