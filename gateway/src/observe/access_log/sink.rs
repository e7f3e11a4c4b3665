//! The target of lines: standard output, or a file that may be moved away, be a pipe without a reader or be on a full disk.
//!
//! A line that cannot be written yet waits in a bounded buffer; a line that finds it full is lost, and counted. A write is made
//! only where it is taken at once. The sink knows nothing of a line's content.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::LogTarget;

use crate::logging::Seldom;
use crate::metrics::ObserverCounters;
use crate::os;

/// Bytes that may wait to be written.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// More than this is written without waiting for the next time.
const WRITE_AT_BYTES: usize = 64 << 10;

/// Between two writes where little is said: `tail -f` is used by people.
const WRITE_EVERY: Duration = Duration::from_millis(100);

/// Between two looks at whether the file is still where it was.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How much a pipe takes without waiting if it takes anything (PIPE_BUF).
const PIPE_BYTES: usize = 4096;

/// Lines that still wait at the end get so long.
const END_MAX: Duration = Duration::from_secs(1);

/// Permissions of a new log: it is about clients.
const MODE: u32 = 0o640;

/// An open log, or one that is to be opened.
#[derive(Debug)]
pub(super) struct Sink {
    target: LogTarget,
    out: Option<Out>,
    waiting: Vec<u8>,
    /// The last write did not end its line.
    is_torn: bool,
    written_at: Option<Instant>,
    looked_at: Option<Instant>,
    seldom: Seldom,
    counters: Arc<ObserverCounters>,
}

#[derive(Debug)]
struct Out {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    /// Takes as much as there is; anything else takes [`PIPE_BYTES`] at a time.
    is_plain: bool,
}

impl Out {
    fn new(file: File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self { identity: (meta.dev(), meta.ino()), is_plain: meta.is_file(), file })
    }
}

impl Sink {
    /// Opens `target`; where that fails it is tried again, and told.
    pub(super) fn new(target: LogTarget, counters: Arc<ObserverCounters>, now: Instant) -> Self {
        let mut sink = Self {
            target,
            out: None,
            waiting: Vec::new(),
            is_torn: false,
            written_at: None,
            looked_at: Some(now),
            seldom: Seldom::default(),
            counters,
        };
        sink.open(now);
        sink
    }

    pub(super) fn target(&self) -> &LogTarget {
        &self.target
    }

    /// Takes whole lines.
    pub(super) fn push(&mut self, lines: &[u8], now: Instant) {
        if self.waiting.len() + lines.len() > WAITING_BYTES_MAX {
            self.lose(lines_in(lines));
            return;
        }
        self.waiting.extend_from_slice(lines);
        if self.waiting.len() >= WRITE_AT_BYTES {
            self.write(now, Duration::ZERO);
        }
    }

    /// Writes the waiting lines if it is time, and looks after the file.
    pub(super) fn tick(&mut self, now: Instant) {
        let is_due =
            |last: Option<Instant>, every| last.is_none_or(|at| now.saturating_duration_since(at) >= every);
        if is_due(self.looked_at, LOOK_EVERY) {
            self.looked_at = Some(now);
            if !self.is_in_place() {
                self.reopen(now);
            }
        }
        if !self.waiting.is_empty() && is_due(self.written_at, WRITE_EVERY) {
            self.write(now, Duration::ZERO);
        }
    }

    /// Writes the waiting lines to the target that they were meant for, and opens the file anew.
    pub(super) fn reopen(&mut self, now: Instant) {
        match self.target {
            LogTarget::Stdout if self.out.is_some() => {}
            LogTarget::Stdout | LogTarget::File(_) => {
                self.write(now, Duration::ZERO);
                self.open(now);
            }
        }
    }

    /// Writes the waiting lines for as long as the end may take; the rest is lost.
    pub(super) fn end(&mut self) {
        let deadline = Instant::now() + END_MAX;
        loop {
            let now = Instant::now();
            self.write(now, Duration::from_millis(50).min(deadline.saturating_duration_since(now)));
            if self.waiting.is_empty() || self.out.is_none() || now >= deadline {
                break;
            }
        }
        self.lose(lines_in(&self.waiting));
        self.waiting.clear();
    }

    /// Whether the open file is the one that bears the name. Standard output always is.
    fn is_in_place(&self) -> bool {
        match (&self.target, &self.out) {
            (_, None) => false,
            (LogTarget::Stdout, Some(_)) => true,
            (LogTarget::File(path), Some(out)) => {
                std::fs::metadata(path).is_ok_and(|meta| (meta.dev(), meta.ino()) == out.identity)
            }
        }
    }

    fn open(&mut self, now: Instant) {
        let opened = match &self.target {
            LogTarget::Stdout => io::stdout().as_fd().try_clone_to_owned().map(File::from),
            LogTarget::File(path) => OpenOptions::new()
                .append(true)
                .create(true)
                .mode(MODE)
                // Opening a pipe without a reader fails rather than waits.
                .custom_flags(libc::O_NONBLOCK)
                .open(path),
        };
        if std::mem::take(&mut self.is_torn) {
            // The rest of a line whose beginning stands elsewhere.
            let end = memchr::memchr(b'\n', &self.waiting).map_or(self.waiting.len(), |at| at + 1);
            self.waiting.drain(..end);
            self.lose(1);
        }
        match opened.and_then(Out::new) {
            Ok(out) => self.out = Some(out),
            Err(error) => {
                self.out = None;
                self.fail("opened", &error, now);
            }
        }
    }

    /// Writes as much as is taken at once, or within `wait`.
    fn write(&mut self, now: Instant, wait: Duration) {
        let Some(out) = &self.out else { return };
        self.written_at = Some(now);
        let (mut done, mut failed) = (0, None);
        while let Some(rest) = self.waiting.get(done..).filter(|rest| !rest.is_empty()) {
            if !os::takes_a_write(out.file.as_fd(), wait) {
                break;
            }
            let piece = if out.is_plain { rest } else { &rest[..rest.len().min(PIPE_BYTES)] };
            match (&out.file).write(piece) {
                Ok(n) if n > 0 => done += n,
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let written = self.waiting.get(..done).unwrap_or_default();
        self.counters.log_lines.add(lines_in(written));
        self.is_torn = written.last().map_or(self.is_torn, |last| *last != b'\n');
        self.waiting.drain(..done);
        if let Some(error) = failed {
            self.fail("written", &error, now);
        }
    }

    fn lose(&self, lines: u64) {
        self.counters.log_lines_lost.add(lines);
    }

    fn fail(&mut self, what: &str, error: &io::Error, now: Instant) {
        self.counters.log_errors.inc();
        if let Some(kept_back) = self.seldom.may_say(now) {
            let place = match &self.target {
                LogTarget::Stdout => "standard output".to_owned(),
                LogTarget::File(path) => path.display().to_string(),
            };
            let lost = self.counters.log_lines_lost.get();
            tracing::warn!(
                "access log: {place} cannot be {what}: {error} ({kept_back} like this since the last message; \
                 {lost} lines lost in all)"
            );
        }
    }
}

fn lines_in(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    struct Log {
        folder: tempfile::TempDir,
        counters: Arc<ObserverCounters>,
        sink: Sink,
        now: Instant,
    }

    fn log_to(name: &str, make: impl FnOnce(&Path)) -> Log {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        make(&path);
        let counters = Arc::<ObserverCounters>::default();
        let now = Instant::now();
        let sink = Sink::new(LogTarget::File(path), Arc::clone(&counters), now);
        Log { folder, counters, sink, now }
    }

    fn fifo(path: &Path) {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    impl Log {
        fn say(&mut self, line: &str) {
            self.sink.push(line.as_bytes(), self.now);
        }

        fn later(&mut self, by: Duration) {
            self.now += by;
            self.sink.tick(self.now);
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.folder.path().join(name)).unwrap()
        }

        fn counted(&self) -> (u64, u64, u64) {
            let of = &self.counters;
            (of.log_lines.get(), of.log_lines_lost.get(), of.log_errors.get())
        }
    }

    #[test]
    fn lines_are_written_soon_to_a_file_that_others_cannot_read() {
        let mut log = log_to("log", |_| ());
        log.say("a\n");
        log.later(Duration::from_millis(1));
        log.say("b\n");
        assert_eq!(log.read("log"), "a\n");
        log.later(WRITE_EVERY);
        assert_eq!((log.read("log").as_str(), log.counted()), ("a\nb\n", (2, 0, 0)));
        let mode = fs::metadata(log.folder.path().join("log")).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
    }

    #[test]
    fn a_file_that_was_moved_away_gets_what_was_said_and_a_new_one_the_rest() {
        for told in [true, false] {
            let mut log = log_to("log", |_| ());
            log.say("before\n");
            fs::rename(log.folder.path().join("log"), log.folder.path().join("log.1")).unwrap();
            if told {
                log.sink.reopen(log.now);
            } else {
                log.later(LOOK_EVERY);
            }
            log.say("after\n");
            log.sink.end();
            assert_eq!((log.read("log.1").as_str(), log.read("log").as_str()), ("before\n", "after\n"));
            assert_eq!(log.counted(), (2, 0, 0));
        }
    }

    #[test]
    fn a_pipe_that_nobody_reads_costs_a_bounded_buffer_and_is_counted() {
        let mut log = log_to("pipe", fifo);
        assert_eq!(log.counted(), (0, 0, 1), "opening it fails rather than waits");
        let line = format!("{}\n", "x".repeat(1023));
        for _ in 0..5000 {
            log.say(&line);
        }
        assert_eq!(log.counted(), (0, 5000 - 4096, 1));
        // Now a reader opens it, and still reads nothing.
        let path = log.folder.path().join("pipe");
        let reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
        log.later(LOOK_EVERY);
        let (written, lost, errors) = log.counted();
        assert_eq!((lost, errors), (904, 1));
        assert!((1..=64).contains(&written), "as much as the pipe holds: {written}");
        log.sink.end();
        let (written, lost, _) = log.counted();
        assert_eq!(written + lost, 5000, "each line has one end");
        drop(reader);
    }

    #[test]
    fn a_disk_that_is_full_is_told_and_loses_only_what_finds_no_room() {
        let counters = Arc::<ObserverCounters>::default();
        let mut now = Instant::now();
        let mut sink = Sink::new(LogTarget::File("/dev/full".into()), Arc::clone(&counters), now);
        sink.push(b"a\n", now);
        for _ in 0..3 {
            now += WRITE_EVERY;
            sink.tick(now);
        }
        assert_eq!(
            (counters.log_lines.get(), counters.log_lines_lost.get(), counters.log_errors.get()),
            (0, 0, 3)
        );
        sink.end();
        assert_eq!(counters.log_lines_lost.get(), 1);
    }

    #[test]
    fn a_line_whose_beginning_stands_elsewhere_does_not_go_on_in_a_new_file() {
        let mut log = log_to("log", |_| ());
        log.say("torn\nwhole\n");
        // As a write that was taken in part leaves it.
        log.sink.waiting.drain(..2);
        log.sink.is_torn = true;
        log.sink.open(log.now);
        log.sink.end();
        assert_eq!((log.read("log").as_str(), log.counted()), ("whole\n", (1, 1, 0)));
    }
}
