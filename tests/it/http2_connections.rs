//! HTTP/2 connections of clients from their first bytes to GOAWAY: which protocol is spoken, and how they end.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Command;

use tests::certificates::Authority;
use tests::http2::{END, Raw, SETTINGS, alpn_chosen, frame, headers, request};
use tests::{Client, Gate, Gateway, Origin, Setup, eventually, origin};

use crate::http2::{PLAIN, echo, goaways, listening, start};

#[test]
fn a_drain_says_goaway_and_lets_what_is_under_way_end() {
    let gate = Gate::closed();
    let held = gate.clone();
    let v1 = Origin::new(move |_, stream| {
        held.pass();
        origin::write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
    });
    let v2 = Origin::named("v2");
    let mut gateway = start(&Setup::new(&v1).mirror("v2", v2.address, ""));
    let (mut busy, mut idle) = (Raw::connect(gateway.address), Raw::connect(gateway.address));
    for n in [1, 3, 5] {
        busy.send(&headers(n, END, &request("GET", &format!("/{n}"), &[])));
    }
    v1.wait_for(3);
    gateway.signal("TERM");
    busy.until(|raw| !raw.goaways.is_empty());
    assert_eq!(busy.goaways[0].0, 0x7fff_ffff, "first that there will be no more");
    // A request that was on its way is served.
    busy.send(&headers(7, END, &request("GET", "/7", &[])));
    gate.open();
    for n in [1, 3, 5, 7] {
        let heard = busy.response(n);
        assert!(heard.body == b"late" || (n == 7 && heard.reset == Some(7)), "{n}: {heard:?}");
    }
    let (code, _) = busy.end().expect("a GOAWAY");
    assert_eq!((code, busy.goaways.len()), (0, 2));
    assert_eq!(idle.end().map(|(code, _)| code), Some(0));
    assert!(gateway.wait_exit().success());
}

#[test]
fn a_connection_ends_by_goaway_after_so_many_requests_and_when_it_is_idle() {
    let v1 = Origin::named("v1");
    let limits = "[limits]\nrequests_per_connection_max = 3\n[timeouts]\nclient_idle = \"500ms\"";
    let gateway = start(&Setup::new(&v1).with(limits));
    let mut raw = Raw::connect(gateway.address);
    for n in [1, 3, 5] {
        assert_eq!(raw.send(&headers(n, END, &request("GET", "/", &[]))).response(n).status(), "200");
    }
    assert_eq!(raw.end().map(|(code, _)| code), Some(0));
    eventually("it is counted", || goaways(&gateway, "requests") == 1);
    let mut idle = Raw::connect(gateway.address);
    assert_eq!(idle.send(&headers(1, END, &request("GET", "/", &[]))).response(1).status(), "200");
    assert_eq!(idle.end().map(|(code, _)| code), Some(0));
    eventually("it is counted", || goaways(&gateway, "idle") == 1);
}

#[test]
fn an_old_connection_ends_by_goaway_and_its_requests_end_before() {
    let gate = Gate::closed();
    let held = gate.clone();
    let v1 = Origin::new(move |_, stream| {
        held.pass();
        origin::write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
    });
    let gateway = start(&Setup::new(&v1));
    let mut raw = Raw::connect(gateway.address);
    raw.send(&headers(1, END, &request("GET", "/1", &[])));
    v1.wait_for(1);
    // A configuration that has the limit is that of open connections too.
    let limit = "[limits]\nconnection_age_max = \"1ms\"";
    gateway.write(&listening(&Setup::new(&v1).with(limit), PLAIN));
    gateway.signal("HUP");
    raw.until(|raw| !raw.goaways.is_empty());
    assert_eq!(raw.goaways[0].0, 0x7fff_ffff, "first that there will be no more");
    gate.open();
    assert_eq!(raw.response(1).body, b"late");
    assert_eq!(raw.end().map(|(code, _)| code), Some(0));
    eventually("it is counted", || goaways(&gateway, "age") == 1);
}

#[test]
fn both_protocols_are_told_apart_by_the_first_bytes_and_one_alone_refuses_the_other() {
    let v1 = Origin::named("v1");
    let setup = Setup::new(&v1);
    let both = start(&setup);
    assert_eq!(Client::connect(both.address).ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "v1");
    // A word that begins as the preface does.
    let mut client = Client::connect(both.address);
    client.send("P").send("R");
    let answer = client.ask("OPFIND / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((answer.status, v1.wait_for(2)[1].method.as_str()), (200, "PROPFIND"));
    let mut raw = Raw::silent(both.address);
    for byte in tests::http2::PREFACE {
        raw.send(&[*byte]);
    }
    raw.send(&frame(SETTINGS, 0, 0, b"")).send(&headers(1, END, &request("GET", "/", &[])));
    assert_eq!(raw.response(1).body, b"v1");

    let alone = Gateway::start(&listening(&setup, "protocols = [\"h2\"]"), &[]);
    let mut raw = Raw::connect(alone.address);
    assert_eq!(raw.send(&headers(1, END, &request("GET", "/", &[]))).response(1).body, b"v1");
    let mut other = Raw::silent(alone.address);
    other.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(other.end().map(|(code, _)| code), Some(1));

    let default = setup.start();
    let mut raw = Client::connect(default.address);
    let answer = raw.ask(tests::http2::PREFACE);
    assert!(answer.status >= 400, "{}", answer.status);
}

fn curl(address: SocketAddr, scheme: &str, args: &[&str]) -> (String, String) {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "30", "-w", "\n%{http_version} %{http_code}"]).args(args);
    command.arg("--resolve").arg(format!("shop.example:{}:{}", address.port(), address.ip()));
    let output = command.arg(format!("{scheme}://shop.example:{}/anything", address.port())).output();
    let output = output.expect("curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (content, told) = text.rsplit_once('\n').unwrap_or(("", &text));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (content.to_owned(), told.to_owned())
}

#[test]
fn curl_speaks_it_with_prior_knowledge_and_over_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let shop = authority.issue("shop", &["shop.example"]);
    let (v1, v2) = (echo(), Origin::named("v2"));
    let setup = Setup::new(&v1).mirror("v2", v2.address, "");
    let given = folder.path().join("given");
    std::fs::File::create(&given).and_then(|mut f| f.write_all(&[b'y'; 300_000])).expect("a file");
    let data = format!("@{}", given.display());

    let plain = start(&setup);
    let (content, told) = curl(plain.address, "http", &["--http2-prior-knowledge", "--data-binary", &data]);
    assert_eq!((content.len(), told.as_str()), (300_000, "2 200"));

    let tls = format!("tls = {{ certificates = [{}] }}", shop.toml());
    let covered = Gateway::start(&listening(&setup, &tls), &[]);
    let ca = authority.ca.display().to_string();
    for (choice, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let (content, told) =
            curl(covered.address, "https", &[choice, "--cacert", &ca, "--data-binary", &data]);
        assert_eq!((content.len(), told), (300_000, format!("{version} 200")));
    }
    assert_eq!(v1.wait_for(3)[1].field("x-forwarded-proto"), Some("https"));
    assert!(v2.wait_for(3).iter().all(|copy| copy.body.len() == 300_000));
}

#[test]
fn alpn_chooses_among_what_the_listener_speaks_and_a_host_of_other_certificates_is_misdirected() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let shop = authority.issue("shop", &["shop.example"]);
    let v1 = Origin::named("v1");
    let setup = Setup::new(&v1);
    let tls = |protocols: &str| format!("{protocols}\ntls = {{ certificates = [{}] }}", shop.toml());
    let ca = &authority.ca;
    let both = Gateway::start(&listening(&setup, &tls("")), &[]);
    let chosen =
        |gateway: &Gateway, offered: &[&str]| alpn_chosen(gateway.address, ca, "shop.example", offered);
    assert_eq!(chosen(&both, &["http/1.1", "h2"]).expect("a handshake"), "h2");
    assert_eq!(chosen(&both, &["http/1.1"]).expect("a handshake"), "http/1.1");
    assert_eq!(chosen(&both, &[]).expect("a handshake"), "");
    let one = Gateway::start(&listening(&setup, &tls("protocols = [\"http1\"]")), &[]);
    assert_eq!(chosen(&one, &["h2", "http/1.1"]).expect("a handshake"), "http/1.1");
    assert!(chosen(&one, &["h2"]).is_err());
    let other = Gateway::start(&listening(&setup, &tls("protocols = [\"h2\"]")), &[]);
    assert_eq!(chosen(&other, &["h2", "http/1.1"]).expect("a handshake"), "h2");
    assert!(chosen(&other, &["http/1.1"]).is_err());
    // No ALPN is HTTP/1.1, which is not spoken there.
    let mut raw = Raw::covered(other.address, ca, "shop.example", &[]).expect("a handshake");
    assert_eq!(raw.end(), None);

    let mut raw = Raw::covered(both.address, ca, "shop.example", &["h2"]).expect("a handshake");
    let https = |authority| [(":scheme", "https"), (":authority", authority)];
    let heard = raw.send(&headers(1, END, &request("GET", "/", &https("shop.example")))).response(1);
    assert_eq!(heard.body, b"v1");
    let heard = raw.send(&headers(3, END, &request("GET", "/", &https("other.example")))).response(3);
    assert_eq!(heard.status(), "421");
    let heard = raw.send(&headers(5, END, &request("GET", "/", &https("shop.example")))).response(5);
    assert_eq!(heard.body, b"v1", "the connection goes on");
    assert_eq!(v1.count(), 2);
}

#[test]
fn a_listener_that_goes_says_goaway_to_its_own() {
    let v1 = Origin::named("v1");
    let setup = Setup::new(&v1);
    let added = "[[listener]]\nbind = \"127.0.0.1:0\"\nprotocols = [\"h2\"]\n";
    let with = format!("{}{added}", listening(&setup, PLAIN));
    let gateway = Gateway::start(&with, &[]);
    let stdout = gateway.stdout();
    let addresses: Vec<SocketAddr> =
        stdout.lines().filter_map(|line| line.strip_prefix("listening on ")?.parse().ok()).collect();
    let (mut stays, mut goes) = (Raw::connect(addresses[0]), Raw::connect(addresses[1]));
    for raw in [&mut stays, &mut goes] {
        assert_eq!(raw.send(&headers(1, END, &request("GET", "/", &[]))).response(1).body, b"v1");
    }
    let told = gateway.admin("PUT", "/config", &listening(&setup, PLAIN));
    assert_eq!(told.status, 200, "{}", told.text());
    assert_eq!(goes.end().map(|(code, _)| code), Some(0));
    assert_eq!(stays.send(&headers(3, END, &request("GET", "/", &[]))).response(3).body, b"v1");
    eventually("it is counted", || goaways(&gateway, "drain") == 1);
}

#[test]
fn what_a_listener_speaks_changes_while_it_serves_and_open_connections_go_on() {
    let v1 = Origin::named("v1");
    let setup = Setup::new(&v1);
    let gateway = start(&setup);
    let mut before = Raw::connect(gateway.address);
    assert_eq!(before.send(&headers(1, END, &request("GET", "/", &[]))).response(1).body, b"v1");
    let told = gateway.admin("PUT", "/config", &listening(&setup, "protocols = [\"http1\"]"));
    assert_eq!(told.status, 200, "{}", told.text());
    assert!(Client::connect(gateway.address).ask(tests::http2::PREFACE).status >= 400);
    assert_eq!(before.send(&headers(3, END, &request("GET", "/", &[]))).response(3).body, b"v1");
    let told = gateway.admin("PUT", "/config", &listening(&setup, "protocols = [\"h2\"]"));
    assert_eq!(told.status, 200, "{}", told.text());
    let mut after = Raw::connect(gateway.address);
    assert_eq!(after.send(&headers(1, END, &request("GET", "/", &[]))).response(1).body, b"v1");
    assert!(before.goaways.is_empty());
}

#[test]
fn a_client_that_sends_no_more_gets_the_responses_to_what_was_whole() {
    let gate = Gate::closed();
    let held = gate.clone();
    let v1 = Origin::new(move |_, stream| {
        held.pass();
        origin::write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
    });
    let v2 = Origin::named("v2");
    let gateway = start(&Setup::new(&v1).mirror("v2", v2.address, ""));
    let mut raw = Raw::connect(gateway.address);
    raw.send(&headers(1, END, &request("GET", "/whole", &[])));
    raw.send(&headers(3, 0, &request("POST", "/part", &[("content-length", "9")])));
    v1.wait_for(1);
    raw.finish();
    eventually("the other is skipped", || {
        gateway.metrics().mirror_by("v2", "skipped_total", "reason", "aborted") == 1
    });
    gate.open();
    assert_eq!(raw.response(1).body, b"late");
    raw.end();
    eventually("the connection is over", || gateway.metrics().sum("umbra_connections_active", &[]) == 0);
    assert_eq!(gateway.settled("v2").mirror("v2", "completed_total"), 1);
}
