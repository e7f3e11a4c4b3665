//! The report of `isolation`: a row per program and state of the mirror, and whether ours stayed within its promise.

use std::fmt::Write;

use super::isolation_figures::{Measured, Program, Row};
use crate::chart::{Bar, Group};
use crate::cli::IsolationArgs;
use crate::ledger::Ledger;
use crate::procfs::Scheduled;
use crate::stats::Spread;
use crate::table::{Table, dash, figure, micros, times};

/// Each of p50, p99 and p99.9, to the same with mirroring off.
const LATENCY_RATIO_MAX: f64 = 1.10;
const RATE_RATIO_MIN: f64 = 0.98;
/// The default of `ring_bytes_max` for one worker: the bytes that a mirror may make us hold.
const RING_BYTES: f64 = 32.0 * MIB;
const MIB: f64 = 1_048_576.0;

impl Row {
    fn ratio(&self, of: impl Fn(&Measured) -> f64) -> Option<Spread> {
        Spread::of(self.pairs.iter().map(|pair| of(&pair.on) / of(&pair.off)))
    }

    fn on(&self, of: impl Fn(&Measured) -> f64) -> Option<f64> {
        Spread::of(self.pairs.iter().map(|pair| of(&pair.on))).map(|s| s.median)
    }

    /// So many µs more a request than with mirroring off.
    fn more_of(&self, of: fn(&Scheduled) -> f64) -> Option<f64> {
        let a_request = |m: &Measured| of(&m.scheduled) / m.seen.requests as f64;
        Spread::of(self.pairs.iter().map(|pair| a_request(&pair.on) - a_request(&pair.off))).map(|s| s.median)
    }

    /// The most bytes that the gateway held with a mirror beyond those without.
    fn held_more(&self) -> Option<Spread> {
        Spread::of(self.pairs.iter().map(|p| p.on.memory.peak as f64 - p.off.memory.peak as f64))
    }

    /// The promise in the median round. A figure that breaks it, but is no worse than the worst run with mirroring off, may be
    /// this machine's doing and proves nothing.
    fn judge(&self, off: &[Measured]) -> Promise {
        let mut promise = Promise::default();
        let mut latency = |what: &'static str, of: fn(&Measured) -> f64| {
            let holds = self.ratio(of).is_some_and(|r| r.median <= LATENCY_RATIO_MAX);
            let usual = self.on(of).is_some_and(|on| off.iter().any(|m| of(m) >= on));
            promise.note(what, holds, usual);
        };
        latency("p50", |m| m.seen.p50);
        latency("p99", |m| m.seen.p99);
        latency("p99.9", |m| m.seen.p99_9);
        let rate = |m: &Measured| m.seen.rate();
        let holds = self.ratio(rate).is_some_and(|r| r.median >= RATE_RATIO_MIN);
        let usual = self.on(rate).is_some_and(|on| off.iter().any(|m| rate(m) <= on));
        promise.note("rate", holds, usual);
        promise.note("memory", self.held_more().is_some_and(|held| held.median <= RING_BYTES), false);
        promise
    }
}

#[derive(Debug, Default, PartialEq)]
struct Promise {
    broken: Vec<&'static str>,
    /// Broken by the letter, but mirroring off was as bad at times.
    unclear: Vec<&'static str>,
}

impl Promise {
    fn note(&mut self, what: &'static str, holds: bool, usual: bool) {
        match (holds, usual) {
            (true, _) => {}
            (false, true) => self.unclear.push(what),
            (false, false) => self.broken.push(what),
        }
    }

    fn show(&self) -> String {
        match (self.broken.is_empty(), self.unclear.is_empty()) {
            (true, true) => "held".to_string(),
            (true, false) => format!("noise: {}", self.unclear.join(" ")),
            (false, _) => {
                let broken = self.broken.join(" ").replace("p50 p99 p99.9", "latency");
                format!("BROKEN: {broken}")
            }
        }
    }
}

pub(super) fn text(programs: &[Program], args: &IsolationArgs, load: &str) -> String {
    let what =
        if args.request_bytes > 0 { format!("POST {} bytes", args.request_bytes) } else { "GET".to_string() };
    let mut out = format!("\nisolation — {what}, {load}, {} connections\n", args.connections);
    for program in programs {
        let _ = write!(out, "\n{}", table(program));
    }
    let _ = writeln!(
        out,
        "\n  × off: to the neighbour with mirroring off, in the median round; in the first row, the worst run to the median\n  \
         + MiB: peak of memory above the neighbour's\n  \
         runs, waits: µs of the gateway's threads on a core, and ready but without one, a request and above the neighbour's;\n  \
         a request is late by the gateway's own doing for no more than what it runs longer, its copy's part included\n  \
         promise, ours, everyone measured by it: p50, p99, p99.9 ≤ {LATENCY_RATIO_MAX:.2} × off, rate ≥ {RATE_RATIO_MIN} × \
         off, peak memory ≤ {:.0} MiB above off\n  \
         noise: not held, but a run with mirroring off was as bad; late: so many runs in which requests left late",
        RING_BYTES / MIB
    );
    for program in programs.iter().filter(|program| program.variant.is_ours()) {
        let mut copies = String::new();
        for row in program.rows.iter().filter(|row| row.pairs.iter().any(|p| p.on.ledger.is_some())) {
            let mut all = Ledger::default();
            row.pairs.iter().filter_map(|p| p.on.ledger.as_ref()).for_each(|ledger| all.add(ledger));
            let _ = writeln!(copies, "  {}: {}", row.state.name, all.show());
        }
        if !copies.is_empty() {
            let _ = write!(out, "\n  copies of {}, warm-up included\n{copies}", program.variant.name());
        }
    }
    out
}

fn table(program: &Program) -> String {
    let mut table = Table::new(&[
        program.variant.name(),
        "requests/s",
        "p50",
        "× off",
        "p99",
        "× off",
        "p99.9",
        "× off",
        "RSS MiB",
        "+ MiB",
        "runs + µs",
        "waits + µs",
        "errors",
        "promise",
    ]);
    let usual = |of: fn(&Measured) -> f64| Spread::of(program.off.iter().map(of)).map(|s| s.median);
    let worst = |of: fn(&Measured) -> f64| {
        let spread = Spread::of(program.off.iter().map(|m| of(m) / usual(of).unwrap_or(f64::NAN)));
        spread.map_or_else(dash, |s| format!("to {}", times(s.max)))
    };
    let time = |value: Option<f64>| value.map_or_else(dash, micros);
    table.row([
        "mirroring off".to_string(),
        figure(usual(|m| m.seen.rate()), 0),
        time(usual(|m| m.seen.p50)),
        worst(|m| m.seen.p50),
        time(usual(|m| m.seen.p99)),
        worst(|m| m.seen.p99),
        time(usual(|m| m.seen.p99_9)),
        worst(|m| m.seen.p99_9),
        figure(usual(|m| m.memory.resident as f64 / MIB), 1),
        String::new(),
        String::new(),
        String::new(),
        program.off.iter().map(|m| m.seen.errors).sum::<u64>().to_string(),
        late(program.off.iter()),
    ]);
    for row in &program.rows {
        let ratio = |of: fn(&Measured) -> f64| row.ratio(of).map_or_else(dash, |s| times(s.median));
        let mut verdict = vec![match row.pairs.is_empty() {
            true => "NO FIGURE".to_string(),
            false => row.judge(&program.off).show(),
        }];
        verdict.push(late(row.pairs.iter().map(|pair| &pair.on)));
        verdict.retain(|part| !part.is_empty());
        table.row([
            row.state.name.to_string(),
            figure(row.on(|m| m.seen.rate()), 0),
            time(row.on(|m| m.seen.p50)),
            ratio(|m| m.seen.p50),
            time(row.on(|m| m.seen.p99)),
            ratio(|m| m.seen.p99),
            time(row.on(|m| m.seen.p99_9)),
            ratio(|m| m.seen.p99_9),
            figure(row.on(|m| m.memory.resident as f64 / MIB), 1),
            figure(row.held_more().map(|s| s.median / MIB), 1),
            figure(row.more_of(|s| s.ran_us), 1),
            figure(row.more_of(|s| s.waited_us), 1),
            row.pairs.iter().map(|p| p.on.seen.errors).sum::<u64>().to_string(),
            verdict.join(", "),
        ]);
    }
    table.text()
}

/// Runs whose schedule was not kept.
fn late<'a>(runs: impl Iterator<Item = &'a Measured>) -> String {
    let runs: Vec<bool> = runs.map(|measured| measured.is_valid).collect();
    match runs.iter().filter(|is_valid| !**is_valid).count() {
        0 => String::new(),
        late => format!("late {late}"),
    }
}

/// A figure with mirroring off stands once, though up to three states had it as their neighbour.
pub(super) fn csv(programs: &[Program]) -> String {
    let mut out = String::from(
        "variant,mirror_is,run,requests,seconds,requests_per_s,p50_us,p99_us,p99_9_us,errors,valid,resident_bytes,\
         peak_bytes,private_bytes,ran_us,waited_us,p99_us_of_off_neighbour,eligible,sent,completed,failed,dropped\n",
    );
    for program in programs {
        let name = program.variant.name();
        for (run, off) in program.off.iter().enumerate() {
            csv_row(&mut out, name, "off", run, off, off);
        }
        for row in &program.rows {
            for (run, pair) in row.pairs.iter().enumerate() {
                csv_row(&mut out, name, row.state.name, run, &pair.on, &pair.off);
            }
        }
    }
    out
}

fn csv_row(out: &mut String, name: &str, state: &str, run: usize, measured: &Measured, off: &Measured) {
    let (seen, memory) = (&measured.seen, &measured.memory);
    let ledger = measured.ledger.clone().unwrap_or_default();
    let _ = writeln!(
        out,
        "{name},{state},{},{},{:.3},{:.1},{:.1},{:.1},{:.1},{},{},{},{},{},{:.0},{:.0},{:.1},{},{},{},{},{}",
        run + 1,
        seen.requests,
        seen.seconds,
        seen.rate(),
        seen.p50,
        seen.p99,
        seen.p99_9,
        seen.errors,
        measured.is_valid,
        memory.resident,
        memory.peak,
        memory.private,
        measured.scheduled.ran_us,
        measured.scheduled.waited_us,
        off.seen.p99,
        ledger.eligible,
        ledger.sent,
        ledger.completed,
        ledger.failed,
        ledger.dropped_total()
    );
}

pub(super) fn groups(programs: &[Program]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (program, row) in programs.iter().flat_map(|p| p.rows.iter().map(move |row| (p, row))) {
        let bar = Bar {
            label: program.variant.name().to_string(),
            ours: program.variant.is_ours(),
            spread: row.ratio(|m| m.seen.p99),
        };
        match groups.iter_mut().find(|group| group.title == row.state.name) {
            Some(group) => group.bars.push(bar),
            None => groups.push(Group { title: row.state.name.to_string(), bars: vec![bar] }),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::isolation_figures::Pair;
    use crate::faults::STATES;
    use crate::load::Seen;
    use crate::procfs::Memory;

    fn measured(p99: f64, requests: u64, peak: u64) -> Measured {
        let scheduled = Scheduled::default();
        let seen = Seen { requests, seconds: 1.0, p50: 1.0, p99, p99_9: 3.0, errors: 0 };
        Measured {
            seen,
            memory: Memory { peak, ..Memory::default() },
            scheduled,
            is_valid: true,
            ledger: None,
        }
    }

    #[test]
    fn every_part_of_the_promise_is_checked() {
        let check = |on: Measured, broken: &[&'static str], unclear: &[&'static str]| {
            let off = measured(2.0, 1000, 1 << 20);
            let once = measured(5.0, 1000, 1 << 20);
            let pairs = vec![Pair { off: off.clone(), on }];
            let promise = Row { state: STATES[0], pairs }.judge(&[off, once]);
            assert_eq!(promise, Promise { broken: broken.to_vec(), unclear: unclear.to_vec() });
        };
        check(measured(2.1, 990, 2 << 20), &[], &[]);
        check(measured(5.1, 1000, 1 << 20), &["p99"], &[]);
        check(measured(2.3, 1000, 1 << 20), &[], &["p99"]);
        check(measured(2.0, 970, 1 << 20), &["rate"], &[]);
        check(measured(2.0, 1000, 40 << 20), &["memory"], &[]);
        check(measured(f64::NAN, 1000, 1 << 20), &["p99"], &[]);
    }
}
