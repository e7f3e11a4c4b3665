//! A client's certificate in words: `X-Forwarded-Client-Cert` in the form that Envoy gave it. Pure.

use rustls::crypto::hash::HashAlgorithm;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// Names of one certificate that are told; one with more is a certificate of a crowd.
const NAMES_MAX: usize = 16;

/// `Hash=…;Subject="…";URI=…;DNS=…` of a certificate in DER: its SHA-256, subject and names. A name that cannot be a field's
/// value is left out.
pub fn described(der: &[u8]) -> String {
    let mut text = String::from("Hash=");
    for byte in sha256(der) {
        text.push(char::from(b"0123456789abcdef"[usize::from(byte >> 4)]));
        text.push(char::from(b"0123456789abcdef"[usize::from(byte & 15)]));
    }
    // The certificate has been verified, so it can be read.
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return text };
    text.push_str(";Subject=");
    quote(&mut text, &certificate.subject().to_string());
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return text };
    for name in names.value.general_names.iter().take(NAMES_MAX) {
        match name {
            GeneralName::URI(uri) => {
                text.push_str(";URI=");
                plain_or_quoted(&mut text, uri);
            }
            GeneralName::DNSName(name) => {
                text.push_str(";DNS=");
                plain_or_quoted(&mut text, name);
            }
            // Envoy tells these two.
            _ => {}
        }
    }
    text
}

/// The names of a certificate in DER: of its subjectAltName DNS names, URIs, addresses and mail addresses, and the common names
/// of its subject. A name that is not text as it stands there is none.
pub fn names(der: &[u8]) -> Box<[Box<str>]> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Box::default() };
    let mut names: Vec<Box<str>> = Vec::new();
    if let Ok(Some(own)) = certificate.subject_alternative_name() {
        for name in own.value.general_names.iter().take(NAMES_MAX) {
            match name {
                GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
                    names.push((*name).into());
                }
                GeneralName::IPAddress(bytes) => {
                    let address = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
                    let address =
                        address.or_else(|_| <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from));
                    names.extend(address.ok().map(|address| address.to_string().into()));
                }
                // Other kinds of names are not written by people.
                _ => {}
            }
        }
    }
    let common = certificate.subject().iter_common_name().take(NAMES_MAX);
    for name in common.filter_map(|name| name.as_str().ok()) {
        if !names.iter().any(|known| **known == *name) {
            names.push(name.into());
        }
    }
    names.into()
}

fn plain_or_quoted(text: &mut String, value: &str) {
    let is_plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b',' | b';' | b'=' | b'"' | b'\\');
    if value.bytes().all(is_plain) { text.push_str(value) } else { quote(text, value) }
}

/// In quotes, with quotes and backslashes inside escaped; a byte that is no visible ASCII becomes a question mark.
fn quote(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            ' '..='~' => text.push(c),
            _ => text.push('?'),
        }
    }
    text.push('"');
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let hash = suite.tls13().map(|suite| suite.common.hash_provider);
    let hash = hash.filter(|hash| hash.algorithm() == HashAlgorithm::SHA256);
    hash.map(|hash| hash.hash(bytes).as_ref().to_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_told_as_envoy_tells_it_and_cannot_add_to_the_field() {
        let mut params = rcgen::CertificateParams::new(["shop.example".to_owned()]).unwrap();
        params.subject_alt_names.push(rcgen::SanType::URI("spiffe://a/ns;b=\"c\"".try_into().unwrap()));
        params.distinguished_name.push(rcgen::DnType::CommonName, "eve\",Hash=0;\r\nX: y");
        let key = rcgen::KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        let text = described(&der);
        let (hash, rest) = text.split_once(";Subject=").unwrap();
        assert!(hash.starts_with("Hash=") && hash.len() == 5 + 64, "{hash}");
        assert_eq!(sha256(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert!(rest.contains(r#"eve\",Hash=0;??X: y"#), "{rest}");
        assert!(rest.contains(";DNS=shop.example"), "{rest}");
        assert!(rest.contains(r#";URI="spiffe://a/ns;b=\"c\"""#), "{rest}");
        let names: Vec<String> = names(&der).iter().map(|name| name.to_string()).collect();
        assert_eq!(names, ["shop.example", "spiffe://a/ns;b=\"c\"", "eve\",Hash=0;\r\nX: y"]);
        assert!(text.bytes().all(|b| (b' '..=b'~').contains(&b)));
    }
}
