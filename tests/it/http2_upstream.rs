//! Requests to primaries over HTTP/2, seen from outside: hyperium's `h2` serves them, clients come in both protocols.

use std::io::{Read as _, Write as _};

use tests::certificates::Authority;
use tests::http2::{ask, connect, read_all, run, send_all};
use tests::{Front, Gateway, H2Origin, Origin, Rules, Setup, eventually, pattern};

use crate::http2::{PLAIN, listening};

/// The file of `setup` whose primary is spoken to so.
pub(crate) fn speaking(setup: &Setup, keys: &str) -> String {
    let table = "[upstream.primary]\n";
    let text = listening(setup, PLAIN);
    assert!(text.contains(table));
    text.replacen(table, &format!("{table}{keys}\n"), 1)
}

pub(crate) fn start(setup: &Setup) -> Gateway {
    Gateway::start(&speaking(setup, "protocol = \"h2\""), &[])
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n")
}

/// A POST to `path`.
pub(crate) fn post(path: &str, content: &str) -> String {
    let length = content.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: shop.example\r\nX-Mine: 1\r\nContent-Length: {length}\r\n\r\n{content}"
    )
}

/// Waits beside the test's own tasks until `condition` holds.
pub(crate) async fn comes(what: &str, mut condition: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !condition() {
        assert!(started.elapsed() < std::time::Duration::from_secs(30), "never happened: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

pub(crate) fn failed(gateway: &Gateway, reason: &str) -> i64 {
    gateway.metrics().sum("umbra_upstream_failures_total", &[&format!("reason=\"{reason}\"")])
}

pub(crate) fn upstream(gateway: &Gateway, what: &str) -> i64 {
    gateway.metrics().sum(&format!("umbra_upstream_{what}"), &["upstream=\"primary\""])
}

#[test]
fn an_http1_client_is_served_by_an_http2_primary_and_its_copy_is_as_any_other() {
    let (v1, v2) = (H2Origin::new(100), Origin::named("v2"));
    let gateway = start(&Setup::to(&[v1.address]).mirror("v2", v2.address, ""));
    let mut client = gateway.client();
    for n in 0..3 {
        let content = format!("content {n}");
        let answer = client.ask(post("/", &content));
        assert_eq!((answer.status, answer.text()), (200, content));
        assert_eq!(answer.field("x-origin"), Some("h2"));
    }
    let answer = client.ask(get("/a?b=c"));
    assert_eq!((answer.status, answer.text()), (200, String::new()));
    let taken = v1.taken();
    assert_eq!(taken.len(), 4);
    assert_eq!(taken[0].field("x-mine"), Some("1"));
    assert_eq!((taken[0].field("te"), taken[0].field("content-length")), (Some("trailers"), Some("9")));
    assert!(
        taken[0]
            .fields
            .keys()
            .all(|name| !["connection", "host", "transfer-encoding"].contains(&name.as_str()))
    );
    assert_eq!((taken[3].method.as_str(), taken[3].uri.as_str()), ("GET", "http://shop.example/a?b=c"));
    assert_eq!(taken[3].field("via"), Some("1.1 umbra"));
    let copies = v2.wait_for(4);
    assert!(copies.iter().any(|copy| copy.body == b"content 1" && copy.field("x-mine") == Some("1")));
    let metrics = gateway.settled("v2");
    assert_eq!(metrics.mirror("v2", "completed_total"), 4);
    assert_eq!(v1.connections(), 1, "one after the other they share a connection");
    assert_eq!((upstream(&gateway, "connects_total"), upstream(&gateway, "reuses_total")), (1, 3));
}

#[test]
fn a_hundred_requests_at_once_share_few_connections_and_each_has_its_own_answer() {
    let (v1, v2) = (H2Origin::new(40), Origin::named("v2"));
    let gateway = start(&Setup::to(&[v1.address]).mirror("v2", v2.address, ""));
    run(async {
        let client = connect(gateway.address).await;
        let asked: Vec<_> = (0..100)
            .map(|n| {
                let client = client.clone();
                tokio::spawn(async move {
                    let content = pattern(1 + 300 * n);
                    let answer = ask(&client, "POST", &format!("/{n}"), &content).await.expect("an answer");
                    assert!(answer.status == 200 && answer.body == content, "{n}: {}", answer.status);
                })
            })
            .collect();
        for one in asked {
            one.await.expect("it has its own");
        }
    });
    assert!((1..=5).contains(&v1.connections()), "{}", v1.connections());
    let copies = v2.wait_for(100);
    for copy in &copies {
        let n: usize = copy.target[1..].parse().expect("a number");
        assert!(copy.body == pattern(1 + 300 * n), "the copy of {n}");
    }
    assert_eq!(gateway.settled("v2").mirror("v2", "completed_total"), 100);
}

#[test]
fn connections_are_bounded_and_who_finds_no_place_waits_its_turn() {
    let v1 = H2Origin::new(2);
    let keys = "protocol = \"h2\"\nconnections_max = 2";
    let gateway = Gateway::start(&speaking(&Setup::to(&[v1.address]), keys), &[]);
    run(async {
        let client = connect(gateway.address).await;
        let asked: Vec<_> = (0..10)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(
                    async move { ask(&client, "GET", "/held", b"").await.map(|answer| answer.status) },
                )
            })
            .collect();
        comes("as many as there are places", || v1.begun() == 4).await;
        comes("the others wait", || upstream(&gateway, "pending") == 6).await;
        v1.release();
        for one in asked {
            assert_eq!(one.await.expect("no panic").expect("an answer"), 200);
        }
    });
    assert_eq!((v1.connections(), v1.begun(), failed(&gateway, "refused")), (2, 10, 0));
}

#[test]
fn content_beyond_every_window_passes_both_ways_on_both_wires() {
    let (v1, v2) = (H2Origin::new(100), Origin::named("v2"));
    let gateway = start(&Setup::to(&[v1.address]).mirror("v2", v2.address, "body_bytes_max = \"4MiB\""));
    let content = pattern(1 << 20);
    let head = format!("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", content.len());
    let answer = gateway.client().ask([head.as_bytes(), &content].concat());
    assert!(answer.status == 200 && answer.body == content, "{} came back", answer.body.len());
    let chunked = tests::chunked(&content, 5000);
    let head = "POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = gateway.client().ask([head.as_bytes(), &chunked].concat());
    assert!(answer.status == 200 && answer.body == content, "{} came back", answer.body.len());
    let answer = run(async {
        let client = connect(gateway.address).await;
        ask(&client, "POST", "/3", &content).await.expect("an answer")
    });
    assert!(answer.body == content, "{} came back", answer.body.len());
    assert!(v1.taken().iter().all(|taken| taken.body == content));
    assert!(v2.wait_for(3).iter().all(|copy| copy.body == content));
    gateway.settled("v2");
}

#[test]
fn trailers_interims_and_responses_without_content_pass_as_they_are() {
    let v1 = H2Origin::new(100);
    let gateway = start(&Setup::to(&[v1.address]));
    let mut client = gateway.client();
    let request = format!(
        "POST /t HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTrailer: x-check\r\n\
         Transfer-Encoding: chunked\r\n\r\n{}",
        "7\r\ncontent\r\n0\r\nx-check: 7\r\n\r\n"
    );
    let answer = client.ask(request);
    assert_eq!((answer.status, answer.text()), (200, "content".to_owned()));
    assert_eq!(v1.taken()[0].trailers["x-check"], "7");
    client.send("HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.response_to_head();
    assert_eq!((head.status, head.field("content-length")), (200, Some("1234")));
    let none = client.ask(get("/none"));
    assert_eq!(
        (none.status, none.field("transfer-encoding"), none.field("content-length")),
        (204, None, None)
    );
    client.send(get("/early"));
    let early = client.response();
    assert_eq!((early.status, early.interims.as_slice()), (200, [103].as_slice()));
    let only = client.ask(get("/only"));
    assert_eq!((only.status, only.field("grpc-status"), only.text()), (200, Some("5"), String::new()));
    assert_eq!(client.ask(get("/large/100000")).body, pattern(100_000));
    run(async {
        let client = connect(gateway.address).await;
        let request = http::Request::post("http://a/t").body(()).expect("a request");
        let (response, mut stream) = client.clone().send_request(request, false).expect("a stream");
        send_all(&mut stream, b"content", false).await.expect("it is taken");
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", "7".parse().expect("a value"));
        stream.send_trailers(trailers).expect("they go");
        let answer = read_all(response).await.expect("an answer");
        assert_eq!(
            (answer.body.as_slice(), answer.trailers["grpc-status"].as_bytes()),
            (b"content".as_slice(), b"7".as_slice())
        );
        let head = ask(&client, "HEAD", "/h", b"").await.expect("an answer");
        assert_eq!((head.status, head.fields["content-length"].as_bytes()), (200, b"1234".as_slice()));
        assert_eq!(ask(&client, "GET", "/none", b"").await.expect("an answer").status, 204);
        let only = ask(&client, "POST", "/only", b"x").await.expect("an answer");
        assert_eq!((only.fields["grpc-status"].as_bytes(), only.body.len()), (b"5".as_slice(), 0));
        assert!(!only.fields.contains_key("content-length"), "a stream's end is enough");
    });
    assert_eq!(v1.connections(), 1);
}

#[test]
fn a_thousand_messages_go_back_and_forth_on_one_stream_for_longer_than_either_side_may_be_silent() {
    let (v1, v2) = (H2Origin::new(100), Origin::named("v2"));
    let more = "[timeouts]\nrequest_body = \"500ms\"\nresponse_body = \"1s\"";
    let gateway = start(&Setup::to(&[v1.address]).mirror("v2", v2.address, "").with(more));
    run(async {
        let client = connect(gateway.address).await;
        let request = http::Request::post("http://a/stream").body(()).expect("a request");
        let (response, mut stream) = client.clone().send_request(request, false).expect("a stream");
        let response = response.await.expect("it begins before the request has ended");
        let mut body = response.into_body();
        for n in 0..1000 {
            let message = format!("message {n:04}");
            send_all(&mut stream, message.as_bytes(), false).await.expect("it is taken");
            let mut heard = Vec::new();
            while heard.len() < message.len() {
                let piece = body.data().await.expect("an answer").expect("no reset");
                heard.extend_from_slice(&piece);
                body.flow_control().release_capacity(piece.len()).expect("a window");
            }
            assert_eq!(heard, message.as_bytes());
            if n % 250 == 100 {
                // Longer than a client may take for content that is waited for.
                tokio::time::sleep(std::time::Duration::from_millis(800)).await;
            }
        }
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("a value"));
        stream.send_trailers(trailers).expect("they go");
        assert!(body.data().await.is_none());
        let trailers = body.trailers().await.expect("no reset").expect("trailers");
        assert_eq!(trailers["grpc-status"], "0");
    });
    let copy = &v2.wait_for(1)[0];
    assert_eq!(copy.body.len(), 12_000, "the copy is whole");
    assert_eq!(gateway.settled("v2").mirror("v2", "completed_total"), 1);
}

#[test]
fn a_stream_on_which_nobody_says_anything_is_given_up() {
    let v1 = H2Origin::new(100);
    let gateway = start(&Setup::to(&[v1.address]).with("[timeouts]\nresponse_body = \"400ms\""));
    run(async {
        let client = connect(gateway.address).await;
        let request = http::Request::post("http://a/stream").body(()).expect("a request");
        let (response, stream) = client.clone().send_request(request, false).expect("a stream");
        let mut body = response.await.expect("it begins").into_body();
        // Neither side sends anything: the response is silent for too long.
        let ended = loop {
            match body.data().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        assert!(ended.is_some_and(|error| error.is_reset()));
        drop(stream);
    });
    eventually("the primary hears of it", || v1.cancelled() == 1);
}

#[test]
fn a_client_that_leaves_gives_its_stream_up_and_no_sibling_of_it() {
    let v1 = H2Origin::new(100);
    let gateway = start(&Setup::to(&[v1.address]));
    run(async {
        let client = connect(gateway.address).await;
        let leaving = tokio::spawn({
            let client = client.clone();
            async move { ask(&client, "GET", "/held", b"").await }
        });
        let staying = tokio::spawn({
            let client = client.clone();
            async move { ask(&client, "GET", "/held", b"").await }
        });
        comes("both are there", || v1.begun() == 2).await;
        leaving.abort();
        let _ = leaving.await;
        comes("the primary hears of it", || v1.cancelled() == 1).await;
        v1.release();
        assert_eq!(staying.await.expect("no panic").expect("an answer").status, 200);
    });
    assert_eq!((v1.connections(), v1.cancelled()), (1, 1));
}

#[test]
fn one_slow_reader_stops_no_sibling_on_the_primarys_connection() {
    let v1 = H2Origin::new(100);
    let gateway = start(&Setup::to(&[v1.address]));
    let mut slow = std::net::TcpStream::connect(gateway.address).expect("the gateway listens");
    slow.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("a timeout");
    let asked = get("/large/30000000").replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
    slow.write_all(asked.as_bytes()).expect("it is taken");
    eventually("it began", || v1.begun() == 1);
    for _ in 0..20 {
        assert_eq!(gateway.client().ask(get("/large/200000")).body.len(), 200_000);
    }
    assert_eq!(v1.connections(), 1);
    let mut heard = Vec::new();
    slow.read_to_end(&mut heard).expect("all of it comes");
    assert!(heard.len() > 30_000_000 && heard.ends_with(b"\r\n0\r\n\r\n"), "{}", heard.len());
}

#[test]
fn over_tls_the_handshake_agrees_on_what_is_spoken() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let pair = authority.issue("v1", &["v1.internal"]);
    let keys = |protocol: &str| {
        format!(
            "protocol = \"{protocol}\"\ntls = {{ ca = {:?}, server_name = \"v1.internal\" }}",
            authority.ca
        )
    };
    let (v1, old) = (H2Origin::new(100), Origin::named("old"));
    let both = Front::new(&pair, v1.address, Rules { alpn: &["h2", "http/1.1"], ..Rules::default() });
    let plain = Front::new(&pair, old.address, Rules::default());
    for protocol in ["h2", "alpn"] {
        let before = v1.begun();
        let gateway = Gateway::start(&speaking(&Setup::to(&[both.address]), &keys(protocol)), &[]);
        let mut client = gateway.client();
        for n in 0..3 {
            assert_eq!(client.ask(post("/", &format!("content {n}"))).text(), format!("content {n}"));
        }
        assert_eq!(v1.begun() - before, 3);
        assert!(v1.taken().last().is_some_and(|taken| taken.uri.starts_with("https://")));
        assert_eq!(upstream(&gateway, "tls_handshakes_total"), 1, "{protocol}");
    }
    // A primary that speaks HTTP/1.1 alone is called so, if that was left to it, and refused if not.
    let gateway = Gateway::start(&speaking(&Setup::to(&[plain.address]), &keys("alpn")), &[]);
    run(async {
        let client = connect(gateway.address).await;
        let asked: Vec<_> = (0..10)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { ask(&client, "POST", "/", b"content").await.map(|a| a.status) })
            })
            .collect();
        for one in asked {
            assert_eq!(one.await.expect("no panic").expect("an answer"), 200);
        }
    });
    old.wait_for(10);
    let gateway = Gateway::start(&speaking(&Setup::to(&[plain.address]), &keys("h2")), &[]);
    assert_eq!(gateway.client().ask(get("/")).status, 503);
    assert!(failed(&gateway, "tls") > 0);
}

#[test]
fn what_is_spoken_changes_by_reload_and_nobody_notices() {
    let (v1, old) = (H2Origin::new(100), Origin::named("v1"));
    let setup = Setup::to(&[v1.address]);
    let mut gateway = start(&setup);
    assert_eq!(gateway.client().ask(post("/", "a")).text(), "a");
    let plain = speaking(&Setup::to(&[old.address]), "protocol = \"http1\"");
    gateway.write(&plain);
    gateway.signal("HUP");
    eventually("HTTP/1.1 is spoken", || gateway.client().ask(get("/")).text() == "v1");
    gateway.write(&speaking(&setup, "protocol = \"h2\""));
    gateway.signal("HUP");
    eventually("HTTP/2 is spoken", || gateway.client().ask(post("/", "b")).text() == "b");
    // An idle connection does not hold up the end.
    gateway.signal("TERM");
    assert!(gateway.wait_exit().success());
}

#[test]
fn health_is_asked_for_in_http2_where_an_endpoint_speaks_nothing_else_and_over_tls_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let pair = authority.issue("v1", &["v1.internal"]);
    let tls = format!("tls = {{ ca = {:?}, server_name = \"v1.internal\" }}", authority.ca);
    let health = "health = { path = \"/healthz\", interval = \"5s\", timeout = \"5s\", unhealthy_after = 1 }";
    for secured in [false, true] {
        let (v1, old) = (H2Origin::new(100), Origin::named("old"));
        let fronts = [
            Front::new(&pair, v1.address, Rules { alpn: &["h2"], ..Rules::default() }),
            Front::new(&pair, old.address, Rules::default()),
        ];
        let of = |n: usize, plain: std::net::SocketAddr| if secured { fronts[n].address } else { plain };
        let (good, bad) = (of(0, v1.address), of(1, old.address));
        let keys = format!("protocol = \"h2\"\n{health}\n{}", if secured { tls.as_str() } else { "" });
        let gateway = Gateway::start(&speaking(&Setup::to(&[good, bad]), &keys), &[]);
        let told = format!("primary: {bad} is unhealthy: ");
        eventually(&told, || gateway.stderr().contains(&told));
        eventually("the other one is asked", || {
            v1.taken().iter().any(|taken| taken.uri.ends_with("/healthz"))
        });
        let taken = v1.taken();
        let check = taken.iter().find(|taken| taken.uri.ends_with("/healthz")).expect("it was asked");
        assert!(check.field("user-agent").is_some_and(|agent| agent.starts_with("umbra-health-check/")));
        assert_eq!((check.field("host"), check.field("connection")), (None, None));
        for _ in 0..4 {
            assert_eq!(gateway.client().ask(get("/")).status, 200, "{}", gateway.stderr());
        }
        assert!(!gateway.stderr().contains(&format!("{good} is unhealthy")), "{}", gateway.stderr());
    }
}
