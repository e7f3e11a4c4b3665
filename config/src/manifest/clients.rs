//! A Gateway's validation of its clients' certificates (Gateway API) → the certificates that its listeners require.

use super::Resource;
use super::gateway_api::{ClientValidation, Gateway, Listener, ReferenceGrant, SecretRef};
use super::grants::{self, From};
use super::secrets::{Holder, OTHERWISE, Secrets};
use crate::problem::Report;
use crate::reader::{At, Key};

/// The mode that lets clients in without a certificate, or with a bad one.
const FALLBACK: &str = "AllowInsecureFallback";

/// The validation that holds for a listener: its port's own, else the default.
fn validation<'g>(gateway: &'g Gateway, listener: &Listener) -> Option<&'g At<ClientValidation>> {
    let frontend = &gateway.tls.given()?.value.frontend.given()?.value;
    let port = |key: &Key<u64>| key.given().map(|port| port.value);
    let all = frontend.per_port.given().map(|list| list.value.as_slice()).unwrap_or_default();
    let own = all.iter().filter_map(Key::given).find(|one| port(&one.value.port) == port(&listener.port));
    let of = own.map_or(&frontend.default, |own| &own.value.tls);
    of.given()?.value.validation.given()
}

/// Whether clients of a listener must show certificates.
pub(super) fn are_asked(gateway: &Gateway, listener: &Listener) -> bool {
    let mode = |one: &At<ClientValidation>| one.value.mode.given().map(|mode| mode.value.clone());
    validation(gateway, listener).is_some_and(|one| mode(one).as_deref() != Some(FALLBACK))
}

/// Names the authority of a listener's clients, where its Gateway wants them to show certificates. `None` after saying why it cannot.
pub(super) fn ask(
    (gateway, listener): (&Resource<Gateway>, &Listener),
    grants: &[Resource<ReferenceGrant>],
    secrets: &mut Secrets,
    of_clients: &mut Option<String>,
    report: &mut Report,
) -> Option<()> {
    let Some(validation) = validation(&gateway.spec, listener) else { return Some(()) };
    match validation.value.mode.given().map(|mode| (mode.value.as_str(), &mode.at)) {
        None | Some(("AllowValidOnly", _)) => {}
        Some((FALLBACK, at)) => {
            report
                .warn(at, "lets in clients without a certificate and with a bad one: none is asked for one");
            return Some(());
        }
        Some((other, at)) => {
            report.error(at, format!("{other:?} is not known; must be AllowValidOnly or {FALLBACK}"));
            return None;
        }
    }
    let refs = validation.value.ca_certificate_refs.given().map(|list| list.value.as_slice());
    let refs: Vec<&At<SecretRef>> = refs.unwrap_or_default().iter().filter_map(Key::given).collect();
    let mut found = Vec::new();
    for one in &refs {
        match authority(one, gateway, grants, secrets) {
            Ok(ca) if !found.contains(&ca) => found.push(ca),
            Ok(_) => {}
            Err(why) => {
                let name = one.value.name.given().map_or("", |name| &name.value);
                let cure = format!(
                    ": write --secret {name}=CA with its file, or --plaintext-listeners where TLS ends before the gateway"
                );
                report.missing(&one.at, &why, &cure, OTHERWISE);
                return None;
            }
        }
    }
    let ca = if found.is_empty() { None } else { secrets.together(&found) };
    if ca.is_none() {
        let why = if found.is_empty() {
            "says not who issues the clients' certificates"
        } else {
            "several files are not read together: put all certificates into one of them"
        };
        report.error(&validation.at.child("caCertificateRefs"), why);
        return None;
    }
    *of_clients = ca;
    Some(())
}

/// The authority that a reference names.
fn authority(
    one: &At<SecretRef>,
    gateway: &Resource<Gateway>,
    grants: &[Resource<ReferenceGrant>],
    secrets: &mut Secrets,
) -> Result<String, String> {
    let text = |key: &Key<String>, default: &str| {
        key.given().map_or_else(|| default.to_owned(), |given| given.value.clone())
    };
    let (group, kind) = (text(&one.value.group, ""), text(&one.value.kind, ""));
    let holder = match kind.as_str() {
        "ConfigMap" if matches!(group.as_str(), "" | "core") => Holder::ConfigMap,
        "Secret" if matches!(group.as_str(), "" | "core") => Holder::Secret,
        _ => return Err(format!("{kind:?} holds no certificates here; must be ConfigMap or Secret")),
    };
    let (namespace, name) = (text(&one.value.namespace, &gateway.namespace), text(&one.value.name, ""));
    let who = From { kind: "Gateway", namespace: &gateway.namespace };
    if !grants::permit(grants, who, (&kind, &namespace, &name)) {
        let own = &gateway.namespace;
        return Err(format!(
            "no ReferenceGrant of namespace {namespace} lets Gateways of {own} refer to {kind} {name}"
        ));
    }
    let ca = secrets.ca(holder, &namespace, &name);
    ca.ok_or_else(|| format!("no {} {namespace}/{name} with ca.crt is known", holder.name()))
}
