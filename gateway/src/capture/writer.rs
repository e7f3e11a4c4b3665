//! The thread that writes one capture. It polls the workers' queues, so that they pay for no waking; it may wait for a disk as
//! long as that takes, and loses only copies meanwhile.

use std::fs::{self, File};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use config::{Capture, Compression, DropPolicy};
use flate2::write::GzEncoder;

use super::{folder, line};
use crate::metrics::{CaptureCounters, Counter};
use crate::mirror::feed::{Captured, Fed};

/// Between two looks that found nothing, and the same where no worker has a way here.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const IDLE_EVERY: Duration = Duration::from_millis(200);

/// Copies of one feed taken before another's.
const TURN_COPIES: usize = 64;

/// More than this is written at once; less as soon as nothing comes.
const WRITE_AT_BYTES: u64 = 256 << 10;

/// Between two attempts to begin a file where that failed.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Questions of the control plane to the thread.
#[derive(Debug)]
pub(super) enum Command {
    Feed(Fed),
    Settings(Capture),
    /// The workers are gone.
    End,
}

#[derive(Debug)]
pub(super) struct Writer {
    settings: Capture,
    counters: Arc<CaptureCounters>,
    heard: Receiver<Command>,
    feeds: Vec<Fed>,
    file: Option<Open>,
    /// Files begun.
    number: u64,
    /// Why nothing can be written now, since when, and how much was lost before that.
    trouble: Option<(Why, Instant, u64)>,
    retry_at: Option<Instant>,
    line: Vec<u8>,
}

/// Why a file cannot be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Full,
    Unwritable,
}

/// A file under way.
#[derive(Debug)]
struct Open {
    file: File,
    coding: Coding,
    /// Bytes that the file may have, and those that it has.
    room: u64,
    bytes: u64,
    /// Not in the file yet: bytes before they are compressed, and lines.
    pending_bytes: u64,
    pending_lines: u64,
}

#[derive(Debug)]
enum Coding {
    Plain(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
}

/// Bytes that compressing may add to a file, beside a thousandth of incompressible content.
const GZIP_EXTRA_BYTES: u64 = 64;

impl Writer {
    pub(super) fn new(settings: Capture, counters: Arc<CaptureCounters>, heard: Receiver<Command>) -> Self {
        Self {
            settings,
            counters,
            heard,
            feeds: Vec::new(),
            file: None,
            number: 0,
            trouble: None,
            retry_at: None,
            line: Vec::new(),
        }
    }

    /// Runs until no sender is left.
    pub(super) fn run(mut self) {
        loop {
            let is_last = self.hear();
            let mut feeds = std::mem::take(&mut self.feeds);
            let mut taken = 0;
            for feed in &mut feeds {
                for captured in std::iter::from_fn(|| feed.pop()).take(TURN_COPIES) {
                    self.take(&captured);
                    taken += 1;
                }
            }
            feeds.retain(|feed| !feed.is_over());
            self.feeds = feeds;
            if taken > 0 {
                continue;
            }
            self.flush();
            if is_last == Some(Last::Now) || (is_last.is_some() && self.feeds.is_empty()) {
                return self.close();
            }
            thread::sleep(if self.feeds.is_empty() { IDLE_EVERY.min(LOOK_EVERY * 5) } else { LOOK_EVERY });
        }
    }

    fn hear(&mut self) -> Option<Last> {
        let mut last = None;
        loop {
            match self.heard.try_recv() {
                Ok(Command::Feed(feed)) => self.feeds.push(feed),
                Ok(Command::Settings(settings)) => {
                    if settings != self.settings {
                        self.close();
                        self.settings = settings;
                        self.retry_at = None;
                    }
                }
                Ok(Command::End) => last = Some(Last::Now),
                Err(TryRecvError::Empty) => return last,
                Err(TryRecvError::Disconnected) => return last.or(Some(Last::WithItsFeeds)),
            }
        }
    }

    fn take(&mut self, captured: &Captured) {
        self.counters.taken.inc();
        let mut text = std::mem::take(&mut self.line);
        text.clear();
        line::write(&mut text, captured);
        let bytes = text.len() as u64;
        if worst(self.settings.compression, bytes) > self.settings.file_bytes_max {
            self.counters.too_large.inc();
        } else if let Some(file) = self.file_for(bytes) {
            file.push(&text);
            let (lines, bytes) = (file.pending_lines, file.pending_bytes);
            self.counters.waiting.set(lines as i64);
            if bytes >= WRITE_AT_BYTES {
                self.flush();
            }
        } else {
            match self.trouble {
                Some((Why::Full, ..)) => self.counters.full.inc(),
                Some((Why::Unwritable, ..)) | None => self.counters.unwritable.inc(),
            }
        }
        self.line = text;
    }

    /// A file that takes so many bytes more.
    fn file_for(&mut self, bytes: u64) -> Option<&mut Open> {
        let compression = self.settings.compression;
        if self.file.as_ref().is_some_and(|file| !file.fits(compression, bytes)) {
            // The compressed size of waiting lines is known once they are written.
            self.flush();
            if self.file.as_ref().is_some_and(|file| !file.fits(compression, bytes)) {
                self.close();
            }
        }
        if self.file.is_none() {
            let now = Instant::now();
            if self.retry_at.is_some_and(|at| now < at) {
                return None;
            }
            match self.begin(bytes) {
                Ok(file) => {
                    self.retry_at = None;
                    self.file = Some(file);
                }
                Err((why, text)) => {
                    self.trouble(why, &text);
                    return None;
                }
            }
        }
        self.file.as_mut()
    }

    /// Begins a file that takes so many bytes, by the bounds of all.
    fn begin(&mut self, bytes: u64) -> Result<Open, (Why, String)> {
        let cannot = |error: io::Error| (Why::Unwritable, error.to_string());
        let Capture { name, directory, file_bytes_max, bytes_max, drop, compression } = &self.settings;
        folder::is_folder(directory).map_err(cannot)?;
        let files = folder::files(directory, name).map_err(cannot)?;
        let mut held: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        if *drop == DropPolicy::Oldest {
            for (oldest, bytes) in files {
                if held.saturating_add(*file_bytes_max) <= *bytes_max {
                    break;
                }
                match fs::remove_file(directory.join(oldest)) {
                    Ok(()) => self.counters.files_removed.inc(),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(cannot(error)),
                }
                held -= bytes;
            }
        }
        let room = bytes_max.saturating_sub(held).min(*file_bytes_max);
        if worst(*compression, bytes) > room {
            return Err((Why::Full, format!("its files have the {bytes_max} bytes that bytes_max allows")));
        }
        self.number += 1;
        let at_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        let at_us = u64::try_from(at_us).unwrap_or(u64::MAX);
        let is_compressed = *compression == Compression::Gzip;
        let path = directory.join(folder::file_name(name, at_us, self.number, is_compressed));
        let file = folder::create(&path).map_err(cannot)?;
        self.counters.files.inc();
        let coding = match compression {
            Compression::None => Coding::Plain(Vec::new()),
            Compression::Gzip => Coding::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::fast())),
        };
        Ok(Open { file, coding, room, bytes: 0, pending_bytes: 0, pending_lines: 0 })
    }

    /// Writes the waiting lines.
    fn flush(&mut self) {
        let Some(file) = self.file.as_mut().filter(|file| file.pending_lines > 0) else { return };
        let (lines, before) = (file.pending_lines, file.bytes);
        let written = file.flush();
        self.counters.waiting.set(0);
        match written {
            Ok(()) => {
                self.counters.written.add(lines);
                self.counters.bytes.add(file.bytes - before);
                self.well();
            }
            Err(error) => {
                self.counters.failed.add(lines);
                self.file = None;
                self.trouble(Why::Unwritable, &error.to_string());
            }
        }
    }

    /// Ends the file under way.
    fn close(&mut self) {
        self.flush();
        if let Some(file) = self.file.take()
            && let Err(error) = file.end()
        {
            // All lines are in it: only its end is missing, and readers do without that.
            tracing::debug!("capture {}: a file's end cannot be written: {error}", self.settings.name);
        }
    }

    fn lost(&self) -> u64 {
        let CaptureCounters { full, unwritable, failed, .. } = &*self.counters;
        [full, unwritable, failed].map(Counter::get).iter().sum()
    }

    /// Notes that no line can be written for a while. Logged once.
    fn trouble(&mut self, why: Why, text: &str) {
        let now = Instant::now();
        self.retry_at = Some(now + RETRY_EVERY);
        if let Some((known, ..)) = &mut self.trouble {
            *known = why;
            return;
        }
        self.trouble = Some((why, now, self.lost()));
        let Capture { name, directory, .. } = &self.settings;
        tracing::warn!(
            "capture {name} writes nothing to {}: {text}; its requests are lost, clients are not affected",
            directory.display()
        );
    }

    /// Something was written.
    fn well(&mut self) {
        let Some((_, since, before)) = self.trouble.take() else { return };
        let (lost, seconds) = (self.lost().saturating_sub(before), since.elapsed().as_secs());
        tracing::info!("capture {} writes again after {seconds} s: {lost} requests lost", self.settings.name);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Once nothing waits.
    Now,
    /// Once its feeds are over too.
    WithItsFeeds,
}

/// Bytes that a file may grow by with a line.
fn worst(compression: Compression, bytes: u64) -> u64 {
    match compression {
        Compression::None => bytes,
        Compression::Gzip => bytes + bytes / 1000 + GZIP_EXTRA_BYTES,
    }
}

impl Open {
    fn fits(&self, compression: Compression, bytes: u64) -> bool {
        self.bytes + worst(compression, self.pending_bytes + bytes) <= self.room
    }

    fn push(&mut self, line: &[u8]) {
        // Into memory, which takes everything.
        let _ = match &mut self.coding {
            Coding::Plain(buffer) => buffer.write_all(line),
            Coding::Gzip(encoder) => encoder.write_all(line),
        };
        self.pending_bytes += line.len() as u64;
        self.pending_lines += 1;
    }

    fn flush(&mut self) -> io::Result<()> {
        let buffer = match &mut self.coding {
            Coding::Plain(buffer) => buffer,
            Coding::Gzip(encoder) => {
                encoder.flush()?;
                encoder.get_mut()
            }
        };
        let written = self.file.write_all(buffer);
        if written.is_err() {
            // A line that is cut is none.
            let _ = self.file.set_len(self.bytes);
        }
        self.bytes += buffer.len() as u64;
        buffer.clear();
        self.pending_bytes = 0;
        self.pending_lines = 0;
        written
    }

    fn end(self) -> io::Result<()> {
        match self.coding {
            Coding::Plain(_) => Ok(()),
            Coding::Gzip(encoder) => (&self.file).write_all(&encoder.finish()?),
        }
    }
}

#[cfg(test)]
mod tests;
