//! A request → the first route that matches. Pure, and prepared once from the configuration.
//!
//! Routes are looked at in the order written, a route's matches one after the other. An index narrows the search; whether
//! a match holds is always asked of the match itself.

use std::borrow::Cow;
use std::collections::HashMap;

use config::{HostMatch, PathMatch, Route};

use crate::asked::RequestView;
use crate::matcher::{Matched, Matcher, Mismatch, host_name};

/// The routes of a configuration.
#[derive(Debug)]
pub struct Router {
    /// Every match of every route, in order.
    entries: Vec<Entry>,
    /// None where testing each match in turn is quicker.
    index: Option<Index>,
}

#[derive(Debug)]
struct Entry {
    route: usize,
    matcher: Matcher,
}

/// The route of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its index in the configuration.
    pub route: usize,
    /// The part of the path that its match took: a rewrite may replace it.
    pub matched: Matched,
}

/// Up to so many matches are compared one by one.
const LINEAR_MAX: usize = 16;

impl Router {
    pub fn new(routes: &[Route]) -> Self {
        let all = || routes.iter().enumerate().flat_map(|(i, r)| r.matches.iter().map(move |m| (i, m)));
        let entries: Vec<Entry> =
            all().map(|(route, given)| Entry { route, matcher: Matcher::new(given) }).collect();
        let index = (entries.len() > LINEAR_MAX).then(|| Index::new(all().map(|(_, given)| given)));
        Self { entries, index }
    }

    /// The first route that matches.
    pub fn find(&self, asked: &RequestView<'_>) -> Option<Found> {
        let test = |entry: &Entry| {
            entry.matcher.test(asked).ok().map(|matched| Found { route: entry.route, matched })
        };
        match &self.index {
            None => self.entries.iter().find_map(test),
            Some(index) => index.first(asked, |at| self.entries.get(at).and_then(test)),
        }
    }

    /// Every match in the order written, with the result of its test, up to and including the first that holds.
    pub fn explain<'r>(
        &'r self,
        asked: &RequestView<'_>,
    ) -> impl Iterator<Item = (usize, Result<Matched, Mismatch<'r>>)> {
        let mut found = false;
        self.entries
            .iter()
            .map_while(move |entry| {
                if found {
                    return None;
                }
                let tested = entry.matcher.test(asked);
                found = tested.is_ok();
                Some((entry.route, tested))
            })
            .collect::<Vec<_>>()
            .into_iter()
    }
}

/// An index of matches by host, then by path, so that 10,000 routes cost about as much as 10.
#[derive(Debug, Default)]
struct Index {
    /// By exact host, in lower case.
    hosts: HashMap<Vec<u8>, Paths>,
    /// By `.suffix`, in lower case.
    suffixes: HashMap<Vec<u8>, Paths>,
    /// The longest of them: a longer end of a host is not looked up, or a host of dots would cost its square.
    suffix_len_max: usize,
    any_host: Paths,
}

/// Matches of one host, each list rising.
#[derive(Debug, Default)]
struct Paths {
    exact: HashMap<Vec<u8>, Vec<usize>>,
    prefixes: HashMap<Vec<u8>, Vec<usize>>,
    /// Lengths of the prefixes there are, without repetition.
    lengths: Vec<usize>,
    /// Patterns, and paths in any case: looked at one by one.
    others: Vec<usize>,
}

impl Index {
    fn new<'m>(matches: impl Iterator<Item = &'m config::Match>) -> Self {
        let mut index = Self::default();
        for (at, given) in matches.enumerate() {
            if given.hosts.is_empty() || given.hosts.iter().any(is_looked_at_always) {
                index.any_host.add(given, at);
                continue;
            }
            for host in &given.hosts {
                let paths = match host {
                    HostMatch::Exact(host) => {
                        index.hosts.entry(lower(host.as_bytes()).into_owned()).or_default()
                    }
                    // Suffixes are looked up at dots.
                    HostMatch::Suffix(end) => {
                        index.suffix_len_max = index.suffix_len_max.max(end.len());
                        index.suffixes.entry(lower(end.as_bytes()).into_owned()).or_default()
                    }
                    HostMatch::Address => &mut index.any_host,
                };
                paths.add(given, at);
            }
        }
        index
    }

    fn first(&self, asked: &RequestView<'_>, test: impl Fn(usize) -> Option<Found>) -> Option<Found> {
        let mut best = Best { at: usize::MAX, found: None };
        self.any_host.first(asked.path, &test, &mut best);
        if !self.hosts.is_empty() || !self.suffixes.is_empty() {
            let host = lower(host_name(asked.authority));
            if let Some(paths) = self.hosts.get(&*host) {
                paths.first(asked.path, &test, &mut best);
            }
            // Every suffix starts with a dot.
            let end = &host[host.len().saturating_sub(self.suffix_len_max)..];
            for dot in memchr::memchr_iter(b'.', end) {
                if let Some(paths) = self.suffixes.get(&end[dot..]) {
                    paths.first(asked.path, &test, &mut best);
                }
            }
        }
        best.found
    }
}

/// The earliest match found so far, and where it stands.
struct Best {
    at: usize,
    found: Option<Found>,
}

impl Paths {
    fn add(&mut self, given: &config::Match, at: usize) {
        let list = match &given.path {
            PathMatch::Regex(_) => &mut self.others,
            PathMatch::Exact(_) | PathMatch::Prefix(_) | PathMatch::Elements(_) if given.ignore_case => {
                &mut self.others
            }
            PathMatch::Exact(exact) => self.exact.entry(exact.as_bytes().to_vec()).or_default(),
            PathMatch::Prefix(prefix) | PathMatch::Elements(prefix) => {
                if !self.lengths.contains(&prefix.len()) {
                    self.lengths.push(prefix.len());
                }
                self.prefixes.entry(prefix.as_bytes().to_vec()).or_default()
            }
        };
        // A match that names a host twice.
        if list.last() != Some(&at) {
            list.push(at);
        }
    }

    /// Lowers `best` to the first of these that holds.
    fn first(&self, path: &[u8], test: &impl Fn(usize) -> Option<Found>, best: &mut Best) {
        let mut look = |list: &[usize]| {
            let earlier = list.iter().copied().take_while(|at| *at < best.at);
            let hit = earlier.map(|at| (at, test(at))).find(|(_, found)| found.is_some());
            if let Some((at, found)) = hit {
                *best = Best { at, found };
            }
        };
        if let Some(list) = self.exact.get(path) {
            look(list);
        }
        for length in &self.lengths {
            if let Some(list) = path.get(..*length).and_then(|start| self.prefixes.get(start)) {
                look(list);
            }
        }
        if path == b"*"
            && let Some(list) = self.prefixes.get(b"/".as_slice())
        {
            look(list);
        }
        look(&self.others);
    }
}

/// No name of a host leads to it: an address, one of IPv6 in any of its spellings, or a suffix that begins within a label.
fn is_looked_at_always(host: &HostMatch) -> bool {
    match host {
        HostMatch::Address => true,
        HostMatch::Suffix(end) => !end.starts_with('.'),
        HostMatch::Exact(host) => host.starts_with('['),
    }
}

/// Clients send lower case nearly always: then nothing is allocated.
fn lower(host: &[u8]) -> Cow<'_, [u8]> {
    if host.iter().any(u8::is_ascii_uppercase) { host.to_ascii_lowercase().into() } else { host.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asked::tests::with_asked;
    use config::{Action, Fault, HeaderEdits, Match, Pattern, Reply};

    fn given(host: Option<HostMatch>, path: PathMatch, methods: &[&str]) -> Match {
        let methods = methods.iter().map(|m| (*m).to_owned()).collect();
        Match { hosts: host.into_iter().collect(), path, methods, ..Match::default() }
    }

    fn router(routes: Vec<Vec<Match>>) -> Router {
        let route = |(n, matches): (usize, Vec<Match>)| Route {
            name: n.to_string(),
            matches,
            fault: Fault::default(),
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            cors: None,
            action: Action::Reply(Reply { status: 200, body: String::new(), content_type: String::new() }),
            mirrors: Vec::new(),
        };
        Router::new(&routes.into_iter().enumerate().map(route).collect::<Vec<_>>())
    }

    fn find(router: &Router, method: &str, url: &str) -> Option<usize> {
        with_asked(method, url, &[], |asked| router.find(asked)).map(|found| found.route)
    }

    #[test]
    fn the_first_match_in_written_order_wins() {
        let router = router(vec![
            vec![given(Some(HostMatch::Exact("a.example".into())), PathMatch::Exact("/x".into()), &[])],
            vec![given(
                Some(HostMatch::Suffix(".example".into())),
                PathMatch::Prefix("/y".into()),
                &["POST"],
            )],
            vec![given(None, PathMatch::Prefix("/y".into()), &[])],
            vec![given(None, PathMatch::Prefix("/".into()), &["OPTIONS"])],
        ]);
        for (url, method, expect) in [
            ("http://a.example/x", "GET", Some(0)),
            ("http://A.Example:81/x", "GET", Some(0)),
            ("http://b.example/x", "GET", None),
            ("http://b.example/yy", "POST", Some(1)),
            ("http://b.example/yy", "GET", Some(2)),
            ("http://.example/y", "POST", Some(2)),
            ("http://[::1]:8080/y/z", "GET", Some(2)),
            ("http://c*", "OPTIONS", Some(3)),
        ] {
            assert_eq!(find(&router, method, url), expect, "{method} {url}");
        }
    }

    #[test]
    fn the_index_finds_what_a_look_at_each_match_finds() {
        let hosts = [
            "a.example",
            "b.a.example",
            "[::1]",
            "127.0.0.1",
            "A.example.",
            "x-v2.Example",
            "-v2.example",
            "[0:0::1]:81",
        ]
        .map(str::to_owned);
        let paths = ["/", "/a", "/a/b", "/a/bc", "/b", "/A/B", "*"];
        let mut routes = Vec::new();
        for n in 0..300_usize {
            let host = match n % 6 {
                0 => None,
                1 => Some(HostMatch::Suffix(".example".into())),
                2 => Some(HostMatch::Suffix(".A.example".into())),
                3 => Some(HostMatch::Address),
                4 => Some(HostMatch::Suffix("-v2.example".into())),
                _ => Some(HostMatch::Exact(hosts[n / 6 % 3].to_uppercase())),
            };
            let path = paths[n / 3 % 6].to_owned();
            let path = match n % 7 {
                0 => PathMatch::Exact(path),
                1 | 2 => PathMatch::Prefix(path),
                3 | 4 => PathMatch::Elements(path.trim_end_matches('/').to_owned()),
                _ => PathMatch::Regex(Pattern::whole(&format!("{path}.?")).unwrap()),
            };
            // Late routes are the general ones.
            let methods: &[&str] = if n < 200 { &["PUT"] } else { &[] };
            let ignore_case = n % 11 == 0 && !matches!(path, PathMatch::Regex(_));
            let second = given(None, PathMatch::Exact(format!("/{n}")), &[]);
            routes.push(vec![Match { ignore_case, ..given(host, path, methods) }, second]);
        }
        routes.rotate_left(77);
        let mut linear = router(routes.clone());
        assert!(linear.index.take().is_some());
        let (indexed, mut found) = (router(routes), 0);
        for host in &hosts {
            for path in paths {
                for method in ["GET", "PUT"] {
                    let url = format!("http://{host}{path}");
                    let ask = |router: &Router| with_asked(method, &url, &[], |asked| router.find(asked));
                    assert_eq!(ask(&indexed), ask(&linear), "{method} {url}");
                    found += usize::from(ask(&indexed).is_some());
                }
            }
        }
        assert!(found > 20, "{found}");
    }

    #[test]
    fn few_matches_are_looked_at_one_by_one_and_many_are_led_to_by_host_and_path() {
        let exact = |n: usize| HostMatch::Exact(format!("{n}.example"));
        let of = |n: usize| vec![given(Some(exact(n)), PathMatch::Prefix("/a".into()), &[])];
        assert!(router((0..LINEAR_MAX).map(of).collect()).index.is_none());
        let mut router = router((0..=LINEAR_MAX).map(of).collect());
        assert_eq!(find(&router, "GET", "http://7.example/a"), Some(7));
        assert_eq!(find(&router, "GET", "http://17.example/a"), None);
        assert_eq!(find(&router, "GET", "http://7.EXAMPLE.:080/a"), Some(7));
        let index = router.index.take().unwrap();
        assert_eq!(index.hosts.len(), LINEAR_MAX + 1);
        assert!(index.hosts.values().all(|paths| paths.prefixes.len() == 1 && paths.others.is_empty()));
        assert!(index.any_host.prefixes.is_empty(), "nothing is looked at for every host");
    }

    #[test]
    fn a_match_that_two_of_its_hosts_lead_to_is_asked_once() {
        let hosts = vec![HostMatch::Exact("a.example".into()), HostMatch::Suffix(".example".into())];
        let given = Match { hosts, path: PathMatch::Prefix("/".into()), ..Match::default() };
        let index = Index::new([&given].into_iter());
        let asked_of = std::cell::RefCell::new(Vec::new());
        let test = |at: usize| {
            asked_of.borrow_mut().push(at);
            Some(Found { route: 3, matched: Matched::Prefix(1) })
        };
        let found = with_asked("GET", "http://a.example/", &[], |asked| index.first(asked, test));
        assert_eq!((found.map(|found| found.route), asked_of.into_inner()), (Some(3), vec![0]));
    }

    #[test]
    fn paths_in_any_case_and_the_server_as_a_whole_are_found_by_the_index_too() {
        let spelt =
            |n: usize| Match { ignore_case: true, ..given(None, PathMatch::Exact(format!("/x{n}")), &[]) };
        let mut routes: Vec<Vec<Match>> = (0..=LINEAR_MAX).map(|n| vec![spelt(n)]).collect();
        routes.push(vec![given(None, PathMatch::Prefix("/".into()), &["OPTIONS"])]);
        let router = router(routes);
        assert!(router.index.is_some());
        for (method, url, expect) in [
            ("GET", "http://a/X7", Some(7)),
            ("GET", "http://a/X77", None),
            ("OPTIONS", "http://a*", Some(LINEAR_MAX + 1)),
            ("GET", "http://a*", None),
        ] {
            assert_eq!(find(&router, method, url), expect, "{method} {url}");
        }
    }

    #[test]
    fn a_host_of_nothing_but_dots_costs_no_more_than_its_length() {
        let suffix = |n: usize| Some(HostMatch::Suffix(format!(".{n}.example")));
        let router =
            router((0..100).map(|n| vec![given(suffix(n), PathMatch::Prefix("/".into()), &[])]).collect());
        let url = format!("http://{}.7.example/", ".".repeat(16 * 1024));
        // A look at every end of the host would take minutes.
        for _ in 0..2_000 {
            assert_eq!(find(&router, "GET", &url), Some(7));
        }
    }

    #[test]
    fn an_explanation_names_each_match_until_the_one_that_holds() {
        let router = router(vec![
            vec![given(None, PathMatch::Exact("/x".into()), &[])],
            vec![
                given(None, PathMatch::Prefix("/".into()), &["PUT"]),
                given(None, PathMatch::default(), &[]),
            ],
            vec![given(None, PathMatch::default(), &[])],
        ]);
        with_asked("GET", "/y", &[], |asked| {
            let told: Vec<_> = router.explain(asked).collect();
            assert_eq!(told.len(), 3);
            assert_eq!(told[0], (0, Err(Mismatch::Path)));
            assert_eq!(told[1], (1, Err(Mismatch::Method)));
            assert_eq!(told[2], (1, Ok(Matched::Prefix(1))));
        });
    }
}
