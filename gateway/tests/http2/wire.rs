//! A framer that shares no line with the gateway's: vectors, no limits, no state but the one that tests look at.

use std::collections::HashMap;

use gateway::http2::fields::outbound::Manner;
use gateway::http2::fields::{NeverIndexed, Scheme};
use gateway::http2::guard::Limits;
use gateway::http2::session::{Event, Role, Session, What};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const WHOLE: u8 = 4;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let n = payload.len();
    let mut frame = vec![(n >> 16) as u8, (n >> 8) as u8, n as u8, kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn parse(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let n = (bytes[0] as usize) << 16 | (bytes[1] as usize) << 8 | bytes[2] as usize;
        let stream = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
        frames.push(Frame { kind: bytes[3], flags: bytes[4], stream, payload: bytes[9..9 + n].to_vec() });
        bytes = &bytes[9 + n..];
    }
    frames
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() < 127 {
        out.push(text.len() as u8);
    } else {
        let rest = text.len() - 127;
        out.extend([127, rest as u8 | 128, (rest >> 7) as u8 | 128, (rest >> 14) as u8]);
    }
    out.extend(text);
}

/// Every field a literal, not indexed, its name spelt out.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let bytes: Vec<(&[u8], &[u8])> = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
    block_of(&bytes)
}

pub(crate) fn block_of(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

pub(crate) fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | WHOLE, stream, &block(fields))
}

pub(crate) const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
pub(crate) const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/p"), (":authority", "a")];

pub(crate) fn with<'a>(base: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [base, more].concat()
}

/// A session under test and the stupid peer before it.
pub(crate) struct Peer {
    pub(crate) session: Session,
    pub(crate) now: u64,
    pub(crate) events: Vec<Event>,
    /// Content by stream, as it came.
    pub(crate) content: HashMap<u32, Vec<u8>>,
    pub(crate) decoder: loona_hpack::Decoder<'static>,
}

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Peer {
    /// A client that introduced itself to a server of ours.
    pub(crate) fn client() -> Self {
        Self::client_with(Limits::default())
    }

    pub(crate) fn client_with(limits: Limits) -> Self {
        let mut peer = Self::silent(Role::Server, limits);
        peer.send(PREFACE);
        peer.send(&frame(SETTINGS, 0, 0, &[]));
        peer.said();
        peer
    }

    /// A server that a client of ours has connected to.
    pub(crate) fn server() -> Self {
        Self::server_with(Limits::default())
    }

    pub(crate) fn server_with(limits: Limits) -> Self {
        let mut peer = Self::silent(Role::Client, limits);
        let hello = peer.session.take(Vec::new(), 0);
        assert_eq!(&hello[..24], PREFACE);
        peer.send(&frame(SETTINGS, 0, 0, &[]));
        peer.said();
        peer.events.clear();
        peer
    }

    pub(crate) fn silent(role: Role, limits: Limits) -> Self {
        Self {
            session: Session::new(role, Scheme::Http, limits, 0),
            now: 0,
            events: Vec::new(),
            content: HashMap::new(),
            decoder: loona_hpack::Decoder::new(),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> &mut Self {
        self.session.feed(bytes, self.now);
        while let Some(event) = self.session.next_event() {
            if let Event::Data { stream, at, len, .. } = event {
                self.content.entry(stream).or_default().extend(&bytes[at..at + len]);
            }
            self.events.push(event);
        }
        self
    }

    pub(crate) fn send_times(&mut self, times: usize, bytes: &[u8]) {
        for _ in 0..times {
            self.send(bytes);
        }
    }

    pub(crate) fn collect(&mut self) {
        self.events.extend(std::iter::from_fn(|| self.session.next_event()));
    }

    pub(crate) fn tick(&mut self, by: u64) -> &mut Self {
        self.now += by;
        self.session.tick(self.now);
        self.collect();
        self
    }

    /// The session's output, as frames.
    pub(crate) fn said(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            let bytes = self.session.take(Vec::new(), self.now);
            if bytes.is_empty() {
                self.collect();
                return frames;
            }
            frames.extend(parse(&bytes));
        }
    }

    /// Frames of one kind that it has to say; the rest is forgotten.
    pub(crate) fn said_of(&mut self, kind: u8) -> Vec<Frame> {
        self.said().into_iter().filter(|frame| frame.kind == kind).collect()
    }

    /// (stream, code) of each RST_STREAM, (last stream, code) of each GOAWAY.
    pub(crate) fn ends(&mut self) -> Ends {
        let mut ends = Ends::default();
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
        for frame in self.said() {
            match frame.kind {
                RST_STREAM => ends.resets.push((frame.stream, number(&frame.payload))),
                GOAWAY => {
                    let last = number(&frame.payload[..4]);
                    let why = String::from_utf8(frame.payload[8..].to_vec()).unwrap();
                    ends.goaway = Some((last, number(&frame.payload[4..8]), why));
                }
                _ => {}
            }
        }
        ends
    }

    pub(crate) fn decoded(&mut self, frame: &Frame) -> Vec<(String, String)> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let fields = self.decoder.decode(&frame.payload).unwrap();
        fields.into_iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    pub(crate) fn answer(&mut self, stream: u32, lines: &str, end: bool) {
        let never_indexed = &NeverIndexed::default();
        let what = What::Head { lines: lines.as_bytes(), never_indexed, end };
        self.session.queue(stream, what, self.now).unwrap();
    }

    pub(crate) fn ask(&mut self, lines: &str, end: bool) -> u32 {
        let never_indexed = &NeverIndexed::default();
        let manner = Manner { scheme: Scheme::Http, takes_trailers: false, protocol: None, never_indexed };
        self.session.open(lines.as_bytes(), &manner, end, self.now).unwrap()
    }

    /// The one event there is.
    pub(crate) fn event(&mut self) -> Event {
        assert_eq!(self.events.len(), 1, "{:?}", self.events);
        self.events.pop().unwrap()
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) resets: Vec<(u32, u32)>,
    pub(crate) goaway: Option<(u32, u32, String)>,
}

impl Ends {
    pub(crate) fn code(&self) -> Option<u32> {
        self.goaway.as_ref().map(|(_, code, _)| *code)
    }
}
