//! (host, path, method) → route. Pure, and prepared once from the configuration.
//!
//! The first route that matches wins, in the order written.

use std::borrow::Cow;
use std::collections::HashMap;

use config::{HostMatch, PathMatch, Route};

/// The routes of a configuration, by index.
#[derive(Debug)]
pub struct Router {
    routes: Vec<config::Match>,
    /// None where looking at each route in turn is quicker.
    index: Option<Index>,
}

/// Up to so many routes are compared one by one.
const LINEAR_MAX: usize = 16;

impl Router {
    pub fn new(routes: &[Route]) -> Self {
        Self::of(routes.iter().filter_map(|r| r.matches.first().cloned()).collect())
    }

    fn of(routes: Vec<config::Match>) -> Self {
        let index = (routes.len() > LINEAR_MAX).then(|| Index::new(&routes));
        Self { routes, index }
    }

    /// Index of the first route that matches. `host` is as sent (a port is ignored), `path` without its query.
    pub fn find(&self, host: &[u8], path: &[u8], method: &[u8]) -> Option<usize> {
        let host = without_port(host);
        let matches = |m: &config::Match| {
            path_matches(&m.path, path)
                && (m.hosts.is_empty() || m.hosts.iter().any(|h| host_matches(h, host)))
                && (m.methods.is_empty() || m.methods.iter().any(|known| known.as_bytes() == method))
        };
        match &self.index {
            None => self.routes.iter().position(matches),
            Some(index) => index.first(host, path, |route| self.routes.get(route).is_some_and(matches)),
        }
    }
}

/// Where to look: routes by host, then by path, so that 10,000 cost about what 10 do. It only narrows the search; whether
/// a route matches is still asked of the route itself.
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

/// Routes of one host, each list rising.
#[derive(Debug, Default)]
struct Paths {
    exact: HashMap<Vec<u8>, Vec<usize>>,
    prefixes: HashMap<Vec<u8>, Vec<usize>>,
    /// Lengths of the prefixes there are, without repetition.
    lengths: Vec<usize>,
}

impl Index {
    fn new(routes: &[config::Match]) -> Self {
        let mut index = Self::default();
        for (route, m) in routes.iter().enumerate() {
            let paths = match m.hosts.first() {
                None | Some(HostMatch::Address) => &mut index.any_host,
                Some(HostMatch::Exact(host)) => {
                    index.hosts.entry(lower(host.as_bytes()).into_owned()).or_default()
                }
                Some(HostMatch::Suffix(end)) => {
                    index.suffix_len_max = index.suffix_len_max.max(end.len());
                    index.suffixes.entry(lower(end.as_bytes()).into_owned()).or_default()
                }
            };
            paths.add(&m.path, route);
        }
        index
    }

    fn first(&self, host: &[u8], path: &[u8], matches: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best = None;
        self.any_host.first(path, &matches, &mut best);
        if !self.hosts.is_empty() || !self.suffixes.is_empty() {
            let host = lower(host);
            if let Some(paths) = self.hosts.get(&*host) {
                paths.first(path, &matches, &mut best);
            }
            // Every suffix starts with a dot.
            let end = &host[host.len().saturating_sub(self.suffix_len_max)..];
            for dot in memchr::memchr_iter(b'.', end) {
                if let Some(paths) = self.suffixes.get(&end[dot..]) {
                    paths.first(path, &matches, &mut best);
                }
            }
        }
        best
    }
}

impl Paths {
    fn add(&mut self, path: &PathMatch, route: usize) {
        match path {
            PathMatch::Exact(exact) => {
                self.exact.entry(exact.as_bytes().to_vec()).or_default().push(route);
            }
            PathMatch::Prefix(prefix) | PathMatch::Elements(prefix) => {
                self.prefixes.entry(prefix.as_bytes().to_vec()).or_default().push(route);
                if !self.lengths.contains(&prefix.len()) {
                    self.lengths.push(prefix.len());
                }
            }
            PathMatch::Regex(_) => {}
        }
    }

    /// Lowers `best` to the first route of these that matches.
    fn first(&self, path: &[u8], matches: &impl Fn(usize) -> bool, best: &mut Option<usize>) {
        let mut look = |routes: Option<&Vec<usize>>| {
            let earlier = |route: &usize| best.is_none_or(|found| *route < found);
            let found =
                routes.into_iter().flatten().copied().take_while(earlier).find(|route| matches(*route));
            *best = found.or(*best);
        };
        look(self.exact.get(path));
        for length in &self.lengths {
            if let Some(start) = path.get(..*length) {
                look(self.prefixes.get(start));
            }
        }
        if path == b"*" {
            look(self.prefixes.get(b"/".as_slice()));
        }
    }
}

/// Clients send lower case nearly always: then nothing is allocated.
fn lower(host: &[u8]) -> Cow<'_, [u8]> {
    if host.iter().any(u8::is_ascii_uppercase) { host.to_ascii_lowercase().into() } else { host.into() }
}

fn path_matches(expect: &PathMatch, path: &[u8]) -> bool {
    match expect {
        PathMatch::Exact(exact) => exact.as_bytes() == path,
        PathMatch::Elements(_) | PathMatch::Regex(_) => false,
        PathMatch::Prefix(prefix) => {
            // `OPTIONS *` asks about the server as a whole: the route for everything answers it.
            path.starts_with(prefix.as_bytes()) || (prefix == "/" && path == b"*")
        }
    }
}

fn host_matches(expect: &HostMatch, host: &[u8]) -> bool {
    match expect {
        HostMatch::Exact(exact) => host.eq_ignore_ascii_case(exact.as_bytes()),
        HostMatch::Address => false,
        HostMatch::Suffix(suffix) => {
            host.len() > suffix.len()
                && host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix.as_bytes())
        }
    }
}

fn without_port(host: &[u8]) -> &[u8] {
    let from = if host.first() == Some(&b'[') { memchr::memchr(b']', host).unwrap_or(0) } else { 0 };
    match memchr::memchr(b':', &host[from..]) {
        Some(colon) => &host[..from + colon],
        None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(host: Option<HostMatch>, path: PathMatch, methods: &[&str]) -> config::Match {
        config::Match {
            hosts: host.into_iter().collect(),
            path,
            methods: methods.iter().map(|m| (*m).to_owned()).collect(),
            ..config::Match::default()
        }
    }

    #[test]
    fn the_first_match_in_written_order_wins() {
        let router = Router::of(vec![
            route(Some(HostMatch::Exact("a.example".into())), PathMatch::Exact("/x".into()), &[]),
            route(Some(HostMatch::Suffix(".example".into())), PathMatch::Prefix("/y".into()), &["POST"]),
            route(None, PathMatch::Prefix("/y".into()), &[]),
            route(None, PathMatch::Prefix("/".into()), &["OPTIONS"]),
        ]);
        for (host, path, method, expect) in [
            ("a.example", "/x", "GET", Some(0)),
            ("A.Example:81", "/x", "GET", Some(0)),
            ("b.example", "/x", "GET", None),
            ("b.example", "/yy", "POST", Some(1)),
            ("b.example", "/yy", "GET", Some(2)),
            (".example", "/y", "POST", Some(2)),
            ("[::1]:8080", "/y/z", "GET", Some(2)),
            ("c", "*", "OPTIONS", Some(3)),
        ] {
            let got = router.find(host.as_bytes(), path.as_bytes(), method.as_bytes());
            assert_eq!(got, expect, "{method} {host}{path}");
        }
    }

    #[test]
    fn the_index_finds_what_a_look_at_each_route_finds() {
        let hosts = ["a.example", "b.a.example", "c", ""].map(str::to_owned);
        let paths = ["/", "/a", "/a/b", "/a/bc", "/b", "*", ""];
        let mut routes = Vec::new();
        for n in 0..200_usize {
            let host = match n % 5 {
                0 => None,
                1 => Some(HostMatch::Suffix(".example".into())),
                2 => Some(HostMatch::Suffix(".A.example".into())),
                _ => Some(HostMatch::Exact(hosts[n / 5 % 3].to_uppercase())),
            };
            let path = paths[n / 3 % 5].to_owned();
            let path = if n % 7 < 3 { PathMatch::Exact(path) } else { PathMatch::Prefix(path) };
            // Late routes are the general ones.
            let methods: &[&str] = if n < 150 { &["PUT"] } else { &[] };
            routes.push(route(host, path, methods));
        }
        routes.rotate_left(77);
        let (indexed, linear) = (Router::of(routes.clone()), Router { routes, index: None });
        assert!(indexed.index.is_some());
        let mut found = 0;
        for host in &hosts {
            for path in paths {
                for method in ["GET", "PUT"] {
                    let ask =
                        |router: &Router| router.find(host.as_bytes(), path.as_bytes(), method.as_bytes());
                    assert_eq!(ask(&indexed), ask(&linear), "{method} {host}{path}");
                    found += usize::from(ask(&indexed).is_some());
                }
            }
        }
        assert!(found > 20, "{found}");
    }

    #[test]
    fn a_host_of_nothing_but_dots_costs_no_more_than_its_length() {
        let suffix = |n: usize| Some(HostMatch::Suffix(format!(".{n}.example")));
        let router =
            Router::of((0..100).map(|n| route(suffix(n), PathMatch::Prefix("/".into()), &[])).collect());
        let host = [b".".repeat(16 * 1024), b".7.example".to_vec()].concat();
        // A look at every end of the host would take minutes.
        for _ in 0..2_000 {
            assert_eq!(router.find(&host, b"/", b"GET"), Some(7));
        }
    }
}
