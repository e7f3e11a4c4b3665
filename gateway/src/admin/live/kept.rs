//! The history in a file: the parts that are worth keeping, how they are written, and the checks of a file that was found.
//!
//! Single seconds are not kept: after a restart they are of no interest. The file is replaced whole. It is no evidence, and may
//! be lost with the machine.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::look::Sample;
use crate::limits::{HISTORY_FILE_BYTES_MAX, HISTORY_STEPS};

/// The version in the file; a file of another one is not read.
const VERSION: u32 = 1;

/// A history file, read.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Kept<S = Vec<Sample>> {
    version: u32,
    steps: Vec<(u64, S)>,
}

impl Kept {
    /// Steps of so many seconds that are not older than the history reaches `now`, nor of the future.
    pub(super) fn of(&self, seconds: u64, now: Duration) -> impl Iterator<Item = Sample> {
        let samples_max =
            HISTORY_STEPS.iter().find(|(known, _)| *known == seconds).map_or(0, |(_, max)| *max);
        let reach = Duration::from_secs(seconds.saturating_mul(samples_max as u64));
        let steps = self.steps.iter().filter(move |(of, _)| *of == seconds);
        let samples = steps.flat_map(|(_, samples)| samples).take(samples_max);
        samples.filter(move |sample| sample.at <= now && now - sample.at <= reach).cloned()
    }
}

/// The file's text: of each length of step its samples, without seconds.
pub(super) fn text<'s, S: Iterator<Item = &'s Sample>>(history: impl Iterator<Item = (u64, S)>) -> Vec<u8> {
    let steps = history.filter(|(seconds, _)| *seconds > 1).map(|(seconds, all)| (seconds, all.collect()));
    let kept: Kept<Vec<&Sample>> = Kept { version: VERSION, steps: steps.collect() };
    // Numbers and texts alone, which JSON has.
    serde_json::to_vec(&kept).unwrap_or_default()
}

/// Reads a history file; one that does not exist is an empty history.
pub(super) fn read(path: &Path) -> Result<Kept, String> {
    let text = match config::text::read_at_most(path, HISTORY_FILE_BYTES_MAX as u64) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Kept::default()),
        Err(error) => return Err(error.to_string()),
    };
    let kept: Kept = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if kept.version == VERSION { Ok(kept) } else { Err(format!("of version {}", kept.version)) }
}

/// The file is the old one or the new one at every moment.
pub(super) fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    if text.len() > HISTORY_FILE_BYTES_MAX {
        return Err(io::Error::other(format!("longer than {HISTORY_FILE_BYTES_MAX} bytes")));
    }
    // The rename would put a file in the place of a device or a pipe.
    if fs::symlink_metadata(path).is_ok_and(|facts| !facts.is_file() && !facts.is_symlink()) {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".new.{}", process::id()));
    let new = PathBuf::from(new);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // A new file of our own, which is no link to elsewhere.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
    let written = file.and_then(|mut file| file.write_all(text)).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: u64) -> Sample {
        Sample { at: Duration::from_secs(at), aborted: at, cpu: vec![0.5], ..Sample::default() }
    }

    #[test]
    fn what_is_kept_is_read_again_without_what_is_too_old_and_without_seconds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        assert!(read(&path).unwrap().steps.is_empty(), "there is none at first");
        let all = [sample(100), sample(5_000), sample(9_000)];
        for _ in 0..2 {
            write(&path, &text([(1, all.iter()), (10, all.iter())].into_iter())).unwrap();
        }
        let kept = read(&path).unwrap();
        let at = |seconds: u64, now: u64| -> Vec<u64> {
            kept.of(seconds, Duration::from_secs(now)).map(|of| of.at.as_secs()).collect()
        };
        assert_eq!(at(10, 8_600), [5_000], "an hour, and nothing of the future");
        assert_eq!((at(1, 9_000), at(120, 9_000), at(7, 9_000)), (vec![], vec![], vec![]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_file_that_is_no_history_is_said_and_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        for (text, why) in [("", "EOF"), ("{\"version\":2,\"steps\":[]}", "version 2"), ("[1]", "")] {
            fs::write(&path, text).unwrap();
            assert!(read(&path).unwrap_err().contains(why), "{text}");
        }
        fs::File::create(&path).unwrap().set_len(HISTORY_FILE_BYTES_MAX as u64 + 1).unwrap();
        assert!(read(&path).unwrap_err().contains("more than 16 MiB"));
        assert!(write(&path, &vec![0; HISTORY_FILE_BYTES_MAX + 1]).is_err());
        assert!(read(folder.path()).is_err(), "a folder is none");
        // A pipe without a writer is refused at once, and stays a pipe.
        let pipe = folder.path().join("pipe");
        assert!(process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(read(&pipe).unwrap_err().contains("not a regular file"));
        assert!(write(&pipe, b"{}").unwrap_err().to_string().contains("no regular file"));
        assert!(!fs::symlink_metadata(&pipe).unwrap().is_file());
        assert!(write(&folder.path().join("gone/history"), b"").is_err());
    }
}
