//! The tickets that a caller's sessions resume by: rustls' store, with a count of the tickets that servers send.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;

use crate::limits::TLS_SESSIONS_MAX;

/// A store that one worker alone uses: its lock is never waited for.
#[derive(Debug)]
pub struct Tickets {
    kept: ClientSessionMemoryCache,
    came: AtomicU64,
}

impl Default for Tickets {
    fn default() -> Self {
        Self { kept: ClientSessionMemoryCache::new(TLS_SESSIONS_MAX), came: AtomicU64::new(0) }
    }
}

impl Tickets {
    /// How many tickets have come.
    pub fn came(&self) -> u64 {
        self.came.load(Relaxed)
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.kept.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.kept.set_tls12_session(name, value);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.kept.tls12_session(name)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.kept.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        // There is one writer: a plain load and store.
        self.came.store(self.came() + 1, Relaxed);
        self.kept.insert_tls13_ticket(name, value);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.kept.take_tls13_ticket(name)
    }
}
