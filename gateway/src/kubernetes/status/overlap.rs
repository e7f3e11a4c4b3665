//! HTTPS listeners of one Gateway whose names overlap: a client that asked for the name of one may ask for the other's on the same
//! connection, and is answered 421 there (Gateway API, `OverlappingTLSConfig`). Pure.

use serde_json::Value;

use super::Condition;
use super::attach::meet;
use crate::kubernetes::objects::{speaks_tls, text};

/// Said of a listener only while it holds.
pub(super) const OVERLAPPING: &str = "OverlappingTLSConfig";

/// Whether a listener has a name in common with another one of its port, which is told.
pub(super) fn condition(listener: &Value, among: &[Value]) -> Option<Condition> {
    if !speaks_tls(listener) {
        return None;
    }
    let other = |other: &&Value| {
        speaks_tls(other)
            && other["name"] != listener["name"]
            && other["port"] == listener["port"]
            && have_common(text(listener, "hostname"), text(other, "hostname"))
    };
    let names: Vec<&str> = among.iter().filter(other).map(|other| text(other, "name")).collect();
    if names.is_empty() {
        return None;
    }
    let message = format!(
        "its names overlap with those of {}: a request for a name of another listener than its connection's is answered 421",
        names.join(", ")
    );
    Some((OVERLAPPING, true, "OverlappingHostnames", message))
}

/// Whether two hostnames of listeners have a name in common; without one a listener is for every name.
fn have_common(a: &str, b: &str) -> bool {
    a.is_empty() || b.is_empty() || meet(&a.to_ascii_lowercase(), &b.to_ascii_lowercase())
}
