//! Keeps evidence in a file, so that a verdict outlives the process: read before the first request, written every few seconds
//! by a thread of its own and once more at the end. A successor reads its predecessor's file.
//!
//! The file is replaced whole, never written in place. An unreadable file is put aside and reported, and evidence begins anew.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use std::{process, thread};

use config::EvidenceFile;

use crate::admin;
use crate::control::{BOOK_BYTES_MAX, Book, ConfigStore};
use crate::metrics::KeeperCounters;
use crate::os;

/// From one time that it is written to the next: so much evidence a crash costs.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// After one that took long comes a pause this many times as long: keeping costs at most a hundredth of a core.
const COST_PARTS: u32 = 100;

/// Name of the file in a state directory.
const NAME: &str = "evidence";

/// The service manager's variable of the directory that it made for the service; of several the first.
const STATE_DIRECTORY: &str = "STATE_DIRECTORY";

/// How long the end of the process waits for the last save: a file system that hangs holds no process.
const END_MAX: Duration = Duration::from_secs(5);

enum Command {
    /// Now rather than later.
    Save,
    /// For the last time.
    End,
    /// Another process keeps the file from now on.
    Leave,
}

/// The running thread.
#[derive(Debug)]
pub(super) struct Keeper {
    commands: Sender<Command>,
    /// Its other end goes with the thread.
    ended: Receiver<()>,
}

impl Keeper {
    /// Writes from now on.
    pub(super) fn start(store: &Arc<ConfigStore>) -> io::Result<Self> {
        let ((commands, heard), (ends, ended), store) = (channel(), channel(), Arc::clone(store));
        let body = move || {
            let _ends: Sender<()> = ends;
            run(&store, &heard);
        };
        os::without_signals(|| thread::Builder::new().name("umbra-keeper".into()).spawn(body))?;
        Ok(Self { commands, ended })
    }

    /// A successor is about to read it. It waits for nothing.
    pub(super) fn save(&self) {
        // A thread that is gone has said why.
        let _ = self.commands.send(Command::Save);
    }

    /// A successor serves, and keeps the file from now on: later evidence of this process must not replace the successor's.
    pub(super) fn leave(&self) {
        let _ = self.commands.send(Command::Leave);
    }

    /// The process ends: unless a successor has taken over, the evidence is written once more.
    pub(super) fn end(self, is_followed: bool) {
        let _ = self.commands.send(if is_followed { Command::Leave } else { Command::End });
        if self.ended.recv_timeout(END_MAX) == Err(RecvTimeoutError::Timeout) {
            tracing::error!("evidence of the last seconds is not kept: writing it takes too long");
        }
    }
}

fn run(store: &ConfigStore, heard: &Receiver<Command>) {
    let (mut written, mut is_failing, mut pause) = (Vec::new(), false, SAVE_EVERY);
    loop {
        let command = heard.recv_timeout(pause);
        if matches!(command, Ok(Command::Leave)) {
            return;
        }
        let began = Instant::now();
        let saved = save(store, &mut written);
        match (&saved, is_failing) {
            (Err(why), false) => tracing::error!("evidence is not kept: {why}"),
            (Ok(()), true) => tracing::info!("evidence is kept again"),
            (Err(_), true) | (Ok(()), false) => {}
        }
        is_failing = saved.is_err();
        let took = began.elapsed();
        pause = SAVE_EVERY.max(took.saturating_mul(COST_PARTS));
        match command {
            Ok(Command::Save) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Command::End | Command::Leave) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Writes the evidence, unless the file has it.
fn save(store: &ConfigStore, written: &mut Vec<u8>) -> Result<(), String> {
    let Some(path) = path(store) else { return Ok(()) };
    let KeeperCounters { saves, errors, left_out } = &*store.kept;
    let (bytes, cut) = admin::whole_book(store).to_file(BOOK_BYTES_MAX);
    left_out.add(cut as u64);
    if bytes == *written {
        return Ok(());
    }
    match replace(&path, &bytes) {
        Ok(()) => {
            saves.inc();
            *written = bytes;
            Ok(())
        }
        Err(error) => {
            errors.inc();
            Err(format!("{}: {error}", path.display()))
        }
    }
}

/// Replaces the file: it is the old one or the new one at every moment, even if the process or the machine ends.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // The rename would put a file in the place of a device or a pipe.
    if fs::symlink_metadata(path).is_ok_and(|facts| !facts.is_file() && !facts.is_symlink()) {
        return Err(io::Error::other("it is no regular file"));
    }
    let new = temporary(path);
    let written = write_new(&new, bytes).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written?;
    // That it has the new one is the directory's to know. Not every file system, and not every directory, can be asked to.
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error)
            if !matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput) =>
        {
            Err(error)
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a file of this process's own: one that was there, whatever it is and wherever it leads, is neither written nor
/// followed.
fn write_new(new: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // The file quotes responses.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(new)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Stands before the number of the process that writes it.
const NEW: &str = ".new.";

/// The path of the new file until it is whole. During a hand-over two processes may write, each its own.
fn temporary(path: &Path) -> PathBuf {
    let mut new = path.as_os_str().to_owned();
    new.push(format!("{NEW}{}", process::id()));
    new.into()
}

/// Removes files of processes that ended while they wrote.
fn sweep(path: &Path) {
    let Some((folder, name)) = path.parent().zip(path.file_name().and_then(OsStr::to_str)) else { return };
    // Where it cannot be listed nothing is written either, and that is said.
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let found = entry.file_name();
        let of =
            found.to_str().and_then(|found| found.strip_prefix(name)?.strip_prefix(NEW)?.parse::<u32>().ok());
        if of.is_some_and(|id| id == process::id() || !Path::new("/proc").join(id.to_string()).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Reads the evidence that an earlier process kept, and logs the result.
pub(super) fn restore(store: &ConfigStore) {
    let Some(path) = path(store) else { return };
    sweep(&path);
    let shown = path.display();
    let bytes = match read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return tracing::warn!("evidence begins anew: {shown}: {error}"),
    };
    match Book::of_file(&bytes) {
        Ok(book) => {
            let all = book.accounts.len();
            let restored = admin::restore(store, book);
            tracing::info!(
                "evidence goes on from {shown}: of {restored} mirrors on routes, of the {all} that it has"
            );
        }
        Err(why) => {
            let mut aside = path.as_os_str().to_owned();
            aside.push(".unreadable");
            // Where that fails too, the next save replaces it.
            let _ = fs::rename(&path, &aside);
            tracing::warn!("evidence begins anew: {shown}: {why}; it is put aside as {}", aside.display());
        }
    }
}

/// At most as much as is ever written; of a file alone, for a pipe would never end.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path);
    let file = file.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => io::Error::other("it is a symbolic link, which is not followed"),
        _ => error,
    })?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(2 * BOOK_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `None` where nothing is kept.
fn path(store: &ConfigStore) -> Option<PathBuf> {
    let config = store.open().config;
    match &config.judging.evidence {
        EvidenceFile::At(path) => Some(path.clone()),
        EvidenceFile::Nowhere => None,
        EvidenceFile::StateDirectory => in_state_directory(std::env::var_os(STATE_DIRECTORY)?.to_str()?),
    }
}

fn in_state_directory(given: &str) -> Option<PathBuf> {
    let first = given.split(':').next().filter(|path| path.starts_with('/'))?;
    Some(Path::new(first).join(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_state_directory_is_it() {
        assert_eq!(in_state_directory("/var/lib/umbra"), Some("/var/lib/umbra/evidence".into()));
        assert_eq!(in_state_directory("/a:/b"), Some("/a/evidence".into()));
        assert_eq!((in_state_directory(""), in_state_directory("a")), (None, None));
    }

    #[test]
    fn a_file_is_replaced_whole_and_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evidence");
        for text in ["long enough", "short"] {
            replace(&path, text.as_bytes()).unwrap();
            assert_eq!(read(&path).unwrap(), text.as_bytes());
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        assert!(replace(&folder.path().join("no/evidence"), b"").is_err());
        assert!(read(folder.path()).is_err());
    }

    #[test]
    fn what_was_planted_beside_it_is_neither_written_nor_read() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["evidence", "other"].map(|name| folder.path().join(name));
        fs::write(&other, "another's").unwrap();
        symlink(&other, temporary(&path)).unwrap();
        replace(&path, b"ours").unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), fs::read(&other).unwrap()),
            (b"ours".into(), b"another's".into())
        );
        fs::write(temporary(&path), "").unwrap();
        fs::set_permissions(temporary(&path), fs::Permissions::from_mode(0o666)).unwrap();
        replace(&path, b"ours").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        fs::remove_file(&path).unwrap();
        symlink(&other, &path).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("symbolic link"));
        fs::remove_file(&path).unwrap();
        // A plain open of a pipe would wait for a writer.
        let made = process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        assert!(read(&path).unwrap_err().to_string().contains("no regular file"));
    }

    #[test]
    fn what_a_process_left_that_ended_while_it_wrote_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evidence");
        // The first process lives, and no process has such a number.
        for name in [
            "evidence",
            "evidence.new.1",
            "evidence.new.4294967295",
            "evidence.new.x",
            "other.new.4294967295",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        sweep(&path);
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|of| of.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["evidence", "evidence.new.1", "evidence.new.x", "other.new.4294967295"]);
    }

    #[test]
    fn nothing_is_written_any_more_once_a_successor_serves() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evidence");
        let mut config = crate::control::budget::tests::config();
        config.judging.evidence = EvidenceFile::At(path.clone());
        let keeper = Keeper::start(&ConfigStore::new(&Arc::new(config))).unwrap();
        keeper.save();
        while !path.exists() {
            thread::yield_now();
        }
        // As the successor has it.
        keeper.leave();
        assert!(keeper.ended.recv().is_err(), "its thread has ended");
        fs::write(&path, "the successor's").unwrap();
        keeper.save();
        keeper.end(false);
        assert_eq!(fs::read(&path).unwrap(), b"the successor's");
    }
}
