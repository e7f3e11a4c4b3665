//! Infers which fields the answers of either side have: of which types, how often null, how often left out. Both schemas are
//! then compared.
//!
//! The schema keeps names and counts, never values; a secret is there or not, and nothing more. Bounded: so many fields of a
//! mirror on a route, so many of all, so many values looked at of one answer. Pure.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::added;
use super::coding::{End, plain};
use super::differ::{bounded_field, is_json, media_type_of, step};
use super::folds::Folds;
use super::json::{self, Node};
use super::rules::{Path, Rules};
use crate::metrics::total;
use crate::observe::record::Answer;

/// Fields of one mirror on one route, with names of 512 bytes at most; further ones are counted.
pub(crate) const FIELDS_MAX: usize = 300;

/// Fields of all mirrors together: 4 MiB at most.
pub(super) const ALL_FIELDS_MAX: usize = 6_000;

/// Values looked at of one answer: a longer list says no more of its items' types.
const VALUES_MAX: usize = 2_000;

/// So many pairs are looked at first, and one in so many of those that come later.
const FIRST: u64 = 64;
const THEN_ONE_IN: u64 = 16;

/// Numbers of another process may be as large as numbers can be.
fn add(sum: &mut u64, n: u64) {
    *sum = sum.saturating_add(n);
}

/// Shares are told as different beyond this difference, and beyond so many standard deviations.
const SHARE_MIN: f64 = 0.005;
const Z_MIN: f64 = 4.0;

/// Types of values, in the order of [`Side::types`].
const TYPES: [&str; 8] = ["null", "boolean", "integer", "number", "string", "array", "object", "redacted"];
const NULL: usize = 0;
const OBJECT: usize = 6;
const REDACTED: usize = 7;

/// The counts of the answers of one mirror on one route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedSchema {
    /// Pairs that came, and those looked at.
    pairs: u64,
    looked: u64,
    /// By name, the answer itself first.
    fields: BTreeMap<String, Seen>,
    /// Values whose field found no place.
    hidden: u64,
}

/// The counts of one field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    /// The field that it is a member of; none for the answer itself and for items.
    parent: Option<String>,
    /// v1's and the mirror's.
    sides: [Side; 2],
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Side {
    types: [u64; TYPES.len()],
}

/// A schema as it is told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inferred {
    pub route: String,
    pub mirror: String,
    /// Pairs that it rests on.
    pub pairs: u64,
    pub fields: Vec<Field>,
    /// Values in fields that found no place beside these.
    pub hidden: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Field {
    pub field: String,
    pub primary: SideView,
    pub mirror: SideView,
    /// Where the sides differ: `only_primary`, `only_mirror`, `types`, `null`, `absent`.
    pub differs: Vec<&'static str>,
}

/// One side's figures of a field.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SideView {
    pub present: u64,
    /// Of the objects that could have it, share of those without it; null where it is no member.
    pub absent_share: Option<f64>,
    /// Of its values.
    pub null_share: f64,
    /// How many of each type.
    pub types: BTreeMap<&'static str, u64>,
}

impl CountedSchema {
    /// Whether the next pair is to be looked at.
    pub(super) fn wants(&mut self) -> bool {
        // As large as it may be in a file that is read.
        add(&mut self.pairs, 1);
        self.pairs <= FIRST || self.pairs.is_multiple_of(THEN_ONE_IN)
    }

    /// Adds a pair; `room`: so many more fields have a place.
    pub(super) fn add(&mut self, shapes: [Shape; 2], mut room: usize) {
        add(&mut self.looked, 1);
        for (side, shape) in shapes.into_iter().enumerate() {
            for (name, (parent, counts)) in shape.fields {
                if !self.fields.contains_key(&name) {
                    if self.fields.len() >= FIELDS_MAX || room == 0 {
                        add(&mut self.hidden, total(counts));
                        continue;
                    }
                    room -= 1;
                    let parent = parent.filter(|of| self.fields.contains_key(of));
                    self.fields.insert(name.clone(), Seen { parent, ..Seen::default() });
                }
                let Some(seen) = self.fields.get_mut(&name) else { continue };
                let types = seen.sides.get_mut(side).map(|side| &mut side.types);
                types.into_iter().flatten().zip(counts).for_each(|(sum, n)| add(sum, n));
            }
        }
    }

    /// How many fields it has.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether no answer was looked at.
    pub fn is_empty(&self) -> bool {
        self.looked == 0
    }

    /// Both together, in so many fields at most.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        add(&mut self.pairs, other.pairs);
        add(&mut self.looked, other.looked);
        add(&mut self.hidden, other.hidden);
        for (name, seen) in &other.fields {
            if !self.fields.contains_key(name) {
                if self.fields.len() >= FIELDS_MAX {
                    add(&mut self.hidden, total(seen.sides.iter().map(Side::present)));
                    continue;
                }
                self.fields.insert(name.clone(), Seen { parent: seen.parent.clone(), ..Seen::default() });
            }
            let Some(sum) = self.fields.get_mut(name) else { continue };
            for (side, of) in sum.sides.iter_mut().zip(&seen.sides) {
                side.types.iter_mut().zip(of.types).for_each(|(sum, n)| add(sum, n));
            }
        }
        self
    }

    /// The same in so many fields at most.
    fn within(mut self, room: usize) -> Self {
        while self.fields.len() > room {
            let Some((_, seen)) = self.fields.pop_last() else { break };
            add(&mut self.hidden, total(seen.sides.iter().map(Side::present)));
        }
        self
    }

    /// The schemas of both sides, with the fields that differ.
    pub fn told(&self, route: &str, mirror: &str) -> Inferred {
        let one = |(name, seen): (&String, &Seen)| {
            let parents = seen.parent.as_ref().and_then(|of| self.fields.get(of));
            let told = |side: usize| {
                let of = seen.sides.get(side).copied().unwrap_or_default();
                let objects = parents.and_then(|of| Some(of.sides.get(side)?.types[OBJECT]));
                (of, objects)
            };
            let (ours, theirs) = (told(0), told(1));
            Field {
                field: name.clone(),
                primary: ours.0.view(ours.1),
                mirror: theirs.0.view(theirs.1),
                differs: differs(ours, theirs),
            }
        };
        Inferred {
            route: route.to_owned(),
            mirror: mirror.to_owned(),
            pairs: self.looked,
            fields: self.fields.iter().map(one).collect(),
            hidden: self.hidden,
        }
    }
}

impl Side {
    fn present(&self) -> u64 {
        total(self.types)
    }

    fn view(&self, objects: Option<u64>) -> SideView {
        let present = self.present();
        let share = |n: u64, of: u64| n as f64 / of.max(1) as f64;
        let types = TYPES.into_iter().zip(self.types).filter(|(_, n)| *n > 0);
        SideView {
            present,
            absent_share: objects.map(|objects| share(objects.saturating_sub(present), objects)),
            null_share: share(self.types[NULL], present),
            types: types.collect(),
        }
    }
}

/// Where two sides differ, each with the objects that could have the field.
fn differs(ours: (Side, Option<u64>), theirs: (Side, Option<u64>)) -> Vec<&'static str> {
    let (a, b) = (ours.0.present(), theirs.0.present());
    match (a, b) {
        (0, 0) => return Vec::new(),
        (0, _) => return vec!["only_mirror"],
        (_, 0) => return vec!["only_primary"],
        (_, _) => {}
    }
    let mut found = Vec::new();
    let (our_nulls, their_nulls) = (ours.0.types[NULL], theirs.0.types[NULL]);
    // Nulls are counted by themselves.
    let (values, others) = (a.saturating_sub(our_nulls), b.saturating_sub(their_nulls));
    let is_other_type = |at: usize| {
        let (k, l) = (ours.0.types[at], theirs.0.types[at]);
        // A type that the other side never has is a difference, however rare.
        (k == 0) != (l == 0) || are_apart((k, values), (l, others))
    };
    if values > 0 && others > 0 && (NULL + 1..TYPES.len()).any(is_other_type) {
        found.push("types");
    }
    if are_apart((our_nulls, a), (their_nulls, b)) {
        found.push("null");
    }
    if let (Some(ours), Some(theirs)) = (ours.1, theirs.1)
        && are_apart((ours.saturating_sub(a), ours), (theirs.saturating_sub(b), theirs))
    {
        found.push("absent");
    }
    found
}

/// Whether two shares differ beyond chance.
fn are_apart((k, n): (u64, u64), (l, m): (u64, u64)) -> bool {
    let (n, m) = (n.max(1) as f64, m.max(1) as f64);
    let apart = (k as f64 / n - l as f64 / m).abs();
    let both = (k as f64 + l as f64) / (n + m);
    apart > SHARE_MIN && apart > Z_MIN * (both * (1.0 - both) * (1.0 / n + 1.0 / m)).sqrt()
}

/// How often each field of one answer has a value of each type.
#[derive(Debug, Default)]
pub(super) struct Shape {
    fields: BTreeMap<String, (Option<String>, [u64; TYPES.len()])>,
}

/// The shapes of two answers; `None` where not both are whole JSON.
pub(super) fn shapes(rules: &Rules, folds: &mut Folds, answers: [&Answer; 2]) -> Option<[Shape; 2]> {
    let [ours, theirs] = answers.map(|answer| shape(rules, folds, answer));
    Some([ours?, theirs?])
}

fn shape(rules: &Rules, folds: &mut Folds, answer: &Answer) -> Option<Shape> {
    if answer.status >= 400 || !is_json(&media_type_of(answer)) {
        return None;
    }
    let plain = plain(answer, rules.decoded_bytes_max).filter(|plain| plain.end == End::Whole)?;
    let node = json::read(&plain.content).ok()?;
    let mut walk = Walk { rules, folds, shape: Shape::default(), left: VALUES_MAX };
    walk.value(&mut Vec::new(), "$", None, &node);
    Some(walk.shape)
}

struct Walk<'a> {
    rules: &'a Rules,
    folds: &'a mut Folds,
    shape: Shape,
    left: usize,
}

impl Walk<'_> {
    fn value<'n>(&mut self, path: &mut Path<'n>, name: &str, parent: Option<&str>, node: &'n Node<'_>) {
        if self.left == 0 || self.rules.ignores(path) {
            return;
        }
        self.left -= 1;
        // A value below a secret is part of it.
        let is_secret = self.rules.secret_at(path, false).is_some();
        let at = if is_secret { REDACTED } else { type_of(node) };
        let told = self.rules.shown_text(name);
        let told = bounded_field(&told).into_owned();
        let (_, counts) = self.shape.fields.entry(told).or_insert_with(|| {
            let parent = parent.map(|of| bounded_field(&self.rules.shown_text(of)).into_owned());
            (parent, [0; TYPES.len()])
        });
        counts[at] += 1;
        if is_secret {
            return;
        }
        match node {
            Node::Object(members) => {
                for one in members.chunk_by(|(a, _), (b, _)| a == b) {
                    let Some((member, value)) = one.first() else { continue };
                    if !added::names(member) {
                        let below = step(name, Some(member), Some(self.folds));
                        path.push(Some(member));
                        self.value(path, &below, Some(name), value);
                        path.pop();
                    }
                }
            }
            Node::Array(items) => {
                path.push(None);
                let below = step(name, None, None);
                for item in items.iter().filter(|item| !added::is_item(item)) {
                    self.value(path, &below, None, item);
                }
                path.pop();
            }
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::String(_) => {}
            // Of no JSON text.
            Node::Bytes(_) | Node::Hidden(_) => {}
        }
    }
}

fn type_of(node: &Node<'_>) -> usize {
    match node {
        Node::Null => NULL,
        Node::Bool(_) => 1,
        Node::Number(text) if !text.contains(['.', 'e', 'E']) => 2,
        Node::Number(_) => 3,
        Node::String(_) | Node::Bytes(_) | Node::Hidden(_) => 4,
        Node::Array(_) => 5,
        Node::Object(_) => OBJECT,
    }
}

/// Schemas of all mirrors, by route and mirror.
#[derive(Debug, Default)]
pub(super) struct Schemas(HashMap<(String, String), CountedSchema>);

impl Schemas {
    pub(super) fn wants(&mut self, route: &str, mirror: &str) -> bool {
        self.0.entry((route.to_owned(), mirror.to_owned())).or_default().wants()
    }

    pub(super) fn add(&mut self, route: &str, mirror: &str, shapes: [Shape; 2]) {
        let taken: usize = self.0.values().map(CountedSchema::len).sum();
        let schema = self.0.entry((route.to_owned(), mirror.to_owned())).or_default();
        schema.add(shapes, ALL_FIELDS_MAX.saturating_sub(taken));
    }

    pub(super) fn retain(&mut self, is_known: impl Fn(&str, &str) -> bool) {
        self.0.retain(|(route, mirror), _| is_known(route, mirror));
    }

    /// Goes on from the counts that a process before this one made, as far as there are places.
    pub(super) fn restore(&mut self, route: &str, mirror: &str, schema: CountedSchema) {
        let room = ALL_FIELDS_MAX.saturating_sub(self.0.values().map(CountedSchema::len).sum());
        self.0.insert((route.to_owned(), mirror.to_owned()), schema.within(room.min(FIELDS_MAX)));
    }

    /// All that is counted, as another process gets it.
    pub(super) fn counted(&self) -> HashMap<(String, String), CountedSchema> {
        let known = self.0.iter().filter(|(_, schema)| !schema.is_empty());
        known.map(|(key, schema)| (key.clone(), schema.clone())).collect()
    }

    pub(super) fn told(&self) -> Vec<Inferred> {
        let known = self.0.iter().filter(|(_, schema)| !schema.is_empty());
        let mut all: Vec<Inferred> =
            known.map(|((route, mirror), schema)| schema.told(route, mirror)).collect();
        all.sort_by(|a, b| (&a.route, &a.mirror).cmp(&(&b.route, &b.mirror)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answer, config, record};
    use super::super::{Budgets, Comparator, Findings};
    use super::*;
    use std::sync::Arc;

    fn told(keys: &str, pairs: impl Iterator<Item = (String, String)>) -> Inferred {
        let findings = Arc::new(Findings::default());
        let config = config(&["a"], keys);
        let mut comparator =
            Comparator::new(&config, &crate::compare::Schemas::new(), &findings, Budgets::UNLIMITED);
        for (n, (ours, theirs)) in pairs.enumerate() {
            comparator.take(&record(&config, 0, &n.to_string(), answer(&ours), answer(&theirs)));
        }
        findings.schemas().remove(0)
    }

    fn field<'a>(of: &'a Inferred, name: &str) -> &'a Field {
        of.fields.iter().find(|field| field.field == name).unwrap_or_else(|| panic!("{name}: {of:#?}"))
    }

    #[test]
    fn types_nulls_and_what_is_left_out_are_counted_of_both_sides_and_their_differences_named() {
        let pairs = (0..64).map(|n| {
            let ours = format!(r#"{{"id":{n},"name":"x","price":1.5,"tags":["a",null],"old":1}}"#);
            let name = if n % 2 == 0 { "null".to_owned() } else { "\"x\"".to_owned() };
            let more = if n % 3 == 0 { "" } else { r#","price":1.5"# };
            let theirs =
                format!(r#"{{"id":"{n}","name":{name}{more},"tags":["a",null],"new":{{"a":true}}}}"#);
            (ours, theirs)
        });
        let of = told("compare = {}", pairs);
        assert_eq!(of.pairs, 64);
        let differs = |name: &str| field(&of, name).differs.clone();
        assert_eq!(differs("$"), Vec::<&str>::new());
        assert_eq!(
            (differs("$.id"), differs("$.name"), differs("$.price")),
            (vec!["types"], vec!["null"], vec!["absent"])
        );
        assert_eq!(
            (differs("$.old"), differs("$.new"), differs("$.new.a")),
            (vec!["only_primary"], vec!["only_mirror"], vec!["only_mirror"])
        );
        assert_eq!(differs("$.tags[*]"), Vec::<&str>::new());
        let name = &field(&of, "$.name").mirror;
        assert_eq!((name.present, name.null_share, name.absent_share), (64, 0.5, Some(0.0)));
        assert_eq!(field(&of, "$.price").mirror.absent_share, Some(22.0 / 64.0));
        assert_eq!(field(&of, "$.id").primary.types, BTreeMap::from([("integer", 64)]));
        assert_eq!(field(&of, "$.tags[*]").primary.types, BTreeMap::from([("null", 64), ("string", 64)]));
    }

    #[test]
    fn of_a_secret_nothing_is_told_but_that_it_is_there_and_what_is_ignored_is_not() {
        let keys = "redact = { json = [\"/card\"] }, compare = { ignore_json = [\"/trace\"] }";
        let pair = || {
            (r#"{"card":{"n":1},"trace":1,"a":1}"#.to_owned(), r#"{"card":"S","trace":"x","a":1}"#.to_owned())
        };
        let of = told(keys, (0..3).map(|_| pair()));
        let names: Vec<&str> = of.fields.iter().map(|field| field.field.as_str()).collect();
        assert_eq!(names, ["$", "$.a", "$.card"]);
        let card = field(&of, "$.card");
        assert_eq!(
            (&card.primary.types, card.differs.is_empty()),
            (&BTreeMap::from([("redacted", 3)]), true)
        );
    }

    #[test]
    fn fields_beyond_those_that_have_a_place_are_counted_and_names_that_are_data_are_one() {
        let names: Vec<String> =
            ('a'..='z').flat_map(|a| ('a'..='z').map(move |b| format!("\"{a}{b}\":1"))).collect();
        let text = format!("{{{}}}", names.join(","));
        let of = told("compare = {}", [(text.clone(), text)].into_iter());
        assert_eq!((of.fields.len(), of.hidden), (FIELDS_MAX, 2 * (26 * 26 + 1 - FIELDS_MAX as u64)));
        let users = |n: u32| format!("{{\"u{n}\":{{\"seen\":1}}}}");
        let of = told("compare = {}", (0..150).map(|n| (users(n), users(n))));
        assert!(of.fields.len() < 50 && field(&of, "$.u*.seen").primary.present > 40, "{}", of.fields.len());
    }

    #[test]
    fn what_two_gateways_counted_is_one_schema_and_keeps_to_its_fields() {
        let pairs = |n: u32| (0..n).map(|_| (r#"{"a":1,"b":null}"#.to_owned(), r#"{"a":"x"}"#.to_owned()));
        let counted = |keys: &[(&str, &str)]| {
            let mut schemas = Schemas::default();
            for (ours, theirs) in keys {
                let config = config(&["a"], "compare = {}");
                let rules = Rules::new(&config.routes[0].mirrors[0].compare.clone().unwrap(), None, None);
                let shapes = shapes(&rules, &mut Folds::default(), [&answer(ours), &answer(theirs)]).unwrap();
                assert!(schemas.wants("a", "v2"));
                schemas.add("a", "v2", shapes);
            }
            schemas.counted().remove(&("a".to_owned(), "v2".to_owned())).unwrap()
        };
        let pair = (r#"{"a":1,"b":null}"#, r#"{"a":"x"}"#);
        let (one, other) = (counted(&[pair]), counted(&[pair, pair]));
        let both = one.clone().plus(&other);
        assert_eq!(both, counted(&[pair, pair, pair]));
        assert_eq!(both.told("a", "v2"), told("compare = {}", pairs(3)));
        // As it is written and read again.
        let text = serde_json::to_string(&both).unwrap();
        assert_eq!(serde_json::from_str::<CountedSchema>(&text).unwrap(), both);
        let mut schemas = Schemas::default();
        schemas.restore("a", "v2", both.clone());
        assert_eq!(schemas.told(), [both.told("a", "v2")]);
        // Numbers as large as can be.
        let most =
            serde_json::from_str::<CountedSchema>(&text.replace(":3", &format!(":{}", u64::MAX))).unwrap();
        let sum = most.clone().plus(&most).plus(&both);
        assert_eq!(sum.told("a", "v2").pairs, u64::MAX);
        let letters = |n: usize| n.to_string().bytes().map(|b| char::from(b + 49)).collect::<String>();
        let wide = |from: usize| {
            let names: Vec<String> = (from..from + 250).map(|n| format!("\"{}\":1", letters(n))).collect();
            let text = format!("{{{}}}", names.join(","));
            counted(&[(&text, &text)])
        };
        let sum = wide(0).plus(&wide(250));
        assert!(sum.len() <= FIELDS_MAX && sum.hidden > 0, "{} {}", sum.len(), sum.hidden);
        let cut = both.within(1);
        assert_eq!((cut.len(), cut.hidden > 0), (1, true));
    }

    #[test]
    fn a_long_list_is_looked_at_in_part_and_of_many_pairs_some_are() {
        let list = format!("[{}]", vec!["1"; 10_000].join(","));
        let of = told("compare = {}", [(list.clone(), list)].into_iter());
        assert_eq!(field(&of, "$[*]").primary.present, VALUES_MAX as u64 - 1);
        let of = told("compare = {}", (0..1_800).map(|_| ("1".to_owned(), "1".to_owned())));
        assert_eq!(of.pairs, FIRST + (1_800 - FIRST) / THEN_ONE_IN);
    }
}
