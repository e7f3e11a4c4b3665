//! What `isolation` shows: a row per program and state of the mirror, and whether ours stayed within its promise.

use std::fmt::Write;

use super::isolation::{Measured, Pair, Row};
use crate::chart::{Bar, Group};
use crate::cli::IsolationArgs;
use crate::ledger::Ledger;
use crate::stats::Spread;
use crate::table::{Table, dash, figure, micros, times};

/// Each of p50, p99 and p99.9, to the same with mirroring off.
const LATENCY_RATIO_MAX: f64 = 1.10;
const RATE_RATIO_MIN: f64 = 0.98;
/// The default of `ring_bytes_max` for one worker: what a mirror may make us hold.
const RING_BYTES: f64 = 32.0 * MIB;
const MIB: f64 = 1_048_576.0;

impl Row {
    fn ratio(&self, of: impl Fn(&Measured) -> f64) -> Option<Spread> {
        Spread::of(self.pairs.iter().map(|pair| of(&pair.on) / of(&pair.off)))
    }

    fn on(&self, of: impl Fn(&Measured) -> f64) -> Option<f64> {
        Spread::of(self.pairs.iter().map(|pair| of(&pair.on))).map(|s| s.median)
    }

    /// The most a mirror made the gateway hold beyond what it holds without.
    fn held_more(&self) -> Option<Spread> {
        Spread::of(self.pairs.iter().map(|p| p.on.memory.peak as f64 - p.off.memory.peak as f64))
    }

    /// What of the promise did not hold, in the median round.
    fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut check = |what: &str, spread: Option<Spread>, holds: &dyn Fn(f64) -> bool| {
            if !spread.is_some_and(|s| holds(s.median)) {
                broken.push(what.to_string());
            }
        };
        check("p50", self.ratio(|m| m.seen.p50), &|r| r <= LATENCY_RATIO_MAX);
        check("p99", self.ratio(|m| m.seen.p99), &|r| r <= LATENCY_RATIO_MAX);
        check("p99.9", self.ratio(|m| m.seen.p99_9), &|r| r <= LATENCY_RATIO_MAX);
        check("rate", self.ratio(|m| m.seen.rate()), &|r| r >= RATE_RATIO_MIN);
        check("memory", self.held_more(), &|bytes| bytes <= RING_BYTES);
        broken
    }
}

pub(super) fn text(rows: &[Row], args: &IsolationArgs, load: &str) -> String {
    let mut table = Table::new(&[
        "variant, mirror is",
        "requests/s",
        "× off",
        "p50",
        "× off",
        "p99",
        "× off (min–max)",
        "p99.9",
        "× off",
        "RSS MiB",
        "peak − off",
        "errors",
        "",
    ]);
    let mut copies = String::new();
    for row in rows {
        let ratio = |of: fn(&Measured) -> f64| row.ratio(of).map_or_else(dash, |s| times(s.median));
        let time = |of: fn(&Measured) -> f64| row.on(of).map_or_else(dash, micros);
        let errors: u64 = row.pairs.iter().map(|p| p.on.seen.errors).sum();
        table.row([
            format!("{} {}", row.variant.name(), row.state.name),
            figure(row.on(|m| m.seen.rate()), 0),
            ratio(|m| m.seen.rate()),
            time(|m| m.seen.p50),
            ratio(|m| m.seen.p50),
            time(|m| m.seen.p99),
            row.ratio(|m| m.seen.p99)
                .map_or_else(dash, |s| format!("{} ({}–{})", times(s.median), times(s.min), times(s.max))),
            time(|m| m.seen.p99_9),
            ratio(|m| m.seen.p99_9),
            figure(row.on(|m| m.memory.resident as f64 / MIB), 1),
            figure(row.held_more().map(|s| s.median / MIB), 1),
            errors.to_string(),
            remark(row),
        ]);
        if row.variant.is_ours() && row.pairs.iter().any(|p| p.on.ledger.is_some()) {
            let mut all = Ledger::default();
            row.pairs.iter().filter_map(|p| p.on.ledger.as_ref()).for_each(|ledger| all.add(ledger));
            let _ = writeln!(copies, "  {}: {}", row.state.name, all.show());
        }
    }
    let promise = format!(
        "  goal for ours: p50, p99, p99.9 ≤ {LATENCY_RATIO_MAX:.2} × mirroring off, rate ≥ {RATE_RATIO_MIN} ×, peak memory ≤ \
         {:.0} MiB above it\n",
        RING_BYTES / MIB
    );
    let copies =
        if copies.is_empty() { copies } else { format!("\n  our copies, warm-up included\n{copies}") };
    let what =
        if args.request_bytes > 0 { format!("POST {} bytes", args.request_bytes) } else { "GET".to_string() };
    format!(
        "\nisolation — {what}, {load}, {} connections\n\n{}\n{promise}{copies}",
        args.connections,
        table.text()
    )
}

fn remark(row: &Row) -> String {
    let mut remarks = Vec::new();
    if row.pairs.is_empty() {
        return "NO FIGURE".to_string();
    }
    if row.variant.is_ours() {
        let broken = row.broken();
        remarks.push(match broken.len() {
            0 => "met".to_string(),
            _ => format!("NOT MET: {}", broken.join(", ")),
        });
    }
    let saturated = |of: fn(&Pair) -> &Measured| row.pairs.iter().filter(|p| !of(p).is_valid).count();
    let (off, on) = (saturated(|p| &p.off), saturated(|p| &p.on));
    if off + on > 0 {
        remarks.push(format!("schedule not kept in {off} runs off, {on} on, of {}", row.pairs.len()));
    }
    remarks.join("; ")
}

pub(super) fn csv(rows: &[Row]) -> String {
    let mut out = String::from(
        "variant,mirror_is,round,mirroring,requests,seconds,requests_per_s,p50_us,p99_us,p99_9_us,errors,valid,\
         resident_bytes,peak_bytes,private_bytes,eligible,sent,completed,failed,dropped\n",
    );
    for row in rows {
        for (round, pair) in row.pairs.iter().enumerate() {
            for (mirroring, measured) in [("off", &pair.off), ("on", &pair.on)] {
                let (seen, memory) = (&measured.seen, &measured.memory);
                let ledger = measured.ledger.clone().unwrap_or_default();
                let _ = writeln!(
                    out,
                    "{},{},{},{mirroring},{},{:.3},{:.1},{:.1},{:.1},{:.1},{},{},{},{},{},{},{},{},{},{}",
                    row.variant.name(),
                    row.state.name,
                    round + 1,
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
                    ledger.eligible,
                    ledger.sent,
                    ledger.completed,
                    ledger.failed,
                    ledger.dropped_total()
                );
            }
        }
    }
    out
}

pub(super) fn groups(rows: &[Row]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for row in rows {
        let bar = Bar {
            label: row.variant.name().to_string(),
            ours: row.variant.is_ours(),
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
    use crate::faults::STATES;
    use crate::load::Seen;
    use crate::procfs::Memory;
    use crate::variant::Variant;

    fn measured(p99: f64, requests: u64, peak: u64) -> Measured {
        let seen = Seen { requests, seconds: 1.0, p50: 1.0, p99, p99_9: 3.0, errors: 0 };
        Measured { seen, memory: Memory { peak, ..Memory::default() }, is_valid: true, ledger: None }
    }

    #[test]
    fn every_part_of_the_promise_is_checked() {
        let check = |on: Measured, expect: &[&str]| {
            let pair = Pair { off: measured(2.0, 1000, 1 << 20), on };
            let row = Row { variant: Variant::OursMirror, state: STATES[0], pairs: vec![pair] };
            assert_eq!(row.broken(), expect);
        };
        check(measured(2.1, 990, 2 << 20), &[]);
        check(measured(2.3, 1000, 1 << 20), &["p99"]);
        check(measured(2.0, 970, 1 << 20), &["rate"]);
        check(measured(2.0, 1000, 40 << 20), &["memory"]);
        check(measured(f64::NAN, 1000, 1 << 20), &["p99"]);
    }
}
