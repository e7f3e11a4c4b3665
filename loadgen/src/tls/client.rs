//! The load's side of TLS: the trusted roots, its own certificate, how often it may resume. Opens no socket.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::Narrow;

/// Sessions that one thread may resume, per name.
const SESSIONS_MAX: usize = 4096;

#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Replaces the system's roots.
    pub ca: Option<PathBuf>,
    pub cert: Option<(PathBuf, PathBuf)>,
    /// Believes every certificate; signatures are checked all the same, so that a handshake has its normal cost.
    pub insecure: bool,
    /// Asked for and expected in the certificate instead of the URL's host.
    pub sni: Option<String>,
    /// Every handshake is a full one.
    pub never_resume: bool,
    pub http2: bool,
    pub narrow: Narrow,
}

impl Settings {
    /// A thread's own: sessions are not shared with others, and so no lock is.
    pub fn config(&self) -> anyhow::Result<ClientConfig> {
        let provider = self.narrow.provider()?;
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.narrow.versions())
            .context("these versions, ciphers and key exchanges do not go together")?;
        let builder = if self.insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        let mut config = match &self.cert {
            Some((cert, key)) => builder
                .with_client_auth_cert(super::certificates(cert)?, super::private_key(key)?)
                .with_context(|| format!("{} and {}", cert.display(), key.display()))?,
            None => builder.with_no_client_auth(),
        };
        config.resumption = if self.never_resume {
            Resumption::disabled()
        } else {
            Resumption::in_memory_sessions(SESSIONS_MAX)
        };
        config.alpn_protocols = vec![if self.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        Ok(config)
    }

    fn roots(&self) -> anyhow::Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for certificate in super::certificates(path)? {
                    roots.add(certificate).with_context(|| path.display().to_string())?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                ensure!(!roots.is_empty(), "the system trusts nobody: name --cacert, or --insecure");
            }
        }
        Ok(roots)
    }

    pub fn server_name(&self, host: &str) -> anyhow::Result<ServerName<'static>> {
        let name = self.sni.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_string()).with_context(|| format!("`{name}` is no name of a server"))
    }
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
