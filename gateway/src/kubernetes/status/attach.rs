//! Whether a route is attached to a Gateway, and whether its references can be resolved, with the Gateway API's reasons. Pure.
//!
//! The configuration's own attachment is made by `config`; its tests and these hold both to the same specification.

use std::collections::{BTreeMap, BTreeSet};

use config::manifest::{Hosts, is_spoken};
use serde_json::{Value, json};

use super::Counts;
use crate::kubernetes::grants::granted;
use crate::kubernetes::kinds::Kind;
use crate::kubernetes::objects::{list, listeners, text};
use crate::kubernetes::select::{self, Refused};
use crate::kubernetes::store::{Key, Store};

/// Attaches routes to listeners.
pub(super) struct Attached<'a> {
    store: &'a Store,
    ours: &'a BTreeSet<Key>,
    refused: &'a Refused,
    counts: Counts,
    /// Routes that are refused for a fault of their own: no listener counts them (Gateway API).
    rejected: BTreeSet<(Kind, Key)>,
    /// Hosts that routes of one kind have at a listener, which no route of the other kind may have (Gateway API).
    taken: BTreeMap<(Key, String, Kind), Hosts>,
}

/// Reason and message.
type Why = (&'static str, String);

impl<'a> Attached<'a> {
    pub(super) fn new(store: &'a Store, ours: &'a BTreeSet<Key>, refused: &'a Refused) -> Self {
        Self {
            store,
            ours,
            refused,
            counts: Counts::new(),
            rejected: BTreeSet::new(),
            taken: BTreeMap::new(),
        }
    }

    /// Attaches a route to a Gateway that it names as its parent; the oldest routes come first. One that is not served takes no
    /// host from another.
    pub(super) fn attach(
        &mut self,
        (kind, key): (Kind, &Key),
        route: &Value,
        parent: &Value,
        gateway: &Key,
        is_served: bool,
    ) -> Result<(), Why> {
        let known = self.store.get(Kind::ApiGateway, &gateway.0, &gateway.1);
        let Some(known) = known.filter(|_| self.ours.contains(gateway)) else {
            return Err(("NoMatchingParent", "the Gateway is not known".to_owned()));
        };
        let all = listeners(known);
        let named = |listener: &&Value| {
            let name = parent.get("sectionName").and_then(Value::as_str);
            let port = parent.get("port").and_then(Value::as_u64);
            name.is_none_or(|name| name == text(listener, "name"))
                && port.is_none_or(|port| listener["port"].as_u64() == Some(port))
        };
        let named: Vec<&Value> = all.iter().filter(named).collect();
        if named.is_empty() {
            return Err(("NoMatchingParent", "the Gateway has no such listener".to_owned()));
        }
        let lets_in = |listener: &&&Value| {
            select::fault(listener, all, self.refused).is_none()
                && allows(self.store, listener, &gateway.0, (kind, &key.0))
        };
        let allowed: Vec<&Value> = named.iter().filter(lets_in).copied().collect();
        if allowed.is_empty() {
            return Err(("NotAllowedByListeners", "no listener lets this route in".to_owned()));
        }
        let hosts: Vec<String> = list(&route["spec"], "hostnames")
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_ascii_lowercase)
            .collect();
        let meets = |listener: &&&Value| {
            let own = text(listener, "hostname").to_ascii_lowercase();
            own.is_empty() || hosts.is_empty() || hosts.iter().any(|host| meet(host, &own))
        };
        let met: Vec<&Value> = allowed.iter().filter(meets).copied().collect();
        if met.is_empty() {
            return Err((
                "NoMatchingListenerHostname",
                "no listener has a hostname of this route".to_owned(),
            ));
        }
        let hosts: Vec<Option<&str>> = match hosts.as_slice() {
            [] => vec![None],
            some => some.iter().map(|host| Some(host.as_str())).collect(),
        };
        let other = if kind == Kind::GrpcRoute { Kind::HttpRoute } else { Kind::GrpcRoute };
        let name = |listener: &Value| text(listener, "name").to_owned();
        let holder = |listener: &&Value| {
            let of_others = self.taken.get(&(gateway.clone(), name(listener), other))?;
            hosts.iter().find_map(|host| of_others.holder(*host)).map(str::to_owned)
        };
        let refused = met.iter().find_map(&holder);
        let met: Vec<&Value> = met.into_iter().filter(|listener| holder(listener).is_none()).collect();
        if let (Some(older), true) = (refused, met.is_empty()) {
            return Err(("HostnameConflict", format!("{older}, which is older, has a host of this route")));
        }
        for listener in met {
            let of = (gateway.clone(), name(listener));
            self.counts.entry(of).or_default().insert((kind, key.clone()));
            if is_served {
                let taken = self.taken.entry((gateway.clone(), name(listener), kind)).or_default();
                let title = format!("{} {}/{}", kind.facts().name, key.0, key.1);
                hosts.iter().for_each(|host| taken.take(*host, &title));
            }
        }
        Ok(())
    }

    /// The listeners that a route is attached to do not count it.
    pub(super) fn reject(&mut self, kind: Kind, key: &Key) {
        self.rejected.insert((kind, key.clone()));
    }

    /// Gateways that a route is attached to.
    pub(super) fn gateways(&self) -> BTreeMap<(Kind, Key), BTreeSet<Key>> {
        let mut all: BTreeMap<(Kind, Key), BTreeSet<Key>> = BTreeMap::new();
        for ((gateway, _), routes) in &self.counts {
            for route in routes {
                all.entry(route.clone()).or_default().insert(gateway.clone());
            }
        }
        all
    }

    /// Routes that are attached to a listener and accepted.
    pub(super) fn count(&self, gateway: &Key, listener: &str) -> usize {
        let all = self.counts.get(&(gateway.clone(), listener.to_owned())).into_iter().flatten();
        all.filter(|route| !self.rejected.contains(*route)).count()
    }
}

/// Whether two hosts have one in common.
pub(super) fn meet(a: &str, b: &str) -> bool {
    let holds = |wide: &str, one: &str| wide.strip_prefix('*').is_some_and(|end| one.ends_with(end));
    a == b || holds(a, b) || holds(b, a)
}

/// Kinds of routes that a listener names and are offered; all that are where it names none.
pub(super) fn supported(listener: &Value) -> Vec<Value> {
    let is_http = matches!(text(listener, "protocol"), "HTTP" | "HTTPS");
    let named = kinds(listener);
    let has = |kind: &&str| is_http && (named.is_empty() || named.iter().any(|one| is_kind(one, kind)));
    let offered = |kind: &str| json!({"group": "gateway.networking.k8s.io", "kind": kind});
    OFFERED.iter().copied().filter(has).map(offered).collect()
}

/// Kinds of routes that are offered.
const OFFERED: [&str; 2] = ["HTTPRoute", "GRPCRoute"];

/// Whether a listener names a kind of route that is not offered.
pub(super) fn unknown_kinds(listener: &Value) -> bool {
    kinds(listener).iter().any(|one| !OFFERED.iter().any(|kind| is_kind(one, kind)))
}

fn kinds(listener: &Value) -> &[Value] {
    listener.get("allowedRoutes").map(|allowed| list(allowed, "kinds")).unwrap_or_default()
}

fn is_kind(one: &Value, kind: &str) -> bool {
    let group = one.get("group").and_then(Value::as_str).unwrap_or("gateway.networking.k8s.io");
    text(one, "kind") == kind && group == "gateway.networking.k8s.io"
}

/// Whether a listener lets in routes of this kind and namespace.
fn allows(store: &Store, listener: &Value, gateway: &str, (kind, route): (Kind, &str)) -> bool {
    if !supported(listener).iter().any(|one| is_kind(one, kind.facts().name)) {
        return false;
    }
    match listener.pointer("/allowedRoutes/namespaces/from").and_then(Value::as_str).unwrap_or("Same") {
        "All" => true,
        "Same" => gateway == route,
        "Selector" => {
            let selector = listener.pointer("/allowedRoutes/namespaces/selector");
            selector.is_some_and(|selector| selects(store, selector, route))
        }
        _other => false,
    }
}

fn selects(store: &Store, selector: &Value, namespace: &str) -> bool {
    let known = store.get(Kind::Namespace, "", namespace);
    let label = |name: &str| match name {
        // Kubernetes sets it on every namespace.
        "kubernetes.io/metadata.name" => Some(namespace),
        name => known?.pointer("/metadata/labels")?.get(name)?.as_str(),
    };
    let equal = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let holds = |one: &Value| {
        let value = label(text(one, "key"));
        let named =
            value.is_some_and(|value| list(one, "values").iter().any(|one| one.as_str() == Some(value)));
        match text(one, "operator") {
            "In" => named,
            "NotIn" => !named,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            // An operator that is not known selects nothing.
            _other => false,
        }
    };
    let mut equal = equal;
    equal.all(|(name, value)| label(name) == value.as_str() && value.is_string())
        && list(selector, "matchExpressions").iter().all(holds)
}

/// Whether everything that a route refers to is there and may be referred to.
pub(super) fn resolved(store: &Store, (kind, namespace): (Kind, &str), route: &Value) -> super::Condition {
    let mut found: Option<(u8, Why)> = None;
    for fault in backends(route).filter_map(|backend| fault(store, (kind, namespace), backend)) {
        if found.as_ref().is_none_or(|(rank, _)| fault.0 < *rank) {
            found = Some(fault);
        }
    }
    match found {
        None => ("ResolvedRefs", true, "ResolvedRefs", String::new()),
        Some((_, (reason, message))) => ("ResolvedRefs", false, reason, message),
    }
}

/// Every backend that a route names, of mirrors too.
pub(super) fn backends(route: &Value) -> impl Iterator<Item = &Value> {
    let mirrors = |of| {
        let filters = list(of, "filters").iter();
        filters.filter_map(|filter: &Value| filter.pointer("/requestMirror/backendRef"))
    };
    list(&route["spec"], "rules").iter().flat_map(move |rule| {
        let backends = list(rule, "backendRefs");
        backends.iter().chain(mirrors(rule)).chain(backends.iter().flat_map(mirrors))
    })
}

/// The fault of a reference to a backend, with its rank: of several faults of a route the lowest rank is told.
fn fault(store: &Store, (of, namespace): (Kind, &str), backend: &Value) -> Option<(u8, Why)> {
    let (group, kind) =
        (text(backend, "group"), backend.get("kind").and_then(Value::as_str).unwrap_or("Service"));
    let name = text(backend, "name");
    if !matches!(group, "" | "core") || kind != "Service" {
        return Some((
            0,
            ("InvalidKind", format!("{name}: {kind} is not a kind of backend that is offered")),
        ));
    }
    let own = backend.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
    if own != namespace && !granted(store, (of, namespace), (Kind::Service, own, name)) {
        let message = format!(
            "no ReferenceGrant of namespace {own} lets {}s of {namespace} refer to {name}",
            of.facts().name
        );
        return Some((1, ("RefNotPermitted", message)));
    }
    let not_found = |message: String| Some((2, ("BackendNotFound", message)));
    let Some(service) = store.get(Kind::Service, own, name) else {
        return not_found(format!("there is no Service {own}/{name}"));
    };
    let port = backend.get("port").and_then(Value::as_u64);
    let ports = service.pointer("/spec/ports").and_then(Value::as_array);
    // Of two of one number the one of TCP is asked: HTTP/3 stands beside HTTPS so.
    let transport = |one: &Value| text(one, "protocol").to_ascii_uppercase();
    let is_tcp = |one: &&Value| matches!(transport(one).as_str(), "" | "TCP");
    let mut named = ports.into_iter().flatten().filter(|one| one["port"].as_u64() == port);
    let first = named.next();
    let Some(port) = first.filter(is_tcp).or_else(|| named.find(is_tcp)).or(first) else {
        return not_found(format!("Service {own}/{name} has no such port"));
    };
    let key = if is_tcp(&port) { "appProtocol" } else { "protocol" };
    let protocol = port.get(key).and_then(Value::as_str)?;
    let why = is_spoken(protocol, of == Kind::GrpcRoute).err()?;
    Some((3, ("UnsupportedProtocol", format!("Service {own}/{name}: {why}"))))
}
