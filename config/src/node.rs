//! A document as a tree whose every value knows its line, in any notation.
//!
//! TOML and YAML both become this, so that one reader reads both. Knows no key's meaning.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::problem::join;

/// A value and the line in which it starts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    /// 1-based; 0 for a value that stood in no text.
    pub(crate) line: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// A key without a value: YAML's `key:`.
    Null,
    Text(String),
    /// Digits as written, in this radix.
    Integer(String, u32),
    Float(String),
    Boolean(bool),
    /// TOML alone has these.
    Datetime(String),
    List(Vec<Node>),
    /// In the order of the text.
    Table(Vec<Entry>),
    /// Well written, but nothing that may be read here; why.
    Unusable(String),
}

/// A key of a table, with its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Line of the key.
    pub(crate) line: usize,
    pub(crate) node: Node,
}

impl Value {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null
            | Self::Integer(..)
            | Self::Float(_)
            | Self::Boolean(_)
            | Self::Datetime(_)
            | Self::List(_)
            | Self::Table(_)
            | Self::Unusable(_) => None,
        }
    }

    /// The kind of the value, with its article.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Text(_) => "a string",
            Self::Integer(..) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Datetime(_) => "a datetime",
            Self::List(_) => "an array",
            Self::Table(_) => "a table",
            Self::Unusable(_) => "unusable",
        }
    }
}

impl Node {
    /// The value under `name`, where this is a table that has it.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        self.entries().iter().find(|entry| entry.name == name).map(|entry| &entry.node)
    }

    /// The entries of a table; of another value none.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Table(entries) => entries,
            Value::Null
            | Value::Text(_)
            | Value::Integer(..)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::List(_)
            | Value::Unusable(_) => &[],
        }
    }

    /// The items of a list; of another value none.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            Value::Null
            | Value::Text(_)
            | Value::Integer(..)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Table(_)
            | Value::Unusable(_) => &[],
        }
    }

    /// Everything in it that may not be read: its path, its line, and why.
    pub(crate) fn unusable(&self) -> Vec<(String, usize, &str)> {
        let mut found = Vec::new();
        self.search_unusable(String::new(), &mut found);
        found
    }

    fn search_unusable<'n>(&'n self, path: String, found: &mut Vec<(String, usize, &'n str)>) {
        if let Value::Unusable(why) = &self.value {
            found.push((path, self.line, why));
            return;
        }
        for entry in self.entries() {
            entry.node.search_unusable(join(&path, &entry.name), found);
        }
        for (index, item) in self.items().iter().enumerate() {
            item.search_unusable(format!("{path}[{index}]"), found);
        }
    }

    /// The text under `name`.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.value.text()
    }
}

/// A JSON value as a tree, which has no lines.
pub(crate) fn of_json(value: &serde_json::Value) -> Node {
    let value = match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(yes) => Value::Boolean(*yes),
        serde_json::Value::Number(number) if number.is_f64() => Value::Float(number.to_string()),
        serde_json::Value::Number(number) => Value::Integer(number.to_string(), 10),
        serde_json::Value::String(text) => Value::Text(text.clone()),
        serde_json::Value::Array(items) => Value::List(items.iter().map(of_json).collect()),
        serde_json::Value::Object(members) => {
            let entry = |(name, value): (&String, &serde_json::Value)| Entry {
                name: name.clone(),
                line: 0,
                node: of_json(value),
            };
            Value::Table(members.iter().map(entry).collect())
        }
    };
    Node { value, line: 0 }
}

/// A parsed TOML document as a tree; `line` tells the line in which a span starts.
pub(crate) fn of_toml(table: &DeTable<'_>, line: &impl Fn(&Range<usize>) -> usize) -> Value {
    let mut entries: Vec<_> = table.iter().collect();
    // The document sorts its keys by name; people read it from top to bottom.
    entries.sort_by_key(|(name, _)| name.span().start);
    let entry =
        |(name, node): (&toml::Spanned<std::borrow::Cow<'_, str>>, &toml::Spanned<DeValue<'_>>)| Entry {
            name: name.get_ref().to_string(),
            line: line(&name.span()),
            node: Node { value: of_value(node.get_ref(), line), line: line(&node.span()) },
        };
    Value::Table(entries.into_iter().map(entry).collect())
}

fn of_value(value: &DeValue<'_>, line: &impl Fn(&Range<usize>) -> usize) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Integer(number.as_str().to_owned(), number.radix()),
        DeValue::Float(number) => Value::Float(number.as_str().to_owned()),
        DeValue::Boolean(yes) => Value::Boolean(*yes),
        DeValue::Datetime(time) => Value::Datetime(time.to_string()),
        DeValue::Array(items) => {
            let item = |item: &toml::Spanned<DeValue<'_>>| Node {
                value: of_value(item.get_ref(), line),
                line: line(&item.span()),
            };
            Value::List(items.iter().map(item).collect())
        }
        DeValue::Table(table) => of_toml(table, line),
    }
}
