//! Answers of the admin listener on their way out: the bytes of them that are held, and the answer that is cut when there is no
//! room.
//!
//! An answer is text that is ready, and a client that does not read it keeps it in memory. So it is handed out a piece at a
//! time, and waiting bytes have a budget: where a new answer finds no room, the one that has waited longest is cut. The room
//! knows no page.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::{error, fmt};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use crate::limits::ADMIN_ANSWERS_BYTES_MAX;

/// Bytes handed out at once: as much is held twice for each connection.
const PIECE_BYTES: usize = 64 * 1024;

/// All answers under way.
#[derive(Debug)]
pub(crate) struct Outgoing {
    bytes_max: usize,
    /// The longest first.
    waiting: Mutex<VecDeque<Weak<Waiting>>>,
    /// Answers cut for want of room.
    cut: Arc<AtomicU64>,
}

/// An answer on its way out.
struct Waiting {
    /// Bytes that it keeps until its last piece is handed out, however much of it is gone.
    bytes: usize,
    rest: Mutex<Rest>,
}

enum Rest {
    Bytes(Bytes),
    Lines(Box<dyn Iterator<Item = String> + Send>),
    Over,
    Cut,
}

/// Content in lines, each made when it is wanted; a page answers with it as an extension of an empty answer.
#[derive(Clone)]
pub(super) struct Lines(Arc<Mutex<Rest>>, usize);

impl Lines {
    /// `bytes`: the memory that is kept for the lines.
    pub(super) fn new(bytes: usize, lines: impl Iterator<Item = String> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Rest::Lines(Box::new(lines)))), bytes)
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiting {
    fn held(&self) -> usize {
        match &*lock(&self.rest) {
            Rest::Bytes(_) | Rest::Lines(_) => self.bytes,
            Rest::Over | Rest::Cut => 0,
        }
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Waiting({})", self.held())
    }
}

impl Outgoing {
    /// `cut` counts the answers that were cut.
    pub(super) fn new(cut: Arc<AtomicU64>) -> Self {
        Self { bytes_max: ADMIN_ANSWERS_BYTES_MAX, waiting: Mutex::default(), cut }
    }

    /// A body that is handed out within the budget.
    fn body(&self, rest: Rest, bytes: usize) -> Body {
        let waiting = Arc::new(Waiting { bytes, rest: Mutex::new(rest) });
        let mut all = lock(&self.waiting);
        all.retain(|other| other.strong_count() > 0);
        let mut held: usize = all.iter().filter_map(Weak::upgrade).map(|other| other.held()).sum();
        while held + bytes > self.bytes_max
            && let Some(longest) = all.pop_front()
        {
            let Some(longest) = longest.upgrade() else { continue };
            let freed = longest.held();
            if freed > 0 {
                held = held.saturating_sub(freed);
                *lock(&longest.rest) = Rest::Cut;
                self.cut.fetch_add(1, Relaxed);
            }
        }
        all.push_back(Arc::downgrade(&waiting));
        Body::new(Pieces { waiting })
    }
}

/// An answer's body.
#[derive(Debug)]
struct Pieces {
    waiting: Arc<Waiting>,
}

/// The error of a body that ends early: the connection is closed, so that no reader takes its part for the whole.
#[derive(Debug)]
struct CutShort;

impl fmt::Display for CutShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer was cut: its reader was slow, and others wanted the room")
    }
}

impl error::Error for CutShort {}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        let rest = &mut *lock(&self.waiting.rest);
        let piece = match rest {
            Rest::Cut => Some(Err(CutShort)),
            Rest::Over => None,
            Rest::Lines(lines) => lines.next().map(|line| Ok(Frame::data(line.into()))),
            Rest::Bytes(bytes) => {
                let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
                // A part of it would keep all of it.
                Some(Ok(Frame::data(Bytes::copy_from_slice(&piece))))
            }
        };
        if piece.is_none() || matches!(rest, Rest::Bytes(bytes) if bytes.is_empty()) {
            *rest = Rest::Over;
        }
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        matches!(*lock(&self.waiting.rest), Rest::Over)
    }

    fn size_hint(&self) -> SizeHint {
        match &*lock(&self.waiting.rest) {
            Rest::Bytes(rest) => SizeHint::with_exact(u64::try_from(rest.len()).unwrap_or(u64::MAX)),
            Rest::Over => SizeHint::with_exact(0),
            Rest::Lines(_) | Rest::Cut => SizeHint::default(),
        }
    }
}

/// Layer between the pages and the wire: every answer is counted against the budget.
pub(super) async fn weighed(State(outgoing): State<Arc<Outgoing>>, request: Request, next: Next) -> Response {
    let (mut head, body) = next.run(request).await.into_parts();
    if let Some(Lines(rest, bytes)) = head.extensions.remove() {
        let lines = std::mem::replace(&mut *lock(&rest), Rest::Over);
        return Response::from_parts(head, outgoing.body(lines, bytes));
    }
    match axum::body::to_bytes(body, usize::MAX).await {
        Ok(bytes) if bytes.is_empty() => Response::from_parts(head, Body::empty()),
        Ok(bytes) => {
            let held = bytes.len();
            Response::from_parts(head, outgoing.body(Rest::Bytes(bytes), held))
        }
        // Pages answer with text that is ready.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing() -> Outgoing {
        Outgoing { bytes_max: 3 * PIECE_BYTES, ..Outgoing::new(Arc::default()) }
    }

    fn text(pieces: usize) -> (Rest, usize) {
        let bytes = Bytes::from(vec![b'x'; pieces * PIECE_BYTES]);
        let held = bytes.len();
        (Rest::Bytes(bytes), held)
    }

    async fn read(body: Body) -> Option<usize> {
        axum::body::to_bytes(body, usize::MAX).await.ok().map(|bytes| bytes.len())
    }

    fn body(outgoing: &Outgoing, (rest, bytes): (Rest, usize)) -> Body {
        outgoing.body(rest, bytes)
    }

    #[tokio::test]
    async fn who_waits_longest_goes_where_a_new_answer_finds_no_room() {
        let outgoing = outgoing();
        let [first, second] = [body(&outgoing, text(2)), body(&outgoing, text(1))];
        let third = body(&outgoing, text(2));
        assert_eq!(outgoing.cut.load(Relaxed), 1);
        assert_eq!((read(first).await, read(second).await), (None, Some(PIECE_BYTES)));
        assert_eq!(read(third).await, Some(2 * PIECE_BYTES));
        // An answer that is read or dropped makes room, and a lone one may be larger than all of it.
        drop(body(&outgoing, text(3)));
        assert_eq!(read(body(&outgoing, text(5))).await, Some(5 * PIECE_BYTES));
        assert_eq!(outgoing.cut.load(Relaxed), 1);
    }

    #[tokio::test]
    async fn lines_are_made_when_they_are_wanted() {
        let outgoing = outgoing();
        let made = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&made);
        let lines = (0..3).map(move |n| {
            count.fetch_add(1, Relaxed);
            format!("{n}\n")
        });
        let body = outgoing.body(Rest::Lines(Box::new(lines)), 10);
        assert_eq!(made.load(Relaxed), 0);
        assert_eq!(axum::body::to_bytes(body, usize::MAX).await.unwrap(), "0\n1\n2\n");
    }
}
