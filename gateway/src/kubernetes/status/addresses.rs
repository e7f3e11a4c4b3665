//! Where clients find a Gateway: the addresses of the Service before us, and which of those that the Gateway asks for are among
//! them. Pure.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::kubernetes::kinds::Kind;
use crate::kubernetes::objects::{self, list, text};
use crate::kubernetes::store::{Key, Store};

/// The addresses of a Gateway.
pub(super) struct Addresses {
    /// As its status has them.
    pub(super) known: Vec<Value>,
    /// The fault that keeps clients from it: reason and message.
    pub(super) fault: Option<(&'static str, String)>,
}

/// Of a Gateway before which this Service is, if any is known.
pub(super) fn of(store: &Store, service: Option<&Key>, gateway: &Value) -> Addresses {
    let asked: Vec<(&str, &str)> = objects::addresses(gateway).collect();
    if asked.is_empty() {
        let known = service.map(|service| outside(store, service));
        let is_pending = known.as_ref().is_some_and(Vec::is_empty);
        let fault = is_pending.then(|| ("AddressNotAssigned", PENDING.to_owned()));
        return Addresses { known: known.unwrap_or_default(), fault };
    }
    let Some(service) = service else {
        let fault = ("AddressNotUsable", UNKNOWN.to_owned());
        return Addresses { known: Vec::new(), fault: Some(fault) };
    };
    let there = everywhere(store, service);
    let is = |(kind, value): &(&str, &str), one: &&Value| {
        text(one, "type") == *kind && (value.is_empty() || is_same(value, text(one, "value")))
    };
    let mut known: Vec<Value> = Vec::new();
    for asked in &asked {
        // Of any one is enough; of one that is named its own spelling is said again.
        let Some(mut one) = there.iter().find(|one| is(asked, one)).cloned() else { continue };
        if !asked.1.is_empty() {
            one["value"] = asked.1.into();
        }
        if !known.contains(&one) {
            known.push(one);
        }
    }
    let missing = |asked: &&(&str, &str)| !there.iter().any(|one| is(asked, &one));
    let missing: Vec<&(&str, &str)> = asked.iter().filter(missing).collect();
    let named: Vec<&str> =
        missing.iter().map(|(_, value)| *value).filter(|value| !value.is_empty()).collect();
    let fault = match (missing.is_empty(), named.as_slice()) {
        (true, _) => None,
        (false, []) => Some(("AddressNotAssigned", PENDING.to_owned())),
        (false, some) => {
            let (namespace, name) = service;
            let message = format!("the Service {namespace}/{name} does not have {}", some.join(", "));
            Some(("AddressNotUsable", message))
        }
    };
    Addresses { known, fault }
}

const PENDING: &str = "the Service before the gateway has no address yet";

/// Message for a Gateway that asks for an address, where no option names the Service that clients come by.
const UNKNOWN: &str =
    "which addresses lead here is not known: --publish-service names the Service that has them";

/// Where clients find a Service, from outside the cluster if they do.
fn outside(store: &Store, (namespace, name): &Key) -> Vec<Value> {
    let Some(service) = store.get(Kind::Service, namespace, name) else { return Vec::new() };
    let outside = balanced(service);
    if !outside.is_empty() || service.pointer("/spec/type").and_then(Value::as_str) == Some("LoadBalancer") {
        return outside;
    }
    inside(service).into_iter().take(1).collect()
}

/// Every address of a Service.
fn everywhere(store: &Store, (namespace, name): &Key) -> Vec<Value> {
    let Some(service) = store.get(Kind::Service, namespace, name) else { return Vec::new() };
    let external = list(&service["spec"], "externalIPs").iter().filter_map(Value::as_str).map(address);
    balanced(service).into_iter().chain(external).chain(inside(service)).collect()
}

/// The addresses of its load balancer.
fn balanced(service: &Value) -> Vec<Value> {
    let ingress = service.pointer("/status/loadBalancer/ingress").and_then(Value::as_array);
    let of = |one: &Value| one.get("ip").or_else(|| one.get("hostname"))?.as_str().map(address);
    ingress.into_iter().flatten().filter_map(of).collect()
}

/// The addresses in the cluster.
fn inside(service: &Value) -> Vec<Value> {
    let spec = &service["spec"];
    let first = spec.get("clusterIP").and_then(Value::as_str);
    let all = list(spec, "clusterIPs").iter().filter_map(Value::as_str).filter(|ip| Some(*ip) != first);
    first.into_iter().chain(all).filter(|ip| !matches!(*ip, "" | "None")).map(address).collect()
}

fn address(value: &str) -> Value {
    let kind = if value.parse::<IpAddr>().is_ok() { "IPAddress" } else { "Hostname" };
    json!({"type": kind, "value": value})
}

fn is_same(a: &str, b: &str) -> bool {
    match (a.parse::<IpAddr>(), b.parse::<IpAddr>()) {
        (Ok(a), Ok(b)) => a == b,
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        (Err(_), Err(_)) => a.eq_ignore_ascii_case(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses as `1.2.3.4`, and the reason of the fault.
    fn said(service: Option<Value>, asked: Value) -> (Vec<String>, &'static str) {
        let key: Key = ("home".to_owned(), "front".to_owned());
        let mut store = Store::default();
        if let Some(mut service) = service.clone() {
            service["metadata"] = json!({"namespace": "home", "name": "front"});
            store.set(Kind::Service, None, service);
        }
        let gateway = json!({"spec": {"addresses": asked}});
        let Addresses { known, fault } = of(&store, service.is_some().then_some(&key), &gateway);
        let shown = known.iter().map(|one| text(one, "value").to_owned()).collect();
        for one in &known {
            let is_ip = text(one, "value").parse::<IpAddr>().is_ok();
            assert_eq!(text(one, "type"), if is_ip { "IPAddress" } else { "Hostname" });
        }
        (shown, fault.map(|(reason, _)| reason).unwrap_or_default())
    }

    #[test]
    fn of_what_a_gateway_asks_for_it_has_what_its_service_has() {
        let balanced = json!({"spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1", "externalIPs": ["198.51.100.7"]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}, {"hostname": "lb.example"}]}}});
        let pending = json!({"spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1"}});
        let inside = json!({"spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"]}});
        let ip = |value: &str| json!({"type": "IPAddress", "value": value});
        let host = |value: &str| json!({"type": "Hostname", "value": value});
        let (yet, never) = ("AddressNotAssigned", "AddressNotUsable");
        let rows: [(&Value, Value, &[&str], &str); 16] = [
            (&balanced, json!([]), &["192.0.2.1", "2001:db8::1", "lb.example"], ""),
            (&pending, json!([]), &[], yet),
            (&inside, json!([]), &["10.0.0.1"], ""),
            (&balanced, json!([ip("192.0.2.1")]), &["192.0.2.1"], ""),
            // Without a type it is an IP address.
            (&balanced, json!([{"value": "192.0.2.1"}]), &["192.0.2.1"], ""),
            (&balanced, json!([ip("198.51.100.7"), ip("10.0.0.1")]), &["198.51.100.7", "10.0.0.1"], ""),
            (&balanced, json!([ip("192.0.2.9")]), &[], never),
            (&balanced, json!([ip("192.0.2.9"), ip("192.0.2.1")]), &["192.0.2.1"], never),
            (&balanced, json!([ip("2001:DB8:0::1")]), &["2001:DB8:0::1"], ""),
            (&balanced, json!([host("LB.example")]), &["LB.example"], ""),
            (&balanced, json!([host("192.0.2.1")]), &[], never),
            (&pending, json!([ip("192.0.2.1")]), &[], never),
            (&inside, json!([ip("fd00::1")]), &["fd00::1"], ""),
            // Any of a type: one.
            (
                &balanced,
                json!([{"type": "IPAddress"}, {"type": "Hostname"}]),
                &["192.0.2.1", "lb.example"],
                "",
            ),
            (&pending, json!([{"type": "Hostname"}]), &[], yet),
            (&balanced, json!([{"type": "IPAddress"}, ip("192.0.2.1")]), &["192.0.2.1"], ""),
        ];
        for (service, asked, known, fault) in rows {
            let (addresses, reason) = said(Some(service.clone()), asked.clone());
            assert_eq!(
                (addresses, reason),
                (known.iter().map(|one| (*one).to_owned()).collect(), fault),
                "{asked}"
            );
        }
        // Without a Service the addresses are not known; a Gateway that asks for none is served all the same.
        assert_eq!(said(None, json!([])), (Vec::new(), ""));
        assert_eq!(said(None, json!([ip("192.0.2.1")])), (Vec::new(), never));
    }
}
