//! The handshake of a client with a listener that has `tls`: bounded in number, rate and time, and counted by how it ended.

use std::rc::Rc;
use std::sync::Arc;

use config::{Limits, Protocol};

use super::Client;
use crate::admission::Place;
use crate::asked::Scheme;
use crate::context::Context;
use crate::io::Turn;
use crate::limits::DRAIN_IDLE_MS;
use crate::time::Millis;
use crate::tls::fault::Fault;
use crate::tls::{Listening, Secured, client_cert};

/// Whether one more handshake is begun; asked at accept, before anything is read.
pub(super) fn may_begin(cx: &Context, limits: &Limits, place: &Place) -> Result<(), Fault> {
    if cx.shard.tls.pending.get() >= i64::try_from(limits.tls_handshakes_pending_max).unwrap_or(i64::MAX) {
        return Err(Fault::Pending);
    }
    match limits.tls_handshakes_per_second_per_address_max {
        Some(max) if !place.may_shake(max, cx.now_ms()) => Err(Fault::Rate),
        Some(_) | None => Ok(()),
    }
}

/// A handshake that is under way, counted.
struct Pending<'c>(&'c Context);

impl<'c> Pending<'c> {
    fn new(cx: &'c Context) -> Self {
        cx.shard.tls.pending.add(1);
        Self(cx)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.shard.tls.pending.add(-1);
    }
}

/// Covers the client's connection. `false` where that came to nothing, which is counted: there is no client then.
pub(super) async fn run(cx: &Rc<Context>, client: &mut Client, tls: Arc<Listening>) -> bool {
    let _pending = Pending::new(cx);
    let within = if client.is_draining(cx) {
        Millis(DRAIN_IDLE_MS)
    } else {
        cx.generation().config.timeouts.tls_handshake.into()
    };
    let covered = match tls.session() {
        Ok(session) => client.stream.cover(session, Turn::Client, within).await,
        Err(fault) => Err(fault),
    };
    match covered {
        Ok(facts) if !facts.names_protocol && !tls.takes_unnamed() => {
            // RFC 9113 §3.2: HTTP/2 over TLS is chosen by ALPN, never guessed.
            cx.shard.tls.failures.inc(Fault::NoCommonProtocol);
            false
        }
        Ok(facts) => {
            cx.shard.tls.handshakes.inc(facts.kind());
            let shown = client.stream.peer_certificate();
            let certificate = shown.as_deref().map(client_cert::described).unwrap_or_default();
            let names = shown.as_deref().map(client_cert::names).unwrap_or_default();
            let server_name = tls.server_name(client.stream.server_name().as_deref());
            client.chosen = Some(if facts.is_http2 { Protocol::Http2 } else { Protocol::Http1 });
            // invariant: no request has come yet that could hold it too.
            if let Some(peer) = Rc::get_mut(&mut client.peer) {
                peer.scheme = Scheme::Https;
                peer.secured = Some(Secured { listening: tls, server_name, certificate, names });
            }
            true
        }
        Err(fault) => {
            cx.shard.tls.failures.inc(fault);
            false
        }
    }
}
