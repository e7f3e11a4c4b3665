//! Names that certificates are for: exact ones, and `*.` for one label in front (RFC 9525 §6.3). Pure.

use std::collections::HashMap;
use std::net::IpAddr;

use config::ServedName;

/// Bytes of a name (RFC 1035 §2.3.4): a longer host has none of these ends.
const NAME_BYTES_MAX: usize = 253;

/// A map from names.
#[derive(Debug, Clone)]
pub struct Names<T> {
    /// Lower case.
    exact: HashMap<Box<str>, T>,
    /// By the part behind the first label's dot.
    wildcards: HashMap<Box<str>, T>,
    /// By the end of names, which begins with a dot, or with a hyphen within a label.
    suffixes: HashMap<Box<str>, T>,
    every: Option<T>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcards: HashMap::new(), suffixes: HashMap::new(), every: None }
    }
}

impl<T> Names<T> {
    /// The entry of `name`, as a certificate has it.
    pub fn entry(&mut self, name: &str) -> &mut T
    where
        T: Default,
    {
        let name = name.to_ascii_lowercase();
        match name.strip_prefix("*.") {
            Some(rest) => self.wildcards.entry(rest.into()).or_default(),
            None => self.exact.entry(name.into()).or_default(),
        }
    }

    /// The entry of a name that an operator wrote.
    pub fn served(&mut self, name: &ServedName) -> &mut T
    where
        T: Default,
    {
        match name {
            ServedName::Exact(name) => self.exact.entry(name.as_str().into()).or_default(),
            ServedName::Suffix(end) => self.suffixes.entry(end.as_str().into()).or_default(),
            ServedName::Any => self.every.get_or_insert_default(),
        }
    }

    /// Exact before wildcard, and the longer end before the shorter. `host` has no port; its case and one dot at its end do not count.
    pub fn find(&self, host: &str) -> Option<&T> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let lower;
        let host = if host.bytes().any(|b| b.is_ascii_uppercase()) {
            lower = host.to_ascii_lowercase();
            lower.as_str()
        } else {
            host
        };
        if let Some(found) = self.exact.get(host) {
            return Some(found);
        }
        self.find_wild(host).or(self.every.as_ref())
    }

    fn find_wild(&self, host: &str) -> Option<&T> {
        let (first, rest) = host.split_once('.')?;
        if first.is_empty() || host.parse::<IpAddr>().is_ok() {
            return None;
        }
        if let Some(found) = self.wildcards.get(rest) {
            return Some(found);
        }
        if self.suffixes.is_empty() || host.len() > NAME_BYTES_MAX {
            return None;
        }
        let begins = |(at, byte): &(usize, u8)| *at > 0 && matches!(byte, b'.' | b'-');
        let ends = host.bytes().enumerate().filter(begins).filter_map(|(at, _)| host.get(at..));
        ends.into_iter().find_map(|end| self.suffixes.get(end))
    }

    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcards.is_empty() && self.suffixes.is_empty() && self.every.is_none()
    }
}

/// The host of an authority: without its port, an IPv6 address without its brackets.
pub fn host(authority: &[u8]) -> Option<&str> {
    let authority = std::str::from_utf8(authority).ok()?;
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map(|(host, _)| host);
    }
    Some(authority.rsplit_once(':').map_or(authority, |(host, _)| host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_comes_before_a_wildcard_and_a_wildcard_is_one_label() {
        let mut names: Names<u8> = Names::default();
        for (name, n) in [("shop.example", 1), ("*.example", 2), ("*.a.example", 3), ("10.0.0.1", 4)] {
            *names.entry(name) = n;
        }
        let cases = [
            ("shop.example", Some(1)),
            ("SHOP.Example.", Some(1)),
            ("other.example", Some(2)),
            ("b.a.example", Some(3)),
            ("c.b.a.example", None),
            ("example", None),
            (".example", None),
            ("10.0.0.1", Some(4)),
            ("10.0.0.2", None),
            ("", None),
        ];
        for (host, wanted) in cases {
            assert_eq!(names.find(host).copied(), wanted, "{host}");
        }
    }

    #[test]
    fn a_written_name_is_for_everything_that_ends_so_the_longest_first() {
        let mut names: Names<u8> = Names::default();
        let suffix = |end: &str| ServedName::Suffix(end.to_owned());
        for (name, n) in [
            (suffix(".example"), 1),
            (suffix(".a.example"), 2),
            (ServedName::Exact("x.a.example".to_owned()), 3),
        ] {
            *names.served(&name) = n;
        }
        let found = |names: &Names<u8>, host| names.find(host).copied();
        let of = |names: &Names<u8>| {
            ["x.a.example", "y.Z.a.example", "b.example.", "example", "a.b.c.example", "10.0.0.1", "other"]
                .map(|host| found(names, host))
        };
        assert_eq!(of(&names), [Some(3), Some(2), Some(1), None, Some(1), None, None]);
        // A part of a label, too.
        *names.served(&suffix("-v2.a.example")) = 4;
        for (host, wanted) in [
            ("x-v2.a.example", Some(4)),
            ("X-y-V2.a.example.", Some(4)),
            ("b.x-v2.a.example", Some(4)),
            ("-v2.a.example", Some(2)),
            ("xv2.a.example", Some(2)),
            ("x-v2.a.example-v2.other", None),
        ] {
            assert_eq!(found(&names, host), wanted, "{host}");
        }
        // Longer than a name can be it is none, and costs no look at each of its ends.
        let long = format!("a{}.example", ".".repeat(16 * 1024));
        for _ in 0..2_000 {
            assert_eq!(found(&names, &long), None);
        }
        *names.served(&ServedName::Any) = 9;
        assert_eq!(of(&names), [Some(3), Some(2), Some(1), Some(9), Some(1), Some(9), Some(9)]);
    }

    #[test]
    fn a_host_is_an_authority_without_its_port() {
        for (authority, wanted) in
            [("a:80", "a"), ("a", "a"), ("[::1]:443", "::1"), ("[::1]", "::1"), ("1.2.3.4:5", "1.2.3.4")]
        {
            assert_eq!(host(authority.as_bytes()), Some(wanted));
        }
        assert_eq!(host(b"\xff"), None);
    }
}
