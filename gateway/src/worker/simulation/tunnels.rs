//! Tunnels in the simulated world: whatever the pieces, the waits and the ends, each side gets the bytes that the other sent,
//! and no resource is left.

use super::*;
use crate::metrics::{TunnelEnd, TunnelWay};

const CONFIGURATION: &str = r#"
    [limits]
    connections_max = 20
    tunnels_max = 5
    [timeouts]
    connect = "500ms"
    response_head = "1s"
    write = "1s"
    tunnel_idle = "3s"
    drain = "500ms"
    [upstream.v1]
    endpoints = ["127.0.0.1:1"]
    [upstream.v2]
    endpoints = ["127.0.0.1:2"]
    [[route]]
    name = "all"
    path_prefix = "/"
    primary = "v1"
    upgrade = ["websocket"]
    mirrors = [{ upstream = "v2" }]
"#;

/// The bytes that one end of a tunnel has sent, and those that it has received.
#[derive(Default)]
struct Side {
    said: RefCell<Vec<u8>>,
    heard: RefCell<Vec<u8>>,
    /// The side has sent all, and its FIN.
    is_finished: Cell<bool>,
    /// The side has received the other's FIN.
    hears_end: Cell<bool>,
}

#[derive(Default)]
struct Played {
    client: Side,
    primary: Side,
    is_open: Cell<bool>,
}

const TUNNELS: usize = 8;

/// Sends something in pieces, receives meanwhile, and ends this way or that.
async fn talk(
    world: &Rc<World>,
    end: Rc<End>,
    side: impl Fn(&Played) -> &Side + Clone + 'static,
    played: Rc<Played>,
) {
    let speaking = {
        let (world, end, side, played) =
            (Rc::clone(world), Rc::clone(&end), side.clone(), Rc::clone(&played));
        async move {
            for _ in 0..world.below(12) {
                let first = world.below(256);
                let piece: Vec<u8> = (0..1 + world.below([3, 5_000, 90_000][world.below(3)]))
                    .map(|n| ((first + n) * 31 % 251) as u8)
                    .collect();
                side(&played).said.borrow_mut().extend_from_slice(&piece);
                if end.write_all(&piece).await.is_err() {
                    return;
                }
                if world.below(3) == 0 {
                    world.sleep_us(world.below(400_000) as u64).await;
                }
            }
            match world.below(12) {
                0 => end.reset_on_close(),
                // The side falls silent without ending.
                1 => world.sleep_us(20_000_000).await,
                _ => {
                    side(&played).is_finished.set(true);
                    end.finish();
                    return;
                }
            }
            end.shut_both();
        }
    };
    world.spawn(speaking);
    let side = side(&played);
    let mut block = Vec::new();
    loop {
        block.clear();
        match end.read(&mut block, 1 + world.below([10, 70_000][world.below(2)])).await {
            Ok(0) => return side.hears_end.set(true),
            Ok(_) => side.heard.borrow_mut().extend_from_slice(&block),
            Err(_) => return,
        }
        if world.below(20) == 0 {
            world.sleep_us(world.below(500_000) as u64).await;
        }
    }
}

/// Reads a head; bytes behind it stay in the buffer.
async fn head(end: &End, buf: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(at) = memchr::memmem::find(buf, b"\r\n\r\n") {
            let head = buf.drain(..at + 4).collect();
            return String::from_utf8(head).ok();
        }
        if !matches!(end.read(buf, 8192).await, Ok(1..)) {
            return None;
        }
    }
}

async fn primary(world: Rc<World>, end: End, all: Rc<Vec<Rc<Played>>>) {
    let (end, mut buf) = (Rc::new(end), Vec::new());
    let Some(asked) = head(&end, &mut buf).await else { return };
    let number = asked.strip_prefix("GET /").and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
    let played = Rc::clone(&all[number.expect("a request of ours")]);
    if world.below(10) == 0 {
        let _ = end.write_all(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno").await;
        return;
    }
    let mut opening =
        b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"
            .to_vec();
    if world.below(2) == 0 {
        opening.extend_from_slice(b"first");
        played.primary.said.borrow_mut().extend_from_slice(b"first");
    }
    if end.write_all(&opening).await.is_err() {
        return;
    }
    played.primary.heard.borrow_mut().extend_from_slice(&buf);
    talk(&world, end, |played| &played.primary, played).await;
}

async fn client(world: Rc<World>, end: End, number: usize, played: Rc<Played>) {
    let end = Rc::new(end);
    let mut asked = format!(
        "GET /{number} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes();
    if world.below(2) == 0 {
        asked.extend_from_slice(b"early");
        played.client.said.borrow_mut().extend_from_slice(b"early");
    }
    let mut rest = asked.as_slice();
    while !rest.is_empty() {
        let n = (1 + world.below(200)).min(rest.len());
        if end.write_all(&rest[..n]).await.is_err() {
            return;
        }
        rest = &rest[n..];
    }
    let mut buf = Vec::new();
    let Some(told) = head(&end, &mut buf).await else { return };
    if !told.starts_with("HTTP/1.1 101 ") {
        assert!(told.contains("Connection: close\r\n"), "what came behind the head is no request: {told}");
        return;
    }
    played.is_open.set(true);
    played.client.heard.borrow_mut().extend_from_slice(&buf);
    talk(&world, end, |played| &played.client, played).await;
}

/// Checks that `to` has received the bytes that `from` has sent, as far as they came.
fn agrees(from: &Side, to: &Side, is_whole: bool) {
    let (said, heard) = (from.said.borrow(), to.heard.borrow());
    assert!(said.starts_with(&heard), "{} bytes were said, {} others heard", said.len(), heard.len());
    // A FIN is received after the last byte, and only from a side that has sent all.
    if is_whole && from.is_finished.get() {
        assert_eq!((heard.len(), to.hears_end.get()), (said.len(), true));
    }
}

fn play_tunnels(seed: u64, reached: &Rc<RefCell<BTreeSet<&'static str>>>) {
    let reached = Rc::clone(reached);
    World::run(seed, move |world| async move {
        let shard = Arc::<Shard>::default();
        let configured = worker_config(CONFIGURATION, None);
        let (cx, _spout) = context(&configured, &shard, seed);
        let lanes = Rc::new(Lanes::default());
        lanes.follow(&cx, None).await;
        heartbeat::begin(&cx, &lanes, &Rc::default());
        let all: Rc<Vec<Rc<Played>>> = Rc::new((0..TUNNELS).map(|_| Rc::default()).collect());
        let (its_world, played) = (Rc::clone(&world), Rc::clone(&all));
        let plays = move |end| -> Task { Box::pin(primary(Rc::clone(&its_world), end, Rc::clone(&played))) };
        world.listen(SocketAddr::from(([127, 0, 0, 1], 1)), Rc::new(plays));
        for (number, played) in all.iter().enumerate() {
            world.sleep_us(world.below(300_000) as u64).await;
            let (ours, theirs) = simulated::pair();
            let address = SocketAddr::from(([127, 0, 0, 1], 9999));
            listener::serve(&cx, Stream::simulated(ours, &cx.sweeper), address, 80, &Rc::default());
            world.spawn(client(Rc::clone(&world), theirs, number, Rc::clone(played)));
        }
        let drains = world.below(4) == 0;
        if drains {
            world.sleep_us(world.below(2_000_000) as u64).await;
            cx.draining.set(true);
            drain(&cx, &lanes, Vec::new()).await;
        }
        world.sleep_us(90_000_000).await;

        let counters = &shard.tunnels;
        let ends = |how: TunnelEnd| counters.ended.get(how);
        let [broken, idle] = [ends(TunnelEnd::Client) + ends(TunnelEnd::Primary), ends(TunnelEnd::Idle)];
        for played in all.iter().filter(|played| played.is_open.get()) {
            let is_gentle = played.client.is_finished.get() && played.primary.is_finished.get();
            let is_whole = is_gentle && !drains;
            agrees(&played.client, &played.primary, is_whole);
            agrees(&played.primary, &played.client, is_whole);
        }
        assert_eq!((counters.active.get(), cx.tunnels.taken(), cx.tunnels.is_empty()), (0, 0, true));
        assert_eq!(counters.opened.get(), counters.ended.sum());
        if broken + idle == 0 && !drains {
            let heard = |side: fn(&Played) -> &Side| -> u64 {
                all.iter().map(|played| side(played).heard.borrow().len() as u64).sum()
            };
            let passed = (counters.bytes.get(TunnelWay::Up), counters.bytes.get(TunnelWay::Down));
            assert_eq!(passed, (heard(|played| &played.primary), heard(|played| &played.client)));
        }
        let mirror = &configured.counters.mirrors[0][0];
        balances(mirror);
        assert_eq!((mirror.skipped.get(SkipReason::Upgrade), mirror.sent.get()), (mirror.eligible.get(), 0));
        assert_eq!(
            (cx.sweeper.open(), shard.connections_active.get(), shard.exchanges_active.get()),
            (0, 0, 0)
        );
        assert_eq!(shard.exchange_panics.get(), 0);
        let mut reached = reached.borrow_mut();
        reached.extend(TunnelEnd::ALL.iter().filter(|how| ends(**how) > 0).map(|how| how.text()));
        if shard.rejected.get(RejectReason::Tunnels) > 0 {
            reached.insert("rejected");
        }
    });
}

#[test]
fn a_tunnel_passes_every_byte_once_and_in_order_whatever_its_ends_do() {
    let reached = Rc::default();
    for seed in 0..150 {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| play_tunnels(seed, &reached))) {
            eprintln!("seed {seed}");
            resume_unwind(panic);
        }
    }
    let all = BTreeSet::from(["client", "closed", "drain", "idle", "primary", "rejected"]);
    assert_eq!(*reached.borrow(), all);
}
