//! The texts of manifests: files, directories of them, standard input, within a bound.

use std::path::{Path, PathBuf};

use super::documents;
use crate::problem::Report;
use crate::text;

/// All manifests together: a bound on the reading of a mistaken path. `text` bounds each file.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// The text of a file.
pub(super) struct Text {
    pub(super) name: String,
    pub(super) text: String,
    /// The file was met in a directory, rather than named.
    pub(super) searched: bool,
}

/// Each file that `path` means; unreadable ones are reported.
pub(super) fn texts(path: &Path, report: &mut Report) -> Vec<Text> {
    if path == Path::new("-") {
        let text = text::bounded(std::io::stdin().lock())
            .and_then(|bytes| String::from_utf8(bytes).map_err(|_| std::io::Error::other("it is not UTF-8")));
        return match text {
            Ok(text) => vec![Text { name: "standard input".to_owned(), text, searched: false }],
            Err(error) => {
                cannot_be_read(path, &error, report);
                Vec::new()
            }
        };
    }
    let searched = path.is_dir();
    let files = if searched { files_in(path, report) } else { vec![path.to_owned()] };
    let (mut texts, mut bytes) = (Vec::new(), 0);
    for file in files {
        match text::read(&file).map(String::from_utf8) {
            Ok(Ok(text)) => {
                bytes += text.len();
                if bytes > BYTES_MAX {
                    let max = BYTES_MAX / (1024 * 1024);
                    cannot_be_read(&file, &format!("with it there are more than {max} MiB"), report);
                    break;
                }
                texts.push(Text { name: file.display().to_string(), text, searched });
            }
            Ok(Err(error)) if searched && !documents::may_matter(error.as_bytes()) => {
                report.open(&file.display().to_string(), "", false);
                let at = report.place(String::new(), 0);
                report.skip(&at, "it is not UTF-8, and names no kind that is known here");
            }
            Ok(Err(_)) => cannot_be_read(&file, &"it is not UTF-8", report),
            Err(error) => cannot_be_read(&file, &error, report),
        }
    }
    texts
}

fn cannot_be_read(path: &Path, why: &dyn std::fmt::Display, report: &mut Report) {
    report.open(&path.display().to_string(), "", false);
    let at = report.place(String::new(), 0);
    report.error(&at, format!("cannot be read: {why}"));
}

/// The files of a directory that may be manifests, in the order of names.
fn files_in(directory: &Path, report: &mut Report) -> Vec<PathBuf> {
    let known = |path: &PathBuf| {
        let end = path.extension().and_then(|end| end.to_str());
        path.is_file() && end.is_some_and(|end| matches!(end, "yaml" | "yml" | "json"))
    };
    match std::fs::read_dir(directory) {
        Ok(entries) => {
            let mut files: Vec<PathBuf> =
                entries.filter_map(|e| Some(e.ok()?.path())).filter(known).collect();
            files.sort();
            if files.is_empty() {
                cannot_be_read(directory, &"it has no *.yaml, *.yml or *.json", report);
            }
            files
        }
        Err(error) => {
            cannot_be_read(directory, &error, report);
            Vec::new()
        }
    }
}
