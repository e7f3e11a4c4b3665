//! A primary or a mirror that speaks HTTP/2, with the clients' simple-minded framer. Frames that reach it must be in order, in
//! its bounds and within the windows that it gave; its own answers often are not.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::http2::{DATA, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame};
use super::wire::Wire;
use crate::io::simulated::World;

/// Deeds of primaries in many plays.
pub(super) type Did = Rc<RefCell<BTreeSet<String>>>;

const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// A piece of an answer.
#[derive(Clone)]
enum Step {
    Frame(Vec<u8>),
    /// As the windows let it.
    Data(Vec<u8>, bool),
    Wait(u64),
}

/// The state of one stream.
struct Asked {
    fields: Vec<(String, String)>,
    received: usize,
    has_ended: bool,
    is_reset: bool,
    /// The answer is complete, or the stream was reset by this side.
    is_answered: bool,
    /// Content on it is read, and its window given back.
    is_read: bool,
    /// The receive window and the send window.
    room: i64,
    send: i64,
}

impl Asked {
    fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    fn is_open(&self) -> bool {
        !(self.is_reset || self.has_ended && self.is_answered)
    }
}

/// The state of one connection.
struct Server<'w> {
    world: &'w World,
    did: Did,
    wire: Wire,
    decoder: loona_hpack::Decoder<'static>,
    asked: BTreeMap<u32, Asked>,
    steps: BTreeMap<u32, VecDeque<Step>>,
    urgent: VecDeque<Vec<u8>>,
    last: u32,
    room: i64,
    send: i64,
    /// Initial windows of streams to come: to send, and to receive as far as the peer has acknowledged it.
    send_at_first: i64,
    room_at_first: i64,
    streams_max: usize,
    /// SETTINGS that the peer has not acknowledged.
    said: VecDeque<(u16, u32)>,
    has_settings: bool,
    /// The primary gives windows back.
    is_kind: bool,
    refuses: bool,
    /// The last stream that its GOAWAY lets in.
    goes_after: Option<u32>,
    /// Bytes until it breaks off.
    left: usize,
}

/// Serves a connection that has begun with the preface.
pub(super) async fn serve(world: &World, wire: Wire, did: Did) {
    let mut server = Server {
        world,
        did,
        wire,
        decoder: loona_hpack::Decoder::new(),
        asked: BTreeMap::new(),
        steps: BTreeMap::new(),
        urgent: VecDeque::new(),
        last: 0,
        room: 65_535,
        send: 65_535,
        send_at_first: 65_535,
        room_at_first: 65_535,
        streams_max: usize::MAX,
        said: VecDeque::new(),
        has_settings: false,
        is_kind: world.below(8) > 0,
        refuses: world.below(16) == 0,
        goes_after: None,
        left: if world.below(5) == 0 { world.below(6_000) } else { usize::MAX },
    };
    if !server.wire.begins_with(PREFACE).await {
        return;
    }
    server.wire.inbox.drain(..PREFACE.len());
    if world.below(20) == 0 {
        // The primary keeps its peer waiting for its SETTINGS.
        world.sleep_us(world.below(900_000) as u64).await;
    }
    let window = [None, None, Some(0), Some(1), Some(1_000), Some(1 << 20)][world.below(6)];
    let streams =
        [None, Some(1), Some(2), Some(100), Some(0)][world.below(if world.below(6) == 0 { 5 } else { 4 })];
    server.introduce(window, streams);
    while server.turn().await {}
    if world.below(3) == 0 {
        server.wire.end.reset_on_close();
    }
}

impl Server<'_> {
    fn does(&self, what: &str) {
        self.did.borrow_mut().insert(format!("primary {what}"));
    }

    fn introduce(&mut self, window: Option<u32>, streams: Option<u32>) {
        let (mut payload, mut said) = (Vec::new(), Vec::new());
        for (id, value) in [(INITIAL_WINDOW_SIZE, window), (MAX_CONCURRENT_STREAMS, streams)] {
            if let Some(value) = value {
                payload.extend([&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
                said.push((id, value));
            }
        }
        if window == Some(0) {
            self.does("zero window");
        }
        // One acknowledgement is for all of them.
        said.push((0, 0));
        self.said.extend(said);
        self.urgent.push_back(frame(SETTINGS, 0, 0, &payload));
    }

    /// Reads all that has come, then sends one frame or waits; whether the connection goes on.
    async fn turn(&mut self) -> bool {
        if self.wire.hear().is_err() {
            return false;
        }
        self.look();
        if self.goes_after.is_some()
            && self.asked.values().all(|asked| !asked.is_open())
            && self.world.below(2) == 0
        {
            return false;
        }
        match self.next().await {
            Some(bytes) => self.say(&bytes).await,
            None => self.wire.more().await.is_ok(),
        }
    }

    async fn say(&mut self, bytes: &[u8]) -> bool {
        let world = self.world;
        let breaks_off = bytes.len() > self.left;
        let bytes = &bytes[..bytes.len().min(self.left)];
        self.left = self.left.saturating_sub(bytes.len());
        if world.below(40) == 0 {
            world.sleep_us(world.below(500_000) as u64).await;
        }
        let cut = world.below(bytes.len().max(1));
        for part in [&bytes[..cut], &bytes[cut..]] {
            if !part.is_empty() && self.wire.write_all(part).await.is_err() {
                return false;
            }
        }
        if breaks_off {
            self.does("cut");
        }
        !breaks_off
    }

    /// The next frame to send, if one may be sent.
    async fn next(&mut self) -> Option<Vec<u8>> {
        if let Some(bytes) = self.urgent.pop_front() {
            return Some(bytes);
        }
        let able: Vec<u32> =
            self.steps.iter().filter(|(id, steps)| self.may(**id, steps)).map(|(id, _)| *id).collect();
        let id = *able.get(self.world.below(able.len()))?;
        if self.world.below(24) == 0
            && let Some(bytes) = self.oddity()
        {
            return Some(bytes);
        }
        let step = self.steps.get_mut(&id)?.pop_front()?;
        let asked = self.asked.get_mut(&id)?;
        let bytes = match step {
            Step::Wait(us) => {
                self.world.sleep_us(us).await;
                Vec::new()
            }
            Step::Frame(bytes) => {
                asked.is_answered |= bytes[3] == RST_STREAM || bytes[4] & 1 != 0;
                asked.is_reset |= bytes[3] == RST_STREAM;
                bytes
            }
            Step::Data(mut content, end) => {
                let most = [10, 1_000, 16_384][self.world.below(3)];
                let room =
                    usize::try_from(asked.send.min(self.send)).unwrap_or(0).min(most).min(content.len());
                let rest = content.split_off(room);
                (asked.send, self.send) = (asked.send - room as i64, self.send - room as i64);
                let ends = end && rest.is_empty();
                asked.is_answered |= ends;
                if !rest.is_empty() {
                    self.steps.entry(id).or_default().push_front(Step::Data(rest, end));
                }
                frame(DATA, u8::from(ends), id, &content)
            }
        };
        if self.steps.get(&id).is_some_and(VecDeque::is_empty) {
            self.steps.remove(&id);
        }
        Some(bytes)
    }

    fn may(&self, id: u32, steps: &VecDeque<Step>) -> bool {
        match steps.front() {
            Some(Step::Data(content, _)) => {
                content.is_empty() || self.asked.get(&id).is_some_and(|asked| asked.send.min(self.send) > 0)
            }
            Some(Step::Frame(_) | Step::Wait(_)) => true,
            None => false,
        }
    }

    /// A frame that the peer did not ask for.
    fn oddity(&mut self) -> Option<Vec<u8>> {
        let world = self.world;
        match world.below(10) {
            0 => Some(frame(PING, 0, 0, &[7; 8])),
            1 => Some(frame(99, 0, 0, b"unknown")),
            2 | 3 => {
                let window = [0, 100, 70_000][world.below(3)];
                let streams = [1, 3, 50][world.below(3)];
                self.introduce(
                    Some(window).filter(|_| world.below(2) == 0),
                    Some(streams).filter(|_| world.below(2) == 0),
                );
                self.urgent.pop_front()
            }
            4 | 5 if self.goes_after.is_none() => {
                self.does("goaway");
                let last = match world.below(3) {
                    0 => 0x7fff_ffff,
                    1 => self.last,
                    _ => self.last.saturating_sub(2),
                };
                self.goes_after = (last < 0x7fff_ffff).then_some(last);
                self.steps.retain(|id, _| *id <= last);
                self.asked
                    .iter_mut()
                    .filter(|(id, _)| **id > last)
                    .for_each(|(_, asked)| asked.is_reset = true);
                Some(frame(GOAWAY, 0, 0, &[last.to_be_bytes(), 0_u32.to_be_bytes()].concat()))
            }
            6 if world.below(8) == 0 => {
                // Too much for every window but one that is shut.
                self.room += 0x7fff_ffff;
                Some(frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()))
            }
            7 if world.below(8) == 0 => Some(frame(DATA, 0, self.last + 2, b"of nobody")),
            8 if world.below(8) == 0 => Some(vec![0xff; 1 + world.below(40)]),
            _ => None,
        }
    }

    /// Looks at every frame that came whole.
    fn look(&mut self) {
        while let Some(head) = self.wire.inbox.first_chunk::<9>() {
            let n = (head[0] as usize) << 16 | (head[1] as usize) << 8 | head[2] as usize;
            if self.wire.inbox.len() < 9 + n {
                return;
            }
            let bytes: Vec<u8> = self.wire.inbox.drain(..9 + n).collect();
            let stream = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]);
            self.see(bytes[3], bytes[4], stream, &bytes[9..]);
        }
    }

    fn see(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let is_end = flags & 1 != 0;
        assert!(self.has_settings || kind == SETTINGS, "SETTINGS come first, not {kind}");
        let number = || payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        match kind {
            HEADERS => self.headers(stream, is_end, payload),
            DATA => self.data(stream, is_end, payload.len()),
            RST_STREAM => {
                assert!(stream <= self.last, "RST_STREAM of {stream}, which was never opened");
                if let Some(asked) = self.asked.get_mut(&stream) {
                    asked.is_reset = true;
                }
                // Frames may still follow: they were on their way.
                if self.world.below(2) == 0 {
                    self.steps.remove(&stream);
                }
            }
            SETTINGS if is_end => self.acknowledged(),
            SETTINGS => {
                self.has_settings = true;
                for parameter in payload.chunks_exact(6) {
                    let value = u32::from_be_bytes([parameter[2], parameter[3], parameter[4], parameter[5]]);
                    if u16::from_be_bytes([parameter[0], parameter[1]]) == INITIAL_WINDOW_SIZE {
                        let by =
                            i64::from(value) - std::mem::replace(&mut self.send_at_first, i64::from(value));
                        self.asked.values_mut().for_each(|asked| asked.send += by);
                    }
                }
                self.urgent.push_back(frame(SETTINGS, 1, 0, b""));
            }
            PING if !is_end => self.urgent.push_back(frame(PING, 1, 0, payload)),
            WINDOW_UPDATE => {
                let by = i64::from(number());
                assert!(by > 0, "a window grows by nothing");
                match stream {
                    0 => self.send += by,
                    _ => self.asked.get_mut(&stream).into_iter().for_each(|asked| asked.send += by),
                }
            }
            PING | GOAWAY => assert_eq!(stream, 0),
            other => panic!("a frame of kind {other}"),
        }
    }

    /// The oldest SETTINGS are known.
    fn acknowledged(&mut self) {
        loop {
            match self.said.pop_front().expect("what was not said is acknowledged") {
                (INITIAL_WINDOW_SIZE, value) => {
                    let by = i64::from(value) - std::mem::replace(&mut self.room_at_first, i64::from(value));
                    self.asked.values_mut().for_each(|asked| asked.room += by);
                }
                (MAX_CONCURRENT_STREAMS, value) => self.streams_max = value as usize,
                _ => return,
            }
        }
    }

    fn headers(&mut self, stream: u32, is_end: bool, payload: &[u8]) {
        let fields = self.decoder.decode(payload).expect("a block that can be read");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let fields: Vec<_> = fields.into_iter().map(|(n, v)| (text(n), text(v))).collect();
        for (name, value) in &fields {
            let is_bad = ["connection", "transfer-encoding", "keep-alive", "upgrade", "host"]
                .contains(&name.as_str())
                || name.chars().any(|c| c.is_ascii_uppercase())
                || (name == "te" && value != "trailers");
            assert!(!is_bad, "{name}: {value} on {stream}");
        }
        if let Some(asked) = self.asked.get_mut(&stream) {
            assert!(
                is_end && !asked.has_ended && fields.iter().all(|(name, _)| !name.starts_with(':')),
                "{fields:?}"
            );
            asked.has_ended = true;
            return self.ended(stream);
        }
        assert!(stream % 2 == 1 && stream > self.last, "{stream} behind {}", self.last);
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).take(4).collect();
        assert_eq!(names, [":method", ":scheme", ":path", ":authority"]);
        let open = self.asked.values().filter(|asked| asked.is_open()).count();
        assert!(open < self.streams_max, "{open} of {} are open, and {stream} is opened", self.streams_max);
        self.last = stream;
        let asked = Asked {
            fields,
            received: 0,
            has_ended: is_end,
            is_reset: false,
            is_answered: false,
            is_read: self.world.below(12) > 0,
            room: self.room_at_first,
            send: self.send_at_first,
        };
        self.asked.insert(stream, asked);
        if self.goes_after.is_some_and(|last| stream > last) {
            self.asked.get_mut(&stream).into_iter().for_each(|asked| asked.is_reset = true);
        } else if is_end {
            self.ended(stream);
        } else {
            if self.is_kind && !self.asked[&stream].is_read {
                self.does("unread");
            }
            if self.is_kind && self.room_at_first < 65_535 {
                self.give(stream, 40_000);
            }
            if self.world.below(8) == 0 {
                self.answer(stream);
            }
        }
    }

    fn give(&mut self, stream: u32, bytes: u32) {
        let room = if stream == 0 {
            Some(&mut self.room)
        } else {
            self.asked.get_mut(&stream).map(|asked| &mut asked.room)
        };
        room.into_iter().for_each(|room| *room += i64::from(bytes));
        self.urgent.push_back(frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes()));
    }

    fn data(&mut self, stream: u32, is_end: bool, bytes: usize) {
        self.room -= bytes as i64;
        assert!(self.room >= 0, "more than the connection's window");
        let is_kind = self.is_kind && bytes > 0;
        let asked = self.asked.get_mut(&stream).expect("DATA of a stream that was never opened");
        asked.room -= bytes as i64;
        assert!(asked.room >= 0 || bytes == 0, "more than the window of {stream}: {} of {bytes}", asked.room);
        assert!(!asked.has_ended, "DATA behind the end of {stream}");
        asked.received += bytes;
        asked.has_ended = is_end;
        let is_open = !is_end && !asked.is_reset;
        if is_kind && asked.is_read {
            self.give(0, bytes as u32);
            if is_open {
                self.give(stream, bytes as u32);
            }
        }
        if is_end {
            self.ended(stream);
        }
    }

    fn ended(&mut self, stream: u32) {
        let Some(asked) = self.asked.get(&stream) else { return };
        if let Ok(length) = asked.field("content-length").parse::<usize>() {
            assert_eq!(asked.received, length, "content is not as long as declared");
        }
        if !asked.is_answered && !asked.is_reset && !self.steps.contains_key(&stream) {
            self.answer(stream);
        }
    }

    /// Prepares the answer on a stream.
    fn answer(&mut self, stream: u32) {
        let world = self.world;
        let asked = &self.asked[&stream];
        let (id, to_head) = (asked.field("x-id").to_owned(), asked.field(":method") == "HEAD");
        let content = format!("{id};").repeat([1, 1, 40, 6000][world.below(4)]).into_bytes();
        let length = content.len().to_string();
        let head = |flags: u8, fields: &[(&str, &str)]| {
            Step::Frame(frame(HEADERS, 4 | flags, stream, &block(fields)))
        };
        let reset = |code: u32| Step::Frame(frame(RST_STREAM, 0, stream, &code.to_be_bytes()));
        let plain = |status: &str| {
            let mut fields = vec![(":status", status), ("x-id", id.as_str())];
            if world.below(2) == 0 || to_head {
                fields.push(("content-length", length.as_str()));
            }
            match to_head {
                true => vec![head(1, &fields)],
                false => vec![head(0, &fields), Step::Data(content.clone(), true)],
            }
        };
        let what = if self.refuses { 14 } else { world.below(26) };
        let steps = match what {
            9 => [vec![head(0, &[(":status", "103"), ("link", "</a>")])], plain("200")].concat(),
            10 if !to_head => vec![
                head(0, &[(":status", "200"), ("x-id", &id)]),
                Step::Data(content.clone(), false),
                head(1, &[("x-sum", "1"), ("grpc-status", "0")]),
            ],
            11 => plain("500"),
            12 => plain("404"),
            13 => vec![head(1, &[(":status", ["204", "304"][world.below(2)]), ("x-id", &id)])],
            14 => vec![reset(7)],
            15 => vec![reset([0, 2, 8, 11][world.below(4)])],
            16 => {
                let mut steps = plain("200");
                steps.truncate(1);
                if !to_head {
                    steps.push(Step::Data(content[..content.len() / 2].to_vec(), false));
                }
                steps.push(reset([0, 2, 7, 8][world.below(4)]));
                steps
            }
            17 => [plain("200"), vec![reset(0)]].concat(),
            18 => vec![
                head(0, &[(":status", "200"), ("x-id", &id), ("content-length", "7")]),
                Step::Data(content.clone(), true),
            ],
            19 => vec![Step::Data(content.clone(), true)],
            20 => vec![head(
                0,
                &[[("x-id", "of nobody"), ("connection", "close"), ("Upper", "case")][world.below(3)]],
            )],
            21 => Vec::new(),
            22 => vec![
                head(0, &[(":status", "200"), ("x-id", &id)]),
                Step::Data(content.clone(), false),
                head(0, &[("x-sum", "trailers that end nothing")]),
            ],
            23 => [vec![Step::Wait(world.below(1_500_000) as u64)], plain("200")].concat(),
            24 => [vec![head(0, &[(":status", "100")])], plain("200")].concat(),
            _ => plain("200"),
        };
        self.does(match what {
            9 | 24 => "interim",
            10 => "trailers",
            14 => "refused",
            15 | 16 => "reset",
            18..=20 | 22 => "malformed",
            21 => "silent",
            _ => "answered",
        });
        self.steps.insert(stream, steps.into());
    }
}
