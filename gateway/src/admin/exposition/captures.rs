//! Metrics of captures.

use std::fmt;
use std::sync::Arc;

use super::Families;
use crate::control::ConfigStore;
use crate::metrics::CaptureCounters;

pub(super) fn captures(out: &mut Families<'_>, store: &ConfigStore) -> fmt::Result {
    let all = store.captures();
    let each = |of: fn(&CaptureCounters) -> u64| {
        let row = move |(name, counters): &(String, Arc<CaptureCounters>)| {
            ([("capture", name.clone())], of(counters))
        };
        all.iter().map(row).collect::<Vec<_>>()
    };
    out.counters(
        "umbra_capture_taken",
        "Requests that a capture's writer took from the workers: written, dropped, failed or waiting",
        each(|of| of.taken.get()),
    )?;
    let written = |(name, of): &(String, Arc<CaptureCounters>)| {
        [
            ("written", of.written.get()),
            ("too_large", of.too_large.get()),
            ("full", of.full.get()),
            ("unwritable", of.unwritable.get()),
            ("failed", of.failed.get()),
        ]
        .map(|(outcome, n)| ([("capture", name.clone()), ("outcome", outcome.to_owned())], n))
    };
    out.counters(
        "umbra_capture_requests",
        "Requests for a capture by what became of them: written whole; dropped because one is larger than a file may be, \
         all files are as large as they may be, or no file can be begun; failed with a write",
        all.iter().flat_map(written),
    )?;
    let waiting =
        |(name, of): &(String, Arc<CaptureCounters>)| ([("capture", name.clone())], of.waiting.get());
    out.gauges(
        "umbra_capture_waiting",
        "Requests that a capture's writer has taken and not written yet",
        None,
        all.iter().map(waiting),
    )?;
    out.counters("umbra_capture_bytes", "Bytes written to a capture's files", each(|of| of.bytes.get()))?;
    out.counters("umbra_capture_files", "Files that a capture began", each(|of| of.files.get()))?;
    out.counters(
        "umbra_capture_files_removed",
        "Oldest files of a capture removed to make room",
        each(|of| of.files_removed.get()),
    )
}
