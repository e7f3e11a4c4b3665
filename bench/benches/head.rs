//! Request heads: ours (split, judged, framed, without allocation) beside bare httparse, which splits only, and beside
//! the decoder of our runtime's own HTTP crate, which builds a header map. All three get the head as it was received.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use gateway::http1::head::{HeadLimits, with_request};
use gateway::http1::scan::{HeadScanner, Scan};
use monoio_codec::{Decoded, Decoder};
use monoio_http::h1::codec::decoder::RequestHeadDecoder;

const LIMITS: HeadLimits = HeadLimits { line_bytes_max: 8192, fields_max: 100 };

/// A request of a command line client, and one of a browser behind a few proxies.
fn heads() -> [(&'static str, Vec<u8>); 2] {
    let few = "GET /items/42?page=3 HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\
        Accept-Encoding: gzip\r\nX-Request-Id: 6f1d9c0e2b7a4f3d\r\n\r\n";
    let many = "POST /api/v2/orders/20771/lines?expand=product,stock&lang=en HTTP/1.1\r\nHost: shop.example.com\r\n\
        User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
        Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
        Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
        Content-Type: application/json\r\nContent-Length: 512\r\nOrigin: https://shop.example.com\r\n\
        Referer: https://shop.example.com/orders/20771\r\n\
        Cookie: session=0b9c5e7a1f3d4c2e8a6b; theme=dark; consent=2; cart=77aa12bc90de34f1; ab=control\r\n\
        Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl\r\nSec-Fetch-Dest: empty\r\n\
        Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: same-origin\r\nX-Forwarded-For: 203.0.113.7, 198.51.100.2\r\n\
        X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example.com\r\n\
        X-Request-Id: 6f1d9c0e-2b7a-4f3d-9c1e-5a7b3d2f1e0c\r\nConnection: keep-alive\r\nPriority: u=0, i\r\n\r\n";
    [("5_fields", few.into()), ("20_fields", many.into())]
}

fn parse(criterion: &mut Criterion) {
    for (name, head) in heads() {
        let mut group = criterion.benchmark_group(format!("head/{name}"));
        group.throughput(Throughput::Bytes(head.len() as u64));

        let mut bytes = head.clone();
        group.bench_function("ours", |b| {
            b.iter(|| {
                with_request(black_box(&mut bytes), LIMITS, |request| {
                    (request.method, request.framing, request.host.len(), request.keep_alive)
                })
            });
        });
        // The connection's work before it parses: find the end, refuse a bare LF.
        group.bench_function("ours_with_scan", |b| {
            b.iter(|| match HeadScanner::default().scan(black_box(&bytes)) {
                Scan::Complete(len) => {
                    with_request(&mut bytes[..len], LIMITS, |request| request.framing).map_err(|f| f.status)
                }
                Scan::Partial | Scan::BareLf => Err(0),
            });
        });
        group.bench_function("httparse_bare", |b| {
            b.iter(|| {
                let mut fields = [const { std::mem::MaybeUninit::uninit() }; 100];
                let mut request = httparse::Request::new(&mut []);
                let parsed = request.parse_with_uninit_headers(black_box(&head), &mut fields);
                (parsed, request.headers.len())
            });
        });
        group.bench_function("monoio_http", |b| {
            b.iter_batched_ref(
                || BytesMut::from(head.as_slice()),
                |buffer| match RequestHeadDecoder.decode(black_box(buffer)) {
                    Ok(Decoded::Some(head)) => Some(head),
                    _ => None,
                },
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, parse);
criterion_main!(benches);
