//! Selects the Gateways of a cluster that are ours. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Rules;
use super::kinds::Kind;
use super::store::{Key, Store};

/// Names of the GatewayClasses that are ours; `None` where these cannot be read, and the name alone says it.
pub(super) fn classes(store: &Store, rules: &Rules) -> Option<BTreeSet<String>> {
    if !store.has(Kind::GatewayClass, None) && rules.class.is_some() {
        return None;
    }
    let is_ours = |class: &Value| {
        class.pointer("/spec/controllerName").and_then(Value::as_str) == Some(rules.controller.as_str())
    };
    let named = |name: &str| rules.class.as_deref().is_none_or(|class| class == name);
    let ours = store.all(Kind::GatewayClass).filter(|((_, name), class)| is_ours(class) && named(name));
    Some(ours.map(|((_, name), _)| name.clone()).collect())
}

/// The Gateway API's Gateways that are ours.
pub(super) fn api_gateways(
    store: &Store,
    rules: &Rules,
    classes: &Option<BTreeSet<String>>,
) -> BTreeSet<Key> {
    let is_ours = |gateway: &Value| {
        let class = gateway.pointer("/spec/gatewayClassName").and_then(Value::as_str);
        class.is_some_and(|class| match classes {
            Some(classes) => classes.contains(class),
            None => rules.class.as_deref() == Some(class),
        })
    };
    store.all(Kind::ApiGateway).filter(|(_, gateway)| is_ours(gateway)).map(|(key, _)| key.clone()).collect()
}

/// Whether a Gateway of Istio's is ours.
pub(super) fn selects(gateway: &Value, rules: &Rules) -> bool {
    let selector = gateway.pointer("/spec/selector").and_then(Value::as_object);
    selector.into_iter().flatten().all(|(name, value)| {
        rules.labels.iter().any(|(own, given)| own == name && Some(given.as_str()) == value.as_str())
    })
}
