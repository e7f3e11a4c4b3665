//! What `peers` and `growth` show: a row per case, ratios round by round, goals met or not. Measures nothing.

use std::fmt::Write;

use super::rounds::{Case, Sample};
use crate::chart::{Bar, Group};
use crate::keep::cell;
use crate::scenario::{Goal, Scenario};
use crate::stats::{self, Spread};
use crate::table::{Table, dash, figure, micros};

/// More failed requests than this, and the cost of the others says little.
const ERROR_SHARE_MAX: f64 = 0.001;

#[derive(Default)]
pub(super) struct Report {
    pub text: String,
    pub csv: String,
    pub groups: Vec<Group>,
}

const CSV_HEAD: &str = "scenario,variant,place,round,requests,seconds,requests_per_s,cpu_us,user_us,sys_us,p50_us,p99_us,\
    p99_9_us,errors,resident_bytes,eligible,sent,completed,failed,dropped\n";

/// Adds a scenario to the report and returns its text.
pub(super) fn add(report: &mut Report, scenario: &Scenario, cases: &[Case]) -> String {
    let mut text = format!("\n{} — {}\n", scenario.name, scenario.title);
    if !scenario.note.is_empty() {
        let _ = writeln!(text, "  {}", scenario.note);
    }
    text.push('\n');
    text.push_str(&rows(scenario, cases));
    for (variant, why) in &scenario.unfair {
        if cases.iter().any(|case| case.variant == *variant) {
            let _ = writeln!(text, "  unfair: {} {why}", variant.name());
        }
    }
    for case in cases {
        if let Some(ledger) = &case.ledger {
            let _ = writeln!(text, "  copies of {}: {}", case.label(), ledger.show());
        }
    }
    let ratios = ratios(cases);
    if !ratios.is_empty() {
        let _ = write!(text, "\n{ratios}");
    }
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
    fn label(&self) -> String {
        format!("{} {}", self.variant.name(), self.place).trim_end().to_string()
    }

    fn series(&self) -> Vec<f64> {
        self.samples.iter().map(Sample::cpu_us).collect()
    }

    fn cpu(&self) -> Option<Spread> {
        Spread::of(self.series())
    }

    fn median(&self, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        Spread::of(self.samples.iter().map(of)).map(|s| s.median)
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
    let mut table =
        Table::new(&["variant", "CPU µs/request", "user", "sys", "requests/s", "p50", "p99", "errors", ""]);
    for case in cases {
        let mut remarks: Vec<String> = Vec::new();
        if case.has_many_errors() {
            remarks.push("MANY ERRORS: its cost says little".to_string());
        }
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
            case.errors().to_string(),
            remarks.join("; "),
        ]);
    }
    table.text()
}

/// Ours to each peer at the same place, and along an axis to the first place of the same variant.
fn ratios(cases: &[Case]) -> String {
    let mut table = Table::new(&["CPU ratio", "median (min–max)", ""]);
    let mut any = false;
    for ours in cases.iter().filter(|case| case.variant.is_ours()) {
        for peer in cases.iter().filter(|case| !case.variant.is_ours() && case.place == ours.place) {
            let ratio = Spread::of_ratios(&ours.series(), &peer.series());
            table.row([
                format!("{} / {}", ours.label(), peer.variant.name()),
                ratio.map_or_else(dash, |s| s.show(2)),
                String::new(),
            ]);
            any = true;
        }
    }
    for case in cases {
        let Some(first) = cases.iter().find(|c| c.variant == case.variant) else { continue };
        if first.place == case.place {
            continue;
        }
        let ratio = Spread::of_ratios(&case.series(), &first.series());
        table.row([
            format!("{} / {}", case.label(), first.place),
            ratio.map_or_else(dash, |s| s.show(2)),
            String::new(),
        ]);
        any = true;
    }
    if any { table.text() } else { String::new() }
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
        "{},{},{},{round},{},{:.3},{:.1},{:.3},{:.3},{:.3},{:.1},{:.1},{:.1},{},{},{},{},{},{},{}\n",
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
    use crate::ledger::Ledger;
    use crate::load::Seen;
    use crate::scenario::Setup;
    use crate::variant::Variant;

    fn case(variant: Variant, cpu: f64, lost: u64) -> Case {
        let seen = Seen { requests: 100, seconds: 1.0, ..Seen::default() };
        let setup = Setup {
            connections: 1,
            busy: 1,
            routes: 1,
            workers: 1,
            mirrors: 1,
            percent: 100,
            ring_bytes_max: None,
        };
        Case {
            variant,
            place: String::new(),
            setup,
            samples: vec![Sample { user_us: cpu, sys_us: 0.0, seen, resident: 0, ledger: None }],
            ledger: variant.mirrors().then(|| Ledger { failed: lost, ..Ledger::default() }),
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
    fn a_peer_that_was_not_measured_gives_no_verdict() {
        let text = "title = \"t\"\ncommand = \"peers\"\nvariants = [\"ours_plain\", \"haproxy_plain\"]\n\
            [[goal]]\nvariant = \"ours_plain\"\nagainst = [\"haproxy_plain\"]\nratio_max = 0.2";
        let scenario = Scenario::parse("t", text).expect("it reads");
        let text = add(&mut Report::default(), &scenario, &[case(Variant::OursPlain, 1.0, 0)]);
        assert!(text.contains("NO FIGURE"), "{text}");
    }
}
