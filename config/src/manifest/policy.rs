//! DestinationRules: connections, ejection and balancing → an upstream's keys.

use std::time::Duration;

use super::called::Called;
use super::fields::Span;
use super::istio::{
    ConnectionPool, HttpPool, LoadBalancer, OutlierDetection, PortPolicy, Tls, TrafficPolicy,
};
use super::protocol::Protocol;
use super::secrets::Secrets;
use super::upstream_tls;
use crate::file;
use crate::problem::{Place, Report};
use crate::reader::{At, Key};
use crate::{Balance, UpstreamProtocol};

/// The groups of a policy. A subset's group stands in place of the whole group of its host (Istio merges no deeper).
#[derive(Default)]
struct Groups<'a> {
    pool: Key<&'a ConnectionPool>,
    outliers: Key<&'a OutlierDetection>,
    balancer: Key<&'a LoadBalancer>,
    tls: Key<&'a Tls>,
}

/// Writes into `upstream` the host's policy and then the subset's, for this port of `service`.
pub(super) fn apply(
    policies: [Option<&TrafficPolicy>; 2],
    of: Called<'_>,
    secrets: &mut Secrets,
    upstream: &mut file::Upstream,
    report: &mut Report,
) {
    let mut groups = Groups::default();
    for policy in policies.into_iter().flatten() {
        groups.lay_over(policy, of.port);
    }
    let is_http2 = of.over_http2 || of.protocol.is_some_and(Protocol::is_http2);
    if is_http2 {
        upstream.protocol = Key::at(UpstreamProtocol::Http2, &Place::default());
    }
    if let Some(pool) = groups.pool.given() {
        apply_pool(pool.value, upstream);
        if let Some(http) = pool.value.http.given() {
            apply_protocol(&http.value, upstream, report);
        }
    }
    if let Some(outliers) = groups.outliers.given() {
        upstream.ejection = Key::at(ejection(outliers.value), &outliers.at);
    }
    if let Some(balancer) = groups.balancer.given() {
        apply_balancer(balancer.value, upstream, report);
    }
    upstream.tls = upstream_tls::tls(groups.tls.given(), of, secrets, report);
}

impl<'a> Groups<'a> {
    fn lay_over(&mut self, policy: &'a TrafficPolicy, port: Option<u64>) {
        let ports = policy.port_level_settings.given().map(|list| list.value.as_slice()).unwrap_or_default();
        let number = |p: &At<PortPolicy>| {
            p.value.port.given().and_then(|port| port.value.number.given()).map(|number| number.value)
        };
        let own = ports.iter().filter_map(Key::given).find(|p| port.is_some() && number(p) == port);
        let given = match own {
            // A port's own policy inherits nothing.
            Some(own) => {
                *self = Self::default();
                let own = &own.value;
                (&own.connection_pool, &own.outlier_detection, &own.load_balancer, &own.tls)
            }
            None => (&policy.connection_pool, &policy.outlier_detection, &policy.load_balancer, &policy.tls),
        };
        lay(&mut self.pool, given.0);
        lay(&mut self.outliers, given.1);
        lay(&mut self.balancer, given.2);
        lay(&mut self.tls, given.3);
    }
}

fn lay<'a, T>(group: &mut Key<&'a T>, over: &'a Key<T>) {
    if let Some(over) = over.given() {
        *group = Key::at(&over.value, &over.at);
    }
}

fn apply_pool(pool: &ConnectionPool, upstream: &mut file::Upstream) {
    if let Some(tcp) = pool.tcp.given() {
        upstream.connections_max = limit(&tcp.value.max_connections);
        upstream.connect_timeout = duration(&tcp.value.connect_timeout);
        upstream.idle_timeout = duration(&tcp.value.idle_timeout);
    }
    if let Some(http) = pool.http.given() {
        let http = &http.value;
        upstream.pending_max = limit(&http.http1_max_pending_requests);
        // An exchange has a connection to itself, so the smaller of the two bounds both.
        let requests = limit(&http.http2_max_requests);
        let connections = upstream.connections_max.given().map(|given| given.value);
        if let Some(given) = requests.given()
            && connections.is_none_or(|connections| given.value < connections)
        {
            upstream.connections_max = requests;
        }
        if !http.idle_timeout.is_absent() {
            upstream.idle_timeout = duration(&http.idle_timeout);
        }
        upstream.requests_per_connection_max = limit(&http.max_requests_per_connection);
    }
}

/// The HTTP version, where the port leaves it open.
fn apply_protocol(http: &HttpPool, upstream: &mut file::Upstream, report: &mut Report) {
    if let Some(policy) = http.h2_upgrade_policy.given() {
        match policy.value.as_str() {
            "DEFAULT" | "DO_NOT_UPGRADE" => {}
            "UPGRADE" => upstream.protocol = Key::at(UpstreamProtocol::Http2, &policy.at),
            other => {
                let message = format!("{other:?} is not known; must be DEFAULT, DO_NOT_UPGRADE or UPGRADE");
                report.error(&policy.at, message);
            }
        }
    }
    if let Some(given) = http.use_client_protocol.given().filter(|given| given.value) {
        let spoken = if upstream.protocol.is_absent() { "HTTP/1.1" } else { "HTTP/2" };
        let message = format!(
            "is ignored: {spoken} is spoken to this destination, whatever its client speaks; h2UpgradePolicy and the port say \
             which"
        );
        report.warn(&given.at, message);
    }
}

/// 0 is no limit there, and would be none at all here.
fn limit(key: &Key<u64>) -> Key<u64> {
    match key.given() {
        Some(given) if given.value == 0 => Key::Absent,
        Some(_) | None => key.clone(),
    }
}

pub(super) fn duration(key: &Key<Span>) -> Key<Duration> {
    key.given().map_or(Key::Absent, |given| Key::at(given.value.0, &given.at))
}

/// A duration that is none when it is `0s`.
pub(super) fn unless_zero(key: &Key<Span>) -> Key<Duration> {
    match duration(key) {
        Key::Given(given) if given.value == Duration::ZERO => Key::Absent,
        key => key,
    }
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

fn apply_balancer(written: &LoadBalancer, upstream: &mut file::Upstream, report: &mut Report) {
    if let Some(simple) = written.simple.given() {
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
    let Some(hash) = written.consistent_hash.given() else { return };
    let by = &hash.value;
    let places = [
        written.simple.place(),
        by.http_header_name.place(),
        by.http_cookie.place(),
        by.http_query_parameter_name.place(),
        by.use_source_ip.given().filter(|on| on.value).map(|on| &on.at),
    ];
    for at in places.into_iter().flatten().skip(1) {
        report
            .error(at, "stands beside another way to choose an endpoint, and only one of them can be meant");
    }
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
