//! WebSocket's handshake and frames (RFC 6455), of both roles. Pure.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The suffix of a key before it is hashed (§1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The key of every handshake of ours: it proves understanding and is no secret.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The mask of every frame of ours. Unlike a browser's it need not be unforeseeable: the program itself chooses the payloads.
const MASK: [u8; 4] = [0x5b, 0x1e, 0xc7, 0x92];

/// Longer messages are refused, so that a typing error or a peer cannot fill the memory.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// `Sec-WebSocket-Accept` of a `Sec-WebSocket-Key`.
pub fn accept(key: &[u8]) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    const ALL: [(u8, Self); 6] = [
        (0, Self::Continuation),
        (1, Self::Text),
        (2, Self::Binary),
        (8, Self::Close),
        (9, Self::Ping),
        (10, Self::Pong),
    ];

    fn number(self) -> u8 {
        Self::ALL.iter().find(|(_, known)| *known == self).map_or(0, |(number, _)| *number)
    }

    fn is_control(self) -> bool {
        match self {
            Self::Continuation | Self::Text | Self::Binary => false,
            Self::Close | Self::Ping | Self::Pong => true,
        }
    }
}

/// The sender of a frame: clients mask theirs, servers must not (§5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

/// A whole frame.
pub fn frame(role: Role, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 14);
    out.push(0x80 | opcode.number());
    let masked = if role == Role::Client { 0x80 } else { 0 };
    match payload.len() {
        short @ 0..=125 => out.push(masked | short as u8),
        middle @ 126..=65_535 => {
            out.push(masked | 126);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(masked | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    match role {
        Role::Client => {
            out.extend_from_slice(&MASK);
            out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        }
        Role::Server => out.extend_from_slice(payload),
    }
    out
}

/// Bytes that are no frames of the other role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoFrame;

/// A frame or a message that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Of a message, that of its first frame.
    pub opcode: Opcode,
}

/// Reads the other role's frames, however their bytes are cut.
#[derive(Debug)]
pub struct Frames {
    of: Role,
    header: [u8; 14],
    header_bytes: usize,
    /// Of the frame under way.
    opcode: Option<Opcode>,
    is_last: bool,
    left: u64,
    mask: [u8; 4],
    masked: usize,
    /// Of the message under way.
    message: Option<Opcode>,
    payload: Vec<u8>,
    control: Vec<u8>,
}

impl Frames {
    pub fn of(role: Role) -> Self {
        Self {
            of: role,
            header: [0; 14],
            header_bytes: 0,
            opcode: None,
            is_last: false,
            left: 0,
            mask: [0; 4],
            masked: 0,
            message: None,
            payload: Vec::new(),
            control: Vec::new(),
        }
    }

    /// Takes from `data` up to the end of the next control frame or message; `None` where there is none yet.
    pub fn next(&mut self, data: &mut &[u8]) -> Result<Option<Whole>, NoFrame> {
        loop {
            let opcode = match self.opcode {
                Some(opcode) => opcode,
                None => match self.head(data)? {
                    Some(opcode) => opcode,
                    None => return Ok(None),
                },
            };
            let take = (data.len() as u64).min(self.left) as usize;
            let (piece, rest) = data.split_at(take);
            *data = rest;
            self.left -= take as u64;
            let (mask, masked) = (self.mask, self.masked);
            let payload = if opcode.is_control() { &mut self.control } else { &mut self.payload };
            let from = payload.len();
            payload.extend_from_slice(piece);
            if self.of == Role::Client {
                for (at, byte) in payload[from..].iter_mut().enumerate() {
                    *byte ^= mask[(masked + at) % 4];
                }
                self.masked += take;
            }
            if self.left > 0 {
                return Ok(None);
            }
            self.opcode = None;
            if opcode.is_control() {
                return Ok(Some(Whole { opcode }));
            }
            if self.is_last {
                return Ok(self.message.take().map(|opcode| Whole { opcode }));
            }
        }
    }

    /// Of the message that [`Self::next`] has just told of; it is gone then.
    pub fn take_payload(&mut self, whole: Whole) -> Vec<u8> {
        std::mem::take(if whole.opcode.is_control() { &mut self.control } else { &mut self.payload })
    }

    /// The same, to be looked at; [`Self::forget`] makes room for the next.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    pub fn forget(&mut self) {
        self.payload.clear();
        self.control.clear();
    }

    fn head(&mut self, data: &mut &[u8]) -> Result<Option<Opcode>, NoFrame> {
        let wanted = loop {
            let wanted = match self.header_bytes {
                0 | 1 => 2,
                _ => {
                    let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
                    mask + match self.header[1] & 0x7f {
                        126 => 4,
                        127 => 10,
                        _ => 2,
                    }
                }
            };
            if self.header_bytes == wanted {
                break wanted;
            }
            let take = data.len().min(wanted - self.header_bytes);
            if take == 0 {
                return Ok(None);
            }
            let (piece, rest) = data.split_at(take);
            self.header[self.header_bytes..self.header_bytes + take].copy_from_slice(piece);
            self.header_bytes += take;
            *data = rest;
        };
        let header = self.header;
        let is_masked = header[1] & 0x80 != 0;
        let long = match header[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([header[2], header[3]])),
            127 => u64::from_be_bytes([
                header[2], header[3], header[4], header[5], header[6], header[7], header[8], header[9],
            ]),
            short => u64::from(short),
        };
        let found = Opcode::ALL.iter().find(|(number, _)| *number == header[0] & 0x0f);
        let (Some((_, opcode)), 0) = (found, header[0] & 0x70) else { return Err(NoFrame) };
        let opcode = *opcode;
        let is_last = header[0] & 0x80 != 0;
        let begins = matches!(opcode, Opcode::Text | Opcode::Binary);
        let fits = match opcode.is_control() {
            true => is_last && long <= 125,
            false => begins != self.message.is_some(),
        };
        let is_bounded = long <= (MESSAGE_BYTES_MAX - self.payload.len().min(MESSAGE_BYTES_MAX)) as u64;
        if is_masked != (self.of == Role::Client) || !fits || !is_bounded {
            return Err(NoFrame);
        }
        if is_masked {
            self.mask.copy_from_slice(&header[wanted - 4..wanted]);
        }
        if begins {
            self.message = Some(opcode);
        }
        if !opcode.is_control() {
            self.is_last = is_last;
        }
        (self.header_bytes, self.masked, self.left, self.opcode) = (0, 0, long, Some(opcode));
        Ok(Some(opcode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_example_is_answered() {
        assert_eq!(accept(KEY.as_bytes()), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    /// Every whole frame or message with its payload, read in pieces of `step`.
    fn read(role: Role, bytes: &[u8], step: usize) -> Result<Vec<(Opcode, Vec<u8>)>, NoFrame> {
        let (mut frames, mut found) = (Frames::of(role), Vec::new());
        for piece in bytes.chunks(step) {
            let mut rest = piece;
            while let Some(whole) = frames.next(&mut rest)? {
                found.push((whole.opcode, frames.take_payload(whole)));
            }
        }
        Ok(found)
    }

    #[test]
    fn frames_are_read_however_their_bytes_are_cut() {
        for role in [Role::Client, Role::Server] {
            let sizes = [0, 1, 125, 126, 300, 70_000];
            let payloads: Vec<Vec<u8>> =
                sizes.iter().map(|size| (0..*size).map(|n| n as u8).collect()).collect();
            let mut bytes = Vec::new();
            for payload in &payloads {
                bytes.extend(frame(role, Opcode::Binary, payload));
                bytes.extend(frame(role, Opcode::Ping, b"p"));
            }
            for step in [1, 2, 7, 1000, bytes.len()] {
                let found = read(role, &bytes, step).expect("frames");
                let data: Vec<&Vec<u8>> = found
                    .iter()
                    .filter(|(opcode, _)| *opcode == Opcode::Binary)
                    .map(|(_, data)| data)
                    .collect();
                assert_eq!(data, payloads.iter().collect::<Vec<_>>(), "{role:?} {step}");
                assert_eq!(
                    found.iter().filter(|(opcode, data)| *opcode == Opcode::Ping && data == b"p").count(),
                    6
                );
            }
        }
    }

    #[test]
    fn a_message_in_parts_is_one_and_a_control_frame_may_stand_within() {
        let mut bytes = frame(Role::Server, Opcode::Text, b"hel");
        bytes[0] &= 0x7f;
        bytes.extend(frame(Role::Server, Opcode::Ping, b""));
        bytes.extend(frame(Role::Server, Opcode::Continuation, b"lo"));
        let found = read(Role::Server, &bytes, 1).expect("frames");
        assert_eq!(found, [(Opcode::Ping, vec![]), (Opcode::Text, b"hello".to_vec())]);
    }

    #[test]
    fn what_is_no_frame_of_that_role_is_refused() {
        let rows = [
            (Role::Client, frame(Role::Server, Opcode::Text, b"unmasked")),
            (Role::Server, frame(Role::Client, Opcode::Text, b"masked")),
            (Role::Server, frame(Role::Server, Opcode::Continuation, b"of nothing")),
            (Role::Server, vec![0x83, 0]),
            (Role::Server, vec![0xc1, 0]),
            (Role::Server, vec![0x89, 126, 0, 126]),
            (
                Role::Server,
                [frame(Role::Server, Opcode::Text, b"x").as_slice(), &[0x02, 0, 0x01, 0]].concat(),
            ),
            (Role::Server, vec![0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0]),
        ];
        for (role, bytes) in rows {
            assert_eq!(read(role, &bytes, 1), Err(NoFrame), "{bytes:?}");
        }
    }
}
