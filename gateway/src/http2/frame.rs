//! Nine bytes to a frame's head and back, and the numbers of RFC 9113 under their names.

/// Bytes of a frame's head (RFC 9113 §4.1).
pub const HEAD_BYTES: usize = 9;

/// A client sends this before its first frame (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The largest payload that each peer takes without having said so (RFC 9113 §4.2); we take no larger and send none.
pub const PAYLOAD_MAX: usize = 16_384;

/// Streams are numbered with 31 bits; each end numbers its own with every second of them.
pub const STREAM_MAX: u32 = 0x7fff_ffff;

pub const END_STREAM: u8 = 0x1;
pub const ACK: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const PADDED: u8 = 0x8;
pub const PRIORITY: u8 = 0x20;

/// The kind of a frame (RFC 9113 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    Goaway,
    WindowUpdate,
    Continuation,
    /// An extension: ignored (RFC 9113 §5.5).
    Unknown(u8),
}

impl Kind {
    fn of(byte: u8) -> Self {
        match byte {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::RstStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::Goaway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            other => Self::Unknown(other),
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Headers => 1,
            Self::Priority => 2,
            Self::RstStream => 3,
            Self::Settings => 4,
            Self::PushPromise => 5,
            Self::Ping => 6,
            Self::Goaway => 7,
            Self::WindowUpdate => 8,
            Self::Continuation => 9,
            Self::Unknown(byte) => byte,
        }
    }
}

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes of payload.
    pub length: u32,
    pub kind: Kind,
    pub flags: u8,
    /// 0: the connection.
    pub stream: u32,
}

impl FrameHead {
    #[inline]
    pub fn parse(bytes: [u8; HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = bytes;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind: Kind::of(kind),
            flags,
            // The reserved bit is ignored (RFC 9113 §4.1).
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & STREAM_MAX,
        }
    }

    #[inline]
    pub fn bytes(self) -> [u8; HEAD_BYTES] {
        debug_assert!(self.length < 1 << 24, "a payload's length has 24 bits");
        let [_, a, b, c] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [a, b, c, self.kind.byte(), self.flags, s0, s1, s2, s3]
    }

    #[inline]
    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Why a stream or a connection ended (RFC 9113 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    NoError,
    Protocol,
    Internal,
    FlowControl,
    SettingsTimeout,
    StreamClosed,
    FrameSize,
    RefusedStream,
    Cancel,
    Compression,
    Connect,
    EnhanceYourCalm,
    InadequateSecurity,
    Http11Required,
    /// Treated as INTERNAL_ERROR (RFC 9113 §7).
    Unknown(u32),
}

impl Code {
    pub fn of(number: u32) -> Self {
        match number {
            0 => Self::NoError,
            1 => Self::Protocol,
            2 => Self::Internal,
            3 => Self::FlowControl,
            4 => Self::SettingsTimeout,
            5 => Self::StreamClosed,
            6 => Self::FrameSize,
            7 => Self::RefusedStream,
            8 => Self::Cancel,
            9 => Self::Compression,
            10 => Self::Connect,
            11 => Self::EnhanceYourCalm,
            12 => Self::InadequateSecurity,
            13 => Self::Http11Required,
            other => Self::Unknown(other),
        }
    }

    pub fn number(self) -> u32 {
        match self {
            Self::NoError => 0,
            Self::Protocol => 1,
            Self::Internal => 2,
            Self::FlowControl => 3,
            Self::SettingsTimeout => 4,
            Self::StreamClosed => 5,
            Self::FrameSize => 6,
            Self::RefusedStream => 7,
            Self::Cancel => 8,
            Self::Compression => 9,
            Self::Connect => 10,
            Self::EnhanceYourCalm => 11,
            Self::InadequateSecurity => 12,
            Self::Http11Required => 13,
            Self::Unknown(number) => number,
        }
    }
}

/// A parameter of SETTINGS (RFC 9113 §6.5.2, RFC 8441 §3, RFC 9218 §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    HeaderTableSize,
    EnablePush,
    MaxConcurrentStreams,
    InitialWindowSize,
    MaxFrameSize,
    MaxHeaderListSize,
    EnableConnectProtocol,
    NoRfc7540Priorities,
    /// Ignored.
    Unknown(u16),
}

impl Setting {
    pub fn of(number: u16) -> Self {
        match number {
            1 => Self::HeaderTableSize,
            2 => Self::EnablePush,
            3 => Self::MaxConcurrentStreams,
            4 => Self::InitialWindowSize,
            5 => Self::MaxFrameSize,
            6 => Self::MaxHeaderListSize,
            8 => Self::EnableConnectProtocol,
            9 => Self::NoRfc7540Priorities,
            other => Self::Unknown(other),
        }
    }

    pub fn number(self) -> u16 {
        match self {
            Self::HeaderTableSize => 1,
            Self::EnablePush => 2,
            Self::MaxConcurrentStreams => 3,
            Self::InitialWindowSize => 4,
            Self::MaxFrameSize => 5,
            Self::MaxHeaderListSize => 6,
            Self::EnableConnectProtocol => 8,
            Self::NoRfc7540Priorities => 9,
            Self::Unknown(number) => number,
        }
    }
}

/// Appends a frame's head.
#[inline]
pub fn head(out: &mut Vec<u8>, kind: Kind, flags: u8, stream: u32, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    out.extend_from_slice(&FrameHead { length, kind, flags, stream }.bytes());
}

/// Appends SETTINGS.
pub fn settings(out: &mut Vec<u8>, parameters: &[(Setting, u32)]) {
    head(out, Kind::Settings, 0, 0, parameters.len() * 6);
    for (name, value) in parameters {
        out.extend_from_slice(&name.number().to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub fn settings_ack(out: &mut Vec<u8>) {
    head(out, Kind::Settings, ACK, 0, 0);
}

pub fn ping(out: &mut Vec<u8>, payload: [u8; 8], is_answer: bool) {
    head(out, Kind::Ping, if is_answer { ACK } else { 0 }, 0, 8);
    out.extend_from_slice(&payload);
}

pub fn rst_stream(out: &mut Vec<u8>, stream: u32, code: Code) {
    head(out, Kind::RstStream, 0, stream, 4);
    out.extend_from_slice(&code.number().to_be_bytes());
}

pub fn window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    debug_assert!((1..=STREAM_MAX).contains(&increment), "a window grows by something, within 31 bits");
    head(out, Kind::WindowUpdate, 0, stream, 4);
    out.extend_from_slice(&increment.to_be_bytes());
}

/// Appends GOAWAY; `why` is for people who read dumps.
pub fn goaway(out: &mut Vec<u8>, last: u32, code: Code, why: &[u8]) {
    head(out, Kind::Goaway, 0, 0, 8 + why.len());
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&code.number().to_be_bytes());
    out.extend_from_slice(why);
}

/// Appends a block of fields as HEADERS, and CONTINUATION where it is longer than one frame.
pub fn headers(out: &mut Vec<u8>, stream: u32, block: &[u8], end_stream: bool) {
    let mut pieces = block.chunks(PAYLOAD_MAX).peekable();
    let first = pieces.next().unwrap_or_default();
    let end = |is_last: bool| if is_last { END_HEADERS } else { 0 };
    let flags = end(pieces.peek().is_none()) | if end_stream { END_STREAM } else { 0 };
    head(out, Kind::Headers, flags, stream, first.len());
    out.extend_from_slice(first);
    while let Some(piece) = pieces.next() {
        head(out, Kind::Continuation, end(pieces.peek().is_none()), stream, piece.len());
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heads_nine_bytes_are_its_four_facts() {
        let bytes = [0x01, 0x02, 0x03, 0x09, 0x04, 0xff, 0x00, 0x00, 0x05];
        let head = FrameHead::parse(bytes);
        assert_eq!(
            head,
            FrameHead { length: 0x10203, kind: Kind::Continuation, flags: 4, stream: 0x7f00_0005 }
        );
        assert_eq!(head.bytes(), [0x01, 0x02, 0x03, 0x09, 0x04, 0x7f, 0x00, 0x00, 0x05]);
        for byte in 0..=255 {
            assert_eq!(Kind::of(byte).byte(), byte);
        }
        for number in 0..20u16 {
            assert_eq!(Code::of(number.into()).number(), u32::from(number));
            assert_eq!(Setting::of(number).number(), number);
        }
    }

    #[test]
    fn a_block_longer_than_a_frame_is_continued_and_ended_once() {
        for (bytes, expect) in
            [(0, vec![0x5]), (16_384, vec![0x5]), (16_385, vec![0x1, 0x4]), (40_000, vec![0x1, 0, 0x4])]
        {
            let (mut out, mut flags, mut block) = (Vec::new(), Vec::new(), Vec::new());
            headers(&mut out, 7, &vec![9; bytes], true);
            while let Some((head, rest)) = out.split_first_chunk::<HEAD_BYTES>() {
                let head = FrameHead::parse(*head);
                assert_eq!(head.stream, 7);
                flags.push(head.flags);
                let (payload, rest) = rest.split_at(head.length as usize);
                block.extend_from_slice(payload);
                out = rest.to_vec();
            }
            assert_eq!((flags, block), (expect, vec![9; bytes]));
        }
    }
}
