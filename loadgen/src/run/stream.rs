//! HTTP/2 streams of the load: one task makes a connection and keeps it moving, one for each stream reads the answers.
//! Chooses no moment and no request.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture};
use h2::{Reason, SendStream};

use super::outcome::{End, Outcome};
use super::shared::{Shared, with_rests};
use crate::grpc::Messages;
use crate::link::Duplex;
use crate::pipe::Pipe;

/// The bytes that a target may send ahead of our reading: our windows must not be its limit.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// Of answers.
const HEADER_LIST_BYTES_MAX: u32 = 256 << 10;

/// A connection of the load.
pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .enable_push(false);
    builder
}

/// A connection from its preface to its end; whether another is wanted in its place: the server ended it without an error
/// (GOAWAY with NO_ERROR, RFC 9113 §6.8, or its FIN) after requests on it, and more requests come.
pub async fn converse(engine: &Shared, group: usize, duplex: Duplex) -> bool {
    let link = duplex.link.clone();
    let Ok((sender, connection)) = builder().handshake::<_, Bytes>(Pipe::fresh(duplex)).await else {
        with_rests(engine, |engine, rests| engine.fail(group, Outcome::ClosedEarly, rests));
        return false;
    };
    with_rests(engine, |engine, rests| engine.attach_streams(group, &sender, &link, rests));
    drop(sender);
    // Its streams are told why it ended.
    let ended = connection.await;
    let is_wanted = ended.is_ok() && engine.borrow().was_asked(group) && !engine.borrow().is_exhausted();
    let went_away = ended.is_err_and(|error| error.is_go_away() && error.is_remote());
    with_rests(engine, |engine, rests| engine.detach_streams(group, went_away, rests));
    is_wanted
}

/// Reads the answers to one slot's requests until the engine stops.
pub async fn read_answers(engine: Shared, index: usize) {
    let next = || {
        std::future::poll_fn(|context| match engine.borrow_mut().asked(index, context.waker()) {
            Some(asked) => Poll::Ready(asked),
            None => Poll::Pending,
        })
    };
    while let Some(asked) = next().await {
        let end = match asked {
            Ok((response, stream)) => answer(&engine, index, response, stream).await,
            Err(error) => Err(error),
        };
        with_rests(&engine, |engine, rests| {
            let end = end.unwrap_or_else(|error| End::new(engine.outcome_of(index, &error), 0));
            engine.finish(index, end);
            engine.free(index, rests);
        });
    }
    engine.borrow_mut().live_tasks -= 1;
}

/// `None` of the future: the engine waits no longer.
async fn unless_given_up<T>(engine: &Shared, index: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        if engine.borrow_mut().is_given_up(index, context.waker()) {
            return Poll::Ready(None);
        }
        future.as_mut().poll(context).map(Some)
    })
    .await
}

async fn answer(
    engine: &Shared,
    index: usize,
    response: ResponseFuture,
    mut stream: SendStream<Bytes>,
) -> Result<End, h2::Error> {
    match unless_given_up(engine, index, read(engine, response)).await {
        Some(end) => end,
        None => {
            stream.send_reset(Reason::CANCEL);
            Ok(End::new(Outcome::Timeout, 0))
        }
    }
}

async fn read(engine: &Shared, response: ResponseFuture) -> Result<End, h2::Error> {
    let (head, mut body) = response.await?.into_parts();
    let (status, expected, is_grpc) = {
        let options = &engine.borrow().options;
        (head.status.as_u16(), options.expect_status, options.grpc)
    };
    let mut messages = Messages::default();
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        if is_grpc {
            engine.borrow_mut().record.messages_in += messages.feed(&data);
        }
    }
    let trailers = body.trailers().await?;
    let outcome = Outcome::of_status(status, expected);
    if !is_grpc || outcome != Outcome::Ok {
        return Ok(End::new(outcome, status));
    }
    let fields = trailers.as_ref().unwrap_or(&head.headers);
    let grpc = fields.get("grpc-status").and_then(|value| value.to_str().ok()?.parse().ok());
    let outcome = match grpc {
        Some(0) if messages.is_between() => Outcome::Ok,
        Some(0) | None => Outcome::GrpcIncomplete,
        Some(_) => Outcome::GrpcStatus,
    };
    Ok(End { outcome, status, grpc })
}
