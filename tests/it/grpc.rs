//! gRPC calls: their outcome is their own status, wherever it is, and not HTTP's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tests::grpc::{self, CALL};
use tests::http2::{CONTINUATION, DATA, END, HEADERS, Heard, Raw, WHOLE, frame, headers, request};
use tests::load::{Peer, becomes};
use tests::origin::write;
use tests::{Gateway, Origin, Setup, eventually};

use crate::http2::{PLAIN, listening};

/// A server that ends each call as `status` says of its path; `None` never ends it.
fn server(status: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static) -> Peer {
    grpc::server(move |raw, stream, path| match status(path) {
        None => {}
        // At once, in a head that nothing follows.
        Some(status) if path.ends_with("Only") => {
            raw.send(&headers(stream, END, &[(":status", "200"), CALL, ("grpc-status", status)]));
        }
        Some(status) => {
            raw.send(&headers(stream, 0, &[(":status", "200"), CALL]));
            raw.send(&frame(DATA, 0, stream, b"\0\0\0\0\x02hi"));
            raw.send(&headers(stream, END, &[("grpc-status", status)]));
        }
    })
}

fn start(v1: SocketAddr, v2: Option<SocketAddr>) -> Gateway {
    let setup = Setup::to(&[v1]);
    let setup = v2.map_or_else(|| setup.clone(), |v2| setup.clone().mirror("v2", v2, ""));
    Gateway::start(&speaking_grpc(&setup), &[])
}

/// The file of `setup`, whose upstreams are all spoken to in HTTP/2.
pub(crate) fn speaking_grpc(setup: &Setup) -> String {
    let speaks = |text: String, name: &str| {
        let table = format!("[upstream.{name}]\n");
        text.replacen(&table, &format!("{table}protocol = \"h2\"\n"), 1)
    };
    ["primary", "v2"].into_iter().fold(listening(setup, PLAIN), speaks)
}

/// Makes the `n`th call of a connection.
fn call(raw: &mut Raw, n: u32, path: &str, more: &[(&str, &str)]) -> Heard {
    let stream = 2 * n + 1;
    let fields = [&[CALL, ("te", "trailers")], more].concat();
    raw.send(&headers(stream, 0, &request("POST", path, &fields)));
    raw.send(&frame(DATA, END, stream, b"\0\0\0\0\x02hi"));
    raw.response(stream)
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
}

#[test]
fn a_mirror_that_ends_calls_with_an_error_is_counted_so_though_it_answers_200() {
    let v1 = server(|_| Some("0"));
    let v2 = server(|path| {
        Some(match path {
            "/shop.Carts/Pay" | "/shop.Carts/PayOnly" => "13",
            "/shop.Carts/Find" => "5",
            _ => "0",
        })
    });
    let gateway = start(v1.address, Some(v2.address));
    let mut raw = Raw::connect(gateway.address);
    for (n, name) in (0..).zip(["Pay", "PayOnly", "Find", "List"]) {
        let heard = call(&mut raw, n, &format!("/shop.Carts/{name}"), &[]);
        let ended = [&heard.fields, &heard.trailers].map(|fields| field(fields, "grpc-status")).concat();
        assert_eq!((heard.status(), ended.as_str()), ("200", "0"), "{name}");
    }
    let ends =
        [("eligible", 4), ("sent", 4), ("completed 2xx", 1), ("completed 4xx", 1), ("completed 5xx", 2)];
    becomes(&gateway, "v2", &ends);
    let outcomes = gateway.admin("GET", "/outcomes", "").text();
    for (code, n) in [("grpc_internal", 2), ("grpc_not_found", 1)] {
        assert!(outcomes.contains(code), "{code} {n}: {outcomes}");
    }
}

#[test]
fn what_the_gateway_has_to_say_of_a_call_is_said_in_its_terms() {
    let gateway = start(Origin::refusing(), None);
    let mut raw = Raw::connect(gateway.address);
    let heard = call(&mut raw, 0, "/shop.Carts/Pay", &[]);
    assert_eq!((heard.status(), heard.field("grpc-status")), ("200", "14"));
    assert!(heard.has_ended && heard.body.is_empty() && !heard.field("grpc-message").is_empty());
    assert_eq!(heard.field("content-type"), "application/grpc");
    // Other clients get HTTP's status.
    raw.send(&headers(3, END, &request("GET", "/", &[])));
    assert_eq!(raw.response(3).status(), "503");
}

#[test]
fn a_call_has_the_time_that_its_caller_gives_it() {
    let v1 = server(|_| None);
    let gateway = start(v1.address, None);
    let mut raw = Raw::connect(gateway.address);
    let started = Instant::now();
    let heard = call(&mut raw, 0, "/shop.Carts/Pay", &[("grpc-timeout", "300m")]);
    assert_eq!((heard.status(), heard.field("grpc-status")), ("200", "4"));
    assert!((Duration::from_millis(250)..Duration::from_secs(10)).contains(&started.elapsed()));
}

/// A gateway whose primary is ejected for one failure.
fn ejecting(v1: SocketAddr) -> Gateway {
    let rules = "ejection = { consecutive_5xx = 1, time = \"1h\", percent_max = 100 }";
    let table = "[upstream.primary]\n";
    let text = speaking_grpc(&Setup::to(&[v1]));
    Gateway::start(&text.replacen(table, &format!("{table}{rules}\n"), 1), &[])
}

#[test]
fn what_any_caller_can_bring_about_ejects_no_primary() {
    let v1 = server(|path| match path {
        "/shop.Carts/Hang" => None,
        "/shop.Carts/None" => Some("12"),
        "/shop.Carts/Slow" => Some("4"),
        "/shop.Carts/Down" => Some("14"),
        _ => Some("0"),
    });
    let gateway = ejecting(v1.address);
    let counted = |name: &str| gateway.metrics().sum(&format!("umbra_upstream_{name}_total"), &[]);
    let mut raw = Raw::connect(gateway.address);
    let hurried = [("grpc-timeout", "1n")];
    let calls = [
        ("List", &[][..], "0"),
        ("Hang", &hurried, "4"),
        ("None", &[], "12"),
        ("Slow", &[], "4"),
        ("Hang", &hurried, "4"),
        ("List", &[], "0"),
    ];
    for (n, (name, more, expect)) in (0..).zip(calls) {
        let heard = call(&mut raw, n, &format!("/shop.Carts/{name}"), more);
        let ended = [&heard.fields, &heard.trailers].map(|fields| field(fields, "grpc-status")).concat();
        assert_eq!(ended, expect, "{name}");
    }
    assert_eq!((counted("failures"), counted("ejections")), (0, 0), "{}", gateway.metrics().text());
    // A status that only a server can cause does.
    call(&mut raw, 6, "/shop.Carts/Down", &[]);
    eventually("the primary is ejected", || counted("ejections") == 1);
}

#[test]
fn only_of_a_call_is_the_time_set_by_whoever_asks() {
    let v1 = server(|_| {
        std::thread::sleep(Duration::from_millis(100));
        Some("0")
    });
    let gateway = ejecting(v1.address);
    let mut raw = Raw::connect(gateway.address);
    for (stream, content_type) in [(1, "text/plain"), (3, "application/grpc-web")] {
        let fields = [("content-type", content_type), ("grpc-timeout", "1n")];
        raw.send(&headers(stream, END, &request("POST", "/shop.Carts/List", &fields)));
        let heard = raw.response(stream);
        assert_eq!((heard.status(), heard.body.len()), ("200", 7), "{content_type}: {heard:?}");
    }
}

#[test]
fn a_call_that_is_answered_at_once_with_what_its_route_retries_is_made_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    // Twice UNAVAILABLE, then OK.
    let v1 = server(move |_| Some(if count.fetch_add(1, Ordering::SeqCst) % 3 < 2 { "14" } else { "0" }));
    let v2 = server(|_| Some("0"));
    let setup = Setup::to(&[v1.address]).mirror("v2", v2.address, "");
    let text = speaking_grpc(&setup).replace(
        "primary = \"primary\"\n",
        "primary = \"primary\"\nretries = { attempts = 2, on = [\"unavailable\"], backoff = \"1ms\" }\n",
    );
    let gateway = Gateway::start(&text, &[]);
    let mut raw = Raw::connect(gateway.address);
    let heard = call(&mut raw, 0, "/shop.Carts/PayOnly", &[]);
    assert_eq!((heard.field("grpc-status"), asked.load(Ordering::SeqCst)), ("0", 3), "{heard:?}");
    assert_eq!(gateway.metrics().sum("umbra_upstream_retries_total", &[]), 2);
    // A call whose response has begun is not repeated: its client has that.
    let heard = call(&mut raw, 1, "/shop.Carts/Pay", &[]);
    assert_eq!((field(&heard.trailers, "grpc-status"), asked.load(Ordering::SeqCst)), ("14", 4));
    // A copy is one try: it stands beside the first of the primary's.
    becomes(&gateway, "v2", &[("eligible", 2), ("sent", 2), ("completed 2xx", 2)]);
    let outcomes = gateway.admin("GET", "/outcomes", "").text();
    assert!(outcomes.contains("\"grpc_unavailable\"") && !outcomes.contains("\"200\",\"200\""), "{outcomes}");
}

/// Answers in gRPC-Web over HTTP/1.1.
fn web(kind: &'static str, status: &'static str) -> Origin {
    Origin::new(move |_, stream| {
        let ended = format!("grpc-status:{status}\r\n");
        let trailers = [&[0x80], (ended.len() as u32).to_be_bytes().as_slice(), ended.as_bytes()].concat();
        let mut content = [b"\0\0\0\0\x02hi".as_slice(), &trailers].concat();
        if kind.contains("-text") {
            use base64::Engine;
            content = base64::engine::general_purpose::STANDARD.encode(content).into_bytes();
        }
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", content.len());
        write(stream, [head.as_bytes(), &content].concat())
    })
}

#[test]
fn the_web_kinds_outcome_stands_in_its_content_over_http_1_too() {
    // Media types have no case.
    for kind in ["application/grpc-web+proto", "application/grpc-web-text", "Application/gRPC-Web"] {
        let (v1, v2) = (web(kind, "0"), web(kind, "13"));
        let gateway = Setup::new(&v1).mirror("v2", v2.address, "").start();
        let ask = format!(
            "POST /shop.Carts/Pay HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(gateway.client().ask(&ask).status, 200);
        becomes(&gateway, "v2", &[("eligible", 1), ("sent", 1), ("completed 5xx", 1)]);
        let outcomes = gateway.admin("GET", "/outcomes", "").text();
        assert!(outcomes.contains("grpc_internal"), "{kind}: {outcomes}");
    }
    // Of the primary too: this one is ejected for it.
    let v1 = web("application/grpc-web", "14");
    let table = "[upstream.primary]\n";
    let rules = "ejection = { consecutive_5xx = 1, time = \"1h\", percent_max = 100 }\n";
    let gateway = Gateway::start(&Setup::new(&v1).toml().replacen(table, &format!("{table}{rules}"), 1), &[]);
    let ask = "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc-web\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(gateway.client().ask(ask).status, 200);
    eventually("it is ejected", || gateway.metrics().sum("umbra_upstream_ejections_total", &[]) == 1);
}

#[test]
fn a_call_whose_end_is_beyond_the_limits_ends_as_an_error_and_is_counted() {
    // More than a head may have: as a head that nothing follows, and as trailers behind content.
    let long = "a".repeat(100_000);
    let v1 = grpc::server(move |raw, stream, path| {
        let ended = [("grpc-status", "0"), ("grpc-message", long.as_str())];
        let fields: Vec<_> = if path.ends_with("Only") {
            [&[(":status", "200"), CALL], ended.as_slice()].concat()
        } else {
            raw.send(&headers(stream, 0, &[(":status", "200"), CALL]));
            raw.send(&frame(DATA, 0, stream, b"\0\0\0\0\x02hi"));
            ended.to_vec()
        };
        let block = tests::http2::block(&fields);
        let mut parts = block.chunks(16_000).peekable();
        let mut kind = HEADERS;
        while let Some(part) = parts.next() {
            let whole = if parts.peek().is_none() { WHOLE } else { 0 };
            let end = if kind == HEADERS { END } else { 0 };
            raw.send(&frame(kind, end | whole, stream, part));
            kind = CONTINUATION;
        }
    });
    let gateway = start(v1.address, None);
    let mut raw = Raw::connect(gateway.address);
    let heard = call(&mut raw, 0, "/shop.Carts/PayOnly", &[]);
    assert_eq!((heard.status(), heard.field("grpc-status")), ("200", "14"), "{heard:?}");
    let heard = call(&mut raw, 1, "/shop.Carts/Pay", &[]);
    assert_eq!(heard.status(), "200");
    assert!(heard.reset.is_some() && heard.trailers.is_empty(), "{heard:?}");
    let failed = gateway.metrics().sum("umbra_upstream_failures_total", &["reason=\"protocol\""]);
    assert_eq!(failed, 2, "{}", gateway.metrics().text());
}
