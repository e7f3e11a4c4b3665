//! A value as written → a value of TOML.

use std::time::Duration;

use toml::Value;

use crate::reader::{Key, List, Named, Size, SizeOrUnlimited, Word};
use crate::units::{show_period, show_size};

/// A type whose values can be written.
pub(crate) trait Write {
    fn value(&self) -> Value;
}

/// The value of a key that was given.
pub(crate) fn of_key<T: Write>(key: &Key<T>) -> Option<Value> {
    key.given().map(|given| given.value.value())
}

fn integer(number: u64) -> Value {
    i64::try_from(number).map_or_else(|_| Value::String(number.to_string()), Value::Integer)
}

impl Write for String {
    fn value(&self) -> Value {
        Value::String(self.clone())
    }
}

impl Write for bool {
    fn value(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl Write for u64 {
    fn value(&self) -> Value {
        integer(*self)
    }
}

impl Write for f64 {
    fn value(&self) -> Value {
        Value::Float(*self)
    }
}

impl Write for Size {
    fn value(&self) -> Value {
        Value::String(show_size(self.0))
    }
}

impl Write for SizeOrUnlimited {
    fn value(&self) -> Value {
        Value::String(self.0.map_or_else(|| "unlimited".to_owned(), show_size))
    }
}

impl Write for Duration {
    fn value(&self) -> Value {
        Value::String(show_period(*self))
    }
}

impl<T: Write> Write for List<T> {
    fn value(&self) -> Value {
        Value::Array(self.iter().filter_map(of_key).collect())
    }
}

impl<T: Write> Write for Named<T> {
    fn value(&self) -> Value {
        let entries = self.iter().filter_map(|(name, key)| Some((name.value.clone(), of_key(key)?)));
        Value::Table(entries.collect())
    }
}

/// Writes one of the words of `T`.
pub(crate) fn word<T: Word>(word: T) -> Value {
    Value::String(word.written().to_owned())
}
