//! Content on its way through: decoded from one framing, encoded into another.
//!
//! `Incoming` knows where content lies in the bytes that were read, `Outgoing` how it is delimited on the other wire. Two ways
//! through: `copy` into a buffer that already holds a head, and `decode` and `encode` in place, which move no content when it
//! stands in one piece.

use std::ops::Range;

use super::chunked::{BadChunk, Chunked, Step};
use super::framing::Framing;

/// Free bytes kept in front of a block's content, where the chunk size goes: 16 hex digits and CRLF.
pub const HEADROOM: usize = 18;

/// Decoder of one message's content.
#[derive(Debug)]
pub enum Incoming {
    /// The message is complete; holds the permitted trailer lines it ended with.
    Done {
        trailers: Vec<u8>,
    },
    /// Bytes still to come.
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

impl Incoming {
    const DONE: Self = Self::Done { trailers: Vec::new() };

    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::DONE,
            Framing::Length(n) => Self::Length(n),
            Framing::Chunked => Self::Chunked(Chunked::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. })
    }

    /// Permitted trailer lines, each with its CRLF; empty until the message is complete.
    pub fn trailers(&self) -> &[u8] {
        match self {
            Self::Done { trailers } => trailers,
            Self::Length(_) | Self::Chunked(_) | Self::UntilClose => b"",
        }
    }

    /// Whether the connection's end right here completes the message.
    pub fn ends_at_close(&self) -> bool {
        match self {
            Self::Done { .. } | Self::UntilClose => true,
            Self::Length(_) | Self::Chunked(_) => false,
        }
    }

    /// How many bytes it would be worth reading at once, where that is known.
    pub fn bytes_expected(&self) -> Option<u64> {
        match self {
            Self::Done { .. } => Some(0),
            Self::Length(n) => Some(*n),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Reads the content at the front of `input` and tells `see` each piece of it; returns how many bytes of `input` belong
    /// to the message.
    pub fn read(&mut self, input: &[u8], mut see: impl FnMut(&[u8])) -> Result<usize, BadChunk> {
        let mut used = 0;
        while !self.is_done() {
            match self.step(&input[used..])? {
                Step::More => return Ok(input.len()),
                Step::Data { at, len } => {
                    see(&input[used + at..used + at + len]);
                    used += at + len;
                }
                Step::End { at } => {
                    used += at;
                    self.end();
                }
            }
        }
        Ok(used)
    }

    /// The message ends here.
    pub fn end(&mut self) {
        let trailers = match self {
            Self::Chunked(chunked) => chunked.take_trailers(),
            Self::Done { .. } => return,
            Self::Length(_) | Self::UntilClose => Vec::new(),
        };
        *self = Self::Done { trailers };
    }

    fn step(&mut self, input: &[u8]) -> Result<Step, BadChunk> {
        match self {
            Self::Done { .. } => Ok(Step::End { at: 0 }),
            Self::Length(_) | Self::UntilClose if input.is_empty() => Ok(Step::More),
            Self::Length(left) => {
                let len = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= len as u64;
                if *left == 0 {
                    *self = Self::DONE;
                }
                Ok(Step::Data { at: 0, len })
            }
            Self::UntilClose => Ok(Step::Data { at: 0, len: input.len() }),
            Self::Chunked(chunked) => chunked.step(input),
        }
    }
}

/// How content is delimited where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outgoing {
    /// Content-Length, or the connection's end.
    Plain,
    Chunked,
}

/// Appends the content found in `input` to `out` in its outgoing form and tells `tee` each piece of it; returns how many
/// bytes of `input` belonged to the message. After it, `incoming.is_done()` says whether the message is complete.
pub fn copy(
    input: &[u8],
    incoming: &mut Incoming,
    outgoing: Outgoing,
    out: &mut Vec<u8>,
    mut tee: impl FnMut(&[u8]),
) -> Result<usize, BadChunk> {
    let mut used = 0;
    while !incoming.is_done() {
        match incoming.step(&input[used..])? {
            Step::More => return Ok(input.len()),
            Step::Data { at, len } => {
                let content = &input[used + at..used + at + len];
                used += at + len;
                tee(content);
                push(out, outgoing, content);
                if incoming.is_done() {
                    push_end(out, outgoing, incoming.trailers());
                }
            }
            Step::End { at } => {
                used += at;
                incoming.end();
                push_end(out, outgoing, incoming.trailers());
            }
        }
    }
    Ok(used)
}

/// Makes `block` ready to be read into: empty but for the room in front.
pub fn make_room(block: &mut Vec<u8>) {
    block.clear();
    block.resize(HEADROOM, 0);
}

/// Decodes raw bytes read behind the room of a block ([`make_room`]) in place: the block then ends with its content, whose
/// place is returned. Bytes behind the message's end are moved to `rest`.
pub fn decode(
    block: &mut Vec<u8>,
    incoming: &mut Incoming,
    rest: &mut Vec<u8>,
) -> Result<Range<usize>, BadChunk> {
    let mut from = HEADROOM;
    let mut to = HEADROOM;
    let mut used = HEADROOM;
    let mut ended = incoming.is_done();
    while !ended {
        match incoming.step(&block[used..])? {
            Step::More => {
                used = block.len();
                break;
            }
            Step::Data { at, len } => {
                if to == from {
                    (from, to) = (used + at, used + at);
                }
                if to != used + at {
                    block.copy_within(used + at..used + at + len, to);
                }
                to += len;
                used += at + len;
                ended = incoming.is_done();
            }
            Step::End { at } => {
                used += at;
                ended = true;
            }
        }
    }
    if ended {
        rest.extend_from_slice(&block[used..]);
        incoming.end();
    }
    block.truncate(to);
    Ok(from..to)
}

/// Gives the content with which `block` ends its outgoing form in place, and behind it the message's end where `end` has
/// trailers; returns where the outgoing bytes begin. A chunk's size goes into the room in front ([`HEADROOM`]).
pub fn encode(block: &mut Vec<u8>, content: Range<usize>, outgoing: Outgoing, end: Option<&[u8]>) -> usize {
    let mut from = content.start;
    if outgoing == Outgoing::Chunked && !content.is_empty() {
        let (digits, start) = size_line(content.len());
        let line = &digits[start..];
        from = content.start - line.len();
        block[from..content.start].copy_from_slice(line);
        block.extend_from_slice(b"\r\n");
    }
    if let Some(trailers) = end {
        push_end(block, outgoing, trailers);
    }
    from
}

/// Appends content in its outgoing form.
pub fn push(out: &mut Vec<u8>, outgoing: Outgoing, content: &[u8]) {
    match outgoing {
        Outgoing::Plain => out.extend_from_slice(content),
        Outgoing::Chunked => {
            let (digits, start) = size_line(content.len());
            out.extend_from_slice(&digits[start..]);
            out.extend_from_slice(content);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Appends the end of a message, with the trailer lines that are passed on.
pub fn push_end(out: &mut Vec<u8>, outgoing: Outgoing, trailers: &[u8]) {
    if outgoing == Outgoing::Chunked {
        out.extend_from_slice(b"0\r\n");
        out.extend_from_slice(trailers);
        out.extend_from_slice(b"\r\n");
    }
}

/// `len` in hex and CRLF, right-aligned: the bytes and where they start.
fn size_line(len: usize) -> ([u8; HEADROOM], usize) {
    let mut line = [0; HEADROOM];
    line[HEADROOM - 2..].copy_from_slice(b"\r\n");
    let mut at = HEADROOM - 2;
    let mut left = len;
    loop {
        at -= 1;
        line[at] = b"0123456789abcdef"[left % 16];
        left /= 16;
        if left == 0 {
            return (line, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `input` through in pieces, first by `copy`, then by `transform`: the outgoing bytes, and the rest.
    fn pass(input: &[u8], piece: usize, framing: Framing, outgoing: Outgoing) -> (Vec<u8>, Vec<u8>, bool) {
        let mut incoming = Incoming::new(framing);
        let (mut out, mut rest, mut teed) = (Vec::new(), Vec::new(), Vec::new());
        for (i, part) in input.chunks(piece).enumerate() {
            if incoming.is_done() {
                rest.extend_from_slice(part);
            } else if i == 0 {
                let used =
                    copy(part, &mut incoming, outgoing, &mut out, |c| teed.extend_from_slice(c)).unwrap();
                rest.extend_from_slice(&part[used..]);
            } else {
                let mut block = Vec::new();
                make_room(&mut block);
                block.extend_from_slice(part);
                let content = decode(&mut block, &mut incoming, &mut rest).unwrap();
                teed.extend_from_slice(&block[content.clone()]);
                let end = incoming.is_done().then(|| incoming.trailers());
                let from = encode(&mut block, content, outgoing, end);
                out.extend_from_slice(&block[from..]);
            }
        }
        let done = incoming.is_done();
        if outgoing == Outgoing::Plain {
            assert_eq!(teed, out);
        }
        (out, rest, done)
    }

    fn content_of(chunked: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut decoder = Chunked::default();
        let (mut content, mut at) = (Vec::new(), 0);
        loop {
            match decoder.step(&chunked[at..]).unwrap() {
                Step::Data { at: from, len } => {
                    content.extend_from_slice(&chunked[at + from..at + from + len]);
                    at += from + len;
                }
                Step::End { .. } => return (content, decoder.take_trailers()),
                Step::More => panic!("not complete: {:?}", String::from_utf8_lossy(chunked)),
            }
        }
    }

    #[test]
    fn a_length_stays_a_length_and_leaves_the_next_request_alone() {
        for piece in 1..12 {
            let (out, rest, done) = pass(b"helloGET /", piece, Framing::Length(5), Outgoing::Plain);
            assert_eq!((out.as_slice(), rest.as_slice(), done), (&b"hello"[..], &b"GET /"[..], true));
        }
    }

    #[test]
    fn chunks_are_made_anew_and_trailers_kept() {
        let input = b"5;x=y\r\nhello\r\n06\r\n world\r\n0\r\nX-T: 1\r\nHost: no\r\n\r\nGET /";
        for piece in 1..input.len() {
            let (out, rest, done) = pass(input, piece, Framing::Chunked, Outgoing::Chunked);
            assert!(done);
            assert_eq!(rest, b"GET /");
            assert_eq!(content_of(&out), (b"hello world".to_vec(), b"X-T: 1\r\n".to_vec()), "piece {piece}");
            let (out, rest, _) = pass(input, piece, Framing::Chunked, Outgoing::Plain);
            assert_eq!((out.as_slice(), rest.as_slice()), (&b"hello world"[..], &b"GET /"[..]));
        }
    }

    #[test]
    fn a_close_delimited_body_goes_out_in_chunks() {
        let (mut out, _, done) = pass(b"0123456789", 4, Framing::UntilClose, Outgoing::Chunked);
        assert!(!done);
        push_end(&mut out, Outgoing::Chunked, b"");
        assert_eq!(content_of(&out).0, b"0123456789");
    }

    #[test]
    fn a_framing_says_what_is_to_come_and_whether_the_connections_end_completes_it() {
        for (framing, expected, at_close, is_done) in [
            (Framing::None, Some(0), true, true),
            (Framing::Length(0), Some(0), true, true),
            (Framing::Length(7), Some(7), false, false),
            (Framing::Chunked, None, false, false),
            (Framing::UntilClose, None, true, false),
        ] {
            let incoming = Incoming::new(framing);
            let of = (incoming.bytes_expected(), incoming.ends_at_close(), incoming.is_done());
            assert_eq!(of, (expected, at_close, is_done), "{framing:?}");
        }
    }

    #[test]
    fn every_piece_of_content_is_seen_and_nothing_behind_it() {
        let mut incoming = Incoming::new(Framing::Chunked);
        let mut seen = Vec::new();
        let used =
            incoming.read(b"2\r\nab\r\n1\r\nc\r\n0\r\nX: 1\r\n\r\nGET", |piece| seen.push(piece.to_vec()));
        assert_eq!((used, seen), (Ok(24), vec![b"ab".to_vec(), b"c".to_vec()]));
        assert_eq!(incoming.trailers(), b"X: 1\r\n");
        assert_eq!(incoming.read(b"GET", |_| panic!("nothing comes behind the end")), Ok(0));
    }

    #[test]
    fn a_size_is_written_in_hexadecimal_digits_and_content_in_its_own_bytes() {
        for (bytes, size) in [(1, "1"), (15, "f"), (16, "10"), (255, "ff"), (4096, "1000")] {
            let content = vec![b'x'; bytes];
            let mut out = Vec::new();
            push(&mut out, Outgoing::Chunked, &content);
            assert_eq!(out, [size.as_bytes(), b"\r\n", &content[..], b"\r\n"].concat());
            out.clear();
            push(&mut out, Outgoing::Plain, &content);
            push_end(&mut out, Outgoing::Plain, b"a: b\r\n");
            assert_eq!(out, content, "a length has no trailers");
        }
        let mut block = Vec::new();
        make_room(&mut block);
        let nothing = encode(&mut block, HEADROOM..HEADROOM, Outgoing::Chunked, None);
        assert_eq!((nothing, block.len()), (HEADROOM, HEADROOM), "an empty chunk would be the end");
    }
}
