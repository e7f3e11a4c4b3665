//! Figures of each kind of request, where a run has several: of each URL as it was written, of each path of a recording.

use serde::{Deserialize, Serialize};

use super::percentiles::Percentiles;
use crate::run::recorder::{OfKind, Record};
use crate::run::request::Mix;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OfUrl {
    /// Method and URL, or path, as they were written.
    pub request: String,
    pub errors: u64,
    pub response_us: Percentiles,
}

/// URLs, the most asked first; nothing where there is but one.
pub fn by_url(mix: &Mix, total: &Record) -> Vec<OfUrl> {
    let of = |(kind, of): (&u32, &OfKind)| OfUrl {
        request: mix.kinds.get(*kind as usize).cloned().unwrap_or_default(),
        errors: of.errors,
        response_us: Percentiles::of(&of.response),
    };
    let mut all: Vec<OfUrl> = total.by_kind.iter().map(of).collect();
    all.sort_by(|a, b| b.response_us.count.cmp(&a.response_us.count).then_with(|| a.request.cmp(&b.request)));
    all
}
