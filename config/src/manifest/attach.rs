//! By which requests an HTTPRoute may be asked for: under its own hosts, as far as the listeners that it is attached to let
//! them in; under a Service's names, where it is for requests to that (GAMMA).

use std::collections::{BTreeMap, BTreeSet};

use super::Resource;
use super::gateway_api::{Gateway, HttpRoute, Listener, ParentRef};
use super::grants::{self, Namespaces};
use super::listeners::Ports;
use super::services::Services;
use super::virtual_hosts::{Spelled, without_root};
use crate::problem::Report;
use crate::reader::{At, Key};

/// What a route may be attached to.
pub(super) struct Around<'a> {
    pub(super) gateways: &'a [Resource<Gateway>],
    /// Namespaces and names of those that were refused alone.
    pub(super) lost_gateways: &'a BTreeSet<(String, String)>,
    pub(super) namespaces: &'a Namespaces,
    /// What the ports of Gateways are here.
    pub(super) ports: &'a Ports,
    /// There is one route, of all kinds.
    pub(super) alone: bool,
}

/// Requests by which a route may be asked for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Any of them; empty is every host.
    pub(super) hosts: Vec<At<String>>,
    /// Port of the listener.
    pub(super) port: Option<At<u64>>,
}

/// What is known of all routes together.
pub(super) struct Attach<'a> {
    around: &'a Around<'a>,
    /// Which ports of each service routes are for.
    service_ports: BTreeMap<String, BTreeSet<Option<u64>>>,
    /// Short names that are taken.
    spelled: Spelled,
}

/// What a reference to a parent means.
enum Parent<'a> {
    Gateway(&'a Resource<Gateway>),
    /// A Gateway that is not here, in files: whoever has it lets in what the route says.
    Unknown,
    /// In full.
    Service(String),
    /// Nothing is served by it; why.
    None(String),
}

/// A listener that lets a route in, and the port that requests must come to where that matters.
type Attached<'g> = (&'g Listener, Option<At<u64>>);

impl<'a> Attach<'a> {
    pub(super) fn new(
        routes: &[Resource<HttpRoute>],
        around: &'a Around<'a>,
        services: &Services,
        report: &Report,
    ) -> Self {
        let mut attach = Self { around, service_ports: BTreeMap::new(), spelled: Spelled::new() };
        for route in routes {
            for parent in parents(route) {
                if let Parent::Service(service) = attach.parent(route, &parent.value, services, report) {
                    let port = port_of(&parent.value, &service, services).map(|port| port.value);
                    attach.service_ports.entry(service).or_default().insert(port);
                }
            }
        }
        attach
    }

    /// Each kind of request that the route takes; nothing where it is served nowhere.
    pub(super) fn asked(
        &mut self,
        route: &Resource<HttpRoute>,
        services: &Services,
        report: &mut Report,
    ) -> Vec<Asked> {
        let all: Vec<&At<ParentRef>> = parents(route).collect();
        let own = own_hosts(route, report);
        let everywhere =
            || own.iter().map(|host| Asked { hosts: host.iter().cloned().collect(), port: None });
        if all.is_empty() {
            return everywhere().collect();
        }
        let mut asked: Vec<Asked> = Vec::new();
        let (mut unknown, mut others) = (false, false);
        let mut why = None;
        for parent in &all {
            match self.parent(route, &parent.value, services, report) {
                Parent::Gateway(gateway) => {
                    others = true;
                    match self.listeners(route, parent, gateway, report) {
                        Ok(listeners) => meet(&own, &listeners, &mut asked),
                        Err(reason) => why = why.or(Some(reason)),
                    }
                }
                Parent::Unknown => unknown = true,
                Parent::Service(service) => {
                    others = true;
                    if let Some(hostnames) = route.spec.hostnames.given() {
                        let message =
                            "is ignored: requests to a Service name the Service (Gateway API, GAMMA)";
                        report.warn(&hostnames.at, message);
                    }
                    asked.push(self.names(&service, parent, all.len() == 1, services, report));
                }
                Parent::None(reason) => {
                    others = true;
                    if all.len() > 1 {
                        report.warn(&parent.at, format!("has no effect: {reason}"));
                    }
                    why = why.or(Some(reason));
                }
            }
        }
        if unknown && !others {
            return everywhere().collect();
        }
        if asked.is_empty() {
            let fits = "no listener that it is attached to has a hostname that fits its own".to_owned();
            report.skip(&route.at.child("hostnames"), &why.unwrap_or(fits));
        }
        asked
    }

    fn parent(
        &self,
        route: &Resource<HttpRoute>,
        parent: &ParentRef,
        services: &Services,
        report: &Report,
    ) -> Parent<'a> {
        let text = |key: &Key<String>, default: &str| {
            key.given().map_or_else(|| default.to_owned(), |given| given.value.clone())
        };
        let name = text(&parent.name, "");
        let namespace = text(&parent.namespace, &route.namespace);
        let kind = text(&parent.kind, "Gateway");
        match kind.as_str() {
            "Gateway" | "ListenerSet" => {
                let same =
                    |gateway: &&Resource<Gateway>| gateway.name == name && gateway.namespace == namespace;
                let known = self.around.gateways.iter().find(same).filter(|_| kind == "Gateway");
                if let Some(gateway) = known {
                    return Parent::Gateway(gateway);
                }
                if self.around.lost_gateways.contains(&(namespace.clone(), name.clone())) {
                    return Parent::None(format!("its Gateway {namespace}/{name} was refused"));
                }
                if report.is_by_resource() {
                    return Parent::None(format!("no {kind} {namespace}/{name} is known here"));
                }
                Parent::Unknown
            }
            "Service" if namespace != route.namespace => Parent::None(format!(
                "it is for clients in namespace {} of a Service in another, and who is a client's cannot be told here",
                route.namespace
            )),
            "Service" => Parent::Service(services.in_full(&name, &namespace)),
            kind => Parent::None(format!("a parent of kind {kind} is not known here")),
        }
    }

    /// The listeners that let the route in, each with the port that requests must come to where that matters.
    fn listeners<'g>(
        &self,
        route: &Resource<HttpRoute>,
        parent: &At<ParentRef>,
        gateway: &'g Resource<Gateway>,
        report: &mut Report,
    ) -> Result<Vec<Attached<'g>>, String> {
        let known = gateway.spec.listeners.given().map(|list| list.value.as_slice()).unwrap_or_default();
        let known: Vec<&Listener> = known.iter().filter_map(Key::given).map(|one| &one.value).collect();
        let fits = |listener: &&Listener| {
            let name = parent.value.section_name.given().map(|name| &name.value);
            let port = parent.value.port.given().map(|port| port.value);
            (name.is_none() || name == listener.name.given().map(|name| &name.value))
                && (port.is_none() || port == listener.port.given().map(|port| port.value))
        };
        let fitting: Vec<&Listener> = known.iter().copied().filter(fits).collect();
        if fitting.is_empty() {
            return Err(format!("Gateway {} has no listener that it names", gateway.name));
        }
        let lets_in = |listener: &&Listener| {
            grants::attaches(listener, &gateway.namespace, &route.namespace, self.around.namespaces)
        };
        let fitting: Vec<&Listener> = fitting.into_iter().filter(lets_in).collect();
        if fitting.is_empty() {
            return Err(format!(
                "no listener of Gateway {} takes HTTPRoutes of namespace {} (allowedRoutes)",
                gateway.name, route.namespace
            ));
        }
        let comes_in =
            |listener: &&Listener| listener.port.given().is_none_or(|port| self.around.ports.has(port.value));
        let fitting: Vec<&Listener> = fitting.into_iter().filter(comes_in).collect();
        if fitting.is_empty() {
            return Err(format!(
                "no --listen stands for a port of Gateway {} that it is attached to",
                gateway.name
            ));
        }
        let ports = |listeners: &[&Listener]| -> BTreeSet<u64> {
            listeners.iter().filter_map(|one| Some(one.port.given()?.value)).collect()
        };
        let some = ports(&fitting) != ports(&known);
        if some && *self.around.ports == Ports::Lost {
            report.warn(&parent.at, "names some listeners of its Gateway, but it is served on every port");
        }
        let port = |listener: &Listener| self.around.ports.here(listener.port.given().filter(|_| some)?);
        Ok(fitting.into_iter().map(|listener| (listener, port(listener))).collect())
    }

    /// How requests name a Service.
    fn names(
        &mut self,
        service: &str,
        parent: &At<ParentRef>,
        only: bool,
        services: &Services,
        report: &mut Report,
    ) -> Asked {
        let at = parent.value.name.given().map_or(&parent.at, |name| &name.at);
        let mut hosts = super::virtual_hosts::names_of(service, at, &mut self.spelled, report);
        let port = port_of(&parent.value, service, services);
        let several = self.service_ports.get(service).is_some_and(|ports| ports.len() > 1);
        if let (Some(port), false) = (&port, several) {
            report.warn(&port.at, "is ignored: no route is for another port of this service");
        }
        if self.around.alone && only && !several {
            let message = "is the only service that is asked for: requests that name an IP address or localhost \
                           instead of a host are served by it too";
            report.warn(at, message);
            hosts.push(At { value: "[address]".to_owned(), at: at.clone() });
        }
        Asked { hosts, port: port.filter(|_| several) }
    }
}

fn parents(route: &Resource<HttpRoute>) -> impl Iterator<Item = &At<ParentRef>> {
    let list = route.spec.parent_refs.given().map(|list| list.value.as_slice()).unwrap_or_default();
    list.iter().filter_map(Key::given)
}

/// The port of a Service that a parent names by number or by name.
fn port_of(parent: &ParentRef, service: &str, services: &Services) -> Option<At<u64>> {
    if let Some(port) = parent.port.given() {
        return Some(port.clone());
    }
    let section = parent.section_name.given()?;
    let number = services.port_named(service, &section.value)?;
    Some(At { value: number, at: section.at.clone() })
}

/// The hosts that a route says, `None` for all.
fn own_hosts(route: &Resource<HttpRoute>, report: &mut Report) -> Vec<Option<At<String>>> {
    let list = route.spec.hostnames.given().map(|list| list.value.as_slice()).unwrap_or_default();
    let mut own = Vec::new();
    for host in list.iter().filter_map(Key::given) {
        if host.value.starts_with('*') && !host.value.starts_with("*.") {
            report.error(&host.at, format!("{:?} has \"*\" for a part of a label", host.value));
        }
        own.push(Some(rooted(host)));
    }
    if own.is_empty() { vec![None] } else { own }
}

fn rooted(host: &At<String>) -> At<String> {
    At { value: without_root(&host.value).to_owned(), at: host.at.clone() }
}

/// Adds what the route's hosts and the listeners' have in common.
fn meet(own: &[Option<At<String>>], listeners: &[(&Listener, Option<At<u64>>)], asked: &mut Vec<Asked>) {
    for host in own {
        for (listener, port) in listeners {
            let known = listener.hostname.given().filter(|name| !name.value.is_empty()).map(rooted);
            let Some(both) = intersection(host.as_ref(), known.as_ref()) else { continue };
            let new = Asked { hosts: both.into_iter().collect(), port: port.clone() };
            let same = |other: &Asked| {
                let lower = |asked: &Asked| -> Vec<String> {
                    asked.hosts.iter().map(|host| host.value.to_ascii_lowercase()).collect()
                };
                let ports = [&other.port, &new.port].map(|port| port.as_ref().map(|port| port.value));
                lower(other) == lower(&new) && ports[0] == ports[1]
            };
            if !asked.iter().any(same) {
                asked.push(new);
            }
        }
    }
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
