//! The dashboard: a page and its parts, all in this binary, with the browser's content security policy.
//!
//! The bytes are constant and hold no data: the page gets its data from the other pages, like any client.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use xxhash_rust::xxh64::xxh64;

use super::asked::{self, Path};

/// Nothing from outside, nothing inline, no frame around it: a name or a value that an upstream made up stays text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The page at `/`, for browsers.
const PAGE: (&str, &str, &[u8]) = ("", "text/html; charset=utf-8", include_bytes!("dashboard/index.html"));

macro_rules! assets {
    ($($name:literal: $kind:expr),+ $(,)?) => {
        &[$(($name, $kind, include_bytes!(concat!("dashboard/", $name)))),+]
    };
}

/// (path below `/dashboard/`, media type, content).
const ASSETS: &[(&str, &str, &[u8])] = assets! {
    "app.js": JAVASCRIPT,
    "api.js": JAVASCRIPT,
    "changes.js": JAVASCRIPT,
    "charts.js": JAVASCRIPT,
    "compare.js": JAVASCRIPT,
    "controls.js": JAVASCRIPT,
    "differences.js": JAVASCRIPT,
    "dom.js": JAVASCRIPT,
    "flow.js": JAVASCRIPT,
    "folds.js": JAVASCRIPT,
    "format.js": JAVASCRIPT,
    "glossary.js": JAVASCRIPT,
    "head.js": JAVASCRIPT,
    "history.js": JAVASCRIPT,
    "machine.js": JAVASCRIPT,
    "outcomes.js": JAVASCRIPT,
    "overview.js": JAVASCRIPT,
    "routes.js": JAVASCRIPT,
    "theme.js": JAVASCRIPT,
    "verdict.js": JAVASCRIPT,
    "style.css": STYLE,
    "icon.svg": "image/svg+xml",
    "vendor/uPlot.iife.min.js": JAVASCRIPT,
    "vendor/uPlot.min.css": STYLE,
};

/// A file, as it is answered.
#[derive(Debug)]
struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static [u8],
    /// Of the content, so that a browser asks again and is told "unchanged".
    tag: HeaderValue,
}

impl Asset {
    fn of((name, kind, content): (&'static str, &'static str, &'static [u8])) -> Option<Self> {
        let tag = HeaderValue::try_from(format!("\"{:016x}\"", xxh64(content, 0))).ok()?;
        Some(Self { name, kind, content, tag })
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let known = asked.get(IF_NONE_MATCH).and_then(|known| known.to_str().ok()).unwrap_or_default();
        let is_known =
            known.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == self.tag);
        let fields = [
            (ETAG, self.tag.clone()),
            (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
            (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (VARY, HeaderValue::from_static("accept")),
        ];
        if is_known {
            return (StatusCode::NOT_MODIFIED, fields).into_response();
        }
        (fields, [(CONTENT_TYPE, HeaderValue::from_static(self.kind))], self.content).into_response()
    }
}

/// The state behind `/` and `/dashboard/`.
#[derive(Debug)]
struct Shelf {
    page: Option<Asset>,
    assets: Vec<Asset>,
    index: &'static str,
}

/// The page at `/` for browsers, `index` for all other clients, and the page's parts below `/dashboard/`.
pub(super) fn router(index: &'static str) -> Router {
    let assets = ASSETS.iter().copied().filter_map(Asset::of).collect();
    Router::new().route("/", get(root)).route("/dashboard/{*name}", get(asset)).with_state(Arc::new(Shelf {
        page: Asset::of(PAGE),
        assets,
        index,
    }))
}

async fn root(State(shelf): State<Arc<Shelf>>, headers: HeaderMap) -> Response {
    let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match &shelf.page {
        Some(page) if accepts.contains("text/html") => page.answer(&headers),
        Some(_) | None => ([(VARY, "accept")], shelf.index).into_response(),
    }
}

async fn asset(State(shelf): State<Arc<Shelf>>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    match shelf.assets.iter().find(|asset| asset.name == name) {
        Some(asset) => asset.answer(&headers),
        None => asked::unknown().await,
    }
}

/// Adds the fields that every answer of the admin listener has: its type is not guessed, and no cache keeps it unless it says so.
pub(super) async fn careful(mut response: Response) -> Response {
    let fields: [(HeaderName, &'static str); 2] =
        [(X_CONTENT_TYPE_OPTIONS, "nosniff"), (CACHE_CONTROL, "no-store")];
    for (name, value) in fields {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything the page's parts name in each other is served, and nothing is served that no part names.
    #[test]
    fn the_page_is_whole() {
        let text = |content: &'static [u8]| std::str::from_utf8(content).unwrap();
        let own = ASSETS.iter().filter(|(name, _, _)| !name.starts_with("vendor/"));
        let sources: Vec<&str> = own.map(|(_, _, content)| text(content)).chain([text(PAGE.2)]).collect();
        for (name, _, _) in ASSETS {
            let named = sources.iter().any(|source| {
                source.contains(&format!("\"/dashboard/{name}\""))
                    || source.contains(&format!("\"./{name}\""))
            });
            assert!(named, "{name} is served and used by nobody");
        }
        for source in sources {
            for import in source.split("from \"./").skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(
                    ASSETS.iter().any(|(name, _, _)| *name == import),
                    "{import} is imported, not served"
                );
            }
        }
    }

    #[test]
    fn nothing_is_inline_and_nothing_comes_from_outside() {
        let page = std::str::from_utf8(PAGE.2).unwrap();
        for banned in [" style=", "<style", " onclick=", "javascript:", "<script>", "http://", "https://"] {
            assert!(!page.contains(banned), "{banned} in the page");
        }
        for (name, _, content) in ASSETS.iter().filter(|(name, _, _)| name.ends_with(".js")) {
            let text = std::str::from_utf8(content).unwrap();
            for banned in ["innerHTML", "insertAdjacentHTML", "document.write", "eval("] {
                assert!(!text.contains(banned), "{banned} in {name}: what an upstream says must stay text");
            }
        }
    }

    #[test]
    fn a_browser_that_has_a_part_is_told_that_it_is_unchanged() {
        let asset = Asset::of(PAGE).unwrap();
        let mut asked = HeaderMap::new();
        assert_eq!(asset.answer(&asked).status(), StatusCode::OK);
        asked.insert(IF_NONE_MATCH, asset.tag.clone());
        assert_eq!(asset.answer(&asked).status(), StatusCode::NOT_MODIFIED);
        asked.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        assert_eq!(asset.answer(&asked).status(), StatusCode::NOT_MODIFIED, "RFC 9110 §13.1.2");
        asked.insert(IF_NONE_MATCH, HeaderValue::from_static("\"0\""));
        assert_eq!(asset.answer(&asked).status(), StatusCode::OK);
    }
}
