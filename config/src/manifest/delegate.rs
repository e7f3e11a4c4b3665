//! VirtualServices that others delegate to (Istio): each of their routes takes the place of the root's route that names them,
//! with the matches of both.

use std::collections::BTreeMap;

use super::Resource;
use super::istio::{
    Body, Destination, DirectResponse, HttpMatch, HttpMirror, HttpRoute, StringMatch, VirtualService,
};
use super::services::Services;
use crate::problem::Report;
use crate::reader::{At, Key, List, Named};

/// Puts the routes of delegates in the place of those that name them. Delegates have no hosts, and do not stay.
pub(super) fn join(all: &mut Vec<Resource<VirtualService>>, services: &Services, report: &mut Report) {
    let is_delegate =
        |one: &Resource<VirtualService>| one.spec.hosts.given().is_none_or(|hosts| hosts.value.is_empty());
    let mut delegates: BTreeMap<(String, String), (Resource<VirtualService>, bool)> = BTreeMap::new();
    let mut roots = Vec::new();
    for one in std::mem::take(all) {
        if is_delegate(&one) {
            delegates.insert((one.namespace.clone(), one.name.clone()), (one, false));
        } else {
            roots.push(one);
        }
    }
    for root in &mut roots {
        let namespace = root.namespace.clone();
        let Key::Given(list) = &mut root.spec.http else { continue };
        let mut joined = List::new();
        for route in std::mem::take(&mut list.value) {
            let named = route.given().and_then(|route| route.value.delegate.given());
            let (Some(named), Key::Given(route)) = (named.cloned(), &route) else {
                joined.push(route);
                continue;
            };
            stands_alone(route, report);
            let Some(name) = named.value.name.given() else {
                report.error(&named.at.child("name"), "is missing");
                continue;
            };
            let own = named.value.namespace.given().map_or(&namespace, |namespace| &namespace.value);
            let Some((delegate, used)) = delegates.get_mut(&(own.clone(), name.value.clone())) else {
                let what = format!("no VirtualService {own}/{} without hosts is known", name.value);
                report.missing(
                    &name.at,
                    &what,
                    "; give it with --manifest",
                    "these requests are answered 503",
                );
                joined.push(Key::at(unavailable(route), &route.at));
                continue;
            };
            *used = true;
            joined.extend(Join { root: route, namespace: &namespace, delegate, services }.routes(report));
        }
        list.value = joined;
    }
    for (delegate, used) in delegates.into_values() {
        if used {
            continue;
        }
        if report.is_by_resource() {
            report.skip(&delegate.at, "it has no hosts, and no VirtualService delegates to it");
        } else {
            // The translation of a root without hosts reports that no request reaches it.
            roots.push(delegate);
        }
    }
    *all = roots;
}

/// Refuses an action of its own on a route that delegates.
fn stands_alone(route: &At<HttpRoute>, report: &mut Report) {
    let own = [
        ("route", route.value.route.given().map(|key| &key.at)),
        ("redirect", route.value.redirect.given().map(|key| &key.at)),
        ("directResponse", route.value.direct_response.given().map(|key| &key.at)),
    ];
    for (name, at) in own {
        if let Some(at) = at {
            report.error(at, format!("{name} and delegate cannot be given together"));
        }
    }
}

/// The root's route while its delegate is not there.
fn unavailable(root: &At<HttpRoute>) -> HttpRoute {
    let at = &root.at;
    let body = Body { string: Key::at("delegate is missing\n".to_owned(), at), ..Body::default() };
    let answer = DirectResponse { status: Key::at(503, at), body: Key::at(body, at) };
    HttpRoute {
        name: root.value.name.clone(),
        r#match: root.value.r#match.clone(),
        direct_response: Key::at(answer, at),
        ..HttpRoute::default()
    }
}

/// A route of a root, and the VirtualService that it delegates to.
struct Join<'a> {
    root: &'a At<HttpRoute>,
    namespace: &'a str,
    delegate: &'a Resource<VirtualService>,
    services: &'a Services,
}

impl Join<'_> {
    fn routes(&self, report: &mut Report) -> List<HttpRoute> {
        let spec = &self.delegate.spec;
        let list = spec.http.given().map(|list| list.value.as_slice()).unwrap_or_default();
        if list.is_empty() {
            report
                .error(&self.delegate.at.child("http"), "is missing: there is nothing to do with a request");
        }
        let mut joined = List::new();
        for route in list.iter().filter_map(Key::given) {
            if let Some(further) = route.value.delegate.given() {
                report.error(&further.at, "a VirtualService that is delegated to cannot delegate itself");
                continue;
            }
            let Some(matches) = together(&self.root.value.r#match, &route.value.r#match) else {
                let message =
                    "is left out: no match of the route that delegates to it takes all that it asks for";
                report.warn(&route.at, message);
                continue;
            };
            joined.push(Key::at(self.route(matches, route), &route.at));
        }
        joined
    }

    /// A delegate's route, with its root's settings where it has none of its own.
    fn route(&self, matches: Key<List<HttpMatch>>, own: &At<HttpRoute>) -> HttpRoute {
        let mut made = own.value.clone();
        in_full(&mut made, &self.delegate.namespace, self.services);
        let mut root = self.root.value.clone();
        in_full(&mut root, self.namespace, self.services);
        made.r#match = matches;
        made.name = names(&root.name, &made.name);
        if made.mirror.is_absent() && made.mirrors.is_absent() {
            (made.mirror, made.mirrors) = (root.mirror, root.mirrors);
            (made.mirror_percent, made.mirror_percentage) = (root.mirror_percent, root.mirror_percentage);
        }
        inherit(&mut made.rewrite, root.rewrite);
        inherit(&mut made.timeout, root.timeout);
        inherit(&mut made.retries, root.retries);
        inherit(&mut made.fault, root.fault);
        inherit(&mut made.cors_policy, root.cors_policy);
        inherit(&mut made.headers, root.headers);
        made
    }
}

fn inherit<T>(own: &mut Key<T>, root: Key<T>) {
    if own.is_absent() {
        *own = root;
    }
}

/// `root-own`, where both have a name.
fn names(root: &Key<String>, own: &Key<String>) -> Key<String> {
    match (root.given(), own.given()) {
        (Some(root), Some(own)) => Key::at(format!("{}-{}", root.value, own.value), &own.at),
        (Some(root), None) => Key::Given(root.clone()),
        (None, _) => own.clone(),
    }
}

/// Names of services mean those of the namespace in which they were written.
fn in_full(route: &mut HttpRoute, namespace: &str, services: &Services) {
    let name = |destination: &mut Key<Destination>| {
        if let Key::Given(destination) = destination
            && let Key::Given(host) = &mut destination.value.host
        {
            host.value = services.in_full(&host.value, namespace);
        }
    };
    name(&mut route.mirror);
    if let Key::Given(list) = &mut route.route {
        for one in &mut list.value {
            if let Key::Given(one) = one {
                name(&mut one.value.destination);
            }
        }
    }
    if let Key::Given(list) = &mut route.mirrors {
        for one in &mut list.value {
            if let Key::Given(At { value: HttpMirror { destination, .. }, .. }) = one {
                name(destination);
            }
        }
    }
}

/// The matches of both together: each of the delegate's with each of the root's that it narrows. `None` where one of the
/// delegate's narrows none.
fn together(root: &Key<List<HttpMatch>>, own: &Key<List<HttpMatch>>) -> Option<Key<List<HttpMatch>>> {
    fn all(key: &Key<List<HttpMatch>>) -> Vec<&At<HttpMatch>> {
        key.given().map(|list| list.value.iter().filter_map(Key::given).collect()).unwrap_or_default()
    }
    let (wide, narrow) = (all(root), all(own));
    if wide.is_empty() {
        return Some(own.clone());
    }
    if narrow.is_empty() {
        return Some(root.clone());
    }
    let mut both = List::new();
    for one in &narrow {
        let before = both.len();
        for root in &wide {
            if let Some(merged) = merge(&root.value, &one.value) {
                both.push(Key::at(merged, &one.at));
            }
        }
        if both.len() == before {
            return None;
        }
    }
    Some(Key::at(both, &own.given()?.at))
}

/// The part of `own` that `root` takes as well; `None` where there is none.
fn merge(root: &HttpMatch, own: &HttpMatch) -> Option<HttpMatch> {
    let mut made = own.clone();
    let case = |one: &HttpMatch| one.ignore_uri_case.given().is_some_and(|ignore| ignore.value);
    let paths = !root.uri.is_absent() && !own.uri.is_absent();
    if paths && case(root) != case(own) {
        return None;
    }
    if own.uri.is_absent() {
        made.ignore_uri_case = root.ignore_uri_case.clone();
    }
    made.name = if own.name.is_absent() { root.name.clone() } else { own.name.clone() };
    made.uri = narrowed(&root.uri, &own.uri)?;
    made.scheme = narrowed(&root.scheme, &own.scheme)?;
    made.method = narrowed(&root.method, &own.method)?;
    made.authority = narrowed(&root.authority, &own.authority)?;
    made.headers = named(&root.headers, &own.headers)?;
    made.without_headers = named(&root.without_headers, &own.without_headers)?;
    made.query_params = named(&root.query_params, &own.query_params)?;
    made.port = equal(&root.port, &own.port)?;
    made.source_namespace = equal(&root.source_namespace, &own.source_namespace)?;
    inherit(&mut made.source_labels, root.source_labels.clone());
    inherit(&mut made.gateways, root.gateways.clone());
    Some(made)
}

fn equal<T: Clone + PartialEq>(root: &Key<T>, own: &Key<T>) -> Option<Key<T>> {
    match (root.given(), own.given()) {
        (Some(root), Some(own)) if root.value != own.value => None,
        (_, Some(own)) => Some(Key::Given(own.clone())),
        (_, None) => Some(root.clone()),
    }
}

fn named(root: &Key<Named<StringMatch>>, own: &Key<Named<StringMatch>>) -> Option<Key<Named<StringMatch>>> {
    let (Some(wide), Some(narrow)) = (root.given(), own.given()) else {
        return Some(if own.is_absent() { root.clone() } else { own.clone() });
    };
    let mut both = narrow.value.clone();
    for (name, test) in &wide.value {
        match both.iter_mut().find(|(own, _)| own.value.eq_ignore_ascii_case(&name.value)) {
            Some((_, own)) => *own = narrowed(test, own)?,
            None => both.push((name.clone(), test.clone())),
        }
    }
    Some(Key::at(both, &narrow.at))
}

/// A test that is part of the root's; as in Istio a pattern stands beside no other test.
fn narrowed(root: &Key<StringMatch>, own: &Key<StringMatch>) -> Option<Key<StringMatch>> {
    let (Some(wide), Some(narrow)) = (root.given(), own.given()) else {
        return Some(if own.is_absent() { root.clone() } else { own.clone() });
    };
    fn text(key: &Key<String>) -> Option<&str> {
        key.given().map(|text| text.value.as_str())
    }
    let (wide, narrow) = (&wide.value, &narrow.value);
    let fits = match (text(&wide.exact), text(&wide.prefix), text(&narrow.exact), text(&narrow.prefix)) {
        _ if text(&wide.regex).is_some() || text(&narrow.regex).is_some() => wide == narrow,
        (Some(exact), _, Some(own), _) => exact == own,
        (None, Some(prefix), Some(own), _) | (None, Some(prefix), None, Some(own)) => own.starts_with(prefix),
        // A match on presence takes any value.
        (None, None, _, _) => true,
        (Some(_), _, None, _) | (None, Some(_), None, None) => false,
    };
    fits.then(|| own.clone())
}
