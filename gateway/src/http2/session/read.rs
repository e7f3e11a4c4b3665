//! From bytes to frames, and the effect of each frame except blocks. Content is shown at its place in the fed bytes; every
//! other payload is whole before it is looked at.

use super::streams::{Ended, Receiving};
use super::{Drain, Event, Role, Session};
use crate::http2::frame::{
    self, ACK, Code, END_STREAM, FrameHead, HEAD_BYTES, Kind, PADDED, PAYLOAD_MAX, PREFACE, STREAM_MAX,
};
use crate::http2::guard::{DATA_FRAME_COST, Flood};
use crate::http2::hpack::decode::LENIENCE;

/// A block of fields under way: nothing else may come until it is whole (RFC 9113 §4.3).
#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) ends_stream: bool,
    pub(super) depends_on_itself: bool,
    pub(super) bytes: Vec<u8>,
    frames: u32,
    since_ms: u64,
}

/// A DATA frame under way.
#[derive(Debug, Clone, Copy)]
enum Data {
    /// The byte that says how long the padding is comes first.
    PadLength(FrameHead),
    /// Content, then padding. Of no stream where the content is ignored.
    Payload { stream: Option<u32>, content: usize, padding: usize, ends_stream: bool },
}

/// How far the bytes have come.
#[derive(Debug)]
pub(super) struct Input {
    /// Bytes of the preface still to come.
    preface_left: usize,
    has_settings: bool,
    head: [u8; HEAD_BYTES],
    head_len: usize,
    /// The frame whose payload is gathered.
    frame: Option<FrameHead>,
    payload: Vec<u8>,
    data: Option<Data>,
    block: Option<Block>,
}

impl Input {
    pub(super) fn new(role: Role) -> Self {
        Self {
            preface_left: if role == Role::Server { PREFACE.len() } else { 0 },
            has_settings: false,
            head: [0; HEAD_BYTES],
            head_len: 0,
            frame: None,
            payload: Vec::new(),
            data: None,
            block: None,
        }
    }

    pub(super) fn trim(&mut self) {
        self.payload.shrink_to_fit();
    }

    /// The peer has introduced itself.
    pub(super) fn has_settings(&self) -> bool {
        self.has_settings
    }

    pub(super) fn block_since(&self) -> Option<u64> {
        self.block.as_ref().map(|block| block.since_ms)
    }
}

impl Session {
    /// Takes bytes from the peer, all of them. [`Session::next_event`] tells their meaning; content is named by where it lies
    /// in `bytes`.
    pub fn feed(&mut self, bytes: &[u8], now_ms: u64) {
        self.heard_ms = now_ms;
        self.ping_sent_ms = None;
        let mut at = 0;
        while self.drain != Drain::Closed
            && let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty())
        {
            at += self.step(rest, at, now_ms);
        }
    }

    /// Looks at the front of `rest`, which lies `at` bytes into the fed bytes; returns how much of it was used.
    fn step(&mut self, rest: &[u8], at: usize, now_ms: u64) -> usize {
        if self.input.preface_left > 0 {
            return self.preface(rest);
        }
        if let Some(data) = self.input.data {
            return self.data(data, rest, at, now_ms);
        }
        if let Some(head) = self.input.frame {
            let left = (head.length as usize).saturating_sub(self.input.payload.len());
            let (part, _) = rest.split_at_checked(left).unwrap_or((rest, b""));
            self.input.payload.extend_from_slice(part);
            if part.len() == left {
                let mut payload = std::mem::take(&mut self.input.payload);
                self.input.frame = None;
                self.frame(head, &payload, now_ms);
                payload.clear();
                self.input.payload = payload;
            }
            return part.len();
        }
        let used = match rest.first_chunk::<HEAD_BYTES>() {
            Some(head) if self.input.head_len == 0 => {
                self.input.head = *head;
                HEAD_BYTES
            }
            Some(_) | None => {
                let room = self.input.head.get_mut(self.input.head_len..).unwrap_or_default();
                let used = room.len().min(rest.len());
                room.iter_mut().zip(rest).for_each(|(room, byte)| *room = *byte);
                self.input.head_len += used;
                if self.input.head_len < HEAD_BYTES {
                    return used;
                }
                self.input.head_len = 0;
                used
            }
        };
        let head = FrameHead::parse(self.input.head);
        if let Err((code, why)) = self.admit(head) {
            self.fail(code, why);
            return used;
        }
        if head.kind == Kind::Data {
            self.data_head(head, at + used, now_ms);
            return used;
        }
        match rest.get(used..used + head.length as usize) {
            Some(payload) => {
                self.frame(head, payload, now_ms);
                used + payload.len()
            }
            None => {
                self.input.frame = Some(head);
                used
            }
        }
    }

    fn preface(&mut self, rest: &[u8]) -> usize {
        let expected = PREFACE.get(PREFACE.len() - self.input.preface_left..).unwrap_or_default();
        let length = expected.len().min(rest.len());
        if expected.get(..length) == rest.get(..length) {
            self.input.preface_left -= length;
        } else {
            self.fail(Code::Protocol, "no preface of HTTP/2");
        }
        length
    }

    /// The faults that a frame's head alone may have.
    fn admit(&mut self, head: FrameHead) -> Result<(), (Code, &'static str)> {
        if head.length as usize > PAYLOAD_MAX {
            return Err((Code::FrameSize, "frame too large"));
        }
        if let Some(block) = &self.input.block {
            if head.kind != Kind::Continuation || head.stream != block.stream {
                return Err((Code::Protocol, "a frame inside a block of fields"));
            }
        } else if head.kind == Kind::Continuation {
            return Err((Code::Protocol, "CONTINUATION of nothing"));
        }
        if !std::mem::replace(&mut self.input.has_settings, true)
            && (head.kind != Kind::Settings || head.has(ACK))
        {
            return Err((Code::Protocol, "SETTINGS come first"));
        }
        Ok(())
    }

    fn frame(&mut self, head: FrameHead, payload: &[u8], now_ms: u64) {
        let done = match head.kind {
            Kind::Headers => self.headers(head, payload, now_ms),
            Kind::Continuation => self.continuation(head, payload, now_ms),
            Kind::Priority => self.priority(head, payload, now_ms),
            Kind::RstStream => self.rst_stream(head, payload, now_ms),
            Kind::Settings => self.settings(head, payload, now_ms),
            Kind::PushPromise => Err((Code::Protocol, "a push, which was declined")),
            Kind::Ping => self.ping(head, payload, now_ms),
            Kind::Goaway => self.goaway(head, payload, now_ms),
            Kind::WindowUpdate => self.window_update(head, payload, now_ms),
            Kind::Unknown(_) | Kind::Data => {
                self.idle_frame(head, now_ms);
                Ok(())
            }
        };
        if let Err((code, why)) = done {
            self.fail(code, why);
        }
    }

    pub(super) fn idle_frame(&mut self, head: FrameHead, now_ms: u64) {
        if let Err(flood) = self.guard.idle_frame(head.length + HEAD_BYTES as u32, now_ms) {
            self.flood(flood);
        }
    }

    /// A stream that was never opened.
    pub(super) fn is_idle(&self, stream: u32) -> bool {
        // Clients number theirs odd, and a server opens none.
        stream > self.last_stream || stream.is_multiple_of(2)
    }

    fn data_head(&mut self, head: FrameHead, at: usize, now_ms: u64) {
        if head.stream == 0 || self.is_idle(head.stream) {
            return self.fail(Code::Protocol, "DATA on an idle stream");
        }
        if self.receive_window.receive(head.length).is_err() {
            return self.fail(Code::FlowControl, "more than the connection's window");
        }
        // Given back on receipt: a stream's own window bounds the bytes that it holds.
        if let Some(increment) = self.receive_window.taken(head.length as usize) {
            frame::window_update(&mut self.out, 0, increment);
        }
        match (head.has(PADDED), head.length) {
            (true, 0) => self.fail(Code::FrameSize, "DATA without its padding's length"),
            (true, _) => self.input.data = Some(Data::PadLength(head)),
            (false, _) => self.data_begins(head, 0, 0, at, now_ms),
        }
    }

    /// Judges a DATA frame whose padding is known: `overhead` bytes of it are no content.
    fn data_begins(&mut self, head: FrameHead, padding: usize, overhead: usize, at: usize, now_ms: u64) {
        let content = (head.length as usize).saturating_sub(overhead);
        let ends_stream = head.has(END_STREAM);
        let is_wanted = self.admit_data(head, content, overhead, now_ms);
        if self.drain == Drain::Closed {
            return;
        }
        let stream = is_wanted.then_some(head.stream);
        if content + padding == 0 {
            return self.data_arrived(stream, at, 0, ends_stream);
        }
        self.input.data = Some(Data::Payload { stream, content, padding, ends_stream });
    }

    /// Whether the content is a stream's.
    fn admit_data(&mut self, head: FrameHead, content: usize, overhead: usize, now_ms: u64) -> bool {
        let id = head.stream;
        let is_empty = content == 0 && !head.has(END_STREAM);
        let Some(known) = self.streams.get_mut(id) else {
            match self.streams.how_ended(id) {
                // Of a stream that is forgotten it is not known whether our reset crossed it.
                Some(Ended::ByUs) | None => self.ignored_data(head, now_ms),
                Some(Ended::ByPeer) => self.fail(Code::StreamClosed, "DATA on a closed stream"),
            }
            return false;
        };
        match known.receiving {
            Receiving::Content => {}
            Receiving::Ended => {
                self.fail_stream(id, Code::StreamClosed, "DATA behind the end of a stream");
                return false;
            }
            Receiving::Head => {
                self.fail_stream(id, Code::Protocol, "DATA before a response");
                return false;
            }
            Receiving::Reset => {
                // Its exchange may go on for a moment, whichever side reset it.
                match self.streams.how_ended(id) {
                    Some(Ended::ByPeer) => self.fail(Code::StreamClosed, "DATA on a closed stream"),
                    Some(Ended::ByUs) | None => self.ignored_data(head, now_ms),
                }
                return false;
            }
        }
        if known.receive_window.receive(head.length).is_err() {
            self.fail_stream(id, Code::FlowControl, "more than the stream's window");
            return false;
        }
        if let Some(increment) = known.receive_window.taken(overhead).filter(|_| overhead > 0) {
            frame::window_update(&mut self.out, id, increment);
        }
        known.received += content as u64;
        known.cost = known.cost.saturating_add(content as u64 + DATA_FRAME_COST);
        let is_over = known.length.is_some_and(|length| {
            known.received > length || (head.has(END_STREAM) && known.received < length)
        });
        let is_dear = known.cost > self.limits.stream_bytes_max && !known.is_tunnel;
        if is_over {
            self.fail_stream(id, Code::Protocol, "content is not as long as declared");
            return false;
        }
        if is_dear {
            self.fail_stream(id, Code::EnhanceYourCalm, "a stream's budget");
            return false;
        }
        if is_empty {
            self.idle_frame(head, now_ms);
        }
        true
    }

    /// DATA of a stream that we reset. Much may be on its way: the frame costs, its bytes do not.
    fn ignored_data(&mut self, head: FrameHead, now_ms: u64) {
        if let Err(flood) = self.guard.crossed(head.length, DATA_FRAME_COST as u32, now_ms) {
            self.flood(flood);
        }
    }

    /// The front of `rest` belongs to a DATA frame.
    fn data(&mut self, data: Data, rest: &[u8], at: usize, now_ms: u64) -> usize {
        match data {
            Data::PadLength(head) => {
                let padding = usize::from(rest.first().copied().unwrap_or_default());
                self.input.data = None;
                if padding >= head.length as usize {
                    self.fail(Code::Protocol, "more padding than payload");
                } else {
                    self.data_begins(head, padding, padding + 1, at + 1, now_ms);
                }
                1
            }
            Data::Payload { stream, content, padding, ends_stream } => {
                let here = content.min(rest.len());
                let skipped = padding.min(rest.len() - here);
                let (content, padding) = (content - here, padding - skipped);
                let is_whole = content + padding == 0;
                self.input.data =
                    (!is_whole).then_some(Data::Payload { stream, content, padding, ends_stream });
                self.data_arrived(stream, at, here, ends_stream && is_whole);
                here + skipped
            }
        }
    }

    fn data_arrived(&mut self, stream: Option<u32>, at: usize, len: usize, end: bool) {
        // The stream may have been reset since its frame began.
        let known = stream.and_then(|id| self.streams.get_mut(id));
        let Some(known) = known.filter(|known| known.receiving == Receiving::Content) else { return };
        let id = known.id;
        if end {
            known.receiving = Receiving::Ended;
        }
        // Of an exchange that has ended the rest is not wanted, and not given back: a reset follows the answer's last byte.
        if known.is_held && (len > 0 || end) {
            self.events.push_back(Event::Data { stream: id, at, len, end });
        }
        if end {
            self.forget(id);
        }
    }

    fn headers(&mut self, head: FrameHead, payload: &[u8], now_ms: u64) -> Result<(), (Code, &'static str)> {
        const SHORT: (Code, &str) = (Code::FrameSize, "HEADERS too short");
        let mut fragment = payload;
        if head.has(PADDED) {
            let (padding, rest) = fragment.split_first().ok_or(SHORT)?;
            let length = rest.len().checked_sub(usize::from(*padding));
            let length = length.ok_or((Code::Protocol, "more padding than payload"))?;
            fragment = rest.get(..length).unwrap_or_default();
        }
        let mut depends_on_itself = false;
        if head.has(frame::PRIORITY) {
            let (dependency, rest) = fragment.split_first_chunk::<4>().ok_or(SHORT)?;
            let (_weight, rest) = rest.split_first().ok_or(SHORT)?;
            depends_on_itself = u32::from_be_bytes(*dependency) & STREAM_MAX == head.stream;
            fragment = rest;
        }
        if fragment.len() > self.limits.head_bytes_max.saturating_mul(LENIENCE) {
            self.flood(Flood::BlockBytes);
            return Ok(());
        }
        let (stream, ends_stream) = (head.stream, head.has(END_STREAM));
        let mut block =
            Block { stream, ends_stream, depends_on_itself, bytes: Vec::new(), frames: 1, since_ms: now_ms };
        if head.has(frame::END_HEADERS) {
            return self.block(&block, fragment, now_ms);
        }
        block.bytes.extend_from_slice(fragment);
        self.input.block = Some(block);
        Ok(())
    }

    fn continuation(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        now_ms: u64,
    ) -> Result<(), (Code, &'static str)> {
        let Some(mut block) = self.input.block.take() else { return Ok(()) };
        let is_last = head.has(frame::END_HEADERS);
        block.frames += 1;
        block.bytes.extend_from_slice(payload);
        if block.frames > self.limits.block_frames_max || (payload.is_empty() && !is_last) {
            self.flood(Flood::Continuations);
        } else if block.bytes.len() > self.limits.head_bytes_max.saturating_mul(LENIENCE) {
            self.flood(Flood::BlockBytes);
        } else if is_last {
            let bytes = std::mem::take(&mut block.bytes);
            return self.block(&block, &bytes, now_ms);
        } else {
            self.input.block = Some(block);
        }
        Ok(())
    }
}
