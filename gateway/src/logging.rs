//! Log lines go to standard error through one bounded queue and one thread of their own.
//!
//! A thread that logs, also a worker, formats its line and hands it over; it never waits for a terminal, a pipe or a disk. A
//! full queue loses lines rather than time. This room knows nothing of the lines' content.

use std::any::Any;
use std::backtrace::Backtrace;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::panic;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::os;
use crate::recent::{Keeper, recent};
use crate::visible::visible_lines;

/// Lines that may wait for standard error; at about 150 bytes each this is half a megabyte. Lines beyond are lost.
const LINES_MAX: usize = 4096;

/// Between two messages that say the same.
const REPEAT_EVERY: Duration = Duration::from_secs(60);

/// Lets one of many like messages through each minute, so that trouble that lasts is told and does not fill a disk.
#[derive(Debug, Default)]
pub struct Seldom {
    last: Option<Instant>,
    kept_back: u64,
}

impl Seldom {
    /// Whether the next message would be said.
    pub fn is_over(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now.saturating_duration_since(last) >= REPEAT_EVERY)
    }

    /// Whether the message may be said now: then how many like it were not, since the last.
    pub fn may_say(&mut self, now: Instant) -> Option<u64> {
        if !self.is_over(now) {
            self.kept_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.kept_back))
    }
}

/// Lets so many messages through each minute, however many come; those that are left out are counted.
#[derive(Debug)]
pub struct Sparing {
    max: u32,
    began: Option<Instant>,
    said: u32,
    left_out: u64,
}

impl Sparing {
    pub const fn new(max: u32) -> Self {
        Self { max, began: None, said: 0, left_out: 0 }
    }

    /// Whether a message may be said now: then how many were left out since the last minute in which none was.
    ///
    /// # Errors
    /// The message is left out; how many are by now.
    pub fn may_say(&mut self, now: Instant) -> Result<u64, u64> {
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= REPEAT_EVERY) {
            (self.began, self.said) = (Some(now), 0);
        }
        if self.said >= self.max {
            self.left_out += 1;
            return Err(self.left_out);
        }
        self.said += 1;
        Ok(std::mem::take(&mut self.left_out))
    }
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// An object on each line.
    Json,
}

/// The waiting lines are written when this is dropped.
#[must_use = "lines are lost once the guard is gone"]
#[derive(Debug)]
pub struct Flush {
    _stderr: WorkerGuard,
    _recent: WorkerGuard,
}

/// Lines to a writer that may be slow, on a thread of their own.
fn aside<W: Write + Send + 'static>(name: &str, writer: W) -> (NonBlocking, WorkerGuard) {
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX).thread_name(name);
    os::without_signals(|| builder.finish(writer))
}

/// Starts logging for the whole process.
pub fn start(level: LevelFilter, format: Format) -> Flush {
    let (lines, stderr) = aside("umbra-log", io::stderr());
    let (kept, keeper) = aside("umbra-recent", Keeper(recent()));
    // Libraries below us are quiet until they warn: their `info` is not about the gateway.
    let ours = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target(env!("CARGO_CRATE_NAME"), level)
        // The crate logs each error that an API server answers: its callers report them, and not every time.
        .with_target("kube_client", LevelFilter::OFF);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(lines)
        .with_ansi(format == Format::Text && io::stderr().is_terminal())
        .with_target(false)
        .with_thread_names(true);
    let layer = match format {
        Format::Text => layer.compact().boxed(),
        Format::Json => layer.json().flatten_event(true).boxed(),
    };
    let kept =
        tracing_subscriber::fmt::layer().with_writer(kept).with_target(false).json().flatten_event(true);
    // Fails only where a logger is set already (a test that starts two gateways): the first one stays.
    let _ = tracing_subscriber::registry().with(layer).with(kept).with(ours).try_init();
    log_panics();
    Flush { _stderr: stderr, _recent: keeper }
}

/// Writes one line each on standard error, nothing in which acts on a terminal. For commands and the start of the gateway,
/// which may wait for a reader. A failure to write is dropped: a closed standard error has no reader to tell.
pub(crate) fn complain<P: Display>(problems: impl IntoIterator<Item = P>) {
    let mut stderr = io::stderr().lock();
    for problem in problems {
        let _ = writeln!(stderr, "{}", visible_lines(&problem.to_string()));
    }
}

/// Installs a panic hook. The standard library's hook writes to standard error on the thread that panics, under a lock; a
/// worker whose exchange panics must not wait for that. Nor for a backtrace, whose symbols are read from files: only with
/// `--log debug` and RUST_BACKTRACE is there one.
fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let message = message(info.payload());
        let place = info.location().map_or_else(|| "unknown place".to_owned(), ToString::to_string);
        tracing::error!("panic at {place}: {message}");
        if tracing::enabled!(tracing::Level::DEBUG) {
            tracing::debug!("{}", Backtrace::capture());
        }
    }));
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_is_said_once_a_minute_and_then_how_often() {
        let (mut seldom, start) = (Seldom::default(), Instant::now());
        let said = [0, 1, 59, 60, 61, 500].map(|s| seldom.may_say(start + Duration::from_secs(s)));
        assert_eq!(said, [Some(0), None, None, Some(2), None, Some(1)]);
    }

    #[test]
    fn so_much_is_said_in_a_minute_and_then_how_much_was_left_out() {
        let (mut sparing, start) = (Sparing::new(2), Instant::now());
        let said = [0, 1, 2, 59, 60, 61, 62, 500].map(|s| sparing.may_say(start + Duration::from_secs(s)));
        assert_eq!(said, [Ok(0), Ok(0), Err(1), Err(2), Ok(2), Ok(0), Err(1), Ok(1)]);
    }

    #[test]
    fn a_panics_message_is_found_in_both_of_its_forms() {
        assert_eq!(message(&"literal"), "literal");
        assert_eq!(message(&"formatted".to_owned()), "formatted");
        assert_eq!(message(&7_u8), "(no message)");
    }
}
