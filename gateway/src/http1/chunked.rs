//! The chunked transfer coding, decoded strictly (RFC 9112 §7.1). Stateful over any segmentation, never allocating for
//! data; the coding itself is never passed on, only its content and permitted trailers.

use super::framing::LENGTH_MAX;
use super::hop_by_hop;
use crate::limits::{CHUNK_EXTENSION_BYTES_MAX, TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX};

/// Why a chunked body was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadChunk {
    /// Not 1*HEXDIG, or more than [`LENGTH_MAX`].
    Size,
    /// Something other than CRLF, or an extension outside its grammar, after a size.
    SizeLine,
    /// All extensions of one message together exceed [`CHUNK_EXTENSION_BYTES_MAX`].
    ExtensionsTooLong,
    /// Chunk data not followed by CRLF.
    DataEnd,
    /// A trailer line outside the field grammar.
    Trailer,
    /// Trailers exceed [`TRAILER_BYTES_MAX`] or [`TRAILER_FIELDS_MAX`].
    TrailersTooLarge,
}

/// The decoder's finding at the front of its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// All input looked at; nothing of it is content.
    More,
    /// `input[at..at + len]` is content; decoding goes on after it.
    Data { at: usize, len: usize },
    /// The message ended; `at` bytes of the input belong to it.
    End { at: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Expecting the first digit.
    SizeStart,
    Size,
    /// Whitespace after the size or an extension: only `;` may follow.
    ExtensionSpace,
    ExtensionNameStart,
    ExtensionName,
    ExtensionValueStart,
    ExtensionValue,
    ExtensionQuoted,
    ExtensionEscaped,
    /// After a closing quote.
    ExtensionEnd,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a trailer line or the final empty line.
    TrailerStart,
    Trailer,
    TrailerLf,
    FinalLf,
    Done,
}

/// Decoder of one chunked message.
#[derive(Debug)]
pub struct Chunked {
    state: State,
    /// Rest of the chunk under way, in bytes; while in `Size`, the size read so far.
    left: u64,
    extension_bytes: usize,
    trailers: Vec<u8>,
    /// Start of the trailer line under way in `trailers`.
    line_start: usize,
    trailer_fields: usize,
}

impl Default for Chunked {
    fn default() -> Self {
        Self {
            state: State::SizeStart,
            left: 0,
            extension_bytes: 0,
            trailers: Vec::new(),
            line_start: 0,
            trailer_fields: 0,
        }
    }
}

impl Chunked {
    /// Looks at `input` from its start up to the first content or the end of the message. Call again with the bytes behind.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, BadChunk> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match self.state {
                State::Data => {
                    let len = (input.len() - at).min(usize::try_from(self.left).unwrap_or(usize::MAX));
                    self.left -= len as u64;
                    if self.left == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(Step::Data { at, len });
                }
                State::Done => return Ok(Step::End { at }),
                _ => self.byte(byte)?,
            }
            at += 1;
            if self.state == State::Done {
                return Ok(Step::End { at });
            }
        }
        Ok(Step::More)
    }

    /// Permitted trailer lines, each with its CRLF; complete once `step` said `End`.
    pub fn take_trailers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.trailers)
    }

    fn byte(&mut self, byte: u8) -> Result<(), BadChunk> {
        self.state = match (self.state, byte) {
            // Zeros before a size say as little as an extension, and are bounded with them.
            (State::Size, b'0') if self.left == 0 => self.extension(State::Size)?,
            (State::SizeStart | State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                let size = self.left.checked_mul(16).and_then(|n| n.checked_add(digit));
                self.left = size.filter(|n| *n <= LENGTH_MAX).ok_or(BadChunk::Size)?;
                State::Size
            }
            (State::SizeStart, _) => return Err(BadChunk::Size),
            (State::Size | State::ExtensionName | State::ExtensionValue | State::ExtensionEnd, b'\r') => {
                State::SizeLf
            }
            (
                State::Size
                | State::ExtensionSpace
                | State::ExtensionName
                | State::ExtensionValue
                | State::ExtensionEnd,
                b';',
            ) => self.extension(State::ExtensionNameStart)?,
            (State::Size | State::ExtensionSpace | State::ExtensionEnd, b' ' | b'\t') => {
                self.extension(State::ExtensionSpace)?
            }
            (State::ExtensionNameStart, b' ' | b'\t') => self.extension(State::ExtensionNameStart)?,
            (State::ExtensionNameStart | State::ExtensionName, _) if is_token(byte) => {
                self.extension(State::ExtensionName)?
            }
            (State::ExtensionName, b'=') => self.extension(State::ExtensionValueStart)?,
            (State::ExtensionValueStart, b'"') => self.extension(State::ExtensionQuoted)?,
            (State::ExtensionValueStart | State::ExtensionValue, _) if is_token(byte) => {
                self.extension(State::ExtensionValue)?
            }
            (State::ExtensionQuoted, b'"') => self.extension(State::ExtensionEnd)?,
            (State::ExtensionQuoted, b'\\') => self.extension(State::ExtensionEscaped)?,
            (State::ExtensionQuoted | State::ExtensionEscaped, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extension(State::ExtensionQuoted)?
            }
            (State::SizeLf, b'\n') if self.left == 0 => State::TrailerStart,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::SizeStart,
            (State::DataCr | State::DataLf, _) => return Err(BadChunk::DataEnd),
            (State::TrailerStart, b'\r') => State::FinalLf,
            (State::TrailerStart | State::Trailer, b'\n') => return Err(BadChunk::Trailer),
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerStart | State::Trailer, _) => {
                if self.trailers.len() >= TRAILER_BYTES_MAX {
                    return Err(BadChunk::TrailersTooLarge);
                }
                self.trailers.push(byte);
                State::Trailer
            }
            (State::TrailerLf, b'\n') => {
                self.end_of_trailer_line()?;
                State::TrailerStart
            }
            (State::TrailerLf, _) => return Err(BadChunk::Trailer),
            (State::FinalLf, b'\n') => State::Done,
            (State::FinalLf, _) => return Err(BadChunk::Trailer),
            (
                State::Size
                | State::ExtensionSpace
                | State::ExtensionNameStart
                | State::ExtensionName
                | State::ExtensionValueStart
                | State::ExtensionValue
                | State::ExtensionQuoted
                | State::ExtensionEscaped
                | State::ExtensionEnd
                | State::SizeLf,
                _,
            ) => return Err(BadChunk::SizeLine),
            // `step` takes content itself and stops at the end.
            (State::Data | State::Done, _) => self.state,
        };
        Ok(())
    }

    fn extension(&mut self, next: State) -> Result<State, BadChunk> {
        self.extension_bytes += 1;
        if self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX {
            return Err(BadChunk::ExtensionsTooLong);
        }
        Ok(next)
    }

    /// Keeps the line just read if it is a field that may be in trailers, forgets other fields, refuses a line that is no
    /// field.
    fn end_of_trailer_line(&mut self) -> Result<(), BadChunk> {
        self.trailer_fields += 1;
        if self.trailer_fields > TRAILER_FIELDS_MAX {
            return Err(BadChunk::TrailersTooLarge);
        }
        let line = self.trailers.get(self.line_start..).unwrap_or_default();
        let colon = memchr::memchr(b':', line).ok_or(BadChunk::Trailer)?;
        let (name, value) = line.split_at(colon);
        if name.is_empty() || !name.iter().all(|b| is_token(*b)) || !value.iter().all(|b| is_field_byte(*b)) {
            return Err(BadChunk::Trailer);
        }
        if hop_by_hop::forbidden_in_trailers(name) {
            self.trailers.truncate(self.line_start);
        } else {
            self.trailers.extend_from_slice(b"\r\n");
            self.line_start = self.trailers.len();
        }
        Ok(())
    }
}

/// tchar (RFC 9110 §5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Bytes a field value may hold: VCHAR, SP, HTAB, obs-text (RFC 9110 §5.5).
pub(super) fn is_field_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Content, trailers and bytes used.
    type Decoded = (Vec<u8>, Vec<u8>, usize);
    type Expected<'a> = (&'a [u8], &'a [u8], usize);

    /// Decodes `input` in pieces of `piece` bytes; `None` where it is not complete.
    fn decode(input: &[u8], piece: usize) -> Result<Option<Decoded>, BadChunk> {
        let mut decoder = Chunked::default();
        let mut content = Vec::new();
        let mut used = 0;
        for part in input.chunks(piece) {
            let mut rest = part;
            loop {
                match decoder.step(rest)? {
                    Step::More => {
                        used += rest.len();
                        break;
                    }
                    Step::Data { at, len } => {
                        content.extend_from_slice(&rest[at..at + len]);
                        used += at + len;
                        rest = &rest[at + len..];
                    }
                    Step::End { at } => return Ok(Some((content, decoder.take_trailers(), used + at))),
                }
            }
        }
        Ok(None)
    }

    fn check(input: &[u8], expect: Result<Option<Expected<'_>>, BadChunk>) {
        let expect = expect.map(|o| o.map(|(c, t, n)| (c.to_vec(), t.to_vec(), n)));
        for piece in [usize::MAX, 1, 2, 3, 7] {
            let piece = piece.min(input.len().max(1));
            assert_eq!(
                decode(input, piece),
                expect,
                "{:?} in pieces of {piece}",
                String::from_utf8_lossy(input)
            );
        }
    }

    #[test]
    fn content_comes_out_whatever_the_segmentation() {
        check(b"5\r\nhello\r\n0\r\n\r\n", Ok(Some((b"hello", b"", 15))));
        check(b"5\r\nhello\r\n0\r\n\r\nGET /", Ok(Some((b"hello", b"", 15))));
        check(b"00A\r\n0123456789\r\n1\r\nx\r\n000\r\n\r\n", Ok(Some((b"0123456789x", b"", 30))));
        check(b"5;a=b;c=\"q;\\\"x\"\r\nhello\r\n0\r\n\r\n", Ok(Some((b"hello", b"", 29))));
        check(b"5 ; a\r\nhello\r\n0;x\r\n\r\n", Ok(Some((b"hello", b"", 21))));
        check(b"5\r\nhel", Ok(None));
        check(b"0\r\nX-T: v\r\nContent-Length: 9\r\n\r\n", Ok(Some((b"", b"X-T: v\r\n", 32))));
        check(b"0\r\nX: \t\xe4 ~\r\n\r\n", Ok(Some((b"", b"X: \t\xe4 ~\r\n", 14))));
    }

    #[test]
    fn anything_two_readers_could_read_differently_is_refused() {
        for (input, expect) in [
            (&b"0x5\r\n"[..], BadChunk::SizeLine),
            (b"+5\r\n", BadChunk::Size),
            (b"-1\r\n", BadChunk::Size),
            (b"1_0\r\n", BadChunk::SizeLine),
            (b"\r\n", BadChunk::Size),
            (b" 5\r\n", BadChunk::Size),
            (b"5 \r\n", BadChunk::SizeLine),
            (b"5g\r\n", BadChunk::SizeLine),
            (b"10000000000000000\r\n", BadChunk::Size),
            (b"5\nhello", BadChunk::SizeLine),
            (b"5\rXhello", BadChunk::SizeLine),
            (b"5\r\rhello", BadChunk::SizeLine),
            (b"5;\r\n", BadChunk::SizeLine),
            (b"5;a\n", BadChunk::SizeLine),
            (b"5;a=\"\0\"\r\n", BadChunk::SizeLine),
            (b"5;a=\r\n", BadChunk::SizeLine),
            (b"5;a=@\r\n", BadChunk::SizeLine),
            (b"5;a=b@\r\n", BadChunk::SizeLine),
            (b"5;a@\r\n", BadChunk::SizeLine),
            (b"5\r\nhelloX\r\n", BadChunk::DataEnd),
            (b"5\r\nhello\n0\r\n\r\n", BadChunk::DataEnd),
            (b"5\r\nhello\rX", BadChunk::DataEnd),
            (b"0\r\nno colon\r\n\r\n", BadChunk::Trailer),
            (b"0\r\nX : v\r\n\r\n", BadChunk::Trailer),
            (b"0\r\n: v\r\n\r\n", BadChunk::Trailer),
            (b"0\r\nX: \0\r\n\r\n", BadChunk::Trailer),
            (b"0\r\nX: \x7f\r\n\r\n", BadChunk::Trailer),
            (b"0\r\n\n", BadChunk::Trailer),
            (b"0\r\n\rX", BadChunk::Trailer),
        ] {
            check(input, Err(expect));
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded_over_the_whole_message() {
        let one = format!("1;{}\r\nx\r\n", "e".repeat(1000));
        let many = one.repeat(CHUNK_EXTENSION_BYTES_MAX / 1000 + 1);
        assert_eq!(decode(many.as_bytes(), many.len()), Err(BadChunk::ExtensionsTooLong));
        let zeros = format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(CHUNK_EXTENSION_BYTES_MAX + 2));
        assert_eq!(decode(zeros.as_bytes(), zeros.len()), Err(BadChunk::ExtensionsTooLong));
        let fields = format!("0\r\n{}", "a: b\r\n".repeat(TRAILER_FIELDS_MAX + 1));
        assert_eq!(decode(fields.as_bytes(), fields.len()), Err(BadChunk::TrailersTooLarge));
        let long = format!("0\r\na: {}", "b".repeat(TRAILER_BYTES_MAX));
        assert_eq!(decode(long.as_bytes(), long.len()), Err(BadChunk::TrailersTooLarge));
    }

    #[test]
    fn bounds_are_met_exactly() {
        let extensions = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(CHUNK_EXTENSION_BYTES_MAX - 1));
        assert!(decode(extensions.as_bytes(), extensions.len()).is_ok_and(|decoded| decoded.is_some()));
        let one_more = extensions.replacen(';', ";e", 1);
        assert_eq!(decode(one_more.as_bytes(), one_more.len()), Err(BadChunk::ExtensionsTooLong));
        let fields = format!("0\r\n{}\r\n", "a: b\r\n".repeat(TRAILER_FIELDS_MAX));
        let decoded = decode(fields.as_bytes(), fields.len());
        assert!(decoded.is_ok_and(|decoded| decoded.is_some_and(|(_, kept, _)| kept.len() == 6 * TRAILER_FIELDS_MAX)));
    }

    #[test]
    fn nothing_behind_the_end_is_looked_at() {
        let mut decoder = Chunked::default();
        assert_eq!(decoder.step(b"0\r\n\r\n"), Ok(Step::End { at: 5 }));
        assert_eq!(decoder.step(b"zz\r\n"), Ok(Step::End { at: 0 }));
    }
}
