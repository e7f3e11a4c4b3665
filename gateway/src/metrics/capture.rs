//! The counters of a capture's writer: its thread is each counter's one writer.
//!
//! `taken = written + too_large + full + unwritable + failed + waiting`.

use super::{Counter, Gauge};

#[derive(Debug, Default)]
pub struct CaptureCounters {
    /// Requests that came from the workers.
    pub taken: Counter,
    /// Whole in a file.
    pub written: Counter,
    /// Dropped: larger than a file may be.
    pub too_large: Counter,
    /// Dropped: the capture has as many bytes as it may have.
    pub full: Counter,
    /// Dropped: no file could be opened.
    pub unwritable: Counter,
    /// In a write that failed.
    pub failed: Counter,
    /// Accepted, and not in a file yet.
    pub waiting: Gauge,
    /// Written to files, as they are on the disk.
    pub bytes: Counter,
    /// Begun.
    pub files: Counter,
    /// Removed to make room.
    pub files_removed: Counter,
}
