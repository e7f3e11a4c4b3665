//! The duties of passing time, and the way out: called with the time, about every 100 ms.

use super::streams::{Receiving, Sending};
use super::{Close, Drain, Event, PIECE_BYTES_MAX, Role, Session, Stream, Why};
use crate::http2::frame::{self, Code};
use crate::http2::guard::Flood;

/// How long the peer has to read the first GOAWAY before the last one, where it does not answer the PING beside it.
const GOAWAY_MS: u64 = 1_000;

/// A window that is next to shut for less is that of a server that is about to read.
const SHUT_MS: u64 = 200;

/// A connection's window with less room is next to shut: it has none for one stream's turn.
const SHUT_BYTES: usize = PIECE_BYTES_MAX;

/// A stream that is alone waits so long for its share to grow, then it takes all there is: its server may give nothing back
/// before that.
const ALONE_MS: u64 = 1_000;

/// The least patience with a stream that holds window which others wait for.
const HOLDER_MS_MIN: u64 = 1_000;

/// The holder has more than so many times as many unread bytes as a waiting stream.
const HOLDER_TIMES: usize = 4;

/// PINGs of ours are told apart by their payload.
pub(super) const PING_OF_DRAIN: [u8; 8] = *b"umbra-go";
const PING_OF_LIFE: [u8; 8] = *b"umbra-up";

impl Session {
    /// Looks at the clock.
    pub fn tick(&mut self, now_ms: u64) {
        if self.drain == Drain::Closed {
            return;
        }
        let since = |then: u64| now_ms.saturating_sub(then);
        if !self.input.has_settings() && since(self.started_ms) >= self.limits.head_ms_max {
            return self.flood(Flood::Slow);
        }
        if self.input.block_since().is_some_and(|then| since(then) >= self.limits.head_ms_max) {
            return self.flood(Flood::Slow);
        }
        self.look_at_window(now_ms);
        self.give_up_stalled(now_ms);
        if !self.streams.is_empty() {
            self.idle_since_ms = now_ms;
        }
        match self.drain {
            Drain::Announced { at_ms } if since(at_ms) >= GOAWAY_MS => self.admit_no_more(),
            Drain::No if self.streams.is_empty() && since(self.idle_since_ms) >= self.limits.idle_ms_max => {
                self.admit_no_more();
            }
            Drain::No | Drain::Announced { .. } | Drain::Final | Drain::Closed => {}
        }
        self.ask_for_life(now_ms);
    }

    /// Client: whether the server has let next to no content go on any stream for a while: unread content of some keeps all
    /// others waiting.
    pub fn is_shut(&self, now_ms: u64) -> bool {
        self.shut_since_ms.is_some_and(|then| now_ms.saturating_sub(then) >= SHUT_MS)
    }

    /// Client: a server that does not read one stream's bytes must not stop all others.
    fn look_at_window(&mut self, now_ms: u64) {
        if self.role == Role::Server {
            return;
        }
        self.let_one_have_all(now_ms);
        if self.send_window.room() >= SHUT_BYTES {
            self.shut_since_ms = None;
            return;
        }
        let shut_ms = now_ms.saturating_sub(*self.shut_since_ms.get_or_insert(now_ms));
        let write_ms = self.limits.write_ms_max;
        // Streams that wait to write have been given up by then, and the window is as narrow as before: it is lost.
        if shut_ms >= write_ms.saturating_add(write_ms / 2).max(SHUT_MS) {
            self.drain(now_ms);
        }
        let patience_ms = (write_ms / 8).max(HOLDER_MS_MIN);
        if shut_ms.min(now_ms.saturating_sub(self.relieved_ms)) >= patience_ms
            && let Some(holder) = self.holder(patience_ms, now_ms)
        {
            self.relieved_ms = now_ms;
            self.stalled(holder);
        }
    }

    /// The stream that holds most of the window and gets nowhere, where another waits for a little of it.
    fn holder(&self, patience_ms: u64, now_ms: u64) -> Option<u32> {
        let is_stuck = |stream: &&Stream| {
            !stream.we_are_done() && now_ms.saturating_sub(stream.progress_ms) >= patience_ms
        };
        let holder = self.streams.iter().filter(is_stuck).max_by_key(|stream| stream.unread_bytes)?;
        let waits = |stream: &Stream| {
            (stream.is_ready || stream.is_held_back)
                && stream.unread_bytes.saturating_mul(HOLDER_TIMES) < holder.unread_bytes
        };
        self.streams.iter().any(waits).then_some(holder.id)
    }

    fn let_one_have_all(&mut self, now_ms: u64) {
        let streams = &mut self.streams;
        // Streams that are over are forgotten here, if their server gives no window back.
        self.held_back.retain(|id| streams.get(*id).is_some_and(|known| known.is_held_back));
        if streams.len() == 1
            && let Some(known) = self.held_back.first().and_then(|id| streams.get_mut(*id))
            && now_ms.saturating_sub(known.progress_ms) >= ALONE_MS
        {
            known.has_all = true;
            self.let_go();
        }
    }

    /// No more streams, those that are open go on: GOAWAY, twice in the role of a server, so that requests that are on
    /// their way are taken (RFC 9113 §6.8).
    pub fn drain(&mut self, now_ms: u64) {
        if self.drain != Drain::No {
            return;
        }
        match self.role {
            Role::Server => {
                self.drain = Drain::Announced { at_ms: now_ms };
                frame::goaway(&mut self.out, frame::STREAM_MAX, Code::NoError, b"");
                frame::ping(&mut self.out, PING_OF_DRAIN, false);
            }
            Role::Client => self.admit_no_more(),
        }
    }

    /// The last GOAWAY.
    pub(super) fn admit_no_more(&mut self) {
        if matches!(self.drain, Drain::Final | Drain::Closed) {
            return;
        }
        let last = match self.role {
            Role::Server => self.last_stream,
            Role::Client => 0,
        };
        self.last_admitted = last;
        frame::goaway(&mut self.out, last, Code::NoError, b"");
        self.drain = Drain::Final;
        if self.role == Role::Client {
            self.events.push_back(Event::StreamsChanged);
        }
        self.close_if_done();
    }

    /// Sets whether a stream carries a tunnel, which has no pace and no length.
    pub fn be_tunnel(&mut self, stream: u32, is_tunnel: bool, now_ms: u64) {
        if let Some(known) = self.streams.get_mut(stream) {
            known.is_tunnel = is_tunnel;
            known.was_tunnel |= is_tunnel;
            (known.progress_ms, known.waits_since_ms, known.taken_bytes) = (now_ms, now_ms, 0);
        }
    }

    /// A PING of ours came back.
    pub(super) fn ping_answered(&mut self, payload: [u8; 8]) {
        if payload == PING_OF_DRAIN && matches!(self.drain, Drain::Announced { .. }) {
            self.admit_no_more();
        }
        // Anything heard ends the wait.
    }

    fn ask_for_life(&mut self, now_ms: u64) {
        if self.limits.ping_after_ms == 0 || self.drain == Drain::Closed {
            return;
        }
        if !self.wants_bytes() || self.input_ended {
            // Silence says nothing of a peer that is not read, whose answer may lie unread, or that has said all.
            (self.heard_ms, self.ping_sent_ms) = (self.heard_ms.max(now_ms), None);
            return;
        }
        match self.ping_sent_ms {
            Some(sent) if now_ms.saturating_sub(sent) >= self.limits.ping_ms_max => {
                self.close(Code::NoError, "no answer to PING", Close::Lifeless);
            }
            Some(_) => {}
            None if self.streams.is_empty() => {}
            None if now_ms.saturating_sub(self.heard_ms) >= self.limits.ping_after_ms => {
                frame::ping(&mut self.out, PING_OF_LIFE, false);
                self.ping_sent_ms = Some(now_ms);
            }
            None => {}
        }
    }

    /// Resets streams whose peer takes none, or next to none, of the queued bytes, by the stream's window or by the
    /// connection's: it makes us hold them (CVE-2019-9517, CVE-2026-49975).
    fn give_up_stalled(&mut self, now_ms: u64) {
        let is_stalled = |stream: &&Stream| stream.is_stalled(&self.limits, now_ms);
        let stalled: Vec<u32> = self.streams.iter().filter(is_stalled).map(|stream| stream.id).collect();
        stalled.into_iter().for_each(|id| self.stalled(id));
    }

    fn stalled(&mut self, id: u32) {
        self.give_up(id, Code::Cancel);
        if let Some(known) = self.streams.get_mut(id) {
            (known.receiving, known.sending) = (Receiving::Reset, Sending::Reset);
            if known.is_held {
                self.events.push_back(Event::Reset { stream: id, why: Why::Stalled });
            }
        }
        self.forget(id);
    }
}
