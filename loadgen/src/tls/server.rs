//! The origin's side of TLS: its certificate, the bad ones it can show instead, the protocols and algorithms it offers. Opens
//! no socket.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::Narrow;
use super::authority::{Authority, Flaw, Pair};

#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Without it, one signed by an authority of our own.
    pub cert: Option<(PathBuf, PathBuf)>,
    /// Clients must have a certificate of it.
    pub client_ca: Option<PathBuf>,
    /// Where our own authority's certificates are written.
    pub dir: Option<PathBuf>,
    pub narrow: Narrow,
}

/// The certificate that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Good,
    Expired,
    /// For another name.
    Name,
    /// Of an authority that clients do not trust.
    Untrusted,
}

/// The protocols that a port offers by ALPN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offer {
    #[default]
    Both,
    Http1,
    Http2,
}

/// Certificates of all ports.
pub struct Certificates {
    settings: Settings,
    authority: Authority,
    /// An authority that no client trusts.
    stranger: Authority,
    good: Option<Pair>,
}

/// A port's configurations, one for each certificate it can show.
pub struct Port {
    good: Arc<ServerConfig>,
    expired: Arc<ServerConfig>,
    name: Arc<ServerConfig>,
    untrusted: Arc<ServerConfig>,
}

impl Port {
    pub fn config(&self, shown: Shown) -> Arc<ServerConfig> {
        match shown {
            Shown::Good => self.good.clone(),
            Shown::Expired => self.expired.clone(),
            Shown::Name => self.name.clone(),
            Shown::Untrusted => self.untrusted.clone(),
        }
    }
}

impl Certificates {
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        ensure!(
            settings.cert.is_none() || settings.dir.is_none(),
            "certificates are either given or made and written to a directory"
        );
        let authority = Authority::new()?;
        let good = settings.cert.is_none().then(|| authority.server(Flaw::None)).transpose()?;
        if let (Some(dir), Some(good)) = (&settings.dir, &good) {
            authority.write(dir, good)?;
        }
        Ok(Self { settings: settings.clone(), authority, stranger: Authority::new()?, good })
    }

    pub fn port(&self, offer: Offer) -> anyhow::Result<Port> {
        let good = match (&self.settings.cert, &self.good) {
            (Some((cert, key)), _) => {
                self.config(offer, super::certificates(cert)?, super::private_key(key)?)?
            }
            (None, Some(pair)) => self.config(offer, pair.chain.clone(), pair.key.clone_key())?,
            (None, None) => anyhow::bail!("no certificate"),
        };
        let made = |authority: &Authority, flaw| -> anyhow::Result<_> {
            let pair = authority.server(flaw)?;
            self.config(offer, pair.chain, pair.key)
        };
        Ok(Port {
            good,
            expired: made(&self.authority, Flaw::Expired)?,
            name: made(&self.authority, Flaw::Name)?,
            untrusted: made(&self.stranger, Flaw::None)?,
        })
    }

    fn config(
        &self,
        offer: Offer,
        chain: Vec<rustls::pki_types::CertificateDer<'static>>,
        key: rustls::pki_types::PrivateKeyDer<'static>,
    ) -> anyhow::Result<Arc<ServerConfig>> {
        let provider = self.settings.narrow.provider()?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.settings.narrow.versions())
            .context("these versions, ciphers and key exchanges do not go together")?;
        let builder = match &self.settings.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in super::certificates(path)? {
                    roots.add(certificate).with_context(|| path.display().to_string())?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build()?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).context("the certificate and its key")?;
        config.ticketer = Ticketer::new()?;
        config.alpn_protocols = match offer {
            Offer::Both => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Offer::Http1 => vec![b"http/1.1".to_vec()],
            Offer::Http2 => vec![b"h2".to_vec()],
        };
        Ok(Arc::new(config))
    }
}
