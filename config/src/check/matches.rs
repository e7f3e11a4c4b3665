//! Rules of matches: conditions on requests.

use super::Check;
use crate::file;
use crate::problem::Place;
use crate::reader::{At, Key, List};
use crate::syntax;
use crate::{Condition, HostMatch, Match, PathMatch, Route, Subject, Test};

/// The keys that a route and one of its `matches` share.
pub(super) struct Written<'a> {
    host: &'a Key<String>,
    hosts: &'a Key<List<String>>,
    path: &'a Key<String>,
    path_prefix: &'a Key<String>,
    path_elements: &'a Key<String>,
    path_regex: &'a Key<String>,
    ignore_case: &'a Key<bool>,
    methods: &'a Key<List<String>>,
    port: &'a Key<u64>,
    when: &'a Key<List<file::Condition>>,
}

macro_rules! written {
    ($table:expr) => {
        Written {
            host: &$table.host,
            hosts: &$table.hosts,
            path: &$table.path,
            path_prefix: &$table.path_prefix,
            path_elements: &$table.path_elements,
            path_regex: &$table.path_regex,
            ignore_case: &$table.ignore_case,
            methods: &$table.methods,
            port: &$table.port,
            when: &$table.when,
        }
    };
}

impl<'a> Written<'a> {
    /// Where the first of them is written.
    fn place(&self) -> Option<&'a Place> {
        let texts = [self.host, self.path, self.path_prefix, self.path_elements, self.path_regex];
        let mut places = texts.into_iter().filter_map(|key| key.given().map(|given| &given.at));
        let lists = [self.hosts, self.methods].into_iter().find_map(|key| key.given().map(|given| &given.at));
        let when = self.when.given().map(|given| &given.at);
        let others = [self.ignore_case.given().map(|g| &g.at), self.port.given().map(|g| &g.at)];
        places.next().or(lists).or(when).or_else(|| others.into_iter().flatten().next())
    }
}

impl Check<'_> {
    /// The route's own match, or the list of them.
    pub(super) fn matches(&mut self, route: &file::Route) -> Vec<Match> {
        let own = written!(route);
        let Some(list) = route.matches.given() else { return vec![self.one_match(&own)] };
        if let Some(place) = own.place() {
            let message = "a route has these keys itself or in its matches, not both";
            self.report.error(place, message);
        }
        if list.value.is_empty() {
            self.report.error(&list.at, "no match is given; leave the key out to match every request");
        }
        list.value.iter().filter_map(Key::given).map(|table| self.one_match(&written!(table.value))).collect()
    }

    pub(super) fn only(&mut self, table: &At<file::Match>) -> Match {
        self.one_match(&written!(table.value))
    }

    fn one_match(&mut self, written: &Written<'_>) -> Match {
        let path = self.path(written);
        let ignore_case = written.ignore_case.given();
        if let (Some(given), PathMatch::Regex(_)) = (ignore_case, &path) {
            self.report.error(&given.at, r#"a pattern says so itself: write "(?i)" at its start"#);
        }
        Match {
            hosts: self.hosts(written),
            ignore_case: ignore_case.is_some_and(|given| given.value) && !matches!(path, PathMatch::Regex(_)),
            path,
            methods: self.methods(written.methods),
            port: written.port.given().map(|port| self.port(written.port, port)),
            when: self.conditions(written.when),
        }
    }

    fn port(&mut self, key: &Key<u64>, given: &At<u64>) -> u16 {
        // In u16: the bound says so.
        let port = self.count(key, 1, 1..=65_535) as u16;
        if u64::from(port) == given.value && !self.ports.is_empty() && !self.ports.contains(&port) {
            let known: Vec<String> = self.ports.iter().map(u16::to_string).collect();
            let message = format!(
                "nothing listens on port {port}, so nothing matches (listening on {})",
                known.join(", ")
            );
            self.report.warn(&given.at, message);
        }
        port
    }

    fn hosts(&mut self, written: &Written<'_>) -> Vec<HostMatch> {
        if let (Some(_), Some(hosts)) = (written.host.given(), written.hosts.given()) {
            self.report.error(&hosts.at, "a match has host or hosts, not both");
        }
        if let Some(hosts) = written.hosts.given()
            && hosts.value.is_empty()
        {
            self.report.error(&hosts.at, "no host is named; leave the key out to match every host");
        }
        let one = written.host.given().and_then(|host| self.syntax(host, syntax::host_match));
        one.into_iter().chain(self.each(written.hosts, syntax::host_match)).collect()
    }

    fn path(&mut self, written: &Written<'_>) -> PathMatch {
        let all = [
            ("path", written.path),
            ("path_prefix", written.path_prefix),
            ("path_elements", written.path_elements),
            ("path_regex", written.path_regex),
        ];
        let mut given = all.into_iter().filter_map(|(name, key)| Some((name, key.given()?)));
        let Some((name, text)) = given.next() else { return PathMatch::default() };
        for (other, second) in given {
            let message = format!("a match has {name} or {other}, not both; {name} is {:?}", text.value);
            self.report.error(&second.at, message);
            if other != "path_regex" {
                let _reported = self.syntax(second, syntax::path);
            }
        }
        if name == "path_regex" {
            // Any value may stand in for a refused pattern: no configuration leaves this room then.
            return self.pattern(text).map_or_else(PathMatch::default, PathMatch::Regex);
        }
        let _reported = self.syntax(text, syntax::path);
        match name {
            "path" => PathMatch::Exact(text.value.clone()),
            "path_elements" => PathMatch::Elements(text.value.trim_end_matches('/').to_owned()),
            _prefix => PathMatch::Prefix(text.value.clone()),
        }
    }

    fn conditions(&mut self, written: &Key<List<file::Condition>>) -> Vec<Condition> {
        let list = written.given().map(|list| list.value.as_slice()).unwrap_or_default();
        list.iter().filter_map(Key::given).filter_map(|table| self.condition(table)).collect()
    }

    fn condition(&mut self, table: &At<file::Condition>) -> Option<Condition> {
        let written = &table.value;
        let subjects = [&written.header, &written.query, &written.of].map(Key::given);
        if subjects.iter().flatten().count() != 1 {
            let message =
                r#"a condition looks at exactly one thing: header = "x", query = "q" or of = "method""#;
            self.report.error(&table.at, message);
            return None;
        }
        let subject = match subjects {
            [Some(header), _, _] => Subject::Header(self.syntax(header, syntax::field_name)?),
            [_, Some(query), _] => Subject::Query(query.value.clone()),
            [_, _, Some(of)] => self.syntax(of, |word| match word {
                "method" => Ok(Subject::Method),
                "authority" => Ok(Subject::Authority),
                "scheme" => Ok(Subject::Scheme),
                "certificate" => Ok(Subject::Certificate),
                _ => Err(format!(
                    r#"{word:?} is not known; must be "method", "authority", "scheme" or "certificate""#
                )),
            })?,
            [None, None, None] => return None,
        };
        if let (Subject::Certificate, Some(of), false) =
            (&subject, written.of.given(), self.sees_certificates)
        {
            let message = "no listener asks clients for certificates, so none has one: see client_auth";
            self.report.warn(&of.at, message);
        }
        let texts = [&written.exact, &written.prefix, &written.regex].map(Key::given);
        let present = written.present.given();
        if texts.iter().flatten().count() + usize::from(present.is_some()) > 1 {
            let message = "a condition has at most one of present, exact, prefix and regex";
            self.report.error(&table.at, message);
        }
        let test = match texts {
            [Some(exact), _, _] => Test::Exact(exact.value.clone()),
            [_, Some(prefix), _] => Test::Prefix(prefix.value.clone()),
            [_, _, Some(regex)] => Test::Regex(self.pattern(regex)?),
            [None, None, None] => Test::Present,
        };
        let not = written.not.given().is_some_and(|not| not.value);
        // `present = false` is the contrary of `present = true`.
        let absent = present.is_some_and(|present| !present.value);
        Some(Condition { subject, test, not: not != absent })
    }

    fn methods(&mut self, written: &Key<List<String>>) -> Vec<String> {
        let Some(list) = written.given() else {
            return Vec::new();
        };
        if list.value.is_empty() {
            self.report.error(&list.at, "no method is named; leave the key out to match every method");
        }
        let mut methods = Vec::new();
        for method in list.value.iter().filter_map(Key::given) {
            if self.syntax(method, syntax::method).is_none() {
                continue;
            }
            if methods.contains(&method.value) {
                self.report.warn(&method.at, format!("{:?} is here twice", method.value));
                continue;
            }
            if method.value.bytes().any(|b| b.is_ascii_lowercase()) {
                let upper = method.value.to_ascii_uppercase();
                let message =
                    format!("methods are case-sensitive: {:?} does not match {upper:?}", method.value);
                self.report.warn(&method.at, message);
            }
            methods.push(method.value.clone());
        }
        methods
    }
}

/// Earlier routes that may take everything from a later one. Those that look at no more than host, path and method are
/// kept, by path, so that 10,000 routes are not compared each with each.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    /// (index of the route, its match), by elements or pattern of the path.
    general: Vec<(usize, Match)>,
    /// By exact path.
    exact: std::collections::HashMap<String, Vec<(usize, Match)>>,
    /// By prefix.
    prefixes: std::collections::HashMap<String, Vec<(usize, Match)>>,
}

/// So many earlier matches of one kind are compared with each later one; beyond that a warning is not worth its price.
const COMPARED_MAX: usize = 64;

impl Earlier {
    pub(super) fn add(&mut self, index: usize, route: &Route) {
        for given in route.matches.iter().filter(|m| m.when.is_empty() && m.port.is_none()) {
            let list = match &given.path {
                PathMatch::Exact(path) => self.exact.entry(path.clone()).or_default(),
                PathMatch::Prefix(path) => self.prefixes.entry(path.clone()).or_default(),
                PathMatch::Elements(_) | PathMatch::Regex(_) => &mut self.general,
            };
            if list.len() < COMPARED_MAX {
                list.push((index, given.clone()));
            }
        }
    }

    /// An earlier route that takes everything that `route` could get, if all of it goes to one.
    pub(super) fn covering(&self, route: &Route) -> Option<usize> {
        let covering = |given: &Match| {
            let path = match &given.path {
                PathMatch::Exact(path) | PathMatch::Prefix(path) | PathMatch::Elements(path) => path.as_str(),
                PathMatch::Regex(_) => "",
            };
            let starts = (0..=path.len()).filter_map(|end| path.get(..end));
            let root = path.is_empty().then_some("/");
            let lists = starts.chain(root).filter_map(|start| self.prefixes.get(start));
            lists
                .chain(self.exact.get(path))
                .chain(std::iter::once(&self.general))
                .flatten()
                .filter(|(_, earlier)| covers(earlier, given))
                .map(|(index, _)| *index)
                .min()
        };
        route.matches.iter().map(covering).try_fold(0, |last, index| Some(last.max(index?)))
    }
}

/// Everything that `second` matches, `first` matches too.
fn covers(first: &Match, second: &Match) -> bool {
    let host = |a: &HostMatch, b: &HostMatch| match (a, b) {
        (HostMatch::Suffix(a), HostMatch::Exact(b) | HostMatch::Suffix(b)) => b.ends_with(a.as_str()),
        (HostMatch::Exact(_) | HostMatch::Address, _) | (HostMatch::Suffix(_), HostMatch::Address) => a == b,
    };
    let hosts = first.hosts.is_empty()
        || !second.hosts.is_empty() && second.hosts.iter().all(|b| first.hosts.iter().any(|a| host(a, b)));
    let path = match (&first.path, &second.path) {
        (PathMatch::Prefix(a), _) if a == "/" => true,
        (PathMatch::Prefix(a), PathMatch::Exact(b) | PathMatch::Prefix(b)) => b.starts_with(a.as_str()),
        (a, b) => a == b,
    };
    let methods = first.methods.is_empty()
        || !second.methods.is_empty() && second.methods.iter().all(|method| first.methods.contains(method));
    let unconditional = first.when.is_empty() && first.port.is_none();
    hosts && path && methods && unconditional && first.ignore_case == second.ignore_case
}
