//! YAML text → documents as trees. Features that manifests do not need and attackers use are not followed: aliases (a few lines
//! of them expand to gigabytes) and tags become unusable values, for which a document is refused only if it matters; nesting
//! without end refuses the whole text.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::node::{Entry, Node, Value};

/// A fault, and its line.
pub(crate) type Wrong = (Option<usize>, String);

/// Deeper than any manifest; the reader calls itself for each level.
const DEPTH_MAX: usize = 64;

/// Every document of a text that is not empty, in order.
pub(crate) fn documents(text: &str) -> Result<Vec<Node>, Wrong> {
    let last = text.lines().count().max(1);
    let mut events = Events { parser: Parser::new_from_str(text), line: 1, last };
    let mut documents = Vec::new();
    while let Some(event) = events.next()? {
        match event {
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            Event::StreamEnd => break,
            event => {
                let node = events.node(event, 0)?;
                if node.value != Value::Null {
                    documents.push(node);
                }
            }
        }
    }
    Ok(documents)
}

struct Events<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    /// Of the last event.
    line: usize,
    /// The text's last line: to the parser, values at its end are on a line beyond.
    last: usize,
}

impl<'t> Events<'t> {
    fn next(&mut self) -> Result<Option<Event<'t>>, Wrong> {
        match self.parser.next() {
            None => Ok(None),
            Some(Ok((event, span))) => {
                self.line = span.start.line().min(self.last);
                Ok(Some(event))
            }
            Some(Err(error)) => {
                Err((Some(error.marker().line().min(self.last)), format!("not YAML: {}", error.info())))
            }
        }
    }

    fn wrong<T>(&self, message: impl Into<String>) -> Result<T, Wrong> {
        Err((Some(self.line), message.into()))
    }

    fn node(&mut self, event: Event<'t>, depth: usize) -> Result<Node, Wrong> {
        let line = self.line;
        if depth > DEPTH_MAX {
            return self.wrong(format!("nested deeper than {DEPTH_MAX} levels"));
        }
        let value = match event {
            Event::Scalar(_, _, _, Some(tag)) => tagged(&tag.to_string()),
            Event::SequenceStart(_, Some(tag)) => {
                let _passed_over = self.list(depth)?;
                tagged(&tag.to_string())
            }
            Event::MappingStart(_, Some(tag)) => {
                let _passed_over = self.table(depth)?;
                tagged(&tag.to_string())
            }
            Event::Scalar(text, style, _, None) => scalar(text, style),
            Event::SequenceStart(_, None) => Value::List(self.list(depth)?),
            Event::MappingStart(_, None) => Value::Table(self.table(depth)?),
            Event::Alias(_) => {
                Value::Unusable("is an alias (*name), which is not followed: write it out".to_owned())
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => return self.wrong("not YAML: a value is missing"),
        };
        Ok(Node { value, line })
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Wrong> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                None | Some(Event::SequenceEnd) => return Ok(items),
                Some(event) => items.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn table(&mut self, depth: usize) -> Result<Vec<Entry>, Wrong> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        loop {
            let (name, line) = match self.next()? {
                None | Some(Event::MappingEnd) => return Ok(entries),
                Some(Event::Scalar(name, _, _, None)) => (Some(name.into_owned()), self.line),
                Some(key) => {
                    let line = self.line;
                    let _passed_over = self.node(key, depth + 1)?;
                    (None, line)
                }
            };
            let Some(event) = self.next()? else { return self.wrong("not YAML: a value is missing") };
            let mut node = self.node(event, depth + 1)?;
            let unusable = match &name {
                None => Some("has a key that is not plain text".to_owned()),
                Some(name) => lines
                    .insert(name.clone(), line)
                    .map(|first| format!("{name} stands here a second time, first in line {first}")),
            };
            if let Some(why) = unusable {
                node = Node { value: Value::Unusable(why), line };
            }
            let name = name.unwrap_or_default();
            entries.push(Entry { name, line, node });
        }
    }
}

fn tagged(tag: &str) -> Value {
    Value::Unusable(format!("has the tag {tag}, which manifests have no use for"))
}

/// YAML 1.2's core schema; quoted text is always text.
fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::Text(text.into_owned());
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(&text);
    let is_number = digits.bytes().next().is_some_and(|b| b.is_ascii_digit() || b == b'.');
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Boolean(true),
        "false" | "False" | "FALSE" => Value::Boolean(false),
        _ if is_number && digits.bytes().all(|b| b.is_ascii_digit()) => Value::Integer(text.into_owned(), 10),
        _ if is_number && text.parse::<f64>().is_ok() => Value::Float(text.into_owned()),
        _ => Value::Text(text.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_read_with_their_lines_and_types() {
        let text = "# first\na: 1\nb: [x, '2', 2.5, true, ~]\n---\n---\nc:\n  d: \"yes\"\n";
        let documents = documents(text).unwrap();
        assert_eq!(documents.len(), 2);
        let list = documents[0].get("b").unwrap();
        assert_eq!((documents[0].line, list.line), (2, 3));
        let Value::List(items) = &list.value else { panic!("{list:?}") };
        let kinds: Vec<&str> = items.iter().map(|item| item.value.kind()).collect();
        assert_eq!(kinds, ["a string", "a string", "a float", "a boolean", "nothing"]);
        assert_eq!(documents[1].get("c").unwrap().text("d"), Some("yes"));
    }

    #[test]
    fn what_expands_repeats_or_never_ends_is_refused_with_its_line() {
        let rows = [
            ("a: &x [1]\nb: *x\n", 2, "alias"),
            ("a: 1\nb: 2\na: 3\n", 3, "a second time, first in line 1"),
            ("a: !!binary abc\nb: 1\n", 1, "tag"),
            ("a: !x {b: [1, 2], c: {}}\nd: 1\n", 1, "tag"),
            ("? [a]\n: b\n", 1, "not plain text"),
            ("? {a: b}\n: b\n", 1, "not plain text"),
            ("a: [\n", 2, "not YAML"),
            ("a: b: c\n", 1, "not YAML"),
        ];
        for (text, line, message) in rows {
            let (at, why) = match documents(text) {
                Err((at, why)) => (at, why),
                Ok(documents) => {
                    let unusable = documents[0].unusable();
                    let (_, at, why) = unusable.first().expect("something in it may not be read");
                    (Some(*at), (*why).to_owned())
                }
            };
            assert!(why.contains(message), "{text:?}: {why}");
            assert!(at.is_some_and(|at| at <= line), "{text:?}: {at:?}");
        }
        let deep = "[".repeat(100_000);
        assert!(documents(&deep).is_err());
    }
}
