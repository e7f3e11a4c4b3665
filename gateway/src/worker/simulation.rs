//! The whole data path in a world without a kernel: clients, primary and mirror are adversaries drawn from a seed, the clock
//! jumps, every read and write is cut where the dice say, and tasks run in any order.
//!
//! A seed is one play of some dozen conversations. `UMBRA_SIM_SEED` plays one alone, `UMBRA_SIM_SECONDS` plays for longer
//! than the 3 seconds of every test run.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{Protocols, check};

use super::{Lanes, drain, heartbeat};
use crate::address::Address;
use crate::admission::{Admission, Places};
use crate::context::Context;
use crate::discovery::Located;
use crate::downstream::{Entrance, listener};
use crate::generation::{Generation, WorkerConfig};
use crate::io::simulated::{self, End, Task, World};
use crate::io::{Stream, Sweeper};
use crate::metrics::{
    self, Class, Counters, CutReason, FailReason, Label, LowerReason, MirrorCounters, RejectReason, Shard,
    Shed, SkipReason, UpstreamFailure,
};
use crate::mirror::proof::Proof;
use crate::observe::tap;
use crate::prepared::{Difference, Prepared};
use crate::random::Random;
use crate::tunnels::Tunnels;

const ID: &str = "x-id";

mod configurations;
mod covered;
mod http2;
mod labels;
mod primary;
mod tunnels;
mod values;
mod wire;

use configurations::{CONFIGURATIONS, POLICIES, SECRET};
use labels::{ALL_IN_PLAYS, ALWAYS_REACHED, NEVER_REACHED, SELDOM_REACHED};
use wire::{Message, NoMessage, Wire};

/// An answer to `request`, often a bad one, and whether the connection goes on.
fn answer(world: &World, request: &Message) -> (Vec<u8>, bool) {
    let id = request.id();
    let content = format!("{id};").repeat([1, 1, 40, 6000][world.below(4)]);
    let head = format!("HTTP/1.1 200 OK\r\nX-Id: {id}\r\n");
    let sized = format!("{head}Content-Length: {}\r\n\r\n{content}", content.len());
    let half = content.len() / 2;
    let (a, b) = content.split_at(half.max(1));
    let second = if b.is_empty() { String::new() } else { format!("{:x}\r\n{b}\r\n", b.len()) };
    let chunked =
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{a}\r\n{second}0\r\n\r\n", a.len());
    if request.start.starts_with("HEAD ") {
        return (format!("{head}Content-Length: {}\r\n\r\n", content.len()).into(), true);
    }
    let (text, goes_on) = match world.below(20) {
        0..=5 => (sized, true),
        18 => (sized.replacen("200 OK", "500 Oh", 1), true),
        19 => (sized.replacen("200 OK", "404 Not", 1), true),
        6..=8 => (chunked, true),
        9 => (format!("{head}\r\n{content}"), false),
        10 => (format!("HTTP/1.1 103 Early Hints\r\n\r\n{sized}"), true),
        11 => (sized[..world.below(sized.len())].to_owned(), false),
        12 => (chunked[..world.below(chunked.len())].to_owned(), false),
        13 => {
            (format!("{head}Connection: close\r\nContent-Length: {}\r\n\r\n{content}", content.len()), false)
        }
        14 => (format!("{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), true),
        15 => ("\0nonsense\r\n\r\n".to_owned(), false),
        16 => (format!("HTTP/1.1 304 Not Modified\r\nX-Id: {id}\r\n\r\n"), true),
        _ => (String::new(), world.below(2) == 0),
    };
    (text.into(), goes_on)
}

/// A response that belongs to no request and must reach no client.
const STRAY: &[u8] = b"HTTP/1.1 200 OK\r\nX-Id: stray\r\nContent-Length: 0\r\n\r\n";

/// An answer to HEAD, or a 204 or 304, whose declared content comes all the same, later than the answer.
async fn answer_late(world: &World, request: &Message, wire: &mut Wire) -> std::io::Result<()> {
    let status = if request.start.starts_with("HEAD ") {
        "200 OK"
    } else {
        ["204 No Content", "304 Not Modified"][world.below(2)]
    };
    let (id, length) = (request.id(), STRAY.len());
    let head = format!("HTTP/1.1 {status}\r\nX-Id: {id}\r\nContent-Length: {length}\r\n\r\n");
    wire.write_all(head.as_bytes()).await?;
    world.sleep_us(world.below(90_000) as u64).await;
    wire.write_all(STRAY).await
}

/// Answers as soon as the request's head is there, without its content, and with more than was asked for.
async fn answer_early(world: &World, mut wire: Wire) {
    let Ok(head) = wire.message(false, |_| false).await else { return };
    let (id, content) = (head.id(), format!("{};", head.id()));
    let body = if head.start.starts_with("HEAD ") { "" } else { &content };
    let length = content.len();
    let mut bytes =
        format!("HTTP/1.1 200 OK\r\nX-Id: {id}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes();
    if world.below(2) == 0 {
        // The stray response comes with the answer, as it could not be told from the next one's otherwise.
        bytes.extend_from_slice(STRAY);
    }
    wire.write_at_once(&bytes);
    if world.below(2) == 0 {
        world.sleep_us(world.below(1_000_000) as u64).await;
    }
}

/// An origin: requests that reach it must be well formed; its answers need not be.
async fn origin(world: Rc<World>, port: u16, end: End, did: primary::Did) {
    if world.below(30) == 0 {
        return end.reset_on_close();
    }
    let mut wire = Wire::new(end);
    if !wire.begin(&world).await {
        return;
    }
    if wire.begins_with(b"PRI ").await {
        if world.below(24) == 0 {
            return wire.write_at_once(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
        return primary::serve(&world, wire, did).await;
    }
    loop {
        if world.below(12) == 0 {
            return answer_early(&world, wire).await;
        }
        let request = match wire.message(false, |_| true).await {
            Ok(request) => request,
            Err(NoMessage::Ended) => return,
            Err(NoMessage::Malformed(why)) => panic!("malformed on an upstream's wire: {why}"),
        };
        // The `policies` alone redact: copies under the other configurations were sent without them.
        let redacts = port == 2 && request.values("x-under").any(|under| under == "policies");
        let shown = format!("{:?} {}", request.fields, String::from_utf8_lossy(&request.content));
        assert!(!redacts || !shown.contains(SECRET), "a secret on v2's wire: {shown:.300}");
        if world.below(10) == 0 {
            world.sleep_us(world.below(1_500_000) as u64).await;
        }
        if world.below(if request.start.starts_with("HEAD ") { 2 } else { 20 }) == 0 {
            if answer_late(&world, &request, &mut wire).await.is_err() {
                return;
            }
            continue;
        }
        let (bytes, goes_on) = answer(&world, &request);
        if wire.write_all(&bytes).await.is_err() || !goes_on {
            if world.below(4) == 0 {
                wire.end.reset_on_close();
            }
            return;
        }
    }
}

/// Requests that are refused, each for a reason of its own.
const REFUSED: [&str; 11] = [
    "GET /s HTTP/2.0\r\nHost: a\r\n\r\n",
    "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
    "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "TRACE /s HTTP/1.1\r\nHost: a\r\n\r\n",
    "OPTIONS /s HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n",
    "PUT /s HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\nContent-Length: 0\r\n\r\n",
    "GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /s HTTP/1.1\r\n\r\n",
    "GET /s HTTP/1.1\r\nHost: a\r\nX: a\nb\r\n\r\n",
    "nonsense\r\n\r\n",
    "\x16\x03\x01a TLS hello\r\n\r\n",
];

/// A request, and whether another may follow it on its connection.
fn request(world: &World, id: &str, under: &str) -> (Vec<u8>, bool) {
    if world.below(8) == 0 {
        let text = REFUSED[world.below(REFUSED.len())];
        return (text.replacen("\r\n", &format!("\r\nX-Id: {id}\r\n"), 1).into(), false);
    }
    let content = match world.below(8) {
        6 => format!("{{\"a\":1,\"secret\":\"{SECRET}\"}}"),
        7 => format!("{{\"a\":[{}],\"secret\":[\"{SECRET}\"]}}", "1,".repeat(9_000) + "1"),
        n => "c".repeat([0, 1, 300, 20_000, 50_000, 70_000][n]),
    };
    // Now and then it is a copy itself.
    let mark = if world.below(20) == 0 { "X-Umbra-Mirror: v0\r\n" } else { "" };
    let start = |method: &str| {
        format!(
            "{method} /s?n={id} HTTP/1.1\r\nHost: a\r\nX-Id: {id}\r\nX-Under: {under}\r\nX-Secret: {SECRET}\r\n{mark}"
        )
    };
    let piece =
        if content.is_empty() { String::new() } else { format!("{:x};x=y\r\n{content}\r\n", content.len()) };
    let (text, goes_on) = match world.below(16) {
        0..=4 => (format!("{}\r\n", start("GET")), true),
        5..=7 => (format!("{}Content-Length: {}\r\n\r\n{content}", start("POST"), content.len()), true),
        8..=9 => (format!("{}Transfer-Encoding: chunked\r\n\r\n{piece}0\r\n\r\n", start("PUT")), true),
        10 => (format!("{}\r\n", start("HEAD")), true),
        11 => (
            format!("{}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", start("POST")),
            false,
        ),
        12 => (format!("{}Transfer-Encoding: chunked\r\n\r\nzz\r\nhello", start("POST")), false),
        13 => (format!("{} bad: 1\r\n\r\n", start("GET")), false),
        14 => (format!("{}X: {}\r\n\r\n", start("GET"), "h".repeat(5000)), false),
        _ => (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "p".repeat(2000)), false),
    };
    (text.into(), goes_on)
}

/// A client: some requests, cut and delayed anyhow, and answers that must be its own.
async fn converse(world: Rc<World>, end: End, name: String, under: &'static str, answers: Rc<Cell<usize>>) {
    let (mut sent, mut expected) = (Vec::new(), Vec::new());
    for n in 0..1 + world.below(4) {
        let id = format!("{name}.{n}");
        let (bytes, goes_on) = request(&world, &id, under);
        expected.push((id, bytes.starts_with(b"HEAD ")));
        sent.extend(bytes);
        if !goes_on {
            break;
        }
    }
    let breaks_off = world.below(8) == 0;
    if breaks_off {
        sent.truncate(world.below(sent.len()));
    }
    let mut wire = Wire::new(end);
    let mut rest = sent.as_slice();
    while !rest.is_empty() {
        let n = (1 + world.below([1, 50, 3000, 100_000][world.below(4)])).min(rest.len());
        if world.below(30) == 0 {
            world.sleep_us(world.below(700_000) as u64).await;
        }
        // A small line would fill up with unread answers; so a client that is refused stops writing.
        let written = simulated::within(&world, 3_000_000, wire.end.write_all(&rest[..n])).await;
        if !matches!(written, Some(Ok(()))) {
            break;
        }
        rest = &rest[n..];
    }
    match world.below(10) {
        0 => return wire.end.reset_on_close(),
        1 => return,
        2 => wire.end.finish(),
        _ => {}
    }
    for (id, to_head) in expected {
        let has_content = |start: &str| {
            !to_head && !["HTTP/1.1 204", "HTTP/1.1 304"].iter().any(|bare| start.starts_with(bare))
        };
        let message = loop {
            match wire.message(true, has_content).await {
                Ok(message) if message.start.starts_with("HTTP/1.1 1") => {}
                Ok(message) => break message,
                Err(NoMessage::Ended) => return,
                Err(NoMessage::Malformed(why)) => panic!("malformed on {id}'s wire: {why}"),
            }
        };
        answers.set(answers.get() + 1);
        if message.id().is_empty() {
            let status = message.start.get(9..12).unwrap_or_default();
            // OPTIONS that may go no further is answered here.
            let ends_here = message.values("allow").count() > 0;
            assert!(status >= "400" || ends_here, "an answer to {id} without its id: {message:?}");
            if message.values("connection").any(|v| v == "close") {
                return;
            }
            continue;
        }
        assert_eq!(message.id(), id, "told another's answer");
        let content = String::from_utf8_lossy(&message.content).into_owned();
        let own = content.split(';').filter(|part| !part.is_empty()).all(|part| part == id);
        assert!(own, "{id} was told another's content: {content:.200}");
        if message.values("connection").any(|v| v == "close") {
            return;
        }
    }
}

/// The sums of many plays.
#[derive(Default)]
struct Reached {
    plays: usize,
    conversations: usize,
    answers: usize,
    labels: BTreeSet<String>,
}

const CONVERSATIONS: usize = 24;

fn context(worker_config: &WorkerConfig, shard: &Arc<Shard>, seed: u64) -> (Rc<Context>, tap::Spout) {
    let sweeper = Sweeper::simulated();
    let (admission, tunnels) = (Admission::new(shard), Tunnels::new(shard));
    let (tap, spout) = tap::tap(shard);
    let cx = Context {
        generation: RefCell::new(Generation::new(worker_config, &sweeper, None)),
        shard: Arc::clone(shard),
        tap: Rc::new(tap),
        buffers: Rc::default(),
        sweeper,
        sessions: Default::default(),
        places: Places::default(),
        admission,
        tunnels,
        random: Random::new(seed),
        proof: Proof::new([7; 16]),
        draining: Rc::default(),
        busy: Cell::new(false),
        date: RefCell::new("today".to_owned()),
        #[cfg(debug_assertions)]
        panic_on_request: false,
    };
    (Rc::new(cx), spout)
}

/// A configuration as a worker gets it, with the one before.
fn worker_config(text: &str, before: Option<&WorkerConfig>) -> WorkerConfig {
    let config = Arc::new(check::parse("simulation", text).expect("it is sound").config);
    let address = |endpoint: &config::Endpoint| match &endpoint.host {
        config::Host::Address(ip) => Address::from((*ip, endpoint.port)),
        config::Host::Name(_) | config::Host::Unix(_) => unreachable!("there are no names in this world"),
    };
    let addresses: Vec<Vec<Address>> =
        config.upstreams.iter().map(|upstream| upstream.endpoints.iter().map(address).collect()).collect();
    let health = addresses.iter().map(|_| Vec::new()).collect::<Vec<_>>();
    let counters = match before {
        Some(before) => Counters::after(&config, &before.config, &before.counters),
        None => Counters::new(&config),
    };
    let located = Located { addresses: Arc::new(addresses), health: Arc::new(health), ..Located::default() };
    let prepared = match before {
        Some(before) => before.prepared.after(&Difference::between(&before.config, &config), &config),
        None => Prepared::new(&config),
    };
    let callings = covered::callings(&config);
    WorkerConfig {
        clients_max: config.limits.connections_max,
        config,
        located,
        counters: Arc::new(counters),
        prepared: Arc::new(prepared),
        callings,
        captures: Arc::default(),
        listeners: Vec::new(),
    }
}

/// The play of one seed, from its first connection until all is given back.
fn play(seed: u64, reached: &Rc<RefCell<Reached>>) {
    let reached = Rc::clone(reached);
    World::run(seed, move |world| async move {
        let chosen = world.below(CONFIGURATIONS.len());
        let first = worker_config(CONFIGURATIONS[chosen], None);
        // A secret may be told to v2 while another configuration is in force, so those plays keep theirs.
        let changes = CONFIGURATIONS[chosen] != POLICIES && world.below(2) == 0;
        let under = if CONFIGURATIONS[chosen] == POLICIES { "policies" } else { "others" };
        let mut worker_configs = vec![first];
        let shard = Arc::<Shard>::default();
        let (cx, mut spout) = context(&worker_configs[0], &shard, seed);
        cx.tap.budget.set_max(200_000);
        let lanes = Rc::new(Lanes::default());
        lanes.follow(&cx, None).await;
        heartbeat::begin(&cx, &lanes, &Rc::default());
        let did = primary::Did::default();
        for port in [1, 2, 3, 11] {
            let (its_world, its_did) = (Rc::clone(&world), Rc::clone(&did));
            let plays = move |end| -> Task {
                Box::pin(origin(Rc::clone(&its_world), port, end, Rc::clone(&its_did)))
            };
            // Now and then one of them is not there at all.
            if world.below(12) > 0 {
                world.listen(SocketAddr::from(([127, 0, 0, 1], port)), Rc::new(plays));
            }
        }
        for silent in [98, 99] {
            world.ignore(SocketAddr::from(([127, 0, 0, 1], silent)));
        }

        let (running, answers) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        for n in 0..CONVERSATIONS {
            world.sleep_us(world.below(60_000) as u64).await;
            if changes && world.below(8) == 0 {
                let text = CONFIGURATIONS[world.below(CONFIGURATIONS.len() - 1)];
                let next = worker_config(text, worker_configs.last());
                let before = cx.generation();
                *cx.generation.borrow_mut() = Generation::new(&next, &cx.sweeper, Some(&before));
                lanes.follow(&cx, Some(before)).await;
                worker_configs.push(next);
            }
            let (ours, theirs) = simulated::pair();
            let client = SocketAddr::from(([127, 0, 0, 1 + world.below(2) as u8], 9999));
            let entrance = Entrance { protocols: Cell::new(Protocols::BOTH), ..Entrance::default() };
            listener::serve(&cx, Stream::simulated(ours, &cx.sweeper), client, 80, &Rc::new(entrance));
            running.set(running.get() + 1);
            let ended = Rc::clone(&running);
            let (name, its_world, said) = (format!("{seed}-{n}"), Rc::clone(&world), Rc::clone(&answers));
            let is_http2 = world.below(3) == 0;
            world.spawn(async move {
                if is_http2 {
                    http2::converse(its_world, theirs, name, under, said).await;
                } else {
                    converse(its_world, theirs, name, under, said).await;
                }
                ended.set(ended.get() - 1);
            });
        }
        if world.below(6) == 0 {
            world.sleep_us(world.below(300_000) as u64).await;
            cx.draining.set(true);
            drain(&cx, &lanes, Vec::new()).await;
        }
        // Long enough for every timeout, and for pooled connections to be closed.
        let mut waited = 0;
        while running.get() > 0 || shard.connections_active.get() > 0 {
            world.sleep_us(100_000).await;
            waited += 1;
            assert!(
                waited < 1200,
                "{} clients, {} connections stay",
                running.get(),
                shard.connections_active.get()
            );
        }
        world.sleep_us(150_000_000).await;

        let mut told = 0;
        while spout.pop().is_some() {
            told += 1;
        }
        assert_eq!(told + shard.records_lost.get(), shard.records.get() + shard.records_lost.get());
        assert_eq!(cx.tap.budget.used(), 0, "what was kept to be compared is given back");
        for counters in worker_configs.iter().map(|worker_config| &worker_config.counters) {
            counters.mirrors.iter().flatten().for_each(|mirror| balances(mirror));
            for lane in &counters.lanes {
                let left = (lane.ring_bytes.get(), lane.ring_entries.get(), lane.connections.get());
                assert_eq!(left, (0, 0, 0));
            }
            for upstream in &counters.upstreams {
                assert_eq!((upstream.idle.get(), upstream.pending.get()), (0, 0));
            }
        }
        let generation = cx.generation();
        for (lane, settings) in generation.lanes.iter().zip(&generation.config.lanes) {
            assert!(lane.reserve(settings.ring_bytes_max), "the ring's whole room is free again");
        }
        assert!(generation.upstreams.are_at_rest(), "every permit was given back");
        assert_eq!(cx.sweeper.open(), 0, "every socket is closed");
        assert_eq!((shard.exchange_panics.get(), shard.exchanges_active.get()), (0, 0));

        let mut reached = reached.borrow_mut();
        reached.plays += 1;
        reached.conversations += CONVERSATIONS;
        reached.answers += answers.get();
        reached.labels.extend(did.take());
        reached.see(&shard, &worker_configs);
    });
}

/// The ledger of one mirror, when everything is over.
fn balances(mirror: &MirrorCounters) {
    let ended = mirror.completed.sum() + mirror.failed.sum();
    let all = mirror.sampled_out.get() + mirror.skipped.sum() + mirror.dropped.sum() + mirror.sent.get();
    assert_eq!(mirror.eligible.get(), all, "the ledger balances");
    assert_eq!(mirror.sent.get(), ended, "every copy that was sent has ended");
    let levels = [&mirror.pending, &mirror.waiting, &mirror.in_flight].map(|level| level.get());
    assert_eq!(levels, [0; 3]);
    let paired: u64 = mirror.pairs.matrix.seen().map(|(_, _, n)| n).sum();
    assert_eq!(paired, ended, "every copy that was sent has its place beside the primary's answer");
}

impl Reached {
    fn see(&mut self, shard: &Shard, worker_configs: &[WorkerConfig]) {
        let labels = &mut self.labels;
        let mut note = |family: &str, label: &str, n: u64| {
            if n > 0 {
                labels.insert(format!("{family} {label}"));
            }
        };
        fn each<L: Label>(family: &metrics::Family<L>, mut note: impl FnMut(&str, u64)) {
            L::ALL.iter().for_each(|label| note(label.text(), family.get(*label)));
        }
        each(&shard.rejected, |label, n| note("rejected", label, n));
        each(&shard.http2.resets, |label, n| note("stream reset", label, n));
        each(&shard.http2.goaways, |label, n| note("goaway", label, n));
        note("stream", "refused", shard.http2.refused.get());
        each(&shard.connections_shed, |label, n| note("shed", label, n));
        for counters in worker_configs.iter().map(|worker_config| &worker_config.counters) {
            for mirror in counters.mirrors.iter().flatten() {
                each(&mirror.skipped, |label, n| note("skipped", label, n));
                each(&mirror.dropped, |label, n| note("dropped", label, n));
                each(&mirror.completed, |label, n| note("completed", label, n));
                each(&mirror.failed, |label, n| note("failed", label, n));
                each(&mirror.lowered, |label, n| note("lowered", label, n));
                note("mirror", "sampled_out", mirror.sampled_out.get());
            }
            for upstream in &counters.upstreams {
                each(&upstream.failures, |label, n| note("upstream", label, n));
                each(&upstream.tls.done, |label, n| note("handshake", label, n));
                note("upstream", "reuse", upstream.reuses.get());
                note("upstream", "retry", upstream.retries.get());
                note("upstream", "ejection", upstream.ejections.get());
                note("upstream", "last_resort", upstream.last_resorts.get());
                note("upstream", "overflows", upstream.overflows.get());
            }
            for lane in &counters.lanes {
                each(&lane.tls.done, |label, n| note("handshake of copies", label, n));
                note("lane", "batch", lane.batches.get());
                note("lane", "resent", lane.resent.get());
                note("lane", "cut", CutReason::ALL.iter().map(|why| lane.cut.get(*why)).sum());
                note("lane", "connect_failure", lane.connect_failures.get());
            }
            counters.routes.iter().for_each(|route| note("client", "aborted", route.aborted.get()));
        }
    }
}

/// Every label that a family of the data path's counters has, and the plain counters beside them.
fn every_label() -> Vec<String> {
    fn all<L: Label>(family: &str) -> Vec<String> {
        L::ALL.iter().map(|label| format!("{family} {}", label.text())).collect()
    }
    let plain = [
        "client aborted",
        "mirror sampled_out",
        "upstream reuse",
        "upstream retry",
        "upstream ejection",
        "upstream last_resort",
        "upstream overflows",
        "lane batch",
        "lane resent",
        "lane cut",
        "lane connect_failure",
    ];
    [
        all::<RejectReason>("rejected"),
        all::<Shed>("shed"),
        all::<SkipReason>("skipped"),
        all::<metrics::DropReason>("dropped"),
        all::<Class>("completed"),
        all::<FailReason>("failed"),
        all::<LowerReason>("lowered"),
        all::<UpstreamFailure>("upstream"),
        all::<metrics::Handshake>("handshake"),
        all::<metrics::Handshake>("handshake of copies"),
        plain.map(str::to_owned).to_vec(),
    ]
    .concat()
}

#[test]
fn nothing_is_mixed_up_lost_or_leaked_in_any_order_of_events() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let reached = Rc::new(RefCell::new(Reached::default()));
    if let Some(seed) = number("UMBRA_SIM_SEED") {
        return play(seed, &reached);
    }
    let first = RandomState::new().hash_one(0) >> 8;
    let until = Instant::now() + Duration::from_secs(number("UMBRA_SIM_SECONDS").unwrap_or(3));
    let mut seed = first;
    while Instant::now() < until {
        if let Err(why) = catch_unwind(AssertUnwindSafe(|| play(seed, &reached))) {
            eprintln!("to see it again: UMBRA_SIM_SEED={seed}");
            resume_unwind(why);
        }
        seed += 1;
    }
    let Reached { plays, conversations, answers, labels } = &*reached.borrow();
    println!("{plays} plays, {conversations} conversations, {answers} answers; reached: {labels:?}");
    if *plays > 200 {
        let missed: Vec<_> = ALWAYS_REACHED.iter().filter(|label| !labels.contains(**label)).collect();
        assert!(missed.is_empty(), "never reached in {plays} plays: {missed:?}");
    }
    if *plays > ALL_IN_PLAYS {
        let cannot = |label: &String| NEVER_REACHED.iter().any(|(never, _)| label == never);
        let (impossible, possible): (Vec<_>, Vec<_>) = every_label().into_iter().partition(cannot);
        let missed: Vec<_> = possible
            .iter()
            .filter(|label| !labels.contains(*label) && !SELDOM_REACHED.contains(&label.as_str()))
            .collect();
        assert!(missed.is_empty(), "never reached in {plays} plays: {missed:?}");
        assert!(impossible.iter().all(|label| !labels.contains(label)), "reached after all: {labels:?}");
    }
}

#[test]
fn a_seed_is_one_play() {
    let told = |seed| {
        let reached = Rc::new(RefCell::new(Reached::default()));
        play(seed, &reached);
        let reached = reached.borrow();
        (reached.answers, reached.labels.clone())
    };
    assert_eq!(told(7), told(7));
}

/// Requests of a client one after the other, answered 200 where the primary could be connected to; how many were.
async fn served(wire: &mut Wire, requests: usize) -> usize {
    let mut served = 0;
    for n in 0..requests {
        let request = format!("GET /s HTTP/1.1\r\nHost: a\r\nX-Id: {n}\r\n\r\n");
        if wire.end.write_all(request.as_bytes()).await.is_err() {
            break;
        }
        let Ok(answer) = wire.message(true, |_| true).await else { break };
        served += usize::from(answer.start.starts_with("HTTP/1.1 200"));
    }
    served
}

#[test]
fn a_busy_worker_gives_up_copies_and_serves_its_clients() {
    World::run(1, |world| async move {
        let plays = |end| -> Task {
            Box::pin(async move {
                let mut wire = Wire::new(end);
                while wire.message(false, |_| true).await.is_ok() {
                    let answer = b"HTTP/1.1 200 OK\r\nX-Id: x\r\nContent-Length: 2\r\n\r\nok";
                    if wire.end.write_all(answer).await.is_err() {
                        break;
                    }
                }
            })
        };
        for port in [1, 2, 11] {
            world.listen(SocketAddr::from(([127, 0, 0, 1], port)), Rc::new(plays));
        }
        let shard = Arc::<Shard>::default();
        let worker_config = worker_config(CONFIGURATIONS[0], None);
        let (cx, _spout) = context(&worker_config, &shard, 1);
        let lanes = Rc::new(Lanes::default());
        lanes.follow(&cx, None).await;
        // No time passes here, so the worker stays as busy as this flag says.
        cx.busy.set(true);
        let (ours, theirs) = simulated::pair();
        listener::serve(
            &cx,
            Stream::simulated(ours, &cx.sweeper),
            SocketAddr::from(([127, 0, 0, 1], 9)),
            80,
            &Rc::default(),
        );
        let mut wire = Wire::new(theirs);
        let served_busy = served(&mut wire, 20).await as u64;
        let mirror = &worker_config.counters.mirrors[0][0];
        assert!(served_busy > 10, "clients of a busy worker are served: {served_busy} of 20");
        assert!(
            mirror.dropped.get(metrics::DropReason::WorkerBusy) >= served_busy,
            "each had a copy at least"
        );
        assert_eq!(mirror.sent.get(), 0, "and none was sent");

        cx.busy.set(false);
        let served_then = served(&mut wire, 20).await as u64;
        assert!(served_then > 10, "{served_then} of 20");
        let given_up = mirror.dropped.get(metrics::DropReason::WorkerBusy);
        world.sleep_us(10_000).await;
        assert_eq!(mirror.dropped.get(metrics::DropReason::WorkerBusy), given_up);
        assert!(mirror.sent.get() > 0, "copies are sent again as soon as it is not busy");
        drop(wire);
        cx.draining.set(true);
        drain(&cx, &lanes, Vec::new()).await;
    });
}
