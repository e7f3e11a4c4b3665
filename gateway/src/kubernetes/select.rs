//! Selects the objects of a cluster that are ours to serve, and the part of each that is. Pure.
//!
//! An object is served only where it says so: a VirtualService is served at the gateways that it names and that are ours, with
//! the hosts that these have; one without gateways is for the mesh, which is served only when that is asked for; an HTTPRoute
//! or GRPCRoute is served at Gateways of our class.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Rules;
use super::authorities;
use super::clients;
use super::fronts;
use super::keep::MIRROR_POLICY;
use super::kinds::Kind;
use super::objects::{addresses, list, listeners, speaks_tls, text};
use super::ours::{api_gateways, classes, selects};
use super::secrets;
use super::store::{Key, Store};

/// An object that is ours, as far as it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chosen {
    pub(super) kind: Kind,
    pub(super) key: Key,
    /// The object as it is translated.
    pub(super) document: Value,
    /// The value of its annotation for its mirrors' policy.
    pub(super) policy: Option<String>,
}

/// The parts that cannot be served though objects ask for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Refused {
    /// Ports that cannot be listened at.
    pub(super) ports: BTreeSet<u64>,
    /// Istio's Gateways that have no part in the configuration.
    pub(super) gateways: BTreeSet<Key>,
    /// TLS of Gateways ends before us: their certificates are not read.
    pub(super) plaintext: bool,
    /// Our own namespace, whose Secrets Istio's objects name.
    pub(super) home: String,
}

/// The objects that are ours, the oldest first: of two that want the same the older has it.
pub(super) fn chosen(store: &Store, rules: &Rules, refused: &Refused) -> Vec<Chosen> {
    let classes = classes(store, rules);
    let ours = api_gateways(store, rules, &classes);
    let istio = istio_gateways(store, rules, refused);
    let mut all = Vec::new();
    let mut take = |kind: Kind, key: &Key, object: &Value, spec: Option<Value>| {
        let annotations = object.pointer("/metadata/annotations").filter(|_| has_mirrors(kind));
        let policy = annotations.and_then(|all| all.get(MIRROR_POLICY)?.as_str()).map(str::to_owned);
        all.push(Chosen { kind, key: key.clone(), document: document(kind, object, spec), policy });
    };
    for (key, object) in store.all(Kind::IstioGateway).filter(|(key, _)| istio.contains_key(*key)) {
        let mut spec = without_ports(&object["spec"], refused);
        secrets::at_home(&mut spec, &refused.home);
        take(Kind::IstioGateway, key, object, Some(spec));
    }
    for (key, object) in store.all(Kind::ApiGateway).filter(|(key, _)| ours.contains(*key)) {
        let mut spec = object["spec"].clone();
        let here = fronts::listeners(store, rules, &refused.home, key, object);
        let all: Vec<Value> = here.iter().flatten().cloned().collect();
        let mut asked = Vec::new();
        let served = listeners(object).iter().zip(&here).filter_map(|(written, here)| {
            let mut here = here.clone().filter(|here| fault(here, &all, refused).is_none())?;
            if speaks_tls(&here) && !refused.plaintext {
                let (good, _) = secrets::references(store, key, &here);
                if good.is_empty() {
                    return None;
                }
                here["tls"]["certificateRefs"] = good.into();
                if let Some(believed) = clients::believed(store, key, object, written) {
                    if !believed.lets_in() {
                        return None;
                    }
                    asked.push(clients::at_port(object, written, &here["port"], &believed.good));
                }
            }
            Some(here)
        });
        spec["listeners"] = match refusal(object) {
            // Further demands of it are not known.
            Some(_) => json!([]),
            None => served.collect(),
        };
        if let Some(tls) = spec.get_mut("tls").and_then(Value::as_object_mut) {
            tls.insert("frontend".to_owned(), json!({"perPort": asked}));
        }
        // Told by its status, and honoured by its Service.
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("addresses");
            if rules.fronts.is_some() {
                spec.remove("infrastructure");
            }
        }
        take(Kind::ApiGateway, key, object, Some(spec));
    }
    for (key, object) in store.all(Kind::VirtualService) {
        if let Some(spec) = virtual_service(&key.0, &object["spec"], rules, &istio) {
            take(Kind::VirtualService, key, object, Some(spec));
        }
    }
    for kind in [Kind::HttpRoute, Kind::GrpcRoute] {
        for (key, object) in store.all(kind) {
            let mut spec = object["spec"].clone();
            let parents = list(&spec, "parentRefs").iter();
            let here = |parent: &Value| match parent_of(parent, &key.0) {
                Some(gateway) => fronts::parent(store, rules, &refused.home, &gateway, parent),
                None => parent.clone(),
            };
            let parents: Vec<Value> =
                parents.filter(|parent| is_ours(parent, key, rules, &ours)).map(here).collect();
            if !parents.is_empty() {
                spec["parentRefs"] = parents.into();
                take(kind, key, object, Some(spec));
            }
        }
    }
    for (key, object) in store.all(Kind::DestinationRule) {
        let mut spec = object["spec"].clone();
        secrets::at_home(&mut spec, &refused.home);
        take(Kind::DestinationRule, key, object, Some(spec));
    }
    let named = secrets::wanted(store, rules, &refused.home);
    for (key, object) in store.all(Kind::Secret).filter(|(key, _)| named.contains(*key)) {
        take(Kind::Secret, key, object, None);
    }
    // An authority that is not sound is left out; the policy that names it is told.
    let believed = authorities::wanted(store).into_iter().chain(clients::wanted(store, rules));
    for (kind, key) in believed.collect::<BTreeSet<_>>() {
        let Some(object) = store.get(kind, &key.0, &key.1) else { continue };
        let is_taken = kind == Kind::Secret && named.contains(&key);
        if authorities::is_sound(kind, object) && !is_taken {
            take(kind, &key, object, None);
        }
    }
    for kind in
        [Kind::ServiceEntry, Kind::ReferenceGrant, Kind::BackendTlsPolicy, Kind::Service, Kind::Namespace]
    {
        store.all(kind).for_each(|(key, object)| take(kind, key, object, None));
    }
    all.sort_by(|a, b| (created(&a.document), &a.key).cmp(&(created(&b.document), &b.key)));
    all
}

/// Whether an annotation of such an object is heard.
const fn has_mirrors(kind: Kind) -> bool {
    matches!(kind, Kind::VirtualService | Kind::HttpRoute | Kind::GrpcRoute)
}

fn created(document: &Value) -> &str {
    document.pointer("/metadata/creationTimestamp").and_then(Value::as_str).unwrap_or_default()
}

/// The object with another `spec`, without its status and the API server's own fields.
fn document(kind: Kind, object: &Value, spec: Option<Value>) -> Value {
    let metadata = object.get("metadata").and_then(Value::as_object);
    let kept = ["name", "namespace", "uid", "generation", "creationTimestamp", "labels"];
    let metadata: serde_json::Map<String, Value> = metadata
        .into_iter()
        .flatten()
        .filter(|(name, _)| kept.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut document =
        json!({"apiVersion": object["apiVersion"], "kind": kind.facts().name, "metadata": metadata});
    let spec = spec.or_else(|| match kind {
        // Of a Service only its ports matter, and a Namespace has nothing that does.
        Kind::Service => {
            Some(json!({"ports": object.pointer("/spec/ports").cloned().unwrap_or_else(|| json!([]))}))
        }
        Kind::Namespace | Kind::Secret | Kind::ConfigMap => None,
        _other => object.get("spec").cloned(),
    });
    if let Some(spec) = spec {
        document["spec"] = spec;
    }
    if matches!(kind, Kind::Secret | Kind::ConfigMap) {
        document["data"] = object["data"].clone();
    }
    document
}

/// Why a Gateway is not served at all: the reason that its status gives, and a message.
pub(super) fn refusal(gateway: &Value) -> Option<(&'static str, String)> {
    // More is to be known of it than it says itself, and no kind of parameters is known here.
    let parameters = gateway.pointer("/spec/infrastructure/parametersRef");
    if parameters.is_some_and(|parameters| !parameters.is_null()) {
        let message = "no parametersRef is known: leave it out of infrastructure";
        return Some(("InvalidParameters", message.to_owned()));
    }
    let strange = addresses(gateway).map(|(kind, _)| kind).find(|kind| !ADDRESSES.contains(kind))?;
    let message = format!("addresses of type {strange} are not known; IPAddress and Hostname are");
    Some(("UnsupportedAddress", message))
}

/// Types of addresses that a Gateway may ask for.
const ADDRESSES: [&str; 2] = ["IPAddress", "Hostname"];

/// Why a listener is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListenerFault {
    UnsupportedProtocol,
    PortUnavailable,
    HostnameConflict,
    ProtocolConflict,
}

/// The fault of a listener among all listeners of its Gateway.
pub(super) fn fault(listener: &Value, among: &[Value], refused: &Refused) -> Option<ListenerFault> {
    let hostname = |one: &Value| text(one, "hostname").to_ascii_lowercase();
    let same = |other: &&Value| other["port"] == listener["port"] && hostname(other) == hostname(listener);
    if !matches!(text(listener, "protocol"), "HTTP" | "HTTPS") {
        return Some(ListenerFault::UnsupportedProtocol);
    }
    let mode = listener.pointer("/tls/mode").and_then(Value::as_str).unwrap_or("Terminate");
    if speaks_tls(listener) && mode != "Terminate" {
        return Some(ListenerFault::UnsupportedProtocol);
    }
    let other_way = |other: &Value| {
        other["port"] == listener["port"]
            && matches!(text(other, "protocol"), "HTTP" | "HTTPS")
            && other["protocol"] != listener["protocol"]
    };
    if among.iter().any(other_way) {
        return Some(ListenerFault::ProtocolConflict);
    }
    // The specification forbids that either of the two wins.
    if among.iter().filter(same).count() > 1 {
        return Some(ListenerFault::HostnameConflict);
    }
    let port = listener["port"].as_u64().unwrap_or_default();
    refused.ports.contains(&port).then_some(ListenerFault::PortUnavailable)
}

/// Whether a parent of a route in this namespace is one that we serve.
fn is_ours(parent: &Value, route: &Key, rules: &Rules, gateways: &BTreeSet<Key>) -> bool {
    match parent_of(parent, &route.0) {
        Some(gateway) => gateways.contains(&gateway),
        // GAMMA: requests inside the mesh.
        None => {
            text(parent, "kind") == "Service" && matches!(text(parent, "group"), "" | "core") && rules.mesh
        }
    }
}

/// The Gateway that a parent names.
pub(super) fn parent_of(parent: &Value, namespace: &str) -> Option<Key> {
    let or = |name: &str, default: &str| match parent.get(name).and_then(Value::as_str) {
        Some(given) => given.to_owned(),
        None => default.to_owned(),
    };
    let is_gateway = or("group", "gateway.networking.k8s.io") == "gateway.networking.k8s.io"
        && or("kind", "Gateway") == "Gateway";
    is_gateway.then(|| (or("namespace", namespace), or("name", "")))
}

/// Istio's Gateways that select us, with the hosts that each lets in.
type IstioGateways = BTreeMap<Key, Vec<(String, String)>>;

fn istio_gateways(store: &Store, rules: &Rules, refused: &Refused) -> IstioGateways {
    let ours = store
        .all(Kind::IstioGateway)
        .filter(|(key, gateway)| selects(gateway, rules) && !refused.gateways.contains(*key));
    ours.map(|(key, gateway)| {
        let servers = list(&gateway["spec"], "servers").iter();
        let hosts = servers.flat_map(|server| list(server, "hosts")).filter_map(Value::as_str);
        let parted = |host: &str| match host.split_once('/') {
            Some((".", host)) => (key.0.clone(), plain(host)),
            Some((namespace, host)) => (namespace.to_owned(), plain(host)),
            None => ("*".to_owned(), plain(host)),
        };
        (key.clone(), hosts.map(parted).collect())
    })
    .collect()
}

fn without_ports(spec: &Value, refused: &Refused) -> Value {
    let mut spec = spec.clone();
    if let Some(servers) = spec.get_mut("servers").and_then(Value::as_array_mut) {
        servers.retain(|server| {
            let port = server.pointer("/port/number").and_then(Value::as_u64);
            port.is_none_or(|port| !refused.ports.contains(&port))
        });
    }
    spec
}

/// The part of a VirtualService that is served here.
fn virtual_service(namespace: &str, spec: &Value, rules: &Rules, gateways: &IstioGateways) -> Option<Value> {
    let mut spec = spec.clone();
    let hosts = list(&spec, "hosts");
    // A delegate: the VirtualServices that delegate to it say where it is served.
    if hosts.is_empty() {
        return Some(spec);
    }
    let named = |list: &[Value]| -> Vec<String> {
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let of_all = match named(list(&spec, "gateways")) {
        none if none.is_empty() => vec!["mesh".to_owned()],
        some => some,
    };
    let served = |name: &String| match name.as_str() {
        "mesh" => rules.mesh,
        name => gateways.contains_key(&gateway_named(name, namespace)),
    };
    let ours: Vec<String> = of_all.into_iter().filter(served).collect();
    if ours.is_empty() {
        return None;
    }
    if !ours.iter().any(|name| name == "mesh") {
        let let_in = ours.iter().filter_map(|name| gateways.get(&gateway_named(name, namespace))).flatten();
        let let_in: Vec<&str> = let_in
            .filter(|(from, _)| from == "*" || from == namespace)
            .map(|(_, host)| host.as_str())
            .collect();
        let hosts: BTreeSet<String> = hosts
            .iter()
            .filter_map(Value::as_str)
            .flat_map(|host| let_in.iter().filter_map(move |wide| common(host, wide)))
            .collect();
        if hosts.is_empty() {
            return None;
        }
        spec["hosts"] = hosts.into_iter().collect();
    }
    spec["gateways"] = ours.iter().cloned().collect();
    if let Some(http) = spec.get_mut("http").and_then(Value::as_array_mut) {
        http.retain_mut(|route| meets(route, &ours));
    }
    Some(spec)
}

/// Keeps those matches of a route that hold at these gateways; whether the route is still served.
fn meets(route: &mut Value, ours: &[String]) -> bool {
    let Some(matches) = route.get_mut("match").and_then(Value::as_array_mut) else { return true };
    if matches.is_empty() {
        return true;
    }
    matches.retain_mut(|one| {
        let Some(names) = one.get("gateways").and_then(Value::as_array).filter(|names| !names.is_empty())
        else {
            return true;
        };
        let meets = names.iter().any(|name| ours.iter().any(|own| name.as_str() == Some(own)));
        if let Some(one) = one.as_object_mut() {
            one.remove("gateways");
        }
        meets
    });
    // A match that named nothing but a gateway takes every request of that gateway.
    if matches.iter().any(|one| one.as_object().is_some_and(serde_json::Map::is_empty)) {
        matches.clear();
        return true;
    }
    !matches.is_empty()
}

/// `name`, `namespace/name` or `./name`.
fn gateway_named(name: &str, namespace: &str) -> Key {
    match name.split_once('/') {
        Some((".", name)) => (namespace.to_owned(), name.to_owned()),
        Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
        None => (namespace.to_owned(), name.to_owned()),
    }
}

/// A host in its one spelling: in lower case, and without the dot of the root (RFC 1034 §3.1).
fn plain(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// The hosts that both mean.
fn common(host: &str, wide: &str) -> Option<String> {
    let host = plain(host);
    let holds = |wide: &str, one: &str| {
        wide == "*" || wide == one || wide.strip_prefix('*').is_some_and(|end| one.ends_with(end))
    };
    if holds(wide, &host) { Some(host) } else { holds(&host, wide).then(|| wide.to_owned()) }
}

#[cfg(test)]
mod tests;
