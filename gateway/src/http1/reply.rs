//! Answers the gateway gives by itself: complete in one write.

use super::edit;
use super::render::{self, Persistence};
use crate::grpc::Status;
use crate::plan::Answer;

/// The connection's part in a response.
#[derive(Debug)]
pub struct Manner<'a> {
    /// The request was HEAD: the same head, without the content.
    pub to_head: bool,
    pub persistence: Persistence,
    /// Value of Date.
    pub date: &'a [u8],
}

/// Renders a short, plain answer that says what was wrong.
pub fn fault(out: &mut Vec<u8>, status: u16, detail: &str, manner: &Manner<'_>) {
    let text = if detail.is_empty() { reason(status) } else { detail };
    begin(out, status, manner);
    // RFC 9110 §15.5.6: a 405 says what is allowed; an OPTIONS that ends here is answered 200.
    if matches!(status, 200 | 405) {
        out.extend_from_slice(b"Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n");
    }
    // RFC 6585 §4. Rates are counted over fractions of a second, and this is the least that can be said.
    if status == 429 {
        out.extend_from_slice(b"Retry-After: 1\r\n");
    }
    content(out, status, "text/plain; charset=utf-8", &[text.as_bytes(), b"\n"], manner);
}

/// Renders what a gRPC call is told instead of an answer of `status`: a head that nothing follows.
pub fn call(out: &mut Vec<u8>, status: u16, detail: &str, manner: &Manner<'_>) {
    begin(out, 200, manner);
    let grpc = Status::of_http(status).number();
    out.extend_from_slice(format!("Content-Type: application/grpc\r\ngrpc-status: {grpc}\r\n").as_bytes());
    if !detail.is_empty() {
        out.extend_from_slice(b"grpc-message: ");
        // As gRPC has it: printable ASCII but `%` stands for itself.
        for byte in detail.bytes() {
            match byte {
                b' '..=b'~' if byte != b'%' => out.push(byte),
                _ => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            }
        }
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Renders an answer that the configuration gives.
pub fn given(out: &mut Vec<u8>, answer: &Answer, manner: &Manner<'_>) {
    let [own, cors] = &answer.edits;
    if own.is_none() && cors.is_none() {
        return unedited(out, answer, manner);
    }
    let mut whole = Vec::with_capacity(512 + answer.body.len());
    unedited(&mut whole, answer, manner);
    let head = whole.windows(4).position(|end| end == b"\r\n\r\n").map_or(whole.len(), |at| at + 4);
    edit::response(out, &whole[..head], [own.as_ref(), cors.as_ref(), None]);
    out.extend_from_slice(&whole[head..]);
}

fn unedited(out: &mut Vec<u8>, answer: &Answer, manner: &Manner<'_>) {
    begin(out, answer.status, manner);
    if let Some(location) = &answer.location {
        out.extend_from_slice(b"Location: ");
        out.extend_from_slice(location);
        out.extend_from_slice(b"\r\n");
    }
    content(out, answer.status, &answer.content_type, &[&answer.body], manner);
}

fn begin(out: &mut Vec<u8>, status: u16, manner: &Manner<'_>) {
    out.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", reason(status)).as_bytes());
    out.extend_from_slice(b"Date: ");
    out.extend_from_slice(manner.date);
    out.extend_from_slice(b"\r\nServer: umbra\r\n");
}

fn content(out: &mut Vec<u8>, status: u16, content_type: &str, parts: &[&[u8]], manner: &Manner<'_>) {
    // Neither has content, nor a length of it (RFC 9110 §15.3.5, §15.4.5).
    let may_have_content = !matches!(status, 204 | 304);
    if may_have_content {
        out.extend_from_slice(format!("Content-Type: {content_type}\r\n").as_bytes());
        render::content_length(out, parts.iter().map(|part| part.len() as u64).sum());
    }
    render::persist(out, manner.persistence);
    out.extend_from_slice(b"\r\n");
    if may_have_content && !manner.to_head {
        parts.iter().for_each(|part| out.extend_from_slice(part));
    }
}

/// Reason phrases of the codes we answer with; a code without one gets an empty phrase, which RFC 9112 §4 allows.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
