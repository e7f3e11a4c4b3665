//! From messages to bytes: heads go into `out` at once, content waits for windows and its turn, and the writer takes `out` whole.

use bytes::Bytes;

use super::streams::{Ending, Sending};
use super::{Drain, Event, OUT_BYTES_MAX, PIECE_BYTES_MAX, Role, Session, Unsent, What};
use crate::http2::fields::{NeverIndexed, outbound};
use crate::http2::frame::{self, END_STREAM, Kind};

impl Session {
    /// Queues something on a stream. Content beyond the limit of [`Session::has_room`] is taken too: the caller waits before it
    /// brings more.
    pub fn queue(&mut self, stream: u32, what: What<'_>, now_ms: u64) -> Result<(), Unsent> {
        let known = self.streams.get(stream).ok_or(Unsent::Gone)?;
        if known.we_are_done() || known.ending.is_some() {
            // A reset may follow anything that is queued.
            return match what {
                What::Reset(code) if !known.we_are_done() || !known.peer_is_done() => {
                    self.give_up(stream, code);
                    self.forget(stream);
                    Ok(())
                }
                What::Head { .. }
                | What::Content(_)
                | What::Copied(_)
                | What::Trailers(_)
                | What::End
                | What::Reset(_) => Err(Unsent::Gone),
            };
        }
        let is_content = matches!(what, What::Content(_) | What::Copied(_) | What::Trailers(_) | What::End);
        if is_content && known.sending == Sending::Head {
            return Err(Unsent::Headless);
        }
        match what {
            What::Head { lines, never_indexed, end } => {
                return self.queue_head(stream, lines, never_indexed, end);
            }
            What::Content(content) => self.queue_content(stream, content, now_ms),
            What::Copied(content) => self.queue_content(stream, Bytes::copy_from_slice(content), now_ms),
            What::Trailers(lines) => {
                let mut block = Vec::new();
                outbound::trailers(&mut block, &mut self.encoder, lines);
                self.queue_end(stream, Ending::Trailers(block), now_ms);
            }
            What::End => self.queue_end(stream, Ending::Stream, now_ms),
            What::Reset(code) => {
                self.give_up(stream, code);
                self.forget(stream);
            }
        }
        Ok(())
    }

    /// Whether a stream should be brought more content now; if not, [`Event::Room`] will say when.
    pub fn has_room(&mut self, stream: u32) -> bool {
        let max = self.limits.queued_bytes_max;
        let Some(known) = self.streams.get_mut(stream) else { return true };
        known.wants_room = known.queued_bytes >= max && !known.we_are_done();
        !known.wants_room
    }

    /// Whether all that was queued on a stream, its end included, is in `out` or gone; if not, [`Event::Flushed`] will say when.
    /// An exchange that waits for it knows whether the peer took its answer.
    pub fn is_flushed(&mut self, stream: u32) -> bool {
        let Some(known) = self.streams.get_mut(stream) else { return true };
        known.wants_flush = !known.we_are_done();
        !known.wants_flush
    }

    /// Whether [`Session::take`] would give anything.
    pub fn has_output(&self) -> bool {
        // Of a connection that is over no content goes any more.
        let may_fill = self.drain != Drain::Closed && self.send_window.room() > 0;
        !self.out.is_empty() || (may_fill && !self.ready.is_empty())
    }

    /// Whether more bytes should be read from the peer now. A client that asks and does not read is not read either, or its
    /// answers would pile up in `out`. A server is always read: it makes us say little, and if both ends waited for
    /// the other to read, both would wait for ever.
    pub fn wants_bytes(&self) -> bool {
        self.role == Role::Client || self.out.len() < OUT_BYTES_MAX
    }

    /// Whether as much waits in `out` as one write takes: its peer reads slower than it is asked.
    pub fn is_backed_up(&self) -> bool {
        self.out.len() >= OUT_BYTES_MAX
    }

    /// The next bytes to the peer, all of them; `spare` is filled after it. The writer calls this when its last write is done.
    pub fn take(&mut self, spare: Vec<u8>, now_ms: u64) -> Vec<u8> {
        debug_assert!(spare.is_empty(), "what is in it would be sent");
        self.guard.out_was_taken();
        self.fill(now_ms);
        std::mem::replace(&mut self.out, spare)
    }

    fn queue_head(
        &mut self,
        stream: u32,
        lines: &[u8],
        never_indexed: &NeverIndexed,
        end: bool,
    ) -> Result<(), Unsent> {
        if self.streams.get(stream).is_none_or(|known| known.sending != Sending::Head) {
            return Err(Unsent::Gone);
        }
        self.block.clear();
        let status = outbound::response(&mut self.block, &mut self.encoder, lines, never_indexed);
        let status = status.map_err(Unsent::Inexpressible)?;
        let is_interim = status < 200;
        frame::headers(&mut self.out, stream, &self.block, end && !is_interim);
        if let Some(known) = self.streams.get_mut(stream).filter(|_| !is_interim) {
            known.sending = Sending::Content;
            if end {
                self.ended(stream);
            }
        }
        Ok(())
    }

    fn queue_content(&mut self, stream: u32, content: Bytes, now_ms: u64) {
        let Some(known) = self.streams.get_mut(stream).filter(|_| !content.is_empty()) else { return };
        known.waits(now_ms);
        known.queued_bytes += content.len();
        known.queue.push_back(content);
        self.get_ready(stream);
    }

    fn queue_end(&mut self, stream: u32, ending: Ending, now_ms: u64) {
        let Some(known) = self.streams.get_mut(stream) else { return };
        known.waits(now_ms);
        known.ending = Some(ending);
        if known.queued_bytes == 0 {
            self.end(stream);
        }
    }

    /// Puts a stream in the ring if it can send.
    pub(super) fn get_ready(&mut self, stream: u32) {
        let Some(known) = self.streams.get_mut(stream) else { return };
        if !known.is_ready && !known.is_held_back && known.queued_bytes > 0 && known.send_window.room() > 0 {
            known.is_ready = true;
            self.ready.push_back(stream);
        }
    }

    /// The peer has read something: streams that hold as much of its window as they may look again, first those that hold least.
    pub(super) fn let_go(&mut self) {
        let mut held_back = std::mem::take(&mut self.held_back);
        held_back.sort_by_key(|stream| self.streams.get(*stream).map_or(0, |known| known.unread_bytes));
        for stream in held_back {
            if let Some(known) = self.streams.get_mut(stream) {
                known.is_held_back = false;
            }
            self.get_ready(stream);
        }
    }

    /// Fills `out` with content, one piece of each stream in turn.
    fn fill(&mut self, now_ms: u64) {
        if self.drain == Drain::Closed {
            return;
        }
        while self.out.len() < OUT_BYTES_MAX && self.send_window.room() > 0 {
            let Some(stream) = self.ready.pop_front() else { return };
            self.piece(stream, now_ms);
        }
    }

    /// Sends one DATA frame of a stream and puts it back into the ring if it has more.
    fn piece(&mut self, stream: u32, now_ms: u64) {
        let max = self.limits.queued_bytes_max;
        let Some(known) = self.streams.get_mut(stream) else { return };
        known.is_ready = false;
        // A stream that a client does not read keeps its others waiting, and that is its own affair. A server's is
        // every client's.
        let shared = match self.role {
            Role::Client if !known.has_all => self.send_window.share(known.unread_bytes),
            Role::Client | Role::Server => self.send_window.room(),
        };
        let wanted = known.queued_bytes.min(known.send_window.room());
        let length = wanted.min(shared).min(PIECE_BYTES_MAX);
        if length == 0 {
            if wanted > 0 {
                known.is_held_back = true;
                self.held_back.push(stream);
            }
            return;
        }
        known.unread_bytes += length;
        known.send_window.spend(length);
        self.send_window.spend(length);
        known.queued_bytes -= length;
        known.progress_ms = now_ms;
        known.taken_bytes += length as u64;
        let ends = known.queued_bytes == 0 && matches!(known.ending, Some(Ending::Stream));
        frame::head(&mut self.out, Kind::Data, if ends { END_STREAM } else { 0 }, stream, length);
        let mut left = length;
        while let Some(mut front) = known.queue.pop_front() {
            let part = front.split_to(left.min(front.len()));
            left -= part.len();
            self.out.extend_from_slice(&part);
            if !front.is_empty() {
                known.queue.push_front(front);
            }
            if left == 0 {
                break;
            }
        }
        self.guard.data_sent(length);
        if known.wants_room && known.queued_bytes <= max / 2 {
            known.wants_room = false;
            self.events.push_back(Event::Room { stream });
        }
        if ends {
            known.ending = None;
            self.ended(stream);
        } else if known.queued_bytes > 0 {
            self.get_ready(stream);
        } else if known.ending.is_some() {
            self.end(stream);
        }
    }

    /// Ends a stream whose content is gone.
    fn end(&mut self, stream: u32) {
        let Some(known) = self.streams.get_mut(stream) else { return };
        match known.ending.take() {
            Some(Ending::Stream) => frame::head(&mut self.out, Kind::Data, END_STREAM, stream, 0),
            Some(Ending::Trailers(block)) => frame::headers(&mut self.out, stream, &block, true),
            None => return,
        }
        self.ended(stream);
    }

    /// END_STREAM is in `out`.
    fn ended(&mut self, stream: u32) {
        if self.role == Role::Server {
            self.guard.answered();
        }
        let Some(known) = self.streams.get_mut(stream) else { return };
        known.sending = Sending::Ended;
        if std::mem::take(&mut known.wants_flush) {
            self.events.push_back(Event::Flushed { stream });
        }
        let rest = known.reset_at_end.take().filter(|_| !known.peer_is_done());
        if let Some(code) = rest {
            self.reset_by_us(stream, code);
        }
        self.forget(stream);
    }
}
