//! HTTPRoutes and GRPCRoutes → routes: every match a route of its own, the most specific first.

use std::cmp::Reverse;
use std::time::Duration;

use super::attach::{Around, Attach};
use super::gateway_api::{
    BackendRef, Filter, HttpRoute, ReferenceGrant, RequestMirror, Retry, RouteMatch, Rule, ValueMatch,
};
use super::grpc_route::{Call, Route, RouteKind};
use super::hostnames::{Asked, Isolated, Specific, specific};
use super::policy::{duration, unless_zero};
use super::rank::{Rank, Ranked, kept_from_others};
use super::services::Services;
use super::{Resource, cors, filters, grants, mirror_policy};
use crate::RetryOn;
use crate::file;
use crate::problem::{Place, Report};
use crate::reader::{At, Key, List};

/// Retries of one request (`retries.attempts`).
const RETRIES_MAX: u64 = 10;

/// Routes of all of them, the most specific first.
pub(super) fn routes(
    all: &[Route],
    around: &Around<'_>,
    grants: &[Resource<ReferenceGrant>],
    services: &mut Services,
    report: &mut Report,
) -> List<file::Route> {
    let mut ranked = Vec::new();
    let mut attach = Attach::new(all, around, services, report);
    for route in all {
        // Hosts differ in how specific they are, so each stands for itself.
        for (nth, asked) in attach.asked(route, services, report).into_iter().enumerate() {
            let Asked { hosts, port, own } = asked;
            let Route { kind, of, calls, is_void: _ } = route;
            let emit =
                Emit { kind: *kind, route: of, calls, hosts, port, own, nth, grants, services, report };
            emit.rules(&mut ranked);
        }
    }
    // Where a route of the listener takes all that comes nothing is left.
    let is_left =
        |one: &&Isolated| !ranked.iter().any(|ranked| ranked.takes_all(&one.host.value, one.port.as_ref()));
    let kept: Vec<Ranked> = attach.isolated().filter(is_left).map(kept_from_others).collect();
    ranked.extend(kept);
    ranked.sort_by(|a, b| a.rank.cmp(&b.rank));
    ranked
        .into_iter()
        .map(|Ranked { hosts, route, .. }| match route {
            Key::Given(mut given) => {
                if let Some(first) = hosts.first() {
                    let list = hosts.iter().map(|host| Key::Given(host.clone())).collect();
                    given.value.hosts = Key::at(list, &first.at);
                }
                Key::Given(given)
            }
            other => other,
        })
        .collect()
}

/// Services that its rules name, with their namespaces where they are given.
pub(super) fn backends(route: &HttpRoute) -> impl Iterator<Item = (&str, Option<&str>)> {
    let rules = route.rules.given().map(|list| list.value.as_slice()).unwrap_or_default();
    rules.iter().filter_map(Key::given).flat_map(|rule| {
        let backends = rule.value.backend_refs.given().map(|list| list.value.as_slice()).unwrap_or_default();
        let backends = backends.iter().filter_map(Key::given);
        let filters = backends.clone().map(|backend| &backend.value.filters).chain([&rule.value.filters]);
        let filters =
            filters.filter_map(Key::given).flat_map(|list| list.value.iter().filter_map(Key::given));
        let mirrors =
            filters.filter_map(|filter| filter.value.request_mirror.given()?.value.backend_ref.given());
        backends.chain(mirrors).filter_map(|backend| {
            let namespace = backend.value.namespace.given().map(|namespace| namespace.value.as_str());
            Some((backend.value.name.given()?.value.as_str(), namespace))
        })
    })
}

/// A route under some of its hosts.
struct Emit<'a> {
    kind: RouteKind,
    route: &'a Resource<HttpRoute>,
    calls: &'a [Vec<Call>],
    hosts: Vec<At<String>>,
    port: Option<At<u64>>,
    own: Specific,
    /// The position of these hosts among the route's.
    nth: usize,
    grants: &'a [Resource<ReferenceGrant>],
    services: &'a mut Services,
    report: &'a mut Report,
}

/// A list of filters, read.
#[derive(Default)]
struct Filters {
    request_headers: Key<file::HeaderEdits>,
    response_headers: Key<file::HeaderEdits>,
    rewrite: Key<file::Rewrite>,
    redirect: Key<file::Redirect>,
    cors: Key<file::Cors>,
    mirrors: List<file::Mirror>,
}

impl Emit<'_> {
    fn rules(mut self, ranked: &mut Vec<Ranked>) {
        let list = self.route.spec.rules.given().map(|list| list.value.as_slice()).unwrap_or_default();
        for (index, rule) in list.iter().enumerate() {
            let Some(rule) = rule.given() else { continue };
            let base = self.rule(rule);
            let matches = rule.value.matches.given().map(|list| list.value.as_slice()).unwrap_or_default();
            let every = [Key::at(RouteMatch::default(), &rule.at)];
            let matches = if matches.is_empty() { every.as_slice() } else { matches };
            for (nth, given) in matches.iter().enumerate() {
                let Some(given) = given.given() else { continue };
                let mut made = base.clone();
                let mut rank = self.matches(given, &mut made);
                rank.place = index * 1_000 + nth;
                if let Some(Call { service, method }) = self.calls.get(index).and_then(|all| all.get(nth)) {
                    // Its whole path says no more than its parts.
                    rank.exact = Reverse(false);
                    (rank.prefix, rank.call) = (Reverse(service + 1), Reverse(*method));
                }
                made.port = self.port.clone().map_or(Key::Absent, Key::Given);
                let own =
                    rule.value.name.given().map_or_else(|| format!("rules[{index}]"), |n| n.value.clone());
                let mut name = format!("{}/{own}", self.route.shown);
                if matches.len() > 1 {
                    name.push_str(&format!("/matches[{nth}]"));
                }
                if self.nth > 0 {
                    name.push_str(&format!(" for {}", self.hosts.first().map_or("*", |host| &host.value)));
                }
                made.name = Key::at(name, &given.at);
                ranked.push(Ranked { rank, hosts: self.hosts.clone(), route: Key::at(made, &given.at) });
            }
        }
    }

    /// The route of a rule without its matches: where requests go, and with which changes.
    fn rule(&mut self, rule: &At<Rule>) -> file::Route {
        let filters = self.filters(&rule.value.filters);
        let mut made = file::Route {
            response_headers: filters.response_headers,
            cors: filters.cors,
            ..file::Route::default()
        };
        if !filters.redirect.is_absent() {
            if let Some(rewrite) = filters.rewrite.given() {
                self.report.error(&rewrite.at, "cannot stand beside a redirect: nothing is forwarded");
            }
            self.unused(&rule.value, "the rule redirects", true);
            made.redirect = filters.redirect;
            return made;
        }
        let backends = rule.value.backend_refs.given().map(|list| list.value.as_slice()).unwrap_or_default();
        let backends: Vec<&At<BackendRef>> = backends.iter().filter_map(Key::given).collect();
        if backends.is_empty() && self.kind == RouteKind::Grpc {
            self.report.warn(&rule.at, "has no backend: its calls are answered UNAVAILABLE");
            self.unused(&rule.value, "the rule has no backend", false);
            made.primaries = nobody(&rule.at);
            return made;
        }
        if backends.is_empty() {
            let reply = file::Reply { status: Key::at(500, &rule.at), ..file::Reply::default() };
            self.report.warn(&rule.at, "has no backend and no redirect: its requests are answered 500");
            self.unused(&rule.value, "the rule has no backend", false);
            made.reply = Key::at(reply, &rule.at);
            return made;
        }
        made.request_headers = filters.request_headers;
        made.rewrite = filters.rewrite;
        let (mut primaries, mut mirrors) = (List::new(), filters.mirrors);
        for backend in backends {
            let (primary, own) = self.backend(backend);
            primaries.push(Key::at(primary, &backend.at));
            mirrors.extend(own);
        }
        if primaries
            .iter()
            .filter_map(Key::given)
            .all(|p: &At<file::Primary>| p.value.weight.given().is_some_and(|w| w.value == 0))
        {
            if self.kind == RouteKind::Grpc {
                self.report.warn(&rule.at, "all backends have weight 0: its calls are answered UNAVAILABLE");
                self.unused(&rule.value, "no backend has a weight", false);
                made.primaries = nobody(&rule.at);
                return made;
            }
            let reply = file::Reply { status: Key::at(500, &rule.at), ..file::Reply::default() };
            self.report.warn(&rule.at, "all backends have weight 0: its requests are answered 500");
            self.unused(&rule.value, "no backend has a weight", false);
            return file::Route {
                reply: Key::at(reply, &rule.at),
                response_headers: made.response_headers,
                cors: made.cors,
                ..file::Route::default()
            };
        }
        made.primaries = Key::at(primaries, &rule.at);
        if self.kind == RouteKind::Http {
            made.upgrade = file::Route::any_upgrade(&rule.at);
        }
        name_apart(&mut mirrors, &rule.at);
        mirror_policy::baselines_of_candidates(&mut mirrors, self.report);
        if !mirrors.is_empty() {
            made.mirrors = Key::at(mirrors, &rule.at);
        }
        let mut try_timeout = Key::Absent;
        if let Some(timeouts) = rule.value.timeouts.given() {
            // 0s switches a timeout off.
            made.timeout = unless_zero(&timeouts.value.request);
            try_timeout = unless_zero(&timeouts.value.backend_request);
        }
        made.retries = self.retries(&rule.value.retry, try_timeout, &rule.at);
        made
    }

    /// Warns of the parts of a rule that have no effect where nothing is forwarded.
    fn unused(&mut self, rule: &Rule, why: &str, backends_too: bool) {
        let mut given = vec![
            rule.timeouts.given().map(|key| &key.at),
            rule.retry.given().map(|key| &key.at),
            rule.backend_refs.given().filter(|_| backends_too).map(|key| &key.at),
        ];
        let filters = rule.filters.given().map(|list| list.value.as_slice()).unwrap_or_default();
        for filter in filters.iter().filter_map(Key::given) {
            // Filters on responses have their effect on our own answer too.
            given.push(filter.value.request_mirror.given().map(|key| &key.at));
            given.push(filter.value.request_header_modifier.given().map(|key| &key.at));
            given.push(filter.value.url_rewrite.given().filter(|_| !backends_too).map(|key| &key.at));
        }
        for at in given.into_iter().flatten() {
            self.report.warn(at, format!("is ignored: {why}"));
        }
    }

    fn retries(&mut self, key: &Key<Retry>, try_timeout: Key<Duration>, at: &Place) -> Key<file::Retries> {
        let Some(given) = key.given() else {
            if try_timeout.is_absent() {
                return Key::Absent;
            }
            let made = file::Retries {
                attempts: Key::at(0, at),
                per_try_timeout: try_timeout,
                ..file::Retries::default()
            };
            return Key::at(made, at);
        };
        let written = &given.value;
        let on = [RetryOn::ConnectFailure, RetryOn::Reset].map(|on| Key::at(on, &given.at)).to_vec();
        let made = file::Retries {
            attempts: match written.attempts.given() {
                Some(attempts) if attempts.value > RETRIES_MAX => {
                    let message = format!("is more than is tried: {RETRIES_MAX} times again, and no more");
                    self.report.warn(&attempts.at, message);
                    Key::at(RETRIES_MAX, &attempts.at)
                }
                Some(_) => written.attempts.clone(),
                None if written.attempts.is_absent() => Key::at(1, &given.at),
                None => Key::Refused,
            },
            on: Key::at(on, &given.at),
            statuses: written.codes.clone(),
            per_try_timeout: try_timeout,
            backoff: duration(&written.backoff),
        };
        Key::at(made, &given.at)
    }

    fn matches(&mut self, given: &At<RouteMatch>, made: &mut file::Route) -> Rank {
        let written = &given.value;
        let mut rank = Rank {
            host: Reverse(specific(self.hosts.first().map(|host| host.value.as_str()))),
            own: Reverse(self.own),
            exact: Reverse(false),
            prefix: Reverse(1),
            call: Reverse(0),
            method: Reverse(!written.method.is_absent()),
            headers: Reverse(0),
            query: Reverse(0),
            created: self.route.created.clone(),
            name: format!("{}/{}", self.route.namespace, self.route.name),
            place: 0,
        };
        let path = written.path.given();
        let kind = path.and_then(|path| path.value.r#type.given());
        let value = path.map_or(Key::Absent, |path| path.value.value.clone());
        let value = if value.is_absent() { Key::at("/".to_owned(), &given.at) } else { value };
        let length = value.given().map_or(0, |value| value.value.trim_end_matches('/').len());
        match kind.map_or("PathPrefix", |kind| kind.value.as_str()) {
            "PathPrefix" => {
                made.path_elements = value;
                rank.prefix = Reverse(length + 1);
            }
            "Exact" => {
                made.path = value;
                rank.exact = Reverse(true);
            }
            "RegularExpression" => {
                made.path_regex = value;
                // Where it stands is the implementation's choice: behind every prefix that is not the root.
                rank.prefix = Reverse(2);
            }
            other => {
                if let Some(kind) = kind {
                    let message =
                        format!("{other:?} is not known; must be Exact, PathPrefix or RegularExpression");
                    self.report.error(&kind.at, message);
                }
            }
        }
        if let Some(method) = written.method.given() {
            made.methods = Key::at(vec![Key::Given(method.clone())], &method.at);
        }
        let mut when: List<file::Condition> = Vec::new();
        let (headers, query) = (&written.headers, &written.query_params);
        rank.headers = Reverse(self.values(headers, &mut when, true));
        rank.query = Reverse(self.values(query, &mut when, false));
        if !when.is_empty() {
            made.when = Key::at(when, &given.at);
        }
        rank
    }

    fn values(
        &mut self,
        key: &Key<List<ValueMatch>>,
        when: &mut List<file::Condition>,
        header: bool,
    ) -> usize {
        let list = key.given().map(|list| list.value.as_slice()).unwrap_or_default();
        let mut seen: Vec<String> = Vec::new();
        for given in list.iter().filter_map(Key::given) {
            let Some(name) = given.value.name.given() else {
                self.report.error(&given.at.child("name"), "is missing");
                continue;
            };
            // Of several with one name only the first counts.
            let plain = if header { name.value.to_ascii_lowercase() } else { name.value.clone() };
            if seen.contains(&plain) {
                self.report.warn(&name.at, "is ignored: an earlier match has this name");
                continue;
            }
            seen.push(plain);
            let mut made = file::Condition::default();
            if header {
                made.header = Key::Given(name.clone());
            } else {
                made.query = Key::Given(name.clone());
            }
            let value = given.value.value.clone();
            if value.is_absent() {
                self.report.error(&given.at.child("value"), "is missing");
            }
            match given.value.r#type.given().map(|kind| (kind.value.as_str(), &kind.at)) {
                None | Some(("Exact", _)) => made.exact = value,
                Some(("RegularExpression", _)) => made.regex = value,
                Some((other, at)) => {
                    self.report
                        .error(at, format!("{other:?} is not known; must be Exact or RegularExpression"));
                }
            }
            when.push(Key::at(made, &given.at));
        }
        seen.len()
    }

    fn backend(&mut self, backend: &At<BackendRef>) -> (file::Primary, List<file::Mirror>) {
        let filters = self.filters(&backend.value.filters);
        if let Some(cors) = filters.cors.given() {
            let message =
                "is offered for a whole rule only: a preflight is answered before a backend is chosen";
            self.report.error(&cors.at, message);
        }
        let otherwise = match self.kind {
            RouteKind::Http => "its share is answered 500",
            RouteKind::Grpc => "its share of the calls is answered UNAVAILABLE",
        };
        let upstream = if filters.redirect.is_absent() {
            self.backend_upstream(backend, otherwise)
        } else {
            if let Some(rewrite) = filters.rewrite.given() {
                self.report.error(&rewrite.at, "cannot stand beside a redirect: nothing is forwarded");
            }
            let mirrors = filters.mirrors.iter().filter_map(Key::given).map(|mirror| &mirror.at);
            for at in mirrors.chain(filters.request_headers.given().map(|edits| &edits.at)) {
                self.report.warn(at, "is ignored: this share is redirected");
            }
            None
        };
        let primary = file::Primary {
            upstream: Key::at(upstream.clone().unwrap_or_else(|| "!".to_owned()), &backend.at),
            weight: if backend.value.weight.is_absent() {
                Key::at(1, &backend.at)
            } else {
                backend.value.weight.clone()
            },
            request_headers: filters.request_headers,
            response_headers: filters.response_headers,
            rewrite: filters.rewrite,
            redirect: filters.redirect,
        };
        // A backend that cannot be reached has no requests, and so none for its mirrors.
        let Some(name) = upstream else { return (primary, List::new()) };
        let mut mirrors = filters.mirrors;
        for mirror in &mut mirrors {
            if let Key::Given(mirror) = mirror {
                mirror.value.only_primary = Key::at(name.clone(), &backend.at);
            }
        }
        (primary, mirrors)
    }

    /// The upstream for a backend; `None` for one that cannot be had, after a warning with `otherwise`.
    fn backend_upstream(&mut self, backend: &At<BackendRef>, otherwise: &str) -> Option<String> {
        let written = &backend.value;
        let is = |key: &Key<String>, expect: &[&str]| {
            key.given().is_none_or(|given| expect.contains(&given.value.as_str()))
        };
        if !is(&written.group, &["", "core"]) || !is(&written.kind, &["Service"]) {
            self.report.warn(&backend.at, format!("is no Service, so it cannot be had: {otherwise}"));
            return None;
        }
        let Some(name) = written.name.given() else {
            self.report.error(&backend.at.child("name"), "is missing");
            return None;
        };
        let namespace = written.namespace.given().map_or(self.route.namespace.as_str(), |n| n.value.as_str());
        let kind = self.kind.word();
        let who = grants::From { kind, namespace: &self.route.namespace };
        if !grants::permit(self.grants, who, ("Service", namespace, &name.value)) {
            let message = format!(
                "no ReferenceGrant in namespace {namespace} lets {kind}s of {} name its service {}: {otherwise}",
                self.route.namespace, name.value
            );
            self.report.warn(&name.at, message);
            return None;
        }
        let full = self.services.in_full(&name.value, namespace);
        if !self.services.is_known(&full) {
            let message = format!(
                "no manifest and no --endpoint names the service {full}: {otherwise}; \
                 write --endpoint {}=ADDRESS:PORT",
                name.value
            );
            self.report.warn(&name.at, message);
            return None;
        }
        let port = written.port.given().map(|port| port.value);
        self.services.plain_upstream(full, port, self.kind.asker(), (&name.at, otherwise), self.report)
    }

    fn filters(&mut self, key: &Key<List<Filter>>) -> Filters {
        let mut made = Filters::default();
        let mut seen: Vec<&str> = Vec::new();
        for filter in
            key.given().map(|list| list.value.as_slice()).unwrap_or_default().iter().filter_map(Key::given)
        {
            let written = &filter.value;
            let Some(kind) = written.r#type.given() else {
                self.report.error(&filter.at.child("type"), "is missing");
                continue;
            };
            if kind.value != "RequestMirror" && seen.contains(&kind.value.as_str()) {
                self.report.error(&kind.at, "stands here a second time, and only one of them can be meant");
                continue;
            }
            seen.push(&kind.value);
            self.only_its_own(written, &kind.value);
            match kind.value.as_str() {
                other if !self.kind.offers(other) => {
                    let message = format!("{other:?} is not offered for a {}", self.kind.word());
                    self.report.error(&kind.at, message);
                }
                "RequestHeaderModifier" => {
                    made.request_headers = filters::edits(&written.request_header_modifier, self.report)
                }
                "ResponseHeaderModifier" => {
                    made.response_headers = filters::edits(&written.response_header_modifier, self.report)
                }
                "RequestMirror" => made.mirrors.extend(self.mirror(filter)),
                "RequestRedirect" => made.redirect = self.redirect(filter),
                "URLRewrite" => made.rewrite = self.rewrite(filter),
                "CORS" => match written.cors.given() {
                    Some(cors) => made.cors = cors::of_filter(cors),
                    None => self.report.error(&filter.at.child("cors"), "is missing"),
                },
                other => {
                    let message = format!(
                        "{other:?} is not offered, and leaving it out would change what becomes of requests"
                    );
                    self.report.error(&kind.at, message);
                }
            }
        }
        made
    }

    /// A filter has the table of its type and no other.
    fn only_its_own(&mut self, filter: &Filter, kind: &str) {
        let tables = [
            ("RequestHeaderModifier", filter.request_header_modifier.given().map(|key| &key.at)),
            ("ResponseHeaderModifier", filter.response_header_modifier.given().map(|key| &key.at)),
            ("RequestMirror", filter.request_mirror.given().map(|key| &key.at)),
            ("RequestRedirect", filter.request_redirect.given().map(|key| &key.at)),
            ("URLRewrite", filter.url_rewrite.given().map(|key| &key.at)),
            ("CORS", filter.cors.given().map(|key| &key.at)),
        ];
        for (name, at) in tables {
            if let (true, Some(at)) = (name != kind, at) {
                self.report.error(at, format!("belongs to a filter of type {name:?}, and this is {kind:?}"));
            }
        }
    }

    fn mirror(&mut self, filter: &At<Filter>) -> Option<Key<file::Mirror>> {
        let Some(mirror) = filter.value.request_mirror.given() else {
            self.report.error(&filter.at.child("requestMirror"), "is missing");
            return None;
        };
        let Some(backend) = mirror.value.backend_ref.given() else {
            self.report.error(&mirror.at.child("backendRef"), "is missing");
            return None;
        };
        let percent = self.percent(&mirror.value);
        // A mirror that cannot be had is left out; the route serves all the same.
        let upstream = self.backend_upstream(backend, "it is left out")?;
        let mut made = file::Mirror {
            upstream: Key::at(upstream.clone(), &backend.at),
            percent,
            ..file::Mirror::default()
        };
        self.services.mirror_policy(&upstream, &mut made, self.report);
        let owner = (self.kind.word(), self.route.namespace.as_str(), self.route.name.as_str());
        self.services.policies.apply(owner, &mut made).then(|| Key::at(made, &mirror.at))
    }

    fn percent(&mut self, mirror: &RequestMirror) -> Key<f64> {
        match (mirror.percent.given(), mirror.fraction.given()) {
            (None, None) => Key::Absent,
            (Some(percent), Some(_)) => {
                self.report.error(&percent.at, "percent and fraction cannot be given together");
                Key::Refused
            }
            (Some(percent), None) if percent.value <= 100 => Key::at(percent.value as f64, &percent.at),
            (Some(percent), None) => {
                self.report
                    .error(&percent.at, format!("{} is out of range: must be from 0 to 100", percent.value));
                Key::Refused
            }
            (None, Some(fraction)) => {
                let numerator = fraction.value.numerator.given().map_or(0, |n| n.value);
                let denominator = fraction.value.denominator.given().map_or(100, |n| n.value);
                if denominator == 0 || numerator > denominator {
                    let message = format!("{numerator}/{denominator} is no share: must be from 0 to 1");
                    self.report.error(&fraction.at, message);
                    return Key::Refused;
                }
                Key::at(numerator as f64 * 100.0 / denominator as f64, &fraction.at)
            }
        }
    }

    fn redirect(&mut self, filter: &At<Filter>) -> Key<file::Redirect> {
        let Some(redirect) = filter.value.request_redirect.given() else {
            self.report.error(&filter.at.child("requestRedirect"), "is missing");
            return Key::Refused;
        };
        let written = &redirect.value;
        let (path, path_prefix) = filters::path(&written.path, self.report);
        let made = file::Redirect {
            status: written.status_code.clone(),
            scheme: written.scheme.clone(),
            host: written.hostname.clone(),
            port: written.port.clone(),
            path,
            path_prefix,
        };
        Key::at(made, &redirect.at)
    }

    fn rewrite(&mut self, filter: &At<Filter>) -> Key<file::Rewrite> {
        let Some(rewrite) = filter.value.url_rewrite.given() else {
            self.report.error(&filter.at.child("urlRewrite"), "is missing");
            return Key::Refused;
        };
        let (path, path_prefix) = filters::path(&rewrite.value.path, self.report);
        let host = rewrite.value.hostname.clone();
        Key::at(file::Rewrite { host, path, path_prefix, ..file::Rewrite::default() }, &rewrite.at)
    }
}

/// A primary that is not there.
fn nobody(at: &Place) -> Key<List<file::Primary>> {
    let primary = file::Primary { upstream: Key::at("!".to_owned(), at), ..file::Primary::default() };
    Key::at(vec![Key::at(primary, at)], at)
}

/// Mirrors of one route that go to one service need names of their own.
fn name_apart(mirrors: &mut List<file::Mirror>, at: &Place) {
    let mut seen: Vec<String> = Vec::new();
    for mirror in mirrors {
        let Key::Given(mirror) = mirror else { continue };
        let Some(own) = mirror.value.upstream.given().map(|name| name.value.clone()) else { continue };
        let count = seen.iter().filter(|other| **other == own).count();
        if count > 0 {
            mirror.value.name = Key::at(format!("{own}:{}", count + 1), at);
        }
        seen.push(own);
    }
}
