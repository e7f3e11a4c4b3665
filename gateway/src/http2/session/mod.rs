//! A connection in HTTP/2, for either role: bytes in, events out; messages in, bytes out. See the room's own pages (`http2`)
//! for how it is driven.

mod streams;
mod read;
mod control;
mod blocks;
mod write;
mod clock;

use std::collections::VecDeque;

use bytes::Bytes;

use super::fields::inbound::Workspace;
use super::fields::outbound::{Inexpressible, Manner};
use super::fields::{Head, NeverIndexed, Scheme};
use super::flow::{ReceiveWindow, SendWindow, WINDOW_DEFAULT, WINDOW_MAX};
use super::frame::{self, Code, Setting};
use super::guard::{Flood, Guard, Limits};
use super::hpack::{Decoder, Encoder};
use crate::http1::head::Fault;
use read::Input;
use streams::{Ended, Stream, Streams};

/// The role of this end of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Requests come.
    Server,
    /// Requests go.
    Client,
}

/// The meaning of the bytes that were fed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Server: a request begins a stream, which its exchange holds until [`Session::release`]. Client: a response, interim or
    /// final. `end`: the stream's content ends with it.
    Head { stream: u32, head: Head, end: bool },
    /// A request that is not to be forwarded but can be answered. `lines`: its head in the inner form, as far as it was read.
    /// The stream is held as any other.
    Refused { stream: u32, fault: Fault, lines: Vec<u8> },
    /// Content: `len` bytes at `at` of the bytes that were just fed. Once they are on their way, [`Session::taken`] is told.
    Data { stream: u32, at: usize, len: usize, end: bool },
    /// Permitted trailer lines, each with its CRLF; the content has ended. `dropped` fields were not permitted.
    Trailers { stream: u32, lines: Vec<u8>, dropped: usize },
    /// A stream that is held is over before its time. A message that came whole before stands.
    Reset { stream: u32, why: Why },
    /// A request was so malformed that its stream was reset before a task held it.
    Malformed { stream: u32, why: &'static str },
    /// There is room again on a stream that had none.
    Room { stream: u32 },
    /// The queued end is in the bytes that the writer took, with all that was queued before it.
    Flushed { stream: u32 },
    /// Client: how many streams the peer takes has changed, or that it takes no more.
    StreamsChanged,
    /// The last event: the connection is over. The bytes in `out` are worth a last write.
    Closed(Close),
}

/// Why a stream was reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// By the peer, with this code. [`Code::RefusedStream`]: it did not look at the request.
    Peer(Code),
    /// By us: the peer broke the rules.
    Malformed(&'static str),
    /// By us: the peer took none of the queued bytes for [`Limits::write_ms_max`], or less than
    /// [`Limits::bytes_per_second_min`] beyond it.
    Stalled,
    /// The peer's GOAWAY says that it did not process the request: it may be sent again on another connection, whatever its
    /// method (RFC 9113 §8.7).
    Unprocessed,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// Every stream ended and no more were to come.
    Done,
    /// The peer broke the protocol.
    Fault { code: Code, why: &'static str },
    /// The peer ran out of an account.
    Flood(Flood),
    /// The peer did not answer a PING.
    Lifeless,
}

/// The content and its end that go on a stream.
#[derive(Debug)]
pub enum What<'a> {
    /// Server: a rendered HTTP/1.1 response head; one of 1xx is interim. `end`: no content follows.
    Head { lines: &'a [u8], never_indexed: &'a NeverIndexed, end: bool },
    /// Content, of any size; it goes as the peer's windows and the other streams let it.
    Content(Bytes),
    /// Content, copied: for pieces too small to be shared.
    Copied(&'a [u8]),
    /// Trailer lines behind the content, which ends the stream.
    Trailers(&'a [u8]),
    /// The stream's end.
    End,
    /// The stream's end before its time; nothing queued goes any more.
    Reset(Code),
}

/// Why something cannot go on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsent {
    /// The stream is over, or its side of ours has ended.
    Gone,
    /// A response's content stands behind its final head.
    Headless,
    Inexpressible(Inexpressible),
}

/// Why no stream can be opened now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unopened {
    /// As many are open as the peer takes.
    Full,
    /// The connection takes no more: another one must be used.
    Draining,
    Inexpressible(Inexpressible),
}

/// The peer's SETTINGS.
#[derive(Debug, Clone, Copy)]
struct PeerSettings {
    streams_max: usize,
    window: i64,
    takes_extended_connect: bool,
}

/// How far a drain has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drain {
    No,
    /// GOAWAY 2³¹-1 was said, and a PING that tells when the peer has read it.
    Announced {
        at_ms: u64,
    },
    /// GOAWAY with the last stream was said (or the peer's was heard): no more streams.
    Final,
    /// The connection is over.
    Closed,
}

/// The state of a connection.
#[derive(Debug)]
pub struct Session {
    role: Role,
    scheme: Scheme,
    limits: Limits,
    /// The next bytes to the peer.
    out: Vec<u8>,
    events: VecDeque<Event>,
    input: Input,
    decoder: Decoder,
    encoder: Encoder,
    workspace: Workspace,
    /// Heads that were given back.
    spare: Vec<Vec<u8>>,
    /// Where blocks are encoded.
    block: Vec<u8>,
    streams: Streams,
    /// Streams with content and a window of their own, next first.
    ready: VecDeque<u32>,
    /// Client: streams that hold as much of the connection's window as they may; some may be over.
    held_back: Vec<u32>,
    peer: PeerSettings,
    send_window: SendWindow,
    receive_window: ReceiveWindow,
    guard: Guard,
    /// The highest stream the peer opened (server) or we did (client); 0: none.
    last_stream: u32,
    /// The last stream that our GOAWAY lets in.
    last_admitted: u32,
    streams_total: u64,
    /// Streams refused that no caller has asked about yet.
    streams_refused: u64,
    drain: Drain,
    started_ms: u64,
    heard_ms: u64,
    /// Since when there are no streams.
    idle_since_ms: u64,
    /// A PING of ours that was not answered.
    ping_sent_ms: Option<u64>,
    /// Since when the peer's connection window has been next to shut, as far as the clock was looked at.
    shut_since_ms: Option<u64>,
    /// When a stream was last given up so that others may go on.
    relieved_ms: u64,
    /// The peer sends nothing more.
    input_ended: bool,
}

/// Buffers of heads kept for reuse.
const SPARE_HEADS_MAX: usize = 16;

/// Bytes that one write takes: enough for a segment of 64 KiB in flight and one behind it, and for a dozen streams' pieces.
pub const OUT_BYTES_MAX: usize = 256 * 1024;

/// Content of one stream before another's turn comes (one DATA frame).
pub const PIECE_BYTES_MAX: usize = frame::PAYLOAD_MAX;

impl Session {
    pub fn new(role: Role, scheme: Scheme, limits: Limits, now_ms: u64) -> Self {
        let window = i64::from(limits.stream_window_bytes).clamp(WINDOW_DEFAULT, WINDOW_MAX);
        // A slow reader of one stream must not stop the others: the connection's window holds all of theirs.
        let whole = window.saturating_mul(limits.streams_max as i64).clamp(window, WINDOW_MAX);
        let mut session = Self {
            role,
            scheme,
            limits,
            out: Vec::new(),
            events: VecDeque::new(),
            input: Input::new(role),
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            workspace: Workspace::default(),
            spare: Vec::new(),
            block: Vec::new(),
            streams: Streams::default(),
            ready: VecDeque::new(),
            held_back: Vec::new(),
            peer: PeerSettings { streams_max: 100, window: WINDOW_DEFAULT, takes_extended_connect: false },
            send_window: SendWindow::new(WINDOW_DEFAULT),
            receive_window: ReceiveWindow::new(whole),
            guard: Guard::new(&limits, whole, now_ms),
            last_stream: 0,
            last_admitted: frame::STREAM_MAX,
            streams_total: 0,
            streams_refused: 0,
            drain: Drain::No,
            started_ms: now_ms,
            heard_ms: now_ms,
            shut_since_ms: None,
            relieved_ms: now_ms,
            idle_since_ms: now_ms,
            ping_sent_ms: None,
            input_ended: false,
        };
        session.introduce(window, whole);
        session
    }

    /// Our introduction, said before anything is heard (RFC 9113 §3.4).
    fn introduce(&mut self, window: i64, whole: i64) {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let common = [
            (Setting::EnablePush, 0),
            (Setting::InitialWindowSize, window as u32),
            (Setting::MaxHeaderListSize, number(self.limits.head_bytes_max)),
        ];
        match self.role {
            Role::Client => {
                self.out.extend_from_slice(frame::PREFACE);
                frame::settings(&mut self.out, &common);
            }
            Role::Server => {
                let [_, window, list] = common;
                let streams = (Setting::MaxConcurrentStreams, number(self.limits.streams_max));
                let priorities = (Setting::NoRfc7540Priorities, 1);
                let connect = (Setting::EnableConnectProtocol, 1);
                if self.limits.offers_connect {
                    frame::settings(&mut self.out, &[streams, window, list, priorities, connect]);
                } else {
                    frame::settings(&mut self.out, &[streams, window, list, priorities]);
                }
            }
        }
        if let Ok(increment @ 1..) = u32::try_from(whole - WINDOW_DEFAULT) {
            frame::window_update(&mut self.out, 0, increment);
        }
    }

    /// Notes the end of the peer's bytes. Its requests are still answered.
    pub fn end_input(&mut self) {
        self.input_ended = true;
    }

    /// The next thing that happened. All of them are to be taken before the next bytes are fed.
    #[inline]
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// A head's buffer that is no longer needed.
    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < SPARE_HEADS_MAX && buffer.capacity() <= 2 * self.limits.head_bytes_max {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// Gives back memory that an idle connection does not need.
    pub fn trim(&mut self) {
        self.input.trim();
        self.workspace = Workspace::default();
        self.spare = Vec::new();
        self.block = Vec::new();
        self.events.shrink_to_fit();
        self.ready.shrink_to_fit();
        self.held_back = Vec::new();
        self.streams.trim();
        if self.out.is_empty() {
            self.out = Vec::new();
        }
    }

    /// Streams whose exchanges go on, or whose last bytes are not gone.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Streams opened over the connection's life.
    pub fn streams_total(&self) -> u64 {
        self.streams_total
    }

    /// Server: streams refused, because there were as many as may be, since this was last asked.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.streams_refused)
    }

    /// Whether all that was queued on a stream, its end included, is in the bytes to the peer.
    pub fn has_ended(&self, stream: u32) -> bool {
        self.streams.get(stream).is_some_and(|known| known.sending == streams::Sending::Ended)
    }

    pub fn is_closed(&self) -> bool {
        self.drain == Drain::Closed
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
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
        let asked = super::fields::outbound::request(&mut self.block, &mut self.encoder, lines, manner);
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

    fn new_stream(&self, id: u32, now_ms: u64) -> Stream {
        let window = i64::from(self.limits.stream_window_bytes).clamp(WINDOW_DEFAULT, WINDOW_MAX);
        Stream {
            id,
            receiving: streams::Receiving::Content,
            sending: streams::Sending::Head,
            length: None,
            received: 0,
            cost: 0,
            to_head: false,
            interims: 0,
            send_window: SendWindow::new(self.peer.window),
            receive_window: ReceiveWindow::new(window),
            queue: VecDeque::new(),
            queued_bytes: 0,
            ending: None,
            is_ready: false,
            is_held_back: false,
            unread_bytes: 0,
            has_all: false,
            wants_room: false,
            wants_flush: false,
            progress_ms: now_ms,
            waits_since_ms: now_ms,
            taken_bytes: 0,
            is_held: true,
            is_tunnel: false,
            was_tunnel: false,
            reset_at_end: None,
        }
    }

    /// The exchange has ended; the stream counts no longer once its last bytes are in `out`.
    ///
    /// A side that has not ended is ended here. An answer that is whole, or will be with the queued bytes, stands, and the rest
    /// of the upload is not wanted (NO_ERROR, RFC 9113 §8.1). Another answer is cut: INTERNAL_ERROR. A request given up is
    /// CANCEL.
    pub fn release(&mut self, stream: u32) {
        let role = self.role;
        let Some(known) = self.streams.get_mut(stream) else { return };
        known.is_held = false;
        (known.wants_room, known.wants_flush) = (false, false);
        if self.drain == Drain::Closed {
            known.abandon();
            known.receiving = streams::Receiving::Reset;
            return self.streams.settle(stream);
        }
        let ends = known.we_are_done() || known.ending.is_some();
        match role {
            Role::Server if !ends => self.reset_by_us(stream, Code::Internal),
            Role::Server if known.peer_is_done() => {}
            Role::Server if known.we_are_done() => self.reset_by_us(stream, Code::NoError),
            Role::Server => known.reset_at_end = Some(Code::NoError),
            Role::Client if known.peer_is_done() && known.we_are_done() => {}
            Role::Client => self.give_up(stream, Code::Cancel),
        }
        self.forget(stream);
    }

    /// The receiver of a stream's content took `bytes` of it: they are given back to the peer.
    pub fn taken(&mut self, stream: u32, bytes: usize) {
        let Some(known) = self.streams.get_mut(stream) else { return };
        let increment = known.receive_window.taken(bytes);
        if let Some(increment) = increment.filter(|_| !known.peer_is_done()) {
            frame::window_update(&mut self.out, stream, increment);
        }
    }

    /// Forgets the stream if it is over, and notices when it was the last.
    fn forget(&mut self, stream: u32) {
        let before = self.streams.len();
        self.streams.settle(stream);
        if self.streams.len() < before {
            if self.streams.is_empty() {
                self.idle_since_ms = self.idle_since_ms.max(self.heard_ms);
            }
            self.close_if_done();
        }
    }

    /// Resets a stream for reasons that are not its peer's. Content that a server was allowed to send on it may be on its way,
    /// and others share the connection: it costs nothing.
    fn give_up(&mut self, stream: u32, code: Code) {
        if self.role == Role::Client
            && let Some(known) = self.streams.get(stream).filter(|known| !known.peer_is_done())
        {
            let head = i64::try_from(self.limits.head_bytes_max).unwrap_or(i64::MAX);
            self.guard.forgive(known.receive_window.left().saturating_add(head));
        }
        self.reset_by_us(stream, code);
    }

    /// RST_STREAM of ours; makes no event, for the caller asked for it or is told otherwise.
    fn reset_by_us(&mut self, stream: u32, code: Code) {
        frame::rst_stream(&mut self.out, stream, code);
        self.streams.remember(stream, Ended::ByUs);
        if let Some(known) = self.streams.get_mut(stream) {
            known.abandon();
            known.receiving = streams::Receiving::Reset;
        }
    }

    /// The peer broke a rule on a stream: it is reset, the task that holds it is told, and the peer's account pays.
    fn fail_stream(&mut self, stream: u32, code: Code, why: &'static str) {
        if self.drain == Drain::Closed {
            return;
        }
        // Of a stream that was complete on both sides, its holder has nothing more to hear.
        let is_told = self.streams.get(stream).is_some_and(|known| known.is_held && !known.is_over());
        self.reset_by_us(stream, code);
        if is_told {
            self.events.push_back(Event::Reset { stream, why: Why::Malformed(why) });
        }
        self.forget(stream);
        if let Err(flood) = self.guard.reset() {
            self.flood(flood);
        }
    }

    /// The peer broke a rule of the connection.
    fn fail(&mut self, code: Code, why: &'static str) {
        self.close(code, why, Close::Fault { code, why });
    }

    fn flood(&mut self, flood: Flood) {
        self.close(Code::EnhanceYourCalm, flood.name(), Close::Flood(flood));
    }

    fn close(&mut self, code: Code, why: &'static str, close: Close) {
        if self.drain == Drain::Closed {
            return;
        }
        let last = match self.role {
            Role::Server => self.last_stream.min(self.last_admitted),
            Role::Client => 0,
        };
        frame::goaway(&mut self.out, last, code, why.as_bytes());
        self.drain = Drain::Closed;
        self.events.push_back(Event::Closed(close));
        // Content that waits for windows will not get them; a task that still holds a stream lets go of it when the connection
        // ends.
        let left: Vec<u32> =
            self.streams.iter().filter(|known| !known.is_held).map(|known| known.id).collect();
        left.into_iter().for_each(|id| self.release(id));
    }

    fn close_if_done(&mut self) {
        if self.drain == Drain::Final && self.streams.is_empty() {
            self.drain = Drain::Closed;
            self.events.push_back(Event::Closed(Close::Done));
        }
    }
}
