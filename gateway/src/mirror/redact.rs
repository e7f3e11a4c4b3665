//! Secrets that must not leave with a copy, nor be told of an exchange: values of fields, of cookies, of parameters and inside
//! JSON. Pure. The one place that knows where in a message a secret stands: wires and outlets ask it, and decide nothing
//! themselves.
//!
//! Names are compared without regard to ASCII case; where a value's end could be read in two ways, the longer reading is taken
//! away. Covered: every line and trailer line of the named fields; every Cookie and Set-Cookie line; parameters by their shape
//! in the target, in any field's value and in forms (`parameters`); members of JSON (`json`). Not covered: path segments, a
//! secret under another name, and parameters within content that is no form.

mod parameters;
pub mod json;

use std::borrow::Cow;
use std::ops::Range;

use crate::http1::edit::{field_name, lines};
use crate::http1::render::RenderedHead;
use crate::limits::REDACT_TURN_BYTES;
use json::{NotJson, Pointers};
use parameters::{Place, decoded, without};

/// Stands in the place of a value.
pub const REDACTED: &str = "[redacted]";

/// The secrets that a mirror's copies must not carry.
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
        if self.hides_field(name) {
            out.extend_from_slice(b": ");
            out.extend_from_slice(REDACTED.as_bytes());
            out.extend_from_slice(b"\r\n");
            return;
        }
        let (value, end) = without_line_end(value);
        // Behind the colon, which is no name's sign.
        let (colon, value) = value.split_at(value.len().min(1));
        out.extend_from_slice(colon);
        let mut value = Cow::Borrowed(value);
        if !self.cookies.is_empty() && is_any(name, &["cookie", "set-cookie", "cookie2", "set-cookie2"]) {
            let mut without = Vec::with_capacity(value.len());
            cookies(&mut without, &value, |name| is_cookie(&self.cookies, name));
            value = Cow::Owned(without);
        }
        let place = if is_uri(value.trim_ascii_start()) { Place::Uri } else { Place::Field };
        without(out, &value, &self.query, place);
        out.extend_from_slice(end);
    }

    /// Whether no value of a field by this name may be told.
    pub fn hides_field(&self, name: &[u8]) -> bool {
        self.headers.iter().any(|known| is_same_field(known.as_bytes(), name))
    }

    /// `METHOD target HTTP/1.1` and its end.
    fn request_line(&self, out: &mut Vec<u8>, line: &[u8]) {
        let (target, version) = line.split_at(memchr::memrchr(b' ', line).unwrap_or(line.len()));
        self.target(out, target);
        out.extend_from_slice(version);
    }

    /// Writes a URI to `out` without its secrets.
    pub fn target(&self, out: &mut Vec<u8>, target: &[u8]) {
        without(out, target, &self.query, Place::Uri);
    }

    /// A URI that is shown, without its secrets.
    pub fn uri<'t>(&self, uri: &'t str) -> Cow<'t, str> {
        if self.query.is_empty() {
            return Cow::Borrowed(uri);
        }
        let mut out = Vec::with_capacity(uri.len());
        self.target(&mut out, uri.as_bytes());
        Cow::Owned(String::from_utf8_lossy(&out).into_owned())
    }

    /// `text`, which is shown and never sent, without its secrets: wherever in it a parameter may stand.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.query.is_empty() || !text.contains(['=', '%', '\\']) {
            return Cow::Borrowed(text);
        }
        let mut out = Vec::with_capacity(text.len());
        without(&mut out, text.as_bytes(), &self.query, Place::Text);
        Cow::Owned(String::from_utf8_lossy(&out).into_owned())
    }

    /// Whether content behind the head `head` has to be searched before it is sent.
    pub fn searches(&self, head: &[u8]) -> bool {
        self.json.is_some() || (!self.query.is_empty() && Form::of(head).is_some())
    }
}

/// A form, by its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Encoded,
    /// Files and fields between boundaries, which readers find in many ways.
    Multipart,
}

impl Form {
    /// Of several content types, whichever an application may take.
    fn of(head: &[u8]) -> Option<Self> {
        let kinds = lines(head).filter(|line| is_same_field(b"content-type", field_name(line))).map(|line| {
            let value = line.get(field_name(line).len() + 1..).unwrap_or_default();
            value.split(|byte| matches!(byte, b';' | b',')).next().unwrap_or_default().trim_ascii()
        });
        let form = |kind: &[u8]| {
            let is = |start: &[u8]| kind.get(..start.len()).is_some_and(|of| of.eq_ignore_ascii_case(start));
            match () {
                () if is(b"application/x-www-form-urlencoded") => Some(Self::Encoded),
                () if is(b"multipart/form-data") => Some(Self::Multipart),
                () => None,
            }
        };
        kinds.filter_map(form).max_by_key(|form| *form == Self::Multipart)
    }
}

/// Content that cannot be searched, and is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsearchable;

/// A search through the content of a request, a bounded part at a time.
#[derive(Debug)]
pub enum Search<'s> {
    Json(json::Search<'s>),
    Form { names: &'s [String], search: parameters::Search, content: Vec<u8> },
}

impl<'s> Search<'s> {
    /// Of content behind the head `head`.
    pub fn begin(secrets: &'s Secrets, head: &[u8], bytes: usize) -> Result<Self, Unsearchable> {
        if is_coded(head) {
            return Err(Unsearchable);
        }
        match (&secrets.json, Form::of(head)) {
            (Some(pointers), None | Some(_)) => Ok(Self::Json(json::Search::new(pointers))),
            (None, Some(Form::Encoded)) => Ok(Self::Form {
                names: &secrets.query,
                search: parameters::Search::new(Place::Form),
                content: Vec::with_capacity(bytes),
            }),
            (None, Some(Form::Multipart) | None) => Err(Unsearchable),
        }
    }

    /// Reads the next piece, and appends the searched part to `out`.
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Unsearchable> {
        match self {
            Self::Json(search) => search.feed(piece, out).map_err(|NotJson| Unsearchable),
            // The next `=` and the end of a value are looked for ahead: content is searched as far as it is there.
            Self::Form { content, .. } => {
                content.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    /// Goes on once all pieces are read; says whether that was all.
    pub fn turn(&mut self, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Json(_) => true,
            Self::Form { names, search, content } => search.turn(content, REDACT_TURN_BYTES, names, out),
        }
    }

    /// Whether nothing is left to do once all pieces are read.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Json(_) => true,
            Self::Form { search, content, .. } => search.is_over(content),
        }
    }

    /// The content is over.
    pub fn end(self) -> Result<(), Unsearchable> {
        match self {
            Self::Json(search) => search.end().map_err(|NotJson| Unsearchable),
            Self::Form { .. } => Ok(()),
        }
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

/// Names of fields are one name to servers that put them into an environment, where `-` becomes `_` (RFC 3875 §4.1.18).
fn is_same_field(known: &[u8], name: &[u8]) -> bool {
    let plain = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    known.len() == name.len() && known.iter().map(plain).eq(name.iter().map(plain))
}

/// A cookie's name may be quoted, and some applications decode it.
fn is_cookie(names: &[String], name: &[u8]) -> bool {
    let quotes_or_blank = |byte: &u8| *byte == b'"' || byte.is_ascii_whitespace();
    let from = name.iter().position(|byte| !quotes_or_blank(byte)).unwrap_or(name.len());
    let to = name.iter().rposition(|byte| !quotes_or_blank(byte)).map_or(from, |at| at + 1);
    let name = name.get(from..to).unwrap_or_default();
    let is_one = |name: &[u8]| names.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name));
    is_one(name) || is_one(&decoded(name))
}

/// Whether a field's value is a URI and nothing else, by how it begins.
fn is_uri(value: &[u8]) -> bool {
    let has = |start: &[u8]| value.get(..start.len()).is_some_and(|of| of.eq_ignore_ascii_case(start));
    [b"/".as_slice(), b"http://", b"https://", b"?", b"#", b"."].into_iter().any(has)
}

/// A line's value and its CRLF.
fn without_line_end(value: &[u8]) -> (&[u8], &[u8]) {
    value.split_at(value.strip_suffix(b"\r\n").map_or(value.len(), <[u8]>::len))
}

/// Writes the pairs of a Cookie or Set-Cookie line to `out` without the values of names that are `secret`. Pairs end at `;`;
/// some read `,` as an end too, so that a name may stand behind it, but a secret value goes on to the next `;`.
fn cookies(out: &mut Vec<u8>, text: &[u8], secret: impl Fn(&[u8]) -> bool) {
    let mut rest = text;
    while !rest.is_empty() {
        let pair_len = memchr::memchr(b';', rest).unwrap_or(rest.len());
        let pair = &rest[..pair_len];
        let value_at = secret_value(pair, &secret);
        let kept = value_at.unwrap_or(pair_len);
        out.extend_from_slice(&rest[..kept]);
        rest = &rest[kept..];
        if value_at.is_some() {
            out.extend_from_slice(REDACTED.as_bytes());
            // A quoted value may hold the sign that ends others.
            let quoted = quoted_len(rest);
            let ends = memchr::memchr(b';', &rest[quoted..]).map_or(rest.len(), |at| quoted + at);
            rest = &rest[ends..];
        }
        if let Some((first, behind)) = rest.split_first() {
            out.push(*first);
            rest = behind;
        }
    }
}

/// Where the value of the first secret name of a pair begins.
fn secret_value(pair: &[u8], secret: &impl Fn(&[u8]) -> bool) -> Option<usize> {
    let mut start = 0;
    for part in pair.split(|b| *b == b',') {
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
            (" \"sid\"=S; c=d", " \"sid\"=R; c=d"),
            (" s%69d=S; c=d", " s%69d=R; c=d"),
            (" sid; side=1", " sid; side=1"),
            (";;", ";;"),
        ];
        for (value, expect) in rows {
            for name in ["Cookie", "Set-Cookie", "COOKIE2"] {
                let mut out = Vec::new();
                secrets().line(&mut out, format!("{name}:{value}\r\n").as_bytes());
                let expect = format!("{name}:{}\r\n", expect.replace('R', REDACTED));
                assert_eq!(String::from_utf8(out).unwrap(), expect);
            }
        }
    }

    #[test]
    fn a_parameter_is_the_parameter_in_whichever_field_it_stands() {
        for line in [
            "Location: https://app/cb#token=SECRET",
            "Link: <https://a/?a=1&token=SECRET>; rel=\"next\"",
            "Refresh: 5; url=/x?token=SECRET",
            "X-Accel-Redirect: /in/x;token=SECRET",
            "X-Original-URL: /x?%74oken=SECRET",
            "Set-Cookie: last=/x?token=SECRET",
            "x_key: SECRET",
        ] {
            let mut out = Vec::new();
            secrets().lines(&mut out, format!("{line}\r\n").as_bytes());
            let text = String::from_utf8(out).unwrap();
            assert!(text.contains("redacted") && !text.contains("SECRET"), "{text}");
        }
        let mut out = Vec::new();
        secrets().lines(&mut out, b"Accept: text/html;token=0.9\r\n");
        assert_eq!(out, b"Accept: text/html;token=0.9\r\n", "a field's own parameter");
    }

    #[test]
    fn a_form_is_searched_and_what_only_looks_like_one_is_not_sent() {
        let searched = |head: &str, content: &str| {
            let secrets = secrets();
            assert!(secrets.searches(head.as_bytes()), "{head}");
            let mut search = Search::begin(&secrets, head.as_bytes(), 0).ok()?;
            let mut out = Vec::new();
            search.feed(content.as_bytes(), &mut out).ok()?;
            while !search.turn(&mut out) {}
            search.end().ok()?;
            Some(String::from_utf8(out).unwrap())
        };
        let form = "Content-Type: Application/x-www-form-urlencoded; charset=utf-8\r\n";
        let expect = Some("a=1&token=%5Bredacted%5D&b=2".to_owned());
        assert_eq!(searched(form, "a=1&token=S&b=2"), expect);
        assert_eq!(searched(&format!("Content-Type: text/plain\r\n{form}"), "a=1&token=S&b=2"), expect);
        assert_eq!(searched(&format!("Content-Encoding: gzip\r\n{form}"), "a=1"), None);
        assert_eq!(searched("Content-Type: multipart/form-data; boundary=x\r\n", "a=1"), None);
        assert!(!secrets().searches(b"Content-Type: text/plain\r\n"));
        let long = format!("a={}&token=S", "x".repeat(3 * REDACT_TURN_BYTES));
        assert!(searched(form, &long).is_some_and(|text| text.ends_with("&token=%5Bredacted%5D")));
    }

    #[test]
    fn a_coded_body_is_known_by_its_head() {
        assert!(is_coded(b"POST / HTTP/1.1\r\ncontent-encoding: gzip\r\n"));
        assert!(is_coded(b"A: b\r\nContent-Encoding: identity\r\nContent-Encoding: br\r\n"));
        assert!(!is_coded(b"A: b\r\nContent-Encoding: Identity\r\n"));
    }
}
