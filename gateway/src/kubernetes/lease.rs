//! The election of the replica that writes status. The holder of a Lease renews it, and gives it back at its end; where the
//! holder fails to renew it, another replica takes it.
//!
//! Clocks of other machines are not compared: a Lease has expired when this process has seen no renewal of it for its time.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::Cluster;
use super::api::{Api, Trouble};
use super::kinds::Kind;
use crate::logging::Seldom;
use crate::os;

/// A Lease that is not renewed for so long may be taken.
const LEASE: Duration = Duration::from_secs(15);

/// Between two looks, each of which renews it where it is held.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// This replica's view of the Lease.
struct Holding {
    path: String,
    name: String,
    identity: String,
    /// Its version, and when that was seen first.
    seen: Option<(String, Instant)>,
    /// When it was renewed last, while it is held.
    renewed: Option<Instant>,
}

/// Takes part for the rest of the process's life.
pub(super) async fn hold(api: Api, cluster: Cluster) {
    let mut holding = Holding {
        path: format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", api.namespace()),
        name: name(&cluster.0.options.rules.controller),
        // A Pod's host name is its own; several processes of one machine are told apart.
        identity: format!("{}-{:08x}", os::host_name(), RandomState::new().hash_one(0) as u32),
        seen: None,
        renewed: None,
    };
    let mut seldom = Seldom::default();
    let leads = &cluster.0.counters.leads;
    loop {
        // Without an object of these kinds, no Lease is needed.
        let said_of = [
            Kind::GatewayClass,
            Kind::ApiGateway,
            Kind::HttpRoute,
            Kind::GrpcRoute,
            Kind::BackendTlsPolicy,
            Kind::VirtualService,
            Kind::DestinationRule,
            Kind::ServiceEntry,
            Kind::IstioGateway,
        ];
        let is_needed = said_of.iter().any(|kind| cluster.has(*kind, None));
        if is_needed {
            if let Err(trouble) = holding.look(&api).await
                && seldom.may_say(Instant::now()).is_some()
            {
                tracing::warn!("the Lease {} cannot be held: {trouble}", holding.name);
            }
            let is_held = holding.renewed.is_some_and(|renewed| renewed.elapsed() < LEASE);
            if leads.swap(is_held, Relaxed) != is_held {
                let does = if is_held { "writes status now" } else { "writes no status any more" };
                tracing::info!("this process ({}) {does}", holding.identity);
                cluster.0.news.status.notify_one();
                cluster.0.news.events.notify_one();
                cluster.0.news.services.notify_one();
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = cluster.0.news.ending.notified() => {
                leads.store(false, Relaxed);
                holding.give_back(&api).await;
                cluster.0.news.ended.notify_one();
                return;
            }
        }
    }
}

/// As an object may be named, one for each controller.
fn name(controller: &str) -> String {
    let name = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    format!("umbra-{}", controller.chars().map(name).collect::<String>()).trim_end_matches('-').to_owned()
}

impl Holding {
    async fn look(&mut self, api: &Api) -> Result<(), Trouble> {
        let at = format!("{}/{}", self.path, self.name);
        let now = Instant::now();
        let lease = match api.get(&at).await {
            Ok(lease) => lease,
            Err(trouble) if trouble.code() == Some(404) => {
                let object = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"name": self.name}, "spec": self.spec(None, 0),
                });
                return match api.create(&self.path, &object).await {
                    Ok(_) => {
                        self.renewed = Some(now);
                        Ok(())
                    }
                    // Another replica created it first.
                    Err(trouble) if trouble.code() == Some(409) => Ok(()),
                    Err(trouble) => Err(trouble),
                };
            }
            Err(trouble) => return Err(trouble),
        };
        let holder = lease.pointer("/spec/holderIdentity").and_then(Value::as_str).unwrap_or_default();
        let is_ours = holder == self.identity;
        if !is_ours {
            self.renewed = None;
        }
        let version = lease.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
        if self.seen.as_ref().is_none_or(|(seen, _)| seen != version) {
            self.seen = Some((version.to_owned(), now));
        }
        let lasts = lease.pointer("/spec/leaseDurationSeconds").and_then(Value::as_u64);
        let lasts = lasts.map_or(LEASE, Duration::from_secs);
        let has_expired = self.seen.as_ref().is_some_and(|(_, since)| since.elapsed() > lasts);
        if !is_ours && !holder.is_empty() && !has_expired {
            return Ok(());
        }
        let transitions = lease.pointer("/spec/leaseTransitions").and_then(Value::as_u64).unwrap_or_default();
        let acquired = lease.pointer("/spec/acquireTime").cloned().filter(|_| is_ours);
        let mut next = lease.clone();
        next["spec"] = self.spec(acquired, if is_ours { transitions } else { transitions + 1 });
        match api.replace(&at, &next).await {
            Ok(_) => {
                self.renewed = Some(now);
                Ok(())
            }
            // Another writer has changed the Lease; the next look shows who holds it.
            Err(trouble) if trouble.code() == Some(409) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }

    fn spec(&self, acquired: Option<Value>, transitions: u64) -> Value {
        let now = micros(SystemTime::now());
        json!({
            "holderIdentity": self.identity,
            "leaseDurationSeconds": LEASE.as_secs(),
            "acquireTime": acquired.unwrap_or_else(|| now.clone().into()),
            "renewTime": now,
            "leaseTransitions": transitions,
        })
    }

    /// Lets another follow at once.
    async fn give_back(&mut self, api: &Api) {
        if self.renewed.take().is_none() {
            return;
        }
        let at = format!("{}/{}", self.path, self.name);
        if let Ok(mut lease) = api.get(&at).await
            && lease.pointer("/spec/holderIdentity").and_then(Value::as_str) == Some(&self.identity)
        {
            lease["spec"]["holderIdentity"] = "".into();
            lease["spec"]["leaseDurationSeconds"] = 1.into();
            if let Err(trouble) = api.replace(&at, &lease).await {
                tracing::warn!("the Lease {} cannot be given back: {trouble}", self.name);
            }
        }
    }
}

/// As Kubernetes writes a time.
pub(super) fn seconds(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let (date, time) = (at.date(), at.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

/// As Kubernetes writes the times of a Lease.
fn micros(at: SystemTime) -> String {
    let whole = seconds(at);
    format!("{}.{:06}Z", whole.trim_end_matches('Z'), OffsetDateTime::from(at).microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_kubernetes_writes_them() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_764_460_800_000_007);
        assert_eq!(seconds(at), "2025-11-30T00:00:00Z");
        assert_eq!(micros(at), "2025-11-30T00:00:00.000007Z");
    }

    #[test]
    fn each_controller_has_a_lease_with_a_name_that_objects_may_have() {
        assert_eq!(name("umbra.dev/gateway-controller"), "umbra-umbra-dev-gateway-controller");
        assert_eq!(name("Example.com/B/"), "umbra-example-com-b");
    }
}
