//! Mirror policies: the annotation of an object names a ConfigMap of its namespace, as `NAME` or `NAME/KEY`, with more settings
//! for its mirrors. Pure.

use std::collections::{BTreeMap, BTreeSet};

use config::manifest::Policy;
use serde_json::Value;

use super::keep::MIRROR_POLICY;
use super::kinds::Kind;
use super::select::Chosen;
use super::store::{Key, Store};

/// ConfigMaps that these name.
pub(super) fn named(chosen: &[Chosen]) -> BTreeSet<Key> {
    let name = |one: &Chosen| Some((one.key.0.clone(), parsed(one.policy.as_deref()?).ok()?.0.to_owned()));
    chosen.iter().filter_map(name).collect()
}

/// By kind, namespace and name of whose mirrors they are.
pub(super) fn of(chosen: &[Chosen], store: &Store) -> BTreeMap<(String, String, String), Policy> {
    let policy = |one: &Chosen| {
        let annotation = one.policy.as_deref()?;
        let (namespace, name) = &one.key;
        let owner = (one.kind.facts().name.to_owned(), namespace.clone(), name.clone());
        Some((owner, found(store, namespace, annotation)))
    };
    chosen.iter().filter_map(policy).collect()
}

fn found(store: &Store, namespace: &str, annotation: &str) -> Policy {
    let (map, key) = match parsed(annotation) {
        Ok(parsed) => parsed,
        Err(why) => {
            let name = format!("annotation {MIRROR_POLICY}");
            return Policy { name, text: Err(format!("{annotation:?} {why}")) };
        }
    };
    let name = format!("ConfigMap {namespace}/{map}");
    let Some(object) = store.get(Kind::ConfigMap, namespace, map) else {
        return Policy { name, text: Err("it is not there, or may not be read".to_owned()) };
    };
    let data = object.get("data").and_then(Value::as_object);
    let keys: Vec<&String> = data.into_iter().flatten().map(|(key, _)| key).collect();
    let key = match (key, keys.as_slice()) {
        (Some(key), _) => key,
        (None, [only]) => only.as_str(),
        (None, many) => {
            let why = format!("it has {} keys, and the annotation names none: write {map}/KEY", many.len());
            return Policy { name, text: Err(why) };
        }
    };
    let text = data.and_then(|data| data.get(key)?.as_str()).map(str::to_owned);
    Policy { name: format!("{name} {key}"), text: text.ok_or_else(|| "it has no such key".to_owned()) }
}

/// Name of a ConfigMap, and of a key in it.
fn parsed(annotation: &str) -> Result<(&str, Option<&str>), &'static str> {
    let (name, key) = match annotation.split_once('/') {
        Some((name, key)) => (name, Some(key)),
        None => (annotation, None),
    };
    // The name becomes a part of a request's path.
    let may_be_named = |text: &str, also: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || also.contains(c);
        !text.is_empty() && text.len() <= 253 && text.chars().all(fits)
    };
    if may_be_named(name, "-.") && key.is_none_or(|key| may_be_named(key, "-._")) {
        Ok((name, key))
    } else {
        Err("is no name of a ConfigMap, and no NAME/KEY")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_annotation_names_a_config_map_of_its_namespace_and_a_key_where_there_are_several() {
        let mut store = Store::default();
        let map =
            |name: &str, data: Value| json!({"metadata": {"name": name, "namespace": "n"}, "data": data});
        store.set(Kind::ConfigMap, None, map("one", json!({"policy.toml": "first"})));
        store.set(Kind::ConfigMap, None, map("two", json!({"a": "second", "b": "third"})));
        let said = |annotation: &str| found(&store, "n", annotation);
        let ok = |name: &str, text: &str| Policy { name: name.to_owned(), text: Ok(text.to_owned()) };
        assert_eq!(said("one"), ok("ConfigMap n/one policy.toml", "first"));
        assert_eq!(said("two/b"), ok("ConfigMap n/two b", "third"));
        for (annotation, name, why) in [
            ("two", "ConfigMap n/two", "it has 2 keys, and the annotation names none: write two/KEY"),
            ("two/c", "ConfigMap n/two c", "it has no such key"),
            ("three", "ConfigMap n/three", "it is not there, or may not be read"),
            (
                "a&b",
                "annotation umbra.dev/mirror-policy",
                "\"a&b\" is no name of a ConfigMap, and no NAME/KEY",
            ),
        ] {
            assert_eq!(said(annotation), Policy { name: name.to_owned(), text: Err(why.to_owned()) });
        }
    }
}
