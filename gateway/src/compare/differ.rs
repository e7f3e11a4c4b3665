//! Two answers to one request, side by side: where they differ, and how. Pure.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::Value;
use xxhash_rust::xxh64::xxh64;

use super::coding::{End, Plain, plain};
use super::json::{self, Member, Node, Unread};
use super::rules::{Path, Rules};
use crate::http1::edit::{field_name, lines};
use crate::mirror::redact::REDACTED;
use crate::observe::record::Answer;

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `status`, the lower-case name of a field, a JSON path (`$.user.plan`, `$.items[*].id`) or `body`.
    pub field: String,
    pub kind: Kind,
    /// As it may be shown; `None` where that side has none.
    pub primary: Option<String>,
    pub mirror: Option<String>,
}

/// How it differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Status,
    Header,
    /// Another value of the same type.
    Changed,
    /// Only the primary has it.
    Missing,
    /// Only the mirror has it.
    Added,
    /// A value of another type.
    Type,
    /// Another number of items.
    Length,
    /// Content that is not JSON on both sides.
    Body,
}

impl Kind {
    pub fn text(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Header => "header",
            Self::Changed => "changed",
            Self::Missing => "missing",
            Self::Added => "added",
            Self::Type => "type",
            Self::Length => "length",
            Self::Body => "body",
        }
    }
}

/// What a comparison came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    pub(super) differences: Vec<Difference>,
    /// Why the contents were not compared, where they were not.
    pub(super) content_skipped: Option<&'static str>,
}

/// Differences told of one pair; answers that differ in more differ altogether.
const DIFFERENCES_MAX: usize = 64;

/// Characters shown of one value.
const SHOWN_CHARS_MAX: usize = 120;

pub(super) fn compare(rules: &Rules, primary: &Answer, mirror: &Answer) -> Compared {
    let mut found = Found { rules, differences: Vec::new() };
    if primary.status != mirror.status {
        let shown = |answer: &Answer| Some(answer.status.to_string());
        found.add("status".to_owned(), Kind::Status, shown(primary), shown(mirror));
    }
    let (ours, theirs) = (fields(primary), fields(mirror));
    found.fields(&ours, &theirs);
    let content_skipped = found.contents((primary, &ours), (mirror, &theirs));
    Compared { differences: found.differences, content_skipped }
}

/// Lower-case name → values in their order, joined by a comma.
type Fields = BTreeMap<String, String>;

fn fields(answer: &Answer) -> Fields {
    let mut all = Fields::new();
    for line in lines(&answer.fields) {
        let name = field_name(line);
        let value = line.get(name.len() + 1..).unwrap_or_default().trim_ascii();
        let value = String::from_utf8_lossy(value).into_owned();
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        all.entry(name).and_modify(|all| *all = format!("{all}, {value}")).or_insert(value);
    }
    all
}

struct Found<'a> {
    rules: &'a Rules,
    differences: Vec<Difference>,
}

impl Found<'_> {
    /// What is kept of it is bounded here, whoever named it.
    fn add(&mut self, field: String, kind: Kind, primary: Option<String>, mirror: Option<String>) {
        let field = match bounded(&field, FIELD_BYTES_MAX) {
            Cow::Owned(shorter) => shorter,
            Cow::Borrowed(_) => field,
        };
        // The same place of several items is one place.
        let is_known = self.differences.iter().any(|known| known.kind == kind && known.field == field);
        if self.differences.len() < DIFFERENCES_MAX && !is_known {
            self.differences.push(Difference { field, kind, primary, mirror });
        }
    }

    fn fields(&mut self, primary: &Fields, mirror: &Fields) {
        let shown = |name: &str, value: Option<&String>| {
            let value = value?;
            let line = self.rules.shown_fields(format!("{name}: {value}\r\n").as_bytes());
            let line = String::from_utf8_lossy(&line);
            Some(short(line.split_once(": ").map_or("", |(_, value)| value).trim_end()))
        };
        let names = primary.keys().chain(mirror.keys().filter(|name| !primary.contains_key(*name)));
        let mut differing = Vec::new();
        for name in names.filter(|name| self.rules.compares_field(name)) {
            let (a, b) = (primary.get(name), mirror.get(name));
            let plain = |value: Option<&String>| value.map(|v| self.rules.without_ignored(v).into_owned());
            if plain(a) != plain(b) {
                differing.push((name.clone(), shown(name, a), shown(name, b)));
            }
        }
        for (name, a, b) in differing {
            self.add(name, Kind::Header, a, b);
        }
    }

    /// Why the contents were not compared, where they were not.
    fn contents(
        &mut self,
        (primary, ours): (&Answer, &Fields),
        (mirror, theirs): (&Answer, &Fields),
    ) -> Option<&'static str> {
        if primary.content == mirror.content && !primary.is_cut && !mirror.is_cut {
            return None;
        }
        let bytes_max = self.rules.decoded_bytes_max;
        let (Some(primary), Some(mirror)) = (plain(primary, bytes_max), plain(mirror, bytes_max)) else {
            return Some("coded");
        };
        let is_json = |fields: &Fields| {
            let kind = fields.get("content-type").map(|t| t.to_ascii_lowercase()).unwrap_or_default();
            let kind = kind.split(';').next().unwrap_or_default().trim();
            kind == "application/json" || kind.ends_with("+json")
        };
        let are_json = is_json(ours) && is_json(theirs);
        match (primary.end, mirror.end) {
            (End::Whole, End::Whole) => {}
            (End::Broken, End::Broken) => return Some("broken"),
            (End::Broken, End::Whole | End::Cut) | (End::Whole | End::Cut, End::Broken) => {
                let shown = |of: &Plain<'_>| match of.end {
                    End::Broken => "content whose coding is broken".to_owned(),
                    End::Whole | End::Cut => "content".to_owned(),
                };
                self.body(Some(shown(&primary)), Some(shown(&mirror)));
                return None;
            }
            (End::Cut, End::Cut) => return Some("too_long"),
            (End::Cut, End::Whole) | (End::Whole, End::Cut) => {
                let (cut, whole) =
                    if primary.end == End::Cut { (&primary, &mirror) } else { (&mirror, &primary) };
                // JSON may say in fewer bytes what the other says in more.
                let may_be_same = are_json && json::read(&whole.content).is_ok();
                if whole.content.len() >= cut.content.len() || may_be_same {
                    return Some("too_long");
                }
                let shown = |of: &Plain<'_>| match of.end {
                    End::Cut => format!("more than {} bytes", of.content.len()),
                    End::Whole | End::Broken => format!("{} bytes", of.content.len()),
                };
                self.body(Some(shown(&primary)), Some(shown(&mirror)));
                return None;
            }
        }
        if are_json {
            match (json::read(&primary.content), json::read(&mirror.content)) {
                (Ok(a), Ok(b)) => {
                    self.values(&mut Vec::new(), &a, &b);
                    return None;
                }
                (Err(Unread::TooComplex), _) | (_, Err(Unread::TooComplex)) => return Some("too_complex"),
                (Err(Unread::NotJson), _) | (_, Err(Unread::NotJson)) => {}
            }
        }
        self.texts(&primary.content, &mirror.content);
        None
    }

    fn body(&mut self, primary: Option<String>, mirror: Option<String>) {
        self.add("body".to_owned(), Kind::Body, primary, mirror);
    }

    /// Content that is not JSON: told by its first line that differs, or by length and hash where it is no text.
    fn texts(&mut self, primary: &[u8], mirror: &[u8]) {
        let has_secrets = self.rules.secrets.as_ref().is_some_and(|secrets| secrets.json.is_some());
        let shown = |text: String| if has_secrets { REDACTED.to_owned() } else { text };
        let (Ok(a), Ok(b)) = (str::from_utf8(primary), str::from_utf8(mirror)) else {
            if primary != mirror {
                let told = |bytes: &[u8]| format!("{} bytes, hash {:016x}", bytes.len(), xxh64(bytes, 0));
                self.body(Some(shown(told(primary))), Some(shown(told(mirror))));
            }
            return;
        };
        let (a, b) = (self.rules.without_ignored(a), self.rules.without_ignored(b));
        if a == b {
            return;
        }
        let (mut ours, mut theirs) = (a.lines(), b.lines());
        loop {
            match (ours.next(), theirs.next()) {
                (Some(a), Some(b)) if a == b => {}
                (None, None) => return self.body(None, None),
                (a, b) => {
                    let line = |of: Option<&str>| of.map(|line| shown(short(line)));
                    return self.body(line(a), line(b));
                }
            }
        }
    }

    fn values<'n>(&mut self, path: &mut Path<'n>, primary: &'n Node<'_>, mirror: &'n Node<'_>) {
        if self.rules.ignores(path) || self.differences.len() >= DIFFERENCES_MAX {
            return;
        }
        match (primary, mirror) {
            (Node::Object(a), Node::Object(b)) => self.members(path, a, b),
            (Node::Array(a), Node::Array(b)) => self.items(path, a, b),
            (Node::String(a), Node::String(b)) => {
                if self.rules.without_ignored(a) != self.rules.without_ignored(b) {
                    self.one_side(path, Kind::Changed, Some(primary), Some(mirror));
                }
            }
            (Node::Number(a), Node::Number(b)) => {
                if !self.rules.same_number(a, b) {
                    self.one_side(path, Kind::Changed, Some(primary), Some(mirror));
                }
            }
            (Node::Bool(a), Node::Bool(b)) if a == b => {}
            (Node::Null, Node::Null) => {}
            (Node::Bool(_), Node::Bool(_)) => {
                self.one_side(path, Kind::Changed, Some(primary), Some(mirror));
            }
            (
                Node::Object(_)
                | Node::Array(_)
                | Node::String(_)
                | Node::Number(_)
                | Node::Bool(_)
                | Node::Null,
                _,
            ) => self.one_side(path, Kind::Type, Some(primary), Some(mirror)),
        }
    }

    /// Members side by side by their names, which either side may repeat: readers take the first, the last, or refuse.
    fn members<'n>(&mut self, path: &mut Path<'n>, primary: &'n [Member<'_>], mirror: &'n [Member<'_>]) {
        let mut ours = primary.chunk_by(|(a, _), (b, _)| a == b).peekable();
        let mut theirs = mirror.chunk_by(|(a, _), (b, _)| a == b).peekable();
        loop {
            let a = ours.peek().and_then(|of| of.first());
            let b = theirs.peek().and_then(|of| of.first());
            let (name, order) = match (a, b) {
                (Some((a, _)), Some((b, _))) => (a.min(b), a.cmp(b)),
                (Some((a, _)), None) => (a, Ordering::Less),
                (None, Some((b, _))) => (b, Ordering::Greater),
                (None, None) => return,
            };
            let a = ours.next_if(|_| order.is_le()).unwrap_or_default();
            let b = theirs.next_if(|_| order.is_ge()).unwrap_or_default();
            path.push(Some(name));
            match (a, b) {
                ([], [(_, only), ..]) => self.one_side(path, Kind::Added, None, Some(only)),
                ([(_, only), ..], []) => self.one_side(path, Kind::Missing, Some(only), None),
                (a, b) => {
                    if a.len() != b.len() && !self.rules.ignores(path) {
                        let shown = |times: usize| Some(format!("{times} times"));
                        self.add(text_of(path), Kind::Length, shown(a.len()), shown(b.len()));
                    }
                    a.iter().zip(b).for_each(|((_, a), (_, b))| self.values(path, a, b));
                }
            }
            path.pop();
        }
    }

    fn items<'n>(&mut self, path: &mut Path<'n>, primary: &'n [Node<'_>], mirror: &'n [Node<'_>]) {
        if primary.len() != mirror.len() {
            let shown = |items: &[Node<'_>]| Some(format!("{} items", items.len()));
            self.add(text_of(path), Kind::Length, shown(primary), shown(mirror));
        }
        let is_unordered = self.rules.is_unordered(path);
        path.push(None);
        if is_unordered {
            let (ours, theirs) = (self.sorted(path, primary), self.sorted(path, mirror));
            for ((_, a), (_, b)) in ours.into_iter().zip(theirs) {
                self.values(path, a, b);
            }
        } else {
            primary.iter().zip(mirror).for_each(|(a, b)| self.values(path, a, b));
        }
        path.pop();
    }

    /// Items at `path` by what of them is compared.
    fn sorted<'n, 'j>(&self, path: &mut Path<'n>, items: &'n [Node<'j>]) -> Vec<(String, &'n Node<'j>)> {
        let said = |item: &'n Node<'j>| {
            let mut text = String::new();
            self.say(path, item, &mut text);
            (text, item)
        };
        let mut all: Vec<_> = items.iter().map(said).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// Writes what is compared of `node`: what the rules leave out is left out, and equal ones have equal texts.
    fn say<'n>(&self, path: &mut Path<'n>, node: &'n Node<'_>, out: &mut String) {
        if self.rules.ignores(path) {
            return;
        }
        match node {
            Node::Null => out.push_str("null"),
            Node::Bool(is) => out.push_str(if *is { "true" } else { "false" }),
            Node::Number(text) => match text.parse::<f64>() {
                Ok(value) if value.abs() < EXACT_MAX => out.push_str(&value.to_string()),
                Ok(_) | Err(_) => out.push_str(text),
            },
            Node::String(text) => {
                out.push('"');
                out.push_str(&self.rules.without_ignored(text));
                out.push('"');
            }
            Node::Array(items) => {
                let is_unordered = self.rules.is_unordered(path);
                path.push(None);
                out.push('[');
                if is_unordered {
                    self.sorted(path, items).iter().for_each(|(text, _)| out.push_str(text));
                } else {
                    items.iter().for_each(|item| {
                        self.say(path, item, out);
                        out.push(',');
                    });
                }
                out.push(']');
                path.pop();
            }
            Node::Object(members) => {
                out.push('{');
                for (name, value) in members {
                    path.push(Some(name));
                    if !self.rules.ignores(path) {
                        out.push_str(name);
                        out.push(':');
                        self.say(path, value, out);
                    }
                    path.pop();
                }
                out.push('}');
            }
        }
    }

    fn one_side(
        &mut self,
        path: &Path<'_>,
        kind: Kind,
        primary: Option<&Node<'_>>,
        mirror: Option<&Node<'_>>,
    ) {
        if self.rules.ignores(path) {
            return;
        }
        let is_secret = self.rules.is_secret(path);
        let shown = |value: &Node<'_>| match value {
            _ if is_secret => REDACTED.to_owned(),
            // What is secret may stand anywhere in it.
            Node::Object(members) => format!("{{{} members}}", members.len()),
            Node::Array(items) => format!("[{} items]", items.len()),
            Node::String(text) => short(&Value::String(short(text)).to_string()),
            Node::Number(text) => short(text),
            Node::Bool(is) => is.to_string(),
            Node::Null => "null".to_owned(),
        };
        self.add(text_of(path), kind, primary.map(shown), mirror.map(shown));
    }
}

/// Below it every whole number has a float of its own.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Bytes of the name of one member, and of the whole name of a field.
const NAME_BYTES_MAX: usize = 128;
const FIELD_BYTES_MAX: usize = 512;

/// `$.items[*].id`
fn text_of(path: &Path<'_>) -> String {
    let mut text = "$".to_owned();
    for part in path {
        match part {
            None => text.push_str("[*]"),
            Some(name) => {
                let name = bounded(name, NAME_BYTES_MAX);
                if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
                    text.push('.');
                    text.push_str(&name);
                } else {
                    text.push_str(&format!("[{}]", Value::String(name.into_owned())));
                }
            }
        }
    }
    text
}

/// `name` in so many bytes. A longer one ends with the hash of all of it, so that different ones stay different.
fn bounded(name: &str, bytes_max: usize) -> Cow<'_, str> {
    if name.len() <= bytes_max {
        return name.into();
    }
    let tail = format!("…{:016x}", xxh64(name.as_bytes(), 0));
    let end = name.floor_char_boundary(bytes_max.saturating_sub(tail.len()));
    format!("{}{tail}", name.get(..end).unwrap_or_default()).into()
}

fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use config::{Compare, Percent, Redact};

    use super::*;

    fn plain() -> Compare {
        Compare {
            percent: Percent::ALL,
            body_bytes_max: 64 * 1024,
            ignore_headers: Vec::new(),
            ignore_json: Vec::new(),
            ignore_text: Vec::new(),
            unordered: Vec::new(),
            tolerance: 0.0,
        }
    }

    fn answer(status: u16, fields: &str, content: &str) -> Answer {
        let fields = fields.replace('\n', "\r\n");
        Answer { status, fields: fields.as_bytes().into(), content: content.as_bytes().into(), is_cut: false }
    }

    fn json(content: &str) -> Answer {
        answer(200, "Content-Type: application/json\n", content)
    }

    /// Each difference as `kind field primary → mirror`.
    fn told(compare: &Compare, redact: &Redact, primary: &Answer, mirror: &Answer) -> Vec<String> {
        let compared = super::compare(&Rules::new(compare, redact), primary, mirror);
        let side = |of: &Option<String>| of.clone().unwrap_or_else(|| "nothing".to_owned());
        let one = |d: &Difference| {
            format!("{} {} {} → {}", d.kind.text(), d.field, side(&d.primary), side(&d.mirror))
        };
        compared.differences.iter().map(one).chain(compared.content_skipped.map(str::to_owned)).collect()
    }

    #[test]
    fn each_kind_of_difference_is_found_and_named() {
        let rows: &[(Answer, Answer, &[&str])] = &[
            (answer(200, "", ""), answer(500, "", ""), &["status status 200 → 500"]),
            (
                answer(200, "ETag: a\nDate: x\nVary: b\nX: 1\nX: 2\n", ""),
                answer(200, "etag: b\nDate: y\nX: 1\nx: 2\nServer: s\n", ""),
                &["header etag a → b", "header vary b → nothing", "header server nothing → s"],
            ),
            (json(r#"{"a":1,"b":{"c":"x"}}"#), json(r#"{ "b" : { "c" : "x" }, "a" : 1.0 }"#), &[]),
            (
                json(r#"{"user":{"plan":"pro","id":1,"old":null}}"#),
                json(r#"{"user":{"plan":"free","id":"1","new":[1]}}"#),
                &[
                    "type $.user.id 1 → \"1\"",
                    "missing $.user.old null → nothing",
                    "changed $.user.plan \"pro\" → \"free\"",
                    "added $.user.new nothing → [1 items]",
                ],
            ),
            (
                json(r#"{"items":[{"id":1},{"id":2},{"id":3}]}"#),
                json(r#"{"items":[{"id":2},{"id":3}]}"#),
                &["length $.items 3 items → 2 items", "changed $.items[*].id 1 → 2"],
            ),
            (json("[true]"), json("[false]"), &["changed $[*] true → false"]),
            (json(r#"{"a b":1}"#), json(r#"{"a b":2}"#), &["changed $[\"a b\"] 1 → 2"]),
            (json("12345678901234567890123"), json("12345678901234567890123"), &[]),
            (
                json("123456789012345678901"),
                json("123456789012345678999"),
                &["changed $ 123456789012345678901 → 123456789012345678999"],
            ),
            (json("[-0, 1e2, 0.10]"), json("[0, 100, 0.1]"), &[]),
            (json(r#"{"a":1,"a":2}"#), json(r#"{"a":1}"#), &["length $.a 2 times → 1 times"]),
            (json(r#"{"a":1,"a":2}"#), json(r#"{"a":1,"a":3}"#), &["changed $.a 2 → 3"]),
            (json("{"), json("{}"), &["body body { → {}"]),
            (answer(200, "", "a\nb\nc"), answer(200, "", "a\nB\nc"), &["body body b → B"]),
            (answer(200, "", "a"), answer(200, "", "a\nmore"), &["body body nothing → more"]),
            (
                answer(200, "Content-Encoding: br\n", "a"),
                answer(200, "Content-Encoding: br\n", "b"),
                &["coded"],
            ),
        ];
        for (primary, mirror, expect) in rows {
            let mut found = told(&plain(), &Redact::default(), primary, mirror);
            let mut expect = expect.to_vec();
            found.sort();
            expect.sort_unstable();
            assert_eq!(found, expect);
        }
    }

    #[test]
    fn compressed_content_is_compared_by_what_it_says() {
        let coded = |content: &str, level| Answer {
            content: super::super::coding::tests::gzip(content.as_bytes(), level).into(),
            ..answer(200, "Content-Type: application/json\nContent-Encoding: gzip\n", "")
        };
        let none = Redact::default();
        let a = coded(r#"{"plan":"pro","n":1}"#, 6);
        assert_eq!(told(&plain(), &none, &a, &coded(r#"{"n":1,"plan":"pro"}"#, 0)), Vec::<String>::new());
        let other = coded(r#"{"plan":"free","n":1}"#, 9);
        assert_eq!(told(&plain(), &none, &a, &other), ["changed $.plan \"pro\" → \"free\""]);
        let uncoded = json(r#"{"plan":"pro","n":1}"#);
        assert_eq!(told(&plain(), &none, &a, &uncoded), ["header content-encoding gzip → nothing"]);
        let broken = || Answer { content: a.content.get(..20).unwrap_or_default().into(), ..coded("", 0) };
        assert_eq!(
            told(&plain(), &none, &a, &broken()),
            ["body body content → content whose coding is broken"]
        );
        let other = Answer { content: a.content.get(..19).unwrap_or_default().into(), ..coded("", 0) };
        assert_eq!(told(&plain(), &none, &broken(), &other), ["broken"], "neither side can be read");
    }

    #[test]
    fn what_the_rules_leave_out_is_no_difference() {
        let pattern = |text: &str| config::Pattern { text: text.to_owned() };
        let list = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let rules = Compare {
            ignore_headers: list(&["etag", "x-trace-*"]),
            ignore_json: list(&["/at", "/items/*/id"]),
            ignore_text: vec![pattern("[0-9]{4}-[0-9]{2}")],
            unordered: list(&["/tags"]),
            tolerance: 0.01,
            ..plain()
        };
        let a = answer(
            200,
            "Content-Type: application/vnd.x+json; charset=utf-8\nETag: 1\nX-Trace-Id: 1\n",
            r#"{"at":1,"items":[{"id":1,"on":"2026-01"}],"tags":["a","b"],"n":1000}"#,
        );
        let b = answer(
            200,
            "Content-Type: application/vnd.x+json; charset=utf-8\nETag: 2\nX-Trace-Other: 1\n",
            r#"{"at":2,"items":[{"id":2,"on":"2026-02"}],"tags":["b","a"],"n":1009}"#,
        );
        assert_eq!(told(&rules, &Redact::default(), &a, &b), Vec::<String>::new());
        assert_eq!(told(&plain(), &Redact::default(), &a, &b).len(), 8);
    }

    #[test]
    fn secrets_are_compared_and_not_told() {
        let redact = Redact {
            headers: vec!["x-key".into()],
            json: vec!["/card".into(), "/people/*/name".into()],
            ..Redact::default()
        };
        let a = answer(
            200,
            "Content-Type: application/json\nX-Key: S1\n",
            r#"{"card":{"no":"S2"},"people":[{"name":"S3"}]}"#,
        );
        let b = answer(
            200,
            "Content-Type: application/json\nX-Key: S4\n",
            r#"{"card":{"no":"S5"},"people":[{"name":"S6"}]}"#,
        );
        let all = told(&plain(), &redact, &a, &b);
        assert_eq!(all.len(), 3, "{all:?}");
        assert!(all.iter().all(|line| line.ends_with("[redacted] → [redacted]")), "{all:?}");
        let text = told(&plain(), &redact, &json("S1"), &json("S2"));
        assert_eq!(text, ["body body [redacted] → [redacted]"]);
    }

    #[test]
    fn an_answer_never_differs_from_itself_and_nothing_it_holds_is_too_much() {
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        let wide = format!("[{}1]", "{\"a\":1},".repeat(2000));
        for content in ["", "{}", "nan", "1e999", "\u{feff}{}", &deep, &wide, "{\"a\":1,\"a\":2}"] {
            assert_eq!(
                told(&plain(), &Redact::default(), &json(content), &json(content)),
                Vec::<String>::new()
            );
            let other = content.replace('1', "2") + " ";
            assert!(
                told(&plain(), &Redact::default(), &json(content), &json(&other)).len() <= DIFFERENCES_MAX
            );
        }
        let cut = Answer { is_cut: true, ..json("[1") };
        assert_eq!(told(&plain(), &Redact::default(), &cut, &json("[1")), ["too_long"]);
        assert_eq!(told(&plain(), &Redact::default(), &cut, &cut), ["too_long"], "what follows may differ");
    }

    #[test]
    fn a_side_that_is_shorter_than_what_was_kept_of_the_other_differs() {
        let none = Redact::default();
        let long = |content: &str| Answer { is_cut: true, ..json(content) };
        let rows = [
            (long("[1,2"), json(""), "body body more than 4 bytes → 0 bytes"),
            (json("[1"), long("[1,2"), "body body 2 bytes → more than 4 bytes"),
            // The same may be said in fewer bytes.
            (long("[1, 2"), json("[1]"), "too_long"),
            (long("[1"), json("[1,2]"), "too_long"),
        ];
        for (primary, mirror, expect) in rows {
            assert_eq!(told(&plain(), &none, &primary, &mirror), [expect]);
        }
    }

    #[test]
    fn what_is_no_text_is_compared_by_its_bytes() {
        let bytes = |content: &[u8]| Answer { content: content.into(), ..answer(200, "", "") };
        let none = Redact::default();
        assert_eq!(told(&plain(), &none, &bytes(b"A\xff"), &bytes(b"A\xff")), Vec::<String>::new());
        let found = told(&plain(), &none, &bytes(b"A\xff"), &bytes(b"A\xfe"));
        assert!(found[0].starts_with("body body 2 bytes, hash "), "{found:?}");
        let found = told(&plain(), &none, &bytes(b"A\xff"), &bytes(b"A\xef\xbf\xbd"));
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn items_without_order_are_matched_by_what_is_compared_of_them() {
        let list = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let rules = Compare { ignore_json: list(&["/*/id"]), unordered: list(&["", "/*/tags"]), ..plain() };
        let a = json(r#"[{"id":1,"name":"x","n":1},{"id":2,"name":"y","tags":["a","b"]}]"#);
        let b = json(r#"[{"id":8,"name":"y","tags":["b","a"]},{"id":9,"name":"x","n":1.0}]"#);
        assert_eq!(told(&rules, &Redact::default(), &a, &b), Vec::<String>::new());
    }

    #[test]
    fn names_are_kept_to_their_bound_and_stay_apart() {
        let of = |name: &str| json(&format!("{{\"{name}\":1}}"));
        let fields = |name: &str| {
            compare(&Rules::new(&plain(), &Redact::default()), &of(name), &json("{}")).differences
        };
        let long = "n".repeat(1 << 19);
        let (one, other) = (fields(&format!("{long}1")), fields(&format!("{long}2")));
        assert!(one[0].field.len() <= FIELD_BYTES_MAX && one[0].field != other[0].field, "{one:?}");
        let mut deep = "1".to_owned();
        (0..100).for_each(|_| deep = format!("{{\"a-name-of-some-length\":{deep}}}"));
        let found = told(&plain(), &Redact::default(), &json(&deep), &json(&deep.replace('1', "2")));
        assert!(found[0].len() < FIELD_BYTES_MAX + 100, "{found:?}");
        let header = |value: &str| answer(200, &format!("{}: {value}\n", "h".repeat(5000)), "");
        let found = told(&plain(), &Redact::default(), &header("a"), &header("b"));
        assert!(found[0].len() < FIELD_BYTES_MAX + 100, "{found:?}");
    }
}
