//! Owners of hosts: each host that VirtualServices name, in the order in which they are asked, and how requests name it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::Resource;
use super::istio::VirtualService;
use super::services::Services;
use crate::destination::in_cluster;
use crate::problem::{Place, Report};
use crate::reader::{At, Key};

/// A host, and the VirtualServices that name it.
pub(super) struct VirtualHost {
    /// In full, where it is a service's.
    pub(super) name: String,
    at: Place,
    /// Their indices, in their order.
    pub(super) owners: Vec<usize>,
}

/// Every host that is named, the most specific first: exact before wildcard, longer before shorter.
pub(super) fn all(
    all: &[Resource<VirtualService>],
    services: &Services,
    report: &mut Report,
) -> Vec<VirtualHost> {
    let mut hosts: Vec<VirtualHost> = Vec::new();
    let mut by_name: BTreeMap<String, usize> = BTreeMap::new();
    for (index, service) in all.iter().enumerate() {
        let gateways = service.spec.gateways.given().map(|list| list.value.as_slice()).unwrap_or_default();
        for gateway in gateways.iter().filter_map(Key::given).filter(|gateway| gateway.value != "mesh") {
            report.warn(&gateway.at, "is ignored: every VirtualService is served, on every listener");
        }
        let list = service.spec.hosts.given().map(|list| list.value.as_slice()).unwrap_or_default();
        if list.is_empty() {
            report.error(&service.at.child("hosts"), "is missing: nobody could ask for this service");
        }
        for host in list.iter().filter_map(Key::given) {
            let name = services.in_full(&host.value, &service.namespace);
            let known = by_name.get(&name).and_then(|at| hosts.get_mut(*at));
            let Some(known) = known else {
                by_name.insert(name.clone(), hosts.len());
                hosts.push(VirtualHost { name, at: host.at.clone(), owners: vec![index] });
                continue;
            };
            if known.owners.contains(&index) {
                continue;
            }
            let first = known.owners.first().and_then(|first| all.get(*first));
            let other = first.map(|other| other.shown.as_str()).unwrap_or_default();
            report.warn(&host.at, format!("is a host of {other} too, whose routes are looked at first"));
            known.owners.push(index);
        }
    }
    hosts.sort_by_key(|host| Reverse((!host.name.starts_with('*'), host.name.len())));
    hosts
}

/// Requests for `host` would be taken by `wider`, another one, too.
pub(super) fn covers(wider: &str, host: &str) -> bool {
    wider != host && wider.strip_prefix('*').is_some_and(|end| host.ends_with(end))
}

/// Names within a namespace, and the service in full that has each.
pub(super) type Spelled = BTreeMap<String, String>;

/// Every name of a service of the cluster, within its own namespace.
pub(super) fn names_of(
    service: &str,
    at: &Place,
    spelled: &mut Spelled,
    report: &mut Report,
) -> Vec<At<String>> {
    let Some((name, namespace)) = in_cluster(service) else {
        return vec![At { value: service.to_owned(), at: at.clone() }];
    };
    let mut names = long_names(name, namespace, at);
    // Alone it is a name within the namespace, and there is one of that name for each of them.
    if spelled.entry(name.to_owned()).or_insert_with(|| service.to_owned()) == service {
        names.insert(0, At { value: name.to_owned(), at: at.clone() });
    } else {
        let message =
            format!("{name:?} alone is a service of another namespace: this one is {name}.{namespace}");
        report.warn(at, message);
    }
    names
}

fn long_names(name: &str, namespace: &str, at: &Place) -> Vec<At<String>> {
    let end = |end: &str| At { value: format!("{name}.{namespace}{end}"), at: at.clone() };
    ["", ".svc", ".svc.cluster.local"].map(end).into()
}

/// A host as requests may name it.
pub(super) fn spellings(
    host: &VirtualHost,
    owner: &Resource<VirtualService>,
    alone: bool,
    spelled: &mut Spelled,
    report: &mut Report,
) -> Vec<At<String>> {
    let at = |value: String| At { value, at: host.at.clone() };
    let Some((name, namespace)) = in_cluster(&host.name) else { return vec![at(host.name.clone())] };
    if host.name.starts_with('*') {
        return vec![at(host.name.clone())];
    }
    let mut names = if namespace == owner.namespace {
        names_of(&host.name, &host.at, spelled, report)
    } else {
        long_names(name, namespace, &host.at)
    };
    let in_mesh = owner.spec.gateways.given().is_none_or(|gateways| {
        gateways.value.iter().filter_map(Key::given).all(|gateway| gateway.value == "mesh")
    });
    if alone && in_mesh {
        let message = "names a service inside a mesh and is the only one: requests that name an IP address or localhost \
                       instead of a host are served by it too";
        report.warn(&host.at, message);
        names.push(at("[address]".to_owned()));
    }
    names
}
