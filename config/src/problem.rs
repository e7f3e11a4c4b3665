//! What is wrong with a configuration, and where: collects every problem of one text. Knows nothing of what any key means.

use std::fmt;
use std::ops::Range;

/// One sentence about one place of a configuration. Displays as `file:line: key: message`, unknown parts left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Name of the source as the caller gave it; empty when there is none.
    pub file: String,
    /// 1-based.
    pub line: Option<usize>,
    /// Path of the key, e.g. `route[0].mirrors[1].percent`; indices count from 0.
    pub key: Option<String>,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.as_str(), self.line) {
            ("", None) => {}
            ("", Some(line)) => write!(f, "{line}: ")?,
            (file, None) => write!(f, "{file}: ")?,
            (file, Some(line)) => write!(f, "{file}:{line}: ")?,
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Place {
    /// Empty for the document as a whole.
    pub(crate) key: String,
    /// `None` for what is not there to be pointed at.
    pub(crate) line: Option<usize>,
}

impl Place {
    /// The place where `name` would stand if this table had it.
    pub(crate) fn child(&self, name: &str) -> Self {
        Self { key: join(&self.key, name), line: self.line }
    }
}

/// `table.name`, quoted as TOML would have it where `name` is no bare key.
pub(crate) fn join(table: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match (table.is_empty(), bare) {
        (true, true) => name.to_owned(),
        (true, false) => format!("{name:?}"),
        (false, true) => format!("{table}.{name}"),
        (false, false) => format!("{table}.{name:?}"),
    }
}

/// Everything found in one text so far.
pub(crate) struct Report {
    file: String,
    /// Byte offsets at which lines start; the first is 0.
    line_starts: Vec<usize>,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Report {
    pub(crate) fn new(file: &str, text: &str) -> Self {
        let after_newlines = text.bytes().enumerate().filter(|&(_, b)| b == b'\n').map(|(at, _)| at + 1);
        Self {
            file: file.to_owned(),
            line_starts: std::iter::once(0).chain(after_newlines).collect(),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The 1-based line in which `span` starts.
    pub(crate) fn line(&self, span: &Range<usize>) -> usize {
        self.line_starts.partition_point(|&start| start <= span.start)
    }

    pub(crate) fn error(&mut self, at: &Place, message: impl Into<String>) {
        let problem = self.problem(at, message.into());
        self.errors.push(problem);
    }

    pub(crate) fn warn(&mut self, at: &Place, message: impl Into<String>) {
        let problem = self.problem(at, message.into());
        self.warnings.push(problem);
    }

    fn problem(&self, at: &Place, message: String) -> Problem {
        let key = (!at.key.is_empty()).then(|| at.key.clone());
        Problem { file: self.file.clone(), line: at.line, key, message }
    }

    /// The warnings of a sound text, or the errors of any other; both in the order of the text.
    pub(crate) fn finish(mut self) -> Result<Vec<Problem>, Vec<Problem>> {
        self.errors.sort_by_key(|problem| problem.line);
        self.warnings.sort_by_key(|problem| problem.line);
        if self.errors.is_empty() { Ok(self.warnings) } else { Err(self.errors) }
    }
}

/// The one of `known` that `word` was probably meant to be.
pub(crate) fn near_miss<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // A third of the letters wrong is a slip; more is another word, as v3 is not v2.
    let slip = word.chars().count() / 3;
    // Half remembered: `fields` for `fields_max`, `percentage` for `percent`.
    let part = |candidate: &str| {
        word.len().min(candidate.len()) >= 4 && (candidate.starts_with(word) || word.starts_with(candidate))
    };
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= slip || part(candidate))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// `"a", "b" or "c"`.
pub(crate) fn any_of<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        None => "nothing".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}
