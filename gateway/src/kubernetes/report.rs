//! What became of objects, told once: in the log by kind, namespace and name, and in numbers.

use std::collections::BTreeMap;
use std::time::Instant;

use config::manifest::State;

use super::kinds::Kind;
use super::store::Key;
use super::translation::Outcome;
use crate::logging::Seldom;
use crate::metrics::ClusterCounters;

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct Told {
    of_objects: BTreeMap<(Kind, Key), Vec<String>>,
    of_kinds: BTreeMap<Kind, (String, Seldom)>,
}

impl Told {
    /// Logs what is new about these, which are all, and counts them.
    pub(super) fn tell(&mut self, outcomes: &[Outcome], counters: &ClusterCounters) {
        let mut counts = BTreeMap::new();
        let mut said = BTreeMap::new();
        for outcome in outcomes {
            let id = (outcome.kind, outcome.key.clone());
            *counts.entry((outcome.kind.text(), state(&outcome.state))).or_default() += 1;
            let lines = lines(outcome);
            let before = self.of_objects.get(&id);
            if before.is_some_and(|before| *before != lines) && lines.is_empty() {
                tracing::info!("{}: accepted", name(outcome));
            }
            for line in lines.iter().filter(|line| !before.is_some_and(|before| before.contains(*line))) {
                tracing::warn!("{}: {line}", name(outcome));
            }
            said.insert(id, lines);
        }
        self.of_objects = said;
        counters.by_kind().objects = counts;
    }

    /// Whether trouble with a kind is news, or was not told for a while.
    pub(super) fn may_complain(&mut self, kind: Kind, trouble: &str) -> bool {
        let of = self.of_kinds.entry(kind).or_default();
        if of.0 != trouble {
            *of = (trouble.to_owned(), Seldom::default());
        }
        of.1.may_say(Instant::now()).is_some()
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
        State::Rejected(_) => "rejected",
        State::Skipped(_) => "skipped",
    }
}

fn name(outcome: &Outcome) -> String {
    let (namespace, name) = &outcome.key;
    let kind = outcome.kind.facts().name;
    if namespace.is_empty() { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") }
}

/// What its author should know.
fn lines(outcome: &Outcome) -> Vec<String> {
    let serves = if outcome.serves_earlier { "; its last accepted version serves on" } else { "" };
    let mut lines = match &outcome.state {
        State::Accepted => Vec::new(),
        State::Rejected(problems) => {
            problems.iter().map(|problem| format!("rejected: {problem}{serves}")).collect()
        }
        State::Skipped(why) => vec![format!("not served: {why}")],
    };
    lines.extend(outcome.warnings.iter().map(ToString::to_string));
    lines
}
