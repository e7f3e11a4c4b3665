//! The objects of a cluster as they were last seen, and the effects of each change. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::keep::stripped;
use super::kinds::Kind;

/// Namespace, empty where there is none, and name.
pub(super) type Key = (String, String);

/// The effects that a change may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Requests may go elsewhere.
    pub(super) routing: bool,
    /// Addresses of upstreams may change.
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

/// Objects of one kind that are kept: as many as a list may have. Beyond, an object is not taken.
pub(super) const OBJECTS_MAX: usize = 100_000;

/// Bytes of the objects of one kind. Ten thousand routes take a third of it.
pub(super) const KIND_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of all objects: no kind has all of it for itself.
pub(super) const BYTES_MAX: usize = 4 * KIND_BYTES_MAX;

/// By kind, namespace and name.
#[derive(Debug, Default, Clone)]
pub(super) struct Store(BTreeMap<Kind, Objects>);

#[derive(Debug, Default, Clone)]
struct Objects {
    all: BTreeMap<Key, Arc<Value>>,
    bytes: usize,
    /// By scope: objects that were not taken since it was listed.
    surplus: BTreeMap<String, u64>,
}

/// How much of a kind there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) objects: usize,
    pub(super) bytes: usize,
    /// Objects, or versions of objects, for which there was no room.
    pub(super) surplus: u64,
}

impl Store {
    /// These are all that there are, in one namespace or everywhere.
    pub(super) fn replace(&mut self, kind: Kind, scope: Option<&str>, items: Vec<Value>) -> Changes {
        let seen: BTreeSet<Key> = items.iter().filter_map(key).collect();
        let in_scope = |key: &Key| {
            scope.is_none_or(|scope| match scope.split_once('/') {
                Some((namespace, name)) => key.0 == namespace && key.1 == name,
                None => key.0 == scope,
            })
        };
        let of = self.0.entry(kind).or_default();
        of.surplus.remove(scope.unwrap_or_default());
        let before = of.all.len();
        of.retain(|key| !in_scope(key) || seen.contains(key));
        let mut changes = if of.all.len() < before { about(kind) } else { Changes::default() };
        // Known objects have their place before new ones.
        let is_known = |item: &Value| key(item).is_some_and(|key| of.all.contains_key(&key));
        let (known, new): (Vec<_>, Vec<_>) = items.into_iter().partition(is_known);
        for item in known.into_iter().chain(new) {
            changes = changes.and(self.set(kind, scope, item));
        }
        changes
    }

    /// Takes an object of a list or a watch of this scope. Where there is no room for it, its last known version stays.
    pub(super) fn set(&mut self, kind: Kind, scope: Option<&str>, item: Value) -> Changes {
        let Some(key) = key(&item) else { return Changes::default() };
        let item = stripped(kind, item);
        let all_bytes: usize = self.0.values().map(|of| of.bytes).sum();
        let of = self.0.entry(kind).or_default();
        let before = of.all.get(&key).cloned();
        let (old, new) = (before.as_ref().map_or(0, |before| weight(before)), weight(&item));
        let grown = |bytes: usize| bytes.saturating_sub(old).saturating_add(new);
        let is_one_more = before.is_none() && of.all.len() >= OBJECTS_MAX;
        let is_larger = new > old && (grown(of.bytes) > KIND_BYTES_MAX || grown(all_bytes) > BYTES_MAX);
        if is_one_more || is_larger {
            *of.surplus.entry(scope.unwrap_or_default().to_owned()).or_default() += 1;
            return Changes::default();
        }
        let changes = before.as_ref().map_or_else(|| about(kind), |before| difference(kind, before, &item));
        of.bytes = grown(of.bytes);
        of.all.insert(key, Arc::new(item));
        changes
    }

    pub(super) fn remove(&mut self, kind: Kind, item: &Value) -> Changes {
        let Some(of) = self.0.get_mut(&kind) else { return Changes::default() };
        let gone = key(item).and_then(|key| of.all.remove(&key));
        of.bytes -= gone.as_ref().map_or(0, |gone| weight(gone));
        if gone.is_some() { about(kind) } else { Changes::default() }
    }

    /// No object of this kind is read any more, in one scope.
    pub(super) fn forget(&mut self, kind: Kind, scope: &str) {
        if let Some(of) = self.0.get_mut(&kind) {
            of.surplus.remove(scope);
            of.retain(|key| match scope.split_once('/') {
                Some((namespace, name)) => key.0 != namespace || key.1 != name,
                None => key.0 != scope,
            });
        }
    }

    pub(super) fn kept(&self, kind: Kind) -> Kept {
        let of = |of: &Objects| Kept {
            objects: of.all.len(),
            bytes: of.bytes,
            surplus: of.surplus.values().sum(),
        };
        self.0.get(&kind).map(of).unwrap_or_default()
    }

    pub(super) fn all(&self, kind: Kind) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.0.get(&kind).into_iter().flat_map(|of| &of.all)
    }

    pub(super) fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.0.get(&kind)?.all.get(&(namespace.to_owned(), name.to_owned()))
    }

    pub(super) fn has(&self, kind: Kind, scope: Option<&str>) -> bool {
        match scope.and_then(|scope| scope.split_once('/')) {
            Some((namespace, name)) => self.get(kind, namespace, name).is_some(),
            None => self.all(kind).any(|(key, _)| scope.is_none_or(|scope| key.0 == scope)),
        }
    }

    /// The same without Pods and EndpointSlices: the objects that routes are made of.
    pub(super) fn routing(&self) -> Self {
        let kinds = self.0.iter().filter(|(kind, _)| !matches!(kind, Kind::Pod | Kind::EndpointSlice));
        Self(kinds.map(|(kind, of)| (*kind, of.clone())).collect())
    }
}

impl Objects {
    fn retain(&mut self, stays: impl Fn(&Key) -> bool) {
        let bytes = &mut self.bytes;
        self.all.retain(|key, item| {
            let stays = stays(key);
            if !stays {
                *bytes -= weight(item);
            }
            stays
        });
    }
}

/// About how many bytes a value takes, with all that it owns.
fn weight(value: &Value) -> usize {
    let own = size_of::<Value>();
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => own,
        Value::String(text) => own + text.len(),
        Value::Array(all) => own + all.iter().map(weight).sum::<usize>(),
        Value::Object(all) => {
            own + all
                .iter()
                .map(|(name, value)| size_of::<String>() + name.len() + weight(value))
                .sum::<usize>()
        }
    }
}

pub(super) fn key(item: &Value) -> Option<Key> {
    let metadata = item.get("metadata")?;
    let text = |name: &str| metadata.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = text("name");
    (!name.is_empty()).then(|| (text("namespace"), name))
}

/// The effects that any change of an object of this kind may have.
fn about(kind: Kind) -> Changes {
    match kind {
        Kind::Pod | Kind::EndpointSlice => Changes { endpoints: true, ..Changes::default() },
        Kind::Service => Changes { routing: true, endpoints: true, status: false },
        Kind::CustomResourceDefinition => Changes { status: true, ..Changes::default() },
        Kind::VirtualService
        | Kind::DestinationRule
        | Kind::ServiceEntry
        | Kind::IstioGateway
        | Kind::GatewayClass
        | Kind::ApiGateway
        | Kind::HttpRoute
        | Kind::GrpcRoute
        | Kind::ReferenceGrant
        | Kind::BackendTlsPolicy
        | Kind::Secret
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
        Kind::Secret => same("/data"),
        Kind::ConfigMap => same("/data"),
        Kind::CustomResourceDefinition => same("/metadata/annotations"),
        Kind::Service
        | Kind::VirtualService
        | Kind::DestinationRule
        | Kind::ServiceEntry
        | Kind::IstioGateway
        | Kind::GatewayClass
        | Kind::ApiGateway
        | Kind::HttpRoute
        | Kind::GrpcRoute
        | Kind::ReferenceGrant
        | Kind::BackendTlsPolicy => {
            same("/spec")
                && same("/metadata/generation")
                && same("/metadata/uid")
                && same("/apiVersion")
                && same("/metadata/annotations")
        }
    };
    // A Gateway's status may contain the address of a Service.
    let status = !same("/status")
        && matches!(
            kind,
            Kind::GatewayClass
                | Kind::ApiGateway
                | Kind::HttpRoute
                | Kind::GrpcRoute
                | Kind::BackendTlsPolicy
                | Kind::Service
        );
    let own = Changes { status, ..Changes::default() };
    if means_the_same { own } else { own.and(about(kind)) }
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
        assert!(store.set(Kind::HttpRoute, None, object("a", "x", json!(1), json!(1))).routing);
        let changes = store.set(Kind::HttpRoute, None, object("a", "x", json!(1), json!(2)));
        assert_eq!((changes.routing, changes.status), (false, true));
        assert!(store.set(Kind::HttpRoute, None, object("a", "x", json!(2), json!(2))).routing);
        assert!(store.remove(Kind::HttpRoute, &object("a", "x", json!(0), json!(0))).routing);
        assert_eq!(store.remove(Kind::HttpRoute, &object("a", "x", json!(0), json!(0))), Changes::default());
    }

    #[test]
    fn endpoints_come_and_go_without_a_word_about_routes() {
        let mut store = Store::default();
        let slice =
            |addresses: Value| json!({"metadata": {"name": "s", "namespace": "a"}, "endpoints": addresses});
        for (addresses, changed) in [(json!(["1"]), true), (json!(["1"]), false), (json!(["2"]), true)] {
            let changes = store.set(Kind::EndpointSlice, None, slice(addresses));
            assert_eq!((changes.routing, changes.endpoints), (false, changed));
        }
        let pod = |labels: Value, phase: &str| json!({"metadata": {"name": "p", "namespace": "a", "labels": labels}, "status": {"phase": phase}});
        assert!(store.set(Kind::Pod, None, pod(json!({"v": "1"}), "Pending")).endpoints);
        assert!(!store.set(Kind::Pod, None, pod(json!({"v": "1"}), "Running")).endpoints);
        assert!(store.set(Kind::Pod, None, pod(json!({"v": "2"}), "Running")).endpoints);
        let kept = store.get(Kind::Pod, "a", "p").unwrap();
        assert!(kept.pointer("/metadata/managedFields").is_none());
    }

    #[test]
    fn so_much_is_kept_of_a_kind_and_what_is_known_stays() {
        let mut store = Store::default();
        let kind = Kind::VirtualService;
        let of = |name: &str, bytes: usize| object("a", name, json!("x".repeat(bytes)), json!(null));
        let half = KIND_BYTES_MAX / 2;
        assert!(store.set(kind, None, of("first", half)).routing);
        assert!(store.set(kind, None, of("small", 10)).routing);
        // There is no room for another, nor for the same one grown.
        assert_eq!(store.set(kind, None, of("second", half)), Changes::default());
        assert_eq!(store.set(kind, None, of("small", half)), Changes::default());
        assert_eq!(names(&store, kind), ["a/first", "a/small"]);
        assert_eq!(store.get(kind, "a", "small").unwrap()["spec"], "x".repeat(10));
        let Kept { objects, bytes, surplus } = store.kept(kind);
        assert_eq!((objects, surplus), (2, 2));
        assert!((half..half + 2000).contains(&bytes), "{bytes}");
        // An object that shrinks makes room; a list replaces all, and known objects have their place first.
        assert!(store.set(kind, None, of("first", 10)).routing);
        assert!(store.set(kind, None, of("second", half)).routing);
        let all = vec![of("another", half), of("second", half), of("first", 20)];
        assert!(store.replace(kind, None, all).routing);
        assert_eq!(names(&store, kind), ["a/first", "a/second"]);
        assert_eq!(store.kept(kind).surplus, 1);
        // Kinds share the room for all: none has it alone.
        for other in [Kind::DestinationRule, Kind::ServiceEntry, Kind::Service, Kind::Pod] {
            let pod = |name: &str| json!({"metadata": {"name": name, "namespace": "a", "labels": {"x": "x".repeat(half - 1000)}}});
            for name in ["1", "2"] {
                store.set(other, Some("a"), pod(name));
            }
        }
        let all = [kind, Kind::DestinationRule, Kind::ServiceEntry, Kind::Service, Kind::Pod];
        assert!(all.iter().map(|kind| store.kept(*kind).bytes).sum::<usize>() <= BYTES_MAX);
        assert!(store.kept(Kind::Pod).surplus > 0);
        store.replace(kind, None, Vec::new());
        store.forget(Kind::Pod, "a");
        assert_eq!((store.kept(kind), store.kept(Kind::Pod)), (Kept::default(), Kept::default()));
    }

    #[test]
    fn so_many_objects_of_a_kind_are_kept() {
        let mut store = Store::default();
        let of = |n: usize| json!({"metadata": {"name": n.to_string(), "namespace": "a"}});
        for n in 0..OBJECTS_MAX + 3 {
            store.set(Kind::Pod, Some("a"), of(n));
        }
        let Kept { objects, surplus, .. } = store.kept(Kind::Pod);
        assert_eq!((objects, surplus), (OBJECTS_MAX, 3));
        // The list of another scope does not change this one; an object that goes makes room, and its scope's own list fills
        // it.
        store.replace(Kind::Pod, Some("b"), Vec::new());
        assert_eq!(store.kept(Kind::Pod).surplus, 3);
        store.remove(Kind::Pod, &of(0));
        store.replace(Kind::Pod, Some("a"), (1..OBJECTS_MAX + 1).map(of).collect());
        let Kept { objects, surplus, .. } = store.kept(Kind::Pod);
        assert_eq!((objects, surplus), (OBJECTS_MAX, 0));
    }
}
