//! TLS of a simulated world: one certificate for all its origins, and the settings to connect to them. Records on a wire have
//! the same length in every play of a seed.

use std::sync::{Arc, OnceLock};

use config::{Config, UpstreamTls};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};

use crate::tls::Calling;
use crate::tls::load::provider;
use crate::tls::peer::Trusted;
use crate::tls::session::Session;

struct Pair {
    server: Arc<ServerConfig>,
    /// Offers HTTP/2 too.
    both: Arc<ServerConfig>,
    roots: Arc<RootCertStore>,
}

fn pair() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| {
        // Signatures of Ed25519 and this number are always as long.
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let mut params = rcgen::CertificateParams::new(["v1.internal".to_owned()]).expect("a name");
        params.serial_number = Some(1_u64.into());
        let certificate: CertificateDer<'static> = params.self_signed(&key).expect("a certificate").into();
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("a root");
        let server = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let server = server.expect("versions").with_no_client_auth();
        let mut server = server.with_single_cert(vec![certificate], key).expect("a pair");
        server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().expect("a ticketer");
        let mut both = server.clone();
        both.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Pair { server: Arc::new(server), both: Arc::new(both), roots: Arc::new(roots) }
    })
}

/// An origin's side of a connection.
pub(super) fn session(speaks_http2: bool) -> Session {
    let server = if speaks_http2 { &pair().both } else { &pair().server };
    Session::server(server, false).expect("a session")
}

/// The TLS settings of the upstreams of `config`: those of one upstream, as all have the same.
pub(super) fn callings(config: &Config) -> Arc<[Option<Arc<Calling>>]> {
    static CALLING: OnceLock<Arc<Calling>> = OnceLock::new();
    let calling = |tls: &UpstreamTls| {
        let trusted = || Trusted { roots: Arc::clone(&pair().roots), crls: Vec::new() };
        let made = || Calling::new(tls, Some(trusted()), None, &provider()).expect("it is sound");
        Arc::clone(CALLING.get_or_init(|| Arc::new(made())))
    };
    config.upstreams.iter().map(|upstream| upstream.tls.as_ref().map(calling)).collect()
}
