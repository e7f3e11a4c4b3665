//! Requests that clients may send, and the bytes that every wire must then carry: rows R, H, F, C, P and U of the HTTP/1.1
//! matrix as data.

use crate::message::{in_chunks, post, with};
use crate::table::{Case, mixed, refused, served, serves};

const BAD: &[u16] = &[400];
/// RFC 9112 §6.1 leaves the choice for codings that are not understood.
const BAD_CODING: &[u16] = &[400, 501];
const VERSION: &[u16] = &[400, 505];
const TOO_LARGE: &[u16] = &[431];

fn head_with_byte(before: &str, byte: u8, after: &str) -> Vec<u8> {
    [before.as_bytes(), &[byte], after.as_bytes()].concat()
}

pub fn request_lines() -> Vec<Case> {
    let mut rows: Vec<Case> = vec![
        served("R1 plain", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", |r| r.method == "GET" && r.target == "/")
            .into(),
        refused("R2 bare LF everywhere", "GET / HTTP/1.1\nHost: a\n\n", BAD).into(),
        refused("R2 bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", BAD).into(),
        refused("R2 bare LF after a field", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", BAD).into(),
        refused("R2 bare LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", BAD).into(),
        refused("R3 bare CR in a value", with("X: a\rb"), BAD).into(),
        refused("R3 bare CR in a name", with("X\rY: a"), BAD).into(),
        refused("R3 bare CR in the target", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", BAD).into(),
        refused("R3 bare CR as line end", "GET / HTTP/1.1\rHost: a\r\n\r\n", BAD).into(),
        refused("R3 CR CR LF", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", BAD).into(),
        refused("R4 two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", BAD).into(),
        refused("R4 two spaces before the version", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", BAD).into(),
        refused("R4 TAB", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", BAD).into(),
        refused("R4 TAB before the version", "GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", BAD).into(),
        refused("R4 trailing space", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", BAD).into(),
        refused("R4 leading space", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", BAD).into(),
        served("R5 HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", |r| r.target == "/").into(),
        refused("R5 HTTP/01.1", "GET / HTTP/01.1\r\nHost: a\r\n\r\n", VERSION).into(),
        refused("R5 http/1.1", "GET / http/1.1\r\nHost: a\r\n\r\n", VERSION).into(),
        refused("R5 HTTP/1", "GET / HTTP/1\r\nHost: a\r\n\r\n", VERSION).into(),
        refused("R5 HTTP/1.10", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", VERSION).into(),
        refused("R5 HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", VERSION).into(),
        refused("R5 HTTP/0.9 named", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", VERSION).into(),
        refused("R5 HTTP/0.9", "GET /\r\n\r\n", VERSION).into(),
        refused("R6 HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", VERSION).into(),
        refused("R7 fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", BAD).into(),
        refused("R7 space in target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", BAD).into(),
        refused("R7 no slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", BAD).into(),
        served("R8 8000 bytes", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(7986)), |r| {
            r.target.len() == 7987
        })
        .into(),
        refused("R9 9000 bytes", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9000)), &[414])
            .into(),
        refused("R9 never ends", format!("GET /{}", "x".repeat(20_000)), &[414]).into(),
        served("R10 absolute form", "GET http://b/p?q HTTP/1.1\r\nHost: a\r\n\r\n", |r| {
            r.target == "/p?q" && r.values("host") == ["b"]
        })
        .into(),
        served("R10 absolute form with port", "GET http://b:81/ HTTP/1.1\r\nHost: b:81\r\n\r\n", |r| {
            r.target == "/" && r.values("host") == ["b:81"]
        })
        .into(),
        served("R10 absolute form without path", "GET http://b HTTP/1.1\r\nHost: a\r\n\r\n", |r| {
            r.target == "/" && r.values("host") == ["b"]
        })
        .into(),
        served("R10 absolute form with query only", "GET http://b?q HTTP/1.1\r\nHost: a\r\n\r\n", |r| {
            r.target == "/?q" && r.values("host") == ["b"]
        })
        .into(),
        refused("R10 absolute form with userinfo", "GET http://u@b/ HTTP/1.1\r\nHost: b\r\n\r\n", BAD).into(),
        served("R11 OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", |r| r.target == "*").into(),
        served("R11 OPTIONS absolute without path", "OPTIONS http://b HTTP/1.1\r\nHost: b\r\n\r\n", |r| {
            r.target == "*" && r.values("host") == ["b"]
        })
        .into(),
        refused("R11 GET *", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", BAD).into(),
        refused("R12 CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", &[405]).into(),
        refused("R12 CONNECT /", "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", &[405, 400]).into(),
        served("R13 one empty line", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", |r| r.target == "/").into(),
        refused("R13 empty lines", "\r\n".repeat(1000) + "GET / HTTP/1.1\r\nHost: a\r\n\r\n", BAD).into(),
        refused("R14 no token", "G=\": / HTTP/1.1\r\nHost: a\r\n\r\n", BAD).into(),
        refused("R14 empty method", "/ HTTP/1.1\r\nHost: a\r\n\r\n", BAD).into(),
        served("R14 unknown method", "SLUDGE /x HTTP/1.1\r\nHost: a\r\n\r\n", |r| r.method == "SLUDGE")
            .into(),
        served("R14 a lower case method is another", "get / HTTP/1.1\r\nHost: a\r\n\r\n", |r| {
            r.method == "get"
        })
        .into(),
        refused("not HTTP: TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", BAD).into(),
        served("HEAD", "HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n", |r| r.method == "HEAD").to_head().into(),
        served("Connection: close", with("Connection: close"), |r| r.values("connection").is_empty())
            .and_ends()
            .into(),
    ];
    for byte in [0, 1, 0x0b, 0x7f, 0x80, 0xff] {
        let bytes = head_with_byte("GET /a", byte, " HTTP/1.1\r\nHost: a\r\n\r\n");
        rows.push(refused(&format!("R7 {byte:#04x} in target"), bytes, BAD).into());
    }
    rows
}

pub fn fields() -> Vec<Case> {
    let many = |n: usize| (0..n).map(|i| format!("X-{i}: y")).collect::<Vec<_>>().join("\r\n");
    let mut rows: Vec<Case> = vec![
        refused("H1 space before colon in Host", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", BAD).into(),
        refused("H1 space before colon", post("Content-Length : 5", "abcde"), BAD).into(),
        refused("H1 TAB before colon", with("X\t: y"), BAD).into(),
        refused("H2 obs-fold in X", with("X: a\r\n b"), BAD).into(),
        refused("H2 obs-fold in Host", "GET / HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n", BAD).into(),
        refused("H2 obs-fold in TE", post("Transfer-Encoding:\r\n chunked", "0\r\n\r\n"), BAD).into(),
        refused("H3 space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", BAD).into(),
        refused("H4 empty name", with(": x"), BAD).into(),
        refused("H4 no colon", with("Xy"), BAD).into(),
        refused("H4 [ in name", with("X[: y"), BAD).into(),
        refused("H4 ( in name", with("X(: y"), BAD).into(),
        refused(
            "H4 0xEF in name",
            head_with_byte("GET / HTTP/1.1\r\nHost: a\r\nX", 0xef, ": y\r\n\r\n"),
            BAD,
        )
        .into(),
        served("H5 obs-text", head_with_byte("GET / HTTP/1.1\r\nHost: a\r\nX: ", 0xe9, "!\r\n\r\n"), |r| {
            r.field("x") == Some("\u{e9}!")
        })
        .into(),
        served("H5 TAB inside a value", with("X: a\tb"), |r| r.field("x") == Some("a\tb")).into(),
        refused("H6 no Host", "GET / HTTP/1.1\r\nX: y\r\n\r\n", BAD).into(),
        refused("H6 no Host beside an absolute target", "GET http://a/ HTTP/1.1\r\nX: y\r\n\r\n", BAD).into(),
        refused("H6 Host twice", with("Host: a"), BAD).into(),
        refused("H6 two Hosts", with("Host: b"), BAD).into(),
        served("H6 IPv6 Host", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", |r| {
            r.field("host") == Some("[::1]:80")
        })
        .into(),
        served("H7 HTTP/1.0 without Host", "GET /ten HTTP/1.0\r\n\r\n", |r| {
            r.target == "/ten" && r.values("host").len() == 1
        })
        .and_ends()
        .into(),
        served("H7 HTTP/1.0 with Host", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", |r| {
            r.field("host") == Some("a")
        })
        .and_ends()
        .into(),
        served(
            "H7 HTTP/1.0 keep-alive",
            "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
            |r| r.values("connection").is_empty(),
        )
        .into(),
        served("H8 fields at the limit", with(&many(99)), |r| r.field("x-98") == Some("y")).into(),
        refused("H8 one field too many", with(&many(100)), TOO_LARGE).into(),
        refused("H8 a field too large", with(&format!("X: {}", "y".repeat(17 * 1024))), TOO_LARGE).into(),
        refused(
            "H8 fields too large together",
            with(&(0..20).map(|i| format!("X-{i}: {}", "y".repeat(1000))).collect::<Vec<_>>().join("\r\n")),
            TOO_LARGE,
        )
        .into(),
        refused(
            "H8 a head that never ends",
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(20_000)),
            TOO_LARGE,
        )
        .into(),
        served(
            "H9 order, case, empty and repeated values",
            with("X-b: 1\r\nx-A:\r\nX-b: 2\r\nX-B:  3 \r\nY: ,"),
            |r| {
                let own: Vec<_> = r.fields.iter().filter(|(n, _)| n.len() == 3 || n == "Y").collect();
                let own: Vec<_> =
                    own.iter().map(|(n, v)| (n.as_str(), v.as_str())).filter(|(n, _)| *n != "Via").collect();
                own == [("X-b", "1"), ("x-A", ""), ("X-b", "2"), ("X-B", "3"), ("Y", ",")]
            },
        )
        .into(),
        served(
            "H10 underscores never frame",
            post("Content_Length: 3\r\nTransfer_Encoding: chunked", ""),
            |r| {
                r.field("content_length") == Some("3")
                    && r.field("transfer_encoding") == Some("chunked")
                    && r.body.is_empty()
            },
        )
        .into(),
    ];
    for host in ["a,b", "a, b", "u@a", "a/b", "a:99999", "a:x", "", "a b", "a?", "a#", "[::1", "http://a"] {
        let bytes = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        rows.push(refused(&format!("H6 Host {host:?}"), bytes, BAD).into());
    }
    for byte in [0, 1, 8, 0x0b, 0x0c, 0x1f, 0x7f] {
        let bytes = head_with_byte("GET / HTTP/1.1\r\nHost: a\r\nX: a", byte, "b\r\n\r\n");
        rows.push(refused(&format!("H5 {byte:#04x} in value"), bytes, BAD).into());
    }
    rows
}

pub fn framing() -> Vec<Case> {
    let mut rows: Vec<Case> = Vec::new();
    for content in ["0\r\n\r\n", "abcde", "5\r\nabcde\r\n0\r\n\r\n", ""] {
        for lines in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Content-Length: 0\r\nTransfer-Encoding: chunked",
        ] {
            rows.push(refused("F1 both framings", post(lines, content), BAD).into());
        }
    }
    for lines in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 10",
        "Content-Length: 5, 5",
        "Content-Length: 5\r\ncontent-length: 5",
    ] {
        rows.push(refused(&format!("F2 F3 {lines:?}"), post(lines, "abcde"), BAD).into());
    }
    for length in ["+5", "-1", "0x5", "0o5", "1_0", "5e0", "5.0", "", "5 6", "5Z", "\"5\"", "5;", "\u{b9}"] {
        rows.push(
            refused(&format!("F4 {length:?}"), post(&format!("Content-Length: {length}"), "abcde"), BAD)
                .into(),
        );
    }
    for length in ["9223372036854775808", "18446744073709551616", "999999999999999999999999999999"] {
        let bytes = post(&format!("Content-Length: {length}"), "");
        rows.push(refused(&format!("F5 {length}"), bytes, &[400, 413]).into());
    }
    let te10 = "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    rows.push(refused("F6 Transfer-Encoding in HTTP/1.0", te10, BAD).into());
    for coding in [
        "identity",
        "gzip",
        "xchunked",
        "chunkedx",
        "chunked;a=b",
        "\"chunked\"",
        "chunked, identity",
        "chunked, chunked",
        "gzip, chunked",
        "",
        ",chunked",
        "chunked,",
        "chun ked",
        "chunked\u{b}",
        "\u{b}chunked",
        "chunked\u{c}",
        "\u{a0}chunked",
        "chunked\u{ff}",
    ] {
        let bytes = post(&format!("Transfer-Encoding: {coding}"), "0\r\n\r\n");
        rows.push(refused(&format!("F7 {coding:?}"), bytes, BAD_CODING).into());
    }
    for (a, b) in
        [("chunked", "chunked"), ("chunked", "identity"), ("identity", "chunked"), ("gzip", "chunked")]
    {
        let bytes = post(&format!("Transfer-Encoding: {a}\r\nTransfer-Encoding: {b}"), "0\r\n\r\n");
        rows.push(refused(&format!("F8 {a} and {b}"), bytes, BAD_CODING).into());
    }
    rows.extend([
        served("F7 chunked in capitals", post("Transfer-Encoding: CHUNKED", "1\r\na\r\n0\r\n\r\n"), |r| {
            r.body == b"a"
        })
        .into(),
        served(
            "F9 HTTP/1.0 POST without length",
            "POST /p HTTP/1.0\r\nHost: a\r\n\r\nGET /hidden HTTP/1.1\r\n",
            |r| r.body.is_empty() && r.target == "/p",
        )
        .and_ends()
        .into(),
        served("POST without framing has no content", "POST /p HTTP/1.1\r\nHost: a\r\n\r\n", |r| {
            r.body.is_empty()
        })
        .into(),
        served("POST of nothing", post("Content-Length: 0", ""), |r| r.body.is_empty()).into(),
        served("POST", post("Content-Length: 5", "abcde"), |r| r.body == b"abcde").into(),
        served("leading zeros are digits", post("Content-Length: 005", "abcde"), |r| r.body == b"abcde")
            .into(),
        mixed("F11 garbage behind", post("Content-Length: 0", "\0garbage!\r\n"), 1, BAD).into(),
        serves(
            "F13 three in one segment",
            [
                post("Content-Length: 3", "abc"),
                in_chunks("3\r\ndef\r\n0\r\n\r\n"),
                "GET /third HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            ]
            .concat(),
            3,
            |p, _| p[0].body == b"abc" && p[1].body == b"def" && p[2].target == "/third",
        )
        .into(),
        mixed(
            "F14 the fourth of ten is malformed",
            [
                "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3),
                with("X : y"),
                "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(6),
            ]
            .concat(),
            3,
            BAD,
        )
        .into(),
    ]);
    for method in ["GET", "DELETE", "OPTIONS", "PUT", "PATCH", "QUERY"] {
        let bytes = format!(
            "{method} /b HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody\
             GET /behind HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let row = serves(&format!("F10 {method} with content"), bytes, 2, |p, _| {
            p[0].body == b"body" && p[1].target == "/behind" && p[1].body.is_empty()
        });
        rows.push(row.into());
    }
    rows
}

pub fn chunks() -> Vec<Case> {
    let mut rows: Vec<Case> = vec![
        served("C1 hex in capitals, zeros", in_chunks("00A\r\n0123456789\r\n0000\r\n\r\n"), |r| r.body == b"0123456789")
            .into(),
        served("C1 chunks of one byte", in_chunks("1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n"), |r| r.body == b"abc").into(),
        served("C1 extensions stop here", in_chunks("2;a=b;c=\"q;\\\"x\"\r\nab\r\n0;z\r\n\r\n"), |r| r.body == b"ab").into(),
        served("C1 no content", in_chunks("0\r\n\r\n"), |r| r.body.is_empty()).into(),
        serves(
            "C5 a request behind the last chunk is a request",
            in_chunks("0\r\n\r\nGET /own HTTP/1.1\r\nHost: a\r\n\r\n"),
            2,
            |p, _| p[0].body.is_empty() && p[1].target == "/own",
        )
        .into(),
        served("C6 trailers", in_chunks("1\r\na\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n"), |r| {
            r.trailers.is_empty() || r.trailers.iter().map(|(_, v)| v.as_str()).collect::<Vec<_>>() == ["1", "2"]
        })
        .into(),
        served("C6 trailers that may not be", in_chunks("1\r\na\r\n0\r\nContent-Length: 9\r\nHost: b\r\n\
                Transfer-Encoding: x\r\nAuthorization: me\r\nX-Forwarded-For: 1.1.1.1\r\nConnection: x\r\n\r\n"), |r| {
            r.trailers.is_empty() && r.body == b"a"
        })
        .into(),
        refused("C6 a trailer without colon", in_chunks("0\r\nX\r\n\r\n"), BAD).into(),
        refused("C6 a trailer folded", in_chunks("0\r\nX: y\r\n z\r\n\r\n"), BAD).into(),
        refused("C6 a trailer ended by LF", in_chunks("0\r\nX: y\n\r\n"), BAD).into(),
        refused("C6 trailers too many", in_chunks(&format!("0\r\n{}\r\n", "X: y\r\n".repeat(10_000))), &[400, 431]).into(),
        refused("C7 an extension too long", in_chunks(&format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(64 * 1024))), BAD)
            .into(),
        refused(
            "C7 extensions too long together",
            in_chunks(&(format!("1;{}\r\na\r\n", "x".repeat(100)).repeat(2000) + "0\r\n\r\n")),
            BAD,
        )
        .into(),
    ];
    for size in [
        "0x5",
        "+5",
        "-1",
        "1_0",
        "",
        " 5",
        "5g",
        "\t5",
        "5 ",
        "11111111111111111",
        "ffffffffffffffff",
        "5.0",
    ] {
        let bytes = in_chunks(&format!("{size}\r\nabcde\r\n0\r\n\r\n"));
        rows.push(refused(&format!("C2 size {size:?}"), bytes, BAD).into());
    }
    for (what, content) in [
        ("LF after the size", "5\nabcde\r\n0\r\n\r\n"),
        ("CR after the size", "5\rabcde\r\n0\r\n\r\n"),
        ("CR X", "5\rXabcde\r\n0\r\n\r\n"),
        ("CR CR LF", "5\r\r\nabcde\r\n0\r\n\r\n"),
        ("LF in an extension", "5;a\nb\r\nabcde\r\n0\r\n\r\n"),
        ("CR in an extension", "5;a\rb\r\nabcde\r\n0\r\n\r\n"),
        ("LF in a quoted extension", "5;a=\"\n\"\r\nabcde\r\n0\r\n\r\n"),
        ("NUL in an extension", "5;a\0\r\nabcde\r\n0\r\n\r\n"),
        ("an extension without name", "5;\r\nabcde\r\n0\r\n\r\n"),
        ("LF after the last chunk", "0\n\r\n"),
        ("LF at the end", "0\r\n\n"),
    ] {
        rows.push(refused(&format!("C3 {what}"), in_chunks(content), BAD).into());
    }
    for (what, content) in [
        ("longer than its size", "5\r\nabcdefgh\r\n0\r\n\r\n"),
        ("without line end", "5\r\nabcde0\r\n\r\n"),
        ("ended by one byte", "5\r\nabcde\n0\r\n\r\n"),
        ("ended by X X", "5\r\nabcdeXX0\r\n\r\n"),
        ("ended by CR X", "5\r\nabcde\rX0\r\n\r\n"),
        ("ended by LF CR", "5\r\nabcde\n\r0\r\n\r\n"),
    ] {
        rows.push(refused(&format!("C4 a chunk {what}"), in_chunks(content), BAD).into());
    }
    rows
}

pub fn hop_by_hop() -> Vec<Case> {
    vec![
        served("P1 nominated", with("Connection: close, X-Secret\r\nX-Secret: 1\r\nX-Kept: 2"), |r| {
            r.field("x-secret").is_none() && r.field("x-kept") == Some("2") && r.field("connection").is_none()
        })
        .and_ends()
        .into(),
        served(
            "P2 what cannot be nominated",
            "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nAuthorization: me\r\nCookie: c\r\nX-Forwarded-For: 1.1.1.1\r\n\
             X-Request-Id: id-of-P2\r\nConnection: X-Forwarded-For, Host, Content-Length, Authorization, Cookie, Via\r\n\
             Connection: X-Request-Id, X-Forwarded-Proto, X-Forwarded-Host, Transfer-Encoding\r\n\r\nok",
            |r| {
                r.body == b"ok"
                    && r.field("host") == Some("a")
                    && r.field("authorization") == Some("me")
                    && r.field("cookie") == Some("c")
                    && r.values("x-forwarded-for").join(", ") == "1.1.1.1, 127.0.0.1"
                    && r.field("x-forwarded-proto") == Some("http")
                    && r.field("x-forwarded-host") == Some("a")
                    && r.field("via").is_some()
                    && r.values("x-request-id") == ["id-of-P2"]
            },
        )
        .into(),
        served(
            "P3 fields of one hop",
            with("Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nProxy-Authorization: x\r\n\
                  Connection: keep-alive, TE"),
            |r| {
                ["keep-alive", "proxy-connection", "te", "proxy-authorization", "connection"]
                    .iter()
                    .all(|name| r.field(name).is_none())
            },
        )
        .into(),
        served("P4 nothing claimed", with("X: y"), |r| {
            r.values("x-forwarded-for") == ["127.0.0.1"]
                && r.values("x-forwarded-proto") == ["http"]
                && r.values("x-forwarded-host") == ["a"]
                && r.values("x-request-id").first().is_some_and(|id| id.len() >= 16)
                && r.values("via").len() == 1
        })
        .into(),
        served("P4 claims are added to", with("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nVia: 1.0 b"), |r| {
            r.values("x-forwarded-for").join(", ") == "6.6.6.6, 7.7.7.7, 127.0.0.1"
                && r.values("via").join(", ").starts_with("1.0 b, ")
        })
        .into(),
        refused("P5 TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", &[405]).into(),
        refused("P5 TRACE that may go no further", "TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n", &[405]).into(),
        served("U1 Upgrade that the route does not take, which is passed over", with("Connection: Upgrade\r\nUpgrade: websocket"), |r| {
            r.field("upgrade").is_none() && r.field("connection").is_none()
        })
        .into(),
        served("U2 Upgrade with content", post("Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: 3", "abc"), |r| {
            r.body == b"abc" && r.field("upgrade").is_none()
        })
        .into(),
        served(
            "U2 an offer of h2c, which may be passed over (RFC 9113 §3.1)",
            with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"),
            |r| ["upgrade", "http2-settings", "connection"].iter().all(|name| r.field(name).is_none()),
        )
        .into(),
        served("U2 Upgrade in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", |r| {
            r.field("upgrade").is_none() && r.field("connection").is_none()
        })
        .and_ends()
        .into(),
        served("U2 Upgrade that Connection does not name", with("Upgrade: websocket"), |r| r.field("upgrade").is_none())
            .into(),
        refused("U7 another expectation", with("Expect: wonders"), &[417]).into(),
        served("U7 an expectation without content", with("Expect: 100-continue"), |r| r.body.is_empty()).into(),
        served(
            "U7 an expectation of HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
            |r| r.body == b"ok",
        )
        .and_ends()
        .into(),
    ]
}

/// All of them.
pub fn all() -> Vec<Case> {
    [request_lines(), fields(), framing(), chunks(), hop_by_hop()].into_iter().flatten().collect()
}
