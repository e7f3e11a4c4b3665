//! Heads of requests and responses, reduced to the facts that the next step depends on. Does not keep the fields.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::{Bad, Framing, HEAD_BYTES_MAX, HEAD_FIELDS_MAX};

/// The header by which `verify` recognises a request wherever it turns up.
pub const ID_HEADER: &str = "x-loadgen-id";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    pub head_len: usize,
    pub status: u16,
    pub framing: Framing,
    pub keep_alive: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub head_len: usize,
    pub is_head: bool,
    pub framing: Framing,
    pub keep_alive: bool,
    pub expects_continue: bool,
    /// Positions in the parsed bytes.
    pub method: Range<usize>,
    pub target: Range<usize>,
    pub id: Option<Range<usize>>,
    /// Of a WebSocket that is asked for.
    pub websocket_key: Option<Range<usize>>,
}

/// The fields that decide framing and persistence, collected in one pass.
#[derive(Default)]
struct Seen {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    id: Option<Range<usize>>,
    upgrades: bool,
    websocket_key: Option<Range<usize>>,
}

impl Seen {
    fn collect(fields: &[httparse::Header<'_>], start: *const u8) -> Result<Self, Bad> {
        let mut seen = Self::default();
        for field in fields {
            // Most names are none of ours: the length rejects them before any comparison.
            match field.name.len() {
                14 if field.name.eq_ignore_ascii_case("content-length") => {
                    let length = parse_length(field.value).ok_or(Bad::Framing)?;
                    if seen.length.is_some_and(|before| before != length) {
                        return Err(Bad::Framing);
                    }
                    seen.length = Some(length);
                }
                17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                    if seen.chunked || !field.value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Bad::Framing);
                    }
                    seen.chunked = true;
                }
                10 if field.name.eq_ignore_ascii_case("connection") => {
                    for option in field.value.split(|&b| b == b',') {
                        let option = option.trim_ascii();
                        seen.close |= option.eq_ignore_ascii_case(b"close");
                        seen.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                6 if field.name.eq_ignore_ascii_case("expect") => {
                    seen.expects_continue = field.value.eq_ignore_ascii_case(b"100-continue");
                }
                17 if field.name.eq_ignore_ascii_case("sec-websocket-key") => {
                    seen.websocket_key = Some(position(start, field.value));
                }
                7 if field.name.eq_ignore_ascii_case("upgrade") => {
                    seen.upgrades = field.value.eq_ignore_ascii_case(b"websocket");
                }
                12 if field.name.eq_ignore_ascii_case(ID_HEADER) => {
                    seen.id = Some(position(start, field.value));
                }
                _ => {}
            }
        }
        if seen.chunked && seen.length.is_some() { Err(Bad::Framing) } else { Ok(seen) }
    }

    fn persists(&self, version: Option<u8>) -> bool {
        !self.close && (version == Some(1) || self.keep_alive)
    }
}

fn position(start: *const u8, part: &[u8]) -> Range<usize> {
    let from = part.as_ptr() as usize - start as usize;
    from..from + part.len()
}

fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 {
        return None;
    }
    value.iter().try_fold(0u64, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u64::from(b - b'0')))
}

fn refuse(error: httparse::Error) -> Bad {
    match error {
        httparse::Error::TooManyHeaders => Bad::HeadTooLarge,
        _ => Bad::Head,
    }
}

fn partial<T>(bytes: &[u8]) -> Result<Option<T>, Bad> {
    if bytes.len() >= HEAD_BYTES_MAX { Err(Bad::HeadTooLarge) } else { Ok(None) }
}

/// `None`: more bytes are needed. `to_head` says that the request was HEAD, whose answers have no body.
pub fn response(bytes: &[u8], to_head: bool) -> Result<Option<Response>, Bad> {
    let mut fields = [const { MaybeUninit::uninit() }; HEAD_FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let head_len = match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields) {
        Ok(httparse::Status::Complete(head_len)) => head_len,
        Ok(httparse::Status::Partial) => return partial(bytes),
        Err(error) => return Err(refuse(error)),
    };
    let status = parsed.code.unwrap_or(0);
    if !(100..1000).contains(&status) {
        return Err(Bad::Head);
    }
    let seen = Seen::collect(parsed.headers, bytes.as_ptr())?;
    let framing = match (status, seen.chunked, seen.length) {
        (100..=199 | 204 | 304, _, _) => Framing::None,
        _ if to_head => Framing::None,
        (_, true, _) => Framing::Chunked,
        (_, _, Some(0)) => Framing::None,
        (_, _, Some(length)) => Framing::Length(length),
        (_, _, None) => Framing::UntilClose,
    };
    let keep_alive = framing != Framing::UntilClose && seen.persists(parsed.version);
    Ok(Some(Response { head_len, status, framing, keep_alive }))
}

/// `None`: more bytes are needed.
pub fn request(bytes: &[u8]) -> Result<Option<Request>, Bad> {
    let mut fields = [const { MaybeUninit::uninit() }; HEAD_FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    let head_len = match parsed.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete(head_len)) => head_len,
        Ok(httparse::Status::Partial) => return partial(bytes),
        Err(error) => return Err(refuse(error)),
    };
    let start = bytes.as_ptr();
    let seen = Seen::collect(parsed.headers, start)?;
    let framing = match (seen.chunked, seen.length) {
        (true, _) => Framing::Chunked,
        (false, Some(length)) if length > 0 => Framing::Length(length),
        (false, _) => Framing::None,
    };
    let method = parsed.method.unwrap_or_default();
    Ok(Some(Request {
        head_len,
        is_head: method == "HEAD",
        framing,
        keep_alive: seen.persists(parsed.version),
        expects_continue: seen.expects_continue,
        method: position(start, method.as_bytes()),
        target: position(start, parsed.path.unwrap_or_default().as_bytes()),
        id: seen.id,
        websocket_key: seen.websocket_key.filter(|_| seen.upgrades),
    }))
}

/// The value of a field of a response head that was parsed before.
pub fn response_field<'h>(head: &'h [u8], name: &str) -> Option<&'h [u8]> {
    let mut fields = [httparse::EMPTY_HEADER; HEAD_FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut fields);
    parsed.parse(head).ok()?;
    parsed.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

/// All fields of a request head that was parsed before, as text: for the proof, which wants every one of them.
pub fn fields(head: &[u8]) -> Vec<(String, String)> {
    let mut fields = [httparse::EMPTY_HEADER; HEAD_FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    if parsed.parse(head).is_err() {
        return Vec::new();
    }
    let text = |f: &httparse::Header<'_>| {
        (f.name.to_ascii_lowercase(), String::from_utf8_lossy(f.value).into_owned())
    };
    parsed.headers.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_framed_as_rfc_9112_says() {
        let check = |head: &str, to_head: bool, expected: Result<(Framing, bool), Bad>| {
            let parsed = response(head.as_bytes(), to_head);
            let got = parsed.map(|r| r.map(|r| (r.framing, r.keep_alive)));
            assert_eq!(got, expected.map(Some), "{head}");
        };
        let ok = "HTTP/1.1 200 OK\r\n";
        check(&format!("{ok}content-length: 5\r\n\r\n"), false, Ok((Framing::Length(5), true)));
        check(&format!("{ok}content-length: 5\r\n\r\n"), true, Ok((Framing::None, true)));
        check(&format!("{ok}content-length: 0\r\n\r\n"), false, Ok((Framing::None, true)));
        check(&format!("{ok}Transfer-Encoding: Chunked\r\n\r\n"), false, Ok((Framing::Chunked, true)));
        check(&format!("{ok}\r\n"), false, Ok((Framing::UntilClose, false)));
        check(
            &format!("{ok}content-length: 1\r\nconnection: x, CLOSE\r\n\r\n"),
            false,
            Ok((Framing::Length(1), false)),
        );
        check("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n", false, Ok((Framing::Length(1), false)));
        check("HTTP/1.1 204 No\r\ncontent-length: 9\r\n\r\n", false, Ok((Framing::None, true)));
        check("HTTP/1.1 304 No\r\ncontent-length: 9\r\n\r\n", false, Ok((Framing::None, true)));
        check("HTTP/1.1 103 Hints\r\n\r\n", false, Ok((Framing::None, true)));
        check(
            &format!("{ok}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"),
            false,
            Err(Bad::Framing),
        );
        check(&format!("{ok}content-length: 5\r\ncontent-length: 6\r\n\r\n"), false, Err(Bad::Framing));
        check(&format!("{ok}content-length: -1\r\n\r\n"), false, Err(Bad::Framing));
        check(&format!("{ok}content-length: 99999999999999999999\r\n\r\n"), false, Err(Bad::Framing));
        check(&format!("{ok}transfer-encoding: gzip, chunked\r\n\r\n"), false, Err(Bad::Framing));
        check("SSH-2.0-OpenSSH\r\n\r\n", false, Err(Bad::Head));
    }

    #[test]
    fn half_a_head_asks_for_more_and_an_endless_one_is_refused() {
        assert_eq!(response(b"HTTP/1.1 200 OK\r\ncontent-le", false), Ok(None));
        let mut endless = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
        endless.resize(HEAD_BYTES_MAX, b'a');
        assert_eq!(response(&endless, false), Err(Bad::HeadTooLarge));
    }

    #[test]
    fn requests_say_where_their_parts_are() {
        let bytes = b"POST /a?b HTTP/1.1\r\nX-Loadgen-Id: r-7\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc";
        let parsed = request(bytes).ok().flatten();
        assert!(parsed.as_ref().is_some_and(|r| {
            &bytes[r.method.clone()] == b"POST"
                && &bytes[r.target.clone()] == b"/a?b"
                && r.id.clone().is_some_and(|id| &bytes[id] == b"r-7")
                && r.framing == Framing::Length(3)
                && r.expects_continue
                && r.head_len == bytes.len() - 3
        }));
    }
}
