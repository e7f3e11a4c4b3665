//! A record as spans in OTLP's JSON encoding, with the names of OpenTelemetry's semantic conventions for HTTP. Pure.
//!
//! Three kinds: the gateway's own span (server), one for the primary and one for each copy that was sent (clients, children
//! of the gateway's). Copies that were not sent are events of the gateway's span. The
//! primary's begins when the whole request has been forwarded, and a copy's its lag after that.

use serde::Serialize;

use super::super::disclosure::{Disclosed, Discretion, path_and_query, unix_ns};
use super::super::record::{CopyLeg, PrimaryLeg, Record};
use super::super::trace::hex;
use crate::address::Address;
use crate::metrics::Label;

/// `SpanKind` and `StatusCode` of the protocol.
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const ERROR: u8 = 2;

/// Bytes of one text of a span: a head of 16 KiB would stand in it three times.
const TEXT_BYTES_MAX: usize = 1024;

/// Methods that the conventions name; any other is `_OTHER`, or names of spans would be as many as strangers like.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT"];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Span<'r> {
    trace_id: &'r str,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    name: String,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Attributes,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<Event>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    time_unix_nano: String,
    name: &'static str,
    attributes: Attributes,
}

#[derive(Serialize)]
struct Status {
    code: u8,
}

/// Name → value, in the order given.
#[derive(Serialize, Default)]
#[serde(transparent)]
struct Attributes(Vec<Attribute>);

#[derive(Serialize)]
struct Attribute {
    key: &'static str,
    value: Value,
}

#[derive(Serialize)]
enum Value {
    #[serde(rename = "stringValue")]
    Text(String),
    /// 64 bits are text in this encoding.
    #[serde(rename = "intValue")]
    Whole(String),
    #[serde(rename = "doubleValue")]
    Double(f64),
}

impl Attributes {
    /// Adds a text, unless it is empty; of a long one its beginning.
    fn text(&mut self, key: &'static str, text: &str) {
        let text = text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or(text);
        if !text.is_empty() {
            self.0.push(Attribute { key, value: Value::Text(text.to_owned()) });
        }
    }

    fn number(&mut self, key: &'static str, number: impl Into<u64>) {
        self.0.push(Attribute { key, value: Value::Whole(number.into().to_string()) });
    }

    fn ms(&mut self, key: &'static str, us: u64) {
        self.0.push(Attribute { key, value: Value::Double(us as f64 / 1000.0) });
    }

    fn status(&mut self, status: Option<u16>) {
        if let Some(status) = status {
            self.number("http.response.status_code", status);
        }
    }

    fn method(&mut self, method: &str) {
        match known_method(method) {
            Some(known) => self.text("http.request.method", known),
            None => {
                self.text("http.request.method", "_OTHER");
                self.text("http.request.method_original", method);
            }
        }
    }

    fn server(&mut self, endpoint: Address) {
        match endpoint {
            Address::Ip(endpoint) => {
                self.text("server.address", &endpoint.ip().to_string());
                self.number("server.port", endpoint.port());
            }
            // OpenTelemetry: the path stands for the address, and there is no port.
            Address::Unix(path) => self.text("server.address", path),
        }
    }
}

/// The words about the sender in every request to a collector, as JSON before and behind the spans.
pub(super) fn envelope(service_name: &str) -> (Vec<u8>, &'static [u8]) {
    let mut resource = Attributes::default();
    resource.text("service.name", service_name);
    resource.text("service.version", env!("CARGO_PKG_VERSION"));
    let mut before = br#"{"resourceSpans":[{"resource":{"attributes":"#.to_vec();
    write(&mut before, &resource);
    before.extend_from_slice(br#"},"scopeSpans":[{"scope":{"name":"umbra","version":""#);
    before.extend_from_slice(env!("CARGO_PKG_VERSION").as_bytes());
    before.extend_from_slice(br#""},"spans":["#);
    (before, b"]}]}]}")
}

/// How many spans [`write_spans`] makes of a record.
pub(super) fn count(record: &Record) -> usize {
    1 + usize::from(record.primary.is_some()) + record.copies.iter().filter(|leg| is_span(leg)).count()
}

/// Appends the spans of a record, divided by commas.
pub(super) fn write_spans(out: &mut Vec<u8>, record: &Record, discretion: &mut Discretion) {
    let told = discretion.of(record);
    let trace_id = hex(&record.trace.trace_id);
    write(out, &gateways(record, &trace_id, &told));
    if let Some(leg) = &record.primary {
        out.push(b',');
        write(out, &primarys(record, leg, &trace_id, &told.target));
    }
    for leg in record.copies.iter().filter(|leg| is_span(leg)) {
        out.push(b',');
        write(out, &copys(record, leg, &trace_id));
    }
}

fn write(out: &mut Vec<u8>, value: &impl Serialize) {
    // Writing to a vector cannot fail.
    let _ = serde_json::to_writer(out, value);
}

fn is_span(leg: &CopyLeg) -> bool {
    leg.end.was_sent() && leg.span != [0; 8]
}

fn gateways<'r>(record: &Record, trace_id: &'r str, told: &Disclosed<'_>) -> Span<'r> {
    let start_ns = unix_ns(record.started);
    let (path, query) = path_and_query(&told.target);
    let (host, port) = host_and_port(&told.authority);
    let mut attributes = Attributes::default();
    attributes.method(&record.method);
    attributes.text("url.scheme", record.scheme.name());
    attributes.text("url.path", path);
    attributes.text("url.query", query.unwrap_or_default());
    attributes.text("server.address", host);
    attributes.number("server.port", port);
    attributes.text("client.address", &told.client);
    attributes.text("network.protocol.version", record.version.number());
    attributes.text("user_agent.original", &told.user_agent);
    attributes.number("http.request.body.size", record.request_bytes);
    attributes.number("http.response.body.size", record.response_bytes);
    attributes.status(record.status);
    attributes.text("umbra.request_id", &told.request_id);
    attributes.text("umbra.route", record.route().map_or("", |route| &route.name));
    attributes.text("umbra.reject", record.reject.map_or("", Label::text));
    let is_error = record.is_aborted || record.status.is_none_or(|status| status >= 500);
    if is_error {
        attributes.text("error.type", &error_type(record.status, record.reject.map(Label::text), "aborted"));
    }
    let events = record.copies.iter().filter(|leg| !leg.end.was_sent()).map(|leg| Event {
        time_unix_nano: start_ns.to_string(),
        name: "umbra.copy",
        attributes: copy_attributes(record, leg),
    });
    let name = record.route().map_or("", |route| &route.name);
    Span {
        trace_id,
        span_id: hex(&record.trace.span),
        parent_span_id: record.trace.parent.map(|parent| hex(&parent)),
        name: named(&record.method, name),
        kind: SERVER,
        start_time_unix_nano: start_ns.to_string(),
        end_time_unix_nano: later(start_ns, record.duration_us).to_string(),
        attributes,
        events: events.collect(),
        status: is_error.then_some(Status { code: ERROR }),
    }
}

fn primarys<'r>(record: &Record, leg: &PrimaryLeg, trace_id: &'r str, target: &str) -> Span<'r> {
    // Where the request never left whole, the answer is taken to end when ours does.
    let begins_us = record.forwarded_us.unwrap_or_else(|| record.duration_us.saturating_sub(leg.latency_us));
    let start_ns = later(unix_ns(record.started), begins_us);
    let upstream = record.upstream(leg).map_or("", |upstream| &upstream.name);
    let mut attributes = Attributes::default();
    attributes.method(&record.method);
    if let Some(endpoint) = leg.endpoint {
        attributes.server(endpoint);
        attributes.text("url.full", &format!("http://{endpoint}{target}"));
    }
    attributes.status(leg.status);
    attributes.number("http.response.body.size", leg.response_bytes);
    if leg.attempts > 1 {
        attributes.number("http.request.resend_count", leg.attempts - 1);
    }
    attributes.text("umbra.upstream", upstream);
    let is_error = !leg.is_whole || leg.status.is_none_or(|status| status >= 400);
    if is_error {
        let fallback = record.reject.map_or("incomplete", Label::text);
        attributes.text("error.type", &error_type(leg.status.filter(|_| leg.is_whole), None, fallback));
    }
    Span {
        trace_id,
        span_id: hex(&record.trace.primary_span),
        parent_span_id: Some(hex(&record.trace.span)),
        name: named(&record.method, upstream),
        kind: CLIENT,
        start_time_unix_nano: start_ns.to_string(),
        end_time_unix_nano: later(start_ns, leg.latency_us).to_string(),
        attributes,
        events: Vec::new(),
        status: is_error.then_some(Status { code: ERROR }),
    }
}

fn copys<'r>(record: &Record, leg: &CopyLeg, trace_id: &'r str) -> Span<'r> {
    let start_ns =
        later(unix_ns(record.started), record.forwarded_us.unwrap_or(0).saturating_add(leg.lag_us));
    let mirror = record.mirror(leg).map_or("", |mirror| &mirror.name);
    let mut attributes = Attributes::default();
    attributes.method(&record.method);
    attributes.status(leg.end.status());
    attributes.number("http.response.body.size", leg.response_bytes);
    attributes.0.extend(copy_attributes(record, leg).0);
    attributes.ms("umbra.lag_ms", leg.lag_us);
    let is_error = leg.end.status().is_none_or(|status| status >= 400);
    if is_error {
        attributes.text("error.type", &error_type(leg.end.status(), leg.end.reason(), "unknown"));
    }
    Span {
        trace_id,
        span_id: hex(&leg.span),
        parent_span_id: Some(hex(&record.trace.span)),
        name: named(&record.method, mirror),
        kind: CLIENT,
        start_time_unix_nano: start_ns.to_string(),
        end_time_unix_nano: later(start_ns, leg.latency_us).to_string(),
        attributes,
        events: Vec::new(),
        status: is_error.then_some(Status { code: ERROR }),
    }
}

fn copy_attributes(record: &Record, leg: &CopyLeg) -> Attributes {
    let mut attributes = Attributes::default();
    attributes.text("umbra.mirror", record.mirror(leg).map_or("", |mirror| &mirror.name));
    attributes.number("umbra.copy.number", leg.number);
    attributes.text("umbra.outcome", leg.end.outcome());
    attributes.text("umbra.reason", leg.end.reason().unwrap_or_default());
    attributes
}

/// The failure, by the first that is known: the side that ended it, its status, or the word for the rest.
fn error_type(status: Option<u16>, reason: Option<&str>, otherwise: &str) -> String {
    match (reason, status.filter(|status| *status >= 400)) {
        (Some(reason), _) => reason.to_owned(),
        (None, Some(status)) => status.to_string(),
        (None, None) => otherwise.to_owned(),
    }
}

/// As many names as there are methods and things that an operator named.
fn named(method: &str, what: &str) -> String {
    let method = known_method(method).unwrap_or("HTTP");
    if what.is_empty() { method.to_owned() } else { format!("{method} {what}") }
}

fn known_method(method: &str) -> Option<&'static str> {
    METHODS.into_iter().find(|known| *known == method)
}

/// An address of version 6 without its brackets; without a port, that of the scheme.
fn host_and_port(authority: &str) -> (&str, u16) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap_or(80)),
        Some(_) | None => (authority, 80),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

fn later(ns: u64, us: u64) -> u64 {
    ns.saturating_add(us.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::metrics::RejectReason;
    use crate::observe::disclosure::Saying;
    use crate::observe::disclosure::tests::{SAYING, record};

    /// The export request for `record`, as a collector gets it.
    fn sent(record: &Record) -> Json {
        let (mut body, end) = envelope("shop \"edge\"");
        write_spans(&mut body, record, &mut Discretion::default());
        body.extend_from_slice(end);
        serde_json::from_slice(&body).unwrap()
    }

    fn spans(record: &Record) -> Vec<Json> {
        let mut sent = sent(record);
        let spans = sent["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array_mut().unwrap();
        assert_eq!(spans.len(), count(record));
        std::mem::take(spans)
    }

    fn attribute(of: &Json, key: &str) -> Option<Json> {
        let attributes = of["attributes"].as_array().unwrap();
        let found: Vec<_> = attributes.iter().filter(|a| a["key"] == key).collect();
        assert!(found.len() <= 1, "{key} stands once in {of}");
        found.first().map(|a| a["value"].clone())
    }

    fn text(text: &str) -> Option<Json> {
        Some(json!({ "stringValue": text }))
    }

    fn number(text: &str) -> Option<Json> {
        Some(json!({ "intValue": text }))
    }

    #[test]
    fn an_exchange_is_three_kinds_of_spans_in_one_trace() {
        let record = record("");
        let all = spans(&record);
        let [own, primary, copy, failed] = &all[..] else { panic!("{all:?}") };
        for span in &all {
            assert_eq!(span["traceId"], "01".repeat(16));
        }
        let ids = |span: &Json| (span["spanId"].clone(), span["parentSpanId"].clone(), span["kind"].clone());
        let id = |digits: &str| Json::from(digits.repeat(8));
        assert_eq!(ids(own), (id("03"), id("02"), 2.into()));
        assert_eq!(ids(primary), (id("09"), id("03"), 3.into()));
        assert_eq!(ids(copy), (id("04"), id("03"), 3.into()));
        assert_eq!(ids(failed), (id("05"), id("03"), 3.into()));
        let names: Vec<_> = all.iter().map(|span| span["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["GET shop", "GET v1", "GET v2", "GET v3"]);
        let times = |span: &Json| {
            ["startTimeUnixNano", "endTimeUnixNano"].map(|key| span[key].as_str().unwrap().to_owned())
        };
        assert_eq!(times(own), ["1763913600123456000", "1763913600125956000"]);
        assert_eq!(times(primary), ["1763913600123856000", "1763913600125856000"]);
        // Its lag counts from there.
        assert_eq!(times(copy), ["1763913600123956000", "1763913600126956000"]);
    }

    #[test]
    fn attributes_are_those_of_the_conventions_and_secrets_stay_here() {
        let record = record("");
        let all = spans(&record);
        let [own, primary, copy, failed] = &all[..] else { panic!("{all:?}") };
        for (key, value) in [
            ("http.request.method", text("GET")),
            ("url.path", text("/cart")),
            ("url.query", text("user=7&token=%5Bredacted%5D")),
            ("server.address", text("shop.example")),
            ("server.port", number("8080")),
            ("client.address", text("192.0.2.7")),
            ("http.response.status_code", number("200")),
            ("user_agent.original", text("curl/8")),
            ("umbra.request_id", text("id-1")),
            ("error.type", None),
        ] {
            assert_eq!(attribute(own, key), value, "{key}");
        }
        assert_eq!(own["status"], Json::Null);
        assert_eq!(
            attribute(primary, "url.full"),
            text("http://10.0.0.1:80/cart?user=7&token=%5Bredacted%5D")
        );
        assert_eq!(attribute(primary, "http.request.resend_count"), number("1"));
        assert_eq!(attribute(copy, "umbra.mirror"), text("v2"));
        assert_eq!((attribute(copy, "error.type"), &copy["status"]["code"]), (text("500"), &json!(2)));
        assert_eq!(
            (attribute(failed, "error.type"), &failed["status"]["code"]),
            (text("timeout"), &json!(2))
        );
        let event = &own["events"][0];
        assert_eq!(
            (event["name"].as_str(), own["events"].as_array().unwrap().len()),
            (Some("umbra.copy"), 1)
        );
        assert_eq!(attribute(event, "umbra.reason"), text("ring_bytes"));
        assert!(!sent(&record).to_string().contains("SECRET"));
    }

    #[test]
    fn names_are_few_and_failures_are_told_by_their_cause() {
        let odd = Record {
            route: None,
            method: "BREW".into(),
            said: Saying { authority: "[::1]", ..SAYING }.into(),
            status: Some(502),
            reject: Some(RejectReason::PrimaryClosed),
            primary: None,
            copies: vec![],
            ..record("")
        };
        let all = spans(&odd);
        let [own] = &all[..] else { panic!("{all:?}") };
        assert_eq!(own["name"], "HTTP");
        assert_eq!(attribute(own, "http.request.method"), text("_OTHER"));
        assert_eq!(attribute(own, "http.request.method_original"), text("BREW"));
        assert_eq!(attribute(own, "server.address"), text("::1"));
        assert_eq!(
            (attribute(own, "error.type"), &own["status"]["code"]),
            (text("primary_closed"), &json!(2))
        );
        let gone = Record { status: None, reject: None, is_aborted: true, ..odd };
        assert_eq!(attribute(&spans(&gone)[0], "error.type"), text("aborted"));
    }

    #[test]
    fn a_sender_says_who_it_is() {
        let sent = sent(&record(""));
        let resource = &sent["resourceSpans"][0]["resource"];
        assert_eq!(attribute(resource, "service.name"), text("shop \"edge\""));
        assert_eq!(sent["resourceSpans"][0]["scopeSpans"][0]["scope"]["name"], "umbra");
    }
}
