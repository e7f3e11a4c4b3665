//! The folder of a capture: whose files are its own, how much they hold, and how a new one is made. It follows no symbolic link.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The mode of a capture's files: for their owner alone.
const MODE: u32 = 0o600;

/// Digits of the time in a file's name, and so its place among the others.
const TIME_DIGITS: usize = 16;

/// Whether files can be made there.
pub(super) fn check(directory: &Path) -> Result<(), String> {
    is_folder(directory).map_err(|error| error.to_string())?;
    let probe = directory.join(format!(".umbra-probe-{}", std::process::id()));
    let cannot = |error: io::Error| format!("cannot be written to: {error}");
    create(&probe).map_err(cannot)?;
    fs::remove_file(&probe).map_err(cannot)
}

pub(super) fn is_folder(directory: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(directory)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot be used: {error}")))?;
    if meta.is_symlink() {
        return Err(io::Error::other("is a symbolic link, which is not followed; name the folder itself"));
    }
    if meta.is_dir() { Ok(()) } else { Err(io::Error::other("is no folder")) }
}

/// A file that was not there.
pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(MODE).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// The name of a file begun at `at_us`.
pub(super) fn file_name(capture: &str, at_us: u64, number: u64, is_compressed: bool) -> String {
    let end = if is_compressed { "jsonl.gz" } else { "jsonl" };
    format!("{capture}-{at_us:0TIME_DIGITS$}-{}-{number}.{end}", std::process::id())
}

/// The capture's own files with their sizes, the oldest first.
pub(super) fn files(directory: &Path, capture: &str) -> io::Result<Vec<(String, u64)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !is_own(&name, capture) {
            continue;
        }
        match entry.metadata() {
            Ok(meta) if meta.is_file() => files.push((name, meta.len())),
            Ok(_) => {}
            // The file was removed by somebody else.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    files.sort();
    Ok(files)
}

fn is_own(name: &str, capture: &str) -> bool {
    let rest = name.strip_prefix(capture).and_then(|rest| rest.strip_prefix('-'));
    let time = rest.and_then(|rest| rest.split('-').next());
    let is_time = |time: &str| time.len() == TIME_DIGITS && time.bytes().all(|b| b.is_ascii_digit());
    time.is_some_and(is_time) && (name.ends_with(".jsonl") || name.ends_with(".jsonl.gz"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_captures_files_are_its_own_and_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let name = |capture: &str, at_us| file_name(capture, at_us, 1, at_us % 2 == 1);
        for file in [&name("a", 2), &name("a", 1), &name("a-b", 3), "a-notes.jsonl", "b.jsonl"] {
            fs::write(folder.path().join(file), b"12345").unwrap();
        }
        symlink("/etc/passwd", folder.path().join(name("a", 4))).unwrap();
        assert_eq!(files(folder.path(), "a").unwrap(), [(name("a", 1), 5), (name("a", 2), 5)]);
        let made = create(&folder.path().join("new")).unwrap();
        assert_eq!(made.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(create(&folder.path().join("new")).is_err(), "it was there");
        assert!(create(&folder.path().join(name("a", 4))).is_err(), "a link is not followed");
    }

    #[test]
    fn what_is_no_folder_to_write_to_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, b"").unwrap();
        symlink(folder.path(), &link).unwrap();
        assert_eq!(check(folder.path()), Ok(()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the probe is gone");
        for (path, why) in [
            (folder.path().join("away"), "cannot be used"),
            (file, "is no folder"),
            (link, "symbolic link"),
            ("/proc".into(), "cannot be written to"),
        ] {
            let told = check(&path).unwrap_err();
            assert!(told.contains(why), "{}: {told}", path.display());
        }
    }
}
