//! The crate `h2` at the other end, in both roles, over pipes in memory: requests at once, content both ways beyond every window,
//! trailers, resets, goodbyes.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use gateway::http2::fields::outbound::Manner;
use gateway::http2::fields::{NeverIndexed, Scheme};
use gateway::http2::frame::Code;
use gateway::http2::guard::Limits;
use gateway::http2::session::{Close, Event, Role, Session, What, Why};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// More than both ends ever have in flight, so that the driver may write without a reader.
const PIPE_BYTES: usize = 64 << 20;

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(std::time::Duration::from_secs(60), test).await.expect("the test ends");
    });
}

/// Moves bytes and events until the connection is over; returns how it ended.
async fn drive(
    mut session: Session,
    mut io: DuplexStream,
    mut on: impl FnMut(&mut Session, Event, &[u8]),
) -> Option<Close> {
    let mut buffer = vec![0; 100_000];
    loop {
        let out = session.take(Vec::new(), 0);
        while let Some(event) = session.next_event() {
            if let Event::Closed(close) = event {
                let _gone = io.write_all(&out).await;
                return Some(close);
            }
            on(&mut session, event, b"");
        }
        if !out.is_empty() {
            io.write_all(&out).await.ok()?;
            continue;
        }
        let read = io.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        session.feed(&buffer[..read], 0);
        while let Some(event) = session.next_event() {
            if let Event::Closed(close) = event {
                let _gone = io.write_all(&session.take(Vec::new(), 0)).await;
                return Some(close);
            }
            on(&mut session, event, &buffer[..read]);
        }
    }
}

/// A server of ours that echoes its content, and the request's target in trailers.
fn echo() -> impl FnMut(&mut Session, Event, &[u8]) {
    let mut uploads: HashMap<u32, (Vec<u8>, String)> = HashMap::new();
    move |session, event, fed| {
        let ended = match event {
            Event::Head { stream, head, end } => {
                let lines = String::from_utf8(head.lines).unwrap();
                let target = lines.split(' ').nth(1).unwrap().to_owned();
                uploads.insert(stream, (Vec::new(), target));
                end.then_some(stream)
            }
            Event::Data { stream, at, len, end } => {
                uploads.get_mut(&stream).unwrap().0.extend(&fed[at..at + len]);
                session.taken(stream, len);
                end.then_some(stream)
            }
            Event::Trailers { stream, .. } => Some(stream),
            Event::Reset { stream, .. } => {
                uploads.remove(&stream);
                session.release(stream);
                None
            }
            other => panic!("{other:?}"),
        };
        let Some(stream) = ended else { return };
        let (content, target) = uploads.remove(&stream).unwrap();
        if target == "/reset" {
            session.queue(stream, What::Reset(Code::EnhanceYourCalm), 0).unwrap();
            return session.release(stream);
        }
        let never_indexed = &NeverIndexed::default();
        let head = b"HTTP/1.1 200 OK\r\nX-Umbra: 1\r\nConnection: close\r\n\r\n";
        session.queue(stream, What::Head { lines: head, never_indexed, end: false }, 0).unwrap();
        session.queue(stream, What::Content(content.into()), 0).unwrap();
        session.queue(stream, What::Trailers(format!("X-Target: {target}\r\n").as_bytes()), 0).unwrap();
        session.release(stream);
        if target == "/last" {
            session.drain(0);
        }
    }
}

fn content(n: usize) -> Bytes {
    (0..n * 4_321).map(|at| (at + n) as u8).collect::<Vec<_>>().into()
}

async fn send_all(stream: &mut h2::SendStream<Bytes>, mut content: Bytes) {
    while !content.is_empty() {
        stream.reserve_capacity(content.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
        stream.send_data(content.split_to(room.min(content.len())), false).unwrap();
    }
}

async fn read_all(stream: &mut h2::RecvStream) -> Bytes {
    let mut all = BytesMut::new();
    while let Some(piece) = stream.data().await {
        let piece = piece.unwrap();
        stream.flow_control().release_capacity(piece.len()).unwrap();
        all.extend_from_slice(&piece);
    }
    all.freeze()
}

#[test]
fn a_client_of_the_crate_h2_is_served() {
    run(async {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let session = Session::new(Role::Server, Scheme::Http, Limits::default(), 0);
        let server = tokio::spawn(drive(session, near, echo()));
        let (client, connection) = h2::client::handshake(far).await.unwrap();
        let connection = tokio::spawn(connection);

        // Sixty at once: from none to a quarter of a megabyte each way, four times a stream's window.
        let asked = (0..60usize).map(|n| {
            let mut client = client.clone();
            tokio::spawn(async move {
                let request =
                    Request::post(format!("http://a/{n}")).header("x-long", "y".repeat(n * 100)).body(());
                std::future::poll_fn(|cx| client.poll_ready(cx)).await.unwrap();
                let (answer, mut upload) = client.send_request(request.unwrap(), false).unwrap();
                send_all(&mut upload, content(n)).await;
                if n % 2 == 0 {
                    upload.send_data(Bytes::new(), true).unwrap();
                } else {
                    upload
                        .send_trailers(HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())]))
                        .unwrap();
                }
                let mut answer = answer.await.unwrap();
                assert_eq!(
                    (answer.status().as_u16(), answer.headers()["x-umbra"].as_bytes()),
                    (200, &b"1"[..])
                );
                assert!(!answer.headers().contains_key("connection"));
                assert!(read_all(answer.body_mut()).await == content(n), "content {n}");
                let trailers = answer.body_mut().trailers().await.unwrap().unwrap();
                assert_eq!(trailers["x-target"], format!("/{n}"));
            })
        });
        for task in asked.collect::<Vec<_>>() {
            task.await.unwrap();
        }

        let mut client = client.ready().await.unwrap();
        let (answer, _) =
            client.send_request(Request::get("http://a/reset").body(()).unwrap(), true).unwrap();
        assert_eq!(answer.await.unwrap_err().reason(), Some(h2::Reason::ENHANCE_YOUR_CALM));
        // The last one is answered, and both ends agree that it was.
        let mut client = client.ready().await.unwrap();
        let (answer, _) = client.send_request(Request::get("http://a/last").body(()).unwrap(), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        drop(client);
        assert_eq!(connection.await.unwrap().ok(), Some(()));
        assert_eq!(server.await.unwrap(), Some(Close::Done));
    });
}

/// A server of the crate h2 that echoes its content; `/refuse` is refused, `/last` is the last.
async fn serve(io: DuplexStream) {
    let mut connection =
        h2::server::Builder::new().initial_window_size(70_000).handshake::<_, Bytes>(io).await.unwrap();
    // After the last stream the client closes, perhaps before the second GOAWAY is written.
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        if request.uri().path() == "/refuse" {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            continue;
        }
        if request.uri().path() == "/last" {
            connection.graceful_shutdown();
        }
        tokio::spawn(async move {
            assert_eq!(request.headers()["te"], "trailers");
            assert_eq!(request.uri().authority().unwrap(), "a:81");
            let mut body = request.into_body();
            let content = read_all(&mut body).await;
            let answer = Response::builder().status(201).header("x-seen", content.len()).body(()).unwrap();
            let mut out = respond.send_response(answer, false).unwrap();
            send_all(&mut out, content).await;
            let trailers =
                HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), "0".parse().unwrap())]);
            out.send_trailers(trailers).unwrap();
        });
    }
}

#[test]
fn a_server_of_the_crate_h2_is_asked() {
    run(async {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let server = tokio::spawn(serve(far));
        let mut session = Session::new(Role::Client, Scheme::Http, Limits::default(), 0);
        let ask = |session: &mut Session, target: &str, content: Bytes| {
            let lines =
                format!("POST {target} HTTP/1.1\r\nHost: a:81\r\nContent-Length: {}\r\n\r\n", content.len());
            let never_indexed = &NeverIndexed::default();
            let manner = Manner { scheme: Scheme::Http, takes_trailers: true, protocol: None, never_indexed };
            let stream = session.open(lines.as_bytes(), &manner, false, 0).unwrap();
            session.queue(stream, What::Content(content), 0).unwrap();
            session.queue(stream, What::End, 0).unwrap();
            stream
        };
        let mut asked: HashMap<u32, (Bytes, Vec<u8>)> = HashMap::new();
        for n in 0..60 {
            let stream = ask(&mut session, &format!("/{n}"), content(n));
            asked.insert(stream, (content(n), Vec::new()));
        }
        let refused = ask(&mut session, "/refuse", Bytes::new());
        let mut left = 61;
        let ended = drive(session, near, |session, event, fed| {
            match event {
                Event::Head { stream, head, end: false } => {
                    let expect = format!("HTTP/1.1 201 \r\nx-seen: {}\r\n", asked[&stream].0.len());
                    assert!(
                        head.lines.starts_with(expect.as_bytes()),
                        "{:?}",
                        String::from_utf8_lossy(&head.lines)
                    );
                    return;
                }
                Event::Data { stream, at, len, end: false } => {
                    asked.get_mut(&stream).unwrap().1.extend(&fed[at..at + len]);
                    return session.taken(stream, len);
                }
                Event::Trailers { stream, lines, .. } => {
                    let (expect, content) = asked.remove(&stream).unwrap();
                    assert!(content == expect, "content of stream {stream}");
                    assert_eq!(lines, b"grpc-status: 0\r\n");
                    session.release(stream);
                }
                Event::Reset { stream, why } => {
                    assert_eq!((stream, why), (refused, Why::Peer(Code::RefusedStream)));
                    session.release(stream);
                }
                Event::StreamsChanged => return,
                other => panic!("{other:?}"),
            }
            left -= 1;
            if left == 0 {
                let stream = ask(session, "/last", Bytes::new());
                asked.insert(stream, Default::default());
            }
        })
        .await;
        assert_eq!(ended, Some(Close::Done));
        assert_eq!(left, -1);
        server.await.unwrap();
    });
}
