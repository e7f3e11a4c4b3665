//! Upstreams of several endpoints: who takes what, who is passed over, and how much at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use tests::load::{Gate, OK};
use tests::origin::write;
use tests::{Gateway, Origin, eventually};

/// A gateway before one upstream of these origins, with these keys.
fn gateway(origins: &[Origin], keys: &str, workers: usize) -> Gateway {
    let addresses: Vec<String> = origins.iter().map(|o| format!("\"{}\"", o.address)).collect();
    let toml = format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n[workers]\ncount = {workers}\n\
         [upstream.v1]\nendpoints = [{}]\n{keys}\n[[route]]\nname = \"all\"\nprimary = \"v1\"\n",
        addresses.join(", ")
    );
    Gateway::start(&toml, &[])
}

fn named(n: usize) -> Vec<Origin> {
    ["a", "b", "c", "d"][..n].iter().map(|name| Origin::named(name)).collect()
}

fn ask(gateway: &Gateway, lines: &str) -> (u16, String) {
    let answer = gateway.client().ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
    (answer.status, answer.text())
}

#[test]
fn a_key_goes_to_one_endpoint_on_every_worker_and_in_every_process() {
    let origins = named(4);
    let keys = "balance = \"hash\"\nhash_by = \"header:x-user\"";
    let (one, two) = (gateway(&origins, keys, 2), gateway(&origins, keys, 1));
    let mut homes: HashMap<usize, String> = HashMap::new();
    for turn in 0..3 {
        for user in 0..40 {
            // A connection of its own each time: any worker may get it.
            let asked = if turn < 2 { &one } else { &two };
            let home = ask(asked, &format!("X-User: user-{user}\r\n")).1;
            assert_eq!(homes.entry(user).or_insert_with(|| home.clone()), &home, "user {user}");
        }
    }
    let used: std::collections::HashSet<&String> = homes.values().collect();
    assert_eq!(used.len(), 4, "forty users spread over all endpoints");
}

#[test]
fn random_spreads_over_all_endpoints() {
    let origins = named(4);
    let gateway = gateway(&origins, "balance = \"random\"", 1);
    (0..200).for_each(|_| assert_eq!(ask(&gateway, "").0, 200));
    assert!(
        origins.iter().all(|origin| (20..90).contains(&origin.count())),
        "{:?}",
        origins.iter().map(Origin::count).collect::<Vec<_>>()
    );
}

#[test]
fn an_endpoint_that_keeps_failing_is_passed_over_and_comes_back() {
    let broken = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&broken);
    let bad = Origin::new(move |_, stream| {
        let answer = if state.load(SeqCst) { "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n" } else { OK };
        write(stream, answer)
    });
    let origins = [bad, Origin::named("good")];
    let keys = "ejection = { consecutive_5xx = 3, interval = \"1s\", time = \"1s\", percent_max = 50 }";
    let gateway = gateway(&origins, keys, 1);
    let errors = (0..40).filter(|_| ask(&gateway, "").0 == 500).count();
    assert_eq!(errors, 3, "after three in a row it gets nothing");
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("umbra_upstream_ejections_total", &["upstream=\"v1\""]), 1);
    assert_eq!(metrics.sum("umbra_upstream_ejected", &["upstream=\"v1\""]), 1);
    broken.store(false, SeqCst);
    let before = origins[0].count();
    eventually("it comes back when its time is over", || {
        ask(&gateway, "").0 == 200 && origins[0].count() > before
    });
    eventually("it counts as back", || {
        gateway.metrics().sum("umbra_upstream_ejected", &["upstream=\"v1\""]) == 0
    });
}

#[test]
fn all_endpoints_ejected_is_better_than_nobody() {
    let bad = || Origin::fixed("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", tests::After::Keep);
    let origins = [bad(), bad()];
    let gateway =
        gateway(&origins, "ejection = { consecutive_5xx = 1, time = \"60s\", percent_max = 100 }", 1);
    for _ in 0..10 {
        assert_eq!(ask(&gateway, "").0, 503, "the primary's own answer, not ours");
    }
    assert_eq!(origins[0].count() + origins[1].count(), 10);
}

#[test]
fn an_unhealthy_endpoint_gets_nothing_until_it_is_well_again() {
    let well = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&well);
    let served = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&served);
    let sick = Origin::new(move |request, stream| {
        if request.target == "/health" {
            let answer = if state.load(SeqCst) { OK } else { "HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n" };
            return write(stream, answer);
        }
        counted.fetch_add(1, SeqCst);
        write(stream, OK)
    });
    let origins = [sick, Origin::named("good")];
    let keys = "health = { path = \"/health\", interval = \"50ms\", timeout = \"50ms\", healthy_after = 1, unhealthy_after = 1 }";
    let gateway = gateway(&origins, keys, 2);
    eventually("the check has found it", || gateway.stderr().contains("is unhealthy"));
    let before = served.load(SeqCst);
    (0..40).for_each(|_| assert_eq!(ask(&gateway, "").0, 200));
    assert_eq!(served.load(SeqCst), before, "it got nothing");
    well.store(true, SeqCst);
    eventually("it is asked again", || ask(&gateway, "").0 == 200 && served.load(SeqCst) > before);
}

#[test]
fn more_than_may_wait_is_turned_away_and_counted_and_the_others_are_served() {
    let gate = Gate::closed();
    let held = gate.clone();
    let slow = Origin::new(move |_, stream| {
        held.wait();
        write(stream, OK)
    });
    let origins = [slow];
    let gateway = gateway(&origins, "connections_max = 2\npending_max = 3\nconnect_timeout = \"8s\"", 1);
    let mut clients: Vec<_> = (0..10).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    let overflows = || gateway.metrics().sum("umbra_upstream_overflows_total", &["upstream=\"v1\""]);
    eventually("five are turned away", || overflows() == 5);
    assert_eq!(origins[0].connections(), 2);
    gate.open();
    let mut statuses: Vec<u16> = clients.iter_mut().map(|client| client.response().status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 503, 503, 503, 503, 503]);
    assert_eq!(origins[0].connections(), 2, "those that waited took the others' connections");
    assert_eq!(gateway.metrics().sum("umbra_rejected_total", &["reason=\"primary_overflow\""]), 5);
}

#[test]
fn a_connection_is_used_so_often_and_no_more() {
    let origins = named(1);
    let gateway = gateway(&origins, "requests_per_connection_max = 3", 1);
    let mut client = gateway.client();
    (0..9).for_each(|_| assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200));
    assert_eq!((origins[0].count(), origins[0].connections()), (9, 3));
}

/// A name server on loopback that answers every A question with `addresses`, valid for a second; with none it is silent
/// about that name (SERVFAIL).
fn name_server(addresses: &Arc<std::sync::Mutex<Vec<[u8; 4]>>>) -> std::net::SocketAddr {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("its address");
    let addresses = Arc::clone(addresses);
    std::thread::spawn(move || {
        let mut block = [0; 512];
        while let Ok((n, from)) = socket.recv_from(&mut block) {
            // The question's name ends with a zero byte; type and class follow.
            let Some(end) = block[12..n].iter().position(|b| *b == 0).map(|at| 12 + at + 5) else { continue };
            let is_a = block[end - 4..end - 2] == [0, 1];
            let known = addresses.lock().expect("addresses").clone();
            let given: &[[u8; 4]] = if is_a { &known } else { &[] };
            let code = if known.is_empty() { 2 } else { 0 };
            let mut answer = block[..2].to_vec();
            answer.extend([0x81, 0x80 | code, 0, 1, 0, given.len() as u8, 0, 0, 0, 0]);
            answer.extend(&block[12..end]);
            for ip in given {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
                answer.extend(ip);
            }
            let _ = socket.send_to(&answer, from);
        }
    });
    address
}

#[test]
fn a_name_that_moves_takes_its_traffic_along_and_one_that_fails_keeps_its_last_answer() {
    let both = |name: &'static str, ip: &str| {
        let listener = std::net::TcpListener::bind((ip, 0)).expect("a listener");
        (listener, name)
    };
    // Two origins on one port of two loopback addresses.
    let (first, _) = both("one", "127.0.0.1");
    let port = first.local_addr().expect("its address").port();
    let second = std::net::TcpListener::bind(("127.0.0.2", port)).expect("the same port elsewhere");
    let serve = |listener: std::net::TcpListener, name: &'static str| {
        tests::load::Peer::on(listener, move |mut stream| {
            use std::io::{Read as _, Write as _};
            let mut block = [0; 4096];
            while let Ok(1..) = stream.read(&mut block) {
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{name}");
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        })
    };
    let (_one, _two) = (serve(first, "one"), serve(second, "two"));
    let addresses = Arc::new(std::sync::Mutex::new(vec![[127, 0, 0, 1]]));
    let server = name_server(&addresses);
    let toml = format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n[workers]\ncount = 2\n\
         [upstream.v1]\nendpoints = [\"v1.test:{port}\"]\n[[route]]\nname = \"all\"\nprimary = \"v1\"\n"
    );
    let gateway = Gateway::start(&toml, &[("UMBRA_TEST_DNS".into(), server.to_string())]);
    assert_eq!(ask(&gateway, ""), (200, "one".into()));
    *addresses.lock().expect("addresses") = vec![[127, 0, 0, 2]];
    let mut kept = gateway.client();
    eventually("traffic follows the name", || kept.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").text() == "two");
    addresses.lock().expect("addresses").clear();
    eventually("the failure is told", || gateway.stderr().contains("cannot resolve v1.test"));
    assert_eq!(ask(&gateway, ""), (200, "two".into()));
    assert_eq!(
        kept.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status,
        200,
        "no connection was lost on the way"
    );
}
