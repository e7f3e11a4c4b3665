//! HTTP Archives (HAR 1.2), as browsers and proxies export them. Pure.

use anyhow::Context;
use serde::Deserialize;

use super::log::rfc3339_ns;
use super::{Recorded, is_own};

#[derive(Deserialize)]
struct Har {
    log: Log,
}

#[derive(Deserialize)]
struct Log {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    started_date_time: String,
    request: Request,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<Field>,
    post_data: Option<PostData>,
}

#[derive(Deserialize)]
struct Field {
    name: String,
    value: String,
}

#[derive(Deserialize)]
struct PostData {
    #[serde(default)]
    text: String,
}

/// An object whose first key is `log`.
pub(super) fn is_one(text: &str) -> bool {
    let first = text.trim_start_matches('\u{feff}').trim_start().strip_prefix('{');
    first.is_some_and(|rest| rest.trim_start().starts_with("\"log\""))
}

/// Its requests, and how many entries are none.
pub(super) fn parse(text: &str) -> anyhow::Result<(Vec<Recorded>, usize)> {
    let har: Har = serde_json::from_str(text.trim_start_matches('\u{feff}')).context("is no HAR")?;
    let all = har.log.entries.len();
    let requests: Vec<Recorded> = har.log.entries.into_iter().filter_map(request).collect();
    let skipped = all - requests.len();
    Ok((requests, skipped))
}

fn request(entry: Entry) -> Option<Recorded> {
    let Request { method, url, headers, post_data } = entry.request;
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let rest = rest.split('#').next()?;
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let target = if target.starts_with('/') { target.to_string() } else { format!("/{target}") };
    // HTTP/2's pseudo-header fields repeat the method and the URL.
    let kept = headers.into_iter().filter(|field| !field.name.starts_with(':') && !is_own(&field.name));
    let mut headers: Vec<_> = kept.map(|field| (field.name, field.value)).collect();
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        headers.insert(0, ("Host".to_string(), authority.to_string()));
    }
    let body = post_data.map(|data| data.text.into_bytes()).unwrap_or_default();
    let at_ns = rfc3339_ns(&entry.started_date_time)?;
    let recorded = Recorded { at_ns, method, target, headers, body };
    recorded.is_request().then_some(recorded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_become_requests_with_fields_and_content() {
        let har = r##"{ "log": { "version": "1.2", "entries": [
            { "startedDateTime": "2026-11-23T07:43:32.500Z", "request": { "method": "POST",
              "url": "https://shop.example/cart?a=1#top", "headers": [{"name": ":method", "value": "POST"},
              {"name": "content-type", "value": "text/plain"}, {"name": "content-length", "value": "2"}],
              "postData": {"mimeType": "text/plain", "text": "hi"} }, "response": {} },
            { "startedDateTime": "2026-11-23T07:43:33Z", "request": { "method": "GET", "url": "data:text/plain," } }
        ] } }"##;
        assert!(is_one(har) && !is_one(r#"{"ts":1}"#));
        let (got, skipped) = parse(har).expect("it is a HAR");
        assert_eq!((got.len(), skipped), (1, 1));
        assert_eq!((got[0].target.as_str(), &got[0].body[..]), ("/cart?a=1", &b"hi"[..]));
        let names: Vec<&str> = got[0].headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["Host", "content-type"]);
        assert!(parse(r#"{"log":{}}"#).is_err());
    }
}
