//! Whole blocks of fields: whose they are, and the state they bring a stream to.

use super::read::Block;
use super::streams::{Ended, Receiving};
use super::{Drain, Event, Role, Session};
use crate::http1::head::Fault;
use crate::http2::fields::inbound::{Collector, Expected};
use crate::http2::fields::{Head, Unfit};
use crate::http2::frame::{self, Code};
use crate::http2::guard::{Flood, INTERIM_RESPONSES_MAX};
use crate::http2::hpack::{Extent, Field, ListLimits, Sink, Unreadable};
use crate::limits::{TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX};
use crate::metrics::RejectReason;

/// The part of a block in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The block opens a stream.
    Request,
    /// The block would open a stream, which is one too many.
    OneTooMany,
    Response,
    Trailers,
    /// The block would open a stream behind the last that our GOAWAY lets in: the peer knows, or will, that it is not
    /// processed.
    TooLate,
    /// Of a stream that we reset: read for the table's sake.
    Ignored,
    /// Against the rules of the stream.
    Wrong(Code, &'static str),
}

/// The outcome of fields; unfit ones leave their buffer.
type Read<T> = Result<T, (Unfit, Vec<u8>)>;

/// A sink that forgets all decoded fields.
struct Nowhere(Vec<u8>);

impl Sink for Nowhere {
    fn out(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    fn field(&mut self, field: Field) {
        self.0.truncate(field.at);
    }
}

impl Session {
    /// A block is whole: `bytes` are all of it.
    pub(super) fn block(
        &mut self,
        block: &Block,
        bytes: &[u8],
        now_ms: u64,
    ) -> Result<(), (Code, &'static str)> {
        let place = self.place(block)?;
        let expected = match place {
            Place::Request => Expected::Request(self.scheme),
            Place::Response => Expected::Response,
            Place::Trailers => Expected::Trailers,
            Place::OneTooMany | Place::TooLate | Place::Ignored | Place::Wrong(..) => {
                return self.unread(block, place, bytes, now_ms);
            }
        };
        let limits = match expected {
            Expected::Trailers => ListLimits { bytes_max: TRAILER_BYTES_MAX, fields_max: TRAILER_FIELDS_MAX },
            Expected::Request(_) | Expected::Response => self.head_limits(),
        };
        let out = self.spare.pop().unwrap_or_default();
        let mut collector =
            Collector::new(expected, out, &mut self.workspace).offering_connect(self.limits.offers_connect);
        let extent = match self.decoder.decode(bytes, limits, &mut collector) {
            Ok(extent) => extent,
            Err(unreadable) => return self.unreadable(unreadable),
        };
        let id = block.stream;
        let fault = block.depends_on_itself.then_some("a stream depends on itself");
        match expected {
            Expected::Trailers => {
                let read = if extent.is_too_large { None } else { Some(collector.trailers()) };
                self.trailers(id, read, fault);
            }
            Expected::Response => {
                let read = if extent.is_too_large { None } else { Some(collector.head(block.ends_stream)) };
                self.response(block, read, fault);
            }
            Expected::Request(_) => {
                let read = request_or_fault(collector, extent, block.ends_stream);
                self.request(block, read, fault, now_ms);
            }
        }
        Ok(())
    }

    fn head_limits(&self) -> ListLimits {
        ListLimits { bytes_max: self.limits.head_bytes_max, fields_max: self.limits.fields_max }
    }

    fn unreadable(&mut self, unreadable: Unreadable) -> Result<(), (Code, &'static str)> {
        match unreadable {
            Unreadable::Malformed(why) => Err((Code::Compression, why)),
            Unreadable::TooLarge => {
                self.flood(Flood::Fields);
                Ok(())
            }
        }
    }

    fn place(&self, block: &Block) -> Result<Place, (Code, &'static str)> {
        let id = block.stream;
        if id == 0 || id.is_multiple_of(2) {
            return Err((Code::Protocol, "HEADERS on a stream that no client opens"));
        }
        if let Some(known) = self.streams.get(id) {
            return Ok(match known.receiving {
                Receiving::Head => Place::Response,
                Receiving::Content if block.ends_stream => Place::Trailers,
                Receiving::Content => Place::Wrong(Code::Protocol, "trailers do not end their stream"),
                Receiving::Ended => Place::Wrong(Code::StreamClosed, "HEADERS behind the end of a stream"),
                Receiving::Reset if self.streams.how_ended(id) == Some(Ended::ByPeer) => {
                    return Err((Code::StreamClosed, "HEADERS on a closed stream"));
                }
                Receiving::Reset => Place::Ignored,
            });
        }
        if id > self.last_stream {
            return match self.role {
                Role::Client => Err((Code::Protocol, "HEADERS on an idle stream")),
                Role::Server if self.drain == Drain::Final => Ok(Place::TooLate),
                Role::Server if self.streams.len() >= self.limits.streams_max => Ok(Place::OneTooMany),
                Role::Server => Ok(Place::Request),
            };
        }
        match self.streams.how_ended(id) {
            Some(Ended::ByUs) => Ok(Place::Ignored),
            Some(Ended::ByPeer) => Err((Code::StreamClosed, "HEADERS on a closed stream")),
            // Of so many streams of ours it is no longer known which were reset.
            None if self.role == Role::Client => Ok(Place::Ignored),
            // RFC 9113 §5.1.1: opening a stream closes all idle ones below it.
            None => Err((Code::Protocol, "HEADERS on a stream below the last")),
        }
    }

    /// A block that no stream gets: read all the same, or the table would be lost.
    fn unread(
        &mut self,
        block: &Block,
        place: Place,
        bytes: &[u8],
        now_ms: u64,
    ) -> Result<(), (Code, &'static str)> {
        let mut nowhere = Nowhere(self.spare.pop().unwrap_or_default());
        let decoded = self.decoder.decode(bytes, self.head_limits(), &mut nowhere);
        self.recycle(nowhere.0);
        let extent = match decoded {
            Ok(extent) => extent,
            Err(unreadable) => return self.unreadable(unreadable),
        };
        let id = block.stream;
        match place {
            Place::OneTooMany => {
                self.opened(id, now_ms);
                self.streams_refused += 1;
                // Not looked at: the peer may send it again (RFC 9113 §8.7).
                self.reject_stream(id, Code::RefusedStream);
            }
            Place::Wrong(code, why) => self.fail_stream(id, code, why),
            Place::TooLate | Place::Ignored | Place::Request | Place::Response | Place::Trailers => {
                if place == Place::TooLate {
                    self.last_stream = id;
                    self.streams.remember(id, Ended::ByUs);
                }
                // A byte may mean four thousand.
                let cost =
                    u32::try_from(bytes.len().max(extent.bytes) + frame::HEAD_BYTES).unwrap_or(u32::MAX);
                if let Err(flood) = self.guard.crossed(cost, cost, now_ms) {
                    self.flood(flood);
                }
            }
        }
        Ok(())
    }

    fn opened(&mut self, id: u32, now_ms: u64) {
        self.last_stream = id;
        self.streams_total += 1;
        self.guard.request();
        if self.streams_total >= self.limits.streams_total_max {
            self.drain(now_ms);
        }
    }

    /// Resets a stream that no task holds yet.
    fn reject_stream(&mut self, id: u32, code: Code) {
        self.reset_by_us(id, code);
        if let Err(flood) = self.guard.reset() {
            self.flood(flood);
        }
    }

    fn request(&mut self, block: &Block, read: Read<Head>, fault: Option<&'static str>, now_ms: u64) {
        let id = block.stream;
        self.opened(id, now_ms);
        let read = match (read, fault) {
            (Ok(head), Some(why)) => Err((Unfit::Malformed(why), head.lines)),
            (Err((_, buffer)), Some(why)) => Err((Unfit::Malformed(why), buffer)),
            (read, None) => read,
        };
        let (event, length) = match read {
            Ok(head) => {
                let length = head.length;
                (Event::Head { stream: id, head, end: block.ends_stream }, length)
            }
            Err((Unfit::Refused(fault), buffer)) => {
                (Event::Refused { stream: id, fault, lines: buffer }, None)
            }
            Err((Unfit::Malformed(why), buffer)) => {
                self.recycle(buffer);
                self.events.push_back(Event::Malformed { stream: id, why });
                return self.reject_stream(id, Code::Protocol);
            }
        };
        let mut stream = self.new_stream(id, now_ms);
        stream.length = length;
        if block.ends_stream {
            stream.receiving = Receiving::Ended;
        }
        self.streams.add(stream);
        self.events.push_back(event);
    }

    fn response(&mut self, block: &Block, read: Option<Read<Head>>, fault: Option<&'static str>) {
        let id = block.stream;
        let head = match (read, fault) {
            (Some(Ok(head)), None) => head,
            (Some(Ok(_)), Some(why)) => return self.fail_stream(id, Code::Protocol, why),
            (Some(Err((Unfit::Malformed(why), buffer))), _) => {
                self.recycle(buffer);
                return self.fail_stream(id, Code::Protocol, why);
            }
            (Some(Err((Unfit::Refused(fault), buffer))), _) => {
                self.recycle(buffer);
                return self.fail_stream(id, Code::Protocol, fault.detail);
            }
            (None, _) => return self.fail_stream(id, Code::EnhanceYourCalm, "response head too large"),
        };
        let Some(known) = self.streams.get_mut(id) else { return };
        if head.is_interim() {
            known.interims += 1;
            if block.ends_stream {
                return self.fail_stream(id, Code::Protocol, "an interim response ends its stream");
            }
            if known.interims > INTERIM_RESPONSES_MAX {
                return self.fail_stream(id, Code::EnhanceYourCalm, "too many interim responses");
            }
        } else {
            let has_none = known.to_head || head.status == 204 || head.status == 304;
            known.length = if has_none { Some(0) } else { head.length };
            known.receiving = Receiving::Content;
            if block.ends_stream {
                if known.length.is_some_and(|length| length > 0) {
                    return self.fail_stream(id, Code::Protocol, "content is not as long as declared");
                }
                known.receiving = Receiving::Ended;
            }
        }
        self.events.push_back(Event::Head { stream: id, head, end: block.ends_stream });
        self.forget(id);
    }

    fn trailers(&mut self, id: u32, read: Option<Read<(Vec<u8>, usize)>>, fault: Option<&'static str>) {
        let (lines, dropped) = match (read, fault) {
            (Some(Ok(read)), None) => read,
            (Some(Ok(_)), Some(why)) => return self.fail_stream(id, Code::Protocol, why),
            (Some(Err((unfit, buffer))), _) => {
                self.recycle(buffer);
                let why = match unfit {
                    Unfit::Malformed(why) => why,
                    Unfit::Refused(fault) => fault.detail,
                };
                return self.fail_stream(id, Code::Protocol, why);
            }
            (None, _) => return self.fail_stream(id, Code::EnhanceYourCalm, "trailers too large"),
        };
        let Some(known) = self.streams.get_mut(id) else { return };
        if known.length.is_some_and(|length| known.received < length) {
            return self.fail_stream(id, Code::Protocol, "content is not as long as declared");
        }
        known.receiving = Receiving::Ended;
        if known.is_held {
            self.events.push_back(Event::Trailers { stream: id, lines, dropped });
        }
        self.forget(id);
    }
}

fn request_or_fault(collector: Collector<'_>, extent: Extent, ends_stream: bool) -> Read<Head> {
    if extent.is_too_large {
        let fault = Fault::new(431, RejectReason::HeadTooLarge, "head too large");
        return Err((Unfit::Refused(fault), collector.into_buffer()));
    }
    collector.head(ends_stream)
}
