//! A captured copy as a line of JSON: the request as a mirror would get it, without the gateway's own fields, which become
//! members of their own. Pure.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::http1::render::MIRROR_MARK;
use crate::mirror::feed::Captured;
use crate::mirror::policy::{COPY_NUMBER, PRIMARY_DURATION, PRIMARY_STATUS};
use crate::mirror::proof::PROOF;

/// The line of a captured copy's head that says which route it came by.
pub const CAPTURED_ROUTE: &str = "X-Umbra-Route";

#[derive(Debug, Default, Serialize)]
struct Line<'a> {
    at_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    mirror: &'a str,
    route: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    copy: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_ms: Option<f64>,
    head: &'a str,
    /// The head has bytes that are no UTF-8, and a sign in their place.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_lossy: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trailers: Option<&'a str>,
}

/// Writes `captured` to `out` as a whole line.
pub(super) fn write(out: &mut Vec<u8>, captured: &Captured) {
    let end = memchr::memmem::find(&captured.head, b"\r\n\r\n").map_or(captured.head.len(), |at| at + 4);
    let (head, begun) = captured.head.split_at(end);
    let mut content = begun.to_vec();
    captured.pieces.iter().for_each(|piece| content.extend_from_slice(piece));
    let lossy = String::from_utf8_lossy(head);
    let mut line = Line {
        at_us: captured.at_us,
        is_lossy: matches!(lossy, std::borrow::Cow::Owned(_)),
        ..Line::default()
    };
    let mut kept = String::with_capacity(lossy.len());
    let mut is_chunked = false;
    for text in lossy.split_inclusive("\r\n") {
        let (name, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.trim();
        let is = |ours: &str| name.eq_ignore_ascii_case(ours);
        match () {
            () if is(mark()) => line.mirror = value,
            () if is(CAPTURED_ROUTE) => line.route = value,
            () if is(COPY_NUMBER) => line.copy = value.parse().ok(),
            () if is(PRIMARY_STATUS) => line.primary_status = value.parse().ok(),
            () if is(PRIMARY_DURATION) => line.primary_ms = value.parse().ok(),
            () if is(PROOF) => {}
            () => {
                if is("X-Request-Id") {
                    line.id = Some(value);
                }
                is_chunked |= is("Transfer-Encoding");
                kept.push_str(text);
            }
        }
    }
    line.head = &kept;
    let (content, trailers) = if is_chunked { unchunked(&content) } else { (content, Vec::new()) };
    match std::str::from_utf8(&content) {
        Ok("") => {}
        Ok(text) => line.body = Some(text),
        Err(_) => line.body_base64 = Some(STANDARD.encode(&content)),
    }
    let trailers = String::from_utf8_lossy(&trailers);
    line.trailers = (!trailers.is_empty()).then_some(&trailers);
    // Writing to a vector cannot fail, and every key of such a line is a text.
    if serde_json::to_writer(&mut *out, &line).is_ok() {
        let _ = out.write_all(b"\n");
    }
}

fn mark() -> &'static str {
    let mark = std::str::from_utf8(MIRROR_MARK).unwrap_or_default();
    mark.split(':').next().unwrap_or_default()
}

/// Content and trailers of a message that the gateway itself framed in chunks.
fn unchunked(mut rest: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut content = Vec::with_capacity(rest.len());
    loop {
        let Some(at) = memchr::memmem::find(rest, b"\r\n") else { return (content, Vec::new()) };
        let digits = std::str::from_utf8(&rest[..at]).unwrap_or_default();
        let length = usize::from_str_radix(digits, 16).unwrap_or(0);
        rest = rest.get(at + 2..).unwrap_or_default();
        if length == 0 {
            return (content, rest.strip_suffix(b"\r\n").unwrap_or(rest).to_vec());
        }
        content.extend_from_slice(rest.get(..length).unwrap_or(rest));
        rest = rest.get(length.saturating_add(2)..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn line(head: &[u8], pieces: &[&[u8]]) -> Value {
        let pieces = pieces.iter().map(|piece| bytes::Bytes::copy_from_slice(piece)).collect();
        let mut out = Vec::new();
        write(&mut out, &Captured { at_us: 7, head: head.to_vec(), pieces, bytes: 0 });
        assert_eq!(out.last(), Some(&b'\n'));
        serde_json::from_slice(&out).expect("it is JSON")
    }

    const OURS: &str = "X-Umbra-Mirror: tape\r\nX-Umbra-Route: shop\r\nX-Umbra-Proof: 00ff\r\n";

    #[test]
    fn what_we_say_of_a_copy_stands_beside_its_head() {
        let head = format!(
            "POST /a?b=1 HTTP/1.1\r\nHost: h\r\nX-Request-Id: r-1\r\n{OURS}X-Umbra-Primary-Status: 503\r\n\
             X-Umbra-Primary-Duration: 1.500\r\nContent-Length: 5\r\n\r\nhel"
        );
        assert_eq!(
            line(head.as_bytes(), &[b"l", b"o"]),
            json!({ "at_us": 7, "id": "r-1", "mirror": "tape", "route": "shop", "primary_status": 503,
                    "primary_ms": 1.5, "body": "hello",
                    "head": "POST /a?b=1 HTTP/1.1\r\nHost: h\r\nX-Request-Id: r-1\r\nContent-Length: 5\r\n\r\n" })
        );
    }

    #[test]
    fn content_that_is_no_text_is_base64_and_chunks_of_ours_are_taken_off() {
        let head = format!("PUT / HTTP/1.1\r\n{OURS}Transfer-Encoding: chunked\r\n\r\n3\r\n");
        let said = line(head.as_bytes(), &[b"\x00\xff\n", b"\r\n0\r\nX-Sum: 1\r\n\r\n"]);
        assert_eq!((&said["body_base64"], &said["trailers"]), (&json!("AP8K"), &json!("X-Sum: 1\r\n")));
        let head = format!("GET /\u{e9} HTTP/1.1\r\n{OURS}\r\n");
        assert_eq!(line(head.as_bytes(), &[]).get("body"), None);
        let said = line(b"GET / HTTP/1.1\r\nA: \xff\r\n\r\n", &[]);
        assert_eq!((&said["is_lossy"], said.get("id")), (&json!(true), None));
    }

    #[test]
    fn whatever_a_copy_is_it_becomes_a_line() {
        for (head, piece) in [
            (&b""[..], &b""[..]),
            (b"\r\n\r\n", b"x"),
            (b"A", b""),
            (b"A /\r\nTransfer-Encoding: x\r\n\r\n", b"fffffffffffffffff\r\n"),
            (b"A /\r\nTransfer-Encoding: x\r\n\r\n", b"ffff\r\nab"),
        ] {
            line(head, &[piece]);
        }
    }
}
