//! Which hosts an HTTPRoute is served under: its own, as far as the listeners it is attached to let them in.

use super::Resource;
use super::gateway_api::{Gateway, HttpRoute, Listener, ParentRef};
use crate::problem::Report;
use crate::reader::{At, Key};

/// Each host that the route takes, `None` for all; nothing where no listener lets any of them in.
pub(super) fn hosts(
    route: &Resource<HttpRoute>,
    gateways: &[Resource<Gateway>],
    report: &mut Report,
) -> Vec<Option<At<String>>> {
    let own = route.spec.hostnames.given().map(|list| list.value.as_slice()).unwrap_or_default();
    let own: Vec<Option<At<String>>> = own.iter().filter_map(Key::given).cloned().map(Some).collect();
    let own = if own.is_empty() { vec![None] } else { own };
    let Some(listeners) = listeners(route, gateways, report) else { return own };
    let mut hosts: Vec<Option<At<String>>> = Vec::new();
    for host in &own {
        for listener in &listeners {
            let known = listener.hostname.given().filter(|name| !name.value.is_empty());
            let Some(both) = intersection(host.as_ref(), known) else { continue };
            let value = |host: &Option<At<String>>| host.as_ref().map(|host| host.value.to_ascii_lowercase());
            if !hosts.iter().any(|other| value(other) == value(&both)) {
                hosts.push(both);
            }
        }
    }
    if hosts.is_empty() {
        let message = "is left out: no listener that it is attached to has a hostname that fits its own";
        report.warn(&route.at.child("hostnames"), message);
    }
    hosts
}

/// The listeners it is attached to; `None` where it names no Gateway of these manifests, and whoever it names says
/// nothing here.
fn listeners<'g>(
    route: &Resource<HttpRoute>,
    gateways: &'g [Resource<Gateway>],
    report: &mut Report,
) -> Option<Vec<&'g Listener>> {
    let parents = route.spec.parent_refs.given().map(|list| list.value.as_slice()).unwrap_or_default();
    let mut attached = None;
    for parent in parents.iter().filter_map(Key::given) {
        let Some(gateway) = gateway_of(&parent.value, &route.namespace, gateways) else { continue };
        let known = gateway.spec.listeners.given().map(|list| list.value.as_slice()).unwrap_or_default();
        let known: Vec<&Listener> =
            known.iter().filter_map(Key::given).map(|listener| &listener.value).collect();
        let fits = |listener: &&Listener| {
            let name = parent.value.section_name.given().map(|name| &name.value);
            let port = parent.value.port.given().map(|port| port.value);
            (name.is_none() || name == listener.name.given().map(|name| &name.value))
                && (port.is_none() || port == listener.port.given().map(|port| port.value))
        };
        let fitting: Vec<&Listener> = known.iter().copied().filter(fits).collect();
        let ports = |listeners: &[&Listener]| {
            let mut ports: Vec<u64> =
                listeners.iter().filter_map(|one| Some(one.port.given()?.value)).collect();
            ports.sort_unstable();
            ports.dedup();
            ports
        };
        if !fitting.is_empty() && ports(&fitting) != ports(&known) {
            report.warn(&parent.at, "names some listeners of its Gateway, but it is served on every port");
        }
        attached.get_or_insert_with(Vec::new).extend(fitting);
    }
    attached
}

fn gateway_of<'g>(
    parent: &ParentRef,
    namespace: &str,
    gateways: &'g [Resource<Gateway>],
) -> Option<&'g Resource<Gateway>> {
    if parent.kind.given().is_some_and(|kind| kind.value != "Gateway") {
        return None;
    }
    let name = &parent.name.given()?.value;
    let namespace = parent.namespace.given().map_or(namespace, |namespace| namespace.value.as_str());
    gateways.iter().find(|gateway| gateway.name == *name && gateway.namespace == namespace)
}

/// The host that both mean, `Some(None)` for every one; `None` for no host at all.
fn intersection(route: Option<&At<String>>, listener: Option<&At<String>>) -> Option<Option<At<String>>> {
    let (route, listener) = match (route, listener) {
        (Some(route), Some(listener)) => (route, listener),
        (one, other) => return Some(one.or(other).cloned()),
    };
    // `*.example.com` is every name that ends with `.example.com`, whatever stands before it.
    let holds = |wild: &At<String>, host: &At<String>| {
        let end = wild.value.strip_prefix('*').map(str::to_ascii_lowercase);
        end.is_some_and(|end| host.value.to_ascii_lowercase().ends_with(&end))
    };
    if route.value.eq_ignore_ascii_case(&listener.value) || holds(listener, route) {
        Some(Some(route.clone()))
    } else if holds(route, listener) {
        Some(Some(listener.clone()))
    } else {
        None
    }
}
