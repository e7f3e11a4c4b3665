//! The Secrets that are read of a cluster, and whether one holds a certificate. Only Secrets that an object of ours names, and
//! may name, are read.
//!
//! A Secret's content goes into no message.

use std::collections::BTreeSet;

use serde_json::Value;

use super::authorities;
use super::clients;
use super::grants::granted;
use super::kinds::Kind;
use super::objects::{list, listeners, speaks_tls, text};
use super::ours;
use super::store::{Key, Store};
use super::{Cluster, Rules};

/// The fault of a listener's reference to a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    Invalid(String),
    NotPermitted(String),
}

impl Fault {
    /// As the Gateway API says it.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "InvalidCertificateRef",
            Self::NotPermitted(_) => "RefNotPermitted",
        }
    }

    pub(super) fn message(&self) -> &str {
        match self {
            Self::Invalid(why) | Self::NotPermitted(why) => why,
        }
    }
}

/// A Secret of this scope, `NAMESPACE/NAME`, is one; any other scope is a namespace.
pub(super) fn scope((namespace, name): &Key) -> String {
    format!("{namespace}/{name}")
}

/// The good references of a listener to certificates, and the first fault of its TLS.
pub(super) fn references(store: &Store, gateway: &Key, listener: &Value) -> (Vec<Value>, Option<Fault>) {
    if !speaks_tls(listener) {
        return (Vec::new(), None);
    }
    let refs = listener.get("tls").map(|tls| list(tls, "certificateRefs")).unwrap_or_default();
    let mut good = Vec::new();
    let mut first = refs.is_empty().then(|| Fault::Invalid("certificateRefs names no Secret".to_owned()));
    for one in refs {
        let checked =
            named(store, &gateway.0, one).and_then(|key| match store.get(Kind::Secret, &key.0, &key.1) {
                None => Err(Fault::Invalid(format!("there is no Secret {}", scope(&key)))),
                Some(secret) => match secret.get("fault").and_then(Value::as_str) {
                    Some(why) => Err(Fault::Invalid(format!("Secret {}: {why}", scope(&key)))),
                    None => Ok(()),
                },
            });
        match checked {
            Ok(()) => good.push(one.clone()),
            Err(fault) => first = first.or(Some(fault)),
        }
    }
    (good, first)
}

/// The Secret that a Gateway in this namespace refers to.
fn named(store: &Store, gateway: &str, one: &Value) -> Result<Key, Fault> {
    let kind = one.get("kind").and_then(Value::as_str).unwrap_or("Secret");
    let name = text(one, "name");
    if !matches!(text(one, "group"), "" | "core") || kind != "Secret" || name.is_empty() {
        return Err(Fault::Invalid(format!(
            "{kind} {name:?} is no kind that holds certificates here: Secret is"
        )));
    }
    let namespace = one.get("namespace").and_then(Value::as_str).unwrap_or(gateway);
    if namespace != gateway && !granted(store, (Kind::ApiGateway, gateway), (Kind::Secret, namespace, name)) {
        let message =
            format!("no ReferenceGrant of namespace {namespace} lets Gateways of {gateway} refer to {name}");
        return Err(Fault::NotPermitted(message));
    }
    Ok((namespace.to_owned(), name.to_owned()))
}

/// Secrets that ours refer to. Istio's Gateways and DestinationRules name those of our own namespace.
pub(super) fn wanted(store: &Store, rules: &Rules, home: &str) -> BTreeSet<Key> {
    let mut all = BTreeSet::new();
    let classes = ours::classes(store, rules);
    for gateway in ours::api_gateways(store, rules, &classes) {
        let Some(object) = store.get(Kind::ApiGateway, &gateway.0, &gateway.1) else { continue };
        for listener in listeners(object).iter().filter(|listener| speaks_tls(listener)) {
            let refs = listener.get("tls").map(|tls| list(tls, "certificateRefs")).unwrap_or_default();
            all.extend(refs.iter().filter_map(|one| named(store, &gateway.0, one).ok()));
        }
    }
    let believed = authorities::wanted(store).into_iter().chain(clients::wanted(store, rules));
    all.extend(believed.filter(|(kind, _)| *kind == Kind::Secret).map(|(_, key)| key));
    let own = |name: &str| (home.to_owned(), name.to_owned());
    let gateways = store.all(Kind::IstioGateway).filter(|(_, gateway)| ours::selects(gateway, rules));
    for (_, object) in gateways.chain(store.all(Kind::DestinationRule)) {
        let mut names = BTreeSet::new();
        credentials(&object["spec"], &mut names);
        // Istio keeps the authority for clients' certificates in a Secret beside it.
        all.extend(names.iter().flat_map(|name| [own(name), own(&format!("{name}-cacert"))]));
    }
    all
}

/// Names that stand at `credentialName`, however deep.
fn credentials(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match (key.as_str(), value.as_str()) {
                    ("credentialName", Some(name)) if is_plain(name) => {
                        names.insert(name.to_owned());
                    }
                    _ if key == "credentialNames" => {
                        let plain = value.as_array().into_iter().flatten().filter_map(Value::as_str);
                        names.extend(plain.filter(|name| is_plain(name)).map(str::to_owned));
                    }
                    _ => credentials(value, names),
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|one| credentials(one, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains('/')
}

/// The same object, where every `credentialName` is one of our own namespace: Secrets of other namespaces are not ours to use.
pub(super) fn at_home(value: &mut Value, home: &str) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match (key.as_str(), value.as_str()) {
                    ("credentialName", Some(name)) if !name.is_empty() => {
                        *value = format!("{home}/{name}").into();
                    }
                    _ if key == "credentialNames" => {
                        for one in value.as_array_mut().into_iter().flatten() {
                            if let Some(name) = one.as_str() {
                                *one = format!("{home}/{name}").into();
                            }
                        }
                    }
                    _ => at_home(value, home),
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|one| at_home(one, home)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

impl Cluster {
    /// Scopes of the Secrets that are to be read, and of the ConfigMaps with authorities.
    pub(super) fn secrets_wanted(&self) -> Vec<(Kind, String)> {
        let state = self.lock();
        let plaintext = self.0.options.plaintext;
        if plaintext.listeners && plaintext.upstreams {
            return Vec::new();
        }
        let all = wanted(&state.store, &self.0.options.rules, &state.home);
        let authorities = authorities::wanted(&state.store).into_iter();
        let authorities = authorities.chain(clients::wanted(&state.store, &self.0.options.rules));
        let maps = authorities.filter(|(kind, _)| *kind == Kind::ConfigMap).map(|(_, key)| key);
        let secrets = all.iter().map(|key| (Kind::Secret, scope(key)));
        secrets.chain(maps.map(|key| (Kind::ConfigMap, scope(&key)))).collect()
    }
}
