//! gRPC calls: what they came to is their own status, wherever it stands, and not HTTP's.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tests::http2::{DATA, END, HEADERS, Heard, Raw, frame, headers, request};
use tests::load::{Peer, becomes};
use tests::{Gateway, Origin, Setup, eventually};

use crate::http2::{PLAIN, listening};

const CALL: (&str, &str) = ("content-type", "application/grpc");

/// A server that ends each call as `status` says of its path; `None` never ends it.
fn server(status: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static) -> Peer {
    Peer::new(move |tcp| {
        if !tcp.peek(&mut [0]).is_ok_and(|n| n > 0) {
            return;
        }
        let mut raw = Raw::serve(tcp, &[]);
        while let Some(heard) = raw.frame() {
            if heard.flags & END == 0 || ![HEADERS, DATA].contains(&heard.kind) {
                continue;
            }
            let asked = raw.streams.get(&heard.stream).cloned().unwrap_or_default();
            let path = asked.trailers.iter().find(|(name, _)| name == ":path").map_or("", |(_, path)| path);
            match status(path) {
                None => {}
                // At once, in a head that nothing follows.
                Some(status) if path.ends_with("Only") => {
                    let fields = [(":status", "200"), CALL, ("grpc-status", status)];
                    raw.send(&headers(heard.stream, END, &fields));
                }
                Some(status) => {
                    raw.send(&headers(heard.stream, 0, &[(":status", "200"), CALL]));
                    raw.send(&frame(DATA, 0, heard.stream, b"\0\0\0\0\x02hi"));
                    raw.send(&headers(heard.stream, END, &[("grpc-status", status)]));
                }
            }
        }
    })
}

fn start(v1: SocketAddr, v2: Option<SocketAddr>) -> Gateway {
    let setup = Setup::to(&[v1]);
    let setup = v2.map_or_else(|| setup.clone(), |v2| setup.clone().mirror("v2", v2, ""));
    let text = listening(&setup, PLAIN);
    let speaks = |text: String, name: &str| {
        let table = format!("[upstream.{name}]\n");
        text.replacen(&table, &format!("{table}protocol = \"h2\"\n"), 1)
    };
    Gateway::start(&speaks(speaks(text, "primary"), "v2"), &[])
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
    // Everybody else is told in HTTP's.
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
    let text = listening(&Setup::to(&[v1]), PLAIN);
    let table = "[upstream.primary]\n";
    Gateway::start(&text.replacen(table, &format!("{table}protocol = \"h2\"\n{rules}\n"), 1), &[])
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
    // What only a server can bring about does.
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
