//! Who a destination is: a service's name, a subset and a port become an upstream with addresses and a policy.
//!
//! Addresses come from `--endpoint`, from a ServiceEntry's endpoints, or from DNS names; there is no cluster to ask.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Resource;
use super::istio::{
    ConnectionPool, Destination, DestinationRule, LoadBalancer, OutlierDetection, ServiceEntry, Tls,
    TrafficPolicy,
};
use crate::Balance;
use crate::file;
use crate::problem::{Place, Report};
use crate::reader::{At, Key, List, Named};

/// One `--endpoint service[/subset][:port]=address,…`.
#[derive(Debug)]
struct Bound {
    service: String,
    subset: Option<String>,
    port: Option<u64>,
    addresses: Vec<String>,
    at: Place,
    used: bool,
}

/// What a destination is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    /// Its name in full.
    service: String,
    subset: Option<String>,
    port: Option<u64>,
}

/// One upstream in the making.
struct Made {
    name: String,
    upstream: file::Upstream,
    at: Place,
}

/// Everything the manifests and the command line say about services.
#[derive(Default)]
pub(super) struct Services {
    bound: Vec<Bound>,
    rules: Vec<(String, Resource<DestinationRule>)>,
    entries: Vec<(String, Resource<ServiceEntry>)>,
    /// Names of Services, in full, with their namespaces.
    known: Vec<String>,
    made: BTreeMap<Wanted, Option<usize>>,
    upstreams: Vec<Made>,
}

/// `httpbin` in `default` → `httpbin.default.svc.cluster.local`; a name with dots is one already, but for the short ends
/// that Kubernetes knows.
pub(super) fn in_full(host: &str, namespace: &str) -> String {
    let host = host.to_ascii_lowercase();
    if !host.contains('.') {
        return format!("{host}.{namespace}.svc.cluster.local");
    }
    if host.ends_with(".svc") && host.split('.').count() == 3 {
        return format!("{host}.cluster.local");
    }
    host
}

/// The first label of a cluster's name, the whole of any other.
pub(super) fn short(service: &str) -> &str {
    let inner = service.strip_suffix(".svc.cluster.local").and_then(|inner| inner.split_once('.'));
    inner.map_or(service, |(name, _namespace)| name)
}

impl Services {
    /// Takes one `--endpoint`.
    pub(super) fn bind(&mut self, text: &str, at: &Place, report: &mut Report) {
        let wrong = |report: &mut Report| {
            let message = format!(
                "{text:?} is not an endpoint; write SERVICE[/SUBSET][:PORT]=ADDRESS:PORT[,ADDRESS:PORT…], as in \
                 httpbin/v1=127.0.0.1:8001"
            );
            report.error(at, message);
        };
        let Some((who, addresses)) = text.split_once('=') else { return wrong(report) };
        let (who, port) = match who.rsplit_once(':') {
            Some((who, port)) => match port.parse() {
                Ok(port) => (who, Some(port)),
                Err(_) => return wrong(report),
            },
            None => (who, None),
        };
        let (service, subset) = match who.split_once('/') {
            Some((service, subset)) => (service, Some(subset.to_owned())),
            None => (who, None),
        };
        if service.is_empty() || addresses.is_empty() || subset.as_deref() == Some("") {
            return wrong(report);
        }
        self.bound.push(Bound {
            service: service.to_ascii_lowercase(),
            subset,
            port,
            addresses: addresses.split(',').map(str::to_owned).collect(),
            at: at.clone(),
            used: false,
        });
    }

    pub(super) fn know(&mut self, service: &str, namespace: &str) {
        self.known.push(in_full(service, namespace));
    }

    pub(super) fn rule(&mut self, rule: Resource<DestinationRule>, report: &mut Report) {
        let Some(host) = rule.spec.host.given() else {
            report.error(&rule.at.child("host"), "is missing");
            return;
        };
        let service = in_full(&host.value, &rule.namespace);
        if self.rules.iter().any(|(other, _)| *other == service) {
            report.warn(&host.at, "is the host of another DestinationRule, which comes first and is used");
        }
        self.rules.push((service, rule));
    }

    pub(super) fn entry(&mut self, entry: Resource<ServiceEntry>) {
        for host in entry.spec.hosts.given().map(|hosts| hosts.value.as_slice()).unwrap_or_default() {
            if let Some(host) = host.given() {
                self.entries.push((in_full(&host.value, &entry.namespace), entry.clone()));
            }
        }
    }

    /// A service that a manifest or an `--endpoint` names.
    pub(super) fn is_known(&self, host: &str, namespace: &str) -> bool {
        let service = in_full(host, namespace);
        self.known.contains(&service)
            || self.entries.iter().any(|(other, _)| *other == service)
            || self.rules.iter().any(|(other, _)| *other == service)
            || self.bound.iter().any(|bound| is_named(&bound.service, &service))
    }

    /// The name of the upstream for a destination; `None` after saying why there is none.
    pub(super) fn upstream(
        &mut self,
        destination: &At<Destination>,
        namespace: &str,
        report: &mut Report,
    ) -> Option<String> {
        let written = &destination.value;
        let Some(host) = written.host.given() else {
            report.error(&destination.at.child("host"), "is missing");
            return None;
        };
        let wanted = Wanted {
            service: in_full(&host.value, namespace),
            subset: written.subset.given().map(|subset| subset.value.clone()),
            port: written.port.given().and_then(|port| port.value.number.given()).map(|number| number.value),
        };
        let at = written.subset.given().map_or(&host.at, |subset| &subset.at);
        self.made_of(wanted, at, report)
    }

    /// As [`Services::upstream`], for who names no subset.
    pub(super) fn plain_upstream(
        &mut self,
        host: &str,
        namespace: &str,
        port: Option<u64>,
        at: &Place,
        report: &mut Report,
    ) -> Option<String> {
        self.made_of(Wanted { service: in_full(host, namespace), subset: None, port }, at, report)
    }

    fn made_of(&mut self, wanted: Wanted, at: &Place, report: &mut Report) -> Option<String> {
        if let Some(made) = self.made.get(&wanted) {
            return made.and_then(|index| self.upstreams.get(index)).map(|made| made.name.clone());
        }
        let made = self.make(&wanted, at, report);
        let index = made.map(|made| {
            self.upstreams.push(made);
            self.upstreams.len() - 1
        });
        self.made.insert(wanted, index);
        index.and_then(|index| self.upstreams.get(index)).map(|made| made.name.clone())
    }

    fn make(&mut self, wanted: &Wanted, at: &Place, report: &mut Report) -> Option<Made> {
        let rule =
            self.rules.iter().find(|(service, _)| *service == wanted.service).map(|(_, rule)| rule.clone());
        let subset = match (&wanted.subset, &rule) {
            (None, _) => None,
            (Some(name), Some(rule)) => {
                let subsets = rule.spec.subsets.given().map(|list| list.value.as_slice()).unwrap_or_default();
                let subsets: Vec<_> = subsets.iter().filter_map(Key::given).collect();
                let named =
                    subsets.iter().find(|s| s.value.name.given().is_some_and(|given| given.value == *name));
                if named.is_none() {
                    let known: Vec<&str> =
                        subsets.iter().filter_map(|s| Some(s.value.name.given()?.value.as_str())).collect();
                    let message = format!(
                        "the DestinationRule of {} has no subset {name:?} (it has {})",
                        short(&wanted.service),
                        if known.is_empty() { "none".to_owned() } else { known.join(", ") }
                    );
                    report.error(at, message);
                    return None;
                }
                named.map(|named| (*named).clone())
            }
            (Some(name), None) => {
                let message = format!(
                    "no DestinationRule says what subset {name:?} of {} is; give it with --manifest",
                    short(&wanted.service)
                );
                report.error(at, message);
                return None;
            }
        };
        let labels = subset.as_ref().and_then(|subset| subset.value.labels.given());
        let addresses = self.addresses(wanted, labels.map(|labels| &labels.value), at, report)?;
        let mut upstream = file::Upstream {
            endpoints: Key::at(addresses.into_iter().map(|a| Key::at(a, at)).collect::<List<String>>(), at),
            ..file::Upstream::default()
        };
        let whole = rule.as_ref().and_then(|rule| rule.spec.traffic_policy.given());
        let own = subset.as_ref().and_then(|subset| subset.value.traffic_policy.given());
        for policy in [whole, own].into_iter().flatten() {
            apply(&policy.value, wanted.port, &mut upstream, report);
        }
        let name = match (&wanted.subset, wanted.port) {
            (None, None) => self.display(&wanted.service),
            (Some(subset), None) => format!("{}/{subset}", self.display(&wanted.service)),
            (None, Some(port)) => format!("{}:{port}", self.display(&wanted.service)),
            (Some(subset), Some(port)) => format!("{}/{subset}:{port}", self.display(&wanted.service)),
        };
        Some(Made { name, upstream, at: at.clone() })
    }

    /// The shortest name that nobody else has.
    fn display(&self, service: &str) -> String {
        let short_name = short(service);
        let everyone = self
            .known
            .iter()
            .chain(self.rules.iter().map(|(s, _)| s))
            .chain(self.entries.iter().map(|(s, _)| s));
        let mut others = everyone.filter(|other| *other != service);
        if others.any(|other| short(other) == short_name) {
            service.to_owned()
        } else {
            short_name.to_owned()
        }
    }

    fn addresses(
        &mut self,
        wanted: &Wanted,
        labels: Option<&Named<String>>,
        at: &Place,
        report: &mut Report,
    ) -> Option<Vec<String>> {
        let fits = |bound: &Bound| {
            is_named(&bound.service, &wanted.service)
                && bound.subset == wanted.subset
                && (bound.port.is_none() || bound.port == wanted.port)
        };
        let mut bound: Vec<&mut Bound> = self.bound.iter_mut().filter(|bound| fits(bound)).collect();
        // One that names the port says more.
        bound.sort_by_key(|bound| bound.port.is_none());
        if let Some(bound) = bound.into_iter().next() {
            bound.used = true;
            return Some(bound.addresses.clone());
        }
        let entry = self.entries.iter().find(|(service, _)| *service == wanted.service);
        if let Some((host, entry)) = entry {
            let found = entry_addresses(host, &entry.spec, wanted.port, labels, report);
            if !found.is_empty() {
                return Some(found);
            }
        }
        let who = match &wanted.subset {
            Some(subset) => format!("{}/{subset}", short(&wanted.service)),
            None => short(&wanted.service).to_owned(),
        };
        let message = format!("no address is known for {who}: write --endpoint {who}=ADDRESS:PORT");
        report.error(at, message);
        None
    }

    /// A destination's connection pool bounds a mirror's ring and connections.
    pub(super) fn mirror_policy(&self, upstream: &str, mirror: &mut file::Mirror, report: &mut Report) {
        let Some(made) = self.upstreams.iter().find(|made| made.name == upstream) else { return };
        let bounded = |key: &Key<u64>, most: u64, report: &mut Report| match key.given() {
            Some(given) if given.value > most => {
                report.warn(&given.at, format!("a mirror has at most {most} here, which is used"));
                Key::at(most, &given.at)
            }
            Some(given) if given.value == 0 => Key::at(1, &given.at),
            Some(_) | None => key.clone(),
        };
        mirror.ring_entries_max = bounded(&made.upstream.pending_max, 1_048_576, report);
        mirror.connections_max = bounded(&made.upstream.connections_max, 1_024, report);
        mirror.connect_timeout = made.upstream.connect_timeout.clone();
    }

    /// The upstreams in the order in which they were first named; says which `--endpoint` nobody asked for.
    pub(super) fn finish(self, report: &mut Report) -> Named<file::Upstream> {
        for bound in self.bound.iter().filter(|bound| !bound.used) {
            report.warn(&bound.at, "no destination of the manifests asks for this endpoint");
        }
        let one = |made: Made| {
            let name = At { value: made.name, at: made.at.clone() };
            (name, Key::at(made.upstream, &made.at))
        };
        self.upstreams.into_iter().map(one).collect()
    }
}

/// An `--endpoint` may name a service in full or by any of its shorter names.
fn is_named(given: &str, service: &str) -> bool {
    if given == service {
        return true;
    }
    let Some(inner) = service.strip_suffix(".svc.cluster.local") else { return false };
    given == inner || given == short(service) || given == format!("{inner}.svc")
}

fn entry_addresses(
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
    let address = |endpoint: &At<super::istio::WorkloadEntry>| {
        let own = endpoint.value.ports.given().map(|ports| ports.value.as_slice()).unwrap_or_default();
        let own = own.iter().find(|(key, _)| key.value == name).and_then(|(_, port)| port.given());
        let port = own.map(|port| port.value).or(target)?;
        let address = &endpoint.value.address.given()?.value;
        Some(if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") })
    };
    endpoints.iter().filter(|endpoint| has(endpoint)).filter_map(|endpoint| address(endpoint)).collect()
}

/// Lays a policy over what an earlier one said; a port's own stands in place of all of it.
fn apply(policy: &TrafficPolicy, port: Option<u64>, upstream: &mut file::Upstream, report: &mut Report) {
    let ports = policy.port_level_settings.given().map(|list| list.value.as_slice()).unwrap_or_default();
    let number = |p: &At<super::istio::PortPolicy>| {
        p.value.port.given().and_then(|port| port.value.number.given()).map(|number| number.value)
    };
    let own = ports.iter().filter_map(Key::given).find(|p| port.is_some() && number(p) == port);
    let (pool, outliers, balancer, tls) = match own {
        Some(own) => {
            *upstream = file::Upstream { endpoints: upstream.endpoints.clone(), ..file::Upstream::default() };
            let own = &own.value;
            (&own.connection_pool, &own.outlier_detection, &own.load_balancer, &own.tls)
        }
        None => (&policy.connection_pool, &policy.outlier_detection, &policy.load_balancer, &policy.tls),
    };
    if let Some(pool) = pool.given() {
        apply_pool(&pool.value, upstream);
    }
    if let Some(outliers) = outliers.given() {
        upstream.ejection = Key::at(ejection(&outliers.value), &outliers.at);
    }
    if let Some(balancer) = balancer.given() {
        apply_balancer(balancer, upstream, report);
    }
    if let Some(tls) = tls.given() {
        check_tls(tls, report);
    }
}

fn apply_pool(pool: &ConnectionPool, upstream: &mut file::Upstream) {
    if let Some(tcp) = pool.tcp.given() {
        upstream.connections_max = tcp.value.max_connections.clone();
        upstream.connect_timeout = duration(&tcp.value.connect_timeout);
    }
    if let Some(http) = pool.http.given() {
        let http = &http.value;
        upstream.pending_max = http.http1_max_pending_requests.clone();
        // An exchange has a connection to itself, so the smaller of the two bounds both.
        let requests = http.http2_max_requests.given().map(|given| given.value);
        let connections = upstream.connections_max.given().map(|given| given.value);
        if requests.is_some_and(|requests| connections.is_none_or(|connections| requests < connections)) {
            upstream.connections_max = http.http2_max_requests.clone();
        }
        upstream.idle_timeout = duration(&http.idle_timeout);
        // 0 is unlimited there, and would be none here.
        upstream.requests_per_connection_max = match http.max_requests_per_connection.given() {
            Some(given) if given.value > 0 => http.max_requests_per_connection.clone(),
            Some(_) | None => Key::Absent,
        };
    }
}

pub(super) fn duration(key: &Key<super::fields::Span>) -> Key<Duration> {
    key.given().map_or(Key::Absent, |given| Key::at(given.value.0, &given.at))
}

fn ejection(written: &OutlierDetection) -> file::Ejection {
    let consecutive = if written.consecutive_5xx_errors.is_absent() {
        written.consecutive_errors.clone()
    } else {
        written.consecutive_5xx_errors.clone()
    };
    file::Ejection {
        consecutive_5xx: consecutive,
        consecutive_gateway_errors: written.consecutive_gateway_errors.clone(),
        interval: duration(&written.interval),
        time: duration(&written.base_ejection_time),
        percent_max: match written.max_ejection_percent.given() {
            Some(given) => Key::at(given.value as f64, &given.at),
            None => Key::Absent,
        },
    }
}

fn apply_balancer(written: &At<LoadBalancer>, upstream: &mut file::Upstream, report: &mut Report) {
    if let Some(simple) = written.value.simple.given() {
        let balance = match simple.value.as_str() {
            "ROUND_ROBIN" => Some(Balance::RoundRobin),
            "LEAST_REQUEST" | "LEAST_CONN" | "UNSPECIFIED" => Some(Balance::LeastInFlight),
            "RANDOM" => Some(Balance::Random),
            other => {
                let message =
                    format!("{other:?} is not offered; must be ROUND_ROBIN, LEAST_REQUEST or RANDOM");
                report.error(&simple.at, message);
                None
            }
        };
        if let Some(balance) = balance {
            upstream.balance = Key::at(balance, &simple.at);
            upstream.hash_by = Key::Absent;
        }
    }
    let Some(hash) = written.value.consistent_hash.given() else { return };
    let by = &hash.value;
    let cookie = by.http_cookie.given().and_then(|cookie| cookie.value.name.given());
    let key = match (
        by.http_header_name.given(),
        cookie,
        by.http_query_parameter_name.given(),
        by.use_source_ip.given(),
    ) {
        (Some(name), _, _, _) => format!("header:{}", name.value),
        (_, Some(name), _, _) => format!("cookie:{}", name.value),
        (_, _, Some(name), _) => format!("query:{}", name.value),
        (_, _, _, Some(on)) if on.value => "address".to_owned(),
        _ => {
            report.error(
                &hash.at,
                "says not by what: httpHeaderName, httpCookie, httpQueryParameterName or useSourceIp",
            );
            return;
        }
    };
    upstream.balance = Key::at(Balance::Hash, &hash.at);
    upstream.hash_by = Key::at(key, &hash.at);
}

fn check_tls(tls: &At<Tls>, report: &mut Report) {
    match tls.value.mode.given() {
        Some(mode) if mode.value == "DISABLE" => {}
        Some(mode) => report.error(&mode.at, "TLS to upstreams is not offered yet; only DISABLE is"),
        None => {}
    }
}
