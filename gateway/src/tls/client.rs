//! How an upstream with `tls` is called: one rustls configuration, made on the control plane, and each worker's own part in it.
//!
//! Each worker keeps its own tickets: a store shared by workers would be a lock between them, and a store that outlives its
//! configuration would resume sessions that were made under other rules.

use std::rc::Rc;
use std::sync::Arc;

use config::{Host, UpstreamProtocol, UpstreamTls};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientSessionStore, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, ClientConfig, Error};

use super::alpn;
use super::fault::Fault;
use super::peer::{self, Trusted, name_of, this_machine};
use super::pem::{Identity, Wrong};
use super::server::versions;
use super::session::Session;
use super::tickets::Tickets;
use super::verifier::{self, Rule};

use crate::address::Address;

/// How an upstream is called, shared by all callers.
pub struct Calling {
    /// Without a store of tickets.
    config: Arc<ClientConfig>,
    /// Instead of the endpoints' own.
    name: Option<ServerName<'static>>,
    written: UpstreamTls,
    /// `None` where every certificate is believed.
    trusted: Option<Trusted>,
    /// The certificate that is shown, and those that lead from it to a root.
    chain: Vec<CertificateDer<'static>>,
}

impl std::fmt::Debug for Calling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys are never shown.
        f.debug_struct("Calling").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Calling {
    /// `trusted` where certificates are checked.
    pub fn new(
        written: &UpstreamTls,
        trusted: Option<Trusted>,
        identity: Option<&Identity>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Wrong> {
        let verifier = match &trusted {
            Some(trusted) => peer::verifier(trusted, &written.names, provider)?,
            None => verifier::by(Every::Believed, provider),
        };
        Self::by(verifier, written, trusted, identity, provider)
    }

    /// For an upstream whose `tls` came to nothing, where others go on: no certificate is believed, so no request goes there, and none in
    /// plaintext.
    pub fn refusing(written: &UpstreamTls, provider: &Arc<CryptoProvider>) -> Result<Self, Wrong> {
        Self::by(verifier::by(Every::Refused, provider), written, None, None, provider)
    }

    fn by(
        verifier: Arc<dyn ServerCertVerifier>,
        written: &UpstreamTls,
        trusted: Option<Trusted>,
        identity: Option<&Identity>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Wrong> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(versions(written.min_version))
            // invariant: a provider of ours has suites of both versions.
            .map_err(|error| Wrong::new("min_version", "".as_ref(), error.to_string()))?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let shown = SingleCertAndKey::from((*identity.key).clone());
                builder.with_client_cert_resolver(Arc::new(shown))
            }
        };
        config.alpn_protocols = alpn::of_upstream(UpstreamProtocol::Http1);
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
            name: written.server_name.as_ref().and_then(name_of),
            written: written.clone(),
            trusted,
            chain: identity.map(|identity| identity.key.cert.clone()).unwrap_or_default(),
        })
    }

    /// Made of the same: an endpoint that was called by one can be called by the other. A key is its certificate's.
    pub fn is_like(&self, other: &Self) -> bool {
        self.trusted == other.trusted && self.written == other.written && self.chain == other.chain
    }

    /// The name that an endpoint at `address`, written as `host`, must have.
    pub fn name(&self, host: Option<&Host>, address: Address) -> ServerName<'static> {
        let of_address = || match address {
            Address::Ip(address) => ServerName::from(address.ip()),
            Address::Unix(_) => this_machine(),
        };
        let own = || host.and_then(name_of).unwrap_or_else(of_address);
        self.name.clone().unwrap_or_else(own)
    }

    /// For callers that call seldom, and begin anew each time.
    pub fn config(&self, protocol: UpstreamProtocol) -> Arc<ClientConfig> {
        let mut config = (*self.config).clone();
        config.alpn_protocols = alpn::of_upstream(protocol);
        Arc::new(config)
    }
}

/// A worker's own part in calling an upstream: the tickets that its sessions resume by.
#[derive(Debug)]
pub struct Caller {
    of: Arc<Calling>,
    protocol: UpstreamProtocol,
    config: Arc<ClientConfig>,
    tickets: Arc<Tickets>,
}

impl Caller {
    /// The one that goes on from `before`, where that was made of the same. It speaks `protocol`.
    pub fn after(
        before: Option<&Rc<Self>>,
        of: Option<&Arc<Calling>>,
        protocol: UpstreamProtocol,
    ) -> Option<Rc<Self>> {
        let of = of?;
        let is_same = |before: &&Rc<Self>| Arc::ptr_eq(&before.of, of) && before.protocol == protocol;
        let same = before.filter(is_same).map(Rc::clone);
        Some(same.unwrap_or_else(|| {
            let mut config = (*of.config).clone();
            config.alpn_protocols = alpn::of_upstream(protocol);
            let tickets = Arc::<Tickets>::default();
            config.resumption = Resumption::store(Arc::clone(&tickets) as Arc<dyn ClientSessionStore>);
            Rc::new(Self { of: Arc::clone(of), protocol, config: Arc::new(config), tickets })
        }))
    }
}

/// An endpoint as it is called over TLS.
#[derive(Debug, Clone)]
pub struct Callee {
    caller: Rc<Caller>,
    name: ServerName<'static>,
}

impl Callee {
    pub fn new(caller: &Rc<Caller>, host: Option<&Host>, address: Address) -> Self {
        Self { caller: Rc::clone(caller), name: caller.of.name(host, address) }
    }

    /// A session with it.
    pub fn session(&self) -> Result<Session, Fault> {
        Session::client(&self.caller.config, &self.name, Some(&self.caller.tickets))
    }
}

/// Connections to one are connections to the other.
impl PartialEq for Callee {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.caller, &other.caller) && self.name == other.name
    }
}

/// Addresses, each with how it is called; `hosts` says how they were written.
pub fn callees<'a>(
    caller: Option<&'a Rc<Caller>>,
    addresses: &'a [Address],
    hosts: &'a [Host],
) -> impl Iterator<Item = (Address, Option<Callee>)> + 'a {
    let callee = move |n, address| caller.map(|caller| Callee::new(caller, hosts.get(n), address));
    addresses.iter().enumerate().map(move |(n, address)| (*address, callee(n, *address)))
}

/// The same result for every certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Every {
    /// A server needs the key of the certificate that it shows, and nothing else.
    Believed,
    Refused,
}

impl Rule for Every {
    fn believe(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<(), Error> {
        match self {
            Self::Believed => Ok(()),
            Self::Refused => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }
}
