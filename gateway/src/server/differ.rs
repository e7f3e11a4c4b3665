//! Differences between two configurations, as key paths with from and to, for readers of the log of changes. Pure.
//!
//! Shares, weights and endpoints are told with their values; of all else it is told that it changed, so that no secret is.

use std::collections::HashMap;

use config::{Config, Listener, Mirror, Percent, Primary, Route, Upstream};

use crate::control::{Difference, key_part};

/// Differences that are told; of more it is told how many.
const DIFFERENCES_MAX: usize = 64;

/// The differences, and how many there are beside them.
pub(super) fn differences(before: &Config, after: &Config) -> (Vec<Difference>, usize) {
    let mut all = Vec::new();
    sections(before, after, &mut all);
    each(
        &before.upstreams,
        &after.upstreams,
        |u| &u.name,
        |name, from, to| upstream(&name, from, to, &mut all),
    );
    let routes = |name: String, from: Option<&Route>, to: Option<&Route>| {
        route(&name, (before, from), (after, to), &mut all);
    };
    each(&before.routes, &after.routes, |r| &r.name, routes);
    let order = |config: &Config| config.routes.iter().map(|route| route.name.clone()).collect::<Vec<_>>();
    let (was, is) = (order(before), order(after));
    if all.is_empty() && was != is {
        all.push(changed("route", "another order"));
    }
    let more = all.len().saturating_sub(DIFFERENCES_MAX);
    all.truncate(DIFFERENCES_MAX);
    (all, more)
}

/// Calls with each name of either list: its item before, and after.
fn each<T>(
    before: &[T],
    after: &[T],
    name: impl Fn(&T) -> &String,
    mut call: impl FnMut(String, Option<&T>, Option<&T>),
) {
    let old: HashMap<&str, &T> = before.iter().map(|of| (name(of).as_str(), of)).collect();
    let new: HashMap<&str, &T> = after.iter().map(|of| (name(of).as_str(), of)).collect();
    for of in before.iter().filter(|of| !new.contains_key(name(of).as_str())) {
        call(key_part(name(of)), Some(of), None);
    }
    for of in after {
        call(key_part(name(of)), old.get(name(of).as_str()).copied(), Some(of));
    }
}

fn sections(before: &Config, after: &Config, all: &mut Vec<Difference>) {
    let binds = |listeners: &[Listener]| {
        let binds: Vec<String> = listeners.iter().map(|listener| listener.bind.to_string()).collect();
        binds.join(" ")
    };
    push(all, "listener.bind", binds(&before.listeners), binds(&after.listeners));
    let bind = |config: &Config| config.admin.bind.map_or_else(|| "off".to_owned(), |bind| bind.to_string());
    push(all, "admin.bind", bind(before), bind(after));
    let tls = |config: &Config| config.listeners.iter().map(|l| l.tls.clone()).collect::<Vec<_>>();
    let protocols = |config: &Config| config.listeners.iter().map(|l| l.protocols).collect::<Vec<_>>();
    let sections = [
        ("listener.protocols", protocols(before) != protocols(after)),
        ("listener.tls", tls(before) != tls(after)),
        ("admin.tls", before.admin.tls != after.admin.tls),
        ("admin.token", before.admin.token != after.admin.token),
        ("admin.history", before.admin.history != after.admin.history),
        ("limits", before.limits != after.limits),
        ("http2", before.http2 != after.http2),
        ("timeouts", before.timeouts != after.timeouts),
        ("headers.forwarded", before.forwarded != after.forwarded),
        ("headers.via", before.via != after.via),
        ("headers.request_id", before.request_id != after.request_id),
        ("access_log", before.access_log != after.access_log),
        ("tracing", before.tracing != after.tracing),
        ("verdict", before.judging != after.judging),
        ("capture", before.captures != after.captures),
    ];
    let differ = sections.iter().filter(|(_, differs)| *differs);
    all.extend(differ.map(|(key, _)| changed(key, "changed")));
}

fn upstream(name: &str, from: Option<&Upstream>, to: Option<&Upstream>, all: &mut Vec<Difference>) {
    let endpoints = |of: &Upstream| {
        let written = of.endpoints.iter().map(ToString::to_string);
        // Endpoints of a cluster's service come and go without a change of the configuration.
        let all: Vec<String> = written.chain(of.destination.iter().map(ToString::to_string)).collect();
        all.join(" ")
    };
    let before = from.map(endpoints).unwrap_or_default();
    let after = to.map(endpoints).unwrap_or_default();
    let is_moved = before != after;
    push(all, &format!("upstream.{name}.endpoints"), before, after);
    if !is_moved && from.is_some() && from != to {
        all.push(changed(&format!("upstream.{name}"), "changed"));
    }
}

fn route(
    name: &str,
    (before, from): (&Config, Option<&Route>),
    (after, to): (&Config, Option<&Route>),
    all: &mut Vec<Difference>,
) {
    let path = format!("route.{name}");
    let (Some(from), Some(to)) = (from, to) else {
        let what = |of: Option<&Route>| of.map_or("", |_| "a route").to_owned();
        return push(all, &path, what(from), what(to));
    };
    let known = all.len();
    push(all, &format!("{path}.primaries"), primaries(before, from), primaries(after, to));
    each(
        &from.mirrors,
        &to.mirrors,
        |m| &m.name,
        |name, from, to| {
            let percent = |of: Option<&Mirror>| of.map(|of| percent(of.percent)).unwrap_or_default();
            let path = format!("{path}.mirrors.{name}");
            let known = all.len();
            push(all, &format!("{path}.percent"), percent(from), percent(to));
            let upstreams = |config: &Config, of: &Mirror| {
                config.lanes.get(of.lane).map(|lane| (lane.name.clone(), lane.capture.is_some()))
            };
            if let (Some(from), Some(to)) = (from, to)
                && (Mirror { lane: 0, percent: to.percent, ..from.clone() }
                    != Mirror { lane: 0, ..to.clone() }
                    || upstreams(before, from) != upstreams(after, to))
                && all.len() == known
            {
                all.push(changed(&path, "changed"));
            }
        },
    );
    // Indices of upstreams and lanes move with their neighbours, so that only parts without names of their own are compared.
    if all.len() == known && differs(from, to) {
        all.push(changed(&path, "changed"));
    }
}

fn differs(from: &Route, to: &Route) -> bool {
    let rest = |of: &Route| (of.fault.clone(), of.request_headers.clone(), of.response_headers.clone());
    from.matches != to.matches || kind(from) != kind(to) || rest(from) != rest(to)
}

/// The action of a route, without the indices in it.
fn kind(route: &Route) -> config::Action {
    let mut action = route.action.clone();
    if let config::Action::Forward(forward) = &mut action {
        for primary in &mut forward.primaries {
            (primary.upstream, primary.weight) = (None, 0);
        }
    }
    action
}

fn primaries(config: &Config, route: &Route) -> String {
    let one = |primary: &Primary| {
        let name = primary.upstream.and_then(|id| config.upstreams.get(id)).map_or("nobody", |u| &u.name);
        format!("{name}:{}", primary.weight)
    };
    let all: Vec<String> = route.primaries().iter().map(one).collect();
    all.join(" ")
}

fn percent(of: Percent) -> String {
    (f64::from(of.per_million) / 1e4).to_string()
}

fn push(all: &mut Vec<Difference>, key: &str, from: String, to: String) {
    if from != to {
        all.push(Difference { key: key.to_owned(), from, to });
    }
}

fn changed(key: &str, how: &str) -> Difference {
    Difference { key: key.to_owned(), from: String::new(), to: how.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Config {
        config::parse("test", text).expect("the test's own text is sound").config
    }

    const BEFORE: &str = r#"
        [upstream.v1]
        endpoints = ["127.0.0.1:1"]
        [upstream.v2]
        endpoints = ["127.0.0.1:2"]
        [[route]]
        name = "all"
        primaries = [{ upstream = "v1", weight = 9 }, { upstream = "v2", weight = 1 }]
        mirrors = [{ upstream = "v2", percent = 5 }]
    "#;

    #[track_caller]
    fn said(after: &str) -> Vec<String> {
        differences(&of(BEFORE), &of(after)).0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_was_changed_is_named_by_its_key_with_from_and_to() {
        let rows: [(&str, &str, &[&str]); 8] = [
            ("", "", &[]),
            ("percent = 5", "percent = 7.5", &["route.all.mirrors.v2.percent: 5 → 7.5"]),
            ("weight = 9", "weight = 8", &["route.all.primaries: v1:9 v2:1 → v1:8 v2:1"]),
            (
                "\"127.0.0.1:1\"",
                "\"127.0.0.1:1\", \"[::1]:1\"",
                &["upstream.v1.endpoints: 127.0.0.1:1 → 127.0.0.1:1 [::1]:1"],
            ),
            ("percent = 5", "percent = 5, ttl = \"1s\"", &["route.all.mirrors.v2: changed"]),
            ("name = \"all\"", "name = \"a b\"", &["route.all: a route → none", "route.\"a b\": a route"]),
            (
                "[upstream.v1]",
                "[[listener]]\nbind = \"127.0.0.1:8080\"\nprotocols = [\"h2\"]\n[http2]\nresets_max = 7\n[upstream.v1]",
                &["listener.protocols: changed", "http2: changed"],
            ),
            (
                "[upstream.v2]",
                "[limits]\nexchanges_max = 7\n[upstream.a0]\nendpoints = [\"a:1\"]\n[upstream.v2]",
                &["limits: changed", "upstream.a0.endpoints: a:1"],
            ),
        ];
        for (old, new, expect) in rows {
            let after = if old.is_empty() { BEFORE.to_owned() } else { BEFORE.replacen(old, new, 1) };
            assert_eq!(said(&after), expect, "{old} → {new}");
        }
    }

    #[test]
    fn many_differences_are_counted() {
        let routes: String = (0..100)
            .map(|n| format!("[[route]]\nname = \"r{n}\"\npath = \"/{n}\"\nprimary = \"v1\"\n"))
            .collect();
        let (told, more) = differences(&of(BEFORE), &of(&format!("{BEFORE}{routes}")));
        assert_eq!((told.len(), more), (DIFFERENCES_MAX, 100 - DIFFERENCES_MAX));
    }
}
