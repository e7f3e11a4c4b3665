//! How a shipper pays for its reading: it leaves the worker to others for as long as that costs.

use super::Shipper;
use crate::io;
use crate::limits::ANSWER_LONG_TIMES;

impl Shipper {
    /// Counts the cost of long answers, in bytes of one.
    pub(super) fn spend(&self, bytes: u64) {
        if bytes > 0 {
            self.lane.spend(bytes, self.sweeper.now_ms());
            self.pay(bytes);
        }
    }

    pub(super) fn pay(&self, bytes: u64) {
        self.paid_us.set(self.lane.pacer.spend(bytes, self.sweeper.now_us()));
    }

    /// A read was full: more is on its way.
    pub(super) fn read_much(&self, bytes: usize) {
        self.pay(bytes as u64 / ANSWER_LONG_TIMES);
    }

    /// Leaves the worker to others for as long as the last work costs.
    pub(super) async fn make_way(&self) {
        let paid_us = self.paid_us.take();
        if paid_us > 0 {
            // Less than the runtime's clock can tell is no wait.
            let ms = paid_us.saturating_sub(self.sweeper.now_us()) / 1000;
            if ms > 0 {
                io::sleep_ms(ms).await;
            }
        }
    }

    /// Others wait to be shipped, and there is no time for all that is to be read.
    pub(super) fn is_pressed(&self) -> bool {
        !self.lane.is_empty() && self.lane.pacer.is_behind(self.sweeper.now_us())
    }
}
