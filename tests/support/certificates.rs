//! Certificates for one test, in files of their own: an authority, and the certificates that it has issued.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, RevokedCertParams, SerialNumber,
};

/// An authority, and the folder of its files.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
    /// Its own certificate.
    pub ca: PathBuf,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Pair {
    /// As one of `certificates` of a listener.
    pub fn toml(&self) -> String {
        format!("{{ cert = {:?}, key = {:?} }}", self.cert, self.key)
    }
}

impl Authority {
    /// Its file is `NAME.pem`, in `folder`, with those of its certificates.
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let ca = folder.join(format!("{name}.pem"));
        std::fs::write(&ca, params.self_signed(&key).expect("a certificate").pem()).expect("it is written");
        Self { issuer: Issuer::new(params, key), folder: folder.to_owned(), ca }
    }

    /// A certificate for `names`, the first of which is its common name, with an ECDSA key.
    pub fn issue(&self, file: &str, names: &[&str]) -> Pair {
        self.issue_with(
            file,
            names,
            &KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key"),
            1,
            |_| {},
        )
    }

    /// The same, made as `change` wants it.
    pub fn issue_with(
        &self,
        file: &str,
        names: &[&str],
        key: &KeyPair,
        serial: u64,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let first = names.first().cloned().unwrap_or_default();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, first);
        params.serial_number = Some(SerialNumber::from(serial));
        change(&mut params);
        let certificate = params.signed_by(key, &self.issuer).expect("a certificate");
        let pair = Pair {
            cert: self.folder.join(format!("{file}.pem")),
            key: self.folder.join(format!("{file}.key")),
        };
        replace(&pair.cert, &certificate.pem());
        replace(&pair.key, &key.serialize_pem());
        pair
    }

    /// A list that revokes its certificates of these numbers.
    pub fn revoke(&self, serials: &[u64]) -> PathBuf {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let file = self.folder.join("revoked.pem");
        let list = params.signed_by(&self.issuer).expect("a list");
        std::fs::write(&file, list.pem().expect("PEM")).expect("it is written");
        file
    }
}

/// Replaces a file as tools that renew certificates do: a new file in the old one's place.
fn replace(file: &Path, text: &str) {
    let beside = file.with_extension("next");
    std::fs::write(&beside, text).expect("it is written");
    std::fs::rename(beside, file).expect("it takes the old one's place");
}
