//! Everything that the files behind `tls` keys say, read and checked once for a configuration, on the control plane.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use config::{Config, Protocols, Trust};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;

use super::client::Calling;
use super::peer::{self, Trusted};
use super::pem::{self, Identity, Wrong};
use super::server::Listening;

/// Certificates of authorities that are believed.
pub type Roots = Arc<[CertificateDer<'static>]>;

/// TLS of one configuration.
#[derive(Debug, Default)]
pub struct Tls {
    /// By listener; `None` speaks plaintext.
    listeners: Vec<Option<Arc<Listening>>>,
    /// Of the admin listener.
    admin: Option<Arc<Listening>>,
    /// By upstream; `None` is called in plaintext.
    upstreams: Arc<[Option<Arc<Calling>>]>,
    /// How the collector of spans is verified; `None` where it is not posted to over TLS.
    collector: Option<Roots>,
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

/// A result of `load`, and its warnings.
pub type Loaded = (Tls, Vec<Wrong>);

impl Tls {
    /// Reads the files. `before` is the TLS of the configuration in force, with that configuration.
    ///
    /// # Errors
    /// Everything that is wrong with them, each with its whole key.
    pub fn load(config: &Config, before: Option<(&Config, &Self)>) -> Result<Loaded, Vec<Wrong>> {
        Self::read(config, before, false)
    }

    /// The same for a configuration of many authors: a fault of one upstream costs that one alone.
    ///
    /// # Errors
    /// As [`Tls::load`], but for faults of upstreams.
    pub fn load_sparing(config: &Config, before: Option<(&Config, &Self)>) -> Result<Loaded, Vec<Wrong>> {
        Self::read(config, before, true)
    }

    fn read(config: &Config, before: Option<(&Config, &Self)>, spares: bool) -> Result<Loaded, Vec<Wrong>> {
        let mut reading = Reading {
            provider: provider(),
            system: None,
            wrong: Vec::new(),
            warnings: Vec::new(),
            identities: Vec::new(),
        };
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
        let admin = config.admin.tls.as_ref().filter(|_| config.admin.bind.is_some()).and_then(|tls| {
            let same = before.and_then(|(_, before)| before.admin.as_deref());
            reading.listener((tls, Protocols::HTTP1), "admin.tls.", same).map(Arc::new)
        });
        let mut upstreams = Vec::with_capacity(config.upstreams.len());
        let known = before.map(|(config, tls)| tls.callings(config)).unwrap_or_default();
        for upstream in &config.upstreams {
            let wrong = reading.wrong.len();
            let calling = reading.upstream(upstream);
            let calling = if spares { calling.or_else(|| reading.spare(upstream, wrong)) } else { calling };
            upstreams.push(match (calling, known.get(upstream.name.as_str())) {
                // The same one: an upstream that was called by it goes on being called by it.
                (Some(calling), Some(before)) if calling.is_like(before) => Some(Arc::clone(before)),
                (calling, _) => calling.map(Arc::new),
            });
        }
        let tracing = config.tracing.as_ref().and_then(|tracing| tracing.collector.as_ref());
        let collector = tracing.and_then(|of| of.tls.as_ref()).and_then(|trust| reading.collector(trust));
        if !reading.wrong.is_empty() {
            return Err(reading.wrong);
        }
        let expiries = reading.expiries().into();
        Ok((Self { listeners, admin, upstreams: upstreams.into(), collector, expiries }, reading.warnings))
    }

    /// Of the listener with this index.
    pub fn listener(&self, index: usize) -> Option<&Arc<Listening>> {
        self.listeners.get(index)?.as_ref()
    }

    /// Of the admin listener.
    pub fn admin(&self) -> Option<&Arc<Listening>> {
        self.admin.as_ref()
    }

    /// By upstream.
    pub fn upstreams(&self) -> &Arc<[Option<Arc<Calling>>]> {
        &self.upstreams
    }

    /// How the collector of spans is verified, where it is posted to over TLS.
    pub fn collector(&self) -> Option<&Roots> {
        self.collector.as_ref()
    }

    /// How each upstream is called, by its name.
    fn callings<'c>(&'c self, config: &'c Config) -> HashMap<&'c str, &'c Arc<Calling>> {
        let upstreams = config.upstreams.iter().zip(self.upstreams.iter());
        upstreams.filter_map(|(upstream, of)| Some((upstream.name.as_str(), of.as_ref()?))).collect()
    }

    /// The same listener's before, by its address; where the system chooses ports, by its place.
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
    let listeners = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    for tls in listeners.chain(&config.admin.tls) {
        tls.certificates.iter().for_each(|certificate| files_of(certificate, &mut files));
        match &tls.client_auth {
            config::ClientAuth::Off => {}
            config::ClientAuth::Optional(ca) | config::ClientAuth::Required(ca) => {
                files.extend(ca.ca.file().cloned());
                files.extend(ca.crls.iter().cloned());
            }
        }
    }
    for tls in config.upstreams.iter().filter_map(|upstream| upstream.tls.as_ref()) {
        match &tls.trust {
            // The system's roots are its own business: a reload reads them again.
            Trust::System | Trust::Anything => {}
            Trust::Ca(ca) => files.extend(ca.file().cloned()),
        }
        files.extend(tls.crls.iter().cloned());
        tls.identity.iter().for_each(|certificate| files_of(certificate, &mut files));
    }
    let collector = config.tracing.as_ref().and_then(|tracing| tracing.collector.as_ref());
    if let Some(Trust::Ca(ca)) = collector.and_then(|collector| collector.tls.as_ref()) {
        files.extend(ca.file().cloned());
    }
    files
}

fn files_of(certificate: &config::Certificate, files: &mut Vec<PathBuf>) {
    files.extend([&certificate.cert, &certificate.key].into_iter().filter_map(|pem| pem.file().cloned()));
    files.extend(certificate.ocsp.clone());
}

/// The cryptography that is used: the one place that chooses it.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

struct Reading {
    provider: Arc<CryptoProvider>,
    /// The system's roots, once they were asked for.
    system: Option<Arc<RootCertStore>>,
    wrong: Vec<Wrong>,
    warnings: Vec<Wrong>,
    identities: Vec<Identity>,
}

impl Reading {
    fn listener(
        &mut self,
        (tls, protocols): (&config::ListenerTls, Protocols),
        at: &str,
        before: Option<&Listening>,
    ) -> Option<Listening> {
        let mut identities = Vec::new();
        for (n, certificate) in tls.certificates.iter().enumerate() {
            identities.extend(self.identity(certificate, &format!("{at}certificates[{n}].")));
        }
        for (n, identity) in identities.iter().enumerate().filter(|(_, one)| one.names.is_empty()) {
            let message = "is for no name (it has no subjectAltName): most clients refuse it".to_owned();
            self.warnings.push(Wrong::new(&format!("{at}certificates[{n}].cert"), &identity.file, message));
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

    fn upstream(&mut self, upstream: &config::Upstream) -> Option<Calling> {
        let tls = upstream.tls.as_ref()?;
        let at = format!("upstream.{}.tls.", upstream.name);
        let wrong_before = self.wrong.len();
        let roots = match &tls.trust {
            Trust::Anything => None,
            Trust::System => self.system(at.trim_end_matches('.')),
            Trust::Ca(ca) => match pem::roots(ca, &format!("{at}ca")) {
                Ok(roots) => Some(Arc::new(roots)),
                Err(wrong) => {
                    self.wrong.push(wrong);
                    None
                }
            },
        };
        let identity = tls.identity.as_ref().and_then(|pair| self.identity(pair, &at));
        let mut crls = Vec::new();
        for (n, file) in tls.crls.iter().enumerate() {
            match pem::crls(file, &format!("{at}crls[{n}]")) {
                Ok(lists) => crls.extend(lists),
                Err(wrong) => self.wrong.push(wrong),
            }
        }
        for host in tls.server_name.iter().chain(endpoints_named(upstream)) {
            if peer::name_of(host).is_none() {
                let message = "is no name that a certificate can have: give another one".to_owned();
                self.wrong.push(Wrong::new(&format!("{at}server_name"), host.to_string().as_ref(), message));
            }
        }
        if self.wrong.len() > wrong_before {
            return None;
        }
        let trusted = roots.map(|roots| Trusted { roots, crls });
        let calling = Calling::new(tls, trusted, identity.as_ref(), &self.provider);
        calling.map_err(|wrong| self.wrong.push(Wrong { key: format!("{at}{}", wrong.key), ..wrong })).ok()
    }

    /// Instead of an upstream whose TLS cannot be made: a verifier that believes no certificate.
    fn spare(&mut self, upstream: &config::Upstream, wrong_before: usize) -> Option<Calling> {
        let tls = upstream.tls.as_ref()?;
        for wrong in self.wrong.split_off(wrong_before) {
            let message = format!("{}: its requests are answered 502 until this is mended", wrong.message);
            self.warnings.push(Wrong { message, ..wrong });
        }
        Calling::refusing(tls, &self.provider).map_err(|wrong| self.wrong.push(wrong)).ok()
    }

    fn collector(&mut self, trust: &Trust) -> Option<Roots> {
        match trust {
            Trust::Ca(ca) => {
                // As roots they are checked, and as certificates handed on.
                let read = pem::roots(ca, "tracing.ca").and_then(|_| pem::certificates(ca, "tracing.ca"));
                read.map_err(|wrong| self.wrong.push(wrong)).ok().map(Into::into)
            }
            Trust::System => {
                self.system("tracing.to")?;
                Some(rustls_native_certs::load_native_certs().certs.into())
            }
            // No reader can tell.
            Trust::Anything => None,
        }
    }

    /// The system's roots; the key that asks for them stands at `at`.
    fn system(&mut self, at: &str) -> Option<Arc<RootCertStore>> {
        if self.system.is_none() {
            let read = rustls_native_certs::load_native_certs();
            let mut roots = RootCertStore::empty();
            // A root that cannot be read verifies no certificate.
            let (good, _) = roots.add_parsable_certificates(read.certs);
            if good == 0 {
                let why = read.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
                let message = format!(
                    "the system has no roots of trust{why}; install its CA certificates (ca-certificates), \
                     or name a file as ca"
                );
                self.wrong.push(Wrong::new(at, "".as_ref(), message));
                return None;
            }
            self.system = Some(Arc::new(roots));
        }
        self.system.clone()
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

/// The names that an upstream's endpoints are called by, where no other is given.
fn endpoints_named(upstream: &config::Upstream) -> impl Iterator<Item = &config::Host> {
    let is_named = upstream.tls.as_ref().is_none_or(|tls| tls.server_name.is_some());
    upstream.endpoints.iter().filter(move |_| !is_named).map(|endpoint| &endpoint.host)
}

#[cfg(test)]
mod tests;
