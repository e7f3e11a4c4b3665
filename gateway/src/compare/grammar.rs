//! Fields whose values have a grammar, said in one way: two spellings of one meaning are no difference. Pure.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

/// A field's value as it is compared: `None` where its text is all that is known of it.
pub(super) fn canonical(name: &str, values: &[String]) -> Option<String> {
    let all = values.join(",");
    match name {
        "content-type" => Some(parameters(&all, true)),
        "cache-control" | "surrogate-control" | "cdn-cache-control" => {
            Some(sorted(items(&all).map(|item| parameters(item, true))))
        }
        // Names of fields and of codings have no case (RFC 9110 §5.1, §8.4.1), and their order means nothing.
        "vary"
        | "accept-ranges"
        | "content-language"
        | "access-control-allow-headers"
        | "access-control-expose-headers" => Some(sorted(items(&all).map(str::to_ascii_lowercase))),
        "allow" | "access-control-allow-methods" => Some(sorted(items(&all).map(str::to_owned))),
        // Codings are listed in the order in which they were applied (§8.4).
        "content-encoding" => Some(items(&all).map(str::to_ascii_lowercase).collect::<Vec<_>>().join(",")),
        "last-modified" | "retry-after" | "sunset" => date(&all),
        // A value that is no date, `0` above all, has expired already (RFC 9111 §5.3), as whatever was to expire at the epoch.
        "expires" => Some(date(&all).unwrap_or_else(|| "0".to_owned())),
        // To say whether two are the same without their bytes, weak ones are compared by their opaque tag (§8.8.3.2).
        "etag" => Some(all.strip_prefix("W/").unwrap_or(&all).to_owned()),
        _ => None,
    }
}

/// Items of a list (§5.6.1), quoted commas apart; empty ones are none.
fn items(text: &str) -> impl Iterator<Item = &str> {
    split(text, ',').filter(|item| !item.is_empty())
}

/// At each `at` outside of quotes.
fn split(text: &str, at: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = text.split(move |c: char| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match c {
            '\\' if is_quoted && !was_escaped => is_escaped = true,
            '"' if !was_escaped => is_quoted = !is_quoted,
            _ => return c == at && !is_quoted,
        }
        false
    });
    parts.map(str::trim)
}

fn sorted(all: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = all.collect();
    all.sort_unstable();
    all.dedup();
    all.join(",")
}

/// `text/html; Charset="UTF-8"` → `text/html;charset=utf-8`: parameters in the order of their names (§8.3.1, §5.6.6). Of values
/// only a charset's has no case.
fn parameters(text: &str, is_first_lower: bool) -> String {
    let mut parts = split(text, ';').filter(|part| !part.is_empty());
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let name = name.trim().to_ascii_lowercase();
        let value = unquoted(value.trim());
        let value = if name == "charset" { value.to_ascii_lowercase() } else { value };
        if value.is_empty() { name } else { format!("{name}={value}") }
    };
    let first = parts.next().unwrap_or_default();
    let first = match first.split_once('=') {
        Some(_) => pair(first),
        None if is_first_lower => first.to_ascii_lowercase(),
        None => first.to_owned(),
    };
    let mut rest: Vec<String> = parts.map(pair).collect();
    rest.sort_unstable();
    std::iter::once(first).chain(rest).collect::<Vec<_>>().join(";")
}

fn unquoted(value: &str) -> String {
    match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inside) => inside.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => value.to_owned(),
    }
}

/// An HTTP date in any of its three formats (§5.6.7), as seconds; `None` for a value that is no date: then texts are compared.
fn date(text: &str) -> Option<String> {
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string())
}

/// A cookie that an answer sets (RFC 6265 §4.1).
#[derive(Debug)]
pub(super) struct Cookie<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
    /// By their lower-case names; the last of each counts (§5.3).
    pub(super) attributes: BTreeMap<String, &'a str>,
}

impl Cookie<'_> {
    /// The identity of a cookie to a client: name, domain and path (§5.3).
    pub(super) fn identity(&self) -> (&str, String, &str) {
        let attribute = |name: &str| self.attributes.get(name).copied().unwrap_or_default();
        let domain = attribute("domain");
        let domain = domain.strip_prefix('.').unwrap_or(domain).to_ascii_lowercase();
        // Of any other a client takes the request's, which is the same on both sides (§5.2.4).
        let path = Some(attribute("path")).filter(|path| path.starts_with('/')).unwrap_or_default();
        (self.name, domain, path)
    }
}

pub(super) fn cookie(line: &str) -> Cookie<'_> {
    // Where a name ends, and where its value begins.
    let of = |part: &str| {
        let at = part.find('=').unwrap_or(part.len());
        (at, (at + 1).min(part.len()))
    };
    let mut parts = line.split(';').map(str::trim);
    let first = parts.next().unwrap_or_default();
    let (end, start) = of(first);
    let attributes = parts.filter(|part| !part.is_empty()).map(|part| {
        let (end, start) = of(part);
        let name = part.get(..end).unwrap_or_default().trim().to_ascii_lowercase();
        (name, part.get(start..).unwrap_or_default().trim())
    });
    let name = first.get(..end).unwrap_or_default().trim();
    let value = first.get(start..).unwrap_or_default().trim();
    Cookie { name, value, attributes: attributes.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_of_one_meaning_are_the_same() {
        let same = [
            ("content-type", "application/json; charset=utf-8", "application/json;Charset=\"UTF-8\""),
            ("cache-control", "max-age=60, Public", "public,max-age=\"60\""),
            ("vary", "Accept, Origin", "origin,accept"),
            ("allow", "GET, HEAD", "HEAD,GET"),
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT"),
            ("expires", "0", "-1"),
            ("expires", "0", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("etag", "W/\"a\"", "\"a\""),
        ];
        let of = |name: &str, value: &str| canonical(name, &[value.to_owned()]);
        for (name, one, other) in same {
            assert_eq!(of(name, one), of(name, other), "{name}");
        }
        let others = [
            ("content-type", "text/html; charset=utf-8", "text/html"),
            ("content-type", "multipart/x; boundary=A", "multipart/x; boundary=a"),
            ("cache-control", "max-age=60", "max-age=61"),
            ("vary", "Accept", "*"),
            ("content-encoding", "a, b", "b, a"),
            ("expires", "0", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("etag", "\"a\"", "\"b\""),
            ("etag", "W/\"a\"", "W/\"b\""),
        ];
        for (name, one, other) in others {
            assert_ne!(of(name, one), of(name, other), "{name}");
        }
        assert_eq!(of("x-any", "a"), None);
        assert_eq!(items("a, \"b,c\" ,,d").collect::<Vec<_>>(), ["a", "\"b,c\"", "d"]);
    }

    #[test]
    fn a_cookie_is_its_name_its_value_and_its_attributes() {
        let of = cookie("sid=a1; Path=/x; Secure; path=/");
        assert_eq!((of.name, of.value), ("sid", "a1"));
        assert_eq!(
            of.attributes.iter().map(|(n, v)| (n.as_str(), *v)).collect::<Vec<_>>(),
            [("path", "/"), ("secure", "")]
        );
        let nameless = cookie("=2");
        assert_eq!((nameless.name, nameless.value, nameless.attributes.len()), ("", "2", 0));
    }

    #[test]
    fn a_cookie_is_one_to_a_client_by_name_domain_and_path() {
        let is_same = |one: &str, other: &str| cookie(one).identity() == cookie(other).identity();
        assert!(is_same("a=1; Path=/x; Secure", "a=2; path=/x"));
        assert!(is_same("a=1; Domain=.Example.org", "a=1; Domain=example.org"));
        assert!(is_same("a=1; Path=x", "a=1"));
        assert!(!is_same("a=1; Path=/", "a=1"));
        assert!(!is_same("a=1; Domain=example.org", "a=1"));
        assert!(!is_same("a=1", "A=1"));
    }
}
