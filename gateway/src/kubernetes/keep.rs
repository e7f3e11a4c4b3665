//! The parts of an object that are kept: fields that nothing here reads are removed, which may be most of it. Pure.
//!
//! A Secret is examined when it comes, and kept with its certificates, keys and identity only. Its content goes into no
//! message.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use config::{Certificate, Material, Pem};
use serde_json::{Value, json};

use super::kinds::Kind;
use crate::tls::{load, pem};

/// The annotation that names a ConfigMap with more settings for an object's mirrors.
pub(super) const MIRROR_POLICY: &str = "umbra.dev/mirror-policy";

/// Annotations of the Gateway API's definitions: the installed version, and the channel, `standard` or `experimental`.
pub(super) const BUNDLE_VERSION: &str = "gateway.networking.k8s.io/bundle-version";
pub(super) const CHANNEL: &str = "gateway.networking.k8s.io/channel";

/// The annotation of a Service that we have made: its Gateway's namespace and name.
pub(super) const GATEWAY: &str = "umbra.dev/gateway";

/// The object without the fields that nothing here reads: they may be most of it.
pub(super) fn stripped(kind: Kind, mut item: Value) -> Value {
    if kind == Kind::Secret {
        return of_secret(item);
    }
    if let Some(metadata) = item.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        // One annotation is read here.
        if let Some(all) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            // Of a Service that we have made all of them are as we have made them, or not.
            let is_front = kind == Kind::Service && all.contains_key(GATEWAY);
            let is_version = |name: &str| {
                kind == Kind::CustomResourceDefinition && matches!(name, BUNDLE_VERSION | CHANNEL)
            };
            all.retain(|name, _| is_front || name == MIRROR_POLICY || is_version(name));
            if all.is_empty() {
                metadata.remove("annotations");
            }
        }
        if kind == Kind::Pod {
            metadata.retain(|name, _| matches!(name.as_str(), "name" | "namespace" | "uid" | "labels"));
        }
        if kind == Kind::CustomResourceDefinition {
            metadata.retain(|name, _| matches!(name.as_str(), "name" | "annotations"));
        }
    }
    item
}

/// The kept parts of a Secret: the data that may be served, or the reason why it may not be.
fn of_secret(mut item: Value) -> Value {
    let fault = examined(&item).err();
    let mut data = serde_json::Map::new();
    if let Some(all) = item.get_mut("data").and_then(Value::as_object_mut) {
        let used = ["tls.crt", "tls.key", "ca.crt", "cert", "key", "cacert"];
        data.extend(used.iter().filter_map(|name| Some(((*name).to_owned(), all.remove(*name)?))));
    }
    let metadata = item.get_mut("metadata").map(Value::take).unwrap_or_default();
    let metadata: serde_json::Map<String, Value> = ["name", "namespace", "uid", "creationTimestamp"]
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), metadata.get(*name)?.clone())))
        .collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data, "fault": fault})
}

/// Whether it is a certificate with its key.
fn examined(secret: &Value) -> Result<(), String> {
    let given = |keys: [&str; 2]| {
        let (key, text) = keys.iter().find_map(|key| Some((*key, secret["data"].get(*key)?.as_str()?)))?;
        let bytes = STANDARD.decode(text).ok()?;
        Some(Pem::Given(Arc::new(Material { name: PathBuf::from(key), bytes })))
    };
    let (Some(cert), Some(key)) = (given(["tls.crt", "cert"]), given(["tls.key", "key"])) else {
        return Err("it has no tls.crt and tls.key".to_owned());
    };
    let written = Certificate { cert, key, ocsp: None, names: Vec::new() };
    let read = pem::identity(&written, "", &load::provider());
    read.map(|_| ()).map_err(|wrong| format!("its {} {}", wrong.file.display(), wrong.message))
}
