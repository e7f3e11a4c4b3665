//! The report of `peers` and `growth`: a row per case, ratios round by round, goals met or not. Measures nothing.

use std::fmt::Write;

use super::rounds_figures::{Case, Sample};
use crate::chart::{Bar, Group};
use crate::keep::cell;
use crate::scenario::{Goal, Scenario};
use crate::stats::{self, Spread};
use crate::table::{Table, dash, figure, micros, wrap};
use crate::variant::Variant;

/// More failed requests than this, and the cost of the others says little.
const ERROR_SHARE_MAX: f64 = 0.001;
/// A larger share of copies that never arrived is named.
const COPIES_LOST_MAX: f64 = 0.001;

#[derive(Default)]
pub(super) struct Report {
    pub text: String,
    pub csv: String,
    pub groups: Vec<Group>,
}

const CSV_HEAD: &str = "scenario,variant,place,round,requests,seconds,requests_per_s,cpu_us,user_us,sys_us,p50_us,p99_us,\
    p99_9_us,errors,resident_bytes,reached_primary,reached_mirrors,eligible,sent,completed,failed,dropped\n";

/// Adds a scenario to the report and returns its text.
pub(super) fn add(report: &mut Report, scenario: &Scenario, cases: &[Case]) -> String {
    let mut text = format!("\n{} — {}\n", scenario.name, scenario.title);
    if !scenario.note.is_empty() {
        text.push_str(&wrap(&scenario.note));
    }
    text.push('\n');
    text.push_str(&rows(scenario, cases));
    for (variant, why) in &scenario.unfair {
        if cases.iter().any(|case| case.variant == *variant) {
            text.push_str(&wrap(&format!("unfair: {} {why}", variant.name())));
        }
    }
    for case in cases {
        if let Some(ledger) = &case.ledger {
            let _ = writeln!(text, "  copies of {}: {}", case.label(), ledger.show());
        }
    }
    text.push_str(&peer_ratios(cases));
    text.push_str(&growth_ratios(cases));
    text.push_str(&goals(scenario, cases));

    if report.csv.is_empty() {
        report.csv.push_str(CSV_HEAD);
    }
    for case in cases {
        for (round, sample) in case.samples.iter().enumerate() {
            report.csv.push_str(&csv_row(scenario, case, round + 1, sample));
        }
    }
    report.groups.push(Group {
        title: scenario.title.clone(),
        bars: cases
            .iter()
            .map(|case| Bar { label: case.label(), ours: case.variant.is_ours(), spread: case.cpu() })
            .collect(),
    });
    report.text.push_str(&text);
    text
}

impl Case {
    fn series(&self) -> Vec<f64> {
        self.samples.iter().map(Sample::cpu_us).collect()
    }

    fn cpu(&self) -> Option<Spread> {
        Spread::of(self.series())
    }

    fn median(&self, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        Spread::of(self.samples.iter().map(of)).map(|s| s.median)
    }

    /// Copies that reached a mirror, for each request that reached the primary, over all rounds.
    fn copied(&self) -> Option<f64> {
        let sum = |of: fn(&Sample) -> u64| self.samples.iter().map(of).sum::<u64>() as f64;
        let requests = sum(|s| s.arrived.primary) * self.setup.mirrors as f64;
        (self.variant.mirrors() && requests > 0.0).then(|| sum(|s| s.arrived.mirrors) / requests)
    }

    /// Reason for which its cost is incomparable: copies that were to be made and never arrived.
    fn lost_copies(&self) -> Option<String> {
        let requests: u64 = self.samples.iter().map(|s| s.arrived.primary).sum();
        let wanted = requests as f64 * self.setup.percent as f64 / 100.0;
        let got = wanted.min(self.copied()? * requests as f64);
        let lost = (wanted - got) / wanted.max(1.0);
        let dropped = self.ledger.as_ref().is_some_and(|ledger| ledger.lost() > 0);
        // The copied requests are drawn, so that the share is only near the percentage.
        let many = self.setup.percent == 100
            && (wanted - got).round() > self.cut_off() as f64
            && lost > COPIES_LOST_MAX;
        (dropped || many).then(|| format!("{:.1} % OF COPIES LOST", lost * 100.0))
    }

    fn errors(&self) -> u64 {
        self.samples.iter().map(|s| s.seen.errors).sum()
    }

    /// Requests that the end of a round may have cut off before they were complete.
    fn cut_off(&self) -> u64 {
        (self.samples.len() * self.setup.busy * self.setup.mirrors) as u64
    }

    fn has_many_errors(&self) -> bool {
        let requests: u64 = self.samples.iter().map(|s| s.seen.requests).sum();
        self.errors() as f64 > ERROR_SHARE_MAX * requests.max(1) as f64
    }
}

fn rows(scenario: &Scenario, cases: &[Case]) -> String {
    let head =
        ["variant", "CPU µs/request", "user", "sys", "requests/s", "p50", "p99", "copied", "errors", ""];
    let mut table = Table::new(&head);
    for case in cases {
        let mut remarks: Vec<String> = Vec::new();
        if case.has_many_errors() {
            remarks.push("MANY ERRORS: its cost says little".to_string());
        }
        remarks.extend(case.lost_copies());
        if scenario.unfair.contains_key(&case.variant) {
            remarks.push("unfair".to_string());
        }
        let time = |of: fn(&Sample) -> f64| case.median(of).map_or_else(dash, micros);
        table.row([
            case.label(),
            case.cpu().map_or_else(dash, |s| s.show(1)),
            figure(case.median(|s| s.user_us), 1),
            figure(case.median(|s| s.sys_us), 1),
            figure(case.median(|s| s.seen.rate()), 0),
            time(|s| s.seen.p50),
            time(|s| s.seen.p99),
            case.copied().map_or_else(dash, |share| format!("{:.1} %", share * 100.0)),
            case.errors().to_string(),
            remarks.join("; "),
        ]);
    }
    table.text()
}

/// Ours to each peer at the same place. Ours without mirroring beside a peer that mirrors would flatter us.
fn peer_ratios(cases: &[Case]) -> String {
    let mut ours: Vec<Variant> = cases.iter().map(|c| c.variant).filter(|v| v.is_ours()).collect();
    ours.dedup();
    let mut head = vec!["CPU: ours ÷ peer".to_string()];
    head.extend(ours.iter().map(|variant| variant.name().to_string()));
    head.push(String::new());
    let mut table = Table::new(&head.iter().map(String::as_str).collect::<Vec<_>>());
    let peers: Vec<&Case> = cases.iter().filter(|case| !case.variant.is_ours()).collect();
    for peer in &peers {
        let ratio = |variant: &Variant| {
            let mine = cases.iter().find(|c| c.variant == *variant && c.place == peer.place)?;
            let is_fair = variant.mirrors() || !peer.variant.mirrors();
            is_fair.then(|| Spread::of_ratios(&mine.series(), &peer.series()))?
        };
        let mut row = vec![peer.label()];
        row.extend(ours.iter().map(|v| ratio(v).map_or_else(dash, |s| s.show(2))));
        row.push(String::new());
        table.row(row);
    }
    if ours.is_empty() || peers.is_empty() { String::new() } else { format!("\n{}", table.text()) }
}

/// Along an axis, everyone to itself at the first place.
fn growth_ratios(cases: &[Case]) -> String {
    let mut places: Vec<&str> = Vec::new();
    let mut variants: Vec<Variant> = Vec::new();
    for case in cases {
        if !places.contains(&case.place.as_str()) {
            places.push(&case.place);
        }
        if !variants.contains(&case.variant) {
            variants.push(case.variant);
        }
    }
    let Some((first, others)) = places.split_first().filter(|(_, others)| !others.is_empty()) else {
        return String::new();
    };
    let title = format!("CPU ÷ its own at {first}");
    let head: Vec<&str> =
        std::iter::once(title.as_str()).chain(others.iter().copied()).chain(std::iter::once("")).collect();
    let mut table = Table::new(&head);
    for variant in variants {
        let at = |place: &str| cases.iter().find(|c| c.variant == variant && c.place == place);
        let ratio = |place: &str| Spread::of_ratios(&at(place)?.series(), &at(first)?.series());
        let mut row = vec![variant.name().to_string()];
        row.extend(others.iter().map(|place| ratio(place).map_or_else(dash, |s| s.show(2))));
        row.push(String::new());
        table.row(row);
    }
    format!("\n{}", table.text())
}

fn goals(scenario: &Scenario, cases: &[Case]) -> String {
    let mut out = String::new();
    for goal in &scenario.goals {
        let mut of_variant = cases.iter().filter(|case| case.variant == goal.variant);
        if goal.against.is_empty() {
            let Some(first) = of_variant.next() else { continue };
            for case in of_variant {
                judge(&mut out, goal, case, &first.series(), &format!("its cost at {}", first.place));
            }
            continue;
        }
        for case in of_variant {
            let peers = cases.iter().filter(|c| goal.against.contains(&c.variant) && c.place == case.place);
            let peers: Vec<&Case> = peers.collect();
            let names: Vec<&str> = peers.iter().map(|peer| peer.variant.name()).collect();
            let name = match names.len() {
                0 => "who was not measured".to_string(),
                1 => names.concat(),
                _ => format!("the cheapest of {}", names.join(", ")),
            };
            let series: Vec<Vec<f64>> = peers.iter().map(|peer| peer.series()).collect();
            judge(&mut out, goal, case, &stats::lower(&series), &name);
        }
    }
    if out.is_empty() { out } else { format!("\n{out}") }
}

fn judge(out: &mut String, goal: &Goal, case: &Case, against: &[f64], name: &str) {
    let ratio = Spread::of_ratios(&case.series(), against);
    let (lost, missing) = case.ledger.as_ref().map_or((0, 0), |ledger| (ledger.lost(), ledger.missing()));
    let (verdict, why) = match ratio {
        None => ("NO FIGURE", String::new()),
        Some(_) if case.has_many_errors() => ("NOT MET", " (many errors)".to_string()),
        Some(_) if lost > 0 => ("NOT MET", format!(" ({lost} copies lost)")),
        Some(_) if missing > case.cut_off() => ("NOT MET", format!(" ({missing} copies never made)")),
        Some(spread) if spread.median <= goal.ratio_max => ("met", String::new()),
        Some(_) => ("NOT MET", String::new()),
    };
    let shown = ratio.map_or_else(dash, |s| s.show(2));
    let _ =
        writeln!(out, "  goal: {} ≤ {:.2} × {name}: {shown}  {verdict}{why}", case.label(), goal.ratio_max);
}

fn csv_row(scenario: &Scenario, case: &Case, round: usize, sample: &Sample) -> String {
    let seen = &sample.seen;
    let ledger = sample.ledger.clone().unwrap_or_default();
    format!(
        "{},{},{},{round},{},{:.3},{:.1},{:.3},{:.3},{:.3},{:.1},{:.1},{:.1},{},{},{},{},{},{},{},{},{}\n",
        cell(&scenario.name),
        case.variant.name(),
        cell(&case.place),
        seen.requests,
        seen.seconds,
        seen.rate(),
        sample.cpu_us(),
        sample.user_us,
        sample.sys_us,
        seen.p50,
        seen.p99,
        seen.p99_9,
        seen.errors,
        sample.resident,
        sample.arrived.primary,
        sample.arrived.mirrors,
        ledger.eligible,
        ledger.sent,
        ledger.completed,
        ledger.failed,
        ledger.dropped_total()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::rounds_figures::Arrived;
    use crate::ledger::Ledger;
    use crate::load::Seen;
    use crate::scenario::Setup;

    fn case(variant: Variant, cpu: f64, lost: u64) -> Case {
        let seen = Seen { requests: 100, seconds: 1.0, ..Seen::default() };
        let setup = Setup { mirrors: 1, ..Setup::plain(1, 1) };
        Case {
            variant,
            place: String::new(),
            setup,
            samples: vec![Sample {
                user_us: cpu,
                sys_us: 0.0,
                seen,
                resident: 0,
                arrived: Arrived { primary: 100, mirrors: 100 - lost },
                ledger: None,
            }],
            ledger: (variant.is_ours() && variant.mirrors())
                .then(|| Ledger { failed: lost, ..Ledger::default() }),
        }
    }

    #[test]
    fn a_goal_reached_by_losing_copies_is_not_met() {
        let text = "title = \"t\"\ncommand = \"peers\"\nvariants = [\"ours_mirror\", \"envoy_mirror\"]\n\
            [[goal]]\nvariant = \"ours_mirror\"\nagainst = [\"envoy_mirror\"]\nratio_max = 0.2";
        let scenario = Scenario::parse("t", text).expect("it reads");
        for (cpu, lost, expect) in [(20.0, 0, "  met"), (21.0, 0, "NOT MET"), (10.0, 3, "3 copies lost")] {
            let mut report = Report::default();
            let cases = [case(Variant::OursMirror, cpu, lost), case(Variant::EnvoyMirror, 100.0, 0)];
            let text = add(&mut report, &scenario, &cases);
            assert!(text.contains(expect), "{text}");
        }
    }

    #[test]
    fn copies_that_never_arrived_are_named_whoever_lost_them() {
        let lost = |variant, lost| case(variant, 1.0, lost).lost_copies();
        assert_eq!(lost(Variant::EnvoyMirror, 20).as_deref(), Some("20.0 % OF COPIES LOST"));
        assert_eq!(lost(Variant::OursMirror, 1).as_deref(), Some("1.0 % OF COPIES LOST"));
        // The only copy of a connection may have been cut off by the end of the load.
        assert_eq!(lost(Variant::EnvoyMirror, 1), None);
        assert_eq!(lost(Variant::EnvoyPlain, 100), None);
    }

    #[test]
    fn ours_without_a_mirror_is_not_set_beside_a_peer_that_mirrors() {
        let cases = [Variant::OursPlain, Variant::OursMirror, Variant::EnvoyPlain, Variant::EnvoyMirror]
            .map(|variant| case(variant, 10.0, 0));
        let text = peer_ratios(&cases);
        assert!(
            text.contains("envoy_plain")
                && text.lines().any(|l| l.contains("envoy_mirror  ") && l.contains('–')),
            "{text}"
        );
    }

    #[test]
    fn a_peer_that_was_not_measured_gives_no_verdict() {
        let text = "title = \"t\"\ncommand = \"peers\"\nvariants = [\"ours_plain\", \"haproxy_plain\"]\n\
            [[goal]]\nvariant = \"ours_plain\"\nagainst = [\"haproxy_plain\"]\nratio_max = 0.2";
        let scenario = Scenario::parse("t", text).expect("it reads");
        let text = add(&mut Report::default(), &scenario, &[case(Variant::OursPlain, 1.0, 0)]);
        assert!(text.contains("NO FIGURE"), "{text}");
    }
}
