//! The chunked coding (RFC 9112 §7.1), decoded as it arrives, strictly. Extensions and trailers are passed over.

use super::Bad;

/// Bytes of one chunk-size line or one trailer line that are accepted.
const LINE_BYTES_MAX: usize = 8 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    SizeExtension,
    SizeNewline,
    Data,
    DataReturn,
    DataNewline,
    TrailerStart,
    Trailer,
    TrailerNewline,
    EndNewline,
    Done,
}

#[derive(Debug)]
pub struct Decoder {
    state: State,
    left: u64,
    digits: u32,
    line_bytes: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { state: State::Size, left: 0, digits: 0, line_bytes: 0 }
    }
}

impl Decoder {
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes bytes, shows content to `on_data`, and returns how many bytes it used: all, unless the body ended.
    pub fn feed(&mut self, input: &[u8], mut on_data: impl FnMut(&[u8])) -> Result<usize, Bad> {
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            if self.state == State::Data {
                let take = self.left.min((input.len() - at) as u64) as usize;
                on_data(&input[at..at + take]);
                at += take;
                self.left -= take as u64;
                if self.left == 0 {
                    self.state = State::DataReturn;
                }
                continue;
            }
            let byte = input[at];
            at += 1;
            self.line_bytes += 1;
            if self.line_bytes > LINE_BYTES_MAX {
                return Err(Bad::Chunk);
            }
            self.state = self.next(byte)?;
        }
        Ok(at)
    }

    fn next(&mut self, byte: u8) -> Result<State, Bad> {
        let state = match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.digits += 1;
                if self.digits > 15 {
                    return Err(Bad::Chunk);
                }
                self.left = self.left * 16 + u64::from((byte as char).to_digit(16).unwrap_or(0));
                State::Size
            }
            (State::Size, b';' | b' ' | b'\t') if self.digits > 0 => State::SizeExtension,
            (State::Size, b'\r') if self.digits > 0 => State::SizeNewline,
            (State::SizeExtension, b'\r') => State::SizeNewline,
            (State::SizeExtension, b) if b != b'\n' => State::SizeExtension,
            (State::SizeNewline, b'\n') => {
                let last = self.left == 0;
                (self.digits, self.line_bytes) = (0, 0);
                if last { State::TrailerStart } else { State::Data }
            }
            (State::DataReturn, b'\r') => State::DataNewline,
            (State::DataNewline, b'\n') => {
                self.line_bytes = 0;
                State::Size
            }
            (State::TrailerStart, b'\r') => State::EndNewline,
            (State::TrailerStart, b) if b != b'\n' => State::Trailer,
            (State::Trailer, b'\r') => State::TrailerNewline,
            (State::Trailer, b) if b != b'\n' => State::Trailer,
            (State::TrailerNewline, b'\n') => State::TrailerStart,
            (State::EndNewline, b'\n') => State::Done,
            _ => return Err(Bad::Chunk),
        };
        Ok(state)
    }
}

/// `body` as one chunk and the end, or as chunks of `chunk_bytes`.
pub fn encode(body: &[u8], chunk_bytes: usize, out: &mut Vec<u8>) {
    for chunk in body.chunks(chunk_bytes.max(1)) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool), Bad> {
        let (mut decoder, mut data, mut used) = (Decoder::default(), Vec::new(), 0);
        for part in input.chunks(step) {
            used += decoder.feed(part, |d| data.extend_from_slice(d))?;
        }
        Ok((data, used, decoder.is_done()))
    }

    #[test]
    fn content_is_the_same_however_the_bytes_are_cut() {
        let input = b"4;x=\"y\"\r\nabcd\r\nA\r\n0123456789\r\n0\r\nt: v\r\n\r\nNEXT";
        for step in 1..input.len() {
            let (data, used, done) = decode(input, step).unwrap_or_default();
            assert_eq!((&data[..], done), (&b"abcd0123456789"[..], true), "step {step}");
            assert_eq!(used, input.len() - 4, "step {step}");
        }
    }

    #[test]
    fn broken_chunks_are_refused() {
        for bad in
            ["\r\n", "x\r\n", "4\nabcd", "4\r\nabcde\r\n", "1234567890123456\r\n", "0\r\n\n", "4\r\nabcdX"]
        {
            assert_eq!(decode(bad.as_bytes(), 3), Err(Bad::Chunk), "{bad:?}");
        }
    }

    #[test]
    fn what_is_encoded_decodes() {
        let mut out = Vec::new();
        encode(b"hello world", 4, &mut out);
        assert_eq!(decode(&out, 5), Ok((b"hello world".to_vec(), out.len(), true)));
    }
}
