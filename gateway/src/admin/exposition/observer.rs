//! Metrics of records: of the workers, which hand them over, and of the observer, which reads them.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use super::{Families, Shards};
use crate::control::ConfigStore;

impl Shards<'_> {
    pub(super) fn observer(&self, out: &mut Families<'_>) -> fmt::Result {
        let of = &self.snapshot.observer;
        out.counters(
            "umbra_records",
            "Exchanges told to who logs, traces or compares, by what became of the telling",
            [("taken", self.total(|s| s.records.get())), ("lost", self.total(|s| s.records_lost.get()))]
                .map(|(result, n)| ([("result", result)], n)),
        )?;
        out.counters(
            "umbra_access_log_lines",
            "Lines of the access log, by what became of them",
            [("written", of.log_lines.get()), ("lost", of.log_lines_lost.get())]
                .map(|(result, n)| ([("result", result)], n)),
        )?;
        out.counter(
            "umbra_access_log_errors",
            "Attempts to open or to write the access log that failed",
            of.log_errors.get(),
        )?;
        out.counters(
            "umbra_spans",
            "Spans, by what became of them: lost for want of room, refused by the collector or by its silence",
            [
                ("exported", of.spans_exported.get()),
                ("lost", of.spans_lost.get()),
                ("refused", of.spans_refused.get()),
            ]
            .map(|(result, n)| ([("result", result)], n)),
        )?;
        out.counter("umbra_span_errors", "Posts to the collector that failed", of.span_errors.get())?;
        out.counter(
            "umbra_observer_panics",
            "Panics caught beside the workers; each cost a record, or a batch of spans",
            of.panics.load(Relaxed),
        )
    }
}

/// Of the admin listener itself.
pub(super) fn answers_cut(out: &mut Families<'_>, store: &ConfigStore) -> fmt::Result {
    out.counter(
        "umbra_admin_responses_cut",
        "Answers of the admin listener given up because their readers were slow and others wanted the room",
        store.answers_cut.load(Relaxed),
    )
}

/// Of evidence that is kept in a file.
pub(super) fn kept(out: &mut Families<'_>, store: &ConfigStore) -> fmt::Result {
    let of = &store.kept;
    out.counters(
        "umbra_evidence_saves",
        "Times that evidence was written to its file, by what became of it",
        [("written", of.saves.get()), ("failed", of.errors.get())]
            .map(|(result, n)| ([("result", result)], n)),
    )?;
    out.counter(
        "umbra_evidence_left_out",
        "Mirrors on routes that found no room in the file of evidence, each time that it was written",
        of.left_out.get(),
    )
}
