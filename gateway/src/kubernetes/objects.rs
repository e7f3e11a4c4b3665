//! Members of an object, as far as it has them. Pure.

use serde_json::Value;

/// Empty where there is none of this name, or it is no text.
pub(super) fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Empty where there is none of this name, or it is no list.
pub(super) fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The object's UID, by which it differs from an earlier object of the same name; empty where it has none.
pub(super) fn uid(object: &Value) -> &str {
    object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default()
}

/// The listeners of a Gateway of the Gateway API.
pub(super) fn listeners(gateway: &Value) -> &[Value] {
    list(&gateway["spec"], "listeners")
}

/// Whether a listener of it ends TLS.
pub(super) fn speaks_tls(listener: &Value) -> bool {
    text(listener, "protocol") == "HTTPS"
}

/// The addresses that a Gateway asks for: their type, and which; empty for any of it.
pub(super) fn addresses(gateway: &Value) -> impl Iterator<Item = (&str, &str)> {
    let of = |one| {
        let kind = text(one, "type");
        (if kind.is_empty() { "IPAddress" } else { kind }, text(one, "value"))
    };
    list(&gateway["spec"], "addresses").iter().map(of)
}
