//! What the control plane's health checks found, for the workers to read: one relaxed flag for each endpoint that is
//! asked after its health.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Flags by upstream and address; true until found otherwise.
#[derive(Debug, Clone, Default)]
pub struct HealthBoard(HashMap<(String, SocketAddr), Arc<AtomicBool>>);

impl HealthBoard {
    /// The flag of an endpoint; `None` where nobody asks.
    pub fn of(&self, upstream: &str, address: SocketAddr) -> Option<Arc<AtomicBool>> {
        self.0.get(&(upstream.to_owned(), address)).map(Arc::clone)
    }

    /// A board for these endpoints; who is on `before` keeps its flag.
    pub fn after(before: &Self, endpoints: impl Iterator<Item = (String, SocketAddr)>) -> Self {
        let flag = |key: &(String, SocketAddr)| {
            before.0.get(key).map_or_else(|| Arc::new(AtomicBool::new(true)), Arc::clone)
        };
        Self(endpoints.map(|key| (key.clone(), flag(&key))).collect())
    }
}
