//! The hosts that a route and the listeners it is attached to have in common, and which of several is the more specific. Pure.

use super::Resource;
use super::gateway_api::{Gateway, HttpRoute, Listener};
use super::hosts::without_root;
use crate::problem::Report;
use crate::reader::{At, Key};

/// Requests by which a route may be asked for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Any of them; empty is every host.
    pub(super) hosts: Vec<At<String>>,
    /// Port of the listener.
    pub(super) port: Option<At<u64>>,
    /// How specific the host is that the route itself names. Where a listener narrows the hosts of several to the same one this
    /// decides.
    pub(super) own: Specific,
}

/// Whether a host is one name, and how long it is.
pub(super) type Specific = (bool, usize);

pub(super) fn specific(host: Option<&str>) -> Specific {
    host.map_or((false, 0), |host| (!host.starts_with('*'), host.trim_start_matches('*').len() + 1))
}

/// A listener's host that others' routes are kept from.
#[derive(Debug, Clone)]
pub(super) struct Isolated {
    pub(super) host: At<String>,
    pub(super) port: Option<At<u64>>,
    /// The Gateway's name.
    pub(super) of: String,
}

/// The hosts that a route says, `None` for all.
pub(super) fn own_hosts(route: &Resource<HttpRoute>, report: &mut Report) -> Vec<Option<At<String>>> {
    let own = hosts_of(route);
    for host in own.iter().flatten().filter(|host| host.value.starts_with('*')) {
        if !host.value.starts_with("*.") {
            report.error(&host.at, format!("{:?} has \"*\" for a part of a label", host.value));
        }
    }
    own
}

pub(super) fn hosts_of(route: &Resource<HttpRoute>) -> Vec<Option<At<String>>> {
    let list = route.spec.hostnames.given().map(|list| list.value.as_slice()).unwrap_or_default();
    let own: Vec<_> = list.iter().filter_map(Key::given).map(|host| Some(rooted(host))).collect();
    if own.is_empty() { vec![None] } else { own }
}

fn rooted(host: &At<String>) -> At<String> {
    At { value: without_root(&host.value).to_owned(), at: host.at.clone() }
}

/// Adds the hosts that the route and the listeners have in common. A request is for the most specific listener of its port
/// alone (Gateway API, listener isolation): hosts of a more specific listener are left out, and returned where a taken host
/// covers them.
pub(super) fn meet(
    own: &[Option<At<String>>],
    listeners: &[(&Listener, Option<At<u64>>)],
    gateway: &Resource<Gateway>,
    asked: &mut Vec<Asked>,
) -> Vec<((String, Option<u64>), Isolated)> {
    let mut isolated = Vec::new();
    for host in own {
        for (listener, port) in listeners {
            let known = hostname(listener);
            let Some(both) = intersection(host.as_ref(), known.as_ref()) else { continue };
            let same_port = |other: &&Listener| {
                other.port.given().map(|port| port.value) == listener.port.given().map(|port| port.value)
            };
            let narrower: Vec<At<String>> = listeners_of(gateway)
                .filter(same_port)
                .filter_map(hostname)
                .filter(|other| known.as_ref().is_none_or(|known| holds(known, other)))
                .collect();
            let is_of = |other: &At<String>| {
                both.as_ref()
                    .is_some_and(|both| both.value.eq_ignore_ascii_case(&other.value) || holds(other, both))
            };
            if narrower.iter().any(is_of) {
                continue;
            }
            for other in
                narrower.into_iter().filter(|other| both.as_ref().is_none_or(|both| holds(both, other)))
            {
                let id = (other.value.to_ascii_lowercase(), port.as_ref().map(|port| port.value));
                let of = gateway.shown.clone();
                isolated.push((id, Isolated { host: other, port: port.clone(), of }));
            }
            let own = specific(host.as_ref().map(|host| host.value.as_str()));
            let new = Asked { hosts: both.into_iter().collect(), port: port.clone(), own };
            let same = |other: &&mut Asked| {
                let lower = |asked: &Asked| -> Vec<String> {
                    asked.hosts.iter().map(|host| host.value.to_ascii_lowercase()).collect()
                };
                let ports = [&other.port, &new.port].map(|port| port.as_ref().map(|port| port.value));
                lower(other) == lower(&new) && ports[0] == ports[1]
            };
            match asked.iter_mut().find(same) {
                Some(known) => known.own = known.own.max(own),
                None => asked.push(new),
            }
        }
    }
    isolated
}

/// A listener's, where it has one.
fn hostname(listener: &Listener) -> Option<At<String>> {
    listener.hostname.given().filter(|name| !name.value.is_empty()).map(rooted)
}

/// `*.example.com` holds every name that ends with `.example.com`.
fn holds(wild: &At<String>, host: &At<String>) -> bool {
    let end = wild.value.strip_prefix('*').map(str::to_ascii_lowercase);
    end.is_some_and(|end| {
        let host = host.value.to_ascii_lowercase();
        host.ends_with(&end) && host != format!("*{end}")
    })
}

/// The host that both mean, `Some(None)` for every one; `None` for no host at all.
pub(super) fn intersection(
    route: Option<&At<String>>,
    listener: Option<&At<String>>,
) -> Option<Option<At<String>>> {
    let (route, listener) = match (route, listener) {
        (Some(route), Some(listener)) => (route, listener),
        (one, other) => return Some(one.or(other).cloned()),
    };
    if route.value.eq_ignore_ascii_case(&listener.value) || holds(listener, route) {
        Some(Some(route.clone()))
    } else if holds(route, listener) {
        Some(Some(listener.clone()))
    } else {
        None
    }
}

pub(super) fn listeners_of(gateway: &Resource<Gateway>) -> impl Iterator<Item = &Listener> {
    let all = gateway.spec.listeners.given().map(|list| list.value.as_slice()).unwrap_or_default();
    all.iter().filter_map(Key::given).map(|one| &one.value)
}
