//! A client that speaks HTTP/2, with a simple-minded framer: its only state tells whether an answer is its own.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use super::configurations::SECRET;
use crate::io::simulated::{self, End, World};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let n = payload.len();
    let mut frame = vec![(n >> 16) as u8, (n >> 8) as u8, n as u8, kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn text(out: &mut Vec<u8>, text: &str) {
    if text.len() < 127 {
        out.push(text.len() as u8);
    } else {
        let rest = text.len() - 127;
        out.extend([127, rest as u8 | 128, (rest >> 7) as u8 | 128, (rest >> 14) as u8]);
    }
    out.extend(text.as_bytes());
}

pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

/// The answer on one stream.
#[derive(Debug, Default)]
struct Heard {
    fields: Vec<(String, String)>,
    content: Vec<u8>,
    has_ended: bool,
    is_reset: bool,
}

/// A client's connection.
struct Client {
    world: Rc<World>,
    end: End,
    /// Frames that the reader has to send.
    answers: RefCell<VecDeque<Vec<u8>>>,
    heard: RefCell<BTreeMap<u32, Heard>>,
    is_over: Cell<bool>,
    has_said_all: Cell<bool>,
    /// The client gives windows back.
    is_kind: bool,
}

/// The frames of one request, in their order.
fn request(world: &World, stream: u32, id: &str, under: &str) -> VecDeque<Vec<u8>> {
    let content = "c".repeat([0, 1, 300, 20_000, 50_000, 64_000][world.below(6)]);
    let methods = ["GET", "POST", "PUT", "HEAD"];
    let method = methods[world.below(4)];
    let (path, long) = (format!("/s?n={id}"), "p".repeat(2000));
    let length = content.len().to_string();
    let mut fields = vec![
        (":method", method),
        (":scheme", "http"),
        (":path", path.as_str()),
        (":authority", "a"),
        ("x-id", id),
        ("x-under", under),
        ("x-secret", SECRET),
    ];
    match world.below(16) {
        0 => fields.push(("Upper", "case")),
        1 => fields.push(("connection", "close")),
        2 => fields[2].1 = "/elsewhere",
        3 => fields[2].1 = &long,
        4 => fields.push(("host", "b")),
        5 => fields.push(("expect", "100-continue")),
        6 => fields.push(("content-length", "7")),
        7 => fields.push(("x-umbra-mirror", "v0")),
        _ if world.below(2) == 0 && !content.is_empty() => fields.push(("content-length", &length)),
        _ => {}
    }
    let ends_at_once = content.is_empty() && world.below(2) == 0;
    let mut frames = VecDeque::new();
    frames.push_back(frame(HEADERS, 4 | u8::from(ends_at_once), stream, &block(&fields)));
    let mut rest = content.as_bytes();
    while !rest.is_empty() {
        let n = (1 + world.below([10, 3_000, 16_000][world.below(3)])).min(rest.len());
        frames.push_back(frame(DATA, 0, stream, &rest[..n]));
        rest = &rest[n..];
        if frames.len() > 40 {
            break;
        }
    }
    if !ends_at_once {
        frames.push_back(match world.below(3) {
            0 => frame(HEADERS, 4 | 1, stream, &block(&[("x-sum", "1")])),
            _ => frame(DATA, 1, stream, b""),
        });
    }
    if world.below(8) == 0 {
        frames.truncate(1 + world.below(frames.len()));
        frames.push_back(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
    }
    frames
}

/// Requests side by side, cut and delayed anyhow, and answers that must be their own.
pub(super) async fn converse(
    world: Rc<World>,
    end: End,
    name: String,
    under: &'static str,
    answers: Rc<Cell<usize>>,
) {
    let ids: Vec<String> = (0..1 + world.below(6)).map(|n| format!("{name}.{n}")).collect();
    let id_of = |stream: u32| ids[(stream as usize - 1) / 2].as_str();
    let mut streams: Vec<VecDeque<Vec<u8>>> =
        ids.iter().enumerate().map(|(n, id)| request(&world, 2 * n as u32 + 1, id, under)).collect();
    let client = Client {
        is_kind: world.below(6) > 0,
        world: Rc::clone(&world),
        end,
        answers: RefCell::default(),
        heard: RefCell::default(),
        is_over: Cell::new(false),
        has_said_all: Cell::new(false),
    };
    let mut hello = PREFACE.to_vec();
    let window = [0u32, 1, 1_000, 65_535, 1 << 20][world.below(5)];
    let setting = [&[0, 4][..], &window.to_be_bytes()].concat();
    hello.extend(frame(SETTINGS, 0, 0, if world.below(2) == 0 { &setting } else { b"" }));
    let mut opened = 0;
    let mut next = || {
        // New streams in their order, and pieces of those that are open in any.
        let open: Vec<usize> = (0..opened).filter(|n| !streams[*n].is_empty()).collect();
        if opened < streams.len() && (open.is_empty() || world.below(3) == 0) {
            opened += 1;
            return streams[opened - 1].pop_front();
        }
        let which = *open.get(world.below(open.len().max(1)))?;
        streams[which].pop_front()
    };
    let writing = client.write(hello, &mut next);
    let reading = client.read();
    let (mut writing, mut reading) = (pin!(writing), pin!(reading));
    let (mut written, mut read) = (false, false);
    poll_fn(|task| {
        written = written || writing.as_mut().poll(task).is_ready();
        read = read || reading.as_mut().poll(task).is_ready();
        if written && read { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    for (stream, heard) in &*client.heard.borrow() {
        let id = id_of(*stream);
        let value = |name: &str| heard.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let Some(status) = value(":status") else { continue };
        answers.set(answers.get() + 1);
        match value("x-id") {
            Some(told) => assert_eq!(told, id, "told another's answer"),
            None => assert!(status >= "400", "an answer to {id} without its id: {heard:?}"),
        }
        if status >= "400" {
            continue;
        }
        let content = String::from_utf8_lossy(&heard.content);
        let whole = content.rsplit_once(';').map_or("", |(whole, _)| whole);
        let own = whole.split(';').filter(|part| !part.is_empty()).all(|part| part == id);
        assert!(own, "{id} was told another's content: {content:.200}");
        let length = value("content-length").and_then(|length| length.parse::<usize>().ok());
        let is_short = |length: usize| heard.content.len() != length && !heard.content.is_empty();
        assert!(!heard.has_ended || !length.is_some_and(is_short), "{id} was told less: {heard:.300?}");
    }
}

impl Client {
    async fn say(&self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() {
            let n = (1 + self.world.below([1, 50, 3000, 100_000][self.world.below(4)])).min(rest.len());
            let written = simulated::within(&self.world, 3_000_000, self.end.write_all(&rest[..n])).await;
            if !matches!(written, Some(Ok(()))) {
                return false;
            }
            rest = &rest[n..];
        }
        true
    }

    async fn write(&self, hello: Vec<u8>, next: &mut impl FnMut() -> Option<Vec<u8>>) {
        let world = &self.world;
        if !self.say(&hello).await {
            return self.end.shut_both();
        }
        let breaks_off = if world.below(8) == 0 { world.below(30) } else { usize::MAX };
        for n in 0.. {
            if n == breaks_off {
                match world.below(3) {
                    0 => self.end.reset_on_close(),
                    1 => return self.end.finish(),
                    _ => {}
                }
                return self.end.shut_both();
            }
            let answer = self.answers.borrow_mut().pop_front();
            let bytes = match answer {
                Some(answer) => answer,
                None => match world.below(40) {
                    0 => frame(PING, 0, 0, &[7; 8]),
                    1 => frame(2, 0, 1, &[0, 0, 0, 0, 9]),
                    2 => frame(99, 0, 0, b"unknown"),
                    3 => frame(
                        SETTINGS,
                        0,
                        0,
                        &[&[0, 4][..], &(world.below(70_000) as u32).to_be_bytes()].concat(),
                    ),
                    4 if world.below(10) == 0 => frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
                    5 if world.below(10) == 0 => frame(DATA, 0, 99, b"of nobody"),
                    _ => match next() {
                        Some(bytes) => bytes,
                        None if self.is_over.get() => return,
                        None => {
                            self.has_said_all.set(true);
                            world.sleep_us(20_000).await;
                            Vec::new()
                        }
                    },
                },
            };
            if world.below(30) == 0 {
                world.sleep_us(world.below(700_000) as u64).await;
            }
            if !self.say(&bytes).await {
                // The line is full of unread frames: the gateway gives a client up that stops reading.
                return self.end.shut_both();
            }
        }
    }

    async fn read(&self) {
        let world = &self.world;
        let mut decoder = loona_hpack::Decoder::new();
        let mut inbox = Vec::new();
        let until_us = world.now_us() + 20_000_000;
        let ended = loop {
            let all_over = || {
                let heard = self.heard.borrow();
                self.has_said_all.get() && heard.values().all(|h| h.has_ended || h.is_reset)
            };
            let patience = if all_over() { 400_000 } else { 4_000_000 };
            match simulated::within(world, patience, self.end.read(&mut inbox, 8192)).await {
                Some(Ok(1..)) => {}
                Some(Ok(0) | Err(_)) => break true,
                None => break false,
            }
            if world.now_us() > until_us {
                break false;
            }
            while let Some(head) = inbox.first_chunk::<9>() {
                let n = (head[0] as usize) << 16 | (head[1] as usize) << 8 | head[2] as usize;
                if inbox.len() < 9 + n {
                    break;
                }
                let bytes: Vec<u8> = inbox.drain(..9 + n).collect();
                let stream = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]);
                self.see(&mut decoder, bytes[3], bytes[4], stream, &bytes[9..]);
            }
            if world.below(20) == 0 {
                world.sleep_us(world.below(500_000) as u64).await;
            }
        };
        self.is_over.set(true);
        if !ended {
            self.end.shut_both();
        }
    }

    fn see(&self, decoder: &mut loona_hpack::Decoder<'_>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let is_end = flags & 1 != 0;
        let mut all = self.heard.borrow_mut();
        let say = |bytes| self.answers.borrow_mut().push_back(bytes);
        match kind {
            HEADERS => {
                let fields = decoder.decode(payload).expect("a block that can be read");
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
                let fields: Vec<_> = fields.into_iter().map(|(n, v)| (text(n), text(v))).collect();
                let heard = all.entry(stream).or_default();
                assert!(!heard.has_ended && !heard.is_reset, "HEADERS behind the end of {stream}");
                let status = fields.first().filter(|(name, _)| name == ":status").map(|(_, s)| s.as_str());
                match status {
                    Some(interim) if interim.starts_with('1') => assert!(!is_end, "an interim response ends"),
                    Some(_) => {
                        assert!(heard.fields.is_empty(), "two responses on {stream}");
                        heard.fields = fields;
                    }
                    None => assert!(is_end, "trailers do not end {stream}"),
                }
                heard.has_ended |= is_end;
            }
            DATA => {
                let heard = all.entry(stream).or_default();
                assert!(!heard.has_ended && !heard.is_reset, "DATA behind the end of {stream}");
                assert!(!heard.fields.is_empty(), "content before a head on {stream}");
                heard.content.extend(payload);
                heard.has_ended |= is_end;
                if self.is_kind && !payload.is_empty() {
                    let more = (payload.len() as u32).to_be_bytes();
                    say([frame(WINDOW_UPDATE, 0, 0, &more), frame(WINDOW_UPDATE, 0, stream, &more)].concat());
                }
            }
            RST_STREAM => all.entry(stream).or_default().is_reset = true,
            SETTINGS if !is_end => say(frame(SETTINGS, 1, 0, b"")),
            PING if !is_end => say(frame(PING, 1, 0, payload)),
            GOAWAY | SETTINGS | PING | WINDOW_UPDATE => {}
            other => panic!("a frame of kind {other}"),
        }
    }
}
