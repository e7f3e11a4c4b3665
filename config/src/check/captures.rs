//! Captures: folders that mirrors write to instead of asking an upstream.

use std::path::PathBuf;

use super::{Check, word};
use crate::file;
use crate::problem::near_miss;
use crate::reader::{At, Key, Named};
use crate::syntax;
use crate::units::{GIB, KIB, MIB, TIB, show_size};
use crate::{Capture, CaptureId, Compression, DropPolicy};

/// A capture by its name, as far as mirrors are concerned.
pub(super) struct Known {
    name: String,
    /// `None` where it is switched off.
    id: Option<CaptureId>,
    is_used: bool,
}

impl Check<'_> {
    pub(super) fn captures(&mut self, written: &Key<Named<file::Capture>>) {
        let nothing = file::Capture::default();
        for (name, entry) in written.given().map(|named| named.value.as_slice()).unwrap_or_default() {
            if self.syntax(name, syntax::capture_name).is_some()
                && self.upstreams.iter().any(|upstream| upstream.name == name.value)
            {
                self.report.error(&name.at, "is the name of an upstream too; give it a name of its own");
            }
            let table = entry.given().map_or(&nothing, |table| &table.value);
            let to = entry
                .given()
                .and_then(|entry| self.required(&table.to, &entry.at, "to", r#""/var/lib/umbra/capture""#))
                .and_then(|to| self.syntax(to, syntax::nonempty));
            // Everything is checked, also of a capture that is switched off.
            let capture = self.capture_of(name.value.clone(), to.clone().unwrap_or_default().into(), table);
            let id = (to.as_deref() != Some("off")).then(|| {
                self.captures.push(capture);
                self.captures.len() - 1
            });
            self.known_captures.push(Known { name: name.value.clone(), id, is_used: id.is_none() });
        }
    }

    fn capture_of(&mut self, name: String, directory: PathBuf, written: &file::Capture) -> Capture {
        let all = written.bytes_max.given().map_or(GIB, |given| given.value.0);
        let file_bytes_max = self.size(&written.file_bytes_max, all.clamp(KIB, 64 * MIB), KIB..=TIB);
        let bytes_max = self.size(&written.bytes_max, GIB.max(file_bytes_max), KIB..=1024 * TIB);
        if file_bytes_max > bytes_max
            && let Some(given) = written.file_bytes_max.given()
        {
            let (file, all) = (show_size(file_bytes_max), show_size(bytes_max));
            let message = format!("{file} is more than all files together may have; bytes_max is {all}");
            self.report.error(&given.at, message);
        }
        Capture {
            name,
            directory,
            file_bytes_max,
            bytes_max,
            drop: word(&written.drop, DropPolicy::Oldest),
            compression: word(&written.compression, Compression::None),
        }
    }

    /// The capture of that name, now in use; `Some(None)` where it is switched off.
    pub(super) fn capture(&mut self, name: &At<String>) -> Option<Option<CaptureId>> {
        if let Some(known) = self.known_captures.iter_mut().find(|known| known.name == name.value) {
            known.is_used = true;
            return Some(known.id);
        }
        let known = || self.known_captures.iter().map(|known| known.name.as_str());
        let message = match near_miss(&name.value, known()) {
            Some(near) => format!("unknown capture {:?}; did you mean {near:?}?", name.value),
            None => {
                format!(
                    "unknown capture {0:?}: write [capture.{0}] with the folder that it writes to",
                    name.value
                )
            }
        };
        self.report.error(&name.at, message);
        None
    }

    pub(super) fn unused_captures(&mut self, written: &Key<Named<file::Capture>>) {
        let names = written.given().map(|named| named.value.as_slice()).unwrap_or_default();
        for ((name, _), known) in names.iter().zip(&self.known_captures) {
            if !known.is_used {
                self.report.warn(&name.at, "no mirror names this capture");
            }
        }
    }

    /// Refuses the keys of a mirror that are about responses, where it writes to a capture: there is none.
    pub(super) fn answers_nothing(&mut self, written: &file::Mirror) {
        let message = "has no meaning for a capture, which answers nothing";
        let given = [
            written.connect_timeout.given().map(|given| &given.at),
            written.timeout.given().map(|given| &given.at),
            written.connections_max.given().map(|given| &given.at),
            written.pipeline_max.given().map(|given| &given.at),
            written.response_bytes_max.given().map(|given| &given.at),
            written.role.given().map(|given| &given.at),
            written.compare.given().map(|given| &given.at),
            written.governor.given().map(|given| &given.at),
        ];
        for at in given.into_iter().flatten() {
            self.report.error(at, message);
        }
    }
}
