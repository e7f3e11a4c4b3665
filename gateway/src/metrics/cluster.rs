//! The control plane's counters of a cluster whose objects it reads. No worker sees them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use config::Destination;

/// Written by the task that follows the cluster; read by the pages that show it.
#[derive(Debug, Default)]
pub struct ClusterCounters {
    /// Every needed kind was read, and the configuration made of it is in force.
    pub synced: AtomicBool,
    /// This process writes status.
    pub leads: AtomicBool,
    /// Statuses written, tried with an old version, and refused.
    pub written: AtomicU64,
    pub conflicts: AtomicU64,
    pub unwritten: AtomicU64,
    by_kind: Mutex<ByKind>,
    versions: Mutex<HashMap<Destination, String>>,
}

#[derive(Debug, Default)]
pub struct ByKind {
    /// By kind and state.
    pub objects: BTreeMap<(&'static str, &'static str), u64>,
    /// By kind and status code, empty where there was no answer.
    pub errors: BTreeMap<(&'static str, String), u64>,
    /// Objects and bytes that are kept of it, and objects for which there was no room.
    pub kept: BTreeMap<&'static str, [u64; 3]>,
    /// When something was last heard of it.
    pub heard: BTreeMap<&'static str, Instant>,
}

impl ClusterCounters {
    /// Of which version the Pods behind a destination are, as their controller names it: the last that all of them were of.
    /// `None` where nothing has told it yet.
    pub fn version(&self, destination: &Destination) -> Option<String> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).get(destination).cloned()
    }

    /// Sets the versions of these destinations. Others that are still `known` keep the last version that their Pods had.
    pub fn are_of(&self, versions: HashMap<Destination, String>, known: impl Fn(&Destination) -> bool) {
        let mut all = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|destination, _| known(destination));
        all.extend(versions);
    }

    pub fn by_kind(&self) -> MutexGuard<'_, ByKind> {
        self.by_kind.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
