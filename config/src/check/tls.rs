//! Rules of TLS: which keys go together. The content of files is checked where they are read.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Check, word};
use crate::file;
use crate::problem::Place;
use crate::reader::{At, Key};
use crate::syntax;
use crate::tls::{
    Certificate, ClientAuth, ClientAuthWord, ClientCa, ListenerTls, PeerName, Pem, ServedName, TlsVersion,
    Trust, UpstreamTls,
};

const EXAMPLE: &str = r#"[{ cert = "shop.pem", key = "shop.key" }]"#;

impl Check<'_> {
    pub(super) fn listener_tls(&mut self, table: &At<file::ListenerTls>) -> Option<ListenerTls> {
        let written = &table.value;
        let list = self.required(&written.certificates, &table.at, "certificates", EXAMPLE)?;
        if list.value.is_empty() {
            self.report.error(&list.at, format!("a listener needs a certificate, as in {EXAMPLE}"));
        }
        let entries = list.value.iter().filter_map(Key::given);
        let certificates = entries.filter_map(|entry| self.certificate(entry)).collect();
        let client_auth = self.client_auth(written, &table.at);
        Some(ListenerTls {
            certificates,
            client_auth,
            min_version: word(&written.min_version, TlsVersion::Tls12),
            strict_sni_host: word(&written.strict_sni_host, false),
        })
    }

    fn certificate(&mut self, entry: &At<file::Certificate>) -> Option<Certificate> {
        let written = &entry.value;
        let cert = self.required(&written.cert, &entry.at, "cert", r#""shop.pem""#);
        let cert = cert.and_then(|cert| self.pem_at(cert));
        let key = self.required(&written.key, &entry.at, "key", r#""shop.key""#);
        let key = key.and_then(|key| self.pem_at(key));
        let ocsp = written.ocsp.given().and_then(|ocsp| self.file_at(ocsp));
        if let Some(names) = written.names.given()
            && names.value.is_empty()
        {
            let message = "no name is given; leave the key out to use the names of the certificate";
            self.report.error(&names.at, message);
        }
        let names = self.each(&written.names, served_name);
        Some(Certificate { cert: cert?, key: key?, ocsp, names })
    }

    fn client_auth(&mut self, written: &file::ListenerTls, table: &Place) -> ClientAuth {
        let ca = written.client_ca.given().and_then(|ca| self.pem_at(ca));
        let crls: Vec<PathBuf> =
            self.each(&written.client_crls, |text| syntax::nonempty(text).map(PathBuf::from));
        let auth = word(&written.client_auth, ClientAuthWord::Off);
        match (auth, ca) {
            (ClientAuthWord::Off, None) => {
                if let Some(given) = written.client_crls.given() {
                    self.report.error(
                        &given.at,
                        "needs client_ca and client_auth: nobody's certificate is looked at",
                    );
                }
                ClientAuth::Off
            }
            (ClientAuthWord::Off, Some(_)) => {
                let message = r#"has no effect without client_auth = "required" or "optional""#;
                self.report.error(&super::own_place(&written.client_ca, table, "client_ca"), message);
                ClientAuth::Off
            }
            (ClientAuthWord::Optional | ClientAuthWord::Required, None) => {
                if written.client_ca.is_absent() {
                    let message =
                        r#"is missing; write client_ca = "ca.pem": who issues the clients' certificates"#;
                    self.report.error(&table.child("client_ca"), message);
                }
                ClientAuth::Off
            }
            (ClientAuthWord::Optional, Some(ca)) => ClientAuth::Optional(ClientCa { ca, crls }),
            (ClientAuthWord::Required, Some(ca)) => ClientAuth::Required(ClientCa { ca, crls }),
        }
    }

    pub(super) fn upstream_tls(&mut self, table: &At<file::UpstreamTls>) -> UpstreamTls {
        let written = &table.value;
        let server_name = written.server_name.given().and_then(|name| self.syntax(name, syntax::server_name));
        let names = self.each(&written.names, peer_name);
        let crls = self.each(&written.crls, |text| syntax::nonempty(text).map(PathBuf::from));
        let trust = self.trust(written);
        if trust == Trust::Anything {
            for given in [&written.names, &written.crls].into_iter().filter_map(Key::given) {
                let message = "has no effect with danger_accept_any_certificate: no certificate is looked at";
                self.report.error(&given.at, message);
            }
        }
        UpstreamTls {
            trust,
            server_name,
            names,
            crls,
            identity: self.own_certificate(written, &table.at),
            min_version: word(&written.min_version, TlsVersion::Tls12),
        }
    }

    fn trust(&mut self, written: &file::UpstreamTls) -> Trust {
        let ca = written.ca.given().and_then(|ca| self.pem_at(ca));
        let any = written.danger_accept_any_certificate.given().filter(|given| given.value);
        match (any, ca) {
            (None, None) => Trust::System,
            (None, Some(ca)) => Trust::Ca(ca),
            (Some(any), None) => {
                let message = "accepts any certificate: whoever stands between this gateway and the upstream \
                               can read and change everything";
                self.report.warn(&any.at, message);
                Trust::Anything
            }
            (Some(any), Some(_)) => {
                let message = "contradicts ca: either certificates are checked, or any is accepted";
                self.report.error(&any.at, message);
                Trust::Anything
            }
        }
    }

    fn own_certificate(&mut self, written: &file::UpstreamTls, table: &Place) -> Option<Certificate> {
        let cert = written.cert.given().and_then(|cert| self.pem_at(cert));
        let key = written.key.given().and_then(|key| self.pem_at(key));
        if written.cert.given().is_some() && written.key.is_absent() {
            let message = r#"is missing; write key = "us.key": the key of the certificate in cert"#;
            self.report.error(&table.child("key"), message);
        }
        if written.key.given().is_some() && written.cert.is_absent() {
            let message = r#"is missing; write cert = "us.pem": the certificate that key belongs to"#;
            self.report.error(&table.child("cert"), message);
        }
        Some(Certificate { cert: cert?, key: key?, ocsp: None, names: Vec::new() })
    }

    /// A file, unless the name is of a material that came with the configuration.
    fn pem_at(&mut self, written: &At<String>) -> Option<Pem> {
        match self.materials.get(&written.value) {
            Some(material) => Some(Pem::Given(Arc::clone(material))),
            None => self.file_at(written).map(Pem::File),
        }
    }

    pub(super) fn file_at(&mut self, written: &At<String>) -> Option<PathBuf> {
        self.syntax(written, |text| syntax::nonempty(text).map(PathBuf::from))
    }
}

/// A name that a certificate is shown for: a name, an address, `*.` and a name, `*-` and the rest of one, or `*`.
pub(super) fn served_name(text: &str) -> Result<ServedName, String> {
    if text == "*" {
        return Ok(ServedName::Any);
    }
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('.').unwrap_or(&lower);
    if let Some(end) = lower.strip_prefix("*.")
        && syntax::name(end).is_ok()
    {
        return Ok(ServedName::Suffix(format!(".{end}")));
    }
    if let Some(end) = lower.strip_prefix('*').filter(|end| end.starts_with('-') && end.len() > 1)
        && syntax::name(&format!("x{end}")).is_ok()
    {
        return Ok(ServedName::Suffix(end.to_owned()));
    }
    if lower.parse::<IpAddr>().is_ok() || syntax::name(lower).is_ok() {
        return Ok(ServedName::Exact(lower.to_owned()));
    }
    Err(format!(r#"{text:?} is no name; write one such as "shop.example", "*.shop.example", or "*" for all"#))
}

/// A name that a server's certificate may have: a host name, an address, or a URI.
pub(super) fn peer_name(text: &str) -> Result<PeerName, String> {
    if let Some((scheme, rest)) = text.split_once("://") {
        let is_plain = text.bytes().all(|b| b.is_ascii_graphic());
        return if is_plain && !scheme.is_empty() && !rest.is_empty() {
            Ok(PeerName::Uri(text.to_owned()))
        } else {
            Err(format!(r#"{text:?} is no URI; write one such as "spiffe://cluster.local/ns/shop/sa/v1""#))
        };
    }
    syntax::server_name(text).map(PeerName::Host)
}
