//! Verifies an endpoint's certificate: its chain leads to a root, no part of it is revoked, and it has a wanted name.

use std::sync::Arc;

use config::{Host, PeerName};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::{CertificateError, Error, RootCertStore};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::pem::Wrong;
use super::verifier::{self, Rule};

/// The roots that are believed, and the certificates that were revoked.
#[derive(Debug, Clone)]
pub struct Trusted {
    pub roots: Arc<RootCertStore>,
    pub crls: Vec<CertificateRevocationListDer<'static>>,
}

impl PartialEq for Trusted {
    fn eq(&self, other: &Self) -> bool {
        let same_roots = Arc::ptr_eq(&self.roots, &other.roots) || self.roots.roots == other.roots.roots;
        same_roots && self.crls == other.crls
    }
}

/// `names`: one of these instead of the name that is asked for.
pub(super) fn verifier(
    trusted: &Trusted,
    names: &[PeerName],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, Wrong> {
    let roots = Arc::clone(&trusted.roots);
    let builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider));
    let builder = builder.with_crls(trusted.crls.iter().cloned());
    let chain = builder.build();
    let chain = chain.map_err(|error| Wrong::new("crls", "".as_ref(), format!("cannot be used: {error}")))?;
    if names.is_empty() {
        return Ok(chain);
    }
    Ok(verifier::by(Named { chain, names: names.to_vec() }, provider))
}

/// Wants one of several names.
#[derive(Debug)]
struct Named {
    chain: Arc<WebPkiServerVerifier>,
    names: Vec<PeerName>,
}

impl Rule for Named {
    fn believe(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        asked: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        let mut refused = None;
        let mut verify = |name: &ServerName<'_>| {
            let verified = self.chain.verify_server_cert(certificate, chain, name, ocsp, now);
            verified.map_err(|error| refused = Some(error)).is_ok()
        };
        let hosts = self.names.iter().filter_map(|name| match name {
            PeerName::Host(host) => name_of(host),
            PeerName::Uri(_) => None,
        });
        let mut uris = self.names.iter().filter_map(|name| match name {
            PeerName::Uri(uri) => Some(uri.as_str()),
            PeerName::Host(_) => None,
        });
        // Its name is looked at last: a certificate that fails by that alone has all else.
        let has_host = hosts.into_iter().any(|host| verify(&host));
        let is_sound = has_host || verify(asked);
        let error = match refused {
            _ if has_host => return Ok(()),
            Some(error) if !is_sound && !is_by_name(&error) => return Err(error),
            other => other.unwrap_or(Error::InvalidCertificate(CertificateError::NotValidForName)),
        };
        let own = uris_of(certificate);
        if uris.any(|uri| own.iter().any(|known| known == uri)) {
            return Ok(());
        }
        Err(if is_by_name(&error) {
            error
        } else {
            Error::InvalidCertificate(CertificateError::NotValidForName)
        })
    }
}

fn is_by_name(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

fn uris_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let uri = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        // Not ours to match exhaustively; the others are not URIs.
        _ => None,
    };
    names.value.general_names.iter().filter_map(uri).collect()
}

/// As certificates have it; `None` for a name that no certificate can have.
pub(super) fn name_of(host: &Host) -> Option<ServerName<'static>> {
    match host {
        Host::Address(address) => Some(ServerName::from(*address)),
        // RFC 6066 §3: without the root's dot.
        Host::Name(name) => ServerName::try_from(name.trim_end_matches('.').to_owned()).ok(),
        Host::Unix(_) => Some(this_machine()),
    }
}

/// The name of a socket that has none, where none is configured.
pub(super) fn this_machine() -> ServerName<'static> {
    ServerName::from(std::net::IpAddr::from([127, 0, 0, 1]))
}
