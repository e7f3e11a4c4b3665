//! What the readers of records count, beside the workers. Each counter has one writer: the observer's thread, or the one that
//! posts spans.

use super::Counter;

/// Written beside the workers; read by whoever shows it.
#[derive(Debug, Default)]
pub struct ObserverCounters {
    /// Lines of the access log written whole.
    pub log_lines: Counter,
    /// Lines that found no room because what the log goes to took none in time.
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
}
