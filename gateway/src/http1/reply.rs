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

/// Renders a short, plain answer that tells the fault.
pub fn fault(out: &mut Vec<u8>, status: u16, detail: &str, manner: &Manner<'_>) {
    let text = if detail.is_empty() { reason(status) } else { detail };
    begin(out, status, manner);
    // RFC 9110 §15.5.6: a 405 lists the allowed methods; an OPTIONS that ends here is answered 200.
    if matches!(status, 200 | 405) {
        out.extend_from_slice(b"Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n");
    }
    // RFC 6585 §4. Rates are counted over fractions of a second, and this is the least that can be said.
    if status == 429 {
        out.extend_from_slice(b"Retry-After: 1\r\n");
    }
    content(out, status, "text/plain; charset=utf-8", &[text.as_bytes(), b"\n"], manner);
}

/// Renders the answer to a gRPC call in place of one of `status`: a head that nothing follows.
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use config::HeaderEdits;

    use super::*;

    const MANNER: Manner<'static> = Manner { to_head: false, persistence: Persistence::Close, date: b"now" };

    /// The part that `write` makes behind its first lines, which are the same for all.
    fn behind(status: &str, write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        let text = String::from_utf8(out).unwrap();
        let start = format!("HTTP/1.1 {status}\r\nDate: now\r\nServer: umbra\r\n");
        text.strip_prefix(&start).unwrap_or_else(|| panic!("{text:?}")).to_owned()
    }

    const TEXT: &str = "Content-Type: text/plain; charset=utf-8\r\n";

    #[test]
    fn a_refusal_says_why_and_what_would_be_allowed_or_when() {
        let of =
            |status: u16, line: &str, detail: &str| behind(line, |out| fault(out, status, detail, &MANNER));
        let end = |content: &str| {
            format!("{TEXT}Content-Length: {}\r\nConnection: close\r\n\r\n{content}\n", content.len() + 1)
        };
        assert_eq!(of(400, "400 Bad Request", "odd"), end("odd"));
        assert_eq!(of(404, "404 Not Found", ""), end("Not Found"));
        let allow = "Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n";
        assert_eq!(of(405, "405 Method Not Allowed", "no"), format!("{allow}{}", end("no")));
        assert_eq!(of(200, "200 OK", "no further"), format!("{allow}{}", end("no further")));
        assert_eq!(of(429, "429 Too Many Requests", "slow"), format!("Retry-After: 1\r\n{}", end("slow")));
        let to_head = Manner { to_head: true, ..MANNER };
        let head = behind("400 Bad Request", |out| fault(out, 400, "odd", &to_head));
        assert_eq!(head, end("odd").strip_suffix("odd\n").unwrap(), "the same head without the content");
    }

    #[test]
    fn a_call_is_refused_by_a_status_of_its_own_in_printable_ascii() {
        let of = |detail: &str| behind("200 OK", |out| call(out, 503, detail, &MANNER));
        let start = "Content-Type: application/grpc\r\ngrpc-status: 14\r\n";
        assert_eq!(of(""), format!("{start}\r\n"));
        assert_eq!(of("a 100% \u{e4}~\n"), format!("{start}grpc-message: a 100%25 %C3%A4~%0A\r\n\r\n"));
    }

    #[test]
    fn a_configured_answer_is_given_as_it_is_written_and_edited() {
        let answer = |status: u16| Answer {
            status,
            content_type: "a/b".into(),
            body: b"x\r\n\r\ny".as_slice().into(),
            location: Some(b"/there".as_slice().into()),
            edits: [None, None],
        };
        let of = |answer: &Answer, line: &str| behind(line, |out| given(out, answer, &MANNER));
        let found = "Location: /there\r\nContent-Type: a/b\r\nContent-Length: 6\r\nConnection: close\r\n\r\nx\r\n\r\ny";
        assert_eq!(of(&answer(302), "302 Found"), found);
        for (status, line) in [(204, "204 No Content"), (304, "304 Not Modified")] {
            assert_eq!(of(&answer(status), line), "Location: /there\r\nConnection: close\r\n\r\n");
        }
        let edits = || Some(HeaderEdits { add: vec![("a".into(), "1".into())], ..HeaderEdits::default() });
        for edits in [[edits(), None], [None, edits()]] {
            let edited = Answer { edits, ..answer(302) };
            assert_eq!(of(&edited, "302 Found"), found.replacen("\r\n\r\n", "\r\na: 1\r\n\r\n", 1));
        }
    }

    #[test]
    fn each_status_that_is_answered_has_a_phrase_of_its_own() {
        let with = [
            200, 201, 202, 204, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 408, 409, 410, 413,
            414, 417, 429, 431, 500, 501, 502, 503, 504, 505,
        ];
        let phrases: HashSet<&str> = with.map(reason).into_iter().collect();
        assert!(phrases.len() == with.len() && !phrases.contains(""), "{phrases:?}");
        assert_eq!(reason(299), "");
    }
}
