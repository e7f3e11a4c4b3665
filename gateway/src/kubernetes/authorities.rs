//! The authorities that backends' certificates are verified with: BackendTLSPolicies, and the ConfigMaps and Secrets that they
//! name. Pure.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use config::{Material, Pem};
use serde_json::Value;

use super::kinds::Kind;
use super::objects::{list, text};
use super::store::{Key, Store};
use crate::tls::pem;

/// The fault of a reference to an authority: reason and message, as the Gateway API names them.
pub(super) type Fault = (&'static str, String);

/// ConfigMaps and Secrets that the policies of these namespaces refer to, and may refer to.
pub(super) fn wanted(store: &Store) -> BTreeSet<(Kind, Key)> {
    let all = store.all(Kind::BackendTlsPolicy);
    all.flat_map(|(key, policy)| references(policy).iter().filter_map(|one| named(&key.0, one).ok()))
        .collect()
}

/// The fault of each reference of a policy; `None` for a good one.
pub(super) fn faults(store: &Store, key: &Key, policy: &Value) -> Vec<Option<Fault>> {
    references(policy).iter().map(|one| checked(store, &key.0, one).err()).collect()
}

/// Whether an object holds an authority that may be believed.
pub(super) fn is_sound(kind: Kind, object: &Value) -> bool {
    examined(kind, object).is_ok()
}

fn references(policy: &Value) -> &[Value] {
    policy
        .pointer("/spec/validation")
        .map(|validation| list(validation, "caCertificateRefs"))
        .unwrap_or_default()
}

/// The object of this namespace that a reference names.
pub(super) fn named(namespace: &str, one: &Value) -> Result<(Kind, Key), Fault> {
    let (group, kind, name) = (text(one, "group"), text(one, "kind"), text(one, "name"));
    let kind = match kind {
        "ConfigMap" => Kind::ConfigMap,
        "Secret" => Kind::Secret,
        other => {
            let message =
                format!("{other} {name} is no kind that holds certificates here: ConfigMap and Secret do");
            return Err(("InvalidKind", message));
        }
    };
    // The name becomes a part of a request's path.
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if !matches!(group, "" | "core") || name.is_empty() || !name.chars().all(fits) {
        return Err(("InvalidKind", format!("{group:?} {name:?} names no ConfigMap or Secret")));
    }
    Ok((kind, (namespace.to_owned(), name.to_owned())))
}

fn checked(store: &Store, namespace: &str, one: &Value) -> Result<(), Fault> {
    let (kind, key) = named(namespace, one)?;
    held(store, kind, &key).map_err(|why| ("InvalidCACertificateRef", why))
}

/// Whether an object is there and holds an authority that may be believed.
///
/// # Errors
/// Why it does not.
pub(super) fn held(store: &Store, kind: Kind, key: &Key) -> Result<(), String> {
    let shown = format!("{} {}/{}", kind.facts().name, key.0, key.1);
    let Some(object) = store.get(kind, &key.0, &key.1) else {
        return Err(format!("{shown} is not there, or may not be read"));
    };
    examined(kind, object).map_err(|why| format!("{shown}: {why}"))
}

fn examined(kind: Kind, object: &Value) -> Result<(), String> {
    let given = object.pointer("/data/ca.crt").and_then(Value::as_str);
    let Some(given) = given else { return Err("it has no ca.crt".to_owned()) };
    let bytes = match kind {
        Kind::Secret => STANDARD.decode(given).map_err(|_| "its ca.crt is not base64".to_owned())?,
        _other => given.as_bytes().to_vec(),
    };
    let pem = Pem::Given(Arc::new(Material { name: PathBuf::from("ca.crt"), bytes }));
    let roots = pem::roots(&pem, "").map_err(|wrong| format!("its ca.crt {}", wrong.message))?;
    if roots.is_empty() { Err("its ca.crt has no certificate".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reference_is_good_if_its_object_is_there_and_holds_certificates() {
        let mut store = Store::default();
        let map =
            |name: &str, data: Value| json!({"metadata": {"name": name, "namespace": "n"}, "data": data});
        store.set(Kind::ConfigMap, None, map("empty", json!({})));
        store.set(Kind::ConfigMap, None, map("odd", json!({"ca.crt": "no certificate"})));
        let key = ("n".to_owned(), "p".to_owned());
        let of = |kind: &str, name: &str| {
            let policy = json!({"spec": {"validation": {"caCertificateRefs": [{"group": "", "kind": kind, "name": name}]}}});
            let fault = faults(&store, &key, &policy).remove(0);
            fault.map_or_else(|| "good".to_owned(), |(reason, message)| format!("{reason}: {message}"))
        };
        for (kind, name, said) in [
            ("ConfigMap", "gone", "InvalidCACertificateRef: ConfigMap n/gone is not there"),
            ("ConfigMap", "empty", "InvalidCACertificateRef: ConfigMap n/empty: it has no ca.crt"),
            ("ConfigMap", "odd", "InvalidCACertificateRef: ConfigMap n/odd: its ca.crt "),
            ("Bucket", "x", "InvalidKind: Bucket x is no kind"),
            ("ConfigMap", "a&b", "InvalidKind: "),
        ] {
            assert!(of(kind, name).starts_with(said), "{}", of(kind, name));
        }
        let policy = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"validation": {"caCertificateRefs": [
            {"group": "", "kind": "ConfigMap", "name": "ca"}, {"group": "", "kind": "Bucket", "name": "ca"}]}}});
        store.set(Kind::BackendTlsPolicy, None, policy);
        let wanted: Vec<_> = wanted(&store).into_iter().collect();
        assert_eq!(wanted, [(Kind::ConfigMap, ("n".to_owned(), "ca".to_owned()))]);
    }
}
