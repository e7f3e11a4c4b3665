//! Protocols of listeners, and limits of HTTP/2 connections.

use super::*;

fn protocols(keys: &str) -> Protocols {
    let text = format!("[[listener]]\nbind = \"127.0.0.1:0\"\n{keys}");
    accepted(&starting(&text)).config.listeners[0].protocols
}

#[test]
fn a_listener_speaks_http1_and_with_tls_both_unless_it_says_otherwise() {
    let tls = "tls = { certificates = [{ cert = \"a\", key = \"b\" }] }";
    let both = Protocols { http2: true, http1: true };
    assert_eq!(protocols(""), Protocols { http2: false, http1: true });
    assert_eq!(protocols(tls), both);
    assert_eq!(protocols("protocols = [\"http1\", \"h2\"]"), both);
    assert_eq!(protocols("protocols = [\"h2\"]"), Protocols { http2: true, http1: false });
    assert_eq!(
        protocols(&format!("protocols = [\"http1\"]\n{tls}")),
        Protocols { http2: false, http1: true }
    );
    let text = starting("[[listener]]\nbind = \"127.0.0.1:0\"\nprotocols = [\"h2\"]");
    let checked = accepted(&text);
    assert!(checked.config.takes_http2());
    assert_eq!(accepted(&checked.written.whole).config, checked.config);
}

#[test]
fn protocols_that_are_none_are_refused_with_their_line() {
    let listener = |keys: &str| starting(&format!("[[listener]]\nbind = \"127.0.0.1:0\"\n{keys}"));
    check(&listener("protocols = []"), &[(3, "listener[0].protocols", "a listener speaks something")]);
    check(
        &listener("protocols = [\"http2\"]"),
        &[(3, "listener[0].protocols[0]", "must be \"h2\" or \"http1\"")],
    );
    check(
        &listener("protocols = [\"h2\", \"h2\"]"),
        &[(3, "listener[0].protocols[1]", "\"h2\" stands here twice")],
    );
    check(&listener("protocols = \"h2\""), &[(3, "listener[0].protocols", "")]);
}

#[test]
fn every_bound_of_http2_has_bounds() {
    for (line, key, message) in [
        ("http2.streams_max = 0", "http2.streams_max", "must be from 1 to 65536"),
        ("http2.streams_per_address_max = 0", "http2.streams_per_address_max", "must be from 1"),
        ("http2.stream_window_bytes = \"63KiB\"", "http2.stream_window_bytes", "must be from 64KiB to 16MiB"),
        ("http2.queued_bytes_max = \"32MiB\"", "http2.queued_bytes_max", "must be from 16KiB to 16MiB"),
        ("http2.block_frames_max = 0", "http2.block_frames_max", "must be from 1 to 1024"),
        ("http2.resets_max = 1000001", "http2.resets_max", "must be from 0 to 1000000"),
        ("http2.requests_per_reset = 0", "http2.requests_per_reset", "must be from 1 to 1000000"),
        ("http2.settings_max = 0", "http2.settings_max", "must be from 1 to 10000"),
        ("http2.answers_unsent_max = 0", "http2.answers_unsent_max", "must be from 1 to 10000"),
        ("http2.idle_bytes_max = 10", "http2.idle_bytes_max", "must be from 1KiB to 1GiB"),
        ("http2.idle_bytes_per_second = \"2GiB\"", "http2.idle_bytes_per_second", "must be from 0B to 1GiB"),
        ("http2.ping_after = \"0s\"", "http2.ping_after", "must be from 1ms"),
        ("http2.ping_timeout = \"721h\"", "http2.ping_timeout", "out of range"),
        ("http2.pings = 1", "http2.pings", ""),
    ] {
        check(&starting(line), &[(1, key, message)]);
    }
    let text = starting("[http2]\nstream_bytes_max = \"1MiB\"\nresets_max = 7");
    let http2 = accepted(&text).config.http2;
    assert_eq!((http2.stream_bytes_max, http2.resets_max), (Some(1 << 20), 7));
}

#[test]
fn an_upstream_is_spoken_to_in_http1_unless_it_says_otherwise() {
    let with = |keys: &str| {
        format!("[upstream.v1]\nendpoints = [\"10.0.0.1:80\"]\n{keys}\n[[route]]\nprimary = \"v1\"\n")
    };
    let protocol = |keys: &str| {
        let checked = accepted(&with(keys));
        assert_eq!(accepted(&checked.written.whole).config, checked.config, "it is written as it was meant");
        checked.config.upstreams[0].protocol
    };
    assert_eq!(protocol(""), UpstreamProtocol::Http1);
    assert_eq!(protocol("protocol = \"h2\""), UpstreamProtocol::Http2);
    assert_eq!(protocol("protocol = \"h2\"\ntls = {}"), UpstreamProtocol::Http2);
    assert_eq!(protocol("protocol = \"alpn\"\ntls = {}"), UpstreamProtocol::Alpn);
    check(
        &with("protocol = \"alpn\""),
        &[(3, "upstream.v1.protocol", "is agreed upon in the TLS handshake: give tls")],
    );
    check(
        &with("protocol = \"http2\""),
        &[(3, "upstream.v1.protocol", "must be \"http1\", \"h2\" or \"alpn\"")],
    );
}

#[test]
fn a_mirror_may_speak_either_and_whoever_speaks_http2_alone_may_be_asked_for_its_health() {
    let with = |keys: &str| {
        format!(
            "[upstream.v1]\nendpoints = [\"10.0.0.1:80\"]\n[upstream.v2]\nendpoints = [\"10.0.0.2:80\"]\n{keys}\n\
             [[route]]\nprimary = \"v1\"\nmirrors = [{{ upstream = \"v2\" }}]\n"
        )
    };
    check(&with("protocol = \"h2\""), &[]);
    check(&with("protocol = \"alpn\"\ntls = {}"), &[]);
    let asked = "[upstream.v1]\nendpoints = [\"10.0.0.1:80\"]\nprotocol = \"h2\"\nhealth = { path = \"/\" }\n\
                 [[route]]\nprimary = \"v1\"\n";
    check(asked, &[]);
}
