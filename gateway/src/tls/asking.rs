//! TLS for clients that use ureq, beside the path of requests: the thread that posts spans.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::load;

/// Believes `roots`.
pub fn config(roots: &[CertificateDer<'_>]) -> TlsConfig {
    let roots = roots.iter().map(|der| Certificate::from_der(der).to_owned()).collect::<Vec<_>>();
    TlsConfig::builder()
        .unversioned_rustls_crypto_provider(load::provider())
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .build()
}
