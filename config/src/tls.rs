//! TLS as meant: the files of certificates and keys, and the certificates that each side requires. Plain data; the files are
//! read by the gateway.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::host::Host;

/// `tls` of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// At least one; the first answers clients that ask for a name none of them has.
    pub certificates: Vec<Certificate>,
    pub client_auth: ClientAuth,
    pub min_version: TlsVersion,
    /// The host of a request must be among the names of the certificate that its client's name (SNI) chose.
    pub strict_sni_host: bool,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// PEM: the certificate, then those that lead to a root.
    pub cert: Pem,
    /// PEM: PKCS #8, PKCS #1 or SEC 1.
    pub key: Pem,
    /// DER: a response of the issuer's, stapled as it is.
    pub ocsp: Option<PathBuf>,
    /// The server names it is shown for, and that requests may have; empty is the names in the certificate itself.
    pub names: Vec<ServedName>,
}

/// A name that clients ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServedName {
    /// Lower case.
    Exact(String),
    /// `*.example.com` is kept as `.example.com`, `*-v2.example.com` as `-v2.example.com`, in lower case: every name that ends so.
    Suffix(String),
    /// Every name, and none.
    Any,
}

/// Where PEM is read from.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    File(PathBuf),
    /// Content of an object of a cluster or of a manifest.
    Given(Arc<Material>),
}

/// Bytes that came with the configuration, and may be a private key: they are never shown.
#[derive(PartialEq, Eq)]
pub struct Material {
    /// As the configuration names it.
    pub name: PathBuf,
    pub bytes: Vec<u8>,
}

impl Pem {
    /// The file, or the name of the given material.
    pub fn name(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Given(material) => &material.name,
        }
    }

    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Given(_) => None,
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.name(), f)
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys are never shown.
        f.debug_struct("Material").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Whether clients show certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuth {
    Off,
    /// A client that shows none is served; one that shows a bad one is not.
    Optional(ClientCa),
    Required(ClientCa),
}

/// `tls` of an upstream: how its endpoints are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    pub trust: Trust,
    /// The name that an endpoint's certificate must have, and that it is asked for; `None` is the endpoint's own.
    pub server_name: Option<Host>,
    /// Its certificate must have one of these instead of that name.
    pub names: Vec<PeerName>,
    /// PEM: revocation lists; without one revocation is not checked.
    pub crls: Vec<PathBuf>,
    /// The certificate for endpoints that ask for one.
    pub identity: Option<Certificate>,
    pub min_version: TlsVersion,
}

/// A name of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerName {
    Host(Host),
    /// As it is written.
    Uri(String),
}

/// The certificates that are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The roots that the system trusts.
    System,
    /// PEM: one or more roots.
    Ca(Pem),
    /// Any certificate: a man in the middle can read and answer everything.
    Anything,
}

/// The authority for clients' certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCa {
    /// PEM: one or more.
    pub ca: Pem,
    /// PEM: revocation lists; without one revocation is not checked.
    pub crls: Vec<PathBuf>,
}

/// The written word for [`ClientAuth`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientAuthWord {
    Off,
    Optional,
    Required,
}

impl ClientAuthWord {
    pub(crate) const ALL: [Self; 3] = [Self::Off, Self::Optional, Self::Required];

    /// The word a file uses for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

/// The oldest version that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

impl TlsVersion {
    pub const ALL: [Self; 2] = [Self::Tls12, Self::Tls13];

    /// The word a file uses for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}
