//! Reads typed values out of a document and reports every value of a wrong type and every unknown key, with key and line. Knows
//! no key by name, nor any value's meaning.
//!
//! Serde's derived `Deserialize` would stop at the first wrong value; an operator should see all of them at once.

use std::time::Duration;

use crate::node::{Entry, Node, Value};
use crate::problem::{Place, Report, any_of, join, near_miss};
use crate::units::{parse_period, parse_size};

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) at: Place,
}

/// The value of a key of a file, as far as it could be read.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Key<T> {
    #[default]
    Absent,
    /// There, but not of its type. It was reported, so that it must not be reported as missing.
    Refused,
    Given(At<T>),
}

impl<T> Key<T> {
    /// A value written at `at`.
    pub(crate) fn at(value: T, at: &Place) -> Self {
        Self::Given(At { value, at: at.clone() })
    }

    pub(crate) fn given(&self) -> Option<&At<T>> {
        match self {
            Self::Given(at) => Some(at),
            Self::Absent | Self::Refused => None,
        }
    }

    /// Where it was written.
    pub(crate) fn place(&self) -> Option<&Place> {
        self.given().map(|given| &given.at)
    }

    /// The key was not written at all.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl<T: Default> Key<T> {
    /// A table that was left out is one with every key left out.
    pub(crate) fn into_table(self) -> T {
        match self {
            Self::Given(at) => at.value,
            Self::Absent | Self::Refused => T::default(),
        }
    }
}

/// A size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// A size in bytes, or `None` for `"unlimited"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SizeOrUnlimited(pub(crate) Option<u64>);

/// A list whose elements are each read on their own.
pub(crate) type List<T> = Vec<Key<T>>;

/// A table whose keys the operator chose, in the order of the text.
pub(crate) type Named<T> = Vec<(At<String>, Key<T>)>;

/// A type that a value can be read as.
pub(crate) trait Read: Sized {
    /// The allowed values, to follow "must be".
    const WANTED: &'static str;

    /// Whether a key without a value means an empty value of this type, rather than an absent key.
    const MAY_BE_NOTHING: bool = false;

    /// `None` for a value of another type, or one that this type cannot hold.
    fn read(value: &Value, at: &Place, report: &mut Report) -> Option<Self>;
}

/// Reads one value and says so if it cannot be had.
pub(crate) fn read<T: Read>(node: &Node, key: String, report: &mut Report) -> Key<T> {
    let at = report.place(key, node.line);
    if let Some(text) = node.value.text() {
        report.saw(&at, text);
    }
    match T::read(&node.value, &at, report) {
        Some(value) => Key::Given(At { value, at }),
        None => Key::Refused,
    }
}

/// Whether a problem of this key must not repeat its value: problems are told to more than may read the configuration.
fn may_be_secret(key: &str) -> bool {
    key.ends_with("token") || key.contains("_headers.")
}

/// Reports that a value does not fit its key.
fn refuse<T: Read>(value: &Value, at: &Place, report: &mut Report) -> Option<T> {
    let found = match value {
        _ if report.keeps_values() || may_be_secret(&at.key) => value.kind().to_owned(),
        Value::Text(text) => format!("{text:?}"),
        Value::Integer(number, 16) => format!("0x{number}"),
        Value::Integer(number, 8) => format!("0o{number}"),
        Value::Integer(number, 2) => format!("0b{number}"),
        Value::Integer(number, _) | Value::Float(number) => number.clone(),
        Value::Boolean(yes) => yes.to_string(),
        Value::Datetime(time) => time.clone(),
        Value::Null | Value::List(_) | Value::Table(_) => value.kind().to_owned(),
        Value::Unusable(why) => why.clone(),
    };
    report.error(at, format!("must be {}, not {found}", T::WANTED));
    None
}

impl Read for String {
    const WANTED: &'static str = "a string";

    fn read(value: &Value, at: &Place, report: &mut Report) -> Option<Self> {
        value.text().map(str::to_owned).or_else(|| refuse(value, at, report))
    }
}

impl Read for bool {
    const WANTED: &'static str = "true or false";

    fn read(value: &Value, at: &Place, report: &mut Report) -> Option<Self> {
        match value {
            Value::Boolean(yes) => Some(*yes),
            Value::Null
            | Value::Text(_)
            | Value::Integer(..)
            | Value::Float(_)
            | Value::Datetime(_)
            | Value::List(_)
            | Value::Table(_)
            | Value::Unusable(_) => refuse(value, at, report),
        }
    }
}

impl Read for u64 {
    const WANTED: &'static str = "a whole number that is not negative";

    fn read(value: &Value, at: &Place, report: &mut Report) -> Option<Self> {
        whole(value).or_else(|| refuse(value, at, report))
    }
}

impl Read for f64 {
    const WANTED: &'static str = "a number";

    fn read(value: &Value, at: &Place, report: &mut Report) -> Option<Self> {
        let number = match value {
            Value::Integer(number, 10) | Value::Float(number) => number.parse().ok(),
            Value::Null
            | Value::Text(_)
            | Value::Integer(..)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::List(_)
            | Value::Table(_)
            | Value::Unusable(_) => None,
        };
        number.or_else(|| refuse(value, at, report))
    }
}

impl Read for Size {
    const WANTED: &'static str = r#"a size such as "64KiB" or "32MiB", or a whole number of bytes"#;

    fn read(value: &Value, at: &Place, report: &mut Report) -> Option<Self> {
        let bytes = value.text().map_or_else(|| whole(value), parse_size);
        bytes.map(Self).or_else(|| refuse(value, at, report))
    }
}

impl Read for SizeOrUnlimited {
    const WANTED: &'static str =
        r#""unlimited", a size such as "64KiB" or "32MiB", or a whole number of bytes"#;

    fn read(value: &Value, at: &Place, report: &mut Report) -> Option<Self> {
        if value.text() == Some("unlimited") {
            return Some(Self(None));
        }
        let bytes = value.text().map_or_else(|| whole(value), parse_size);
        bytes.map(|bytes| Self(Some(bytes))).or_else(|| refuse(value, at, report))
    }
}

impl Read for Duration {
    const WANTED: &'static str = r#"a duration such as "500ms", "5s", "2m" or "1h""#;

    fn read(value: &Value, at: &Place, report: &mut Report) -> Option<Self> {
        value.text().and_then(parse_period).or_else(|| refuse(value, at, report))
    }
}

impl<T: Read> Read for List<T> {
    const WANTED: &'static str = "an array";

    fn read(value: &Value, at: &Place, report: &mut Report) -> Option<Self> {
        if let Value::Table(_) = value {
            report.error(at, format!("must be an array of tables: write [[{}]] for each entry", at.key));
            return None;
        }
        let Value::List(items) = value else {
            return refuse(value, at, report);
        };
        let key = |index: usize| format!("{}[{index}]", at.key);
        Some(items.iter().enumerate().map(|(index, item)| read(item, key(index), report)).collect())
    }
}

impl<T: Read> Read for Named<T> {
    const WANTED: &'static str = "a table of named entries";

    fn read(value: &Value, at: &Place, report: &mut Report) -> Option<Self> {
        let Value::Table(table) = value else {
            return refuse(value, at, report);
        };
        let entries = table.iter().map(|entry| {
            let key = join(&at.key, &entry.name);
            let place = report.place(key.clone(), entry.line);
            (At { value: entry.name.clone(), at: place }, read(&entry.node, key, report))
        });
        Some(entries.collect())
    }
}

fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::Integer(number, radix) => u64::from_str_radix(number, *radix).ok(),
        Value::Null
        | Value::Text(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::List(_)
        | Value::Table(_)
        | Value::Unusable(_) => None,
    }
}

/// A closed set of words. The written form of each is told by [`Word::written`], here and in messages.
pub(crate) trait Word: Copy + 'static {
    const ALL: &'static [Self];

    fn written(self) -> &'static str;
}

/// Reads one of the words of `T`.
pub(crate) fn read_word<T: Word>(value: &Value, at: &Place, report: &mut Report) -> Option<T> {
    let known = || T::ALL.iter().map(|word| word.written());
    if let Some(text) = value.text() {
        if let Some(word) = T::ALL.iter().find(|word| word.written() == text) {
            return Some(*word);
        }
        let hint =
            near_miss(text, known()).map(|word| format!("; did you mean {word:?}?")).unwrap_or_default();
        report.error(at, format!("{text:?} is not known; must be {}{hint}", any_of(known())));
    } else {
        report.error(at, format!("must be {}, not {}", any_of(known()), value.kind()));
    }
    None
}

/// A table with a closed set of keys.
pub(crate) struct Table<'n> {
    entries: &'n [Entry],
    at: &'n Place,
}

impl<'n> Table<'n> {
    /// Reports every key that is not one of `known`.
    pub(crate) fn open(value: &'n Value, at: &'n Place, known: &[&str], report: &mut Report) -> Option<Self> {
        if let Value::List(_) = value {
            report.error(at, format!("must be one table: write [{}] once", at.key));
            return None;
        }
        let Value::Table(entries) = value else {
            report.error(at, format!("must be a table, not {}", value.kind()));
            return None;
        };
        for entry in entries {
            if known.iter().any(|name| report.spells(name, &entry.name)) {
                continue;
            }
            let place = report.place(join(&at.key, &entry.name), entry.line);
            let message = match near_miss(&entry.name, known.iter().copied()) {
                Some(near) => format!("unknown key; did you mean {:?}?", report.spelling(near)),
                None => {
                    let known: Vec<String> = known.iter().map(|name| report.spelling(name)).collect();
                    format!("unknown key; the keys known here are {}", known.join(", "))
                }
            };
            report.error(&place, message);
        }
        Some(Self { entries, at })
    }

    pub(crate) fn key<T: Read>(&self, name: &str, report: &mut Report) -> Key<T> {
        let mut written = self.entries.iter().filter(|entry| report.spells(name, &entry.name));
        let (Some(entry), second) = (written.next(), written.next()) else { return Key::Absent };
        if let Some(second) = second {
            let place = report.place(join(&self.at.key, &second.name), second.line);
            report.error(&place, format!("is another spelling of {}, which is given too", entry.name));
        }
        if report.former(name) == Some(entry.name.as_str()) {
            let place = report.place(join(&self.at.key, &entry.name), entry.line);
            report.warn(&place, format!("is called {} now", report.spelling(name)));
        }
        // YAML's `key:` says nothing, but a table may be given empty that way.
        match entry.node.value {
            Value::Null if !T::MAY_BE_NOTHING => Key::Absent,
            _ => read(&entry.node, join(&self.at.key, &entry.name), report),
        }
    }
}

/// A key's name without Rust's mark for a word it has a use for itself: `r#match` is the key `match`.
pub(crate) const fn plain(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', rest @ ..] => match std::str::from_utf8(rest) {
            Ok(plain) => plain,
            Err(_) => name,
        },
        _ => name,
    }
}
