//! The outcomes of objects, told once: in the log by kind, namespace and name, and in numbers.

use std::collections::BTreeMap;
use std::time::Instant;

use config::manifest::{DroppedRule, State};

use super::kinds::Kind;
use super::store::Key;
use super::translation::Outcome;
use crate::logging::{Seldom, Sparing};
use crate::metrics::ClusterCounters;
use crate::visible::visible;

/// Log lines about objects each minute, and about one of them: wrong objects that change again and again fill no disk.
const LINES_MAX: u32 = 200;
const OBJECT_LINES_MAX: u32 = 10;

/// The lines that were logged last.
#[derive(Debug)]
pub(super) struct Report {
    of_objects: BTreeMap<(Kind, Key), Vec<String>>,
    lines: Sparing,
    /// Of objects that had something to say lately.
    lines_of_objects: BTreeMap<(Kind, Key), Sparing>,
    troubles: BTreeMap<(Kind, Key, Option<u16>), Seldom>,
}

/// Troubles that are told apart; those beyond are one.
const TROUBLES_MAX: usize = 256;

impl Default for Report {
    fn default() -> Self {
        Self {
            of_objects: BTreeMap::new(),
            lines: Sparing::new(LINES_MAX),
            lines_of_objects: BTreeMap::new(),
            troubles: BTreeMap::new(),
        }
    }
}

impl Report {
    /// Logs the new lines of `outcomes`, which are those of all objects, and counts the objects by state.
    pub(super) fn tell(&mut self, outcomes: &[Outcome], counters: &ClusterCounters) {
        let mut counts = BTreeMap::new();
        let mut said = BTreeMap::new();
        for outcome in outcomes {
            let id = (outcome.kind, outcome.key.clone());
            *counts.entry((outcome.kind.text(), state(&outcome.state))).or_default() += 1;
            let lines = lines(outcome);
            let before = self.of_objects.get(&id);
            let is_mended = before.is_some_and(|before| *before != lines) && lines.is_empty();
            let is_new = |line: &&String| !before.is_some_and(|before| before.contains(*line));
            let new: Vec<String> = lines.iter().filter(is_new).cloned().collect();
            if is_mended && self.may_log(&id, Instant::now()) {
                tracing::info!("{}: accepted", name(outcome));
            }
            for line in new {
                if self.may_log(&id, Instant::now()) {
                    tracing::warn!("{}: {}", name(outcome), visible(&line));
                }
            }
            said.insert(id, lines);
        }
        self.of_objects = said;
        self.lines_of_objects.retain(|id, _| self.of_objects.contains_key(id));
        counters.by_kind().objects = counts;
    }

    /// Whether one more line about an object goes into the log; says there that some do not.
    fn may_log(&mut self, id: &(Kind, Key), now: Instant) -> bool {
        let own = self.lines_of_objects.entry(id.clone()).or_insert_with(|| Sparing::new(OBJECT_LINES_MAX));
        let (left_out, may) = match own.may_say(now) {
            Ok(own) => match self.lines.may_say(now) {
                Ok(all) => (own + all, true),
                Err(all) => (u64::from(all == 1), false),
            },
            Err(1) if self.lines.may_say(now).is_ok() => (1, false),
            Err(_) => (0, false),
        };
        match (left_out, may) {
            (0, _) => {}
            (n, true) => {
                tracing::warn!("{n} lines about objects of the cluster were left out before this one")
            }
            (_, false) => tracing::warn!(
                "{}: this and what else there is to say of objects in this minute is left out; their Events and `gateway check \
                 --kubernetes` say it",
                name_of(id.0, &id.1)
            ),
        }
        may
    }

    /// Whether trouble with an object, or with all of a scope, is to be told: it is not by its words, which may be others each
    /// time.
    pub(super) fn may_complain(
        &mut self,
        kind: Kind,
        (namespace, name): (&str, &str),
        code: Option<u16>,
    ) -> bool {
        let mut id = (kind, (namespace.to_owned(), name.to_owned()), code);
        let now = Instant::now();
        if self.troubles.len() >= TROUBLES_MAX && !self.troubles.contains_key(&id) {
            self.troubles.retain(|_, told| !told.is_over(now));
        }
        if self.troubles.len() >= TROUBLES_MAX && !self.troubles.contains_key(&id) {
            id.1 = Key::default();
        }
        self.troubles.entry(id).or_default().may_say(now).is_some()
    }
}

/// Everything there is to say of these.
pub(super) fn all(outcomes: &[Outcome]) -> Vec<String> {
    outcomes
        .iter()
        .flat_map(|one| lines(one).into_iter().map(move |line| format!("{}: {line}", name(one))))
        .collect()
}

fn state(state: &State) -> &'static str {
    match state {
        State::Accepted => "accepted",
        State::Partial(_) => "partial",
        State::Rejected(_) => "rejected",
        State::Skipped(_) => "skipped",
    }
}

fn name(outcome: &Outcome) -> String {
    name_of(outcome.kind, &outcome.key)
}

fn name_of(kind: Kind, (namespace, name): &Key) -> String {
    let kind = kind.facts().name;
    let (namespace, name) = (visible(namespace), visible(name));
    if namespace.is_empty() { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") }
}

/// The messages for the author of an object.
pub(super) fn lines(outcome: &Outcome) -> Vec<String> {
    let serves = if outcome.serves_earlier { "; its last accepted version serves on" } else { "" };
    let mut lines = match &outcome.state {
        State::Accepted => Vec::new(),
        State::Partial(dropped) => dropped.iter().map(dropped_rule).collect(),
        State::Rejected(problems) => {
            problems.iter().map(|problem| format!("rejected: {problem}{serves}")).collect()
        }
        State::Skipped(why) => vec![format!("not served: {why}")],
    };
    lines.extend(outcome.warnings.iter().map(ToString::to_string));
    lines
}

/// As a condition of the Gateway API begins to say it.
pub(super) fn dropped_rule(rule: &DroppedRule) -> String {
    let DroppedRule { index, name, answers, problems } = rule;
    let name = name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let then = if *answers { "its requests are answered with an error" } else { "it matches nothing" };
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    format!("Dropped Rule {index}{name}, {then}: {}", problems.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_part_of_one_line() {
        let of = |namespace: &str, name: &str| {
            let key = (namespace.to_owned(), name.to_owned());
            name_of(Kind::HttpRoute, &key)
        };
        assert_eq!(of("n", "a\r\nWARN b\u{202e}"), "HTTPRoute n/a\\u000d\\u000aWARN b\\u202e");
        assert_eq!(of("", "a"), "HTTPRoute a");
    }

    #[test]
    fn whoever_writes_wrong_objects_again_and_again_fills_no_log() {
        let mut report = Report::default();
        let now = Instant::now();
        let id = |name: &str| (Kind::HttpRoute, ("n".to_owned(), name.to_owned()));
        let mut logged =
            |name: &str, times: usize| (0..times).filter(|_| report.may_log(&id(name), now)).count();
        let own = OBJECT_LINES_MAX as usize;
        // An object that has used its share up leaves others theirs.
        assert_eq!((logged("a", 1000), logged("b", 3)), (own, 3));
        let all: usize = (0..1000).map(|name| logged(&name.to_string(), 5)).sum();
        assert!(all + own + 3 < LINES_MAX as usize, "{all}");
        let later = now + std::time::Duration::from_secs(60);
        assert!(report.may_log(&id("a"), later));
    }

    #[test]
    fn trouble_with_one_object_is_told_once_a_minute_and_hides_none_of_another() {
        let mut report = Report::default();
        let mut says = |name: &str, code| report.may_complain(Kind::HttpRoute, ("n", name), code);
        assert!(says("a", Some(422)) && says("b", Some(422)) && says("a", None));
        assert!(!says("a", Some(422)) && !says("b", Some(422)) && !says("a", None));
    }

    #[test]
    fn so_many_troubles_are_told_apart_and_those_beyond_are_one() {
        let mut report = Report::default();
        let mut says = |name: usize| report.may_complain(Kind::HttpRoute, ("n", &name.to_string()), None);
        let said = (0..10 * TROUBLES_MAX).filter(|name| says(*name)).count();
        assert_eq!(said, TROUBLES_MAX + 1);
        assert_eq!(report.troubles.len(), TROUBLES_MAX + 1);
    }
}
