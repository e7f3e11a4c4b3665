//! The work on a copy before it is sent for the first time.

use super::Shipper;
use crate::io::turn;
use crate::limits::REDACT_TURN_BYTES;
use crate::metrics::DropReason;
use crate::mirror::copy::{RequestCopy, Searching};

/// The work of one turn on copies before they are sent.
#[derive(Debug, Default)]
pub(super) struct Work {
    stale: u32,
    unsearched_bytes: usize,
}

/// Stale copies given up in one turn.
const STALE_PER_TURN: u32 = 64;

impl Shipper {
    /// Whether something is to be done with a new copy before it is sent.
    pub(super) fn wants_work(&self, copy: &RequestCopy) -> bool {
        copy.unsearched.is_some() || copy.stale_ms <= self.sweeper.now_ms()
    }

    /// Gives it up where it waited too long, and takes its secrets out where it may have some.
    pub(super) async fn work(&self, copy: RequestCopy, work: &mut Work) -> Option<RequestCopy> {
        if copy.stale_ms <= self.sweeper.now_ms() {
            copy.ticket.drop(DropReason::Stale);
            self.buffers.give(copy.head);
            work.stale += 1;
            if work.stale.is_multiple_of(STALE_PER_TURN) {
                turn().await;
            }
            return None;
        }
        work.unsearched_bytes += copy.pieces.iter().map(|piece| piece.len()).sum::<usize>();
        if work.unsearched_bytes > REDACT_TURN_BYTES {
            work.unsearched_bytes = 0;
            turn().await;
        }
        self.search(copy).await
    }

    /// Takes the secrets out of a copy's content, a bounded part of it a turn: a long body must not hold up the worker.
    async fn search(&self, mut copy: RequestCopy) -> Option<RequestCopy> {
        let Some(unsearched) = copy.unsearched.take() else { return Some(copy) };
        let pieces = std::mem::take(&mut copy.pieces);
        let searched = async {
            let mut searching = Searching::begin(&unsearched, &copy.head, &pieces)?;
            while !searching.turn()? {
                turn().await;
            }
            searching.end(&mut copy.head)
        };
        match searched.await {
            Ok(content) => {
                copy.pieces.push(content);
                Some(copy)
            }
            Err(why) => {
                copy.ticket.drop(why);
                self.buffers.give(copy.head);
                None
            }
        }
    }
}
