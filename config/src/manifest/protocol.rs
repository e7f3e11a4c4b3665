//! The protocol of a destination, by its manifests: a ServiceEntry's `protocol`, a Service's `appProtocol`, and the names
//! of ports, which Istio reads too. A protocol that is not spoken here is an error: HTTP/1.1 in its place would reach no server.

use std::collections::BTreeSet;

use crate::node::{Node, Value};
use crate::problem::{Place, Report};
use crate::reader::{At, Key};

use super::istio::ServiceEntry;

/// A port of a service, with its declared protocol.
#[derive(Debug, Clone)]
pub(super) struct Port {
    pub(super) number: u64,
    name: Option<At<String>>,
    protocol: Option<At<String>>,
}

/// A protocol spoken to destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    /// HTTP/2 with prior knowledge; over TLS where a policy says so.
    Http2,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/1.1 that is upgraded.
    WebSocket,
    /// The same over TLS.
    SecureWebSocket,
}

impl Protocol {
    pub(super) const fn is_http2(self) -> bool {
        matches!(self, Self::Http2)
    }

    pub(super) const fn is_secured(self) -> bool {
        matches!(self, Self::Https | Self::SecureWebSocket)
    }

    /// Whether this protocol can carry gRPC calls: GRPCRoute implies HTTP/2 where nothing contradicts it.
    const fn carries_calls(self) -> bool {
        matches!(self, Self::Http1 | Self::Http2 | Self::Https)
    }
}

/// The kind of route that asks for a destination's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// Istio's routes, which read the names of ports too.
    Istio,
    HttpRoute,
    GrpcRoute,
}

impl Asker {
    const fn reads_names(self) -> bool {
        matches!(self, Self::Istio)
    }
}

/// How Istio and Kubernetes write protocols that are not spoken.
const NOT_SPOKEN: [&str; 8] = ["http_proxy", "mongo", "mysql", "redis", "sctp", "tcp", "thrift", "udp"];

/// Beginnings of ports' names that mean another protocol than HTTP/1.1.
const NAMED: [&str; 5] = ["grpc", "grpc-web", "http2", "https", "tls"];

const SPOKEN: &str = "HTTP, HTTP2, GRPC and HTTPS are spoken to destinations";

/// The protocol that `word` means, in any case.
pub(super) fn spoken(word: &str) -> Result<Protocol, String> {
    let lower = word.to_ascii_lowercase();
    match lower.as_str() {
        "http" => Ok(Protocol::Http1),
        "http2" | "grpc" | "grpc-web" | "kubernetes.io/h2c" => Ok(Protocol::Http2),
        "https" | "tls" => Ok(Protocol::Https),
        "kubernetes.io/ws" => Ok(Protocol::WebSocket),
        "kubernetes.io/wss" => Ok(Protocol::SecureWebSocket),
        known if NOT_SPOKEN.contains(&known) => {
            Err(format!("{word:?} is not spoken to destinations: {SPOKEN}"))
        }
        _ => Err(format!("{word:?} is no protocol that is known here: {SPOKEN}")),
    }
}

/// Whether a destination whose port says this as its `appProtocol` can be asked by a route; of calls by a GRPCRoute.
///
/// # Errors
/// Why it cannot.
pub fn is_spoken(word: &str, carries_calls: bool) -> Result<(), String> {
    match spoken(word)? {
        known if carries_calls && !known.carries_calls() => Err(no_calls(word)),
        _known => Ok(()),
    }
}

fn no_calls(word: &str) -> String {
    format!("{word:?} carries no gRPC calls, which a GRPCRoute sends here")
}

/// The protocol that a port's name begins with, as Istio reads it: `grpc-web`, `http2-api`. Other names say nothing.
fn named(name: &str) -> Option<&str> {
    let lower = name.to_ascii_lowercase();
    let first = lower.split('-').next().unwrap_or_default();
    let first = if lower == "grpc-web" || lower.starts_with("grpc-web-") { "grpc-web" } else { first };
    let says = NOT_SPOKEN.contains(&first) || NAMED.contains(&first);
    says.then(|| name.get(..first.len())).flatten()
}

impl Port {
    /// As far as it is said and spoken.
    fn protocol(&self, asker: Asker) -> Option<Protocol> {
        if let Some(word) = &self.protocol {
            return spoken(&word.value).ok();
        }
        let name = self.name.as_ref().filter(|_| asker.reads_names())?;
        spoken(named(&name.value)?).ok()
    }

    /// Where the port's protocol is said, and why it cannot be spoken.
    fn fault(&self, asker: Asker) -> Option<(&Place, String)> {
        if let Some(word) = &self.protocol {
            let why = is_spoken(&word.value, asker == Asker::GrpcRoute).err()?;
            return Some((&word.at, why));
        }
        let name = self.name.as_ref().filter(|_| asker.reads_names())?;
        let why = spoken(named(&name.value)?).err()?;
        Some((&name.at, format!("{why}; appProtocol stands above the name of a port")))
    }
}

/// The protocol of `port`, as far as manifests say; without a port, the one on which all ports agree that can be spoken to.
pub(super) fn of(ports: &[Port], port: Option<u64>, asker: Asker) -> Option<Protocol> {
    let asked = |one: &&Port| match port {
        Some(port) => one.number == port,
        None => one.fault(asker).is_none(),
    };
    let mut all = ports.iter().filter(asked).map(|one| one.protocol(asker));
    let first = all.next()??;
    all.all(|other| other == Some(first)).then_some(first)
}

/// Whether ports that can be spoken to are not spoken to alike.
pub(super) fn differ(ports: &[Port], asker: Asker) -> bool {
    let asked = ports.iter().filter(|one| one.fault(asker).is_none());
    let mut all = asked.map(|one| one.protocol(asker).unwrap_or(Protocol::Http1));
    all.next().is_some_and(|first| all.any(|other| other != first))
}

/// The reason why `port` cannot be spoken to, if there is one; without a port, all of `ports` must have one.
pub(super) fn fault(ports: &[Port], port: Option<u64>, asker: Asker) -> Option<(&Place, String)> {
    let asked: Vec<&Port> = ports.iter().filter(|one| port.is_none_or(|port| one.number == port)).collect();
    let faults: Vec<_> = asked.iter().filter_map(|one| one.fault(asker)).collect();
    if faults.len() < asked.len() { None } else { faults.into_iter().next() }
}

/// The ports of a Service; its other fields concern its cluster alone. A port of another transport than TCP speaks that transport,
/// whatever its `appProtocol`, and gives way to a TCP port of its number: HTTP/3 stands so beside HTTPS.
pub(super) fn ports(service: &Node, shown: &str, report: &Report) -> Vec<Port> {
    let list = service.get("spec").and_then(|spec| spec.get("ports")).map(Node::items).unwrap_or_default();
    let port = |(index, one): (usize, &Node)| {
        let text = |name: &str| {
            let node = one.get(name)?;
            let at = report.place(format!("{shown} spec.ports[{index}].{name}"), node.line);
            Some(At { value: node.value.text()?.to_owned(), at })
        };
        let number = match one.get("port").map(|port| &port.value) {
            Some(Value::Integer(digits, 10)) => digits.parse().ok()?,
            Some(_) | None => return None,
        };
        let transport = text("protocol").filter(|word| !word.value.eq_ignore_ascii_case("tcp"));
        let is_tcp = transport.is_none();
        Some((
            is_tcp,
            Port { number, name: text("name"), protocol: transport.or_else(|| text("appProtocol")) },
        ))
    };
    let all: Vec<(bool, Port)> = list.iter().enumerate().filter_map(port).collect();
    let tcp: BTreeSet<u64> = all.iter().filter(|(is_tcp, _)| *is_tcp).map(|(_, port)| port.number).collect();
    let stays = |(is_tcp, port): &(bool, Port)| *is_tcp || !tcp.contains(&port.number);
    all.into_iter().filter(stays).map(|(_, port)| port).collect()
}

/// The ports of a ServiceEntry.
pub(super) fn entry_ports(entry: &ServiceEntry) -> Vec<Port> {
    let list = entry.ports.given().map(|list| list.value.as_slice()).unwrap_or_default();
    let port = |one: &At<super::istio::ServicePort>| {
        let given = |key: &Key<String>| key.given().cloned();
        let number = one.value.number.given()?.value;
        Some(Port { number, name: given(&one.value.name), protocol: given(&one.value.protocol) })
    };
    list.iter().filter_map(Key::given).filter_map(port).collect()
}

/// The number of the port that is named so.
pub(super) fn number(ports: &[Port], name: &str) -> Option<u64> {
    let named = |port: &&Port| port.name.as_ref().is_some_and(|own| own.value == name);
    ports.iter().find(named).map(|port| port.number)
}
