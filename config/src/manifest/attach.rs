//! By which requests an HTTPRoute or a GRPCRoute may be asked for: under its own hosts, as far as the listeners that it is attached to let
//! them in; under a Service's names, where it is for requests to that (GAMMA).

use std::collections::{BTreeMap, BTreeSet};

use super::Resource;
use super::gateway_api::{Gateway, HttpRoute, Listener, ParentRef};
use super::grants::{self, Namespaces};
use super::grpc_route::{Route, RouteKind};
use super::hostnames::{Asked, Isolated, hosts_of, intersection, listeners_of, meet, own_hosts, specific};
use super::hosts::Hosts;
use super::ports::Ports;
use super::services::Services;
use super::virtual_hosts::Spelled;
use crate::problem::Report;
use crate::reader::{At, Key};

/// The Gateways and services that routes may attach to.
pub(super) struct Around<'a> {
    pub(super) gateways: &'a [Resource<Gateway>],
    /// Namespaces and names of those that were refused alone.
    pub(super) lost_gateways: &'a BTreeSet<(String, String)>,
    pub(super) namespaces: &'a Namespaces,
    /// The ports of Gateways, mapped to the gateway's own.
    pub(super) ports: &'a Ports,
    /// Ports of Istio's Gateways.
    pub(super) other_ports: BTreeSet<u64>,
    /// There is one route, of all kinds.
    pub(super) alone: bool,
}

const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// Facts about all routes together.
pub(super) struct Attach<'a> {
    around: &'a Around<'a>,
    /// The ports of each service that routes name.
    service_ports: BTreeMap<String, BTreeSet<Option<u64>>>,
    /// Short names that are taken.
    spelled: Spelled,
    /// Routes that a listener does not take, because an older one of the other kind has a host of theirs.
    denied: BTreeMap<(RouteKind, Owner, ListenerId), String>,
    /// Hosts of listeners, at a port where that matters, which a route of a less specific listener would take requests of.
    isolated: BTreeMap<(String, Option<u64>), Isolated>,
}

/// Namespace and name.
type Owner = (String, String);

/// Gateway, and name of its listener; without one where the Gateway is not known here.
type ListenerId = (Owner, String);

/// The resource that a reference to a parent names.
enum Parent<'a> {
    Gateway(&'a Resource<Gateway>),
    /// A Gateway that is not among the files: it is taken to let in every host of the route.
    Unknown,
    /// In full.
    Service(String),
    /// The parent serves no request; why.
    None(String),
}

/// A listener that lets a route in, and the port that requests must come to where that matters.
type Attached<'g> = (&'g Listener, Option<At<u64>>);

impl<'a> Attach<'a> {
    pub(super) fn new(
        routes: &[Route],
        around: &'a Around<'a>,
        services: &Services,
        report: &Report,
    ) -> Self {
        let mut attach = Self {
            around,
            service_ports: BTreeMap::new(),
            spelled: Spelled::new(),
            denied: BTreeMap::new(),
            isolated: BTreeMap::new(),
        };
        for Route { of: route, .. } in routes {
            for parent in parents(route) {
                if let Parent::Service(service) = attach.parent(route, &parent.value, services, report) {
                    let port = port_of(&parent.value, &service, services).map(|port| port.value);
                    attach.service_ports.entry(service).or_default().insert(port);
                }
            }
        }
        if routes.iter().any(|route| route.kind != RouteKind::Http) {
            attach.decide(routes, services, report);
        }
        attach
    }

    /// A listener takes HTTPRoutes or GRPCRoutes for one host, and never both: the oldest route has it (Gateway API).
    fn decide(&mut self, routes: &[Route], services: &Services, report: &Report) {
        let mut taken: BTreeMap<(ListenerId, RouteKind), Hosts> = BTreeMap::new();
        let mut by_age: Vec<&Route> = routes.iter().filter(|route| !route.is_void).collect();
        by_age.sort_by_key(|Route { kind, of, .. }| (&of.created, &of.namespace, &of.name, *kind));
        for route in by_age {
            let own = (route.of.namespace.clone(), route.of.name.clone());
            let hosts = hosts_of(&route.of);
            for parent in parents(&route.of) {
                let listeners: Vec<(ListenerId, Option<&At<String>>)> =
                    match self.parent(&route.of, &parent.value, services, report) {
                        Parent::Gateway(gateway) => {
                            let id = (gateway.namespace.clone(), gateway.name.clone());
                            let all = self.fitting(route, parent, gateway).unwrap_or_default().into_iter();
                            all.map(|one| ((id.clone(), name_of(one)), one.hostname.given())).collect()
                        }
                        Parent::Unknown => {
                            let section = parent.value.section_name.given();
                            let section = section.map(|name| name.value.clone()).unwrap_or_default();
                            vec![((gateway_named(&route.of, &parent.value), section), None)]
                        }
                        Parent::Service(_) | Parent::None(_) => Vec::new(),
                    };
                for (listener, hostname) in listeners {
                    let hostname = hostname.filter(|name| !name.value.is_empty());
                    let meets = |host: &&Option<At<String>>| intersection(host.as_ref(), hostname).is_some();
                    if !hosts.iter().any(|host| meets(&host)) {
                        continue;
                    }
                    let other = match route.kind {
                        RouteKind::Http => RouteKind::Grpc,
                        RouteKind::Grpc => RouteKind::Http,
                    };
                    let text = |host: &Option<At<String>>| host.as_ref().map(|host| host.value.clone());
                    let of_others = taken.get(&(listener.clone(), other));
                    let holder = of_others.and_then(|all| {
                        hosts.iter().find_map(|host| all.holder(text(host).as_deref()).map(str::to_owned))
                    });
                    if let Some(holder) = holder {
                        self.denied.insert((route.kind, own.clone(), listener), holder);
                        continue;
                    }
                    let all = taken.entry((listener, route.kind)).or_default();
                    hosts.iter().for_each(|host| all.take(text(host).as_deref(), &route.title()));
                }
            }
        }
    }

    /// Each kind of request that the route takes; nothing where it is served nowhere.
    pub(super) fn asked(&mut self, whole: &Route, services: &Services, report: &mut Report) -> Vec<Asked> {
        let route = &whole.of;
        let all: Vec<&At<ParentRef>> = parents(route).collect();
        let own = own_hosts(route, report);
        let everywhere = || {
            own.iter().map(|host| Asked {
                hosts: host.iter().cloned().collect(),
                port: None,
                own: specific(host.as_ref().map(|host| host.value.as_str())),
            })
        };
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
                    match self.listeners(whole, parent, gateway, report) {
                        Ok(listeners) => {
                            let isolated = meet(&own, &listeners, gateway, &mut asked);
                            self.isolated.extend(isolated);
                        }
                        Err(reason) => why = why.or(Some(reason)),
                    }
                }
                Parent::Unknown => {
                    let section = parent.value.section_name.given();
                    let section = section.map(|name| name.value.clone()).unwrap_or_default();
                    match self.denied(whole, (gateway_named(route, &parent.value), section)) {
                        Some(reason) => {
                            others = true;
                            why = why.or(Some(reason));
                        }
                        None => unknown = true,
                    }
                }
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

    /// Hosts of more specific listeners, for all routes asked so far: requests there that no route of theirs takes are answered
    /// 404.
    pub(super) fn isolated(&self) -> impl Iterator<Item = &Isolated> {
        self.isolated.values()
    }

    fn parent(
        &self,
        route: &Resource<HttpRoute>,
        parent: &ParentRef,
        services: &Services,
        report: &Report,
    ) -> Parent<'a> {
        let (namespace, name) = gateway_named(route, parent);
        let kind = parent.kind.given().map_or_else(|| "Gateway".to_owned(), |kind| kind.value.clone());
        let group = parent.group.given().map(|group| group.value.as_str());
        match kind.as_str() {
            "Gateway" | "ListenerSet" if matches!(group, None | Some(GATEWAY_API)) => {
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
            "Service" if matches!(group, None | Some("" | "core")) => {
                if namespace != route.namespace {
                    return Parent::None(format!(
                        "it is for clients in namespace {} of a Service in another, and who is a client's cannot be told here",
                        route.namespace
                    ));
                }
                let service = services.in_full(&name, &namespace);
                match no_port(parent, &service, services) {
                    Some(why) => Parent::None(why),
                    None => Parent::Service(service),
                }
            }
            kind => {
                let of = group.map(|group| format!(" of group {group:?}")).unwrap_or_default();
                Parent::None(format!("a parent of kind {kind}{of} is not known here"))
            }
        }
    }

    /// The listeners that let the route in.
    fn fitting<'g>(
        &self,
        route: &Route,
        parent: &At<ParentRef>,
        gateway: &'g Resource<Gateway>,
    ) -> Result<Vec<&'g Listener>, String> {
        let fits = |listener: &&Listener| {
            let name = parent.value.section_name.given().map(|name| &name.value);
            let port = parent.value.port.given().map(|port| port.value);
            (name.is_none() || name == listener.name.given().map(|name| &name.value))
                && (port.is_none() || port == listener.port.given().map(|port| port.value))
        };
        let fitting: Vec<&Listener> = listeners_of(gateway).filter(fits).collect();
        if fitting.is_empty() {
            return Err(format!("Gateway {} has no listener that it names", gateway.name));
        }
        let of = (route.kind, route.of.namespace.as_str());
        let lets_in =
            |listener: &&Listener| grants::attaches(listener, &gateway.namespace, of, self.around.namespaces);
        let fitting: Vec<&Listener> = fitting.into_iter().filter(lets_in).collect();
        if fitting.is_empty() {
            return Err(format!(
                "no listener of Gateway {} takes {}s of namespace {} (allowedRoutes)",
                gateway.name,
                route.kind.word(),
                route.of.namespace
            ));
        }
        Ok(fitting)
    }

    /// Why a listener does not take a route that it would let in.
    fn denied(&self, route: &Route, listener: ListenerId) -> Option<String> {
        let own = (route.of.namespace.clone(), route.of.name.clone());
        let holder = self.denied.get(&(route.kind, own, listener))?;
        Some(format!("{holder}, which is older, has a host of its own at the same listener"))
    }

    /// The listeners that take the route, each with the port that requests must come to where that matters.
    fn listeners<'g>(
        &self,
        route: &Route,
        parent: &At<ParentRef>,
        gateway: &'g Resource<Gateway>,
        report: &mut Report,
    ) -> Result<Vec<Attached<'g>>, String> {
        let known: Vec<&Listener> = listeners_of(gateway).collect();
        let fitting = self.fitting(route, parent, gateway)?;
        let comes_in =
            |listener: &&Listener| listener.port.given().is_none_or(|port| self.around.ports.has(port.value));
        let fitting: Vec<&Listener> = fitting.into_iter().filter(comes_in).collect();
        if fitting.is_empty() {
            return Err(format!(
                "no --listen stands for a port of Gateway {} that it is attached to",
                gateway.name
            ));
        }
        let id = (gateway.namespace.clone(), gateway.name.clone());
        let denied = |listener: &&Listener| self.denied(route, (id.clone(), name_of(listener)));
        let why = fitting.iter().find_map(denied);
        let fitting: Vec<&Listener> =
            fitting.into_iter().filter(|listener| denied(listener).is_none()).collect();
        if let (Some(why), true) = (why, fitting.is_empty()) {
            return Err(why);
        }
        let ports = |listeners: &[&Listener]| -> BTreeSet<u64> {
            listeners.iter().filter_map(|one| Some(one.port.given()?.value)).collect()
        };
        let some = ports(&fitting) != ports(&known);
        // Requests to another Gateway's port are for the routes of that Gateway.
        let all = self
            .around
            .gateways
            .iter()
            .flat_map(listeners_of)
            .filter_map(|one| Some(one.port.given()?.value));
        let all: BTreeSet<u64> = all.chain(self.around.other_ports.iter().copied()).collect();
        let elsewhere = all.iter().any(|port| self.around.ports.has(*port) && !ports(&known).contains(port));
        if some && *self.around.ports == Ports::Lost {
            report.warn(&parent.at, "names some listeners of its Gateway, but it is served on every port");
        }
        let port = |listener: &Listener| {
            self.around.ports.here(listener.port.given().filter(|_| some || elsewhere)?)
        };
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
        Asked { hosts, port: port.filter(|_| several), own: specific(Some(service)) }
    }
}

/// Namespace and name of a parent.
fn gateway_named(route: &Resource<HttpRoute>, parent: &ParentRef) -> Owner {
    let text = |key: &Key<String>, default: &str| {
        key.given().map_or_else(|| default.to_owned(), |given| given.value.clone())
    };
    (text(&parent.namespace, &route.namespace), text(&parent.name, ""))
}

fn name_of(listener: &Listener) -> String {
    listener.name.given().map(|name| name.value.clone()).unwrap_or_default()
}

fn parents(route: &Resource<HttpRoute>) -> impl Iterator<Item = &At<ParentRef>> {
    let list = route.spec.parent_refs.given().map(|list| list.value.as_slice()).unwrap_or_default();
    list.iter().filter_map(Key::given)
}

/// Why a parent's `sectionName` means no port of its Service: to drop it would take the requests of every port.
fn no_port(parent: &ParentRef, service: &str, services: &Services) -> Option<String> {
    let section = &parent.section_name.given()?.value;
    let port = parent.port.given().map(|port| port.value);
    match services.port_named(service, section) {
        Some(number) if port.is_none_or(|port| port == number) => None,
        Some(number) => {
            Some(format!("port {section:?} of {service} is {number}, and it names another beside it"))
        }
        None if port.is_some() => None,
        None => Some(format!("no port {section:?} of {service} is known here: name it by its number (port)")),
    }
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
