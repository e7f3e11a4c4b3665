//! The promises of a soak, whether they held, and the report. Measures nothing.

use std::fmt::Write;

use super::soak_figures::{Account, Outcome, Rest, Soak, Tally};
use crate::chart::{self, Line};
use crate::soak::FORGOTTEN;
use crate::soak::seen::{Count, Counts};
use crate::table::{Table, wrap};

/// Descriptors at rest beyond those before the first fault: a kept connection or two may be in the middle of closing.
const DESCRIPTORS_MORE: u64 = 2;
/// Memory at rest beyond that before the first fault: the allocator's leftovers,
const LEFTOVER_BYTES: u64 = 8 << 20;
/// and findings of comparisons and what is kept for an upstream, for each mirror that breaks.
const MORE_BYTES_EACH: u64 = 8 << 20;
/// Of a class's second half of samples to its first: busy memory that grows is a leak,
const GROWTH_MAX: f64 = 1.25;
/// where it is more than that of a gateway that has just begun.
const BUSY_BYTES: u64 = 16 << 20;

/// Every promise that did not hold, as a sentence.
pub(super) fn failures(soak: &Soak) -> Vec<String> {
    let mut broken: Vec<String> = soak.wrong.iter().map(|what| format!("a wrong answer: {what}")).collect();
    if soak.panics > 0 {
        broken.push(format!("{} panics", soak.panics));
    }
    let breaking = soak.accounts.iter().filter(|account| !account.is_healthy).count() as u64;
    let more = LEFTOVER_BYTES + breaking * MORE_BYTES_EACH;
    for (nth, outcome) in soak.outcomes.iter().enumerate() {
        let name = outcome.class.name;
        let mut say = |what: String| broken.push(format!("{name}: {what}"));
        for wire in &soak.wires {
            let (by, wire) = (|counts: &Counts| counts.of(*wire), wire.name());
            let suffered = by(&outcome.tally.mirror).failed();
            if suffered > 0 {
                say(format!("{suffered} requests over {wire} suffered from a mirror"));
            }
            let after = by(&outcome.tally.after).failed();
            if after > 0 {
                say(format!("{after} errors over {wire} after everybody had come back"));
            }
            if by(&outcome.tally.all).errors.contains_key(FORGOTTEN) {
                say(format!("a client over {wire} was forgotten"));
            }
        }
        if outcome.rest.descriptors > soak.base.descriptors + DESCRIPTORS_MORE {
            say(format!(
                "{} descriptors at rest instead of {}",
                outcome.rest.descriptors, soak.base.descriptors
            ));
        }
        if outcome.rest.private_bytes > soak.base.private_bytes + more {
            say(format!(
                "{} at rest instead of {}",
                mib(outcome.rest.private_bytes),
                mib(soak.base.private_bytes)
            ));
        }
        if let Some((first, second)) = halves(soak, nth)
            && second > first.max(BUSY_BYTES as f64) * GROWTH_MAX
        {
            say(format!("memory grew from {first:.0} to {second:.0} bytes"));
        }
    }
    soak.accounts.iter().for_each(|account| broken.extend(unbalanced(account)));
    broken.extend(soak.suspects.iter().map(|what| format!("an error without an excuse: {what}")));
    broken
}

fn unbalanced(account: &Account) -> Vec<String> {
    let (l, name) = (&account.ledger, &account.mirror);
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
    if account.is_healthy
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

/// A class that is over, for those who wait.
pub(super) fn line(outcome: &Outcome) -> String {
    let [whole, left, mirror, both, after, which] = cells(&outcome.tally, Counts::all);
    format!(
        "{}: {} faults, {whole} whole, {left} left, {mirror}/{both}/{after} errors ({which}), {} wrong, {} descriptors, {}",
        outcome.class.name,
        outcome.faults,
        outcome.tally.all.all().wrong,
        outcome.rest.descriptors,
        mib(outcome.rest.private_bytes)
    )
}

pub(super) fn text(soak: &Soak) -> String {
    let mut out = classes(soak);
    out.push('\n');
    out.push_str(&by_wire(soak));
    out.push('\n');
    let all = soak.counts.all();
    out.push_str(&wrap(&format!(
        "Answered whole, byte for byte what this client had sent: {}. Answers that were another's or nobody's: {}. \
         Reloads: {}. Panics: {}. Descriptors and MiB (private memory) are those at rest after the class.",
        all.whole, all.wrong, soak.reloads, soak.panics
    )));
    for account in &soak.accounts {
        let (name, resent, arrived) = (&account.mirror, account.resent, account.arrived);
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

fn classes(soak: &Soak) -> String {
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
    let rest = |rest: &Rest| {
        [rest.descriptors.to_string(), format!("{:.1}", rest.private_bytes as f64 / f64::from(1 << 20))]
    };
    let mut before = vec![String::new(); 7];
    before[0] = "before".to_string();
    before.extend(rest(&soak.base));
    table.row(before);
    for outcome in &soak.outcomes {
        let [whole, left, mirror, both, after, which] = cells(&outcome.tally, Counts::all);
        let [descriptors, bytes] = rest(&outcome.rest);
        let (name, faults) = (outcome.class.name.to_string(), outcome.faults.to_string());
        table.row([name, faults, whole, left, mirror, both, after, descriptors, bytes, which]);
    }
    table.text()
}

fn by_wire(soak: &Soak) -> String {
    let mut table = Table::new(&[
        "wire",
        "answered whole",
        "left",
        "wrong",
        "errors: mirror in trouble",
        "primary too",
        "after",
        "which errors",
    ]);
    let mut tally = Tally::default();
    soak.outcomes.iter().for_each(|outcome| tally.add(&outcome.tally));
    for wire in &soak.wires {
        let [whole, left, mirror, both, after, which] = cells(&tally, |counts| counts.of(*wire));
        let wrong = tally.all.of(*wire).wrong.to_string();
        table.row([wire.name().to_string(), whole, left, wrong, mirror, both, after, which]);
    }
    table.text()
}

/// Whole, left, errors of three kinds, and which they were.
fn cells(tally: &Tally, of: impl Fn(&Counts) -> Count) -> [String; 6] {
    let (all, mirror, after) = (of(&tally.all), of(&tally.mirror).failed(), of(&tally.after).failed());
    let which: Vec<String> = all.errors.iter().map(|(what, n)| format!("{what} {n}")).collect();
    let figures = [all.whole, all.left, mirror, all.failed() - mirror - after, after];
    let [whole, left, mirror, both, after] = figures.map(|figure| figure.to_string());
    [whole, left, mirror, both, after, which.join(", ")]
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

pub(super) fn csv(soak: &Soak) -> String {
    let mut out = String::from("seconds,class,private_bytes,descriptors,answered_whole,errors");
    for wire in &soak.wires {
        let _ = write!(out, ",answered_whole_{0},errors_{0}", wire.name());
    }
    out.push('\n');
    for s in &soak.samples {
        let class = s.class.and_then(|nth| soak.outcomes.get(nth)).map_or("rest", |o| o.class.name);
        let all = s.counts.all();
        let _ = write!(
            out,
            "{:.1},{class},{},{},{},{}",
            s.seconds,
            s.private_bytes,
            s.descriptors,
            all.whole,
            all.failed()
        );
        for wire in &soak.wires {
            let of = s.counts.of(*wire);
            let _ = write!(out, ",{},{}", of.whole, of.failed());
        }
        out.push('\n');
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
            line("Answered whole per second", &|nth| {
                per_second(nth, &|at| soak.samples[at].counts.all().whole)
            }),
            line("Errors per second", &|nth| per_second(nth, &|at| soak.samples[at].counts.all().failed())),
        ],
        &marks,
    )
}
