//! Two answers to one request, side by side: where they differ, and how. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::coding::{DECODED_BYTES_MAX, Plain, plain};
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
    fn add(&mut self, field: String, kind: Kind, primary: Option<String>, mirror: Option<String>) {
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

    fn contents(
        &mut self,
        (primary, ours): (&Answer, &Fields),
        (mirror, theirs): (&Answer, &Fields),
    ) -> Option<&'static str> {
        if primary.content == mirror.content && primary.is_cut == mirror.is_cut {
            return primary.is_cut.then_some("too_long");
        }
        if primary.is_cut || mirror.is_cut {
            return Some("too_long");
        }
        let (Some(primary), Some(mirror)) =
            (plain(primary, DECODED_BYTES_MAX), plain(mirror, DECODED_BYTES_MAX))
        else {
            return Some("coded");
        };
        if primary.is_cut || mirror.is_cut {
            return Some("too_long");
        }
        let is_json = |fields: &Fields| {
            let kind = fields.get("content-type").map(|t| t.to_ascii_lowercase()).unwrap_or_default();
            let kind = kind.split(';').next().unwrap_or_default().trim();
            kind == "application/json" || kind.ends_with("+json")
        };
        if is_json(ours) && is_json(theirs) {
            let parsed = |of: &Plain<'_>| serde_json::from_slice::<Value>(&of.content).ok();
            if let (Some(a), Some(b)) = (parsed(&primary), parsed(&mirror)) {
                self.values(&mut Vec::new(), &a, &b);
                return None;
            }
        }
        self.texts(&primary.content, &mirror.content);
        None
    }

    /// Content that is not JSON: told by its first line that differs.
    fn texts(&mut self, primary: &[u8], mirror: &[u8]) {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (a, b) = (text(primary), text(mirror));
        let (a, b) = (self.rules.without_ignored(&a), self.rules.without_ignored(&b));
        if a == b {
            return;
        }
        let has_secrets = self.rules.secrets.as_ref().is_some_and(|secrets| secrets.json.is_some());
        let (mut ours, mut theirs) = (a.lines(), b.lines());
        loop {
            match (ours.next(), theirs.next()) {
                (Some(a), Some(b)) if a == b => {}
                (None, None) => return self.add("body".to_owned(), Kind::Body, None, None),
                (a, b) => {
                    let shown = |line: Option<&str>| {
                        line.map(|l| if has_secrets { REDACTED.to_owned() } else { short(l) })
                    };
                    return self.add("body".to_owned(), Kind::Body, shown(a), shown(b));
                }
            }
        }
    }

    fn values(&mut self, path: &mut Path, primary: &Value, mirror: &Value) {
        if self.rules.ignores(path) || self.differences.len() >= DIFFERENCES_MAX {
            return;
        }
        match (primary, mirror) {
            (Value::Object(a), Value::Object(b)) => {
                for (name, value) in a {
                    path.push(Some(name.clone()));
                    match b.get(name) {
                        Some(other) => self.values(path, value, other),
                        None => self.one_side(path, Kind::Missing, Some(value), None),
                    }
                    path.pop();
                }
                for (name, value) in b.iter().filter(|(name, _)| !a.contains_key(*name)) {
                    path.push(Some(name.clone()));
                    self.one_side(path, Kind::Added, None, Some(value));
                    path.pop();
                }
            }
            (Value::Array(a), Value::Array(b)) => self.items(path, a, b),
            (Value::String(a), Value::String(b)) => {
                if self.rules.without_ignored(a) != self.rules.without_ignored(b) {
                    self.one_side(path, Kind::Changed, Some(primary), Some(mirror));
                }
            }
            (Value::Number(a), Value::Number(b)) => {
                // Beyond what a float holds the digits decide.
                let same = a == b
                    || a.as_f64().zip(b.as_f64()).is_some_and(|(x, y)| {
                        (x != y || a.is_f64() || b.is_f64()) && self.rules.same_number(x, y)
                    });
                if !same {
                    self.one_side(path, Kind::Changed, Some(primary), Some(mirror));
                }
            }
            (Value::Bool(a), Value::Bool(b)) if a == b => {}
            (Value::Null, Value::Null) => {}
            (Value::Bool(_), Value::Bool(_)) => {
                self.one_side(path, Kind::Changed, Some(primary), Some(mirror));
            }
            (
                Value::Object(_)
                | Value::Array(_)
                | Value::String(_)
                | Value::Number(_)
                | Value::Bool(_)
                | Value::Null,
                _,
            ) => self.one_side(path, Kind::Type, Some(primary), Some(mirror)),
        }
    }

    fn items(&mut self, path: &mut Path, primary: &[Value], mirror: &[Value]) {
        if primary.len() != mirror.len() {
            let shown = |items: &[Value]| Some(format!("{} items", items.len()));
            self.add(text_of(path), Kind::Length, shown(primary), shown(mirror));
        }
        path.push(None);
        if self.rules.is_unordered(&path[..path.len() - 1]) {
            // Members stand in one order in a parsed object, so that equal items have equal texts.
            let sorted = |items: &[Value]| {
                let mut all: Vec<(String, usize)> =
                    items.iter().enumerate().map(|(n, item)| (item.to_string(), n)).collect();
                all.sort();
                all
            };
            for ((_, a), (_, b)) in sorted(primary).into_iter().zip(sorted(mirror)) {
                if let (Some(a), Some(b)) = (primary.get(a), mirror.get(b)) {
                    self.values(path, a, b);
                }
            }
        } else {
            primary.iter().zip(mirror).for_each(|(a, b)| self.values(path, a, b));
        }
        path.pop();
    }

    fn one_side(&mut self, path: &Path, kind: Kind, primary: Option<&Value>, mirror: Option<&Value>) {
        if self.rules.ignores(path) {
            return;
        }
        let is_secret = self.rules.is_secret(path);
        let shown = |value: Option<&Value>| {
            value.map(|value| match value {
                _ if is_secret => REDACTED.to_owned(),
                // What is secret may stand anywhere in it.
                Value::Object(members) => format!("{{{} members}}", members.len()),
                Value::Array(items) => format!("[{} items]", items.len()),
                Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {
                    short(&value.to_string())
                }
            })
        };
        self.add(text_of(path), kind, shown(primary), shown(mirror));
    }
}

/// `$.items[*].id`
fn text_of(path: &Path) -> String {
    let mut text = "$".to_owned();
    for part in path {
        match part {
            None => text.push_str("[*]"),
            Some(name) if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') => {
                text.push('.');
                text.push_str(name);
            }
            Some(name) => text.push_str(&format!("[{}]", Value::String(short(name)))),
        }
    }
    text
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
            body_bytes_max: 1000,
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
        let broken = Answer { content: a.content.get(..20).unwrap_or_default().into(), ..coded("", 0) };
        assert_eq!(told(&plain(), &none, &a, &broken), ["too_long"]);
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
    }
}
