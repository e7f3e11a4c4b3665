//! Copies under way on one HTTP/2 connection to a mirror: the stream of each, and the facts that matter of its answer. Pure:
//! bytes and times in, bytes and ends of copies out.
//!
//! Each copy has a window, a deadline and an answer of its own: a copy that stalls is reset when its time is over, and those
//! beside it go on.

mod content;

use std::sync::Arc;

use content::{say_content, wire};

use super::copy::RequestCopy;
use super::lane::Reserved;
use super::response::{Answered, Cost};
use crate::field_lines;
use crate::grpc::StatusReader;
use crate::http1::framing::Framing;
use crate::http2::fields::outbound::Manner;
use crate::http2::fields::{Head, NeverIndexed, Scheme};
use crate::http2::frame::Code;
use crate::http2::guard::Limits;
use crate::http2::session::{Close, Event, Role, Session, Unopened, Why};
use crate::limits::{COPY_TRIES_MAX, MIRROR_PING_BYTES};
use crate::metrics::{CutReason, FailReason};
use crate::observe::keep::{Budget, Keeping, keep, keep_trailers};

/// The terms that every copy of a lane is held to.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) timeout_ms: u64,
    pub(super) response_bytes_max: u64,
    /// Of answers that are kept to be compared.
    pub(super) budget: Arc<Budget>,
}

/// How a copy ended.
pub(super) enum End {
    Answered {
        answered: Answered,
        latency_us: u64,
    },
    Failed(RequestCopy, FailReason),
    /// The mirror said that it did not look at it.
    Unprocessed(RequestCopy),
}

/// Why a copy is not under way; it comes back.
#[derive(Debug)]
pub(super) enum Unsent {
    /// The connection takes none, now or any more.
    NoRoom,
    Inexpressible,
}

/// How much of answers is wanted at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Appetite {
    All,
    /// Of long answers the part that matters, and no more.
    Enough,
    /// No more than was asked for.
    None,
}

/// A copy, with the state of its answer.
struct Flight {
    id: u32,
    copy: RequestCopy,
    end_ms: u64,
    opened_ms: u64,
    /// The time at which the copy was begun, or its last byte given to the kernel.
    sent_us: u64,
    is_sent: bool,
    /// Of the final head, once that came.
    status: Option<u16>,
    /// A call's own status, as far as it has come.
    call: StatusReader,
    content_bytes: u64,
    cost: Cost,
    /// Where it is to be compared.
    keeping: Option<Box<Keeping>>,
    /// Content that came and was not given back to the mirror's window.
    owed_bytes: usize,
    /// Its bytes count against the ring until it has ended.
    _reserved: Reserved,
}

/// The copies of one connection.
pub(super) struct Streams {
    session: Session,
    terms: Terms,
    /// By their ids, which only grow.
    flights: Vec<Flight>,
    /// Copies whose last byte was not given to the kernel.
    unsent: usize,
    is_open: bool,
    over: Option<FailReason>,
    pub(super) ends: Vec<End>,
    /// Bytes of long answers that came since the last time this was taken.
    spent: u64,
    /// Answers that were not read to their end.
    pub(super) cuts: Vec<CutReason>,
    /// The cost of the mirror's PINGs and SETTINGS, which we answer.
    asked: Cost,
    window_bytes: u64,
    answers: u64,
    /// Copies that were begun.
    copies: u64,
    answered_ms: u64,
    /// A copy's time passed without an answer to any.
    is_doubted: bool,
}

impl Streams {
    pub(super) fn new(scheme: Scheme, limits: Limits, terms: Terms, now_ms: u64) -> Self {
        Self {
            session: Session::new(Role::Client, scheme, limits, now_ms),
            terms,
            flights: Vec::new(),
            unsent: 0,
            is_open: false,
            over: None,
            ends: Vec::new(),
            spent: 0,
            cuts: Vec::new(),
            asked: Cost::default(),
            window_bytes: limits.stream_window_bytes.into(),
            answers: 0,
            copies: 0,
            answered_ms: 0,
            is_doubted: false,
        }
    }

    /// The mirror has introduced itself, and let a copy begin.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether it carries copies or lets any begin: one that does neither is of no use.
    pub(super) fn is_of_use(&self) -> bool {
        self.is_open && (self.session.streams_allowed() > 0 || !self.flights.is_empty())
    }

    /// No copy is under way or will be, and why it came to that.
    pub(super) fn over(&self) -> Option<FailReason> {
        self.over
    }

    /// Whether it takes copies at all, now or when one has ended.
    pub(super) fn takes_copies(&self) -> bool {
        self.over.is_none() && !self.is_doubted && self.session.takes_streams()
    }

    pub(super) fn has_room(&self) -> bool {
        self.takes_copies() && self.session.streams_free() > 0
    }

    /// Copies that were begun, and answers to them.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.copies, self.answers)
    }

    /// Bytes of long answers since this was last asked.
    pub(super) fn take_spent(&mut self) -> u64 {
        std::mem::take(&mut self.spent)
    }

    /// A copy's time passed without a response to any: further copies go on another connection.
    pub(super) fn is_doubted(&self) -> bool {
        self.is_doubted
    }

    pub(super) fn has_output(&self) -> bool {
        self.session.has_output()
    }

    /// Whether so much waits to be written that nothing more should be begun.
    pub(super) fn is_backed_up(&self) -> bool {
        self.session.is_backed_up()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.session.is_closed()
    }

    /// The next bytes to the mirror, in one write.
    pub(super) fn take(&mut self, spare: Vec<u8>, now_ms: u64, now_us: impl FnOnce() -> u64) -> Vec<u8> {
        let out = self.session.take(spare, now_ms);
        if self.unsent > 0 {
            let now_us = now_us();
            let session = &self.session;
            for flight in self.flights.iter_mut().filter(|flight| !flight.is_sent) {
                if session.has_ended(flight.id) {
                    (flight.is_sent, flight.sent_us) = (true, now_us);
                    self.unsent -= 1;
                }
            }
        }
        out
    }

    /// Begins a copy, or gives it back.
    pub(super) fn send(
        &mut self,
        copy: RequestCopy,
        mut reserved: Reserved,
        (now_ms, now_us): (u64, u64),
    ) -> Option<(RequestCopy, Unsent)> {
        if self.over.is_some() {
            // The connection ended while the copy was made ready.
            return Some((copy, Unsent::NoRoom));
        }
        let Some((head_bytes, framing)) = wire(&copy.head) else {
            debug_assert!(false, "a copy has a whole head");
            return Some((copy, Unsent::Inexpressible));
        };
        let (lines, rest) = copy.head.split_at(head_bytes);
        let never_indexed = &NeverIndexed::default();
        // As to a primary: trailers are read on every answer.
        let manner =
            Manner { scheme: self.session.scheme(), takes_trailers: true, protocol: None, never_indexed };
        let is_whole = framing == Framing::None || framing == Framing::Length(0);
        let id = match self.session.open(lines, &manner, is_whole, now_ms) {
            Ok(id) => id,
            Err(Unopened::Full | Unopened::Draining) => return Some((copy, Unsent::NoRoom)),
            Err(Unopened::Inexpressible(_)) => return Some((copy, Unsent::Inexpressible)),
        };
        if !is_whole {
            let twice = say_content(&mut self.session, id, framing, (rest, &copy.pieces), now_ms);
            // The copy was let in: where there is no room for that, it goes all the same.
            let _ = reserved.grow(twice);
        }
        self.flights.push(Flight {
            id,
            copy,
            end_ms: now_ms.saturating_add(self.terms.timeout_ms),
            opened_ms: now_ms,
            sent_us: now_us,
            is_sent: false,
            status: None,
            call: StatusReader::NotGrpc,
            content_bytes: 0,
            cost: Cost::default(),
            keeping: None,
            owed_bytes: 0,
            _reserved: reserved,
        });
        self.unsent += 1;
        self.copies += 1;
        None
    }

    /// Takes bytes that came.
    pub(super) fn feed(&mut self, bytes: &[u8], (now_ms, now_us): (u64, u64), appetite: Appetite) {
        let answers = self.session.answers_unsent();
        self.session.feed(bytes, now_ms);
        self.deliver(bytes, (now_ms, now_us), appetite);
        if self.session.answers_unsent() > answers {
            self.asked.add(MIRROR_PING_BYTES);
            let spent = self.asked.spent();
            self.spent = self.spent.saturating_add(spent);
            // No answer is waited for: it talks for the sake of talking.
            if spent > 0 && appetite == Appetite::None && self.flights.is_empty() {
                self.cut(FailReason::Protocol);
            }
        }
    }

    /// Looks at the clock.
    pub(super) fn tick(&mut self, (now_ms, now_us): (u64, u64), appetite: Appetite) {
        self.session.tick(now_ms);
        self.deliver(b"", (now_ms, now_us), appetite);
        let late: Vec<u32> = self.flights.iter().filter(|f| f.end_ms <= now_ms).map(|f| f.id).collect();
        for id in late {
            if let Some(flight) = self.land(id) {
                self.is_doubted |= self.answered_ms < flight.opened_ms;
                self.ends.push(End::Failed(flight.copy, FailReason::Timeout));
            }
        }
        if appetite != Appetite::None {
            for flight in &mut self.flights {
                let owed = std::mem::take(&mut flight.owed_bytes);
                if owed > 0 {
                    self.session.taken(flight.id, owed);
                }
            }
        }
        // The stream that was reset may have been the last of a connection that drains.
        self.deliver(b"", (now_ms, now_us), appetite);
    }

    /// No more copies: it ends with those that are under way.
    pub(super) fn drain(&mut self, now_ms: u64) {
        self.session.drain(now_ms);
        self.deliver(b"", (now_ms, 0), Appetite::All);
    }

    /// Ends the connection: every copy under way has failed.
    pub(super) fn cut(&mut self, why: FailReason) {
        self.over.get_or_insert(why);
        for flight in std::mem::take(&mut self.flights) {
            self.ends.push(End::Failed(flight.copy, why));
        }
    }

    /// Gives back memory that an idle connection does not need.
    pub(super) fn rest(&mut self) {
        if self.session.streams() == 0 {
            self.session.trim();
            self.flights.shrink_to_fit();
        }
    }

    fn deliver(&mut self, fed: &[u8], now: (u64, u64), appetite: Appetite) {
        while let Some(event) = self.session.next_event() {
            match event {
                Event::Head { stream, head, end } => self.head(stream, head, end, now),
                Event::Data { stream, at, len, end } => {
                    let content = fed.get(at..at + len).unwrap_or_default();
                    self.content(stream, content, (end, appetite), now);
                }
                Event::Trailers { stream, lines, .. } => {
                    self.spend(stream, lines.len());
                    if let Some(flight) = self.flight(stream) {
                        flight.call.trailers(&lines);
                        keep_trailers(&mut flight.keeping, &lines);
                    }
                    self.answered(stream, false, now);
                }
                Event::Reset { stream, why } => {
                    let Some(mut flight) = self.land(stream) else { continue };
                    flight.copy.ticket.took(now.1.saturating_sub(flight.sent_us));
                    let is_unseen = flight.status.is_none() && flight.copy.tries < COPY_TRIES_MAX;
                    self.ends.push(match why {
                        Why::Unprocessed | Why::Peer(Code::RefusedStream) if is_unseen => {
                            End::Unprocessed(flight.copy)
                        }
                        Why::Unprocessed => End::Failed(flight.copy, FailReason::Closed),
                        Why::Peer(_) => End::Failed(flight.copy, FailReason::Reset),
                        Why::Malformed(_) => End::Failed(flight.copy, FailReason::Protocol),
                        Why::Stalled => {
                            self.is_doubted |= self.answered_ms < flight.opened_ms;
                            End::Failed(flight.copy, FailReason::Timeout)
                        }
                    });
                }
                // Also where we ourselves take no more.
                Event::StreamsChanged => {
                    self.is_open |= self.session.takes_streams() && self.session.streams_allowed() > 0;
                }
                // A copy is queued whole: it never waits for room.
                Event::Room { .. } | Event::Flushed { .. } => {}
                // Of the other role.
                Event::Refused { .. } | Event::Malformed { .. } => {}
                Event::Closed(close) => self.cut(match close {
                    Close::Done | Close::Lifeless => FailReason::Closed,
                    Close::Fault { .. } | Close::Flood(_) => FailReason::Protocol,
                }),
            }
        }
    }

    fn head(&mut self, id: u32, head: Head, end: bool, now: (u64, u64)) {
        self.spend(id, head.lines.len());
        let Some(flight) = self.flight(id).filter(|_| !head.is_interim()) else {
            return self.session.recycle(head.lines);
        };
        flight.status = Some(head.status);
        let content_type = field_lines::first(&head.lines, b"content-type").unwrap_or_default();
        flight.call = StatusReader::begin(head.status, content_type, &head.lines, true);
        let bytes_max = flight.copy.ticket.keeps_bytes();
        if bytes_max > 0 {
            let budget = Arc::clone(&self.terms.budget);
            if let Some(flight) = self.flight(id) {
                flight.keeping = Keeping::begin(&budget, head.status, &head.lines, bytes_max);
            }
        }
        self.session.recycle(head.lines);
        if end {
            self.answered(id, false, now);
        }
    }

    fn content(&mut self, id: u32, content: &[u8], (end, appetite): (bool, Appetite), now: (u64, u64)) {
        let bytes_max = self.terms.response_bytes_max;
        let Some(flight) = self.flight(id) else { return };
        flight.content_bytes = flight.content_bytes.saturating_add(content.len() as u64);
        keep(&mut flight.keeping, content);
        flight.call.content(content);
        flight.cost.piece();
        flight.cost.add(content.len() as u64);
        let spent = flight.cost.spent();
        let is_kept = flight.keeping.as_ref().is_none_or(|keeping| keeping.is_full());
        let has_enough = flight.cost.is_long() && is_kept && flight.status.is_some();
        let cut = if end {
            None
        } else if flight.content_bytes >= bytes_max {
            Some(CutReason::TooLong)
        } else {
            (appetite == Appetite::Enough && has_enough).then_some(CutReason::Budget)
        };
        if cut.is_some() {
            if let Some(keeping) = &mut flight.keeping {
                keeping.cut();
            }
        } else if appetite == Appetite::None {
            flight.owed_bytes += content.len();
        }
        self.spent = self.spent.saturating_add(spent);
        if let Some(why) = cut {
            self.cuts.push(why);
            // So much may still come before the mirror has read that no more is wanted.
            self.spent = self.spent.saturating_add(self.window_bytes);
        }
        if end || cut.is_some() {
            self.answered(id, cut.is_some(), now);
        } else if appetite != Appetite::None {
            self.session.taken(id, content.len());
        }
    }

    fn answered(&mut self, id: u32, is_cut: bool, (now_ms, now_us): (u64, u64)) {
        let Some(flight) = self.land(id) else { return };
        let Flight { copy, sent_us, status, call, content_bytes, keeping, .. } = flight;
        let Some(status) = status else {
            return self.ends.push(End::Failed(copy, FailReason::Protocol));
        };
        self.answers += 1;
        self.answered_ms = self.answered_ms.max(now_ms);
        let kept = keeping.map(|keeping| keeping.end());
        let answered = Answered::new(copy, status, &call, content_bytes, (is_cut, kept));
        self.ends.push(End::Answered { answered, latency_us: now_us.saturating_sub(sent_us) });
    }

    fn spend(&mut self, id: u32, bytes: usize) {
        let Some(flight) = self.flight(id) else { return };
        flight.cost.add(bytes as u64);
        let spent = flight.cost.spent();
        self.spent = self.spent.saturating_add(spent);
    }

    fn flight(&mut self, id: u32) -> Option<&mut Flight> {
        let at = self.flights.binary_search_by_key(&id, |flight| flight.id).ok()?;
        self.flights.get_mut(at)
    }

    /// Its stream is done with: the copy's state is given up.
    fn land(&mut self, id: u32) -> Option<Flight> {
        let at = self.flights.binary_search_by_key(&id, |flight| flight.id).ok()?;
        let flight = self.flights.remove(at);
        if !flight.is_sent {
            self.unsent -= 1;
        }
        self.session.release(id);
        Some(flight)
    }
}

#[cfg(test)]
mod tests {
    use super::super::lane::tests::lane;
    use super::super::ledger::Ticket;
    use super::*;
    use crate::http2::frame;
    use crate::limits::ANSWER_SHORT_BYTES;
    use crate::metrics::MirrorCounters;
    use bytes::Bytes;
    use std::rc::Rc;

    fn streams(response_bytes_max: u64) -> Streams {
        let terms = Terms { timeout_ms: 1000, response_bytes_max, budget: Arc::default() };
        let mut streams = Streams::new(Scheme::Http, Limits::default(), terms, 0);
        assert!(!streams.is_open());
        let mut hello = Vec::new();
        frame::settings(&mut hello, &[]);
        streams.feed(&hello, (0, 0), Appetite::All);
        assert!(streams.is_open() && streams.has_room());
        streams
    }

    fn copy(text: &str) -> RequestCopy {
        let mut ticket = Ticket::open(&Arc::<MirrorCounters>::default());
        ticket.wait();
        ticket.send(0);
        let head = text.replace('\n', "\r\n").into_bytes();
        RequestCopy {
            head,
            pieces: Vec::new(),
            to_head: false,
            stale_ms: u64::MAX,
            tries: 1,
            unsearched: None,
            ticket,
        }
    }

    fn send(streams: &mut Streams, text: &str, now_ms: u64) {
        let reserved = Reserved::new(&Rc::new(lane()));
        assert!(streams.send(copy(text), reserved, (now_ms, now_ms * 1000)).is_none());
    }

    /// `:status 200` of a stream.
    fn ok(stream: u32, end: bool) -> Vec<u8> {
        let mut out = Vec::new();
        frame::headers(&mut out, stream, &[0x88], end);
        out
    }

    fn data(stream: u32, content: &[u8], end: bool) -> Vec<u8> {
        let mut out = Vec::new();
        frame::head(
            &mut out,
            frame::Kind::Data,
            if end { frame::END_STREAM } else { 0 },
            stream,
            content.len(),
        );
        out.extend_from_slice(content);
        out
    }

    fn said(streams: &mut Streams) -> Vec<u8> {
        streams.take(Vec::new(), 0, || 7)
    }

    #[test]
    fn answers_come_in_any_order_and_each_has_its_own_time() {
        let mut streams = streams(1000);
        send(&mut streams, "GET /1 HTTP/1.1\nHost: a\n\n", 1);
        send(&mut streams, "POST /2 HTTP/1.1\nHost: a\nContent-Length: 2\n\nhi", 1);
        assert!(streams.has_output() && said(&mut streams).ends_with(b"hi"));
        let both = [ok(3, false), data(3, b"yes", true), ok(1, true)].concat();
        streams.feed(&both, (2, 2007), Appetite::All);
        let ends: Vec<_> = streams.ends.drain(..).collect();
        let told = |end: &End| match end {
            End::Answered { answered, latency_us } => (answered.status, answered.bytes, *latency_us),
            End::Failed(..) | End::Unprocessed(_) => panic!("it was answered"),
        };
        assert_eq!(ends.iter().map(told).collect::<Vec<_>>(), [(200, 3, 2000), (200, 0, 2000)]);
        assert_eq!(streams.counts(), (2, 2));
    }

    #[test]
    fn a_copy_whose_time_is_over_is_reset_and_what_is_beside_it_goes_on() {
        let mut streams = streams(1000);
        send(&mut streams, "GET /1 HTTP/1.1\nHost: a\n\n", 0);
        send(&mut streams, "GET /2 HTTP/1.1\nHost: a\n\n", 500);
        streams.feed(&ok(3, true), (900, 0), Appetite::All);
        let _ = said(&mut streams);
        streams.tick((1000, 0), Appetite::All);
        let mut reset = Vec::new();
        frame::rst_stream(&mut reset, 1, Code::Cancel);
        assert!(said(&mut streams).ends_with(&reset));
        assert!(matches!(streams.ends.last(), Some(End::Failed(_, FailReason::Timeout))));
        assert!(!streams.is_doubted() && streams.has_room(), "another one was answered meanwhile");
        send(&mut streams, "GET /3 HTTP/1.1\nHost: a\n\n", 1000);
        streams.tick((2000, 0), Appetite::All);
        assert!(streams.is_doubted() && !streams.takes_copies(), "none was answered since it began");
    }

    #[test]
    fn a_copy_that_comes_when_all_is_over_is_given_back() {
        let mut streams = streams(1000);
        streams.cut(FailReason::Closed);
        let late = streams.send(copy("GET / HTTP/1.1\nHost: a\n\n"), Reserved::new(&Rc::new(lane())), (0, 0));
        assert!(late.is_some_and(|(copy, why)| {
            copy.ticket.fail(FailReason::Closed);
            matches!(why, Unsent::NoRoom)
        }));
        assert!(streams.flights.is_empty());
    }

    #[test]
    fn a_mirror_that_asks_and_asks_pays_for_it_and_is_left_when_its_lane_rests() {
        let mut streams = streams(1000);
        send(&mut streams, "GET /1 HTTP/1.1\nHost: a\n\n", 0);
        let mut pings = Vec::new();
        (0..16).for_each(|_| frame::ping(&mut pings, [7; 8], false));
        let ask = |streams: &mut Streams, appetite: Appetite| {
            let _ = said(streams);
            streams.feed(&pings, (0, 0), appetite);
            streams.take_spent()
        };
        assert_eq!(ask(&mut streams, Appetite::None), 0, "now and then is nothing");
        for _ in 0..3 {
            ask(&mut streams, Appetite::None);
        }
        assert_eq!(ask(&mut streams, Appetite::None), MIRROR_PING_BYTES);
        assert!(streams.over().is_none(), "a copy is under way");
        streams.feed(&ok(1, true), (0, 0), Appetite::None);
        assert_eq!(ask(&mut streams, Appetite::All), MIRROR_PING_BYTES);
        assert!(streams.over().is_none(), "it may");
        ask(&mut streams, Appetite::None);
        assert_eq!(streams.over(), Some(FailReason::Protocol));
    }

    #[test]
    fn chunks_go_as_they_are_and_only_small_ones_are_in_memory_twice() {
        let mut streams = streams(1000);
        let lane = Rc::new(lane());
        let large = "y".repeat(1000);
        let mut copy = copy("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n2\nab\n");
        copy.pieces = vec![
            Bytes::from(format!("3\r\ncde\r\n3e8\r\n{large}\r\n1\r\n")),
            Bytes::from_static(b"f\r\n0\r\n\r\n"),
        ];
        assert!(streams.send(copy, Reserved::new(&lane), (0, 0)).is_none());
        assert_eq!(streams.flights.first().map(|flight| flight._reserved.bytes()), Some(6));
        let (out, content) = (said(&mut streams), [b"abcde".as_slice(), large.as_bytes(), b"f"]);
        let mut rest = out.as_slice();
        for piece in content {
            let at = memchr::memmem::find(rest, piece).expect("each piece, in order");
            rest = &rest[at + piece.len()..];
        }
    }

    #[test]
    fn where_there_is_no_time_for_more_a_long_answer_ends_with_what_matters_of_it() {
        let mut streams = streams(1 << 20);
        for n in 0..2 {
            send(&mut streams, &format!("GET /{n} HTTP/1.1\nHost: a\n\n"), 0);
        }
        streams.feed(&[ok(1, false), ok(3, false)].concat(), (0, 0), Appetite::Enough);
        streams.feed(&data(3, b"short", false), (0, 0), Appetite::Enough);
        let pieces = ANSWER_SHORT_BYTES / 16_000;
        (0..pieces).for_each(|_| streams.feed(&data(1, &[b'x'; 16_000], false), (0, 0), Appetite::Enough));
        assert!(streams.ends.is_empty() && streams.take_spent() == 0, "it is not long yet");
        streams.feed(&data(1, &[b'x'; 16_000], false), (0, 0), Appetite::Enough);
        let cut = matches!(streams.ends.first(), Some(End::Answered { answered, .. }) if answered.is_cut);
        assert!(cut && streams.cuts == [CutReason::Budget]);
        assert_eq!(streams.flights.len(), 1, "the short one goes on");
    }

    #[test]
    fn a_long_answer_is_cut_and_a_lane_that_rests_gives_no_window_back() {
        let mut streams = streams(100_000);
        for n in 0..2 {
            send(&mut streams, &format!("GET /{n} HTTP/1.1\nHost: a\n\n"), 0);
        }
        let _ = said(&mut streams);
        let piece = vec![b'x'; 16_000];
        streams.feed(&[ok(1, false), ok(3, false)].concat(), (0, 0), Appetite::None);
        for _ in 0..4 {
            streams.feed(&data(1, &piece, false), (0, 0), Appetite::None);
        }
        let has_update = |out: &[u8]| out.windows(9).any(|head| head[3] == 8 && head[5..9] == [0, 0, 0, 1]);
        assert!(!has_update(&said(&mut streams)), "it rests");
        streams.tick((10, 0), Appetite::All);
        assert!(has_update(&said(&mut streams)), "it does so no more");
        for _ in 0..3 {
            streams.feed(&data(1, &piece, false), (20, 0), Appetite::All);
        }
        let cut = matches!(streams.ends.first(), Some(End::Answered { answered, .. }) if answered.is_cut);
        assert!(cut && streams.cuts == [CutReason::TooLong]);
        assert_eq!(streams.flights.len(), 1, "the other one goes on");
    }
}
