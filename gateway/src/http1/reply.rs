//! Answers the gateway gives by itself: short, plain, and complete in one write.

use super::render::{self, Persistence};

/// Renders a whole response with `detail` as its text. A HEAD request gets the same head without the text.
pub fn render(
    out: &mut Vec<u8>,
    status: u16,
    detail: &str,
    to_head: bool,
    persistence: Persistence,
    date: &[u8],
) {
    let reason = reason(status);
    let text = if detail.is_empty() { reason } else { detail };
    out.extend_from_slice(format!("HTTP/1.1 {status} {reason}\r\n").as_bytes());
    out.extend_from_slice(b"Date: ");
    out.extend_from_slice(date);
    out.extend_from_slice(b"\r\nServer: umbra\r\nContent-Type: text/plain; charset=utf-8\r\n");
    render::content_length(out, text.len() as u64 + 1);
    if matches!(status, 200 | 405) {
        out.extend_from_slice(b"Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n");
    }
    render::persist(out, persistence);
    out.extend_from_slice(b"\r\n");
    if !to_head {
        out.extend_from_slice(text.as_bytes());
        out.push(b'\n');
    }
}

/// Reason phrases of the codes we answer with.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}
