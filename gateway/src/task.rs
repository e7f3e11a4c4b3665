//! Small futures the rooms share: wait for the one that decides, and outlive a panic.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;

/// How [`until`] ended.
pub enum Until<S, D> {
    /// The deciding future ended; the side future's output, if it had ended by then.
    Decided(D, Option<S>),
    /// The side future ended in a way that ends both.
    Stopped(S),
}

/// Runs `side` beside `decides` until `decides` ends, or `side` ends before it with something that `stops` both. Where
/// `decides` ended with something that `waits`, `side` is then run to its end; otherwise it is dropped where it stands.
pub async fn until<S, D>(
    side: impl Future<Output = S>,
    decides: impl Future<Output = D>,
    stops: impl Fn(&S) -> bool,
    waits: impl Fn(&D) -> bool,
) -> Until<S, D> {
    let (mut side, mut decides) = (pin!(side), pin!(decides));
    let (mut side_out, mut decided) = (None, None);
    poll_fn(|cx| {
        if side_out.is_none()
            && let Poll::Ready(out) = side.as_mut().poll(cx)
        {
            if decided.is_none() && stops(&out) {
                return Poll::Ready(Until::Stopped(out));
            }
            side_out = Some(out);
        }
        if decided.is_none()
            && let Poll::Ready(out) = decides.as_mut().poll(cx)
        {
            decided = Some(out);
        }
        match decided.take() {
            Some(out) if side_out.is_some() || !waits(&out) => {
                Poll::Ready(Until::Decided(out, side_out.take()))
            }
            undecided => {
                decided = undecided;
                Poll::Pending
            }
        }
    })
    .await
}

/// Runs `future`; a panic in it comes back as `Err` instead of ending the worker (monoio does not catch panics of tasks).
///
/// Takes it pinned: a future moved in here would be held twice, as the argument and where it is pinned, for as long as
/// its connection lives.
pub async fn caught<F: Future>(mut future: Pin<&mut F>) -> Result<F::Output, Box<dyn Any + Send>> {
    // After a panic the future is never polled again, only dropped, so no broken state of it is seen.
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Ready(out)) => Poll::Ready(Ok(out)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}
