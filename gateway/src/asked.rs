//! A request before it is forwarded, as routes, mirrors and keys of requests test it. Pure.
//!
//! Every value is as the client sent it, before any rewriting, and nothing is allocated unless a value has to be put together
//! or decoded.

use std::borrow::Cow;

use config::RequestKey;
use xxhash_rust::xxh64::xxh64;

/// The scheme in which a client speaks to its listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    #[default]
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The HTTP version of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
}

impl Version {
    /// HTTP/1.`minor`.
    pub const fn http1(minor: u8) -> Self {
        if minor == 0 { Self::Http10 } else { Self::Http11 }
    }

    /// As logs and formats show it. HTTP/2 has no minor version (RFC 9113 §3.1), but logs commonly have one.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
        }
    }

    /// As Via and OpenTelemetry's `network.protocol.version` say it.
    pub const fn number(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
        }
    }
}

/// A request's head.
#[derive(Clone, Copy)]
pub struct RequestView<'a> {
    pub method: &'a [u8],
    pub scheme: Scheme,
    /// Host with its port; empty for an HTTP/1.0 request without one.
    pub authority: &'a [u8],
    /// Without the query; `*` for `OPTIONS *`.
    pub path: &'a [u8],
    /// Without its `?`.
    pub query: Option<&'a [u8]>,
    /// Port of the listener.
    pub port: u16,
    /// The client's address without its port.
    pub address: &'a [u8],
    /// Its port.
    pub address_port: u16,
    pub version: Version,
    /// Names in the certificate that it has shown.
    pub certificate: &'a [Box<str>],
    pub fields: &'a dyn Fields,
}

/// The fields of a request, in their order.
pub trait Fields {
    /// Shows each name and value until told to stop with `false`.
    fn visit(&self, see: &mut dyn FnMut(&[u8], &[u8]) -> bool);
}

impl<const N: usize> Fields for [(String, String); N] {
    fn visit(&self, see: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        let _all = self.iter().all(|(name, value)| see(name.as_bytes(), value.as_bytes()));
    }
}

impl Fields for Vec<(String, String)> {
    fn visit(&self, see: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        let _all = self.iter().all(|(name, value)| see(name.as_bytes(), value.as_bytes()));
    }
}

impl RequestView<'_> {
    /// Shows each value of the field `name` to `see` until `see` returns `false`. Host is the authority that the request is
    /// routed and sent by, whatever a field of that name contains (RFC 9112 §3.2.2).
    pub fn each_line(&self, name: &str, see: &mut dyn FnMut(&[u8]) -> bool) {
        if name.eq_ignore_ascii_case("host") {
            if !self.authority.is_empty() {
                see(self.authority);
            }
            return;
        }
        self.fields.visit(&mut |given, value| !given.eq_ignore_ascii_case(name.as_bytes()) || see(value));
    }

    /// Value of a field; several lines are one value, joined by a comma (RFC 9110 §5.3).
    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        let mut whole: Option<Vec<u8>> = None;
        self.each_line(name, &mut |value| {
            match &mut whole {
                None => whole = Some(value.to_vec()),
                Some(whole) => {
                    whole.push(b',');
                    whole.extend_from_slice(value);
                }
            }
            true
        });
        whole
    }

    /// The first cookie of that name (RFC 6265 §4.2.1).
    pub fn cookie(&self, name: &str) -> Option<Vec<u8>> {
        let mut found = None;
        self.each_line("cookie", &mut |line| {
            found = line.split(|b| *b == b';').find_map(|pair| {
                let (key, value) = split_once(pair.trim_ascii(), b'=')?;
                (key == name.as_bytes()).then(|| value.to_vec())
            });
            found.is_none()
        });
        found
    }

    /// The first parameter of that name, decoded; empty for one without `=`.
    pub fn parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        let (_, value) = form_urlencoded::parse(self.query?).find(|(key, _)| key == name)?;
        Some(value)
    }

    /// A hash of `key`'s value that is the same on every worker, in every process and on every machine (xxHash64 with
    /// seed 0); `None` where the request does not have it.
    pub fn hash(&self, key: &RequestKey) -> Option<u64> {
        let hash = |value: &[u8]| xxh64(value, 0);
        match key {
            RequestKey::Header(name) => self.header(name).map(|value| hash(&value)),
            RequestKey::Cookie(name) => self.cookie(name).map(|value| hash(&value)),
            RequestKey::Query(name) => self.parameter(name).map(|value| hash(value.as_bytes())),
            RequestKey::Address => Some(hash(self.address)),
            RequestKey::Traceparent => trace_id(&self.header("traceparent")?).map(hash),
        }
    }
}

/// `00-<trace id of 32 hex digits>-…` (W3C Trace Context §3.2.2).
fn trace_id(traceparent: &[u8]) -> Option<&[u8]> {
    let (_version, rest) = split_once(traceparent, b'-')?;
    let (id, _parent) = split_once(rest, b'-')?;
    (id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit)).then_some(id)
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(at, text)?;
    Some((&text[..at], &text[at + 1..]))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A request made of text: `GET http://a.example:81/path?query` and its fields.
    pub(crate) fn with_asked<R>(
        method: &str,
        url: &str,
        fields: &[(&str, &str)],
        then: impl FnOnce(&RequestView<'_>) -> R,
    ) -> R {
        let (scheme, rest) = match url.split_once("://") {
            Some(("https", rest)) => (Scheme::Https, rest),
            Some((_, rest)) => (Scheme::Http, rest),
            None => (Scheme::Http, url),
        };
        let (authority, target) = rest.split_at(rest.find(['/', '*']).unwrap_or(rest.len()));
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.as_bytes())),
            None => (target, None),
        };
        let fields: Vec<_> = fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        then(&RequestView {
            method: method.as_bytes(),
            scheme,
            authority: authority.as_bytes(),
            path: path.as_bytes(),
            query,
            port: 80,
            address: b"192.0.2.1",
            address_port: 4321,
            version: Version::Http11,
            certificate: &[],
            fields: &fields,
        })
    }

    #[test]
    fn values_are_found_by_name_whole_and_decoded() {
        let fields = [
            ("X-A", "1"),
            ("Cookie", "sid=a=b; theme=dark"),
            ("x-a", "2"),
            ("cookie", "late=yes"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ];
        with_asked("GET", "http://a.example/p?user=J%C3%BCrgen+M&flag&user=2", &fields, |asked| {
            assert_eq!(asked.header("x-a").unwrap(), b"1,2");
            assert_eq!(asked.header("x-b"), None);
            assert_eq!(asked.cookie("sid").unwrap(), b"a=b");
            assert_eq!(asked.cookie("late").unwrap(), b"yes");
            assert_eq!(asked.cookie("SID"), None);
            assert_eq!(asked.parameter("user").unwrap(), "Jürgen M");
            assert_eq!(asked.parameter("flag").unwrap(), "");
            assert_eq!(asked.parameter("none"), None);
            let id = xxh64(b"0af7651916cd43dd8448eb211c80319c", 0);
            assert_eq!(asked.hash(&RequestKey::Traceparent), Some(id));
        });
    }

    #[test]
    fn host_is_the_authority_whatever_its_field_says() {
        let fields = [("Host", "other"), ("host", "another")];
        with_asked("GET", "http://internal/", &fields, |asked| {
            assert_eq!(asked.header("Host").unwrap(), b"internal");
            assert_eq!(asked.hash(&RequestKey::Header("host".into())), Some(xxh64(b"internal", 0)));
        });
        with_asked("GET", "/", &fields, |asked| assert_eq!(asked.header("host"), None));
    }

    #[test]
    fn a_key_hashes_alike_everywhere_and_forever() {
        with_asked("GET", "/", &[("x-user", "ada"), ("traceparent", "00-short-1-01")], |asked| {
            assert_eq!(asked.hash(&RequestKey::Header("x-user".into())), Some(xxh64(b"ada", 0)));
            // From the reference implementation: a change would move every session.
            assert_eq!(xxh64(b"", 0), 0xef46_db37_51d8_e999);
            assert_eq!(asked.hash(&RequestKey::Traceparent), None);
            assert_eq!(asked.hash(&RequestKey::Cookie("sid".into())), None);
        });
    }
}
