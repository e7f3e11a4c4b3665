//! A verdict as text.

use std::borrow::Cow;
use std::fmt::Write;

use crate::verdict::{Decision, Outcome, Ruling, Verdict, said};
use crate::visible::visible;

/// As a person reads it; with every rule where `all` are asked for.
pub(super) fn text(verdict: &Verdict, all: bool) -> String {
    let mut out = format!("{}\n", verdict.verdict.text());
    for mirror in &verdict.mirrors {
        let since = mirror.since.as_ref().zip(mirror.seconds).map(|(since, seconds)| {
            let (clock, how_long) = (said::clock(since), said::duration(seconds));
            let [v1, v2] = mirror.versions.each_ref().map(|version| version.as_deref().map(visible));
            let of = |side: &str, version: Option<Cow<'_, str>>| {
                version.map(|version| format!("; {side} is {version}")).unwrap_or_default()
            };
            format!(
                "since {clock}, {how_long}, {} pairs{}{}{}",
                said::grouped(mirror.pairs),
                verdict.fleet.as_ref().map(|of| format!(" of {} gateways", of.replicas)).unwrap_or_default(),
                of("v1", v1),
                of(&mirror.mirror, v2)
            )
        });
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "\n{}: {}{}",
            mirror.mirror,
            mirror.verdict.text(),
            since.map_or_else(String::new, |since| format!(" ({since})"))
        );
        for sentence in &mirror.said {
            let _ = writeln!(out, "  {}", visible(sentence));
        }
        if !all {
            continue;
        }
        out.push('\n');
        for rule in &mirror.rules {
            let _ = writeln!(out, "  {}", line(rule));
            for shown in &rule.evidence {
                let _ = writeln!(out, "        {}", visible(shown));
            }
        }
        let passed = mirror.rules.iter().filter(|rule| rule.result == Outcome::Pass).count();
        let _ = writeln!(out, "  {passed} of {} rules pass", mirror.rules.len());
    }
    if verdict.verdict == Decision::Hold && verdict.mirrors.is_empty() {
        out.push_str("\nno copies of any request were answered yet\n");
    }
    out
}

/// A rule in one line.
pub(super) fn line(rule: &Ruling) -> String {
    let show = |value: f64| match rule.unit {
        "share" => format!("{:.3} %", value * 100.0),
        _ => format!("× {value:.3}"),
    };
    let figure = rule.figure.map_or_else(|| "nothing".to_owned(), show);
    let interval = rule.interval.map(|[low, high]| {
        let end = if high.is_finite() { format!("to {}", show(high)) } else { "or more".to_owned() };
        format!(" ({} {end})", show(low))
    });
    let result = match rule.result {
        Outcome::Pass => "pass",
        Outcome::Hold => "hold",
        Outcome::Fail => "FAIL",
    };
    let why = rule.why.as_ref().map(|why| format!("; {why}"));
    format!(
        "{result}  {} on {}: {figure}{} of {} samples; at most {}{}",
        rule.rule,
        rule.route,
        interval.unwrap_or_default(),
        rule.samples,
        show(rule.threshold),
        why.unwrap_or_default()
    )
}
