//! What happens by itself as time passes, and the way out: called with the time, about every 100 ms.

use super::streams::{Receiving, Sending};
use super::{Close, Drain, Event, Role, Session, Why};
use crate::http2::frame::{self, Code};
use crate::http2::guard::Flood;

/// How long the peer has to read the first GOAWAY before the last one, where it does not answer the PING beside it.
const GOAWAY_MS: u64 = 1_000;

/// PINGs of ours are told apart by what they carry.
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

    /// Whether what a stream carries is a tunnel, which has no pace and no length.
    pub fn be_tunnel(&mut self, stream: u32, is_tunnel: bool, now_ms: u64) {
        if let Some(known) = self.streams.get_mut(stream) {
            known.is_tunnel = is_tunnel;
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
            // Silence says nothing of a peer that is not read, whose answer may be where nobody looks, or that has said all.
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

    /// A peer that takes nothing, or next to nothing, of what waits for it, whether by the stream's window or by the
    /// connection's, makes us hold it (CVE-2019-9517, CVE-2026-49975).
    fn give_up_stalled(&mut self, now_ms: u64) {
        let is_stalled = |stream: &&super::Stream| stream.is_stalled(&self.limits, now_ms);
        let stalled: Vec<u32> = self.streams.iter().filter(is_stalled).map(|stream| stream.id).collect();
        for id in stalled {
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
}
