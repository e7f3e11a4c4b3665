//! What was changed, from what, to what, by whom: the last changes of the configuration and of shares, those that were refused
//! among them. It does not know how a change is made.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Changes that are remembered.
const CHANGES_MAX: usize = 256;

/// Who wanted a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// Somebody at the admin listener.
    Api {
        address: Option<SocketAddr>,
        has_token: bool,
    },
    Signal(&'static str),
    /// The watch over these files saw that they are others.
    File(String),
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api { address: Some(address), has_token: true } => write!(f, "{address} with the token"),
            Self::Api { address: Some(address), has_token: false } => address.fmt(f),
            Self::Api { address: None, .. } => f.write_str("the admin listener"),
            Self::Signal(name) => f.write_str(name),
            Self::File(name) => write!(f, "{name}, which changed"),
        }
    }
}

/// One thing that is otherwise than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// As in the file: `route.all.mirrors.v2.percent`.
    pub key: String,
    /// Empty where it was not there.
    pub from: String,
    /// Empty where it is gone.
    pub to: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from.as_str(), self.to.as_str()) {
            ("", to) => write!(f, "{}: {to}", self.key),
            (from, "") => write!(f, "{}: {from} → none", self.key),
            (from, to) => write!(f, "{}: {from} → {to}", self.key),
        }
    }
}

/// A change that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Counted from 1 since the start.
    pub number: u64,
    pub at: SystemTime,
    pub by: By,
    pub differences: Vec<Difference>,
    /// Differences beside those.
    pub more: usize,
    /// Why nothing was changed.
    pub refused: Option<String>,
}

/// A name as a part of a dotted key.
pub fn key_part(name: &str) -> String {
    let is_bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if is_bare { name.to_owned() } else { format!("{name:?}") }
}

/// The last of them.
#[derive(Debug, Default)]
pub struct Changes(Mutex<Log>);

#[derive(Debug, Default)]
struct Log {
    made: VecDeque<Made>,
    count: u64,
}

impl Changes {
    /// Remembers a change; its number.
    pub fn note(&self, made: Made) -> u64 {
        let mut log = self.lock();
        log.count += 1;
        let number = log.count;
        if log.made.len() >= CHANGES_MAX {
            log.made.pop_front();
        }
        log.made.push_back(Made { number, ..made });
        number
    }

    /// Those behind this number, the first made first; and how many were asked for since the start.
    pub fn after(&self, number: u64) -> (Vec<Made>, u64) {
        let log = self.lock();
        (log.made.iter().filter(|made| made.number > number).cloned().collect(), log.count)
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_changes_are_remembered_and_all_are_counted() {
        let changes = Changes::default();
        let made = || Made {
            number: 0,
            at: SystemTime::UNIX_EPOCH,
            by: By::Signal("SIGHUP"),
            differences: Vec::new(),
            more: 0,
            refused: None,
        };
        for n in 1..=1000 {
            assert_eq!(changes.note(made()), n);
        }
        let (last, count) = changes.after(0);
        assert_eq!((last.len(), last[0].number, count), (CHANGES_MAX, 1000 - 255, 1000));
        assert_eq!(changes.after(999).0.len(), 1);
    }

    #[test]
    fn a_difference_is_a_line_of_key_from_and_to() {
        let of = |from: &str, to: &str| Difference { key: "k".into(), from: from.into(), to: to.into() };
        let said = [("1", "2"), ("", "2"), ("1", "")].map(|(from, to)| of(from, to).to_string());
        assert_eq!(said, ["k: 1 → 2", "k: 2", "k: 1 → none"]);
    }
}
