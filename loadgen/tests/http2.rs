//! `loadgen` over HTTP/2 from outside: do its figures agree with every stream?

mod common;

use std::time::{Duration, Instant};

use common::{Server, number, run_json, wait_until};
use serde_json::Value;

fn run(server: &Server, port: &str, more: &[&str]) -> Value {
    run_json(&[&[server.url(port, "/").as_str(), "--http2"], more].concat()).1
}

fn failed_as(document: &Value) -> Vec<&str> {
    let errors = document["errors"].as_object().expect("errors");
    errors.keys().map(String::as_str).collect()
}

#[test]
fn streams_of_one_connection_run_at_once() {
    let server = Server::start(&["v,delay=400ms"]);
    let begin = Instant::now();
    let document = run(&server, "v", &["--streams", "8", "-c", "1", "--closed", "-n", "16"]);
    assert_eq!(number(&document, "requests.ok"), 16.0, "{}", document["errors"]);
    assert_eq!(server.counters("v").connections, 1);
    assert!(number(&document, "response_us.min") >= 399_000.0, "{}", document["response_us"]);
    assert!(begin.elapsed() < Duration::from_secs(5), "one after the other they take 6.4 s");
}

#[test]
fn an_open_loop_over_streams_shows_a_freeze_in_its_percentiles() {
    let server = Server::start(&["v"]);
    let args = ["--rate", "1k", "-d", "3s", "-c", "2", "--streams", "16"];
    let document = std::thread::scope(|scope| {
        let load = scope.spawn(|| run(&server, "v", &args));
        wait_until("the run is under way", || server.counters("v").requests > 500);
        server.set_fault("v", "hold");
        std::thread::sleep(Duration::from_secs(1));
        server.set_fault("v", "none");
        load.join().expect("the run ends")
    });
    assert_eq!(number(&document, "requests.total"), 3000.0);
    assert!(number(&document, "response_us.p99") > 850_000.0, "{}", document["response_us"]);
    assert!(number(&document, "dispatch_us.p99") > 700_000.0, "most of them found no stream free");
}

#[test]
fn a_reset_stream_costs_its_siblings_nothing() {
    let server = Server::start(&["v,size=1000"]);
    let url = [server.url("v", "/"), server.url("v", "/?size=0")];
    server.set_fault("v", "reset_at=500");
    let args = [&url[0], &url[1], "--http2", "--streams", "8", "-c", "1", "--closed", "-n", "80"];
    let (_, document) = run_json(&args);
    assert_eq!(failed_as(&document), ["stream_reset"]);
    let ok = number(&document, "requests.ok");
    assert!(ok > 0.0 && ok + number(&document, "requests.errors") == 80.0);
    assert_eq!(server.counters("v").connections, 1, "the connection lives on");
}

#[test]
fn a_goaway_ends_the_connection_and_the_next_request_has_a_new_one() {
    let server = Server::start(&["v,size=1000"]);
    server.set_fault("v", "goaway_at=500");
    let document = run(&server, "v", &["-c", "1", "--closed", "-n", "3"]);
    assert_eq!(failed_as(&document), ["goaway"]);
    server.set_fault("v", "none");
    let document = run(&server, "v", &["-c", "1", "--closed", "-n", "3"]);
    assert_eq!(number(&document, "requests.ok"), 3.0);

    server.set_behavior("v", "requests_per_connection_max=5");
    let document = run(&server, "v", &["-c", "1", "--closed", "-n", "20"]);
    assert!(number(&document, "requests.ok") >= 17.0, "{}", document["errors"]);
    assert!(server.counters("v").connections >= 5);
}

#[test]
fn a_window_that_never_opens_is_a_timeout_of_requests_with_content_alone() {
    let server = Server::start(&["v,fault=zero_window"]);
    let common = ["-c", "1", "--closed", "-n", "1", "--timeout", "300ms"];
    // More than may be sent before the peer's settings are known.
    let document = run(&server, "v", &[&common[..], &["--body-size", "100k"]].concat());
    assert_eq!(failed_as(&document), ["timeout"]);
    assert_eq!(number(&run(&server, "v", &common), "requests.ok"), 1.0);
}

#[test]
fn a_window_that_a_fault_had_shut_opens_with_the_next_request_after_it() {
    let server = Server::start(&["v,fault=zero_window"]);
    let args = ["--rate", "50", "-d", "4s", "-c", "1", "--streams", "64", "--body-size", "100k"];
    let document = std::thread::scope(|scope| {
        let load = scope.spawn(|| run(&server, "v", &args));
        wait_until("the connection is made", || server.counters("v").connections > 0);
        std::thread::sleep(Duration::from_millis(500));
        server.set_fault("v", "none");
        load.join().expect("the run ends")
    });
    assert!(number(&document, "requests.ok") > 100.0, "{}", document["errors"]);
    assert_eq!(server.counters("v").connections, 1, "it is the one that was shut");
}

#[test]
fn a_connection_that_ends_within_an_answer_is_told() {
    let server = Server::start(&["v,size=1000"]);
    for fault in ["close_at=500", "truncate_at=500"] {
        server.set_fault("v", fault);
        let document = run(&server, "v", &["-c", "1", "--closed", "-n", "2", "--streams", "2"]);
        assert_eq!(failed_as(&document), ["closed_early"], "{fault}");
    }
    server.set_fault("v", "garbage");
    let document = run(&server, "v", &["-c", "1", "--closed", "-n", "1"]);
    assert_eq!(failed_as(&document), ["bad_http2"]);
    server.set_fault("v", "bad_framing=long_cl");
    let document = run(&server, "v", &["-c", "1", "--closed", "-n", "1"]);
    assert_eq!(number(&document, "requests.ok"), 0.0);
}

#[test]
fn connections_that_die_are_made_again_and_no_request_is_lost() {
    let server = Server::start(&["v"]);
    let args = ["--rate", "250", "-d", "4s", "-c", "2", "--streams", "4"];
    let document = std::thread::scope(|scope| {
        let load = scope.spawn(|| run(&server, "v", &args));
        for turn in 1..=4 {
            wait_until("the run is under way", || server.counters("v").requests > turn * 150);
            server.set_fault("v", "refuse");
            server.set_fault("v", "none");
            wait_until("they are made again", || server.counters("v").requests > turn * 150 + 50);
        }
        load.join().expect("the run ends")
    });
    assert!(number(&document, "requests.connects") > 2.0, "connections died");
    assert_eq!(number(&document, "requests.due"), 1000.0);
    assert_eq!(number(&document, "requests.total"), 1000.0);
    assert!(document["errors"].get("unfinished").is_none(), "{}", document["errors"]);
}

#[test]
fn large_contents_pass_whole_both_ways() {
    let server = Server::start(&["v,size=3M"]);
    let more = ["--body-size", "2M", "-H", "x-loadgen-id: large", "--streams", "4"];
    let document = run(&server, "v", &[&["-c", "2", "--closed", "-n", "16"], &more[..]].concat());
    assert_eq!(number(&document, "requests.ok"), 16.0, "{}", document["errors"]);
    assert!(number(&document, "bytes_in") > 48e6 && number(&document, "bytes_out") > 32e6);
    let log = server.log("v");
    assert!(log.len() == 16 && log.iter().all(|a| a.complete && a.body_bytes == 2 << 20));
    server.set_behavior("v", "echo");
    let document = run(&server, "v", &["-c", "1", "--closed", "-n", "2", "--body-size", "1M"]);
    assert!(number(&document, "bytes_in") > 2e6, "the echo came back");
}

#[test]
fn https_speaks_http2_where_the_origin_does_and_says_where_it_does_not() {
    let server = Server::start(&["both,tls", "old,tls=http1", "new,tls=h2"]);
    let ask = |port: &str, more: &[&str]| {
        let url = server.https(port, "/");
        run_json(&[&[url.as_str(), "--insecure", "-c", "2", "--closed", "-n", "8"], more].concat()).1
    };
    for port in ["both", "new"] {
        let document = ask(port, &["--http2", "--streams", "2"]);
        assert_eq!(number(&document, "requests.ok"), 8.0, "{port}: {}", document["errors"]);
        assert_eq!(number(&document, "handshakes.full") + number(&document, "handshakes.resumed"), 2.0);
    }
    assert_eq!(number(&ask("both", &[]), "requests.ok"), 8.0, "HTTP/1.1 is offered as well");
    assert_eq!(failed_as(&ask("old", &["--http2"])), ["handshake"]);
}

#[test]
fn grpc_calls_are_counted_by_their_status_wherever_it_stands() {
    let server = Server::start(&["v,size=10"]);
    let grpc = ["--grpc", "-c", "1", "--streams", "4", "--closed", "-n", "40", "--body-hex", "0a 03 616263"];
    let document = run(&server, "v", &grpc);
    assert_eq!(number(&document, "requests.ok"), 40.0, "{}", document["errors"]);
    assert_eq!(document["grpc_statuses"], serde_json::json!({"0": 40}));
    assert_eq!(number(&document, "messages_in"), 40.0);

    server.set_behavior("v", "grpc_status=0:1+13:1");
    let document = run(&server, "v", &grpc);
    assert_eq!(failed_as(&document), ["grpc_status"]);
    let internal = number(&document, "grpc_statuses.13");
    assert_eq!(internal, number(&document, "requests.errors"));
    assert!((1.0..40.0).contains(&internal));

    server.set_fault("v", "no_trailers");
    assert_eq!(failed_as(&run(&server, "v", &grpc)), ["grpc_incomplete"]);
    server.set_fault("v", "reset_at=7");
    assert_eq!(failed_as(&run(&server, "v", &grpc)), ["stream_reset"]);
}

#[test]
fn grpc_streams_carry_as_many_messages_as_were_sent() {
    let server = Server::start(&["echo,echo", "many,size=5,messages=500"]);
    let grpc = ["--grpc", "-c", "1", "--streams", "2", "--closed", "-n", "4", "--body-size", "32"];
    let document = run(&server, "echo", &[&grpc[..], &["--messages", "2000"]].concat());
    assert_eq!(number(&document, "requests.ok"), 4.0, "{}", document["errors"]);
    assert_eq!(number(&document, "messages_in"), 8000.0);
    let document = run(&server, "many", &grpc);
    assert_eq!(number(&document, "messages_in"), 2000.0);
}
