//! Merges the wanted status into the current one: times stay where nothing changes, and entries of other controllers stay byte
//! for byte. Pure.

use serde_json::{Value, json};

use super::overlap::OVERLAPPING;
use crate::kubernetes::kinds::Kind;
use crate::kubernetes::objects::{list, text};

/// The status to write; `None` where all is said already. `now` as the API server writes times.
pub(in crate::kubernetes) fn merged(
    kind: Kind,
    object: &Value,
    desired: &Value,
    controller: &str,
    now: &str,
) -> Option<Value> {
    let none = json!({});
    let current = object.get("status").unwrap_or(&none);
    let next = match kind {
        Kind::HttpRoute | Kind::GrpcRoute => {
            json!({"parents": entries(&PARENTS, current, desired, controller, now)})
        }
        Kind::BackendTlsPolicy => {
            json!({"ancestors": entries(&ANCESTORS, current, desired, controller, now)})
        }
        Kind::ApiGateway => {
            let said = list(current, "listeners");
            let listeners = list(desired, "listeners").iter().map(|one| {
                let before = said.iter().find(|said| said["name"] == one["name"]);
                let mut one = one.clone();
                one["conditions"] = conditions(&without_passed(before.unwrap_or(&none), &one), &one, now);
                one
            });
            json!({
                "addresses": desired["addresses"],
                "conditions": conditions(&without_passed(current, desired), desired, now),
                "listeners": listeners.collect::<Vec<_>>(),
            })
        }
        Kind::GatewayClass => json!({
            "conditions": conditions(current, desired, now),
            "supportedFeatures": desired["supportedFeatures"],
        }),
        _other => json!({"conditions": conditions(current, desired, now)}),
    };
    let says = |(name, value): (&String, &Value)| match current.get(name) {
        Some(said) => said == value,
        // An empty list is left out by an API server.
        None => value.as_array().is_some_and(Vec::is_empty),
    };
    let is_said = next.as_object().is_some_and(|next| next.iter().all(says));
    (!is_said).then_some(next)
}

/// Ours anew, and those of other types.
fn conditions(current: &Value, desired: &Value, now: &str) -> Value {
    let (said, wanted) = (list(current, "conditions"), list(desired, "conditions"));
    let find = |all: &'_ [Value], kind: &Value| all.iter().position(|one| one["type"] == *kind);
    let one = |wanted: &Value| {
        let before = find(said, &wanted["type"]).and_then(|at| said.get(at));
        let since = before
            .filter(|before| before["status"] == wanted["status"])
            .and_then(|before| before.get("lastTransitionTime").cloned());
        let mut one = wanted.clone();
        one["lastTransitionTime"] = since.unwrap_or_else(|| now.into());
        one
    };
    // In the order in which they stand.
    let kept = said.iter().map(|said| match find(wanted, &said["type"]).and_then(|at| wanted.get(at)) {
        Some(wanted) => one(wanted),
        None => said.clone(),
    });
    let new = wanted.iter().filter(|wanted| find(said, &wanted["type"]).is_none()).map(one);
    kept.chain(new).collect()
}

/// A list of a status: its name, the member by which an entry refers to its object, and the largest length that an API server
/// takes.
type Entries = (&'static str, &'static str, usize);

const PARENTS: Entries = ("parents", "parentRef", 32);
const ANCESTORS: Entries = ("ancestors", "ancestorRef", 16);

/// The entries of a list: ours rebuilt, as many as there is room for; those of other controllers as they are.
fn entries(
    (name, reference, max): &Entries,
    current: &Value,
    desired: &Value,
    controller: &str,
    now: &str,
) -> Vec<Value> {
    let said = list(current, name);
    let is_ours = |entry: &Value| text(entry, "controllerName") == controller;
    let others = said.iter().filter(|entry| !is_ours(entry)).count();
    let wanted = list(desired, name);
    let wanted = wanted.get(..wanted.len().min(max.saturating_sub(others))).unwrap_or_default();
    let same = |a: &Value, b: &Value| normal(&a[*reference]) == normal(&b[*reference]);
    let one = |wanted: &Value, before: &Value| {
        let mut one = wanted.clone();
        one["conditions"] = conditions(&without_passed(before, wanted), wanted, now);
        // The reference as it is written there: an API server may have filled in defaults.
        if let Some(known) = before.get(*reference) {
            one[*reference] = known.clone();
        }
        one
    };
    let kept = said.iter().filter_map(|said| {
        if !is_ours(said) {
            return Some(said.clone());
        }
        wanted.iter().find(|wanted| same(wanted, said)).map(|wanted| one(wanted, said))
    });
    let known = |wanted: &&Value| said.iter().any(|said| is_ours(said) && same(wanted, said));
    let new = wanted.iter().filter(|wanted| !known(wanted)).map(|wanted| one(wanted, &json!({})));
    kept.chain(new).collect()
}

/// Said of a route only while it holds.
pub(super) const PARTIALLY_INVALID: &str = "PartiallyInvalid";

/// Said of a Gateway only while it holds.
pub(super) const INSECURE: &str = "InsecureFrontendValidationMode";

/// Our entry without the conditions that exist only while they hold.
fn without_passed(of: &Value, wanted: &Value) -> Value {
    let mut of = of.clone();
    if let Some(all) = of.get_mut("conditions").and_then(Value::as_array_mut) {
        let is_wanted = |kind: &str| list(wanted, "conditions").iter().any(|one| text(one, "type") == kind);
        let passes =
            |kind: &str| matches!(kind, PARTIALLY_INVALID | OVERLAPPING | INSECURE) && !is_wanted(kind);
        all.retain(|one| !passes(text(one, "type")));
    }
    of
}

/// A reference with its defaults filled in.
fn normal(parent: &Value) -> Value {
    let or = |name: &str, default: &str| parent.get(name).cloned().unwrap_or_else(|| default.into());
    json!([
        or("group", "gateway.networking.k8s.io"),
        or("kind", "Gateway"),
        or("namespace", ""),
        parent["name"],
        or("sectionName", ""),
        parent["port"],
    ])
}
