//! Two answers to one request, side by side: where they differ, and how. Pure.

mod calls;
mod fields;
mod shapes;
mod shown;
mod texts;

use std::borrow::Cow;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh64::xxh64;

use super::added::{self, Added};
use super::coding::{End, Plain, plain};
use super::folds::Folds;
use super::json::{self, Member, Node, Unread};
use super::rules::{Path, Rules};
use super::said::Said;
use super::shape;
use crate::mirror::redact::REDACTED;
use crate::observe::record::Answer;
pub(super) use calls::text_of_call;
use fields::{Fields, fields, media_type};
pub(super) use shown::step;
use shown::{FIELD_BYTES_MAX, bounded, short, text_of};

/// A place where two answers differ, with both values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `status`, the lower-case name of a field, a JSON path (`$.user.plan`, `$.items[*].id`) or `body`. Of a call, behind its
    /// method: `shop.Carts/Pay grpc-status`, `shop.Carts/Find $.items[*].price`.
    pub field: String,
    pub kind: Kind,
    /// As it may be shown; `None` where that side has none.
    pub primary: Option<String>,
    pub mirror: Option<String>,
    /// Hashes of both values, where these have one shape.
    pub alike: Option<(u64, u64)>,
}

/// How it differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Status,
    Header,
    /// Another value of the same type.
    Changed,
    /// Only the primary has it.
    Missing,
    /// Only the mirror has it.
    Added,
    /// A value of another type.
    Type,
    /// Another number of items.
    Length,
    /// Content that is not JSON on both sides.
    Body,
}

impl Kind {
    /// Contents have to be compared to see it.
    pub fn is_of_contents(self) -> bool {
        match self {
            Self::Status | Self::Header => false,
            Self::Changed | Self::Missing | Self::Added | Self::Type | Self::Length | Self::Body => true,
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Header => "header",
            Self::Changed => "changed",
            Self::Missing => "missing",
            Self::Added => "added",
            Self::Type => "type",
            Self::Length => "length",
            Self::Body => "body",
        }
    }
}

/// The result of comparing two answers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    pub(super) differences: Vec<Difference>,
    /// Why the contents were not compared, where they were not.
    pub(super) content_skipped: Option<&'static str>,
    /// They differ in more than was looked at.
    pub(super) is_cut: bool,
}

/// Facts on a pair beside its two answers.
#[derive(Debug, Default)]
pub(super) struct Context<'a> {
    /// Places where the route's baseline differs too: they take no room from the others.
    pub(super) known: Option<&'a HashSet<(String, Kind)>>,
    pub(super) folds: Option<&'a RefCell<Folds>>,
    /// Values that the gateway itself wrote on the copy.
    pub(super) added: Added,
    /// The request's path, where it is a call.
    pub(super) path: Cow<'a, str>,
}

/// Differences told of one pair beside those that its baseline has too: the pair of which there are more is counted, and
/// holds a verdict as contents do that were not compared.
const DIFFERENCES_MAX: usize = 64;

pub(super) fn compare(rules: &Rules, context: &Context<'_>, primary: &Answer, mirror: &Answer) -> Compared {
    let (seen, differences) = (HashSet::new(), Vec::new());
    let mut found = Found {
        rules,
        context,
        differences,
        seen,
        unknown: 0,
        is_cut: false,
        alike: None,
        method: None,
        folds_names: true,
    };
    if primary.status != mirror.status {
        let shown = |answer: &Answer| Some(answer.status.to_string());
        found.add("status".to_owned(), Kind::Status, shown(primary), shown(mirror));
        // An error page instead of an answer is one difference: that its fields and contents are others goes without saying.
        if primary.status / 100 != mirror.status / 100 {
            return Compared { differences: found.differences, ..Compared::default() };
        }
    }
    let (mut ours, mut theirs) = (fields(&primary.fields), fields(&mirror.fields));
    if found.call((primary, &mut ours), (mirror, &mut theirs)) {
        return Compared { differences: found.differences, ..Compared::default() };
    }
    found.fields(&ours, &theirs);
    let content_skipped = found.contents((primary, &ours), (mirror, &theirs));
    Compared { differences: found.differences, content_skipped, is_cut: found.is_cut }
}

struct Found<'a> {
    rules: &'a Rules,
    context: &'a Context<'a>,
    differences: Vec<Difference>,
    seen: HashSet<(String, Kind)>,
    /// Of the differences those that the baseline does not have.
    unknown: usize,
    is_cut: bool,
    alike: Option<(u64, u64)>,
    /// Of a call.
    method: Option<String>,
    /// Names of members may be data: those of fields without names are not.
    folds_names: bool,
}

impl Found<'_> {
    /// Adds a difference. Lengths are bounded here, whoever chose the names, and names and values lose the secret parameters in
    /// them.
    fn add(&mut self, field: String, kind: Kind, primary: Option<String>, mirror: Option<String>) {
        // Of this difference alone, even where the place is known or finds no room: the next one looks like itself.
        let alike = self.alike.take();
        let field = match self.rules.shown_text(&field) {
            Cow::Owned(without) => without,
            Cow::Borrowed(_) => field,
        };
        let field = match bounded(&field, FIELD_BYTES_MAX) {
            Cow::Owned(shorter) => shorter,
            Cow::Borrowed(_) => field,
        };
        // The same place of several items is one place.
        let place = (field, kind);
        if self.seen.contains(&place) {
            return;
        }
        let is_known = self.context.known.is_some_and(|known| known.contains(&place));
        if !is_known && self.unknown == DIFFERENCES_MAX {
            self.is_cut = true;
            return;
        }
        self.unknown += usize::from(!is_known);
        self.seen.insert(place.clone());
        let [primary, mirror] = [primary, mirror].map(|side| {
            let side = side?;
            Some(short(&self.rules.shown_text(&side)))
        });
        self.differences.push(Difference { field: place.0, kind, primary, mirror, alike });
    }

    /// Notes for the next difference whether its values are of one shape.
    fn looks(&mut self, primary: &str, mirror: &str) {
        let hash = |text: &str| xxh64(text.as_bytes(), 0);
        self.alike = shape::is_alike(primary, mirror).then(|| (hash(primary), hash(mirror)));
    }

    fn looks_like_bytes(&mut self, primary: &[u8], mirror: &[u8]) {
        self.alike = (primary.len() == mirror.len()).then(|| (xxh64(primary, 0), xxh64(mirror, 0)));
    }

    /// The text as it is compared: without the parts that the rules ignore, and with the gateway's marks on the copy undone.
    fn plain<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.context.added.undone(text) {
            Cow::Borrowed(text) => self.rules.without_ignored(text),
            Cow::Owned(text) => self.rules.without_ignored(&text).into_owned().into(),
        }
    }

    /// `$.items[*].id`, in which names that are data are folded.
    fn place(&self, path: &Path<'_>) -> String {
        let mut folds = self.context.folds.filter(|_| self.folds_names).map(RefCell::borrow_mut);
        text_of(self.method.as_deref(), path, folds.as_deref_mut())
    }

    /// Adds a difference at `path` of a JSON text: in full, or as one difference of the whole secret that it lies in. Names
    /// below a secret are part of it, and so are their number and the kinds of their values.
    fn add_at(&mut self, path: &Path<'_>, kind: Kind, primary: Option<String>, mirror: Option<String>) {
        let Some(secret) = self.rules.secret_at(path, self.method.is_some()) else {
            return self.add(self.place(path), kind, primary, mirror);
        };
        let shown = || Some(REDACTED.to_owned());
        let (kind, primary, mirror) = match kind {
            // Whether the member is there is no part of its value.
            Kind::Missing if secret.len() == path.len() => (kind, shown(), None),
            Kind::Added if secret.len() == path.len() => (kind, None, shown()),
            Kind::Status | Kind::Header | Kind::Changed | Kind::Missing | Kind::Added => {
                (Kind::Changed, shown(), shown())
            }
            Kind::Type | Kind::Length | Kind::Body => (Kind::Changed, shown(), shown()),
        };
        self.add(self.place(&secret), kind, primary, mirror);
    }

    /// Why the contents were not compared, where they were not.
    fn contents(
        &mut self,
        (primary, ours): (&Answer, &Fields),
        (mirror, theirs): (&Answer, &Fields),
    ) -> Option<&'static str> {
        if primary.content == mirror.content && !primary.is_cut && !mirror.is_cut {
            return None;
        }
        let (our_type, their_type) = (media_type(ours), media_type(theirs));
        if !self.rules.compares_contents(&our_type, &their_type) {
            return Some(super::CONTENT_TYPE);
        }
        let bytes_max = self.rules.decoded_bytes_max;
        let (Some(primary), Some(mirror)) = (plain(primary, bytes_max), plain(mirror, bytes_max)) else {
            return Some("coded");
        };
        let framings = self.method.as_ref().and_then(|_| calls::framings(&our_type, &their_type));
        let are_json = is_json(&our_type) && is_json(&their_type);
        match (primary.end, mirror.end) {
            (End::Whole, End::Whole) => {}
            (End::Broken, End::Broken) => return Some("broken"),
            (End::Broken, End::Whole | End::Cut) | (End::Whole | End::Cut, End::Broken) => {
                let shown = |of: &Plain<'_>| match of.end {
                    End::Broken => "content whose coding is broken".to_owned(),
                    End::Whole | End::Cut => "content".to_owned(),
                };
                self.body(Some(shown(&primary)), Some(shown(&mirror)));
                return None;
            }
            (End::Cut, End::Cut) => return Some("too_long"),
            (End::Cut, End::Whole) | (End::Whole, End::Cut) => {
                let (cut, whole) =
                    if primary.end == End::Cut { (&primary, &mirror) } else { (&mirror, &primary) };
                // One JSON text may be shorter than another of the same meaning.
                let may_be_same = framings.is_some() || (are_json && json::read(&whole.content).is_ok());
                if whole.content.len() >= cut.content.len() || may_be_same {
                    return Some("too_long");
                }
                let shown = |of: &Plain<'_>| match of.end {
                    _ if self.rules.hides_content() => REDACTED.to_owned(),
                    End::Cut => format!("more than {} bytes", of.content.len()),
                    End::Whole | End::Broken => format!("{} bytes", of.content.len()),
                };
                self.body(Some(shown(&primary)), Some(shown(&mirror)));
                return None;
            }
        }
        if let Some(framings) = framings {
            return self.messages((&primary.content, ours), (&mirror.content, theirs), framings);
        }
        if are_json {
            match (json::read(&primary.content), json::read(&mirror.content)) {
                (Ok(a), Ok(b)) => {
                    self.values(&mut Vec::new(), &a, &b);
                    return None;
                }
                (Err(Unread::TooComplex), _) | (_, Err(Unread::TooComplex)) => return Some("too_complex"),
                (Err(Unread::NotJson), _) | (_, Err(Unread::NotJson)) => {}
            }
        }
        let are_lines =
            [&our_type, &their_type].iter().all(|kind| json::LINES_TYPES.contains(&kind.as_str()));
        if are_lines
            && let (Some(a), Some(b)) =
                (json::read_lines(&primary.content), json::read_lines(&mirror.content))
        {
            self.items(&mut Vec::new(), &a, &b);
            return None;
        }
        self.texts(&primary.content, &mirror.content);
        None
    }

    fn body(&mut self, primary: Option<String>, mirror: Option<String>) {
        self.add("body".to_owned(), Kind::Body, primary, mirror);
    }

    fn values<'n>(&mut self, path: &mut Path<'n>, primary: &'n Node<'_>, mirror: &'n Node<'_>) {
        if self.rules.ignores(path) || self.is_cut {
            return;
        }
        match (primary, mirror) {
            (Node::Object(a), Node::Object(b)) => self.members(path, a, b),
            (Node::Array(a), Node::Array(b)) => self.items(path, a, b),
            (Node::String(a), Node::String(b)) => {
                if self.plain(a) != self.plain(b) {
                    self.looks(a, b);
                    self.one_side(path, Kind::Changed, Some(primary), Some(mirror));
                    self.of_another_shape(path, (a, b), (primary, mirror));
                }
            }
            (Node::Number(a), Node::Number(b)) => {
                if !self.rules.same_number(a, b) {
                    self.looks(a, b);
                    self.one_side(path, Kind::Changed, Some(primary), Some(mirror));
                    self.of_another_shape(path, (a, b), (primary, mirror));
                }
            }
            (Node::Bool(a), Node::Bool(b)) if a == b => {}
            (Node::Null, Node::Null) => {}
            (Node::Bytes(a), Node::Bytes(b)) if a == b => {}
            (Node::Bytes(a), Node::Bytes(b)) => {
                self.looks_like_bytes(a, b);
                self.one_side(path, Kind::Changed, Some(primary), Some(mirror));
            }
            (Node::Hidden(a), Node::Hidden(b)) if a == b => {}
            (Node::Bool(_), Node::Bool(_)) | (Node::Hidden(_), Node::Hidden(_)) => {
                self.one_side(path, Kind::Changed, Some(primary), Some(mirror));
            }
            (
                Node::Object(_)
                | Node::Array(_)
                | Node::String(_)
                | Node::Number(_)
                | Node::Bool(_)
                | Node::Bytes(_)
                | Node::Hidden(_)
                | Node::Null,
                _,
            ) => self.one_side(path, Kind::Type, Some(primary), Some(mirror)),
        }
    }

    /// Members side by side by their names, which either side may repeat: readers take the first, the last, or refuse.
    fn members<'n>(&mut self, path: &mut Path<'n>, primary: &'n [Member<'_>], mirror: &'n [Member<'_>]) {
        let mut ours = primary.chunk_by(|(a, _), (b, _)| a == b).peekable();
        let mut theirs = mirror.chunk_by(|(a, _), (b, _)| a == b).peekable();
        loop {
            let a = ours.peek().and_then(|of| of.first());
            let b = theirs.peek().and_then(|of| of.first());
            let (name, order) = match (a, b) {
                (Some((a, _)), Some((b, _))) => (a.min(b), a.cmp(b)),
                (Some((a, _)), None) => (a, Ordering::Less),
                (None, Some((b, _))) => (b, Ordering::Greater),
                (None, None) => return,
            };
            let a = ours.next_if(|_| order.is_le()).unwrap_or_default();
            let b = theirs.next_if(|_| order.is_ge()).unwrap_or_default();
            if added::names(name) {
                continue;
            }
            path.push(Some(name));
            match (a, b) {
                ([], [(_, only), ..]) => self.one_side(path, Kind::Added, None, Some(only)),
                ([(_, only), ..], []) => self.one_side(path, Kind::Missing, Some(only), None),
                ([(_, a)], [(_, b)]) => self.values(path, a, b),
                (a, b) => {
                    let values = |of: &'n [Member<'_>]| of.iter().map(|(_, value)| value).collect::<Vec<_>>();
                    self.repeated(path, &values(a), &values(b), "times");
                }
            }
            path.pop();
        }
    }

    fn items<'n>(&mut self, path: &mut Path<'n>, primary: &'n [Node<'_>], mirror: &'n [Node<'_>]) {
        let services = |items: &'n [Node<'_>]| items.iter().filter(|item| !added::is_item(item)).collect();
        let (primary, mirror): (Vec<_>, Vec<_>) = (services(primary), services(mirror));
        if primary.len() != mirror.len() {
            let shown = |items: &[&Node<'_>]| Some(format!("{} items", items.len()));
            self.add_at(path, Kind::Length, shown(&primary), shown(&mirror));
            // Items put in or taken out are one difference; those after them only stand elsewhere.
            path.push(None);
            let is_part = self.is_part(path, &primary, &mirror);
            path.pop();
            if is_part {
                return;
            }
        }
        let is_unordered = self.rules.is_unordered(path);
        path.push(None);
        self.in_order(path, &primary, &mirror, is_unordered);
        path.pop();
    }

    /// Values that stand in one place, without an index of their own.
    fn repeated<'n>(
        &mut self,
        path: &mut Path<'n>,
        primary: &[&'n Node<'_>],
        mirror: &[&'n Node<'_>],
        unit: &str,
    ) {
        if primary.len() != mirror.len() && !self.rules.ignores(path) {
            let shown = |of: &[&Node<'_>]| Some(format!("{} {unit}", of.len()));
            self.add_at(path, Kind::Length, shown(primary), shown(mirror));
            if self.is_part(path, primary, mirror) {
                return;
            }
        }
        self.in_order(path, primary, mirror, self.rules.is_unordered(path));
    }

    fn in_order<'n>(
        &mut self,
        path: &mut Path<'n>,
        primary: &[&'n Node<'_>],
        mirror: &[&'n Node<'_>],
        is_unordered: bool,
    ) {
        if is_unordered {
            let (ours, theirs) = (self.sorted(path, primary), self.sorted(path, mirror));
            for (a, b) in ours.into_iter().zip(theirs) {
                self.values(path, a, b);
            }
        } else {
            primary.iter().zip(mirror).for_each(|(a, b)| self.values(path, a, b));
        }
    }

    /// Whether the fewer are among the others, in their order.
    fn is_part<'n>(&self, path: &mut Path<'n>, ours: &[&'n Node<'_>], theirs: &[&'n Node<'_>]) -> bool {
        let (few, many) = if ours.len() < theirs.len() { (ours, theirs) } else { (theirs, ours) };
        let mut said = |item: &'n Node<'_>| {
            let mut said = Said::default();
            self.say(path, item, &mut said);
            (said.text, said.numbers)
        };
        let mut rest = many.iter().map(|item| said(item)).collect::<Vec<_>>().into_iter();
        few.iter().all(|item| {
            let wanted = said(item);
            rest.any(|other| other == wanted)
        })
    }

    /// Items at `path`, ordered by the parts of them that are compared.
    fn sorted<'n, 'j>(&self, path: &mut Path<'n>, items: &[&'n Node<'j>]) -> Vec<&'n Node<'j>> {
        self.said(path, items.iter().copied()).into_iter().map(|(_, item)| item).collect()
    }

    /// The same, each with its compared parts.
    fn said<'n, 'j: 'n>(
        &self,
        path: &mut Path<'n>,
        items: impl Iterator<Item = &'n Node<'j>>,
    ) -> Vec<(Said, &'n Node<'j>)> {
        let said = |item: &'n Node<'j>| {
            let mut said = Said::default();
            self.say(path, item, &mut said);
            (said, item)
        };
        let mut all: Vec<_> = items.map(said).collect();
        all.sort_by(|(a, _), (b, _)| a.order(b));
        all
    }

    /// Writes the compared parts of `node`: without the ignored ones, and with one text for equal values.
    fn say<'n>(&self, path: &mut Path<'n>, node: &'n Node<'_>, said: &mut Said) {
        if self.rules.ignores(path) {
            return;
        }
        match node {
            Node::Null => said.text.push_str("null"),
            Node::Bool(is) => said.text.push_str(if *is { "true" } else { "false" }),
            Node::Number(text) => match text.parse::<f64>() {
                // Numbers that count as the same are near each other, and their digits need not be.
                Ok(value) if self.rules.is_tolerant() => said.numbers.push(value),
                Ok(value) if value.abs() < EXACT_MAX => said.text.push_str(&value.to_string()),
                Ok(_) | Err(_) => said.text.push_str(text),
            },
            Node::String(text) => {
                said.text.push('"');
                said.text.push_str(&self.plain(text));
                said.text.push('"');
            }
            Node::Bytes(bytes) => said.text.push_str(&shown::bytes(bytes)),
            Node::Hidden(hash) => said.text.push_str(&hash.to_string()),
            Node::Array(items) => {
                let is_unordered = self.rules.is_unordered(path);
                path.push(None);
                said.text.push('[');
                if is_unordered {
                    self.said(path, items.iter()).into_iter().for_each(|(item, _)| said.append(item));
                } else {
                    items.iter().for_each(|item| {
                        self.say(path, item, said);
                        said.text.push(',');
                    });
                }
                said.text.push(']');
                path.pop();
            }
            Node::Object(members) => {
                said.text.push('{');
                for (name, value) in members {
                    path.push(Some(name));
                    if !self.rules.ignores(path) {
                        said.text.push_str(name);
                        said.text.push(':');
                        self.say(path, value, said);
                    }
                    path.pop();
                }
                said.text.push('}');
            }
        }
    }

    fn one_side(
        &mut self,
        path: &Path<'_>,
        kind: Kind,
        primary: Option<&Node<'_>>,
        mirror: Option<&Node<'_>>,
    ) {
        if self.rules.ignores(path) {
            return;
        }
        let shown = |value: &Node<'_>| match value {
            // A secret may be anywhere in it.
            Node::Object(members) => format!("{{{} members}}", members.len()),
            Node::Array(items) => format!("[{} items]", items.len()),
            Node::String(text) => short(&Value::String(short(&self.rules.shown_text(text))).to_string()),
            Node::Number(text) => short(text),
            Node::Bool(is) => is.to_string(),
            Node::Bytes(bytes) => shown::bytes(bytes),
            Node::Hidden(_) => REDACTED.to_owned(),
            Node::Null => "null".to_owned(),
        };
        self.add_at(path, kind, primary.map(shown), mirror.map(shown));
    }
}

/// Below it every whole number has a float of its own.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

pub(super) fn bounded_field(name: &str) -> Cow<'_, str> {
    bounded(name, FIELD_BYTES_MAX)
}

pub(super) fn is_json(media_type: &str) -> bool {
    matches!(media_type, "application/json" | "text/json") || media_type.ends_with("+json")
}

/// In lower case, without parameters.
pub(super) fn media_type_of(answer: &Answer) -> String {
    media_type(&fields(&answer.fields))
}

#[cfg(test)]
mod tests;
