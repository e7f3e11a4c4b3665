//! A line of a capture of the gateway: the request's head as text, its content as text or base64. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{Recorded, is_own};

#[derive(Deserialize)]
struct Line {
    at_us: u64,
    head: String,
    body: Option<String>,
    body_base64: Option<String>,
}

/// `None` where the line is no such request.
pub(super) fn parse(line: &str) -> Option<Recorded> {
    if !line.contains("\"at_us\"") {
        return None;
    }
    let line: Line = serde_json::from_str(line).ok()?;
    let mut lines = line.head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?.to_string(), words.next()?.to_string());
    let fields = lines.filter_map(|line| line.split_once(':'));
    let headers = fields
        .filter(|(name, _)| !is_own(name))
        .map(|(name, value)| (name.to_string(), value.trim().to_string()))
        .collect();
    let body = match (line.body, line.body_base64) {
        (Some(text), _) => text.into_bytes(),
        (None, Some(text)) => STANDARD.decode(text).ok()?,
        (None, None) => Vec::new(),
    };
    let recorded = Recorded { at_ns: i128::from(line.at_us) * 1000, method, target, headers, body };
    recorded.is_request().then_some(recorded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_captured_request_comes_back_whole_but_for_its_connections_own_fields() {
        let line = r#"{"at_us":1500000,"id":"r-1","head":"POST /a?b=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nX-Request-Id: r-1\r\n\r\n","body_base64":"AP8K"}"#;
        let got = parse(line).expect("a request");
        assert_eq!((got.at_ns, got.method.as_str(), got.target.as_str()), (1_500_000_000, "POST", "/a?b=1"));
        assert_eq!(got.headers, [("Host".into(), "h".into()), ("X-Request-Id".into(), "r-1".into())]);
        assert_eq!(got.body, [0, 255, 10]);
        let text = parse(&line.replace(r#""body_base64":"AP8K""#, r#""body":"a\u00e9""#)).expect("a request");
        assert_eq!(text.body, "a\u{e9}".as_bytes());
    }

    #[test]
    fn what_is_torn_or_would_smuggle_a_line_is_none() {
        for line in [
            r#"{"at_us":1,"head":"GET /"#,
            r#"{"at_us":1,"head":""}"#,
            r#"{"at_us":1,"head":"GET /\nX: y HTTP/1.1\r\n\r\n"}"#,
            r#"{"at_us":1,"head":"GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n"}"#,
            r#"{"at_us":1,"head":"POST / HTTP/1.1\r\n\r\n","body_base64":"?"}"#,
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
