//! TLS of a Gateway with its clients → `tls` of a listener.

use super::gateway_api::{self, SecretRef};
use super::grants::{self, From};
use super::istio::{self, ServerTls};
use super::machine::refuses_files;
use super::secrets::{OTHERWISE, Pair, Secrets};
use super::{Resource, clients, gateway_api::ReferenceGrant};
use crate::file;
use crate::problem::{Place, Report};
use crate::reader::{At, Key, List};
use crate::tls::{ClientAuthWord, TlsVersion};

/// How a server of a Gateway ends TLS.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    pub(super) certificates: Vec<Pair>,
    pub(super) client_auth: ClientAuthWord,
    pub(super) client_ca: Option<String>,
    pub(super) client_crls: Option<String>,
    pub(super) min_version: TlsVersion,
    pub(super) at: Place,
}

impl Ending {
    fn new(at: &Place) -> Self {
        Self {
            certificates: Vec::new(),
            client_auth: ClientAuthWord::Off,
            client_ca: None,
            client_crls: None,
            min_version: TlsVersion::Tls12,
            at: at.clone(),
        }
    }

    /// The clients that it admits, and how.
    pub(super) fn policy(&self) -> (ClientAuthWord, Option<&str>, Option<&str>, TlsVersion) {
        (self.client_auth, self.client_ca.as_deref(), self.client_crls.as_deref(), self.min_version)
    }
}

/// A certificate of a listener, for these names.
pub(super) fn certificate(pair: &Pair, names: &[String], at: &Place) -> Key<file::Certificate> {
    let names = names.iter().map(|name| Key::at(name.clone(), at)).collect::<List<String>>();
    let certificate = file::Certificate {
        cert: Key::at(pair.cert.clone(), at),
        key: Key::at(pair.key.clone(), at),
        names: Key::at(names, at),
        ..file::Certificate::default()
    };
    Key::at(certificate, at)
}

/// Of a listener of the Gateway API. `None` after saying why it cannot be.
pub(super) fn of_listener(
    gateway: &Resource<gateway_api::Gateway>,
    listener: &At<gateway_api::Listener>,
    grants: &[Resource<ReferenceGrant>],
    secrets: &mut Secrets,
    report: &mut Report,
) -> Option<Ending> {
    let Some(tls) = listener.value.tls.given() else {
        report.error(&listener.at.child("tls"), "is missing: HTTPS needs certificateRefs");
        return None;
    };
    if let Some(mode) = tls.value.mode.given().filter(|mode| mode.value != "Terminate") {
        report.error(&mode.at, format!("{:?} is not offered; TLS ends here: Terminate", mode.value));
        return None;
    }
    let refs = tls.value.certificate_refs.given().map(|list| list.value.as_slice()).unwrap_or_default();
    if refs.is_empty() {
        report.error(&tls.at.child("certificateRefs"), "is missing: a certificate is needed");
        return None;
    }
    let mut ending = Ending::new(&tls.at);
    for one in refs.iter().filter_map(Key::given) {
        let name = one.value.name.given().map_or("", |name| &name.value);
        match referred(one, gateway, grants, secrets) {
            Ok(pair) => ending.certificates.push(pair),
            Err(why) => {
                report.missing(&one.at, &why, &cure(name), OTHERWISE);
                return None;
            }
        }
    }
    clients::ask((gateway, &listener.value), grants, secrets, &mut ending.client_ca, report)?;
    if ending.client_ca.is_some() {
        ending.client_auth = ClientAuthWord::Required;
    }
    Some(ending)
}

fn cure(name: &str) -> String {
    format!(
        ": write --secret {name}=CERT,KEY with its files, or --plaintext-listeners where TLS ends before the gateway"
    )
}

fn referred(
    one: &At<SecretRef>,
    gateway: &Resource<gateway_api::Gateway>,
    grants: &[Resource<ReferenceGrant>],
    secrets: &mut Secrets,
) -> Result<Pair, String> {
    let text = |key: &Key<String>, default: &str| {
        key.given().map_or_else(|| default.to_owned(), |given| given.value.clone())
    };
    let (group, kind) = (text(&one.value.group, ""), text(&one.value.kind, "Secret"));
    if !matches!(group.as_str(), "" | "core") || kind != "Secret" {
        return Err(format!("{kind} is not a kind that holds certificates here; must be Secret"));
    }
    let (namespace, name) = (text(&one.value.namespace, &gateway.namespace), text(&one.value.name, ""));
    if !grants::permit(
        grants,
        From { kind: "Gateway", namespace: &gateway.namespace },
        ("Secret", &namespace, &name),
    ) {
        return Err(format!(
            "no ReferenceGrant of namespace {namespace} lets Gateways of {} refer to Secret {name}",
            gateway.namespace
        ));
    }
    secrets.pair(&namespace, &name)
}

/// Of a server of Istio's. `None` after saying why it cannot be.
pub(super) fn of_server(
    gateway: &Resource<istio::Gateway>,
    server: &At<istio::Server>,
    secrets: &mut Secrets,
    report: &mut Report,
) -> Option<Ending> {
    let Some(tls) = server.value.tls.given() else {
        report.error(&server.at.child("tls"), "is missing: HTTPS needs a mode and a certificate");
        return None;
    };
    let written = &tls.value;
    let client_auth = match written.mode.given().map_or("PASSTHROUGH", |mode| mode.value.as_str()) {
        "SIMPLE" => ClientAuthWord::Off,
        "MUTUAL" => ClientAuthWord::Required,
        "OPTIONAL_MUTUAL" => ClientAuthWord::Optional,
        mode => {
            let at = written.mode.given().map_or_else(|| tls.at.child("mode"), |mode| mode.at.clone());
            let message = match mode {
                "ISTIO_MUTUAL" => {
                    "is not offered: a mesh's certificates are its own; write MUTUAL with credentialName, or say \
                     --plaintext-listeners where a mesh around the gateway ends TLS"
                        .to_owned()
                }
                mode => format!("{mode} is not offered; must be SIMPLE, MUTUAL or OPTIONAL_MUTUAL"),
            };
            report.error(&at, message);
            return None;
        }
    };
    let mut ending = Ending { client_auth, min_version: version(written, report)?, ..Ending::new(&tls.at) };
    credentials(gateway, written, &mut ending, secrets, report)?;
    if ending.certificates.is_empty() {
        let message = "says not by which certificate: credentialName, or serverCertificate and privateKey";
        report.error(&tls.at, message);
        return None;
    }
    if client_auth == ClientAuthWord::Off {
        ending.client_ca = None;
        ending.client_crls = None;
    } else if ending.client_ca.is_none() {
        let message = "says not who issues the clients' certificates: caCertificates, or ca.crt in the Secret of \
                       credentialName";
        report.error(&tls.at, message);
        return None;
    }
    Some(ending)
}

fn credentials(
    gateway: &Resource<istio::Gateway>,
    written: &ServerTls,
    ending: &mut Ending,
    secrets: &mut Secrets,
    report: &mut Report,
) -> Option<()> {
    let names = written.credential_names.given().map(|list| list.value.as_slice()).unwrap_or_default();
    for name in written.credential_name.given().into_iter().chain(names.iter().filter_map(Key::given)) {
        let (namespace, plain) = match name.value.trim_start_matches("kubernetes://").split_once('/') {
            Some((namespace, plain)) => (namespace.to_owned(), plain),
            None => (secrets.namespace_of(&name.value, &gateway.namespace), name.value.as_str()),
        };
        match secrets.pair(&namespace, plain) {
            Ok(pair) => ending.certificates.push(pair),
            Err(why) => {
                report.missing(&name.at, &why, &cure(plain), OTHERWISE);
                return None;
            }
        }
        if ending.client_ca.is_none() {
            ending.client_ca = secrets.client_ca(&namespace, plain);
        }
    }
    let own = [(&written.server_certificate, &written.private_key)];
    let more = written.tls_certificates.given().map(|list| list.value.as_slice()).unwrap_or_default();
    let more =
        more.iter().filter_map(Key::given).map(|one| (&one.value.server_certificate, &one.value.private_key));
    let pairs: Vec<_> = own.into_iter().chain(more).collect();
    let files = pairs.iter().flat_map(|(cert, key)| [*cert, *key]);
    if refuses_files(files.chain([&written.ca_certificates, &written.ca_crl]), report) {
        return None;
    }
    for (cert, key) in pairs {
        match (cert.given(), key.given()) {
            (Some(cert), Some(key)) => {
                ending.certificates.push(Pair { cert: cert.value.clone(), key: key.value.clone() });
            }
            (Some(half), None) | (None, Some(half)) => {
                report.error(&half.at, "needs its other half: serverCertificate and privateKey go together");
                return None;
            }
            (None, None) => {}
        }
    }
    if let Some(name) = written.ca_cert_credential_name.given() {
        let namespace = secrets.namespace_of(&name.value, &gateway.namespace);
        ending.client_ca = secrets.client_ca(&namespace, &name.value);
        if ending.client_ca.is_none() {
            let why = format!("no ca.crt of a Secret {namespace}/{} is known", name.value);
            report.missing(&name.at, &why, &cure(&name.value), OTHERWISE);
            return None;
        }
    }
    if let Some(skip) = written.insecure_skip_verify.given().filter(|skip| skip.value) {
        report.error(
            &skip.at,
            "is not offered: a client's certificate is believed only where it can be checked",
        );
        return None;
    }
    if let Some(ca) = written.ca_certificates.given() {
        ending.client_ca = Some(ca.value.clone());
    }
    ending.client_crls = written.ca_crl.given().map(|crl| crl.value.clone());
    Some(())
}

fn version(written: &ServerTls, report: &mut Report) -> Option<TlsVersion> {
    if let Some(max) = written.max_protocol_version.given()
        && !matches!(max.value.as_str(), "TLS_AUTO" | "TLSV1_3")
    {
        report.error(&max.at, "is not offered: TLS 1.3 is always spoken");
        return None;
    }
    let Some(min) = written.min_protocol_version.given() else { return Some(TlsVersion::Tls12) };
    match min.value.as_str() {
        "TLS_AUTO" | "TLSV1_2" => Some(TlsVersion::Tls12),
        "TLSV1_3" => Some(TlsVersion::Tls13),
        "TLSV1_0" | "TLSV1_1" => {
            report.warn(&min.at, "is not spoken any more: TLS 1.2 is the oldest");
            Some(TlsVersion::Tls12)
        }
        other => {
            report.error(&min.at, format!("{other:?} is not known; must be TLS_AUTO, TLSV1_2 or TLSV1_3"));
            None
        }
    }
}
