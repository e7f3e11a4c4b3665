//! A lane whose copies are written to files: each is handed to the capture's writer as soon as that has room, and is done with
//! then. Its way to the disk is the writer's account.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Shipper;
use super::work::Work;
use crate::io::turn;
use crate::limits::CAPTURED_PER_TURN;
use crate::metrics::FailReason;
use crate::mirror::feed::{Captured, Feed};
use crate::observe::pairing::Half;

/// A copy that is handed over counts as this: nothing answers it.
const TAKEN: u16 = 200;

impl Shipper {
    /// Hands copies over until drained.
    pub async fn run_capture(self, mut feed: Feed) {
        let mut work = Work::default();
        let mut taken = 0_usize;
        loop {
            self.lane.awake();
            while feed.has_room() || feed.is_closed() {
                let Some((copy, bytes)) = self.lane.take_weighed() else { break };
                let copy = if self.wants_work(&copy) { self.work(copy, &mut work).await } else { Some(copy) };
                let Some(mut copy) = copy else { continue };
                copy.ticket.send(self.sweeper.now_us());
                if feed.is_closed() {
                    copy.ticket.fail(FailReason::Closed);
                    continue;
                }
                let lag_us = copy.ticket.joined().map_or(0, |joined| joined.lag_us);
                let now_us =
                    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
                let at_us = u64::try_from(now_us).unwrap_or(u64::MAX).saturating_sub(lag_us);
                let captured = Captured { at_us, head: copy.head, pieces: copy.pieces, bytes };
                match feed.push(captured) {
                    Ok(()) => {
                        let half = Half { status: TAKEN, ..Half::default() };
                        copy.ticket.complete(half, None);
                    }
                    // Only where copies of one kind waited for their turn: room was looked for before.
                    Err(_) => copy.ticket.fail(FailReason::Closed),
                }
                taken += 1;
                if taken.is_multiple_of(CAPTURED_PER_TURN) {
                    turn().await;
                }
            }
            if self.lane.is_closed() || (self.lane.is_last_call() && self.lane.is_empty()) {
                return;
            }
            // Called by the next copy, and by the tick while any waits.
            self.lane.sleep(self.number, false).await;
        }
    }
}
