//! References across namespaces: ReferenceGrants, and which routes a listener lets attach (Gateway API).

use std::collections::BTreeMap;

use super::Resource;
use super::gateway_api::{self, LabelExpression, LabelSelector, Listener, ReferenceGrant};
use super::grpc_route::RouteKind;
use crate::reader::{At, Key, List};

/// Labels of every Namespace that a manifest describes.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    labels: BTreeMap<String, Vec<(String, String)>>,
}

impl Namespaces {
    pub(super) fn know(&mut self, name: &str, labels: Vec<(String, String)>) {
        self.labels.insert(name.to_owned(), labels);
    }

    fn value<'n>(&'n self, namespace: &'n str, label: &str) -> Option<&'n str> {
        // Kubernetes sets it on every namespace.
        if label == "kubernetes.io/metadata.name" {
            return Some(namespace);
        }
        let labels = self.labels.get(namespace)?;
        labels.iter().find(|(name, _)| name == label).map(|(_, value)| value.as_str())
    }
}

/// The referring resource.
#[derive(Debug, Clone, Copy)]
pub(super) struct From<'a> {
    pub(super) kind: &'a str,
    pub(super) namespace: &'a str,
}

/// Whether a manifest lets a resource of the Gateway API refer to something: its kind, namespace and name.
pub(super) fn permit(
    grants: &[Resource<ReferenceGrant>],
    who: From<'_>,
    (kind, to, name): (&str, &str, &str),
) -> bool {
    let is = |key: &Key<String>, value: &str| key.given().is_some_and(|given| given.value == value);
    who.namespace == to
        || grants.iter().filter(|grant| grant.namespace == to).any(|grant| {
            let from = each(&grant.spec.from).any(|one| {
                is(&one.group, "gateway.networking.k8s.io")
                    && is(&one.kind, who.kind)
                    && is(&one.namespace, who.namespace)
            });
            let to = each(&grant.spec.to).any(|one| {
                (one.group.is_absent() || is(&one.group, "") || is(&one.group, "core"))
                    && is(&one.kind, kind)
                    && (one.name.is_absent() || is(&one.name, "") || is(&one.name, name))
            });
            from && to
        })
}

/// Whether a listener of a Gateway in `gateway` takes routes of this kind and namespace: by default only those of its own.
pub(super) fn attaches(
    listener: &Listener,
    gateway: &str,
    (kind, route): (RouteKind, &str),
    namespaces: &Namespaces,
) -> bool {
    let allowed = listener.allowed_routes.given().map(|allowed| &allowed.value);
    let kinds: Vec<_> = allowed.map(|allowed| each(&allowed.kinds).collect()).unwrap_or_default();
    let is = |key: &Key<String>, value: &str| key.given().is_none_or(|one| one.value == value);
    let is_named = |one: &&gateway_api::RouteKind| {
        !one.kind.is_absent() && is(&one.kind, kind.word()) && is(&one.group, "gateway.networking.k8s.io")
    };
    if !kinds.is_empty() && !kinds.iter().any(is_named) {
        return false;
    }
    let from = allowed.and_then(|allowed| allowed.namespaces.given()).map(|namespaces| &namespaces.value);
    match from.and_then(|from| from.from.given()).map_or("Same", |from| from.value.as_str()) {
        "All" => true,
        "Selector" => from
            .and_then(|from| from.selector.given())
            .is_some_and(|selector| selects(&selector.value, route, namespaces)),
        _same => gateway == route,
    }
}

fn selects(selector: &LabelSelector, namespace: &str, namespaces: &Namespaces) -> bool {
    let labels = selector.match_labels.given().map(|labels| labels.value.as_slice()).unwrap_or_default();
    let equal = labels.iter().all(|(name, value)| {
        value.given().is_some_and(|value| namespaces.value(namespace, &name.value) == Some(&value.value))
    });
    equal && each(&selector.match_expressions).all(|one| holds(one, namespace, namespaces))
}

fn holds(one: &LabelExpression, namespace: &str, namespaces: &Namespaces) -> bool {
    let Some(key) = one.key.given() else { return false };
    let value = namespaces.value(namespace, &key.value);
    let values = one.values.given().map(|list| list.value.as_slice()).unwrap_or_default();
    let named = value
        .is_some_and(|value| values.iter().filter_map(Key::given).any(|one: &At<String>| one.value == value));
    match one.operator.given().map(|operator| operator.value.as_str()) {
        Some("In") => named,
        Some("NotIn") => !named,
        Some("Exists") => value.is_some(),
        Some("DoesNotExist") => value.is_none(),
        // An unknown operator selects nothing.
        Some(_) | None => false,
    }
}

fn each<T>(key: &Key<List<T>>) -> impl Iterator<Item = &T> {
    let list = key.given().map(|list| list.value.as_slice()).unwrap_or_default();
    list.iter().filter_map(Key::given).map(|one| &one.value)
}
