//! A complete copy: as it waits, and how its wire is made when its content had to be searched first. Pure.

use std::rc::Rc;

use bytes::Bytes;

use super::ledger::Ticket;
use super::redact::{Search, Secrets, Unsearchable};
use crate::http1::framing::Framing;
use crate::http1::render;
use crate::limits::REDACT_TURN_BYTES;
use crate::metrics::DropReason;

/// A complete request, ready for a mirror's wire.
#[derive(Debug)]
pub struct RequestCopy {
    /// Head, and content where it is small.
    pub head: Vec<u8>,
    /// Content that follows `head`, shared with the exchange it was taken from.
    pub pieces: Vec<Bytes>,
    pub to_head: bool,
    /// The copy is not sent at this time of the worker's clock, in milliseconds, or later.
    pub stale_ms: u64,
    /// How often it was begun on a connection.
    pub tries: u32,
    /// Its content may hold secrets, and its head is not ended: [`Searching`] makes it ready.
    pub unsearched: Option<Box<Unsearched>>,
    pub ticket: Ticket,
}

impl RequestCopy {
    /// Bytes on the wire.
    pub fn len(&self) -> usize {
        self.head.len() + self.pieces.iter().map(Bytes::len).sum::<usize>()
    }

    /// Keeps the request for its record: the copy is about to be sent for the first time.
    pub fn keep(&mut self) {
        let Self { head, pieces, ticket, .. } = self;
        ticket.keep(std::iter::once(head.as_slice()).chain(pieces.iter().map(AsRef::as_ref)));
    }

    /// Never: it has a head at least.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The state of a copy whose content is searched before it is sent.
#[derive(Debug, Clone)]
pub struct Unsearched {
    pub secrets: Rc<Secrets>,
    pub trailers: Vec<u8>,
    pub expects_content: bool,
    /// Its content may not be longer once it was searched.
    pub body_bytes_max: usize,
}

/// A search under way, a bounded part at a time.
#[derive(Debug)]
pub struct Searching<'a> {
    search: Search<'a>,
    unsearched: &'a Unsearched,
    pieces: &'a [Bytes],
    /// Index of the piece under way, and how much of it is done.
    at: (usize, usize),
    out: Vec<u8>,
}

impl<'a> Searching<'a> {
    /// Begins with a copy's head and pieces; a reason if they cannot be searched.
    pub fn begin(unsearched: &'a Unsearched, head: &[u8], pieces: &'a [Bytes]) -> Result<Self, DropReason> {
        let bytes = pieces.iter().map(Bytes::len).sum();
        Ok(Self {
            search: Search::begin(&unsearched.secrets, head, bytes)
                .map_err(|Unsearchable| DropReason::Redaction)?,
            unsearched,
            pieces,
            at: (0, 0),
            out: Vec::with_capacity(bytes),
        })
    }

    /// Searches the next [`REDACT_TURN_BYTES`]; says whether that was all.
    pub fn turn(&mut self) -> Result<bool, DropReason> {
        let mut left = REDACT_TURN_BYTES;
        while left > 0 {
            let (index, done) = self.at;
            let Some(piece) = self.pieces.get(index) else {
                let is_over = self.search.turn(&mut self.out);
                return self.within_bounds().map(|()| is_over);
            };
            let rest = piece.get(done..).unwrap_or_default();
            let part = rest.get(..left).unwrap_or(rest);
            self.search.feed(part, &mut self.out).map_err(|Unsearchable| DropReason::Redaction)?;
            self.within_bounds()?;
            left -= part.len();
            self.at = if part.len() == rest.len() { (index + 1, 0) } else { (index, done + part.len()) };
        }
        Ok(self.at.0 >= self.pieces.len() && self.search.is_over())
    }

    fn within_bounds(&self) -> Result<(), DropReason> {
        if self.out.len() > self.unsearched.body_bytes_max { Err(DropReason::BodyTooLarge) } else { Ok(()) }
    }

    /// Content without its secrets, with the end of `head` added.
    pub fn end(self, head: &mut Vec<u8>) -> Result<Bytes, DropReason> {
        let Self { search, unsearched, mut out, .. } = self;
        search.end().map_err(|Unsearchable| DropReason::Redaction)?;
        let Unsearched { trailers, expects_content, .. } = unsearched;
        let end = end_head(head, out.len(), trailers, *expects_content);
        out.extend_from_slice(&end);
        Ok(out.into())
    }
}

/// Ends a copy's head now that the length of its content is known. Its framing is ours: one length, or one chunk where trailers
/// follow. Returns the bytes behind the content.
pub(super) fn end_head(
    head: &mut Vec<u8>,
    content_bytes: usize,
    trailers: &[u8],
    expects_content: bool,
) -> Vec<u8> {
    let framing = match (content_bytes, trailers.is_empty()) {
        (0, true) => Framing::None,
        (n, true) => Framing::Length(n as u64),
        (_, false) => Framing::Chunked,
    };
    render::end_request(head, framing, expects_content, false);
    if framing != Framing::Chunked {
        return Vec::new();
    }
    if content_bytes == 0 {
        return [b"0\r\n", trailers, b"\r\n"].concat();
    }
    head.extend_from_slice(format!("{content_bytes:x}\r\n").as_bytes());
    [b"\r\n0\r\n", trailers, b"\r\n"].concat()
}

/// `trailers` without secrets.
pub(super) fn without_secrets(secrets: &Secrets, trailers: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(trailers.len());
    secrets.lines(&mut out, trailers);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unsearched(body_bytes_max: usize) -> Unsearched {
        let redact = config::Redact { json: vec!["/*".into()], ..Default::default() };
        let secrets = Rc::new(Secrets::new(&redact).expect("it redacts"));
        Unsearched { secrets, trailers: Vec::new(), expects_content: true, body_bytes_max }
    }

    /// How many turns it took, and the wire.
    fn search(pieces: &[Bytes], body_bytes_max: usize) -> Result<(usize, Vec<u8>), DropReason> {
        let (unsearched, mut head) = (unsearched(body_bytes_max), b"H: h\r\n".to_vec());
        let mut searching = Searching::begin(&unsearched, &head, pieces)?;
        let mut turns = 1;
        while !searching.turn()? {
            turns += 1;
        }
        let content = searching.end(&mut head)?;
        Ok((turns, [&head, &content[..]].concat()))
    }

    #[test]
    fn a_turn_searches_no_more_than_its_part_however_content_is_cut() {
        let text = format!("{}[1]", " ".repeat(10 * REDACT_TURN_BYTES - 3));
        let whole = Bytes::from(text.into_bytes());
        let expect = "H: h\r\nContent-Length: 163851\r\n\r\n";
        for cut in [1, 100, REDACT_TURN_BYTES, 3 * REDACT_TURN_BYTES + 1] {
            let pieces = [whole.slice(..cut), whole.slice(cut..)];
            let (turns, wire) = search(&pieces, usize::MAX).unwrap();
            assert_eq!(turns, 10, "cut at {cut}");
            assert!(wire.starts_with(expect.as_bytes()) && wire.ends_with(b" [\"[redacted]\"]"));
        }
    }

    #[test]
    fn what_grows_too_long_or_is_no_json_is_given_up() {
        let pieces = |text: &str| [Bytes::copy_from_slice(text.as_bytes())];
        assert_eq!(search(&pieces("[1,2]"), 26).unwrap_err(), DropReason::BodyTooLarge);
        assert!(search(&pieces("[1,2]"), 27).is_ok());
        assert_eq!(search(&pieces("[1,2"), 100).unwrap_err(), DropReason::Redaction);
        assert_eq!(search(&pieces("a=1"), 100).unwrap_err(), DropReason::Redaction);
    }
}
