//! Text from named files: regular files only, and never more bytes than are asked for.
//!
//! A pipe may never be written to, a device never ends, and a file may grow while it is read: each is refused before or at its
//! bound, not when memory is.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The longest file of configuration that is read. Ten thousand routes have two million bytes.
pub const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Reads a file that is believed to be text of at most [`FILE_BYTES_MAX`] bytes.
///
/// # Errors
/// The file cannot be read, is no regular file, or is too long.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_at_most(path, FILE_BYTES_MAX)
}

/// The same of a file that may have another length.
///
/// # Errors
/// As [`read`].
pub fn read_at_most(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    // Without waiting: opening a pipe waits for its writer. For regular files this makes no difference.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let facts = file.metadata()?;
    if facts.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    if !facts.is_file() {
        let why = "it is not a regular file, but a pipe, a socket or a device";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    if facts.len() > bytes_max {
        return Err(too_long(bytes_max));
    }
    whole::<File>(file, bytes_max)
}

/// Reads to the end of `from`, which must come before [`FILE_BYTES_MAX`].
///
/// # Errors
/// As [`read`].
pub(crate) fn bounded<R: Read>(from: R) -> io::Result<Vec<u8>> {
    whole(from, FILE_BYTES_MAX)
}

fn whole<R: Read>(from: R, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max { Err(too_long(bytes_max)) } else { Ok(bytes) }
}

fn too_long(bytes_max: u64) -> io::Error {
    let max = bytes_max / (1024 * 1024);
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {max} MiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_or_never_begins_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("short"), "text").unwrap();
        assert_eq!(read(&at("short")).unwrap(), b"text");
        File::create(at("long")).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(at("fifo")).status().unwrap();
        assert!(fifo.success());
        std::os::unix::fs::symlink("/dev/zero", at("link")).unwrap();
        for (path, why) in [
            (at("long"), "more than 8 MiB"),
            (at("fifo"), "not a regular file"),
            (at("link"), "not a regular file"),
            ("/dev/zero".into(), "not a regular file"),
            (folder.path().to_owned(), "a directory"),
        ] {
            let refused = read(&path).unwrap_err().to_string();
            assert!(refused.contains(why), "{}: {refused}", path.display());
        }
        assert!(bounded(io::repeat(0)).is_err());
    }
}
