//! What a DestinationRule says of TLS with its service → `tls` of an upstream.

use super::istio::Tls;
use crate::file;
use crate::problem::{Place, Report};
use crate::reader::{At, Key};

/// `tls` of the upstream that is the service of this name in full.
pub(super) fn tls(written: &At<&Tls>, service: &str, report: &mut Report) -> Key<file::UpstreamTls> {
    let tls = written.value;
    // As Istio has it: a policy without a mode is none.
    let Some(mode) = tls.mode.given() else { return Key::Absent };
    match mode.value.as_str() {
        "DISABLE" => return Key::Absent,
        "SIMPLE" => {
            for own in [&tls.client_certificate, &tls.private_key] {
                if let Some(own) = own.given() {
                    report.error(&own.at, "is only used with mode MUTUAL");
                }
            }
        }
        "MUTUAL" => {
            let both = [("clientCertificate", &tls.client_certificate), ("privateKey", &tls.private_key)];
            for (name, own) in both {
                if own.is_absent() {
                    report.error(&written.at.child(name), "is missing: mode MUTUAL shows a certificate");
                }
            }
        }
        "ISTIO_MUTUAL" => {
            let message = "is not offered: a mesh's certificates are its own; write MUTUAL with files, or DISABLE \
                           where a mesh around the gateway does it";
            report.error(&mode.at, message);
            return Key::Refused;
        }
        other => {
            report.error(&mode.at, format!("{other:?} is not offered; must be DISABLE, SIMPLE or MUTUAL"));
            return Key::Refused;
        }
    }
    let any = tls.insecure_skip_verify.given().filter(|given| given.value);
    let upstream = file::UpstreamTls {
        // Who believes anybody asks no authority.
        ca: if any.is_some() { Key::Absent } else { tls.ca_certificates.clone() },
        server_name: name(tls, service, &written.at, report),
        cert: tls.client_certificate.clone(),
        key: tls.private_key.clone(),
        danger_accept_any_certificate: any.map_or(Key::Absent, |any| Key::at(true, &any.at)),
        ..file::UpstreamTls::default()
    };
    Key::at(upstream, &written.at)
}

/// The one name that is asked for and looked for: what it says, or the service's.
fn name(tls: &Tls, service: &str, at: &Place, report: &mut Report) -> Key<String> {
    let alternatives = tls.subject_alt_names.given();
    let names: Vec<&At<String>> =
        alternatives.iter().flat_map(|list| &list.value).filter_map(Key::given).collect();
    match (tls.sni.given(), names.as_slice()) {
        (None, []) => Key::at(service.to_owned(), at),
        (Some(sni), []) => Key::at(sni.value.clone(), &sni.at),
        (None, [one]) => Key::at(one.value.clone(), &one.at),
        (Some(sni), [one]) if sni.value.eq_ignore_ascii_case(&one.value) => {
            Key::at(sni.value.clone(), &sni.at)
        }
        (_, [first, ..]) => {
            let message = "is not supported with another name than sni, or with several: one name is asked for and \
                           looked for in the certificate";
            report.error(&first.at, message);
            Key::Refused
        }
    }
}
