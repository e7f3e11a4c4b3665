//! BackendTLSPolicies: TLS with a Service → `tls` of its upstreams.

use std::collections::BTreeMap;

use super::Resource;
use super::gateway_api::{BackendTlsPolicy, SecretRef, SubjectAltName};
use super::protocol::{self, Port};
use super::secrets::{Holder, Secrets};
use crate::file;
use crate::problem::Report;
use crate::reader::{At, Key, List};

/// A target of a policy.
#[derive(Debug)]
pub(super) struct Target {
    /// Name of the Service's port; every port where none is named.
    pub(super) section: Option<At<String>>,
    pub(super) tls: Key<file::UpstreamTls>,
}

/// Targets of all policies, by the Services' names in full.
#[derive(Debug, Default)]
pub(super) struct Policies(BTreeMap<String, Vec<Target>>);

impl Policies {
    pub(super) fn add(&mut self, service: String, target: Target) {
        self.0.entry(service).or_default().push(target);
    }

    /// The TLS of one port of a service that has `ports`. A policy that names the port comes before one for all.
    pub(super) fn of(
        &self,
        service: &str,
        port: Option<u64>,
        ports: Option<&Vec<Port>>,
    ) -> Option<&Key<file::UpstreamTls>> {
        let all = self.0.get(service)?;
        let number = |target: &Target| protocol::number(ports?, &target.section.as_ref()?.value);
        let own = all.iter().find(|target| number(target).is_some_and(|number| port == Some(number)));
        own.or_else(|| all.iter().find(|target| target.section.is_none())).map(|target| &target.tls)
    }

    /// Whether ports of a service are told apart.
    pub(super) fn name_ports(&self, service: &str) -> bool {
        self.0.get(service).is_some_and(|all| all.iter().any(|target| target.section.is_some()))
    }
}

/// Names of the Services that a policy is for.
pub(super) fn names(policy: &Resource<BackendTlsPolicy>) -> impl Iterator<Item = &str> {
    let list = policy.spec.target_refs.given().map(|list| list.value.as_slice()).unwrap_or_default();
    list.iter().filter_map(Key::given).filter_map(|one| Some(one.value.name.given()?.value.as_str()))
}

/// The name of each Service that the policy is for, with its TLS.
pub(super) fn targets(
    policy: &Resource<BackendTlsPolicy>,
    secrets: &mut Secrets,
    report: &mut Report,
) -> Vec<(String, Target)> {
    let tls = tls(policy, secrets, report);
    let list = policy.spec.target_refs.given().map(|list| list.value.as_slice()).unwrap_or_default();
    if list.is_empty() {
        report.error(&policy.at.child("targetRefs"), "is missing: a policy is for a Service");
    }
    let mut targets = Vec::new();
    for one in list.iter().filter_map(Key::given) {
        let text = |key: &Key<String>| key.given().map(|given| given.value.clone()).unwrap_or_default();
        let (group, kind) = (text(&one.value.group), text(&one.value.kind));
        if !matches!(group.as_str(), "" | "core") || kind != "Service" {
            report.error(
                &one.at,
                format!("{kind:?} is not a kind that a policy can be for here; must be Service"),
            );
            continue;
        }
        let section = one.value.section_name.given().cloned();
        targets.push((text(&one.value.name), Target { section, tls: tls.clone() }));
    }
    targets
}

fn tls(
    policy: &Resource<BackendTlsPolicy>,
    secrets: &mut Secrets,
    report: &mut Report,
) -> Key<file::UpstreamTls> {
    let Some(validation) = policy.spec.validation.given() else {
        report.error(&policy.at.child("validation"), "is missing: it says whom to believe");
        return Key::Refused;
    };
    let (written, at) = (&validation.value, &validation.at);
    let Some(hostname) = written.hostname.given() else {
        report.error(&at.child("hostname"), "is missing: the name that the certificate must have");
        return Key::Refused;
    };
    let refs = written.ca_certificate_refs.given().map(|list| list.value.as_slice()).unwrap_or_default();
    let refs: Vec<_> = refs.iter().filter_map(Key::given).collect();
    let ca = match (refs.as_slice(), written.well_known_c_a_certificates.given()) {
        ([], Some(word)) if word.value == "System" => Key::Absent,
        ([], Some(word)) => {
            report.error(&word.at, format!("{:?} is not known; must be System", word.value));
            return Key::Refused;
        }
        ([], None) => {
            report
                .error(at, "says not whom to believe: caCertificateRefs, or wellKnownCACertificates: System");
            return Key::Refused;
        }
        (several, None) => match authorities(policy, several, secrets, report) {
            Some(ca) => Key::at(ca, at),
            None => return Key::Refused,
        },
        ([first, ..], Some(_)) => {
            report.error(&first.at, "contradicts wellKnownCACertificates");
            return Key::Refused;
        }
    };
    let names = written.subject_alt_names.given().map(|list| list.value.as_slice()).unwrap_or_default();
    let names: List<String> =
        names.iter().filter_map(Key::given).filter_map(|one| name(one, report)).collect();
    let upstream = file::UpstreamTls {
        ca,
        server_name: Key::Given(hostname.clone()),
        names: if names.is_empty() { Key::Absent } else { Key::at(names, at) },
        ..file::UpstreamTls::default()
    };
    Key::at(upstream, at)
}

/// The trusted authorities: those of all references together. A document that is missing costs its own reference alone, as long
/// as another is good (Gateway API).
fn authorities(
    policy: &Resource<BackendTlsPolicy>,
    refs: &[&At<SecretRef>],
    secrets: &mut Secrets,
    report: &mut Report,
) -> Option<String> {
    let text = |key: &Key<String>| key.given().map(|given| given.value.clone()).unwrap_or_default();
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for one in refs {
        let (kind, name) = (text(&one.value.kind), text(&one.value.name));
        let holder = match kind.as_str() {
            "ConfigMap" => Holder::ConfigMap,
            "Secret" => Holder::Secret,
            kind => {
                let message = format!("{kind:?} holds no certificates here; must be ConfigMap or Secret");
                wrong.push((*one, message));
                continue;
            }
        };
        match secrets.ca(holder, &policy.namespace, &name) {
            Some(ca) if !found.contains(&ca) => found.push(ca),
            Some(_) => {}
            None => {
                let what = format!("no {} {}/{name} with ca.crt is known", holder.name(), policy.namespace);
                let cure = format!(": write --secret {name}=CA with its file");
                let cure = if report.is_by_resource() { "" } else { &cure };
                wrong.push((*one, format!("{what}{cure}")));
            }
        }
    }
    let does_without = report.is_by_resource() && !found.is_empty();
    for (one, message) in &wrong {
        if does_without {
            report.warn(&one.at, format!("{message}: it is done without"));
        } else {
            report.error(&one.at, message.clone());
        }
    }
    if !wrong.is_empty() && !does_without {
        return None;
    }
    let ca = secrets.together(&found);
    if ca.is_none()
        && let Some(first) = refs.first()
    {
        report.error(&first.at, "several files are not read together: put all certificates into one of them");
    }
    ca
}

fn name(one: &At<SubjectAltName>, report: &mut Report) -> Option<Key<String>> {
    let name = match one.value.r#type.given().map(|word| word.value.as_str()) {
        Some("Hostname") => one.value.hostname.given(),
        Some("URI") => one.value.uri.given(),
        Some(_) | None => {
            report.error(&one.at, "its type is not known; must be Hostname or URI");
            return None;
        }
    };
    if name.is_none() {
        report.error(&one.at, "does not say the name that its type names");
    }
    name.cloned().map(Key::Given)
}
