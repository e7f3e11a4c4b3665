//! gRPC-Web: calls over any HTTP, whose trailers are the last frame of their content, which may be written in Base64. Pure.

use super::Status;

/// Bytes kept of a line of trailers: a status is short, and a message may be long.
const LINE_BYTES_MAX: usize = 256;

/// Bytes in front of each message: flags and length.
pub const PREFIX_BYTES: usize = 5;

/// The flag of trailers, and that of compressed frames.
pub const TRAILERS: u8 = 0x80;
pub const COMPRESSED: u8 = 1;

/// Looks in content for the status, as it comes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scan {
    text: Option<Base64>,
    /// The bytes that have come of a frame's prefix.
    prefix: Vec<u8>,
    /// Bytes of the frame that are to come.
    left: u32,
    /// Of the frame, where it is the trailers'.
    trailers: Option<Lines>,
    status: Option<Status>,
}

/// Trailers as they come, of any length: of the line under way so much is kept as tells a status.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lines {
    line: Vec<u8>,
    is_cut: bool,
    /// The empty line has come.
    are_over: bool,
    status: Option<Status>,
}

impl Lines {
    fn feed(&mut self, piece: &[u8]) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let (bytes, ends) = match part.strip_suffix(b"\n") {
                Some(bytes) => (bytes, true),
                None => (part, false),
            };
            let room = LINE_BYTES_MAX - self.line.len();
            self.is_cut |= bytes.len() > room;
            self.line.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            if ends {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let is_empty = self.line.strip_suffix(b"\r").unwrap_or(&self.line).is_empty();
        self.are_over |= is_empty && !self.is_cut;
        let told = Status::within(&self.line).filter(|_| !self.are_over);
        // A value that is longer than any status is none.
        let told = if self.is_cut { told.map(|_| Status::UNKNOWN) } else { told };
        self.status = match (self.status, told) {
            // Of two that contradict each other neither counts.
            (Some(known), Some(other)) if known != other => Some(Status::UNKNOWN),
            (known, told) => known.or(told),
        };
        self.line.clear();
        self.is_cut = false;
    }

    /// Of trailers that cannot be read it is known that there are some.
    fn end(mut self) -> Status {
        self.end_line();
        self.status.unwrap_or(Status::UNKNOWN)
    }
}

impl Scan {
    /// `is_text`: it is written in Base64.
    pub fn new(is_text: bool) -> Self {
        Self { text: is_text.then(Base64::default), ..Self::default() }
    }

    pub fn feed(&mut self, piece: &[u8]) {
        let Some(mut text) = self.text.take() else { return self.frames(piece) };
        let mut bytes = Vec::with_capacity(piece.len() / 4 * 3 + 3);
        text.feed(piece, &mut bytes);
        self.frames(&bytes);
        self.text = Some(text);
    }

    pub fn status(&self) -> Option<Status> {
        self.status
    }

    fn frames(&mut self, mut rest: &[u8]) {
        while !rest.is_empty() {
            if self.left > 0 {
                let (part, behind) = rest.split_at(rest.len().min(self.left as usize));
                rest = behind;
                self.left -= part.len() as u32;
                if let Some(lines) = &mut self.trailers {
                    lines.feed(part);
                }
            } else {
                let wanted = PREFIX_BYTES - self.prefix.len();
                let (part, behind) = rest.split_at(rest.len().min(wanted));
                rest = behind;
                self.prefix.extend_from_slice(part);
                let [flags, a, b, c, d] = *self.prefix.as_slice() else { continue };
                self.prefix.clear();
                self.left = u32::from_be_bytes([a, b, c, d]);
                self.trailers = (flags & TRAILERS != 0).then(Lines::default);
            }
            if self.left == 0
                && let Some(lines) = self.trailers.take()
            {
                self.status = Some(lines.end());
            }
        }
    }
}

/// Base64 (RFC 4648 §4) that may end and begin again anywhere: each message may be padded by itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Base64 {
    bits: u32,
    signs: u8,
    is_broken: bool,
}

impl Base64 {
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        for byte in piece {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' => {
                    self.end(out);
                    continue;
                }
                _other => {
                    self.is_broken |= !byte.is_ascii_whitespace();
                    continue;
                }
            };
            self.bits = self.bits << 6 | u32::from(value);
            self.signs += 1;
            if self.signs == 4 {
                out.extend_from_slice(self.bits.to_be_bytes().get(1..).unwrap_or_default());
                (self.bits, self.signs) = (0, 0);
            }
        }
    }

    /// Ends a run of base64: only whole bytes remain.
    fn end(&mut self, out: &mut Vec<u8>) {
        match self.signs {
            3 => out.extend_from_slice(&((self.bits >> 2) as u16).to_be_bytes()),
            2 => out.push((self.bits >> 4) as u8),
            _none => {}
        }
        (self.bits, self.signs) = (0, 0);
    }

    /// All of a text; `None` where it is none.
    pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
        let (mut reader, mut bytes) = (Self::default(), Vec::with_capacity(text.len() / 4 * 3 + 3));
        reader.feed(text, &mut bytes);
        reader.end(&mut bytes);
        (!reader.is_broken).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &[u8] = b"\0\0\0\0\x03abc\0\0\0\0\0\x80\0\0\0\x20grpc-status:13\r\ngrpc-message:x\r\n";

    fn coded(bytes: &[u8]) -> String {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(bytes)
    }

    fn status(is_text: bool, content: &[u8], piece: usize) -> Option<&'static str> {
        let mut scan = Scan::new(is_text);
        content.chunks(piece).for_each(|piece| scan.feed(piece));
        scan.status().map(Status::name)
    }

    #[test]
    fn a_status_is_found_in_the_last_frame_however_it_comes() {
        let text = coded(CALL);
        // Each message by itself, padded.
        let parts = coded(&CALL[..8]) + &coded(&CALL[8..13]) + &coded(&CALL[13..]);
        for piece in 1..=text.len() {
            assert_eq!(status(false, CALL, piece), Some("grpc_internal"), "{piece}");
            assert_eq!(status(true, text.as_bytes(), piece), Some("grpc_internal"), "{piece}");
            assert_eq!(status(true, parts.as_bytes(), piece), Some("grpc_internal"), "{piece}");
        }
        assert_eq!(status(false, &CALL[..CALL.len() - 1], 7), None, "it is not whole");
        assert_eq!(status(false, b"\x80\0\0\0\0", 5), Some("grpc_unknown"));
        assert_eq!(status(false, b"\0\xff\xff\xff\xffgrpc-status:0\r\n", 5), None);
    }

    #[test]
    fn trailers_without_end_take_a_bounded_part_of_memory() {
        let mut scan = Scan::new(false);
        scan.feed(b"\x80\xff\xff\xff\xffgrpc-status:0\r\n");
        for _ in 0..100 {
            scan.feed(&[b'a'; 4096]);
        }
        assert_eq!(scan.trailers.as_ref().map(|lines| lines.line.len()), Some(LINE_BYTES_MAX));
    }

    #[test]
    fn a_status_is_found_behind_trailers_of_any_length_and_read_as_other_trailers_are() {
        let long = format!("x-note: {}\r\n", "n".repeat(9_000));
        let of = |lines: &str| {
            let mut call = b"\0\0\0\0\x03abc\x80".to_vec();
            call.extend((lines.len() as u32).to_be_bytes());
            call.extend(lines.as_bytes());
            let all: Vec<_> = [1, 7, 4096, call.len()].map(|piece| status(false, &call, piece)).into();
            assert!(all.iter().all(|one| *one == all[0]), "{lines:.40} {all:?}");
            all[0]
        };
        assert_eq!(of(&format!("{long}grpc-status: 13\r\n")), Some("grpc_internal"));
        assert_eq!(of(&format!("grpc-status:0\r\ngrpc-message: {long}")), Some("grpc_ok"));
        assert_eq!(of("GRPC-Status: 5"), Some("grpc_not_found"), "the last line need not end");
        assert_eq!(of("a: b\ngrpc-status: 5\n"), Some("grpc_not_found"));
        for none in [
            "grpc-status: 0\r\ngrpc-status: 13\r\n".to_owned(),
            "a: b\r\n\r\ngrpc-status: 0\r\n".to_owned(),
            format!("grpc-status: {}0\r\n", "0".repeat(300)),
            long,
        ] {
            assert_eq!(of(&none), Some("grpc_unknown"), "{none:.40}");
        }
    }

    #[test]
    fn base64_is_read_as_another_reader_reads_it() {
        for bytes in [b"".as_slice(), b"a", b"ab", b"abc", b"\xff\xfe\xfd\xfc", CALL] {
            assert_eq!(Base64::decode(coded(bytes).as_bytes()).as_deref(), Some(bytes));
        }
        assert_eq!(Base64::decode(b"YQ==\r\nYg=="), Some(b"ab".to_vec()));
        assert_eq!(Base64::decode(b"a*b"), None);
    }
}
