//! The promises of `io`, on both drivers of a real kernel.

use super::*;

/// Runs `test` on a connected pair of streams, on each driver.
fn with_pair<F: Future<Output = ()>>(test: impl Fn(Stream, std::net::TcpStream, Rc<Sweeper>) -> F) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let body = || async {
        let sweeper = Sweeper::new();
        let stream = Stream::connect(address.into(), Duration::from_secs(5), &sweeper).await.unwrap();
        let (peer, _) = listener.accept().unwrap();
        test(stream, peer, sweeper).await;
    };
    let mut uring = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new().enable_timer().build().unwrap();
    uring.block_on(body());
    let mut epoll = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer().build().unwrap();
    epoll.block_on(body());
}

#[test]
fn reads_append_and_the_end_is_zero() {
    use std::io::Write as _;
    with_pair(|mut stream, mut peer, _| async move {
        peer.write_all(b"new").unwrap();
        let (n, buf) = stream.r.read(b"OLD".to_vec(), 64, Millis::FOREVER).await;
        assert_eq!((n.unwrap(), buf.as_slice()), (3, &b"OLDnew"[..]));
        drop(peer);
        let (n, buf) = stream.r.read(buf, 64, Millis::FOREVER).await;
        assert_eq!((n.unwrap(), buf.as_slice()), (0, &b"OLDnew"[..]));
    });
}

#[test]
fn a_passed_deadline_ends_the_read_and_leaves_writing() {
    use std::io::Read as _;
    with_pair(|mut stream, mut peer, sweeper| async move {
        let (read, ()) = {
            let tick = async {
                sleep_ms(2 * TICK_MS + 50).await;
                sweeper.sweep();
            };
            tokio::join!(stream.r.read(Vec::new(), 16, Millis(1)), tick)
        };
        assert_eq!(read.0.unwrap_err().kind(), io::ErrorKind::TimedOut);
        stream.w.write_all(b"late".to_vec(), Millis::FOREVER).await.0.unwrap();
        let mut got = [0; 4];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"late");
    });
}

#[test]
fn an_idle_read_parks_without_losing_what_comes_later() {
    use std::io::Write as _;
    with_pair(|mut stream, mut peer, sweeper| async move {
        for round in 0..2 {
            let tick = async {
                sleep_ms(2 * TICK_MS + 50).await;
                sweeper.sweep();
            };
            let read = stream.r.read_idle(Vec::new(), 16, Millis::FOREVER, Millis(1));
            let ((result, buf), ()) = tokio::join!(read, tick);
            assert_eq!((result.unwrap(), buf.len()), (Idle::Parked, 0), "round {round}");
        }
        peer.write_all(b"next").unwrap();
        stream.r.readable_idle(Millis::FOREVER).await.unwrap();
        let (result, buf) = stream.r.read_idle(Vec::new(), 16, Millis::FOREVER, Millis(1)).await;
        assert_eq!((result.unwrap(), buf.as_slice()), (Idle::Read(4), &b"next"[..]));
    });
}

#[test]
fn short_writes_are_continued_to_the_last_byte() {
    use std::io::Read as _;
    with_pair(|mut stream, mut peer, _| async move {
        let sent: Vec<u8> = (0..8 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).unwrap();
            got
        });
        let (done, sent) = stream.w.write_all(sent, Millis::FOREVER).await;
        done.unwrap();
        stream.w.finish(Millis::FOREVER).await;
        assert!(reader.join().unwrap() == sent);
    });
}

#[test]
fn a_gather_is_written_in_order_over_short_writes() {
    use std::io::Read as _;
    with_pair(|mut stream, mut peer, _| async move {
        let mut gather = Gather::new(Vec::new());
        let mut expect = Vec::new();
        for i in 0..2_000_u32 {
            let small: Vec<u8> = (0..i % 7).map(|j| (i + j) as u8).collect();
            gather.copy(&small);
            expect.extend_from_slice(&small);
            if i % 3 == 0 {
                let piece = vec![i as u8; 4_096 + i as usize];
                expect.extend_from_slice(&piece);
                gather.share(piece.into());
            }
        }
        gather.seal();
        assert_eq!(gather.len(), expect.len());
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).unwrap();
            got
        });
        stream.w.write_gather(gather, Millis::FOREVER).await.0.unwrap();
        stream.w.finish(Millis::FOREVER).await;
        assert!(reader.join().unwrap() == expect);
    });
}

#[test]
fn a_connection_is_quiet_until_its_peer_says_or_ends_something() {
    use std::io::Write as _;
    with_pair(|stream, mut peer, _| async move {
        assert!(stream.is_quiet());
        peer.write_all(b"x").unwrap();
        assert!(stream.r.is_readable_within(5_000).await);
        assert!(!stream.is_quiet());
    });
}

#[test]
fn a_closed_socket_leaves_the_sweepers_table() {
    with_pair(|stream, _peer, sweeper| async move {
        assert_eq!(sweeper.open(), 1);
        drop(stream);
        assert_eq!(sweeper.open(), 0);
    });
}

#[test]
fn a_turn_lets_other_tasks_and_what_the_kernel_has_completed_go_first() {
    use std::io::Write as _;
    with_pair(|mut stream, mut peer, _| async move {
        let is_read = Rc::new(Cell::new(false));
        let told = Rc::clone(&is_read);
        let reading = monoio::spawn(async move {
            let (n, _) = stream.r.read(Vec::new(), 16, Millis::FOREVER).await;
            told.set(n.is_ok());
        });
        // The read is under way before the bytes come.
        turn().await;
        peer.write_all(b"hello").unwrap();
        let mut turns = 0;
        while !is_read.get() {
            turns += 1;
            assert!(turns < 1000, "a busy task keeps the worker to itself");
            turn().await;
        }
        reading.await;
    });
}
