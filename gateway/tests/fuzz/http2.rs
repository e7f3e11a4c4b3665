//! HTTP/2: blocks of fields beside `loona-hpack`, frames that mean the same however they arrive, and requests that HTTP/1.1 reads
//! as they were meant.

use bytes::Bytes;
use gateway::http1::framing::Framing;
use gateway::http1::head::{HeadLimits, with_request, with_response};
use gateway::http2::fields::outbound::Manner;
use gateway::http2::fields::{Content, Head, NeverIndexed, Scheme, say_chunked};
use gateway::http2::guard::Limits;
use gateway::http2::hpack::{Decoder, Field, ListLimits, Sink, Unreadable, huffman};
use gateway::http2::session::{Event, Role, Session, What};

use crate::dice::{Dice, run};
use crate::strict;

pub(crate) const BLOCKS: [&[u8]; 10] = [
    b"\x82\x86\x84\x41\x0fwww.example.com",
    b"\x82\x86\x84\xbe\x58\x08no-cache",
    b"\x82\x87\x85\xbf\x40\x0acustom-key\x0ccustom-value",
    b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
    b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
    b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
    b"\x3f\xe1\x01\x48\x82\x64\x02\x58\x85\xae\xc3\x77\x1a\x4b",
    b"\x20\x3f\xe1\x1f\x88\x10\x08password\x06secret",
    b"\x40\x01x\x01y\xbe\xbe\xbe\xbf",
    b"\x0f\x0d\x011\x7f\x00\x04long",
];

const BLOCK_SCRAPS: [&[u8]; 14] = [
    b"\xff\xff\xff\xff\x0f",
    b"\xff\x80\x80\x80\x00",
    b"\x3f\xe1\x1f",
    b"\x20",
    b"\x80",
    b"\x40",
    b"\xbe",
    b"\x00\x81\xff\x00",
    b"\x00\x84\xff\xff\xff\xff\x00",
    b"\x7f\x01",
    b"\x01\x00",
    b"\x10\x01k\x01v",
    b"\x83\x7f",
    b"\x8c\xf1\xe3\xc2",
];

#[derive(Default)]
struct List {
    out: Vec<u8>,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Sink for List {
    fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    fn field(&mut self, field: Field) {
        let (name, rest) = self.out[field.at..].split_at(field.name_len);
        assert_eq!((&rest[..2], rest.len()), (&b": "[..], field.value_len + 2));
        let value = &rest[2..];
        let token = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(b);
        assert_eq!(field.name_is_good, !name.is_empty() && name.iter().all(token), "{name:?}");
        let text = |b: &u8| *b == b'\t' || (*b >= b' ' && *b != 0x7f);
        let is_trimmed = value.trim_ascii().len() == value.len();
        assert_eq!(field.value_is_good, is_trimmed && value.iter().all(text), "{value:?}");
        self.fields.push((name.to_vec(), value.to_vec()));
    }
}

#[test]
fn a_block_means_what_another_decoder_reads_in_it() {
    run(blocks);
}

pub(crate) fn blocks(dice: &mut Dice) {
    const LIMITS: ListLimits = ListLimits { bytes_max: 1 << 20, fields_max: 10_000 };
    let mut ours = Decoder::default();
    let mut theirs = loona_hpack::Decoder::new();
    theirs.set_max_allowed_table_size(4096);
    // A few on one connection, so that the table has a past.
    for _ in 0..1 + dice.below(4) {
        let block = dice.text(&BLOCKS, &BLOCK_SCRAPS);
        let mut list = List::default();
        let read = ours.decode(&block, LIMITS, &mut list);
        let other = theirs.decode(&block);
        match (read, other) {
            (Ok(extent), Ok(fields)) => {
                assert_eq!(list.fields, fields, "{block:x?}");
                let bytes: usize = fields.iter().map(|(n, v)| n.len() + v.len() + 32).sum();
                assert_eq!((extent.bytes, extent.fields), (bytes, fields.len()));
            }
            // Loona accepts a size update only before a field; we allow two sizes and no more, in front, and integers of five
            // bytes.
            (Ok(extent), Err(_)) => assert_eq!(extent.fields, 0, "{block:x?}"),
            (Err(Unreadable::Malformed(why)), Ok(_)) => {
                let is_stricter = ["table size behind a field", "integer too long"].contains(&why);
                assert!(is_stricter, "{why}: {block:x?}");
                return;
            }
            (Err(Unreadable::TooLarge), Ok(_)) => panic!("a text of this size is not too large: {block:x?}"),
            (Err(_), Err(_)) => return,
        }
    }
}

/// Bytes of clients behind their preface.
pub(crate) const CLIENTS: [&[u8]; 7] = [
    b"\0\0\0\x04\0\0\0\0\0\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x01\x01a\0\0\x04\x08\0\0\0\0\0\0\0\x10\0",
    b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\x10\0\0\0\x06\x01\x04\0\0\0\x01\x83\x86\x84\x01\x01a\0\0\x05\0\0\0\0\0\x01hello\
      \0\0\x06\0\x09\0\0\0\x01\x02abc\0\0",
    b"\0\0\0\x04\0\0\0\0\0\0\0\x06\x01\x04\0\0\0\x01\x83\x86\x84\x01\x01a\0\0\x02\0\0\0\0\0\x01hi\
      \0\0\x10\x01\x05\0\0\0\x01\0\x0bgrpc-status\x010",
    b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x01\0\0\0\x01\x82\0\0\x02\x09\0\0\0\0\x01\x86\x84\0\0\x03\x09\x04\0\0\0\x01\x01\x01a\
      \0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
    b"\0\0\0\x04\0\0\0\0\0\0\0\x06\x01\x04\0\0\0\x01\x83\x86\x84\x01\x01a\0\0\x06\x01\x05\0\0\0\x03\x82\x86\x84\x01\x01a\
      \0\0\x08\x06\0\0\0\0\0pingping\0\0\x05\x02\0\0\0\0\x03\0\0\0\x01\x07\0\0\0\0\x01\0\0\0\x01",
    b"\0\0\0\x04\0\0\0\0\0\0\0\x0b\x01\x25\0\0\0\x01\0\0\0\0\x07\x82\x86\x84\x01\x01a\0\0\0\x04\x01\0\0\0\0\
      \0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"\0\0\0\x04\0\0\0\0\0\0\0\x19\x01\x04\0\0\0\x01\x83\x86\x84\x01\x01a\0\x0econtent-length\x013\0\0\x03\0\x01\0\0\0\x01abc",
];

/// Bytes of servers to a client with streams 1, 3 and 5.
pub(crate) const SERVERS: [&[u8]; 4] = [
    b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x04\0\0\0\x01\x88\0\0\x05\0\x01\0\0\0\x01hello\0\0\x01\x01\x05\0\0\0\x03\x8d",
    b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x02\0\0\x05\x01\x04\0\0\0\x01\x08\x03100\0\0\x01\x01\x04\0\0\0\x01\x88\0\0\x01\0\0\0\0\0\x01x\
      \0\0\x10\x01\x05\0\0\0\x01\0\x0bgrpc-status\x010",
    b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x04\x03\0\0\0\0\x01\0\0\0\x07",
    b"\0\0\0\x04\0\0\0\0\0\0\0\x13\x01\x04\0\0\0\x03\x88\0\x0econtent-length\x012\0\0\x02\0\x01\0\0\0\x03ab\0\0\x05\x01\x05\0\0\0\x05\x08\x03304",
];

const FRAME_SCRAPS: [&[u8]; 16] = [
    b"\0\0\0\0\x01\0\0\0\x01",
    b"\0\0\0\0\0\0\0\0\x01",
    b"\0\0\x01\0\x08\0\0\0\x01\0",
    b"\0\0\x06\x01\x05\0\0\0\x05\x82\x86\x84\x01\x01a",
    b"\0\0\x06\x01\x04\0\0\0\x07\x83\x86\x84\x01\x01a",
    b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
    b"\0\0\x04\x03\0\0\0\0\x05\0\0\0\0",
    b"\0\0\x04\x08\0\0\0\0\x01\0\0\0\0",
    b"\0\0\x04\x08\0\0\0\0\x01\x7f\xff\xff\xff",
    b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x05",
    b"\0\0\0\x04\0\0\0\0\0",
    b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0",
    b"\0\0\x08\x06\0\0\0\0\0abcdefgh",
    b"\0\0\0\x09\x04\0\0\0\x01",
    b"\0\0\x03\x77\0\0\0\0\0abc",
    b"\0\0\x01\x01\x05\0\0\0\x01\x88",
];

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[test]
fn a_clients_frames_mean_the_same_however_they_arrive() {
    run(clients);
}

#[test]
fn a_servers_frames_mean_the_same_however_they_arrive() {
    run(servers);
}

/// A session that has asked, in the role of a client, or that awaits a preface.
fn begun(role: Role, limits: Limits) -> Session {
    let mut session = Session::new(role, Scheme::Http, limits, 0);
    if role == Role::Client {
        let never_indexed = &NeverIndexed::default();
        let manner = Manner { scheme: Scheme::Http, takes_trailers: false, protocol: None, never_indexed };
        for method in ["GET", "POST", "HEAD"] {
            let lines = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
            session
                .open(lines.as_bytes(), &manner, method != "POST", 0)
                .expect("a new connection takes streams");
        }
    }
    session
}

pub(crate) fn clients(dice: &mut Dice) {
    let text = dice.text(&CLIENTS, &FRAME_SCRAPS);
    frames(dice, Role::Server, &[PREFACE, &text].concat());
}

pub(crate) fn servers(dice: &mut Dice) {
    let text = dice.text(&SERVERS, &FRAME_SCRAPS);
    frames(dice, Role::Client, &text);
}

fn frames(dice: &mut Dice, role: Role, text: &[u8]) {
    let limits = Limits { streams_max: 3, stream_bytes_max: 2_000, ..Limits::default() };
    let whole = told(&mut begun(role, limits), &[text]);
    let pieces = told(&mut begun(role, limits), &dice.pieces(text));
    assert_eq!(pieces, whole, "{text:x?}");
    answered(dice, &mut begun(role, limits), text);
}

/// The events, with content joined, and the output.
fn told(session: &mut Session, pieces: &[&[u8]]) -> (Vec<String>, Vec<u8>) {
    let mut events: Vec<String> = Vec::new();
    let mut content: Option<(u32, Vec<u8>)> = None;
    for piece in pieces {
        session.feed(piece, 7);
        while let Some(event) = session.next_event() {
            if let Event::Data { stream, at, len, end } = event {
                match &mut content {
                    Some((same, bytes)) if *same == stream => bytes.extend(&piece[at..at + len]),
                    _ => {
                        events.extend(content.take().map(|content| format!("{content:?}")));
                        content = Some((stream, piece[at..at + len].to_vec()));
                    }
                }
                if end {
                    events.extend(content.take().map(|content| format!("{content:?} and no more")));
                }
                continue;
            }
            events.extend(content.take().map(|content| format!("{content:?}")));
            events.push(format!("{event:?}"));
        }
    }
    events.extend(content.map(|content| format!("{content:?}")));
    (events, session.take(Vec::new(), 7))
}

/// Answers, requests, takes, releases and waits come between the bytes: in any order, no stream is told twice that it ended,
/// none is left when all were released, and the output is whole frames.
fn answered(dice: &mut Dice, session: &mut Session, text: &[u8]) {
    let never_indexed = &NeverIndexed::default();
    let mut held: Vec<u32> = if text.starts_with(PREFACE) { Vec::new() } else { vec![1, 3, 5] };
    let mut said = Vec::new();
    let mut now = 7;
    for piece in dice.pieces(text) {
        session.feed(piece, now);
        while let Some(event) = session.next_event() {
            match event {
                Event::Head { stream, head, .. } if head.status == 0 => held.push(stream),
                Event::Refused { stream, .. } => held.push(stream),
                Event::Data { stream, at, len, .. } => {
                    assert!(at + len <= piece.len() && held.contains(&stream));
                    if dice.one_in(2) {
                        session.taken(stream, len);
                    }
                }
                Event::Reset { stream, .. } => {
                    let place =
                        held.iter().position(|id| *id == stream).expect("a stream that ended is held");
                    session.release(held.swap_remove(place));
                }
                Event::Head { .. }
                | Event::Trailers { .. }
                | Event::Malformed { .. }
                | Event::Room { .. }
                | Event::Flushed { .. }
                | Event::StreamsChanged
                | Event::Closed(_) => {}
            }
        }
        if let Some(stream) = (!held.is_empty()).then(|| held[dice.below(held.len())]) {
            let head = What::Head { lines: b"HTTP/1.1 200 OK\r\n\r\n", never_indexed, end: dice.one_in(4) };
            let _maybe = session.queue(stream, head, now);
            if dice.one_in(2) {
                let _maybe = session.queue(stream, What::Copied(&[7; 50_000]), now);
            }
            if session.queue(stream, What::Trailers(b""), now).is_err() || dice.one_in(3) {
                held.retain(|id| *id != stream);
                session.release(stream);
            }
        }
        if dice.one_in(8) {
            session.drain(now);
        }
        if dice.one_in(3) {
            said.extend(session.take(Vec::new(), now));
        }
        now += dice.one(&[0, 0, 1, 100, 5_000, 40_000]);
        session.tick(now);
    }
    while let Some(event) = session.next_event() {
        drop(event);
    }
    held.into_iter().for_each(|stream| session.release(stream));
    said.extend(session.take(Vec::new(), now));
    // Content that waits for a window is the only thing that keeps a stream; the time for it passes.
    session.tick(now + 1_000_000);
    assert_eq!(session.streams(), 0);
    said.extend(session.take(Vec::new(), now));
    let mut rest = said.strip_prefix(PREFACE).unwrap_or(&said);
    while !rest.is_empty() {
        let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
        assert!(rest[3] <= 9 && length <= 16_384);
        rest = &rest[9 + length..];
    }
}

const NAMES: [&[u8]; 30] = [
    b":method",
    b":scheme",
    b":path",
    b":authority",
    b":status",
    b":protocol",
    b"host",
    b"cookie",
    b"te",
    b"connection",
    b"content-length",
    b"transfer-encoding",
    b"upgrade",
    b"expect",
    b"x-a",
    b"X-B",
    b"x_c",
    b"",
    b"a b",
    b"a:b",
    b"x-umbra-mirror",
    b"keep-alive",
    b"authorization",
    b"alt-svc",
    b"trailer",
    b"x\r\ny",
    b"x\0",
    b"max-forwards",
    b"http2-settings",
    b"content_length",
];

const VALUES: [&[u8]; 34] = [
    b"GET",
    b"POST",
    b"OPTIONS",
    b"HEAD",
    b"CONNECT",
    b"TRACE",
    b"http",
    b"https",
    b"/",
    b"/a?b=c",
    b"*",
    b"//",
    b"/#x",
    b"http://b/",
    b"a",
    b"a:80",
    b"u@a",
    b"[::1]:8",
    b"trailers",
    b"gzip",
    b"chunked",
    b"5",
    b"5, 5",
    b"0",
    b"+5",
    b"close",
    b"100-continue",
    b"",
    b" a",
    b"a\r\nx: y",
    b"a\0",
    b"\xe4",
    b"200",
    b"a b",
];

#[test]
fn a_request_that_is_taken_is_one_that_http1_reads_as_it_was_meant() {
    run(fields);
}

fn literal(block: &mut Vec<u8>, dice: &mut Dice, text: &[u8]) {
    let mut coded = Vec::new();
    huffman::encode(text, &mut coded);
    if dice.one_in(2) && coded.len() < 127 {
        block.push(0x80 | coded.len() as u8);
        block.extend(coded);
    } else {
        block.push(text.len() as u8);
        block.extend(text);
    }
}

pub(crate) fn fields(dice: &mut Dice) {
    let mut list: Vec<(&[u8], &[u8])> = vec![
        (b":method", dice.one(&[b"GET".as_slice(), b"POST", b"OPTIONS", b"M-SEARCH"])),
        (b":scheme", b"http"),
        (b":path", dice.one(&[b"/".as_slice(), b"/a/b?c", b"*"])),
        (b":authority", dice.one(&[b"a".as_slice(), b"a.example:81"])),
    ];
    for _ in 0..dice.below(8) {
        let at = if dice.one_in(4) { dice.below(list.len()) } else { list.len() };
        list.insert(at, (dice.one(&NAMES), dice.one(&VALUES)));
    }
    if dice.one_in(6) {
        list.remove(dice.below(list.len()));
    }
    let mut block = Vec::new();
    for (name, value) in &list {
        block.push(dice.one(&[0x00, 0x10, 0x40]));
        literal(&mut block, dice, name);
        literal(&mut block, dice, value);
    }
    let end = dice.one_in(2);
    let mut session = Session::new(Role::Server, Scheme::Http, Limits::default(), 0);
    let mut text =
        [PREFACE, b"\0\0\0\x04\0\0\0\0\0\0\0", &[block.len() as u8, 1, 4 | u8::from(end), 0, 0, 0, 1]]
            .concat();
    text.extend(&block);
    if block.len() < 256 {
        session.feed(&text, 0);
        if let Some(Event::Head { head, .. }) = session.next_event() {
            agrees(&list, head, end, dice);
        }
    }
}

/// Checks that HTTP/1.1's parser and the strict reader take the head, and read the fields' values in it.
fn agrees(list: &[(&[u8], &[u8])], head: Head, end: bool, dice: &mut Dice) {
    let shown = || format!("{list:?}\n became\n{:?}", String::from_utf8_lossy(&head.lines));
    let value = |name: &[u8]| list.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
    let strict = strict::head(&head.lines).unwrap_or_else(|why| panic!("{why}: {}", shown()));
    let start = [value(b":method").unwrap(), value(b":path").unwrap(), b"HTTP/1.1"].join(&b' ');
    assert_eq!(strict.start, start, "{}", shown());
    let host = value(b":authority").or_else(|| value(b"host"));
    assert_eq!(strict.values("host"), [host.expect("a host")], "{}", shown());
    // Every field there was is there, in its order; crumbs are one.
    let is_kept = |name: &[u8]| !name.starts_with(b":") && !matches!(name, b"host" | b"cookie");
    let meant: Vec<_> =
        list.iter().filter(|(n, _)| is_kept(n)).map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
    let read = strict.fields.iter().filter(|(n, _)| is_kept(n.as_bytes()));
    let read: Vec<_> = read.map(|(n, v)| (n.as_bytes().to_vec(), v.clone())).collect();
    assert_eq!(read, meant, "{}", shown());
    let crumbs: Vec<_> =
        list.iter().filter(|(n, v)| *n == b"cookie" && !v.is_empty()).map(|(_, v)| *v).collect();
    let cookie = if crumbs.is_empty() { vec![] } else { vec![crumbs.join(&b"; "[..])] };
    assert_eq!(strict.values("cookie"), cookie, "{}", shown());

    let mut lines = head.lines.clone();
    let expect = match head.content {
        Content::None => Framing::None,
        Content::Length(0) => Framing::None,
        Content::Length(n) => Framing::Length(n),
        Content::UntilEnd if dice.one_in(2) => {
            say_chunked(&mut lines);
            Framing::Chunked
        }
        Content::UntilEnd => Framing::None,
    };
    assert_eq!(head.content == Content::None, end, "{}", shown());
    let limits = HeadLimits { line_bytes_max: 8192, fields_max: 100 };
    match with_request(&mut lines, limits, |read| (read.framing, read.host.to_vec())) {
        Ok(read) => assert_eq!(read, (expect, host.expect("a host").to_vec()), "{}", shown()),
        // HTTP/1.1 refuses these for their meaning, not for their form.
        Err(fault) => assert!([405, 417, 200].contains(&fault.status), "{fault:?}: {}", shown()),
    }
}

#[test]
fn an_answer_that_is_taken_is_one_that_http1_reads() {
    run(answers);
}

pub(crate) fn answers(dice: &mut Dice) {
    let mut list: Vec<(&[u8], &[u8])> =
        vec![(b":status", dice.one(&[b"200".as_slice(), b"103", b"304", b"599", b"99"]))];
    for _ in 0..dice.below(6) {
        let at = if dice.one_in(4) { dice.below(list.len()) } else { list.len() };
        list.insert(at, (dice.one(&NAMES), dice.one(&VALUES)));
    }
    let mut block = Vec::new();
    for (name, value) in &list {
        block.push(0);
        literal(&mut block, dice, name);
        literal(&mut block, dice, value);
    }
    let mut session = begun(Role::Client, Limits::default());
    let mut text = [b"\0\0\0\x04\0\0\0\0\0\0\0".as_slice(), &[block.len() as u8, 1, 4, 0, 0, 0, 1]].concat();
    text.extend(&block);
    if block.len() >= 256 {
        return;
    }
    session.feed(&text, 0);
    while let Some(event) = session.next_event() {
        let Event::Head { head, .. } = event else { continue };
        let shown = || format!("{list:?}\n became\n{:?}", String::from_utf8_lossy(&head.lines));
        let strict = strict::head(&head.lines).unwrap_or_else(|why| panic!("{why}: {}", shown()));
        assert!(strict.start.starts_with(format!("HTTP/1.1 {} ", head.status).as_bytes()), "{}", shown());
        let read = with_response(&head.lines, 100, false, |read| (read.status, read.length));
        assert_eq!(read, Ok((head.status, head.length)), "{}", shown());
        // And said again it is the same message.
        let mut server = Session::new(Role::Server, Scheme::Http, Limits::default(), 0);
        server.feed(&[PREFACE, CLIENTS[0]].concat(), 0);
        server.take(Vec::new(), 0);
        let what = What::Head { lines: &head.lines, never_indexed: &head.never_indexed, end: false };
        server.queue(1, what, 0).expect("an open stream");
        let content = server.queue(1, What::Content(Bytes::from_static(b"x")), 0);
        assert_eq!(content.is_err(), head.is_interim(), "content stands behind a final head");
        let out = server.take(Vec::new(), 0);
        let length = u32::from_be_bytes([0, out[0], out[1], out[2]]) as usize;
        let again = loona_hpack::Decoder::new().decode(&out[9..9 + length]).expect("a block of ours");
        let meant: Vec<_> = std::iter::once((":status".to_owned(), head.status.to_string().into_bytes()))
            .chain(strict.fields.iter().cloned())
            .map(|(name, value)| (name.into_bytes(), value))
            .collect();
        assert_eq!(again, meant, "{}", shown());
    }
}
