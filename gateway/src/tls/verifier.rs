//! The check of a server's certificate, as far as rules differ. A rule decides which certificates it believes; whether the
//! server has the certificate's key is checked in the handshake, for every rule alike.

use std::fmt::Debug;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

/// A rule for certificates.
pub(super) trait Rule: Debug + Send + Sync + 'static {
    /// # Errors
    /// The certificate is not believed.
    fn believe(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        asked: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<(), Error>;
}

/// Checks by `rule`, and signatures by the provider's algorithms.
pub(super) fn by(rule: impl Rule, provider: &CryptoProvider) -> Arc<dyn ServerCertVerifier> {
    Arc::new(By { rule, algorithms: provider.signature_verification_algorithms })
}

#[derive(Debug)]
struct By<R> {
    rule: R,
    algorithms: WebPkiSupportedAlgorithms,
}

impl<R: Rule> ServerCertVerifier for By<R> {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        asked: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.rule.believe(certificate, chain, asked, ocsp, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
