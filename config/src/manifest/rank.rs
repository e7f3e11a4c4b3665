//! The order of routes' matches, and the routes behind all routes of a listener. Pure.

use std::cmp::Reverse;

use super::hostnames::{Isolated, Specific, specific};
use crate::file;
use crate::reader::{At, Key};

/// A match, ready to be sorted among all others.
pub(super) struct Ranked {
    pub(super) rank: Rank,
    pub(super) hosts: Vec<At<String>>,
    pub(super) route: Key<file::Route>,
}

impl Ranked {
    /// Whether every request for this host and port is its.
    pub(super) fn takes_all(&self, host: &str, port: Option<&At<u64>>) -> bool {
        let Rank {
            host: _,
            own: _,
            exact,
            prefix,
            call,
            method,
            headers,
            query,
            created: _,
            name: _,
            place: _,
        } = &self.rank;
        let own = self.route.given().and_then(|route| route.value.port.given()).map(|port| port.value);
        self.hosts.iter().any(|own| own.value.eq_ignore_ascii_case(host))
            && own == port.map(|port| port.value)
            && !(exact.0 || method.0)
            && (prefix.0, call.0, headers.0, query.0) == (1, 0, 0, 0)
    }
}

/// Order of matches by the specification, greatest first; then age, name and place.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) host: Reverse<Specific>,
    /// As the route itself names it.
    pub(super) own: Reverse<Specific>,
    pub(super) exact: Reverse<bool>,
    /// The named part of a call's service.
    pub(super) prefix: Reverse<usize>,
    /// The named parts of a call's method.
    pub(super) call: Reverse<usize>,
    pub(super) method: Reverse<bool>,
    pub(super) headers: Reverse<usize>,
    pub(super) query: Reverse<usize>,
    pub(super) created: String,
    pub(super) name: String,
    pub(super) place: usize,
}

/// The route for requests to a listener's host that none of its routes take: routes of a less specific listener do not get them.
pub(super) fn kept_from_others(of: &Isolated) -> Ranked {
    let at = &of.host.at;
    let reply = file::Reply { status: Key::at(404, at), ..file::Reply::default() };
    let made = file::Route {
        name: Key::at(format!("{}/none for {}", of.of, of.host.value), at),
        port: of.port.clone().map_or(Key::Absent, Key::Given),
        reply: Key::at(reply, at),
        ..file::Route::default()
    };
    let host = Reverse(specific(Some(&of.host.value)));
    let last = Rank {
        host,
        own: Reverse((false, 0)),
        exact: Reverse(false),
        prefix: Reverse(0),
        call: Reverse(0),
        method: Reverse(false),
        headers: Reverse(0),
        query: Reverse(0),
        created: String::new(),
        name: String::new(),
        place: 0,
    };
    Ranked { rank: last, hosts: vec![of.host.clone()], route: Key::at(made, at) }
}
