//! What manifests say of a destination's protocol: a ServiceEntry's `protocol`, a Service's `appProtocol`, and the names
//! of ports, which Istio reads too. What is not spoken is an error: HTTP/1.1 in its place would reach nobody.

use crate::node::{Node, Value};
use crate::problem::{Place, Report};
use crate::reader::{At, Key};

use super::istio::ServiceEntry;

/// A port of a service, and what is said of its protocol.
#[derive(Debug, Clone)]
pub(super) struct Port {
    pub(super) number: u64,
    name: Option<At<String>>,
    protocol: Option<At<String>>,
}

/// What is spoken to destinations. HTTP/2 and TLS enter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    /// HTTP/1.1 over TLS.
    Https,
}

/// How Istio and Kubernetes write protocols.
const NOT_SPOKEN: [&str; 14] = [
    "grpc",
    "grpc-web",
    "http2",
    "http_proxy",
    "kubernetes.io/h2c",
    "kubernetes.io/ws",
    "kubernetes.io/wss",
    "mongo",
    "mysql",
    "redis",
    "sctp",
    "tcp",
    "thrift",
    "udp",
];

/// Those that are HTTP over TLS where a route leads there.
const SECURED: [&str; 2] = ["https", "tls"];

/// The protocol that `word` means, in any case.
pub(super) fn spoken(word: &str) -> Result<Protocol, String> {
    let lower = word.to_ascii_lowercase();
    match lower.as_str() {
        "http" => Ok(Protocol::Http1),
        "https" | "tls" => Ok(Protocol::Https),
        known if NOT_SPOKEN.contains(&known) => {
            Err(format!("{word:?} is not spoken to destinations yet; only HTTP and HTTPS are (HTTP/1.1)"))
        }
        _ => Err(format!(
            "{word:?} is no protocol that is known here; only HTTP and HTTPS are spoken to destinations"
        )),
    }
}

/// The protocol that a port's name begins with, as Istio reads it: `grpc-web`, `http2-api`. Other names say nothing.
fn named(name: &str) -> Option<&str> {
    let lower = name.to_ascii_lowercase();
    let first = lower.split('-').next().unwrap_or_default();
    let first = if lower == "grpc-web" || lower.starts_with("grpc-web-") { "grpc-web" } else { first };
    let says = NOT_SPOKEN.contains(&first) || SECURED.contains(&first);
    says.then(|| name.get(..first.len())).flatten()
}

impl Port {
    /// As far as it is said and spoken.
    fn protocol(&self, by_name: bool) -> Option<Protocol> {
        if let Some(word) = &self.protocol {
            return spoken(&word.value).ok();
        }
        let name = self.name.as_ref().filter(|_| by_name)?;
        spoken(named(&name.value)?).ok()
    }

    /// Where the port's protocol is said, and why it cannot be spoken. `by_name` where Istio's rules hold.
    fn fault(&self, by_name: bool) -> Option<(&Place, String)> {
        if let Some(word) = &self.protocol {
            return spoken(&word.value).err().map(|why| (&word.at, why));
        }
        let name = self.name.as_ref().filter(|_| by_name)?;
        let why = spoken(named(&name.value)?).err()?;
        Some((&name.at, format!("{why}; appProtocol stands above the name of a port")))
    }
}

/// What is spoken on `port`, as far as it is said; on no port in particular what all of them say.
pub(super) fn of(ports: &[Port], port: Option<u64>, by_name: bool) -> Option<Protocol> {
    let asked = ports.iter().filter(|one| port.is_none_or(|port| one.number == port));
    let mut all = asked.map(|one| one.protocol(by_name));
    let first = all.next()??;
    all.all(|other| other == Some(first)).then_some(first)
}

/// What keeps `ports` from being spoken to on `port`, if anything does; of no port in particular all of them must.
pub(super) fn fault(ports: &[Port], port: Option<u64>, by_name: bool) -> Option<(&Place, String)> {
    let asked: Vec<&Port> = ports.iter().filter(|one| port.is_none_or(|port| one.number == port)).collect();
    let faults: Vec<_> = asked.iter().filter_map(|one| one.fault(by_name)).collect();
    if faults.len() < asked.len() { None } else { faults.into_iter().next() }
}

/// The ports of a Service. What else it says concerns its cluster.
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
        Some(Port { number, name: text("name"), protocol: text("appProtocol") })
    };
    list.iter().enumerate().filter_map(port).collect()
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
