//! Rules of a route that cannot be served while its others can (Gateway API, `PartiallyInvalid`: "Dropped Rule").
//!
//! A dropped rule has one effect: requests that it would have matched are answered as by a rule without a backend, and go
//! nowhere else. So a filter that is not understood is never skipped, and no other rule gets these requests. A match that is
//! itself at fault matches nothing, for it is not known what it should match.

use std::collections::{BTreeMap, BTreeSet};

use super::gateway_api::HttpRoute;
use crate::node::{Entry, Node, Value};
use crate::problem::{Problem, ResourceId};
use crate::reader::Key;

/// A rule that is dropped, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedRule {
    pub index: usize,
    pub name: Option<String>,
    /// The requests that it would have matched are known, and answered with an error.
    pub answers: bool,
    pub problems: Vec<Problem>,
}

/// Faults of rules of one route so far, by their indices.
#[derive(Debug, Default)]
pub(super) struct Dropped(BTreeMap<usize, Faults>);

#[derive(Debug, Default)]
struct Faults {
    problems: Vec<Problem>,
    /// All of its matches are at fault, or none can be told from another.
    no_match: bool,
    matches: BTreeSet<usize>,
    no_name: bool,
}

impl Dropped {
    /// Takes the problems of a route. `false` where one of them is about more than a rule, or none is about another rule than those
    /// that are dropped: then the route is refused as a whole.
    pub(super) fn learn(&mut self, id: &ResourceId, problems: &[Problem]) -> bool {
        if !matches!(id.kind.as_str(), "HTTPRoute" | "GRPCRoute") {
            return false;
        }
        let rules = format!("{}/{} spec.rules[", id.kind, id.name);
        let mut found: Vec<(usize, &str, &Problem)> = Vec::new();
        // Problems beyond the limit have no key; they come back if they are about another rule.
        for (key, problem) in problems.iter().filter_map(|one| Some((one.key.as_deref()?, one))) {
            let Some((index, rest)) = key.strip_prefix(&rules).and_then(indexed) else { return false };
            found.push((index, rest, problem));
        }
        if !found.iter().any(|(index, ..)| !self.0.contains_key(index)) {
            return false;
        }
        for (index, rest, problem) in found {
            let faults = self.0.entry(index).or_default();
            faults.problems.push(problem.clone());
            match rest.strip_prefix(".matches") {
                Some(rest) => match rest.strip_prefix('[').and_then(indexed) {
                    Some((nth, _)) => {
                        faults.matches.insert(nth);
                    }
                    None => faults.no_match = true,
                },
                // The rule is no table at all.
                None if rest.is_empty() => faults.no_match |= problem.message.starts_with("must be "),
                None => faults.no_name |= rest == ".name",
            }
        }
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// No rule is left that serves.
    pub(super) fn has_all(&self, document: &Node) -> bool {
        let count = rules(document).len();
        count > 0 && (0..count).all(|index| self.0.contains_key(&index))
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        self.0.values().flat_map(|faults| faults.problems.iter().cloned()).collect()
    }

    /// Whether something is said of a rule that is dropped.
    pub(super) fn is_about(&self, id: &ResourceId, problem: &Problem) -> bool {
        let rules = format!("{}/{} spec.rules[", id.kind, id.name);
        let of = problem.key.as_deref().and_then(|key| key.strip_prefix(&rules)).and_then(indexed);
        of.is_some_and(|(index, _)| self.0.contains_key(&index))
    }

    pub(super) fn told(&self, document: &Node) -> Vec<DroppedRule> {
        let one = |(index, faults): (&usize, &Faults)| {
            let rule = rules(document).get(*index);
            DroppedRule {
                index: *index,
                name: rule.and_then(|rule| rule.text("name")).map(str::to_owned),
                answers: faults.stand(rule),
                problems: faults.problems.clone(),
            }
        };
        self.0.iter().map(one).collect()
    }

    /// The route with nothing but their matches left of these rules. Each keeps its place, which others are counted by.
    pub(super) fn amended(&self, document: &Node) -> Node {
        let mut document = document.clone();
        let Some(Value::List(rules)) = member(&mut document, "spec")
            .and_then(|spec| member(spec, "rules"))
            .map(|rules| &mut rules.value)
        else {
            return document;
        };
        for (index, faults) in &self.0 {
            let Some(rule) = rules.get_mut(*index) else { continue };
            let is_kept = |entry: &Entry| match entry.name.as_str() {
                "name" => !faults.no_name,
                "matches" => !faults.no_match,
                _other => false,
            };
            let mut kept: Vec<Entry> =
                rule.entries().iter().filter(|entry| is_kept(entry)).cloned().collect();
            for entry in kept.iter_mut().filter(|entry| entry.name == "matches") {
                if let Value::List(all) = &mut entry.node.value {
                    for nth in &faults.matches {
                        if let Some(one) = all.get_mut(*nth) {
                            one.value = Value::Table(Vec::new());
                        }
                    }
                }
            }
            rule.value = Value::Table(kept);
        }
        document
    }

    /// Refuses, in the route that was read of [`Dropped::amended`], the rules and matches that match nothing.
    pub(super) fn refuse(&self, document: &Node, route: &mut HttpRoute) {
        let Key::Given(list) = &mut route.rules else { return };
        for (index, faults) in &self.0 {
            let Some(rule) = list.value.get_mut(*index) else { continue };
            if !faults.stand(rules(document).get(*index)) {
                *rule = Key::Refused;
                continue;
            }
            let Key::Given(rule) = rule else { continue };
            let Key::Given(matches) = &mut rule.value.matches else { continue };
            for nth in &faults.matches {
                if let Some(one) = matches.value.get_mut(*nth) {
                    *one = Key::Refused;
                }
            }
        }
    }
}

impl Faults {
    /// Whether a match of the rule is not at fault: one without any takes every request.
    fn stand(&self, rule: Option<&Node>) -> bool {
        let Some(rule) = rule.filter(|_| !self.no_match) else { return false };
        match rule.get("matches").map(Node::items) {
            None | Some([]) => true,
            Some(all) => (0..all.len()).any(|nth| !self.matches.contains(&nth)),
        }
    }
}

fn rules(document: &Node) -> &[Node] {
    document.get("spec").and_then(|spec| spec.get("rules")).map(Node::items).unwrap_or_default()
}

/// `1].filters[0]` is about 1, and the rest.
fn indexed(key: &str) -> Option<(usize, &str)> {
    let (index, rest) = key.split_once(']')?;
    Some((index.parse().ok()?, rest))
}

fn member<'n>(node: &'n mut Node, name: &str) -> Option<&'n mut Node> {
    let Value::Table(entries) = &mut node.value else { return None };
    entries.iter_mut().find(|entry| entry.name == name).map(|entry| &mut entry.node)
}
