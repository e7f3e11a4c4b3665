//! Everything that the files behind `tls` keys say, read and checked once for a configuration, on the control plane.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use config::Config;
use rustls::crypto::CryptoProvider;

use super::pem::{self, Identity, Wrong};
use super::server::Listening;

/// TLS of one configuration.
#[derive(Debug, Default)]
pub struct Tls {
    /// By listener; `None` speaks plaintext.
    listeners: Vec<Option<Arc<Listening>>>,
    /// Certificates in use, and until when they are good.
    pub expiries: Arc<[Expiry]>,
}

/// Until when a certificate is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// Its file.
    pub name: String,
    pub not_after: SystemTime,
}

impl Expiry {
    pub fn seconds_left(&self, now: SystemTime) -> i64 {
        let seconds = |d: Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
        match self.not_after.duration_since(now) {
            Ok(left) => seconds(left),
            Err(past) => -seconds(past.duration()),
        }
    }
}

/// What `load` has to say beside its result.
pub type Loaded = (Tls, Vec<Wrong>);

impl Tls {
    /// Reads the files. `before` is the TLS of the configuration in force, with that configuration.
    ///
    /// # Errors
    /// Everything that is wrong with them, each with its whole key.
    pub fn load(config: &Config, before: Option<(&Config, &Self)>) -> Result<Loaded, Vec<Wrong>> {
        let mut reading =
            Reading { provider: provider(), wrong: Vec::new(), warnings: Vec::new(), identities: Vec::new() };
        let mut listeners = Vec::with_capacity(config.listeners.len());
        for (n, listener) in config.listeners.iter().enumerate() {
            let Some(tls) = &listener.tls else {
                listeners.push(None);
                continue;
            };
            let same = before.and_then(|(config, tls)| tls.same(config, listener, n));
            let listening = reading.listener((tls, listener.protocols), &format!("listener[{n}].tls."), same);
            listeners.push(listening.map(Arc::new));
        }
        if !reading.wrong.is_empty() {
            return Err(reading.wrong);
        }
        let expiries = reading.expiries().into();
        Ok((Self { listeners, expiries }, reading.warnings))
    }

    /// Of the listener with this index.
    pub fn listener(&self, index: usize) -> Option<&Arc<Listening>> {
        self.listeners.get(index)?.as_ref()
    }

    /// What a listener had before, by its address; where the system chooses ports, by its place.
    fn same(&self, config: &Config, listener: &config::Listener, index: usize) -> Option<&Listening> {
        let is_same = |at: usize, other: &config::Listener| {
            other.bind == listener.bind && (listener.bind.port() != 0 || at == index)
        };
        let at = config.listeners.iter().enumerate().position(|(at, other)| is_same(at, other))?;
        self.listener(at).map(Arc::as_ref)
    }
}

/// Every file that a configuration's TLS is made of: those that are watched.
pub fn files(config: &Config) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for tls in config.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
        for certificate in &tls.certificates {
            files.extend([certificate.cert.clone(), certificate.key.clone()]);
            files.extend(certificate.ocsp.clone());
        }
        match &tls.client_auth {
            config::ClientAuth::Off => {}
            config::ClientAuth::Optional(ca) | config::ClientAuth::Required(ca) => {
                files.push(ca.ca.clone());
                files.extend(ca.crls.iter().cloned());
            }
        }
    }
    files
}

/// The cryptography that is used: the one place that chooses it.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

struct Reading {
    provider: Arc<CryptoProvider>,
    wrong: Vec<Wrong>,
    warnings: Vec<Wrong>,
    identities: Vec<Identity>,
}

impl Reading {
    fn listener(
        &mut self,
        (tls, protocols): (&config::ListenerTls, config::Protocols),
        at: &str,
        before: Option<&Listening>,
    ) -> Option<Listening> {
        let mut identities = Vec::new();
        for (n, certificate) in tls.certificates.iter().enumerate() {
            identities.extend(self.identity(certificate, &format!("{at}certificates[{n}].")));
        }
        let listening = Listening::new(tls, protocols, &identities, &self.provider, before);
        match listening {
            Ok(listening) => Some(listening),
            Err(wrong) => {
                self.wrong.extend(wrong.into_iter().map(|w| Wrong { key: format!("{at}{}", w.key), ..w }));
                None
            }
        }
    }

    fn identity(&mut self, certificate: &config::Certificate, at: &str) -> Option<Identity> {
        match pem::identity(certificate, at, &self.provider) {
            Ok(identity) => {
                self.warnings.extend(identity.warnings.iter().cloned());
                self.identities.push(identity.clone());
                Some(identity)
            }
            Err(wrong) => {
                self.wrong.push(wrong);
                None
            }
        }
    }

    fn expiries(&self) -> Vec<Expiry> {
        let mut seen = HashSet::new();
        let first = self.identities.iter().filter(|identity| seen.insert(identity.file.clone()));
        first.map(|i| Expiry { name: i.file.display().to_string(), not_after: i.not_after }).collect()
    }
}

#[cfg(test)]
mod tests;
