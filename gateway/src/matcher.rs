//! Whether a request is like a [`config::Match`]: its conditions prepared once, patterns compiled. Pure.

use config::{Condition, HostMatch, Match, PathMatch, Subject, Test};
use regex::bytes::Regex;

use crate::asked::RequestView;

/// A match of the configuration, ready to test requests.
#[derive(Debug)]
pub struct Matcher {
    hosts: Vec<HostMatch>,
    path: PathTest,
    ignore_case: bool,
    methods: Vec<String>,
    port: Option<u16>,
    when: Vec<Prepared>,
}

#[derive(Debug)]
enum PathTest {
    Exact(String),
    Prefix(String),
    Elements(String),
    Regex(Regex),
}

#[derive(Debug)]
struct Prepared {
    subject: Subject,
    test: ValueTest,
    not: bool,
}

#[derive(Debug)]
enum ValueTest {
    Present,
    Exact(String),
    Prefix(String),
    Regex(Regex),
}

/// The part of a path that was matched: a rewrite may replace it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matched {
    Whole,
    /// So many bytes at its start.
    Prefix(usize),
    /// So many bytes at its start, behind which an element ends.
    Elements(usize),
}

/// Why a match does not hold: the first of its conditions that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch<'m> {
    Path,
    Host,
    Method,
    Port,
    Condition(&'m Subject),
}

impl Matcher {
    pub fn new(given: &Match) -> Self {
        let path = match &given.path {
            PathMatch::Exact(path) => PathTest::Exact(path.clone()),
            PathMatch::Prefix(path) => PathTest::Prefix(path.clone()),
            PathMatch::Elements(path) => PathTest::Elements(path.clone()),
            PathMatch::Regex(pattern) => PathTest::Regex(pattern.regex()),
        };
        Self {
            hosts: given.hosts.clone(),
            path,
            ignore_case: given.ignore_case,
            methods: given.methods.clone(),
            port: given.port,
            when: given.when.iter().map(Prepared::new).collect(),
        }
    }

    /// The part of the path that was matched, or the first condition that does not hold.
    #[inline]
    pub fn test(&self, asked: &RequestView<'_>) -> Result<Matched, Mismatch<'_>> {
        let matched = self.path(asked.path).ok_or(Mismatch::Path)?;
        if !self.hosts.is_empty() {
            let host = host_name(asked.authority);
            if !self.hosts.iter().any(|known| host_matches(known, host)) {
                return Err(Mismatch::Host);
            }
        }
        if !self.methods.is_empty() && !self.methods.iter().any(|known| known.as_bytes() == asked.method) {
            return Err(Mismatch::Method);
        }
        if self.port.is_some_and(|port| port != asked.port) {
            return Err(Mismatch::Port);
        }
        match self.when.iter().find(|condition| !condition.holds(asked)) {
            Some(condition) => Err(Mismatch::Condition(&condition.subject)),
            None => Ok(matched),
        }
    }

    pub fn holds(&self, asked: &RequestView<'_>) -> bool {
        self.test(asked).is_ok()
    }

    fn path(&self, path: &[u8]) -> Option<Matched> {
        let starts = |prefix: &[u8]| {
            path.get(..prefix.len()).is_some_and(|start| {
                if self.ignore_case { start.eq_ignore_ascii_case(prefix) } else { start == prefix }
            })
        };
        // `OPTIONS *` asks about the server as a whole: the route for everything answers it.
        let asks_all = path == b"*";
        match &self.path {
            PathTest::Exact(exact) => {
                (path.len() == exact.len() && starts(exact.as_bytes())).then_some(Matched::Whole)
            }
            PathTest::Prefix(prefix) if prefix == "/" && asks_all => Some(Matched::Whole),
            PathTest::Prefix(prefix) => starts(prefix.as_bytes()).then_some(Matched::Prefix(prefix.len())),
            PathTest::Elements(prefix) if prefix.is_empty() && asks_all => Some(Matched::Whole),
            PathTest::Elements(prefix) => {
                let ends = matches!(path.get(prefix.len()), None | Some(b'/'));
                (ends && starts(prefix.as_bytes())).then_some(Matched::Elements(prefix.len()))
            }
            PathTest::Regex(regex) => regex.is_match(path).then_some(Matched::Whole),
        }
    }
}

impl Prepared {
    fn new(given: &Condition) -> Self {
        let test = match &given.test {
            Test::Present => ValueTest::Present,
            Test::Exact(text) => ValueTest::Exact(text.clone()),
            Test::Prefix(text) => ValueTest::Prefix(text.clone()),
            Test::Regex(pattern) => ValueTest::Regex(pattern.regex()),
        };
        Self { subject: given.subject.clone(), test, not: given.not }
    }

    fn holds(&self, asked: &RequestView<'_>) -> bool {
        let is = match &self.subject {
            Subject::Method => self.test.holds(Some(asked.method), self.not),
            Subject::Authority => self.test.holds(Some(asked.authority), self.not),
            Subject::Scheme => self.test.holds(Some(asked.scheme.name().as_bytes()), self.not),
            Subject::Header(name) => self.test.holds(asked.header(name).as_deref(), self.not),
            Subject::Query(name) => {
                let value = asked.parameter(name);
                self.test.holds(value.as_ref().map(|v| v.as_bytes()), self.not)
            }
            // The test on one of its names is enough; negated, the test must hold for none.
            Subject::Certificate => match asked.certificate {
                [] => self.test.holds(None, self.not),
                names => names.iter().any(|name| self.test.holds(Some(name.as_bytes()), self.not)),
            },
        };
        is != self.not
    }
}

impl ValueTest {
    fn holds(&self, value: Option<&[u8]>, not: bool) -> bool {
        // An absent value matches nothing; negated, it counts as empty (Istio).
        let text = match (value, not) {
            (Some(value), _) => value,
            (None, true) => b"",
            (None, false) => return false,
        };
        match self {
            Self::Present => value.is_some(),
            Self::Exact(exact) => text == exact.as_bytes(),
            Self::Prefix(prefix) => text.starts_with(prefix.as_bytes()),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

fn host_matches(known: &HostMatch, host: &[u8]) -> bool {
    match known {
        HostMatch::Exact(exact) => host.eq_ignore_ascii_case(exact.as_bytes()) || same_address(exact, host),
        HostMatch::Suffix(suffix) => host
            .len()
            .checked_sub(suffix.len())
            .is_some_and(|at| at > 0 && host[at..].eq_ignore_ascii_case(suffix.as_bytes())),
        HostMatch::Address => is_address(host),
    }
}

/// An IPv6 address in brackets has several spellings (RFC 5952 §2); a configuration has one of them.
fn same_address(known: &str, host: &[u8]) -> bool {
    let inner = |host: &str| {
        let inner = host.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse::<std::net::Ipv6Addr>().ok()
    };
    known.starts_with('[')
        && host.first() == Some(&b'[')
        && std::str::from_utf8(host).ok().and_then(inner).is_some_and(|address| inner(known) == Some(address))
}

/// The request was addressed to a machine, or named no host.
fn is_address(host: &[u8]) -> bool {
    let inner = host.strip_prefix(b"[").and_then(|h| h.strip_suffix(b"]")).unwrap_or(host);
    let text = std::str::from_utf8(inner).unwrap_or_default();
    host.is_empty() || host.eq_ignore_ascii_case(b"localhost") || text.parse::<std::net::IpAddr>().is_ok()
}

/// Host without its port; the brackets of an IPv6 address stay.
pub fn without_port(host: &[u8]) -> &[u8] {
    let from = if host.first() == Some(&b'[') { memchr::memchr(b']', host).unwrap_or(0) } else { 0 };
    match memchr::memchr(b':', &host[from..]) {
        Some(colon) => &host[..from + colon],
        None => host,
    }
}

/// Host as names are compared: without its port, and without the dot of the root at its end, which names the same host
/// (RFC 3986 §3.2.2, RFC 1034 §3.1). A dot alone is no name, and stays.
pub fn host_name(authority: &[u8]) -> &[u8] {
    let host = without_port(authority);
    host.strip_suffix(b".").filter(|name| !name.is_empty()).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use config::Pattern;

    use super::*;
    use crate::asked::tests::with_asked;

    fn pattern(text: &str) -> Pattern {
        Pattern::whole(text).unwrap()
    }

    fn holds(given: Match, method: &str, url: &str, fields: &[(&str, &str)]) -> bool {
        with_asked(method, url, fields, |asked| Matcher::new(&given).holds(asked))
    }

    #[test]
    fn paths_match_whole_by_prefix_by_element_or_by_pattern() {
        let elements = |p: &str| PathMatch::Elements(p.into());
        let rows = [
            (PathMatch::Exact("/a".into()), "/a", Some(Matched::Whole)),
            (PathMatch::Exact("/a".into()), "/a/", None),
            (PathMatch::Prefix("/foo".into()), "/foobar", Some(Matched::Prefix(4))),
            (PathMatch::Prefix("/".into()), "*", Some(Matched::Whole)),
            (PathMatch::Prefix("/foo".into()), "/fo", None),
            (PathMatch::Prefix("/foo".into()), "*", None),
            (PathMatch::Prefix("/".into()), "/any", Some(Matched::Prefix(1))),
            (elements("/foo"), "/foo", Some(Matched::Elements(4))),
            (elements("/foo"), "/foo/bar", Some(Matched::Elements(4))),
            (elements("/foo"), "/foobar", None),
            (elements("/foo"), "/FOO", None),
            (elements("/foo"), "*", None),
            (elements(""), "/any", Some(Matched::Elements(0))),
            (elements(""), "*", Some(Matched::Whole)),
            (PathMatch::Regex(pattern("/a|/b.")), "/bc", Some(Matched::Whole)),
            (PathMatch::Regex(pattern("/a|/b.")), "/ab", None),
            (PathMatch::Regex(pattern("/b")), "/a/b", None),
            // A path is what was sent: nothing is decoded, merged or resolved.
            (PathMatch::Prefix("/a".into()), "/%61", None),
            (PathMatch::Prefix("/a".into()), "//a", None),
            (PathMatch::Prefix("/a".into()), "/b/../a", None),
            (PathMatch::Exact("/a".into()), "/./a", None),
            (elements("/admin"), "/x/..;/admin", None),
            (elements("/a"), "/a/../b", Some(Matched::Elements(2))),
        ];
        for (path, asked_path, expect) in rows {
            let shown = format!("{path:?} {asked_path}");
            let matcher = Matcher::new(&Match { path, ..Match::default() });
            with_asked("GET", asked_path, &[], |asked| {
                assert_eq!(matcher.test(asked).ok(), expect, "{shown}");
            });
        }
        let path = PathMatch::Prefix("/Foo".into());
        assert!(holds(Match { path, ignore_case: true, ..Match::default() }, "GET", "/fOO/x", &[]));
    }

    #[test]
    fn hosts_match_exactly_by_suffix_or_as_an_address() {
        let rows: [(HostMatch, &str, bool); 38] = [
            (HostMatch::Exact("a.example".into()), "A.Example:81", true),
            (HostMatch::Exact("a.example".into()), "b.a.example", false),
            (HostMatch::Suffix(".example".into()), "a.b.example", true),
            (HostMatch::Suffix(".example".into()), ".example", false),
            (HostMatch::Suffix(".example".into()), "example", false),
            (HostMatch::Address, "127.0.0.1:8080", true),
            (HostMatch::Address, "[::1]:8080", true),
            (HostMatch::Address, "localhost", true),
            (HostMatch::Address, "", true),
            (HostMatch::Address, "a.example", false),
            (HostMatch::Address, "1.2.3", false),
            (HostMatch::Exact("[::1]".into()), "[::1]:8080", true),
            // The dot of the root.
            (HostMatch::Exact("a.example".into()), "a.example.", true),
            (HostMatch::Exact("a.example".into()), "A.example.:81", true),
            (HostMatch::Exact("a.example".into()), "a.example..", false),
            (HostMatch::Suffix(".example".into()), "a.example.:81", true),
            (HostMatch::Suffix(".example".into()), "example.", false),
            (HostMatch::Address, "localhost.", true),
            (HostMatch::Address, "127.0.0.1.", true),
            (HostMatch::Address, ".", false),
            // A part of a label.
            (HostMatch::Suffix("-v2.example".into()), "a-v2.example", true),
            (HostMatch::Suffix("-v2.example".into()), "A-V2.Example.:81", true),
            (HostMatch::Suffix("-v2.example".into()), "-v2.example", false),
            (HostMatch::Suffix("-v2.example".into()), "av2.example", false),
            // A port, however it is written, or none behind its colon (RFC 3986 §6.2.3).
            (HostMatch::Exact("a.example".into()), "a.example:", true),
            (HostMatch::Exact("a.example".into()), "a.example:080", true),
            (HostMatch::Exact("a.example".into()), "a.example.:00", true),
            // An address of IPv6 has several spellings (RFC 5952 §2).
            (HostMatch::Exact("[::1]".into()), "[0:0:0:0:0:0:0:1]:8080", true),
            (HostMatch::Exact("[2001:db8::1]".into()), "[2001:DB8:0::0001]", true),
            (HostMatch::Exact("[::ffff:192.0.2.1]".into()), "[::ffff:c000:201]", true),
            (HostMatch::Exact("[::1]".into()), "[::2]", false),
            (HostMatch::Exact("[::1]".into()), "[::1", false),
            (HostMatch::Exact("1.2.3.4".into()), "[::ffff:1.2.3.4]", false),
            (HostMatch::Address, "[0:0::0:1]:81", true),
            (HostMatch::Address, "LOCALHOST.:80", true),
            // A name of other letters has one form in a request, in any case.
            (HostMatch::Exact("xn--bcher-kva.example".into()), "XN--BCHER-kva.Example.", true),
            // Percent-encoding is not undone: no resolver and no server does.
            (HostMatch::Exact("shop.example".into()), "%73hop.example", false),
            (HostMatch::Exact("1.2.3.4".into()), "1.2.3.4.:80", true),
        ];
        for (host, sent, expect) in rows {
            let shown = format!("{host:?} {sent}");
            let given = Match { hosts: vec![host], ..Match::default() };
            assert_eq!(holds(given, "GET", &format!("http://{sent}/"), &[]), expect, "{shown}");
        }
    }

    #[test]
    fn conditions_hold_for_values_and_their_absence_as_istio_reads_them() {
        let header = || Subject::Header("x-v".into());
        let query = || Subject::Query("q".into());
        let exact = |text: &str| Test::Exact(text.into());
        let regex = |text: &str| Test::Regex(pattern(text));
        let prefix = |text: &str| Test::Prefix(text.into());
        let here: &[(&str, &str)] = &[("X-V", "beta-2")];
        type Row<'a> = (Subject, Test, bool, &'a [(&'a str, &'a str)], &'a str, bool);
        let rows: [Row<'_>; 18] = [
            (header(), Test::Present, false, here, "/", true),
            (header(), Test::Present, false, &[], "/", false),
            (header(), Test::Present, true, &[], "/", true),
            (header(), exact("beta-2"), false, here, "/", true),
            (header(), exact("beta"), false, here, "/", false),
            (header(), prefix("beta"), false, here, "/", true),
            (header(), regex("beta"), false, here, "/", false),
            (header(), regex("beta-[0-9]"), false, here, "/", true),
            // Absent counts as empty where the contrary is asked for.
            (header(), exact(""), true, &[], "/", false),
            (header(), exact("beta-2"), true, &[], "/", true),
            (header(), exact(""), false, &[], "/", false),
            (query(), exact(""), false, &[], "/?q", true),
            (query(), exact("a b"), false, &[], "/?q=a+b", true),
            (query(), Test::Present, false, &[], "/?r=1", false),
            (Subject::Method, regex("GET|PUT"), false, &[], "/", true),
            (Subject::Scheme, exact("https"), false, &[], "/", false),
            (Subject::Scheme, exact("https"), false, &[], "https://a/", true),
            (Subject::Authority, exact("a:81"), false, &[], "http://a:81/", true),
        ];
        for (subject, test, not, fields, path, expect) in rows {
            let shown = format!("{subject:?} {test:?} not={not} {fields:?} {path}");
            let when = vec![Condition { subject, test, not }];
            assert_eq!(holds(Match { when, ..Match::default() }, "GET", path, fields), expect, "{shown}");
        }
    }

    #[test]
    fn one_name_of_a_certificate_is_enough_and_none_may_be_what_is_ruled_out() {
        let exact = |text: &str| Test::Exact(text.into());
        let rows: [(&[&str], Test, bool, bool); 9] = [
            (&["a", "b"], exact("b"), false, true),
            (&["a", "b"], exact("c"), false, false),
            (&["a", "b"], exact("b"), true, false),
            (&["a", "b"], exact("c"), true, true),
            (&["a"], Test::Present, false, true),
            (&["a"], Test::Present, true, false),
            // No certificate was shown.
            (&[], Test::Present, false, false),
            (&[], Test::Present, true, true),
            (&[], exact("a"), true, true),
        ];
        for (names, test, not, expect) in rows {
            let shown = format!("{names:?} {test:?} not={not}");
            let when = vec![Condition { subject: Subject::Certificate, test, not }];
            let matcher = Matcher::new(&Match { when, ..Match::default() });
            let certificate: Vec<Box<str>> = names.iter().map(|name| (*name).into()).collect();
            let holds = with_asked("GET", "/", &[], |asked| {
                matcher.holds(&RequestView { certificate: &certificate, ..*asked })
            });
            assert_eq!(holds, expect, "{shown}");
        }
    }

    #[test]
    fn every_condition_must_hold_and_the_first_that_fails_is_named() {
        let given = Match {
            methods: vec!["PUT".into()],
            port: Some(81),
            when: vec![Condition { subject: Subject::Header("x".into()), test: Test::Present, not: false }],
            ..Match::default()
        };
        let named = |given: &Match, method: &str| {
            with_asked(method, "/", &[], |asked| match Matcher::new(given).test(asked) {
                Ok(_) => "holds".to_owned(),
                Err(why) => format!("{why:?}"),
            })
        };
        assert_eq!(named(&given, "GET"), "Method");
        assert_eq!(named(&given, "PUT"), "Port");
        let given = Match { port: Some(80), ..given };
        assert_eq!(named(&given, "PUT"), r#"Condition(Header("x"))"#);
    }
}
