//! Answers that primaries may give, and those that the client then gets: rows S of the HTTP/1.1 matrix, and U3 and U8.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tests::answer_rows::{self, Gets, Row, broken, framing, garbage, interim, lines};
use tests::{After, Client, Conn, Origin, Setup, Stage, chunked, eventually, pattern, show};

/// How the primary's bytes are cut.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Whole,
    Bytes,
    /// In two, after so many bytes.
    At(usize),
}

/// Runs every row in every way; between rows another client must get its own answer and nothing else.
#[track_caller]
fn run(rows: Vec<Row>, driver: Option<&str>) {
    let rows = Arc::new(rows);
    let primary = Origin::new({
        let rows = Arc::clone(&rows);
        move |request, stream| {
            let mut parts = request.target.split('/').skip(1);
            let (way, n) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let Some(row) = n.parse().ok().and_then(|n: usize| rows.get(n)) else {
                let own = &request.target;
                return tests::origin::write(
                    stream,
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{own}", own.len()),
                );
            };
            let size = match way {
                "bytes" => 1,
                at => at.parse().unwrap_or(usize::MAX),
            };
            let cut = size.clamp(1, row.answer.len().max(1));
            let (first, rest) = row.answer.split_at(cut.min(row.answer.len()));
            for piece in [first].into_iter().chain(rest.chunks(if size == 1 { 1 } else { usize::MAX })) {
                if tests::origin::write(stream, piece) != After::Keep {
                    return After::Close;
                }
                if (2..usize::MAX).contains(&size) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            row.after
        }
    });
    let stage = Stage::of(primary, Origin::named("v2"), "", |setup| match driver {
        Some(driver) => setup.driver(driver),
        None => setup,
    });
    let mut failures = Vec::new();
    let mut asked = 0;
    for (n, row) in rows.iter().enumerate() {
        let cuts = tests::table::some_cuts(row.name, row.answer.len()).into_iter().map(Way::At);
        for way in [Way::Whole, Way::Bytes].into_iter().chain(cuts) {
            if way == Way::Bytes && row.answer.len() > 10_000 {
                continue;
            }
            asked += 2;
            if let Err(why) = one(&stage, n, row, way) {
                failures.push(format!(
                    "{} ({way:?}, {:?}): {why}\n  primary: {}",
                    row.name,
                    row.after,
                    show(&row.answer)
                ));
            }
        }
    }
    let metrics = stage.settled();
    let copies = metrics.mirror("v2", "eligible_total");
    if copies != asked || stage.mirror.count() as i64 != asked {
        failures.push(format!("{asked} requests, {copies} eligible, {} copies", stage.mirror.count()));
    }
    assert!(failures.is_empty(), "{} failures:\n\n{}", failures.len(), failures.join("\n"));
}

fn one(stage: &Stage, n: usize, row: &Row, way: Way) -> Result<(), String> {
    let way = match way {
        Way::Whole => "whole".to_owned(),
        Way::Bytes => "bytes".to_owned(),
        Way::At(at) => at.to_string(),
    };
    let mut client = stage.client();
    let asked = format!("{} /{way}/{n} HTTP/1.1\r\n", row.method);
    client.send(format!("{asked}Host: a\r\n\r\n"));
    let got = client.try_response(row.method == "HEAD");
    let keeps = match (&row.gets, got) {
        (Gets::Answer(status, content, check), Ok(answer)) => {
            if answer.status != *status || answer.body != *content || !check(&answer) {
                return Err(format!("the client got {answer:?}"));
            }
            // The client's connection does not depend on the primary's.
            answer.field("connection").is_none()
        }
        (Gets::BadGateway | Gets::Broken, Ok(answer)) if answer.status == 502 && answer.body.len() < 200 => {
            answer.field("connection").is_none()
        }
        (Gets::Cut | Gets::Broken, Err(_)) if client.is_ended() => return next_client(stage, row, &asked),
        (_, got) => return Err(format!("the client got {got:?}")),
    };
    if keeps {
        let answer = client.send("GET /again HTTP/1.1\r\nHost: a\r\n\r\n").try_response(false)?;
        if answer.text() != "/again" {
            return Err(format!("its next request got {answer:?}"));
        }
        return Ok(());
    }
    if !client.is_closed() {
        return Err(format!("the connection goes on: {}", show(&client.inbox)));
    }
    next_client(stage, row, &asked)
}

/// The next client gets its own answer, and not on the connection that carried `asked` where that is spoilt.
fn next_client(stage: &Stage, row: &Row, asked: &str) -> Result<(), String> {
    let before = stage.primary.carried_with(asked).ok_or("no connection carried the request")?;
    let answer = stage.client().send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").try_response(false)?;
    if answer.text() != "/next" {
        return Err(format!("the next client got {answer:?}"));
    }
    let reused = stage.primary.carried_with(asked) != Some(before);
    if reused && !row.reused { Err("the primary's connection was used again".into()) } else { Ok(()) }
}

#[test]
fn an_answer_ends_in_one_place_for_everybody() {
    run(framing(), None);
}

#[test]
fn interim_answers_are_relayed_in_order_and_bounded() {
    run(interim(), None);
}

#[test]
fn a_broken_answer_never_looks_complete() {
    run(broken(), None);
}

#[test]
fn garbage_from_a_primary_is_502() {
    run(garbage(), None);
}

#[test]
fn the_rows_hold_on_epoll_as_well() {
    run(answer_rows::all(), Some("epoll"));
}

/// S4: also for a client that knows no chunks, and for more than fits a buffer.
#[test]
fn an_answer_that_ends_with_its_connection_is_complete_for_every_client() {
    let content = Arc::new(pattern(5 << 20));
    let primary = Origin::new({
        let content = Arc::clone(&content);
        move |request, stream| {
            let head = if request.target == "/chunked" { "Transfer-Encoding: chunked\r\n" } else { "" };
            let body = if head.is_empty() { content.to_vec() } else { chunked(&content, 30_000) };
            tests::origin::write(
                stream,
                [format!("HTTP/1.1 200 OK\r\n{head}\r\n").as_bytes(), &body].concat(),
            );
            After::Close
        }
    });
    let gateway = Setup::new(&primary).start();
    for target in ["/close", "/chunked"] {
        let mut client = gateway.client();
        let answer = client.ask(format!("GET {target} HTTP/1.0\r\nHost: a\r\n\r\n"));
        assert!(answer.field("transfer-encoding").is_none() && answer.field("content-length").is_none());
        assert!(answer.body == *content, "{target} to HTTP/1.0: {} bytes", answer.body.len());
        assert!(client.is_closed());
        let answer = gateway.client().ask(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(
            answer.chunked && answer.body == *content,
            "{target} to HTTP/1.1: {} bytes",
            answer.body.len()
        );
    }
}

/// S5 for a client that cannot see a missing last chunk: it must see a reset.
#[test]
fn a_cut_answer_is_a_reset_for_a_client_that_waits_for_the_close() {
    let primary = Origin::fixed(lines("Transfer-Encoding: chunked", "4\r\nhalf\r\n"), After::Close);
    let gateway = Setup::new(&primary).start();
    let mut client = gateway.client();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert!(client.is_ended() && client.was_reset(), "half an answer looks whole: {}", show(&client.inbox));
}

/// S7: bytes behind an answer belong to no answer, however the answer is framed. (Later bytes: see `pool`.)
#[test]
fn bytes_behind_an_answer_reach_no_client() {
    let smuggled = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";
    for content in ["Content-Length: 2\r\n\r\nok", "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"] {
        let primary = Origin::scripted(move |conn: &mut Conn| {
            while conn.request().is_some() {
                conn.write(format!("HTTP/1.1 200 OK\r\n{content}{smuggled}"));
            }
        });
        let gateway = Setup::new(&primary).start();
        let mut client = gateway.client();
        for n in 0..10 {
            let answer = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "answer {n}");
        }
        assert_eq!(primary.connections(), 10, "a connection with bytes left over was used again");
    }
}

/// S8: an answer that comes before the upload is over is relayed at once; a request that is not whole is not mirrored.
#[test]
fn an_early_answer_is_relayed_at_once() {
    for coded in [false, true] {
        let primary = Origin::scripted(|conn| {
            if conn.head().is_some() {
                conn.write("HTTP/1.1 413 Too Much\r\nContent-Length: 3\r\n\r\nno!");
                conn.read_to_end();
            }
        });
        let stage = Stage::of(primary, Origin::named("v2"), "", |setup| setup);
        let mut client = stage.client();
        let framing = if coded { "Transfer-Encoding: chunked" } else { "Content-Length: 100000" };
        let content = if coded { "3\r\nabc\r\n" } else { "abc" };
        let answer = client.ask(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{content}"));
        assert_eq!((answer.status, answer.text().as_str()), (413, "no!"));
        client.send("GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.is_closed(), "content could become a request: {}", show(&client.inbox));
        let metrics = stage.settled();
        assert_eq!(metrics.mirror_by("v2", "skipped_total", "reason", "aborted"), 1);
        assert_eq!(stage.mirror.count(), 0, "{}", stage.wires());
        // The primary's connection is in the middle of a request: the next one has its own.
        let connections = stage.primary.connections();
        assert_eq!(stage.client().ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 413);
        assert_eq!(stage.primary.connections(), connections + 1);
    }
}

/// The rest of the upload is on its way: no connection is closed, and the copy is whole.
#[test]
fn an_early_answer_to_an_upload_that_goes_on_costs_no_connection() {
    let primary = Origin::scripted(|conn| {
        while conn.head().is_some() {
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly");
            while conn.inbox.len() < 50_000 && conn.read() {}
            conn.inbox.clear();
        }
    });
    let stage = Stage::of(primary, Origin::named("v2"), "", |setup| setup);
    let mut client = stage.client();
    for n in 1..=5 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n");
        assert_eq!(client.response().text(), "early");
        client.send([b'x'; 50_000]);
        assert_eq!(stage.mirror.wait_for(n)[n - 1].body.len(), 50_000);
    }
    assert_eq!(stage.settled().sum("umbra_connections_accepted_total", &[]), 1);
}

/// S8: content that such a primary does not take is not waited for, and its copy is given up.
#[test]
fn a_primary_that_answers_early_and_reads_no_further_holds_nobody() {
    let v1 = Origin::scripted(|conn| {
        if conn.head().is_some() {
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly");
            std::thread::sleep(Duration::from_secs(20));
        }
    });
    let v2 = Origin::named("v2");
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "body_bytes_max = \"16MiB\"").start();
    let mut client = gateway.client();
    client.send("POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.response().text(), "early");
    let began = Instant::now();
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    while client.stream.write_all(&chunk).is_ok() && began.elapsed() < Duration::from_secs(5) {}
    assert!(began.elapsed() < Duration::from_secs(5), "it is listened to for {:?}", began.elapsed());
    let metrics = gateway.settled("v2");
    assert_eq!(metrics.mirror_by("v2", "skipped_total", "reason", "aborted"), 1);
    assert_eq!(metrics.sum("umbra_mirror_ring_bytes", &[]), 0);
    assert_eq!(v2.count(), 0);
}

/// S10: silence is 504 at its timeout, refusal is told at once.
#[test]
fn a_primary_that_does_not_answer_is_504_and_one_that_is_away_503_at_once() {
    let timeouts = "[timeouts]\nresponse_head = \"300ms\"\nconnect = \"300ms\"\n";
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    let silent = Origin::scripted(|conn| {
        conn.request();
        conn.read_to_end();
    });
    let gateway = Setup::new(&silent).with(timeouts).start();
    let started = Instant::now();
    assert_eq!(gateway.client().ask(get).status, 504);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(250) && took < Duration::from_secs(3), "{took:?}");
    eventually("its connection is closed", || {
        gateway.metrics().sum("umbra_upstream_idle_connections", &[]) == 0
    });

    // No timeout has a part in it.
    let long = timeouts.replace("300ms", "20s");
    let gateway = Setup::to(&[Origin::refusing()]).with(&long).start();
    for _ in 0..3 {
        let started = Instant::now();
        let answer = gateway.client().ask(get);
        assert!([502, 503].contains(&answer.status), "{answer:?}");
        assert!(
            answer.body.len() < 200
                && answer.field("content-type").is_some_and(|t| t.starts_with("text/plain"))
        );
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }

    let full = tests::origin::Full::new();
    let gateway = Setup::to(&[full.address]).with(timeouts).start();
    let started = Instant::now();
    assert_eq!(gateway.client().ask(get).status, 504);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

/// A primary that stalls in the middle of its content is cut, not waited for without end.
#[test]
fn a_primary_that_stalls_in_its_content_is_cut() {
    let primary = Origin::fixed(lines("Content-Length: 10", "half"), After::Hang);
    let gateway = Setup::new(&primary).with("[timeouts]\nresponse_body = \"300ms\"").start();
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.try_response(false).is_err() && client.is_ended(), "{}", show(&client.inbox));
    assert_eq!(gateway.metrics().sum("umbra_upstream_failures_total", &["reason=\"timeout\""]), 1);
}

/// The next endpoint is tried while nothing was sent.
#[test]
fn an_endpoint_that_refuses_is_passed_over() {
    let primary = Origin::named("v1");
    let gateway = Setup::to(&[Origin::refusing(), primary.address]).start();
    for n in 0..20 {
        let answer =
            Client::connect(gateway.address).ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(answer.status, 200, "request {n}");
    }
    assert_eq!(primary.count(), 20);
}
