//! The objects of a cluster as they were last seen, and what a change of one is about. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::kinds::Kind;

/// Namespace, empty where there is none, and name.
pub(super) type Key = (String, String);

/// The annotation that names a ConfigMap with what more there is to say of an object's mirrors.
pub(super) const MIRROR_POLICY: &str = "umbra.dev/mirror-policy";

/// What a change is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// It may change where requests go.
    pub(super) routing: bool,
    /// It may change where upstreams are.
    pub(super) endpoints: bool,
    /// A status that is ours to write may be another one now.
    pub(super) status: bool,
}

impl Changes {
    fn and(self, other: Self) -> Self {
        Self {
            routing: self.routing || other.routing,
            endpoints: self.endpoints || other.endpoints,
            status: self.status || other.status,
        }
    }
}

/// By kind, namespace and name.
#[derive(Debug, Default, Clone)]
pub(super) struct Store(BTreeMap<Kind, BTreeMap<Key, Arc<Value>>>);

impl Store {
    /// These are all that there are, in one namespace or everywhere.
    pub(super) fn replace(&mut self, kind: Kind, scope: Option<&str>, items: Vec<Value>) -> Changes {
        let all = self.0.entry(kind).or_default();
        let mut changes = Changes::default();
        let mut seen = BTreeSet::new();
        for item in items {
            let Some(key) = key(&item) else { continue };
            seen.insert(key.clone());
            changes = changes.and(put(kind, all, key, item));
        }
        let in_scope = |key: &Key| {
            scope.is_none_or(|scope| match scope.split_once('/') {
                Some((namespace, name)) => key.0 == namespace && key.1 == name,
                None => key.0 == scope,
            })
        };
        let before = all.len();
        all.retain(|key, _| !in_scope(key) || seen.contains(key));
        if all.len() < before { changes.and(about(kind)) } else { changes }
    }

    pub(super) fn set(&mut self, kind: Kind, item: Value) -> Changes {
        let Some(key) = key(&item) else { return Changes::default() };
        put(kind, self.0.entry(kind).or_default(), key, item)
    }

    pub(super) fn remove(&mut self, kind: Kind, item: &Value) -> Changes {
        let gone = key(item).and_then(|key| self.0.get_mut(&kind)?.remove(&key));
        if gone.is_some() { about(kind) } else { Changes::default() }
    }

    /// No object of this kind is read any more, in one scope.
    pub(super) fn forget(&mut self, kind: Kind, scope: &str) {
        if let Some(all) = self.0.get_mut(&kind) {
            match scope.split_once('/') {
                Some((namespace, name)) => drop(all.remove(&(namespace.to_owned(), name.to_owned()))),
                None => all.retain(|key, _| key.0 != scope),
            }
        }
    }

    pub(super) fn all(&self, kind: Kind) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.0.get(&kind).into_iter().flatten()
    }

    pub(super) fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.0.get(&kind)?.get(&(namespace.to_owned(), name.to_owned()))
    }

    pub(super) fn has(&self, kind: Kind, scope: Option<&str>) -> bool {
        match scope.and_then(|scope| scope.split_once('/')) {
            Some((namespace, name)) => self.get(kind, namespace, name).is_some(),
            None => self.all(kind).any(|(key, _)| scope.is_none_or(|scope| key.0 == scope)),
        }
    }

    /// The same without Pods and EndpointSlices: what routes are made of.
    pub(super) fn routing(&self) -> Self {
        let kinds = self.0.iter().filter(|(kind, _)| !matches!(kind, Kind::Pod | Kind::EndpointSlice));
        Self(kinds.map(|(kind, all)| (*kind, all.clone())).collect())
    }
}

fn put(kind: Kind, all: &mut BTreeMap<Key, Arc<Value>>, key: Key, item: Value) -> Changes {
    let item = stripped(kind, item);
    let before = all.get(&key).cloned();
    let changes = before.as_ref().map_or_else(|| about(kind), |before| difference(kind, before, &item));
    all.insert(key, Arc::new(item));
    changes
}

pub(super) fn key(item: &Value) -> Option<Key> {
    let metadata = item.get("metadata")?;
    let text = |name: &str| metadata.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = text("name");
    (!name.is_empty()).then(|| (text("namespace"), name))
}

/// Whatever changes about an object of this kind may be about these.
fn about(kind: Kind) -> Changes {
    match kind {
        Kind::Pod | Kind::EndpointSlice => Changes { endpoints: true, ..Changes::default() },
        Kind::Service => Changes { routing: true, endpoints: true, status: false },
        Kind::VirtualService
        | Kind::DestinationRule
        | Kind::ServiceEntry
        | Kind::IstioGateway
        | Kind::GatewayClass
        | Kind::ApiGateway
        | Kind::HttpRoute
        | Kind::ReferenceGrant
        | Kind::ConfigMap
        | Kind::Namespace => Changes { routing: true, ..Changes::default() },
    }
}

fn difference(kind: Kind, before: &Value, after: &Value) -> Changes {
    let same = |path: &str| before.pointer(path) == after.pointer(path);
    let means_the_same = match kind {
        Kind::Pod => same("/metadata/labels") && same("/metadata/uid"),
        Kind::EndpointSlice => {
            same("/endpoints") && same("/ports") && same("/addressType") && same("/metadata/labels")
        }
        Kind::Namespace => same("/metadata/labels"),
        Kind::ConfigMap => same("/data"),
        Kind::Service
        | Kind::VirtualService
        | Kind::DestinationRule
        | Kind::ServiceEntry
        | Kind::IstioGateway
        | Kind::GatewayClass
        | Kind::ApiGateway
        | Kind::HttpRoute
        | Kind::ReferenceGrant => {
            same("/spec")
                && same("/metadata/generation")
                && same("/metadata/uid")
                && same("/apiVersion")
                && same("/metadata/annotations")
        }
    };
    // The address of a Service may be what a Gateway's status says.
    let status = !same("/status")
        && matches!(kind, Kind::GatewayClass | Kind::ApiGateway | Kind::HttpRoute | Kind::Service);
    if means_the_same { Changes { status, ..Changes::default() } } else { Changes { status, ..about(kind) } }
}

/// Without what nobody here reads: it may be most of an object.
fn stripped(kind: Kind, mut item: Value) -> Value {
    if let Some(metadata) = item.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        // One of them says something to us.
        if let Some(all) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            all.retain(|name, _| name == MIRROR_POLICY);
            if all.is_empty() {
                metadata.remove("annotations");
            }
        }
        if kind == Kind::Pod {
            metadata.retain(|name, _| matches!(name.as_str(), "name" | "namespace" | "uid" | "labels"));
        }
    }
    item
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(namespace: &str, name: &str, spec: Value, status: Value) -> Value {
        json!({"metadata": {"name": name, "namespace": namespace, "managedFields": [1]}, "spec": spec, "status": status})
    }

    fn names(store: &Store, kind: Kind) -> Vec<String> {
        store.all(kind).map(|((namespace, name), _)| format!("{namespace}/{name}")).collect()
    }

    #[test]
    fn a_list_replaces_its_namespace_at_once_and_no_other() {
        let mut store = Store::default();
        let route = Kind::HttpRoute;
        store.replace(
            route,
            Some("a"),
            vec![object("a", "x", json!(1), json!(null)), object("a", "y", json!(1), json!(null))],
        );
        store.replace(route, Some("b"), vec![object("b", "z", json!(1), json!(null))]);
        let changes = store.replace(route, Some("a"), vec![object("a", "y", json!(1), json!(null))]);
        assert!(changes.routing);
        assert_eq!(names(&store, route), ["a/y", "b/z"]);
        // The same again is no change.
        let changes = store.replace(route, Some("a"), vec![object("a", "y", json!(1), json!(null))]);
        assert_eq!(changes, Changes::default());
    }

    #[test]
    fn what_only_its_status_says_changes_no_route() {
        let mut store = Store::default();
        assert!(store.set(Kind::HttpRoute, object("a", "x", json!(1), json!(1))).routing);
        let changes = store.set(Kind::HttpRoute, object("a", "x", json!(1), json!(2)));
        assert_eq!((changes.routing, changes.status), (false, true));
        assert!(store.set(Kind::HttpRoute, object("a", "x", json!(2), json!(2))).routing);
        assert!(store.remove(Kind::HttpRoute, &object("a", "x", json!(0), json!(0))).routing);
        assert_eq!(store.remove(Kind::HttpRoute, &object("a", "x", json!(0), json!(0))), Changes::default());
    }

    #[test]
    fn endpoints_come_and_go_without_a_word_about_routes() {
        let mut store = Store::default();
        let slice =
            |addresses: Value| json!({"metadata": {"name": "s", "namespace": "a"}, "endpoints": addresses});
        for (addresses, changed) in [(json!(["1"]), true), (json!(["1"]), false), (json!(["2"]), true)] {
            let changes = store.set(Kind::EndpointSlice, slice(addresses));
            assert_eq!((changes.routing, changes.endpoints), (false, changed));
        }
        let pod = |labels: Value, phase: &str| json!({"metadata": {"name": "p", "namespace": "a", "labels": labels}, "status": {"phase": phase}});
        assert!(store.set(Kind::Pod, pod(json!({"v": "1"}), "Pending")).endpoints);
        assert!(!store.set(Kind::Pod, pod(json!({"v": "1"}), "Running")).endpoints);
        assert!(store.set(Kind::Pod, pod(json!({"v": "2"}), "Running")).endpoints);
        let kept = store.get(Kind::Pod, "a", "p").unwrap();
        assert!(kept.pointer("/metadata/managedFields").is_none());
    }
}
