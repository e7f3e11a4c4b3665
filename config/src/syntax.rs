//! Single values: text → a type that cannot be wrong, or a sentence that says why not. Pure; knows no key and no table.

mod endpoints;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::write::MASK;
use crate::{Collector, Host, HostMatch, LogTarget, MirrorHost, RequestKey, Trust};

pub(crate) use endpoints::{endpoint, remote};

/// Where collectors listen for OTLP over HTTP.
const OTLP_PORT: u16 = 4318;

/// An address to listen on. Port 0 lets the system choose.
pub(crate) fn bind(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            r#"{text:?} is not an IP address and port; write "127.0.0.1:8080", "0.0.0.0:80" or "[::]:8080""#
        )
    })
}

/// The name that a server's certificate must have: a host name, or an address.
pub(crate) fn server_name(text: &str) -> Result<Host, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Host::Address(address));
    }
    match name(text.strip_suffix('.').unwrap_or(text)) {
        Ok(()) => Ok(Host::Name(text.to_ascii_lowercase())),
        Err(why) => Err(format!(r#"{text:?} {why}; write a name or an address, as "v1.internal""#)),
    }
}

/// The host of a route: a name, an address, or a name with `*.` in place of everything to its left.
pub(crate) fn host_match(text: &str) -> Result<HostMatch, String> {
    let lower = text.to_ascii_lowercase();
    // The dot of the root: the same host (RFC 1034 §3.1). A dot alone is no host.
    let lower = lower
        .strip_suffix('.')
        .filter(|rest| !matches!(*rest, "" | "*") && !rest.ends_with('.'))
        .unwrap_or(&lower);
    if text == "[address]" {
        return Ok(HostMatch::Address);
    }
    if text == "*" {
        return Err(r#""*" is not a host; leave the key out to match every host"#.to_owned());
    }
    if let Some(suffix) = lower.strip_prefix("*.") {
        return match name(suffix) {
            Ok(()) => Ok(HostMatch::Suffix(format!(".{suffix}"))),
            Err(why) => Err(format!(r#"{text:?} {why}; write "*." and a host name, as in "*.example.com""#)),
        };
    }
    // A part of the leftmost label, as Istio has it: `*-v2.example.com`.
    if let Some(end) = lower.strip_prefix('*').filter(|end| end.starts_with('-') && end.len() > 1) {
        return match name(&format!("x{end}")) {
            Ok(()) => Ok(HostMatch::Suffix(end.to_owned())),
            Err(why) => {
                Err(format!(r#"{text:?} {why}; write "*-" and the rest of a name, as in "*-v2.example.com""#))
            }
        };
    }
    if let Some(address) = address(lower) {
        return Ok(HostMatch::Exact(address));
    }
    if lower.contains('*') {
        return Err(format!(
            r#"{text:?} has "*" where it cannot be: only the leftmost label may be one or begin with one, as in "*.example.com" and "*-v2.example.com""#
        ));
    }
    if let Some((host, digits)) = lower.rsplit_once(':')
        && port(digits).is_some()
        && host_alone(host).is_ok()
    {
        return Err(format!("{text:?} has a port, which a route does not look at; write {host:?}"));
    }
    match host_alone(lower) {
        Ok(()) => Ok(HostMatch::Exact(lower.to_owned())),
        Err(why) => Err(format!(r#"{text:?} {why}; write a host such as "example.com" or "*.example.com""#)),
    }
}

/// The Host of a copy.
pub(crate) fn mirror_host(text: &str) -> Result<MirrorHost, String> {
    match text {
        "keep" => return Ok(MirrorHost::Keep),
        "shadow" => return Ok(MirrorHost::Shadow),
        _literal => {}
    }
    let wrong = |why: &str| {
        Err(format!(
            r#"{text:?} {why}; write "keep", "shadow" or a literal Host such as "v2.example.com:8080""#
        ))
    };
    for word in ["keep", "shadow"] {
        if text.eq_ignore_ascii_case(word) {
            return wrong(&format!("is neither {word:?} nor likely to be meant as a host"));
        }
    }
    match host_and_port(text) {
        Ok(()) => Ok(MirrorHost::Literal(text.to_owned())),
        Err(why) => wrong(&why),
    }
}

/// A value of Host: a host, and a port if need be.
pub(crate) fn host_value(text: &str) -> Result<String, String> {
    match host_and_port(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(why) => Err(format!(r#"{text:?} {why}; write a Host such as "v2.example.com" or "v2:8080""#)),
    }
}

fn host_and_port(text: &str) -> Result<(), String> {
    let host = match text.rsplit_once(':') {
        Some((host, digits)) if !text.ends_with(']') => {
            if port(digits).is_none() {
                return Err("has no port from 0 to 65535 after its colon".to_owned());
            }
            host
        }
        Some(_) | None => text,
    };
    host_alone(host.strip_suffix('.').unwrap_or(host))
}

/// A path to compare with the path of a request target, byte by byte.
pub(crate) fn path(text: &str) -> Result<(), String> {
    if !text.starts_with('/') {
        return Err(format!(r#"{text:?} does not start with "/", as every path does"#));
    }
    if let Some(delimiter) = text.chars().find(|&c| c == '?' || c == '#') {
        return Err(format!(
            "{text:?} has {delimiter:?}, which ends a path; a route looks at the path alone"
        ));
    }
    if let Some(illegal) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(format!(
            "{text:?} has {illegal:?}, which no request can have in its path; percent-encode it"
        ));
    }
    Ok(())
}

/// Text that goes into a path without breaking the line it stands in; may be empty.
pub(crate) fn path_text(text: &str) -> Result<String, String> {
    match text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#')) {
        Some(bad) => Err(format!("{text:?} has {bad:?}, which no path has; percent-encode it")),
        None => Ok(text.to_owned()),
    }
}

/// Where the access log goes; `None` is nowhere.
pub(crate) fn log_target(text: &str) -> Result<Option<LogTarget>, String> {
    match text {
        "off" => Ok(None),
        "stdout" => Ok(Some(LogTarget::Stdout)),
        // A misspelt word must not become a file.
        path if path.contains('/') && !path.ends_with('/') && !path.contains('\0') => {
            Ok(Some(LogTarget::File(PathBuf::from(path))))
        }
        _ => Err(format!(
            r#"{text:?} is no place for a log; write "off", "stdout" or the path of a file with a / in it"#
        )),
    }
}

/// The target of spans: `None` takes no part in traces, `Some(None)` passes them on and sends no spans.
pub(crate) fn span_target(text: &str) -> Result<Option<Option<Collector>>, String> {
    let wrong = |why: &str| {
        Err(format!(r#"{text:?} {why}; write "off", "nowhere" or a URL such as "http://127.0.0.1:4318""#))
    };
    match text {
        "off" => return Ok(None),
        "nowhere" => return Ok(Some(None)),
        _url => {}
    }
    let (rest, tls) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
        (Some(rest), _) => (rest, None),
        (None, Some(rest)) => (rest, Some(Trust::System)),
        (None, None) => return wrong("is not a URL of http or https"),
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return wrong("has a user name");
    }
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let endpoint =
        if has_port { endpoint(authority)? } else { endpoint(&format!("{authority}:{OTLP_PORT}"))? };
    // As OpenTelemetry reads the endpoint of all its signals.
    let path = if matches!(path, "" | "/") { "/v1/traces" } else { path };
    self::path(path)?;
    Ok(Some(Some(Collector { endpoint, path: path.to_owned(), tls })))
}

/// Any text but none.
pub(crate) fn nonempty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("a name is missing".to_owned()) } else { Ok(text.to_owned()) }
}

/// The name of a version: shown beside verdicts, and compared with the one that a response names.
pub(crate) fn version(text: &str) -> Result<String, String> {
    let fits = (1..=VERSION_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!(r#"{text:?} must be 1 to {VERSION_BYTES_MAX} printable ASCII characters without spaces"#))
    }
}

/// Longer than any digest that images are tagged with.
const VERSION_BYTES_MAX: usize = 128;

/// A method: a token (RFC 9110 §5.6.2), in the case that clients send.
pub(crate) fn method(text: &str) -> Result<(), String> {
    if is_token(text) { Ok(()) } else { Err(format!(r#"{text:?} is not a method; write one such as "GET""#)) }
}

/// The name of an upstream or a mirror: it may stand in a field value and in a metric's label without being quoted in
/// either. A token, and `/` and `:`, because `service/subset:port` is one.
pub(crate) fn upstream_name(text: &str) -> Result<(), String> {
    let parts = text.split(['/', ':']);
    if text == "!" {
        return Err(r#""!" cannot be a name: it stands for a primary that is not there"#.to_owned());
    }
    if text.len() <= NAME_BYTES_MAX && parts.into_iter().all(is_token) {
        Ok(())
    } else {
        Err(format!(
            "{text:?} cannot be a name: it must be 1 to {NAME_BYTES_MAX} letters, digits or any of !#$%&'*+-.^_`|~, \
             with / or : between them"
        ))
    }
}

/// The name of a capture: the beginning of a file's name.
pub(crate) fn capture_name(text: &str) -> Result<(), String> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    if (1..=64).contains(&text.len()) && text.bytes().all(is_plain) {
        Ok(())
    } else {
        Err(format!("{text:?} cannot be a capture's name: it must be 1 to 64 letters, digits, - or _"))
    }
}

/// `header:NAME`, `cookie:NAME`, `query:NAME`, `address` or `traceparent`.
pub(crate) fn request_key(text: &str) -> Result<RequestKey, String> {
    let wrong = |why: &str| {
        Err(format!(
            r#"{text:?} {why}; write "header:NAME", "cookie:NAME", "query:NAME", "address" or "traceparent""#
        ))
    };
    match text.split_once(':') {
        None if text == "address" => Ok(RequestKey::Address),
        None if text == "traceparent" => Ok(RequestKey::Traceparent),
        Some(("header", name)) if is_token(name) => Ok(RequestKey::Header(name.to_ascii_lowercase())),
        Some(("cookie", name)) if is_token(name) => Ok(RequestKey::Cookie(name.to_owned())),
        Some(("query", name)) if !name.is_empty() => Ok(RequestKey::Query(name.to_owned())),
        Some(("header" | "cookie" | "query", _)) => wrong("names nothing after its colon"),
        Some(_) | None => wrong("is no part of a request that can be a key"),
    }
}

/// The name of a field that may be looked at, in lower case.
pub(crate) fn field_name(text: &str) -> Result<String, String> {
    if is_token(text) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!(r#"{text:?} is not the name of a field; write one such as "x-user""#))
    }
}

/// The name of a field that an operator may change, in lower case.
pub(crate) fn editable_field(text: &str) -> Result<String, String> {
    let name = field_name(text)?;
    if UNTOUCHABLE.contains(&name.as_str()) {
        return Err(format!(
            "{text:?} cannot be changed: it frames the message, concerns one connection or marks a copy"
        ));
    }
    Ok(name)
}

/// The name of a field that may be taken out of a request, in lower case: Via too, by which servers answer differently.
pub(crate) fn removable_field(text: &str) -> Result<String, String> {
    if text.eq_ignore_ascii_case("via") { Ok("via".to_owned()) } else { editable_field(text) }
}

/// The name of a field whose value may be taken out of a copy, in lower case.
pub(crate) fn redactable_field(text: &str) -> Result<String, String> {
    match editable_field(text)?.as_str() {
        "host" => {
            Err(r#""host" cannot be taken out of a request: give the mirror a host of its own"#.to_owned())
        }
        name => Ok(name.to_owned()),
    }
}

/// Fields the gateway alone writes.
const UNTOUCHABLE: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-umbra-copy",
    "x-umbra-mirror",
    "x-umbra-proof",
];

/// A value of a field (RFC 9110 §5.5).
pub(crate) fn field_value(text: &str) -> Result<String, String> {
    if text == MASK {
        return Err(
            "is masked: this text was read by who may not change it; read it with the token".to_owned()
        );
    }
    let bad = text.chars().find(|c| (c.is_ascii_control() && *c != '\t') || *c == '\u{7f}');
    match bad {
        // The message leaves the value out: it may be a secret, and problems are shown to people who may not read the
        // configuration.
        Some(bad) => Err(format!("has {bad:?}, which no field may have in its value")),
        None => Ok(text.trim().to_owned()),
    }
}

/// `"503"`, `"500-504"` or `"5xx"`.
pub(crate) fn statuses(text: &str) -> Result<RangeInclusive<u16>, String> {
    let number = |digits: &str| {
        (digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit()))
            .then(|| digits.parse::<u16>().ok())
            .flatten()
            .filter(|status| (100..600).contains(status))
    };
    let range = match text.split_once('-') {
        Some((from, to)) => number(from).zip(number(to)).filter(|(from, to)| from <= to),
        None => match text.strip_suffix("xx") {
            Some(class) => number(&format!("{class}00")).map(|from| (from, from + 99)),
            None => number(text).map(|status| (status, status)),
        },
    };
    match range {
        Some((from, to)) => Ok(from..=to),
        None => Err(format!(r#"{text:?} is no status; write "503", "500-504" or "5xx""#)),
    }
}

/// The name of a field, or the beginning of one and `*`; in lower case.
pub(crate) fn field_or_prefix(text: &str) -> Result<String, String> {
    if is_token(text.strip_suffix('*').unwrap_or(text)) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!(r#"{text:?} is not the name of a field; write one such as "etag", or "x-trace-*""#))
    }
}

/// A media type without parameters, or some of one kind: `*` stands for any part of the subtype. In lower case.
pub(crate) fn media_type(text: &str) -> Result<String, String> {
    let known = text
        .split_once('/')
        .is_some_and(|(a, b)| is_token(a) && is_token(b) && !a.contains('*') && b.matches('*').count() <= 1);
    if known {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!(r#"{text:?} is not a media type; write one such as "application/json", or "text/*""#))
    }
}

/// A JSON pointer (RFC 6901 §3).
pub(crate) fn json_pointer(text: &str) -> Result<String, String> {
    let escapes = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if (text.is_empty() || text.starts_with('/')) && escapes {
        Ok(text.to_owned())
    } else {
        Err(format!(r#"{text:?} is not a JSON pointer; write one such as "/user/email" or "/items/*/card""#))
    }
}

/// A media type as it stands in Content-Type.
pub(crate) fn content_type(text: &str) -> Result<String, String> {
    let (kind, _parameters) = text.split_once(';').unwrap_or((text, ""));
    let known = kind.trim().split_once('/').is_some_and(|(a, b)| is_token(a) && is_token(b));
    if known {
        field_value(text)
    } else {
        Err(format!(r#"{text:?} is no media type, as "text/html" is one"#))
    }
}

/// A name that may stand in a metric's label: looser than a token, so that `namespace/name` is one.
pub(crate) fn label_name(text: &str) -> Result<(), String> {
    let plain = |b: u8| (b.is_ascii_graphic() || b == b' ') && b != b'"' && b != b'\\';
    if (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain) {
        Ok(())
    } else {
        Err(format!(
            r#"{text:?} cannot be a name: it must be 1 to {NAME_BYTES_MAX} printable ASCII characters without " and \"#
        ))
    }
}

/// Names are repeated on every line of metrics they label.
const NAME_BYTES_MAX: usize = 128;

fn is_token(text: &str) -> bool {
    let tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(tchar)
}

/// Digits only: `parse` alone would take a sign.
fn port(text: &str) -> Option<u16> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// An IPv4 address, or an IPv6 address in brackets, which has several spellings and is kept in one (RFC 5952).
fn address(text: &str) -> Option<String> {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(|address| format!("[{address}]")),
        None => text.parse::<Ipv4Addr>().ok().map(|address| address.to_string()),
    }
}

fn host_alone(text: &str) -> Result<(), String> {
    if address(text).is_some() { Ok(()) } else { name(text) }
}

/// A host name as DNS and hosts files have it; the sentence continues "… is" or "… has".
pub(crate) fn name(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("has no host".to_owned());
    }
    if let Some(illegal) =
        text.chars().find(|&c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')))
    {
        let hint = if illegal.is_ascii() { "" } else { r#" (write the ASCII form, "xn--…")"# };
        return Err(format!("has {illegal:?}, which no host name has{hint}"));
    }
    if text.len() > 253 || text.split('.').any(|label| label.len() > 63) {
        return Err("is longer than a host name can be (253 bytes, 63 each label)".to_owned());
    }
    if text.split('.').any(str::is_empty) {
        return Err("has an empty label".to_owned());
    }
    let last = text.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) && text.parse::<Ipv4Addr>().is_err() {
        return Err("ends like an IPv4 address but is none".to_owned());
    }
    Ok(())
}
