//! How many requests are taken: at once, in a second, and of one address.

use std::time::Instant;

use tests::origin::write;
use tests::{Client, Gate, Gateway, Origin, Response, Setup, eventually};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[track_caller]
fn rejected(gateway: &Gateway, reason: &str) -> i64 {
    gateway.metrics().sum("umbra_rejected_total", &[&format!("reason=\"{reason}\"")])
}

#[test]
fn more_requests_at_once_than_agreed_are_answered_503_and_copies_are_given_up_before() {
    let (gate, v2) = (Gate::closed(), Origin::named("v2"));
    let held = gate.clone();
    let v1 = Origin::new(move |_, stream| {
        held.pass();
        write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nv1")
    });
    let gateway =
        Setup::new(&v1).mirror("v2", v2.address, "").workers(1).with("[limits]\nexchanges_max = 4").start();
    let mut served: Vec<Client> = (0..4)
        .map(|n| {
            let mut client = gateway.client();
            client.send(GET);
            eventually("it is under way", || gateway.metrics().sum("umbra_exchanges_active", &[]) == n + 1);
            client
        })
        .collect();
    // A request too many, answered at once, on a connection that goes on.
    let mut late = gateway.client();
    assert_eq!([late.ask(GET).status, late.ask(GET).status], [503, 503]);
    assert_eq!(rejected(&gateway, "exchanges"), 2);
    gate.open();
    assert!(served.iter_mut().all(|client| client.response().text() == "v1"));
    eventually("all are over", || gateway.metrics().sum("umbra_exchanges_active", &[]) == 0);
    assert_eq!(late.ask(GET).text(), "v1");
    let metrics = gateway.settled("v2");
    // The fourth was beyond three quarters; refused requests are not copied.
    assert_eq!(metrics.mirror_by("v2", "dropped_total", "reason", "exchanges"), 1, "{}", metrics.text());
    assert_eq!((metrics.mirror("v2", "eligible_total"), v2.wait_for(4).len()), (5, 4));
}

#[test]
fn more_requests_a_second_than_agreed_are_answered_503_and_the_connection_goes_on() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let gateway = Setup::new(&v1)
        .mirror("v2", v2.address, "")
        .workers(1)
        .with("[limits]\nrequests_per_second_max = 50")
        .start();
    let (began, mut client) = (Instant::now(), gateway.client());
    let statuses: Vec<u16> = (0..200).map(|_| client.ask(GET).status).collect();
    let passed = began.elapsed().as_secs_f64();
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 200 - served);
    assert_eq!(rejected(&gateway, "request_rate"), 200 - served as i64);
    // As many as two ticks bring at once, and a fiftieth of a second for each more; a tick may be late.
    let most = 10.0 + 50.0 * (passed + 0.5);
    assert!(served >= 10 && served as f64 <= most, "{served} in {passed} s");
    assert_eq!(v1.count(), served);
    gateway.settled("v2");
    assert_eq!(v2.wait_for(served).len(), served, "what was refused is not copied");
    eventually("it is served again", || client.ask(GET).status == 200);
}

#[test]
fn one_address_has_its_own_share_of_the_requests() {
    let v1 = Origin::named("v1");
    let gateway =
        Setup::new(&v1).workers(1).with("[limits]\nrequests_per_second_per_address_max = 1").start();
    // Coming back on new connections changes nothing.
    let from = |address: &str| -> Vec<Response> {
        let mut clients: Vec<_> = (0..4).map(|_| Client::connect_from(address, gateway.address)).collect();
        clients.iter_mut().flat_map(|client| (0..5).map(|_| client.ask(GET)).collect::<Vec<_>>()).collect()
    };
    let greedy = from("127.0.0.2");
    let refused: Vec<_> = greedy.iter().filter(|answer| answer.status == 429).collect();
    assert!(greedy.iter().any(|answer| answer.status == 200) && refused.len() > 10);
    assert_eq!(rejected(&gateway, "address_rate"), refused.len() as i64);
    assert!(refused.iter().all(|answer| answer.field("retry-after") == Some("1")));
    assert_eq!(from("127.0.0.3")[0].status, 200, "another address is served");
}

#[test]
fn whoever_is_refused_gives_its_place_back_before_it_lingers() {
    let gateway = Setup::to(&[Origin::refusing()]).with("[limits]\nexchanges_max = 2").start();
    let mut clients: Vec<Client> = (0..8).map(|_| gateway.client()).collect();
    let asked = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    // No client closes: each connection lingers for a second.
    for client in &mut clients {
        assert_eq!(client.send(asked).response().status, 503);
    }
    assert_eq!(rejected(&gateway, "exchanges"), 0);
}
