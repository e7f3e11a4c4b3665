//! Decoding 64 KiB of chunked content, in chunks of a few sizes, beside the decoder of our runtime's own HTTP crate (which
//! knows neither extensions nor trailers, and splits the buffer instead of pointing into it).

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use gateway::http1::chunked::{Chunked, Step};
use monoio_codec::{Decoded, Decoder};
use monoio_http::h1::codec::decoder::ChunkedBodyDecoder;

const CONTENT: usize = 64 * 1024;

fn message(chunk: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..CONTENT / chunk {
        out.extend_from_slice(format!("{chunk:x}\r\n").as_bytes());
        out.resize(out.len() + chunk, b'x');
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// Bytes of content, or None if the message was refused.
fn ours(message: &[u8]) -> Option<usize> {
    let mut decoder = Chunked::default();
    let (mut at, mut content) = (0, 0);
    loop {
        match decoder.step(message.get(at..)?) {
            Ok(Step::Data { at: from, len }) => {
                content += len;
                at += from + len;
            }
            Ok(Step::End { .. }) => return Some(content),
            Ok(Step::More) | Err(_) => return None,
        }
    }
}

fn theirs(buffer: &mut BytesMut) -> Option<usize> {
    let mut decoder = ChunkedBodyDecoder::default();
    let mut content = 0;
    loop {
        match decoder.decode(buffer) {
            Ok(Decoded::Some(Some(piece))) => content += piece.len(),
            Ok(Decoded::Some(None)) => return Some(content),
            _ => return None,
        }
    }
}

fn decode(criterion: &mut Criterion) {
    for chunk in [64, 1024, 16 * 1024] {
        let message = message(chunk);
        assert_eq!((ours(&message), theirs(&mut message.as_slice().into())), (Some(CONTENT), Some(CONTENT)));
        let mut group = criterion.benchmark_group(format!("chunked/{chunk}_byte_chunks"));
        group.throughput(Throughput::Bytes(CONTENT as u64));
        group.bench_function("ours", |b| b.iter(|| ours(black_box(&message))));
        group.bench_function("monoio_http", |b| {
            b.iter_batched_ref(
                || BytesMut::from(message.as_slice()),
                |buffer| theirs(black_box(buffer)),
                BatchSize::LargeInput,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
