//! A Gateway's `tls.frontend`: the authorities that verify clients' certificates at each port, and the faults of the references
//! to them. Pure.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Rules;
use super::authorities::{self, Fault};
use super::grants::granted;
use super::kinds::Kind;
use super::objects::{list, listeners, speaks_tls, text};
use super::ours;
use super::store::{Key, Store};

/// The authorities of a listener's clients.
pub(super) struct Believed {
    /// References that are good.
    pub(super) good: Vec<Value>,
    /// The fault of the first bad reference.
    pub(super) fault: Option<Fault>,
}

impl Believed {
    /// Whether clients can be let in: without a good reference no certificate can be verified.
    pub(super) fn lets_in(&self) -> bool {
        !self.good.is_empty()
    }
}

/// Of a listener as it is written; `None` where clients show no certificates.
pub(super) fn believed(store: &Store, key: &Key, gateway: &Value, listener: &Value) -> Option<Believed> {
    let refs = list(validation(gateway, listener)?, "caCertificateRefs");
    let mut good = Vec::new();
    let mut fault = refs.is_empty().then(|| (INVALID, "caCertificateRefs names no authority".to_owned()));
    for one in refs {
        match checked(store, &key.0, one) {
            Ok(()) => good.push(one.clone()),
            Err(wrong) => fault = fault.or(Some(wrong)),
        }
    }
    Some(Believed { good, fault })
}

/// The entry of `perPort` for `port`: this listener's validation, with these authorities only.
pub(super) fn at_port(gateway: &Value, listener: &Value, port: &Value, good: &[Value]) -> Value {
    let mut validation = validation(gateway, listener).cloned().unwrap_or_default();
    validation["caCertificateRefs"] = good.into();
    json!({"port": port, "tls": {"validation": validation}})
}

/// Whether clients with a bad certificate, or without one, come in at a listener though it speaks of certificates.
pub(super) fn is_insecure(gateway: &Value) -> bool {
    let falls_back = |listener: &Value| {
        validation(gateway, listener).is_some_and(|given| text(given, "mode") == "AllowInsecureFallback")
    };
    listeners(gateway).iter().any(falls_back)
}

/// Objects with authorities that Gateways of ours refer to, and may.
pub(super) fn wanted(store: &Store, rules: &Rules) -> BTreeSet<(Kind, Key)> {
    let classes = ours::classes(store, rules);
    let mut all = BTreeSet::new();
    for key in ours::api_gateways(store, rules, &classes) {
        let Some(gateway) = store.get(Kind::ApiGateway, &key.0, &key.1) else { continue };
        let given = listeners(gateway).iter().filter_map(|listener| validation(gateway, listener));
        let refs = given.flat_map(|one| list(one, "caCertificateRefs"));
        all.extend(refs.filter_map(|one| named(store, &key.0, one).ok()));
    }
    all
}

const INVALID: &str = "InvalidCACertificateRef";

/// The validation that holds for a listener: its port's own, else the default.
fn validation<'g>(gateway: &'g Value, listener: &Value) -> Option<&'g Value> {
    let frontend = gateway.pointer("/spec/tls/frontend").filter(|_| speaks_tls(listener))?;
    let own = list(frontend, "perPort").iter().find(|one| one["port"] == listener["port"]);
    let of = own.map_or_else(|| frontend.get("default"), |own| own.get("tls"))?;
    of.get("validation").filter(|given| given.is_object())
}

/// The object that a Gateway in this namespace refers to.
fn named(store: &Store, gateway: &str, one: &Value) -> Result<(Kind, Key), Fault> {
    let namespace = one.get("namespace").and_then(Value::as_str).unwrap_or(gateway);
    let (kind, key) =
        authorities::named(namespace, one).map_err(|(_, why)| ("InvalidCACertificateKind", why))?;
    if namespace != gateway && !granted(store, (Kind::ApiGateway, gateway), (kind, namespace, &key.1)) {
        let (what, name) = (kind.facts().name, &key.1);
        let message = format!(
            "no ReferenceGrant of namespace {namespace} lets Gateways of {gateway} refer to {what} {name}"
        );
        return Err(("RefNotPermitted", message));
    }
    Ok((kind, key))
}

fn checked(store: &Store, gateway: &str, one: &Value) -> Result<(), Fault> {
    let (kind, key) = named(store, gateway, one)?;
    authorities::held(store, kind, &key).map_err(|why| (INVALID, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_its_own_authorities_or_the_default_ones() {
        let of =
            |name: &str| json!({"validation": {"caCertificateRefs": [{"kind": "ConfigMap", "name": name}]}});
        let frontend = json!({"default": of("default"), "perPort": [{"port": 8443, "tls": of("own")}, {"port": 9443, "tls": {}}]});
        let gateway = json!({"spec": {"tls": {"frontend": frontend}}});
        let listener = |port: u64, protocol: &str| json!({"port": port, "protocol": protocol});
        let first = |port: u64, protocol: &str| {
            let given = validation(&gateway, &listener(port, protocol));
            given.map(|one| text(&one["caCertificateRefs"][0], "name").to_owned())
        };
        assert_eq!(first(443, "HTTPS").as_deref(), Some("default"));
        assert_eq!(first(8443, "HTTPS").as_deref(), Some("own"));
        assert_eq!((first(9443, "HTTPS"), first(80, "HTTP")), (None, None));
        assert!(!is_insecure(&gateway));
    }

    #[test]
    fn what_is_wrong_with_a_reference_is_said_by_the_reasons_of_the_specification() {
        let store = Store::default();
        let key = ("n".to_owned(), "gw".to_owned());
        let said = |one: Value| {
            let validation = json!({"validation": {"caCertificateRefs": [one]}});
            let gateway = json!({"spec": {"tls": {"frontend": {"default": validation}}}});
            let listener = json!({"port": 443, "protocol": "HTTPS"});
            let believed = believed(&store, &key, &gateway, &listener).unwrap();
            (believed.lets_in(), believed.fault.map(|(reason, _)| reason))
        };
        let map =
            |namespace: &str| json!({"group": "", "kind": "ConfigMap", "name": "ca", "namespace": namespace});
        assert_eq!(said(map("n")), (false, Some("InvalidCACertificateRef")));
        assert_eq!(said(map("other")), (false, Some("RefNotPermitted")));
        let service = json!({"group": "", "kind": "Service", "name": "ca"});
        assert_eq!(said(service), (false, Some("InvalidCACertificateKind")));
    }
}
