//! Requests sent beside requests received, id by id. Pure: knows no socket and no gateway.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::run::recorder::{Times, times};
use crate::serve::port::Arrival;

/// A request as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub id: String,
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body_bytes: u64,
    pub body_sha256: String,
    /// The client got its answer.
    pub answered: bool,
}

/// Names that a gateway may add, change or remove; `*` at the end stands for any rest.
#[derive(Clone, Debug)]
pub struct Allowed(pub Vec<String>);

impl Default for Allowed {
    fn default() -> Self {
        let hop_by_hop = "connection keep-alive te trailer transfer-encoding upgrade proxy-connection content-length expect";
        let added =
            "via forwarded x-forwarded-* x-real-ip x-request-id x-envoy-* x-umbra-* traceparent tracestate";
        Self(hop_by_hop.split(' ').chain(added.split(' ')).map(str::to_string).collect())
    }
}

impl Allowed {
    fn covers(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        })
    }
}

/// An id and its fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub id: String,
    pub what: String,
}

/// The account of a sink.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Account {
    pub sent: u64,
    pub arrived: u64,
    /// Arrived once, complete, unchanged.
    pub exact: u64,
    pub missing: Vec<Finding>,
    pub duplicated: Vec<Finding>,
    pub altered: Vec<Finding>,
    pub truncated: Vec<Finding>,
    /// Ids of this proof that were never sent.
    pub unknown: Vec<Finding>,
    /// Arrived after a request that was sent later; says something only if all went on one connection.
    pub reordered: u64,
}

impl Account {
    /// True if all that is wrong is that some requests are missing.
    pub fn only_misses(&self) -> bool {
        self.altered.is_empty()
            && self.truncated.is_empty()
            && self.duplicated.is_empty()
            && self.unknown.is_empty()
    }
}

pub fn reconcile(sent: &[Sent], arrivals: &[Arrival], prefix: &str, allowed: &Allowed) -> Account {
    let mut by_id: HashMap<&str, Vec<&Arrival>> = HashMap::new();
    for arrival in arrivals.iter().filter(|arrival| arrival.id.starts_with(prefix)) {
        by_id.entry(&arrival.id).or_default().push(arrival);
    }
    let mut account = Account { sent: sent.len() as u64, ..Account::default() };
    account.arrived = by_id.values().map(|all| all.len() as u64).sum();
    let mut latest_ns = 0;
    for request in sent {
        let finding = |what: String| Finding { id: request.id.clone(), what };
        let Some(all) = by_id.remove(request.id.as_str()) else {
            account.missing.push(finding(format!("{} {}", request.method, request.target)));
            continue;
        };
        let complete: Vec<&&Arrival> = all.iter().filter(|arrival| arrival.complete).collect();
        if all.len() > 1 {
            account.duplicated.push(finding(format!("{} times, {} complete", all.len(), complete.len())));
        }
        let Some(first) = complete.first() else {
            let got = all.iter().map(|arrival| arrival.body_bytes).max().unwrap_or(0);
            account.truncated.push(finding(format!("{got} of {} body bytes", request.body_bytes)));
            continue;
        };
        if first.received_unix_ns < latest_ns {
            account.reordered += 1;
        }
        latest_ns = latest_ns.max(first.received_unix_ns);
        let differences: Vec<String> =
            complete.iter().flat_map(|a| differences(request, a, allowed)).collect();
        let shorter = first.body_bytes < request.body_bytes;
        if !differences.is_empty() {
            let list = if shorter { &mut account.truncated } else { &mut account.altered };
            list.push(finding(differences.join("; ")));
        } else if all.len() == 1 {
            account.exact += 1;
        }
    }
    let unknown = by_id.into_keys().map(|id| Finding { id: id.to_string(), what: "nobody sent it".into() });
    account.unknown = unknown.collect();
    account.unknown.sort_by(|a, b| a.id.cmp(&b.id));
    account
}

fn differences(sent: &Sent, got: &Arrival, allowed: &Allowed) -> Vec<String> {
    let mut found = Vec::new();
    if sent.method != got.method {
        found.push(format!("method {} became {}", sent.method, got.method));
    }
    if sent.target != got.target {
        found.push(format!("target {} became {}", sent.target, got.target));
    }
    let (before, after) = (grouped(&sent.headers, allowed), grouped(&got.headers, allowed));
    for (name, values) in &before {
        match after.get(name) {
            None => found.push(format!("header {name} is gone")),
            Some(now) if now != values => found.push(format!("header {name}: {values:?} became {now:?}")),
            Some(_) => {}
        }
    }
    found.extend(
        after.keys().filter(|name| !before.contains_key(*name)).map(|name| format!("header {name} came")),
    );
    if sent.body_bytes != got.body_bytes {
        found.push(format!("body has {} bytes, not {}", got.body_bytes, sent.body_bytes));
    } else if sent.body_sha256 != got.body_sha256 {
        found.push("body differs".to_string());
    }
    found
}

fn grouped<'a>(headers: &'a [(String, String)], allowed: &Allowed) -> BTreeMap<String, Vec<&'a str>> {
    let mut all: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        if !allowed.covers(&name) {
            all.entry(name).or_default().push(value);
        }
    }
    all
}

/// How much later than the primary a mirror had each request, and how many it had first.
pub fn lag(primary: &[Arrival], mirror: &[Arrival], prefix: &str) -> (Times, u64) {
    let complete = |arrivals: &'_ [Arrival]| -> HashMap<String, u64> {
        let ours = arrivals.iter().filter(|a| a.complete && a.id.starts_with(prefix));
        ours.map(|a| (a.id.clone(), a.received_unix_ns)).collect()
    };
    let (first, second) = (complete(primary), complete(mirror));
    let (mut lags, mut earlier) = (times(), 0);
    for (id, at_mirror) in second {
        match first.get(&id).map(|at_primary| at_mirror.checked_sub(*at_primary)) {
            Some(Some(later)) => lags.saturating_record(later),
            Some(None) => earlier += 1,
            None => {}
        }
    }
    (lags, earlier)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(n: u64) -> Sent {
        Sent {
            id: format!("t-{n}"),
            method: "POST".into(),
            target: format!("/{n}"),
            headers: vec![("X-A".into(), "1".into()), ("Host".into(), "h".into())],
            body_bytes: 10,
            body_sha256: format!("hash{n}"),
            answered: true,
        }
    }

    fn arrival(n: u64) -> Arrival {
        let sent = sent(n);
        let mut headers: Vec<(String, String)> =
            sent.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect();
        headers.push(("via".into(), "1.1 gateway".into()));
        Arrival {
            id: sent.id,
            method: sent.method,
            target: sent.target,
            headers,
            body_bytes: sent.body_bytes,
            body_sha256: sent.body_sha256,
            complete: true,
            received_unix_ns: 1000 + n,
            connection: 0,
        }
    }

    #[test]
    fn each_kind_of_harm_is_named_at_its_id() {
        let all: Vec<Sent> = (0..10).map(sent).collect();
        let mut got: Vec<Arrival> = (0..10).filter(|n| *n != 2).map(arrival).collect();
        got.push(arrival(3));
        got[4].body_sha256 = "other".into(); // t-5
        got[5].headers.push(("x-new".into(), "v".into())); // t-6
        got[6].complete = false; // t-7
        got[6].body_bytes = 4;
        got[7].headers[0].1 = "2".into(); // t-8
        got.push(Arrival { id: "t-99".into(), ..arrival(1) });
        got.push(Arrival { id: "other-run-1".into(), ..arrival(1) });
        let account = reconcile(&all, &got, "t-", &Allowed::default());
        let ids = |findings: &[Finding]| findings.iter().map(|f| f.id.clone()).collect::<Vec<_>>().join(" ");
        assert_eq!(ids(&account.missing), "t-2");
        assert_eq!(ids(&account.duplicated), "t-3");
        assert_eq!(ids(&account.altered), "t-5 t-6 t-8");
        assert_eq!(ids(&account.truncated), "t-7");
        assert_eq!(ids(&account.unknown), "t-99");
        assert_eq!(account.exact, 4);
        assert!(!account.only_misses());
    }

    #[test]
    fn an_untouched_delivery_is_perfect() {
        let all: Vec<Sent> = (0..10).map(sent).collect();
        let got: Vec<Arrival> = (0..10).map(arrival).collect();
        let account = reconcile(&all, &got, "t-", &Allowed::default());
        assert_eq!((account.exact, account.missing.len()), (10, 0));
        assert!(account.only_misses());
        let (lags, earlier) = lag(&got, &got, "t-");
        assert_eq!((lags.len(), lags.max(), earlier), (10, 0, 0));
    }
}
