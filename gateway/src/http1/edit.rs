//! Heads changed after they were rendered: another path, another Host, fields removed, set and added. Pure.
//!
//! Routes that edit nothing never come here; those that do pay one more pass over a head of a few hundred bytes, and the
//! renderer stays simple. The copy for a mirror is edited by the same functions as the request for the primary.

use std::borrow::Cow;

use config::{HeaderEdits, PathRewrite};
use regex::bytes::Regex;

use super::render::RenderedHead;
use crate::matcher::Matched;

/// A path rewrite, ready to be used.
#[derive(Debug)]
pub enum PathEdit {
    /// Replaces the part that the match took.
    Matched(String),
    Whole(String),
    /// Stands for each match of the pattern; the text refers to groups in the regex crate's way.
    Regex(Regex, Vec<u8>),
}

impl PathEdit {
    pub fn new(rewrite: &PathRewrite) -> Self {
        match rewrite {
            PathRewrite::Matched(with) => Self::Matched(with.clone()),
            PathRewrite::Whole(with) => Self::Whole(with.clone()),
            PathRewrite::Regex { pattern, with } => Self::Regex(pattern.regex(), expansion(with)),
        }
    }

    /// The new path for `path`, of which the route's match took `matched`. It always starts with a slash.
    pub fn path<'a>(&'a self, path: &'a [u8], matched: Matched) -> Cow<'a, [u8]> {
        let whole = |text: &'a str| Cow::Borrowed(text.as_bytes());
        let new: Cow<'a, [u8]> = match (self, matched) {
            (Self::Whole(with), _) | (Self::Matched(with), Matched::Whole) => whole(with),
            (Self::Matched(with), Matched::Prefix(n)) => {
                [with.as_bytes(), path.get(n..).unwrap_or_default()].concat().into()
            }
            (Self::Matched(with), Matched::Elements(n)) => {
                // The rest starts with a slash or is empty (Gateway API, ReplacePrefixMatch).
                let rest = path.get(n..).unwrap_or_default();
                let start = if rest.is_empty() { with.as_str() } else { with.trim_end_matches('/') };
                [start.as_bytes(), rest].concat().into()
            }
            (Self::Regex(regex, with), _) => regex.replace_all(path, with.as_slice()),
        };
        if new.first() == Some(&b'/') { new } else { [b"/", &*new].concat().into() }
    }
}

/// `\1` and `\0` in RE2's way become `${1}` and `${0}`; `\\` is a backslash, and `$` is itself.
fn expansion(with: &str) -> Vec<u8> {
    let mut out = String::with_capacity(with.len());
    let mut chars = with.chars();
    while let Some(c) = chars.next() {
        match c {
            '$' => out.push_str("$$"),
            '\\' => match chars.next() {
                Some(digit) if digit.is_ascii_digit() => out.push_str(&format!("${{{digit}}}")),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    out.into_bytes()
}

/// The changes in one request head.
#[derive(Debug, Default)]
pub struct RequestEdit<'a> {
    /// Path without query; the query stays.
    pub path: Option<Cow<'a, [u8]>>,
    pub host: Option<&'a [u8]>,
    /// Applied one after the other.
    pub headers: [Option<Cow<'a, HeaderEdits>>; 2],
}

impl RequestEdit<'_> {
    pub fn is_empty(&self) -> bool {
        self.path.is_none() && self.host.is_none() && self.headers.iter().all(Option::is_none)
    }
}

/// Writes the rendered request head `head` (its common part, without framing and end) to `out` with `edit` made.
pub fn request(out: &mut Vec<u8>, head: &[u8], at: &RenderedHead, edit: &RequestEdit<'_>) -> RenderedHead {
    let line = head.get(..at.host_line.start).unwrap_or_default();
    match &edit.path {
        Some(path) => request_line(out, line, path),
        None => out.extend_from_slice(line),
    }
    let host_line = out.len();
    out.extend_from_slice(b"Host: ");
    let host_start = out.len();
    out.extend_from_slice(edit.host.unwrap_or_else(|| head.get(at.host.clone()).unwrap_or_default()));
    let host = host_start..out.len();
    out.extend_from_slice(b"\r\n");
    let host_line = host_line..out.len();
    let fields = head.get(at.host_line.end..at.common_end).unwrap_or_default();
    let [first, second] = &edit.headers;
    headers(out, fields, [first.as_deref(), second.as_deref(), None]);
    RenderedHead { host_line, host, common_end: out.len() }
}

/// The request line with another path in it.
fn request_line(out: &mut Vec<u8>, line: &[u8], path: &[u8]) {
    let method = memchr::memchr(b' ', line).map_or(line.len(), |at| at + 1);
    let (method, rest) = line.split_at(method);
    let version = memchr::memrchr(b' ', rest).unwrap_or(rest.len());
    let (target, version) = rest.split_at(version);
    let query = memchr::memchr(b'?', target).map_or(&[][..], |at| &target[at..]);
    for part in [method, path, query, version] {
        out.extend_from_slice(part);
    }
}

/// Edits of a response, one after the other: a primary's, its route's, and those of CORS.
pub type Edits<'a> = [Option<&'a HeaderEdits>; 3];

/// Writes the lines `fields` of a head to `out` with the edits made, one after the other.
pub fn headers(out: &mut Vec<u8>, fields: &[u8], edits: Edits<'_>) {
    let mut edits = edits.into_iter().flatten().peekable();
    let mut between = Cow::Borrowed(fields);
    while let Some(next) = edits.next() {
        if edits.peek().is_none() {
            return edit_lines(out, &between, next);
        }
        let mut edited = Vec::with_capacity(between.len() + 256);
        edit_lines(&mut edited, &between, next);
        between = edited.into();
    }
    out.extend_from_slice(fields);
}

fn edit_lines(out: &mut Vec<u8>, fields: &[u8], edits: &HeaderEdits) {
    for field in lines(fields) {
        let name = field_name(field);
        let goes = |known: &String| known.as_bytes().eq_ignore_ascii_case(name);
        if !edits.remove.iter().any(goes) && !edits.set.iter().any(|(known, _)| goes(known)) {
            out.extend_from_slice(field);
        }
    }
    for (name, value) in edits.set.iter().chain(&edits.add) {
        for part in [name.as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
}

/// Writes a rendered response head (status line to empty line) to `out` with the edits made.
pub fn response(out: &mut Vec<u8>, head: &[u8], edits: Edits<'_>) {
    let line = lines(head).next().map_or(0, <[u8]>::len);
    let end = head.len().saturating_sub(2).max(line);
    out.extend_from_slice(&head[..line]);
    headers(out, &head[line..end], edits);
    out.extend_from_slice(&head[end..]);
}

/// The lines of `fields`, each with its end.
pub fn lines(fields: &[u8]) -> impl Iterator<Item = &[u8]> {
    fields.split_inclusive(|b| *b == b'\n')
}

/// Name of the field that `line` holds.
pub fn field_name(line: &[u8]) -> &[u8] {
    line.get(..memchr::memchr(b':', line).unwrap_or(line.len())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "GET /api/v1?q=/api HTTP/1.1\r\nHost: a:81\r\nX-A: 1\r\nx-b: 2\r\nX-a: 3\r\n";

    fn at() -> RenderedHead {
        RenderedHead { host_line: 29..41, host: 35..39, common_end: HEAD.len() }
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    fn edits(remove: &[&str], set: &[(&str, &str)], add: &[(&str, &str)]) -> HeaderEdits {
        HeaderEdits {
            remove: remove.iter().map(|n| (*n).to_owned()).collect(),
            set: pairs(set),
            add: pairs(add),
            ..HeaderEdits::default()
        }
    }

    fn edited(edit: &RequestEdit<'_>) -> String {
        let mut out = b"before".to_vec();
        let at = request(&mut out, HEAD.as_bytes(), &at(), edit);
        assert_eq!(at.common_end, out.len());
        assert!(out[at.host_line.clone()].starts_with(b"Host: "), "{at:?}");
        assert_eq!(&out[at.host.clone()], edit.host.unwrap_or(b"a:81"));
        String::from_utf8(out.split_off(6)).unwrap()
    }

    #[test]
    fn an_edit_of_nothing_changes_nothing() {
        assert_eq!(edited(&RequestEdit::default()), HEAD);
        assert!(RequestEdit::default().is_empty());
        let given = edits(&[], &[], &[]);
        for edit in [
            RequestEdit { path: Some(b"/".as_slice().into()), ..RequestEdit::default() },
            RequestEdit { host: Some(b"a"), ..RequestEdit::default() },
            RequestEdit { headers: [None, Some(Cow::Borrowed(&given))], ..RequestEdit::default() },
        ] {
            assert!(!edit.is_empty(), "{edit:?}");
        }
    }

    #[test]
    fn path_and_host_are_replaced_and_the_query_stays() {
        let edit = RequestEdit {
            path: Some(b"/x".as_slice().into()),
            host: Some(b"v2.example"),
            headers: [None, None],
        };
        let expect = HEAD.replace("/api/v1?", "/x?").replace("Host: a:81", "Host: v2.example");
        assert_eq!(edited(&edit), expect);
    }

    #[test]
    fn fields_are_removed_set_and_added_in_any_case_and_one_edit_after_the_other() {
        let (first, second) =
            (edits(&["x-b"], &[("x-a", "9")], &[("x-c", "4")]), edits(&["x-c"], &[], &[("x-a", "5")]));
        let head = |fields: &str| format!("GET /api/v1?q=/api HTTP/1.1\r\nHost: a:81\r\n{fields}");
        let one = RequestEdit { headers: [None, Some(Cow::Borrowed(&first))], ..RequestEdit::default() };
        assert_eq!(edited(&one), head("x-a: 9\r\nx-c: 4\r\n"));
        let both = RequestEdit {
            headers: [Some(Cow::Borrowed(&first)), Some(Cow::Borrowed(&second))],
            ..RequestEdit::default()
        };
        assert_eq!(edited(&both), head("x-a: 9\r\nx-a: 5\r\n"));
    }

    #[test]
    fn a_response_keeps_its_status_line_and_its_end() {
        let mut out = Vec::new();
        let edits = edits(&["server"], &[], &[("x-by", "umbra")]);
        response(&mut out, b"HTTP/1.1 200 OK\r\nServer: x\r\nA: b\r\n\r\n", [Some(&edits), None, None]);
        assert_eq!(out, b"HTTP/1.1 200 OK\r\nA: b\r\nx-by: umbra\r\n\r\n");
    }

    #[test]
    fn a_path_is_rewritten_as_istio_and_the_gateway_api_say() {
        let elements = Matched::Elements(4);
        let rows = [
            // From the table at the Gateway API's ReplacePrefixMatch, for the prefix /foo.
            ("/xyz", "/foo/bar", elements, "/xyz/bar"),
            ("/xyz/", "/foo/bar", elements, "/xyz/bar"),
            ("/xyz", "/foo", elements, "/xyz"),
            ("/xyz", "/foo/", elements, "/xyz/"),
            ("", "/foo/bar", elements, "/bar"),
            ("", "/foo/", elements, "/"),
            ("", "/foo", elements, "/"),
            ("/", "/foo/", elements, "/"),
            ("/", "/foo", elements, "/"),
            // Istio's prefix is plain text.
            ("/", "/foo/bar", Matched::Prefix(5), "/bar"),
            ("/", "/foo/bar", Matched::Prefix(4), "//bar"),
            ("/v2", "/foobar", Matched::Prefix(4), "/v2bar"),
            ("/all", "/foo/bar", Matched::Whole, "/all"),
        ];
        for (with, path, matched, expect) in rows {
            let edit = PathEdit::new(&PathRewrite::Matched(with.into()));
            let got = String::from_utf8(edit.path(path.as_bytes(), matched).into_owned()).unwrap();
            assert_eq!(got, expect, "{path} with {with:?} for {matched:?}");
        }
        let whole = PathEdit::new(&PathRewrite::Whole("/w".into()));
        assert_eq!(&*whole.path(b"/foo", elements), b"/w");
    }

    #[test]
    fn patterns_rewrite_with_their_groups_and_a_dollar_is_a_dollar() {
        let rows = [
            ("^/service/([^/]+)(/.*)$", r"\2/instance/\1", "/service/foo/v1/api", "/v1/api/instance/foo"),
            ("one", "two", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz"),
            ("/a", "/$1", "/a/b", "/$1/b"),
            ("/(a)", r"/\\\0\1x\", "/a", r"/\/aax\"),
            ("(?i)/aaa/", "/bbb/", "/x/AaA/y", "/x/bbb/y"),
            ("^/a", "", "/a", "/"),
        ];
        for (pattern, with, path, expect) in rows {
            let pattern = config::Pattern::anywhere(pattern).unwrap();
            let edit = PathEdit::new(&PathRewrite::Regex { pattern, with: with.into() });
            let got = String::from_utf8(edit.path(path.as_bytes(), Matched::Whole).into_owned()).unwrap();
            assert_eq!(got, expect, "{path}");
        }
    }
}
