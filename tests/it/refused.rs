//! The access log has refused requests: method, authority and path as far as they can be read, and no secret with them.

use std::fs;

use tests::http2::{END, Raw, headers, request};
use tests::load::OK;
use tests::origin::After;
use tests::{Gateway, Origin, Setup};

use crate::http2::{PLAIN, listening};
use crate::logs::{logging_to, wait_for_lines};

#[test]
fn what_is_refused_after_its_head_was_read_is_told_with_what_it_asked_for_and_without_its_secrets() {
    let v1 = Origin::fixed(OK, After::Keep);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let log = folder.path().join("access.log");
    let setup = Setup::new(&v1).mirror(
        "v2",
        v1.address,
        "redact = { query = [\"token\"], headers = [\"user-agent\"] }",
    );
    let gateway = logging_to(&setup, &log, "").start();
    let secret = "/p?token=SECRET&n=1";
    let rows = [
        (format!("TRACE {secret} HTTP/1.1\r\nHost: shop\r\n"), 405, "TRACE", "shop", "/p"),
        (
            "CONNECT db.example:5432 HTTP/1.1\r\nHost: shop\r\n".to_owned(),
            405,
            "CONNECT",
            "db.example:5432",
            "",
        ),
        (format!("GET {secret} HTTP/2.0\r\nHost: shop\r\n"), 505, "GET", "shop", "/p"),
        (
            format!(
                "POST {secret} HTTP/1.1\r\nHost: shop\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n"
            ),
            400,
            "POST",
            "shop",
            "/p",
        ),
        (format!("PUT {secret} HTTP/1.1\r\nHost: shop\r\nExpect: wonders\r\n"), 417, "PUT", "shop", "/p"),
        (format!("GET {secret} HTTP/1.1\r\n"), 400, "GET", "", "/p"),
        (format!("GET http://me:SECRET@shop{secret} HTTP/1.1\r\nHost: shop\r\n"), 400, "GET", "shop", "/p"),
        (
            format!("GET {secret} HTTP/1.1\r\nHost: shop\r\nX: {}\r\n", "x".repeat(100_000)),
            431,
            "GET",
            "shop",
            "/p",
        ),
        (format!("GET /{} HTTP/1.1\r\nHost: shop\r\n", "x".repeat(20_000)), 414, "GET", "", ""),
        ("no request at all SECRET".to_owned(), 400, "", "", ""),
    ];
    for (n, (head, status, ..)) in rows.iter().enumerate() {
        let answer = gateway.client().ask(format!("{head}User-Agent: SECRET\r\nX-Request-Id: r-{n}\r\n\r\n"));
        assert_eq!(answer.status, *status, "{head}");
        wait_for_lines(&log, n + 1);
    }
    for (line, (head, status, method, authority, path)) in wait_for_lines(&log, rows.len()).iter().zip(&rows)
    {
        assert_eq!(line["status"], *status, "{line:#}");
        let told = [&line["method"], &line["authority"], &line["path"]];
        assert_eq!(told, [method, authority, path], "{head}: {line:#}");
        if *path == "/p" {
            assert_eq!(line["query"], "token=%5Bredacted%5D&n=1", "{head}");
        }
        assert!(line["reject"].is_string(), "{line:#}");
    }
    assert!(!fs::read_to_string(&log).expect("the log").contains("SECRET"));
}

#[test]
fn what_is_refused_on_http2_is_told_alike() {
    let v1 = Origin::fixed(OK, After::Keep);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let log = folder.path().join("access.log");
    let setup = Setup::new(&v1)
        .mirror("v2", v1.address, "redact = { query = [\"token\"] }")
        .with("[limits]\nrequest_head_bytes_max = \"8KiB\"");
    let gateway = Gateway::start(&listening(&logging_to(&setup, &log, ""), PLAIN), &[]);
    let path = "/p?token=SECRET&n=1";
    let huge = "x".repeat(10_000);
    let rows = [
        (request("TRACE", path, &[]), "405", "TRACE", "a", "/p"),
        (
            vec![(":method", "CONNECT"), (":authority", "db.example:5432")],
            "405",
            "CONNECT",
            "db.example:5432",
            "",
        ),
        (request("GET", path, &[(":scheme", "ftp")]), "400", "GET", "a", "/p"),
        (request("GET", path, &[("host", "b")]), "400", "GET", "a", "/p"),
        (request("GET", path, &[(":authority", "me:SECRET@a")]), "400", "GET", "a", "/p"),
        (request("PUT", path, &[("expect", "wonders")]), "417", "PUT", "a", "/p"),
        (request("GET", path, &[("x", &huge)]), "431", "GET", "a", "/p"),
    ];
    for (n, (fields, status, method, authority, path)) in rows.iter().enumerate() {
        let mut raw = Raw::connect(gateway.address);
        assert_eq!(raw.send(&headers(1, END, fields)).response(1).status(), *status, "{fields:?}");
        let line = wait_for_lines(&log, n + 1).remove(n);
        assert_eq!(
            [&line["method"], &line["authority"], &line["path"]],
            [method, authority, path],
            "{line:#}"
        );
        assert_eq!((&line["protocol"], line["reject"].is_string()), (&"HTTP/2.0".into(), true), "{line:#}");
    }
    assert!(!fs::read_to_string(&log).expect("the log").contains("SECRET"));
}
