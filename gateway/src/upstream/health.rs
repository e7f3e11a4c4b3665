//! Whether endpoints answer their health checks: written by the control plane, read by every worker at each choice.
//! One relaxed atomic per endpoint and no lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The health of an endpoint. Healthy until proven otherwise.
#[derive(Debug, Default)]
pub struct Health {
    is_unhealthy: AtomicBool,
}

/// By upstream and address, as resolved; empty for an upstream without checks.
pub type HealthBoard = Vec<Vec<Arc<Health>>>;

impl Health {
    pub fn is_healthy(&self) -> bool {
        !self.is_unhealthy.load(Relaxed)
    }

    pub fn set(&self, is_healthy: bool) {
        self.is_unhealthy.store(!is_healthy, Relaxed);
    }
}
