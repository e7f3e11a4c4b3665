//! TLS as the load speaks it and the origin serves it: configurations of rustls, made once from settings. Opens no socket.

pub mod authority;
pub mod client;
pub mod server;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow, ensure};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{SupportedProtocolVersion, version};

use crate::file;

/// Choices that both sides may narrow to one, so that peers are compared with equal ciphers and keys.
#[derive(Clone, Debug, Default)]
pub struct Narrow {
    pub version: Option<Version>,
    /// `TLS_AES_128_GCM_SHA256`, …
    pub cipher: Option<String>,
    /// `x25519`, `secp256r1`, `x25519mlkem768`, …
    pub key_exchange: Option<String>,
}

const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Version {
    #[value(name = "1.2")]
    V12,
    #[value(name = "1.3")]
    V13,
}

impl Narrow {
    pub fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        match self.version {
            None => BOTH,
            Some(Version::V12) => &BOTH[1..],
            Some(Version::V13) => &BOTH[..1],
        }
    }

    /// The provider with the chosen algorithms alone.
    pub fn provider(&self) -> anyhow::Result<Arc<CryptoProvider>> {
        let mut provider = aws_lc_rs::default_provider();
        if let Some(wanted) = &self.cipher {
            let name = |suite: &rustls::SupportedCipherSuite| {
                format!("{:?}", suite.suite()).replace("TLS13_", "TLS_").to_ascii_uppercase()
            };
            let known: Vec<String> = provider.cipher_suites.iter().map(name).collect();
            let wanted = wanted.to_ascii_uppercase();
            provider.cipher_suites.retain(|suite| name(suite) == wanted);
            ensure!(
                !provider.cipher_suites.is_empty(),
                "no cipher `{wanted}`; there are {}",
                known.join(", ")
            );
        }
        if let Some(wanted) = &self.key_exchange {
            let name = |group: &&dyn rustls::crypto::SupportedKxGroup| {
                format!("{:?}", group.name()).to_ascii_lowercase()
            };
            let known: Vec<String> = provider.kx_groups.iter().map(name).collect();
            let wanted = wanted.to_ascii_lowercase();
            provider.kx_groups.retain(|group| name(group) == wanted);
            ensure!(
                !provider.kx_groups.is_empty(),
                "no key exchange `{wanted}`; there are {}",
                known.join(", ")
            );
        }
        Ok(Arc::new(provider))
    }
}

/// All certificates of a PEM file.
pub fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let name = || format!("cannot read certificates from {}", path.display());
    let bytes = file::read(path).with_context(name)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| anyhow!("{error}"))
        .with_context(name)?;
    ensure!(!found.is_empty(), "{} holds no certificate", path.display());
    Ok(found)
}

/// The private key of a PEM file.
pub fn private_key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    let name = || format!("cannot read a private key from {}", path.display());
    let bytes = file::read(path).with_context(name)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| anyhow!("{}: {error}", name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_narrowed_is_all_that_is_left_and_what_is_unknown_is_named() {
        let narrow = Narrow {
            cipher: Some("tls_aes_128_gcm_sha256".into()),
            key_exchange: Some("x25519".into()),
            ..Default::default()
        };
        let provider = narrow.provider().expect("both are known");
        assert_eq!((provider.cipher_suites.len(), provider.kx_groups.len()), (1, 1));
        let narrow = Narrow { key_exchange: Some("rot13".into()), ..Default::default() };
        let error = narrow.provider().expect_err("no such group");
        assert!(error.to_string().contains("x25519mlkem768"), "{error}");
    }
}
