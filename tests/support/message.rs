//! A strict HTTP/1.1 reader of our own, independent of the gateway's, for both directions.

/// A field line's name and value as they stood on the wire.
pub type Field = (String, String);

/// A GET whose head has these lines after Host.
pub fn with(lines: &str) -> String {
    format!("GET /with HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n")
}

/// A POST with these lines after Host, and content as it goes on the wire.
pub fn post(lines: &str, content: &str) -> String {
    format!("POST /post HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n{content}")
}

/// A POST whose content is already in chunks.
pub fn in_chunks(content: &str) -> String {
    post("Transfer-Encoding: chunked", content)
}

/// A complete request as an origin saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub fields: Vec<Field>,
    pub body: Vec<u8>,
    pub trailers: Vec<Field>,
    pub chunked: bool,
}

/// A complete response as a client saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub fields: Vec<Field>,
    pub body: Vec<u8>,
    pub trailers: Vec<Field>,
    pub chunked: bool,
    /// Status codes of the interim answers before it.
    pub interims: Vec<u16>,
}

/// How far reading came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read<T> {
    /// The message and how many bytes it took.
    Complete(T, usize),
    Partial,
    /// No valid message can start like this.
    Invalid(String),
}

pub(crate) fn value<'a>(fields: &'a [Field], name: &str) -> Option<&'a str> {
    fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
}

pub(crate) fn values<'a>(fields: &'a [Field], name: &str) -> Vec<&'a str> {
    fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
}

impl Request {
    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        value(&self.fields, name)
    }

    pub fn values(&self, name: &str) -> Vec<&str> {
        values(&self.fields, name)
    }

    pub fn read(bytes: &[u8]) -> Read<Self> {
        let (line, fields, head_len) = match head(bytes) {
            Ok(Some(head)) => head,
            Ok(None) => return Read::Partial,
            Err(why) => return Read::Invalid(why),
        };
        let words: Vec<&str> = line.split(' ').collect();
        let [method, target, "HTTP/1.1"] = words[..] else {
            return Read::Invalid(format!("request line {line:?}"));
        };
        if values(&fields, "host").len() != 1 {
            return Read::Invalid(format!("not exactly one Host: {fields:?}"));
        }
        match body(&bytes[head_len..], &fields, Some(0)) {
            Ok(Some((body, trailers, chunked, used))) => Read::Complete(
                Self { method: method.into(), target: target.into(), fields, body, trailers, chunked },
                head_len + used,
            ),
            Ok(None) => Read::Partial,
            Err(why) => Read::Invalid(why),
        }
    }
}

impl Response {
    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        value(&self.fields, name)
    }

    pub fn values(&self, name: &str) -> Vec<&str> {
        values(&self.fields, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Reads a response, interim ones included. `closed`: the connection has ended after `bytes`.
    pub fn read(bytes: &[u8], to_head: bool, closed: bool) -> Read<Self> {
        let mut interims = Vec::new();
        let mut at = 0;
        loop {
            let (line, fields, head_len) = match head(&bytes[at..]) {
                Ok(Some(head)) => head,
                Ok(None) => return Read::Partial,
                Err(why) => return Read::Invalid(why),
            };
            at += head_len;
            let status = line
                .strip_prefix("HTTP/1.1 ")
                .and_then(|rest| rest.get(..3))
                .and_then(|code| code.parse().ok());
            let Some(status) = status else { return Read::Invalid(format!("status line {line:?}")) };
            if (100..200).contains(&status) {
                interims.push(status);
                continue;
            }
            let rest = &bytes[at..];
            let no_body = to_head || status == 204 || status == 304;
            let read = if no_body {
                Ok(Some((Vec::new(), Vec::new(), false, 0)))
            } else {
                body(rest, &fields, None).map(|found| match found {
                    // No length at all: the connection's end is the message's.
                    Some((_, _, false, usize::MAX)) => {
                        closed.then(|| (rest.to_vec(), Vec::new(), false, rest.len()))
                    }
                    other => other,
                })
            };
            return match read {
                Ok(Some((body, trailers, chunked, used))) => {
                    Read::Complete(Self { status, fields, body, trailers, chunked, interims }, at + used)
                }
                Ok(None) => Read::Partial,
                Err(why) => Read::Invalid(why),
            };
        }
    }
}

type Head = (String, Vec<Field>, usize);

fn head(bytes: &[u8]) -> Result<Option<Head>, String> {
    let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
    // Bytes above 0x7f stand for themselves.
    let text: String = bytes[..end].iter().map(|b| char::from(*b)).collect();
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let fields = lines.map(field).collect::<Result<_, _>>()?;
    Ok(Some((first, fields, end + 4)))
}

fn field(line: &str) -> Result<Field, String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("no colon in {line:?}"))?;
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) || line.contains(['\r', '\n', '\0']) {
        return Err(format!("malformed field {line:?}"));
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

type Body = (Vec<u8>, Vec<Field>, bool, usize);

/// `default`: the length where none is declared; `None` marks it with `usize::MAX` used bytes.
fn body(bytes: &[u8], fields: &[Field], default: Option<usize>) -> Result<Option<Body>, String> {
    let (lengths, codings) = (values(fields, "content-length"), values(fields, "transfer-encoding"));
    match (&lengths[..], &codings[..]) {
        ([], []) => Ok(Some((Vec::new(), Vec::new(), false, default.unwrap_or(usize::MAX)))),
        ([length], []) => {
            // `parse` takes a sign; a length has none.
            let digits = Some(length).filter(|l| l.bytes().all(|b| b.is_ascii_digit()));
            let length: usize =
                digits.and_then(|l| l.parse().ok()).ok_or_else(|| format!("Content-Length {length:?}"))?;
            Ok(bytes.get(..length).map(|body| (body.to_vec(), Vec::new(), false, length)))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => chunked(bytes),
        _ => Err(format!("two framings: {lengths:?} {codings:?}")),
    }
}

fn chunked(bytes: &[u8]) -> Result<Option<Body>, String> {
    let (mut content, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = bytes[at..].windows(2).position(|w| w == b"\r\n") else { return Ok(None) };
        let digits = std::str::from_utf8(&bytes[at..at + line]).map_err(|e| e.to_string())?;
        // Stricter than the standard: the gateway's chunks have no extensions.
        let hex = Some(digits).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let size = hex
            .and_then(|d| usize::from_str_radix(d, 16).ok())
            .ok_or_else(|| format!("chunk size {digits:?}"))?;
        at += line + 2;
        if size == 0 {
            break;
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err("chunk without CRLF".into());
        }
        content.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
    let mut trailers = Vec::new();
    loop {
        let Some(line) = bytes[at..].windows(2).position(|w| w == b"\r\n") else { return Ok(None) };
        let text: String = bytes[at..at + line].iter().map(|b| char::from(*b)).collect();
        at += line + 2;
        if text.is_empty() {
            return Ok(Some((content, trailers, true, at)));
        }
        trailers.push(field(&text)?);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_readers_could_read_differently_is_invalid() {
        for text in [
            "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        ] {
            assert!(matches!(Request::read(text.as_bytes()), Read::Invalid(_)), "{text}");
        }
    }

    #[test]
    fn every_prefix_of_a_message_is_partial_and_what_follows_it_is_left() {
        let text = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: u\r\n\r\nGET";
        let end = text.len() - 3;
        for n in 0..end {
            assert_eq!(Request::read(&text.as_bytes()[..n]), Read::Partial, "{n}");
        }
        let Read::Complete(request, used) = Request::read(text.as_bytes()) else { panic!("not complete") };
        assert_eq!((used, request.body.as_slice()), (end, b"abc".as_slice()));
        assert_eq!(request.trailers, [("T".to_owned(), "u".to_owned())]);
    }

    #[test]
    fn an_answer_without_length_ends_with_its_connection() {
        let text = b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\n\r\nabc";
        assert_eq!(Response::read(text, false, false), Read::Partial);
        let Read::Complete(response, used) = Response::read(text, false, true) else {
            panic!("not complete")
        };
        assert_eq!(
            (used, response.body.as_slice(), response.interims),
            (text.len(), b"abc".as_slice(), vec![103])
        );
    }
}
