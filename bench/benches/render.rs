//! Heads as we write them: a request towards the primary, a response towards the client, both from a parsed head into a
//! buffer that is used again.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use gateway::http1::head::{HeadLimits, with_request, with_response};
use gateway::http1::render::{self, Forwarding, Persistence, ResponseFraming};

const LIMITS: HeadLimits = HeadLimits { line_bytes_max: 8192, fields_max: 100 };
const ADD: Forwarding<'static> = Forwarding {
    keeps_id: true,
    traced: None,
    client: b"192.0.2.1",
    proto: b"http",
    request_id: b"0123456789abcdef0123456789abcdef",
    trust: true,
    via: Some("1.1"),
    is_copy: false,
    client_cert: None,
    host_if_none: b"v1",
};

fn request_head(fields: usize) -> Vec<u8> {
    let mut head = b"GET /items/42?page=3 HTTP/1.1\r\nHost: shop.example.com\r\n".to_vec();
    for index in 1..fields {
        head.extend_from_slice(format!("X-Field-{index}: a value of a usual length\r\n").as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn response_head(fields: usize) -> Vec<u8> {
    let mut head =
        b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n".to_vec();
    for index in 2..fields {
        head.extend_from_slice(format!("X-Field-{index}: a value of a usual length\r\n").as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn render(criterion: &mut Criterion) {
    let mut out = Vec::with_capacity(4096);
    for fields in [5, 20] {
        let mut group = criterion.benchmark_group(format!("render/{fields}_fields"));
        let mut head = request_head(fields);
        let parsed = with_request(&mut head, LIMITS, |request| {
            group.bench_function("request", |b| {
                b.iter(|| {
                    out.clear();
                    let rendered = render::request(&mut out, black_box(request), &ADD);
                    render::end_request(&mut out, request.framing, false, false);
                    (rendered.common_end, out.len())
                });
            });
        });
        assert!(parsed.is_ok(), "the request head is refused");

        let head = response_head(fields);
        let parsed = with_response(&head, LIMITS.fields_max, false, |response| {
            group.bench_function("response", |b| {
                b.iter(|| {
                    out.clear();
                    let framing = ResponseFraming::Length(64);
                    render::response(&mut out, black_box(response), framing, Persistence::Keep, b"now");
                    out.len()
                });
            });
        });
        assert!(parsed.is_ok(), "the response head is refused");
        group.finish();
    }
}

criterion_group!(benches, render);
criterion_main!(benches);
