//! A client connection from accept to close: chooses its protocol, and the room for it.

use std::rc::Rc;

use config::{Protocol, Protocols};

use super::{Client, http1, http2};
use crate::context::Context;
use crate::http2::frame::PREFACE;
use crate::io::Idle;
use crate::limits::{PARK_MS, REQUEST_READ_BYTES};
use crate::time::Millis;
use crate::tls::fault::Fault;

/// Serves the connection until it ends.
///
/// Borrows the client: moved in, it would be held once more in every idle connection.
pub async fn serve(cx: &Rc<Context>, client: &mut Client) {
    let protocol = match (client.chosen, client.listener.protocols.get()) {
        (Some(chosen), _) => Some(chosen),
        // Boxed for as long as it takes: it would be held in every idle connection.
        (None, Protocols { http2: true, http1: true }) => Box::pin(told_by_preface(cx, client)).await,
        (None, Protocols { http2: true, http1: false }) => Some(Protocol::Http2),
        (None, Protocols { http2: false, .. }) => Some(Protocol::Http1),
    };
    match protocol {
        Some(Protocol::Http1) => http1::serve(cx, client).await,
        // Boxed: it is large, and most connections are not of its kind.
        Some(Protocol::Http2) => Box::pin(http2::serve(cx, client)).await,
        None => {}
    }
    if let Some(fault @ Fault::Noise) = client.stream.broken() {
        cx.shard.tls.failures.inc(fault);
    }
}

/// Reads until the first bytes tell one protocol from the other (RFC 9113 §3.4); `None` where none comes.
async fn told_by_preface(cx: &Rc<Context>, client: &mut Client) -> Option<Protocol> {
    let timeouts = cx.generation().config.timeouts.clone();
    let idle_until_ms = cx.now_ms().saturating_add(Millis::from(timeouts.client_idle).0);
    let mut deadline_ms = None;
    loop {
        let known = client.inbox.len().min(PREFACE.len());
        if client.inbox.get(..known) != PREFACE.get(..known) {
            return Some(Protocol::Http1);
        }
        if known == PREFACE.len() {
            return Some(Protocol::Http2);
        }
        let now_ms = cx.now_ms();
        let inbox = std::mem::take(&mut client.inbox);
        if !inbox.is_empty() {
            // As for a head: bytes that drip in do not extend it.
            let end = *deadline_ms.get_or_insert_with(|| now_ms + Millis::from(timeouts.request_head).0);
            let within = Millis(end.saturating_sub(now_ms));
            let (read, inbox) = client.stream.r.read(inbox, REQUEST_READ_BYTES, within).await;
            client.inbox = inbox;
            if !matches!(read, Ok(1..)) {
                return None;
            }
            continue;
        }
        let within = if client.is_draining(cx) {
            Millis(crate::limits::DRAIN_IDLE_MS)
        } else {
            Millis(idle_until_ms.saturating_sub(now_ms))
        };
        let inbox = if inbox.capacity() == 0 { cx.buffers.medium() } else { inbox };
        let (read, inbox) =
            client.stream.r.read_idle(inbox, REQUEST_READ_BYTES, within, Millis(PARK_MS)).await;
        match read {
            Ok(Idle::Read(1..)) => client.inbox = inbox,
            Ok(Idle::Parked) => {
                cx.buffers.give(inbox);
                client.stream.r.readable_idle(within).await.ok()?;
            }
            Ok(Idle::Read(0)) | Err(_) => return None,
        }
    }
}
