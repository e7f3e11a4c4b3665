//! TLS of a DestinationRule with its service → `tls` of an upstream.

use super::called::Called;
use super::istio::Tls;
use super::machine::refuses_files;
use super::protocol::Protocol;
use super::secrets::{Pair, Secrets};
use crate::file;
use crate::problem::{Place, Report};
use crate::reader::{At, Key, List};

/// `tls` of an upstream. A destination that declares HTTPS is called over TLS where no policy says otherwise.
pub(super) fn tls(
    written: Option<&At<&Tls>>,
    of: Called<'_>,
    secrets: &mut Secrets,
    report: &mut Report,
) -> Key<file::UpstreamTls> {
    if of.plaintext {
        return Key::Absent;
    }
    // As Istio has it: a policy without a mode is none.
    let given = written.and_then(|written| Some((written, written.value.mode.given()?)));
    let Some((written, mode)) = given else {
        if !of.protocol.is_some_and(Protocol::is_secured) {
            return Key::Absent;
        }
        let nowhere = Place::default();
        let server_name = Key::at(of.service.to_owned(), &nowhere);
        return Key::at(file::UpstreamTls { server_name, ..file::UpstreamTls::default() }, &nowhere);
    };
    let tls = written.value;
    let files = [&tls.client_certificate, &tls.private_key, &tls.ca_certificates, &tls.ca_crl];
    if mode.value != "DISABLE" && refuses_files(files, report) {
        return Key::Refused;
    }
    let Ok(credential) = credential(tls, of, secrets, report) else { return Key::Refused };
    match mode.value.as_str() {
        "DISABLE" => return Key::Absent,
        "SIMPLE" => {
            for own in [&tls.client_certificate, &tls.private_key] {
                if let Some(own) = own.given() {
                    report.error(&own.at, "is only used with mode MUTUAL");
                }
            }
        }
        "MUTUAL" if credential.is_none() => {
            let both = [("clientCertificate", &tls.client_certificate), ("privateKey", &tls.private_key)];
            for (name, own) in both {
                if own.is_absent() {
                    report.error(&written.at.child(name), "is missing: mode MUTUAL shows a certificate");
                }
            }
        }
        "MUTUAL" => {}
        "ISTIO_MUTUAL" => {
            let message = "is not offered: a mesh's certificates are its own; write MUTUAL with files or credentialName, or \
                           say --plaintext-upstreams where a mesh around the gateway does it";
            report.error(&mode.at, message);
            return Key::Refused;
        }
        other => {
            report.error(&mode.at, format!("{other:?} is not offered; must be DISABLE, SIMPLE or MUTUAL"));
            return Key::Refused;
        }
    }
    let any = tls.insecure_skip_verify.given().filter(|given| given.value);
    let Credential { pair, ca } = credential.unwrap_or_default();
    let at = tls.credential_name.given().map_or(&written.at, |name| &name.at);
    let text = |text: Option<String>| text.map(|text| Key::at(text, at));
    let (cert, key) = pair.filter(|_| mode.value == "MUTUAL").map(|pair| (pair.cert, pair.key)).unzip();
    let crls = tls.ca_crl.given().map(|crl| Key::at(vec![Key::Given(crl.clone())], &crl.at));
    let upstream = file::UpstreamTls {
        // With every certificate accepted no authority is asked.
        ca: if any.is_some() { Key::Absent } else { text(ca).unwrap_or_else(|| tls.ca_certificates.clone()) },
        crls: crls.filter(|_| any.is_none()).unwrap_or(Key::Absent),
        server_name: tls.sni.given().map_or_else(
            || first_host(tls).unwrap_or_else(|| Key::at(of.service.to_owned(), &written.at)),
            |sni| Key::Given(sni.clone()),
        ),
        names: if any.is_some() { Key::Absent } else { names(tls) },
        cert: text(cert).unwrap_or_else(|| tls.client_certificate.clone()),
        key: text(key).unwrap_or_else(|| tls.private_key.clone()),
        danger_accept_any_certificate: any.map_or(Key::Absent, |any| Key::at(true, &any.at)),
        min_version: Key::Absent,
    };
    Key::at(upstream, &written.at)
}

const ELSEWHERE: &str = "--plaintext-upstreams where TLS begins behind the gateway";

/// The object that `credentialName` names, read.
#[derive(Default)]
struct Credential {
    pair: Option<Pair>,
    ca: Option<String>,
}

/// `None` where nothing is named.
fn credential(
    tls: &Tls,
    of: Called<'_>,
    secrets: &mut Secrets,
    report: &mut Report,
) -> Result<Option<Credential>, ()> {
    let Some(name) = tls.credential_name.given().filter(|name| !name.value.is_empty()) else {
        return Ok(None);
    };
    let (namespace, plain) = match name.value.trim_start_matches("kubernetes://").split_once('/') {
        Some((namespace, plain)) => (namespace.to_owned(), plain),
        None => (secrets.namespace_of(&name.value, of.namespace), name.value.as_str()),
    };
    let is_mutual = tls.mode.given().is_some_and(|mode| mode.value == "MUTUAL");
    let ca = secrets.client_ca(&namespace, plain);
    if !is_mutual {
        if ca.is_none() && tls.mode.given().is_some_and(|mode| mode.value == "SIMPLE") {
            let what = format!("no Secret {namespace}/{plain} with ca.crt is known");
            let cure = format!(": write --secret {plain}=CA with its file, or {ELSEWHERE}");
            report.error(&name.at, format!("{what}{cure}"));
            return Err(());
        }
        return Ok(Some(Credential { pair: None, ca }));
    }
    match secrets.pair(&namespace, plain) {
        Ok(pair) => Ok(Some(Credential { pair: Some(pair), ca })),
        Err(why) => {
            let cure = format!(": write --secret {plain}=CERT,KEY with its files, or {ELSEWHERE}");
            report.error(&name.at, format!("{why}{cure}"));
            Err(())
        }
    }
}

/// Without another name, the first of these is asked for.
fn first_host(tls: &Tls) -> Option<Key<String>> {
    let names = tls.subject_alt_names.given()?;
    let host = names.value.iter().filter_map(Key::given).find(|name| !name.value.contains("://"))?;
    Some(Key::Given(host.clone()))
}

/// The names that a certificate may have, where that is not the one that is asked for.
fn names(tls: &Tls) -> Key<List<String>> {
    let Some(names) = tls.subject_alt_names.given().filter(|names| !names.value.is_empty()) else {
        return Key::Absent;
    };
    let given: Vec<&At<String>> = names.value.iter().filter_map(Key::given).collect();
    let same = |one: &At<String>| {
        !one.value.contains("://")
            && tls.sni.given().is_none_or(|sni| sni.value.eq_ignore_ascii_case(&one.value))
    };
    match given.as_slice() {
        [one] if same(one) => Key::Absent,
        _ => Key::Given(names.clone()),
    }
}
