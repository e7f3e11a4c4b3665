//! Which endpoint serves a request: by the request's key, the endpoints' answers, their health, and the addresses of names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tests::load::{Gate, OK, becomes, get};
use tests::origin::listeners;
use tests::{Client, Gateway, NameServer, Origin, Setup, eventually, origin};

/// A gateway before one upstream called `v1` with these endpoints and keys; `route` completes the one route.
fn toml(endpoints: &[String], keys: &str, route: &str, workers: usize) -> String {
    format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n[workers]\ncount = {workers}\n\
         pin = false\n[upstream.v1]\nendpoints = {endpoints:?}\n{keys}\n[[route]]\nname = \"all\"\nprimary = \"v1\"\n\
         {route}\n"
    )
}

fn started(origins: &[&Origin], keys: &str, workers: usize) -> Gateway {
    let endpoints: Vec<String> = origins.iter().map(|o| o.address.to_string()).collect();
    Gateway::start(&toml(&endpoints, keys, "", workers), &[])
}

/// Answers 200 with its name, or 503 while it is told to.
fn failing(name: &'static str) -> (Origin, Arc<AtomicBool>) {
    failing_on(TcpListener::bind("127.0.0.1:0").expect("bind"), name)
}

fn failing_on(listener: TcpListener, name: &'static str) -> (Origin, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&fails);
    let origin = Origin::on(listener, move |_, stream| {
        let status = if told.load(Relaxed) { "503 Service Unavailable" } else { "200 OK" };
        origin::write(stream, format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{name}", name.len()))
    });
    (origin, fails)
}

/// At 127.0.0.2.
fn away(name: &'static str) -> Origin {
    Origin::named_on(TcpListener::bind("127.0.0.2:0").expect("bind"), name)
}

/// At 127.0.0.2 and 127.0.0.3, on one port.
fn pair(one: &'static str, other: &'static str) -> [Origin; 2] {
    let [at_two, at_three] = listeners([[127, 0, 0, 2], [127, 0, 0, 3]].map(IpAddr::from));
    [Origin::named_on(at_two, one), Origin::named_on(at_three, other)]
}

fn upstream(gateway: &Gateway, what: &str) -> i64 {
    gateway.metrics().sum(&format!("umbra_upstream_{what}"), &["upstream=\"v1\""])
}

/// Waits until it is so: an answer reaches the client a moment before it is counted.
#[track_caller]
fn upstream_becomes(gateway: &Gateway, what: &str, n: i64) {
    eventually(&format!("{what} becomes {n}"), || upstream(gateway, what) == n);
}

#[test]
fn a_key_keeps_its_endpoint_on_every_worker_of_every_gateway() {
    let origins = ["a", "b", "c", "d", "e"].map(Origin::named);
    let all: Vec<&Origin> = origins.iter().collect();
    let keys = "balance = \"hash\"\nhash_by = \"header:x-user\"";
    let one = started(&all, keys, 4);
    let turned: Vec<&Origin> = origins.iter().rev().collect();
    let other = started(&turned, keys, 2);
    let ask = |gateway: &Gateway, user: &str| {
        // A connection of its own each time: some other worker may take it.
        gateway.client().ask(format!("GET / HTTP/1.1\r\nHost: a\r\nX-User: {user}\r\n\r\n")).text()
    };
    let mut served_by = BTreeMap::<String, BTreeSet<String>>::new();
    for user in (0..80).map(|n| format!("user-{n}")) {
        for gateway in [&one, &other] {
            let endpoints: BTreeSet<String> = (0..4).map(|_| ask(gateway, &user)).collect();
            served_by.entry(user.clone()).or_default().extend(endpoints);
        }
    }
    assert!(served_by.values().all(|endpoints| endpoints.len() == 1), "{served_by:?}");
    let used: BTreeSet<&String> = served_by.values().flatten().collect();
    assert_eq!(used.len(), 5, "eighty keys reach all endpoints");
    let without: BTreeSet<String> = (0..40).map(|id| one.client().ask(get(id)).text()).collect();
    assert!(without.len() > 2, "a request without the key goes anywhere: {without:?}");
}

#[test]
fn chance_spreads_over_all_endpoints() {
    let origins = ["a", "b", "c", "d"].map(Origin::named);
    let gateway = started(&origins.iter().collect::<Vec<_>>(), "balance = \"random\"", 1);
    let mut client = gateway.client();
    (0..200).for_each(|id| assert_eq!(client.ask(get(id)).status, 200));
    let counts = origins.each_ref().map(Origin::count);
    assert!(counts.iter().all(|n| (20..90).contains(n)), "{counts:?}");
}

#[test]
fn an_endpoint_that_keeps_failing_gets_nothing_for_a_while_and_comes_back() {
    let (bad, fails) = failing("bad");
    let good = Origin::named("good");
    let keys = "ejection = { consecutive_5xx = 3, interval = \"100ms\", time = \"3s\" }";
    let gateway = started(&[&good, &bad], keys, 1);
    let mut client = gateway.client();
    // Before it is ejected: by this clock that lasts its three seconds at least.
    let asked = Instant::now();
    let statuses: Vec<u16> = (0..6).map(|id| client.ask(get(id)).status).collect();
    assert_eq!(statuses.iter().filter(|s| **s == 503).count(), 3, "{statuses:?}");
    assert!((0..10).all(|id| client.ask(get(id)).text() == "good"));
    assert!(asked.elapsed() < Duration::from_secs(3), "too slow to tell");
    assert_eq!(bad.count(), 3);
    upstream_becomes(&gateway, "ejections_total", 1);
    upstream_becomes(&gateway, "ejected", 1);
    fails.store(false, Relaxed);
    eventually("it serves again", || client.ask(get(0)).text() == "bad");
    assert!(asked.elapsed() > Duration::from_millis(2_500), "{:?}", asked.elapsed());
    upstream_becomes(&gateway, "ejections_total", 1);
    upstream_becomes(&gateway, "ejected", 0);
    upstream_becomes(&gateway, "last_resorts_total", 0);
}

#[test]
fn where_every_endpoint_is_ejected_all_are_used() {
    let (bad, fails) = failing("bad");
    let (worse, fails_too) = failing("worse");
    let keys = "ejection = { consecutive_5xx = 1, time = \"1h\", percent_max = 100 }";
    let gateway = started(&[&bad, &worse], keys, 1);
    let mut client = gateway.client();
    (0..2).for_each(|id| assert_eq!(client.ask(get(id)).status, 503));
    upstream_becomes(&gateway, "ejected", 2);
    fails.store(false, Relaxed);
    fails_too.store(false, Relaxed);
    let served: BTreeSet<String> = (0..10).map(|id| client.ask(get(id)).text()).collect();
    assert_eq!(served.len(), 2, "{served:?}");
    upstream_becomes(&gateway, "last_resorts_total", 10);
}

#[test]
fn a_configuration_without_ejection_lets_the_ejected_back() {
    let (bad, fails) = failing("bad");
    let good = Origin::named("good");
    let endpoints: Vec<String> = [&good, &bad].iter().map(|o| o.address.to_string()).collect();
    let rules = "ejection = { consecutive_5xx = 1, time = \"1h\" }";
    let gateway = Gateway::start(&toml(&endpoints, rules, "", 1), &[]);
    let mut client = gateway.client();
    (0..2).for_each(|id| drop(client.ask(get(id))));
    upstream_becomes(&gateway, "ejected", 1);
    fails.store(false, Relaxed);
    let answer = gateway.admin("PUT", "/config", &toml(&endpoints, "", "", 1));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let served: BTreeSet<String> = (0..4).map(|id| client.ask(get(id)).text()).collect();
    assert_eq!(served.len(), 2, "{served:?}");
    eventually("nobody counts as ejected", || upstream(&gateway, "ejected") == 0);
}

#[test]
fn an_endpoint_that_refuses_is_ejected_too() {
    let good = Origin::named("good");
    let endpoints = [good.address.to_string(), Origin::refusing().to_string()];
    let keys = "ejection = { consecutive_gateway_errors = 2, consecutive_5xx = 0, time = \"1h\" }";
    let gateway = Gateway::start(&toml(&endpoints, keys, "", 1), &[]);
    let mut client = gateway.client();
    eventually("it is ejected", || {
        assert_eq!(client.ask(get(0)).status, 200);
        upstream(&gateway, "ejections_total") == 1
    });
    let refused = || gateway.metrics().sum("umbra_upstream_failures_total", &["reason=\"connect\""]);
    eventually("both refusals are counted", || refused() == 2);
}

#[test]
fn our_own_want_of_descriptors_ejects_nobody() {
    let v1 = Origin::named("v1");
    let keys = "ejection = { consecutive_gateway_errors = 1, time = \"1h\", percent_max = 100 }";
    let gateway = started(&[&v1], keys, 1);
    let mut client = gateway.client();
    eventually("it is accepted", || gateway.metrics().sum("umbra_connections_active", &[]) == 1);
    let usual = gateway.descriptors_max();
    gateway.allow_descriptors(3);
    assert_eq!(client.ask(get(0)).status, 503);
    gateway.allow_descriptors(usual);
    assert_eq!(v1.connections(), 0);
    assert_eq!(client.ask(get(0)).text(), "v1");
    assert_eq!(upstream(&gateway, "ejections_total"), 0);
}

#[test]
fn connections_that_lie_idle_make_room_for_whoever_needs_one() {
    let (one, other) = (Origin::named("one"), Origin::named("other"));
    let toml = format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n[workers]\ncount = 1\npin = false\n\
         [upstream.one]\nendpoints = [\"{}\"]\n[upstream.other]\nendpoints = [\"{}\"]\n\
         [[route]]\nname = \"other\"\npath_prefix = \"/other\"\nprimary = \"other\"\n\
         [[route]]\nname = \"rest\"\nprimary = \"one\"\n",
        one.address, other.address
    );
    let gateway = Gateway::start(&toml, &[]);
    let mut client = gateway.client();
    assert_eq!(client.ask(get(0)).text(), "one");
    // Clients that fill the gaps between its descriptors: the limit is on the highest.
    let numbers = || -> Vec<usize> {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).expect("fd");
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
    };
    let mut others = Vec::new();
    eventually("there are no gaps", || {
        let numbers = numbers();
        let (highest, count) = (numbers.iter().max().copied().unwrap_or_default(), numbers.len());
        if highest >= count {
            others.push(gateway.client());
        }
        highest < count
    });
    let usual = gateway.descriptors_max();
    gateway.allow_descriptors(numbers().len());
    let asked = client.ask("GET /other HTTP/1.1\r\nHost: a\r\n\r\n");
    gateway.allow_descriptors(usual);
    assert_eq!(asked.text(), "other");
    let failures = gateway.metrics().sum("umbra_upstream_failures_total", &["reason=\"connect\""]);
    assert_eq!(failures, 1, "it was out of descriptors first");
}

#[test]
fn an_unhealthy_endpoint_gets_nothing_until_it_has_recovered() {
    let (sick, is_sick) = {
        let is_sick = Arc::new(AtomicBool::new(true));
        let told = Arc::clone(&is_sick);
        let origin = Origin::new(move |request, stream| {
            let fails = request.target == "/healthz" && told.load(Relaxed);
            let status = if fails { "500 Internal Server Error" } else { "200 OK" };
            origin::write(stream, format!("HTTP/1.1 {status}\r\nContent-Length: 4\r\n\r\nsick"))
        });
        (origin, is_sick)
    };
    let well = Origin::named("well");
    let check = "path = \"/healthz\", host = \"check.example\", interval = \"500ms\", timeout = \"500ms\"";
    let keys = format!("health = {{ {check}, healthy_after = 2, unhealthy_after = 3 }}");
    let gateway = started(&[&sick, &well], &keys, 2);
    eventually("it is unhealthy", || upstream(&gateway, "unhealthy") == 1);
    let served = |target: &str| sick.requests().iter().filter(|r| r.target.starts_with(target)).count();
    let before = served("/r");
    for id in 0..50 {
        assert_eq!(gateway.client().ask(get(id)).text(), "well");
    }
    assert_eq!(served("/r"), before, "nothing but checks");
    let checks = sick.requests();
    let check = checks.iter().find(|r| r.target == "/healthz").expect("a check");
    assert_eq!(check.field("host"), Some("check.example"));
    let told = format!("v1: {} is unhealthy: it answered 500", sick.address);
    eventually("it is told once", || gateway.stderr().matches(&told).count() == 1);

    is_sick.store(false, Relaxed);
    eventually("it serves again", || gateway.client().ask(get(0)).text() == "sick");
    upstream_becomes(&gateway, "unhealthy", 0);
    let metrics = gateway.metrics();
    let checks =
        |result: &str| metrics.sum("umbra_upstream_health_checks_total", &[&format!("result=\"{result}\"")]);
    assert!(checks("failed") >= 3 && checks("passed") >= 2, "{}", metrics.text());
}

#[test]
fn where_no_endpoint_is_healthy_all_are_used() {
    let keys = "health = { path = \"/no\", interval = \"50ms\", timeout = \"50ms\", unhealthy_after = 1 }";
    let picky = |name: &'static str| {
        Origin::new(move |request, stream| {
            let status = if request.target == "/no" { "404 Not Found" } else { "200 OK" };
            origin::write(stream, format!("HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\n{name}"))
        })
    };
    let (one, two) = (picky("one"), picky("two"));
    let gateway = started(&[&one, &two], keys, 1);
    eventually("both are unhealthy", || upstream(&gateway, "unhealthy") == 2);
    let mut client = gateway.client();
    let served: BTreeSet<String> = (0..10).map(|id| client.ask(get(id)).text()).collect();
    assert_eq!(served.len(), 2, "{served:?}");
    upstream_becomes(&gateway, "last_resorts_total", 10);
}

#[test]
fn more_exchanges_than_may_wait_are_503_and_the_others_are_served() {
    let gate = Gate::closed();
    let held = Arc::clone(&gate);
    let v1 = Origin::new(move |_, stream| {
        held.wait();
        origin::write(stream, OK)
    });
    let gateway = started(&[&v1], "connections_max = 2\npending_max = 3\nconnect_timeout = \"20s\"", 1);
    let mut clients: Vec<Client> = (0..5)
        .map(|id| {
            let mut client = gateway.client();
            client.send(get(id));
            client
        })
        .collect();
    v1.wait_for(2);
    eventually("three wait", || upstream(&gateway, "pending") == 3);
    for id in 5..10 {
        let answer = gateway.client().ask(get(id));
        assert_eq!((answer.status, answer.field("connection")), (503, None), "{answer:?}");
    }
    assert_eq!(v1.connections(), 2);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!((v1.count(), v1.connections()), (5, 2));
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("umbra_rejected_total", &["reason=\"primary_overflow\""]), 5);
    assert_eq!(metrics.sum("umbra_upstream_overflows_total", &["upstream=\"v1\""]), 5);
    assert_eq!(metrics.sum("umbra_upstream_pending", &[]), 0);
}

#[test]
fn a_wait_ends_with_its_time_and_leaves_its_place_to_others() {
    let gate = Gate::closed();
    let held = Arc::clone(&gate);
    let v1 = Origin::new(move |_, stream| {
        held.wait();
        origin::write(stream, OK)
    });
    let gateway = started(&[&v1], "connections_max = 1\npending_max = 1\nconnect_timeout = \"200ms\"", 1);
    let mut first = gateway.client();
    first.send(get(0));
    v1.wait_for(1);
    for id in 1..4 {
        assert_eq!(gateway.client().ask(get(id)).status, 503);
        upstream_becomes(&gateway, "pending", 0);
    }
    gate.open();
    assert_eq!(first.response().status, 200);
    assert_eq!(gateway.client().ask(get(4)).status, 200);
    assert_eq!(v1.count(), 2);
}

#[test]
fn a_connection_carries_so_many_requests_and_no_more() {
    let v1 = Origin::named("v1");
    let gateway = started(&[&v1], "requests_per_connection_max = 2", 1);
    let mut client = gateway.client();
    (0..6).for_each(|id| assert_eq!(client.ask(get(id)).status, 200));
    assert_eq!(v1.connections(), 3);
    assert!(v1.wires().iter().all(|wire| wire.matches("GET ").count() == 2));
}

#[test]
fn another_try_goes_to_another_endpoint() {
    let (bad, _fails) = failing("bad");
    let good = Origin::named("good");
    let endpoints: Vec<String> = [&bad, &good].iter().map(|o| o.address.to_string()).collect();
    let retries = "retries = { attempts = 1, on = [\"gateway_error\"], backoff = \"1ms\" }";
    let keys = "balance = \"hash\"\nhash_by = \"header:x-user\"";
    let gateway = Gateway::start(&toml(&endpoints, keys, retries, 1), &[]);
    let mut client = gateway.client();
    for user in 0..40 {
        let answer = client.ask(format!("GET / HTTP/1.1\r\nHost: a\r\nX-User: {user}\r\n\r\n"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "good"), "user {user}");
    }
    assert!(bad.count() >= 5, "some keys were its own: {}", bad.count());
}

#[test]
fn traffic_follows_a_name_and_stays_where_it_is_when_the_name_fails() {
    let [old, new] = pair("old", "new");
    let port = old.address.port();
    let names = NameServer::start();
    names.say("v1.test", &[[127, 0, 0, 2].into()]);
    let gateway = Gateway::start(&toml(&[format!("v1.test:{port}")], "", "", 2), &[names.environment()]);
    let mut client = gateway.client();
    assert_eq!(client.ask(get(0)).text(), "old");
    names.say("v1.test", &[[127, 0, 0, 3].into()]);
    let mut asked = 1;
    eventually("traffic moves", || {
        asked += 1;
        client.ask(get(asked)).text() == "new"
    });
    assert_eq!(old.count() + new.count(), asked, "the client's connection saw nothing of it");
    names.say("v1.test", &[[127, 0, 0, 3].into(), [127, 0, 0, 2].into()]);
    eventually("both serve", || client.ask(get(0)).text() == "old");

    let failed = || gateway.metrics().sum("umbra_name_lookups_total", &["result=\"failed\""]);
    assert_eq!(failed(), 0);
    names.fail("v1.test");
    eventually("lookups fail", || failed() >= 2);
    let served: BTreeSet<String> = (0..4).map(|id| client.ask(get(id)).text()).collect();
    assert_eq!(served.len(), 2, "{served:?}");
    eventually("it is told once", || gateway.stderr().matches("cannot resolve v1.test").count() == 1);
    names.say("v1.test", &[[127, 0, 0, 2].into()]);
    eventually("it resolves again", || gateway.stderr().contains("v1.test resolves again"));
    eventually("all traffic is where the name says", || (0..4).all(|id| client.ask(get(id)).text() == "old"));
}

#[test]
fn a_half_of_an_answer_that_fails_keeps_its_addresses_and_one_that_is_empty_does_not() {
    let [four, six] = listeners([[127, 0, 0, 2].into(), Ipv6Addr::LOCALHOST.into()]);
    let (four, _six) = (Origin::named_on(four, "four"), Origin::named_on(six, "six"));
    let port = four.address.port();
    let names = NameServer::start();
    let v4: &[Ipv4Addr] = &[[127, 0, 0, 2].into()];
    let v6: &[Ipv6Addr] = &[Ipv6Addr::LOCALHOST];
    names.say_both("v1.test", Some(v4), Some(v6));
    let gateway = Gateway::start(&toml(&[format!("v1.test:{port}")], "", "", 1), &[names.environment()]);
    let mut client = gateway.client();
    let mut served = || (0..4).map(|id| client.ask(get(id)).text()).collect::<BTreeSet<_>>();
    assert_eq!(served().len(), 2);
    let lookups =
        |result: &str| gateway.metrics().sum("umbra_name_lookups_total", &[&format!("result=\"{result}\"")]);
    for (half_v4, half_v6) in [(None, Some(v6)), (Some(v4), None)] {
        let failed = lookups("failed");
        names.say_both("v1.test", half_v4, half_v6);
        eventually("a half fails", || lookups("failed") >= failed + 2);
        assert_eq!(served().len(), 2, "{}", gateway.stderr());
        names.say_both("v1.test", Some(v4), Some(v6));
        let answered = lookups("answered");
        eventually("it is whole again", || lookups("answered") > answered);
    }
    assert!(!gateway.stderr().contains("v1.test is"), "{}", gateway.stderr());
    names.say_both("v1.test", Some(&[]), Some(v6));
    eventually("one kind is left", || served().iter().eq(["six"]));
}

#[test]
fn a_refused_configuration_forgets_no_name_of_the_one_in_force() {
    let (one, two) = (Origin::named("one"), away("two"));
    let names = NameServer::start();
    names.say("one.test", &[[127, 0, 0, 1].into()]);
    names.say("two.test", &[[127, 0, 0, 1].into()]);
    let route = format!(
        "[upstream.v2]\nendpoints = [\"two.test:{}\"]\n[[route]]\npath = \"/two\"\nprimary = \"v2\"\n",
        two.address.port()
    );
    let whole = |first: &str| {
        let first = vec![format!("{first}:{}", one.address.port())];
        // The route to v2 comes first.
        let text = toml(&first, "", "", 1);
        let (head, rest) = text.split_at(text.find("[[route]]").expect("a route"));
        format!("{head}{route}{rest}")
    };
    let gateway = Gateway::start(&whole("one.test"), &[names.environment()]);
    let mut client = gateway.client();
    assert_eq!(client.ask(get(0)).text(), "one");
    gateway.write(&whole("nowhere.invalid"));
    gateway.signal("HUP");
    eventually("it is refused", || gateway.stderr().contains("cannot resolve nowhere.invalid"));
    names.say("two.test", &[[127, 0, 0, 2].into()]);
    eventually("the other name moves", || client.ask("GET /two HTTP/1.1\r\nHost: a\r\n\r\n").text() == "two");
    assert_eq!(client.ask(get(1)).text(), "one");
}

#[test]
fn another_order_of_an_answer_is_no_change() {
    let [v1, _too] = pair("v1", "too");
    let port = v1.address.port();
    let names = NameServer::start();
    let both = [[127, 0, 0, 2].into(), [127, 0, 0, 3].into()];
    names.say("v1.test", &both);
    let gateway = Gateway::start(&toml(&[format!("v1.test:{port}")], "", "", 1), &[names.environment()]);
    let answered = || gateway.metrics().sum("umbra_name_lookups_total", &["result=\"answered\""]);
    let mut turned = both;
    turned.reverse();
    names.say("v1.test", &turned);
    eventually("it is asked again", || answered() >= 3);
    assert!(!gateway.stderr().contains("v1.test is"), "{}", gateway.stderr());
}

#[test]
fn a_name_that_moves_all_the_time_keeps_nobody_ejected_for_longer() {
    let [bad, other] = listeners([[127, 0, 0, 1], [127, 0, 0, 2]].map(IpAddr::from));
    let ((bad, _fails), _other) = (failing_on(bad, "bad"), Origin::named_on(other, "other"));
    let port = bad.address.port();
    let names = NameServer::start();
    names.say("v1.test", &[[127, 0, 0, 1].into(), [127, 0, 0, 2].into()]);
    let rules = "ejection = { consecutive_5xx = 1, interval = \"3s\", time = \"2s\" }";
    let gateway = Gateway::start(&toml(&[format!("v1.test:{port}")], rules, "", 1), &[names.environment()]);
    let mut client = gateway.client();
    (0..2).for_each(|id| drop(client.ask(get(id))));
    assert_eq!(bad.count(), 1);
    upstream_becomes(&gateway, "ejected", 1);
    let mut moves = 0_u8;
    eventually("it comes back", || {
        // A third address, another one each time.
        moves = moves.wrapping_add(1);
        names.say("v1.test", &[[127, 0, 0, 1].into(), [127, 0, 0, 2].into(), [127, 0, 1, moves].into()]);
        bad.count() > 1 || {
            client.ask(get(0));
            false
        }
    });
    eventually("the moves are told", || gateway.stderr().matches("v1.test is").count() >= 2);
}

#[test]
fn connections_to_an_address_that_stays_are_kept_when_others_come_and_go() {
    let [stays, comes] = pair("stays", "comes");
    let port = stays.address.port();
    let names = NameServer::start();
    names.say("v1.test", &[[127, 0, 0, 2].into()]);
    let gateway = Gateway::start(&toml(&[format!("v1.test:{port}")], "", "", 1), &[names.environment()]);
    let mut client = gateway.client();
    client.ask(get(0));
    names.say("v1.test", &[[127, 0, 0, 2].into(), [127, 0, 0, 3].into()]);
    eventually("the other serves too", || client.ask(get(0)).text() == "comes");
    names.say("v1.test", &[[127, 0, 0, 2].into()]);
    eventually("its connection is closed", || {
        client.ask(get(0));
        upstream(&gateway, "idle_connections") == 1
    });
    assert_eq!((stays.connections(), comes.connections()), (1, 1));
}

#[test]
fn a_primary_without_address_is_refused_and_a_mirror_without_one_waits() {
    let refused = Gateway::refused(&toml(&["nowhere.invalid:80".to_owned()], "", "", 1));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(
        told.contains("gateway.toml:9: upstream.v1.endpoints[0]: cannot resolve nowhere.invalid:80: there is no such name"),
        "{told}"
    );

    let (v1, v2) = (Origin::named("v1"), away("v2"));
    let names = NameServer::start();
    let (key, value) = names.environment();
    let mirror = format!("[upstream.v2]\nendpoints = [\"v2.test:{}\"]", v2.address.port());
    let text =
        Setup::new(&v1).with(&mirror).toml().replace("mirrors = []", "mirrors = [{ upstream = \"v2\" }]");
    let gateway = Gateway::start(&text, &[(key, value)]);
    let warned = || gateway.stderr().contains("warning: ") && gateway.stderr().contains("v2.test");
    eventually("a warning names it", warned);
    let mut client = gateway.client();
    (0..5).for_each(|id| assert_eq!(client.ask(get(id)).text(), "v1"));
    becomes(&gateway, "v2", &[("eligible", 5), ("dropped unreachable", 5)]);
    names.say("v2.test", &[[127, 0, 0, 2].into()]);
    eventually("copies arrive", || {
        assert_eq!(client.ask(get(0)).text(), "v1");
        v2.count() > 0
    });
    let metrics = gateway.settled("v2");
    assert_eq!(metrics.mirror("v2", "sent_total"), v2.count() as i64);
}

#[test]
fn what_waits_in_a_mirrors_ring_goes_to_its_new_address() {
    let v1 = Origin::named("v1");
    // The mirror's first address takes connections and never answers.
    let [_old, new] = listeners([[127, 0, 0, 2], [127, 0, 0, 3]].map(IpAddr::from));
    let new = Origin::named_on(new, "new");
    let port = new.address.port();
    let names = NameServer::start();
    names.say("v2.test", &[[127, 0, 0, 2].into()]);
    let mirror = format!("[upstream.v2]\nendpoints = [\"v2.test:{port}\"]");
    let keys = "mirrors = [{ upstream = \"v2\", connections_max = 2, timeout = \"1s\" }]";
    let text = Setup::new(&v1).with(&mirror).toml().replace("mirrors = []", keys);
    let gateway = Gateway::start(&text, &[names.environment()]);
    let mut client = gateway.client();
    (0..50).for_each(|id| assert_eq!(client.ask(get(id)).status, 200));
    names.say("v2.test", &[[127, 0, 0, 3].into()]);
    // Some of the fifty may have gone to the old address, as many as its two connections take.
    new.wait_for(30);
    let metrics = gateway.settled("v2");
    let (sent, lost) = (metrics.mirror("v2", "sent_total"), metrics.mirror("v2", "failed_total"));
    assert_eq!((sent, sent - lost), (50, new.count() as i64), "nothing was dropped");
}
