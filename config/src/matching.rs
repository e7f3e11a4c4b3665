//! Matches as meant: conditions on requests, and how people write them. Plain data; the gateway tests the requests.

use std::fmt;

use crate::pattern::Pattern;

/// All conditions must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Match {
    /// Any of them; empty matches every host.
    pub hosts: Vec<HostMatch>,
    pub path: PathMatch,
    /// `path` is compared without regard to ASCII case; never set with a pattern, which says so itself by `(?i)`.
    pub ignore_case: bool,
    /// Empty matches every method.
    pub methods: Vec<String>,
    /// Port of the listener the request came to.
    pub port: Option<u16>,
    pub when: Vec<Condition>,
}

/// A condition on Host without its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostMatch {
    /// Lower case.
    Exact(String),
    /// `*.example.com` is kept as `.example.com`, `*-v2.example.com` as `-v2.example.com`, in lower case.
    Suffix(String),
    /// An IP address, or `localhost`: the request was addressed to a machine rather than to a service. Written `[address]`.
    Address,
}

/// The path without its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    Exact(String),
    /// Plain string prefix: `/foo` matches `/foobar` (Istio).
    Prefix(String),
    /// Prefix by whole elements: `/foo` matches `/foo` and `/foo/bar`, not `/foobar` (Gateway API). Without a slash at its
    /// end, and empty for `/`.
    Elements(String),
    /// The whole path.
    Regex(Pattern),
}

impl Default for PathMatch {
    fn default() -> Self {
        Self::Prefix("/".to_owned())
    }
}

/// A property of a request, and the test on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub subject: Subject,
    pub test: Test,
    /// The test must fail. An absent value then counts as empty, except to [`Test::Present`].
    pub not: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Method,
    /// Host as sent, with its port.
    Authority,
    /// `http`.
    Scheme,
    /// Each name in the certificate that the client has shown: DNS names, URIs, addresses, mail addresses and the common name.
    Certificate,
    /// A field, by its lower-case name; several lines are one value, joined by `,`.
    Header(String),
    /// The first value of a parameter of the query.
    Query(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    Present,
    Exact(String),
    Prefix(String),
    /// The whole value.
    Regex(Pattern),
}

/// As people write it: `GET|HEAD *.example.com:8080/api/* if header x-user = "a"`.
impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.methods.is_empty() {
            write!(f, "{} ", self.methods.join("|"))?;
        }
        for (i, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}", if i > 0 { "|" } else { "" })?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        match &self.path {
            PathMatch::Exact(path) => f.write_str(path)?,
            PathMatch::Prefix(path) => write!(f, "{path}*")?,
            PathMatch::Elements(path) => write!(f, "{path}/*")?,
            PathMatch::Regex(pattern) => write!(f, "~{}", pattern.text)?,
        }
        if self.ignore_case {
            f.write_str(" in any case")?;
        }
        for (i, condition) in self.when.iter().enumerate() {
            write!(f, "{}{condition}", if i > 0 { " and " } else { " if " })?;
        }
        Ok(())
    }
}

/// As it is written: `a.example`, `*.example` or `[address]`.
impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Suffix(end) => write!(f, "*{end}"),
            Self::Address => f.write_str("[address]"),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.not {
            f.write_str("not ")?;
        }
        match &self.subject {
            Subject::Method => f.write_str("method")?,
            Subject::Authority => f.write_str("authority")?,
            Subject::Scheme => f.write_str("scheme")?,
            Subject::Certificate => f.write_str("certificate")?,
            Subject::Header(name) => write!(f, "header {name}")?,
            Subject::Query(name) => write!(f, "query {name}")?,
        }
        match &self.test {
            Test::Present => f.write_str(" is there"),
            Test::Exact(text) => write!(f, " = {text:?}"),
            Test::Prefix(text) => write!(f, " = {text:?}…"),
            Test::Regex(pattern) => write!(f, " ~ {:?}", pattern.text),
        }
    }
}
