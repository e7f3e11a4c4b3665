//! JSON as it stands in an answer: numbers as they are written, names as often as they stand there, and no more of it than
//! is worth comparing. Strings without escapes are not copied. Pure.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use crate::limits::JSON_DEPTH_MAX;

/// Values and members of one text. A text with more would take a hundred times its bytes of memory; with this limit it takes 22
/// MiB at most.
pub(super) const NODES_MAX: usize = 200_000;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Node<'a> {
    Null,
    Bool(bool),
    /// As it is written.
    Number(Cow<'a, str>),
    String(Cow<'a, str>),
    /// JSON has none; messages of calls do.
    Bytes(&'a [u8]),
    /// The hash of a value that may be secret, as its name is not known.
    Hidden(u64),
    Array(Vec<Self>),
    /// By name; those of one name in their order.
    Object(Vec<Member<'a>>),
}

pub(super) type Member<'a> = (Cow<'a, str>, Node<'a>);

/// Why a text was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    NotJson,
    TooComplex,
}

/// Reads a whole JSON text (RFC 8259).
pub(super) fn read(text: &[u8]) -> Result<Node<'_>, Unread> {
    let text = std::str::from_utf8(text).map_err(|_| Unread::NotJson)?;
    let mut reader = Reader { text, at: 0, nodes: 0 };
    let node = reader.value(0)?;
    reader.space();
    if reader.at == text.len() { Ok(node) } else { Err(Unread::NotJson) }
}

/// Media types of a JSON text on each line.
pub(super) const LINES_TYPES: [&str; 4] =
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"];

/// Each line's, where each is one.
pub(super) fn read_lines(text: &[u8]) -> Option<Vec<Node<'_>>> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    lines.map(|line| read(line).ok()).collect()
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The next byte that is no space, if it is this one.
    fn takes(&mut self, byte: u8) -> bool {
        self.space();
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn value(&mut self, depth: usize) -> Result<Node<'a>, Unread> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(Unread::TooComplex);
        }
        self.space();
        match self.peek() {
            Some(b'{' | b'[') if depth == JSON_DEPTH_MAX => Err(Unread::TooComplex),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Node::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Node::Bool(true)),
            Some(b'f') => self.word("false", Node::Bool(false)),
            Some(b'n') => self.word("null", Node::Null),
            Some(_) | None => Err(Unread::NotJson),
        }
    }

    fn word(&mut self, word: &str, node: Node<'a>) -> Result<Node<'a>, Unread> {
        let is_next = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word));
        self.at += word.len();
        if is_next { Ok(node) } else { Err(Unread::NotJson) }
    }

    fn array(&mut self, depth: usize) -> Result<Node<'a>, Unread> {
        self.at += 1;
        let mut items = Vec::new();
        if self.takes(b']') {
            return Ok(Node::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.takes(b']') {
                return Ok(Node::Array(items));
            }
            if !self.takes(b',') {
                return Err(Unread::NotJson);
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Node<'a>, Unread> {
        self.at += 1;
        let mut members = Vec::new();
        if self.takes(b'}') {
            return Ok(Node::Object(members));
        }
        loop {
            self.space();
            let name = self.string()?;
            if !self.takes(b':') {
                return Err(Unread::NotJson);
            }
            members.push((name, self.value(depth + 1)?));
            if self.takes(b'}') {
                // Stable, so that those of one name stay in their order.
                members.sort_by(|(a, _), (b, _)| a.cmp(b));
                return Ok(Node::Object(members));
            }
            if !self.takes(b',') {
                return Err(Unread::NotJson);
            }
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Unread> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(Unread::NotJson);
        }
        self.at += 1;
        let mut has_escapes = false;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    self.at += 2;
                }
                Some(b' '..) => self.at += 1,
                Some(_) | None => return Err(Unread::NotJson),
            }
        }
        self.at += 1;
        let quoted = self.text.get(start..self.at).ok_or(Unread::NotJson)?;
        if has_escapes {
            return serde_json::from_str(quoted).map(Cow::Owned).map_err(|_| Unread::NotJson);
        }
        Ok(Cow::Borrowed(quoted.get(1..quoted.len() - 1).unwrap_or_default()))
    }

    fn number(&mut self) -> Result<Node<'a>, Unread> {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        // Checks the grammar without making a number of it.
        serde_json::from_str::<IgnoredAny>(text).map_err(|_| Unread::NotJson)?;
        Ok(Node::Number(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// As another reader has it, where a name stands once.
    fn value(node: &Node<'_>) -> Value {
        match node {
            Node::Null => Value::Null,
            Node::Bool(is) => Value::Bool(*is),
            Node::Number(text) => serde_json::from_str(text).unwrap(),
            Node::String(text) => Value::String(text.to_string()),
            Node::Array(items) => items.iter().map(value).collect(),
            Node::Object(members) => members.iter().map(|(name, of)| (name.to_string(), value(of))).collect(),
            Node::Bytes(_) | Node::Hidden(_) => unreachable!("no text has it"),
        }
    }

    #[test]
    fn a_text_is_read_as_another_reader_reads_it_or_refused_as_there() {
        let texts = [
            "",
            " ",
            "null",
            "nul",
            "nulls",
            "true",
            "fals",
            "0",
            "-0",
            "01",
            "-",
            "+1",
            "1.",
            "1.5e+3",
            ".5",
            "1e5",
            "1-1",
            "\"a\"",
            "\"",
            "\"a",
            "\"\\\"\"",
            "\"\\u00e4\\n\"",
            "\"\\ud800\"",
            "\"\\x\"",
            "\"\n\"",
            "\"ä€😀\"",
            "\"\\",
            "[]",
            "[ ]",
            "[1,]",
            "[,]",
            "[1 2]",
            "[1,2",
            "[[],{}]",
            "{}",
            "{ }",
            "{\"a\":1}",
            "{\"a\" : [1, {\"b\": null}] , \"A\":2}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "1 1",
            " { } ",
            "\u{feff}{}",
            "[1]x",
            "{\"b\":1,\"a\":\"\\\\\"}",
        ];
        for text in texts {
            let theirs = serde_json::from_str::<Value>(text).ok();
            assert_eq!(read(text.as_bytes()).ok().map(|node| value(&node)), theirs, "{text}");
        }
        assert_eq!(read(b"\"\xff\""), Err(Unread::NotJson));
    }

    #[test]
    fn numbers_and_repeated_names_stay_as_they_are_written() {
        let object = Node::Object(vec![
            ("a".into(), Node::Number("1.0".into())),
            ("b".into(), Node::Number("2".into())),
            ("b".into(), Node::Number("123456789012345678901".into())),
        ]);
        assert_eq!(read(br#"{"b":2,"a":1.0,"b":123456789012345678901}"#), Ok(object));
    }

    #[test]
    fn what_is_too_deep_or_has_too_much_in_it_is_not_read() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(read(nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(read(nested(JSON_DEPTH_MAX + 1).as_bytes()), Err(Unread::TooComplex));
        let wide = |items: usize| format!("[{}1]", "1,".repeat(items));
        assert_eq!(read(wide(NODES_MAX).as_bytes()), Err(Unread::TooComplex));
        assert!(read(wide(NODES_MAX - 2).as_bytes()).is_ok());
    }
}
