//! Files of certificates and keys: read and checked, with a message for each way in which they can be wrong. The room reads a
//! certificate's own statements; whether it is to be trusted is decided in handshakes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use config::{Pem, ServedName};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// Something wrong with a file. The key is that of the configuration under the table that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub key: String,
    pub file: PathBuf,
    pub message: String,
}

impl Wrong {
    pub fn new(key: &str, file: &Path, message: String) -> Self {
        Self { key: key.to_owned(), file: file.to_owned(), message }
    }
}

/// A certificate with its key, and the facts in it.
#[derive(Debug, Clone)]
pub struct Identity {
    pub key: Arc<CertifiedKey>,
    pub file: PathBuf,
    /// DNS names and addresses it is for.
    pub names: Vec<String>,
    /// Names that it is shown for instead; empty where it is shown for its own.
    pub served: Vec<ServedName>,
    pub not_after: SystemTime,
    /// Oddities that are not wrong.
    pub warnings: Vec<Wrong>,
}

/// A day, in seconds.
const DAY: i64 = 24 * 3600;

/// Reads the pair of `written`, whose keys stand below `at`.
pub fn identity(
    written: &config::Certificate,
    at: &str,
    provider: &CryptoProvider,
) -> Result<Identity, Wrong> {
    let (cert_key, key_key) = (format!("{at}cert"), format!("{at}key"));
    let chain = certificates(&written.cert, &cert_key)?;
    let wrong = |message| Wrong::new(&key_key, written.key.name(), message);
    let bytes = read(&written.key, &key_key)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        wrong(match error {
            rustls::pki_types::pem::Error::NoItemsFound if has_label(&bytes, "ENCRYPTED PRIVATE KEY") => {
                "is encrypted; write the key without a passphrase, readable only by the gateway".to_owned()
            }
            rustls::pki_types::pem::Error::NoItemsFound => {
                "holds no private key in PEM (-----BEGIN PRIVATE KEY-----)".to_owned()
            }
            other => format!("is not a private key in PEM: {other}"),
        })
    })?;
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|_| wrong("is a private key of a kind that is not supported: RSA, ECDSA P-256, P-384 or P-521 and Ed25519 are".to_owned()))?;
    let mut certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        // A key that cannot tell its public half is believed.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(_) => {
            return Err(wrong(format!(
                "is not the key of the certificate in {}",
                written.cert.name().display()
            )));
        }
    }
    if let Some(ocsp) = &written.ocsp {
        certified.ocsp = Some(read_file(ocsp, &format!("{at}ocsp"))?);
    }
    let described = describe(Arc::new(certified), written.cert.name(), &cert_key)?;
    Ok(Identity { served: written.names.clone(), ..described })
}

fn describe(key: Arc<CertifiedKey>, file: &Path, at: &str) -> Result<Identity, Wrong> {
    let wrong = |message: String| Wrong::new(at, file, message);
    let mut parsed = Vec::new();
    for (n, der) in (1..).zip(&key.cert) {
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|error| wrong(format!("certificate {n} cannot be read: {error}")))?;
        parsed.push(certificate);
    }
    let Some(leaf) = parsed.first() else { return Err(wrong("holds no certificate".to_owned())) };
    let names = names(leaf);
    let mut warnings = Vec::new();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
    let (from, to) = (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
    if to < now {
        warnings.push(wrong(format!("has expired {} days ago: it is refused", (now - to) / DAY)));
    } else if from > now {
        warnings.push(wrong(format!("is not valid yet for {} days: it is refused", (from - now) / DAY)));
    }
    for (n, pair) in (1..).zip(parsed.windows(2)) {
        if let [this, next] = pair
            && this.issuer() != next.subject()
        {
            let message = format!(
                "certificate {n} is not issued by certificate {}, which follows it: the chain is out of order or incomplete",
                n + 1
            );
            warnings.push(wrong(message));
        }
    }
    let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(to.try_into().unwrap_or(0));
    Ok(Identity {
        names,
        served: Vec::new(),
        not_after,
        file: file.to_owned(),
        warnings,
        key: Arc::clone(&key),
    })
}

/// The names that a certificate is for: DNS names and addresses of its subjectAltName.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let mut all = Vec::new();
    for name in &names.value.general_names {
        match name {
            GeneralName::DNSName(name) => all.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let address = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
                let address = address.or_else(|_| <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from));
                all.extend(address.ok().map(|address| address.to_string()));
            }
            // Not ours to match exhaustively; nothing else names a host.
            _ => {}
        }
    }
    all
}

/// All certificates of a file, at least one.
pub fn certificates(file: &Pem, at: &str) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let wrong = |message| Wrong::new(at, file.name(), message);
    let bytes = read(file, at)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if all.is_empty() => {
            Err(wrong("holds no certificate in PEM (-----BEGIN CERTIFICATE-----)".to_owned()))
        }
        Ok(all) => Ok(all),
        Err(error) => Err(wrong(format!("is not PEM: {error}"))),
    }
}

/// The certificates of a file as roots of trust.
pub fn roots(file: &Pem, at: &str) -> Result<RootCertStore, Wrong> {
    let mut roots = RootCertStore::empty();
    for (n, certificate) in (1..).zip(certificates(file, at)?) {
        let added = roots.add(certificate);
        added.map_err(|error| {
            Wrong::new(at, file.name(), format!("certificate {n} cannot be a root of trust: {error}"))
        })?;
    }
    Ok(roots)
}

/// The revocation lists of a file, at least one.
pub fn crls(file: &Path, at: &str) -> Result<Vec<CertificateRevocationListDer<'static>>, Wrong> {
    let bytes = read_file(file, at)?;
    let all: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if all.is_empty() => {
            Err(Wrong::new(at, file, "holds no revocation list in PEM (-----BEGIN X509 CRL-----)".to_owned()))
        }
        Ok(all) => Ok(all),
        Err(error) => Err(Wrong::new(at, file, format!("is not PEM: {error}"))),
    }
}

/// No certificate, key or list is as large as this; a larger file is something else.
const FILE_BYTES_MAX: u64 = 16 << 20;

fn read(pem: &Pem, at: &str) -> Result<Vec<u8>, Wrong> {
    match pem {
        Pem::File(file) => read_file(file, at),
        Pem::Given(material) => Ok(material.bytes.clone()),
    }
}

fn read_file(file: &Path, at: &str) -> Result<Vec<u8>, Wrong> {
    let wrong = |error: std::io::Error| Wrong::new(at, file, format!("cannot be read: {error}"));
    config::text::read_at_most(file, FILE_BYTES_MAX).map_err(wrong)
}

fn has_label(bytes: &[u8], label: &str) -> bool {
    memchr::memmem::find(bytes, label.as_bytes()).is_some()
}
