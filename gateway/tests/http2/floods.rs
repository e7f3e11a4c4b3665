//! The attacks of the last years, one by one, up to the limit that answers them; and honest peers beside each, which it must not
//! touch.

use bytes::Bytes;
use gateway::http2::guard::{
    ANSWERS_UNSENT_MAX, BLOCK_FRAMES_MAX, Flood, IDLE_BYTES_MAX, Limits, RESETS_MAX, SETTINGS_MAX,
};
use gateway::http2::session::{Close, Event, Role, What, Why};

use crate::wire::*;

const CALM: u32 = 11;

/// The connection ended, and why.
#[track_caller]
fn ended(peer: &mut Peer, flood: Flood) {
    let closed = Event::Closed(Close::Flood(flood));
    assert_eq!(peer.events.last(), Some(&closed));
    let (_, code, why) = peer.ends().goaway.expect("a GOAWAY");
    assert_eq!((code, why.as_str()), (CALM, flood.name()));
    assert!(peer.session.is_closed());
}

fn id(n: usize) -> u32 {
    2 * n as u32 + 1
}

/// The task of a stream ends as soon as it hears that the stream did.
fn release_all(peer: &mut Peer) {
    for event in std::mem::take(&mut peer.events) {
        match event {
            Event::Reset { stream, .. } => peer.session.release(stream),
            closed @ Event::Closed(_) => peer.events.push(closed),
            _ => {}
        }
    }
}

#[test]
fn rapid_reset_ends_the_connection_and_a_client_that_cancels_one_in_five_goes_on() {
    let mut peer = Peer::client();
    for n in 0..=RESETS_MAX as usize {
        assert!(!peer.session.is_closed(), "closed after {n}");
        peer.send(&headers(id(n), END, &GET)).send(&frame(RST_STREAM, 0, id(n), &8u32.to_be_bytes()));
        release_all(&mut peer);
    }
    ended(&mut peer, Flood::Resets);

    let mut peer = Peer::client();
    for n in 0..2_000 {
        peer.send(&headers(id(n), END, &GET));
        if n % 5 == 0 {
            peer.send(&frame(RST_STREAM, 0, id(n), &8u32.to_be_bytes()));
        } else {
            peer.answer(id(n), "HTTP/1.1 200 x\r\n\r\n", true);
        }
        peer.session.release(id(n));
        peer.events.clear();
        peer.said();
    }
    assert!(!peer.session.is_closed());
}

#[test]
fn tunnels_that_their_client_closes_by_a_reset_are_no_flood() {
    let mut peer = Peer::client();
    for n in 0..=2 * RESETS_MAX as usize {
        peer.send(&headers(id(n), 0, &GET));
        peer.answer(id(n), "HTTP/1.1 200 x\r\n\r\n", false);
        peer.session.be_tunnel(id(n), true, 0);
        // Its response has ended already, or has not.
        peer.session.be_tunnel(id(n), n % 2 == 0, 0);
        peer.send(&frame(RST_STREAM, 0, id(n), &8u32.to_be_bytes()));
        release_all(&mut peer);
        peer.said();
        assert!(!peer.session.is_closed(), "closed after {n}");
    }
}

#[test]
fn a_stream_counts_until_its_exchange_has_ended_not_until_its_reset() {
    let mut peer = Peer::client_with(Limits { streams_max: 4, ..Limits::default() });
    for n in 0..4 {
        peer.send(&headers(id(n), END, &GET)).send(&frame(RST_STREAM, 0, id(n), &8u32.to_be_bytes()));
    }
    peer.events.clear();
    peer.send(&headers(9, END, &GET));
    assert_eq!((peer.ends().resets, peer.events.len()), (vec![(9, 7)], 0));
    peer.session.release(1);
    peer.send(&headers(11, END, &GET));
    assert!(matches!(peer.event(), Event::Head { stream: 11, .. }));
}

#[test]
fn resets_that_a_peer_provokes_are_its_own() {
    type Provoke = fn(u32) -> Vec<u8>;
    let ways: [Provoke; 7] = [
        |id| frame(WINDOW_UPDATE, 0, id, &[0; 4]),
        |id| {
            [
                frame(WINDOW_UPDATE, 0, id, &[0x7f, 0xff, 0xff, 0xff]),
                frame(WINDOW_UPDATE, 0, id, &[0, 0, 0, 1]),
            ]
            .concat()
        },
        |id| frame(DATA, END, id, b"x"),
        |id| headers(id, END, &[("x", "y")]),
        |id| frame(PRIORITY, 0, id, &[0; 4]),
        |id| frame(PRIORITY, 0, id, &[&id.to_be_bytes()[..], &[0]].concat()),
        |id| headers(id + 2, END, &[(":method", "GET")]),
    ];
    for (way, provoke) in ways.iter().enumerate() {
        let mut peer = Peer::client();
        for n in 0..=RESETS_MAX as usize {
            assert!(!peer.session.is_closed(), "way {way} closed after {n}");
            peer.send(&headers(id(2 * n), END, &GET)).send(&provoke(id(2 * n)));
            peer.session.release(id(2 * n));
            release_all(&mut peer);
            peer.now += 5;
        }
        peer.collect();
        let all = peer.ends();
        assert_eq!(all.code(), Some(CALM), "way {way}");
    }
}

#[test]
fn a_block_has_few_frames_none_empty_but_the_last() {
    let block = block(&GET);
    // As many as may be, the last of them empty.
    let mut peer = Peer::client();
    peer.send(&frame(HEADERS, END, 1, &block[..1]));
    for n in 1..BLOCK_FRAMES_MAX as usize - 1 {
        let to = if n as u32 == BLOCK_FRAMES_MAX - 2 { block.len() } else { n + 1 };
        peer.send(&frame(CONTINUATION, 0, 1, &block[n..to]));
    }
    peer.send(&frame(CONTINUATION, WHOLE, 1, b""));
    assert!(matches!(peer.event(), Event::Head { stream: 1, .. }));

    let mut peer = Peer::client();
    peer.send(&frame(HEADERS, END, 1, &block[..1])).send(&frame(CONTINUATION, 0, 1, b""));
    ended(&mut peer, Flood::Continuations);

    let mut peer = Peer::client();
    peer.send(&frame(HEADERS, END, 1, &block[..1]));
    peer.send_times(BLOCK_FRAMES_MAX as usize, &frame(CONTINUATION, 0, 1, b"\0"));
    ended(&mut peer, Flood::Continuations);
}

#[test]
fn a_block_is_bounded_in_bytes_and_in_time() {
    let mut peer = Peer::client_with(Limits { head_bytes_max: 4096, ..Limits::default() });
    peer.send(&frame(HEADERS, END, 1, &[0; 10_000])).send(&frame(CONTINUATION, 0, 1, &[0; 10_000]));
    ended(&mut peer, Flood::BlockBytes);
    let mut peer = Peer::client_with(Limits { head_bytes_max: 1024, ..Limits::default() });
    peer.send(&frame(HEADERS, WHOLE, 1, &[0; 10_000]));
    ended(&mut peer, Flood::BlockBytes);

    let mut peer = Peer::client();
    peer.send(&frame(HEADERS, END, 1, b"\x82")).tick(9_999);
    assert!(!peer.session.is_closed());
    peer.send(&frame(CONTINUATION, 0, 1, b"\x86")).tick(1);
    ended(&mut peer, Flood::Slow);
}

#[test]
fn one_byte_references_are_counted_while_they_are_decoded() {
    // The bomb: an entry of 4,000 bytes in the table, then a byte for each time it is meant.
    let mut entry = block(&GET);
    entry.extend(b"\x40\x01x\x7f\xa1\x1e");
    entry.extend([b'y'; 4000]);
    let mut peer = Peer::client();
    peer.send(&frame(HEADERS, WHOLE | END, 1, &entry));
    assert!(matches!(peer.event(), Event::Head { .. }));
    let bomb = |times| [block(&GET), vec![0x80 | 62; times]].concat();
    peer.send(&frame(HEADERS, WHOLE | END, 3, &bomb(8)));
    let Event::Refused { fault, .. } = peer.event() else { panic!() };
    assert_eq!(fault.status, 431);
    peer.send(&frame(HEADERS, WHOLE | END, 5, &bomb(12_000)));
    ended(&mut peer, Flood::Fields);

    // Thousands of tiny fields: an entry of two bytes.
    let mut peer = Peer::client();
    peer.send(&frame(HEADERS, WHOLE | END, 1, &[block(&GET), b"\x40\x01x\x01y".to_vec()].concat()));
    peer.events.clear();
    peer.send(&frame(HEADERS, WHOLE | END, 3, &bomb(97)));
    let Event::Refused { fault, .. } = peer.event() else { panic!() };
    assert_eq!(fault.status, 431, "fields are bounded apart from bytes");
    peer.send(&frame(HEADERS, WHOLE | END, 5, &bomb(16_000)));
    ended(&mut peer, Flood::Fields);
}

#[test]
fn crumbs_of_cookies_are_fields() {
    let mut peer = Peer::client();
    peer.send(&frame(HEADERS, WHOLE | END, 1, &[block(&GET), b"\x60\x01a".to_vec()].concat()));
    peer.events.clear();
    peer.send(&frame(HEADERS, WHOLE | END, 3, &[block(&GET), vec![0x80 | 62; 96]].concat()));
    assert!(matches!(peer.event(), Event::Head { .. }));
    peer.send(&frame(HEADERS, WHOLE | END, 5, &[block(&GET), vec![0x80 | 62; 97]].concat()));
    assert!(matches!(peer.event(), Event::Refused { .. }));
}

#[test]
fn a_peer_that_reads_nothing_of_its_answer_is_given_up() {
    let mut peer = Peer::client();
    let sent: usize = 200_000;
    peer.send(&headers(1, END, &GET));
    peer.answer(1, "HTTP/1.1 200 x\r\n\r\n", false);
    assert!(peer.session.has_room(1));
    peer.session.queue(1, What::Content(Bytes::from(vec![0; sent])), 0).unwrap();
    assert!(!peer.session.has_room(1));
    let taken: usize = peer.said_of(DATA).iter().map(|frame| frame.payload.len()).sum();
    assert_eq!(taken, 65_535);
    peer.events.clear();
    peer.tick(29_999);
    assert!(peer.events.is_empty());
    // A byte is progress.
    peer.send(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).send(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]));
    peer.said();
    peer.tick(29_999);
    assert!(peer.events.is_empty());
    peer.tick(1);
    assert_eq!(peer.event(), Event::Reset { stream: 1, why: Why::Stalled });
    assert_eq!(peer.ends().resets, [(1, 8)]);
}

#[test]
fn bytes_earn_a_peer_its_time_and_drips_do_not() {
    let limits = Limits { bytes_per_second_min: 100, ping_after_ms: 0, ..Limits::default() };
    let mut peer = Peer::client_with(limits);
    peer.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    peer.send(&headers(1, END, &GET)).send(&headers(3, END, &GET));
    for stream in [1, 3] {
        peer.answer(stream, "HTTP/1.1 200 x\r\n\r\n", false);
        peer.session.queue(stream, What::Content(Bytes::from(vec![0; 60_000])), 0).unwrap();
    }
    peer.events.clear();
    // One stream takes a byte a second, the other exactly as many as are required.
    for _ in 0..30 {
        peer.send(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])).send(&frame(
            WINDOW_UPDATE,
            0,
            3,
            &[0, 0, 0, 100],
        ));
        peer.said();
        assert_eq!(peer.tick(1_000).events, []);
    }
    peer.tick(300);
    assert_eq!(peer.events, [], "thirty bytes have earned so much");
    peer.tick(1);
    assert_eq!(peer.event(), Event::Reset { stream: 1, why: Why::Stalled });
    assert_eq!(peer.ends().resets, [(1, 8)]);
    peer.session.release(1);
    for _ in 0..100 {
        peer.send(&frame(WINDOW_UPDATE, 0, 3, &[0, 0, 0, 100])).said();
        assert_eq!(peer.tick(1_000).events, []);
    }
    // The time in which nothing waits for it is not its own.
    peer.send(&frame(WINDOW_UPDATE, 0, 3, &[0, 1, 0, 0])).said();
    assert_eq!(peer.tick(1_000_000).events, []);
    peer.session.queue(3, What::Content(Bytes::from(vec![0; 60_000])), peer.now).unwrap();
    peer.said();
    assert_eq!(peer.tick(29_999).events, []);
    peer.tick(1_000_000);
    assert_eq!(peer.event(), Event::Reset { stream: 3, why: Why::Stalled });
}

#[test]
fn a_client_that_is_not_read_is_not_asked_whether_it_is_there() {
    let mut peer = Peer::client();
    peer.send(&headers(1, END, &GET));
    let head = format!("HTTP/1.1 103 x\r\nX: {}\r\n\r\n", "y".repeat(20_000));
    peer.tick(15_000);
    assert_eq!(peer.said_of(PING).len(), 1);
    while peer.session.wants_bytes() {
        peer.answer(1, &head, false);
    }
    // The answer to that PING may lie unread.
    peer.tick(10_000).tick(100_000);
    assert!(!peer.session.is_closed());
    assert_eq!(peer.said_of(PING), []);
    peer.tick(14_900);
    assert_eq!(peer.said_of(PING), [], "from now on it can be heard");
    peer.tick(100);
    assert_eq!(peer.said_of(PING).len(), 1);
    peer.tick(10_000);
    assert_eq!(peer.events.last(), Some(&Event::Closed(Close::Lifeless)));
}

#[test]
fn a_peer_that_sends_no_more_is_not_asked_whether_it_is_there() {
    let mut peer = Peer::client();
    peer.send(&headers(1, END, &GET)).tick(15_000);
    assert_eq!(peer.said_of(PING).len(), 1);
    peer.session.end_input();
    peer.tick(10_000).tick(100_000);
    assert!(!peer.session.is_closed());
    assert_eq!(peer.said_of(PING), []);
}

#[test]
fn a_block_that_nobody_gets_costs_what_it_means() {
    // An entry of 3,900 bytes on a stream that is reset for it, and then sixteen references to it, again and again.
    let mut peer = Peer::client();
    let mut entry = block(&GET);
    entry.extend(b"\x40\x01x\x7f\xbd\x1d");
    entry.extend([b'y'; 3900]);
    peer.send(&frame(HEADERS, WHOLE | END, 1, &[entry, block(&[("X", "y")])].concat()));
    assert_eq!(peer.ends().resets, [(1, 1)]);
    let bomb = frame(HEADERS, WHOLE | END, 1, &[0x80 | 62; 16]);
    let sent = (0..).take_while(|_| !peer.send(&bomb).session.is_closed()).count();
    assert!(sent <= 1, "{sent} blocks of 62 kB");
    ended(&mut peer, Flood::IdleFrames);
}

#[test]
fn a_client_that_asks_and_does_not_read_is_not_read_either() {
    let mut peer = Peer::client();
    let (mut asked, head) = (0, format!("HTTP/1.1 404 x\r\nX: {}\r\n\r\n", "y".repeat(1_000)));
    while peer.session.wants_bytes() {
        peer.send(&headers(id(asked), END, &GET));
        peer.answer(id(asked), &head, true);
        peer.session.release(id(asked));
        asked += 1;
    }
    assert!((200..300).contains(&asked), "{asked}");
    assert_eq!(peer.said_of(HEADERS).len(), asked);
    assert!(peer.session.wants_bytes());
    // A client of ours always reads, or two of us would wait for each other.
    let mut server = Peer::server();
    for _ in 0..100 {
        server.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(10_000)), true);
    }
    assert!(server.session.wants_bytes());
}

#[test]
fn empty_data_costs_and_ten_thousand_small_messages_do_not() {
    let mut peer = Peer::client();
    peer.send(&headers(1, 0, &POST));
    let frames = (0..).take_while(|_| !peer.send(&frame(DATA, 0, 1, b"")).session.is_closed()).count();
    assert_eq!(frames as i64, IDLE_BYTES_MAX / 9);
    ended(&mut peer, Flood::IdleFrames);

    let mut peer = Peer::client();
    peer.send(&headers(1, 0, &POST));
    for _ in 0..10_000 {
        peer.send(&frame(DATA, 0, 1, b"\0\0\0\0\x02hi"));
        peer.session.taken(1, 7);
    }
    peer.send(&frame(DATA, END, 1, b""));
    assert!(matches!(peer.events.last(), Some(Event::Data { end: true, .. })));
    assert_eq!(peer.ends(), Ends::default());
}

#[test]
fn each_frame_of_content_costs_its_stream_thirty_two_bytes() {
    let mut peer = Peer::client_with(Limits { stream_bytes_max: 1000, ..Limits::default() });
    peer.send(&headers(1, 0, &POST)).send(&headers(3, 0, &POST)).send(&frame(DATA, 0, 3, &[0; 968]));
    for _ in 0..30 {
        peer.send(&frame(DATA, 0, 1, b"x"));
    }
    assert_eq!(peer.ends(), Ends::default());
    peer.send(&frame(DATA, 0, 1, &[0; 11]));
    assert_eq!(peer.ends().resets, [(1, CALM)]);
    assert!(matches!(peer.events.last(), Some(Event::Reset { stream: 1, why: Why::Malformed(_) })));
}

#[test]
fn answers_that_nobody_reads_are_few() {
    for (flood, question) in
        [(Flood::AnswersUnsent, frame(PING, 0, 0, &[7; 8])), (Flood::Settings, frame(SETTINGS, 0, 0, &[]))]
    {
        let mut peer = Peer::client();
        let asked = (0..).take_while(|_| !peer.send(&question).session.is_closed()).count();
        let expect =
            if flood == Flood::Settings { SETTINGS_MAX as usize - 1 } else { ANSWERS_UNSENT_MAX as usize };
        assert_eq!(asked, expect);
        ended(&mut peer, flood);
    }
    // A peer that reads may ask as it likes.
    let mut peer = Peer::client();
    for _ in 0..10_000 {
        peer.send(&frame(PING, 0, 0, &[7; 8]));
        let answers = peer.said_of(PING);
        assert_eq!((answers[0].flags, answers[0].payload.as_slice()), (1, &[7; 8][..]));
    }
    // SETTINGS now and then are no flood.
    for _ in 0..100 {
        peer.now += 1_250;
        peer.send(&frame(SETTINGS, 0, 0, &[]));
        peer.said();
    }
    assert!(!peer.session.is_closed());
}

#[test]
fn frames_that_ask_for_nothing_are_few() {
    for idle in [
        frame(PRIORITY, 0, 9, &[0, 0, 0, 0, 1]),
        frame(0x42, 0, 0, &[0; 5]),
        frame(0x42, 0xff, 77, &[0; 9_000]),
        frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        frame(SETTINGS, ACK, 0, &[]),
        frame(PING, ACK, 0, &[0; 8]),
        frame(GOAWAY, 0, 0, &[0; 8]),
    ] {
        let mut peer = Peer::client();
        peer.send(&headers(1, END, &GET));
        let sent = (0..).take_while(|_| !peer.send(&idle).session.is_closed()).count();
        assert_eq!(sent as i64, IDLE_BYTES_MAX / idle.len() as i64);
        ended(&mut peer, Flood::IdleFrames);
    }
    // Increments that follow content are paid for by it: two for each piece, for as long as it lasts.
    let mut peer = Peer::client();
    peer.send(&headers(1, END, &GET));
    peer.answer(1, "HTTP/1.1 200 x\r\n\r\n", false);
    for _ in 0..20_000 {
        peer.session.queue(1, What::Copied(&[0; 100]), 0).unwrap();
        for data in peer.said_of(DATA) {
            let increment = (data.payload.len() as u32).to_be_bytes();
            peer.send(&frame(WINDOW_UPDATE, 0, 0, &increment)).send(&frame(WINDOW_UPDATE, 0, 1, &increment));
        }
    }
    assert!(!peer.session.is_closed());
}

#[test]
fn who_does_not_introduce_itself_is_not_waited_for() {
    for hello in [&b""[..], b"PRI * HTTP/2.0\r\n", PREFACE, &[PREFACE, b"\0\0\0\x04"].concat()] {
        let mut peer = Peer::silent(Role::Server, Limits::default());
        peer.said();
        peer.send(hello).tick(9_999);
        assert!(!peer.session.is_closed());
        peer.tick(1);
        ended(&mut peer, Flood::Slow);
    }
}

#[test]
fn every_account_has_a_test_that_empties_it() {
    let tests = include_str!("floods.rs");
    for flood in Flood::ALL {
        assert!(tests.contains(&format!("Flood::{flood:?}")), "{flood:?}");
    }
}
