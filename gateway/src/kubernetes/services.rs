//! Services of Gateways as they are written: by the Lease's holder alone, each as it should be, and none that is not ours.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::Cluster;
use super::api::{Api, Trouble};
use super::fronts::{self, Write};
use super::kinds::Kind;

/// Between two writes.
const WRITE_EVERY: Duration = Duration::from_millis(100);

/// A write that failed is tried again after so long.
const AGAIN: Duration = Duration::from_secs(5);

/// Writes for the rest of the process's life.
pub(super) async fn write(api: Api, cluster: Cluster) {
    if cluster.0.options.rules.fronts.is_none() {
        return;
    }
    let mut again = false;
    loop {
        let told = cluster.0.news.services.notified();
        if again {
            let _ = tokio::time::timeout(AGAIN, told).await;
        } else {
            told.await;
        }
        again = false;
        let leads = || cluster.0.counters.leads.load(Relaxed);
        let this = cluster.clone();
        let Ok((home, due)) = tokio::task::spawn_blocking(move || this.services_due()).await else {
            continue;
        };
        for write in due {
            if !leads() || !cluster.is_synced() {
                break;
            }
            let path = Kind::Service.path("v1", Some(&home));
            let written = match &write {
                Write::Create(service) => api.create(&path, service).await.map(Some),
                Write::Change { name, patch } => api.merge(&format!("{path}/{name}"), patch).await.map(Some),
                Write::Delete { name } => api.delete(&format!("{path}/{name}")).await.map(|_| None),
            };
            match written {
                // Known before a watch tells it: another Gateway gets another port.
                Ok(Some(service)) => cluster.changed(Kind::Service, None, service, false),
                Ok(None) => {}
                // The Service was deleted meanwhile.
                Err(trouble) if trouble.code() == Some(404) => {}
                Err(trouble) => {
                    again = true;
                    cluster.not_made(&trouble);
                }
            }
            tokio::time::sleep(WRITE_EVERY).await;
        }
    }
}

impl Cluster {
    /// Our own namespace, and everything in it that is otherwise than it should be.
    fn services_due(&self) -> (String, Vec<Write>) {
        let (store, home, may_delete) = {
            let state = self.lock();
            // Without a list of the Gateways, a Gateway that is not known may still be there.
            let are_known =
                [Kind::GatewayClass, Kind::ApiGateway].iter().all(|kind| state.listed.contains(kind));
            (state.store.routing(), state.home.clone(), are_known)
        };
        let writes = fronts::writes(&store, &self.0.options.rules, &home, may_delete);
        (home, writes)
    }

    fn not_made(&self, trouble: &Trouble) {
        if self.lock().report.may_complain(Kind::Service, ("", "of a Gateway"), trouble.code()) {
            tracing::warn!("the Service of a Gateway cannot be written: {trouble}");
        }
    }
}
