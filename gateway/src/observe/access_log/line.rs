//! A record as one line of the access log. Pure.
//!
//! The text of a client stays within its own field and its own line: quotes, backslashes and control characters are
//! escaped, those of terminals and of the direction of text too. The fields of the JSON form and their names are a promise:
//! all of them are in each line, `null` where there is nothing to say; the book (docs/src/logs.md) describes them.

use std::io::{self, Write};

use config::LogFormat;
use serde::Serialize;
use serde_json::ser::Formatter;

use super::super::disclosure::{Disclosed, Discretion, apache_time, path_and_query, rfc3339};
use super::super::record::{CopyLeg, PrimaryLeg, Record};
use super::super::trace::hex;
use crate::metrics::Label;
use crate::visible::visible;

/// Appends the line, with its end.
pub(super) fn write(out: &mut Vec<u8>, record: &Record, format: LogFormat, discretion: &mut Discretion) {
    let told = discretion.of(record);
    match format {
        LogFormat::Json => json(out, record, &told),
        LogFormat::Combined => combined(out, record, &told),
    }
    out.push(b'\n');
}

#[derive(Serialize)]
struct Line<'r> {
    time: String,
    request_id: &'r str,
    trace_id: Option<String>,
    span_id: Option<String>,
    client: &'r str,
    method: &'r str,
    authority: &'r str,
    path: &'r str,
    query: Option<&'r str>,
    protocol: &'static str,
    user_agent: Option<&'r str>,
    referer: Option<&'r str>,
    route: Option<&'r str>,
    status: Option<u16>,
    reject: Option<&'static str>,
    aborted: bool,
    duration_ms: f64,
    request_bytes: u64,
    response_bytes: u64,
    primary: Option<Primary<'r>>,
    copies: Vec<Copy<'r>>,
}

#[derive(Serialize)]
struct Primary<'r> {
    upstream: Option<&'r str>,
    endpoint: Option<String>,
    attempts: u32,
    status: Option<u16>,
    whole: bool,
    latency_ms: f64,
    response_bytes: u64,
}

#[derive(Serialize)]
struct Copy<'r> {
    mirror: Option<&'r str>,
    number: u32,
    outcome: &'static str,
    reason: Option<&'static str>,
    status: Option<u16>,
    lag_ms: Option<f64>,
    latency_ms: Option<f64>,
    response_bytes: u64,
    span_id: Option<String>,
}

fn json(out: &mut Vec<u8>, record: &Record, told: &Disclosed<'_>) {
    let (path, query) = path_and_query(&told.target);
    let line = Line {
        time: rfc3339(record.started),
        request_id: &told.request_id,
        trace_id: id(&record.trace.trace_id),
        span_id: id(&record.trace.span),
        client: &told.client,
        method: &record.method,
        authority: &told.authority,
        path,
        query,
        protocol: record.version.name(),
        user_agent: given(&told.user_agent),
        referer: given(&told.referer),
        route: record.route().map(|route| route.name.as_str()),
        status: record.status,
        reject: record.reject.map(Label::text),
        aborted: record.is_aborted,
        duration_ms: ms(record.duration_us),
        request_bytes: record.request_bytes,
        response_bytes: record.response_bytes,
        primary: record.primary.as_ref().map(|leg| primary(record, leg)),
        copies: record.copies.iter().map(|leg| copy(record, leg)).collect(),
    };
    let mut serializer = serde_json::Serializer::with_formatter(out, Plain);
    // Writing to a vector cannot fail.
    let _ = line.serialize(&mut serializer);
}

fn primary<'r>(record: &'r Record, leg: &PrimaryLeg) -> Primary<'r> {
    Primary {
        upstream: record.upstream(leg).map(|upstream| upstream.name.as_str()),
        endpoint: leg.endpoint.map(|address| address.to_string()),
        attempts: leg.attempts,
        status: leg.status,
        whole: leg.is_whole,
        latency_ms: ms(leg.latency_us),
        response_bytes: leg.response_bytes,
    }
}

fn copy<'r>(record: &'r Record, leg: &CopyLeg) -> Copy<'r> {
    let was_sent = leg.end.was_sent();
    Copy {
        mirror: record.mirror(leg).map(|mirror| mirror.name.as_str()),
        number: leg.number,
        outcome: leg.end.outcome(),
        reason: leg.end.reason(),
        status: leg.end.status(),
        lag_ms: was_sent.then(|| ms(leg.lag_us)),
        latency_ms: leg.end.status().map(|_| ms(leg.latency_us)),
        response_bytes: leg.response_bytes,
        span_id: id(&leg.span).filter(|_| was_sent),
    }
}

/// Apache's "combined", of which many tools know every byte: nothing of ours is added.
fn combined(out: &mut Vec<u8>, record: &Record, told: &Disclosed<'_>) {
    let quoted = |text: &str| if text.is_empty() { "-".to_owned() } else { apache_escaped(text) };
    let request = if record.method.is_empty() {
        "-".to_owned()
    } else {
        format!(
            "{} {} {}",
            apache_escaped(&record.method),
            apache_escaped(&told.target),
            record.version.name()
        )
    };
    // A vector takes everything. A client that got nothing has the status that nginx writes for it.
    let _ = write!(
        out,
        "{} - - [{}] \"{request}\" {:03} {} \"{}\" \"{}\"",
        if told.client.is_empty() { "-" } else { &told.client },
        apache_time(record.started),
        record.status.unwrap_or(0),
        record.response_bytes,
        quoted(&told.referer),
        quoted(&told.user_agent)
    );
}

/// Escapes as Apache does since 2.0.46: quotes, backslashes, and bytes that are not printable ASCII.
fn apache_escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}

/// JSON without blanks, in which nothing can move a terminal's cursor or turn the direction of text: serde_json escapes the
/// characters below the blank, and this all others that are not to be seen.
struct Plain;

impl Formatter for Plain {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        writer.write_all(visible(fragment).as_bytes())
    }
}

/// `None` for zeros, which stand for an identifier that was not drawn.
fn id(id: &[u8]) -> Option<String> {
    id.iter().any(|byte| *byte != 0).then(|| hex(id))
}

fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::metrics::RejectReason;
    use crate::observe::disclosure::Saying;
    use crate::observe::disclosure::tests::{SAYING, record};

    fn line(record: &Record, format: LogFormat) -> String {
        let mut out = Vec::new();
        write(&mut out, record, format, &mut Discretion::default());
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "one line: {text:?}");
        text.strip_suffix('\n').unwrap().to_owned()
    }

    #[test]
    fn a_line_tells_the_exchange_and_what_became_of_every_copy() {
        let copy = |mirror: &str, outcome: &str| {
            json!({ "mirror": mirror, "number": 0, "outcome": outcome, "reason": null, "status": null, "lag_ms": null,
                    "latency_ms": null, "response_bytes": 0, "span_id": null })
        };
        let with = |mut copy: Value, rest: Value| {
            let rest = rest.as_object().unwrap().clone();
            copy.as_object_mut().unwrap().extend(rest);
            copy
        };
        let expect = json!({
            "time": "2025-11-23T16:00:00.123456Z",
            "request_id": "id-1",
            "trace_id": "01".repeat(16),
            "span_id": "03".repeat(8),
            "client": "192.0.2.7",
            "method": "GET",
            "authority": "shop.example:8080",
            "path": "/cart",
            "query": "user=7&token=%5Bredacted%5D",
            "protocol": "HTTP/1.1",
            "user_agent": "curl/8",
            "referer": "http://shop.example/?token=%5Bredacted%5D",
            "route": "shop",
            "status": 200,
            "reject": null,
            "aborted": false,
            "duration_ms": 2.5,
            "request_bytes": 3,
            "response_bytes": 5,
            "primary": { "upstream": "v1", "endpoint": "10.0.0.1:80", "attempts": 2, "status": 200, "whole": true,
                         "latency_ms": 2.0, "response_bytes": 5 },
            "copies": [
                with(copy("v2", "completed"), json!({ "status": 500, "lag_ms": 0.1, "latency_ms": 3.0,
                                                      "span_id": "04".repeat(8) })),
                with(copy("v3", "failed"), json!({ "reason": "timeout", "lag_ms": 0.2, "span_id": "05".repeat(8) })),
                with(copy("v3", "dropped"), json!({ "reason": "ring_bytes" })),
            ],
        });
        let said: Value = serde_json::from_str(&line(&record(""), LogFormat::Json)).unwrap();
        assert_eq!(said, expect);
    }

    #[test]
    fn every_field_is_described_where_operators_look() {
        fn keys(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(object) => object.iter().for_each(|(key, value)| {
                    found.push(key.clone());
                    keys(value, found);
                }),
                Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        let described = include_str!("../../../../docs/src/logs.md");
        let mut found = Vec::new();
        keys(&serde_json::from_str(&line(&record(""), LogFormat::Json)).unwrap(), &mut found);
        assert!(found.len() > 40);
        for key in found {
            assert!(described.contains(&format!("`{key}`")), "{key} is not described");
        }
    }

    #[test]
    fn what_is_not_known_is_null_and_its_field_still_there() {
        let bare = Record {
            route: None,
            trace: Default::default(),
            method: "".into(),
            said: Saying { client: SAYING.client, request_id: SAYING.request_id, ..Saying::default() }.into(),
            status: None,
            reject: Some(RejectReason::HeadTimeout),
            primary: None,
            copies: vec![],
            ..record("")
        };
        let said: Value = serde_json::from_str(&line(&bare, LogFormat::Json)).unwrap();
        let full: Value = serde_json::from_str(&line(&record(""), LogFormat::Json)).unwrap();
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&said), keys(&full));
        for key in ["trace_id", "span_id", "query", "user_agent", "referer", "route", "status", "primary"] {
            assert_eq!(said[key], Value::Null, "{key}");
        }
        assert_eq!(said["reject"], "head_timeout");
        assert_eq!(
            line(&bare, LogFormat::Combined),
            "192.0.2.7 - - [23/Nov/2025:16:00:00 +0000] \"-\" 000 5 \"-\" \"-\""
        );
    }

    #[test]
    fn combined_is_apaches_to_the_byte() {
        assert_eq!(
            line(&record(""), LogFormat::Combined),
            "192.0.2.7 - - [23/Nov/2025:16:00:00 +0000] \"GET /cart?user=7&token=%5Bredacted%5D HTTP/1.1\" 200 5 \
             \"http://shop.example/?token=%5Bredacted%5D\" \"curl/8\""
        );
    }

    #[test]
    fn nothing_a_client_sends_leaves_its_field_or_its_line() {
        let evil = "\" 200 0\r\n10.0.0.1 - - [x] \"GET / \\\" \u{1b}[2J \u{9b}2J \u{7f} \u{202e} \u{2028} \0 \u{fffd} é";
        let record = Record {
            method: evil.into(),
            said: Saying {
                authority: evil,
                target: evil,
                user_agent: evil,
                referer: evil,
                request_id: evil,
                client: SAYING.client,
            }
            .into(),
            ..record("")
        };
        let text = line(&record, LogFormat::Json);
        assert_eq!(visible(&text), text);
        let said: Value = serde_json::from_str(&text).unwrap();
        for key in ["method", "authority", "path", "user_agent", "referer", "request_id"] {
            assert_eq!(said[key], evil, "{key}");
        }
        let text = line(&record, LogFormat::Combined);
        assert!(text.bytes().all(|b| matches!(b, b' '..=b'~')), "{text:?}");
        let quotes = text.replace("\\\\", "").replace("\\\"", "").matches('"').count();
        assert_eq!(quotes, 6, "three quoted fields: {text}");
    }
}
