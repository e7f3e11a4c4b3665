//! GRPCRoutes → the same routes as HTTPRoutes make: a call is a request whose path is its service and method.

use super::Resource;
use super::gateway_api::{
    GrpcMatch, GrpcMethod, GrpcRoute, GrpcRule, HttpRoute, PathMatch, RouteMatch, Rule,
};
use super::protocol::Asker;
use crate::pattern;
use crate::problem::Report;
use crate::reader::{At, Key, List};

/// A route of the Gateway API.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) kind: RouteKind,
    pub(super) of: Resource<HttpRoute>,
    /// Of a GRPCRoute: the call that each match of each rule names.
    pub(super) calls: Vec<Vec<Call>>,
    /// The route has no rule that serves, and takes no host from another.
    pub(super) is_void: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RouteKind {
    Http,
    Grpc,
}

impl RouteKind {
    /// As manifests name it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Http => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
        }
    }

    pub(super) const fn asker(self) -> Asker {
        match self {
            Self::Http => Asker::HttpRoute,
            Self::Grpc => Asker::GrpcRoute,
        }
    }

    /// Filters that a rule of this kind may have.
    pub(super) fn offers(self, filter: &str) -> bool {
        match self {
            Self::Http => true,
            Self::Grpc => {
                matches!(filter, "RequestHeaderModifier" | "ResponseHeaderModifier" | "RequestMirror")
            }
        }
    }
}

/// Characters of a service and of a method: the more of them a match names, the earlier it is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) service: usize,
    pub(super) method: usize,
}

impl Route {
    pub(super) fn http(of: Resource<HttpRoute>) -> Self {
        Self { kind: RouteKind::Http, of, calls: Vec::new(), is_void: false }
    }

    pub(super) fn grpc(from: Resource<GrpcRoute>, report: &mut Report) -> Self {
        let mut calls = Vec::new();
        let Resource { name, namespace, shown, created, at, spec } = from;
        let GrpcRoute { parent_refs, use_default_gateways, hostnames, rules } = spec;
        let rules = each(&rules, |rule| {
            let mut own = Vec::new();
            let GrpcRule { name, matches, filters, backend_refs, session_persistence } = rule.value.clone();
            let matches = each(&matches, |one| {
                let (matched, call) = matched(one, report);
                own.push(call);
                matched
            });
            calls.push(own);
            Rule { name, matches, filters, backend_refs, session_persistence, ..Rule::default() }
        });
        let spec = HttpRoute { parent_refs, use_default_gateways, hostnames, rules };
        let of = Resource { name, namespace, shown, created, at, spec };
        Self { kind: RouteKind::Grpc, of, calls, is_void: false }
    }

    /// Its name in messages: kind, namespace, name.
    pub(super) fn title(&self) -> String {
        format!("{} {}/{}", self.kind.word(), self.of.namespace, self.of.name)
    }
}

/// The same list of other things, each in its place.
fn each<T: Default, U: Default>(key: &Key<List<T>>, mut of: impl FnMut(&At<T>) -> U) -> Key<List<U>> {
    let list = match key {
        Key::Absent => return Key::Absent,
        Key::Refused => return Key::Refused,
        Key::Given(list) => list,
    };
    // A refused one keeps its place: the others are counted by theirs.
    let nothing = || At { value: T::default(), at: list.at.clone() };
    let one = |key: &Key<T>| match key {
        Key::Given(given) => Key::at(of(given), &given.at),
        Key::Absent | Key::Refused => {
            let _counted = of(&nothing());
            Key::Refused
        }
    };
    Key::at(list.value.iter().map(one).collect(), &list.at)
}

fn matched(one: &At<GrpcMatch>, report: &mut Report) -> (RouteMatch, Call) {
    let headers = one.value.headers.clone();
    let Some(method) = one.value.method.given() else {
        return (RouteMatch { headers, ..RouteMatch::default() }, Call::default());
    };
    let length = |key: &Key<String>| key.given().map_or(0, |given| given.value.chars().count());
    let call = Call { service: length(&method.value.service), method: length(&method.value.method) };
    let path = path(method, report).map_or(Key::Refused, |path| Key::at(path, &method.at));
    (RouteMatch { path, headers, ..RouteMatch::default() }, call)
}

/// Path of the calls that are meant; `None` after saying why there are none.
fn path(method: &At<GrpcMethod>, report: &mut Report) -> Option<PathMatch> {
    let (service, name) = (method.value.service.given(), method.value.method.given());
    if service.is_none() && name.is_none() {
        report.error(&method.at, "names neither a service nor a method; leave it out to match every call");
        return None;
    }
    let made = |kind: &str, value: String| {
        Some(PathMatch { r#type: Key::at(kind.to_owned(), &method.at), value: Key::at(value, &method.at) })
    };
    match method.value.r#type.given().map_or("Exact", |kind| kind.value.as_str()) {
        "Exact" => {
            for part in [service, name].into_iter().flatten() {
                if !part.value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
                    || part.value.is_empty()
                {
                    report.error(&part.at, format!("{:?} is no name of a service or method", part.value));
                    return None;
                }
            }
            match (service, name) {
                (Some(service), Some(name)) => made("Exact", format!("/{}/{}", service.value, name.value)),
                (Some(service), None) => made("PathPrefix", format!("/{}", service.value)),
                // Of the characters that a name may have, only the dot has a meaning in a pattern.
                (None, name) => {
                    let name = name.map_or_else(String::new, |name| name.value.replace('.', "\\."));
                    made("RegularExpression", format!("/[^/]+/{name}"))
                }
            }
        }
        "RegularExpression" => {
            // Each by itself: one part must not close a group of the other.
            for part in [service, name].into_iter().flatten() {
                if let Err(why) = pattern::read(&part.value) {
                    report.error(&part.at, why);
                    return None;
                }
            }
            let part = |part: Option<&At<String>>| {
                part.map_or_else(|| "[^/]+".to_owned(), |part| format!("(?:{})", part.value))
            };
            made("RegularExpression", format!("/{}/{}", part(service), part(name)))
        }
        other => {
            let at = method.value.r#type.given().map_or(&method.at, |kind| &kind.at);
            report.error(at, format!("{other:?} is not known; must be Exact or RegularExpression"));
            None
        }
    }
}
