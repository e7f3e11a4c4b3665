//! Upstreams: endpoints, balance, limits, ejection and health checks.

use std::net::SocketAddr;
use std::time::Duration;

use super::{ANY, Check, in_memory, word};
use crate::file;
use crate::problem::near_miss;
use crate::reader::{At, Key, Named};
use crate::syntax;
use crate::{
    Balance, Ejection, Endpoint, HealthCheck, Host, Listener, Percent, RequestKey, Timeouts, Upstream,
    UpstreamId, UpstreamProtocol,
};

impl Check<'_> {
    pub(super) fn upstreams(
        &mut self,
        written: &Key<Named<file::Upstream>>,
        own: (&[Listener], Option<SocketAddr>),
        timeouts: &Timeouts,
    ) {
        let nothing = file::Upstream::default();
        for (name, entry) in written.given().map(|named| named.value.as_slice()).unwrap_or_default() {
            let _reported = self.syntax(name, syntax::upstream_name);
            // Kept even when something in it is wrong, so that routes do not miss it.
            let endpoints = entry.given().map(|table| self.endpoints(table, own)).unwrap_or_default();
            let table = entry.given().map_or(&nothing, |table| &table.value);
            let upstream = self.upstream_of(name.value.clone(), endpoints, table, timeouts);
            self.upstreams.push(upstream);
            self.used.push(false);
        }
    }

    fn upstream_of(
        &mut self,
        name: String,
        endpoints: Vec<Endpoint>,
        written: &file::Upstream,
        timeouts: &Timeouts,
    ) -> Upstream {
        let balance = word(&written.balance, Balance::RoundRobin);
        Upstream {
            name,
            endpoints,
            destination: None,
            balance,
            hash_by: self.hash_by(written, balance),
            connect_timeout: self.period(&written.connect_timeout, timeouts.connect),
            idle_timeout: self.period(&written.idle_timeout, timeouts.upstream_idle),
            requests_per_connection_max: self.count(&written.requests_per_connection_max, ANY, 1..=ANY),
            connections_max: in_memory(self.count(&written.connections_max, ANY, 1..=ANY)),
            pending_max: in_memory(self.count(&written.pending_max, ANY, 0..=ANY)),
            ejection: written.ejection.given().map(|table| self.ejection(&table.value)),
            health: written.health.given().and_then(|table| self.health(table)),
            tls: written.tls.given().map(|table| self.upstream_tls(table)),
            protocol: self.upstream_protocol(written),
            version: written.version.given().and_then(|version| self.syntax(version, syntax::version)),
        }
    }

    fn upstream_protocol(&mut self, written: &file::Upstream) -> UpstreamProtocol {
        let protocol = word(&written.protocol, UpstreamProtocol::Http1);
        if let Some(given) = written.protocol.given()
            && protocol == UpstreamProtocol::Alpn
            && written.tls.is_absent()
        {
            let message = r#"is agreed upon in the TLS handshake: give tls, or write "h2" or "http1""#;
            self.report.error(&given.at, message);
        }
        protocol
    }

    fn hash_by(&mut self, written: &file::Upstream, balance: Balance) -> Option<RequestKey> {
        let Some(given) = written.hash_by.given() else {
            if balance == Balance::Hash
                && let Some(balance) = written.balance.given()
            {
                let message = r#"balance "hash" needs hash_by, as in hash_by = "header:x-user""#;
                self.report.error(&balance.at, message);
            }
            return None;
        };
        if balance != Balance::Hash {
            self.report.error(&given.at, r#"is only used with balance = "hash""#);
        }
        self.syntax(given, syntax::request_key)
    }

    fn ejection(&mut self, written: &file::Ejection) -> Ejection {
        let in_a_row = 0..=u64::from(u32::MAX);
        Ejection {
            // In u32: the bound says so.
            consecutive_5xx: self.count(&written.consecutive_5xx, 5, in_a_row.clone()) as u32,
            consecutive_gateway_errors: self.count(&written.consecutive_gateway_errors, 0, in_a_row) as u32,
            interval: self.period(&written.interval, Duration::from_secs(10)),
            time: self.period(&written.time, Duration::from_secs(30)),
            share_max: self.share(&written.percent_max, Percent { per_million: 100_000 }),
        }
    }

    fn health(&mut self, table: &At<file::HealthCheck>) -> Option<HealthCheck> {
        let written = &table.value;
        let path = self.required(&written.path, &table.at, "path", r#""/healthz""#);
        if let Some(path) = path {
            let _reported = self.syntax(path, syntax::path);
        }
        let host = written.host.given().and_then(|host| self.syntax(host, syntax::host_value));
        let interval = self.period(&written.interval, Duration::from_secs(10));
        let timeout = self.period(&written.timeout, interval.min(Duration::from_secs(1)));
        if let Some(given) = written.timeout.given()
            && timeout > interval
        {
            self.report.error(&given.at, "is longer than the interval between two checks");
        }
        let in_a_row = 1..=1_000;
        Some(HealthCheck {
            path: path?.value.clone(),
            host,
            interval,
            timeout,
            // In u32: the bound says so.
            healthy_after: self.count(&written.healthy_after, 2, in_a_row.clone()) as u32,
            unhealthy_after: self.count(&written.unhealthy_after, 3, in_a_row) as u32,
        })
    }

    /// `own`: this gateway's listeners, and the admin listener's address.
    fn endpoints(
        &mut self,
        table: &At<file::Upstream>,
        (listeners, admin): (&[Listener], Option<SocketAddr>),
    ) -> Vec<Endpoint> {
        let example = r#"["127.0.0.1:9001"]"#;
        let Some(list) = self.required(&table.value.endpoints, &table.at, "endpoints", example) else {
            return Vec::new();
        };
        if list.value.is_empty() {
            self.report.error(&list.at, format!("an upstream needs at least one endpoint, as in {example}"));
        }
        let mut endpoints = Vec::new();
        for written in list.value.iter().filter_map(Key::given) {
            let Some(endpoint) = self.syntax(written, syntax::endpoint) else {
                continue;
            };
            if endpoints.contains(&endpoint) {
                self.report
                    .warn(&written.at, format!("{endpoint} is here twice and gets twice the requests"));
            }
            if let Host::Address(address) = endpoint.host
                && listeners.iter().any(|on| reaches(on.bind, SocketAddr::new(address, endpoint.port)))
            {
                self.report.warn(
                    &written.at,
                    format!("{endpoint} is a listener of this gateway: requests will loop"),
                );
            }
            if let Host::Address(address) = endpoint.host
                && admin.is_some_and(|bind| reaches(bind, SocketAddr::new(address, endpoint.port)))
            {
                let message = format!("{endpoint} is this gateway's admin listener: clients would reach it");
                self.report.warn(&written.at, message);
            }
            endpoints.push(endpoint);
        }
        endpoints
    }

    pub(super) fn unused(&mut self, written: &Key<Named<file::Upstream>>) {
        let names = written.given().map(|named| named.value.as_slice()).unwrap_or_default();
        for ((name, _), used) in names.iter().zip(&self.used) {
            if !used {
                self.report.warn(&name.at, "no route names this upstream");
            }
        }
    }

    /// The upstream of that name, now in use.
    pub(super) fn upstream(&mut self, name: &At<String>) -> Option<UpstreamId> {
        if let Some(id) = self.upstreams.iter().position(|upstream| upstream.name == name.value) {
            if let Some(used) = self.used.get_mut(id) {
                *used = true;
            }
            return Some(id);
        }
        let known = || self.upstreams.iter().map(|upstream| upstream.name.as_str());
        let hint = match near_miss(&name.value, known()) {
            Some(near) => format!("; did you mean {near:?}?"),
            None => String::new(),
        };
        let names: Vec<&str> = known().collect();
        let message = if names.is_empty() {
            format!(
                "unknown upstream {0:?}: none is defined; write [upstream.{0}] with its endpoints",
                name.value
            )
        } else {
            format!("unknown upstream {:?}{hint} (known: {})", name.value, names.join(", "))
        };
        self.report.error(&name.at, message);
        None
    }
}

/// A connection to `address` may end at a listener on `bind`.
pub(super) fn reaches(bind: SocketAddr, address: SocketAddr) -> bool {
    let any = bind.ip().is_unspecified() && (address.ip().is_loopback() || address.ip().is_unspecified());
    bind.port() != 0
        && bind.port() == address.port()
        && (bind.ip() == address.ip() || any && bind.is_ipv4() == address.is_ipv4())
}
