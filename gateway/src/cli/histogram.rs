//! `gateway histogram`: how long v1 and v2 took for the same requests, side by side: percentiles, their distribution, and
//! which statuses met which.

use std::fmt::Write;

use serde_json::{Value, json};

use super::told::encoded;
use super::{complain, print};
use crate::ask::Admin;

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Histogram {
    #[command(flatten)]
    admin: Admin,

    /// This route alone
    #[arg(long, value_name = "NAME")]
    route: Option<String>,

    /// This mirror alone
    #[arg(long, value_name = "NAME")]
    mirror: Option<String>,

    /// What came in the last seconds, in steps of ten, up to five minutes; else since the start
    #[arg(long, value_name = "N")]
    seconds: Option<u32>,

    /// Draw with plain characters
    #[arg(long)]
    ascii: bool,
}

/// The printed figures of a distribution: a name, and its key in an answer of `/outcomes`.
const ROWS: [(&str, &str); 6] = [
    ("mean", "mean_seconds"),
    ("p50", "p50_seconds"),
    ("p90", "p90_seconds"),
    ("p99", "p99_seconds"),
    ("p99.9", "p999_seconds"),
    ("max", "max_seconds"),
];

/// Characters of the longest bar.
const BAR_CHARS: usize = 30;

impl Histogram {
    /// 0 told, 2 cannot be told.
    pub(super) fn run(&self) -> i32 {
        match self.ask() {
            Ok(text) => {
                print(&text);
                0
            }
            Err(why) => {
                complain([why]);
                2
            }
        }
    }

    fn ask(&self) -> Result<String, String> {
        let named = |key: &str, name: &Option<String>| {
            name.as_ref().map(|name| format!("{key}={}&", encoded(name))).unwrap_or_default()
        };
        let chosen = named("route", &self.route) + &named("mirror", &self.mirror);
        let told = self.json(&format!("/outcomes?{chosen}"))?;
        let mut outcomes = told["outcomes"].as_array().cloned().unwrap_or_default();
        if outcomes.is_empty() {
            return Err("no mirror is like this".to_owned());
        }
        let Some(seconds) = self.seconds else { return Ok(self.show(&outcomes)) };
        let recent = self.json(&format!("/histograms?{chosen}seconds={seconds}"))?;
        let covered = recent["interval"]["seconds"]
            .as_f64()
            .ok_or("too early: the first ten seconds are not over; leave --seconds out to see them")?;
        outcomes.iter_mut().for_each(|outcome| narrow(outcome, &recent));
        Ok(format!("the last {covered:.0} seconds\n\n{}", self.show(&outcomes)))
    }

    fn json(&self, target: &str) -> Result<Value, String> {
        let told = self.admin.get(target)?;
        serde_json::from_str(&told).map_err(|error| format!("not what {target} tells: {error}"))
    }

    fn show(&self, outcomes: &[Value]) -> String {
        outcomes.iter().map(|outcome| show(outcome, self.ascii)).collect::<Vec<_>>().join("\n")
    }
}

/// Reduces an outcome to the interval of an answer of `/histograms`. Statuses have none.
fn narrow(outcome: &mut Value, recent: &Value) {
    let find = |name: &str| {
        let mut all = recent["histograms"].as_array().into_iter().flatten();
        let of = all.find(|of| {
            of["name"] == name && of["route"] == outcome["route"] && of["mirror"] == outcome["mirror"]
        });
        of.map_or_else(|| json!({ "count": 0 }), |of| of["interval"].clone())
    };
    let latency = json!({
        "primary": find("paired"),
        "mirror": find("mirror"),
        "slower": find("slower"),
        "faster": find("faster"),
    });
    outcome["pairs"] = latency["primary"]["count"].clone();
    outcome["latency"] = latency;
    outcome["matrix"] = json!([]);
    // Since the start, which says nothing of the interval.
    outcome["ledger"] = Value::Null;
}

fn show(outcome: &Value, ascii: bool) -> String {
    let name = |key: &str| outcome[key].as_str().unwrap_or_default().to_owned();
    let mut out = format!("{} on {}, {} pairs\n\n", name("mirror"), name("route"), outcome["pairs"]);
    if outcome["pairs"] == 0 {
        let _ = writeln!(out, "  no copy of any request has ended{}", why(&outcome["ledger"]));
        return out;
    }
    let (v1, v2) = (&outcome["latency"]["primary"], &outcome["latency"]["mirror"]);
    let _ = writeln!(out, "  {:<8}{:>12}{:>12}{:>12}{:>8}", "", "v1", "v2", "v2 - v1", "÷");
    let _ = writeln!(out, "  {:<8}{:>12}{:>12}", "count", v1["count"].to_string(), v2["count"].to_string());
    for (label, key) in ROWS {
        let (Some(a), Some(b)) = (v1[key].as_f64(), v2[key].as_f64()) else { continue };
        let ratio = if a > 0.0 { format!("{:.2}", b / a) } else { String::new() };
        let _ = writeln!(
            out,
            "  {label:<8}{:>12}{:>12}{:>12}{ratio:>8}",
            seconds(a),
            seconds(b),
            format!("{}{}", if b < a { "-" } else { "+" }, seconds((b - a).abs()))
        );
    }
    let longest = [v1, v2].iter().filter_map(|of| of["p999_seconds"].as_f64()).fold(0.0, f64::max);
    out.push('\n');
    for (label, key) in ROWS.iter().skip(1).take(4) {
        for (side, of) in [("v1", v1), ("v2", v2)] {
            let Some(value) = of[*key].as_f64() else { continue };
            let _ = writeln!(out, "  {label:<6} {side} {} {}", bar(value, longest, ascii), seconds(value));
        }
    }
    pairs(&mut out, outcome);
    matrix(&mut out, outcome);
    out
}

/// The fates of the copies, from the ledger: each account that counted anything. Empty where there is none.
fn why(ledger: &Value) -> String {
    let Some(eligible) = ledger["eligible"].as_u64() else { return String::new() };
    if eligible == 0 {
        return ": no request for it has come".to_owned();
    }
    let mut parts = Vec::new();
    for account in ["sampled_out", "skipped", "dropped", "pending", "waiting", "in_flight"] {
        let words = account.replace('_', " ");
        match &ledger[account] {
            Value::Object(reasons) => {
                let counted = reasons.iter().filter(|(_, n)| n.as_u64() > Some(0));
                parts.extend(counted.map(|(reason, n)| format!("{n} {words} ({reason})")));
            }
            n if n.as_i64() > Some(0) => parts.push(format!("{n} {words}")),
            _ => {}
        }
    }
    format!(": of {eligible}, {}", parts.join(", "))
}

/// How much later or earlier v2's answer ended, request by request.
fn pairs(out: &mut String, outcome: &Value) {
    let side = |key: &str| (&outcome["latency"][key], outcome["latency"][key]["count"].as_u64().unwrap_or(0));
    let ((slower, later), (faster, earlier)) = (side("slower"), side("faster"));
    let told = |of: &Value| {
        let at = |key: &str| of[key].as_f64().map_or_else(|| "nothing".to_owned(), seconds);
        format!("by {} in the middle, {} at p99", at("p50_seconds"), at("p99_seconds"))
    };
    let _ = writeln!(out, "\n  for the same request v2 took longer {later} times");
    if later > 0 {
        let _ = writeln!(out, "    {}", told(slower));
    }
    let _ = writeln!(out, "  and less {earlier} times");
    if earlier > 0 {
        let _ = writeln!(out, "    {}", told(faster));
    }
}

fn matrix(out: &mut String, outcome: &Value) {
    if outcome["matrix"].as_array().is_none_or(Vec::is_empty) {
        return;
    }
    let _ = writeln!(out, "\n  {:<8}{:<10}{:>10}", "v1", "v2", "times");
    for cell in outcome["matrix"].as_array().into_iter().flatten() {
        let end = |key: &str| cell[key].as_str().unwrap_or_default().to_owned();
        let mark = if cell["primary"] == cell["mirror"] { "" } else { "  differs" };
        let _ = writeln!(
            out,
            "  {:<8}{:<10}{:>10}{mark}",
            end("primary"),
            end("mirror"),
            cell["count"].to_string()
        );
    }
}

/// As long as the time's logarithm, from a microsecond to the longest.
fn bar(value: f64, longest: f64, ascii: bool) -> String {
    let log = |seconds: f64| (seconds / 1e-6).max(1.0).ln();
    let share = if longest > 1e-6 { log(value) / log(longest) } else { 0.0 };
    let chars = ((share * BAR_CHARS as f64).round() as usize).min(BAR_CHARS);
    let sign = if ascii { "#" } else { "█" };
    format!("{}{}", sign.repeat(chars), " ".repeat(BAR_CHARS - chars))
}

/// Three digits and a unit.
fn seconds(value: f64) -> String {
    let (scaled, unit) = match value {
        v if v < 1e-3 => (v * 1e6, "µs"),
        v if v < 1.0 => (v * 1e3, "ms"),
        v => (v, "s"),
    };
    match scaled {
        v if v >= 99.95 => format!("{v:.0} {unit}"),
        v if v >= 9.995 => format!("{v:.1} {unit}"),
        v => format!("{v:.2} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_sides_stand_beside_each_other() {
        let of = |count: u64, ms: f64| {
            let at = |factor: f64| ms * factor / 1e3;
            json!({ "count": count, "mean_seconds": at(1.0), "p50_seconds": at(1.0), "p90_seconds": at(2.0),
                "p99_seconds": at(5.0), "p999_seconds": at(10.0), "max_seconds": at(20.0) })
        };
        let outcome = json!({
            "route": "shop", "mirror": "v2", "pairs": 3,
            "latency": { "primary": of(3, 10.0), "mirror": of(3, 15.0), "slower": of(2, 5.0), "faster": of(1, 0.5) },
            "matrix": [{ "primary": "200", "mirror": "200", "count": 2 }, { "primary": "200", "mirror": "500", "count": 1 }],
        });
        let shown = show(&outcome, true);
        for line in [
            "v2 on shop, 3 pairs",
            "  p50          10.0 ms     15.0 ms    +5.00 ms    1.50",
            "  p99    v2 ############################   75.0 ms",
            "  for the same request v2 took longer 2 times",
            "  200     500                1  differs",
        ] {
            assert!(shown.lines().any(|l| l == line), "{line}\n{shown}");
        }
        let nothing = json!({ "route": "shop", "mirror": "v2", "pairs": 0 });
        assert!(show(&nothing, false).contains("no copy of any request has ended\n"));
        let ledger = |eligible: u64| {
            json!({ "eligible": eligible, "sampled_out": 4, "skipped": { "loop": 0 }, "waiting": 1,
                "dropped": { "unreachable": 12, "rate": 0 }, "pending": 0, "in_flight": 0 })
        };
        assert_eq!(why(&ledger(17)), ": of 17, 4 sampled out, 12 dropped (unreachable), 1 waiting");
        assert_eq!(why(&ledger(0)), ": no request for it has come");
        let mut recent_outcome = outcome.clone();
        let series = |name: &str, count: u64, ms: f64| json!({ "name": name, "route": "shop", "mirror": "v2", "interval": of(count, ms) });
        let other = json!({ "name": "mirror", "route": "other", "mirror": "v2", "interval": of(9, 9.0) });
        narrow(
            &mut recent_outcome,
            &json!({ "histograms": [other, series("paired", 2, 1.0), series("mirror", 2, 3.0)] }),
        );
        let shown = show(&recent_outcome, true);
        for line in ["v2 on shop, 2 pairs", "  p50          1.00 ms     3.00 ms    +2.00 ms    3.00"] {
            assert!(shown.lines().any(|l| l == line), "{line}\n{shown}");
        }
        assert!(!shown.contains("differs"), "{shown}");
    }
}
