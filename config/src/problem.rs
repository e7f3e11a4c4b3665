//! What is wrong with a configuration, and where: collects every problem of one text. Knows nothing of what any key means.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

/// One sentence about one place of a configuration. Displays as `file:line: key: message`, unknown parts left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// Which of the report's sources it stands in.
    pub(crate) source: usize,
}

impl Place {
    /// The place where `name` would stand if this table had it.
    pub(crate) fn child(&self, name: &str) -> Self {
        Self { key: join(&self.key, name), ..self.clone() }
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

/// Problems told of one configuration, and warnings: more are counted. Whoever writes the text decides how many there are.
const PROBLEMS_MAX: usize = 1_000;

/// Everything found in one or several texts so far.
pub(crate) struct Report {
    /// Names of the texts.
    sources: Vec<String>,
    /// Byte offsets at which lines of the last text start; the first is 0.
    line_starts: Vec<usize>,
    /// Keys of the last text may be in camelCase too, as Kubernetes writes them.
    camel: bool,
    errors: Found,
    warnings: Found,
}

/// Problems with the numbers of their sources.
#[derive(Default)]
struct Found {
    all: Vec<(usize, Problem)>,
    /// Those that are not kept.
    more: usize,
}

impl Found {
    fn add(&mut self, source: usize, problem: impl FnOnce() -> Problem) {
        if self.all.len() < PROBLEMS_MAX {
            self.all.push((source, problem()));
        } else {
            self.more += 1;
        }
    }

    /// In the order of the texts and their lines, and each once, though what is wrong with a rule for several hosts is
    /// found for each of them.
    fn in_order(mut self) -> Vec<Problem> {
        self.all.sort_by_key(|(source, problem)| (*source, problem.line));
        let mut seen = HashSet::new();
        self.all.retain(|(source, problem)| seen.insert((*source, problem.clone())));
        let mut told: Vec<Problem> = self.all.into_iter().map(|(_, problem)| problem).collect();
        if self.more > 0 {
            let message = format!("and {} more", self.more);
            told.push(Problem { file: String::new(), line: None, key: None, message });
        }
        told
    }
}

impl Report {
    pub(crate) fn new(file: &str, text: &str) -> Self {
        let mut report = Self {
            sources: Vec::new(),
            line_starts: Vec::new(),
            camel: false,
            errors: Found::default(),
            warnings: Found::default(),
        };
        report.open(file, text, false);
        report
    }

    /// What comes next is about another text.
    pub(crate) fn open(&mut self, file: &str, text: &str, camel: bool) {
        let after_newlines = text.bytes().enumerate().filter(|&(_, b)| b == b'\n').map(|(at, _)| at + 1);
        self.line_starts = std::iter::once(0).chain(after_newlines).collect();
        self.sources.push(file.to_owned());
        self.camel = camel;
    }

    /// A place in the text that was opened last.
    pub(crate) fn place(&self, key: String, line: usize) -> Place {
        Place { key, line: Some(line), source: self.sources.len().saturating_sub(1) }
    }

    /// Whether `written` is how this text may spell the key `name`.
    pub(crate) fn spells(&self, name: &str, written: &str) -> bool {
        name == written || self.camel && camel(name) == written
    }

    /// How this text would spell the key `name`.
    pub(crate) fn spelling(&self, name: &str) -> String {
        if self.camel { camel(name) } else { name.to_owned() }
    }

    /// The 1-based line in which `span` starts.
    pub(crate) fn line(&self, span: &Range<usize>) -> usize {
        self.line_starts.partition_point(|&start| start <= span.start)
    }

    pub(crate) fn error(&mut self, at: &Place, message: impl Into<String>) {
        let Self { sources, errors, .. } = self;
        errors.add(at.source, || problem(sources, at, message.into()));
    }

    pub(crate) fn warn(&mut self, at: &Place, message: impl Into<String>) {
        let Self { sources, warnings, .. } = self;
        warnings.add(at.source, || problem(sources, at, message.into()));
    }

    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.all.is_empty()
    }

    /// The warnings of sound texts, or the errors of any others.
    pub(crate) fn finish(self) -> Result<Vec<Problem>, Vec<Problem>> {
        if self.has_errors() { Err(self.errors.in_order()) } else { Ok(self.warnings.in_order()) }
    }
}

fn problem(sources: &[String], at: &Place, message: String) -> Problem {
    let key = (!at.key.is_empty()).then(|| at.key.clone());
    let file = sources.get(at.source).cloned().unwrap_or_default();
    Problem { file, line: at.line, key, message }
}

/// `max_connections` as `maxConnections`.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
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
