//! Names of members that are data: ids, days, addresses. To a reader of JSON each is a place of its own; in the findings they
//! are folded into one, `$.users.u*.seen`. Pure.
//!
//! A name is data where its parent had many names of one mask. A name without a digit has no mask: such names take places by
//! how often they differ, as all others do.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use xxhash_rust::xxh64::xxh64;

/// Names of one mask under one parent beyond which they are data: objects of a written type do not have so many names that
/// differ by a number alone.
const NAMES_MAX: usize = 16;

/// Masks that are counted at a time; beyond it counting begins anew.
const MASKS_MAX: usize = 4096;

/// Letters before a number that are a word: `line2`, `u17`.
const WORD_BYTES_MAX: usize = 12;

/// The masks that were seen in the answers of one route.
#[derive(Debug, Default)]
pub(super) struct Folds {
    /// By parent and mask.
    seen: HashMap<u64, HashSet<u64>>,
    folded: HashSet<u64>,
}

impl Folds {
    /// The folded name for the member `name` of `parent`, where its name is data; counts it.
    pub(super) fn fold<'a>(&mut self, parent: &str, name: &'a str) -> Option<Cow<'a, str>> {
        let mask = mask(name)?;
        let key = xxh64(mask.as_bytes(), xxh64(parent.as_bytes(), 0));
        if self.folded.contains(&key) {
            return Some(mask);
        }
        if self.seen.len() >= MASKS_MAX && !self.seen.contains_key(&key) {
            self.seen.clear();
        }
        let names = self.seen.entry(key).or_default();
        names.insert(xxh64(name.as_bytes(), 0));
        if names.len() <= NAMES_MAX || self.folded.len() >= MASKS_MAX {
            return None;
        }
        self.seen.remove(&key);
        self.folded.insert(key);
        Some(mask)
    }
}

/// `u17-3` → `u*-*`; `*` alone for a name that mixes letters and digits. `None` without a digit or an `@`.
fn mask(name: &str) -> Option<Cow<'_, str>> {
    if name.contains('@') {
        return Some("*".into());
    }
    if !name.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut masked = String::with_capacity(name.len());
    for token in name.split_inclusive(|c: char| !c.is_alphanumeric()) {
        let (token, end) = match token.char_indices().next_back() {
            Some((at, last)) if !last.is_alphanumeric() => token.split_at(at),
            Some(_) | None => (token, ""),
        };
        let word = token.trim_end_matches(|c: char| c.is_ascii_digit());
        if word.len() > WORD_BYTES_MAX || word.bytes().any(|b| b.is_ascii_digit()) {
            return Some("*".into());
        }
        masked.push_str(word);
        masked.push_str(if word.len() < token.len() { "*" } else { "" });
        masked.push_str(end);
    }
    Some(masked.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_what_names_of_one_kind_share() {
        let rows = [
            ("plan", None),
            ("u17-3", Some("u*-*")),
            ("line2", Some("line*")),
            ("2026-11-29", Some("*-*-*")),
            ("550e8400-e29b-41d4-a716-446655440000", Some("*")),
            ("ada@example.org", Some("*")),
            ("1", Some("*")),
        ];
        for (name, expect) in rows {
            assert_eq!(mask(name).as_deref(), expect, "{name}");
        }
    }

    #[test]
    fn names_are_data_once_there_are_many_of_one_mask_under_one_parent() {
        let mut folds = Folds::default();
        for n in 0..NAMES_MAX {
            assert_eq!(folds.fold("$.users", &format!("u{n}")), None);
            assert_eq!(folds.fold("$.users", "u0"), None, "again is not another");
        }
        assert_eq!(folds.fold("$.users", "u99").as_deref(), Some("u*"));
        assert_eq!(folds.fold("$.users", "u0").as_deref(), Some("u*"));
        assert_eq!(folds.fold("$.groups", "u0"), None);
        assert_eq!(folds.fold("$.users", "total"), None);
    }
}
