//! Faults of a mirror are not felt by clients.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tests::load::{
    Gate, OK, Peer, account, ask_all, assert_each_once, becomes, bound_and_refusing, close_kindly, get,
    hammer, ids, pattern, post,
};
use tests::message::Read;
use tests::origin::{After, write};
use tests::{Gateway, Origin, PATIENCE, Request, Setup, eventually};

/// Longest answer while v2 is at its worst: below any wait for a mirror, far above a busy machine's hiccup.
const SOON: Duration = Duration::from_millis(2500);

/// Resident memory that a run may add to the ring's bytes: blocks of exchanges under way and kept for reuse.
const MARGIN_BYTES: u64 = 28 << 20;
const RING_BYTES: u64 = 4 << 20;

/// Two connections, so that v2's slowness backs up at once; an answer may take as long as an operator lets it, five seconds.
const KEYS: &str = "connections_max = 2, ring_bytes_max = \"4MiB\", body_bytes_max = \"1MiB\", \
                    ring_entries_max = 256, connect_timeout = \"3s\"";

/// A v1 that echoes its request.
fn v1() -> Origin {
    Origin::new(|request, stream| {
        let sum =
            request.body.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        let said = format!("{} {} {} {sum}", request.method, request.target, request.body.len());
        write(stream, format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{said}", said.len()))
    })
}

/// A v2 that does `fault` with each connection until the gate opens, and then closes it.
fn v2(fault: impl Fn(TcpStream, &Gate) + Send + Sync + 'static) -> (Peer, Arc<Gate>) {
    let gate = Gate::closed();
    let until = Arc::clone(&gate);
    (Peer::new(move |stream| fault(stream, &until)), gate)
}

/// Reads and forgets all bytes until the peer or the gate ends it.
fn hear(stream: &mut TcpStream, gate: &Gate, ask: impl Fn(&mut TcpStream) -> After) {
    let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
    let mut block = [0; 16 * 1024];
    while !gate.wait_at_most(Duration::ZERO) {
        match stream.read(&mut block) {
            Ok(0) => return,
            Ok(_) if ask(stream) != After::Keep => return,
            _ => {}
        }
    }
}

/// The promise: answers are right and soon, memory is bounded, every copy is accounted for, descriptors come back.
#[track_caller]
fn assert_unfelt(address: SocketAddr, gate: &Gate) -> Gateway {
    assert_unfelt_with(KEYS, address, gate)
}

#[track_caller]
fn assert_unfelt_with(keys: &str, address: SocketAddr, gate: &Gate) -> Gateway {
    // One at a time: tests must not feel each other's load on the machine.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let v1 = v1();
    let gateway = Setup::new(&v1).mirror("v2", address, keys).start();
    let (descriptors, rss) = (gateway.descriptors(), gateway.rss_bytes());
    let slowest = hammer(gateway.address, 8, 400, get, |id, answer| {
        assert_eq!((answer.status, answer.text()), (200, format!("GET /r?id={id} 0 0")));
    });
    assert!(slowest < SOON, "the slowest answer took {slowest:?}: {:?}", account(&gateway.metrics(), "v2"));

    for (len, each) in [(64 * 1024, 20), (512 * 1024, 5)] {
        let content = pattern(len, len);
        let sum = content.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        let post = |id: usize| {
            let head = format!("POST /u?id={id} HTTP/1.1\r\nHost: a\r\nContent-Length: {len}\r\n\r\n");
            [head.as_bytes(), &content].concat()
        };
        let slowest = hammer(gateway.address, 4, each, post, |id, answer| {
            assert_eq!((answer.status, answer.text()), (200, format!("POST /u?id={id} {len} {sum}")));
        });
        let ledger = account(&gateway.metrics(), "v2");
        assert!(slowest < SOON, "the slowest upload of {len} took {slowest:?}: {ledger:?}");
    }
    let grown = gateway.rss_bytes().saturating_sub(rss);
    assert!(grown < RING_BYTES + MARGIN_BYTES, "{} MiB more", grown >> 20);
    let metrics = gateway.metrics();
    let held = metrics.sum("umbra_mirror_ring_bytes", &[]);
    assert!((0..=RING_BYTES as i64).contains(&held), "the ring holds {held} bytes");

    gate.open();
    let metrics = gateway.settled("v2");
    let eligible = metrics.sum("umbra_mirror_eligible_total", &[]);
    assert_eq!(eligible, 8 * 400 + 4 * 20 + 4 * 5, "{:?}", account(&metrics, "v2"));
    assert_eq!(v1.count(), eligible as usize, "the primary got each request once");
    eventually("descriptors come back", || {
        let metrics = gateway.metrics();
        let kept = metrics.sum("umbra_upstream_idle_connections", &[])
            + metrics.sum("umbra_mirror_connections", &[]);
        metrics.sum("umbra_connections_active", &[]) == 0
            && gateway.descriptors() <= descriptors + kept as usize
    });
    gateway
}

/// How many copies ended like this.
fn counted(gateway: &Gateway, what: &str) -> i64 {
    let ledger = account(&gateway.metrics(), "v2");
    ledger.iter().filter(|(name, _)| name.starts_with(what)).map(|(_, n)| n).sum()
}

#[test]
fn a_mirror_that_refuses_is_not_felt() {
    let gateway = assert_unfelt(Origin::refusing(), &Gate::default());
    assert!(counted(&gateway, "dropped unreachable") > 0);
    // Until the second refusal, and between two tries, the ring may fill.
    assert_eq!(counted(&gateway, "dropped"), counted(&gateway, "eligible"));
}

#[test]
fn a_mirror_behind_a_full_backlog_is_not_felt() {
    let (socket, address) = bound_and_refusing();
    socket.listen(0).expect("listen");
    // Connections from now on are not accepted; when a connect times out, the backlog is full and drops further ones.
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        waiting.push(stream);
        assert!(waiting.len() < 64, "the backlog does not fill");
    }
    let gateway = assert_unfelt(address, &Gate::default());
    let given_up = counted(&gateway, "dropped unreachable") + counted(&gateway, "dropped ring");
    assert_eq!(given_up, counted(&gateway, "eligible"));
}

#[test]
fn a_mirror_that_never_reads_is_not_felt() {
    let (v2, gate) = v2(|_stream, gate| gate.wait());
    let gateway = assert_unfelt(v2.address, &gate);
    assert!(counted(&gateway, "dropped ring") > 0 && counted(&gateway, "failed") > 0);
}

#[test]
fn a_mirror_that_reads_and_never_answers_is_not_felt() {
    let (v2, gate) = v2(|mut stream, gate| hear(&mut stream, gate, |_| After::Keep));
    let gateway = assert_unfelt(v2.address, &gate);
    assert!(counted(&gateway, "dropped ring") > 0 && counted(&gateway, "failed") > 0);
}

#[test]
fn a_mirror_that_answers_after_seconds_is_not_felt() {
    let gate = Gate::closed();
    let late = Arc::clone(&gate);
    let v2 = Origin::new(move |_, stream| {
        late.wait_at_most(Duration::from_secs(3));
        write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    });
    let gateway = assert_unfelt_with(&format!("{KEYS}, timeout = \"60s\""), v2.address, &gate);
    let (completed, dropped) = (counted(&gateway, "completed 2xx"), counted(&gateway, "dropped ring"));
    assert!(completed >= 256 && dropped > 0, "{completed} answered, {dropped} dropped");
    assert_eq!(v2.count() as i64, completed);
}

#[test]
fn a_mirror_that_resets_in_the_middle_of_its_answer_is_not_felt() {
    let v2 = Origin::new(|_, stream| {
        write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        After::Reset
    });
    let gateway = assert_unfelt(v2.address, &Gate::default());
    assert!(counted(&gateway, "failed") > 0 && counted(&gateway, "completed") == 0);
    assert_eq!(v2.count() as i64, counted(&gateway, "sent"));
}

#[test]
fn a_mirror_that_answers_garbage_is_not_felt() {
    let v2 = Origin::fixed(b"\x16\x03\x01 no HTTP\r\n\r\n".as_slice(), After::Keep);
    let gateway = assert_unfelt(v2.address, &Gate::default());
    assert!(counted(&gateway, "failed protocol") > 0 && counted(&gateway, "completed") == 0);
}

#[test]
fn a_mirror_that_answers_hugely_is_not_felt() {
    let block = vec![b'x'; 1 << 20];
    let v2 = Origin::new(move |_, stream| {
        write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n");
        (0..100).map(|_| write(stream, &block)).find(|after| *after != After::Keep).unwrap_or(After::Keep)
    });
    let gateway = assert_unfelt(v2.address, &Gate::default());
    assert!(counted(&gateway, "completed 2xx") > 0 && counted(&gateway, "failed protocol") == 0);
}

#[test]
fn a_mirror_that_answers_byte_by_byte_is_not_felt() {
    let (v2, gate) = v2(|mut stream, gate| {
        hear(&mut stream, gate, |stream| {
            let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".iter().chain([&b'x'; 1000]);
            while !gate.wait_at_most(Duration::from_millis(5)) {
                let Some(byte) = answer.next() else { return After::Keep };
                if write(stream, [*byte]) != After::Keep {
                    return After::Close;
                }
            }
            After::Close
        });
    });
    let gateway = assert_unfelt(v2.address, &gate);
    assert!(counted(&gateway, "dropped ring") > 0 && counted(&gateway, "sent") > 0);
}

#[test]
fn the_next_request_of_a_connection_does_not_wait_for_the_mirror() {
    let v1 = v1();
    let (v2, gate) = v2(|mut stream, gate| hear(&mut stream, gate, |_| After::Keep));
    let gateway = Setup::new(&v1).mirror("v2", v2.address, KEYS).start();
    let mut client = gateway.client();
    let started = Instant::now();
    for id in 0..10 {
        let text = client.ask(format!("GET /{id} HTTP/1.1\r\nHost: a\r\n\r\n")).text();
        assert_eq!(text, format!("GET /{id} 0 0"));
        let post = format!("POST /{id} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!(client.ask(post).text(), format!("POST /{id} 1 120"));
    }
    // To wait once would be five seconds.
    assert!(started.elapsed() < Duration::from_millis(4500), "twenty took {:?}", started.elapsed());
    assert!(
        counted(&gateway, "in_flight") > 0,
        "v2 is meant to be slow: {:?}",
        account(&gateway.metrics(), "v2")
    );
    gate.open();
    gateway.settled("v2");
}

#[test]
fn a_client_that_comes_and_goes_beside_a_hanging_mirror_leaves_nothing_open() {
    let v1 = v1();
    let (v2, gate) = v2(|_stream, gate| gate.wait());
    let gateway = Setup::new(&v1).mirror("v2", v2.address, KEYS).start();
    let before = gateway.descriptors();
    for id in 0..300 {
        let answer =
            gateway.client().ask(format!("GET /{id} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        assert_eq!(answer.text(), format!("GET /{id} 0 0"));
    }
    eventually("only the mirror's two and the pool's connections stay", || {
        let idle = gateway.metrics().sum("umbra_upstream_idle_connections", &[]) as usize;
        gateway.descriptors() <= before + 2 + idle
    });
    gate.open();
    gateway.settled("v2");
}

// === Its input ===

/// Writes `block` over and over until the peer hangs up or `most` bytes are written.
fn pour(stream: &mut TcpStream, block: &[u8], most: usize, poured: &AtomicUsize) -> After {
    let mut left = most;
    while left > 0 && write(stream, block) == After::Keep {
        left = left.saturating_sub(block.len());
        poured.fetch_add(block.len(), SeqCst);
    }
    close_kindly(stream)
}

#[test]
fn whatever_a_mirror_answers_is_counted_and_read_only_so_far() {
    const LARGE: usize = 100 << 20;
    let zeros = vec![b'0'; 64 * 1024];
    let coded = [b"10000\r\n".as_slice(), &zeros, b"\r\n"].concat();
    let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(1000);
    let chunked_head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    let cases: [(&str, String, Vec<u8>, &str); 8] = [
        ("garbage", "\0\x01garbage\r\n\r\n".into(), zeros.clone(), "failed protocol"),
        ("a head without end", "HTTP/1.1 200 OK\r\nX: ".into(), zeros.clone(), "failed protocol"),
        (
            "101",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n".into(),
            zeros.clone(),
            "failed protocol",
        ),
        ("endless interim answers", String::new(), interim, "failed protocol"),
        (
            "two lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".into(),
            zeros.clone(),
            "failed protocol",
        ),
        ("bad chunks", chunked_head.clone() + "xyz\r\n", zeros.clone(), "failed protocol"),
        ("100 MB", format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"), zeros, "completed 2xx"),
        ("endless chunks", chunked_head, coded, "completed 2xx"),
    ];
    for (name, head, block, outcome) in cases {
        let (poured, ended) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let (bytes, ends) = (Arc::clone(&poured), Arc::clone(&ended));
        let v1 = Origin::fixed(OK, After::Keep);
        let v2 = Origin::new(move |_, stream| {
            write(stream, &head);
            let after = pour(stream, &block, LARGE, &bytes);
            ends.fetch_add(1, SeqCst);
            after
        });
        let gateway = Setup::new(&v1).mirror("v2", v2.address, "connections_max = 2").start();
        ask_all(&gateway, 0..4);
        let metrics = becomes(&gateway, "v2", &[("eligible", 4), ("sent", 4), (outcome, 4)]);
        eventually(&format!("{name}: the gateway hangs up\n{}", metrics.text()), || ended.load(SeqCst) == 4);
        assert_each_once(&ids(&v2.requests()), 4);
        // The megabyte that is read of an answer, and the bytes that both sockets' buffers take before a read.
        let each = poured.load(SeqCst) / 4;
        assert!(each < 20 << 20, "{name}: {} MiB of each answer were taken", each >> 20);
    }
}

/// Bytes a second that a worker reads of a mirror's long answers.
const PER_SECOND: f64 = (64_000 << 10) as f64;

/// More bytes than those of a few answers.
const FLOOD: f64 = (16 << 20) as f64;

#[test]
fn a_mirror_that_floods_is_read_on_a_budget_and_one_with_ordinary_answers_is_not() {
    let block = vec![b'0'; 64 * 1024];
    let v1 = Origin::fixed(OK, After::Keep);
    let v2 = Origin::new(move |_, stream| {
        write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n");
        pour(stream, &block, 100 << 20, &AtomicUsize::new(0))
    });
    let ordinary = [b"HTTP/1.1 200 OK\r\nContent-Length: 16384\r\n\r\n".as_slice(), &[b'x'; 16384]].concat();
    let v3 = Origin::fixed(ordinary, After::Keep);
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "").mirror("v3", v3.address, "").start();
    let started = Instant::now();
    let mut asked = 0;
    let flooded = || gateway.metrics().mirror("v2", "response_bytes_total") as f64 > FLOOD;
    while started.elapsed() < Duration::from_secs(2) || (!flooded() && started.elapsed() < PATIENCE) {
        hammer(gateway.address, 2, 50, get, |_, answer| assert_eq!(answer.status, 200));
        asked += 100;
    }
    gateway.settled("v3");
    let (metrics, took) = (gateway.metrics(), started.elapsed().as_secs_f64());
    let n = |mirror, what| metrics.mirror(mirror, what);
    // Bytes that eight connections were reading when the budget was spent.
    let most = PER_SECOND * took + f64::from(8 << 20);
    let read = n("v2", "response_bytes_total") as f64;
    assert!(read < most, "{read} of at most {most} bytes in {took} s");
    assert!(n("v2", "responses_cut_total") > 0 && read > FLOOD, "{read}: it was no flood");
    assert_eq!((n("v3", "responses_cut_total"), n("v3", "completed_total")), (0, asked));
    assert!(n("v3", "response_bytes_total") > 16384 * asked);
}

#[test]
fn answers_that_are_dear_to_read_are_on_the_budget_however_few_bytes_they_are() {
    // A byte in each chunk, and sixteen heads before the final one: both shorter than a long answer.
    let chunks =
        ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &"1\r\nx\r\n".repeat(10_000), "0\r\n\r\n"]
            .concat();
    let interim =
        format!("HTTP/1.1 103 Early Hints\r\n{}\r\n", format!("X: {}\r\n", "h".repeat(600)).repeat(90));
    let interims = [interim.repeat(16), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned()].concat();
    // A piece costs as much as 32 bytes beside its own six.
    for (name, answer, share) in [("chunks", chunks, 6.0 / 38.0), ("interims", interims, 1.0)] {
        let (v1, v2) = (Origin::fixed(OK, After::Keep), Origin::fixed(answer, After::Keep));
        let gateway = Setup::new(&v1).mirror("v2", v2.address, "").start();
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(2) {
            hammer(gateway.address, 2, 50, get, |_, answer| assert_eq!(answer.status, 200));
        }
        // A ring of them takes longer than anybody waits for.
        let metrics = gateway.metrics();
        let most = share * PER_SECOND * (started.elapsed().as_secs_f64() + 0.2) + f64::from(8 << 20);
        let read = metrics.mirror("v2", "response_bytes_total") as f64;
        assert!(read < most, "{name}: {read} of at most {most} bytes");
        assert!(read > most / 20.0, "{name}: {read} bytes are no flood");
    }
}

#[test]
fn a_mirror_that_accepts_and_hangs_up_is_called_seldom() {
    let (v1, v2) = (Origin::fixed(OK, After::Keep), Origin::scripted(|_| {}));
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "").start();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        hammer(gateway.address, 2, 50, get, |_, answer| assert_eq!(answer.status, 200));
    }
    let metrics = gateway.settled("v2");
    // Some hundreds are a server that restarts; then there is a pause that doubles to a second.
    let connects = metrics.mirror("v2", "connects_total");
    assert!((1..=600).contains(&connects), "{connects} in two seconds: {}", metrics.text());
}

#[test]
fn an_answer_that_is_late_dripping_or_never_taken_fails_at_the_mirrors_timeout() {
    let silent = Origin::new(|_, _| After::Hang);
    let dripping = Origin::new(|_, stream| {
        write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        while write(stream, "x") == After::Keep {
            std::thread::sleep(Duration::from_millis(50));
        }
        After::Close
    });
    for (name, v2) in [("silent", silent), ("dripping", dripping)] {
        let v1 = Origin::fixed(OK, After::Keep);
        let gateway = Setup::new(&v1).mirror("v2", v2.address, "timeout = \"300ms\"").start();
        let started = Instant::now();
        ask_all(&gateway, 0..3);
        becomes(&gateway, "v2", &[("eligible", 3), ("sent", 3), ("failed timeout", 3)]);
        let took = started.elapsed();
        // The time is counted in ticks of a tenth of a second.
        assert!((200..3000).contains(&took.as_millis()), "{name}: {took:?}");
    }
}

#[test]
fn a_mirror_that_takes_a_copy_slowly_has_its_timeout_for_all_of_it() {
    let v1 = Origin::fixed(OK, After::Keep);
    let v2 = Peer::new(|mut stream| {
        let _ = socket2::SockRef::from(&stream).set_recv_buffer_size(64 * 1024);
        let mut block = [0; 64 * 1024];
        while let Ok(1..) = stream.read(&mut block) {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let keys = "timeout = \"500ms\", body_bytes_max = \"32MiB\", ring_bytes_max = \"64MiB\"";
    let gateway = Setup::new(&v1).mirror("v2", v2.address, keys).start();
    assert_eq!(gateway.client().ask(post("/", &pattern(0, 24 << 20))).status, 200);
    let started = Instant::now();
    becomes(&gateway, "v2", &[("eligible", 1), ("sent", 1), ("failed timeout", 1)]);
    assert!(started.elapsed() < Duration::from_secs(4), "took {:?}", started.elapsed());
}

#[test]
fn an_endpoint_that_refuses_is_tried_seldom_and_gets_copies_again_once_it_is_back() {
    let v1 = Origin::fixed(OK, After::Keep);
    let (socket, address) = bound_and_refusing();
    let gateway = Setup::new(&v1).mirror("v2", address, "").start();
    let started = Instant::now();
    let (mut client, mut asked) = (gateway.client(), 0);
    while started.elapsed() < Duration::from_secs(2) {
        assert_eq!(client.ask(get(asked)).status, 200);
        asked += 1;
    }
    let refused = asked as i64;
    let metrics = gateway.settled("v2");
    let dropped = metrics.sum("umbra_mirror_dropped_total", &[]);
    let unreachable = metrics.sum("umbra_mirror_dropped_total", &["reason=\"unreachable\""]);
    // Between two tries the ring may fill.
    assert!(dropped == refused && unreachable > refused / 2, "{:?}", account(&metrics, "v2"));
    let connects = metrics.sum("umbra_mirror_connects_total", &[]);
    assert!((1..=16).contains(&connects), "{connects} connects in two seconds of {asked} requests");

    socket.listen(128).expect("listen");
    let seen = Arc::<Mutex<Vec<Request>>>::default();
    let sees = Arc::clone(&seen);
    let _v2 = Peer::on(socket.into(), move |mut stream| {
        let (mut inbox, mut block) = (Vec::new(), [0; 4096]);
        while let Ok(n @ 1..) = stream.read(&mut block) {
            inbox.extend_from_slice(&block[..n]);
            while let Read::Complete(request, used) = Request::read(&inbox) {
                inbox.drain(..used);
                sees.lock().expect("seen").push(request);
                write(&mut stream, OK);
            }
        }
    });
    eventually("copies flow again", || {
        ask_all(&gateway, 0..1);
        !seen.lock().expect("seen").is_empty()
    });
    gateway.settled("v2");
    seen.lock().expect("seen").clear();
    ask_all(&gateway, 0..300);
    gateway.settled("v2");
    assert_each_once(&ids(&seen.lock().expect("seen")), 300);
}
