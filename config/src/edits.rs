//! Edits as meant: what changes in a head on its way. Plain data; the gateway makes the changes.

use crate::matching::Pattern;

/// In this order: removed, set, added. Names in lower case; none of a field that frames or ends a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderEdits {
    pub remove: Vec<String>,
    /// Replaces what is there.
    pub set: Vec<(String, String)>,
    /// One more line.
    pub add: Vec<(String, String)>,
}

impl HeaderEdits {
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewrite {
    pub path: Option<PathRewrite>,
    /// Value of Host.
    pub host: Option<String>,
}

/// The query stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRewrite {
    /// Stands for what the route's path matched: the prefix, or all of it. Behind [`PathMatch::Elements`](crate::PathMatch::Elements) the slash
    /// between it and the rest is there exactly once.
    Matched(String),
    /// Stands for the whole path.
    Whole(String),
    /// Every match of the pattern in the path; `\1` is its first group.
    Regex { pattern: Pattern, with: String },
}
