//! A server that is believed by its very certificate: one that issued itself, marked as an authority, which webpki refuses as the
//! certificate of a server in any case. Byte for byte it is the one that was named, it has the name that was asked for, and it is
//! in its time; whether the server has its key is seen in the handshake as always.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, ClientConnection, Error, RootCertStore, StreamOwned};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, TcpConnector, Transport,
    TransportAdapter,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::verifier::{self, Rule};

/// The certificate and its key for a server that asks for one.
pub type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// How a server is called that `roots` vouch for, or that one of them is.
///
/// # Errors
/// None of them can be a root of trust, or the key is of no use.
pub fn client(
    roots: &[CertificateDer<'static>],
    shown: Option<Shown>,
    provider: Arc<CryptoProvider>,
) -> Result<ClientConfig, Error> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider)).build();
    let chain = chain.map_err(|error| Error::General(error.to_string()))?;
    let verifier = verifier::by(Pinned { chain, known: roots.to_vec() }, &provider);
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    match shown {
        Some((certificates, key)) => builder.with_client_auth_cert(certificates, key),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// An agent that calls `https` so, and nothing else.
pub fn agent(settings: ureq::config::Config, client: ClientConfig) -> ureq::Agent {
    let connector = TcpConnector::default().chain(Secure { client: Arc::new(client) });
    ureq::Agent::with_parts(settings, connector, DefaultResolver::default())
}

#[derive(Debug)]
struct Pinned {
    chain: Arc<WebPkiServerVerifier>,
    known: Vec<CertificateDer<'static>>,
}

impl Rule for Pinned {
    fn believe(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        asked: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        let Err(error) = self.chain.verify_server_cert(certificate, chain, asked, ocsp, now) else {
            return Ok(());
        };
        // A pin does not help against another issuer, or another fault.
        if !self.known.iter().any(|known| **known == **certificate) || !is_authority(certificate) {
            return Err(error);
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, asked)?;
        in_its_time(certificate, now)
    }
}

fn is_authority(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, certificate)| certificate.is_ca() && certificate.issuer() == certificate.subject())
}

fn in_its_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let broken = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(broken)?;
    let (from, to) = (certificate.validity().not_before, certificate.validity().not_after);
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < from.timestamp() {
        return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    if now > to.timestamp() {
        return Err(Error::InvalidCertificate(CertificateError::Expired));
    }
    Ok(())
}

/// Puts TLS over a connection.
#[derive(Debug)]
struct Secure {
    client: Arc<ClientConfig>,
}

impl<In: Transport> Connector<In> for Secure {
    type Out = Covered;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        wire: Option<In>,
    ) -> Result<Option<Covered>, ureq::Error> {
        let Some(wire) = wire else { return Ok(None) };
        let host = details.uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name =
            ServerName::try_from(host).map_err(|_| ureq::Error::Tls("no certificate can have this name"))?;
        let mut session = ClientConnection::new(Arc::clone(&self.client), name)?;
        let wire: Box<dyn Transport> = Box::new(wire);
        let mut wire = TransportAdapter::new(wire, Arc::clone(&details.current_time));
        wire.set_timeout(details.timeout);
        session.complete_io(&mut wire)?;
        let buffers =
            LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Covered { buffers, stream: StreamOwned::new(session, wire) }))
    }
}

/// A connection with TLS over it.
struct Covered {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for Covered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Covered").finish_non_exhaustive()
    }
}

impl Transport for Covered {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        std::io::Write::write_all(&mut self.stream, output)?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let read = std::io::Read::read(&mut self.stream, self.buffers.input_append_buf())?;
        self.buffers.input_appended(read);
        Ok(read > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::load::provider;

    fn own(name: &str, change: impl FnOnce(&mut rcgen::CertificateParams)) -> CertificateDer<'static> {
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        change(&mut params);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn it_is_that_very_certificate_under_its_name_and_in_its_time_or_none() {
        let ours = own("admin.example", |_| {});
        let old = own("admin.example", |params| {
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        });
        let of = |known: &[&CertificateDer<'static>], shown: &CertificateDer<'static>, name: &str| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(known.iter().map(|one| (*one).clone()));
            let chain =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
            let pinned = Pinned { chain, known: known.iter().map(|one| (*one).clone()).collect() };
            let name = ServerName::try_from(name.to_owned()).unwrap();
            pinned.believe(shown, &[], &name, &[], UnixTime::now()).is_ok()
        };
        assert!(of(&[&ours], &ours, "admin.example"));
        assert!(!of(&[&ours], &ours, "other.example"));
        assert!(!of(&[&old], &old, "admin.example"), "its time is over");
        let twin = own("admin.example", |_| {});
        assert!(!of(&[&twin], &ours, "admin.example"), "another with the same name");
    }
}
