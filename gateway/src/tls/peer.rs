//! Whether an endpoint is who it should be: its chain leads to a root, nothing of it was revoked, and it has a name that is
//! asked for.

use std::sync::Arc;

use config::PeerName;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::client::name_of;
use super::pem::Wrong;

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
    Ok(Arc::new(Named { chain, names: names.to_vec() }))
}

/// Wants one of several names.
#[derive(Debug)]
struct Named {
    chain: Arc<WebPkiServerVerifier>,
    names: Vec<PeerName>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        asked: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
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
            _ if has_host => return Ok(ServerCertVerified::assertion()),
            Some(error) if !is_sound && !is_by_name(&error) => return Err(error),
            other => other.unwrap_or(Error::InvalidCertificate(CertificateError::NotValidForName)),
        };
        let own = uris_of(certificate);
        if uris.any(|uri| own.iter().any(|known| known == uri)) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(if is_by_name(&error) {
            error
        } else {
            Error::InvalidCertificate(CertificateError::NotValidForName)
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
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
