//! `GET /verdict`: whether mirrors are ready, by the default policy; `POST /verdict`: by a policy given as TOML.
//!
//! It puts the evidence together; judging is `verdict`'s.

use std::fmt::Write;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use config::{Policy, Role};
use serde::Deserialize;
use serde_json::json;

use super::desk::{Desk, told};
use super::outcomes::{self, Pairing};
use crate::compare::Judged;
use crate::metrics::Drop as Dropped;
use crate::verdict::{Decision, Difference, Evidence, Outcome, Ruling, Verdict, judge};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    mirror: Option<String>,
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Json,
    Text,
}

/// `GET /verdict?mirror=NAME&format=json|text`
pub(super) async fn by_default(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Response {
    say(&desk, &headers, &Policy::default(), &asked)
}

/// `POST /verdict`, a policy as TOML.
pub(super) async fn by_policy(
    State(desk): State<Arc<Desk>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    text: String,
) -> Response {
    match Policy::parse("request", &text) {
        Ok(policy) => say(&desk, &headers, &policy, &asked),
        Err(problems) => {
            let body = json!({ "problems": told(&problems) });
            (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
        }
    }
}

fn say(desk: &Desk, headers: &HeaderMap, policy: &Policy, asked: &Asked) -> Response {
    let mut verdict = judge(policy, &evidence(desk, asked));
    if desk.refuses(headers).is_some() {
        // What shows it may quote clients' requests: figures are for everybody, those are not.
        verdict.mirrors.iter_mut().flat_map(|m| &mut m.rules).for_each(|rule| rule.evidence.clear());
    }
    match asked.format.unwrap_or(Format::Json) {
        Format::Json => Json(json!(verdict)).into_response(),
        Format::Text => text(&verdict).into_response(),
    }
}

fn evidence(desk: &Desk, asked: &Asked) -> Vec<Evidence> {
    let page = desk.book.open();
    let (groups, tallies) = (desk.book.findings.groups(), desk.book.findings.tallies());
    let chosen = outcomes::Chosen { mirror: asked.mirror.clone(), ..outcomes::Chosen::default() };
    let candidates = outcomes::pairings(&page, &chosen);
    let of = |pairing: &Pairing<'_>| {
        let is_its = |judged: &&Judged| {
            judged.group.route == pairing.route && judged.group.mirror == pairing.mirror.name
        };
        let mut differences: Vec<Difference> = groups.iter().filter(is_its).map(difference).collect();
        let tally = tallies.iter().find(|t| t.route == pairing.route && t.mirror == pairing.mirror.name);
        if let (Some(tally), true) = (tally, differences.is_empty()) {
            differences.push(none(tally.compared));
        }
        let dropped = pairing.sum(|c| c.dropped.sum());
        // A copy that a full rate or a stale one gave up was not wanted after all.
        let unwanted = pairing.sum(|c| c.dropped.get(Dropped::Rate));
        let sent = pairing.sum(|c| c.sent.get());
        Evidence {
            route: pairing.route.to_owned(),
            mirror: pairing.mirror.name.clone(),
            matrix: pairing.matrix().into_iter().map(|((p, m), n)| (p, m, n)).collect(),
            primary: pairing.merged(|c| &c.pairs.primary),
            mirror_times: pairing.merged(|c| &c.latency),
            wanted: sent + dropped - unwanted,
            dropped: dropped - unwanted,
            differences,
        }
    };
    candidates.iter().filter(|pairing| pairing.mirror.role == Role::Candidate).map(of).collect()
}

fn difference(judged: &Judged) -> Difference {
    let Judged { group, compared, baseline_count, baseline_compared, is_noise: _ } = judged;
    Difference {
        field: group.field.clone(),
        kind: group.kind.text(),
        count: group.count,
        compared: *compared,
        baseline_count: *baseline_count,
        baseline_compared: *baseline_compared,
        example: group.example.clone(),
        samples: group.samples.iter().map(|sample| sample.request_id.clone()).collect(),
    }
}

/// So many answers were compared, and none differed.
fn none(compared: u64) -> Difference {
    Difference {
        field: "nothing".to_owned(),
        kind: "nothing",
        count: 0,
        compared,
        baseline_count: 0,
        baseline_compared: 0,
        example: (None, None),
        samples: Vec::new(),
    }
}

/// As a person reads it.
fn text(verdict: &Verdict) -> String {
    let mut out = format!("{}\n", verdict.verdict.text());
    for mirror in &verdict.mirrors {
        // Writing to a string does not fail.
        let _ = writeln!(out, "\n{}: {}", mirror.mirror, mirror.verdict.text());
        for rule in &mirror.rules {
            let _ = writeln!(out, "  {}", line(rule));
            for shown in &rule.evidence {
                let _ = writeln!(out, "        {shown}");
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

fn line(rule: &Ruling) -> String {
    let show = |value: f64| match rule.unit {
        "share" => format!("{:.3} %", value * 100.0),
        _ => format!("× {value:.3}"),
    };
    let figure = rule.figure.map_or_else(|| "nothing".to_owned(), show);
    let interval = rule.interval.map(|[low, high]| format!(" ({} to {})", show(low), show(high)));
    let result = match rule.result {
        Outcome::Pass => "pass",
        Outcome::Hold => "hold",
        Outcome::Fail => "FAIL",
    };
    let few = if rule.enough { "" } else { ", too few" };
    format!(
        "{result}  {} on {}: {figure}{} of {} samples{few}; at most {}",
        rule.rule,
        rule.route,
        interval.unwrap_or_default(),
        rule.samples,
        show(rule.threshold)
    )
}
