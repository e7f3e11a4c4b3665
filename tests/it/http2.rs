//! HTTP/2 requests and their responses, seen from outside: hyperium's `h2` and a framer of our own, before HTTP/1.1 origins.

use std::sync::Arc;

use tests::http2::{
    DATA, END, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, ask, connect, connect_with, frame, headers,
    read_all, request, run, send_all,
};
use tests::{Gate, Gateway, Origin, Setup, eventually, origin};

pub(crate) const PLAIN: &str = "protocols = [\"h2\", \"http1\"]";

/// The file of `setup` with these keys in its listener.
pub(crate) fn listening(setup: &Setup, keys: &str) -> String {
    let own = "[[listener]]\nbind = \"127.0.0.1:0\"\n";
    let text = setup.toml();
    assert!(text.contains(own));
    text.replacen(own, &format!("{own}{keys}\n"), 1)
}

pub(crate) fn start(setup: &Setup) -> Gateway {
    Gateway::start(&listening(setup, PLAIN), &[])
}

/// Answers with the request's own content.
pub(crate) fn echo() -> Origin {
    Origin::new(|request, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len());
        origin::write(stream, [head.as_bytes(), &request.body].concat())
    })
}

pub(crate) fn goaways(gateway: &Gateway, reason: &str) -> i64 {
    gateway.metrics().sum("umbra_http2_goaways_total", &[&format!("reason=\"{reason}\"")])
}

fn resets(gateway: &Gateway, by: &str) -> i64 {
    gateway.metrics().sum("umbra_http2_streams_reset_total", &[&format!("by=\"{by}\"")])
}

fn pattern(len: usize, salt: usize) -> Vec<u8> {
    (0..len).map(|n| ((n + salt) * 31 % 251) as u8).collect()
}

#[test]
fn a_request_reaches_primary_and_mirror_as_any_other_and_its_response_comes_back() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let gateway = start(&Setup::new(&v1).mirror("v2", v2.address, ""));
    run(async {
        let client = connect(gateway.address).await;
        let answer = ask(&client, "GET", "/a?b=c", b"").await.expect("an answer");
        assert_eq!((answer.status, answer.body.as_slice()), (200, b"v1".as_slice()));
        assert_eq!(answer.fields["content-length"], "2");
        assert!(answer.fields.contains_key("date") && !answer.fields.contains_key("connection"));
        let answer = ask(&client, "POST", "/p", b"some content").await.expect("an answer");
        assert_eq!(answer.status, 200);
    });
    let (sent, copies) = (v1.wait_for(2), v2.wait_for(2));
    assert_eq!((sent[0].method.as_str(), sent[0].target.as_str()), ("GET", "/a?b=c"));
    assert_eq!((sent[0].field("host"), sent[0].field("via")), (Some("a"), Some("2 umbra")));
    assert_eq!(sent[0].field("x-forwarded-proto"), Some("http"));
    assert_eq!(sent[0].field("transfer-encoding"), None, "a GET without content has none");
    assert_eq!(sent[1].body, b"some content");
    let mut bodies: Vec<_> = copies.iter().map(|copy| copy.body.clone()).collect();
    bodies.sort();
    assert_eq!(bodies, [b"".to_vec(), b"some content".to_vec()]);
    let metrics = gateway.settled("v2");
    assert_eq!(metrics.mirror("v2", "completed_total"), 2);
    assert_eq!(metrics.sum("umbra_http2_streams_total", &[]), 2);
    assert_eq!(metrics.sum("umbra_http2_connections_total", &[]), 1);
}

#[test]
fn a_hundred_streams_at_once_each_get_their_own_content_back_and_a_copy_each() {
    let (v1, v2) = (echo(), Origin::named("v2"));
    let gateway = start(&Setup::new(&v1).mirror("v2", v2.address, "").workers(2));
    run(async {
        let client = connect(gateway.address).await;
        let asked: Vec<_> = (0..100)
            .map(|n| {
                let client = client.clone();
                tokio::spawn(async move {
                    let content = pattern(1 + 300 * n, n);
                    let answer = ask(&client, "POST", &format!("/{n}"), &content).await.expect("an answer");
                    assert!(answer.status == 200 && answer.body == content, "{n}: {}", answer.status);
                })
            })
            .collect();
        for one in asked {
            one.await.expect("it has its own");
        }
    });
    let copies = v2.wait_for(100);
    for copy in &copies {
        let n: usize = copy.target[1..].parse().expect("a number");
        assert!(copy.body == pattern(1 + 300 * n, n), "the copy of {n}");
    }
    let mut targets: Vec<_> = copies.iter().map(|copy| &copy.target).collect();
    targets.sort();
    targets.dedup();
    assert_eq!(targets.len(), 100);
    assert_eq!(gateway.settled("v2").mirror("v2", "completed_total"), 100);
}

#[test]
fn content_beyond_every_window_passes_both_ways_and_into_the_copy() {
    let (v1, v2) = (echo(), Origin::named("v2"));
    let gateway = start(&Setup::new(&v1).mirror("v2", v2.address, "body_bytes_max = \"4MiB\""));
    for (n, bytes) in [65_535, 65_536, 1 << 20, 3_000_000].into_iter().enumerate() {
        let content = pattern(bytes, n);
        let answer = run(async {
            let client = connect(gateway.address).await;
            ask(&client, "POST", "/large", &content).await.expect("an answer")
        });
        assert!(answer.body == content, "{bytes}: {} came back", answer.body.len());
        assert!(v1.wait_for(n + 1)[n].body == content, "{bytes}");
        assert!(v2.wait_for(n + 1)[n].body == content, "{bytes}: the copy");
    }
    gateway.settled("v2");
}

#[test]
fn trailers_pass_both_ways() {
    let v1 = Origin::new(|_, stream| {
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n";
        origin::write(stream, answer)
    });
    let v2 = Origin::named("v2");
    let gateway = start(&Setup::new(&v1).mirror("v2", v2.address, ""));
    let answer = run(async {
        let mut client = connect(gateway.address).await.ready().await.expect("ready");
        let request = http::Request::post("http://a/t").body(()).expect("a request");
        let (response, mut stream) = client.send_request(request, false).expect("a stream");
        send_all(&mut stream, b"content", false).await.expect("it is taken");
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-check", "7".parse().expect("a value"));
        stream.send_trailers(trailers).expect("they go");
        read_all(response).await.expect("an answer")
    });
    assert_eq!(
        (answer.body.as_slice(), &answer.trailers["x-sum"]),
        (b"abc".as_slice(), &"6".parse().unwrap())
    );
    assert!(!answer.fields.contains_key("transfer-encoding"));
    for origin in [&v1, &v2] {
        let request = &origin.wait_for(1)[0];
        assert_eq!(request.body, b"content");
    }
    assert_eq!(v1.requests()[0].trailers, [("x-check".to_owned(), "7".to_owned())]);
}

#[test]
fn interim_responses_pass_and_who_waits_for_leave_gets_it() {
    let v1 = Origin::scripted(|conn| {
        while let Some(head) = conn.head() {
            if head.contains("Expect: 100-continue") {
                // Says nothing: the gateway gives leave by itself.
                while !conn.inbox.ends_with(b"0\r\n\r\n") && !conn.inbox.ends_with(b"content") {
                    if !conn.read() {
                        return;
                    }
                }
                conn.inbox.clear();
                conn.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            } else {
                conn.write("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
            }
        }
    });
    let gateway = start(&Setup::new(&v1));
    let mut raw = Raw::connect(gateway.address);
    let heard = raw.send(&headers(1, END, &request("GET", "/", &[]))).response(1);
    assert_eq!((heard.interims, heard.fields[0].1.as_str()), (vec!["103".to_owned()], "204"));
    raw.send(&headers(3, 0, &request("POST", "/", &[("expect", "100-continue"), ("content-length", "7")])));
    raw.until(|raw| raw.streams.get(&3).is_some_and(|heard| !heard.interims.is_empty()));
    assert_eq!(raw.streams[&3].interims, ["100"]);
    let heard = raw.send(&frame(DATA, END, 3, b"content")).response(3);
    assert_eq!((heard.status(), heard.interims.len()), ("200", 1));
}

#[test]
fn responses_without_content_have_none() {
    let v1 = Origin::new(|request, stream| {
        let answer = match (request.method.as_str(), request.target.as_str()) {
            ("HEAD", _) => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
            (_, "/204") => "HTTP/1.1 204 No Content\r\n\r\n",
            (_, "/304") => "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\netag: \"x\"\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        };
        origin::write(stream, answer)
    });
    let gateway = start(&Setup::new(&v1));
    let mut raw = Raw::connect(gateway.address);
    for (n, method, path, status, length) in [
        (1, "HEAD", "/", "200", "1234"),
        (3, "GET", "/204", "204", ""),
        (5, "GET", "/304", "304", "99"),
        (7, "GET", "/", "200", "0"),
        // An answer of our own, too.
        (9, "HEAD", "no-path", "400", "16"),
    ] {
        let heard = raw.send(&headers(n, END, &request(method, path, &[]))).response(n);
        assert_eq!((heard.status(), heard.body.len(), heard.reset), (status, 0, None), "{path}");
        assert_eq!(heard.field("content-length"), length, "{method} {path}");
    }
}

#[test]
fn a_client_that_cancels_its_upload_is_no_request_and_no_copy_and_its_siblings_go_on() {
    let (v1, v2) = (echo(), Origin::named("v2"));
    let gateway = start(&Setup::new(&v1).mirror("v2", v2.address, ""));
    let mut raw = Raw::connect(gateway.address);
    raw.send(&headers(1, 0, &request("POST", "/cut", &[("content-length", "100000")])));
    raw.send(&frame(DATA, 0, 1, &pattern(10_000, 0)));
    eventually("the primary has a part of it", || v1.saw("/cut"));
    raw.send(&frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()));
    let heard = raw.send(&headers(3, END, &request("GET", "/next", &[]))).response(3);
    assert_eq!(heard.status(), "200");
    eventually("it is skipped", || {
        gateway.metrics().mirror_by("v2", "skipped_total", "reason", "aborted") == 1
    });
    gateway.settled("v2");
    assert_eq!(v2.wait_for(1)[0].target, "/next");
    assert_eq!((v2.count(), v1.count(), resets(&gateway, "client")), (1, 1, 1));
    eventually("its connection to the primary is closed", || v1.incomplete() == 1);
}

#[test]
fn a_client_that_cancels_its_response_ends_that_exchange_alone() {
    let gate = Gate::closed();
    let held = gate.clone();
    let v1 = Origin::scripted(move |conn| {
        while let Some(request) = conn.request() {
            if request.target == "/long" {
                conn.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegin");
                // Until the gateway closes this connection, as the rest is not wanted.
                conn.read_to_end();
                held.open();
                return;
            }
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let v2 = Origin::named("v2");
    let gateway = start(&Setup::new(&v1).mirror("v2", v2.address, ""));
    let mut raw = Raw::connect(gateway.address);
    raw.send(&headers(1, END, &request("GET", "/long", &[])));
    raw.until(|raw| raw.streams.get(&1).is_some_and(|heard| heard.body == b"begin"));
    raw.send(&frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()));
    assert_eq!(raw.send(&headers(3, END, &request("GET", "/short", &[]))).response(3).body, b"ok");
    gate.pass();
    eventually("it is counted", || gateway.metrics().sum("umbra_exchanges_aborted_total", &[]) == 1);
    // The request was whole: its copy stands.
    v2.wait_for(2);
    assert_eq!(gateway.settled("v2").mirror("v2", "completed_total"), 2);
}

#[test]
fn one_streams_slow_reader_stops_no_sibling_and_makes_its_primary_wait() {
    let large = 8 << 20;
    let v1 = Origin::new(move |request, stream| {
        let length = if request.target == "/large" { large } else { 2 };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        origin::write(stream, [head.as_bytes(), &vec![b'x'; length]].concat())
    });
    let gateway = start(&Setup::new(&v1));
    run(async {
        let client = connect(gateway.address).await;
        let mut slow = client.clone().ready().await.expect("ready");
        let asked = http::Request::get("http://a/large").body(()).expect("a request");
        let (response, _) = slow.send_request(asked, true).expect("a stream");
        let mut body = response.await.expect("a head").into_body();
        // Its window is full, and nothing is given back.
        let mut first = 0;
        while first < 60_000 {
            first += body.data().await.expect("content").expect("content").len();
        }
        for n in 0..50 {
            let answer = ask(&client, "GET", &format!("/{n}"), b"").await.expect("an answer");
            assert_eq!(answer.body, b"xx");
        }
        // Then it takes the rest.
        body.flow_control().release_capacity(first).expect("it is given back");
        while let Some(piece) = body.data().await {
            let piece = piece.expect("content").len();
            first += piece;
            body.flow_control().release_capacity(piece).expect("it is given back");
        }
        assert_eq!(first, large);
    });
}

#[test]
fn one_streams_slow_primary_stops_no_siblings_upload() {
    let gate = Gate::closed();
    let held = gate.clone();
    let v1 = Origin::scripted(move |conn| {
        while let Some(head) = conn.head() {
            if head.contains("/stuck") {
                held.pass();
            }
            let length: usize = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            while conn.inbox.len() < length {
                if !conn.read() {
                    return;
                }
            }
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", conn.inbox.len());
            let content = std::mem::take(&mut conn.inbox);
            conn.write([answer.as_bytes(), &content].concat());
        }
    });
    let gateway = start(&Setup::new(&v1));
    run(async {
        let client = connect(gateway.address).await;
        let large = pattern(8 << 20, 3);
        let mut stuck = client.clone().ready().await.expect("ready");
        let length = large.len().to_string();
        let asked = http::Request::post("http://a/stuck").header("content-length", length).body(());
        let (response, mut stream) = stuck.send_request(asked.expect("a request"), false).expect("a stream");
        let content = large.clone();
        let sending = tokio::spawn(async move { send_all(&mut stream, &content, true).await });
        for n in 0..20 {
            let content = pattern(100_000, n);
            let mut next = client.clone().ready().await.expect("ready");
            let asked =
                http::Request::post(format!("http://a/{n}")).header("content-length", 100_000).body(());
            let (response, mut stream) =
                next.send_request(asked.expect("a request"), false).expect("a stream");
            send_all(&mut stream, &content, true).await.expect("it is taken");
            assert!(read_all(response).await.expect("an answer").body == content, "{n}");
        }
        assert!(!sending.is_finished(), "the stuck one waits: its primary takes nothing");
        gate.open();
        sending.await.expect("no panic").expect("it is taken");
        assert!(read_all(response).await.expect("an answer").body == large);
    });
}

#[test]
fn an_early_response_ends_its_stream_and_the_rest_of_the_upload_is_declined() {
    let v1 = Origin::scripted(|conn| {
        conn.head();
        conn.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno\n");
        conn.read_to_end();
    });
    let v2 = Origin::named("v2");
    let gateway = start(&Setup::new(&v1).mirror("v2", v2.address, ""));
    let mut raw = Raw::connect(gateway.address);
    raw.send(&headers(1, 0, &request("POST", "/", &[("content-length", "500000")])));
    raw.send(&frame(DATA, 0, 1, &pattern(1000, 0)));
    raw.until(|raw| raw.streams.get(&1).is_some_and(|heard| heard.reset.is_some()));
    let heard = &raw.streams[&1];
    assert_eq!((heard.status(), heard.body.as_slice(), heard.has_ended), ("413", b"no\n".as_slice(), true));
    assert_eq!(heard.reset, Some(0), "NO_ERROR");
    eventually("it is skipped", || {
        gateway.metrics().mirror_by("v2", "skipped_total", "reason", "aborted") == 1
    });
    assert_eq!((resets(&gateway, "client"), resets(&gateway, "gateway")), (0, 0));
}

#[test]
fn a_request_whose_end_is_held_back_is_forwarded_before_it() {
    // Answers by the head alone, and says how content was announced.
    let v1 = Origin::scripted(|conn| {
        let head = conn.head().unwrap_or_default().to_ascii_lowercase();
        let framing = if head.contains("transfer-encoding: chunked") { "chunked" } else { "none" };
        let length = framing.len();
        conn.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{framing}"));
        conn.read_to_end();
    });
    let gateway = start(&Setup::new(&v1));
    for (method, fields) in
        [("GET", vec![]), ("GET", vec![("content-type", "a/b")]), ("QUERY", vec![]), ("POST", vec![])]
    {
        let mut raw = Raw::connect(gateway.address);
        raw.send(&headers(1, 0, &request(method, "/", &fields)));
        raw.until(|raw| raw.streams.get(&1).is_some_and(|heard| heard.has_ended));
        let heard = &raw.streams[&1];
        assert_eq!((heard.status(), heard.body.as_slice()), ("200", b"chunked".as_slice()), "{method}");
    }
    // A request that ends at once, by a frame of its own, has no content.
    let mut raw = Raw::connect(gateway.address);
    let whole = [headers(1, 0, &request("GET", "/", &[])), frame(DATA, END, 1, b"")].concat();
    assert_eq!(raw.send(&whole).response(1).body, b"none");
}

#[test]
fn a_primary_that_breaks_off_resets_the_stream_and_one_that_fails_is_answered_for() {
    let v1 = Origin::scripted(|conn| {
        let Some(request) = conn.request() else { return };
        let answer = match request.target.as_str() {
            "/cut" => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin",
            "/cut-chunks" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n",
            "/garbage" => "nonsense\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\n\r\nuntil the end",
        };
        conn.write(answer);
    });
    let gateway = start(&Setup::new(&v1));
    let mut raw = Raw::connect(gateway.address);
    for (n, path) in [(1, "/cut"), (3, "/cut-chunks")] {
        let heard = raw.send(&headers(n, END, &request("GET", path, &[]))).response(n);
        assert_eq!((heard.status(), heard.has_ended, heard.reset), ("200", false, Some(2)), "{path}");
    }
    assert_eq!(raw.send(&headers(5, END, &request("GET", "/garbage", &[]))).response(5).status(), "502");
    let heard = raw.send(&headers(7, END, &request("GET", "/until-close", &[]))).response(7);
    assert_eq!((heard.body.as_slice(), heard.has_ended), (b"until the end".as_slice(), true));
    assert_eq!(resets(&gateway, "gateway"), 2);
}

#[test]
fn copies_of_streams_are_sampled_chosen_paired_and_compared_as_all_others() {
    let answer = |name: &'static str| {
        Origin::new(move |request, stream| {
            let status = if name == "v2" && request.target == "/bad" { "500 Oh" } else { "200 OK" };
            let content = format!("{{\"who\":\"{name}\"}}");
            let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: ");
            origin::write(stream, format!("{head}{}\r\n\r\n{content}", content.len()))
        })
    };
    let (v1, v2, half, never) = (answer("v1"), answer("v2"), Origin::named("half"), Origin::named("never"));
    let setup = Setup::new(&v1)
        .mirror("v2", v2.address, "compare = {}")
        .mirror("half", half.address, "percent = 50")
        .mirror("never", never.address, "response = { statuses = [\"5xx\"] }");
    let gateway = start(&setup);
    run(async {
        let client = connect(gateway.address).await;
        for round in 0..10 {
            let asked: Vec<_> = (0..20)
                .map(|n| {
                    let client = client.clone();
                    let path = if n % 4 == 0 { "/bad" } else { "/good" };
                    tokio::spawn(async move { ask(&client, "GET", path, b"").await })
                })
                .collect();
            for one in asked {
                assert_eq!(one.await.expect("no panic").expect("an answer").status, 200, "{round}");
            }
        }
    });
    let metrics = gateway.settled("v2");
    metrics.ledger("half").expect("the ledger balances");
    metrics.ledger("never").expect("the ledger balances");
    let beside = |mirror: &str| {
        let ends = ["mirror=\"v2\"", "primary_end=\"200\"", &*format!("mirror_end=\"{mirror}\"")];
        metrics.sum("umbra_pairs_total", &ends)
    };
    assert_eq!((beside("200"), beside("500")), (150, 50));
    let sampled = metrics.mirror("half", "sampled_out_total");
    assert!((50..150).contains(&sampled), "{sampled} of 200");
    assert_eq!((metrics.mirror("never", "skipped_total"), never.count()), (200, 0));
    eventually("the difference is found", || gateway.admin("GET", "/diffs", "").text().contains("who"));
}

#[test]
fn a_stalled_mirror_is_invisible_to_every_stream() {
    let (v1, v2) = (Origin::named("v1"), Origin::never_reading());
    let keys = "ring_entries_max = 8, timeout = \"1s\"";
    let gateway = start(&Setup::new(&v1).mirror("v2", v2.address, keys));
    run(async {
        let client = Arc::new(connect(gateway.address).await);
        for _ in 0..20 {
            let asked: Vec<_> = (0..20)
                .map(|_| {
                    let client = Arc::clone(&client);
                    tokio::spawn(async move { ask(&client, "POST", "/", &[b'x'; 10_000]).await })
                })
                .collect();
            for one in asked {
                assert_eq!(one.await.expect("no panic").expect("an answer").status, 200);
            }
        }
    });
    assert_eq!(v1.count(), 400);
    eventually("copies are given up", || gateway.metrics().mirror("v2", "dropped_total") > 100);
}

#[test]
fn a_panic_costs_its_stream() {
    let v1 = Origin::named("v1");
    let setup = Setup::new(&v1);
    let environment = [("UMBRA_TEST_PANIC".to_owned(), "1".to_owned())];
    let gateway = Gateway::start(&listening(&setup, PLAIN), &environment);
    let mut raw = Raw::connect(gateway.address);
    let heard = raw.send(&headers(1, END, &request("GET", "/__panic", &[]))).response(1);
    assert_eq!(heard.reset, Some(2), "INTERNAL_ERROR");
    assert_eq!(raw.send(&headers(3, END, &request("GET", "/", &[]))).response(3).body, b"v1");
}

#[test]
fn limits_hold_for_each_stream_and_logs_say_what_was_spoken() {
    let gate = Gate::closed();
    let held = gate.clone();
    let v1 = Origin::new(move |_, stream| {
        held.pass();
        origin::write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    });
    let limits = "[limits]\nexchanges_max = 3\n[http2]\nstreams_max = 5\nstreams_per_address_max = 4\n\
                  [access_log]\nto = \"stdout\"";
    let gateway = start(&Setup::new(&v1).with(limits));
    let mut raw = Raw::connect(gateway.address);
    for n in [1, 3, 5] {
        raw.send(&headers(n, END, &request("GET", &format!("/{n}"), &[])));
    }
    v1.wait_for(3);
    assert_eq!(raw.send(&headers(7, END, &request("GET", "/7", &[]))).response(7).status(), "503");
    // Uploads that wait for their content count as long as they do.
    let get = |n: u32, raw: &mut Raw| {
        raw.send(&headers(n, 0, &request("GET", &format!("/{n}"), &[])));
    };
    get(9, &mut raw);
    assert_eq!(raw.send(&headers(11, END, &request("GET", "/11", &[]))).response(11).status(), "429");
    gate.open();
    for n in [1, 3, 5] {
        assert_eq!(raw.response(n).status(), "200");
    }
    let metrics = gateway.metrics();
    let rejected = |reason: &str| metrics.sum("umbra_rejected_total", &[&format!("reason=\"{reason}\"")]);
    assert_eq!((rejected("exchanges"), rejected("address_streams")), (1, 1));
    eventually("it is logged", || gateway.stdout().matches("HTTP/2.0").count() >= 5);
}

#[test]
fn more_streams_than_allowed_are_refused_and_may_be_sent_again() {
    let gate = Gate::closed();
    let held = gate.clone();
    let v1 = Origin::new(move |_, stream| {
        held.pass();
        origin::write(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    });
    let gateway = start(&Setup::new(&v1).with("[http2]\nstreams_max = 2"));
    let mut raw = Raw::connect(gateway.address);
    for n in [1, 3, 5] {
        raw.send(&headers(n, END, &request("GET", "/", &[])));
    }
    assert_eq!(raw.response(5).reset, Some(7), "REFUSED_STREAM");
    // A cancelled request counts until its exchange has ended; then there is room again.
    gate.open();
    assert_eq!((raw.response(1).status(), raw.response(3).status()), ("200", "200"));
    assert_eq!(raw.send(&headers(7, END, &request("GET", "/", &[]))).response(7).status(), "200");
    assert_eq!(gateway.metrics().sum("umbra_http2_streams_refused_total", &[]), 1);
}

#[test]
fn a_zero_window_is_given_up_after_the_write_timeout() {
    let v1 = Origin::new(|_, stream| {
        origin::write(
            stream,
            [b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n".as_slice(), &[b'x'; 500_000]].concat(),
        )
    });
    let gateway = start(&Setup::new(&v1).with("[timeouts]\nwrite = \"500ms\""));
    let mut raw = Raw::connect(gateway.address);
    // SETTINGS_INITIAL_WINDOW_SIZE 0.
    raw.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    let heard = raw.send(&headers(1, END, &request("GET", "/", &[]))).response(1);
    assert_eq!((heard.status(), heard.body.len(), heard.reset), ("200", 0, Some(8)), "CANCEL");
    eventually("it is counted", || gateway.metrics().sum("umbra_exchanges_aborted_total", &[]) == 1);
    raw.send(&frame(WINDOW_UPDATE, 0, 0, &1000u32.to_be_bytes()));
    raw.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]));
    assert_eq!(raw.send(&headers(3, END, &request("HEAD", "/", &[]))).response(3).status(), "200");
}

#[test]
fn a_client_of_large_windows_gets_a_large_response_whole() {
    let large = 20 << 20;
    let v1 = Origin::new(move |_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{large:x}\r\n");
        origin::write(stream, [head.as_bytes(), &pattern(large, 1), b"\r\n0\r\n\r\n"].concat())
    });
    let gateway = start(&Setup::new(&v1));
    let answer = run(async {
        let client = connect_with(gateway.address, 4 << 20).await;
        ask(&client, "GET", "/", b"").await.expect("an answer")
    });
    assert!(answer.body == pattern(large, 1), "{}", answer.body.len());
}
