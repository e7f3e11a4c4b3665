//! Problems of a configuration, each with its place: collects all problems of a text. Knows no key's meaning.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Range;

/// Keys that had another name: the name now, the name before. The former one is read with a warning.
const FORMER_NAMES: [(&str, &str); 1] = [("response", "answer")];

/// A sentence about one place of a configuration. Displays as `file:line: key: message`, unknown parts left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Problem {
    /// Name of the source as the caller gave it; empty when there is none.
    pub file: String,
    /// 1-based.
    pub line: Option<usize>,
    /// Path of the key, e.g. `route[0].mirrors[1].percent`; indices count from 0.
    pub key: Option<String>,
    /// The fault, and the values that are allowed.
    pub message: String,
    /// The manifest that is to be changed; `None` where the problem is of no manifest, or of a TOML file.
    pub resource: Option<ResourceId>,
}

/// A Kubernetes object. Displays as `VirtualService default/httpbin`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ResourceId {
    /// `networking.istio.io`; empty for the core group. Tells Istio's Gateway from the Gateway API's.
    pub group: String,
    pub kind: String,
    pub namespace: String,
    /// Empty where it has only a `generateName`.
    pub name: String,
    /// `metadata.generation`, which an API server counts and a file has not.
    pub generation: Option<u64>,
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
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
    /// `None` for a value that is not in the text.
    pub(crate) line: Option<usize>,
    /// Index of its source in the report.
    pub(crate) source: usize,
    /// Index of its resource in the report.
    pub(crate) resource: Option<usize>,
}

impl Place {
    /// The place where `name` would stand if this table had it.
    pub(crate) fn child(&self, name: &str) -> Self {
        Self { key: join(&self.key, name), ..self.clone() }
    }

    fn origin(&self) -> Origin {
        Origin { source: self.source, resource: self.resource }
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

/// Problems told of one configuration, and warnings: more are only counted. The author of the text could make any number.
const PROBLEMS_MAX: usize = 1_000;
/// The same for each resource where the sound ones are served without the others: none may hide its neighbour's.
const PROBLEMS_PER_RESOURCE_MAX: usize = 50;

/// A value that is shorter may be a word of a message.
const WORD_BYTES: usize = 6;

/// Everything found in one or several texts so far.
pub(crate) struct Report {
    /// Names of the texts.
    sources: Vec<String>,
    /// Byte offsets at which lines of the last text start; the first is 0.
    line_starts: Vec<usize>,
    /// Keys of the last text may be in camelCase too, as Kubernetes writes them.
    camel: bool,
    /// Manifests in the order in which they were entered.
    resources: Vec<ResourceId>,
    /// The one that is being read.
    entered: Option<usize>,
    /// A resource is refused alone, and objects that it lacks may still come.
    by_resource: bool,
    /// Values of the text that is read aside, by their keys: no message repeats one, for it is told to more than may read the text.
    untold: Option<Vec<(String, String)>>,
    /// Why a resource has no part in the configuration though nothing is wrong with it.
    skipped: BTreeMap<usize, String>,
    errors: Found,
    warnings: Found,
}

/// Problems with the numbers of their sources.
#[derive(Default)]
struct Found {
    all: Vec<(Origin, Problem)>,
    /// The number of problems that are not kept; by resource where each has room of its own.
    more: BTreeMap<Option<usize>, usize>,
    kept: BTreeMap<Option<usize>, usize>,
}

/// Where a problem comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Origin {
    source: usize,
    resource: Option<usize>,
}

impl Found {
    fn add(&mut self, origin: Origin, each_has_room: bool, problem: impl FnOnce() -> Problem) {
        let (room, max) = match origin.resource {
            Some(_) if each_has_room => (origin.resource, PROBLEMS_PER_RESOURCE_MAX),
            Some(_) | None => (None, PROBLEMS_MAX),
        };
        let kept = self.kept.entry(room).or_default();
        if *kept < max {
            *kept += 1;
            self.all.push((origin, problem()));
        } else {
            *self.more.entry(room).or_default() += 1;
        }
    }

    /// In the order of the texts and their lines, each once: a problem of a rule for several hosts is found for each of them.
    fn in_order(&mut self) -> Vec<(Option<usize>, Problem)> {
        self.all.sort_by_key(|(origin, problem)| (origin.source, problem.line));
        let mut seen = HashSet::new();
        self.all.retain(|told| seen.insert(told.clone()));
        let all = std::mem::take(&mut self.all).into_iter();
        let mut told: Vec<_> = all.map(|(origin, problem)| (origin.resource, problem)).collect();
        for (resource, more) in std::mem::take(&mut self.more) {
            told.push((resource, Problem { message: format!("and {more} more"), ..Problem::default() }));
        }
        told
    }
}

/// A report by resource, in the order in which they were entered; the rest is of no resource.
#[derive(Debug, Default)]
pub(crate) struct ByResource {
    pub(crate) resources: Vec<OfResource>,
    pub(crate) errors: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
}

#[derive(Debug, Default)]
pub(crate) struct OfResource {
    pub(crate) id: ResourceId,
    pub(crate) errors: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
    pub(crate) skipped: Option<String>,
}

impl Report {
    pub(crate) fn new(file: &str, text: &str) -> Self {
        let mut report = Self {
            sources: Vec::new(),
            line_starts: Vec::new(),
            camel: false,
            resources: Vec::new(),
            entered: None,
            by_resource: false,
            untold: None,
            skipped: BTreeMap::new(),
            errors: Found::default(),
            warnings: Found::default(),
        };
        report.open(file, text, false);
        report
    }

    /// For documents that stand for themselves: one is refused alone, and missing objects are only warned of.
    pub(crate) fn by_resource() -> Self {
        Self { by_resource: true, ..Self::new("", "") }
    }

    pub(crate) const fn is_by_resource(&self) -> bool {
        self.by_resource
    }

    /// Begins another text: problems from here on are in it.
    pub(crate) fn open(&mut self, file: &str, text: &str, camel: bool) {
        let after_newlines = text.bytes().enumerate().filter(|&(_, b)| b == b'\n').map(|(at, _)| at + 1);
        self.line_starts = std::iter::once(0).chain(after_newlines).collect();
        self.sources.push(file.to_owned());
        self.camel = camel;
        self.entered = None;
    }

    /// Reads another text for the entered resource. A problem in it costs only that text: it becomes a warning, without values.
    pub(crate) fn aside<T>(
        &mut self,
        file: &str,
        text: &str,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let (entered, camel) = (self.entered, self.camel);
        let before = self.sources.last().cloned().unwrap_or_default();
        let line_starts = std::mem::take(&mut self.line_starts);
        let (errors, warnings) = (std::mem::take(&mut self.errors), std::mem::take(&mut self.warnings));
        self.open(file, text, false);
        self.entered = entered;
        self.untold = Some(Vec::new());
        let read = read(self);
        self.untold = None;
        let wrong = std::mem::replace(&mut self.errors, errors);
        self.warnings = warnings;
        // The text before goes on where it was.
        self.sources.push(before);
        (self.line_starts, self.camel) = (line_starts, camel);
        let read = read.filter(|_| wrong.all.is_empty());
        self.warnings.all.extend(wrong.all);
        read
    }

    /// Begins a resource: texts that are read from here on belong to it, and so do their places wherever they are carried.
    pub(crate) fn enter(&mut self, resource: ResourceId) {
        self.entered = Some(self.resources.len());
        self.resources.push(resource);
    }

    /// Ends the resource: texts that are read from here on belong to none.
    pub(crate) fn leave(&mut self) {
        self.entered = None;
    }

    /// A place in the text that was opened last; line 0 is that of a value that stood in no text.
    pub(crate) fn place(&self, key: String, line: usize) -> Place {
        let source = self.sources.len().saturating_sub(1);
        Place { key, line: (line > 0).then_some(line), source, resource: self.entered }
    }

    /// Whether `written` is how this text may spell the key `name`.
    pub(crate) fn spells(&self, name: &str, written: &str) -> bool {
        name == written || self.camel && camel(name) == written || self.former(name) == Some(written)
    }

    /// The former name of the key `name`, where it had one.
    pub(crate) fn former(&self, name: &str) -> Option<&'static str> {
        FORMER_NAMES.iter().find(|(now, _)| *now == name).map(|(_, before)| *before)
    }

    /// How this text would spell the key `name`.
    pub(crate) fn spelling(&self, name: &str) -> String {
        if self.camel { camel(name) } else { name.to_owned() }
    }

    /// The 1-based line in which `span` starts.
    pub(crate) fn line(&self, span: &Range<usize>) -> usize {
        self.line_starts.partition_point(|&start| start <= span.start)
    }

    /// Whether a message may not repeat a value.
    pub(crate) const fn keeps_values(&self) -> bool {
        self.untold.is_some()
    }

    /// A text stands at this place.
    pub(crate) fn saw(&mut self, at: &Place, text: &str) {
        if let Some(untold) = &mut self.untold
            && !text.is_empty()
        {
            untold.push((at.key.clone(), text.to_owned()));
        }
    }

    /// A message about a place, without the values that stand at it, or around it.
    fn told(&self, at: &Place, message: String) -> String {
        let Some(untold) = &self.untold else { return message };
        let is_of = |key: &str| key.starts_with(&at.key) || at.key.starts_with(key);
        let mut told = message;
        for (_, value) in untold.iter().filter(|(key, _)| is_of(key)) {
            told = told.replace(&format!("{value:?}"), "what stands there");
            // Without its quotes only a value that can be no word of a sentence.
            if value.len() >= WORD_BYTES {
                told = told.replace(value.as_str(), "what stands there");
            }
        }
        told
    }

    pub(crate) fn error(&mut self, at: &Place, message: impl Into<String>) {
        let message = self.told(at, message.into());
        let problem = || problem(&self.sources, &self.resources, at, message);
        self.errors.add(at.origin(), self.by_resource, problem);
    }

    pub(crate) fn warn(&mut self, at: &Place, message: impl Into<String>) {
        let message = self.told(at, message.into());
        let problem = || problem(&self.sources, &self.resources, at, message);
        self.warnings.add(at.origin(), self.by_resource, problem);
    }

    /// Reports that another document is missing. Where all documents are at hand this is an error with `cure`, the way to mend
    /// it; where they come one by one it may still come, and `meanwhile` tells the effect on requests.
    pub(crate) fn missing(&mut self, at: &Place, what: &str, cure: &str, meanwhile: &str) {
        if self.by_resource {
            self.warn(at, format!("{what}: {meanwhile}"));
        } else {
            self.error(at, format!("{what}{cure}"));
        }
    }

    /// The resource that stands here has no part in the configuration.
    pub(crate) fn skip(&mut self, at: &Place, why: &str) {
        match at.resource {
            Some(resource) if self.by_resource => {
                self.skipped.entry(resource).or_insert_with(|| why.to_owned());
            }
            Some(_) | None => self.warn(at, format!("is skipped: {why}")),
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.all.is_empty()
    }

    /// The warnings of sound texts, or the errors of any others.
    pub(crate) fn finish(mut self) -> Result<Vec<Problem>, Vec<Problem>> {
        let all = |found: &mut Found| found.in_order().into_iter().map(|(_, problem)| problem).collect();
        if self.has_errors() { Err(all(&mut self.errors)) } else { Ok(all(&mut self.warnings)) }
    }

    /// All problems, sorted by resource.
    pub(crate) fn finish_by_resource(mut self) -> ByResource {
        let of = |id: ResourceId| OfResource { id, ..OfResource::default() };
        let mut told =
            ByResource { resources: self.resources.into_iter().map(of).collect(), ..ByResource::default() };
        for (resource, problem) in self.errors.in_order() {
            match resource.and_then(|resource| told.resources.get_mut(resource)) {
                Some(resource) => resource.errors.push(problem),
                None => told.errors.push(problem),
            }
        }
        for (resource, problem) in self.warnings.in_order() {
            match resource.and_then(|resource| told.resources.get_mut(resource)) {
                Some(resource) => resource.warnings.push(problem),
                None => told.warnings.push(problem),
            }
        }
        for (resource, why) in self.skipped {
            if let Some(resource) = told.resources.get_mut(resource) {
                resource.skipped = Some(why);
            }
        }
        told
    }
}

fn problem(sources: &[String], resources: &[ResourceId], at: &Place, message: String) -> Problem {
    Problem {
        file: sources.get(at.source).cloned().unwrap_or_default(),
        line: at.line,
        key: (!at.key.is_empty()).then(|| at.key.clone()),
        message,
        resource: at.resource.and_then(|resource| resources.get(resource)).cloned(),
    }
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
