//! The status of a GatewayClass: whether it is accepted, the installed version of the Gateway API, the features that are
//! offered. Pure.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Condition, View, conditions};
use crate::kubernetes::keep::{BUNDLE_VERSION, CHANNEL};
use crate::kubernetes::kinds::{DEFINITIONS, Kind};
use crate::kubernetes::store::Store;

/// Versions of the Gateway API that are known here: `v1.` and one of these. Newer and older ones are served as far as they are
/// understood.
const MINORS: std::ops::RangeInclusive<u64> = 0..=6;

/// Features that are offered whatever the options, by the names of the conformance suite (the Gateway API's `pkg/features`).
const FEATURES: &[&str] = &[
    "BackendTLSPolicy",
    "BackendTLSPolicySANValidation",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "Gateway",
    "GatewayHTTPListenerIsolation",
    "GatewayRouteHostnameIntersectionPrecedence",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteBackendURLRewrite",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteSchemeRedirect",
    "ReferenceGrant",
];

/// `retry` is a field of the experimental channel alone: of an API server with the standard one it never comes here.
const EXPERIMENTAL_FEATURES: [&str; 3] =
    ["HTTPRouteRetry", "HTTPRouteRetryBackendTimeout", "HTTPRouteRetryConnectionError"];

pub(super) fn status(view: &View<'_>, class: &Value) -> Value {
    let accepted = match class.pointer("/spec/parametersRef") {
        None => ("Accepted", true, "Accepted", String::new()),
        Some(_) => ("Accepted", false, "InvalidParameters", "no parametersRef is known".to_owned()),
    };
    let features: Vec<Value> = features(view).into_iter().map(|name| json!({"name": name})).collect();
    json!({"conditions": conditions(class, &[accepted, version(view.store)]), "supportedFeatures": features})
}

/// In the order of their names, as the API wants them.
fn features(view: &View<'_>) -> BTreeSet<&'static str> {
    let mut all: BTreeSet<&str> = FEATURES.iter().copied().collect();
    if view.own_ports || view.rules.fronts.is_some() {
        all.insert("GatewayPort8080");
    }
    // Addresses are known from a Service alone. Where TLS ends before us, neither clients' certificates nor server names are
    // seen. GatewayStaticAddresses is not claimed: the cluster's load balancer decides whether it can give a wanted address.
    if view.publish.is_some() || view.rules.fronts.is_some() {
        all.insert("GatewayAddressEmpty");
    }
    if !view.plaintext {
        all.insert("GatewayFrontendClientCertificateValidation");
        all.insert("GatewayFrontendClientCertificateValidationInsecureFallback");
        all.insert("GatewayHTTPSListenerDetectMisdirectedRequests");
    }
    let routes = view.store.get(Kind::CustomResourceDefinition, "", "httproutes.gateway.networking.k8s.io");
    if routes.and_then(|routes| annotation(routes, CHANNEL)) == Some("experimental") {
        all.extend(EXPERIMENTAL_FEATURES);
    }
    all
}

/// The condition `SupportedVersion`, by the version that every definition is annotated with.
fn version(store: &Store) -> Condition {
    let known = DEFINITIONS.iter().filter_map(|name| {
        let definition = store.get(Kind::CustomResourceDefinition, "", name)?;
        Some((*name, annotation(definition, BUNDLE_VERSION)))
    });
    let known: Vec<(&str, Option<&str>)> = known.collect();
    let (first, last) = (MINORS.start(), MINORS.end());
    let supported = format!("v1.{first} to v1.{last} are supported");
    let strange: Vec<String> = known
        .iter()
        .filter_map(|(name, version)| match version {
            None => Some(format!("{name} does not say its version")),
            Some(version) if !is_supported(version) => Some(format!("{name} is of {version}")),
            Some(_) => None,
        })
        .collect();
    let no = |why: String| ("SupportedVersion", false, "UnsupportedVersion", why);
    if known.is_empty() {
        return no(format!(
            "the definitions of the Gateway API are not there, or may not be read; {supported}"
        ));
    }
    if !strange.is_empty() {
        return no(format!("{}; {supported}, others as far as they are understood", strange.join(", ")));
    }
    let installed: BTreeSet<&str> = known.iter().filter_map(|(_, version)| *version).collect();
    let installed: Vec<&str> = installed.into_iter().collect();
    let message = format!("installed is {}; {supported}", installed.join(", "));
    ("SupportedVersion", true, "SupportedVersion", message)
}

fn is_supported(version: &str) -> bool {
    let minor = version.strip_prefix("v1.").and_then(|rest| rest.split('.').next());
    minor.and_then(|minor| minor.parse().ok()).is_some_and(|minor: u64| MINORS.contains(&minor))
}

fn annotation<'v>(object: &'v Value, name: &str) -> Option<&'v str> {
    object.get("metadata")?.get("annotations")?.get(name)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_up_to_the_newest_that_is_known_are_supported() {
        for (version, supported) in [
            ("v1.0.0", true),
            ("v1.6.1", true),
            ("v1.6.0-rc.1", true),
            ("v1.7.0", false),
            ("v2.0.0", false),
            ("v0.8.1", false),
            ("v0.0.0", false),
            ("v1", false),
            ("1.6.0", false),
            ("", false),
        ] {
            assert_eq!(is_supported(version), supported, "{version}");
        }
    }

    #[test]
    fn features_are_named_once_and_in_order() {
        assert!(FEATURES.windows(2).all(|two| two[0] < two[1]));
    }
}
