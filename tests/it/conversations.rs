//! Whole conversations of adversaries: clients, primary and mirror, all of them drawn from one seed.
//!
//! Whatever they do: nothing malformed is on an upstream's wire, no client is told another's answer, the ledger balances,
//! nothing leaks, nothing panics. `UMBRA_FUZZ_SEED` brings a run back as far as the kernel's timing allows;
//! `UMBRA_FUZZ_SECONDS` makes it longer than its 4 seconds.

use std::hash::{BuildHasher, RandomState};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tests::origin::write;
use tests::{After, Client, Conn, Gateway, Origin, Request, Setup, eventually};

/// A sequence of numbers that look random (xorshift64*).
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound.max(1)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Field that a request carries its id in, and an answer its request's.
const ID: &str = "x-id";

fn id_of(request: &Request) -> String {
    request.field(ID).unwrap_or("none").to_owned()
}

/// An answer to `request`, often a bad one; its id is in the head and, so that a mixed-up body shows, in the content.
fn answer(dice: &mut Dice, request: &Request, stream: &mut TcpStream) -> After {
    let id = id_of(request);
    let content = format!("{id};").repeat(dice.one(&[1, 1, 1, 30, 3000]));
    let head = format!("HTTP/1.1 200 OK\r\nX-Id: {id}\r\n");
    let sized = format!("{head}Content-Length: {}\r\n\r\n{content}", content.len());
    let chunked = {
        let at = dice.below(content.len());
        let (a, b) = content.split_at(at);
        let piece = |text: &str| {
            if text.is_empty() { String::new() } else { format!("{:x}\r\n{text}\r\n", text.len()) }
        };
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{}{}0\r\n\r\n", piece(a), piece(b))
    };
    let is_head = request.method == "HEAD";
    let (bytes, after) = match dice.below(20) {
        0..=5 => (sized, After::Keep),
        6..=8 => (chunked, After::Keep),
        9 => (format!("{head}\r\n{content}"), After::Close),
        10 => (format!("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n{sized}"), After::Keep),
        11 => (sized[..dice.below(sized.len())].to_owned(), After::Close),
        12 => (chunked[..dice.below(chunked.len())].to_owned(), After::Reset),
        13 => {
            (format!("{sized}HTTP/1.1 200 OK\r\nX-Id: stray\r\nContent-Length: 5\r\n\r\nstray"), After::Keep)
        }
        14 => (
            format!("{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
            After::Keep,
        ),
        15 => (
            format!("{head}Connection: close\r\nContent-Length: {}\r\n\r\n{content}", content.len()),
            After::Close,
        ),
        16 => ("\0\0\r\n\r\n".to_owned(), After::Close),
        17 => (String::new(), After::Close),
        18 => (format!("HTTP/1.1 204 No Content\r\nX-Id: {id}\r\n\r\n"), After::Keep),
        _ => (format!("HTTP/1.1 304 Not Modified\r\nX-Id: {id}\r\n\r\n"), After::Keep),
    };
    let bytes = if is_head { format!("{head}Content-Length: {}\r\n\r\n", content.len()) } else { bytes };
    let after = if is_head { After::Keep } else { after };
    // A stray answer comes with the one before it. If it came a moment later, when the connection's next request is on its way,
    // it would be that request's answer to any HTTP/1.1 client there is.
    let cut = if bytes.contains("stray") { bytes.len() } else { dice.below(bytes.len() + 1) };
    let gone = write(stream, &bytes.as_bytes()[..cut]);
    if dice.below(4) == 0 {
        std::thread::yield_now();
    }
    if gone != After::Keep {
        return gone;
    }
    match write(stream, &bytes.as_bytes()[cut..]) {
        After::Keep => after,
        gone => gone,
    }
}

/// An origin whose every connection plays by a seed of its own.
fn adversary(seed: u64) -> Origin {
    Origin::scripted(move |conn: &mut Conn| {
        let mut dice = Dice::new(seed.wrapping_mul(31).wrapping_add(conn.number as u64 * 0x9e37_79b9));
        if dice.below(40) == 0 {
            return conn.reset();
        }
        while let Some(request) = conn.request() {
            match answer(&mut dice, &request, &mut conn.stream) {
                After::Keep => {}
                After::Close => return,
                After::Reset => return conn.reset(),
                After::Hang => conn.hang(),
            }
        }
    })
}

/// A request, sound or not; `sound` says that it has to be answered and by whom.
fn request(dice: &mut Dice, id: &str) -> (Vec<u8>, bool, bool) {
    let content = "c".repeat(dice.one(&[0, 1, 10, 5000, 70_000]));
    let sized = format!("Content-Length: {}\r\n\r\n{content}", content.len());
    let chunks = format!(
        "Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        if content.is_empty() { String::new() } else { format!("{:x};x=y\r\n{content}\r\n", content.len()) }
    );
    let start = |method: &str| format!("{method} /c?n={id} HTTP/1.1\r\nHost: a\r\nX-Id: {id}\r\n");
    let text = match dice.below(16) {
        0..=3 => return (format!("{}\r\n", start("GET")).into(), true, false),
        4..=5 => return (format!("{}{sized}", start("POST")).into(), true, false),
        6 => return (format!("{}{chunks}", start("PUT")).into(), true, false),
        7 => return (format!("{}\r\n", start("HEAD")).into(), true, true),
        8 => format!("{}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", start("POST")),
        9 => format!("{}Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n", start("POST")),
        10 => format!("{} bad: 1\r\n\r\n", start("GET")),
        11 => format!("GET /c HTTP/1.1\nHost: a\nX-Id: {id}\n\n"),
        12 => format!("{}Content-Length: +3\r\n\r\nabc", start("POST")),
        13 => format!("{}Host: b\r\n\r\n", start("GET")),
        14 => "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03".to_owned(),
        _ => format!("{}X: {}\r\n\r\n", start("GET"), "h".repeat(70_000)),
    };
    (text.into(), false, false)
}

/// A client's connection: some requests, often pipelined, often broken off. Returns the number of answers it read.
fn converse(gateway: &Gateway, dice: &mut Dice, name: &str) -> usize {
    let mut client: Client = gateway.client();
    let (mut wire, mut expected) = (Vec::new(), Vec::new());
    for n in 0..1 + dice.below(5) {
        let id = format!("{name}-{n}");
        let (bytes, is_sound, is_head) = request(dice, &id);
        wire.extend_from_slice(&bytes);
        expected.push((id, is_head));
        if !is_sound {
            break;
        }
    }
    let end = dice.below(8);
    let sent = if end == 0 { dice.below(wire.len()) } else { wire.len() };
    let mut rest = &wire[..sent];
    while !rest.is_empty() {
        let longest = dice.one(&[1, 10, 1000, 100_000, 100_000, 100_000]);
        let (piece, more) = rest.split_at((1 + dice.below(longest)).min(rest.len()));
        client.send(piece);
        // Byte by byte all the way would take too long.
        rest = if piece.len() == 1 && dice.below(50) == 0 {
            client.send(more);
            &[]
        } else {
            more
        };
    }
    match end {
        0 | 1 => {
            client.reset();
            return 0;
        }
        2 => {
            client.finish();
        }
        _ => {}
    }
    let mut answers = 0;
    for (id, is_head) in expected {
        let Ok(answer) = client.try_response(is_head) else { break };
        answers += 1;
        // The gateway's own refusals carry no id.
        let Some(told) = answer.field(ID) else {
            if answer.status >= 400 {
                break;
            }
            panic!("an answer to {id} without its id: {answer:?}");
        };
        assert_eq!(told, id, "{name} was told another's answer");
        let foreign =
            answer.text().split(';').any(|part| !part.is_empty() && part != id && !id.starts_with(part));
        assert!(!foreign, "{name} was told another's content: {:.200}", answer.text());
    }
    answers
}

fn converse_with_everybody(driver: &str) {
    let seed = number("UMBRA_FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let until = Instant::now() + Duration::from_secs(number("UMBRA_FUZZ_SECONDS").unwrap_or(4));
    println!("UMBRA_FUZZ_SEED={seed}");
    let (primary, mirror) = (adversary(seed), adversary(seed ^ 0x5555));
    let limits = "[timeouts]\nresponse_head = \"2s\"\nresponse_body = \"2s\"\nrequest_head = \"2s\"\nrequest_body = \"2s\"\n";
    let gateway = Setup::new(&primary)
        .mirror("v2", mirror.address, "timeout = \"2s\"")
        .with(limits)
        .driver(driver)
        .workers(2)
        .start();
    // Where nothing may be skipped (`.ci/run`), both drivers are to be had.
    let required = driver == "auto" && std::env::var_os("UMBRA_TEST_REQUIRE_URING").is_some();
    assert!(!required || !gateway.stdout().contains("no io_uring"), "{}", gateway.stdout());
    let descriptors = gateway.descriptors();
    let (conversations, answers) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for client in 0..6 {
            let (gateway, conversations, answers) = (&gateway, &conversations, &answers);
            scope.spawn(move || {
                let mut dice = Dice::new(seed.wrapping_add(client * 0x1234_5678_9abc));
                for n in 0.. {
                    if Instant::now() > until {
                        return;
                    }
                    let read = converse(gateway, &mut dice, &format!("{client}-{n}"));
                    conversations.fetch_add(1, Ordering::Relaxed);
                    answers.fetch_add(read, Ordering::Relaxed);
                }
            });
        }
    });
    let (conversations, answers) = (conversations.into_inner(), answers.into_inner());
    println!("{driver}: {conversations} conversations, {answers} answers");
    assert!(
        conversations > 20 && answers > 20,
        "{conversations} conversations, {answers} answers: too few to mean anything"
    );
    eventually("every client connection is over", || {
        gateway.metrics().sum("umbra_connections_active", &[]) == 0
    });
    let metrics = gateway.settled("v2");
    metrics.ledger("v2").unwrap_or_else(|why| panic!("{why}\n{}", metrics.text()));
    assert_eq!(metrics.sum("umbra_exchange_panics_total", &[]), 0, "{}", gateway.stderr());
    for (name, origin) in [("primary", &primary), ("mirror", &mirror)] {
        assert_eq!(
            origin.invalid(),
            Vec::<String>::new(),
            "the {name} was sent what no request can start with"
        );
    }
    // Kept connections to the primary and the mirror's shippers may stay; the client of the metrics has one too.
    eventually("descriptors are given back", || {
        let metrics = gateway.metrics();
        let kept = ["umbra_upstream_idle_connections", "umbra_mirror_connections"];
        let kept: i64 = kept.iter().map(|name| metrics.sum(name, &[])).sum();
        gateway.descriptors() <= descriptors + kept as usize + 4
    });
    assert_eq!(gateway.admin("GET", "/healthz", "").status, 200);
}

#[test]
fn whatever_everybody_does_nothing_is_mixed_up_lost_or_leaked_on_io_uring() {
    converse_with_everybody("auto");
}

#[test]
fn whatever_everybody_does_nothing_is_mixed_up_lost_or_leaked_on_epoll() {
    converse_with_everybody("epoll");
}
