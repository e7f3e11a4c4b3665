//! The TLS that a listener hands its workers: one rustls configuration, and the names that it answers to.
//!
//! A ticketer accepts its own tickets, and rustls does not check whether the client was authenticated when it got one. So
//! a listener that authenticates clients issues none, and each of the others has a ticketer of its own
//! (`tickets_never_cross_policies` in `tests/it/tls`).

use std::sync::Arc;

use config::{ClientAuth, ClientCa, ListenerTls, Protocols, TlsVersion};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::alpn;
use super::fault::Fault;
use super::names::{self, Names};
use super::pem::{self, Identity, Wrong};
use super::resolver::Resolver;
use super::session::Session;

/// A listener's TLS, shared by its workers.
pub struct Listening {
    config: Arc<ServerConfig>,
    /// Names of its certificates, and which of them belong together.
    names: Names<Group>,
    /// A request's host must belong to the name that its client asked for.
    is_strict: bool,
    /// Where no client is authenticated.
    ticketer: Option<Arc<dyn ProducesTickets>>,
    authenticates: bool,
    protocols: Protocols,
}

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys are never shown.
        f.debug_struct("Listening").finish_non_exhaustive()
    }
}

/// Names that one certificate has, or several that are for the same: by its place among all of these.
type Group = Option<usize>;

/// The name that a client asked for in its handshake (SNI).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerName {
    /// The client asked for none.
    Absent,
    /// Among the names of the listener's certificates; `None` where none of them is for it.
    Of(Option<usize>),
}

impl Listening {
    /// `before` is the same listener's of the configuration in force: where neither authenticates clients and both speak the
    /// same, its tickets stay good.
    pub fn new(
        written: &ListenerTls,
        protocols: Protocols,
        identities: &[Identity],
        provider: &Arc<CryptoProvider>,
        before: Option<&Self>,
    ) -> Result<Self, Vec<Wrong>> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(versions(written.min_version))
            // invariant: a provider of ours has suites of both versions.
            .map_err(|error| vec![Wrong::new("min_version", "".as_ref(), error.to_string())])?;
        let builder = match &written.client_auth {
            ClientAuth::Off => builder.with_no_client_auth(),
            ClientAuth::Optional(ca) => builder.with_client_cert_verifier(verifier(ca, true, provider)?),
            ClientAuth::Required(ca) => builder.with_client_cert_verifier(verifier(ca, false, provider)?),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Resolver::new(identities)));
        config.alpn_protocols = alpn::of_listener(protocols);
        // A cache would be one more lock for all workers, and knows no policy either.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let ticketer = match &written.client_auth {
            ClientAuth::Optional(_) | ClientAuth::Required(_) => None,
            ClientAuth::Off => {
                let same = before.filter(|before| before.protocols == protocols);
                let carried = same.and_then(|before| before.ticketer.clone());
                // Without randomness there is no ticket, and every handshake is a full one.
                carried.or_else(|| Ticketer::new().ok())
            }
        };
        match &ticketer {
            Some(ticketer) => config.ticketer = Arc::clone(ticketer),
            None => config.send_tls13_tickets = 0,
        }
        let authenticates = !matches!(written.client_auth, ClientAuth::Off);
        let (names, is_strict) = (grouped(identities), written.strict_sni_host);
        Ok(Self { config: Arc::new(config), names, is_strict, ticketer, authenticates, protocols })
    }

    /// Whether a client that chose no protocol by ALPN may stay: it speaks HTTP/1.1.
    pub fn takes_unnamed(&self) -> bool {
        self.protocols.http1
    }

    /// For the control plane's own listener.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// A session for one client.
    pub fn session(&self) -> Result<Session, Fault> {
        Session::server(&self.config, self.authenticates)
    }

    /// The name that a client asked for, as requests on its connection are held against it.
    pub fn server_name(&self, asked: Option<&str>) -> ServerName {
        let group = |name: &str| self.names.find(name).copied().flatten();
        asked.map_or(ServerName::Absent, |name| ServerName::Of(group(name)))
    }

    /// Whether a request for `authority` belongs on a connection whose client asked for this name (RFC 9110 §15.5.20).
    /// Certificates without names say nothing of it.
    pub fn covers(&self, authority: &[u8], asked: ServerName) -> bool {
        if self.names.is_empty() {
            return true;
        }
        let found = names::host(authority).and_then(|host| self.names.find(host));
        found.is_some_and(|group| match asked {
            ServerName::Of(of) if self.is_strict => of == *group,
            ServerName::Of(_) | ServerName::Absent => true,
        })
    }
}

/// Groups of certificates by name. Certificates for which an operator wrote the same names are one group; a name in several
/// groups is the first one's. Any other certificate is a group of its own, with the names in it.
fn grouped(identities: &[Identity]) -> Names<Group> {
    let mut names: Names<Group> = Names::default();
    for (nth, identity) in identities.iter().enumerate() {
        let same = |other: &Identity| !identity.served.is_empty() && other.served == identity.served;
        let group = identities.iter().position(same).unwrap_or(nth);
        for name in &identity.served {
            names.served(name).get_or_insert(group);
        }
        for name in identity.names.iter().filter(|_| identity.served.is_empty()) {
            names.entry(name).get_or_insert(group);
        }
    }
    names
}

pub(super) fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    const TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
    match min {
        TlsVersion::Tls12 => rustls::ALL_VERSIONS,
        TlsVersion::Tls13 => TLS13,
    }
}

fn verifier(
    ca: &ClientCa,
    is_optional: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, Vec<Wrong>> {
    let roots = pem::roots(&ca.ca, "client_ca").map_err(|wrong| vec![wrong])?;
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    for (n, file) in ca.crls.iter().enumerate() {
        let at = format!("client_crls[{n}]");
        builder = builder.with_crls(pem::crls(file, &at).map_err(|wrong| vec![wrong])?);
    }
    if is_optional {
        builder = builder.allow_unauthenticated();
    }
    let build = builder.build();
    build.map_err(|error| vec![Wrong::new("client_ca", ca.ca.name(), format!("cannot be used: {error}"))])
}
