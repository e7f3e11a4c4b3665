//! Streams that a client opens: how many there may be, and the head that begins one.

use super::{Drain, Role, Session, Unopened, streams};
use crate::http2::fields::outbound::{self, Manner};
use crate::http2::frame;

impl Session {
    /// Client: how many streams may be open at once.
    pub fn streams_allowed(&self) -> usize {
        self.peer.streams_max.min(self.limits.streams_max)
    }

    /// Client: whether streams are opened on it at all, now or when one has ended.
    pub fn takes_streams(&self) -> bool {
        self.role == Role::Client && self.drain == Drain::No
    }

    /// Client: how many more streams may be opened now.
    pub fn streams_free(&self) -> usize {
        if self.role == Role::Server || self.drain != Drain::No {
            return 0;
        }
        self.streams_allowed().saturating_sub(self.streams.len())
    }

    /// Client: sends a request's rendered head on a new stream, which the caller holds until [`Session::release`].
    pub fn open(
        &mut self,
        lines: &[u8],
        manner: &Manner<'_>,
        end: bool,
        now_ms: u64,
    ) -> Result<u32, Unopened> {
        debug_assert_eq!(self.role, Role::Client, "only clients open streams");
        if self.drain != Drain::No {
            return Err(Unopened::Draining);
        }
        if self.streams_free() == 0 {
            return Err(Unopened::Full);
        }
        let id = if self.last_stream == 0 { 1 } else { self.last_stream + 2 };
        if id > frame::STREAM_MAX || self.streams_total >= self.limits.streams_total_max {
            self.drain(now_ms);
            return Err(Unopened::Draining);
        }
        self.block.clear();
        let asked = outbound::request(&mut self.block, &mut self.encoder, lines, manner);
        let to_head = asked.map_err(Unopened::Inexpressible)?;
        frame::headers(&mut self.out, id, &self.block, end);
        let mut stream = self.new_stream(id, now_ms);
        stream.to_head = to_head;
        stream.receiving = streams::Receiving::Head;
        stream.sending = if end { streams::Sending::Ended } else { streams::Sending::Content };
        if self.streams.is_empty() {
            // Silence counts from the question.
            self.heard_ms = self.heard_ms.max(now_ms);
        }
        self.last_stream = id;
        self.streams_total += 1;
        self.guard.request();
        self.streams.add(stream);
        Ok(id)
    }
}
