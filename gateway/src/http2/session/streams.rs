//! The streams of a connection and their states (RFC 9113 §5.1), and a memory of those that ended last.

use std::collections::VecDeque;

use bytes::Bytes;
use slab::Slab;

use crate::http2::flow::{ReceiveWindow, SendWindow};
use crate::http2::frame::Code;
use crate::http2::guard::Limits;

/// The part of a message that may still come from the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receiving {
    /// The final head of a response.
    Head,
    /// Content or trailers.
    Content,
    /// END_STREAM came.
    Ended,
    /// Reset, by either.
    Reset,
}

/// The part of a message that may still go to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    /// The final head of a response.
    Head,
    Content,
    /// END_STREAM is in `out`.
    Ended,
    Reset,
}

/// The end that follows the queued content.
#[derive(Debug)]
pub(super) enum Ending {
    /// END_STREAM, on the last DATA frame.
    Stream,
    /// HEADERS with END_STREAM; the block is encoded.
    Trailers(Vec<u8>),
}

/// The state of a stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) receiving: Receiving,
    pub(super) sending: Sending,
    /// Content-Length as declared, where the content must be as long.
    pub(super) length: Option<u64>,
    /// Content that came.
    pub(super) received: u64,
    /// The cost of all that came, frames included.
    pub(super) cost: u64,
    /// The request's method was HEAD.
    pub(super) to_head: bool,
    pub(super) interims: usize,
    pub(super) send_window: SendWindow,
    pub(super) receive_window: ReceiveWindow,
    pub(super) queue: VecDeque<Bytes>,
    pub(super) queued_bytes: usize,
    pub(super) ending: Option<Ending>,
    /// The stream is in the ring of those that have content and a window.
    pub(super) is_ready: bool,
    /// The stream has content and a window of its own, and has used its share of the connection's.
    pub(super) is_held_back: bool,
    /// Content that was sent and of which the peer has not said that it read it.
    pub(super) unread_bytes: usize,
    /// The stream has no share to wait for: it is alone.
    pub(super) has_all: bool,
    /// Its caller was told that there is no room.
    pub(super) wants_room: bool,
    /// Its caller waits until its end is in `out`.
    pub(super) wants_flush: bool,
    /// The last time at which it made progress with the queued bytes.
    pub(super) progress_ms: u64,
    /// Since when something has been queued without a break, and how much its peer took since.
    pub(super) waits_since_ms: u64,
    pub(super) taken_bytes: u64,
    /// Its exchange goes on. It counts against `streams_max` until that has ended.
    pub(super) is_held: bool,
    /// The stream carries a tunnel: its holder knows how long that may be silent or take nothing.
    pub(super) is_tunnel: bool,
    /// A tunnel was opened on it, whether or not it still carries one.
    pub(super) was_tunnel: bool,
    /// Said once our side has ended, where the peer's has not: the rest of its content is not wanted.
    pub(super) reset_at_end: Option<Code>,
}

impl Stream {
    pub(super) fn peer_is_done(&self) -> bool {
        matches!(self.receiving, Receiving::Ended | Receiving::Reset)
    }

    pub(super) fn we_are_done(&self) -> bool {
        matches!(self.sending, Sending::Ended | Sending::Reset)
    }

    /// Whether no frame can follow either way, and the task that held it knows.
    pub(super) fn is_over(&self) -> bool {
        self.receiving == Receiving::Reset || (self.peer_is_done() && self.we_are_done())
    }

    /// Content or an end waits.
    pub(super) fn has_more(&self) -> bool {
        !self.we_are_done() && (self.queued_bytes > 0 || self.ending.is_some())
    }

    /// Something is about to be queued.
    pub(super) fn waits(&mut self, now_ms: u64) {
        if !self.has_more() {
            (self.progress_ms, self.waits_since_ms, self.taken_bytes) = (now_ms, now_ms, 0);
        }
    }

    /// Whether its peer takes too few of the queued bytes.
    pub(super) fn is_stalled(&self, limits: &Limits, now_ms: u64) -> bool {
        let earned_ms = self.taken_bytes.saturating_mul(1000).checked_div(limits.bytes_per_second_min);
        let patience_ms =
            earned_ms.map_or(u64::MAX, |earned_ms| limits.write_ms_max.saturating_add(earned_ms));
        self.has_more()
            && !self.is_tunnel
            && (now_ms.saturating_sub(self.progress_ms) >= limits.write_ms_max
                || now_ms.saturating_sub(self.waits_since_ms) > patience_ms)
    }

    /// Ends the stream in both directions.
    pub(super) fn abandon(&mut self) {
        if self.receiving != Receiving::Ended {
            self.receiving = Receiving::Reset;
        }
        if self.sending != Sending::Ended {
            self.sending = Sending::Reset;
        }
        self.queue = VecDeque::new();
        self.queued_bytes = 0;
        self.ending = None;
        self.reset_at_end = None;
    }
}

/// The side that ended a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By our RST_STREAM: frames that the peer sent before it read that are ignored (RFC 9113 §5.4.2).
    ByUs,
    ByPeer,
}

/// Streams that we reset: frames that crossed our RST_STREAM are ignored. Four times the default `streams_max` in flight.
const RESET_BY_US_MAX: usize = 512;

/// Streams that the peer ended: only its mistakes are told apart by them.
const ENDED_BY_PEER_MAX: usize = 64;

/// The streams of one connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    slots: Slab<Stream>,
    /// (id, slot), ascending: ids only grow.
    index: Vec<(u32, usize)>,
    reset_by_us: VecDeque<u32>,
    ended_by_peer: VecDeque<u32>,
}

impl Streams {
    /// Gives back the memory of streams, where there are none.
    pub(super) fn trim(&mut self) {
        if self.is_empty() {
            (self.slots, self.index) = (Slab::new(), Vec::new());
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    #[inline]
    fn find(&self, id: u32) -> Option<usize> {
        // The youngest is asked for most often.
        match self.index.last() {
            Some((last, slot)) if *last == id => Some(*slot),
            Some(_) => {
                let at = self.index.binary_search_by_key(&id, |(id, _)| *id).ok()?;
                self.index.get(at).map(|(_, slot)| *slot)
            }
            None => None,
        }
    }

    #[inline]
    pub(super) fn get(&self, id: u32) -> Option<&Stream> {
        self.slots.get(self.find(id)?)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Stream> {
        let slot = self.find(id)?;
        self.slots.get_mut(slot)
    }

    pub(super) fn add(&mut self, stream: Stream) {
        debug_assert!(self.index.last().is_none_or(|(last, _)| *last < stream.id), "ids only grow");
        let id = stream.id;
        let slot = self.slots.insert(stream);
        self.index.push((id, slot));
    }

    /// Forgets a stream that is over on both sides and whose exchange has ended.
    pub(super) fn settle(&mut self, id: u32) {
        let is_over = |stream: &Stream| !stream.is_held && stream.peer_is_done() && stream.we_are_done();
        if self.get(id).is_some_and(is_over)
            && let Ok(at) = self.index.binary_search_by_key(&id, |(id, _)| *id)
        {
            let (_, slot) = self.index.remove(at);
            let stream = self.slots.remove(slot);
            if stream.receiving == Receiving::Ended {
                self.remember(id, Ended::ByPeer);
            }
        }
    }

    pub(super) fn remember(&mut self, id: u32, how: Ended) {
        let (memory, max) = match how {
            Ended::ByUs => (&mut self.reset_by_us, RESET_BY_US_MAX),
            Ended::ByPeer => (&mut self.ended_by_peer, ENDED_BY_PEER_MAX),
        };
        if memory.len() == max {
            memory.pop_front();
        }
        memory.push_back(id);
    }

    /// How a stream ended that is no longer known; `None`: it was never opened, or that was long ago.
    pub(super) fn how_ended(&self, id: u32) -> Option<Ended> {
        if self.reset_by_us.contains(&id) {
            return Some(Ended::ByUs);
        }
        self.ended_by_peer.contains(&id).then_some(Ended::ByPeer)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.index.iter().filter_map(|(_, slot)| self.slots.get(*slot))
    }

    pub(super) fn ids(&self) -> Vec<u32> {
        self.index.iter().map(|(id, _)| *id).collect()
    }

    pub(super) fn for_each(&mut self, mut see: impl FnMut(&mut Stream)) {
        for (_, slot) in &self.index {
            if let Some(stream) = self.slots.get_mut(*slot) {
                see(stream);
            }
        }
    }
}
