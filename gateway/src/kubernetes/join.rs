//! Services, EndpointSlices and the labels of Pods → the addresses of a destination. Pure.
//!
//! Ready endpoints are used. Where none is ready, endpoints that terminate and still serve are used: better than none. An
//! endpoint whose Pod is not known belongs to no subset with labels.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use config::Destination;
use serde_json::Value;

use super::kinds::Kind;
use super::store::Store;
use crate::address::Address;
use crate::discovery::Directory;

/// Labels by which controllers tell the Pods of one template from those of the next, in the order of preference.
const VERSIONS: [&str; 3] = ["rollouts-pod-template-hash", "pod-template-hash", "controller-revision-hash"];

/// The addresses of each destination, and its version where all its Pods have the same one: while one version replaces another,
/// a destination has none.
pub(super) fn directory<'d>(
    store: &Store,
    wanted: impl Iterator<Item = &'d Destination>,
) -> (Directory, HashMap<Destination, String>) {
    let slices = by_service(store);
    let (mut directory, mut versions) = (Directory::new(), HashMap::new());
    for destination in wanted {
        let (addresses, pods) = addresses(store, &slices, destination);
        let mut all = pods.iter().map(|pod| version(store, destination, pod));
        if let Some(Some(one)) = all.next()
            && all.all(|other| other == Some(one))
        {
            versions.insert(destination.clone(), one.to_owned());
        }
        directory.insert(destination.clone(), addresses.into_iter().map(Address::from).collect());
    }
    (directory, versions)
}

/// Names of Pods.
type Pods<'s> = BTreeSet<&'s str>;

fn version<'s>(store: &'s Store, destination: &Destination, pod: &str) -> Option<&'s str> {
    let (_, namespace) = destination.in_cluster()?;
    let labels = store.get(Kind::Pod, namespace, pod)?.pointer("/metadata/labels")?;
    VERSIONS.iter().find_map(|name| labels.get(name)?.as_str())
}

/// Slices by namespace and name of their Service.
type Slices<'s> = HashMap<(&'s str, &'s str), Vec<&'s Value>>;

fn by_service(store: &Store) -> Slices<'_> {
    let mut slices = Slices::new();
    for ((namespace, _), slice) in store.all(Kind::EndpointSlice) {
        let service = slice.pointer("/metadata/labels/kubernetes.io~1service-name").and_then(Value::as_str);
        if let Some(service) = service {
            slices.entry((namespace.as_str(), service)).or_default().push(slice);
        }
    }
    slices
}

/// Where it is, and which Pods are there.
fn addresses<'s>(
    store: &'s Store,
    slices: &Slices<'s>,
    destination: &Destination,
) -> (Vec<SocketAddr>, Pods<'s>) {
    let nowhere = (Vec::new(), Pods::new());
    let Some((name, namespace)) = destination.in_cluster() else { return nowhere };
    let Some(service) = store.get(Kind::Service, namespace, name) else { return nowhere };
    // An ExternalName is a mere name, of any host (CVE-2021-25740).
    if text(service, "/spec/type") == "ExternalName" {
        return nowhere;
    }
    let Some(port) = port(service, destination.port) else { return nowhere };
    let (mut ready, mut ending) = (BTreeMap::new(), BTreeMap::new());
    for slice in slices.get(&(namespace, name)).into_iter().flatten() {
        let Some(number) = number(slice, &port) else { continue };
        for endpoint in items(slice, "/endpoints") {
            if !belongs(store, namespace, endpoint, &destination.labels) {
                continue;
            }
            // Of several all are the same endpoint (KEP-752).
            let address = items(endpoint, "/addresses").first().and_then(Value::as_str);
            let Some(address) = address.and_then(|text| text.parse::<IpAddr>().ok()) else { continue };
            let address = SocketAddr::new(address, number);
            let pod = Some(text(endpoint, "/targetRef/name")).filter(|_| is_of_pod(endpoint));
            let is = |name: &str| endpoint.pointer(&format!("/conditions/{name}")).and_then(Value::as_bool);
            if is("ready").unwrap_or(true) {
                ready.insert(address, pod);
            } else if is("terminating") == Some(true) && is("serving") != Some(false) {
                ending.insert(address, pod);
            }
        }
    }
    let used = if ready.is_empty() { ending } else { ready };
    let pods = used.values().copied().flatten().collect();
    (of_one_family(service, used.into_keys().collect()), pods)
}

fn is_of_pod(endpoint: &Value) -> bool {
    text(endpoint, "/targetRef/kind") == "Pod"
}

/// A port of a Service, as its slices know it.
struct Port<'s> {
    name: &'s str,
    number: u16,
}

/// The one of that number. Where none is named it is the only one, or the one that HTTP has, or the first.
fn port(service: &Value, wanted: Option<u64>) -> Option<Port<'_>> {
    let tcp = |port: &&Value| matches!(text(port, "/protocol"), "" | "TCP");
    let number = |port: &Value| port.get("port").and_then(Value::as_u64);
    let all: Vec<&Value> = items(service, "/spec/ports").iter().filter(tcp).collect();
    let chosen = match wanted {
        Some(wanted) => all.iter().find(|port| number(port) == Some(wanted)),
        None => all.iter().find(|port| number(port) == Some(80)).or_else(|| all.first()),
    }?;
    Some(Port { name: text(chosen, "/name"), number: number(chosen)?.try_into().ok()? })
}

/// The port number at which the endpoints of a slice listen for this port of the Service. An entry without a number stands for
/// all.
fn number(slice: &Value, port: &Port<'_>) -> Option<u16> {
    let fits = |one: &&Value| text(one, "/name") == port.name && matches!(text(one, "/protocol"), "" | "TCP");
    let one = items(slice, "/ports").iter().find(fits)?;
    match one.get("port").and_then(Value::as_u64) {
        Some(number) => number.try_into().ok(),
        None => Some(port.number),
    }
}

/// Whether its Pod has these labels.
fn belongs(store: &Store, namespace: &str, endpoint: &Value, labels: &[(String, String)]) -> bool {
    if labels.is_empty() {
        return true;
    }
    if !is_of_pod(endpoint) {
        return false;
    }
    let Some(pod) = store.get(Kind::Pod, namespace, text(endpoint, "/targetRef/name")) else { return false };
    let (uid, own) = (text(endpoint, "/targetRef/uid"), text(pod, "/metadata/uid"));
    // A StatefulSet's next Pod has the name of the one before.
    let is_it = uid.is_empty() || own.is_empty() || uid == own;
    let given = pod.pointer("/metadata/labels").and_then(Value::as_object);
    is_it
        && labels.iter().all(|(name, value)| {
            given.and_then(|given| given.get(name)).and_then(Value::as_str) == Some(value.as_str())
        })
}

/// With two stacks each endpoint is there twice; the family that the Service has first is used.
fn of_one_family(service: &Value, all: BTreeSet<SocketAddr>) -> Vec<SocketAddr> {
    let first = items(service, "/spec/ipFamilies").first().and_then(Value::as_str);
    let prefers_v6 = first.map_or_else(|| all.iter().all(SocketAddr::is_ipv6), |family| family == "IPv6");
    let preferred: Vec<SocketAddr> = all.iter().copied().filter(|a| a.is_ipv6() == prefers_v6).collect();
    if preferred.is_empty() { all.into_iter().collect() } else { preferred }
}

fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn items<'v>(value: &'v Value, path: &str) -> &'v [Value] {
    value.pointer(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn store(ports: Value, slices: &[Value], pods: &[Value]) -> Store {
        let mut store = Store::default();
        let spec = json!({"ports": ports, "ipFamilies": ["IPv4"]});
        store.set(Kind::Service, None, json!({"metadata": {"name": "s", "namespace": "n"}, "spec": spec}));
        for (at, slice) in slices.iter().enumerate() {
            let mut slice = slice.clone();
            slice["metadata"] = json!({"name": format!("s-{at}"), "namespace": "n", "labels": {"kubernetes.io/service-name": "s"}});
            store.set(Kind::EndpointSlice, None, slice);
        }
        pods.iter().for_each(|pod| {
            store.set(Kind::Pod, None, pod.clone());
        });
        store
    }

    fn found(store: &Store, port: Option<u64>, labels: &[(&str, &str)]) -> Vec<String> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let service = "s.n.svc.cluster.local".to_owned();
        let destination = Destination { service, subset: None, labels, port };
        let (all, _) = directory(store, std::iter::once(&destination));
        all[&destination].iter().map(ToString::to_string).collect()
    }

    fn endpoint(address: &str, conditions: Value) -> Value {
        json!({"addresses": [address], "conditions": conditions})
    }

    #[test]
    fn ready_endpoints_are_used_and_ending_ones_where_there_is_no_other() {
        let ready = endpoint("10.0.0.1", json!({"ready": true}));
        let silent = endpoint("10.0.0.2", json!({}));
        let unready = endpoint("10.0.0.3", json!({"ready": false, "serving": false, "terminating": false}));
        let ending = endpoint("10.0.0.4", json!({"ready": false, "serving": true, "terminating": true}));
        let ended = endpoint("10.0.0.5", json!({"ready": false, "serving": false, "terminating": true}));
        let rows: [(Vec<&Value>, &[&str]); 4] = [
            (vec![&ready, &silent, &unready, &ending, &ended], &["10.0.0.1:8080", "10.0.0.2:8080"]),
            (vec![&unready, &ending, &ended], &["10.0.0.4:8080"]),
            (vec![&unready, &ended], &[]),
            (vec![], &[]),
        ];
        for (endpoints, wanted) in rows {
            let slice = json!({"ports": [{"port": 8080}], "endpoints": endpoints});
            let store = store(json!([{"port": 80}]), &[slice], &[]);
            assert_eq!(found(&store, Some(80), &[]), wanted);
            assert_eq!(found(&store, Some(81), &[]), [""; 0], "no such port");
        }
    }

    #[test]
    fn ports_are_joined_by_their_names_in_every_slice() {
        let one = endpoint("10.0.0.1", json!({}));
        let other = endpoint("10.0.0.2", json!({}));
        let slices = [
            json!({"ports": [{"name": "web", "port": 8080}, {"name": "admin", "port": 9}], "endpoints": [one]}),
            json!({"ports": [{"name": "web", "port": 8081}, {"name": "web", "protocol": "UDP", "port": 7}], "endpoints": [other]}),
        ];
        let ports = json!([{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "admin", "port": 90}, {"name": "web", "port": 80}]);
        let store = store(ports, &slices, &[]);
        assert_eq!(found(&store, Some(80), &[]), ["10.0.0.1:8080", "10.0.0.2:8081"]);
        assert_eq!(found(&store, Some(90), &[]), ["10.0.0.1:9"]);
        assert_eq!(
            found(&store, None, &[]),
            ["10.0.0.1:8080", "10.0.0.2:8081"],
            "HTTP's own where none is named"
        );
        assert_eq!(found(&store, Some(53), &[]), [""; 0]);
    }

    #[test]
    fn subsets_are_those_whose_pods_have_the_labels() {
        let of = |address: &str, pod: &str, uid: &str| json!({"addresses": [address], "targetRef": {"kind": "Pod", "name": pod, "uid": uid}});
        let slice = json!({"ports": [{"port": 80}], "endpoints": [
            of("10.0.0.1", "a", "1"), of("10.0.0.2", "b", "2"), of("10.0.0.3", "c", "3"), endpoint("10.0.0.4", json!({})),
        ]});
        let pod = |name: &str, uid: &str, version: &str| json!({"metadata": {"name": name, "namespace": "n", "uid": uid, "labels": {"version": version, "app": "s"}}});
        // c is another Pod of that name by now.
        let store = store(
            json!([{"port": 80}]),
            &[slice],
            &[pod("a", "1", "v1"), pod("b", "2", "v2"), pod("c", "9", "v1")],
        );
        assert_eq!(found(&store, None, &[("version", "v1")]), ["10.0.0.1:80"]);
        assert_eq!(found(&store, None, &[("version", "v2"), ("app", "s")]), ["10.0.0.2:80"]);
        assert_eq!(found(&store, None, &[("version", "v3")]), [""; 0]);
        assert_eq!(found(&store, None, &[]).len(), 4);
    }

    #[test]
    fn a_destination_is_of_the_versions_of_the_pods_that_serve_it() {
        let of = |address: &str, pod: &str, ready: bool| {
            let target = json!({"kind": "Pod", "name": pod});
            json!({"addresses": [address], "targetRef": target, "conditions": {"ready": ready}})
        };
        let pod = |name: &str, label: &str, hash: &str| json!({"metadata": {"name": name, "namespace": "n", "labels": {label: hash}}});
        let hash = "pod-template-hash";
        let pods =
            [pod("a", hash, "one"), pod("b", hash, "two"), pod("c", "rollouts-pod-template-hash", "six")];
        let versions = |endpoints: Value| {
            let slice = json!({"ports": [{"port": 80}], "endpoints": endpoints});
            let store = store(json!([{"port": 80}]), &[slice], &pods);
            let service = "s.n.svc.cluster.local".to_owned();
            let destination = Destination { service, subset: None, labels: Vec::new(), port: None };
            directory(&store, std::iter::once(&destination)).1.remove(&destination)
        };
        let (a, b, c) = (of("10.0.0.1", "a", true), of("10.0.0.2", "b", true), of("10.0.0.3", "c", true));
        assert_eq!(versions(json!([a])).as_deref(), Some("one"));
        assert_eq!(versions(json!([b, a])), None, "one replaces the other");
        assert_eq!(versions(json!([c])).as_deref(), Some("six"));
        // A Pod that gets no requests does not count; a Pod that is not known may be of any version.
        assert_eq!(versions(json!([a, of("10.0.0.2", "b", false)])).as_deref(), Some("one"));
        assert_eq!(versions(json!([a, of("10.0.0.9", "x", true)])), None);
        assert_eq!(versions(json!([])), None);
    }

    #[test]
    fn with_two_stacks_each_endpoint_counts_once() {
        let slices = [
            json!({"addressType": "IPv6", "ports": [{"port": 80}], "endpoints": [endpoint("fd00::1", json!({}))]}),
            json!({"addressType": "IPv4", "ports": [{"port": 80}], "endpoints": [endpoint("10.0.0.1", json!({}))]}),
            json!({"addressType": "FQDN", "ports": [{"port": 80}], "endpoints": [endpoint("host.test", json!({}))]}),
        ];
        assert_eq!(found(&store(json!([{"port": 80}]), &slices, &[]), None, &[]), ["10.0.0.1:80"]);
        assert_eq!(found(&store(json!([{"port": 80}]), &slices[..1], &[]), None, &[]), ["[fd00::1]:80"]);
    }

    #[test]
    fn what_is_no_service_of_the_cluster_has_no_address() {
        let slice = json!({"ports": [{"port": 80}], "endpoints": [endpoint("10.0.0.1", json!({}))]});
        let mut store = store(json!([{"port": 80}]), &[slice], &[]);
        let other =
            Destination { service: "example.com".to_owned(), subset: None, labels: Vec::new(), port: None };
        assert_eq!(directory(&store, std::iter::once(&other)).0[&other], []);
        let external = json!({"metadata": {"name": "s", "namespace": "n"}, "spec": {"type": "ExternalName", "externalName": "x.test", "ports": [{"port": 80}]}});
        store.set(Kind::Service, None, external);
        assert_eq!(found(&store, None, &[]), [""; 0]);
    }
}
