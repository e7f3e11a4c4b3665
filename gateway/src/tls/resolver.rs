//! Chooses a client's certificate: by the server name it asks for, exact before wildcard before the first; of several for one
//! name, one that it can verify. Pure.

use std::sync::Arc;

use config::ServedName;
use rustls::SignatureAlgorithm;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::names::Names;
use super::pem::Identity;

/// The certificates of one listener.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    /// Certificates for which an operator wrote names, by these.
    served: Names<Group>,
    /// The others; without any, all.
    default: Group,
}

/// Certificates among which a name chooses.
#[derive(Debug, Default)]
struct Group {
    names: Names<Vec<Arc<CertifiedKey>>>,
    /// For clients that ask for no name, or for one that nothing is for.
    default: Vec<Arc<CertifiedKey>>,
}

impl Group {
    fn new<'i>(identities: impl Iterator<Item = &'i Identity> + Clone) -> Self {
        let mut by_name: Names<Vec<Arc<CertifiedKey>>> = Names::default();
        for identity in identities.clone() {
            for name in &identity.names {
                by_name.entry(name).push(Arc::clone(&identity.key));
                // An RSA signature costs three times as much: last, for those that know nothing else.
                by_name.entry(name).sort_by_key(|key| key.key.algorithm() == SignatureAlgorithm::RSA);
            }
        }
        let mut of = identities;
        let first = of.next();
        // Other keys for the first one's name come with it.
        let same = first.and_then(|first| by_name.find(first.names.first()?));
        let mut default = same.cloned().unwrap_or_default();
        if default.is_empty() {
            default.extend(first.map(|first| Arc::clone(&first.key)));
        }
        Self { names: by_name, default }
    }

    fn of(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        name.and_then(|name| self.names.find(name)).unwrap_or(&self.default)
    }
}

impl Resolver {
    pub(super) fn new(identities: &[Identity]) -> Self {
        let mut served: Names<Group> = Names::default();
        let mut done: Vec<&ServedName> = Vec::new();
        for name in identities.iter().flat_map(|identity| &identity.served) {
            if !done.contains(&name) {
                done.push(name);
                *served.served(name) = Group::new(identities.iter().filter(|one| one.served.contains(name)));
            }
        }
        let others = identities.iter().filter(|one| one.served.is_empty());
        let mut default = Group::new(others);
        if default.default.is_empty() {
            default = Group::new(identities.iter().take(1));
        }
        Self { served, default }
    }

    fn candidates(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        // Names that are written stand before those that certificates have.
        let of = name.and_then(|name| self.served.find(name));
        of.unwrap_or(&self.default).of(name)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let candidates = self.candidates(hello.server_name());
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        // Where none fits the handshake fails, and says that nothing is in common.
        candidates.iter().find(fits).or_else(|| candidates.first()).map(Arc::clone)
    }
}
