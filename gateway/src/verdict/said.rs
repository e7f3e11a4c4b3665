//! A verdict in sentences for people: each cause in one sentence, the worst first, then what it waits for and how long. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Drift, MirrorVerdict, Mirroring, Outcome, Ruling};

/// Causes told, and things waited for; the rest is in the rulings.
const CAUSES_MAX: usize = 5;
const WAITS_MAX: usize = 3;

/// Figures told of a mirror that differs from itself.
const DRIFTS_MAX: usize = 2;

/// Names told of a list.
const NAMES_MAX: usize = 3;

/// The sentences on one mirror. `seconds`: how long its evidence took to come, where that is known.
pub fn sentences(of: &MirrorVerdict, seconds: Option<f64>) -> Vec<String> {
    let mut failed: Vec<&Ruling> = of.rules.iter().filter(|rule| rule.result == Outcome::Fail).collect();
    failed.sort_by(|a, b| severity(b).total_cmp(&severity(a)));
    let more = failed.len().saturating_sub(CAUSES_MAX);
    let mut said: Vec<String> = failed.iter().take(CAUSES_MAX).map(|rule| cause(&of.mirror, rule)).collect();
    if more > 0 {
        said.push(format!("{more} more causes: --all"));
    }
    said.extend(waits(of, seconds));
    said.extend(of.drift.iter().take(DRIFTS_MAX).map(|drift| drifted(&of.mirror, drift)));
    said.extend(of.mirroring.iter().filter_map(|on| on.said.clone()));
    said.extend(of.aside.iter().cloned());
    if said.is_empty() {
        said.push(match of.rules.iter().filter(|rule| rule.result == Outcome::Pass).count() {
            0 => "no copy of any request was answered yet".to_owned(),
            n => format!("all of {n} rules pass"),
        });
    }
    if let (Some(because), Some(since)) = (of.because, &of.since) {
        said.push(format!("evidence began anew at {}, {because}", clock(since)));
    }
    if !of.rest.is_empty() {
        let n = of.rest.len();
        let (routes, have) = if n == 1 { ("route", "has") } else { ("routes", "have") };
        said.push(format!("{n} rare {routes} ({}) {have} too few copies to hold it up", names(&of.rest)));
    }
    said
}

/// The sentence on a change in a mirror's own figures.
fn drifted(mirror: &str, drift: &Drift) -> String {
    let show = |figure: f64| match drift.what {
        "errors" => percent(figure),
        _ => format!("{:.1} ms", figure / 1e3),
    };
    let [before, after] = [drift.before, drift.after].map(show);
    let [ours, lately] = [drift.primary_before, drift.primary_after].map(show);
    let what = match drift.what {
        "errors" => "its errors",
        "p50" => "its median time",
        _ => "its 99th percentile",
    };
    format!(
        "{mirror} is not what it was, on {}: {what} went from {before} to {after} at {} ± {}, v1's from {ours} to {lately}",
        drift.route,
        clock(&drift.since),
        duration(drift.within)
    )
}

/// The sentence on an effect of mirroring on clients.
pub(super) fn changed(mirror: &str, on: &Mirroring) -> Option<String> {
    let effect = on.effects.first()?;
    let what = match effect.longer_than {
        Some(seconds) => format!("longer than {} ms", seconds * 1e3),
        None => effect.what.to_owned(),
    };
    let (copied, uncopied) = (percent(effect.copied), percent(effect.uncopied));
    let chance = grouped((1.0 / effect.chance.max(1e-9)) as u64);
    Some(format!(
        "mirroring to {mirror} changes what clients get on {}: {what} for {copied} of the requests that were copied, {uncopied} \
         of those that were not, by chance once in {chance}",
        on.route
    ))
}

/// How many times its threshold a figure is.
fn severity(rule: &Ruling) -> f64 {
    rule.figure.unwrap_or_default() / rule.threshold.max(1e-6)
}

fn cause(mirror: &str, rule: &Ruling) -> String {
    let figure = rule.figure.unwrap_or_default();
    let share = percent(figure);
    let what = match rule.rule {
        "error_rate_difference" => format!("{mirror} fails {share} of the requests that v1 answers"),
        "unreachable" => format!("{mirror} takes no connection for {share} of the copies"),
        "status_mismatch" => format!("{mirror} answers {share} of the requests with another status"),
        "mismatch_above_noise" => format!("answers of {mirror} differ in {share} of the requests"),
        "copies_lost" => {
            format!("{mirror} is too slow for {share} of its copies, which v1 once more is not")
        }
        "p50_ratio" => format!("half of the requests take {mirror} {figure:.2} times as long as v1"),
        "p99_ratio" => format!("the slowest hundredth takes {mirror} {figure:.2} times as long as v1"),
        other => format!("{other} is {figure:.3}"),
    };
    let mut said = format!("{what}, on {}: {} samples", rule.route, grouped(rule.samples));
    if let Some(chance) = rule.chance {
        // Writing to a string does not fail.
        let _ = write!(said, ", by chance once in {}", grouped((1.0 / chance.max(1e-9)) as u64));
    }
    if let Some(since) = &rule.since {
        let within = rule.within.map(|within| format!(" ± {}", duration(within))).unwrap_or_default();
        let _ = write!(said, ", since {}{within}", clock(since));
    }
    if let Some(shown) = rule.evidence.first() {
        let _ = write!(said, "; {shown}");
    }
    let look = match rule.rule {
        "mismatch_above_noise" | "status_mismatch" => "gateway diffs",
        "p50_ratio" | "p99_ratio" => "gateway histogram",
        _ => "GET /outcomes",
    };
    let _ = write!(said, " ({look})");
    said
}

fn waits(of: &MirrorVerdict, seconds: Option<f64>) -> Vec<String> {
    let held = of.rules.iter().filter(|rule| rule.result == Outcome::Hold && !of.rest.contains(&rule.route));
    let (few, others): (Vec<_>, Vec<_>) = held.partition(|rule| rule.samples < rule.needed);
    let mut said = Vec::new();
    let missing = |rule: &&Ruling| rule.needed.saturating_sub(rule.samples);
    if let Some(worst) = few.iter().max_by_key(|rule| missing(rule)) {
        let mut routes: Vec<String> = few.iter().map(|rule| rule.route.clone()).collect();
        routes.sort_unstable();
        routes.dedup();
        let mut text = format!(
            "waits for more requests on {}: {} has {} samples of the {} that it takes",
            names(&routes),
            worst.rule,
            worst.samples,
            worst.needed
        );
        match seconds.filter(|seconds| *seconds > 0.0) {
            Some(seconds) if worst.samples > 0 => {
                let left = missing(worst) as f64 * seconds / worst.samples as f64;
                let _ = write!(text, ", about {} at this rate", duration(left));
            }
            Some(_) | None => {}
        }
        said.push(text);
    }
    // One sentence for each reason, with the routes that share it.
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for rule in &others {
        let why = rule.why.as_deref().unwrap_or("too little is known");
        reasons.entry(why).or_default().push(format!("{} on {}", rule.rule, rule.route));
    }
    let more = reasons.len().saturating_sub(WAITS_MAX);
    said.extend(
        reasons.into_iter().take(WAITS_MAX).map(|(why, of)| format!("held by {}: {why}", names(&of))),
    );
    if more > 0 {
        said.push(format!("{more} more reasons to wait: --all"));
    }
    said
}

fn names(all: &[String]) -> String {
    let more = all.len().saturating_sub(NAMES_MAX);
    let told = all.iter().take(NAMES_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{told} and {more} more") } else { told }
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        much if much >= 10.0 => format!("{much:.0} %"),
        some if some >= 1.0 => format!("{some:.1} %"),
        few => format!("{few:.2} %"),
    }
}

/// `240,000`
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// In the largest unit that fits.
pub fn duration(seconds: f64) -> String {
    let whole = |n: f64, unit: &str| {
        let n = n.round().max(1.0) as u64;
        format!("{} {unit}{}", grouped(n), if n == 1 { "" } else { "s" })
    };
    match seconds {
        s if s < 90.0 => whole(s, "second"),
        s if s < 5_400.0 => whole(s / 60.0, "minute"),
        s if s < 172_800.0 => whole(s / 3600.0, "hour"),
        s => whole(s / 86_400.0, "day"),
    }
}

/// Hours and minutes of a time as RFC 3339 has it.
pub fn clock(at: &str) -> &str {
    at.get(11..16).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_durations_are_said_as_a_person_says_them() {
        let n = [7, 999, 1000, 240_000, 1_234_567].map(grouped);
        assert_eq!(n, ["7", "999", "1,000", "240,000", "1,234,567"]);
        let d = [0.2, 1.0, 50.0, 100.0, 2460.0, 10_000.0, 400_000.0].map(duration);
        assert_eq!(d, ["1 second", "1 second", "50 seconds", "2 minutes", "41 minutes", "3 hours", "5 days"]);
        assert_eq!(clock("2026-11-29T12:04:11.000000Z"), "12:04");
        assert_eq!([0.5, 0.019, 0.001_2].map(percent), ["50 %", "1.9 %", "0.12 %"]);
    }
}
