//! CORS of Istio's VirtualServices and of the Gateway API's filters: the policy of a route for browsers.

use std::time::Duration;

use super::gateway_api;
use super::istio::{CorsPolicy, StringMatch};
use super::policy::duration;
use crate::problem::Report;
use crate::reader::{At, Key, List};
use crate::{Unmatched, file};

/// How long a browser remembers where a filter does not say (Gateway API).
const MAX_AGE: Duration = Duration::from_secs(5);

/// `corsPolicy` of one of a VirtualService's routes.
pub(super) fn of_policy(key: &Key<CorsPolicy>, report: &mut Report) -> Key<file::Cors> {
    let Some(given) = key.given() else { return Key::Absent };
    let written = &given.value;
    let (mut exact, mut prefixes, mut regexes) = (List::new(), List::new(), List::new());
    if let Some(old) = written.allow_origin.given() {
        match written.allow_origins.given() {
            Some(_) => report.warn(&old.at, "is ignored: allowOrigins stands above it, as in Istio"),
            None => exact.extend(old.value.iter().cloned()),
        }
    }
    let tests = written.allow_origins.given().map(|list| list.value.as_slice()).unwrap_or_default();
    for test in tests.iter().filter_map(Key::given) {
        let StringMatch { exact: is, prefix, regex } = &test.value;
        match (is.given(), prefix.given(), regex.given()) {
            (Some(is), _, _) => exact.push(Key::Given(is.clone())),
            (None, Some(prefix), _) => prefixes.push(Key::Given(prefix.clone())),
            (None, None, Some(regex)) => regexes.push(Key::Given(regex.clone())),
            (None, None, None) => report.error(&test.at, "says neither exact nor prefix nor regex"),
        }
        let given = [is, prefix, regex].into_iter().filter_map(Key::place);
        for at in given.skip(1) {
            report.error(at, "stands beside another test, and only one of them can be meant");
        }
    }
    let unmatched = match written.unmatched_preflights.given().map(|word| (word.value.as_str(), &word.at)) {
        None | Some(("UNSPECIFIED" | "FORWARD", _)) => Key::Absent,
        Some(("IGNORE", at)) => Key::at(Unmatched::Answer, at),
        Some((other, at)) => {
            report.error(at, format!("{other:?} is not known; must be FORWARD or IGNORE"));
            Key::Refused
        }
    };
    let at = &given.at;
    let list = |list: List<String>| if list.is_empty() { Key::Absent } else { Key::at(list, at) };
    let made = file::Cors {
        origins: list(exact),
        origin_prefixes: list(prefixes),
        origin_regexes: list(regexes),
        methods: written.allow_methods.clone(),
        headers: written.allow_headers.clone(),
        expose: written.expose_headers.clone(),
        max_age: duration(&written.max_age),
        credentials: written.allow_credentials.clone(),
        unmatched,
    };
    Key::at(made, at)
}

/// Every origin. The answer names the request's own origin and not `*`, as clients may send credentials that they should not
/// (Gateway API's conformance).
const EVERY_ORIGIN: &str = ".*";

/// The filter `CORS` of an HTTPRoute's rule.
pub(super) fn of_filter(given: &At<gateway_api::Cors>) -> Key<file::Cors> {
    let written = &given.value;
    let origins = written.allow_origins.given().map(|list| list.value.as_slice()).unwrap_or_default();
    let every = origins.iter().filter_map(Key::given).find(|origin| origin.value == "*");
    let every = every.map(|one| Key::at(vec![Key::at(EVERY_ORIGIN.to_owned(), &one.at)], &one.at));
    let max_age = match written.max_age.given() {
        Some(seconds) => Key::at(Duration::from_secs(seconds.value), &seconds.at),
        None => Key::at(MAX_AGE, &given.at),
    };
    let made = file::Cors {
        origins: if every.is_some() { Key::Absent } else { written.allow_origins.clone() },
        origin_prefixes: Key::Absent,
        origin_regexes: every.unwrap_or(Key::Absent),
        methods: written.allow_methods.clone(),
        headers: written.allow_headers.clone(),
        expose: written.expose_headers.clone(),
        max_age,
        credentials: written.allow_credentials.clone(),
        // A browser is told nothing, which is a no.
        unmatched: Key::at(Unmatched::Answer, &given.at),
    };
    Key::at(made, &given.at)
}
