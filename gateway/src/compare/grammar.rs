//! Fields whose values have a grammar, said in one way: two spellings of one meaning are no difference. Pure.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

/// A field's value as it is compared: `None` where its text is all that is known of it.
pub(super) fn canonical(name: &str, values: &[String]) -> Option<String> {
    let all = values.join(",");
    match name {
        "content-type" | "content-disposition" => Some(parameters(&all)),
        "cache-control" | "surrogate-control" | "cdn-cache-control" | "accept-patch" | "accept-post" => {
            Some(sorted(items(&all).map(parameters)))
        }
        // RFC 6797 §6.1.
        "strict-transport-security" => Some(sorted(parts(&all).map(parameter))),
        // Of several directives of one name the first counts, and words have case.
        "content-security-policy" | "content-security-policy-report-only" => {
            Some(parts(&all).map(directive).collect::<Vec<_>>().join(";"))
        }
        "x-content-type-options" | "x-frame-options" => Some(all.to_ascii_lowercase()),
        // Their order may be that of a preference (RFC 8288 §3), and a target's letters are its server's.
        "link" => Some(items(&all).map(link).collect::<Vec<_>>().join(",")),
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

/// An attribute of a cookie as clients read it (RFC 6265 §5.2), by its lower-case name.
pub(super) fn attribute(name: &str, value: &str) -> String {
    match name {
        "expires" => cookie_date(value).unwrap_or_else(|| value.to_owned()),
        "domain" => value.strip_prefix('.').unwrap_or(value).to_ascii_lowercase(),
        "samesite" => value.to_ascii_lowercase(),
        // Whether they are there is all that they say.
        "secure" | "httponly" | "partitioned" => String::new(),
        _ => value.to_owned(),
    }
}

/// Items of a list (§5.6.1), quoted commas apart; empty ones are none.
fn items(text: &str) -> impl Iterator<Item = &str> {
    split(text, ',').filter(|item| !item.is_empty())
}

/// Parameters or directives, which semicolons part; empty ones are none.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    split(text, ';').filter(|part| !part.is_empty())
}

/// At each `at` outside of quotes, and of the angle brackets around a link's target.
fn split(text: &str, at: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped, mut is_target) = (false, false, false);
    let parts = text.split(move |c: char| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match c {
            '\\' if is_quoted && !was_escaped => is_escaped = true,
            '"' if !was_escaped && !is_target => is_quoted = !is_quoted,
            '<' | '>' if !is_quoted => is_target = c == '<',
            _ => return c == at && !is_quoted && !is_target,
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

/// `text/html; Charset="UTF-8"` → `text/html;charset=utf-8`: parameters in the order of their names (§8.3.1, §5.6.6).
fn parameters(text: &str) -> String {
    let mut parts = parts(text);
    behind(parameter(parts.next().unwrap_or_default()), parts)
}

/// `<https://a/>; Rel="next"` → `<https://a/>;rel=next` (RFC 8288 §3).
fn link(text: &str) -> String {
    let mut parts = parts(text);
    behind(parts.next().unwrap_or_default().to_owned(), parts)
}

/// `first`, and parameters in the order of their names.
fn behind<'t>(first: String, parts: impl Iterator<Item = &'t str>) -> String {
    let mut rest: Vec<String> = parts.map(parameter).collect();
    rest.sort_unstable();
    std::iter::once(first).chain(rest).collect::<Vec<_>>().join(";")
}

/// A name, which has no case, and its value, of which only a charset's has none.
fn parameter(part: &str) -> String {
    let (name, value) = part.split_once('=').unwrap_or((part, ""));
    let name = name.trim().to_ascii_lowercase();
    let value = unquoted(value.trim());
    let value = if name == "charset" { value.to_ascii_lowercase() } else { value };
    if value.is_empty() { name } else { format!("{name}={value}") }
}

/// `Img-Src  a b` → `img-src a b` (Content Security Policy §2.2.1).
fn directive(part: &str) -> String {
    let (name, words) = part.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((part, ""));
    let words = words.split_ascii_whitespace();
    std::iter::once(name.to_ascii_lowercase().as_str()).chain(words).collect::<Vec<_>>().join(" ")
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

/// A date of a cookie, which clients read in whatever format: `1970-jan-1 0:0:0` (RFC 6265 §5.1.1).
fn cookie_date(text: &str) -> Option<String> {
    let is_between = |c: char| matches!(c, '\t' | ' '..='/' | ';'..='@' | '['..='`' | '{'..='~');
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    for word in text.split(is_between).filter(|word| !word.is_empty()) {
        let number = || word.parse::<u16>().ok().filter(|_| word.len() <= 4);
        if time.is_none() && word.contains(':') {
            let parts: Option<Vec<u16>> = word.split(':').map(|part| part.parse().ok()).collect();
            time = parts.filter(|parts| parts.len() == 3);
        } else if day.is_none() && word.len() <= 2 && number().is_some() {
            day = number();
        } else if month.is_none() && is_month(word) {
            month = word.get(..3).map(str::to_ascii_lowercase);
        } else if year.is_none() && word.len() >= 2 {
            year = number().map(|year| match year {
                0..=69 => year + 2000,
                70..=99 => year + 1900,
                _ => year,
            });
        }
    }
    let [hour, minute, second] = *time?.as_slice() else { return None };
    Some(format!("{}-{}-{} {hour}:{minute}:{second}", year?, month?, day?))
}

fn is_month(word: &str) -> bool {
    const MONTHS: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    word.get(..3).is_some_and(|start| MONTHS.iter().any(|month| month.eq_ignore_ascii_case(start)))
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
            ("etag", "W/\"a\"", "\"a\""),
            // Lists in any order, with any blanks, with items that are there twice or empty.
            ("accept-ranges", "Bytes", "bytes"),
            ("vary", "Accept-Encoding,Origin", "origin ,\taccept-encoding, ,Origin"),
            ("allow", "GET,HEAD", "HEAD , GET, GET"),
            ("content-language", "de-DE, en", "en,DE-de"),
            ("content-encoding", "GZip", "gzip"),
            ("access-control-allow-headers", "X-A, x-b", "x-B,x-a"),
            ("access-control-allow-methods", "PUT, GET", "GET,PUT"),
            ("accept-post", "text/plain; Charset=UTF-8, a/b", "A/B,text/plain;charset=utf-8"),
            // Media types and their parameters.
            ("content-type", "Text/HTML", "text/html"),
            ("content-type", "text/html;", "text/html"),
            ("content-type", "multipart/x; boundary=\"a b\"; q=1", "multipart/x;q=1;boundary=\"a b\""),
            ("content-type", "text/x; a=\"\\\"\"", "text/x;A=\"\\\"\""),
            ("content-disposition", "Attachment; filename=\"a.txt\"", "attachment;FileName=a.txt"),
            // Dates in each format, and values that are no date.
            ("expires", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"),
            ("expires", "0", "-1"),
            ("expires", "0", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT"),
            // Directives.
            ("cache-control", "No-Cache, private=\"set-cookie\"", "PRIVATE=set-cookie ,no-cache"),
            ("cache-control", "max-age=0,must-revalidate", "must-revalidate, max-age=0, max-age=0"),
            (
                "strict-transport-security",
                "max-age=60; includeSubDomains",
                "includesubdomains;MAX-AGE=\"60\";",
            ),
            ("content-security-policy", "default-src 'self'; img-src *", "Default-Src  'self';img-src *;"),
            ("x-content-type-options", "nosniff", "NoSniff"),
            ("x-frame-options", "DENY", "deny"),
            // Links, in whose targets a comma and a semicolon are letters.
            ("link", "<https://a/?x=1,2;y>; rel=\"next\"; as=x", "<https://a/?x=1,2;y>;as=x;Rel=next"),
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
            ("etag", "\"a\"", "\"b\""),
            ("etag", "W/\"a\"", "W/\"b\""),
            ("etag", "\"a\"", "\"A\""),
            ("vary", "*", ""),
            ("allow", "GET", "get"),
            ("accept-ranges", "bytes", "none"),
            ("cache-control", "private", "public"),
            ("cache-control", "no-cache=\"a\"", "no-cache"),
            ("expires", "0", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:38 GMT"),
            ("content-type", "text/html; a=B", "text/html; a=b"),
            ("content-disposition", "attachment; filename=a", "attachment; filename=A"),
            ("strict-transport-security", "max-age=60", "max-age=60; preload"),
            ("content-security-policy", "img-src a b", "img-src b a"),
            ("link", "</a>; rel=next", "</A>; rel=next"),
            ("link", "</a>, </b>", "</b>, </a>"),
            ("link", "</a>; rel=next, </b>; rel=prev", "</a>; rel=prev, </b>; rel=next"),
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
    fn an_attribute_of_a_cookie_is_what_a_client_makes_of_it() {
        let same = [
            ("expires", "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01-Jan-1970 00:00:00 GMT"),
            ("expires", "Thu, 01-Jan-70 00:00:00 GMT", "Thu Jan  1 00:00:00 1970"),
            ("expires", "Wed, 1 january 2031 0:00:00", "Wednesday, 01-Jan-31 00:00:00 GMT"),
            ("samesite", "Lax", "lax"),
            ("domain", ".Shop.Example", "shop.example"),
            ("secure", "", "true"),
            ("httponly", "", "HttpOnly"),
        ];
        for (name, one, other) in same {
            assert_eq!(attribute(name, one), attribute(name, other), "{name}");
        }
        let others = [
            ("expires", "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:01 GMT"),
            ("expires", "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01 Jan 2070 00:00:00 GMT"),
            ("expires", "never", "soon"),
            ("samesite", "Lax", "None"),
            ("domain", "a.example", "b.a.example"),
            ("max-age", "60", "61"),
            ("path", "/a", "/A"),
        ];
        for (name, one, other) in others {
            assert_ne!(attribute(name, one), attribute(name, other), "{name}");
        }
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
