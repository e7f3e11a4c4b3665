//! WebSocket tunnels of the load: opened once, then a message is a request and its echo the answer. Chooses no moment and no
//! message.

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use h2::ext::Protocol;
use http::Method;

use super::engine::Engine;
use super::outcome::{End, Outcome};
use super::shared::{Reader, Shared, with_rests};
use super::slot::{Rest, Way};
use super::stream::builder;
use crate::http1::head;
use crate::io::{self, Buffer, Stream};
use crate::link::{Duplex, Link};
use crate::pipe::Pipe;
use crate::websocket::{self, Frames, Opcode, Role};

const BUFFER_BYTES: usize = 16 * 1024;
/// Between two tries to open a tunnel that is refused.
const RETRY: Duration = Duration::from_millis(10);
/// Between two looks at the other tasks of a connection.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The status of an echo: that of the response that opened its tunnel on HTTP/1.1.
const SWITCHED: u16 = 101;

/// A connection as its handshake needs it.
enum Opening<'a> {
    Plain(&'a mut Stream),
    Covered(&'a mut Duplex),
}

impl Opening<'_> {
    async fn write(&mut self, bytes: Bytes) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            Self::Covered(duplex) => {
                duplex.link.write(&bytes)?;
                duplex.link.written().await
            }
        }
    }

    async fn fill(&mut self, buffer: &mut Buffer) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.fill(buffer).await,
            Self::Covered(duplex) => duplex.fill_at_most(buffer, usize::MAX).await,
        }
    }

    /// Asks for the tunnel; bytes behind the response stay in the buffer.
    async fn open(&mut self, request: Bytes, buffer: &mut Buffer) -> Result<(), Outcome> {
        let broken = |error: std::io::Error| match error.kind() {
            ErrorKind::TimedOut => Outcome::Timeout,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Outcome::Reset,
            _ => Outcome::ClosedEarly,
        };
        self.write(request).await.map_err(broken)?;
        loop {
            match head::response(buffer.bytes(), false) {
                Ok(Some(response)) if response.status == SWITCHED => {
                    let told =
                        head::response_field(&buffer.bytes()[..response.head_len], "sec-websocket-accept");
                    let accept = websocket::accept(websocket::KEY.as_bytes());
                    let agrees = told.is_some_and(|told| told == accept.as_bytes());
                    buffer.consume(response.head_len);
                    return if agrees { Ok(()) } else { Err(Outcome::BadHead) };
                }
                Ok(Some(response)) if response.status < 200 => buffer.consume(response.head_len),
                Ok(Some(response)) => {
                    return Err(match Outcome::of_status(response.status, None) {
                        // A success that opens no tunnel.
                        Outcome::Ok => Outcome::Unexpected,
                        refused => refused,
                    });
                }
                Ok(None) => {
                    if buffer.is_full() {
                        buffer.resize(buffer.capacity() * 2);
                    }
                    if self.fill(buffer).await.map_err(broken)? == 0 {
                        return Err(Outcome::ClosedEarly);
                    }
                }
                Err(bad) => return Err(Outcome::of_bad(bad)),
            }
        }
    }
}

/// A connection of HTTP/1.1 from its handshake to its end.
pub async fn converse(engine: &Shared, index: usize, mut stream: Stream) {
    let mut buffer = Buffer::new(BUFFER_BYTES);
    let (request, limit) = asked(engine, index);
    let mut opening = Opening::Plain(&mut stream);
    if let Err(outcome) = within(limit, opening.open(request, &mut buffer)).await {
        return refused(engine, index, outcome).await;
    }
    let fd = stream.fd();
    let (mut reader, writer) = stream.split();
    with_rests(engine, |engine, rests| engine.attach(index, fd, writer, rests));
    let outcome = read_echoes(engine, index, &mut Reader::Plain(&mut reader), buffer).await;
    with_rests(engine, |engine, rests| engine.detach(index, outcome, rests));
}

/// As `converse`, under TLS.
pub async fn converse_covered(engine: &Shared, index: usize, mut duplex: Duplex) {
    let link = duplex.link.clone();
    let mut buffer = Buffer::new(BUFFER_BYTES);
    let (request, limit) = asked(engine, index);
    let mut opening = Opening::Covered(&mut duplex);
    if let Err(outcome) = within(limit, opening.open(request, &mut buffer)).await {
        return refused(engine, index, outcome).await;
    }
    with_rests(engine, |engine, rests| engine.attach_covered(index, link.clone(), rests));
    let outcome = read_echoes(engine, index, &mut Reader::Covered(&mut duplex), buffer).await;
    link.say_goodbye();
    with_rests(engine, |engine, rests| engine.detach(index, outcome, rests));
}

fn asked(engine: &Shared, group: usize) -> (Bytes, Duration) {
    let engine = engine.borrow();
    (engine.opening(group).bytes.clone(), engine.options.connect_timeout.min(engine.options.timeout))
}

async fn within(limit: Duration, opened: impl Future<Output = Result<(), Outcome>>) -> Result<(), Outcome> {
    let mut outcome = Outcome::Timeout;
    let told = async {
        if let Err(told) = opened.await {
            outcome = told;
            return Err(ErrorKind::Other.into());
        }
        Ok(())
    };
    io::within(limit, told).await.map_err(|_| outcome)
}

/// Ends a tunnel that was refused: the requests that wait for it have failed, and the next try does not come at once.
async fn refused(engine: &Shared, group: usize, outcome: Outcome) {
    with_rests(engine, |engine, rests| {
        engine.record.connect_failures += 1;
        engine.fail(group, outcome, rests);
    });
    io::sleep(RETRY).await;
}

async fn read_echoes(engine: &Shared, index: usize, reader: &mut Reader<'_>, mut buffer: Buffer) -> Outcome {
    let mut frames = Frames::of(Role::Server);
    loop {
        let mut bytes = buffer.bytes();
        let taken = with_rests(engine, |engine, rests| take(engine, rests, index, &mut frames, &mut bytes));
        buffer.clear();
        if let Err(outcome) = taken {
            return outcome;
        }
        match reader.fill(&mut buffer).await {
            Ok(Some(counted)) => engine.borrow_mut().record.bytes_in += counted,
            Ok(None) => return Outcome::ClosedEarly,
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                return Outcome::Reset;
            }
            Err(_) => return Outcome::ClosedEarly,
        }
    }
}

/// Takes as many messages as were read; the error is how the tunnel ended.
fn take(
    engine: &mut Engine,
    rests: &mut Vec<(usize, Rest)>,
    index: usize,
    frames: &mut Frames,
    bytes: &mut &[u8],
) -> Result<(), Outcome> {
    while let Some(whole) = frames.next(bytes).map_err(|_| Outcome::BadFraming)? {
        match whole.opcode {
            Opcode::Close => return Err(Outcome::ClosedEarly),
            Opcode::Ping => {
                let payload = frames.take_payload(whole);
                engine.pong(index, &websocket::frame(Role::Client, Opcode::Pong, &payload));
            }
            Opcode::Pong => drop(frames.take_payload(whole)),
            Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                let Some(current) = engine.current(index) else { return Err(Outcome::ExtraBytes) };
                let opening = engine.mix.templates[current.template as usize].opening.as_ref();
                let is_echo = opening.is_some_and(|opening| opening.payload == frames.payload());
                frames.forget();
                engine
                    .finish(index, End::new(if is_echo { Outcome::Ok } else { Outcome::BadEcho }, SWITCHED));
                engine.free(index, rests);
            }
        }
    }
    Ok(())
}

/// A connection of HTTP/2, each of its slots a tunnel by extended CONNECT (RFC 8441).
pub async fn converse_streams(engine: &Shared, group: usize, duplex: Duplex) {
    let link = duplex.link.clone();
    let limit = engine.borrow().options.connect_timeout;
    let builder: Builder = builder();
    let Ok((sender, connection)) = builder.handshake::<_, Bytes>(Pipe::fresh(duplex)).await else {
        return with_rests(engine, |engine, rests| engine.fail(group, Outcome::ClosedEarly, rests));
    };
    let (is_over, tunnels) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0_usize)));
    let over = is_over.clone();
    io::spawn(async move {
        let _ = connection.await;
        over.set(true);
    });
    let begin = Instant::now();
    // The peer allows extended CONNECT by its SETTINGS.
    while !sender.is_extended_connect_protocol_enabled() && !is_over.get() && begin.elapsed() < limit {
        io::sleep(LOOK_EVERY).await;
    }
    if !sender.is_extended_connect_protocol_enabled() {
        drop(sender);
        crate::os::shutdown(link.fd());
        return refused(engine, group, Outcome::Unexpected).await;
    }
    let slots = engine.borrow().slots_of(group);
    for index in slots {
        tunnels.set(tunnels.get() + 1);
        let (engine, sender, link) = (engine.clone(), sender.clone(), link.clone());
        let (is_over, tunnels) = (is_over.clone(), tunnels.clone());
        io::spawn(async move {
            while !is_over.get() && !engine.borrow().stopping {
                let outcome = tunnel(&engine, index, sender.clone(), &link).await;
                with_rests(&engine, |engine, rests| engine.detach(index, outcome, rests));
                io::sleep(RETRY).await;
            }
            tunnels.set(tunnels.get() - 1);
        });
    }
    drop(sender);
    while tunnels.get() > 0 {
        io::sleep(LOOK_EVERY).await;
    }
}

/// A tunnel, from its CONNECT to its end.
async fn tunnel(engine: &Shared, index: usize, sender: SendRequest<Bytes>, link: &Rc<Link>) -> Outcome {
    let (request, limit) = {
        let engine = engine.borrow();
        (engine.opening(engine.slots[index].group).request.clone(), engine.options.connect_timeout)
    };
    let opened = async {
        let mut sender = sender.ready().await?;
        let (response, stream) = sender.send_request(connecting(request), false)?;
        let (head, body) = response.await?.into_parts();
        Ok::<_, h2::Error>((head.status.as_u16(), stream, body))
    };
    let opened = io::within(limit, async { Ok(opened.await) }).await;
    let (status, stream, body) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return Outcome::of_http2(&error),
        Err(_) => return Outcome::Timeout,
    };
    match Outcome::of_status(status, None) {
        Outcome::Ok if status < 300 => {}
        Outcome::Ok => return Outcome::Unexpected,
        refused => return refused,
    }
    with_rests(engine, |engine, rests| {
        engine.connected(index, Way::Tunnel { stream, link: link.clone() }, rests);
    });
    read_stream(engine, index, body).await
}

fn connecting(request: http::Request<()>) -> http::Request<()> {
    let mut request = request;
    *request.method_mut() = Method::CONNECT;
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    request
}

async fn read_stream(engine: &Shared, index: usize, mut body: RecvStream) -> Outcome {
    let mut frames = Frames::of(Role::Server);
    loop {
        let data = std::future::poll_fn(|context| {
            if engine.borrow_mut().is_late(index, context.waker()) {
                return Poll::Ready(Err(Outcome::Timeout));
            }
            body.poll_data(context).map(|data| match data {
                Some(Ok(data)) => Ok(data),
                Some(Err(error)) => Err(Outcome::of_http2(&error)),
                None => Err(Outcome::ClosedEarly),
            })
        });
        let data = match data.await {
            Ok(data) => data,
            Err(outcome) => return outcome,
        };
        let _ = body.flow_control().release_capacity(data.len());
        let mut bytes = &data[..];
        let taken = with_rests(engine, |engine, rests| take(engine, rests, index, &mut frames, &mut bytes));
        if let Err(outcome) = taken {
            return outcome;
        }
    }
}
