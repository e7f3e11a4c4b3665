//! `GET /openapi.json`: the admin listener described for machines (OpenAPI 3.1).
//!
//! The description is written by hand. Tests compare it with the router, and from outside with the answers.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

const DESCRIPTION: &str = include_str!("openapi.json");

/// `GET /openapi.json`
pub(super) async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], DESCRIPTION).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::Value;

    use super::super::tests::{ask, started};
    use super::*;

    /// Path → its methods, as described.
    fn described() -> BTreeMap<String, BTreeSet<String>> {
        let all: Value = serde_json::from_str(DESCRIPTION).unwrap();
        let methods = |item: &Value| {
            let names = item.as_object().unwrap().keys();
            names.filter(|name| *name != "parameters").map(|name| name.to_uppercase()).collect()
        };
        all["paths"].as_object().unwrap().iter().map(|(path, item)| (path.clone(), methods(item))).collect()
    }

    #[test]
    fn every_page_is_described_and_no_other() {
        let sources = [include_str!("mod.rs"), include_str!("dashboard.rs")];
        let served: BTreeSet<String> = sources
            .iter()
            .flat_map(|text| text.split(".route(\"").skip(1))
            .filter_map(|rest| Some(rest.split_once('"')?.0.replace("{*", "{")))
            .collect();
        assert!(served.len() > 10, "the routes are written otherwise: {served:?}");
        assert_eq!(served, described().into_keys().collect());
    }

    #[tokio::test]
    async fn every_page_takes_the_methods_that_are_described_and_no_other() {
        let (address, _health) = started().await;
        for (path, methods) in described() {
            let path = path.replace("{name}", "x").replace("{id}", "1");
            let (status, answer) = ask(address, "BREW", &path).await;
            assert_eq!(status, 405, "{path}");
            let lower = answer.to_ascii_lowercase();
            assert!(lower.contains("content-type: application/json\r\n"), "{answer}");
            let allow = lower.split("\r\nallow: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let allow = allow.unwrap_or_else(|| panic!("{path} has no Allow: {answer}"));
            let allowed: BTreeSet<String> =
                allow.to_uppercase().split(',').map(|m| m.trim().to_owned()).collect();
            let mut wanted = methods;
            // As every page that is got (RFC 9110, 9.3.2).
            if wanted.contains("GET") {
                wanted.insert("HEAD".to_owned());
            }
            assert_eq!(allowed, wanted, "{path}");
        }
    }
}
