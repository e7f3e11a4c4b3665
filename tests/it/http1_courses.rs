//! Requests whose course matters and not only their bytes: uploads cut or held, expectations, hops, order.

use std::time::Duration;

use tests::message::{in_chunks, post, with};
use tests::{After, Client, Gate, Origin, Request, Stage, chunked, eventually, origin, pattern};

/// RFC 9110 §7.6.2: a gateway answers a request that may go no further, and counts down one that may.
#[test]
fn max_forwards_is_obeyed_for_options() {
    let stage = Stage::plain();
    let ask = |n: u32| {
        let bytes = format!("OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {n}\r\n\r\n");
        stage.client().ask(bytes).status
    };
    assert!([200, 204, 405].contains(&ask(0)));
    assert_eq!(stage.primary.count(), 0, "went on: {}", stage.wires());
    assert_eq!(ask(5), 200);
    assert_eq!(stage.primary.wait_for(1)[0].field("max-forwards"), Some("4"));
    assert_eq!(stage.mirror.wait_for(1)[0].field("max-forwards"), Some("4"));
}

#[test]
fn a_clients_claims_are_replaced_where_strangers_reach_us() {
    let primary = Origin::named("v1");
    let gateway = tests::Setup::new(&primary).with("[headers]\nforwarded = \"replace\"").start();
    let claims = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
                  Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-Port: 1\r\n\
                  X_Forwarded_For: 6.6.6.6\r\nX-Forwarded_For: 6.6.6.6\r\nX_Own: kept\r\n\
                  X_Forwarded_Tls_Client_Cert_Info: admin\r\nX_Forwarder_Of_A_Very_Long_Name: kept";
    assert_eq!(gateway.client().ask(with(claims)).status, 200);
    let request = &primary.wait_for(1)[0];
    assert_eq!(request.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.values("x-forwarded-proto"), ["http"]);
    assert_eq!(request.values("x-forwarded-host"), ["a"]);
    let gone = ["forwarded", "x-real-ip", "x-forwarded-port", "x_forwarded_for", "x-forwarded_for"];
    for name in gone.into_iter().chain(["x_forwarded_tls_client_cert_info"]) {
        assert!(request.values(name).is_empty(), "{name}");
    }
    assert_eq!(request.values("x_own"), ["kept"]);
    assert_eq!(request.values("x_forwarder_of_a_very_long_name"), ["kept"]);
}

#[test]
fn what_only_the_gateway_says_no_client_can_say() {
    let stage = Stage::plain();
    let claims = "X-Umbra-Primary-Status: 500\r\nx_umbra_primary_status: 500\r\nX-Umbra-Copy: 7\r\n\
                  X_Forwarded_For: 6.6.6.6\r\nX_Umbra_Mirror: v9";
    assert_eq!(stage.client().ask(with(claims)).status, 200);
    for request in [&stage.primary.wait_for(1)[0], &stage.mirror.wait_for(1)[0]] {
        for name in [
            "x-umbra-primary-status",
            "x_umbra_primary_status",
            "x-umbra-copy",
            "x_forwarded_for",
            "x_umbra_mirror",
        ] {
            assert!(request.values(name).is_empty(), "{name}");
        }
    }
}

/// F12, C8: however an upload ends early, neither wire carries a request that looks complete.
#[test]
fn an_upload_that_ends_early_is_complete_nowhere() {
    let stage = Stage::plain();
    let cuts: [(&str, String); 4] = [
        ("length", post("Content-Length: 100", &"x".repeat(50))),
        ("chunk", in_chunks("10\r\nabc")),
        ("between chunks", in_chunks("3\r\nabc\r\n")),
        ("in trailers", in_chunks("3\r\nabc\r\n0\r\nX: y\r\n")),
    ];
    let mut skipped = 0;
    for (what, bytes) in &cuts {
        for reset in [false, true] {
            let mut client = stage.client();
            client.send(bytes);
            skipped += 1;
            eventually(&format!("{what}: the primary gets a part"), || {
                stage.primary.connections() >= skipped
            });
            if reset {
                client.reset();
            } else {
                client.finish();
                if let Ok(answer) = client.try_response(false) {
                    assert!(answer.status >= 400, "{what}: answered {}", answer.status);
                }
            }
            eventually(&format!("{what}: the copy is given up, {}", stage.wires()), || {
                stage.gateway.metrics().mirror_by("v2", "skipped_total", "reason", "aborted")
                    == skipped as i64
            });
        }
    }
    stage.settled();
    eventually("the primary's connections end inside a request", || stage.primary.incomplete() == skipped);
    assert_eq!((stage.primary.count(), stage.mirror.count()), (0, 0), "{}", stage.wires());
}

/// U5: the client that waits is told to go on, by the primary or by us.
#[test]
fn a_client_that_expects_100_is_told_to_continue() {
    for relayed in [true, false] {
        let primary = Origin::scripted(move |conn| {
            while let Some(head) = conn.head() {
                assert!(head.to_ascii_lowercase().contains("\r\nexpect: 100-continue\r\n"), "{head}");
                if relayed {
                    conn.write("HTTP/1.1 100 Continue\r\n\r\n");
                }
                while conn.inbox.len() < 5 && conn.read() {}
                let content: Vec<u8> = conn.inbox.drain(..).collect();
                conn.write([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", content.as_slice()].concat());
            }
        });
        let stage = Stage::of(primary, Origin::named("v2"), "", |setup| setup);
        let mut client = stage.client();
        client.send(post("Content-Length: 5\r\nExpect: 100-continue", ""));
        eventually("100 Continue", || {
            client.receive();
            client.inbox.starts_with(b"HTTP/1.1 100 ") && client.inbox.ends_with(b"\r\n\r\n")
        });
        let answer = client.ask("hello");
        assert_eq!((answer.status, answer.text().as_str(), answer.interims), (200, "hello", vec![100]));
        let copy = &stage.mirror.wait_for(1)[0];
        assert_eq!(
            (copy.body.as_slice(), copy.field("expect")),
            (b"hello".as_slice(), None),
            "a copy never waits"
        );
        stage.settled();
    }
}

/// U6: a final answer instead of 100 is relayed; the client's bytes behind it are never another request.
#[test]
fn a_final_answer_instead_of_100_is_relayed_and_ends_the_connection() {
    for status in [417, 200, 401] {
        let primary = Origin::scripted(move |conn| {
            if conn.head().is_some() {
                conn.write(format!("HTTP/1.1 {status} No\r\nContent-Length: 2\r\n\r\nno"));
                conn.read_to_end();
            }
        });
        let stage = Stage::of(primary, Origin::named("v2"), "", |setup| setup);
        let mut client = stage.client();
        let answer = client.ask(post("Content-Length: 500\r\nExpect: 100-continue", ""));
        assert_eq!((answer.status, answer.text().as_str()), (status, "no"));
        let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
        client.send(hidden);
        assert!(client.is_closed(), "it goes on: {:?}", client.inbox);
        let metrics = stage.settled();
        assert_eq!(metrics.mirror_by("v2", "skipped_total", "reason", "aborted"), 1);
        assert_eq!(stage.mirror.count(), 0);
    }
}

/// U7: no interim answer for a client that cannot understand one.
#[test]
fn an_http_10_client_gets_no_interim_answer() {
    let primary = Origin::fixed(
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        After::Keep,
    );
    let gateway = tests::Setup::new(&primary).start();
    let request = "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok";
    let answer = gateway.client().ask(request);
    assert_eq!((answer.status, answer.interims), (200, vec![]));
}

/// Content of every size and framing arrives whole on both wires, in pieces of any size.
#[test]
fn content_arrives_whole_on_both_wires() {
    let stage = Stage::plain();
    let mut sent = 0;
    for size in [1, 100, 4096, 16 * 1024, 16 * 1024 + 1, 64 * 1024, 100_000, 300_000, 1 << 20] {
        let content = pattern(size);
        let length = format!("PUT /{size} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
        let coded = format!("PUT /{size} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let requests = [
            [length.as_bytes(), &content].concat(),
            [coded.as_bytes(), &chunked(&content, 10_000)].concat(),
            [coded.as_bytes(), &chunked(&content, 70_000)].concat(),
        ];
        for bytes in requests {
            let mut client = stage.client();
            // A byte short of a piece and in two: no boundary falls where a buffer ends.
            client.send_cut(&bytes, tests::Cut::At(bytes.len() / 2 - 1));
            assert_eq!(client.response().status, 200, "{size}");
            sent += 1;
            let (original, copy) = (stage.primary.wait_for(sent), stage.mirror.wait_for(sent));
            let (original, copy) = (&original[sent - 1], &copy[sent - 1]);
            assert!(original.body == content, "the primary's content of {size} differs");
            assert_eq!(tests::stage::difference(original, copy), None);
        }
    }
    stage.settled();
}

/// F13: answers come in the order of the requests although the second primary connection could be quicker.
#[test]
fn pipelined_requests_are_answered_in_order() {
    let gate = Gate::closed();
    let primary = Origin::new({
        let gate = gate.clone();
        move |request: &Request, stream| {
            if request.target == "/0" {
                gate.pass();
            }
            let body = &request.target;
            origin::write(stream, format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
        }
    });
    let stage = Stage::of(primary, Origin::named("v2"), "", |setup| setup);
    let mut client: Client = stage.client();
    let requests: Vec<String> = (0..20).map(|i| format!("GET /{i} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    client.send(requests.concat());
    stage.primary.wait_for(1);
    assert!(!client.hears_within(Duration::from_millis(50)), "an answer overtook");
    gate.open();
    for i in 0..20 {
        assert_eq!(client.response().text(), format!("/{i}"));
    }
    assert_eq!(stage.settled().mirror("v2", "completed_total"), 20);
}

#[test]
fn an_answer_to_head_has_no_content_whatever_is_the_matter() {
    let primary = Origin::named("v1");
    let gateway = tests::Setup::new(&primary).with("[limits]\nrequest_body_bytes_max = 4").start();
    for (lines, status) in [
        ("Expect: magic", 417),
        ("Content-Length: 5\r\n", 413),
        ("Transfer-Encoding: chunked\r\n\r\nzz", 400),
        ("Content-Length: a", 400),
    ] {
        let mut client = gateway.client();
        client.send(format!("HEAD / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\nhello"));
        assert_eq!(client.response_to_head().status, status, "{lines}");
        assert!(client.is_closed() && client.inbox.is_empty(), "{lines}: {:?}", client.inbox);
    }
    assert_eq!(primary.count(), 0);
}
