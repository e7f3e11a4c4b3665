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
