//! Certificates made at the start, for an origin that was given none and for one that shall show a bad one.

use std::net::IpAddr;
use std::path::Path;

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Names that an origin on this machine is called by.
const NAMES: [&str; 1] = ["localhost"];
const ADDRESSES: [IpAddr; 3] = [
    IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2)),
    IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
];

/// A chain and its key.
pub struct Pair {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    chain_pem: String,
    key_pem: String,
}

/// An authority that signs every request. Its keys live as long as the process.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// How a certificate is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    None,
    /// Its time is over.
    Expired,
    /// For another name.
    Name,
}

impl Authority {
    pub fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "loadgen authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    pub fn certificate(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    pub fn server(&self, flaw: Flaw) -> anyhow::Result<Pair> {
        let names: Vec<String> = match flaw {
            Flaw::None | Flaw::Expired => NAMES.map(String::from).to_vec(),
            Flaw::Name => vec!["somebody.else.test".into()],
        };
        let mut params = CertificateParams::new(names)?;
        if flaw != Flaw::Name {
            params.subject_alt_names.extend(ADDRESSES.map(SanType::IpAddress));
        }
        if flaw == Flaw::Expired {
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        params.distinguished_name.push(DnType::CommonName, "loadgen origin");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&params)
    }

    pub fn client(&self) -> anyhow::Result<Pair> {
        let mut params = CertificateParams::new(vec!["loadgen.client.test".to_string()])?;
        params.distinguished_name.push(DnType::CommonName, "loadgen client");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> anyhow::Result<Pair> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair {
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    /// Writes `ca.pem`, and `server` and `client` each as `.pem` and `.key`, for peers that trust or are trusted.
    pub fn write(&self, dir: &Path, server: &Pair) -> anyhow::Result<()> {
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let client = self.client()?;
        for (name, text) in [
            ("ca.pem", &self.issuer.pem()),
            ("server.pem", &server.chain_pem),
            ("server.key", &server.key_pem),
            ("client.pem", &client.chain_pem),
            ("client.key", &client.key_pem),
        ] {
            let path = dir.join(name);
            std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}
