//! The log of changes: the last ones of the configuration and of shares, refused ones among them, each with its author and its
//! values before and after. This room does not know how a change is made.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Changes that are remembered. The author with the most changes is forgotten first: a person's change is not pushed out by a
/// cluster whose objects never rest.
const CHANGES_MAX: usize = 256;

/// The author of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// A client of the admin listener.
    Api {
        address: Option<SocketAddr>,
        has_token: bool,
    },
    Signal(&'static str),
    /// The watch over these files saw that they are others.
    File(String),
    /// Objects of the cluster that is followed are others.
    Kubernetes,
}

impl By {
    pub const KINDS: [&str; 4] = ["api", "signal", "file", "kubernetes"];

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Api { .. } => "api",
            Self::Signal(_) => "signal",
            Self::File(_) => "file",
            Self::Kubernetes => "kubernetes",
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api { address: Some(address), has_token: true } => write!(f, "{address} with the token"),
            Self::Api { address: Some(address), has_token: false } => address.fmt(f),
            Self::Api { address: None, .. } => f.write_str("the admin listener"),
            Self::Signal(name) => f.write_str(name),
            Self::File(name) => write!(f, "{name}, which changed"),
            Self::Kubernetes => f.write_str(self.kind()),
        }
    }
}

/// A key whose value has changed.
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
    /// The whole configuration was read: a share that is set does not make up for a file that is wrong.
    pub is_reload: bool,
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

/// Numbers of all changes since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeCounts {
    /// By the kind of author, and whether the change was made.
    pub by: BTreeMap<(&'static str, bool), u64>,
    /// Whether the last reload was refused.
    pub is_reload_refused: bool,
    /// When the last reload was made.
    pub reloaded: Option<SystemTime>,
}

/// The last of them.
#[derive(Debug, Default)]
pub struct Changes(Mutex<Log>);

#[derive(Debug, Default)]
struct Log {
    made: VecDeque<Made>,
    count: u64,
    counts: ChangeCounts,
}

impl Changes {
    /// Remembers a change; its number.
    pub fn note(&self, made: Made) -> u64 {
        let mut log = self.lock();
        log.count += 1;
        let number = log.count;
        let is_made = made.refused.is_none();
        *log.counts.by.entry((made.by.kind(), is_made)).or_default() += 1;
        if made.is_reload {
            log.counts.is_reload_refused = !is_made;
            if is_made {
                log.counts.reloaded = Some(made.at);
            }
        }
        if log.made.len() >= CHANGES_MAX {
            let by = |kind: &&str| log.made.iter().filter(|made| made.by.kind() == *kind).count();
            let most = By::KINDS.into_iter().max_by_key(by);
            let oldest = log.made.iter().position(|made| Some(made.by.kind()) == most);
            log.made.remove(oldest.unwrap_or_default());
        }
        log.made.push_back(Made { number, ..made });
        number
    }

    /// Whether the last of them was refused for this.
    pub fn was_refused(&self, why: &str) -> bool {
        self.lock().made.back().is_some_and(|last| last.refused.as_deref() == Some(why))
    }

    /// Counts a reload whose configuration is in force already, which is no change.
    pub fn confirm(&self, at: SystemTime) {
        let mut log = self.lock();
        log.counts.is_reload_refused = false;
        log.counts.reloaded = Some(at);
    }

    /// Changes behind this number, the oldest first; and how many were asked for since the start.
    pub fn after(&self, number: u64) -> (Vec<Made>, u64) {
        let log = self.lock();
        (log.made.iter().filter(|made| made.number > number).cloned().collect(), log.count)
    }

    pub fn counts(&self) -> ChangeCounts {
        self.lock().counts.clone()
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
            is_reload: true,
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
    fn whoever_changes_most_is_forgotten_first() {
        let changes = Changes::default();
        let made = |by: By| Made {
            number: 0,
            at: SystemTime::UNIX_EPOCH,
            by,
            is_reload: true,
            differences: Vec::new(),
            more: 0,
            refused: None,
        };
        let first = changes.note(made(By::Api { address: None, has_token: true }));
        for _ in 0..10_000 {
            changes.note(made(By::Kubernetes));
        }
        let (known, _) = changes.after(0);
        assert_eq!((known.len(), known[0].number), (CHANGES_MAX, first));
        assert_eq!(known[1].number, 10_001 - 254);
    }

    #[test]
    fn a_reload_that_was_refused_stands_until_one_is_made() {
        let changes = Changes::default();
        let made = |is_reload, refused: Option<&str>| Made {
            number: 0,
            at: SystemTime::UNIX_EPOCH,
            by: By::File("a.toml".to_owned()),
            is_reload,
            differences: Vec::new(),
            more: 0,
            refused: refused.map(str::to_owned),
        };
        let is_refused = |of: Made| {
            changes.note(of);
            changes.counts().is_reload_refused
        };
        assert!(is_refused(made(true, Some("no TOML"))));
        assert!(is_refused(made(false, None)), "a share that is set is no reload");
        assert_eq!(changes.counts().reloaded, None);
        assert!(!is_refused(made(true, None)));
        assert!(!is_refused(made(false, Some("out of range"))));
        let counts = changes.counts();
        assert_eq!(counts.reloaded, Some(SystemTime::UNIX_EPOCH));
        assert_eq!(counts.by, [(("file", false), 2), (("file", true), 2)].into());
    }

    #[test]
    fn a_difference_is_a_line_of_key_from_and_to() {
        let of = |from: &str, to: &str| Difference { key: "k".into(), from: from.into(), to: to.into() };
        let said = [("1", "2"), ("", "2"), ("1", "")].map(|(from, to)| of(from, to).to_string());
        assert_eq!(said, ["k: 1 → 2", "k: 2", "k: 1 → none"]);
    }
}
