//! Answers that primaries may give, and those that the client must then get: rows S of the HTTP/1.1 matrix, and U3 and U8, as
//! data.

use crate::{After, Response};

/// The outcome that a row's client must get.
#[derive(Clone)]
pub enum Gets {
    /// This status and content, complete; `fn` is asked about the rest.
    Answer(u16, Vec<u8>, fn(&Response) -> bool),
    /// A 502 of the gateway's own.
    BadGateway,
    /// A connection that breaks before the answer is complete.
    Cut,
    /// One or the other: the gateway does not choose how much of the answer was read before it broke.
    Broken,
}

pub struct Row {
    pub name: &'static str,
    pub answer: Vec<u8>,
    pub after: After,
    pub method: &'static str,
    pub gets: Gets,
    /// The primary's connection may carry another request.
    pub reused: bool,
}

fn row(name: &'static str, answer: impl Into<Vec<u8>>, after: After, gets: Gets) -> Row {
    Row { name, answer: answer.into(), after, method: "GET", gets, reused: false }
}

impl Row {
    fn reused(mut self) -> Self {
        self.reused = true;
        self
    }

    fn to(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }
}

fn ok(content: &str) -> Gets {
    Gets::Answer(200, content.into(), |_| true)
}

fn none_of(status: u16, check: fn(&Response) -> bool) -> Gets {
    Gets::Answer(status, Vec::new(), check)
}

/// An answer with these lines, and content as it goes on the wire.
pub fn lines(lines: &str, content: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n{content}")
}

pub fn framing() -> Vec<Row> {
    let keep = After::Keep;
    vec![
        row("length", lines("Content-Length: 2", "ok"), keep, ok("ok")).reused(),
        row(
            "chunked",
            lines("Transfer-Encoding: chunked", "1\r\no\r\n1;x=y\r\nk\r\n0\r\n\r\n"),
            keep,
            ok("ok"),
        )
        .reused(),
        row("no content", lines("Content-Length: 0", ""), keep, ok("")).reused(),
        row(
            "trailers",
            lines("Transfer-Encoding: chunked", "2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"),
            keep,
            ok("ok"),
        )
        .reused(),
        row("no reason", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", keep, ok("ok")).reused(),
        row(
            "the client's hop is its own",
            lines(
                "Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-End: 2\r\n\
            Upgrade: h2c\r\nProxy-Connection: keep-alive\r\nContent-Length: 2",
                "ok",
            ),
            keep,
            Gets::Answer(200, b"ok".into(), |r| {
                r.field("x-end") == Some("2")
                    && ["x-hop", "keep-alive", "upgrade", "proxy-connection", "connection"]
                        .iter()
                        .all(|n| r.field(n).is_none())
            }),
        )
        .reused(),
        row(
            "order and repetition",
            lines("Set-Cookie: a\r\nX-B: 1\r\nset-cookie: b\r\nContent-Length: 2", "ok"),
            keep,
            Gets::Answer(200, b"ok".into(), |r| r.values("set-cookie") == ["a", "b"]),
        )
        .reused(),
        row(
            "obs-text",
            [b"HTTP/1.1 200 OK\r\nX: \xe9\r\nContent-Length: 2\r\n\r\nok".as_slice()].concat(),
            keep,
            Gets::Answer(200, b"ok".into(), |r| r.field("x") == Some("\u{e9}")),
        )
        .reused(),
        row(
            "Connection: close",
            lines("Connection: close\r\nContent-Length: 2", "ok"),
            After::Close,
            ok("ok"),
        ),
        row(
            "S1 both framings",
            lines("Content-Length: 2\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
            keep,
            Gets::BadGateway,
        ),
        row("S1 two lengths", lines("Content-Length: 2\r\nContent-Length: 3", "okk"), keep, Gets::BadGateway),
        row(
            "S1 a length twice",
            lines("Content-Length: 2\r\nContent-Length: 2", "ok"),
            keep,
            Gets::BadGateway,
        ),
        row("S1 a list of lengths", lines("Content-Length: 2, 2", "ok"), keep, Gets::BadGateway),
        row("S1 a signed length", lines("Content-Length: +2", "ok"), keep, Gets::BadGateway),
        row("S1 a length in hex", lines("Content-Length: 0x2", "ok"), keep, Gets::BadGateway),
        row("S1 an empty length", lines("Content-Length:", "ok"), keep, Gets::BadGateway),
        row(
            "S1 a length of 30 digits",
            lines(&format!("Content-Length: {}", "9".repeat(30)), "ok"),
            keep,
            Gets::BadGateway,
        ),
        row("S1 unknown coding", lines("Transfer-Encoding: gzip", "ok"), keep, Gets::BadGateway),
        row("S1 two codings", lines("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"), keep, Gets::BadGateway),
        row(
            "S1 chunked twice",
            lines("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
            keep,
            Gets::BadGateway,
        ),
        row(
            "S1 coding in HTTP/1.0",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            keep,
            Gets::BadGateway,
        ),
        row(
            "S2 204",
            "HTTP/1.1 204 No Content\r\n\r\n",
            keep,
            none_of(204, |r| r.field("content-length").is_none()),
        )
        .reused(),
        row(
            "S2 204 with a length",
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
            keep,
            none_of(204, |r| r.field("content-length").is_none() && r.field("transfer-encoding").is_none()),
        ),
        row(
            "S2 304 with a length",
            "HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 5\r\n\r\n",
            keep,
            none_of(304, |r| r.field("etag") == Some("x")),
        )
        .reused(),
        row(
            "S2 304 with content",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello",
            keep,
            none_of(304, |_| true),
        ),
        row("S4 until close", "HTTP/1.1 200 OK\r\n\r\nto the end", After::Close, ok("to the end")),
        row(
            "S4 until close in HTTP/1.0",
            "HTTP/1.0 200 OK\r\n\r\nto the end",
            After::Close,
            ok("to the end"),
        ),
        row("S4 until close, nothing", "HTTP/1.1 200 OK\r\n\r\n", After::Close, ok("")),
        row(
            "U3 101 unasked",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            keep,
            Gets::BadGateway,
        ),
        row(
            "U3 200 with Upgrade",
            lines("Upgrade: x\r\nConnection: upgrade\r\nContent-Length: 2", "ok"),
            keep,
            Gets::Answer(200, b"ok".into(), |r| r.field("upgrade").is_none()),
        )
        .reused(),
        row(
            "HEAD",
            lines("Content-Length: 5", ""),
            keep,
            none_of(200, |r| r.field("content-length") == Some("5")),
        )
        .to("HEAD")
        .reused(),
        row("HEAD of chunked content", lines("Transfer-Encoding: chunked", ""), keep, none_of(200, |_| true))
            .to("HEAD")
            .reused(),
        row("U8 HEAD with content", lines("Content-Length: 5", "hello"), keep, none_of(200, |_| true))
            .to("HEAD"),
    ]
}

pub fn interim() -> Vec<Row> {
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let interims: fn(&Response) -> bool = |r| r.interims == [100, 103, 103];
    vec![
        row(
            "S3 interims in order",
            format!("HTTP/1.1 100 Continue\r\n\r\n{hint}{hint}{}", lines("Content-Length: 2", "ok")),
            After::Keep,
            Gets::Answer(200, b"ok".into(), interims),
        )
        .reused(),
        row("S3 interims without end", hint.repeat(1000), After::Keep, Gets::BadGateway),
        row("S3 103 and then nothing", hint, After::Close, Gets::BadGateway),
        row(
            "S2 an interim with a length",
            format!(
                "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n{}",
                lines("Content-Length: 2", "ok")
            ),
            After::Keep,
            ok("ok"),
        )
        .reused(),
    ]
}

pub fn broken() -> Vec<Row> {
    let mut rows = Vec::new();
    for after in [After::Close, After::Reset] {
        // A reset takes away the bytes that the gateway has not read yet.
        let cut = || if after == After::Reset { Gets::Broken } else { Gets::Cut };
        rows.extend([
            row("S5 nothing", "", after, Gets::BadGateway),
            row("S5 half a status line", "HTTP/1.1 20", after, Gets::BadGateway),
            row("S5 half a head", "HTTP/1.1 200 OK\r\nContent-Le", after, Gets::BadGateway),
            row("S5 half a length", lines("Content-Length: 10", "half"), after, cut()),
            row("S5 half a chunk", lines("Transfer-Encoding: chunked", "a\r\nhalf"), after, cut()),
            row("S5 no last chunk", lines("Transfer-Encoding: chunked", "4\r\nhalf\r\n"), after, cut()),
            row(
                "S5 half the trailers",
                lines("Transfer-Encoding: chunked", "4\r\nhalf\r\n0\r\n"),
                after,
                cut(),
            ),
        ]);
    }
    rows.push(row("S5 everything, then close", lines("Content-Length: 2", "ok"), After::Close, ok("ok")));
    rows.push(row(
        "a malformed chunk later",
        lines("Transfer-Encoding: chunked", &format!("4\r\nhalf\r\n{}", "x".repeat(9))),
        After::Hang,
        Gets::Broken,
    ));
    rows
}

pub fn garbage() -> Vec<Row> {
    let keep = After::Hang;
    let mut rows = vec![
        row("S6 garbage", "\x01\x02\x03 no HTTP at all\r\n\r\n", keep, Gets::BadGateway),
        row("S6 HTTP/0.9", "<html>hello</html>", After::Close, Gets::BadGateway),
        row("S6 HTTP/2", "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n", keep, Gets::BadGateway),
        row("S6 bare LF", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", keep, Gets::BadGateway),
        row("S6 obs-fold", lines("X: a\r\n b\r\nContent-Length: 2", "ok"), keep, Gets::BadGateway),
        row("S6 NUL", lines("X: a\0b\r\nContent-Length: 2", "ok"), keep, Gets::BadGateway),
        row("S6 bare CR", lines("X: a\rb\r\nContent-Length: 2", "ok"), keep, Gets::BadGateway),
        row("S6 space before colon", lines("X : a\r\nContent-Length: 2", "ok"), keep, Gets::BadGateway),
        row("S6 no colon", lines("X\r\nContent-Length: 2", "ok"), keep, Gets::BadGateway),
        row("S6 a head of 1 MiB", lines(&format!("X: {}", "y".repeat(1 << 20)), ""), keep, Gets::BadGateway),
        row("S6 1000 fields", lines(&"X: y\r\n".repeat(1000), ""), keep, Gets::BadGateway),
    ];
    for status in ["99", "1000", "20", "2OO", "", "-20", "000", "600", "20 0"] {
        let bytes = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        rows.push(row("S11 status", bytes, keep, Gets::BadGateway));
    }
    rows
}

/// All of them.
pub fn all() -> Vec<Row> {
    [framing(), interim(), broken(), garbage()].into_iter().flatten().collect()
}
