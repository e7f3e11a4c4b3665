//! A client connection in HTTP/2: one reader, one writer, and a task for each request.
//!
//! The reader feeds the session, the writer takes the session's output whenever no write is under way, so that frames of
//! streams meanwhile are the next write. A request is `streams`' and `exchange`'s business.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use super::{Client, Peer, streams};
use crate::asked;
use crate::context::Context;
use crate::http2::fields::Scheme;
use crate::io::{Idle, ReadHalf, Stream, WriteHalf};
use crate::limits::{BLOCK_BYTES, HEAD_BUFFER_BYTES, LINGER_MS, PARK_MS, RESPONSE_BUFFER_BYTES};
use crate::message::http2::{self, Around, Begun, Connection, is_spare};
use crate::time::Millis;

/// Serves the connection until it ends, with the last of its requests.
pub(super) async fn serve(cx: &Rc<Context>, client: &mut Client) {
    let scheme = match client.peer.scheme {
        asked::Scheme::Http => Scheme::Http,
        asked::Scheme::Https => Scheme::Https,
    };
    let generation = cx.generation();
    let around = Around {
        buffers: Rc::clone(&cx.buffers),
        sweeper: Rc::clone(&cx.sweeper),
        shard: Arc::clone(&cx.shard),
    };
    let limits = http2::limits(&generation.config, generation.takes_tunnels(client.peer.port));
    let pace = Pace {
        within: generation.config.timeouts.write.into(),
        bytes_per_second: generation.config.limits.response_bytes_per_second_min,
    };
    drop(generation);
    let connection = Connection::new(scheme, limits, client.listener.id, client.age, around);
    let _listed = cx.sessions.add(&connection);
    if client.is_draining(cx) {
        connection.drain();
    }
    let first = std::mem::take(&mut client.inbox);
    let ended = Ended(&connection);
    let Client { stream: Stream { r, w }, peer, .. } = client;
    let is_written = Cell::new(false);
    let reading = read(cx, &connection, r, (peer, first), &is_written);
    both(reading, write(cx, &connection, w, pace, &is_written)).await;
    drop(ended);
    connection.is_left().await;
}

/// However the connection ends, by a panic too, its streams are told.
struct Ended<'c>(&'c Connection);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.cut();
    }
}

/// Runs both to their ends.
async fn both(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut one_is_over, mut other_is_over) = (false, false);
    poll_fn(|task| {
        one_is_over = one_is_over || one.as_mut().poll(task).is_ready();
        other_is_over = other_is_over || other.as_mut().poll(task).is_ready();
        if one_is_over && other_is_over { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Feeds the session until either side ends.
async fn read(
    cx: &Rc<Context>,
    connection: &Rc<Connection>,
    r: &mut ReadHalf,
    (peer, first): (&Rc<Peer>, Vec<u8>),
    is_written: &Cell<bool>,
) {
    let begin = |begun: Begun| streams::begin(cx, connection, peer, begun);
    if !first.is_empty() {
        connection.feed(&first, begin);
    }
    cx.buffers.give(first);
    let mut room = RESPONSE_BUFFER_BYTES;
    loop {
        connection.wants_bytes().await;
        if connection.is_closed() {
            break;
        }
        let block = if room > RESPONSE_BUFFER_BYTES { cx.buffers.block() } else { cx.buffers.medium() };
        let (read, block) = r.read_or_park(block, room, Millis(PARK_MS)).await;
        match read {
            Ok(Idle::Read(n @ 1..)) => {
                connection.feed(&block, begin);
                // A client that fills a small one is uploading.
                room = if n == room { BLOCK_BYTES } else { RESPONSE_BUFFER_BYTES };
            }
            Ok(Idle::Parked) => connection.rest(),
            Ok(Idle::Read(0)) => {
                connection.end_input();
                return cx.buffers.give(block);
            }
            Err(_) => {
                connection.cut();
                return cx.buffers.give(block);
            }
        }
        let is_parked = matches!(read, Ok(Idle::Parked));
        cx.buffers.give(block);
        if is_parked && !connection.is_closed() && r.readable().await.is_err() {
            return connection.cut();
        }
    }
    if !connection.is_cut() {
        linger(cx, connection, r, is_written).await;
    }
}

/// By when a write has to be over.
#[derive(Clone, Copy)]
struct Pace {
    /// Until the client takes more of it.
    within: Millis,
    /// Bytes that earn a second; 0 asks for none.
    bytes_per_second: u64,
}

/// Writes all output, as one write each time, until no more comes.
async fn write(
    cx: &Context,
    connection: &Connection,
    w: &mut WriteHalf,
    pace: Pace,
    is_written: &Cell<bool>,
) {
    let mut spare = Vec::new();
    while let Some(out) = connection.output(std::mem::take(&mut spare)).await {
        let earned_ms = (out.len() as u64 * 1000).checked_div(pace.bytes_per_second);
        let end_ms = earned_ms.map_or(u64::MAX, |earned_ms| {
            cx.now_ms().saturating_add(pace.within.0).saturating_add(earned_ms)
        });
        let (sent, mut out) = w.write_all_by(out, pace.within, end_ms).await;
        if sent.is_err() {
            connection.cut();
            break;
        }
        out.clear();
        if is_spare(&out) {
            spare = out;
        }
    }
    if !connection.is_cut() {
        w.finish(pace.within).await;
    }
    is_written.set(true);
    // The client may still be sending, and closing upon that could overtake our last frames.
    w.limit_pending_read(Millis(LINGER_MS));
}

/// Reads on until all is written and for a moment behind it: closing with unread bytes would reset the connection.
async fn linger(cx: &Rc<Context>, connection: &Connection, r: &mut ReadHalf, is_written: &Cell<bool>) {
    if connection.is_broken() {
        // The last frames to it are few. It has so long for them, whatever it reads.
        r.give_up_at(cx.now_ms() + LINGER_MS);
    }
    let mut left = cx.generation().config.limits.drain_bytes_max;
    let mut end_ms = None;
    let mut block = cx.buffers.small();
    loop {
        let within = if is_written.get() {
            let now_ms = cx.now_ms();
            Millis(end_ms.get_or_insert(now_ms + LINGER_MS).saturating_sub(now_ms))
        } else {
            Millis::FOREVER
        };
        if within == Millis(0) {
            break;
        }
        block.clear();
        let (result, filled) = r.discard(block, HEAD_BUFFER_BYTES, within).await;
        block = filled;
        match result {
            Ok(n) if n > 0 && (!is_written.get() || n as u64 <= left) => left = left.saturating_sub(n as u64),
            Ok(_) | Err(_) => break,
        }
    }
    cx.buffers.give(block);
}
