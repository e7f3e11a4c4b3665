//! The promises of a soak, whether they held, and the report. Measures nothing.

use std::fmt::Write;

use super::soak_figures::{Account, Outcome, Soak};
use crate::chart::{self, Line};
use crate::table::{Table, wrap};

/// Descriptors at rest beyond those before the first fault: a kept connection or two may be in the middle of closing.
const DESCRIPTORS_MORE: u64 = 2;
/// Memory at rest beyond that before the first fault: the allocator's leftovers, and what findings of comparisons hold.
const MORE_BYTES: u64 = 16 << 20;
/// Of a class's second half of samples to its first: busy memory that grows is a leak.
const GROWTH_MAX: f64 = 1.25;

/// Every promise that did not hold, as a sentence.
pub(super) fn failures(soak: &Soak) -> Vec<String> {
    let mut broken: Vec<String> = soak.wrong.iter().map(|what| format!("a wrong answer: {what}")).collect();
    if soak.panics > 0 {
        broken.push(format!("{} panics", soak.panics));
    }
    for (nth, outcome) in soak.outcomes.iter().enumerate() {
        let name = outcome.class.name;
        let mut say = |what: String| broken.push(format!("{name}: {what}"));
        if outcome.mirror_errors > 0 {
            say(format!("{} requests suffered from the mirror", outcome.mirror_errors));
        }
        if outcome.errors_after > 0 {
            say(format!("{} errors after everybody had come back", outcome.errors_after));
        }
        if outcome.errors.iter().any(|(what, _)| what == "forgotten") {
            say("a client was forgotten".to_string());
        }
        if outcome.rest.descriptors > soak.base.descriptors + DESCRIPTORS_MORE {
            say(format!(
                "{} descriptors at rest instead of {}",
                outcome.rest.descriptors, soak.base.descriptors
            ));
        }
        if outcome.rest.private_bytes > soak.base.private_bytes + MORE_BYTES {
            say(format!(
                "{} at rest instead of {}",
                mib(outcome.rest.private_bytes),
                mib(soak.base.private_bytes)
            ));
        }
        if let Some((first, second)) = halves(soak, nth)
            && second > first.max(MORE_BYTES as f64) * GROWTH_MAX
        {
            say(format!("memory grew from {first:.0} to {second:.0} bytes"));
        }
    }
    soak.accounts.iter().for_each(|account| broken.extend(unbalanced(account)));
    broken
}

fn unbalanced(account: &Account) -> Vec<String> {
    let (l, name) = (&account.ledger, account.mirror);
    let mut broken = Vec::new();
    let skipped: u64 = l.skipped.values().sum();
    if l.unfinished > 0 {
        broken.push(format!("{name}: {} copies never ended", l.unfinished));
    }
    if l.eligible != l.sampled_out + skipped + l.dropped_total() + l.sent || l.sent != l.completed + l.failed
    {
        broken.push(format!("{name}: the ledger does not balance: {}", l.show()));
    }
    if account.arrived > l.sent + account.resent || account.arrived < l.completed {
        broken.push(format!(
            "{name}: {} requests arrived of {} sent, {} sent again and {} completed",
            account.arrived, l.sent, account.resent, l.completed
        ));
    }
    if name == "v3"
        && l.failed + l.dropped.iter().filter(|(why, _)| *why != "worker_busy").map(|(_, n)| n).sum::<u64>()
            > 0
    {
        broken.push(format!("{name}: lost copies beside a mirror in trouble: {}", l.show()));
    }
    broken
}

/// Mean busy memory in both halves of the second and third quarter: the mean of each, of a class with enough samples.
fn halves(soak: &Soak, class: usize) -> Option<(f64, f64)> {
    let of_class: Vec<f64> =
        soak.samples.iter().filter(|s| s.class == Some(class)).map(|s| s.private_bytes as f64).collect();
    // The last part is health and rest.
    let (first, second) = of_class.get(..of_class.len() * 4 / 5)?.split_at(of_class.len() * 2 / 5);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    (first.len() >= 10).then(|| (mean(first), mean(second)))
}

pub(super) fn text(soak: &Soak) -> String {
    let mut table = Table::new(&[
        "class",
        "faults",
        "answered whole",
        "left",
        "errors: mirror in trouble",
        "primary too",
        "after",
        "descriptors",
        "MiB",
        "which errors",
    ]);
    let rest = |descriptors: u64, bytes: u64| {
        [descriptors.to_string(), format!("{:.1}", bytes as f64 / f64::from(1 << 20))]
    };
    let [descriptors, bytes] = rest(soak.base.descriptors, soak.base.private_bytes);
    let mut before = vec![String::new(); 10];
    before[0] = "before".to_string();
    (before[7], before[8]) = (descriptors, bytes);
    table.row(before);
    for outcome in &soak.outcomes {
        let [descriptors, bytes] = rest(outcome.rest.descriptors, outcome.rest.private_bytes);
        table.row([
            outcome.class.name.to_string(),
            outcome.faults.to_string(),
            outcome.whole.to_string(),
            outcome.left.to_string(),
            outcome.mirror_errors.to_string(),
            (total(outcome) - outcome.mirror_errors - outcome.errors_after).to_string(),
            outcome.errors_after.to_string(),
            descriptors,
            bytes,
            outcome.errors.iter().map(|(what, n)| format!("{what} {n}")).collect::<Vec<_>>().join(", "),
        ]);
    }
    let mut out = table.text();
    out.push('\n');
    out.push_str(&wrap(&format!(
        "Answered whole, byte for byte what this client had sent: {}. Answers that were another's or nobody's: {}. \
         Reloads: {}. Panics: {}. Descriptors and MiB (private memory) are those at rest after the class.",
        soak.whole,
        soak.wrong.len(),
        soak.reloads,
        soak.panics
    )));
    for account in &soak.accounts {
        let (name, resent, arrived) = (account.mirror, account.resent, account.arrived);
        out.push_str(&wrap(&format!(
            "Copies to {name}: {}; sent again {resent}; {name} itself counted {arrived}.",
            account.ledger.show()
        )));
    }
    let broken = failures(soak);
    if broken.is_empty() {
        out.push_str("\n  Every promise held.\n");
    }
    for what in broken {
        out.push_str(&wrap(&format!("BROKEN: {what}")));
    }
    out
}

fn total(outcome: &Outcome) -> u64 {
    outcome.errors.iter().map(|(_, n)| n).sum()
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

pub(super) fn csv(soak: &Soak) -> String {
    let mut out = String::from("seconds,class,private_bytes,descriptors,answered_whole,errors\n");
    for s in &soak.samples {
        let class = s.class.and_then(|nth| soak.outcomes.get(nth)).map_or("rest", |o| o.class.name);
        let _ = writeln!(
            out,
            "{:.1},{class},{},{},{},{}",
            s.seconds, s.private_bytes, s.descriptors, s.whole, s.errors
        );
    }
    out
}

pub(super) fn svg(soak: &Soak) -> String {
    let line = |title: &str, value: &dyn Fn(usize) -> f64| Line {
        title: title.to_string(),
        points: soak.samples.iter().enumerate().map(|(nth, s)| (s.seconds / 60.0, value(nth))).collect(),
    };
    let per_second = |nth: usize, of: &dyn Fn(usize) -> u64| {
        let (Some(now), Some(before)) =
            (soak.samples.get(nth), nth.checked_sub(1).and_then(|b| soak.samples.get(b)))
        else {
            return 0.0;
        };
        (of(nth) - of(nth - 1)) as f64 / (now.seconds - before.seconds).max(0.001)
    };
    let mut marks = Vec::new();
    for (nth, outcome) in soak.outcomes.iter().enumerate() {
        let begin = soak.samples.iter().find(|s| s.class == Some(nth));
        marks.extend(begin.map(|s| (s.seconds / 60.0, outcome.class.name.to_string())));
    }
    chart::lines(
        "Soak",
        "minutes",
        &[
            line("Private memory, MiB", &|nth| soak.samples[nth].private_bytes as f64 / f64::from(1 << 20)),
            line("Descriptors", &|nth| soak.samples[nth].descriptors as f64),
            line("Answered whole per second", &|nth| per_second(nth, &|at| soak.samples[at].whole)),
            line("Errors per second", &|nth| per_second(nth, &|at| soak.samples[at].errors)),
        ],
        &marks,
    )
}
