//! Frames where they do not belong (RFC 9113 §5.1, §6), the ways out of a connection, and the effects of time.

use gateway::http2::frame::Code;
use gateway::http2::guard::Limits;
use gateway::http2::session::{Close, Event, Role, What, Why};

use crate::wire::*;

const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;

#[derive(Debug, PartialEq, Eq)]
enum Expect {
    Nothing,
    Stream(u32, u32),
    Connection(u32),
}
use Expect::{Connection, Nothing, Stream};

/// A connection with streams in every state: 1 open, 3 half-closed by the client, 5 answered and over, 7 reset by the client, 9 reset
/// by us.
fn connection() -> Peer {
    let mut peer = Peer::client();
    peer.send(&headers(1, 0, &POST)).send(&headers(3, END, &GET)).send(&headers(5, END, &GET));
    peer.answer(5, "HTTP/1.1 200 x\r\n\r\n", true);
    peer.send(&headers(7, 0, &POST)).send(&frame(RST_STREAM, 0, 7, &8u32.to_be_bytes()));
    peer.send(&headers(9, 0, &POST));
    peer.session.queue(9, What::Reset(Code::Internal), 0).unwrap();
    [5, 7, 9].into_iter().for_each(|id| peer.session.release(id));
    peer.said();
    peer.events.clear();
    assert_eq!(peer.session.streams(), 2);
    peer
}

#[track_caller]
fn check(frames: &[Vec<u8>], expect: Expect) {
    let mut peer = connection();
    for frame in frames {
        peer.send(frame);
    }
    let ends = peer.ends();
    let seen = match (ends.resets.as_slice(), &ends.goaway) {
        ([], None) => Nothing,
        ([(id, code)], None) => Stream(*id, *code),
        (_, Some((_, code, _))) => Connection(*code),
        (many, None) => panic!("{many:?}"),
    };
    assert_eq!(seen, expect, "{frames:?}");
    // The stream's holder is told, once.
    let told = peer
        .events
        .iter()
        .filter(|event| matches!(event, Event::Reset { .. } | Event::Malformed { .. }))
        .count();
    assert_eq!(told, usize::from(matches!(expect, Stream(..))), "{:?}", peer.events);
    assert_eq!(peer.session.is_closed(), matches!(expect, Connection(_)));
}

#[test]
fn data_belongs_to_an_open_stream() {
    check(&[frame(DATA, 0, 1, b"x")], Nothing);
    check(&[frame(DATA, 0, 3, b"x")], Stream(3, STREAM_CLOSED));
    check(&[frame(DATA, 0, 5, b"x")], Connection(STREAM_CLOSED));
    check(&[frame(DATA, 0, 7, b"x")], Connection(STREAM_CLOSED));
    check(&[frame(DATA, END, 9, b"x")], Nothing);
    check(&[frame(DATA, 0, 11, b"x")], Connection(PROTOCOL));
    check(&[frame(DATA, 0, 2, b"x")], Connection(PROTOCOL));
    check(&[frame(DATA, 0, 0, b"x")], Connection(PROTOCOL));
    check(&[frame(DATA, 8, 1, b"")], Connection(FRAME_SIZE));
    check(&[frame(DATA, 8, 1, b"\x01")], Connection(PROTOCOL));
    check(&[frame(DATA, 8, 1, b"\x05abcd")], Connection(PROTOCOL));
    check(&[frame(DATA, 8, 1, b"\x05abcde")], Nothing);
    check(&[frame(DATA, END, 1, b""), frame(DATA, END, 1, b"")], Stream(1, STREAM_CLOSED));
}

#[test]
fn headers_open_streams_in_order_or_end_those_that_are_open() {
    check(&[headers(11, 0, &GET)], Nothing);
    check(&[headers(1, END, &[("x", "y")])], Nothing);
    check(&[headers(3, END, &[("x", "y")])], Stream(3, STREAM_CLOSED));
    check(&[headers(5, END, &GET)], Connection(STREAM_CLOSED));
    check(&[headers(7, END, &GET)], Connection(STREAM_CLOSED));
    check(&[headers(9, END, &[("x", "y")])], Nothing);
    check(&[headers(21, END, &GET), headers(19, END, &GET)], Connection(PROTOCOL));
    check(&[headers(0, END, &GET)], Connection(PROTOCOL));
    check(&[headers(12, END, &GET)], Connection(PROTOCOL));
    check(&[frame(HEADERS, WHOLE | 8, 11, b"")], Connection(FRAME_SIZE));
    check(&[frame(HEADERS, WHOLE | 8, 11, b"\x09\x82")], Connection(PROTOCOL));
    check(&[frame(HEADERS, WHOLE | 0x20, 11, b"\0\0\0\0")], Connection(FRAME_SIZE));
    let with_priority = |on: u32| [&on.to_be_bytes()[..], &[7], &block(&GET)].concat();
    check(&[frame(HEADERS, WHOLE | 0x20 | END, 11, &with_priority(1))], Nothing);
    check(&[frame(HEADERS, WHOLE | 0x20 | END, 11, &with_priority(11))], Stream(11, PROTOCOL));
    let padded = [&[3][..], &block(&GET), &[0; 3]].concat();
    check(&[frame(HEADERS, WHOLE | 8 | END, 11, &padded)], Nothing);
}

#[test]
fn nothing_comes_between_the_frames_of_a_block() {
    let first = frame(HEADERS, END, 11, b"\x82");
    check(&[first.clone(), frame(CONTINUATION, WHOLE, 11, &block(&GET[1..]))], Nothing);
    check(&[first.clone(), frame(CONTINUATION, WHOLE, 1, b"")], Connection(PROTOCOL));
    for other in [frame(DATA, 0, 1, b""), frame(PING, 0, 0, &[0; 8]), frame(0x99, 0, 0, b""), first.clone()] {
        check(&[first.clone(), other], Connection(PROTOCOL));
    }
    check(&[frame(CONTINUATION, WHOLE, 1, b"")], Connection(PROTOCOL));
}

#[test]
fn every_frame_has_its_size_and_its_stream() {
    check(&[frame(PRIORITY, 0, 0, &[0, 0, 0, 3, 1])], Connection(PROTOCOL));
    check(&[frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1])], Nothing);
    check(&[frame(PRIORITY, 0, 99, &[0, 0, 0, 3, 1])], Nothing);
    check(&[frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 1])], Stream(1, PROTOCOL));
    check(&[frame(PRIORITY, 0, 1, &[0; 4])], Stream(1, FRAME_SIZE));
    check(&[frame(RST_STREAM, 0, 0, &[0; 4])], Connection(PROTOCOL));
    check(&[frame(RST_STREAM, 0, 11, &[0; 4])], Connection(PROTOCOL));
    check(&[frame(RST_STREAM, 0, 1, &[0; 3])], Connection(FRAME_SIZE));
    check(&[frame(RST_STREAM, 0, 5, &[0; 4])], Nothing);
    check(&[frame(SETTINGS, 0, 1, &[])], Connection(PROTOCOL));
    check(&[frame(SETTINGS, 0, 0, &[0; 5])], Connection(FRAME_SIZE));
    check(&[frame(SETTINGS, 1, 0, &[0; 6])], Connection(FRAME_SIZE));
    check(&[frame(SETTINGS, 1, 0, &[])], Nothing);
    check(&[frame(PUSH_PROMISE, WHOLE, 1, &[0, 0, 0, 2])], Connection(PROTOCOL));
    check(&[frame(PING, 0, 1, &[0; 8])], Connection(PROTOCOL));
    check(&[frame(PING, 0, 0, &[0; 7])], Connection(FRAME_SIZE));
    check(&[frame(PING, 1, 0, &[0; 8])], Nothing);
    check(&[frame(GOAWAY, 0, 1, &[0; 8])], Connection(PROTOCOL));
    check(&[frame(GOAWAY, 0, 0, &[0; 7])], Connection(FRAME_SIZE));
    check(&[frame(GOAWAY, 0, 0, &[0; 8])], Nothing);
    check(&[frame(WINDOW_UPDATE, 0, 1, &[0; 3])], Connection(FRAME_SIZE));
    check(&[frame(WINDOW_UPDATE, 0, 0, &[0; 4])], Connection(PROTOCOL));
    check(&[frame(WINDOW_UPDATE, 0, 11, &[0, 0, 0, 1])], Connection(PROTOCOL));
    check(&[frame(WINDOW_UPDATE, 0, 5, &[0, 0, 0, 1])], Nothing);
    check(&[frame(0x77, 0xff, 0x7fff_ffff, &[1; 100])], Nothing);
    check(&[frame(0x77, 0, 0, &[0; 16_384])], Nothing);
    check(&[frame(0x77, 0, 0, &[0; 16_385])], Connection(FRAME_SIZE));
    // The reserved bit is nothing.
    check(&[frame(DATA, 0, 0x8000_0001, b"x")], Nothing);
}

#[test]
fn settings_are_within_their_bounds() {
    let set = |name: u16, value: u32| {
        frame(SETTINGS, 0, 0, &[&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
    };
    for (name, value, expect) in [
        (1, u32::MAX, Nothing),
        (2, 1, Nothing),
        (2, 2, Connection(PROTOCOL)),
        (3, 0, Nothing),
        (4, 0x7fff_ffff, Nothing),
        (4, 0x8000_0000, Connection(FLOW_CONTROL)),
        (5, 16_383, Connection(PROTOCOL)),
        (5, 16_384, Nothing),
        (5, 1 << 24, Connection(PROTOCOL)),
        (6, 0, Nothing),
        (8, 2, Connection(PROTOCOL)),
        (9, 1, Nothing),
        (9, 2, Connection(PROTOCOL)),
        (0x99, 7, Nothing),
    ] {
        check(&[set(name, value)], expect);
    }
    let mut peer = connection();
    peer.send(&set(1, 0));
    peer.answer(3, "HTTP/1.1 200 x\r\n\r\n", true);
    let frames = peer.said();
    assert_eq!((frames[0].kind, frames[0].flags), (SETTINGS, 1));
    // A smaller table is acknowledged in the next block (RFC 7541 §4.2), once.
    assert_eq!(frames[1].payload, [0x20, 0x88]);
    peer.answer(1, "HTTP/1.1 200 x\r\n\r\n", true);
    assert_eq!(peer.said()[0].payload, [0x88]);
    // A client of ours takes no push.
    let mut server = Peer::server();
    server.send(&set(2, 1));
    assert_eq!(server.ends().code(), Some(PROTOCOL));
}

#[test]
fn settings_come_first() {
    for first in [headers(1, END, &GET), frame(SETTINGS, 1, 0, &[]), frame(PING, 0, 0, &[0; 8])] {
        let mut peer = Peer::silent(Role::Server, Limits::default());
        peer.said();
        peer.send(&[PREFACE, &first].concat());
        assert_eq!(peer.ends().code(), Some(PROTOCOL));
        let mut server = Peer::silent(Role::Client, Limits::default());
        server.session.take(Vec::new(), 0);
        server.send(&first);
        assert_eq!(server.ends().code(), Some(PROTOCOL));
    }
}

#[test]
fn a_server_opens_no_stream_and_answers_only_what_was_asked() {
    for (bytes, code) in [
        (headers(2, END, &[(":status", "200")]), PROTOCOL),
        (headers(3, END, &[(":status", "200")]), PROTOCOL),
        (frame(PUSH_PROMISE, WHOLE, 1, &[0, 0, 0, 2]), PROTOCOL),
        (frame(DATA, 0, 3, b"x"), PROTOCOL),
        (frame(RST_STREAM, 0, 3, &[0; 4]), PROTOCOL),
    ] {
        let mut server = Peer::server();
        server.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true);
        server.said();
        server.send(&bytes);
        assert_eq!(server.ends().code(), Some(code), "{bytes:?}");
    }
    let mut server = Peer::server();
    server.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true);
    server.said();
    server.send(&frame(DATA, 0, 1, b"x"));
    assert_eq!(server.ends().resets, [(1, PROTOCOL)]);
}

#[test]
fn a_drain_lets_in_what_is_on_its_way_and_ends_with_the_last_stream() {
    for by_ping in [true, false] {
        let mut peer = connection();
        peer.session.drain(0);
        let frames = peer.said();
        assert_eq!(&frames[0].payload[..4], &[0x7f, 0xff, 0xff, 0xff]);
        let ping = frames.iter().find(|frame| frame.kind == PING).unwrap().payload.clone();
        peer.send(&headers(11, END, &GET));
        assert!(matches!(peer.event(), Event::Head { stream: 11, .. }));
        if by_ping {
            peer.send(&frame(PING, 1, 0, &ping));
        } else {
            peer.tick(1_000);
        }
        assert_eq!(peer.ends().goaway, Some((11, 0, String::new())));
        // Behind the last nothing is looked at, and nothing is wrong with it either.
        peer.events.clear();
        peer.send(&headers(13, 0, &POST)).send(&frame(DATA, END, 13, b"x"));
        assert!(peer.events.is_empty() && peer.ends() == Ends::default());
        for id in [1, 3, 11] {
            assert!(!peer.session.is_closed());
            peer.answer(id, "HTTP/1.1 200 x\r\n\r\n", true);
            peer.session.release(id);
        }
        peer.said();
        assert_eq!(peer.events.last(), Some(&Event::Closed(Close::Done)));
    }
}

#[test]
fn after_so_many_streams_a_connection_drains() {
    let mut peer = Peer::client_with(Limits { streams_total_max: 2, ..Limits::default() });
    peer.send(&headers(1, END, &GET));
    assert_eq!(peer.ends().goaway, None);
    peer.send(&headers(3, END, &GET));
    assert_eq!(peer.ends().goaway, Some((0x7fff_ffff, 0, String::new())));
}

#[test]
fn more_streams_than_may_be_are_refused_and_may_be_sent_again() {
    let mut peer = Peer::client_with(Limits { streams_max: 2, ..Limits::default() });
    [1, 3, 5].into_iter().for_each(|id| peer.session.feed(&headers(id, END, &GET), 0));
    peer.collect();
    assert_eq!(peer.ends().resets, [(5, 7)]);
    assert_eq!(peer.events.len(), 2);
}

#[test]
fn an_idle_connection_ends_and_a_silent_one_is_asked() {
    let mut peer = Peer::client_with(Limits { ping_after_ms: 0, ..Limits::default() });
    peer.send(&headers(1, END, &GET)).tick(200_000);
    peer.answer(1, "HTTP/1.1 200 x\r\n\r\n", true);
    peer.session.release(1);
    peer.events.clear();
    peer.tick(74_999);
    assert!(peer.events.is_empty());
    peer.tick(1);
    assert_eq!(peer.events.last(), Some(&Event::Closed(Close::Done)));
    assert_eq!(peer.ends().code(), Some(0));

    let mut server = Peer::server();
    server.tick(60_000);
    assert!(server.said_of(PING).is_empty(), "without streams nobody is asked");
    server.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true);
    server.said();
    server.tick(14_999);
    assert!(server.said_of(PING).is_empty());
    server.tick(1);
    assert_eq!(server.said_of(PING).len(), 1);
    // Any byte is an answer.
    server.tick(9_999).send(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).tick(15_000);
    assert_eq!(server.said_of(PING).len(), 1);
    server.tick(10_000);
    assert_eq!(server.event(), Event::Closed(Close::Lifeless));
}

#[test]
fn who_holds_a_stream_that_the_client_left_is_told_why() {
    let mut peer = connection();
    peer.send(&frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()));
    assert_eq!(peer.event(), Event::Reset { stream: 1, why: Why::Peer(Code::Cancel) });
    assert!(peer.session.queue(1, What::Copied(b"x"), 0).is_err());
    assert_eq!(peer.session.streams(), 2);
    peer.session.release(1);
    assert_eq!((peer.session.streams(), peer.ends()), (1, Ends::default()));
}

#[test]
fn who_holds_a_stream_is_told_once_that_it_ended() {
    let reset = frame(RST_STREAM, 0, 1, &8u32.to_be_bytes());
    let itself = frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 0]);
    for again in [&reset, &itself, &frame(WINDOW_UPDATE, 0, 1, &[0; 4]), &headers(1, END, &[("x", "y")])] {
        for first in [&reset, &itself] {
            let mut peer = connection();
            peer.send(first).send(again);
            // Behind the peer's own reset HEADERS end the connection.
            peer.events.retain(|event| !matches!(event, Event::Closed(_)));
            assert!(matches!(peer.event(), Event::Reset { stream: 1, .. }));
        }
    }
    // A stream that was complete on both sides takes no more frames.
    let mut peer = connection();
    peer.answer(3, "HTTP/1.1 200 x\r\n\r\n", true);
    peer.send(&frame(DATA, 0, 3, b"x"));
    assert_eq!((peer.ends().resets, peer.events.len()), (vec![(3, STREAM_CLOSED)], 0));
    // Of two that a GOAWAY leaves behind, the one that was reset is not told again.
    let mut server = Peer::server();
    (0..2).for_each(|_| assert!(server.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true) > 0));
    server.send(&frame(RST_STREAM, 0, 1, &[0; 4])).send(&frame(GOAWAY, 0, 0, &[0; 8]));
    let told: Vec<_> = server.events.iter().filter(|event| matches!(event, Event::Reset { .. })).collect();
    assert_eq!(told.len(), 2);
}

#[test]
fn frames_behind_a_peers_own_reset_end_the_connection_though_the_exchange_goes_on() {
    for behind in [frame(DATA, END, 1, b"x"), headers(1, END, &[("x", "y")])] {
        for released in [false, true] {
            let mut peer = Peer::client();
            peer.send(&headers(1, 0, &POST)).send(&frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()));
            if released {
                peer.session.release(1);
            }
            peer.send(&behind);
            peer.collect();
            assert_eq!(peer.ends().code(), Some(5), "{released}");
        }
        // Ours may have crossed them.
        let mut peer = Peer::client();
        peer.send(&headers(1, 0, &POST));
        peer.session.queue(1, What::Reset(Code::Cancel), 0).unwrap();
        peer.send(&behind);
        assert!(!peer.session.is_closed());
    }
}
