//! VirtualServices → routes: the owner of each host, first match first, and the action on the request.

use super::istio::{
    Destination, HeaderOperations, HttpFault, HttpMatch, HttpMirror, HttpRetry, HttpRoute, Percentage,
    StringMatch, VirtualService,
};
use super::policy::{duration, unless_zero};
use super::services::Services;
use super::virtual_hosts::{self, Spelled, VirtualHost, covers, spellings};
use super::{Resource, cors, header_edits, mirror_policy};
use crate::problem::{Place, Report};
use crate::reader::{At, Key, List, Named};
use crate::{RetryOn, file, formats};

/// Routes of all VirtualServices, in the order in which they are tried.
///
/// A host belongs to the VirtualServices that name it, and not to those that name a wider one: so its last route answers 404
/// where a later route would take the request, of this list or, with `more_follow`, behind it. A VirtualService that is `alone`
/// also takes requests whose Host names none.
pub(super) fn routes(
    all: &[Resource<VirtualService>],
    more_follow: bool,
    alone: bool,
    services: &mut Services,
    report: &mut Report,
) -> List<file::Route> {
    let mut routes = List::new();
    let mut spelled = Spelled::new();
    let hosts = virtual_hosts::all(all, services, report);
    let wild: Vec<String> =
        hosts.iter().map(|host| &host.name).filter(|name| name.starts_with('*')).cloned().collect();
    let mut next = hosts.into_iter().peekable();
    while let Some(first) = next.next() {
        let owners = first.owners.clone();
        let mut together = vec![first];
        while let Some(host) = next.next_if(|host| host.owners == owners) {
            together.push(host);
        }
        let every = together.iter().any(|host| host.name == "*");
        let mut named: Vec<At<String>> = Vec::new();
        for (host, owner) in together.iter().filter_map(|host| Some((host, all.get(*host.owners.first()?)?)))
        {
            named.extend(spellings(host, owner, alone, &mut spelled, report));
        }
        let taken = |host: &VirtualHost| wild.iter().any(|wild| covers(wild, &host.name));
        let wider = more_follow || together.iter().any(taken);
        let hosts = if every { Vec::new() } else { named };
        let mut own = List::new();
        for service in owners.iter().filter_map(|index| all.get(*index)) {
            Group { service, hosts: &hosts }.emit(&mut own, services, report);
        }
        let takes_all = |route: &Key<file::Route>| route.given().is_some_and(|route| takes_all(&route.value));
        if owners.len() > 1 {
            // A route that takes everything would leave nothing to those behind it (Istio, for gateways).
            own.sort_by_key(takes_all);
        }
        if let (false, true, Some(service)) =
            (own.iter().any(takes_all), wider && !every, owners.first().and_then(|index| all.get(*index)))
        {
            own.push(Group { service, hosts: &hosts }.not_found());
        }
        routes.extend(own);
    }
    routes
}

/// Whether every request for its hosts is taken by a route.
fn takes_all(route: &file::Route) -> bool {
    let Some(matches) = route.matches.given() else { return true };
    matches.value.iter().filter_map(Key::given).any(|one| {
        let one = &one.value;
        let path = one.path_prefix.given().is_none_or(|prefix| prefix.value == "/");
        path && one.path.is_absent()
            && one.path_regex.is_absent()
            && one.methods.is_absent()
            && one.port.is_absent()
            && one.when.is_absent()
    })
}

/// Services that its routes name.
pub(super) fn destinations(service: &VirtualService) -> impl Iterator<Item = &str> {
    let routes = service.http.given().map(|list| list.value.as_slice()).unwrap_or_default();
    routes.iter().filter_map(Key::given).flat_map(|route| {
        let http = &route.value;
        let primaries = http.route.given().map(|list| list.value.as_slice()).unwrap_or_default();
        let mirrors = http.mirrors.given().map(|list| list.value.as_slice()).unwrap_or_default();
        let primaries = primaries.iter().filter_map(|one| one.given()?.value.destination.given());
        let mirrors = mirrors.iter().filter_map(|one| one.given()?.value.destination.given());
        let all = primaries.chain(mirrors).chain(http.mirror.given());
        all.filter_map(|destination| Some(destination.value.host.given()?.value.as_str()))
    })
}

/// Hosts of one VirtualService that are served alike.
struct Group<'s> {
    service: &'s Resource<VirtualService>,
    /// Empty is every host.
    hosts: &'s [At<String>],
}

impl Group<'_> {
    fn emit(&self, routes: &mut List<file::Route>, services: &mut Services, report: &mut Report) {
        let list = self.service.spec.http.given().map(|list| list.value.as_slice()).unwrap_or_default();
        if list.is_empty() {
            report.error(&self.service.at.child("http"), "is missing: there is nothing to do with a request");
        }
        for (index, route) in list.iter().enumerate() {
            let Some(route) = route.given() else { continue };
            if let Some(made) = self.route(index, route, services, report) {
                routes.push(Key::at(made, &route.at));
            }
        }
    }

    fn name(&self, what: &str, at: &Place) -> Key<String> {
        let own = &self.service.shown;
        // A second group of the same service needs a name of its own.
        let all = self.service.spec.hosts.given().map_or(0, |list| list.value.len());
        let first = self.hosts.first().map(|host| host.value.as_str());
        let hosts = match first {
            Some(first) if all > 1 => format!(" for {first}"),
            Some(_) | None => String::new(),
        };
        Key::at(format!("{own}/{what}{hosts}"), at)
    }

    fn hosts(&self) -> Key<List<String>> {
        match self.hosts.first() {
            None => Key::Absent,
            Some(first) => {
                let hosts = self.hosts.iter().map(|host| Key::Given(host.clone())).collect();
                Key::at(hosts, &first.at)
            }
        }
    }

    /// The route at the end of a virtual host, which answers 404.
    fn not_found(&self) -> Key<file::Route> {
        let at = &self.service.at;
        let reply = file::Reply { status: Key::at(404, at), ..file::Reply::default() };
        let route = file::Route {
            name: self.name("otherwise", at),
            hosts: self.hosts(),
            reply: Key::at(reply, at),
            ..file::Route::default()
        };
        Key::at(route, at)
    }

    fn route(
        &self,
        index: usize,
        written: &At<HttpRoute>,
        services: &mut Services,
        report: &mut Report,
    ) -> Option<file::Route> {
        let http = &written.value;
        let what = http.name.given().map_or_else(|| format!("http[{index}]"), |name| name.value.clone());
        let mut route = file::Route { name: self.name(&what, &written.at), ..file::Route::default() };
        self.matches(http, &mut route, report)?;
        route.fault = fault(&http.fault, report);
        let edits = http.headers.given().map(|headers| &headers.value);
        route.response_headers = edits.map_or(Key::Absent, |edits| operations(&edits.response, report));
        route.cors = cors::of_policy(&http.cors_policy, report);
        answers_alone(http, report);
        if let Some(redirect) = http.redirect.given() {
            route.redirect = redirect_of(redirect, report);
            return Some(route);
        }
        if let Some(direct) = http.direct_response.given() {
            let body = direct.value.body.given().map_or(Key::Absent, |body| body.value.string.clone());
            let reply = file::Reply { status: direct.value.status.clone(), body, ..file::Reply::default() };
            route.reply = Key::at(reply, &direct.at);
            return Some(route);
        }
        route.request_headers = edits.map_or(Key::Absent, |edits| request_operations(&edits.request, report));
        route.rewrite = rewrite(http, report);
        if let (Some(rewrite), Key::Given(edits)) = (route.rewrite.given(), &mut route.request_headers)
            && !rewrite.value.host.is_absent()
            && let Some((name, _)) = take_host(&mut edits.value.set)
        {
            report.warn(&name.at, "is ignored: rewrite.authority stands above it, as in Istio");
        }
        // `0s` switches the timeout off, which it is without one.
        route.timeout = unless_zero(&http.timeout);
        route.retries = retries(&http.retries, &written.at, report);
        let primaries = self.primaries(written, services, report)?;
        route.primaries = Key::at(primaries, &written.at);
        route.upgrade = file::Route::any_upgrade(&written.at);
        let mirrors = self.mirrors(http, services, report);
        if !mirrors.is_empty() {
            route.mirrors = Key::at(mirrors, &written.at);
        }
        Some(route)
    }

    /// `None` where no request could be told to match.
    fn matches(&self, http: &HttpRoute, route: &mut file::Route, report: &mut Report) -> Option<()> {
        let list = http.r#match.given().map(|list| list.value.as_slice()).unwrap_or_default();
        let mut matches: List<file::Match> = Vec::new();
        for given in list.iter().filter_map(Key::given) {
            matches.push(Key::at(self.one_match(given, report), &given.at));
        }
        match http.r#match.given() {
            Some(given) if !matches.is_empty() => route.matches = Key::at(matches, &given.at),
            Some(_) | None => route.hosts = self.hosts(),
        }
        Some(())
    }

    fn one_match(&self, given: &At<HttpMatch>, report: &mut Report) -> file::Match {
        let written = &given.value;
        let mut made = file::Match { hosts: self.hosts(), ..file::Match::default() };
        let mut when: List<file::Condition> = Vec::new();
        if let Some(uri) = written.uri.given() {
            let value = &uri.value;
            made.path = value.exact.clone();
            made.path_prefix = value.prefix.clone();
            made.path_regex = value.regex.clone();
            if let Some(ignore) = written.ignore_uri_case.given()
                && ignore.value
            {
                match value.regex.given() {
                    // Istio has it for exact and prefix only.
                    Some(_) => report.warn(&ignore.at, "is ignored with a regex, as Istio does"),
                    None => made.ignore_case = Key::Given(ignore.clone()),
                }
            }
        }
        if let Some(method) = written.method.given() {
            match method.value.exact.given() {
                Some(exact) => made.methods = Key::at(vec![Key::Given(exact.clone())], &exact.at),
                None => when.push(condition(Of::Subject("method"), method, false)),
            }
        }
        for (subject, given) in [("authority", &written.authority), ("scheme", &written.scheme)] {
            if let Some(given) = given.given() {
                when.push(condition(Of::Subject(subject), given, false));
            }
        }
        let pseudo = ["uri", "scheme", "method", "authority"];
        for (fields, not) in [(&written.headers, false), (&written.without_headers, true)] {
            for (name, test) in fields.given().map(|named| named.value.as_slice()).unwrap_or_default() {
                if pseudo.contains(&name.value.as_str()) {
                    report.warn(&name.at, "is ignored among headers, as Istio does; it has a key of its own");
                } else if let Some(test) = test.given() {
                    when.push(condition(Of::Header(&name.value), test, not));
                }
            }
        }
        for (name, test) in
            written.query_params.given().map(|named| named.value.as_slice()).unwrap_or_default()
        {
            if let Some(test) = test.given() {
                when.push(condition(Of::Query(&name.value), test, false));
            }
        }
        made.port = written.port.clone();
        let selects = [
            written.source_labels.given().map(|key| &key.at),
            written.source_namespace.given().map(|key| &key.at),
            written.gateways.given().map(|key| &key.at),
        ];
        let asks_nothing_else = made.path.is_absent()
            && made.path_prefix.is_absent()
            && made.path_regex.is_absent()
            && made.methods.is_absent()
            && made.port.is_absent()
            && when.is_empty();
        for at in selects.into_iter().flatten() {
            if asks_nothing_else {
                let message =
                    "selects clients of a mesh, and nothing else tells these requests apart; not supported";
                report.error(at, message);
            } else {
                report.warn(at, "is ignored: it selects clients of a mesh");
            }
        }
        if !when.is_empty() {
            made.when = Key::at(when, &given.at);
        }
        made
    }

    fn primaries(
        &self,
        written: &At<HttpRoute>,
        services: &mut Services,
        report: &mut Report,
    ) -> Option<List<file::Primary>> {
        let list = written.value.route.given().map(|list| list.value.as_slice()).unwrap_or_default();
        if list.is_empty() {
            report.error(&written.at.child("route"), "is missing: a route forwards, redirects or answers");
            return None;
        }
        let several = list.len() > 1;
        let mut primaries = Vec::new();
        for given in list.iter().filter_map(Key::given) {
            let Some(destination) = given.value.destination.given() else {
                report.error(&given.at.child("destination"), "is missing");
                continue;
            };
            let otherwise = "its share is answered 500";
            let upstream = services.upstream(destination, &self.service.namespace, otherwise, report);
            let headers = given.value.headers.given().map(|headers| &headers.value);
            let primary = file::Primary {
                upstream: Key::at(upstream.unwrap_or_else(|| "!".to_owned()), &destination.at),
                weight: match given.value.weight.given() {
                    // Among several, no weight is none.
                    None if several => Key::at(0, &given.at),
                    None => Key::Absent,
                    Some(_) if several => given.value.weight.clone(),
                    Some(_) => Key::Absent,
                },
                request_headers: headers.map_or(Key::Absent, |h| request_operations(&h.request, report)),
                response_headers: headers.map_or(Key::Absent, |h| operations(&h.response, report)),
                ..file::Primary::default()
            };
            primaries.push(Key::at(primary, &given.at));
        }
        Some(primaries)
    }

    fn mirrors(&self, http: &HttpRoute, services: &mut Services, report: &mut Report) -> List<file::Mirror> {
        let mut mirrors = List::new();
        if http.mirror.is_absent() {
            let shares = [
                http.mirror_percent.given().map(|key| &key.at),
                http.mirror_percentage.given().map(|key| &key.at),
            ];
            for at in shares.into_iter().flatten() {
                report.warn(at, "is ignored: it is the share of mirror, which is not given");
            }
        }
        if let Some(list) = http.mirrors.given() {
            if let Some(one) = http.mirror.given() {
                report.error(&one.at, "mirror and mirrors cannot be given together");
            }
            for given in list.value.iter().filter_map(Key::given) {
                let HttpMirror { destination, percentage, authority, headers } = &given.value;
                let Some(destination) = destination.given() else {
                    report.error(&given.at.child("destination"), "is missing");
                    continue;
                };
                let share = percent(percentage, &Key::Absent, report);
                let Some(mut mirror) = self.mirror(destination, share, services, report) else { continue };
                if let Some(authority) = authority.given() {
                    mirror.host = Key::Given(authority.clone());
                }
                if let Some(headers) = headers.given() {
                    mirror.request_headers = operations(&headers.value.request, report);
                }
                name_apart(&mut mirror, &mirrors, &given.at);
                mirrors.push(Key::at(mirror, &given.at));
            }
        } else if let Some(destination) = http.mirror.given() {
            if !http.mirror_percent.is_absent() {
                let place = http.mirror_percent.given().map(|given| given.at.clone()).unwrap_or_default();
                report.warn(&place, "is deprecated: write mirrorPercentage");
            }
            let percent = percent(&http.mirror_percentage, &http.mirror_percent, report);
            let mirror = self.mirror(destination, percent, services, report);
            mirrors.extend(mirror.map(|mirror| Key::at(mirror, &destination.at)));
        }
        mirror_policy::baselines_of_candidates(&mut mirrors, report);
        mirrors
    }

    /// `None` for a mirror that cannot be had; the route serves all the same.
    fn mirror(
        &self,
        destination: &At<Destination>,
        percent: Key<f64>,
        services: &mut Services,
        report: &mut Report,
    ) -> Option<file::Mirror> {
        let name = services.upstream(destination, &self.service.namespace, "it gets no copy", report)?;
        let mut mirror = file::Mirror {
            upstream: Key::at(name.clone(), &destination.at),
            percent,
            ..file::Mirror::default()
        };
        services.mirror_policy(&name, &mut mirror, report);
        let owner = ("VirtualService", self.service.namespace.as_str(), self.service.name.as_str());
        services.policies.apply(owner, &mut mirror).then_some(mirror)
    }
}

/// The same destination twice is how Istio amplifies: the second copy needs a name of its own.
fn name_apart(mirror: &mut file::Mirror, before: &List<file::Mirror>, at: &Place) {
    let own = mirror.upstream.given().map(|name| name.value.clone());
    let same = before
        .iter()
        .filter_map(Key::given)
        .filter(|m| m.value.upstream.given().map(|n| &n.value) == own.as_ref());
    let count = same.count();
    if let (Some(own), 1..) = (own, count) {
        mirror.name = Key::at(format!("{own}:{}", count + 1), at);
    }
}

enum Of<'a> {
    Subject(&'a str),
    Header(&'a str),
    Query(&'a str),
}

fn condition(of: Of<'_>, test: &At<StringMatch>, not: bool) -> Key<file::Condition> {
    let at = &test.at;
    let mut made = file::Condition {
        exact: test.value.exact.clone(),
        prefix: test.value.prefix.clone(),
        regex: test.value.regex.clone(),
        ..file::Condition::default()
    };
    // A regex for everything is presence (Envoy would ask an absent field too).
    if made.regex.given().is_some_and(|regex| regex.value == "*") {
        made.regex = Key::Absent;
    }
    match of {
        Of::Subject(word) => made.of = Key::at(word.to_owned(), at),
        Of::Header(name) => made.header = Key::at(name.to_owned(), at),
        Of::Query(name) => made.query = Key::at(name.to_owned(), at),
    }
    if not {
        made.not = Key::at(true, at);
    }
    Key::at(made, at)
}

fn operations(key: &Key<HeaderOperations>, report: &mut Report) -> Key<file::HeaderEdits> {
    let Some(given) = key.given() else { return Key::Absent };
    let (set, set_format) = values(&given.value.set, report);
    let (add, add_format) = values(&given.value.add, report);
    let mut edits = header_edits(&set, &add, &given.value.remove, &given.at);
    if let Key::Given(edits) = &mut edits {
        (edits.value.set_format, edits.value.add_format) = (set_format, add_format);
    }
    edits
}

/// Values that are always the same, as they mean themselves, and those in which a request has a say, as they are written.
fn values(key: &Key<Named<String>>, report: &mut Report) -> (Key<Named<String>>, Key<Named<String>>) {
    let Some(given) = key.given() else { return (key.clone(), Key::Absent) };
    let (mut plain, mut formats) = (Named::new(), Named::new());
    for (name, value) in &given.value {
        let Some(text) = value.given() else { continue };
        match formats::format(&text.value).map(|format| formats::constant(&format)) {
            Ok(Some(constant)) => plain.push((name.clone(), Key::at(constant, &text.at))),
            Ok(None) => formats.push((name.clone(), value.clone())),
            Err(why) => report.error(&text.at, why),
        }
    }
    let formats = if formats.is_empty() { Key::Absent } else { Key::at(formats, &given.at) };
    (Key::at(plain, &given.at), formats)
}

/// Checks a route that redirects or answers by itself: Istio refuses other actions beside that, and the rest has no effect.
fn answers_alone(http: &HttpRoute, report: &mut Report) {
    let what = match (http.redirect.given(), http.direct_response.given()) {
        (None, None) => return,
        (Some(_), None) => "redirect",
        (None, Some(_)) => "directResponse",
        (Some(_), Some(direct)) => {
            report.error(&direct.at, "redirect and directResponse cannot be given together");
            "redirect"
        }
    };
    let others = [
        ("route", http.route.given().filter(|list| !list.value.is_empty()).map(|key| &key.at)),
        ("rewrite", http.rewrite.given().map(|key| &key.at)),
    ];
    for (name, at) in others {
        if let Some(at) = at {
            report.error(at, format!("{name} and {what} cannot be given together"));
        }
    }
    let request = http.headers.given().and_then(|headers| headers.value.request.given());
    let unused = [
        http.mirror.given().map(|key| &key.at),
        http.mirrors.given().map(|key| &key.at),
        http.mirror_percent.given().map(|key| &key.at),
        http.mirror_percentage.given().map(|key| &key.at),
        http.timeout.given().map(|key| &key.at),
        http.retries.given().map(|key| &key.at),
        request.map(|key| &key.at),
    ];
    for at in unused.into_iter().flatten() {
        report.warn(at, format!("is ignored: nothing is forwarded, as there is {what}"));
    }
}

/// Edits of a request, which has exactly one Host: adding it sets it, and removing it has no effect (as in Istio).
fn request_operations(key: &Key<HeaderOperations>, report: &mut Report) -> Key<file::HeaderEdits> {
    let mut edits = operations(key, report);
    if let Key::Given(given) = &mut edits {
        let edits = &mut given.value;
        let added = take_host(&mut edits.add);
        if let (Some(added), Key::Absent | Key::Given(_)) = (added, &edits.set) {
            let set = take_host(&mut edits.set).unwrap_or(added);
            match &mut edits.set {
                Key::Given(named) => named.value.push(set),
                Key::Absent | Key::Refused => edits.set = Key::at(vec![set], &given.at),
            }
        }
        if let Key::Given(remove) = &mut edits.remove {
            let host = |name: &Key<String>| name.given().is_some_and(|name| is_host(&name.value));
            remove.value.retain(|name| !host(name));
        }
    }
    edits
}

fn is_host(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name == ":authority"
}

/// Host, where these fields have it.
fn take_host(fields: &mut Key<Named<String>>) -> Option<(At<String>, Key<String>)> {
    let Key::Given(named) = fields else { return None };
    let index = named.value.iter().position(|(name, _)| is_host(&name.value))?;
    Some(named.value.remove(index))
}

/// Truncated to Istio's grain of 0.0001 %; given but empty is 0.
fn percent(percentage: &Key<Percentage>, legacy: &Key<u64>, report: &mut Report) -> Key<f64> {
    let given = match percentage.given() {
        Some(given) => (given.value.value.given().map_or(0.0, |value| value.value), &given.at),
        None => match legacy.given() {
            Some(given) => (given.value as f64, &given.at),
            None => return Key::Absent,
        },
    };
    let (value, at) = given;
    if !(0.0..=100.0).contains(&value) {
        report.error(at, format!("{value} is out of range: must be from 0 to 100"));
        return Key::Refused;
    }
    Key::at((value * 10_000.0).trunc() / 10_000.0, at)
}

fn fault(key: &Key<HttpFault>, report: &mut Report) -> Key<file::Fault> {
    let Some(given) = key.given() else { return Key::Absent };
    let mut made = file::Fault::default();
    if let Some(delay) = given.value.delay.given() {
        made.delay = duration(&delay.value.fixed_delay);
        made.delay_percent = percent(&delay.value.percentage, &delay.value.percent, report);
    }
    if let Some(abort) = given.value.abort.given() {
        made.abort = abort.value.http_status.clone();
        made.abort_percent = percent(&abort.value.percentage, &abort.value.percent, report);
    }
    Key::at(made, &given.at)
}

fn redirect_of(redirect: &At<super::istio::HttpRedirect>, report: &mut Report) -> Key<file::Redirect> {
    let written = &redirect.value;
    let status = if written.redirect_code.is_absent() {
        Key::at(301, &redirect.at)
    } else {
        written.redirect_code.clone()
    };
    let mut port = written.port.clone();
    match written.derive_port.given().map(|given| (given.value.as_str(), &given.at)) {
        None | Some(("FROM_PROTOCOL_DEFAULT", _)) => {}
        Some(("FROM_REQUEST_PORT", at)) => {
            report.warn(at, "is ignored: the listener's port stands wherever the scheme stays");
        }
        Some((other, at)) => report.error(at, format!("{other:?} is not known")),
    }
    if port.is_absent() && !written.authority.is_absent() {
        // An authority stands for all of it: no port is added to the one it names or leaves out.
        port = Key::at(80, &redirect.at);
    }
    let made = file::Redirect {
        status,
        scheme: written.scheme.clone(),
        host: written.authority.clone(),
        port,
        path: written.uri.clone(),
        path_prefix: written.prefix_rewrite.clone(),
    };
    Key::at(made, &redirect.at)
}

fn rewrite(http: &HttpRoute, report: &mut Report) -> Key<file::Rewrite> {
    let Some(given) = http.rewrite.given() else { return Key::Absent };
    let written = &given.value;
    let mut made = file::Rewrite { host: written.authority.clone(), ..file::Rewrite::default() };
    if let Some(uri) = written.uri.given() {
        // Replaces the matched part: the prefix, or the whole path.
        made.path_prefix = Key::Given(uri.clone());
        if let Some(regex) = written.uri_regex_rewrite.given() {
            report.error(&regex.at, "uri and uriRegexRewrite cannot be given together");
        }
    } else if let Some(regex) = written.uri_regex_rewrite.given() {
        made.path_regex = regex.value.r#match.clone();
        made.path_with = regex.value.rewrite.clone();
    }
    Key::at(made, &given.at)
}

/// No retry at all.
fn off(at: &Place) -> file::Retries {
    file::Retries { attempts: Key::at(0, at), ..file::Retries::default() }
}

/// Istio retries twice where nothing is said.
fn retries(key: &Key<HttpRetry>, at: &Place, report: &mut Report) -> Key<file::Retries> {
    let usual = |at: &Place| {
        let on = [RetryOn::ConnectFailure, RetryOn::Unavailable, RetryOn::Cancelled];
        Key::at(on.map(|on| Key::at(on, at)).to_vec(), at)
    };
    let Some(given) = key.given() else {
        let made = file::Retries { attempts: Key::at(2, at), on: usual(at), ..file::Retries::default() };
        return Key::at(made, at);
    };
    let written = &given.value;
    if written.attempts.is_absent() {
        // Not given is 0 there, and 0 switches retries off.
        report.warn(&given.at, "says no attempts, so nothing is retried, as in Istio");
    }
    if written.attempts.given().is_none_or(|attempts| attempts.value == 0) {
        let others = [written.per_try_timeout.place(), written.retry_on.place(), written.backoff.place()];
        for at in others.into_iter().flatten().filter(|_| !written.attempts.is_absent()) {
            report.warn(at, "is ignored: nothing is retried, as attempts is 0");
        }
        return Key::at(off(&given.at), &given.at);
    }
    let mut made = file::Retries {
        attempts: written.attempts.clone(),
        per_try_timeout: unless_zero(&written.per_try_timeout),
        backoff: duration(&written.backoff),
        ..file::Retries::default()
    };
    let Some(on) = written.retry_on.given().filter(|on| !on.value.is_empty()) else {
        made.on = usual(&given.at);
        return Key::at(made, &given.at);
    };
    let (mut words, mut statuses) = (Vec::new(), Vec::new());
    for word in on.value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let means = match word {
            "5xx" => RetryOn::ServerError,
            "gateway-error" => RetryOn::GatewayError,
            "connect-failure" | "refused-stream" => RetryOn::ConnectFailure,
            "reset" | "reset-before-request" => RetryOn::Reset,
            "retriable-4xx" => RetryOn::Conflict,
            // The statuses themselves stand beside it.
            "retriable-status-codes" => continue,
            "cancelled" => RetryOn::Cancelled,
            "deadline-exceeded" => RetryOn::DeadlineExceeded,
            "internal" => RetryOn::Internal,
            "resource-exhausted" => RetryOn::ResourceExhausted,
            "unavailable" => RetryOn::Unavailable,
            number => {
                match number.parse::<u64>() {
                    Ok(status) => statuses.push(Key::at(status, &on.at)),
                    Err(_) => {
                        report.warn(&on.at, format!("{word:?} is ignored: nothing like it is retried here"))
                    }
                }
                continue;
            }
        };
        if !words.iter().filter_map(Key::given).any(|known: &At<RetryOn>| known.value == means) {
            words.push(Key::at(means, &on.at));
        }
    }
    if words.is_empty() && statuses.is_empty() {
        report.warn(&on.at, "names nothing that can happen here, so nothing is retried");
        return Key::at(off(&given.at), &given.at);
    }
    made.on = Key::at(words, &on.at);
    if !statuses.is_empty() {
        made.statuses = Key::at(statuses, &on.at);
    }
    Key::at(made, &given.at)
}
