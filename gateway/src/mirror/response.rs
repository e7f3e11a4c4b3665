//! A mirror's response as it is read: the facts that matter of it, and the cost of reading it. Pure: bytes in, facts out.

use std::sync::Arc;

use super::copy::RequestCopy;
use crate::error::Failure;
use crate::grpc::{Status, StatusReader, Unread};
use crate::http1::response::{HeadLimits, Message, Reader, Step};
use crate::limits::{ANSWER_CUT_BYTES, ANSWER_OVERHEAD_TIMES, ANSWER_PIECE_BYTES, ANSWER_SHORT_BYTES};
use crate::metrics::LeftOut;
use crate::observe::keep::{Budget, Keeping, Kept, keep};

/// A copy, and the facts that matter of its response.
pub(super) struct Answered {
    pub(super) copy: RequestCopy,
    pub(super) status: u16,
    /// Of a call.
    pub(super) grpc: Option<Status>,
    pub(super) bytes: u64,
    /// The response was not read to its end.
    pub(super) is_cut: bool,
    pub(super) kept: Option<Kept>,
}

/// A response being read.
pub(super) struct Response {
    /// Of its heads, once the first byte was looked at.
    reader: Option<Reader>,
    /// The message behind its final head, once that came.
    message: Option<Message>,
    /// Of content as it came, chunk sizes and extensions included.
    bytes: u64,
    cost: Cost,
    content_bytes: u64,
    bytes_max: u64,
    /// Where it is to be compared.
    keeping: Option<Box<Keeping>>,
    /// A call's own status, as far as it has come.
    call: StatusReader,
    is_cut: bool,
}

impl Answered {
    /// `call`: the call's status by the bytes that came, which are not all where the response was cut.
    pub(super) fn new(
        mut copy: RequestCopy,
        status: u16,
        call: &StatusReader,
        bytes: u64,
        (is_cut, kept): (bool, Option<Kept>),
    ) -> Self {
        let grpc = match if is_cut { call.cut() } else { Ok(call.end()) } {
            Ok(grpc) => grpc,
            // A status that was not read counts as neither success nor failure.
            Err(Unread) => {
                copy.ticket.leave_out(LeftOut::EndUnread);
                None
            }
        };
        Self { copy, status, grpc, bytes, is_cut, kept }
    }
}

/// The cost of reading one response, in bytes: heads, interim ones too, content, and each piece of it as so many more.
#[derive(Debug, Default)]
pub(super) struct Cost {
    bytes: u64,
    /// How much of that was told.
    told: u64,
}

impl Cost {
    pub(super) fn add(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Raises the cost to `bytes` in all.
    pub(super) fn become_at_least(&mut self, bytes: u64) {
        self.bytes = self.bytes.max(bytes);
    }

    /// Whether the response counts as long.
    pub(super) fn is_long(&self) -> bool {
        self.bytes > ANSWER_SHORT_BYTES
    }

    /// A piece came by itself.
    pub(super) fn piece(&mut self) {
        self.add(ANSWER_PIECE_BYTES);
    }

    /// The cost since the last time this was asked; nothing while that is little. All of it counts once it is
    /// more.
    pub(super) fn spent(&mut self) -> u64 {
        if self.bytes <= ANSWER_SHORT_BYTES {
            return 0;
        }
        self.bytes - std::mem::replace(&mut self.told, self.bytes)
    }
}

pub(super) enum Progress {
    More { used: usize },
    Complete { used: usize, status: u16, keep_alive: bool },
    TooLong,
}

impl Response {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            reader: None,
            message: None,
            bytes: 0,
            cost: Cost::default(),
            content_bytes: 0,
            bytes_max,
            keeping: None,
            call: StatusReader::NotGrpc,
            is_cut: false,
        }
    }

    /// Its final status, once that came.
    pub(super) fn status(&self) -> Option<u16> {
        self.message.as_ref().map(|message| message.status)
    }

    /// Whether all facts that matter are known, and to read on costs more than to give the connection up: by the length that the
    /// response declares, or else by the bytes of it that have come.
    pub(super) fn is_dear(&self) -> bool {
        let is_kept = self.keeping.as_ref().is_none_or(|keeping| keeping.is_full());
        let Some(message) = self.message.as_ref().filter(|_| is_kept && self.cost.is_long()) else {
            return false;
        };
        message.incoming.bytes_expected().unwrap_or(self.cost.bytes) >= ANSWER_CUT_BYTES
    }

    /// Ends the reading early: the kept content is a part.
    pub(super) fn cut(&mut self) {
        self.is_cut = true;
        if let Some(keeping) = &mut self.keeping {
            keeping.cut();
        }
    }

    /// The facts that matter of it, now that it is over; the next one is read from here on.
    pub(super) fn end(&mut self, copy: RequestCopy, status: u16) -> Answered {
        let kept = self.keeping.take().map(|keeping| keeping.end());
        let bytes = self.content_bytes;
        (self.reader, self.message) = (None, None);
        (self.bytes, self.content_bytes) = (0, 0);
        self.cost = Cost::default();
        let is_cut = std::mem::take(&mut self.is_cut);
        Answered::new(copy, status, &std::mem::take(&mut self.call), bytes, (is_cut, kept))
    }

    pub(super) fn advance(
        &mut self,
        input: &[u8],
        copy: &RequestCopy,
        (heads, budget): (HeadLimits, &Arc<Budget>),
        closed: bool,
    ) -> Result<Progress, Failure> {
        let mut used = 0;
        while self.message.is_none() {
            let new_reader = || Reader::new(heads, copy.to_head);
            let reader = self.reader.get_or_insert_with(new_reader);
            let step = reader
                .head(&input[used..], |head, raw| {
                    StatusReader::begin(head.status, head.content_type(), raw, false)
                })
                .map_err(|fault| Failure::Protocol(fault.detail()))?;
            let (len, message) = match step {
                Step::More => return Ok(Progress::More { used }),
                Step::Interim { used: len, .. } => (len, None),
                Step::Head { used: len, message, told: call } => {
                    self.call = call;
                    (len, Some(message))
                }
            };
            let raw = &input[used..used + len];
            used += len;
            self.cost.add(len as u64);
            if let (Some(message), bytes_max @ 1..) = (&message, copy.ticket.keeps_bytes()) {
                self.keeping = Keeping::begin(budget, message.status, raw, bytes_max);
            }
            self.message = message;
        }
        let Some(message) = &mut self.message else { return Ok(Progress::More { used }) };
        let (keeping, call) = (&mut self.keeping, &mut self.call);
        let (content_bytes, mut pieces) = (&mut self.content_bytes, 0_u64);
        let taken = message.read(&input[used..], |content| {
            pieces += 1;
            *content_bytes = content_bytes.saturating_add(content.len() as u64);
            keep(keeping, content);
            call.content(content);
        });
        let taken = taken.map_err(|fault| Failure::Protocol(fault.detail()))?;
        used += taken;
        self.bytes = self.bytes.saturating_add(taken as u64);
        self.cost.add((taken as u64).saturating_add(pieces * ANSWER_PIECE_BYTES));
        if message.is_over(closed) {
            Ok(Progress::Complete { used, status: message.status, keep_alive: message.keeps })
        } else if self.bytes >= self.bytes_max {
            Ok(Progress::TooLong)
        } else {
            Ok(Progress::More { used })
        }
    }

    /// `bytes` came around it that are no content.
    pub(super) fn came_with(&mut self, bytes: u64) {
        self.cost.add(bytes.saturating_mul(ANSWER_OVERHEAD_TIMES));
    }

    /// See [`Cost::spent`].
    pub(super) fn spent(&mut self) -> u64 {
        self.cost.spent()
    }
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Ticket;
    use super::*;
    use crate::metrics::MirrorCounters;

    const HEADS: HeadLimits = HeadLimits { bytes_max: 1000, fields_max: 10 };

    fn copy() -> RequestCopy {
        let mut ticket = Ticket::open(&Arc::<MirrorCounters>::default());
        ticket.wait();
        ticket.send(0);
        RequestCopy {
            head: b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            pieces: Vec::new(),
            to_head: false,
            stale_ms: u64::MAX,
            tries: 1,
            unsearched: None,
            ticket,
        }
    }

    /// A response with this field of which so many bytes of content have come.
    fn read(field: &str, bytes: usize) -> Response {
        let mut input = format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n").into_bytes();
        if field.contains("chunked") {
            input.extend_from_slice(b"7fffffff\r\n");
        }
        input.resize(input.len() + bytes, b'x');
        let mut response = Response::new(u64::MAX);
        let progress = response.advance(&input, &copy(), (HEADS, &Arc::default()), false);
        assert!(matches!(progress, Ok(Progress::More { used }) if used == input.len()));
        response
    }

    #[test]
    fn a_response_is_dear_where_as_much_is_to_come_as_another_connection_costs_or_has_come_without_being_declared()
     {
        let (long, cut) = (ANSWER_SHORT_BYTES as usize, ANSWER_CUT_BYTES as usize);
        let rest = |declared: usize, came: usize| read(&format!("Content-Length: {declared}"), came);
        assert!(rest(long + cut + 1, long + 1).is_dear());
        assert!(!rest(long + cut, long + 1).is_dear(), "the rest is cheaper");
        assert!(!rest(100 * cut, long / 2).is_dear(), "it may be short yet");
        assert!(!read("Transfer-Encoding: chunked", cut / 2).is_dear());
        assert!(read("Transfer-Encoding: chunked", cut).is_dear());
    }
}
