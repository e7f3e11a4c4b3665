//! The bytes of one answer. Pure: decides and renders, sends nothing.

use bytes::Bytes;

use super::behavior::{AnswerFraming, Behavior, Content};
use super::fault::BadFraming;

/// Content is sent in pieces of this size.
pub const PIECE_BYTES: usize = 64 * 1024;

/// An answer: a head, then content piece by piece.
pub struct Answer {
    pub head: Vec<u8>,
    pub content: AnswerContent,
    pub framing: AnswerFraming,
}

pub enum AnswerContent {
    None,
    Echoed(Bytes),
    Pattern(u64),
}

pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        301 => "Moved Permanently",
        304 => "Not Modified",
        400 => "Bad Request",
        404 => "Not Found",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

/// A repeating printable pattern, the content of all sized answers.
pub fn pattern() -> Bytes {
    let line = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n";
    Bytes::from(line.repeat(PIECE_BYTES / line.len()))
}

impl Answer {
    pub fn new(
        behavior: &Behavior,
        random: &mut fastrand::Rng,
        echoed: Bytes,
        to_head: bool,
        close: bool,
    ) -> Self {
        let status = behavior.status.draw(random);
        let (content, size) = match behavior.content {
            Content::Echo => {
                let size = echoed.len() as u64;
                (AnswerContent::Echoed(echoed), size)
            }
            Content::Size { low, high } => {
                let size = random.u64(low..=high);
                (AnswerContent::Pattern(size), size)
            }
        };
        let bodiless = matches!(status, 204 | 304);
        let close = close || behavior.framing == AnswerFraming::Close;
        let mut head = format!("HTTP/1.1 {status} {}\r\nServer: loadgen\r\n", reason(status)).into_bytes();
        let fields = match behavior.framing {
            _ if bodiless => String::new(),
            AnswerFraming::Length => format!("Content-Length: {size}\r\n"),
            AnswerFraming::Chunked => "Transfer-Encoding: chunked\r\n".to_string(),
            AnswerFraming::Close => String::new(),
        };
        head.extend_from_slice(fields.as_bytes());
        if close {
            head.extend_from_slice(b"Connection: close\r\n");
        }
        head.extend_from_slice(b"\r\n");
        let content = if bodiless || to_head { AnswerContent::None } else { content };
        Self { head, content, framing: behavior.framing }
    }

    /// The next piece of content, framed; `None` when all of it, including the framing's end, was given.
    pub fn next_piece(&mut self, pattern: &Bytes) -> Option<Bytes> {
        let piece = match &mut self.content {
            AnswerContent::None => return None,
            AnswerContent::Echoed(bytes) => bytes.split_to(bytes.len().min(PIECE_BYTES)),
            AnswerContent::Pattern(left) => {
                let take = (*left).min(pattern.len() as u64);
                *left -= take;
                pattern.slice(..take as usize)
            }
        };
        if self.framing != AnswerFraming::Chunked {
            if piece.is_empty() {
                self.content = AnswerContent::None;
                return None;
            }
            return Some(piece);
        }
        if piece.is_empty() {
            self.content = AnswerContent::None;
            return Some(Bytes::from_static(b"0\r\n\r\n"));
        }
        let mut framed = format!("{:x}\r\n", piece.len()).into_bytes();
        framed.extend_from_slice(&piece);
        framed.extend_from_slice(b"\r\n");
        Some(framed.into())
    }

    /// The whole answer as one buffer; for answers known to be small.
    pub fn render(mut self, pattern: &Bytes) -> Bytes {
        let mut all = std::mem::take(&mut self.head);
        while let Some(piece) = self.next_piece(pattern) {
            all.extend_from_slice(&piece);
        }
        all.into()
    }
}

pub fn bad_framing(kind: BadFraming) -> &'static [u8] {
    match kind {
        BadFraming::LengthAndChunked => {
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        }
        BadFraming::LengthNoNumber => b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
        BadFraming::LengthsDiffer => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        BadFraming::ChunkSize => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        BadFraming::LengthTooLong => b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhello",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{Framing, body::Body, head};

    #[test]
    fn every_framing_reads_back_with_the_promised_length() {
        let pattern = pattern();
        for framing in [AnswerFraming::Length, AnswerFraming::Chunked, AnswerFraming::Close] {
            for size in [0u64, 1, 65_536, 200_001] {
                let behavior = Behavior {
                    framing,
                    content: Content::Size { low: size, high: size },
                    ..Default::default()
                };
                let mut random = fastrand::Rng::with_seed(7);
                let bytes = Answer::new(&behavior, &mut random, Bytes::new(), false, false).render(&pattern);
                let parsed = head::response(&bytes, false).ok().flatten();
                assert!(parsed.is_some(), "{framing:?} {size}");
                let Some(parsed) = parsed else { return };
                let (mut body, mut count) = (Body::new(parsed.framing), 0);
                let used = body.feed(&bytes[parsed.head_len..], |d| count += d.len() as u64);
                assert_eq!((used, count), (Ok(bytes.len() - parsed.head_len), size), "{framing:?}");
                assert!(body.is_done() || parsed.framing == Framing::UntilClose);
            }
        }
    }
}
