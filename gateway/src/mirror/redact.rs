//! What must not leave with a copy: values of fields, of cookies, of the query's parameters and inside JSON. Pure.
//!
//! Names are compared without regard to ASCII case, those of the query decoded; where a value's end could be read in two
//! ways, the longer reading is taken away. Covered: the query of the request target, of Referer and of an answer's Location,
//! every Cookie and Set-Cookie line, every line and trailer line of the named fields, and a JSON body. Not covered: the path, a field that repeats a secret
//! under another name, and forms or other bodies that are not JSON (with `json` given, those are not sent at all).

pub mod json;

use std::borrow::Cow;
use std::ops::Range;

use crate::http1::edit::{field_name, lines};
use crate::http1::render::RenderedHead;
use json::Pointers;

/// What stands in the place of a value.
pub const REDACTED: &str = "[redacted]";

/// The same where brackets may not stand (RFC 3986 §3.4).
const REDACTED_QUERY: &str = "%5Bredacted%5D";

/// What a mirror's copies must not carry.
#[derive(Debug)]
pub struct Secrets {
    headers: Vec<String>,
    cookies: Vec<String>,
    query: Vec<String>,
    /// `None` where no body is searched.
    pub json: Option<Pointers>,
}

impl Secrets {
    /// `None` where nothing is secret.
    pub fn new(given: &config::Redact) -> Option<Self> {
        (!given.is_empty()).then(|| Self {
            headers: given.headers.clone(),
            cookies: given.cookies.clone(),
            query: given.query.clone(),
            json: (!given.json.is_empty()).then(|| Pointers::new(&given.json)),
        })
    }

    /// Writes the rendered request head `head` (its common part) to `out` without its secrets.
    pub fn head(&self, out: &mut Vec<u8>, head: &[u8], at: &RenderedHead) -> RenderedHead {
        self.request_line(out, head.get(..at.host_line.start).unwrap_or_default());
        let line = out.len();
        let moved = |range: &Range<usize>| {
            let start = line + range.start - at.host_line.start;
            start..start + range.len()
        };
        out.extend_from_slice(head.get(at.host_line.clone()).unwrap_or_default());
        self.lines(out, head.get(at.host_line.end..at.common_end).unwrap_or_default());
        RenderedHead { host_line: moved(&at.host_line), host: moved(&at.host), common_end: out.len() }
    }

    /// Writes the field or trailer lines `fields` to `out` without their secrets.
    pub fn lines(&self, out: &mut Vec<u8>, fields: &[u8]) {
        for line in lines(fields) {
            self.line(out, line);
        }
    }

    fn line(&self, out: &mut Vec<u8>, line: &[u8]) {
        let name = field_name(line);
        let value = line.get(name.len()..).unwrap_or_default();
        out.extend_from_slice(name);
        if is_one_of(&self.headers, name) {
            out.extend_from_slice(b": ");
            out.extend_from_slice(REDACTED.as_bytes());
            out.extend_from_slice(b"\r\n");
        } else if !self.cookies.is_empty() && is_any(name, &["cookie", "set-cookie"]) {
            let (value, end) = without_line_end(value);
            // Behind the colon, which is no name's sign.
            let (colon, value) = value.split_at(value.len().min(1));
            out.extend_from_slice(colon);
            pairs(out, value, b";", b",", REDACTED, |name| is_one_of(&self.cookies, name.trim_ascii()));
            out.extend_from_slice(end);
        } else if !self.query.is_empty() && is_any(name, &["referer", "location", "content-location"]) {
            let (value, end) = without_line_end(value);
            self.target(out, value);
            out.extend_from_slice(end);
        } else {
            out.extend_from_slice(value);
        }
    }

    /// `METHOD target HTTP/1.1` and its end.
    fn request_line(&self, out: &mut Vec<u8>, line: &[u8]) {
        let (target, version) = line.split_at(memchr::memrchr(b' ', line).unwrap_or(line.len()));
        self.target(out, target);
        out.extend_from_slice(version);
    }

    /// Writes anything with a query at its end to `out` without its secrets.
    pub fn target(&self, out: &mut Vec<u8>, target: &[u8]) {
        let query = memchr::memchr(b'?', target).map_or(target.len(), |at| at + 1);
        let (before, query) = target.split_at(query);
        out.extend_from_slice(before);
        pairs(out, query, b"&", b";", REDACTED_QUERY, |name| is_one_of(&self.query, &decoded(name)));
    }
}

/// Whether content is coded so that its text cannot be searched: the lines `head` say so.
pub fn is_coded(head: &[u8]) -> bool {
    lines(head).any(|line| {
        let name = field_name(line);
        let value = line.get(name.len() + 1..).unwrap_or_default().trim_ascii();
        name.eq_ignore_ascii_case(b"content-encoding") && !value.eq_ignore_ascii_case(b"identity")
    })
}

fn is_any(name: &[u8], of: &[&str]) -> bool {
    of.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

fn is_one_of(names: &[String], name: &[u8]) -> bool {
    names.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name))
}

/// A line's value and its CRLF.
fn without_line_end(value: &[u8]) -> (&[u8], &[u8]) {
    value.split_at(value.strip_suffix(b"\r\n").map_or(value.len(), <[u8]>::len))
}

/// Writes `name=value` pairs to `out`, `with` instead of the values of names that are `secret`. Pairs end at `end`; some
/// read `also` as an end too, so that a name may stand behind it, but a secret value goes on to the next `end`.
fn pairs(
    out: &mut Vec<u8>,
    text: &[u8],
    end: &[u8; 1],
    also: &[u8; 1],
    with: &str,
    secret: impl Fn(&[u8]) -> bool,
) {
    let mut rest = text;
    while !rest.is_empty() {
        let pair_len = memchr::memchr(end[0], rest).unwrap_or(rest.len());
        let pair = &rest[..pair_len];
        let value_at = secret_value(pair, also[0], &secret);
        let kept = value_at.unwrap_or(pair_len);
        out.extend_from_slice(&rest[..kept]);
        rest = &rest[kept..];
        if value_at.is_some() {
            out.extend_from_slice(with.as_bytes());
            // A quoted value may hold the sign that ends others.
            let quoted = quoted_len(rest);
            let ends = memchr::memchr(end[0], &rest[quoted..]).map_or(rest.len(), |at| quoted + at);
            rest = &rest[ends..];
        }
        if let Some((first, behind)) = rest.split_first() {
            out.push(*first);
            rest = behind;
        }
    }
}

/// Where the value of the first secret name of a pair begins.
fn secret_value(pair: &[u8], also: u8, secret: &impl Fn(&[u8]) -> bool) -> Option<usize> {
    let mut start = 0;
    for part in pair.split(|b| *b == also) {
        if let Some(equals) = memchr::memchr(b'=', part)
            && secret(&part[..equals])
        {
            return Some(start + equals + 1);
        }
        start += part.len() + 1;
    }
    None
}

/// Length of the quoted text that `value` starts with; 0 where there is none or it does not end.
fn quoted_len(value: &[u8]) -> usize {
    let blank = value.iter().take_while(|b| **b == b' ').count();
    match value[blank..].strip_prefix(b"\"") {
        Some(text) => memchr::memchr(b'"', text).map_or(0, |end| blank + 1 + end + 1),
        None => 0,
    }
}

/// A parameter's name as the application reads it.
fn decoded(name: &[u8]) -> Cow<'_, [u8]> {
    if !name.iter().any(|b| matches!(b, b'%' | b'+')) {
        return name.into();
    }
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) => {
                out.push(byte);
                rest = &behind[2..];
            }
            None => {
                out.push(if *first == b'+' { b' ' } else { *first });
                rest = behind;
            }
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let given = config::Redact {
            headers: names(&["authorization", "x-key"]),
            cookies: names(&["sid", "Token"]),
            query: names(&["token", "api key"]),
            json: Vec::new(),
        };
        Secrets::new(&given).unwrap()
    }

    #[test]
    fn secrets_leave_a_head_and_everything_else_stays_byte_for_byte() {
        let head = b"GET /p?a=1&token=SECRET HTTP/1.1\r\nHost: a:81\r\nAUTHORIZATION: Bearer SECRET\r\nx-key:SECRET\r\n\
            X-Keys: kept\r\nCookie: a=b; sid=SECRET\r\ncookie:token=SECRET;c=d\r\nReferer: http://h/?token=SECRET#f\r\n";
        let at = RenderedHead { host_line: 34..46, host: 40..44, common_end: head.len() };
        assert_eq!(&head[at.host_line.clone()], b"Host: a:81\r\n");
        let mut out = Vec::new();
        let moved = secrets().head(&mut out, head, &at);
        let text = String::from_utf8(out.clone()).unwrap();
        assert_eq!(
            text,
            "GET /p?a=1&token=%5Bredacted%5D HTTP/1.1\r\nHost: a:81\r\nAUTHORIZATION: [redacted]\r\n\
             x-key: [redacted]\r\nX-Keys: kept\r\nCookie: a=b; sid=[redacted]\r\ncookie:token=[redacted];c=d\r\n\
             Referer: http://h/?token=%5Bredacted%5D\r\n"
        );
        assert_eq!((&out[moved.host_line], &out[moved.host]), (&b"Host: a:81\r\n"[..], &b"a:81"[..]));
        assert_eq!(moved.common_end, out.len());
    }

    #[test]
    fn parameters_are_found_however_their_names_are_written() {
        let rows = [
            ("/p?token=S", "/p?token=R"),
            ("/p?TOKEN=S&b=1", "/p?TOKEN=R&b=1"),
            ("/p?%74oken=S", "/p?%74oken=R"),
            ("/p?api+key=S&api%20key=S", "/p?api+key=R&api%20key=R"),
            ("/p?token=S=S?S", "/p?token=R"),
            ("/p?a=1;token=S", "/p?a=1;token=R"),
            ("/p?token=S;S&b", "/p?token=R&b"),
            ("/p?token", "/p?token"),
            ("/p?token=", "/p?token=R"),
            ("/p?&&x=%&=1&%zz=2", "/p?&&x=%&=1&%zz=2"),
            ("/token=S", "/token=S"),
            ("/p?tokens=kept&to=ken", "/p?tokens=kept&to=ken"),
            ("*", "*"),
        ];
        for (target, expect) in rows {
            let mut out = Vec::new();
            secrets().request_line(&mut out, format!("GET {target} HTTP/1.1\r\n").as_bytes());
            let expect = format!("GET {} HTTP/1.1\r\n", expect.replace('R', REDACTED_QUERY));
            assert_eq!(String::from_utf8(out).unwrap(), expect);
        }
    }

    #[test]
    fn cookies_are_found_however_they_are_separated_and_quoted() {
        let rows = [
            ("sid=S", "sid=R"),
            (" SID=S;b=c", " SID=R;b=c"),
            (" a=b;sid = S ; c=d", " a=b;sid =R; c=d"),
            // Where a comma separates for some, a name behind it counts, and a value does not end at it.
            (" a=b, sid=S, S; c=d", " a=b, sid=R; c=d"),
            (" sid=\"S;S\"; c=d", " sid=R; c=d"),
            (" sid=\"S; c=d", " sid=R; c=d"),
            (" a=\"x; sid=S\"", " a=\"x; sid=R"),
            (" sid=a:S", " sid=R"),
            (" sid; side=1", " sid; side=1"),
            (";;", ";;"),
        ];
        for (value, expect) in rows {
            let mut out = Vec::new();
            secrets().line(&mut out, format!("Cookie:{value}\r\n").as_bytes());
            let expect = format!("Cookie:{}\r\n", expect.replace('R', REDACTED));
            assert_eq!(String::from_utf8(out).unwrap(), expect);
        }
    }

    #[test]
    fn a_coded_body_is_known_by_its_head() {
        assert!(is_coded(b"POST / HTTP/1.1\r\ncontent-encoding: gzip\r\n"));
        assert!(is_coded(b"A: b\r\nContent-Encoding: identity\r\nContent-Encoding: br\r\n"));
        assert!(!is_coded(b"A: b\r\nContent-Encoding: Identity\r\n"));
    }
}
