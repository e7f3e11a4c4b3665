//! An HTTP/2 connection of one port: answers every stream by the port's plan, or breaks it by its fault. gRPC is told by its
//! content type. Framing is the h2 crate's.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};

use super::answer::PIECE_BYTES;
use super::behavior::{AnswerFraming, Behavior, Content};
use super::fault::Fault;
use super::incoming::Incoming;
use super::local::{InFlight, PortLocal};
use super::over::{ECHO_BYTES_MAX, Over, SLOW_TICKS_PER_S};
use super::port::bump;
use crate::io::{self, Buffer};
use crate::link::{Duplex, Link};
use crate::pipe::Pipe;
use crate::{grpc, os};

const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
const STREAMS_MAX: u32 = 1000;
/// Of requests; every field of an HTTP/1.1 head that is accepted fits.
const HEADER_LIST_BYTES_MAX: u32 = 256 << 10;

/// Requests of streams to their connection.
#[derive(Default)]
struct Wishes {
    /// GOAWAY at once, with streams under way.
    abrupt: Cell<bool>,
    /// GOAWAY, and the end when the streams have ended.
    graceful: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Wishes {
    fn wish(&self, what: &Cell<bool>) {
        what.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// State shared by all streams of a connection.
pub(super) struct Shared {
    pub(super) local: Rc<PortLocal>,
    link: Rc<Link>,
    number: u64,
    answers: Cell<u64>,
    wishes: Wishes,
}

pub async fn serve(duplex: Duplex, buffer: Buffer, local: Rc<PortLocal>, number: u64) {
    let link = duplex.link.clone();
    let mut is_shut = local.fault() == Fault::ZeroWindow;
    let window = if is_shut { 0 } else { STREAM_WINDOW_BYTES };
    let mut builder = Builder::new();
    builder
        .initial_window_size(window)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .enable_connect_protocol();
    let Ok(mut connection) = builder.handshake::<_, Bytes>(Pipe::new(duplex, buffer)).await else { return };
    let shared = Rc::new(Shared {
        local: local.clone(),
        link: link.clone(),
        number,
        answers: Cell::new(0),
        wishes: Wishes::default(),
    });
    loop {
        while local.fault().forbids_reading() {
            local.changed.notified().await;
        }
        // A connection outlives its fault: with the next request after it, content may be sent again.
        if is_shut && local.fault() != Fault::ZeroWindow {
            is_shut = connection.set_initial_window_size(STREAM_WINDOW_BYTES).is_err();
        }
        let accepted = std::future::poll_fn(|context| {
            if shared.wishes.abrupt.take() {
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            }
            if shared.wishes.graceful.take() {
                connection.graceful_shutdown();
            }
            *shared.wishes.waker.borrow_mut() = Some(context.waker().clone());
            let accepted = connection.poll_accept(context);
            count(&local, &link);
            accepted
        })
        .await;
        match accepted {
            Some(Ok((request, respond))) => {
                let shared = shared.clone();
                io::spawn(async move {
                    let _ = exchange(shared, request, respond).await;
                });
            }
            // Asked again, it would say the same for ever.
            Some(Err(error)) => {
                let is_broken = !error.is_io();
                bump(&local.counters().requests_bad, u64::from(is_broken));
                break;
            }
            None => break,
        }
    }
    count(&local, &link);
}

fn count(local: &PortLocal, link: &Link) {
    let (bytes_in, bytes_out) = link.take_bytes();
    bump(&local.counters().bytes_in, bytes_in);
    bump(&local.counters().bytes_out, bytes_out);
}

/// A stream failed, or its connection: nothing more can be said on it.
impl From<h2::Error> for Over {
    fn from(_: h2::Error) -> Self {
        Self
    }
}

async fn exchange(
    shared: Rc<Shared>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), Over> {
    let local = shared.local.clone();
    let _in_flight = InFlight::new(local.counters());
    let plan = local.plan();
    let mut behavior = plan.plan.behavior.clone();
    if let Some(query) = request.uri().query() {
        behavior.apply_query(query);
    }
    let (head, body) = request.into_parts();
    let is_grpc =
        head.headers.get("content-type").is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"));
    let is_websocket =
        head.extensions.get::<Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket");
    let mut incoming = Incoming::new(body, &head, shared.number);
    let answer = Answer { shared: &shared, behavior: &behavior, to_head: head.method == http::Method::HEAD };
    if is_websocket {
        answer.echo(&mut incoming, &mut respond).await?;
    } else if is_grpc {
        answer.grpc(&mut incoming, &mut respond).await?;
    } else if behavior.early {
        answer.give(Bytes::new(), &mut respond).await?;
        incoming.read(&local, |_| ()).await?;
    } else {
        let mut kept = Vec::new();
        let keeps = behavior.content == Content::Echo;
        incoming
            .read(&local, |data| {
                if keeps && kept.len() + data.len() <= ECHO_BYTES_MAX {
                    kept.extend_from_slice(data);
                }
            })
            .await?;
        answer.give(kept.into(), &mut respond).await?;
    }
    bump(&local.counters().answers, 1);
    shared.answers.set(shared.answers.get() + 1);
    if behavior.requests_per_connection_max.is_some_and(|max| shared.answers.get() >= max) {
        shared.wishes.wish(&shared.wishes.graceful);
    }
    Ok(())
}

pub(super) struct Answer<'a> {
    pub(super) shared: &'a Shared,
    pub(super) behavior: &'a Behavior,
    to_head: bool,
}

impl Answer<'_> {
    /// Waits as behaviour and fault want it.
    async fn wait(&self) {
        let local = &self.shared.local;
        let delay = self.behavior.delay.draw(&mut local.random.borrow_mut(), || local.port.in_flight());
        local.alarm.sleep(delay).await;
        while matches!(local.fault(), Fault::Hold | Fault::NeverAnswer) {
            local.changed.notified().await;
        }
        if let Fault::AnswerAfter(extra) = local.fault() {
            local.alarm.sleep(extra).await;
        }
    }

    /// A whole answer that is not gRPC's.
    async fn give(&self, echoed: Bytes, respond: &mut SendResponse<Bytes>) -> Result<(), Over> {
        self.wait().await;
        let local = &self.shared.local;
        let fault = local.fault();
        let (status, size) = {
            let mut random = local.random.borrow_mut();
            let size = match self.behavior.content {
                Content::Echo => echoed.len() as u64,
                Content::Size { low, high } => random.u64(low..=high),
            };
            (self.behavior.status.draw(&mut random), size)
        };
        self.interim(respond, fault).await?;
        let is_bodiless = matches!(status, 204 | 304);
        let mut response = Response::builder().status(status).header("server", "loadgen");
        let said = if matches!(fault, Fault::BadFraming(_)) { size + 1000 } else { size };
        if self.behavior.framing == AnswerFraming::Length && !is_bodiless && fault != Fault::EndlessChunked {
            response = response.header("content-length", said);
        }
        if let Fault::OversizeHead(bytes) = fault {
            response = response.header("x-oversize", "x".repeat(bytes as usize));
        }
        let response = response.body(()).map_err(|_| Over)?;
        let is_empty = is_bodiless || self.to_head || size == 0 && fault != Fault::EndlessChunked;
        let mut stream = respond.send_response(response, is_empty)?;
        if is_empty {
            return Ok(());
        }
        if fault == Fault::Garbage {
            let _ = self.shared.link.write(&[0xfe; 256]);
            return Ok(());
        }
        let mut left = if fault == Fault::EndlessChunked { u64::MAX } else { size };
        let mut sent = 0;
        while left > 0 {
            let piece = match self.behavior.content {
                Content::Echo => echoed.slice(sent as usize..echoed.len().min(sent as usize + PIECE_BYTES)),
                Content::Size { .. } => local.pattern.slice(..left.min(PIECE_BYTES as u64) as usize),
            };
            let piece = if piece.is_empty() { local.pattern.clone() } else { piece };
            let piece = self.cut(&mut stream, piece, sent).await?;
            left -= (piece.len() as u64).min(left);
            sent += piece.len() as u64;
            self.send(&mut stream, piece, left == 0).await?;
        }
        Ok(())
    }

    async fn interim(&self, respond: &mut SendResponse<Bytes>, fault: Fault) -> Result<(), Over> {
        let hints = || Response::builder().status(103).header("link", "</a>").body(()).map_err(|_| Over);
        for _ in 0..self.behavior.interim {
            respond.send_informational(hints()?)?;
        }
        while fault == Fault::EndlessInterim && self.shared.local.fault() == fault {
            respond.send_informational(hints()?)?;
            self.shared.local.alarm.sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// The part of a piece that a fault lets pass; at the end of that part the fault is carried out.
    pub(super) async fn cut(
        &self,
        stream: &mut SendStream<Bytes>,
        piece: Bytes,
        sent: u64,
    ) -> Result<Bytes, Over> {
        let fault = self.shared.local.fault();
        let (Fault::ResetAt(at) | Fault::CloseAt(at) | Fault::TruncateAt(at) | Fault::GoAwayAt(at)) = fault
        else {
            return Ok(piece);
        };
        let pass = at.saturating_sub(sent);
        if pass >= piece.len() as u64 && pass > 0 {
            return Ok(piece);
        }
        if pass > 0 {
            self.send(stream, piece.slice(..pass as usize), false).await?;
        }
        // Everything before the fault is written first.
        self.settle().await;
        match fault {
            Fault::ResetAt(_) => stream.send_reset(Reason::INTERNAL_ERROR),
            Fault::GoAwayAt(_) => self.shared.wishes.wish(&self.shared.wishes.abrupt),
            Fault::CloseAt(_) => {
                self.shared.link.say_goodbye();
                os::shutdown_write(self.shared.link.fd());
            }
            _ => os::shutdown_write(self.shared.link.fd()),
        }
        // Dropped, a stream would be reset.
        while self.shared.local.fault() == fault && !self.shared.link.is_broken() {
            let ended = std::future::poll_fn(|context| match stream.poll_reset(context) {
                Poll::Ready(_) => Poll::Ready(true),
                Poll::Pending => Poll::Ready(false),
            });
            if ended.await || matches!(fault, Fault::ResetAt(_)) {
                break;
            }
            self.shared.local.alarm.sleep(Duration::from_millis(20)).await;
        }
        Err(Over)
    }

    /// Lets the connection's task write the streams' frames.
    async fn settle(&self) {
        self.shared.local.alarm.sleep(Duration::from_millis(2)).await;
        let _ = self.shared.link.written().await;
    }

    pub(super) async fn send(
        &self,
        stream: &mut SendStream<Bytes>,
        mut piece: Bytes,
        is_last: bool,
    ) -> Result<(), Over> {
        if let Fault::SlowWrite(per_s) = self.shared.local.fault() {
            let step = (per_s / SLOW_TICKS_PER_S).max(1) as usize;
            let pause = Duration::from_nanos(1_000_000_000 / per_s.clamp(1, SLOW_TICKS_PER_S));
            while piece.len() > step {
                send_all(stream, piece.split_to(step), false).await?;
                self.shared.local.alarm.sleep(pause).await;
            }
        }
        send_all(stream, piece, is_last).await
    }

    /// gRPC: echoes each piece as it comes, or says so many messages when the request is whole.
    async fn grpc(&self, incoming: &mut Incoming, respond: &mut SendResponse<Bytes>) -> Result<(), Over> {
        let local = &self.shared.local;
        let begin = |respond: &mut SendResponse<Bytes>| -> Result<SendStream<Bytes>, Over> {
            let response = Response::builder().status(200).header("content-type", "application/grpc");
            Ok(respond.send_response(response.body(()).map_err(|_| Over)?, false)?)
        };
        let mut sent = 0;
        let mut stream = match self.behavior.content {
            Content::Echo => {
                self.wait().await;
                let mut stream = begin(respond)?;
                while let Some(data) = incoming.next(local).await? {
                    let data = self.cut(&mut stream, data, sent).await?;
                    sent += data.len() as u64;
                    self.send(&mut stream, data, false).await?;
                }
                incoming.complete(local);
                stream
            }
            Content::Size { low, high } => {
                incoming.read(local, |_| ()).await?;
                self.wait().await;
                let mut stream = begin(respond)?;
                for _ in 0..self.behavior.messages {
                    let size = local.random.borrow_mut().u64(low..=high);
                    let message = grpc::frame(&local.pattern[..size.min(PIECE_BYTES as u64) as usize]);
                    let message = self.cut(&mut stream, message, sent).await?;
                    sent += message.len() as u64;
                    self.send(&mut stream, message, false).await?;
                }
                stream
            }
        };
        if local.fault() == Fault::NoTrailers {
            stream.send_data(Bytes::new(), true)?;
            return Ok(());
        }
        let status = self.behavior.grpc_status.draw(&mut local.random.borrow_mut());
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(status));
        stream.send_trailers(trailers)?;
        Ok(())
    }
}

/// Sends as the peer's windows allow.
async fn send_all(stream: &mut SendStream<Bytes>, mut bytes: Bytes, is_last: bool) -> Result<(), Over> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let room = match stream.capacity() {
            0 => std::future::poll_fn(|context| stream.poll_capacity(context)).await.ok_or(Over)??,
            room => room,
        };
        let piece = bytes.split_to(room.min(bytes.len()));
        stream.send_data(piece, is_last && bytes.is_empty())?;
    }
    Ok(())
}
