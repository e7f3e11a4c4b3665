//! HTTP/2 without sockets: the cost of a session per request, and that of decoding a block of fields beside `loona-hpack`.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gateway::http1::head::{HeadLimits, with_request};
use gateway::http2::fields::{NeverIndexed, Scheme};
use gateway::http2::frame::{self, HEAD_BYTES, PREFACE};
use gateway::http2::guard::Limits;
use gateway::http2::hpack::{Decoder, Field, ListLimits, Sink, huffman};
use gateway::http2::session::{Event, Role, Session, What};

/// Requests of one read: as many as h2load sends with `-m32`.
const AT_ONCE: usize = 32;

const FEW: [(&str, &str); 7] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "shop.example.com"),
    (":path", "/items/42?page=3"),
    ("user-agent", "h2load nghttp2/1.52.0"),
    ("accept", "*/*"),
    ("x-request-id", "6f1d9c0e2b7a4f3d"),
];

const MANY: [(&str, &str); 18] = [
    (":method", "POST"),
    (":scheme", "https"),
    (":authority", "shop.example.com"),
    (":path", "/api/v2/orders/20771/lines?expand=product,stock&lang=en"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("content-type", "application/json"),
    ("content-length", "512"),
    ("origin", "https://shop.example.com"),
    ("referer", "https://shop.example.com/orders/20771"),
    ("cookie", "session=0b9c5e7a1f3d4c2e8a6b; theme=dark; consent=2; cart=77aa12bc90de34f1; ab=control"),
    ("authorization", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl"),
    ("sec-fetch-dest", "empty"),
    ("sec-fetch-mode", "cors"),
    ("x-request-id", "6f1d9c0e-2b7a-4f3d-9c1e-5a7b3d2f1e0c"),
    ("priority", "u=0, i"),
];

/// Literals in Huffman's code, none indexed: the most work for its bytes.
fn literals(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    let string = |block: &mut Vec<u8>, text: &str| {
        let mut coded = Vec::new();
        huffman::encode(text.as_bytes(), &mut coded);
        block.push(0x80 | coded.len() as u8);
        block.extend(coded);
    };
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    block
}

/// The blocks of an encoder with a dynamic table: the first, and every one after it.
fn indexed(fields: &[(&str, &str)]) -> (Vec<u8>, Vec<u8>) {
    let mut encoder = loona_hpack::Encoder::new();
    let mut next = || encoder.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    (next(), next())
}

#[derive(Default)]
struct Counted {
    out: Vec<u8>,
    bytes: usize,
}

impl Sink for Counted {
    fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    fn field(&mut self, field: Field) {
        self.bytes += field.name_len + field.value_len;
    }
}

fn hpack(criterion: &mut Criterion) {
    const LIMITS: ListLimits = ListLimits { bytes_max: 16_384, fields_max: 100 };
    for (name, fields) in [("7_fields", &FEW[..]), ("18_fields", &MANY[..])] {
        let (first, later) = indexed(fields);
        for (kind, block) in [("literal", literals(fields)), ("indexed", later)] {
            let mut group = criterion.benchmark_group(format!("http2/hpack/{name}/{kind}"));
            group.throughput(Throughput::Elements(1));
            let mut decoder = Decoder::default();
            let mut sink = Counted::default();
            decoder.decode(&first, LIMITS, &mut sink).expect("a good block");
            group.bench_function("ours", |b| {
                b.iter(|| {
                    sink.out.clear();
                    decoder.decode(black_box(&block), LIMITS, &mut sink).map(|extent| extent.bytes)
                });
            });
            let mut decoder = loona_hpack::Decoder::new();
            decoder.decode(&first).expect("a good block");
            group.bench_function("loona", |b| {
                b.iter(|| {
                    let mut bytes = 0;
                    let decoded = decoder
                        .decode_with_cb(black_box(&block), |name, value| bytes += name.len() + value.len());
                    (decoded.is_ok(), bytes)
                });
            });
            group.finish();
        }
    }
}

/// A read of [`AT_ONCE`] requests and the window that their answers take, with streams' numbers left open.
struct Read {
    bytes: Vec<u8>,
    heads: Vec<usize>,
    next: u32,
}

impl Read {
    fn new(block: &[u8], first: u32, answer_bytes: usize) -> Self {
        let (mut bytes, mut heads) = (Vec::new(), Vec::new());
        for _ in 0..AT_ONCE {
            heads.push(bytes.len());
            frame::headers(&mut bytes, 1, block, true);
        }
        frame::window_update(&mut bytes, 0, (AT_ONCE * answer_bytes) as u32);
        Self { bytes, heads, next: first }
    }

    fn next(&mut self) -> &[u8] {
        for at in &self.heads {
            self.bytes[at + 5..at + HEAD_BYTES].copy_from_slice(&self.next.to_be_bytes());
            self.next += 2;
        }
        &self.bytes
    }
}

/// The same requests again and again on one connection, each answered with four fields and 64 bytes.
fn session(criterion: &mut Criterion) {
    let limits = Limits { streams_max: AT_ONCE, streams_total_max: u64::MAX, ..Limits::default() };
    let answer = b"HTTP/1.1 200 OK\r\nDate: Sun, 29 Nov 2026 19:00:00 GMT\r\nServer: umbra\r\nContent-Type: text/plain\r\n\
        Content-Length: 64\r\n\r\n";
    let content = Bytes::from(vec![b'x'; 64]);
    for (name, is_parsed) in [("request", false), ("request_and_http1_head", true)] {
        let (first, later) = indexed(&FEW);
        let mut session = Session::new(Role::Server, Scheme::Http, limits, 0);
        let mut hello = PREFACE.to_vec();
        frame::settings(&mut hello, &[]);
        frame::headers(&mut hello, 1, &first, true);
        session.feed(&hello, 0);
        let mut read = Read::new(&later, 3, content.len());
        let mut out = Vec::new();
        let mut answered = |session: &mut Session| {
            let mut targets = 0;
            while let Some(event) = session.next_event() {
                let Event::Head { stream, mut head, .. } = event else { continue };
                if is_parsed {
                    let limits = HeadLimits { line_bytes_max: 8192, fields_max: 100 };
                    targets +=
                        with_request(&mut head.lines, limits, |head| head.target.len()).unwrap_or_default();
                }
                let what = What::Head { lines: answer, never_indexed: &NeverIndexed::default(), end: false };
                session.queue(stream, what, 0).expect("an open stream");
                session.queue(stream, What::Content(content.clone()), 0).expect("an open stream");
                session.queue(stream, What::End, 0).expect("an open stream");
                session.release(stream);
                session.recycle(head.lines);
            }
            out.clear();
            out = session.take(std::mem::take(&mut out), 0);
            targets + out.len()
        };
        answered(&mut session);
        let mut group = criterion.benchmark_group("http2/session");
        group.throughput(Throughput::Elements(AT_ONCE as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                session.feed(black_box(read.next()), 0);
                answered(&mut session)
            });
        });
        group.finish();
        assert!(!session.is_closed() && session.streams() == 0);
    }
}

criterion_group!(benches, hpack, session);
criterion_main!(benches);
