//! The offers of a listener's handshake: kinds of keys, key exchanges, and a stapled OCSP response.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme,
    SupportedProtocolVersion, version,
};
use tests::certificates::{Authority, Pair};
use tests::{Gateway, Origin, Setup};

/// Believes every certificate, checks every signature, and keeps the server's choices.
#[derive(Debug)]
struct Looks {
    provider: Arc<CryptoProvider>,
    ocsp: Mutex<Vec<u8>>,
    schemes: Mutex<Vec<SignatureScheme>>,
}

impl ServerCertVerifier for Looks {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.ocsp.lock().expect("no panic") = ocsp.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.schemes.lock().expect("no panic").push(signed.scheme);
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.schemes.lock().expect("no panic").push(signed.scheme);
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The result of a handshake.
struct Shaken {
    version: ProtocolVersion,
    exchange: String,
    scheme: SignatureScheme,
    ocsp: Vec<u8>,
}

fn shake(at: SocketAddr, name: &str, version: &'static SupportedProtocolVersion) -> Shaken {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let looks = Arc::new(Looks {
        provider: Arc::clone(&provider),
        ocsp: Mutex::default(),
        schemes: Mutex::default(),
    });
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version of ours")
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&looks) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a session");
    let mut tcp = TcpStream::connect(at).expect("it accepts");
    while client.is_handshaking() {
        client.complete_io(&mut tcp).expect("a handshake");
    }
    let exchange = client.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()));
    let schemes = looks.schemes.lock().expect("no panic").clone();
    Shaken {
        version: client.protocol_version().expect("a version"),
        exchange: exchange.expect("a key exchange"),
        scheme: *schemes.first().expect("a signature"),
        ocsp: looks.ocsp.lock().expect("no panic").clone(),
    }
}

/// A certificate for `name` with a key of this kind.
fn issue(authority: &Authority, folder: &Path, name: &str, key: &[&str]) -> Pair {
    let file = folder.join("made.key");
    let made = Command::new("openssl").arg("genpkey").args(key).arg("-out").arg(&file).output();
    let made = made.expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let text = std::fs::read_to_string(&file).expect("a key");
    let key = rcgen::KeyPair::from_pem(&text).expect("a key");
    authority.issue_with(name, &[name], &key, 1, |_| {})
}

fn start(v1: &Origin, certificates: &str) -> Gateway {
    let own = "[[listener]]\nbind = \"127.0.0.1:0\"\n";
    let listener = format!("{own}tls = {{ certificates = [{certificates}] }}\n");
    Gateway::start(&Setup::new(v1).toml().replacen(own, &listener, 1), &[])
}

#[test]
fn every_kind_of_key_serves_its_name_in_both_versions_and_the_newest_exchange_comes_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let kinds: [(&str, &[&str], &[SignatureScheme]); 4] = [
        (
            "ecdsa.example",
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            &[SignatureScheme::ECDSA_NISTP256_SHA256],
        ),
        (
            "ecdsa384.example",
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
            &[SignatureScheme::ECDSA_NISTP384_SHA384],
        ),
        (
            "rsa.example",
            &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            &[
                SignatureScheme::RSA_PSS_SHA256,
                SignatureScheme::RSA_PSS_SHA384,
                SignatureScheme::RSA_PSS_SHA512,
            ],
        ),
        ("ed25519.example", &["-algorithm", "ED25519"], &[SignatureScheme::ED25519]),
    ];
    let pairs: Vec<String> =
        kinds.iter().map(|(name, key, _)| issue(&authority, folder.path(), name, key).toml()).collect();
    let v1 = Origin::named("v1");
    let gateway = start(&v1, &pairs.join(", "));
    for (name, _, schemes) in kinds {
        let new = shake(gateway.address, name, &version::TLS13);
        assert_eq!(new.version, ProtocolVersion::TLSv1_3);
        assert!(schemes.contains(&new.scheme), "{name}: {:?}", new.scheme);
        assert_eq!(new.exchange, "X25519MLKEM768", "{name}");
        let old = shake(gateway.address, name, &version::TLS12);
        assert_eq!(old.version, ProtocolVersion::TLSv1_2);
        assert!(schemes.contains(&old.scheme), "{name}: {:?}", old.scheme);
        assert_eq!(old.exchange, "X25519", "{name}");
    }
}

#[test]
fn what_a_file_says_of_a_certificate_is_stapled_to_it_and_follows_a_reload() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let (shop, bare) =
        (authority.issue("shop", &["shop.example"]), authority.issue("bare", &["bare.example"]));
    let file = folder.path().join("shop.ocsp");
    // Its meaning is the client's business.
    std::fs::write(&file, [0x30, 0x03, 0x0a, 0x01, 0x06]).expect("it is written");
    let stapled = shop.toml().replacen(" }", &format!(", ocsp = {file:?} }}"), 1);
    let v1 = Origin::named("v1");
    let gateway = start(&v1, &format!("{stapled}, {}", bare.toml()));
    for version in [&version::TLS13, &version::TLS12] {
        assert_eq!(shake(gateway.address, "shop.example", version).ocsp, [0x30, 0x03, 0x0a, 0x01, 0x06]);
        assert!(shake(gateway.address, "bare.example", version).ocsp.is_empty());
    }
    std::fs::write(&file, [0x30, 0x03, 0x0a, 0x01, 0x05]).expect("it is written");
    gateway.signal("HUP");
    tests::eventually("the next handshake has it", || {
        shake(gateway.address, "shop.example", &version::TLS13).ocsp == [0x30, 0x03, 0x0a, 0x01, 0x05]
    });
}

/// A certificate of its own issuing that ends in so many days, in the files of `pair`.
fn ends_in(pair: &Pair, days: &str) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", "/CN=shop.example", "-addext", "subjectAltName=DNS:shop.example", "-days", days])
        .arg("-keyout")
        .arg(&pair.key)
        .arg("-out")
        .arg(&pair.cert)
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn a_certificate_that_ends_soon_is_warned_of_and_is_wrong_now_until_it_is_renewed() {
    let folder = tempfile::tempdir().expect("a folder");
    let pair = Pair { cert: folder.path().join("soon.pem"), key: folder.path().join("soon.key") };
    ends_in(&pair, "13");
    let v1 = Origin::named("v1");
    let gateway = start(&v1, &pair.toml());
    let warned = || {
        let log = gateway.stderr();
        let is_it = |line: &&str| line.contains("WARN") && line.contains("soon.pem expires in 12 days");
        log.lines().filter(is_it).count()
    };
    tests::eventually("it is said", || warned() == 1);
    let wrong_now = || {
        let told: serde_json::Value =
            serde_json::from_str(&gateway.admin("GET", "/status", "").text()).expect("JSON");
        let all = told["troubles"].as_array().cloned().unwrap_or_default();
        all.iter().any(|of| of["kind"] == "certificate_ends" && of["until"].is_null())
    };
    tests::eventually("it is wrong now", wrong_now);
    let left = gateway.metrics().sum("umbra_tls_certificate_expires_seconds", &[]);
    assert!((12 * 86_400..13 * 86_400).contains(&left), "{left}");
    ends_in(&pair, "90");
    gateway.signal("HUP");
    tests::eventually("it was renewed", || !wrong_now());
    assert_eq!(warned(), 1, "{}", gateway.stderr());
}
