//! The status that the Gateway API's objects should have, by the configuration in force. Pure.
//!
//! Nothing here has a time, and nothing is compared with the status that is there: `merge` does that.

mod addresses;
mod attach;
mod backends;
mod class;
mod merge;
mod overlap;

use std::collections::{BTreeMap, BTreeSet};

use config::manifest::State;
use serde_json::{Value, json};

use super::Rules;
use super::clients::{self, Believed};
use super::fronts;
use super::kinds::Kind;
use super::objects::{list, listeners, speaks_tls, text, uid};
use super::ours;
use super::report;
use super::secrets;
use super::select::{self, ListenerFault, Refused};
use super::store::{Key, Store};
use super::translation::Outcome;
use attach::Attached;
pub(super) use merge::merged;

/// The inputs of all statuses.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) store: &'a Store,
    pub(super) rules: &'a Rules,
    pub(super) served: &'a [Outcome],
    /// Ports that cannot be listened at.
    pub(super) unavailable: &'a BTreeSet<u64>,
    /// TLS of Gateways ends before us.
    pub(super) plaintext: bool,
    /// Our own namespace.
    pub(super) home: &'a str,
    /// The Service before us.
    pub(super) publish: Option<&'a (String, String)>,
    /// Gateways listen at their own ports, whichever they are.
    pub(super) own_ports: bool,
}

/// A condition as it should be said: `(type, holds, reason, message)`.
pub(super) type Condition = (&'static str, bool, &'static str, String);

/// The status that one object should have.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Desired {
    pub(super) kind: Kind,
    pub(super) key: Key,
    /// In the form of `status`, without times and without entries of other controllers.
    pub(super) status: Value,
}

/// Of every object that is ours to say something of.
pub(super) fn desired(view: &View<'_>) -> Vec<Desired> {
    let classes = ours::classes(view.store, view.rules);
    let ours = ours::api_gateways(view.store, view.rules, &classes);
    let refused =
        Refused { ports: view.unavailable.clone(), home: view.home.to_owned(), ..Refused::default() };
    let mut attached = Attached::new(view.store, &ours, &refused);
    let mut all = Vec::new();
    for ((namespace, name), class) in view.store.all(Kind::GatewayClass) {
        if classes.as_ref().is_some_and(|classes| classes.contains(name)) {
            let status = class::status(view, class);
            all.push(Desired { kind: Kind::GatewayClass, key: (namespace.clone(), name.clone()), status });
        }
    }
    // The oldest first: of two that want the same it has it.
    let routes = [Kind::HttpRoute, Kind::GrpcRoute].into_iter();
    let routes = routes.flat_map(|kind| view.store.all(kind).map(move |(key, route)| (kind, key, route)));
    let mut routes: Vec<_> = routes.collect();
    routes.sort_by_key(|(kind, key, route)| (created(route), *key, *kind));
    for (kind, key, route) in routes {
        if let Some(status) = api_route(view, (kind, key), route, &ours, &mut attached) {
            all.push(Desired { kind, key: key.clone(), status });
        }
    }
    all.extend(backends::policies(view, &ours, &attached));
    for (key, gateway) in view.store.all(Kind::ApiGateway).filter(|(key, _)| ours.contains(*key)) {
        if let Some(outcome) = outcome(view, Kind::ApiGateway, key, gateway) {
            let status = gateway_status(view, key, gateway, outcome, &refused, &attached);
            all.push(Desired { kind: Kind::ApiGateway, key: key.clone(), status });
        }
    }
    all
}

/// The outcome of this object in the configuration in force; `None` where another generation of it is in force.
fn outcome<'v>(view: &View<'v>, kind: Kind, key: &Key, object: &Value) -> Option<&'v Outcome> {
    let generation = object.pointer("/metadata/generation").and_then(Value::as_u64);
    view.served.iter().find(|one| {
        one.kind == kind && one.key == *key && one.uid == uid(object) && one.generation == generation
    })
}

fn conditions(object: &Value, all: &[Condition]) -> Value {
    let generation = object.pointer("/metadata/generation").and_then(Value::as_u64).unwrap_or_default();
    let one = |(kind, holds, reason, message): &Condition| {
        let status = if *holds { "True" } else { "False" };
        let message: String = message.chars().take(MESSAGE_MAX).collect();
        json!({"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": generation})
    };
    all.iter().map(one).collect()
}

/// Characters of a condition's message. An API server takes eight times as many, and an object with all its conditions has room
/// for 1.5 MiB.
const MESSAGE_MAX: usize = 4096;

fn problems(state: &State) -> Option<String> {
    match state {
        State::Rejected(problems) => {
            Some(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        }
        State::Accepted | State::Partial(_) | State::Skipped(_) => None,
    }
}

/// The condition for rules that are left out of the configuration.
fn partially_invalid(state: &State) -> Option<Condition> {
    match state {
        State::Partial(dropped) => {
            let all: Vec<String> = dropped.iter().map(report::dropped_rule).collect();
            Some((merge::PARTIALLY_INVALID, true, "UnsupportedValue", all.join("; ")))
        }
        State::Accepted | State::Rejected(_) | State::Skipped(_) => None,
    }
}

fn created(object: &Value) -> &str {
    object.pointer("/metadata/creationTimestamp").and_then(Value::as_str).unwrap_or_default()
}

fn api_route(
    view: &View<'_>,
    (kind, key): (Kind, &Key),
    route: &Value,
    ours: &BTreeSet<Key>,
    attached: &mut Attached<'_>,
) -> Option<Value> {
    let parents: Vec<(&Value, Key)> = list(&route["spec"], "parentRefs")
        .iter()
        .filter_map(|parent| Some((parent, select::parent_of(parent, &key.0)?)))
        .filter(|(_, gateway)| ours.contains(gateway))
        .collect();
    if parents.is_empty() {
        let says = |parent: &Value| text(parent, "controllerName") == view.rules.controller;
        // Our entry goes with the last parent.
        let said = route
            .pointer("/status/parents")
            .and_then(Value::as_array)
            .is_some_and(|all| all.iter().any(says));
        return said.then(|| json!({"parents": []}));
    }
    let outcome = outcome(view, kind, key, route)?;
    let rejected = problems(&outcome.state);
    let is_served = rejected.is_none() || outcome.serves_earlier;
    if rejected.is_some() {
        attached.reject(kind, key);
    }
    let resolved = attach::resolved(view.store, (kind, &key.0), route);
    let partial = partially_invalid(&outcome.state);
    let of = |(parent, gateway): &(&Value, Key)| {
        let accepted = match (attached.attach((kind, key), route, parent, gateway, is_served), &rejected) {
            (Err((reason, message)), _) => ("Accepted", false, reason, message),
            (Ok(()), Some(why)) => ("Accepted", false, "UnsupportedValue", why.clone()),
            (Ok(()), None) => ("Accepted", true, "Accepted", String::new()),
        };
        // A route that is not accepted does not have the condition PartiallyInvalid.
        let partial = partial.clone().filter(|_| accepted.1);
        let all: Vec<Condition> = [accepted, resolved.clone()].into_iter().chain(partial).collect();
        json!({
            "parentRef": parent,
            "controllerName": view.rules.controller,
            "conditions": conditions(route, &all),
        })
    };
    Some(json!({"parents": parents.iter().map(of).collect::<Vec<_>>()}))
}

fn gateway_status(
    view: &View<'_>,
    key: &Key,
    gateway: &Value,
    outcome: &Outcome,
    refused: &Refused,
    attached: &Attached<'_>,
) -> Value {
    let all = listeners(gateway);
    // As they are here: with other ports, where the Gateway has a Service of its own.
    let here = fronts::listeners(view.store, view.rules, view.home, key, gateway);
    let known: Vec<Value> = here.iter().flatten().cloned().collect();
    let faults: Vec<Option<ListenerFault>> = all
        .iter()
        .zip(&here)
        .map(|(listener, here)| match here {
            Some(here) => select::fault(here, &known, refused),
            None => select::fault(listener, all, &Refused::default()),
        })
        .collect();
    let rejected = problems(&outcome.state);
    let bad = faults.iter().filter(|fault| fault.is_some()).count();
    // These would be served, and have no certificate for it.
    let sound = all.iter().zip(&faults).filter(|(_, fault)| fault.is_none());
    let bare = sound.filter(|(listener, _)| !Tls::of(view, key, gateway, listener).lets_in()).count();
    let refusal = select::refusal(gateway);
    let accepted = match (&refusal, &rejected, bad) {
        (Some((reason, message)), _, _) => ("Accepted", false, *reason, message.clone()),
        (None, Some(why), _) => ("Accepted", false, "Invalid", why.clone()),
        (None, None, 0) if bare == 0 => ("Accepted", true, "Accepted", String::new()),
        (None, None, bad) if bad == all.len() => {
            ("Accepted", false, "ListenersNotValid", "no listener can be served".to_owned())
        }
        (None, None, bad) => {
            ("Accepted", true, "ListenersNotValid", format!("{} listeners cannot be served", bad + bare))
        }
    };
    let own = (view.home.to_owned(), fronts::name(&view.rules.controller, key));
    let service = if view.rules.fronts.is_some() { Some(&own) } else { view.publish };
    let addresses = addresses::of(view.store, service, gateway);
    let programmed = match addresses.fault {
        _ if !accepted.1 => ("Programmed", false, "Invalid", accepted.3.clone()),
        _ if bad + bare == all.len() => {
            ("Programmed", false, "Invalid", "no listener has a certificate that may be shown".to_owned())
        }
        Some((reason, message)) => ("Programmed", false, reason, message),
        None => ("Programmed", true, "Programmed", String::new()),
    };
    let listeners: Vec<Value> = all
        .iter()
        .zip(faults.iter().zip(&here))
        .map(|(listener, (fault, here))| {
            let fault = fault.map(said);
            let tls = Tls::of(view, key, gateway, listener);
            let refused = refusal.as_ref().map(|(_, message)| message.as_str());
            let rejected = refused.or(rejected.as_deref());
            let rejected = rejected.or_else(|| here.is_none().then_some(UNSERVED));
            let overlap = overlap::condition(listener, all).filter(|_| fault.is_none() && !view.plaintext);
            let said = listener_conditions(listener, fault, &tls, rejected);
            let said: Vec<Condition> = said.into_iter().chain(overlap).collect();
            json!({
                "name": listener["name"],
                "supportedKinds": attach::supported(listener),
                "attachedRoutes": attached.count(key, text(listener, "name")),
                "conditions": conditions(gateway, &said),
            })
        })
        .collect();
    let is_insecure = clients::is_insecure(gateway) && !view.plaintext;
    let insecure = is_insecure.then(|| (merge::INSECURE, true, "ConfigurationChanged", INSECURE.to_owned()));
    let whole: Vec<Condition> = [accepted, programmed].into_iter().chain(insecure).collect();
    json!({"addresses": addresses.known, "conditions": conditions(gateway, &whole), "listeners": listeners})
}

/// Of a Gateway of which a listener's mode is `AllowInsecureFallback`.
const INSECURE: &str =
    "clients come in without a certificate and with one that nobody has checked: none is asked for one";

/// Of a listener that has no port here yet.
const UNSERVED: &str = "the Service of its Gateway does not have its port yet";

/// How a listener ends TLS; nothing of it where it does not.
#[derive(Default)]
struct Tls {
    /// The fault of its certificates, and whether none is good.
    fault: Option<secrets::Fault>,
    is_bare: bool,
    /// The authorities of its clients.
    believed: Option<Believed>,
}

impl Tls {
    fn of(view: &View<'_>, key: &Key, gateway: &Value, listener: &Value) -> Self {
        if view.plaintext || !speaks_tls(listener) {
            return Self::default();
        }
        let (good, fault) = secrets::references(view.store, key, listener);
        let believed = clients::believed(view.store, key, gateway, listener);
        Self { fault, is_bare: good.is_empty(), believed }
    }

    fn lets_in(&self) -> bool {
        !self.is_bare && self.believes_some()
    }

    /// Clients that have to show a certificate can.
    fn believes_some(&self) -> bool {
        self.believed.as_ref().is_none_or(Believed::lets_in)
    }

    /// Reason and message of the first fault.
    fn told(&self) -> Option<(&'static str, &str)> {
        let own = self.fault.as_ref().map(|fault| (fault.reason(), fault.message()));
        let believed = self.believed.as_ref().and_then(|believed| believed.fault.as_ref());
        own.or_else(|| believed.map(|(reason, message)| (*reason, message.as_str())))
    }
}

fn said(fault: ListenerFault) -> (&'static str, &'static str) {
    match fault {
        ListenerFault::UnsupportedProtocol => {
            ("UnsupportedProtocol", "only HTTP, and HTTPS that ends here, are offered")
        }
        ListenerFault::ProtocolConflict => {
            ("ProtocolConflict", "another listener of this Gateway has the same port and another protocol")
        }
        ListenerFault::PortUnavailable => ("PortUnavailable", "the gateway cannot listen at this port"),
        ListenerFault::HostnameConflict => {
            ("HostnameConflict", "another listener of this Gateway has the same port and hostname")
        }
    }
}

fn listener_conditions(
    listener: &Value,
    fault: Option<(&'static str, &'static str)>,
    tls: &Tls,
    rejected: Option<&str>,
) -> [Condition; 4] {
    let conflicts = fault.filter(|(reason, _)| reason.ends_with("Conflict"));
    let accepted = match fault {
        Some((reason, message)) => ("Accepted", false, reason, message.to_owned()),
        None if !tls.believes_some() => ("Accepted", false, "NoValidCACertificate", UNCHECKED.to_owned()),
        None => ("Accepted", true, "Accepted", String::new()),
    };
    let resolved = match (attach::unknown_kinds(listener), tls.told()) {
        (true, _) => (
            "ResolvedRefs",
            false,
            "InvalidRouteKinds",
            "only HTTPRoute and GRPCRoute are offered".to_owned(),
        ),
        (false, Some((reason, message))) => ("ResolvedRefs", false, reason, message.to_owned()),
        (false, None) => ("ResolvedRefs", true, "ResolvedRefs", String::new()),
    };
    let conflicted = match conflicts {
        Some((reason, message)) => ("Conflicted", true, reason, message.to_owned()),
        None => ("Conflicted", false, "NoConflicts", String::new()),
    };
    let programmed = match (fault, rejected) {
        (None, None) if tls.is_bare => {
            ("Programmed", false, "Invalid", "it has no certificate that may be shown".to_owned())
        }
        (None, None) if !tls.believes_some() => ("Programmed", false, "Invalid", UNCHECKED.to_owned()),
        (None, None) => ("Programmed", true, "Programmed", String::new()),
        (Some((_, message)), _) => ("Programmed", false, "Invalid", message.to_owned()),
        (None, Some(UNSERVED)) => ("Programmed", false, "Pending", UNSERVED.to_owned()),
        (None, Some(message)) => ("Programmed", false, "Invalid", message.to_owned()),
    };
    [accepted, programmed, resolved, conflicted]
}

/// Of a listener whose clients are to show certificates.
const UNCHECKED: &str = "no authority is known by which certificates of clients could be checked";

/// Routes by Gateway and the name of its listener.
type Counts = BTreeMap<(Key, String), BTreeSet<(Kind, Key)>>;

#[cfg(test)]
mod tests;
