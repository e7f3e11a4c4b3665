//! The statuses of BackendTLSPolicies: one entry for each Gateway whose routes lead to a Service that the policy is for. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::attach::{self, Attached};
use super::{Condition, Desired, View, conditions, created, outcome, problems};
use crate::kubernetes::authorities;
use crate::kubernetes::kinds::Kind;
use crate::kubernetes::objects::{list, text};
use crate::kubernetes::store::Key;

/// Service, and its port's name where only that is meant.
type Target = (Key, String);

/// Of every policy that is for a Service of ours, and of those that were.
pub(super) fn policies(view: &View<'_>, ours: &BTreeSet<Key>, attached: &Attached<'_>) -> Vec<Desired> {
    let leads = leads(view, ours, attached);
    let mut all: Vec<_> = view.store.all(Kind::BackendTlsPolicy).collect();
    all.sort_by_key(|(key, policy)| (created(policy), *key));
    let mut taken: BTreeMap<Target, Key> = BTreeMap::new();
    let mut desired = Vec::new();
    for (key, policy) in all {
        let targets: Vec<Target> = list(&policy["spec"], "targetRefs")
            .iter()
            .filter(|one| text(one, "kind") == "Service" && matches!(text(one, "group"), "" | "core"))
            .map(|one| ((key.0.clone(), text(one, "name").to_owned()), text(one, "sectionName").to_owned()))
            .collect();
        let older = targets.iter().find_map(|target| taken.get(target)).cloned();
        for target in &targets {
            taken.entry(target.clone()).or_insert_with(|| key.clone());
        }
        let gateways: BTreeSet<&Key> =
            targets.iter().filter_map(|(service, _)| leads.get(service)).flatten().collect();
        let says = |entry: &Value| text(entry, "controllerName") == view.rules.controller;
        let said = policy.pointer("/status/ancestors").and_then(Value::as_array);
        if gateways.is_empty() && !said.is_some_and(|all| all.iter().any(says)) {
            continue;
        }
        let Some(outcome) = outcome(view, Kind::BackendTlsPolicy, key, policy) else { continue };
        let (accepted, resolved) = told(view, key, policy, older, problems(&outcome.state));
        let conditions = conditions(policy, &[accepted, resolved]);
        let entry = |gateway: &&Key| {
            json!({
                "ancestorRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": gateway.0, "name": gateway.1},
                "controllerName": view.rules.controller,
                "conditions": conditions,
            })
        };
        let ancestors: Vec<Value> = gateways.iter().map(entry).collect();
        let status = json!({"ancestors": ancestors});
        desired.push(Desired { kind: Kind::BackendTlsPolicy, key: key.clone(), status });
    }
    desired
}

/// The Gateways of ours from which routes lead to each Service.
fn leads(view: &View<'_>, ours: &BTreeSet<Key>, attached: &Attached<'_>) -> BTreeMap<Key, BTreeSet<Key>> {
    let mut leads: BTreeMap<Key, BTreeSet<Key>> = BTreeMap::new();
    for ((kind, key), gateways) in attached.gateways() {
        let Some(route) = view.store.get(kind, &key.0, &key.1) else { continue };
        for backend in attach::backends(route) {
            let namespace = backend.get("namespace").and_then(Value::as_str).unwrap_or(&key.0);
            let service = (namespace.to_owned(), text(backend, "name").to_owned());
            let of = gateways.iter().filter(|gateway| ours.contains(*gateway)).cloned();
            leads.entry(service).or_default().extend(of);
        }
    }
    leads
}

fn told(
    view: &View<'_>,
    key: &Key,
    policy: &Value,
    older: Option<Key>,
    rejected: Option<String>,
) -> (Condition, Condition) {
    let faults = authorities::faults(view.store, key, policy);
    let is_bare = !faults.is_empty() && faults.iter().all(Option::is_some);
    // The messages of all faulty references, under the reason of the first.
    let faults: Vec<(&'static str, String)> = faults.into_iter().flatten().collect();
    let messages: Vec<&str> = faults.iter().map(|(_, message)| message.as_str()).collect();
    let resolved = match faults.first() {
        Some((reason, _)) => ("ResolvedRefs", false, *reason, messages.join("; ")),
        None => ("ResolvedRefs", true, "ResolvedRefs", String::new()),
    };
    let accepted = match (older, rejected) {
        (Some((namespace, name)), _) => {
            let message = format!("BackendTLSPolicy {namespace}/{name}, which is older, is for the same");
            ("Accepted", false, "Conflicted", message)
        }
        (None, _) if is_bare => ("Accepted", false, "NoValidCACertificate", resolved.3.clone()),
        (None, Some(why)) => ("Accepted", false, "Invalid", why),
        (None, None) => ("Accepted", true, "Accepted", String::new()),
    };
    (accepted, resolved)
}
