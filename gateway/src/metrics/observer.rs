//! The counters of the readers of records, beside the workers. Each counter has one writer: the observer's thread, or the one
//! that posts spans.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Counter;

/// Written beside the workers; read by the pages that show it.
#[derive(Debug, Default)]
pub struct ObserverCounters {
    /// Lines of the access log written whole.
    pub log_lines: Counter,
    /// Lines that were lost because the log's target took none in time, and no room was left.
    pub log_lines_lost: Counter,
    /// Opens and writes that failed.
    pub log_errors: Counter,
    /// Spans that the collector took.
    pub spans_exported: Counter,
    /// Spans that found no room to wait for the collector.
    pub spans_lost: Counter,
    /// Spans that the collector refused, or did not take in any of several tries. Written by the thread that posts.
    pub spans_refused: Counter,
    /// Posts that failed, each of which may be tried again. Written by the thread that posts.
    pub span_errors: Counter,
    /// Panics caught beside the workers; each cost a record, or a batch of spans.
    /// Written by both threads.
    pub panics: AtomicU64,
}

impl ObserverCounters {
    /// Does `work`. A panic in it is its own loss: the reader of records goes on to the next. Its work may be
    /// half done, so the state that it holds must bear that.
    pub fn survive(&self, work: impl FnOnce()) -> bool {
        let survived = panic::catch_unwind(AssertUnwindSafe(work)).is_ok();
        if !survived {
            self.panics.fetch_add(1, Relaxed);
        }
        survived
    }
}

/// The outcomes of keeping evidence in a file. Written by the thread that keeps it.
#[derive(Debug, Default)]
pub struct KeeperCounters {
    /// Times that the file was written.
    pub saves: Counter,
    /// Times that it could not be.
    pub errors: Counter,
    /// Mirrors on routes that found no room in it, each time that it was written.
    pub left_out: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_record_throws_is_counted_and_costs_no_other() {
        let counters = ObserverCounters::default();
        let mut taken = Vec::new();
        for n in 0..4 {
            // invariant: thrown on purpose.
            let survived = counters.survive(|| if n == 2 { panic!("{n}") } else { taken.push(n) });
            assert_eq!(survived, n != 2);
        }
        assert_eq!((taken, counters.panics.load(Relaxed)), (vec![0, 1, 3], 1));
    }
}
