//! Endpoints: an address or a name with a port, or a socket of this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Endpoint, Host};

/// The longest path that a socket's address holds, with its end.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// Path of a Unix domain socket: `unix:/run/app.sock`, as gRPC and Envoy write it, or `unix:///run/app.sock`, as Istio does.
fn unix(path: &str) -> Result<Endpoint, String> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if !path.starts_with('/') || path.ends_with('/') {
        return Err(format!(r#"{path:?} is not the whole path of a socket; write "unix:/run/app.sock""#));
    }
    if path.len() > UNIX_PATH_BYTES_MAX || path.contains(char::is_control) {
        return Err(format!("{path:?} is no path of a socket: that has {UNIX_PATH_BYTES_MAX} bytes at most"));
    }
    Ok(Endpoint { host: Host::Unix(path.to_owned()), port: 0 })
}

/// `ip:port`, `[v6]:port`, `name:port` or `unix:/path`.
pub(crate) fn endpoint(text: &str) -> Result<Endpoint, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path);
    }
    let wrong = |why: &str| {
        Err(format!(r#"{text:?} {why}; write "ip:port", "[v6]:port", "name:port" or "unix:/path""#))
    };
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
        match super::name(host.strip_suffix('.').unwrap_or(host)) {
            Ok(()) => Host::Name(host.to_ascii_lowercase()),
            Err(why) => return wrong(&why),
        }
    };
    match super::port(port) {
        Some(0) => {
            Err(format!("{text:?} has port 0, to which nobody can connect; write a port from 1 to 65535"))
        }
        Some(port) => Ok(Endpoint { host, port }),
        None => wrong("has no port from 1 to 65535"),
    }
}

/// An endpoint of another machine.
pub(crate) fn remote(text: &str) -> Result<Endpoint, String> {
    match endpoint(text)? {
        Endpoint { host: Host::Unix(_), .. } => Err(format!("{text:?} is a socket of this machine")),
        endpoint => Ok(endpoint),
    }
}
