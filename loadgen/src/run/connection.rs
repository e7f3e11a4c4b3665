//! One connection's place in the load: connects when wanted, reads answers, tells the engine how each ended. Chooses
//! no moment and no request.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::engine::{Engine, Rest};
use super::outcome::Outcome;
use crate::http1::body::Body;
use crate::http1::head;
use crate::io::{self, Buffer, ReadHalf, Stream};

const BUFFER_BYTES: usize = 4 * 1024;
const BUFFER_BYTES_LARGE: usize = 128 * 1024;
/// In a closed loop a place that cannot connect tries again this much later, not at once.
const CLOSED_RETRY: Duration = Duration::from_millis(10);
/// Interim answers to one request above this are nonsense.
const INTERIM_MAX: u32 = 1000;

pub type Shared = Rc<RefCell<Engine>>;

/// State of the response by the bytes read so far.
enum Reading {
    Head { interim: u32 },
    Body { body: Body, status: u16, keep_alive: bool },
}

enum Next {
    Read,
    Close(Outcome),
}

/// Runs a place until the engine stops. `warm`: connects before the first request.
pub async fn place(engine: Shared, index: usize, warm: bool) {
    let (addr, limit) = {
        let engine = engine.borrow();
        (engine.slot_addr(index), engine.options.connect_timeout.min(engine.options.timeout))
    };
    let mut first = warm;
    loop {
        if !first && !wanted(&engine, index).await {
            break;
        }
        let begin = Instant::now();
        match Stream::connect(addr, limit).await {
            Ok(stream) => {
                {
                    let mut engine = engine.borrow_mut();
                    engine.record.connects += 1;
                    engine.record.connect.saturating_record(begin.elapsed().as_nanos() as u64);
                    warmed(&mut engine, &mut first);
                }
                converse(&engine, index, stream).await;
            }
            Err(error) => {
                let outcome = Outcome::of_connect_error(&error);
                let closed = {
                    let mut engine = engine.borrow_mut();
                    engine.record.connect_failures += 1;
                    warmed(&mut engine, &mut first);
                    engine.finish(index, outcome, 0);
                    engine.is_closed()
                };
                if closed {
                    io::sleep(CLOSED_RETRY).await;
                }
                with_rests(&engine, |engine, rests| engine.free(index, rests));
            }
        }
        if engine.borrow().stopping {
            break;
        }
    }
    engine.borrow_mut().live_tasks -= 1;
}

/// The first try to connect is over, well or not.
fn warmed(engine: &mut Engine, first: &mut bool) {
    if std::mem::take(first) {
        engine.warming = engine.warming.saturating_sub(1);
    }
}

async fn wanted(engine: &Shared, index: usize) -> bool {
    std::future::poll_fn(|context| match engine.borrow_mut().wanted(index, context.waker()) {
        Some(wanted) => Poll::Ready(wanted),
        None => Poll::Pending,
    })
    .await
}

/// Runs `act` on the engine and starts a task for every write it could not finish.
pub fn with_rests<T>(engine: &Shared, act: impl FnOnce(&mut Engine, &mut Vec<(usize, Rest)>) -> T) -> T {
    let mut rests = Vec::new();
    let result = act(&mut engine.borrow_mut(), &mut rests);
    spawn_rests(engine, rests);
    result
}

pub fn spawn_rests(engine: &Shared, rests: Vec<(usize, Rest)>) {
    for (index, mut rest) in rests {
        let engine = engine.clone();
        io::spawn(async move {
            let count = rest.bytes.len() as u64;
            // A failed write ends the connection, which its reader sees and names.
            if rest.writer.write_all(rest.bytes).await.is_ok() {
                engine.borrow_mut().written(index, rest.number, count, rest.writer);
            }
        });
    }
}

/// One connection from its first byte to its last.
async fn converse(engine: &Shared, index: usize, stream: Stream) {
    let fd = stream.fd();
    let (mut reader, writer) = stream.split();
    with_rests(engine, |engine, rests| engine.attach(index, fd, writer, rests));
    let outcome = read_answers(engine, index, &mut reader).await;
    with_rests(engine, |engine, rests| {
        // The last answer may have been complete and only the connection over.
        engine.detach(index, outcome, rests);
    });
}

async fn read_answers(engine: &Shared, index: usize, reader: &mut ReadHalf) -> Outcome {
    let mut buffer = Buffer::new(BUFFER_BYTES);
    let mut reading = Reading::Head { interim: 0 };
    loop {
        if buffer.is_full() {
            buffer.resize(buffer.capacity() * 2);
        }
        match reader.fill(&mut buffer).await {
            Ok(count) if count > 0 => {
                engine.borrow_mut().record.bytes_in += count as u64;
                let next =
                    with_rests(engine, |engine, rests| take(engine, rests, index, &mut reading, &mut buffer));
                if let Next::Close(outcome) = next {
                    return outcome;
                }
            }
            Ok(_) => return ended(engine, index, &reading, buffer.is_empty()),
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
            engine.finish(index, outcome, *status);
            outcome
        }
        Reading::Head { interim: 0 } if nothing_yet => Outcome::ClosedEarly,
        Reading::Head { .. } | Reading::Body { .. } => Outcome::Truncated,
    }
}

fn broken(error: &std::io::Error, reading: &Reading, nothing_yet: bool) -> Outcome {
    match (error.kind(), reading) {
        (ErrorKind::ConnectionReset | ErrorKind::BrokenPipe, _) => Outcome::Reset,
        (_, Reading::Head { interim: 0 }) if nothing_yet => Outcome::ClosedEarly,
        _ => Outcome::Truncated,
    }
}

/// Takes what was read as far as it goes.
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
    engine.finish(index, outcome, status);
    if reusable && !engine.stopping {
        engine.free(index, rests);
        Next::Read
    } else {
        Next::Close(outcome)
    }
}
