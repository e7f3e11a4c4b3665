//! Keeps evidence in a file, so that a verdict outlives the process: read before the first request, written every few seconds by a
//! thread of its own and once more at the end. A successor reads what its predecessor wrote.
//!
//! The file is replaced whole, never written in place. One that cannot be read is put aside and said, and evidence begins anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

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

/// What the service manager calls the directory that it made for the service; of several the first.
const STATE_DIRECTORY: &str = "STATE_DIRECTORY";

enum Told {
    /// Now rather than later.
    Save,
    /// For the last time.
    End,
    /// Another process keeps it from now on.
    Leave,
}

/// The running thread.
#[derive(Debug)]
pub(super) struct Keeper {
    told: Sender<Told>,
    thread: thread::JoinHandle<()>,
}

impl Keeper {
    /// Writes from now on.
    pub(super) fn start(store: &Arc<ConfigStore>) -> io::Result<Self> {
        let ((told, heard), store) = (channel(), Arc::clone(store));
        let body = move || run(&store, &heard);
        let thread = os::without_signals(|| thread::Builder::new().name("umbra-keeper".into()).spawn(body))?;
        Ok(Self { told, thread })
    }

    /// A successor is about to read it. It waits for nothing.
    pub(super) fn save(&self) {
        // A thread that is gone has said why.
        let _ = self.told.send(Told::Save);
    }

    /// The process ends: unless another one has taken over, what is known is written once more.
    pub(super) fn end(self, is_followed: bool) {
        let _ = self.told.send(if is_followed { Told::Leave } else { Told::End });
        let _ = self.thread.join();
    }
}

fn run(store: &ConfigStore, heard: &Receiver<Told>) {
    let (mut written, mut is_failing, mut pause) = (Vec::new(), false, SAVE_EVERY);
    loop {
        let told = heard.recv_timeout(pause);
        if matches!(told, Ok(Told::Leave)) {
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
        match told {
            Ok(Told::Save) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Told::End | Told::Leave) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Writes what is known, unless the file has it.
fn save(store: &ConfigStore, written: &mut Vec<u8>) -> Result<(), String> {
    let Some(path) = path(store) else { return Ok(()) };
    let KeeperCounters { saves, errors, left_out } = &*store.kept;
    let (bytes, cut) = admin::book(store).to_file(BOOK_BYTES_MAX);
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

/// The file is the old one or the new one at every moment, whatever ends the process or the machine.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    // It quotes responses.
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// Reads what an earlier process kept, and says what became of it.
pub(super) fn restore(store: &ConfigStore) {
    let Some(path) = path(store) else { return };
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

/// At most as much as is ever written.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
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
}
