//! Single values: text → a type that cannot be wrong, or a sentence that says why not. Pure; knows no key and no table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{Endpoint, Host, HostMatch, MirrorHost};

/// An address to listen on. Port 0 lets the system choose.
pub(crate) fn bind(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            r#"{text:?} is not an IP address and port; write "127.0.0.1:8080", "0.0.0.0:80" or "[::]:8080""#
        )
    })
}

/// `ip:port`, `[v6]:port` or `name:port`.
pub(crate) fn endpoint(text: &str) -> Result<Endpoint, String> {
    let wrong = |why: &str| Err(format!(r#"{text:?} {why}; write "ip:port", "[v6]:port" or "name:port""#));
    if text.contains("://") {
        return wrong("has a scheme");
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return wrong("has no port");
    };
    let host = if let Some(address) = host.strip_prefix('[') {
        match address.strip_suffix(']').map(str::parse::<Ipv6Addr>) {
            Some(Ok(address)) => Host::Address(IpAddr::V6(address)),
            Some(Err(_)) | None => return wrong("is not an IPv6 address and port"),
        }
    } else if host.contains(':') {
        return wrong("has an IPv6 address without brackets");
    } else if let Ok(address) = host.parse::<Ipv4Addr>() {
        Host::Address(IpAddr::V4(address))
    } else {
        // A trailing dot says that the name is complete; resolvers care, so it is kept.
        match name(host.strip_suffix('.').unwrap_or(host)) {
            Ok(()) => Host::Name(host.to_ascii_lowercase()),
            Err(why) => return wrong(&why),
        }
    };
    match self::port(port) {
        Some(0) => {
            Err(format!("{text:?} has port 0, to which nobody can connect; write a port from 1 to 65535"))
        }
        Some(port) => Ok(Endpoint { host, port }),
        None => wrong("has no port from 1 to 65535"),
    }
}

/// The host of a route: a name, an address, or a name with `*.` in place of everything to its left.
pub(crate) fn host_match(text: &str) -> Result<HostMatch, String> {
    let lower = text.to_ascii_lowercase();
    if text == "*" {
        return Err(r#""*" is not a host; leave the key out to match every host"#.to_owned());
    }
    if let Some(suffix) = lower.strip_prefix("*.") {
        return match name(suffix) {
            Ok(()) => Ok(HostMatch::Suffix(format!(".{suffix}"))),
            Err(why) => Err(format!(r#"{text:?} {why}; write "*." and a host name, as in "*.example.com""#)),
        };
    }
    if is_address(&lower) {
        return Ok(HostMatch::Exact(lower));
    }
    if lower.contains('*') {
        return Err(format!(
            r#"{text:?} has "*" where it cannot be: only the whole leftmost label may be one, as in "*.example.com""#
        ));
    }
    if let Some((host, digits)) = lower.rsplit_once(':')
        && port(digits).is_some()
        && host_alone(host).is_ok()
    {
        return Err(format!("{text:?} has a port, which a route does not look at; write {host:?}"));
    }
    match host_alone(&lower) {
        Ok(()) => Ok(HostMatch::Exact(lower)),
        Err(why) => Err(format!(r#"{text:?} {why}; write a host such as "example.com" or "*.example.com""#)),
    }
}

/// What a copy's Host is to be.
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
    let host = match text.rsplit_once(':') {
        Some((host, digits)) if !text.ends_with(']') => {
            if port(digits).is_none() {
                return wrong("has no port from 0 to 65535 after its colon");
            }
            host
        }
        Some(_) | None => text,
    };
    match host_alone(host.strip_suffix('.').unwrap_or(host)) {
        Ok(()) => Ok(MirrorHost::Literal(text.to_owned())),
        Err(why) => wrong(&why),
    }
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

/// A method: a token (RFC 9110 §5.6.2), in the case that clients send.
pub(crate) fn method(text: &str) -> Result<(), String> {
    if is_token(text) { Ok(()) } else { Err(format!(r#"{text:?} is not a method; write one such as "GET""#)) }
}

/// A name that may stand in a field value and in a metric's label without being quoted in either.
pub(crate) fn token_name(text: &str) -> Result<(), String> {
    if is_token(text) && text.len() <= NAME_BYTES_MAX {
        Ok(())
    } else {
        Err(format!(
            "{text:?} cannot be a name: it must be 1 to {NAME_BYTES_MAX} letters, digits or any of !#$%&'*+-.^_`|~"
        ))
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

/// An IPv4 address, or an IPv6 address in brackets.
fn is_address(text: &str) -> bool {
    let v6 = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    v6.map_or_else(|| text.parse::<Ipv4Addr>().is_ok(), |inner| inner.parse::<Ipv6Addr>().is_ok())
}

fn host_alone(text: &str) -> Result<(), String> {
    if is_address(text) { Ok(()) } else { name(text) }
}

/// A host name as DNS and hosts files have it; the sentence continues "… is" or "… has".
fn name(text: &str) -> Result<(), String> {
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
