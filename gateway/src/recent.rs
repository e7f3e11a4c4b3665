//! The last lines of the gateway's own log and of its access log, in memory, for readers without access to the files. Bounded
//! in bytes, each kind by itself, so that a busy access log pushes out no warning. Each line is one object of JSON, as its
//! writer logged it: it contains nothing that may not be told. The room knows neither writer nor reader.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tracing::Level;

use crate::limits::{RECENT_ACCESS_BYTES_MAX, RECENT_LOG_BYTES_MAX};

/// Bytes of a line beside its text.
const LINE_BYTES: usize = 96;

/// The log that a line is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Gateway,
    Access,
}

impl Source {
    pub const ALL: [Self; 2] = [Self::Gateway, Self::Access];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Access => "access",
        }
    }
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Counted over both logs, from 1.
    pub number: u64,
    pub source: Source,
    /// Of the gateway's own.
    pub level: Option<Level>,
    /// Of the access log's.
    pub route: Option<Box<str>>,
    /// JSON, without its end.
    pub text: Box<str>,
}

/// The wanted lines.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub source: Option<Source>,
    /// At least as grave as this; lines of the access log have no level.
    pub level: Option<Level>,
    pub route: Option<String>,
}

/// Some of the lines that were kept.
#[derive(Debug, Default)]
pub struct Page {
    pub lines: Vec<Line>,
    /// Lines behind this number were not looked at.
    pub next: u64,
    /// No line behind the wanted number has been pushed out.
    pub is_complete: bool,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Line>,
    bytes: usize,
    /// Number of the last one that was pushed out.
    pushed_out: u64,
}

#[derive(Debug, Default)]
struct Both {
    last: u64,
    gateway: Kept,
    access: Kept,
}

#[derive(Debug, Default)]
pub struct Recent(Mutex<Both>);

/// The lines of this process, whose log is also one.
static RECENT: Recent = Recent::new();

pub fn recent() -> &'static Recent {
    &RECENT
}

impl Wanted {
    fn includes(&self, line: &Line) -> bool {
        self.source.is_none_or(|source| source == line.source)
            // The graver the lower, to `tracing`.
            && self.level.is_none_or(|most| line.level.is_some_and(|level| level <= most))
            && self.route.as_ref().is_none_or(|route| line.route.as_deref() == Some(route))
    }
}

impl Recent {
    pub const fn new() -> Self {
        const fn kept() -> Kept {
            Kept { lines: VecDeque::new(), bytes: 0, pushed_out: 0 }
        }
        Self(Mutex::new(Both { last: 0, gateway: kept(), access: kept() }))
    }

    /// Keeps a line of the gateway's own log.
    pub fn logged(&self, text: &str) {
        let told: Value = serde_json::from_str(text).unwrap_or_default();
        let level = told["level"].as_str().and_then(|level| level.parse().ok());
        self.keep(Source::Gateway, level, None, text);
    }

    /// Keeps a line of the access log.
    pub fn accessed(&self, route: Option<&str>, text: &str) {
        self.keep(Source::Access, None, route, text);
    }

    fn keep(&self, source: Source, level: Option<Level>, route: Option<&str>, text: &str) {
        let route: Option<Box<str>> = route.map(Into::into);
        let text: Box<str> = text.trim_end().into();
        let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        both.last += 1;
        let number = both.last;
        let (kept, bytes_max) = match source {
            Source::Gateway => (&mut both.gateway, RECENT_LOG_BYTES_MAX),
            Source::Access => (&mut both.access, RECENT_ACCESS_BYTES_MAX),
        };
        let line = Line { number, source, level, route, text };
        kept.bytes += bytes_of(&line);
        kept.lines.push_back(line);
        while kept.bytes > bytes_max {
            let Some(oldest) = kept.lines.pop_front() else { break };
            kept.bytes -= bytes_of(&oldest);
            kept.pushed_out = oldest.number;
        }
    }

    /// The first of the wanted lines behind number `after`, or the last of all where none is said; `most` at most.
    pub fn tell(&self, wanted: &Wanted, after: Option<u64>, most: usize) -> Page {
        let both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = [&both.gateway, &both.access];
        let from = after.unwrap_or(0);
        // Each list is in order, and only wanted lines are copied.
        let mut lines: Vec<&Line> = all
            .iter()
            .flat_map(|kept| kept.lines.range(kept.lines.partition_point(|line| line.number <= from)..))
            .filter(|line| wanted.includes(line))
            .collect();
        lines.sort_unstable_by_key(|line| line.number);
        let mut next = both.last;
        match after {
            None => drop(lines.drain(..lines.len().saturating_sub(most))),
            Some(_) if lines.len() > most => {
                lines.truncate(most);
                next = lines.last().map_or(from, |line| line.number);
            }
            Some(_) => {}
        }
        // A number of another life of this process is one from which on everything is new.
        let is_complete = after.is_none_or(|after| after <= both.last)
            && all.iter().all(|kept| after.is_none() || kept.pushed_out <= from);
        Page { lines: lines.into_iter().cloned().collect(), next, is_complete }
    }
}

fn bytes_of(line: &Line) -> usize {
    line.text.len() + line.route.as_ref().map_or(0, |route| route.len()) + LINE_BYTES
}

/// Where the thread that writes the log puts its lines, one with each write.
#[derive(Debug)]
pub struct Keeper(pub &'static Recent);

impl io::Write for Keeper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for line in String::from_utf8_lossy(bytes).lines() {
            self.0.logged(line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(page: &Page) -> Vec<u64> {
        page.lines.iter().map(|line| line.number).collect()
    }

    fn level(level: Level) -> Wanted {
        Wanted { level: Some(level), ..Wanted::default() }
    }

    #[test]
    fn lines_are_told_by_level_route_and_log_in_the_order_in_which_they_came() {
        let recent = Recent::new();
        recent.logged(r#"{"level":"INFO","message":"a"}"#);
        recent.accessed(Some("shop"), "{\"path\":\"/\"}\n");
        recent.logged(r#"{"level":"WARN","message":"b"}"#);
        recent.accessed(None, r#"{"path":"*"}"#);
        let told = |wanted: &Wanted| numbers(&recent.tell(wanted, None, 100));
        assert_eq!(told(&Wanted::default()), [1, 2, 3, 4]);
        assert_eq!(told(&level(Level::WARN)), [3]);
        assert_eq!(told(&level(Level::DEBUG)), [1, 3]);
        assert_eq!(told(&Wanted { route: Some("shop".into()), ..Wanted::default() }), [2]);
        assert_eq!(told(&Wanted { source: Some(Source::Access), ..Wanted::default() }), [2, 4]);
        assert_eq!(&*recent.tell(&Wanted::default(), None, 100).lines[1].text, r#"{"path":"/"}"#);
    }

    #[test]
    fn who_follows_is_told_each_line_once_and_whether_some_were_missed() {
        let recent = Recent::new();
        (0..10).for_each(|_| recent.logged(r#"{"level":"INFO"}"#));
        let first = recent.tell(&Wanted::default(), None, 3);
        assert_eq!((numbers(&first), first.next, first.is_complete), (vec![8, 9, 10], 10, true));
        let none = recent.tell(&Wanted::default(), Some(10), 3);
        assert_eq!((numbers(&none), none.next, none.is_complete), (vec![], 10, true));
        let part = recent.tell(&Wanted::default(), Some(2), 3);
        assert_eq!((numbers(&part), part.next, part.is_complete), (vec![3, 4, 5], 5, true));
        assert!(!recent.tell(&Wanted::default(), Some(11), 3).is_complete, "of a process before this one");
    }

    #[test]
    fn memory_is_bounded_and_a_flood_of_one_log_pushes_nothing_out_of_the_other() {
        let recent = Recent::new();
        recent.logged(r#"{"level":"WARN","message":"kept"}"#);
        let long = "x".repeat(8 << 10);
        let lines = 2 * RECENT_ACCESS_BYTES_MAX / long.len();
        (0..lines).for_each(|_| recent.accessed(Some("r"), &long));
        let both = recent.0.lock().unwrap();
        assert!(both.access.bytes <= RECENT_ACCESS_BYTES_MAX);
        assert_eq!(both.access.bytes, both.access.lines.iter().map(bytes_of).sum::<usize>());
        drop(both);
        assert_eq!(recent.tell(&level(Level::WARN), None, 1).lines.len(), 1);
        assert!(!recent.tell(&Wanted::default(), Some(1), 1).is_complete);
    }
}
