//! The words of a head that was refused, as far as they can be read: for logs, never for forwarding.
//!
//! A missing part is not made up: of a first line that is no request line nothing is shown.

use super::chunked::is_token;
use crate::asked::Fields;

/// Parts of a head, borrowed from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Glimpse<'b> {
    pub method: &'b [u8],
    /// Without the credentials that may stand before an `@` in it.
    pub authority: &'b [u8],
    pub path: &'b [u8],
    pub query: Option<&'b [u8]>,
    /// HTTP/1.`minor`; 1 for other versions.
    pub minor: u8,
    pub fields: Lines<'b>,
}

/// The lines behind the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lines<'b>(&'b [u8]);

impl<'b> Glimpse<'b> {
    /// Reads `head`, which may be incomplete; a request line longer than `line_bytes_max` says its method alone.
    pub fn of(head: &'b [u8], line_bytes_max: usize) -> Self {
        let nothing = Self { minor: 1, ..Self::default() };
        let end = memchr::memmem::find(head, b"\r\n").unwrap_or(head.len());
        let (line, rest) = head.split_at(end);
        let Some(blank) = memchr::memchr(b' ', line) else { return nothing };
        let method = &line[..blank];
        if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
            return nothing;
        }
        let is_whole = !rest.is_empty() && line.len() <= line_bytes_max;
        if !is_whole {
            return Self { method, ..nothing };
        }
        let behind = &line[blank + 1..];
        let Some(blank) = memchr::memrchr(b' ', behind) else { return nothing };
        let (target, version) = (&behind[..blank], &behind[blank + 1..]);
        if !version.starts_with(b"HTTP/") {
            return nothing;
        }
        let fields = Lines(rest.get(2..).unwrap_or_default());
        let (authority, target) = parted(method, target);
        let authority = authority.unwrap_or_else(|| fields.host());
        let target = &target[..memchr::memchr(b'#', target).unwrap_or(target.len())];
        let (path, query) = match memchr::memchr(b'?', target) {
            Some(at) => (&target[..at], Some(&target[at + 1..])),
            None => (target, None),
        };
        let authority = &authority[memchr::memrchr(b'@', authority).map_or(0, |at| at + 1)..];
        Self { method, authority, path, query, minor: u8::from(version != b"HTTP/1.0"), fields }
    }
}

/// A target's authority, where it has one, and the rest of it.
fn parted<'b>(method: &[u8], target: &'b [u8]) -> (Option<&'b [u8]>, &'b [u8]) {
    if method == b"CONNECT" {
        // Of HTTP/2 the authority is Host's.
        return ((!target.is_empty()).then_some(target), b"");
    }
    match memchr::memmem::find(target, b"://") {
        Some(at) if !target.starts_with(b"/") && !target[..at].contains(&b'?') => {
            let behind = &target[at + 3..];
            let end = behind.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(behind.len());
            (Some(&behind[..end]), &behind[end..])
        }
        Some(_) | None => (None, target),
    }
}

impl<'b> Lines<'b> {
    /// Name and value of each line that is a field, up to the empty line.
    fn each(self) -> impl Iterator<Item = (&'b [u8], &'b [u8])> {
        let mut left = self.0;
        let lines = std::iter::from_fn(move || {
            // A line without an end is not whole.
            let end = memchr::memmem::find(left, b"\r\n").filter(|end| *end > 0)?;
            let line = &left[..end];
            left = &left[end + 2..];
            Some(line)
        });
        lines.filter_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            Some((line[..colon].trim_ascii(), line[colon + 1..].trim_ascii()))
        })
    }

    fn host(self) -> &'b [u8] {
        self.each().find(|(name, _)| name.eq_ignore_ascii_case(b"host")).map_or(b"", |(_, value)| value)
    }
}

impl Fields for Lines<'_> {
    fn visit(&self, see: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        let _all = self.each().all(|(name, value)| see(name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &str, method: &str, authority: &str, path: &str, query: Option<&str>) {
        let seen = Glimpse::of(head.as_bytes(), 100);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let is = (text(seen.method), text(seen.authority), text(seen.path), seen.query.map(text));
        let expect = (method.to_owned(), authority.to_owned(), path.to_owned(), query.map(str::to_owned));
        assert_eq!(is, expect, "{head:?}");
    }

    #[test]
    fn what_a_refused_head_says_is_read_as_far_as_it_goes() {
        check("GET /a?b=c HTTP/1.1\r\nHost: shop\r\nUpgrade: x\r\n\r\n", "GET", "shop", "/a", Some("b=c"));
        check("TRACE / HTTP/1.1\r\nhost:  x:1 \r\n\r\n", "TRACE", "x:1", "/", None);
        check("GET /a HTTP/3.0\r\n\r\n", "GET", "", "/a", None);
        check("CONNECT a.example:443 HTTP/1.1\r\nHost: b\r\n\r\n", "CONNECT", "a.example:443", "", None);
        check(
            "GET http://u:secret@a.example/p?q HTTP/1.1\r\nHost: b\r\n\r\n",
            "GET",
            "a.example",
            "/p",
            Some("q"),
        );
        check("GET http://a.example?q HTTP/1.1\r\n\r\n", "GET", "a.example", "", Some("q"));
        check("GET /a HTTP/1.1\r\nHost: u:secret@b\r\n\r\n", "GET", "b", "/a", None);
        check("CONNECT  HTTP/1.1\r\nhost: a.example:443\r\n\r\n", "CONNECT", "a.example:443", "", None);
        check("GET /a#access_token=secret HTTP/1.1\r\n\r\n", "GET", "", "/a", None);
        check("GET /a b HTTP/1.1\r\n\r\n", "GET", "", "/a b", None);
        check("GET /r?to=http://b/ HTTP/1.1\r\n\r\n", "GET", "", "/r", Some("to=http://b/"));
        check("GET /to/http://b/ HTTP/1.1\r\n\r\n", "GET", "", "/to/http://b/", None);
        check("GET r?to=http://b/ HTTP/1.1\r\n\r\n", "GET", "", "r", Some("to=http://b/"));
        check("GET / HTTP/1.1\r\n\r\nHost: content\r\n", "GET", "", "/", None);
    }

    #[test]
    fn a_version_and_fields_are_shown_as_they_came() {
        for (head, minor) in
            [("GET / HTTP/1.0\r\n", 0), ("GET / HTTP/1.1\r\n", 1), ("GET / HTTP/2.0\r\n", 1), ("", 1)]
        {
            assert_eq!(Glimpse::of(head.as_bytes(), 100).minor, minor, "{head:?}");
        }
        let mut seen = Vec::new();
        let glimpse = Glimpse::of(b"GET / HTTP/1.1\r\nA : 1\r\nodd\r\nB: 2\r\nC: 3\r\n\r\n", 100);
        glimpse.fields.visit(&mut |name, value| {
            seen.push([name, value].concat());
            name != b"B"
        });
        assert_eq!(seen, [b"A1", b"B2"]);
        let line = |bytes: usize| format!("GET /{} HTTP/1.1\r\n", "a".repeat(bytes - 14));
        for (bytes, is_whole) in [(100, true), (101, false)] {
            assert_eq!(!Glimpse::of(line(bytes).as_bytes(), 100).path.is_empty(), is_whole, "{bytes}");
        }
    }

    #[test]
    fn what_is_no_request_line_says_nothing_and_one_without_an_end_its_method() {
        for head in [
            "",
            " ",
            "\r\n",
            "GET",
            "\x16\x03\x01 a b",
            "GET /a\r\n\r\n",
            " /a HTTP/1.1\r\n\r\n",
            "G(T / HTTP/1.1\r\n\r\n",
            "GET / FTP/1\r\n\r\n",
        ] {
            check(head, "", "", "", None);
        }
        check(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(200)), "GET", "", "", None);
        check("PUT /half", "PUT", "", "", None);
        check("PUT /a HTTP/1.1\r\nHost: ha", "PUT", "", "/a", None);
    }

    #[test]
    fn whatever_comes_it_does_not_panic() {
        let head = b"GET http://u@a/b?c#d HTTP/1.1\r\nHost: a\r\n:\r\nx\r\n\r\nmore";
        for from in 0..head.len() {
            for to in from..=head.len() {
                let _ = Glimpse::of(&head[from..to], 100).fields.each().count();
            }
        }
    }
}
