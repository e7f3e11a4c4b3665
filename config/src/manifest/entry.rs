//! Where a ServiceEntry says that its hosts are.

use super::istio::ServiceEntry;
use crate::problem::Report;
use crate::reader::{At, Key, Named};

/// Numbers of its ports, in their order.
pub(super) fn ports_of(entry: &ServiceEntry) -> Vec<u64> {
    let ports = entry.ports.given().map(|list| list.value.as_slice()).unwrap_or_default();
    ports.iter().filter_map(|port| Some(port.given()?.value.number.given()?.value)).collect()
}

/// Addresses that it gives for a port, of endpoints with these labels.
pub(super) fn entry_addresses(
    host: &str,
    entry: &ServiceEntry,
    port: Option<u64>,
    labels: Option<&Named<String>>,
    report: &mut Report,
) -> Vec<String> {
    let ports: Vec<_> = entry
        .ports
        .given()
        .map(|list| list.value.iter().filter_map(Key::given).collect())
        .unwrap_or_default();
    let number = |p: &At<super::istio::ServicePort>| p.value.number.given().map(|number| number.value);
    let chosen = ports.iter().find(|p| port.is_none() || number(p) == port);
    let Some(chosen) = chosen else { return Vec::new() };
    let target = chosen.value.target_port.given().map(|target| target.value).or_else(|| number(chosen));
    let name = chosen.value.name.given().map(|name| name.value.as_str()).unwrap_or_default();
    let resolution = entry.resolution.given();
    let word = resolution.map_or("NONE", |resolution| resolution.value.as_str());
    let endpoints: Vec<_> = entry
        .endpoints
        .given()
        .map(|list| list.value.iter().filter_map(Key::given).collect())
        .unwrap_or_default();
    match word {
        "STATIC" | "DNS" | "DNS_ROUND_ROBIN" => {}
        other => {
            if let Some(resolution) = resolution {
                report.error(&resolution.at, format!("{other} gives no addresses here; use STATIC or DNS"));
            }
            return Vec::new();
        }
    }
    if endpoints.is_empty() && word != "STATIC" {
        return target.map(|target| format!("{host}:{target}")).into_iter().collect();
    }
    let has = |endpoint: &At<super::istio::WorkloadEntry>| {
        let own = endpoint.value.labels.given().map(|labels| labels.value.as_slice()).unwrap_or_default();
        let value = |name: &str| {
            let found = own.iter().find(|(key, _)| key.value == name);
            found.and_then(|(_, value)| value.given()).map(|value| value.value.as_str())
        };
        labels.is_none_or(|labels| {
            labels
                .iter()
                .all(|(name, wanted)| wanted.given().is_some_and(|w| value(&name.value) == Some(&w.value)))
        })
    };
    let mut address = |endpoint: &At<super::istio::WorkloadEntry>| {
        let At { value: address, at } = endpoint.value.address.given()?;
        if address.starts_with("unix:") {
            // An object of a cluster comes from another author than the gateway's machine has.
            if report.is_by_resource() {
                report.error(
                    at,
                    "names a socket of the gateway's own machine, which no object of a cluster may",
                );
                return None;
            }
            return Some(address.clone());
        }
        let own = endpoint.value.ports.given().map(|ports| ports.value.as_slice()).unwrap_or_default();
        let own = own.iter().find(|(key, _)| key.value == name).and_then(|(_, port)| port.given());
        let port = own.map(|port| port.value).or(target)?;
        Some(if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") })
    };
    endpoints.iter().filter(|endpoint| has(endpoint)).filter_map(|endpoint| address(endpoint)).collect()
}
