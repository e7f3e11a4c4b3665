//! The attempts of an exchange at its primary: a connection, the request, the response, until one attempt has a response for
//! the client. `judge` decides what follows each attempt.

use std::rc::Rc;

use super::judge::{After, Attempt, End, Known, judge};
use super::progress::Progress;
use super::relay::{Terms, relay};
use super::seen::{Seen, Tally};
use super::upload::duplex;
use super::{NO_UPSTREAM, Outcome, Refusal, Request, refused};
use crate::context::Context;
use crate::error::Failure;
use crate::io;
use crate::message::client;
use crate::message::server::Message;
use crate::metrics::SkipReason;
use crate::plan::Forward;
use crate::time::Millis;

/// Asks the primary, as often as its route allows, until there is something for the client.
pub(super) async fn forward(
    cx: &Rc<Context>,
    client: &mut Message<'_>,
    request: &mut Request,
    tally: &mut Tally,
) -> Outcome {
    let (facts, primary, cors) = (request.facts, request.primary, request.cors.take());
    let generation = Rc::clone(&request.generation);
    let plan = &generation.plans[request.route];
    let Some((forward, upstream)) = plan.forward().and_then(|f| Some((f, f.upstream(primary)?))) else {
        return Outcome::Refused(Refusal::hang_up(NO_UPSTREAM));
    };
    let counters = generation.upstreams.counters(upstream);
    // All of it is in `head`: it can be sent again as it is.
    let is_whole = client.content.is_done();
    let conversation = client::Terms {
        buffers: &cx.buffers,
        heads: (&generation.config.limits).into(),
        to_head: facts.to_head,
        declared: request.declared,
        offer: request.tunnel.as_ref().map(|asked| asked.offer),
    };
    let asks_for_tunnel = request.tunnel.is_some();
    let is_connect = request.tunnel.as_ref().is_some_and(|asked| asked.is_connect);
    let mut tries = Tries::new(cx, forward, request.within);
    if asks_for_tunnel {
        tries.left = 0;
    }
    // A tunnel has a new connection: an upgrade that a server mishandles must not trouble another exchange.
    let (mut may_be_stale, mut fresh) = (!asks_for_tunnel, asks_for_tunnel);
    let is_duplex = client.content.is_duplex();
    let mut search = generation.upstreams.search(upstream, request.key, &cx.buffers);
    let end = loop {
        let mut progress = Progress::default();
        let mut lease = None;
        let attempt = match search.checkout(fresh, tries.deadline_ms).await {
            Err(failure) => Attempt::NoConnection(failure),
            Ok(taken) if asks_for_tunnel && !taken.line.takes_tunnels() => Attempt::NoConnection(NO_TUNNELS),
            Ok(taken) => {
                let lease = lease.insert(taken);
                may_be_stale &= lease.reused;
                tally.attempts += 1;
                tally.endpoint = Some(lease.address());
                tally.seen = Seen::new(request.pairing.get().map_or(0, |pairing| pairing.keeps_bytes()));
                let (mut to, mut from) = lease.line.converse(&conversation);
                let write_ms =
                    Millis::from(generation.config.timeouts.write).until(tries.deadline_ms, cx.now_ms());
                let written_us = cx.now_us();
                let (sent, head) = to.begin(std::mem::take(&mut request.head), write_ms).await;
                request.head = head;
                if let Err(failed) = sent {
                    Attempt::NotWritten(failed)
                } else {
                    let terms = Terms {
                        seen: &tally.seen,
                        config: &generation.config,
                        facts,
                        deadline_ms: tries.deadline_ms,
                        try_timeout: forward.try_timeout,
                        is_duplex: is_duplex && from.is_duplex(),
                        is_unqueued: !is_duplex && !from.is_duplex(),
                        retry: (is_whole && tries.left > 0).then_some(forward),
                        offer: conversation.offer,
                        is_connect,
                        edits: plan.response_edits(primary, cors.as_deref()),
                    };
                    let relayed = if is_whole {
                        progress.completed(cx, written_us, request.pairing.get());
                        request.tee.get_mut().complete(client.content.trailers(), cx.now_ms());
                        relay(cx, &mut client.responder, &mut from, &terms, &progress, &request.tee).await
                    } else {
                        // Boxed because it is large and rare: idle connections must not carry its size.
                        match Box::pin(duplex(cx, client, (&mut to, &mut from), request, &terms)).await {
                            Ok((relayed, both)) => {
                                progress = both;
                                relayed
                            }
                            Err(outcome) => {
                                tally.is_abandoned = true;
                                cx.buffers.give(std::mem::take(&mut request.head));
                                return outcome;
                            }
                        }
                    };
                    Attempt::Relayed(relayed)
                }
            }
        };
        let known = Known {
            may_be_stale,
            may_repeat: !fresh,
            is_idempotent: facts.is_idempotent,
            is_whole,
            is_forwarded: progress.complete.get(),
            waits_for_client: progress.waits_for_client.get(),
            ends_by_client: tries.are_ended_by_client(cx),
            retries_connect: forward.retries_connect() && !asks_for_tunnel,
            retries_reset: forward.retries_reset() && !asks_for_tunnel,
        };
        let judged = judge(&attempt, &known);
        if let (Some(lease), Some(report)) = (&lease, judged.report) {
            search.report(lease, report);
        }
        if let Some(failure) = judged.failure {
            counters.failures.inc(failure);
        }
        if let Some(fault) = attempt.refused_handshake() {
            counters.tls.failures.inc(fault);
            if let Some(lease) = &lease {
                search.refused(lease, fault);
            }
        }
        let end = match judged.after {
            After::Fresh => {
                counters.retries.inc();
                (may_be_stale, fresh) = (false, true);
                continue;
            }
            After::Retry { tried, or } => {
                if tries.again(cx, forward).await {
                    tried.into_iter().for_each(|status| tally.retried(status));
                    counters.retries.inc();
                    continue;
                }
                or
            }
            After::End(end) => end,
        };
        if let Attempt::Relayed(Ok(relayed)) = attempt {
            tally.is_whole = true;
            if asks_for_tunnel {
                // The bytes that follow are the tunnel's, or, behind a refusal of it, no exchange's.
                tally.switched = lease.take().filter(|_| relayed.is_tunnel);
            }
            // A response that was over before the request was: the primary's reading of the rest is unknown, so its
            // connection serves no other exchange (RFC 9112 §9.3; an early response is how requests are smuggled).
            if let (Some(lease), Some(rest)) = (lease, relayed.rest.filter(|_| known.is_forwarded)) {
                lease.put_back(rest);
            }
        }
        break (end, known.is_forwarded);
    };
    cx.buffers.give(std::mem::take(&mut request.head));
    match end {
        (End::Answered(status), is_forwarded) => Outcome::Answered { status, is_forwarded },
        (End::Refused { fault, skip, is_read }, _) => {
            request.tee.get_mut().skip(skip);
            tally.is_abandoned |= skip == SkipReason::Aborted;
            refused(&facts, fault, is_read)
        }
        (End::Broken { is_abandoned }, _) => {
            tally.is_abandoned |= is_abandoned;
            Outcome::Broken
        }
    }
}

const NO_TUNNELS: Failure = Failure::Protocol("the upstream's HTTP/2 takes no tunnels");

/// The retries that a route grants one exchange.
struct Tries {
    left: u32,
    made: u32,
    /// When the whole exchange has to be over.
    deadline_ms: u64,
    /// The client's own deadline is the earlier one.
    is_clients: bool,
}

impl Tries {
    fn new(cx: &Context, forward: &Forward, allowed: Option<Millis>) -> Self {
        let within = [forward.timeout, allowed].into_iter().flatten().map(|within| within.0).min();
        let deadline_ms = within.map_or(u64::MAX, |within| cx.now_ms().saturating_add(within));
        let is_clients = allowed.is_some_and(|own| forward.timeout.is_none_or(|timeout| own.0 < timeout.0));
        Self { left: forward.retries.attempts, made: 0, deadline_ms, is_clients }
    }

    /// A timer may be a millisecond early.
    fn are_ended_by_client(&self, cx: &Context) -> bool {
        self.is_clients && cx.now_ms().saturating_add(1) >= self.deadline_ms
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
