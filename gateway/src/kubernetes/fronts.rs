//! A Service for each Gateway of ours, so that two Gateways may have the same port: the Service that each should have, and the
//! ports of ours behind it. The Services are the record: each replica reads in them where to listen. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher as _;

use serde_json::{Map, Value, json};
use xxhash_rust::xxh64::Xxh64;

use super::Rules;
use super::keep::GATEWAY;
use super::kinds::Kind;
use super::objects::{self, list, text};
use super::ours;
use super::store::{Key, Store};

/// The operator's options for these Services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fronts {
    /// Labels of our own Pods.
    pub selector: Vec<(String, String)>,
    /// `LoadBalancer`, `NodePort` or `ClusterIP`.
    pub kind: String,
    /// Ports of ours that Gateways' may become.
    pub ports: (u16, u16),
}

/// The label with the controller that made a Service.
const CONTROLLER: &str = "umbra.dev/controller";
/// Labels and annotations that it has of its Gateway's `infrastructure`.
const COPIED: &str = "umbra.dev/copied";

/// The address that its Gateway asks for.
const ADDRESS: &str = "umbra.dev/address";

/// A write that gives each Gateway its Service.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Write {
    Create(Value),
    Change { name: String, patch: Value },
    Delete { name: String },
}

/// A Service is called so: a Gateway's name may be longer than one of a Service.
pub(super) fn name(controller: &str, gateway: &Key) -> String {
    let mut hash = Xxh64::new(0);
    for part in [controller, &gateway.0, &gateway.1] {
        hash.write(part.as_bytes());
        hash.write(&[0]);
    }
    format!("umbra-{:016x}", hash.finish())
}

/// The Service of a Gateway, if there is one and it is ours.
fn of<'s>(store: &'s Store, rules: &Rules, home: &str, gateway: &Key) -> Option<&'s Value> {
    let service = store.get(Kind::Service, home, &name(&rules.controller, gateway))?;
    let is_ours = annotation(service, CONTROLLER) == Some(&rules.controller);
    is_ours.then_some(service.as_ref())
}

/// Ports of a Gateway, and which they are here; none of them before its Service is there.
pub(super) fn ports(store: &Store, rules: &Rules, home: &str, gateway: &Key) -> BTreeMap<u64, u64> {
    let Some(service) = of(store, rules, home, gateway) else { return BTreeMap::new() };
    let pair = |one: &Value| Some((one["port"].as_u64()?, one["targetPort"].as_u64()?));
    list(&service["spec"], "ports").iter().filter_map(pair).collect()
}

/// Listeners of a Gateway with the ports that they have here, `None` for one that has none yet; as they are where Gateways have no
/// Services of their own.
pub(super) fn listeners(
    store: &Store,
    rules: &Rules,
    home: &str,
    key: &Key,
    gateway: &Value,
) -> Vec<Option<Value>> {
    let all = objects::listeners(gateway);
    if rules.fronts.is_none() {
        return all.iter().cloned().map(Some).collect();
    }
    let ports = ports(store, rules, home, key);
    let here = |listener: &Value| {
        let mut listener = listener.clone();
        listener["port"] = (*ports.get(&listener["port"].as_u64()?)?).into();
        Some(listener)
    };
    all.iter().map(here).collect()
}

/// A parent of a route with the port that it has here.
pub(super) fn parent(store: &Store, rules: &Rules, home: &str, gateway: &Key, parent: &Value) -> Value {
    let mut parent = parent.clone();
    if rules.fronts.is_some()
        && let Some(port) = parent.get("port").and_then(Value::as_u64)
    {
        // Without one there is no such listener yet, and 0 is no port.
        let here = ports(store, rules, home, gateway).get(&port).copied().unwrap_or_default();
        parent["port"] = here.into();
    }
    parent
}

/// Everything that is otherwise than it should be. `may_delete` where all Gateways are known.
pub(super) fn writes(store: &Store, rules: &Rules, home: &str, may_delete: bool) -> Vec<Write> {
    let Some(fronts) = &rules.fronts else { return Vec::new() };
    let classes = ours::classes(store, rules);
    let ours = ours::api_gateways(store, rules, &classes);
    let is_ours = |service: &Value| annotation(service, CONTROLLER) == Some(&rules.controller);
    let known =
        store.all(Kind::Service).filter(|((namespace, _), service)| namespace == home && is_ours(service));
    let known: BTreeMap<&str, &Value> =
        known.map(|((_, name), service)| (name.as_str(), service.as_ref())).collect();
    let target = |port: &Value| port["targetPort"].as_u64();
    let mut taken: BTreeSet<u64> = known
        .values()
        .flat_map(|service| list(&service["spec"], "ports").iter().filter_map(target))
        .collect();
    let mut writes = Vec::new();
    let (mut kept, mut held) = (BTreeSet::new(), BTreeSet::new());
    for key in &ours {
        let Some(gateway) = store.get(Kind::ApiGateway, &key.0, &key.1) else { continue };
        let name = name(&rules.controller, key);
        let before = known.get(name.as_str()).copied();
        let ports = wanted_ports(gateway, before, fronts, (&mut taken, &mut held));
        if ports.is_empty() {
            continue;
        }
        kept.insert(name.clone());
        let wanted = service(key, gateway, &name, home, fronts, &rules.controller, ports);
        match before {
            None => writes.push(Write::Create(wanted)),
            Some(before) => {
                if let Some(patch) = difference(before, &wanted) {
                    writes.push(Write::Change { name, patch });
                }
            }
        }
    }
    let gone = known.keys().filter(|name| may_delete && !kept.contains(**name));
    writes.extend(gone.map(|name| Write::Delete { name: (*name).to_owned() }));
    writes
}

/// A port for each port of the Gateway's listeners: the one that its Service has, and for a new one the lowest free port.
/// `held`: ports of Gateways before this one. Two replicas that wrote at once may have given one port twice, which would mix
/// the routes of both Gateways.
fn wanted_ports(
    gateway: &Value,
    before: Option<&Value>,
    fronts: &Fronts,
    (taken, held): (&mut BTreeSet<u64>, &mut BTreeSet<u64>),
) -> Vec<Value> {
    let is_served = |listener: &&Value| matches!(text(listener, "protocol"), "HTTP" | "HTTPS");
    let all = objects::listeners(gateway).iter().filter(is_served);
    let named: BTreeSet<u64> = all.filter_map(|listener| listener["port"].as_u64()).collect();
    let known = before.map(|before| list(&before["spec"], "ports")).unwrap_or_default();
    let range = u64::from(fronts.ports.0)..=u64::from(fronts.ports.1);
    let mut ports = Vec::new();
    for port in named {
        let own = known.iter().find(|one| one["port"].as_u64() == Some(port));
        let own = own.filter(|own| own["targetPort"].as_u64().is_some());
        if let Some(own) = own.filter(|own| own["targetPort"].as_u64().is_some_and(|here| held.insert(here)))
        {
            // The entry stays with the fields that the API server has added: another nodePort would be another address.
            ports.push(own.clone());
            continue;
        }
        let Some(free) = range.clone().find(|port| !taken.contains(port)) else { continue };
        taken.insert(free);
        held.insert(free);
        let new = json!({"name": format!("p{port}"), "port": port, "protocol": "TCP", "targetPort": free});
        let mut port = own.cloned().unwrap_or(new);
        port["targetPort"] = free.into();
        ports.push(port);
    }
    ports
}

fn service(
    key: &Key,
    gateway: &Value,
    name: &str,
    home: &str,
    fronts: &Fronts,
    controller: &str,
    ports: Vec<Value>,
) -> Value {
    let infrastructure = |of: &str| {
        let given = gateway.pointer(&format!("/spec/infrastructure/{of}")).and_then(Value::as_object);
        given.cloned().unwrap_or_default()
    };
    let (mut labels, mut annotations) = (infrastructure("labels"), infrastructure("annotations"));
    let copied: Vec<&str> = labels.keys().chain(annotations.keys()).map(String::as_str).collect();
    let copied = copied.join(",");
    labels.insert("app.kubernetes.io/managed-by".to_owned(), "umbra".into());
    // The value of a label is no longer.
    for (label, value) in [
        ("gateway.networking.k8s.io/gateway-name", key.1.as_str()),
        ("gateway.networking.k8s.io/gateway-class-name", text(&gateway["spec"], "gatewayClassName")),
    ] {
        if value.len() <= 63 {
            labels.insert(label.to_owned(), value.into());
        }
    }
    annotations.insert(GATEWAY.to_owned(), format!("{}/{}", key.0, key.1).into());
    annotations.insert(CONTROLLER.to_owned(), controller.into());
    annotations.insert(COPIED.to_owned(), copied.into());
    let address = objects::addresses(gateway).find(|(kind, value)| *kind == "IPAddress" && !value.is_empty());
    let address = address.filter(|_| fronts.kind == "LoadBalancer").map(|(_, address)| address);
    if let Some(address) = address {
        annotations.insert(ADDRESS.to_owned(), address.into());
    }
    let selector: Map<String, Value> =
        fronts.selector.iter().map(|(label, value)| (label.clone(), value.clone().into())).collect();
    let mut metadata = json!({"name": name, "namespace": home, "labels": labels, "annotations": annotations});
    // An owner must be in the same namespace; a Service elsewhere is deleted once its Gateway is seen to be gone.
    if let (true, Some(uid)) = (key.0 == home, gateway.pointer("/metadata/uid")) {
        metadata["ownerReferences"] = json!([{
            "apiVersion": gateway["apiVersion"], "kind": "Gateway", "name": key.1, "uid": uid,
            "controller": true, "blockOwnerDeletion": false,
        }]);
    }
    let mut spec = json!({"type": fronts.kind, "selector": selector, "ports": ports});
    if let Some(address) = address {
        spec[WISH] = address.into();
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
}

/// The field that asks a load balancer for an address; some load balancers read an annotation instead.
const WISH: &str = "loadBalancerIP";

/// The patch that turns a Service into the wanted one; fields that others have added stay.
fn difference(before: &Value, wanted: &Value) -> Option<Value> {
    let mut patch = json!({"metadata": {}, "spec": {}});
    let copied = annotation(before, COPIED).unwrap_or_default();
    for of in ["labels", "annotations"] {
        let (was, is) = (&before["metadata"][of], &wanted["metadata"][of]);
        let mut changed = Map::new();
        for (name, value) in is.as_object().into_iter().flatten() {
            if was.get(name) != Some(value) {
                changed.insert(name.clone(), value.clone());
            }
        }
        for name in copied.split(',').filter(|name| was.get(*name).is_some() && is.get(*name).is_none()) {
            changed.insert(name.to_owned(), Value::Null);
        }
        if of == "annotations" && was.get(ADDRESS).is_some() && is.get(ADDRESS).is_none() {
            changed.insert(ADDRESS.to_owned(), Value::Null);
            patch["spec"][WISH] = Value::Null;
        }
        if !changed.is_empty() {
            patch["metadata"][of] = changed.into();
        }
    }
    let (was, is) = (before["spec"].get(WISH), wanted["spec"].get(WISH));
    if let Some(is) = is.filter(|is| was != Some(*is)) {
        patch["spec"][WISH] = is.clone();
    }
    for of in ["type", "ports"] {
        if before["spec"][of] != wanted["spec"][of] {
            patch["spec"][of] = wanted["spec"][of].clone();
        }
    }
    let (was, is) = (&before["spec"]["selector"], &wanted["spec"]["selector"]);
    if was != is {
        let mut selector = is.clone();
        for (name, _) in
            was.as_object().into_iter().flatten().filter(|(name, _)| is.get(name.as_str()).is_none())
        {
            selector[name.as_str()] = Value::Null;
        }
        patch["spec"]["selector"] = selector;
    }
    let is_empty = |of: &str| patch[of].as_object().is_some_and(Map::is_empty);
    if is_empty("metadata") && is_empty("spec") {
        return None;
    }
    patch["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    Some(patch)
}

fn annotation<'v>(object: &'v Value, name: &str) -> Option<&'v str> {
    object.pointer("/metadata/annotations")?.get(name)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: &str = "umbra-system";

    fn rules() -> Rules {
        let selector = vec![("app".to_owned(), "umbra".to_owned())];
        let fronts = Fronts { selector, kind: "LoadBalancer".to_owned(), ports: (20_000, 20_002) };
        Rules {
            class: None,
            controller: "c".to_owned(),
            labels: Vec::new(),
            mesh: false,
            fronts: Some(fronts),
        }
    }

    fn gateway(store: &mut Store, namespace: &str, ports: &[u64], infrastructure: Value) -> Key {
        let listeners: Vec<Value> = ports
            .iter()
            .map(|port| json!({"name": format!("l{port}"), "port": port, "protocol": "HTTP"}))
            .collect();
        store.set(
            Kind::GatewayClass,
            None,
            json!({"metadata": {"name": "u"}, "spec": {"controllerName": "c"}}),
        );
        store.set(
            Kind::ApiGateway,
            None,
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "metadata": {"name": "gw", "namespace": namespace, "uid": "1"},
                "spec": {"gatewayClassName": "u", "listeners": listeners, "infrastructure": infrastructure}}),
        );
        (namespace.to_owned(), "gw".to_owned())
    }

    /// Applies the writes that are due; returns their number.
    fn done(store: &mut Store) -> usize {
        let writes = writes(store, &rules(), HOME, true);
        for write in &writes {
            match write {
                Write::Create(service) => {
                    store.set(Kind::Service, None, service.clone());
                }
                Write::Change { name, patch } => {
                    let mut service = store.get(Kind::Service, HOME, name).unwrap().as_ref().clone();
                    merge(&mut service, patch);
                    store.set(Kind::Service, None, service);
                }
                Write::Delete { name } => {
                    store.remove(Kind::Service, &json!({"metadata": {"namespace": HOME, "name": name}}));
                }
            }
        }
        writes.len()
    }

    fn merge(object: &mut Value, patch: &Value) {
        for (name, value) in patch.as_object().unwrap() {
            match (object.get_mut(name), value) {
                (_, Value::Null) => drop(object.as_object_mut().unwrap().remove(name)),
                (Some(known @ Value::Object(_)), Value::Object(_)) => merge(known, value),
                _ => object[name] = value.clone(),
            }
        }
    }

    #[test]
    fn each_gateway_has_a_service_and_ports_that_no_other_has() {
        let mut store = Store::default();
        let one = gateway(&mut store, "a", &[80, 81], json!({}));
        let other = gateway(&mut store, HOME, &[80], json!({}));
        assert_eq!(done(&mut store), 2);
        assert_eq!(done(&mut store), 0, "it is as it should be");
        let of = |store: &Store, key: &Key| ports(store, &rules(), HOME, key);
        assert_eq!(of(&store, &one), [(80, 20_000), (81, 20_001)].into());
        assert_eq!(of(&store, &other), [(80, 20_002)].into());
        let owned = |store: &Store, key: &Key| {
            super::of(store, &rules(), HOME, key).unwrap()["metadata"].get("ownerReferences").is_some()
        };
        assert_eq!((owned(&store, &one), owned(&store, &other)), (false, true));
        // A Gateway keeps its ports; ports that another gives back are free; beyond the range there is none.
        gateway(&mut store, "a", &[81], json!({}));
        gateway(&mut store, HOME, &[80, 90, 91], json!({}));
        assert_eq!((done(&mut store), done(&mut store), done(&mut store)), (1, 1, 0));
        assert_eq!(of(&store, &one), [(81, 20_001)].into());
        assert_eq!(of(&store, &other), [(80, 20_002), (90, 20_000)].into());
        // A Gateway that goes takes its Service along, as soon as all of them are known.
        store.remove(Kind::ApiGateway, &json!({"metadata": {"namespace": "a", "name": "gw"}}));
        assert_eq!(writes(&store, &rules(), HOME, false).len(), 0);
        assert_eq!(
            (done(&mut store), done(&mut store), done(&mut store)),
            (1, 1, 0),
            "and another has its port"
        );
        assert_eq!(of(&store, &one), BTreeMap::new());
    }

    #[test]
    fn a_port_that_two_gateways_were_given_is_one_gateways_alone() {
        let mut store = Store::default();
        let one = gateway(&mut store, "a", &[80], json!({}));
        let other = gateway(&mut store, "b", &[80], json!({}));
        done(&mut store);
        // Another replica, which did not know of the first Gateway yet, had given the second the same port.
        let mut service = store.get(Kind::Service, HOME, &name("c", &other)).unwrap().as_ref().clone();
        service["spec"]["ports"][0]["targetPort"] = 20_000.into();
        service["spec"]["ports"][0]["nodePort"] = 31_000.into();
        store.set(Kind::Service, None, service);
        assert_eq!((done(&mut store), done(&mut store)), (1, 0));
        let of = |key: &Key| ports(&store, &rules(), HOME, key);
        assert_eq!((of(&one), of(&other)), ([(80, 20_000)].into(), [(80, 20_001)].into()));
        let service = store.get(Kind::Service, HOME, &name("c", &other)).unwrap();
        assert_eq!(service["spec"]["ports"][0]["nodePort"], 31_000);
    }

    #[test]
    fn what_infrastructure_says_is_copied_and_what_others_have_added_stays() {
        let mut store = Store::default();
        let key = gateway(
            &mut store,
            "a",
            &[80],
            json!({"labels": {"team": "x"}, "annotations": {"lb/kind": "small"}}),
        );
        done(&mut store);
        let name = name("c", &key);
        let mut service = store.get(Kind::Service, HOME, &name).unwrap().as_ref().clone();
        assert_eq!(service["metadata"]["labels"]["team"], "x");
        assert_eq!(service["metadata"]["labels"]["gateway.networking.k8s.io/gateway-name"], "gw");
        assert_eq!(service["metadata"]["annotations"]["lb/kind"], "small");
        service["metadata"]["annotations"]["theirs"] = "kept".into();
        service["spec"]["ports"][0]["nodePort"] = 31_000.into();
        service["spec"]["clusterIP"] = "10.0.0.1".into();
        store.set(Kind::Service, None, service);
        assert_eq!(done(&mut store), 0);
        gateway(&mut store, "a", &[80, 81], json!({"labels": {"team": "y"}}));
        assert_eq!((done(&mut store), done(&mut store)), (1, 0));
        let service = store.get(Kind::Service, HOME, &name).unwrap();
        assert_eq!(service["metadata"]["labels"]["team"], "y");
        assert_eq!(service["metadata"]["annotations"].get("lb/kind"), None);
        assert_eq!(service["metadata"]["annotations"]["theirs"], "kept");
        assert_eq!(service["spec"]["ports"][0]["nodePort"], 31_000);
        // The address that it asks for is asked of the load balancer, and no more when it asks for none.
        let asks = |store: &mut Store, address: Option<&str>| {
            let mut gateway = store.get(Kind::ApiGateway, &key.0, &key.1).unwrap().as_ref().clone();
            let any = json!({"type": "Hostname", "value": "lb.example"});
            let own = address.map(|address| json!({"type": "IPAddress", "value": address}));
            gateway["spec"]["addresses"] = [Some(any), own].into_iter().flatten().collect();
            store.set(Kind::ApiGateway, None, gateway);
            let writes = (done(store), done(store));
            let service = store.get(Kind::Service, HOME, &name).unwrap();
            let asked = service["spec"].get("loadBalancerIP").and_then(Value::as_str).map(str::to_owned);
            (writes, asked)
        };
        assert_eq!(asks(&mut store, Some("192.0.2.1")), ((1, 0), Some("192.0.2.1".to_owned())));
        assert_eq!(asks(&mut store, Some("192.0.2.2")), ((1, 0), Some("192.0.2.2".to_owned())));
        assert_eq!(asks(&mut store, None), ((1, 0), None));
        let service = store.get(Kind::Service, HOME, &name).unwrap();
        // A foreign Service of that name is let alone, and has no port of ours.
        let mut foreign = service.as_ref().clone();
        foreign["metadata"]["annotations"][CONTROLLER] = "other".into();
        store.set(Kind::Service, None, foreign);
        assert_eq!(ports(&store, &rules(), HOME, &key), BTreeMap::new());
    }
}
