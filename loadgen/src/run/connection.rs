//! A connection's place in the load: connects when wanted, reads answers, tells the engine how each ended. Chooses no moment
//! and no request; of HTTP/2 it only makes the connections.

use std::io::ErrorKind;
use std::task::Poll;
use std::time::{Duration, Instant};

use rustls::HandshakeKind;

use super::engine::Engine;
use super::outcome::{End, Outcome};
use super::shared::{Reader, Shared, with_rests};
use super::slot::Rest;
use super::{stream, tunnel};
use crate::http1::body::Body;
use crate::http1::head;
use crate::io::{self, Buffer, Stream};
use crate::link::Duplex;

const BUFFER_BYTES: usize = 4 * 1024;
const BUFFER_BYTES_LARGE: usize = 128 * 1024;
/// In a closed loop a place that cannot connect tries again this much later, not at once.
const CLOSED_RETRY: Duration = Duration::from_millis(10);
/// Interim answers to one request above this are nonsense.
const INTERIM_MAX: u32 = 1000;

/// State of the response by the bytes read so far.
enum Reading {
    Head { interim: u32 },
    Body { body: Body, status: u16, keep_alive: bool },
}

enum Next {
    Read,
    Close(Outcome),
}

/// A connection that was made.
enum Made {
    Plain(Stream),
    Covered(Duplex),
}

/// Makes one connection after another until the engine stops. `warm`: the first before there is a request. A connection of
/// HTTP/2 that its server ended without an error is made again at once: it was one of those that carry the load, and the rest
/// would carry its part for good.
pub async fn connect(engine: Shared, group: usize, warm: bool) {
    let limit = {
        let options = &engine.borrow().options;
        options.connect_timeout.min(options.timeout)
    };
    let (is_http2, is_websocket) = {
        let options = &engine.borrow().options;
        (options.http2.is_some(), options.websocket)
    };
    let mut first = warm;
    let mut again = false;
    loop {
        if !first && !again && !wanted(&engine, group).await {
            break;
        }
        let made = make(&engine, group, limit).await;
        warmed(&mut engine.borrow_mut(), &mut first);
        // Nobody would end a connection that comes after the end.
        if std::mem::take(&mut again) && engine.borrow().stopping {
            break;
        }
        match made {
            Ok(Made::Covered(duplex)) if is_websocket && is_http2 => {
                tunnel::converse_streams(&engine, group, duplex).await;
            }
            Ok(Made::Plain(plain)) if is_websocket && is_http2 => {
                tunnel::converse_streams(&engine, group, Duplex::new(plain, None)).await;
            }
            Ok(Made::Covered(duplex)) if is_websocket => {
                tunnel::converse_covered(&engine, group, duplex).await
            }
            Ok(Made::Plain(stream)) if is_websocket => tunnel::converse(&engine, group, stream).await,
            Ok(Made::Covered(duplex)) if is_http2 => {
                again = stream::converse(&engine, group, duplex).await;
            }
            Ok(Made::Plain(plain)) if is_http2 => {
                again = stream::converse(&engine, group, Duplex::new(plain, None)).await;
            }
            Ok(Made::Plain(stream)) => converse(&engine, group, stream).await,
            Ok(Made::Covered(duplex)) => converse_covered(&engine, group, duplex).await,
            Err(error) => {
                let outcome = Outcome::of_connect_error(&error);
                let closed = engine.borrow().is_closed();
                if closed {
                    engine.borrow_mut().give_up(group, outcome);
                    io::sleep(CLOSED_RETRY).await;
                }
                with_rests(&engine, |engine, rests| engine.fail(group, outcome, rests));
            }
        }
        if engine.borrow().stopping {
            break;
        }
    }
    engine.borrow_mut().live_tasks -= 1;
}

async fn make(engine: &Shared, group: usize, limit: Duration) -> std::io::Result<Made> {
    let (addr, session) = {
        let mut engine = engine.borrow_mut();
        let target = engine.target_of(group);
        (engine.mix.targets[target].addr, engine.covers.session(target))
    };
    let begin = Instant::now();
    let stream = Stream::connect(addr, limit).await.inspect_err(|_| {
        engine.borrow_mut().record.connect_failures += 1;
    })?;
    let connected = Instant::now();
    {
        let mut engine = engine.borrow_mut();
        engine.record.connects += 1;
        engine.record.connect.saturating_record((connected - begin).as_nanos() as u64);
    }
    let Some(session) = session else { return Ok(Made::Plain(stream)) };
    let failed = |error| {
        engine.borrow_mut().record.handshake_failures += 1;
        error
    };
    let session = session.map_err(|error| failed(std::io::Error::new(ErrorKind::InvalidData, error)))?;
    let mut duplex = Duplex::new(stream, Some(session.into()));
    let left = limit.saturating_sub(begin.elapsed());
    io::within(left, duplex.handshake()).await.map_err(|error| {
        failed(match error.kind() {
            ErrorKind::TimedOut | ErrorKind::InvalidData => error,
            // The peer left in the middle of it.
            _ => std::io::Error::new(ErrorKind::InvalidData, error),
        })
    })?;
    let mut engine = engine.borrow_mut();
    if engine.options.http2.is_some() && !duplex.link.speaks_http2() {
        engine.record.handshake_failures += 1;
        return Err(std::io::Error::new(ErrorKind::InvalidData, "the peer does not offer h2"));
    }
    let ns = connected.elapsed().as_nanos() as u64;
    match duplex.link.handshake_kind() {
        Some(HandshakeKind::Resumed) => engine.record.handshake_resumed.saturating_record(ns),
        _ => engine.record.handshake_full.saturating_record(ns),
    }
    drop(engine);
    Ok(Made::Covered(duplex))
}

/// The first try to connect is over, well or not.
fn warmed(engine: &mut Engine, first: &mut bool) {
    if std::mem::take(first) {
        engine.warming = engine.warming.saturating_sub(1);
    }
}

async fn wanted(engine: &Shared, group: usize) -> bool {
    std::future::poll_fn(|context| match engine.borrow_mut().wanted(group, context.waker()) {
        Some(wanted) => Poll::Ready(wanted),
        None => Poll::Pending,
    })
    .await
}

/// A connection from its first byte to its last.
async fn converse(engine: &Shared, index: usize, stream: Stream) {
    let fd = stream.fd();
    let (mut reader, writer) = stream.split();
    with_rests(engine, |engine, rests| engine.attach(index, fd, writer, rests));
    let outcome = read_answers(engine, index, &mut Reader::Plain(&mut reader)).await;
    with_rests(engine, |engine, rests| {
        // The last answer may have been complete and only the connection over.
        engine.detach(index, outcome, rests);
    });
}

/// As `converse`, under TLS.
async fn converse_covered(engine: &Shared, index: usize, mut duplex: Duplex) {
    let link = duplex.link.clone();
    with_rests(engine, |engine, rests| engine.attach_covered(index, link.clone(), rests));
    let outcome = read_answers(engine, index, &mut Reader::Covered(&mut duplex)).await;
    link.say_goodbye();
    with_rests(engine, |engine, rests| engine.detach(index, outcome, rests));
}

async fn read_answers(engine: &Shared, index: usize, reader: &mut Reader<'_>) -> Outcome {
    let mut buffer = Buffer::new(BUFFER_BYTES);
    let mut reading = Reading::Head { interim: 0 };
    loop {
        if buffer.is_full() {
            buffer.resize(buffer.capacity() * 2);
        }
        match reader.fill(&mut buffer).await {
            Ok(Some(counted)) => {
                engine.borrow_mut().record.bytes_in += counted;
                let next =
                    with_rests(engine, |engine, rests| take(engine, rests, index, &mut reading, &mut buffer));
                if let Next::Close(outcome) = next {
                    return outcome;
                }
            }
            Ok(None) => return ended(engine, index, &reading, buffer.is_empty()),
            Err(error) => return broken(&error, &reading, buffer.is_empty()),
        }
    }
}

/// The peer sent its FIN (or our sweeper ended the connection).
fn ended(engine: &Shared, index: usize, reading: &Reading, nothing_yet: bool) -> Outcome {
    match reading {
        Reading::Body { body: Body::UntilClose, status, .. } => {
            let mut engine = engine.borrow_mut();
            let outcome = Outcome::of_status(*status, engine.options.expect_status);
            engine.finish(index, End::new(outcome, *status));
            outcome
        }
        Reading::Head { interim: 0 } if nothing_yet => Outcome::ClosedEarly,
        Reading::Head { .. } | Reading::Body { .. } => Outcome::Truncated,
    }
}

fn broken(error: &std::io::Error, reading: &Reading, nothing_yet: bool) -> Outcome {
    match (error.kind(), reading) {
        (ErrorKind::ConnectionReset | ErrorKind::BrokenPipe, _) => Outcome::Reset,
        // An alert, or records that are none: a server says only now that it does not want our certificate.
        (ErrorKind::InvalidData, _) => Outcome::Handshake,
        (_, Reading::Head { interim: 0 }) if nothing_yet => Outcome::ClosedEarly,
        _ => Outcome::Truncated,
    }
}

/// Takes as many answers as were read.
fn take(
    engine: &mut Engine,
    rests: &mut Vec<(usize, Rest)>,
    index: usize,
    reading: &mut Reading,
    buffer: &mut Buffer,
) -> Next {
    loop {
        match reading {
            Reading::Head { interim } => {
                let Some(current) = engine.current(index) else {
                    // Unsolicited bytes; no request is on the connection to blame.
                    return Next::Close(Outcome::ExtraBytes);
                };
                let is_head = engine.mix.templates[current.template as usize].is_head;
                let head = match head::response(buffer.bytes(), is_head) {
                    Ok(Some(head)) => head,
                    Ok(None) => return Next::Read,
                    Err(bad) => return Next::Close(Outcome::of_bad(bad)),
                };
                buffer.consume(head.head_len);
                if head.status < 200 {
                    *interim += 1;
                    if *interim > INTERIM_MAX {
                        return Next::Close(Outcome::BadHead);
                    }
                    if buffer.is_empty() {
                        return Next::Read;
                    }
                    continue;
                }
                let body = Body::new(head.framing);
                if matches!(body, Body::Length(left) if left > 4 * BUFFER_BYTES as u64) {
                    buffer.resize(BUFFER_BYTES_LARGE);
                }
                *reading = Reading::Body { body, status: head.status, keep_alive: head.keep_alive };
            }
            Reading::Body { body, status, keep_alive } => {
                match body.feed(buffer.bytes(), |_| ()) {
                    Ok(used) => buffer.consume(used),
                    Err(bad) => return Next::Close(Outcome::of_bad(bad)),
                }
                if !body.is_done() {
                    if matches!(body, Body::Chunked(_) | Body::UntilClose) && buffer.is_empty() {
                        buffer.resize(BUFFER_BYTES_LARGE);
                    }
                    return Next::Read;
                }
                let (status, keep_alive) = (*status, *keep_alive);
                *reading = Reading::Head { interim: 0 };
                if buffer.is_empty() && buffer.capacity() > BUFFER_BYTES {
                    buffer.resize(BUFFER_BYTES);
                }
                return complete(engine, rests, index, status, keep_alive, buffer.is_empty());
            }
        }
    }
}

/// An answer is complete: the request ends, and the connection goes on or not.
fn complete(
    engine: &mut Engine,
    rests: &mut Vec<(usize, Rest)>,
    index: usize,
    status: u16,
    keep_alive: bool,
    clean: bool,
) -> Next {
    let outcome = match Outcome::of_status(status, engine.options.expect_status) {
        Outcome::Ok if !clean => Outcome::ExtraBytes,
        other => other,
    };
    // An answer before the request was wholly sent leaves the connection in the middle of that request.
    let reusable = keep_alive && clean && !engine.is_writing(index) && engine.options.keep_alive;
    engine.finish(index, End::new(outcome, status));
    if reusable && !engine.stopping {
        engine.free(index, rests);
        Next::Read
    } else {
        Next::Close(outcome)
    }
}
