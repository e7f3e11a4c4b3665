//! Reads typed values out of a parsed TOML document and reports everything that has the wrong type or is not known,
//! each with its key and line. Deliberately does not know any key by name, nor what a value means.
//!
//! This stands where a derived `Deserialize` would: serde stops at the first wrong value, and an operator deserves
//! to hear of all of them at once.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::{Place, Report, any_of, join, near_miss};
use crate::units::{parse_period, parse_size};

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) at: Place,
}

/// What a file says about one key.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Key<T> {
    #[default]
    Absent,
    /// There, but not of its type; already reported, so nobody needs to miss it.
    Refused,
    Given(At<T>),
}

impl<T> Key<T> {
    pub(crate) fn given(&self) -> Option<&At<T>> {
        match self {
            Self::Given(at) => Some(at),
            Self::Absent | Self::Refused => None,
        }
    }

    /// Nothing was said, neither well nor badly.
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

/// A type that a TOML value can be read as.
pub(crate) trait Read: Sized {
    /// What is allowed, to follow "must be".
    const WANTED: &'static str;

    /// `None` for a value of another type, or one that this type cannot hold.
    fn read(value: &DeValue<'_>, at: &Place, report: &mut Report) -> Option<Self>;
}

/// Reads one value and says so if it cannot be had.
pub(crate) fn read<T: Read>(node: &Spanned<DeValue<'_>>, key: String, report: &mut Report) -> Key<T> {
    let at = Place { key, line: Some(report.line(&node.span())) };
    match T::read(node.get_ref(), &at, report) {
        Some(value) => Key::Given(At { value, at }),
        None => Key::Refused,
    }
}

/// Reports that a value is not what its key takes.
fn refuse<T: Read>(value: &DeValue<'_>, at: &Place, report: &mut Report) -> Option<T> {
    let found = match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    };
    report.error(at, format!("must be {}, not {found}", T::WANTED));
    None
}

impl Read for String {
    const WANTED: &'static str = "a string";

    fn read(value: &DeValue<'_>, at: &Place, report: &mut Report) -> Option<Self> {
        value.as_str().map(str::to_owned).or_else(|| refuse(value, at, report))
    }
}

impl Read for bool {
    const WANTED: &'static str = "true or false";

    fn read(value: &DeValue<'_>, at: &Place, report: &mut Report) -> Option<Self> {
        value.as_bool().or_else(|| refuse(value, at, report))
    }
}

impl Read for u64 {
    const WANTED: &'static str = "a whole number that is not negative";

    fn read(value: &DeValue<'_>, at: &Place, report: &mut Report) -> Option<Self> {
        whole(value).or_else(|| refuse(value, at, report))
    }
}

impl Read for f64 {
    const WANTED: &'static str = "a number";

    fn read(value: &DeValue<'_>, at: &Place, report: &mut Report) -> Option<Self> {
        let number = match value {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            DeValue::Float(number) => number.as_str().parse().ok(),
            DeValue::Integer(_)
            | DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => None,
        };
        number.or_else(|| refuse(value, at, report))
    }
}

impl Read for Size {
    const WANTED: &'static str = r#"a size such as "64KiB" or "32MiB", or a whole number of bytes"#;

    fn read(value: &DeValue<'_>, at: &Place, report: &mut Report) -> Option<Self> {
        let bytes = value.as_str().map_or_else(|| whole(value), parse_size);
        bytes.map(Self).or_else(|| refuse(value, at, report))
    }
}

impl Read for SizeOrUnlimited {
    const WANTED: &'static str =
        r#""unlimited", a size such as "64KiB" or "32MiB", or a whole number of bytes"#;

    fn read(value: &DeValue<'_>, at: &Place, report: &mut Report) -> Option<Self> {
        if value.as_str() == Some("unlimited") {
            return Some(Self(None));
        }
        let bytes = value.as_str().map_or_else(|| whole(value), parse_size);
        bytes.map(|bytes| Self(Some(bytes))).or_else(|| refuse(value, at, report))
    }
}

impl Read for Duration {
    const WANTED: &'static str = r#"a duration such as "500ms", "5s", "2m" or "1h""#;

    fn read(value: &DeValue<'_>, at: &Place, report: &mut Report) -> Option<Self> {
        value.as_str().and_then(parse_period).or_else(|| refuse(value, at, report))
    }
}

impl<T: Read> Read for List<T> {
    const WANTED: &'static str = "an array";

    fn read(value: &DeValue<'_>, at: &Place, report: &mut Report) -> Option<Self> {
        if value.is_table() {
            report.error(at, format!("must be an array of tables: write [[{}]] for each entry", at.key));
            return None;
        }
        let Some(items) = value.as_array() else {
            return refuse(value, at, report);
        };
        let key = |index: usize| format!("{}[{index}]", at.key);
        Some(items.iter().enumerate().map(|(index, item)| read(item, key(index), report)).collect())
    }
}

impl<T: Read> Read for Named<T> {
    const WANTED: &'static str = "a table of named entries";

    fn read(value: &DeValue<'_>, at: &Place, report: &mut Report) -> Option<Self> {
        let Some(table) = value.as_table() else {
            return refuse(value, at, report);
        };
        let entries = in_order(table).into_iter().map(|(name, node)| {
            let key = join(&at.key, name.get_ref());
            let place = Place { key: key.clone(), line: Some(report.line(&name.span())) };
            (At { value: name.get_ref().to_string(), at: place }, read(node, key, report))
        });
        Some(entries.collect())
    }
}

fn whole(value: &DeValue<'_>) -> Option<u64> {
    value.as_integer().and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok())
}

type Entry<'n, 'i> = (&'n Spanned<std::borrow::Cow<'i, str>>, &'n Spanned<DeValue<'i>>);

/// The document sorts its keys by name; people read it from top to bottom.
fn in_order<'n, 'i>(table: &'n DeTable<'i>) -> Vec<Entry<'n, 'i>> {
    let mut entries: Vec<Entry<'n, 'i>> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

/// A closed set of words. The written form of each is told by [`Word::written`], here and in messages.
pub(crate) trait Word: Copy + 'static {
    const ALL: &'static [Self];

    fn written(self) -> &'static str;
}

/// Reads one of the words of `T`.
pub(crate) fn read_word<T: Word>(value: &DeValue<'_>, at: &Place, report: &mut Report) -> Option<T> {
    let known = || T::ALL.iter().map(|word| word.written());
    if let Some(text) = value.as_str() {
        if let Some(word) = T::ALL.iter().find(|word| word.written() == text) {
            return Some(*word);
        }
        let hint =
            near_miss(text, known()).map(|word| format!("; did you mean {word:?}?")).unwrap_or_default();
        report.error(at, format!("{text:?} is not known; must be {}{hint}", any_of(known())));
    } else {
        report.error(at, format!("must be {}, not {} {}", any_of(known()), article(value), value.type_str()));
    }
    None
}

fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::Integer(_) | DeValue::Array(_) => "an",
        DeValue::String(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Table(_) => "a",
    }
}

/// One table with a closed set of keys.
pub(crate) struct Table<'n, 'i> {
    entries: &'n DeTable<'i>,
    at: &'n Place,
}

impl<'n, 'i> Table<'n, 'i> {
    /// Reports every key that is not one of `known`.
    pub(crate) fn open(
        value: &'n DeValue<'i>,
        at: &'n Place,
        known: &[&str],
        report: &mut Report,
    ) -> Option<Self> {
        if value.is_array() {
            report.error(at, format!("must be one table: write [{}] once", at.key));
            return None;
        }
        let Some(entries) = value.as_table() else {
            report.error(at, format!("must be a table, not {} {}", article(value), value.type_str()));
            return None;
        };
        for (name, _) in in_order(entries) {
            let name_text: &str = name.get_ref();
            if known.contains(&name_text) {
                continue;
            }
            let place = Place { key: join(&at.key, name_text), line: Some(report.line(&name.span())) };
            let message = match near_miss(name_text, known.iter().copied()) {
                Some(near) => format!("unknown key; did you mean {near:?}?"),
                None => format!("unknown key; the keys known here are {}", known.join(", ")),
            };
            report.error(&place, message);
        }
        Some(Self { entries, at })
    }

    pub(crate) fn key<T: Read>(&self, name: &str, report: &mut Report) -> Key<T> {
        match self.entries.get(name) {
            Some(node) => read(node, join(&self.at.key, name), report),
            None => Key::Absent,
        }
    }
}

/// Declares tables of the written form: each a struct of optional keys, the list of its keys, and how it is read.
macro_rules! tables {
    ($(
        $(#[$doc:meta])*
        pub(crate) struct $table:ident {
            $( $(#[$key_doc:meta])* $key:ident: $kind:ty, )*
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Default)]
        pub(crate) struct $table {
            $( $(#[$key_doc])* pub(crate) $key: $crate::reader::Key<$kind>, )*
        }

        impl $table {
            /// Every key of this table, in the order of its declaration.
            pub(crate) const KEYS: &'static [&'static str] = &[$( stringify!($key) ),*];
        }

        impl $crate::reader::Read for $table {
            const WANTED: &'static str = "a table";

            fn read(
                value: &toml::de::DeValue<'_>,
                at: &$crate::problem::Place,
                report: &mut $crate::problem::Report,
            ) -> Option<Self> {
                let table = $crate::reader::Table::open(value, at, Self::KEYS, report)?;
                Some(Self { $( $key: table.key(stringify!($key), report), )* })
            }
        }
    )*};
}

/// Lets closed sets of words stand as the type of a key.
macro_rules! words {
    ($($word:ty),* $(,)?) => {$(
        impl $crate::reader::Word for $word {
            const ALL: &'static [Self] = &Self::ALL;

            fn written(self) -> &'static str {
                self.as_str()
            }
        }

        impl $crate::reader::Read for $word {
            const WANTED: &'static str = "one of a few words";

            fn read(
                value: &toml::de::DeValue<'_>,
                at: &$crate::problem::Place,
                report: &mut $crate::problem::Report,
            ) -> Option<Self> {
                $crate::reader::read_word(value, at, report)
            }
        }
    )*};
}

pub(crate) use {tables, words};
