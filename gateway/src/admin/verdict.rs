//! `GET /verdict`: whether mirrors are ready, by the default policy; `POST /verdict`: by a policy given as TOML;
//! `POST /verdict/begin`: evidence begins anew; `POST /verdict/gate`: yes or no, as a status code, for rollout controllers
//! that look at nothing else.
//!
//! These pages put the evidence together; judging is `verdict`'s.

mod evidence;
mod text;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use config::{Policy, Role};
use serde::Deserialize;
use serde_json::{Value, json};

use super::accounts::{accounts, book};
use super::asked::{Query, Text, refusal};
use super::epoch::looked;
use super::fleet::{self, Scope};
use super::heard::Answered;
use super::outcomes;
use super::state::{AdminState, wrong};
use crate::control::Cause;
use crate::observe::disclosure::rfc3339;
use crate::verdict::{Decision, Outcome, Verdict, judge, mirroring, said};
use evidence::{evidence_of, trials};
use text::{line, text};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VerdictQuery {
    mirror: Option<String>,
    format: Option<Format>,
    /// Only evidence of about the last so many seconds.
    since: Option<u64>,
    /// Every rule, as text.
    all: Option<bool>,
    /// So many rules of each mirror, the worst first, as JSON.
    rules: Option<usize>,
    scope: Option<Scope>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Json,
    Text,
}

/// `GET /verdict?mirror=NAME&format=json|text`
pub(super) async fn by_default(
    State(state): State<Arc<AdminState>>,
    headers: HeaderMap,
    Query(asked): Query<VerdictQuery>,
) -> Response {
    say(&state, headers, Policy::default(), asked).await
}

/// `POST /verdict`, a policy as TOML.
pub(super) async fn by_policy(
    State(state): State<Arc<AdminState>>,
    Query(asked): Query<VerdictQuery>,
    headers: HeaderMap,
    Text(text): Text,
) -> Response {
    match Policy::parse("request", &text) {
        Ok(policy) => say(&state, headers, policy, asked).await,
        Err(problems) => wrong(&problems),
    }
}

/// The query of `POST /verdict/gate`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gate {
    mirror: Option<String>,
    /// Words with commas between them.
    passes: Option<String>,
    scope: Option<Scope>,
}

/// A controller's content, as far as it matters: Flagger passes on the metadata of its webhook.
#[derive(Debug, Default, Deserialize)]
struct Hook {
    metadata: Option<Metadata>,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    /// TOML.
    policy: Option<String>,
}

/// Rules in the answer of a gate that does not pass: they end up in a controller's events.
const TOLD_MAX: usize = 10;

/// `POST /verdict/gate?passes=promote,hold&mirror=NAME`: 200 where the verdict is one of these words, by default promote, else
/// 409 with the rules in the way. The content may be empty; as JSON it may have a policy in `metadata.policy`.
pub(super) async fn gate(
    State(state): State<Arc<AdminState>>,
    headers: HeaderMap,
    Query(Gate { mirror, passes, scope }): Query<Gate>,
    Text(posted): Text,
) -> Response {
    let mut passing = Vec::new();
    for word in passes.as_deref().unwrap_or_else(|| Decision::Promote.text()).split(',') {
        match Decision::ALL.into_iter().find(|decision| decision.text() == word) {
            Some(decision) => passing.push(decision),
            None => {
                let why = format!("passes: {word:?} is not known; must be promote, hold or reject");
                return refusal(StatusCode::BAD_REQUEST, why);
            }
        }
    }
    let hook: Hook = match posted.trim() {
        "" => Hook::default(),
        posted => match serde_json::from_str(posted) {
            Ok(hook) => hook,
            Err(error) if error.is_data() => {
                return refusal(StatusCode::UNPROCESSABLE_ENTITY, error.to_string());
            }
            Err(error) => return refusal(StatusCode::BAD_REQUEST, format!("not JSON: {error}")),
        },
    };
    let policy = hook.metadata.and_then(|metadata| metadata.policy).unwrap_or_default();
    let policy = match Policy::parse("metadata.policy", &policy) {
        Ok(policy) => policy,
        Err(problems) => return wrong(&problems),
    };
    let place = match state.judging.place() {
        Ok(place) => place,
        Err((status, why)) => return refusal(status, why),
    };
    let judging = state.judging.clone();
    let answered = fleet::asked(&state, scope).await;
    let judge = move || match decide(&state, &headers, &policy, mirror.as_deref(), None, answered) {
        Ok(verdict) => opened(&verdict, &passing),
        Err(unknown) => unknown.into_response(),
    };
    judging.run(place, judge).await
}

/// The gate's answer.
fn opened(verdict: &Verdict, passing: &[Decision]) -> Response {
    let mut out = format!("{}\n", verdict.verdict.text());
    let rules = verdict.mirrors.iter().flat_map(|m| m.rules.iter().map(|rule| (&m.mirror, rule)));
    for (mirror, rule) in rules.filter(|(_, rule)| rule.result != Outcome::Pass).take(TOLD_MAX) {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{mirror}: {}", line(rule));
    }
    let does_pass = passing.contains(&verdict.verdict);
    (if does_pass { StatusCode::OK } else { StatusCode::CONFLICT }, out).into_response()
}

async fn say(state: &Arc<AdminState>, headers: HeaderMap, policy: Policy, asked: VerdictQuery) -> Response {
    let since = asked.since.map(Duration::from_secs);
    let place = match state.judging.place() {
        Ok(place) => place,
        Err((status, why)) => return refusal(status, why),
    };
    let judged = Arc::clone(state);
    let answered = fleet::asked(state, asked.scope).await;
    let judge = move || {
        let verdict = decide(&judged, &headers, &policy, asked.mirror.as_deref(), since, answered);
        match (verdict, asked.format.unwrap_or(Format::Json)) {
            (Ok(verdict), Format::Json) => Json(told(verdict, asked.rules)).into_response(),
            (Ok(verdict), Format::Text) => text(&verdict, asked.all.unwrap_or(false)).into_response(),
            (Err(unknown), _) => unknown.into_response(),
        }
    };
    state.judging.run(place, judge).await
}

/// The verdict as JSON; where so many `rules` are asked for, with the worst of them and how many there are of each kind. With
/// hundreds of routes there are thousands.
fn told(mut verdict: Verdict, rules: Option<usize>) -> Value {
    let Some(most) = rules else { return json!(verdict) };
    let mut counts = Vec::new();
    for mirror in &mut verdict.mirrors {
        let count = |result| mirror.rules.iter().filter(|rule| rule.result == result).count();
        let [pass, hold, fail] = [Outcome::Pass, Outcome::Hold, Outcome::Fail].map(count);
        counts.push(json!({ "pass": pass, "hold": hold, "fail": fail }));
        let rest: BTreeSet<&String> = mirror.rest.iter().collect();
        mirror.rules.sort_by_key(|rule| match rule.result {
            Outcome::Fail => (0, 0),
            // The rule that is farthest from enough samples comes first.
            Outcome::Hold if !rest.contains(&rule.route) => {
                (1, rule.samples.saturating_mul(1_000) / rule.needed.max(1))
            }
            Outcome::Hold => (2, 0),
            Outcome::Pass => (3, 0),
        });
        mirror.rules.truncate(most);
    }
    let mut told = json!(verdict);
    for (mirror, counts) in told["mirrors"].as_array_mut().into_iter().flatten().zip(counts) {
        mirror["rules_in_all"] = counts;
    }
    told
}

/// The decision on each candidate by the default policy.
pub(super) fn decisions(state: &AdminState) -> Vec<(String, Decision)> {
    let snapshot = state.store.open();
    let accounts = accounts(&state.store, &snapshot);
    let verdict = judge(&Policy::default(), &evidence_of(&snapshot.config, &accounts, None, None));
    verdict.mirrors.into_iter().map(|of| (of.mirror, of.verdict)).collect()
}

/// The chance that mirroring ever seems to change the clients' answers where it does not, over all routes.
const MIRRORING_ALPHA: f64 = 0.05;

/// The mirror of the question does not exist.
struct NoMirror(String);

impl IntoResponse for NoMirror {
    fn into_response(self) -> Response {
        refusal(StatusCode::NOT_FOUND, format!("no mirror {:?} to judge", self.0))
    }
}

/// On one mirror, or on all. A name that no route's candidate has would be undecided for ever, so it is refused.
fn decide(
    state: &AdminState,
    headers: &HeaderMap,
    policy: &Policy,
    mirror: Option<&str>,
    since: Option<Duration>,
    answered: Option<Arc<Answered>>,
) -> Result<Verdict, NoMirror> {
    let snapshot = state.store.open();
    let config = &snapshot.config;
    let is_candidate = |m: &&config::Mirror| m.role == Role::Candidate && !config.is_captured(m);
    let mut candidates = config.routes.iter().flat_map(|r| &r.mirrors).filter(is_candidate);
    if let Some(name) = mirror
        && !candidates.any(|mirror| mirror.name == name)
    {
        return Err(NoMirror(name.to_owned()));
    }
    let now = SystemTime::now();
    let since = since.and_then(|since| now.checked_sub(since));
    let (accounts, fleet) = match answered {
        Some(answered) => {
            let (accounts, fleet) = answered.merged(&book(&state.store));
            (accounts, Some(fleet))
        }
        None => (accounts(&state.store, &snapshot), None),
    };
    let mut verdict = judge(policy, &evidence_of(config, &accounts, mirror, since));
    let mirroring = mirroring(&trials(config, &accounts), MIRRORING_ALPHA);
    let is_stranger = state.refuses(headers).is_some();
    if let Some(fleet) = fleet {
        verdict = verdict.of_fleet(if is_stranger { fleet.without_names() } else { fleet });
    }
    if is_stranger {
        // Evidence may quote clients' requests: figures may be read by all, quotations may not.
        verdict.mirrors.iter_mut().flat_map(|m| &mut m.rules).for_each(|rule| rule.evidence.clear());
    }
    for mirror in &mut verdict.mirrors {
        let of = accounts.iter().filter(|of| of.mirror == mirror.mirror).map(|of| &of.epoch);
        // Of several routes the one that began first.
        if let Some(epoch) = of.min_by_key(|epoch| epoch.began) {
            let mut moments = epoch.marks.iter().rev().map(|mark| mark.at);
            let mark = moments.find(|at| since.is_some_and(|since| *at <= since));
            let began = mark.unwrap_or(epoch.began);
            mirror.since = Some(rfc3339(began));
            mirror.seconds = Some(now.duration_since(began).unwrap_or_default().as_secs_f64());
            let is_anew = mark.is_none() && epoch.because != Cause::Start;
            mirror.because = is_anew.then(|| epoch.because.text());
            mirror.versions.clone_from(&epoch.versions);
        }
        let told = mirroring.iter().filter(|(name, _)| *name == mirror.mirror);
        mirror.mirroring = told.map(|(_, told)| told.clone()).collect();
        mirror.said = said::sentences(mirror, mirror.seconds);
    }
    Ok(verdict)
}

/// The query of `POST /verdict/begin`: the evidence that begins anew.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Begin {
    mirror: Option<String>,
    scope: Option<Scope>,
}

/// `POST /verdict/begin?mirror=NAME`: evidence on that mirror, or on all, begins anew, here and with this gateway's peers.
pub(super) async fn begin(
    State(state): State<Arc<AdminState>>,
    headers: HeaderMap,
    Query(Begin { mirror, scope }): Query<Begin>,
) -> Response {
    if let Some(refusal) = state.refuses(&headers) {
        return refusal;
    }
    let (names, now) = match begin_here(&state, mirror.as_deref()) {
        Ok(begun) => begun,
        Err(unknown) => return unknown.into_response(),
    };
    let missing = match scope {
        Some(Scope::Own) => Vec::new(),
        Some(Scope::Fleet) | None => fleet::begun(&state, mirror.as_deref()).await,
    };
    Json(json!({ "mirrors": names, "since": rfc3339(now), "missing": missing })).into_response()
}

fn begin_here(state: &AdminState, mirror: Option<&str>) -> Result<(BTreeSet<String>, SystemTime), NoMirror> {
    let snapshot = state.store.open();
    let all = outcomes::pairings(&snapshot, &outcomes::Chosen::default());
    let chosen = all.iter().filter(|of| mirror.is_none_or(|name| *name == of.mirror.name));
    let names: BTreeSet<String> = chosen.map(|of| of.mirror.name.clone()).collect();
    if let Some(name) = mirror.filter(|_| names.is_empty()) {
        return Err(NoMirror(name.to_owned()));
    }
    state.judging.heard.forget();
    let now = SystemTime::now();
    let looked = looked(&state.store, &snapshot, &all);
    for (route, mirror) in state.store.epochs.begin(&looked, mirror, now) {
        state.store.findings.begin(&route, &mirror);
    }
    Ok((names, now))
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::http::HeaderValue;
    use axum::http::header::HOST;
    use tokio::sync::mpsc;

    use super::*;
    use crate::control::ConfigStore;
    use crate::control::budget::tests::config;
    use crate::metrics::{Code, DropReason, MirrorEnd, PrimaryEnd};

    /// A store before which both sides answered `n` times, the mirror with this code.
    fn state(n: u64, code: u16) -> Arc<AdminState> {
        let store = ConfigStore::new(&Arc::new(config()));
        let snapshot = store.open();
        for counters in snapshot.counters.iter().take(1).map(|c| &c.mirrors[0][0]) {
            for _ in 0..n {
                counters.sent.inc();
                counters.pairs.matrix.inc(PrimaryEnd::Code(Code::of(200)), MirrorEnd::Code(Code::of(code)));
                counters.pairs.sure_primary.record(2_000);
                counters.pairs.sure_mirror.record(2_000);
            }
        }
        Arc::new(AdminState::of(store, mpsc::channel(1).0))
    }

    /// For mirrors that compare nothing.
    const OPTIONAL: &str = r#"{"metadata": {"policy": "contents = \"optional\""}}"#;

    async fn pass(state: &Arc<AdminState>, passes: Option<&str>, posted: &str) -> (u16, String) {
        let asked = Gate { passes: passes.map(str::to_owned), ..Gate::default() };
        let answer =
            gate(State(Arc::clone(state)), HeaderMap::new(), Query(asked), Text(posted.into())).await;
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body(), 1 << 16).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_gate_opens_for_the_words_that_pass_and_tells_what_is_in_the_way() {
        let states =
            [("promote", state(5_000, 200)), ("hold", state(10, 200)), ("reject", state(5_000, 500))];
        let keys = ["promote", "hold", "reject", "promote,hold"];
        for (word, state) in &states {
            for passes in keys {
                let (status, told) = pass(state, Some(passes), OPTIONAL).await;
                let wanted = if passes.split(',').any(|one| one == *word) { 200 } else { 409 };
                assert_eq!(status, wanted, "{word} {passes}: {told}");
                assert!(told.starts_with(&format!("{word}\n")), "{told}");
            }
            assert_eq!(pass(state, None, OPTIONAL).await.0, if *word == "promote" { 200 } else { 409 });
        }
        let (_, told) = pass(&states[0].1, None, "").await;
        assert!(told.starts_with("hold\n") && told.contains("compare = {}"), "{told}");
        let (_, told) = pass(&states[2].1, None, "").await;
        assert!(told.contains("v2: FAIL  error_rate_difference on default: 100.000 %"), "{told}");
        assert_eq!(pass(&states[0].1, Some("promote,"), "").await.0, 400);
    }

    #[tokio::test]
    async fn evidence_begins_anew_when_somebody_says_so_and_what_came_before_is_not_judged() {
        let state = state(5_000, 500);
        let judged = async || pass(&state, Some("hold"), OPTIONAL).await.0;
        assert_eq!(judged().await, 409, "it is rejected");
        let anew = |mirror: &str| {
            let asked = Begin { mirror: Some(mirror.to_owned()), scope: None };
            let host = HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost"))]);
            begin(State(Arc::clone(&state)), host, Query(asked))
        };
        assert_eq!(anew("v9").await.status().as_u16(), 404);
        assert_eq!(judged().await, 409);
        assert_eq!(anew("v2").await.status().as_u16(), 200);
        assert_eq!(judged().await, 200, "nothing is known of what is new");
        let told = text(
            &decide(&state, &HeaderMap::new(), &Policy::default(), None, None, None).ok().unwrap(),
            false,
        );
        assert!(told.starts_with("hold\n\nv2: hold (since ") && told.contains(" 0 pairs)"), "{told}");
    }

    #[test]
    fn every_route_is_judged_and_a_baseline_stands_beside_its_candidate() {
        let mut text =
            "[upstream.v1]\nendpoints = [\"a:1\"]\n[upstream.v2]\nendpoints = [\"a:2\"]\n".to_owned();
        for n in 0..600 {
            text.push_str(&format!(
                "[[route]]\nname = \"r{n}\"\npath_prefix = \"/{n}\"\nprimary = \"v1\"\nmirrors = [{{ upstream = \"v2\", \
                 compare = {{}} }}, {{ upstream = \"v1\", name = \"again\", role = \"baseline\" }}]\n"
            ));
        }
        let store = ConfigStore::new(&Arc::new(config::parse("test", &text).unwrap().config));
        let snapshot = store.open();
        for (route, code) in [(3, 200), (599, 500)] {
            let [v2, again] = &snapshot.counters[0].mirrors[route][..] else { panic!("two mirrors") };
            for counters in [v2, again] {
                (0..400).for_each(|_| counters.sent.inc());
            }
            (0..400).for_each(|_| {
                v2.pairs.matrix.inc(PrimaryEnd::Code(Code::of(200)), MirrorEnd::Code(Code::of(code)));
                again.pairs.matrix.inc(PrimaryEnd::Code(Code::of(200)), MirrorEnd::Code(Code::of(200)));
            });
            v2.dropped.inc(DropReason::Rate);
            v2.dropped.inc(DropReason::Unreachable);
            v2.dropped.inc(DropReason::Oldest);
        }
        let state = AdminState::of(store, mpsc::channel(1).0);
        let of = |name| {
            let snapshot = state.store.open();
            evidence_of(&snapshot.config, &accounts(&state.store, &snapshot), Some(name), None)
        };
        let all = of("v2");
        assert_eq!(all.len(), 600);
        let last = all.iter().find(|of| of.route == "r599").unwrap();
        assert_eq!((last.seen.sent, last.seen.unreachable, last.seen.lost), (400, 1, 1));
        assert_eq!(last.baseline.as_ref().map(|seen| seen.sent), Some(400));
        assert!(
            last.seen.compared.as_ref().is_some_and(|of| of.answers == 0),
            "nothing is known, not nothing wrong"
        );
        let verdict = judge(&Policy::default(), &all);
        assert_eq!((verdict.verdict, verdict.mirrors[0].rules[0].route.as_str()), (Decision::Reject, "r599"));
        assert!(of("again").is_empty());
    }

    #[tokio::test]
    async fn a_webhook_may_bring_its_policy_and_nothing_it_says_otherwise_matters() {
        let few = state(1000, 200);
        let hook = |policy: &str| {
            let metadata = json!({ "policy": policy, "other": 1 });
            json!({ "name": "app", "namespace": "test", "phase": "Progressing", "metadata": metadata })
                .to_string()
        };
        assert_eq!(
            pass(&few, None, r#"{"name": "app", "namespace": "test", "phase": "Progressing"}"#).await.0,
            409
        );
        let lenient = "contents = \"optional\"\nsamples_min = 5\nmismatch_percent_max = 100\nerror_percent_max = 100\np50_ratio_max = 9\np99_ratio_max = 9\n";
        assert_eq!(pass(&few, None, &hook(lenient)).await.0, 200);
        let (status, told) = pass(&few, None, &hook("sample_min = 5")).await;
        assert_eq!(status, 422);
        assert!(told.contains("samples_min") && told.contains("\"line\":1"), "{told}");
        assert_eq!(pass(&few, None, "{").await.0, 400);
        assert_eq!(pass(&few, None, "[1]").await.0, 422);
    }
}
