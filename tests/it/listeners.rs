//! Listeners come and go while the gateway serves: clients of the others do not notice, and clients of one that goes are told.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tests::load::get;
use tests::process::successor;
use tests::{Client, Gate, Gateway, Origin, Response, Setup, eventually};

/// An address of this machine that is free and stays so: no test binds port 0 there.
pub(crate) fn free(host: u8) -> SocketAddr {
    let socket =
        TcpListener::bind(SocketAddr::from(([127, 77, 0, host], 0))).expect("an address of this machine");
    socket.local_addr().expect("bound")
}

/// A port that is free at any address, and that the kernel does not choose for port 0 (those begin at 32768).
fn free_everywhere() -> u16 {
    let first = 10_000 + u16::try_from(std::process::id() % 10_000).expect("it is less");
    let is_free = |port: &u16| TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], *port))).is_ok();
    (first..30_000).find(is_free).expect("a free port")
}

/// The gateway's own listener and these.
fn listening(setup: &Setup, more: &[SocketAddr]) -> String {
    let more: String = more.iter().map(|bind| format!("[[listener]]\nbind = \"{bind}\"\n")).collect();
    format!("{more}{}", setup.toml())
}

#[track_caller]
fn put(gateway: &Gateway, toml: &str) -> Response {
    gateway.admin("PUT", "/config", toml)
}

#[track_caller]
fn apply(gateway: &Gateway, toml: &str) {
    let told = put(gateway, toml);
    assert_eq!(told.status, 200, "{}", told.text());
}

fn refuses(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err()
}

#[test]
fn one_that_is_added_serves_on_every_worker_and_counts_like_the_first() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let setup = Setup::new(&v1).mirror("v2", v2.address, "").workers(2);
    let gateway = setup.start();
    let mut kept = gateway.client();
    assert_eq!(kept.ask(get(0)).text(), "v1");
    let added = free(1);
    gateway.write(&listening(&setup, &[added]));
    gateway.signal("HUP");
    eventually("it is told", || gateway.stderr().contains(&format!("listening on {added}")));
    eventually("it is applied", || gateway.stderr().contains("configuration applied on 2 workers"));
    // Both workers have a socket there; the kernel chooses one by the client's port.
    for id in 1..=40 {
        assert_eq!(Client::connect(added).ask(get(id)).text(), "v1");
    }
    let answer = kept.ask(get(41));
    assert_eq!((answer.status, answer.field("connection")), (200, None));
    let metrics = gateway.settled("v2");
    assert_eq!(metrics.mirror("v2", "sent_total"), 42);
}

#[test]
fn one_that_is_removed_finishes_what_is_open_and_takes_nothing_new() {
    let gate = Gate::closed();
    let held = gate.clone();
    let v1 = Origin::new(move |request, stream| {
        if request.target.contains("slow") {
            held.pass();
        }
        tests::origin::write(stream, tests::load::OK)
    });
    let setup = Setup::new(&v1);
    let added = free(2);
    let gateway = Gateway::start(&setup.toml(), &[]);
    apply(&gateway, &listening(&setup, &[added]));
    let mut stays = gateway.client();
    assert_eq!(stays.ask(get(0)).status, 200);
    let (mut idle, mut busy) = (Client::connect(added), Client::connect(added));
    assert_eq!(idle.ask(get(1)).status, 200);
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    v1.wait_for(3);
    apply(&gateway, &setup.toml());
    eventually("nothing listens there any more", || refuses(added));
    eventually("who is idle is let go", || idle.is_closed());
    gate.open();
    let answer = busy.response();
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    assert!(busy.is_closed());
    let answer = stays.ask(get(2));
    assert_eq!((answer.status, answer.field("connection")), (200, None), "nobody else is told anything");
    let said = format!("no longer listening on {added}");
    eventually("it is said", || gateway.stderr().contains(&said));
}

#[test]
fn what_does_not_end_in_the_drains_time_on_one_that_is_removed_is_ended() {
    let v1 = Origin::scripted(|conn| {
        let _ = conn.head();
        conn.hang();
    });
    let setup = Setup::new(&v1).with("[timeouts]\ndrain = \"1s\"\nresponse_head = \"600s\"");
    let added = free(3);
    let gateway = Gateway::start(&listening(&setup, &[added]), &[]);
    let mut stays = gateway.client();
    let mut goes = Client::connect(added);
    for client in [&mut stays, &mut goes] {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    eventually("both are under way", || v1.connections() == 2);
    apply(&gateway, &setup.toml());
    eventually("its time is over", || goes.is_ended());
    assert!(!stays.hears_within(Duration::from_millis(50)), "the other one's is not");
}

#[test]
fn a_close_delimited_response_that_the_drain_of_one_that_is_removed_cuts_does_not_look_complete() {
    let v1 = Origin::scripted(|conn| {
        conn.request();
        conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
        conn.hang();
    });
    let setup = Setup::new(&v1).with("[timeouts]\ndrain = \"300ms\"");
    let added = free(5);
    let gateway = Gateway::start(&listening(&setup, &[added]), &[]);
    let mut client = Client::connect(added);
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    eventually("it begins", || {
        client.hears_within(Duration::from_millis(10));
        client.inbox.ends_with(b"one")
    });
    apply(&gateway, &setup.toml());
    eventually("it ends", || client.is_ended());
    assert!(client.was_reset(), "a plain end would say that the response is complete");
}

#[test]
fn an_address_that_is_taken_refuses_the_change_whole_and_names_its_key() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let gateway = Setup::new(&old).start();
    let taken = TcpListener::bind("127.77.0.4:0").expect("an address");
    let (taken_at, beside) = (taken.local_addr().expect("bound"), free(4));
    let wanted = listening(&Setup::new(&new), &[beside, taken_at]);
    let told = put(&gateway, &wanted);
    assert_eq!(told.status, 422, "{}", told.text());
    let text = told.text();
    assert!(text.contains("listener[1].bind") && text.contains("is already in use"), "{text}");
    assert!(refuses(beside), "nothing of it has happened");
    assert_eq!(gateway.client().ask(get(0)).text(), "old");
    drop(taken);
    apply(&gateway, &wanted);
    assert_eq!(Client::connect(taken_at).ask(get(1)).text(), "new");
}

#[test]
fn one_moves_from_all_addresses_to_one_on_the_same_port() {
    let v1 = Origin::named("v1");
    let setup = Setup::new(&v1);
    let port = free_everywhere();
    let (wide, narrow) = (SocketAddr::from(([0, 0, 0, 0], port)), SocketAddr::from(([127, 77, 0, 5], port)));
    let other = SocketAddr::from(([127, 77, 0, 6], port));
    let gateway = Gateway::start(&listening(&setup, &[wide]), &[]);
    assert_eq!(Client::connect(other).ask(get(0)).text(), "v1");
    let both = put(&gateway, &listening(&setup, &[wide, narrow]));
    assert_eq!(both.status, 422, "no start would do it: {}", both.text());
    assert!(
        both.text().contains("listener[1].bind") && both.text().contains("is already in use"),
        "{}",
        both.text()
    );
    apply(&gateway, &listening(&setup, &[narrow]));
    assert_eq!(Client::connect(narrow).ask(get(1)).text(), "v1");
    eventually("it listens there alone", || refuses(other));
}

#[test]
fn clients_of_one_that_stays_see_nothing_of_twenty_changes_of_others() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let setup = Setup::new(&v1).mirror("v2", v2.address, "").workers(2);
    let gateway = setup.start();
    let warm = gateway.descriptors();
    let others: Vec<SocketAddr> = (10..14).map(free).collect();
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let kept = |number: usize| {
        let mut client = gateway.client();
        while !stop.load(SeqCst) {
            let answer = client.ask(get(number * 1_000_000 + asked.fetch_add(1, SeqCst)));
            assert_eq!((answer.status, answer.field("connection")), (200, None));
        }
    };
    let once = |number: usize| {
        while !stop.load(SeqCst) {
            let answer = gateway.client().ask(get(number * 1_000_000 + asked.fetch_add(1, SeqCst)));
            assert_eq!(answer.status, 200);
        }
    };
    let (kept, once) = (&kept, &once);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .flat_map(|n| [scope.spawn(move || kept(2 * n)), scope.spawn(move || once(2 * n + 1))])
            .collect();
        for change in 0..20 {
            let some: Vec<SocketAddr> = others
                .iter()
                .copied()
                .enumerate()
                .filter(|(n, _)| (change >> n) & 1 == 0)
                .map(|(_, a)| a)
                .collect();
            apply(&gateway, &listening(&setup, &some));
            if let Some(one) = some.first() {
                assert_eq!(Client::connect(*one).ask(get(change)).text(), "v1");
            }
            let so_far = asked.load(SeqCst);
            eventually("fifty requests", || asked.load(SeqCst) >= so_far + 50);
        }
        stop.store(true, SeqCst);
        clients.into_iter().for_each(|client| client.join().expect("a client was hurt"));
    });
    assert!(asked.load(SeqCst) >= 1_000);
    apply(&gateway, &setup.toml());
    gateway.settled("v2");
    eventually("descriptors come back", || gateway.descriptors() <= warm + 40);
    assert!(others.iter().all(|address| refuses(*address)));
}

#[test]
fn a_successor_gets_the_listeners_that_there_are_and_not_those_that_there_were() {
    let v1 = Origin::named("v1");
    let setup = Setup::new(&v1);
    let (gone, added) = (free(20), free(21));
    let mut gateway = Gateway::start(&listening(&setup, &[gone]), &[]);
    let text = listening(&setup, &[added]);
    gateway.write(&text);
    gateway.signal("HUP");
    eventually("it is applied", || gateway.stderr().contains("configuration applied"));
    gateway.signal("USR2");
    let next = successor(|| gateway.stderr(), 0);
    gateway.wait_exit();
    assert_eq!(Client::connect(added).ask(get(0)).text(), "v1");
    assert_eq!(gateway.client().ask(get(1)).text(), "v1");
    assert!(refuses(gone));
    assert!(!gateway.stderr().contains("no listener has that address"), "{}", gateway.stderr());
    // And the successor changes them like the first.
    std::fs::write(gateway.file(), listening(&setup, &[gone])).expect("the file is written");
    next.signal("HUP");
    eventually("it serves there again", || !refuses(gone));
    eventually("and there no more", || refuses(added));
    assert_eq!(Client::connect(gone).ask(get(2)).text(), "v1");
}

#[test]
fn the_admin_listener_moves_and_whoever_moved_it_is_told() {
    let v1 = Origin::named("v1");
    let setup = Setup::new(&v1);
    let gateway = setup.start();
    let moved_to = free(30);
    let elsewhere =
        setup.toml().replace("[admin]\nbind = \"127.0.0.1:0\"", &format!("[admin]\nbind = \"{moved_to}\""));
    let mut before = Client::connect(gateway.admin);
    let ask = |method: &str, target: &str, lines: &str, body: &str| {
        format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\n{lines}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let answer = before.ask(ask("PUT", "/config", "", &elsewhere));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(before.is_closed(), "its listener is gone");
    eventually("nothing listens there any more", || refuses(gateway.admin));
    let mut now = Client::connect(moved_to);
    assert_eq!(now.ask(ask("GET", "/readyz", "", "")).status, 200);
    // Another token is another listener too: earlier clients are disconnected, and have to show it.
    let guarded = elsewhere.replace("[admin]\n", "[admin]\ntoken = \"open-sesame\"\n");
    assert_eq!(now.ask(ask("PUT", "/config", "", &guarded)).status, 200);
    eventually("the connection ends", || now.is_closed());
    let mut now = Client::connect(moved_to);
    assert_eq!(now.ask(ask("PUT", "/config", "", &guarded)).status, 401);
    let bearer = "Authorization: Bearer open-sesame\r\n";
    let taken = TcpListener::bind("127.77.0.31:0").expect("an address");
    let to_taken = guarded.replace(&moved_to.to_string(), &taken.local_addr().expect("bound").to_string());
    let mut now = Client::connect(moved_to);
    let answer = now.ask(ask("PUT", "/config", bearer, &to_taken));
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("admin.bind"), "{}", answer.text());
    assert_eq!(now.ask(ask("GET", "/healthz", "", "")).status, 200);
    let off = guarded.replace(&format!("bind = \"{moved_to}\""), "bind = \"off\"");
    assert_eq!(now.ask(ask("PUT", "/config", bearer, &off)).status, 200);
    eventually("it is off", || refuses(moved_to));
    assert_eq!(gateway.client().ask(get(0)).text(), "v1");
}
