//! (host, path, method) → route. Pure, and prepared once from the configuration.
//!
//! The first route that matches wins, in the order written.

use config::{HostMatch, PathMatch, Route};

/// The routes of a configuration, by index.
#[derive(Debug)]
pub struct Router {
    routes: Vec<config::Match>,
}

impl Router {
    pub fn new(routes: &[Route]) -> Self {
        Self { routes: routes.iter().map(|r| r.matches.clone()).collect() }
    }

    /// Index of the first route that matches. `host` is as sent (a port is ignored), `path` without its query.
    pub fn find(&self, host: &[u8], path: &[u8], method: &[u8]) -> Option<usize> {
        let host = without_port(host);
        self.routes.iter().position(|m| {
            path_matches(&m.path, path)
                && m.host.as_ref().is_none_or(|h| host_matches(h, host))
                && (m.methods.is_empty() || m.methods.iter().any(|known| known.as_bytes() == method))
        })
    }
}

fn path_matches(expect: &PathMatch, path: &[u8]) -> bool {
    match expect {
        PathMatch::Exact(exact) => exact.as_bytes() == path,
        PathMatch::Prefix(prefix) => {
            // `OPTIONS *` asks about the server as a whole: the route for everything answers it.
            path.starts_with(prefix.as_bytes()) || (prefix == "/" && path == b"*")
        }
    }
}

fn host_matches(expect: &HostMatch, host: &[u8]) -> bool {
    match expect {
        HostMatch::Exact(exact) => host.eq_ignore_ascii_case(exact.as_bytes()),
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
        config::Match { host, path, methods: methods.iter().map(|m| (*m).to_owned()).collect() }
    }

    #[test]
    fn the_first_match_in_written_order_wins() {
        let router = Router {
            routes: vec![
                route(Some(HostMatch::Exact("a.example".into())), PathMatch::Exact("/x".into()), &[]),
                route(Some(HostMatch::Suffix(".example".into())), PathMatch::Prefix("/y".into()), &["POST"]),
                route(None, PathMatch::Prefix("/y".into()), &[]),
                route(None, PathMatch::Prefix("/".into()), &["OPTIONS"]),
            ],
        };
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
}
