//! Places and values as they are told: named, and never longer than they may be. Pure.

use std::borrow::Cow;

use serde_json::Value;
use xxhash_rust::xxh64::xxh64;

use super::super::folds::Folds;
use super::super::rules::Path;

/// Characters shown of one value.
const SHOWN_CHARS_MAX: usize = 120;

/// Bytes of the name of one member, and of the whole name of a field.
pub(super) const NAME_BYTES_MAX: usize = 128;
pub(super) const FIELD_BYTES_MAX: usize = 512;

/// Where `path` leads, behind the method of a call.
pub(super) fn text_of(method: Option<&str>, path: &Path<'_>, mut folds: Option<&mut Folds>) -> String {
    let root = method.map_or_else(|| "$".to_owned(), |method| format!("{method} $"));
    path.iter().fold(root, |text, part| step(&text, *part, folds.as_deref_mut()))
}

/// The path one step below `text`: a member by its name, or any item.
pub(in super::super) fn step(text: &str, part: Option<&str>, folds: Option<&mut Folds>) -> String {
    let Some(name) = part else { return format!("{text}[*]") };
    let folded = folds.and_then(|folds| folds.fold(text, name));
    let is_folded = folded.is_some();
    let name = folded.unwrap_or_else(|| bounded(name, NAME_BYTES_MAX));
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if name.bytes().all(|b| is_plain(b) || (is_folded && b == b'*')) {
        format!("{text}.{name}")
    } else {
        format!("{text}[{}]", Value::String(name.into_owned()))
    }
}

/// `name` in so many bytes. A longer one ends with the hash of all of it, so that different ones stay different.
pub(super) fn bounded(name: &str, bytes_max: usize) -> Cow<'_, str> {
    if name.len() <= bytes_max {
        return name.into();
    }
    let tail = format!("…{:016x}", xxh64(name.as_bytes(), 0));
    let end = name.floor_char_boundary(bytes_max.saturating_sub(tail.len()));
    format!("{}{tail}", name.get(..end).unwrap_or_default()).into()
}

pub(super) fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The description of a value that is not text.
pub(super) fn bytes(bytes: &[u8]) -> String {
    format!("{} bytes, hash {:016x}", bytes.len(), xxh64(bytes, 0))
}
