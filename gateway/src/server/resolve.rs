//! Names of endpoints to addresses: once, on the main thread, before any worker exists.
//!
//! It knows the system's resolver and nothing of how addresses are used.

use std::net::{SocketAddr, ToSocketAddrs};

use config::check::Problem;
use config::{Config, Endpoint, Host};

use super::{Source, endpoint_text};

/// Every address of every endpoint, by upstream; never empty. All names that do not resolve are reported at once.
pub(super) fn resolve(config: &Config, source: &Source) -> Result<Vec<Vec<SocketAddr>>, Vec<Problem>> {
    let mut refused = Vec::new();
    let mut resolved = Vec::with_capacity(config.upstreams.len());
    for upstream in &config.upstreams {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for (index, endpoint) in upstream.endpoints.iter().enumerate() {
            match look_up(endpoint) {
                // Two names of one machine, or a name listed once per protocol, must not weigh double.
                Ok(found) => found.into_iter().for_each(|a| {
                    if !addresses.contains(&a) {
                        addresses.push(a);
                    }
                }),
                Err(why) => {
                    let text = endpoint_text(endpoint);
                    let key = format!("upstream.{}.endpoints[{index}]", upstream.name);
                    refused.push(source.problem(key, &text, format!("cannot resolve {text}: {why}")));
                }
            }
        }
        resolved.push(addresses);
    }
    if refused.is_empty() { Ok(resolved) } else { Err(refused) }
}

fn look_up(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, String> {
    let name = match &endpoint.host {
        Host::Address(ip) => return Ok(vec![SocketAddr::new(*ip, endpoint.port)]),
        Host::Name(name) => name.as_str(),
    };
    let found: Vec<SocketAddr> =
        (name, endpoint.port).to_socket_addrs().map_err(|e| e.to_string())?.collect();
    if found.is_empty() { Err("the name has no address".to_owned()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str, port: u16) -> Endpoint {
        let host = host.parse().map_or_else(|_| Host::Name(host.to_owned()), Host::Address);
        Endpoint { host, port }
    }

    #[test]
    fn an_address_needs_no_resolver() {
        assert_eq!(look_up(&endpoint("::1", 80)).unwrap(), ["[::1]:80".parse().unwrap()]);
    }

    #[test]
    fn a_name_gives_all_its_addresses() {
        let found = look_up(&endpoint("localhost", 9001)).unwrap();
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() == 9001), "{found:?}");
        assert!(!found.is_empty());
    }

    #[test]
    fn every_name_that_does_not_resolve_is_reported_with_its_key() {
        let mut config = crate::server::budget::tests::config();
        config.upstreams[0].endpoints = vec![endpoint("nowhere.invalid", 1), endpoint("also.invalid", 2)];
        let refused = resolve(&config, &Source::Embedded).unwrap_err();
        let text: Vec<String> = refused.iter().map(ToString::to_string).collect();
        assert_eq!(text.len(), 2, "{text:?}");
        assert!(
            text[1]
                .starts_with("embedded default: upstream.v1.endpoints[1]: cannot resolve also.invalid:2: "),
            "{text:?}"
        );
    }
}
