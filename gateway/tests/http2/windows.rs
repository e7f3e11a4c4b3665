//! Windows both ways: neither side sends more than it may, a byte that is taken comes back, and streams take turns.

use bytes::Bytes;
use gateway::http2::guard::Limits;
use gateway::http2::session::{Event, PIECE_BYTES_MAX, What};

use crate::wire::*;

fn increment(frame: &Frame) -> u32 {
    u32::from_be_bytes(frame.payload.as_slice().try_into().unwrap())
}

fn set_window(value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&[0, 4][..], &value.to_be_bytes()].concat())
}

/// A client whose connection's window is as wide as can be, with answers begun on streams 1, 3, …
fn asking(streams: u32) -> Peer {
    let mut peer = Peer::client();
    peer.send(&frame(WINDOW_UPDATE, 0, 0, &(0x7fff_ffffu32 - 65_535).to_be_bytes()));
    for n in 0..streams {
        peer.send(&headers(2 * n + 1, END, &GET));
        peer.answer(2 * n + 1, "HTTP/1.1 200 x\r\n\r\n", false);
    }
    peer.said();
    peer.events.clear();
    peer
}

fn queue(peer: &mut Peer, stream: u32, bytes: usize) {
    peer.session.queue(stream, What::Content(Bytes::from(vec![stream as u8; bytes])), 0).unwrap();
}

fn sent(frames: &[Frame]) -> Vec<(u32, usize)> {
    frames
        .iter()
        .filter(|frame| frame.kind == DATA)
        .map(|frame| (frame.stream, frame.payload.len()))
        .collect()
}

#[test]
fn streams_take_turns_by_pieces() {
    let mut peer = asking(3);
    queue(&mut peer, 1, 3 * PIECE_BYTES_MAX);
    queue(&mut peer, 3, 10);
    queue(&mut peer, 5, PIECE_BYTES_MAX + 1);
    let p = PIECE_BYTES_MAX;
    assert_eq!(sent(&peer.said()), [(1, p), (3, 10), (5, p), (1, p), (5, 1), (1, p)]);
}

#[test]
fn small_pieces_of_a_stream_share_a_frame() {
    let mut peer = asking(1);
    for _ in 0..100 {
        peer.session.queue(1, What::Copied(b"hello"), 0).unwrap();
    }
    peer.session.queue(1, What::End, 0).unwrap();
    let frames = peer.said();
    assert_eq!((frames.len(), frames[0].payload.len(), frames[0].flags), (1, 500, END));
}

#[test]
fn one_streams_slow_window_stops_only_itself() {
    let mut peer = asking(2);
    queue(&mut peer, 1, 200_000);
    queue(&mut peer, 3, 65_535);
    let frames = peer.said();
    let of = |id| sent(&frames).iter().filter(|(stream, _)| *stream == id).map(|(_, n)| n).sum::<usize>();
    assert_eq!((of(1), of(3)), (65_535, 65_535));
    assert!(!peer.session.has_output());
    peer.send(&frame(WINDOW_UPDATE, 0, 1, &100u32.to_be_bytes()));
    assert_eq!(sent(&peer.said()), [(1, 100)]);
}

#[test]
fn the_connections_window_stops_all_and_opens_for_all() {
    let mut peer = Peer::client();
    for id in [1, 3] {
        peer.send(&headers(id, END, &GET));
        peer.answer(id, "HTTP/1.1 200 x\r\n\r\n", false);
        queue(&mut peer, id, 60_000);
    }
    let first: usize = sent(&peer.said()).iter().map(|(_, n)| n).sum();
    assert_eq!(first, 65_535);
    peer.send(&frame(WINDOW_UPDATE, 0, 0, &200_000u32.to_be_bytes()));
    let rest: usize = sent(&peer.said()).iter().map(|(_, n)| n).sum();
    assert_eq!(rest, 120_000 - 65_535);
}

#[test]
fn an_end_needs_no_window() {
    let mut peer = asking(1);
    peer.send(&set_window(0)).send(&headers(3, END, &GET));
    peer.answer(3, "HTTP/1.1 200 x\r\n\r\n", false);
    peer.session.queue(3, What::End, 0).unwrap();
    let frames = peer.said();
    let last = frames.last().unwrap();
    assert_eq!((last.kind, last.stream, last.flags, last.payload.len()), (DATA, 3, END, 0));
}

#[test]
fn a_changed_initial_window_moves_open_streams_below_zero_and_back() {
    let mut peer = asking(1);
    queue(&mut peer, 1, 100_000);
    assert_eq!(sent(&peer.said()).iter().map(|(_, n)| n).sum::<usize>(), 65_535);
    peer.send(&set_window(1_000));
    assert!(sent(&peer.said()).is_empty());
    peer.send(&frame(WINDOW_UPDATE, 0, 1, &64_535u32.to_be_bytes()));
    assert!(sent(&peer.said()).is_empty());
    peer.send(&frame(WINDOW_UPDATE, 0, 1, &7u32.to_be_bytes()));
    assert_eq!(sent(&peer.said()), [(1, 7)]);
    peer.send(&set_window(1_005));
    assert_eq!(sent(&peer.said()), [(1, 5)]);
}

#[test]
fn windows_overflow_as_the_rfc_says() {
    let mut peer = asking(1);
    peer.send(&frame(WINDOW_UPDATE, 0, 1, &0x7fff_ffffu32.to_be_bytes()));
    assert_eq!(peer.ends().resets, [(1, 3)]);
    let mut peer = asking(1);
    peer.send(&frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes()));
    assert_eq!(peer.ends().code(), Some(3));
    let mut peer = asking(1);
    peer.send(&frame(WINDOW_UPDATE, 0, 1, &(0x7fff_ffffu32 - 65_535).to_be_bytes()))
        .send(&set_window(65_536));
    assert_eq!(peer.ends().code(), Some(3));
}

#[test]
fn content_beyond_a_window_is_an_error() {
    let mut peer = Peer::client();
    peer.send(&headers(1, 0, &POST));
    peer.send_times(4, &frame(DATA, 0, 1, &[0; 16_384]));
    assert_eq!(peer.ends(), Ends::default());
    peer.send(&frame(DATA, 0, 1, b"x"));
    assert_eq!(peer.ends().resets, [(1, 3)]);
    // The connection's: of as many streams as may be, all full, and one frame more.
    let mut peer = Peer::client_with(Limits { streams_max: 1, ..Limits::default() });
    peer.send(&headers(1, 0, &POST));
    peer.send_times(3, &frame(DATA, 0, 1, &[0; 16_384]));
    assert_eq!(peer.ends(), Ends::default());
}

#[test]
fn what_is_taken_comes_back_to_its_stream_and_what_is_not_does_not() {
    let mut peer = Peer::client();
    peer.send(&headers(1, 0, &POST));
    peer.send_times(4, &frame(DATA, 0, 1, &[0; 16_384]));
    assert!(peer.said_of(WINDOW_UPDATE).is_empty(), "nobody took anything");
    peer.session.taken(1, 30_000);
    assert!(peer.said_of(WINDOW_UPDATE).is_empty(), "less than half");
    peer.session.taken(1, 10_000);
    let updates = peer.said_of(WINDOW_UPDATE);
    assert_eq!((updates.len(), updates[0].stream, increment(&updates[0])), (1, 1, 40_000));
    peer.session.taken(1, 25_536);
    peer.send(&frame(DATA, 0, 1, &[0; 16_000])).send(&frame(DATA, END, 1, &[0; 16_000]));
    assert_eq!(peer.ends(), Ends::default());
    // After the end nothing is given back.
    peer.session.taken(1, 32_000);
    assert!(peer.said().is_empty());
}

#[test]
fn the_connections_window_comes_back_on_receipt_and_holds_all_streams() {
    let mut peer =
        Peer::silent(gateway::http2::session::Role::Server, Limits { streams_max: 3, ..Limits::default() });
    let hello = peer.said();
    assert_eq!((hello[1].kind, increment(&hello[1])), (WINDOW_UPDATE, 3 * 65_536 - 65_535));
    peer.send(PREFACE).send(&frame(SETTINGS, 0, 0, &[]));
    let mut given = 0;
    for id in [1, 3, 5] {
        peer.send(&headers(id, 0, &POST));
        peer.send_times(4, &frame(DATA, 0, id, &[0; 16_384]));
        given += peer.said_of(WINDOW_UPDATE).iter().filter(|f| f.stream == 0).map(increment).sum::<u32>();
    }
    // All three are full, and a fourth would not wait for them.
    assert!(given >= 3 * 65_536 / 2, "{given}");
    assert_eq!(peer.ends(), Ends::default());
}

#[test]
fn padding_comes_back_by_itself() {
    let mut peer = Peer::client();
    peer.send(&headers(1, 0, &POST));
    for _ in 0..1_000 {
        peer.send(&frame(DATA, 8, 1, &[&[255][..], &[0; 256]].concat()));
        peer.session.taken(1, 1);
    }
    assert_eq!(peer.ends(), Ends::default());
    assert_eq!(peer.content[&1].len(), 1_000);
}

#[test]
fn a_stream_says_when_it_has_room() {
    let mut peer = asking(1);
    peer.send(&set_window(0));
    peer.said();
    peer.events.clear();
    queue(&mut peer, 1, 65_535);
    assert!(peer.session.has_room(1));
    queue(&mut peer, 1, 1);
    assert!(!peer.session.has_room(1));
    peer.send(&set_window(40_000));
    peer.said();
    assert_eq!(peer.event(), Event::Room { stream: 1 });
    // And when its end is gone, if its caller waits for that.
    peer.session.queue(1, What::End, 0).unwrap();
    assert!(!peer.session.is_flushed(1));
    peer.said();
    assert!(peer.events.is_empty());
    peer.send(&set_window(70_000));
    peer.said();
    assert_eq!(peer.event(), Event::Flushed { stream: 1 });
    assert!(peer.session.is_flushed(1));
}

#[test]
fn an_upload_whose_exchange_has_ended_is_nobodys_and_stops_at_its_window() {
    let mut peer = asking(0);
    peer.send(&set_window(10)).send(&headers(1, 0, &POST));
    peer.answer(1, "HTTP/1.1 413 x\r\n\r\n", false);
    queue(&mut peer, 1, 100);
    peer.session.queue(1, What::End, 0).unwrap();
    peer.session.release(1);
    peer.said();
    peer.events.clear();
    peer.send_times(4, &frame(DATA, 0, 1, &[0; 16_384]));
    assert!(peer.events.is_empty() && peer.said_of(WINDOW_UPDATE).is_empty());
    // The answer goes on, and then the rest is refused.
    peer.send(&frame(WINDOW_UPDATE, 0, 1, &90u32.to_be_bytes()));
    let frames = peer.said();
    let kinds: Vec<_> = frames.iter().map(|frame| (frame.kind, frame.flags)).collect();
    assert_eq!(kinds, [(DATA, END), (RST_STREAM, 0)]);
    assert_eq!(peer.session.streams(), 0);
}

#[test]
fn a_connection_that_is_over_has_nothing_more_to_say_though_content_waits() {
    let mut peer = Peer::client();
    peer.send(&headers(1, END, &GET));
    peer.answer(1, "HTTP/1.1 200 x\r\n\r\n", false);
    peer.session.queue(1, What::Content(Bytes::from(vec![0; 100])), 0).unwrap();
    peer.send(&frame(DATA, 0, 0, b"of nobody"));
    assert!(peer.session.is_closed() && peer.session.has_output(), "a GOAWAY is worth a last write");
    let last = peer.session.take(Vec::new(), 0);
    assert_eq!(parse(&last).last().map(|frame| frame.kind), Some(GOAWAY));
    assert!(!peer.session.has_output(), "whoever writes what there is would write for ever");
}

/// An upload of so many bytes on a stream of its own.
fn upload(peer: &mut Peer, bytes: usize) -> u32 {
    let stream = peer.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", false);
    peer.session.queue(stream, What::Content(Bytes::from(vec![0; bytes])), peer.now).unwrap();
    stream
}

/// Content that went on each stream, in order of their numbers.
fn went(peer: &mut Peer) -> Vec<(u32, usize)> {
    let mut of = std::collections::BTreeMap::<u32, usize>::new();
    sent(&peer.said()).into_iter().for_each(|(stream, n)| *of.entry(stream).or_default() += n);
    of.into_iter().collect()
}

#[test]
fn uploads_that_a_server_does_not_read_leave_room_for_those_that_it_does() {
    let mut peer = Peer::server();
    let stuck = [0; 3].map(|_| {
        let stream = upload(&mut peer, 200_000);
        let bytes = went(&mut peer).iter().map(|(_, n)| n).sum::<usize>();
        assert!(!peer.session.has_output());
        (stream, bytes)
    });
    assert_eq!(stuck, [(1, 32_768), (3, 16_384), (5, 8_192)]);
    let small = upload(&mut peer, 4_000);
    assert_eq!(went(&mut peer), [(small, 4_000)]);
    // Window that comes back is for all streams, the same one too.
    let more = 32_768u32.to_be_bytes();
    peer.send(&[frame(WINDOW_UPDATE, 0, 0, &more), frame(WINDOW_UPDATE, 0, 1, &more)].concat());
    let first = went(&mut peer).first().copied();
    assert!(first.is_some_and(|(stream, n)| stream == 1 && n > 8_192), "{first:?}");
}

#[test]
fn a_server_that_gives_back_half_of_a_window_at_a_time_reads_every_upload_to_its_end() {
    for uploads in [1, 2, 3, 40] {
        let mut peer = Peer::server();
        for _ in 0..uploads {
            upload(&mut peer, 300_000);
        }
        let (mut left, mut whole, mut owed) = (uploads * 300_000, 0, std::collections::HashMap::new());
        while left > 0 {
            let pieces = went(&mut peer);
            assert!(!pieces.is_empty(), "{uploads} uploads wait for ever, {left} bytes before their ends");
            for (stream, n) in pieces {
                (left, whole) = (left - n, whole + n);
                let of = owed.entry(stream).or_insert(0);
                *of += n;
                // Netty's words: so much as half of it must be gone.
                if *of >= 32_768 {
                    peer.send(&frame(WINDOW_UPDATE, 0, stream, &(*of as u32).to_be_bytes()));
                    *of = 0;
                }
                if whole >= 32_768 {
                    peer.send(&frame(WINDOW_UPDATE, 0, 0, &(whole as u32).to_be_bytes()));
                    whole = 0;
                }
            }
        }
    }
}

#[test]
fn an_upload_that_is_alone_gets_all_of_a_window_of_which_nothing_comes_back_before() {
    let mut peer = Peer::server();
    upload(&mut peer, 200_000);
    assert_eq!(went(&mut peer), [(1, 32_768)]);
    peer.tick(900);
    assert!(!peer.session.has_output());
    peer.tick(100);
    assert_eq!(went(&mut peer), [(1, 32_767)]);
    // Its server has read it: it is one of many again.
    let more = 65_535u32.to_be_bytes();
    peer.send(&[frame(WINDOW_UPDATE, 0, 1, &more), frame(WINDOW_UPDATE, 0, 0, &more)].concat());
    assert_eq!(went(&mut peer), [(1, 32_768)]);
}

#[test]
fn an_upload_that_holds_what_others_wait_for_is_given_up_and_one_that_nobody_waits_for_is_not() {
    let mut peer = Peer::server();
    let holder = upload(&mut peer, 200_000);
    went(&mut peer);
    peer.tick(1_000);
    assert_eq!(went(&mut peer), [(holder, 32_767)]);
    peer.send(&frame(WINDOW_UPDATE, 0, 0, &32_767u32.to_be_bytes())).tick(10);
    // Of many that are not read either none holds much.
    let others = [0; 8].map(|_| upload(&mut peer, 30_000));
    went(&mut peer);
    peer.events.clear();
    let patience_ms = Limits::default().write_ms_max / 8;
    peer.tick(10).tick(patience_ms - 1);
    assert!(peer.events.is_empty());
    peer.tick(1);
    let why = gateway::http2::session::Why::Stalled;
    assert_eq!(peer.event(), Event::Reset { stream: holder, why });
    assert_eq!(peer.ends().resets, [(holder, 8)]);
    peer.session.release(holder);
    // Its window comes back, and goes to the waiting streams.
    peer.send(&frame(WINDOW_UPDATE, 0, 0, &1_000_000u32.to_be_bytes()));
    let went = went(&mut peer);
    assert!(others.iter().all(|other| went.iter().any(|(stream, _)| stream == other)), "{went:?}");
    peer.tick(2 * patience_ms);
    assert!(peer.events.iter().all(|event| !matches!(event, Event::Reset { .. })), "{:?}", peer.events);
}
