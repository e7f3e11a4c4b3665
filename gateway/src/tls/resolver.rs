//! Which certificate a client gets: by the name it asks for, exact before wildcard before the first; of several for one
//! name, one that it can verify. Pure.

use std::sync::Arc;

use rustls::SignatureAlgorithm;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::names::Names;
use super::pem::Identity;

/// The certificates of one listener.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    names: Names<Vec<Arc<CertifiedKey>>>,
    /// For clients that ask for no name, or for one that nothing is for.
    default: Vec<Arc<CertifiedKey>>,
}

impl Resolver {
    pub(super) fn new(identities: &[Identity]) -> Self {
        let mut by_name: Names<Vec<Arc<CertifiedKey>>> = Names::default();
        for identity in identities {
            for name in &identity.names {
                by_name.entry(name).push(Arc::clone(&identity.key));
                // An RSA signature costs three times as much: last, for those that know nothing else.
                by_name.entry(name).sort_by_key(|key| key.key.algorithm() == SignatureAlgorithm::RSA);
            }
        }
        let first = identities.first();
        // Other keys for the first one's name come with it.
        let same = first.and_then(|first| by_name.find(first.names.first()?));
        let mut default = same.cloned().unwrap_or_default();
        if default.is_empty() {
            default.extend(first.map(|first| Arc::clone(&first.key)));
        }
        Self { names: by_name, default }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.names.find(name));
        let candidates = named.unwrap_or(&self.default);
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        // Where none fits the handshake fails, and says that nothing is in common.
        candidates.iter().find(fits).or_else(|| candidates.first()).map(Arc::clone)
    }
}
